//! The ledger's store, through the real client: each transition on an item that another writer changed since it
//! was read.

use std::time::Duration;

use fake_aws::{Environment, FakeAws, LEDGER_TABLE, Operation};
use id_mapping_populator::aws::ledger_table::{Item, Ledger};
use id_mapping_populator::choice::by_request;
use id_mapping_populator::job::{Call, Job, JobEnd, JobId};
use id_mapping_populator::job_type::{JobType, RequestedType, TypeSource};
use id_mapping_populator::ledger::{Record, Verdict, Waiter, Waiters};
use id_mapping_populator::request::Request;
use id_mapping_populator::target::{Identifier, Target};
use time::OffsetDateTime;

use crate::harness::{M, T1, table_arn};
use crate::in_process;
use crate::simulator::BEGIN;

const WITHIN: Duration = Duration::from_secs(5);
const ATTEMPT: uuid::Uuid = uuid::Uuid::from_u128(7);

fn request(name: &str) -> Request {
    Request {
        target: Target {
            membership: Identifier::parse(M).unwrap(),
            table: Identifier::parse(T1).unwrap(),
        },
        requested_type: RequestedType::Exactly(JobType::Incremental),
        type_source: TypeSource::Request,
        idempotency_key: name.into(),
        key_is_given: true,
        time_is_given: true,
        time: BEGIN,
        urgent: false,
        dry_run: false,
        trigger: None,
        waiting_since: None,
        sent_at: None,
        rejections: 0,
        retry_of: None,
        retry_interval: None,
    }
}

fn seconds(count: i64) -> OffsetDateTime {
    BEGIN + time::Duration::seconds(count)
}

fn call(name: &str, called_at: OffsetDateTime) -> Call {
    let request = request(name);
    Call {
        attempt: ATTEMPT,
        called_at,
        choice: by_request(request.requested_type, request.type_source).unwrap(),
        request,
    }
}

fn job(id: &str, started_at: OffsetDateTime) -> Job {
    Job {
        id: JobId::IdMappingJobId(id.into()),
        job_type: Some(JobType::Incremental),
        started_at,
        answered_at: started_at,
    }
}

/// A ledger in each of its stores.
async fn ledgers() -> Vec<(Ledger, Option<FakeAws>)> {
    let aws = FakeAws::in_process();
    let config = in_process::sdk_config(&Environment::builder().on(&aws)).await;
    let in_dynamodb = Ledger::in_dynamodb(&config, LEDGER_TABLE);
    vec![(Ledger::in_memory(), None), (in_dynamodb, Some(aws))]
}

type Transition = (
    &'static str,
    Box<dyn Fn(&Record) -> Record>,
    fn(&Record) -> bool,
);

/// Each transition's name, the transition, and what holds after it.
fn transitions() -> Vec<Transition> {
    let lost = call("lost", seconds(0));
    let found = lost.clone();
    let unknown = lost.clone();
    vec![
        (
            "claim released",
            Box::new(move |record| record.claim_released(ATTEMPT)),
            |record| record.open_calls().next().is_none(),
        ),
        (
            "job started",
            Box::new(move |record| {
                record.job_started(&lost, &job("own", seconds(0)), None, seconds(9))
            }),
            |record| record.recent().any(|job| job.id.as_str() == "own"),
        ),
        (
            "job found",
            Box::new(move |record| {
                record.job_found(&found, &job("found", seconds(0)), None, seconds(9))
            }),
            |record| record.recent().any(|job| job.id.as_str() == "found"),
        ),
        (
            "outcome unknown",
            Box::new(move |record| record.outcome_unknown(&unknown)),
            |record| {
                let verdict = record.verdict(&request("later"), seconds(1));
                let Verdict::Unknown(calls) = verdict else {
                    return false;
                };
                calls.iter().all(|unknown| unknown.looked_for)
            },
        ),
        (
            "start reported",
            Box::new(|record| {
                let id = &job("theirs", seconds(0)).id;
                record.start_announced(id).tracking_not_needed(id)
            }),
            |record| {
                let theirs = job("theirs", seconds(0)).id;
                let unreported = record.unreported(&request("x"), seconds(999), |_| false);
                !record.is_unannounced(&theirs) && unreported.iter().all(|one| one.job.id != theirs)
            },
        ),
        (
            "job failed",
            Box::new(|record| record.job_failed(&job("theirs", seconds(0)), "er", seconds(9))),
            |record| record.recent().all(|job| job.id.as_str() != "theirs"),
        ),
        (
            "job ended",
            Box::new(|record| {
                record.job_ended(
                    &job("theirs", seconds(0)),
                    "er",
                    JobEnd::Succeeded,
                    seconds(9),
                )
            }),
            |record| record.is_ended("theirs") && record.is_ended("er"),
        ),
    ]
}

/// An item with a claim of ours and another writer's job, read before that writer recorded one more job in it.
async fn stale(ledger: &Ledger) -> Item {
    let arn = table_arn(T1);
    let mut item = ledger.read(&arn, WITHIN).await.unwrap();
    let claim = call("lost", seconds(0));
    let begun = ledger.claim(&mut item, &claim, seconds(60), WITHIN).await;
    assert!(begun.unwrap());
    for (number, name) in [(8, "theirs"), (9, "third")] {
        let mut current = ledger.read(&arn, WITHIN).await.unwrap();
        item = current.clone();
        let other = Call {
            attempt: uuid::Uuid::from_u128(number),
            ..call(name, seconds(0))
        };
        let recorded = |record: &Record| {
            record.job_started(
                &other,
                &job(name, seconds(0)),
                Some(seconds(60)),
                seconds(9),
            )
        };
        ledger.update(&mut current, WITHIN, recorded).await.unwrap();
    }
    item
}

#[tokio::test]
async fn each_transition_is_applied_to_an_item_that_changed_meanwhile() {
    for (name, transition, holds) in transitions() {
        for (ledger, _) in ledgers().await {
            let mut item = stale(&ledger).await;
            let has = |record: &Record, id: &str| record.recent().any(|job| job.id.as_str() == id);
            assert!(!has(&item.record, "third"), "it is stale");
            let updated = ledger.update(&mut item, WITHIN, &transition).await;
            updated.unwrap();
            let stored = ledger.read(&table_arn(T1), WITHIN).await.unwrap();
            assert!(holds(&stored.record), "{name}");
            assert_eq!(stored.record, item.record, "{name}");
            assert!(
                has(&stored.record, "third"),
                "{name} loses what was written meanwhile"
            );
        }
    }
}

#[tokio::test]
async fn a_claim_on_a_stale_item_fails() {
    for (ledger, _) in ledgers().await {
        let arn = table_arn(T1);
        let mut first = ledger.read(&arn, WITHIN).await.unwrap();
        let mut second = ledger.read(&arn, WITHIN).await.unwrap();
        let claim = call("a", seconds(0));
        let begin = async |item: &mut Item| {
            ledger
                .claim(item, &claim, seconds(60), WITHIN)
                .await
                .unwrap()
        };
        assert!(begin(&mut first).await);
        assert!(!begin(&mut second).await);
        assert_eq!(
            second.record, first.record,
            "it shows what the other one did"
        );
    }
}

#[tokio::test]
async fn a_transition_that_changes_nothing_is_not_written() {
    for (ledger, aws) in ledgers().await {
        let mut item = ledger.read(&table_arn(T1), WITHIN).await.unwrap();
        let released = |record: &Record| record.claim_released(ATTEMPT);
        ledger.update(&mut item, WITHIN, released).await.unwrap();
        let written = aws.map_or(0, |aws| aws.calls_of(Operation::PutItem).len());
        assert_eq!(written, 0);
    }
}

#[tokio::test]
async fn a_waiter_is_added_to_those_that_were_added_meanwhile() {
    for (ledger, _) in ledgers().await {
        let mut first = ledger.read_waiters(WITHIN).await.unwrap();
        let mut second = first.clone();
        let waiter = |table: &str| {
            let mut request = request("a");
            request.target.table = Identifier::parse(table).unwrap();
            Waiter::new(&request, BEGIN)
        };
        let tables = [T1, crate::harness::T2];
        for (item, table) in [&mut first, &mut second].into_iter().zip(tables) {
            let joined = |waiters: &Waiters| waiters.joined(&waiter(table));
            ledger.update(item, WITHIN, joined).await.unwrap();
        }
        let stored = ledger.read_waiters(WITHIN).await.unwrap();
        assert_eq!(stored.record.live(BEGIN).count(), 2);
        // The item of the slot does not belong to a table.
        let other = ledger.read("slot-of-another-table", WITHIN).await.unwrap();
        assert_eq!(other.record, Record::default());
    }
}

#[tokio::test]
async fn a_ledger_in_memory_evicts_the_item_that_was_written_longest_ago() {
    let ledger = Ledger::in_memory();
    let read = async |number: usize| ledger.read(&number.to_string(), WITHIN).await.unwrap();
    let call = call("first", BEGIN);
    let write = async |number: usize| {
        let mut item = read(number).await;
        let begun = ledger.claim(&mut item, &call, seconds(60), WITHIN).await;
        assert!(begun.unwrap());
    };
    for number in 0..1_000 {
        write(number).await;
    }
    write(0).await;
    write(1_000).await;
    for number in 0..=1_000 {
        let evicted = read(number).await.record == Record::default();
        assert_eq!(evicted, number == 1, "{number}");
    }
}
