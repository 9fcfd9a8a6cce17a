//! Finds out whether calls whose outcome is unknown started a job.

use std::time::Duration;

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
    let found = look(run, item, call).await;
    let (timeout, now) = (run.deadline.io_timeout(), run.deadline.now());
    let ledger = &run.services.ledger;
    match found {
        Ok(Found::Started(id)) => {
            let job = call.job(id);
            let report_until = run.report_until();
            let transition = |record: &Record| record.job_found(call, &job, report_until, now);
            ledger.update(item, timeout, transition).await?;
            run.note_started(&StartedJob::new(call, job));
        }
        Ok(Found::Failed(id)) => {
            // A message may track it, if its start was answered and could not be recorded.
            let job = call.job(JobId::EntityResolutionJobId(id.as_str().into()));
            let started = StartedJob::new(call, job);
            let tracks = run.settings.track_completion;
            let transition = |record: &Record| match record.claim_released(call.attempt) {
                record if tracks => record.tracking_queued(&started),
                record => record,
            };
            ledger.update(item, timeout, transition).await?;
            tracing::warn!("{}", failed_job(call, &id));
        }
        Err(not_found) => {
            if !looked_for {
                let transition = |record: &Record| record.outcome_unknown(call);
                ledger.update(item, timeout, transition).await?;
            }
            run.learned.note_not_found(call, !looked_for, not_found);
        }
    }
    Ok(())
}

/// Looks for the job of a call whose answer was lost just now, for a while.
pub(super) async fn search(run: &Run<'_>, item: &Item, call: &Call) -> Result<Found, NotFound> {
    let end = run.deadline.now() + MAX_SEARCH;
    let mut pause = SEARCH_PAUSE;
    loop {
        let found = look(run, item, call).await;
        let is_over =
            run.deadline.now() + pause >= end || run.deadline.remaining() < MIN_REMAINING + pause;
        if is_over || found.as_ref().err().is_none_or(NotFound::is_final) {
            return found;
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

async fn look(run: &Run<'_>, item: &Item, call: &Call) -> Result<Found, NotFound> {
    let others = async || known_of_others(run, &call.request.target).await;
    run.services
        .workflows
        .find_job(
            call,
            &item.record,
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
