//! Properties of refusals.

use id_mapping_populator::error::{Error, ErrorType};
use id_mapping_populator::handler::Response;
use id_mapping_populator::input::{Message, Part, Payload};
use id_mapping_populator::printable;

use crate::function::Function;

/// The longest message. It is copied to a log line, to Lambda's answer and to an attribute of a dead letter.
const MAX_BYTES: usize = 64 * 1024;

/// Checks that a refusal names a path, and has no character that could break or reorder a log line.
pub fn check(error: &Error) {
    assert_eq!(error.error_type, ErrorType::InvalidRequest, "{error}");
    let message = &error.message;
    let names_a_path = message
        .split_once(": ")
        .is_some_and(|(_, reason)| reason.starts_with('$'));
    assert!(names_a_path, "the refusal names no path: {message}");
    assert!(message.len() <= MAX_BYTES, "{} bytes", message.len());
    assert!(
        !message.chars().any(must_be_escaped),
        "a raw character in {message:?}"
    );
}

/// Checks that an invocation with a refused payload fails with the refusal, and calls nothing.
pub fn starts_nothing(function: &Function, payload: &Payload, error: &Error) {
    match function.handle(payload) {
        Err(failure) => assert_eq!(failure, *error),
        Ok(response) => panic!("a refused payload is answered with {response:?}"),
    }
}

/// Returns the first refusal, if all parts of a payload are refused.
pub fn of_all(parts: &[Part]) -> Option<&Error> {
    let refusals: Option<Vec<&Error>> = parts
        .iter()
        .map(|part| part.content.as_ref().err())
        .collect();
    refusals?.into_iter().next()
}

/// Checks that an invocation with a list of which each item is refused fails, and calls nothing. No dead-letter queue is
/// set.
pub fn list_starts_nothing(function: &Function, payload: &Payload, first: &Error) {
    match function.handle(payload) {
        Err(failure) => assert_eq!(failure.error_type, first.error_type),
        Ok(response) => panic!("a refused list is answered with {response:?}"),
    }
}

/// Checks that a batch of refused messages calls nothing. No dead-letter queue is set, so each is delivered again.
pub fn batch_starts_nothing(function: &Function, payload: &Payload, messages: &[Message]) {
    let Ok(Response::Batch(response)) = function.handle(payload) else {
        panic!("the answer to a batch is not a list of failures");
    };
    let failures = response.batch_item_failures.iter();
    assert!(
        failures
            .map(|failure| &failure.item_identifier)
            .eq(messages.iter().map(|message| &message.id)),
        "the messages that are delivered again are not the refused ones"
    );
}

/// Checks what a log line or a message makes of any text.
pub fn is_printable(text: &str) {
    for printable in [
        printable::escaped(text).into_owned(),
        printable::shortened(text),
        printable::refusal(text),
        printable::id(text),
    ] {
        assert!(!printable.chars().any(must_be_escaped), "{printable:?}");
    }
    assert!(printable::id(text).len() <= 128);
}

/// Returns `true` for control characters, line separators, and invisible or bidirectional characters.
fn must_be_escaped(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(character, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}
