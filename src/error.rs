//! Every failure has a type of contract section 5 and a message that names operation, object,
//! cause and remedy.

use std::fmt;

use serde::Serialize;

/// The `errorType` of a failed invocation and the `error.type` of an outcome event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum ErrorType {
    /// The payload is none that the contract knows (section 1). Whoever sends it must mend it.
    InvalidRequest,
    /// A setting is wrong (section 2). Whoever deploys must mend it.
    InvalidConfiguration,
    /// The service answered 403. A permission is missing.
    AccessDenied,
    /// The service answered 404. There is no such membership or ID mapping table.
    TableNotFound,
    /// The service answered 400. It will refuse the same request again.
    RequestRefused,
    /// The service answered 409 or 402. The one job slot is taken: later it may be free.
    SlotBusy,
    /// The service throttles or cannot be reached. No job was started: later it may work.
    ServiceUnavailable,
    /// The call's answer is missing or broken. A job may have started: do not repeat blindly.
    OutcomeUnknown,
    /// News is given time to settle before its first try (`SETTLE_TIME`).
    Settling,
    /// The invocation's deadline came too near before this target's turn. Nothing was called.
    OutOfTime,
    /// `MAX_WAIT` is over, and the request would still have to wait.
    WaitedTooLong,
    /// The outcome could not be published as an event.
    NotAnnounced,
    /// DynamoDB did not answer, or cannot be used. Nothing is started without the ledger.
    LedgerUnavailable,
    /// SQS did not answer, or cannot be used. The request stays where it came from.
    QueueUnavailable,
    /// The job that was started ended so. The table is not fresh.
    JobFailed,
}

impl ErrorType {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::InvalidRequest,
        Self::InvalidConfiguration,
        Self::AccessDenied,
        Self::TableNotFound,
        Self::RequestRefused,
        Self::SlotBusy,
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

    /// The name as the contract writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "InvalidRequest",
            Self::InvalidConfiguration => "InvalidConfiguration",
            Self::AccessDenied => "AccessDenied",
            Self::TableNotFound => "TableNotFound",
            Self::RequestRefused => "RequestRefused",
            Self::SlotBusy => "SlotBusy",
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

/// A named failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Error {
    /// What kind of failure, and so what the caller will do.
    #[serde(rename = "type")]
    pub error_type: ErrorType,
    /// Operation, object, cause, remedy. Holds no payload.
    pub message: String,
}

impl Error {
    /// A failure of this type.
    pub fn new(error_type: ErrorType, message: impl Into<String>) -> Self {
        Self {
            error_type,
            message: message.into(),
        }
    }
}

impl Error {
    /// This error, with another one that happened after it.
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

/// An error with all its causes, on one line. The SDK's own text stops at the first (`dispatch
/// failure`).
///
/// What stands in braces is left out: there libraries dump what they worked on, requests included,
/// and no payload belongs in a message.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    for error in std::iter::successors(Some(error), |&error| error.source()) {
        let text = error.to_string();
        let text = text
            .split(['{', '\n'])
            .next()
            .unwrap_or_default()
            .trim_end();
        // Some errors repeat their cause.
        if !said.last().is_some_and(|last| last.contains(text)) {
            said.push(text.to_owned());
        }
    }
    shortened(&said.join(": "))
}

/// A text of others as far as a message has room for it: an outcome event has 256 KB, and a proxy's
/// error page may be longer.
pub(crate) fn shortened(text: &str) -> String {
    const MAX: usize = 1_000;
    let mut characters = text.chars();
    let start: String = characters.by_ref().take(MAX).collect();
    if characters.next().is_some() {
        start + "…"
    } else {
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambda_and_events_name_a_type_alike() {
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
    fn every_cause_is_said_once() {
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
