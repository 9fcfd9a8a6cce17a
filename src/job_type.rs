//! Job types: what `PopulateIdMappingTable` takes, what a request asks for, and which job covers which
//! request (docs/reference.md#coverage).

use serde::{Deserialize, Serialize};

/// A job type as `PopulateIdMappingTable` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobType {
    /// Maps all records again.
    Batch,
    /// Maps the records that are new or changed since the last run.
    Incremental,
    /// Deletes what Entity Resolution's `BatchDeleteUniqueId` asked to delete.
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
#[serde(try_from = "String", into = "&'static str")]
pub enum RequestedType {
    /// This job type.
    Exactly(JobType),
    /// No job type is sent: the service chooses.
    ServiceDefault,
    /// The function chooses.
    Auto,
}

impl RequestedType {
    /// Deletions only.
    pub const DELETE_ONLY: Self = Self::Exactly(JobType::DeleteOnly);

    /// Parses a value of `jobType`. An error is half a sentence: what is wrong, and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "BATCH" => Ok(Self::Exactly(JobType::Batch)),
            "INCREMENTAL" => Ok(Self::Exactly(JobType::Incremental)),
            "DELETE_ONLY" => Ok(Self::Exactly(JobType::DeleteOnly)),
            "SERVICE_DEFAULT" => Ok(Self::ServiceDefault),
            "AUTO" => Ok(Self::Auto),
            _ => Err(
                "is not a job type: write BATCH, INCREMENTAL, DELETE_ONLY, SERVICE_DEFAULT or AUTO, in upper case"
                    .to_owned(),
            ),
        }
    }

    /// The value, as `jobType` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exactly(job_type) => job_type.as_str(),
            Self::ServiceDefault => "SERVICE_DEFAULT",
            Self::Auto => "AUTO",
        }
    }

    /// Returns whether a job that was sent with this type, or with none, does what is asked for
    /// (docs/reference.md#coverage).
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

    /// Returns whether a job for this type does what the other one asks for, whatever `AUTO` chooses.
    pub fn always_covers(self, other: Self) -> bool {
        match self {
            Self::Exactly(job_type) => other.is_covered_by(Some(job_type)),
            Self::ServiceDefault => other.is_covered_by(None),
            Self::Auto => other == Self::Auto,
        }
    }

    /// How much a job for this type covers. Of several requests for one table the widest goes first. Each type
    /// but `DELETE_ONLY` covers `AUTO`, so `AUTO` goes after them.
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

impl TryFrom<String> for RequestedType {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<RequestedType> for &'static str {
    fn from(requested: RequestedType) -> Self {
        requested.as_str()
    }
}

/// Where a requested type comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TypeSource {
    /// The request or its target.
    Request,
    /// `DEFAULT_JOB_TYPE`.
    Setting,
    /// An event about a `BatchDeleteUniqueId`, where `DEFAULT_JOB_TYPE` is `AUTO`.
    DeleteRequest,
}
