//! The experiments: each asks one question that AWS's documentation leaves open.

use serde::{Deserialize, Serialize};

use super::facts::Table;
use super::record::Record;
use super::report::Finding;
use super::run::{Run, Stop};
use super::{call_rate, delete_event, job_id, job_list, second_call, start_permission, unfit_type};

/// An experiment. They run in this order: a job of another experiment would populate a table that was never populated,
/// and many calls at once may throttle those of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Experiment {
    DeleteEvent,
    UnfitType,
    JobList,
    JobId,
    SecondCall,
    StartPermission,
    CallRate,
}

/// What an experiment is.
pub struct About {
    pub name: &'static str,
    pub question: &'static str,
    pub branch_a: &'static str,
    pub branch_b: &'static str,
    pub does: &'static str,
    /// The permissions that it needs besides those of the plan.
    pub needs: &'static str,
}

/// What an experiment would start at most.
pub type Jobs = Result<Vec<PlannedJob>, &'static str>;

/// A job that an experiment may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedJob {
    /// The index of the table.
    pub table: usize,
    pub job_type: &'static str,
}

impl Experiment {
    pub const ALL: [Self; 7] = [
        Self::DeleteEvent,
        Self::UnfitType,
        Self::JobList,
        Self::JobId,
        Self::SecondCall,
        Self::StartPermission,
        Self::CallRate,
    ];

    pub fn about(self) -> &'static About {
        match self {
            Self::DeleteEvent => &delete_event::ABOUT,
            Self::CallRate => &call_rate::ABOUT,
            Self::JobList => &job_list::ABOUT,
            Self::JobId => &job_id::ABOUT,
            Self::SecondCall => &second_call::ABOUT,
            Self::StartPermission => &start_permission::ABOUT,
            Self::UnfitType => &unfit_type::ABOUT,
        }
    }

    pub fn name(self) -> &'static str {
        self.about().name
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|experiment| experiment.name() == name)
    }

    /// The name of one of its calls.
    pub fn step(self, call: &str) -> String {
        format!("{}: {call}", self.name())
    }

    /// The jobs that it may start, or what it needs to be possible.
    pub fn jobs(self, tables: &[Table], record: &Record) -> Jobs {
        let cheapest = tables.first().map(|table| PlannedJob {
            table: 0,
            job_type: table.cheapest_type(),
        });
        let has_job = |call| {
            let call = record.call(&self.step(call));
            call.is_some_and(|call| call.job.is_some())
        };
        let one = |is_started| match is_started {
            true => Vec::new(),
            false => cheapest.clone().into_iter().collect(),
        };
        match self {
            Self::DeleteEvent | Self::CallRate => Ok(Vec::new()),
            Self::JobList => Ok(one(has_job(job_list::CALL))),
            Self::JobId => Ok(one(job_id::known_job(record).is_some())),
            Self::SecondCall => Ok(one(false)
                .into_iter()
                .chain(second_call::second(tables))
                .collect()),
            Self::StartPermission if record.role.is_some() => {
                Ok(one(has_job(start_permission::CALL)))
            }
            Self::StartPermission => {
                Err("it needs --role: a role that you may assume, and that may populate the table")
            }
            Self::UnfitType => unfit_type::jobs(tables, record),
        }
    }

    /// Runs it. It starts no other jobs than these.
    pub async fn run(self, run: &mut Run<'_>, planned: &[PlannedJob]) -> Result<Finding, Stop> {
        match self {
            Self::DeleteEvent => delete_event::run(run).await,
            Self::CallRate => call_rate::run(run).await,
            Self::JobList => job_list::run(run).await,
            Self::JobId => job_id::run(run).await,
            Self::SecondCall => second_call::run(run).await,
            Self::StartPermission => start_permission::run(run).await,
            Self::UnfitType => unfit_type::run(run, planned).await,
        }
    }
}
