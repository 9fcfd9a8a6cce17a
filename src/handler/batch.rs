//! All requests of an invocation, of one payload or of a batch of messages.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use aws_lambda_events::event::sqs::SqsBatchResponse;

use super::order::{Placed, processing_order, table_to_probe};
use super::process::{process, resolve};
use super::processed::{Processed, Resolution};
use super::response::{self, Response};
use super::run::{Run, Source};
use super::{report, track, waiters};
use crate::choice;
use crate::error::Error;
use crate::input::{Content, Ignored, Message, Part, Refused};
use crate::job::TrackedJob;
use crate::request::Request;

/// What the parts of a payload ask for.
#[derive(Default)]
struct Accepted {
    requests: Vec<Vec<Request>>,
    jobs: Vec<TrackedJob>,
    refused: Refused,
}

/// Takes the parts of a payload.
fn accept(parts: Vec<Part>) -> Accepted {
    let mut accepted = Accepted::default();
    for Part { text, content } in parts {
        match content {
            Ok(Content::Requests(requests)) => accepted.requests.push(requests),
            Ok(Content::Track(job)) => accepted.jobs.push(job),
            Ok(Content::Ignored(reason)) => log_ignored(reason),
            Err(error) => accepted.refused.add(text, error),
        }
    }
    accepted
}

/// Logs why a payload asks for nothing.
fn log_ignored(reason: Ignored) {
    match reason {
        Ignored::Unexpected(reason) => tracing::warn!("ignored: {reason}"),
        Ignored::Expected(reason) => tracing::info!("ignored: {reason}"),
    }
}

/// Processes the parts of a payload that is not a batch.
pub(super) async fn process_direct(
    run: &mut Run<'_>,
    parts: Vec<Part>,
    request_id: &str,
) -> Result<Response, Error> {
    let Accepted {
        requests,
        jobs,
        refused,
    } = accept(parts);
    let not_moved = match report::refused(run, None, &refused).await {
        true => Refused::default(),
        false => refused,
    };
    let (mut ends, mut failures) = (Vec::new(), Vec::new());
    for job in jobs {
        match track::one(run, &job).await {
            Ok(announced) => ends.extend(announced),
            Err(error) => failures.push(error),
        }
    }
    let processed = process_all(run, requests, request_id).await;
    waiters::record(run).await;
    let processed: Vec<Processed> = processed.into_iter().flatten().collect();
    response::direct(ends, &processed, &failures, &not_moved)
}

/// Processes the messages of a batch, and names those that SQS must deliver again.
pub(super) async fn process_batch(
    run: &mut Run<'_>,
    messages: Vec<Message>,
    request_id: &str,
) -> SqsBatchResponse {
    let mut kept = Vec::with_capacity(messages.len());
    let mut requests = Vec::with_capacity(messages.len());
    let mut tracked = Vec::new();
    for (
        place,
        Message {
            id,
            body,
            parts,
            is_postponed,
        },
    ) in messages.into_iter().enumerate()
    {
        let accepted = accept(parts);
        let moved = report::refused(run, Some((&id, &body)), &accepted.refused).await;
        kept.push((id, is_postponed || !moved));
        requests.push(accepted.requests.into_iter().flatten().collect());
        let jobs = accepted.jobs.into_iter();
        tracked.extend(jobs.map(|job| (place, job)));
    }
    let not_queued = |request: &&Request| request.waiting_since.is_none();
    run.deadline.not_queued = requests.iter().flatten().filter(not_queued).count();
    // Before the requests: where a job has ended, the slot is free.
    let (places, jobs): (Vec<usize>, Vec<_>) = tracked.into_iter().unzip();
    for (place, keep) in places.into_iter().zip(track::all(run, &jobs).await) {
        if let Some((_, kept)) = kept.get_mut(place) {
            *kept |= keep;
        }
    }
    let processed = process_all(run, requests, request_id).await;
    let mut response = SqsBatchResponse::default();
    for ((id, keep), mut processed) in kept.into_iter().zip(processed) {
        report::message(run, &mut processed).await;
        let keeps = |processed: &Processed| processed.disposition.keeps_message();
        if keep || processed.iter().any(keeps) {
            response.add_failure(id);
        }
    }
    waiters::record(run).await;
    response
}

/// Processes the requests of all messages of an invocation. Returns them in their order.
pub(super) async fn process_all(
    run: &mut Run<'_>,
    messages: Vec<Vec<Request>>,
    request_id: &str,
) -> Vec<Vec<Processed>> {
    let mut results: Vec<Vec<Option<Processed>>> = messages
        .iter()
        .map(|requests| requests.iter().map(|_| None).collect())
        .collect();
    let mut all = Vec::new();
    for (message, requests) in messages.into_iter().enumerate() {
        let placed = requests.into_iter().enumerate();
        all.extend(placed.map(|(place, request)| Placed {
            message,
            place,
            request,
        }));
    }
    let mut pending = processing_order(all, run.deadline.now());
    run.deadline.pending = pending.len();
    let mut has_probed = false;
    while let Some(Placed {
        message,
        place,
        request,
    }) = pending.pop_front()
    {
        let processed = process(run, request).await;
        if let Some(result) = results.get_mut(message).and_then(|all| all.get_mut(place)) {
            *result = Some(processed);
        }
        let is_batch = run.source == Source::Queue;
        if is_batch && !has_probed && run.learned.slot.refused_alone().is_some() {
            has_probed = true;
            probe(run, &mut pending, request_id).await;
        }
    }
    let flat = |all: Vec<Option<Processed>>| all.into_iter().flatten().collect();
    results.into_iter().map(flat).collect()
}

/// Asks for one more table after one of a batch was refused alone: a table of the batch, which is put first, or one that
/// waits in another message. In a direct invocation the next table takes its turn.
async fn probe(run: &mut Run<'_>, pending: &mut VecDeque<Placed>, request_id: &str) {
    let elsewhere = waiters::elsewhere(run);
    let here = pending.iter().map(|placed| &placed.request.target);
    let tables = here.chain(elsewhere.iter().map(|request| &request.target));
    let Some(table) = table_to_probe(tables, &run.learned.slot, number(request_id)) else {
        return;
    };
    run.learned.probed = Some(table.clone());
    if pending.iter().any(|placed| placed.request.target == table) {
        pending
            .make_contiguous()
            .sort_by_key(|placed| placed.request.target != table);
    } else if let Some(request) = elsewhere
        .into_iter()
        .find(|request| request.target == table)
    {
        start_for_another(run, request).await;
    }
}

/// Starts a job for a request whose message is elsewhere, if it needs one. What else there is to report of it, the
/// invocation of its own message reports.
async fn start_for_another(run: &mut Run<'_>, request: Request) {
    let mut choice = choice::by_request(request.requested_type, request.type_source);
    let resolution = resolve(run, &request, &mut choice).await;
    if let Ok(Resolution::Started(started, _)) = resolution {
        tracing::info!(
            membershipIdentifier = request.target.membership.as_str(),
            idMappingTableIdentifier = request.target.table.as_str(),
            idMappingJobId = started.job.id.as_str(),
            outcome = "STARTED",
            "job started for a request that waits in another message"
        );
    }
}

/// A number that is the same for the same invocation.
fn number(request_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    request_id.hash(&mut hasher);
    hasher.finish()
}
