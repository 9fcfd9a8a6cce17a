//! The body of an SQS message: the function's own message, or one of another sender.
//!
//! [`crate::payload`] reads batches too. Here the input is the body itself, without the escapes of a JSON
//! string, so that mutations of bytes change its content.

use id_mapping_populator::input::Delivery;

use crate::function::WITH_TABLE;
use crate::{payload, round_trip};

/// Checks a body.
pub fn check(bytes: &[u8]) {
    let Ok(body) = std::str::from_utf8(bytes) else {
        return;
    };
    let messages = match WITH_TABLE.read(&round_trip::in_sqs(body)) {
        Ok(Delivery::Batch(messages)) => messages,
        other => panic!("a batch is read as {other:?}"),
    };
    let [message] = &messages[..] else {
        panic!("one message is read as {}", messages.len());
    };
    assert_eq!(message.body, body);
    payload::check_parts(&WITH_TABLE, &message.parts);
}
