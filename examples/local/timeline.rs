//! The story of an invocation: one line per step, with its time.

use std::collections::BTreeMap;

use fake_aws::{Call, DEAD, Operation};
use serde_json::Value;
use time::OffsetDateTime;

use crate::word;

/// Which calls have a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// All of them.
    All,
    /// What starts jobs, and what is published.
    Effects,
}

/// Returns the lines of an invocation that began at a time, in order.
pub fn lines(calls: &[Call], began: OffsetDateTime, detail: Detail) -> Vec<String> {
    let mut ledger = BTreeMap::new();
    let mut lines = Vec::new();
    for call in calls {
        let effects = [Operation::PopulateIdMappingTable, Operation::PutEvents];
        let step = step(call, &mut ledger);
        if detail == Detail::All || call.operation.is_some_and(|of| effects.contains(&of)) {
            let milliseconds = (call.at - began).whole_milliseconds();
            let name = match call.operation {
                Some(operation) => format!("{operation:?}"),
                None => format!("{} {}", call.method, call.path),
            };
            lines.push(format!("{milliseconds:>6} ms  {name:<22}  {step}"));
        }
    }
    lines
}

/// What a call does, in a few words. `ledger` has the records that were written before.
fn step(call: &Call, ledger: &mut BTreeMap<String, Value>) -> String {
    let failed = match call.status {
        Some(status) if status < 400 => None,
        Some(status) => Some(format!("→ {status} {}", reason(&call.answer))),
        None => Some("→ no answer".to_owned()),
    };
    let what = match call.operation {
        Some(Operation::PopulateIdMappingTable) => populate(call, failed.is_some()),
        Some(Operation::GetItem) => {
            let key = word(&call.body["Key"]["idMappingTableArn"]["S"]);
            format!("read what the ledger knows of {}", item(key))
        }
        Some(Operation::PutItem) => written(call, ledger),
        Some(Operation::PutEvents) => {
            let entries = call.body["Entries"].as_array();
            let published: Vec<String> = entries.into_iter().flatten().map(published).collect();
            published.join(", ")
        }
        Some(Operation::SendMessage) => enqueued(call),
        Some(Operation::GetIdMappingTable) => "read the table's workflow".to_owned(),
        Some(Operation::GetIdMappingWorkflow) => "read the workflow's type".to_owned(),
        Some(Operation::GetSchema) => "read whether the table was ever populated".to_owned(),
        Some(Operation::ListIdMappingJobs) => "list the workflow's jobs".to_owned(),
        Some(Operation::GetIdMappingJob) => "read a job".to_owned(),
        _ => String::new(),
    };
    match failed {
        Some(failed) => format!("{what} {failed}"),
        None => what,
    }
}

fn populate(call: &Call, has_failed: bool) -> String {
    let table = short(call.path.split('/').nth(4).unwrap_or_default());
    let job_type = call.body["jobType"]
        .as_str()
        .unwrap_or("the default job type");
    let answer: Value = serde_json::from_str(&call.answer).unwrap_or_default();
    let job = short(word(&answer["idMappingJobId"]));
    match has_failed {
        true => format!("start {job_type} for table {table}"),
        false => format!("start {job_type} for table {table} → job {job}"),
    }
}

/// What a write of the ledger records.
fn written(call: &Call, ledger: &mut BTreeMap<String, Value>) -> String {
    let key = word(&call.body["Item"]["idMappingTableArn"]["S"]).to_owned();
    let record = word(&call.body["Item"]["record"]["S"]);
    let record: Value = serde_json::from_str(record).unwrap_or_default();
    let before = ledger
        .insert(key.clone(), record.clone())
        .unwrap_or_default();
    let count = |record: &Value, member: &str| record[member].as_array().map_or(0, Vec::len);
    if key == "slot" {
        let waiting = count(&record, "waiting");
        return format!("record how many requests wait for the slot: {waiting}");
    }
    let table = item(&key);
    if !record["claim"].is_null() {
        return format!("claim the right to start a job for {table}");
    }
    let grew = |member| count(&record, member) > count(&before, member);
    if grew("ended") {
        format!("record that the job of {table} has ended")
    } else if grew("keys") {
        format!("record the job of {table}")
    } else if grew("unknownCalls") {
        format!("record that the outcome for {table} is unknown")
    } else if !before["claim"].is_null() {
        format!("release the claim on {table}")
    } else {
        format!("record that the start of {table} is announced")
    }
}

fn enqueued(call: &Call) -> String {
    let queue = word(&call.body["QueueUrl"]);
    let queue = match queue.rsplit('/').next() {
        Some(DEAD) => "the dead-letter queue",
        _ => "the waiting queue",
    };
    let body: Value = serde_json::from_str(word(&call.body["MessageBody"])).unwrap_or_default();
    let table = short(word(&body["request"]["idMappingTableIdentifier"]));
    match (body["watch"].is_null(), table) {
        (_, "") => format!("put the message in {queue}"),
        (true, _) => format!("put the request for table {table} in {queue}"),
        (false, _) => format!("put the job of table {table} in {queue}, to track it"),
    }
}

/// An item of the ledger: a table, or the slot.
fn item(key: &str) -> String {
    match key.rsplit_once('/') {
        Some((_, table)) => format!("table {}", short(table)),
        None => "the slot".to_owned(),
    }
}

fn published(entry: &Value) -> String {
    let detail: Value = serde_json::from_str(word(&entry["Detail"])).unwrap_or_default();
    let table = short(word(&detail["idMappingTableIdentifier"]));
    format!("publish {} for table {table}", entry["DetailType"])
}

/// A service's message in an answer, or its error code.
fn reason(answer: &str) -> String {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    let texts = ["message", "Message", "__type"].map(|name| word(&answer[name]));
    let text = texts.into_iter().find(|text| !text.is_empty());
    text.unwrap_or_default().to_owned()
}

/// The first two groups of a UUID, which tell the samples' tables and jobs apart.
pub fn short(id: &str) -> &str {
    id.match_indices('-')
        .nth(1)
        .map_or(id, |(end, _)| &id[..end])
}
