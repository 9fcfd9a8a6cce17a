//! Reads payloads into requests: the shapes of contract section 1, and every refusal there.
//!
//! This module is pure, and the only one that interprets [`serde_json::Value`]. A refusal names the JSON path, what is
//! wrong there, and what to write instead. It repeats no value of the payload, because the message is logged.

mod event;
mod json;
mod names;
mod request;
mod waiting;

use std::collections::HashSet;

use aws_lambda_events::event::sqs::SqsMessage;
use lambda_runtime::LambdaInvocation;
use serde::Deserialize;
use serde_json::{Map, Value};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime, UtcOffset};

use self::json::Path;
use crate::config::{MAX_TARGETS, Settings};
use crate::error::{Error, ErrorType};
use crate::job::StartedJob;
use crate::job_type::{JobType, RequestedType, TypeSource};
use crate::request::{Request, Trigger};
use crate::target::{AwsLocation, TableArn, Target};

/// The largest number of characters (code points) of an id that a request may have.
const MAX_ID: usize = 4_096;

/// An invocation's payload as text, or the reason why it is not UTF-8.
///
/// lambda_runtime parses a payload before the handler gets it. It reports invalid JSON with an error type of its own,
/// and reads `{} {}` as `{}`. So [`Payload::wrap`] passes the text on inside a JSON string, and this module parses it.
#[derive(Clone, Deserialize)]
pub struct Payload(Result<String, String>);

impl Payload {
    /// Creates a payload from its text.
    pub fn from_text(text: &str) -> Self {
        Self(Ok(text.to_owned()))
    }

    /// Replaces an invocation's body, which may be anything, by the JSON document that a `Payload` is deserialized from.
    pub fn wrap(mut invocation: LambdaInvocation) -> LambdaInvocation {
        let text = std::str::from_utf8(&invocation.body).map_err(|error| error.to_string());
        // Serializing a string cannot fail. If it did, the empty document would be refused.
        invocation.body = serde_json::to_vec(&text).unwrap_or_default().into();
        invocation
    }
}

/// What is known of an invocation besides its payload.
pub struct Arrival<'a> {
    /// Lambda's request id.
    pub request_id: &'a str,
    /// The time of arrival.
    pub at: OffsetDateTime,
    /// Where the function runs.
    pub location: &'a AwsLocation,
    /// The settings.
    pub settings: &'a Settings,
}

/// A parsed payload.
#[derive(Debug)]
pub enum Delivery {
    /// A payload that is not a batch.
    Direct(Content),
    /// A batch of SQS messages, in the order in which they came.
    Batch(Vec<Message>),
}

/// One SQS message of a batch.
#[derive(Debug)]
pub struct Message {
    /// The message's id, by which a partial batch response names it.
    pub id: String,
    /// The body as it came.
    pub body: String,
    /// The parsed body, or the reason why it is refused.
    pub content: Result<Content, Error>,
}

/// The content of a payload, or of a message's body.
#[derive(Debug)]
pub enum Content {
    /// One request per target, and at least one.
    Requests(Vec<Request>),
    /// A job that is tracked to its end. Its request has the time since which it is tracked.
    Track(Box<StartedJob>),
    /// Nothing that the function acts on. The sentence says why.
    Ignored(&'static str),
}

/// Reads a payload.
pub fn parse(payload: &Payload, arrival: &Arrival<'_>) -> Result<Delivery, Error> {
    let path = Path::Root;
    let text = payload
        .0
        .as_ref()
        .map_err(|reason| refused(path, format!("is not valid JSON: {reason}")))?;
    let value = json::read(text).map_err(|reason| refused(path, reason))?;
    Reader {
        arrival,
        failed_request_id: None,
        message: None,
    }
    .delivery(value, path)
}

/// Reads one payload, or one message's body.
struct Reader<'a> {
    arrival: &'a Arrival<'a>,
    /// The request id of the invocation that failed, if the payload came inside a failure-destination record. It stays
    /// the idempotency key, however often the record is moved.
    failed_request_id: Option<String>,
    /// The SQS message around the payload, if there is one.
    message: Option<EnclosingMessage>,
}

/// What is known of the SQS message around a payload.
struct EnclosingMessage {
    id: String,
    sent_at: Option<OffsetDateTime>,
    /// How long the message was invisible after each receive, on average.
    retry_interval: Option<Duration>,
}

impl Reader<'_> {
    /// Tries the shapes of a payload in the contract's order.
    fn delivery(mut self, value: Value, path: Path<'_>) -> Result<Delivery, Error> {
        let mut members = object(value, path)?;
        if event::is_event(&members) {
            return self.event(members, path).map(Delivery::Direct);
        }
        if let Some(records) = sqs_records(&members) {
            check_nesting(&members, path)?;
            return self
                .batch(records, path.member("Records"))
                .map(Delivery::Batch);
        }
        if members.contains_key("requestContext")
            && let Some(payload) = members.remove("requestPayload")
        {
            let id = members
                .get("requestContext")
                .and_then(|context| context.get("requestId")?.as_str());
            self.failed_request_id = id
                .filter(|id| is_id(id))
                .map(str::to_owned)
                .or(self.failed_request_id);
            return self.delivery(payload, path.member("requestPayload"));
        }
        check_nesting(&members, path)?;
        if waiting::is_message(&members) {
            return self.waiting_message(&members, path).map(Delivery::Direct);
        }
        self.requests(
            Some(&members),
            path,
            UnknownMembers::Refused,
            Envelope::default(),
        )
        .map(Delivery::Direct)
    }

    fn batch(&self, records: &[Value], path: Path<'_>) -> Result<Vec<Message>, Error> {
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
                content: self.message(id, &body, record, path),
                body,
            })
        };
        records.iter().enumerate().map(message).collect()
    }

    fn message(
        &self,
        id: &str,
        body: &str,
        record: &Value,
        path: Path<'_>,
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
            let interval = (self.arrival.at - first).checked_div(receives?.checked_sub(1)?)?;
            interval.is_positive().then_some(interval)
        };
        let reader = Reader {
            arrival: self.arrival,
            failed_request_id: self.failed_request_id.clone(),
            message: Some(EnclosingMessage {
                id: id.to_owned(),
                sent_at: time("SentTimestamp"),
                retry_interval: retry_interval(),
            }),
        };
        let path = path.member("body");
        let value = json::read(body).map_err(|reason| refused(path, reason))?;
        match reader.delivery(value, path)? {
            Delivery::Direct(content) => Ok(content),
            Delivery::Batch(_) => Err(refused(
                path,
                "is a batch of SQS messages inside a message: send each message by itself",
            )),
        }
    }

    /// Makes requests of a request object and its envelope. `object` is `None` for an event without a request object.
    fn requests(
        self,
        object: Option<&Map<String, Value>>,
        path: Path<'_>,
        unknown: UnknownMembers,
        envelope: Envelope,
    ) -> Result<Content, Error> {
        let Arrival {
            request_id,
            at,
            location,
            settings,
        } = self.arrival;
        let parsed = match object {
            Some(object) => request::read(object, path, unknown, location)?,
            None => request::RequestObject::default(),
        };
        let targets = if !parsed.targets.is_empty() {
            parsed.targets
        } else if !envelope.resources.is_empty() {
            envelope
                .resources
                .into_iter()
                .map(|target| (target, parsed.requested_type))
                .collect()
        } else {
            settings
                .id_mapping_table_arns
                .iter()
                .map(|arn| (arn.target.clone(), parsed.requested_type))
                .collect()
        };
        if targets.is_empty() {
            return Err(refused(
                path,
                "names no ID mapping table, and neither do the event's resources or ID_MAPPING_TABLE_ARNS: write \
                 membershipIdentifier and idMappingTableIdentifier, or idMappingTableArn, or targets, or set \
                 ID_MAPPING_TABLE_ARNS",
            ));
        }

        let event_id = envelope
            .trigger
            .as_ref()
            .and_then(|trigger| trigger.id.clone());
        let (message_id, sent, retry_interval) = match self.message {
            Some(message) => (Some(message.id), message.sent_at, message.retry_interval),
            None => (None, None, None),
        };
        let given_key = parsed.request_id.or(event_id);
        let idempotency_key = given_key
            .clone()
            .or(self.failed_request_id)
            .or(message_id)
            .unwrap_or_else(|| (*request_id).to_owned());
        let time = parsed
            .time
            .or(envelope.time)
            .or(sent)
            .unwrap_or(*at)
            .min(*at);
        let mut requests: Vec<Request> = Vec::with_capacity(targets.len());
        let mut seen = HashSet::new();
        for (target, requested_type) in targets {
            let (requested_type, type_source) = match (requested_type, settings.default_job_type) {
                (Some(requested_type), _) => (requested_type, TypeSource::Request),
                (None, RequestedType::Auto) if envelope.deletes => (
                    RequestedType::Exactly(JobType::DeleteOnly),
                    TypeSource::DeleteRequest,
                ),
                (None, requested_type) => (requested_type, TypeSource::Setting),
            };
            // The same target twice with the same requested type is one request.
            if !seen.insert((target.clone(), requested_type)) {
                continue;
            }
            requests.push(Request {
                target,
                requested_type,
                type_source,
                idempotency_key: idempotency_key.clone(),
                key_is_given: given_key.is_some(),
                time,
                dry_run: parsed.dry_run,
                trigger: envelope.trigger.clone(),
                waiting_since: None,
                sent_at: sent,
                rejections: 0,
                retry_interval,
            });
        }
        Ok(Content::Requests(requests))
    }
}

/// What an EventBridge event has besides its detail. For a bare request it is empty.
#[derive(Default)]
struct Envelope {
    /// The ID mapping tables among its `resources`.
    resources: Vec<Target>,
    time: Option<OffsetDateTime>,
    trigger: Option<Trigger>,
    /// Whether the event records deletion requests.
    deletes: bool,
}

/// Which members a request object may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UnknownMembers {
    /// Any unknown member is refused.
    Refused,
    /// Unknown members belong to the sender. Only near misses of the known ones are refused.
    Ignored,
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

/// Returns whether a text may be a request's or a message's id.
fn is_id(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.chars().count())
}

fn check_target_count(targets: usize, path: Path<'_>) -> Result<(), Error> {
    if targets > MAX_TARGETS {
        return Err(refused(
            path,
            format!(
                "names {targets} ID mapping tables and may name {MAX_TARGETS}: split it into several requests"
            ),
        ));
    }
    Ok(())
}

fn table_arn(text: &str, path: Path<'_>, location: &AwsLocation) -> Result<Target, Error> {
    let arn = TableArn::parse(text).map_err(|reason| refused(path, reason))?;
    location
        .check(&arn)
        .map_err(|reason| refused(path, reason))?;
    Ok(arn.target)
}

fn rfc_3339(text: &str, path: Path<'_>) -> Result<OffsetDateTime, Error> {
    // The parser accepts any character between date and time.
    let separated = matches!(text.as_bytes().get(10), Some(b'T' | b't'));
    // In UTC the year may be one that RFC 3339 cannot write.
    let writable = |time: &OffsetDateTime| {
        let utc = time.checked_to_offset(UtcOffset::UTC);
        utc.is_some_and(|utc| (0..=9_999).contains(&utc.year()))
    };
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .filter(|time| separated && writable(time))
        .ok_or_else(|| {
            refused(
                path,
                "is not an RFC 3339 time: write one such as 2026-11-23T02:00:00Z",
            )
        })
}

fn object(value: Value, path: Path<'_>) -> Result<Map<String, Value>, Error> {
    match value {
        Value::Object(members) => Ok(members),
        Value::Null => Err(refused(path, "is null: send a JSON object")),
        Value::Bool(_) => Err(refused(path, "is a boolean: send a JSON object")),
        Value::Number(_) => Err(refused(path, "is a number: send a JSON object")),
        Value::String(_) => Err(refused(path, "is a string: send a JSON object")),
        Value::Array(_) => Err(refused(path, "is a list: send a JSON object")),
    }
}

fn check_nesting(members: &Map<String, Value>, path: Path<'_>) -> Result<(), Error> {
    json::check_nesting(members).map_err(|reason| refused(path, reason))
}

/// Returns a member. Returns `None` if it is missing or `null`.
fn member<'v>(members: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    members.get(name).filter(|value| !value.is_null())
}

fn refused(path: Path<'_>, reason: impl Into<String>) -> Error {
    Error::new(
        ErrorType::InvalidRequest,
        format!("the payload is refused: {path} {}", reason.into()),
    )
}

#[cfg(test)]
mod tests;
