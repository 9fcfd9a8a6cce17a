//! The promises under chance: many tables, deliveries and faults, two execution environments
//! interleaved at their calls, and a world with whatever AWS leaves open.
//!
//! A run is made of its seed alone. What breaks a promise is printed with its seed, made as short as
//! it can be; `CHANCE_SEED` replays it, `CHANCE_RUNS` runs more (300). The promises are asked for after
//! each step, and nothing is delivered again for their sake.

mod fairness;
mod run;
mod scenario;

use self::run::run;
pub use self::scenario::Random;
use self::scenario::{Scenario, World, scenario};

/// The same, without what can be left out.
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

/// The same with one thing less.
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
    let in_a_simpler_world = simpler(&scenario.world).into_iter().map(|world| Scenario {
        world,
        ..scenario.clone()
    });
    without_a_step
        .chain(without_a_fault)
        .chain(in_a_simpler_world)
}

fn simpler(world: &World) -> Vec<World> {
    let changes: [fn(&mut World); 13] = [
        |world| world.database = false,
        |world| world.blind = false,
        |world| world.shown_after = 0,
        |world| world.entity_resolution_ahead = 0,
        |world| world.ahead = [0, 0],
        |world| world.oldest_first = false,
        |world| world.shuffled = None,
        |world| world.queued_have_no_start = false,
        |world| world.many_jobs = false,
        |world| world.shared_workflow = false,
        |world| world.track = [false, false],
        |world| world.timeout = 0,
        |world| world.backoff = false,
    ];
    let changed = changes.iter().map(|change| {
        let mut changed = world.clone();
        change(&mut changed);
        changed
    });
    let differs = |changed: &World| format!("{changed:?}") != format!("{world:?}");
    changed.filter(differs).collect()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(start_paused = true)]
async fn the_promises_hold_under_chance() {
    let seeds = match number("CHANCE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CHANCE_RUNS").unwrap_or(300),
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
        panic!("broken by these seeds: {broken:#?}\nCHANCE_SEED={seed}: {explained}");
    }
    println!("{runs} runs with {steps} steps, {calls} calls and {injected} faults");
}

/// What is broken in the shortest scenario that breaks anything, and how.
async fn explained(scenario: Scenario) -> String {
    let scenario = shortest(scenario).await;
    let ran = run(&scenario).await;
    let news: Vec<String> = scenario
        .news
        .iter()
        .map(|news| {
            let (id, table, requested_type) = (&news.id, &news.table, news.requested_type);
            format!("{id} of {table} {requested_type} at {}", news.time)
        })
        .collect();
    format!(
        "{:#?}\n{:?}, news {news:#?}\nsteps {:?}\nfaults {:?}\n{:?}\n{}",
        ran.broken, scenario.slot, scenario.steps, scenario.faults, scenario.world, ran.story
    )
}
