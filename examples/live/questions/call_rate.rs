//! How many calls of `PopulateIdMappingTable` the service takes at once.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use id_mapping_populator::target::{Identifier, Target};
use uuid::Uuid;

use super::experiment::{About, Experiment};
use super::record::Call;
use super::report::{Finding, Verdict};
use super::run::{Run, Stop};

pub const ABOUT: About = About {
    name: "call-rate",
    question: "Are 20 calls of PopulateIdMappingTable at once too many?",
    branch_a: "yes: some are throttled",
    branch_b: "no: none is throttled",
    does: "calls 20 times at once for a table that does not exist, which starts nothing",
    needs: "cleanrooms:PopulateIdMappingTable on all tables of the membership",
};

const CALLS: usize = 20;

/// If a job starts in spite of all, its type is known.
const TYPE: &str = "BATCH";

pub async fn run(run: &mut Run<'_>) -> Result<Finding, Stop> {
    // While a job is under way, the slot may be the answer.
    run.wait_until_free().await?;
    // A new UUID names no table.
    let table = Identifier::parse(&Uuid::new_v4().to_string()).map_err(Stop::File)?;
    let membership = run.table(0)?.target.membership.clone();
    let nobody = Target { membership, table };
    let calls = (0..CALLS).map(|_| {
        run.services
            .populate("one of 20 calls at once", &nobody, TYPE)
    });
    let called_at = run.clock.now();
    let answers = join_all(calls).await;
    let (mut observations, mut is_started) = (Vec::new(), false);
    for (observed, job) in answers {
        // It should not start one. If it does, the run waits for its end.
        if job.is_some() {
            is_started = true;
            let step = Experiment::CallRate.step(&format!("call {}", observations.len() + 1));
            run.record.calls.push(Call {
                step,
                table: 0,
                table_was: "none that exists".to_owned(),
                job_type: TYPE.to_owned(),
                called_at,
                listed_before: Vec::new(),
                observed: Some(observed.clone()),
                job,
                entity_resolution_job: None,
                ended: None,
            });
        }
        observations.push(observed);
    }
    run.save()?;
    let throttled = observations
        .iter()
        .filter(|observed| observed.is_throttled())
        .count();
    let slowest = observations
        .iter()
        .map(|observed| observed.milliseconds)
        .max();
    let milliseconds = slowest.unwrap_or_default();
    let verdict = match throttled {
        0 if observations
            .iter()
            .all(|observed| observed.status == Some(404)) =>
        {
            Verdict::B
        }
        0 => Verdict::Neither,
        _ => Verdict::A,
    };
    let mut counts = BTreeMap::new();
    for observed in &observations {
        *counts.entry(observed.answer()).or_insert(0) += 1;
    }
    let counts = counts
        .iter()
        .map(|(answer, count)| format!("{count} x {answer}"));
    let counts = counts.collect::<Vec<_>>().join(", ");
    let mut answer = format!("{CALLS} calls within {milliseconds} ms: {counts}");
    let mut needs = observations
        .iter()
        .filter_map(|observed| observed.missing_permission.as_ref());
    if let Some(permission) = needs.next() {
        answer.push_str(&format!("; the caller needs {permission}"));
    }
    let finding = Finding::new(Experiment::CallRate, verdict, answer, observations);
    Ok(match verdict {
        // It is not asked again if it would start another job.
        Verdict::Neither if !is_started => finding.unsettled(),
        _ => finding,
    })
}
