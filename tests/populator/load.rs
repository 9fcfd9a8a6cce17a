//! The built binary over a long run: many payloads of every kind.

use fake_aws::{Answered, Operation};
use serde_json::json;

use crate::function::Function;
use crate::harness::{T1, event_file, request_for, table_arn};
use crate::simulation::Random;

/// The number of jobs that an answer reports as started. A batch's answer reports none. Of a list with a refused item, the
/// failure names them.
fn started(answered: &Answered) -> usize {
    match answered {
        Answered::Response(value) => value["outcomes"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|outcome| outcome["outcome"] == "STARTED")
            .count(),
        Answered::Error {
            error_type,
            message,
        } => {
            assert_eq!(error_type, "InvalidRequest", "{message}");
            message.matches(" as job ").count()
        }
    }
}

#[tokio::test]
async fn ten_thousand_payloads_are_answered_and_a_refused_one_makes_no_call() {
    const PAYLOADS: usize = 10_000;
    const SEED: u64 = 0x5eed_0f0d_d0b1_e5e5;
    let mut function = Function::start(&[
        ("ID_MAPPING_TABLE_ARNS", &table_arn(T1)),
        ("AWS_LAMBDA_LOG_LEVEL", "ERROR"),
    ])
    .await;
    let mut random = Random(SEED);
    let files = [
        "bare-request.json",
        "bare-arn.json",
        "bare-targets.json",
        "bare-dry-run.json",
        "scheduler-input.json",
        "population-requested.json",
        "population-requested-string-detail.json",
        "population-requested-resources.json",
        "scheduled-rule.json",
        "scheduler-default.json",
        "s3-object-created.json",
        "glue-job-succeeded.json",
        "step-functions-succeeded.json",
        "cloudtrail-delete.json",
        "cloudtrail-failed-call.json",
        "sqs-batch.json",
        "failure-record.json",
        "outcomes/started.json",
        "refused/near-miss.json",
        "bare-auto.json",
        "bare-targets-of-a-membership.json",
        "bare-from-step-functions.json",
        "bare-empty-strings.json",
        "sns-notification.json",
        "sns-in-sqs.json",
        "s3-notification.json",
        "s3-notification-in-sns.json",
        "s3-notification-in-sqs.json",
        "pipes-sqs-list.json",
        "event-list.json",
        "destination-success.json",
        "destination-success-event.json",
        "scheduler-dead-letter.json",
    ];
    let valid: Vec<String> = files
        .iter()
        .map(|file| event_file(file).to_string())
        .collect();
    let (mut answered_well, mut refused) = (0, 0);
    for number in 0..PAYLOADS {
        let chosen = &valid[random.below(valid.len())];
        let payload: Vec<u8> = match number % 20 {
            // 100,000 levels deep, in lists and objects, alone and inside a request
            0 if number % 400 == 0 => match random.below(3) {
                0 => "[".repeat(100_000).into_bytes(),
                1 => format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000)).into_bytes(),
                _ => format!(
                    r#"{{"detail-type":"t","source":"x","detail":{{"idMappingTableArn":"{}","facts":{}{}}}}}"#,
                    table_arn(T1), "[".repeat(100_000), "]".repeat(100_000)
                )
                .into_bytes(),
            },
            // 200 KB: a good request among other people's facts, and one unknown field
            1 if number % 200 == 1 => {
                let mut event = event_file("population-requested.json");
                event["detail"]["facts"] = json!("f".repeat(200_000));
                event.to_string().into_bytes()
            }
            2 if number % 200 == 2 => {
                let mut bare = request_for(T1);
                bare["x".repeat(200_000)] = json!(1);
                bare.to_string().into_bytes()
            }
            // random bytes, and random JSON
            3 | 4 => (0..random.below(200)).map(|_| random.next() as u8).collect(),
            5 => format!("[{}]", (0..random.below(50)).map(|_| random.next().to_string()).collect::<Vec<_>>().join(",")).into_bytes(),
            // a good payload with some bytes replaced, cut, or doubled
            6..=15 => {
                let mut bytes = chosen.clone().into_bytes();
                for _ in 0..=random.below(3) {
                    let place = random.below(bytes.len());
                    match random.below(4) {
                        0 => bytes[place] = random.next() as u8,
                        1 => bytes[place] = b"{}[]\",:0a"[random.below(9)],
                        2 => drop(bytes.drain(place..(place + random.below(20)).min(bytes.len()))),
                        _ => {
                            let piece = bytes[place..(place + random.below(20)).min(bytes.len())].to_vec();
                            bytes.splice(place..place, piece);
                        }
                    }
                    if bytes.is_empty() {
                        break;
                    }
                }
                bytes
            }
            _ => chosen.clone().into_bytes(),
        };
        let before = function.aws.jobs().len();
        let answered = function.invoke(payload.clone()).await;
        let of_batch = matches!(&answered, Answered::Response(value) if value.get("batchItemFailures").is_some());
        if !of_batch {
            let jobs = function.aws.jobs().len() - before;
            assert_eq!(
                jobs,
                started(&answered),
                "payload {number} of seed {SEED:#x}: {answered:?}"
            );
        }
        // A payload that is not one JSON document from its first byte to its last is refused.
        if serde_json::from_slice::<serde::de::IgnoredAny>(&payload).is_err() {
            assert!(
                matches!(answered, Answered::Error { .. }),
                "payload {number} of seed {SEED:#x}"
            );
        }
        match answered {
            Answered::Response(_) => answered_well += 1,
            Answered::Error { .. } => refused += 1,
        }
    }
    println!(
        "{PAYLOADS} payloads: {answered_well} answered, {refused} refused, {} jobs",
        function.aws.jobs().len()
    );
    assert!(
        answered_well > 3_000 && refused > 3_000,
        "{answered_well} {refused}"
    );
    assert!(function.process.is_running().unwrap(), "the process ended");
    assert!(!function.log().contains("panic"), "{}", function.log());
    let calls = function.aws.calls_of(Operation::PopulateIdMappingTable);
    assert_eq!(calls.len(), function.aws.jobs().len());
}
