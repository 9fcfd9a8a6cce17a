//! Tests of payloads (docs/payloads.md), and of the requests that they become.

mod anything;
mod refused;
mod senders;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::*;
use crate::config::Settings;
use crate::error::ErrorType;
use crate::job_type::{JobType, RequestedType, TypeSource};
use crate::request::{Request, Trigger};
use crate::target::AwsLocation;

const M: &str = "11111111-2222-4333-8444-555555555555";
const T: &str = "aaaaaaaa-0001-4000-8000-000000000001";
const T2: &str = "aaaaaaaa-0002-4000-8000-000000000002";
const OWN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:populator";
/// 2026-11-23T12:00:00Z.
const NOW: i64 = 1_795_435_200;

/// The parts of a payload, or of all messages of a batch.
fn parts_of(delivery: Delivery) -> Vec<Part> {
    match delivery {
        Delivery::Direct(parts) | Delivery::Button(parts, _) => parts,
        Delivery::Batch(messages) => messages.into_iter().flat_map(|one| one.parts).collect(),
        Delivery::Status(_) => Vec::new(),
    }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW).unwrap()
}

fn arn(table: &str) -> String {
    format!("arn:aws:cleanrooms:eu-west-1:123456789012:membership/{M}/idmappingtable/{table}")
}

fn read_with(variables: &[(&str, &str)], text: &str) -> Result<Delivery, Error> {
    let settings = Settings::read(|name| {
        let set = variables.iter().find(|(key, _)| *key == name);
        set.map(|(_, value)| (*value).to_owned())
            .or_else(|| (name == "AWS_REGION").then(|| "eu-west-1".to_owned()))
    })
    .unwrap();
    let location = AwsLocation::of(OWN, "eu-west-1");
    let arrival = Arrival {
        request_id: "lambda-request",
        function_arn: OWN,
        at: now(),
        location: &location,
        settings: &settings,
    };
    parse(&Payload::from_text(text), &arrival)
}

fn read(payload: &Value) -> Result<Delivery, Error> {
    read_with(&[], &payload.to_string())
}

/// The one content of a delivery.
fn content(delivery: Delivery) -> Content {
    match delivery {
        Delivery::Direct(mut parts) if parts.len() == 1 => parts.remove(0).content.unwrap(),
        other => panic!("{other:?}"),
    }
}

fn requests_of(delivery: Delivery) -> Vec<Request> {
    match content(delivery) {
        Content::Requests(requests) => requests,
        other => panic!("{other:?}"),
    }
}

fn is_ignored(read: Result<Delivery, Error>) -> bool {
    matches!(content(read.unwrap()), Content::Ignored(_))
}

/// What a message with one part is read into.
fn of_message(message: &Message) -> &Result<Content, Error> {
    assert_eq!(message.parts.len(), 1);
    &message.parts[0].content
}

fn requests(payload: &Value) -> Vec<Request> {
    requests_of(read(payload).unwrap())
}

fn request(payload: &Value) -> Request {
    let requests = requests(payload);
    assert_eq!(requests.len(), 1);
    requests.into_iter().next().unwrap()
}

fn messages(payload: &Value) -> Vec<Message> {
    match read(payload).unwrap() {
        Delivery::Batch(messages) => messages,
        other => panic!("{other:?}"),
    }
}

/// Why a payload is refused: all of it, or its only item.
fn refusal(payload: &Value) -> String {
    let error = match read(payload) {
        Ok(Delivery::Direct(mut parts)) if parts.len() == 1 => parts.remove(0).content.unwrap_err(),
        read => read.unwrap_err(),
    };
    assert_eq!(error.error_type, ErrorType::InvalidRequest);
    error.message
}

/// A bare request for one table, with these members added or replaced.
fn bare(members: Value) -> Value {
    let mut payload = json!({ "membershipIdentifier": M, "idMappingTableIdentifier": T });
    payload
        .as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    payload
}

fn event(source: &str, detail: Value) -> Value {
    json!({
        "version": "0", "id": "event-1", "detail-type": "ID Mapping Population Requested", "source": source,
        "account": "123456789012", "time": "2026-11-23T02:00:00Z", "region": "eu-west-1", "resources": [],
        "detail": detail,
    })
}

fn with(mut payload: Value, name: &str, value: Value) -> Value {
    payload[name] = value;
    payload
}

fn sqs(bodies: &[String]) -> Value {
    let record = |(index, body): (usize, &String)| {
        json!({
            "messageId": format!("message-{index}"), "receiptHandle": "AQEB", "body": body,
            "attributes": { "SentTimestamp": "1795399200123", "ApproximateReceiveCount": "1" },
            "messageAttributes": {}, "md5OfBody": "", "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:requests", "awsRegion": "eu-west-1",
        })
    };
    json!({ "Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>() })
}

fn failure_record(payload: Value) -> Value {
    json!({
        "version": "1.0", "timestamp": "2026-11-23T02:03:07.812Z",
        "requestContext": {
            "requestId": "first-request", "condition": "RetriesExhausted", "functionArn": format!("{OWN}:$LATEST"),
        },
        "requestPayload": payload, "responseContext": { "functionError": "Unhandled" },
    })
}

fn rfc(text: &str) -> OffsetDateTime {
    OffsetDateTime::parse(text, &Rfc3339).unwrap()
}

#[test]
fn a_bare_request_has_its_own_fields_or_those_of_the_invocation() {
    let plain = request(&bare(json!({})));
    assert_eq!(plain.target.membership.as_str(), M);
    assert_eq!(plain.target.table.as_str(), T);
    assert_eq!(
        (plain.requested_type, plain.type_source),
        (RequestedType::ServiceDefault, TypeSource::Setting)
    );
    assert_eq!(
        (
            &*plain.idempotency_key,
            plain.request_id(),
            plain.trigger.clone()
        ),
        ("lambda-request", None, None)
    );
    assert_eq!((plain.time, plain.dry_run), (now(), false));

    let full = request(&bare(json!({
        "jobType": "BATCH", "requestId": "mine", "time": "2026-11-23T03:00:00+02:00", "dryRun": true,
    })));
    assert_eq!(
        (full.requested_type, full.type_source),
        (RequestedType::Exactly(JobType::Batch), TypeSource::Request)
    );
    assert_eq!(
        (&*full.idempotency_key, full.request_id()),
        ("mine", Some("mine"))
    );
    assert_eq!(
        (full.time, full.dry_run),
        (rfc("2026-11-23T01:00:00Z"), true)
    );
}

#[test]
fn null_counts_as_absent() {
    let payload = bare(json!({
        "idMappingTableArn": null, "jobType": null, "targets": null, "requestId": null, "time": null, "dryRun": null,
    }));
    assert_eq!(request(&payload), request(&bare(json!({}))));
    let payload = json!({ "membershipIdentifier": null, "idMappingTableIdentifier": null, "idMappingTableArn": arn(T) });
    assert_eq!(request(&payload), request(&bare(json!({}))));
    let event = with(
        with(
            with(event("x", bare(json!({}))), "id", json!(null)),
            "time",
            json!(null),
        ),
        "resources",
        json!(null),
    );
    assert_eq!(&*request(&event).idempotency_key, "lambda-request");
}

#[test]
fn null_in_a_target_counts_as_absent() {
    let target = bare(json!({
        "idMappingTableArn": null, "jobType": null, "targets": null, "requestId": null, "time": null, "dryRun": null,
    }));
    assert_eq!(
        request(&json!({ "targets": [target] })),
        request(&bare(json!({})))
    );
}

#[test]
fn an_arn_may_replace_the_two_identifiers_or_be_given_with_them() {
    for payload in [
        json!({ "idMappingTableArn": arn(T) }),
        bare(json!({ "idMappingTableArn": arn(T) })),
        json!({ "targets": [{ "idMappingTableArn": arn(T) }] }),
    ] {
        assert_eq!(request(&payload), request(&bare(json!({}))), "{payload}");
    }
}

#[test]
fn each_target_has_its_own_requested_type_or_the_default_of_the_request() {
    let all = requests(&json!({
        "targets": [
            { "membershipIdentifier": M, "idMappingTableIdentifier": T },
            { "idMappingTableArn": arn(T2), "jobType": "BATCH" },
            { "idMappingTableArn": arn(T), "jobType": "SERVICE_DEFAULT" },
        ],
        "jobType": "INCREMENTAL", "requestId": "mine", "dryRun": true,
    }));
    let seen: Vec<_> = all
        .iter()
        .map(|r| {
            (
                r.target.table.as_str(),
                r.requested_type.as_str(),
                &*r.idempotency_key,
                r.dry_run,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (T, "INCREMENTAL", "mine", true),
            (T2, "BATCH", "mine", true),
            (T, "SERVICE_DEFAULT", "mine", true)
        ]
    );
    assert!(
        all.iter()
            .all(|request| request.type_source == TypeSource::Request)
    );
}

#[test]
fn the_same_target_with_the_same_requested_type_is_one_request_at_the_place_of_the_first() {
    let all = requests(&json!({ "targets": [
        { "idMappingTableArn": arn(T), "jobType": "BATCH" },
        { "idMappingTableArn": arn(T2) },
        { "membershipIdentifier": M, "idMappingTableIdentifier": T, "jobType": "BATCH" },
        { "idMappingTableArn": arn(T2), "jobType": "SERVICE_DEFAULT" },
        { "idMappingTableArn": arn(T), "jobType": "INCREMENTAL" },
    ] }));
    let seen: Vec<_> = all
        .iter()
        .map(|r| (r.target.table.as_str(), r.requested_type.as_str()))
        .collect();
    assert_eq!(
        seen,
        [(T, "BATCH"), (T2, "SERVICE_DEFAULT"), (T, "INCREMENTAL")]
    );
}

#[test]
fn an_event_gives_its_id_time_and_trigger() {
    let request = request(&event(
        "com.example",
        bare(json!({ "jobType": "BATCH", "customers": 7 })),
    ));
    assert_eq!(
        (&*request.idempotency_key, request.request_id()),
        ("event-1", Some("event-1"))
    );
    assert_eq!(request.time, rfc("2026-11-23T02:00:00Z"));
    assert_eq!(
        request.trigger,
        Some(
            Trigger {
                source: "com.example".to_owned(),
                detail_type: "ID Mapping Population Requested".to_owned(),
                id: Some("event-1".to_owned()),
                time: Some("2026-11-23T02:00:00Z".to_owned()),
            }
            .into()
        )
    );
}

#[test]
fn a_requests_own_id_and_time_win_over_those_of_the_event() {
    let detail = bare(json!({ "requestId": "mine", "time": "2026-11-23T01:00:00Z" }));
    let request = request(&event("com.example", detail));
    assert_eq!(
        (&*request.idempotency_key, request.request_id()),
        ("mine", Some("mine"))
    );
    assert_eq!(request.time, rfc("2026-11-23T01:00:00Z"));
    assert_eq!(request.trigger.unwrap().id.as_deref(), Some("event-1"));
}

#[test]
fn a_time_after_the_arrival_counts_as_the_arrival() {
    assert_eq!(
        request(&bare(json!({ "time": "2099-01-01T00:00:00Z" }))).time,
        now()
    );
    let event = with(
        event("x", bare(json!({}))),
        "time",
        json!("2099-01-01T00:00:00Z"),
    );
    assert_eq!(request(&event).time, now());
    assert_eq!(
        request(&event).trigger.unwrap().time.as_deref(),
        Some("2099-01-01T00:00:00Z")
    );
}

#[test]
fn any_detail_type_is_accepted_and_a_string_detail_is_parsed() {
    let event = event(
        "com.example",
        json!(bare(json!({ "jobType": "BATCH" })).to_string()),
    );
    let request = request(&with(event, "detail-type", json!("Customer Data Loaded")));
    assert_eq!(
        (
            request.target.table.as_str(),
            request.requested_type.as_str()
        ),
        (T, "BATCH")
    );
}

#[test]
fn the_detail_of_an_aws_event_is_not_read() {
    let configured = arn(T2);
    for detail in [
        json!({ "request-id": "x", "requestID": "y", "membershipId": 1, "jobType": "nonsense", "targets": [] }),
        json!("{}"),
        json!("not json"),
        bare(json!({ "jobType": "BATCH" })),
        json!(null),
    ] {
        let payload = event("aws.s3", detail).to_string();
        let all =
            requests_of(read_with(&[("ID_MAPPING_TABLE_ARNS", &configured)], &payload).unwrap());
        assert_eq!(all.len(), 1);
        assert_eq!(
            (all[0].target.table.as_str(), all[0].requested_type),
            (T2, RequestedType::ServiceDefault)
        );
        assert_eq!(&*all[0].idempotency_key, "event-1");
    }
}

#[test]
fn targets_come_from_the_request_or_the_resources_or_the_setting() {
    let variables = [
        ("ID_MAPPING_TABLE_ARNS", &*arn(T2)),
        ("ALLOW_OTHER_TABLES", "true"),
        ("DEFAULT_JOB_TYPE", "INCREMENTAL"),
    ];
    let tables = |payload: Value| -> Vec<String> {
        let all = requests_of(read_with(&variables, &payload.to_string()).unwrap());
        all.iter()
            .map(|request| {
                format!(
                    "{} {}",
                    request.target.table,
                    request.requested_type.as_str()
                )
            })
            .collect()
    };
    let resources = json!(["arn:aws:s3:::bucket", arn(T), 7, arn(T), arn(T2)]);
    let named = with(
        event(
            "x",
            json!({ "idMappingTableArn": arn(T), "jobType": "BATCH" }),
        ),
        "resources",
        json!([arn(T2)]),
    );
    assert_eq!(tables(named), [format!("{T} BATCH")]);
    let by_resources = with(
        event("x", json!({ "jobType": "BATCH" })),
        "resources",
        resources.clone(),
    );
    assert_eq!(
        tables(by_resources),
        [format!("{T} BATCH"), format!("{T2} BATCH")]
    );
    assert_eq!(
        tables(with(event("aws.glue", json!({})), "resources", resources)),
        [format!("{T} INCREMENTAL"), format!("{T2} INCREMENTAL")]
    );
    assert_eq!(tables(event("x", json!({}))), [format!("{T2} INCREMENTAL")]);
    assert_eq!(
        tables(json!({ "jobType": "BATCH" })),
        [format!("{T2} BATCH")]
    );
    let no_detail = json!({ "detail-type": "t", "source": "x" });
    assert_eq!(tables(no_detail), [format!("{T2} INCREMENTAL")]);
}

#[test]
fn a_batch_holds_payloads_of_every_shape_and_one_bad_message_does_not_affect_the_others() {
    let messages = messages(&sqs(&[
        bare(json!({})).to_string(),
        event("com.example", bare(json!({}))).to_string(),
        failure_record(bare(json!({}))).to_string(),
        "not json".to_owned(),
        json!({ "membershipId": M }).to_string(),
        sqs(&[bare(json!({})).to_string()]).to_string(),
        event("id-mapping-populator", json!({})).to_string(),
    ]));
    let name = |index: usize| match of_message(&messages[index]) {
        Ok(Content::Requests(requests)) => (
            requests[0].idempotency_key.to_string(),
            requests[0].request_id().map(str::to_owned),
            requests[0].time,
        ),
        other => panic!("{other:?}"),
    };
    let reason = |index: usize| {
        of_message(&messages[index])
            .as_ref()
            .unwrap_err()
            .message
            .clone()
    };
    let sent = OffsetDateTime::from_unix_timestamp_nanos(1_795_399_200_123_000_000).unwrap();
    assert_eq!(messages[0].id, "message-0");
    assert_eq!(name(0), ("message-0".to_owned(), None, sent));
    assert_eq!(
        name(1),
        (
            "event-1".to_owned(),
            Some("event-1".to_owned()),
            rfc("2026-11-23T02:00:00Z")
        )
    );
    assert_eq!(name(2), ("first-request".to_owned(), None, sent));
    assert!(
        reason(3).contains("$.Records[3].body is not valid JSON"),
        "{}",
        reason(3)
    );
    assert!(
        reason(4)
            .contains("$.Records[4].body.membershipId is not known: write `membershipIdentifier`"),
        "{}",
        reason(4)
    );
    assert!(
        reason(5).contains("$.Records[5].body is a batch"),
        "{}",
        reason(5)
    );
    assert!(matches!(of_message(&messages[6]), Ok(Content::Ignored(_))));
}

#[test]
fn a_malformed_record_does_not_affect_the_others_and_its_values_are_not_repeated() {
    for (name, value) in [
        ("attributes", json!("hunter2")),
        ("attributes", json!(null)),
        ("body", json!(424_242)),
    ] {
        let mut batch = sqs(&[bare(json!({})).to_string(), bare(json!({})).to_string()]);
        batch["Records"][0][name] = value;
        let messages = messages(&batch);
        let reason = of_message(&messages[0])
            .as_ref()
            .unwrap_err()
            .message
            .as_str();
        let expected = format!("the payload is refused: $.Records[0].{name} must be ");
        assert!(reason.starts_with(&expected), "{reason}");
        assert!(
            !reason.contains("hunter2") && !reason.contains("424242"),
            "{reason}"
        );
        assert!(of_message(&messages[1]).is_ok());
    }
}

#[test]
fn an_invalid_request_id_of_a_record_is_ignored() {
    for id in [json!(""), json!("x".repeat(4_097)), json!(7), json!(null)] {
        let mut record = failure_record(bare(json!({})));
        record["requestContext"]["requestId"] = id;
        assert_eq!(&*request(&record).idempotency_key, "lambda-request");
    }
}

#[test]
fn a_failure_record_is_the_payload_that_failed_with_its_first_request_id() {
    let record = failure_record(bare(json!({ "jobType": "BATCH" })));
    assert_eq!(&*request(&record).idempotency_key, "first-request");
    assert_eq!(request(&record).request_id(), None);
    assert_eq!(
        &*request(&failure_record(record)).idempotency_key,
        "first-request"
    );
    assert_eq!(
        &*request(&failure_record(bare(json!({ "requestId": "mine" })))).idempotency_key,
        "mine"
    );
    assert_eq!(
        &*request(&failure_record(event("x", bare(json!({}))))).idempotency_key,
        "event-1"
    );
    // A message keeps the name that it had at its first delivery.
    let batch = messages(&failure_record(sqs(&[bare(json!({})).to_string()])));
    assert!(
        matches!(of_message(&batch[0]), Ok(Content::Requests(requests)) if &*requests[0].idempotency_key == "message-0")
    );
}

#[test]
fn own_outcomes_and_failed_calls_are_ignored() {
    let mut ignored = vec![event("id-mapping-populator", bare(json!({})))];
    for detail_type in [
        "ID Mapping Job Started",
        "ID Mapping Request Covered",
        "ID Mapping Request Waiting",
        "ID Mapping Request Rejected",
        "ID Mapping Job Succeeded",
        "ID Mapping Job Failed",
    ] {
        ignored.push(with(
            event("another-populator", bare(json!({}))),
            "detail-type",
            json!(detail_type),
        ));
    }
    let call = with(
        event(
            "aws.entityresolution",
            json!({ "errorCode": "AccessDenied" }),
        ),
        "detail-type",
        json!("AWS API Call via CloudTrail"),
    );
    ignored.push(with(call.clone(), "resources", json!([arn(T)])));
    for payload in ignored {
        assert!(is_ignored(read(&payload)), "{payload}");
    }
    let succeeded = with(
        with(call, "detail", json!({ "errorCode": null })),
        "resources",
        json!([arn(T)]),
    );
    assert_eq!(requests(&succeeded).len(), 1);
    let renamed = read_with(
        &[("EVENT_SOURCE", "mine")],
        &event("mine", bare(json!({}))).to_string(),
    );
    assert!(is_ignored(renamed));
    let other = read_with(
        &[("EVENT_SOURCE", "mine")],
        &event("id-mapping-populator", bare(json!({}))).to_string(),
    );
    assert_eq!(requests_of(other.unwrap()).len(), 1);
}

#[test]
fn the_scoped_key_joins_key_target_and_requested_job_type() {
    let key = |payload: Value| request(&payload).scoped_key();
    let one = key(bare(json!({ "requestId": "a" })));
    // The key has the type that the request itself asks for: the default may differ at the next delivery.
    let settings = [("DEFAULT_JOB_TYPE", "BATCH")];
    let later = read_with(&settings, &bare(json!({ "requestId": "a" })).to_string());
    let later = requests_of(later.unwrap());
    assert_eq!(one, later[0].scoped_key());
    for other in [
        bare(json!({ "requestId": "a", "jobType": "SERVICE_DEFAULT" })),
        bare(json!({ "requestId": "b" })),
        bare(json!({ "requestId": "a", "jobType": "BATCH" })),
        bare(json!({ "requestId": "a", "idMappingTableIdentifier": T2 })),
        bare(json!({})),
    ] {
        assert_ne!(one, key(other.clone()), "{other}");
    }
}
