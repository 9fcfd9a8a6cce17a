//! Outcomes (contract section 3) and their publication to EventBridge.

mod facts;

use crate::clock::timestamp;
use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::choice::{Choice, Decision, Facts};
use crate::error::{Error, ErrorType, shortened};
use crate::job::{End, IdentifiedBy, Job, JobId, Started};
use crate::job_type::JobType;
use crate::request::{Request, Trigger};
use crate::target::Identifier;

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutcomeKind {
    /// PopulateIdMappingTable answered with a job id, or a job whose start answered nothing was
    /// found.
    Started,
    /// A job that started after this news, or this very request's own, covers it.
    Covered,
    /// It cannot be done now, and stands in the waiting line.
    Waiting,
    /// It will never work as it is; a person must act.
    Rejected,
    /// A dry run's answer.
    Planned,
    /// The job ended, and the table is fresh.
    Succeeded,
    /// The job ended, and the table is not fresh.
    Failed,
}

impl OutcomeKind {
    /// The name as the contract writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "STARTED",
            Self::Covered => "COVERED",
            Self::Waiting => "WAITING",
            Self::Rejected => "REJECTED",
            Self::Planned => "PLANNED",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
        }
    }

    /// The `detail-type` of its event; none: it is not published.
    pub fn detail_type(self) -> Option<&'static str> {
        match self {
            Self::Started => Some("ID Mapping Job Started"),
            Self::Covered => Some("ID Mapping Request Covered"),
            Self::Waiting => Some("ID Mapping Request Waiting"),
            Self::Rejected => Some("ID Mapping Request Rejected"),
            Self::Planned => None,
            Self::Succeeded => Some("ID Mapping Job Succeeded"),
            Self::Failed => Some("ID Mapping Job Failed"),
        }
    }

    /// Whether an event with this `detail-type` is an outcome, of this function or of another one like
    /// it, so that no two stacks feed each other.
    pub fn is_detail_type(detail_type: &str) -> bool {
        Self::ALL
            .iter()
            .any(|outcome| outcome.detail_type() == Some(detail_type))
    }

    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Started,
        Self::Covered,
        Self::Waiting,
        Self::Rejected,
        Self::Planned,
        Self::Succeeded,
        Self::Failed,
    ];
}

/// What a dry run would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Plan {
    /// Start a job.
    Start,
    /// Nothing: a job covers it.
    Covered,
    /// Wait: the slot is taken, an outcome is unknown, or the news settles.
    Wait,
}

/// The `detail` of an outcome event, and an item of the return value.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    version: &'static str,
    event_id: Uuid,
    /// Which outcome.
    pub outcome: OutcomeKind,
    membership_identifier: Identifier,
    id_mapping_table_identifier: Identifier,
    /// The job that was started, or that covers the request.
    #[serde(flatten)]
    pub job: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_type: Option<JobType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<Decision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger: Option<Trigger>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "optional_timestamp"
    )]
    started_at: Option<OffsetDateTime>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "optional_timestamp"
    )]
    ended_at: Option<OffsetDateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identified_by: Option<IdentifiedBy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<BTreeMap<&'static str, i32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Plan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<facts::Wire>,
    /// Why it waits or was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

impl Outcome {
    /// A job was started.
    pub fn started(request: &Request, choice: &Choice, job: &Job) -> Self {
        Self {
            started_at: Some(job.started_at),
            ..Self::of(OutcomeKind::Started, request, Some(choice), Some(&job.id))
        }
    }

    /// A job covers the request. Nothing was sent for it, and so no job type.
    pub fn covered(request: &Request, choice: Option<&Choice>, job: &JobId) -> Self {
        Self {
            job_type: None,
            ..Self::of(OutcomeKind::Covered, request, choice, Some(job))
        }
    }

    /// The request stands in the waiting line, and why.
    pub fn waiting(request: &Request, choice: Option<&Choice>, error: Error) -> Self {
        Self {
            error: Some(error),
            ..Self::of(OutcomeKind::Waiting, request, choice, None)
        }
    }

    /// The request will never work as it is.
    pub fn rejected(request: &Request, choice: Option<&Choice>, error: Error) -> Self {
        let since = request.waiting_since.or(request.sent_at);
        Self {
            error: Some(error),
            // What is moved back from the dead-letter queue, and rejected again, is another rejection.
            event_id: event_id(
                OutcomeKind::Rejected,
                request,
                since.map(timestamp).as_deref(),
            ),
            ..Self::of(OutcomeKind::Rejected, request, choice, None)
        }
    }

    /// A job ended, and how; the moment when that was seen stands for an end that is not told.
    pub fn ended(started: &Started, end: End, seen_at: OffsetDateTime) -> Self {
        let Started {
            request,
            choice,
            job,
        } = started;
        let kind = match end.failed {
            None => OutcomeKind::Succeeded,
            Some(_) => OutcomeKind::Failed,
        };
        let error = end.failed.map(|said| {
            let message = format!(
                "ID mapping job {} of {} failed: {}; look at it at Entity Resolution",
                job.id.as_str(),
                request.target,
                shortened(&said)
            );
            Error::new(ErrorType::JobFailed, message)
        });
        Self {
            error,
            started_at: Some(end.started_at),
            ended_at: Some(end.ended_at.unwrap_or(seen_at)),
            identified_by: Some(end.identified_by),
            metrics: Some(end.metrics),
            ..Self::of(kind, request, Some(choice), Some(&job.id))
        }
    }

    /// A dry run.
    pub fn planned(
        request: &Request,
        choice: Option<&Choice>,
        plan: Plan,
        facts: Option<&Facts>,
    ) -> Self {
        Self {
            plan: Some(plan),
            facts: facts.map(facts::Wire::from),
            ..Self::of(OutcomeKind::Planned, request, choice, None)
        }
    }

    fn of(
        outcome: OutcomeKind,
        request: &Request,
        choice: Option<&Choice>,
        job: Option<&JobId>,
    ) -> Self {
        Self {
            version: "1",
            event_id: event_id(outcome, request, job.map(JobId::as_str)),
            outcome,
            membership_identifier: request.target.membership.clone(),
            id_mapping_table_identifier: request.target.table.clone(),
            job: job.cloned(),
            job_type: choice.and_then(|choice| choice.job_type),
            decision: choice.map(|choice| choice.decision.clone()),
            request_id: request.request_id().map(str::to_owned),
            trigger: request.trigger.clone(),
            started_at: None,
            ended_at: None,
            identified_by: None,
            metrics: None,
            plan: None,
            facts: None,
            error: None,
        }
    }
}

/// The same outcome of the same request, and of the job where there is one (of a rejection: since when it
/// waited), has the same id whenever it is published: a UUID of version 5 over them. Outcome, job and
/// moment have fixed alphabets, so that nothing in the key can run into them.
fn event_id(outcome: OutcomeKind, request: &Request, distinction: Option<&str>) -> Uuid {
    /// The namespace of these ids: a random UUID, never to be changed.
    const OUTCOMES: Uuid = Uuid::from_u128(0x0d0f_5a3c_6f0b_4c56_9f59_7c1b_e2a3_8d14);
    let name = [outcome.as_str(), distinction.unwrap_or("-"), &request.key()].join(" ");
    Uuid::new_v5(&OUTCOMES, name.as_bytes())
}

fn optional_timestamp<S: Serializer>(
    time: &Option<OffsetDateTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_str(&timestamp(*time)),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_known_as_an_outcome_when_it_comes_back() {
        for outcome in OutcomeKind::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
            assert!(
                outcome
                    .detail_type()
                    .is_none_or(OutcomeKind::is_detail_type)
            );
        }
        assert!(!OutcomeKind::is_detail_type(
            "ID Mapping Population Requested"
        ));
    }
}
