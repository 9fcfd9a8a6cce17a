//! `AUTO`: the job type that follows from a table's facts, over the services' wire formats.

use std::time::Duration;

use fake_aws::{Exception, FakeAws, Fault, Operation, Slot, Status, Table};
use serde_json::{Value, json};

use crate::function::{Function, response};
use crate::harness::{T1, T2, event_file, request_for, table_arn};
use crate::invariants::Change;
use crate::simulator::{BEGIN, Simulator, VISIBILITY};

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

async fn simulator_with(table: Table, settings: &[(&str, &str)]) -> Simulator {
    let sim = Simulator::with(FakeAws::in_process(), Slot::Unlimited, settings).await;
    sim.aws.set_table(T1, table);
    sim
}

/// A change this many seconds after the beginning, for which a job type is chosen.
fn change(id: &str, seconds: i64) -> Value {
    Change::of_type(id, T1, "AUTO", BEGIN + time::Duration::seconds(seconds)).event
}

/// How often each of the reads was called so far.
fn reads(sim: &Simulator) -> [usize; 5] {
    READS.map(|operation| sim.aws.calls_of(operation).len())
}

/// Outcome, job type and rule of the one outcome, and its reason.
async fn chosen(sim: &mut Simulator, payload: &Value) -> (String, String) {
    let outcome = sim.response(payload).await["outcomes"][0].clone();
    let word = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    let sent = sim.aws.jobs().last().and_then(|job| job.job_type.clone());
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
        let mut sim = simulator_with(table, settings).await;
        let (what, _) = chosen(&mut sim, &event_file("bare-auto.json")).await;
        assert_eq!(what, expected, "{table:?}");
        // The jobs are asked only where a full refresh may be due.
        let asks = table == TABLE && settings == [FULL_REFRESH];
        assert_eq!(reads(&sim), [1, 1, 1, usize::from(asks), 0], "{table:?}");
    }
    // It is also what DEFAULT_JOB_TYPE may say.
    let mut sim = simulator_with(NOT_INCREMENTAL, &[("DEFAULT_JOB_TYPE", "AUTO")]).await;
    let (what, _) = chosen(&mut sim, &request_for(T1)).await;
    assert_eq!(what, "STARTED BATCH NOT_INCREMENTAL");
}

#[tokio::test(start_paused = true)]
async fn a_table_that_was_populated_since_is_known_to_be() {
    let mut sim = simulator_with(NEVER_POPULATED, &[]).await;
    let (what, _) = chosen(&mut sim, &change("a", -10)).await;
    assert_eq!(what, "STARTED BATCH FIRST_POPULATION");
    sim.aws.end_job(Status::Succeeded);
    sim.pass(Duration::from_secs(60));
    let (what, reason) = chosen(&mut sim, &change("b", 30)).await;
    assert_eq!(what, "STARTED INCREMENTAL INCREMENTAL");
    assert!(reason.ends_with("(as read 1 minute ago)"), "{reason}");
    // Facts that rarely change were kept, and the schema was read again.
    assert_eq!(reads(&sim), [1, 1, 2, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_first_choice_costs_three_reads_and_the_next_ones_none_for_a_while() {
    let mut sim = simulator_with(TABLE, &[]).await;
    for (minutes, expected) in [
        (0, [1, 1, 1, 0, 0]),
        (14, [1, 1, 1, 0, 0]),
        (15, [2, 2, 2, 0, 0]),
    ] {
        sim.set_now(BEGIN + time::Duration::minutes(minutes));
        let (what, reason) =
            chosen(&mut sim, &change(&format!("at {minutes}"), minutes * 60)).await;
        assert_eq!(what, "STARTED INCREMENTAL INCREMENTAL");
        assert_eq!(reads(&sim), expected, "{minutes}");
        let old = reason.ends_with("(as read 14 minutes ago)");
        assert_eq!(old, minutes == 14, "{reason}");
    }
    // The facts of another table are read.
    let other = Change::of_type("other", T2, "AUTO", BEGIN).event;
    chosen(&mut sim, &other).await;
    assert_eq!(reads(&sim), [3, 3, 3, 0, 0]);
    // Those of the first one are kept.
    chosen(&mut sim, &change("once more", 16 * 60)).await;
    assert_eq!(reads(&sim), [3, 3, 3, 0, 0]);
    // A requested type needs no facts.
    for requested_type in ["BATCH", "SERVICE_DEFAULT", "DELETE_ONLY"] {
        sim.pass(Duration::from_secs(24 * 60 * 60));
        let change = Change::of_type(requested_type, T1, requested_type, sim.now());
        sim.outcomes(&change.event).await;
    }
    assert_eq!(reads(&sim), [3, 3, 3, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn workflow_and_schema_are_read_concurrently() {
    let mut sim = simulator_with(TABLE, &[]).await;
    for operation in [Operation::GetIdMappingWorkflow, Operation::GetSchema] {
        sim.aws
            .fail_always(operation, Fault::Slow(Duration::from_secs(2)));
    }
    let began = sim.now();
    chosen(&mut sim, &change("a", -10)).await;
    let took = sim.now() - began;
    assert!(took < time::Duration::seconds(3), "{took}");
}

/// A job of the table's workflow that Clean Rooms started before the ledger was there.
fn earlier_job(sim: &Simulator, job_type: &str, days_ago: i64) {
    sim.aws.start_foreign_job(T1);
    let job = &mut *sim.aws.state();
    let job = job.jobs.last_mut().unwrap();
    job.foreign = false;
    job.job_type = Some(job_type.to_owned());
    job.started_at -= time::Duration::days(days_ago);
    job.status = Status::Succeeded;
}

#[tokio::test(start_paused = true)]
async fn a_first_deployment_on_an_old_table_does_not_start_a_batch() {
    let mut sim = simulator_with(TABLE, &[FULL_REFRESH]).await;
    for days_ago in [20, 10, 3] {
        earlier_job(&sim, "BATCH", days_ago);
    }
    for days_ago in [2, 1, 0] {
        earlier_job(&sim, "INCREMENTAL", days_ago);
    }
    let (what, reason) = chosen(&mut sim, &change("a", -10)).await;
    assert_eq!(what, "STARTED INCREMENTAL INCREMENTAL");
    assert!(
        reason.ends_with("; the last BATCH started 3 days ago, FULL_REFRESH_EVERY is 7d"),
        "{reason}"
    );
    // Newest first, and no further than need be.
    assert_eq!(reads(&sim), [1, 1, 1, 1, 4]);
    sim.pass(Duration::from_secs(60));
    chosen(&mut sim, &change("b", 30)).await;
    assert_eq!(reads(&sim), [1, 1, 1, 1, 4], "what was read is kept");
}

#[tokio::test(start_paused = true)]
async fn only_a_clean_rooms_batch_that_did_not_fail_counts_and_the_ledger_keeps_it() {
    let mut sim = simulator_with(TABLE, &[FULL_REFRESH]).await;
    earlier_job(&sim, "BATCH", 8); // too old
    earlier_job(&sim, "BATCH", 1);
    sim.aws.state().jobs[1].status = Status::Failed;
    earlier_job(&sim, "BATCH", 1);
    sim.aws.state().jobs[2].foreign = true;
    let (what, reason) = chosen(&mut sim, &change("a", -10)).await;
    assert_eq!(what, "STARTED BATCH FULL_REFRESH_DUE");
    assert_eq!(reason, "no BATCH is known, FULL_REFRESH_EVERY is 7d");
    assert_eq!(reads(&sim), [1, 1, 1, 1, 1]);

    // From now on the ledger knows, for a week.
    for (days, expected) in [
        (1, "STARTED INCREMENTAL INCREMENTAL"),
        (7, "STARTED INCREMENTAL INCREMENTAL"),
        (8, "STARTED BATCH FULL_REFRESH_DUE"),
        (9, "STARTED INCREMENTAL INCREMENTAL"),
    ] {
        sim.set_now(BEGIN + time::Duration::days(days));
        let (what, reason) = chosen(&mut sim, &change(&format!("day {days}"), days * 86_400)).await;
        assert_eq!(what, expected, "{days}");
        if days == 8 {
            assert_eq!(
                reason,
                "the last BATCH started 8 days ago, FULL_REFRESH_EVERY is 7d"
            );
        }
    }
    assert_eq!(reads(&sim)[3..], [1, 1], "the jobs were asked once");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_not_permitted_names_its_permission_and_does_not_stop_the_job() {
    for (operation, permission) in [
        (Operation::GetIdMappingTable, "cleanrooms:GetIdMappingTable"),
        (
            Operation::GetIdMappingWorkflow,
            "entityresolution:GetIdMappingWorkflow",
        ),
        (Operation::GetSchema, "cleanrooms:GetSchema"),
    ] {
        let mut sim = simulator_with(TABLE, &[]).await;
        sim.aws
            .fail_always(operation, Fault::Refuse(Exception::access_denied()));
        let (what, reason) = chosen(&mut sim, &change("a", -10)).await;
        assert_eq!(what, "STARTED none FACTS_UNAVAILABLE");
        let head = format!("{operation:?} failed: AccessDeniedException: ");
        let tail = format!("; allow the function's role {permission}; the service chooses");
        assert!(
            reason.starts_with(&head) && reason.ends_with(&tail),
            "{reason}"
        );
        assert_eq!(sim.aws.calls_of(operation).len(), 1, "it is not retried");
        // Allowed, it is read at the next request.
        sim.aws.repair(operation);
        sim.pass(Duration::from_secs(60));
        let (what, _) = chosen(&mut sim, &change("b", 30)).await;
        assert_eq!(what, "STARTED INCREMENTAL INCREMENTAL");
    }

    // Only the jobs cannot be read: no BATCH is known.
    for operation in [Operation::ListIdMappingJobs, Operation::GetIdMappingJob] {
        let mut sim = simulator_with(TABLE, &[FULL_REFRESH]).await;
        earlier_job(&sim, "BATCH", 1);
        sim.aws
            .fail_always(operation, Fault::Refuse(Exception::access_denied()));
        let (what, reason) = chosen(&mut sim, &change("a", -10)).await;
        assert_eq!(what, "STARTED BATCH FULL_REFRESH_DUE");
        let permission = format!("allow the function's role entityresolution:{operation:?}");
        assert!(reason.contains(&permission), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_otherwise_is_retried_and_does_not_stop_the_job() {
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
            let mut sim = simulator_with(TABLE, &[]).await;
            sim.aws.fail_next(*operation, fault.clone());
            sim.aws.fail_next(*operation, fault.clone());
            let (what, _) = chosen(&mut sim, &change("a", -10)).await;
            assert_eq!(what, "STARTED INCREMENTAL INCREMENTAL", "{operation:?}");

            let mut sim = simulator_with(TABLE, &[]).await;
            sim.aws.fail_always(*operation, fault);
            let (what, reason) = chosen(&mut sim, &change("a", -10)).await;
            assert_eq!(what, "STARTED none FACTS_UNAVAILABLE", "{operation:?}");
            assert!(reason.contains(said), "{reason}");
            assert_eq!(sim.aws.calls_of(*operation).len(), 3);
        }
        // One that is never answered, in the time that there is.
        for seconds in [3, 5, 120] {
            let mut sim = simulator_with(TABLE, &[]).await;
            sim.timeout = Duration::from_secs(seconds);
            sim.aws.fail_always(*operation, Fault::AcceptAndHang);
            let (what, reason) = chosen(&mut sim, &change("a", -10)).await;
            assert_eq!(what, "STARTED none FACTS_UNAVAILABLE", "{seconds}");
            assert!(reason.contains("no answer within "), "{reason}");
        }
    }

    // Answers that cannot be decoded.
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
        let mut sim = simulator_with(TABLE, &[]).await;
        sim.aws
            .fail_always(operation, Fault::Answer(answer.to_owned()));
        let (what, reason) = chosen(&mut sim, &change("a", -10)).await;
        assert_eq!(what, "STARTED none FACTS_UNAVAILABLE");
        assert!(reason.contains(said), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_that_cannot_be_read_now_do_not_cause_a_batch() {
    for fault in [Fault::Refuse(Exception::throttling()), Fault::AcceptAndHang] {
        for operation in [Operation::ListIdMappingJobs, Operation::GetIdMappingJob] {
            let mut sim = simulator_with(TABLE, &[FULL_REFRESH]).await;
            earlier_job(&sim, "BATCH", 1);
            sim.aws.fail_always(operation, fault.clone());
            let (what, reason) = chosen(&mut sim, &change("a", -10)).await;
            assert_eq!(what, "STARTED none FACTS_UNAVAILABLE");
            assert!(reason.contains(&format!("{operation:?}")), "{reason}");
        }
    }
    // A workflow that does not exist has no facts.
    let mut sim = simulator_with(TABLE, &[FULL_REFRESH]).await;
    sim.aws.fail_always(
        Operation::ListIdMappingJobs,
        Fault::Refuse(Exception::not_found()),
    );
    let (what, _) = chosen(&mut sim, &change("a", -10)).await;
    assert_eq!(what, "STARTED BATCH FULL_REFRESH_DUE");
    // There is time for a hundred targets.
    let mut sim = simulator_with(TABLE, &[FULL_REFRESH]).await;
    earlier_job(&sim, "BATCH", 1);
    for _ in 0..24 {
        earlier_job(&sim, "INCREMENTAL", 0);
    }
    sim.aws.fail_always(
        Operation::GetIdMappingJob,
        Fault::Slow(Duration::from_millis(300)),
    );
    let (what, _) = chosen(&mut sim, &change("a", -10)).await;
    assert_eq!(what, "STARTED INCREMENTAL INCREMENTAL");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_another_environment_started_meanwhile_counts_in_the_choice() {
    // A change that the other one's job covers, and one that it does not.
    for (seconds, jobs) in [(-10, 1), (0, 2)] {
        let sim = simulator_with(TABLE, &[FULL_REFRESH]).await;
        sim.aws.fail_next(
            Operation::ListIdMappingJobs,
            Fault::Slow(Duration::from_millis(600)),
        );
        let (one, other) = (change("a", seconds), change("b", 0));
        let (_, _) = tokio::join!(sim.invoke(0, "first", &one), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            sim.invoke(1, "second", &other).await
        });
        let types: Vec<_> = sim.aws.jobs().into_iter().map(|job| job.job_type).collect();
        let batches = types.iter().filter(|sent| sent.as_deref() == Some("BATCH"));
        assert_eq!(batches.count(), 1, "{types:?}");
        assert_eq!(types.len(), jobs, "{types:?}");
    }
}

/// A missing fact matters only where it could change the choice.
#[tokio::test(start_paused = true)]
async fn a_choice_that_needs_no_missing_fact_is_made() {
    for (table, settings, expected) in [
        (PROVIDER, &[][..], "STARTED none PROVIDER_WORKFLOW"),
        (NOT_INCREMENTAL, &[], "STARTED BATCH NOT_INCREMENTAL"),
        (TABLE, &[FULL_REFRESH], "STARTED BATCH FULL_REFRESH_DUE"),
    ] {
        let mut sim = simulator_with(table, settings).await;
        sim.aws.fail_always(
            Operation::GetSchema,
            Fault::Refuse(Exception::access_denied()),
        );
        let (what, _) = chosen(&mut sim, &change("a", -10)).await;
        assert_eq!(what, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_shows_the_choice_with_its_facts_and_what_would_happen_now() {
    let mut sim = simulator_with(TABLE, &[FULL_REFRESH]).await;
    sim.aws.set_slot(Slot::Conflict);
    let mut dry = event_file("bare-auto-dry-run.json");
    dry["time"] = json!("2026-11-23T01:59:50Z");
    earlier_job(&sim, "BATCH", 3);
    let plan = sim.response(&dry).await["outcomes"][0].clone();
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
    sim.aws.start_foreign_job(T1);
    sim.pass(Duration::from_secs(60));
    let plan = sim.response(&dry).await["outcomes"][0].clone();
    assert_eq!(plan["plan"], "WAIT");
    assert_eq!(plan["facts"]["jobRunning"]["value"], true);
    // Nothing that a dry run shows comes from the cache.
    assert_eq!(
        plan["facts"]["populated"]["readAt"],
        "2026-11-23T02:01:00.000Z"
    );
    assert_eq!(plan["error"]["type"], "SlotBusy");
    sim.aws.end_job(Status::Succeeded);

    // It is covered, and still shows what would be chosen.
    sim.outcomes(&change("a", -10)).await;
    let plan = sim.response(&dry).await["outcomes"][0].clone();
    assert_eq!(
        (&plan["plan"], &plan["jobType"]),
        (&json!("COVERED"), &json!("INCREMENTAL"))
    );
    assert_eq!(plan["facts"]["jobRunning"]["value"], true);

    // What cannot be read is said once.
    let mut sim = simulator_with(TABLE, &[]).await;
    sim.aws.fail_always(
        Operation::GetIdMappingTable,
        Fault::Refuse(Exception::access_denied()),
    );
    let plan = sim.response(&dry).await["outcomes"][0].clone();
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
        assert!(sim.aws.calls_of(operation).is_empty(), "{operation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_event_becomes_a_delete_only_job() {
    let arns = table_arn(T1);
    let settings = [
        ("DEFAULT_JOB_TYPE", "AUTO"),
        ("ID_MAPPING_TABLE_ARNS", &arns),
    ];
    let mut sim = simulator_with(TABLE, &settings).await;
    sim.aws.set_slot(Slot::Conflict);
    sim.aws.start_foreign_job(T1);
    let event = event_file("cloudtrail-delete.json");
    sim.set_now(time::macros::datetime!(2026-11-23 09:13 UTC));
    let (what, _) = chosen(&mut sim, &event).await;
    assert_eq!(what, "WAITING DELETE_ONLY DELETE_REQUEST");
    assert_eq!(reads(&sim), [0; 5], "it needs no facts");
    let waits: Value = serde_json::from_str(&sim.aws.messages("waiting")[0].body).unwrap();
    assert_eq!(waits["request"]["jobType"], "DELETE_ONLY");

    // From the waiting queue it is the same request, by the same rule.
    sim.aws.end_job(Status::Succeeded);
    sim.pass(VISIBILITY);
    assert!(sim.poll(0).await);
    let started = sim.details()[1].clone();
    assert_eq!(started["outcome"], "STARTED");
    assert_eq!(started["jobType"], "DELETE_ONLY");
    assert_eq!(started["decision"], sim.details()[0]["decision"]);
    assert_eq!(started["decision"]["rule"], "DELETE_REQUEST");
    assert_eq!(sim.outcomes(&event).await, ["COVERED"]);

    // No other job covers it, and it covers no other change.
    let mut later = event.clone();
    later["id"] = json!("later");
    later["time"] = json!("2026-11-23T09:12:00Z");
    assert_eq!(sim.outcomes(&later).await, ["COVERED"]);
    sim.aws.end_job(Status::Succeeded);
    let data = Change::of_type("data", T1, "AUTO", sim.now() - time::Duration::HOUR).event;
    let (what, _) = chosen(&mut sim, &data).await;
    assert_eq!(what, "STARTED INCREMENTAL INCREMENTAL");

    // Another successful API call is a change like any other. A failed one is not a change.
    sim.aws.end_job(Status::Succeeded);
    let mut other = event.clone();
    other["detail"]["eventName"] = json!("StartIdMappingJob");
    other["id"] = json!("other");
    other["time"] = json!("2026-11-23T09:30:00Z");
    sim.set_now(time::macros::datetime!(2026-11-23 09:31 UTC));
    let (what, _) = chosen(&mut sim, &other).await;
    assert_eq!(what, "STARTED INCREMENTAL INCREMENTAL");
    assert!(
        sim.outcomes(&event_file("cloudtrail-failed-call.json"))
            .await
            .is_empty()
    );
    // A requested type other than AUTO is kept.
    let settings = [
        ("DEFAULT_JOB_TYPE", "SERVICE_DEFAULT"),
        ("ID_MAPPING_TABLE_ARNS", &arns),
    ];
    let mut sim = simulator_with(TABLE, &settings).await;
    let (what, _) = chosen(&mut sim, &event).await;
    assert_eq!(what, "STARTED none SERVICE_DEFAULT");
}

#[tokio::test(start_paused = true)]
async fn a_request_for_auto_is_covered_by_every_job_that_reads_changes() {
    for (requested_type, covered) in [
        ("BATCH", true),
        ("INCREMENTAL", true),
        ("SERVICE_DEFAULT", true),
        ("DELETE_ONLY", false),
    ] {
        let mut sim = simulator_with(TABLE, &[]).await;
        let first =
            Change::of_type("first", T1, requested_type, BEGIN - time::Duration::MINUTE).event;
        sim.outcomes(&first).await;
        let outcome = sim.response(&change("a", -10)).await["outcomes"][0].clone();
        let expected = if covered { "COVERED" } else { "STARTED" };
        assert_eq!(outcome["outcome"], expected, "{requested_type}");
        if covered {
            // Nothing was chosen, and nothing was read.
            assert_eq!(
                (outcome.get("decision"), outcome.get("jobType")),
                (None, None)
            );
            assert_eq!(reads(&sim), [0; 5]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_for_auto_waits_as_auto_and_its_type_is_chosen_when_its_turn_comes() {
    let mut sim = simulator_with(TABLE, &[FULL_REFRESH]).await;
    sim.aws.set_slot(Slot::Conflict);
    earlier_job(&sim, "BATCH", 6);
    sim.aws.start_foreign_job(T2);
    let (what, _) = chosen(&mut sim, &change("a", -10)).await;
    assert_eq!(what, "WAITING INCREMENTAL INCREMENTAL");
    let waits: Value = serde_json::from_str(&sim.aws.messages("waiting")[0].body).unwrap();
    assert_eq!(waits["request"]["jobType"], "AUTO");
    sim.aws.end_job(Status::Succeeded);
    sim.pass(Duration::from_secs(30 * 60 * 60));
    assert!(sim.poll(0).await);
    let started = sim.details()[1].clone();
    assert_eq!(started["outcome"], "STARTED");
    assert_eq!(started["decision"]["rule"], "FULL_REFRESH_DUE");
}

#[tokio::test]
async fn missing_permissions_and_settings_are_logged_as_warnings() {
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
async fn a_choice_by_cached_facts_is_made_again_when_the_service_refuses_it() {
    let refused = |sim: &Simulator| {
        sim.aws.fail_next(
            Operation::PopulateIdMappingTable,
            Fault::Refuse(Exception::validation("INVALID_CONFIGURATION")),
        );
    };
    let mut sim = simulator_with(TABLE, &[]).await;
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["STARTED"]);
    sim.aws.set_table(
        T1,
        Table {
            incremental: false,
            ..TABLE
        },
    );
    sim.pass(Duration::from_secs(60));
    refused(&sim);
    assert_eq!(sim.outcomes(&change("b", 30)).await, ["STARTED"]);
    let rule = sim.details().last().unwrap()["decision"]["rule"].clone();
    assert_eq!(rule, "NOT_INCREMENTAL");
    // If the facts are the same when they are read again, the call is not repeated.
    sim.pass(Duration::from_secs(60));
    refused(&sim);
    sim.failure(&change("c", 100)).await;
    assert_eq!(sim.announced().last().unwrap(), "REJECTED RequestRefused");
    let calls = sim.aws.calls_of(Operation::PopulateIdMappingTable).len();
    assert_eq!(calls, 4);
}

#[tokio::test(start_paused = true)]
async fn a_choice_is_made_again_once() {
    let mut sim = simulator_with(TABLE, &[]).await;
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["STARTED"]);
    sim.aws.set_table(T1, NOT_INCREMENTAL);
    sim.pass(Duration::from_secs(60));
    for _ in 0..2 {
        sim.aws.fail_next(
            Operation::PopulateIdMappingTable,
            Fault::Refuse(Exception::validation("INVALID_CONFIGURATION")),
        );
    }
    sim.failure(&change("b", 30)).await;
    assert_eq!(sim.announced().last().unwrap(), "REJECTED RequestRefused");
    assert_eq!(reads(&sim), [2, 2, 2, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_requested_type_is_not_chosen_again_and_no_type_after_another_refusal() {
    let invalid = Exception::validation("INVALID_CONFIGURATION");
    for (requested_type, refusal, read) in [
        ("INCREMENTAL", invalid, 0),
        ("AUTO", Exception::access_denied(), 1),
    ] {
        let mut sim = simulator_with(NOT_INCREMENTAL, &[]).await;
        sim.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::Refuse(refusal));
        let event =
            Change::of_type("a", T1, requested_type, BEGIN - time::Duration::seconds(10)).event;
        sim.failure(&event).await;
        assert!(
            sim.announced()[0].starts_with("REJECTED"),
            "{requested_type}"
        );
        assert_eq!(reads(&sim), [read, read, read, 0, 0], "{requested_type}");
        assert!(sim.aws.jobs().is_empty(), "{requested_type}");
    }
}

/// A schema may not be ready for other reasons than that the table was never populated.
#[tokio::test(start_paused = true)]
async fn only_a_schema_that_says_so_means_that_a_table_was_never_populated() {
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
        let mut sim = simulator_with(TABLE, &[]).await;
        let details = json!([{
            "status": status,
            "analysisType": "DIRECT_ANALYSIS",
            "reasons": [{ "code": code, "message": "said" }],
        }]);
        let schema = json!({ "schema": { "name": "table", "schemaStatusDetails": details } });
        sim.aws
            .fail_next(Operation::GetSchema, Fault::Answer(schema.to_string()));
        let (what, _) = chosen(&mut sim, &change("a", -10)).await;
        assert_eq!(what, expected, "{status} {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn facts_of_a_thousand_tables_are_cached_and_one_more_table_clears_the_cache() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    let ask = |numbers: std::ops::Range<usize>| {
        let targets: Vec<Value> = numbers
            .map(|number| {
                let mut target =
                    request_for(&format!("bbbbbbbb-{number:04}-4000-8000-000000000001"));
                target["jobType"] = json!("AUTO");
                target
            })
            .collect();
        json!({ "targets": targets })
    };
    for hundred in 0..10 {
        sim.response(&ask(100 * hundred..100 * (hundred + 1))).await;
    }
    assert_eq!(reads(&sim)[..3], [1_000; 3]);
    sim.response(&ask(0..1)).await;
    sim.response(&ask(999..1_000)).await;
    assert_eq!(reads(&sim)[..3], [1_000; 3]);
    sim.response(&ask(1_000..1_001)).await;
    sim.response(&ask(0..1)).await;
    assert_eq!(reads(&sim)[..3], [1_002; 3]);
}
