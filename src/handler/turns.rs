//! Whose turn the account's job slot is: requests that find it busy are entered in the ledger, and one that
//! finds an older one there lets it pass.

use super::work::{Done, Finding, Work, warn};
use crate::error::{Error, ErrorType};
use crate::input::Request;
use crate::job_type;
use crate::ledger::{Waiter, Waiters};
use crate::output::OutcomeKind;
use crate::target::Target;

/// What an invocation has to change of the requests that wait for the slot.
#[derive(Default)]
pub(super) struct Turns {
    /// These wait from now on, or still.
    joined: Vec<Request>,
    /// These will not be tried again.
    left: Vec<Request>,
    /// This table was refused while another one's job was taken.
    refused_alone: Option<Target>,
}

impl Turns {
    /// Remembers what became of a request.
    pub(super) fn note(&mut self, done: &Done) {
        let Done {
            request, outcome, ..
        } = done;
        let kind = outcome.as_ref().map(|outcome| outcome.outcome);
        match kind {
            Some(OutcomeKind::Rejected) if request.waiting_since.is_some() => {
                self.left.push(request.clone());
            }
            None | Some(OutcomeKind::Waiting) if done.waits_for_slot && done.failure.is_none() => {
                self.joined.push(request.clone());
            }
            _ => {}
        }
    }
}

impl Work<'_> {
    /// Whether another request's turn comes first, and why. Without a waiting queue nobody waits.
    pub(super) async fn lets_pass(&mut self, request: &Request) -> Option<Error> {
        self.populator.waiting_line.as_ref()?;
        if self.probed.as_ref() == Some(&request.target) {
            return None;
        }
        if self.waiters.is_none() {
            match self.populator.ledger.read_waiters(self.budget()).await {
                Ok(read) => self.waiters = Some(read),
                // Who waits is looked at for the sake of order; the ledger's claims do not depend on it.
                Err(error) => warn(&request.target, "nobody is let pass for a job", &error),
            }
        }
        let waiters = &self.waiters.as_ref()?.record;
        let ahead = waiters.ahead_of(request, self.now(), |table| self.slot.was_refused(table))?;
        Some(Error::new(
            ErrorType::SlotBusy,
            format!(
                "PopulateIdMappingTable of {} was not called: a request for {} has waited longer for the account's job slot",
                request.target,
                ahead.target()
            ),
        ))
    }

    /// Requests of other invocations that wait for the slot too, where one of this batch was refused alone,
    /// and not for the first time.
    pub(super) fn waiting_elsewhere(&self) -> Vec<Request> {
        let (true, Some(refused), Some(waiters)) =
            (self.batch, self.slot.refused_alone(), &self.waiters)
        else {
            return Vec::new();
        };
        let live = || waiters.record.live(self.now());
        if !live().any(|waiter| waiter.target() == refused) {
            return Vec::new();
        }
        live().filter_map(Waiter::request).collect()
    }

    /// Starts a job for a request whose message is elsewhere, if it needs one. Whatever else there is to say
    /// of it, its own message says.
    pub(super) async fn start_for_another(&mut self, request: Request) {
        let mut choice = job_type::by_wish(request.wish, request.wished_by);
        if let Ok(Finding::Started(outcome, _)) = self.find_out(&request, &mut choice).await {
            tracing::info!(
                membershipIdentifier = request.target.membership.as_str(),
                idMappingTableIdentifier = request.target.table.as_str(),
                idMappingJobId = outcome.job.as_ref().map(|job| job.as_str()),
                outcome = outcome.outcome.as_str(),
                "job started for a request that waits in another message"
            );
        }
    }

    /// A job was started: a table that was refused a moment ago was refused for its own state.
    pub(super) fn note_refused_alone(&mut self, started: &Target) {
        let alone = self.slot.refused_alone().filter(|table| *table != started);
        self.turns.refused_alone = alone.cloned().or(self.turns.refused_alone.take());
    }

    /// Records whose turn it is now, where that has changed. If this fails, a request is let pass in vain, or
    /// is not let pass.
    pub(super) async fn record_turns(&mut self) {
        let Turns {
            joined,
            left,
            refused_alone,
        } = std::mem::take(&mut self.turns);
        if joined.is_empty() && left.is_empty() && self.waiters.is_none() {
            return;
        }
        let now = self.now();
        let started = &self.started;
        let transition = |waiters: &Waiters| {
            let mut waiters = waiters.living(now);
            for request in &left {
                waiters = waiters.left(request);
            }
            for (target, job) in started {
                waiters = waiters.served(target, job.job_type);
            }
            for request in &joined {
                waiters = waiters.joined(&Waiter::new(request, now));
            }
            if let Some(target) = &refused_alone {
                waiters = waiters.refused_alone(target, now);
            }
            waiters
        };
        let ledger = &self.populator.ledger;
        let recorded = async {
            let mut entry = match self.waiters.clone() {
                Some(read) => read,
                None => ledger.read_waiters(self.last_budget()).await?,
            };
            let within = self.last_budget();
            ledger.update_waiters(&mut entry, within, transition).await
        };
        if let Err(error) = recorded.await {
            tracing::warn!(
                errorType = error.error_type.as_str(),
                "who waits for the slot is not recorded: {}",
                error.message
            );
        }
    }
}
