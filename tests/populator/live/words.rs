//! The command line, and the plan.

use std::fs;
use std::time::Duration;

use fake_aws::{Fault, Operation, Status, Table};
use serde_json::json;

use super::questions::USAGE;
use super::{Arguments, NAMES, Person};
use crate::harness::{T1, table_arn};

#[test]
fn wrong_words_are_named() {
    let table = table_arn(T1);
    for (words, error) in [
        (vec![], "write plan or run"),
        (vec!["plan"], "--table is missing"),
        (
            vec!["plan", "--table", "x"],
            "x is not the ARN of an ID mapping table",
        ),
        (
            vec!["plan", "--table", &table, "--second-table", &table],
            "is named twice",
        ),
        (
            vec!["plan", "--table", &table, "--experiment", "x"],
            "must be one of delete-event, unfit-type",
        ),
        (
            vec!["plan", "--table", &table, "--price", "-1"],
            "--price must be 0.001 to 1000 US dollars",
        ),
        (
            vec!["plan", "--table", &table, "--price", "1e-300"],
            "--price must be 0.001 to 1000 US dollars",
        ),
        (
            vec!["plan", "--table", &table, "--records", "0"],
            "--records must be a number from 1 to 1000000000000",
        ),
        (
            vec!["plan", "--table", &table, "--role", "arn:aws:iam::1:role/r"],
            "--role must be the ARN of an IAM role",
        ),
        (
            vec!["plan", "--table", &table, "--table", &table],
            "--table is given twice",
        ),
        (
            vec!["plan", "--table", "--second-table", &table],
            "--table needs a value",
        ),
        (
            vec!["run", "--resume", "x", "--file", "y"],
            "both name the file of the run",
        ),
        (
            vec!["run", "--table", &table, "--job-ended"],
            "--job-ended needs --resume",
        ),
        (
            vec!["plan", "--second-table", &table],
            "--second-table needs --table",
        ),
        (
            vec!["plan", "--table", &table, "--interval", "0"],
            "--interval must be 1 to 3600 seconds",
        ),
        (
            vec!["plan", "--tables", &table],
            "--tables is not an option",
        ),
        (vec!["plan", "--table"], "--table needs a value"),
        (
            vec!["run", "--resume", "x", "--table", &table],
            "are those of the file",
        ),
    ] {
        let read = Arguments::read(words.iter().map(|word| (*word).to_owned()));
        let found = read.unwrap_err();
        assert!(found.contains(error), "{words:?}: {found}");
    }
    for option in USAGE
        .split_whitespace()
        .filter(|word| word.starts_with("--"))
    {
        let is_known = ["--example", "--"].contains(&option);
        let words = ["run", option, "1"].map(str::to_owned);
        let found = Arguments::read(words.into_iter()).err().unwrap_or_default();
        assert!(
            is_known || found != format!("{option} is not an option"),
            "{option}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_reads_only_and_has_the_highest_cost() {
    let person = Person::in_process();
    person.aws.start_job_by_hand(T1, Some("BATCH"));
    person.time.pass(Duration::from_secs(3_600));
    let table = table_arn(T1);
    let plan = ["plan", "--table", &table];
    person.asks(&plan).await.unwrap();
    let said = person.said();
    // 4 jobs with 1,000 records each.
    assert!(
        said.contains("at most 4 jobs with 4000 records: 1.00 USD at 0.25 USD for 1,000"),
        "{said}"
    );
    assert!(said.contains("not possible: it needs --role"), "{said}");
    assert!(
        said.contains("not possible: both types fit the tables"),
        "{said}"
    );
    for name in NAMES {
        assert!(said.contains(&format!("\n{name}: ")), "{said}");
    }
    person
        .asks(&[&plan[..], &["--price", "2", "--records", "5000"]].concat())
        .await
        .unwrap();
    assert!(
        person.said().contains("20000 records: 40.00 USD at 2 USD"),
        "{}",
        person.said()
    );
    assert_eq!(person.calls(), 0);
    assert!(fs::read_dir(&person.folder).unwrap().next().is_none());
    let fresh = Person::in_process();
    fresh.asks(&plan).await.unwrap();
    assert!(
        fresh
            .said()
            .contains("of unknown size: no earlier job tells, so give --records")
    );
}

#[test]
fn the_report_is_beside_the_run() {
    let table = table_arn(T1);
    for (option, run, report) in [
        ("--file", "a/tuesday.json", "a/tuesday-report.json"),
        ("--resume", "x", "x-report.json"),
    ] {
        let mut words = vec!["run", option, run];
        if option == "--file" {
            words.extend(["--table", &table]);
        }
        let words = words.iter().map(|word| (*word).to_owned());
        let arguments = Arguments::read(words).unwrap();
        assert_eq!(arguments.report.to_str(), Some(report));
    }
}

#[tokio::test(start_paused = true)]
async fn the_size_of_a_job_is_that_of_the_last_batch_that_succeeded() {
    let table = table_arn(T1);
    let plan = ["plan", "--table", &table, "--experiment", "job-list"];
    let known = "at most 1 job with 1000 records: 0.25 USD";
    let unknown = "at most 1 job of unknown size";
    for (types, said) in [
        (&[Some("BATCH"), Some("INCREMENTAL")][..], known),
        (&[None], known),
        (&[Some("INCREMENTAL"), Some("DELETE_ONLY")], unknown),
    ] {
        let person = Person::in_process();
        for job_type in types {
            assert!(person.aws.start_job_by_hand(T1, *job_type));
            person.time.pass(Duration::from_secs(3_600));
            // The call ends what is due.
            person.asks(&["plan", "--table", &table]).await.unwrap();
        }
        person.said.borrow_mut().clear();
        person.asks(&plan).await.unwrap();
        assert!(person.said().contains(said), "{}", person.said());
    }
    // A job that failed has no counts.
    let person = Person::in_process();
    person.aws.state().job_runs_for = None;
    person.aws.start_job_by_hand(T1, None);
    person.aws.end_job(Status::Failed);
    let counts = json!({ "inputRecords": 7 });
    let failed = json!({ "jobId": "j", "status": "FAILED", "startTime": 1, "metrics": counts });
    let answer = Fault::Answer(failed.to_string());
    person.aws.fail_always(Operation::GetIdMappingJob, answer);
    person.asks(&plan).await.unwrap();
    assert!(person.said().contains(unknown), "{}", person.said());
}

#[tokio::test(start_paused = true)]
async fn a_cost_is_rounded_up_and_a_provider_service_costs_more() {
    let person = Person::in_process();
    let provider = Table {
        provider: true,
        ..Table::default()
    };
    person.aws.set_table(T1, provider);
    let table = table_arn(T1);
    let words = [
        "--experiment",
        "job-list",
        "--records",
        "1",
        "--price",
        "0.001",
    ];
    let plan = ["plan", "--table", &table];
    person.asks(&[&plan[..], &words].concat()).await.unwrap();
    let said = person.said();
    assert!(
        said.contains("with 1 records: 0.01 USD at 0.001 USD"),
        "{said}"
    );
    assert!(
        said.contains("a provider service costs what you agreed with it"),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_for_the_cost_of_no_job() {
    let person = Person::in_process();
    let table = table_arn(T1);
    person
        .asks(&[
            "run",
            "--table",
            &table,
            "--experiment",
            "call-rate",
            "--i-accept-the-cost",
        ])
        .await
        .unwrap();
    assert!(!person.said().contains("type"), "{}", person.said());
}

#[tokio::test(start_paused = true)]
async fn a_second_table_of_unknown_size_has_no_known_cost() {
    let mut person = Person::in_process();
    person.gives = &["--price", "1"];
    person.aws.start_job_by_hand(T1, Some("BATCH"));
    person.passes_an_hour();
    let error = person.runs(&["second-call"]).await.unwrap_err();
    assert!(error.contains("--records is needed"), "{error}");
    assert_eq!(person.calls(), 0);
}
