//! Random scenarios: many tables, deliveries and faults, two execution environments interleaved at
//! their calls, and services that behave in any way that AWS's documentation allows.
//!
//! A run depends on its seed only. A violation is printed with its seed and with the shortest scenario
//! that causes it. `SIMULATION_SEED` replays a seed, and `SIMULATION_RUNS` sets the number of runs (300). The
//! invariants are checked after each step. Nothing is delivered again before a check.

mod fairness;
mod run;
mod scenario;

use self::run::run;
pub use self::scenario::Random;
use self::scenario::{Conditions, Scenario, scenario};
use crate::effort::{given, number};

/// The shortest scenario that still breaks an invariant.
async fn shortest(mut scenario: Scenario) -> Scenario {
    loop {
        let mut shorter = None;
        for candidate in shorter_ones(&scenario) {
            if !run(&candidate).await.broken.is_empty() {
                shorter = Some(candidate);
                break;
            }
        }
        match shorter {
            Some(candidate) => scenario = candidate,
            None => return scenario,
        }
    }
}

/// The scenarios that lack one step, one fault or one condition of this one.
fn shorter_ones(scenario: &Scenario) -> impl Iterator<Item = Scenario> {
    let without_a_step = (0..scenario.steps.len()).map(|index| {
        let mut shorter = scenario.clone();
        shorter.steps.remove(index);
        shorter
    });
    let without_a_fault = scenario.faults.keys().map(|number| {
        let mut shorter = scenario.clone();
        shorter.faults.remove(number);
        shorter
    });
    let in_simpler_conditions =
        simpler(&scenario.conditions)
            .into_iter()
            .map(|conditions| Scenario {
                conditions,
                ..scenario.clone()
            });
    without_a_step
        .chain(without_a_fault)
        .chain(in_simpler_conditions)
}

fn simpler(conditions: &Conditions) -> Vec<Conditions> {
    let changes: [fn(&mut Conditions); 14] = [
        |conditions| conditions.blind = false,
        |conditions| conditions.shown_after = 0,
        |conditions| conditions.entity_resolution_ahead = 0,
        |conditions| conditions.ahead = [0, 0],
        |conditions| conditions.oldest_first = false,
        |conditions| conditions.shuffled = None,
        |conditions| conditions.queued_have_no_start = false,
        |conditions| conditions.many_jobs = false,
        |conditions| conditions.shared_workflow = false,
        |conditions| conditions.track = [false, false],
        |conditions| conditions.timeout = 0,
        |conditions| conditions.attempts = 0,
        |conditions| conditions.interval = 0,
        |conditions| conditions.backoff = false,
    ];
    let changed = changes.iter().map(|change| {
        let mut changed = conditions.clone();
        change(&mut changed);
        changed
    });
    let differs = |changed: &Conditions| format!("{changed:?}") != format!("{conditions:?}");
    changed.filter(differs).collect()
}

#[tokio::test(start_paused = true)]
async fn the_invariants_hold_in_random_scenarios() {
    let seeds = match given("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATION_RUNS", 25, 300),
    };
    let (mut steps, mut injected, mut calls) = (0, 0, 0);
    let runs = seeds.end - seeds.start;
    let mut broken = Vec::new();
    for seed in seeds {
        let scenario = scenario(seed);
        let ran = run(&scenario).await;
        if !ran.broken.is_empty() {
            broken.push((seed, ran.broken));
        }
        steps += scenario.steps.len();
        let faults = scenario.faults.keys();
        injected += faults.filter(|number| **number < ran.calls).count();
        calls += ran.calls;
    }
    if let Some((seed, _)) = broken.first() {
        let explained = explained(scenario(*seed)).await;
        panic!("broken by these seeds: {broken:#?}\nSIMULATION_SEED={seed}: {explained}");
    }
    println!("{runs} runs with {steps} steps, {calls} calls and {injected} faults");
}

/// The violations of the shortest scenario that has any, with its steps and its history.
async fn explained(scenario: Scenario) -> String {
    let scenario = shortest(scenario).await;
    let ran = run(&scenario).await;
    let changes: Vec<String> = scenario
        .changes
        .iter()
        .map(|change| {
            let (id, table, requested_type) = (&change.id, &change.table, change.requested_type);
            format!("{id} of {table} {requested_type} at {}", change.time)
        })
        .collect();
    format!(
        "{:#?}\n{:?}, changes {changes:#?}\nsteps {:?}\nfaults {:?}\n{:?}\n{}",
        ran.broken, scenario.slot, scenario.steps, scenario.faults, scenario.conditions, ran.story
    )
}
