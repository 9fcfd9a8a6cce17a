//! How much of what is left until the deadline an operation may take.

use std::time::Duration;

/// What must be left for a request to be begun: a second and a third for the call, the rest to
/// record and announce it and to answer.
pub(super) const MIN_LEFT: Duration = Duration::from_secs(2);

/// To write the answer.
const TO_ANSWER: Duration = Duration::from_millis(300);

/// What a request may need to be recorded as unknown, put in the waiting line and announced there.
const TO_WAIT: Duration = Duration::from_millis(150);

/// The time that is kept for the requests that are not done yet, this one among them: each must be
/// put in the waiting line, should there be no time for more.
pub(super) fn kept_for(requests: usize) -> Duration {
    TO_WAIT * u32::try_from(requests).unwrap_or(u32::MAX)
}

/// Whether so many requests can be put in the waiting queue before the answer has to be written.
pub(super) fn has_time_to_queue(left: Duration, requests: usize) -> bool {
    left >= TO_ANSWER + kept_for(requests)
}

/// How long a call may take: two thirds of what is left, and at most 20 seconds. None: too little is
/// left to begin.
pub(super) fn call_budget(left: Duration) -> Option<Duration> {
    (left >= MIN_LEFT).then(|| (left / 3 * 2).min(Duration::from_secs(20)))
}

/// How long any other operation may take: what is left less the time to answer, and at most 5
/// seconds.
pub(super) fn budget(left: Duration) -> Duration {
    left.saturating_sub(TO_ANSWER).min(Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_end_before_the_deadline_and_at_their_bounds() {
        let seconds = Duration::from_secs_f64;
        assert_eq!(call_budget(seconds(0.0)), None);
        assert_eq!(call_budget(seconds(1.999)), None);
        assert_eq!(call_budget(seconds(3.0)), Some(seconds(2.0)));
        assert_eq!(call_budget(seconds(900.0)), Some(seconds(20.0)));
        assert_eq!(budget(seconds(0.2)), seconds(0.0));
        assert_eq!(budget(seconds(1.0)), seconds(0.7));
        assert_eq!(budget(seconds(900.0)), seconds(5.0));
        assert_eq!(kept_for(100), seconds(15.0));
        assert!(has_time_to_queue(seconds(15.3), 100));
        assert!(!has_time_to_queue(seconds(15.299), 100));
    }
}
