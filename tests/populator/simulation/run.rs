//! Runs a scenario, and checks the invariants after each step.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fake_aws::{FakeAws, Fault, Operation, Status};
use serde_json::{Value, json};

use super::scenario::{Random, Scenario, Step, faults_of};
use crate::harness::table_arn;
use crate::interleave::reads_jobs;
use crate::invariants::{Allowed, Change, History, Seen, story};
use crate::simulator::{Simulator, VISIBILITY};

/// The most calls of one step: none of its parts has more than ten requests and as many retries.
const MOST_CALLS: usize = 800;

/// The result of a scenario.
pub struct Ran {
    pub broken: Vec<String>,
    pub story: String,
    pub calls: usize,
}

struct Run<'a> {
    scenario: &'a Scenario,
    sim: Simulator,
    /// The changes as they were delivered: those of bare requests are as old as their delivery.
    changes: Vec<Change>,
    accepted: BTreeSet<usize>,
    history: History,
    /// The bodies of the invalid messages so far.
    refused: Vec<Value>,
    /// The faults so far.
    fired: Arc<AtomicUsize>,
}

/// Runs a scenario to its end.
pub async fn run(scenario: &Scenario) -> Ran {
    let mut run = Run::begin(scenario).await;
    let mut broken = Vec::new();
    for step in &scenario.steps {
        let calls = run.sim.aws.call_count();
        run.act(step).await;
        broken.extend(run.broken());
        let made = run.sim.aws.call_count() - calls;
        if made > MOST_CALLS && !scenario.conditions.many_jobs {
            broken.push(format!("{step:?} made {made} calls"));
        }
        if !broken.is_empty() {
            break;
        }
    }
    if broken.is_empty() {
        broken = run.finish().await;
    }
    let calls = run.sim.aws.call_count();
    let story = story(&run.sim.aws.state());
    Ran {
        broken,
        story,
        calls,
    }
}

impl<'a> Run<'a> {
    async fn begin(scenario: &'a Scenario) -> Self {
        let conditions = &scenario.conditions;
        let aws = FakeAws::in_process();
        let mut tables: Vec<String> = scenario
            .changes
            .iter()
            .map(|change| table_arn(&change.table))
            .collect();
        tables.sort();
        tables.dedup();
        let tables = tables.join(",");
        let attempts = match conditions.attempts {
            0 => String::new(),
            most => most.to_string(),
        };
        let interval = match conditions.interval {
            0 => String::new(),
            minutes => format!("{minutes}m"),
        };
        let settings = |environment: usize| {
            let track = conditions.track[environment];
            [
                ("MAX_JOB_ATTEMPTS", if track { &*attempts } else { "" }),
                ("MIN_INTERVAL", &*interval),
                ("TRACK_COMPLETION", if track { "true" } else { "" }),
                ("DEFAULT_JOB_TYPE", conditions.defaults[environment]),
                ("MAX_WAIT", conditions.max_wait),
                (
                    "ID_MAPPING_TABLE_ARNS",
                    if conditions.shared_workflow {
                        &tables
                    } else {
                        ""
                    },
                ),
            ]
        };
        let [one, other] = [settings(0), settings(1)];
        let mut sim = Simulator::of(aws, scenario.slot, [&one, &other]).await;
        let milliseconds = time::Duration::milliseconds;
        if conditions.backoff {
            sim.pause_between_tries().await;
        }
        if conditions.ahead != [0, 0] {
            sim.set_ahead(conditions.ahead.map(milliseconds)).await;
        }
        if conditions.timeout > 0 {
            sim.timeout = Duration::from_secs(conditions.timeout);
        }
        if conditions.many_jobs {
            many_jobs(&sim, &scenario.changes[0].table);
        }
        let state = &mut *sim.aws.state();
        state.shown_after = time::Duration::seconds(conditions.shown_after);
        state.entity_resolution_ahead = milliseconds(conditions.entity_resolution_ahead);
        state.oldest_first = conditions.oldest_first;
        state.shuffled = conditions.shuffled;
        state.queued_have_no_start = conditions.queued_have_no_start;
        state.shared_workflow = conditions.shared_workflow;
        let fired = Arc::new(AtomicUsize::new(0));
        sim.aws.fail_by(plan(scenario, Arc::clone(&fired)));
        Self {
            scenario,
            sim: sim.clone(),
            changes: scenario.changes.clone(),
            accepted: BTreeSet::new(),
            history: History::default(),
            refused: Vec::new(),
            fired,
        }
    }

    /// The changes that were accepted so far.
    fn accepted_changes(&self) -> Vec<Change> {
        let accepted = self.accepted.iter();
        accepted.map(|which| self.changes[*which].clone()).collect()
    }

    /// The invariants that do not hold between two steps.
    fn broken(&mut self) -> Vec<String> {
        let seen = Seen::of_simulator(&self.sim);
        let changes = self.accepted_changes();
        let mut broken = seen.broken(&changes, self.allowed());
        broken.extend(self.history.broken(&seen, &changes));
        self.history.pause(&seen, &changes);
        for body in &self.refused {
            if !seen.keeps(body) {
                broken.push("a refused message is lost".to_owned());
            }
        }
        let repetitions = 1 + self.fired.load(Ordering::Relaxed);
        broken.extend(seen.too_often(repetitions, self.sim.invoked + self.scenario.steps.len()));
        broken
    }

    fn allowed(&self) -> Allowed {
        let conditions = &self.scenario.conditions;
        let ahead = conditions.ahead.iter().map(|ahead| ahead.abs()).max();
        let clocks = match ahead {
            Some(0) | None => time::Duration::ZERO,
            Some(ahead) => time::Duration::milliseconds(ahead + 200),
        };
        let most = conditions.attempts.max(1);
        Allowed {
            max_attempts: self.scenario.tracks().then_some(most),
            min_interval: time::Duration::minutes(conditions.interval as i64),
            clocks,
            unseen_jobs: conditions.blind || self.are_jobs_alike(time::Duration::seconds(10)),
            swapped_jobs: clocks.is_positive()
                && self.are_jobs_alike(clocks + time::Duration::seconds(1)),
            jobs_by_hand: self.scenario.has_jobs_by_hand(),
        }
    }

    /// Whether two jobs cannot be told apart by their starts: two of one workflow were accepted in so short a time, or one
    /// was started by hand.
    fn are_jobs_alike(&self, within: time::Duration) -> bool {
        let jobs = self.sim.aws.jobs();
        let shared = self.scenario.conditions.shared_workflow;
        let alike = jobs.iter().enumerate().any(|(index, job)| {
            jobs.iter().skip(index + 1).any(|other| {
                let near = (job.started_at - other.started_at).abs() < within;
                near && (shared || job.table == other.table) && !job.foreign && !other.foreign
            })
        });
        alike || self.scenario.has_jobs_by_hand()
    }

    /// Whether a change must not be delivered again, because it would be another change.
    fn is_over(&self, which: usize) -> bool {
        !self.changes[which].named && self.accepted.contains(&which)
    }

    /// A change has happened when it is delivered.
    fn happens(&mut self, which: usize) -> Value {
        // Some arrive in the second in which they happened.
        let delay = time::Duration::seconds((which % 2) as i64);
        if !self.changes[which].named {
            self.changes[which].time = self.sim.now();
        } else if self.sim.now() < self.changes[which].time + delay {
            self.sim.set_now(self.changes[which].time + delay);
        }
        for other in self.scenario.together(which) {
            self.accepted.insert(other);
            self.history.delivered(&self.changes[other]);
        }
        self.changes[which].event.clone()
    }

    async fn act(&mut self, step: &Step) {
        match *step {
            Step::Deliver(which, environment) => {
                if !self.is_over(which) {
                    let event = self.happens(which);
                    self.sim.deliver(environment, &event).await;
                }
            }
            Step::DeliverBoth(one, other) => {
                if self.is_over(one)
                    || self.is_over(other)
                    || one == other && !self.changes[one].named
                {
                    return;
                }
                let (one, other) = (self.happens(one), self.happens(other));
                let sim = &mut self.sim;
                let one = sim.delivery(&one);
                let other = sim.delivery(&other);
                let (first, second) = tokio::join!(
                    sim.invoke(0, &one.request_id, &one.payload),
                    sim.invoke(1, &other.request_id, &other.payload)
                );
                sim.keep(one, &first);
                sim.keep(other, &second);
            }
            Step::PollAndDeliver(which) => {
                if self.is_over(which) {
                    return;
                }
                let event = self.happens(which);
                let delivery = self.sim.delivery(&event);
                let mut poller = self.sim.clone();
                let (ended, _) = tokio::join!(
                    self.sim.invoke(0, &delivery.request_id, &delivery.payload),
                    poller.poll(1)
                );
                self.sim.invoked = poller.invoked;
                self.sim.keep(delivery, &ended);
            }
            Step::Round(environment) => {
                self.sim.pass(VISIBILITY);
                self.sim.repeat(environment).await;
                self.sim.poll(1 - environment).await;
            }
            Step::EndJob(status) => {
                // None is over in less than a minute.
                self.sim.pass(Duration::from_secs(60));
                self.sim.aws.end_job(status);
            }
            Step::Pass(seconds) => self.sim.pass(Duration::from_secs(seconds)),
            Step::Redrive => {
                let changes = self.accepted_changes();
                for change in &changes {
                    self.history.delivered(change);
                }
                self.sim.aws.move_messages("dead", "waiting");
            }
            Step::ForeignJob(which) => self.sim.aws.start_foreign_job(&self.changes[which].table),
            Step::JobByHand(which) => {
                let table = &self.changes[which].table;
                self.sim.aws.start_job_by_hand(table, Some("INCREMENTAL"));
            }
            Step::Refused(size) => {
                let body = json!({ "membershipId": "x".repeat(size) });
                self.sim.aws.send("waiting", &body.to_string());
                self.refused.push(body);
            }
        }
    }

    /// Faults end, and the slot frees: everything is done in a bounded number of rounds.
    async fn finish(&mut self) -> Vec<String> {
        self.sim
            .aws
            .fail_by(|_, _| Some(Fault::Slow(Duration::from_millis(1))));
        self.sim.timeout = crate::simulator::TIMEOUT;
        let most = 4 * self.scenario.changes.len() + 12 + self.sim.aws.jobs().len().min(40);
        // Each job may have to wait for the interval.
        let interval = Duration::from_secs(60 * self.scenario.conditions.interval);
        let most = most * (1 + interval.as_secs().div_ceil(VISIBILITY.as_secs()) as usize);
        let mut rounds = 0;
        while !(self.sim.repeats.is_empty() && self.sim.aws.messages("waiting").is_empty()) {
            self.sim.aws.end_job(Status::Succeeded);
            self.sim.pass(VISIBILITY);
            self.sim.repeat(0).await;
            while self.sim.poll(0).await {}
            let broken = self.broken();
            if !broken.is_empty() {
                return broken;
            }
            rounds += 1;
            if rounds > most {
                // A job that cannot be told from others is tracked until MAX_WAIT has passed.
                if self.allowed().unseen_jobs && Seen::of_simulator(&self.sim).only_tracks() {
                    break;
                }
                return vec![format!("no end after {rounds} rounds")];
            }
        }
        let seen = Seen::of_simulator(&self.sim);
        let mut broken = Vec::new();
        if !self.allowed().unseen_jobs {
            broken.extend(seen.broken_at_the_end());
            if self.scenario.tracks() && !self.scenario.outlasts_tracking() {
                broken.extend(seen.broken_ends());
                broken.extend(seen.stale(&self.accepted_changes()));
            }
        }
        broken
    }
}

/// The fault of each call. Calls without a fault take a random time, so that those of two environments mix.
fn plan(
    scenario: &Scenario,
    fired: Arc<AtomicUsize>,
) -> impl Fn(usize, Operation) -> Option<Fault> + Send + Sync + 'static {
    let (faults, blind, pace) = (
        scenario.faults.clone(),
        scenario.conditions.blind,
        scenario.pace,
    );
    move |number, operation| {
        let chosen = faults
            .get(&number)
            .filter(|_| blind || !reads_jobs(operation));
        if let Some(choice) = chosen {
            fired.fetch_add(1, Ordering::Relaxed);
            let faults = faults_of(operation);
            return faults.get(choice % faults.len()).cloned();
        }
        let mut random = Random::new(pace.wrapping_add(number as u64));
        Some(Fault::Slow(Duration::from_millis(random.below(60) as u64)))
    }
}

/// Old jobs for a table that were started at Entity Resolution by hand.
fn many_jobs(sim: &Simulator, table: &str) {
    let now = sim.now();
    sim.set_now(now - time::Duration::days(20));
    for _ in 0..520 {
        sim.aws.start_foreign_job(table);
        sim.aws.end_job(Status::Succeeded);
    }
    sim.set_now(now);
}
