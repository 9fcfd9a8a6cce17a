//! The time that an invocation has, and how much of it each operation may take.

use std::time::Duration;

use time::OffsetDateTime;

use crate::clock::Clock;

/// What must remain for a request to begin: a third is for the call's answer to be recorded and announced.
pub(super) const MIN_REMAINING: Duration = Duration::from_secs(2);

/// The longest timeout of a Lambda function. A deadline that is further away is wrong: some emulators send
/// one.
const MAX_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// To write the response.
const TO_RESPOND: Duration = Duration::from_millis(300);

/// What one request may need to be recorded as unknown, enqueued and announced as waiting.
const TO_ENQUEUE: Duration = Duration::from_millis(150);

const MAX_CALL_TIMEOUT: Duration = Duration::from_secs(20);

const MAX_IO_TIMEOUT: Duration = Duration::from_secs(5);

/// For which requests time is reserved, so that they can be enqueued if there is no time for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reserve {
    /// For none: there is no waiting queue.
    Nothing,
    /// For those that are not processed yet.
    Pending,
    /// For those of a batch that have no message of their own in the waiting queue. A third of the time at
    /// most: a message for which there is no time stays where it is.
    NotQueued,
}

/// When the invocation ends, and which of its requests are still to be served until then.
#[derive(Clone, Debug)]
pub(super) struct Deadline {
    clock: Clock,
    began_at: OffsetDateTime,
    ends_at: OffsetDateTime,
    reserve: Reserve,
    /// How many requests are not processed yet, beside the current one.
    pub(super) pending: usize,
    /// How many requests of a batch have no message of their own in the waiting queue.
    pub(super) not_queued: usize,
}

impl Deadline {
    /// A deadline as Lambda gives it.
    pub(super) fn new(clock: &Clock, lambda: OffsetDateTime, reserve: Reserve) -> Self {
        let now = clock.now();
        // One that is long over is wrong too.
        let is_plausible = |deadline: &OffsetDateTime| now - *deadline < MAX_TIMEOUT;
        let latest = now + MAX_TIMEOUT;
        Self {
            clock: clock.clone(),
            began_at: now,
            ends_at: Some(lambda)
                .filter(is_plausible)
                .unwrap_or(latest)
                .min(latest),
            reserve,
            pending: 0,
            not_queued: 0,
        }
    }

    /// The current time.
    pub(super) fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    /// When the invocation began.
    pub(super) fn began_at(&self) -> OffsetDateTime {
        self.began_at
    }

    /// When the invocation ends.
    pub(super) fn ends_at(&self) -> OffsetDateTime {
        self.ends_at
    }

    /// The time that remains for the current request, without what is reserved for it and the pending ones.
    pub(super) fn remaining(&self) -> Duration {
        self.remaining_without(self.pending + 1)
    }

    /// The timeout of the call that starts a job: two thirds of what remains, and at most 20 seconds.
    /// Returns `None` if too little remains to begin.
    pub(super) fn call_timeout(&self) -> Option<Duration> {
        let remaining = self.remaining();
        (remaining >= MIN_REMAINING).then(|| (remaining / 3 * 2).min(MAX_CALL_TIMEOUT))
    }

    /// The timeout of any other operation, after which the current request can still be enqueued: at most 5
    /// seconds.
    pub(super) fn io_timeout(&self) -> Duration {
        io_timeout(self.remaining())
    }

    /// The timeout of one of the last operations for the current request. However many are pending, it has
    /// its part.
    pub(super) fn final_timeout(&self) -> Duration {
        let own = io_timeout(self.until_end()).min(TO_ENQUEUE);
        io_timeout(self.remaining_without(self.pending)).max(own)
    }

    /// Returns whether there is time to enqueue so many requests before the response has to be written.
    pub(super) fn has_time_to_enqueue(&self, requests: usize) -> bool {
        self.until_end() >= TO_RESPOND + reserved_for(requests)
    }

    fn remaining_without(&self, requests: usize) -> Duration {
        let reserved = match self.reserve {
            Reserve::Nothing => Duration::ZERO,
            Reserve::Pending => reserved_for(requests),
            Reserve::NotQueued => {
                let whole = Duration::try_from(self.ends_at - self.began_at).unwrap_or_default();
                reserved_for(self.not_queued).min(whole / 3)
            }
        };
        self.until_end().saturating_sub(reserved)
    }

    fn until_end(&self) -> Duration {
        Duration::try_from(self.ends_at - self.now()).unwrap_or_default()
    }
}

fn io_timeout(remaining: Duration) -> Duration {
    remaining.saturating_sub(TO_RESPOND).min(MAX_IO_TIMEOUT)
}

fn reserved_for(requests: usize) -> Duration {
    TO_ENQUEUE.saturating_mul(u32::try_from(requests).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-23 02:00 UTC);

    fn deadline(seconds: f64, reserve: Reserve) -> Deadline {
        let ends_at = NOW + time::Duration::seconds_f64(seconds);
        Deadline::new(&Clock::new(|| NOW), ends_at, reserve)
    }

    fn seconds(count: f64) -> Duration {
        Duration::from_secs_f64(count)
    }

    #[test]
    fn timeouts_end_before_the_deadline_and_at_their_limits() {
        for (remaining, call, io) in [
            (0.1, None, 0.0),
            (1.0, None, 0.7),
            (1.999, None, 1.699),
            (3.0, Some(2.0), 2.7),
            (60.0, Some(20.0), 5.0),
        ] {
            let deadline = deadline(remaining, Reserve::Nothing);
            assert_eq!(deadline.remaining(), seconds(remaining));
            assert_eq!(deadline.call_timeout(), call.map(seconds), "{remaining}");
            assert_eq!(deadline.io_timeout(), seconds(io), "{remaining}");
            assert_eq!(deadline.final_timeout(), seconds(io), "{remaining}");
        }
    }

    #[test]
    fn a_deadline_that_cannot_be_lambdas_is_fifteen_minutes_away() {
        let quarter = seconds(900.0);
        for (given, expected) in [
            (60.0, seconds(60.0)),
            (-60.0, Duration::ZERO),
            (1_000.0, quarter),
        ] {
            let remaining = deadline(given, Reserve::Nothing).remaining();
            assert_eq!(remaining, expected, "{given}");
        }
        let long_over = NOW - Duration::from_secs(900);
        let deadline = Deadline::new(&Clock::new(|| NOW), long_over, Reserve::Nothing);
        assert_eq!(deadline.remaining(), quarter);
    }

    #[test]
    fn time_is_reserved_to_enqueue_what_is_not_processed() {
        let mut deadline_of_ten = deadline(10.0, Reserve::Pending);
        deadline_of_ten.pending = 9;
        assert_eq!(deadline_of_ten.remaining(), seconds(8.5));
        deadline_of_ten.pending = 99;
        // Nothing remains, but each request has its part of the reserve.
        assert_eq!(deadline_of_ten.remaining(), Duration::ZERO);
        assert_eq!(deadline_of_ten.final_timeout(), seconds(0.15));

        let mut of_a_batch = deadline(9.0, Reserve::NotQueued);
        of_a_batch.pending = 1_000;
        assert_eq!(of_a_batch.remaining(), seconds(9.0));
        of_a_batch.not_queued = 10;
        assert_eq!(of_a_batch.remaining(), seconds(7.5));
        of_a_batch.not_queued = 1_000;
        assert_eq!(of_a_batch.remaining(), seconds(6.0));

        let deadline = deadline(15.3, Reserve::Pending);
        assert!(deadline.has_time_to_enqueue(100));
        assert!(!deadline.has_time_to_enqueue(101));
    }
}
