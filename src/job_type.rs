//! Which job type is sent, and why: the rules of contract section 4, first match wins.
//!
//! A named job type, and none, need no more than the request ([`by_wish`]). `AUTO` chooses by what is
//! known of the table and its workflow ([`by_facts`]).

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::config::Period;

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

/// The rule that made the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Rule {
    /// The request names the job type.
    Requested,
    /// `DEFAULT_JOB_TYPE` names the job type.
    Configured,
    /// The event tells of deletion requests.
    DeleteRequest,
    /// None is sent: the service's default.
    ServiceDefault,
    /// The table's workflow maps through a provider service, which has no job types.
    ProviderWorkflow,
    /// The table's workflow has no incremental run configuration.
    NotIncremental,
    /// The table was never populated.
    FirstPopulation,
    /// The last `BATCH` is older than `FULL_REFRESH_EVERY`, or none is known.
    FullRefreshDue,
    /// Nothing asks for more than what is new.
    Incremental,
    /// The table or its workflow could not be read.
    FactsUnavailable,
}

impl Rule {
    /// The name as the contract writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "REQUESTED",
            Self::Configured => "CONFIGURED",
            Self::DeleteRequest => "DELETE_REQUEST",
            Self::ServiceDefault => "SERVICE_DEFAULT",
            Self::ProviderWorkflow => "PROVIDER_WORKFLOW",
            Self::NotIncremental => "NOT_INCREMENTAL",
            Self::FirstPopulation => "FIRST_POPULATION",
            Self::FullRefreshDue => "FULL_REFRESH_DUE",
            Self::Incremental => "INCREMENTAL",
            Self::FactsUnavailable => "FACTS_UNAVAILABLE",
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

impl Choice {
    fn new(job_type: Option<JobType>, rule: Rule, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self {
            job_type,
            decision: Decision { rule, reason },
        }
    }
}

/// Something that was read, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<T> {
    /// What was read.
    pub value: T,
    /// When; longer ago than this invocation, if it was kept.
    pub at: OffsetDateTime,
}

/// What was read, or why it could not be: the operation, what the service said, what to allow.
pub type Fact<T> = Result<Read<T>, String>;

/// An AWS Entity Resolution ID mapping workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workflow {
    /// Its name.
    pub name: String,
    /// How it maps.
    pub mapping: Mapping,
    /// Whether it has an incremental run configuration.
    pub incremental: bool,
}

/// A workflow's `idMappingType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Mapping {
    /// Through a provider service.
    Provider,
    /// By rules.
    RuleBased,
}

/// What `AUTO` chooses by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The table's workflow.
    pub workflow: Fact<Workflow>,
    /// Whether the table was ever populated.
    pub populated: Fact<bool>,
    /// When the table's last `BATCH` started; none: none is known.
    pub last_batch: Fact<Option<OffsetDateTime>>,
    /// Whether a job of the workflow runs or is queued. Nothing is chosen by it: a dry run tells by it
    /// what would happen now; none: it was not asked for.
    pub busy: Option<Fact<bool>>,
}

/// The choice that needs no facts; none: the wish is `AUTO`.
pub fn by_wish(wish: Wish, wished_by: WishedBy) -> Option<Choice> {
    let choice = match (wish, wished_by) {
        (Wish::Auto, _) => return None,
        (Wish::Exactly(job_type), WishedBy::Request) => Choice::new(
            Some(job_type),
            Rule::Requested,
            format!("the request asks for {}", job_type.as_str()),
        ),
        (Wish::Exactly(job_type), WishedBy::Setting) => Choice::new(
            Some(job_type),
            Rule::Configured,
            format!(
                "the request names no job type and DEFAULT_JOB_TYPE is {}",
                job_type.as_str()
            ),
        ),
        (Wish::Exactly(job_type), WishedBy::DeleteRequest) => Choice::new(
            Some(job_type),
            Rule::DeleteRequest,
            "the event tells of a BatchDeleteUniqueId, and AUTO carries deletion requests out",
        ),
        (Wish::ServiceDefault, WishedBy::Setting) => Choice::new(
            None,
            Rule::ServiceDefault,
            "the request names no job type and DEFAULT_JOB_TYPE is SERVICE_DEFAULT: the service chooses",
        ),
        (Wish::ServiceDefault, WishedBy::Request | WishedBy::DeleteRequest) => Choice::new(
            None,
            Rule::ServiceDefault,
            "the request asks for SERVICE_DEFAULT: the service chooses",
        ),
    };
    Some(choice)
}

/// What `AUTO` chooses.
///
/// A fact that is missing matters only where it could change the choice: whatever its table holds, a
/// workflow of a provider takes no job type, and a full refresh that is due is a `BATCH`.
pub fn by_facts(facts: &Facts, full_refresh_every: Option<&Period>, now: OffsetDateTime) -> Choice {
    let workflow = match &facts.workflow {
        Ok(workflow) => workflow,
        Err(why) => return unavailable(why),
    };
    let Workflow {
        name,
        mapping,
        incremental,
    } = &workflow.value;
    let as_of_workflow = as_of(workflow.at, now);
    if *mapping == Mapping::Provider {
        let reason = format!(
            "the workflow {name} maps through a provider service, which has no job types{as_of_workflow}"
        );
        return Choice::new(None, Rule::ProviderWorkflow, reason);
    }
    if !incremental {
        let reason =
            format!("the workflow {name} has no incremental run configuration{as_of_workflow}");
        return Choice::new(Some(JobType::Batch), Rule::NotIncremental, reason);
    }
    if facts.populated.as_ref().is_ok_and(|read| !read.value) {
        let reason =
            "the table was never populated (its schema says ID_MAPPING_TABLE_NOT_POPULATED)";
        return Choice::new(Some(JobType::Batch), Rule::FirstPopulation, reason);
    }
    let last_batch = full_refresh_every.map(|every| last_batch(&facts.last_batch, every, now));
    if let Some((true, reason)) = last_batch {
        return Choice::new(Some(JobType::Batch), Rule::FullRefreshDue, reason);
    }
    let populated = match &facts.populated {
        Ok(populated) => populated,
        Err(why) => return unavailable(why),
    };
    let last_batch = last_batch.map(|(_, reason)| format!("; {reason}"));
    let reason = format!(
        "the workflow {name} has an incremental run configuration and the table is populated{}{}",
        as_of(workflow.at.min(populated.at), now),
        last_batch.unwrap_or_default()
    );
    Choice::new(Some(JobType::Incremental), Rule::Incremental, reason)
}

/// Whether a full refresh is due, and why.
fn last_batch(
    fact: &Fact<Option<OffsetDateTime>>,
    every: &Period,
    now: OffsetDateTime,
) -> (bool, String) {
    let setting = format!("FULL_REFRESH_EVERY is {every}");
    match fact {
        Ok(Read {
            value: Some(started),
            at,
        }) => {
            let age = now - *started;
            let reason = format!(
                "the last BATCH started {} ago{}, {setting}",
                in_words(age),
                as_of(*at, now)
            );
            (age > every.duration, reason)
        }
        Ok(Read { value: None, at }) => {
            let reason = format!("no BATCH is known{}, {setting}", as_of(*at, now));
            (true, reason)
        }
        Err(why) => (true, format!("no BATCH is known ({why}), {setting}")),
    }
}

fn unavailable(why: &str) -> Choice {
    let reason = format!("{why}; the service chooses");
    Choice::new(None, Rule::FactsUnavailable, reason)
}

/// How old a fact is, where it was not read just now.
fn as_of(read_at: OffsetDateTime, now: OffsetDateTime) -> String {
    let age = now - read_at;
    if age < Duration::SECOND {
        return String::new();
    }
    format!(" (as read {} ago)", in_words(age))
}

/// A time span in its largest unit, rounded down.
fn in_words(span: Duration) -> String {
    let seconds = span.whole_seconds().max(0);
    let (count, unit) = match seconds {
        86_400.. => (seconds / 86_400, "day"),
        3_600.. => (seconds / 3_600, "hour"),
        60.. => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

#[cfg(test)]
mod tests;
