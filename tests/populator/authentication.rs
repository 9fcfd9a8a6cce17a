//! Refusals that are not about permission: the service could not tell who sent the request.

use aws_sdk_cleanrooms::primitives::{DateTime, DateTimeFormat};
use fake_aws::{Environment, Exception, Fault, Operation, Slot};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use tokio::task::JoinSet;

use crate::harness::{Harness, T1, request_for};
use crate::simulator::Simulator;

const CODES: [&str; 12] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// As each protocol writes an error: in a header, or in the body with a namespace.
fn refusals(status: u16, code: &'static str) -> [Fault; 2] {
    let body = json!({ "__type": format!("com.amazon.coral.service#{code}"), "message": "not authenticated" });
    [
        Fault::Refuse(Exception::unauthenticated(status, code)),
        Fault::Status(status, body.to_string()),
    ]
}

fn expired() -> Fault {
    Fault::Refuse(Exception::unauthenticated(400, "ExpiredTokenException"))
}

#[tokio::test]
async fn a_start_that_was_not_authenticated_is_signed_again_once_and_then_unavailable() {
    // Each waits for its second try, so all run at once.
    let mut cases = JoinSet::new();
    for code in CODES {
        for fault in [400, 403]
            .into_iter()
            .flat_map(|status| refusals(status, code))
        {
            cases.spawn(is_signed_again_once(code, fault));
        }
    }
    cases.join_all().await;
}

async fn is_signed_again_once(code: &'static str, fault: Fault) {
    let harness = Harness::new().await;
    let what = format!("{fault:?}");
    harness
        .aws
        .fail_always(Operation::PopulateIdMappingTable, fault);
    let (error_type, message) = harness.failure(&request_for(T1)).await;
    assert_eq!(error_type, "ServiceUnavailable", "{what}: {message}");
    assert!(message.contains(code), "{what}: {message}");
    assert!(
        message.contains("no job was started, and no permission is missing"),
        "{message}"
    );
    assert_eq!(harness.populated().len(), 2, "{what}");
    assert_eq!(harness.announced(), [], "{what}");
}

#[tokio::test]
async fn a_clock_that_differs_is_corrected_by_the_answer() {
    let hour = Duration::hours(1);
    for code in ["InvalidSignatureException", "RequestTimeTooSkewed"] {
        for difference in [hour, -hour] {
            let harness = Harness::new().await;
            let theirs = OffsetDateTime::now_utc() + difference;
            let date = DateTime::from_secs(theirs.unix_timestamp());
            let date = date.fmt(DateTimeFormat::HttpDate).unwrap();
            let refusal = Exception::unauthenticated(403, code).dated(&date);
            harness
                .aws
                .fail_next(Operation::PopulateIdMappingTable, Fault::Refuse(refusal));
            let outcomes = harness.outcomes(&request_for(T1)).await;
            assert_eq!(outcomes[0]["outcome"], "STARTED", "{code}");
            let calls = harness.populated();
            let date = &calls.last().unwrap().headers["x-amz-date"];
            let hour = format!("T{:02}", theirs.hour());
            assert!(date.contains(&hour), "{code}: {date} at {theirs}");
            assert_eq!((calls.len(), harness.aws.jobs().len()), (2, 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_not_authenticated_waits_and_starts_later() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    for _ in 0..2 {
        sim.aws
            .fail_next(Operation::PopulateIdMappingTable, expired());
    }
    assert_eq!(
        sim.outcomes(&request_for(T1)).await,
        ["WAITING ServiceUnavailable"]
    );
    sim.pause_between_tries().await;
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced(), ["WAITING ServiceUnavailable", "STARTED"]);
    assert_eq!(sim.aws.jobs().len(), 1);
    assert!(sim.aws.messages("dead").is_empty());
}

#[tokio::test]
async fn other_services_name_no_permission_either() {
    let builder = Environment::builder()
        .ledger()
        .queue(Duration::ZERO)
        .event_bus()
        .slot(Slot::Conflict);
    let harness = Harness::built(builder).await;
    harness.aws.start_foreign_job(T1);
    for (operation, error, permission) in [
        (Operation::GetItem, "LedgerUnavailable", "dynamodb:GetItem"),
        (Operation::PutItem, "LedgerUnavailable", "dynamodb:PutItem"),
        (
            Operation::SendMessage,
            "QueueUnavailable",
            "sqs:SendMessage",
        ),
        (Operation::PutEvents, "NotAnnounced", "events:PutEvents"),
    ] {
        harness.aws.repair(Operation::GetItem);
        harness.aws.repair(Operation::PutItem);
        harness.aws.repair(Operation::SendMessage);
        harness.aws.fail_always(operation, expired());
        if operation == Operation::PutEvents {
            harness.aws.set_slot(Slot::Unlimited);
        }
        let (error_type, message) = harness.failure(&request_for(T1)).await;
        assert_eq!(error_type, error, "{message}");
        assert!(
            message.contains("ExpiredTokenException") && message.contains("credentials and clock"),
            "{message}"
        );
        assert!(!message.contains(permission), "{message}");
    }
}

#[tokio::test]
async fn a_read_that_was_not_authenticated_names_no_permission() {
    let harness = Harness::new().await;
    let mut payload = request_for(T1);
    payload["jobType"] = json!("AUTO");
    let reason = |outcomes: Vec<Value>| {
        assert_eq!(outcomes[0]["decision"]["rule"], "FACTS_UNAVAILABLE");
        outcomes[0]["decision"]["reason"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    harness
        .aws
        .fail_always(Operation::GetIdMappingTable, expired());
    let unauthenticated = reason(harness.outcomes(&payload).await);
    assert!(
        unauthenticated.contains("ExpiredTokenException")
            && !unauthenticated.contains("cleanrooms:GetIdMappingTable"),
        "{unauthenticated}"
    );
    let denied = Fault::Refuse(Exception::access_denied());
    harness
        .aws
        .fail_always(Operation::GetIdMappingTable, denied);
    payload["requestId"] = json!("another");
    let denied = reason(harness.outcomes(&payload).await);
    assert!(denied.contains("cleanrooms:GetIdMappingTable"), "{denied}");
}
