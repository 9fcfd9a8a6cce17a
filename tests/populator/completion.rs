//! `TRACK_COMPLETION`: each job is tracked to its end, and the end is announced.

use std::time::Duration;

use fake_aws::{Exception, FakeAws, Fault, Operation, Slot, Status};
use serde_json::{Value, json};

use crate::harness::{T1, T2, event_file, request_for, request_for_all, table_arn};
use crate::invariants::Change;
use crate::simulator::{BEGIN, Simulator, VISIBILITY};

const TRACK: (&str, &str) = ("TRACK_COMPLETION", "true");

async fn tracking(slot: Slot) -> Simulator {
    Simulator::with(FakeAws::in_process(), slot, &[TRACK]).await
}

fn change(id: &str, seconds: i64) -> Value {
    Change::new(id, T1, BEGIN + time::Duration::seconds(seconds)).event
}

/// A retry interval passes, and the queue is polled until no message is visible.
async fn round(sim: &mut Simulator) {
    sim.pass(VISIBILITY);
    while sim.poll(0).await {}
}

fn tracking_messages(sim: &Simulator) -> Vec<Value> {
    let messages = sim.aws.messages("waiting");
    messages
        .iter()
        .map(|message| serde_json::from_str::<Value>(&message.body).unwrap()["watch"].clone())
        .filter(|watch| !watch.is_null())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_job_is_tracked_to_its_end_and_its_end_is_announced_once() {
    for (same_ids, identified_by) in [(false, "START_TIME"), (true, "JOB_ID")] {
        let mut sim = tracking(Slot::Conflict).await;
        sim.aws.state().same_ids = same_ids;
        let event = event_file("population-requested.json");
        let started = sim.response(&event).await["outcomes"][0].clone();
        let mut message: Value =
            serde_json::from_str(&sim.aws.messages("waiting")[0].body).unwrap();
        let mut sample = event_file("watch-message.json");
        assert_eq!(
            message["watch"]["idMappingJobId"],
            started["idMappingJobId"]
        );
        for place in ["/waitingSince", "/watch/attempt", "/watch/idMappingJobId"] {
            *message.pointer_mut(place).unwrap() = Value::Null;
            *sample.pointer_mut(place).unwrap() = Value::Null;
        }
        assert_eq!(message, sample);
        // It is enqueued for tracking before its start is announced.
        let order: Vec<Operation> = sim.aws.calls().iter().filter_map(|c| c.operation).collect();
        let place = |operation| order.iter().position(|other| *other == operation).unwrap();
        assert!(place(Operation::SendMessage) < place(Operation::PutEvents));

        for _ in 0..3 {
            round(&mut sim).await;
        }
        assert_eq!(sim.announced(), ["STARTED"], "it runs");
        sim.pass(Duration::from_secs(15));
        sim.aws.end_job(Status::Succeeded);
        round(&mut sim).await;
        assert_eq!(sim.announced(), ["STARTED", "SUCCEEDED"]);
        let mut ended = sim.details()[1].clone();
        assert!(ended.as_object_mut().unwrap().remove("eventId").is_some());
        assert_eq!(
            ended,
            json!({
                "version": "1",
                "outcome": "SUCCEEDED",
                "membershipIdentifier": started["membershipIdentifier"],
                "idMappingTableIdentifier": T1,
                "idMappingJobId": started["idMappingJobId"],
                "jobType": "INCREMENTAL",
                "decision": started["decision"],
                "requestId": started["requestId"],
                "trigger": started["trigger"],
                "startedAt": "2026-11-23T02:00:00.000Z",
                "endedAt": "2026-11-23T02:45:15.000Z",
                "identifiedBy": identified_by,
                "metrics": {
                    "inputRecords": 1_000, "totalRecordsProcessed": 990, "recordsNotProcessed": 10,
                    "totalMappedRecords": 900, "uniqueRecordsLoaded": 880,
                },
            })
        );
        assert!(sim.aws.messages("waiting").is_empty());
        assert_eq!(
            sim.aws.events()[1]["detail-type"],
            "ID Mapping Job Succeeded"
        );
        // By its id it costs one call at Entity Resolution.
        let listed = sim.aws.calls_of(Operation::ListIdMappingJobs).len();
        assert_eq!(listed, if same_ids { 0 } else { 4 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_jobs_end_has_the_id_of_its_start() {
    let mut sim = tracking(Slot::Conflict).await;
    sim.outcomes(&request_for(T1)).await;
    sim.aws.end_job(Status::Succeeded);
    round(&mut sim).await;
    for detail in sim.details() {
        assert_eq!(
            (detail.get("requestId"), detail.get("trigger")),
            (None, None)
        );
    }
    assert_eq!(sim.announced(), ["STARTED", "SUCCEEDED"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_job_covers_nothing_and_its_request_may_start_another() {
    let mut sim = tracking(Slot::Conflict).await;
    let event = change("a", -10);
    sim.outcomes(&event).await;
    assert_eq!(sim.outcomes(&change("b", -10)).await, ["COVERED"]);
    sim.aws.end_job(Status::Failed);
    round(&mut sim).await;
    assert_eq!(sim.announced()[2..], ["FAILED JobFailed"]);
    let failed = sim.details()[2].clone();
    let said = failed["error"]["message"].as_str().unwrap();
    assert!(
        said.contains(" failed: the input cannot be read; look at it"),
        "{said}"
    );
    assert_eq!(failed["metrics"], json!({}));
    assert_eq!(failed["requestId"], "a");
    // No job is started again without a request.
    round(&mut sim).await;
    assert_eq!(sim.aws.jobs().len(), 1);
    // Another request gets a job.
    assert_eq!(sim.outcomes(&event).await, ["STARTED"]);
    assert_eq!(sim.outcomes(&change("b", -10)).await, ["COVERED"]);
    assert_eq!(sim.aws.jobs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_succeeded_before_a_failure_still_covers_its_requests() {
    let mut sim = tracking(Slot::Conflict).await;
    sim.outcomes(&change("a", -10)).await;
    sim.aws.end_job(Status::Succeeded);
    round(&mut sim).await;
    sim.outcomes(&change("b", 10)).await;
    sim.aws.end_job(Status::Failed);
    round(&mut sim).await;
    assert_eq!(sim.outcomes(&change("old", -20)).await, ["COVERED"]);
    assert_eq!(
        sim.details().last().unwrap()["idMappingJobId"],
        sim.aws.jobs()[0].id
    );
    assert_eq!(sim.outcomes(&change("new", 5)).await, ["STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_the_start_and_its_announcement_leaves_no_job_untracked() {
    for (operation, fault) in [
        (Operation::SendMessage, Fault::Crash),
        (Operation::SendMessage, Fault::AcceptAndCrash),
        (
            Operation::SendMessage,
            Fault::Refuse(Exception::access_denied()),
        ),
        (Operation::PutEvents, Fault::Crash),
        (Operation::PutEvents, Fault::AcceptAndCrash),
    ] {
        let mut sim = tracking(Slot::Conflict).await;
        sim.aws.fail_next(operation, fault.clone());
        sim.deliver(0, &change("a", -10)).await;
        assert_eq!(sim.repeats.len(), 1, "{operation:?} {fault:?}");
        sim.repeat(0).await;
        assert!(
            !tracking_messages(&sim).is_empty(),
            "{operation:?} {fault:?}"
        );
        sim.aws.end_job(Status::Succeeded);
        round(&mut sim).await;
        let ends = sim.announced().into_iter().filter(|end| end == "SUCCEEDED");
        assert_eq!(ends.count(), 1, "{operation:?} {fault:?}");
        assert!(sim.aws.messages("waiting").is_empty());
        assert_eq!(sim.aws.jobs().len(), 1);
    }
    // A job that cannot be tracked is an error.
    let mut sim = tracking(Slot::Conflict).await;
    sim.aws.fail_next(
        Operation::SendMessage,
        Fault::Refuse(Exception::access_denied()),
    );
    let (error_type, message) = sim.failure(&change("a", -10)).await;
    assert_eq!(error_type, "QueueUnavailable");
    let said = format!("SendMessage of job {} of membership/", sim.aws.jobs()[0]);
    assert!(
        message.starts_with(&said) && message.contains("which runs and is not tracked"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_end_is_announced_until_the_publication_is_recorded() {
    // It could not be published.
    let mut sim = tracking(Slot::Conflict).await;
    sim.outcomes(&change("a", -10)).await;
    sim.aws.end_job(Status::Succeeded);
    sim.aws.fail_next(
        Operation::PutEvents,
        Fault::Refuse(Exception::access_denied()),
    );
    round(&mut sim).await;
    assert_eq!(sim.announced(), ["STARTED"]);
    round(&mut sim).await;
    assert_eq!(sim.announced(), ["STARTED", "SUCCEEDED"]);

    // It could not be recorded, so it is published again with the same id.
    let mut sim = tracking(Slot::Conflict).await;
    sim.outcomes(&change("a", -10)).await;
    sim.aws.end_job(Status::Succeeded);
    sim.aws.fail_next(
        Operation::PutItem,
        Fault::Refuse(Exception::access_denied()),
    );
    round(&mut sim).await;
    round(&mut sim).await;
    assert_eq!(sim.announced(), ["STARTED", "SUCCEEDED", "SUCCEEDED"]);
    assert_eq!(sim.details()[1], sim.details()[2]);
    assert!(sim.aws.messages("waiting").is_empty());

    // Its message was delivered twice.
    let mut sim = tracking(Slot::Conflict).await;
    sim.outcomes(&change("a", -10)).await;
    let message = sim.aws.messages("waiting")[0].body.clone();
    sim.aws.end_job(Status::Succeeded);
    round(&mut sim).await;
    sim.aws.send("waiting", &message);
    round(&mut sim).await;
    assert_eq!(sim.announced(), ["STARTED", "SUCCEEDED"]);
    assert!(sim.aws.messages("waiting").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_tracked_job_that_cannot_be_identified_is_dead_lettered_and_never_guessed() {
    // Two began at that time; one shows nowhere; it may not be read.
    for case in 0..3 {
        let mut sim = tracking(Slot::Unlimited).await;
        sim.outcomes(&change("a", -10)).await;
        match case {
            0 => {
                sim.aws.start_foreign_job(T1);
                sim.aws.state().jobs[1].foreign = false;
            }
            1 => sim.aws.hide_jobs(10_000),
            _ => sim.aws.fail_always(
                Operation::GetIdMappingJob,
                Fault::Refuse(Exception::access_denied()),
            ),
        }
        while sim.aws.end_job(Status::Succeeded).is_some() {}
        sim.set_now(BEGIN + time::Duration::hours(72));
        while sim.poll(0).await {}
        assert_eq!(tracking_messages(&sim).len(), 1, "MAX_WAIT is not over");
        round(&mut sim).await;
        assert!(sim.aws.messages("waiting").is_empty());
        assert_eq!(sim.announced(), ["STARTED"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tracked_job_is_found_among_others() {
    let mut sim = tracking(Slot::Unlimited).await;
    // One of the ledger's, just before; a foreign one; one that began later.
    sim.outcomes(&change("a", -10)).await;
    sim.pass(Duration::from_millis(1_500));
    sim.outcomes(&change("b", 0)).await;
    sim.pass(Duration::from_millis(300));
    sim.aws.start_foreign_job(T1);
    sim.pass(Duration::from_secs(20));
    sim.aws.start_foreign_job(T1);
    sim.aws.state().jobs[3].foreign = false;
    let end = |index: usize, status| {
        let ended_at = Some(sim.now() + time::Duration::minutes(index as i64));
        let job = &mut sim.aws.state().jobs[index];
        (job.status, job.ended_at) = (status, ended_at);
    };
    end(0, Status::Failed);
    end(1, Status::Succeeded);
    round(&mut sim).await;
    let ends: Vec<(String, Value)> = sim.details()[2..]
        .iter()
        .map(|end| {
            (
                end["outcome"].as_str().unwrap().to_owned(),
                end["requestId"].clone(),
            )
        })
        .collect();
    assert_eq!(
        ends,
        [
            ("FAILED".to_owned(), json!("a")),
            ("SUCCEEDED".to_owned(), json!("b"))
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_jobs_end_without_a_time_has_the_time_at_which_it_was_seen() {
    let mut sim = tracking(Slot::Conflict).await;
    sim.outcomes(&change("a", -10)).await;
    sim.aws.state().jobs[0].status = Status::Succeeded;
    round(&mut sim).await;
    assert_eq!(sim.announced(), ["STARTED", "SUCCEEDED"]);
    assert_eq!(sim.details()[1]["endedAt"], "2026-11-23T02:15:00.000Z");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_runs_is_tracked_beyond_max_wait() {
    let settings = [TRACK, ("MAX_WAIT", "1h")];
    let mut sim = Simulator::with(FakeAws::in_process(), Slot::Conflict, &settings).await;
    sim.outcomes(&change("a", -10)).await;
    sim.pass(Duration::from_secs(5 * 60 * 60));
    round(&mut sim).await;
    sim.aws.end_job(Status::Succeeded);
    round(&mut sim).await;
    assert_eq!(sim.announced(), ["STARTED", "SUCCEEDED"]);
    // Not for ever, because SQS deletes its message.
    let mut sim = Simulator::with(FakeAws::in_process(), Slot::Conflict, &settings).await;
    sim.outcomes(&change("a", -10)).await;
    sim.pass(Duration::from_secs(13 * 24 * 60 * 60 + 1));
    round(&mut sim).await;
    assert!(sim.aws.messages("waiting").is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_batch_that_finds_a_job_ended_starts_the_next_job() {
    let mut sim = tracking(Slot::Conflict).await;
    let outcomes = sim.outcomes(&request_for_all(&[T1, T2])).await;
    assert_eq!(outcomes, ["STARTED", "WAITING SlotBusy"]);
    sim.aws.end_job(Status::Succeeded);
    sim.pass(VISIBILITY);
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced()[2..], ["SUCCEEDED", "STARTED"]);
    sim.aws.end_job(Status::Succeeded);
    round(&mut sim).await;
    assert_eq!(sim.announced()[4..], ["SUCCEEDED"]);
}

#[tokio::test(start_paused = true)]
async fn reads_that_are_never_answered_do_not_delay_waiting_requests() {
    for seconds in [120, 30] {
        let mut sim = tracking(Slot::Unlimited).await;
        for number in 1..=8 {
            let table = format!("aaaaaaaa-{number:04}-4000-8000-000000000001");
            sim.outcomes(&request_for(&table)).await;
        }
        sim.aws
            .fail_always(Operation::GetIdMappingTable, Fault::AcceptAndHang);
        sim.aws.send(
            "waiting",
            &request_for(&T1.replace("0001", "0099")).to_string(),
        );
        sim.pass(VISIBILITY);
        sim.timeout = Duration::from_secs(seconds);
        let began = sim.now();
        assert!(sim.poll(0).await);
        // A third of the time, and what was under way then.
        let most = Duration::from_secs(seconds / 3 + 5);
        assert!(sim.now() - began < most, "{seconds}");
        assert_eq!(sim.announced().last().unwrap(), "STARTED");
        assert_eq!(sim.aws.jobs().len(), 9);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_tracked_under_two_ids_ends_once() {
    for other_name_first in [false, true] {
        let mut sim = under_two_names().await;
        sim.aws.end_job(Status::Succeeded);
        if other_name_first {
            let state = &mut *sim.aws.state();
            state.queues.get_mut("waiting").unwrap().messages.reverse();
        }
        round(&mut sim).await;
        let ends = sim.announced().into_iter().filter(|end| end == "SUCCEEDED");
        assert_eq!(ends.count(), 1);
        assert!(sim.aws.messages("waiting").is_empty(), "{other_name_first}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_cannot_be_read_now_is_not_looked_up_under_another_id() {
    let mut sim = tracking(Slot::Conflict).await;
    sim.aws.state().same_ids = true;
    sim.outcomes(&change("a", -10)).await;
    sim.aws.end_job(Status::Succeeded);
    let refused = Fault::Refuse(Exception::access_denied());
    sim.aws.fail_next(Operation::GetIdMappingJob, refused);
    round(&mut sim).await;
    assert_eq!(sim.announced(), ["STARTED"]);
    round(&mut sim).await;
    assert_eq!(sim.details()[1]["identifiedBy"], "JOB_ID");
}

/// A job that started, could not be recorded, and was found later under its other id.
async fn under_two_names() -> Simulator {
    let mut sim = unrecorded().await;
    sim.pass(VISIBILITY);
    sim.outcomes(&change("a", -10)).await;
    assert_eq!(tracking_messages(&sim).len(), 2);
    sim
}

/// A job that started, and could not be recorded.
async fn unrecorded() -> Simulator {
    let mut sim = tracking(Slot::Conflict).await;
    sim.aws
        .fail_next(Operation::PutItem, Fault::Slow(Duration::ZERO));
    sim.aws.fail_next(
        Operation::PutItem,
        Fault::Refuse(Exception::access_denied()),
    );
    sim.outcomes(&change("a", -10)).await;
    sim
}

#[tokio::test(start_paused = true)]
async fn a_start_that_could_not_be_recorded_is_recorded_by_its_tracking_message() {
    let mut sim = unrecorded().await;
    // Its job cannot be looked for.
    let refused = Fault::Refuse(Exception::access_denied());
    sim.aws.fail_always(Operation::GetIdMappingTable, refused);
    round(&mut sim).await;
    // The repeat announces the same start again, because that it is announced is not recorded.
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["STARTED"]);
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["COVERED"]);
    let details = sim.details();
    assert_eq!(details[0], details[1]);
    let names_it = |detail: &Value| detail["idMappingJobId"] == sim.aws.jobs()[0].id.as_str();
    assert!(details.iter().all(names_it), "{details:?}");
    assert_eq!(tracking_messages(&sim).len(), 1);
    assert_eq!(sim.aws.jobs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_failure_of_another_table_with_the_same_workflow_is_not_this_one_s() {
    let arns = [T1, T2].map(table_arn).join(",");
    let attempts = ("MAX_JOB_ATTEMPTS", "2");
    let settings = [TRACK, attempts, ("ID_MAPPING_TABLE_ARNS", &*arns)];
    let mut sim = Simulator::with(FakeAws::in_process(), Slot::Unlimited, &settings).await;
    {
        let state = &mut *sim.aws.state();
        (state.shared_workflow, state.queued_have_no_start) = (true, true);
    }
    let outcomes = sim.outcomes(&request_for_all(&[T1, T2])).await;
    assert_eq!(outcomes, ["STARTED", "STARTED"]);
    sim.aws.end_job(Status::Failed);
    round(&mut sim).await;
    let failed = |sim: &Simulator| {
        let details = sim.details().into_iter();
        let failed = details.filter(|detail| detail["outcome"] == "FAILED");
        let tables = failed.map(|detail| detail["idMappingTableIdentifier"].to_string());
        tables.collect::<Vec<_>>()
    };
    assert_eq!(failed(&sim), [json!(T1).to_string()]);
    assert_eq!(sim.aws.jobs().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_failed_under_two_ids_covers_nothing_under_either() {
    let mut sim = under_two_names().await;
    sim.aws.end_job(Status::Failed);
    round(&mut sim).await;
    let ends = sim
        .announced()
        .into_iter()
        .filter(|end| end == "FAILED JobFailed");
    assert_eq!(ends.count(), 1);
    assert!(sim.aws.messages("waiting").is_empty());
    assert_eq!(sim.outcomes(&change("b", -10)).await, ["STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn an_older_job_covers_again_after_a_newer_one_failed_in_any_order() {
    for newer_first in [true, false] {
        let mut sim = tracking(Slot::Unlimited).await;
        sim.outcomes(&change("a", -10)).await;
        sim.pass(Duration::from_secs(60));
        sim.outcomes(&change("b", 30)).await;
        let end = |sim: &Simulator, index: usize, status| {
            let ended_at = Some(sim.now());
            let job = &mut sim.aws.state().jobs[index];
            (job.status, job.ended_at) = (status, ended_at);
        };
        end(&sim, 1, Status::Failed);
        if !newer_first {
            end(&sim, 0, Status::Succeeded);
        }
        round(&mut sim).await;
        assert_eq!(sim.outcomes(&change("old", -20)).await, ["COVERED"]);
        end(&sim, 0, Status::Succeeded);
        round(&mut sim).await;
        assert_eq!(sim.outcomes(&change("older", -30)).await, ["COVERED"]);
        assert_eq!(sim.aws.jobs().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_of_another_type_is_never_ours() {
    // Our job does not show; a person's does, of another type.
    let mut sim = tracking(Slot::Unlimited).await;
    sim.outcomes(&change("a", -10)).await;
    sim.aws.start_foreign_job(T1);
    {
        let jobs = &mut sim.aws.state().jobs;
        jobs[0].table = T2.to_owned();
        jobs[1].foreign = false;
        jobs[1].job_type = Some("DELETE_ONLY".to_owned());
    }
    sim.aws.end_job(Status::Succeeded);
    sim.aws.end_job(Status::Succeeded);
    round(&mut sim).await;
    assert_eq!(sim.announced(), ["STARTED"]);
    // It distinguishes two jobs that began at the same time.
    let mut sim = tracking(Slot::Unlimited).await;
    sim.outcomes(&change("a", -10)).await;
    sim.aws.start_foreign_job(T1);
    sim.aws.state().jobs[1].foreign = false;
    sim.aws.state().jobs[1].job_type = Some("DELETE_ONLY".to_owned());
    sim.aws.end_job(Status::Succeeded);
    round(&mut sim).await;
    assert_eq!(sim.announced(), ["STARTED", "SUCCEEDED"]);
}

#[tokio::test(start_paused = true)]
async fn while_no_end_can_be_published_a_job_is_in_the_queue_once() {
    let mut sim = tracking(Slot::Conflict).await;
    sim.aws.fail_always(
        Operation::PutEvents,
        Fault::Refuse(Exception::access_denied()),
    );
    sim.failure(&change("a", -10)).await;
    for number in 0..5 {
        let id = format!("later-{number}");
        sim.outcomes(&change(&id, 10)).await;
        round(&mut sim).await;
    }
    assert_eq!(tracking_messages(&sim).len(), 1);
    // In one batch a job is read once, however many messages track it.
    let message = sim.aws.messages("waiting")[0].body.clone();
    for _ in 0..3 {
        sim.aws.send("waiting", &message);
    }
    sim.aws.repair(Operation::PutEvents);
    let before = sim.aws.calls_of(Operation::ListIdMappingJobs).len();
    sim.pass(VISIBILITY);
    sim.poll(0).await;
    assert!(sim.aws.calls_of(Operation::ListIdMappingJobs).len() - before <= 1);
}

#[tokio::test(start_paused = true)]
async fn a_start_is_announced_before_its_end() {
    for status in [Status::Succeeded, Status::Failed] {
        let mut sim = tracking(Slot::Conflict).await;
        sim.aws.fail_next(
            Operation::PutEvents,
            Fault::Refuse(Exception::access_denied()),
        );
        sim.failure(&change("a", -10)).await;
        sim.aws.end_job(status);
        round(&mut sim).await;
        assert_eq!(sim.announced().len(), 2);
        assert_eq!(sim.announced()[0], "STARTED");
        assert_eq!(sim.details()[0]["requestId"], "a");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_of_a_deleted_table_is_tracked_for_max_wait() {
    let mut sim = tracking(Slot::Conflict).await;
    sim.outcomes(&change("a", -10)).await;
    sim.aws.fail_always(
        Operation::GetIdMappingTable,
        Fault::Refuse(Exception::not_found()),
    );
    sim.pass(Duration::from_secs(73 * 60 * 60));
    assert!(sim.poll(0).await);
    assert!(sim.aws.messages("waiting").is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_failed_read_after_max_wait_does_not_end_tracking() {
    let settings = [TRACK, ("MAX_WAIT", "1h")];
    for operation in [Operation::GetIdMappingTable, Operation::ListIdMappingJobs] {
        let mut sim = Simulator::with(FakeAws::in_process(), Slot::Conflict, &settings).await;
        sim.outcomes(&change("a", -10)).await;
        sim.pass(Duration::from_secs(2 * 60 * 60));
        sim.aws
            .fail_always(operation, Fault::Refuse(Exception::throttling()));
        round(&mut sim).await;
        sim.aws.repair(operation);
        sim.aws.end_job(Status::Succeeded);
        round(&mut sim).await;
        assert_eq!(sim.announced(), ["STARTED", "SUCCEEDED"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_does_not_show_is_not_mistaken_for_one_that_ended() {
    let mut sim = tracking(Slot::Unlimited).await;
    sim.outcomes(&change("a", -10)).await;
    // As if it were another workflow's.
    sim.aws.state().jobs[0].table = T2.to_owned();
    sim.pass(Duration::from_secs(60));
    sim.outcomes(&change("b", 30)).await;
    let ended_at = Some(sim.now());
    sim.aws.state().jobs[1].status = Status::Failed;
    sim.aws.state().jobs[1].ended_at = ended_at;
    round(&mut sim).await;
    round(&mut sim).await;
    assert_eq!(tracking_messages(&sim).len(), 1, "the first one's");
    sim.aws.state().jobs[0].table = T1.to_owned();
    sim.aws.end_job(Status::Succeeded);
    round(&mut sim).await;
    assert_eq!(sim.announced()[2..], ["FAILED JobFailed", "SUCCEEDED"]);
}

#[tokio::test(start_paused = true)]
async fn impossible_times_delay_no_other() {
    let mut sim = tracking(Slot::Unlimited).await;
    sim.outcomes(&change("a", -10)).await;
    let mut message: Value = serde_json::from_str(&sim.aws.messages("waiting")[0].body).unwrap();
    for time in ["9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z"] {
        message["waitingSince"] = json!(time);
        message["request"]["time"] = json!(time);
        sim.aws.send("waiting", &message.to_string());
    }
    sim.aws.send("waiting", &request_for(T2).to_string());
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced(), ["STARTED", "STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_found_after_a_lost_answer_is_tracked_by_its_id() {
    let mut sim = tracking(Slot::Conflict).await;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    sim.outcomes(&change("a", -10)).await;
    sim.aws.end_job(Status::Succeeded);
    round(&mut sim).await;
    let ended = sim.details()[1].clone();
    assert_eq!(
        (&ended["entityResolutionJobId"], &ended["identifiedBy"]),
        (
            &json!(sim.aws.jobs()[0].entity_resolution_id),
            &json!("JOB_ID")
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_tracking_message_that_is_invoked_directly_is_checked_and_enqueued_again() {
    let mut sim = tracking(Slot::Conflict).await;
    sim.outcomes(&change("a", -10)).await;
    let message: Value = serde_json::from_str(&sim.aws.messages("waiting")[0].body).unwrap();
    sim.aws
        .state()
        .queues
        .get_mut("waiting")
        .unwrap()
        .messages
        .clear();
    assert_eq!(sim.outcomes(&message).await, [""; 0]);
    assert_eq!(tracking_messages(&sim), [message["watch"].clone()]);
    sim.aws.end_job(Status::Succeeded);
    assert_eq!(sim.outcomes(&message).await, ["SUCCEEDED"]);
    assert_eq!(sim.outcomes(&message).await, [""; 0], "it is announced");
}

/// Whoever may send to the queue may write any message.
#[tokio::test(start_paused = true)]
async fn of_a_message_that_tracks_a_job_only_the_id_is_believed() {
    let mut sim = tracking(Slot::Unlimited).await;
    sim.outcomes(&change("a", -10)).await;
    let genuine: Value = serde_json::from_str(&sim.aws.messages("waiting")[0].body).unwrap();
    // A job of the same workflow that this function did not start, and that failed.
    sim.aws.start_foreign_job(T1);
    let foreign = sim.aws.jobs()[1].entity_resolution_id.clone();
    sim.aws.end_job(Status::Succeeded);
    sim.aws.end_job(Status::Failed);
    for watch in [
        json!({ "entityResolutionJobId": foreign }),
        json!({
            "idMappingJobId": foreign, "jobType": "BATCH", "startedAt": "2026-11-23T02:00:00Z",
            "answeredAt": "2026-11-23T02:00:00Z", "decision": { "rule": "REQUESTED", "reason": "because I say so" },
        }),
    ] {
        let mut forged = genuine.clone();
        forged["watch"] = watch;
        assert_eq!(sim.outcomes(&forged).await, [""; 0]);
    }
    let mut forged = genuine.clone();
    forged["request"]["requestId"] = json!("mine");
    forged["trigger"]["source"] = json!("mine");
    forged["watch"]["decision"] = json!({ "rule": "REQUESTED", "reason": "because I say so" });
    forged["watch"]["startedAt"] = json!("2020-01-01T00:00:00Z");
    forged["watch"]["idMappingJobId"] = json!(foreign);
    assert_eq!(sim.outcomes(&forged).await, ["SUCCEEDED"]);
    assert_eq!(sim.announced(), ["STARTED", "SUCCEEDED"]);
    let details = sim.details();
    let [started, ended] = &details[..] else {
        panic!("{details:?}");
    };
    for name in [
        "requestId",
        "trigger",
        "decision",
        "idMappingJobId",
        "jobType",
    ] {
        assert_eq!(ended[name], started[name], "{name}");
    }
    assert_eq!(sim.outcomes(&change("b", -10)).await, ["COVERED"]);
}

#[tokio::test(start_paused = true)]
async fn an_invalid_tracking_message_is_dead_lettered() {
    let mut sim = tracking(Slot::Conflict).await;
    sim.outcomes(&change("a", -10)).await;
    let message: Value = serde_json::from_str(&sim.aws.messages("waiting")[0].body).unwrap();
    for (member, value) in [
        ("idMappingJobId", json!(7)),
        ("idMappingJobId", Value::Null),
        ("idMappingJobId", json!("")),
        ("idMappingJobId", json!("1".repeat(129))),
        ("attempt", json!("first")),
    ] {
        let mut strange = message.clone();
        strange["watch"][member] = value;
        sim.aws.send("waiting", &strange.to_string());
    }
    sim.aws.send(
        "waiting",
        &json!({ "watch": true, "version": 1, "request": request_for(T1), "waitingSince": null })
            .to_string(),
    );
    let mut strange = message.clone();
    strange["requestIdGiven"] = json!("yes");
    sim.aws.send("waiting", &strange.to_string());
    assert!(sim.poll(0).await);
    assert_eq!(sim.aws.messages("dead").len(), 7);
    assert_eq!(sim.announced(), ["STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn without_the_setting_no_job_is_tracked() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.outcomes(&change("a", -10)).await;
    assert!(sim.aws.messages("waiting").is_empty());
    // Without a bus the end is not published, but the ledger records it.
    let settings = [TRACK, ("EVENT_BUS_NAME", "")];
    let mut sim = Simulator::with(FakeAws::in_process(), Slot::Conflict, &settings).await;
    sim.outcomes(&change("a", -10)).await;
    sim.aws.end_job(Status::Failed);
    round(&mut sim).await;
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn the_event_ids_of_a_tracked_job_do_not_depend_on_the_default() {
    let aws = FakeAws::in_process();
    let settings = |default| [("DEFAULT_JOB_TYPE", default), TRACK];
    let mut sim = Simulator::with(aws.clone(), Slot::Conflict, &settings("INCREMENTAL")).await;
    let mut event = change("a", -10);
    event["detail"].as_object_mut().unwrap().remove("jobType");
    // It is published, but its answer is lost.
    sim.aws
        .fail_next(Operation::PutEvents, Fault::AcceptAndHang);
    assert_eq!(sim.failure(&event).await.0, "NotAnnounced");
    let queues = aws.state().queues.clone();
    let now = sim.now();
    let mut sim = Simulator::with(aws.clone(), Slot::Conflict, &settings("BATCH")).await;
    aws.state().queues = queues;
    sim.set_now(now + time::Duration::hours(1));
    sim.aws.end_job(Status::Succeeded);
    sim.poll(0).await;
    assert_eq!(sim.announced(), ["STARTED", "STARTED", "SUCCEEDED"]);
    assert_eq!(sim.details()[0], sim.details()[1]);
}

#[tokio::test(start_paused = true)]
async fn a_burst_between_a_start_and_its_announcement_announces_and_tracks_it_once() {
    let mut sim = tracking(Slot::Conflict).await;
    sim.aws.fail_by(|_, operation| {
        Some(Fault::Slow(Duration::from_millis(match operation {
            Operation::PutEvents | Operation::SendMessage => 80,
            _ => 10,
        })))
    });
    let tasks = tokio::task::LocalSet::new();
    for number in 0..40_u64 {
        let event = change(&format!("change-{number}"), -10);
        let sim = sim.clone();
        tasks.spawn_local(async move {
            if number > 0 {
                tokio::time::sleep(Duration::from_millis(60 + number)).await;
            }
            sim.invoke(0, &format!("r{number}"), &event).await
        });
    }
    tasks.await;
    let started = |sim: &Simulator| {
        let announced = sim.announced();
        announced
            .iter()
            .filter(|outcome| *outcome == "STARTED")
            .count()
    };
    assert_eq!((started(&sim), tracking_messages(&sim).len()), (1, 1));
    sim.aws.end_job(Status::Succeeded);
    round(&mut sim).await;
    assert_eq!(started(&sim), 1);
    assert_eq!(sim.announced().last().unwrap(), "SUCCEEDED");
}

#[tokio::test(start_paused = true)]
async fn an_announced_start_is_not_announced_again_where_there_is_no_queue() {
    let mut sim = tracking(Slot::Conflict).await;
    let refused = Fault::Refuse(Exception::access_denied());
    sim.aws.fail_always(Operation::SendMessage, refused);
    assert_eq!(sim.failure(&change("a", -10)).await.0, "QueueUnavailable");
    for number in 0..20 {
        sim.pass(Duration::from_secs(60));
        sim.outcomes(&change(&format!("n{number}"), -10)).await;
    }
    let announced = sim.announced();
    let started = announced.iter().filter(|outcome| *outcome == "STARTED");
    assert_eq!(started.count(), 1);
    // The queue works again: the next request has the job tracked.
    sim.aws.repair(Operation::SendMessage);
    sim.outcomes(&change("next", -10)).await;
    sim.outcomes(&change("after", -10)).await;
    assert_eq!(tracking_messages(&sim).len(), 1);
    assert_eq!(sim.announced().len(), 23, "{:?}", sim.announced());
}

#[tokio::test(start_paused = true)]
async fn a_failed_job_covers_nothing_although_its_end_cannot_be_published() {
    let mut sim = tracking(Slot::Conflict).await;
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["STARTED"]);
    sim.aws.end_job(Status::Failed);
    let refused = Fault::Refuse(Exception::access_denied());
    sim.aws.fail_always(Operation::PutEvents, refused);
    round(&mut sim).await;
    sim.aws.repair(Operation::PutEvents);
    assert_eq!(sim.outcomes(&change("b", -10)).await, ["STARTED"]);
    round(&mut sim).await;
    let announced = sim.announced();
    let failed = announced
        .iter()
        .filter(|outcome| outcome.starts_with("FAILED"));
    assert_eq!(failed.count(), 1, "{announced:?}");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_may_be_that_of_another_tables_lost_call_does_not_end_this_one_s() {
    let arns = [T1, T2].map(table_arn).join(",");
    let settings = [TRACK, ("ID_MAPPING_TABLE_ARNS", &*arns)];
    let mut sim = Simulator::with(FakeAws::in_process(), Slot::Queue, &settings).await;
    {
        let state = &mut *sim.aws.state();
        (state.shared_workflow, state.queued_have_no_start) = (true, true);
    }
    // The other table's job runs and fails; this one's is queued behind it.
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash);
    sim.deliver(
        0,
        &Change::new("lost", T2, BEGIN - time::Duration::seconds(10)).event,
    )
    .await;
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["STARTED"]);
    sim.aws.state().jobs[0].status = Status::Failed;
    sim.aws.state().jobs[0].ended_at = Some(sim.now());
    sim.pass(VISIBILITY);
    sim.repeats.clear();
    assert!(sim.poll(0).await);
    let ended = |outcome: &String| outcome.starts_with("FAILED");
    assert!(!sim.announced().iter().any(ended), "{:?}", sim.announced());
}
