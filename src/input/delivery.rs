//! What comes in, and what it is read into.

use lambda_runtime::LambdaInvocation;
use serde::Deserialize;
use time::OffsetDateTime;

use crate::config::Settings;
use crate::error::{Error, ErrorType};
use crate::job::TrackedJob;
use crate::request::Request;
use crate::target::AwsLocation;
use crate::view::{View, Widget};

/// An invocation's payload as text, or the reason why it is not UTF-8.
///
/// lambda_runtime parses a payload before the handler gets it. It reports invalid JSON with an error type of its own,
/// and reads `{} {}` as `{}`. So [`Payload::wrap`] passes the text on inside a JSON string, and this module parses it.
#[derive(Clone, Deserialize)]
pub struct Payload(pub(super) Result<String, String>);

impl Payload {
    /// Creates a payload from its text.
    pub fn from_text(text: &str) -> Self {
        Self(Ok(text.to_owned()))
    }

    /// Replaces an invocation's body, which may be anything, by the JSON document that a `Payload` is deserialized from.
    pub fn wrap(mut invocation: LambdaInvocation) -> LambdaInvocation {
        let text = std::str::from_utf8(&invocation.body).map_err(|error| error.to_string());
        // JSON allows no other control character. In a JSON string each would take six bytes.
        let is_allowed = |byte: &u8| !byte.is_ascii_control() || b"\t\n\r\x7f".contains(byte);
        let text = text.and_then(
            |text| match text.bytes().position(|byte| !is_allowed(&byte)) {
                Some(place) => Err(format!("control character at byte {place}")),
                None => Ok(text),
            },
        );
        // Serializing a string cannot fail. If it did, the empty document would be refused.
        invocation.body = serde_json::to_vec(&text).unwrap_or_default().into();
        invocation
    }
}

/// What is known of an invocation besides its payload.
pub struct Arrival<'a> {
    /// Lambda's request id.
    pub request_id: &'a str,
    /// The time of arrival.
    pub at: OffsetDateTime,
    /// The ARN with which the function was invoked. Local emulators send other text.
    pub function_arn: &'a str,
    /// Where the function runs.
    pub location: &'a AwsLocation,
    /// The settings.
    pub settings: &'a Settings,
}

/// A parsed payload.
#[derive(Debug)]
pub enum Delivery {
    /// A payload that is not a batch: one part, or the items of a list.
    Direct(Vec<Part>),
    /// A batch of SQS messages, in the order in which they came.
    Batch(Vec<Message>),
    /// A question for a status report.
    Status(View),
    /// The request of a button in a dashboard's widget, which shows the answer.
    Button(Vec<Part>, Widget),
}

/// One SQS message of a batch.
#[derive(Debug)]
pub struct Message {
    /// The message's id, by which a partial batch response names it.
    pub id: String,
    /// The body as it came.
    pub body: String,
    /// What the body is: one part, or the items of a list.
    pub parts: Vec<Part>,
    /// Whether the batch asks for too much already: the message has no part, and is to be delivered again.
    pub is_postponed: bool,
}

/// A payload, or one of several in a list. Each is judged alone.
#[derive(Debug)]
pub struct Part {
    /// The text of an item of a list, if it is refused; empty if the item is too large to be moved. `None` if the part is
    /// the whole payload or body.
    pub text: Option<String>,
    /// What it is read into, or the reason why it is refused. If many items of a list are refused, only the first ones
    /// have a message.
    pub content: Result<Content, Error>,
}

impl Part {
    /// A part that is the whole of what was read.
    pub(super) fn whole(content: Result<Content, Error>) -> Self {
        Self {
            text: None,
            content,
        }
    }
}

/// The parts of a payload that are refused.
#[derive(Debug, Default)]
pub struct Refused {
    /// The texts of those that are items of a list.
    pub items: Vec<String>,
    /// Why the first ones are refused.
    reasons: Vec<String>,
    /// How many there are.
    pub count: usize,
    /// Whether one of them is too large for the dead-letter queue.
    pub is_too_large: bool,
}

impl Refused {
    /// Adds a part. An item with an empty text is too large for the dead-letter queue.
    pub fn add(&mut self, text: Option<String>, error: Error) {
        self.is_too_large |= text.as_ref().is_some_and(String::is_empty);
        self.items.extend(text.filter(|text| !text.is_empty()));
        self.count += 1;
        if !error.message.is_empty() {
            self.reasons.push(error.message);
        }
    }

    /// The error for all of them. Returns `None` if there are none.
    pub fn error(&self) -> Option<Error> {
        let more = match self.count - self.reasons.len() {
            0 => String::new(),
            more => format!("; {more} more are refused"),
        };
        let message = format!("{}{more}", self.reasons.join("; "));
        (self.count > 0).then(|| Error::new(ErrorType::InvalidRequest, message))
    }
}

/// The content of a payload, or of a message's body.
#[derive(Debug)]
pub enum Content {
    /// One request per target, and at least one.
    Requests(Vec<Request>),
    /// A job that is tracked to its end.
    Track(TrackedJob),
    /// Nothing that the function acts on.
    Ignored(Ignored),
}

/// How many bytes of names count for another table.
const LONG_NAME: usize = 512;

impl Content {
    /// What it takes of what a payload may ask for. Each outcome repeats the names of its request. A job that is tracked
    /// takes a look at the ledger.
    pub(super) fn weight(&self) -> usize {
        let of = |request: &Request| {
            let trigger = request.trigger.as_ref();
            let id = trigger.and_then(|trigger| trigger.id.as_ref());
            2 + 2 * (request.idempotency_key.len() + id.map_or(0, String::len)) / LONG_NAME
        };
        match self {
            Self::Requests(requests) => requests.iter().map(of).sum(),
            Self::Track(_) => 20,
            Self::Ignored(_) => 1,
        }
    }
}

/// Why a payload is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// Somebody should look at it.
    Unexpected(&'static str),
    /// It is sent to everybody who sets something up.
    Expected(&'static str),
}
