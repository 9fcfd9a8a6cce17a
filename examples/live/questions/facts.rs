//! What is read before anything is started: the tables, their workflows, and how large their jobs were.

use id_mapping_populator::target::{TableArn, Target};

use super::call::{NotRead, Services, Workflow, is_over};

/// Of how many ended jobs the counts are read.
const READ_JOBS: usize = 5;

/// The job types that fit only some tables.
const LIMITED_TYPES: [&str; 2] = ["INCREMENTAL", "DELETE_ONLY"];

/// A table of the run.
#[derive(Clone, Debug)]
pub struct Table {
    pub target: Target,
    pub workflow: Workflow,
    pub is_populated: bool,
    /// The most input records that one of its last jobs had. `None` if no job of the workflow has counts.
    pub records: Option<u64>,
}

impl Table {
    pub async fn read(services: &Services, target: Target) -> Result<Self, NotRead> {
        let (workflow, schema) = services.table(&target).await?;
        let is_populated = services.is_populated(&schema).await?;
        let workflow = services.workflow(&workflow).await?;
        let jobs = services.jobs(&workflow.name).await?;
        let mut records = None;
        for job in jobs
            .iter()
            .filter(|job| is_over(&job.status))
            .take(READ_JOBS)
        {
            let (described, _) = services.job(&workflow.name, &job.id).await?;
            records = records.max(described.input_records);
        }
        Ok(Self {
            target,
            workflow,
            is_populated,
            records,
        })
    }

    /// The job type that fits and has the least to do.
    pub fn cheapest_type(&self) -> &'static str {
        match self.fits_all_types() {
            true => "INCREMENTAL",
            false => "BATCH",
        }
    }

    fn fits_all_types(&self) -> bool {
        self.is_populated && self.workflow.is_incremental && !self.workflow.is_provider
    }

    /// The job types for which nobody says what they do with this table.
    pub fn unfit_types(&self) -> &'static [&'static str] {
        match self.fits_all_types() {
            true => &[],
            false => &LIMITED_TYPES,
        }
    }

    /// What it is, for people.
    pub fn describe(&self) -> String {
        let mapping = match self.workflow.is_provider {
            true => "a provider service",
            false => "rules",
        };
        let incremental = match self.workflow.is_incremental {
            true => "incremental",
            false => "not incremental",
        };
        let populated = match self.is_populated {
            true => "populated",
            false => "never populated",
        };
        format!("maps by {mapping}, {incremental}, {populated}")
    }
}

/// The Region of an ARN.
pub fn region(arn: &str) -> &str {
    arn.split(':').nth(3).unwrap_or_default()
}

/// The table that an ARN names.
pub fn target(arn: &str) -> Result<Target, String> {
    let parsed = TableArn::parse(arn).map_err(|reason| format!("{arn} {reason}"))?;
    Ok(parsed.target)
}
