//! Outcomes (contract section 3) and their publication to EventBridge.

mod facts;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_eventbridge::error::ProvideErrorMetadata;
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::clients::{Sending, Unsigned};
use crate::error::{Error, ErrorType, shortened, with_causes};
use crate::input::{Request, Trigger};
use crate::job_type::{Choice, Decision, Facts, JobType};
use crate::ledger::{Job, JobId, Started};
use crate::target::{Home, Identifier};
use crate::workflow::{End, IdentifiedBy};

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

/// RFC 3339 in UTC with milliseconds, of the years that it can write: 0 to 9999.
pub fn timestamp(time: OffsetDateTime) -> String {
    let time = time.to_offset(time::UtcOffset::UTC);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, millisecond) = time.to_hms_milli();
    let mut text = String::with_capacity(24);
    for (number, digits, end) in [
        (year.unsigned_abs(), 4, '-'),
        (u8::from(month).into(), 2, '-'),
        (day.into(), 2, 'T'),
        (hour.into(), 2, ':'),
        (minute.into(), 2, ':'),
        (second.into(), 2, '.'),
        (millisecond.into(), 3, 'Z'),
    ] {
        let digit = |place| char::from_digit(number / 10_u32.pow(place) % 10, 10);
        text.extend((0..digits).rev().filter_map(digit));
        text.push(end);
    }
    text
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

/// The event bus on which outcomes are announced.
#[derive(Clone, Debug)]
pub struct EventBus {
    client: aws_sdk_eventbridge::Client,
    name: String,
    source: String,
}

/// How often an entry is put that EventBridge takes the request for and refuses the entry with a
/// code that its API reference calls retryable, and the pause before the second try; it doubles.
const ENTRY_ATTEMPTS: u32 = 3;
const ENTRY_PAUSE: Duration = Duration::from_millis(100);

impl EventBus {
    /// The bus of this name or ARN; `source` becomes its events' source.
    pub fn new(config: &aws_config::SdkConfig, name: &str, source: &str) -> Self {
        Self {
            client: aws_sdk_eventbridge::Client::new(config),
            name: name.to_owned(),
            source: source.to_owned(),
        }
    }

    /// Opens a connection, with a request that is refused (see [`Unsigned`]) and has no events.
    pub async fn connect(&self) {
        let put = self.client.put_events().set_entries(Some(Vec::new()));
        let _ = put.customize().interceptor(Unsigned).send().await;
    }

    /// Publishes an outcome within a time, or says why not: operation, object, cause, remedy.
    ///
    /// PutEvents may be repeated freely: whoever gets an event twice knows it by its `eventId`. So
    /// the SDK's own retry stands, and entries that EventBridge throttled or failed on are put again.
    pub async fn publish(
        &self,
        outcome: &Outcome,
        request: &Request,
        home: &Home,
        decided_at: OffsetDateTime,
        sending: Sending<'_>,
    ) -> Result<(), String> {
        let Some(detail_type) = outcome.outcome.detail_type() else {
            return Ok(());
        };
        let failed = |cause: String| {
            format!(
                "PutEvents of {detail_type:?} on event bus {} failed: {cause}",
                self.name
            )
        };
        let detail = serde_json::to_string(outcome).map_err(|fault| failed(fault.to_string()))?;
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(&self.name)
            .source(&self.source)
            .detail_type(detail_type)
            .resources(home.table_arn(&request.target))
            .resources(home.membership_arn(&request.target))
            .time(DateTime::from_millis(
                (decided_at.unix_timestamp_nanos() / 1_000_000) as i64,
            ))
            .detail(detail)
            .set_trace_header(sending.trace_header.map(str::to_owned))
            .build();
        let within = sending.within;
        tokio::time::timeout(within, Box::pin(self.put(entry)))
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} ms", within.as_millis())))
            .map_err(failed)
    }

    async fn put(&self, entry: PutEventsRequestEntry) -> Result<(), String> {
        let mut attempt = 1;
        loop {
            let answer = self
                .client
                .put_events()
                .entries(entry.clone())
                .send()
                .await
                .map_err(|error| match error.as_service_error() {
                    Some(refusal) => refused(refusal.code(), refusal.message()),
                    None => with_causes(&error),
                })?;
            // Only an id says that the entry was taken; an answer that says nothing does not.
            let result = answer.entries().first();
            let code = result.and_then(|entry| entry.error_code());
            if answer.failed_entry_count() == 0
                && code.is_none()
                && result.is_some_and(|entry| entry.event_id().is_some())
            {
                return Ok(());
            }
            let retryable = matches!(code, Some("ThrottlingException" | "InternalFailure"));
            if !retryable || attempt == ENTRY_ATTEMPTS {
                return Err(refused(
                    code,
                    result.and_then(|entry| entry.error_message()),
                ));
            }
            tokio::time::sleep(ENTRY_PAUSE * 2_u32.pow(attempt - 1)).await;
            attempt += 1;
        }
    }
}

fn refused(code: Option<&str>, message: Option<&str>) -> String {
    format!(
        "{}: {}; check events:PutEvents on the bus and EVENT_BUS_NAME",
        code.unwrap_or("EventBridge refused it"),
        message.unwrap_or("no message")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_milliseconds() {
        let at = |nanoseconds| {
            timestamp(OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap())
        };
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(1_795_399_203_120_999_999), "2026-11-23T02:00:03.120Z");
        let east =
            OffsetDateTime::UNIX_EPOCH.to_offset(time::UtcOffset::from_hms(5, 30, 0).unwrap());
        assert_eq!(timestamp(east), "1970-01-01T00:00:00.000Z");
    }

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
