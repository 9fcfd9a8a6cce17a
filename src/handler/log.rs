//! The log line of a request.

use super::work::Done;
use crate::error::ErrorType;
use crate::job_type::JobType;
use crate::ledger::JobId;
use crate::output::OutcomeKind;

/// One line for each request: what became of it, or why it failed.
pub(super) fn log(done: &Done) {
    let Done {
        request,
        choice,
        outcome,
        failure,
        stays,
    } = done;
    let choice = choice.as_ref();
    let kind = outcome.as_ref().map(|outcome| outcome.outcome);
    let error = failure
        .as_ref()
        .or(stays.as_ref())
        .or(outcome.as_ref().and_then(|outcome| outcome.error.as_ref()));
    let job = outcome.as_ref().and_then(|outcome| outcome.job.as_ref());
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
    match (error, kind) {
        // A job may run, and a permission may be missing to know it.
        (Some(error), Some(OutcomeKind::Waiting))
            if error.error_type == ErrorType::OutcomeUnknown =>
        {
            line!(warn, "waits: {}", error.message);
        }
        (Some(error), Some(OutcomeKind::Waiting)) => line!(info, "waits: {}", error.message),
        (Some(error), _) if failure.is_none() && stays.is_some() => {
            line!(info, "still waits: {}", error.message);
        }
        (Some(error), _) => line!(error, "{}", error.message),
        (None, Some(OutcomeKind::Planned)) => line!(info, "dry run"),
        (None, Some(OutcomeKind::Covered)) => line!(info, "covered by a job"),
        (None, _) => line!(info, "job started"),
    }
}
