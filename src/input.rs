//! From a payload to requests: the shapes of contract section 1, and every refusal there.
//!
//! Pure. [`serde_json::Value`] is interpreted here and nowhere else; what comes out cannot be
//! wrong. A refusal names the JSON path, the value's fault and what to write instead, and repeats
//! no value: what came in may hold anything, and the message ends up in a log.

mod event;
mod json;
mod names;
mod request;
mod waiting;

use crate::request::{Request, Trigger};
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
use crate::target::{AwsLocation, TableArn, Target};

/// The most characters (code points) of a name that a request may have for itself.
const MAX_NAME: usize = 4_096;

/// An invocation's payload as text, or why it is none.
///
/// lambda_runtime parses a payload before the handler sees it, answers a fault with its own error
/// type, and takes `{} {}` for `{}`. So [`Payload::wrap`] hands it over as a text inside a JSON
/// document, and every fault is ours to name.
#[derive(Clone, Deserialize)]
pub struct Payload(Result<String, String>);

impl Payload {
    /// A payload from its text.
    pub fn from_text(text: &str) -> Self {
        Self(Ok(text.to_owned()))
    }

    /// Makes of an invocation's body, whatever it is, the JSON document that a `Payload` is read
    /// from.
    pub fn wrap(mut invocation: LambdaInvocation) -> LambdaInvocation {
        let text = std::str::from_utf8(&invocation.body).map_err(|fault| fault.to_string());
        // A string can always be written; an empty document would be refused as no JSON.
        invocation.body = serde_json::to_vec(&text).unwrap_or_default().into();
        invocation
    }
}

/// What is known about an invocation besides its payload.
pub struct Arrival<'a> {
    /// Lambda's request id.
    pub request_id: &'a str,
    /// The moment of arrival.
    pub at: OffsetDateTime,
    /// Where the function runs.
    pub location: &'a AwsLocation,
    /// The settings.
    pub settings: &'a Settings,
}

/// A payload, understood.
#[derive(Debug)]
pub enum Delivery {
    /// One invocation with a request.
    Direct(Content),
    /// A batch of SQS messages, in its order.
    Batch(Vec<Message>),
}

/// One SQS message of a batch.
#[derive(Debug)]
pub struct Message {
    /// The id by which a partial batch response names it.
    pub id: String,
    /// Its body, as it came.
    pub body: String,
    /// What it holds, or why it is refused.
    pub content: Result<Content, Error>,
}

/// What a payload, or a message's body, holds.
#[derive(Debug)]
pub enum Content {
    /// Requests, one per target, at least one.
    Requests(Vec<Request>),
    /// A job that is tracked to its end. Its request has since when.
    Track(Box<StartedJob>),
    /// Nothing to do; the sentence says why.
    Ignored(&'static str),
}

/// Reads a payload.
pub fn parse(payload: &Payload, arrival: &Arrival<'_>) -> Result<Delivery, Error> {
    let path = Path::Root;
    let text = payload
        .0
        .as_ref()
        .map_err(|fault| refused(path, format!("is no JSON: {fault}")))?;
    let value = json::read(text).map_err(|fault| refused(path, fault))?;
    Reader {
        arrival,
        record: None,
        message: None,
    }
    .delivery(value, path)
}

/// Reads one payload, or one message's body.
struct Reader<'a> {
    arrival: &'a Arrival<'a>,
    /// The request id in a failure-destination record around the payload: that of the invocation
    /// that failed, which stays a request's name however often the record is moved.
    record: Option<String>,
    message: Option<Around>,
}

/// What is known of the SQS message around a payload.
struct Around {
    id: String,
    sent_at: Option<OffsetDateTime>,
    /// How long it was out of sight after each receive, on average.
    retry_interval: Option<Duration>,
}

impl Reader<'_> {
    /// The shapes, in the contract's order.
    fn delivery(mut self, value: Value, path: Path<'_>) -> Result<Delivery, Error> {
        let mut members = object(value, path)?;
        if event::is_event(&members) {
            return self.event(members, path).map(Delivery::Direct);
        }
        if let Some(records) = sqs_records(&members) {
            nesting(&members, path)?;
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
            self.record = id
                .filter(|id| is_name(id))
                .map(str::to_owned)
                .or(self.record);
            return self.delivery(payload, path.member("requestPayload"));
        }
        nesting(&members, path)?;
        if waiting::is_message(&members) {
            return self.waiting_message(&members, path).map(Delivery::Direct);
        }
        self.requests(Some(&members), path, Names::Ours, Envelope::default())
            .map(Delivery::Direct)
    }

    fn batch(&self, records: &[Value], path: Path<'_>) -> Result<Vec<Message>, Error> {
        let message = |(index, record): (usize, &Value)| {
            let path = path.item(index);
            let id = record
                .get("messageId")
                .and_then(Value::as_str)
                .filter(|id| is_name(id))
                .ok_or_else(|| {
                    refused(
                        path.member("messageId"),
                        format!("must be a string of 1 to {MAX_NAME} characters: send the record as SQS delivers it"),
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
                "is no SQS message: send the record as SQS delivers it",
            )
        })?;
        let moment = |name| {
            let milliseconds: i64 = message.attributes.get(name)?.parse().ok()?;
            OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).ok()
        };
        let receives = message.attributes.get("ApproximateReceiveCount");
        let receives: Option<i32> = receives.and_then(|count| count.parse().ok());
        let retry_interval = || {
            let first = moment("ApproximateFirstReceiveTimestamp")?;
            let interval = (self.arrival.at - first).checked_div(receives?.checked_sub(1)?)?;
            interval.is_positive().then_some(interval)
        };
        let reader = Reader {
            arrival: self.arrival,
            record: self.record.clone(),
            message: Some(Around {
                id: id.to_owned(),
                sent_at: moment("SentTimestamp"),
                retry_interval: retry_interval(),
            }),
        };
        let path = path.member("body");
        let value = json::read(body).map_err(|fault| refused(path, fault))?;
        match reader.delivery(value, path)? {
            Delivery::Direct(content) => Ok(content),
            Delivery::Batch(_) => Err(refused(
                path,
                "is a batch of SQS messages inside a message: send each message by itself",
            )),
        }
    }

    /// The requests of a request object (none: an event without one) and its envelope.
    fn requests(
        self,
        object: Option<&Map<String, Value>>,
        path: Path<'_>,
        names: Names,
        envelope: Envelope,
    ) -> Result<Content, Error> {
        let Arrival {
            request_id,
            at,
            location,
            settings,
        } = self.arrival;
        let asked = match object {
            Some(object) => request::read(object, path, names, location)?,
            None => request::RequestObject::default(),
        };
        let targets = if !asked.targets.is_empty() {
            asked.targets
        } else if !envelope.resources.is_empty() {
            envelope
                .resources
                .into_iter()
                .map(|target| (target, asked.requested_type))
                .collect()
        } else {
            settings
                .id_mapping_table_arns
                .iter()
                .map(|arn| (arn.target.clone(), asked.requested_type))
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
            Some(around) => (Some(around.id), around.sent_at, around.retry_interval),
            None => (None, None, None),
        };
        let own = asked.request_id.or(event_id);
        let name = own
            .clone()
            .or(self.record)
            .or(message_id)
            .unwrap_or_else(|| (*request_id).to_owned());
        let time = asked
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
            // The same target with the same requested_type twice is one request.
            if !seen.insert((target.clone(), requested_type)) {
                continue;
            }
            requests.push(Request {
                target,
                requested_type,
                type_source,
                idempotency_key: name.clone(),
                key_is_given: own.is_some(),
                time,
                dry_run: asked.dry_run,
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

/// What an EventBridge event says besides its detail; empty for a bare request.
#[derive(Default)]
struct Envelope {
    /// The ID mapping tables among its `resources`.
    resources: Vec<Target>,
    time: Option<OffsetDateTime>,
    trigger: Option<Trigger>,
    /// Whether it tells of deletion requests.
    deletes: bool,
}

/// Whose names a request object may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// Only ours: any other is refused.
    Ours,
    /// Other people's facts too: only near misses of ours are refused.
    AlsoOthers,
}

/// The records of a batch from SQS, if it is one.
fn sqs_records(members: &Map<String, Value>) -> Option<&[Value]> {
    let records = members.get("Records")?.as_array()?;
    let of_sqs = |record: &Value| {
        record
            .get("eventSource")
            .is_some_and(|source| source == "aws:sqs")
    };
    (!records.is_empty() && records.iter().all(of_sqs)).then_some(records)
}

/// Whether a text may be a request's name.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.chars().count())
}

fn bounded(targets: usize, path: Path<'_>) -> Result<(), Error> {
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
    let arn = TableArn::parse(text).map_err(|fault| refused(path, fault))?;
    location.check(&arn).map_err(|fault| refused(path, fault))?;
    Ok(arn.target)
}

fn rfc_3339(text: &str, path: Path<'_>) -> Result<OffsetDateTime, Error> {
    // The parser takes any character between date and time.
    let separated = matches!(text.as_bytes().get(10), Some(b'T' | b't'));
    // In UTC a year may be none that RFC 3339 can write.
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
                "is no RFC 3339 time: write one such as 2026-11-23T02:00:00Z",
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

fn nesting(members: &Map<String, Value>, path: Path<'_>) -> Result<(), Error> {
    json::check_nesting(members).map_err(|fault| refused(path, fault))
}

/// A member that is there and not `null`.
fn member<'v>(members: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    members.get(name).filter(|value| !value.is_null())
}

fn refused(path: Path<'_>, fault: impl Into<String>) -> Error {
    Error::new(
        ErrorType::InvalidRequest,
        format!("the payload is refused: {path} {}", fault.into()),
    )
}

#[cfg(test)]
mod tests;
