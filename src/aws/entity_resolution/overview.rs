//! Reads the jobs of a workflow for a status report, and finds out which of them this function started.

use aws_sdk_entityresolution::types::JobStatus;
use time::{Duration, OffsetDateTime};
use tokio::time::Instant;

use super::lost::{LONGEST_QUEUED, call_range, has_id, start_range};
use super::reads::{Listed, PAGE, Workflows};
use crate::aws::call::{ReadError, TimedOut, within};
use crate::job::{Job, JobId, JobState, WorkflowJob};
use crate::job_type::JobType;
use crate::ledger::Record;

/// The jobs of a workflow, as far as they could be read.
#[derive(Clone, Debug)]
pub struct JobList {
    /// The jobs, in the order of the service.
    pub jobs: Vec<WorkflowJob>,
    /// Why older or newer ones are missing, if some are.
    pub incomplete: Option<ReadError>,
}

/// The pages that were read of a workflow's jobs.
pub struct JobPages {
    listed: Vec<Listed>,
    /// The token of the next page.
    next: Option<String>,
}

impl JobPages {
    /// The id of one of the jobs.
    pub fn one(&self) -> Option<String> {
        self.listed.first().map(|job| job.id.clone())
    }
}

/// Returns whether the jobs are listed newest first, as far as they were read, and the last page has only old ones. AWS
/// documents no order.
fn is_past(listed: &[Listed], since: OffsetDateTime) -> bool {
    let starts: Vec<_> = listed.iter().filter_map(|job| job.began).collect();
    let last_page = listed.rchunks(PAGE).next().unwrap_or_default();
    let is_old = |job: &Listed| job.has_ended() && job.began.is_some_and(|began| began < since);
    starts.is_sorted_by(|one, next| one >= next)
        && listed.len() > PAGE
        && last_page.iter().all(is_old)
}

/// Who started a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This function, for one of the tables.
    Table {
        /// The place of the table's record.
        place: usize,
        /// The job's id, as the ledger knows it.
        id: JobId,
        /// What was sent.
        job_type: Option<JobType>,
    },
    /// That is not known.
    Unknown,
    /// Others.
    Others,
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
    /// Lists the jobs of a workflow from a page on, until this moment, and at least those that have not ended or began
    /// after `since`. Each page may take as long as the timeout.
    pub async fn list_until(
        &self,
        workflow: &str,
        JobPages {
            mut listed,
            mut next,
        }: JobPages,
        since: OffsetDateTime,
        until: Instant,
        timeout: std::time::Duration,
    ) -> JobList {
        let mut incomplete = None;
        while next.is_some() && !is_past(&listed, since) {
            let remaining = until.saturating_duration_since(Instant::now());
            let page = self.list_page(workflow, next, &mut listed);
            let page = within(remaining.min(timeout), async {
                Ok::<_, TimedOut>(page.await)
            });
            match page.await {
                Ok(Ok(token)) => next = token,
                Ok(Err(error)) => {
                    next = None;
                    incomplete = Some(error);
                }
                Err(_) => {
                    next = None;
                    let message = "ListIdMappingJobs failed: the time for reading is over";
                    incomplete = Some(ReadError::unclear(message));
                }
            }
        }
        JobList {
            jobs: listed.iter().map(WorkflowJob::from).collect(),
            incomplete,
        }
    }

    /// Reads the first page of a workflow's jobs.
    pub async fn list_first(&self, workflow: &str) -> Result<JobPages, ReadError> {
        let mut listed = Vec::new();
        let next = self.list_page(workflow, None, &mut listed).await?;
        Ok(JobPages { listed, next })
    }

    /// Finds out whether a job of a workflow can be read.
    pub async fn check_job(&self, workflow: &str, id: &str) -> Result<(), ReadError> {
        self.get_job(workflow, id).await.map(drop)
    }
}

/// Finds out which of a workflow's jobs were started by this function, and for which of the tables with these records.
///
/// A job is known by its id, which may be Clean Rooms' id without its hyphens, or by its start. A job that was queued
/// begins later. So it is not known whose a job is that is queued, or began later, while the ledger knows a job that is not
/// in the list.
pub fn owners(listed: &[WorkflowJob], records: &[&Record]) -> Vec<Owner> {
    let known: Vec<(usize, &Job)> = records
        .iter()
        .enumerate()
        .flat_map(|(place, record)| record.started().into_iter().map(move |job| (place, job)))
        .collect();
    let mut found: Vec<Option<Owner>> = listed
        .iter()
        .map(|listed| by_id(&listed.id, &known).or_else(|| by_end(&listed.id, records)))
        .collect();
    let mut missing = Vec::new();
    for (place, job) in known {
        if found.iter().flatten().any(|owner| owner.is_job(&job.id)) {
            continue;
        }
        let range = start_range(job);
        let nearest = listed.iter().zip(&mut found).filter_map(|(listed, owner)| {
            let began = listed.started_at.filter(|began| range.contains(began))?;
            owner.is_none().then_some((distance(began, job), owner))
        });
        match nearest.min_by_key(|(distance, _)| *distance) {
            Some((_, owner)) => *owner = Some(Owner::of(place, job)),
            None if records
                .get(place)
                .is_some_and(|record| !record.is_ended(job.id.as_str())) =>
            {
                missing.push((place, job));
            }
            None => {}
        }
    }
    resolve_queued(listed, &missing, &mut found);
    let owners = listed.iter().zip(found);
    let owners = owners.map(|(job, owner)| match owner {
        Some(owner) => owner,
        None if may_be_known(job, &missing, records) => Owner::Unknown,
        None => Owner::Others,
    });
    owners.collect()
}

impl Owner {
    fn of(place: usize, job: &Job) -> Self {
        Self::Table {
            place,
            id: job.id.clone(),
            job_type: job.job_type,
        }
    }

    fn is_job(&self, other: &JobId) -> bool {
        matches!(self, Self::Table { id, .. } if id == other)
    }
}

fn by_id(id: &str, known: &[(usize, &Job)]) -> Option<Owner> {
    let known = known.iter().find(|(_, job)| has_id(id, &job.id));
    known.map(|(place, job)| Owner::of(*place, job))
}

fn by_end(entity_resolution_job_id: &str, records: &[&Record]) -> Option<Owner> {
    let mut ended = records.iter().enumerate().filter_map(|(place, record)| {
        let (id, job_type) = record.ended_as(entity_resolution_job_id)?;
        Some(Owner::Table {
            place,
            id,
            job_type,
        })
    });
    ended.next()
}

/// The only job that is queued without a start is the only known job that is not in the list.
fn resolve_queued(listed: &[WorkflowJob], missing: &[(usize, &Job)], found: &mut [Option<Owner>]) {
    let queued = listed.iter().zip(found).filter(|(job, owner)| {
        owner.is_none() && job.state == JobState::Queued && job.started_at.is_none()
    });
    let queued: Vec<_> = queued.collect();
    if let ([(place, job)], 1) = (missing, queued.len()) {
        for (_, owner) in queued {
            *owner = Some(Owner::of(*place, job));
        }
    }
}

/// Returns whether a job may be one that the ledger knows, or may have forgotten, or the job of a call whose outcome is
/// not known.
fn may_be_known(job: &WorkflowJob, missing: &[(usize, &Job)], records: &[&Record]) -> bool {
    let Some(began) = job.started_at else {
        return !missing.is_empty() || records.iter().any(|record| record.open_calls().count() > 0);
    };
    let was_queued = |(_, known): &(usize, &Job)| {
        let latest = known.started_at.saturating_add(LONGEST_QUEUED);
        (known.started_at..=latest).contains(&began)
    };
    let is_forgotten =
        |record: &&Record| record.complete_since().is_some_and(|since| began < since);
    let mut calls = records.iter().flat_map(|record| record.open_calls());
    missing.iter().any(was_queued)
        || records.iter().any(is_forgotten)
        || calls.any(|call| call_range(call.called_at).contains(&began))
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
        let ids: Vec<_> = owners.iter().map(short).collect();
        let expected = [
            "3f2a0001", "3f2a0002", "3f2a0004", "others", "3f2a0003", "others",
        ];
        assert_eq!(ids, expected);
    }

    /// The beginning of the job's id, if it is one of the second table.
    fn short(owner: &Owner) -> &str {
        match owner {
            Owner::Table { place: 1, id, .. } => id.as_str().get(..8).unwrap(),
            Owner::Table { .. } => "of another table",
            Owner::Unknown => "unknown",
            Owner::Others => "others",
        }
    }

    #[test]
    fn a_job_that_was_queued_is_not_taken_for_one_of_others() {
        let queued = WorkflowJob {
            state: JobState::Queued,
            started_at: None,
            ..listed("queued", 0)
        };
        let first = job("3f2a0001-0000-4000-8000-000000000000", 0);
        let second = job("3f2a0002-0000-4000-8000-000000000000", 1_000);
        let one = started(&Record::default(), &first);
        let two = started(&one, &second);
        let none = Record::default();
        let began_later = listed("later", 5_000);
        for (jobs, record, expected) in [
            // The only one can only be the known one.
            (vec![queued.clone()], &one, vec!["3f2a0001"]),
            (vec![queued.clone()], &two, vec!["unknown"]),
            (
                vec![queued.clone(), queued.clone()],
                &one,
                vec!["unknown", "unknown"],
            ),
            (vec![queued.clone()], &none, vec!["others"]),
            (vec![began_later.clone()], &one, vec!["unknown"]),
            (
                vec![began_later.clone(), listed("near", 1)],
                &one,
                vec!["others", "3f2a0001"],
            ),
            (vec![listed("earlier", -5_000)], &one, vec!["others"]),
            (vec![listed("much later", 100_000)], &one, vec!["others"]),
        ] {
            let owners = owners(&jobs, &[&Record::default(), record]);
            assert_eq!(
                owners.iter().map(short).collect::<Vec<_>>(),
                expected,
                "{jobs:?}"
            );
        }
    }

    #[test]
    fn reading_ends_with_a_page_of_old_jobs_if_the_newest_come_first() {
        let job = |number: i64| Listed {
            id: number.to_string(),
            began: Some(after(-number)),
            ended: Some(after(1 - number)),
            status: JobStatus::Succeeded,
        };
        let since = after(-10);
        let mut jobs: Vec<Listed> = (0..50).map(job).collect();
        assert!(is_past(&jobs, since));
        assert!(!is_past(&jobs[..30], since), "the last page has newer ones");
        assert!(
            !is_past(&jobs[25..], since),
            "one page does not tell the order"
        );
        jobs[49].status = JobStatus::Running;
        assert!(!is_past(&jobs, since), "one still runs");
        let mut jobs: Vec<Listed> = (0..50).map(job).collect();
        jobs.swap(0, 1);
        assert!(!is_past(&jobs, since), "they are in no order");
    }
}
