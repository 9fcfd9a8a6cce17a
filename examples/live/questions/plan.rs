//! What a run would do, need and cost at most.

use std::fmt::Write;

use super::experiment::{Experiment, PlannedJob};
use super::facts::Table;

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
    pub jobs: usize,
    /// `None` if nobody knows how many records a job has.
    pub records: Option<u64>,
    pub price: f64,
}

impl Plan {
    pub fn new(
        experiments: &[Experiment],
        tables: &[Table],
        has_role: bool,
        price: Option<f64>,
        records: Option<u64>,
    ) -> Self {
        let planned = experiments
            .iter()
            .map(|experiment| (*experiment, experiment.jobs(tables, has_role)));
        let experiments: Vec<_> = planned.collect();
        let jobs: Vec<&PlannedJob> = experiments
            .iter()
            .filter_map(|(_, jobs)| jobs.as_ref().ok())
            .flatten()
            .collect();
        let of_job = |job: &&PlannedJob| {
            let known = tables.get(job.table).and_then(|table| table.records);
            // What the person says counts, unless a job had more.
            known.max(records)
        };
        Self {
            jobs: jobs.len(),
            records: jobs
                .iter()
                .map(of_job)
                .try_fold(0_u64, |sum, of_job| Some(sum.saturating_add(of_job?))),
            price: price.unwrap_or(PRICE),
            experiments,
        }
    }

    /// The highest cost in a few words.
    pub fn cost(&self) -> String {
        let (jobs, price) = (counted(self.jobs), self.price);
        match (self.jobs, self.records) {
            (0, _) => jobs,
            (_, None) => format!("{jobs} of unknown size: no earlier job tells, so give --records"),
            (_, Some(records)) => {
                let cost = records as f64 / 1_000.0 * price;
                format!(
                    "{jobs} with {records} records together: {cost:.2} USD at {price} USD for 1,000"
                )
            }
        }
    }

    pub fn describe(&self, tables: &[Table]) -> String {
        let mut text = String::new();
        // Writing to a text does not fail.
        for (number, table) in tables.iter().enumerate() {
            let records = match table.records {
                Some(records) => format!("its last jobs had at most {records} records"),
                None => "no job of its workflow tells how many records it had".to_owned(),
            };
            let _ = writeln!(
                text,
                "table {}: {}; {records}",
                number + 1,
                table.describe()
            );
        }
        for (experiment, jobs) in &self.experiments {
            let about = experiment.about();
            let count = match jobs {
                Ok(jobs) => format!("starts {}; needs {}", counted(jobs.len()), about.needs),
                Err(needs) => format!("not possible: {needs}"),
            };
            let _ = writeln!(text, "\n{}: {}", about.name, about.question);
            let _ = writeln!(text, "    {}", about.does);
            let _ = writeln!(text, "    {count}");
        }
        let _ = writeln!(text, "\nEach plan and run also needs {READS}.");
        let _ = write!(text, "\nAll together: {}.", self.cost());
        if self.jobs > 0 {
            let _ = write!(
                text,
                "\nThe price is a guess unless you gave --price: see AWS Entity Resolution's price list."
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
