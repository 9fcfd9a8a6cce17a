//! How often jobs failed for the same request, and whether it is tried again (`MAX_JOB_ATTEMPTS`).
//!
//! They are counted here, by the request's key. A message can neither add an attempt nor hide one.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::key::{digest, may_be_own};
use crate::job::Job;
use crate::request::Request;

/// The most requests of a table whose failed jobs are known.
const MAX_REQUESTS: usize = 64;

/// The requests of a table whose jobs failed. The one whose job failed last is the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Attempts(Vec<Failures>);

/// The jobs that failed for one request, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failures {
    /// The digest of the request's key.
    key: Uuid,
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

impl Attempts {
    /// Returns whether a message of the waiting queue is superfluous: another job of the request has failed since then,
    /// or it has had its last one.
    pub(super) fn is_superseded(&self, request: &Request) -> bool {
        let Some(failures) = self.of(request) else {
            return false;
        };
        match (&request.retry_of, request.waiting_since) {
            (Some(failed), _) => failures.is_final || failures.jobs.last() != Some(failed),
            // A copy of the message that started the job.
            (None, Some(since)) => since <= failures.started_at,
            (None, None) => false,
        }
    }

    /// When the last failed job of a request started.
    pub(super) fn last_start(&self, request: &Request) -> Option<OffsetDateTime> {
        self.of(request).map(|failures| failures.started_at)
    }

    /// A failed job among those of its request.
    pub(super) fn get(&self, request: &Request, job: &str) -> Option<FailedAttempt> {
        let failures = self.of(request)?;
        let place = failures.jobs.iter().position(|other| other == job)?;
        let is_last = place + 1 == failures.jobs.len();
        Some(FailedAttempt {
            number: u32::try_from(place + 1).unwrap_or(u32::MAX),
            will_retry: !is_last || !failures.is_final,
            is_queued: !is_last || failures.is_queued,
        })
    }

    fn of(&self, request: &Request) -> Option<&Failures> {
        let key = digest(request);
        let is_it = |other: &&Failures| other.key == key && may_be_own(other.started_at, request);
        self.0.iter().find(is_it)
    }

    /// Counts a failed job, unless it is counted already.
    pub(super) fn add(&mut self, request: &Request, job: &Job, id: &str, max_attempts: u32) {
        if self.get(request, id).is_some() {
            return;
        }
        // After its last job the request is a new one.
        let before = self.of(request).filter(|failures| !failures.is_final);
        let mut jobs = before.map_or(Vec::new(), |failures| failures.jobs.clone());
        jobs.push(id.to_owned());
        let key = digest(request);
        self.remove(key);
        self.0.push(Failures {
            key,
            is_final: jobs.len() >= max_attempts as usize,
            jobs,
            started_at: job.started_at,
            is_queued: false,
        });
        self.0.drain(..self.0.len().saturating_sub(MAX_REQUESTS));
    }

    /// Records that the message with which a request is tried again is in the waiting queue.
    pub(super) fn set_queued(&mut self, request: &Request) {
        let key = digest(request);
        for failures in &mut self.0 {
            failures.is_queued |= failures.key == key;
        }
    }

    /// Removes what is known of a request.
    pub(super) fn remove(&mut self, key: Uuid) {
        self.0.retain(|failures| failures.key != key);
    }
}

#[cfg(test)]
mod tests;
