//! The log line of a request.

use super::processed::{Disposition, Processed};
use crate::error::ErrorType;
use crate::job::JobId;
use crate::job_type::JobType;
use crate::outcome::OutcomeKind;

/// Writes one line: what became of the request, or why it failed.
pub(super) fn log_request(processed: &Processed) {
    let Processed {
        request,
        choice,
        disposition,
    } = processed;
    let choice = choice.as_ref();
    let outcome = disposition.outcome();
    let kind = outcome.map(|outcome| outcome.outcome);
    let error = disposition.error();
    let job = outcome.and_then(|outcome| outcome.job.as_ref());
    macro_rules! line {
        ($level:ident, $($message:tt)*) => {
            tracing::$level!(
                membershipIdentifier = request.target.membership.as_str(),
                idMappingTableIdentifier = request.target.table.as_str(),
                idMappingJobId = job.map(JobId::as_str),
                jobType = choice.and_then(|choice| choice.job_type).map(JobType::as_str),
                rule = choice.map(|choice| choice.decision.rule.as_str()),
                outcome = kind.map(OutcomeKind::as_str),
                errorType = error.map(|error| error.error_type.as_str()),
                $($message)*
            )
        };
    }
    match (error, kind, disposition) {
        // A job may run, and the permission to find out may be missing.
        (Some(error), Some(OutcomeKind::Waiting), _)
            if error.error_type == ErrorType::OutcomeUnknown =>
        {
            line!(warn, "waits: {}", error.message);
        }
        (Some(error), Some(OutcomeKind::Waiting), _) => line!(info, "waits: {}", error.message),
        (Some(error), _, Disposition::Requeued(_)) => line!(info, "still waits: {}", error.message),
        (Some(error), _, _) => line!(error, "{}", error.message),
        (None, Some(OutcomeKind::Planned), _) => line!(info, "dry run"),
        (None, Some(OutcomeKind::Covered), _) => line!(info, "covered by a job"),
        (None, None, Disposition::Dropped) => {
            line!(info, "not tried again: that was done since its job failed");
        }
        (None, _, _) => line!(info, "job started"),
    }
}
