//! Notifications of Amazon SNS. Their signatures are not verified: who may invoke the function or send to its queue is
//! decided by policies.

use super::build::{EnclosingMessage, Surroundings};
use super::delivery::{Content, Ignored, Part};
use super::faults::refused;
use super::members::{MAX_ID, is_id, rfc_3339};
use super::text::{Object, Path, Raw};
use super::{part, parts_of_text};

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

/// Reads a record as SNS invokes Lambda with it.
pub(super) fn record(record: Raw<'_>, path: Path<'_>, around: &Surroundings<'_>) -> Vec<Part> {
    let object = record.object();
    let inner = object.as_ref().and_then(|object| object.get("Sns"));
    let message = inner.and_then(|(inner, place)| Some((inner.object()?, place)));
    match message {
        Some((message, place)) => read(&message, path.member("Sns", place), around),
        None => {
            let fault = format!("must be an object: {AS_DELIVERED}");
            vec![part(Err(refused(path.missing("Sns"), fault)))]
        }
    }
}

/// Reads a message of SNS. Its `Message` is a payload of its own.
pub(super) fn read(message: &Object<'_>, path: Path<'_>, around: &Surroundings<'_>) -> Vec<Part> {
    let text = |name| message.get(name)?.0.string();
    if text("Type").is_some_and(|of| of != "Notification") {
        return vec![part(Ok(Content::Ignored(Ignored::Unexpected(
            CONFIRMATION,
        ))))];
    }
    let Some(id) = text("MessageId").filter(|id| is_id(id)) else {
        let fault = format!("must be a string of 1 to {MAX_ID} characters: {AS_DELIVERED}");
        return vec![part(Err(refused(path.missing("MessageId"), fault)))];
    };
    let Some(payload) = text("Message") else {
        let fault = format!("must be a string: {AS_DELIVERED}");
        return vec![part(Err(refused(path.missing("Message"), fault)))];
    };
    let retry_interval = around
        .message
        .as_ref()
        .and_then(|message| message.retry_interval);
    let around = Surroundings {
        message: Some(EnclosingMessage {
            id,
            sent_at: text("Timestamp").as_deref().and_then(rfc_3339),
            retry_interval,
        }),
        ..around.clone()
    };
    let place = message.get("Message").map_or(0, |(_, place)| place);
    parts_of_text(&payload, path.member("Message", place), &around)
}
