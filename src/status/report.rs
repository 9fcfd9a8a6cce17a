//! The report: what was read, in the form that machines check and people look at.

use serde::Serialize;
use time::{Duration, OffsetDateTime};

use super::checks::{self, Check};
use super::gather::{QueueReading, Readings, TableReading, WorkflowReading};
use super::jobs::{self, JobLine, TableJob};
use crate::aws::queue::MessageCounts;
use crate::choice::Mapping;
use crate::clock::Timestamp;
use crate::config::Settings;
use crate::job::JobState;
use crate::job_type::{JobType, RequestedType};
use crate::ledger::{Record, Waiter};
use crate::target::{AwsLocation, Identifier, Target};

/// How far back the jobs of a report go.
pub(super) const DAYS: Duration = Duration::days(7);

/// The report.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether no check failed.
    pub ok: bool,
    /// The function's version.
    pub version: &'static str,
    /// When it was made.
    pub generated_at: Timestamp,
    /// Whether the function has what it needs.
    pub checks: Vec<Check>,
    /// The configured tables.
    pub tables: Vec<TableStatus>,
    /// The jobs of their workflows in the last seven days, newest first.
    pub jobs: Vec<JobLine>,
    /// How many messages wait.
    pub queues: Queues,
}

/// How many messages are in the queues. `None` if there is no such queue, or it could not be read.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Queues {
    /// The waiting queue.
    pub waiting: Option<MessageCounts>,
    /// The dead-letter queue.
    pub dead_letter: Option<MessageCounts>,
}

/// Where a table stands.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableStatus {
    membership_identifier: Identifier,
    id_mapping_table_identifier: Identifier,
    pub(super) id_mapping_table_arn: String,
    pub(super) name: Option<String>,
    pub(super) workflow: Option<TableWorkflow>,
    pub(super) populated: Option<bool>,
    pub(super) last_started: Option<TableJob>,
    pub(super) last_succeeded: Option<TableJob>,
    pub(super) last_failed: Option<TableJob>,
    pub(super) running: Option<TableJob>,
    pub(super) claim: Option<ClaimStatus>,
    pub(super) unknown_outcome: Option<UnknownOutcome>,
    pub(super) waiting: Vec<WaiterStatus>,
    pub(super) not_before: Option<Timestamp>,
    pub(super) next_full_refresh: Option<Timestamp>,
    /// What could not be read.
    pub(super) unavailable: Vec<String>,
    #[serde(skip)]
    target: Target,
    /// Since when it is as fresh as it is.
    #[serde(skip)]
    fresh_since: Option<OffsetDateTime>,
}

/// The workflow of a table.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TableWorkflow {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) mapping: Option<Mapping>,
    pub(super) incremental: Option<bool>,
}

/// The right of an invocation to start a job.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ClaimStatus {
    pub(super) until: Timestamp,
}

/// The oldest call whose outcome is unknown.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UnknownOutcome {
    pub(super) called_at: Timestamp,
    pub(super) job_type: Option<JobType>,
}

/// Requests of one job type that wait.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WaiterStatus {
    /// The requested job type.
    pub(super) job_type: RequestedType,
    pub(super) since: Timestamp,
    pub(super) urgent: bool,
    pub(super) not_before: Option<Timestamp>,
}

impl Report {
    /// The tables with their ages in seconds: since the start of the last job that succeeded, or of the last one that
    /// started if jobs are not tracked. A table without a known job is as old as itself.
    pub fn ages(&self) -> impl Iterator<Item = (&Target, std::time::Duration)> {
        self.tables.iter().filter_map(|table| {
            let age = self.generated_at.0 - table.fresh_since?;
            Some((
                &table.target,
                std::time::Duration::try_from(age).unwrap_or_default(),
            ))
        })
    }
}

/// Makes the report of what was read.
pub(super) fn of(
    readings: &Readings,
    settings: &Settings,
    location: &AwsLocation,
    now: OffsetDateTime,
) -> Report {
    let mut jobs = jobs::all(readings, settings.ledger_table.is_some());
    let checks = checks::all(readings, settings, location);
    let tables = readings.tables.iter().map(|table| {
        let context = Context {
            readings,
            settings,
            jobs: &jobs,
            now,
        };
        context.table_status(table, location.table_arn(&table.target))
    });
    let tables = tables.collect();
    jobs.retain(|job| job.is_after(now - DAYS));
    jobs.truncate(jobs::MAX_JOBS);
    let counts = |queue: &Option<QueueReading>| queue.as_ref()?.counts.as_ref().ok().copied();
    Report {
        ok: checks.iter().all(|check| check.ok != Some(false)),
        version: env!("CARGO_PKG_VERSION"),
        generated_at: Timestamp(now),
        checks,
        tables,
        jobs,
        queues: Queues {
            waiting: counts(&readings.waiting_queue),
            dead_letter: counts(&readings.dead_letter_queue),
        },
    }
}

/// What the status of a table is made of.
struct Context<'r> {
    readings: &'r Readings,
    settings: &'r Settings,
    /// All jobs, newest first.
    jobs: &'r [JobLine],
    now: OffsetDateTime,
}

impl Context<'_> {
    fn table_status(&self, reading: &TableReading, arn: String) -> TableStatus {
        let TableReading { target, .. } = reading;
        let table = reading.table.as_ref().ok();
        let workflow = table.and_then(|table| self.readings.workflows.get(&table.workflow));
        let record = reading.record.as_ref().ok();
        let last = |states: &[JobState]| self.last_job(target, states);
        let last_started = last(&[
            JobState::Queued,
            JobState::Running,
            JobState::Succeeded,
            JobState::Failed,
            JobState::Started,
        ]);
        let last_succeeded = last(&[JobState::Succeeded]);
        let created_at = table.and_then(|table| table.created_at);
        let fresh_since = match record.filter(|_| self.settings.ledger_table.is_some()) {
            Some(record) => record
                .fresh_since(self.settings.track_completion)
                .or(created_at),
            None => last_succeeded
                .as_ref()
                .or(last_started.as_ref())
                .map(|job| job.started_at.0),
        };
        TableStatus {
            membership_identifier: target.membership.clone(),
            id_mapping_table_identifier: target.table.clone(),
            id_mapping_table_arn: arn,
            name: table.map(|table| table.name.clone()),
            workflow: table.map(|table| described(&table.workflow, workflow)),
            populated: reading
                .populated
                .as_ref()
                .and_then(|read| read.as_ref().ok())
                .copied(),
            last_started,
            last_succeeded,
            last_failed: last(&[JobState::Failed]),
            running: last(&[JobState::Running, JobState::Queued]),
            claim: record
                .and_then(|record| record.claimed_until(self.now))
                .map(|until| ClaimStatus {
                    until: Timestamp(until),
                }),
            unknown_outcome: record.and_then(|record| self.unknown_outcome(record)),
            waiting: self.waiting(target),
            not_before: record.and_then(|record| self.not_before(record)),
            next_full_refresh: record
                .and_then(|record| self.next_full_refresh(record, workflow, reading)),
            unavailable: unavailable(reading, workflow),
            target: target.clone(),
            fresh_since,
        }
    }

    /// The newest job of a table in one of these states.
    fn last_job(&self, target: &Target, states: &[JobState]) -> Option<TableJob> {
        let mut of_table = self.jobs.iter().filter(|job| job.is_of(target));
        of_table
            .find(|job| states.contains(&job.status))
            .and_then(JobLine::of_table)
    }

    fn unknown_outcome(&self, record: &Record) -> Option<UnknownOutcome> {
        let calls = record.unknown_calls(self.now);
        calls.first().map(|call| UnknownOutcome {
            called_at: Timestamp(call.called_at),
            job_type: call.choice.job_type,
        })
    }

    fn waiting(&self, target: &Target) -> Vec<WaiterStatus> {
        let waiters = self
            .readings
            .waiters
            .iter()
            .flat_map(|waiters| waiters.live(self.now));
        let of_table = waiters.filter(|waiter| waiter.target() == target);
        let status = |waiter: &Waiter| WaiterStatus {
            job_type: waiter.requested_type(),
            since: Timestamp(waiter.since()),
            urgent: waiter.is_urgent(),
            not_before: waiter.not_before().map(Timestamp),
        };
        of_table.map(status).collect()
    }

    /// Until when `MIN_INTERVAL` holds back the requests of a table.
    fn not_before(&self, record: &Record) -> Option<Timestamp> {
        let interval = self.settings.min_interval.as_ref()?.duration;
        let not_before = record.not_before(RequestedType::Auto, interval, self.now);
        not_before.map(Timestamp)
    }

    /// When `AUTO` starts a `BATCH` again because of `FULL_REFRESH_EVERY`: now, if no `BATCH` is known.
    fn next_full_refresh(
        &self,
        record: &Record,
        workflow: Option<&WorkflowReading>,
        reading: &TableReading,
    ) -> Option<Timestamp> {
        let every = self.settings.full_refresh_every.as_ref()?;
        let workflow = workflow?.workflow.as_ref().ok()?;
        let takes_both = workflow.mapping == Mapping::RuleBased && workflow.incremental;
        let never = matches!(reading.populated, Some(Ok(false)));
        if self.settings.default_job_type != RequestedType::Auto || !takes_both || never {
            return None;
        }
        let due = record.last_batch().map(|started| started + every.duration);
        Some(Timestamp(due.unwrap_or(self.now)))
    }
}

fn described(name: &str, reading: Option<&WorkflowReading>) -> TableWorkflow {
    let workflow = reading.and_then(|reading| reading.workflow.as_ref().ok());
    TableWorkflow {
        name: name.to_owned(),
        mapping: workflow.map(|workflow| workflow.mapping),
        incremental: workflow.map(|workflow| workflow.incremental),
    }
}

/// What could not be read of a table.
fn unavailable(reading: &TableReading, workflow: Option<&WorkflowReading>) -> Vec<String> {
    let errors = [
        reading.record.as_ref().err(),
        reading.table.as_ref().err(),
        reading
            .populated
            .as_ref()
            .and_then(|read| read.as_ref().err()),
        workflow.and_then(|reading| reading.workflow.as_ref().err()),
        workflow.and_then(|reading| reading.jobs.as_ref().err()),
    ];
    errors
        .into_iter()
        .flatten()
        .map(|error| error.message.clone())
        .collect()
}

impl TableStatus {
    pub(super) fn target(&self) -> &Target {
        &self.target
    }
}
