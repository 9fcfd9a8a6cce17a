//! What a request came to, before and after it is reported.

use super::decide::Wait;
use crate::choice::Choice;
use crate::error::Error;
use crate::job::{JobId, JobStatus, StartedJob};
use crate::outcome::{Outcome, OutcomeKind, Planned};
use crate::request::Request;

/// What a request came to, before it is reported.
pub(super) enum Resolution {
    /// A job was started for it, now or earlier, and is reported; or why it could not be reported.
    Started(Box<StartedJob>, Result<(), Error>),
    /// This job covers it.
    Covered(JobId, JobStatus),
    /// It was tried again already.
    Superseded,
    /// It will be refused again.
    Rejected(Error),
    /// It has to wait.
    Wait(Wait),
    /// It is a repeat of a request that waits already, in a message of its own.
    StillWaiting(Wait),
    /// A dry run.
    Planned(Box<Planned>),
}

/// A request that was processed.
pub(super) struct Processed {
    pub(super) request: Request,
    /// What is sent, and why. `None` if it did not come to a choice.
    pub(super) choice: Option<Choice>,
    pub(super) disposition: Disposition,
}

impl Processed {
    /// Returns whether this is its outcome.
    pub(super) fn is(&self, kind: OutcomeKind) -> bool {
        let outcome = self.disposition.outcome();
        outcome.is_some_and(|outcome| outcome.outcome == kind)
    }
}

/// What became of a request.
#[derive(Clone)]
pub(super) enum Disposition {
    /// It is done, and this is its outcome.
    Done(Box<Outcome>),
    /// The invocation, or its message, fails for this reason. It may have come to an outcome.
    Failed(Error, Option<Box<Outcome>>),
    /// It stays in its message in the waiting queue, and why.
    Requeued(Error),
    /// It has to be enqueued, together with the others of its message.
    ToEnqueue(Wait),
    /// It is in a message of its own in the waiting queue or the dead-letter queue.
    Moved,
    /// There is nothing to do for it, and nothing to announce.
    Dropped,
}

impl Disposition {
    /// The outcome, if there is one.
    pub(super) fn outcome(&self) -> Option<&Outcome> {
        match self {
            Self::Done(outcome) | Self::Failed(_, Some(outcome)) => Some(outcome),
            Self::Failed(_, None)
            | Self::Requeued(_)
            | Self::ToEnqueue(_)
            | Self::Moved
            | Self::Dropped => None,
        }
    }

    /// Why it waits, was rejected or failed, if it did.
    pub(super) fn error(&self) -> Option<&Error> {
        match self {
            Self::Failed(error, _) | Self::Requeued(error) => Some(error),
            other => other.outcome().and_then(|outcome| outcome.error.as_ref()),
        }
    }

    /// Why it failed, if it did.
    pub(super) fn failure(&self) -> Option<&Error> {
        match self {
            Self::Failed(error, _) => Some(error),
            _ => None,
        }
    }

    /// Returns whether its message has to stay in the queue.
    pub(super) fn keeps_message(&self) -> bool {
        matches!(self, Self::Failed(..) | Self::Requeued(_))
    }

    /// The same after the request was put in a message of its own.
    pub(super) fn moved(self) -> Self {
        match self {
            Self::Failed(_, Some(outcome)) => Self::Done(outcome),
            Self::Failed(_, None) => Self::Moved,
            other => other,
        }
    }

    /// An outcome, and whether others know it.
    pub(super) fn with(outcome: Outcome, reported: Result<(), Error>) -> Self {
        let outcome = Box::new(outcome);
        match reported {
            Ok(()) => Self::Done(outcome),
            Err(error) => Self::Failed(error, Some(outcome)),
        }
    }
}
