//! Property tests: any payload is parsed or refused.

use proptest::prelude::*;

use super::*;

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
        failure_record(full),
    ]
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
        Ok(Delivery::Direct(parts)) => parts,
        Ok(Delivery::Batch(messages)) => messages
            .into_iter()
            .flat_map(|message| message.parts)
            .collect(),
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
