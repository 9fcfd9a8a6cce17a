//! From a finding to what others see of it: the event, the waiting line, the dead-letter queue.

use std::time::Duration;

use super::work::{Done, Finding, Work, also, warn};
use crate::error::{Error, ErrorType};
use crate::input::Request;
use crate::job_type::Choice;
use crate::ledger::{Entry, Started};
use crate::metrics::Metric;
use crate::output::{Outcome, OutcomeKind, timestamp};

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
        for started in entry.record.unannounced(request) {
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
    /// announces its start, and records both where it is recorded itself. An error: it is to be done
    /// again.
    pub(super) async fn tell(
        &self,
        entry: &mut Entry,
        recorded: bool,
        started: &Started,
        outcome: &Outcome,
    ) -> Result<(), Error> {
        let follows =
            self.populator.settings.track_completion && !entry.record.is_followed(&started.job.id);
        let followed = match follows {
            true => self.follow(started).await,
            false => Ok(()),
        };
        let published = self.publish(outcome, &started.request).await;
        let told = match (followed, published) {
            (Ok(()), Ok(())) => {
                if recorded {
                    self.forget(entry, started).await;
                }
                return Ok(());
            }
            (Ok(()), Err(unpublished)) => {
                if follows && recorded {
                    self.remember_followed(entry, started).await;
                }
                unpublished
            }
            (Err(unfollowed), Ok(())) => unfollowed,
            (Err(unfollowed), Err(unpublished)) => also(&unpublished, &unfollowed),
        };
        Err(told)
    }

    /// So that it does not stand in the line once for each that comes until it is announced.
    async fn remember_followed(&self, entry: &mut Entry, started: &Started) {
        let ledger = &self.populator.ledger;
        if let Err(error) = ledger.followed(entry, started, self.last_budget()).await {
            warn(&started.request.target, "a job is followed twice", &error);
        }
    }

    /// Records that a start is announced. If this fails, it is announced once more, with the same id.
    pub(super) async fn forget(&self, entry: &mut Entry, started: &Started) {
        if !self.tells() {
            return;
        }
        let ledger = &self.populator.ledger;
        if let Err(error) = ledger.announced(entry, started, self.last_budget()).await {
            warn(
                &started.request.target,
                "its STARTED will be announced again",
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

    /// Of a message some of whose requests stand in the waiting line, those that failed get messages
    /// of their own: the message, delivered again, would put the others in line again.
    pub(super) async fn split(&self, all: &mut [Done]) {
        let waits = |done: &Done| {
            let outcome = done.outcome.as_ref();
            outcome.is_some_and(|outcome| outcome.outcome == OutcomeKind::Waiting)
        };
        let Some(line) = &self.populator.waiting_line else {
            return;
        };
        if !all.iter().any(waits) {
            return;
        }
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
            if self.is_overdue(&request) {
                let error = self.waited_too_long(&request, &error);
                return self.rejected(request, choice, error).await;
            }
            return Done {
                stays: Some(error),
                ..Done::of(request, choice)
            };
        }
        let Some(line) = &self.populator.waiting_line else {
            return Done {
                failure: Some(error),
                ..Done::of(request, choice)
            };
        };
        if let Err(unsent) = line
            .wait(&request, Some(self.now()), delay, self.sending())
            .await
        {
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
        Done {
            outcome: Some(outcome),
            ..Done::of(request, choice)
        }
    }
}
