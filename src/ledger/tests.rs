use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::choice::by_request;
use crate::job_type::TypeSource;

const T0: OffsetDateTime = datetime!(2026-11-23 02:00 UTC);

fn seconds(count: i64) -> OffsetDateTime {
    T0 + Duration::seconds(count)
}

fn request(name: &str, requested_type: &str, time: OffsetDateTime) -> Request {
    Request::sample(1, requested_type, name, time)
}

fn call(request: Request, called_at: OffsetDateTime) -> Call {
    Call {
        attempt: Uuid::new_v4(),
        called_at,
        choice: by_request(request.requested_type, request.type_source).unwrap(),
        request,
    }
}

fn job(id: &str, call: &Call) -> Job {
    Job {
        id: JobId::IdMappingJobId(id.into()),
        job_type: call.choice.job_type,
        started_at: call.called_at,
        answered_at: call.called_at + Duration::seconds(1),
    }
}

/// A record in which this request started a job.
fn started(name: &str, requested_type: &str, at: OffsetDateTime) -> Record {
    let call = call(request(name, requested_type, at), at);
    with_job(&Record::default(), &call, &job(name, &call))
}

/// A job that started some time ago, and whose start is not reported.
fn with_job(record: &Record, call: &Call, job: &Job) -> Record {
    record.job_started(call, job, None, T0 + Duration::days(1))
}

/// With a claim for a call, for a minute.
fn claimed(record: &Record, call: &Call) -> Record {
    record.claimed(call, call.called_at + Duration::minutes(1))
}

/// A call whose outcome became unknown.
fn with_unknown(record: &Record, call: &Call) -> Record {
    claimed(record, call).outcome_unknown(call)
}

fn unknown(call: &Call, looked_for: bool) -> UnknownCall {
    UnknownCall {
        call: call.clone(),
        looked_for,
    }
}

const ALL_REPORTED: Reported = Reported {
    announced: true,
    tracked: true,
};

fn fully_reported(record: &Record, id: &JobId) -> Record {
    record.start_announced(id).tracking_not_needed(id)
}

/// The ids of the starts that a request reports, in an invocation that started no job.
fn unreported(record: &Record, request: &Request, now: OffsetDateTime) -> Vec<String> {
    let all = record.unreported(request, now, |_| false);
    all.iter()
        .map(|started| started.job.id.as_str().to_owned())
        .collect()
}

#[test]
fn a_job_covers_what_its_type_covers() {
    const REQUESTED_TYPES: [&str; 5] = [
        "BATCH",
        "INCREMENTAL",
        "SERVICE_DEFAULT",
        "AUTO",
        "DELETE_ONLY",
    ];
    for (sent, covered) in [
        (
            "BATCH",
            &["BATCH", "INCREMENTAL", "SERVICE_DEFAULT", "AUTO"][..],
        ),
        ("INCREMENTAL", &["INCREMENTAL", "AUTO"]),
        ("SERVICE_DEFAULT", &["SERVICE_DEFAULT", "AUTO"]),
        ("DELETE_ONLY", &["DELETE_ONLY"]),
    ] {
        let record = started("first", sent, seconds(10));
        for requested_type in REQUESTED_TYPES {
            let verdict = record.verdict(&request("second", requested_type, T0), seconds(20));
            let expected = if covered.contains(&requested_type) {
                Verdict::Covered(JobId::IdMappingJobId("first".into()))
            } else {
                Verdict::Free
            };
            assert_eq!(verdict, expected, "{requested_type} after {sent}");
        }
    }
}

#[test]
fn a_job_covers_news_from_one_second_before_its_start() {
    let record = started("first", "BATCH", seconds(10));
    let verdict = |time| record.verdict(&request("second", "BATCH", time), seconds(20));
    let millisecond = Duration::milliseconds(1);
    assert!(matches!(verdict(seconds(9)), Verdict::Covered(_)));
    assert_eq!(verdict(seconds(9) + millisecond), Verdict::Free);
    assert_eq!(verdict(seconds(10)), Verdict::Free);
}

#[test]
fn the_last_job_of_each_type_is_remembered_and_the_later_start_wins() {
    let mut record = started("batch", "BATCH", seconds(10));
    let incremental = call(request("incremental", "INCREMENTAL", T0), seconds(20));
    record = with_job(&record, &incremental, &job("incremental", &incremental));
    // Whoever lost its claim comes late.
    let late = call(request("late", "INCREMENTAL", T0), seconds(5));
    record = with_job(&record, &late, &job("late", &late));
    let verdict =
        |requested_type, time| record.verdict(&request("other", requested_type, time), seconds(30));
    let id = |id: &str| JobId::IdMappingJobId(id.into());
    assert_eq!(
        verdict("INCREMENTAL", seconds(15)),
        Verdict::Covered(id("incremental"))
    );
    assert_eq!(verdict("BATCH", seconds(9)), Verdict::Covered(id("batch")));
    assert_eq!(verdict("BATCH", seconds(15)), Verdict::Free);
    // Its key is known all the same.
    let repeat = request("late", "INCREMENTAL", seconds(99));
    assert_eq!(
        record.verdict(&repeat, seconds(30)),
        Verdict::Known(id("late"))
    );
}

#[test]
fn a_key_is_name_target_and_wish() {
    let record = started("name", "BATCH", T0);
    let verdict = |name, requested_type| {
        record.verdict(&request(name, requested_type, seconds(60)), seconds(60))
    };
    assert!(matches!(verdict("name", "BATCH"), Verdict::Known(_)));
    assert_eq!(verdict("name", "INCREMENTAL"), Verdict::Free);
    assert_eq!(verdict("other", "BATCH"), Verdict::Free);
}

#[test]
fn the_newest_64_keys_are_known() {
    let mut record = Record::default();
    for number in 0..65 {
        let call = call(
            request(&number.to_string(), "BATCH", seconds(number)),
            seconds(number),
        );
        record = with_job(&record, &call, &job("job", &call));
    }
    let known = |number: i64| {
        let repeat = request(&number.to_string(), "BATCH", seconds(100));
        matches!(record.verdict(&repeat, seconds(100)), Verdict::Known(_))
    };
    assert!(!known(0) && known(1) && known(64));
}

#[test]
fn a_claim_is_live_until_a_second_after_the_deadline_and_then_its_outcome_is_unknown() {
    let theirs = call(request("theirs", "BATCH", T0), T0);
    let record = claimed(&Record::default(), &theirs);
    let verdict = |now| record.verdict(&request("ours", "BATCH", T0), now);
    assert_eq!(verdict(seconds(61)), Verdict::Claimed(seconds(60)));
    let over = verdict(seconds(61) + Duration::milliseconds(1));
    assert_eq!(over, Verdict::Unknown(vec![unknown(&theirs, false)]));
    assert_eq!(record.claim_released(theirs.attempt), Record::default());
    let other = record.claim_released(Uuid::new_v4());
    assert_eq!(other, record, "another call's claim");

    let unknown_call = record.outcome_unknown(&theirs);
    let verdict = unknown_call.verdict(&request("ours", "BATCH", T0), T0);
    assert_eq!(verdict, Verdict::Unknown(vec![unknown(&theirs, true)]));
    let found = unknown_call.job_found(&theirs, &job("found", &theirs), None, seconds(2));
    assert!(found.open_calls().next().is_none());
    let verdict = found.verdict(&theirs.request, T0);
    assert!(matches!(verdict, Verdict::Known(_)));
}

#[test]
fn a_reconciled_call_is_not_reconciled_again() {
    let lost = call(request("lost", "BATCH", T0), T0);
    let record = with_unknown(&Record::default(), &lost);
    let settled = record.claim_released(lost.attempt);
    assert_eq!(settled.outcome_unknown(&lost), settled);
    let found = settled.job_found(&lost, &job("found", &lost), None, seconds(2));
    assert_eq!(found, settled);
}

#[test]
fn several_unknown_calls_are_remembered_oldest_first_and_four_at_most() {
    let calls: Vec<Call> = (0..6)
        .map(|number| {
            call(
                request(&number.to_string(), "BATCH", T0),
                seconds(number * 100),
            )
        })
        .collect();
    let record = calls.iter().fold(Record::default(), |record, call| {
        with_unknown(&record, call)
    });
    let verdict =
        |record: &Record| record.verdict(&request("other", "BATCH", seconds(900)), seconds(901));
    let expected: Vec<UnknownCall> = calls[2..].iter().map(|call| unknown(call, true)).collect();
    assert_eq!(verdict(&record), Verdict::Unknown(expected.clone()));
    // A claim that was left behind is one of them.
    let left = call(request("left", "BATCH", T0), seconds(600));
    let mut with_left = expected.clone();
    with_left.push(unknown(&left, false));
    assert_eq!(
        verdict(&claimed(&record, &left)),
        Verdict::Unknown(with_left)
    );
    // A job that is found for one settles those before it, whose jobs would have held the slot.
    let found = record.job_found(&calls[4], &job("found", &calls[4]), None, seconds(902));
    assert_eq!(verdict(&found), Verdict::Unknown(expected[3..].to_vec()));
}

#[test]
fn coverage_goes_before_a_claim() {
    let theirs = call(request("theirs", "BATCH", T0), seconds(20));
    let record = claimed(&started("first", "BATCH", seconds(10)), &theirs);
    let covered = request("second", "BATCH", T0);
    assert!(matches!(
        record.verdict(&covered, seconds(21)),
        Verdict::Covered(_)
    ));
    let newer = request("third", "BATCH", seconds(15));
    assert!(matches!(
        record.verdict(&newer, seconds(21)),
        Verdict::Claimed(_)
    ));
}

#[test]
fn a_start_is_reported_by_its_starter_or_its_repeat_and_by_others_after_the_deadline() {
    let first = call(request("first", "BATCH", T0), T0);
    let second = call(request("second", "BATCH", T0), seconds(10));
    let record = Record::default();
    let record = record.job_started(&first, &job("1", &first), Some(seconds(60)), T0);
    let record = record.job_started(&second, &job("2", &second), Some(seconds(90)), T0);
    let other = request("other", "BATCH", T0);
    let ids = unreported;
    assert_eq!(
        ids(&record, &other, seconds(61)),
        [""; 0],
        "within a clock's difference"
    );
    assert_eq!(
        ids(&record, &first.request, T0),
        ["1"],
        "its own, each once"
    );
    assert_eq!(ids(&record, &other, seconds(62)), ["1"]);
    let is_own = |id: &JobId| id.as_str() == "2";
    let own = record.unreported(&other, T0, is_own);
    assert_eq!(own.len(), 1, "an invocation reports what it started");
    assert_eq!(own[0].job.id.as_str(), "2");
    assert_eq!(ids(&record, &other, seconds(92)), ["1", "2"]);
    let one = JobId::IdMappingJobId("1".into());
    assert!(record.is_unannounced(&one));
    let record = fully_reported(&record, &one);
    assert!(!record.is_unannounced(&one));
    assert_eq!(ids(&record, &first.request, seconds(92)), ["2"]);
}

#[test]
fn announced_and_tracked_are_remembered_each_by_itself() {
    let first = call(request("first", "BATCH", T0), T0);
    let id = JobId::IdMappingJobId("1".into());
    let record = Record::default();
    let record = record.job_started(&first, &job("1", &first), Some(seconds(60)), T0);
    let announced = Reported {
        announced: true,
        tracked: false,
    };
    let tracked = Reported {
        announced: false,
        tracked: true,
    };
    let mark = |record: &Record, reported: Reported| match reported.announced {
        true => record.start_announced(&id),
        false => record.tracking_not_needed(&id),
    };
    for (one, other) in [(announced, tracked), (tracked, announced)] {
        let half = mark(&record, one);
        assert_eq!(half.reported(&id), one);
        assert_eq!(half.is_unannounced(&id), !one.announced);
        assert_eq!(
            unreported(&half, &first.request, T0).len(),
            1,
            "half is to be done"
        );
        let whole = mark(&half, other);
        assert_eq!(whole.reported(&id), ALL_REPORTED);
        assert!(unreported(&whole, &first.request, T0).is_empty());
    }
    let other = JobId::IdMappingJobId("other".into());
    assert_eq!(fully_reported(&record, &other), record);
}

#[test]
fn of_many_unreported_starts_the_oldest_wait_for_their_own_repeat() {
    let mut record = Record::default();
    let calls: Vec<Call> = (0..6)
        .map(|number| call(request(&number.to_string(), "BATCH", T0), seconds(number)))
        .collect();
    for (number, call) in calls.iter().enumerate() {
        let job = job(&number.to_string(), call);
        record = record.job_started(call, &job, Some(seconds(60)), T0);
    }
    let ids = |record: &Record, request: &Request| unreported(record, request, seconds(62));
    let other = request("other", "BATCH", T0);
    assert_eq!(ids(&record, &other), ["2", "3", "4", "5"]);
    let first = &calls[0];
    assert_eq!(ids(&record, &first.request), ["2", "3", "4", "5", "0"]);
    let own = record
        .unreported(&first.request, T0, |_| false)
        .pop()
        .unwrap();
    assert_eq!((&own.request, &own.choice), (&first.request, &first.choice));
    let record = fully_reported(&record, &own.job.id);
    assert_eq!(ids(&record, &first.request), ["2", "3", "4", "5"]);
}

#[test]
fn a_call_that_was_given_up_is_remembered_until_a_job_starts() {
    let lost = call(request("lost", "BATCH", T0), T0);
    let next = call(request("next", "BATCH", T0), seconds(600));
    let unknown_call = with_unknown(&Record::default(), &lost);
    let record = claimed(&unknown_call, &next);
    let verdict =
        |record: &Record| record.verdict(&request("third", "BATCH", seconds(601)), seconds(602));
    assert_eq!(verdict(&record), Verdict::Claimed(seconds(660)));
    assert_eq!(
        record.claim_released(next.attempt),
        unknown_call,
        "the slot was busy"
    );
    let started = with_job(&record, &next, &job("next", &next));
    assert_eq!(verdict(&started), Verdict::Free);
    // Whoever lost its claim and comes late knows nothing of a later call.
    let later = call(request("later", "BATCH", T0), seconds(700));
    let record = with_unknown(&record.claim_released(next.attempt), &later);
    let late = with_job(&record, &next, &job("next", &next));
    assert!(late.open_calls().any(|call| call.attempt == later.attempt));
}

#[test]
fn the_key_is_what_the_request_itself_asks_for() {
    let mut by_default = request("name", "INCREMENTAL", T0);
    by_default.type_source = TypeSource::Setting;
    let first = call(by_default.clone(), T0);
    let record = with_job(&Record::default(), &first, &job("1", &first));
    // The default is another one when it is delivered again.
    for (requested_type, type_source) in [
        ("BATCH", TypeSource::Setting),
        ("DELETE_ONLY", TypeSource::DeleteRequest),
    ] {
        let mut again = request("name", requested_type, seconds(60));
        again.type_source = type_source;
        assert_eq!(again.scoped_key(), by_default.scoped_key());
        let verdict = record.verdict(&again, seconds(61));
        assert!(matches!(verdict, Verdict::Known(_)), "{requested_type}");
    }
    let explicit = request("name", "INCREMENTAL", seconds(60));
    assert_ne!(explicit.scoped_key(), by_default.scoped_key());
    assert_eq!(record.verdict(&explicit, seconds(61)), Verdict::Free);
}

#[test]
fn a_start_in_the_future_covers_nothing_and_makes_way_for_the_next() {
    let ahead = call(request("ahead", "BATCH", T0), seconds(600));
    let record = with_job(&Record::default(), &ahead, &job("ahead", &ahead));
    let verdict = |record: &Record, now| record.verdict(&request("other", "BATCH", T0), now);
    assert!(matches!(
        verdict(&record, seconds(599)),
        Verdict::Covered(_)
    ));
    assert_eq!(verdict(&record, seconds(598)), Verdict::Free);
    let next = call(request("next", "BATCH", T0), seconds(100));
    let record = record.job_started(&next, &job("next", &next), None, seconds(101));
    let id = JobId::IdMappingJobId("next".into());
    assert_eq!(verdict(&record, seconds(102)), Verdict::Covered(id));
}

#[test]
fn a_job_that_failed_covers_nothing_and_what_succeeded_before_does_again() {
    let [first, second] = [(10, "first"), (20, "second")]
        .map(|(at, name)| call(request(name, "BATCH", T0), seconds(at)));
    let (one, two) = (job("one", &first), job("two", &second));
    let record = with_job(&Record::default(), &first, &one);
    let record = record.job_ended(&one, "er-one", JobEnd::Succeeded, seconds(15));
    let record = with_job(&record, &second, &two);
    assert_eq!(record.last_batch(), Some(seconds(20)));
    let untold = record.job_failed(&two, "er-two", seconds(25));
    assert_eq!(untold.last_batch(), Some(seconds(10)));
    assert!(!untold.is_ended("two"), "its end is still to be announced");
    let record = record.job_ended(&two, "er-two", JobEnd::Failed, seconds(25));
    assert_eq!(record.last_batch(), Some(seconds(10)));
    let verdict = |name, time| record.verdict(&request(name, "BATCH", time), seconds(30));
    let id = JobId::IdMappingJobId("one".into());
    assert_eq!(verdict("other", seconds(9)), Verdict::Covered(id.clone()));
    assert_eq!(
        verdict("second", seconds(15)),
        Verdict::Free,
        "its key is new"
    );
    assert_eq!(verdict("first", seconds(15)), Verdict::Known(id));
    for name in ["one", "two", "er-one", "er-two"] {
        assert!(record.is_ended(name), "{name}");
    }
    assert!(!record.is_ended("three"));
    // A failure that is learned of late takes nothing from a later job.
    let third = call(request("third", "BATCH", T0), seconds(40));
    let record = with_job(&record, &third, &job("three", &third));
    let late = record.job_ended(&two, "er-two", JobEnd::Failed, seconds(50));
    assert_eq!(late.last_batch(), Some(seconds(40)));
}

#[test]
fn the_start_of_a_job_that_failed_is_reported_no_more_and_that_of_another_one_is() {
    let [first, second] = [("first", 10), ("second", 20)]
        .map(|(name, at)| call(request(name, "BATCH", T0), seconds(at)));
    let (one, two) = (job("one", &first), job("two", &second));
    let record = Record::default()
        .job_started(&first, &one, Some(seconds(60)), seconds(11))
        .job_started(&second, &two, Some(seconds(60)), seconds(21))
        .job_failed(&one, "er-one", seconds(30));
    let all = record.unreported(&request("other", "BATCH", T0), seconds(90), |_| false);
    let ids: Vec<&str> = all.iter().map(|started| started.job.id.as_str()).collect();
    assert_eq!(ids, ["two"]);
}

#[test]
fn what_does_not_fit_is_dropped_oldest_first_and_one_is_always_kept() {
    // Of four bytes each in JSON.
    let kept = |count, bytes| {
        let mut items = vec!["aa", "bb", "cc"];
        keep_newest_within(&mut items, Limit { count, bytes });
        items
    };
    assert_eq!(kept(9, 12), ["aa", "bb", "cc"]);
    assert_eq!(kept(9, 11), ["bb", "cc"]);
    assert_eq!(kept(1, 99), ["cc"]);
    assert_eq!(kept(9, 3), ["cc"]);
}

#[test]
fn a_job_that_succeeded_covers_again_when_it_was_forgotten() {
    let first = call(request("first", "BATCH", T0), seconds(10));
    let one = job("one", &first);
    // Its start could not be recorded; its end is.
    let record = Record::default().job_ended(&one, "er-one", JobEnd::Succeeded, seconds(20));
    let verdict = record.verdict(&request("other", "BATCH", T0), seconds(30));
    assert_eq!(verdict, Verdict::Covered(one.id.clone()));
    // A later failure leaves it.
    let second = call(request("second", "BATCH", T0), seconds(40));
    let two = job("two", &second);
    let record = with_job(&record, &second, &two);
    let record = record.job_ended(&two, "er-two", JobEnd::Failed, seconds(50));
    let verdict = record.verdict(&request("other", "BATCH", T0), seconds(60));
    assert_eq!(verdict, Verdict::Covered(one.id));
}

#[test]
fn a_record_is_the_same_after_it_was_written_and_read_and_fits_into_an_item() {
    let long = "\u{1}".repeat(4_096);
    let mut request = request(&long, "INCREMENTAL", T0);
    request.trigger = Some(
        crate::request::Trigger {
            source: "\u{1}".repeat(256),
            detail_type: "\u{1}".repeat(256),
            id: Some(long.clone()),
            time: Some("\u{1}".repeat(256)),
        }
        .into(),
    );
    let mut record = Record::default();
    for number in 0..100 {
        let call = call(request.clone(), seconds(number));
        let job = job(&"j".repeat(128), &call);
        record = record.job_started(&call, &job, Some(seconds(300)), seconds(400));
        record = record.job_ended(&job, &"e".repeat(128), JobEnd::Succeeded, seconds(400));
    }
    for number in 100..103 {
        let call = call(request.clone(), seconds(number));
        let job = job(&format!("{number:0>128}"), &call);
        record = record.tracking_queued(&StartedJob::new(&call, job));
    }
    for number in 200..210 {
        record = with_unknown(&record, &call(request.clone(), seconds(number)));
    }
    record = claimed(&record, &call(request, seconds(300)));
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record);
    assert!(json.len() < 390_000, "{}", json.len());
    let starts = (record.unreported_starts.len(), record.tracked.len());
    assert_eq!((starts, record.open_calls().count()), ((2, 1), 3));
}

#[test]
fn the_last_moment_that_can_be_written_is_a_moment_like_any_other() {
    let last = datetime!(9999-12-31 23:59:59.999 UTC);
    let record = started("first", "BATCH", T0);
    let late = request("late", "BATCH", last);
    assert_eq!(record.verdict(&late, T0), Verdict::Free);
    let claimed = record.claimed(&call(late.clone(), T0), last);
    let verdict = claimed.verdict(&late, T0);
    assert_eq!(verdict, Verdict::Claimed(last));
    let first = call(late.clone(), T0);
    let record = record.job_started(&first, &job("2", &first), Some(last), last);
    let other = request("other", "BATCH", T0);
    assert!(unreported(&record, &other, T0).is_empty());
}

#[test]
fn a_record_of_an_older_version_lacks_what_is_new() {
    assert_eq!(
        serde_json::from_str::<Record>("{}").unwrap(),
        Record::default()
    );
}

proptest! {
    /// Whatever was started, change that happened less than a second before the last start of a
    /// covering type, or after it, is never covered; older change always is.
    #[test]
    fn coverage_is_exactly_by_time_and_type(
        starts in prop::collection::vec((0_i64..100_000, 0_usize..4), 1..20),
        change in 0_i64..100_000,
        requested_type in 0_usize..4,
    ) {
        const REQUESTED_TYPES: [&str; 4] = ["BATCH", "INCREMENTAL", "SERVICE_DEFAULT", "DELETE_ONLY"];
        let at = |milliseconds: i64| T0 + Duration::milliseconds(milliseconds);
        let mut record = Record::default();
        for (number, (start, sent)) in starts.iter().enumerate() {
            let call = call(request(&format!("job {number}"), REQUESTED_TYPES[*sent], at(*start)), at(*start));
            record = with_job(&record, &call, &job("job", &call));
        }
        let covers = |sent: usize| sent == requested_type || (sent == 0 && requested_type != 3);
        let expected = starts.iter().any(|(start, sent)| *start >= change + 1_000 && covers(*sent));
        let verdict = record.verdict(&request("change", REQUESTED_TYPES[requested_type], at(change)), at(200_000));
        prop_assert_eq!(matches!(verdict, Verdict::Covered(_)), expected);
    }
}

#[test]
fn what_is_reported_of_a_start_is_known_after_its_key_is_forgotten() {
    let first = call(request("first", "BATCH", T0), T0);
    let id = JobId::IdMappingJobId("1".into());
    let record = Record::default();
    let record = record.job_started(&first, &job("1", &first), Some(seconds(60)), T0);
    let mut record = record.start_announced(&id);
    for number in 0..MAX_KEYS as i64 {
        let call = call(request(&number.to_string(), "BATCH", T0), seconds(number));
        record = with_job(&record, &call, &job(&format!("other {number}"), &call));
    }
    assert!(record.recent().all(|job| job.id != id));
    let announced = Reported {
        announced: true,
        tracked: false,
    };
    assert_eq!(record.reported(&id), announced);
    let other = JobId::IdMappingJobId("other 63".into());
    assert_eq!(record.reported(&other), Reported::default());
    assert_eq!(
        unreported(&record, &request("x", "BATCH", T0), seconds(62)),
        ["1"]
    );
    let record = record.tracking_not_needed(&id);
    assert!(unreported(&record, &request("x", "BATCH", T0), seconds(62)).is_empty());
}

#[test]
fn a_job_is_tracked_with_its_request_until_its_end_is_announced() {
    let first = call(request("first", "BATCH", T0), T0);
    let started = StartedJob::new(&first, job("1", &first));
    let by_id = |id: &str| TrackedId {
        id: JobId::IdMappingJobId(id.into()),
        attempt: Uuid::nil(),
    };
    let it = by_id("1");
    let record = Record::default().job_started(&first, &started.job, Some(seconds(60)), T0);
    assert_eq!(
        record.tracked(&it),
        Some(started.clone()),
        "its message may be on its way"
    );
    let record = record.start_announced(&it.id).tracking_queued(&started);
    assert_eq!(record.tracked(&it), Some(started.clone()));
    assert_eq!(record.tracking_queued(&started), record);
    let failed = record.job_failed(&started.job, "entity resolution", seconds(9));
    assert_eq!(
        failed.tracked(&it),
        Some(started.clone()),
        "its failure is not announced"
    );
    for end in [JobEnd::Succeeded, JobEnd::Failed] {
        let ended = record.job_ended(&started.job, "entity resolution", end, seconds(9));
        assert_eq!(ended.tracked(&it), None);
        // An invocation that was slow may write late.
        assert_eq!(ended.tracking_queued(&started).tracked(&it), None);
    }
    assert_eq!(record.tracked(&by_id("other")), None);
    let found = TrackedId {
        id: JobId::EntityResolutionJobId("entity resolution".into()),
        ..it
    };
    let under_another = StartedJob {
        job: Job {
            id: found.id.clone(),
            ..started.job.clone()
        },
        ..started.clone()
    };
    let both = record.tracking_queued(&under_another);
    let ended = both.job_ended(
        &started.job,
        "entity resolution",
        JobEnd::Succeeded,
        seconds(9),
    );
    assert_eq!(ended.tracked(&found), None);
}

#[test]
fn a_job_that_could_not_be_recorded_is_tracked_only_by_who_knows_its_call() {
    let first = call(request("first", "BATCH", T0), T0);
    let claimed = Record::default().claimed(&first, seconds(60));
    let message = |attempt| TrackedId {
        id: JobId::IdMappingJobId("1".into()),
        attempt,
    };
    for record in [claimed.clone(), claimed.outcome_unknown(&first)] {
        let tracked = record.tracked(&message(first.attempt)).unwrap();
        assert_eq!((tracked.job.id.as_str(), tracked.job.started_at), ("1", T0));
        assert_eq!(tracked.request, first.request);
        assert_eq!(record.tracked(&message(Uuid::nil())), None);
        assert_eq!(record.tracked(&message(Uuid::from_u128(7))), None);
    }
    let released = claimed.claim_released(first.attempt);
    assert_eq!(released.tracked(&message(first.attempt)), None);
}

#[test]
fn a_name_is_known_only_to_requests_that_are_not_newer_than_its_job() {
    let first = call(request("name", "BATCH", T0), T0);
    let record = Record::default();
    let record = record.job_started(&first, &job("1", &first), Some(seconds(60)), T0);
    let minutes = |minutes: i64| T0 + Duration::minutes(minutes);
    let known = Verdict::Known(JobId::IdMappingJobId("1".into()));
    let later = minutes(600);
    let at = |time| record.verdict(&request("name", "BATCH", time), later);
    assert_eq!(at(T0), known);
    assert_eq!(at(minutes(5)), known);
    let newer = request("name", "BATCH", minutes(5) + Duration::milliseconds(1));
    assert_eq!(record.verdict(&newer, later), Verdict::Free);
    assert!(unreported(&record, &newer, T0).is_empty());
    // Without a time of its own a repeat has that of its arrival.
    let without = Request {
        time_is_given: false,
        ..newer.clone()
    };
    assert_eq!(record.verdict(&without, later), known);
    assert_eq!(unreported(&record, &without, T0), ["1"]);
    // Its own job is then known under the same name.
    let second = call(newer.clone(), minutes(6));
    let record = record.job_started(&second, &job("2", &second), Some(minutes(7)), minutes(6));
    let own = Verdict::Known(JobId::IdMappingJobId("2".into()));
    assert_eq!(record.verdict(&newer, later), own);
    assert_eq!(record.verdict(&first.request, later), known);
}

#[test]
fn the_interval_counts_from_the_last_job_that_is_not_known_to_have_failed() {
    let hour = std::time::Duration::from_secs(3_600);
    let first = started("first", "INCREMENTAL", seconds(0));
    let second = call(request("second", "BATCH", seconds(60)), seconds(60));
    let both = with_job(&first, &second, &job("second", &second));
    let failed = both.job_failed(&job("second", &second), "at-entity-resolution", seconds(90));
    let next = RequestedType::Exactly(JobType::Incremental);
    let not_before = |record: &Record, now| record.not_before(next, hour, seconds(now));
    assert_eq!(not_before(&Record::default(), 100), None);
    assert_eq!(not_before(&both, 100), Some(seconds(3_660)));
    assert_eq!(not_before(&failed, 100), Some(seconds(3_600)));
    assert_eq!(not_before(&failed, 3_600), None);
    // A clock was ahead: it is not known when that job really started.
    assert_eq!(
        not_before(&started("ahead", "BATCH", seconds(7_200)), 100),
        None
    );
}

#[test]
fn a_job_that_covers_is_known_to_have_succeeded_once_its_end_is_announced() {
    let call = call(request("name", "BATCH", seconds(0)), seconds(10));
    let job = job("clean-rooms", &call);
    let record = with_job(&Record::default(), &call, &job);
    assert_eq!(record.status(&job.id), JobStatus::Started);
    let ended = record.job_ended(&job, "entity-resolution", JobEnd::Succeeded, seconds(60));
    assert_eq!(ended.status(&job.id), JobStatus::Succeeded);
    // It is recorded under its other id.
    let other = Job {
        id: JobId::EntityResolutionJobId("entity-resolution".into()),
        ..job.clone()
    };
    let record = with_job(&Record::default(), &call, &other);
    let ended = record.job_ended(&job, "entity-resolution", JobEnd::Succeeded, seconds(60));
    assert_eq!(ended.status(&other.id), JobStatus::Succeeded);
}

#[test]
fn of_the_jobs_that_cover_a_request_one_that_succeeded_comes_first() {
    let older = call(request("older", "BATCH", seconds(0)), seconds(10));
    let newer = call(request("newer", "BATCH", seconds(0)), seconds(600));
    let (done, runs) = (job("done", &older), job("runs", &newer));
    let record = with_job(&Record::default(), &older, &done);
    let record = record.job_ended(&done, "entity-resolution", JobEnd::Succeeded, seconds(60));
    let record = with_job(&record, &newer, &runs);
    let covered = |time| record.verdict(&request("other", "BATCH", seconds(time)), seconds(700));
    assert_eq!(covered(0), Verdict::Covered(done.id.clone()));
    assert_eq!(covered(60), Verdict::Covered(runs.id.clone()));
}

#[test]
fn the_attempts_of_a_request_end_with_its_success() {
    let request = request("name", "BATCH", seconds(0));
    let (first, second) = (
        call(request.clone(), seconds(10)),
        call(request.clone(), seconds(600)),
    );
    let failed = job("first", &first);
    let record = with_job(&Record::default(), &first, &failed)
        .job_failed(&failed, "er-1", seconds(60))
        .attempt_failed(&request, &failed, "er-1", 3);
    let retry = Request {
        retry_of: Some("other".to_owned()),
        ..request.clone()
    };
    assert!(record.is_superseded(&retry));
    assert_eq!(record.failed_attempt(&request, "er-1").unwrap().number, 1);
    let succeeded = job("second", &second);
    let record = with_job(&record, &second, &succeeded);
    let record = record.job_ended(&succeeded, "er-2", JobEnd::Succeeded, seconds(900));
    assert_eq!(record.failed_attempt(&request, "er-1"), None);
}

#[test]
fn a_table_is_as_fresh_as_its_last_success_or_its_last_start() {
    let now = seconds(10_000);
    let first = call(request("first", "BATCH", seconds(0)), seconds(0));
    let first_job = job("first", &first);
    let record = with_job(&Record::default(), &first, &first_job);
    assert_eq!(Record::default().fresh_since(true, now), None);
    assert_eq!(
        record.fresh_since(true, now),
        Some(seconds(0)),
        "no end is known"
    );
    let record = record.job_ended(&first_job, "er-first", JobEnd::Succeeded, now);
    let second = call(request("second", "INCREMENTAL", seconds(100)), seconds(100));
    let record = with_job(&record, &second, &job("second", &second));
    // Deletions refresh nothing, and of a start that lies ahead it is not known when it was.
    let deletion = call(request("third", "DELETE_ONLY", seconds(200)), seconds(200));
    let record = with_job(&record, &deletion, &job("third", &deletion));
    assert_eq!(record.fresh_since(true, now), Some(seconds(0)));
    assert_eq!(record.fresh_since(false, now), Some(seconds(100)));
    let ahead = started("ahead", "BATCH", seconds(20_000));
    assert_eq!(ahead.fresh_since(false, now), None);
}

#[test]
fn the_id_and_the_type_of_a_job_outlast_its_failure() {
    let call = call(request("name", "BATCH", seconds(0)), seconds(0));
    let job = job("clean-rooms", &call);
    let record = with_job(&Record::default(), &call, &job);
    let record = record.job_ended(&job, "er", JobEnd::Failed, seconds(100));
    let id = JobId::IdMappingJobId("clean-rooms".into());
    assert_eq!(record.ended_as("er"), Some((id, Some(JobType::Batch))));
    assert_eq!(record.ended_as("other"), None);
}

#[test]
fn a_record_that_is_full_knows_only_the_newest_jobs() {
    let mut record = Record::default();
    for number in 0..i64::try_from(MAX_KEYS).unwrap() {
        assert_eq!(record.complete_since(), None);
        let at = seconds(number * 100);
        let call = call(request(&format!("name-{number}"), "BATCH", at), at);
        record = with_job(&record, &call, &job(&format!("job-{number}"), &call));
    }
    assert_eq!(record.complete_since(), Some(seconds(0)));
}
