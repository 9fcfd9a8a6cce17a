//! Checks that an accepted request is accepted again from the waiting queue, as the same request.

use id_mapping_populator::input::{Content, Payload};
use id_mapping_populator::message::message;
use id_mapping_populator::request::Request;
use serde_json::json;
use time::OffsetDateTime;

use crate::function::{Function, NOW};

/// The largest number of bytes in an SQS message.
const MAX_BYTES: usize = 256 * 1024;

/// Returns a batch of one SQS message with this body, sent now.
pub fn in_sqs(body: &str) -> Payload {
    let sent = NOW.unix_timestamp() * 1_000;
    let batch = json!({ "Records": [{
        "messageId": "9f1d6c6e-3a44-4f37-a9a5-7d1a2f0c4b01",
        "receiptHandle": "AQEB",
        "body": body,
        "attributes": { "SentTimestamp": sent.to_string(), "ApproximateReceiveCount": "1" },
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:waiting",
        "awsRegion": "eu-west-1",
    }] });
    Payload::from_text(&batch.to_string())
}

/// Checks that a waiting request is the same request when it is read from the queue.
pub fn of_a_request(function: &Function, request: &Request) {
    let since = request.waiting_since.unwrap_or(NOW);
    let body = message(request, Some(since), None);
    let Content::Requests(read) = read_again(function, &body) else {
        panic!("a request is read again as other content: {body}");
    };
    let [again] = &read[..] else {
        panic!("a request is read again as {} requests: {body}", read.len());
    };
    let expected = Request {
        time: in_milliseconds(request.time),
        waiting_since: Some(in_milliseconds(since)),
        sent_at: Some(NOW),
        // The message around it was received once, and so tells no interval.
        retry_interval: None,
        ..request.clone()
    };
    assert_eq!(*again, expected);
    assert_eq!(again.scoped_key(), request.scoped_key());
    assert_eq!(again.request_id(), request.request_id());
    // After the first time, the request does not change, however often it goes through the queue.
    assert_eq!(message(again, again.waiting_since, None), body);
}

fn read_again(function: &Function, body: &str) -> Content {
    assert!(body.chars().all(is_taken_by_sqs), "{body:?}");
    assert!(body.len() <= MAX_BYTES, "{} bytes", body.len());
    function.read_one(&in_sqs(body))
}

/// Returns whether SQS accepts a character in a message, according to its API reference.
fn is_taken_by_sqs(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// Rounds a time down to milliseconds, as a message has it.
fn in_milliseconds(time: OffsetDateTime) -> OffsetDateTime {
    let millisecond = time.millisecond();
    time.replace_millisecond(millisecond)
        .expect("a time's own millisecond is one")
}
