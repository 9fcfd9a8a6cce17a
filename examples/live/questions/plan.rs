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
    pub jobs: usize,
    /// `None` if nobody knows how many records a job has.
    pub records: Option<u64>,
    pub price: f64,
}

impl Plan {
    pub fn new(
        record: &Record,
        tables: &[Table],
        price: Option<f64>,
        records: Option<u64>,
    ) -> Self {
        let open = record.open().into_iter();
        let planned = open.map(|experiment| (experiment, experiment.jobs(tables, record)));
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
                // Rounded up to a cent, but for what binary fractions add.
                let cost = (records as f64 / 10.0 * price - 1e-6).ceil() / 100.0;
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
                Some(records) => format!("its last BATCH job had {records} records"),
                None => "no BATCH job of its workflow tells how many records it had".to_owned(),
            };
            let job = match table.is_job_under_way {
                true => "; a job is under way",
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
