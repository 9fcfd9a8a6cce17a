//! The payload of an invocation. Any bytes are either accepted or refused, with the same result each time.

use id_mapping_populator::input::{Content, Delivery, Part, Payload};
use id_mapping_populator::request::Request;
use lambda_runtime::{Context, LambdaInvocation};

use crate::function::{Function, NOW, WITH_TABLE, WITHOUT_TABLES};
use crate::{refusal, round_trip};

const MAX_PARTS: usize = 10_000;
const MAX_REQUESTS: usize = 100;
const MAX_REASONS: usize = 10;
const MAX_NAME: usize = 4_096;
const MAX_ROUND_TRIPS: usize = 3;

/// Checks a payload with each of the settings.
pub fn check(bytes: &[u8]) {
    refusal::is_printable(&String::from_utf8_lossy(bytes));
    let payload = arrived(bytes);
    check_under(&WITHOUT_TABLES, &payload);
    check_under(&WITH_TABLE, &payload);
}

/// Returns the payload as the handler gets it from `lambda_runtime`.
fn arrived(bytes: &[u8]) -> Payload {
    let invocation = LambdaInvocation {
        parts: http::Response::new(()).into_parts().0,
        body: bytes.to_vec().into(),
        context: Context::default(),
    };
    serde_json::from_slice(&Payload::wrap(invocation).body)
        .expect("the wrapped payload is a JSON document")
}

fn check_under(function: &Function, payload: &Payload) {
    let result = function.read(payload);
    if result.is_ok() {
        let again = function.read(payload);
        assert_eq!(format!("{result:?}"), format!("{again:?}"));
    }
    match &result {
        Err(error) => {
            refusal::check(error);
            refusal::starts_nothing(function, payload, error);
        }
        Ok(Delivery::Direct(parts) | Delivery::Button(parts, _)) => {
            check_parts(function, parts);
            if let Some(error) = refusal::of_all(parts) {
                refusal::list_starts_nothing(function, payload, error);
            }
        }
        // It reads from services, of which this function has none.
        Ok(Delivery::Status(_)) => {}
        Ok(Delivery::Batch(messages)) => {
            for message in messages {
                check_parts(function, &message.parts);
            }
            if messages
                .iter()
                .all(|message| refusal::of_all(&message.parts).is_some())
            {
                refusal::batch_starts_nothing(function, payload, messages);
            }
        }
    }
}

/// Checks each part of a payload or of a message: its content, or its refusal.
pub fn check_parts(function: &Function, parts: &[Part]) {
    assert!((1..=MAX_PARTS).contains(&parts.len()));
    let mut refused = 0;
    for part in parts {
        match &part.content {
            Ok(content) => check_content(function, content),
            Err(error) => {
                refused += 1;
                // A list may have many refusals: the later ones have no message.
                if refused <= MAX_REASONS || !error.message.is_empty() {
                    refusal::check(error);
                }
            }
        }
    }
}

fn check_content(function: &Function, content: &Content) {
    match content {
        Content::Requests(requests) => {
            assert!((1..=MAX_REQUESTS).contains(&requests.len()));
            let mut keys: Vec<String> = requests.iter().map(Request::scoped_key).collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), requests.len(), "a request is in the list twice");
            requests.iter().for_each(check_request);
            // The requests differ only in target and job type, and a hundred round trips would take most of the time.
            for request in requests.iter().take(MAX_ROUND_TRIPS) {
                round_trip::of_a_request(function, request);
            }
        }
        Content::Track(job) => {
            let id = job.job.id.as_str();
            assert!((1..=128).contains(&id.len()), "{id:?}");
        }
        Content::Ignored(_) => {}
    }
}

fn check_request(request: &Request) {
    assert!((1..=MAX_NAME).contains(&request.idempotency_key.chars().count()));
    assert!(request.time <= NOW);
    assert!(request.waiting_since.is_none_or(|since| since <= NOW));
}
