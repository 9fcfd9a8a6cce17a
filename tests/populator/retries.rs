//! `MAX_JOB_ATTEMPTS`: the request of a job that failed is tried again.

use std::time::Duration;

use fake_aws::{Exception, FakeAws, Fault, Operation, Slot, Status, Table};
use serde_json::{Value, json};

use crate::harness::{T1, T2, event_file, request_for};
use crate::invariants::Change;
use crate::simulator::{BEGIN, Simulator, VISIBILITY};

/// A function that starts at most so many jobs for a request.
async fn attempts(most: &str) -> Simulator {
    let settings = [("TRACK_COMPLETION", "true"), ("MAX_JOB_ATTEMPTS", most)];
    Simulator::with(FakeAws::in_process(), Slot::Conflict, &settings).await
}

fn change(id: &str, requested_type: &'static str, seconds: i64) -> Value {
    let time = BEGIN + time::Duration::seconds(seconds);
    Change::of_type(id, T1, requested_type, time).event
}

/// The job that runs ends, a retry interval passes, and the queue is polled until no message is visible.
async fn end(sim: &mut Simulator, status: Status) {
    sim.pass(Duration::from_secs(60));
    sim.aws.end_job(status);
    sim.pass(VISIBILITY);
    while sim.poll(0).await {}
}

/// The attempts that are announced as failed: the number, the most, and whether there is another one.
fn failed(sim: &Simulator) -> Vec<(Value, Value, Value)> {
    let details = sim.details();
    let failed = details
        .iter()
        .filter(|detail| detail["outcome"] == "FAILED");
    let attempt = |detail: &Value| {
        let [number, most, retries] = ["attempt", "maxAttempts", "willRetry"];
        (
            detail[number].clone(),
            detail[most].clone(),
            detail[retries].clone(),
        )
    };
    failed.map(attempt).collect()
}

/// Messages with which a request is tried again.
fn retries(sim: &Simulator) -> Vec<Value> {
    let messages = sim.aws.messages("waiting");
    let bodies = messages
        .iter()
        .map(|message| serde_json::from_str(&message.body).unwrap());
    bodies
        .filter(|body: &Value| !body["retryOf"].is_null())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_last_job_failed_is_enqueued_when_it_is_sent_again() {
    let mut sim = attempts("1").await;
    sim.outcomes(&request_for(T2)).await;
    let mut request = request_for(T1);
    (request["requestId"], request["jobType"]) = (json!("a"), json!("BATCH"));
    assert_eq!(sim.outcomes(&request).await, ["WAITING SlotBusy"]);
    sim.aws.end_job(Status::Succeeded);
    let waits = sim.aws.state().items["slot"].clone();
    sim.pass(VISIBILITY);
    while sim.poll(0).await {}
    assert_eq!(sim.jobs_of(T1), 1);
    // That it does not wait any more could not be recorded.
    sim.aws.state().items.insert("slot".to_owned(), waits);
    end(&mut sim, Status::Failed).await;
    assert_eq!(failed(&sim), [(json!(1), json!(1), json!(false))]);
    let mut urgent = request_for(T2);
    urgent["urgent"] = json!(true);
    assert_eq!(sim.outcomes(&urgent).await, ["STARTED"]);
    assert_eq!(sim.outcomes(&request).await, ["WAITING SlotBusy"]);
    assert_eq!(
        sim.aws.messages("waiting").len(),
        2,
        "one tracks the other table's job"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_job_is_started_again_until_its_request_has_had_its_attempts() {
    let mut sim = attempts("3").await;
    sim.outcomes(&change("a", "BATCH", -10)).await;
    for _ in 0..3 {
        end(&mut sim, Status::Failed).await;
    }
    let jobs = sim.aws.jobs();
    assert_eq!(jobs.len(), 3);
    assert!(
        jobs.iter()
            .all(|job| job.job_type.as_deref() == Some("BATCH"))
    );
    let three = json!(3);
    assert_eq!(
        failed(&sim),
        [
            (json!(1), three.clone(), json!(true)),
            (json!(2), three.clone(), json!(true)),
            (json!(3), three, json!(false)),
        ]
    );
    assert_eq!(
        sim.announced(),
        [
            "STARTED",
            "FAILED JobFailed",
            "STARTED",
            "FAILED JobFailed",
            "STARTED",
            "FAILED JobFailed"
        ]
    );
    assert!(sim.aws.messages("waiting").is_empty() && sim.aws.messages("dead").is_empty());
    // Its name is new.
    assert_eq!(sim.outcomes(&change("a", "BATCH", -10)).await, ["STARTED"]);
    end(&mut sim, Status::Failed).await;
    assert_eq!(failed(&sim)[3].0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_succeeds_ends_the_request() {
    let mut sim = attempts("5").await;
    sim.outcomes(&change("a", "INCREMENTAL", -10)).await;
    end(&mut sim, Status::Failed).await;
    end(&mut sim, Status::Succeeded).await;
    let last = sim.response(&change("a", "INCREMENTAL", -10)).await["outcomes"][0].clone();
    assert_eq!(
        (&last["outcome"], &last["jobStatus"]),
        (&json!("COVERED"), &json!("SUCCEEDED"))
    );
    assert_eq!(last["idMappingJobId"], sim.aws.jobs()[1].id);
    assert_eq!(sim.aws.jobs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn by_default_no_job_is_started_again() {
    let mut sim = attempts("").await;
    sim.outcomes(&change("a", "BATCH", -10)).await;
    end(&mut sim, Status::Failed).await;
    assert_eq!(failed(&sim), [(json!(1), json!(1), json!(false))]);
    assert!(sim.aws.messages("waiting").is_empty());
    assert_eq!(sim.aws.jobs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn other_news_that_started_a_job_meanwhile_cover_the_retry() {
    let mut sim = attempts("3").await;
    sim.outcomes(&change("a", "INCREMENTAL", -10)).await;
    sim.pass(Duration::from_secs(60));
    sim.aws.end_job(Status::Failed);
    sim.pass(VISIBILITY);
    // The failure is seen, and the retry is enqueued.
    assert!(sim.poll(0).await);
    assert_eq!(retries(&sim).len(), 1);
    let news = sim.event("news", T1);
    assert_eq!(sim.outcomes(&news).await, ["STARTED"]);
    while sim.poll(0).await {}
    assert_eq!(sim.aws.jobs().len(), 2);
    assert_eq!(sim.announced().last().unwrap(), "COVERED");
    assert!(retries(&sim).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_auto_is_decided_anew() {
    let mut sim = attempts("2").await;
    let populated = |populated| Table {
        populated,
        ..Table::default()
    };
    sim.aws.set_table(T1, populated(false));
    sim.outcomes(&change("a", "AUTO", -10)).await;
    sim.aws.set_table(T1, populated(true));
    end(&mut sim, Status::Failed).await;
    let types: Vec<_> = sim
        .aws
        .jobs()
        .iter()
        .map(|job| job.job_type.clone())
        .collect();
    assert_eq!(
        types,
        [Some("BATCH".to_owned()), Some("INCREMENTAL".to_owned())]
    );
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_call_between_the_failure_and_the_retry_neither_loses_nor_adds_a_job() {
    let between = [
        (Operation::PutItem, 0),
        (Operation::SendMessage, 0),
        (Operation::PutItem, 1),
        (Operation::PutEvents, 0),
        (Operation::PutItem, 2),
    ];
    for (operation, number) in between {
        for fault in [
            Fault::Crash,
            Fault::AcceptAndCrash,
            Fault::Refuse(Exception::access_denied()),
        ] {
            let mut sim = attempts("2").await;
            sim.outcomes(&change("a", "BATCH", -10)).await;
            sim.pass(Duration::from_secs(60));
            sim.aws.end_job(Status::Failed);
            sim.pass(VISIBILITY);
            let seen = std::sync::atomic::AtomicUsize::new(0);
            let fails = fault.clone();
            sim.aws.fail_by(move |_, of| {
                let place = match of == operation {
                    true => seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
                    false => return None,
                };
                (place == number).then(|| fails.clone())
            });
            sim.poll(0).await;
            sim.aws.fail_by(|_, _| None);
            end(&mut sim, Status::Failed).await;
            end(&mut sim, Status::Failed).await;
            end(&mut sim, Status::Failed).await;
            let name = format!("{operation:?} {number} {fault:?}");
            assert_eq!(sim.aws.jobs().len(), 2, "{name}");
            assert!(sim.aws.messages("waiting").is_empty(), "{name}");
            let last = failed(&sim).pop().unwrap();
            assert_eq!(last, (json!(2), json!(2), json!(false)), "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_copy_of_a_retry_starts_nothing_once_the_request_has_had_its_attempts() {
    let mut sim = attempts("2").await;
    sim.outcomes(&change("a", "BATCH", -10)).await;
    sim.pass(Duration::from_secs(60));
    sim.aws.end_job(Status::Failed);
    sim.pass(VISIBILITY);
    assert!(sim.poll(0).await);
    let copy = retries(&sim).remove(0);
    while sim.poll(0).await {}
    end(&mut sim, Status::Failed).await;
    assert_eq!(sim.aws.jobs().len(), 2);
    // SQS delivers it once more, or somebody has kept it and redrives it.
    let announced = sim.announced().len();
    sim.aws.send("waiting", &copy.to_string());
    while sim.poll(0).await {}
    assert_eq!(sim.aws.jobs().len(), 2);
    assert_eq!(sim.announced().len(), announced);
    assert!(sim.aws.messages("waiting").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_broken_bus_does_not_multiply_retries() {
    let mut sim = attempts("2").await;
    sim.outcomes(&change("a", "BATCH", -10)).await;
    sim.pass(Duration::from_secs(60));
    sim.aws.end_job(Status::Failed);
    sim.aws.fail_always(
        Operation::PutEvents,
        Fault::FailEntries("MalformedDetail".to_owned()),
    );
    for _ in 0..4 {
        sim.pass(VISIBILITY);
        while sim.poll(0).await {}
    }
    assert_eq!(sim.aws.jobs().len(), 2);
    assert!(retries(&sim).len() <= 1, "{:?}", retries(&sim));
}

#[tokio::test(start_paused = true)]
async fn an_urgent_request_is_urgent_again() {
    let mut sim = attempts("2").await;
    let mut urgent = request_for(T1);
    urgent["urgent"] = json!(true);
    sim.outcomes(&urgent).await;
    sim.pass(Duration::from_secs(60));
    sim.aws.end_job(Status::Failed);
    sim.pass(VISIBILITY);
    assert!(sim.poll(0).await);
    let retry = retries(&sim).remove(0);
    assert_eq!(retry["request"]["urgent"], true);
    assert_eq!(retry["retryOf"], sim.aws.jobs()[0].entity_resolution_id);
}

#[tokio::test(start_paused = true)]
async fn the_retry_of_a_request_for_a_table_that_is_gone_is_rejected() {
    let mut sim = attempts("2").await;
    sim.outcomes(&event_file("population-requested.json")).await;
    sim.aws.fail_always(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::not_found()),
    );
    end(&mut sim, Status::Failed).await;
    assert_eq!(sim.announced().last().unwrap(), "REJECTED TableNotFound");
    assert_eq!(sim.aws.messages("dead").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_failed_before_it_was_found_is_an_attempt() {
    for most in 1..=2 {
        let mut sim = attempts(&most.to_string()).await;
        // The answer is lost, and the job does not show until it has failed.
        sim.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
        sim.aws.hide_jobs(1_000);
        let outcomes = sim.outcomes(&change("a", "BATCH", -10)).await;
        assert_eq!(outcomes, ["WAITING OutcomeUnknown"]);
        sim.pass(Duration::from_secs(60));
        sim.aws.hide_jobs(0);
        for _ in 0..4 {
            end(&mut sim, Status::Failed).await;
        }
        assert_eq!(sim.aws.jobs().len(), most, "{:?}", sim.announced());
        let all: Vec<_> = (1..=most)
            .map(|number| (json!(number), json!(most), json!(number < most)))
            .collect();
        assert_eq!(failed(&sim), all);
        assert!(sim.aws.messages("waiting").is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_job_whose_answer_was_lost_is_found_at_once() {
    let mut sim = attempts("1").await;
    let failing = |state: &mut fake_aws::State| state.shown_after = time::Duration::seconds(5);
    failing(&mut sim.aws.state());
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    let aws = sim.aws.clone();
    let event = change("a", "BATCH", -10);
    let ends = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        aws.end_job(Status::Failed);
    };
    let (outcomes, ()) = tokio::join!(sim.outcomes(&event), ends);
    assert_eq!(outcomes, ["STARTED"]);
    end(&mut sim, Status::Failed).await;
    assert_eq!(failed(&sim), [(json!(1), json!(1), json!(false))]);
    assert_eq!(sim.aws.jobs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn repeats_of_a_request_whose_job_failed_add_one_message() {
    let mut sim = attempts("1").await;
    let event = change("a", "BATCH", -10);
    assert_eq!(sim.outcomes(&event).await, ["STARTED"]);
    end(&mut sim, Status::Failed).await;
    assert!(sim.aws.start_job_by_hand(T2, Some("BATCH")));
    for _ in 0..3 {
        sim.pass(Duration::from_secs(30));
        assert_eq!(sim.outcomes(&event).await, ["WAITING SlotBusy"]);
    }
    assert_eq!(sim.aws.messages("waiting").len(), 1);
    assert_eq!(sim.announced()[2..], ["WAITING SlotBusy"]);
}
