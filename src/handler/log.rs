//! The log line of a request, and of a job that ended.

use super::watch::Seen;
use super::work::Done;
use crate::error::{Error, ErrorType};
use crate::job::{JobId, Started};
use crate::job_type::JobType;
use crate::outcome::OutcomeKind;

/// One line for each request: what became of it, or why it failed.
pub(super) fn log(done: &Done) {
    let Done {
        request,
        choice,
        outcome,
        failure,
        stays,
        ..
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

/// One line for each job that ended, or why its end is not known to all.
pub(super) fn log_seen(started: &Started, seen: &Seen) {
    let Started { request, job, .. } = started;
    macro_rules! line {
        ($level:ident, $error:expr, $outcome:expr, $($message:tt)*) => {
            tracing::$level!(
                membershipIdentifier = request.target.membership.as_str(),
                idMappingTableIdentifier = request.target.table.as_str(),
                idMappingJobId = job.id.as_str(),
                jobType = job.job_type.map(JobType::as_str),
                outcome = $outcome,
                errorType = $error.map(|error: &Error| error.error_type.as_str()),
                $($message)*
            )
        };
    }
    match seen {
        Seen::Ended(outcome, None) => {
            let kind = outcome.outcome.as_str();
            match &outcome.error {
                Some(error) => line!(error, Some(error), kind, "{}", error.message),
                None => line!(info, None, kind, "job succeeded"),
            }
        }
        Seen::Ended(outcome, Some(error)) => {
            line!(
                error,
                Some(error),
                outcome.outcome.as_str(),
                "{}",
                error.message
            );
        }
        Seen::Follow(Some(error)) => line!(error, Some(error), None::<&str>, "{}", error.message),
        Seen::Follow(None) | Seen::Done => {}
    }
}
