//! No table starves, in a simulation: tables that keep asking, and two execution environments.
//!
//! The invariants of a request in the waiting queue, with k tables that each request up to two job types:
//!
//! - a job that serves it starts after at most 2k job ends, counted from when it began to wait: the job that
//!   ran then, and one for each other pair of table and job type that had waited longer;
//! - its outcome is announced within one retry interval of that job's start;
//! - while it waits, the slot is idle for no longer than one retry interval, in which the queue delivers the
//!   message of the request whose turn it is.
//!
//! In some runs calls fail and processes die at first. Then a job end or an idle slot counts only if no call
//! failed within two retry intervals before. One interval, because a request whose waiter in the ledger is
//! lost is recorded again when its message is received next. And another one, because requests wait for a
//! waiter that is not renewed for so long, a call with an unknown outcome is abandoned only at the second
//! look-up, and the claim of a process that died expires meanwhile.
//!
//! A run depends on its seed only. `FAIRNESS_SEED` replays a seed, and `FAIRNESS_RUNS` sets the number of runs (6).

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_aws::{FakeAws, Fault, Job, Slot, Status};
use serde_json::Value;
use time::OffsetDateTime;

use super::scenario::Random;
use crate::effort::{given, number};
use crate::fault_search::faults;
use crate::invariants::{Change, story};
use crate::simulator::{BEGIN, Ended, Simulator, VISIBILITY};

/// How often the queue is polled and changes arrive.
const TICK: Duration = Duration::from_secs(60);

/// One retry interval, until the next poll has ended.
const SOON: Duration = VISIBILITY.saturating_add(TICK).saturating_add(TICK);

/// For how long after a fault no invariant is checked.
const QUIET: Duration = SOON.saturating_add(SOON);

/// The changes in the waiting queue, each by its id and table.
#[derive(Default)]
struct Line {
    waits: BTreeMap<(String, String), Wait>,
}

struct Wait {
    since: OffsetDateTime,
    /// How many job ends had counted when it began to wait.
    ends: usize,
    /// When the first job that serves it was started.
    served_at: Option<OffsetDateTime>,
}

impl Line {
    /// Records, between two invocations, the changes in the waiting queue and the number of job ends.
    fn look<'a>(
        &mut self,
        jobs: &[Job],
        ends: usize,
        waiting: impl Iterator<Item = &'a Change>,
        now: OffsetDateTime,
    ) {
        let mut before = std::mem::take(&mut self.waits);
        for change in waiting {
            let key = (change.id.clone(), change.table.clone());
            let mut wait = before.remove(&key).unwrap_or(Wait {
                since: now,
                ends,
                served_at: None,
            });
            if wait.served_at.is_none() {
                let job = jobs.iter().find(|job| change.is_covered_by(job));
                wait.served_at = job.map(|job| job.started_at);
            }
            self.waits.insert(key, wait);
        }
    }

    /// The changes that no job serves although more job ends than this have counted while they waited.
    fn passed_over(&self, ends: usize, most: usize) -> Vec<String> {
        let passed = self.unserved().filter_map(|((id, table), wait)| {
            let ends = ends - wait.ends;
            (ends > most)
                .then(|| format!("{id} of {table} waits for {ends} job ends, more than {most}"))
        });
        passed.collect()
    }

    /// The changes that have waited too long while the slot has been idle since this time.
    fn beside_an_idle_slot(&self, idle_since: OffsetDateTime, now: OffsetDateTime) -> Vec<String> {
        let beside = self.unserved().filter_map(|((id, table), wait)| {
            let idle = now - idle_since.max(wait.since);
            (idle > SOON).then(|| format!("the slot is idle for {idle} beside {id} of {table}"))
        });
        beside.collect()
    }

    /// The changes that are still in the waiting queue long after their job started and the last fault.
    fn not_told(&self, quiet_since: OffsetDateTime, now: OffsetDateTime) -> Vec<String> {
        let late = |wait: &Wait| {
            let served = wait.served_at.map(|served| served.max(quiet_since));
            served.is_some_and(|served| now - served > SOON)
        };
        let waits = self.waits.iter().filter(|(_, wait)| late(wait));
        waits
            .map(|((id, table), _)| {
                format!("{id} of {table} has no outcome although its job started")
            })
            .collect()
    }

    fn unserved(&self) -> impl Iterator<Item = (&(String, String), &Wait)> {
        let waits = self.waits.iter();
        waits.filter(|(_, wait)| wait.served_at.is_none())
    }
}

/// A table, and the job types that are requested for it.
#[derive(Clone, Debug)]
struct Asking {
    table: String,
    /// The number of ticks between two changes.
    every: usize,
    types: Vec<&'static str>,
}

/// Tables with a stream of changes.
#[derive(Debug)]
struct Crowd {
    slot: Slot,
    tables: Vec<Asking>,
    /// The ticks that a job takes.
    job: usize,
    /// How many messages an invocation gets at most.
    batch: usize,
    /// Whether jobs are tracked.
    track: bool,
    /// For how many ticks calls may fail.
    faults: usize,
}

impl Crowd {
    fn new(random: &mut Random) -> Self {
        let mut tables = Vec::new();
        for number in 0..2 + random.below(3) {
            let broad = random.of(&["INCREMENTAL", "INCREMENTAL", "BATCH", "SERVICE_DEFAULT"]);
            let types = match random.below(4) {
                0 => vec![broad, "DELETE_ONLY"],
                1 => vec!["INCREMENTAL", "BATCH"],
                _ => vec![broad],
            };
            tables.push(Asking {
                table: format!("aaaaaaaa-{number:04}-4000-8000-000000000001"),
                // One of them has a change every minute.
                every: if number == 0 {
                    1
                } else {
                    random.of(&[1, 3, 9, 20])
                },
                types,
            });
        }
        let pairs: usize = tables.iter().map(|table| table.types.len()).sum();
        Self {
            slot: random.of(&[Slot::Conflict, Slot::QuotaExceeded]),
            // The more jobs there are, the shorter they are, so that the runs cost about the same.
            job: random.of(&[2, 7, 16, 24]).min(48 / pairs),
            tables,
            batch: random.of(&[1, 3, 10]),
            track: random.once_in(4),
            faults: random.of(&[0, 0, 30]),
        }
    }

    /// The pairs of table and job type that are requested: no more than two for each table.
    fn pairs(&self) -> usize {
        self.tables.iter().map(|table| table.types.len()).sum()
    }
}

struct Run<'a> {
    crowd: &'a Crowd,
    random: Random,
    sim: Simulator,
    changes: Vec<Change>,
    line: Line,
    /// When this tick began.
    tick: OffsetDateTime,
    /// How many job ends counted.
    ends: usize,
    failing: Arc<AtomicBool>,
    last_fault: Arc<Mutex<OffsetDateTime>>,
}

impl<'a> Run<'a> {
    async fn begin(crowd: &'a Crowd, mut random: Random) -> Self {
        let track = if crowd.track { "true" } else { "" };
        let settings = [("TRACK_COMPLETION", track)];
        let sim = Simulator::with(FakeAws::in_process(), crowd.slot, &settings).await;
        let failing = Arc::new(AtomicBool::new(false));
        let last_fault = Arc::new(Mutex::new(BEGIN - QUIET));
        let seed = random.next();
        let (may_fail, fails, time) = (failing.clone(), last_fault.clone(), sim.time());
        sim.aws.fail_by(move |number, operation| {
            let mut random = Random::new(seed.wrapping_add(number as u64));
            if may_fail.load(Ordering::Relaxed) && random.once_in(20) {
                *fails.lock().unwrap() = time.now();
                let faults = faults(operation);
                return faults.get(random.below(faults.len().max(1))).cloned();
            }
            // Calls take a random time, so that those of two environments mix.
            Some(Fault::Slow(Duration::from_millis(random.below(60) as u64)))
        });
        Self {
            crowd,
            random,
            sim,
            changes: Vec::new(),
            line: Line::default(),
            tick: BEGIN,
            ends: 0,
            failing,
            last_fault,
        }
    }

    /// The time from which earlier faults no longer matter.
    fn quiet_since(&self) -> OffsetDateTime {
        *self.last_fault.lock().unwrap() + QUIET
    }

    /// A minute: a job may end, tables change, and the queue is polled.
    async fn tick(&mut self, number: usize) {
        self.tick += TICK;
        self.sim.set_now(self.tick.max(self.sim.now()));
        let may_fail = number < self.crowd.faults;
        self.failing.store(may_fail, Ordering::Relaxed);
        let job = TICK * self.crowd.job as u32;
        let jobs = self.sim.aws.jobs();
        let running = jobs.iter().find(|job| job.ended_at.is_none());
        if running.is_some_and(|running| self.sim.now() - running.started_at >= job) {
            self.sim.aws.end_job(Status::Succeeded);
            self.ends += usize::from(self.sim.now() > self.quiet_since());
        }
        self.sim.repeat(self.random.below(2)).await;
        let mut due: Vec<Change> = Vec::new();
        for asking in &self.crowd.tables {
            if !number.is_multiple_of(asking.every) {
                continue;
            }
            let requested_type = self.random.of(&asking.types);
            let age = time::Duration::seconds(self.random.below(4) as i64);
            let time = (self.sim.now() - age).replace_nanosecond(0).unwrap();
            let id = format!("change-{}", self.changes.len() + due.len());
            due.push(Change::of_type(&id, &asking.table, requested_type, time));
        }
        for index in (1..due.len()).rev() {
            due.swap(index, self.random.below(index + 1));
        }
        self.changes.extend(due.iter().cloned());
        if self.random.once_in(2) {
            self.poll_all().await;
        }
        let mut due = due.iter();
        while let Some(change) = due.next() {
            match self.random.below(4) {
                0 => self.deliver_both(change, due.next()).await,
                1 => self.deliver_and_poll(change).await,
                _ => {
                    let environment = self.random.below(2);
                    self.sim.deliver(environment, &change.event).await;
                }
            }
        }
        self.poll_all().await;
    }

    async fn deliver_both(&mut self, one: &Change, other: Option<&Change>) {
        let Some(other) = other else {
            return self.sim.deliver(0, &one.event).await;
        };
        let one = self.sim.delivery(&one.event);
        let other = self.sim.delivery(&other.event);
        let (first, second) = tokio::join!(
            self.sim.invoke(0, &one.request_id, &one.payload),
            self.sim.invoke(1, &other.request_id, &other.payload)
        );
        self.sim.keep(one, &first);
        self.sim.keep(other, &second);
    }

    async fn deliver_and_poll(&mut self, change: &Change) {
        let delivery = self.sim.delivery(&change.event);
        self.sim.invoked += 1;
        let poll = format!("request-{}", self.sim.invoked);
        let (ended, _) = tokio::join!(
            self.sim.invoke(0, &delivery.request_id, &delivery.payload),
            poll_once(&self.sim, 1, &poll, self.crowd.batch)
        );
        self.sim.keep(delivery, &ended);
    }

    async fn poll_all(&mut self) {
        loop {
            let environment = self.random.below(2);
            self.sim.invoked += 1;
            let request_id = format!("request-{}", self.sim.invoked);
            if !poll_once(&self.sim, environment, &request_id, self.crowd.batch).await {
                return;
            }
        }
    }

    /// The invariants that do not hold.
    fn broken(&mut self) -> Vec<String> {
        let bodies = self.sim.aws.messages("waiting").into_iter();
        let waiting: HashSet<String> = bodies
            .map(|message| serde_json::from_str::<Value>(&message.body).unwrap())
            .filter(|body| body["watch"].is_null())
            .filter_map(|body| body["request"]["requestId"].as_str().map(str::to_owned))
            .collect();
        let (jobs, now) = (self.sim.aws.jobs(), self.sim.now());
        let waits = self
            .changes
            .iter()
            .filter(|change| waiting.contains(&change.id));
        self.line.look(&jobs, self.ends, waits, now);
        let mut broken = self.line.passed_over(self.ends, self.crowd.pairs());
        let quiet_since = self.quiet_since();
        broken.extend(self.line.not_told(quiet_since, now));
        if jobs.iter().all(|job| job.ended_at.is_some()) {
            let idle_since = jobs.iter().filter_map(|job| job.ended_at).max();
            let idle_since = idle_since.unwrap_or(BEGIN).max(quiet_since);
            broken.extend(self.line.beside_an_idle_slot(idle_since, now));
        }
        let dead = self.sim.aws.messages("dead");
        if self.crowd.faults == 0 && !(self.sim.repeats.is_empty() && dead.is_empty()) {
            broken.push("a request is neither done nor waits".to_owned());
        }
        broken
    }
}

/// Delivers one batch of the waiting queue. Returns whether a message was visible.
async fn poll_once(sim: &Simulator, environment: usize, request_id: &str, most: usize) -> bool {
    let Some(batch) = sim.aws.receive("waiting", most) else {
        return false;
    };
    let answer = match sim.invoke(environment, request_id, &batch).await {
        Ended::Response(answer) => Some(answer),
        Ended::Failed(_) | Ended::Crashed => None,
    };
    sim.aws.received("waiting", &batch, answer.as_ref());
    true
}

#[tokio::test(start_paused = true)]
async fn no_table_starves() {
    let seeds = match given("FAIRNESS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FAIRNESS_RUNS", 2, 6),
    };
    let runs = seeds.end - seeds.start;
    let (mut ends, mut changes, mut calls) = (0, 0, 0);
    for seed in seeds {
        let mut random = Random::new(seed);
        let crowd = Crowd::new(&mut random);
        let mut run = Run::begin(&crowd, random).await;
        let enough = crowd.pairs() + 4;
        for number in 0.. {
            run.tick(number).await;
            let broken = run.broken();
            if !broken.is_empty() {
                let story = story(&run.sim.aws.state());
                panic!("FAIRNESS_SEED={seed}: {broken:#?}\n{crowd:?}\n{story}");
            }
            if run.ends == enough {
                break;
            }
        }
        ends += enough;
        changes += run.changes.len();
        calls += run.sim.aws.call_count();
    }
    println!("{runs} runs with {changes} changes, {ends} job ends and {calls} calls");
}
