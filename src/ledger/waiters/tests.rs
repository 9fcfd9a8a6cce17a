use time::macros::datetime;

use super::*;

const T0: OffsetDateTime = datetime!(2026-11-23 02:00 UTC);

fn seconds(count: i64) -> OffsetDateTime {
    T0 + Duration::seconds(count)
}

fn target(table: usize) -> Target {
    Request::sample(table, "BATCH", "name", T0).target
}

/// A request for a table that waits since a time.
fn request(table: usize, requested_type: &str, since: i64) -> Request {
    Request {
        waiting_since: Some(seconds(since)),
        retry_interval: Some(Duration::minutes(10)),
        ..Request::sample(table, requested_type, "name", T0)
    }
}

fn waiting(requests: &[Request], now: OffsetDateTime) -> Waiters {
    requests.iter().fold(Waiters::default(), |all, one| {
        all.joined(&Waiter::new(one, now))
    })
}

const NO_TABLE: fn(&Target) -> bool = |_| false;

#[test]
fn a_request_lets_only_an_older_one_pass_that_its_job_does_not_cover() {
    let waiters = waiting(
        &[request(1, "INCREMENTAL", 10), request(2, "DELETE_ONLY", 20)],
        seconds(60),
    );
    for (table, requested_type, since, ahead) in [
        (3, "BATCH", 5, None),
        (3, "BATCH", 10, None),
        (3, "BATCH", 15, Some(1)),
        (3, "BATCH", 30, Some(1)),
        // Its own table's turn, by a job that covers what waits.
        (1, "INCREMENTAL", 60, None),
        (1, "BATCH", 60, None),
        (1, "AUTO", 60, Some(1)),
        (1, "SERVICE_DEFAULT", 60, Some(1)),
        (1, "DELETE_ONLY", 60, Some(1)),
        // Its turn comes after that of the first table.
        (2, "DELETE_ONLY", 60, Some(1)),
        (2, "BATCH", 60, Some(1)),
    ] {
        let request = request(table, requested_type, since);
        let found = waiters.ahead_of(&request, seconds(60), NO_TABLE);
        let expected = ahead.map(target);
        assert_eq!(
            found.map(Waiter::target),
            expected.as_ref(),
            "{requested_type} of {table} since {since}"
        );
    }
    // A request lets no table pass that was refused in this invocation.
    let later = request(3, "BATCH", 30);
    let found = waiters.ahead_of(&later, seconds(60), |table| *table == target(1));
    assert_eq!(found.map(Waiter::target), Some(&target(2)));
    let refused = waiters
        .refused_alone(&target(1), seconds(60))
        .refused_alone(&target(2), seconds(60));
    assert_eq!(refused.ahead_of(&later, seconds(60), NO_TABLE), None);
}

#[test]
fn a_waiter_that_is_not_renewed_for_two_retry_intervals_expires() {
    let waiters = waiting(&[request(1, "BATCH", 0)], seconds(100));
    let later = request(2, "BATCH", 50);
    let is_let_pass = |now| waiters.ahead_of(&later, now, NO_TABLE).is_some();
    assert!(is_let_pass(seconds(100 + 1_201)));
    assert!(!is_let_pass(seconds(100 + 1_202)));
    assert!(is_let_pass(seconds(99)), "within a clock's difference");
    assert!(!is_let_pass(seconds(98)), "a clock was ahead");
    assert_eq!(waiters.expired(seconds(1_301)), waiters);
    assert_eq!(waiters.expired(seconds(1_302)), Waiters::default());
    // Of one that was received once the interval is not known.
    let mut once = request(1, "BATCH", 0);
    once.retry_interval = None;
    let waiters = waiting(&[once.clone()], seconds(100));
    assert!(
        waiters
            .ahead_of(&later, seconds(100 + 2_401), NO_TABLE)
            .is_some()
    );
    assert!(
        waiters
            .ahead_of(&later, seconds(100 + 2_402), NO_TABLE)
            .is_none()
    );
    // It is learned, and not forgotten.
    let waiters = waiters.joined(&Waiter::new(&request(1, "BATCH", 0), seconds(200)));
    let waiters = waiters.joined(&Waiter::new(&once, seconds(300)));
    assert!(
        waiters
            .ahead_of(&later, seconds(300 + 1_202), NO_TABLE)
            .is_none()
    );
}

#[test]
fn requests_of_one_table_for_one_type_wait_as_the_oldest_of_them() {
    let waiters = waiting(
        &[
            request(1, "BATCH", 30),
            request(2, "BATCH", 20),
            request(1, "BATCH", 10),
            request(1, "BATCH", 40),
        ],
        seconds(60),
    );
    let since: Vec<OffsetDateTime> = waiters.waiting.iter().map(|waiter| waiter.since).collect();
    assert_eq!(since, [seconds(10), seconds(20)]);
    let oldest = waiters.waiting[0].request().unwrap();
    assert_eq!(oldest.waiting_since, Some(seconds(10)));
}

#[test]
fn a_job_serves_the_waiters_that_it_covers_and_a_rejection_removes_its_own() {
    let all = [
        request(1, "BATCH", 1),
        request(1, "INCREMENTAL", 2),
        request(1, "DELETE_ONLY", 3),
        request(2, "INCREMENTAL", 4),
    ];
    let waiters = waiting(&all, seconds(60));
    let left = |waiters: Waiters| -> Vec<i64> {
        let since = waiters.waiting.iter().map(|waiter| waiter.since - T0);
        since.map(Duration::whole_seconds).collect()
    };
    assert_eq!(
        left(waiters.served(&target(1), Some(JobType::Batch))),
        [3, 4]
    );
    assert_eq!(
        left(waiters.served(&target(1), Some(JobType::Incremental))),
        [1, 3, 4]
    );
    assert_eq!(left(waiters.served(&target(1), None)), [1, 2, 3, 4]);
    assert_eq!(left(waiters.left(&all[1])), [1, 3, 4]);
}

#[test]
fn a_waiting_request_is_known_by_its_key_and_its_time() {
    let named = |name: &str, time| Request {
        retry_interval: Some(Duration::minutes(10)),
        ..Request::sample(1, "BATCH", name, time)
    };
    let first = named("first", T0);
    let waiters = waiting(std::slice::from_ref(&first), seconds(60));
    let has = |waiters: &Waiters, request: &Request| waiters.has(request, None, seconds(60));
    assert!(has(&waiters, &first));
    let other_table = Request {
        target: target(2),
        ..first.clone()
    };
    let other_type = Request::sample(1, "INCREMENTAL", "first", T0);
    for other in [
        named("other", T0),
        named("first", seconds(1)),
        other_table,
        other_type,
    ] {
        assert!(!has(&waiters, &other), "{other:?}");
    }
    // Not after its turn, and not after two retry intervals.
    assert!(!has(
        &waiters.served(&first.target, Some(JobType::Batch)),
        &first
    ));
    assert!(!has(&waiters.left(&first), &first));
    assert!(!waiters.has(&first, None, seconds(60 + 1_202)));
    // An urgent request needs a message that says so.
    let urgent = Request {
        urgent: true,
        ..first.clone()
    };
    assert!(!has(&waiters, &urgent));
    // If a job of it started since then and failed, it may not wait any more.
    for (start, expected) in [(59, true), (60, false), (61, false)] {
        let has = waiters.has(&first, Some(seconds(start)), seconds(100));
        assert_eq!(has, expected, "{start}");
    }
    // The newest 64 of a table and type are known.
    let more = |count: usize| {
        (0..count).fold(waiters.clone(), |all, number| {
            all.joined(&Waiter::new(&named(&number.to_string(), T0), seconds(60)))
        })
    };
    assert!(has(&more(MAX_KEYS - 1), &first));
    assert!(!has(&more(MAX_KEYS), &first));
}

#[test]
fn the_oldest_200_are_kept_and_no_long_request_is() {
    let all: Vec<Request> = (0..201)
        .map(|number| request(number, "BATCH", 1_000 - number as i64))
        .collect();
    let waiters = waiting(&all, seconds(2_000));
    assert_eq!(waiters.waiting.len(), 200);
    assert_eq!(waiters.waiting[0].target, target(200));
    assert_eq!(waiters.waiting[199].target, target(1));
    let json = serde_json::to_string(&waiters).unwrap();
    assert!(json.len() < 390_000, "{}", json.len());
    let read: Waiters = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), json);
    let mut long = request(1, "BATCH", 1);
    long.idempotency_key = "n".repeat(MAX_REQUEST).into();
    assert_eq!(Waiter::new(&long, T0).request(), None);
}

#[test]
fn a_table_that_was_refused_alone_is_passed_over_and_the_others_keep_their_turn() {
    let waiters = waiting(
        &[request(1, "BATCH", 10), request(2, "BATCH", 20)],
        seconds(60),
    );
    let waiters = waiters.refused_alone(&target(1), seconds(60));
    let later = request(3, "BATCH", 30);
    let ahead = waiters.ahead_of(&later, seconds(60), NO_TABLE);
    assert_eq!(ahead.map(Waiter::target), Some(&target(2)));
    // It may have been refused because the slot was busy: after two retry intervals it is let pass again.
    let renewed = [request(1, "BATCH", 10)];
    let waiters = renewed.iter().fold(waiters, |waiters, request| {
        waiters.joined(&Waiter::new(request, seconds(1_200)))
    });
    for (now, table) in [(1_261, 2), (1_262, 1)] {
        let ahead = waiters.ahead_of(&later, seconds(now), NO_TABLE);
        assert_eq!(ahead.map(Waiter::target), Some(&target(table)), "{now}");
    }
}

/// A message that a sender put in the queue does not tell since when it waits.
#[test]
fn a_request_that_is_tried_in_its_place_waits_as_long_as_its_message_does() {
    let mut sent = request(1, "BATCH", 0);
    sent.waiting_since = None;
    sent.sent_at = Some(seconds(10));
    let tried = Waiter::new(&sent, seconds(60)).request().unwrap();
    assert_eq!(tried.waiting_since, Some(seconds(10)));
}

#[test]
fn what_is_urgent_goes_before_what_is_older() {
    let urgent = |table, since| Request {
        urgent: true,
        ..request(table, "BATCH", since)
    };
    let waiters = waiting(
        &[
            request(1, "BATCH", 10),
            urgent(2, 20),
            request(2, "BATCH", 5),
        ],
        seconds(60),
    );
    let ahead_of = |request: &Request| {
        let found = waiters.ahead_of(request, seconds(60), NO_TABLE);
        found.map(Waiter::target).cloned()
    };
    assert_eq!(ahead_of(&request(1, "BATCH", 10)), Some(target(2)));
    assert_eq!(ahead_of(&urgent(3, 30)), Some(target(2)));
    assert_eq!(ahead_of(&urgent(3, 4)), None);
    // Its job serves the urgent request of its table.
    assert_eq!(ahead_of(&request(2, "BATCH", 40)), None);
    // The urgent one is tried for the waiter, whichever came first.
    let tried = waiters.live(seconds(60)).next().and_then(Waiter::request);
    assert!(tried.unwrap().urgent);
}

#[test]
fn a_job_holds_back_the_waiters_of_its_table_that_it_does_not_cover() {
    let urgent = Request {
        urgent: true,
        ..request(1, "AUTO", 30)
    };
    let all = [
        request(1, "SERVICE_DEFAULT", 10),
        request(1, "DELETE_ONLY", 20),
        urgent,
        request(2, "BATCH", 40),
    ];
    let waiters = waiting(&all, seconds(60));
    let held_back = |sent, now| {
        let waiters = waiters.held_back(&target(1), Some(sent), seconds(100));
        let all = waiters.waiting.iter();
        let held_back = all.filter(|waiter| !waiter.may_start(seconds(now)));
        let types = held_back.map(|waiter| waiter.requested_type.as_str());
        types.collect::<Vec<_>>()
    };
    assert_eq!(held_back(JobType::Incremental, 99), ["SERVICE_DEFAULT"]);
    assert_eq!(held_back(JobType::DeleteOnly, 99), ["DELETE_ONLY"]);
    assert!(held_back(JobType::Incremental, 100).is_empty());
}

#[test]
fn an_urgent_request_keeps_its_place_when_another_one_is_held_back() {
    let urgent = Request {
        urgent: true,
        ..request(1, "BATCH", 10)
    };
    let held_back =
        Waiter::new(&request(1, "BATCH", 20), seconds(60)).held_back(Some(seconds(100)));
    let waiters = waiting(&[urgent], seconds(60)).joined(&held_back);
    let ahead = waiters.ahead_of(&request(3, "BATCH", 5), seconds(61), NO_TABLE);
    assert_eq!(ahead.map(Waiter::target), Some(&target(1)));
}

#[test]
fn the_keys_of_many_waiters_are_bounded() {
    let all: Vec<Request> = (0..200)
        .flat_map(|table| {
            (0..20).map(move |name| Request::sample(table, "BATCH", &format!("{name}"), T0))
        })
        .collect();
    let waiters = waiting(&all, seconds(60));
    let keys: usize = waiters.waiting.iter().map(|waiter| waiter.keys.len()).sum();
    assert!((1_000..=1_600).contains(&keys), "{keys}");
    let json = serde_json::to_string(&waiters).unwrap();
    assert!(json.len() < 390_000, "{}", json.len());
}

#[test]
fn what_is_held_back_holds_up_no_other_until_it_may_start() {
    let batch = request(1, "BATCH", 10);
    let held_back = Waiter::new(&batch, seconds(60)).held_back(Some(seconds(100)));
    let waiters = Waiters::default().joined(&held_back);
    let ahead_of = |now| {
        let newer = request(1, "INCREMENTAL", 50);
        let ahead = waiters.ahead_of(&newer, seconds(now), NO_TABLE);
        ahead.is_some()
    };
    assert_eq!((ahead_of(99), ahead_of(100)), (false, true));
    // It is tried then, and finds the slot busy.
    let waiters = waiters.joined(&Waiter::new(&batch, seconds(90)));
    assert!(waiters.waiting[0].may_start(seconds(91)));
}
