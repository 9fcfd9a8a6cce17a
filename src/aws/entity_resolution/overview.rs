//! Reads the jobs of a workflow for a status report, and finds out which of them this function started.

use aws_sdk_entityresolution::types::JobStatus;
use time::{Duration, OffsetDateTime};
use tokio::time::Instant;

use super::lost::{call_range, has_id, start_range};
use super::reads::{Listed, Workflows};
use crate::aws::call::{ReadError, TimedOut, within};
use crate::job::{Job, JobState, WorkflowJob};
use crate::ledger::Record;

/// The jobs of a workflow, as far as they could be read.
#[derive(Clone, Debug)]
pub struct JobList {
    /// The jobs, in the order of the service.
    pub jobs: Vec<WorkflowJob>,
    /// Why older or newer ones are missing, if some are.
    pub incomplete: Option<ReadError>,
}

/// Which table a job was started for, by this function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The place of the table's record.
    pub table: usize,
    /// What the ledger knows of the job.
    pub job: Option<Job>,
}

impl From<&Listed> for WorkflowJob {
    fn from(listed: &Listed) -> Self {
        Self {
            id: listed.id.clone(),
            state: match listed.status {
                JobStatus::Queued => JobState::Queued,
                JobStatus::Running => JobState::Running,
                JobStatus::Succeeded => JobState::Succeeded,
                JobStatus::Failed => JobState::Failed,
                _ => JobState::Started,
            },
            started_at: listed.began,
            ended_at: listed.ended,
        }
    }
}

impl Workflows {
    /// Lists the jobs of a workflow, page after page, until this moment. Each page may take as long as the timeout.
    /// Returns an error if not even the first page could be read.
    pub async fn list_until(
        &self,
        workflow: &str,
        until: Instant,
        timeout: std::time::Duration,
    ) -> Result<JobList, ReadError> {
        let (mut listed, mut next, mut incomplete) = (Vec::new(), None, None);
        loop {
            let remaining = until.saturating_duration_since(Instant::now());
            let page = self.list_page(workflow, next, &mut listed);
            let page = within(remaining.min(timeout), async {
                Ok::<_, TimedOut>(page.await)
            });
            let page = page.await.unwrap_or_else(|timed_out| {
                Err(ReadError::unclear(format!(
                    "ListIdMappingJobs failed: {}",
                    String::from(timed_out)
                )))
            });
            match page {
                Ok(token) => next = token,
                Err(error) if listed.is_empty() => return Err(error),
                Err(error) => {
                    next = None;
                    incomplete = Some(error);
                }
            }
            if next.is_none() {
                let jobs = listed.iter().map(WorkflowJob::from).collect();
                return Ok(JobList { jobs, incomplete });
            }
        }
    }

    /// Finds out whether a job of a workflow can be read.
    pub async fn check_job(&self, workflow: &str, id: &str) -> Result<(), ReadError> {
        self.get_job(workflow, id).await.map(drop)
    }
}

/// Finds out which of a workflow's jobs were started by this function, and for which of the tables with these records.
///
/// A job is known by its id, which may be Clean Rooms' id without its hyphens, or by its start.
pub fn owners(listed: &[WorkflowJob], records: &[&Record]) -> Vec<Option<Owner>> {
    let mut owners: Vec<Option<Owner>> = vec![None; listed.len()];
    let known = || {
        let tables = records.iter().enumerate();
        tables.flat_map(|(table, record)| record.started().into_iter().map(move |job| (table, job)))
    };
    for (listed, owner) in listed.iter().zip(&mut owners) {
        let by_id = known().find(|(_, job)| has_id(&listed.id, &job.id));
        let by_id = by_id.map(|(table, job)| Owner {
            table,
            job: Some(job.clone()),
        });
        *owner = by_id.or_else(|| {
            let mut ended = records
                .iter()
                .enumerate()
                .filter(|(_, record)| record.is_ended(&listed.id));
            ended.next().map(|(table, record)| Owner {
                table,
                job: record.started_as(&listed.id).cloned(),
            })
        });
    }
    let is_owned = |owners: &[Option<Owner>], job: &Job| {
        let mut owned = owners.iter().flatten();
        owned.any(|owner| owner.job.as_ref().is_some_and(|other| other.id == job.id))
    };
    for (table, job) in known() {
        if is_owned(&owners, job) {
            continue;
        }
        let range = start_range(job);
        let nearest = listed
            .iter()
            .zip(&mut owners)
            .filter_map(|(listed, owner)| {
                let began = listed.started_at.filter(|began| range.contains(began))?;
                owner.is_none().then_some((distance(began, job), owner))
            });
        if let Some((_, owner)) = nearest.min_by_key(|(distance, _)| *distance) {
            *owner = Some(Owner {
                table,
                job: Some(job.clone()),
            });
        }
    }
    owners
}

/// Returns whether a job that no table is known to own may be that of a call whose outcome is not known, or not known yet.
pub fn may_be_of_open_call(job: &WorkflowJob, records: &[&Record]) -> bool {
    let mut calls = records.iter().flat_map(|record| record.open_calls());
    calls.any(|call| {
        let range = call_range(call.called_at);
        job.started_at.is_none_or(|began| range.contains(&began))
    })
}

/// How far a start is from the time between a job's call and its answer.
fn distance(began: OffsetDateTime, job: &Job) -> Duration {
    (job.started_at - began)
        .max(began - job.answered_at)
        .max(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::choice::by_request;
    use crate::job::{Call, JobEnd, JobId};
    use crate::job_type::JobType;
    use crate::request::Request;

    const AT: OffsetDateTime = datetime!(2026-11-23 02:00 UTC);

    fn after(seconds: i64) -> OffsetDateTime {
        AT + Duration::seconds(seconds)
    }

    fn listed(id: &str, seconds: i64) -> WorkflowJob {
        WorkflowJob {
            id: id.to_owned(),
            state: JobState::Running,
            started_at: Some(after(seconds)),
            ended_at: None,
        }
    }

    fn job(id: &str, seconds: i64) -> Job {
        Job {
            id: JobId::IdMappingJobId(id.into()),
            job_type: Some(JobType::Batch),
            started_at: after(seconds),
            answered_at: after(seconds + 1),
        }
    }

    fn started(record: &Record, job: &Job) -> Record {
        let request = Request::sample(1, "BATCH", job.id.as_str(), job.started_at);
        let call = Call {
            attempt: uuid::Uuid::new_v4(),
            called_at: job.started_at,
            choice: by_request(request.requested_type, request.type_source).unwrap(),
            request,
        };
        record.job_started(&call, job, None, after(1_000_000))
    }

    #[test]
    fn a_job_is_known_by_its_id_then_by_its_end_then_by_its_start() {
        let first = job("3f2a0001-0000-4000-8000-000000000000", 0);
        let second = job("3f2a0002-0000-4000-8000-000000000000", 1_000);
        let third = job("3f2a0003-0000-4000-8000-000000000000", 2_000);
        let record = started(
            &started(&started(&Record::default(), &first), &second),
            &third,
        );
        let record = record.job_ended(&second, "other-id", JobEnd::Succeeded, after(5_000));
        let failed = job("3f2a0004-0000-4000-8000-000000000000", 3_000);
        let record = record.job_ended(&failed, "failed-id", JobEnd::Failed, after(5_000));
        let jobs = [
            listed("3f2a0001000040008000000000000000", 500),
            listed("other-id", 900_000),
            listed("failed-id", 3_000),
            listed("near", 2_004),
            listed("nearer", 2_002),
            listed("foreign", 2_500),
        ];
        let owners = owners(&jobs, &[&Record::default(), &record]);
        let ids: Vec<_> = owners
            .iter()
            .map(|owner| {
                let owner = owner.as_ref()?;
                assert_eq!(owner.table, 1);
                Some(
                    owner
                        .job
                        .as_ref()
                        .map(|job| job.id.as_str().get(..8).unwrap()),
                )
            })
            .collect();
        let expected = [
            Some(Some("3f2a0001")),
            Some(Some("3f2a0002")),
            Some(None),
            None,
            Some(Some("3f2a0003")),
            None,
        ];
        assert_eq!(ids, expected);
    }
}
