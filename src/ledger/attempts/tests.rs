use time::Duration;
use time::macros::datetime;

use super::*;
use crate::choice::by_request;
use crate::job::{Call, JobEnd, JobId};

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

/// A record in which jobs of this request failed one after the other.
fn failed(name: &str, ids: &[&str], max_attempts: u32) -> Record {
    ids.iter().fold(Record::default(), |record, id| {
        record.attempt_failed(&request(name), &job(id, 0), id, max_attempts)
    })
}

/// The number of a failed job, and whether its request is tried again.
fn attempt(record: &Record, name: &str, id: &str) -> Option<(u32, bool)> {
    let attempt = record.failed_attempt(&request(name), id)?;
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
        let record = failed("name", ids, max_attempts);
        let of = |id: &&str| attempt(&record, "name", id);
        let found: Vec<_> = ["one", "two"].iter().filter_map(of).collect();
        assert_eq!(found, expected, "{ids:?} of {max_attempts}");
        assert_eq!(attempt(&record, "other", "one"), None);
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
        let record = failed("name", ids, max_attempts);
        let retry = retry("name", of);
        assert_eq!(record.is_superseded(&retry), superfluous, "{ids:?} {of}");
        // It is not a retry, or it is another request.
        assert!(!record.is_superseded(&request("name")));
        assert!(!record.is_superseded(&self::retry("other", of)));
    }
}

#[test]
fn after_its_last_job_or_a_success_a_request_is_new() {
    let given_up = failed("name", &["one", "two"], 2);
    let again = given_up.attempt_failed(&request("name"), &job("three", 60), "three", 2);
    assert_eq!(attempt(&again, "name", "three"), Some((1, true)));
    assert!(again.is_superseded(&retry("name", "two")));

    let started = job("two", 10);
    let call = Call {
        attempt: Uuid::from_u128(1),
        called_at: started.started_at,
        choice: by_request(request("name").requested_type, request("name").type_source).unwrap(),
        request: request("name"),
    };
    let now = T0 + Duration::hours(1);
    let succeeded = failed("name", &["one"], 3)
        .job_started(&call, &started, None, now)
        .job_ended(&started, "two-at-entity-resolution", JobEnd::Succeeded, now);
    assert_eq!(attempt(&succeeded, "name", "one"), None);
}

#[test]
fn another_request_with_the_same_name_has_attempts_of_its_own() {
    let record = failed("nightly", &["one"], 2);
    let tomorrow = Request {
        time: T0 + Duration::days(1),
        ..request("nightly")
    };
    let job = job("two", 24 * 60 + 1);
    let record = record.attempt_failed(&tomorrow, &job, "two", 2);
    let attempt = record.failed_attempt(&tomorrow, "two").unwrap();
    assert_eq!((attempt.number, attempt.will_retry), (1, true));
}

#[test]
fn a_retry_is_enqueued_once() {
    let is_queued = |record: &Record, id: &str| {
        let attempt = record.failed_attempt(&request("name"), id);
        attempt.unwrap().is_queued
    };
    let record = failed("name", &["one"], 3);
    assert!(!is_queued(&record, "one"));
    let record = record.retry_queued(&request("other"));
    assert!(!is_queued(&record, "one"));
    let record = record.retry_queued(&request("name"));
    assert!(is_queued(&record, "one"));
    let record = record.attempt_failed(&request("name"), &job("two", 0), "two", 3);
    assert!(is_queued(&record, "one") && !is_queued(&record, "two"));
}

#[test]
fn the_newest_failures_are_kept() {
    let name = |number: usize| format!("name-{number}");
    let record = (0..=MAX_FAILURES).fold(Record::default(), |record, number| {
        record.attempt_failed(&request(&name(number)), &job("one", 0), "one", 2)
    });
    assert_eq!(record.failures.len(), MAX_FAILURES);
    assert_eq!(attempt(&record, &name(0), "one"), None);
    assert!(attempt(&record, &name(MAX_FAILURES), "one").is_some());
}
