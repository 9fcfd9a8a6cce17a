//! The built binary: its answers and its log.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fake_aws::{CREDENTIALS, Environment, Exception, FakeAws, Fault, Operation, Slot, Status};
use serde_json::json;

use crate::function::{Function, binary, error, response};
use crate::harness::{M, T1, T2, T3, T4, event_file, request_for, request_for_all};

#[tokio::test]
async fn good_and_bad_events_are_answered_and_logged_once() {
    let function = Function::start(&[("EVENT_BUS_NAME", "default")]).await;
    let good = response(
        function
            .invoke(event_file("population-requested.json").to_string())
            .await,
    );
    assert_eq!(
        good["outcomes"][0]["idMappingJobId"],
        function.aws.jobs()[0].id
    );
    assert_eq!(function.aws.events().len(), 1);
    let call = &function.aws.calls_of(Operation::PopulateIdMappingTable)[0];
    assert_eq!(call.headers["x-amz-security-token"], CREDENTIALS[2]);

    let (error_type, message) = error(
        function
            .invoke(r#"{"membershipId":"hunter2-Secret"}"#)
            .await,
    );
    assert_eq!(error_type, "InvalidRequest");
    assert!(message.contains("$.membershipId is not known"), "{message}");

    function.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::access_denied()),
    );
    let (error_type, _) = error(function.invoke(request_for(T1).to_string()).await);
    assert_eq!(error_type, "AccessDenied");

    function.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::conflict()),
    );
    let (error_type, _) = error(
        function
            .invoke(request_for_all(&[T1, T2]).to_string())
            .await,
    );
    assert_eq!(error_type, "SlotBusy");

    response(
        function
            .invoke(event_file("outcomes/started.json").to_string())
            .await,
    );

    let lines = function.lines();
    let seen: Vec<_> = lines
        .iter()
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
            [
                text("requestId"),
                text("level"),
                text("outcome"),
                text("errorType"),
                text("rule"),
                text("jobType"),
            ]
            .join(" ")
        })
        .collect();
    assert_eq!(
        seen,
        [
            "request-0 INFO STARTED - REQUESTED INCREMENTAL",
            "request-1 ERROR - InvalidRequest - -",
            "request-2 ERROR REJECTED AccessDenied SERVICE_DEFAULT -",
            "request-3 ERROR - SlotBusy SERVICE_DEFAULT -",
            "request-3 INFO STARTED - SERVICE_DEFAULT -",
            "request-4 WARN - - - -",
        ]
    );
    assert_eq!(lines[0]["membershipIdentifier"], M);
    assert_eq!(lines[0]["idMappingTableIdentifier"], T1);
    assert_eq!(lines[0]["idMappingJobId"], function.aws.jobs()[0].id);
    assert!(
        !function.log().contains("hunter2") && !function.log().contains("customers"),
        "{}",
        function.log()
    );
}

#[tokio::test]
async fn a_start_connects_to_no_service() {
    let services = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", services.local_addr().unwrap());
    let queue = format!("{url}/123456789012/waiting");
    let function = Function::start(&[
        ("AWS_ENDPOINT_URL", &url),
        ("EVENT_BUS_NAME", "default"),
        ("LEDGER_TABLE_NAME", fake_aws::LEDGER_TABLE),
        ("DEFAULT_JOB_TYPE", "AUTO"),
        ("TRACK_COMPLETION", "true"),
        ("WAITING_QUEUE_URL", &queue),
    ])
    .await;
    function.lambda.polled().await;
    let connection = tokio::time::timeout(Duration::from_millis(100), services.accept()).await;
    assert!(connection.is_err(), "{connection:?}");
    assert_eq!(function.log(), "");
}

#[tokio::test]
async fn an_empty_endpoint_is_as_if_unset() {
    let aws = FakeAws::start().await.unwrap();
    let url = aws.url();
    for variables in [
        [
            ("AWS_ENDPOINT_URL", url.as_str()),
            ("AWS_ENDPOINT_URL_CLEANROOMS", ""),
        ],
        [
            ("AWS_ENDPOINT_URL", ""),
            ("AWS_ENDPOINT_URL_CLEANROOMS", &url),
        ],
    ] {
        let environment = Environment::builder().settings(&variables).on(&aws);
        let function = Function::within(&environment, Duration::from_secs(30)).await;
        let answer = response(function.invoke(request_for(T1).to_string()).await);
        assert_eq!(answer["outcomes"][0]["outcome"], "STARTED");
    }
}

#[tokio::test]
async fn a_panic_of_the_sdk_is_answered_and_does_not_end_the_function() {
    let function = Function::start(&[("AWS_ACCESS_KEY_ID", "AKID\n")]).await;
    error(function.invoke(request_for(T1).to_string()).await);
    // It is not known whether a call was sent, so the claim stays.
    let (error_type, _) = error(function.invoke(request_for(T1).to_string()).await);
    assert_eq!(error_type, "SlotBusy");
    let log = function.log();
    assert_eq!(log.matches("the function panicked").count(), 1, "{log}");
}

#[tokio::test]
async fn no_level_lets_a_payload_or_a_credential_into_the_log() {
    for format in ["JSON", "Text"] {
        let variables = [
            ("EVENT_BUS_NAME", "default"),
            ("AWS_LAMBDA_LOG_LEVEL", "TRACE"),
            ("AWS_LAMBDA_LOG_FORMAT", format),
        ];
        let function = Function::start(&variables).await;
        let mut event = event_file("population-requested.json");
        event["detail"]["note"] = json!("hunter2-Secret");
        response(function.invoke(event.to_string()).await);
        function
            .aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
        let denied = Fault::Refuse(Exception::access_denied());
        function.aws.fail_next(Operation::GetIdMappingTable, denied);
        event["id"] = json!("another");
        event["detail"]["jobType"] = json!("BATCH");
        error(function.invoke(event.to_string()).await);
        event["detail"]["jobType"] = json!("hunter2-Secret");
        error(function.invoke(event.to_string()).await);
        error(function.invoke(r#""hunter2-Secret" and no JSON"#).await);
        error(function.invoke(*b"\xff\xfe hunter2-Secret").await);
        assert_eq!(function.log().lines().count(), 5, "{}", function.log());
        if format == "JSON" {
            assert_eq!(function.lines().len(), 5);
        }
        let log = function.all();
        for secret in CREDENTIALS.into_iter().chain(["hunter2", "Signature="]) {
            assert!(!log.contains(secret), "{secret} in {log}");
        }
    }
}

#[tokio::test]
async fn a_payload_must_be_json_to_its_last_byte() {
    let function = Function::start(&[]).await;
    let good = request_for(T1).to_string();
    for tail in ["", " \n"] {
        response(function.invoke(format!("{good}{tail}")).await);
    }
    for tail in ["garbage", "}", ",", &good, r#", "dryRun": true}"#] {
        let (error_type, message) = error(function.invoke(format!("{good}{tail}")).await);
        assert_eq!(error_type, "InvalidRequest");
        assert!(
            message.contains("$ is not valid JSON: trailing characters"),
            "{message}"
        );
    }
    for payload in [
        &b""[..],
        b" ",
        b"\xff\xfe",
        b"{\"membershipIdentifier\": \"\xff\"}",
    ] {
        let (error_type, message) = error(function.invoke(payload).await);
        assert_eq!(error_type, "InvalidRequest");
        assert!(message.contains("$ is not valid JSON: "), "{message}");
    }
    assert_eq!(function.aws.jobs().len(), 2);
}

#[tokio::test]
async fn the_level_and_the_text_format_are_obeyed() {
    let function = Function::start(&[
        ("AWS_LAMBDA_LOG_LEVEL", "ERROR"),
        ("AWS_LAMBDA_LOG_FORMAT", "Text"),
    ])
    .await;
    response(function.invoke(request_for(T1).to_string()).await);
    error(function.invoke("{}").await);
    let log = function.log();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(
        log.contains("Z ERROR the payload is refused: $ names no ID mapping table"),
        "{log}"
    );
    assert!(
        log.contains("requestId=\"request-1\" errorType=\"InvalidRequest\""),
        "{log}"
    );
}

#[tokio::test]
async fn a_bad_setting_is_one_line_and_then_each_invocations_error() {
    let function = Function::start(&[("DEFAULT_JOB_TYPE", "FULL")]).await;
    for payload in [
        request_for(T1).to_string(),
        "{}".to_owned(),
        event_file("sqs-batch.json").to_string(),
    ] {
        let (error_type, message) = error(function.invoke(payload).await);
        assert_eq!(error_type, "InvalidConfiguration");
        assert!(
            message
                .contains("environment variable DEFAULT_JOB_TYPE is not a job type: write BATCH"),
            "{message}"
        );
    }
    let lines = function.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        (&lines[0]["level"], &lines[0]["errorType"]),
        (&json!("ERROR"), &json!("InvalidConfiguration"))
    );
    assert_eq!(function.aws.call_count(), 0);
}

#[tokio::test]
async fn outside_lambda_it_says_what_to_do() {
    let output = Command::new(binary()).env_clear().output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("AWS_LAMBDA_RUNTIME_API is not set")
            && said.contains("cargo run --example local"),
        "{said}"
    );
}

/// One line describes the end of a request or a job. Its level shows whether an operator must act.
#[tokio::test]
async fn each_end_of_a_request_and_of_a_job_is_logged_at_its_level() {
    let builder = Environment::builder()
        .queue(time::Duration::ZERO)
        .dead_letter_queue()
        .event_bus()
        .track()
        .slot(Slot::Conflict);
    let function = Function::built(builder).await;
    let aws = &function.aws;
    let invoke = async |payload: serde_json::Value| {
        function.invoke(payload.to_string()).await;
    };
    let poll = async || drop(function.poll().await.unwrap());
    let unpublished = || {
        let fault = Fault::FailEntries("MalformedDetail".to_owned());
        aws.fail_next(Operation::PutEvents, fault);
    };
    let read = AtomicUsize::new(0);
    let logged = |expected: &[(&str, &str)]| {
        let lines = function.lines();
        let new = &lines[read.swap(lines.len(), Ordering::Relaxed)..];
        let same = new.iter().zip(expected).all(|(line, (level, message))| {
            line["level"] == *level && line["message"].as_str().unwrap().starts_with(message)
        });
        assert!(
            same && new.len() == expected.len(),
            "{expected:?}: {new:#?}"
        );
    };
    invoke(request_for(T1)).await;
    logged(&[("INFO", "job started")]);
    unpublished();
    invoke(request_for(T2)).await;
    logged(&[
        ("WARN", "it is in the waiting queue of "),
        ("INFO", "waits: "),
    ]);
    poll().await;
    logged(&[("INFO", "still waits: ")]);
    aws.end_job(Status::Succeeded);
    poll().await;
    logged(&[("INFO", "job succeeded"), ("INFO", "job started")]);
    aws.end_job(Status::Failed);
    unpublished();
    poll().await;
    logged(&[("ERROR", "FAILED of ")]);
    poll().await;
    logged(&[("ERROR", "ID mapping job ")]);
    // An operator must look: a job may run, or a permission is missing.
    let denied = Fault::Refuse(Exception::access_denied());
    aws.fail_always(Operation::GetIdMappingTable, denied);
    aws.fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
    invoke(request_for(T3)).await;
    logged(&[("WARN", "waits: ")]);
    let refused = Fault::Refuse(Exception::not_found());
    aws.fail_next(Operation::PopulateIdMappingTable, refused);
    invoke(request_for(T1)).await;
    logged(&[("ERROR", "PopulateIdMappingTable of ")]);
    // A request that waited is sent to the dead-letter queue.
    aws.end_job(Status::Succeeded);
    aws.send("waiting", &request_for(T1).to_string());
    let refused = Fault::Refuse(Exception::not_found());
    aws.fail_next(Operation::PopulateIdMappingTable, refused);
    poll().await;
    logged(&[
        ("INFO", "still waits: "),
        ("ERROR", "PopulateIdMappingTable of "),
    ]);
    // A start that neither the request nor its retry can publish.
    let mut repeated = request_for(T4);
    repeated["requestId"] = json!("repeated");
    for _ in 0..2 {
        unpublished();
        invoke(repeated.clone()).await;
        logged(&[("ERROR", "STARTED of ")]);
    }
}
