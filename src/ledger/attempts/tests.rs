use time::Duration;
use time::macros::datetime;

use super::*;
use crate::job::JobId;

const T0: OffsetDateTime = datetime!(2026-11-23 02:00 UTC);

fn request(name: &str) -> Request {
    Request::sample(1, "BATCH", name, T0 - Duration::seconds(5))
}

/// A job that started so many minutes later.
fn job(id: &str, minutes: i64) -> Job {
    let started_at = T0 + Duration::minutes(minutes);
    Job {
        id: JobId::IdMappingJobId(id.into()),
        job_type: None,
        started_at,
        answered_at: started_at,
    }
}

/// A attempts in which jobs of this request failed one after the other.
fn failed(name: &str, ids: &[&str], max_attempts: u32) -> Attempts {
    let mut attempts = Attempts::default();
    for id in ids {
        attempts.add(&request(name), &job(id, 0), id, max_attempts);
    }
    attempts
}

/// The number of a failed job, and whether its request is tried again.
fn attempt(attempts: &Attempts, name: &str, id: &str) -> Option<(u32, bool)> {
    let attempt = attempts.get(&request(name), id)?;
    Some((attempt.number, attempt.will_retry))
}

fn retry(name: &str, failed: &str) -> Request {
    Request {
        retry_of: Some(failed.to_owned()),
        ..request(name)
    }
}

#[test]
fn a_request_is_tried_again_until_it_has_had_its_attempts() {
    for (ids, max_attempts, expected) in [
        (&["one"][..], 1, &[(1, false)][..]),
        (&["one"], 2, &[(1, true)]),
        (&["one", "two"], 2, &[(1, true), (2, false)]),
        (&["one", "two"], 3, &[(1, true), (2, true)]),
        // A failure is seen again, in any order.
        (&["one", "two", "one"], 3, &[(1, true), (2, true)]),
        (&["one", "one"], 2, &[(1, true)]),
    ] {
        let attempts = failed("name", ids, max_attempts);
        let of = |id: &&str| attempt(&attempts, "name", id);
        let found: Vec<_> = ["one", "two"].iter().filter_map(of).collect();
        assert_eq!(found, expected, "{ids:?} of {max_attempts}");
        assert_eq!(attempt(&attempts, "other", "one"), None);
    }
}

#[test]
fn a_retry_is_superfluous_once_a_later_job_failed_or_the_last_one() {
    for (ids, max_attempts, of, superfluous) in [
        (&[][..], 3, "one", false),
        (&["one"], 3, "one", false),
        (&["one", "two"], 3, "one", true),
        (&["one", "two"], 3, "two", false),
        (&["one", "two"], 2, "one", true),
        (&["one", "two"], 2, "two", true),
        (&["one"], 3, "forged", true),
    ] {
        let attempts = failed("name", ids, max_attempts);
        let retry = retry("name", of);
        assert_eq!(attempts.is_superseded(&retry), superfluous, "{ids:?} {of}");
        // It is not in the queue, or it is another request.
        assert!(!attempts.is_superseded(&request("name")));
        assert!(!attempts.is_superseded(&self::retry("other", of)));
    }
}

#[test]
fn after_its_last_job_a_request_is_new() {
    let mut attempts = failed("name", &["one", "two"], 2);
    attempts.add(&request("name"), &job("three", 60), "three", 2);
    assert_eq!(attempt(&attempts, "name", "three"), Some((1, true)));
    assert!(attempts.is_superseded(&retry("name", "two")));
}

#[test]
fn another_request_with_the_same_name_has_attempts_of_its_own() {
    let mut attempts = failed("nightly", &["one"], 2);
    let tomorrow = Request {
        time: T0 + Duration::days(1),
        ..request("nightly")
    };
    attempts.add(&tomorrow, &job("two", 24 * 60 + 1), "two", 2);
    let attempt = attempts.get(&tomorrow, "two").unwrap();
    assert_eq!((attempt.number, attempt.will_retry), (1, true));
}

#[test]
fn a_retry_is_enqueued_once() {
    let is_queued = |attempts: &Attempts, id: &str| {
        let attempt = attempts.get(&request("name"), id);
        attempt.unwrap().is_queued
    };
    let mut attempts = failed("name", &["one"], 3);
    attempts.set_queued(&request("other"));
    assert!(!is_queued(&attempts, "one"));
    attempts.set_queued(&request("name"));
    assert!(is_queued(&attempts, "one"));
    attempts.add(&request("name"), &job("two", 0), "two", 3);
    assert!(is_queued(&attempts, "one") && !is_queued(&attempts, "two"));
}

#[test]
fn the_newest_requests_are_kept() {
    let name = |number: usize| format!("name-{number}");
    let mut attempts = Attempts::default();
    for number in 0..=MAX_REQUESTS {
        attempts.add(&request(&name(number)), &job("one", 0), "one", 2);
    }
    assert_eq!(attempts.0.len(), MAX_REQUESTS);
    assert_eq!(attempt(&attempts, &name(0), "one"), None);
    assert!(attempt(&attempts, &name(MAX_REQUESTS), "one").is_some());
}

#[test]
fn a_copy_that_waited_before_the_failed_job_started_is_superfluous() {
    let mut attempts = Attempts::default();
    attempts.add(&request("name"), &job("one", 10), "one", 3);
    for (minutes, superfluous) in [(9, true), (10, true), (11, false)] {
        let copy = Request {
            waiting_since: Some(T0 + Duration::minutes(minutes)),
            ..request("name")
        };
        assert_eq!(attempts.is_superseded(&copy), superfluous, "{minutes}");
    }
}
