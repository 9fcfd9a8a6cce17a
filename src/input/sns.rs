//! Notifications of Amazon SNS. Their signatures are not verified: who may invoke the function or send to its queue is
//! decided by policies.

use super::build::{EnclosingMessage, Surroundings};
use super::delivery::Ignored;
use super::faults::{Faults, refused};
use super::members::{MAX_ID, Placed, is_id, rfc_3339};
use super::text::{Kind, Object, Path, Raw};
use crate::error::Error;

const AS_DELIVERED: &str = "send the notification as SNS delivers it";

const CONFIRMATION: &str = "SNS asks to confirm a subscription: confirm it yourself, because the function opens no URL of a \
                            message";

const REMOVAL: &str = "SNS says that a subscription was removed";

/// Returns whether an object is a message of SNS as it comes through SQS without raw message delivery.
pub(super) fn is_message(object: &Object<'_>) -> bool {
    const TYPES: [&str; 3] = [
        "Notification",
        "SubscriptionConfirmation",
        "UnsubscribeConfirmation",
    ];
    let of = object.get("Type").and_then(|(of, _)| of.string());
    of.is_some_and(|of| TYPES.contains(&of.as_str())) && object.has("MessageId")
}

/// What a message of SNS is.
pub(super) enum Notified<'s> {
    Ignored(Ignored),
    /// A text that is a payload of its own, its place in the message, and what is around it.
    Payload(String, usize, Box<Surroundings<'s>>),
}

/// Returns the message in a record as SNS invokes Lambda with it, and the message's place.
pub(super) fn message<'t>(record: Raw<'t>, path: Path<'_>) -> Result<(Raw<'t>, usize), Error> {
    let object = record.object();
    if let Some(object) = &object {
        Placed { object, path }.refuse_repeated(&["EventSource", "Sns"])?;
    }
    let message = object.and_then(|record| record.get("Sns"));
    let message = message.filter(|(message, _)| message.kind() == Kind::Object);
    message.ok_or_else(|| {
        let fault = format!("must be an object: {AS_DELIVERED}");
        refused(path.missing("Sns"), fault)
    })
}

/// Reads a message of SNS.
pub(super) fn read<'s>(
    message: Placed<'_, '_>,
    around: &Surroundings<'s>,
) -> Result<Notified<'s>, Error> {
    let mut faults = Faults::default();
    message.check_repeated(&["Message", "MessageId", "Timestamp", "Type"], &mut faults);
    let of = message.string("Type", AS_DELIVERED, &mut faults);
    let ignored = |reason: &'static str| Ok(Notified::Ignored(Ignored::Unexpected(reason)));
    match of.as_deref() {
        None | Some("Notification") => {}
        Some("SubscriptionConfirmation") => return ignored(CONFIRMATION),
        Some("UnsubscribeConfirmation") => return ignored(REMOVAL),
        Some(_) => faults.add(
            message.path_of("Type"),
            format!("must be Notification: {AS_DELIVERED}"),
        ),
    }
    let object = message.object;
    let text = |name| object.get(name)?.0.string();
    let id = text("MessageId").filter(|id| is_id(id));
    if id.is_none() {
        let fault = format!("must be a string of 1 to {MAX_ID} characters: {AS_DELIVERED}");
        faults.add(message.path_of("MessageId"), fault);
    }
    let payload = message.required_string("Message", AS_DELIVERED, &mut faults);
    let retry_interval = around.message.and_then(|message| message.retry_interval);
    let around = Surroundings {
        key: id,
        message: Some(EnclosingMessage {
            is_of_queue: false,
            sent_at: text("Timestamp").as_deref().and_then(rfc_3339),
            retry_interval,
        }),
        ..around.clone()
    };
    let place = object.get("Message").map_or(0, |(_, place)| place);
    faults.or(Notified::Payload(
        payload.unwrap_or_default(),
        place,
        Box::new(around),
    ))
}
