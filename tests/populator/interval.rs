//! `MIN_INTERVAL`, and urgent requests, which it does not hold back.

use std::time::Duration;

use fake_aws::{FakeAws, Operation, Slot, Status};
use serde_json::{Value, json};

use crate::harness::{T1, T2, event_file, request_for};
use crate::invariants::Change;
use crate::simulator::{BEGIN, Simulator, VISIBILITY};

const HOUR: u64 = 60 * 60;

async fn with(slot: Slot, variables: &[(&str, &str)]) -> Simulator {
    Simulator::with(FakeAws::in_process(), slot, variables).await
}

async fn hourly(slot: Slot) -> Simulator {
    with(slot, &[("MIN_INTERVAL", "1h")]).await
}

/// An event about a change of a table a second ago.
fn change(sim: &Simulator, id: &str, requested_type: &'static str) -> Value {
    let time = sim.now() - time::Duration::seconds(1);
    Change::of_type(id, T1, requested_type, time).event
}

fn jobs(sim: &Simulator) -> Vec<Option<String>> {
    let jobs = sim.aws.jobs();
    jobs.iter().map(|job| job.job_type.clone()).collect()
}

fn bodies(sim: &Simulator) -> Vec<Value> {
    let messages = sim.aws.messages("waiting");
    let body = |message: &fake_aws::Message| serde_json::from_str(&message.body).unwrap();
    messages.iter().map(body).collect()
}

/// A retry interval passes, and the queue is polled until no message is visible.
async fn round(sim: &mut Simulator) {
    sim.pass(VISIBILITY);
    while sim.poll(0).await {}
}

#[tokio::test(start_paused = true)]
async fn requests_that_come_too_soon_share_the_next_job() {
    let mut sim = hourly(Slot::Unlimited).await;
    sim.pass(Duration::from_secs(60));
    sim.outcomes(&change(&sim, "first", "BATCH")).await;
    let started = sim.aws.jobs()[0].started_at;
    sim.pass(Duration::from_secs(60));
    let mut outcomes = Vec::new();
    for id in ["second", "third", "fourth"] {
        sim.pass(Duration::from_secs(5));
        outcomes.push(sim.response(&change(&sim, id, "BATCH")).await["outcomes"][0].clone());
    }
    for outcome in &outcomes {
        assert_eq!(outcome["outcome"], "WAITING");
        assert_eq!(outcome["error"]["type"], "TooSoon");
        assert_eq!(outcome["notBefore"], "2026-11-23T03:01:00.000Z");
        let said = outcome["error"]["message"].as_str().unwrap();
        assert!(said.contains("MIN_INTERVAL (1h)"), "{said}");
    }
    assert_eq!(sim.details()[1], outcomes[0]);
    // SQS delays them as long as it can.
    for sent in sim.aws.calls_of(Operation::SendMessage) {
        assert_eq!(sent.body["DelaySeconds"], 900);
    }
    // One that a job covers does not wait.
    let covered = Change::of_type("old", T1, "BATCH", BEGIN).event;
    assert_eq!(sim.outcomes(&covered).await, ["COVERED"]);
    let mut rounds = 0;
    while !sim.aws.messages("waiting").is_empty() {
        round(&mut sim).await;
        rounds += 1;
        assert!(rounds < 6, "{:?}", bodies(&sim));
    }
    let jobs = sim.aws.jobs();
    assert_eq!(jobs.len(), 2);
    assert!(jobs[1].started_at >= started + time::Duration::hours(1));
    let announced = sim.announced();
    let count = |what: &str| announced.iter().filter(|other| *other == what).count();
    assert_eq!(
        (count("STARTED"), count("WAITING TooSoon"), count("COVERED")),
        (2, 3, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn a_short_interval_needs_no_further_round() {
    let mut sim = with(Slot::Unlimited, &[("MIN_INTERVAL", "10m")]).await;
    sim.outcomes(&change(&sim, "first", "BATCH")).await;
    sim.pass(Duration::from_secs(120));
    let outcomes = sim.outcomes(&change(&sim, "second", "BATCH")).await;
    assert_eq!(outcomes, ["WAITING TooSoon"]);
    sim.pass(Duration::from_secs(479));
    assert!(
        !sim.poll(0).await,
        "it is delayed until the interval is over"
    );
    sim.pass(Duration::from_secs(2));
    assert!(sim.poll(0).await);
    assert_eq!(jobs(&sim).len(), 2);
    assert!(sim.aws.messages("waiting").is_empty());
}

#[tokio::test(start_paused = true)]
async fn deletions_and_other_jobs_do_not_hold_each_other_back() {
    let mut sim = hourly(Slot::Unlimited).await;
    for (id, requested_type, expected) in [
        ("a", "BATCH", "STARTED"),
        ("b", "DELETE_ONLY", "STARTED"),
        ("c", "DELETE_ONLY", "WAITING TooSoon"),
        ("d", "INCREMENTAL", "WAITING TooSoon"),
        ("e", "AUTO", "WAITING TooSoon"),
    ] {
        sim.pass(Duration::from_secs(10));
        let outcomes = sim.outcomes(&change(&sim, id, requested_type)).await;
        assert_eq!(outcomes, [expected], "{id}");
    }
    // Another table has an interval of its own.
    let other = sim.event("f", T2);
    assert_eq!(sim.outcomes(&other).await, ["STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_failed_holds_nothing_back() {
    let settings = [("MIN_INTERVAL", "1h"), ("TRACK_COMPLETION", "true")];
    let mut sim = with(Slot::Conflict, &settings).await;
    sim.outcomes(&change(&sim, "first", "BATCH")).await;
    sim.pass(Duration::from_secs(60));
    sim.aws.end_job(Status::Failed);
    round(&mut sim).await;
    assert_eq!(
        sim.outcomes(&change(&sim, "second", "BATCH")).await,
        ["STARTED"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_urgent_request_is_not_held_back_and_stays_urgent_in_the_queue() {
    let mut sim = hourly(Slot::Conflict).await;
    sim.outcomes(&change(&sim, "first", "BATCH")).await;
    sim.pass(Duration::from_secs(60));
    let mut urgent = request_for(T1);
    urgent["jobType"] = json!("BATCH");
    urgent["requestId"] = json!("now");
    urgent["urgent"] = json!(true);
    // The first one's job runs.
    assert_eq!(sim.outcomes(&urgent).await, ["WAITING SlotBusy"]);
    assert_eq!(bodies(&sim)[0]["request"]["urgent"], true);
    let waiting = sim
        .outcomes(&change(&sim, "second", "SERVICE_DEFAULT"))
        .await;
    assert_eq!(waiting, ["WAITING TooSoon"]);
    sim.aws.end_job(Status::Succeeded);
    sim.pass(VISIBILITY);
    while sim.poll(0).await {}
    assert_eq!(jobs(&sim).len(), 2, "{:?}", sim.announced());
    // Its job covers the one that was held back.
    assert!(sim.aws.messages("waiting").is_empty());
    // A publisher of events cannot claim it.
    sim.pass(Duration::from_secs(10));
    let mut event = change(&sim, "third", "BATCH");
    event["detail"]["urgent"] = json!(true);
    sim.aws.end_job(Status::Succeeded);
    assert_eq!(sim.outcomes(&event).await, ["WAITING TooSoon"]);
}

#[tokio::test(start_paused = true)]
async fn an_urgent_request_goes_before_older_ones_of_its_batch() {
    let mut sim = hourly(Slot::Conflict).await;
    sim.outcomes(&sim.event("busy", T2)).await;
    sim.pass(Duration::from_secs(10));
    let mut older = sim.event("older", T2);
    older["detail"]["jobType"] = json!("BATCH");
    assert_eq!(sim.outcomes(&older).await, ["WAITING TooSoon"]);
    sim.pass(Duration::from_secs(10));
    let mut urgent = request_for(T1);
    urgent["urgent"] = json!(true);
    assert_eq!(sim.outcomes(&urgent).await, ["WAITING SlotBusy"]);
    sim.aws.end_job(Status::Succeeded);
    // The interval of the older one is over too.
    sim.pass(Duration::from_secs(HOUR));
    sim.poll(0).await;
    let last = sim.aws.jobs().pop().unwrap();
    assert_eq!((sim.aws.jobs().len(), &*last.table), (2, T1));
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_held_back_does_not_hold_up_another() {
    // A request of another type for the same table waits for the slot. Its table's job starts, and does not cover it.
    let mut sim = hourly(Slot::Conflict).await;
    sim.outcomes(&sim.event("busy", T2)).await;
    sim.pass(Duration::from_secs(10));
    for (id, requested_type) in [("a", "INCREMENTAL"), ("b", "SERVICE_DEFAULT")] {
        let outcomes = sim.outcomes(&change(&sim, id, requested_type)).await;
        assert_eq!(outcomes, ["WAITING SlotBusy"]);
    }
    sim.aws.end_job(Status::Succeeded);
    round(&mut sim).await;
    assert_eq!(sim.jobs_of(T1), 1);
    sim.aws.end_job(Status::Succeeded);
    sim.pass(Duration::from_secs(HOUR));
    // Its waiter is gone, so the other table need not let it pass.
    assert_eq!(sim.outcomes(&sim.event("c", T2)).await, ["STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn what_settles_and_is_held_back_waits_for_the_longer_of_both() {
    let settings = [("MIN_INTERVAL", "1h"), ("SETTLE_TIME", "5m")];
    let mut sim = with(Slot::Unlimited, &settings).await;
    let first = sim.response(&change(&sim, "first", "BATCH")).await["outcomes"][0].clone();
    assert_eq!(first["error"]["type"], "Settling");
    assert_eq!(first["notBefore"], "2026-11-23T02:05:00.000Z");
    sim.pass(Duration::from_secs(5 * 60 + 1));
    sim.poll(0).await;
    sim.pass(Duration::from_secs(60));
    let second = sim.response(&change(&sim, "second", "BATCH")).await["outcomes"][0].clone();
    assert_eq!(second["error"]["type"], "TooSoon");
    let delays: Vec<Value> = sim
        .aws
        .calls_of(Operation::SendMessage)
        .iter()
        .map(|sent| sent.body["DelaySeconds"].clone())
        .collect();
    assert_eq!(delays, [json!(300), json!(900)]);
}

#[tokio::test(start_paused = true)]
async fn a_wider_request_that_was_held_back_has_its_turn_although_changes_keep_coming() {
    let mut sim = hourly(Slot::Conflict).await;
    sim.outcomes(&change(&sim, "first", "INCREMENTAL")).await;
    sim.aws.end_job(Status::Succeeded);
    sim.pass(Duration::from_secs(60));
    let waiting = sim.outcomes(&change(&sim, "nightly", "BATCH")).await;
    assert_eq!(waiting, ["WAITING TooSoon"]);
    // Every two minutes there is an event, and the queue is tried as it becomes visible.
    for minute in (2..3 * 60).step_by(2) {
        sim.pass(Duration::from_secs(120));
        sim.outcomes(&change(&sim, &format!("change-{minute}"), "INCREMENTAL"))
            .await;
        sim.aws.end_job(Status::Succeeded);
        while sim.poll(0).await {}
    }
    let types = jobs(&sim);
    assert_eq!(types[1].as_deref(), Some("BATCH"), "{types:?}");
}

/// A bare request for the first table.
fn bare(id: &str, urgent: bool) -> Value {
    let mut request = request_for(T1);
    (request["requestId"], request["urgent"]) = (json!(id), json!(urgent));
    request
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_is_sent_again_as_an_urgent_one() {
    let mut sim = hourly(Slot::Conflict).await;
    sim.outcomes(&change(&sim, "first", "BATCH")).await;
    sim.aws.end_job(Status::Succeeded);
    sim.pass(Duration::from_secs(60));
    sim.outcomes(&sim.event("other table", T2)).await;
    sim.pass(Duration::from_secs(60));
    let outcomes = sim.outcomes(&bare("again", false)).await;
    assert_eq!(outcomes, ["WAITING TooSoon"]);
    for _ in 0..2 {
        let outcomes = sim.outcomes(&bare("again", true)).await;
        assert_eq!(outcomes, ["WAITING SlotBusy"]);
    }
    let urgent = |body: &&Value| body["request"]["urgent"] == true;
    assert_eq!(bodies(&sim).iter().filter(urgent).count(), 1);
    sim.aws.end_job(Status::Succeeded);
    round(&mut sim).await;
    let jobs = sim.aws.jobs();
    assert_eq!((jobs.len(), &*jobs[2].table), (3, T1));
}

#[tokio::test(start_paused = true)]
async fn publishers_cannot_claim_urgency_in_the_form_of_the_waiting_queue() {
    let mut queued = event_file("waiting-message.json");
    queued["request"] = bare("forged", true);
    queued["request"]["time"] = json!("2026-11-23T02:02:59Z");
    let notification = |message: &Value| {
        let mut notification = event_file("sns-notification.json");
        notification["Records"][0]["Sns"]["Message"] = json!(message.to_string());
        notification
    };
    let mut answer = event_file("destination-success.json");
    answer["responsePayload"] = queued.clone();
    let mut failure = event_file("failure-record.json");
    failure["requestPayload"] = queued.clone();
    let list = json!([queued]);
    for (is_urgent, payload) in [
        (true, queued.clone()),
        (false, notification(&queued)),
        (false, notification(&list)),
        (false, list),
        (false, answer),
        (false, failure),
    ] {
        let mut sim = hourly(Slot::Unlimited).await;
        sim.outcomes(&change(&sim, "first", "BATCH")).await;
        sim.pass(Duration::from_secs(180));
        sim.invoke(0, "forged", &payload).await;
        assert_eq!(jobs(&sim).len(), 1 + usize::from(is_urgent), "{payload}");
        let waiting = sim.announced().last().unwrap() == "WAITING TooSoon";
        assert_eq!(waiting, !is_urgent, "{payload}");
    }
}
