//! Which job type is sent, and why: the rules of contract section 4, first match wins.

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
}

impl Wish {
    /// Reads one of the contract's values, or says in a half-sentence what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        const VALUES: &str = "BATCH, INCREMENTAL, DELETE_ONLY or SERVICE_DEFAULT";
        match text {
            "BATCH" => Ok(Self::Exactly(JobType::Batch)),
            "INCREMENTAL" => Ok(Self::Exactly(JobType::Incremental)),
            "DELETE_ONLY" => Ok(Self::Exactly(JobType::DeleteOnly)),
            "SERVICE_DEFAULT" => Ok(Self::ServiceDefault),
            "AUTO" => Err(format!(
                "is AUTO, which this version does not choose by: write {VALUES}"
            )),
            _ => Err(format!("is no job type: write {VALUES}, in upper case")),
        }
    }

    /// The value as it was written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exactly(job_type) => job_type.as_str(),
            Self::ServiceDefault => "SERVICE_DEFAULT",
        }
    }

    /// Whether a job that was sent with this type (none: with none) does what is wished (contract
    /// section 3).
    pub fn is_covered_by(self, sent: Option<JobType>) -> bool {
        match sent {
            Some(JobType::Batch) => self != Self::Exactly(JobType::DeleteOnly),
            Some(job_type) => self == Self::Exactly(job_type),
            None => self == Self::ServiceDefault,
        }
    }

    /// How much a job of this wish covers: of several requests for one table the widest goes first.
    pub fn width(self) -> u8 {
        match self {
            Self::Exactly(JobType::Batch) => 3,
            Self::ServiceDefault => 2,
            Self::Exactly(JobType::Incremental) => 1,
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
}

/// The rule that made the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Rule {
    /// The request names the job type.
    Requested,
    /// `DEFAULT_JOB_TYPE` names the job type.
    Configured,
    /// None is sent: the service's default.
    ServiceDefault,
}

impl Rule {
    /// The name as the contract writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "REQUESTED",
            Self::Configured => "CONFIGURED",
            Self::ServiceDefault => "SERVICE_DEFAULT",
        }
    }
}

/// Which rule chose, and why, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The rule.
    pub rule: Rule,
    /// The sentence.
    pub reason: String,
}

/// What is sent, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The job type to send; none: the service's default.
    pub job_type: Option<JobType>,
    /// The rule and its reason.
    pub decision: Decision,
}

/// Chooses the job type of one request.
pub fn choose(wish: Wish, wished_by: WishedBy) -> Choice {
    let (job_type, rule, reason) = match (wish, wished_by) {
        (Wish::Exactly(job_type), WishedBy::Request) => (
            Some(job_type),
            Rule::Requested,
            format!("the request asks for {}", job_type.as_str()),
        ),
        (Wish::Exactly(job_type), WishedBy::Setting) => (
            Some(job_type),
            Rule::Configured,
            format!("the request names no job type and DEFAULT_JOB_TYPE is {}", job_type.as_str()),
        ),
        (Wish::ServiceDefault, WishedBy::Request) => (
            None,
            Rule::ServiceDefault,
            "the request asks for SERVICE_DEFAULT: the service chooses".to_owned(),
        ),
        (Wish::ServiceDefault, WishedBy::Setting) => (
            None,
            Rule::ServiceDefault,
            "the request names no job type and DEFAULT_JOB_TYPE is SERVICE_DEFAULT: the service chooses"
                .to_owned(),
        ),
    };
    Choice {
        job_type,
        decision: Decision { rule, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wish_has_its_rule() {
        use JobType::*;
        for (text, by, job_type, rule) in [
            ("BATCH", WishedBy::Request, Some(Batch), "REQUESTED"),
            (
                "INCREMENTAL",
                WishedBy::Request,
                Some(Incremental),
                "REQUESTED",
            ),
            (
                "DELETE_ONLY",
                WishedBy::Request,
                Some(DeleteOnly),
                "REQUESTED",
            ),
            (
                "SERVICE_DEFAULT",
                WishedBy::Request,
                None,
                "SERVICE_DEFAULT",
            ),
            ("BATCH", WishedBy::Setting, Some(Batch), "CONFIGURED"),
            (
                "INCREMENTAL",
                WishedBy::Setting,
                Some(Incremental),
                "CONFIGURED",
            ),
            (
                "DELETE_ONLY",
                WishedBy::Setting,
                Some(DeleteOnly),
                "CONFIGURED",
            ),
            (
                "SERVICE_DEFAULT",
                WishedBy::Setting,
                None,
                "SERVICE_DEFAULT",
            ),
        ] {
            let wish = Wish::parse(text).unwrap();
            assert_eq!(wish.as_str(), text);
            let choice = choose(wish, by);
            assert_eq!(choice.job_type, job_type, "{text} {by:?}");
            assert_eq!(choice.decision.rule.as_str(), rule, "{text} {by:?}");
            assert!(
                choice.decision.reason.contains(text),
                "{}",
                choice.decision.reason
            );
        }
    }

    #[test]
    fn only_the_exact_values_are_job_types() {
        for text in ["", "batch", "Batch", " BATCH", "FULL", "DELETE-ONLY"] {
            assert!(
                Wish::parse(text)
                    .unwrap_err()
                    .contains("BATCH, INCREMENTAL"),
                "{text}"
            );
        }
        assert!(Wish::parse("AUTO").unwrap_err().contains("this version"));
    }

    #[test]
    fn names_on_the_wire_and_in_events_are_the_same() {
        for job_type in [JobType::Batch, JobType::Incremental, JobType::DeleteOnly] {
            assert_eq!(serde_json::to_value(job_type).unwrap(), job_type.as_str());
        }
        for rule in [Rule::Requested, Rule::Configured, Rule::ServiceDefault] {
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.as_str());
        }
    }
}
