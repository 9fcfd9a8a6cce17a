//! ID mapping jobs: the call that starts one, its ids, and its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::choice::Choice;
use crate::job_type::JobType;
use crate::request::Request;
use crate::target::Target;

/// The id of a job: Clean Rooms' where the call was answered, otherwise Entity Resolution's.
///
/// Copies share the text: a record of the ledger holds up to 64 ids, and each transition copies the record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobId {
    /// The id that `PopulateIdMappingTable` answered.
    IdMappingJobId(Arc<str>),
    /// The id at Entity Resolution of a job that was found, because its call's answer was lost.
    EntityResolutionJobId(Arc<str>),
}

impl JobId {
    /// The id.
    pub fn as_str(&self) -> &str {
        match self {
            Self::IdMappingJobId(id) | Self::EntityResolutionJobId(id) => id,
        }
    }
}

/// A job that started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its id.
    #[serde(flatten)]
    pub id: JobId,
    /// The job type that was sent. `None` is the service's default.
    pub job_type: Option<JobType>,
    /// The time before the call.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    pub started_at: OffsetDateTime,
    /// The time after its answer.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    pub answered_at: OffsetDateTime,
}

/// A call of `PopulateIdMappingTable`, and the request that it is made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// Identifies the call.
    pub attempt: Uuid,
    /// The time before the call.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    pub called_at: OffsetDateTime,
    /// The request.
    pub request: Request,
    /// What is sent, and why.
    pub choice: Choice,
}

impl Call {
    /// The job that the call started, if its answer did not tell its id.
    pub fn job(&self, id: JobId) -> Job {
        Job {
            id,
            job_type: self.choice.job_type,
            started_at: self.called_at,
            answered_at: self.called_at,
        }
    }
}

/// A job, and the request that it was started for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartedJob {
    /// The call that started it, or nil if that is not known any more.
    #[serde(default, skip_serializing_if = "Uuid::is_nil")]
    pub attempt: Uuid,
    /// The request.
    pub request: Request,
    /// What was sent, and why.
    pub choice: Choice,
    /// The job.
    pub job: Job,
}

impl StartedJob {
    /// The job that a call started.
    pub fn new(call: &Call, job: Job) -> Self {
        Self {
            attempt: call.attempt,
            request: call.request.clone(),
            choice: call.choice.clone(),
            job,
        }
    }
}

/// A job that a message asks to be tracked. Anybody may send such a message, so the ledger must know the job, or a call
/// that is not recorded as started. Only this function knows the call's random id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrackedJob {
    /// The table.
    pub target: Target,
    /// What the message says of the job.
    pub job: TrackedId,
}

/// A job's id, and that of the call that started it. Messages of the waiting queue have it in this form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TrackedId {
    /// The job's id.
    #[serde(flatten)]
    pub id: JobId,
    /// The call that started it, or nil.
    #[serde(default, skip_serializing_if = "Uuid::is_nil")]
    pub attempt: Uuid,
}

impl From<&StartedJob> for TrackedId {
    fn from(started: &StartedJob) -> Self {
        Self {
            id: started.job.id.clone(),
            attempt: started.attempt,
        }
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// The table contains what its source contained when the job started.
    Succeeded,
    /// The table is as it was before the job.
    Failed,
}

/// A job of a workflow, as Entity Resolution lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowJob {
    /// Its id at Entity Resolution.
    pub id: String,
    /// Its status.
    pub state: JobState,
    /// When it started. `None` if it is queued and has no start time.
    pub started_at: Option<OffsetDateTime>,
    /// When it ended. `None` if it has not ended.
    pub ended_at: Option<OffsetDateTime>,
}

/// The status of a job in a status report: Entity Resolution's, or what else is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobState {
    /// It waits for another job.
    Queued,
    /// It runs.
    Running,
    /// It succeeded.
    Succeeded,
    /// It failed.
    Failed,
    /// It started. Whether it has ended is not known.
    Started,
}

/// What is known of the end of a job that covers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobStatus {
    /// It started. Whether it has ended is not known.
    Started,
    /// It succeeded.
    Succeeded,
}

/// How a job was found at Entity Resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum IdentifiedBy {
    /// By its id.
    JobId,
    /// By its start time, among the jobs of the table's workflow.
    StartTime,
}

/// A job that has ended, as Entity Resolution describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedJob {
    /// Its id at Entity Resolution.
    pub entity_resolution_job_id: String,
    /// Why it failed, in the service's words. `None` if it succeeded.
    pub failure: Option<String>,
    /// Entity Resolution's counts, under its names.
    pub metrics: BTreeMap<&'static str, i32>,
    /// When it started.
    pub started_at: OffsetDateTime,
    /// When it ended, if Entity Resolution tells it.
    pub ended_at: Option<OffsetDateTime>,
    /// How it was found.
    pub identified_by: IdentifiedBy,
}

impl EndedJob {
    /// How it ended.
    pub fn end(&self) -> JobEnd {
        match self.failure {
            Some(_) => JobEnd::Failed,
            None => JobEnd::Succeeded,
        }
    }
}
