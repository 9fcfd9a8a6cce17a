//! Whether a call whose outcome is unknown started a job after all.
//!
//! A job's name at Entity Resolution is another than `PopulateIdMappingTable` answers, so a job is
//! known by its start.

use aws_sdk_entityresolution::operation::get_id_mapping_job::GetIdMappingJobOutput;
use aws_sdk_entityresolution::types::JobStatus;
use time::{Duration, OffsetDateTime};

use super::{Listed, Unread, Workflows, may_be_ours, unclear};
use crate::job_type::JobType;
use crate::ledger::{Call, Job, JobId, Record};

/// How far the clocks of Entity Resolution and of the function may differ.
pub(super) const CLOCK_DIFFERENCE: Duration = Duration::seconds(2);

/// A call's job starts while the call is under way, or is queued a little later. One that starts
/// later than this was started by somebody else, perhaps for another table with the same workflow.
const LATEST_START: Duration = Duration::minutes(5);

/// How long reads may fail until a call is given up. A job runs for hours and holds the slot: while it
/// does, calling again starts nothing.
const LONGEST_FAILURE: Duration = Duration::hours(1);

/// Jobs that may be the call's and are looked at one by one at most.
const MAX_CANDIDATES: usize = 5;

/// Why no job was found for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// No job of the workflow began when the call was made.
    None,
    /// So many jobs did.
    Several(usize),
    /// It could not be looked for.
    Unread(Unread),
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
            Self::None | Self::Several(_) => true,
            Self::Unread(unread) => unread.permission.is_some() || unread.absent,
        }
    }

    /// Whether it is in vain to look again at once: a permission is missing.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Unread(Unread {
                permission: Some(_),
                ..
            })
        )
    }
}

impl From<Unread> for NotFound {
    fn from(unread: Unread) -> Self {
        Self::Unread(unread)
    }
}

impl std::fmt::Display for NotFound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("Entity Resolution has no job that began then"),
            Self::Several(count) => {
                write!(f, "Entity Resolution has {count} jobs that began then")
            }
            Self::Unread(unread) => write!(f, "its job could not be looked for: {unread}"),
        }
    }
}

impl Workflows {
    /// Looks for the job that a call started: one of the table's workflow that began when the call
    /// was made and did not fail, that no other call of the ledger started, that has the type that was
    /// sent, and no output of its own, as jobs have that were started at Entity Resolution itself.
    pub async fn find_job(
        &self,
        call: &Call,
        record: &Record,
        within: std::time::Duration,
    ) -> Result<JobId, NotFound> {
        let looked = self.look(call, record);
        tokio::time::timeout(within, looked)
            .await
            .unwrap_or_else(|_| {
                let within = within.as_millis();
                Err(unclear(format!("no answer within {within} ms")).into())
            })
    }

    async fn look(&self, call: &Call, record: &Record) -> Result<JobId, NotFound> {
        let table = self.get_table(&call.request.target).await?;
        let workflow = &table.workflow;
        let mut candidates = candidates(
            self.list_jobs(workflow).await?,
            call.called_at,
            record.recent(),
        );
        candidates.retain(|job| job.status != JobStatus::Failed);
        let found = self
            .only_one(workflow, candidates, call.choice.job_type)
            .await?;
        Ok(JobId::EntityResolutionJobId(found.job_id))
    }

    /// The one of these jobs that may be one that was sent with this type, or none.
    pub(super) async fn only_one(
        &self,
        workflow: &str,
        candidates: Vec<Listed>,
        sent: Option<JobType>,
    ) -> Result<GetIdMappingJobOutput, NotFound> {
        if candidates.len() > MAX_CANDIDATES {
            return Err(NotFound::Several(candidates.len()));
        }
        let mut ours = Vec::new();
        for Listed { id, .. } in candidates {
            let found = self.get_job(workflow, &id).await?;
            if may_be_ours(&found, sent) {
                ours.push(found);
            }
        }
        match (ours.pop(), ours.len()) {
            (None, _) => Err(NotFound::None),
            (Some(found), 0) => Ok(found),
            (Some(_), others) => Err(NotFound::Several(others + 1)),
        }
    }
}

/// The jobs that a call of that moment may have started: they began then, and are none of those that
/// are known. Each known job is one of the list: the one that bears its id, or began nearest to its
/// call.
pub(super) fn candidates<'a>(
    mut listed: Vec<Listed>,
    called_at: OffsetDateTime,
    known: impl Iterator<Item = &'a Job>,
) -> Vec<Listed> {
    for known in known {
        let window = known.started_at - CLOCK_DIFFERENCE..=known.answered_at + CLOCK_DIFFERENCE;
        let same = listed.iter().position(|job| bears(&job.id, &known.id));
        let nearest = || {
            let near = listed
                .iter()
                .enumerate()
                .filter(|(_, job)| window.contains(&job.began));
            near.min_by_key(|(_, job)| (job.began - known.started_at).abs())
                .map(|(index, _)| index)
        };
        if let Some(index) = same.or_else(nearest) {
            listed.remove(index);
        }
    }
    let began = called_at - CLOCK_DIFFERENCE..=called_at + LATEST_START;
    listed.retain(|job| began.contains(&job.began));
    listed
}

/// Whether Entity Resolution's id is this one's: it may be Clean Rooms' without dashes, which AWS does
/// not document.
fn bears(job_id: &str, known: &JobId) -> bool {
    job_id == known.as_str() || job_id == known.as_str().replace('-', "")
}
