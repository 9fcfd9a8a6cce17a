//! A run that is interrupted, or that cannot read for a while, loses no job and no answer.

use std::collections::BTreeSet;
use std::fs;

use fake_aws::{Exception, Fault, Operation, Slot};
use serde_json::json;
use time::Duration;

use super::{Person, assert_bounds, unfit};
use crate::harness::T2;

/// Every job that was started must be in the file, or in a call of it that has no answer.
fn assert_in_file(person: &Person) {
    let record = person.read("run.json");
    let calls = record["calls"].as_array().unwrap();
    let known: BTreeSet<&str> = calls
        .iter()
        .filter_map(|call| call["job"].as_str())
        .collect();
    let unanswered = calls
        .iter()
        .filter(|call| call["observed"].is_null())
        .count();
    let jobs = person.aws.jobs();
    let unknown = jobs.iter().filter(|job| !known.contains(&*job.id)).count();
    assert!(unknown <= unanswered, "{record:#}");
}

#[tokio::test(start_paused = true)]
async fn an_interruption_at_any_call_leaves_no_job_that_is_not_in_the_file() {
    let names = [
        "job-list",
        "job-id",
        "second-call",
        "start-permission",
        "unfit-type",
    ];
    let mut interrupted = 0;
    let cases = [
        (Slot::Conflict, 0, "branch A"),
        (Slot::Conflict, 3_600, "branch A"),
        (Slot::Queue, 0, "branch B"),
        (Slot::Queue, 3_600, "branch B"),
    ];
    for (slot, pause, verdict) in cases {
        for index in 0.. {
            let person = Person::in_process();
            person.aws.set_slot(slot);
            person.aws.set_table(T2, unfit());
            let fault = if index % 2 == 0 {
                Fault::Crash
            } else {
                Fault::AcceptAndCrash
            };
            person
                .aws
                .fail_by(move |call, _| (call == index / 2).then(|| fault.clone()));
            let ended = tokio::select! {
                ended = person.runs(&names) => Some(ended),
                () = person.aws.crashed(0) => None,
            };
            if let Some(ended) = ended {
                ended.unwrap();
                break;
            }
            interrupted += 1;
            if !fs::exists(person.file("run.json")).unwrap() {
                assert!(person.aws.jobs().is_empty());
                continue;
            }
            assert_in_file(&person);
            person.time.pass(std::time::Duration::from_secs(pause));
            if let Err(error) = person.resumes(&[]).await {
                // Nobody knows whether the call started a job that is not shown.
                assert!(error.contains("--job-ended"), "{error}");
                person.resumes(&["--job-ended"]).await.unwrap();
            }
            assert_in_file(&person);
            assert_bounds(&person, 7, 1);
            assert_eq!(person.read("report.json")["notAnswered"], json!([]));
            assert_eq!(person.finding("second-call")["verdict"], verdict);
        }
    }
    assert!(interrupted > 200, "{interrupted} interruptions");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_later_ends_the_run_which_goes_on_when_it_is_repaired() {
    let person = Person::in_process();
    person.aws.fail_by(|call, operation| {
        let is_late = call > 8 && operation == Operation::ListIdMappingJobs;
        let refusal = || Exception::denied("entityresolution:ListIdMappingJobs");
        is_late.then(|| Fault::Refuse(refusal()))
    });
    let error = person.runs(&["job-list", "job-id"]).await.unwrap_err();
    assert!(
        error.contains("allow the caller entityresolution:ListIdMappingJobs"),
        "{error}"
    );
    assert!(error.contains("Go on with --resume"), "{error}");
    assert_eq!(
        person.read("report.json")["notAnswered"],
        json!(["job-list", "job-id"])
    );
    person.aws.fail_by(|_, _| None);
    person.resumes(&[]).await.unwrap();
    assert_eq!(person.finding("job-list")["verdict"], "branch A");
    assert_eq!(person.aws.jobs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_further_job_is_started_while_one_cannot_be_followed() {
    let person = Person::in_process();
    person.aws.state().shown_after = Duration::days(365);
    person.aws.set_table(T2, unfit());
    let error = person.runs(&["job-list", "unfit-type"]).await.unwrap_err();
    assert!(error.contains(" --job-ended"), "{error}");
    assert_eq!(person.aws.jobs().len(), 1);
    person.time.pass(std::time::Duration::from_secs(3_600));
    person.resumes(&["--job-ended"]).await.unwrap_err();
    assert_eq!(person.aws.jobs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn looks_that_fail_for_a_while_do_not_end_the_run() {
    let person = Person::in_process();
    person.aws.fail_by(|call, operation| {
        let fails = (12..20).contains(&call) && operation == Operation::GetIdMappingJob;
        fails.then(|| Fault::Refuse(Exception::throttling()))
    });
    person
        .runs(&["job-list", "start-permission"])
        .await
        .unwrap();
    let said = person.said();
    assert!(
        said.contains("GetIdMappingJob: 429 ThrottlingException"),
        "{said}"
    );
    assert_eq!(person.finding("start-permission")["verdict"], "branch B");
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_answer_was_lost_is_made_again_by_the_run_that_goes_on() {
    let person = Person::in_process();
    person
        .aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash);
    tokio::select! {
        _ = person.runs(&["job-list"]) => panic!("it was not interrupted"),
        () = person.aws.crashed(0) => {}
    }
    person.resumes(&[]).await.unwrap();
    assert_eq!(person.finding("job-list")["verdict"], "branch A");
    assert_bounds(&person, 2, 0);
    let report = person.read("report.json");
    let steps = report["jobs"].as_array().unwrap().iter();
    let steps: Vec<&str> = steps.map(|job| job["step"].as_str().unwrap()).collect();
    assert!(
        steps[0].starts_with("job-list: first call, called at "),
        "{steps:?}"
    );
    assert_eq!(steps[1..], ["job-list: first call"]);
}
