//! The command line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::experiment::Experiment;
use super::facts::{region, target};

pub const USAGE: &str = "\
Asks AWS what its documentation leaves open (docs/guarantees.md). The credentials are those of the environment.

cargo run --example live -- plan --table ARN    read only: what each experiment would do, need and cost
cargo run --example live -- run --table ARN --i-accept-the-cost
    --second-table ARN       another table, of the same Region and account, with a workflow of its own
    --experiment NAME        only this one; repeatable
    --role ARN               a role for start-permission: you may assume it, and it may populate the table
    --price USD              what Entity Resolution bills for 1,000 records; 0.25 unless you know better
    --records NUMBER         how many records a job has at most, if no earlier job tells
    --yes                    do not ask before the first job, for scripts
    --file FILE              where the run is kept, id-mapping-live.json; it has identifiers
    --report FILE            where the report is written, beside the run as id-mapping-live-report.json; it has none
    --interval SECONDS       the time between two looks at a job, 30
cargo run --example live -- run --resume FILE --i-accept-the-cost
                             goes on with a run that was interrupted, and asks again what was refused
    --role ARN               this one from now on
    --job-ended              you saw in the console that the jobs that are not shown have ended";

/// The most records that a job is taken to have.
const MAX_RECORDS: u64 = 1_000_000_000_000;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Arguments {
    pub runs: bool,
    /// The ARNs of the tables.
    pub tables: Vec<String>,
    pub experiments: Vec<Experiment>,
    pub role: Option<String>,
    pub price: Option<f64>,
    pub records: Option<u64>,
    pub accepts_the_cost: bool,
    pub yes: bool,
    pub file: PathBuf,
    pub resumes: bool,
    pub job_ended: bool,
    pub report: PathBuf,
    pub interval: Duration,
}

impl Arguments {
    /// Reads the words after the program's name. An error says what is wrong.
    pub fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let runs = match words.next().as_deref() {
            Some("plan") => false,
            Some("run") => true,
            _ => return Err("write plan or run".to_owned()),
        };
        let mut arguments = Self {
            runs,
            tables: Vec::new(),
            experiments: Vec::new(),
            role: None,
            price: None,
            records: None,
            accepts_the_cost: false,
            yes: false,
            file: PathBuf::from("id-mapping-live.json"),
            resumes: false,
            job_ended: false,
            report: PathBuf::new(),
            interval: Duration::from_secs(30),
        };
        let mut seen = BTreeSet::new();
        while let Some(word) = words.next() {
            let is_value = |value: &String| !value.starts_with("--");
            let value = || words.next().filter(is_value);
            arguments.set(&word, value)?;
            if word != "--experiment" && !seen.insert(word.clone()) {
                return Err(format!("{word} is given twice"));
            }
        }
        if seen.contains("--resume") && seen.contains("--file") {
            return Err("--resume and --file both name the file of the run".to_owned());
        }
        if !seen.contains("--report") {
            arguments.report = report_beside(&arguments.file);
        }
        if seen.contains("--second-table") && !seen.contains("--table") && !arguments.resumes {
            return Err("--second-table needs --table".to_owned());
        }
        if seen.contains("--job-ended") && !arguments.resumes {
            return Err("--job-ended needs --resume".to_owned());
        }
        arguments.check()?;
        Ok(arguments)
    }

    fn set(&mut self, word: &str, value: impl FnOnce() -> Option<String>) -> Result<(), String> {
        let value = || value().ok_or_else(|| format!("{word} needs a value"));
        let invalid = |form: &str| format!("{word} must be {form}");
        match word {
            "--i-accept-the-cost" => self.accepts_the_cost = true,
            "--yes" => self.yes = true,
            "--job-ended" => self.job_ended = true,
            "--table" => self.tables.insert(0, value()?),
            "--second-table" => self.tables.push(value()?),
            "--experiment" => {
                let names = Experiment::ALL.map(Experiment::name).join(", ");
                let experiment = Experiment::named(&value()?);
                let experiment = experiment.ok_or_else(|| invalid(&format!("one of {names}")))?;
                self.experiments.push(experiment);
            }
            "--role" => {
                let role = value()?;
                if !is_role(&role) {
                    return Err(invalid("the ARN of an IAM role"));
                }
                self.role = Some(role);
            }
            "--price" => {
                let price = value()?.parse().ok();
                let price = price.filter(|price| (0.001..=1_000.0).contains(price));
                self.price = Some(price.ok_or_else(|| invalid("0.001 to 1000 US dollars"))?);
            }
            "--records" => {
                let records = value()?.parse().ok();
                let records = records.filter(|records| (1..=MAX_RECORDS).contains(records));
                let form = format!("a number from 1 to {MAX_RECORDS}");
                self.records = Some(records.ok_or_else(|| invalid(&form))?);
            }
            "--file" => self.file = value()?.into(),
            "--resume" => {
                self.file = value()?.into();
                self.resumes = true;
            }
            "--report" => self.report = value()?.into(),
            "--interval" => {
                let seconds = value()?.parse().ok();
                let seconds = seconds.filter(|seconds| (1..=3_600).contains(seconds));
                let seconds = seconds.ok_or_else(|| invalid("1 to 3600 seconds"))?;
                self.interval = Duration::from_secs(seconds);
            }
            _ => return Err(format!("{word} is not an option")),
        }
        Ok(())
    }

    /// The words with which the run goes on.
    pub fn to_go_on(&self) -> String {
        let mut words = format!("run --resume {} --i-accept-the-cost", self.file.display());
        if self.report != report_beside(&self.file) {
            words.push_str(&format!(" --report {}", self.report.display()));
        }
        if let Some(records) = self.records {
            words.push_str(&format!(" --records {records}"));
        }
        if let Some(price) = self.price {
            words.push_str(&format!(" --price {price}"));
        }
        words
    }

    fn check(&self) -> Result<(), String> {
        match (self.resumes, self.tables.is_empty()) {
            (true, true) if self.experiments.is_empty() => Ok(()),
            (true, _) => {
                Err("with --resume the tables and the experiments are those of the file".to_owned())
            }
            (false, true) => Err("--table is missing: the ARN of an ID mapping table".to_owned()),
            (false, false) => check_tables(&self.tables),
        }
    }
}

fn report_beside(file: &Path) -> PathBuf {
    let run = file.file_stem().unwrap_or_default();
    file.with_file_name(format!("{}-report.json", run.to_string_lossy()))
}

fn is_role(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts[..] {
        ["arn", _, "iam", "", account, resource] => {
            account.len() == 12 && resource.len() > 5 && resource.starts_with("role/")
        }
        _ => false,
    }
}

/// Checks that the ARNs name different tables of one place.
pub fn check_tables(arns: &[String]) -> Result<(), String> {
    let place = |arn: &str| arn.split(':').take(5).collect::<Vec<_>>().join(":");
    for (index, arn) in arns.iter().enumerate() {
        target(arn)?;
        let is_allowed = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '-';
        if !region(arn).chars().all(is_allowed) {
            return Err(format!("{arn} has a Region of another form than eu-west-1"));
        }
        let before = arns.iter().take(index);
        if before.clone().any(|other| other == arn) {
            return Err(format!("{arn} is named twice"));
        }
        if before.clone().any(|other| place(other) != place(arn)) {
            return Err("the tables must be of one Region and account".to_owned());
        }
    }
    match arns.len() {
        1 | 2 => Ok(()),
        count => Err(format!("there are {count} tables, and may be two")),
    }
}
