//! The file of a run, and its report.

use std::fs;

use fake_aws::{Exception, Fault, Operation};
use serde_json::{Value, json};

use super::{Person, unfit};
use crate::harness::{T1, T2, table_arn};

#[tokio::test(start_paused = true)]
async fn a_file_of_an_earlier_run_is_not_overwritten() {
    let person = Person::in_process();
    person.runs(&["job-list"]).await.unwrap();
    let error = person.runs(&["job-list"]).await.unwrap_err();
    assert!(
        error.contains("has an earlier run: go on with --resume"),
        "{error}"
    );
    person.resumes(&[]).await.unwrap();
    assert_eq!(person.aws.jobs().len(), 1);
    fs::write(person.file("run.json"), "{").unwrap();
    assert!(
        person
            .resumes(&[])
            .await
            .unwrap_err()
            .contains("run.json cannot be read")
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_if_a_file_cannot_be_written_or_another_process_has_it() {
    let person = Person::in_process();
    let lock = fs::File::create(person.file("run.json.lock")).unwrap();
    lock.try_lock().unwrap();
    let error = person.runs(&["job-list"]).await.unwrap_err();
    assert!(error.contains("another process has"), "{error}");
    drop(lock);
    fs::create_dir(person.file("report.json")).unwrap();
    let error = person.runs(&["job-list"]).await.unwrap_err();
    assert!(error.contains("report.json cannot be written"), "{error}");
    fs::remove_dir(person.file("report.json")).unwrap();
    fs::create_dir(person.file("run.json.part")).unwrap();
    let error = person.runs(&["job-list"]).await.unwrap_err();
    assert!(error.contains("run.json cannot be written"), "{error}");
    assert_eq!(person.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_report_replaces_nothing_but_a_report() {
    let person = Person::in_process();
    fs::write(person.file("report.json"), "{\"calls\": []}").unwrap();
    let error = person.runs(&["job-list"]).await.unwrap_err();
    assert!(error.contains("report.json is not a report"), "{error}");
    assert_eq!(person.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_report_has_no_identifier_and_is_as_its_schema_says() {
    let person = Person::in_process();
    person.aws.set_table(T2, unfit());
    person.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::access_denied()),
    );
    person.aws.fail_always(Operation::LookupEvents, Fault::Drop);
    person.runs(&[]).await.unwrap();
    let text = fs::read_to_string(person.file("report.json")).unwrap();
    let record = fs::read_to_string(person.file("run.json")).unwrap();
    assert!(record.contains(T1) && record.contains("arn:"));
    let jobs = person.aws.jobs();
    let ids = jobs
        .iter()
        .flat_map(|job| [&*job.id, &*job.entity_resolution_id]);
    let ids: Vec<&str> = ids
        .chain([
            "arn:",
            "123456789012",
            T1,
            T2,
            "workflow-",
            "experimenter",
            "table-",
        ])
        .collect();
    for id in ids {
        assert!(!text.contains(id), "{id} is in {text}");
    }
    let schema = include_str!("../../../examples/live/report.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let report = person.read("report.json");
    assert_eq!(faults(&schema, &report, "$"), Vec::<String>::new());
    assert!(text.contains("\"failure\": \"no connection\""), "{text}");
    // The check finds what is not as the schema says.
    let mut other = report.clone();
    other["experiments"][0]["verdict"] = json!("perhaps");
    other["experiments"][1]["arn"] = json!("x");
    other["jobs"][0].as_object_mut().unwrap().remove("step");
    assert_eq!(faults(&schema, &other, "$").len(), 3);
}

/// Where a value is not as a schema says, as far as the report's schema goes.
fn faults(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = schema["type"]
        .as_array()
        .cloned()
        .unwrap_or(vec![schema["type"].clone()]);
    if schema.get("type").is_some() && !types.contains(&json!(kind)) {
        found.push(format!("{path} is of type {kind}"));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        found.push(format!("{path} is {value}"));
    }
    for item in value.as_array().into_iter().flatten() {
        found.extend(faults(&schema["items"], item, &format!("{path}[]")));
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(name) {
            Some(of_member) => found.extend(faults(of_member, member, &format!("{path}.{name}"))),
            None => found.push(format!("{path}.{name} is not in the schema")),
        }
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if value.is_object() && value.get(name.as_str().unwrap()).is_none() {
            found.push(format!("{path}.{name} is missing"));
        }
    }
    found
}

#[tokio::test(start_paused = true)]
async fn what_may_be_an_account_number_is_in_no_report() {
    let person = Person::in_process();
    person.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::validation("OF_210987654321")),
    );
    person.runs(&["job-list"]).await.unwrap();
    let answer = person.finding("job-list")["answer"].clone();
    assert!(answer.as_str().unwrap().ends_with("(hidden)"), "{answer}");
    // The report has the answers of the file, which somebody edited.
    person.resumes(&[]).await.unwrap();
    let mut record = person.read("run.json");
    record["findings"][0]["answer"] = json!("account 210987654321");
    fs::write(person.file("run.json"), record.to_string()).unwrap();
    let error = person.resumes(&[]).await.unwrap_err();
    assert!(
        error.contains("it would have 12 digits in a row"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_report_is_not_the_file_of_the_run_by_whatever_name() {
    let person = Person::in_process();
    let alias = person.file("./run.json");
    let table = table_arn(T1);
    let run = ["run", "--table", &table, "--experiment", "job-list"];
    let options = ["--i-accept-the-cost", "--yes", "--report", &alias];
    let error = person
        .asks(&[&run[..], &options].concat())
        .await
        .unwrap_err();
    assert!(error.contains("is the file of the run"), "{error}");
    person.runs(&["job-list"]).await.unwrap();
    let error = person.resumes(&["--report", &alias]).await.unwrap_err();
    assert!(error.contains("is the file of the run"), "{error}");
    person.resumes(&[]).await.unwrap();
}
