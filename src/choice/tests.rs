use time::macros::datetime;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-11-23 02:00 UTC);
const TYPES: [JobType; 3] = JobType::ALL;

fn read<T>(value: T) -> Fact<T> {
    Ok(Read { value, at: NOW })
}

fn missing<T>(operation: &str) -> Fact<T> {
    Err(MissingFact {
        why: format!("{operation} failed"),
        transient: true,
    })
}

fn not_permitted<T>(operation: &str) -> Fact<T> {
    Err(MissingFact {
        why: format!("{operation} is not allowed"),
        transient: false,
    })
}

fn workflow(mapping: Mapping, incremental: bool) -> Fact<Workflow> {
    read(Workflow {
        name: "customers".to_owned(),
        mapping,
        incremental,
    })
}

/// The facts of a populated table whose workflow maps by rules and incrementally.
fn facts() -> Facts {
    Facts {
        workflow: workflow(Mapping::RuleBased, true),
        populated: read(true),
        last_batch: read(None),
    }
}

fn week() -> Period {
    Period::parse("7d").unwrap()
}

fn days(count: i64) -> Fact<Option<OffsetDateTime>> {
    read(Some(NOW - Duration::days(count)))
}

fn chosen(choice: &Choice) -> (Option<JobType>, &'static str, &str) {
    (
        choice.job_type,
        choice.decision.rule.as_str(),
        &*choice.decision.reason,
    )
}

#[test]
fn every_requested_type_other_than_auto_has_its_rule() {
    for (by, rule) in [
        (TypeSource::Request, "REQUESTED"),
        (TypeSource::Setting, "CONFIGURED"),
        (TypeSource::DeleteRequest, "DELETE_REQUEST"),
    ] {
        for job_type in TYPES {
            let requested_type = RequestedType::parse(job_type.as_str()).unwrap();
            assert_eq!(requested_type.as_str(), job_type.as_str());
            let choice = by_request(requested_type, by).unwrap();
            assert_eq!(choice.job_type, Some(job_type));
            assert_eq!(choice.decision.rule.as_str(), rule);
        }
        assert_eq!(by_request(RequestedType::Auto, by), None);
        let choice = by_request(RequestedType::ServiceDefault, by).unwrap();
        assert_eq!(
            (choice.job_type, choice.decision.rule),
            (None, Rule::ServiceDefault)
        );
        assert!(choice.decision.reason.contains("SERVICE_DEFAULT"));
    }
    let reason = |by| {
        by_request(RequestedType::Exactly(JobType::Batch), by)
            .unwrap()
            .decision
            .reason
            .to_string()
    };
    assert_eq!(reason(TypeSource::Request), "the request asks for BATCH");
    assert_eq!(
        reason(TypeSource::Setting),
        "the request names no job type and DEFAULT_JOB_TYPE is BATCH"
    );
}

/// Checks the rows of docs/reference.md#job-type-rules from PROVIDER_WORKFLOW on, each with its own condition. No
/// condition holds for a missing fact.
#[test]
fn for_every_combination_of_facts_the_first_matching_row_is_chosen() {
    let workflows = [
        missing("GetIdMappingWorkflow"),
        workflow(Mapping::Provider, false),
        workflow(Mapping::Provider, true),
        workflow(Mapping::RuleBased, false),
        workflow(Mapping::RuleBased, true),
    ];
    let populations = [missing("GetSchema"), read(false), read(true)];
    let batches = [
        missing("ListIdMappingJobs"),
        not_permitted("ListIdMappingJobs"),
        read(None),
        days(0),
        days(7),
        days(8),
    ];
    let every = [None, Some(week())];
    let mut seen = std::collections::BTreeMap::new();
    for workflow in &workflows {
        for populated in &populations {
            for last_batch in &batches {
                for every in &every {
                    let facts = Facts {
                        workflow: workflow.clone(),
                        populated: populated.clone(),
                        last_batch: last_batch.clone(),
                    };
                    let known = workflow.as_ref().ok().map(|workflow| &workflow.value);
                    let rules = known.is_some_and(|known| known.mapping == Mapping::RuleBased);
                    let old = match last_batch {
                        Ok(Read {
                            value: Some(at), ..
                        }) => NOW - *at > Duration::days(7),
                        Ok(Read { value: None, .. }) => true,
                        Err(missing) => !missing.transient,
                    };
                    let full_refresh_due = every.is_some() && old;
                    let unread = last_batch.as_ref().is_err_and(|missing| missing.transient);
                    let refresh_unknown = every.is_some() && unread;
                    let populated = populated.as_ref().ok().map(|populated| populated.value);
                    let incremental = rules && known.is_some_and(|known| known.incremental);
                    let rows = [
                        (known.is_some() && !rules, "PROVIDER_WORKFLOW", None),
                        (
                            rules && !incremental,
                            "NOT_INCREMENTAL",
                            Some(JobType::Batch),
                        ),
                        (
                            incremental && populated == Some(false),
                            "FIRST_POPULATION",
                            Some(JobType::Batch),
                        ),
                        (
                            incremental && full_refresh_due,
                            "FULL_REFRESH_DUE",
                            Some(JobType::Batch),
                        ),
                        (
                            incremental && populated == Some(true) && !refresh_unknown,
                            "INCREMENTAL",
                            Some(JobType::Incremental),
                        ),
                        (
                            known.is_none() || populated.is_none() || refresh_unknown,
                            "FACTS_UNAVAILABLE",
                            None,
                        ),
                    ];
                    let (_, rule, job_type) = rows.into_iter().find(|(holds, ..)| *holds).unwrap();
                    let choice = by_facts(&facts, every.as_ref(), NOW);
                    assert_eq!(
                        (choice.job_type, choice.decision.rule.as_str()),
                        (job_type, rule),
                        "{facts:?} {every:?}"
                    );
                    *seen.entry(rule).or_insert(0) += 1;
                }
            }
        }
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
    assert_eq!(seen.values().sum::<i32>(), 5 * 3 * 6 * 2);
}

#[test]
fn a_reason_has_the_fact_and_its_value() {
    let week = week();
    let reason = |facts: &Facts, every| by_facts(facts, every, NOW).decision.reason.to_string();
    let with = |change: &dyn Fn(&mut Facts)| {
        let mut facts = facts();
        change(&mut facts);
        facts
    };
    let provider = with(&|facts| facts.workflow = workflow(Mapping::Provider, false));
    assert_eq!(
        reason(&provider, None),
        "the workflow customers maps through a provider service, which has no job types"
    );
    let not_incremental = with(&|facts| facts.workflow = workflow(Mapping::RuleBased, false));
    assert_eq!(
        reason(&not_incremental, None),
        "the workflow customers has no incremental run configuration"
    );
    let first = with(&|facts| facts.populated = read(false));
    assert_eq!(
        reason(&first, None),
        "the table was never populated (its schema says ID_MAPPING_TABLE_NOT_POPULATED)"
    );
    let old = with(&|facts| facts.last_batch = days(9));
    assert_eq!(
        reason(&old, Some(&week)),
        "the last BATCH started 9 days ago, FULL_REFRESH_EVERY is 7d"
    );
    assert_eq!(
        reason(&facts(), Some(&week)),
        "no BATCH is known, FULL_REFRESH_EVERY is 7d"
    );
    let unread = with(&|facts| facts.last_batch = not_permitted("ListIdMappingJobs"));
    assert_eq!(
        reason(&unread, Some(&week)),
        "no BATCH is known (ListIdMappingJobs is not allowed), FULL_REFRESH_EVERY is 7d"
    );
    let unread = with(&|facts| facts.last_batch = missing("ListIdMappingJobs"));
    assert_eq!(
        reason(&unread, Some(&week)),
        "ListIdMappingJobs failed; the service chooses"
    );
    let fresh = with(&|facts| facts.last_batch = days(1));
    assert_eq!(
        reason(&fresh, Some(&week)),
        "the workflow customers has an incremental run configuration and the table is populated; the last BATCH \
         started 1 day ago, FULL_REFRESH_EVERY is 7d"
    );
    let unavailable = with(&|facts| facts.populated = missing("GetSchema"));
    assert_eq!(
        reason(&unavailable, None),
        "GetSchema failed; the service chooses"
    );
}

#[test]
fn a_reason_says_how_old_the_facts_are() {
    let mut facts = facts();
    let read_at = |fact: &mut Fact<bool>| fact.as_mut().unwrap().at -= Duration::minutes(12);
    read_at(&mut facts.populated);
    let (_, rule, _) = chosen(&by_facts(&facts, None, NOW));
    assert_eq!(rule, "INCREMENTAL");
    let reason = by_facts(&facts, None, NOW).decision.reason;
    assert!(
        reason.ends_with(" and the table is populated (as read 12 minutes ago)"),
        "{reason}"
    );

    facts.last_batch.as_mut().unwrap().at -= Duration::seconds(30);
    let reason = by_facts(&facts, Some(&week()), NOW)
        .decision
        .reason
        .to_string();
    assert_eq!(
        reason,
        "no BATCH is known (as read 30 seconds ago), FULL_REFRESH_EVERY is 7d (as read 12 minutes ago)"
    );
    // The rows that did not match used the workflow too.
    facts.populated = read(false);
    facts.workflow.as_mut().unwrap().at -= Duration::minutes(14);
    let reason = by_facts(&facts, None, NOW).decision.reason;
    assert!(
        reason.ends_with("NOT_POPULATED) (as read 14 minutes ago)"),
        "{reason}"
    );
}

#[test]
fn durations_are_written_in_their_two_largest_units() {
    for (seconds, words) in [
        (-5, "0 seconds"),
        (0, "0 seconds"),
        (61, "1 minute 1 second"),
        (3_600, "1 hour"),
        (3_605, "1 hour"),
        (7_260, "2 hours 1 minute"),
        (6 * 86_400 + 14 * 3_600 + 59, "6 days 14 hours"),
        (9 * 86_400 + 60, "9 days"),
    ] {
        assert_eq!(in_words(Duration::seconds(seconds)), words);
    }
}

#[test]
fn a_full_refresh_is_due_when_the_last_batch_is_older_than_the_period() {
    let week = week();
    let mut facts = facts();
    let at = |facts: &mut Facts, age| facts.last_batch = read(Some(NOW - age));
    at(&mut facts, Duration::days(7));
    assert_eq!(chosen(&by_facts(&facts, Some(&week), NOW)).1, "INCREMENTAL");
    at(&mut facts, Duration::days(7) + Duration::MILLISECOND);
    assert_eq!(
        chosen(&by_facts(&facts, Some(&week), NOW)).1,
        "FULL_REFRESH_DUE"
    );
    // The clock that recorded the start was ahead.
    at(&mut facts, -Duration::SECOND);
    assert!(
        chosen(&by_facts(&facts, Some(&week), NOW))
            .2
            .contains("started 0 seconds ago")
    );
}

#[test]
fn only_the_exact_values_are_job_types() {
    for text in [
        "",
        "batch",
        "Batch",
        " BATCH",
        "FULL",
        "DELETE-ONLY",
        "auto",
    ] {
        assert!(
            RequestedType::parse(text)
                .unwrap_err()
                .contains("write BATCH, INCREMENTAL, DELETE_ONLY, SERVICE_DEFAULT or AUTO"),
            "{text}"
        );
    }
    assert_eq!(RequestedType::parse("AUTO").unwrap().as_str(), "AUTO");
}

/// A type that covers another one is processed first, so that the other one needs no job.
#[test]
fn a_wider_type_is_never_covered_by_a_narrower_one() {
    let requested_types = [
        "BATCH",
        "SERVICE_DEFAULT",
        "INCREMENTAL",
        "AUTO",
        "DELETE_ONLY",
    ]
    .map(|text| RequestedType::parse(text).unwrap());
    for pair in requested_types.windows(2) {
        assert!(pair[0].width() > pair[1].width(), "{pair:?}");
    }
    for wider in requested_types {
        for narrower in requested_types
            .into_iter()
            .filter(|other| other.width() < wider.width())
        {
            let sent = by_request(narrower, TypeSource::Request).map(|choice| choice.job_type);
            assert!(
                !sent.is_some_and(|sent| wider.is_covered_by(sent)),
                "{wider:?} {narrower:?}"
            );
        }
    }
}

#[test]
fn names_on_the_wire_and_in_events_are_the_same() {
    for job_type in TYPES {
        assert_eq!(serde_json::to_value(job_type).unwrap(), job_type.as_str());
    }
    for rule in Rule::ALL {
        assert_eq!(serde_json::to_value(rule).unwrap(), rule.as_str());
    }
}
