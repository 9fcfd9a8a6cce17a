//! Reads payloads into requests: the shapes of docs/reference.md#payloads, and every refusal there.
//!
//! This module is pure, and the only one that interprets [`serde_json::Value`]. A refusal names the JSON path, what is
//! wrong there, and what to write instead. It repeats no value of the payload, because the message is logged.

mod build;
mod delivery;
mod event;
mod json;
mod members;
mod names;
mod request;
mod waiting;

use aws_lambda_events::event::sqs::SqsMessage;
use serde::Deserialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use self::build::{EnclosingMessage, Envelope, Surroundings};
pub use self::delivery::{Arrival, Content, Delivery, Message, Payload};
use self::json::Path;
use self::members::{MAX_ID, check_nesting, is_id, object, refused};
use self::request::UnknownMembers;
use crate::error::Error;

/// Reads a payload.
pub fn parse(payload: &Payload, arrival: &Arrival<'_>) -> Result<Delivery, Error> {
    let path = Path::Root;
    let text = payload
        .0
        .as_ref()
        .map_err(|reason| refused(path, format!("is not valid JSON: {reason}")))?;
    let value = json::read(text).map_err(|reason| refused(path, reason))?;
    let around = Surroundings {
        arrival,
        failed_request_id: None,
        message: None,
    };
    delivery(value, path, around)
}

/// Tries the shapes of a payload in the order of docs/reference.md#payloads.
fn delivery(value: Value, path: Path<'_>, mut around: Surroundings<'_>) -> Result<Delivery, Error> {
    let mut members = object(value, path)?;
    if event::is_event(&members) {
        return event::read(members, path, &around).map(Delivery::Direct);
    }
    if let Some(records) = sqs_records(&members) {
        check_nesting(&members, path)?;
        return batch(records, path.member("Records"), &around).map(Delivery::Batch);
    }
    if members.contains_key("requestContext")
        && let Some(payload) = members.remove("requestPayload")
    {
        let id = members
            .get("requestContext")
            .and_then(|context| context.get("requestId")?.as_str());
        around.failed_request_id = id
            .filter(|id| is_id(id))
            .map(str::to_owned)
            .or(around.failed_request_id);
        return delivery(payload, path.member("requestPayload"), around);
    }
    check_nesting(&members, path)?;
    if waiting::is_message(&members) {
        return waiting::read(&members, path, &around).map(Delivery::Direct);
    }
    let (unknown, envelope) = (UnknownMembers::Refused, Envelope::default());
    build::requests(Some(&members), path, unknown, envelope, &around)
        .map(|requests| Delivery::Direct(Content::Requests(requests)))
}

fn batch(
    records: &[Value],
    path: Path<'_>,
    around: &Surroundings<'_>,
) -> Result<Vec<Message>, Error> {
    let message = |(index, record): (usize, &Value)| {
        let path = path.item(index);
        let id = record
            .get("messageId")
            .and_then(Value::as_str)
            .filter(|id| is_id(id))
            .ok_or_else(|| {
                refused(
                    path.member("messageId"),
                    format!("must be a string of 1 to {MAX_ID} characters: send the record as SQS delivers it"),
                )
            })?;
        let body = record.get("body").and_then(Value::as_str);
        let body = body.unwrap_or_default().to_owned();
        Ok(Message {
            id: id.to_owned(),
            content: content(id, &body, record, path, around),
            body,
        })
    };
    records.iter().enumerate().map(message).collect()
}

/// Reads the content of a message of SQS.
fn content(
    id: &str,
    body: &str,
    record: &Value,
    path: Path<'_>,
    around: &Surroundings<'_>,
) -> Result<Content, Error> {
    let message = SqsMessage::deserialize(record).map_err(|_| {
        refused(
            path,
            "is not an SQS message: send the record as SQS delivers it",
        )
    })?;
    let time = |name| {
        let milliseconds: i64 = message.attributes.get(name)?.parse().ok()?;
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).ok()
    };
    let receives = message.attributes.get("ApproximateReceiveCount");
    let receives: Option<i32> = receives.and_then(|count| count.parse().ok());
    let retry_interval = || {
        let first = time("ApproximateFirstReceiveTimestamp")?;
        let interval = (around.arrival.at - first).checked_div(receives?.checked_sub(1)?)?;
        interval.is_positive().then_some(interval)
    };
    let around = Surroundings {
        message: Some(EnclosingMessage {
            id: id.to_owned(),
            sent_at: time("SentTimestamp"),
            retry_interval: retry_interval(),
        }),
        ..around.clone()
    };
    let path = path.member("body");
    let value = json::read(body).map_err(|reason| refused(path, reason))?;
    match delivery(value, path, around)? {
        Delivery::Direct(content) => Ok(content),
        Delivery::Batch(_) => Err(refused(
            path,
            "is a batch of SQS messages inside a message: send each message by itself",
        )),
    }
}

/// Returns the records of a batch from SQS. Returns `None` if the payload is not such a batch.
fn sqs_records(members: &Map<String, Value>) -> Option<&[Value]> {
    let records = members.get("Records")?.as_array()?;
    let of_sqs = |record: &Value| {
        record
            .get("eventSource")
            .is_some_and(|source| source == "aws:sqs")
    };
    (!records.is_empty() && records.iter().all(of_sqs)).then_some(records)
}

#[cfg(test)]
mod tests;
