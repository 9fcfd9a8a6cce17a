//! The report: what was read, in the form that machines check and people look at.

use serde::Serialize;
use time::{Duration, OffsetDateTime};

use super::checks::{self, Check};
use super::gather::{QueueReading, Readings, TableReading, WorkflowReading};
use super::jobs::{self, JobLine, TableJob};
use super::question::Question;
use crate::aws::queue::MessageCounts;
use crate::choice::Mapping;
use crate::clock::Timestamp;
use crate::config::Settings;
use crate::job::JobState;
use crate::job_type::{JobType, RequestedType};
use crate::ledger::{Record, UnknownCall, Waiter};
use crate::target::{Identifier, Target};

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
    /// The jobs of their workflows in the last seven days, newest first, at most 200.
    pub jobs: Vec<JobLine>,
    /// How many older ones of these days are left out.
    pub jobs_left_out: usize,
    /// How many messages wait.
    pub queues: Queues,
    /// When the job slot was taken, as far as all jobs of these days tell.
    #[serde(skip)]
    pub(super) busy: Vec<(OffsetDateTime, OffsetDateTime)>,
    /// Whether the jobs of each workflow were all read.
    #[serde(skip)]
    pub(super) has_all_jobs: bool,
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
    /// `None` if it could not be read which requests wait.
    pub(super) waiting: Option<Vec<WaiterStatus>>,
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
    pub(super) last_tried_at: Timestamp,
    pub(super) urgent: bool,
    pub(super) not_before: Option<Timestamp>,
    /// Whether it was tried within two retry intervals. Otherwise its message is gone, or no message is delivered.
    #[serde(skip)]
    pub(super) is_live: bool,
}

impl Report {
    /// A table's name, or its id if the name could not be read. If two tables have one name, it says which one it is.
    pub(super) fn name_of(&self, table: &TableStatus) -> String {
        let id = table.target.table.as_str();
        let Some(name) = &table.name else {
            return id.to_owned();
        };
        let mut same = self
            .tables
            .iter()
            .filter(|other| other.name.as_ref() == Some(name));
        match same.nth(1) {
            Some(_) => format!("{name} ({id})"),
            None => name.clone(),
        }
    }

    /// Returns whether the age of a table is not known.
    pub fn has_unknown_age(&self) -> bool {
        self.tables.iter().any(|table| table.fresh_since.is_none())
    }

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
pub(super) fn of(readings: &Readings, question: Question<'_>, now: OffsetDateTime) -> Report {
    let Question {
        settings, location, ..
    } = question;
    let mut jobs = jobs::all(readings, settings.ledger_table.is_some());
    let checks = checks::all(readings, question);
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
    let busy = jobs::busy(&jobs, now);
    let jobs_left_out = jobs.len().saturating_sub(jobs::MAX_JOBS);
    jobs.truncate(jobs::MAX_JOBS);
    let mut workflows = readings.workflows.values();
    let has_all_jobs = workflows.all(|workflow| {
        workflow
            .jobs
            .as_ref()
            .is_ok_and(|list| list.incomplete.is_none())
    });
    let counts = |queue: &Option<QueueReading>| queue.as_ref()?.counts.as_ref().ok().copied();
    Report {
        ok: checks.iter().all(|check| check.ok != Some(false)),
        version: env!("CARGO_PKG_VERSION"),
        generated_at: Timestamp(now),
        checks,
        tables,
        jobs,
        jobs_left_out,
        busy,
        has_all_jobs,
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
                .fresh_since(self.settings.track_completion, self.now)
                .or(created_at),
            None => last_succeeded
                .as_ref()
                .or(last_started.as_ref())
                .and_then(|job| job.started_at)
                .map(|started| started.0),
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
            unavailable: self.unavailable(reading, workflow),
            target: target.clone(),
            fresh_since,
        }
    }

    /// The newest job of a table in one of these states.
    fn last_job(&self, target: &Target, states: &[JobState]) -> Option<TableJob> {
        let mut of_table = self.jobs.iter().filter(|job| job.is_of(target));
        let last = of_table.find(|job| states.contains(&job.status));
        last.map(JobLine::of_table)
    }

    fn unknown_outcome(&self, record: &Record) -> Option<UnknownOutcome> {
        let calls = record.unknown_calls(self.now);
        calls
            .first()
            .map(|UnknownCall { call, .. }| UnknownOutcome {
                called_at: Timestamp(call.called_at),
                job_type: call.choice.job_type,
            })
    }

    fn waiting(&self, target: &Target) -> Option<Vec<WaiterStatus>> {
        let all = self.readings.waiters.as_ref().ok()?.all();
        let of_table = all.iter().filter(|waiter| waiter.target() == target);
        let status = |waiter: &Waiter| WaiterStatus {
            job_type: waiter.requested_type(),
            since: Timestamp(waiter.since()),
            last_tried_at: Timestamp(waiter.seen_at()),
            urgent: waiter.is_urgent(),
            not_before: waiter.not_before().map(Timestamp),
            is_live: waiter.is_live(self.now),
        };
        Some(of_table.map(status).collect())
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

    /// What could not be read of a table.
    fn unavailable(
        &self,
        reading: &TableReading,
        workflow: Option<&WorkflowReading>,
    ) -> Vec<String> {
        let jobs = workflow.map(|reading| reading.jobs.as_ref());
        let errors = [
            reading.record.as_ref().err(),
            self.readings.waiters.as_ref().err(),
            reading.table.as_ref().err(),
            reading
                .populated
                .as_ref()
                .and_then(|read| read.as_ref().err()),
            workflow.and_then(|reading| reading.workflow.as_ref().err()),
            jobs.and_then(|jobs| jobs.map_or_else(Some, |list| list.incomplete.as_ref())),
        ];
        let mut messages: Vec<String> = Vec::new();
        for error in errors.into_iter().flatten() {
            if !messages.contains(&error.message) {
                messages.push(error.message.clone());
            }
        }
        messages
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

impl TableStatus {
    /// The last job, if it failed.
    pub(super) fn failed_last(&self) -> Option<&TableJob> {
        let failed = self.last_failed.as_ref()?;
        let is_older = |other: &Option<TableJob>| {
            other
                .as_ref()
                .is_none_or(|job| job.started_at <= failed.started_at)
        };
        (is_older(&self.last_succeeded) && is_older(&self.last_started)).then_some(failed)
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }
}
