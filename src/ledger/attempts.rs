//! How often jobs failed for the same request, and whether it is tried again (`MAX_JOB_ATTEMPTS`).
//!
//! They are counted here, by the request's key. A message can neither add an attempt nor hide one.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Record, digest, keep_newest, may_be_own};
use crate::job::Job;
use crate::request::Request;

/// The most requests of a table whose failed jobs are known.
const MAX_FAILURES: usize = 64;

/// The jobs that failed for one request, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Failures {
    /// The digest of the request's key.
    pub(super) key: Uuid,
    /// Their ids at Entity Resolution, oldest first.
    jobs: Vec<String>,
    /// When the last one started.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    started_at: OffsetDateTime,
    /// Whether it was the last one that is started for the request.
    is_final: bool,
    /// Whether the message with which the request is tried again is in the waiting queue.
    #[serde(default)]
    is_queued: bool,
}

/// A failed job among those of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// Which of the request's jobs it is, from 1.
    pub number: u32,
    /// Whether the request is tried again.
    pub will_retry: bool,
    /// Whether the message for that is in the waiting queue.
    pub is_queued: bool,
}

impl Record {
    /// Returns whether a message with which a request is tried again after a failed job is superfluous: another job of
    /// the request has failed since then, or it has had its last one.
    pub fn is_superseded(&self, request: &Request) -> bool {
        let (Some(failed), Some(failures)) = (&request.retry_of, self.failures_of(request)) else {
            return false;
        };
        failures.is_final || failures.jobs.last() != Some(failed)
    }

    /// A failed job among those of its request, by its id at Entity Resolution. Returns `None` if its failure is not
    /// recorded.
    pub fn failed_attempt(&self, request: &Request, id: &str) -> Option<FailedAttempt> {
        let failures = self.failures_of(request)?;
        let place = failures.jobs.iter().position(|job| job == id)?;
        let is_last = place + 1 == failures.jobs.len();
        Some(FailedAttempt {
            number: u32::try_from(place + 1).unwrap_or(u32::MAX),
            will_retry: !is_last || !failures.is_final,
            is_queued: !is_last || failures.is_queued,
        })
    }

    fn failures_of(&self, request: &Request) -> Option<&Failures> {
        let key = digest(request);
        let is_it = |other: &&Failures| other.key == key && may_be_own(other.started_at, request);
        self.failures.iter().find(is_it)
    }

    /// Transition: a job of a request failed. It is counted once, however often its end is seen.
    pub fn attempt_failed(
        &self,
        request: &Request,
        job: &Job,
        id: &str,
        max_attempts: u32,
    ) -> Self {
        if self.failed_attempt(request, id).is_some() {
            return self.clone();
        }
        // After its last job the request is a new one.
        let before = self.failures_of(request);
        let before = before.filter(|failures| !failures.is_final);
        let mut jobs = before.map_or(Vec::new(), |failures| failures.jobs.clone());
        jobs.push(id.to_owned());
        let mut record = self.clone();
        let key = digest(request);
        record.failures.retain(|failures| failures.key != key);
        record.failures.push(Failures {
            key,
            is_final: jobs.len() >= max_attempts as usize,
            jobs,
            started_at: job.started_at,
            is_queued: false,
        });
        keep_newest(&mut record.failures, MAX_FAILURES);
        record
    }

    /// Transition: the message with which a request is tried again is in the waiting queue.
    pub fn retry_queued(&self, request: &Request) -> Self {
        let mut record = self.clone();
        let key = digest(request);
        for failures in &mut record.failures {
            failures.is_queued |= failures.key == key;
        }
        record
    }
}

#[cfg(test)]
mod tests;
