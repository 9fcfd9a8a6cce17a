//! The call, and what its answers mean.
//!
//! `PopulateIdMappingTable` has no client token: whoever repeats it may start, and pay for, a second
//! job. So it is repeated only where no job can have started, and an answer that leaves that open is
//! [`Answer::Unknown`], never an error like any other.

use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};
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
use aws_sdk_cleanrooms::types::{JobType as WireJobType, ValidationExceptionReason};
use aws_smithy_runtime_api::client::connection::CaptureSmithyConnection;
use aws_smithy_runtime_api::client::interceptors::context::Error as ErasedError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};

use crate::error::{Error, ErrorType, shortened, with_causes};
use crate::job_type::JobType;
use crate::target::Target;

/// What `PopulateIdMappingTable` answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A job was started: its id.
    Started(String),
    /// It will be refused again: a person must act.
    Refused(Error),
    /// The slot is taken. Later it may be free.
    Busy {
        /// Whose slot it is.
        scope: BusyScope,
        /// What was answered.
        error: Error,
    },
    /// No job was started, and none can be now: later it may work.
    Unavailable(Error),
    /// A job may have started.
    Unknown(Error),
}

/// For whom the slot is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusyScope {
    /// For all tables of the account and Region (402).
    Account,
    /// For this table. A 409 may be about the table's own state, or about the account's slot.
    Table,
}

/// AWS Clean Rooms.
#[derive(Clone, Debug)]
pub struct CleanRooms {
    client: Client,
}

impl CleanRooms {
    /// With the configuration of [`crate::clients`].
    pub fn new(config: &aws_config::SdkConfig) -> Self {
        let config = aws_sdk_cleanrooms::config::Builder::from(config)
            .retry_classifier(OnlyWhatDidNotStart)
            .build();
        Self {
            client: Client::from_conf(config),
        }
    }

    /// Starts a job.
    pub async fn populate(
        &self,
        target: &Target,
        job_type: Option<JobType>,
        timeout: Duration,
    ) -> Answer {
        let maybe_sent = MaybeSent::default();
        let config = aws_sdk_cleanrooms::config::Config::builder()
            .timeout_config(TimeoutConfig::builder().operation_timeout(timeout).build())
            .interceptor(maybe_sent.clone());
        let request = self
            .client
            .populate_id_mapping_table()
            .membership_identifier(target.membership.as_str())
            .id_mapping_table_identifier(target.table.as_str())
            .set_job_type(job_type.map(wire))
            .customize()
            .config_override(config);
        // Boxed, as the work of `call::within`. The SDK ends it in time itself, and so tells whether it was sent.
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
                    "the answer has no job id{}; {LOOK}",
                    request_id(output.request_id())
                ),
            )),
            Err(error) => meaning(&error, maybe_sent.get(), failure),
        }
    }
}

const LOOK: &str =
    "a job may run: look at the ID mapping table's jobs before you repeat the request";

/// The API model says a UUID; what a rule or a person can use is enough. The SDK makes an empty
/// string of an id that is not there.
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

/// What a failed call means: by the modelled exception where there is one, else by the status.
fn meaning(
    error: &SdkError<Refusal, HttpResponse>,
    maybe_sent: bool,
    failure: impl Fn(ErrorType, String) -> Error,
) -> Answer {
    let SdkError::ServiceError(answer) = error else {
        let cause = with_causes(error);
        return if maybe_sent {
            Answer::Unknown(failure(
                ErrorType::OutcomeUnknown,
                format!("{cause}; {LOOK}"),
            ))
        } else {
            Answer::Unavailable(failure(
                ErrorType::ServiceUnavailable,
                format!(
                    "{cause}; no job was started: check the function's network and credentials, and repeat the request"
                ),
            ))
        };
    };
    let refusal = answer.err();
    let status = answer.raw().status().as_u16();
    let said = said(refusal, answer.raw());
    let with = |error_type, remedy: &str| failure(error_type, format!("{said}; {remedy}"));
    let unknown = || Answer::Unknown(with(ErrorType::OutcomeUnknown, LOOK));
    match (refusal, status) {
        // Whatever a 5xx calls itself, and whoever ran out of time on the way.
        (_, ..=399 | 408 | 425 | 499 | 500..) => unknown(),
        _ if is_throttling(refusal, answer.raw()) => Answer::Unavailable(with(
            ErrorType::ServiceUnavailable,
            "no job was started: repeat the request later",
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
            scope: match refusal {
                Refusal::ServiceQuotaExceededException(_) => BusyScope::Account,
                _ if status == 402 => BusyScope::Account,
                _ => BusyScope::Table,
            },
            error: with(
                ErrorType::SlotBusy,
                "an account and Region run one ID mapping job at a time: repeat the request when it has ended",
            ),
        },
        (Refusal::ValidationException(refusal), _)
            if refusal.reason() == Some(&ValidationExceptionReason::IamSynchronizationDelay) =>
        {
            Answer::Unavailable(with(
                ErrorType::RequestRefused,
                "a role was changed a moment ago: repeat the request in some minutes",
            ))
        }
        _ => Answer::Refused(with(
            ErrorType::RequestRefused,
            "it will be refused again as it is: check that the table's Entity Resolution workflow takes this job type",
        )),
    }
}

/// A 429, or a throttling code that AWS services send with a 400.
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

/// The exception's name. The SDK does not find it where the body is no JSON.
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

/// What the service said: exception, status, message, and the particulars of its kind.
fn said(refusal: &Refusal, response: &HttpResponse) -> String {
    let status = response.status().as_u16();
    let code = code(refusal, response).unwrap_or("unknown error");
    let message = match (refusal.message(), response.body().bytes()) {
        (Some(message), _) => message.to_owned(),
        (None, Some(body)) if !body.is_empty() => String::from_utf8_lossy(body).into_owned(),
        _ => "no message".to_owned(),
    };
    let particulars = match refusal {
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
    let particulars = particulars.unwrap_or_default();
    let said = format!(
        "{} ({status}): {}{}",
        shortened(code),
        shortened(message.trim()),
        shortened(&particulars)
    );
    said.replace(['\n', '\r'], " ") + &request_id(refusal.request_id())
}

/// AWS Support asks for it.
fn request_id(id: Option<&str>) -> String {
    id.map(|id| format!(" [request id {}]", shortened(id)))
        .unwrap_or_default()
}

/// How to try again after an attempt that surely started no job: throttled, or its connection never
/// opened. None: it may have.
fn surely_not_started(
    error: &OrchestratorError<ErasedError>,
    response: Option<&HttpResponse>,
) -> Option<RetryAction> {
    if let Some(refusal) = error
        .as_operation_error()
        .and_then(|error| error.downcast_ref::<Refusal>())
    {
        return is_throttling(refusal, response?).then(RetryAction::throttling_error);
    }
    let connector_error: &(dyn StdError + 'static) = error.as_connector_error()?;
    std::iter::successors(Some(connector_error), |&error| error.source())
        .find_map(|error| error.downcast_ref::<hyper_util::client::legacy::Error>())
        .is_some_and(|error| error.is_connect())
        .then(RetryAction::transient_error)
}

/// Keeps the SDK's standard retry from everything else: it would repeat this call after a 500, a
/// time-out or a broken connection.
#[derive(Debug)]
struct OnlyWhatDidNotStart;

impl ClassifyRetry for OnlyWhatDidNotStart {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.output_or_error() {
            Some(Err(error)) => {
                surely_not_started(error, context.response()).unwrap_or(RetryAction::RetryForbidden)
            }
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "OnlyWhatDidNotStart"
    }
}

/// Whether a request may have reached the service without a word that it started nothing.
///
/// The operation's time-out may end an attempt that has its answer outstanding, one that still waits
/// for its connection, or a pause between two attempts. Only the first may have started a job.
#[derive(Clone, Debug, Default)]
struct MaybeSent(Arc<Mutex<Attempt>>);

/// The last attempt of a call.
#[derive(Clone, Debug, Default)]
enum Attempt {
    /// There was none, or the last one surely started nothing.
    #[default]
    None,
    /// It was handed to the HTTP client. What tells whether a connection was there; none: nothing
    /// tells.
    Handed(Option<CaptureSmithyConnection>),
}

impl MaybeSent {
    fn get(&self) -> bool {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Attempt::None => false,
            Attempt::Handed(None) => true,
            Attempt::Handed(Some(connection)) => connection.get().is_some(),
        }
    }

    fn set(&self, attempt: Attempt) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = attempt;
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
        // Put there by the SDK's own interceptor for connections that must not be used again.
        self.set(Attempt::Handed(
            config.load::<CaptureSmithyConnection>().cloned(),
        ));
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(Err(error)) = context.output_or_error()
            && surely_not_started(error, context.response()).is_some()
        {
            self.set(Attempt::None);
        }
        Ok(())
    }
}
