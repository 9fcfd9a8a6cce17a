//! The live example against the stand-ins: each question with either answer, interruptions, refusals.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_cleanrooms::config::Credentials;
use fake_aws::{CREDENTIALS, FakeAws, Fault, Job, Operation, REGION, Slot, Table};
use id_mapping_populator::aws::clients;
use id_mapping_populator::clock::Clock;
use serde_json::Value;
use time::Duration;
use uuid::Uuid;

use crate::harness::{T1, T2, table_arn};
use crate::simulator::Time;

#[path = "../../examples/live/questions/mod.rs"]
mod questions;

mod answers;
mod files;
mod interruptions;
mod refusals;
mod words;

pub use self::questions::Arguments;
use self::questions::Host;

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
    has_credentials: bool,
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
            has_credentials: true,
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
        if !words.contains(&"--report") {
            words.extend(["--report", &report]);
        }
        if words[0] == "run" {
            words.extend(self.gives);
        }
        if !words.contains(&"--resume") && !words.contains(&"--file") {
            words.extend(["--file", &file]);
        }
        let arguments = Arguments::read(words.iter().map(|word| (*word).to_owned()))?;
        assert_eq!(questions::region(&arguments)?, REGION);
        let [key_id, secret, _] = CREDENTIALS;
        let credentials = Credentials::new(key_id, secret, None, None, "live");
        let loader = clients::config_loader(REGION);
        let loader = match self.has_credentials {
            true => loader.credentials_provider(credentials),
            false => loader.credentials_provider(NoCredentials),
        };
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

    /// Runs experiments until this many minutes have passed.
    async fn runs_for(&self, minutes: u64, names: &[&str]) {
        let limit = std::time::Duration::from_secs(60 * minutes);
        let ended = tokio::time::timeout(limit, self.runs(names)).await;
        assert!(ended.is_err(), "it was not interrupted: {ended:?}");
    }

    /// Runs experiments until a fault ends the process.
    async fn crashes(&self, names: &[&str]) {
        tokio::select! {
            _ = self.runs(names) => panic!("it was not interrupted"),
            () = self.aws.crashed(0) => {}
        }
    }

    /// Gives this fault to the second call of `PopulateIdMappingTable`.
    fn fails_second_call(&self, fault: Fault) {
        let calls = AtomicUsize::new(0);
        self.aws.fail_by(move |_, operation| {
            let is_call = operation == Operation::PopulateIdMappingTable;
            let is_second = is_call && calls.fetch_add(1, Ordering::Relaxed) == 1;
            is_second.then(|| fault.clone())
        });
    }

    /// An hour later all jobs have ended.
    fn passes_an_hour(&self) {
        self.time.pass(std::time::Duration::from_secs(3_600));
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

/// A profile without credentials.
#[derive(Debug)]
struct NoCredentials;

impl ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let error = CredentialsError::not_loaded("profile-of-somebody is not there");
        future::ProvideCredentials::ready(Err(error))
    }
}

/// A table on which neither type fits.
fn unfit() -> Table {
    Table {
        incremental: false,
        ..Table::default()
    }
}

/// The plan's bounds: the number of jobs, and how many are under way at once.
fn assert_bounds(person: &Person, planned: usize, at_once: usize) {
    let jobs = person.aws.jobs();
    assert!(jobs.len() <= planned, "{} jobs", jobs.len());
    for (index, job) in jobs.iter().enumerate() {
        let under_way = |earlier: &&Job| earlier.ended_at.is_none_or(|end| end > job.started_at);
        let count = jobs[..index].iter().filter(under_way).count();
        assert!(count < at_once, "{jobs:#?}");
    }
}
