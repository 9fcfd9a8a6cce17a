//! What anybody may send who may publish, send or invoke: to the built binary, over HTTP. SECURITY.md lists the controls.

use std::time::Duration;

use fake_aws::{Builder, Environment, Operation, Status};
use serde_json::{Value, json};

use crate::function::{Function, error, response};
use crate::harness::{M, T1, T2, event_file, request_for, table_arn};

fn builder() -> Builder {
    Environment::builder()
        .ledger()
        .queue(time::Duration::ZERO)
        .dead_letter_queue()
        .event_bus()
}

fn batch(bodies: &[String]) -> Value {
    let record = |(number, body): (usize, &String)| {
        json!({
            "messageId": format!("message-{number}"), "body": body, "eventSource": "aws:sqs",
            "attributes": { "SentTimestamp": (1_795_399_200_000_u64 + number as u64).to_string(), "ApproximateReceiveCount": "1" },
        })
    };
    json!({ "Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>() })
}

fn event(detail: Value) -> Value {
    json!({
        "version": "0", "id": "event-1", "source": "com.example", "detail-type": "ID Mapping Population Requested",
        "account": "123456789012", "time": "2026-11-23T02:00:00Z", "region": "eu-west-1", "resources": [],
        "detail": detail,
    })
}

/// Lambda's limit of a payload, in bytes.
const MAX_PAYLOAD: usize = 6 * 1024 * 1024;

/// The most memory that the process may have had at once, whatever it was sent, in KiB.
const MAX_PEAK: u64 = 48 * 1024;

fn repeated(head: &str, item: &str, tail: &str, bytes: usize) -> String {
    let count = (bytes - head.len() - tail.len()) / (item.len() + 1);
    format!("{head}{}{tail}", vec![item; count].join(","))
}

/// Payloads of the largest size, of shapes that are costly to build.
fn large() -> Vec<(&'static str, String)> {
    let request = request_for(T1).to_string();
    let inside = request.trim_end_matches('}').to_owned() + ",\"_x\":";
    let levels = MAX_PAYLOAD / 6;
    let nested = format!("{}0{}", "{\"\":".repeat(levels / 2), "}".repeat(levels / 2));
    let flat = |item: &str| repeated("[", item, "]", MAX_PAYLOAD - 1_024);
    let message = |size: usize, fill: &str| fill.repeat(size / fill.len());
    let bodies = |fill: &str| {
        let escaped = json!(fill).to_string().len() - 2;
        batch(&vec![
            message(
                (MAX_PAYLOAD - 4_096) / 10 * fill.len() / escaped,
                fill
            );
            10
        ])
        .to_string()
    };
    let lists = batch(&vec![format!("[{}]", vec!["{}"; 10_000].join(",")); 10]).to_string();
    let targets = vec![json!({ "idMappingTableIdentifier": T1, "jobType": "BATCH" }); 100];
    let named = |number: usize| {
        let targets = targets.iter().enumerate().map(|(place, target)| {
            let mut target = target.clone();
            target["idMappingTableIdentifier"] =
                json!(format!("aaaaaaaa-0001-4000-8000-{place:012}"));
            target
        });
        json!({
            "membershipIdentifier": M, "requestId": format!("{number:04096}"),
            "targets": targets.collect::<Vec<_>>(),
        })
        .to_string()
    };
    let long_names: Vec<String> = (0..450).map(named).collect();
    let notified = |message: &str, count: usize| {
        let record = json!({
            "EventSource": "aws:sns", "Sns": { "Type": "Notification", "MessageId": "m", "Message": message },
        });
        repeated(
            "{\"Records\":[",
            &record.to_string(),
            "]}",
            count * (record.to_string().len() + 1) + 13,
        )
    };
    let empty_requests = format!("[{}]", vec!["{}"; 1_000].join(","));
    let inside_each_other = |levels: usize| {
        let innermost = format!("{inside}\"{}\"}}", "a".repeat(5_000_000));
        (0..levels).fold(innermost, |inner, _| {
            json!({ "Type": "Notification", "MessageId": "m", "Message": inner }).to_string()
        })
    };
    let tracking = json!({
        "version": 1, "request": {}, "waitingSince": null, "watch": { "idMappingJobId": "1" },
    });
    let one_large = format!(
        "[{{}},{{\"x\":\"{}\"}}]",
        "\\\"".repeat(MAX_PAYLOAD / 2 - 100)
    );
    vec![
        (
            "lists in notifications",
            batch(&vec![notified(&empty_requests, 100); 10]).to_string(),
        ),
        (
            "notifications",
            batch(&vec![notified("{}", 8_000); 5]).to_string(),
        ),
        (
            "requests for all tables",
            batch(&vec!["{}".to_owned(); 10_000]).to_string(),
        ),
        ("texts in each other", inside_each_other(3)),
        ("more texts in each other", inside_each_other(12)),
        ("a large refused item", one_large),
        ("control characters", "\u{1}".repeat(MAX_PAYLOAD)),
        (
            "tracking messages",
            batch(&vec![
                flat(&tracking.to_string())[..500_000]
                    .rsplit_once(',')
                    .map(|(list, _)| format!("{list}]"))
                    .unwrap_or_default();
                10
            ])
            .to_string(),
        ),
        ("nested objects", nested),
        ("a list of lists", flat("[]")),
        ("a list of objects", flat("{}")),
        ("a list of requests", flat(&request)),
        (
            "many unknown names",
            repeated("{", "\"\":0", "}", MAX_PAYLOAD),
        ),
        (
            "many known names",
            repeated("{", "\"time\":0", "}", MAX_PAYLOAD),
        ),
        (
            "a request with a large value",
            format!("{inside}{}}}", flat("{\"a\":[]}")),
        ),
        (
            "a request with a long string",
            format!("{inside}\"{}\"}}", "x".repeat(MAX_PAYLOAD - 1_024)),
        ),
        (
            "escapes",
            format!("{inside}\"{}\"}}", "\\ud83d".repeat(MAX_PAYLOAD / 6 - 200)),
        ),
        (
            "quotation marks",
            format!("{inside}\"{}\"}}", "\\\"".repeat(MAX_PAYLOAD / 2 - 512)),
        ),
        (
            "many records",
            repeated(
                "{\"Records\":[",
                "{\"eventSource\":\"aws:sqs\"}",
                "]}",
                MAX_PAYLOAD,
            ),
        ),
        (
            "many records of S3",
            repeated(
                "{\"Records\":[",
                "{\"eventSource\":\"aws:s3\"}",
                "]}",
                MAX_PAYLOAD,
            ),
        ),
        (
            "many resources",
            event(json!({}))
                .to_string()
                .replace("[]", &flat("\"arn:aws:cleanrooms:x\"")),
        ),
        ("messages of text", bodies("x")),
        ("messages of braces", bodies("{\"\":")),
        ("messages of quotation marks", bodies("\"")),
        ("messages of control characters", bodies("\u{1}")),
        ("messages of long lists", lists),
        (
            "many tables with long names",
            format!("[{}]", long_names.join(",")),
        ),
        ("invalid", "x".repeat(MAX_PAYLOAD)),
    ]
}

#[tokio::test]
async fn no_payload_takes_more_memory_than_the_smallest_function_has() {
    for (what, payload) in large() {
        assert!(
            payload.len() <= MAX_PAYLOAD + 4_096,
            "{what}: {}",
            payload.len()
        );
        let tables: Vec<String> = (0..100)
            .map(|number| table_arn(&format!("aaaaaaaa-0001-4000-8000-{number:012}")))
            .collect();
        let environment = builder().settings(&[
            ("AWS_LAMBDA_LOG_LEVEL", "FATAL"),
            ("ID_MAPPING_TABLE_ARNS", &tables.join(",")),
            ("ALLOW_OTHER_TABLES", "true"),
        ]);
        let environment = environment.over_http().await.unwrap();
        let mut function = Function::within(&environment, Duration::from_secs(8)).await;
        let answered = function.lambda.invoke("request", payload).await;
        let peak = function.used().peak_kib;
        println!("{what}: {:.1} MiB", peak as f64 / 1024.0);
        assert!(peak < MAX_PEAK, "{what}: {peak} KiB, {answered:?}");
        assert!(function.process.is_running().unwrap(), "{what}");
    }
}

#[tokio::test]
async fn a_borrowed_name_does_not_suppress_a_request() {
    let function = Function::built(builder()).await;
    let mut today = request_for(T1);
    today["requestId"] =
        json!("arn:aws:scheduler:eu-west-1:123456789012:schedule/default/nightly/tomorrow");
    today["time"] = json!("2026-11-23T02:00:00Z");
    response(function.invoke(today.to_string()).await);
    assert_eq!(function.aws.jobs().len(), 1);
    // The job started a day ago.
    {
        let mut state = function.aws.state();
        for item in state.items.values_mut() {
            let record = item["record"]["S"].as_str().unwrap();
            let mut record: Value = serde_json::from_str(record).unwrap();
            for pointer in ["/keys/0/job", "/jobs/0"] {
                if let Some(job) = record.pointer_mut(pointer) {
                    for name in ["startedAt", "answeredAt"] {
                        job[name] = json!(job[name].as_i64().unwrap() - 26 * 60 * 60 * 1_000);
                    }
                }
            }
            item["record"]["S"] = json!(record.to_string());
        }
    }
    let repeat = response(function.invoke(today.to_string()).await);
    assert_eq!(
        repeat["outcomes"][0]["outcome"], "COVERED",
        "a repeat is one"
    );
    let mut tomorrow = today;
    tomorrow["time"] = json!(now());
    let answer = response(function.invoke(tomorrow.to_string()).await);
    assert_eq!(answer["outcomes"][0]["outcome"], "STARTED", "{answer}");
    assert_eq!(function.aws.jobs().len(), 2);
}

fn now() -> String {
    id_mapping_populator::clock::timestamp(time::OffsetDateTime::now_utc())
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_before_anything_is_called() {
    let function = Function::built(builder().settings(&[
        ("ID_MAPPING_TABLE_ARNS", &table_arn(T1)),
        ("ALLOWED_JOB_TYPES", "INCREMENTAL,AUTO"),
        ("DEAD_LETTER_QUEUE_URL", ""),
    ]))
    .await;
    let made_up: Vec<Value> = (0..100)
        .map(|number| request_for(&format!("aaaaaaaa-0001-4000-8000-{number:012}")))
        .collect();
    let mut full = request_for(T1);
    full["jobType"] = json!("BATCH");
    let mut foreign = event(request_for(T1));
    foreign["account"] = json!("999999999999");
    for (payload, said) in [
        (
            event(json!({ "targets": made_up })),
            "is not allowed: name a table of ID_MAPPING_TABLE_ARNS",
        ),
        (full, "is not allowed: write INCREMENTAL, AUTO"),
        (foreign, "$.account is not allowed"),
    ] {
        let (error_type, message) = error(function.invoke(payload.to_string()).await);
        assert_eq!(error_type, "InvalidRequest");
        assert!(message.contains(said), "{message}");
        let in_a_message = batch(&[payload.to_string()]);
        let answer = response(function.invoke(in_a_message.to_string()).await);
        assert_eq!(
            answer["batchItemFailures"][0]["itemIdentifier"],
            "message-0"
        );
    }
    assert_eq!(function.aws.call_count(), 0);
    response(function.invoke(event(request_for(T1)).to_string()).await);
    assert_eq!(function.aws.jobs().len(), 1);
}

#[tokio::test]
async fn a_forged_message_neither_fails_a_job_nor_erases_what_it_covers() {
    let function = Function::built(builder().track().slot(fake_aws::Slot::Unlimited)).await;
    response(function.invoke(event(request_for(T1)).to_string()).await);
    let job = function.aws.jobs()[0].clone();
    function.aws.start_foreign_job(T1);
    let foreign = function.aws.jobs()[1].entity_resolution_id.clone();
    function.aws.end_job(Status::Failed);
    for id in [&job.id, &foreign] {
        let forged = json!({
            "version": 1, "request": request_for(T1), "trigger": null, "waitingSince": null,
            "watch": {
                "entityResolutionJobId": foreign, "idMappingJobId": id, "startedAt": now(), "answeredAt": now(),
                "decision": { "rule": "REQUESTED", "reason": "because I say so" },
            },
        });
        response(
            function
                .invoke(batch(&[forged.to_string()]).to_string())
                .await,
        );
        let mut one = forged.clone();
        one["watch"] = json!({ "entityResolutionJobId": foreign });
        response(function.invoke(batch(&[one.to_string()]).to_string()).await);
    }
    let published: Vec<Value> = function.aws.events();
    assert_eq!(published.len(), 1, "{published:?}");
    let again = response(function.invoke(event(request_for(T1)).to_string()).await);
    assert_eq!(again["outcomes"][0]["outcome"], "COVERED");
}

#[tokio::test]
async fn a_message_goes_by_when_it_was_sent_and_not_by_the_time_that_it_claims() {
    let function = Function::built(builder()).await;
    let of = |table: &str, time: &str| {
        let mut request = request_for(table);
        request["time"] = json!(time);
        request.to_string()
    };
    let messages = batch(&[
        of(T1, "2026-11-23T02:00:00Z"),
        of(T2, "0001-01-01T00:00:00Z"),
    ]);
    response(function.invoke(messages.to_string()).await);
    let tables: Vec<String> = function
        .aws
        .jobs()
        .iter()
        .map(|job| job.table.clone())
        .collect();
    assert_eq!(tables, [T1, T2]);
}

#[tokio::test]
async fn an_event_of_aws_that_somebody_passes_on_or_sends_is_not_one() {
    let function = Function::built(builder().settings(&[
        ("ID_MAPPING_TABLE_ARNS", &table_arn(T1)),
        ("DEFAULT_JOB_TYPE", "AUTO"),
        ("ALLOWED_JOB_TYPES", "AUTO"),
        ("DEAD_LETTER_QUEUE_URL", ""),
    ]))
    .await;
    let deletion = event_file("cloudtrail-delete.json");
    let mut passed_on = event_file("destination-success-event.json");
    passed_on["detail"]["responsePayload"] = deletion.clone();
    let (_, message) = error(function.invoke(passed_on.to_string()).await);
    assert!(
        message.contains("may not pass on an event of AWS"),
        "{message}"
    );
    assert_eq!(function.aws.call_count(), 0);
    let sent = batch(&[deletion.to_string()]);
    response(function.invoke(sent.to_string()).await);
    let forged = json!({
        "version": 1, "waitingSince": null, "watch": null,
        "trigger": { "source": "aws.entityresolution", "detailType": "AWS API Call via CloudTrail" },
        "request": { "idMappingTableArn": table_arn(T1), "jobType": "DELETE_ONLY", "requestId": "forged", "time": now() },
    });
    response(
        function
            .invoke(batch(&[forged.to_string()]).to_string())
            .await,
    );
    let calls = function.aws.calls_of(Operation::PopulateIdMappingTable);
    let types: Vec<&Value> = calls.iter().map(|call| &call.body["jobType"]).collect();
    assert_eq!(types, ["INCREMENTAL", "INCREMENTAL"]);
}

#[tokio::test]
async fn a_member_that_is_there_twice_is_refused() {
    let function = Function::built(builder()).await;
    let text = event(request_for(T1)).to_string();
    let twice = text.replacen("{", "{\"source\":\"com.example.allowed\",", 1);
    let (_, message) = error(function.invoke(twice).await);
    assert!(message.contains("$.source appears twice"), "{message}");
    assert_eq!(function.aws.call_count(), 0);
}

#[tokio::test]
async fn nothing_that_was_sent_is_raw_or_long_in_the_log() {
    let escapes = "\u{1b}]0;title\u{7}\u{202e}\u{9b}31m\nforged line";
    for format in ["JSON", "Text"] {
        let function = Function::built(builder().settings(&[
            ("AWS_LAMBDA_LOG_FORMAT", format),
            ("DEAD_LETTER_QUEUE_URL", ""),
        ]))
        .await;
        let mut records = batch(&["nonsense".to_owned(), "nonsense".to_owned()]);
        records["Records"][0]["messageId"] = json!(format!("{escapes}{}", "x".repeat(4_000)));
        response(function.invoke(records.to_string()).await);
        records["Records"][0]["messageId"] = json!("x".repeat(5_000_000));
        error(function.invoke(records.to_string()).await);
        let mut named = request_for(T1);
        named[escapes] = json!(1);
        named["y".repeat(5_000)] = json!(1);
        error(function.invoke(named.to_string()).await);
        let said = json!({ "__type": format!("Strange{escapes}"), "message": escapes.repeat(100) });
        function.aws.fail_next(
            Operation::PopulateIdMappingTable,
            fake_aws::Fault::Status(418, said.to_string()),
        );
        error(function.invoke(request_for(T1).to_string()).await);
        let log = function.all();
        assert_eq!(function.log().lines().count(), 5, "{log}");
        let after = log.split("messageId").nth(1).unwrap();
        let id: String = after
            .chars()
            .skip_while(|c| "\":= ".contains(*c))
            .take_while(|c| *c != '"')
            .collect();
        assert!((100..=128).contains(&id.len()), "{id}");
        let known = |c: char| c.is_ascii_alphanumeric() || "._:/-?".contains(c);
        assert!(id.chars().all(known), "{id}");
        let raw = |character: char| {
            character != '\n' && (character.is_control() || "\u{202e}\u{9b}".contains(character))
        };
        assert!(!log.contains(raw), "{log:?}");
        assert!(log.lines().all(|line| line.len() < 5_000), "{log}");
    }
}

#[tokio::test]
async fn signed_requests_do_not_leave_the_machine_in_the_clear() {
    let file = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("endpoint-in-a-file");
    std::fs::write(&file, "[default]\nendpoint_url = http://example.com\n").unwrap();
    let file = file.to_str().unwrap();
    for (endpoint, setting, said) in [
        (
            "http://example.com",
            ("NO_PROXY", ""),
            "AWS_ENDPOINT_URL would send signed requests",
        ),
        (
            "http://127.0.0.1:1",
            ("HTTP_PROXY", "http://example.com"),
            "HTTP_PROXY would send the signed requests",
        ),
        (
            "",
            ("AWS_CONFIG_FILE", file),
            "endpoint_url of the AWS configuration would send signed requests",
        ),
    ] {
        let environment = builder().endpoint_url(endpoint).settings(&[setting]);
        let function = Function::built(environment).await;
        let (error_type, message) = error(function.invoke(request_for(T1).to_string()).await);
        assert_eq!(error_type, "InvalidConfiguration", "{message}");
        assert!(message.contains(said), "{message}");
    }
}

#[tokio::test]
async fn messages_that_track_many_jobs_do_not_take_the_time_of_the_others() {
    let function = Function::built(builder().track()).await;
    let watch = |number: usize| {
        let id = format!("job-{number}");
        json!({ "version": 1, "request": request_for(T1), "waitingSince": null, "watch": { "idMappingJobId": id } })
    };
    let list = Value::from((0..1_100).map(watch).collect::<Vec<_>>()).to_string();
    let few = Value::from((0..100).map(watch).collect::<Vec<_>>()).to_string();
    let mut bodies = vec![few; 9];
    bodies.extend([list, request_for(T1).to_string()]);
    let answer = response(function.invoke(batch(&bodies).to_string()).await);
    assert_eq!(answer["batchItemFailures"], json!([]));
    assert_eq!(function.aws.jobs().len(), 1);
    assert_eq!(function.aws.messages("dead").len(), 1);
    assert!(function.aws.calls_of(Operation::GetItem).len() < 200);
}

#[tokio::test]
async fn a_message_with_a_long_list_does_not_take_the_time_of_the_others() {
    let function = Function::built(builder()).await;
    let list = format!("[{}]", vec!["{}"; 10_000].join(","));
    let answer = function.invoke(batch(&[list, request_for(T1).to_string()]).to_string());
    assert_eq!(response(answer.await)["batchItemFailures"], json!([]));
    assert_eq!(function.aws.jobs().len(), 1);
    let letters = function.aws.messages("dead");
    assert_eq!(letters.len(), 1, "what is refused is moved at once");
    let items: Vec<Value> = serde_json::from_str(&letters[0].body).unwrap();
    assert_eq!(items.len(), 10_000);
    let sent = function.aws.calls_of(Operation::SendMessage);
    let reason = &sent[0].body["MessageAttributes"]["errorMessage"]["StringValue"];
    let reason = reason.as_str().unwrap();
    assert!(
        reason.contains("$.Records[0].body[0] names no")
            && reason.ends_with("; 9990 more are refused"),
        "{reason}"
    );
}
