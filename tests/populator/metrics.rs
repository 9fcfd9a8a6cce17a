//! The metrics in the built binary's log.

use fake_aws::{Environment, Exception, FakeAws, Fault, Operation, Slot, Status};
use serde_json::{Value, json};

use crate::function::{Function, error, response};
use crate::harness::{T1, T2, T3, event_file, request_for, table_arn};

/// The names and values of the metrics of a line.
fn measured(line: &Value) -> Vec<(String, Value)> {
    let names = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array();
    names
        .unwrap()
        .iter()
        .map(|metric| {
            let name = metric["Name"].as_str().unwrap().to_owned();
            let value = line[&name].clone();
            (name, value)
        })
        .collect()
}

#[tokio::test]
async fn metrics_are_in_the_log_at_every_level() {
    for level in ["INFO", "ERROR", "FATAL"] {
        let function = Function::start(&[("AWS_LAMBDA_LOG_LEVEL", level)]).await;
        response(function.invoke(request_for(T1).to_string()).await);
        let lines = function.metrics();
        assert_eq!(lines.len(), 2, "{level}");
        for line in &lines {
            assert_eq!(
                (&line["service"], &line["level"]),
                (&json!("populator"), &json!(level))
            );
            assert!(line["timestamp"].is_string() && line["message"].is_string());
            assert_eq!(line["requestId"], "request-0");
        }
        let names: Vec<String> = measured(&lines[0])
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let expected = [
            "JobsStarted",
            "PopulateLatency",
            "TableAgeSeconds",
            "ColdStart",
        ];
        assert_eq!(names, expected);
        let [started, age] = &measured(&lines[1])[..] else {
            panic!("{lines:?}");
        };
        assert_eq!(*started, ("JobsStarted".to_owned(), json!(1)));
        assert_eq!(age.0, "TableAgeSeconds");
        let age = age.1[0].as_f64().unwrap();
        assert!((0.0..60.0).contains(&age), "{age}");
        assert_eq!(lines[1]["idMappingTableIdentifier"], T1);
        // A second invocation is not a cold start.
        let refusal = Fault::Refuse(Exception::not_found());
        function
            .aws
            .fail_next(Operation::PopulateIdMappingTable, refusal);
        error(function.invoke(request_for(T1).to_string()).await);
        let names: Vec<String> = measured(&function.metrics()[2])
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let expected = ["RequestsRejected", "PopulateLatency", "TableAgeSeconds"];
        assert_eq!(names, expected, "{level}");
    }
}

/// Each metric is measured where it happens, and only there.
#[tokio::test]
async fn each_metric_is_measured_where_it_happens() {
    let builder = Environment::builder()
        .queue(time::Duration::ZERO)
        .event_bus()
        .track()
        .slot(Slot::Conflict);
    let function = Function::built(builder).await;
    let aws = &function.aws;
    let requested = event_file("population-requested.json");
    let names = |function: &Function| -> Vec<String> {
        let lines = function.metrics();
        let of_service = lines
            .iter()
            .rev()
            .find(|line| line["idMappingTableIdentifier"].is_null());
        // The age of a table is measured whenever its item was read: see the test below.
        measured(of_service.unwrap())
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| name != "TableAgeSeconds")
            .collect()
    };
    let counted = |function: &Function, name: &str| {
        let lines = function.metrics();
        lines.iter().filter(|line| !line[name].is_null()).count()
    };
    let poll = async || drop(function.poll().await.unwrap());
    // A start that is not published.
    aws.fail_next(
        Operation::PutEvents,
        Fault::FailEntries("MalformedDetail".to_owned()),
    );
    error(function.invoke(requested.to_string()).await);
    assert_eq!(
        names(&function),
        [
            "JobsStarted",
            "PublishFailures",
            "PopulateLatency",
            "ColdStart"
        ]
    );
    // Its retry announces it, and the next one is covered.
    let before = counted(&function, "JobsStarted");
    response(function.invoke(requested.to_string()).await);
    assert_eq!(
        counted(&function, "JobsStarted"),
        before,
        "no job was started"
    );
    response(function.invoke(requested.to_string()).await);
    assert_eq!(names(&function), ["RequestsCovered"]);
    // Another table waits; its turn comes when the first job has failed.
    response(function.invoke(request_for(T2).to_string()).await);
    assert_eq!(names(&function), ["RequestsWaiting", "PopulateLatency"]);
    poll().await;
    assert_eq!(names(&function), ["StillWaitingSeconds", "PopulateLatency"]);
    aws.end_job(Status::Failed);
    poll().await;
    assert_eq!(
        names(&function),
        [
            "JobsStarted",
            "WaitSeconds",
            "PopulateLatency",
            "JobDuration",
            "JobsFailed"
        ]
    );
    // An answer that is lost, and whose job is found.
    aws.end_job(Status::Succeeded);
    aws.fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    response(function.invoke(request_for(T3).to_string()).await);
    assert_eq!(
        names(&function),
        ["JobsStarted", "OutcomesUnknown", "PopulateLatency"]
    );
}

/// Returns the ages in the newest lines: that of the service, and those of the tables.
fn ages(function: &Function) -> (Vec<f64>, Vec<(String, f64)>) {
    let lines = function.metrics();
    let last = lines.last().unwrap()["requestId"].clone();
    let lines = lines.iter().filter(|line| line["requestId"] == last);
    let (mut of_service, mut of_tables) = (Vec::new(), Vec::new());
    for line in lines {
        let values = line["TableAgeSeconds"].as_array().into_iter().flatten();
        let values: Vec<f64> = values.map(|value| value.as_f64().unwrap()).collect();
        match line["idMappingTableIdentifier"].as_str() {
            None => of_service = values,
            Some(table) => of_tables.push((table.to_owned(), values[0])),
        }
    }
    (of_service, of_tables)
}

/// The jobs in the ledger's item of a table started an hour earlier.
fn make_older(aws: &FakeAws, table: &str) {
    const HOUR: i64 = 60 * 60 * 1_000;
    fn shift(value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(shift),
            Value::Object(members) => {
                members
                    .iter_mut()
                    .for_each(|(name, value)| match (name.as_str(), value.as_i64()) {
                        ("startedAt" | "answeredAt", Some(time)) => *value = json!(time - HOUR),
                        _ => shift(value),
                    })
            }
            _ => {}
        }
    }
    let item = &mut aws.state().items;
    let record = &mut item.get_mut(&table_arn(table)).unwrap()["record"]["S"];
    let mut changed: Value = serde_json::from_str(record.as_str().unwrap()).unwrap();
    shift(&mut changed);
    *record = json!(changed.to_string());
}

/// A table's age counts from the start of its last success where jobs are tracked, and otherwise from its last start. Status
/// writes the ages of all tables; one without a job is as old as itself.
#[tokio::test]
async fn the_age_of_a_table_is_that_of_what_is_in_it() {
    for tracked in [true, false] {
        let arns = format!("{},{}", table_arn(T1), table_arn(T2));
        let builder = Environment::builder()
            .queue(time::Duration::ZERO)
            .ledger()
            .setting("TRACK_COMPLETION", if tracked { "true" } else { "false" })
            .setting("ID_MAPPING_TABLE_ARNS", &arns);
        let function = Function::built(builder).await;
        response(function.invoke(request_for(T1).to_string()).await);
        function.aws.end_job(Status::Succeeded);
        drop(function.poll().await);
        make_older(&function.aws, T1);
        // A second job starts. It has not succeeded yet.
        response(function.invoke(request_for(T1).to_string()).await);
        let (of_service, of_tables) = ages(&function);
        let [(table, age)] = &of_tables[..] else {
            panic!("{of_tables:?}")
        };
        assert_eq!((table.as_str(), &of_service[..]), (T1, &[*age][..]));
        assert_eq!((3_600.0..3_660.0).contains(age), tracked, "{age}");
        assert_eq!((0.0..60.0).contains(age), !tracked, "{age}");

        response(function.invoke(r#"{"status": true}"#.to_owned()).await);
        let (of_service, of_tables) = ages(&function);
        let tables: Vec<&str> = of_tables.iter().map(|(table, _)| &**table).collect();
        assert_eq!(tables, [T1, T2]);
        assert_eq!(of_tables[0].1 >= 3_600.0, tracked);
        let created = time::macros::datetime!(2023-11-14 22:13:20 UTC);
        let since_created = (time::OffsetDateTime::now_utc() - created).as_seconds_f64();
        assert!(
            (of_tables[1].1 - since_created).abs() < 60.0,
            "{of_tables:?}"
        );
        assert_eq!(
            of_service,
            [of_tables[1].1, of_tables[0].1],
            "the oldest first"
        );
    }
}

/// If the age of one table is not known, there is none for all together, so that an alarm on the oldest one rings.
#[tokio::test]
async fn an_age_that_is_not_known_is_not_hidden_by_the_others() {
    let arns = format!("{},{}", table_arn(T1), table_arn(T2));
    let builder = Environment::builder()
        .ledger()
        .setting("ID_MAPPING_TABLE_ARNS", &arns);
    let function = Function::built(builder).await;
    response(function.invoke(request_for(T1).to_string()).await);
    make_unreadable(&function.aws, T1);
    response(function.invoke(r#"{"status": true}"#.to_owned()).await);
    let (of_service, of_tables) = ages(&function);
    let tables: Vec<&str> = of_tables.iter().map(|(table, _)| &**table).collect();
    assert_eq!((of_service, tables), (Vec::new(), vec![T2]));
}

fn make_unreadable(aws: &FakeAws, table: &str) {
    let items = &mut aws.state().items;
    items.get_mut(&table_arn(table)).unwrap()["record"] = json!({ "S": "[1]" });
}
