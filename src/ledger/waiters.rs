//! The requests that wait for the account's job slot, of all tables, so that it goes to the one that has
//! waited longest.
//!
//! A request that finds the slot busy is entered here, in one item of the ledger. Before a call the item
//! is read: a request lets an older one pass, unless its own job covers that one. So a table with changes
//! every minute does not take each slot before the waiting queue is looked at. An entry that its request
//! does not renew within two retry intervals holds up nobody: its message is gone.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::CLOCK_DIFFERENCE;
use crate::input::Request;
use crate::job_type::{JobType, Wish};
use crate::target::Target;

/// The requests that are remembered at most, the oldest of them: as many as tables may be configured, with
/// two requested job types each.
const MAX_WAITERS: usize = 200;

/// The retry interval of a message that was received only once: the template's default.
const DEFAULT_RETRY_INTERVAL: Duration = Duration::minutes(20);

/// The longest request in JSON that is kept to be tried for its table, in bytes.
const MAX_REQUEST: usize = 1_500;

/// Requests of one table for one job type that wait for the slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiter {
    target: Target,
    requested: Wish,
    /// Since when the oldest of them waits.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    since: OffsetDateTime,
    /// When one of them was tried last.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    seen_at: OffsetDateTime,
    /// After how many seconds it is tried again, as far as its receives tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_interval: Option<i64>,
    /// When the service refused this table and took another one's job: the table itself was not ready. For
    /// a while nobody lets it pass. Then it has its turn again, because it may be ready by now.
    #[serde(
        default,
        with = "time::serde::timestamp::milliseconds::option",
        skip_serializing_if = "Option::is_none"
    )]
    refused_alone_at: Option<OffsetDateTime>,
    /// One of them, to be tried in another one's invocation; none: it is too large to be kept here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<Request>,
}

/// All requests that wait for the slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Waiters {
    /// Oldest first.
    waiting: Vec<Waiter>,
}

impl Waiter {
    /// A request that waits now.
    pub fn new(request: &Request, now: OffsetDateTime) -> Self {
        let size = serde_json::to_string(request).map_or(usize::MAX, |json| json.len());
        Self {
            target: request.target.clone(),
            requested: request.wish,
            since: request.waits_since(now),
            seen_at: now,
            retry_interval: request.retry_interval.map(Duration::whole_seconds),
            refused_alone_at: None,
            request: (size <= MAX_REQUEST).then(|| request.clone()),
        }
    }

    /// Its table.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The request to be tried in its place.
    pub fn request(&self) -> Option<Request> {
        let request = self.request.clone()?;
        Some(Request {
            waiting_since: Some(self.since),
            ..request
        })
    }

    fn is_same(&self, other: &Self) -> bool {
        self.target == other.target && self.requested == other.requested
    }

    /// Whether it was tried within two retry intervals.
    fn is_live(&self, now: OffsetDateTime) -> bool {
        self.is_recent(self.seen_at, now)
    }

    /// Whether its table was refused alone within two retry intervals.
    fn is_refused_alone(&self, now: OffsetDateTime) -> bool {
        self.refused_alone_at
            .is_some_and(|refused_at| self.is_recent(refused_at, now))
    }

    fn is_recent(&self, moment: OffsetDateTime, now: OffsetDateTime) -> bool {
        let interval = self.retry_interval.map(Duration::seconds);
        let interval = interval.unwrap_or(DEFAULT_RETRY_INTERVAL);
        let longest = interval.saturating_add(interval);
        let age = now - moment;
        -CLOCK_DIFFERENCE <= age && age <= longest.saturating_add(CLOCK_DIFFERENCE)
    }

    /// Whether a job of this table that was sent with this type does what it asks for.
    fn is_covered_by(&self, target: &Target, sent: Option<JobType>) -> bool {
        self.target == *target && self.requested.is_covered_by(sent)
    }
}

impl Waiters {
    /// The request that this one lets pass: the oldest of those that have waited longer, that its own job
    /// does not cover, and whose table may still find the slot free.
    pub fn ahead_of(
        &self,
        request: &Request,
        now: OffsetDateTime,
        was_refused: impl Fn(&Target) -> bool,
    ) -> Option<&Waiter> {
        let served = |waiter: &&Waiter| {
            waiter.target == request.target && request.wish.surely_covers(waiter.requested)
        };
        let live = || self.live(now);
        // Its job is the job of all that it covers: it has waited as long as the oldest of them.
        let since = live()
            .filter(served)
            .map(|waiter| waiter.since)
            .fold(request.waits_since(now), OffsetDateTime::min);
        live()
            .filter(|waiter| !served(waiter) && !waiter.is_refused_alone(now))
            .filter(|waiter| !was_refused(&waiter.target))
            .find(|waiter| waiter.since < since)
    }

    /// Those that still wait, oldest first.
    pub fn live(&self, now: OffsetDateTime) -> impl Iterator<Item = &Waiter> {
        self.waiting
            .iter()
            .filter(move |waiter| waiter.is_live(now))
    }

    /// Transition: without those that a job serves.
    pub fn served(&self, target: &Target, sent: Option<JobType>) -> Self {
        let mut waiters = self.clone();
        waiters
            .waiting
            .retain(|waiter| !waiter.is_covered_by(target, sent));
        waiters
    }

    /// Transition: without a request that will not be tried again.
    pub fn left(&self, request: &Request) -> Self {
        let mut waiters = self.clone();
        waiters
            .waiting
            .retain(|waiter| waiter.target != request.target || waiter.requested != request.wish);
        waiters
    }

    /// Transition: without those that are gone.
    pub fn living(&self, now: OffsetDateTime) -> Self {
        Self {
            waiting: self.live(now).cloned().collect(),
        }
    }

    /// Transition: with a request that waits now.
    pub fn joined(&self, new: &Waiter) -> Self {
        let mut waiters = self.clone();
        match waiters
            .waiting
            .iter_mut()
            .find(|waiter| waiter.is_same(new))
        {
            Some(waiter) => {
                if new.since <= waiter.since {
                    waiter.since = new.since;
                    waiter.request.clone_from(&new.request);
                }
                waiter.seen_at = new.seen_at.max(waiter.seen_at);
                waiter.retry_interval = new.retry_interval.or(waiter.retry_interval);
            }
            None => waiters.waiting.push(new.clone()),
        }
        waiters.waiting.sort_by_key(|waiter| waiter.since);
        waiters.waiting.truncate(MAX_WAITERS);
        waiters
    }

    /// Transition: this table was refused while another one's job was taken.
    pub fn refused_alone(&self, target: &Target, now: OffsetDateTime) -> Self {
        let mut waiters = self.clone();
        let of_table = |waiter: &&mut Waiter| waiter.target == *target;
        for waiter in waiters.waiting.iter_mut().filter(of_table) {
            waiter.refused_alone_at = Some(now);
        }
        waiters
    }
}

#[cfg(test)]
mod tests;
