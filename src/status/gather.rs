//! Reads what a report shows: in parallel, within a bounded time, and as far as it can be read.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::aws::ReadError;
use crate::aws::entity_resolution::{JobList, Table, Workflows};
use crate::aws::queue::{MessageCounts, Queue};
use crate::aws::services::Services;
use crate::choice::Workflow;
use crate::config::Settings;
use crate::ledger::{Record, Waiters};
use crate::target::{AwsLocation, Target};

/// How long a call may take, its retries included.
const MAX_CALL: Duration = Duration::from_secs(3);

/// How many calls are made at the same time. The services allow few calls a second.
const MAX_CALLS: usize = 8;

/// The time that is kept for the answer.
const RESERVE: Duration = Duration::from_millis(500);

/// What was read.
pub(super) struct Readings {
    pub(super) waiters: Result<Waiters, ReadError>,
    pub(super) waiting_queue: Option<QueueReading>,
    pub(super) dead_letter_queue: Option<QueueReading>,
    pub(super) tables: Vec<TableReading>,
    /// By their names.
    pub(super) workflows: BTreeMap<String, WorkflowReading>,
}

/// What was read of a queue.
pub(super) struct QueueReading {
    pub(super) url: String,
    pub(super) counts: Result<MessageCounts, ReadError>,
}

/// What was read of a configured table.
pub(super) struct TableReading {
    pub(super) target: Target,
    pub(super) record: Result<Record, ReadError>,
    pub(super) table: Result<Table, ReadError>,
    /// Whether it was ever populated. `None` if the table could not be read.
    pub(super) populated: Option<Result<bool, ReadError>>,
}

/// What was read of a workflow.
pub(super) struct WorkflowReading {
    pub(super) arn: String,
    pub(super) workflow: Result<Workflow, ReadError>,
    pub(super) jobs: Result<JobList, ReadError>,
    /// Whether one of its jobs could be read by its id. `None` if it has none.
    pub(super) job: Option<Result<(), ReadError>>,
}

/// The time and the number of calls that all reads share.
struct Budget {
    until: Instant,
    calls: Semaphore,
}

impl Budget {
    async fn call<T>(
        &self,
        operation: &str,
        work: impl Future<Output = Result<T, ReadError>>,
    ) -> Result<T, ReadError> {
        let not_read = |limit: &str| ReadError::unclear(format!("{operation} failed: {limit}"));
        let turn = tokio::time::timeout_at(self.until, self.calls.acquire());
        let Ok(_turn) = turn.await else {
            return Err(not_read("the time for reading is over"));
        };
        let limit = self.until.min(Instant::now() + MAX_CALL);
        // Boxed: an SDK call's future has tens of kilobytes.
        let work = tokio::time::timeout_at(limit, Box::pin(work));
        work.await
            .unwrap_or_else(|_| Err(not_read("there was no answer in time")))
    }
}

/// Reads everything, and of the jobs at least those that began after `since`.
pub(super) async fn read(
    services: &Services,
    settings: &Settings,
    location: &AwsLocation,
    since: OffsetDateTime,
    remaining: Duration,
) -> Readings {
    let budget = &Budget {
        until: Instant::now() + remaining.saturating_sub(RESERVE),
        calls: Semaphore::new(MAX_CALLS),
    };
    let targets = || settings.id_mapping_table_arns.iter().map(|arn| &arn.target);
    let ledger = &services.ledger;
    let records = join_all(targets().map(|target| async {
        let arn = location.table_arn(target);
        budget.call("GetItem", ledger.look_at(&arn)).await
    }));
    let workflows = &services.workflows;
    let tables = join_all(targets().map(|target| described(budget, workflows, target)));
    let tables = async {
        let tables = tables.await;
        let workflows = read_workflows(budget, workflows, &tables, since).await;
        (tables, workflows)
    };
    let ((tables, workflows), records, waiters, waiting_queue, dead_letter_queue) = tokio::join!(
        tables,
        records,
        budget.call("GetItem", ledger.look_at_waiters()),
        read_queue(budget, services.waiting_queue.as_ref()),
        read_queue(budget, services.dead_letter_queue.as_ref()),
    );
    let tables = targets().zip(records).zip(tables);
    let tables = tables.map(|((target, record), (table, populated))| TableReading {
        target: target.clone(),
        record,
        table,
        populated,
    });
    Readings {
        waiters,
        waiting_queue,
        dead_letter_queue,
        tables: tables.collect(),
        workflows,
    }
}

type Described = (Result<Table, ReadError>, Option<Result<bool, ReadError>>);

async fn described(budget: &Budget, workflows: &Workflows, target: &Target) -> Described {
    let table = budget
        .call("GetIdMappingTable", workflows.get_table(target))
        .await;
    let populated = match &table {
        Ok(table) => Some(
            budget
                .call("GetSchema", workflows.is_populated(table))
                .await,
        ),
        Err(_) => None,
    };
    (table, populated)
}

async fn read_queue(budget: &Budget, queue: Option<&Queue>) -> Option<QueueReading> {
    let queue = queue?;
    Some(QueueReading {
        url: queue.url().to_owned(),
        counts: budget.call("GetQueueAttributes", queue.counts()).await,
    })
}

/// Reads the workflows of these tables, each once.
async fn read_workflows(
    budget: &Budget,
    workflows: &Workflows,
    tables: &[Described],
    since: OffsetDateTime,
) -> BTreeMap<String, WorkflowReading> {
    let named: BTreeMap<&str, &str> = tables
        .iter()
        .filter_map(|(table, _)| table.as_ref().ok())
        .map(|table| (&*table.workflow, &*table.workflow_arn))
        .collect();
    let read = named.into_iter().map(|(name, arn)| async move {
        let (workflow, (jobs, job)) = tokio::join!(
            budget.call("GetIdMappingWorkflow", workflows.get_workflow(name)),
            read_jobs(budget, workflows, name, since),
        );
        let reading = WorkflowReading {
            arn: arn.to_owned(),
            workflow,
            jobs,
            job,
        };
        (name.to_owned(), reading)
    });
    join_all(read).await.into_iter().collect()
}

/// Reads the jobs of a workflow, and meanwhile one of them by its id.
async fn read_jobs(
    budget: &Budget,
    workflows: &Workflows,
    name: &str,
    since: OffsetDateTime,
) -> (Result<JobList, ReadError>, Option<Result<(), ReadError>>) {
    let first = budget
        .call("ListIdMappingJobs", workflows.list_first(name))
        .await;
    let pages = match first {
        Ok(pages) => pages,
        Err(error) => return (Err(error), None),
    };
    let one = pages.one();
    let job = async {
        let check = workflows.check_job(name, one.as_deref()?);
        Some(budget.call("GetIdMappingJob", check).await)
    };
    let jobs = workflows.list_until(name, pages, since, budget.until, MAX_CALL);
    let (jobs, job) = tokio::join!(jobs, job);
    (Ok(jobs), job)
}
