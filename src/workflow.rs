//! Jobs of a table's workflow, as Entity Resolution knows them: whether a call whose outcome is
//! unknown started a job after all.
//!
//! `GetIdMappingTable` names the table's workflow, `ListIdMappingJobs` its jobs with their start
//! times. A job's name there is another than `PopulateIdMappingTable` answers, so a job is known by
//! its start.

use aws_sdk_cleanrooms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_entityresolution::types::JobStatus;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use time::{Duration, OffsetDateTime};

use crate::error::{shortened, with_causes};
use crate::ledger::{Call, JobId, Record};
use crate::target::Target;

/// How far the clocks of Entity Resolution and of the function may differ.
const CLOCK_DIFFERENCE: Duration = Duration::seconds(2);

/// A call's job starts while the call is under way, or is queued a little later. One that starts
/// later than this was started by somebody else, perhaps for another table with the same workflow.
const LATEST_START: Duration = Duration::minutes(5);

/// Pages of `ListIdMappingJobs`, of 25 jobs each, that are read at most.
const MAX_PAGES: usize = 20;

/// Jobs that may be the call's and are looked at one by one at most.
const MAX_CANDIDATES: usize = 5;

/// Clean Rooms and Entity Resolution, to read from.
#[derive(Clone, Debug)]
pub struct Workflows {
    clean_rooms: aws_sdk_cleanrooms::Client,
    entity_resolution: aws_sdk_entityresolution::Client,
}

/// Why no job was found for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// No job of the workflow began when the call was made.
    None,
    /// So many jobs did.
    Several(usize),
    /// This permission is missing; what the service said.
    NotPermitted(&'static str, String),
    /// A read failed.
    Failed(String),
}

impl std::fmt::Display for NotFound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("Entity Resolution has no job that began then"),
            Self::Several(count) => {
                write!(f, "Entity Resolution has {count} jobs that began then")
            }
            Self::NotPermitted(permission, said) => write!(
                f,
                "its job could not be looked for: {said}; allow the function's role {permission}"
            ),
            Self::Failed(cause) => write!(f, "its job could not be looked for: {cause}"),
        }
    }
}

impl Workflows {
    /// With the configuration of [`crate::clients`].
    pub fn new(config: &aws_config::SdkConfig) -> Self {
        Self {
            clean_rooms: aws_sdk_cleanrooms::Client::new(config),
            entity_resolution: aws_sdk_entityresolution::Client::new(config),
        }
    }

    /// Looks for the job that a call started: one of the table's workflow that began when the call
    /// was made and did not fail, that no other call of the ledger started, and that has no output
    /// of its own, as jobs have that were started at Entity Resolution itself.
    pub async fn find_job(&self, call: &Call, record: &Record) -> Result<JobId, NotFound> {
        let workflow = self.workflow_of(&call.request.target).await?;
        let mut listed = Vec::new();
        let mut next = None;
        for _ in 0..MAX_PAGES {
            let page = self
                .entity_resolution
                .list_id_mapping_jobs()
                .workflow_name(&workflow)
                .max_results(25)
                .set_next_token(next)
                .send()
                .await
                .map_err(|error| {
                    failed(
                        "ListIdMappingJobs",
                        "entityresolution:ListIdMappingJobs",
                        &error,
                    )
                })?;
            listed.extend(page.jobs().iter().filter_map(|job| {
                let start = job.start_time();
                let nanoseconds =
                    i128::from(start.secs()) * 1_000_000_000 + i128::from(start.subsec_nanos());
                Some(Listed {
                    id: job.job_id().to_owned(),
                    began: OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()?,
                    failed: *job.status() == JobStatus::Failed,
                })
            }));
            next = page
                .next_token()
                .filter(|token| !token.is_empty())
                .map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
        let candidates = candidates(listed, call, record);
        if candidates.len() > MAX_CANDIDATES {
            return Err(NotFound::Several(candidates.len()));
        }
        let mut ours = Vec::new();
        for Listed { id: job_id, .. } in candidates {
            let job = self
                .entity_resolution
                .get_id_mapping_job()
                .workflow_name(&workflow)
                .job_id(&job_id)
                .send()
                .await
                .map_err(|error| {
                    failed(
                        "GetIdMappingJob",
                        "entityresolution:GetIdMappingJob",
                        &error,
                    )
                })?;
            if job.output_source_config().is_empty() {
                ours.push(job_id);
            }
        }
        match <[String; 1]>::try_from(ours) {
            Ok([job_id]) => Ok(JobId::EntityResolutionJobId(job_id)),
            Err(none) if none.is_empty() => Err(NotFound::None),
            Err(several) => Err(NotFound::Several(several.len())),
        }
    }

    /// The name of the workflow behind a table.
    async fn workflow_of(&self, target: &Target) -> Result<String, NotFound> {
        let table = self
            .clean_rooms
            .get_id_mapping_table()
            .membership_identifier(target.membership.as_str())
            .id_mapping_table_identifier(target.table.as_str())
            .send()
            .await
            .map_err(|error| failed("GetIdMappingTable", "cleanrooms:GetIdMappingTable", &error))?;
        let arn = table
            .id_mapping_table()
            .and_then(|table| table.input_reference_config())
            .map(|input| input.input_reference_arn())
            .unwrap_or_default();
        arn.rsplit_once("idmappingworkflow/")
            .map(|(_, name)| name.to_owned())
            .filter(|name| !name.is_empty())
            .ok_or_else(|| {
                NotFound::Failed("GetIdMappingTable names no ID mapping workflow".to_owned())
            })
    }
}

/// A job of `ListIdMappingJobs`.
struct Listed {
    id: String,
    began: OffsetDateTime,
    failed: bool,
}

/// The jobs that a call may have started: they began when it was made, did not fail, and are none
/// that the record knows. Each job of the record is one of the list: the one that bears its id, or
/// began nearest to its call.
fn candidates(mut listed: Vec<Listed>, call: &Call, record: &Record) -> Vec<Listed> {
    for known in record.recent() {
        let window = known.started_at - CLOCK_DIFFERENCE..=known.answered_at + CLOCK_DIFFERENCE;
        let same = listed.iter().position(|job| job.id == known.id.as_str());
        let nearest = || {
            let near = listed
                .iter()
                .enumerate()
                .filter(|(_, job)| window.contains(&job.began));
            near.min_by_key(|(_, job)| (job.began - known.started_at).abs())
                .map(|(index, _)| index)
        };
        if let Some(index) = same.or_else(nearest) {
            listed.remove(index);
        }
    }
    let began = call.called_at - CLOCK_DIFFERENCE..=call.called_at + LATEST_START;
    listed.retain(|job| !job.failed && began.contains(&job.began));
    listed
}

fn failed<E>(
    operation: &str,
    permission: &'static str,
    error: &SdkError<E, HttpResponse>,
) -> NotFound
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
    let said = format!("{operation} failed: {said}");
    let status = error
        .raw_response()
        .map(|response| response.status().as_u16());
    match status {
        Some(401 | 403) => NotFound::NotPermitted(permission, said),
        _ => NotFound::Failed(said),
    }
}
