//! The idempotency keys of a table's requests, as the record keeps them.

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::job::StartedJob;
use crate::request::Request;

/// How much later than its job's start the time of a request may be: the clock of a sender may be ahead.
const LATEST_OF_NAME: Duration = Duration::minutes(5);

/// A digest of a request's key, so that a record's size does not depend on the callers' texts.
pub(super) fn digest(request: &Request) -> Uuid {
    /// The namespace of these digests: a random UUID, never to be changed.
    const KEYS: Uuid = Uuid::from_u128(0x5c1b_2f0e_93d7_4a41_8be6_7f0d_44a9_c210);
    // A record is of one target.
    let key = [request.named_type(), &request.idempotency_key].join(" ");
    Uuid::new_v5(&KEYS, key.as_bytes())
}

/// A digest of a request that waits. Another one with the same key has another time, or is urgent.
pub(super) fn digest_of_waiting(request: &Request) -> Uuid {
    let time = request.time.unix_timestamp_nanos();
    let time = request.time_is_given.then_some(time);
    let name = format!("{time:?} {}", request.urgent);
    Uuid::new_v5(&digest(request), name.as_bytes())
}

/// Returns whether a request may have started a job of its name. A repeat has the time of the first delivery, or none. So
/// a request with a later time is another one, whose sender took a name that is in use.
pub(super) fn may_be_own(started_at: OffsetDateTime, request: &Request) -> bool {
    !request.time_is_given || request.time <= started_at.saturating_add(LATEST_OF_NAME)
}

/// Returns whether this very request started a job.
pub fn is_own_job(started: &StartedJob, request: &Request) -> bool {
    started.request.scoped_key() == request.scoped_key()
        && may_be_own(started.job.started_at, request)
}
