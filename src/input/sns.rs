//! Notifications of Amazon SNS. Their signatures are not verified: who may invoke the function or send to its queue is
//! decided by policies.

use super::build::{EnclosingMessage, Surroundings};
use super::delivery::Ignored;
use super::faults::refused;
use super::members::{MAX_ID, is_id, rfc_3339};
use super::text::{Object, Path, Raw};
use crate::error::Error;

const AS_DELIVERED: &str = "send the notification as SNS delivers it";

const CONFIRMATION: &str = "SNS asks to confirm a subscription: confirm it yourself, because the function opens no URL of a \
                            message";

/// Returns whether an object is a message of SNS as it comes through SQS without raw message delivery.
pub(super) fn is_message(object: &Object<'_>) -> bool {
    const TYPES: [&str; 3] = [
        "Notification",
        "SubscriptionConfirmation",
        "UnsubscribeConfirmation",
    ];
    let of = object.get("Type").and_then(|(of, _)| of.string());
    of.is_some_and(|of| TYPES.contains(&of.as_str()))
        && object.has("TopicArn")
        && object.has("MessageId")
}

/// What a message of SNS is.
pub(super) enum Notified<'s> {
    /// Somebody asks to confirm a subscription.
    Ignored(Ignored),
    /// A text that is a payload of its own, its place in the message, and what is around it.
    Payload(String, usize, Surroundings<'s>),
}

/// Returns the message in a record as SNS invokes Lambda with it, and the message's place.
pub(super) fn message<'t>(record: Raw<'t>, path: Path<'_>) -> Result<(Object<'t>, usize), Error> {
    let message = record.object().and_then(|record| {
        let (message, place) = record.get("Sns")?;
        Some((message.object()?, place))
    });
    message.ok_or_else(|| {
        let fault = format!("must be an object: {AS_DELIVERED}");
        refused(path.missing("Sns"), fault)
    })
}

/// Reads a message of SNS.
pub(super) fn read<'s>(
    message: &Object<'_>,
    path: Path<'_>,
    around: &Surroundings<'s>,
) -> Result<Notified<'s>, Error> {
    let text = |name| message.get(name)?.0.string();
    if text("Type").is_some_and(|of| of != "Notification") {
        return Ok(Notified::Ignored(Ignored::Unexpected(CONFIRMATION)));
    }
    let id = text("MessageId").filter(|id| is_id(id)).ok_or_else(|| {
        let fault = format!("must be a string of 1 to {MAX_ID} characters: {AS_DELIVERED}");
        refused(path.missing("MessageId"), fault)
    })?;
    let payload = message
        .get("Message")
        .and_then(|(payload, place)| Some((payload.string()?, place)));
    let (payload, place) = payload.ok_or_else(|| {
        let fault = format!("must be a string: {AS_DELIVERED}");
        refused(path.missing("Message"), fault)
    })?;
    let retry_interval = around
        .message
        .as_ref()
        .and_then(|message| message.retry_interval);
    let message = EnclosingMessage {
        id,
        sent_at: text("Timestamp").as_deref().and_then(rfc_3339),
        retry_interval,
    };
    let around = Surroundings {
        message: Some(message),
        ..around.clone()
    };
    Ok(Notified::Payload(payload, place, around))
}
