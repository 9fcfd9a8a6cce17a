//! What an invocation learns while it processes its requests. Decisions are made from it and from the
//! ledger's record.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::aws::clean_rooms::BusyScope;
use crate::aws::entity_resolution::NotFound;
use crate::aws::ledger_table::Item;
use crate::job::{Call, Job, JobId, StartedJob};
use crate::ledger::Waiters;
use crate::period::Period;
use crate::request::Request;
use crate::target::Target;

/// What one invocation has learned.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// What calls told about the account's job slot.
    pub(super) slot: Slot,
    /// How many calls in a row found the service unavailable.
    pub(super) unavailable_calls: u32,
    /// The calls whose jobs were looked for, and not found.
    pub(super) lookups: Vec<Lookup>,
    /// The jobs that were started or found.
    pub(super) started: Vec<(Target, Job)>,
    /// The requests that will not be tried again.
    pub(super) left: Vec<Request>,
    /// The requests that wait for the slot, from now on or still. Each with when `MIN_INTERVAL` is over for it.
    pub(super) joined: Vec<(Request, Option<OffsetDateTime>)>,
    /// The table that the service refused, before it took a job of another one.
    pub(super) refused_alone: Option<Target>,
    /// The jobs whose start was reported, or tried to.
    pub(super) reported: Vec<JobId>,
    /// The requests that wait for the slot.
    pub(super) waiters: SlotWaiters,
    /// The table that is asked for because another one was refused. It lets no request pass.
    pub(super) probed: Option<Target>,
}

impl Learned {
    /// Records that a job was started, or found.
    pub(super) fn note_started(&mut self, started: &StartedJob, min_interval: Option<&Period>) {
        let (target, job) = (&started.request.target, &started.job);
        self.waiters
            .change(|waiters| after_start(waiters, target, job, min_interval));
        self.started.push((target.clone(), job.clone()));
    }

    /// Records that a look for a call's job found none.
    pub(super) fn note_not_found(&mut self, call: &Call, is_first: bool, not_found: NotFound) {
        self.lookups.push(Lookup {
            attempt: call.attempt,
            is_first,
            not_found,
        });
    }

    /// Waiters without those that this invocation has served, or that will not be tried again.
    pub(super) fn remaining_waiters(
        &self,
        waiters: &Waiters,
        min_interval: Option<&Period>,
    ) -> Waiters {
        let mut waiters = waiters.clone();
        for request in &self.left {
            waiters = waiters.left(request);
        }
        for (target, job) in &self.started {
            waiters = after_start(&waiters, target, job, min_interval);
        }
        waiters
    }

    /// Records that a request will not be tried again.
    pub(super) fn note_left(&mut self, request: &Request) {
        self.waiters.change(|waiters| waiters.left(request));
        self.left.push(request.clone());
    }

    /// Creates it for an invocation that does not read who waits for the slot.
    pub(super) fn without_waiters() -> Self {
        Self {
            waiters: SlotWaiters::Unknown,
            ..Self::default()
        }
    }

    /// Returns whether this invocation started or found a job.
    pub(super) fn has_started(&self, id: &JobId) -> bool {
        self.started.iter().any(|(_, job)| job.id == *id)
    }

    /// The look for a call's job, if there was one.
    pub(super) fn lookup_of(&self, call: &Call) -> Option<&Lookup> {
        self.lookups
            .iter()
            .find(|lookup| lookup.attempt == call.attempt)
    }
}

/// Waiters after a job started: those that it covers are gone, and the others of its table wait for `MIN_INTERVAL`.
fn after_start(
    waiters: &Waiters,
    target: &Target,
    job: &Job,
    min_interval: Option<&Period>,
) -> Waiters {
    let waiters = waiters.served(target, job.job_type);
    match min_interval {
        Some(interval) => {
            let not_before = job.started_at + interval.duration;
            waiters.held_back(target, job.job_type, not_before)
        }
        None => waiters,
    }
}

/// The requests that wait for the slot, as far as the invocation knows them.
#[derive(Debug, Default)]
pub(super) enum SlotWaiters {
    /// They were not read yet.
    #[default]
    NotRead,
    /// There is no waiting queue, or they could not be read: no request lets another one pass.
    Unknown,
    /// They were read.
    Read {
        /// As they were read.
        item: Item<Waiters>,
        /// As this invocation has left them.
        current: Waiters,
    },
}

impl SlotWaiters {
    /// Changes those that are current.
    fn change(&mut self, change: impl Fn(&Waiters) -> Waiters) {
        if let Self::Read { current, .. } = self {
            *current = change(current);
        }
    }
}

/// A look for a call's job that found none. One look is for all requests of an invocation.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    /// The call's.
    pub(super) attempt: Uuid,
    /// Whether it was the first one. Then no request of this invocation gives the call up.
    pub(super) is_first: bool,
    pub(super) not_found: NotFound,
}

/// What the calls of an invocation tell about the account's one job slot.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The answer that says that no table can have it.
    account: Option<String>,
    /// The tables that were refused because of it, each with its answer.
    tables: Vec<(Target, String)>,
}

impl Slot {
    /// Records that a table was refused. A second table's 409 means the account's slot, as a 402 does.
    pub(super) fn refuse(&mut self, target: &Target, scope: BusyScope, answer: &str) {
        if scope == BusyScope::Account || self.tables.iter().any(|(other, _)| other != target) {
            self.account = Some(answer.to_owned());
        }
        self.tables.push((target.clone(), answer.to_owned()));
    }

    /// Why a table need not be tried. Returns `None` if it may find the slot free.
    pub(super) fn busy_for(&self, target: &Target) -> Option<&str> {
        let own = self.tables.iter().find(|(other, _)| other == target);
        own.map(|(_, answer)| answer)
            .or(self.account.as_ref())
            .map(String::as_str)
    }

    /// Returns whether a table itself was refused.
    pub(super) fn has_refused(&self, target: &Target) -> bool {
        self.tables.iter().any(|(other, _)| other == target)
    }

    /// The only table that was refused. Its own state may be the reason, so a second table's answer is wanted.
    pub(super) fn refused_alone(&self) -> Option<&Target> {
        match (&self.account, &self.tables[..]) {
            (None, [(target, _)]) => Some(target),
            _ => None,
        }
    }
}
