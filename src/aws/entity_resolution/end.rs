//! Finds out how a job ended.
//!
//! AWS does not document which id a job that Clean Rooms started has at Entity Resolution. So the job is looked up by
//! Clean Rooms' id without its hyphens. If there is no such job, it is identified by its start time. `identifiedBy` tells
//! which of the two it was.

use std::collections::BTreeMap;

use aws_sdk_entityresolution::operation::get_id_mapping_job::GetIdMappingJobOutput;
use aws_sdk_entityresolution::types::{IdMappingJobMetrics, JobStatus};

use super::lost::{NotFound, candidates, only_one, start_range};
use super::reads::{Listed, ReadError, Workflows, to_offset_date_time};
use crate::aws::call::within;
use crate::job::{EndedJob, IdentifiedBy, Job, JobId};
use crate::ledger::Record;
use crate::target::Target;

impl Workflows {
    /// Looks up how a job ended. Returns `None` if it has not ended yet.
    pub async fn end_of(
        &self,
        target: &Target,
        job: &Job,
        record: &Record,
        timeout: std::time::Duration,
    ) -> Result<Option<EndedJob>, NotFound> {
        within(timeout, self.find_end(target, job, record)).await
    }

    async fn find_end(
        &self,
        target: &Target,
        job: &Job,
        record: &Record,
    ) -> Result<Option<EndedJob>, NotFound> {
        let table = self.get_table(target).await?;
        let id = match &job.id {
            JobId::IdMappingJobId(id) => id.replace('-', ""),
            JobId::EntityResolutionJobId(id) => id.to_string(),
        };
        match self.get_job(&table.workflow, &id).await {
            Ok(found) => return end(&found, IdentifiedBy::JobId),
            Err(error) if error.is_absent => {}
            Err(error) => return Err(error.into()),
        }
        // A known job with the same start is this job, perhaps under its other id.
        let known = record
            .recent()
            .filter(|known| known.started_at != job.started_at);
        let listed = self.list_jobs(&table.workflow).await?;
        let mut candidates = candidates(listed, job.started_at, known);
        // A job that began during the call is more likely than one that was queued. A job whose end is announced can
        // be this job, under its other id, but only if there is no other candidate.
        let (earliest, latest) = start_range(job);
        let range = earliest..=latest;
        let is_during = |listed: &Listed| listed.began.is_some_and(|began| range.contains(&began));
        if candidates.iter().any(is_during) {
            candidates.retain(is_during);
        } else {
            candidates.retain(|listed| !record.is_ended(&listed.id));
        }
        if candidates.iter().any(|listed| !record.is_ended(&listed.id)) {
            candidates.retain(|listed| !record.is_ended(&listed.id));
        }
        let matching = self
            .matching_jobs(&table.workflow, candidates, job.job_type)
            .await?;
        end(&only_one(matching)?, IdentifiedBy::StartTime)
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
