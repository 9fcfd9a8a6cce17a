//! A batch of SQS messages.

use time::OffsetDateTime;

use super::build::{EnclosingMessage, Surroundings};
use super::delivery::{Message, Part};
use super::faults::refused;
use super::members::{MAX_ID, is_id};
use super::text::{Object, Path, Raw};
use super::{MAX_ITEMS, part, parts_of_text};
use crate::error::Error;

const AS_DELIVERED: &str = "send the record as SQS delivers it";

/// Returns the records of an object, if it has a list of records of this service.
pub(super) fn records<'t>(object: &Object<'t>, service: &str) -> Option<(Vec<Raw<'t>>, usize)> {
    let (list, _) = object.get("Records")?;
    let items = list.items(MAX_ITEMS)?;
    (items.count > 0 && items.first.iter().all(|record| is_of(*record, service)))
        .then_some((items.first, items.count))
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

/// Reads a batch. Each body is a payload of its own.
pub(super) fn batch(
    records: &[Raw<'_>],
    path: Path<'_>,
    around: &Surroundings<'_>,
) -> Result<Vec<Message>, Error> {
    let message = |(index, record): (usize, &Raw<'_>)| message(*record, path.item(index), around);
    records.iter().enumerate().map(message).collect()
}

fn message(record: Raw<'_>, path: Path<'_>, around: &Surroundings<'_>) -> Result<Message, Error> {
    let object = record.object();
    let text = |name: &str| object.as_ref()?.get(name)?.0.string();
    let id = text("messageId").filter(|id| is_id(id)).ok_or_else(|| {
        let fault = format!("must be a string of 1 to {MAX_ID} characters: {AS_DELIVERED}");
        refused(path.missing("messageId"), fault)
    })?;
    let attributes = object
        .as_ref()
        .and_then(|object| object.get("attributes")?.0.object());
    let (Some(body), Some(attributes)) = (text("body"), attributes) else {
        let error = refused(path, format!("is not an SQS message: {AS_DELIVERED}"));
        return Ok(Message {
            id,
            body: text("body").unwrap_or_default(),
            parts: vec![part(Err(error))],
        });
    };
    let around = Surroundings {
        message: Some(enclosing(&id, &attributes, around.arrival.at)),
        ..around.clone()
    };
    let place = object.as_ref().and_then(|object| object.get("body"));
    let path = path.member("body", place.map_or(0, |(_, place)| place));
    let parts: Vec<Part> = parts_of_text(&body, path, &around);
    Ok(Message { id, body, parts })
}

/// What SQS says of a message.
fn enclosing(id: &str, attributes: &Object<'_>, arrival: OffsetDateTime) -> EnclosingMessage {
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
        id: id.to_owned(),
        sent_at: time("SentTimestamp"),
        retry_interval: retry_interval(),
    }
}
