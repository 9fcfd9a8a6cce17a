//! Outcome events: what is published, and what happens when it cannot be.

use std::time::{Duration, Instant};

use fake_aws::{Exception, Fault, Operation, Slot};
use id_mapping_populator::handler::Invocation;
use serde_json::{Value, json};

use crate::harness::{Harness, M, T1, T2, request_for, request_for_all, table_arn};
use crate::in_process;
use crate::simulator::{BEGIN, Simulator};

fn entries(harness: &Harness) -> Vec<Value> {
    let calls = harness.aws.calls_of(Operation::PutEvents);
    calls
        .into_iter()
        .flat_map(|call| call.body["Entries"].as_array().unwrap().clone())
        .collect()
}

#[tokio::test]
async fn the_entry_names_bus_source_type_resources_and_time() {
    let bus = "arn:aws:events:eu-west-1:123456789012:event-bus/data";
    let harness = Harness::with(&[
        ("EVENT_BUS_NAME", bus),
        ("EVENT_SOURCE", "com.example.populator"),
    ])
    .await;
    let outcomes = harness.outcomes(&request_for(T1)).await;
    let entries = entries(&harness);
    assert_eq!(entries.len(), 1);
    let entry = &entries[0];
    assert_eq!(entry["EventBusName"], bus);
    assert_eq!(entry["Source"], "com.example.populator");
    assert_eq!(entry["DetailType"], "ID Mapping Job Started");
    let membership = format!("arn:aws:cleanrooms:eu-west-1:123456789012:membership/{M}");
    assert_eq!(entry["Resources"], json!([table_arn(T1), membership]));
    let age =
        time::OffsetDateTime::now_utc().unix_timestamp() as f64 - entry["Time"].as_f64().unwrap();
    assert!(age.abs() < 60.0, "{age}");
    let detail: Value = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
    assert_eq!(detail, outcomes[0]);
}

#[tokio::test]
async fn without_a_bus_outcomes_are_only_returned() {
    let harness = Harness::with(&[]).await;
    assert_eq!(harness.outcomes(&request_for(T1)).await.len(), 1);
    assert_eq!(harness.aws.calls_of(Operation::PutEvents).len(), 0);
}

#[tokio::test]
async fn an_entry_that_eventbridge_failed_on_is_sent_again() {
    for code in ["ThrottlingException", "InternalFailure"] {
        let harness = Harness::new().await;
        harness
            .aws
            .fail_next(Operation::PutEvents, Fault::FailEntries(code.to_owned()));
        harness
            .aws
            .fail_next(Operation::PutEvents, Fault::FailEntries(code.to_owned()));
        let outcomes = harness.outcomes(&request_for(T1)).await;
        assert_eq!(
            harness.announced(),
            [("ID Mapping Job Started".to_owned(), outcomes[0].clone())],
            "{code}"
        );
        assert_eq!(entries(&harness).len(), 3);
        assert_eq!(harness.aws.jobs().len(), 1);
    }
}

#[tokio::test]
async fn a_request_that_eventbridge_failed_on_is_sent_again() {
    let harness = Harness::new().await;
    harness
        .aws
        .fail_next(Operation::PutEvents, Fault::Status(500, "{}".to_owned()));
    harness.outcomes(&request_for(T1)).await;
    assert_eq!(harness.announced().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_announced_fails_with_the_jobs_id() {
    let denied =
        r#"{"__type":"AccessDeniedException","message":"events:PutEvents is not allowed"}"#;
    for (fault, said, puts) in [
        (
            Fault::FailEntries("NotAuthorizedForSourceException".to_owned()),
            "NotAuthorizedForSourceException: refused on order",
            1,
        ),
        (
            Fault::FailEntries("ThrottlingException".to_owned()),
            "ThrottlingException: refused on order",
            3,
        ),
        (
            Fault::Status(400, denied.to_owned()),
            "AccessDeniedException: events:PutEvents is not allowed",
            1,
        ),
        (
            Fault::Status(500, "{}".to_owned()),
            "no error code: no message",
            3,
        ),
        (Fault::Drop, "dispatch failure", 3),
    ] {
        let harness = Harness::new().await;
        harness.aws.fail_always(Operation::PutEvents, fault);
        let (error_type, message) = harness.failure(&request_for(T1)).await;
        assert_eq!(error_type, "NotAnnounced");
        let head = format!(
            "STARTED of membership/{M}/idmappingtable/{T1} (job {}) is not announced: PutEvents",
            harness.aws.jobs()[0]
        );
        assert!(message.starts_with(&head), "{message}");
        assert!(
            message.contains("on event bus default failed: ") && message.contains(said),
            "{message}"
        );
        assert_eq!(
            harness.aws.calls_of(Operation::PutEvents).len(),
            puts,
            "{message}"
        );
        assert_eq!(harness.populated().len(), 1);
    }
}

#[tokio::test]
async fn an_answer_that_does_not_say_it_took_the_event_is_no_announcement() {
    for body in [
        "{}",
        "",
        r#"{"FailedEntryCount":0,"Entries":[]}"#,
        r#"{"FailedEntryCount":0,"Entries":[{"ErrorCode":"X"}]}"#,
    ] {
        let harness = Harness::new().await;
        harness
            .aws
            .fail_always(Operation::PutEvents, Fault::Answer(body.to_owned()));
        assert_eq!(
            harness.failure(&request_for(T1)).await.0,
            "NotAnnounced",
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_bus_that_never_answers_is_abandoned_before_the_deadline() {
    let mut harness = Harness::new().await;
    harness.remaining = time::Duration::seconds(3);
    harness
        .aws
        .fail_always(Operation::PutEvents, Fault::AcceptAndHang);
    let began = Instant::now();
    let (error_type, message) = harness.failure(&request_for(T1)).await;
    assert_eq!(error_type, "NotAnnounced", "{message}");
    assert!(message.contains("no answer within"), "{message}");
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_rejection_that_cannot_be_announced_is_still_the_rejection() {
    let harness = Harness::new().await;
    harness.aws.fail_always(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::access_denied()),
    );
    harness.aws.fail_always(
        Operation::PutEvents,
        Fault::FailEntries("MalformedDetail".to_owned()),
    );
    let (error_type, message) = harness.failure(&request_for(T1)).await;
    assert_eq!(error_type, "AccessDenied");
    assert!(
        message.contains("is not authorized") && message.contains("REJECTED of membership/"),
        "{message}"
    );
}

#[tokio::test]
async fn the_same_outcome_has_the_same_event_id_and_another_has_another() {
    let harness = Harness::new().await;
    let named = |name: &str, table: &str, job_type: &str| {
        let mut payload = request_for(table);
        payload["requestId"] = json!(name);
        payload["jobType"] = json!(job_type);
        payload
    };
    let requests = [
        named("a", T1, "BATCH"),
        named("a", T1, "BATCH"),
        named("b", T1, "BATCH"),
        named("a", T1, "INCREMENTAL"),
        named("a", T2, "BATCH"),
    ];
    harness.aws.fail_always(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::not_found()),
    );
    for request in &requests {
        harness.failure(request).await;
    }
    let rejected: Vec<Value> = harness
        .announced()
        .into_iter()
        .map(|(_, detail)| detail["eventId"].clone())
        .collect();
    assert_eq!(rejected[0], rejected[1]);
    assert_eq!(
        rejected
            .iter()
            .map(Value::to_string)
            .collect::<std::collections::HashSet<_>>()
            .len(),
        4
    );
    let uuid = rejected[0].as_str().unwrap();
    assert_eq!((uuid.len(), &uuid[14..15]), (36, "5"));

    let harness = Harness::new().await;
    let first = harness.outcomes(&requests[0]).await[0]["eventId"].clone();
    // Another job: another outcome.
    let second = harness.outcomes(&requests[0]).await[0]["eventId"].clone();
    assert_ne!(first, second);
    assert_ne!(first, rejected[0]);
}

#[tokio::test(start_paused = true)]
async fn the_trace_continues_in_events_and_messages() {
    let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let of_events = |sim: &Simulator| -> Vec<Value> {
        let calls = sim.aws.calls_of(Operation::PutEvents);
        let entry = |call: &fake_aws::Call| call.body["Entries"][0]["TraceHeader"].clone();
        calls.iter().map(entry).collect()
    };
    let of_messages = |sim: &Simulator| -> Vec<Value> {
        let calls = sim.aws.calls_of(Operation::SendMessage);
        let attribute = |call: &fake_aws::Call| {
            call.body["MessageSystemAttributes"]["AWSTraceHeader"]["StringValue"].clone()
        };
        calls.iter().map(attribute).collect()
    };
    for (given, passed_on) in [
        (Some(header.to_owned()), json!(header)),
        (None, Value::Null),
        // Not in X-Ray's form: SQS would refuse the message.
        (Some("Root=1-5759e988".to_owned()), Value::Null),
    ] {
        let mut sim = Simulator::new(Slot::Conflict).await;
        sim.trace_header = given;
        sim.outcomes(&request_for_all(&[T1, T2])).await;
        assert_eq!(of_events(&sim), vec![passed_on.clone(); 2]);
        assert_eq!(of_messages(&sim), [passed_on]);
    }
}

#[test]
fn the_id_of_a_trace_is_the_headers_root() {
    let id = |header: Option<&str>| {
        let invocation = Invocation {
            trace_header: header.map(str::to_owned),
            ..in_process::invocation("request", BEGIN)
        };
        invocation.trace_id().map(str::to_owned)
    };
    let root = "1-5759e988-bd862e3fe1be46a994272793";
    let header = format!("Root={root};Parent=53995c3f42cd8ad8;Sampled=1");
    assert_eq!(id(Some(&header)).as_deref(), Some(root));
    assert_eq!(id(Some("Sampled=1")), None);
    assert_eq!(id(Some(&format!("{header};é"))), None);
    assert_eq!(id(None), None);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_published_again_from_a_dead_letter_is_the_same_event() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    // Published, but the answer is lost.
    sim.aws
        .fail_next(Operation::PutEvents, Fault::AcceptAndHang);
    sim.deliver(0, &request_for(T1)).await;
    // It is redriven from the dead-letter queue, as Lambda's record.
    let delivery = sim.repeats.pop().unwrap();
    let record = json!({
        "version": "1.0", "timestamp": "2026-11-23T02:00:00.000Z",
        "requestContext": {
            "requestId": delivery.request_id, "functionArn": fake_aws::FUNCTION_ARN, "condition": "RetriesExhausted",
        },
        "requestPayload": delivery.payload,
    });
    sim.aws.send("waiting", &record.to_string());
    sim.pass(Duration::from_secs(60));
    sim.poll(0).await;
    assert_eq!(sim.announced(), ["STARTED", "STARTED"]);
    assert_eq!(sim.details()[0], sim.details()[1]);
    assert_eq!(sim.details()[0].get("requestId"), None);
}
