//! Finds out whether calls whose outcome is unknown started a job.

use std::time::Duration;

use time::OffsetDateTime;

use super::deadline::MIN_REMAINING;
use super::run::Run;
use crate::aws::entity_resolution::{Found, KnownJobs, NotFound};
use crate::aws::ledger_table::Item;
use crate::clock::timestamp;
use crate::error::Error;
use crate::job::{Call, Job, JobId, StartedJob};
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
    let found = look_for(run, &item.record, unknown).await;
    let (timeout, now) = (run.deadline.io_timeout(), run.deadline.now());
    let report_until = run.report_until();
    let transition = |record: &Record| found.recorded(record, unknown, report_until, now);
    run.services
        .ledger
        .update(item, timeout, transition)
        .await?;
    let UnknownCall { call, looked_for } = unknown;
    match found {
        LeftBehind::Started(job) => run.note_started(&StartedJob::new(call, job)),
        LeftBehind::Failed(id) => tracing::warn!("{}", failed_job(call, &id)),
        LeftBehind::NotFound(not_found) => {
            run.learned.note_not_found(call, !looked_for, not_found);
        }
    }
    Ok(())
}

/// What a call came to that an earlier invocation left behind.
pub(super) enum LeftBehind {
    /// It started this job.
    Started(Job),
    /// Its job failed, and its end is not tracked.
    Failed(String),
    /// No job was found.
    NotFound(NotFound),
}

impl LeftBehind {
    /// The record with what was found.
    pub(super) fn recorded(
        &self,
        record: &Record,
        UnknownCall { call, looked_for }: &UnknownCall,
        report_until: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> Record {
        match self {
            Self::Started(job) => record.job_found(call, job, report_until, now),
            Self::Failed(_) => record.claim_released(call.attempt),
            Self::NotFound(_) if *looked_for => record.clone(),
            Self::NotFound(_) => record.outcome_unknown(call),
        }
    }
}

/// Looks once for the job of a call that an earlier invocation left behind.
pub(super) async fn look_for(
    run: &Run<'_>,
    record: &Record,
    UnknownCall { call, .. }: &UnknownCall,
) -> LeftBehind {
    match look(run, record, call).await {
        Ok(Found::Started(id)) => LeftBehind::Started(call.job(id)),
        // Its end is announced, and counts as an attempt.
        Ok(Found::Failed(id)) if run.settings.track_completion => {
            LeftBehind::Started(call.job(JobId::EntityResolutionJobId(id.into())))
        }
        Ok(Found::Failed(id)) => LeftBehind::Failed(id),
        Err(not_found) => LeftBehind::NotFound(not_found),
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

async fn look(run: &Run<'_>, record: &Record, call: &Call) -> Result<Found, NotFound> {
    let others = async || known_of_others(run, &call.request.target).await;
    run.services
        .workflows
        .find_job(
            call,
            record,
            others,
            run.deadline.now(),
            run.deadline.io_timeout(),
        )
        .await
}

/// The jobs of other tables that the ledger or this invocation knows. With the same workflow, one of them may
/// look like the job of a call for this one.
pub(super) async fn known_of_others(
    run: &Run<'_>,
    target: &Target,
) -> Result<Vec<KnownJobs>, String> {
    let started = run.learned.started.iter();
    let mut known: Vec<KnownJobs> = started
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
