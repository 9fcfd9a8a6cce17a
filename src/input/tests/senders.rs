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
    for payload in [message.clone(), sns(std::slice::from_ref(&message))] {
        let request = request(&payload);
        assert_eq!((&*request.idempotency_key, request.time), ("sns-1", sent));
        assert_eq!(
            request.requested_type,
            RequestedType::Exactly(JobType::Batch)
        );
    }
    let event = request(&notification(
        &event("com.example", bare(json!({}))).to_string(),
    ));
    assert_eq!(&*event.idempotency_key, "event-1");
    let batch = messages(&sqs(&[message.to_string()]));
    let Ok(Content::Requests(requests)) = of_message(&batch[0]) else {
        panic!("{batch:?}");
    };
    assert_eq!(
        (&*requests[0].idempotency_key, requests[0].time),
        ("sns-1", sent)
    );
    for of in ["SubscriptionConfirmation", "UnsubscribeConfirmation"] {
        assert!(is_ignored(read(&with(message.clone(), "Type", json!(of)))));
    }
    let strange = sns(&[with(message.clone(), "Type", json!("notification"))]);
    assert!(refusal(&strange).contains("$.Records[0].Sns.Type must be Notification"));
    let empty = sns(&[with(
        with(message, "MessageId", json!(7)),
        "Message",
        json!(7),
    )]);
    let refused = refusal(&empty);
    assert!(
        refused.contains("Sns.Message must be")
            && refused.contains("; $.Records[0].Sns.MessageId must be"),
        "{refused}"
    );
    let two = parts(&sns(&[
        notification("nonsense"),
        notification(&bare(json!({})).to_string()),
    ]));
    assert!(two[0].content.is_err() && two[1].content.is_ok());
    // What goes to the dead-letter queue can be read there, and moved back.
    let refused = two[0].text.as_deref().unwrap();
    assert_eq!(refused, notification("nonsense").to_string());
    assert_eq!(two[1].text, None);
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
        assert_eq!(request.trigger, Some(trigger.into()));
        assert_eq!(&*request.idempotency_key, "R0/0055");
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
    assert!(super::read(&json!(vec![0; 10_000])).is_ok());
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
    assert_eq!(&*failed.idempotency_key, "theirs");
    assert_eq!(
        (failed.requested_type.as_str(), failed.time),
        ("BATCH", now())
    );
    let loaded = request(&destination(other, "Success"));
    assert_eq!(
        (&*loaded.idempotency_key, loaded.request_id()),
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
    assert_eq!(&*on_the_bus.idempotency_key, "event-1");
    assert_eq!(on_the_bus.trigger.unwrap().source, "lambda");
    let mut passed = destination(other, "Success");
    for (payload, reason) in [
        (
            event("aws.s3", json!({})),
            "may not pass on an event of AWS",
        ),
        (sqs(&["{}".to_owned()]), "an event may not pass on"),
        (s3(&["2026-11-23T02:00:00Z"]), "an event may not pass on"),
        (json!([bare(json!({}))]), "is a list: send a JSON object"),
        (
            destination(&own, "RetriesExhausted"),
            "an event may not pass on",
        ),
        (notification("{}"), "an event may not pass on"),
    ] {
        passed["responsePayload"] = payload;
        let refused = refusal(&on_a_bus(passed.clone()));
        assert!(refused.contains("$.detail.responsePayload"), "{refused}");
        assert!(refused.contains(reason), "{refused}");
    }
    passed["responsePayload"] = event("com.example", bare(json!({})));
    assert_eq!(&*request(&on_a_bus(passed)).idempotency_key, "event-1");
}

#[test]
fn what_a_schedule_could_not_deliver_is_its_payload() {
    let payload = json!({
        "FunctionName": OWN, "InvocationType": "Event", "Payload": bare(json!({ "requestId": "mine" })).to_string(),
    });
    assert_eq!(&*request(&payload).idempotency_key, "mine");
    let event = event("aws.scheduler", json!("{}"));
    let payload = with(
        payload,
        "Payload",
        json!(with(event, "resources", json!([arn(T)])).to_string()),
    );
    assert_eq!(&*request(&payload).idempotency_key, "event-1");
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
        "$.jobType appears twice",
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
        message.contains("$.source appears twice: write it once"),
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

#[test]
fn a_notification_that_is_redriven_keeps_its_name() {
    let message = sns(&[notification(&bare(json!({})).to_string())]);
    let first = request(&message);
    let redriven = request(&failure_record(message));
    assert_eq!(first.scoped_key(), redriven.scoped_key());
}

#[test]
fn a_record_in_an_event_may_be_a_string_and_is_never_an_event_without_a_request() {
    let (table, text) = (arn(T2), |detail| event("lambda", detail).to_string());
    let settings = [
        ("ID_MAPPING_TABLE_ARNS", &*table),
        ("ALLOW_OTHER_TABLES", "true"),
    ];
    let on_a_bus = |detail: Value| read_with(&settings, &text(detail));
    let loaded = destination(OTHER, "Success");
    for detail in [loaded.clone(), json!(loaded.to_string())] {
        let requests = requests_of(on_a_bus(detail).unwrap());
        assert_eq!(requests[0].requested_type.as_str(), "INCREMENTAL");
    }
    let failed = destination(OTHER, "RetriesExhausted");
    for detail in [
        failed.clone(),
        json!(failed.to_string()),
        with(loaded.clone(), "requestContext", json!(null)),
        json!({ "responsePayload": {} }),
    ] {
        let refused = on_a_bus(detail).unwrap_err().message;
        assert!(
            refused.contains("$.detail records a failure of another function"),
            "{refused}"
        );
    }
    // What is wrong with the event is found too.
    let event = with(event("lambda", loaded.clone()), "time", json!("noon"));
    let refused = refusal(&with(event, "resources", json!([arn("x")])));
    assert!(refused.contains("$.resources[0] has a table"), "{refused}");
    assert!(
        refused.contains("$.time is not an RFC 3339 time"),
        "{refused}"
    );
    let without = with(loaded, "timestamp", json!(null));
    let request = requests_of(on_a_bus(without).unwrap()).remove(0);
    assert_eq!(request.time, rfc("2026-11-23T02:00:00Z"));
    let silent = with(
        destination(OTHER, "Success"),
        "responsePayload",
        json!(null),
    );
    assert!(refusal(&silent).contains("let the other function return a request"));
}

const OTHER: &str = "arn:aws:lambda:eu-west-1:123456789012:function:loader:$LATEST";

#[test]
fn an_emulators_record_is_taken_for_what_is_useful() {
    let settings = Settings::read(|name| (name == "AWS_REGION").then(|| "eu-west-1".to_owned()));
    let settings = settings.unwrap();
    let location = AwsLocation::of("populator", "eu-west-1");
    let arrival = Arrival {
        request_id: "lambda-request",
        function_arn: "populator",
        at: now(),
        location: &location,
        settings: &settings,
    };
    for (condition, expected) in [("Success", "INCREMENTAL"), ("RetriesExhausted", "BATCH")] {
        let text = destination("loader", condition).to_string();
        let requests = requests_of(parse(&Payload::from_text(&text), &arrival).unwrap());
        assert_eq!(requests[0].requested_type.as_str(), expected);
    }
}

#[test]
fn a_list_of_one_is_a_list_and_no_list_is_in_it_however_wrapped() {
    let one = parts(&json!([{ "jobTyp": 1 }]));
    assert_eq!(one[0].text.as_deref(), Some(r#"{"jobTyp":1}"#));
    let inner = json!([bare(json!({}))]).to_string();
    let all = parts(&json!([notification(&inner), bare(json!({}))]));
    let reason = &all[0].content.as_ref().unwrap_err().message;
    assert!(
        reason.contains("$[0].Message is a list inside a list"),
        "{reason}"
    );
    assert!(all[1].content.is_ok());
}

#[test]
fn the_first_faults_of_a_payload_are_named_however_many_follow() {
    let targets = vec![
        json!({ "membershipIdentifier": "x", "idMappingTableIdentifier": "y", "jobType": 7 });
        100
    ];
    let text = format!(
        r#"{{"dryRun":1,"requestId":7,"time":1,"targets":{}}}"#,
        json!(targets)
    );
    let message = read_with(&[], &text).unwrap_err().message;
    let first: Vec<&str> = message.split("; ").take(3).collect();
    for (fault, name) in first.iter().zip(["$.dryRun ", "$.requestId ", "$.time "]) {
        assert!(fault.contains(name), "{message}");
    }
    assert!(message.ends_with("; and 293 more"), "{message}");
}

#[test]
fn a_faulty_default_makes_no_fault_in_each_target() {
    let targets = json!([{ "idMappingTableIdentifier": T }, { "idMappingTableArn": arn(T2) }]);
    for name in ["membershipIdentifier", "membershipId"] {
        let refused = refusal(&json!({ name: "x", "targets": targets }));
        assert!(
            !refused.contains("targets[0]") && !refused.contains("; "),
            "{refused}"
        );
    }
    let refused = refusal(&json!({ "idMappingTableArn": "arn:x", "targets": [] }));
    assert!(
        refused.contains("is beside") && refused.contains("is not the ARN"),
        "{refused}"
    );
}

#[test]
fn a_member_that_is_read_may_be_there_once() {
    for (text, path) in [
        (
            r#"{"requestContext":{},"requestPayload":{},"requestContext":{}}"#.to_owned(),
            "$.requestContext",
        ),
        (
            r#"{"requestContext":{"condition":"a","condition":"b"},"requestPayload":{}}"#
                .to_owned(),
            "$.requestContext.condition",
        ),
        (
            r#"{"Type":"Notification","MessageId":"m","Message":"{}","Message":"{}"}"#.to_owned(),
            "$.Message",
        ),
        (
            r#"{"version":1,"version":1,"request":{},"waitingSince":null}"#.to_owned(),
            "$.version",
        ),
        (r#"{"Records":[],"Records":[]}"#.to_owned(), "$.Records"),
        (r#"{"Records":[{"EventSource":"aws:sns","Sns":{},"Sns":{}}]}"#.to_owned(), "$.Records[0].Sns"),
        (r#"{"FunctionName":"f","InvocationType":"Event","Payload":"{}","Payload":"{}"}"#.to_owned(), "$.Payload"),
        (r#"{"Records":[{"eventSource":"aws:s3","eventName":"a","eventName":"b"}]}"#.to_owned(), "$.Records[0].eventName"),
        (r#"{"version":1,"request":{},"waitingSince":null,"trigger":{"source":"a","source":"b"}}"#.to_owned(), "$.trigger.source"),
        (r#"{"source":"aws.entityresolution","detail-type":"t","detail":{"eventName":"a","eventName":"b"}}"#.to_owned(), "$.detail.eventName"),
    ] {
        let message = read_with(&[], &text).unwrap_err().message;
        assert!(
            message.contains(&format!("{path} appears twice: write it once")),
            "{message}"
        );
    }
}

#[test]
fn an_empty_time_of_an_event_is_published_nowhere() {
    let event = with(event("com.example", bare(json!({}))), "time", json!(""));
    assert_eq!(request(&event).trigger.unwrap().time, None);
}

#[test]
fn what_a_payload_may_name_is_limited_by_settings() {
    let table = arn(T2);
    let tables = [("ID_MAPPING_TABLE_ARNS", &*table)];
    let other = arn(T);
    for (payload, path) in [
        (bare(json!({})), "$.idMappingTableIdentifier"),
        (json!({ "idMappingTableArn": other }), "$.idMappingTableArn"),
        (
            json!({ "targets": [bare(json!({}))] }),
            "$.targets[0].idMappingTableIdentifier",
        ),
        (
            json!({ "membershipIdentifier": M, "targets": [{ "idMappingTableIdentifier": T }] }),
            "$.targets[0].idMappingTableIdentifier",
        ),
        (
            with(
                event("aws.s3", json!({})),
                "resources",
                json!([table, other]),
            ),
            "$.resources[1]",
        ),
    ] {
        let message = read_with(&tables, &payload.to_string())
            .unwrap_err()
            .message;
        assert!(
            message.contains(&format!(
                "{path} is not allowed: name a table of ID_MAPPING_TABLE_ARNS"
            )),
            "{message}"
        );
        let both = [tables[0], ("ALLOW_OTHER_TABLES", "true")];
        assert!(read_with(&both, &payload.to_string()).is_ok(), "{payload}");
    }
    let named = json!({ "idMappingTableArn": table });
    assert!(read_with(&tables, &named.to_string()).is_ok());

    let types = [
        ("ALLOWED_JOB_TYPES", "INCREMENTAL, AUTO"),
        ("DEFAULT_JOB_TYPE", "BATCH"),
    ];
    let typed = |job_type: &str| bare(json!({ "jobType": job_type })).to_string();
    assert!(read_with(&types, &typed("AUTO")).is_ok());
    let message = read_with(&types, &typed("BATCH")).unwrap_err().message;
    assert!(
        message.contains(
            "$.jobType is not allowed: write INCREMENTAL, AUTO, or add it to ALLOWED_JOB_TYPES"
        ),
        "{message}"
    );
    let default = requests_of(read_with(&types, &bare(json!({})).to_string()).unwrap());
    assert_eq!(default[0].requested_type.as_str(), "BATCH");
}

#[test]
fn an_event_of_another_account_is_refused_unless_it_is_allowed() {
    let of = |account: &str| {
        with(
            event("com.example", bare(json!({}))),
            "account",
            json!(account),
        )
    };
    let foreign = of("999999999999").to_string();
    for (setting, expected) in [
        ("", false),
        ("999999999999", true),
        ("111111111111 ,999999999999", true),
        ("*", true),
        ("111111111111", false),
    ] {
        let settings = [("ALLOWED_ACCOUNTS", setting)];
        assert_eq!(
            read_with(&settings, &foreign).is_ok(),
            expected,
            "{setting}"
        );
        assert!(read_with(&settings, &of("123456789012").to_string()).is_ok());
    }
    let message = read_with(&[], &foreign).unwrap_err().message;
    assert!(
        message.contains("$.account is not allowed: add the account to ALLOWED_ACCOUNTS"),
        "{message}"
    );
    let batch = messages(&sqs(&[foreign]));
    assert!(of_message(&batch[0]).is_err());
    let made = with(of("123456789012"), "account", json!(null));
    assert!(read(&made).is_ok(), "an input transformer may leave it out");
}

#[test]
fn only_a_deletion_in_the_own_account_that_nobody_sent_is_one() {
    let table = arn(T);
    let detail =
        |name: &str, account: &str| json!({ "eventName": name, "recipientAccountId": account });
    let own = detail("BatchDeleteUniqueId", "123456789012");
    let of = |source: &str, detail_type: &str, detail: &Value| {
        with(
            event(source, detail.clone()),
            "detail-type",
            json!(detail_type),
        )
    };
    let call = "AWS API Call via CloudTrail";
    let deletion = of("aws.entityresolution", call, &own);
    let settings = |types: &'static str| {
        [
            ("ID_MAPPING_TABLE_ARNS", table.clone()),
            ("DEFAULT_JOB_TYPE", "AUTO".to_owned()),
            ("ALLOWED_ACCOUNTS", "*".to_owned()),
            ("ALLOWED_JOB_TYPES", types.to_owned()),
        ]
    };
    let requested = |payload: &Value, types: &'static str| {
        let settings = settings(types);
        let settings: Vec<(&str, &str)> = settings
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        let parts = parts_of(read_with(&settings, &payload.to_string()).unwrap());
        match &parts[0].content {
            Ok(Content::Requests(requests)) => {
                (requests[0].requested_type.as_str(), requests[0].type_source)
            }
            other => panic!("{payload}: {other:?}"),
        }
    };
    let deletes = ("DELETE_ONLY", TypeSource::DeleteRequest);
    let chooses = ("AUTO", TypeSource::Setting);
    assert_eq!(requested(&deletion, ""), deletes);
    assert_eq!(requested(&deletion, "AUTO"), deletes, "it is not asked for");
    for other in [
        of(
            "aws.entityresolution",
            call,
            &detail("BatchDeleteUniqueId", "999999999999"),
        ),
        of(
            "aws.entityresolution",
            call,
            &json!({ "eventName": "BatchDeleteUniqueId" }),
        ),
        of(
            "aws.entityresolution",
            call,
            &detail("StartMatchingJob", "123456789012"),
        ),
        of("aws.entityresolution", "Deletion", &own),
        of("aws.s3", call, &own),
        with(deletion.clone(), "account", json!("999999999999")),
        with(deletion.clone(), "account", json!(null)),
    ] {
        assert_eq!(requested(&other, ""), chooses, "{other}");
    }
    let sent = sqs(&[deletion.to_string()]);
    assert_eq!(requested(&sent, ""), deletes);
    assert_eq!(
        requested(&sent, "AUTO"),
        chooses,
        "anybody may have sent it"
    );
    let waiting = sqs(&[json!({
        "version": 1, "waitingSince": null, "watch": null, "trigger": { "source": "aws.entityresolution", "detailType": call },
        "request": { "idMappingTableArn": table, "jobType": "DELETE_ONLY", "requestId": "r", "time": "2026-11-23T02:00:00Z" },
    })
    .to_string()]);
    assert_eq!(requested(&waiting, ""), deletes);
    assert_eq!(requested(&waiting, "AUTO"), chooses);
    let asked = waiting
        .to_string()
        .replace("aws.entityresolution", "com.example");
    let asked: Value = serde_json::from_str(&asked).unwrap();
    assert_eq!(requested(&asked, ""), ("DELETE_ONLY", TypeSource::Request));
    let batch = waiting.to_string().replace("DELETE_ONLY", "BATCH");
    let batch: Value = serde_json::from_str(&batch).unwrap();
    assert_eq!(requested(&batch, ""), ("BATCH", TypeSource::Request));
}

#[test]
fn a_time_says_something_only_if_it_is_given_and_not_ahead() {
    let given = |payload: &Value| request(payload).time_is_given;
    assert!(given(&bare(json!({ "time": "2026-11-23T02:00:00Z" }))));
    assert!(given(&event("com.example", bare(json!({})))));
    assert!(!given(&bare(json!({}))));
    assert!(!given(&bare(json!({ "time": "2099-01-01T00:00:00Z" }))));
    assert!(!given(&notification(&bare(json!({})).to_string())));
    let waiting = |given: Value| {
        let message = json!({
            "version": 1, "waitingSince": null, "watch": null, "trigger": null, "timeGiven": given,
            "request": bare(json!({ "requestId": "r", "time": "2026-11-23T02:00:00Z" })),
        });
        let batch = messages(&sqs(&[message.to_string()]));
        match of_message(&batch[0]) {
            Ok(Content::Requests(requests)) => requests[0].time_is_given,
            other => panic!("{other:?}"),
        }
    };
    assert!(waiting(json!(null)) && waiting(json!(true)) && !waiting(json!(false)));
}

#[test]
fn a_list_names_a_limited_number_of_tables() {
    let targets: Vec<Value> = (0..100)
        .map(|number| {
            json!({ "membershipIdentifier": M, "idMappingTableIdentifier": format!("aaaaaaaa-0001-4000-8000-{number:012}") })
        })
        .collect();
    let item = |id: usize| json!({ "targets": targets, "requestId": "n".repeat(id) });
    let is_accepted = |payload: &Value| read(payload).is_ok();
    assert!(is_accepted(&json!(vec![item(1); 100])));
    let refused = refusal(&json!(vec![item(1); 101]));
    assert!(
        refused.contains("$ asks for too much at once: name at most 10000"),
        "{refused}"
    );
    assert!(is_accepted(&json!(vec![item(512); 50])));
    assert!(!is_accepted(&json!(vec![item(512); 51])));
    // However they are wrapped.
    let lists = vec![notification(&json!(vec![item(1); 11]).to_string()); 10];
    assert!(refusal(&sns(&lists)).contains("asks for too much"));
    // One request is never too much.
    assert!(is_accepted(&item(4_096)));

    // What is too much for a batch is delivered again, and what is too much for any is refused.
    let body = |count: usize| json!(vec![item(1); count]).to_string();
    let batch = messages(&sqs(&[body(60), body(60), body(40), body(101)]));
    let seen: Vec<(usize, bool)> = batch
        .iter()
        .map(|message| (message.parts.len(), message.is_postponed))
        .collect();
    assert_eq!(seen, [(60, false), (0, true), (40, false), (0, true)]);
    let batch = messages(&sqs(&[body(101), body(1)]));
    assert!(
        of_message(&batch[0])
            .as_ref()
            .unwrap_err()
            .message
            .contains("asks for too much")
    );
    assert_eq!(of_message(&batch[1]).as_ref().map(|_| ()), Ok(()));
}

#[test]
fn a_payload_is_inside_three_texts_at_most() {
    let wrapped = |times: usize| {
        (0..times).fold(bare(json!({})), |inner, _| notification(&inner.to_string()))
    };
    assert_eq!(&*request(&wrapped(3)).idempotency_key, "sns-1");
    assert!(
        refusal(&wrapped(4)).contains("$.Message.Message.Message.Message is inside 3 other texts")
    );
}

#[test]
fn of_many_refused_items_the_first_say_why() {
    let all = parts(&json!(vec![json!({}); 12]));
    let mut refused = Refused::default();
    for part in all {
        refused.add(part.text, part.content.unwrap_err());
    }
    assert_eq!((refused.count, refused.items.len()), (12, 12));
    let message = refused.error().unwrap().message;
    assert!(
        message.contains("$[9] names no") && !message.contains("$[10]"),
        "{message}"
    );
    assert!(message.ends_with("; 2 more are refused"), "{message}");
    assert_eq!(Refused::default().error(), None);
}

#[test]
fn only_a_bare_request_of_a_direct_invocation_and_the_waiting_queue_are_urgent() {
    let urgent = bare(json!({ "urgent": true }));
    let waiting = json!({
        "version": 1, "request": urgent, "trigger": null, "waitingSince": "2026-11-23T01:00:00Z", "watch": null,
    });
    let failed = json!({
        "version": "1.0", "timestamp": "2026-11-23T02:00:00Z", "requestPayload": urgent,
        "requestContext": { "requestId": "r", "functionArn": OWN, "condition": "RetriesExhausted" },
    });
    assert!(request(&urgent).urgent);
    assert!(!request(&bare(json!({}))).urgent);
    assert!(!request(&bare(json!({ "urgent": false }))).urgent);
    let of_queue = |body: &Value| match of_message(&messages(&sqs(&[body.to_string()]))[0]) {
        Ok(Content::Requests(requests)) => requests[0].urgent,
        other => panic!("{other:?}"),
    };
    assert!(of_queue(&waiting));
    // Elsewhere it is not believed.
    assert!(!of_queue(&urgent));
    assert!(!request(&failed).urgent);
    assert!(!request(&notification(&urgent.to_string())).urgent);
    for part in parts(&json!([urgent, urgent])) {
        match part.content.unwrap() {
            Content::Requests(requests) => assert!(!requests[0].urgent),
            other => panic!("{other:?}"),
        }
    }
    // In an event it is the sender's own word, and need not be a boolean.
    for value in [json!(true), json!("very"), json!(null), json!({})] {
        let detail = bare(json!({ "urgent": value, "Urgent": value }));
        assert!(!request(&event("com.example", detail)).urgent, "{value}");
    }
    let error = read(&bare(json!({ "urgent": "yes" }))).unwrap_err();
    assert!(
        error.message.contains("$.urgent must be a boolean"),
        "{}",
        error.message
    );
    let twice = urgent
        .to_string()
        .replace("\"urgent\":true", "\"urgent\":true,\"urgent\":false");
    let error = read_with(&[], &twice).unwrap_err();
    assert!(error.message.contains("appears twice"), "{}", error.message);
}

#[test]
fn a_message_names_the_failed_job_that_it_is_for() {
    let retry = |of: Value| {
        let body = json!({
            "version": 1, "request": bare(json!({})), "trigger": null, "waitingSince": "2026-11-23T01:00:00Z",
            "watch": null, "retryOf": of,
        });
        match of_message(&messages(&sqs(&[body.to_string()]))[0]) {
            Ok(Content::Requests(requests)) => requests[0].retry_of.clone(),
            Err(_) => Some("refused".to_owned()),
            other => panic!("{other:?}"),
        }
    };
    for (of, expected) in [
        (json!("job-1"), Some("job-1")),
        (json!(null), None),
        (json!(""), Some("refused")),
        (json!(1), Some("refused")),
        (json!("x".repeat(129)), Some("refused")),
    ] {
        assert_eq!(retry(of.clone()).as_deref(), expected, "{of}");
    }
}
