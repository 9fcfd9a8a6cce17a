//! Errors. Each has a type of docs/reference.md#errors, and a message that names the operation, the object, the cause
//! and the remedy.

use std::fmt;

use serde::Serialize;

use crate::printable::shortened;

/// The `errorType` of a failed invocation and the `error.type` of an outcome event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum ErrorType {
    /// The payload is refused (docs/payloads.md#refused-payloads). The sender must fix it.
    InvalidRequest,
    /// A setting is invalid (docs/reference.md#settings). The operator must fix it.
    InvalidConfiguration,
    /// The service answered 403. A permission is missing.
    AccessDenied,
    /// The service answered 404. The membership or the ID mapping table does not exist.
    TableNotFound,
    /// The service answered 400. It will refuse the same request again.
    RequestRefused,
    /// The service answered 409 or 402. The job slot is busy. Later it may be free.
    SlotBusy,
    /// `MIN_INTERVAL` is not over since the table's previous job.
    TooSoon,
    /// The service throttles or cannot be reached. No job was started. Later the call may work.
    ServiceUnavailable,
    /// The call's answer is missing or broken. A job may have started, so the call must not be repeated blindly.
    OutcomeUnknown,
    /// `SETTLE_TIME` is not over yet.
    Settling,
    /// The invocation had too little time for this target. Nothing was called.
    OutOfTime,
    /// `MAX_WAIT` is over, and the request would still have to wait.
    WaitedTooLong,
    /// The outcome could not be published as an event.
    NotAnnounced,
    /// DynamoDB did not answer, or cannot be used. Nothing is started without the ledger.
    LedgerUnavailable,
    /// SQS did not answer, or cannot be used. The request stays where it came from.
    QueueUnavailable,
    /// The job failed. The table is not fresh.
    JobFailed,
}

impl ErrorType {
    /// All error types.
    pub const ALL: [Self; 16] = [
        Self::InvalidRequest,
        Self::InvalidConfiguration,
        Self::AccessDenied,
        Self::TableNotFound,
        Self::RequestRefused,
        Self::SlotBusy,
        Self::TooSoon,
        Self::ServiceUnavailable,
        Self::OutcomeUnknown,
        Self::Settling,
        Self::OutOfTime,
        Self::WaitedTooLong,
        Self::NotAnnounced,
        Self::LedgerUnavailable,
        Self::QueueUnavailable,
        Self::JobFailed,
    ];

    /// Returns the name, as `errorType` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "InvalidRequest",
            Self::InvalidConfiguration => "InvalidConfiguration",
            Self::AccessDenied => "AccessDenied",
            Self::TableNotFound => "TableNotFound",
            Self::RequestRefused => "RequestRefused",
            Self::SlotBusy => "SlotBusy",
            Self::TooSoon => "TooSoon",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::OutcomeUnknown => "OutcomeUnknown",
            Self::Settling => "Settling",
            Self::OutOfTime => "OutOfTime",
            Self::WaitedTooLong => "WaitedTooLong",
            Self::NotAnnounced => "NotAnnounced",
            Self::LedgerUnavailable => "LedgerUnavailable",
            Self::QueueUnavailable => "QueueUnavailable",
            Self::JobFailed => "JobFailed",
        }
    }
}

/// A failure with its type and its message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Error {
    /// The type, which tells the caller what to do.
    #[serde(rename = "type")]
    pub error_type: ErrorType,
    /// The operation, the object, the cause and the remedy. It never has a payload in it.
    pub message: String,
}

impl Error {
    /// Creates an error.
    pub fn new(error_type: ErrorType, message: impl Into<String>) -> Self {
        Self {
            error_type,
            message: message.into(),
        }
    }
}

impl Error {
    /// Returns this error with the message of a later one appended.
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self::new(
            self.error_type,
            format!("{}; {}", self.message, other.message),
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error_type.as_str(), self.message)
    }
}

impl std::error::Error for Error {}

impl From<Error> for lambda_runtime::Diagnostic {
    fn from(error: Error) -> Self {
        Self {
            error_type: error.error_type.as_str().to_owned(),
            error_message: error.message,
        }
    }
}

/// Formats an error with all its causes, on one line. The SDK's own text has only the first (`dispatch failure`).
///
/// Each text ends at its first brace. Libraries print requests in braces, and a payload must not be in a message.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in std::iter::successors(Some(error), |&error| error.source()) {
        let text = error.to_string();
        let text = text
            .split(['{', '\n'])
            .next()
            .unwrap_or_default()
            .trim_end();
        // Some errors repeat their cause.
        if !texts.last().is_some_and(|last| last.contains(text)) {
            texts.push(text.to_owned());
        }
    }
    shortened(&texts.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambda_and_events_have_the_same_names_for_error_types() {
        for error_type in ErrorType::ALL {
            assert_eq!(
                serde_json::to_value(error_type).unwrap(),
                error_type.as_str()
            );
            let diagnostic = lambda_runtime::Diagnostic::from(Error::new(error_type, "why"));
            assert_eq!(
                (
                    diagnostic.error_type.as_str(),
                    diagnostic.error_message.as_str()
                ),
                (error_type.as_str(), "why")
            );
        }
    }

    #[derive(Debug)]
    struct Outer(&'static str, Option<Box<Outer>>);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn every_cause_is_written_once() {
        let chain = |texts: [&'static str; 3]| {
            let cause = texts
                .into_iter()
                .rev()
                .fold(None, |cause, text| Some(Box::new(Outer(text, cause))));
            with_causes(&*cause.unwrap())
        };
        assert_eq!(
            chain(["dispatch failure", "io error", "refused"]),
            "dispatch failure: io error: refused"
        );
        assert_eq!(
            chain([
                "failed",
                "of request `Request { body: hunter2",
                "line\nhunter2"
            ]),
            "failed: of request `Request: line"
        );
        assert_eq!(
            chain(["failed: io error", "io error", "refused"]),
            "failed: io error: refused"
        );
    }
}
