//! Finds out how a job ended.
//!
//! AWS does not document which id a job that Clean Rooms started has at Entity Resolution. So the job is looked up by
//! Clean Rooms' id without its hyphens. If there is no such job, it is identified by its start time. `identifiedBy` tells
//! which of the two it was.

use std::collections::BTreeMap;

use aws_sdk_entityresolution::operation::get_id_mapping_job::GetIdMappingJobOutput;
use aws_sdk_entityresolution::types::{IdMappingJobMetrics, JobStatus};
use time::OffsetDateTime;

use super::lost::{KnownJobs, NotFound, candidates, only_one, start_range};
use super::reads::{Listed, Workflows, to_offset_date_time};
use crate::aws::call::{ReadError, within};
use crate::job::{EndedJob, IdentifiedBy, Job, JobId};
use crate::ledger::Record;
use crate::target::Target;

impl Workflows {
    /// Looks up how a job ended. Returns `None` if it has not ended yet.
    ///
    /// `others` reads what is known of other tables. It is called only if the job may be one of several.
    pub async fn end_of(
        &self,
        target: &Target,
        job: &Job,
        record: &Record,
        others: impl AsyncFnOnce() -> Result<Vec<KnownJobs>, String>,
        now: OffsetDateTime,
        timeout: std::time::Duration,
    ) -> Result<Option<EndedJob>, NotFound> {
        within(timeout, self.find_end(target, job, record, others, now)).await
    }

    async fn find_end(
        &self,
        target: &Target,
        job: &Job,
        record: &Record,
        others: impl AsyncFnOnce() -> Result<Vec<KnownJobs>, String>,
        now: OffsetDateTime,
    ) -> Result<Option<EndedJob>, NotFound> {
        let workflow = &self.get_table(target).await?.workflow;
        let id = match &job.id {
            JobId::IdMappingJobId(id) => id.replace('-', ""),
            JobId::EntityResolutionJobId(id) => id.to_string(),
        };
        match self.get_job(workflow, &id).await {
            Ok(found) => return end(&found, IdentifiedBy::JobId),
            Err(error) if error.is_absent => {}
            Err(error) => return Err(error.into()),
        }
        let candidates = self.candidates(workflow, job, record, others, now).await?;
        let matching = self
            .matching_jobs(workflow, candidates, job.job_type)
            .await?;
        end(&only_one(matching)?, IdentifiedBy::StartTime)
    }

    /// The listed jobs that a job may be, by its start.
    async fn candidates(
        &self,
        workflow: &str,
        job: &Job,
        record: &Record,
        others: impl AsyncFnOnce() -> Result<Vec<KnownJobs>, String>,
        now: OffsetDateTime,
    ) -> Result<Vec<Listed>, ReadError> {
        // A known job with the same start is this job, perhaps under its other id.
        let known = || {
            let recent = record.recent();
            recent.filter(|known| known.started_at != job.started_at)
        };
        let range = start_range(job);
        let mut listed = self.list_jobs(workflow).await?;
        let mut found = candidates(listed.clone(), job.started_at, known());
        let mut others_may_have_one = false;
        // If there is only one candidate, and it has not ended, it does not matter whose it is.
        let is_clear = matches!(&found[..], [only] if !only.has_ended());
        if !found.is_empty() && !is_clear {
            let others = self
                .sharing(workflow, others, &mut listed, &found, &range, now)
                .await?;
            let known = known().chain(others.iter().flat_map(|other| &other.jobs));
            found = candidates(listed, job.started_at, known);
            others_may_have_one = others.iter().any(|other| other.has_call_near(&range));
        }
        // A job that began during the call is more likely than one that was queued. A job whose end is announced can
        // be this job, under its other id, but only if there is no other candidate.
        let is_during = |listed: &Listed| listed.began.is_some_and(|began| range.contains(&began));
        if found.iter().any(is_during) && !others_may_have_one {
            found.retain(is_during);
        } else {
            found.retain(|listed| !record.is_ended(&listed.id));
        }
        if found.iter().any(|listed| !record.is_ended(&listed.id)) {
            found.retain(|listed| !record.is_ended(&listed.id));
        }
        Ok(found)
    }
}

fn end(
    job: &GetIdMappingJobOutput,
    identified_by: IdentifiedBy,
) -> Result<Option<EndedJob>, NotFound> {
    let failure = match job.status() {
        JobStatus::Succeeded => None,
        JobStatus::Failed => {
            let message = job
                .error_details()
                .and_then(|details| details.error_message());
            let message = message.unwrap_or("Entity Resolution gives no reason");
            Some(message.to_owned())
        }
        _ => return Ok(None),
    };
    let started_at = to_offset_date_time(job.start_time()).ok_or_else(|| {
        ReadError::unclear("GetIdMappingJob returns no start time of a job that has ended")
    })?;
    Ok(Some(EndedJob {
        entity_resolution_job_id: job.job_id().to_owned(),
        failure,
        metrics: job.metrics().map(metrics).unwrap_or_default(),
        started_at,
        ended_at: job.end_time().and_then(to_offset_date_time),
        identified_by,
    }))
}

fn metrics(counts: &IdMappingJobMetrics) -> BTreeMap<&'static str, i32> {
    [
        ("inputRecords", counts.input_records()),
        ("totalRecordsProcessed", counts.total_records_processed()),
        ("recordsNotProcessed", counts.records_not_processed()),
        ("deleteRecordsProcessed", counts.delete_records_processed()),
        ("totalMappedRecords", counts.total_mapped_records()),
        (
            "totalMappedSourceRecords",
            counts.total_mapped_source_records(),
        ),
        (
            "totalMappedTargetRecords",
            counts.total_mapped_target_records(),
        ),
        ("uniqueRecordsLoaded", counts.unique_records_loaded()),
        ("newMappedRecords", counts.new_mapped_records()),
        ("newMappedSourceRecords", counts.new_mapped_source_records()),
        ("newMappedTargetRecords", counts.new_mapped_target_records()),
        ("newUniqueRecordsLoaded", counts.new_unique_records_loaded()),
        ("mappedRecordsRemoved", counts.mapped_records_removed()),
        (
            "mappedSourceRecordsRemoved",
            counts.mapped_source_records_removed(),
        ),
        (
            "mappedTargetRecordsRemoved",
            counts.mapped_target_records_removed(),
        ),
    ]
    .into_iter()
    .filter_map(|(name, count)| Some((name, count?)))
    .collect()
}
