//! Which job type is sent, and why: the rules of contract section 4, first match wins.
//!
//! A named job type, and none, need no more than the request ([`by_request`]). `AUTO` chooses by what is
//! known of the table and its workflow ([`by_facts`]).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::job_type::{JobType, RequestedType, TypeSource};
use crate::period::Period;

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
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Requested,
        Self::Configured,
        Self::DeleteRequest,
        Self::ServiceDefault,
        Self::ProviderWorkflow,
        Self::NotIncremental,
        Self::FirstPopulation,
        Self::FullRefreshDue,
        Self::Incremental,
        Self::FactsUnavailable,
    ];

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
    pub reason: Arc<str>,
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
    fn new(job_type: Option<JobType>, rule: Rule, reason: impl Into<Arc<str>>) -> Self {
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

/// Why something is not known: the operation, what the service said, what to allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingFact {
    /// The sentence.
    pub why: String,
    /// Whether it may be known the next time; else it cannot be read as things are.
    pub transient: bool,
}

/// What was read, or why it is not known.
pub type Fact<T> = Result<Read<T>, MissingFact>;

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
    /// When the table's last `BATCH` started; none: none is known. It matters only where full
    /// refreshes are set.
    pub last_batch: Fact<Option<OffsetDateTime>>,
    /// Whether a job of the workflow runs or is queued. Nothing is chosen by it: a dry run tells by it
    /// what would happen now; none: it was not asked for.
    pub busy: Option<Fact<bool>>,
}

impl Facts {
    /// Returns whether one of them was read before this time.
    pub fn is_any_older_than(&self, time: OffsetDateTime) -> bool {
        let reads = [
            self.workflow.as_ref().ok().map(|read| read.at),
            self.populated.as_ref().ok().map(|read| read.at),
            self.last_batch.as_ref().ok().map(|read| read.at),
        ];
        reads.into_iter().flatten().any(|at| at < time)
    }
}

/// The choice that needs no facts; none: the requested_type is `AUTO`.
pub fn by_request(requested_type: RequestedType, type_source: TypeSource) -> Option<Choice> {
    let choice = match (requested_type, type_source) {
        (RequestedType::Auto, _) => return None,
        (RequestedType::Exactly(job_type), TypeSource::Request) => Choice::new(
            Some(job_type),
            Rule::Requested,
            format!("the request asks for {}", job_type.as_str()),
        ),
        (RequestedType::Exactly(job_type), TypeSource::Setting) => Choice::new(
            Some(job_type),
            Rule::Configured,
            format!(
                "the request names no job type and DEFAULT_JOB_TYPE is {}",
                job_type.as_str()
            ),
        ),
        (RequestedType::Exactly(job_type), TypeSource::DeleteRequest) => Choice::new(
            Some(job_type),
            Rule::DeleteRequest,
            "the event tells of a BatchDeleteUniqueId, and AUTO carries deletion requests out",
        ),
        (RequestedType::ServiceDefault, TypeSource::Setting) => Choice::new(
            None,
            Rule::ServiceDefault,
            "the request names no job type and DEFAULT_JOB_TYPE is SERVICE_DEFAULT: the service chooses",
        ),
        (RequestedType::ServiceDefault, TypeSource::Request | TypeSource::DeleteRequest) => {
            Choice::new(
                None,
                Rule::ServiceDefault,
                "the request asks for SERVICE_DEFAULT: the service chooses",
            )
        }
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
        Err(missing) => return unavailable(missing),
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
    let populated = facts.populated.as_ref();
    // All rows from here on rest on both.
    let as_of_both = as_of(
        populated.map_or(workflow.at, |read| read.at.min(workflow.at)),
        now,
    );
    if populated.is_ok_and(|read| !read.value) {
        let reason = format!(
            "the table was never populated (its schema says ID_MAPPING_TABLE_NOT_POPULATED){as_of_both}"
        );
        return Choice::new(Some(JobType::Batch), Rule::FirstPopulation, reason);
    }
    let refresh = match full_refresh_every {
        Some(every) => match full_refresh(&facts.last_batch, every, now) {
            Ok((true, reason)) => {
                let reason = format!("{reason}{as_of_both}");
                return Choice::new(Some(JobType::Batch), Rule::FullRefreshDue, reason);
            }
            Ok((false, reason)) => format!("; {reason}"),
            Err(missing) => return unavailable(missing),
        },
        None => String::new(),
    };
    if let Err(missing) = populated {
        return unavailable(missing);
    }
    let reason = format!(
        "the workflow {name} has an incremental run configuration and the table is populated{as_of_both}{refresh}"
    );
    Choice::new(Some(JobType::Incremental), Rule::Incremental, reason)
}

/// Whether a full refresh is due, and why. An error: that could not be read this time. Where it may
/// not be read at all, no `BATCH` is known.
fn full_refresh<'a>(
    last_batch: &'a Fact<Option<OffsetDateTime>>,
    every: &Period,
    now: OffsetDateTime,
) -> Result<(bool, String), &'a MissingFact> {
    let setting = format!("FULL_REFRESH_EVERY is {every}");
    match last_batch {
        Ok(Read {
            value: Some(started),
            ..
        }) => {
            let age = now - *started;
            let reason = format!("the last BATCH started {} ago, {setting}", in_words(age));
            Ok((age > every.duration, reason))
        }
        Ok(Read { value: None, at }) => {
            let reason = format!("no BATCH is known{}, {setting}", as_of(*at, now));
            Ok((true, reason))
        }
        Err(missing) if !missing.transient => Ok((
            true,
            format!("no BATCH is known ({}), {setting}", missing.why),
        )),
        Err(missing) => Err(missing),
    }
}

fn unavailable(missing: &MissingFact) -> Choice {
    let reason = format!("{}; the service chooses", missing.why);
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

/// A time span in its two largest units, rounded down.
fn in_words(span: Duration) -> String {
    let seconds = span.whole_seconds().max(0);
    let words = |count: i64, unit: &str| match count {
        1 => format!("1 {unit}"),
        _ => format!("{count} {unit}s"),
    };
    let units = [
        ("day", 86_400),
        ("hour", 3_600),
        ("minute", 60),
        ("second", 1),
    ];
    let mut left = seconds;
    let mut said: Vec<String> = Vec::new();
    for (unit, length) in units {
        let count = left / length;
        left %= length;
        if count > 0 {
            said.push(words(count, unit));
        } else if !said.is_empty() {
            break;
        }
    }
    said.truncate(2);
    if said.is_empty() {
        return words(0, "second");
    }
    said.join(" ")
}

#[cfg(test)]
mod tests;
