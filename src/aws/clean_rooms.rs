//! Calls `PopulateIdMappingTable`, and tells what its answers mean.
//!
//! The operation has no client token, so a repeated call may start a second job, which costs money. A call is repeated
//! only if no job can have started. If an answer does not tell whether a job started, it is [`Answer::Unknown`].

use std::error::Error as StdError;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use aws_sdk_cleanrooms::Client;
use aws_sdk_cleanrooms::config::interceptors::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef, InterceptorContext,
};
use aws_sdk_cleanrooms::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_cleanrooms::config::timeout::TimeoutConfig;
use aws_sdk_cleanrooms::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_cleanrooms::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_cleanrooms::operation::RequestId;
use aws_sdk_cleanrooms::operation::populate_id_mapping_table::PopulateIdMappingTableError as Refusal;
use aws_sdk_cleanrooms::types::error::ValidationException;
use aws_sdk_cleanrooms::types::{JobType as WireJobType, ValidationExceptionReason};
use aws_smithy_runtime_api::client::connection::CaptureSmithyConnection;
use aws_smithy_runtime_api::client::interceptors::context::Error as ErasedError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::ServiceError;

use super::call::is_unauthenticated;
use crate::error::{Error, ErrorType, with_causes};
use crate::job_type::JobType;
use crate::printable::{refusal as printable_refusal, shortened};
use crate::target::Target;

/// What `PopulateIdMappingTable` answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A job was started. This is its id.
    Started(String),
    /// The service refused the request, and would refuse it again. A person must act.
    Refused(Error),
    /// The job slot is busy. Later it may be free.
    Busy {
        /// Which tables cannot start a job now.
        scope: BusyScope,
        /// The answer as an error.
        error: Error,
    },
    /// No job was started. Later the call may work.
    Unavailable(Error),
    /// A job may have started.
    Unknown(Error),
}

/// Which tables a busy slot affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusyScope {
    /// All tables of the account and Region (402).
    Account,
    /// At least this table (409). The service may mean the table's own state, or the account's slot.
    Table,
}

/// The client of AWS Clean Rooms that starts jobs.
#[derive(Clone, Debug)]
pub struct CleanRooms {
    client: Client,
}

impl CleanRooms {
    /// Creates the client from a configuration of [`crate::aws::clients`].
    pub fn new(config: &aws_config::SdkConfig) -> Self {
        let config = aws_sdk_cleanrooms::config::Builder::from(config).build();
        Self {
            client: Client::from_conf(config),
        }
    }

    /// Calls `PopulateIdMappingTable`.
    pub async fn populate(
        &self,
        target: &Target,
        job_type: Option<JobType>,
        timeout: Duration,
    ) -> Answer {
        let maybe_sent = MaybeSent::default();
        let config = aws_sdk_cleanrooms::config::Config::builder()
            .timeout_config(TimeoutConfig::builder().operation_timeout(timeout).build())
            .retry_classifier(RetryIfNotStarted::of(maybe_sent.clone()))
            .interceptor(maybe_sent.clone());
        let request = self
            .client
            .populate_id_mapping_table()
            .membership_identifier(target.membership.as_str())
            .id_mapping_table_identifier(target.table.as_str())
            .set_job_type(job_type.map(wire))
            .customize()
            .config_override(config);
        // Boxed like the futures in `call::within`. The SDK enforces the timeout, so that `maybe_sent` knows at which
        // point the call ended.
        let result = Box::pin(request.send()).await;
        let failure = |error_type, cause: String| {
            Error::new(
                error_type,
                format!("PopulateIdMappingTable of {target} failed: {cause}"),
            )
        };
        match result {
            Ok(output) if is_job_id(output.id_mapping_job_id()) => {
                Answer::Started(output.id_mapping_job_id)
            }
            Ok(output) => Answer::Unknown(failure(
                ErrorType::OutcomeUnknown,
                format!(
                    "the answer has no job id{}; {CHECK_JOBS}",
                    request_id(output.request_id())
                ),
            )),
            Err(error) => classify(&error, maybe_sent.get(), failure),
        }
    }
}

const CHECK_NETWORK: &str =
    "no job was started: check the function's network and credentials, and repeat the request";

const CHECK_JOBS: &str =
    "a job may run: look at the ID mapping table's jobs before you repeat the request";

/// Returns whether a text can be a job's id. The API model specifies a UUID, but any id that a rule or a person can use
/// is accepted. The SDK returns an empty string for a missing id.
fn is_job_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn wire(job_type: JobType) -> WireJobType {
    match job_type {
        JobType::Batch => WireJobType::Batch,
        JobType::Incremental => WireJobType::Incremental,
        JobType::DeleteOnly => WireJobType::DeleteOnly,
    }
}

/// Classifies a failed call.
fn classify(
    error: &SdkError<Refusal, HttpResponse>,
    maybe_sent: bool,
    failure: impl Fn(ErrorType, String) -> Error,
) -> Answer {
    let SdkError::ServiceError(answer) = error else {
        let cause = with_causes(error);
        return match maybe_sent {
            true => Answer::Unknown(failure(
                ErrorType::OutcomeUnknown,
                format!("{cause}; {CHECK_JOBS}"),
            )),
            false => Answer::Unavailable(failure(
                ErrorType::ServiceUnavailable,
                format!("{cause}; {CHECK_NETWORK}"),
            )),
        };
    };
    classify_refusal(answer, failure)
}

/// Classifies a refusal by its modelled exception. If there is none, the HTTP status decides.
fn classify_refusal(
    answer: &ServiceError<Refusal, HttpResponse>,
    failure: impl Fn(ErrorType, String) -> Error,
) -> Answer {
    let refusal = answer.err();
    let status = answer.raw().status().as_u16();
    let description = describe(refusal, answer.raw());
    let with = |error_type, remedy: &str| failure(error_type, format!("{description}; {remedy}"));
    let unknown = || Answer::Unknown(with(ErrorType::OutcomeUnknown, CHECK_JOBS));
    match (refusal, status) {
        // The status wins over the exception's name: after a 5xx, or a timeout on the way, a job may run.
        (_, ..=399 | 408 | 425 | 499 | 500..) => unknown(),
        _ if is_throttling(refusal, answer.raw()) => Answer::Unavailable(with(
            ErrorType::ServiceUnavailable,
            "no job was started: repeat the request later",
        )),
        _ if is_unauthenticated(code(refusal, answer.raw())) => Answer::Unavailable(with(
            ErrorType::ServiceUnavailable,
            "no job was started, and no permission is missing: the request was not authenticated; check the function's \
             credentials and clock, and repeat the request",
        )),
        (Refusal::AccessDeniedException(_), _) | (_, 401 | 403) => Answer::Refused(with(
            ErrorType::AccessDenied,
            "allow the function's role cleanrooms:PopulateIdMappingTable on both the membership's and the ID mapping \
             table's ARN, and any action of Entity Resolution that the message names",
        )),
        (Refusal::ResourceNotFoundException(_), _) | (_, 404) => Answer::Refused(with(
            ErrorType::TableNotFound,
            "check the membership and the ID mapping table in this account and Region",
        )),
        (Refusal::ConflictException(_) | Refusal::ServiceQuotaExceededException(_), _)
        | (_, 402 | 409) => Answer::Busy {
            scope: busy_scope(refusal, status),
            error: with(
                ErrorType::SlotBusy,
                "an account and Region run one ID mapping job at a time: repeat the request when the running job has \
                 ended",
            ),
        },
        (Refusal::ValidationException(refusal), _) if is_role_new(refusal) => {
            Answer::Unavailable(with(
                ErrorType::RequestRefused,
                "a role was changed a moment ago: repeat the request in a few minutes",
            ))
        }
        _ => Answer::Refused(with(
            ErrorType::RequestRefused,
            "the service will refuse it again: check that the table's Entity Resolution workflow takes this job type",
        )),
    }
}

/// Returns whether a role was changed a moment ago, and not all of AWS knows it yet.
fn is_role_new(refusal: &ValidationException) -> bool {
    refusal.reason() == Some(&ValidationExceptionReason::IamSynchronizationDelay)
}

fn busy_scope(refusal: &Refusal, status: u16) -> BusyScope {
    match refusal {
        Refusal::ServiceQuotaExceededException(_) => BusyScope::Account,
        _ if status == 402 => BusyScope::Account,
        _ => BusyScope::Table,
    }
}

/// Returns whether an answer is a 429, or has a throttling code that AWS services send with a 400.
fn is_throttling(refusal: &Refusal, response: &HttpResponse) -> bool {
    const CODES: [&str; 7] = [
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    ];
    match response.status().as_u16() {
        429 => true,
        400..=499 => code(refusal, response).is_some_and(|code| CODES.contains(&code)),
        _ => false,
    }
}

/// Returns the exception's name. The SDK does not find it if the body is not JSON, so the header is read too.
fn code<'a>(refusal: &'a Refusal, response: &'a HttpResponse) -> Option<&'a str> {
    let header = || {
        response
            .headers()
            .get("x-amzn-errortype")?
            .split([':', ','])
            .next()
    };
    refusal
        .code()
        .or_else(header)
        .filter(|code| !code.is_empty())
}

/// Describes the service's answer: exception, status, message, and the details of the exception.
fn describe(refusal: &Refusal, response: &HttpResponse) -> String {
    let status = response.status().as_u16();
    let code = code(refusal, response).unwrap_or("unknown error");
    let message = match (refusal.message(), response.body().bytes()) {
        (Some(message), _) => message.to_owned(),
        (None, Some(body)) if !body.is_empty() => String::from_utf8_lossy(body).into_owned(),
        _ => "no message".to_owned(),
    };
    let details = match refusal {
        Refusal::ConflictException(refusal) => refusal
            .reason()
            .map(|reason| format!(" (reason {})", reason.as_str())),
        Refusal::ServiceQuotaExceededException(refusal) => Some(format!(
            " (quota {}, value {})",
            refusal.quota_name(),
            refusal.quota_value()
        )),
        Refusal::ValidationException(refusal) => {
            let reason = refusal
                .reason()
                .map(|reason| format!("reason {}", reason.as_str()));
            let fields = refusal
                .field_list()
                .iter()
                .map(|field| format!("{}: {}", field.name(), field.message()));
            let all: Vec<String> = reason.into_iter().chain(fields).collect();
            (!all.is_empty()).then(|| format!(" ({})", all.join(", ")))
        }
        _ => None,
    };
    let details = details.unwrap_or_default();
    let description = format!(
        "{} ({status}): {}{}",
        shortened(code),
        printable_refusal(message.trim()),
        shortened(&details)
    );
    description + &request_id(refusal.request_id())
}

/// Formats the service's request id, which AWS Support asks for.
fn request_id(id: Option<&str>) -> String {
    id.map(|id| format!(" [request id {}]", shortened(id)))
        .unwrap_or_default()
}

/// Why an attempt certainly started no job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotStarted {
    /// The service throttled it.
    Throttled,
    /// The service could not tell who sent it.
    Unauthenticated,
    /// The connection was never opened.
    Unconnected,
}

/// Returns why a failed attempt certainly started no job. Returns `None` if a job may have started, or if the same
/// request would be refused again.
fn not_started(
    error: &OrchestratorError<ErasedError>,
    response: Option<&HttpResponse>,
) -> Option<NotStarted> {
    if let Some(refusal) = refusal(error) {
        let response = response?;
        return match response.status().as_u16() {
            408 | 425 | 499 => None,
            400..=499 if is_unauthenticated(code(refusal, response)) => {
                Some(NotStarted::Unauthenticated)
            }
            _ => is_throttling(refusal, response).then_some(NotStarted::Throttled),
        };
    }
    let connector_error: &(dyn StdError + 'static) = error.as_connector_error()?;
    std::iter::successors(Some(connector_error), |&error| error.source())
        .find_map(|error| error.downcast_ref::<hyper_util::client::legacy::Error>())
        .is_some_and(|error| error.is_connect())
        .then_some(NotStarted::Unconnected)
}

/// Returns whether the service refused the action. A 5xx is not a refusal, whatever its error code is.
fn is_denied(error: &OrchestratorError<ErasedError>, response: Option<&HttpResponse>) -> bool {
    matches!(refusal(error), Some(Refusal::AccessDeniedException(_)))
        && response.is_some_and(|response| response.status().as_u16() == 403)
}

fn refusal(error: &OrchestratorError<ErasedError>) -> Option<&Refusal> {
    error.as_operation_error()?.downcast_ref()
}

/// Allows a retry of one call only if no job can have started. The SDK's standard retry would also repeat the call after
/// a 500, a timeout or a broken connection.
#[derive(Debug)]
struct RetryIfNotStarted {
    call: MaybeSent,
    /// The first attempt that was not authenticated. The next one is signed again, with the clock that the SDK corrected
    /// by the service's answer. The SDK classifies the result of an attempt more than once.
    unauthenticated: OnceLock<usize>,
}

impl RetryIfNotStarted {
    fn of(call: MaybeSent) -> Self {
        Self {
            call,
            unauthenticated: OnceLock::new(),
        }
    }

    /// Returns whether the attempt is the first one that was not authenticated.
    fn may_sign_again(&self) -> bool {
        let attempt = self.call.attempts();
        *self.unauthenticated.get_or_init(|| attempt) == attempt
    }
}

impl ClassifyRetry for RetryIfNotStarted {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(error)) = context.output_or_error() else {
            return RetryAction::NoActionIndicated;
        };
        match not_started(error, context.response()) {
            Some(NotStarted::Throttled) => RetryAction::throttling_error(),
            Some(NotStarted::Unconnected) => RetryAction::transient_error(),
            Some(NotStarted::Unauthenticated) if self.may_sign_again() => {
                RetryAction::server_error()
            }
            // The SDK retries a 403 if the service's clock differs from this one.
            None if is_denied(error, context.response()) => RetryAction::NoActionIndicated,
            _ => RetryAction::RetryForbidden,
        }
    }

    fn name(&self) -> &'static str {
        "RetryIfNotStarted"
    }
}

/// Records whether a job may have started although no answer came.
///
/// The operation's timeout may end an attempt that waits for its answer, an attempt that waits for its connection, or a
/// pause between two attempts. Only in the first case may a job have started.
#[derive(Clone, Debug, Default)]
struct MaybeSent(Arc<Mutex<Attempts>>);

/// The attempts of a call.
#[derive(Debug, Default)]
struct Attempts {
    count: usize,
    last: Attempt,
}

/// The last attempt of a call.
#[derive(Debug, Default)]
enum Attempt {
    /// There was no attempt, or the last one certainly started no job.
    #[default]
    None,
    /// The request was passed to the HTTP client. The capture tells whether there was a connection. `None` if there is
    /// no capture, and so a job may have started.
    Transmitted(Option<CaptureSmithyConnection>),
}

impl MaybeSent {
    fn get(&self) -> bool {
        match &self.lock().last {
            Attempt::None => false,
            Attempt::Transmitted(None) => true,
            Attempt::Transmitted(Some(connection)) => connection.get().is_some(),
        }
    }

    /// How often the request was passed to the HTTP client.
    fn attempts(&self) -> usize {
        self.lock().count
    }

    fn lock(&self) -> MutexGuard<'_, Attempts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[dyn_dispatch_hint]
impl Intercept for MaybeSent {
    fn name(&self) -> &'static str {
        "MaybeSent"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // An interceptor of the SDK adds the capture, to close connections that must not be used again.
        let capture = config.load::<CaptureSmithyConnection>().cloned();
        let mut attempts = self.lock();
        attempts.count += 1;
        attempts.last = Attempt::Transmitted(capture);
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(Err(error)) = context.output_or_error()
            && not_started(error, context.response()).is_some()
        {
            self.lock().last = Attempt::None;
        }
        Ok(())
    }
}
