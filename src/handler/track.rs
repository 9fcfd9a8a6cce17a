//! Follows a job to its end, which is looked at at each try of its message in the waiting queue, announced once, and
//! recorded.

use std::collections::HashMap;
use std::time::Duration;

use super::publish;
use super::reconcile::known_of_others;
use super::run::{MAX_TIME_IN_QUEUE, Run, warn};
use crate::aws::entity_resolution::NotFound;
use crate::aws::ledger_table::Item;
use crate::clock::timestamp;
use crate::error::Error;
use crate::job::{EndedJob, JobEnd, StartedJob, TrackedJob};
use crate::job_type::JobType;
use crate::ledger::{Record, Reported};
use crate::metrics::Metric;
use crate::outcome::{Attempt, Outcome};

/// What was seen of a job.
enum Tracked {
    /// It has ended, and that is announced; or why it could not be.
    Ended(Box<Outcome>, Result<(), Error>),
    /// It is not tracked any more: its end is announced already, or cannot be seen.
    Done,
    /// It is looked at again at the next try. `None` if its start is not recorded.
    Continue(Option<Box<StartedJob>>),
    /// It is looked at again at the next try, because this one failed.
    Failed(Error),
}

/// Looks at the jobs of a batch. Returns for each whether its message stays in the queue.
pub(super) async fn all(run: &Run<'_>, jobs: &[TrackedJob]) -> Vec<bool> {
    // Requests that wait for the slot are not held up by slow reads.
    let until = run.deadline.now() + run.deadline.remaining() / 3;
    // A job may be in the queue twice.
    let mut seen: HashMap<&TrackedJob, bool> = HashMap::new();
    for job in jobs {
        if seen.contains_key(job) {
            continue;
        }
        let remaining = Duration::try_from(until - run.deadline.now()).unwrap_or_default();
        let tracked = if remaining.is_zero() {
            Tracked::Continue(None)
        } else {
            look(run, job, remaining.min(run.deadline.io_timeout())).await
        };
        let keeps = !matches!(tracked, Tracked::Done | Tracked::Ended(_, Ok(())));
        seen.insert(job, keeps);
    }
    let keeps = |job: &TrackedJob| seen.get(job).copied().unwrap_or(true);
    jobs.iter().map(keeps).collect()
}

/// Looks at one job, and enqueues it again if it has not ended. Returns what is announced.
pub(super) async fn one(run: &Run<'_>, job: &TrackedJob) -> Result<Vec<Outcome>, Error> {
    match look(run, job, run.deadline.io_timeout()).await {
        Tracked::Ended(outcome, Ok(())) => Ok(vec![*outcome]),
        Tracked::Continue(Some(started)) => {
            publish::enqueue_tracking(run, &started).await?;
            Ok(Vec::new())
        }
        Tracked::Done | Tracked::Continue(None) => Ok(Vec::new()),
        Tracked::Ended(_, Err(error)) | Tracked::Failed(error) => Err(error),
    }
}

/// Looks at a job. Anybody may send a message that tracks one, so all but its ids comes from the ledger.
async fn look(run: &Run<'_>, job: &TrackedJob, timeout: Duration) -> Tracked {
    let mut item = match run.read_item(&job.target).await {
        Ok(item) => item,
        Err(error) => {
            log_failure(job, &error);
            return Tracked::Failed(error);
        }
    };
    // Its message may be delivered twice.
    let TrackedJob { target, job } = job;
    if item.record.is_ended(job.id.as_str()) {
        return Tracked::Done;
    }
    let Some(started) = item.record.tracked(job) else {
        tracing::warn!(
            "a message asks to track a job of {} that the ledger does not know: the message is dropped",
            target
        );
        return Tracked::Done;
    };
    let tracked = look_at(run, &mut item, &started, timeout).await;
    run.record_age(target, &item.record);
    log_tracked(&started, &tracked);
    tracked
}

async fn look_at(
    run: &Run<'_>,
    item: &mut Item,
    started: &StartedJob,
    timeout: Duration,
) -> Tracked {
    let StartedJob { request, job, .. } = started;
    if let Err(error) = record_start_first(run, item, started).await {
        return Tracked::Failed(error);
    }
    let others = async || known_of_others(run, &request.target).await;
    let (workflows, now) = (&run.services.workflows, run.deadline.now());
    let end = workflows.end_of(&request.target, job, &item.record, others, now, timeout);
    let ended = match end.await {
        Ok(Some(ended)) => ended,
        Ok(None) if age(run, started) <= MAX_TIME_IN_QUEUE => {
            return Tracked::Continue(Some(Box::new(started.clone())));
        }
        Ok(None) => return not_tracked(started, "it still runs"),
        Err(not_found) => return unseen(run, started, &not_found),
    };
    // It may be known under its other id.
    if item.record.is_ended(&ended.entity_resolution_job_id) {
        return Tracked::Done;
    }
    if let Err(error) = announce_start_first(run, item, started).await {
        return Tracked::Failed(error);
    }
    report_end(run, item, started, ended).await
}

/// Records a job's start, if the invocation that started it could not: its message names the call.
async fn record_start_first(
    run: &Run<'_>,
    item: &mut Item,
    started: &StartedJob,
) -> Result<(), Error> {
    let Some(call) = item.record.open_call(started.attempt).cloned() else {
        return Ok(());
    };
    let (report_until, now) = (run.report_until(), run.deadline.now());
    let transition = |record: &Record| {
        let record = record.job_found(&call, &started.job, report_until, now);
        record.tracking_queued(started)
    };
    let timeout = run.deadline.io_timeout();
    run.services.ledger.update(item, timeout, transition).await
}

fn age(run: &Run<'_>, started: &StartedJob) -> time::Duration {
    run.deadline.now() - started.job.started_at
}

/// A job whose end could not be seen. It is looked at again, unless that is in vain.
fn unseen(run: &Run<'_>, started: &StartedJob, not_found: &NotFound) -> Tracked {
    let longest = match not_found.is_lasting() {
        true => time::Duration::try_from(run.settings.max_wait.duration),
        // A read that fails this time tells nothing.
        false => Ok(MAX_TIME_IN_QUEUE),
    };
    if longest.is_ok_and(|longest| age(run, started) > longest) {
        return not_tracked(started, &not_found.to_string());
    }
    if not_found.is_final() {
        let target = &started.request.target;
        tracing::warn!("job {} of {target}: {not_found}", started.job.id.as_str());
    }
    Tracked::Continue(Some(Box::new(started.clone())))
}

/// Announces a job's start, if that was not done: others learn of the start before the end.
async fn announce_start_first(
    run: &Run<'_>,
    item: &mut Item,
    started: &StartedJob,
) -> Result<(), Error> {
    if !item.record.is_unannounced(&started.job.id) {
        return Ok(());
    }
    publish::announce_start(run, started).await?;
    let reported = Reported {
        announced: true,
        tracked: true,
    };
    publish::mark_reported(run, item, started, reported).await;
    Ok(())
}

/// Announces a job's end, and records it.
async fn report_end(
    run: &Run<'_>,
    item: &mut Item,
    started: &StartedJob,
    ended: EndedJob,
) -> Tracked {
    let StartedJob { request, job, .. } = started;
    let ledger = &run.services.ledger;
    let (end, now) = (ended.end(), run.deadline.now());
    let id = ended.entity_resolution_job_id.clone();
    let ran = ended.ended_at.map(|ended_at| ended_at - ended.started_at);
    let attempt = match end {
        JobEnd::Succeeded => None,
        JobEnd::Failed => match record_failure(run, item, started, &id).await {
            Ok(attempt) => Some(attempt),
            Err(error) => return Tracked::Failed(error),
        },
    };
    let outcome = Box::new(Outcome::ended(started, ended, attempt, now));
    if let Err(unpublished) = publish::publish(run, &outcome, request).await {
        return Tracked::Ended(outcome, Err(unpublished));
    }
    if let Some(ran) = ran.and_then(|ran| Duration::try_from(ran).ok()) {
        run.metrics.record_duration(Metric::JobDuration, ran);
    }
    if let Some(attempt) = attempt {
        run.metrics.count(Metric::JobsFailed);
        if attempt.will_retry {
            run.metrics.count(Metric::JobsRetried);
        }
    }
    let transition = |record: &Record| record.job_ended(job, &id, end, now);
    let timeout = run.deadline.final_timeout();
    let recorded = ledger.update(item, timeout, transition).await;
    if let Err(error) = &recorded {
        warn(&request.target, "its end will be announced again", error);
    }
    Tracked::Ended(outcome, recorded)
}

/// Records that a job failed, and enqueues its request again, unless it has had its last job.
async fn record_failure(
    run: &Run<'_>,
    item: &mut Item,
    started: &StartedJob,
    id: &str,
) -> Result<Attempt, Error> {
    let StartedJob { request, job, .. } = started;
    let (ledger, max_attempts) = (&run.services.ledger, run.settings.max_job_attempts);
    let now = run.deadline.now();
    // Before others learn of it: no request is covered by a job whose failure is announced. The job stays tracked until
    // then.
    let transition = |record: &Record| {
        let record = record.tracking_queued(started).job_failed(job, id, now);
        record.attempt_failed(request, job, id, max_attempts)
    };
    let timeout = run.deadline.io_timeout();
    ledger.update(item, timeout, transition).await?;
    let failed = item.record.failed_attempt(request, id);
    let will_retry = failed.is_some_and(|failed| failed.will_retry);
    if will_retry && failed.is_some_and(|failed| !failed.is_queued) {
        publish::enqueue_retry(run, request, id).await?;
        let timeout = run.deadline.io_timeout();
        let recorded = ledger.update(item, timeout, |record| record.retry_queued(request));
        if let Err(error) = recorded.await {
            warn(&request.target, "its request may be enqueued again", &error);
        }
    }
    Ok(Attempt {
        attempt: failed.map_or(max_attempts, |failed| failed.number),
        max_attempts,
        will_retry,
    })
}

fn not_tracked(started: &StartedJob, why: &str) -> Tracked {
    tracing::warn!(
        idMappingJobId = started.job.id.as_str(),
        "the end of job {} of {}, which started at {}, is not announced: {why}",
        started.job.id.as_str(),
        started.request.target,
        timestamp(started.job.started_at)
    );
    Tracked::Done
}

/// Writes one line for a job whose record could not be read.
fn log_failure(job: &TrackedJob, error: &Error) {
    tracing::error!(
        membershipIdentifier = job.target.membership.as_str(),
        idMappingTableIdentifier = job.target.table.as_str(),
        errorType = error.error_type.as_str(),
        "{}",
        error.message
    );
}

/// Writes one line for a job that has ended, or whose look failed.
fn log_tracked(started: &StartedJob, tracked: &Tracked) {
    let StartedJob { request, job, .. } = started;
    let (outcome, error) = match tracked {
        Tracked::Ended(outcome, Ok(())) => (Some(outcome), outcome.error.as_ref()),
        Tracked::Ended(outcome, Err(error)) => (Some(outcome), Some(error)),
        Tracked::Failed(error) => (None, Some(error)),
        Tracked::Continue(_) | Tracked::Done => return,
    };
    macro_rules! line {
        ($level:ident, $($message:tt)*) => {
            tracing::$level!(
                membershipIdentifier = request.target.membership.as_str(),
                idMappingTableIdentifier = request.target.table.as_str(),
                idMappingJobId = job.id.as_str(),
                jobType = job.job_type.map(JobType::as_str),
                outcome = outcome.map(|outcome| outcome.outcome.as_str()),
                errorType = error.map(|error| error.error_type.as_str()),
                $($message)*
            )
        };
    }
    match error {
        Some(error) => line!(error, "{}", error.message),
        None => line!(info, "job succeeded"),
    }
}
