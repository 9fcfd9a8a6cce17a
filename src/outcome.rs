//! Outcomes (docs/reference.md#outcomes): what a request came to, or how a job ended, as others learn it.

mod facts;

pub use self::facts::PlanFacts;
use crate::clock::timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::choice::{Choice, Decision};
use crate::error::{Error, ErrorType};
use crate::job::{EndedJob, IdentifiedBy, Job, JobEnd, JobId, JobStatus, StartedJob};
use crate::job_type::JobType;
use crate::printable::shortened;
use crate::request::{Request, Trigger};
use crate::target::Identifier;

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutcomeKind {
    /// PopulateIdMappingTable answered with a job id, or the job of a lost answer was found.
    Started,
    /// A job that started after the change, or the request's own, covers it.
    Covered,
    /// It cannot be done now, and is in the waiting queue.
    Waiting,
    /// It will never work as it is; a person must act.
    Rejected,
    /// A dry run's answer.
    Planned,
    /// The job succeeded.
    Succeeded,
    /// The job failed.
    Failed,
}

impl OutcomeKind {
    /// The name, as the member `outcome` has it.
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

    /// The `detail-type` of its event. Returns `None` if it is not published.
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

    /// Returns whether an event with this `detail-type` is an outcome of this function, or of another deployment of
    /// it. Such events are ignored, so that two deployments do not trigger each other.
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
    /// Do nothing: a job covers it.
    Covered,
    /// Wait: the slot is busy, an outcome is unknown, or `SETTLE_TIME` or `MIN_INTERVAL` is not over.
    Wait,
    /// Reject it: the table does not exist, or its workflow does not take the job type.
    Reject,
}

/// The answer of a dry run.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What would be done.
    pub plan: Plan,
    /// Why it would wait or be rejected.
    pub error: Option<Error>,
    /// When the wait would end at the earliest, if that is known.
    pub not_before: Option<OffsetDateTime>,
    /// What was read.
    pub facts: PlanFacts,
}

/// Which of a request's jobs failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// `MAX_JOB_ATTEMPTS`.
    pub max_attempts: u32,
    /// Whether the request is tried again.
    pub will_retry: bool,
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
    job_status: Option<JobStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_type: Option<JobType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<Decision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger: Option<Arc<Trigger>>,
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
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "optional_timestamp"
    )]
    not_before: Option<OffsetDateTime>,
    #[serde(flatten)]
    attempt: Option<Attempt>,
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

    /// A job covers the request. No job type was sent for it.
    pub fn covered(
        request: &Request,
        choice: Option<&Choice>,
        job: &JobId,
        status: JobStatus,
    ) -> Self {
        Self {
            job_status: Some(status),
            job_type: None,
            ..Self::of(OutcomeKind::Covered, request, choice, Some(job))
        }
    }

    /// The request is in the waiting queue, and why.
    pub fn waiting(
        request: &Request,
        choice: Option<&Choice>,
        error: Error,
        not_before: Option<OffsetDateTime>,
    ) -> Self {
        Self {
            error: Some(error),
            not_before,
            ..Self::of(OutcomeKind::Waiting, request, choice, None)
        }
    }

    /// The request will never work as it is.
    pub fn rejected(request: &Request, choice: Option<&Choice>, error: Error) -> Self {
        Self {
            error: Some(error),
            ..Self::of(OutcomeKind::Rejected, request, choice, None)
        }
    }

    /// A job ended. Where Entity Resolution does not tell when, it is when that was seen.
    pub fn ended(
        started: &StartedJob,
        ended: EndedJob,
        attempt: Option<Attempt>,
        seen_at: OffsetDateTime,
    ) -> Self {
        let StartedJob {
            request,
            choice,
            job,
            ..
        } = started;
        let kind = match ended.end() {
            JobEnd::Succeeded => OutcomeKind::Succeeded,
            JobEnd::Failed => OutcomeKind::Failed,
        };
        let error = ended.failure.map(|failure| {
            let next = match attempt {
                Some(Attempt {
                    will_retry: true, ..
                }) => "the request is tried again",
                _ => "look at it at Entity Resolution",
            };
            let message = format!(
                "ID mapping job {} of {} failed: {}; {next}",
                job.id.as_str(),
                request.target,
                shortened(&failure)
            );
            Error::new(ErrorType::JobFailed, message)
        });
        Self {
            error,
            attempt,
            started_at: Some(ended.started_at),
            ended_at: Some(ended.ended_at.unwrap_or(seen_at)),
            identified_by: Some(ended.identified_by),
            metrics: Some(ended.metrics),
            ..Self::of(kind, request, Some(choice), Some(&job.id))
        }
    }

    /// A dry run.
    pub fn planned(request: &Request, choice: Option<&Choice>, planned: Planned) -> Self {
        let Planned {
            plan,
            error,
            not_before,
            facts,
        } = planned;
        Self {
            plan: Some(plan),
            error,
            not_before,
            facts: Some(facts::Wire::from(&facts)),
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
            event_id: event_id(outcome, request, job),
            outcome,
            membership_identifier: request.target.membership.clone(),
            id_mapping_table_identifier: request.target.table.clone(),
            job: job.cloned(),
            job_status: None,
            job_type: choice.and_then(|choice| choice.job_type),
            decision: choice.map(|choice| choice.decision.clone()),
            request_id: request
                .key_is_given
                .then(|| Arc::clone(&request.idempotency_key)),
            trigger: request.trigger.clone(),
            started_at: None,
            ended_at: None,
            not_before: None,
            attempt: None,
            identified_by: None,
            metrics: None,
            plan: None,
            facts: None,
            error: None,
        }
    }
}

/// A UUID of version 5 made of the outcome, the request's key, and the job, or how often the request was rejected before.
/// So the same outcome has the same id whenever it is published, and a request that is redriven from the dead-letter queue
/// and rejected again has another one. Outcomes, job ids and numbers have fixed alphabets, so no key can be mistaken for a
/// part of them.
fn event_id(outcome: OutcomeKind, request: &Request, job: Option<&JobId>) -> Uuid {
    /// The namespace of these ids: a random UUID, never to be changed.
    const OUTCOMES: Uuid = Uuid::from_u128(0x0d0f_5a3c_6f0b_4c56_9f59_7c1b_e2a3_8d14);
    let distinction = match (job, outcome, request.rejections) {
        (Some(job), _, _) => job.as_str().to_owned(),
        (None, OutcomeKind::Rejected, rejections @ 1..) => rejections.to_string(),
        (None, _, _) => "-".to_owned(),
    };
    let name = [outcome.as_str(), &distinction, &request.scoped_key()].join(" ");
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
