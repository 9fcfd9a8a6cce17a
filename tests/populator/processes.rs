//! The built binary with ledger and waiting queue: two copies at once, a long queue, a kill between a
//! call and its answer, connections that a server closed.

use std::time::{Duration, Instant};

use fake_aws::{Answered, Environment, FakeAws, Fault, Operation, Slot, Status};
use serde_json::json;
use time::OffsetDateTime;

use crate::function::{Function, response};
use crate::harness::{T1, request_for};
use crate::invariants::Change;

async fn environment(slot: Slot) -> Environment {
    let builder = Environment::builder()
        .ledger()
        .queue(time::Duration::seconds(1))
        .dead_letter_queue()
        .event_bus()
        .slot(slot)
        .setting("AWS_LAMBDA_LOG_LEVEL", "ERROR");
    builder.over_http().await.unwrap()
}

const TIMEOUT: Duration = Duration::from_secs(30);

/// Polls until the waiting queue is empty.
async fn drain(function: &Function) {
    let began = Instant::now();
    while !function.aws.messages("waiting").is_empty() {
        if function.poll().await.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{:?}",
            function.aws.messages("waiting")
        );
    }
}

fn outcomes(aws: &FakeAws, outcome: &str) -> usize {
    let events = aws.events();
    events
        .iter()
        .filter(|event| event["detail"]["outcome"] == outcome)
        .count()
}

#[tokio::test]
async fn two_copies_that_get_the_same_hundred_events_at_once_start_one_job() {
    let environment = environment(Slot::Conflict).await;
    let aws = &environment.aws;
    let one = Function::within(&environment, TIMEOUT).await;
    let other = Function::within(&environment, TIMEOUT).await;
    let now = OffsetDateTime::now_utc();
    let change = |number: i64| {
        let time = now - time::Duration::seconds(2 + number % 58);
        Change::new(&format!("change-{number}"), T1, time)
            .event
            .to_string()
    };
    let events: Vec<String> = (0..100).map(change).collect();
    let deliver = async |function: &Function| {
        for event in &events {
            response(function.invoke(event.clone()).await);
        }
    };
    tokio::join!(deliver(&one), deliver(&other));
    assert_eq!(aws.jobs().len(), 1);
    // Requests that came while the job was being started wait, and then are covered.
    drain(&one).await;
    assert_eq!(aws.jobs().len(), 1);
    assert_eq!(aws.calls_of(Operation::PopulateIdMappingTable).len(), 1);
    // Each of the hundred has an outcome. A request that finds a start that is not announced yet announces it
    // too, with the same id.
    let ended = |outcome: &str, member: &str| {
        let events = aws.events();
        let details = events.iter().map(|event| &event["detail"]);
        details
            .filter(|detail| detail["outcome"] == outcome)
            .map(|detail| detail[member].to_string())
            .collect::<std::collections::BTreeSet<String>>()
    };
    assert_eq!(ended("STARTED", "eventId").len(), 1);
    let started = ended("STARTED", "requestId");
    let covered = ended("COVERED", "requestId");
    assert_eq!(started.union(&covered).count(), 100);
    assert_eq!(covered.len(), ended("COVERED", "eventId").len());
}

#[tokio::test]
async fn a_queue_of_a_thousand_costs_two_calls_a_batch_and_then_one_job_a_table() {
    const TABLES: usize = 5;
    let environment = environment(Slot::Conflict).await;
    let aws = &environment.aws;
    let function = Function::within(&environment, TIMEOUT).await;
    aws.start_foreign_job(T1);
    let since = OffsetDateTime::now_utc() - time::Duration::minutes(10);
    for number in 0..1_000 {
        let table = format!("aaaaaaaa-{:04}-4000-8000-000000000001", number % TABLES);
        let mut request = request_for(&table);
        request["requestId"] = json!(format!("request {number}"));
        request["time"] = json!("2026-11-23T02:00:00Z");
        let message = json!({
            "version": 1, "request": request, "trigger": null, "watch": null,
            "waitingSince": Change::new("", &table, since).event["time"],
        });
        aws.send("waiting", &message.to_string());
    }
    let mut batches = 0;
    #[cfg(target_os = "linux")]
    let mut early = 0;
    while batches < 100 {
        match function.poll().await {
            Some(batch) => {
                let failures = &batch.answer.unwrap()["batchItemFailures"];
                assert_eq!(failures.as_array().unwrap().len(), 10);
                batches += 1;
                #[cfg(target_os = "linux")]
                if batches == 20 {
                    early = function.used().peak_kib;
                }
            }
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    let calls = aws.calls_of(Operation::PopulateIdMappingTable).len();
    assert!(calls <= 2 * batches, "{calls} calls for {batches} batches");
    #[cfg(target_os = "linux")]
    {
        let late = function.used().peak_kib;
        println!(
            "{batches} batches of 10: {calls} calls; peak memory {early} KiB after 20, {late} KiB after all"
        );
        assert!(late < early + 1_024, "{early} KiB grew to {late} KiB");
    }
    assert_eq!(
        aws.events().len(),
        0,
        "no WAITING is published for a request that already waits"
    );
    // One job after another, and each table has one.
    let began = Instant::now();
    while !aws.messages("waiting").is_empty() {
        aws.end_job(Status::Succeeded);
        if function.poll().await.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{} wait",
            aws.messages("waiting").len()
        );
    }
    assert_eq!(aws.jobs().iter().filter(|job| !job.foreign).count(), TABLES);
    assert_eq!(
        (outcomes(aws, "STARTED"), outcomes(aws, "COVERED")),
        (TABLES, 1_000 - TABLES)
    );
}

#[tokio::test]
async fn a_function_that_is_killed_before_its_answer_arrives_leaves_one_job_and_it_is_announced() {
    let environment = environment(Slot::Conflict).await;
    let aws = &environment.aws;
    let timeout = Duration::from_secs(4);
    let mut killed = Function::within(&environment, timeout).await;
    let event = Change::new(
        "change",
        T1,
        OffsetDateTime::now_utc() - time::Duration::seconds(10),
    )
    .event;
    aws.fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndHang);
    let lambda = killed.lambda.clone();
    let text = event.to_string();
    let invocation = tokio::spawn(async move { lambda.invoke("killed", text).await });
    while aws.jobs().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    killed.process.kill().unwrap(); // SIGKILL
    assert_eq!(invocation.await.unwrap(), None);

    // Lambda delivers it again to another environment. The claim is live at first, and then reconciled.
    let next = Function::within(&environment, timeout).await;
    response(next.invoke(event.to_string()).await);
    drain(&next).await;
    assert_eq!((aws.jobs().len(), outcomes(aws, "STARTED")), (1, 1));
    let events = aws.events();
    let started = events
        .iter()
        .find(|event| event["detail"]["outcome"] == "STARTED")
        .unwrap();
    assert_eq!(
        started["detail"]["entityResolutionJobId"],
        aws.jobs()[0].entity_resolution_id
    );
    assert_eq!(started["detail"]["requestId"], "change");
    assert_eq!(aws.calls_of(Operation::PopulateIdMappingTable).len(), 1);
}

/// Lambda freezes a function between two invocations, and servers close idle connections meanwhile.
#[cfg(unix)]
#[tokio::test]
async fn connections_that_were_closed_between_invocations_leave_no_outcome_unknown() {
    let environment = environment(Slot::Unlimited).await;
    let aws = &environment.aws;
    let function = Function::within(&environment, TIMEOUT).await;
    let signal = |name: &str| {
        let id = function.process.id().to_string();
        let status = std::process::Command::new("kill")
            .args([name, &id])
            .status()
            .unwrap();
        assert!(status.success());
    };
    let mut closed = 0;
    for number in 0..40 {
        let table = format!("aaaaaaaa-{number:04}-4000-8000-000000000001");
        let answered = if number % 2 == 0 {
            // It is awake when they are closed.
            closed += aws.close_idle_connections();
            function.invoke(request_for(&table).to_string()).await
        } else {
            // It is frozen, and finds them closed and the next invocation there at the same time.
            signal("-STOP");
            closed += aws.close_idle_connections();
            let invocation = function.invoke(request_for(&table).to_string());
            let (answered, ()) = tokio::join!(invocation, async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                signal("-CONT");
            });
            answered
        };
        let Answered::Response(answer) = answered else {
            panic!("{answered:?}")
        };
        assert_eq!(
            answer["outcomes"][0]["outcome"], "STARTED",
            "{number}: {answer}"
        );
    }
    assert!(closed >= 39, "{closed} were closed");
    assert_eq!(
        aws.calls_of(Operation::ListIdMappingJobs).len(),
        0,
        "nothing was unknown"
    );
    assert_eq!(aws.jobs().len(), 40);
}
