//! Property tests: any payload is parsed or refused.

use proptest::prelude::*;

use super::*;

const OTHER: &str = "arn:aws:lambda:eu-west-1:123456789012:function:loader:$LATEST";

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
        Just(json!("aws:sns")),
        Just(json!("aws:s3")),
        Just(json!("lambda")),
        Just(json!("Success")),
        Just(json!("Notification")),
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
                "responsePayload",
                "condition",
                "functionArn",
                "EventSource",
                "Sns",
                "Type",
                "TopicArn",
                "MessageId",
                "Message",
                "eventName",
                "eventTime",
                "FunctionName",
                "InvocationType",
                "Payload",
                "request",
                "waitingSince",
                "watch",
                "_x",
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

/// Valid payloads of every shape.
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
        failure_record(full.clone()),
        json!([full, event("com.example", full.clone())]),
        senders::notification(&full.to_string()),
        senders::sns(&[senders::notification(&full.to_string())]),
        senders::destination(OTHER, "Success"),
        with(
            event("lambda", senders::destination(OTHER, "Success")),
            "resources",
            json!([OTHER]),
        ),
        json!({ "FunctionName": OWN, "InvocationType": "Event", "Payload": full.to_string() }),
    ]
}

/// A field that is not the function's.
#[derive(Debug)]
struct Foreign {
    name: String,
    /// Its value, as JSON text.
    value: String,
}

fn foreign() -> impl Strategy<Value = Foreign> {
    // What a Rust value cannot hold, or a reader may stumble over.
    let odd = [
        r#""\ud83d""#.to_owned(),
        r#""\udc00\ud83d""#.to_owned(),
        r#"{"\ud83d":1}"#.to_owned(),
        "1e999".to_owned(),
        "-0.0".to_owned(),
        "123456789012345678901234567890".to_owned(),
        r#"{"a":1,"a":2,"jobType":"DELETE_ONLY"}"#.to_owned(),
        format!("{}{}", "[".repeat(100), "]".repeat(100)),
        format!("\"{}\"", "x".repeat(10_000)),
    ];
    let value = prop_oneof![
        any_json().prop_map(|value| value.to_string()),
        prop::sample::select(odd.to_vec()),
    ];
    let name = ".{0,8}".prop_filter("it is not the function's", |name| {
        names::known(name).is_none() && names::near_miss(name).is_none()
    });
    (name, value).prop_map(|(name, value)| Foreign { name, value })
}

/// Payloads of every shape, with the field in each object in which a field of somebody else may be.
fn with_foreign(Foreign { name, value }: &Foreign) -> Vec<String> {
    let field = format!("{}:{value}", json!(name));
    let added = format!("{}:{value}", json!(format!("_{name}")));
    let (table, quoted) = (arn(T), |text: &str| json!(text).to_string());
    let bare = format!(
        r#"{{{added},"idMappingTableArn":"{table}","targets":null,"State":{value},"traceparent":{value}}}"#
    );
    let detail = format!(r#"{{{field},"idMappingTableArn":"{table}","jobType":"BATCH"}}"#);
    let of = |source: &str, detail: &str| {
        format!(
            r#"{{{field},"source":"{source}","detail-type":"t","id":"event-1","time":"2026-11-23T02:00:00Z","detail":{detail}}}"#
        )
    };
    let event = of("com.example", &detail);
    let of_aws = format!(
        r#"{{"source":"aws.s3","detail-type":"t","id":"event-1","detail":{value},"resources":["{table}",{value}]}}"#
    );
    let waiting = format!(
        r#"{{{field},"version":1,"request":{detail},"trigger":{{{field},"source":"a","detailType":"b"}},"waitingSince":null,"watch":null}}"#
    );
    let destination = |function: &str, condition: &str, request: &str, response: &str| {
        format!(
            r#"{{{field},"requestContext":{{{field},"functionArn":"{function}","condition":"{condition}","requestId":"a"}},"requestPayload":{request},"responseContext":{value},"responsePayload":{response}}}"#
        )
    };
    let loaded = destination(OTHER, "Success", value, &bare);
    let failed = destination(OWN, "RetriesExhausted", &event, value);
    let schedule = |payload: &str| {
        let payload = quoted(payload);
        format!(r#"{{{field},"FunctionName":"f","InvocationType":"Event","Payload":{payload}}}"#)
    };
    let notification = |message: &str| {
        let message = quoted(message);
        format!(
            r#"{{{field},"Type":"Notification","TopicArn":"t","MessageId":"sns-1","Message":{message},"Subject":{value}}}"#
        )
    };
    let sns = |message: &str| {
        format!(
            r#"{{{field},"Records":[{{{field},"EventSource":"aws:sns","Sns":{}}}]}}"#,
            notification(message)
        )
    };
    let sqs = |body: &str| {
        format!(
            r#"{{{field},"Records":[{{{field},"eventSource":"aws:sqs","messageId":"m","body":{},"attributes":{{{field}}},"messageAttributes":{value}}}]}}"#,
            quoted(body)
        )
    };
    let s3 = format!(
        r#"{{{field},"Records":[{{{field},"eventSource":"aws:s3","eventTime":"2026-11-23T02:00:00Z","eventName":"e","s3":{{{field},"bucket":{value},"object":{{{field},"sequencer":"1"}}}},"responseElements":{{{field},"x-amz-request-id":"r"}}}}]}}"#
    );
    let passed_on = of("lambda", &destination(OTHER, "Success", value, &event));
    let mut all = vec![bare, event, of_aws, waiting, loaded, failed, passed_on, s3];
    let inner = all.clone();
    for payload in inner {
        all.extend([
            schedule(&payload),
            notification(&payload),
            sns(&payload),
            sqs(&payload),
            sqs(&notification(&payload)),
            format!("[{payload}]"),
            format!("\u{feff}{payload}"),
        ]);
    }
    all
}

/// What is asked for. A message's body is not compared: it is only moved to the dead-letter queue.
fn asked_for(text: &str) -> String {
    let configured = arn(T2);
    let settings = [
        ("ID_MAPPING_TABLE_ARNS", &*configured),
        ("ALLOW_OTHER_TABLES", "true"),
    ];
    let read = read_with(&settings, text);
    let parts = parts_of(read.unwrap_or_else(|error| panic!("{text}\n{error}")));
    let asked = |part: Part| {
        part.content
            .unwrap_or_else(|error| panic!("{text}\n{error}"))
    };
    let asked: Vec<Content> = parts.into_iter().map(asked).collect();
    format!("{asked:?}")
}

/// Collects the JSON pointers of all places in a value.
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

/// Checks what holds for every parsed payload.
fn check(result: Result<Delivery, Error>) {
    let parts = match result {
        Err(error) => {
            assert_eq!(error.error_type, ErrorType::InvalidRequest);
            assert!(
                error.message.starts_with("the payload is refused: $"),
                "{}",
                error.message
            );
            return;
        }
        Ok(delivery) => parts_of(delivery),
    };
    for content in parts.into_iter().filter_map(|part| part.content.ok()) {
        let Content::Requests(requests) = content else {
            continue;
        };
        assert!((1..=100).contains(&requests.len()));
        for request in &requests {
            assert!(request.time <= now());
            assert!((1..=4_096).contains(&request.idempotency_key.chars().count()));
            assert_eq!(
                requests
                    .iter()
                    .filter(|other| other.scoped_key() == request.scoped_key())
                    .count(),
                1
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_json_is_parsed_or_refused(payload in any_json()) {
        check(read(&payload));
        check(read_with(&[("ID_MAPPING_TABLE_ARNS", &arn(T))], &payload.to_string()));
    }

    #[test]
    fn a_valid_payload_with_one_value_replaced_is_parsed_or_refused(
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
    fn any_text_is_parsed_or_refused(text in "[\\[\\]{}\",:a-z0-9 \\\\]{0,64}") {
        check(read_with(&[], &text));
    }
}

proptest! {
    // Each case is of all shapes.
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_field_of_somebody_else_changes_nothing(field in foreign()) {
        let nothing = Foreign { name: "other".to_owned(), value: "0".to_owned() };
        for (with, without) in with_foreign(&field).iter().zip(with_foreign(&nothing)) {
            prop_assert_eq!(asked_for(with), asked_for(&without), "{}", with);
        }
    }
}
