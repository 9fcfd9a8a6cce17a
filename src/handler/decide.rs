//! What to do next for a request: a pure function of the ledger's record, the request, and what the invocation
//! has learned.

use time::OffsetDateTime;

use super::context::{Learned, SlotWaiters};
use crate::aws::entity_resolution::NotFound;
use crate::clock::timestamp;
use crate::error::{Error, ErrorType};
use crate::job::{Call, JobId, StartedJob};
use crate::ledger::{Record, UnknownCall, Verdict, is_own_job};
use crate::period::Period;
use crate::request::Request;

/// After so many calls in a row that found the service unavailable, the other requests of an invocation wait
/// without a call.
const MAX_UNAVAILABLE_CALLS: u32 = 2;

/// The next step for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Report the start of a job that was not reported yet.
    ReportStart(Box<StartedJob>),
    /// Nothing: this job covers the request.
    Covered(JobId),
    /// Nothing: the message with which the request is tried again is superfluous.
    Superseded,
    /// The request waits.
    Wait(Wait),
    /// Look for the job of a call whose outcome is unknown.
    Reconcile(Box<UnknownCall>),
    /// Read which requests wait for the slot.
    ReadWaiters,
    /// Start a job.
    Start(Vec<GivenUp>),
}

/// A call whose job was not found, and is not expected any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GivenUp {
    pub(super) call: Call,
    pub(super) not_found: NotFound,
}

/// Why a request waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) error: Error,
    /// When it ends at the earliest, if that is known.
    pub(super) not_before: Option<OffsetDateTime>,
    pub(super) wait_for: WaitFor,
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitFor {
    /// The account's job slot, now or when `MIN_INTERVAL` is over: the requests that wait for it are served in their
    /// order.
    Slot,
    /// Something else.
    Other,
}

impl Wait {
    /// A wait until the next try.
    pub(super) fn until_retry(error: Error) -> Self {
        Self {
            error,
            not_before: None,
            wait_for: WaitFor::Other,
        }
    }

    /// A wait for the account's job slot.
    pub(super) fn for_slot(error: Error) -> Self {
        Self {
            wait_for: WaitFor::Slot,
            ..Self::until_retry(error)
        }
    }

    /// A wait until a time.
    fn until(not_before: OffsetDateTime, error: Error) -> Self {
        Self {
            not_before: Some(not_before),
            ..Self::until_retry(error)
        }
    }
}

/// What a decision depends on, beside the ledger's record and the request.
pub(super) struct Context<'a> {
    /// How long the request settles before its first try, if it does.
    pub(super) settle_time: Option<&'a Period>,
    /// `MIN_INTERVAL`.
    pub(super) min_interval: Option<&'a Period>,
    /// Whether starts are announced, or jobs tracked.
    pub(super) reports_starts: bool,
    pub(super) learned: &'a Learned,
}

/// The next step for a request.
pub(super) fn next_step(
    record: &Record,
    request: &Request,
    context: &Context<'_>,
    now: OffsetDateTime,
) -> Step {
    if let Some(started) = unreported(record, request, context, now) {
        return Step::ReportStart(Box::new(started));
    }
    let verdict = record.verdict(request, now);
    if let Verdict::Known(job) | Verdict::Covered(job) = verdict {
        return Step::Covered(job);
    }
    if record.is_superseded(request) {
        return Step::Superseded;
    }
    let too_soon = too_soon(record, request, context, now);
    if let Some(settle_time) = context.settle_time {
        let settling = settling(request, settle_time, now);
        let longer = too_soon.filter(|too_soon| too_soon.not_before > settling.not_before);
        return Step::Wait(longer.unwrap_or(settling));
    }
    let call_if_free = |given_up| match too_soon {
        Some(wait) => Step::Wait(wait),
        None => call_if_free(request, context.learned, now, given_up),
    };
    match verdict {
        Verdict::Claimed(until) => {
            let until = timestamp(until);
            let why = format!(
                "another invocation is starting a job for this table, until {until} at the latest"
            );
            Step::Wait(Wait::until_retry(not_called(
                ErrorType::SlotBusy,
                request,
                &why,
            )))
        }
        Verdict::Unknown(calls) => match next_unknown(calls, context.learned, now) {
            Ok(given_up) => call_if_free(given_up),
            Err(step) => step,
        },
        _ => call_if_free(Vec::new()),
    }
}

/// A start that this request reports: its own, one that this invocation found, or one whose invocation had to
/// report it and did not.
fn unreported(
    record: &Record,
    request: &Request,
    context: &Context<'_>,
    now: OffsetDateTime,
) -> Option<StartedJob> {
    if !context.reports_starts {
        return None;
    }
    let learned = context.learned;
    let all = record.unreported(request, now, |id| learned.has_started(id));
    all.into_iter()
        .find(|started| is_own_job(started, request) || !learned.reported.contains(&started.job.id))
}

/// The step that calls whose outcome is unknown require. Returns the calls if all of them are given up.
fn next_unknown(
    calls: Vec<UnknownCall>,
    learned: &Learned,
    now: OffsetDateTime,
) -> Result<Vec<GivenUp>, Step> {
    let mut open = None;
    let mut given_up = Vec::new();
    for unknown in calls {
        let Some(lookup) = learned.lookup_of(&unknown.call) else {
            return Err(Step::Reconcile(Box::new(unknown)));
        };
        let call = unknown.call;
        let not_found = lookup.not_found.clone();
        if lookup.is_first || !not_found.is_given_up(now - call.called_at) {
            open = open.or(Some(outcome_unknown(&call, &not_found)));
        } else {
            given_up.push(GivenUp { call, not_found });
        }
    }
    match open {
        Some(wait) => Err(Step::Wait(wait)),
        None => Ok(given_up),
    }
}

/// Starts a job, unless the slot is known to be busy, the service is unavailable, or another request is ahead.
fn call_if_free(
    request: &Request,
    learned: &Learned,
    now: OffsetDateTime,
    given_up: Vec<GivenUp>,
) -> Step {
    let for_slot = |why: &str| {
        Step::Wait(Wait::for_slot(not_called(
            ErrorType::SlotBusy,
            request,
            why,
        )))
    };
    if let Some(answer) = learned.slot.busy_for(&request.target) {
        return for_slot(&format!(
            "the slot was busy earlier in this invocation: {answer}"
        ));
    }
    if learned.unavailable_calls >= MAX_UNAVAILABLE_CALLS {
        let why = format!(
            "the service was unavailable for the {MAX_UNAVAILABLE_CALLS} calls before it; no job was started, and the \
             request is tried again later"
        );
        let error = not_called(ErrorType::ServiceUnavailable, request, &why);
        return Step::Wait(Wait::until_retry(error));
    }
    if learned.probed.as_ref() != Some(&request.target) {
        match &learned.waiters {
            SlotWaiters::NotRead => return Step::ReadWaiters,
            SlotWaiters::Unknown => {}
            SlotWaiters::Read { current, .. } => {
                let was_refused = |table: &_| learned.slot.has_refused(table);
                if let Some(ahead) = current.ahead_of(request, now, was_refused) {
                    let table = ahead.target();
                    return for_slot(&match ahead.is_urgent() {
                        true => format!(
                            "an urgent request for {table} waits for the account's job slot"
                        ),
                        false => {
                            format!(
                                "a request for {table} has waited longer for the account's job slot"
                            )
                        }
                    });
                }
            }
        }
    }
    Step::Start(given_up)
}

/// The wait for `MIN_INTERVAL`. Returns `None` if it is over.
fn too_soon(
    record: &Record,
    request: &Request,
    context: &Context<'_>,
    now: OffsetDateTime,
) -> Option<Wait> {
    let min_interval = context.min_interval.filter(|_| !request.urgent)?;
    let not_before = record.not_before(request.requested_type, min_interval.duration, now)?;
    let why = format!(
        "MIN_INTERVAL ({min_interval}) since the start of the table's previous job is over at {}; the request shares \
         the next job with all that come until then",
        timestamp(not_before)
    );
    Some(Wait {
        wait_for: WaitFor::Slot,
        ..Wait::until(not_before, not_called(ErrorType::TooSoon, request, &why))
    })
}

fn settling(request: &Request, settle_time: &Period, now: OffsetDateTime) -> Wait {
    let message = format!(
        "PopulateIdMappingTable of {} is first called after SETTLE_TIME ({settle_time}), so that a burst of changes \
         becomes one job",
        request.target
    );
    let error = Error::new(ErrorType::Settling, message);
    Wait::until(now + settle_time.duration, error)
}

fn outcome_unknown(call: &Call, not_found: &NotFound) -> Wait {
    let message = format!(
        "PopulateIdMappingTable of {} was called at {} and its outcome is unknown: a job may run; {not_found}",
        call.request.target,
        timestamp(call.called_at)
    );
    Wait::until_retry(Error::new(ErrorType::OutcomeUnknown, message))
}

/// Why a request is not called for.
pub(super) fn not_called(error_type: ErrorType, request: &Request, why: &str) -> Error {
    let message = format!(
        "PopulateIdMappingTable of {} was not called: {why}",
        request.target
    );
    Error::new(error_type, message)
}

#[cfg(test)]
mod tests;
