//! What others learn of a request: its outcome, its messages in the waiting queue and the dead-letter queue, its log
//! line, and its metrics.

use std::time::Duration;

use super::decide::{Wait, WaitFor};
use super::log::log_request;
use super::processed::{Disposition, Processed, Resolution};
use super::publish::publish;
use super::run::{MAX_TIME_IN_QUEUE, Run, Source, warn};
use crate::aws::queue::Queue;
use crate::choice::Choice;
use crate::clock::timestamp;
use crate::error::{Error, ErrorType};
use crate::job::StartedJob;
use crate::metrics::Metric;
use crate::outcome::{Outcome, OutcomeKind};
use crate::request::Request;

/// Reports what a request came to, except where that is decided for all requests of its message together.
pub(super) async fn request(
    run: &mut Run<'_>,
    mut request: Request,
    choice: Option<Choice>,
    resolution: Result<Resolution, Error>,
) -> Processed {
    let chosen = choice.as_ref();
    let disposition = match resolution {
        Ok(Resolution::Started(started, reported)) => {
            let StartedJob {
                request,
                choice,
                job,
            } = &*started;
            Disposition::with(Outcome::started(request, choice, job), reported)
        }
        Ok(Resolution::Covered(job)) => {
            let outcome = Outcome::covered(&request, chosen, &job);
            let published = publish(run, &outcome, &request).await;
            Disposition::with(outcome, published)
        }
        Ok(Resolution::Planned(plan, facts)) => {
            let outcome = Outcome::planned(&request, chosen, plan, facts.as_deref());
            Disposition::with(outcome, Ok(()))
        }
        Ok(Resolution::Rejected(error)) => reject(run, &request, chosen, error).await,
        Ok(Resolution::Wait(reason)) => wait(run, &mut request, chosen, reason).await,
        Err(error) if is_overdue(run, &request) && !request.dry_run => {
            let error = waited_too_long(run, &request, &error);
            reject(run, &request, chosen, error).await
        }
        Err(error) => Disposition::Failed(error, None),
    };
    let mut processed = Processed {
        request,
        choice,
        disposition,
    };
    if !matches!(processed.disposition, Disposition::ToEnqueue(_)) {
        finish(run, &mut processed).await;
    }
    processed
}

/// The request will never work as it is. In a batch it is moved to the dead-letter queue.
async fn reject(
    run: &mut Run<'_>,
    request: &Request,
    choice: Option<&Choice>,
    error: Error,
) -> Disposition {
    if request.waiting_since.is_some() {
        run.waiter_changes.left.push(request.clone());
    }
    let outcome = Outcome::rejected(request, choice, error.clone());
    let published = publish(run, &outcome, request).await;
    let dead_letter_queue = run.services.dead_letter_queue.as_ref();
    let dead_letter_queue = dead_letter_queue.filter(|_| run.source == Source::Queue);
    let result = match (published, dead_letter_queue) {
        // What the caller must know first is the rejection.
        (Err(unpublished), _) => Err(error.and(&unpublished)),
        (Ok(()), None) => Err(error),
        (Ok(()), Some(queue)) => {
            let sent = queue.dead_letter_request(request, &error, run.send_options());
            sent.await.map_err(|unsent| error.and(&unsent))
        }
    };
    Disposition::with(outcome, result)
}

/// The request waits in its message in the queue, or in one that is enqueued now. Without a waiting queue it fails.
async fn wait(
    run: &mut Run<'_>,
    request: &mut Request,
    choice: Option<&Choice>,
    wait: Wait,
) -> Disposition {
    let services = run.services;
    match (&services.waiting_queue, run.source, request.waiting_since) {
        (_, Source::Queue, Some(_)) => requeue(run, request, choice, wait).await,
        (None, _, _) => Disposition::Failed(wait.error, None),
        (Some(_), Source::Queue, None) => Disposition::ToEnqueue(wait),
        (Some(queue), Source::Direct, _) => enqueue(run, queue, request, choice, wait).await,
    }
}

/// The request's message stays in the queue, for as long as a request may wait.
async fn requeue(
    run: &mut Run<'_>,
    request: &Request,
    choice: Option<&Choice>,
    wait: Wait,
) -> Disposition {
    if is_overdue(run, request) {
        let error = waited_too_long(run, request, &wait.error);
        return reject(run, request, choice, error).await;
    }
    note_waiter(run, request, &wait);
    Disposition::Requeued(wait.error)
}

/// Enqueues a request, and announces that it waits.
async fn enqueue(
    run: &mut Run<'_>,
    queue: &Queue,
    request: &mut Request,
    choice: Option<&Choice>,
    wait: Wait,
) -> Disposition {
    let since = run.deadline.now();
    let sent = queue.enqueue_request(request, Some(since), wait.delay, run.send_options());
    if let Err(unsent) = sent.await {
        let message = format!("{}; it has to wait: {}", unsent.message, wait.error);
        return Disposition::Failed(Error::new(unsent.error_type, message), None);
    }
    let outcome = Outcome::waiting(request, choice, wait.error.clone());
    if let Err(unpublished) = publish(run, &outcome, request).await {
        warn(&request.target, "it is in the waiting queue", &unpublished);
    }
    request.waiting_since = Some(since);
    note_waiter(run, request, &wait);
    Disposition::with(outcome, Ok(()))
}

fn note_waiter(run: &mut Run<'_>, request: &Request, wait: &Wait) {
    if wait.wait_for == WaitFor::Slot {
        run.waiter_changes.joined.push(request.clone());
    }
}

/// Reports the requests of a message that have to be enqueued: each gets a message of its own, and so do those that
/// failed beside them. Otherwise the message, delivered again, would enqueue the others again. If there is no time
/// for all of them, the message stays.
pub(super) async fn message(run: &mut Run<'_>, all: &mut [Processed]) {
    let has_to = |processed: &Processed| matches!(processed.disposition, Disposition::ToEnqueue(_));
    let has_failed = |processed: &Processed| processed.disposition.failure().is_some();
    let Some(queue) = &run.services.waiting_queue else {
        return;
    };
    if !all.iter().any(has_to) {
        return;
    }
    let count = all
        .iter()
        .filter(|processed| has_to(processed) || has_failed(processed));
    let has_time = run.deadline.has_time_to_enqueue(count.count());
    let mut is_any_enqueued = false;
    for processed in all.iter_mut() {
        let Disposition::ToEnqueue(wait) = processed.disposition.clone() else {
            continue;
        };
        let Processed {
            request, choice, ..
        } = processed;
        processed.disposition = match has_time {
            true => enqueue(run, queue, request, choice.as_ref(), wait).await,
            false => requeue(run, request, choice.as_ref(), wait).await,
        };
        is_any_enqueued |= processed.is(OutcomeKind::Waiting);
        finish(run, processed).await;
    }
    let failed = all.iter_mut().filter(|processed| has_failed(processed));
    for processed in failed.filter(|_| is_any_enqueued) {
        let request = &processed.request;
        // That it waits is announced when it is tried and has to.
        let sent = queue.enqueue_request(request, None, Duration::ZERO, run.send_options());
        match sent.await {
            Ok(()) => processed.disposition = processed.disposition.clone().moved(),
            Err(unsent) => warn(&request.target, "the message stays", &unsent),
        }
    }
}

/// Moves a message that is not a valid request to the dead-letter queue. Returns whether it is there.
pub(super) async fn invalid_message(
    run: &Run<'_>,
    message_id: &str,
    body: &str,
    error: &Error,
) -> bool {
    let log = |error: &Error| {
        tracing::error!(
            errorType = error.error_type.as_str(),
            messageId = message_id,
            "{}",
            error.message
        );
    };
    log(error);
    let Some(queue) = &run.services.dead_letter_queue else {
        return false;
    };
    let sent = queue.dead_letter_message(body, message_id, error, run.send_options());
    sent.await.inspect_err(log).is_ok()
}

/// Logs and counts what became of a request. One that fails, and whose message SQS will delete soon, is moved to the
/// dead-letter queue.
async fn finish(run: &mut Run<'_>, processed: &mut Processed) {
    if processed.request.waiting_since.is_none() || processed.is(OutcomeKind::Waiting) {
        run.deadline.not_queued = run.deadline.not_queued.saturating_sub(1);
    }
    log_request(processed);
    measure(run, processed);
    let request = &processed.request;
    let is_expiring = run
        .time_in_queue(request)
        .is_some_and(|age| age > MAX_TIME_IN_QUEUE);
    if let (Disposition::Failed(error, outcome), true, Some(queue)) = (
        &processed.disposition,
        is_expiring,
        &run.services.dead_letter_queue,
    ) {
        let sent = queue.dead_letter_request(request, error, run.send_options());
        processed.disposition = match sent.await {
            Ok(()) => processed.disposition.clone().moved(),
            Err(unsent) => Disposition::Failed(error.and(&unsent), outcome.clone()),
        };
    }
}

fn measure(run: &Run<'_>, processed: &Processed) {
    let since = processed.request.waiting_since;
    let since = since.filter(|_| run.source == Source::Queue);
    let waited =
        since.map(|since| Duration::try_from(run.deadline.now() - since).unwrap_or_default());
    let metrics = run.metrics;
    let kind = processed
        .disposition
        .outcome()
        .map(|outcome| outcome.outcome);
    match kind {
        Some(OutcomeKind::Covered) => metrics.count(Metric::RequestsCovered),
        Some(OutcomeKind::Waiting) => metrics.count(Metric::RequestsWaiting),
        Some(OutcomeKind::Rejected) => metrics.count(Metric::RequestsRejected),
        _ => {}
    }
    match (waited, kind) {
        (Some(waited), Some(OutcomeKind::Started | OutcomeKind::Covered)) => {
            metrics.record_duration(Metric::WaitSeconds, waited);
        }
        (Some(waited), None) => metrics.record_duration(Metric::StillWaitingSeconds, waited),
        _ => {}
    }
}

/// Returns whether a request that comes through a queue has waited longer than `MAX_WAIT`.
fn is_overdue(run: &Run<'_>, request: &Request) -> bool {
    let max_wait = run.settings.max_wait.duration;
    run.time_in_queue(request).is_some_and(|age| age > max_wait)
}

fn waited_too_long(run: &Run<'_>, request: &Request, error: &Error) -> Error {
    let since = request.waiting_since.or(request.sent_at);
    let message = format!(
        "{} waited since {}, longer than MAX_WAIT ({}), and would still have to: {}",
        request.target,
        since.map(timestamp).unwrap_or_default(),
        run.settings.max_wait,
        error.message
    );
    Error::new(ErrorType::WaitedTooLong, message)
}
