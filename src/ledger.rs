//! What the function remembers of each ID mapping table, and the rules of coverage and claims
//! (docs/reference.md#coverage).
//!
//! A job reads its input after it starts. So a job that started after a change contains it. One record per
//! table with the last job of each type answers repeats, bursts and the whole waiting queue at once. The
//! rules and transitions are pure functions of [`Record`]; `crate::aws::ledger_table` keeps the records, and
//! writes one only if nothing changed since it was read.

mod attempts;
mod key;
mod waiters;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use self::attempts::Attempts;
pub use self::attempts::FailedAttempt;
pub use self::key::is_own_job;
use self::key::{digest, may_be_own};
pub use self::waiters::{Waiter, Waiters};
use crate::choice::Choice;
use crate::clock::CLOCK_DIFFERENCE;
use crate::job::{Call, Job, JobEnd, JobId, JobStatus, StartedJob, TrackedId};
use crate::job_type::{JobType, RequestedType};
use crate::request::Request;

/// The most recent keys of a table that are known (docs/reference.md#coverage).
const MAX_KEYS: usize = 64;

/// The starts of a table that other requests report. An older one is reported by a repeat of its own request.
const MAX_UNREPORTED: Limit = Limit {
    count: 4,
    bytes: 110_000,
};

/// The jobs of a table that are tracked. The end of an older one is not announced.
const MAX_TRACKED: Limit = Limit {
    count: 32,
    bytes: 60_000,
};

/// The calls with an unknown outcome that a table's record holds. If there are more, the oldest is given up: its
/// job would have held the slot when the later ones were made.
const MAX_UNKNOWN: Limit = Limit {
    count: 4,
    bytes: 110_000,
};

/// The most items of a list, and the most bytes that they have in JSON. A request may hold two texts of 4,096
/// characters, each of up to 24 KB in JSON. With these limits a record stays below DynamoDB's 400 KB.
#[derive(Clone, Copy)]
struct Limit {
    count: usize,
    bytes: usize,
}

/// The most jobs of a table whose announced end is known.
const MAX_ENDED: usize = 64;

/// Event times have whole seconds: a job covers a change that is older than its start by at least this.
const ROUNDING: Duration = Duration::seconds(1);

/// The right of one invocation to start a job for the table: a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claim {
    /// The invocation's deadline. An older claim was left behind by an invocation that ended during its call.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    until: OffsetDateTime,
    call: Call,
}

/// A job whose start is not fully reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UnreportedStart {
    started: StartedJob,
    /// The deadline of the invocation that started it. Until then, that invocation alone reports it.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    report_until: OffsetDateTime,
    #[serde(default)]
    reported: Reported,
}

/// What is reported of a job's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reported {
    /// Its `STARTED` is published, or there is no event bus.
    pub announced: bool,
    /// A message that tracks it is in the waiting queue, or jobs are not tracked.
    pub tracked: bool,
}

impl Reported {
    fn is_complete(self) -> bool {
        self.announced && self.tracked
    }
}

/// An idempotency key whose job started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KnownKey {
    /// A digest of the key, so that a record's size does not depend on the callers' texts.
    key: Uuid,
    job: Job,
    /// What was sent, and why, until the job's start is fully reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unreported_choice: Option<Choice>,
    #[serde(default)]
    reported: Reported,
    /// Whether the job is known to have succeeded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    succeeded: bool,
}

/// A job whose end is announced, under its two ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnnouncedEnd {
    id: String,
    entity_resolution_job_id: String,
    /// What was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    job_type: Option<JobType>,
}

/// What is remembered of one table.
///
/// Members that this version does not know are ignored when a record is read, so that an older version can read
/// what a newer one wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Record {
    /// The last job of each type that was sent, of those that are not known to have failed.
    jobs: Vec<Job>,
    /// The last job of each type that is known to have succeeded.
    succeeded: Vec<Job>,
    /// The jobs whose end is announced, newest last.
    ended: Vec<AnnouncedEnd>,
    /// The recent keys whose job started, newest last.
    keys: Vec<KnownKey>,
    claim: Option<Claim>,
    /// The calls whose outcome is unknown and for which no job was found, oldest first.
    unknown_calls: Vec<Call>,
    /// The jobs whose start is not fully reported, oldest first.
    unreported_starts: Vec<UnreportedStart>,
    /// The jobs that a message in the waiting queue tracks, oldest first.
    tracked: Vec<StartedJob>,
    /// The requests whose jobs failed, the last one that failed last.
    failures: Attempts,
}

/// A call whose outcome is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownCall {
    /// The call.
    pub call: Call,
    /// Whether its job was looked for before, and not found.
    pub looked_for: bool,
}

/// What the ledger says about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This very request started this job.
    Known(JobId),
    /// This job started after the change, and its type covers the requested one.
    Covered(JobId),
    /// Another invocation is starting a job, until this time at the latest.
    Claimed(OffsetDateTime),
    /// These calls were made, and their outcome is unknown: a job may run. Oldest first.
    Unknown(Vec<UnknownCall>),
    /// A job may be started.
    Free,
}

impl Record {
    /// What holds for a request. The first match wins.
    pub fn verdict(&self, request: &Request, now: OffsetDateTime) -> Verdict {
        if let Some(known) = self.known(request) {
            return Verdict::Known(known.job.id.clone());
        }
        let covers = |job: &&Job| {
            job.started_at >= request.time.saturating_add(ROUNDING)
                // A clock was ahead: it is not known when that job really started.
                && !is_in_the_future(job, now)
                && request.requested_type.is_covered_by(job.job_type)
        };
        // One that is known to have succeeded says more.
        if let Some(job) = self.succeeded.iter().chain(&self.jobs).find(covers) {
            return Verdict::Covered(job.id.clone());
        }
        if let Some(claim) = &self.claim
            && now <= claim.until.saturating_add(CLOCK_DIFFERENCE)
        {
            return Verdict::Claimed(claim.until);
        }
        let looked_for = self.unknown_calls.iter().map(|call| UnknownCall {
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

    /// The request's own job, if this very request has started one.
    fn known(&self, request: &Request) -> Option<&KnownKey> {
        let key = digest(request);
        let mut known = self.keys.iter();
        known.find(|known| known.key == key && may_be_own(known.job.started_at, request))
    }

    /// The jobs whose start a request reports, oldest first: the request's own job, those that are the
    /// invocation's own, and those whose invocation should have reported them and has ended.
    pub fn unreported(
        &self,
        request: &Request,
        now: OffsetDateTime,
        is_own: impl Fn(&JobId) -> bool,
    ) -> Vec<StartedJob> {
        let mut all: Vec<StartedJob> = self
            .unreported_starts
            .iter()
            .filter(|unreported| {
                now > unreported.report_until.saturating_add(CLOCK_DIFFERENCE)
                    || is_own(&unreported.started.job.id)
                    || is_own_job(&unreported.started, request)
            })
            .map(|unreported| unreported.started.clone())
            .collect();
        if let Some(known) = self.known(request)
            && let Some(choice) = &known.unreported_choice
            && !all.iter().any(|started| started.job.id == known.job.id)
        {
            all.push(StartedJob {
                attempt: Uuid::nil(),
                request: request.clone(),
                choice: choice.clone(),
                job: known.job.clone(),
            });
        }
        all
    }

    /// What is known of the end of a job that covers a request. Failed jobs cover nothing.
    pub fn status(&self, id: &JobId) -> JobStatus {
        let known = self.keys.iter().filter(|known| known.succeeded);
        let succeeded = known.map(|known| &known.job).chain(&self.succeeded);
        match succeeded.into_iter().any(|job| job.id == *id) {
            true => JobStatus::Succeeded,
            false => JobStatus::Started,
        }
    }

    /// When the next job for a requested type may start, if that is later than now. Deletions and other jobs do not hold
    /// each other back.
    pub fn not_before(
        &self,
        requested_type: RequestedType,
        min_interval: std::time::Duration,
        now: OffsetDateTime,
    ) -> Option<OffsetDateTime> {
        let deletes = requested_type == RequestedType::DELETE_ONLY;
        let is_deletion = |job: &&Job| job.job_type == Some(JobType::DeleteOnly);
        let previous = self
            .jobs
            .iter()
            .filter(|job| is_deletion(job) == deletes && !is_in_the_future(job, now));
        let previous = previous.map(|job| job.started_at).max()?;
        let not_before = previous + min_interval;
        (now < not_before).then_some(not_before)
    }

    /// Returns whether a message of the waiting queue is superfluous, because a job of its request failed. Then the
    /// request is tried again by another message, or has had its last job.
    pub fn is_superseded(&self, request: &Request) -> bool {
        self.failures.is_superseded(request)
    }

    /// When the last job of a request started that failed.
    pub fn last_failed_start(&self, request: &Request) -> Option<OffsetDateTime> {
        self.failures.last_start(request)
    }

    /// A failed job among those of its request, by its id at Entity Resolution. Returns `None` if its failure is not
    /// recorded.
    pub fn failed_attempt(&self, request: &Request, id: &str) -> Option<FailedAttempt> {
        self.failures.get(request, id)
    }

    /// When the last `BATCH` started.
    pub fn last_batch(&self) -> Option<OffsetDateTime> {
        let batch = |job: &&Job| job.job_type == Some(JobType::Batch);
        self.jobs.iter().find(batch).map(|job| job.started_at)
    }

    /// The known jobs, each once, in the order of their starts.
    pub fn started(&self) -> Vec<&Job> {
        let tracked = self.tracked.iter().map(|started| &started.job);
        let mut all: Vec<&Job> = Vec::new();
        let known = self.recent().chain(&self.jobs).chain(&self.succeeded);
        for job in known.chain(tracked) {
            if !all.iter().any(|other| other.id == job.id) {
                all.push(job);
            }
        }
        all.sort_by_key(|job| job.started_at);
        all
    }

    /// The id and the type of the job whose end is announced under this id at Entity Resolution.
    pub fn ended_as(&self, entity_resolution_job_id: &str) -> Option<(JobId, Option<JobType>)> {
        let is_it =
            |ended: &&AnnouncedEnd| ended.entity_resolution_job_id == entity_resolution_job_id;
        let AnnouncedEnd { id, job_type, .. } = self.ended.iter().find(is_it)?;
        let id = match id == entity_resolution_job_id {
            true => JobId::EntityResolutionJobId(id.as_str().into()),
            false => JobId::IdMappingJobId(id.as_str().into()),
        };
        Some((id, *job_type))
    }

    /// Since when every job is known. `None` if it is since the first one.
    pub fn complete_since(&self) -> Option<OffsetDateTime> {
        let is_full = self.keys.len() >= MAX_KEYS || self.ended.len() >= MAX_ENDED;
        let starts = self.recent().map(|job| job.started_at);
        starts.min().filter(|_| is_full)
    }

    /// Since when the table is as fresh as it is: the start of the last job that succeeded, or of the last one that
    /// started if jobs are not tracked. Deletions refresh nothing.
    pub fn fresh_since(&self, is_tracked: bool, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let refreshes =
            |job: &&Job| job.job_type != Some(JobType::DeleteOnly) && !is_in_the_future(job, now);
        let last = |jobs: &[Job]| {
            let starts = jobs.iter().filter(refreshes).map(|job| job.started_at);
            starts.max()
        };
        let succeeded = last(&self.succeeded).filter(|_| is_tracked);
        succeeded.or_else(|| last(&self.jobs))
    }

    /// Until when an invocation has the right to start a job.
    pub fn claimed_until(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let until = self.claim.as_ref()?.until;
        (now <= until.saturating_add(CLOCK_DIFFERENCE)).then_some(until)
    }

    /// The calls whose outcome is unknown, oldest first: those that were looked for, and that of a claim that was left
    /// behind.
    pub fn unknown_calls(&self, now: OffsetDateTime) -> Vec<&Call> {
        let left_behind = self
            .claim
            .iter()
            .filter(|_| self.claimed_until(now).is_none());
        let left_behind = left_behind.map(|claim| &claim.call);
        let mut all: Vec<&Call> = self.unknown_calls.iter().chain(left_behind).collect();
        all.sort_by_key(|call| call.called_at);
        all
    }

    /// The recent jobs.
    pub fn recent(&self) -> impl Iterator<Item = &Job> {
        self.keys.iter().map(|known| &known.job)
    }

    /// The recent jobs whose end is not announced.
    pub fn running(&self) -> impl Iterator<Item = &Job> {
        self.recent().filter(|job| !self.is_ended(job.id.as_str()))
    }

    /// The ids at Entity Resolution of the jobs whose end is announced.
    pub fn ended(&self) -> impl Iterator<Item = &str> {
        self.ended
            .iter()
            .map(|ended| ended.entity_resolution_job_id.as_str())
    }

    /// The calls whose outcome is unknown, or not known yet.
    pub fn open_calls(&self) -> impl Iterator<Item = &Call> {
        let claimed = self.claim.iter().map(|claim| &claim.call);
        claimed.chain(&self.unknown_calls)
    }

    /// Returns whether the end of the job with this id, of either kind, is announced.
    pub fn is_ended(&self, id: &str) -> bool {
        self.ended
            .iter()
            .any(|ended| ended.id == id || ended.entity_resolution_job_id == id)
    }

    /// What is reported of a job's start.
    pub fn reported(&self, id: &JobId) -> Reported {
        let of_keys = self.keys.iter().filter(|known| known.job.id == *id);
        let of_keys = of_keys.map(|known| known.reported);
        let of_starts = self.unreported_starts.iter();
        let of_starts = of_starts.filter(|unreported| unreported.started.job.id == *id);
        let of_starts = of_starts.map(|unreported| unreported.reported);
        of_keys
            .chain(of_starts)
            .fold(Reported::default(), |all, reported| Reported {
                announced: all.announced || reported.announced,
                tracked: all.tracked || reported.tracked,
            })
    }

    /// Returns whether a job's start is recorded and not announced.
    pub fn is_unannounced(&self, id: &JobId) -> bool {
        self.keys.iter().any(|known| {
            known.unreported_choice.is_some() && !known.reported.announced && known.job.id == *id
        })
    }

    /// The call with this id, if its outcome is unknown, or not known yet.
    pub fn open_call(&self, attempt: Uuid) -> Option<&Call> {
        self.open_calls().find(|call| call.attempt == attempt)
    }

    /// Transition: a call is about to be made, by an invocation with this deadline. A call that is given up is
    /// kept until a job starts: if the slot is busy, that call's job may be the reason.
    pub fn claimed(&self, call: &Call, until: OffsetDateTime) -> Self {
        let call = call.clone();
        Self {
            claim: Some(Claim { until, call }),
            ..self.clone()
        }
    }

    /// Transition: a call started no job, or its job ended in failure. Its claim is released, whatever else has
    /// happened since.
    pub fn claim_released(&self, attempt: Uuid) -> Self {
        let mut record = self.clone();
        record.claim = record.claim.filter(|claim| claim.call.attempt != attempt);
        record.unknown_calls.retain(|call| call.attempt != attempt);
        record
    }

    /// Transition: a call started a job. `report_until` is the deadline of the invocation that reports the start,
    /// or `None` if starts are not reported.
    pub fn job_started(
        &self,
        call: &Call,
        job: &Job,
        report_until: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> Self {
        let mut record = self.claim_released(call.attempt);
        // Earlier calls found the slot free, or are reconciled: no job of theirs runs.
        record
            .unknown_calls
            .retain(|unknown| unknown.called_at > call.called_at);
        // An invocation that lost its claim may write late.
        keep_later(&mut record.jobs, job, now);
        record.keys.push(KnownKey {
            key: digest(&call.request),
            job: job.clone(),
            unreported_choice: report_until.map(|_| call.choice.clone()),
            reported: Reported::default(),
            succeeded: false,
        });
        keep_newest(&mut record.keys, MAX_KEYS);
        if let Some(report_until) = report_until {
            record.unreported_starts.push(UnreportedStart {
                started: StartedJob::new(call, job.clone()),
                report_until,
                reported: Reported::default(),
            });
            keep_newest_within(&mut record.unreported_starts, MAX_UNREPORTED);
        }
        record
    }

    /// Transition: a job was found for a call that an earlier invocation left behind. Changes nothing if the
    /// call is reconciled already.
    pub fn job_found(
        &self,
        call: &Call,
        job: &Job,
        report_until: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> Self {
        if self.open_call(call.attempt).is_none() {
            return self.clone();
        }
        self.job_started(call, job, report_until, now)
    }

    /// Transition: a call's outcome is unknown and no job was found for it. Changes nothing if the call is
    /// reconciled already.
    pub fn outcome_unknown(&self, call: &Call) -> Self {
        if self.open_call(call.attempt).is_none() {
            return self.clone();
        }
        let mut record = self.claim_released(call.attempt);
        record.unknown_calls.push(call.clone());
        record.unknown_calls.sort_by_key(|call| call.called_at);
        keep_newest_within(&mut record.unknown_calls, MAX_UNKNOWN);
        record
    }

    /// Transition: a job's `STARTED` is published, or there is no event bus.
    pub fn start_announced(&self, id: &JobId) -> Self {
        self.start_reported(id, |reported| reported.announced = true)
    }

    /// Transition: a message that tracks a job is in the waiting queue.
    pub fn tracking_queued(&self, started: &StartedJob) -> Self {
        let mut record = self.tracking_not_needed(&started.job.id);
        let is_it = |other: &StartedJob| other.job.id == started.job.id;
        if !record.tracked.iter().any(is_it) && !record.is_ended(started.job.id.as_str()) {
            record.tracked.push(started.clone());
            keep_newest_within(&mut record.tracked, MAX_TRACKED);
        }
        record
    }

    /// Transition: jobs are not tracked.
    pub fn tracking_not_needed(&self, id: &JobId) -> Self {
        self.start_reported(id, |reported| reported.tracked = true)
    }

    /// The job with this id, or that this call started, if it is tracked.
    pub fn tracked(&self, TrackedId { id, attempt }: &TrackedId) -> Option<StartedJob> {
        let all = || {
            let unreported = self.unreported_starts.iter();
            let unreported = unreported.map(|unreported| &unreported.started);
            self.tracked.iter().chain(unreported)
        };
        if let Some(started) = all().find(|started| started.job.id == *id) {
            return Some(started.clone());
        }
        if attempt.is_nil() {
            return None;
        }
        // Its start could not be recorded. Its call may be reconciled since then, under the job's other id.
        if let Some(started) = all().find(|started| started.attempt == *attempt) {
            return Some(started.clone());
        }
        let call = self.open_call(*attempt)?;
        Some(StartedJob::new(call, call.job(id.clone())))
    }

    fn start_reported(&self, id: &JobId, change: impl Fn(&mut Reported)) -> Self {
        let mut record = self.clone();
        for known in record.keys.iter_mut().filter(|known| known.job.id == *id) {
            change(&mut known.reported);
            if known.reported.is_complete() {
                known.unreported_choice = None;
            }
        }
        for unreported in &mut record.unreported_starts {
            if unreported.started.job.id == *id {
                change(&mut unreported.reported);
            }
        }
        record
            .unreported_starts
            .retain(|unreported| !unreported.reported.is_complete());
        record
    }

    /// Transition: a job failed, under its two ids. It covers nothing, and the keys of its requests are new.
    pub fn job_failed(
        &self,
        job: &Job,
        entity_resolution_job_id: &str,
        now: OffsetDateTime,
    ) -> Self {
        let mut record = self.clone();
        // It may be recorded under either id.
        let failed =
            |other: &Job| [job.id.as_str(), entity_resolution_job_id].contains(&other.id.as_str());
        record.jobs.retain(|other| !failed(other));
        record.keys.retain(|known| !failed(&known.job));
        record.succeeded.retain(|other| !failed(other));
        record
            .unreported_starts
            .retain(|unreported| !failed(&unreported.started.job));
        // A job before it that runs, or succeeded, still covers what it covered.
        let known = record.keys.iter().map(|known| &known.job);
        for other in known.chain(&record.succeeded) {
            if other.job_type == job.job_type {
                keep_later(&mut record.jobs, other, now);
            }
        }
        record
    }

    /// Transition: a failed job is counted among those of its request. It is counted once, however often its end is seen.
    pub fn attempt_failed(
        &self,
        request: &Request,
        job: &Job,
        entity_resolution_job_id: &str,
        max_attempts: u32,
    ) -> Self {
        let mut record = self.clone();
        record
            .failures
            .add(request, job, entity_resolution_job_id, max_attempts);
        record
    }

    /// Transition: the message with which a request is tried again is in the waiting queue.
    pub fn retry_queued(&self, request: &Request) -> Self {
        let mut record = self.clone();
        record.failures.set_queued(request);
        record
    }

    /// Transition: a job's end is announced, under its two ids.
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
                let ids = [job.id.as_str(), entity_resolution_job_id];
                let is_it = |known: &&mut KnownKey| ids.contains(&known.job.id.as_str());
                for known in record.keys.iter_mut().filter(is_it) {
                    known.succeeded = true;
                    record.failures.remove(known.key);
                }
                record
            }
        };
        let is_it = |other: &StartedJob| {
            [job.id.as_str(), entity_resolution_job_id].contains(&other.job.id.as_str())
        };
        record.tracked.retain(|started| !is_it(started));
        record.ended.push(AnnouncedEnd {
            id: job.id.as_str().to_owned(),
            entity_resolution_job_id: entity_resolution_job_id.to_owned(),
            job_type: job.job_type,
        });
        keep_newest(&mut record.ended, MAX_ENDED);
        record
    }
}

/// Keeps, of each type, the job that started last.
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

/// Returns whether a job's start is later than the clocks of two execution environments may differ.
fn is_in_the_future(job: &Job, now: OffsetDateTime) -> bool {
    job.started_at > now.saturating_add(CLOCK_DIFFERENCE)
}

fn keep_newest<T>(items: &mut Vec<T>, most: usize) {
    items.drain(..items.len().saturating_sub(most));
}

/// Keeps the newest items within a limit, and at least one.
fn keep_newest_within<T: Serialize>(items: &mut Vec<T>, Limit { count, bytes }: Limit) {
    keep_newest(items, count);
    let size = |item: &T| serde_json::to_string(item).map_or(0, |json| json.len());
    while items.len() > 1 && items.iter().map(size).sum::<usize>() > bytes {
        items.remove(0);
    }
}

#[cfg(test)]
mod tests;
