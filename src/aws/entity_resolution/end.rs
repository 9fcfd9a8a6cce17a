//! How a job ended.
//!
//! AWS does not document under which id Entity Resolution knows a job that Clean Rooms started. So the job is looked
//! for by Clean Rooms' id without its hyphens, and if there is none, by its start. `identifiedBy` tells which.

use std::collections::BTreeMap;

use aws_sdk_entityresolution::operation::get_id_mapping_job::GetIdMappingJobOutput;
use aws_sdk_entityresolution::types::{IdMappingJobMetrics, JobStatus};

use super::lost::{NotFound, candidates, moments, only_one};
use super::reads::{Listed, ReadError, Workflows, moment};
use crate::aws::call::within;
use crate::job::{EndedJob, IdentifiedBy, Job, JobId};
use crate::ledger::Record;
use crate::target::Target;

impl Workflows {
    /// How a job ended. Returns `None` if it has not ended yet.
    pub async fn end_of(
        &self,
        target: &Target,
        job: &Job,
        record: &Record,
        timeout: std::time::Duration,
    ) -> Result<Option<EndedJob>, NotFound> {
        within(timeout, self.look_at(target, job, record)).await
    }

    async fn look_at(
        &self,
        target: &Target,
        job: &Job,
        record: &Record,
    ) -> Result<Option<EndedJob>, NotFound> {
        let table = self.get_table(target).await?;
        let id = match &job.id {
            JobId::IdMappingJobId(id) => id.replace('-', ""),
            JobId::EntityResolutionJobId(id) => id.clone(),
        };
        match self.get_job(&table.workflow, &id).await {
            Ok(found) => return end(&found, IdentifiedBy::JobId),
            Err(why) if why.is_absent => {}
            Err(why) => return Err(why.into()),
        }
        // A known job of the same call is this one, perhaps under its other id.
        let known = record
            .recent()
            .filter(|known| known.started_at != job.started_at);
        let listed = self.list_jobs(&table.workflow).await?;
        let mut began = candidates(listed, job.started_at, known);
        // A job that began during the call is likelier than one that was queued. A job whose end is announced is
        // this one, under its other id, only if there is no other.
        let (first, last) = moments(job);
        let during = first..=last;
        let is_during = |listed: &Listed| listed.began.is_some_and(|began| during.contains(&began));
        if began.iter().any(is_during) {
            began.retain(is_during);
        } else {
            began.retain(|listed| !record.is_ended(&listed.id));
        }
        if began.iter().any(|listed| !record.is_ended(&listed.id)) {
            began.retain(|listed| !record.is_ended(&listed.id));
        }
        let ours = self
            .may_be_ours(&table.workflow, began, job.job_type)
            .await?;
        end(&only_one(ours)?, IdentifiedBy::StartTime)
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
            let message = message.unwrap_or("Entity Resolution does not tell why");
            Some(message.to_owned())
        }
        _ => return Ok(None),
    };
    let started_at = moment(job.start_time()).ok_or_else(|| {
        ReadError::unclear("GetIdMappingJob names no start of a job that has ended")
    })?;
    Ok(Some(EndedJob {
        entity_resolution_job_id: job.job_id().to_owned(),
        failure,
        metrics: job.metrics().map(metrics).unwrap_or_default(),
        started_at,
        ended_at: job.end_time().and_then(moment),
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
