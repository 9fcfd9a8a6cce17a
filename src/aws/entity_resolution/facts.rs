//! Reads the facts by which `AUTO` chooses, and caches them.
//!
//! Facts that rarely change are cached for a while, so that a warm invocation reads nothing. The fact that a table was
//! never populated is not cached, because the next job changes it.

use std::cmp::Reverse;
use std::sync::PoisonError;
use std::time::Instant;

use aws_sdk_entityresolution::types::JobStatus;
use time::{Duration, OffsetDateTime};

use super::reads::{CachedFacts, Listed, Table, Workflows, is_batch, is_foreign};
use crate::aws::call::{ReadError, TimedOut, within};
use crate::choice::{Fact, Facts, Mapping, MissingFact, Read, Workflow};
use crate::period::Period;
use crate::target::Target;

/// How long a fact is cached.
const MAX_AGE: Duration = Duration::minutes(15);

/// The largest number of tables whose facts are cached. With one more table, the cache is cleared first.
const MAX_TABLES: usize = 1_000;

/// The largest number of jobs of a workflow whose type is read, one by one, if the ledger knows no `BATCH`. The newest
/// jobs are read.
const MAX_RECENT_JOBS: usize = 25;

/// What a dry run reads of a table.
#[derive(Debug)]
pub struct TableState {
    /// Its workflow.
    pub workflow: Fact<Workflow>,
    /// Whether a job of the workflow runs or is queued.
    pub job_running: Fact<bool>,
    /// What does not exist, if something does not.
    pub absent: Option<Absent>,
}

/// What does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The ID mapping table.
    Table,
    /// The table's ID mapping workflow.
    Workflow,
}

/// The time that all reads together may take.
#[derive(Clone, Copy)]
struct Budget {
    began: Instant,
    timeout: std::time::Duration,
}

impl Budget {
    fn new(timeout: std::time::Duration) -> Self {
        Self {
            began: Instant::now(),
            timeout,
        }
    }

    async fn limit<T>(
        self,
        operation: &str,
        read: impl Future<Output = Result<T, ReadError>>,
    ) -> Result<T, ReadError> {
        let remaining = self.timeout.saturating_sub(self.began.elapsed());
        let read = within(remaining, async { Ok::<_, TimedOut>(read.await) });
        read.await.unwrap_or_else(|timed_out| {
            Err(ReadError::unclear(format!(
                "{operation} failed: {timed_out}"
            )))
        })
    }
}

impl Workflows {
    /// Reads the facts by which `AUTO` chooses, unless they are cached. The workflow's jobs are read only if a full
    /// refresh may be due and the ledger knows no `BATCH`.
    pub async fn facts(
        &self,
        target: &Target,
        last_batch: Option<OffsetDateTime>,
        full_refresh_every: Option<&Period>,
        now: OffsetDateTime,
        timeout: std::time::Duration,
    ) -> Facts {
        let budget = Budget::new(timeout);
        let known = |value| Ok(Read { value, at: now });
        let table = match budget
            .limit("GetIdMappingTable", self.table(target, now))
            .await
        {
            Ok(table) => table,
            Err(error) => {
                return Facts {
                    workflow: Err(missing(&error)),
                    populated: Err(missing(&error)),
                    last_batch: known(last_batch),
                };
            }
        };
        let (workflow, populated) = tokio::join!(
            budget.limit("GetIdMappingWorkflow", self.workflow(target, &table, now)),
            budget.limit("GetSchema", self.populated(target, &table.value, now)),
        );
        let last_batch_matters = workflow.as_ref().is_ok_and(|workflow| {
            workflow.value.mapping == Mapping::RuleBased && workflow.value.incremental
        }) && !populated.as_ref().is_ok_and(|populated| !populated.value);
        let last_batch = match full_refresh_every {
            Some(every) if last_batch.is_none() && last_batch_matters => {
                let since = now - every.duration;
                let read = self.recent_batch(target, &table.value.workflow, since, now);
                fact(
                    budget
                        .limit("ListIdMappingJobs and GetIdMappingJob", read)
                        .await,
                )
            }
            _ => known(last_batch),
        };
        Facts {
            workflow: fact(workflow),
            populated: fact(populated),
            last_batch,
        }
    }

    /// Reads a table, its workflow, and whether a job of it runs, for a dry run. Nothing comes from the cache.
    pub async fn state(
        &self,
        target: &Target,
        now: OffsetDateTime,
        timeout: std::time::Duration,
    ) -> TableState {
        let budget = Budget::new(timeout);
        self.forget(target);
        let table = budget.limit("GetIdMappingTable", self.table(target, now));
        let table = match table.await {
            Ok(table) => table,
            Err(error) => {
                return TableState {
                    workflow: Err(missing(&error)),
                    job_running: Err(missing(&error)),
                    absent: error.is_absent.then_some(Absent::Table),
                };
            }
        };
        let (workflow, jobs) = tokio::join!(
            budget.limit("GetIdMappingWorkflow", self.workflow(target, &table, now)),
            budget.limit("ListIdMappingJobs", self.list_jobs(&table.value.workflow)),
        );
        let is_absent = workflow.as_ref().is_err_and(|error| error.is_absent);
        TableState {
            workflow: fact(workflow),
            job_running: fact(jobs.map(|jobs| Read {
                value: jobs.iter().any(|job| !job.has_ended()),
                at: now,
            })),
            absent: is_absent.then_some(Absent::Workflow),
        }
    }

    /// Removes what is cached of a table.
    pub fn forget(&self, target: &Target) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.remove(target);
    }

    pub(super) async fn table(
        &self,
        target: &Target,
        now: OffsetDateTime,
    ) -> Result<Read<Table>, ReadError> {
        if let Some(cached) = self.cached(target, now, |cached| &cached.table) {
            return Ok(cached);
        }
        let read = Read {
            value: self.get_table(target).await?,
            at: now,
        };
        self.store(target, |cached| cached.table = Some(read.clone()));
        Ok(read)
    }

    async fn workflow(
        &self,
        target: &Target,
        table: &Read<Table>,
        now: OffsetDateTime,
    ) -> Result<Read<Workflow>, ReadError> {
        if let Some(cached) = self.cached(target, now, |cached| &cached.workflow) {
            return Ok(cached);
        }
        let read = Read {
            value: self.get_workflow(&table.value.workflow).await?,
            // The fact is as old as the name of the workflow.
            at: table.at,
        };
        self.store(target, |cached| cached.workflow = Some(read.clone()));
        Ok(read)
    }

    async fn populated(
        &self,
        target: &Target,
        table: &Table,
        now: OffsetDateTime,
    ) -> Result<Read<bool>, ReadError> {
        if let Some(cached) = self.cached(target, now, |cached| &cached.populated) {
            return Ok(cached);
        }
        let read = Read {
            value: self.is_populated(table).await?,
            at: now,
        };
        if read.value {
            self.store(target, |cached| cached.populated = Some(read.clone()));
        }
        Ok(read)
    }

    /// Returns when the newest `BATCH` of the workflow started that did not fail. Jobs that began before `since` are left
    /// out.
    async fn recent_batch(
        &self,
        target: &Target,
        workflow: &str,
        since: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<Read<Option<OffsetDateTime>>, ReadError> {
        if let Some(cached) = self.cached(target, now, |cached| &cached.recent_batch) {
            return Ok(cached);
        }
        let mut jobs = self.list_jobs(workflow).await?;
        // A queued job without a start time begins later.
        let began = |job: &Listed| job.began.unwrap_or(now);
        jobs.retain(|job| began(job) >= since && job.status != JobStatus::Failed);
        jobs.sort_by_key(|job| Reverse(began(job)));
        let mut value = None;
        for listed in jobs.into_iter().take(MAX_RECENT_JOBS) {
            let job = self.get_job(workflow, &listed.id).await?;
            if is_batch(&job) && !is_foreign(&job) {
                value = Some(began(&listed));
                break;
            }
        }
        let read = Read { value, at: now };
        self.store(target, |cached| cached.recent_batch = Some(read.clone()));
        Ok(read)
    }

    fn cached<T: Clone>(
        &self,
        target: &Target,
        now: OffsetDateTime,
        select: impl Fn(&CachedFacts) -> &Option<Read<T>>,
    ) -> Option<Read<T>> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let read = select(cache.get(target)?).as_ref()?;
        (now - read.at < MAX_AGE).then(|| read.clone())
    }

    fn store(&self, target: &Target, change: impl FnOnce(&mut CachedFacts)) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MAX_TABLES && !cache.contains_key(target) {
            cache.clear();
        }
        change(cache.entry(target.clone()).or_default());
    }
}

fn fact<T>(read: Result<Read<T>, ReadError>) -> Fact<T> {
    read.map_err(|error| missing(&error))
}

fn missing(error: &ReadError) -> MissingFact {
    MissingFact {
        why: error.to_string(),
        transient: error.permission.is_none() && !error.is_absent,
    }
}
