use time::Duration;
use time::macros::datetime;
use uuid::Uuid;

use super::*;
use crate::aws::clean_rooms::BusyScope;
use crate::aws::ledger_table::Ledger;
use crate::choice::by_request;
use crate::handler::context::Lookup;
use crate::job::Job;
use crate::ledger::{Waiter, Waiters};

const NOW: OffsetDateTime = datetime!(2026-11-23 02:00 UTC);

fn ago(seconds: i64) -> OffsetDateTime {
    NOW - Duration::seconds(seconds)
}

/// A request for table 1, as of five seconds ago.
fn request() -> Request {
    Request::sample(1, "BATCH", "ours", ago(5))
}

/// A call for table 1, made by another invocation.
fn call(key: &str, seconds_ago: i64) -> Call {
    let request = Request::sample(1, "BATCH", key, ago(3_600));
    Call {
        attempt: Uuid::from_u128(u128::try_from(seconds_ago).unwrap()),
        called_at: ago(seconds_ago),
        choice: by_request(request.requested_type, request.type_source).unwrap(),
        request,
    }
}

/// With a job that this call started. Its start is reported until a time, if it is reported.
fn with_job(record: &Record, call: &Call, report_until: Option<OffsetDateTime>) -> Record {
    let job = Job {
        id: JobId::IdMappingJobId(call.request.idempotency_key.clone()),
        job_type: call.choice.job_type,
        started_at: call.called_at,
        answered_at: call.called_at,
    };
    record.job_started(call, &job, report_until, NOW)
}

fn claimed(call: &Call) -> Record {
    Record::default().claimed(call, call.called_at + Duration::minutes(1))
}

fn unknown(call: &Call) -> Record {
    claimed(call).outcome_unknown(call)
}

fn lookup(call: &Call, is_first: bool) -> Lookup {
    Lookup {
        attempt: call.attempt,
        is_first,
        not_found: NotFound::None,
    }
}

/// What is learned once the waiting requests, if there are any, were read.
async fn read(waiting: &[Request]) -> Learned {
    let timeout = std::time::Duration::from_secs(1);
    let item = Ledger::in_memory().read_waiters(timeout).await.unwrap();
    let waiter = |all: Waiters, request| all.joined(&Waiter::new(request, NOW));
    Learned {
        waiters: SlotWaiters::Read {
            current: waiting.iter().fold(Waiters::default(), waiter),
            item,
        },
        ..Learned::default()
    }
}

/// A step in a few words.
fn in_words(step: &Step) -> String {
    match step {
        Step::ReportStart(started) => format!("report {}", started.job.id.as_str()),
        Step::Covered(job) => format!("covered by {}", job.as_str()),
        Step::Superseded => "superseded".to_owned(),
        Step::Wait(wait) => {
            let error = wait.error.error_type.as_str();
            let seconds = wait
                .not_before
                .map_or(0, |until| (until - NOW).whole_seconds());
            format!("wait {error} {:?} {seconds}", wait.wait_for)
        }
        Step::Reconcile(unknown) => format!("reconcile {}", unknown.call.request.idempotency_key),
        Step::ReadWaiters => "read waiters".to_owned(),
        Step::Start(given_up) => {
            let keys = given_up.iter().map(|given_up| &given_up.call.request);
            let keys = keys.map(|request| &*request.idempotency_key);
            format!("start [{}]", keys.collect::<Vec<_>>().join(" "))
        }
    }
}

fn step(record: &Record, request: &Request, learned: &Learned) -> String {
    let context = Context {
        settle_time: None,
        min_interval: None,
        reports_starts: true,
        learned,
    };
    in_words(&next_step(record, request, &context, NOW))
}

#[tokio::test]
async fn the_record_decides_first() {
    let (old, left) = (call("old", 300), call("left", 70));
    let covering = call("covering", 3);
    let live = call("live", 10);
    let own = Call {
        request: request(),
        ..call("ours", 100)
    };
    let empty = Record::default();
    let learned = read(&[]).await;
    for (record, expected) in [
        (empty.clone(), "start []"),
        (with_job(&empty, &old, None), "start []"),
        (with_job(&empty, &covering, None), "covered by covering"),
        (with_job(&empty, &own, None), "covered by ours"),
        // Its own start is reported at once, another one's after the deadline of its invocation.
        (with_job(&empty, &own, Some(ago(-60))), "report ours"),
        (with_job(&empty, &old, Some(ago(-60))), "start []"),
        (with_job(&empty, &old, Some(ago(1))), "start []"),
        (with_job(&empty, &old, Some(ago(2))), "report old"),
        // A claim that is live, one that expired, and a call whose job was looked for in vain.
        (claimed(&live), "wait SlotBusy Other 0"),
        (claimed(&left), "reconcile left"),
        (unknown(&old), "reconcile old"),
        // What covers goes before what is claimed.
        (
            with_job(&claimed(&live), &covering, None).claimed(&live, ago(-60)),
            "covered by covering",
        ),
    ] {
        assert_eq!(step(&record, &request(), &learned), expected, "{record:?}");
    }
}

#[tokio::test]
async fn a_start_is_reported_once_in_an_invocation_unless_it_is_the_requests_own() {
    let old = call("old", 300);
    let record = with_job(&Record::default(), &old, Some(ago(2)));
    let mut learned = read(&[]).await;
    learned.reported.push(JobId::IdMappingJobId("old".into()));
    assert_eq!(step(&record, &request(), &learned), "start []");
    assert_eq!(step(&record, &old.request, &learned), "report old");

    // This invocation found the job.
    let record = with_job(&Record::default(), &old, Some(ago(-60)));
    let mut learned = read(&[]).await;
    let found = record.unreported(&old.request, NOW, |_| false).remove(0);
    learned.note_started(&found, None);
    assert_eq!(step(&record, &request(), &learned), "report old");

    let nobody_is_told = Context {
        settle_time: None,
        min_interval: None,
        reports_starts: false,
        learned: &learned,
    };
    let next = next_step(&record, &request(), &nobody_is_told, NOW);
    assert_eq!(in_words(&next), "start []");
}

#[tokio::test]
async fn a_change_settles_before_a_job_is_started_and_not_before_it_is_covered() {
    let learned = read(&[]).await;
    let settle_time = Period::parse("5m").unwrap();
    let context = Context {
        settle_time: Some(&settle_time),
        min_interval: None,
        reports_starts: true,
        learned: &learned,
    };
    let covering = with_job(&Record::default(), &call("covering", 3), None);
    for (record, expected) in [
        (Record::default(), "wait Settling Other 300"),
        (claimed(&call("live", 10)), "wait Settling Other 300"),
        (unknown(&call("old", 300)), "wait Settling Other 300"),
        (covering, "covered by covering"),
    ] {
        let next = next_step(&record, &request(), &context, NOW);
        assert_eq!(in_words(&next), expected);
    }
}

#[tokio::test]
async fn a_call_is_given_up_after_two_looks_and_five_minutes() {
    let (old, young, left) = (call("old", 301), call("young", 300), call("left", 302));
    let waits = "wait OutcomeUnknown Other 0";
    let one = unknown(&old);
    let two = unknown(&old)
        .claimed(&young, ago(200))
        .outcome_unknown(&young);
    let with_claim = unknown(&old).claimed(&left, ago(200));
    for (record, lookups, expected) in [
        (&one, vec![lookup(&old, true)], waits),
        (&one, vec![lookup(&old, false)], "start [old]"),
        (&one, vec![lookup(&young, false)], "reconcile old"),
        (&two, vec![lookup(&old, false)], "reconcile young"),
        (
            &two,
            vec![lookup(&old, false), lookup(&young, false)],
            waits,
        ),
        (&with_claim, vec![], "reconcile left"),
        (&with_claim, vec![lookup(&left, true)], "reconcile old"),
        (
            &with_claim,
            vec![lookup(&left, true), lookup(&old, false)],
            waits,
        ),
        (
            &with_claim,
            vec![lookup(&left, false), lookup(&old, false)],
            "start [left old]",
        ),
    ] {
        let mut learned = read(&[]).await;
        learned.lookups = lookups;
        assert_eq!(step(record, &request(), &learned), expected);
    }
}

#[tokio::test]
async fn a_job_is_started_where_the_slot_may_be_free_and_no_older_request_waits() {
    let record = Record::default();
    let waiting = |table, since| Request {
        waiting_since: Some(ago(since)),
        ..Request::sample(table, "BATCH", "theirs", ago(3_600))
    };
    let refused = |learned: &mut Learned, table, scope| {
        let target = Request::sample(table, "BATCH", "x", NOW).target;
        learned.slot.refuse(&target, scope, "busy");
    };
    let for_slot = "wait SlotBusy Slot 0";
    assert_eq!(
        step(&record, &request(), &Learned::default()),
        "read waiters"
    );
    let unreadable = Learned {
        waiters: SlotWaiters::Unknown,
        ..Learned::default()
    };
    assert_eq!(step(&record, &request(), &unreadable), "start []");

    // Another table's request has waited longer; one of the same table is served by this one's job.
    let mut learned = read(&[waiting(2, 60)]).await;
    assert_eq!(step(&record, &request(), &learned), for_slot);
    assert_eq!(step(&record, &waiting(1, 61), &learned), "start []");
    refused(&mut learned, 2, BusyScope::Table);
    assert_eq!(step(&record, &request(), &learned), "start []");
    let own = read(&[waiting(1, 60)]).await;
    assert_eq!(step(&record, &request(), &own), "start []");

    // The table that is probed lets no request pass.
    let mut probed = read(&[waiting(2, 60)]).await;
    probed.probed = Some(request().target);
    assert_eq!(step(&record, &request(), &probed), "start []");

    // The slot is known to be busy for this table, or for all of them.
    for (table, scope, expected) in [
        (1, BusyScope::Table, for_slot),
        (2, BusyScope::Table, "start []"),
        (2, BusyScope::Account, for_slot),
    ] {
        let mut learned = read(&[]).await;
        refused(&mut learned, table, scope);
        assert_eq!(
            step(&record, &request(), &learned),
            expected,
            "{table} {scope:?}"
        );
    }
    let mut learned = read(&[]).await;
    refused(&mut learned, 2, BusyScope::Table);
    refused(&mut learned, 3, BusyScope::Table);
    assert_eq!(step(&record, &request(), &learned), for_slot);

    for (calls, expected) in [(1, "start []"), (2, "wait ServiceUnavailable Other 0")] {
        let mut learned = read(&[]).await;
        learned.unavailable_calls = calls;
        assert_eq!(step(&record, &request(), &learned), expected);
    }
}

#[tokio::test]
async fn a_job_starts_no_sooner_than_min_interval_after_the_previous_one() {
    let learned = read(&[]).await;
    let (one_hour, settle_time) = (Period::parse("1h").unwrap(), Period::parse("5m").unwrap());
    let next = |record: &Record, request: &Request, settle_time| {
        let context = Context {
            settle_time,
            min_interval: Some(&one_hour),
            reports_starts: true,
            learned: &learned,
        };
        in_words(&next_step(record, request, &context, NOW))
    };
    let of_type = |requested_type: &str| Request::sample(1, requested_type, "ours", ago(5));
    let urgent = Request {
        urgent: true,
        ..request()
    };
    let after = |requested_type: &str, seconds_ago| {
        let request = Request::sample(1, requested_type, "other", ago(7_200));
        let call = Call {
            choice: by_request(request.requested_type, request.type_source).unwrap(),
            request,
            ..call("other", seconds_ago)
        };
        with_job(&Record::default(), &call, None)
    };
    let unknown_call = call("old", 10);
    let with_unknown = after("BATCH", 600)
        .claimed(&unknown_call, ago(5))
        .outcome_unknown(&unknown_call);
    for (record, request, expected) in [
        (Record::default(), request(), "start []"),
        (after("BATCH", 600), request(), "wait TooSoon Slot 3000"),
        (
            after("INCREMENTAL", 3_599),
            request(),
            "wait TooSoon Slot 1",
        ),
        (after("SERVICE_DEFAULT", 3_600), request(), "start []"),
        (
            after("BATCH", 600),
            of_type("AUTO"),
            "wait TooSoon Slot 3000",
        ),
        // Deletions and other jobs do not hold each other back.
        (after("DELETE_ONLY", 600), request(), "start []"),
        (after("BATCH", 600), of_type("DELETE_ONLY"), "start []"),
        (
            after("DELETE_ONLY", 600),
            of_type("DELETE_ONLY"),
            "wait TooSoon Slot 3000",
        ),
        (after("BATCH", 600), urgent.clone(), "start []"),
        // It is covered at once.
        (after("BATCH", 3), request(), "covered by other"),
        // What an earlier call did comes first.
        (with_unknown, request(), "reconcile old"),
    ] {
        assert_eq!(next(&record, &request, None), expected, "{request:?}");
    }
    // It waits for the longer of both.
    for (seconds_ago, expected) in [
        (600, "wait TooSoon Slot 3000"),
        (3_400, "wait Settling Other 300"),
    ] {
        let next = next(&after("BATCH", seconds_ago), &request(), Some(&settle_time));
        assert_eq!(next, expected);
    }
}

#[tokio::test]
async fn an_urgent_request_lets_no_other_pass_and_a_retry_that_was_done_is_dropped() {
    let waiting = Request {
        waiting_since: Some(ago(600)),
        ..Request::sample(2, "BATCH", "older", ago(700))
    };
    let learned = read(std::slice::from_ref(&waiting)).await;
    let urgent = Request {
        urgent: true,
        ..request()
    };
    let empty = Record::default();
    assert_eq!(step(&empty, &request(), &learned), "wait SlotBusy Slot 0");
    assert_eq!(step(&empty, &urgent, &learned), "start []");
    // An urgent one that waits goes before an older one that does not hurry.
    let hurries = Request {
        urgent: true,
        waiting_since: Some(ago(60)),
        ..Request::sample(3, "BATCH", "urgent", ago(60))
    };
    let learned = read(&[hurries]).await;
    assert_eq!(step(&empty, &waiting, &learned), "wait SlotBusy Slot 0");

    let retry = Request {
        retry_of: Some("one".to_owned()),
        ..request()
    };
    let job = Job {
        id: JobId::IdMappingJobId("one".into()),
        job_type: None,
        started_at: ago(100),
        answered_at: ago(100),
    };
    let failed = |max_attempts| empty.attempt_failed(&retry, &job, "one", max_attempts);
    let learned = read(&[]).await;
    assert_eq!(step(&failed(2), &retry, &learned), "start []");
    assert_eq!(step(&failed(1), &retry, &learned), "superseded");
}
