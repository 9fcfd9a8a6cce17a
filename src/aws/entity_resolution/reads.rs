//! Reads a table, its workflow, and the workflow's jobs.
//!
//! `GetIdMappingTable` names the table's workflow, and `ListIdMappingJobs` lists that workflow's jobs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_sdk_cleanrooms::types::{SchemaStatus, SchemaStatusReasonCode};
use aws_sdk_entityresolution::operation::get_id_mapping_job::GetIdMappingJobOutput;
use aws_sdk_entityresolution::types::{IdMappingType, JobStatus, JobType};
use time::OffsetDateTime;

use crate::aws::call::ReadError;
use crate::choice::{Mapping, Read, Workflow};
use crate::job_type::JobType as SentType;
use crate::target::Target;

/// The largest number of pages of `ListIdMappingJobs` that are read, of 25 jobs each. AWS documents no order, so only the
/// whole list tells that a job is missing.
const MAX_PAGES: usize = 1_000;

/// The most jobs of a page.
pub(super) const PAGE: usize = 25;

/// The clients with which tables, workflows and jobs are read.
#[derive(Clone, Debug)]
pub struct Workflows {
    clean_rooms: aws_sdk_cleanrooms::Client,
    entity_resolution: aws_sdk_entityresolution::Client,
    pub(super) cache: Arc<Mutex<Cache>>,
}

/// What is cached of each table for the life of the execution environment.
pub(super) type Cache = HashMap<Target, CachedFacts>;

#[derive(Debug, Default)]
pub(super) struct CachedFacts {
    pub(super) table: Option<Read<Table>>,
    pub(super) workflow: Option<Read<Workflow>>,
    pub(super) populated: Option<Read<bool>>,
    pub(super) recent_batch: Option<Read<Option<OffsetDateTime>>>,
}

/// A table as `GetIdMappingTable` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The name of the table's workflow.
    pub workflow: String,
    /// The ARN of the table's workflow.
    pub workflow_arn: String,
    /// The id of the collaboration that has the table's schema.
    pub(super) collaboration: String,
    /// The ARN of that collaboration.
    pub collaboration_arn: String,
    /// The table's name, which is also the name of its schema.
    pub name: String,
    /// When the table was created.
    pub created_at: Option<OffsetDateTime>,
}

/// A job of a workflow, as `ListIdMappingJobs` describes it.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) id: String,
    /// When the job began. `None` if it is queued and has no start time.
    pub(super) began: Option<OffsetDateTime>,
    pub(super) ended: Option<OffsetDateTime>,
    pub(super) status: JobStatus,
}

impl Listed {
    /// Returns whether it neither runs nor is queued.
    pub(super) fn has_ended(&self) -> bool {
        !matches!(self.status, JobStatus::Queued | JobStatus::Running)
    }
}

impl Workflows {
    /// Creates the clients from a configuration of [`crate::aws::clients`].
    pub fn new(config: &aws_config::SdkConfig) -> Self {
        Self {
            clean_rooms: aws_sdk_cleanrooms::Client::new(config),
            entity_resolution: aws_sdk_entityresolution::Client::new(config),
            cache: Arc::default(),
        }
    }

    /// Reads a table.
    pub async fn get_table(&self, target: &Target) -> Result<Table, ReadError> {
        let answer = self
            .clean_rooms
            .get_id_mapping_table()
            .membership_identifier(target.membership.as_str())
            .id_mapping_table_identifier(target.table.as_str())
            .send()
            .await
            .map_err(|error| {
                ReadError::of("GetIdMappingTable", "cleanrooms:GetIdMappingTable", &error)
            })?;
        let described = |table: &aws_sdk_cleanrooms::types::IdMappingTable| {
            let arn = table.input_reference_config()?.input_reference_arn();
            let (_, workflow) = arn.rsplit_once("idmappingworkflow/")?;
            (!workflow.is_empty()).then(|| Table {
                workflow: workflow.to_owned(),
                workflow_arn: arn.to_owned(),
                collaboration: table.collaboration_id().to_owned(),
                collaboration_arn: table.collaboration_arn().to_owned(),
                name: table.name().to_owned(),
                // The SDK returns 1970 for a missing time.
                created_at: to_offset_date_time(table.create_time())
                    .filter(|created| *created > OffsetDateTime::UNIX_EPOCH),
            })
        };
        answer
            .id_mapping_table()
            .and_then(described)
            .ok_or_else(|| ReadError::unclear("GetIdMappingTable returns no ID mapping workflow"))
    }

    /// Reads a workflow.
    pub async fn get_workflow(&self, name: &str) -> Result<Workflow, ReadError> {
        let answer = self
            .entity_resolution
            .get_id_mapping_workflow()
            .workflow_name(name)
            .send()
            .await
            .map_err(|error| {
                ReadError::of(
                    "GetIdMappingWorkflow",
                    "entityresolution:GetIdMappingWorkflow",
                    &error,
                )
            })?;
        let techniques = answer.id_mapping_techniques();
        let mapping = match techniques.map(|techniques| techniques.id_mapping_type()) {
            Some(IdMappingType::Provider) => Mapping::Provider,
            Some(IdMappingType::RuleBased) => Mapping::RuleBased,
            _ => {
                return Err(ReadError::unclear(
                    "GetIdMappingWorkflow returns no idMappingType that this function knows",
                ));
            }
        };
        Ok(Workflow {
            name: name.to_owned(),
            mapping,
            incremental: answer.incremental_run_config().is_some(),
        })
    }

    /// Returns whether the table was ever populated, as its schema tells.
    pub async fn is_populated(&self, table: &Table) -> Result<bool, ReadError> {
        let answer = self
            .clean_rooms
            .get_schema()
            .collaboration_identifier(&table.collaboration)
            .name(&table.name)
            .send()
            .await
            .map_err(|error| ReadError::of("GetSchema", "cleanrooms:GetSchema", &error))?;
        // If the answer has no schema, the SDK returns an empty one.
        let schema = answer
            .schema()
            .filter(|schema| !schema.name().is_empty())
            .ok_or_else(|| ReadError::unclear("GetSchema returns no schema"))?;
        let never = schema.schema_status_details().iter().any(|detail| {
            *detail.status() == SchemaStatus::NotReady
                && detail.reasons().iter().any(|reason| {
                    *reason.code() == SchemaStatusReasonCode::IdMappingTableNotPopulated
                })
        });
        Ok(!never)
    }

    pub(super) async fn list_jobs(&self, workflow: &str) -> Result<Vec<Listed>, ReadError> {
        let mut listed = Vec::new();
        let mut next = None;
        for _ in 0..MAX_PAGES {
            next = self.list_page(workflow, next, &mut listed).await?;
            if next.is_none() {
                return Ok(listed);
            }
        }
        Err(ReadError::unclear(format!(
            "ListIdMappingJobs failed: the list has more than {MAX_PAGES} pages"
        )))
    }

    /// Reads one page of a workflow's jobs. Returns the token of the next one, if there is one.
    pub(super) async fn list_page(
        &self,
        workflow: &str,
        token: Option<String>,
        listed: &mut Vec<Listed>,
    ) -> Result<Option<String>, ReadError> {
        let page = self
            .entity_resolution
            .list_id_mapping_jobs()
            .workflow_name(workflow)
            .max_results(PAGE as i32)
            .set_next_token(token)
            .send()
            .await
            .map_err(|error| {
                ReadError::of(
                    "ListIdMappingJobs",
                    "entityresolution:ListIdMappingJobs",
                    &error,
                )
            })?;
        listed.extend(page.jobs().iter().map(|job| {
            Listed {
                id: job.job_id().to_owned(),
                // The SDK returns 1970 for a missing start time.
                began: to_offset_date_time(job.start_time())
                    .filter(|began| *began > OffsetDateTime::UNIX_EPOCH),
                ended: job.end_time().and_then(to_offset_date_time),
                status: job.status().clone(),
            }
        }));
        let next = page.next_token().filter(|token| !token.is_empty());
        Ok(next.map(str::to_owned))
    }

    pub(super) async fn get_job(
        &self,
        workflow: &str,
        id: &str,
    ) -> Result<GetIdMappingJobOutput, ReadError> {
        let job = self
            .entity_resolution
            .get_id_mapping_job()
            .workflow_name(workflow)
            .job_id(id)
            .send()
            .await
            .map_err(|error| {
                ReadError::of(
                    "GetIdMappingJob",
                    "entityresolution:GetIdMappingJob",
                    &error,
                )
            })?;
        Ok(job)
    }
}

/// Returns whether a job is a `BATCH`.
pub(super) fn is_batch(job: &GetIdMappingJobOutput) -> bool {
    job.job_type() == Some(&JobType::Batch)
}

/// Returns whether a job may be one that the function started with this type, or with none.
pub(super) fn may_be_ours(job: &GetIdMappingJobOutput, sent: Option<SentType>) -> bool {
    let has_other_type = match (job.job_type(), sent) {
        (Some(job_type), Some(sent)) => job_type.as_str() != sent.as_str(),
        _ => false,
    };
    !has_other_type && !is_foreign(job)
}

/// Returns whether a job was started at Entity Resolution itself. Such a job has an output of its own.
pub(super) fn is_foreign(job: &GetIdMappingJobOutput) -> bool {
    !job.output_source_config().is_empty()
}

pub(super) fn to_offset_date_time(
    time: &aws_sdk_entityresolution::primitives::DateTime,
) -> Option<OffsetDateTime> {
    let nanoseconds = i128::from(time.secs()) * 1_000_000_000 + i128::from(time.subsec_nanos());
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()
}
