use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::job_type::{Wish, WishedBy, by_wish};
use crate::target::{Identifier, Target};

const T0: OffsetDateTime = datetime!(2026-11-23 02:00 UTC);

fn seconds(count: i64) -> OffsetDateTime {
    T0 + Duration::seconds(count)
}

fn request(name: &str, wish: &str, time: OffsetDateTime) -> Request {
    Request {
        target: Target {
            membership: Identifier::parse("11111111-2222-4333-8444-555555555555").unwrap(),
            table: Identifier::parse("aaaaaaaa-0001-4000-8000-000000000001").unwrap(),
        },
        wish: Wish::parse(wish).unwrap(),
        wished_by: WishedBy::Request,
        name: name.to_owned(),
        named: true,
        time,
        dry_run: false,
        trigger: None,
        waiting_since: None,
        sent_at: None,
    }
}

fn call(request: Request, called_at: OffsetDateTime) -> Call {
    Call {
        attempt: Uuid::new_v4(),
        called_at,
        choice: by_wish(request.wish, request.wished_by).unwrap(),
        request,
    }
}

fn job(id: &str, call: &Call) -> Job {
    Job {
        id: JobId::IdMappingJobId(id.to_owned()),
        job_type: call.choice.job_type,
        started_at: call.called_at,
        answered_at: call.called_at + Duration::seconds(1),
    }
}

/// A record in which this request started a job.
fn started(name: &str, wish: &str, at: OffsetDateTime) -> Record {
    let call = call(request(name, wish, at), at);
    Record::default().with(&call, &job(name, &call), false)
}

#[test]
fn a_job_covers_what_its_type_covers() {
    const WISHES: [&str; 5] = [
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
        for wish in WISHES {
            let verdict = record.verdict(&request("second", wish, T0), seconds(20));
            let expected = if covered.contains(&wish) {
                Verdict::Covered(JobId::IdMappingJobId("first".to_owned()))
            } else {
                Verdict::Free
            };
            assert_eq!(verdict, expected, "{wish} after {sent}");
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
    record = record.with(&incremental, &job("incremental", &incremental), false);
    // Whoever lost its claim comes late.
    let late = call(request("late", "INCREMENTAL", T0), seconds(5));
    record = record.with(&late, &job("late", &late), false);
    let verdict = |wish, time| record.verdict(&request("other", wish, time), seconds(30));
    let id = |id: &str| JobId::IdMappingJobId(id.to_owned());
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
    let verdict = |name, wish| record.verdict(&request(name, wish, seconds(60)), seconds(60));
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
        record = record.with(&call, &job("job", &call), false);
    }
    let known = |number: i64| {
        let repeat = request(&number.to_string(), "BATCH", seconds(100));
        matches!(record.verdict(&repeat, seconds(100)), Verdict::Known(_))
    };
    assert!(!known(0) && known(1) && known(64));
}

#[test]
fn a_claim_is_live_until_a_second_after_the_deadline_and_then_in_doubt() {
    let theirs = call(request("theirs", "BATCH", T0), T0);
    let claim = Claim {
        until: seconds(60),
        call: theirs.clone(),
    };
    let record = Record::default().claimed(claim);
    let verdict = |now| record.verdict(&request("ours", "BATCH", T0), now);
    assert_eq!(verdict(seconds(61)), Verdict::Claimed(seconds(60)));
    let doubtful = Verdict::Doubtful {
        call: Box::new(theirs.clone()),
        looked_for: false,
    };
    assert_eq!(verdict(seconds(61) + Duration::milliseconds(1)), doubtful);
    assert_eq!(record.without(theirs.attempt), Record::default());
    assert_eq!(
        record.without(Uuid::new_v4()),
        record,
        "somebody else's claim"
    );

    let unknown = record.doubting(&theirs);
    let doubtful = Verdict::Doubtful {
        call: Box::new(theirs.clone()),
        looked_for: true,
    };
    assert_eq!(unknown.verdict(&request("ours", "BATCH", T0), T0), doubtful);
    assert!(unknown.is_open(theirs.attempt));
    let settled = unknown.with(&theirs, &job("found", &theirs), false);
    assert!(!settled.is_open(theirs.attempt));
    assert!(matches!(
        settled.verdict(&theirs.request, T0),
        Verdict::Known(_)
    ));
}

#[test]
fn what_covers_goes_before_what_is_claimed() {
    let theirs = call(request("theirs", "BATCH", T0), seconds(20));
    let record = started("first", "BATCH", seconds(10)).claimed(Claim {
        until: seconds(60),
        call: theirs,
    });
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
fn a_start_is_to_be_announced_until_it_is() {
    let first = call(request("first", "BATCH", T0), T0);
    let second = call(request("second", "BATCH", T0), seconds(10));
    let record = Record::default()
        .with(&first, &job("1", &first), true)
        .with(&second, &job("2", &second), true);
    let other = request("other", "BATCH", T0);
    let all = record.unannounced(&other);
    let [one, two] = &all[..] else { panic!() };
    assert_eq!((one.job.id.as_str(), two.job.id.as_str()), ("1", "2"));
    assert_eq!(record.unannounced(&first.request), all, "each once");
    let record = record.announced(one);
    assert_eq!(
        record.unannounced(&first.request),
        std::slice::from_ref(two)
    );
}

#[test]
fn of_many_unannounced_starts_the_oldest_wait_for_their_own_repeat() {
    let mut record = Record::default();
    let calls: Vec<Call> = (0..6)
        .map(|number| call(request(&number.to_string(), "BATCH", T0), seconds(number)))
        .collect();
    for (number, call) in calls.iter().enumerate() {
        record = record.with(call, &job(&number.to_string(), call), true);
    }
    let ids = |record: &Record, request: &Request| -> Vec<String> {
        let all = record.unannounced(request);
        all.iter()
            .map(|started| started.job.id.as_str().to_owned())
            .collect()
    };
    assert_eq!(
        ids(&record, &request("other", "BATCH", T0)),
        ["2", "3", "4", "5"]
    );
    let first = &calls[0];
    assert_eq!(ids(&record, &first.request), ["2", "3", "4", "5", "0"]);
    let own = record.unannounced(&first.request).pop().unwrap();
    assert_eq!((&own.request, &own.choice), (&first.request, &first.choice));
    let record = record.announced(&own);
    assert_eq!(ids(&record, &first.request), ["2", "3", "4", "5"]);
}

#[test]
fn a_call_that_was_given_up_is_remembered_until_a_job_starts() {
    let lost = call(request("lost", "BATCH", T0), T0);
    let next = call(request("next", "BATCH", T0), seconds(600));
    let claim = Claim {
        until: seconds(660),
        call: next.clone(),
    };
    let record = Record::default().doubting(&lost).claimed(claim);
    let verdict =
        |record: &Record| record.verdict(&request("third", "BATCH", seconds(601)), seconds(602));
    assert_eq!(verdict(&record), Verdict::Claimed(seconds(660)));
    let busy = record.without(next.attempt);
    assert_eq!(busy, Record::default().doubting(&lost));
    let started = record.with(&next, &job("next", &next), false);
    assert_eq!(verdict(&started), Verdict::Free);
    // Whoever lost its claim and comes late knows nothing of a later call.
    let later = call(request("later", "BATCH", T0), seconds(700));
    let record = record.without(next.attempt).doubting(&later);
    let late = record.with(&next, &job("next", &next), false);
    assert!(late.is_open(later.attempt));
}

#[test]
fn a_job_that_failed_covers_nothing_and_what_succeeded_before_does_again() {
    let [first, second] = [(10, "first"), (20, "second")]
        .map(|(at, name)| call(request(name, "BATCH", T0), seconds(at)));
    let (one, two) = (job("one", &first), job("two", &second));
    let record = Record::default()
        .with(&first, &one, false)
        .ended(&one, "er-one", false)
        .with(&second, &two, false);
    assert_eq!(record.last_batch(), Some(seconds(20)));
    let record = record.ended(&two, "er-two", true);
    assert_eq!(record.last_batch(), Some(seconds(10)));
    let verdict = |name, time| record.verdict(&request(name, "BATCH", time), seconds(30));
    let id = JobId::IdMappingJobId("one".to_owned());
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
    let record = record.with(&third, &job("three", &third), false);
    assert_eq!(
        record.ended(&two, "er-two", true).last_batch(),
        Some(seconds(40))
    );
}

#[test]
fn a_record_is_the_same_after_it_was_written_and_read_and_fits_into_an_item() {
    let long = "\u{1}".repeat(4_096);
    let mut request = request(&long, "INCREMENTAL", T0);
    request.trigger = Some(crate::input::Trigger {
        source: "\u{1}".repeat(256),
        detail_type: "\u{1}".repeat(256),
        id: Some(long.clone()),
        time: Some("\u{1}".repeat(256)),
    });
    let mut record = Record::default();
    for number in 0..100 {
        let call = call(request.clone(), seconds(number));
        let job = job(&"j".repeat(128), &call);
        record = record
            .with(&call, &job, true)
            .ended(&job, &"e".repeat(128), false);
    }
    let open = call(request, seconds(200));
    record = record.doubting(&open).claimed(Claim {
        until: seconds(300),
        call: open,
    });
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record);
    assert!(json.len() < 390_000, "{}", json.len());
    assert_eq!(record.unannounced.len(), MAX_UNANNOUNCED);
}

#[test]
fn a_record_of_an_older_version_lacks_what_is_new() {
    assert_eq!(
        serde_json::from_str::<Record>("{}").unwrap(),
        Record::default()
    );
}

proptest! {
    /// Whatever was started, news that happened less than a second before the last start of a
    /// covering type, or after it, is never covered; older news always is.
    #[test]
    fn coverage_is_exactly_by_time_and_type(
        starts in prop::collection::vec((0_i64..100_000, 0_usize..4), 1..20),
        news in 0_i64..100_000,
        wish in 0_usize..4,
    ) {
        const WISHES: [&str; 4] = ["BATCH", "INCREMENTAL", "SERVICE_DEFAULT", "DELETE_ONLY"];
        let at = |milliseconds: i64| T0 + Duration::milliseconds(milliseconds);
        let mut record = Record::default();
        for (number, (start, sent)) in starts.iter().enumerate() {
            let call = call(request(&format!("job {number}"), WISHES[*sent], at(*start)), at(*start));
            record = record.with(&call, &job("job", &call), false);
        }
        let covers = |sent: usize| sent == wish || (sent == 0 && wish != 3);
        let expected = starts.iter().any(|(start, sent)| *start >= news + 1_000 && covers(*sent));
        let verdict = record.verdict(&request("news", WISHES[wish], at(news)), at(200_000));
        prop_assert_eq!(matches!(verdict, Verdict::Covered(_)), expected);
    }
}

#[tokio::test]
async fn a_ledger_in_memory_forgets_what_was_written_longest_ago() {
    let ledger = Ledger::in_memory();
    let within = std::time::Duration::from_secs(1);
    let read = async |number: usize| ledger.read(&number.to_string(), within).await.unwrap();
    let call = call(request("first", "BATCH", T0), T0);
    let write = async |number: usize| {
        let mut entry = read(number).await;
        let begun = ledger.begin(&mut entry, &call, seconds(60), within).await;
        assert!(begun.unwrap());
    };
    for number in 0..1_000 {
        write(number).await;
    }
    write(0).await;
    write(1_000).await;
    for number in 0..=1_000 {
        let forgotten = *read(number).await.record == Record::default();
        assert_eq!(forgotten, number == 1, "{number}");
    }
}
