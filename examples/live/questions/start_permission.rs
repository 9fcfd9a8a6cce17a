//! Whether the caller of `PopulateIdMappingTable` needs `entityresolution:StartIdMappingJob`.

use super::call::{NotRead, Observed};
use super::experiment::{About, Experiment};
use super::report::{Finding, Verdict};
use super::run::{Run, Stop};

pub const ABOUT: About = About {
    name: "start-permission",
    question: "Does the caller need entityresolution:StartIdMappingJob?",
    branch_a: "yes",
    branch_b: "no",
    does: "starts a job with a session of --role that may not call StartIdMappingJob",
    needs: "sts:AssumeRole on --role",
};

const ACTION: &str = "entityresolution:StartIdMappingJob";

/// The name of its call.
pub const CALL: &str = "call without the permission";

pub async fn run(run: &mut Run<'_>) -> Result<Finding, Stop> {
    let experiment = Experiment::StartPermission;
    let step = experiment.step(CALL);
    let call = match run.record.call(&step).cloned() {
        Some(call) => call,
        None => {
            run.wait_until_free().await?;
            // Without a role it is not planned.
            let role = run.record.role.clone().unwrap_or_default();
            let limited = match run.services.without(ACTION, &role).await {
                Ok(limited) => limited,
                Err(NotRead(observed)) => {
                    let answer = observed.full_answer();
                    (run.say)(&format!("the role cannot be assumed: {answer}"));
                    return Ok(Finding::refused(experiment, vec![*observed]));
                }
            };
            let job_type = run.table(0)?.cheapest_type();
            run.call(&limited, &step, 0, job_type).await?
        }
    };
    let observations: Vec<_> = call.observed.into_iter().collect();
    let refusal = observations
        .iter()
        .find(|observed| observed.missing_permission.is_some());
    let missing = refusal.and_then(|refusal| refusal.missing_permission.as_deref());
    let (verdict, answer) = match (call.job, missing) {
        (Some(_), _) => (Verdict::B, "a job started without it"),
        (None, Some(ACTION)) => (Verdict::A, "the call was refused, and the answer names it"),
        (None, Some(other)) => {
            let answer = match refusal.is_some_and(Observed::is_guess) {
                true => "the call was refused without the name of a permission: it is branch A if the role can populate \
                         the table without this limit"
                    .to_owned(),
                false => format!("not settled: the session needs {other}"),
            };
            let finding = Finding::new(experiment, Verdict::Neither, answer, observations.clone());
            return Ok(finding.unsettled());
        }
        (None, None) => return Ok(Finding::refused(experiment, observations)),
    };
    Ok(Finding::new(experiment, verdict, answer, observations))
}
