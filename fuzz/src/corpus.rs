//! The inputs with which each target begins: the sample events of `events/`, in each shape in which
//! they may arrive.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use id_mapping_populator::choice;
use id_mapping_populator::input::{Content, Delivery, Payload};
use id_mapping_populator::job::{Call, Job, JobEnd, JobId, StartedJob};
use id_mapping_populator::ledger::{Record, Waiter, Waiters};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::function::{NOW, WITHOUT_TABLES};

/// Writes the inputs into the folder that the environment variable `SEEDS` names, if it is set.
///
/// # Panics
///
/// If a file cannot be written.
pub fn write(inputs: &[String]) {
    let Some(folder) = env::var_os("SEEDS").map(PathBuf::from) else {
        return;
    };
    for (number, input) in inputs.iter().enumerate() {
        let path = folder.join(format!("seed-{number:03}"));
        fs::write(&path, input).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
    }
}

/// Returns the inputs for [`crate::payload`]: each sample by itself, and in each record in which another service may send
/// it. Some texts are not valid JSON.
pub fn payloads() -> Vec<String> {
    let mut inputs = Vec::new();
    for sample in samples() {
        let text = sample.to_string();
        inputs.extend([
            event("com.example", &sample).to_string(),
            event("com.example", &json!(text)).to_string(),
            event("lambda", &of_a_destination("loader", &sample)).to_string(),
            in_a_batch(&text),
            in_a_batch(&of_a_destination("populator", &sample).to_string()),
            in_a_batch(&notification(&text).to_string()),
            of_a_destination("populator", &sample).to_string(),
            of_a_destination("loader", &sample).to_string(),
            notification(&text).to_string(),
            json!({ "Records": [{ "EventSource": "aws:sns", "Sns": notification(&text) }] })
                .to_string(),
            json!({ "FunctionName": "populator", "InvocationType": "Event", "Payload": text })
                .to_string(),
            format!("[{text},{text}]"),
            text,
        ]);
    }
    inputs.extend([100, 101].map(of_many_targets));
    inputs.extend([
        String::new(),
        "{\"a\":\"\\ud83d\"}".to_owned(),
        "\u{feff}{}".to_owned(),
        format!("{}{}", "[".repeat(128), "]".repeat(128)),
        // More refusals than have a message.
        json!(vec![json!({}); 12]).to_string(),
    ]);
    inputs
}

/// Returns the inputs for [`crate::message`]: bodies of any sender, and messages that the function writes.
pub fn messages() -> Vec<String> {
    let mut inputs = payloads();
    inputs.extend(samples().iter().filter_map(|sample| {
        let started = started(sample)?;
        let message = id_mapping_populator::message::message;
        Some(message(&started.request, None, None))
    }));
    inputs
}

/// Returns the inputs for [`crate::record`]: an empty record, a record with a value in each member, and the item of the
/// slot.
pub fn records() -> Vec<String> {
    let started = samples().iter().find_map(started);
    let started = started.expect("a sample is a bare request");
    let call = Call {
        attempt: Uuid::from_u128(1),
        called_at: NOW,
        request: started.request.clone(),
        choice: started.choice.clone(),
    };
    let record = Record::default()
        .job_started(&call, &started.job, Some(NOW), NOW)
        .job_ended(&started.job, "job", JobEnd::Succeeded, NOW);
    let another = Job {
        id: JobId::EntityResolutionJobId("00000002".into()),
        ..started.job.clone()
    };
    let record = record.tracking_queued(&StartedJob::new(&call, another));
    let mut record = serde_json::to_value(record).expect("a record can be written");
    record["claim"] = json!({ "until": 1_795_399_300_000_i64, "call": call });
    record["unknown"] = json!([call]);
    let waiters = Waiters::default().joined(&Waiter::new(&started.request, NOW));
    let waiters = serde_json::to_string(&waiters).expect("the waiting requests can be written");
    vec!["{}".to_owned(), record.to_string(), waiters]
}

/// Returns each JSON document of `events/`.
fn samples() -> Vec<Value> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../events")];
    let mut samples = Vec::new();
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).expect("the folder of the sample events can be read");
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                let text = fs::read_to_string(&path).expect("a sample can be read");
                samples.push(serde_json::from_str(&text).expect("a sample is JSON"));
            }
        }
    }
    samples
}

fn event(source: &str, detail: &Value) -> Value {
    json!({
        "version": "0", "id": "event", "source": source, "account": "123456789012",
        "detail-type": "ID Mapping Population Requested", "region": "eu-west-1",
        "time": "2026-11-23T02:00:00Z", "resources": [], "detail": detail,
    })
}

/// Returns what Lambda sends to a destination: a failure of the function under test, or a success of another one.
fn of_a_destination(function: &str, payload: &Value) -> Value {
    let condition = match function {
        "populator" => "RetriesExhausted",
        _ => "Success",
    };
    json!({
        "version": "1.0", "timestamp": "2026-11-23T02:03:07.812Z",
        "requestContext": {
            "requestId": "0b9c2a0e-5c53-4b8e-bb6e-4a4b6a7d8e01", "condition": condition,
            "functionArn": format!("arn:aws:lambda:eu-west-1:123456789012:function:{function}:$LATEST"),
        },
        "requestPayload": payload, "responsePayload": payload,
    })
}

fn notification(message: &str) -> Value {
    json!({
        "Type": "Notification", "MessageId": "notification", "Message": message,
        "TopicArn": "arn:aws:sns:eu-west-1:123456789012:topic", "Timestamp": "2026-11-23T02:03:07.812Z",
    })
}

/// Returns a request for this many tables.
fn of_many_targets(number: usize) -> String {
    let target = |number| {
        json!({
            "membershipIdentifier": "11111111-2222-4333-8444-555555555555",
            "idMappingTableIdentifier": format!("aaaaaaaa-0001-4000-8000-{number:012}"),
        })
    };
    json!({ "targets": (0..number).map(target).collect::<Vec<_>>() }).to_string()
}

fn in_a_batch(body: &str) -> String {
    let record = json!({
        "messageId": "9f1d6c6e-3a44-4f37-a9a5-7d1a2f0c4b01", "receiptHandle": "AQEB", "body": body,
        "attributes": { "SentTimestamp": "1795399200123", "ApproximateReceiveCount": "1" },
        "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "eu-west-1",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:waiting",
    });
    json!({ "Records": [record] }).to_string()
}

/// Returns a job that a sample starts. Returns `None` if the sample is not a bare request.
fn started(sample: &Value) -> Option<StartedJob> {
    let payload = Payload::from_text(&sample.to_string());
    let Ok(Delivery::Direct(parts)) = WITHOUT_TABLES.read(&payload) else {
        return None;
    };
    let mut contents = parts.into_iter().map(|part| part.content);
    let request = contents.find_map(|content| match content {
        Ok(Content::Requests(requests)) => requests.into_iter().next(),
        _ => None,
    })?;
    let choice = choice::by_request(request.requested_type, request.type_source)?;
    let job = Job {
        id: JobId::IdMappingJobId("00000001-0b0b-4000-8000-000000000000".into()),
        job_type: choice.job_type,
        started_at: NOW,
        answered_at: NOW,
    };
    Some(StartedJob {
        attempt: Uuid::nil(),
        request,
        choice,
        job,
    })
}
