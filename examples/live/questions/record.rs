//! The file of a run: what was called and answered. It is written before and after each call that may start a job, so
//! that a run which was interrupted can go on. It has identifiers, and is for the person who runs it alone.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use id_mapping_populator::clock::timestamp;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::call::Observed;
use super::experiment::Experiment;
use super::report::Finding;

/// The text between the step of a call that was made again and the time of that call.
const EARLIER: &str = ", called at ";

/// What the file has.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    /// Makes the hashes of the report, so that nobody can try names.
    pub salt: Uuid,
    /// The ARNs of the tables.
    pub tables: Vec<String>,
    /// The role of the experiment that needs one.
    pub role: Option<String>,
    pub experiments: Vec<Experiment>,
    pub calls: Vec<Call>,
    pub findings: Vec<Finding>,
}

/// A call that may start a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Call {
    /// Which call of the run it is. No step is called twice.
    pub step: String,
    /// The index of the table.
    pub table: usize,
    /// What the table was at the time.
    pub table_was: String,
    pub job_type: String,
    #[serde(with = "moment")]
    pub called_at: OffsetDateTime,
    /// The ids of the jobs that the workflow had before.
    pub listed_before: Vec<String>,
    /// `None` until there is an answer, or after an interruption: then a job may run.
    pub observed: Option<Observed>,
    /// Clean Rooms' id of the job.
    pub job: Option<String>,
    /// Entity Resolution's id of the job, once it was seen.
    pub entity_resolution_job: Option<String>,
    /// How the job ended, or that there is none.
    pub ended: Option<String>,
}

impl Call {
    /// Whether a job may run because of it.
    pub fn may_run(&self) -> bool {
        self.ended.is_none() && !self.is_refused()
    }

    fn is_refused(&self) -> bool {
        self.observed.as_ref().is_some_and(Observed::is_refusal)
    }

    pub fn is_of(&self, experiment: Experiment) -> bool {
        self.step.starts_with(&experiment.step(""))
    }

    /// The job's id as Entity Resolution may know it.
    pub fn job_without_hyphens(&self) -> Option<String> {
        self.job.as_ref().map(|job| job.replace('-', ""))
    }

    /// The job's ids as Entity Resolution may know it.
    pub fn ids(&self) -> Vec<String> {
        let seen = self.entity_resolution_job.clone();
        self.job_without_hyphens().into_iter().chain(seen).collect()
    }

    /// The answer in a few words.
    pub fn answer(&self) -> String {
        let observed = self.observed.as_ref();
        observed.map_or_else(|| "no answer".to_owned(), Observed::answer)
    }
}

impl Record {
    pub fn read(file: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(file).map_err(|error| fault(file, "be read", &error))?;
        serde_json::from_str(&text).map_err(|error| fault(file, "be read", &error))
    }

    /// Writes it to another file first, so that the file is always whole.
    pub fn write(&self, file: &Path) -> Result<(), String> {
        let text = serde_json::to_vec_pretty(self).map_err(|e| fault(file, "be written", &e))?;
        let part = beside(file, ".part");
        let written = || {
            let mut new = File::create(&part)?;
            new.write_all(&text)?;
            new.sync_all()?;
            fs::rename(&part, file)
        };
        written().map_err(|error| fault(file, "be written", &error))
    }

    /// The file for a run that goes on: what is not settled is asked again.
    pub fn reopened(mut self) -> Self {
        self.findings.retain(|finding| finding.is_settled);
        self
    }

    /// Lets these calls be made again: forgets those that were refused, and gives the steps of the others another name.
    /// Returns whether there were any.
    pub fn free(&mut self, is_again: impl Fn(&Call) -> bool) -> bool {
        let were_any = self.calls.iter().any(&is_again);
        self.calls
            .retain(|call| !call.is_refused() || !is_again(call));
        for call in self.calls.iter_mut().filter(|call| is_again(call)) {
            if !call.step.contains(EARLIER) {
                let called_at = timestamp(call.called_at);
                call.step.push_str(&format!("{EARLIER}{called_at}"));
            }
        }
        were_any
    }

    /// The calls whose answer was lost, and whose job may run.
    pub fn lost_steps(&self) -> Vec<String> {
        self.steps(|call| call.may_run() && call.job.is_none())
    }

    pub fn call(&self, step: &str) -> Option<&Call> {
        self.calls.iter().find(|call| call.step == step)
    }

    pub fn call_mut(&mut self, step: &str) -> Option<&mut Call> {
        self.calls.iter_mut().find(|call| call.step == step)
    }

    /// The experiments without a finding.
    pub fn open(&self) -> Vec<Experiment> {
        let has_finding = |one: &Experiment| {
            let mut findings = self.findings.iter();
            findings.any(|finding| finding.experiment == *one)
        };
        let experiments = self.experiments.iter().copied();
        experiments.filter(|one| !has_finding(one)).collect()
    }

    /// The steps whose jobs may run.
    pub fn running_steps(&self) -> Vec<String> {
        self.steps(Call::may_run)
    }

    fn steps(&self, of: impl Fn(&Call) -> bool) -> Vec<String> {
        let calls = self.calls.iter().filter(|call| of(call));
        calls.map(|call| call.step.clone()).collect()
    }
}

/// Keeps other processes from the file of a run, until the result is dropped or the process ends.
pub fn lock(file: &Path) -> Result<File, String> {
    let lock = beside(file, ".lock");
    let opened = File::create(&lock).map_err(|error| fault(&lock, "be written", &error))?;
    match opened.try_lock() {
        Ok(()) => Ok(opened),
        Err(TryLockError::WouldBlock) => Err(format!("another process has {}", file.display())),
        Err(TryLockError::Error(error)) => Err(fault(&lock, "be locked", &error)),
    }
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut path = PathBuf::from(file);
    path.as_mut_os_string().push(suffix);
    path
}

fn fault(file: &Path, what: &str, error: &dyn std::fmt::Display) -> String {
    format!("{} cannot {what}: {error}", file.display())
}

/// Times as RFC 3339.
mod moment {
    use serde::de::Error;
    use serde::{Deserializer, Serializer};

    use super::*;

    pub fn serialize<S: Serializer>(at: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&timestamp(*at))
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<OffsetDateTime, D::Error> {
        let text = String::deserialize(from)?;
        OffsetDateTime::parse(&text, &Rfc3339).map_err(D::Error::custom)
    }
}
