//! `AUTO`: the job type by what the services tell of a table, over their wire formats.

use std::time::Duration;

use fake_aws::{Exception, FakeAws, Fault, Operation, Slot, Status, Table};
use serde_json::{Value, json};

use crate::function::{Function, response};
use crate::lab::{BEGIN, Lab, VISIBILITY};
use crate::promises::News;
use crate::world::{T1, T2, event_file, request_for, table_arn};

const TABLE: Table = Table {
    provider: false,
    incremental: true,
    populated: true,
    refuses: false,
};
const PROVIDER: Table = Table {
    provider: true,
    ..TABLE
};
const NOT_INCREMENTAL: Table = Table {
    incremental: false,
    ..TABLE
};
const NEVER_POPULATED: Table = Table {
    populated: false,
    ..TABLE
};

const READS: [Operation; 5] = [
    Operation::GetIdMappingTable,
    Operation::GetIdMappingWorkflow,
    Operation::GetSchema,
    Operation::ListIdMappingJobs,
    Operation::GetIdMappingJob,
];

const FULL_REFRESH: (&str, &str) = ("FULL_REFRESH_EVERY", "7d");

async fn lab_with(table: Table, settings: &[(&str, &str)]) -> Lab {
    let lab = Lab::with(FakeAws::in_process(), Slot::Unlimited, settings).await;
    lab.aws.set_table(T1, table);
    lab
}

/// News of this many seconds after the beginning, for which a job is chosen.
fn news(id: &str, seconds: i64) -> Value {
    News::with_wish(id, T1, "AUTO", BEGIN + time::Duration::seconds(seconds)).event
}

/// How often each of the reads was called so far.
fn reads(lab: &Lab) -> [usize; 5] {
    READS.map(|operation| lab.aws.calls_of(operation).len())
}

/// Outcome, job type and rule of the one outcome, and its reason.
async fn chosen(lab: &mut Lab, payload: &Value) -> (String, String) {
    let outcome = lab.response(payload).await["outcomes"][0].clone();
    let word = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    let sent = lab.aws.jobs().last().and_then(|job| job.job_type.clone());
    if outcome["outcome"] == "STARTED" {
        assert_eq!(outcome["jobType"], json!(sent));
    }
    let what = [
        &outcome["outcome"],
        &outcome["jobType"],
        &outcome["decision"]["rule"],
    ];
    (
        what.map(word).join(" "),
        word(&outcome["decision"]["reason"]),
    )
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_table_has_its_job_type() {
    for (table, settings, expected) in [
        (PROVIDER, &[][..], "STARTED none PROVIDER_WORKFLOW"),
        (PROVIDER, &[FULL_REFRESH], "STARTED none PROVIDER_WORKFLOW"),
        (NOT_INCREMENTAL, &[], "STARTED BATCH NOT_INCREMENTAL"),
        (
            NOT_INCREMENTAL,
            &[FULL_REFRESH],
            "STARTED BATCH NOT_INCREMENTAL",
        ),
        (NEVER_POPULATED, &[], "STARTED BATCH FIRST_POPULATION"),
        (
            NEVER_POPULATED,
            &[FULL_REFRESH],
            "STARTED BATCH FIRST_POPULATION",
        ),
        (TABLE, &[FULL_REFRESH], "STARTED BATCH FULL_REFRESH_DUE"),
        (TABLE, &[], "STARTED INCREMENTAL INCREMENTAL"),
    ] {
        let mut lab = lab_with(table, settings).await;
        let (what, _) = chosen(&mut lab, &event_file("bare-auto.json")).await;
        assert_eq!(what, expected, "{table:?}");
        // The jobs are asked only where a full refresh may be due.
        let asks = table == TABLE && settings == [FULL_REFRESH];
        assert_eq!(reads(&lab), [1, 1, 1, usize::from(asks), 0], "{table:?}");
    }
    // It is also what DEFAULT_JOB_TYPE may say.
    let mut lab = lab_with(NOT_INCREMENTAL, &[("DEFAULT_JOB_TYPE", "AUTO")]).await;
    let (what, _) = chosen(&mut lab, &request_for(T1)).await;
    assert_eq!(what, "STARTED BATCH NOT_INCREMENTAL");
}

#[tokio::test(start_paused = true)]
async fn a_table_that_was_populated_since_is_known_to_be() {
    let mut lab = lab_with(NEVER_POPULATED, &[]).await;
    let (what, _) = chosen(&mut lab, &news("a", -10)).await;
    assert_eq!(what, "STARTED BATCH FIRST_POPULATION");
    lab.aws.end_job(Status::Succeeded);
    lab.pass(Duration::from_secs(60));
    let (what, reason) = chosen(&mut lab, &news("b", 30)).await;
    assert_eq!(what, "STARTED INCREMENTAL INCREMENTAL");
    assert!(reason.ends_with("(as read 1 minute ago)"), "{reason}");
    // What rarely changes was kept, and the schema was read again.
    assert_eq!(reads(&lab), [1, 1, 2, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn cold_it_costs_three_reads_and_warm_none_for_a_while() {
    let mut lab = lab_with(TABLE, &[]).await;
    for (minutes, expected) in [
        (0, [1, 1, 1, 0, 0]),
        (14, [1, 1, 1, 0, 0]),
        (15, [2, 2, 2, 0, 0]),
    ] {
        lab.set_now(BEGIN + time::Duration::minutes(minutes));
        let (what, reason) = chosen(&mut lab, &news(&format!("at {minutes}"), minutes * 60)).await;
        assert_eq!(what, "STARTED INCREMENTAL INCREMENTAL");
        assert_eq!(reads(&lab), expected, "{minutes}");
        let old = reason.ends_with("(as read 14 minutes ago)");
        assert_eq!(old, minutes == 14, "{reason}");
    }
    // Another table is another's fact.
    let other = News::with_wish("other", T2, "AUTO", BEGIN).event;
    chosen(&mut lab, &other).await;
    assert_eq!(reads(&lab), [3, 3, 3, 0, 0]);
    // And leaves the first one's.
    chosen(&mut lab, &news("once more", 16 * 60)).await;
    assert_eq!(reads(&lab), [3, 3, 3, 0, 0]);
    // What needs no facts reads none.
    for requested_type in ["BATCH", "SERVICE_DEFAULT", "DELETE_ONLY"] {
        lab.pass(Duration::from_secs(24 * 60 * 60));
        let news = News::with_wish(requested_type, T1, requested_type, lab.now());
        lab.outcomes(&news.event).await;
    }
    assert_eq!(reads(&lab), [3, 3, 3, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn workflow_and_schema_are_read_side_by_side() {
    let mut lab = lab_with(TABLE, &[]).await;
    for operation in [Operation::GetIdMappingWorkflow, Operation::GetSchema] {
        lab.aws
            .fail_always(operation, Fault::Slow(Duration::from_secs(2)));
    }
    let began = lab.now();
    chosen(&mut lab, &news("a", -10)).await;
    let took = lab.now() - began;
    assert!(took < time::Duration::seconds(3), "{took}");
}

/// A job of the table's workflow that Clean Rooms started before the ledger was there.
fn earlier_job(lab: &Lab, job_type: &str, days_ago: i64) {
    lab.aws.start_foreign_job(T1);
    let job = &mut *lab.aws.state();
    let job = job.jobs.last_mut().unwrap();
    job.foreign = false;
    job.job_type = Some(job_type.to_owned());
    job.started_at -= time::Duration::days(days_ago);
    job.status = Status::Succeeded;
}

#[tokio::test(start_paused = true)]
async fn a_first_deployment_on_an_old_table_is_no_surprise_batch() {
    let mut lab = lab_with(TABLE, &[FULL_REFRESH]).await;
    for days_ago in [20, 10, 3] {
        earlier_job(&lab, "BATCH", days_ago);
    }
    for days_ago in [2, 1, 0] {
        earlier_job(&lab, "INCREMENTAL", days_ago);
    }
    let (what, reason) = chosen(&mut lab, &news("a", -10)).await;
    assert_eq!(what, "STARTED INCREMENTAL INCREMENTAL");
    assert!(
        reason.ends_with("; the last BATCH started 3 days ago, FULL_REFRESH_EVERY is 7d"),
        "{reason}"
    );
    // Newest first, and no further than need be.
    assert_eq!(reads(&lab), [1, 1, 1, 1, 4]);
    lab.pass(Duration::from_secs(60));
    chosen(&mut lab, &news("b", 30)).await;
    assert_eq!(reads(&lab), [1, 1, 1, 1, 4], "what they told is kept");
}

#[tokio::test(start_paused = true)]
async fn only_a_batch_of_clean_rooms_that_did_not_fail_counts_and_then_the_ledger_knows() {
    let mut lab = lab_with(TABLE, &[FULL_REFRESH]).await;
    earlier_job(&lab, "BATCH", 8); // too old
    earlier_job(&lab, "BATCH", 1);
    lab.aws.state().jobs[1].status = Status::Failed;
    earlier_job(&lab, "BATCH", 1);
    lab.aws.state().jobs[2].foreign = true;
    let (what, reason) = chosen(&mut lab, &news("a", -10)).await;
    assert_eq!(what, "STARTED BATCH FULL_REFRESH_DUE");
    assert_eq!(reason, "no BATCH is known, FULL_REFRESH_EVERY is 7d");
    assert_eq!(reads(&lab), [1, 1, 1, 1, 1]);

    // From now on the ledger knows, for a week.
    for (days, expected) in [
        (1, "STARTED INCREMENTAL INCREMENTAL"),
        (7, "STARTED INCREMENTAL INCREMENTAL"),
        (8, "STARTED BATCH FULL_REFRESH_DUE"),
        (9, "STARTED INCREMENTAL INCREMENTAL"),
    ] {
        lab.set_now(BEGIN + time::Duration::days(days));
        let (what, reason) = chosen(&mut lab, &news(&format!("day {days}"), days * 86_400)).await;
        assert_eq!(what, expected, "{days}");
        if days == 8 {
            assert_eq!(
                reason,
                "the last BATCH started 8 days ago, FULL_REFRESH_EVERY is 7d"
            );
        }
    }
    assert_eq!(reads(&lab)[3..], [1, 1], "the jobs were asked once");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_not_permitted_is_named_with_its_permission_and_stops_nothing() {
    for (operation, permission) in [
        (Operation::GetIdMappingTable, "cleanrooms:GetIdMappingTable"),
        (
            Operation::GetIdMappingWorkflow,
            "entityresolution:GetIdMappingWorkflow",
        ),
        (Operation::GetSchema, "cleanrooms:GetSchema"),
    ] {
        let mut lab = lab_with(TABLE, &[]).await;
        lab.aws
            .fail_always(operation, Fault::Refuse(Exception::access_denied()));
        let (what, reason) = chosen(&mut lab, &news("a", -10)).await;
        assert_eq!(what, "STARTED none FACTS_UNAVAILABLE");
        let head = format!("{operation:?} failed: AccessDeniedException: ");
        let tail = format!("; allow the function's role {permission}; the service chooses");
        assert!(
            reason.starts_with(&head) && reason.ends_with(&tail),
            "{reason}"
        );
        assert_eq!(lab.aws.calls_of(operation).len(), 1, "it is not retried");
        // Allowed, it is read at the next request.
        lab.aws.repair(operation);
        lab.pass(Duration::from_secs(60));
        let (what, _) = chosen(&mut lab, &news("b", 30)).await;
        assert_eq!(what, "STARTED INCREMENTAL INCREMENTAL");
    }

    // The jobs alone: nothing is known of a BATCH.
    for operation in [Operation::ListIdMappingJobs, Operation::GetIdMappingJob] {
        let mut lab = lab_with(TABLE, &[FULL_REFRESH]).await;
        earlier_job(&lab, "BATCH", 1);
        lab.aws
            .fail_always(operation, Fault::Refuse(Exception::access_denied()));
        let (what, reason) = chosen(&mut lab, &news("a", -10)).await;
        assert_eq!(what, "STARTED BATCH FULL_REFRESH_DUE");
        let permission = format!("allow the function's role entityresolution:{operation:?}");
        assert!(reason.contains(&permission), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_otherwise_is_retried_and_then_stops_nothing() {
    for operation in &READS[..3] {
        for (fault, said) in [
            (
                Fault::Refuse(Exception::throttling()),
                "ThrottlingException",
            ),
            (
                Fault::Refuse(Exception::internal_server()),
                "InternalServerException",
            ),
            (Fault::Drop, "dropped on order"),
        ] {
            let mut lab = lab_with(TABLE, &[]).await;
            lab.aws.fail_next(*operation, fault.clone());
            lab.aws.fail_next(*operation, fault.clone());
            let (what, _) = chosen(&mut lab, &news("a", -10)).await;
            assert_eq!(what, "STARTED INCREMENTAL INCREMENTAL", "{operation:?}");

            let mut lab = lab_with(TABLE, &[]).await;
            lab.aws.fail_always(*operation, fault);
            let (what, reason) = chosen(&mut lab, &news("a", -10)).await;
            assert_eq!(what, "STARTED none FACTS_UNAVAILABLE", "{operation:?}");
            assert!(reason.contains(said), "{reason}");
            assert_eq!(lab.aws.calls_of(*operation).len(), 3);
        }
        // One that is never answered, in the time that there is.
        for seconds in [3, 5, 120] {
            let mut lab = lab_with(TABLE, &[]).await;
            lab.timeout = Duration::from_secs(seconds);
            lab.aws.fail_always(*operation, Fault::AcceptAndHang);
            let (what, reason) = chosen(&mut lab, &news("a", -10)).await;
            assert_eq!(what, "STARTED none FACTS_UNAVAILABLE", "{seconds}");
            assert!(reason.contains("no answer within "), "{reason}");
        }
    }

    // Answers that nobody understands.
    for (operation, answer, said) in [
        (
            Operation::GetIdMappingTable,
            "{}",
            "GetIdMappingTable returns no ID mapping workflow",
        ),
        (
            Operation::GetIdMappingWorkflow,
            r#"{"workflowName":"w","workflowArn":"a","inputSourceConfig":[],"createdAt":1.0,"updatedAt":1.0,
                "idMappingTechniques":{"idMappingType":"MAGIC"}}"#,
            "returns no idMappingType that this function knows",
        ),
        (Operation::GetSchema, "{}", "GetSchema returns no schema"),
    ] {
        let mut lab = lab_with(TABLE, &[]).await;
        lab.aws
            .fail_always(operation, Fault::Answer(answer.to_owned()));
        let (what, reason) = chosen(&mut lab, &news("a", -10)).await;
        assert_eq!(what, "STARTED none FACTS_UNAVAILABLE");
        assert!(reason.contains(said), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_that_cannot_be_read_this_time_are_no_reason_for_a_batch() {
    for fault in [Fault::Refuse(Exception::throttling()), Fault::AcceptAndHang] {
        for operation in [Operation::ListIdMappingJobs, Operation::GetIdMappingJob] {
            let mut lab = lab_with(TABLE, &[FULL_REFRESH]).await;
            earlier_job(&lab, "BATCH", 1);
            lab.aws.fail_always(operation, fault.clone());
            let (what, reason) = chosen(&mut lab, &news("a", -10)).await;
            assert_eq!(what, "STARTED none FACTS_UNAVAILABLE");
            assert!(reason.contains(&format!("{operation:?}")), "{reason}");
        }
    }
    // A workflow that is not there has none.
    let mut lab = lab_with(TABLE, &[FULL_REFRESH]).await;
    lab.aws.fail_always(
        Operation::ListIdMappingJobs,
        Fault::Refuse(Exception::not_found()),
    );
    let (what, _) = chosen(&mut lab, &news("a", -10)).await;
    assert_eq!(what, "STARTED BATCH FULL_REFRESH_DUE");
    // There is time for all that are promised.
    let mut lab = lab_with(TABLE, &[FULL_REFRESH]).await;
    earlier_job(&lab, "BATCH", 1);
    for _ in 0..24 {
        earlier_job(&lab, "INCREMENTAL", 0);
    }
    lab.aws.fail_always(
        Operation::GetIdMappingJob,
        Fault::Slow(Duration::from_millis(300)),
    );
    let (what, _) = chosen(&mut lab, &news("a", -10)).await;
    assert_eq!(what, "STARTED INCREMENTAL INCREMENTAL");
}

#[tokio::test(start_paused = true)]
async fn what_others_started_meanwhile_is_chosen_by() {
    // A change that the other one's job covers, and one that it does not.
    for (seconds, jobs) in [(-10, 1), (0, 2)] {
        let lab = lab_with(TABLE, &[FULL_REFRESH]).await;
        lab.aws.fail_next(
            Operation::ListIdMappingJobs,
            Fault::Slow(Duration::from_millis(600)),
        );
        let (one, other) = (news("a", seconds), news("b", 0));
        let (_, _) = tokio::join!(lab.invoke(0, "first", &one), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            lab.invoke(1, "second", &other).await
        });
        let types: Vec<_> = lab.aws.jobs().into_iter().map(|job| job.job_type).collect();
        let batches = types.iter().filter(|sent| sent.as_deref() == Some("BATCH"));
        assert_eq!(batches.count(), 1, "{types:?}");
        assert_eq!(types.len(), jobs, "{types:?}");
    }
}

/// What is missing matters only where it could change the choice.
#[tokio::test(start_paused = true)]
async fn a_choice_that_needs_no_missing_fact_is_made() {
    for (table, settings, expected) in [
        (PROVIDER, &[][..], "STARTED none PROVIDER_WORKFLOW"),
        (NOT_INCREMENTAL, &[], "STARTED BATCH NOT_INCREMENTAL"),
        (TABLE, &[FULL_REFRESH], "STARTED BATCH FULL_REFRESH_DUE"),
    ] {
        let mut lab = lab_with(table, settings).await;
        lab.aws.fail_always(
            Operation::GetSchema,
            Fault::Refuse(Exception::access_denied()),
        );
        let (what, _) = chosen(&mut lab, &news("a", -10)).await;
        assert_eq!(what, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_shows_the_choice_with_its_facts_and_what_would_happen_now() {
    let mut lab = lab_with(TABLE, &[FULL_REFRESH]).await;
    lab.aws.set_slot(Slot::Conflict);
    let mut dry = event_file("bare-auto-dry-run.json");
    dry["time"] = json!("2026-11-23T01:59:50Z");
    earlier_job(&lab, "BATCH", 3);
    let plan = lab.response(&dry).await["outcomes"][0].clone();
    let at = "2026-11-23T02:00:00.000Z";
    assert_eq!(plan["outcome"], "PLANNED");
    assert_eq!(plan["plan"], "START");
    assert_eq!(plan["jobType"], "INCREMENTAL");
    assert_eq!(plan["decision"]["rule"], "INCREMENTAL");
    assert_eq!(
        plan["facts"],
        json!({
            "workflow": {
                "workflowName": format!("workflow-{T1}"),
                "idMappingType": "RULE_BASED",
                "incrementalRunConfig": true,
                "readAt": at,
            },
            "populated": { "value": true, "readAt": at },
            "lastBatch": { "startedAt": "2026-11-20T02:00:00.000Z", "readAt": at },
            "jobRunning": { "value": false, "readAt": at },
        })
    );
    // A job of the workflow runs that this function did not start.
    lab.aws.start_foreign_job(T1);
    lab.pass(Duration::from_secs(60));
    let plan = lab.response(&dry).await["outcomes"][0].clone();
    assert_eq!(plan["plan"], "WAIT");
    assert_eq!(plan["facts"]["jobRunning"]["value"], true);
    assert_eq!(plan["facts"]["populated"]["readAt"], at, "it was kept");
    lab.aws.end_job(Status::Succeeded);

    // It is covered, and still shows what would be chosen.
    lab.outcomes(&news("a", -10)).await;
    let plan = lab.response(&dry).await["outcomes"][0].clone();
    assert_eq!(
        (&plan["plan"], &plan["jobType"]),
        (&json!("COVERED"), &json!("INCREMENTAL"))
    );
    assert_eq!(plan["facts"].get("jobRunning"), None, "nothing asks for it");

    // What cannot be read is said once.
    let mut lab = lab_with(TABLE, &[]).await;
    lab.aws.fail_always(
        Operation::GetIdMappingTable,
        Fault::Refuse(Exception::access_denied()),
    );
    let plan = lab.response(&dry).await["outcomes"][0].clone();
    assert_eq!(plan["plan"], "START");
    let unavailable = plan["facts"]["unavailable"].as_array().unwrap();
    assert_eq!(unavailable.len(), 1, "{unavailable:?}");
    assert_eq!(plan["facts"].get("lastBatch"), None);

    let changes = [
        Operation::PopulateIdMappingTable,
        Operation::PutItem,
        Operation::PutEvents,
        Operation::SendMessage,
    ];
    for operation in changes {
        assert!(lab.aws.calls_of(operation).is_empty(), "{operation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_event_becomes_a_delete_only_job() {
    let arns = table_arn(T1);
    let settings = [
        ("DEFAULT_JOB_TYPE", "AUTO"),
        ("ID_MAPPING_TABLE_ARNS", &arns),
    ];
    let mut lab = lab_with(TABLE, &settings).await;
    lab.aws.set_slot(Slot::Conflict);
    lab.aws.start_foreign_job(T1);
    let event = event_file("cloudtrail-delete.json");
    lab.set_now(time::macros::datetime!(2026-11-23 09:13 UTC));
    let (what, _) = chosen(&mut lab, &event).await;
    assert_eq!(what, "WAITING DELETE_ONLY DELETE_REQUEST");
    assert_eq!(reads(&lab), [0; 5], "it needs no facts");
    let waits: Value = serde_json::from_str(&lab.aws.messages("waiting")[0].body).unwrap();
    assert_eq!(waits["request"]["jobType"], "DELETE_ONLY");

    // From the line it is the same request, by the same rule.
    lab.aws.end_job(Status::Succeeded);
    lab.pass(VISIBILITY);
    assert!(lab.poll(0).await);
    let started = lab.details()[1].clone();
    assert_eq!(started["outcome"], "STARTED");
    assert_eq!(started["jobType"], "DELETE_ONLY");
    assert_eq!(started["decision"], lab.details()[0]["decision"]);
    assert_eq!(started["decision"]["rule"], "DELETE_REQUEST");
    assert_eq!(lab.outcomes(&event).await, ["COVERED"]);

    // No other job covers it, and it covers no other news.
    let mut later = event.clone();
    later["id"] = json!("later");
    later["time"] = json!("2026-11-23T09:12:00Z");
    assert_eq!(lab.outcomes(&later).await, ["COVERED"]);
    lab.aws.end_job(Status::Succeeded);
    let data = News::with_wish("data", T1, "AUTO", lab.now() - time::Duration::HOUR).event;
    let (what, _) = chosen(&mut lab, &data).await;
    assert_eq!(what, "STARTED INCREMENTAL INCREMENTAL");

    // A call of another name is news like any other; one that failed is none.
    lab.aws.end_job(Status::Succeeded);
    let mut other = event.clone();
    other["detail"]["eventName"] = json!("StartIdMappingJob");
    other["id"] = json!("other");
    other["time"] = json!("2026-11-23T09:30:00Z");
    lab.set_now(time::macros::datetime!(2026-11-23 09:31 UTC));
    let (what, _) = chosen(&mut lab, &other).await;
    assert_eq!(what, "STARTED INCREMENTAL INCREMENTAL");
    assert!(
        lab.outcomes(&event_file("cloudtrail-failed-call.json"))
            .await
            .is_empty()
    );
    // A requested_type that is not AUTO stands.
    let settings = [
        ("DEFAULT_JOB_TYPE", "SERVICE_DEFAULT"),
        ("ID_MAPPING_TABLE_ARNS", &arns),
    ];
    let mut lab = lab_with(TABLE, &settings).await;
    let (what, _) = chosen(&mut lab, &event).await;
    assert_eq!(what, "STARTED none SERVICE_DEFAULT");
}

#[tokio::test(start_paused = true)]
async fn what_auto_asks_for_is_covered_by_every_job_that_brings_news() {
    for (requested_type, covered) in [
        ("BATCH", true),
        ("INCREMENTAL", true),
        ("SERVICE_DEFAULT", true),
        ("DELETE_ONLY", false),
    ] {
        let mut lab = lab_with(TABLE, &[]).await;
        let first =
            News::with_wish("first", T1, requested_type, BEGIN - time::Duration::MINUTE).event;
        lab.outcomes(&first).await;
        let outcome = lab.response(&news("a", -10)).await["outcomes"][0].clone();
        let expected = if covered { "COVERED" } else { "STARTED" };
        assert_eq!(outcome["outcome"], expected, "{requested_type}");
        if covered {
            // It did not come to a choice, nor to a read.
            assert_eq!(
                (outcome.get("decision"), outcome.get("jobType")),
                (None, None)
            );
            assert_eq!(reads(&lab), [0; 5]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_for_auto_waits_as_auto_and_is_chosen_for_when_its_turn_comes() {
    let mut lab = lab_with(TABLE, &[FULL_REFRESH]).await;
    lab.aws.set_slot(Slot::Conflict);
    earlier_job(&lab, "BATCH", 6);
    lab.aws.start_foreign_job(T2);
    let (what, _) = chosen(&mut lab, &news("a", -10)).await;
    assert_eq!(what, "WAITING INCREMENTAL INCREMENTAL");
    let waits: Value = serde_json::from_str(&lab.aws.messages("waiting")[0].body).unwrap();
    assert_eq!(waits["request"]["jobType"], "AUTO");
    lab.aws.end_job(Status::Succeeded);
    lab.pass(Duration::from_secs(30 * 60 * 60));
    assert!(lab.poll(0).await);
    let started = lab.details()[1].clone();
    assert_eq!(started["outcome"], "STARTED");
    assert_eq!(started["decision"]["rule"], "FULL_REFRESH_DUE");
}

#[tokio::test]
async fn missing_permissions_and_settings_are_warned_of_in_the_log() {
    let variables = [("DEFAULT_JOB_TYPE", "AUTO"), FULL_REFRESH];
    let function = Function::start(&variables).await;
    function.aws.fail_always(
        Operation::GetIdMappingWorkflow,
        Fault::Refuse(Exception::access_denied()),
    );
    response(function.invoke(request_for(T1).to_string()).await);
    let lines = function.lines();
    let said = |index: usize| lines[index]["message"].as_str().unwrap();
    assert_eq!(
        (lines.len(), &lines[0]["level"], &lines[1]["level"]),
        (3, &json!("WARN"), &json!("WARN"))
    );
    assert!(said(0).contains("LEDGER_TABLE_NAME"), "{}", said(0));
    assert!(
        said(1).contains("allow the function's role entityresolution:GetIdMappingWorkflow"),
        "{}",
        said(1)
    );
    assert_eq!(lines[2]["rule"], "FACTS_UNAVAILABLE");
}

#[tokio::test(start_paused = true)]
async fn a_choice_by_kept_facts_that_is_refused_is_made_anew() {
    let refused = |lab: &Lab| {
        lab.aws.fail_next(
            Operation::PopulateIdMappingTable,
            Fault::Refuse(Exception::validation("INVALID_CONFIGURATION")),
        );
    };
    let mut lab = lab_with(TABLE, &[]).await;
    assert_eq!(lab.outcomes(&news("a", -10)).await, ["STARTED"]);
    lab.aws.set_table(
        T1,
        Table {
            incremental: false,
            ..TABLE
        },
    );
    lab.pass(Duration::from_secs(60));
    refused(&lab);
    assert_eq!(lab.outcomes(&news("b", 30)).await, ["STARTED"]);
    let rule = lab.details().last().unwrap()["decision"]["rule"].clone();
    assert_eq!(rule, "NOT_INCREMENTAL");
    // Where what is read anew says the same, it is not tried again.
    lab.pass(Duration::from_secs(60));
    refused(&lab);
    lab.failure(&news("c", 100)).await;
    assert_eq!(lab.announced().last().unwrap(), "REJECTED RequestRefused");
    let calls = lab.aws.calls_of(Operation::PopulateIdMappingTable).len();
    assert_eq!(calls, 4);
}

#[tokio::test(start_paused = true)]
async fn a_choice_is_made_anew_once() {
    let mut lab = lab_with(TABLE, &[]).await;
    assert_eq!(lab.outcomes(&news("a", -10)).await, ["STARTED"]);
    lab.aws.set_table(T1, NOT_INCREMENTAL);
    lab.pass(Duration::from_secs(60));
    for _ in 0..2 {
        lab.aws.fail_next(
            Operation::PopulateIdMappingTable,
            Fault::Refuse(Exception::validation("INVALID_CONFIGURATION")),
        );
    }
    lab.failure(&news("b", 30)).await;
    assert_eq!(lab.announced().last().unwrap(), "REJECTED RequestRefused");
    assert_eq!(reads(&lab), [2, 2, 2, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_for_is_not_chosen_anew_nor_what_is_refused_for_another_reason() {
    let invalid = Exception::validation("INVALID_CONFIGURATION");
    for (requested_type, refusal, read) in [
        ("INCREMENTAL", invalid, 0),
        ("AUTO", Exception::access_denied(), 1),
    ] {
        let mut lab = lab_with(NOT_INCREMENTAL, &[]).await;
        lab.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::Refuse(refusal));
        let event =
            News::with_wish("a", T1, requested_type, BEGIN - time::Duration::seconds(10)).event;
        lab.failure(&event).await;
        assert!(
            lab.announced()[0].starts_with("REJECTED"),
            "{requested_type}"
        );
        assert_eq!(reads(&lab), [read, read, read, 0, 0], "{requested_type}");
        assert!(lab.aws.jobs().is_empty(), "{requested_type}");
    }
}

/// A schema may be not ready for other reasons than that the table was never populated.
#[tokio::test(start_paused = true)]
async fn only_a_schema_that_says_so_is_of_a_table_that_was_never_populated() {
    let never = "ID_MAPPING_TABLE_NOT_POPULATED";
    for (status, code, expected) in [
        ("NOT_READY", never, "STARTED BATCH FIRST_POPULATION"),
        (
            "NOT_READY",
            "COLLABORATION_ANALYSIS_RULE_NOT_CONFIGURED",
            "STARTED INCREMENTAL INCREMENTAL",
        ),
        ("READY", never, "STARTED INCREMENTAL INCREMENTAL"),
    ] {
        let mut lab = lab_with(TABLE, &[]).await;
        let details = json!([{
            "status": status,
            "analysisType": "DIRECT_ANALYSIS",
            "reasons": [{ "code": code, "message": "said" }],
        }]);
        let schema = json!({ "schema": { "name": "table", "schemaStatusDetails": details } });
        lab.aws
            .fail_next(Operation::GetSchema, Fault::Answer(schema.to_string()));
        let (what, _) = chosen(&mut lab, &news("a", -10)).await;
        assert_eq!(what, expected, "{status} {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_read_of_a_thousand_tables_is_kept_and_with_one_more_all_begin_anew() {
    let mut lab = Lab::new(Slot::Unlimited).await;
    let ask = |numbers: std::ops::Range<usize>| {
        let targets: Vec<Value> = numbers
            .map(|number| {
                let mut target =
                    request_for(&format!("bbbbbbbb-{number:04}-4000-8000-000000000001"));
                target["jobType"] = json!("AUTO");
                target
            })
            .collect();
        json!({ "targets": targets, "dryRun": true })
    };
    for hundred in 0..10 {
        lab.response(&ask(100 * hundred..100 * (hundred + 1))).await;
    }
    assert_eq!(reads(&lab)[..3], [1_000; 3]);
    lab.response(&ask(0..1)).await;
    lab.response(&ask(999..1_000)).await;
    assert_eq!(reads(&lab)[..3], [1_000; 3]);
    lab.response(&ask(1_000..1_001)).await;
    lab.response(&ask(0..1)).await;
    assert_eq!(reads(&lab)[..3], [1_002; 3]);
}
