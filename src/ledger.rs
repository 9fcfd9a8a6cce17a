//! What the function remembers of each ID mapping table, and the rules of coverage and claims
//! (contract section 3).
//!
//! A job reads its input after it starts. So a job that started after the news happened contains
//! the news: one record per table with the last job of each type answers repeats, bursts and the
//! whole waiting line. The rules are functions of [`Record`], and pure. A store keeps the records,
//! in DynamoDB or in memory: one read, and conditional writes that fail when anything changed since
//! the read.

mod store;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

pub use self::store::{Entry, Ledger};
use crate::input::Request;
use crate::job_type::{Choice, JobType};

/// The recent keys of a table that are known (contract section 3).
const MAX_KEYS: usize = 64;

/// The jobs of a table whose `STARTED` could not be published yet that whoever comes next announces;
/// of older ones, their own repeat does. Each may hold two names of 4,096 characters, 24 KB each in
/// JSON at worst; with claim, keys and jobs a record stays below DynamoDB's 400 KB.
const MAX_UNANNOUNCED: usize = 4;

/// The ended jobs of a table that are known to be announced.
const MAX_ENDED: usize = 64;

/// Event times have whole seconds: a job covers news that is older than its start by at least this.
const ROUNDING: Duration = Duration::seconds(1);

/// How far the clocks of two execution environments may differ.
const CLOCK_DIFFERENCE: Duration = Duration::seconds(1);

/// The name of a job: Clean Rooms', or, where it was found and not answered, Entity Resolution's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobId {
    /// What `PopulateIdMappingTable` answered.
    IdMappingJobId(String),
    /// What Entity Resolution calls a job whose start answered nothing.
    EntityResolutionJobId(String),
}

impl JobId {
    /// The id.
    pub fn as_str(&self) -> &str {
        match self {
            Self::IdMappingJobId(id) | Self::EntityResolutionJobId(id) => id,
        }
    }
}

/// A job that started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its id.
    #[serde(flatten)]
    pub id: JobId,
    /// The job type that was sent; none: the service's default.
    pub job_type: Option<JobType>,
    /// The moment before the call.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    pub started_at: OffsetDateTime,
    /// The moment after its answer.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    pub answered_at: OffsetDateTime,
}

/// A call of `PopulateIdMappingTable`, for whom and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// Whose call it is.
    pub attempt: Uuid,
    /// The moment before the call.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    pub called_at: OffsetDateTime,
    /// The request.
    pub request: Request,
    /// What is sent, and why.
    pub choice: Choice,
}

/// The right of one invocation to start a job for the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The invocation's deadline.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    pub until: OffsetDateTime,
    /// The call that it makes.
    pub call: Call,
}

/// A job whose `STARTED` has to be published yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// The request.
    pub request: Request,
    /// What was sent, and why.
    pub choice: Choice,
    /// The job.
    pub job: Job,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// A digest of the key, so that a record's size does not depend on the callers' names.
    key: Uuid,
    job: Job,
    /// What was sent, and why, as long as the job's start is not announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unannounced: Option<Choice>,
    /// Whether it stands in the waiting line, to be followed.
    #[serde(default)]
    followed: bool,
}

/// A job whose end is announced, under its two names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    id: String,
    entity_resolution_job_id: String,
}

/// What is remembered of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Record {
    /// The last job of each type that was sent, of those that are not known to have failed.
    jobs: Vec<Job>,
    /// The last of each type that is known to have succeeded.
    succeeded: Vec<Job>,
    /// The jobs whose end is announced, newest last.
    ended: Vec<Ended>,
    /// The recent keys whose job started, newest last. A record is copied for each change, and of these
    /// there are many.
    keys: Vec<Arc<Known>>,
    claim: Option<Claim>,
    /// A call whose outcome is unknown, and for which no job was found.
    unknown: Option<Call>,
    /// Jobs whose start is not announced, oldest first.
    unannounced: Vec<Started>,
}

/// What the ledger says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This very request started this job.
    Known(JobId),
    /// This job started after the news, and its type covers the wish.
    Covered(JobId),
    /// Another invocation is starting a job, until this moment at the latest.
    Claimed(OffsetDateTime),
    /// A job may run: this call was made, and nobody knows what became of it.
    Doubtful {
        /// The call.
        call: Box<Call>,
        /// Whether a job was looked for before, and none found.
        looked_for: bool,
    },
    /// A job may be started.
    Free,
}

impl Record {
    /// What holds for a request, first match wins.
    pub fn verdict(&self, request: &Request, now: OffsetDateTime) -> Verdict {
        let key = digest(request);
        if let Some(known) = self.keys.iter().find(|known| known.key == key) {
            return Verdict::Known(known.job.id.clone());
        }
        let covers = |job: &&Job| {
            job.started_at >= request.time + ROUNDING && request.wish.is_covered_by(job.job_type)
        };
        if let Some(job) = self.jobs.iter().find(covers) {
            return Verdict::Covered(job.id.clone());
        }
        match (&self.claim, &self.unknown) {
            (Some(claim), _) if now <= claim.until + CLOCK_DIFFERENCE => {
                Verdict::Claimed(claim.until)
            }
            (Some(claim), _) => Verdict::Doubtful {
                call: Box::new(claim.call.clone()),
                looked_for: false,
            },
            (None, Some(call)) => Verdict::Doubtful {
                call: Box::new(call.clone()),
                looked_for: true,
            },
            (None, None) => Verdict::Free,
        }
    }

    /// The jobs whose start is not announced, oldest first, and this request's own among them.
    pub fn unannounced(&self, request: &Request) -> Vec<Started> {
        let mut all = self.unannounced.clone();
        let key = digest(request);
        if let Some(known) = self.keys.iter().find(|known| known.key == key)
            && let Some(choice) = &known.unannounced
            && !all.iter().any(|started| started.job.id == known.job.id)
        {
            all.push(Started {
                request: request.clone(),
                choice: choice.clone(),
                job: known.job.clone(),
            });
        }
        all
    }

    /// When the last `BATCH` started.
    pub fn last_batch(&self) -> Option<OffsetDateTime> {
        let batch = |job: &&Job| job.job_type == Some(JobType::Batch);
        self.jobs.iter().find(batch).map(|job| job.started_at)
    }

    /// The recent jobs.
    pub fn recent(&self) -> impl Iterator<Item = &Job> {
        self.keys.iter().map(|known| &known.job)
    }

    /// With a claim. A call that is given up is not forgotten before a job starts: if the slot is
    /// busy, it may be with that call's job.
    fn claimed(&self, claim: Claim) -> Self {
        Self {
            claim: Some(claim),
            ..self.clone()
        }
    }

    /// Whether this call's outcome is still open.
    fn is_open(&self, attempt: Uuid) -> bool {
        let claimed = self.claim.as_ref().map(|claim| claim.call.attempt);
        let unknown = self.unknown.as_ref().map(|call| call.attempt);
        [claimed, unknown].contains(&Some(attempt))
    }

    /// Without this call's claim, whatever else has happened since.
    fn without(&self, attempt: Uuid) -> Self {
        let mut record = self.clone();
        record.claim = record.claim.filter(|claim| claim.call.attempt != attempt);
        record.unknown = record.unknown.filter(|call| call.attempt != attempt);
        record
    }

    /// With the job that a call started.
    fn with(&self, call: &Call, job: &Job, to_be_announced: bool) -> Self {
        let mut record = self.without(call.attempt);
        // Whatever was called before is settled, or given up.
        record.unknown = record
            .unknown
            .filter(|unknown| unknown.called_at > call.called_at);
        // Whoever lost its claim may be late.
        keep_later(&mut record.jobs, job);
        record.keys.push(Arc::new(Known {
            key: digest(&call.request),
            job: job.clone(),
            unannounced: to_be_announced.then(|| call.choice.clone()),
            followed: false,
        }));
        keep_newest(&mut record.keys, MAX_KEYS);
        if to_be_announced {
            record.unannounced.push(Started {
                request: call.request.clone(),
                choice: call.choice.clone(),
                job: job.clone(),
            });
            keep_newest(&mut record.unannounced, MAX_UNANNOUNCED);
        }
        record
    }

    /// Whether the end of a job is announced, by either of its names.
    pub fn is_ended(&self, id: &str) -> bool {
        self.ended
            .iter()
            .any(|ended| ended.id == id || ended.entity_resolution_job_id == id)
    }

    /// With a job whose end is announced now, and its name at Entity Resolution. One that failed covers
    /// nothing, and its requests' keys are new.
    fn ended(&self, job: &Job, entity_resolution_job_id: &str, failed: bool) -> Self {
        let mut record = self.clone();
        record.ended.push(Ended {
            id: job.id.as_str().to_owned(),
            entity_resolution_job_id: entity_resolution_job_id.to_owned(),
        });
        keep_newest(&mut record.ended, MAX_ENDED);
        if failed {
            // By whichever name it was recorded.
            let failed = |other: &Job| {
                [job.id.as_str(), entity_resolution_job_id].contains(&other.id.as_str())
            };
            record.jobs.retain(|other| !failed(other));
            record.keys.retain(|known| !failed(&known.job));
            record.succeeded.retain(|other| !failed(other));
            record.unannounced.retain(|started| !failed(&started.job));
            // What ran, or succeeded, before still covers what it covered.
            let known = record.keys.iter().map(|known| &known.job);
            for other in known.chain(&record.succeeded) {
                if other.job_type == job.job_type {
                    keep_later(&mut record.jobs, other);
                }
            }
        } else {
            keep_later(&mut record.succeeded, job);
            keep_later(&mut record.jobs, job);
        }
        record
    }

    /// With a call whose outcome is unknown.
    fn doubting(&self, call: &Call) -> Self {
        Self {
            unknown: Some(call.clone()),
            ..self.without(call.attempt)
        }
    }

    /// Whether a job's start is not announced.
    pub fn is_unannounced(&self, id: &JobId) -> bool {
        self.keys
            .iter()
            .any(|known| known.unannounced.is_some() && known.job.id == *id)
    }

    /// Whether a job stands in the waiting line, to be followed.
    pub fn is_followed(&self, id: &JobId) -> bool {
        self.keys
            .iter()
            .any(|known| known.followed && known.job.id == *id)
    }

    /// With a job that stands in the waiting line now, to be followed.
    fn followed(&self, id: &JobId) -> Self {
        let mut record = self.clone();
        for known in record.keys.iter_mut().filter(|known| known.job.id == *id) {
            Arc::make_mut(known).followed = true;
        }
        record
    }

    /// Without a job whose start is announced now.
    fn announced(&self, started: &Started) -> Self {
        let mut record = self.clone();
        record
            .unannounced
            .retain(|other| other.job.id != started.job.id);
        let own = |known: &&mut Arc<Known>| known.job.id == started.job.id;
        for known in record.keys.iter_mut().filter(own) {
            Arc::make_mut(known).unannounced = None;
        }
        record
    }
}

/// Of each type the job that started last.
fn keep_later(jobs: &mut Vec<Job>, job: &Job) {
    let later = |other: &Job| other.job_type == job.job_type && other.started_at > job.started_at;
    if !jobs.iter().any(later) {
        jobs.retain(|other| other.job_type != job.job_type);
        jobs.push(job.clone());
    }
}

fn keep_newest<T>(items: &mut Vec<T>, most: usize) {
    items.drain(..items.len().saturating_sub(most));
}

fn digest(request: &Request) -> Uuid {
    /// The namespace of these digests: a random UUID, never to be changed.
    const KEYS: Uuid = Uuid::from_u128(0x5c1b_2f0e_93d7_4a41_8be6_7f0d_44a9_c210);
    // A record is of one target.
    let key = [request.wish.as_str(), &request.name].join(" ");
    Uuid::new_v5(&KEYS, key.as_bytes())
}

#[cfg(test)]
mod tests;
