//! What a run would do, need and cost at most.

use std::fmt::Write;

use super::experiment::{Experiment, PlannedJob};
use super::facts::Table;
use super::record::Record;

/// What Entity Resolution bills for 1,000 records of a rule-based job, as people say. AWS's price list has the last word.
pub const PRICE: f64 = 0.25;

/// The permissions with which tables and jobs are read.
const READS: &str = "cleanrooms:GetIdMappingTable, cleanrooms:GetSchema, entityresolution:GetIdMappingWorkflow, \
                     entityresolution:ListIdMappingJobs and entityresolution:GetIdMappingJob";

/// The bounds of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The jobs that each experiment starts at most, or what it needs.
    pub experiments: Vec<(Experiment, Result<Vec<PlannedJob>, &'static str>)>,
    pub jobs: Vec<PlannedJob>,
    /// How many records a job of each table has. `None` if nobody knows.
    sizes: Vec<Option<u64>>,
    price: f64,
}

impl Plan {
    pub fn new(record: &Record, tables: &[Table], price: Option<f64>) -> Self {
        let open = record.open().into_iter();
        let planned = open.map(|experiment| (experiment, experiment.jobs(tables, record)));
        let experiments: Vec<_> = planned.collect();
        let jobs = experiments
            .iter()
            .filter_map(|(_, jobs)| jobs.as_ref().ok());
        Self {
            jobs: jobs.flatten().cloned().collect(),
            sizes: tables.iter().map(|table| table.records).collect(),
            price: price.unwrap_or(PRICE),
            experiments,
        }
    }

    /// How many records these jobs have together.
    pub fn records(&self, jobs: &[PlannedJob]) -> Option<u64> {
        let sizes = jobs
            .iter()
            .map(|job| self.sizes.get(job.table).copied().flatten());
        sizes
            .into_iter()
            .try_fold(0_u64, |sum, size| Some(sum.saturating_add(size?)))
    }

    /// The highest cost of these jobs in a few words.
    pub fn cost(&self, jobs: &[PlannedJob]) -> String {
        let (count, price) = (counted(jobs.len()), self.price);
        match (jobs.len(), self.records(jobs)) {
            (0, _) => count,
            (_, None) => {
                format!("{count} of unknown size: no earlier job tells, so give --records")
            }
            (_, Some(records)) => {
                // Rounded up to a cent, but for what binary fractions add.
                let cost = (records as f64 / 10.0 * price - 1e-6).ceil() / 100.0;
                format!("{count} with {records} records: {cost:.2} USD at {price} USD for 1,000")
            }
        }
    }

    pub fn describe(&self, tables: &[Table]) -> String {
        let mut text = String::new();
        // Writing to a text does not fail.
        for (number, table) in tables.iter().enumerate() {
            let records = match table.records {
                Some(records) => format!("a BATCH job has at most {records} records"),
                None => "no BATCH job of its workflow tells how many records it had".to_owned(),
            };
            let job = match table.is_job_under_way {
                true => "; a job is under way, for whose end a run waits",
                false => "",
            };
            let _ = writeln!(
                text,
                "table {}: {}; {records}{job}",
                number + 1,
                table.describe()
            );
        }
        for (experiment, jobs) in &self.experiments {
            let about = experiment.about();
            let count = match jobs {
                Ok(jobs) => format!("starts {}; needs {}", self.cost(jobs), about.needs),
                Err(needs) => format!("not possible: {needs}"),
            };
            let _ = writeln!(text, "\n{}: {}", about.name, about.question);
            let _ = writeln!(text, "    {}", about.does);
            let _ = writeln!(text, "    {count}");
        }
        let _ = writeln!(text, "\nEach plan and run also needs {READS}.");
        let _ = write!(text, "\nAll together: {}.", self.cost(&self.jobs));
        if !self.jobs.is_empty() {
            let _ = write!(
                text,
                "\nThat is an estimate: a job may have more records. The price is a guess unless you gave --price: see AWS \
                 Entity Resolution's price list."
            );
        }
        if tables.iter().any(|table| table.workflow.is_provider) {
            let _ = write!(
                text,
                "\nThe price is that of mapping by rules: a provider service costs what you agreed with it."
            );
        }
        text
    }
}

fn counted(jobs: usize) -> String {
    match jobs {
        0 => "no job".to_owned(),
        1 => "at most 1 job".to_owned(),
        _ => format!("at most {jobs} jobs"),
    }
}
