//! The jobs of the workflows, and which of them this function started for which table.

use std::cmp::Reverse;

use serde::Serialize;
use time::OffsetDateTime;

use super::gather::Readings;
use crate::aws::entity_resolution::{Owner, owners};
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
    /// As the ledger knows it.
    #[serde(skip)]
    known: Option<JobId>,
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

    /// From when to when it ran, as far as that is known. `None` if its start is not known.
    pub(super) fn interval(&self, now: OffsetDateTime) -> Option<(OffsetDateTime, OffsetDateTime)> {
        let start = self.started_at?.0;
        let end = match (self.ended_at, self.status) {
            (Some(end), _) => end.0,
            (None, JobState::Running | JobState::Queued) => now,
            (None, _) => start,
        };
        Some((start, end.max(start)))
    }

    /// The job as its table's status shows it.
    pub(super) fn of_table(&self) -> TableJob {
        let found = || JobId::EntityResolutionJobId(self.id.as_str().into());
        TableJob {
            id: self.known.clone().unwrap_or_else(found),
            job_type: self.job_type,
            status: self.status,
            started_at: self.started_at,
            ended_at: self.ended_at,
        }
    }

    fn new(
        job: &WorkflowJob,
        workflow: Option<&str>,
        target: Option<&Target>,
        known: Option<(JobId, Option<JobType>)>,
    ) -> Self {
        let is_known = known.is_some();
        let (known, job_type) = known.unzip();
        Self {
            id: job.id.clone(),
            workflow_name: workflow.map(str::to_owned),
            membership_identifier: target.map(|target| target.membership.clone()),
            id_mapping_table_identifier: target.map(|target| target.table.clone()),
            job_type: job_type.flatten(),
            status: job.state,
            started_at: job.started_at.map(Timestamp),
            ended_at: job.ended_at.map(Timestamp),
            started_by_this_function: is_known.then_some(true),
            target: target.cloned(),
            known,
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
        Self::new(
            &listed,
            workflow,
            Some(target),
            Some((job.id.clone(), job.job_type)),
        )
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
    /// `None` if it is queued and has no start time.
    pub(super) started_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
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
            let mut line = JobLine::new(job, Some(name), only, None);
            line.started_by_this_function = match owner {
                Owner::Others if has_ledger && all_readable => Some(false),
                _ => None,
            };
            if let Owner::Table {
                place,
                id,
                job_type,
            } = owner
            {
                let target = tables.get(place).map(|table| &table.target);
                shown.push(id.clone());
                line = JobLine::new(job, Some(name), target, Some((id, job_type)));
            }
            all.push(line);
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

/// When the job slot was taken, as far as these jobs tell, earliest first.
pub(super) fn busy(jobs: &[JobLine], now: OffsetDateTime) -> Vec<(OffsetDateTime, OffsetDateTime)> {
    let mut busy: Vec<(OffsetDateTime, OffsetDateTime)> = Vec::new();
    for job in jobs
        .iter()
        .rev()
        .filter(|job| job.status != JobState::Queued)
    {
        let Some((start, end)) = job.interval(now) else {
            continue;
        };
        match busy.last_mut() {
            Some((_, last)) if start <= *last => *last = end.max(*last),
            _ => busy.push((start, end)),
        }
    }
    busy
}
