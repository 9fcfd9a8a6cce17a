//! A scenario: the changes, the conditions, the steps and the faults that follow from a seed.

use std::collections::BTreeMap;

use fake_aws::{Exception, Fault, Operation, Slot, Status};

use crate::fault_search::faults;
use crate::invariants::Change;
use crate::simulator::BEGIN;

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

    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

#[derive(Clone, Debug)]
pub enum Step {
    /// A change is delivered to one environment.
    Deliver(usize, usize),
    /// Two are delivered at once, one to each.
    DeliverBoth(usize, usize),
    /// The waiting queue is polled by one environment while a change is delivered to the other.
    PollAndDeliver(usize),
    /// A round: what failed is repeated, and the waiting queue is polled.
    Round(usize),
    EndJob(Status),
    Pass(u64),
    /// An operator redrives the dead letters to the waiting queue.
    Redrive,
    /// A job for a change's table is started at Entity Resolution by hand.
    ForeignJob(usize),
    /// A job for a change's table is started through Clean Rooms by hand.
    JobByHand(usize),
    /// An invalid message of so many bytes is sent to the waiting queue.
    Refused(usize),
}

/// What differs from the simplest services and settings. Shortening a scenario tries to remove each.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// Whether Entity Resolution's reads of jobs may fail.
    pub blind: bool,
    /// After how many seconds it shows a job.
    pub shown_after: i64,
    /// How many milliseconds its clock is ahead.
    pub entity_resolution_ahead: i64,
    /// How many milliseconds the environments' clocks are ahead.
    pub ahead: [i64; 2],
    /// Whether it lists jobs oldest first, or in no order.
    pub oldest_first: bool,
    pub shuffled: Option<u64>,
    /// Whether queued jobs have no start.
    pub queued_have_no_start: bool,
    /// Old jobs of another owner, more than fit in the pages that are read.
    pub many_jobs: bool,
    /// Whether all tables have one workflow.
    pub shared_workflow: bool,
    /// Whether each environment tracks jobs.
    pub track: [bool; 2],
    /// `DEFAULT_JOB_TYPE` of each environment.
    pub defaults: [&'static str; 2],
    /// `MAX_JOB_ATTEMPTS` of the environments that track jobs; zero: unset.
    pub attempts: usize,
    /// `MIN_INTERVAL` in minutes; zero: none.
    pub interval: u64,
    /// `MAX_WAIT`.
    pub max_wait: &'static str,
    /// The function's timeout in seconds; zero: two minutes.
    pub timeout: u64,
    /// Whether the SDK pauses between two tries.
    pub backoff: bool,
}

#[derive(Clone)]
pub struct Scenario {
    pub slot: Slot,
    pub changes: Vec<Change>,
    pub steps: Vec<Step>,
    /// By the number of a call: which of its operation's faults it has.
    pub faults: BTreeMap<usize, usize>,
    pub conditions: Conditions,
    /// How long calls take.
    pub pace: u64,
}

impl Scenario {
    /// The changes in the same payload as this one.
    pub fn together(&self, which: usize) -> impl Iterator<Item = usize> {
        let event = &self.changes[which].event;
        let same = |change: &Change| change.event == *event;
        (0..self.changes.len()).filter(move |other| same(&self.changes[*other]))
    }

    /// Whether both environments track the jobs that they start.
    pub fn tracks(&self) -> bool {
        self.conditions.track == [true; 2]
    }

    /// Whether so much time passes that a job is not tracked any more: SQS keeps no message for longer.
    pub fn outlasts_tracking(&self) -> bool {
        let days =
            |step: &Step| matches!(step, Step::Pass(seconds) if *seconds > 13 * 24 * 60 * 60);
        self.steps.iter().any(days)
    }

    /// Whether jobs are started by hand that cannot be told from the function's.
    pub fn has_jobs_by_hand(&self) -> bool {
        let by_hand = |step: &Step| matches!(step, Step::JobByHand(_));
        self.steps.iter().any(by_hand)
    }
}

/// What may go wrong at a call.
pub fn faults_of(operation: Operation) -> Vec<Fault> {
    let mut all = faults(operation);
    all.extend([Fault::Hang, Fault::Drop]);
    all.push(Fault::Refuse(Exception::throttling()));
    if operation == Operation::PopulateIdMappingTable {
        all.push(Fault::Refuse(Exception::conflict()));
        all.push(Fault::Refuse(Exception::not_found()));
    }
    all
}

pub fn scenario(seed: u64) -> Scenario {
    let mut random = Random::new(seed);
    let tables: Vec<String> = (0..1 + random.below(5))
        .map(|table| format!("aaaaaaaa-{table:04}-4000-8000-000000000001"))
        .collect();
    let conditions = conditions(&mut random);
    let mut changes = Vec::new();
    for number in 0..2 + random.below(8) {
        let id = format!("change-{number}");
        let table = &tables[random.below(tables.len())];
        let requested_types = [
            "INCREMENTAL",
            "AUTO",
            "BATCH",
            "SERVICE_DEFAULT",
            "DELETE_ONLY",
        ];
        let requested_type = random.of(&requested_types);
        let time = BEGIN + time::Duration::seconds(random.below(1_800) as i64 - 60);
        match random.below(8) {
            0 => changes.push(Change::by_default(&id, table, conditions.defaults, time)),
            1 if tables.len() > 1 => {
                let several = &tables[..2 + random.below(tables.len() - 1)];
                changes.extend(Change::of_tables(&id, several, requested_type, time));
            }
            2 => {
                let table = format!("bbbbbbbb-{number:04}-4000-8000-000000000001");
                changes.push(Change::bare(&id, &table, requested_type, time));
            }
            3 => changes.push(Change::urgent(&id, table, requested_type, time)),
            _ => changes.push(Change::of_type(&id, table, requested_type, time)),
        }
    }
    let steps = steps(&mut random, changes.len());
    let faults = (0..random.below(12))
        .map(|_| (random.below(200), random.below(100)))
        .collect();
    Scenario {
        slot: random.of(&[Slot::Conflict, Slot::QuotaExceeded, Slot::Queue]),
        changes,
        steps,
        faults,
        conditions,
        pace: random.next() | 1,
    }
}

fn conditions(random: &mut Random) -> Conditions {
    let offset = |random: &mut Random, most: usize| random.below(2 * most + 1) as i64 - most as i64;
    let track = random.once_in(2);
    let changed = random.once_in(8);
    let default = random.of(&["SERVICE_DEFAULT", "INCREMENTAL", "BATCH"]);
    let other = random.of(&["SERVICE_DEFAULT", "INCREMENTAL", "BATCH"]);
    Conditions {
        blind: random.once_in(4),
        shown_after: random.of(&[0, 0, 10, 100, 240]),
        entity_resolution_ahead: match random.once_in(3) {
            true => offset(random, 4_900),
            false => 0,
        },
        ahead: match random.once_in(3) {
            true => [0, offset(random, 900)],
            false => [0, 0],
        },
        oldest_first: random.once_in(3),
        shuffled: random.once_in(3).then(|| random.next()),
        queued_have_no_start: random.once_in(3),
        many_jobs: random.once_in(40),
        shared_workflow: random.once_in(4),
        track: [track, track != random.once_in(12)],
        defaults: [default, if changed { other } else { default }],
        attempts: random.of(&[0, 1, 2, 3]),
        interval: random.of(&[0, 0, 0, 5, 30, 90]),
        max_wait: random.of(&["72h", "72h", "72h", "2h", "13d"]),
        timeout: random.of(&[0, 0, 0, 10, 30]),
        backoff: random.once_in(3),
    }
}

fn steps(random: &mut Random, count: usize) -> Vec<Step> {
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
        if random.once_in(2) {
            let ends = [Status::Succeeded, Status::Failed];
            steps.push(Step::EndJob(random.of(&ends)));
        }
        if random.once_in(3) {
            steps.push(Step::Round(random.below(2)));
        }
        if random.once_in(2) {
            steps.push(Step::Pass(1 + random.below(400) as u64));
        }
        if random.once_in(10) {
            steps.push(Step::Redrive);
        }
        if random.once_in(16) {
            steps.push(Step::ForeignJob(which));
        }
        if random.once_in(32) {
            steps.push(Step::JobByHand(which));
        }
        if random.once_in(60) {
            steps.push(Step::Refused(random.of(&[200, 262_000, 1_048_000])));
        }
    }
    for index in (1..steps.len()).rev() {
        steps.swap(index, random.below(index + 1));
    }
    if random.once_in(12) {
        let at = random.below(steps.len());
        let hours = random.of(&[3, 80, 24 * 13 + 4]);
        steps.insert(at, Step::Pass(hours * 60 * 60));
    }
    steps
}
