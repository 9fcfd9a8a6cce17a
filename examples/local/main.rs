//! Runs the function on one event on this machine, and tells what happens. Stand-ins of the services run on loopback,
//! and the function calls them with the real SDK clients.

#![allow(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a missing member returns null and does not panic"
)]

use std::collections::HashSet;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fake_aws::{
    Account, DEAD, Environment, Exception, FakeAws, Fault, Listed, Membership, Operation, REGION,
    Slot, Status, Table, WAITING,
};
use id_mapping_populator::clock::Clock;
use id_mapping_populator::error::Error;
use id_mapping_populator::handler::{Populator, Response};
use id_mapping_populator::input::Payload;
use id_mapping_populator::telemetry;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tracing::Instrument;

mod arguments;
#[path = "../../tests/in_process/mod.rs"]
mod in_process;
mod timeline;
mod wire;

use self::arguments::{Arguments, USAGE, arguments};
use self::timeline::{Detail, short};

/// The settings of the README with their defaults in this example, beside those of the environment.
const SETTINGS: [(&str, &str); 12] = [
    (
        "ID_MAPPING_TABLE_ARNS",
        "arn:aws:cleanrooms:eu-west-1:123456789012:membership/11111111-2222-4333-8444-555555555555/idmappingtable/\
         aaaaaaaa-0001-4000-8000-000000000001",
    ),
    // The events name other tables too.
    ("ALLOW_OTHER_TABLES", "true"),
    ("ALLOWED_JOB_TYPES", ""),
    ("ALLOWED_ACCOUNTS", ""),
    ("DEFAULT_JOB_TYPE", "AUTO"),
    ("FULL_REFRESH_EVERY", ""),
    ("EVENT_SOURCE", "id-mapping-populator"),
    ("MAX_WAIT", "72h"),
    ("SETTLE_TIME", ""),
    ("MIN_INTERVAL", ""),
    ("TRACK_COMPLETION", ""),
    ("MAX_JOB_ATTEMPTS", ""),
];

/// The time between two tries of a waiting request. It is the template's default, and longer than any `SETTLE_TIME`.
const RETRY_INTERVAL: Duration = Duration::from_secs(20 * 60);

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

fn list() -> Result<(), String> {
    say(format_args!("{USAGE}\n\nThe events:"));
    for folder in ["events", "events/refused", "events/outcomes"] {
        let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
            .map_err(|e| e.to_string())?;
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".json")).collect();
        names.sort();
        for name in names {
            say(format_args!("    {folder}/{name}"));
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
            for id in tables_of_events() {
                let table = Table {
                    provider: kind == "PROVIDER",
                    incremental: kind != "NOT_INCREMENTAL",
                    populated: kind != "NEVER_POPULATED",
                    refuses: false,
                };
                aws.set_table(&id, table);
            }
        }
        None => {}
    }
    aws.set_account(arguments.account.clone().unwrap_or_else(account_of_events));
    match &arguments.file {
        Some(file) if !arguments.serve => run(&environment, file, &arguments).await,
        _ => serve(&environment).await,
    }
}

/// The tables that the files in `events` name.
fn tables_of_events() -> impl Iterator<Item = String> {
    (1..=5).map(|number| format!("aaaaaaaa-{number:04}-4000-8000-{number:012}"))
}

/// The account that has these tables.
fn account_of_events() -> Account {
    let listed = |id| Listed {
        id,
        name: None,
        workflow_arn: None,
    };
    let membership = Membership {
        id: "11111111-2222-4333-8444-555555555555".to_owned(),
        collaboration_name: "local".to_owned(),
        status: "ACTIVE".to_owned(),
        id_mapping_tables: tables_of_events().map(listed).collect(),
    };
    Account {
        memberships: vec![membership],
        ..Account::default()
    }
}

async fn run(environment: &Environment, file: &str, arguments: &Arguments) -> Result<(), String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("{file} cannot be read: {error}"))?;
    if arguments.burst.is_some() && !text.contains("\"detail-type\"") {
        return Err("--burst needs an EventBridge event, which has an id".to_owned());
    }
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
    let story = Story {
        aws,
        populator,
        is_wire: arguments.wire,
    };

    if arguments.wire {
        heading(&format!("{file} is delivered"));
        say(format_args!("{}", text.trim_end()));
        heading("the settings are");
        for (name, value) in settings(environment) {
            say(format_args!("{name}={value}"));
        }
        heading("the function logs");
        telemetry::start(None, None);
    }
    for warning in given.warnings() {
        say(format_args!("warning: {warning}"));
    }
    heading(&format!("{file} arrives"));
    let answer = story.invoke(&text, Detail::All).await;
    aws.repair(Operation::PopulateIdMappingTable);
    story.tell_answer(&answer);
    for number in 2..=arguments.times.unwrap_or(1) {
        heading(&format!(
            "the same event arrives again (delivery {number}; only starts and events are shown)"
        ));
        story.invoke_briefly(&text).await;
    }
    for number in 1..=arguments.burst.unwrap_or(0) {
        let mut event: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        event["id"] = json!(format!("burst-{number}"));
        heading(&format!("a similar event arrives (id burst-{number})"));
        story.invoke_briefly(&event.to_string()).await;
    }
    story.wait(&passed).await;
    heading("in all");
    say(format_args!(
        "jobs started: {}; messages waiting: {}; in the dead-letter queue: {}",
        aws.jobs().len(),
        aws.messages(WAITING).len(),
        aws.messages(DEAD).len()
    ));
    Ok(())
}

/// The function, its services, and whether calls are printed as they are on the wire.
struct Story<'a> {
    aws: &'a FakeAws,
    populator: Populator,
    is_wire: bool,
}

impl Story<'_> {
    /// Invokes the function as Lambda does, and prints what it calls.
    async fn invoke(&self, payload: &str, detail: Detail) -> Result<Response, Error> {
        let aws = self.aws;
        let (before, began) = (aws.call_count(), aws.now());
        let request_id = "00000000-0000-4000-8000-000000000001";
        let invocation = in_process::invocation(request_id, began + Duration::from_secs(60));
        let span = telemetry::invocation_span(&invocation.request_id, None);
        let payload = Payload::from_text(payload);
        let handled = self.populator.handle(&payload, &invocation);
        let answer = handled.instrument(span).await;
        let calls = &aws.calls()[before..];
        if self.is_wire {
            calls.iter().for_each(wire::show);
        } else {
            for line in timeline::lines(calls, began, detail) {
                say(format_args!("{line}"));
            }
        }
        if calls.is_empty() {
            say(format_args!("nothing is called, and nothing is published"));
        }
        answer
    }

    /// Prints how the first invocation ended.
    fn tell_answer(&self, answer: &Result<Response, Error>) {
        let response = match answer {
            Ok(response) => json!(response),
            Err(error) => {
                heading(&format!(
                    "the function fails with {}",
                    error.error_type.as_str()
                ));
                say(format_args!("{}", error.message));
                heading(
                    "Lambda repeats an event twice, and then sends it to the dead-letter queue",
                );
                return;
            }
        };
        if tell_status(&response) {
            return;
        }
        heading("the outcome");
        match (&response["outcomes"], &response["batchItemFailures"]) {
            (Value::Array(outcomes), _) if outcomes.is_empty() => say(format_args!(
                "the payload asks for nothing: the log line says why (--wire)"
            )),
            (_, Value::Array(kept)) => {
                say(format_args!(
                    "messages that stay in the queue: {}",
                    kept.len()
                ));
            }
            _ => {}
        }
        let mut told = HashSet::new();
        for outcome in response["outcomes"].as_array().into_iter().flatten() {
            let plan = word(&outcome["plan"]);
            let error = word(&outcome["error"]["type"]);
            let message = match told.insert(error) {
                true => word(&outcome["error"]["message"]),
                false => "as above",
            };
            say(format_args!(
                "table {}: {}{}{plan}, by rule {}: {}{}",
                short(word(&outcome["idMappingTableIdentifier"])),
                word(&outcome["outcome"]),
                if plan.is_empty() { "" } else { ": " },
                word(&outcome["decision"]["rule"]),
                word(&outcome["decision"]["reason"]),
                match error {
                    "" => String::new(),
                    _ => format!("; {error}: {message}"),
                }
            ));
        }
        if self.is_wire {
            heading("the function returns");
            say(format_args!("{response:#}"));
        }
    }

    /// Invokes the function, and prints what it starts and publishes, or why it fails.
    async fn invoke_briefly(&self, payload: &str) -> Option<Value> {
        match self.invoke(payload, Detail::Effects).await {
            Ok(answer) => Some(json!(answer)),
            Err(error) => {
                say(format_args!("the function fails: {error}"));
                None
            }
        }
    }

    /// Ends the running job, lets the retry interval pass, and delivers the waiting queue, until no request waits. In an
    /// account this takes hours.
    async fn wait(&self, passed: &AtomicU64) {
        const MAX_ROUNDS: usize = 20;
        for _ in 0..MAX_ROUNDS {
            if self.aws.messages(WAITING).is_empty() {
                return;
            }
            passed.fetch_add(RETRY_INTERVAL.as_secs(), Ordering::Relaxed);
            let minutes = RETRY_INTERVAL.as_secs() / 60;
            let ended = match self.aws.end_job(Status::Succeeded) {
                Some(job) => format!(" job {} has ended, and", short(&job.id)),
                None => String::new(),
            };
            let deliver = async |batch: &Value| {
                let count = batch["Records"].as_array().map_or(0, Vec::len);
                heading(&format!(
                    "{minutes} minutes later:{ended} SQS delivers the waiting queue (messages: {count})"
                ));
                self.invoke_briefly(&batch.to_string()).await
            };
            if self.aws.poll(deliver).await.is_none() {
                return;
            }
        }
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// How long a job of the served stand-ins takes.
const JOB_RUNS_FOR: time::Duration = time::Duration::seconds(20);

async fn serve(environment: &Environment) -> Result<(), String> {
    let aws = &environment.aws;
    {
        let state = &mut *aws.state();
        state.job_runs_for = Some(JOB_RUNS_FOR);
        // The tables of the sample events. No other one can be populated.
        let tables = (1..=5).map(|n| format!("aaaaaaaa-000{n}-4000-8000-00000000000{n}"));
        state.existing = tables.collect();
    }
    say(format_args!(
        "stand-ins of Clean Rooms, Entity Resolution, DynamoDB, SQS and EventBridge run at {} until you press Ctrl-C. A job \
         takes {} seconds.\n\nIn another terminal:\n",
        aws.url(),
        JOB_RUNS_FOR.whole_seconds()
    ));
    say(format_args!("export AWS_ENDPOINT_URL={}", aws.url()));
    say(format_args!(
        "export AWS_REGION={REGION} AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local"
    ));
    for (name, value) in settings(environment) {
        say(format_args!("export {name}={value}"));
    }
    say(format_args!("cargo lambda watch\n\nIn a third terminal:\n"));
    say(format_args!(
        "cargo lambda invoke id-mapping-populator --data-file events/population-requested.json"
    ));
    let mut shown = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        for call in aws.calls().iter().skip(shown) {
            wire::show(call);
            shown += 1;
        }
    }
}

/// Prints a line. A reader that has seen enough ends the example.
fn say(line: fmt::Arguments<'_>) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// Prints a heading: bold on a terminal, unless `NO_COLOR` is set.
/// Prints the answer to a question for status. Returns whether it is one.
fn tell_status(response: &Value) -> bool {
    if let Value::String(page) = response {
        heading("the answer is a page for the widget of a dashboard");
        let bytes = page.len();
        say(format_args!(
            "{bytes} bytes of HTML (`cargo run --example status` writes such a page to a file)"
        ));
        return true;
    }
    let status = &response["status"];
    if status.is_object() {
        heading("the status");
        let text = serde_json::to_string_pretty(status).unwrap_or_default();
        say(format_args!("{text}"));
    }
    status.is_object()
}

fn heading(text: &str) {
    let is_bold = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    match is_bold {
        true => say(format_args!("\u{1b}[1m── {text}\u{1b}[0m")),
        false => say(format_args!("── {text}")),
    }
}
