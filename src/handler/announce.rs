//! From a finding to what others see of it: the event, the waiting line, the dead-letter queue.

use std::time::Duration;

use super::work::{Done, Finding, Work, also, warn};
use crate::aws::ledger_table::Entry;
use crate::choice::Choice;
use crate::clock::timestamp;
use crate::error::{Error, ErrorType};
use crate::job::Started;
use crate::ledger::{Record, Reported};
use crate::metrics::Metric;
use crate::outcome::{Outcome, OutcomeKind};
use crate::request::Request;

impl Work<'_> {
    /// Puts a message that is refused in the dead-letter queue. False: it stays where it is.
    pub(super) async fn put_aside(&self, message_id: &str, body: &str, error: &Error) -> bool {
        let log = |error: &Error| {
            tracing::error!(
                errorType = error.error_type.as_str(),
                messageId = message_id,
                "{}",
                error.message
            );
        };
        log(error);
        let Some(queue) = &self.populator.dead_letters else {
            return false;
        };
        let sent = queue.refuse(body, message_id, error, self.sending()).await;
        sent.inspect_err(log).is_ok()
    }

    /// Announces the starts that earlier invocations could not announce. A finding: this request's own
    /// was among them.
    pub(super) async fn announce_earlier(
        &self,
        entry: &mut Entry,
        request: &Request,
    ) -> Option<Finding> {
        if !self.tells() {
            return None;
        }
        for started in entry.record.unreported(request, self.now()) {
            let Started {
                request: theirs,
                choice,
                job,
            } = &started;
            let own = theirs.key() == request.key();
            let outcome = Box::new(Outcome::started(theirs, choice, job));
            let told = self.tell(entry, true, &started, &outcome).await;
            if let Err(error) = &told
                && !own
            {
                warn(&theirs.target, "it goes on", error);
            }
            if own {
                return Some(Finding::Started(outcome, told.err()));
            }
        }
        None
    }

    /// Puts a job that was started in the waiting line, to be followed, if that is set and was not done,
    /// announces its start, if that was not done, and records what was done where the job is recorded
    /// itself. An error: the rest is to be done again.
    pub(super) async fn tell(
        &self,
        entry: &mut Entry,
        recorded: bool,
        started: &Started,
        outcome: &Outcome,
    ) -> Result<(), Error> {
        let before = entry.record.reported(&started.job.id);
        let tracked = match self.populator.settings.track_completion && !before.tracked {
            true => self.follow(started).await,
            false => Ok(()),
        };
        let announced = match before.announced {
            true => Ok(()),
            false => self.publish(outcome, &started.request).await,
        };
        let reported = Reported {
            announced: announced.is_ok(),
            tracked: tracked.is_ok(),
        };
        if recorded {
            self.remember(entry, started, reported).await;
        }
        match (tracked, announced) {
            (Ok(()), announced) => announced,
            (tracked, Ok(())) => tracked,
            (Err(untracked), Err(unpublished)) => Err(also(&unpublished, &untracked)),
        }
    }

    /// Records what is reported of a start. If this fails, it is reported once more, with the same id.
    pub(super) async fn remember(&self, entry: &mut Entry, started: &Started, reported: Reported) {
        if !self.tells() {
            return;
        }
        let id = &started.job.id;
        let transition = |record: &Record| record.start_reported(id, reported);
        let ledger = &self.populator.ledger;
        let recorded = ledger.update(entry, self.last_budget(), transition);
        if let Err(error) = recorded.await {
            warn(
                &started.request.target,
                "its start will be reported again",
                &error,
            );
        }
    }

    /// Whether anybody is told of a start.
    pub(super) fn tells(&self) -> bool {
        self.populator.event_bus.is_some() || self.populator.settings.track_completion
    }

    pub(super) async fn publish(&self, outcome: &Outcome, request: &Request) -> Result<(), Error> {
        let Some(bus) = &self.populator.event_bus else {
            return Ok(());
        };
        bus.publish(outcome, request, self.home, self.now(), self.sending())
            .await
            .map_err(|cause| {
                self.metrics.count(Metric::PublishFailures);
                let job = match &outcome.job {
                    Some(job) => format!(" (job {})", job.as_str()),
                    None => String::new(),
                };
                let what = format!("{} of {}{job}", outcome.outcome.as_str(), request.target);
                Error::new(
                    ErrorType::NotAnnounced,
                    format!("{what} is not announced: {cause}"),
                )
            })
    }

    /// The request will never work as it is. In a batch it goes to the dead-letter queue, and its
    /// message is done.
    pub(super) async fn rejected(
        &self,
        request: Request,
        choice: Option<Choice>,
        error: Error,
    ) -> Done {
        let outcome = Box::new(Outcome::rejected(&request, choice.as_ref(), error.clone()));
        let mut failure = Some(error.clone());
        if let Err(unpublished) = self.publish(&outcome, &request).await {
            // The rejection is what the caller must know first; that it was not announced, besides.
            failure = Some(also(&error, &unpublished));
        } else if let Some(queue) = self.populator.dead_letters.as_ref().filter(|_| self.batch) {
            failure = match queue.give_up(&request, &error, self.sending()).await {
                Ok(()) => None,
                Err(unsent) => Some(also(&error, &unsent)),
            };
        }
        Done {
            outcome: Some(outcome),
            failure,
            ..Done::of(request, choice)
        }
    }

    /// Why a request that would still have to wait, or fails, waits no longer.
    pub(super) fn waited_too_long(&self, request: &Request, error: &Error) -> Error {
        let since = request.waiting_since.or(request.sent_at);
        let message = format!(
            "{} waited since {}, longer than MAX_WAIT ({}), and would still have to: {}",
            request.target,
            since.map(timestamp).unwrap_or_default(),
            self.populator.settings.max_wait,
            error.message
        );
        Error::new(ErrorType::WaitedTooLong, message)
    }

    /// Puts a request that fails, and whose message SQS will delete, in the dead-letter queue. Some: it
    /// stays where it is, and why.
    pub(super) async fn given_up(&self, request: &Request, error: Error) -> Option<Error> {
        let Some(queue) = &self.populator.dead_letters else {
            return Some(error);
        };
        let sent = queue.give_up(request, &error, self.sending()).await;
        sent.err().map(|unsent| also(&error, &unsent))
    }

    /// Puts the requests of a message that have to wait in the waiting queue, each in a message of its own,
    /// and those that failed beside them: the message, delivered again, would put the others there again.
    /// Where there is no time for all of them, the message stays as it is.
    pub(super) async fn queue(&mut self, all: &mut [Done]) {
        let waiting = |done: &&Done| done.to_be_queued.is_some();
        let failed = |done: &&Done| done.failure.is_some();
        if !all.iter().any(|done| waiting(&done)) {
            return;
        }
        let count = all
            .iter()
            .filter(|done| waiting(done) || failed(done))
            .count();
        let has_time = self.has_time_to_queue(count);
        for done in all.iter_mut() {
            let Some((error, delay)) = done.to_be_queued.take() else {
                continue;
            };
            let request = done.request.clone();
            let choice = done.choice.take();
            let waits_for_slot = done.waits_for_slot;
            *done = if has_time {
                self.enqueue(request, choice, error, delay).await
            } else {
                self.stay(request, choice, error).await
            };
            done.waits_for_slot = waits_for_slot;
            self.conclude(done).await;
        }
        let queued = |done: &Done| {
            let outcome = done.outcome.as_ref();
            outcome.is_some_and(|outcome| outcome.outcome == OutcomeKind::Waiting)
        };
        let Some(line) = self
            .populator
            .waiting_line
            .as_ref()
            .filter(|_| all.iter().any(queued))
        else {
            return;
        };
        for done in all.iter_mut().filter(|done| done.failure.is_some()) {
            let sent = line
                // It is announced when it has to wait.
                .wait(&done.request, None, Duration::ZERO, self.sending())
                .await;
            match sent {
                Ok(()) => done.failure = None,
                Err(unsent) => warn(&done.request.target, "the message stays", &unsent),
            }
        }
    }

    /// The request waits: where it stands already, or in the line from now on. Without a line it
    /// fails.
    pub(super) async fn wait(
        &self,
        request: Request,
        choice: Option<Choice>,
        error: Error,
        delay: Duration,
    ) -> Done {
        if self.batch && request.waiting_since.is_some() {
            return self.stay(request, choice, error).await;
        }
        if self.populator.waiting_line.is_none() {
            return Done {
                failure: Some(error),
                ..Done::of(request, choice)
            };
        }
        if self.batch {
            return Done {
                to_be_queued: Some((error, delay)),
                ..Done::of(request, choice)
            };
        }
        self.enqueue(request, choice, error, delay).await
    }

    /// The request's message stays where it is, for as long as a request may wait.
    async fn stay(&self, request: Request, choice: Option<Choice>, error: Error) -> Done {
        if self.is_overdue(&request) {
            let error = self.waited_too_long(&request, &error);
            return self.rejected(request, choice, error).await;
        }
        Done {
            stays: Some(error),
            ..Done::of(request, choice)
        }
    }

    /// Puts a request in the waiting queue, and announces that it waits.
    async fn enqueue(
        &self,
        mut request: Request,
        choice: Option<Choice>,
        error: Error,
        delay: Duration,
    ) -> Done {
        let Some(line) = &self.populator.waiting_line else {
            return Done {
                failure: Some(error),
                ..Done::of(request, choice)
            };
        };
        let since = self.now();
        let sent = line.wait(&request, Some(since), delay, self.sending());
        if let Err(unsent) = sent.await {
            return Done {
                failure: Some(Error::new(
                    unsent.error_type,
                    format!("{}; it has to wait: {error}", unsent.message),
                )),
                ..Done::of(request, choice)
            };
        }
        let outcome = Box::new(Outcome::waiting(&request, choice.as_ref(), error));
        if let Err(unpublished) = self.publish(&outcome, &request).await {
            warn(
                &request.target,
                "it stands in the waiting line",
                &unpublished,
            );
        }
        request.waiting_since = Some(since);
        Done {
            outcome: Some(outcome),
            ..Done::of(request, choice)
        }
    }
}
