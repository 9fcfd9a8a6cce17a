//! The jobs of the workflows, and which of them this function started for which table.

use std::cmp::Reverse;

use serde::Serialize;
use time::OffsetDateTime;

use super::gather::Readings;
use crate::aws::entity_resolution::{may_be_of_open_call, owners};
use crate::clock::Timestamp;
use crate::job::{Job, JobId, JobState, JobStatus, WorkflowJob};
use crate::job_type::JobType;
use crate::ledger::Record;
use crate::target::{Identifier, Target};

/// The most jobs of a report.
pub(super) const MAX_JOBS: usize = 200;

/// A job.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobLine {
    /// Its id at Entity Resolution, or Clean Rooms' if Entity Resolution does not show it.
    pub(super) id: String,
    pub(super) workflow_name: Option<String>,
    membership_identifier: Option<Identifier>,
    id_mapping_table_identifier: Option<Identifier>,
    pub(super) job_type: Option<JobType>,
    pub(super) status: JobState,
    pub(super) started_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    /// `None` if that is not known: there is no ledger, it could not be read, or a call's outcome is unknown.
    pub(super) started_by_this_function: Option<bool>,
    #[serde(skip)]
    target: Option<Target>,
    #[serde(skip)]
    known: Option<Job>,
}

impl JobLine {
    /// Returns whether it ended, or began, after a time, or has not ended.
    pub(super) fn is_after(&self, time: OffsetDateTime) -> bool {
        let last = self.ended_at.or(self.started_at);
        let is_open = matches!(self.status, JobState::Queued | JobState::Running);
        is_open || last.is_none_or(|last| last.0 >= time)
    }

    /// Returns whether it is known to be a job of this table.
    pub(super) fn is_of(&self, target: &Target) -> bool {
        self.target.as_ref() == Some(target)
    }

    /// The job as its table's status shows it.
    pub(super) fn of_table(&self) -> Option<TableJob> {
        let id = match &self.known {
            Some(job) => job.id.clone(),
            None => JobId::EntityResolutionJobId(self.id.as_str().into()),
        };
        TableJob::new(id, self.known.as_ref(), self)
    }

    fn new(
        job: &WorkflowJob,
        workflow: Option<&str>,
        target: Option<&Target>,
        known: Option<&Job>,
    ) -> Self {
        Self {
            id: job.id.clone(),
            workflow_name: workflow.map(str::to_owned),
            membership_identifier: target.map(|target| target.membership.clone()),
            id_mapping_table_identifier: target.map(|target| target.table.clone()),
            job_type: known.and_then(|job| job.job_type),
            status: job.state,
            started_at: job.started_at.map(Timestamp),
            ended_at: job.ended_at.map(Timestamp),
            started_by_this_function: target.map(|_| true),
            target: target.cloned(),
            known: known.cloned(),
        }
    }

    /// A job that only the ledger knows.
    fn of_ledger(job: &Job, record: &Record, workflow: Option<&str>, target: &Target) -> Self {
        let listed = WorkflowJob {
            id: job.id.as_str().to_owned(),
            state: match record.status(&job.id) {
                JobStatus::Succeeded => JobState::Succeeded,
                JobStatus::Started => JobState::Started,
            },
            started_at: Some(job.started_at),
            ended_at: None,
        };
        Self::new(&listed, workflow, Some(target), Some(job))
    }
}

/// A job of a table.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TableJob {
    #[serde(flatten)]
    pub(super) id: JobId,
    /// What was sent. `None` if nothing was, or if that is not known.
    pub(super) job_type: Option<JobType>,
    pub(super) status: JobState,
    pub(super) started_at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
}

impl TableJob {
    pub(super) fn new(id: JobId, known: Option<&Job>, line: &JobLine) -> Option<Self> {
        let started_at = known
            .map(|job| job.started_at)
            .or(line.started_at.map(|at| at.0))?;
        Some(Self {
            id,
            job_type: line.job_type,
            status: line.status,
            started_at: Timestamp(started_at),
            ended_at: line.ended_at,
        })
    }
}

/// All jobs that are known, newest first: those that Entity Resolution lists, and those that only the ledger knows.
pub(super) fn all(readings: &Readings, has_ledger: bool) -> Vec<JobLine> {
    let mut all = Vec::new();
    let mut shown: Vec<JobId> = Vec::new();
    for (name, reading) in &readings.workflows {
        let tables = readings.tables.iter().filter(|reading| {
            let table = reading.table.as_ref();
            table.is_ok_and(|table| table.workflow == *name)
        });
        let tables: Vec<_> = tables.collect();
        let empty = Record::default();
        let records = tables
            .iter()
            .map(|table| table.record.as_ref().unwrap_or(&empty));
        let records: Vec<&Record> = records.collect();
        let all_readable = tables.iter().all(|table| table.record.is_ok());
        let listed = reading.jobs.as_ref().map_or(&[][..], |list| &list.jobs);
        // Without a ledger, a job of the workflow is the table's if no other table has the workflow.
        let only = match (&tables[..], has_ledger) {
            ([only], false) => Some(&only.target),
            _ => None,
        };
        for (job, owner) in listed.iter().zip(owners(listed, &records)) {
            let known = owner.as_ref().and_then(|owner| owner.job.as_ref());
            let table = owner.as_ref().and_then(|owner| tables.get(owner.table));
            let target = table.map(|table| &table.target);
            let mut line = JobLine::new(job, Some(name), target.or(only), known);
            let is_clear = has_ledger && all_readable && !may_be_of_open_call(job, &records);
            line.started_by_this_function = match target {
                Some(_) => Some(true),
                None => is_clear.then_some(false),
            };
            all.push(line);
            shown.extend(known.map(|job| job.id.clone()));
        }
    }
    for reading in &readings.tables {
        let Ok(record) = &reading.record else {
            continue;
        };
        let workflow = reading.table.as_ref().ok().map(|table| &*table.workflow);
        let only_known = record
            .started()
            .into_iter()
            .filter(|job| !shown.contains(&job.id));
        all.extend(
            only_known.map(|job| JobLine::of_ledger(job, record, workflow, &reading.target)),
        );
    }
    // Newer than all others is a queued job that has no start.
    all.sort_by_key(|job| {
        let open = job.status == JobState::Queued;
        Reverse((open && job.started_at.is_none(), job.started_at))
    });
    all
}
