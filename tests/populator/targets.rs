//! Several targets in one payload, and several messages in one batch.

use std::time::Duration;

use fake_aws::{Exception, Fault, Operation::PopulateIdMappingTable};
use id_mapping_populator::handler::Invocation;
use serde_json::{Value, json};
use time::macros::datetime;

use crate::harness::{Harness, M, T1, T2, T3, request_for, request_for_all};

#[tokio::test]
async fn the_other_targets_are_processed_and_announced_when_one_fails() {
    let harness = Harness::new().await;
    // The second is rejected, the third is busy.
    harness
        .aws
        .fail_next(PopulateIdMappingTable, Fault::Slow(Duration::ZERO));
    harness.aws.fail_next(
        PopulateIdMappingTable,
        Fault::Refuse(Exception::not_found()),
    );
    harness
        .aws
        .fail_next(PopulateIdMappingTable, Fault::Refuse(Exception::conflict()));
    let (error_type, message) = harness.failure(&request_for_all(&[T1, T2, T3])).await;
    assert_eq!(error_type, "TableNotFound");
    let job = &harness.aws.jobs()[0];
    assert!(
        message.starts_with("2 of 3 requests failed: TableNotFound: PopulateIdMappingTable of "),
        "{message}"
    );
    assert!(
        message.contains(&format!(
            "; SlotBusy: PopulateIdMappingTable of membership/{M}/idmappingtable/{T3} "
        )),
        "{message}"
    );
    assert!(
        message.ends_with(&format!(
            "; started: membership/{M}/idmappingtable/{T1} as job {job}"
        )),
        "{message}"
    );
    let tables: Vec<_> = harness
        .populated_tables()
        .into_iter()
        .map(|(table, _)| table)
        .collect();
    assert_eq!(tables, [T1, T2, T3]);
    let announced: Vec<_> = harness
        .announced()
        .into_iter()
        .map(|(_, detail)| {
            (
                detail["outcome"].clone(),
                detail["idMappingTableIdentifier"].clone(),
            )
        })
        .collect();
    assert_eq!(
        announced,
        [
            (json!("STARTED"), json!(T1)),
            (json!("REJECTED"), json!(T2))
        ]
    );
}

#[tokio::test]
async fn a_job_that_started_and_is_not_announced_is_in_the_message_with_its_id() {
    let harness = Harness::new().await;
    harness.aws.fail_next(
        fake_aws::Operation::PutEvents,
        Fault::FailEntries("MalformedDetail".to_owned()),
    );
    let (error_type, message) = harness.failure(&request_for_all(&[T1, T2])).await;
    assert_eq!(error_type, "NotAnnounced");
    for job in harness.aws.jobs() {
        assert!(message.contains(&format!("as job {job}")), "{message}");
    }
    assert_eq!(harness.announced().len(), 1);
}

#[tokio::test]
async fn outcomes_are_in_the_order_of_the_targets() {
    let harness = Harness::new().await;
    let outcomes = harness.outcomes(&request_for_all(&[T3, T1, T3, T2])).await;
    let tables: Vec<&Value> = outcomes
        .iter()
        .map(|outcome| &outcome["idMappingTableIdentifier"])
        .collect();
    assert_eq!(tables, [T3, T1, T2]);
}

#[tokio::test]
async fn no_target_is_begun_without_time_to_finish_it() {
    let mut harness = Harness::new().await;
    harness.remaining = time::Duration::milliseconds(1_900);
    let (error_type, message) = harness.failure(&request_for(T1)).await;
    assert_eq!(error_type, "OutOfTime");
    assert!(
        message.contains(&format!(
            "PopulateIdMappingTable of membership/{M}/idmappingtable/{T1} was not called: "
        )),
        "{message}"
    );
    assert!(message.contains("raise the timeout"), "{message}");
    assert_eq!(harness.aws.call_count(), 0);

    // The first takes its time, and leaves too little for the second.
    harness.remaining = time::Duration::milliseconds(3_000);
    harness.aws.fail_next(
        PopulateIdMappingTable,
        Fault::Slow(Duration::from_millis(1_200)),
    );
    let (error_type, message) = harness.failure(&request_for_all(&[T1, T2])).await;
    assert_eq!(error_type, "OutOfTime", "{message}");
    assert!(
        message.starts_with("1 of 2 requests failed: ")
            && message.contains(&format!("{T1} as job ")),
        "{message}"
    );
    assert_eq!(harness.populated().len(), 1);
}

#[test]
fn an_invocations_deadline_is_lambdas_in_milliseconds() {
    let mut context = lambda_runtime::Context::default();
    for (milliseconds, expected) in [
        (1_795_399_200_123, datetime!(2026-11-23 02:00:00.123 UTC)),
        // The beginning of the epoch is impossible, and so ignored.
        (u64::MAX, time::OffsetDateTime::UNIX_EPOCH),
    ] {
        context.deadline = milliseconds;
        assert_eq!(Invocation::from(&context).deadline, expected);
    }
}

#[tokio::test]
async fn an_impossible_deadline_is_ignored() {
    let mut harness = Harness::new().await;
    harness.remaining = time::Duration::days(-2_000);
    assert_eq!(harness.outcomes(&request_for(T1)).await.len(), 1);
    harness.remaining = time::Duration::milliseconds(-50);
    assert_eq!(harness.failure(&request_for(T1)).await.0, "OutOfTime");
}

#[tokio::test]
async fn a_message_stays_in_the_queue_until_all_its_targets_are_done() {
    let record = |id: &str, body: &Value| {
        json!({
            "messageId": id, "body": body.to_string(), "attributes": {}, "messageAttributes": {},
            "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:q",
        })
    };
    let harness = Harness::new().await;
    let own = json!({ "detail-type": "ID Mapping Job Started", "source": "id-mapping-populator", "detail": {} });
    let batch = json!({ "Records": [
        record("started", &request_for(T1)),
        record("refused", &json!({ "membershipId": M })),
        record("rejected", &request_for(T2)),
        record("not-announced", &request_for(T3)),
        record("ignored", &own),
        record("half", &request_for_all(&[T1, T2])),
        record("last", &request_for(T3)),
    ] });
    for fault in [
        // T1 twice, T2 twice, then T3.
        Fault::Slow(Duration::ZERO),
        Fault::Slow(Duration::ZERO),
        Fault::Refuse(Exception::access_denied()),
        Fault::Refuse(Exception::validation("IAM_SYNCHRONIZATION_DELAY")),
    ] {
        harness.aws.fail_next(PopulateIdMappingTable, fault);
    }
    let puts = [None, None, None, Some("MalformedDetail")];
    for fault in puts {
        let fault = fault.map_or(Fault::Slow(Duration::ZERO), |code| {
            Fault::FailEntries(code.to_owned())
        });
        harness.aws.fail_next(fake_aws::Operation::PutEvents, fault);
    }
    let answer = harness.handle(&batch).await.unwrap();
    let stays: Vec<&Value> = answer["batchItemFailures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["itemIdentifier"])
        .collect();
    assert_eq!(stays, ["refused", "rejected", "not-announced", "half"]);
    assert_eq!(harness.populated().len(), 6);
}
