//! Whether Clean Rooms' job id is Entity Resolution's with hyphens.

use std::time::Duration;

use super::call::NotRead;
use super::experiment::{About, Experiment};
use super::record::{Call, Record};
use super::report::{Finding, Verdict};
use super::run::{LOOK_FOR, Look, Run, Stop};

pub const ABOUT: About = About {
    name: "job-id",
    question: "Is Clean Rooms' idMappingJobId without its hyphens Entity Resolution's jobId?",
    branch_a: "yes",
    branch_b: "no",
    does: "reads a job at Entity Resolution by its id of Clean Rooms without the hyphens; starts one if the run has started none",
    needs: "cleanrooms:PopulateIdMappingTable",
};

/// How long after a job is listed its id may be unknown.
const SHOWN_WITHIN: Duration = Duration::from_secs(60);

/// The call of the first table to ask about: one that started a job, best one whose job was seen in the list.
pub fn known_job(record: &Record) -> Option<&Call> {
    let started = |call: &&Call| call.table == 0 && call.job.is_some();
    let calls = record.calls.iter().filter(started);
    calls.max_by_key(|call| (call.entity_resolution_job.is_some(), call.called_at))
}

pub async fn run(run: &mut Run<'_>) -> Result<Finding, Stop> {
    let experiment = Experiment::JobId;
    let started = known_job(&run.record);
    let call = match started.cloned() {
        Some(call) => call,
        None => run.running_job(experiment).await?,
    };
    let mut observations: Vec<_> = call.observed.clone().into_iter().collect();
    let Some(job) = call.job_without_hyphens() else {
        return Ok(Finding::refused(experiment, observations));
    };
    let workflow = run.table(0)?.workflow.name.clone();
    let began = run.clock.now();
    let mut has_another_id = false;
    loop {
        match run.services.job(&workflow, &job).await {
            Ok((_, observed)) => {
                observations.push(observed);
                run.identify(&call.step, &job)?;
                let answer = "Entity Resolution knows the job by it";
                return Ok(Finding::new(experiment, Verdict::A, answer, observations));
            }
            Err(NotRead(observed)) if observed.is_unknown_id() => {
                let is_late = run.clock.now() - began >= LOOK_FOR;
                let answered = |verdict, answer| {
                    let observations = observations.iter().cloned().chain([*observed.clone()]);
                    Finding::new(experiment, verdict, answer, observations.collect())
                };
                if has_another_id {
                    let answer = "Entity Resolution lists the job with another id";
                    return Ok(answered(Verdict::B, answer));
                }
                match run.look(&call.step).await? {
                    Look::Listed(listed) if listed.id == job => {
                        let answer = "Entity Resolution lists the job with it";
                        return Ok(answered(Verdict::A, answer));
                    }
                    Look::Listed(_) => {
                        has_another_id = true;
                        run.progress(&call.step, "listed with another id", SHOWN_WITHIN);
                        tokio::time::sleep(SHOWN_WITHIN).await;
                        continue;
                    }
                    Look::Absent | Look::Unclear if is_late => {
                        let answer = "Entity Resolution shows no job by it, and none or several that may be it";
                        return Ok(answered(Verdict::Neither, answer).unsettled());
                    }
                    Look::Absent | Look::Unclear => {}
                }
            }
            Err(error) => return Err(error.into()),
        }
        run.look_later(&call.step, began).await;
    }
}
