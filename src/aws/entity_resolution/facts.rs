//! The facts that `AUTO` chooses by, and which of them are kept for the life of the execution
//! environment.
//!
//! What rarely changes is kept for a while, so that a warm invocation reads nothing. That a table was
//! never populated is not kept: the next job changes it.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Instant;

use aws_sdk_entityresolution::types::JobStatus;
use time::{Duration, OffsetDateTime};

use super::{Listed, Table, Unread, Workflows, is_batch, is_foreign, unclear};
use crate::choice::{Fact, Facts, Mapping, Missing, Read, Workflow};
use crate::period::Period;
use crate::target::Target;

/// How long a fact is kept.
const MAX_AGE: Duration = Duration::minutes(15);

/// The tables of which facts are kept; with one more all begin anew.
const MAX_TABLES: usize = 1_000;

/// The newest jobs of a workflow that are asked for their type, one by one, when no `BATCH` is known.
const MAX_RECENT_JOBS: usize = 25;

/// What was read of each table.
pub(super) type Kept = HashMap<Target, Facets>;

#[derive(Debug, Default)]
pub(super) struct Facets {
    table: Option<Read<Table>>,
    workflow: Option<Read<Workflow>>,
    populated: Option<Read<bool>>,
    recent_batch: Option<Read<Option<OffsetDateTime>>>,
}

/// How long reading may take, from when on.
#[derive(Clone, Copy)]
struct Until {
    begun: Instant,
    within: std::time::Duration,
}

impl Until {
    fn now(within: std::time::Duration) -> Self {
        Self {
            begun: Instant::now(),
            within,
        }
    }

    async fn bound<T>(
        self,
        operation: &str,
        read: impl Future<Output = Result<T, Unread>>,
    ) -> Result<T, Unread> {
        let left = self.within.saturating_sub(self.begun.elapsed());
        tokio::time::timeout(left, read).await.unwrap_or_else(|_| {
            let within = self.within.as_millis();
            Err(unclear(format!(
                "{operation} failed: no answer within {within} ms"
            )))
        })
    }
}

impl Workflows {
    /// Reads what `AUTO` chooses by, or takes what was kept. The ledger's last `BATCH` goes before
    /// the workflow's jobs, which are asked only where a full refresh may be due.
    pub async fn facts(
        &self,
        target: &Target,
        last_batch: Option<OffsetDateTime>,
        full_refresh_every: Option<&Period>,
        now: OffsetDateTime,
        within: std::time::Duration,
    ) -> Facts {
        let until = Until::now(within);
        let known = |value| Ok(Read { value, at: now });
        let table = match until
            .bound("GetIdMappingTable", self.table(target, now))
            .await
        {
            Ok(table) => table,
            Err(why) => {
                return Facts {
                    workflow: Err(missing(&why)),
                    populated: Err(missing(&why)),
                    last_batch: known(last_batch),
                    busy: None,
                };
            }
        };
        let (workflow, populated) = tokio::join!(
            until.bound("GetIdMappingWorkflow", self.workflow(target, &table, now)),
            until.bound("GetSchema", self.populated(target, &table.value, now)),
        );
        let chooses_by_batch = workflow.as_ref().is_ok_and(|workflow| {
            workflow.value.mapping == Mapping::RuleBased && workflow.value.incremental
        }) && !populated.as_ref().is_ok_and(|populated| !populated.value);
        let last_batch = match full_refresh_every {
            Some(every) if last_batch.is_none() && chooses_by_batch => {
                let since = now - every.duration;
                let read = self.recent_batch(target, &table.value.workflow, since, now);
                said(
                    until
                        .bound("ListIdMappingJobs and GetIdMappingJob", read)
                        .await,
                )
            }
            _ => known(last_batch),
        };
        Facts {
            workflow: said(workflow),
            populated: said(populated),
            last_batch,
            busy: None,
        }
    }

    /// Whether a job of the table's workflow runs or is queued, for a dry run.
    pub async fn is_busy(
        &self,
        target: &Target,
        now: OffsetDateTime,
        within: std::time::Duration,
    ) -> Fact<bool> {
        let until = Until::now(within);
        let jobs = async {
            let table = self.table(target, now).await?;
            self.list_jobs(&table.value.workflow).await
        };
        let jobs = until.bound("ListIdMappingJobs", jobs).await;
        let busy = |job: &Listed| matches!(job.status, JobStatus::Running | JobStatus::Queued);
        said(jobs.map(|jobs| Read {
            value: jobs.iter().any(busy),
            at: now,
        }))
    }

    /// Forgets what was kept of a table.
    pub fn forget(&self, target: &Target) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(target);
    }

    pub(super) async fn table(
        &self,
        target: &Target,
        now: OffsetDateTime,
    ) -> Result<Read<Table>, Unread> {
        if let Some(kept) = self.kept(target, now, |facets| &facets.table) {
            return Ok(kept);
        }
        let read = Read {
            value: self.get_table(target).await?,
            at: now,
        };
        self.keep(target, |facets| facets.table = Some(read.clone()));
        Ok(read)
    }

    async fn workflow(
        &self,
        target: &Target,
        table: &Read<Table>,
        now: OffsetDateTime,
    ) -> Result<Read<Workflow>, Unread> {
        if let Some(kept) = self.kept(target, now, |facets| &facets.workflow) {
            return Ok(kept);
        }
        let read = Read {
            value: self.get_workflow(&table.value.workflow).await?,
            // It is as old as the name of the workflow.
            at: table.at,
        };
        self.keep(target, |facets| facets.workflow = Some(read.clone()));
        Ok(read)
    }

    async fn populated(
        &self,
        target: &Target,
        table: &Table,
        now: OffsetDateTime,
    ) -> Result<Read<bool>, Unread> {
        if let Some(kept) = self.kept(target, now, |facets| &facets.populated) {
            return Ok(kept);
        }
        let read = Read {
            value: self.is_populated(table).await?,
            at: now,
        };
        if read.value {
            self.keep(target, |facets| facets.populated = Some(read.clone()));
        }
        Ok(read)
    }

    /// When the newest `BATCH` of the workflow started, of those since a moment that did not fail.
    async fn recent_batch(
        &self,
        target: &Target,
        workflow: &str,
        since: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<Read<Option<OffsetDateTime>>, Unread> {
        if let Some(kept) = self.kept(target, now, |facets| &facets.recent_batch) {
            return Ok(kept);
        }
        let mut jobs = self.list_jobs(workflow).await?;
        // A queued job without a start begins later.
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
        self.keep(target, |facets| facets.recent_batch = Some(read.clone()));
        Ok(read)
    }

    fn kept<T: Clone>(
        &self,
        target: &Target,
        now: OffsetDateTime,
        facet: impl Fn(&Facets) -> &Option<Read<T>>,
    ) -> Option<Read<T>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let read = facet(kept.get(target)?).as_ref()?;
        (now - read.at < MAX_AGE).then(|| read.clone())
    }

    fn keep(&self, target: &Target, change: impl FnOnce(&mut Facets)) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_TABLES && !kept.contains_key(target) {
            kept.clear();
        }
        change(kept.entry(target.clone()).or_default());
    }
}

fn said<T>(read: Result<Read<T>, Unread>) -> Fact<T> {
    read.map_err(|why| missing(&why))
}

fn missing(why: &Unread) -> Missing {
    Missing {
        why: why.to_string(),
        passing: why.permission.is_none() && !why.absent,
    }
}
