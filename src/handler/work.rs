//! The requests of an invocation, one after another: what is found out about each, and what is said
//! of it.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::deadline::{self, budget, kept_for};
use super::log::log;
use super::slot::Slot;
use super::turns::Turns;
use super::{Invocation, Populator};
use crate::aws::clients::Sending;
use crate::aws::entity_resolution::NotFound;
use crate::aws::ledger_table::Entry;
use crate::choice;
use crate::choice::{Choice, Facts};
use crate::error::{Error, ErrorType};
use crate::job::{Job, JobId};
use crate::ledger::Waiters;
use crate::metrics::{Metric, Metrics};
use crate::outcome::{Outcome, OutcomeKind, Plan};
use crate::request::Request;
use crate::target::{Home, Target};

/// The longest that `MAX_WAIT` may be; SQS keeps a message for a day more.
pub(super) const LONGEST_STAY: time::Duration = time::Duration::days(13);

/// What was done about one request.
pub(super) struct Done {
    pub(super) request: Request,
    /// What is sent, and why; none: it did not come to a choice.
    pub(super) choice: Option<Choice>,
    /// What became of it; none where it stays undone.
    pub(super) outcome: Option<Box<Outcome>>,
    /// Why the invocation, or its message, fails for it.
    pub(super) failure: Option<Error>,
    /// Why its message stays in the waiting line, which is no failure.
    pub(super) stays: Option<Error>,
    /// Why it has to be put in the waiting queue, and after which delay it is tried first. Of a batch, this
    /// is decided for all requests of a message together.
    pub(super) to_be_queued: Option<(Error, Duration)>,
    /// Whether it waits for the account's job slot.
    pub(super) waits_for_slot: bool,
}

/// What is found out about a request, before anything is said about it.
pub(super) enum Finding {
    /// A job was started for it, now or earlier, and is announced now; or why it could not be.
    Started(Box<Outcome>, Option<Error>),
    Covered(JobId),
    Rejected(Error),
    /// The account's job slot is busy, or another request's turn.
    Busy(Error),
    /// It must wait, at least for this time.
    Wait(Error, Duration),
    /// A dry run, and what `AUTO` read for it.
    Planned(Plan, Option<Box<Facts>>),
}

/// A look for a call's job, in vain. One look is for all requests of an invocation.
#[derive(Clone)]
pub(super) struct Look {
    /// Of this call.
    pub(super) attempt: Uuid,
    /// Whether it was the first one: then no request of this invocation gives the call up.
    pub(super) first: bool,
    pub(super) not_found: NotFound,
}

/// One invocation's requests, done one after another.
pub(super) struct Work<'a> {
    pub(super) populator: &'a Populator,
    pub(super) home: &'a Home,
    pub(super) metrics: &'a Metrics,
    trace_header: Option<&'a str>,
    begun: OffsetDateTime,
    pub(super) deadline: OffsetDateTime,
    /// Whether the requests come in messages of a queue.
    pub(super) batch: bool,
    pub(super) slot: Slot,
    /// The table that is asked for because another one was refused: it lets nobody pass.
    pub(super) probed: Option<Target>,
    /// The requests that wait for the slot, once they were read.
    pub(super) waiters: Option<Entry<Waiters>>,
    /// What is to be changed of them when all is done.
    pub(super) turns: Turns,
    /// The jobs that were started, or found.
    pub(super) started: Vec<(Target, Job)>,
    /// How many calls in a row found the service unavailable.
    pub(super) unavailable: u32,
    /// The calls whose jobs were looked for in vain.
    pub(super) looks: Vec<Look>,
    /// How many requests are not done yet.
    pub(super) rest: usize,
    /// How many requests of a batch are not in the waiting queue by themselves.
    pub(super) unqueued: usize,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        populator: &'a Populator,
        home: &'a Home,
        metrics: &'a Metrics,
        invocation: &'a Invocation,
        deadline: OffsetDateTime,
        batch: bool,
    ) -> Self {
        Self {
            populator,
            home,
            metrics,
            trace_header: invocation.trace_header(),
            begun: populator.clock.now(),
            deadline,
            batch,
            slot: Slot::default(),
            probed: None,
            waiters: None,
            turns: Turns::default(),
            started: Vec::new(),
            unavailable: 0,
            looks: Vec::new(),
            rest: 0,
            unqueued: 0,
        }
    }

    /// Does one request, and logs what became of it, unless that is still to be decided for its message.
    pub(super) async fn one(&mut self, request: Request) -> Done {
        self.rest = self.rest.saturating_sub(1);
        let mut choice = choice::by_wish(request.wish, request.wished_by);
        let found_out = self.find_out(&request, &mut choice).await;
        let waits_for_slot = matches!(found_out, Ok(Finding::Busy(_)));
        let mut done = match found_out {
            Ok(Finding::Started(outcome, failure)) => Done {
                outcome: Some(outcome),
                failure,
                ..Done::of(request, choice)
            },
            Ok(Finding::Covered(job)) => {
                let outcome = Box::new(Outcome::covered(&request, choice.as_ref(), &job));
                Done {
                    failure: self.publish(&outcome, &request).await.err(),
                    outcome: Some(outcome),
                    ..Done::of(request, choice)
                }
            }
            Ok(Finding::Rejected(error)) => self.rejected(request, choice, error).await,
            Ok(Finding::Busy(error)) => self.wait(request, choice, error, Duration::ZERO).await,
            Ok(Finding::Wait(error, delay)) => self.wait(request, choice, error, delay).await,
            Ok(Finding::Planned(plan, facts)) => Done {
                outcome: Some(Box::new(Outcome::planned(
                    &request,
                    choice.as_ref(),
                    plan,
                    facts.as_deref(),
                ))),
                ..Done::of(request, choice)
            },
            Err(error) if self.is_overdue(&request) && !request.dry_run => {
                let error = self.waited_too_long(&request, &error);
                self.rejected(request, choice, error).await
            }
            Err(error) => Done {
                failure: Some(error),
                ..Done::of(request, choice)
            },
        };
        done.waits_for_slot = waits_for_slot;
        if done.to_be_queued.is_none() {
            self.conclude(&mut done).await;
        }
        done
    }

    /// Logs what became of a request, counts it, and remembers whose turn it is.
    pub(super) async fn conclude(&mut self, done: &mut Done) {
        let waits = |outcome: &Outcome| outcome.outcome == OutcomeKind::Waiting;
        if done.request.waiting_since.is_none() || done.outcome.as_deref().is_some_and(waits) {
            self.unqueued = self.unqueued.saturating_sub(1);
        }
        log(done);
        self.measure(done);
        self.turns.note(done);
        // SQS would delete it soon.
        if let Some(error) = done.failure.take_if(|_| self.is_expiring(&done.request)) {
            done.failure = self.given_up(&done.request, error).await;
        }
    }

    fn measure(&self, done: &Done) {
        let since = done.request.waiting_since.filter(|_| self.batch);
        let waited = since.map(|since| Duration::try_from(self.now() - since).unwrap_or_default());
        let kind = done.outcome.as_ref().map(|outcome| outcome.outcome);
        match kind {
            Some(OutcomeKind::Covered) => self.metrics.count(Metric::RequestsCovered),
            Some(OutcomeKind::Waiting) => self.metrics.count(Metric::RequestsWaiting),
            Some(OutcomeKind::Rejected) => self.metrics.count(Metric::RequestsRejected),
            _ => {}
        }
        match (waited, kind) {
            (Some(waited), Some(OutcomeKind::Started | OutcomeKind::Covered)) => {
                self.metrics.took(Metric::WaitSeconds, waited);
            }
            (Some(waited), None) => self.metrics.took(Metric::StillWaitingSeconds, waited),
            _ => {}
        }
    }

    /// Whether `MAX_WAIT` is over for a request that comes through a queue.
    pub(super) fn is_overdue(&self, request: &Request) -> bool {
        let max_wait = self.populator.settings.max_wait.duration;
        self.stands_for(request).is_some_and(|age| age > max_wait)
    }

    /// Whether a request's message nears the end of the 14 days for which SQS keeps it.
    fn is_expiring(&self, request: &Request) -> bool {
        self.stands_for(request)
            .is_some_and(|age| age > LONGEST_STAY)
    }

    /// How long a request has stood in a queue.
    fn stands_for(&self, request: &Request) -> Option<time::Duration> {
        let since = request.waiting_since.or(request.sent_at);
        since.filter(|_| self.batch).map(|since| self.now() - since)
    }

    pub(super) fn now(&self) -> OffsetDateTime {
        self.populator.clock.now()
    }

    /// What is left until the deadline, without the time that is kept for this request and the rest
    /// of them to be put in the waiting line.
    pub(super) fn left(&self) -> Duration {
        self.left_but_for(self.rest + 1)
    }

    fn left_but_for(&self, requests: usize) -> Duration {
        let kept = match self.populator.waiting_line {
            None => Duration::ZERO,
            // What there is no time for stays where it is.
            Some(_) if self.batch => kept_for(self.unqueued).min(self.whole_time() / 3),
            Some(_) => kept_for(requests),
        };
        self.all_left().saturating_sub(kept)
    }

    fn whole_time(&self) -> Duration {
        Duration::try_from(self.deadline - self.begun).unwrap_or_default()
    }

    /// Whether there is time to put so many requests in the waiting queue.
    pub(super) fn has_time_to_queue(&self, requests: usize) -> bool {
        deadline::has_time_to_queue(self.all_left(), requests)
    }

    fn all_left(&self) -> Duration {
        Duration::try_from(self.deadline - self.now()).unwrap_or_default()
    }

    /// How long an operation may take after which this request can still be put in line.
    pub(super) fn budget(&self) -> Duration {
        budget(self.left())
    }

    /// How one of the last operations for this request is sent on.
    pub(super) fn sending(&self) -> Sending<'a> {
        Sending {
            within: self.last_budget(),
            trace_header: self.trace_header,
        }
    }

    /// How long one of the last operations for this request may take.
    pub(super) fn last_budget(&self) -> Duration {
        // However many are left, this one has its part.
        let own = budget(self.all_left()).min(kept_for(1));
        budget(self.left_but_for(self.rest)).max(own)
    }

    /// Too little is left for this target.
    pub(super) fn out_of_time(&self, request: &Request) -> Finding {
        let message = format!(
            "PopulateIdMappingTable of {} was not called: {} ms were left for it until the function's time-out and {} ms \
             are needed; raise the time-out or name fewer targets",
            request.target,
            self.left().as_millis(),
            deadline::MIN_LEFT.as_millis()
        );
        Finding::Wait(Error::new(ErrorType::OutOfTime, message), Duration::ZERO)
    }

    /// News that comes as an event is given time to settle, if that is set.
    pub(super) fn settling(&self, request: &Request) -> Option<Finding> {
        let settle_time = self.populator.settings.settle_time.as_ref()?;
        if self.batch || request.trigger.is_none() {
            return None;
        }
        let message = format!(
            "PopulateIdMappingTable of {} is first tried after SETTLE_TIME ({settle_time}), so that a burst of news becomes \
             one job",
            request.target
        );
        Some(Finding::Wait(
            Error::new(ErrorType::Settling, message),
            settle_time.duration,
        ))
    }
}

impl Done {
    pub(super) fn of(request: Request, choice: Option<Choice>) -> Self {
        Self {
            request,
            choice,
            outcome: None,
            failure: None,
            stays: None,
            to_be_queued: None,
            waits_for_slot: false,
        }
    }
}

/// An error with what went wrong besides.
pub(super) fn also(error: &Error, besides: &Error) -> Error {
    Error::new(
        error.error_type,
        format!("{}; {}", error.message, besides.message),
    )
}

pub(super) fn warn(target: &Target, what: &str, error: &Error) {
    let error_type = error.error_type.as_str();
    tracing::warn!(
        errorType = error_type,
        "{what} of {target}: {}",
        error.message
    );
}
