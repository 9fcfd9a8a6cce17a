//! Whether Clean Rooms' job id is Entity Resolution's with hyphens.

use super::call::NotRead;
use super::experiment::{About, Experiment};
use super::report::{Finding, Verdict};
use super::run::{LOOK_FOR, Run, Stop};

pub const ABOUT: About = About {
    name: "job-id",
    question: "Is Clean Rooms' idMappingJobId without its hyphens Entity Resolution's jobId?",
    branch_a: "yes",
    branch_b: "no",
    does: "reads a job at Entity Resolution by its id of Clean Rooms without the hyphens; starts one if none runs",
    needs: "cleanrooms:PopulateIdMappingTable",
};

pub async fn run(run: &mut Run<'_>) -> Result<Finding, Stop> {
    let experiment = Experiment::JobId;
    // A job that has ended will do, too.
    let started = run
        .record
        .calls
        .iter()
        .find(|call| call.table == 0 && call.job.is_some());
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
    loop {
        match run.services.job(&workflow, &job).await {
            Ok((_, observed)) => {
                observations.push(observed);
                let answer = "Entity Resolution knows the job by it";
                return Ok(Finding::new(experiment, Verdict::A, answer, observations));
            }
            Err(NotRead(observed)) if observed.is_unknown_id() => {
                let is_listed = run.look(&call.step).await?.is_some();
                let is_late = run.clock.now() - began >= LOOK_FOR;
                if is_listed || is_late {
                    observations.push(*observed);
                    let (verdict, answer) = match is_listed {
                        true => (
                            Verdict::B,
                            "Entity Resolution lists the job with another id",
                        ),
                        false => (
                            Verdict::Neither,
                            "Entity Resolution shows no such job, by any id",
                        ),
                    };
                    return Ok(Finding::new(experiment, verdict, answer, observations));
                }
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(run.interval).await;
    }
}
