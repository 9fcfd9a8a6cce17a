//! Tests of what is refused, and of the messages.

use super::*;

#[rustfmt::skip] // one row, one line
#[test]
fn every_refusal_names_the_path_the_reason_and_the_remedy() {
    let long = "x".repeat(4_097);
    let upper = M.replace("1111-", "11AA-");
    let many: Vec<Value> = (0..101)
        .map(|_| json!({ "idMappingTableArn": arn(T) }))
        .collect();
    let other = |from: &str, to: &str| json!({ "idMappingTableArn": arn(T).replace(from, to) });
    for (payload, path, reason) in [
        // a jobType outside the list
        (bare(json!({ "jobType": "batch" })), "$.jobType ", "is not a job type: write BATCH"),
        (bare(json!({ "jobType": 7 })), "$.jobType ", "must be a string: write a job type"),
        (json!({ "targets": [{ "idMappingTableArn": arn(T), "jobType": "x" }] }), "$.targets[0].jobType ", "write BATCH"),
        // a malformed identifier
        (bare(json!({ "membershipIdentifier": upper })), "$.membershipIdentifier ", "upper-case letters and must be"),
        (bare(json!({ "membershipIdentifier": "x" })), "$.membershipIdentifier ", "has 1 characters and must be a UUID"),
        (bare(json!({ "idMappingTableIdentifier": "" })), "$.idMappingTableIdentifier ", "must be a UUID of 36"),
        (bare(json!({ "idMappingTableIdentifier": [T] })), "$.idMappingTableIdentifier ", "must be a string: write a lower-case UUID"),
        // an ARN of another kind, partition, Region, account
        (json!({ "idMappingTableArn": "arn:aws:s3:::b" }), "$.idMappingTableArn ", "is not the ARN of an ID mapping table (arn:PARTITION"),
        (json!({ "idMappingTableArn": 1 }), "$.idMappingTableArn ", "must be a string: write an ARN"),
        (other(T, "x"), "$.idMappingTableArn ", "has a table that has 1 characters"),
        (other("arn:aws:", "arn:aws-cn:"), "$.idMappingTableArn ", "is in partition aws-cn and the function runs in aws:"),
        (other("eu-west-1", "us-east-1"), "$.idMappingTableArn ", "is in Region us-east-1 and the function runs in eu-west-1:"),
        (other("123456789012", "999999999999"), "$.idMappingTableArn ", "is in account 999999999999"),
        (with(event("x", json!({})), "resources", json!(["arn:aws:s3:::b", arn(T).replace("eu-west-1", "us-east-1")])), "$.resources[1] ", "is in Region us-east-1"),
        (with(event("aws.x", json!({})), "resources", json!([arn("x")])), "$.resources[0] ", "has a table that"),
        (with(event("x", bare(json!({}))), "resources", json!([arn(T2).replace("eu-west-1", "us-east-1")])), "$.resources[0] ", "is in Region us-east-1"),
        (with(event("x", bare(json!({}))), "resources", json!([arn(T2).replace("/idmappingtable/", "/idMappingTables/")])), "$.resources[0] ", "is not the ARN of an ID mapping table"),
        // half a target, and two forms of a target
        (json!({ "membershipIdentifier": M }), "$.idMappingTableIdentifier ", "is missing, and membershipIdentifier is given"),
        (json!({ "idMappingTableIdentifier": T }), "$.membershipIdentifier ", "is missing, and idMappingTableIdentifier is given"),
        (json!({ "targets": [{ "membershipIdentifier": M }] }), "$.targets[0].idMappingTableIdentifier ", "is missing, and membershipIdentifier is given"),
        (bare(json!({ "idMappingTableArn": arn(T2) })), "$.idMappingTableIdentifier ", "differs from the one in idMappingTableArn"),
        (json!({ "idMappingTableArn": arn(T), "membershipIdentifier": T }), "$.membershipIdentifier ", "differs from the one in idMappingTableArn"),
        (bare(json!({ "targets": [{ "idMappingTableArn": arn(T) }] })), "$.idMappingTableIdentifier ", "is beside `targets`: write it in a target"),
        // targets
        (json!({ "targets": [] }), "$.targets ", "is empty: name at least one"),
        (json!({ "targets": {} }), "$.targets ", "must be a list: write a list"),
        (json!({ "targets": [null] }), "$.targets[0] ", "must be an object: write membershipIdentifier"),
        (json!({ "targets": [{}] }), "$.targets[0] ", "names no table: write membershipIdentifier"),
        (json!({ "targets": [{ "idMappingTableArn": arn(T), "dryRun": true }] }), "$.targets[0].dryRun ", "belongs beside `targets`"),
        (json!({ "targets": many }), "$.targets ", "names 101 ID mapping tables and may name 100: split"),
        (with(event("x", json!({})), "resources", json!(vec![arn(T); 101])), "$.resources ", "names 101 ID mapping tables"),
        // requestId, dryRun, time
        (bare(json!({ "requestId": long })), "$.requestId ", "must be a string of 1 to 4096 characters"),
        (bare(json!({ "requestId": 7 })), "$.requestId ", "must be a string of 1 to 4096 characters"),
        (bare(json!({ "dryRun": "true" })), "$.dryRun ", "must be a boolean: write true or false"),
        (bare(json!({ "dryRun": 0 })), "$.dryRun ", "must be a boolean"),
        (bare(json!({ "time": "2026-11-23" })), "$.time ", "is not an RFC 3339 time: write one such as"),
        (bare(json!({ "time": "yesterday" })), "$.time ", "is not an RFC 3339 time"),
        (bare(json!({ "time": "0000-01-01T00:00:00+01:00" })), "$.time ", "is not an RFC 3339 time"),
        (bare(json!({ "time": "9999-12-31T23:59:59-00:01" })), "$.time ", "is not an RFC 3339 time"),
        (bare(json!({ "time": "2026-02-30T00:00:00Z" })), "$.time ", "is not an RFC 3339 time"),
        (bare(json!({ "time": "2026-11-23X02:00:00Z" })), "$.time ", "is not an RFC 3339 time"),
        (bare(json!({ "time": "2026-11-23T02:00:00" })), "$.time ", "is not an RFC 3339 time"),
        (bare(json!({ "time": 1_795_399_200 })), "$.time ", "must be a string: write an RFC 3339 time"),
        // payloads that are not an object
        (json!(null), "$ ", "is null: send a JSON object"),
        (json!(true), "$ ", "is a boolean: send a JSON object"),
        (json!(7), "$ ", "is a number: send a JSON object"),
        (json!("{}"), "$ ", "is a string: send a JSON object"),
        (json!([]), "$ ", "is an empty list: send a JSON object"),
        (json!([{}]), "$[0] ", "names no ID mapping table"),
        (json!([[bare(json!({}))]]), "$[0] ", "is a list inside a list: send its items one by one"),
        (json!([7]), "$[0] ", "is a number: send a JSON object"),
        (failure_record(json!(null)), "$.requestPayload ", "is missing or null: send the record as Lambda delivers it"),
        // unknown members
        (bare(json!({ "priority": "high" })), "$.priority ", "is not known: remove it, or write one of membershipIdentifier"),
        (bare(json!({ "priority": null })), "$.priority ", "is not known"),
        (bare(json!({ "source": "x" })), "$.source ", "is only a part of an EventBridge event, which has `source`, `detail-type` and `detail`: add"),
        (bare(json!({ "detail-type": "x" })), "$['detail-type'] ", "is only a part of an EventBridge event"),
        (bare(json!({ "detailType": "x" })), "$.detailType ", "write `detail-type`"),
        (json!({ "Records": [{ "eventSource": "aws:s3" }] }), "$.Records ", "have no eventTime or no eventName"),
        (json!({ "Records": [{ "eventSource": "aws:kinesis" }] }), "$.Records ", "is not a list of records of SQS, SNS or S3"),
        (json!({ "Service": "Amazon S3" }), "$.Service ", "is not known"),
        (json!({ "Event": "s3:TestEvent" }), "$.Event ", "is not known"),
        (json!({ "Type": "Notification" }), "$.Type ", "is not known"),
        (json!({ "MessageId": "m" }), "$.MessageId ", "is not known"),
        (json!({ "request": {} }), "$.request ", "is not known"),
        (json!({ "waitingSince": null }), "$.waitingSince ", "is not known"),
        (json!({ "request": bare(json!({})), "waitingSince": null, "version": 2 }), "$.version ", "is not a version that this function can read"),
        (json!({ "request": bare(json!({})), "waitingSince": null, "version": 1, "rejections": -1 }), "$.rejections ", "must be an integer from 0"),
        (json!({ "Records": [{ "eventSource": "aws:s3", "eventTime": "2026-11-23T02:00:00Z" }] }), "$.Records ", "have no eventTime or no eventName"),
        (json!({ "Records": [{ "eventSource": "aws:s3", "eventName": "e" }] }), "$.Records ", "have no eventTime or no eventName"),
        (json!({ "requestContext": {} }), "$.requestContext ", "is not known"),
        (json!({ "requestPayload": {} }), "$.requestPayload ", "is not known"),
        (json!({ "Payload": "{}" }), "$.Payload ", "is not known"),
        (json!({ "Records": [] }), "$.Records ", "is not a list of records of SQS, SNS or S3"),
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
        (event("aws.s3", bare(json!({}))), "$.detail ", "has no ID mapping table: set ID_MAPPING_TABLE_ARNS"),
        // the envelope
        (event("x", json!([])), "$.detail ", "is a list: write the request's fields as a JSON object"),
        (event("x", json!("not json")), "$.detail ", "is not valid JSON: "),
        (event("x", json!("[]")), "$.detail ", "is a list: write"),
        (event("x", json!("")), "$.detail ", "is not valid JSON: "),
        (with(event("x", bare(json!({}))), "time", json!("noon")), "$.time ", "is not an RFC 3339 time"),
        (with(event("x", bare(json!({}))), "id", json!(7)), "$.id ", "must be a string of at most 4096"),
        (with(event("x", bare(json!({}))), "id", json!(long)), "$.id ", "must be a string of at most 4096"),
        (with(event("x", bare(json!({}))), "source", json!(7)), "$.source ", "must be a string of at most 256"),
        (with(event("x", bare(json!({}))), "source", json!("")), "$.source ", "is empty"),
        (with(event("x", bare(json!({}))), "detail-type", json!([])), "$['detail-type'] ", "must be a string of at most"),
        (with(event("x", bare(json!({}))), "resources", json!("x")), "$.resources ", "must be a list: write a list of ARNs"),
        // SQS records without the members that SQS writes
        (with(sqs(&["{}".to_owned()]), "Records", json!([{ "eventSource": "aws:sqs" }])), "$.Records[0].messageId ", "must be a string of 1 to 4096 characters: send the record as SQS delivers it"),
        (with(sqs(&["{}".to_owned()]), "Records", json!([{ "eventSource": "aws:sqs", "messageId": "" }])), "$.Records[0].messageId ", "must be a string of 1 to 4096 characters"),
        (with(sqs(&["{}".to_owned()]), "Records", json!([{ "eventSource": "aws:sqs", "messageId": long }])), "$.Records[0].messageId ", "must be a string of 1 to 4096 characters"),
        (with(sqs(&["{}".to_owned()]), "Records", json!([{ "eventSource": "aws:sqs", "body": 1 }])), "$.Records[0].messageId ", "must be a string of 1 to 4096 characters: send the record as SQS delivers it"),
    ] {
        let message = refusal(&payload);
        assert!(
            message.starts_with(&format!("the payload is refused: {path}")),
            "{payload}\n{message}"
        );
        assert!(message.contains(reason), "{payload}\n{message}");
    }
}

#[test]
fn a_long_name_is_cut() {
    let message = refusal(&bare(json!({ "x".repeat(65): 1 })));
    assert!(
        message.contains(&format!("$['{}…'] is not known", "x".repeat(64))),
        "{message}"
    );
    let message = refusal(&bare(json!({ "x y": 1 })));
    assert!(message.contains("$['x y'] is not known"), "{message}");
}

#[test]
fn a_misspelt_half_of_a_target_is_one_fault() {
    let message = refusal(&json!({ "membershipId": M, "idMappingTableIdentifier": T }));
    assert!(!message.contains(';'), "{message}");
}

#[test]
fn bounds_are_met_exactly() {
    assert_eq!(
        requests(&json!({ "targets": vec![json!({ "idMappingTableArn": arn(T) }); 100] })).len(),
        1
    );
    for name in ["x".to_owned(), "é".repeat(4_096)] {
        assert_eq!(
            &*request(&bare(json!({ "requestId": name }))).idempotency_key,
            name
        );
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
    // A payload that was accepted once is accepted from the dead-letter queue, where a record encloses it.
    let record = |payload: &str| {
        format!(
            r#"{{"requestContext":{{"requestId":"r","functionArn":"{OWN}"}},"requestPayload":{payload}}}"#
        )
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
        r#"{"a":1e}"#.to_owned(),
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
    assert!(of_message(&batch[0]).is_err() && of_message(&batch[1]).is_ok());
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
        assert!(
            !of_message(&message)
                .as_ref()
                .unwrap_err()
                .message
                .contains(secret)
        );
    }
}
