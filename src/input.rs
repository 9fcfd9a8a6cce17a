//! Reads payloads into requests: the shapes of docs/payloads.md, and every refusal there.
//!
//! This module is pure, and the only one that reads JSON from outside. A refusal names, for each fault, the JSON path, what
//! is wrong there, and what to write instead. It repeats no value of the payload, because the message is logged.

mod build;
mod delivery;
mod destination;
mod event;
mod faults;
mod members;
mod names;
mod request;
mod s3;
mod sns;
mod sqs;
mod text;
mod waiting;

use self::build::{Envelope, Surroundings};
pub use self::delivery::{Arrival, Content, Delivery, Ignored, Message, Part, Payload};
use self::event::Event;
use self::faults::{Faults, refused};
use self::members::{MAX_ITEMS, Placed, check_item_count};
use self::request::UnknownMembers;
use self::sns::Notified;
use self::sqs::Received;
use self::text::{Kind, Object, Path, Raw, check_nesting, cleaned};
use crate::error::Error;

const TEST_EVENT: &str = "S3 tests that it may send notifications";

/// Reads a payload.
pub fn parse(payload: &Payload, arrival: &Arrival<'_>) -> Result<Delivery, Error> {
    let path = Path::Root;
    let text = payload
        .0
        .as_ref()
        .map_err(|reason| refused(path, format!("is not valid JSON: {reason}")))?;
    let text = cleaned(text);
    let value = Raw::read(&text).map_err(|fault| refused(path, fault))?;
    let delivery = delivery(value, path, &Surroundings::of(arrival))?;
    match delivery {
        // The caller learns of it. Of several parts, one that is refused does not hold up the others.
        Delivery::Direct(mut parts) if parts.len() == 1 => {
            let part = parts.pop().map(|part| part.content).transpose()?;
            Ok(Delivery::Direct(
                part.map(|content| Part::whole(Ok(content)))
                    .into_iter()
                    .collect(),
            ))
        }
        delivery => Ok(delivery),
    }
}

/// Reads a payload that may be a batch.
fn delivery(value: Raw<'_>, path: Path<'_>, around: &Surroundings<'_>) -> Result<Delivery, Error> {
    if value.kind() == Kind::List {
        let items = value
            .items(MAX_ITEMS)
            .ok_or_else(|| refused(path, "is not a list"))?;
        let is_batch =
            items.count > 0 && items.first.iter().all(|item| sqs::is_of(*item, "aws:sqs"));
        if is_batch {
            check_count(items.count, path)?;
            return batch(&items.first, path, around);
        }
    }
    if let Some(object) = value.object() {
        if let Some((records, count)) = sqs::records(&object, "aws:sqs") {
            let place = object.get("Records").map_or(0, |(_, place)| place);
            let path = path.member("Records", place);
            check_count(count, path)?;
            return batch(&records, path, around);
        }
        if destination::is_record(&object) {
            let inner = destination::inner(&object, path, around)?;
            return delivery(
                inner.payload,
                path.member(inner.name, inner.place),
                &inner.around,
            );
        }
    }
    parts(value, path, around).map(Delivery::Direct)
}

/// Reads a batch of SQS messages. Each body is a payload of its own.
fn batch(
    records: &[Raw<'_>],
    path: Path<'_>,
    around: &Surroundings<'_>,
) -> Result<Delivery, Error> {
    let message = |(index, record): (usize, &Raw<'_>)| {
        let path = path.item(index);
        let Received { id, body, inner } = sqs::read(*record, path, around)?;
        let parts = match inner {
            Ok((place, around)) => parts_of_text(&body, path.member("body", place), &around),
            Err(error) => vec![Part::whole(Err(error))],
        };
        Ok(Message { id, body, parts })
    };
    let messages = records.iter().enumerate().map(message);
    messages.collect::<Result<_, _>>().map(Delivery::Batch)
}

/// Reads the text of a message as payloads.
fn parts_of_text(text: &str, path: Path<'_>, around: &Surroundings<'_>) -> Vec<Part> {
    let text = cleaned(text);
    let read = Raw::read(&text).map_err(|fault| refused(path, fault));
    let parts = read.and_then(|value| enclosed(value, path, around));
    parts.unwrap_or_else(|error| vec![Part::whole(Err(error))])
}

/// Reads a payload in a message or a list, which may not be a batch.
fn enclosed(value: Raw<'_>, path: Path<'_>, around: &Surroundings<'_>) -> Result<Vec<Part>, Error> {
    match delivery(value, path, around)? {
        Delivery::Direct(parts) => Ok(parts),
        Delivery::Batch(_) => Err(refused(
            path,
            "is a batch of SQS messages inside another payload: send each message by itself",
        )),
    }
}

/// Reads a payload that is not a batch: one payload, or a list of them.
fn parts(value: Raw<'_>, path: Path<'_>, around: &Surroundings<'_>) -> Result<Vec<Part>, Error> {
    if value.kind() == Kind::List {
        return list(value, path, around);
    }
    let Some(object) = value.object() else {
        return Err(refused(
            path,
            format!("is {}: send a JSON object", value.kind()),
        ));
    };
    if let Some((records, count)) = sqs::records(&object, "aws:sns") {
        let place = object.get("Records").map_or(0, |(_, place)| place);
        let path = path.member("Records", place);
        check_count(count, path)?;
        let of = |(index, record)| notification_of(record, path.item(index), around);
        return Ok(records.into_iter().enumerate().flat_map(of).collect());
    }
    if sns::is_message(&object) {
        return Ok(notification(&object, path, around));
    }
    if destination::is_of_a_schedule(&object)
        && let Some((payload, place)) = object.get("Payload")
    {
        let path = path.member("Payload", place);
        let Some(text) = payload.string() else {
            return Err(refused(
                path,
                "must be a string: send the message as EventBridge Scheduler wrote it",
            ));
        };
        return Ok(parts_of_text(&text, path, around));
    }
    content(value, path, around).map(|content| vec![Part::whole(Ok(content))])
}

/// Reads a record as SNS invokes Lambda with it.
fn notification_of(record: Raw<'_>, path: Path<'_>, around: &Surroundings<'_>) -> Vec<Part> {
    match sns::message(record, path) {
        Ok((message, place)) => notification(&message, path.member("Sns", place), around),
        Err(error) => vec![Part::whole(Err(error))],
    }
}

/// Reads a message of SNS.
fn notification(message: &Object<'_>, path: Path<'_>, around: &Surroundings<'_>) -> Vec<Part> {
    match sns::read(message, path, around) {
        Ok(Notified::Payload(text, place, around)) => {
            parts_of_text(&text, path.member("Message", place), &around)
        }
        Ok(Notified::Ignored(reason)) => vec![Part::whole(Ok(Content::Ignored(reason)))],
        Err(error) => vec![Part::whole(Err(error))],
    }
}

/// Reads a list. Each item is a payload of its own, which is judged alone.
fn list(value: Raw<'_>, path: Path<'_>, around: &Surroundings<'_>) -> Result<Vec<Part>, Error> {
    let items = value
        .items(MAX_ITEMS)
        .ok_or_else(|| refused(path, "is not a list"))?;
    check_count(items.count, path)?;
    if items.count == 0 {
        return Err(refused(path, "is an empty list: send a JSON object"));
    }
    let mut all = Vec::with_capacity(items.first.len());
    for (index, item) in items.first.into_iter().enumerate() {
        let path = path.item(index);
        let read = match item.kind() {
            Kind::List => Err(refused(
                path,
                "is a list inside a list: send its items one by one",
            )),
            _ => enclosed(item, path, around),
        };
        for part in read.unwrap_or_else(|error| vec![Part::whole(Err(error))]) {
            let text = part.content.is_err().then(|| item.text().to_owned());
            all.push(Part { text, ..part });
        }
    }
    Ok(all)
}

/// Reads a payload that is neither a list nor a record around another payload.
fn content(value: Raw<'_>, path: Path<'_>, around: &Surroundings<'_>) -> Result<Content, Error> {
    check_nesting(value.text()).map_err(|fault| refused(path, fault))?;
    let Some(object) = value.object() else {
        return Err(refused(
            path,
            format!("is {}: send a JSON object", value.kind()),
        ));
    };
    let placed = Placed {
        object: &object,
        path,
    };
    if event::is_event(&object) {
        return match event::read(placed, around)? {
            Event::Content(content) => Ok(content),
            Event::PassedOn(inner) => {
                let path = placed.path_of("detail");
                let path = path.member(inner.name, inner.place);
                content(inner.payload, path, &inner.around)
            }
        };
    }
    // Whoever may publish events may also publish one with a record in it.
    if around.event.is_none() {
        if let Some((records, count)) = sqs::records(&object, "aws:s3") {
            let path = placed.path_of("Records");
            check_count(count, path)?;
            return s3::read(&records, path, around);
        }
        if s3::is_test(&object) {
            return Ok(Content::Ignored(Ignored::Expected(TEST_EVENT)));
        }
        if waiting::is_message(&object) {
            return waiting::read(placed, around);
        }
    }
    bare(placed, around)
}

/// Reads a bare request.
fn bare(placed: Placed<'_, '_>, around: &Surroundings<'_>) -> Result<Content, Error> {
    let mut faults = Faults::default();
    let (unknown, envelope) = (UnknownMembers::Refused, Envelope::default());
    let requests = build::requests(
        Some(placed),
        placed.path,
        unknown,
        envelope,
        around,
        &mut faults,
    );
    match faults.into_error() {
        Some(error) => Err(error),
        None => Ok(Content::Requests(requests)),
    }
}

fn check_count(count: usize, path: Path<'_>) -> Result<(), Error> {
    let mut faults = Faults::default();
    check_item_count(count, path, &mut faults);
    faults.into_error().map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests;
