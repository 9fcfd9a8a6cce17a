//! Whether a call whose outcome is unknown started a job.
//!
//! AWS does not document that a job has the same id at Entity Resolution as `PopulateIdMappingTable` answers, so a
//! job is recognised by its start.

use aws_sdk_entityresolution::operation::get_id_mapping_job::GetIdMappingJobOutput;
use aws_sdk_entityresolution::types::JobStatus;
use time::{Duration, OffsetDateTime};

use super::reads::{Listed, ReadError, Workflows, may_be_ours, moment};
use crate::aws::call::{TimedOut, within};
use crate::job::{Call, Job, JobId};
use crate::job_type::JobType;
use crate::ledger::Record;
use crate::target::Target;

/// How far the clocks of Entity Resolution and of the function may differ, and whole seconds.
const CLOCK_DIFFERENCE: Duration = Duration::seconds(5);

/// How long ago a job may have started that the list shows as queued, without a start.
const LONGEST_QUEUED: Duration = Duration::days(1);

/// A call's job starts while the call is under way, or is queued a little later. One that starts
/// later than this was started by somebody else, perhaps for another table with the same workflow.
const LATEST_START: Duration = Duration::minutes(5);

/// How long reads may fail until a call is given up. A job runs for hours and holds the slot: while it
/// does, calling again starts nothing.
const LONGEST_FAILURE: Duration = Duration::hours(1);

/// Jobs that may be the call's and are looked at one by one at most.
const MAX_CANDIDATES: usize = 5;

/// A call's job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It runs, or ran well.
    Started(JobId),
    /// It ran and failed, under this name at Entity Resolution.
    Failed(String),
}

/// The jobs that the ledger, or this invocation, knows of another table.
#[derive(Clone, Debug)]
pub struct KnownJobs {
    /// The table.
    pub target: Target,
    /// Its jobs whose end is not announced.
    pub jobs: Vec<Job>,
    /// The ids at Entity Resolution of its jobs whose end is announced.
    pub ended: Vec<String>,
    /// Its calls whose outcome is not known, or not yet.
    pub calls: Vec<Call>,
}

impl KnownJobs {
    /// Whether a job that began when this call was made may be one of theirs.
    fn are_near(&self, call: &Call) -> bool {
        let (first, last) = window(call.called_at);
        let near = |job: &Job| {
            let (began, answered) = moments(job);
            began <= last && first <= answered
        };
        self.jobs.iter().any(near) || self.has_call_near(call)
    }

    fn has_call_near(&self, call: &Call) -> bool {
        let (first, last) = window(call.called_at);
        let near = |other: &Call| {
            let (other_first, other_last) = window(other.called_at);
            other_first <= last && first <= other_last
        };
        self.calls.iter().any(near)
    }
}

/// Between which moments Entity Resolution says that a job began whose start is known.
pub(super) fn moments(job: &Job) -> (OffsetDateTime, OffsetDateTime) {
    (
        job.started_at.saturating_sub(CLOCK_DIFFERENCE),
        job.answered_at.saturating_add(CLOCK_DIFFERENCE),
    )
}

/// Between which moments the job of a call of that moment begins.
fn window(called_at: OffsetDateTime) -> (OffsetDateTime, OffsetDateTime) {
    (
        called_at.saturating_sub(CLOCK_DIFFERENCE),
        called_at.saturating_add(LATEST_START),
    )
}

/// Why no job was found for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// No job of the workflow began when the call was made.
    None,
    /// So many jobs did.
    Several(usize),
    /// So many are queued, or began then; which is the call's may show when they have begun.
    Queued(usize),
    /// One did, and it may be of a call for this table, which has the same workflow.
    Shared(Target),
    /// It could not be looked for.
    Unreadable(ReadError),
}

impl NotFound {
    /// Whether a call that was made so long ago is given up: its job should show by now, or cannot be
    /// seen. While reads fail by themselves it is hoped for longer.
    pub fn is_given_up(&self, age: Duration) -> bool {
        age > if self.is_lasting() {
            LATEST_START
        } else {
            LONGEST_FAILURE
        }
    }

    /// Whether it will be the same the next time: no read failed by itself.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::None | Self::Several(_) | Self::Shared(_) => true,
            Self::Queued(_) => false,
            Self::Unreadable(error) => error.permission.is_some() || error.is_absent,
        }
    }

    /// Whether it is in vain to look again at once: a permission is missing.
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
            Self::None => f.write_str("Entity Resolution has no job that began then"),
            Self::Several(count) => {
                write!(f, "Entity Resolution has {count} jobs that began then")
            }
            Self::Queued(count) => write!(
                f,
                "Entity Resolution has {count} jobs that are queued or began then"
            ),
            Self::Shared(target) => write!(
                f,
                "the job that began then may be of a call for {target}, which has the same workflow"
            ),
            Self::Unreadable(error) => write!(f, "its job could not be looked for: {error}"),
        }
    }
}

impl Workflows {
    /// Looks for the job that a call started: one of the table's workflow that began when the call
    /// was made, that no other call started of which the ledger or this invocation knows, for whichever
    /// table, that has the type that was sent, and no output of its own, as jobs have that were started
    /// at Entity Resolution itself.
    ///
    /// `others` tells what is known of other tables. It is asked only where a job may be the call's.
    pub async fn find_job(
        &self,
        call: &Call,
        record: &Record,
        others: impl AsyncFnOnce() -> Result<Vec<KnownJobs>, String>,
        now: OffsetDateTime,
        timeout: std::time::Duration,
    ) -> Result<Found, NotFound> {
        within(timeout, self.look(call, record, others, now)).await
    }

    async fn look(
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
        let mut began = candidates(listed, call.called_at, record.running());
        let mut shared = None;
        if !began.is_empty() {
            let mut others = others().await.map_err(ReadError::unclear)?;
            let has_ended = |job: &Listed| others.iter().any(|other| other.ended.contains(&job.id));
            began.retain(|job| !has_ended(job));
            others.retain(|other| other.target != *target && other.are_near(call));
            for other in &others {
                if self.has_workflow(&other.target, workflow, now).await? {
                    began = candidates(began, call.called_at, other.jobs.iter());
                    shared = shared.or(other.has_call_near(call).then_some(&other.target).cloned());
                }
            }
        }
        let mut ours = self
            .may_be_ours(workflow, began, call.choice.job_type)
            .await?;
        if let (Some(target), false) = (shared, ours.is_empty()) {
            return Err(NotFound::Shared(target));
        }
        ours.sort_by_key(|job| {
            let began = moment(job.start_time());
            began.map_or(Duration::MAX, |began| (began - call.called_at).abs())
        });
        // A job that failed and began nearer to the call than any other is the call's: it ran.
        if let Some(nearest) = ours.first()
            && *nearest.status() == JobStatus::Failed
        {
            return Ok(Found::Failed(nearest.job_id.clone()));
        }
        ours.retain(|job| *job.status() != JobStatus::Failed);
        let found = only_one(ours)?;
        Ok(Found::Started(JobId::EntityResolutionJobId(found.job_id)))
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
            // It tells nothing of the call's own job, which is looked for longer.
            Err(error) => Err(ReadError {
                permission: None,
                ..error
            }),
        }
    }

    /// Those of these jobs that may be one that was sent with this type, or none.
    pub(super) async fn may_be_ours(
        &self,
        workflow: &str,
        candidates: Vec<Listed>,
        sent: Option<JobType>,
    ) -> Result<Vec<GetIdMappingJobOutput>, NotFound> {
        if candidates.len() > MAX_CANDIDATES {
            return Err(NotFound::Several(candidates.len()));
        }
        let mut ours = Vec::new();
        for Listed { id, .. } in candidates {
            let found = self
                .get_job(workflow, &id)
                .await
                // The list has it: it is there, and will be found another time.
                .map_err(|error| ReadError {
                    is_absent: false,
                    ..error
                })?;
            if may_be_ours(&found, sent) {
                ours.push(found);
            }
        }
        Ok(ours)
    }
}

/// The only one of these jobs.
pub(super) fn only_one(
    mut ours: Vec<GetIdMappingJobOutput>,
) -> Result<GetIdMappingJobOutput, NotFound> {
    let queued = ours.iter().any(|job| *job.status() == JobStatus::Queued);
    match (ours.pop(), ours.len()) {
        (None, _) => Err(NotFound::None),
        (Some(found), 0) => Ok(found),
        (Some(_), others) if queued => Err(NotFound::Queued(others + 1)),
        (Some(_), others) => Err(NotFound::Several(others + 1)),
    }
}

/// The jobs that a call of this time may have started: they began then, or are queued without a start, and are not
/// known. Each known job is one of the list: the one with its id, the likeliest by its start, or a queued one.
pub(super) fn candidates<'a>(
    mut listed: Vec<Listed>,
    called_at: OffsetDateTime,
    known: impl Iterator<Item = &'a Job>,
) -> Vec<Listed> {
    // How many known jobs may be queued.
    let mut queued = 0;
    for known in known {
        let same = listed.iter().position(|job| bears(&job.id, &known.id));
        match same.or_else(|| likeliest(&listed, known, called_at)) {
            Some(index) => {
                listed.remove(index);
            }
            None if called_at - known.started_at < LONGEST_QUEUED => queued += 1,
            None => {}
        }
    }
    let is_queued = |job: &Listed| {
        job.began.is_none() && matches!(job.status, JobStatus::Queued | JobStatus::Running)
    };
    // The list does not tell which of the queued jobs are the known ones.
    let any_unknown = listed.iter().filter(|job| is_queued(job)).count() > queued;
    let (first, last) = window(called_at);
    listed.retain(|job| match job.began {
        Some(began) => first <= began && began <= last,
        None => any_unknown && is_queued(job),
    });
    listed
}

/// The listed job that is most likely a known one, by its start. Returns `None` if it may be queued still.
fn likeliest(listed: &[Listed], known: &Job, called_at: OffsetDateTime) -> Option<usize> {
    let (first, last) = moments(known);
    let longest_queued = known.started_at.saturating_add(LONGEST_QUEUED);
    let (_, latest) = window(called_at);
    let may_be_the_calls = |began: OffsetDateTime| (called_at..=latest).contains(&began);
    let is_before = known.started_at <= called_at;
    let ranked = listed.iter().enumerate().filter_map(|(index, job)| {
        let began = job.began.filter(|began| first <= *began)?;
        let rank = if known.started_at <= began && began <= known.answered_at {
            // A job begins between its call and the answer.
            0
        } else if began <= last {
            // Unless the clocks differ.
            1
        } else if began <= longest_queued && !may_be_the_calls(began) {
            // Or it was queued. Then it is not one that the call is likelier to have started.
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

/// Whether Entity Resolution's id is this one's: it may be Clean Rooms' without dashes, which AWS does
/// not document.
fn bears(job_id: &str, known: &JobId) -> bool {
    job_id == known.as_str() || job_id == known.as_str().replace('-', "")
}

#[cfg(test)]
mod tests;
