//! What a second call gets while a job runs.

use super::call::Observed;
use super::experiment::{About, Experiment, PlannedJob};
use super::facts::Table;
use super::report::{Finding, Verdict};
use super::run::{Run, State, Stop, UNSEEN};

pub const ABOUT: About = About {
    name: "second-call",
    question: "What does a second call get while a job runs?",
    branch_a: "an error",
    branch_b: "a job id: the second job waits, or runs beside the first",
    does: "calls again while a job of the table runs: for the same table and, if the slot is busy, for the second table. \
           With one table, a 409 may mean the table alone. If the service takes the call, two jobs are under way, and the \
           run waits for both",
    needs: "cleanrooms:PopulateIdMappingTable",
};

/// The job that a second call starts at most: one of the tables' jobs.
pub fn second(tables: &[Table]) -> Option<PlannedJob> {
    let costliest = tables
        .iter()
        .enumerate()
        .max_by_key(|(_, table)| table.records.unwrap_or(u64::MAX));
    costliest.map(|(table, facts)| PlannedJob {
        table,
        job_type: facts.cheapest_type(),
    })
}

pub async fn run(run: &mut Run<'_>) -> Result<Finding, Stop> {
    let experiment = Experiment::SecondCall;
    // What was called before an interruption says nothing of a job that runs now.
    if run.record.free(|call| call.is_of(experiment)) {
        run.save()?;
        run.wait_for_all().await?;
    }
    let first = run.running_job(experiment).await?;
    let mut observations: Vec<Observed> = first.observed.clone().into_iter().collect();
    if first.job.is_none() {
        return Ok(Finding::refused(experiment, observations));
    }
    run.wait_for_running(&first.step).await?;
    let mut answers = Vec::new();
    let mut accepted = None;
    let (mut is_busy, mut is_conflict) = (true, false);
    for (table, name) in [(0, "same table"), (1, "other table")] {
        // Only what the slot refuses is asked for the other table, too.
        if accepted.is_some() || !is_busy || table >= run.tables.len() {
            continue;
        }
        let step = experiment.step(&format!("second call, {name}"));
        let job_type = run.table(table)?.cheapest_type();
        let services = run.services.clone();
        let call = run.call(&services, &step, table, job_type).await?;
        answers.push(format!("{name}: {}", call.answer()));
        is_busy &= call.observed.as_ref().is_some_and(Observed::is_busy);
        is_conflict = call
            .observed
            .as_ref()
            .is_some_and(|observed| observed.status == Some(409));
        observations.extend(call.observed.clone());
        if call.may_run() {
            accepted = Some(call);
        }
    }
    // What is said of a second call holds only if the first job still runs after it.
    let first_runs = run.is_running(&first.step).await?;
    let mut said = answers.join("; ");
    let finding = |verdict, said: String| Finding::new(experiment, verdict, said, observations);
    if !first_runs {
        said.push_str("; but the first job had ended");
        return Ok(finding(Verdict::Neither, said).unsettled());
    }
    match &accepted {
        Some(call) if call.job.is_some() && answers.len() == 1 => {
            let status = match run.state(&call.step).await? {
                State::Runs(status) | State::Ended(status) => status,
                State::Unseen | State::Unclear => UNSEEN.to_owned(),
            };
            said.push_str(&format!("; the second job is {status}"));
            Ok(finding(Verdict::B, said))
        }
        // One table was busy, and the other one was not.
        Some(call) if call.job.is_some() => Ok(finding(Verdict::Neither, said)),
        None if is_busy && answers.len() == 1 && is_conflict => {
            said.push_str("; a 409 may mean the table alone: ask in a new run with --second-table");
            Ok(finding(Verdict::Neither, said))
        }
        None if is_busy => Ok(finding(Verdict::A, said)),
        _ => Ok(finding(Verdict::Neither, said).unsettled()),
    }
}
