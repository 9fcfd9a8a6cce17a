//! The promises under chance: many tables, deliveries and faults, two execution environments
//! interleaved at their calls, on a database that speaks DynamoDB.
//!
//! A run is made of its seed alone. What breaks a promise is printed with its seed, made as short as
//! it can be; `CHANCE_SEED` replays it, `CHANCE_RUNS` runs more.

use std::collections::BTreeMap;
use std::time::Duration;

use fake_aws::{FakeAws, Fault, Operation, Slot, Status};

use crate::lab::{BEGIN, Lab, VISIBILITY};
use crate::promises::{self, Allowed, News, Seen};
use crate::proof::faults;

/// Pseudo-random numbers (xorshift), the same from the same seed.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            random.next();
        }
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// One piece of news is delivered to one environment.
    Deliver(usize, usize),
    /// Two are delivered at once, one to each.
    DeliverBoth(usize, usize),
    /// The waiting line is polled by one environment while news is delivered to the other.
    PollAndDeliver(usize),
    /// A round: what failed is repeated, and the waiting line is polled.
    Round(usize),
    EndJob(Status),
    Pass(u64),
}

#[derive(Clone)]
struct Scenario {
    slot: Slot,
    news: Vec<News>,
    steps: Vec<Step>,
    /// By the number of a call: which of its operation's faults it has.
    faults: BTreeMap<usize, usize>,
    /// Whether Entity Resolution may fail to tell of a job.
    blind: bool,
    /// After how many seconds it shows a job.
    shown_after: i64,
    /// Whether jobs are followed to their end.
    track: bool,
    /// How long calls take.
    pace: u64,
}

fn scenario(seed: u64) -> Scenario {
    let mut random = Random::new(seed);
    let tables = 1 + random.below(5);
    let news: Vec<News> = (0..2 + random.below(10))
        .map(|number| {
            let table = format!(
                "aaaaaaaa-{:04}-4000-8000-000000000001",
                random.below(tables)
            );
            let wish = random.of(&[
                "INCREMENTAL",
                "AUTO",
                "BATCH",
                "SERVICE_DEFAULT",
                "DELETE_ONLY",
            ]);
            let time = BEGIN + time::Duration::seconds(random.below(1_800) as i64 - 60);
            News::with_wish(&format!("news-{number}"), &table, wish, time)
        })
        .collect();
    let count = news.len();
    let mut steps = Vec::new();
    for which in 0..count {
        for _ in 0..1 + random.below(3) {
            let other = random.below(count);
            let step = match random.below(4) {
                0 => Step::DeliverBoth(which, other),
                1 => Step::PollAndDeliver(which),
                _ => Step::Deliver(which, random.below(2)),
            };
            steps.push(step);
        }
        if random.below(2) == 0 {
            let ends = [Status::Succeeded, Status::Succeeded, Status::Failed];
            steps.push(Step::EndJob(random.of(&ends)));
        }
        if random.below(3) == 0 {
            steps.push(Step::Round(random.below(2)));
        }
        if random.below(2) == 0 {
            steps.push(Step::Pass(1 + random.below(400) as u64));
        }
    }
    for index in (1..steps.len()).rev() {
        steps.swap(index, random.below(index + 1));
    }
    let count = random.below(12);
    let faults = (0..count)
        .map(|_| (random.below(150), random.below(100)))
        .collect();
    Scenario {
        slot: random.of(&[Slot::Conflict, Slot::QuotaExceeded, Slot::Queue]),
        news,
        steps,
        faults,
        blind: random.below(4) == 0,
        shown_after: random.of(&[0, 0, 10, 100, 240]),
        track: random.below(2) == 0,
        pace: random.next() | 1,
    }
}

/// Runs a scenario to its end. The promises that were broken, and what happened.
async fn run(scenario: &Scenario) -> (Vec<String>, String, usize) {
    let aws = FakeAws::in_process_with_database().unwrap();
    let track = [("TRACK_COMPLETION", "true")];
    let settings = if scenario.track { &track[..] } else { &[] };
    let mut lab = Lab::with(aws, scenario.slot, settings).await;
    lab.aws.state().shown_after = time::Duration::seconds(scenario.shown_after);
    let plan = scenario.clone();
    lab.aws.fail_by(move |number, operation| {
        let reads_jobs = matches!(
            operation,
            Operation::GetIdMappingTable
                | Operation::ListIdMappingJobs
                | Operation::GetIdMappingJob
        );
        if let Some(choice) = plan
            .faults
            .get(&number)
            .filter(|_| plan.blind || !reads_jobs)
        {
            let faults = faults(operation);
            return faults.get(choice % faults.len()).cloned();
        }
        // Calls take their time, so that the two environments' mix.
        let mut random = Random(plan.pace.wrapping_add(number as u64 * 0x9e37_79b9) | 1);
        random.next();
        Some(Fault::Slow(Duration::from_millis(random.below(60) as u64)))
    });
    for step in &scenario.steps {
        act(&mut lab, scenario, step).await;
    }
    // Every piece of news arrives in the end; faults end, and slots free.
    lab.aws
        .fail_by(|_, _| Some(Fault::Slow(Duration::from_millis(1))));
    for which in 0..scenario.news.len() {
        act(&mut lab, scenario, &Step::Deliver(which, 0)).await;
    }
    let mut rounds = 0;
    let mut broken = Vec::new();
    while !(lab.repeats.is_empty() && lab.aws.messages("waiting").is_empty()) {
        lab.aws.end_job(Status::Succeeded);
        lab.pass(VISIBILITY);
        lab.repeat(0).await;
        while lab.poll(0).await {}
        rounds += 1;
        if rounds > 4 * scenario.news.len() + 12 {
            broken.push(format!("no end after {rounds} rounds"));
            break;
        }
    }
    let seen = Seen::of_lab(&lab);
    let allowed = Allowed {
        unseen_jobs: scenario.blind,
        ..Allowed::default()
    };
    broken.extend(seen.broken(&scenario.news, allowed));
    // A job that cannot be looked for is given up, and is no promise.
    if !scenario.blind {
        broken.extend(seen.broken_at_the_end());
        if scenario.track {
            broken.extend(seen.broken_ends());
        }
    }
    let story = promises::story(&lab.aws.state());
    (broken, story, lab.aws.call_count())
}

async fn act(lab: &mut Lab, scenario: &Scenario, step: &Step) {
    let earliest = |lab: &Lab, which: usize| {
        // Some arrive in the second in which they happened.
        let delay = time::Duration::seconds((which % 2) as i64);
        let happened = scenario.news[which].time + delay;
        if lab.now() < happened {
            lab.set_now(happened);
        }
    };
    match *step {
        Step::Deliver(which, environment) => {
            earliest(lab, which);
            lab.deliver(environment, &scenario.news[which].event).await;
        }
        Step::DeliverBoth(one, other) => {
            earliest(lab, one);
            earliest(lab, other);
            let one = lab.delivery(&scenario.news[one].event);
            let other = lab.delivery(&scenario.news[other].event);
            let (first, second) = tokio::join!(
                lab.invoke(0, &one.request_id, &one.payload),
                lab.invoke(1, &other.request_id, &other.payload)
            );
            lab.keep(one, &first);
            lab.keep(other, &second);
        }
        Step::PollAndDeliver(which) => {
            earliest(lab, which);
            let delivery = lab.delivery(&scenario.news[which].event);
            let mut poller = lab.clone();
            let (ended, _) = tokio::join!(
                lab.invoke(0, &delivery.request_id, &delivery.payload),
                poller.poll(1)
            );
            lab.keep(delivery, &ended);
        }
        Step::Round(environment) => {
            lab.pass(VISIBILITY);
            lab.repeat(environment).await;
            lab.poll(1 - environment).await;
        }
        Step::EndJob(status) => {
            lab.aws.end_job(status);
        }
        Step::Pass(seconds) => lab.pass(Duration::from_secs(seconds)),
    }
}

/// The same, without what can be left out.
async fn shortest(mut scenario: Scenario) -> Scenario {
    loop {
        let mut shorter = None;
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
        for candidate in without_a_step.chain(without_a_fault) {
            if !run(&candidate).await.0.is_empty() {
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

#[tokio::test(start_paused = true)]
async fn the_promises_hold_under_chance() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seeds = match number("CHANCE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CHANCE_RUNS").unwrap_or(300),
    };
    let (mut steps, mut injected, mut calls) = (0, 0, 0);
    let runs = seeds.end - seeds.start;
    for seed in seeds {
        let scenario = scenario(seed);
        let (broken, _, made) = run(&scenario).await;
        if !broken.is_empty() {
            let scenario = shortest(scenario).await;
            let (broken, story, _) = run(&scenario).await;
            let news: Vec<String> = scenario
                .news
                .iter()
                .map(|news| {
                    format!(
                        "{} of {} {} at {}",
                        news.id, news.table, news.wish, news.time
                    )
                })
                .collect();
            panic!(
                "CHANCE_SEED={seed}: {broken:#?}\n{:?}, news {news:#?}\nsteps {:?}\nfaults {:?}\n{story}",
                scenario.slot, scenario.steps, scenario.faults
            );
        }
        steps += scenario.steps.len();
        injected += scenario
            .faults
            .keys()
            .filter(|number| **number < made)
            .count();
        calls += made;
    }
    println!("{runs} runs with {steps} steps, {calls} calls and {injected} faults");
}
