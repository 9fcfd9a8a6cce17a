//! The metrics in the built binary's log.

use fake_aws::{Environment, Exception, Fault, Operation, Slot, Status};
use serde_json::{Value, json};

use crate::function::{Function, error, response};
use crate::harness::{T1, T2, T3, event_file, request_for};

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
        assert_eq!(names, ["JobsStarted", "PopulateLatency", "ColdStart"]);
        assert_eq!(measured(&lines[1]), [("JobsStarted".to_owned(), json!(1))]);
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
        assert_eq!(names, ["RequestsRejected", "PopulateLatency"], "{level}");
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
        measured(of_service.unwrap())
            .into_iter()
            .map(|(name, _)| name)
            .collect()
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
    let before = function.metrics().len();
    response(function.invoke(requested.to_string()).await);
    assert_eq!(function.metrics().len(), before, "no job was started");
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
