//! ID mapping jobs: the call that starts one, its ids, and its end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::choice::Choice;
use crate::job_type::JobType;
use crate::request::Request;

/// The name of a job: Clean Rooms', or, where it was found and not answered, Entity Resolution's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobId {
    /// What `PopulateIdMappingTable` answered.
    IdMappingJobId(String),
    /// What Entity Resolution calls a job whose start answered nothing.
    EntityResolutionJobId(String),
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
    /// The job type that was sent; none: the service's default.
    pub job_type: Option<JobType>,
    /// The moment before the call.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    pub started_at: OffsetDateTime,
    /// The moment after its answer.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    pub answered_at: OffsetDateTime,
}

/// A call of `PopulateIdMappingTable`, for whom and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// Whose call it is.
    pub attempt: Uuid,
    /// The moment before the call.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    pub called_at: OffsetDateTime,
    /// The request.
    pub request: Request,
    /// What is sent, and why.
    pub choice: Choice,
}

/// A job whose `STARTED` has to be published yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// The request.
    pub request: Request,
    /// What was sent, and why.
    pub choice: Choice,
    /// The job.
    pub job: Job,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// The table is fresh.
    Succeeded,
    /// The table is as it was.
    Failed,
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

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Its id at Entity Resolution.
    pub job_id: String,
    /// Why it failed, in the service's words; none: it succeeded.
    pub failed: Option<String>,
    /// Entity Resolution's counts, under its names.
    pub metrics: BTreeMap<&'static str, i32>,
    /// Its start, as Entity Resolution tells it.
    pub started_at: OffsetDateTime,
    /// Its end, if Entity Resolution tells it.
    pub ended_at: Option<OffsetDateTime>,
    /// How it was found.
    pub identified_by: IdentifiedBy,
}
