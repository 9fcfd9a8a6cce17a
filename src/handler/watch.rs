//! A job's end: looked at in each round of the waiting line, announced once, and known to the ledger.

use std::time::Duration;

use super::log::log_seen;
use super::work::{LONGEST_STAY, Work, warn};
use crate::clock::timestamp;
use crate::error::{Error, ErrorType};
use crate::job::{JobEnd, Started};
use crate::ledger::{Record, Reported};
use crate::metrics::Metric;
use crate::outcome::Outcome;

/// What was seen of a job.
pub(super) enum Seen {
    /// It ended, and that is announced now; or why it could not be.
    Ended(Box<Outcome>, Option<Error>),
    /// It is followed no more: its end is announced already, or cannot be seen.
    Done,
    /// It is looked at again in the next round; why, if that is a failure.
    Follow(Option<Error>),
}

impl Work<'_> {
    /// Looks at a job, within a time.
    pub(super) async fn watch(&self, started: &Started, within: Duration) -> Seen {
        let Started { request, job, .. } = started;
        let arn = self.home.table_arn(&request.target);
        let ledger = &self.populator.ledger;
        let mut entry = match ledger.read(&arn, self.budget()).await {
            Ok(entry) => entry,
            Err(error) => return Seen::Follow(Some(error)),
        };
        // Its message was delivered twice.
        if entry.record.is_ended(job.id.as_str()) {
            return Seen::Done;
        }
        let workflows = self.populator.workflows();
        let end = workflows
            .end_of(&request.target, job, &entry.record, within)
            .await;
        let since = request.waiting_since.unwrap_or(job.started_at);
        let age = self.now() - since;
        let end = match end {
            Ok(Some(end)) => end,
            Ok(None) if age <= LONGEST_STAY => return Seen::Follow(None),
            Ok(None) => return self.not_followed(started, "it still runs"),
            Err(not_found) => {
                // A read that fails this time tells nothing.
                let longest = match not_found.is_lasting() {
                    true => time::Duration::try_from(self.populator.settings.max_wait.duration),
                    false => Ok(LONGEST_STAY),
                };
                if longest.is_ok_and(|longest| age > longest) {
                    return self.not_followed(started, &not_found.to_string());
                }
                if not_found.is_final() {
                    let target = &request.target;
                    tracing::warn!("job {} of {target}: {not_found}", job.id.as_str());
                }
                return Seen::Follow(None);
            }
        };
        // It is known under another name.
        if entry.record.is_ended(&end.job_id) {
            return Seen::Done;
        }
        // Nobody learns of an end before the start.
        if entry.record.is_unannounced(&job.id) {
            let outcome = Outcome::started(request, &started.choice, job);
            if let Err(error) = self.publish(&outcome, request).await {
                return Seen::Follow(Some(error));
            }
            let all = Reported {
                announced: true,
                tracked: true,
            };
            self.remember(&mut entry, started, all).await;
        }
        let job_id = end.job_id.clone();
        let ended = match end.failed {
            Some(_) => JobEnd::Failed,
            None => JobEnd::Succeeded,
        };
        let now = self.now();
        let ran = end.ended_at.map(|ended_at| ended_at - end.started_at);
        let outcome = Outcome::ended(started, end, self.now());
        if ended == JobEnd::Failed {
            // Before anybody learns of it: nothing is covered by a job whose failure is published.
            let transition = |record: &Record| record.job_failed(job, &job_id, now);
            let recorded = ledger.update(&mut entry, self.budget(), transition);
            if let Err(error) = recorded.await {
                return Seen::Follow(Some(error));
            }
        }
        if let Err(unpublished) = self.publish(&outcome, request).await {
            return Seen::Ended(Box::new(outcome), Some(unpublished));
        }
        if let Some(ran) = ran.and_then(|ran| Duration::try_from(ran).ok()) {
            self.metrics.took(Metric::JobDuration, ran);
        }
        if ended == JobEnd::Failed {
            self.metrics.count(Metric::JobsFailed);
        }
        let transition = |record: &Record| record.job_ended(job, &job_id, ended, now);
        let recorded = ledger
            .update(&mut entry, self.last_budget(), transition)
            .await;
        if let Err(error) = &recorded {
            warn(&request.target, "its end will be announced again", error);
        }
        Seen::Ended(Box::new(outcome), recorded.err())
    }

    /// Looks at the jobs of a batch, before its requests are done: where one ended, the slot is free.
    /// For each whether its message stays.
    pub(super) async fn watch_all(&self, all: &[Box<Started>]) -> Vec<bool> {
        // What waits for the slot is not held up by reads that take long.
        let until = self.now() + self.left() / 3;
        let mut stays: Vec<bool> = Vec::with_capacity(all.len());
        for (index, started) in all.iter().enumerate() {
            // A job may stand in the line twice.
            let earlier = all.iter().take(index);
            let same = earlier
                .zip(&stays)
                .find(|(other, _)| other.job == started.job);
            if let Some((_, follow)) = same {
                stays.push(*follow);
                continue;
            }
            let left = Duration::try_from(until - self.now()).unwrap_or_default();
            let seen = if left.is_zero() {
                Seen::Follow(None)
            } else {
                // Boxed, as each request's story is.
                Box::pin(self.watch(started, left.min(self.budget()))).await
            };
            log_seen(started, &seen);
            stays.push(!matches!(seen, Seen::Done | Seen::Ended(_, None)));
        }
        stays
    }

    /// Looks at one job, and puts it in line again if it has not ended. What is announced.
    pub(super) async fn watch_one(&self, started: &Started) -> Result<Vec<Outcome>, Error> {
        let seen = Box::pin(self.watch(started, self.budget())).await;
        log_seen(started, &seen);
        match seen {
            Seen::Ended(outcome, None) => Ok(vec![*outcome]),
            Seen::Done => Ok(Vec::new()),
            Seen::Follow(None) => self.follow(started).await.map(|()| Vec::new()),
            Seen::Ended(_, Some(error)) | Seen::Follow(Some(error)) => Err(error),
        }
    }

    fn not_followed(&self, started: &Started, why: &str) -> Seen {
        tracing::warn!(
            idMappingJobId = started.job.id.as_str(),
            "the end of job {} of {}, which started at {}, is not announced: {why}",
            started.job.id.as_str(),
            started.request.target,
            timestamp(started.job.started_at)
        );
        Seen::Done
    }

    /// Puts a job that was started in the waiting line, to be followed.
    pub(super) async fn follow(&self, started: &Started) -> Result<(), Error> {
        match &self.populator.waiting_line {
            Some(line) => line.watch(started, self.now(), self.sending()).await,
            None => Err(Error::new(
                ErrorType::InvalidConfiguration,
                "environment variable WAITING_QUEUE_URL is not set: a job is followed in the waiting line",
            )),
        }
    }
}
