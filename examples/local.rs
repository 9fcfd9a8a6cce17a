//! Runs the function on one event on this machine, and prints what happens. Stand-ins of the services run on loopback,
//! and the function calls them with the real SDK clients.

#![allow(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a missing member returns null and does not panic"
)]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fake_aws::{
    Call, DEAD, Environment, Exception, FakeAws, Fault, Operation, REGION, Slot, Status, Table,
    WAITING,
};
use id_mapping_populator::clock::Clock;
use id_mapping_populator::error::Error;
use id_mapping_populator::handler::{Populator, Response};
use id_mapping_populator::input::Payload;
use id_mapping_populator::telemetry;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tracing::Instrument;

#[path = "../tests/in_process/mod.rs"]
mod in_process;

const USAGE: &str = "\
cargo run --example local -- events/FILE.json   run the function on this event
    --times NUMBER       deliver the event this many times: a bus delivers at least once
    --burst NUMBER       deliver this many similar events, each with its own id
    --fault EXCEPTION    make Clean Rooms refuse the call: AccessDeniedException, ConflictException,
                         InternalServerException, ResourceNotFoundException,
                         ServiceQuotaExceededException, ThrottlingException, ValidationException;
                         or make it never answer: NoAnswer. The service recovers after this delivery
    --table KIND         the table that AUTO reads: PROVIDER, NOT_INCREMENTAL, NEVER_POPULATED, or
                         NOT_PERMITTED (it may not be read). The default is a populated table whose
                         workflow runs incrementally
cargo run --example local -- --serve            run the services for `cargo lambda watch`
    --port PORT          on this port";

/// The settings of the README with their defaults in this example, beside those of the environment.
const SETTINGS: [(&str, &str); 7] = [
    (
        "ID_MAPPING_TABLE_ARNS",
        "arn:aws:cleanrooms:eu-west-1:123456789012:membership/11111111-2222-4333-8444-555555555555/idmappingtable/\
         aaaaaaaa-0001-4000-8000-000000000001",
    ),
    ("DEFAULT_JOB_TYPE", "SERVICE_DEFAULT"),
    ("FULL_REFRESH_EVERY", ""),
    ("EVENT_SOURCE", "id-mapping-populator"),
    ("MAX_WAIT", "72h"),
    ("SETTLE_TIME", ""),
    ("TRACK_COMPLETION", ""),
];

/// The time between two tries of a waiting request. It is the template's default, and longer than any `SETTLE_TIME`.
const RETRY_INTERVAL: Duration = Duration::from_secs(20 * 60);

#[derive(Default)]
struct Arguments {
    file: Option<String>,
    fault: Option<Fault>,
    table: Option<String>,
    times: Option<usize>,
    burst: Option<usize>,
    serve: bool,
    port: u16,
    help: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let result = match arguments(std::env::args().skip(1)) {
        Ok(arguments) if arguments.help || std::env::args().len() == 1 => list(),
        Ok(Arguments {
            file: None,
            serve: false,
            ..
        }) => Err(format!("an event is missing\n\n{USAGE}")),
        Ok(arguments) => start(arguments).await,
        Err(error) => Err(format!("{error}\n\n{USAGE}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--help" | "-h" => arguments.help = true,
            "--serve" => arguments.serve = true,
            "--port" => {
                let port = words.next().and_then(|port| port.parse().ok());
                arguments.port = port.ok_or("--port needs a number from 0 to 65535")?;
            }
            "--times" | "--burst" => {
                let number = words.next().and_then(|number| number.parse().ok());
                let number = number.filter(|number| (1..=1_000).contains(number));
                let number = number.ok_or(format!("{word} needs a number from 1 to 1000"))?;
                if word == "--times" {
                    arguments.times = Some(number);
                } else {
                    arguments.burst = Some(number);
                }
            }
            "--fault" => {
                arguments.fault = match words.next().as_deref() {
                    Some("NoAnswer") => Some(Fault::AcceptAndHang),
                    name => name.and_then(Exception::named).map(Fault::Refuse),
                };
                if arguments.fault.is_none() {
                    return Err("--fault needs one of the names below".to_owned());
                }
            }
            "--table" => {
                const KINDS: [&str; 4] = [
                    "PROVIDER",
                    "NOT_INCREMENTAL",
                    "NEVER_POPULATED",
                    "NOT_PERMITTED",
                ];
                let kind = words.next().filter(|kind| KINDS.contains(&kind.as_str()));
                arguments.table = Some(kind.ok_or("--table needs one of the kinds below")?);
            }
            _ if word.starts_with('-') => return Err(format!("{word} is not an option")),
            _ if arguments.file.is_some() || arguments.serve => {
                return Err(format!("{word} is one argument too many"));
            }
            _ => arguments.file = Some(word),
        }
    }
    Ok(arguments)
}

fn list() -> Result<(), String> {
    println!("{USAGE}\n\nThe events:");
    for folder in ["events", "events/refused", "events/outcomes"] {
        let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
            .map_err(|e| e.to_string())?;
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".json")).collect();
        names.sort();
        for name in names {
            println!("    {folder}/{name}");
        }
    }
    Ok(())
}

/// Returns the settings that are not empty.
fn settings(environment: &Environment) -> Vec<(&str, String)> {
    let names = environment.settings().iter().map(|(name, _)| name.as_str());
    let pairs = names.map(|name| (name, environment.setting(name).unwrap_or_default()));
    pairs.filter(|(_, value)| !value.is_empty()).collect()
}

async fn start(arguments: Arguments) -> Result<(), String> {
    let aws = FakeAws::start_on(arguments.port).await;
    let aws = aws.map_err(|error| format!("port {} is not free: {error}", arguments.port))?;
    let environment = Environment::builder()
        .ledger()
        .event_bus()
        .queue(time::Duration::ZERO)
        .dead_letter_queue()
        .slot(Slot::Conflict)
        .settings(&SETTINGS)
        .process_variables_first()
        .on(&aws);
    if let Some(fault) = arguments.fault.clone() {
        aws.fail_always(Operation::PopulateIdMappingTable, fault);
    }
    match arguments.table.as_deref() {
        Some("NOT_PERMITTED") => {
            let refused = Fault::Refuse(Exception::access_denied());
            aws.fail_always(Operation::GetIdMappingTable, refused);
        }
        Some(kind) => {
            for number in 1..=5 {
                let table = Table {
                    provider: kind == "PROVIDER",
                    incremental: kind != "NOT_INCREMENTAL",
                    populated: kind != "NEVER_POPULATED",
                    refuses: false,
                };
                aws.set_table(
                    &format!("aaaaaaaa-{number:04}-4000-8000-000000000001"),
                    table,
                );
            }
        }
        None => {}
    }
    match &arguments.file {
        Some(file) if !arguments.serve => run(&environment, file, &arguments).await,
        _ => serve(&environment).await,
    }
}

async fn run(environment: &Environment, file: &str, arguments: &Arguments) -> Result<(), String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("{file} cannot be read: {error}\n\n{USAGE}"))?;
    let given = in_process::settings(environment).map_err(|error| error.to_string())?;
    let aws = &environment.aws;
    // The clock is moved forward, so that the example does not wait.
    let passed = Arc::new(AtomicU64::new(0));
    let clock = {
        let passed = Arc::clone(&passed);
        move || OffsetDateTime::now_utc() + Duration::from_secs(passed.load(Ordering::Relaxed))
    };
    aws.set_clock(clock.clone());
    let populator = in_process::populator(environment, Clock::new(clock)).await;
    let populator = populator.map_err(|error| error.to_string())?;

    heading(&format!("{file} is delivered"));
    println!("{}", text.trim_end());
    heading("the settings are");
    for (name, value) in settings(environment) {
        println!("{name}={value}");
    }
    heading("the function logs");
    telemetry::start(None, None);
    if let Some(warning) = given.warning() {
        tracing::warn!("{warning}");
    }
    let answer = invoke(aws, &populator, &text).await;
    aws.repair(Operation::PopulateIdMappingTable);
    aws.calls().iter().for_each(show);
    if aws.call_count() == 0 {
        heading("nothing is called and nothing is published");
    }
    for event in aws.events() {
        heading(&format!(
            "{}: this event is published",
            event["detail-type"]
        ));
        println!("{event:#}");
    }
    match answer {
        Ok(response) => {
            let response = json!(response);
            for outcome in response["outcomes"].as_array().into_iter().flatten() {
                let plan = word(&outcome["plan"]);
                heading(&format!(
                    "{}{}{plan}, by rule {}",
                    word(&outcome["outcome"]),
                    if plan.is_empty() { "" } else { ": " },
                    word(&outcome["decision"]["rule"])
                ));
                println!("{}", word(&outcome["decision"]["reason"]));
            }
            heading("the function returns");
            println!("{response:#}");
        }
        Err(error) => {
            heading("the function fails");
            println!(
                "{:#}",
                json!({ "errorType": error.error_type.as_str(), "errorMessage": error.message })
            );
        }
    }
    for number in 2..=arguments.times.unwrap_or(1) {
        heading(&format!("the same event once more (delivery {number})"));
        show_invocation(aws, invoke(aws, &populator, &text)).await;
    }
    for number in 1..=arguments.burst.unwrap_or(0) {
        let mut event: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        if event.get("detail-type").is_none() {
            return Err("--burst needs an EventBridge event, which has an id".to_owned());
        }
        event["id"] = json!(format!("burst-{number}"));
        heading(&format!("a similar event (id burst-{number})"));
        show_invocation(aws, invoke(aws, &populator, &event.to_string())).await;
    }
    wait(aws, &populator, &passed).await;
    heading("in all");
    println!(
        "jobs started: {}; messages waiting: {}; in the dead-letter queue: {}",
        aws.jobs().len(),
        aws.messages(WAITING).len(),
        aws.messages(DEAD).len()
    );
    Ok(())
}

/// Invokes the function as Lambda does.
async fn invoke(aws: &FakeAws, populator: &Populator, payload: &str) -> Result<Response, Error> {
    let request_id = "00000000-0000-4000-8000-000000000001";
    let invocation = in_process::invocation(request_id, aws.now() + Duration::from_secs(60));
    let span = telemetry::invocation_span(&invocation.request_id, None);
    let payload = Payload::from_text(payload);
    populator
        .handle(&payload, &invocation)
        .instrument(span)
        .await
}

/// Ends the running job, lets the retry interval pass, and delivers the waiting queue, until no request waits. In an
/// account this takes hours.
async fn wait(aws: &FakeAws, populator: &Populator, passed: &AtomicU64) {
    const MAX_ROUNDS: usize = 20;
    for _ in 0..MAX_ROUNDS {
        if aws.messages(WAITING).is_empty() {
            return;
        }
        passed.fetch_add(RETRY_INTERVAL.as_secs(), Ordering::Relaxed);
        if let Some(job) = aws.end_job(Status::Succeeded) {
            heading(&format!("job {job} of {} has ended", job.table));
        }
        let deliver = async |batch: &Value| {
            let count = batch["Records"].as_array().map_or(0, Vec::len);
            heading(&format!(
                "{} minutes later SQS delivers the waiting queue (messages: {count})",
                RETRY_INTERVAL.as_secs() / 60
            ));
            show_invocation(aws, invoke(aws, populator, &batch.to_string())).await
        };
        if aws.poll(deliver).await.is_none() {
            return;
        }
    }
}

/// Runs an invocation, and prints what it announces, or why it fails.
async fn show_invocation(
    aws: &FakeAws,
    invocation: impl Future<Output = Result<Response, Error>>,
) -> Option<Value> {
    let before = aws.events().len();
    let answer = invocation.await;
    for event in aws.events().iter().skip(before) {
        let detail = &event["detail"];
        let table = word(&detail["idMappingTableIdentifier"]);
        let job = ["idMappingJobId", "entityResolutionJobId"].map(|name| word(&detail[name]));
        println!(
            "announced: {} of {table} {}",
            word(&detail["outcome"]),
            job.concat()
        );
    }
    match answer {
        Ok(answer) => Some(json!(answer)),
        Err(error) => {
            println!("the function fails: {error}");
            None
        }
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

async fn serve(environment: &Environment) -> Result<(), String> {
    let aws = &environment.aws;
    println!(
        "stand-ins of Clean Rooms, Entity Resolution, DynamoDB, SQS and EventBridge run at {} until you press Ctrl-C.\n\nIn another terminal:\n",
        aws.url()
    );
    println!("export AWS_ENDPOINT_URL={}", aws.url());
    println!("export AWS_REGION={REGION} AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local");
    for (name, value) in settings(environment) {
        println!("export {name}={value}");
    }
    println!("cargo lambda watch\n\nIn a third terminal:\n");
    println!(
        "cargo lambda invoke id-mapping-populator --data-file events/population-requested.json"
    );
    let mut shown = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        for call in aws.calls().iter().skip(shown) {
            show(call);
            shown += 1;
        }
    }
}

fn show(call: &Call) {
    match call.operation {
        Some(Operation::PopulateIdMappingTable) => {
            heading("PopulateIdMappingTable is called");
            println!("{} {}\n{}", call.method, call.path, call.body);
        }
        Some(Operation::PutEvents) => {
            heading("PutEvents is called");
            for entry in call.body["Entries"].as_array().into_iter().flatten() {
                println!("on bus {}: {}", entry["EventBusName"], entry["DetailType"]);
            }
        }
        Some(other) => {
            heading(&format!("{other:?} is called"));
            println!("{} {}\n{}", call.method, call.path, call.body);
        }
        None => heading(&format!(
            "{} {} is called, which none of the stand-ins has",
            call.method, call.path
        )),
    }
    match call.status {
        Some(status) => println!("answer: {status} {}", call.answer),
        None => println!("no answer"),
    }
}

fn heading(text: &str) {
    println!("\n── {text}");
}
