//! What all calls of the services share: a timeout, and a description of the failure.

use std::fmt;
use std::time::Duration;

use aws_sdk_cleanrooms::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::error::with_causes;
use crate::printable::refusal as printable_refusal;

/// There was no answer within this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimedOut(Duration);

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer within {} ms", self.0.as_millis())
    }
}

impl From<TimedOut> for String {
    fn from(timed_out: TimedOut) -> Self {
        timed_out.to_string()
    }
}

/// Waits for a result, but not longer than the timeout.
///
/// The work is boxed: an SDK call's future has tens of kilobytes, and each future that waits for it would contain it.
pub(super) fn within<T, E: From<TimedOut>>(
    timeout: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, E>> {
    let work = tokio::time::timeout(timeout, Box::pin(work));
    async move { work.await.unwrap_or_else(|_| Err(TimedOut(timeout).into())) }
}

/// Returns whether a service could not tell who sent the request, whatever its status: the credentials expired or are
/// unknown, the clock differs, or the signature is wrong. It did nothing, and no permission is missing.
pub(super) fn is_unauthenticated(code: Option<&str>) -> bool {
    // Some services add `Exception` to these names.
    const CODES: [&str; 11] = [
        "AuthFailure",
        "ExpiredToken",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignature",
        "MissingAuthenticationToken",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClient",
    ];
    code.is_some_and(|code| CODES.iter().any(|name| code.starts_with(name)))
}

/// The reason why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// The operation, and what the service answered.
    pub(crate) message: String,
    /// The permission that is missing. `None` if the read failed for another reason.
    pub(crate) permission: Option<&'static str>,
    /// Whether the table, workflow or job does not exist (404).
    pub(crate) is_absent: bool,
}

impl ReadError {
    /// Creates an error for an answer that is missing or cannot be used.
    pub(crate) fn unclear(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            permission: None,
            is_absent: false,
        }
    }

    /// Creates an error for an answer of an operation.
    pub(super) fn of<E>(
        operation: &str,
        permission: &'static str,
        error: &SdkError<E, HttpResponse>,
    ) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let status = error
            .raw_response()
            .map(|response| response.status().as_u16());
        Self {
            message: format!("{operation} failed: {}", describe(error)),
            permission: is_denied(status, error.code()).then_some(permission),
            is_absent: status == Some(404),
        }
    }
}

impl From<TimedOut> for ReadError {
    fn from(timed_out: TimedOut) -> Self {
        Self::unclear(timed_out)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.permission {
            Some(permission) => write!(f, "; allow the function's role {permission}"),
            None => Ok(()),
        }
    }
}

/// Returns whether a service refused the action. Some services do so with the status 400.
fn is_denied(status: Option<u16>, code: Option<&str>) -> bool {
    let is_code = code.is_some_and(|code| code.starts_with("AccessDenied"));
    (matches!(status, Some(401 | 403)) || is_code) && !is_unauthenticated(code)
}

/// What a service answered, or why there is no answer, in one line. If the service refused, it ends with what to check:
/// the remedy, or the credentials if the service could not tell who sent the request.
pub(super) fn describe_with<E, R>(error: &SdkError<E, R>, remedy: &str) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: fmt::Debug + 'static,
{
    match error.as_service_error() {
        Some(refusal) => describe_refusal_with(refusal.code(), refusal.message(), remedy),
        None => with_causes(error),
    }
}

/// A service's error code and message, and what to check.
pub(super) fn describe_refusal_with(
    code: Option<&str>,
    message: Option<&str>,
    remedy: &str,
) -> String {
    let remedy = match is_unauthenticated(code) {
        true => "check the function's credentials and clock; no permission is missing",
        false => remedy,
    };
    format!("{}; {remedy}", describe_refusal(code, message))
}

/// What a service answered, or why there is no answer, in one line.
pub(super) fn describe<E, R>(error: &SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: fmt::Debug + 'static,
{
    match error.as_service_error() {
        Some(refusal) => describe_refusal(refusal.code(), refusal.message()),
        None => with_causes(error),
    }
}

/// A service's error code and message, in one line.
pub(super) fn describe_refusal(code: Option<&str>, message: Option<&str>) -> String {
    let code = code.unwrap_or("no error code");
    format!(
        "{code}: {}",
        printable_refusal(message.unwrap_or("no message"))
    )
}
