//! The record in a ledger item, which this or another version of the function wrote: the record of a table, or the
//! requests that wait for the slot.

use std::sync::LazyLock;

use id_mapping_populator::input::{Content, Payload};
use id_mapping_populator::job::{JobEnd, StartedJob, TrackedId};
use id_mapping_populator::job_type::JobType;
use id_mapping_populator::ledger::{Record, Verdict, Waiter, Waiters};
use id_mapping_populator::message as waiting;
use id_mapping_populator::request::Request;
use serde_json::json;
use uuid::Uuid;

use crate::function::{NOW, WITHOUT_TABLES};
use crate::message;

/// The requests for which the rules are checked: the request of the record in the corpus, then one of each other job
/// type.
static REQUESTS: LazyLock<Vec<Request>> = LazyLock::new(|| {
    let payloads = [
        json!({ "jobType": "INCREMENTAL", "requestId": "4b8f2f4e-7d1b-4c7e-9d55-0a6b1c2d3e01" }),
        json!({ "jobType": "BATCH" }),
        json!({ "jobType": "DELETE_ONLY", "time": "0000-01-01T00:00:00Z" }),
        json!({ "jobType": "SERVICE_DEFAULT" }),
        json!({ "jobType": "AUTO", "time": "2026-11-23T02:00:00Z" }),
    ];
    payloads.into_iter().map(request).collect()
});

/// Checks a record.
pub fn check(bytes: &[u8]) {
    if let Ok(waiters) = serde_json::from_slice::<Waiters>(bytes) {
        check_waiters(&waiters);
    }
    let Ok(record) = serde_json::from_slice::<Record>(bytes) else {
        return;
    };
    let written = written(&record);
    let again: Record = serde_json::from_str(&written).expect("a written record can be read");
    assert_eq!(again, record);
    assert_eq!(self::written(&again), written);

    let mut jobs: Vec<_> = record.recent().map(|job| &job.id).collect();
    jobs.dedup();
    for id in jobs {
        record.is_ended(id.as_str());
        record.reported(id);
        record.is_unannounced(id);
        record.start_announced(id).tracking_not_needed(id);
        record.tracked(&TrackedId {
            id: id.clone(),
            attempt: Uuid::from_u128(1),
        });
    }
    for job in record.recent() {
        record.job_ended(job, "other", JobEnd::Failed, NOW);
        record.job_ended(job, "other", JobEnd::Succeeded, NOW);
    }
    for call in record.open_calls() {
        let released = record.claim_released(call.attempt);
        assert!(
            released
                .open_calls()
                .all(|open| open.attempt != call.attempt)
        );
        record.outcome_unknown(call);
    }
    record.last_batch();
    for request in REQUESTS.iter() {
        check_rules(&record, request);
    }
    let unreported = record.unreported(&REQUESTS[0], NOW, |_| false);
    // The function keeps four starts, and the request's own start may be one more.
    for started in unreported.iter().rev().take(5) {
        check_rules(&record, &started.request);
        check_message(started);
    }
}

/// Checks that the verdict is the same each time, and that an empty record allows any request.
fn check_rules(record: &Record, request: &Request) {
    let verdict = record.verdict(request, NOW);
    assert_eq!(verdict, record.verdict(request, NOW));
    if *record == Record::default() {
        assert_eq!(verdict, Verdict::Free);
    }
    if let Verdict::Known(id) = &verdict {
        assert!(record.recent().any(|job| job.id == *id));
    }
}

/// Checks that a waiting request is in the item of the slot once, and is removed when it is served, for any item.
fn check_waiters(waiters: &Waiters) {
    let json = |waiters: &Waiters| serde_json::to_string(waiters).expect("it can be written");
    let again: Waiters =
        serde_json::from_str(&json(waiters)).expect("a written record can be read");
    assert_eq!(json(&again), json(waiters));
    for request in REQUESTS.iter() {
        waiters.ahead_of(request, NOW, |_| false);
        let of_it = |waiter: &&Waiter| *waiter.target() == request.target;
        let joined = waiters.expired(NOW).joined(&Waiter::new(request, NOW));
        assert!(joined.live(NOW).any(|waiter| of_it(&waiter)));
        for waiter in joined.live(NOW).filter_map(Waiter::request) {
            assert!(waiter.waiting_since.is_some());
        }
        let remaining = joined.left(request);
        assert!(remaining.live(NOW).filter(of_it).count() < joined.live(NOW).filter(of_it).count());
        joined.served(&request.target, Some(JobType::Batch));
        joined.refused_alone(&request.target, NOW);
    }
}

/// Checks that the message of a job that is not announced can be read again or is refused.
fn check_message(started: &StartedJob) {
    let body = waiting::message(&started.request, Some(NOW), Some(started));
    message::check(body.as_bytes());
}

fn written(record: &Record) -> String {
    serde_json::to_string(record).expect("a record can be written")
}

fn request(mut payload: serde_json::Value) -> Request {
    payload["membershipIdentifier"] = "11111111-2222-4333-8444-555555555555".into();
    payload["idMappingTableIdentifier"] = "aaaaaaaa-0001-4000-8000-000000000001".into();
    match WITHOUT_TABLES.read_one(&Payload::from_text(&payload.to_string())) {
        Content::Requests(mut requests) if requests.len() == 1 => requests.remove(0),
        other => panic!("{payload} is read as {other:?}"),
    }
}
