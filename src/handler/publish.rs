//! What is published: outcomes, and the starts of jobs. A start is also enqueued to be tracked, and the ledger remembers
//! what of it is reported.

use std::time::Duration;

use super::run::{Run, warn};
use crate::aws::ledger_table::Item;
use crate::aws::queue::Queue;
use crate::error::{Error, ErrorType};
use crate::job::StartedJob;
use crate::ledger::{Record, Reported};
use crate::metrics::Metric;
use crate::outcome::Outcome;
use crate::request::Request;

/// Reports a job's start: enqueues the message that tracks it, announces it, and records both. What is done already
/// is not repeated. Returns an error if the rest has to be done again.
pub(super) async fn start(
    run: &mut Run<'_>,
    item: &mut Item,
    started: &StartedJob,
) -> Result<(), Error> {
    run.learned.reported.push(started.job.id.clone());
    let done = item.record.reported(&started.job.id);
    let report = report_start(run, started, done).await;
    mark_reported(run, item, started, report.reported()).await;
    report.into_result()
}

/// Reports the start of a job that could not be recorded.
pub(super) async fn unrecorded_start(run: &mut Run<'_>, started: &StartedJob) -> Result<(), Error> {
    run.learned.reported.push(started.job.id.clone());
    let report = report_start(run, started, Reported::default()).await;
    report.into_result()
}

/// What of a start is reported now, or why it could not be.
struct StartReport {
    tracked: Result<(), Error>,
    announced: Result<(), Error>,
}

impl StartReport {
    fn reported(&self) -> Reported {
        Reported {
            announced: self.announced.is_ok(),
            tracked: self.tracked.is_ok(),
        }
    }

    fn into_result(self) -> Result<(), Error> {
        match (self.tracked, self.announced) {
            (Err(untracked), Err(unpublished)) => Err(unpublished.and(&untracked)),
            (tracked, announced) => tracked.and(announced),
        }
    }
}

async fn report_start(run: &Run<'_>, started: &StartedJob, done: Reported) -> StartReport {
    let tracked = match run.settings.track_completion && !done.tracked {
        true => enqueue_tracking(run, started).await,
        false => Ok(()),
    };
    let announced = match done.announced {
        true => Ok(()),
        false => announce_start(run, started).await,
    };
    StartReport { tracked, announced }
}

/// Announces a job's start.
pub(super) async fn announce_start(run: &Run<'_>, started: &StartedJob) -> Result<(), Error> {
    let StartedJob {
        request,
        choice,
        job,
        ..
    } = started;
    publish(run, &Outcome::started(request, choice, job), request).await
}

/// Enqueues a message that tracks a job.
pub(super) async fn enqueue_tracking(run: &Run<'_>, started: &StartedJob) -> Result<(), Error> {
    let (queue, now) = (waiting_queue(run)?, run.deadline.now());
    queue
        .enqueue_tracking(started, now, run.send_options())
        .await
}

/// Enqueues a request again whose job failed.
pub(super) async fn enqueue_retry(
    run: &Run<'_>,
    request: &Request,
    failed_job: &str,
) -> Result<(), Error> {
    let request = Request {
        retry_of: Some(failed_job.to_owned()),
        ..request.clone()
    };
    let (queue, since) = (waiting_queue(run)?, Some(run.deadline.now()));
    let options = run.send_options();
    queue
        .enqueue_request(&request, since, Duration::ZERO, options)
        .await
}

/// The waiting queue, which the tracking of jobs needs.
fn waiting_queue<'a>(run: &Run<'a>) -> Result<&'a Queue, Error> {
    run.services.waiting_queue.as_ref().ok_or_else(|| {
        Error::new(
            ErrorType::InvalidConfiguration,
            "environment variable WAITING_QUEUE_URL is not set: jobs are tracked in the waiting queue",
        )
    })
}

/// Records what is reported of a start. If this fails, it is reported again, with the same event id.
pub(super) async fn mark_reported(
    run: &Run<'_>,
    item: &mut Item,
    started: &StartedJob,
    reported: Reported,
) {
    if !run.reports_starts() {
        return;
    }
    let id = &started.job.id;
    let transition = |record: &Record| {
        let mut record = record.clone();
        if reported.announced {
            record = record.start_announced(id);
        }
        if reported.tracked {
            record = match run.settings.track_completion {
                true => record.tracking_queued(started),
                false => record.tracking_not_needed(id),
            };
        }
        record
    };
    let timeout = run.deadline.final_timeout();
    let recorded = run.services.ledger.update(item, timeout, transition).await;
    if let Err(error) = recorded {
        let target = &started.request.target;
        warn(target, "its start will be reported again", &error);
    }
}

/// Publishes an outcome, if there is an event bus.
pub(super) async fn publish(
    run: &Run<'_>,
    outcome: &Outcome,
    request: &Request,
) -> Result<(), Error> {
    let Some(bus) = &run.services.event_bus else {
        return Ok(());
    };
    let (now, options) = (run.deadline.now(), run.send_options());
    let published = bus.publish(outcome, &request.target, run.location, now, options);
    published
        .await
        .inspect_err(|_| run.metrics.count(Metric::PublishFailures))
}
