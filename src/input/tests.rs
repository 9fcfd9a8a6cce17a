use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::job_type::JobType;

const M: &str = "11111111-2222-4333-8444-555555555555";
const T: &str = "aaaaaaaa-0001-4000-8000-000000000001";
const T2: &str = "aaaaaaaa-0002-4000-8000-000000000002";
/// 2026-11-23T12:00:00Z.
const NOW: i64 = 1_795_435_200;

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
    let home = Home::of(
        "arn:aws:lambda:eu-west-1:123456789012:function:populator",
        "eu-west-1",
    );
    let arrival = Arrival {
        request_id: "lambda-request",
        at: now(),
        home: &home,
        settings: &settings,
    };
    parse(&Payload::from_text(text), &arrival)
}

fn read(payload: &Value) -> Result<Delivery, Error> {
    read_with(&[], &payload.to_string())
}

fn requests_of(delivery: Delivery) -> Vec<Request> {
    match delivery {
        Delivery::Direct(Content::Requests(requests)) => requests,
        other => panic!("{other:?}"),
    }
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

fn refusal(payload: &Value) -> String {
    let error = read(payload).unwrap_err();
    assert_eq!(error.error_type, ErrorType::InvalidRequest);
    error.message
}

/// A bare request for one table, with these members besides or instead.
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
        "requestContext": { "requestId": "first-request", "condition": "RetriesExhausted" },
        "requestPayload": payload, "responseContext": { "functionError": "Unhandled" },
    })
}

fn rfc(text: &str) -> OffsetDateTime {
    OffsetDateTime::parse(text, &Rfc3339).unwrap()
}

// ---- What goes in --------------------------------------------------------------------------

#[test]
fn a_bare_request_has_its_own_fields_or_lambdas() {
    let plain = request(&bare(json!({})));
    assert_eq!(plain.target.membership.as_str(), M);
    assert_eq!(plain.target.table.as_str(), T);
    assert_eq!(
        (plain.wish, plain.wished_by),
        (Wish::ServiceDefault, WishedBy::Setting)
    );
    assert_eq!(
        (plain.name.as_str(), plain.request_id, plain.trigger),
        ("lambda-request", None, None)
    );
    assert_eq!((plain.time, plain.dry_run), (now(), false));

    let full = request(&bare(json!({
        "jobType": "BATCH", "requestId": "mine", "time": "2026-11-23T03:00:00+02:00", "dryRun": true,
    })));
    assert_eq!(
        (full.wish, full.wished_by),
        (Wish::Exactly(JobType::Batch), WishedBy::Request)
    );
    assert_eq!(
        (full.name.as_str(), full.request_id.as_deref()),
        ("mine", Some("mine"))
    );
    assert_eq!(
        (full.time, full.dry_run),
        (rfc("2026-11-23T01:00:00Z"), true)
    );
}

#[test]
fn null_is_as_if_absent() {
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
    assert_eq!(request(&event).name, "lambda-request");
}

#[test]
fn null_in_a_target_is_as_if_absent_too() {
    let target = bare(json!({
        "idMappingTableArn": null, "jobType": null, "targets": null, "requestId": null, "time": null, "dryRun": null,
    }));
    assert_eq!(
        request(&json!({ "targets": [target] })),
        request(&bare(json!({})))
    );
}

#[test]
fn an_arn_stands_in_place_of_the_two_identifiers_or_beside_them() {
    for payload in [
        json!({ "idMappingTableArn": arn(T) }),
        bare(json!({ "idMappingTableArn": arn(T) })),
        json!({ "targets": [{ "idMappingTableArn": arn(T) }] }),
    ] {
        assert_eq!(request(&payload), request(&bare(json!({}))), "{payload}");
    }
}

#[test]
fn each_target_has_its_own_wish_or_the_one_beside() {
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
                r.wish.as_str(),
                r.name.as_str(),
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
            .all(|request| request.wished_by == WishedBy::Request)
    );
}

#[test]
fn the_same_target_with_the_same_wish_is_one_request_at_the_place_of_the_first() {
    let all = requests(&json!({ "targets": [
        { "idMappingTableArn": arn(T), "jobType": "BATCH" },
        { "idMappingTableArn": arn(T2) },
        { "membershipIdentifier": M, "idMappingTableIdentifier": T, "jobType": "BATCH" },
        { "idMappingTableArn": arn(T2), "jobType": "SERVICE_DEFAULT" },
        { "idMappingTableArn": arn(T), "jobType": "INCREMENTAL" },
    ] }));
    let seen: Vec<_> = all
        .iter()
        .map(|r| (r.target.table.as_str(), r.wish.as_str()))
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
        (request.name.as_str(), request.request_id.as_deref()),
        ("event-1", Some("event-1"))
    );
    assert_eq!(request.time, rfc("2026-11-23T02:00:00Z"));
    assert_eq!(
        request.trigger,
        Some(Trigger {
            source: "com.example".to_owned(),
            detail_type: "ID Mapping Population Requested".to_owned(),
            id: Some("event-1".to_owned()),
            time: Some("2026-11-23T02:00:00Z".to_owned()),
        })
    );
}

#[test]
fn a_requests_own_name_and_time_go_before_the_events() {
    let detail = bare(json!({ "requestId": "mine", "time": "2026-11-23T01:00:00Z" }));
    let request = request(&event("com.example", detail));
    assert_eq!(
        (request.name.as_str(), request.request_id.as_deref()),
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
fn any_detail_type_is_taken_and_a_string_detail_is_parsed() {
    let event = event(
        "com.example",
        json!(bare(json!({ "jobType": "BATCH" })).to_string()),
    );
    let request = request(&with(event, "detail-type", json!("Customer Data Loaded")));
    assert_eq!(
        (request.target.table.as_str(), request.wish.as_str()),
        (T, "BATCH")
    );
}

#[test]
fn the_detail_of_an_aws_event_is_not_read() {
    let configured = arn(T2);
    for detail in [
        json!({ "request-id": "x", "requestID": "y", "membershipId": 1, "jobType": "nonsense", "targets": [] }),
        json!("{}"),
        json!("no json"),
        bare(json!({ "jobType": "BATCH" })),
        json!(null),
    ] {
        let payload = event("aws.s3", detail).to_string();
        let all =
            requests_of(read_with(&[("ID_MAPPING_TABLE_ARNS", &configured)], &payload).unwrap());
        assert_eq!(all.len(), 1);
        assert_eq!(
            (all[0].target.table.as_str(), all[0].wish),
            (T2, Wish::ServiceDefault)
        );
        assert_eq!(all[0].name, "event-1");
    }
}

#[test]
fn targets_come_from_the_request_else_the_resources_else_the_setting() {
    let variables = [
        ("ID_MAPPING_TABLE_ARNS", &*arn(T2)),
        ("DEFAULT_JOB_TYPE", "INCREMENTAL"),
    ];
    let tables = |payload: Value| -> Vec<String> {
        let all = requests_of(read_with(&variables, &payload.to_string()).unwrap());
        all.iter()
            .map(|request| format!("{} {}", request.target.table, request.wish.as_str()))
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
fn a_batch_holds_payloads_of_every_shape_and_one_bad_message_stays_alone() {
    let messages = messages(&sqs(&[
        bare(json!({})).to_string(),
        event("com.example", bare(json!({}))).to_string(),
        failure_record(bare(json!({}))).to_string(),
        "no json".to_owned(),
        json!({ "membershipId": M }).to_string(),
        sqs(&[bare(json!({})).to_string()]).to_string(),
        event("id-mapping-populator", json!({})).to_string(),
    ]));
    let name = |index: usize| match &messages[index].content {
        Ok(Content::Requests(requests)) => (
            requests[0].name.clone(),
            requests[0].request_id.clone(),
            requests[0].time,
        ),
        other => panic!("{other:?}"),
    };
    let fault = |index: usize| {
        messages[index]
            .content
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
        fault(3).contains("$.Records[3].body is no JSON"),
        "{}",
        fault(3)
    );
    assert!(
        fault(4)
            .contains("$.Records[4].body.membershipId is not known: write `membershipIdentifier`"),
        "{}",
        fault(4)
    );
    assert!(
        fault(5).contains("$.Records[5].body is a batch"),
        "{}",
        fault(5)
    );
    assert!(matches!(&messages[6].content, Ok(Content::Ignored(_))));
}

#[test]
fn a_malformed_record_stays_alone_and_its_values_are_not_repeated() {
    for (name, value) in [
        ("attributes", json!("hunter2")),
        ("attributes", json!({ "hunter2": 5 })),
        ("body", json!(424_242)),
        ("messageAttributes", json!("hunter2")),
    ] {
        let mut batch = sqs(&[bare(json!({})).to_string(), bare(json!({})).to_string()]);
        batch["Records"][0][name] = value;
        let messages = messages(&batch);
        let fault = messages[0].content.as_ref().unwrap_err().message.as_str();
        let said = "the payload is refused: $.Records[0] is no SQS message: send the record as SQS delivers it";
        assert_eq!(fault, said);
        assert!(messages[1].content.is_ok());
    }
}

#[test]
fn a_records_request_id_that_is_no_name_is_none() {
    for id in [json!(""), json!("x".repeat(4_097)), json!(7), json!(null)] {
        let mut record = failure_record(bare(json!({})));
        record["requestContext"]["requestId"] = id;
        assert_eq!(request(&record).name, "lambda-request");
    }
}

#[test]
fn a_failure_record_is_the_payload_that_failed_under_its_first_name() {
    let record = failure_record(bare(json!({ "jobType": "BATCH" })));
    assert_eq!(request(&record).name, "first-request");
    assert_eq!(request(&record).request_id, None);
    assert_eq!(request(&failure_record(record)).name, "first-request");
    assert_eq!(
        request(&failure_record(bare(json!({ "requestId": "mine" })))).name,
        "mine"
    );
    assert_eq!(
        request(&failure_record(event("x", bare(json!({}))))).name,
        "event-1"
    );
    let batch = messages(&failure_record(sqs(&[bare(json!({})).to_string()])));
    assert!(
        matches!(&batch[0].content, Ok(Content::Requests(requests)) if requests[0].name == "first-request")
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
        assert!(
            matches!(read(&payload), Ok(Delivery::Direct(Content::Ignored(_)))),
            "{payload}"
        );
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
    assert!(matches!(renamed, Ok(Delivery::Direct(Content::Ignored(_)))));
    let other = read_with(
        &[("EVENT_SOURCE", "mine")],
        &event("id-mapping-populator", bare(json!({}))).to_string(),
    );
    assert!(matches!(other, Ok(Delivery::Direct(Content::Requests(_)))));
}

#[test]
fn the_key_joins_name_target_and_wish() {
    let key = |payload: Value| request(&payload).key();
    let one = key(bare(json!({ "requestId": "a" })));
    assert_eq!(
        one,
        key(bare(
            json!({ "requestId": "a", "jobType": "SERVICE_DEFAULT" })
        ))
    );
    for other in [
        bare(json!({ "requestId": "b" })),
        bare(json!({ "requestId": "a", "jobType": "BATCH" })),
        bare(json!({ "requestId": "a", "idMappingTableIdentifier": T2 })),
        bare(json!({})),
    ] {
        assert_ne!(one, key(other.clone()), "{other}");
    }
}

// ---- What is refused -----------------------------------------------------------------------

#[rustfmt::skip] // one row, one line
#[test]
fn every_refusal_names_path_fault_and_remedy() {
    let long = "x".repeat(4_097);
    let upper = M.replace("1111-", "11AA-");
    let many: Vec<Value> = (0..101)
        .map(|_| json!({ "idMappingTableArn": arn(T) }))
        .collect();
    let other = |from: &str, to: &str| json!({ "idMappingTableArn": arn(T).replace(from, to) });
    for (payload, path, fault) in [
        // a jobType outside the list
        (bare(json!({ "jobType": "batch" })), "$.jobType ", "is no job type: write BATCH"),
        (bare(json!({ "jobType": "" })), "$.jobType ", "is no job type: write BATCH"),
        (bare(json!({ "jobType": 7 })), "$.jobType ", "is no string: write a job type"),
        (bare(json!({ "jobType": "AUTO" })), "$.jobType ", "which this version does not choose by: write BATCH"),
        (json!({ "targets": [{ "idMappingTableArn": arn(T), "jobType": "x" }] }), "$.targets[0].jobType ", "write BATCH"),
        // an identifier that is none
        (bare(json!({ "membershipIdentifier": upper })), "$.membershipIdentifier ", "upper-case letters and must be"),
        (bare(json!({ "membershipIdentifier": "x" })), "$.membershipIdentifier ", "has 1 characters and must be a UUID"),
        (bare(json!({ "idMappingTableIdentifier": "" })), "$.idMappingTableIdentifier ", "must be a UUID of 36"),
        (bare(json!({ "idMappingTableIdentifier": [T] })), "$.idMappingTableIdentifier ", "is no string: write a lower-case UUID"),
        // an ARN of another kind, partition, Region, account
        (json!({ "idMappingTableArn": "arn:aws:s3:::b" }), "$.idMappingTableArn ", "is no ARN of an ID mapping table (arn:PARTITION"),
        (json!({ "idMappingTableArn": 1 }), "$.idMappingTableArn ", "is no string: write an ARN"),
        (other(T, "x"), "$.idMappingTableArn ", "has a table that has 1 characters"),
        (other("arn:aws:", "arn:aws-cn:"), "$.idMappingTableArn ", "is of partition aws-cn and the function runs in aws:"),
        (other("eu-west-1", "us-east-1"), "$.idMappingTableArn ", "is of Region us-east-1 and the function runs in eu-west-1:"),
        (other("123456789012", "999999999999"), "$.idMappingTableArn ", "is of account 999999999999"),
        (with(event("x", json!({})), "resources", json!(["arn:aws:s3:::b", arn(T).replace("eu-west-1", "us-east-1")])), "$.resources[1] ", "is of Region us-east-1"),
        (with(event("aws.x", json!({})), "resources", json!([arn("x")])), "$.resources[0] ", "has a table that"),
        (with(event("x", bare(json!({}))), "resources", json!([arn(T2).replace("eu-west-1", "us-east-1")])), "$.resources[0] ", "is of Region us-east-1"),
        (with(event("x", bare(json!({}))), "resources", json!([arn(T2).replace("/idmappingtable/", "/idMappingTables/")])), "$.resources[0] ", "is no ARN of an ID mapping table"),
        // halves and doubles
        (json!({ "membershipIdentifier": M }), "$.idMappingTableIdentifier ", "is missing beside membershipIdentifier"),
        (json!({ "idMappingTableIdentifier": T }), "$.membershipIdentifier ", "is missing beside idMappingTableIdentifier"),
        (json!({ "targets": [{ "membershipIdentifier": M }] }), "$.targets[0].idMappingTableIdentifier ", "is missing beside"),
        (bare(json!({ "idMappingTableArn": arn(T2) })), "$.idMappingTableIdentifier ", "is another than idMappingTableArn names"),
        (json!({ "idMappingTableArn": arn(T), "membershipIdentifier": T }), "$.membershipIdentifier ", "is another than"),
        (bare(json!({ "targets": [{ "idMappingTableArn": arn(T) }] })), "$.targets ", "stands beside a target of the request itself"),
        // targets
        (json!({ "targets": [] }), "$.targets ", "is empty: name at least one"),
        (json!({ "targets": {} }), "$.targets ", "is no list: write a list"),
        (json!({ "targets": [null] }), "$.targets[0] ", "is no object: write membershipIdentifier"),
        (json!({ "targets": [{}] }), "$.targets[0] ", "names no table: write membershipIdentifier"),
        (json!({ "targets": [{ "idMappingTableArn": arn(T), "dryRun": true }] }), "$.targets[0].dryRun ", "belongs beside `targets`"),
        (json!({ "targets": many }), "$.targets ", "names 101 ID mapping tables and may name 100: split"),
        (with(event("x", json!({})), "resources", json!(vec![arn(T); 101])), "$.resources ", "names 101 ID mapping tables"),
        // requestId, dryRun, time
        (bare(json!({ "requestId": "" })), "$.requestId ", "is no string of 1 to 4096 characters: write"),
        (bare(json!({ "requestId": long })), "$.requestId ", "is no string of 1 to 4096 characters"),
        (bare(json!({ "requestId": 7 })), "$.requestId ", "is no string of 1 to 4096 characters"),
        (bare(json!({ "dryRun": "true" })), "$.dryRun ", "is no boolean: write true or false"),
        (bare(json!({ "dryRun": 0 })), "$.dryRun ", "is no boolean"),
        (bare(json!({ "time": "2026-11-23" })), "$.time ", "is no RFC 3339 time: write one such as"),
        (bare(json!({ "time": "yesterday" })), "$.time ", "is no RFC 3339 time"),
        (bare(json!({ "time": "2026-02-30T00:00:00Z" })), "$.time ", "is no RFC 3339 time"),
        (bare(json!({ "time": "2026-11-23X02:00:00Z" })), "$.time ", "is no RFC 3339 time"),
        (bare(json!({ "time": "" })), "$.time ", "is no RFC 3339 time"),
        (with(event("x", bare(json!({}))), "time", json!("")), "$.time ", "is no RFC 3339 time"),
        (bare(json!({ "time": "2026-11-23T02:00:00" })), "$.time ", "is no RFC 3339 time"),
        (bare(json!({ "time": 1_795_399_200 })), "$.time ", "is no string: write an RFC 3339 time"),
        // payloads that are no object
        (json!(null), "$ ", "is null: send a JSON object"),
        (json!(true), "$ ", "is a boolean: send a JSON object"),
        (json!(7), "$ ", "is a number: send a JSON object"),
        (json!("{}"), "$ ", "is a string: send a JSON object"),
        (json!([{}]), "$ ", "is a list: send a JSON object"),
        (failure_record(json!(null)), "$.requestPayload ", "is null: send a JSON object"),
        // names
        (bare(json!({ "priority": "high" })), "$.priority ", "is not known: remove it, or write one of membershipIdentifier"),
        (bare(json!({ "priority": null })), "$.priority ", "is not known"),
        (bare(json!({ "source": "x" })), "$.source ", "has both `source` and `detail-type`"),
        (json!({ "Records": [{ "eventSource": "aws:s3" }] }), "$.Records ", "only those of SQS are taken"),
        (json!({ "membershipId": M, "idMappingTableIdentifier": T }), "$.membershipId ", "write `membershipIdentifier`"),
        (bare(json!({ "job_type": "BATCH" })), "$.job_type ", "write `jobType`"),
        (json!({ "membershipIdentifier": M, "idMappingTableID": T }), "$.idMappingTableID ", "write `idMappingTableIdentifier`"),
        (event("x", bare(json!({ "job_type": "BATCH" }))), "$.detail.job_type ", "write `jobType`"),
        (event("x", json!(json!({ "membershipId": M }).to_string())), "$.detail.membershipId ", "write `membershipIdentifier`"),
        (event("x", json!({ "targets": [{ "idMappingTableArn": arn(T), "JobType": "x" }] })), "$.detail.targets[0].JobType ", "write `jobType`"),
        (failure_record(event("x", json!({ "dry_run": 1 }))), "$.requestPayload.detail.dry_run ", "write `dryRun`"),
        // no target
        (json!({}), "$ ", "names no ID mapping table, and neither do"),
        (event("x", json!({})), "$.detail ", "names no ID mapping table"),
        (event("aws.s3", bare(json!({}))), "$.detail ", "names no ID mapping table"),
        // the envelope
        (event("x", json!([])), "$.detail ", "is no object: write"),
        (event("x", json!("no json")), "$.detail ", "is no JSON: "),
        (event("x", json!("[]")), "$.detail ", "is a list: send a JSON object"),
        (event("x", json!("")), "$.detail ", "is no JSON: "),
        (with(event("x", bare(json!({}))), "time", json!("noon")), "$.time ", "is no RFC 3339 time"),
        (with(event("x", bare(json!({}))), "id", json!(7)), "$.id ", "is no string of at most 4096"),
        (with(event("x", bare(json!({}))), "id", json!(long)), "$.id ", "is no string of at most 4096"),
        (with(event("x", bare(json!({}))), "source", json!(7)), "$.source ", "is no string of at most 256"),
        (with(event("x", bare(json!({}))), "source", json!("")), "$.source ", "is empty"),
        (with(event("x", bare(json!({}))), "detail-type", json!([])), "$['detail-type'] ", "is no string of at most"),
        (with(event("x", bare(json!({}))), "resources", json!("x")), "$.resources ", "is no list: write a list of ARNs"),
        // SQS records without what SQS gives them
        (with(sqs(&["{}".to_owned()]), "Records", json!([{ "eventSource": "aws:sqs" }])), "$.Records[0].messageId ", "is no string: send the record as SQS delivers it"),
        (with(sqs(&["{}".to_owned()]), "Records", json!([{ "eventSource": "aws:sqs", "body": 1 }])), "$.Records[0].messageId ", "is no string: send the record as SQS delivers it"),
    ] {
        let message = refusal(&payload);
        assert!(
            message.starts_with(&format!("the payload is refused: {path}")),
            "{payload}\n{message}"
        );
        assert!(message.contains(fault), "{payload}\n{message}");
    }
}

#[test]
fn bounds_are_met_exactly() {
    assert_eq!(
        requests(&json!({ "targets": vec![json!({ "idMappingTableArn": arn(T) }); 100] })).len(),
        1
    );
    for name in ["x".to_owned(), "é".repeat(4_096)] {
        assert_eq!(request(&bare(json!({ "requestId": name }))).name, name);
    }
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    // The event and its detail are two levels of 128.
    let deep = |levels| {
        format!(
            r#"{{"source":"x","detail-type":"t","resources":["{}"],"detail":{{"facts":{}}}}}"#,
            arn(T),
            nested(levels)
        )
    };
    assert!(read_with(&[], &deep(126)).is_ok());
    let error = read_with(&[], &deep(127)).unwrap_err();
    assert!(
        error
            .message
            .contains("$ is nested deeper than 128 levels: send"),
        "{}",
        error.message
    );
    // What was accepted once is accepted out of the dead-letter queue, where the record is one more.
    let record = |payload: &str| {
        format!(r#"{{"requestContext":{{"requestId":"r"}},"requestPayload":{payload}}}"#)
    };
    assert!(read_with(&[], &record(&deep(126))).is_ok());
    assert!(read_with(&[], &record(&deep(127))).is_err());
    // A string detail is a document of its own.
    let text = |levels| {
        format!(
            r#"{{"source":"x","detail-type":"t","resources":["{}"],"detail":{}}}"#,
            arn(T),
            json!(format!(r#"{{"facts":{}}}"#, nested(levels)))
        )
    };
    assert!(read_with(&[], &text(127)).is_ok());
    assert!(
        read_with(&[], &text(128))
            .unwrap_err()
            .message
            .contains("$.detail is nested deeper than 128")
    );
}

#[test]
fn deep_and_broken_texts_are_refused_without_recursion() {
    for text in [
        "[".repeat(1_000_000),
        r#"{"a":"#.repeat(500_000),
        format!("{}{}", "[".repeat(500_000), "]".repeat(500_000)),
        r#"{"requestContext":{},"requestPayload":"#.repeat(100_000) + "{}" + &"}".repeat(100_000),
        "{".to_owned(),
        String::new(),
        "{} trailing".to_owned(),
        "\u{feff}{}".to_owned(),
        r#"{"a":"\ud800"}"#.to_owned(),
        r#"{"a":1e999}"#.to_owned(),
    ] {
        let error = read_with(&[], &text).unwrap_err();
        assert_eq!(
            error.error_type,
            ErrorType::InvalidRequest,
            "{}",
            &text[..text.len().min(40)]
        );
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let batch = messages(&sqs(&[deep.clone(), bare(json!({})).to_string()]));
    assert!(batch[0].content.is_err() && batch[1].content.is_ok());
    assert!(refusal(&event("x", json!(deep))).contains("$.detail is nested deeper than 128"));
}

#[test]
fn no_refusal_repeats_a_value() {
    let secret = "hunter2-Secret";
    for payload in [
        json!(secret),
        bare(json!({ "jobType": secret })),
        bare(json!({ "membershipIdentifier": secret })),
        bare(json!({ "time": secret })),
        bare(json!({ "requestId": [secret] })),
        bare(json!({ "priority": secret })),
        json!({ "idMappingTableArn": secret }),
        json!({ "idMappingTableArn": arn(T).replace("eu-west-1", secret) }),
        json!({ "idMappingTableArn": arn(T).replace("arn:aws", &format!("arn:{secret}")) }),
        event("x", json!(secret)),
        with(event("x", bare(json!({}))), "time", json!(secret)),
        sqs(&[]),
        json!({ "Records": [{ "eventSource": "aws:sqs", "messageId": [secret] }] }),
    ] {
        let message = refusal(&payload);
        assert!(!message.contains(secret), "{message}");
    }
    let batch = messages(&sqs(&[
        secret.to_owned(),
        json!({ "jobType": secret }).to_string(),
    ]));
    for message in batch {
        assert!(!message.content.unwrap_err().message.contains(secret));
    }
}

// ---- Anything ------------------------------------------------------------------------------

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!(M)),
        Just(json!(arn(T))),
        Just(json!("BATCH")),
        Just(json!("aws:sqs")),
        Just(json!("aws.s3")),
    ];
    let name = prop_oneof![
        prop::sample::select(
            &[
                "membershipIdentifier",
                "idMappingTableIdentifier",
                "idMappingTableArn",
                "jobType",
                "targets",
                "requestId",
                "time",
                "dryRun",
                "detail",
                "detail-type",
                "source",
                "resources",
                "id",
                "Records",
                "body",
                "messageId",
                "attributes",
                "eventSource",
                "requestContext",
                "requestPayload",
                "membershipId",
                "errorCode",
            ][..]
        )
        .prop_map(str::to_owned),
        ".{0,8}",
    ];
    leaf.prop_recursive(5, 48, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Payloads of every shape that are taken as they are.
fn valid() -> Vec<Value> {
    let full = bare(
        json!({ "jobType": "BATCH", "requestId": "mine", "time": "2026-11-23T01:00:00Z", "dryRun": false }),
    );
    vec![
        full.clone(),
        json!({ "targets": [{ "idMappingTableArn": arn(T) }, { "membershipIdentifier": M, "idMappingTableIdentifier": T2 }] }),
        event("com.example", full.clone()),
        event("com.example", json!(full.to_string())),
        with(event("aws.s3", json!({})), "resources", json!([arn(T)])),
        sqs(&[
            full.to_string(),
            event("com.example", full.clone()).to_string(),
        ]),
        failure_record(full),
    ]
}

/// All places in a value, as JSON pointers.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(i, item)| places(item, &format!("{at}/{i}"), all)),
        Value::Object(members) => members.iter().for_each(|(name, item)| {
            places(
                item,
                &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")),
                all,
            );
        }),
        _ => {}
    }
}

/// What every understood payload keeps.
fn check(result: Result<Delivery, Error>) {
    let contents = match result {
        Err(error) => {
            assert_eq!(error.error_type, ErrorType::InvalidRequest);
            assert!(
                error.message.starts_with("the payload is refused: $"),
                "{}",
                error.message
            );
            return;
        }
        Ok(Delivery::Direct(content)) => vec![content],
        Ok(Delivery::Batch(messages)) => messages
            .into_iter()
            .filter_map(|message| message.content.ok())
            .collect(),
    };
    for content in contents {
        let Content::Requests(requests) = content else {
            continue;
        };
        assert!((1..=100).contains(&requests.len()));
        for request in &requests {
            assert!(request.time <= now());
            assert!((1..=4_096).contains(&request.name.chars().count()));
            assert_eq!(
                requests
                    .iter()
                    .filter(|other| other.key() == request.key())
                    .count(),
                1
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_json_is_understood_or_refused(payload in any_json()) {
        check(read(&payload));
        check(read_with(&[("ID_MAPPING_TABLE_ARNS", &arn(T))], &payload.to_string()));
    }

    #[test]
    fn a_valid_payload_with_one_value_replaced_is_understood_or_refused(
        index in any::<prop::sample::Index>(), place in any::<prop::sample::Index>(), value in any_json()
    ) {
        let mut payload = valid().swap_remove(index.index(valid().len()));
        check(Ok(read(&payload).unwrap()));
        let mut all = Vec::new();
        places(&payload, "", &mut all);
        *payload.pointer_mut(&all[place.index(all.len())]).unwrap() = value;
        check(read(&payload));
    }

    #[test]
    fn any_text_is_refused_or_understood(text in "[\\[\\]{}\",:a-z0-9 \\\\]{0,64}") {
        check(read_with(&[], &text));
    }
}
