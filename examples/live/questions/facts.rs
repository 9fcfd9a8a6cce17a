//! What is read before anything is started: the tables, their workflows, and how large their jobs were.

use id_mapping_populator::target::{TableArn, Target};

use super::call::{NotRead, Services, Workflow, is_one_under_way};

/// How many jobs that succeeded are read at most, until one has the count that is looked for.
const READ_JOBS: usize = 20;

/// A table of the run.
#[derive(Clone, Debug)]
pub struct Table {
    pub target: Target,
    pub workflow: Workflow,
    pub is_populated: bool,
    /// Whether a job of its workflow runs or is queued.
    pub is_job_under_way: bool,
    /// How many input records the last `BATCH` job of its workflow had. `None` if none of the last jobs tells. A job of
    /// another type may have read only what changed.
    pub records: Option<u64>,
}

impl Table {
    pub async fn read(services: &Services, target: Target) -> Result<Self, NotRead> {
        let (workflow, is_populated) = state(services, &target).await?;
        let jobs = services.jobs(&workflow.name).await?;
        let mut records = None;
        let succeeded = jobs.iter().filter(|job| job.status == "SUCCEEDED");
        for job in succeeded.take(READ_JOBS) {
            let (described, _) = services.job(&workflow.name, &job.id).await?;
            let is_batch = matches!(described.job_type.as_deref(), None | Some("BATCH"));
            records = described
                .input_records
                .filter(|count| is_batch && *count > 0);
            if records.is_some() {
                break;
            }
        }
        Ok(Self {
            target,
            workflow,
            is_populated,
            is_job_under_way: is_one_under_way(&jobs),
            records,
        })
    }

    /// Reads what a job, or a person, may have changed.
    pub async fn refresh(&mut self, services: &Services) -> Result<(), NotRead> {
        (self.workflow, self.is_populated) = state(services, &self.target).await?;
        Ok(())
    }

    /// The job type that fits and has the least to do.
    pub fn cheapest_type(&self) -> &'static str {
        match self.fits_all_types() {
            true => "INCREMENTAL",
            false => "BATCH",
        }
    }

    /// Whether it is known what `INCREMENTAL` and `DELETE_ONLY` do with this table.
    pub fn fits_all_types(&self) -> bool {
        self.is_populated && self.workflow.is_incremental && !self.workflow.is_provider
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

/// A table's workflow, and whether the table was ever populated.
async fn state(services: &Services, target: &Target) -> Result<(Workflow, bool), NotRead> {
    let (workflow, schema) = services.table(target).await?;
    let is_populated = services.is_populated(&schema).await?;
    Ok((services.workflow(&workflow).await?, is_populated))
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
