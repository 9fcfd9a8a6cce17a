//! Records of SQS, and what else has `Records`.

use time::OffsetDateTime;

use super::build::{EnclosingMessage, Surroundings};
use super::faults::refused;
use super::members::{MAX_ID, MAX_ITEMS, is_id};
use super::text::{Object, Path, Raw};
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

/// A message, whose body is a payload of its own.
pub(super) struct Received<'s> {
    pub(super) id: String,
    pub(super) body: String,
    /// The body's place in the record, and what is around it. It is an error if the record is not one of SQS.
    pub(super) inner: Result<(usize, Surroundings<'s>), Error>,
}

/// Reads a record. It fails if the record has no id, by which the answer could name it.
pub(super) fn read<'s>(
    record: Raw<'_>,
    path: Path<'_>,
    around: &Surroundings<'s>,
) -> Result<Received<'s>, Error> {
    let object = record.object();
    let object = object.as_ref();
    let text = |name: &str| object?.get(name)?.0.string();
    let id = text("messageId").filter(|id| is_id(id)).ok_or_else(|| {
        let fault = format!("must be a string of 1 to {MAX_ID} characters: {AS_DELIVERED}");
        refused(path.missing("messageId"), fault)
    })?;
    let attributes = object.and_then(|object| object.get("attributes")?.0.object());
    let place = object.and_then(|object| Some(object.get("body")?.1));
    let inner = match (text("body"), place, attributes) {
        (Some(_), Some(place), Some(attributes)) => {
            let around = Surroundings {
                message: Some(enclosing(&id, &attributes, around.arrival.at)),
                ..around.clone()
            };
            Ok((place, around))
        }
        _ => Err(refused(
            path,
            format!("is not an SQS message: {AS_DELIVERED}"),
        )),
    };
    let body = text("body").unwrap_or_default();
    Ok(Received { id, body, inner })
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
