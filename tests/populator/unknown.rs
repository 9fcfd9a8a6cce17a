//! What is done when a call's outcome is unknown: the job is looked for, and nothing is repeated
//! blindly.

use std::time::Duration;

use fake_aws::{Exception, FakeAws, Fault, Operation, Slot, Status};
use serde_json::{Value, json};

use crate::lab::{BEGIN, Lab, TIMEOUT, VISIBILITY};
use crate::promises::News;
use crate::world::{M, T1, T2, T3, event_file, request_for, request_for_all, table_arn};

fn news(id: &str, seconds: i64) -> Value {
    News::new(id, T1, BEGIN + time::Duration::seconds(seconds)).event
}

fn calls(lab: &Lab) -> usize {
    lab.aws.calls_of(Operation::PopulateIdMappingTable).len()
}

fn event(id: &str, table: &str, lab: &Lab) -> Value {
    News::new(id, table, lab.now() - time::Duration::seconds(2)).event
}

fn jobs_of(lab: &Lab, table: &str) -> usize {
    let jobs = lab.aws.jobs();
    jobs.iter().filter(|job| job.table == table).count()
}

/// A call whose job runs and is not found: it is unknown, and its request waits.
async fn unknown() -> Lab {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    lab.aws.hide_jobs(100);
    assert_eq!(
        lab.outcomes(&news("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );
    lab
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_started_and_not_answered_is_found() {
    for fault in [
        Fault::AcceptAndFail,
        Fault::AcceptAndDrop,
        Fault::AcceptAndHang,
        Fault::Answer("{}".to_owned()),
    ] {
        let mut lab = Lab::new(Slot::Conflict).await;
        lab.aws.fail_next(Operation::PopulateIdMappingTable, fault);
        let event = event_file("population-requested.json");
        let outcome = lab.response(&event).await["outcomes"][0].clone();
        assert_eq!(outcome["outcome"], "STARTED");
        assert_eq!(
            outcome["entityResolutionJobId"],
            lab.aws.jobs()[0].entity_resolution_id
        );
        assert_eq!(outcome.get("idMappingJobId"), None);
        assert_eq!(outcome["jobType"], "INCREMENTAL");
        assert_eq!(lab.details(), std::slice::from_ref(&outcome));
        // A repeat is covered by that job.
        let repeat = lab.response(&event).await["outcomes"][0].clone();
        assert_eq!(repeat["outcome"], "COVERED");
        assert_eq!(
            repeat["entityResolutionJobId"],
            outcome["entityResolutionJobId"]
        );
        assert_eq!((calls(&lab), lab.aws.jobs().len()), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_shows_late_is_looked_for_for_a_while() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    lab.aws.hide_jobs(3);
    assert_eq!(lab.outcomes(&news("a", -10)).await, ["STARTED"]);
    assert_eq!(lab.aws.calls_of(Operation::ListIdMappingJobs).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_search_leaves_time_to_put_the_request_in_line() {
    for seconds in [3, 5, 10, 60] {
        let mut lab = Lab::new(Slot::Conflict).await;
        lab.timeout = Duration::from_secs(seconds);
        lab.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndHang);
        lab.aws.hide_jobs(100);
        let began = lab.now();
        assert_eq!(
            lab.outcomes(&news("a", -10)).await,
            ["WAITING OutcomeUnknown"]
        );
        let took = lab.now() - began;
        assert!(
            took < lab.timeout && took < Duration::from_secs(51),
            "{took}"
        );
        assert_eq!(lab.aws.messages("waiting").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_found_is_looked_for_once_more_before_anything_is_called() {
    let mut lab = unknown().await;
    let said = lab.details()[0]["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        said.contains("Entity Resolution has no job that began at that time"),
        "{said}"
    );
    lab.aws.hide_jobs(0);
    lab.pass(VISIBILITY);
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced(), ["WAITING OutcomeUnknown", "STARTED"]);
    assert_eq!(
        lab.details()[1]["entityResolutionJobId"],
        lab.aws.jobs()[0].entity_resolution_id
    );
    assert_eq!(lab.details()[1]["startedAt"], "2026-11-23T02:00:00.000Z");
    assert!(lab.aws.messages("waiting").is_empty());
    assert_eq!((calls(&lab), lab.aws.jobs().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn another_request_settles_what_is_unknown_for_both() {
    let mut lab = unknown().await;
    lab.aws.hide_jobs(0);
    lab.pass(Duration::from_secs(60));
    assert_eq!(lab.outcomes(&news("b", -5)).await, ["COVERED"]);
    assert_eq!(
        lab.announced(),
        ["WAITING OutcomeUnknown", "STARTED", "COVERED"]
    );
    assert_eq!(
        (
            &lab.details()[1]["requestId"],
            &lab.details()[2]["requestId"]
        ),
        (&json!("a"), &json!("b"))
    );
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced()[3..], ["COVERED"]);
    assert_eq!(lab.aws.jobs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_found_nowhere_is_started_at_the_second_try() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    assert_eq!(
        lab.outcomes(&news("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );
    lab.pass(VISIBILITY);
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced(), ["WAITING OutcomeUnknown", "STARTED"]);
    assert_eq!(lab.details()[1]["idMappingJobId"], lab.aws.jobs()[0].id);
}

#[tokio::test(start_paused = true)]
async fn without_permission_to_look_the_request_waits_and_the_permission_is_named() {
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
        let mut lab = Lab::new(Slot::Conflict).await;
        lab.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
        lab.aws
            .fail_always(operation, Fault::Refuse(Exception::access_denied()));
        assert_eq!(
            lab.outcomes(&news("a", -10)).await,
            ["WAITING OutcomeUnknown"]
        );
        let said = lab.details()[0]["error"]["message"]
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
            lab.aws.calls_of(operation).len(),
            1,
            "it is not asked again and again"
        );
        // The job runs, so the slot is busy until it ends; then one more job runs: the one case.
        lab.pass(VISIBILITY);
        assert!(lab.poll(0).await);
        assert_eq!((calls(&lab), lab.aws.jobs().len()), (2, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_job_that_can_be_the_calls_own_is_taken() {
    // Somebody else's, started at Entity Resolution itself.
    let mut lab = Lab::new(Slot::Unlimited).await;
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    lab.aws.start_foreign_job(T1);
    assert_eq!(
        lab.outcomes(&news("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );

    // One that failed.
    let mut lab = Lab::new(Slot::Unlimited).await;
    lab.aws.start_foreign_job(T1);
    lab.aws.state().jobs[0].foreign = false;
    lab.aws.end_job(Status::Failed);
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    assert_eq!(
        lab.outcomes(&news("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );

    // Two that could be.
    let mut lab = Lab::new(Slot::Unlimited).await;
    for index in 0..2 {
        lab.aws.start_foreign_job(T1);
        lab.aws.state().jobs[index].foreign = false;
    }
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    assert_eq!(
        lab.outcomes(&news("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );
    let said = lab.details()[0]["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        said.contains("Entity Resolution has 2 jobs that began at that time"),
        "{said}"
    );

    // One that began before the call, and one that began long after it.
    for seconds in [-6, 301] {
        let mut lab = Lab::new(Slot::Unlimited).await;
        lab.aws.start_foreign_job(T1);
        lab.aws.state().jobs[0].foreign = false;
        lab.aws.state().jobs[0].started_at += time::Duration::seconds(seconds);
        lab.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
        assert_eq!(
            lab.outcomes(&news("a", -10)).await,
            ["WAITING OutcomeUnknown"],
            "{seconds}"
        );
    }

    // One that another call of the ledger started, a moment ago.
    let mut lab = Lab::new(Slot::Unlimited).await;
    assert_eq!(lab.outcomes(&news("a", -10)).await, ["STARTED"]);
    lab.pass(Duration::from_secs(1));
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    assert_eq!(
        lab.outcomes(&news("b", 0)).await,
        ["WAITING OutcomeUnknown"]
    );

    // Where a second one began as soon, it is the call's.
    let mut lab = Lab::new(Slot::Unlimited).await;
    assert_eq!(lab.outcomes(&news("a", -10)).await, ["STARTED"]);
    lab.pass(Duration::from_secs(1));
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    assert_eq!(lab.outcomes(&news("b", 0)).await, ["STARTED"]);
    assert_eq!(
        lab.details()[1]["entityResolutionJobId"],
        lab.aws.jobs()[1].entity_resolution_id
    );
    // The found one is known by its id.
    lab.pass(Duration::from_millis(100));
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    assert_eq!(
        lab.outcomes(&news("c", 1)).await,
        ["WAITING OutcomeUnknown"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_among_many_is_found_on_a_later_page() {
    let mut lab = Lab::new(Slot::Unlimited).await;
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash);
    lab.deliver(0, &news("a", -10)).await;
    // Newest first.
    for index in 1..=60 {
        lab.aws.start_foreign_job(T1);
        lab.aws.state().jobs[index].started_at += time::Duration::minutes(10);
    }
    lab.pass(TIMEOUT + Duration::from_secs(2));
    lab.repeat(0).await;
    assert_eq!(lab.announced(), ["STARTED"]);
    assert_eq!(lab.aws.calls_of(Operation::ListIdMappingJobs).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_was_left_behind_is_settled_in_the_same_way() {
    // The job runs: it is found.
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash);
    lab.deliver(0, &news("a", -10)).await;
    lab.repeat(0).await;
    assert_eq!(lab.announced(), ["WAITING SlotBusy"], "the claim is live");
    lab.pass(TIMEOUT + Duration::from_secs(2));
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced(), ["WAITING SlotBusy", "STARTED"]);
    assert_eq!((calls(&lab), lab.aws.jobs().len()), (1, 1));

    // No job runs: it is looked for once more, and then started.
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Crash);
    lab.deliver(0, &news("a", -10)).await;
    lab.pass(TIMEOUT + Duration::from_secs(2));
    lab.repeat(0).await;
    assert_eq!(lab.announced(), ["WAITING OutcomeUnknown"]);
    let said = lab.details()[0]["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        said.contains("was called at 2026-11-23T02:00:00.000Z and its outcome is unknown"),
        "{said}"
    );
    lab.pass(VISIBILITY);
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced(), ["WAITING OutcomeUnknown", "STARTED"]);
    assert_eq!(lab.aws.jobs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_lost_answer_is_one_call_however_many_requests_meet_it() {
    // Where every job is accepted, one call too many is one job too many.
    for slot in [Slot::Queue, Slot::Unlimited, Slot::Conflict] {
        // In one batch, with and without permission to look.
        for permitted in [true, false] {
            let mut lab = Lab::new(slot).await;
            lab.aws
                .fail_always(Operation::PopulateIdMappingTable, Fault::AcceptAndFail);
            lab.aws.state().shown_after = time::Duration::minutes(4);
            if !permitted {
                lab.aws.fail_always(
                    Operation::ListIdMappingJobs,
                    Fault::Refuse(Exception::access_denied()),
                );
            }
            for number in 0..10 {
                let event = news(&format!("news-{number}"), -10 - number);
                lab.aws.send("waiting", &event.to_string());
            }
            assert!(lab.poll(0).await);
            assert_eq!((calls(&lab), lab.aws.jobs().len()), (1, 1), "{slot:?}");
            assert_eq!(lab.announced(), vec!["WAITING OutcomeUnknown"; 10]);
            // Nor soon after.
            lab.pass(Duration::from_secs(60));
            lab.outcomes(&news("news-0", -10)).await;
            lab.outcomes(&news("later", -5)).await;
            assert_eq!(calls(&lab), 1);
            lab.pass(VISIBILITY);
            while lab.poll(0).await {}
            if permitted {
                assert_eq!((calls(&lab), lab.aws.jobs().len()), (1, 1), "{slot:?}");
                assert!(lab.aws.messages("waiting").is_empty());
            } else {
                assert_eq!(calls(&lab), 2, "{slot:?}");
            }
        }

        // By a duplicate of the bus, by Lambda's repeat, by two requested_types of one payload.
        let mut lab = Lab::new(slot).await;
        lab.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash);
        lab.aws.state().shown_after = time::Duration::minutes(4);
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
        lab.deliver(0, &both).await;
        lab.pass(TIMEOUT + Duration::from_secs(2));
        lab.repeat(0).await;
        lab.outcomes(&both).await;
        assert_eq!(calls(&lab), 1, "{slot:?}");
        lab.pass(VISIBILITY);
        while lab.poll(0).await {}
        assert_eq!((calls(&lab), lab.aws.jobs().len()), (1, 1), "{slot:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn while_reads_fail_by_themselves_a_call_is_not_given_up_for_an_hour() {
    let mut lab = Lab::new(Slot::Queue).await;
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    lab.aws.fail_always(
        Operation::ListIdMappingJobs,
        Fault::Refuse(Exception::throttling()),
    );
    assert_eq!(
        lab.outcomes(&news("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );
    for _ in 0..3 {
        lab.pass(VISIBILITY);
        assert!(lab.poll(0).await);
        assert_eq!(calls(&lab), 1);
    }
    // Then news that is missed would cost more than a job.
    lab.pass(VISIBILITY);
    assert!(lab.poll(0).await);
    assert_eq!((calls(&lab), lab.aws.jobs().len()), (2, 2));

    // If they work again before, the job is found.
    let mut lab = Lab::new(Slot::Queue).await;
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    lab.aws.fail_always(
        Operation::ListIdMappingJobs,
        Fault::Refuse(Exception::internal_server()),
    );
    lab.outcomes(&news("a", -10)).await;
    lab.pass(VISIBILITY);
    lab.aws.repair(Operation::ListIdMappingJobs);
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced()[1..], ["STARTED"]);
    assert_eq!(lab.aws.jobs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_shows_only_when_its_call_was_given_up_is_known_after_all() {
    let mut lab = unknown().await;
    lab.pass(VISIBILITY);
    assert!(lab.poll(0).await);
    assert_eq!(calls(&lab), 2, "it was given up, and the slot is busy");
    lab.aws.hide_jobs(0);
    lab.pass(VISIBILITY);
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced(), ["WAITING OutcomeUnknown", "STARTED"]);
    assert_eq!((calls(&lab), lab.aws.jobs().len()), (2, 1));
    assert!(lab.aws.messages("waiting").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_shows_late_is_found_though_the_next_calls_answer_was_lost_too() {
    for second in [
        Fault::Refuse(Exception::internal_server()),
        Fault::Crash,
        Fault::Drop,
    ] {
        let mut lab = unknown().await;
        lab.pass(VISIBILITY);
        // It is given up. The slot is busy with its job, and the next answer is lost too.
        lab.aws
            .fail_next(Operation::PopulateIdMappingTable, second.clone());
        lab.poll(0).await;
        lab.aws.hide_jobs(0);
        for _ in 0..2 {
            lab.pass(VISIBILITY);
            lab.poll(0).await;
        }
        assert_eq!(lab.announced().last().unwrap(), "STARTED", "{second:?}");
        lab.aws.end_job(Status::Succeeded);
        lab.pass(VISIBILITY);
        lab.poll(0).await;
        assert!(lab.aws.messages("waiting").is_empty());
        assert_eq!(lab.aws.jobs().len(), 1, "{second:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_left_behind_long_ago_is_looked_for_twice_too() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Crash);
    lab.deliver(0, &news("a", -10)).await;
    lab.pass(VISIBILITY);
    lab.repeat(0).await;
    assert_eq!(lab.announced(), ["WAITING OutcomeUnknown"]);
    assert_eq!(calls(&lab), 1);
    lab.pass(VISIBILITY);
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced().last().unwrap(), "STARTED");
}

#[tokio::test(start_paused = true)]
async fn however_many_requests_meet_a_lost_call_its_job_is_looked_for_once() {
    let mut looks = Vec::new();
    for count in [1, 10] {
        let mut lab = Lab::new(Slot::Conflict).await;
        lab.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
        lab.aws.hide_jobs(1_000);
        // In the batch that made the call, and in one that comes later.
        let mut of_count = Vec::new();
        for batch in 0..2 {
            for number in 0..count {
                let event = news(&format!("{batch}-{number}"), -10);
                lab.aws.send("waiting", &event.to_string());
            }
            let before = lab.aws.calls_of(Operation::ListIdMappingJobs).len();
            assert!(lab.poll(0).await);
            of_count.push(lab.aws.calls_of(Operation::ListIdMappingJobs).len() - before);
            lab.pass(Duration::from_secs(10));
        }
        looks.push(of_count);
    }
    assert_eq!(looks[0][1], 1);
    assert_eq!(looks[0], looks[1]);
}

#[tokio::test(start_paused = true)]
async fn a_job_is_found_though_entity_resolutions_clock_is_behind() {
    for seconds in [-5, -1, 5] {
        let mut lab = Lab::new(Slot::Conflict).await;
        lab.aws.state().entity_resolution_ahead = time::Duration::seconds(seconds);
        lab.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
        assert_eq!(
            lab.outcomes(&news("a", -10)).await,
            ["STARTED"],
            "{seconds}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_known_job_is_told_by_its_id_where_that_is_clean_rooms_id() {
    let mut lab = Lab::new(Slot::Unlimited).await;
    lab.aws.state().same_ids = true;
    // By their starts alone, the second one would be nearer to the first one's call.
    lab.aws.state().entity_resolution_ahead = time::Duration::seconds(-1);
    assert_eq!(lab.outcomes(&news("a", -10)).await, ["STARTED"]);
    lab.pass(Duration::from_secs(1));
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    assert_eq!(lab.outcomes(&news("b", 0)).await, ["STARTED"]);
    assert_eq!(
        lab.details()[1]["entityResolutionJobId"],
        lab.aws.jobs()[1].entity_resolution_id
    );
}

#[tokio::test(start_paused = true)]
async fn of_five_candidates_each_is_looked_at_and_of_more_none() {
    for (foreign, outcome) in [(4, "STARTED"), (5, "WAITING OutcomeUnknown")] {
        let mut lab = Lab::new(Slot::Unlimited).await;
        for _ in 0..foreign {
            lab.aws.start_foreign_job(T1);
        }
        lab.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
        assert_eq!(lab.outcomes(&news("a", -10)).await, [outcome]);
        let read = lab.aws.calls_of(Operation::GetIdMappingJob).len();
        assert_eq!(read, if foreign == 4 { 5 } else { 0 });
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_calls_job_cannot_be_told_from_another_queued_one_the_call_is_not_given_up() {
    let mut lab = Lab::new(Slot::Queue).await;
    lab.aws.state().queued_have_no_start = true;
    lab.aws.start_foreign_job(T1);
    assert!(lab.aws.start_job_by_hand(T1, Some("INCREMENTAL")));
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    assert_eq!(
        lab.outcomes(&news("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );
    let said = lab.details()[0]["error"]["message"].to_string();
    assert!(
        said.contains("Entity Resolution has 2 jobs that are queued or began at that time"),
        "{said}"
    );
    for _ in 0..3 {
        lab.pass(VISIBILITY);
        assert!(lab.poll(0).await);
    }
    assert_eq!((calls(&lab), lab.aws.jobs().len()), (1, 3));
}

/// Tables with one workflow, whose jobs stand in one list.
async fn with_one_workflow(slot: Slot, settings: &[(&str, &str)]) -> Lab {
    let lab = Lab::with(FakeAws::in_process(), slot, settings).await;
    lab.aws.state().shared_workflow = true;
    lab
}

#[tokio::test(start_paused = true)]
async fn a_job_that_this_invocation_started_for_another_table_is_not_taken() {
    let mut lab = with_one_workflow(Slot::Conflict, &[]).await;
    lab.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Slow(Duration::ZERO),
    );
    lab.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::internal_server()),
    );
    let mut both = request_for_all(&[T1, T2]);
    both["jobType"] = json!("INCREMENTAL");
    assert_eq!(
        lab.outcomes(&both).await,
        ["STARTED", "WAITING OutcomeUnknown"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_that_the_ledger_knows_of_another_table_is_not_taken() {
    let arns = [table_arn(T1), table_arn(T2)].join(",");
    let mut lab = with_one_workflow(Slot::Queue, &[("ID_MAPPING_TABLE_ARNS", &arns)]).await;
    let other = |id| News::new(id, T2, BEGIN - time::Duration::seconds(10)).event;
    assert_eq!(lab.outcomes(&news("a", -10)).await, ["STARTED"]);
    lab.pass(Duration::from_secs(2));
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    assert_eq!(lab.outcomes(&other("b")).await, ["WAITING OutcomeUnknown"]);
    // Where that cannot be looked at, nothing is taken either.
    lab.pass(VISIBILITY);
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced().last().unwrap(), "STARTED");
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    lab.pass(Duration::from_secs(60));
    let now = News::new("c", T2, lab.now() - time::Duration::seconds(2)).event;
    let fails = Fault::Refuse(Exception::access_denied());
    for fault in [
        Fault::Slow(Duration::ZERO),
        Fault::Slow(Duration::ZERO),
        fails,
    ] {
        lab.aws.fail_next(Operation::GetItem, fault);
    }
    lab.timeout = Duration::from_secs(3);
    assert_eq!(lab.outcomes(&now).await, ["WAITING OutcomeUnknown"]);
    let said = lab.details().last().unwrap()["error"]["message"].to_string();
    assert!(said.contains("GetItem of the ledger's item"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn tables_with_workflows_of_their_own_do_not_share_jobs() {
    let arns = [table_arn(T1), table_arn(T2)].join(",");
    let settings = [("ID_MAPPING_TABLE_ARNS", arns.as_str())];
    let mut lab = Lab::with(FakeAws::in_process(), Slot::Queue, &settings).await;
    assert_eq!(lab.outcomes(&news("a", -10)).await, ["STARTED"]);
    lab.pass(Duration::from_secs(1));
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    let other = News::new("b", T2, BEGIN - time::Duration::seconds(10)).event;
    assert_eq!(lab.outcomes(&other).await, ["STARTED"]);
    assert_eq!(
        lab.details()[1]["entityResolutionJobId"],
        lab.aws.jobs()[1].entity_resolution_id
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_that_may_be_another_tables_lost_call_is_nobodys() {
    let arns = [table_arn(T1), table_arn(T2)].join(",");
    let mut lab = with_one_workflow(Slot::Queue, &[("ID_MAPPING_TABLE_ARNS", &arns)]).await;
    lab.aws.hide_jobs(100);
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    assert_eq!(
        lab.outcomes(&news("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    let other = News::new("b", T2, BEGIN - time::Duration::seconds(10)).event;
    assert_eq!(lab.outcomes(&other).await, ["WAITING OutcomeUnknown"]);
    lab.aws.hide_jobs(0);
    lab.pass(Duration::from_secs(60));
    assert_eq!(
        lab.outcomes(&news("c", -10)).await,
        ["WAITING OutcomeUnknown"]
    );
    let said = lab.details().last().unwrap()["error"]["message"].to_string();
    let shared = format!("may belong to a call for membership/{M}/idmappingtable/{T2}");
    assert!(said.contains(&shared), "{said}");
}

#[tokio::test(start_paused = true)]
async fn what_another_table_started_or_lost_long_before_is_not_mistaken_for_a_call() {
    let arns = [table_arn(T1), table_arn(T2)].join(",");
    let settings = [("ID_MAPPING_TABLE_ARNS", arns.as_str())];
    for other_is_lost in [false, true] {
        let mut lab = with_one_workflow(Slot::Queue, &settings).await;
        let other = News::new("other", T2, BEGIN - time::Duration::seconds(10)).event;
        if other_is_lost {
            lab.aws
                .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
        }
        lab.outcomes(&other).await;
        lab.pass(Duration::from_secs(10 * 60));
        lab.aws.state().calls.clear();
        lab.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
        assert_eq!(lab.outcomes(&news("a", 500)).await, ["STARTED"]);
        // The other table's workflow is nobody's concern.
        let read = lab.aws.calls_of(Operation::GetIdMappingTable).len();
        assert_eq!(read, 1, "lost: {other_is_lost}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_of_another_table_that_seems_to_begin_within_the_calls_time_is_not_taken() {
    let arns = [table_arn(T1), table_arn(T2)].join(",");
    let settings = [("ID_MAPPING_TABLE_ARNS", arns.as_str())];
    let mut lab = with_one_workflow(Slot::Queue, &settings).await;
    lab.aws.state().entity_resolution_ahead = time::Duration::seconds(-4);
    let called_at = lab.now();
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Crash);
    lab.deliver(0, &news("a", -10)).await;
    // Five minutes is the latest start; this one began a little later, by another clock.
    lab.set_now(called_at + time::Duration::seconds(303));
    let other = News::new("other", T2, BEGIN + time::Duration::seconds(290)).event;
    assert_eq!(lab.outcomes(&other).await, ["STARTED"]);
    lab.pass(Duration::from_secs(60));
    lab.repeat(0).await;
    assert_eq!(lab.announced(), ["STARTED", "WAITING OutcomeUnknown"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_call_whose_job_failed_ran_and_is_not_taken_for_a_later_job() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash);
    lab.deliver(0, &news("a", -10)).await;
    lab.pass(Duration::from_secs(30));
    lab.aws.end_job(Status::Failed);
    lab.pass(Duration::from_secs(30));
    assert!(lab.aws.start_job_by_hand(T1, Some("INCREMENTAL")));
    lab.pass(Duration::from_secs(200));
    lab.repeat(0).await;
    assert_eq!(lab.announced(), ["WAITING SlotBusy"], "it is started anew");
    lab.aws.end_job(Status::Succeeded);
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced().last().unwrap(), "STARTED");
    assert_eq!(lab.aws.jobs().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_lost_call_whose_job_failed_at_once_is_started_anew_at_the_next_try() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    lab.aws.state().fails_at_once = true;
    assert_eq!(
        lab.outcomes(&news("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );
    let said = lab.details()[0]["error"]["message"].to_string();
    assert!(
        said.contains("which failed; the request needs another job"),
        "{said}"
    );
    lab.aws.state().fails_at_once = false;
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced().last().unwrap(), "STARTED");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_was_not_read_to_its_end_does_not_tell_that_no_job_runs() {
    let mut lab = Lab::new(Slot::Queue).await;
    lab.aws.state().oldest_first = true;
    for _ in 0..501 {
        lab.aws.start_foreign_job(T1);
        lab.aws.end_job(Status::Succeeded);
    }
    lab.pass(Duration::from_secs(24 * 60 * 60));
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    let change = News::new("a", T1, lab.now() - time::Duration::seconds(10));
    // It is found on the 21st page.
    assert_eq!(lab.outcomes(&change.event).await, ["STARTED"]);

    // Where there is no time to read so far, nothing is known.
    lab.pass(Duration::from_secs(60 * 60));
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    lab.aws.fail_always(
        Operation::ListIdMappingJobs,
        Fault::Slow(Duration::from_secs(1)),
    );
    let change = News::new("b", T1, lab.now() - time::Duration::seconds(10));
    assert_eq!(
        lab.outcomes(&change.event).await,
        ["WAITING OutcomeUnknown"]
    );
    for _ in 0..2 {
        lab.pass(VISIBILITY);
        lab.poll(0).await;
    }
    assert_eq!(lab.announced().last().unwrap(), "WAITING OutcomeUnknown");
    lab.aws.repair(Operation::ListIdMappingJobs);
    lab.pass(VISIBILITY);
    lab.poll(0).await;
    assert_eq!(lab.announced().last().unwrap(), "STARTED");
    let own = lab.aws.jobs().iter().filter(|job| !job.foreign).count();
    assert_eq!(own, 2);
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_cannot_be_read_yet_is_not_given_up_after_five_minutes() {
    let mut lab = Lab::new(Slot::Queue).await;
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    lab.aws.fail_always(
        Operation::GetIdMappingJob,
        Fault::Refuse(Exception::not_found()),
    );
    assert_eq!(
        lab.outcomes(&news("a", -10)).await,
        ["WAITING OutcomeUnknown"]
    );
    lab.pass(VISIBILITY);
    assert!(lab.poll(0).await);
    assert_eq!(calls(&lab), 1);
    lab.aws.repair(Operation::GetIdMappingJob);
    lab.pass(VISIBILITY);
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced().last().unwrap(), "STARTED");
    assert_eq!((calls(&lab), lab.aws.jobs().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_queued_job_without_a_start_may_be_the_calls_unless_it_is_known() {
    let mut lab = Lab::new(Slot::Queue).await;
    lab.aws.start_foreign_job(T1);
    lab.aws.state().queued_have_no_start = true;
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    assert_eq!(lab.outcomes(&news("a", -10)).await, ["STARTED"]);
    assert_eq!(
        lab.details()[0]["entityResolutionJobId"],
        lab.aws.jobs()[1].entity_resolution_id
    );
    // It is known now: the next lost call started none.
    lab.pass(Duration::from_secs(60));
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    assert_eq!(
        lab.outcomes(&news("b", 30)).await,
        ["WAITING OutcomeUnknown"]
    );

    // Also under a name of its own.
    let mut lab = Lab::new(Slot::Queue).await;
    lab.aws.start_foreign_job(T1);
    lab.pass(Duration::from_secs(20));
    lab.aws.state().queued_have_no_start = true;
    assert_eq!(lab.outcomes(&news("a", -10)).await, ["STARTED"]);
    lab.pass(Duration::from_secs(60));
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    assert_eq!(
        lab.outcomes(&news("b", 30)).await,
        ["WAITING OutcomeUnknown"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_known_job_that_began_late_is_not_taken_for_the_job_of_a_lost_call() {
    let mut lab = Lab::new(Slot::Conflict).await;
    assert_eq!(lab.outcomes(&event("a", T1, &lab)).await, ["STARTED"]);
    // It was queued for 42 seconds.
    lab.aws.state().jobs[0].started_at += time::Duration::seconds(42);
    lab.set_now(BEGIN + time::Duration::seconds(46));
    let change = BEGIN + time::Duration::seconds(44);
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    let outcomes = lab.outcomes(&News::new("b", T1, change).event).await;
    assert_eq!(
        outcomes,
        ["WAITING OutcomeUnknown"],
        "the only job began before the change: {:?}",
        lab.details().last()
    );
}

#[tokio::test(start_paused = true)]
async fn a_known_job_that_has_ended_does_not_hide_the_queued_job_of_a_lost_call() {
    let mut lab = Lab::new(Slot::Unlimited).await;
    lab.aws.state().queued_have_no_start = true;
    assert_eq!(lab.outcomes(&event("a", T1, &lab)).await, ["STARTED"]);
    lab.aws.state().jobs[0].started_at += time::Duration::seconds(30);
    lab.pass(Duration::from_secs(10 * 60));
    lab.aws.end_job(Status::Succeeded);
    lab.pass(Duration::from_secs(60 * 60));
    // Another account's jobs are ahead of it in Entity Resolution's queue.
    lab.aws.start_foreign_job(T3);
    lab.aws.set_slot(Slot::Queue);
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    lab.outcomes(&event("b", T1, &lab)).await;
    for _ in 0..3 {
        lab.pass(VISIBILITY);
        while lab.poll(0).await {}
    }
    assert_eq!(jobs_of(&lab, T1), 2, "{:?}", lab.announced());
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_failure_is_announced_is_not_taken_for_the_job_of_a_lost_call() {
    let variables: &[(&str, &str)] = &[("TRACK_COMPLETION", "true")];
    let mut lab = Lab::with(FakeAws::in_process(), Slot::Conflict, variables).await;
    assert_eq!(lab.outcomes(&event("a", T1, &lab)).await, ["STARTED"]);
    lab.pass(Duration::from_secs(1));
    lab.aws.end_job(Status::Failed);
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced(), ["STARTED", "FAILED JobFailed"]);
    lab.pass(Duration::from_secs(2));
    // The answer to the next call is lost, and its job shows a little later.
    lab.aws.state().shown_after = time::Duration::milliseconds(2_500);
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    lab.outcomes(&event("b", T1, &lab)).await;
    lab.pass(Duration::from_secs(10));
    while lab.poll(0).await {}
    lab.aws.end_job(Status::Succeeded);
    for _ in 0..3 {
        lab.pass(VISIBILITY);
        while lab.poll(0).await {}
    }
    let tries = (jobs_of(&lab, T1), lab.announced());
    assert_eq!(tries.0, 2, "{tries:?}");
}
