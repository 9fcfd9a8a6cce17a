//! Job types: what `PopulateIdMappingTable` takes, what a request asks for, and which job covers which
//! request (contract section 3).

use serde::{Deserialize, Serialize};

/// A job type as `PopulateIdMappingTable` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobType {
    /// Everything is mapped again.
    Batch,
    /// Only what is new or changed since the last run.
    Incremental,
    /// Only what Entity Resolution's `BatchDeleteUniqueId` asked to delete.
    DeleteOnly,
}

impl JobType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Batch, Self::Incremental, Self::DeleteOnly];

    /// The value on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "BATCH",
            Self::Incremental => "INCREMENTAL",
            Self::DeleteOnly => "DELETE_ONLY",
        }
    }
}

/// What a request, or `DEFAULT_JOB_TYPE`, asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Wish {
    /// This job type.
    Exactly(JobType),
    /// Send none: the service chooses.
    ServiceDefault,
    /// The function chooses.
    Auto,
}

impl Wish {
    /// Reads one of the contract's values, or says in a half-sentence what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "BATCH" => Ok(Self::Exactly(JobType::Batch)),
            "INCREMENTAL" => Ok(Self::Exactly(JobType::Incremental)),
            "DELETE_ONLY" => Ok(Self::Exactly(JobType::DeleteOnly)),
            "SERVICE_DEFAULT" => Ok(Self::ServiceDefault),
            "AUTO" => Ok(Self::Auto),
            _ => Err(
                "is no job type: write BATCH, INCREMENTAL, DELETE_ONLY, SERVICE_DEFAULT or AUTO, in upper case"
                    .to_owned(),
            ),
        }
    }

    /// The value as it was written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exactly(job_type) => job_type.as_str(),
            Self::ServiceDefault => "SERVICE_DEFAULT",
            Self::Auto => "AUTO",
        }
    }

    /// Whether a job that was sent with this type (none: with none) does what is wished (contract
    /// section 3).
    pub fn is_covered_by(self, sent: Option<JobType>) -> bool {
        match sent {
            Some(JobType::Batch) => self != Self::Exactly(JobType::DeleteOnly),
            Some(JobType::Incremental) => {
                matches!(self, Self::Exactly(JobType::Incremental) | Self::Auto)
            }
            Some(JobType::DeleteOnly) => self == Self::Exactly(JobType::DeleteOnly),
            None => matches!(self, Self::ServiceDefault | Self::Auto),
        }
    }

    /// Whether a job for this request does what the other one asks for, whatever `AUTO` chooses.
    pub fn surely_covers(self, other: Self) -> bool {
        match self {
            Self::Exactly(job_type) => other.is_covered_by(Some(job_type)),
            Self::ServiceDefault => other.is_covered_by(None),
            Self::Auto => other == Self::Auto,
        }
    }

    /// How much a job of this wish covers: of several requests for one table the widest goes first.
    /// Whatever else was asked for covers `AUTO`, so it goes after them.
    pub fn width(self) -> u8 {
        match self {
            Self::Exactly(JobType::Batch) => 4,
            Self::ServiceDefault => 3,
            Self::Exactly(JobType::Incremental) => 2,
            Self::Auto => 1,
            Self::Exactly(JobType::DeleteOnly) => 0,
        }
    }
}

/// Where a wish came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WishedBy {
    /// The request or its target.
    Request,
    /// `DEFAULT_JOB_TYPE`.
    Setting,
    /// `AUTO` said so of an event that tells of a `BatchDeleteUniqueId`.
    DeleteRequest,
}
