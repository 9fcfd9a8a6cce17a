//! The live example against the stand-ins: each question with either answer, interruptions, refusals.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use aws_sdk_cleanrooms::config::Credentials;
use fake_aws::{CREDENTIALS, Exception, FakeAws, Fault, Job, Operation, REGION, Slot, Table};
use id_mapping_populator::aws::clients;
use id_mapping_populator::clock::Clock;
use serde_json::{Value, json};
use time::Duration;
use uuid::Uuid;

use crate::harness::{T1, T2, table_arn};
use crate::simulator::Time;

#[path = "../../examples/live/questions/mod.rs"]
mod questions;

pub use self::questions::Arguments;
use self::questions::{Host, USAGE};

const ROLE: &str = "arn:aws:iam::123456789012:role/experimenter";
const NAMES: [&str; 7] = [
    "delete-event",
    "unfit-type",
    "job-list",
    "job-id",
    "second-call",
    "start-permission",
    "call-rate",
];

/// A person with a folder, and an account in which a job takes 30 minutes.
struct Person {
    aws: FakeAws,
    time: Time,
    folder: PathBuf,
    said: RefCell<Vec<String>>,
    types: &'static str,
    /// The options of the cost.
    gives: &'static [&'static str],
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Person {
    fn new(aws: FakeAws) -> Self {
        let time = Time::new();
        if aws.url().ends_with(":0") {
            let time = time.clone();
            aws.set_clock(move || time.now());
        }
        let state = &mut *aws.state();
        state.existing = [T1, T2].map(str::to_owned).to_vec();
        state.job_runs_for = Some(Duration::minutes(30));
        state.slot = Slot::Conflict;
        // The file is written to the disk at each call, so a disk in memory is faster.
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() {
            memory
        } else {
            std::env::temp_dir()
        };
        let folder = base.join(format!("live-{}", Uuid::new_v4()));
        fs::create_dir(&folder).unwrap();
        Self {
            aws: aws.clone(),
            time,
            folder,
            said: RefCell::default(),
            types: "",
            gives: &["--records", "1000", "--price", "1"],
        }
    }

    fn in_process() -> Self {
        Self::new(FakeAws::in_process())
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    async fn asks(&self, words: &[&str]) -> Result<(), String> {
        let (file, report) = (self.file("run.json"), self.file("report.json"));
        let mut words = words.to_vec();
        words.extend(["--report", &report]);
        if words[0] == "run" {
            words.extend(self.gives);
        }
        if !words.contains(&"--resume") && !words.contains(&"--file") {
            words.extend(["--file", &file]);
        }
        let arguments = Arguments::read(words.iter().map(|word| (*word).to_owned()))?;
        assert_eq!(questions::region(&arguments)?, REGION);
        let [key_id, secret, _] = CREDENTIALS;
        let loader = clients::config_loader(REGION)
            .credentials_provider(Credentials::new(key_id, secret, None, None, "live"));
        let (config, clock) = if self.aws.url().ends_with(":0") {
            let time = self.time.clone();
            let loader = loader.http_client(self.aws.http_client(0));
            (loader.load().await, Clock::new(move || time.now()))
        } else {
            let loader = loader.endpoint_url(self.aws.url());
            (loader.load().await, Clock::system())
        };
        let host = Host {
            clock,
            say: &|line| self.said.borrow_mut().push(line.to_owned()),
            ask: &|question| {
                self.said.borrow_mut().push(question.to_owned());
                self.types.to_owned()
            },
        };
        questions::ask(&arguments, config, &host).await
    }

    /// Runs experiments, all without a name, with both tables and a role.
    async fn runs(&self, names: &[&str]) -> Result<(), String> {
        let tables = [table_arn(T1), table_arn(T2)];
        let mut words = vec!["run", "--table", &tables[0], "--second-table", &tables[1]];
        words.extend([
            "--role",
            ROLE,
            "--i-accept-the-cost",
            "--yes",
            "--interval",
            "300",
        ]);
        words.extend(names.iter().flat_map(|name| ["--experiment", name]));
        self.asks(&words).await
    }

    async fn resumes(&self, more: &[&str]) -> Result<(), String> {
        let file = self.file("run.json");
        let words = [
            "run",
            "--resume",
            &file,
            "--i-accept-the-cost",
            "--yes",
            "--interval",
            "300",
        ];
        self.asks(&[&words, more].concat()).await
    }

    fn read(&self, name: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.file(name)).unwrap()).unwrap()
    }

    fn finding(&self, name: &str) -> Value {
        let report = self.read("report.json");
        let all = report["experiments"].as_array().unwrap().clone();
        let of = |finding: &&Value| finding["name"] == name;
        all.iter().find(of).unwrap().clone()
    }

    fn said(&self) -> String {
        self.said.borrow().join("\n")
    }

    fn calls(&self) -> usize {
        self.aws.calls_of(Operation::PopulateIdMappingTable).len()
    }
}

/// A table on which neither type fits.
fn unfit() -> Table {
    Table {
        incremental: false,
        ..Table::default()
    }
}

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
        "at most 120.0 s after the call",
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
        "15 of 20 calls",
    ),
    ("call-rate", "branch B", |_| (), "0 of 20 calls"),
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

/// The plan's bounds: the number of jobs, and one job at a time unless the service takes a second call.
fn assert_bounds(person: &Person, planned: usize, overlapping: usize) {
    let jobs = person.aws.jobs();
    assert!(jobs.len() <= planned, "{} jobs", jobs.len());
    let is_over_before =
        |one: &Job, other: &Job| one.ended_at.is_some_and(|end| end <= other.started_at);
    let pairs = jobs
        .windows(2)
        .filter(|pair| !is_over_before(&pair[0], &pair[1]));
    assert!(pairs.count() <= overlapping);
}

#[tokio::test(start_paused = true)]
async fn all_questions_share_jobs_and_stay_within_the_plan() {
    for (slot, jobs, overlapping) in [(Slot::Conflict, 4, 0), (Slot::Queue, 5, 1)] {
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
        assert_bounds(&person, 7, overlapping);
        let report = person.read("report.json");
        assert_eq!(report["notAnswered"], json!([]));
        let names = report["experiments"].as_array().unwrap().iter();
        let names: Vec<&str> = names.map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, NAMES);
    }
}

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
    for slot in [Slot::Conflict, Slot::Queue] {
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
            if let Err(error) = person.resumes(&[]).await {
                // Nobody knows whether the call started a job that is not shown.
                assert!(error.contains("--job-ended"), "{error}");
                person.resumes(&["--job-ended"]).await.unwrap();
            }
            assert_in_file(&person);
            assert_bounds(&person, 7, 1);
            assert_eq!(person.read("report.json")["notAnswered"], json!([]));
        }
    }
    assert!(interrupted > 100, "{interrupted} interruptions");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_reported_with_the_permission() {
    let needed_by_all = [
        (Operation::GetIdMappingTable, "cleanrooms:GetIdMappingTable"),
        (Operation::GetSchema, "cleanrooms:GetSchema"),
        (
            Operation::GetIdMappingWorkflow,
            "entityresolution:GetIdMappingWorkflow",
        ),
        (
            Operation::ListIdMappingJobs,
            "entityresolution:ListIdMappingJobs",
        ),
        (
            Operation::GetIdMappingJob,
            "entityresolution:GetIdMappingJob",
        ),
    ];
    for (operation, permission) in needed_by_all {
        let person = Person::in_process();
        // A job whose counts are read.
        person.aws.start_job_by_hand(T1, Some("BATCH"));
        person.time.pass(std::time::Duration::from_secs(3_600));
        person
            .aws
            .fail_always(operation, Fault::Refuse(Exception::access_denied()));
        let error = person.runs(&[]).await.unwrap_err();
        assert!(
            error.contains(&format!("allow the caller {permission}")),
            "{error}"
        );
        assert_eq!(person.calls(), 0);
    }
    for (operation, name, permission) in [
        (
            Operation::PopulateIdMappingTable,
            "call-rate",
            "cleanrooms:PopulateIdMappingTable",
        ),
        (
            Operation::PopulateIdMappingTable,
            "job-list",
            "cleanrooms:PopulateIdMappingTable",
        ),
        (
            Operation::PopulateIdMappingTable,
            "second-call",
            "cleanrooms:PopulateIdMappingTable",
        ),
        (
            Operation::LookupEvents,
            "delete-event",
            "cloudtrail:LookupEvents",
        ),
        (Operation::AssumeRole, "start-permission", "sts:AssumeRole"),
    ] {
        let person = Person::in_process();
        person
            .aws
            .fail_always(operation, Fault::Refuse(Exception::access_denied()));
        person.runs(&[name]).await.unwrap();
        let finding = person.finding(name);
        assert_eq!(finding["verdict"], "neither: look");
        let answer = finding["answer"].as_str().unwrap();
        assert!(answer.contains(permission), "{answer}");
        assert!(person.aws.jobs().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_later_ends_the_run_which_goes_on_when_it_is_repaired() {
    let person = Person::in_process();
    person.aws.fail_by(|call, operation| {
        let is_late = call > 8 && operation == Operation::ListIdMappingJobs;
        is_late.then(|| Fault::Refuse(Exception::access_denied()))
    });
    let error = person.runs(&["job-list", "job-id"]).await.unwrap_err();
    assert!(
        error.contains("allow the caller entityresolution:ListIdMappingJobs"),
        "{error}"
    );
    assert!(error.contains("go on with --resume"), "{error}");
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
    assert!(error.contains("go on with --job-ended"), "{error}");
    assert_eq!(person.aws.jobs().len(), 1);
    person.time.pass(std::time::Duration::from_secs(3_600));
    person.resumes(&["--job-ended"]).await.unwrap_err();
    assert_eq!(person.aws.jobs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_without_the_flag_and_the_typed_line() {
    let table = table_arn(T1);
    let run = ["run", "--table", &table, "--experiment", "job-list"];
    let both: &[&str] = &["--records", "1", "--price", "1"];
    let yes: &[&str] = &["--i-accept-the-cost", "--yes"];
    for (gives, error) in [(&both[..2], "--price"), (&both[2..], "--records is needed")] {
        let mut person = Person::in_process();
        person.gives = gives;
        let ended = person.asks(&[&run, yes].concat()).await;
        assert!(ended.unwrap_err().contains(error));
        assert_eq!(person.calls(), 0);
    }
    for (types, words, starts) in [
        ("start 1", &[][..], false),
        ("", &["--i-accept-the-cost"], false),
        ("yes", &["--i-accept-the-cost"], false),
        ("start 1\n", &["--i-accept-the-cost"], true),
        ("", &["--i-accept-the-cost", "--yes"], true),
        ("", &["--yes"], false),
    ] {
        let mut person = Person::in_process();
        person.types = types;
        let ended = person.asks(&[&run, words].concat()).await;
        assert_eq!(ended.is_ok(), starts, "{words:?}: {ended:?}");
        assert_eq!(person.calls(), usize::from(starts), "{words:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_reads_only_and_has_the_highest_cost() {
    let person = Person::in_process();
    person.aws.start_job_by_hand(T1, Some("BATCH"));
    person.time.pass(std::time::Duration::from_secs(3_600));
    let table = table_arn(T1);
    let plan = ["plan", "--table", &table];
    person.asks(&plan).await.unwrap();
    let said = person.said();
    // 4 jobs with 1,000 records each.
    assert!(
        said.contains("at most 4 jobs with 4000 records together: 1.00 USD at 0.25 USD for 1,000"),
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
        person
            .said()
            .contains("20000 records together: 40.00 USD at 2 USD"),
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
async fn what_was_refused_is_asked_again_by_a_run_that_goes_on() {
    let person = Person::in_process();
    person.aws.start_job_by_hand(T1, Some("BATCH"));
    person.runs(&["job-list"]).await.unwrap();
    assert_eq!(person.finding("job-list")["verdict"], "neither: look");
    person.time.pass(std::time::Duration::from_secs(3_600));
    person.resumes(&[]).await.unwrap();
    assert_eq!(person.finding("job-list")["verdict"], "branch A");
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
        (2, json!(null), "branch B"),
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
                Operation::ListIdMappingJobs if call > 9 => Some(Fault::Answer(list.to_string())),
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

#[tokio::test(start_paused = true)]
async fn looks_that_fail_for_a_while_do_not_end_the_run() {
    let person = Person::in_process();
    person.aws.fail_by(|call, operation| {
        let fails = (12..20).contains(&call) && operation == Operation::ListIdMappingJobs;
        fails.then(|| Fault::Refuse(Exception::validation("x")))
    });
    person
        .runs(&["job-list", "start-permission"])
        .await
        .unwrap();
    let said = person.said();
    assert!(
        said.contains("ListIdMappingJobs: 400 ValidationException (x)"),
        "{said}"
    );
    assert_eq!(person.finding("start-permission")["verdict"], "branch B");
}

#[tokio::test(start_paused = true)]
async fn a_report_has_no_identifier_and_is_as_its_schema_says() {
    let person = Person::in_process();
    person.aws.set_table(T2, unfit());
    person.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::access_denied()),
    );
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
    let schema = include_str!("../../examples/live/report.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let report = person.read("report.json");
    assert_eq!(faults(&schema, &report, "$"), Vec::<String>::new());
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
            "--price must be US dollars, less than 1000",
        ),
        (
            vec!["plan", "--table", &table, "--interval", "0"],
            "--interval must be 1 to 3600 seconds",
        ),
        (
            vec!["plan", "--tables", &table],
            "--tables is not an option",
        ),
        (
            vec!["plan", "--table"],
            "--table is not an option, or needs a value",
        ),
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
