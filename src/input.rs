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
mod status;
mod text;
mod waiting;

use std::rc::Rc;

use self::build::{Envelope, MOST, Surroundings};
pub use self::delivery::{Arrival, Content, Delivery, Ignored, Message, Part, Payload, Refused};
use self::event::Event;
use self::faults::{Faults, refused};
use self::members::{MAX_ITEMS, Placed, check_item_count};
use self::request::Form;
use self::sns::Notified;
use self::sqs::Received;
pub use self::status::BUTTON;
use self::text::{Items, Kind, MAX_LISTED, Object, Path, Raw, check_nesting, cleaned, invalid};
use crate::error::Error;

/// The most texts that a payload may be in, such as the body of a message that has a notification. Each is a copy.
const MAX_TEXTS: usize = 3;

const TEST_EVENT: &str = "S3 tests that it may send notifications";

/// Reads a payload.
pub fn parse(payload: &Payload, arrival: &Arrival<'_>) -> Result<Delivery, Error> {
    let path = Path::Root;
    let text = payload
        .0
        .as_ref()
        .map_err(|reason| refused(path, invalid(reason)))?;
    let text = cleaned(text);
    let value = Raw::read(&text).map_err(|fault| refused(path, fault))?;
    let object = value.object();
    if let Some(view) = object.as_ref().and_then(status::view) {
        return Ok(Delivery::Status(view));
    }
    let widget = object.as_ref().and_then(status::widget);
    let around = Surroundings {
        is_of_widget: widget.is_some(),
        ..Surroundings::of(arrival)
    };
    let delivery = delivery(value, path, &around)?;
    if around.is_too_much() {
        return Err(too_much(path));
    }
    let delivery = judged_whole(delivery)?;
    match (widget, delivery) {
        (Some(widget), Delivery::Direct(parts)) => Ok(Delivery::Button(parts, widget)),
        (_, delivery) => Ok(delivery),
    }
}

/// Refuses a payload that is refused as a whole.
fn judged_whole(delivery: Delivery) -> Result<Delivery, Error> {
    match delivery {
        // The caller learns of it. An item of a list that is refused does not hold up the others.
        Delivery::Direct(parts) => match <[Part; 1]>::try_from(parts) {
            Ok([part]) if part.text.is_none() => part
                .content
                .map(|content| Delivery::Direct(vec![Part::whole(Ok(content))])),
            Ok(one) => Ok(Delivery::Direct(one.into())),
            Err(parts) => Ok(Delivery::Direct(parts)),
        },
        other => Ok(other),
    }
}

/// Reads a payload that may be a batch.
fn delivery(value: Raw<'_>, path: Path<'_>, around: &Surroundings<'_>) -> Result<Delivery, Error> {
    if value.kind() == Kind::List
        && let Some(items) = value.items(MAX_ITEMS)
        && items.count > 0
        && items.first.iter().all(|item| sqs::is_of(*item, "aws:sqs"))
    {
        return batch(items, path, around);
    }
    if let Some(object) = value.object() {
        let placed = Placed {
            object: &object,
            path,
        };
        placed.refuse_repeated(&["Records"])?;
        if let Some(records) = sqs::records(&object, "aws:sqs") {
            return batch(records, placed.path_of("Records"), around);
        }
        if destination::is_record(&object) && !is_notification(&object) {
            let inner = destination::inner(&object, path, around)?;
            let path = path.member(inner.name, inner.place);
            return delivery(inner.payload, path, &inner.around);
        }
    }
    parts(value, path, around).map(Delivery::Direct)
}

/// Returns whether an object is what SNS or S3 sends.
fn is_notification(object: &Object<'_>) -> bool {
    sns::is_message(object)
        || s3::is_test(object)
        || ["aws:sns", "aws:s3"]
            .iter()
            .any(|service| sqs::records(object, service).is_some())
}

/// Reads a batch of SQS messages. Each body is a payload of its own.
fn batch(items: Items<'_>, path: Path<'_>, around: &Surroundings<'_>) -> Result<Delivery, Error> {
    let mut faults = Faults::default();
    check_item_count(items.count, path, &mut faults);
    let mut messages = Vec::with_capacity(items.first.len());
    let mut spent = 0;
    for (index, record) in items.first.into_iter().enumerate() {
        let path = path.item(index);
        let Some(Received { id, body, inner }) = sqs::read(record, path, around, &mut faults)
        else {
            continue;
        };
        let of_message = Surroundings {
            spent: Rc::default(),
            ..around.clone()
        };
        let mut parts = match inner {
            Ok((place, around)) => {
                let around = Surroundings {
                    spent: Rc::clone(&of_message.spent),
                    ..around
                };
                parts_of_text(&body, path.member("body", place), &around)
            }
            Err(error) => vec![Part::whole(Err(error))],
        };
        if of_message.is_too_much() {
            parts = vec![Part::whole(Err(too_much(path)))];
            of_message.spent.set(1);
        }
        let total = spent + of_message.spent.get();
        let fits = total <= MOST;
        if fits {
            spent = total;
        }
        messages.push(Message {
            id,
            body,
            parts: if fits { parts } else { Vec::new() },
            is_postponed: !fits,
        });
    }
    faults.or(Delivery::Batch(messages))
}

fn too_much(path: Path<'_>) -> Error {
    let fault = format!(
        "asks for too much at once: name at most {} ID mapping tables in all, and fewer with long ids",
        MOST / 2
    );
    refused(path, fault)
}

/// Reads the text of a message as payloads.
fn parts_of_text(text: &str, path: Path<'_>, around: &Surroundings<'_>) -> Vec<Part> {
    let around = &Surroundings {
        texts: around.texts + 1,
        ..around.clone()
    };
    if around.texts > MAX_TEXTS {
        let fault = format!("is inside {MAX_TEXTS} other texts: send the request itself");
        return vec![Part::whole(Err(refused(path, fault)))];
    }
    let text = cleaned(text);
    let read = Raw::read(&text).map_err(|fault| refused(path, fault));
    let parts = read.and_then(|value| enclosed(value, path, around));
    parts.unwrap_or_else(|error| vec![Part::whole(Err(error))])
}

/// Reads a payload in a message or a list, which may not be a batch.
fn enclosed(value: Raw<'_>, path: Path<'_>, around: &Surroundings<'_>) -> Result<Vec<Part>, Error> {
    match delivery(value, path, around)? {
        Delivery::Direct(parts) => Ok(parts),
        _ => Err(refused(
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
        return content(value, path, around).map(|content| vec![Part::whole(Ok(content))]);
    };
    let placed = Placed {
        object: &object,
        path,
    };
    if let Some(records) = sqs::records(&object, "aws:sns") {
        return notifications(records, placed.path_of("Records"), around);
    }
    if sns::is_message(&object) {
        return Ok(notification(placed, around));
    }
    if !is_notification(&object)
        && destination::is_of_a_schedule(&object)
        && let Some((payload, _)) = object.get("Payload")
    {
        placed.refuse_repeated(&["FunctionName", "InvocationType", "Payload"])?;
        let path = placed.path_of("Payload");
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

/// Reads records as SNS invokes Lambda with them.
fn notifications(
    records: Items<'_>,
    path: Path<'_>,
    around: &Surroundings<'_>,
) -> Result<Vec<Part>, Error> {
    let mut faults = Faults::default();
    check_item_count(records.count, path, &mut faults);
    faults.or(())?;
    let count = records.count;
    let of = |(index, record): (usize, Raw<'_>)| {
        let path = path.item(index);
        let (text, parts) = match sns::message(record, path) {
            Ok((message, place)) => {
                let object = message.object();
                let path = path.member("Sns", place);
                let placed = object.as_ref().map(|object| Placed { object, path });
                let parts = placed.map(|placed| notification(placed, around));
                (message.text(), parts.unwrap_or_default())
            }
            Err(error) => (record.text(), vec![Part::whole(Err(error))]),
        };
        match count {
            1 => parts,
            _ => of_item(parts, text, around),
        }
    };
    let records = records.first.into_iter().enumerate();
    let parts = records.take_while(|_| !around.is_too_much()).flat_map(of);
    Ok(with_few_reasons(parts.collect()))
}

/// Reads a message of SNS.
fn notification(message: Placed<'_, '_>, around: &Surroundings<'_>) -> Vec<Part> {
    match sns::read(message, around) {
        Ok(Notified::Payload(text, place, around)) => {
            parts_of_text(&text, message.path.member("Message", place), &around)
        }
        Ok(Notified::Ignored(reason)) => vec![Part::whole(Ok(Content::Ignored(reason)))],
        Err(error) => vec![Part::whole(Err(error))],
    }
}

/// Reads a list. Each item is a payload of its own, which is judged alone.
fn list(value: Raw<'_>, path: Path<'_>, around: &Surroundings<'_>) -> Result<Vec<Part>, Error> {
    if around.is_in_list {
        return Err(refused(
            path,
            "is a list inside a list: send its items one by one",
        ));
    }
    let items = value
        .items(MAX_ITEMS)
        .ok_or_else(|| refused(path, "is not a list"))?;
    let mut faults = Faults::default();
    check_item_count(items.count, path, &mut faults);
    if items.count == 0 {
        faults.add(path, "is an empty list: send a JSON object");
    }
    faults.or(())?;
    let around = Surroundings {
        is_in_list: true,
        ..around.clone()
    };
    let mut all = Vec::with_capacity(items.first.len());
    for (index, item) in items.first.into_iter().enumerate() {
        if around.is_too_much() {
            break;
        }
        let parts = enclosed(item, path.item(index), &around);
        let parts = parts.unwrap_or_else(|error| vec![Part::whole(Err(error))]);
        all.extend(of_item(parts, item.text(), &around));
    }
    Ok(with_few_reasons(all))
}

/// Drops the reasons of all but the first refusals. A list may have many.
fn with_few_reasons(mut parts: Vec<Part>) -> Vec<Part> {
    let refused = parts
        .iter_mut()
        .filter_map(|part| part.content.as_mut().err());
    for error in refused.skip(MAX_LISTED) {
        error.message = String::new();
    }
    parts
}

/// The largest item that the dead-letter queue takes, in bytes.
const MAX_ITEM: usize = 1_048_576;

/// Marks the parts of one of several payloads: one that is refused is moved to the dead-letter queue by itself.
fn of_item(mut parts: Vec<Part>, text: &str, around: &Surroundings<'_>) -> Vec<Part> {
    let text = if text.len() > MAX_ITEM { "" } else { text };
    for part in &mut parts {
        if part.content.is_err() && part.text.is_none() {
            part.text = Some(text.to_owned());
            around.spend(1);
        }
    }
    parts
}

/// Reads a payload that is neither a list nor a record around another payload, and counts what it asks for.
fn content(value: Raw<'_>, path: Path<'_>, around: &Surroundings<'_>) -> Result<Content, Error> {
    let content = judged(value, path, around);
    around.spend(content.as_ref().map_or(0, Content::weight));
    content
}

fn judged(value: Raw<'_>, path: Path<'_>, around: &Surroundings<'_>) -> Result<Content, Error> {
    let mut faults = Faults::default();
    if let Err(fault) = check_nesting(value.text()) {
        faults.add(path, fault);
    }
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
    let is_wrapped = is_notification(&object)
        || sqs::records(&object, "aws:sqs").is_some()
        || destination::is_record(&object)
        || destination::is_of_a_schedule(&object)
        || waiting::is_message(&object);
    // Whoever may publish events may also publish one with a record in it.
    if around.event.is_some() && is_wrapped {
        return Err(refused(
            path,
            "is a record of another service, which an event may not pass on: send the request itself",
        ));
    }
    if let Some(records) = sqs::records(&object, "aws:s3") {
        let path = placed.path_of("Records");
        check_item_count(records.count, path, &mut faults);
        return s3::read(&records.first, path, around, faults);
    }
    if s3::is_test(&object) {
        return Ok(Content::Ignored(Ignored::Expected(TEST_EVENT)));
    }
    if event::is_event(&object) {
        return match event::read(placed, around, faults)? {
            Event::Content(content) => Ok(content),
            Event::PassedOn(passed_on) => {
                let path = placed.path_of("detail");
                let path = path.member(passed_on.name, passed_on.place);
                let value = Raw::read(&passed_on.text).map_err(|fault| refused(path, fault))?;
                judged(value, path, &passed_on.around)
            }
        };
    }
    if waiting::is_message(&object) {
        return waiting::read(placed, around, faults);
    }
    bare(placed, around, faults)
}

/// Reads a bare request.
fn bare(
    placed: Placed<'_, '_>,
    around: &Surroundings<'_>,
    mut faults: Faults,
) -> Result<Content, Error> {
    let requests = build::requests(
        Some(placed),
        placed.path,
        Form::Bare,
        Envelope::default(),
        around,
        &mut faults,
    );
    faults.or(Content::Requests(requests))
}

#[cfg(test)]
mod tests;
