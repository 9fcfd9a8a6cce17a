//! Finds out whether calls whose outcome is unknown started a job.

use std::time::Duration;

use time::OffsetDateTime;

use super::deadline::MIN_REMAINING;
use super::run::Run;
use crate::aws::entity_resolution::{Found, KnownJobs, NotFound};
use crate::aws::ledger_table::Item;
use crate::clock::timestamp;
use crate::error::Error;
use crate::job::{Call, JobId, StartedJob};
use crate::ledger::{Record, UnknownCall};
use crate::target::Target;

/// How long a job is looked for after its call's answer was lost, at most. An invocation has other requests.
const MAX_SEARCH: Duration = Duration::from_secs(30);

/// The pause before a job is looked for again. It doubles.
const SEARCH_PAUSE: Duration = Duration::from_secs(1);

/// Looks once for the job of a call that an earlier invocation left behind, and records what is found. Returns an error
/// if the ledger is unavailable.
pub(super) async fn left_behind(
    run: &mut Run<'_>,
    item: &mut Item,
    unknown: &UnknownCall,
) -> Result<(), Error> {
    let UnknownCall { call, looked_for } = unknown;
    let found = look(run, &item.record, call).await;
    let (timeout, now) = (run.deadline.io_timeout(), run.deadline.now());
    let report_until = run.report_until();
    let transition = |record: &Record| recorded(record, unknown, &found, report_until, now);
    run.services
        .ledger
        .update(item, timeout, transition)
        .await?;
    match found {
        Ok(Found::Started(id)) => run.note_started(&StartedJob::new(call, call.job(id))),
        Ok(Found::Failed(id)) => tracing::warn!("{}", failed_job(call, &id)),
        Err(not_found) => run.learned.note_not_found(call, !looked_for, not_found),
    }
    Ok(())
}

/// The record with what a look for the job of a call found that an earlier invocation left behind.
pub(super) fn recorded(
    record: &Record,
    UnknownCall { call, looked_for }: &UnknownCall,
    found: &Result<Found, NotFound>,
    report_until: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> Record {
    match found {
        Ok(Found::Started(id)) => record.job_found(call, &call.job(id.clone()), report_until, now),
        Ok(Found::Failed(_)) => record.claim_released(call.attempt),
        Err(_) if *looked_for => record.clone(),
        Err(_) => record.outcome_unknown(call),
    }
}

/// Looks for the job of a call whose answer was lost just now, for a while.
pub(super) async fn search(run: &Run<'_>, item: &Item, call: &Call) -> Result<Found, NotFound> {
    let end = run.deadline.now() + MAX_SEARCH;
    let mut pause = SEARCH_PAUSE;
    loop {
        let found = look(run, &item.record, call).await;
        let is_over =
            run.deadline.now() + pause >= end || run.deadline.remaining() < MIN_REMAINING + pause;
        if is_over || found.as_ref().err().is_none_or(NotFound::is_final) {
            return found;
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// Looks once for the job of a call. Where jobs are tracked, one that failed is a job like any other: its end is
/// announced, and counts as an attempt.
pub(super) async fn look(run: &Run<'_>, record: &Record, call: &Call) -> Result<Found, NotFound> {
    let others = async || known_of_others(run, &call.request.target).await;
    let found = run
        .services
        .workflows
        .find_job(
            call,
            record,
            others,
            run.deadline.now(),
            run.deadline.io_timeout(),
        )
        .await?;
    Ok(match found {
        Found::Failed(id) if run.settings.track_completion => {
            Found::Started(JobId::EntityResolutionJobId(id.into()))
        }
        found => found,
    })
}

/// The jobs of other tables that the ledger or this invocation knows. With the same workflow, one of them may
/// look like the job of a call for this one.
pub(super) async fn known_of_others(
    run: &Run<'_>,
    target: &Target,
) -> Result<Vec<KnownJobs>, String> {
    let started = run.learned.started.iter();
    let mut known: Vec<KnownJobs> = started
        .filter(|(other, _)| other != target)
        .map(|(target, job)| KnownJobs {
            target: target.clone(),
            jobs: vec![job.clone()],
            ended: Vec::new(),
            calls: Vec::new(),
        })
        .collect();
    let arns = &run.settings.id_mapping_table_arns;
    for other in arns.iter().filter(|arn| arn.target != *target) {
        let arn = run.location.table_arn(&other.target);
        let read = run.services.ledger.read(&arn, run.deadline.io_timeout());
        let record = read.await.map_err(|error| error.to_string())?.record;
        known.push(KnownJobs {
            target: other.target.clone(),
            jobs: record.running().cloned().collect(),
            ended: record.ended().map(str::to_owned).collect(),
            calls: record.open_calls().cloned().collect(),
        });
    }
    Ok(known)
}

/// What is said of a call whose answer was lost, and whose job failed.
pub(super) fn failed_job(call: &Call, id: &str) -> String {
    format!(
        "the call of {} for {} started job {id} of Entity Resolution, which failed; the request needs another job",
        timestamp(call.called_at),
        call.request.target
    )
}
