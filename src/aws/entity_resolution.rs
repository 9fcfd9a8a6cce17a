//! What AWS knows of a table, its workflow and its jobs.
//!
//! `GetIdMappingTable` names the table's workflow, `ListIdMappingJobs` that workflow's jobs. `facts`
//! reads what `AUTO` chooses by; `lost` looks for the job of a call whose answer was lost; `end` tells
//! how a job ended.

mod end;
mod facts;
mod lost;

use std::sync::{Arc, Mutex};

use aws_sdk_cleanrooms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cleanrooms::types::{SchemaStatus, SchemaStatusReasonCode};
use aws_sdk_entityresolution::operation::get_id_mapping_job::GetIdMappingJobOutput;
use aws_sdk_entityresolution::types::{IdMappingType, JobStatus, JobType};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use time::OffsetDateTime;

pub use self::lost::{Found, KnownJobs, NotFound};
use crate::choice::{Mapping, Workflow};
use crate::error::{shortened, with_causes};
use crate::job_type::JobType as SentType;
use crate::target::Target;

/// Pages of `ListIdMappingJobs`, of 25 jobs each, that are read at most. AWS documents no order, so a list
/// that was not read to its end does not tell that a job is missing.
const MAX_PAGES: usize = 1_000;

/// Clean Rooms and Entity Resolution, to read from.
#[derive(Clone, Debug)]
pub struct Workflows {
    clean_rooms: aws_sdk_cleanrooms::Client,
    entity_resolution: aws_sdk_entityresolution::Client,
    kept: Arc<Mutex<facts::Kept>>,
}

/// Why something could not be read: the operation, what the service said, what to allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    said: String,
    /// The permission that is missing, if it is that.
    permission: Option<&'static str>,
    /// Whether there is no such thing (404).
    absent: bool,
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.said)?;
        match self.permission {
            Some(permission) => write!(f, "; allow the function's role {permission}"),
            None => Ok(()),
        }
    }
}

/// A table, as far as other reads need it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    /// The name of its workflow.
    workflow: String,
    /// Its collaboration, and its name there: its schema's.
    collaboration: String,
    name: String,
}

/// A job of a workflow, as the list has it.
#[derive(Clone, Debug)]
struct Listed {
    id: String,
    /// Its start; none: it is queued, and the list does not tell one.
    began: Option<OffsetDateTime>,
    status: JobStatus,
}

impl Workflows {
    /// With the configuration of [`crate::clients`].
    pub fn new(config: &aws_config::SdkConfig) -> Self {
        Self {
            clean_rooms: aws_sdk_cleanrooms::Client::new(config),
            entity_resolution: aws_sdk_entityresolution::Client::new(config),
            kept: Arc::default(),
        }
    }

    async fn get_table(&self, target: &Target) -> Result<Table, Unread> {
        let answer = self
            .clean_rooms
            .get_id_mapping_table()
            .membership_identifier(target.membership.as_str())
            .id_mapping_table_identifier(target.table.as_str())
            .send()
            .await
            .map_err(|error| unread("GetIdMappingTable", "cleanrooms:GetIdMappingTable", &error))?;
        let workflow = |table: &aws_sdk_cleanrooms::types::IdMappingTable| {
            let arn = table.input_reference_config()?.input_reference_arn();
            let (_, name) = arn.rsplit_once("idmappingworkflow/")?;
            (!name.is_empty()).then(|| name.to_owned())
        };
        answer
            .id_mapping_table()
            .and_then(|table| {
                Some(Table {
                    workflow: workflow(table)?,
                    collaboration: table.collaboration_id().to_owned(),
                    name: table.name().to_owned(),
                })
            })
            .ok_or_else(|| unclear("GetIdMappingTable names no ID mapping workflow"))
    }

    async fn get_workflow(&self, name: &str) -> Result<Workflow, Unread> {
        let answer = self
            .entity_resolution
            .get_id_mapping_workflow()
            .workflow_name(name)
            .send()
            .await
            .map_err(|error| {
                unread(
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
                return Err(unclear(
                    "GetIdMappingWorkflow names no idMappingType that this function knows",
                ));
            }
        };
        Ok(Workflow {
            name: name.to_owned(),
            mapping,
            incremental: answer.incremental_run_config().is_some(),
        })
    }

    /// Whether the table was ever populated, as its schema tells.
    async fn is_populated(&self, table: &Table) -> Result<bool, Unread> {
        let answer = self
            .clean_rooms
            .get_schema()
            .collaboration_identifier(&table.collaboration)
            .name(&table.name)
            .send()
            .await
            .map_err(|error| unread("GetSchema", "cleanrooms:GetSchema", &error))?;
        // Of an answer without a schema the SDK makes an empty one.
        let schema = answer
            .schema()
            .filter(|schema| !schema.name().is_empty())
            .ok_or_else(|| unclear("GetSchema answers without a schema"))?;
        let never = schema.schema_status_details().iter().any(|detail| {
            *detail.status() == SchemaStatus::NotReady
                && detail.reasons().iter().any(|reason| {
                    *reason.code() == SchemaStatusReasonCode::IdMappingTableNotPopulated
                })
        });
        Ok(!never)
    }

    async fn list_jobs(&self, workflow: &str) -> Result<Vec<Listed>, Unread> {
        let mut listed = Vec::new();
        let mut next = None;
        for _ in 0..MAX_PAGES {
            let page = self
                .entity_resolution
                .list_id_mapping_jobs()
                .workflow_name(workflow)
                .max_results(25)
                .set_next_token(next)
                .send()
                .await
                .map_err(|error| {
                    unread(
                        "ListIdMappingJobs",
                        "entityresolution:ListIdMappingJobs",
                        &error,
                    )
                })?;
            listed.extend(page.jobs().iter().map(|job| Listed {
                id: job.job_id().to_owned(),
                // The SDK makes 1970 of a start that is missing.
                began: moment(job.start_time()).filter(|began| *began > OffsetDateTime::UNIX_EPOCH),
                status: job.status().clone(),
            }));
            next = page
                .next_token()
                .filter(|token| !token.is_empty())
                .map(str::to_owned);
            if next.is_none() {
                return Ok(listed);
            }
        }
        Err(unclear(format!(
            "ListIdMappingJobs failed: the list has more than {MAX_PAGES} pages"
        )))
    }

    async fn get_job(&self, workflow: &str, id: &str) -> Result<GetIdMappingJobOutput, Unread> {
        let job = self
            .entity_resolution
            .get_id_mapping_job()
            .workflow_name(workflow)
            .job_id(id)
            .send()
            .await
            .map_err(|error| {
                unread(
                    "GetIdMappingJob",
                    "entityresolution:GetIdMappingJob",
                    &error,
                )
            })?;
        Ok(job)
    }
}

/// Whether a job is a `BATCH`.
fn is_batch(job: &GetIdMappingJobOutput) -> bool {
    job.job_type() == Some(&JobType::Batch)
}

/// Whether a job may be one that was sent with this type, or none: it has that type, if it tells one.
fn may_be_ours(job: &GetIdMappingJobOutput, sent: Option<SentType>) -> bool {
    let other = match (job.job_type(), sent) {
        (Some(job_type), Some(sent)) => job_type.as_str() != sent.as_str(),
        _ => false,
    };
    !other && !is_foreign(job)
}

/// Whether a job was started at Entity Resolution itself: such a one has an output of its own.
fn is_foreign(job: &GetIdMappingJobOutput) -> bool {
    !job.output_source_config().is_empty()
}

fn moment(time: &aws_sdk_entityresolution::primitives::DateTime) -> Option<OffsetDateTime> {
    let nanoseconds = i128::from(time.secs()) * 1_000_000_000 + i128::from(time.subsec_nanos());
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()
}

fn unclear(said: impl Into<String>) -> Unread {
    Unread {
        said: said.into(),
        permission: None,
        absent: false,
    }
}

fn unread<E>(operation: &str, permission: &'static str, error: &SdkError<E, HttpResponse>) -> Unread
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let said = match error.as_service_error() {
        Some(refusal) => format!(
            "{}: {}",
            refusal.code().unwrap_or("refused"),
            shortened(refusal.message().unwrap_or("no message"))
        ),
        None => with_causes(error),
    };
    let status = error
        .raw_response()
        .map(|response| response.status().as_u16());
    Unread {
        said: format!("{operation} failed: {said}"),
        permission: matches!(status, Some(401 | 403)).then_some(permission),
        absent: status == Some(404),
    }
}
