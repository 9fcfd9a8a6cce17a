//! What `INCREMENTAL` and `DELETE_ONLY` do where they do not fit.

use super::call::Observed;
use super::experiment::{About, Experiment, Jobs, PlannedJob};
use super::facts::Table;
use super::record::Record;
use super::report::{Finding, Verdict};
use super::run::{Run, Stop};

pub const ABOUT: About = About {
    name: "unfit-type",
    question: "What do INCREMENTAL and DELETE_ONLY do on a provider workflow, on one without incremental runs, or on a \
               table that was never populated?",
    branch_a: "they are refused",
    branch_b: "they start a job",
    does: "asks for both types where they do not fit, and waits for the end of each job that starts. If the first one \
           populates a table that they fit then, the second one is not asked for",
    needs: "cleanrooms:PopulateIdMappingTable",
};

const TYPES: [&str; 2] = ["INCREMENTAL", "DELETE_ONLY"];

/// A job for each type and each table that they do not fit, or did not fit when the run began.
pub fn jobs(tables: &[Table], record: &Record) -> Jobs {
    let mut jobs = all(tables.len());
    jobs.retain(|job| {
        let does_fit = tables.get(job.table).is_some_and(Table::fits_all_types);
        let mut calls = record.calls.iter();
        !does_fit || calls.any(|call| call.is_of(Experiment::UnfitType) && call.table == job.table)
    });
    match jobs.is_empty() {
        true => Err("both types fit the tables: it needs one of another kind"),
        false => Ok(jobs),
    }
}

fn all(tables: usize) -> Vec<PlannedJob> {
    let of_table = |table| TYPES.map(|job_type| PlannedJob { table, job_type });
    (0..tables).flat_map(of_table).collect()
}

fn step(job: &PlannedJob) -> String {
    let call = format!("{}, table {}", job.job_type, job.table + 1);
    Experiment::UnfitType.step(&call)
}

pub async fn run(run: &mut Run<'_>, planned: &[PlannedJob]) -> Result<Finding, Stop> {
    let experiment = Experiment::UnfitType;
    let (mut observations, mut said) = (Vec::new(), Vec::new());
    let (mut started, mut refused, mut others) = (0, 0, 0);
    for job in planned {
        let (job_type, step) = (job.job_type, step(job));
        if run.record.call(&step).is_none() {
            run.wait_for_all().await?;
            let table = run.refreshed(job.table).await?;
            if table.fits_all_types() {
                let state = table.describe();
                said.push(format!(
                    "{job_type}: not asked, because the table now {state}"
                ));
                continue;
            }
        }
        let call = run.start(&step, job.table, job_type).await?;
        let (kind, answer) = (&call.table_was, call.answer());
        if call.job.is_some() {
            started += 1;
            let end = run.wait(&step).await?;
            let ran = ran(run, &step).await?;
            said.push(format!(
                "{job_type} ({kind}): {answer}, a job{ran} ended as {end}"
            ));
        } else {
            match call.observed.as_ref().is_some_and(is_refused) {
                true => refused += 1,
                false => others += 1,
            }
            said.push(format!("{job_type} ({kind}): {answer}"));
        }
        observations.extend(call.observed);
    }
    let verdict = match (started, refused, others) {
        (0, 1.., 0) => Verdict::A,
        (1.., 0, 0) => Verdict::B,
        _ => Verdict::Neither,
    };
    let finding = Finding::new(experiment, verdict, said.join("; "), observations);
    Ok(match others > 0 || started + refused == 0 {
        true => finding.unsettled(),
        false => finding,
    })
}

/// Whether the type was refused, and not the call for another reason.
fn is_refused(observed: &Observed) -> bool {
    let is_other = observed.reason.as_deref() == Some("IAM_SYNCHRONIZATION_DELAY");
    observed.status == Some(400)
        && observed.error_code.as_deref() == Some("ValidationException")
        && observed.missing_permission.is_none()
        && !is_other
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
