//! `PopulateIdMappingTable`: the request on the wire, and what each answer means.

use std::time::{Duration, Instant};

use fake_aws::{
    Environment, Exception, Fault, Operation::GetIdMappingTable, Operation::PopulateIdMappingTable,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{Harness, M, T1, request_for};

#[tokio::test]
async fn the_request_is_what_the_api_model_says() {
    for (job_type, body) in [
        (None, json!({})),
        (Some("SERVICE_DEFAULT"), json!({})),
        (Some("BATCH"), json!({ "jobType": "BATCH" })),
        (Some("INCREMENTAL"), json!({ "jobType": "INCREMENTAL" })),
        (Some("DELETE_ONLY"), json!({ "jobType": "DELETE_ONLY" })),
    ] {
        let harness = Harness::with(&[]).await;
        let mut payload = request_for(T1);
        payload["jobType"] = json!(job_type);
        harness.outcomes(&payload).await;
        let calls = harness.aws.calls();
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].method, "POST");
        assert_eq!(
            calls[0].path,
            format!("/memberships/{M}/idmappingtables/{T1}/populate")
        );
        assert_eq!(calls[0].headers["content-type"], "application/json");
        assert!(calls[0].headers["authorization"].contains("/eu-west-1/cleanrooms/aws4_request"));
        assert_eq!(calls[0].body, body);
    }
}

/// What the invocation must end with.
struct Expected {
    error_type: &'static str,
    /// Whether a REJECTED event is published.
    rejected: bool,
    /// Calls on the wire.
    calls: usize,
    /// Jobs that run.
    jobs: usize,
}

async fn expect(fault: Fault, said: &str, expected: Expected) {
    let harness = Harness::new().await;
    let what = format!("{fault:?}");
    harness.aws.fail_always(PopulateIdMappingTable, fault);
    // `unknown.rs` tests what is done about an unknown outcome.
    let denied = Fault::Refuse(Exception::access_denied());
    harness.aws.fail_always(GetIdMappingTable, denied);
    let (error_type, message) = harness.failure(&request_for(T1)).await;
    assert_eq!(error_type, expected.error_type, "{what}: {message}");
    let head = format!("PopulateIdMappingTable of membership/{M}/idmappingtable/{T1} failed: ");
    assert!(message.starts_with(&head), "{what}: {message}");
    assert!(message.contains(said), "{what}: {message}");
    assert!(!message.ends_with('.'), "{what}: {message}");
    assert_eq!(harness.populated().len(), expected.calls, "{what}");
    assert_eq!(harness.aws.jobs().len(), expected.jobs, "{what}");
    let announced = harness.announced();
    assert_eq!(announced.len(), usize::from(expected.rejected), "{what}");
    for (detail_type, detail) in announced {
        assert_eq!(detail_type, "ID Mapping Request Rejected");
        assert_eq!(detail["outcome"], "REJECTED");
        assert_eq!(
            detail["error"],
            json!({ "type": error_type, "message": message })
        );
        assert_eq!(detail["decision"]["rule"], "SERVICE_DEFAULT");
        assert_eq!(detail.get("idMappingJobId"), None);
        assert_eq!(detail.get("startedAt"), None);
    }
}

fn rejected(error_type: &'static str) -> Expected {
    Expected {
        error_type,
        rejected: true,
        calls: 1,
        jobs: 0,
    }
}

fn undone(error_type: &'static str) -> Expected {
    Expected {
        error_type,
        rejected: false,
        calls: 1,
        jobs: 0,
    }
}

fn unknown() -> Expected {
    Expected {
        error_type: "OutcomeUnknown",
        rejected: false,
        calls: 1,
        jobs: 1,
    }
}

#[tokio::test]
async fn each_of_the_seven_exceptions_has_its_error() {
    let refuse = |exception| Fault::Refuse(exception);
    expect(
        refuse(Exception::access_denied()),
        "is not authorized to perform",
        rejected("AccessDenied"),
    )
    .await;
    expect(
        refuse(Exception::not_found()),
        "no such ID mapping table",
        rejected("TableNotFound"),
    )
    .await;
    let validation = Exception::validation("INVALID_CONFIGURATION");
    let said = "ValidationException (400): the request cannot be taken (reason INVALID_CONFIGURATION, jobType: the \
                workflow does not take it)";
    expect(refuse(validation), said, rejected("RequestRefused")).await;
    // It will work later, so it is not a rejection.
    let delay = Exception::validation("IAM_SYNCHRONIZATION_DELAY");
    expect(
        refuse(delay),
        "IAM_SYNCHRONIZATION_DELAY",
        undone("RequestRefused"),
    )
    .await;
    expect(
        refuse(Exception::conflict()),
        "is running (reason INVALID_STATE)",
        undone("SlotBusy"),
    )
    .await;
    let said = "you have reached the limit (quota Concurrent ID mapping jobs, value 1)";
    expect(
        refuse(Exception::quota_exceeded()),
        said,
        undone("SlotBusy"),
    )
    .await;
    let said = "InternalServerException (500): something went wrong [request id 00000000-";
    expect(
        refuse(Exception::internal_server()),
        said,
        undone("OutcomeUnknown"),
    )
    .await;
    expect(Fault::AcceptAndFail, "something went wrong", unknown()).await;
}

#[tokio::test]
async fn an_answer_outside_the_model_is_classified_by_its_status() {
    let status = |status, body: &str| Fault::Status(status, body.to_owned());
    expect(
        status(400, "<p>bad request</p>"),
        "(400): <p>bad request</p>",
        rejected("RequestRefused"),
    )
    .await;
    expect(
        status(403, r#"{"message":"the token is expired"}"#),
        "the token is expired",
        rejected("AccessDenied"),
    )
    .await;
    expect(
        status(404, ""),
        "(404): no message",
        rejected("TableNotFound"),
    )
    .await;
    expect(status(402, "{}"), "(402)", undone("SlotBusy")).await;
    expect(status(409, "{}"), "(409)", undone("SlotBusy")).await;
    expect(
        status(418, r#"{"__type":"Teapot","message":"short and stout"}"#),
        "Teapot (418): short",
        rejected("RequestRefused"),
    )
    .await;
    for code in [500, 501, 502, 503, 504] {
        expect(
            status(code, "<html>gateway</html>"),
            "<html>gateway</html>",
            undone("OutcomeUnknown"),
        )
        .await;
    }
    expect(status(302, ""), "(302)", undone("OutcomeUnknown")).await;
    expect(status(401, ""), "(401)", rejected("AccessDenied")).await;
    // A proxy or the service ran out of time.
    for code in [408, 425, 499] {
        expect(status(code, ""), "a job may run", undone("OutcomeUnknown")).await;
    }
    // A 5xx leaves the outcome unknown, whatever its exception is.
    for (code, name) in [
        (503, "ThrottlingException"),
        (500, "AccessDeniedException"),
        (500, "ValidationException"),
    ] {
        let body = format!(r#"{{"__type":"{name}","message":"said"}}"#);
        expect(
            status(code, &body),
            &format!("{name} ({code}): said"),
            undone("OutcomeUnknown"),
        )
        .await;
    }
    expect(
        status(503, &"x".repeat(5_000)),
        "xxx…",
        undone("OutcomeUnknown"),
    )
    .await;
}

#[tokio::test]
async fn a_broken_answer_leaves_the_outcome_unknown() {
    for body in [
        "",
        "{}",
        "<html>",
        r#"{"idMappingJobId":"#,
        r#"{"idMappingJobId":""}"#,
        r#"{"idMappingJobId":null}"#,
        r#"{"idMappingJobId":7}"#,
        r#"{"idMappingJobId":" "}"#,
        r#"{"idMappingJobId":"a\nb"}"#,
    ] {
        expect(Fault::Answer(body.to_owned()), "a job may run", unknown()).await;
    }
    expect(Fault::AcceptAndDrop, "a job may run", unknown()).await;
    expect(Fault::Drop, "a job may run", undone("OutcomeUnknown")).await;
}

#[tokio::test]
async fn a_service_that_never_answers_is_abandoned_well_before_the_deadline() {
    let mut harness = Harness::new().await;
    harness.remaining = time::Duration::seconds(3);
    harness
        .aws
        .fail_always(PopulateIdMappingTable, Fault::AcceptAndHang);
    harness.aws.hide_jobs(usize::MAX);
    let began = Instant::now();
    let (error_type, message) = harness.failure(&request_for(T1)).await;
    assert_eq!(error_type, "OutcomeUnknown", "{message}");
    assert!(
        began.elapsed() < Duration::from_millis(2_500),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(harness.populated().len(), 1);
}

#[tokio::test]
async fn throttling_is_retried_and_starts_one_job() {
    let harness = Harness::new().await;
    for fault in [
        Fault::Refuse(Exception::throttling()),
        Fault::Status(
            400,
            r#"{"__type":"ThrottlingException","message":"rate exceeded"}"#.to_owned(),
        ),
    ] {
        harness.aws.fail_next(PopulateIdMappingTable, fault);
    }
    let outcomes = harness.outcomes(&request_for(T1)).await;
    assert_eq!(outcomes[0]["outcome"], "STARTED");
    assert_eq!(
        (harness.populated().len(), harness.aws.jobs().len()),
        (3, 1)
    );
}

#[tokio::test]
async fn throttling_for_ever_is_an_unavailable_service() {
    let expected = Expected {
        error_type: "ServiceUnavailable",
        rejected: false,
        calls: 3,
        jobs: 0,
    };
    expect(
        Fault::Refuse(Exception::throttling()),
        "ThrottlingException (429): rate exceeded",
        expected,
    )
    .await;
}

#[tokio::test]
async fn throttling_under_another_name_is_throttling_too() {
    for (status, body, said) in [
        (
            429,
            "<html>slow down</html>",
            "(429): <html>slow down</html>",
        ),
        (
            400,
            r#"{"__type":"ThrottledException","message":"slow"}"#,
            "ThrottledException (400): slow",
        ),
    ] {
        let expected = Expected {
            error_type: "ServiceUnavailable",
            rejected: false,
            calls: 3,
            jobs: 0,
        };
        expect(Fault::Status(status, body.to_owned()), said, expected).await;
    }
}

#[tokio::test]
async fn what_may_have_started_a_job_is_called_once() {
    for fault in [
        Fault::AcceptAndFail,
        Fault::AcceptAndDrop,
        Fault::Answer("{".to_owned()),
    ] {
        let harness = Harness::new().await;
        harness.aws.fail_next(PopulateIdMappingTable, fault);
        let denied = Fault::Refuse(Exception::access_denied());
        harness.aws.fail_always(GetIdMappingTable, denied);
        // A second call would succeed, and start a second job.
        let (error_type, _) = harness.failure(&request_for(T1)).await;
        assert_eq!(error_type, "OutcomeUnknown");
        assert_eq!(
            (harness.populated().len(), harness.aws.jobs().len()),
            (1, 1)
        );
    }
}

#[tokio::test]
async fn a_refused_connection_is_an_unavailable_service() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let harness = Harness::built(Environment::builder().endpoint_url(&closed)).await;
    let (error_type, message) = harness.failure(&request_for(T1)).await;
    assert_eq!(error_type, "ServiceUnavailable", "{message}");
    assert!(
        message.contains("Connection refused") && message.contains("no job was started"),
        "{message}"
    );
}

#[tokio::test]
async fn a_connection_that_never_opened_is_retried() {
    // It accepts and closes before the TLS handshake: nothing was sent.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (sender, mut tries) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
            sender.send(()).unwrap();
        }
    });
    let harness = Harness::built(Environment::builder().endpoint_url(&url)).await;
    let (error_type, message) = harness.failure(&request_for(T1)).await;
    assert_eq!(error_type, "ServiceUnavailable", "{message}");
    let mut count = 0;
    while tries.try_recv().is_ok() {
        count += 1;
    }
    assert_eq!(count, 3);
}

#[tokio::test]
async fn a_timeout_before_the_connection_opened_is_not_an_unknown_outcome() {
    // A listener whose queue is full: connecting to it hangs.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = tokio::time::timeout(
        Duration::from_millis(300),
        tokio::net::TcpStream::connect(address),
    )
    .await
    {
        queued.push(stream.unwrap());
    }
    let url = format!("http://{address}");
    let mut harness = Harness::built(Environment::builder().endpoint_url(&url)).await;
    // 1.5 seconds for the call, less than for a connection.
    harness.remaining = time::Duration::milliseconds(2_250);
    let (error_type, message) = harness.failure(&request_for(T1)).await;
    assert_eq!(error_type, "ServiceUnavailable", "{message}");
    assert!(message.contains("no job was started"), "{message}");
    drop((listener, queued));
}

#[tokio::test]
async fn an_error_message_does_not_contain_the_request() {
    let builder = Environment::builder().event_bus();
    let harness = Harness::built(builder.endpoint_url("foo")).await;
    let mut payload = request_for(T1);
    payload["jobType"] = json!("BATCH");
    let (error_type, message) = harness.failure(&payload).await;
    assert_eq!(error_type, "ServiceUnavailable");
    assert!(
        message.contains("failed to apply endpoint `foo`") && !message.contains("jobType"),
        "{message}"
    );
}

#[tokio::test]
async fn a_connection_serves_the_next_call_unless_it_lay_idle_too_long() {
    let harness = Harness::with(&[]).await;
    let with_type = |job_type: &str| {
        let mut payload = request_for(T1);
        payload["jobType"] = json!(job_type);
        payload
    };
    harness.outcomes(&with_type("BATCH")).await;
    harness.outcomes(&with_type("INCREMENTAL")).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(5_100)).await;
    tokio::time::resume();
    harness.outcomes(&with_type("DELETE_ONLY")).await;
    let connections: Vec<u64> = harness
        .aws
        .calls()
        .iter()
        .map(|call| call.connection)
        .collect();
    assert_eq!(connections, [1, 1, 2]);
}

#[tokio::test]
async fn the_stand_in_refuses_what_the_service_would() {
    let harness = Harness::with(&[]).await;
    let client = |signed: bool, path: String, body: &str| {
        let url = harness.aws.url();
        let host = url.trim_start_matches("http://").to_owned();
        let authorization = "authorization: AWS4-HMAC-SHA256 Credential=A/20261123/eu-west-1/cleanrooms/aws4_request\r\n";
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{}content-length: {}\r\n\r\n{body}",
            if signed { authorization } else { "" },
            body.len()
        );
        async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
        }
    };
    let path = |table: &str| format!("/memberships/{M}/idmappingtables/{table}/populate");
    assert_eq!(client(true, path(T1), "{}").await, 200);
    assert_eq!(client(false, path(T1), "{}").await, 403);
    assert_eq!(client(true, path(&T1.to_uppercase()), "{}").await, 400);
    assert_eq!(client(true, path("x"), "{}").await, 400);
    assert_eq!(client(true, path(T1), "[]").await, 400);
    assert_eq!(client(true, path(T1), r#"{"jobType":"AUTO"}"#).await, 400);
    assert_eq!(client(true, "/memberships".to_owned(), "{}").await, 404);
    assert_eq!(harness.aws.jobs().len(), 1);
    assert_eq!(Value::Null, harness.aws.calls()[1].body["jobType"]);
}
