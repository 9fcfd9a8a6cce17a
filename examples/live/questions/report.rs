//! What a run found, as JSON to pass on and as a table for people. It has no account number, no name and no ARN.

use std::fmt::Write;

use id_mapping_populator::clock::timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::call::{Observed, has_account};
use super::experiment::Experiment;
use super::facts::region;
use super::record::Record;

/// The answer to an experiment's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    #[serde(rename = "branch A")]
    A,
    #[serde(rename = "branch B")]
    B,
    #[serde(rename = "neither: look")]
    Neither,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "branch A",
            Self::B => "branch B",
            Self::Neither => "neither: look",
        }
    }
}

/// What an experiment found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Finding {
    pub experiment: Experiment,
    pub verdict: Verdict,
    /// The answer in a sentence.
    pub answer: String,
    pub observations: Vec<Observed>,
    /// If not, a run that goes on asks again.
    pub is_settled: bool,
}

impl Finding {
    pub fn new(
        experiment: Experiment,
        verdict: Verdict,
        answer: impl Into<String>,
        observations: Vec<Observed>,
    ) -> Self {
        Self {
            experiment,
            verdict,
            answer: answer.into(),
            observations,
            is_settled: true,
        }
    }

    /// An experiment that this run cannot ask.
    pub fn not_possible(experiment: Experiment, needs: &str) -> Self {
        let answer = format!("not asked: {needs}");
        Self::new(experiment, Verdict::Neither, answer, Vec::new()).unsettled()
    }

    /// An experiment that was refused, with the permission that it needs.
    pub fn refused(experiment: Experiment, observations: Vec<Observed>) -> Self {
        let refused = observations.last();
        let permission = refused.and_then(|refused| refused.missing_permission.clone());
        let answer = match (permission, refused) {
            (Some(permission), _) => format!("not settled: the caller needs {permission}"),
            (None, Some(refused)) => {
                let (operation, answer) = (&refused.operation, refused.answer());
                let is_busy = match refused.is_busy() {
                    true => "; if a job that this run did not start is under way, wait for its end",
                    false => "",
                };
                format!("not settled: {operation}: {answer}{is_busy}")
            }
            (None, None) => "not known: the run was interrupted during the call".to_owned(),
        };
        Self::new(experiment, Verdict::Neither, answer, observations).unsettled()
    }

    /// The same, which a run that goes on asks again.
    pub fn unsettled(self) -> Self {
        Self {
            is_settled: false,
            ..self
        }
    }
}

/// The report, which examples/live/report.schema.json describes.
pub fn json(record: &Record, now: OffsetDateTime) -> Value {
    let region = record.tables.first().map(|arn| region(arn));
    let experiments = record.findings.iter().map(|finding| {
        json!({
            "name": finding.experiment.name(),
            "question": finding.experiment.about().question,
            "branchA": finding.experiment.about().branch_a,
            "branchB": finding.experiment.about().branch_b,
            "verdict": finding.verdict,
            "answer": finding.answer,
            "observations": finding.observations,
        })
    });
    let experiments: Vec<Value> = experiments.collect();
    let jobs = record.calls.iter().filter_map(|call| {
        let id = call.job.as_ref().or(call.entity_resolution_job.as_ref())?;
        Some(json!({
            "id": hash(record, id),
            "table": hash(record, record.tables.get(call.table)?),
            "step": call.step,
            "jobType": call.job_type,
            "end": call.ended,
        }))
    });
    json!({
        "version": "1",
        "generatedAt": timestamp(now),
        "region": region,
        "experiments": experiments,
        "notAnswered": record.open().into_iter().map(Experiment::name).collect::<Vec<_>>(),
        "jobs": jobs.collect::<Vec<_>>(),
    })
}

/// Replaces an identifier. The same identifier has the same hash in one report, and another one in another report.
fn hash(record: &Record, identifier: &str) -> String {
    let hash = uuid::Uuid::new_v5(&record.salt, identifier.as_bytes());
    hash.simple().to_string().chars().take(10).collect()
}

/// An identifier that a report has, which it must not have.
pub fn identifier(report: &str, record: &Record) -> Option<String> {
    let jobs = record
        .calls
        .iter()
        .flat_map(|call| [&call.job, &call.entity_resolution_job]);
    let accounts = record.tables.iter().filter_map(|arn| arn.split(':').nth(4));
    let ids = record
        .tables
        .iter()
        .flat_map(|arn| arn.split('/').skip(1).step_by(2));
    let account = has_account(report).then(|| "12 digits in a row".to_owned());
    let mut known = jobs
        .flatten()
        .map(String::as_str)
        .chain(accounts)
        .chain(ids)
        .chain(["arn:"]);
    let known = known.find(|one| report.contains(one));
    known.map(str::to_owned).or(account)
}

/// The table for people.
pub fn table(record: &Record) -> String {
    let mut text = String::new();
    for finding in &record.findings {
        let about = finding.experiment.about();
        let branch = match finding.verdict {
            Verdict::A => format!(": {}", about.branch_a),
            Verdict::B => format!(": {}", about.branch_b),
            Verdict::Neither if finding.is_settled => {
                " at the observations in the report".to_owned()
            }
            Verdict::Neither => " at the reason".to_owned(),
        };
        let name = finding.experiment.name();
        let verdict = finding.verdict.as_str();
        // Writing to a text does not fail.
        let _ = writeln!(text, "{name:<18}{}", about.question);
        let _ = writeln!(text, "{:<18}{verdict}{branch}", "");
        let _ = writeln!(text, "{:<18}{}", "", finding.answer);
    }
    for experiment in record.open() {
        let _ = writeln!(text, "{:<18}not answered", experiment.name());
    }
    text
}
