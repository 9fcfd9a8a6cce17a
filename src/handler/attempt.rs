//! Starts a job: claims the right to, calls, and records what the answer means. Nothing is published or enqueued
//! here.

use std::time::Instant;

use uuid::Uuid;

use super::deadline::MIN_REMAINING;
use super::decide::{Wait, not_called};
use super::reconcile::{failed_job, search};
use super::run::{Run, warn};
use crate::aws::clean_rooms::Answer;
use crate::aws::entity_resolution::Found;
use crate::aws::ledger_table::Item;
use crate::choice::Choice;
use crate::error::{Error, ErrorType};
use crate::job::{Call, Job, JobId, StartedJob};
use crate::ledger::Record;
use crate::metrics::Metric;
use crate::request::Request;

/// What an attempt to start a job came to.
pub(super) enum Attempt {
    /// A job was started, and is in the ledger.
    Started(Box<StartedJob>),
    /// A job was started, and could not be recorded. The claim stays.
    StartedUnrecorded(Box<StartedJob>),
    /// The request will be refused again.
    Refused(Error),
    /// The request waits.
    Wait(Wait),
    /// Another invocation changed the ledger's record first. Nothing was called.
    LostClaim,
}

/// Claims the right to start a job, and calls. Returns an error if the ledger is unavailable. Then nothing was called.
pub(super) async fn start(
    run: &mut Run<'_>,
    item: &mut Item,
    request: &Request,
    choice: &Choice,
) -> Result<Attempt, Error> {
    if run.deadline.call_timeout().is_none() {
        return Ok(Attempt::Wait(out_of_time(run, request)));
    }
    let call = Call {
        attempt: Uuid::new_v4(),
        called_at: run.deadline.now(),
        request: request.clone(),
        choice: choice.clone(),
    };
    let services = run.services;
    let (until, timeout) = (run.deadline.ends_at(), run.deadline.io_timeout());
    if !services.ledger.claim(item, &call, until, timeout).await? {
        return Ok(Attempt::LostClaim);
    }
    let Some(timeout) = run.deadline.call_timeout() else {
        release(run, item, &call).await;
        return Ok(Attempt::Wait(out_of_time(run, request)));
    };
    let called = Instant::now();
    let answer = services
        .clean_rooms
        .populate(&request.target, choice.job_type, timeout)
        .await;
    run.metrics
        .record_duration(Metric::PopulateLatency, called.elapsed());
    learn(run, request, &answer);
    let attempt = match answer {
        Answer::Started(id) => {
            let id = JobId::IdMappingJobId(id.into());
            return Ok(record_start(run, item, &call, id).await);
        }
        Answer::Unknown(error) => {
            return Ok(Box::pin(reconcile_lost_answer(run, item, &call, error)).await);
        }
        Answer::Refused(error) => Attempt::Refused(error),
        Answer::Busy { error, .. } => Attempt::Wait(Wait::for_slot(error)),
        Answer::Unavailable(error) => Attempt::Wait(Wait::until_retry(error)),
    };
    release(run, item, &call).await;
    Ok(attempt)
}

/// What the answer tells about the slot and the service, for the requests that follow.
fn learn(run: &mut Run<'_>, request: &Request, answer: &Answer) {
    let learned = &mut run.learned;
    learned.unavailable_calls = match answer {
        Answer::Unavailable(_) => learned.unavailable_calls + 1,
        _ => 0,
    };
    match answer {
        Answer::Busy { scope, error } => {
            learned.slot.refuse(&request.target, *scope, &error.message);
        }
        Answer::Started(_) => {
            // A table that was refused a moment ago was refused because of its own state.
            let alone = learned.slot.refused_alone();
            if let Some(table) = alone.filter(|table| **table != request.target) {
                learned.refused_alone = Some(table.clone());
            }
        }
        Answer::Unknown(_) => run.metrics.count(Metric::OutcomesUnknown),
        Answer::Refused(_) | Answer::Unavailable(_) => {}
    }
}

/// Looks for the job of a call whose answer was lost just now, and records what is found.
async fn reconcile_lost_answer(
    run: &mut Run<'_>,
    item: &mut Item,
    call: &Call,
    error: Error,
) -> Attempt {
    let detail = match search(run, item, call).await {
        Ok(Found::Started(id)) => return record_start(run, item, call, id).await,
        Ok(Found::Failed(id)) => {
            let detail = failed_job(call, &id);
            tracing::warn!("{detail}");
            release(run, item, call).await;
            detail
        }
        Err(not_found) => {
            let detail = not_found.to_string();
            run.learned.note_not_found(call, true, not_found);
            end_claim(run, item, call, |record| record.outcome_unknown(call)).await;
            detail
        }
    };
    let message = format!("{}; {detail}", error.message);
    Attempt::Wait(Wait::until_retry(Error::new(error.error_type, message)))
}

/// Records a job that was started. If that fails, the claim stays.
async fn record_start(run: &mut Run<'_>, item: &mut Item, call: &Call, id: JobId) -> Attempt {
    let job = Job {
        id,
        job_type: call.choice.job_type,
        started_at: call.called_at,
        answered_at: run.deadline.now(),
    };
    let started = Box::new(StartedJob::new(call, job));
    run.note_started(&started);
    let (until, now) = (run.report_until(), run.deadline.now());
    let timeout = run.deadline.final_timeout();
    let transition = |record: &Record| record.job_started(call, &started.job, until, now);
    let recorded = run.services.ledger.update(item, timeout, transition).await;
    let Err(error) = recorded else {
        return Attempt::Started(started);
    };
    tracing::error!(
        errorType = error.error_type.as_str(),
        idMappingJobId = started.job.id.as_str(),
        "a job of {} started and is not in the ledger: {}",
        call.request.target,
        error.message
    );
    Attempt::StartedUnrecorded(started)
}

/// Releases the claim.
async fn release(run: &Run<'_>, item: &mut Item, call: &Call) {
    end_claim(run, item, call, |record| {
        record.claim_released(call.attempt)
    })
    .await;
}

/// Applies a transition that ends the claim. If this fails, the claim stays, and is reconciled after it has expired.
async fn end_claim(
    run: &Run<'_>,
    item: &mut Item,
    call: &Call,
    transition: impl Fn(&Record) -> Record,
) {
    let timeout = run.deadline.io_timeout();
    let ended = run.services.ledger.update(item, timeout, transition).await;
    if let Err(error) = ended {
        warn(&call.request.target, "the claim stays", &error);
    }
}

/// Too little time remains for this request.
pub(super) fn out_of_time(run: &Run<'_>, request: &Request) -> Wait {
    let why = format!(
        "{} ms remained for it until the function's timeout and {} ms are needed; raise the timeout or name fewer \
         targets",
        run.deadline.remaining().as_millis(),
        MIN_REMAINING.as_millis()
    );
    Wait::until_retry(not_called(ErrorType::OutOfTime, request, &why))
}
