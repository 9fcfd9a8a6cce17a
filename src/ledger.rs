//! What the function remembers of each ID mapping table, and the rules of coverage and claims
//! (contract section 3).
//!
//! A job reads its input after it starts. So a job that started after the news happened contains
//! the news: one record per table with the last job of each type answers repeats, bursts and the
//! whole waiting line. The rules are functions of [`Record`], and pure. A store keeps the records,
//! in DynamoDB or in memory: one read, and conditional writes that fail when anything changed since
//! the read.

mod waiters;

use crate::job::{Call, Job, JobEnd, JobId, Started};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

pub use self::waiters::{Waiter, Waiters};
use crate::choice::Choice;
use crate::job_type::JobType;
use crate::request::Request;

/// The recent keys of a table that are known (contract section 3).
const MAX_KEYS: usize = 64;

/// The jobs of a table whose start could not be reported yet that other requests report; of older ones,
/// their own repeat does.
const MAX_UNREPORTED: Bound = Bound {
    count: 4,
    bytes: 170_000,
};

/// The calls with an unknown outcome that a table's record holds. Of more, the oldest is given up: its
/// job would have held the slot for all that came after it.
const MAX_UNKNOWN: Bound = Bound {
    count: 4,
    bytes: 110_000,
};

/// How many items a list holds, and how many bytes they have in JSON: a request may hold two names of
/// 4,096 characters, 24 KB each in JSON at worst, and with claim, keys and jobs a record stays below
/// DynamoDB's 400 KB.
#[derive(Clone, Copy)]
struct Bound {
    count: usize,
    bytes: usize,
}

/// The ended jobs of a table that are known to be announced.
const MAX_ENDED: usize = 64;

/// Event times have whole seconds: a job covers news that is older than its start by at least this.
const ROUNDING: Duration = Duration::seconds(1);

/// How far the clocks of two execution environments may differ.
const CLOCK_DIFFERENCE: Duration = Duration::seconds(1);

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

/// A job whose start has to be reported yet, and since when others may do that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Unreported {
    started: Started,
    /// The deadline of the invocation that started it, which reports it itself.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    reported_until: OffsetDateTime,
}

/// What is reported of a job's start, each by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// Its `STARTED` is published, or nobody is to be told.
    pub announced: bool,
    /// A message that tracks it is in the waiting queue, or it is not tracked.
    pub tracked: bool,
}

impl Reported {
    fn is_complete(self) -> bool {
        self.announced && self.tracked
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// A digest of the key, so that a record's size does not depend on the callers' names.
    key: Uuid,
    job: Job,
    /// What was sent, and why, as long as the job's start is not fully reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unreported: Option<Choice>,
    #[serde(default)]
    reported: Reported,
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
    /// Calls whose outcome is unknown, and for which no job was found, oldest first.
    unknown: Vec<Call>,
    /// Jobs whose start is not fully reported, oldest first.
    unreported: Vec<Unreported>,
}

/// A call whose outcome is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownCall {
    /// The call.
    pub call: Call,
    /// Whether a job was looked for before, and none found.
    pub looked_for: bool,
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
    /// A job may run: these calls were made, and nobody knows what became of them; oldest first.
    Unknown(Vec<UnknownCall>),
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
            job.started_at >= request.time.saturating_add(ROUNDING)
                // A clock was ahead: nobody knows when that job really started.
                && !is_in_the_future(job, now)
                && request.wish.is_covered_by(job.job_type)
        };
        if let Some(job) = self.jobs.iter().find(covers) {
            return Verdict::Covered(job.id.clone());
        }
        if let Some(claim) = &self.claim
            && now <= claim.until.saturating_add(CLOCK_DIFFERENCE)
        {
            return Verdict::Claimed(claim.until);
        }
        let looked_for = self.unknown.iter().map(|call| UnknownCall {
            call: call.clone(),
            looked_for: true,
        });
        let left_behind = self.claim.iter().map(|claim| UnknownCall {
            call: claim.call.clone(),
            looked_for: false,
        });
        let mut unknown: Vec<UnknownCall> = looked_for.chain(left_behind).collect();
        if unknown.is_empty() {
            return Verdict::Free;
        }
        unknown.sort_by_key(|unknown| unknown.call.called_at);
        Verdict::Unknown(unknown)
    }

    /// The jobs whose start this request reports, oldest first: its own, and those whose starter's
    /// deadline is over.
    pub fn unreported(&self, request: &Request, now: OffsetDateTime) -> Vec<Started> {
        let key = request.key();
        let mut all: Vec<Started> = self
            .unreported
            .iter()
            .filter(|unreported| {
                now > unreported.reported_until.saturating_add(CLOCK_DIFFERENCE)
                    || unreported.started.request.key() == key
            })
            .map(|unreported| unreported.started.clone())
            .collect();
        let key = digest(request);
        if let Some(known) = self.keys.iter().find(|known| known.key == key)
            && let Some(choice) = &known.unreported
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

    /// The calls whose outcome is not known, or not yet.
    pub fn open_calls(&self) -> impl Iterator<Item = &Call> {
        let claimed = self.claim.iter().map(|claim| &claim.call);
        claimed.chain(&self.unknown)
    }

    /// Whether the end of a job is announced, by either of its names.
    pub fn is_ended(&self, id: &str) -> bool {
        self.ended
            .iter()
            .any(|ended| ended.id == id || ended.entity_resolution_job_id == id)
    }

    /// What is reported of a job's start.
    pub fn reported(&self, id: &JobId) -> Reported {
        let of_job = |known: &&Arc<Known>| known.job.id == *id;
        let known = self.keys.iter().filter(of_job);
        known.fold(Reported::default(), |all, known| Reported {
            announced: all.announced || known.reported.announced,
            tracked: all.tracked || known.reported.tracked,
        })
    }

    /// Whether a job's start is recorded, and not announced.
    pub fn is_unannounced(&self, id: &JobId) -> bool {
        self.keys.iter().any(|known| {
            known.unreported.is_some() && !known.reported.announced && known.job.id == *id
        })
    }

    /// With a claim. A call that is given up is not forgotten before a job starts: if the slot is
    /// busy, it may be with that call's job.
    pub fn claimed(&self, claim: Claim) -> Self {
        Self {
            claim: Some(claim),
            ..self.clone()
        }
    }

    /// Whether this call's outcome is still open.
    fn is_open(&self, attempt: Uuid) -> bool {
        self.open_calls().any(|call| call.attempt == attempt)
    }

    /// Transition: no job of this call runs. Its claim is given back, whatever else has happened since.
    pub fn claim_released(&self, attempt: Uuid) -> Self {
        let mut record = self.clone();
        record.claim = record.claim.filter(|claim| claim.call.attempt != attempt);
        record.unknown.retain(|call| call.attempt != attempt);
        record
    }

    /// Transition: a call started a job. Whoever has to report its start does so until this moment;
    /// none: nobody is to be told.
    pub fn job_started(
        &self,
        call: &Call,
        job: &Job,
        reported_until: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> Self {
        let mut record = self.claim_released(call.attempt);
        // The calls before it found the slot free, or are reconciled: no job of theirs runs.
        record
            .unknown
            .retain(|unknown| unknown.called_at > call.called_at);
        // Whoever lost its claim may be late.
        keep_later(&mut record.jobs, job, now);
        record.keys.push(Arc::new(Known {
            key: digest(&call.request),
            job: job.clone(),
            unreported: reported_until.map(|_| call.choice.clone()),
            reported: Reported::default(),
        }));
        keep_newest(&mut record.keys, MAX_KEYS);
        if let Some(reported_until) = reported_until {
            record.unreported.push(Unreported {
                started: Started {
                    request: call.request.clone(),
                    choice: call.choice.clone(),
                    job: job.clone(),
                },
                reported_until,
            });
            keep_newest_within(&mut record.unreported, MAX_UNREPORTED);
        }
        record
    }

    /// Transition: a job was found for a call that somebody left behind, unless that is settled already.
    pub fn job_found(
        &self,
        call: &Call,
        job: &Job,
        reported_until: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> Self {
        if !self.is_open(call.attempt) {
            return self.clone();
        }
        self.job_started(call, job, reported_until, now)
    }

    /// Transition: a call's outcome is unknown and no job was found for it, unless that is settled
    /// already.
    pub fn outcome_unknown(&self, call: &Call) -> Self {
        if !self.is_open(call.attempt) {
            return self.clone();
        }
        let mut record = self.claim_released(call.attempt);
        record.unknown.push(call.clone());
        record.unknown.sort_by_key(|call| call.called_at);
        keep_newest_within(&mut record.unknown, MAX_UNKNOWN);
        record
    }

    /// Transition: a job's start is reported so far.
    pub fn start_reported(&self, id: &JobId, reported: Reported) -> Self {
        let mut record = self.clone();
        let known = record.keys.iter_mut().filter(|known| known.job.id == *id);
        for known in known {
            let known = Arc::make_mut(known);
            known.reported.announced |= reported.announced;
            known.reported.tracked |= reported.tracked;
            if known.reported.is_complete() {
                known.unreported = None;
            }
        }
        if reported.is_complete() || record.reported(id).is_complete() {
            record
                .unreported
                .retain(|unreported| unreported.started.job.id != *id);
        }
        record
    }

    /// Transition: a job failed, under its two names. It covers nothing, and its requests' keys are new.
    pub fn job_failed(
        &self,
        job: &Job,
        entity_resolution_job_id: &str,
        now: OffsetDateTime,
    ) -> Self {
        let mut record = self.clone();
        // By whichever name it was recorded.
        let failed =
            |other: &Job| [job.id.as_str(), entity_resolution_job_id].contains(&other.id.as_str());
        record.jobs.retain(|other| !failed(other));
        record.keys.retain(|known| !failed(&known.job));
        record.succeeded.retain(|other| !failed(other));
        record
            .unreported
            .retain(|unreported| !failed(&unreported.started.job));
        // What ran, or succeeded, before still covers what it covered.
        let known = record.keys.iter().map(|known| &known.job);
        for other in known.chain(&record.succeeded) {
            if other.job_type == job.job_type {
                keep_later(&mut record.jobs, other, now);
            }
        }
        record
    }

    /// Transition: a job's end is announced, under its two names.
    pub fn job_ended(
        &self,
        job: &Job,
        entity_resolution_job_id: &str,
        end: JobEnd,
        now: OffsetDateTime,
    ) -> Self {
        let mut record = match end {
            JobEnd::Failed => self.job_failed(job, entity_resolution_job_id, now),
            JobEnd::Succeeded => {
                let mut record = self.clone();
                keep_later(&mut record.succeeded, job, now);
                keep_later(&mut record.jobs, job, now);
                record
            }
        };
        record.push_ended(job.id.as_str(), entity_resolution_job_id);
        record
    }

    fn push_ended(&mut self, id: &str, entity_resolution_job_id: &str) {
        self.ended.push(Ended {
            id: id.to_owned(),
            entity_resolution_job_id: entity_resolution_job_id.to_owned(),
        });
        keep_newest(&mut self.ended, MAX_ENDED);
    }
}

/// Of each type the job that started last.
fn keep_later(jobs: &mut Vec<Job>, job: &Job, now: OffsetDateTime) {
    let later = |other: &Job| {
        other.job_type == job.job_type
            && other.started_at > job.started_at
            && !is_in_the_future(other, now)
    };
    if !jobs.iter().any(later) {
        jobs.retain(|other| other.job_type != job.job_type);
        jobs.push(job.clone());
    }
}

/// Whether a job's start is later than the clocks of two execution environments may differ.
fn is_in_the_future(job: &Job, now: OffsetDateTime) -> bool {
    job.started_at > now.saturating_add(CLOCK_DIFFERENCE)
}

fn keep_newest<T>(items: &mut Vec<T>, most: usize) {
    items.drain(..items.len().saturating_sub(most));
}

/// Keeps the newest, and at least one.
fn keep_newest_within<T: Serialize>(items: &mut Vec<T>, Bound { count, bytes }: Bound) {
    keep_newest(items, count);
    let size = |item: &T| serde_json::to_string(item).map_or(0, |json| json.len());
    while items.len() > 1 && items.iter().map(size).sum::<usize>() > bytes {
        items.remove(0);
    }
}

fn digest(request: &Request) -> Uuid {
    /// The namespace of these digests: a random UUID, never to be changed.
    const KEYS: Uuid = Uuid::from_u128(0x5c1b_2f0e_93d7_4a41_8be6_7f0d_44a9_c210);
    // A record is of one target.
    let key = [request.asked(), &request.name].join(" ");
    Uuid::new_v5(&KEYS, key.as_bytes())
}

#[cfg(test)]
mod tests;
