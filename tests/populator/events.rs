//! Every file of `events/`: what comes in, what goes over the wire, what comes out.

use std::collections::BTreeSet;
use std::path::Path;

use fake_aws::{Environment, Status};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::harness::{Harness, M, T1, T2, T3, T4, T5, event_file, table_arn};
use crate::rules::{OUTCOME_RULES, RULES};

async fn harness() -> Harness {
    let arns = format!("{}, {}", table_arn(T1), table_arn(T2));
    Harness::with(&[
        ("EVENT_BUS_NAME", "default"),
        ("ID_MAPPING_TABLE_ARNS", &arns),
        ("ALLOW_OTHER_TABLES", "true"),
    ])
    .await
}

/// File, and the calls that it must lead to: table, job type, rule.
type StartedCase = (
    &'static str,
    &'static [(&'static str, Option<&'static str>, &'static str)],
);

const DEFAULTS: &[(&str, Option<&str>, &str)] =
    &[(T1, None, "SERVICE_DEFAULT"), (T2, None, "SERVICE_DEFAULT")];

const STARTED: &[StartedCase] = &[
    (
        "bare-request.json",
        &[(T1, Some("INCREMENTAL"), "REQUESTED")],
    ),
    (
        "bare-urgent.json",
        &[(T1, Some("INCREMENTAL"), "REQUESTED")],
    ),
    ("bare-arn.json", &[(T1, Some("BATCH"), "REQUESTED")]),
    (
        "bare-auto.json",
        &[(T1, Some("INCREMENTAL"), "INCREMENTAL")],
    ),
    (
        "bare-targets.json",
        &[
            (T1, Some("INCREMENTAL"), "REQUESTED"),
            (T2, Some("BATCH"), "REQUESTED"),
            (T3, None, "SERVICE_DEFAULT"),
        ],
    ),
    (
        "five-tables.json",
        &[
            (T1, Some("INCREMENTAL"), "REQUESTED"),
            (T2, Some("INCREMENTAL"), "REQUESTED"),
            (T3, Some("INCREMENTAL"), "REQUESTED"),
            (T4, Some("INCREMENTAL"), "REQUESTED"),
            (T5, Some("INCREMENTAL"), "REQUESTED"),
        ],
    ),
    (
        "scheduler-input.json",
        &[(T1, Some("INCREMENTAL"), "REQUESTED")],
    ),
    (
        "population-requested.json",
        &[(T1, Some("INCREMENTAL"), "REQUESTED")],
    ),
    (
        "population-requested-string-detail.json",
        &[(T1, Some("BATCH"), "REQUESTED")],
    ),
    (
        "population-requested-resources.json",
        &[
            (T1, Some("INCREMENTAL"), "REQUESTED"),
            (T2, Some("INCREMENTAL"), "REQUESTED"),
        ],
    ),
    ("scheduled-rule.json", DEFAULTS),
    ("scheduler-default.json", DEFAULTS),
    ("s3-object-created.json", DEFAULTS),
    ("glue-job-succeeded.json", DEFAULTS),
    ("glue-crawler-succeeded.json", DEFAULTS),
    ("glue-table-changed.json", DEFAULTS),
    ("step-functions-succeeded.json", DEFAULTS),
    ("cloudtrail-delete.json", DEFAULTS),
    (
        "failure-record.json",
        &[(T1, Some("INCREMENTAL"), "REQUESTED")],
    ),
    ("bare-from-step-functions.json", INCREMENTAL),
    ("bare-empty-strings.json", &[(T1, None, "SERVICE_DEFAULT")]),
    (
        "bare-targets-of-a-membership.json",
        &[
            (T1, Some("INCREMENTAL"), "REQUESTED"),
            (T2, Some("BATCH"), "REQUESTED"),
        ],
    ),
];

#[tokio::test]
async fn a_question_for_status_is_answered_and_a_button_is_a_request() {
    let harness = harness().await;
    let report = harness.handle(&event_file("status.json")).await.unwrap();
    assert_eq!(report["status"]["tables"].as_array().unwrap().len(), 2);
    let page = harness
        .handle(&event_file("status-widget.json"))
        .await
        .unwrap();
    assert!(page.as_str().unwrap().contains("Refresh now"));
    assert!(harness.populated().is_empty());
    let pressed = harness
        .handle(&event_file("status-button.json"))
        .await
        .unwrap();
    assert!(pressed.as_str().unwrap().contains("STARTED"), "{pressed}");
    assert_eq!(harness.populated_tables(), [(T1.to_owned(), Value::Null)]);
}

const INCREMENTAL: &[(&str, Option<&str>, &str)] = &[(T1, Some("INCREMENTAL"), "REQUESTED")];

#[tokio::test]
async fn each_accepted_shape_becomes_its_calls_and_its_announced_outcomes() {
    for (file, expected) in STARTED {
        let harness = harness().await;
        let payload = event_file(file);
        let outcomes = harness.outcomes(&payload).await;

        let calls: Vec<_> = harness.populated_tables();
        let wanted: Vec<_> = expected
            .iter()
            .map(|(table, job_type, _)| ((*table).to_owned(), json!(job_type)))
            .collect();
        assert_eq!(calls, wanted, "{file}");
        assert_eq!(outcomes.len(), expected.len(), "{file}");
        for ((table, job_type, rule), (outcome, job)) in
            expected.iter().zip(outcomes.iter().zip(harness.aws.jobs()))
        {
            assert_eq!(outcome["outcome"], "STARTED", "{file}");
            assert_eq!(outcome["idMappingTableIdentifier"], *table, "{file}");
            assert_eq!(outcome["idMappingJobId"], job.id, "{file}");
            assert_eq!(
                outcome.get("jobType"),
                job_type.map(|name| json!(name)).as_ref(),
                "{file}"
            );
            assert_eq!(outcome["decision"]["rule"], *rule, "{file}");
            let trigger = payload.get("detail-type").map(|detail_type| {
                json!({
                    "source": payload["source"], "detailType": detail_type, "id": payload["id"], "time": payload["time"],
                })
            });
            assert_eq!(outcome.get("trigger"), trigger.as_ref(), "{file}");
            let own = payload.get("requestId").filter(|id| **id != "");
            assert_eq!(
                outcome.get("requestId"),
                own.or(payload.get("id")),
                "{file}"
            );
        }
        let announced: Vec<_> = outcomes
            .into_iter()
            .map(|outcome| ("ID Mapping Job Started".to_owned(), outcome))
            .collect();
        assert_eq!(harness.announced(), announced, "{file}");
    }
}

/// A payload in a record of another service: the file, the calls, and the `requestId` and the trigger's `source` of the
/// outcomes.
type WrappedCase = (
    &'static str,
    &'static [(&'static str, Option<&'static str>, &'static str)],
    Option<&'static str>,
    Option<&'static str>,
);

const WRAPPED: &[WrappedCase] = &[
    (
        "sns-notification.json",
        INCREMENTAL,
        Some("load-2026-11-23"),
        None,
    ),
    (
        "sns-in-sqs.json",
        &[(T1, Some("BATCH"), "REQUESTED")],
        Some("4b8f2f4e-7d1b-4c7e-9d55-0a6b1c2d3e11"),
        Some("com.example.data-platform"),
    ),
    (
        "s3-notification.json",
        DEFAULTS,
        Some("5N4Q7ABCDEFGHIJK/0067A1B2C3D4E5F6"),
        Some("aws.s3"),
    ),
    (
        "s3-notification-in-sns.json",
        DEFAULTS,
        Some("7N4Q7ABCDEFGHIJK/0067A1B2C3D4E5F8"),
        Some("aws.s3"),
    ),
    (
        "s3-notification-in-sqs.json",
        DEFAULTS,
        Some("8N4Q7ABCDEFGHIJK/0067A1B2C3D4E5F9"),
        Some("aws.s3"),
    ),
    ("destination-success.json", INCREMENTAL, None, None),
    (
        "destination-success-event.json",
        INCREMENTAL,
        Some("4b8f2f4e-7d1b-4c7e-9d55-0a6b1c2d3e13"),
        Some("lambda"),
    ),
    (
        "scheduler-dead-letter.json",
        INCREMENTAL,
        Some(
            "arn:aws:scheduler:eu-west-1:123456789012:schedule/default/refresh/2026-11-23T02:00:00Z",
        ),
        None,
    ),
];

#[tokio::test]
async fn what_other_services_wrap_becomes_the_calls_of_the_payload_inside() {
    for (file, expected, request_id, source) in WRAPPED {
        let harness = harness().await;
        let answer = harness.handle(&event_file(file)).await.unwrap();
        let wanted: Vec<_> = expected
            .iter()
            .map(|(table, job_type, _)| ((*table).to_owned(), json!(job_type)))
            .collect();
        assert_eq!(harness.populated_tables(), wanted, "{file}: {answer}");
        let announced = harness.announced();
        assert_eq!(announced.len(), expected.len(), "{file}");
        for ((_, _, rule), (detail_type, outcome)) in expected.iter().zip(announced) {
            assert_eq!(detail_type, "ID Mapping Job Started", "{file}");
            assert_eq!(outcome["decision"]["rule"], *rule, "{file}");
            assert_eq!(outcome["requestId"], json!(request_id), "{file}");
            assert_eq!(outcome["trigger"]["source"], json!(source), "{file}");
        }
        // Another delivery of the same record is the same request.
        harness.handle(&event_file(file)).await.unwrap();
        let again = harness.populated_tables();
        assert_eq!(again, wanted, "{file}");
    }
}

#[tokio::test]
async fn each_item_of_a_list_is_answered_for() {
    let harness = harness().await;
    let outcomes = harness.outcomes(&event_file("event-list.json")).await;
    let tables: Vec<_> = outcomes
        .iter()
        .map(|outcome| &outcome["idMappingTableIdentifier"])
        .collect();
    assert_eq!(tables, [T1, T2]);

    // EventBridge Pipes takes a partial batch response.
    let harness = self::harness().await;
    let answer = harness
        .handle(&event_file("pipes-sqs-list.json"))
        .await
        .unwrap();
    let stays = json!({ "batchItemFailures": [{ "itemIdentifier": "9f1d6c6e-3a44-4f37-a9a5-7d1a2f0c4b15" }] });
    assert_eq!(answer, stays);
    assert_eq!(
        harness.populated_tables(),
        [(T1.to_owned(), json!("INCREMENTAL"))]
    );
}

#[tokio::test]
async fn a_refused_item_of_a_list_does_not_hold_up_the_others() {
    let list = json!([
        event_file("refused/near-miss.json"),
        event_file("bare-arn.json")
    ]);
    // Without a dead-letter queue, the caller learns of it when the others are done.
    let harness = harness().await;
    let (error_type, message) = harness.failure(&list).await;
    assert_eq!(error_type, "InvalidRequest");
    assert!(
        message.starts_with("1 of 2 requests failed: InvalidRequest: the payload is refused: $[0].membershipId is not known"),
        "{message}"
    );
    let job = &harness.aws.jobs()[0];
    let started = format!(
        "started: membership/{M}/idmappingtable/{T1} as job {}",
        job.id
    );
    assert!(message.ends_with(&started), "{message}");

    let environment = Environment::builder().dead_letter_queue();
    let harness = Harness::built(environment).await;
    assert_eq!(harness.outcomes(&list).await.len(), 1);
    let letters = harness.aws.messages("dead");
    let bodies = letters
        .iter()
        .map(|letter| serde_json::from_str(&letter.body).unwrap());
    let bodies: Vec<Value> = bodies.collect();
    assert_eq!(bodies, [event_file("refused/near-miss.json")]);
}

#[tokio::test]
async fn a_dry_run_calls_nothing_and_says_what_it_would_do() {
    let harness = harness().await;
    let outcomes = harness.outcomes(&event_file("bare-dry-run.json")).await;
    let mut outcome = outcomes[0].clone();
    assert!(outcome.as_object_mut().unwrap().remove("eventId").is_some());
    for fact in ["workflow", "jobRunning"] {
        let fact = outcome["facts"][fact].as_object_mut().unwrap();
        assert!(fact.remove("readAt").is_some());
    }
    assert_eq!(
        outcome,
        json!({
            "version": "1", "outcome": "PLANNED", "membershipIdentifier": M, "idMappingTableIdentifier": T1,
            "jobType": "DELETE_ONLY", "plan": "START",
            "decision": { "rule": "REQUESTED", "reason": "the request asks for DELETE_ONLY" },
            "facts": {
                "workflow": {
                    "workflowName": format!("workflow-{T1}"), "idMappingType": "RULE_BASED",
                    "incrementalRunConfig": true,
                },
                "jobRunning": { "value": false },
            },
        })
    );
    // Only reads.
    let operations = harness
        .aws
        .calls()
        .into_iter()
        .map(|call| call.operation.unwrap());
    let reads = [
        fake_aws::Operation::GetIdMappingTable,
        fake_aws::Operation::GetIdMappingWorkflow,
        fake_aws::Operation::ListIdMappingJobs,
    ];
    assert_eq!(operations.collect::<Vec<_>>(), reads);
}

#[tokio::test]
async fn a_batch_returns_the_messages_that_stay() {
    let harness = harness().await;
    let answer = harness.handle(&event_file("sqs-batch.json")).await.unwrap();
    let stays = json!({ "batchItemFailures": [{ "itemIdentifier": "9f1d6c6e-3a44-4f37-a9a5-7d1a2f0c4b02" }] });
    assert_eq!(answer, stays);
    assert_eq!(
        harness.populated_tables(),
        // In the order in which they were sent.
        [
            (T1.to_owned(), json!("INCREMENTAL")),
            (T3.to_owned(), Value::Null)
        ]
    );
    assert_eq!(harness.announced().len(), 2);
}

#[tokio::test]
async fn what_is_ignored_has_no_outcome() {
    for file in [
        "cloudtrail-failed-call.json",
        "s3-test-event.json",
        "outcomes/started.json",
        "outcomes/rejected.json",
        "outcomes/covered.json",
        "outcomes/waiting.json",
        "outcomes/succeeded.json",
        "outcomes/failed.json",
    ] {
        let harness = harness().await;
        assert_eq!(
            harness.handle(&event_file(file)).await.unwrap(),
            json!({ "outcomes": [] }),
            "{file}"
        );
        assert_eq!(harness.aws.call_count(), 0, "{file}");
    }
}

#[tokio::test]
async fn a_confirmation_of_a_subscription_is_ignored_and_deleted() {
    let harness = harness().await;
    let event = event_file("sns-subscription-confirmation.json");
    let answer = harness.handle(&event).await.unwrap();
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    assert_eq!(harness.aws.call_count(), 0);
}

const REFUSED: &[(&str, &str)] = &[
    (
        "near-miss.json",
        "$.membershipId is not known: write `membershipIdentifier`",
    ),
    (
        "near-miss-in-event.json",
        "$.detail.job_type is not known: write `jobType`",
    ),
    ("unknown-field.json", "$.priority is not known: remove it"),
    ("job-type.json", "$.jobType is not a job type: write BATCH"),
    (
        "half-target.json",
        "$.idMappingTableIdentifier is missing, and membershipIdentifier is given",
    ),
    (
        "upper-case-identifier.json",
        "$.membershipIdentifier has upper-case letters",
    ),
    (
        "other-region.json",
        "$.idMappingTableArn is in Region us-east-1 and the function runs in eu-west-1",
    ),
    (
        "empty-targets.json",
        "$.targets is empty: name at least one",
    ),
    ("not-an-object.json", "$ is a string: send a JSON object"),
];

#[tokio::test]
async fn each_refusal_calls_and_publishes_nothing() {
    for (file, fault) in REFUSED {
        let harness = Harness::new().await;
        let (error_type, message) = harness
            .failure(&event_file(&format!("refused/{file}")))
            .await;
        assert_eq!(error_type, "InvalidRequest", "{file}");
        assert!(message.contains(fault), "{file}: {message}");
        assert_eq!(harness.aws.call_count(), 0, "{file}");
    }
}

/// Masks the members of an event that differ from run to run and have the right form.
fn masked(mut event: Value) -> Value {
    let rfc_3339 = |text: &str| OffsetDateTime::parse(text, &Rfc3339).is_ok();
    for place in [
        "/id",
        "/time",
        "/detail/startedAt",
        "/detail/endedAt",
        "/detail/idMappingJobId",
    ] {
        if let Some(value) = event.pointer_mut(place) {
            let text = value.as_str().unwrap();
            match place {
                "/time" => assert!(rfc_3339(text) && text.len() == 20, "{text}"),
                "/detail/startedAt" | "/detail/endedAt" => {
                    assert!(rfc_3339(text) && text.len() == 24, "{text}")
                }
                _ => assert_eq!(text.len(), 36),
            }
            *value = json!("…");
        }
    }
    event
}

#[tokio::test]
async fn the_sample_outcome_events_are_what_a_rule_would_deliver() {
    let payload = event_file("population-requested.json");
    for (file, fault) in [
        ("started", None),
        ("covered", None),
        ("waiting", Some(fake_aws::Exception::conflict())),
        ("rejected", Some(fake_aws::Exception::not_found())),
    ] {
        let builder = Environment::builder().queue(time::Duration::MINUTE);
        let harness = Harness::built(builder.event_bus()).await;
        if file == "covered" {
            // The same event, once before.
            let _ = harness.handle(&payload).await;
            harness.aws.state().events.clear();
        }
        if let Some(exception) = fault {
            harness.aws.fail_next(
                fake_aws::Operation::PopulateIdMappingTable,
                fake_aws::Fault::Refuse(exception),
            );
        }
        let _ = harness.handle(&payload).await;
        let events = harness.aws.events();
        assert_eq!(events.len(), 1);
        let sample = event_file(&format!("outcomes/{file}.json"));
        assert_eq!(
            masked(events[0].clone()),
            masked(sample),
            "{}",
            serde_json::to_string_pretty(&events[0]).unwrap()
        );
    }
}

#[tokio::test]
async fn the_sample_events_of_a_jobs_end_are_what_a_rule_would_deliver() {
    for (file, status) in [("succeeded", Status::Succeeded), ("failed", Status::Failed)] {
        let builder = Environment::builder().queue(time::Duration::ZERO);
        let harness = Harness::built(builder.event_bus().track()).await;
        harness
            .outcomes(&event_file("population-requested.json"))
            .await;
        harness.aws.end_job(status);
        let handle = async |batch: &Value| harness.handle(batch).await.ok();
        let batch = harness.aws.poll(handle).await.unwrap();
        assert_eq!(batch.answer, Some(json!({ "batchItemFailures": [] })));
        let events = harness.aws.events();
        assert_eq!(events.len(), 2);
        let sample = event_file(&format!("outcomes/{file}.json"));
        assert_eq!(
            masked(events[1].clone()),
            masked(sample),
            "{}",
            serde_json::to_string_pretty(&events[1]).unwrap()
        );
    }
}

#[test]
fn every_file_is_used_by_a_test() {
    let used: BTreeSet<String> = STARTED
        .iter()
        .map(|(file, _)| (*file).to_owned())
        .chain(
            [
                "bare-dry-run.json",
                "sqs-batch.json",
                "cloudtrail-failed-call.json",
                "waiting-message.json",
                "watch-message.json",
                "bare-auto-dry-run.json",
                "event-list.json",
                "pipes-sqs-list.json",
                "s3-test-event.json",
                "sns-subscription-confirmation.json",
            ]
            .map(str::to_owned),
        )
        .chain(
            [
                "status.json",
                "status-widget.json",
                "status-button.json",
                "outcomes/started.json",
                "outcomes/covered.json",
                "outcomes/waiting.json",
                "outcomes/rejected.json",
                "outcomes/succeeded.json",
                "outcomes/failed.json",
            ]
            .map(str::to_owned),
        )
        .chain(RULES.iter().map(|(rule, _)| (*rule).to_owned()))
        .chain(OUTCOME_RULES.iter().map(|(rule, _)| (*rule).to_owned()))
        .chain(
            [
                "rules/scheduler-input.json",
                "rules/scheduler-input-all-tables.json",
                "rules/put-events.json",
                "rules/step-functions-task.json",
            ]
            .map(str::to_owned),
        )
        .chain(WRAPPED.iter().map(|(file, ..)| (*file).to_owned()))
        .chain(REFUSED.iter().map(|(file, _)| format!("refused/{file}")))
        .collect();
    let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("events");
    let mut there = BTreeSet::new();
    for folder in ["", "refused/", "outcomes/", "rules/"] {
        for entry in std::fs::read_dir(events.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".json") {
                there.insert(format!("{folder}{name}"));
            }
        }
    }
    assert_eq!(used, there);
}
