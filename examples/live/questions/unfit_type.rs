//! What `INCREMENTAL` and `DELETE_ONLY` do where they do not fit.

use super::call::Observed;
use super::experiment::{About, Experiment, Jobs, PlannedJob};
use super::facts::Table;
use super::report::{Finding, Verdict};
use super::run::{Run, Stop};

pub const ABOUT: About = About {
    name: "unfit-type",
    question: "What do INCREMENTAL and DELETE_ONLY do on a provider workflow, on one without incremental runs, or on a \
               table that was never populated?",
    branch_a: "they are refused",
    branch_b: "they start a job",
    does: "asks for both types where they do not fit, and waits for the end of each job that starts",
    needs: "cleanrooms:PopulateIdMappingTable",
};

/// A job for each type that does not fit a table.
pub fn jobs(tables: &[Table]) -> Jobs {
    let unfit = |(table, facts): (usize, &Table)| {
        let planned = move |job_type: &&'static str| PlannedJob { table, job_type };
        facts.unfit_types().iter().map(planned).collect::<Vec<_>>()
    };
    let jobs: Vec<PlannedJob> = tables.iter().enumerate().flat_map(unfit).collect();
    match jobs.is_empty() {
        true => Err("both types fit the tables: it needs one of another kind"),
        false => Ok(jobs),
    }
}

pub async fn run(run: &mut Run<'_>, planned: &[PlannedJob]) -> Result<Finding, Stop> {
    let experiment = Experiment::UnfitType;
    let (mut observations, mut said) = (Vec::new(), Vec::new());
    let (mut started, mut refused) = (0, 0);
    for PlannedJob { table, job_type } in planned {
        let kind = run.table(*table)?.describe();
        let step = experiment.step(&format!("{job_type}, table {}: {kind}", table + 1));
        let call = run.start(&step, *table, job_type).await?;
        let answer = call.answer();
        if call.job.is_some() {
            started += 1;
            let end = run.wait(&step).await?;
            let ran = ran(run, &step).await?;
            said.push(format!(
                "{job_type} ({kind}): {answer}, a job{ran} ended as {end}"
            ));
        } else {
            let is_refused = |observed: &Observed| {
                let is_other = observed.is_busy() || observed.is_throttled();
                observed.is_refusal() && observed.missing_permission.is_none() && !is_other
            };
            refused += usize::from(call.observed.as_ref().is_some_and(is_refused));
            said.push(format!("{job_type} ({kind}): {answer}"));
        }
        observations.extend(call.observed);
    }
    let verdict = match (started, refused) {
        (0, all) if all == planned.len() => Verdict::A,
        (all, 0) if all == planned.len() => Verdict::B,
        _ => Verdict::Neither,
    };
    Ok(Finding::new(
        experiment,
        verdict,
        said.join("; "),
        observations,
    ))
}

/// The type that Entity Resolution shows of a job.
async fn ran(run: &mut Run<'_>, step: &str) -> Result<String, Stop> {
    let call = run.record.call(step).cloned();
    let seen = call.and_then(|call| Some((call.table, call.entity_resolution_job?)));
    let Some((table, id)) = seen else {
        return Ok(String::new());
    };
    let workflow = run.table(table)?.workflow.name.clone();
    let (described, _) = run.services.job(&workflow, &id).await?;
    let job_type = described
        .job_type
        .map(|job_type| format!(" of type {job_type}"));
    Ok(job_type.unwrap_or_default())
}
