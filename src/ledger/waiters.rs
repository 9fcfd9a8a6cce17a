//! The requests of all tables that wait for the account's job slot. The slot goes to one that is urgent, then to the one
//! that has waited longest.
//!
//! A request that finds the slot busy is recorded here, in one item of the ledger. The item is read before a
//! call: a request lets an older one pass, unless its own job covers that one. So a table with changes every
//! minute does not take each slot before the waiting queue is read. A waiter that its request does not renew
//! within two retry intervals holds up no other: its message is gone.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::key::digest_of_waiting;
use crate::clock::CLOCK_DIFFERENCE;
use crate::job_type::{JobType, RequestedType};
use crate::request::{Rank, Request, rank};
use crate::target::Target;

/// The most waiters. Of more, the oldest are kept. It is as many as tables may be configured, with two requested
/// types each.
const MAX_WAITERS: usize = 200;

/// The retry interval that is assumed for a message that was received only once: the template's default.
const DEFAULT_RETRY_INTERVAL: Duration = Duration::minutes(20);

/// The largest request that is kept here, in bytes of JSON.
const MAX_REQUEST: usize = 1_300;

/// The most requests of a waiter that are known by their keys.
const MAX_KEYS: usize = 64;

/// The most requests of all waiters that are known by their keys.
const MAX_ALL_KEYS: usize = 1_600;

/// The requests of one table for one requested type that wait for the slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiter {
    target: Target,
    requested_type: RequestedType,
    /// Whether one of these requests is urgent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    urgent: bool,
    /// Since when the oldest of these requests waits.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    since: OffsetDateTime,
    /// When one of these requests was tried last.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    seen_at: OffsetDateTime,
    /// After how many seconds the message is delivered again, as far as its receives tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_interval: Option<i64>,
    /// When the service refused this table and then took another one's job, the last time. The table itself may not be
    /// ready, or the slot became free in between: for two retry intervals no request lets it pass.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::timestamp::milliseconds::option"
    )]
    refused_alone_at: Option<OffsetDateTime>,
    /// When `MIN_INTERVAL` is over for the table, if it holds these requests back. Until then they hold up no other.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::timestamp::milliseconds::option"
    )]
    not_before: Option<OffsetDateTime>,
    /// The newest of these requests, by digests of their keys. A repeat of one of them needs no second message.
    #[serde(default)]
    keys: Vec<Uuid>,
    /// One of these requests, to be tried in an invocation of another one. `None` if it is too large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<Request>,
}

/// All waiters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Waiters {
    /// In the order in which the slot goes to them.
    waiting: Vec<Waiter>,
}

impl Waiter {
    /// A request that waits, as of now.
    pub fn new(request: &Request, now: OffsetDateTime) -> Self {
        let size = serde_json::to_string(request).map_or(usize::MAX, |json| json.len());
        Self {
            target: request.target.clone(),
            requested_type: request.requested_type,
            urgent: request.urgent,
            since: request.waits_since(now),
            seen_at: now,
            retry_interval: request.retry_interval.map(Duration::whole_seconds),
            refused_alone_at: None,
            not_before: None,
            keys: vec![digest_of_waiting(request)],
            request: (size <= MAX_REQUEST).then(|| request.clone()),
        }
    }

    /// The same, held back until a time, if there is one.
    pub fn held_back(self, not_before: Option<OffsetDateTime>) -> Self {
        Self { not_before, ..self }
    }

    /// The table.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The requested job type.
    pub fn requested_type(&self) -> RequestedType {
        self.requested_type
    }

    /// When one of its requests was tried last.
    pub fn seen_at(&self) -> OffsetDateTime {
        self.seen_at
    }

    /// Since when the oldest of its requests waits.
    pub fn since(&self) -> OffsetDateTime {
        self.since
    }

    /// When `MIN_INTERVAL` is over for its table, if that is what it waits for.
    pub fn not_before(&self) -> Option<OffsetDateTime> {
        self.not_before
    }

    /// Whether one of its requests is urgent.
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// The request that is tried for this waiter.
    pub fn request(&self) -> Option<Request> {
        let request = self.request.clone()?;
        Some(Request {
            waiting_since: Some(self.since),
            ..request
        })
    }

    /// The order in which the slot goes to the waiters.
    fn rank(&self) -> Rank {
        rank(self.urgent, self.since)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.target == other.target && self.requested_type == other.requested_type
    }

    /// Returns whether one of its requests was tried within two retry intervals.
    pub fn is_live(&self, now: OffsetDateTime) -> bool {
        self.is_recent(self.seen_at, now)
    }

    /// Returns whether it may start now.
    fn may_start(&self, now: OffsetDateTime) -> bool {
        self.not_before.is_none_or(|not_before| not_before <= now)
    }

    /// Returns whether its table was refused alone within two retry intervals.
    fn is_refused_alone(&self, now: OffsetDateTime) -> bool {
        self.refused_alone_at
            .is_some_and(|refused_at| self.is_recent(refused_at, now))
    }

    fn is_recent(&self, time: OffsetDateTime, now: OffsetDateTime) -> bool {
        let interval = self.retry_interval.map(Duration::seconds);
        let interval = interval.unwrap_or(DEFAULT_RETRY_INTERVAL);
        let longest = interval.saturating_add(interval);
        let age = now - time;
        -CLOCK_DIFFERENCE <= age && age <= longest.saturating_add(CLOCK_DIFFERENCE)
    }

    /// Returns whether a job of this table that was sent with this type does what it asks for.
    fn is_covered_by(&self, target: &Target, sent: Option<JobType>) -> bool {
        self.target == *target && self.requested_type.is_covered_by(sent)
    }
}

impl Waiters {
    /// The waiter that a request lets pass: the oldest of those that have waited longer, that the request's own
    /// job does not cover, and whose table may still find the slot free.
    pub fn ahead_of(
        &self,
        request: &Request,
        now: OffsetDateTime,
        was_refused: impl Fn(&Target) -> bool,
    ) -> Option<&Waiter> {
        let served = |waiter: &&Waiter| {
            waiter.target == request.target
                && request.requested_type.always_covers(waiter.requested_type)
        };
        let live = || self.live(now);
        // Its job serves all waiters that it covers, so it has waited as long as the first of them.
        let own = live()
            .filter(served)
            .map(Waiter::rank)
            .fold(request.rank(now), Rank::min);
        live()
            .filter(|waiter| {
                !served(waiter) && !waiter.is_refused_alone(now) && waiter.may_start(now)
            })
            .filter(|waiter| !was_refused(&waiter.target))
            .find(|waiter| waiter.rank() < own)
    }

    /// Returns whether a message for this request is in the waiting queue, as far as is known. What began to wait before
    /// a job of the request started is not believed: the job may have been the request's last one, and failed.
    pub fn has(
        &self,
        request: &Request,
        last_start: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> bool {
        let key = digest_of_waiting(request);
        self.live(now).any(|waiter| {
            waiter.target == request.target
                && waiter.keys.contains(&key)
                && last_start.is_none_or(|start| start < waiter.since)
        })
    }

    /// All waiters, the oldest first. The messages of some may be gone.
    pub fn all(&self) -> &[Waiter] {
        &self.waiting
    }

    /// The waiters whose requests still wait, the oldest first.
    pub fn live(&self, now: OffsetDateTime) -> impl Iterator<Item = &Waiter> {
        self.waiting
            .iter()
            .filter(move |waiter| waiter.is_live(now))
    }

    /// Transition: a job started, and serves the waiters that it covers.
    pub fn served(&self, target: &Target, sent: Option<JobType>) -> Self {
        let mut waiters = self.clone();
        waiters
            .waiting
            .retain(|waiter| !waiter.is_covered_by(target, sent));
        waiters
    }

    /// Transition: a job started, and holds back the requests of its table that it does not cover until a time.
    pub fn held_back(
        &self,
        target: &Target,
        sent: Option<JobType>,
        not_before: OffsetDateTime,
    ) -> Self {
        let is_deletion = sent == Some(JobType::DeleteOnly);
        let mut waiters = self.clone();
        for waiter in &mut waiters.waiting {
            let deletes = waiter.requested_type == RequestedType::DELETE_ONLY;
            if waiter.target == *target && deletes == is_deletion && !waiter.urgent {
                waiter.not_before = Some(not_before);
            }
        }
        waiters
    }

    /// Transition: a request will not be tried again.
    pub fn left(&self, request: &Request) -> Self {
        let mut waiters = self.clone();
        waiters.waiting.retain(|waiter| {
            waiter.target != request.target || waiter.requested_type != request.requested_type
        });
        waiters
    }

    /// Transition: waiters whose messages are gone are removed.
    pub fn expired(&self, now: OffsetDateTime) -> Self {
        Self {
            waiting: self.live(now).cloned().collect(),
        }
    }

    /// Transition: a request waits.
    pub fn joined(&self, new: &Waiter) -> Self {
        let mut waiters = self.clone();
        match waiters
            .waiting
            .iter_mut()
            .find(|waiter| waiter.is_same(new))
        {
            Some(waiter) => {
                if new.rank() <= waiter.rank() {
                    waiter.request.clone_from(&new.request);
                }
                for key in &new.keys {
                    waiter.keys.retain(|known| known != key);
                    waiter.keys.push(*key);
                }
                waiter.urgent |= new.urgent;
                waiter.not_before = new.not_before.filter(|_| !waiter.urgent);
                waiter.since = new.since.min(waiter.since);
                waiter.seen_at = new.seen_at.max(waiter.seen_at);
                waiter.retry_interval = new.retry_interval.or(waiter.retry_interval);
            }
            None => waiters.waiting.push(new.clone()),
        }
        waiters.waiting.sort_by_key(Waiter::rank);
        waiters.waiting.truncate(MAX_WAITERS);
        let most = (MAX_ALL_KEYS / waiters.waiting.len().max(1)).min(MAX_KEYS);
        for waiter in &mut waiters.waiting {
            let superfluous = waiter.keys.len().saturating_sub(most);
            waiter.keys.drain(..superfluous);
        }
        waiters
    }

    /// Transition: the service refused this table, and took a job of another one.
    pub fn refused_alone(&self, target: &Target, now: OffsetDateTime) -> Self {
        let mut waiters = self.clone();
        for waiter in &mut waiters.waiting {
            if waiter.target == *target {
                waiter.refused_alone_at = Some(now);
            }
        }
        waiters
    }
}

#[cfg(test)]
mod tests;
