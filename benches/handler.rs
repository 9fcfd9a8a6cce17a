//! Measures the function's own work without a network: parsing a payload, choosing a job type, checking coverage,
//! writing an outcome, and whole invocations without their log.
//!
//! It also measures how the cost grows with the number of targets and of waiting messages, and fails if it grows faster
//! than in proportion. The services run in this process.
//!
//! Run it with `cargo bench --bench handler`.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::ItemsCount;
use fake_aws::{Environment, FUNCTION_ARN, FakeAws, REGION, Slot};
use id_mapping_populator::choice::{Choice, Facts, Mapping, Read, Workflow};
use id_mapping_populator::clock::Clock;
use id_mapping_populator::config::Settings;
use id_mapping_populator::handler::Populator;
use id_mapping_populator::input::{Arrival, Content, Delivery, Message, Part, Payload};
use id_mapping_populator::job::{Job, JobId};
use id_mapping_populator::job_type::{RequestedType, TypeSource};
use id_mapping_populator::ledger::{Record, Verdict};
use id_mapping_populator::outcome::Outcome;
use id_mapping_populator::request::Request;
use id_mapping_populator::target::AwsLocation;
use id_mapping_populator::{choice, input};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::runtime::Runtime;

#[path = "../tests/in_process/mod.rs"]
mod in_process;

const MEMBERSHIP: &str = "11111111-2222-4333-8444-555555555555";
const NOW: OffsetDateTime = datetime!(2026-11-23 02:00:03 UTC);

/// The largest number of targets that a payload may name.
const TARGETS: [usize; 3] = [1, 10, 100];
const MESSAGES: [usize; 4] = [10, 100, 1_000, 10_000];

/// The largest allowed ratio of the cost of each of many to the cost of each of few. A step that compares each item with
/// all others exceeds it.
const MOST_GROWTH: f64 = 2.0;

fn main() {
    divan::main();
    let targets = |count| (count, handle::each_target(count));
    grows("targets in one payload", targets(10), targets(100));
    let messages = |count| (count, handle::each_message(count));
    grows(
        "messages waiting for a busy slot",
        messages(100),
        messages(10_000),
    );
}

/// Returns the value of a result, or ends the benchmark.
fn got<T, E: Debug>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| {
        eprintln!("{error:?}");
        std::process::exit(1)
    })
}

fn settings() -> Settings {
    got(in_process::settings(&Environment::builder().in_process()))
}

fn target(number: usize) -> Value {
    json!({
        "membershipIdentifier": MEMBERSHIP,
        "idMappingTableIdentifier": format!("aaaaaaaa-0000-4000-8000-{number:012}"),
    })
}

fn naming(targets: usize) -> Payload {
    let targets: Vec<Value> = (0..targets).map(target).collect();
    let payload = json!({ "targets": targets, "jobType": "BATCH", "requestId": "benchmark" });
    Payload::from_text(&payload.to_string())
}

/// Returns a batch of the waiting queue with messages for different tables.
fn waiting(messages: usize) -> Payload {
    let record = |number| {
        let mut request = target(number);
        for (name, value) in [
            ("jobType", "INCREMENTAL"),
            ("requestId", "benchmark"),
            ("time", "2026-11-23T02:00:00.000Z"),
        ] {
            if let Value::Object(members) = &mut request {
                members.insert(name.to_owned(), value.into());
            }
        }
        let body = json!({
            "version": 1,
            "request": request,
            "trigger": null,
            "waitingSince": "2026-11-23T02:00:00.412Z",
            "watch": null,
        });
        json!({
            "messageId": format!("{number}"),
            "receiptHandle": "AQEB",
            "body": body.to_string(),
            "attributes": { "SentTimestamp": "1795399200412" },
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:waiting",
            "awsRegion": "eu-west-1",
        })
    };
    let records: Vec<Value> = (0..messages).map(record).collect();
    Payload::from_text(&json!({ "Records": records }).to_string())
}

fn parsed(payload: &Payload) -> Delivery {
    let settings = settings();
    let arrival = Arrival {
        request_id: "benchmark",
        function_arn: FUNCTION_ARN,
        at: NOW,
        location: &AwsLocation::of(FUNCTION_ARN, REGION),
        settings: &settings,
    };
    got(input::parse(payload, &arrival))
}

/// Returns the requests of a payload that is not a batch.
fn requests(payload: &Payload) -> Vec<Request> {
    let Delivery::Direct(parts) = parsed(payload) else {
        return Vec::new();
    };
    let of = |part: Part| match part.content {
        Ok(Content::Requests(requests)) => requests,
        _ => Vec::new(),
    };
    parts.into_iter().flat_map(of).collect()
}

fn request() -> Request {
    got(requests(&naming(1)).into_iter().next().ok_or("no request"))
}

fn choice() -> Choice {
    got(choice::by_request(RequestedType::ServiceDefault, TypeSource::Setting).ok_or("no choice"))
}

/// Returns a record with the largest number of keys and jobs, none of which covers the request.
fn record() -> Record {
    let types = ["BATCH", "INCREMENTAL", "DELETE_ONLY"];
    let job = |number: usize| {
        json!({
            "idMappingJobId": format!("00000000-0000-4000-8000-{number:012}"),
            "jobType": types.get(number % 4),
            "startedAt": 1_700_000_000_000_i64,
            "answeredAt": 1_700_000_000_000_i64,
        })
    };
    let known = |number| {
        json!({
            "key": format!("00000000-0000-5000-8000-{number:012}"),
            "job": job(number),
        })
    };
    let keys: Vec<Value> = (0..64).map(known).collect();
    got(serde_json::from_value(
        json!({ "jobs": [job(60), job(61), job(62), job(63)], "keys": keys }),
    ))
}

mod parse {
    use super::*;

    #[divan::bench(args = TARGETS)]
    fn targets(bencher: Bencher<'_, '_>, count: usize) {
        let payload = naming(count);
        assert_eq!(requests(&payload).len(), count);
        bencher
            .counter(ItemsCount::new(count))
            .bench(|| parsed(&payload));
    }

    #[divan::bench(args = MESSAGES)]
    fn messages(bencher: Bencher<'_, '_>, count: usize) {
        let payload = waiting(count);
        let Delivery::Batch(messages) = parsed(&payload) else {
            return got(Err("no batch"));
        };
        let read = |message: &&Message| matches!(&message.parts[..], [Part { content: Ok(Content::Requests(requests)), .. }] if requests.len() == 1);
        assert_eq!(messages.iter().filter(read).count(), count);
        bencher
            .counter(ItemsCount::new(count))
            .bench(|| parsed(&payload));
    }
}

/// Prints the ratio of the cost of each of many to the cost of each of few, and fails if it is too large.
fn grows(what: &str, few: (usize, Duration), many: (usize, Duration)) {
    let times = many.1.as_secs_f64() / few.1.as_secs_f64();
    println!(
        "{what}: each of {} costs {times:.2} times as much as each of {}",
        many.0, few.0
    );
    if times > MOST_GROWTH {
        got(Err(format!("the limit is {MOST_GROWTH} times")))
    }
}

#[divan::bench]
fn choose(bencher: Bencher<'_, '_>) {
    let workflow = Workflow {
        name: "workflow".to_owned(),
        mapping: Mapping::RuleBased,
        incremental: true,
    };
    let facts = Facts {
        workflow: Ok(read(workflow)),
        populated: Ok(read(true)),
        last_batch: Ok(read(Some(NOW - time::Duration::DAY))),
    };
    bencher.bench(|| choice::by_facts(divan::black_box(&facts), None, NOW));
}

fn read<T>(value: T) -> Read<T> {
    Read { value, at: NOW }
}

#[divan::bench]
fn coverage(bencher: Bencher<'_, '_>) {
    let (record, request) = (record(), request());
    assert_eq!(record.verdict(&request, NOW), Verdict::Free);
    bencher.bench(|| record.verdict(divan::black_box(&request), NOW));
}

#[divan::bench]
fn serialization(bencher: Bencher<'_, '_>) {
    let (request, choice) = (request(), choice());
    let job = Job {
        id: JobId::IdMappingJobId("00000000-0000-4000-8000-000000000001".into()),
        job_type: choice.job_type,
        started_at: NOW,
        answered_at: NOW,
    };
    bencher.bench(|| {
        let outcome = Outcome::started(&request, &choice, &job);
        got(serde_json::to_string(&outcome))
    });
}

/// Measures whole invocations.
mod handle {
    use super::*;

    /// Measures a payload whose targets all get a job.
    #[divan::bench(args = TARGETS)]
    fn targets(bencher: Bencher<'_, '_>, count: usize) {
        let (runtime, payload) = (runtime(), naming(count));
        bencher
            .counter(ItemsCount::new(count))
            // New services each time, because they search the jobs of earlier invocations.
            .with_inputs(|| runtime.block_on(free()))
            .bench_refs(|function| runtime.block_on(starting(function, &payload, count)));
    }

    /// Measures a batch for a busy slot. The first message makes the call that finds it busy.
    #[divan::bench(args = MESSAGES)]
    fn messages(bencher: Bencher<'_, '_>, count: usize) {
        let (runtime, payload) = (runtime(), waiting(count));
        bencher
            .counter(ItemsCount::new(count))
            .with_inputs(|| runtime.block_on(busy()))
            .bench_refs(|function| runtime.block_on(still_waiting(function, &payload, count)));
    }

    pub fn each_target(count: usize) -> Duration {
        let payload = naming(count);
        each(count, free, async |function| {
            starting(function, &payload, count).await
        })
    }

    pub fn each_message(count: usize) -> Duration {
        let payload = waiting(count);
        each(count, busy, async |function| {
            still_waiting(function, &payload, count).await
        })
    }

    const RUNS: usize = 9;

    type Function = (Populator, FakeAws);

    /// Returns the time for each item in the fastest run. The time for the preparation does not count.
    fn each(
        count: usize,
        function: impl AsyncFn() -> Function,
        handle: impl AsyncFn(&Function),
    ) -> Duration {
        let runtime = runtime();
        let took = (0..RUNS).map(|_| {
            let function = runtime.block_on(function());
            let began = Instant::now();
            runtime.block_on(handle(&function));
            began.elapsed()
        });
        took.min().unwrap_or_default() / count as u32
    }

    async fn free() -> Function {
        populator(Slot::Unlimited).await
    }

    async fn busy() -> Function {
        let (populator, aws) = populator(Slot::QuotaExceeded).await;
        aws.start_foreign_job("aaaaaaaa-0000-4000-8000-999999999999");
        (populator, aws)
    }

    async fn starting((populator, aws): &Function, payload: &Payload, count: usize) {
        let answer = handled(populator, payload).await;
        assert_eq!(aws.call_count(), count);
        assert_eq!(answer.matches("\"STARTED\"").count(), count);
    }

    async fn still_waiting((populator, aws): &Function, payload: &Payload, count: usize) {
        let answer = handled(populator, payload).await;
        assert_eq!(aws.call_count(), 1);
        assert_eq!(answer.matches("itemIdentifier").count(), count);
    }

    fn runtime() -> Runtime {
        got(tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build())
    }

    async fn populator(slot: Slot) -> (Populator, FakeAws) {
        let environment = Environment::builder().slot(slot).in_process();
        let populator = in_process::populator(&environment, Clock::new(|| NOW));
        (got(populator.await), environment.aws)
    }

    async fn handled(populator: &Populator, payload: &Payload) -> String {
        let invocation = in_process::invocation("benchmark", NOW + Duration::from_secs(60));
        let response = got(populator.handle(payload, &invocation).await);
        got(serde_json::to_string(&response))
    }
}
