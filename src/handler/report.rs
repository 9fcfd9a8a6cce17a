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
use crate::input::Refused;
use crate::job::StartedJob;
use crate::metrics::Metric;
use crate::outcome::{Outcome, OutcomeKind};
use crate::printable;
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
                ..
            } = &*started;
            Disposition::with(Outcome::started(request, choice, job), reported)
        }
        Ok(Resolution::Superseded) => Disposition::Dropped,
        Ok(Resolution::Covered(job, status)) => {
            let outcome = Outcome::covered(&request, chosen, &job, status);
            let published = publish(run, &outcome, &request).await;
            Disposition::with(outcome, published)
        }
        Ok(Resolution::Planned(planned)) => {
            let outcome = Outcome::planned(&request, chosen, *planned);
            Disposition::with(outcome, Ok(()))
        }
        Ok(Resolution::Rejected(error)) => reject(run, &request, chosen, error).await,
        Ok(Resolution::Wait(reason)) => wait(run, &mut request, chosen, reason).await,
        Ok(Resolution::StillWaiting(wait)) => {
            let outcome = Outcome::waiting(&request, chosen, wait.error, wait.not_before);
            Disposition::with(outcome, Ok(()))
        }
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
        run.learned.note_left(request);
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
            let rejected = Request {
                rejections: request.rejections.saturating_add(1),
                ..request.clone()
            };
            let sent = queue.dead_letter_request(&rejected, &error, run.send_options());
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
    match send(run, queue, request, &wait).await {
        Ok(()) => announce_wait(run, request, choice, wait).await,
        Err(error) => Disposition::Failed(error, None),
    }
}

/// Puts a request in a message of its own. It waits from now on.
async fn send(
    run: &Run<'_>,
    queue: &Queue,
    request: &mut Request,
    wait: &Wait,
) -> Result<(), Error> {
    let since = run.deadline.now();
    let delay = wait.not_before.map(|not_before| not_before - since);
    let delay = delay.and_then(|delay| Duration::try_from(delay).ok());
    let sent = queue.enqueue_request(
        request,
        Some(since),
        delay.unwrap_or_default(),
        run.send_options(),
    );
    if let Err(unsent) = sent.await {
        let message = format!("{}; it has to wait: {}", unsent.message, wait.error);
        return Err(Error::new(unsent.error_type, message));
    }
    request.waiting_since = Some(since);
    Ok(())
}

/// Announces that a request waits in a message of its own.
async fn announce_wait(
    run: &mut Run<'_>,
    request: &Request,
    choice: Option<&Choice>,
    wait: Wait,
) -> Disposition {
    let outcome = Outcome::waiting(request, choice, wait.error.clone(), wait.not_before);
    if let Err(unpublished) = publish(run, &outcome, request).await {
        warn(&request.target, "it is in the waiting queue", &unpublished);
    }
    run.metrics.count(Metric::RequestsWaiting);
    if wait.error.error_type == ErrorType::TooSoon {
        run.metrics.count(Metric::RequestsTooSoon);
    }
    note_waiter(run, request, &wait);
    Disposition::with(outcome, Ok(()))
}

fn note_waiter(run: &mut Run<'_>, request: &Request, wait: &Wait) {
    if wait.wait_for == WaitFor::Slot {
        run.learned.joined.push((request.clone(), wait.not_before));
    }
}

/// Reports the requests of a message that have to be enqueued: each gets a message of its own, and so do those that
/// failed beside them. Otherwise the message, delivered again, would enqueue the others again. If there is no time
/// for all of them, the message stays.
pub(super) async fn message(run: &mut Run<'_>, all: &mut [Processed]) {
    let Some(queue) = &run.services.waiting_queue else {
        return;
    };
    let waits = |processed: &Processed| matches!(processed.disposition, Disposition::ToEnqueue(_));
    if !all.iter().any(waits) {
        return;
    }
    let failed = |processed: &Processed| processed.disposition.failure().is_some();
    let to_send = |processed: &&Processed| waits(processed) || failed(processed);
    if !run
        .deadline
        .has_time_to_enqueue(all.iter().filter(to_send).count())
    {
        for processed in all {
            stay(run, processed).await;
        }
        return;
    }
    // First all messages, then the events: an event that there is no time for is not worth a second message.
    let mut enqueued = Vec::new();
    for (place, processed) in all.iter_mut().enumerate() {
        let Disposition::ToEnqueue(wait) = processed.disposition.clone() else {
            continue;
        };
        match send(run, queue, &mut processed.request, &wait).await {
            Ok(()) => enqueued.push((place, wait)),
            Err(error) => {
                processed.disposition = Disposition::Failed(error, None);
                finish(run, processed).await;
            }
        }
    }
    let is_any_enqueued = !enqueued.is_empty();
    let failed = all.iter_mut().filter(|processed| failed(processed));
    for processed in failed.filter(|_| is_any_enqueued) {
        let request = &processed.request;
        // That it waits is announced when it is tried and has to.
        let sent = queue.enqueue_request(request, None, Duration::ZERO, run.send_options());
        match sent.await {
            Ok(()) => processed.disposition = processed.disposition.clone().moved(),
            Err(unsent) => warn(&request.target, "the message stays", &unsent),
        }
    }
    for (place, wait) in enqueued {
        let Some(processed) = all.get_mut(place) else {
            continue;
        };
        let (request, choice) = (&processed.request, processed.choice.as_ref());
        processed.disposition = announce_wait(run, request, choice, wait).await;
        finish(run, processed).await;
    }
}

/// A request that should get a message of its own stays in its message.
async fn stay(run: &mut Run<'_>, processed: &mut Processed) {
    let Disposition::ToEnqueue(wait) = processed.disposition.clone() else {
        return;
    };
    let (request, choice) = (&processed.request, processed.choice.as_ref());
    processed.disposition = requeue(run, request, choice, wait).await;
    finish(run, processed).await;
}

/// Logs what is refused of a payload or of a message, and moves it to the dead-letter queue. Returns whether nothing of it
/// remains: nothing is refused, or all of it is there.
pub(super) async fn refused(
    run: &Run<'_>,
    message: Option<(&str, &str)>,
    refused: &Refused,
) -> bool {
    let Some(error) = refused.error() else {
        return true;
    };
    let (id, body) = message.unzip();
    let id = id.map(printable::id);
    let id = id.as_deref();
    let log = |error: &Error| {
        tracing::error!(
            errorType = error.error_type.as_str(),
            messageId = id,
            "{}",
            error.message
        );
    };
    log(&error);
    let Some(queue) = &run.services.dead_letter_queue else {
        return false;
    };
    let letters = match (refused.items.is_empty(), body) {
        (true, Some(body)) => vec![body.to_owned()],
        _ => as_lists(&refused.items),
    };
    for letter in letters {
        let sent = queue.dead_letter_message(&letter, id, &error, run.send_options());
        if let Err(error) = sent.await {
            log(&error);
            return false;
        }
    }
    !refused.is_too_large
}

/// The most bytes of a list in the dead-letter queue, unless it has one item.
const MAX_LIST: usize = 200 * 1_024;

/// Writes items as lists, which are read again as what they are. An item alone is not in a list.
fn as_lists(items: &[String]) -> Vec<String> {
    let mut lists: Vec<Vec<&str>> = Vec::new();
    let mut room = 0;
    for item in items {
        match lists.last_mut() {
            Some(list) if item.len() < room => list.push(item),
            _ => {
                lists.push(vec![item]);
                room = MAX_LIST;
            }
        }
        room = room.saturating_sub(item.len() + 1);
    }
    let text = |list: Vec<&str>| match list[..] {
        [one] => one.to_owned(),
        _ => format!("[{}]", list.join(",")),
    };
    lists.into_iter().map(text).collect()
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
    let error = processed.disposition.error();
    let is_too_soon = error.is_some_and(|error| error.error_type == ErrorType::TooSoon);
    let kind = processed
        .disposition
        .outcome()
        .map(|outcome| outcome.outcome);
    match kind {
        Some(OutcomeKind::Covered) => metrics.count(Metric::RequestsCovered),
        Some(OutcomeKind::Rejected) => metrics.count(Metric::RequestsRejected),
        _ => {}
    }
    match (waited, kind) {
        (Some(waited), Some(OutcomeKind::Started | OutcomeKind::Covered)) => {
            metrics.record_duration(Metric::WaitSeconds, waited);
        }
        // What MIN_INTERVAL holds back waits as long as it should.
        (Some(waited), None) if !is_too_soon => {
            metrics.record_duration(Metric::StillWaitingSeconds, waited);
        }
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
