//! Records of SQS, and what else has `Records`.

use time::OffsetDateTime;

use super::build::{EnclosingMessage, Surroundings};
use super::faults::Faults;
use super::members::{MAX_ID, MAX_ITEMS, Placed, is_id};
use super::text::{Items, Object, Path, Raw};
use crate::error::Error;

const AS_DELIVERED: &str = "send the record as SQS delivers it";

/// Returns the records of an object, if it has a list of records of this service.
pub(super) fn records<'t>(object: &Object<'t>, service: &str) -> Option<Items<'t>> {
    let (list, _) = object.get("Records")?;
    let items = list.items(MAX_ITEMS)?;
    let is_of_service = items.first.iter().all(|record| is_of(*record, service));
    (items.count > 0 && is_of_service).then_some(items)
}

/// Returns whether a value is a record of this service.
pub(super) fn is_of(record: Raw<'_>, service: &str) -> bool {
    let Some(record) = record.object() else {
        return false;
    };
    // SNS writes it with a capital letter.
    let source = record.get("eventSource").or(record.get("EventSource"));
    source.is_some_and(|(source, _)| source.string().is_some_and(|source| source == service))
}

/// A message, whose body is a payload of its own.
pub(super) struct Received<'s> {
    pub(super) id: String,
    pub(super) body: String,
    /// The body's place in the record, and what is around it. It is an error if the record is not one of SQS.
    pub(super) inner: Result<(usize, Surroundings<'s>), Error>,
}

/// Reads a record. Returns `None` if the record has no id, by which the answer could name it.
pub(super) fn read<'s>(
    record: Raw<'_>,
    path: Path<'_>,
    around: &Surroundings<'s>,
    faults: &mut Faults,
) -> Option<Received<'s>> {
    let object = record.object()?;
    let record = Placed {
        object: &object,
        path,
    };
    let text = |name: &str| object.get(name)?.0.string();
    let id = text("messageId").filter(|id| is_id(id));
    if id.is_none() {
        let fault = format!("must be a string of 1 to {MAX_ID} characters: {AS_DELIVERED}");
        faults.add(record.path_of("messageId"), fault);
    }
    let id = id?;
    let mut of_message = Faults::default();
    record.check_repeated(
        &["attributes", "body", "eventSource", "messageId"],
        &mut of_message,
    );
    let body = record.required_string("body", AS_DELIVERED, &mut of_message);
    let attributes = object
        .get("attributes")
        .and_then(|(value, _)| value.object());
    if attributes.is_none() {
        let fault = format!("must be an object: {AS_DELIVERED}");
        of_message.add(record.path_of("attributes"), fault);
    }
    let attributes = attributes.map(|attributes| enclosing(&attributes, around.arrival.at));
    let place = object.get("body").map_or(0, |(_, place)| place);
    let around = Surroundings {
        key: Some(id.clone()),
        message: attributes,
        ..around.clone()
    };
    Some(Received {
        id,
        body: body.unwrap_or_default(),
        inner: of_message.or((place, around)),
    })
}

/// What SQS says of a message.
fn enclosing(attributes: &Object<'_>, arrival: OffsetDateTime) -> EnclosingMessage {
    let text = |name| attributes.get(name)?.0.string();
    let time = |name| {
        let milliseconds: i64 = text(name)?.parse().ok()?;
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).ok()
    };
    let retry_interval = || {
        let receives: i32 = text("ApproximateReceiveCount")?.parse().ok()?;
        let first = time("ApproximateFirstReceiveTimestamp")?;
        let interval = (arrival - first).checked_div(receives.checked_sub(1)?)?;
        interval.is_positive().then_some(interval)
    };
    EnclosingMessage {
        is_of_queue: true,
        sent_at: time("SentTimestamp"),
        retry_interval: retry_interval(),
    }
}
