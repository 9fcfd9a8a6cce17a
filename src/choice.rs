//! The choice of the job type: the rules of docs/reference.md#job-type-rules. The first rule that matches wins.
//!
//! [`by_request`] chooses from the request alone. For `AUTO`, [`by_facts`] chooses from what is known of the table and
//! its workflow.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::job_type::{JobType, RequestedType, TypeSource};
use crate::period::Period;

/// A rule by which a job type is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Rule {
    /// The request names the job type.
    Requested,
    /// `DEFAULT_JOB_TYPE` names the job type.
    Configured,
    /// The event records deletion requests.
    DeleteRequest,
    /// No job type is sent, and the service uses its default.
    ServiceDefault,
    /// The table's workflow maps through a provider service, which has no job types.
    ProviderWorkflow,
    /// The table's workflow has no incremental run configuration.
    NotIncremental,
    /// The table was never populated.
    FirstPopulation,
    /// The last `BATCH` is older than `FULL_REFRESH_EVERY`, or none is known.
    FullRefreshDue,
    /// None of the other rules applies.
    Incremental,
    /// A fact that matters could not be read.
    FactsUnavailable,
}

impl Rule {
    /// All rules.
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

    /// Returns the name, as `decision.rule` has it.
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

/// The rule of a choice, and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The rule.
    pub rule: Rule,
    /// One sentence.
    pub reason: Arc<str>,
}

/// The job type that is sent, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The job type to send. `None` if none is sent and the service uses its default.
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

/// A value that was read, and the time of the read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<T> {
    /// The value.
    pub value: T,
    /// When it was read. This is before the current invocation if the value comes from a cache.
    pub at: OffsetDateTime,
}

/// The reason why a fact is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingFact {
    /// The operation, what the service answered, and the permission to allow.
    pub why: String,
    /// Whether another try may work. If not, it fails until a person changes something.
    pub transient: bool,
}

/// A value that was read, or the reason why it is not known.
pub type Fact<T> = Result<Read<T>, MissingFact>;

/// An AWS Entity Resolution ID mapping workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workflow {
    /// The name.
    pub name: String,
    /// How the workflow maps.
    pub mapping: Mapping,
    /// Whether the workflow has an incremental run configuration.
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

/// The facts by which `AUTO` chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The table's workflow.
    pub workflow: Fact<Workflow>,
    /// Whether the table was ever populated.
    pub populated: Fact<bool>,
    /// When the table's last `BATCH` started. `None` if no `BATCH` is known. It matters only if `FULL_REFRESH_EVERY` is
    /// set.
    pub last_batch: Fact<Option<OffsetDateTime>>,
}

impl Facts {
    /// Returns whether one of the facts was read before a time.
    pub fn is_any_older_than(&self, time: OffsetDateTime) -> bool {
        let reads = [
            self.workflow.as_ref().ok().map(|read| read.at),
            self.populated.as_ref().ok().map(|read| read.at),
            self.last_batch.as_ref().ok().map(|read| read.at),
        ];
        reads.into_iter().flatten().any(|at| at < time)
    }
}

/// Returns why a workflow does not take a job type, if it does not. Which job types a workflow takes that is not told
/// here, AWS does not document.
pub fn not_taken(workflow: &Workflow, sent: Option<JobType>) -> Option<String> {
    let Workflow {
        name,
        mapping,
        incremental,
    } = workflow;
    match (mapping, sent) {
        (Mapping::Provider, Some(_)) => Some(format!(
            "the workflow {name} maps through a provider service, which has no job types: write SERVICE_DEFAULT or AUTO"
        )),
        (Mapping::RuleBased, Some(JobType::Incremental)) if !incremental => Some(format!(
            "the workflow {name} has no incremental run configuration: write BATCH or AUTO, or add one to the workflow"
        )),
        _ => None,
    }
}

/// Chooses a job type from the request alone. Returns `None` if the requested type is `AUTO`, which needs facts.
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
            "the event records a BatchDeleteUniqueId, and AUTO processes deletion requests",
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

/// Chooses a job type for `AUTO`.
///
/// A missing fact matters only if it could change the choice. For example, a provider's workflow takes no job type,
/// whether or not its table was populated.
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
    // The rules below use both facts.
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

/// Returns whether a full refresh is due, and why. Returns an error if the last `BATCH` could not be read this time. If
/// it cannot be read at all, no `BATCH` is known, and a refresh is due.
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

/// Returns a text that says how old a fact is. The text is empty if the fact was read within the last second.
fn as_of(read_at: OffsetDateTime, now: OffsetDateTime) -> String {
    let age = now - read_at;
    if age < Duration::SECOND {
        return String::new();
    }
    format!(" (as read {} ago)", in_words(age))
}

/// Formats a duration in its two largest units, rounded down.
fn in_words(duration: Duration) -> String {
    let mut remaining = duration.whole_seconds().max(0);
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
    let mut parts: Vec<String> = Vec::new();
    for (unit, length) in units {
        let count = remaining / length;
        remaining %= length;
        if count > 0 {
            parts.push(words(count, unit));
        } else if !parts.is_empty() {
            break;
        }
    }
    parts.truncate(2);
    if parts.is_empty() {
        return words(0, "second");
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests;
