//! Calls whose outcome is unknown: their job is looked up before another call is made.

use std::time::Duration;

use fake_aws::{Exception, FakeAws, Fault, Operation, Slot, Status};
use serde_json::{Value, json};

use crate::harness::{M, T1, T2, T3, event_file, request_for, request_for_all, table_arn};
use crate::invariants::Change;
use crate::simulator::{BEGIN, Simulator, TIMEOUT, VISIBILITY};

fn change(id: &str, seconds: i64) -> Value {
    Change::new(id, T1, BEGIN + time::Duration::seconds(seconds)).event
}

fn calls(sim: &Simulator) -> usize {
    sim.aws.calls_of(Operation::PopulateIdMappingTable).len()
}

/// A call whose job runs and is not found: it is unknown, and its request waits.
async fn unknown() -> Simulator {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    sim.aws.hide_jobs(100);
    assert_eq!(
        sim.outcomes(&change("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );
    sim
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_started_and_not_answered_is_found() {
    for fault in [
        Fault::AcceptAndFail,
        Fault::AcceptAndDrop,
        Fault::AcceptAndHang,
        Fault::Answer("{}".to_owned()),
    ] {
        let mut sim = Simulator::new(Slot::Conflict).await;
        sim.aws.fail_next(Operation::PopulateIdMappingTable, fault);
        let event = event_file("population-requested.json");
        let outcome = sim.response(&event).await["outcomes"][0].clone();
        assert_eq!(outcome["outcome"], "STARTED");
        assert_eq!(
            outcome["entityResolutionJobId"],
            sim.aws.jobs()[0].entity_resolution_id
        );
        assert_eq!(outcome.get("idMappingJobId"), None);
        assert_eq!(outcome["jobType"], "INCREMENTAL");
        assert_eq!(sim.details(), std::slice::from_ref(&outcome));
        // A repeat is covered by that job.
        let repeat = sim.response(&event).await["outcomes"][0].clone();
        assert_eq!(repeat["outcome"], "COVERED");
        assert_eq!(
            repeat["entityResolutionJobId"],
            outcome["entityResolutionJobId"]
        );
        assert_eq!((calls(&sim), sim.aws.jobs().len()), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_shows_late_is_looked_up_for_a_while() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    sim.aws.hide_jobs(3);
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["STARTED"]);
    assert_eq!(sim.aws.calls_of(Operation::ListIdMappingJobs).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_search_leaves_time_to_enqueue_the_request() {
    for seconds in [3, 5, 10, 60] {
        let mut sim = Simulator::new(Slot::Conflict).await;
        sim.timeout = Duration::from_secs(seconds);
        sim.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndHang);
        sim.aws.hide_jobs(100);
        let began = sim.now();
        assert_eq!(
            sim.outcomes(&change("a", -10)).await,
            ["WAITING OutcomeUnknown"]
        );
        let took = sim.now() - began;
        assert!(
            took < sim.timeout && took < Duration::from_secs(51),
            "{took}"
        );
        assert_eq!(sim.aws.messages("waiting").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_not_found_is_looked_up_once_more_before_a_call() {
    let mut sim = unknown().await;
    let said = sim.details()[0]["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        said.contains("Entity Resolution has no job that began at that time"),
        "{said}"
    );
    sim.aws.hide_jobs(0);
    sim.pass(VISIBILITY);
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced(), ["WAITING OutcomeUnknown", "STARTED"]);
    assert_eq!(
        sim.details()[1]["entityResolutionJobId"],
        sim.aws.jobs()[0].entity_resolution_id
    );
    assert_eq!(sim.details()[1]["startedAt"], "2026-11-23T02:00:00.000Z");
    assert!(sim.aws.messages("waiting").is_empty());
    assert_eq!((calls(&sim), sim.aws.jobs().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn another_request_reconciles_an_unknown_call_for_both() {
    let mut sim = unknown().await;
    sim.aws.hide_jobs(0);
    sim.pass(Duration::from_secs(60));
    assert_eq!(sim.outcomes(&change("b", -5)).await, ["COVERED"]);
    assert_eq!(
        sim.announced(),
        ["WAITING OutcomeUnknown", "STARTED", "COVERED"]
    );
    assert_eq!(
        (
            &sim.details()[1]["requestId"],
            &sim.details()[2]["requestId"]
        ),
        (&json!("a"), &json!("b"))
    );
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced()[3..], ["COVERED"]);
    assert_eq!(sim.aws.jobs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_found_nowhere_is_started_at_the_second_try() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    assert_eq!(
        sim.outcomes(&change("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );
    sim.pass(VISIBILITY);
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced(), ["WAITING OutcomeUnknown", "STARTED"]);
    assert_eq!(sim.details()[1]["idMappingJobId"], sim.aws.jobs()[0].id);
}

#[tokio::test(start_paused = true)]
async fn without_permission_to_look_up_jobs_the_request_waits_and_names_the_permission() {
    for (operation, permission) in [
        (Operation::GetIdMappingTable, "cleanrooms:GetIdMappingTable"),
        (
            Operation::ListIdMappingJobs,
            "entityresolution:ListIdMappingJobs",
        ),
        (
            Operation::GetIdMappingJob,
            "entityresolution:GetIdMappingJob",
        ),
    ] {
        let mut sim = Simulator::new(Slot::Conflict).await;
        sim.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
        sim.aws
            .fail_always(operation, Fault::Refuse(Exception::access_denied()));
        assert_eq!(
            sim.outcomes(&change("a", -10)).await,
            ["WAITING OutcomeUnknown"]
        );
        let said = sim.details()[0]["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            said.contains(&format!("{operation:?} failed: AccessDeniedException: ")),
            "{said}"
        );
        assert!(
            said.contains(&format!("allow the function's role {permission}")),
            "{said}"
        );
        assert_eq!(
            sim.aws.calls_of(operation).len(),
            1,
            "it is not asked again and again"
        );
        // The job runs, so the slot is busy until it ends; then one more job runs: the one case.
        sim.pass(VISIBILITY);
        assert!(sim.poll(0).await);
        assert_eq!((calls(&sim), sim.aws.jobs().len()), (2, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_job_that_can_be_the_calls_own_reconciles_it() {
    // A job that was started at Entity Resolution by hand.
    let mut sim = Simulator::new(Slot::Unlimited).await;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    sim.aws.start_foreign_job(T1);
    assert_eq!(
        sim.outcomes(&change("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );

    // One that failed.
    let mut sim = Simulator::new(Slot::Unlimited).await;
    sim.aws.start_foreign_job(T1);
    sim.aws.state().jobs[0].foreign = false;
    sim.aws.end_job(Status::Failed);
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    assert_eq!(
        sim.outcomes(&change("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );

    // Two that could be.
    let mut sim = Simulator::new(Slot::Unlimited).await;
    for index in 0..2 {
        sim.aws.start_foreign_job(T1);
        sim.aws.state().jobs[index].foreign = false;
    }
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    assert_eq!(
        sim.outcomes(&change("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );
    let said = sim.details()[0]["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        said.contains("Entity Resolution has 2 jobs that began at that time"),
        "{said}"
    );

    // One that began before the call, and one that began long after it.
    for seconds in [-6, 301] {
        let mut sim = Simulator::new(Slot::Unlimited).await;
        sim.aws.start_foreign_job(T1);
        sim.aws.state().jobs[0].foreign = false;
        sim.aws.state().jobs[0].started_at += time::Duration::seconds(seconds);
        sim.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
        assert_eq!(
            sim.outcomes(&change("a", -10)).await,
            ["WAITING OutcomeUnknown"],
            "{seconds}"
        );
    }

    // One that another call of the ledger started, a moment ago.
    let mut sim = Simulator::new(Slot::Unlimited).await;
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["STARTED"]);
    sim.pass(Duration::from_secs(1));
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    assert_eq!(
        sim.outcomes(&change("b", 0)).await,
        ["WAITING OutcomeUnknown"]
    );

    // Where a second one began as soon, it is the call's.
    let mut sim = Simulator::new(Slot::Unlimited).await;
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["STARTED"]);
    sim.pass(Duration::from_secs(1));
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    assert_eq!(sim.outcomes(&change("b", 0)).await, ["STARTED"]);
    assert_eq!(
        sim.details()[1]["entityResolutionJobId"],
        sim.aws.jobs()[1].entity_resolution_id
    );
    // The found one is known by its id.
    sim.pass(Duration::from_millis(100));
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    assert_eq!(
        sim.outcomes(&change("c", 1)).await,
        ["WAITING OutcomeUnknown"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_among_many_is_found_on_a_later_page() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash);
    sim.deliver(0, &change("a", -10)).await;
    // Newest first.
    for index in 1..=60 {
        sim.aws.start_foreign_job(T1);
        sim.aws.state().jobs[index].started_at += time::Duration::minutes(10);
    }
    sim.pass(TIMEOUT + Duration::from_secs(2));
    sim.repeat(0).await;
    assert_eq!(sim.announced(), ["STARTED"]);
    assert_eq!(sim.aws.calls_of(Operation::ListIdMappingJobs).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_expired_claim_is_reconciled_in_the_same_way() {
    // The job runs: it is found.
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash);
    sim.deliver(0, &change("a", -10)).await;
    sim.repeat(0).await;
    assert_eq!(sim.announced(), ["WAITING SlotBusy"], "the claim is live");
    sim.pass(TIMEOUT + Duration::from_secs(2));
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced(), ["WAITING SlotBusy", "STARTED"]);
    assert_eq!((calls(&sim), sim.aws.jobs().len()), (1, 1));

    // No job runs: it is looked for once more, and then started.
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Crash);
    sim.deliver(0, &change("a", -10)).await;
    sim.pass(TIMEOUT + Duration::from_secs(2));
    sim.repeat(0).await;
    assert_eq!(sim.announced(), ["WAITING OutcomeUnknown"]);
    let said = sim.details()[0]["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        said.contains("was called at 2026-11-23T02:00:00.000Z and its outcome is unknown"),
        "{said}"
    );
    sim.pass(VISIBILITY);
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced(), ["WAITING OutcomeUnknown", "STARTED"]);
    assert_eq!(sim.aws.jobs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_lost_answer_costs_one_call_for_any_number_of_requests() {
    // Where every job is accepted, one call too many is one job too many.
    for slot in [Slot::Queue, Slot::Unlimited, Slot::Conflict] {
        // In one batch, with and without permission to look.
        for permitted in [true, false] {
            let mut sim = Simulator::new(slot).await;
            sim.aws
                .fail_always(Operation::PopulateIdMappingTable, Fault::AcceptAndFail);
            sim.aws.state().shown_after = time::Duration::minutes(4);
            if !permitted {
                sim.aws.fail_always(
                    Operation::ListIdMappingJobs,
                    Fault::Refuse(Exception::access_denied()),
                );
            }
            for number in 0..10 {
                let event = change(&format!("change-{number}"), -10 - number);
                sim.aws.send("waiting", &event.to_string());
            }
            assert!(sim.poll(0).await);
            assert_eq!((calls(&sim), sim.aws.jobs().len()), (1, 1), "{slot:?}");
            assert_eq!(sim.announced(), vec!["WAITING OutcomeUnknown"; 10]);
            // Nor soon after.
            sim.pass(Duration::from_secs(60));
            sim.outcomes(&change("change-0", -10)).await;
            sim.outcomes(&change("later", -5)).await;
            assert_eq!(calls(&sim), 1);
            sim.pass(VISIBILITY);
            while sim.poll(0).await {}
            if permitted {
                assert_eq!((calls(&sim), sim.aws.jobs().len()), (1, 1), "{slot:?}");
                assert!(sim.aws.messages("waiting").is_empty());
            } else {
                assert_eq!(calls(&sim), 2, "{slot:?}");
            }
        }

        // By a duplicate of the bus, by Lambda's retry, by two requested types of one payload.
        let mut sim = Simulator::new(slot).await;
        sim.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash);
        sim.aws.state().shown_after = time::Duration::minutes(4);
        let requested_type = |job_type: &str| {
            let mut target = request_for(T1);
            target["jobType"] = json!(job_type);
            target
        };
        let both = json!({
            "targets": [requested_type("BATCH"), requested_type("INCREMENTAL")],
            "requestId": "both",
            "time": "2026-11-23T01:59:50Z",
        });
        sim.deliver(0, &both).await;
        sim.pass(TIMEOUT + Duration::from_secs(2));
        sim.repeat(0).await;
        sim.outcomes(&both).await;
        assert_eq!(calls(&sim), 1, "{slot:?}");
        sim.pass(VISIBILITY);
        while sim.poll(0).await {}
        assert_eq!((calls(&sim), sim.aws.jobs().len()), (1, 1), "{slot:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn while_reads_fail_a_call_is_not_abandoned_for_an_hour() {
    let mut sim = Simulator::new(Slot::Queue).await;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    sim.aws.fail_always(
        Operation::ListIdMappingJobs,
        Fault::Refuse(Exception::throttling()),
    );
    assert_eq!(
        sim.outcomes(&change("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );
    for _ in 0..3 {
        sim.pass(VISIBILITY);
        assert!(sim.poll(0).await);
        assert_eq!(calls(&sim), 1);
    }
    // Then a missed change would cost more than a job.
    sim.pass(VISIBILITY);
    assert!(sim.poll(0).await);
    assert_eq!((calls(&sim), sim.aws.jobs().len()), (2, 2));

    // If they work again before, the job is found.
    let mut sim = Simulator::new(Slot::Queue).await;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    sim.aws.fail_always(
        Operation::ListIdMappingJobs,
        Fault::Refuse(Exception::internal_server()),
    );
    sim.outcomes(&change("a", -10)).await;
    sim.pass(VISIBILITY);
    sim.aws.repair(Operation::ListIdMappingJobs);
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced()[1..], ["STARTED"]);
    assert_eq!(sim.aws.jobs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_shows_after_its_call_was_abandoned_is_still_recorded() {
    let mut sim = unknown().await;
    sim.pass(VISIBILITY);
    assert!(sim.poll(0).await);
    assert_eq!(calls(&sim), 2, "it was abandoned, and the slot is busy");
    sim.aws.hide_jobs(0);
    sim.pass(VISIBILITY);
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced(), ["WAITING OutcomeUnknown", "STARTED"]);
    assert_eq!((calls(&sim), sim.aws.jobs().len()), (2, 1));
    assert!(sim.aws.messages("waiting").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_shows_late_is_found_though_the_next_calls_answer_was_lost_too() {
    for second in [
        Fault::Refuse(Exception::internal_server()),
        Fault::Crash,
        Fault::Drop,
    ] {
        let mut sim = unknown().await;
        sim.pass(VISIBILITY);
        // It is abandoned. The slot is busy with its job, and the next answer is lost too.
        sim.aws
            .fail_next(Operation::PopulateIdMappingTable, second.clone());
        sim.poll(0).await;
        sim.aws.hide_jobs(0);
        for _ in 0..2 {
            sim.pass(VISIBILITY);
            sim.poll(0).await;
        }
        assert_eq!(sim.announced().last().unwrap(), "STARTED", "{second:?}");
        sim.aws.end_job(Status::Succeeded);
        sim.pass(VISIBILITY);
        sim.poll(0).await;
        assert!(sim.aws.messages("waiting").is_empty());
        assert_eq!(sim.aws.jobs().len(), 1, "{second:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_job_of_an_old_unknown_call_is_looked_up_twice_too() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Crash);
    sim.deliver(0, &change("a", -10)).await;
    sim.pass(VISIBILITY);
    sim.repeat(0).await;
    assert_eq!(sim.announced(), ["WAITING OutcomeUnknown"]);
    assert_eq!(calls(&sim), 1);
    sim.pass(VISIBILITY);
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced().last().unwrap(), "STARTED");
}

#[tokio::test(start_paused = true)]
async fn a_lost_calls_job_is_looked_up_once_for_any_number_of_requests() {
    let mut looks = Vec::new();
    for count in [1, 10] {
        let mut sim = Simulator::new(Slot::Conflict).await;
        sim.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
        sim.aws.hide_jobs(1_000);
        // In the batch that made the call, and in one that comes later.
        let mut of_count = Vec::new();
        for batch in 0..2 {
            for number in 0..count {
                let event = change(&format!("{batch}-{number}"), -10);
                sim.aws.send("waiting", &event.to_string());
            }
            let before = sim.aws.calls_of(Operation::ListIdMappingJobs).len();
            assert!(sim.poll(0).await);
            of_count.push(sim.aws.calls_of(Operation::ListIdMappingJobs).len() - before);
            sim.pass(Duration::from_secs(10));
        }
        looks.push(of_count);
    }
    assert_eq!(looks[0][1], 1);
    assert_eq!(looks[0], looks[1]);
}

#[tokio::test(start_paused = true)]
async fn a_job_is_found_though_entity_resolutions_clock_is_behind() {
    for seconds in [-5, -1, 5] {
        let mut sim = Simulator::new(Slot::Conflict).await;
        sim.aws.state().entity_resolution_ahead = time::Duration::seconds(seconds);
        sim.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
        assert_eq!(
            sim.outcomes(&change("a", -10)).await,
            ["STARTED"],
            "{seconds}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_known_job_is_recognized_where_entity_resolution_uses_clean_rooms_id() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    sim.aws.state().same_ids = true;
    // By their starts only, the second one would be nearer to the first one's call.
    sim.aws.state().entity_resolution_ahead = time::Duration::seconds(-1);
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["STARTED"]);
    sim.pass(Duration::from_secs(1));
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    assert_eq!(sim.outcomes(&change("b", 0)).await, ["STARTED"]);
    assert_eq!(
        sim.details()[1]["entityResolutionJobId"],
        sim.aws.jobs()[1].entity_resolution_id
    );
}

#[tokio::test(start_paused = true)]
async fn each_of_five_candidates_is_read_and_none_of_more() {
    for (foreign, outcome) in [(4, "STARTED"), (5, "WAITING OutcomeUnknown")] {
        let mut sim = Simulator::new(Slot::Unlimited).await;
        for _ in 0..foreign {
            sim.aws.start_foreign_job(T1);
        }
        sim.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
        assert_eq!(sim.outcomes(&change("a", -10)).await, [outcome]);
        let read = sim.aws.calls_of(Operation::GetIdMappingJob).len();
        assert_eq!(read, if foreign == 4 { 5 } else { 0 });
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_calls_job_cannot_be_told_from_another_queued_one_the_call_is_not_abandoned() {
    let mut sim = Simulator::new(Slot::Queue).await;
    sim.aws.state().queued_have_no_start = true;
    sim.aws.start_foreign_job(T1);
    assert!(sim.aws.start_job_by_hand(T1, Some("INCREMENTAL")));
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    assert_eq!(
        sim.outcomes(&change("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );
    let said = sim.details()[0]["error"]["message"].to_string();
    assert!(
        said.contains("Entity Resolution has 2 jobs that are queued or began at that time"),
        "{said}"
    );
    for _ in 0..3 {
        sim.pass(VISIBILITY);
        assert!(sim.poll(0).await);
    }
    assert_eq!((calls(&sim), sim.aws.jobs().len()), (1, 3));
}

/// Tables with one workflow, whose jobs are in one list.
async fn with_one_workflow(slot: Slot, settings: &[(&str, &str)]) -> Simulator {
    let sim = Simulator::with(FakeAws::in_process(), slot, settings).await;
    sim.aws.state().shared_workflow = true;
    sim
}

#[tokio::test(start_paused = true)]
async fn a_job_that_this_invocation_started_for_another_table_is_not_taken() {
    let mut sim = with_one_workflow(Slot::Conflict, &[]).await;
    sim.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Slow(Duration::ZERO),
    );
    sim.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::internal_server()),
    );
    let mut both = request_for_all(&[T1, T2]);
    both["jobType"] = json!("INCREMENTAL");
    assert_eq!(
        sim.outcomes(&both).await,
        ["STARTED", "WAITING OutcomeUnknown"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_that_the_ledger_knows_of_another_table_is_not_taken() {
    let arns = [table_arn(T1), table_arn(T2)].join(",");
    let mut sim = with_one_workflow(Slot::Queue, &[("ID_MAPPING_TABLE_ARNS", &arns)]).await;
    let other = |id| Change::new(id, T2, BEGIN - time::Duration::seconds(10)).event;
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["STARTED"]);
    sim.pass(Duration::from_secs(2));
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    assert_eq!(sim.outcomes(&other("b")).await, ["WAITING OutcomeUnknown"]);
    // Where the other table's item cannot be read, no job is taken either.
    sim.pass(VISIBILITY);
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced().last().unwrap(), "STARTED");
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    sim.pass(Duration::from_secs(60));
    let now = Change::new("c", T2, sim.now() - time::Duration::seconds(2)).event;
    let fails = Fault::Refuse(Exception::access_denied());
    for fault in [
        Fault::Slow(Duration::ZERO),
        Fault::Slow(Duration::ZERO),
        fails,
    ] {
        sim.aws.fail_next(Operation::GetItem, fault);
    }
    sim.timeout = Duration::from_secs(3);
    assert_eq!(sim.outcomes(&now).await, ["WAITING OutcomeUnknown"]);
    let said = sim.details().last().unwrap()["error"]["message"].to_string();
    assert!(said.contains("GetItem of the ledger's item"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_later_request_with_the_name_of_a_lost_call_is_another_request() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash);
    sim.deliver(0, &change("a", -10)).await;
    sim.repeats.clear();
    sim.pass(Duration::from_secs(10 * 60));
    // The lost call's job is found and announced. It began before this change.
    let outcomes = sim.outcomes(&change("a", 500)).await;
    assert_eq!(outcomes, ["WAITING SlotBusy"]);
    assert_eq!(sim.announced(), ["STARTED", "WAITING SlotBusy"]);
}

#[tokio::test(start_paused = true)]
async fn queued_jobs_of_other_tables_are_not_taken_however_much_later_they_started() {
    let arns = [T1, T2, T3].map(table_arn).join(",");
    let mut sim = with_one_workflow(Slot::Queue, &[("ID_MAPPING_TABLE_ARNS", &arns)]).await;
    sim.aws.state().queued_have_no_start = true;
    sim.aws.start_foreign_job(T1);
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Crash);
    sim.deliver(0, &change("a", -10)).await;
    // The claim of the crashed invocation has expired.
    sim.pass(Duration::from_secs(8 * 60));
    let outcomes = sim.outcomes(&request_for_all(&[T2, T3])).await;
    assert_eq!(outcomes, ["STARTED", "STARTED"]);
    sim.repeat(0).await;
    assert_eq!(sim.announced()[2..], ["WAITING OutcomeUnknown"]);
    let said = sim.details()[2]["error"]["message"].to_string();
    assert!(said.contains("no job that began at that time"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn tables_with_workflows_of_their_own_do_not_share_jobs() {
    let arns = [table_arn(T1), table_arn(T2)].join(",");
    let settings = [("ID_MAPPING_TABLE_ARNS", arns.as_str())];
    let mut sim = Simulator::with(FakeAws::in_process(), Slot::Queue, &settings).await;
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["STARTED"]);
    sim.pass(Duration::from_secs(1));
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    let other = Change::new("b", T2, BEGIN - time::Duration::seconds(10)).event;
    assert_eq!(sim.outcomes(&other).await, ["STARTED"]);
    assert_eq!(
        sim.details()[1]["entityResolutionJobId"],
        sim.aws.jobs()[1].entity_resolution_id
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_that_may_belong_to_another_tables_lost_call_reconciles_neither() {
    let arns = [table_arn(T1), table_arn(T2)].join(",");
    let mut sim = with_one_workflow(Slot::Queue, &[("ID_MAPPING_TABLE_ARNS", &arns)]).await;
    sim.aws.hide_jobs(100);
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    assert_eq!(
        sim.outcomes(&change("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    let other = Change::new("b", T2, BEGIN - time::Duration::seconds(10)).event;
    assert_eq!(sim.outcomes(&other).await, ["WAITING OutcomeUnknown"]);
    sim.aws.hide_jobs(0);
    sim.pass(Duration::from_secs(60));
    assert_eq!(
        sim.outcomes(&change("c", -10)).await,
        ["WAITING OutcomeUnknown"]
    );
    let said = sim.details().last().unwrap()["error"]["message"].to_string();
    let shared = format!("may belong to a call for membership/{M}/idmappingtable/{T2}");
    assert!(said.contains(&shared), "{said}");
}

#[tokio::test(start_paused = true)]
async fn another_tables_older_start_or_lost_call_is_not_mistaken_for_a_call() {
    let arns = [table_arn(T1), table_arn(T2)].join(",");
    let settings = [("ID_MAPPING_TABLE_ARNS", arns.as_str())];
    for other_is_lost in [false, true] {
        let mut sim = with_one_workflow(Slot::Queue, &settings).await;
        let other = Change::new("other", T2, BEGIN - time::Duration::seconds(10)).event;
        if other_is_lost {
            sim.aws
                .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
        }
        sim.outcomes(&other).await;
        sim.pass(Duration::from_secs(10 * 60));
        sim.aws.state().calls.clear();
        sim.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
        assert_eq!(sim.outcomes(&change("a", 500)).await, ["STARTED"]);
        // The other table's workflow does not matter.
        let read = sim.aws.calls_of(Operation::GetIdMappingTable).len();
        assert_eq!(read, 1, "lost: {other_is_lost}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_of_another_table_that_seems_to_begin_within_the_calls_time_is_not_taken() {
    let arns = [table_arn(T1), table_arn(T2)].join(",");
    let settings = [("ID_MAPPING_TABLE_ARNS", arns.as_str())];
    let mut sim = with_one_workflow(Slot::Queue, &settings).await;
    sim.aws.state().entity_resolution_ahead = time::Duration::seconds(-4);
    let called_at = sim.now();
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Crash);
    sim.deliver(0, &change("a", -10)).await;
    // Five minutes is the latest start; this one began a little later, by another clock.
    sim.set_now(called_at + time::Duration::seconds(303));
    let other = Change::new("other", T2, BEGIN + time::Duration::seconds(290)).event;
    assert_eq!(sim.outcomes(&other).await, ["STARTED"]);
    sim.pass(Duration::from_secs(60));
    sim.repeat(0).await;
    assert_eq!(sim.announced(), ["STARTED", "WAITING OutcomeUnknown"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_call_whose_job_failed_ran_and_is_not_taken_for_a_later_job() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash);
    sim.deliver(0, &change("a", -10)).await;
    sim.pass(Duration::from_secs(30));
    sim.aws.end_job(Status::Failed);
    sim.pass(Duration::from_secs(30));
    assert!(sim.aws.start_job_by_hand(T1, Some("INCREMENTAL")));
    sim.pass(Duration::from_secs(200));
    sim.repeat(0).await;
    assert_eq!(sim.announced(), ["WAITING SlotBusy"], "it is started again");
    sim.aws.end_job(Status::Succeeded);
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced().last().unwrap(), "STARTED");
    assert_eq!(sim.aws.jobs().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_lost_call_whose_job_failed_at_once_is_started_again_at_the_next_try() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    sim.aws.state().fails_at_once = true;
    assert_eq!(
        sim.outcomes(&change("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );
    let said = sim.details()[0]["error"]["message"].to_string();
    assert!(
        said.contains("which failed; the request needs another job"),
        "{said}"
    );
    sim.aws.state().fails_at_once = false;
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced().last().unwrap(), "STARTED");
}

#[tokio::test(start_paused = true)]
async fn a_partial_list_does_not_show_that_no_job_runs() {
    let mut sim = Simulator::new(Slot::Queue).await;
    sim.aws.state().oldest_first = true;
    for _ in 0..501 {
        sim.aws.start_foreign_job(T1);
        sim.aws.end_job(Status::Succeeded);
    }
    sim.pass(Duration::from_secs(24 * 60 * 60));
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    let change = Change::new("a", T1, sim.now() - time::Duration::seconds(10));
    // It is found on the 21st page.
    assert_eq!(sim.outcomes(&change.event).await, ["STARTED"]);

    // Where there is no time to read so far, nothing is known.
    sim.pass(Duration::from_secs(60 * 60));
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    sim.aws.fail_always(
        Operation::ListIdMappingJobs,
        Fault::Slow(Duration::from_secs(1)),
    );
    let change = Change::new("b", T1, sim.now() - time::Duration::seconds(10));
    assert_eq!(
        sim.outcomes(&change.event).await,
        ["WAITING OutcomeUnknown"]
    );
    for _ in 0..2 {
        sim.pass(VISIBILITY);
        sim.poll(0).await;
    }
    assert_eq!(sim.announced().last().unwrap(), "WAITING OutcomeUnknown");
    sim.aws.repair(Operation::ListIdMappingJobs);
    sim.pass(VISIBILITY);
    sim.poll(0).await;
    assert_eq!(sim.announced().last().unwrap(), "STARTED");
    let own = sim.aws.jobs().iter().filter(|job| !job.foreign).count();
    assert_eq!(own, 2);
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_cannot_be_read_yet_is_not_abandoned_after_five_minutes() {
    let mut sim = Simulator::new(Slot::Queue).await;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    sim.aws.fail_always(
        Operation::GetIdMappingJob,
        Fault::Refuse(Exception::not_found()),
    );
    assert_eq!(
        sim.outcomes(&change("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );
    sim.pass(VISIBILITY);
    assert!(sim.poll(0).await);
    assert_eq!(calls(&sim), 1);
    sim.aws.repair(Operation::GetIdMappingJob);
    sim.pass(VISIBILITY);
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced().last().unwrap(), "STARTED");
    assert_eq!((calls(&sim), sim.aws.jobs().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_queued_job_without_a_start_may_be_the_calls_unless_it_is_known() {
    let mut sim = Simulator::new(Slot::Queue).await;
    sim.aws.start_foreign_job(T1);
    sim.aws.state().queued_have_no_start = true;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["STARTED"]);
    assert_eq!(
        sim.details()[0]["entityResolutionJobId"],
        sim.aws.jobs()[1].entity_resolution_id
    );
    // Its job is known now, so the next lost call is not taken for it.
    sim.pass(Duration::from_secs(60));
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    assert_eq!(
        sim.outcomes(&change("b", 30)).await,
        ["WAITING OutcomeUnknown"]
    );

    // Also with an id of its own.
    let mut sim = Simulator::new(Slot::Queue).await;
    sim.aws.start_foreign_job(T1);
    sim.pass(Duration::from_secs(20));
    sim.aws.state().queued_have_no_start = true;
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["STARTED"]);
    sim.pass(Duration::from_secs(60));
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    assert_eq!(
        sim.outcomes(&change("b", 30)).await,
        ["WAITING OutcomeUnknown"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_known_job_that_began_late_is_not_taken_for_the_job_of_a_lost_call() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    assert_eq!(sim.outcomes(&sim.event("a", T1)).await, ["STARTED"]);
    // It was queued for 42 seconds.
    sim.aws.state().jobs[0].started_at += time::Duration::seconds(42);
    sim.set_now(BEGIN + time::Duration::seconds(46));
    let change = BEGIN + time::Duration::seconds(44);
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    let outcomes = sim.outcomes(&Change::new("b", T1, change).event).await;
    assert_eq!(
        outcomes,
        ["WAITING OutcomeUnknown"],
        "the only job began before the change: {:?}",
        sim.details().last()
    );
}

#[tokio::test(start_paused = true)]
async fn a_known_job_that_has_ended_does_not_hide_the_queued_job_of_a_lost_call() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    sim.aws.state().queued_have_no_start = true;
    assert_eq!(sim.outcomes(&sim.event("a", T1)).await, ["STARTED"]);
    sim.aws.state().jobs[0].started_at += time::Duration::seconds(30);
    sim.pass(Duration::from_secs(10 * 60));
    sim.aws.end_job(Status::Succeeded);
    sim.pass(Duration::from_secs(60 * 60));
    // Another account's jobs are ahead of it in Entity Resolution's queue.
    sim.aws.start_foreign_job(T3);
    sim.aws.set_slot(Slot::Queue);
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    sim.outcomes(&sim.event("b", T1)).await;
    for _ in 0..3 {
        sim.pass(VISIBILITY);
        while sim.poll(0).await {}
    }
    assert_eq!(sim.jobs_of(T1), 2, "{:?}", sim.announced());
}

/// A job of one table fails, and its `FAILED` is announced. Then the answer to a call for another table, or the same one,
/// is lost, and its job shows a little later and succeeds.
async fn failed_and_then_lost(sim: &mut Simulator, failed: &str, lost: &str) {
    assert_eq!(sim.outcomes(&sim.event("a", failed)).await, ["STARTED"]);
    sim.pass(Duration::from_secs(1));
    sim.aws.end_job(Status::Failed);
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced(), ["STARTED", "FAILED JobFailed"]);
    sim.pass(Duration::from_secs(2));
    sim.aws.state().shown_after = time::Duration::milliseconds(2_500);
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    sim.outcomes(&sim.event("b", lost)).await;
    sim.pass(Duration::from_secs(10));
    while sim.poll(0).await {}
    sim.aws.end_job(Status::Succeeded);
    for _ in 0..3 {
        sim.pass(VISIBILITY);
        while sim.poll(0).await {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_failure_is_announced_is_not_taken_for_the_job_of_a_lost_call() {
    let variables: &[(&str, &str)] = &[("TRACK_COMPLETION", "true")];
    let mut sim = Simulator::with(FakeAws::in_process(), Slot::Conflict, variables).await;
    failed_and_then_lost(&mut sim, T1, T1).await;
    assert_eq!(sim.jobs_of(T1), 2, "{:?}", sim.announced());
}

#[tokio::test(start_paused = true)]
async fn a_failed_job_of_another_table_is_not_taken_for_the_job_of_a_lost_call() {
    let arns = [table_arn(T1), table_arn(T2)].join(",");
    let settings = [
        ("ID_MAPPING_TABLE_ARNS", arns.as_str()),
        ("TRACK_COMPLETION", "true"),
    ];
    let mut sim = with_one_workflow(Slot::Conflict, &settings).await;
    failed_and_then_lost(&mut sim, T2, T1).await;
    assert_eq!(sim.jobs_of(T1), 1, "{:?}", sim.announced());
}

#[tokio::test(start_paused = true)]
async fn another_table_that_cannot_be_read_does_not_make_a_call_given_up() {
    let arns = [table_arn(T1), table_arn(T2)].join(",");
    let settings = [("ID_MAPPING_TABLE_ARNS", arns.as_str())];
    for (refusal, expected) in [
        (Exception::not_found(), "STARTED"),
        (Exception::access_denied(), "WAITING OutcomeUnknown"),
    ] {
        let mut sim = Simulator::with(FakeAws::in_process(), Slot::Queue, &settings).await;
        assert_eq!(sim.outcomes(&sim.event("a", T1)).await, ["STARTED"]);
        sim.pass(Duration::from_secs(1));
        sim.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
        // Each look reads the call's own table first, then the other one.
        let reads = std::sync::atomic::AtomicUsize::new(0);
        sim.aws.fail_by(move |_, operation| {
            let is_read = operation == Operation::GetIdMappingTable;
            let number =
                reads.fetch_add(usize::from(is_read), std::sync::atomic::Ordering::Relaxed);
            (is_read && number % 2 == 1).then(|| Fault::Refuse(refusal.clone()))
        });
        let outcomes = sim.outcomes(&sim.event("b", T2)).await;
        assert_eq!(outcomes, [expected]);
        for _ in 0..2 {
            sim.pass(VISIBILITY);
            while sim.poll(0).await {}
        }
        assert_eq!(sim.jobs_of(T2), 1, "{:?}", sim.announced());
    }
}
