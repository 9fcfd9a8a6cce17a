//! Finds out whether a call whose outcome is unknown started a job.
//!
//! AWS does not document that a job has the same id at Entity Resolution as in the answer of `PopulateIdMappingTable`. So
//! a job is recognised by its start time.

use std::ops::RangeInclusive;

use aws_sdk_entityresolution::operation::get_id_mapping_job::GetIdMappingJobOutput;
use aws_sdk_entityresolution::types::JobStatus;
use time::{Duration, OffsetDateTime};

use super::reads::{Listed, Workflows, may_be_ours, to_offset_date_time};
use crate::aws::call::{ReadError, TimedOut, within};
use crate::job::{Call, Job, JobId};
use crate::job_type::JobType;
use crate::ledger::Record;
use crate::target::Target;

/// How far the clocks of Entity Resolution and of the function may differ. It includes the rounding to whole seconds.
const CLOCK_DIFFERENCE: Duration = Duration::seconds(5);

/// How long ago a job may have been started that the list shows as queued, without a start time.
pub(super) const LONGEST_QUEUED: Duration = Duration::days(1);

/// How long after a call its job may start. A job that starts later belongs to another call, perhaps for another table
/// with the same workflow.
const LATEST_START: Duration = Duration::minutes(5);

/// How long reads may fail until the function stops looking for the call's job. A job runs for hours, and while it holds
/// the slot, another call starts nothing.
const LONGEST_FAILURE: Duration = Duration::hours(1);

/// The largest number of jobs that are read one by one because they may be the call's job.
const MAX_CANDIDATES: usize = 5;

/// The job of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The job runs, or succeeded.
    Started(JobId),
    /// The job failed. This is its id at Entity Resolution.
    Failed(String),
}

/// The jobs and calls of another table that the ledger, or this invocation, knows.
#[derive(Clone, Debug)]
pub struct KnownJobs {
    /// The table.
    pub target: Target,
    /// The table's jobs whose end is not announced.
    pub jobs: Vec<Job>,
    /// The ids at Entity Resolution of the table's jobs whose end is announced.
    pub ended: Vec<String>,
    /// The table's calls whose outcome is not known, or not known yet.
    pub calls: Vec<Call>,
}

impl KnownJobs {
    /// Returns whether a job that began in this range may belong to this table.
    fn are_near(&self, range: &StartRange) -> bool {
        let mut jobs = self.jobs.iter().map(start_range);
        jobs.any(|job| overlap(&job, range)) || self.has_call_near(range)
    }

    /// Returns whether a job that began in this range may be that of a call for this table.
    pub(super) fn has_call_near(&self, range: &StartRange) -> bool {
        let mut calls = self.calls.iter().map(|call| call_range(call.called_at));
        calls.any(|call| overlap(&call, range))
    }
}

/// The start times that Entity Resolution may show for a job.
pub(super) type StartRange = RangeInclusive<OffsetDateTime>;

/// The start times of a known job.
pub(super) fn start_range(job: &Job) -> StartRange {
    job.started_at.saturating_sub(CLOCK_DIFFERENCE)
        ..=job.answered_at.saturating_add(CLOCK_DIFFERENCE)
}

/// The start times of the job of a call.
pub(super) fn call_range(called_at: OffsetDateTime) -> StartRange {
    called_at.saturating_sub(CLOCK_DIFFERENCE)..=called_at.saturating_add(LATEST_START)
}

fn overlap(one: &StartRange, other: &StartRange) -> bool {
    one.start() <= other.end() && other.start() <= one.end()
}

/// The reason why no job was found for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// No job of the workflow began when the call was made.
    None,
    /// This many jobs began when the call was made.
    Several(usize),
    /// This many jobs are queued, or began when the call was made. When they have begun, it may become clear which one
    /// is the call's job.
    Queued(usize),
    /// One job began when the call was made, but it may belong to a call for this table, which has the same workflow.
    Shared(Target),
    /// The jobs could not be read.
    Unreadable(ReadError),
}

impl NotFound {
    /// Returns whether the function stops looking for the job of a call that was made this long ago. It stops when the
    /// job should be visible, or cannot be seen. While reads fail, it looks for longer.
    pub fn is_given_up(&self, age: Duration) -> bool {
        age > if self.is_lasting() {
            LATEST_START
        } else {
            LONGEST_FAILURE
        }
    }

    /// Returns whether another search would have the same result. It would not if a read failed or a job is queued.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::None | Self::Several(_) | Self::Shared(_) => true,
            Self::Queued(_) => false,
            Self::Unreadable(error) => error.permission.is_some() || error.is_absent,
        }
    }

    /// Returns whether another search in this invocation is useless because a permission is missing.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Unreadable(ReadError {
                permission: Some(_),
                ..
            })
        )
    }
}

impl From<ReadError> for NotFound {
    fn from(error: ReadError) -> Self {
        Self::Unreadable(error)
    }
}

impl From<TimedOut> for NotFound {
    fn from(timed_out: TimedOut) -> Self {
        ReadError::from(timed_out).into()
    }
}

impl std::fmt::Display for NotFound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("Entity Resolution has no job that began at that time"),
            Self::Several(count) => {
                write!(
                    f,
                    "Entity Resolution has {count} jobs that began at that time"
                )
            }
            Self::Queued(count) => write!(
                f,
                "Entity Resolution has {count} jobs that are queued or began at that time"
            ),
            Self::Shared(target) => write!(
                f,
                "the job that began at that time may belong to a call for {target}, which has the same workflow"
            ),
            Self::Unreadable(error) => write!(f, "its job could not be looked up: {error}"),
        }
    }
}

impl Workflows {
    /// Looks for the job that a call started. It is the one job of the table's workflow for which all of this holds:
    ///
    /// - It began when the call was made.
    /// - It is not a job of another call, for any table, that the ledger or this invocation knows.
    /// - It has the type that was sent.
    /// - It has no output of its own. A job that was started at Entity Resolution itself has one.
    ///
    /// `others` reads what is known of other tables. It is called only if some job may be the call's job.
    pub async fn find_job(
        &self,
        call: &Call,
        record: &Record,
        others: impl AsyncFnOnce() -> Result<Vec<KnownJobs>, String>,
        now: OffsetDateTime,
        timeout: std::time::Duration,
    ) -> Result<Found, NotFound> {
        within(timeout, self.search(call, record, others, now)).await
    }

    async fn search(
        &self,
        call: &Call,
        record: &Record,
        others: impl AsyncFnOnce() -> Result<Vec<KnownJobs>, String>,
        now: OffsetDateTime,
    ) -> Result<Found, NotFound> {
        let target = &call.request.target;
        let workflow = &self.get_table(target).await?.workflow;
        let mut listed = self.list_jobs(workflow).await?;
        // A job whose end is announced is known, even if it failed and is not one of the recent jobs any more.
        listed.retain(|job| !record.is_ended(&job.id));
        let mut found = candidates(listed.clone(), call.called_at, record.running());
        let mut shared = None;
        if !found.is_empty() {
            let range = call_range(call.called_at);
            let others = self
                .sharing(workflow, others, &mut listed, &found, &range, now)
                .await?;
            // The known jobs of all tables together: which of the queued jobs is whose is not known.
            let known = others.iter().flat_map(|other| &other.jobs);
            found = candidates(listed, call.called_at, record.running().chain(known));
            let mut with_call = others.iter().filter(|other| other.has_call_near(&range));
            shared = with_call.next().map(|other| other.target.clone());
        }
        let mut matching = self
            .matching_jobs(workflow, found, call.choice.job_type)
            .await?;
        if let (Some(target), false) = (shared, matching.is_empty()) {
            return Err(NotFound::Shared(target));
        }
        matching.sort_by_key(|job| {
            let began = to_offset_date_time(job.start_time());
            began.map_or(Duration::MAX, |began| (began - call.called_at).abs())
        });
        // If the job that began nearest to the call failed, it is the call's job.
        if let Some(nearest) = matching.first()
            && *nearest.status() == JobStatus::Failed
        {
            return Ok(Found::Failed(nearest.job_id.clone()));
        }
        matching.retain(|job| *job.status() != JobStatus::Failed);
        let job = only_one(matching)?;
        Ok(Found::Started(JobId::EntityResolutionJobId(
            job.job_id.into(),
        )))
    }

    /// The other tables that have the same workflow, and whose jobs may be among these candidates. Jobs that are known to
    /// have ended for another table are removed from the list.
    pub(super) async fn sharing(
        &self,
        workflow: &str,
        others: impl AsyncFnOnce() -> Result<Vec<KnownJobs>, String>,
        listed: &mut Vec<Listed>,
        candidates: &[Listed],
        range: &StartRange,
        now: OffsetDateTime,
    ) -> Result<Vec<KnownJobs>, ReadError> {
        let others = others().await.map_err(ReadError::unclear)?;
        listed.retain(|job| !others.iter().any(|other| other.ended.contains(&job.id)));
        // A queued job without a start time may be any known one.
        let is_queued = candidates.iter().any(|job| job.began.is_none());
        let mut sharing = Vec::new();
        for other in others {
            let may_be_one = is_queued || other.are_near(range);
            if may_be_one && self.has_workflow(&other.target, workflow, now).await? {
                sharing.push(other);
            }
        }
        Ok(sharing)
    }

    /// Returns whether another table has this workflow. A table that does not exist has none.
    async fn has_workflow(
        &self,
        other: &Target,
        workflow: &str,
        now: OffsetDateTime,
    ) -> Result<bool, ReadError> {
        match self.table(other, now).await {
            Ok(table) => Ok(table.value.workflow == workflow),
            Err(error) if error.is_absent => Ok(false),
            // The error tells nothing about the call's own job, which is looked for longer.
            Err(error) => Err(ReadError {
                permission: None,
                ..error
            }),
        }
    }

    /// Reads the candidates, and returns those that may be a job that was started with this type, or with none.
    pub(super) async fn matching_jobs(
        &self,
        workflow: &str,
        candidates: Vec<Listed>,
        sent: Option<JobType>,
    ) -> Result<Vec<GetIdMappingJobOutput>, NotFound> {
        if candidates.len() > MAX_CANDIDATES {
            return Err(NotFound::Several(candidates.len()));
        }
        let mut matching = Vec::new();
        for Listed { id, .. } in candidates {
            let job = self
                .get_job(workflow, &id)
                .await
                // The list has the job, so it exists, and another read will find it.
                .map_err(|error| ReadError {
                    is_absent: false,
                    ..error
                })?;
            if may_be_ours(&job, sent) {
                matching.push(job);
            }
        }
        Ok(matching)
    }
}

/// Returns the only job of a list. Returns an error if there is none, or more than one.
pub(super) fn only_one(
    mut jobs: Vec<GetIdMappingJobOutput>,
) -> Result<GetIdMappingJobOutput, NotFound> {
    let queued = jobs.iter().any(|job| *job.status() == JobStatus::Queued);
    match (jobs.pop(), jobs.len()) {
        (None, _) => Err(NotFound::None),
        (Some(job), 0) => Ok(job),
        (Some(_), others) if queued => Err(NotFound::Queued(others + 1)),
        (Some(_), others) => Err(NotFound::Several(others + 1)),
    }
}

/// Returns the listed jobs that a call may have started. They began when the call was made, or are queued without a start
/// time, and are not known jobs.
///
/// Each known job corresponds to one listed job: the job that has its id, or the job that began about when the known job
/// was started, or a queued job.
pub(super) fn candidates<'a>(
    mut listed: Vec<Listed>,
    called_at: OffsetDateTime,
    known: impl Iterator<Item = &'a Job>,
) -> Vec<Listed> {
    // How many known jobs may be queued.
    let mut queued = 0;
    for known in known {
        let same = listed.iter().position(|job| has_id(&job.id, &known.id));
        match same.or_else(|| likeliest(&listed, known, called_at)) {
            Some(index) => {
                listed.remove(index);
            }
            None if called_at - known.started_at < LONGEST_QUEUED => queued += 1,
            None => {}
        }
    }
    let is_queued = |job: &Listed| job.began.is_none() && !job.has_ended();
    // The list does not tell which of the queued jobs are the known ones.
    let has_unknown = listed.iter().filter(|job| is_queued(job)).count() > queued;
    let range = call_range(called_at);
    listed.retain(|job| match job.began {
        Some(began) => range.contains(&began),
        None => has_unknown && is_queued(job),
    });
    listed
}

/// The listed job that is most likely a known one, by its start. Returns `None` if the known job may still be queued.
fn likeliest(listed: &[Listed], known: &Job, called_at: OffsetDateTime) -> Option<usize> {
    let range = start_range(known);
    let longest_queued = known.started_at.saturating_add(LONGEST_QUEUED);
    let of_call = call_range(called_at);
    let may_be_of_call = |began: OffsetDateTime| called_at <= began && began <= *of_call.end();
    let is_before = known.started_at <= called_at;
    let ranked = listed.iter().enumerate().filter_map(|(index, job)| {
        let began = job.began.filter(|began| range.start() <= began)?;
        let rank = if known.started_at <= began && began <= known.answered_at {
            // A job begins between its call and the answer,
            0
        } else if began <= *range.end() {
            // unless the clock of Entity Resolution differs,
            1
        } else if began <= longest_queued && !may_be_of_call(began) {
            // or the job was queued. Then it is not one that the call is likelier to have started.
            2
        } else {
            return None;
        };
        // Jobs begin in the order of their calls.
        let order = (began - called_at) * if is_before { 1 } else { -1 };
        Some((rank, order, index))
    });
    ranked.min().map(|(.., index)| index)
}

/// Returns whether an id at Entity Resolution is that of a known job. It may be Clean Rooms' id without its hyphens, which
/// AWS does not document.
pub(super) fn has_id(job_id: &str, known: &JobId) -> bool {
    job_id == known.as_str() || job_id == known.as_str().replace('-', "")
}

#[cfg(test)]
mod tests;
