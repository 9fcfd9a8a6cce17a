//! Status: what is read, what is reported, what is refused, and that nothing is changed.

use std::time::Duration;

use fake_aws::{Exception, FakeAws, Fault, Operation, Slot, Status, Table};
use serde_json::{Value, json};

use crate::harness::{M, T1, T2, request_for, table_arn};
use crate::simulator::{Ended, Simulator, failure_record};

/// What may be called for a report.
const READS: [Operation; 7] = [
    Operation::GetIdMappingTable,
    Operation::GetSchema,
    Operation::GetIdMappingWorkflow,
    Operation::ListIdMappingJobs,
    Operation::GetIdMappingJob,
    Operation::GetItem,
    Operation::GetQueueAttributes,
];

const HOUR: Duration = Duration::from_secs(60 * 60);

async fn simulator(settings: &[(&str, &str)]) -> Simulator {
    let arns = format!("{},{}", table_arn(T1), table_arn(T2));
    let mut all = vec![
        ("ID_MAPPING_TABLE_ARNS", &*arns),
        ("DEFAULT_JOB_TYPE", "AUTO"),
        ("TRACK_COMPLETION", "true"),
    ];
    all.extend(settings);
    let sim = Simulator::with(FakeAws::in_process(), Slot::Conflict, &all).await;
    for (table, name) in [(T1, "first"), (T2, "second")] {
        sim.aws
            .state()
            .names
            .insert(table.to_owned(), name.to_owned());
    }
    sim
}

fn with_context(mut payload: Value) -> Value {
    payload["widgetContext"] = json!({
        "dashboardName": "d", "widgetId": "w", "accountId": "123456789012", "locale": "en", "theme": "dark",
        "timezone": { "label": "Local", "offsetISO": "+01:00", "offsetInMinutes": 60 }, "width": 900, "height": 400,
        "timeRange": { "mode": "relative" }, "forms": { "all": {} }, "params": {},
    });
    payload
}

/// The answer to a question, which only reads.
async fn asked(sim: &mut Simulator, question: &Value) -> Value {
    let before = sim.aws.call_count();
    let answer = sim.response(question).await;
    for call in &sim.aws.calls()[before..] {
        assert!(READS.contains(&call.operation.unwrap()), "{call:?}");
    }
    answer
}

async fn report(sim: &mut Simulator) -> Value {
    asked(sim, &json!({ "status": true })).await["status"].clone()
}

async fn page(sim: &mut Simulator) -> String {
    let page = asked(sim, &with_context(json!({}))).await;
    page.as_str().unwrap().to_owned()
}

/// The checks with this name.
fn checks<'r>(report: &'r Value, name: &str) -> Vec<&'r Value> {
    let all = report["checks"].as_array().unwrap();
    all.iter().filter(|check| check["name"] == name).collect()
}

/// The names of the checks that failed, each once.
fn failed(report: &Value) -> Vec<&str> {
    let all = report["checks"].as_array().unwrap();
    let failed = all.iter().filter(|check| check["ok"] == false);
    let mut names: Vec<&str> = failed
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    names.dedup();
    names
}

#[tokio::test(start_paused = true)]
async fn a_report_says_where_each_table_stands() {
    let settings = [("FULL_REFRESH_EVERY", "7d"), ("MIN_INTERVAL", "6h")];
    let mut sim = simulator(&settings).await;
    // A job that succeeds, one that fails, one of others, one that runs; and a request that waits.
    let mut whole = sim.event("one", T1);
    whole["detail"]["jobType"] = json!("BATCH");
    sim.outcomes(&whole).await;
    sim.pass(HOUR);
    sim.aws.end_job(Status::Succeeded);
    sim.poll(0).await;
    sim.outcomes(&sim.event("two", T2)).await;
    sim.pass(HOUR);
    sim.aws.end_job(Status::Failed);
    sim.poll(0).await;
    sim.aws.start_foreign_job(T2);
    sim.pass(HOUR);
    sim.aws.end_job(Status::Succeeded);
    sim.pass(5 * HOUR);
    sim.outcomes(&sim.event("three", T1)).await;
    sim.pass(Duration::from_secs(60));
    let mut batch = sim.event("four", T2);
    batch["detail"]["jobType"] = json!("BATCH");
    assert_eq!(sim.outcomes(&batch).await, ["WAITING SlotBusy"]);
    let jobs = sim.aws.jobs();
    let report = report(&mut sim).await;

    assert_eq!(report["ok"], true, "{report:#}");
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["generatedAt"], "2026-11-23T10:01:00.000Z");
    let [first, second] = &report["tables"].as_array().unwrap()[..] else {
        panic!("{report:#}")
    };
    assert_eq!(first["idMappingTableIdentifier"], T1);
    assert_eq!(first["membershipIdentifier"], M);
    assert_eq!(first["idMappingTableArn"], table_arn(T1));
    assert_eq!(first["name"], "first");
    let workflow =
        json!({ "name": format!("workflow-{T1}"), "type": "RULE_BASED", "incremental": true });
    assert_eq!(first["workflow"], workflow);
    let started = json!({
        "idMappingJobId": jobs[3].id, "jobType": "INCREMENTAL", "status": "RUNNING",
        "startedAt": "2026-11-23T10:00:00.000Z", "endedAt": null,
    });
    assert_eq!(
        (&first["lastStarted"], &first["running"]),
        (&started, &started)
    );
    let succeeded = json!({
        "idMappingJobId": jobs[0].id, "jobType": "BATCH", "status": "SUCCEEDED",
        "startedAt": "2026-11-23T02:00:00.000Z", "endedAt": "2026-11-23T03:00:00.000Z",
    });
    assert_eq!(first["lastSucceeded"], succeeded);
    assert_eq!(first["notBefore"], "2026-11-23T16:00:00.000Z");
    assert_eq!(first["nextFullRefresh"], "2026-11-30T02:00:00.000Z");
    for nothing in ["lastFailed", "claim", "unknownOutcome"] {
        assert_eq!(first[nothing], Value::Null, "{nothing}");
    }
    let failed = &second["lastFailed"];
    assert_eq!(failed["idMappingJobId"], jobs[1].id, "{second:#}");
    assert_eq!(failed["jobType"], "INCREMENTAL");
    assert_eq!(failed["endedAt"], "2026-11-23T04:00:00.000Z");
    assert_eq!(
        second["lastSucceeded"],
        Value::Null,
        "the other job is not this function's"
    );
    assert_eq!(
        second["nextFullRefresh"], report["generatedAt"],
        "no BATCH is known: it is due"
    );
    let waiting = json!([
        { "jobType": "BATCH", "since": "2026-11-23T10:01:00.000Z",
          "lastTriedAt": "2026-11-23T10:01:00.000Z", "urgent": false, "notBefore": null }
    ]);
    assert_eq!(second["waiting"], waiting);

    let of_jobs: Vec<_> = report["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| {
            let own = job["startedByThisFunction"].as_bool().unwrap();
            (
                job["status"].as_str().unwrap(),
                job["idMappingTableIdentifier"].as_str(),
                own,
            )
        })
        .collect();
    let expected = [
        ("RUNNING", Some(T1), true),
        ("SUCCEEDED", None, false),
        ("FAILED", Some(T2), true),
        ("SUCCEEDED", Some(T1), true),
    ];
    assert_eq!(of_jobs, expected);
    // The request that waits, and the message that tracks the running job.
    let queues = json!({
        "waiting": { "visible": 2, "inFlight": 0, "delayed": 0 },
        "deadLetter": { "visible": 0, "inFlight": 0, "delayed": 0 },
    });
    assert_eq!(report["queues"], queues);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_is_kept_for_a_minute() {
    let mut sim = simulator(&[]).await;
    let first = report(&mut sim).await;
    let calls = sim.aws.call_count();
    // A table, its schema, its workflow and jobs, and its item, of two tables; the waiters, and two queues.
    assert_eq!(calls, 2 * 5 + 3);
    sim.pass(Duration::from_secs(59));
    assert_eq!(report(&mut sim).await, first);
    assert_eq!(sim.aws.call_count(), calls);
    sim.pass(Duration::from_secs(1));
    let second = report(&mut sim).await;
    assert_eq!(sim.aws.call_count(), 2 * calls);
    assert_ne!(second["generatedAt"], first["generatedAt"]);
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_named_with_its_resource_and_the_rest_is_there() {
    let membership = table_arn(T1)
        .split("/idmappingtable")
        .next()
        .unwrap()
        .to_owned();
    let workflow =
        format!("arn:aws:entityresolution:eu-west-1:123456789012:idmappingworkflow/workflow-{T1}");
    let sqs = |name: &str| format!("arn:aws:sqs:eu-west-1:123456789012:{name}");
    for (operation, names, action, resource) in [
        (
            Operation::GetItem,
            &["ledger"][..],
            "dynamodb:GetItem",
            "arn:aws:dynamodb:eu-west-1:123456789012:table/ledger".to_owned(),
        ),
        (
            Operation::GetQueueAttributes,
            &["waitingQueue", "deadLetterQueue"],
            "sqs:GetQueueAttributes",
            sqs("waiting"),
        ),
        (
            Operation::GetIdMappingTable,
            &["idMappingTable"],
            "cleanrooms:GetIdMappingTable",
            membership.clone(),
        ),
        (
            Operation::GetSchema,
            &["schema"],
            "cleanrooms:GetSchema",
            format!("{membership}/configuredtableassociation/*"),
        ),
        (
            Operation::GetIdMappingWorkflow,
            &["idMappingWorkflow"],
            "entityresolution:GetIdMappingWorkflow",
            workflow.clone(),
        ),
        (
            Operation::ListIdMappingJobs,
            &["idMappingJobs"],
            "entityresolution:ListIdMappingJobs",
            workflow.clone(),
        ),
        (
            Operation::GetIdMappingJob,
            &["jobTracking"],
            "entityresolution:GetIdMappingJob",
            workflow.clone(),
        ),
    ] {
        let mut sim = simulator(&[]).await;
        sim.outcomes(&sim.event("one", T1)).await;
        sim.aws
            .fail_always(operation, Fault::Refuse(Exception::access_denied()));
        let report = report(&mut sim).await;
        assert_eq!(report["ok"], false, "{operation:?}");
        let mut failed = failed(&report);
        failed.sort_unstable();
        let mut expected = names.to_vec();
        expected.sort_unstable();
        failed.dedup();
        assert_eq!(failed, expected, "{operation:?}");
        let check = checks(&report, names[0])[0];
        let message = check["message"].as_str().unwrap();
        assert!(message.contains("AccessDeniedException"), "{message}");
        let statement: Value = serde_json::from_str(check["remedy"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&statement["Effect"], &statement["Action"]),
            (&json!("Allow"), &json!(action))
        );
        let resources = statement["Resource"].as_array().unwrap();
        assert!(resources.contains(&json!(resource)), "{statement}");
        assert_eq!(report["tables"].as_array().unwrap().len(), 2);
        // What the ledger knows and what Entity Resolution knows do for each other.
        let id = &report["tables"][0]["lastStarted"];
        assert_eq!(
            id.is_null(),
            operation == Operation::GetItem,
            "{operation:?}: {id}"
        );
        assert_eq!(report["jobs"].as_array().unwrap().len(), 1, "{operation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_has_one_statement_for_a_permission_that_many_tables_lack() {
    let mut sim = simulator(&[]).await;
    let denied = Fault::Refuse(Exception::access_denied());
    sim.aws.fail_always(Operation::GetIdMappingTable, denied);
    let page = page(&mut sim).await;
    assert!(page.contains("<b>1 problem</b>"), "{page}");
    assert_eq!(page.matches("<code>").count(), 1, "{page}");
    assert!(page.contains("and 1 more"), "{page}");
    let statement = page
        .split("<code>")
        .nth(1)
        .unwrap()
        .split("</code>")
        .next()
        .unwrap();
    let statement: Value = serde_json::from_str(&statement.replace("&quot;", "\"")).unwrap();
    let membership = table_arn(T1)
        .split("/idmappingtable")
        .next()
        .unwrap()
        .to_owned();
    let resources = json!([table_arn(T1), membership, table_arn(T2)]);
    assert_eq!(statement["Resource"], resources);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_answer_is_not_waited_for() {
    for operation in READS {
        let mut sim = simulator(&[]).await;
        sim.outcomes(&sim.event("one", T1)).await;
        sim.aws.fail_always(operation, Fault::Hang);
        let before = sim.now();
        let report = report(&mut sim).await;
        let took = sim.now() - before;
        assert!(took >= time::Duration::seconds(3), "{operation:?}: {took}");
        assert!(took < time::Duration::seconds(4), "{operation:?}: {took}");
        assert_eq!(
            failed(&report).len(),
            match operation {
                Operation::GetQueueAttributes => 2,
                _ => 1,
            },
            "{operation:?}: {report:#}"
        );
        assert!(
            report["checks"].to_string().contains("no answer"),
            "{operation:?}"
        );
    }
    // All of them, before a deadline that is near.
    let mut sim = simulator(&[]).await;
    sim.timeout = Duration::from_secs(5);
    for operation in READS {
        sim.aws.fail_always(operation, Fault::Hang);
    }
    let before = sim.now();
    let report = report(&mut sim).await;
    assert!(sim.now() - before < time::Duration::seconds(5));
    assert_eq!(report["tables"].as_array().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_record_of_another_version_is_said_in_the_row_of_its_table() {
    let mut sim = simulator(&[]).await;
    sim.outcomes(&sim.event("one", T1)).await;
    sim.aws.state().items.get_mut(&table_arn(T1)).unwrap()["record"] = json!({ "S": "[1, 2]" });
    let report = report(&mut sim).await;
    assert_eq!(
        report["jobs"][0]["startedByThisFunction"],
        Value::Null,
        "it is not known"
    );
    assert_eq!(failed(&report), ["ledger"]);
    let unavailable = report["tables"][0]["unavailable"].as_array().unwrap();
    assert!(
        unavailable[0]
            .as_str()
            .unwrap()
            .contains("was not written by a version of this function")
    );
    assert_eq!(report["tables"][1]["unavailable"], json!([]));
    let page = page(&mut sim).await;
    assert!(
        page.contains("not all could be read: the item in the ledger"),
        "{page}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_claim_and_a_lost_answer_are_reported() {
    let mut sim = simulator(&[]).await;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash);
    sim.deliver(0, &sim.event("dies", T1)).await;
    let first = report(&mut sim).await["tables"][0].clone();
    assert_eq!(first["claim"]["until"], "2026-11-23T02:02:00.000Z");
    assert_eq!(first["unknownOutcome"], Value::Null);
    let job = &report(&mut sim).await["jobs"][0];
    assert_eq!(
        job["startedByThisFunction"],
        Value::Null,
        "it may be the job of this call"
    );
    sim.pass(HOUR);
    let first = report(&mut sim).await["tables"][0].clone();
    assert_eq!(first["claim"], Value::Null);
    assert_eq!(
        first["unknownOutcome"]["calledAt"],
        "2026-11-23T02:00:00.000Z"
    );
    assert!(page(&mut sim).await.contains("has no known outcome"));
}

#[tokio::test(start_paused = true)]
async fn settings_that_contradict_a_workflow_or_each_other_fail_a_check() {
    let mut sim = simulator(&[("DEFAULT_JOB_TYPE", "INCREMENTAL")]).await;
    let provider = Table {
        provider: true,
        ..Table::default()
    };
    sim.aws.set_table(T2, provider);
    let wrong = report(&mut sim).await;
    assert_eq!(failed(&wrong), ["settings"]);
    let checks = checks(&wrong, "settings");
    assert_eq!(checks[0]["subject"], table_arn(T2));
    assert!(
        checks[0]["message"]
            .as_str()
            .unwrap()
            .contains("provider service")
    );

    let settings = [
        ("DEFAULT_JOB_TYPE", "BATCH"),
        ("FULL_REFRESH_EVERY", "7d"),
        ("ALLOWED_JOB_TYPES", "BATCH"),
    ];
    let mut sim = simulator(&settings).await;
    let wrong = report(&mut sim).await;
    assert_eq!(failed(&wrong), ["settings"]);
    assert!(
        wrong["checks"]
            .to_string()
            .contains("no full refresh is ever due")
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_checked_without_doing_it_is_listed() {
    let mut sim = simulator(&[]).await;
    let report = report(&mut sim).await;
    for (name, count, action) in [
        ("populate", 2, "cleanrooms:PopulateIdMappingTable"),
        ("putEvents", 1, "events:PutEvents"),
        ("sendMessage", 2, "sqs:SendMessage"),
        ("putItem", 1, "dynamodb:PutItem"),
    ] {
        let checks = checks(&report, name);
        assert_eq!(checks.len(), count, "{name}");
        for check in checks {
            assert_eq!(check["ok"], Value::Null);
            assert!(
                check["remedy"].as_str().unwrap().contains(action),
                "{check}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_ledger_and_queues_there_is_what_entity_resolution_knows() {
    let settings = [
        ("LEDGER_TABLE_NAME", ""),
        ("WAITING_QUEUE_URL", ""),
        ("DEAD_LETTER_QUEUE_URL", ""),
        ("TRACK_COMPLETION", ""),
    ];
    let mut sim = simulator(&settings).await;
    sim.aws.start_job_by_hand(T1, Some("BATCH"));
    sim.pass(HOUR);
    sim.aws.end_job(Status::Succeeded);
    let report = report(&mut sim).await;
    assert_eq!(report["ok"], true, "{report:#}");
    assert_eq!(checks(&report, "ledger")[0]["ok"], Value::Null);
    assert_eq!(
        report["queues"],
        json!({ "waiting": null, "deadLetter": null })
    );
    assert_eq!(report["jobs"][0]["startedByThisFunction"], Value::Null);
    assert_eq!(
        report["tables"][0]["lastSucceeded"]["endedAt"],
        "2026-11-23T03:00:00.000Z"
    );
    assert!(sim.aws.calls_of(Operation::GetItem).is_empty());
}

#[tokio::test(start_paused = true)]
async fn jobs_are_those_of_seven_days_and_at_most_two_hundred() {
    let mut sim = simulator(&[]).await;
    for number in 0..230_u64 {
        // The last one runs.
        sim.aws.end_job(Status::Succeeded);
        sim.aws
            .start_foreign_job(if number % 2 == 0 { T1 } else { T2 });
        sim.pass(Duration::from_secs(60));
    }
    let all = report(&mut sim).await["jobs"].as_array().unwrap().clone();
    assert_eq!(all.len(), 200);
    assert_eq!(all[0]["status"], "RUNNING", "the newest are kept");
    sim.pass(7 * 24 * HOUR);
    let all = report(&mut sim).await["jobs"].as_array().unwrap().clone();
    assert_eq!(all.len(), 1, "one still runs: {all:?}");
    assert!(page(&mut sim).await.contains("<svg"));
    sim.aws.end_job(Status::Succeeded);
    sim.pass(8 * 24 * HOUR);
    assert_eq!(report(&mut sim).await["jobs"], json!([]));
    assert!(
        page(&mut sim)
            .await
            .contains("No job is known of the last seven days")
    );
}

#[tokio::test(start_paused = true)]
async fn status_is_refused_where_it_is_no_question() {
    let mut sim = simulator(&[]).await;
    let mut beside = request_for(T1);
    beside["status"] = json!(true);
    for (payload, said) in [
        (beside.clone(), "$.status asks for a status report"),
        (
            json!({ "status": true, "dryRun": true }),
            "$.status asks for a status report",
        ),
        (json!({ "status": "yes" }), "$.status must be a boolean"),
        (
            json!({ "status": 1, "idMappingTableArn": table_arn(T1) }),
            "$.status must be a boolean",
        ),
        (
            json!({ "status": true, "statuses": 1 }),
            "$.statuses is not known",
        ),
    ] {
        let (error_type, message) = sim.failure(&payload).await;
        assert_eq!(error_type, "InvalidRequest", "{payload}");
        assert!(message.contains(said), "{payload}: {message}");
    }
    // In a queue, and in a list, it goes to the dead-letter queue.
    let widget = with_context(json!({}));
    let mut button = with_context(request_for(T1));
    let id = format!("dashboard/{T1}/2026-11-23T02:00:00Z");
    (button["urgent"], button["requestId"]) = (json!(true), json!(id));
    for body in [json!({ "status": true }), beside, widget.clone(), button] {
        sim.aws.send("waiting", &body.to_string());
        sim.poll(0).await;
    }
    for item in [json!({ "status": true }), widget.clone()] {
        sim.response(&json!([item])).await;
    }
    assert_eq!(sim.aws.state().queues["dead"].messages.len(), 6);
    let delivery = sim.delivery(&widget);
    let record = failure_record(&delivery);
    let (error_type, message) = sim.failure(&record).await;
    assert_eq!(error_type, "InvalidRequest");
    assert!(
        message.contains("$.requestPayload.widgetContext asks for a status report"),
        "{message}"
    );
    assert!(sim.aws.jobs().is_empty());
    // False is like nothing, and in an event it is somebody else's word.
    let mut request = request_for(T1);
    request["status"] = json!(false);
    assert_eq!(sim.outcomes(&request).await, ["STARTED"]);
    sim.aws.end_job(Status::Succeeded);
    sim.pass(HOUR);
    let mut event = sim.event("with a word", T2);
    event["detail"]["status"] = json!(true);
    assert_eq!(sim.outcomes(&event).await, ["STARTED"]);
    sim.aws.end_job(Status::Succeeded);
    event["id"] = json!("another");
    event["time"] = json!("2026-11-23T02:59:59Z");
    event["detail"] = json!({ "status": "COMPLETED" });
    assert_eq!(
        sim.outcomes(&event).await.len(),
        2,
        "of the configured tables"
    );
}

#[tokio::test(start_paused = true)]
async fn a_function_for_status_refuses_everything_else() {
    let main = "arn:aws:lambda:eu-west-1:123456789012:function:main";
    let settings = [("STATUS_ONLY", "true"), ("POPULATOR_FUNCTION_ARN", main)];
    let mut sim = simulator(&settings).await;
    let batch = json!({ "Records": [{ "messageId": "m", "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:waiting", "body": request_for(T1).to_string(),
        "attributes": { "SentTimestamp": "1795399200123" } }] });
    let mut dry = request_for(T1);
    dry["dryRun"] = json!(true);
    let mut button = with_context(request_for(T1));
    let id = format!("dashboard/{T1}/2026-11-23T02:00:00Z");
    (button["urgent"], button["requestId"]) = (json!(true), json!(id));
    for payload in [
        request_for(T1),
        sim.event("one", T1),
        json!({}),
        batch,
        dry,
        button,
    ] {
        let (error_type, message) = sim.failure(&payload).await;
        assert_eq!(error_type, "InvalidRequest", "{payload}");
        assert!(message.contains("STATUS_ONLY is true"), "{message}");
    }
    assert_eq!(sim.aws.call_count(), 0);
    assert_eq!(report(&mut sim).await["ok"], true);
    assert!(
        page(&mut sim)
            .await
            .contains(&format!("endpoint=\"{main}\""))
    );
    // Without the other function's ARN there is nothing that a button could invoke.
    let mut sim = simulator(&[("STATUS_ONLY", "true")]).await;
    assert!(!page(&mut sim).await.contains("<cwdb-action"));
}

/// The requests of the buttons on a page, with their endpoints.
fn buttons(page: &str) -> Vec<(String, Value)> {
    let all = page.split("<cwdb-action ").skip(1);
    all.map(|button| {
        let (attributes, rest) = button.split_once('>').unwrap();
        let json = rest.split_once("</cwdb-action>").unwrap().0;
        assert!(attributes.contains("action=\"call\""));
        assert!(attributes.contains("costs money"), "{attributes}");
        let endpoint = attributes
            .split("endpoint=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        (endpoint.to_owned(), serde_json::from_str(json).unwrap())
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn a_button_starts_one_job_however_often_it_is_pressed() {
    // MIN_INTERVAL does not hold it back.
    let mut sim = simulator(&[("MIN_INTERVAL", "6h")]).await;
    sim.outcomes(&sim.event("one", T2)).await;
    sim.aws.end_job(Status::Succeeded);
    sim.pass(HOUR);
    let page = page(&mut sim).await;
    let buttons = buttons(&page);
    assert_eq!(buttons.len(), 2);
    let (endpoint, request) = &buttons[1];
    assert_eq!(endpoint, fake_aws::FUNCTION_ARN);
    assert_eq!(request["idMappingTableIdentifier"], T2);
    let id = format!("dashboard/{T2}/2026-11-23T03:00:00.000Z");
    assert_eq!(request["requestId"], id);
    // A dashboard adds its context.
    let pressed = with_context(request.clone());
    let answer = sim.response(&pressed).await;
    let answer = answer.as_str().unwrap();
    assert!(answer.contains("<b>STARTED</b> job 00000002"), "{answer}");
    let again = sim.response(&pressed).await;
    assert!(
        again.as_str().unwrap().contains("<b>COVERED</b>"),
        "{again}"
    );
    assert_eq!(sim.aws.jobs().len(), 2);
    assert_eq!(sim.details().last().unwrap()["requestId"], id);
    // The request by itself is one too.
    assert_eq!(sim.outcomes(request).await, ["COVERED"]);
}

#[tokio::test(start_paused = true)]
async fn a_dashboard_that_loads_starts_nothing_whatever_its_parameters_are() {
    let mut sim = simulator(&[]).await;
    for payload in [
        request_for(T1),
        json!({ "status": true }),
        json!({ "status": false, "urgent": true }),
        sim.event("one", T1),
        json!({ "Records": [] }),
        json!({ "urgent": true, "requestId": "dashboard/load", "jobType": "BATCH" }),
        json!({ "urgent": true, "requestId": format!("dashboard/{T1}/2026-11-23T02:00:00Z") }),
    ] {
        let answer = asked(&mut sim, &with_context(payload)).await;
        assert!(
            answer
                .as_str()
                .unwrap()
                .starts_with("<div class=\"idm dark\">"),
            "{answer}"
        );
    }
    for context in [
        json!(true),
        json!("x"),
        json!([]),
        json!({ "theme": 5, "width": -1 }),
    ] {
        let answer = asked(&mut sim, &json!({ "widgetContext": context })).await;
        assert!(
            answer
                .as_str()
                .unwrap()
                .starts_with("<div class=\"idm light\">"),
            "{answer}"
        );
    }
    assert!(sim.aws.jobs().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_page_escapes_every_value_and_has_no_script() {
    let mut sim = simulator(&[]).await;
    let name = "</title></cwdb-action><script>alert(\"1\")</script>'&\u{202e}";
    sim.aws.state().names.insert(T1.to_owned(), name.to_owned());
    sim.outcomes(&sim.event("one", T1)).await;
    let denied =
        r#"{"__type": "AccessDeniedException", "message": "<img src=x onerror=alert(2)>"}"#;
    sim.aws
        .fail_always(Operation::GetSchema, Fault::Status(403, denied.to_owned()));
    let page = page(&mut sim).await;
    assert!(page.contains("&lt;script&gt;"), "{page}");
    assert!(page.contains("&lt;img src=x"), "{page}");
    for raw in ["<script", "<img", "\u{202e}", " onerror=alert(2)>"] {
        assert!(!page.contains(raw), "{raw} in {page}");
    }
    assert_eq!(buttons(&page).len(), 2);
    assert_eq!(
        page.matches("<title>").count(),
        page.matches("</title>").count()
    );
}

#[tokio::test(start_paused = true)]
async fn times_are_those_of_the_dashboards_zone() {
    let mut sim = simulator(&[]).await;
    sim.outcomes(&sim.event("one", T1)).await;
    sim.pass(HOUR);
    sim.aws.end_job(Status::Succeeded);
    let page = page(&mut sim).await;
    assert!(page.contains("today 04:00"), "{page}");
    assert!(page.contains("UTC+01:00"), "{page}");
    assert!(page.contains("width=\"896\""), "{page}");
}

#[tokio::test(start_paused = true)]
async fn a_page_is_at_most_sixty_four_kilobytes_and_ends_at_an_elements_end() {
    let arns: Vec<String> = (1..=100)
        .map(|number| table_arn(&format!("aaaaaaaa-{number:04}-4000-8000-{number:012}")))
        .collect();
    let mut sim = simulator(&[("ID_MAPPING_TABLE_ARNS", &arns.join(","))]).await;
    for number in 1..=100_u64 {
        let table = format!("aaaaaaaa-{number:04}-4000-8000-{number:012}");
        let name = format!("<{}>", "&".repeat(120));
        sim.aws.state().names.insert(table.clone(), name);
        for _ in 0..2 {
            sim.aws.end_job(if number % 2 == 0 {
                Status::Failed
            } else {
                Status::Succeeded
            });
            sim.aws.start_foreign_job(&table);
            sim.pass(Duration::from_secs(600));
        }
    }
    for denied in [false, true] {
        if denied {
            sim.aws.fail_always(
                Operation::GetSchema,
                Fault::Refuse(Exception::access_denied()),
            );
            sim.pass(Duration::from_secs(60));
        }
        let page = page(&mut sim).await;
        assert!(page.len() <= 64 * 1_024, "{}", page.len());
        for element in [
            "tr", "td", "svg", "text", "path", "title", "li", "div", "small", "code",
        ] {
            let opened = page.matches(&format!("<{element}>")).count()
                + page.matches(&format!("<{element} ")).count();
            let closed = page.matches(&format!("</{element}>")).count();
            assert_eq!(opened, closed, "{element}");
        }
        assert!(
            page.contains("ask for status as JSON"),
            "what is left out is counted"
        );
        assert!(page.ends_with("</p></div>"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_of_a_hundred_tables_is_read_in_time() {
    let arns: Vec<String> = (1..=100)
        .map(|number| table_arn(&format!("aaaaaaaa-{number:04}-4000-8000-{number:012}")))
        .collect();
    let mut sim = simulator(&[("ID_MAPPING_TABLE_ARNS", &arns.join(","))]).await;
    for operation in READS {
        sim.aws
            .fail_always(operation, Fault::Slow(Duration::from_millis(500)));
    }
    let before = sim.now();
    let report = report(&mut sim).await;
    assert!(sim.now() - before < time::Duration::seconds(10));
    assert_eq!(report["tables"].as_array().unwrap().len(), 100);
    let read = report["tables"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|table| !table["name"].is_null());
    assert!(read.count() > 10, "what could be read in time is there");
    assert!(
        report["checks"]
            .to_string()
            .contains("the time for reading is over")
    );
}

#[tokio::test(start_paused = true)]
async fn a_question_is_answered_while_a_job_is_being_started() {
    let sim = simulator(&[]).await;
    sim.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Slow(Duration::from_secs(5)),
    );
    let event = sim.event("one", T1);
    let (started, asked) = tokio::join!(sim.invoke(0, "start", &event), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        sim.invoke(1, "ask", &json!({ "status": true })).await
    },);
    let (Ended::Response(started), Ended::Response(asked)) = (started, asked) else {
        panic!("both are answered");
    };
    assert_eq!(started["outcomes"][0]["outcome"], "STARTED");
    assert!(asked["status"]["tables"][0]["claim"]["until"].is_string());
}

/// How a table's busy weeks and its queued jobs are told: what the ledger may have forgotten is not somebody else's.
#[tokio::test(start_paused = true)]
async fn whose_a_job_is_is_said_only_if_it_is_known() {
    let mut sim = simulator(&[("TRACK_COMPLETION", "")]).await;
    for number in 0..80 {
        sim.outcomes(&sim.event(&format!("event-{number}"), T1))
            .await;
        sim.aws.end_job(Status::Succeeded);
        sim.pass(HOUR);
    }
    let own = |job: &Value| job["startedByThisFunction"].clone();
    let all = report(&mut sim).await["jobs"].as_array().unwrap().clone();
    assert_eq!(all.len(), 80);
    assert!(all[..64].iter().all(|job| own(job) == json!(true)));
    assert!(
        all[64..].iter().all(|job| own(job).is_null()),
        "{:?}",
        all[64]
    );

    // The service takes a second job and queues it.
    let mut sim = simulator(&[]).await;
    sim.aws.set_slot(Slot::Queue);
    sim.aws.state().queued_have_no_start = true;
    sim.aws.start_job_by_hand(T1, None);
    sim.pass(HOUR);
    sim.outcomes(&sim.event("queued", T1)).await;
    let queued = report(&mut sim).await;
    let jobs = queued["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 2, "{jobs:#?}");
    assert_eq!(
        (&jobs[0]["status"], own(&jobs[0])),
        (&json!("QUEUED"), json!(true))
    );
    assert_eq!(queued["tables"][0]["running"]["status"], "QUEUED");
    assert!(page(&mut sim).await.contains("INCREMENTAL queued"));
    // It begins an hour after its call.
    sim.pass(HOUR);
    sim.aws.end_job(Status::Succeeded);
    sim.aws.state().jobs[1].started_at = sim.now();
    let later = report(&mut sim).await;
    let running = later["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|job| job["status"] == "RUNNING");
    assert_eq!(own(running.unwrap()), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn what_a_person_must_act_on_is_above_the_table() {
    let mut sim = simulator(&[]).await;
    assert!(
        !page(&mut sim).await.contains("problem"),
        "nothing, if nothing is wrong"
    );
    sim.outcomes(&sim.event("one", T1)).await;
    sim.aws.end_job(Status::Failed);
    sim.poll(0).await;
    sim.aws.send("dead", "{}");
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Crash);
    sim.deliver(0, &sim.event("dies", T2)).await;
    sim.pass(HOUR);
    let page = page(&mut sim).await;
    for said in [
        "<b>3 problems</b>",
        "The dead-letter queue has <b>1 message</b>",
        "The last job of <b>first</b> failed",
        "for <b>second</b> has no known outcome",
    ] {
        assert!(page.contains(said), "{said} in {page}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_not_tried_any_more_is_still_shown() {
    let mut sim = simulator(&[]).await;
    sim.outcomes(&sim.event("busy", T1)).await;
    sim.outcomes(&sim.event("waits", T2)).await;
    assert!(page(&mut sim).await.contains("the job slot is busy"));
    sim.pass(2 * HOUR);
    let second = report(&mut sim).await["tables"][1].clone();
    assert_eq!(
        second["waiting"][0]["lastTriedAt"],
        "2026-11-23T02:00:00.000Z"
    );
    assert!(page(&mut sim).await.contains("not tried since today 03:00"));
    // What could not be read is not nothing.
    sim.aws.state().items.get_mut("slot").unwrap()["record"] = json!({ "S": "[1]" });
    sim.pass(HOUR);
    let second = report(&mut sim).await["tables"][1].clone();
    assert_eq!(second["waiting"], Value::Null);
    assert_eq!(second["unavailable"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_long_list_of_jobs_is_read_as_far_as_it_matters() {
    let mut sim = simulator(&[]).await;
    for _ in 0..500 {
        sim.aws.end_job(Status::Succeeded);
        sim.aws.start_foreign_job(T1);
        sim.pass(HOUR);
    }
    sim.aws.end_job(Status::Succeeded);
    let before = sim.aws.calls_of(Operation::ListIdMappingJobs).len();
    let first = report(&mut sim).await;
    assert_eq!(
        first["jobs"].as_array().unwrap().len(),
        169,
        "one ended in these days"
    );
    assert_eq!(first["jobsLeftOut"], 0);
    let pages = sim.aws.calls_of(Operation::ListIdMappingJobs).len() - before;
    assert_eq!(
        pages,
        8 + 1,
        "of the 20 pages of one workflow, and one of the other"
    );
    // In another order all of it is read, as far as there is time.
    sim.aws.state().oldest_first = true;
    let slow = Fault::Slow(Duration::from_secs(1));
    sim.aws.fail_always(Operation::ListIdMappingJobs, slow);
    sim.pass(HOUR);
    let slow = report(&mut sim).await;
    assert_eq!(slow["ok"], true, "{:?}", failed(&slow));
    let incomplete = checks(&slow, "idMappingJobs")[0];
    assert_eq!(incomplete["ok"], Value::Null);
    assert!(
        incomplete["message"]
            .as_str()
            .unwrap()
            .contains("the time for reading is over")
    );
    assert_eq!(
        slow["tables"][0]["unavailable"].as_array().unwrap().len(),
        1
    );
    assert!(page(&mut sim).await.contains("Not all jobs could be read"));
}

#[tokio::test(start_paused = true)]
async fn tables_of_one_name_are_told_apart() {
    let mut sim = simulator(&[]).await;
    sim.aws
        .state()
        .names
        .insert(T2.to_owned(), "first".to_owned());
    let page = page(&mut sim).await;
    for table in [T1, T2] {
        assert!(page.contains(&format!("<td>first ({table})")), "{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_share_of_idle_time_counts_jobs_that_are_not_shown() {
    let mut sim = simulator(&[]).await;
    for _ in 0..672 {
        sim.aws.start_foreign_job(T1);
        sim.pass(Duration::from_secs(895));
        sim.aws.end_job(Status::Succeeded);
        sim.pass(Duration::from_secs(5));
    }
    let report = report(&mut sim).await;
    assert_eq!(report["jobsLeftOut"], 472);
    let page = page(&mut sim).await;
    assert!(page.contains("idle for 1% of seven days"), "{page}");
    assert!(page.contains("older jobs of these days are not shown"));
}
