//! The rules and inputs of `events/rules/`: what EventBridge would deliver for the sample events is
//! what the function takes.

use fake_aws::{FakeAws, Slot};
use id_mapping_populator::error::ErrorType;
use serde_json::{Map, Value, json};

use crate::harness::{Harness, T1, event_file, table_arn};
use crate::simulator::Simulator;

/// Rule, and the sample event that it is for.
pub const RULES: &[(&str, &str)] = &[
    ("rules/s3-object-created.json", "s3-object-created.json"),
    ("rules/glue-job-succeeded.json", "glue-job-succeeded.json"),
    (
        "rules/glue-crawler-succeeded.json",
        "glue-crawler-succeeded.json",
    ),
    ("rules/glue-table-changed.json", "glue-table-changed.json"),
    (
        "rules/step-functions-succeeded.json",
        "step-functions-succeeded.json",
    ),
    ("rules/cloudtrail-delete.json", "cloudtrail-delete.json"),
];

/// Rule, and the outcome that it is for.
pub const OUTCOME_RULES: &[(&str, &str)] = &[
    ("rules/job-started.json", "started"),
    ("rules/request-covered.json", "covered"),
    ("rules/request-waiting.json", "waiting"),
    ("rules/request-rejected.json", "rejected"),
    ("rules/job-succeeded.json", "succeeded"),
    ("rules/job-failed.json", "failed"),
];

/// Whether an event matches a pattern, as far as the rules here go: lists of exact strings, of
/// wildcards, and of `exists: false` alone. Anything else in a pattern fails the test that meets it.
fn matches(pattern: &Map<String, Value>, event: &Value) -> bool {
    pattern
        .iter()
        .all(|(name, pattern)| match (pattern, &event[name]) {
            (Value::Object(pattern), value) => matches(pattern, value),
            (Value::Array(allowed), Value::String(value)) => {
                allowed.iter().any(|allowed| match allowed {
                    Value::String(exact) => exact == value,
                    Value::Object(operator) if operator.contains_key("wildcard") => {
                        wildcard(operator["wildcard"].as_str().unwrap(), value)
                    }
                    Value::Object(operator) if operator["exists"] == false => false,
                    other => panic!("{other} is not understood here"),
                })
            }
            (Value::Array(allowed), value) if *allowed == [json!({ "exists": false })] => {
                value.is_null()
            }
            (Value::Array(_), _) => false,
            (other, _) => panic!("{other} is no pattern"),
        })
}

/// `*` stands for any characters, none included.
fn wildcard(pattern: &str, value: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == value,
        Some((start, rest)) => value.strip_prefix(start).is_some_and(|value| {
            value
                .char_indices()
                .map(|(at, _)| at)
                .chain([value.len()])
                .any(|at| wildcard(rest, &value[at..]))
        }),
    }
}

/// What an input transformer makes of an event: each `<variable>` outside quotes becomes the JSON
/// value at its path.
fn transformed(transformer: &Value, event: &Value) -> Value {
    let mut text = transformer["InputTemplate"].as_str().unwrap().to_owned();
    for (name, path) in transformer["InputPathsMap"].as_object().unwrap() {
        let pointer = path
            .as_str()
            .unwrap()
            .strip_prefix('$')
            .unwrap()
            .replace('.', "/");
        text = text.replace(
            &format!("<{name}>"),
            &event.pointer(&pointer).unwrap().to_string(),
        );
    }
    serde_json::from_str(&text).unwrap()
}

#[test]
fn each_rule_takes_its_event_and_no_other() {
    for (rule, own) in RULES {
        let pattern = event_file(rule)["EventPattern"]
            .as_object()
            .unwrap()
            .clone();
        for (_, event) in RULES {
            assert_eq!(
                matches(&pattern, &event_file(event)),
                event == own,
                "{rule} {event}"
            );
        }
        assert!(
            !matches(&pattern, &event_file("population-requested.json")),
            "{rule}"
        );
    }
    let s3 = event_file("rules/s3-object-created.json")["EventPattern"]
        .as_object()
        .unwrap()
        .clone();
    let mut part = event_file("s3-object-created.json");
    part["detail"]["object"]["key"] = json!("ids/2026/11/23/part-0.parquet");
    assert!(!matches(&s3, &part));
    let job = event_file("rules/glue-job-succeeded.json")["EventPattern"]
        .as_object()
        .unwrap()
        .clone();
    let mut failed = event_file("glue-job-succeeded.json");
    failed["detail"]["state"] = json!("FAILED");
    assert!(!matches(&job, &failed));
    let delete = event_file("rules/cloudtrail-delete.json")["EventPattern"]
        .as_object()
        .unwrap()
        .clone();
    assert!(!matches(
        &delete,
        &event_file("cloudtrail-failed-call.json")
    ));
}

#[tokio::test]
async fn an_event_that_a_rule_delivers_starts_a_job_under_its_id() {
    for (rule, event) in RULES {
        let event = event_file(event);
        let delivered = transformed(&event_file(rule)["Targets"][0]["InputTransformer"], &event);
        assert_eq!(delivered["time"], event["time"], "{rule}");
        let harness = Harness::new().await;
        let outcomes = harness.outcomes(&delivered).await;
        assert_eq!(
            harness.populated_tables(),
            [(T1.to_owned(), delivered["detail"]["jobType"].clone())],
            "{rule}"
        );
        let deletes = *rule == "rules/cloudtrail-delete.json";
        let job_type = if deletes {
            "DELETE_ONLY"
        } else {
            "INCREMENTAL"
        };
        assert_eq!(delivered["detail"]["jobType"], job_type, "{rule}");
        assert_eq!(outcomes[0]["requestId"], event["id"], "{rule}");
    }
}

/// What a rule delivers is an event, and so a burst of them settles.
#[tokio::test(start_paused = true)]
async fn an_event_that_a_rule_delivers_settles() {
    for (rule, event) in RULES {
        let delivered = transformed(
            &event_file(rule)["Targets"][0]["InputTransformer"],
            &event_file(event),
        );
        let settings = [("SETTLE_TIME", "5m")];
        let mut sim = Simulator::with(FakeAws::in_process(), Slot::Unlimited, &settings).await;
        assert_eq!(
            sim.outcomes(&delivered).await,
            ["WAITING Settling"],
            "{rule}"
        );
    }
}

/// What EventBridge Scheduler makes of an input.
fn scheduled(input: &str) -> Value {
    let text = event_file(input)
        .to_string()
        .replace("<aws.scheduler.schedule-arn>", SCHEDULE)
        .replace("<aws.scheduler.scheduled-time>", "2026-11-23T02:00:00Z");
    serde_json::from_str(&text).unwrap()
}

const SCHEDULE: &str = "arn:aws:scheduler:eu-west-1:123456789012:schedule/default/nightly";

#[tokio::test]
async fn a_scheduler_input_starts_a_job_under_its_id_and_time() {
    assert_eq!(
        scheduled("rules/scheduler-input.json"),
        event_file("scheduler-input.json")
    );
    for (input, job_type) in [
        ("rules/scheduler-input.json", json!("INCREMENTAL")),
        // That of the template's schedule.
        ("rules/scheduler-input-all-tables.json", Value::Null),
    ] {
        let harness = Harness::with(&[("ID_MAPPING_TABLE_ARNS", &table_arn(T1))]).await;
        let outcomes = harness.outcomes(&scheduled(input)).await;
        assert_eq!(
            outcomes[0]["requestId"],
            format!("{SCHEDULE}/2026-11-23T02:00:00Z")
        );
        assert_eq!(
            harness.populated_tables(),
            [(T1.to_owned(), job_type)],
            "{input}"
        );
    }
}

/// What Step Functions makes of the task's payload, for one execution.
#[tokio::test(start_paused = true)]
async fn a_state_machine_task_is_one_request_however_often_it_is_retried() {
    let machine = event_file("rules/step-functions-task.json");
    let task = &machine["States"]["Refresh"];
    let mut payload = task["Parameters"]["Payload"].as_object().unwrap().clone();
    let name = payload.remove("requestId.$").unwrap();
    assert_eq!(
        name,
        "States.Format('{}/{}', $$.Execution.Id, $$.State.Name)"
    );
    assert_eq!(payload.remove("time.$").unwrap(), "$$.State.EnteredTime");
    let execution = "arn:aws:states:eu-west-1:123456789012:execution:refresh:run-1";
    payload.insert(
        "requestId".to_owned(),
        json!(format!("{execution}/Refresh")),
    );
    payload.insert("time".to_owned(), json!("2026-11-23T01:59:58.120Z"));
    let mut sim = Simulator::new(Slot::Conflict).await;
    let payload = Value::Object(payload);
    assert_eq!(sim.outcomes(&payload).await, ["STARTED"]);
    assert_eq!(sim.outcomes(&payload).await, ["COVERED"]);
    // It catches and retries errors that the function has, or Lambda.
    let known = ErrorType::ALL.map(ErrorType::as_str);
    for handlers in [&task["Retry"], &task["Catch"]] {
        for error in handlers[0]["ErrorEquals"].as_array().unwrap() {
            let error = error.as_str().unwrap();
            assert!(
                known.contains(&error) || error.starts_with("Lambda."),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn an_event_of_put_events_reaches_the_function_by_the_templates_rule() {
    let entries = event_file("rules/put-events.json");
    let [entry] = &entries.as_array().unwrap()[..] else {
        panic!("{entries}")
    };
    let mut event = event_file("population-requested.json");
    // The template's rule; tests/deployment compares it with this file's.
    assert_eq!(entry["DetailType"], event["detail-type"]);
    event["source"] = entry["Source"].clone();
    event["detail"] = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
    let harness = Harness::new().await;
    harness.outcomes(&event).await;
    assert_eq!(
        harness.populated_tables(),
        [(T1.to_owned(), json!("INCREMENTAL"))]
    );
}

#[test]
fn a_rule_for_an_outcome_takes_it_alone() {
    const OUTCOMES: [&str; 6] = [
        "started",
        "covered",
        "waiting",
        "rejected",
        "succeeded",
        "failed",
    ];
    for (rule, own) in OUTCOME_RULES {
        let rule = event_file(rule);
        let pattern = rule["EventPattern"].as_object().unwrap();
        for outcome in OUTCOMES {
            let event = event_file(&format!("outcomes/{outcome}.json"));
            assert_eq!(matches(pattern, &event), outcome == *own, "{own} {outcome}");
        }
    }
    assert_eq!(OUTCOME_RULES.len(), OUTCOMES.len());
}

#[test]
fn the_stand_in_for_a_wildcard_matches_as_eventbridge_does() {
    for (pattern, value, expected) in [
        ("a*c", "abc", true),
        ("a*c", "ac", true),
        ("a*c", "a/b/c", true),
        ("a*c", "abd", false),
        ("*", "", true),
        ("ids/*/_SUCCESS", "ids/2026/11/23/_SUCCESS", true),
        ("ids/*/_SUCCESS", "ids/_SUCCESS", false),
        ("a", "ab", false),
    ] {
        assert_eq!(wildcard(pattern, value), expected, "{pattern} {value}");
    }
}
