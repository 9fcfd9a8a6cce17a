//! Tests of what other services make of a payload on its way.

use super::*;

fn parts(payload: &Value) -> Vec<Part> {
    match read(payload).unwrap() {
        Delivery::Direct(parts) => parts,
        other => panic!("{other:?}"),
    }
}

pub(super) fn notification(message: &str) -> Value {
    json!({
        "Type": "Notification", "MessageId": "sns-1", "TopicArn": "arn:aws:sns:eu-west-1:123456789012:topic",
        "Subject": "x", "Message": message, "Timestamp": "2026-11-23T02:00:01.500Z", "SignatureVersion": "1",
        "Signature": "x", "SigningCertURL": "https://example.com", "UnsubscribeURL": "https://example.com",
    })
}

pub(super) fn sns(messages: &[Value]) -> Value {
    let record = |message: &Value| json!({ "EventSource": "aws:sns", "EventVersion": "1.0", "EventSubscriptionArn": "arn", "Sns": message });
    json!({ "Records": messages.iter().map(record).collect::<Vec<_>>() })
}

fn s3(times: &[&str]) -> Value {
    let record = |(index, time): (usize, &&str)| {
        json!({
            "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-west-1", "eventTime": time,
            "eventName": "ObjectCreated:Put", "responseElements": { "x-amz-request-id": format!("R{index}") },
            "s3": { "bucket": { "name": "b" }, "object": { "key": "k", "sequencer": "0055" } },
        })
    };
    json!({ "Records": times.iter().enumerate().map(record).collect::<Vec<_>>() })
}

fn configured(payload: &Value) -> Result<Delivery, Error> {
    read_with(&[("ID_MAPPING_TABLE_ARNS", &arn(T2))], &payload.to_string())
}

#[test]
fn a_notification_of_sns_is_its_message() {
    let sent = rfc("2026-11-23T02:00:01.5Z");
    let message = notification(&bare(json!({ "jobType": "BATCH" })).to_string());
    for payload in [message.clone(), sns(&[message.clone()])] {
        let request = request(&payload);
        assert_eq!(
            (request.idempotency_key.as_str(), request.time),
            ("sns-1", sent)
        );
        assert_eq!(
            request.requested_type,
            RequestedType::Exactly(JobType::Batch)
        );
    }
    let event = request(&notification(
        &event("com.example", bare(json!({}))).to_string(),
    ));
    assert_eq!(event.idempotency_key, "event-1");
    let batch = messages(&sqs(&[message.to_string()]));
    let Ok(Content::Requests(requests)) = of_message(&batch[0]) else {
        panic!("{batch:?}");
    };
    assert_eq!(
        (requests[0].idempotency_key.as_str(), requests[0].time),
        ("sns-1", sent)
    );
    let confirmation = with(message, "Type", json!("SubscriptionConfirmation"));
    assert!(is_ignored(read(&confirmation)));
    let two = parts(&sns(&[
        notification("nonsense"),
        notification(&bare(json!({})).to_string()),
    ]));
    assert!(two[0].content.is_err() && two[1].content.is_ok());
    assert!(refusal(&notification("nonsense")).contains("$.Message is not valid JSON"));
}

#[test]
fn a_notification_of_s3_is_a_change_of_the_configured_tables() {
    let payload = s3(&[
        "2026-11-23T02:00:00Z",
        "2026-11-23T02:00:07.250Z",
        "2026-11-23T01:00:00Z",
    ]);
    let in_sns = notification(&payload.to_string());
    for payload in [payload, in_sns] {
        let requests = requests_of(configured(&payload).unwrap());
        let [request] = &requests[..] else {
            panic!("{requests:?}");
        };
        assert_eq!(request.target.table.as_str(), T2);
        assert_eq!(request.time, rfc("2026-11-23T02:00:07.25Z"));
        let trigger = Trigger {
            source: "aws.s3".to_owned(),
            detail_type: "ObjectCreated:Put".to_owned(),
            id: Some("R0/0055".to_owned()),
            time: Some("2026-11-23T02:00:07.250Z".to_owned()),
        };
        assert_eq!(request.trigger, Some(trigger));
        assert_eq!(request.idempotency_key, "R0/0055");
    }
    let test = json!({
        "Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-11-23T02:00:00.000Z", "Bucket": "b",
        "RequestId": "x", "HostId": "y",
    });
    for payload in [test.clone(), notification(&test.to_string())] {
        let ignored = content(read(&payload).unwrap());
        assert!(matches!(ignored, Content::Ignored(Ignored::Expected(_))));
    }
}

#[test]
fn each_item_of_a_list_is_judged_alone() {
    let payload = json!([
        bare(json!({})),
        { "jobTyp": "BATCH" },
        event("com.example", bare(json!({}))),
        sqs(&["{}".to_owned()]),
        [bare(json!({}))],
        failure_record(bare(json!({}))),
        notification("{}"),
    ]);
    let parts = parts(&payload);
    let read: Vec<bool> = parts.iter().map(|part| part.content.is_ok()).collect();
    assert_eq!(read, [true, false, true, false, false, true, false]);
    assert_eq!(parts[0].text, None);
    assert_eq!(parts[1].text.as_deref(), Some(r#"{"jobTyp":"BATCH"}"#));
    let reason = |index: usize| parts[index].content.as_ref().unwrap_err().message.clone();
    assert!(
        reason(1).contains("$[1].jobTyp is not known: write `jobType`"),
        "{}",
        reason(1)
    );
    assert!(
        reason(3).contains("$[3] is a batch of SQS messages"),
        "{}",
        reason(3)
    );
    assert!(
        reason(4).contains("$[4] is a list inside a list"),
        "{}",
        reason(4)
    );

    let records = sqs(&[bare(json!({})).to_string(), "nonsense".to_owned()]);
    let batch = messages(&records["Records"]);
    assert!(of_message(&batch[0]).is_ok() && of_message(&batch[1]).is_err());
    let in_a_message = messages(&sqs(&[json!([bare(json!({})), {}]).to_string()]));
    let parts: Vec<bool> = in_a_message[0]
        .parts
        .iter()
        .map(|part| part.content.is_ok())
        .collect();
    assert_eq!(parts, [true, false]);
    let many = json!(vec![0; 10_001]);
    assert!(refusal(&many).contains("$ has 10001 items and may have 10000"));
    assert!(
        refusal(&json!({ "Records": vec![records["Records"][0].clone(); 10_001] }))
            .contains("may have 10000")
    );
}

pub(super) fn destination(function: &str, condition: &str) -> Value {
    json!({
        "version": "1.0", "timestamp": "2026-11-23T02:03:07.812Z",
        "requestContext": { "requestId": "theirs", "functionArn": function, "condition": condition },
        "requestPayload": bare(json!({ "jobType": "BATCH" })),
        "responsePayload": bare(json!({ "jobType": "INCREMENTAL" })),
    })
}

#[test]
fn a_destination_record_is_this_functions_failure_or_another_functions_success() {
    let other = "arn:aws:lambda:eu-west-1:123456789012:function:loader:$LATEST";
    let own = format!("{OWN}:live");
    let failed = request(&destination(&own, "RetriesExhausted"));
    assert_eq!(failed.idempotency_key, "theirs");
    assert_eq!(
        (failed.requested_type.as_str(), failed.time),
        ("BATCH", now())
    );
    let loaded = request(&destination(other, "Success"));
    assert_eq!(
        (loaded.idempotency_key.as_str(), loaded.request_id()),
        ("theirs", None)
    );
    assert_eq!(
        (loaded.requested_type.as_str(), loaded.time),
        ("INCREMENTAL", rfc("2026-11-23T02:03:07.812Z"))
    );
    let refused = refusal(&destination(other, "RetriesExhausted"));
    assert!(
        refused.contains("records a failure of another function"),
        "{refused}"
    );
    let refused = refusal(&destination(&own, "Success"));
    assert!(
        refused.contains("records a success of this function"),
        "{refused}"
    );

    let on_a_bus = |record: Value| {
        with(
            event("lambda", record),
            "detail-type",
            json!("Lambda Function Invocation Result - Success"),
        )
    };
    let on_the_bus = request(&on_a_bus(destination(other, "Success")));
    assert_eq!(on_the_bus.requested_type.as_str(), "INCREMENTAL");
    assert_eq!(on_the_bus.time, loaded.time);
    // EventBridge may deliver the event twice.
    assert_eq!(on_the_bus.idempotency_key, "event-1");
    assert_eq!(on_the_bus.trigger.unwrap().source, "lambda");
    let mut passed = destination(other, "Success");
    for (payload, reason) in [
        (
            event("aws.s3", json!({})),
            "may not pass on an event of AWS",
        ),
        (sqs(&["{}".to_owned()]), "is not a list of records"),
        (s3(&["2026-11-23T02:00:00Z"]), "is not a list of records"),
        (json!([bare(json!({}))]), "is a list: send a JSON object"),
        (destination(&own, "RetriesExhausted"), "is not known"),
        (notification("{}"), "is not known"),
    ] {
        passed["responsePayload"] = payload;
        let refused = refusal(&on_a_bus(passed.clone()));
        assert!(refused.contains("$.detail.responsePayload"), "{refused}");
        assert!(refused.contains(reason), "{refused}");
    }
    passed["responsePayload"] = event("com.example", bare(json!({})));
    assert_eq!(request(&on_a_bus(passed)).idempotency_key, "event-1");
}

#[test]
fn what_a_schedule_could_not_deliver_is_its_payload() {
    let payload = json!({
        "FunctionName": OWN, "InvocationType": "Event", "Payload": bare(json!({ "requestId": "mine" })).to_string(),
    });
    assert_eq!(request(&payload).idempotency_key, "mine");
    let event = event("aws.scheduler", json!("{}"));
    let payload = with(
        payload,
        "Payload",
        json!(with(event, "resources", json!([arn(T)])).to_string()),
    );
    assert_eq!(request(&payload).idempotency_key, "event-1");
}

#[test]
fn an_empty_string_of_an_input_transformer_counts_as_absent() {
    let empty = json!({ "jobType": "", "requestId": "", "time": "" });
    assert_eq!(request(&bare(empty.clone())), request(&bare(json!({}))));
    let target = json!({ "targets": [bare(json!({ "jobType": "" }))] });
    assert_eq!(request(&target), request(&bare(json!({}))));
    let event = with(event("com.example", bare(empty)), "time", json!(""));
    assert_eq!(request(&event).time, now());
}

#[test]
fn what_platforms_add_to_a_bare_request_is_ignored() {
    let added = json!({
        "Execution": { "Id": "x" }, "State": {}, "StateMachine": {}, "traceparent": "00-x", "tracestate": "",
        "baggage": "a=b", "_datadog": { "x-datadog-trace-id": "1" }, "x-amzn-trace-id": "Root=1", "x-amz-request-id": "y",
    });
    assert_eq!(request(&bare(added)), request(&bare(json!({}))));
}

#[test]
fn a_membership_beside_targets_is_the_default_of_each() {
    let payload = json!({
        "membershipIdentifier": M, "requestId": "mine",
        "targets": [{ "idMappingTableIdentifier": T }, { "idMappingTableArn": arn(T2) }],
    });
    let tables: Vec<String> = requests(&payload)
        .iter()
        .map(|one| one.target.to_string())
        .collect();
    let both = json!({ "requestId": "mine", "targets": [bare(json!({})), { "idMappingTableArn": arn(T2) }] });
    let expected: Vec<String> = requests(&both)
        .iter()
        .map(|one| one.target.to_string())
        .collect();
    assert_eq!(tables, expected);
    let wrong = with(payload, "membershipIdentifier", json!("x"));
    assert!(refusal(&wrong).contains("$.membershipIdentifier has 1 characters"));
}

#[test]
fn a_refusal_lists_every_fault_in_the_order_of_the_payload() {
    let text = format!(
        r#"{{"jobType":"x","source":"s","targets":[{{"membershipIdentifier":"{M}"}},7],"time":1,"jobType":"BATCH","dryRun":0}}"#
    );
    let message = read_with(&[], &text).unwrap_err().message;
    let faults: Vec<&str> = message.split("; ").collect();
    let places = [
        "$.source is only a part",
        "$.jobType is not a job type",
        "$.targets[0].idMappingTableIdentifier is missing",
        "$.targets[1] must be an object",
        "$.time must be a string",
        "$.jobType is there twice",
        "$.dryRun must be a boolean",
    ];
    assert_eq!(faults.len(), places.len(), "{message}");
    for (fault, place) in faults.iter().zip(places) {
        assert!(fault.contains(place), "{fault}");
    }
    let many: serde_json::Map<String, Value> = (0..25)
        .map(|number| (format!("other{number:02}"), json!(1)))
        .collect();
    let message = refusal(&bare(Value::Object(many)));
    assert!(
        message.contains("$.other09 is not known") && !message.contains("$.other10 "),
        "{message}"
    );
    assert!(message.ends_with("; and 15 more"), "{message}");
}

#[test]
fn one_of_our_members_twice_is_refused_and_one_of_others_is_not() {
    let text = format!(
        r#"{{"source":"a","detail-type":"t","source":"b","detail":{{}},"resources":["{}"]}}"#,
        arn(T)
    );
    let message = read_with(&[], &text).unwrap_err().message;
    assert!(
        message.contains("$.source is there twice: write it once"),
        "{message}"
    );
    let text = format!(
        r#"{{"source":"a","detail-type":"t","detail":{{"x":1,"x":2,"source":1,"source":2,"idMappingTableArn":"{}"}}}}"#,
        arn(T)
    );
    assert_eq!(requests_of(read_with(&[], &text).unwrap()).len(), 1);
}

#[test]
fn what_is_not_ours_may_hold_a_lone_surrogate_and_a_text_a_byte_order_mark() {
    let text = format!(
        "\u{feff}{{\"source\":\"a\",\"detail-type\":\"t\",\"detail\":{{\"note\":\"\\ud83d\",\"n\":1e999,\"idMappingTableArn\":\"{}\"}}}}",
        arn(T)
    );
    assert_eq!(requests_of(read_with(&[], &text).unwrap()).len(), 1);
    let batch = messages(&sqs(&[text]));
    assert!(of_message(&batch[0]).is_ok());
}
