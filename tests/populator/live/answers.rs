//! Each question with either answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use fake_aws::{Exception, FakeAws, Fault, Operation, Slot, Table};
use serde_json::json;
use time::Duration;

use super::{NAMES, Person, ROLE, assert_bounds, unfit};
use crate::harness::{T1, T2, table_arn};

/// What an account is in which a question has this answer.
type Account = fn(&FakeAws);

const ANSWERS: [(&str, &str, Account, &str); 15] = [
    (
        "second-call",
        "branch A",
        |_| (),
        "same table: 409 ConflictException (INVALID_STATE); other table: 409",
    ),
    (
        "second-call",
        "branch A",
        |aws| aws.set_slot(Slot::QuotaExceeded),
        "same table: 402 ServiceQuota",
    ),
    (
        "second-call",
        "branch B",
        |aws| aws.set_slot(Slot::Queue),
        "same table: 200; the second job is QUEUED",
    ),
    (
        "second-call",
        "branch B",
        |aws| aws.set_slot(Slot::Unlimited),
        "same table: 200; the second job is RUNNING",
    ),
    (
        "job-id",
        "branch A",
        |aws| aws.state().same_ids = true,
        "knows the job by it",
    ),
    (
        "job-id",
        "branch B",
        |_| (),
        "lists the job with another id",
    ),
    (
        "job-list",
        "branch A",
        |aws| aws.state().shown_after = Duration::minutes(2),
        "at most 122.3 s after the call",
    ),
    (
        "job-list",
        "branch B",
        |aws| {
            aws.state().shown_after = Duration::hours(2);
            aws.state().same_ids = true;
        },
        "not in the list 10 min after the call",
    ),
    (
        "unfit-type",
        "branch A",
        |aws| {
            aws.set_table(T1, unfit());
            aws.state().refuses_unfit_types = true;
        },
        "INCREMENTAL (maps by rules, not incremental, populated): 400 ValidationException (INVALID_CONFIGURATION); \
         DELETE_ONLY",
    ),
    (
        "unfit-type",
        "branch B",
        |aws| aws.set_table(T2, unfit()),
        "INCREMENTAL (maps by rules, not incremental, populated): 200, a job of type INCREMENTAL ended as SUCCEEDED; \
         DELETE_ONLY",
    ),
    (
        "start-permission",
        "branch A",
        |aws| aws.state().needs_start_permission = true,
        "the answer names it",
    ),
    (
        "start-permission",
        "branch B",
        |_| (),
        "a job started without it",
    ),
    (
        "call-rate",
        "branch A",
        |aws| aws.state().calls_per_second = Some(5),
        "5 x 404 ResourceNotFoundException, 15 x 429",
    ),
    (
        "call-rate",
        "branch B",
        |_| (),
        ": 20 x 404 ResourceNotFoundException",
    ),
    (
        "delete-event",
        "branch B",
        |_| (),
        "not in the event history after 20 min",
    ),
];

#[tokio::test(start_paused = true)]
async fn each_question_has_the_verdict_of_either_answer() {
    for (name, verdict, account, answer) in ANSWERS {
        let person = Person::in_process();
        account(&person.aws);
        person.runs(&[name]).await.unwrap();
        let finding = person.finding(name);
        assert_eq!(finding["verdict"], verdict, "{name}: {finding:#}");
        let said = finding["answer"].as_str().unwrap();
        assert!(said.contains(answer), "{name}: {said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_cloudtrail_records_is_seen_then_and_later_without_a_call() {
    let person = Person::in_process();
    person.aws.state().recorded_after = Some(Duration::minutes(5));
    for (file, answer) in [
        ("run.json", "after 5 min"),
        ("other.json", "has such calls already"),
    ] {
        let table = table_arn(T1);
        let file = person.file(file);
        let words = [
            "run",
            "--table",
            &table,
            "--experiment",
            "delete-event",
            "--file",
            &file,
            "--i-accept-the-cost",
            "--yes",
        ];
        person.asks(&words).await.unwrap();
        let finding = person.finding("delete-event");
        assert_eq!(finding["verdict"], "branch A");
        assert!(
            finding["answer"].as_str().unwrap().contains(answer),
            "{finding}"
        );
    }
    assert_eq!(person.aws.calls_of(Operation::BatchDeleteUniqueId).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn all_questions_share_jobs_and_stay_within_the_plan() {
    for (slot, jobs, at_once) in [(Slot::Conflict, 4, 1), (Slot::Unlimited, 5, 2)] {
        let person = Person::in_process();
        person.aws.set_slot(slot);
        person.aws.set_table(T2, unfit());
        person.runs(&[]).await.unwrap();
        assert!(
            person.said().contains("All together: at most 7 jobs"),
            "{}",
            person.said()
        );
        // job-list, job-id and second-call share one.
        assert_eq!(person.aws.jobs().len(), jobs);
        assert_bounds(&person, 7, at_once);
        let report = person.read("report.json");
        assert_eq!(report["notAnswered"], json!([]));
        let names = report["experiments"].as_array().unwrap().iter();
        let names: Vec<&str> = names.map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, NAMES);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_of_another_person_is_not_taken_for_the_runs_own() {
    // After the call the list has jobs that began then, and not the run's own.
    for (count, output, verdict) in [
        (1, json!(null), "branch A"),
        (
            1,
            json!([{ "outputS3Path": "s3://b", "roleArn": "r" }]),
            "branch B",
        ),
        (2, json!(null), "neither: look"),
    ] {
        let person = Person::in_process();
        let at = person.time.now().unix_timestamp() + 1;
        person.aws.fail_by(move |call, operation| {
            let job = |number: usize| {
                json!({ "jobId": format!("{number:032}"), "status": "RUNNING", "startTime": at,
                        "outputSourceConfig": output })
            };
            let list = json!({ "jobs": (0..count).map(job).collect::<Vec<_>>() });
            match operation {
                Operation::ListIdMappingJobs if call > 11 => Some(Fault::Answer(list.to_string())),
                Operation::GetIdMappingJob => Some(Fault::Answer(job(0).to_string())),
                _ => None,
            }
        });
        let ended = tokio::time::timeout(
            std::time::Duration::from_secs(3_600),
            person.runs(&["job-list"]),
        );
        // The end of its job is not seen.
        assert!(!matches!(ended.await, Ok(Ok(()))));
        assert_eq!(person.read("run.json")["findings"][0]["verdict"], verdict);
    }
}

#[tokio::test]
async fn it_works_over_http() {
    let person = Person::new(FakeAws::start().await.unwrap());
    {
        let state = &mut *person.aws.state();
        state.job_runs_for = Some(Duration::seconds(3));
        state.same_ids = true;
    }
    let table = table_arn(T1);
    let words = [
        "run",
        "--table",
        &table,
        "--i-accept-the-cost",
        "--yes",
        "--interval",
        "1",
    ];
    let second = table_arn(T2);
    let experiments = [
        "--second-table",
        &second,
        "--experiment",
        "job-list",
        "--experiment",
        "job-id",
        "--experiment",
        "second-call",
    ];
    let role = ["--experiment", "start-permission", "--role", ROLE];
    person
        .asks(&[&words[..], &experiments, &role].concat())
        .await
        .unwrap();
    for (name, verdict) in [
        ("job-list", "branch A"),
        ("job-id", "branch A"),
        ("second-call", "branch A"),
        ("start-permission", "branch B"),
    ] {
        assert_eq!(
            person.finding(name)["verdict"],
            verdict,
            "{}",
            person.said()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_type_that_fits_once_the_first_job_has_populated_the_table_is_not_asked_for() {
    for is_interrupted in [false, true] {
        let person = Person::in_process();
        let empty = Table {
            populated: false,
            ..Table::default()
        };
        person.aws.set_table(T2, empty);
        if is_interrupted {
            person.runs_for(10, &["unfit-type"]).await;
            person.passes_an_hour();
            person.resumes(&[]).await.unwrap();
        } else {
            person.runs(&["unfit-type"]).await.unwrap();
        }
        assert_eq!(person.aws.jobs().len(), 1);
        let finding = person.finding("unfit-type");
        assert_eq!(finding["verdict"], "branch B");
        assert_eq!(
            finding["answer"],
            "INCREMENTAL (maps by rules, incremental, never populated): 200, a job of type INCREMENTAL ended as \
             SUCCEEDED; DELETE_ONLY: not asked, because the table now maps by rules, incremental, populated"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_call_after_the_first_job_has_ended_answers_nothing_and_is_made_again() {
    let person = Person::in_process();
    person.aws.state().job_runs_for = Some(Duration::ZERO);
    person.runs(&["second-call"]).await.unwrap();
    let finding = person.finding("second-call");
    assert_eq!(finding["verdict"], "neither: look");
    let answer = finding["answer"].as_str().unwrap();
    assert!(answer.ends_with("but the first job had ended"), "{answer}");
    person.aws.state().job_runs_for = Some(Duration::minutes(30));
    person.resumes(&[]).await.unwrap();
    assert_eq!(person.finding("second-call")["verdict"], "branch A");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_does_not_show_is_looked_for_less_and_less_often() {
    let person = Person::in_process();
    person.aws.state().shown_after = Duration::hours(2);
    person.aws.state().same_ids = true;
    person.runs(&["job-list"]).await.unwrap();
    let looks = person.aws.calls_of(Operation::ListIdMappingJobs).len();
    assert!((20..60).contains(&looks), "{looks}");
    let said = person.said();
    let progress = "waiting for the job of \"job-list: first call\": not shown by Entity Resolution, 0 min after the \
                    call; next look in 2 s";
    assert!(said.contains(progress), "{said}");
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_known_later_than_the_job_is_listed_is_the_same() {
    let person = Person::in_process();
    person.aws.state().same_ids = true;
    let calls = AtomicUsize::new(0);
    person.aws.fail_by(move |_, operation| {
        let is_read = operation == Operation::GetIdMappingJob;
        let is_early = is_read && calls.fetch_add(1, Ordering::Relaxed) < 3;
        is_early.then(|| Fault::Refuse(Exception::not_found()))
    });
    person.runs(&["job-id"]).await.unwrap();
    assert_eq!(person.finding("job-id")["verdict"], "branch A");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_for_another_reason_says_nothing_of_the_type() {
    for refusal in [
        Exception::unauthenticated(403, "ExpiredTokenException"),
        Exception::not_found(),
        Exception::validation("IAM_SYNCHRONIZATION_DELAY"),
    ] {
        let person = Person::in_process();
        person.aws.set_table(T2, unfit());
        let fault = Fault::Refuse(refusal);
        person.aws.fail_by(move |_, operation| {
            (operation == Operation::PopulateIdMappingTable).then(|| fault.clone())
        });
        person.runs(&["unfit-type"]).await.unwrap();
        assert_eq!(person.finding("unfit-type")["verdict"], "neither: look");
        person.aws.fail_by(|_, _| None);
        person.resumes(&[]).await.unwrap();
        assert_eq!(person.finding("unfit-type")["verdict"], "branch B");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_call_that_is_throttled_is_made_again() {
    let person = Person::in_process();
    person.fails_second_call(Fault::Refuse(Exception::throttling()));
    person.runs(&["second-call"]).await.unwrap();
    let finding = person.finding("second-call");
    assert_eq!(finding["verdict"], "neither: look");
    assert_eq!(finding["answer"], "same table: 429 ThrottlingException");
    person.resumes(&[]).await.unwrap();
    assert_eq!(person.finding("second-call")["verdict"], "branch A");
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_not_measured_while_a_job_has_the_slot() {
    let person = Person::in_process();
    person.runs(&["job-list", "call-rate"]).await.unwrap();
    let first = &person.aws.jobs()[0];
    let calls = person.aws.calls_of(Operation::PopulateIdMappingTable);
    assert!(calls[1].at >= first.ended_at.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_shows_before_the_runs_own_does_not_settle_what_its_id_is() {
    let person = Person::in_process();
    person.aws.state().same_ids = true;
    let time = person.time.clone();
    let soon = time.now() + Duration::seconds(30);
    let (reads, job) = (AtomicUsize::new(0), {
        let at = time.now().unix_timestamp() + 1;
        json!({ "jobId": "another", "status": "RUNNING", "startTime": at })
    });
    person.aws.fail_by(move |call, operation| match operation {
        Operation::ListIdMappingJobs if call > 11 && time.now() < soon => {
            Some(Fault::Answer(json!({ "jobs": [job] }).to_string()))
        }
        Operation::GetIdMappingJob if time.now() < soon => {
            match reads.fetch_add(1, Ordering::Relaxed) {
                1 => Some(Fault::Answer(job.to_string())),
                _ => Some(Fault::Refuse(Exception::not_found())),
            }
        }
        _ => None,
    });
    person.runs(&["job-id"]).await.unwrap();
    assert_eq!(person.finding("job-id")["verdict"], "branch A");
    assert_eq!(person.read("run.json")["calls"][0]["ended"], "SUCCEEDED");
}

#[tokio::test(start_paused = true)]
async fn the_list_alone_shows_that_the_ids_are_the_same() {
    let person = Person::in_process();
    person.aws.state().same_ids = true;
    person.aws.fail_by(|call, operation| {
        let is_refused = operation == Operation::GetIdMappingJob && call < 20;
        is_refused.then(|| Fault::Refuse(Exception::not_found()))
    });
    person.runs(&["job-id"]).await.unwrap();
    let finding = person.finding("job-id");
    assert_eq!(finding["answer"], "Entity Resolution lists the job with it");
    assert_eq!(finding["verdict"], "branch A");
}

#[tokio::test(start_paused = true)]
async fn a_list_with_several_new_jobs_settles_nothing_and_the_next_job_does() {
    let person = Person::in_process();
    person.aws.set_slot(Slot::Unlimited);
    // Both jobs are listed at once.
    person.aws.state().shown_after = Duration::minutes(1);
    let another = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert!(person.aws.start_job_by_hand(T1, Some("BATCH")));
    };
    let (ended, ()) = tokio::join!(person.runs(&["job-list"]), another);
    assert!(ended.unwrap_err().ends_with(" --job-ended"));
    let finding = person.finding("job-list");
    assert_eq!(finding["verdict"], "neither: look");
    assert_eq!(
        finding["answer"],
        "10 min after the call the list had jobs that may be it or not"
    );
    person.passes_an_hour();
    person.resumes(&["--job-ended"]).await.unwrap();
    assert_eq!(person.finding("job-list")["verdict"], "branch A");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_a_table_which_does_not_exist_gets_is_in_the_file() {
    let person = Person::in_process();
    person.aws.state().existing.clear();
    let error = person.runs(&["call-rate"]).await.unwrap_err();
    assert!(error.contains("\"call-rate: call 1\""), "{error}");
    let [job] = &person.aws.jobs()[..] else {
        panic!("there is one job");
    };
    assert_eq!(person.read("run.json")["calls"][0]["job"], job.id);
    let answer = person.finding("call-rate")["answer"].clone();
    assert!(
        answer.as_str().unwrap().contains("1 x 200, 19 x 409"),
        "{answer}"
    );
    person.resumes(&["--job-ended"]).await.unwrap();
    assert_eq!(person.calls(), 20);
}

#[tokio::test(start_paused = true)]
async fn the_type_that_ran_is_said_whatever_the_ids_are() {
    let person = Person::in_process();
    person.aws.state().same_ids = true;
    person.aws.set_table(T2, unfit());
    person.runs(&["unfit-type"]).await.unwrap();
    let answer = person.finding("unfit-type")["answer"].clone();
    let said = "200, a job of type DELETE_ONLY ended as SUCCEEDED";
    assert!(answer.as_str().unwrap().ends_with(said), "{answer}");
}
