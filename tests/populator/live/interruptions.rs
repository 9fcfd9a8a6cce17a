//! A run that is interrupted, or that cannot read for a while, loses no job and no answer.

use std::collections::BTreeSet;
use std::fs;

use fake_aws::{Exception, Fault, Operation, Slot};
use serde_json::json;
use time::Duration;

use super::{Person, assert_bounds, unfit};
use crate::harness::{T1, T2, table_arn};

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
        (Slot::Unlimited, 0, "branch B"),
        (Slot::Queue, 3_600, "branch B"),
    ];
    for (slot, pause, verdict) in cases {
        let at_once = 1 + usize::from(slot == Slot::Unlimited);
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
            assert_bounds(&person, 7, at_once);
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
    let to_go_on = format!(
        "Go on with run --resume {} --i-accept-the-cost --report {} --records 1000 --price 1",
        person.file("run.json"),
        person.file("report.json")
    );
    assert!(error.ends_with(&to_go_on), "{error}");
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
    person.passes_an_hour();
    person.resumes(&["--job-ended"]).await.unwrap_err();
    assert_eq!(person.aws.jobs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn looks_that_fail_for_a_while_do_not_end_the_run() {
    let person = Person::in_process();
    person.aws.fail_by(|call, operation| {
        let fails = (16..24).contains(&call) && operation == Operation::GetIdMappingJob;
        fails.then(|| Fault::Refuse(Exception::throttling()))
    });
    person
        .runs(&["job-list", "start-permission"])
        .await
        .unwrap();
    let said = person.said();
    assert!(
        said.contains("GetIdMappingJob failed: 429 ThrottlingException"),
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
    person.crashes(&["job-list"]).await;
    person.resumes(&[]).await.unwrap();
    assert_eq!(person.finding("job-list")["verdict"], "branch A");
    assert_bounds(&person, 2, 1);
    let report = person.read("report.json");
    let steps = report["jobs"].as_array().unwrap().iter();
    let steps: Vec<&str> = steps.map(|job| job["step"].as_str().unwrap()).collect();
    assert!(
        steps[0].starts_with("job-list: first call, called at "),
        "{steps:?}"
    );
    assert_eq!(steps[1..], ["job-list: first call"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_job_that_may_be_one_of_several_is_not_taken_for_none() {
    let person = Person::in_process();
    person.aws.set_slot(Slot::Unlimited);
    person.fails_second_call(Fault::AcceptAndCrash);
    person.crashes(&["job-list", "start-permission"]).await;
    assert!(person.aws.start_job_by_hand(T1, Some("BATCH")));
    let error = person.resumes(&[]).await.unwrap_err();
    assert!(error.contains("several that may be it"), "{error}");
    assert!(error.ends_with(" --job-ended"), "{error}");
    assert_eq!(person.aws.jobs().len(), 3);
    person.passes_an_hour();
    person.resumes(&["--job-ended"]).await.unwrap();
    assert_eq!(person.finding("start-permission")["verdict"], "branch B");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_shown_as_running_has_not_ended_whatever_the_person_says() {
    let person = Person::in_process();
    person.runs_for(10, &["job-list", "start-permission"]).await;
    person.resumes(&["--job-ended"]).await.unwrap();
    assert_bounds(&person, 2, 1);
    assert_eq!(person.read("run.json")["calls"][0]["ended"], "SUCCEEDED");
}

#[tokio::test(start_paused = true)]
async fn the_report_has_each_answer_as_soon_as_it_is_known() {
    let person = Person::in_process();
    person.runs_for(10, &["job-list"]).await;
    assert_eq!(person.finding("job-list")["verdict"], "branch A");
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_file_is_lost_is_on_the_terminal() {
    let person = Person::in_process();
    let folder = person.folder.clone();
    person.aws.fail_by(move |_, operation| {
        if operation == Operation::PopulateIdMappingTable {
            fs::remove_dir_all(&folder).unwrap();
        }
        None
    });
    let error = person.runs(&["job-list"]).await.unwrap_err();
    assert!(error.contains("run.json cannot be written"), "{error}");
    let id = person.aws.jobs()[0].id.clone();
    let said = person.said();
    assert!(said.contains(&format!("200, job {id}")), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_began_long_after_a_lost_call_is_not_taken_for_its_job() {
    let person = Person::in_process();
    person
        .aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Crash);
    person.crashes(&["job-list"]).await;
    person.time.pass(std::time::Duration::from_secs(600));
    assert!(person.aws.start_job_by_hand(T1, Some("BATCH")));
    let error = person.resumes(&[]).await.unwrap_err();
    assert!(error.contains("several that may be it"), "{error}");
    assert_eq!(
        person.read("run.json")["calls"][0]["entityResolutionJob"],
        json!(null)
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_of_another_call_of_the_run_is_not_taken_for_a_lost_one() {
    let person = Person::in_process();
    person.aws.set_slot(Slot::Unlimited);
    // Both jobs of the second call are listed after it.
    person.aws.state().shown_after = Duration::minutes(2);
    let table = table_arn(T1);
    let run = ["run", "--table", &table, "--experiment", "second-call"];
    let options = ["--i-accept-the-cost", "--yes", "--interval", "20"];
    person.asks(&[&run[..], &options].concat()).await.unwrap();
    let record = person.read("run.json");
    let jobs: Vec<_> = record["calls"].as_array().unwrap().iter().collect();
    assert_eq!(jobs.len(), 2);
    assert!(
        jobs.iter().all(|call| call["ended"] == "SUCCEEDED"),
        "{record:#}"
    );
    assert_ne!(
        jobs[0]["entityResolutionJob"],
        jobs[1]["entityResolutionJob"]
    );
}
