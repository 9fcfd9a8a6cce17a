//! Whether and how soon a job that was started through Clean Rooms is in `ListIdMappingJobs`.

use super::experiment::{About, Experiment};
use super::report::{Finding, Verdict};
use super::run::{LOOK_FOR, Look, Run, Stop};

pub const ABOUT: About = About {
    name: "job-list",
    question: "Is a job that was started through Clean Rooms in ListIdMappingJobs?",
    branch_a: "yes",
    branch_b: "no",
    does: "starts a job, and looks into the list for at most 10 minutes",
    needs: "cleanrooms:PopulateIdMappingTable",
};

/// The name of its call.
pub const CALL: &str = "first call";

pub async fn run(run: &mut Run<'_>) -> Result<Finding, Stop> {
    let experiment = Experiment::JobList;
    let step = experiment.step(CALL);
    let job_type = run.table(0)?.cheapest_type();
    let call = run.start(&step, 0, job_type).await?;
    let observations: Vec<_> = call.observed.clone().into_iter().collect();
    if call.job.is_none() {
        return Ok(Finding::refused(experiment, observations));
    }
    loop {
        let look = run.look(&step).await?;
        let waited = run.clock.now() - call.called_at;
        if let Look::Listed(listed) = look {
            let seconds = waited.as_seconds_f64();
            let start = match listed.started_at {
                Some(at) => format!(
                    "{:.1} s after the call",
                    (at - call.called_at).as_seconds_f64()
                ),
                None => "that is not known yet".to_owned(),
            };
            let answer = format!(
                "it was in the list at most {seconds:.1} s after the call, with a start time {start}"
            );
            return Ok(Finding::new(experiment, Verdict::A, answer, observations));
        }
        if waited >= LOOK_FOR {
            let minutes = waited.whole_minutes();
            if look == Look::Absent {
                let answer = format!("it was not in the list {minutes} min after the call");
                return Ok(Finding::new(experiment, Verdict::B, answer, observations));
            }
            // A run that goes on needs another job.
            run.record.free(|call| call.step == step);
            let answer =
                format!("{minutes} min after the call the list had jobs that may be it or not");
            let finding = Finding::new(experiment, Verdict::Neither, answer, observations);
            return Ok(finding.unsettled());
        }
        run.look_later(&step, call.called_at).await;
    }
}
