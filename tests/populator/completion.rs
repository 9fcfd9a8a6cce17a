//! `TRACK_COMPLETION`: each job is followed to its end, and the end is announced.

use std::time::Duration;

use fake_aws::{Exception, FakeAws, Fault, Operation, Slot, Status};
use serde_json::{Value, json};

use crate::lab::{BEGIN, Lab, VISIBILITY};
use crate::promises::News;
use crate::world::{T1, T2, event_file, request_for, request_for_all};

const TRACK: (&str, &str) = ("TRACK_COMPLETION", "true");

async fn tracking(slot: Slot) -> Lab {
    Lab::with(FakeAws::in_process(), slot, &[TRACK]).await
}

fn news(id: &str, seconds: i64) -> Value {
    News::new(id, T1, BEGIN + time::Duration::seconds(seconds)).event
}

/// A retry interval passes, and the line is polled until nothing is visible.
async fn round(lab: &mut Lab) {
    lab.pass(VISIBILITY);
    while lab.poll(0).await {}
}

fn watches(lab: &Lab) -> Vec<Value> {
    let messages = lab.aws.messages("waiting");
    messages
        .iter()
        .map(|message| serde_json::from_str::<Value>(&message.body).unwrap()["watch"].clone())
        .filter(|watch| !watch.is_null())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_job_is_followed_to_its_end_and_its_end_is_announced_once() {
    for (same_ids, identified_by) in [(false, "START_TIME"), (true, "JOB_ID")] {
        let mut lab = tracking(Slot::Conflict).await;
        lab.aws.state().same_ids = same_ids;
        let event = event_file("population-requested.json");
        let started = lab.response(&event).await["outcomes"][0].clone();
        let mut message: Value =
            serde_json::from_str(&lab.aws.messages("waiting")[0].body).unwrap();
        let mut sample = event_file("watch-message.json");
        for place in [
            "/waitingSince",
            "/watch/startedAt",
            "/watch/answeredAt",
            "/watch/idMappingJobId",
        ] {
            let value = message.pointer_mut(place).unwrap().take();
            let expected = if place.ends_with("Id") {
                started["idMappingJobId"].clone()
            } else {
                json!("2026-11-23T02:00:00.000Z")
            };
            assert_eq!(value, expected, "{place}");
            *sample.pointer_mut(place).unwrap() = Value::Null;
        }
        assert_eq!(message, sample);
        // It is put in line before its start is announced.
        let order: Vec<Operation> = lab.aws.calls().iter().filter_map(|c| c.operation).collect();
        let place = |operation| order.iter().position(|other| *other == operation).unwrap();
        assert!(place(Operation::SendMessage) < place(Operation::PutEvents));

        for _ in 0..3 {
            round(&mut lab).await;
        }
        assert_eq!(lab.announced(), ["STARTED"], "it runs");
        lab.pass(Duration::from_secs(15));
        lab.aws.end_job(Status::Succeeded);
        round(&mut lab).await;
        assert_eq!(lab.announced(), ["STARTED", "SUCCEEDED"]);
        let mut ended = lab.details()[1].clone();
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
        assert!(lab.aws.messages("waiting").is_empty());
        assert_eq!(
            lab.aws.events()[1]["detail-type"],
            "ID Mapping Job Succeeded"
        );
        // By its id it costs one call at Entity Resolution.
        let listed = lab.aws.calls_of(Operation::ListIdMappingJobs).len();
        assert_eq!(listed, if same_ids { 0 } else { 4 });
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_has_the_name_that_its_start_has() {
    let mut lab = tracking(Slot::Conflict).await;
    lab.outcomes(&request_for(T1)).await;
    lab.aws.end_job(Status::Succeeded);
    round(&mut lab).await;
    for detail in lab.details() {
        assert_eq!(
            (detail.get("requestId"), detail.get("trigger")),
            (None, None)
        );
    }
    assert_eq!(lab.announced(), ["STARTED", "SUCCEEDED"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_failed_covers_nothing_and_its_request_is_new() {
    let mut lab = tracking(Slot::Conflict).await;
    let event = news("a", -10);
    lab.outcomes(&event).await;
    assert_eq!(lab.outcomes(&news("b", -10)).await, ["COVERED"]);
    lab.aws.end_job(Status::Failed);
    round(&mut lab).await;
    assert_eq!(lab.announced()[2..], ["FAILED JobFailed"]);
    let failed = lab.details()[2].clone();
    let said = failed["error"]["message"].as_str().unwrap();
    assert!(
        said.contains(" failed: the input cannot be read; look at it"),
        "{said}"
    );
    assert_eq!(failed["metrics"], json!({}));
    assert_eq!(failed["requestId"], "a");
    // By itself nothing is started again.
    round(&mut lab).await;
    assert_eq!(lab.aws.jobs().len(), 1);
    // Whoever asks again gets a job.
    assert_eq!(lab.outcomes(&event).await, ["STARTED"]);
    assert_eq!(lab.outcomes(&news("b", -10)).await, ["COVERED"]);
    assert_eq!(lab.aws.jobs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_succeeded_before_a_failure_still_covers_what_it_covered() {
    let mut lab = tracking(Slot::Conflict).await;
    lab.outcomes(&news("a", -10)).await;
    lab.aws.end_job(Status::Succeeded);
    round(&mut lab).await;
    lab.outcomes(&news("b", 10)).await;
    lab.aws.end_job(Status::Failed);
    round(&mut lab).await;
    assert_eq!(lab.outcomes(&news("old", -20)).await, ["COVERED"]);
    assert_eq!(
        lab.details().last().unwrap()["idMappingJobId"],
        lab.aws.jobs()[0].id
    );
    assert_eq!(lab.outcomes(&news("new", 5)).await, ["STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_the_start_and_its_announcement_leaves_no_job_unwatched() {
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
        let mut lab = tracking(Slot::Conflict).await;
        lab.aws.fail_next(operation, fault.clone());
        lab.deliver(0, &news("a", -10)).await;
        assert_eq!(lab.repeats.len(), 1, "{operation:?} {fault:?}");
        lab.repeat(0).await;
        assert!(!watches(&lab).is_empty(), "{operation:?} {fault:?}");
        lab.aws.end_job(Status::Succeeded);
        round(&mut lab).await;
        let ends = lab.announced().into_iter().filter(|end| end == "SUCCEEDED");
        assert_eq!(ends.count(), 1, "{operation:?} {fault:?}");
        assert!(lab.aws.messages("waiting").is_empty());
        assert_eq!(lab.aws.jobs().len(), 1);
    }
    // What cannot be followed is said.
    let mut lab = tracking(Slot::Conflict).await;
    lab.aws.fail_next(
        Operation::SendMessage,
        Fault::Refuse(Exception::access_denied()),
    );
    let (error_type, message) = lab.failure(&news("a", -10)).await;
    assert_eq!(error_type, "QueueUnavailable");
    let said = format!("SendMessage of job {} of membership/", lab.aws.jobs()[0]);
    assert!(
        message.starts_with(&said) && message.contains("which runs and is not tracked"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_end_is_announced_until_it_is_known_to_be() {
    // It could not be published.
    let mut lab = tracking(Slot::Conflict).await;
    lab.outcomes(&news("a", -10)).await;
    lab.aws.end_job(Status::Succeeded);
    lab.aws.fail_next(
        Operation::PutEvents,
        Fault::Refuse(Exception::access_denied()),
    );
    round(&mut lab).await;
    assert_eq!(lab.announced(), ["STARTED"]);
    round(&mut lab).await;
    assert_eq!(lab.announced(), ["STARTED", "SUCCEEDED"]);

    // It could not be recorded: it has the same name again.
    let mut lab = tracking(Slot::Conflict).await;
    lab.outcomes(&news("a", -10)).await;
    lab.aws.end_job(Status::Succeeded);
    lab.aws.fail_next(
        Operation::PutItem,
        Fault::Refuse(Exception::access_denied()),
    );
    round(&mut lab).await;
    round(&mut lab).await;
    assert_eq!(lab.announced(), ["STARTED", "SUCCEEDED", "SUCCEEDED"]);
    assert_eq!(lab.details()[1], lab.details()[2]);
    assert!(lab.aws.messages("waiting").is_empty());

    // Its message was delivered twice.
    let mut lab = tracking(Slot::Conflict).await;
    lab.outcomes(&news("a", -10)).await;
    let message = lab.aws.messages("waiting")[0].body.clone();
    lab.aws.end_job(Status::Succeeded);
    round(&mut lab).await;
    lab.aws.send("waiting", &message);
    round(&mut lab).await;
    assert_eq!(lab.announced(), ["STARTED", "SUCCEEDED"]);
    assert!(lab.aws.messages("waiting").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_cannot_be_told_from_another_is_given_up_and_never_guessed() {
    // Two began at that time; one shows nowhere; it may not be read.
    for case in 0..3 {
        let mut lab = tracking(Slot::Unlimited).await;
        lab.outcomes(&news("a", -10)).await;
        match case {
            0 => {
                lab.aws.start_foreign_job(T1);
                lab.aws.state().jobs[1].foreign = false;
            }
            1 => lab.aws.hide_jobs(10_000),
            _ => lab.aws.fail_always(
                Operation::GetIdMappingJob,
                Fault::Refuse(Exception::access_denied()),
            ),
        }
        while lab.aws.end_job(Status::Succeeded).is_some() {}
        lab.set_now(BEGIN + time::Duration::hours(72));
        while lab.poll(0).await {}
        assert_eq!(watches(&lab).len(), 1, "MAX_WAIT is not over");
        round(&mut lab).await;
        assert!(lab.aws.messages("waiting").is_empty());
        assert_eq!(lab.announced(), ["STARTED"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_is_found_among_others() {
    let mut lab = tracking(Slot::Unlimited).await;
    // One of the ledger's, just before; one of somebody else; one that began later.
    lab.outcomes(&news("a", -10)).await;
    lab.pass(Duration::from_millis(1_500));
    lab.outcomes(&news("b", 0)).await;
    lab.pass(Duration::from_millis(300));
    lab.aws.start_foreign_job(T1);
    lab.pass(Duration::from_secs(20));
    lab.aws.start_foreign_job(T1);
    lab.aws.state().jobs[3].foreign = false;
    let end = |index: usize, status| {
        let ended_at = Some(lab.now() + time::Duration::minutes(index as i64));
        let job = &mut lab.aws.state().jobs[index];
        (job.status, job.ended_at) = (status, ended_at);
    };
    end(0, Status::Failed);
    end(1, Status::Succeeded);
    round(&mut lab).await;
    let ends: Vec<(String, Value)> = lab.details()[2..]
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
async fn where_the_end_has_no_moment_it_is_the_one_when_it_was_seen() {
    let mut lab = tracking(Slot::Conflict).await;
    lab.outcomes(&news("a", -10)).await;
    lab.aws.state().jobs[0].status = Status::Succeeded;
    round(&mut lab).await;
    assert_eq!(lab.announced(), ["STARTED", "SUCCEEDED"]);
    assert_eq!(lab.details()[1]["endedAt"], "2026-11-23T02:15:00.000Z");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_runs_is_followed_beyond_max_wait() {
    let settings = [TRACK, ("MAX_WAIT", "1h")];
    let mut lab = Lab::with(FakeAws::in_process(), Slot::Conflict, &settings).await;
    lab.outcomes(&news("a", -10)).await;
    lab.pass(Duration::from_secs(5 * 60 * 60));
    round(&mut lab).await;
    lab.aws.end_job(Status::Succeeded);
    round(&mut lab).await;
    assert_eq!(lab.announced(), ["STARTED", "SUCCEEDED"]);
    // Not for ever: SQS does not keep its message.
    let mut lab = Lab::with(FakeAws::in_process(), Slot::Conflict, &settings).await;
    lab.outcomes(&news("a", -10)).await;
    lab.pass(Duration::from_secs(13 * 24 * 60 * 60 + 1));
    round(&mut lab).await;
    assert!(lab.aws.messages("waiting").is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_round_that_learns_of_an_end_starts_the_next_job() {
    let mut lab = tracking(Slot::Conflict).await;
    let outcomes = lab.outcomes(&request_for_all(&[T1, T2])).await;
    assert_eq!(outcomes, ["STARTED", "WAITING SlotBusy"]);
    lab.aws.end_job(Status::Succeeded);
    lab.pass(VISIBILITY);
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced()[2..], ["SUCCEEDED", "STARTED"]);
    lab.aws.end_job(Status::Succeeded);
    round(&mut lab).await;
    assert_eq!(lab.announced()[4..], ["SUCCEEDED"]);
}

#[tokio::test(start_paused = true)]
async fn reads_that_are_never_answered_do_not_hold_up_who_waits() {
    for seconds in [120, 30] {
        let mut lab = tracking(Slot::Unlimited).await;
        for number in 1..=8 {
            let table = format!("aaaaaaaa-{number:04}-4000-8000-000000000001");
            lab.outcomes(&request_for(&table)).await;
        }
        lab.aws
            .fail_always(Operation::GetIdMappingTable, Fault::AcceptAndHang);
        lab.aws.send(
            "waiting",
            &request_for(&T1.replace("0001", "0099")).to_string(),
        );
        lab.pass(VISIBILITY);
        lab.timeout = Duration::from_secs(seconds);
        let began = lab.now();
        assert!(lab.poll(0).await);
        // A third of the time, and what was under way then.
        let most = Duration::from_secs(seconds / 3 + 5);
        assert!(lab.now() - began < most, "{seconds}");
        assert_eq!(lab.announced().last().unwrap(), "STARTED");
        assert_eq!(lab.aws.jobs().len(), 9);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_followed_under_two_names_ends_once() {
    for other_name_first in [false, true] {
        let mut lab = under_two_names().await;
        lab.aws.end_job(Status::Succeeded);
        if other_name_first {
            let state = &mut *lab.aws.state();
            state.queues.get_mut("waiting").unwrap().messages.reverse();
        }
        round(&mut lab).await;
        let ends = lab.announced().into_iter().filter(|end| end == "SUCCEEDED");
        assert_eq!(ends.count(), 1);
        assert!(lab.aws.messages("waiting").is_empty(), "{other_name_first}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_cannot_be_read_this_time_is_not_looked_for_under_another_name() {
    let mut lab = tracking(Slot::Conflict).await;
    lab.aws.state().same_ids = true;
    lab.outcomes(&news("a", -10)).await;
    lab.aws.end_job(Status::Succeeded);
    let refused = Fault::Refuse(Exception::access_denied());
    lab.aws.fail_next(Operation::GetIdMappingJob, refused);
    round(&mut lab).await;
    assert_eq!(lab.announced(), ["STARTED"]);
    round(&mut lab).await;
    assert_eq!(lab.details()[1]["identifiedBy"], "JOB_ID");
}

/// A job that started, could not be recorded, and was found later under its other name.
async fn under_two_names() -> Lab {
    let mut lab = tracking(Slot::Conflict).await;
    lab.aws
        .fail_next(Operation::PutItem, Fault::Slow(Duration::ZERO));
    lab.aws.fail_next(
        Operation::PutItem,
        Fault::Refuse(Exception::access_denied()),
    );
    lab.outcomes(&news("a", -10)).await;
    round(&mut lab).await;
    lab.outcomes(&news("a", -10)).await;
    assert_eq!(watches(&lab).len(), 2);
    lab
}

#[tokio::test(start_paused = true)]
async fn a_job_that_failed_under_two_names_covers_nothing_under_either() {
    let mut lab = under_two_names().await;
    lab.aws.end_job(Status::Failed);
    round(&mut lab).await;
    let ends = lab
        .announced()
        .into_iter()
        .filter(|end| end == "FAILED JobFailed");
    assert_eq!(ends.count(), 1);
    assert!(lab.aws.messages("waiting").is_empty());
    assert_eq!(lab.outcomes(&news("b", -10)).await, ["STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn an_older_job_covers_again_when_a_newer_one_failed_in_whatever_order_that_is_learned() {
    for newer_first in [true, false] {
        let mut lab = tracking(Slot::Unlimited).await;
        lab.outcomes(&news("a", -10)).await;
        lab.pass(Duration::from_secs(60));
        lab.outcomes(&news("b", 30)).await;
        let end = |lab: &Lab, index: usize, status| {
            let ended_at = Some(lab.now());
            let job = &mut lab.aws.state().jobs[index];
            (job.status, job.ended_at) = (status, ended_at);
        };
        end(&lab, 1, Status::Failed);
        if !newer_first {
            end(&lab, 0, Status::Succeeded);
        }
        round(&mut lab).await;
        assert_eq!(lab.outcomes(&news("old", -20)).await, ["COVERED"]);
        end(&lab, 0, Status::Succeeded);
        round(&mut lab).await;
        assert_eq!(lab.outcomes(&news("older", -30)).await, ["COVERED"]);
        assert_eq!(lab.aws.jobs().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_of_another_type_is_never_ours() {
    // Our job does not show; a person's does, of another type.
    let mut lab = tracking(Slot::Unlimited).await;
    lab.outcomes(&news("a", -10)).await;
    lab.aws.start_foreign_job(T1);
    {
        let jobs = &mut lab.aws.state().jobs;
        jobs[0].table = T2.to_owned();
        jobs[1].foreign = false;
        jobs[1].job_type = Some("DELETE_ONLY".to_owned());
    }
    lab.aws.end_job(Status::Succeeded);
    lab.aws.end_job(Status::Succeeded);
    round(&mut lab).await;
    assert_eq!(lab.announced(), ["STARTED"]);
    // Two that began then are told apart by it.
    let mut lab = tracking(Slot::Unlimited).await;
    lab.outcomes(&news("a", -10)).await;
    lab.aws.start_foreign_job(T1);
    lab.aws.state().jobs[1].foreign = false;
    lab.aws.state().jobs[1].job_type = Some("DELETE_ONLY".to_owned());
    lab.aws.end_job(Status::Succeeded);
    round(&mut lab).await;
    assert_eq!(lab.announced(), ["STARTED", "SUCCEEDED"]);
}

#[tokio::test(start_paused = true)]
async fn while_nobody_can_be_told_a_job_stands_in_the_line_once() {
    let mut lab = tracking(Slot::Conflict).await;
    lab.aws.fail_always(
        Operation::PutEvents,
        Fault::Refuse(Exception::access_denied()),
    );
    lab.failure(&news("a", -10)).await;
    for number in 0..5 {
        let id = format!("later-{number}");
        lab.outcomes(&news(&id, 10)).await;
        round(&mut lab).await;
    }
    assert_eq!(watches(&lab).len(), 1);
    // In one batch a job is looked at once, however often it stands there.
    let message = lab.aws.messages("waiting")[0].body.clone();
    for _ in 0..3 {
        lab.aws.send("waiting", &message);
    }
    lab.aws.repair(Operation::PutEvents);
    let before = lab.aws.calls_of(Operation::ListIdMappingJobs).len();
    lab.pass(VISIBILITY);
    lab.poll(0).await;
    assert!(lab.aws.calls_of(Operation::ListIdMappingJobs).len() - before <= 1);
}

#[tokio::test(start_paused = true)]
async fn a_start_is_announced_before_its_end() {
    for status in [Status::Succeeded, Status::Failed] {
        let mut lab = tracking(Slot::Conflict).await;
        lab.aws.fail_next(
            Operation::PutEvents,
            Fault::Refuse(Exception::access_denied()),
        );
        lab.failure(&news("a", -10)).await;
        lab.aws.end_job(status);
        round(&mut lab).await;
        assert_eq!(lab.announced().len(), 2);
        assert_eq!(lab.announced()[0], "STARTED");
        assert_eq!(lab.details()[0]["requestId"], "a");
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_gone_is_followed_for_max_wait() {
    let mut lab = tracking(Slot::Conflict).await;
    lab.outcomes(&news("a", -10)).await;
    lab.aws.fail_always(
        Operation::GetIdMappingTable,
        Fault::Refuse(Exception::not_found()),
    );
    lab.pass(Duration::from_secs(73 * 60 * 60));
    assert!(lab.poll(0).await);
    assert!(lab.aws.messages("waiting").is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_read_that_fails_after_max_wait_gives_no_job_up() {
    let settings = [TRACK, ("MAX_WAIT", "1h")];
    for operation in [Operation::GetIdMappingTable, Operation::ListIdMappingJobs] {
        let mut lab = Lab::with(FakeAws::in_process(), Slot::Conflict, &settings).await;
        lab.outcomes(&news("a", -10)).await;
        lab.pass(Duration::from_secs(2 * 60 * 60));
        lab.aws
            .fail_always(operation, Fault::Refuse(Exception::throttling()));
        round(&mut lab).await;
        lab.aws.repair(operation);
        lab.aws.end_job(Status::Succeeded);
        round(&mut lab).await;
        assert_eq!(lab.announced(), ["STARTED", "SUCCEEDED"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_does_not_show_is_not_taken_for_one_whose_end_is_announced() {
    let mut lab = tracking(Slot::Unlimited).await;
    lab.outcomes(&news("a", -10)).await;
    // As if it were another workflow's.
    lab.aws.state().jobs[0].table = T2.to_owned();
    lab.pass(Duration::from_secs(60));
    lab.outcomes(&news("b", 30)).await;
    let ended_at = Some(lab.now());
    lab.aws.state().jobs[1].status = Status::Failed;
    lab.aws.state().jobs[1].ended_at = ended_at;
    round(&mut lab).await;
    round(&mut lab).await;
    assert_eq!(watches(&lab).len(), 1, "the first one's");
    lab.aws.state().jobs[0].table = T1.to_owned();
    lab.aws.end_job(Status::Succeeded);
    round(&mut lab).await;
    assert_eq!(lab.announced()[2..], ["FAILED JobFailed", "SUCCEEDED"]);
}

#[tokio::test(start_paused = true)]
async fn moments_that_no_clock_has_hold_up_nobody() {
    let mut lab = tracking(Slot::Unlimited).await;
    lab.outcomes(&news("a", -10)).await;
    let mut message: Value = serde_json::from_str(&lab.aws.messages("waiting")[0].body).unwrap();
    message["watch"]["startedAt"] = json!("9999-12-31T23:59:59Z");
    message["watch"]["answeredAt"] = json!("9999-12-31T23:59:59Z");
    lab.aws.send("waiting", &message.to_string());
    message["watch"]["startedAt"] = json!("0000-01-01T00:00:00Z");
    lab.aws.send("waiting", &message.to_string());
    lab.aws.send("waiting", &request_for(T2).to_string());
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced(), ["STARTED", "STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_found_and_not_answered_is_followed_by_its_id() {
    let mut lab = tracking(Slot::Conflict).await;
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    lab.outcomes(&news("a", -10)).await;
    lab.aws.end_job(Status::Succeeded);
    round(&mut lab).await;
    let ended = lab.details()[1].clone();
    assert_eq!(
        (&ended["entityResolutionJobId"], &ended["identifiedBy"]),
        (
            &json!(lab.aws.jobs()[0].entity_resolution_id),
            &json!("JOB_ID")
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_to_follow_that_is_invoked_directly_is_looked_at_and_put_in_line_again() {
    let mut lab = tracking(Slot::Conflict).await;
    lab.outcomes(&news("a", -10)).await;
    let message: Value = serde_json::from_str(&lab.aws.messages("waiting")[0].body).unwrap();
    lab.aws
        .state()
        .queues
        .get_mut("waiting")
        .unwrap()
        .messages
        .clear();
    assert_eq!(lab.outcomes(&message).await, [""; 0]);
    assert_eq!(watches(&lab), [message["watch"].clone()]);
    lab.aws.end_job(Status::Succeeded);
    assert_eq!(lab.outcomes(&message).await, ["SUCCEEDED"]);
    assert_eq!(lab.outcomes(&message).await, [""; 0], "it is announced");
    // Also where jobs are followed no more.
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.outcomes(&news("a", -10)).await;
    assert_eq!(lab.outcomes(&message).await, [""; 0]);
    assert_eq!(watches(&lab).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_job_to_be_followed_is_put_aside() {
    let mut lab = tracking(Slot::Conflict).await;
    lab.outcomes(&news("a", -10)).await;
    let message: Value = serde_json::from_str(&lab.aws.messages("waiting")[0].body).unwrap();
    for (member, value) in [
        ("idMappingJobId", json!(7)),
        ("decision", Value::Null),
        ("jobType", json!("FULL")),
        ("startedAt", json!("yesterday")),
        ("answeredAt", Value::Null),
    ] {
        let mut strange = message.clone();
        strange["watch"][member] = value;
        lab.aws.send("waiting", &strange.to_string());
    }
    lab.aws.send(
        "waiting",
        &json!({ "watch": true, "version": 1, "request": request_for(T1), "waitingSince": null })
            .to_string(),
    );
    let mut strange = message.clone();
    strange["requestIdGiven"] = json!("yes");
    lab.aws.send("waiting", &strange.to_string());
    assert!(lab.poll(0).await);
    assert_eq!(lab.aws.messages("dead").len(), 7);
    assert_eq!(lab.announced(), ["STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn without_the_setting_nothing_is_followed() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.outcomes(&news("a", -10)).await;
    assert!(lab.aws.messages("waiting").is_empty());
    // Without a bus there is nobody to tell, but the ledger learns of it.
    let settings = [TRACK, ("EVENT_BUS_NAME", "")];
    let mut lab = Lab::with(FakeAws::in_process(), Slot::Conflict, &settings).await;
    lab.outcomes(&news("a", -10)).await;
    lab.aws.end_job(Status::Failed);
    round(&mut lab).await;
    assert_eq!(lab.outcomes(&news("a", -10)).await, ["STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn the_names_of_a_tracked_jobs_events_do_not_depend_on_the_default() {
    let aws = FakeAws::in_process();
    let settings = |default| [("DEFAULT_JOB_TYPE", default), TRACK];
    let mut lab = Lab::with(aws.clone(), Slot::Conflict, &settings("INCREMENTAL")).await;
    let mut event = news("a", -10);
    event["detail"].as_object_mut().unwrap().remove("jobType");
    // It is published, but its answer is lost.
    lab.aws
        .fail_next(Operation::PutEvents, Fault::AcceptAndHang);
    assert_eq!(lab.failure(&event).await.0, "NotAnnounced");
    let queues = aws.state().queues.clone();
    let now = lab.now();
    let mut lab = Lab::with(aws.clone(), Slot::Conflict, &settings("BATCH")).await;
    aws.state().queues = queues;
    lab.set_now(now + time::Duration::hours(1));
    lab.aws.end_job(Status::Succeeded);
    lab.poll(0).await;
    assert_eq!(lab.announced(), ["STARTED", "STARTED", "SUCCEEDED"]);
    assert_eq!(lab.details()[0], lab.details()[1]);
}

#[tokio::test(start_paused = true)]
async fn a_burst_between_a_start_and_its_announcement_announces_and_tracks_it_once() {
    let mut lab = tracking(Slot::Conflict).await;
    lab.aws.fail_by(|_, operation| {
        Some(Fault::Slow(Duration::from_millis(match operation {
            Operation::PutEvents | Operation::SendMessage => 80,
            _ => 10,
        })))
    });
    let tasks = tokio::task::LocalSet::new();
    for number in 0..40_u64 {
        let event = news(&format!("news-{number}"), -10);
        let lab = lab.clone();
        tasks.spawn_local(async move {
            if number > 0 {
                tokio::time::sleep(Duration::from_millis(60 + number)).await;
            }
            lab.invoke(0, &format!("r{number}"), &event).await
        });
    }
    tasks.await;
    let started = |lab: &Lab| {
        let announced = lab.announced();
        announced
            .iter()
            .filter(|outcome| *outcome == "STARTED")
            .count()
    };
    assert_eq!((started(&lab), watches(&lab).len()), (1, 1));
    lab.aws.end_job(Status::Succeeded);
    round(&mut lab).await;
    assert_eq!(started(&lab), 1);
    assert_eq!(lab.announced().last().unwrap(), "SUCCEEDED");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_announced_is_not_announced_again_for_want_of_a_queue() {
    let mut lab = tracking(Slot::Conflict).await;
    let refused = Fault::Refuse(Exception::access_denied());
    lab.aws.fail_always(Operation::SendMessage, refused);
    assert_eq!(lab.failure(&news("a", -10)).await.0, "QueueUnavailable");
    for number in 0..20 {
        lab.pass(Duration::from_secs(60));
        lab.outcomes(&news(&format!("n{number}"), -10)).await;
    }
    let announced = lab.announced();
    let started = announced.iter().filter(|outcome| *outcome == "STARTED");
    assert_eq!(started.count(), 1);
    // The queue works again: whoever comes next has the job tracked.
    lab.aws.repair(Operation::SendMessage);
    lab.outcomes(&news("next", -10)).await;
    lab.outcomes(&news("after", -10)).await;
    assert_eq!(watches(&lab).len(), 1);
    assert_eq!(lab.announced().len(), 23, "{:?}", lab.announced());
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_cannot_be_published_covers_nothing_all_the_same() {
    let mut lab = tracking(Slot::Conflict).await;
    assert_eq!(lab.outcomes(&news("a", -10)).await, ["STARTED"]);
    lab.aws.end_job(Status::Failed);
    let refused = Fault::Refuse(Exception::access_denied());
    lab.aws.fail_always(Operation::PutEvents, refused);
    round(&mut lab).await;
    lab.aws.repair(Operation::PutEvents);
    assert_eq!(lab.outcomes(&news("b", -10)).await, ["STARTED"]);
    round(&mut lab).await;
    let announced = lab.announced();
    let failed = announced
        .iter()
        .filter(|outcome| outcome.starts_with("FAILED"));
    assert_eq!(failed.count(), 1, "{announced:?}");
}
