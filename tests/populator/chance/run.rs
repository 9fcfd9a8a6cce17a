//! Runs a scenario, and asks for the promises after each step.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fake_aws::{FakeAws, Fault, Operation, Status};
use serde_json::{Value, json};

use super::scenario::{Random, Scenario, Step, faults_of};
use crate::interleave::reads_jobs;
use crate::lab::{Lab, VISIBILITY};
use crate::promises::{Allowed, History, News, Seen, story};
use crate::world::table_arn;

/// The most calls of one step: none of its parts has more than ten requests and as many retries.
const MOST_CALLS: usize = 800;

/// What came of a scenario.
pub struct Ran {
    pub broken: Vec<String>,
    pub story: String,
    pub calls: usize,
}

struct Run<'a> {
    scenario: &'a Scenario,
    lab: Lab,
    /// The changes as they were delivered: those of bare requests are as old as their delivery.
    news: Vec<News>,
    accepted: BTreeSet<usize>,
    history: History,
    /// The bodies that somebody sent and that are refused.
    refused: Vec<Value>,
    /// The faults so far.
    fired: Arc<AtomicUsize>,
}

/// Runs a scenario to its end.
pub async fn run(scenario: &Scenario) -> Ran {
    let mut run = Run::begin(scenario).await;
    let mut broken = Vec::new();
    for step in &scenario.steps {
        let calls = run.lab.aws.call_count();
        run.act(step).await;
        broken.extend(run.broken());
        let made = run.lab.aws.call_count() - calls;
        if made > MOST_CALLS && !scenario.world.many_jobs {
            broken.push(format!("{step:?} made {made} calls"));
        }
        if !broken.is_empty() {
            break;
        }
    }
    if broken.is_empty() {
        broken = run.finish().await;
    }
    let calls = run.lab.aws.call_count();
    let story = story(&run.lab.aws.state());
    Ran {
        broken,
        story,
        calls,
    }
}

impl<'a> Run<'a> {
    async fn begin(scenario: &'a Scenario) -> Self {
        let world = &scenario.world;
        let aws = match world.database {
            true => FakeAws::in_process_with_database().unwrap(),
            false => FakeAws::in_process(),
        };
        let mut tables: Vec<String> = scenario
            .news
            .iter()
            .map(|news| table_arn(&news.table))
            .collect();
        tables.sort();
        tables.dedup();
        let tables = tables.join(",");
        let settings = |environment: usize| {
            [
                (
                    "TRACK_COMPLETION",
                    if world.track[environment] { "true" } else { "" },
                ),
                ("DEFAULT_JOB_TYPE", world.defaults[environment]),
                ("MAX_WAIT", world.max_wait),
                (
                    "ID_MAPPING_TABLE_ARNS",
                    if world.shared_workflow { &tables } else { "" },
                ),
            ]
        };
        let [one, other] = [settings(0), settings(1)];
        let mut lab = Lab::of(aws, scenario.slot, [&one, &other]).await;
        let milliseconds = time::Duration::milliseconds;
        if world.backoff {
            lab.pause_between_tries().await;
        }
        if world.ahead != [0, 0] {
            lab.set_ahead(world.ahead.map(milliseconds)).await;
        }
        if world.timeout > 0 {
            lab.timeout = Duration::from_secs(world.timeout);
        }
        if world.many_jobs {
            many_jobs(&lab, &scenario.news[0].table);
        }
        let state = &mut *lab.aws.state();
        state.shown_after = time::Duration::seconds(world.shown_after);
        state.entity_resolution_ahead = milliseconds(world.entity_resolution_ahead);
        state.oldest_first = world.oldest_first;
        state.shuffled = world.shuffled;
        state.queued_have_no_start = world.queued_have_no_start;
        state.shared_workflow = world.shared_workflow;
        let fired = Arc::new(AtomicUsize::new(0));
        lab.aws.fail_by(plan(scenario, Arc::clone(&fired)));
        Self {
            scenario,
            lab: lab.clone(),
            news: scenario.news.clone(),
            accepted: BTreeSet::new(),
            history: History::default(),
            refused: Vec::new(),
            fired,
        }
    }

    /// The changes that were accepted so far.
    fn changes(&self) -> Vec<News> {
        let accepted = self.accepted.iter();
        accepted.map(|which| self.news[*which].clone()).collect()
    }

    /// What is not as promised between two steps.
    fn broken(&mut self) -> Vec<String> {
        let seen = Seen::of_lab(&self.lab);
        let changes = self.changes();
        let mut broken = seen.broken(&changes, self.allowed());
        broken.extend(self.history.broken(&seen, &changes));
        self.history.pause(&seen, &changes);
        for body in &self.refused {
            if !seen.keeps(body) {
                broken.push("a refused message is lost".to_owned());
            }
        }
        let repetitions = 1 + self.fired.load(Ordering::Relaxed);
        broken.extend(seen.too_often(repetitions, self.lab.invoked + self.scenario.steps.len()));
        broken
    }

    fn allowed(&self) -> Allowed {
        let world = &self.scenario.world;
        let ahead = world.ahead.iter().map(|ahead| ahead.abs()).max();
        let clocks = match ahead {
            Some(0) | None => time::Duration::ZERO,
            Some(ahead) => time::Duration::milliseconds(ahead + 200),
        };
        Allowed {
            clocks,
            unseen_jobs: world.blind || self.are_jobs_alike(),
            jobs_by_hand: self.scenario.has_jobs_by_hand(),
        }
    }

    /// Whether nobody can tell from their starts which job is whose: two of one workflow were accepted
    /// within seconds, or somebody started one by hand.
    fn are_jobs_alike(&self) -> bool {
        let jobs = self.lab.aws.jobs();
        let shared = self.scenario.world.shared_workflow;
        let alike = jobs.iter().enumerate().any(|(index, job)| {
            jobs.iter().skip(index + 1).any(|other| {
                let near = (job.started_at - other.started_at).abs() < time::Duration::seconds(10);
                near && (shared || job.table == other.table) && !job.foreign && !other.foreign
            })
        });
        alike || self.scenario.has_jobs_by_hand()
    }

    /// Whether a change is not to be delivered again: it would be another one.
    fn is_over(&self, which: usize) -> bool {
        !self.news[which].named && self.accepted.contains(&which)
    }

    /// A change has happened when it is delivered.
    fn happens(&mut self, which: usize) -> Value {
        // Some arrive in the second in which they happened.
        let delay = time::Duration::seconds((which % 2) as i64);
        if !self.news[which].named {
            self.news[which].time = self.lab.now();
        } else if self.lab.now() < self.news[which].time + delay {
            self.lab.set_now(self.news[which].time + delay);
        }
        for other in self.scenario.together(which) {
            self.accepted.insert(other);
            self.history.delivered(&self.news[other]);
        }
        self.news[which].event.clone()
    }

    async fn act(&mut self, step: &Step) {
        match *step {
            Step::Deliver(which, environment) => {
                if !self.is_over(which) {
                    let event = self.happens(which);
                    self.lab.deliver(environment, &event).await;
                }
            }
            Step::DeliverBoth(one, other) => {
                if self.is_over(one) || self.is_over(other) || one == other && !self.news[one].named
                {
                    return;
                }
                let (one, other) = (self.happens(one), self.happens(other));
                let lab = &mut self.lab;
                let one = lab.delivery(&one);
                let other = lab.delivery(&other);
                let (first, second) = tokio::join!(
                    lab.invoke(0, &one.request_id, &one.payload),
                    lab.invoke(1, &other.request_id, &other.payload)
                );
                lab.keep(one, &first);
                lab.keep(other, &second);
            }
            Step::PollAndDeliver(which) => {
                if self.is_over(which) {
                    return;
                }
                let event = self.happens(which);
                let delivery = self.lab.delivery(&event);
                let mut poller = self.lab.clone();
                let (ended, _) = tokio::join!(
                    self.lab.invoke(0, &delivery.request_id, &delivery.payload),
                    poller.poll(1)
                );
                self.lab.invoked = poller.invoked;
                self.lab.keep(delivery, &ended);
            }
            Step::Round(environment) => {
                self.lab.pass(VISIBILITY);
                self.lab.repeat(environment).await;
                self.lab.poll(1 - environment).await;
            }
            Step::EndJob(status) => {
                // None is over in less than a minute.
                self.lab.pass(Duration::from_secs(60));
                self.lab.aws.end_job(status);
            }
            Step::Pass(seconds) => self.lab.pass(Duration::from_secs(seconds)),
            Step::Redrive => {
                let changes = self.changes();
                for change in &changes {
                    self.history.delivered(change);
                }
                self.lab.aws.move_messages("dead", "waiting");
            }
            Step::ForeignJob(which) => self.lab.aws.start_foreign_job(&self.news[which].table),
            Step::JobByHand(which) => {
                let table = &self.news[which].table;
                self.lab.aws.start_job_by_hand(table, Some("INCREMENTAL"));
            }
            Step::Refused(size) => {
                let body = json!({ "membershipId": "x".repeat(size) });
                self.lab.aws.send("waiting", &body.to_string());
                self.refused.push(body);
            }
        }
    }

    /// Faults end, and slots free: everything is done in a bounded number of rounds.
    async fn finish(&mut self) -> Vec<String> {
        self.lab
            .aws
            .fail_by(|_, _| Some(Fault::Slow(Duration::from_millis(1))));
        self.lab.timeout = crate::lab::TIMEOUT;
        let most = 4 * self.scenario.news.len() + 12 + self.lab.aws.jobs().len().min(40);
        let mut rounds = 0;
        while !(self.lab.repeats.is_empty() && self.lab.aws.messages("waiting").is_empty()) {
            self.lab.aws.end_job(Status::Succeeded);
            self.lab.pass(VISIBILITY);
            self.lab.repeat(0).await;
            while self.lab.poll(0).await {}
            let broken = self.broken();
            if !broken.is_empty() {
                return broken;
            }
            rounds += 1;
            if rounds > most {
                // A job that cannot be told from others is tracked until MAX_WAIT is over.
                if self.allowed().unseen_jobs && Seen::of_lab(&self.lab).only_tracks() {
                    break;
                }
                return vec![format!("no end after {rounds} rounds")];
            }
        }
        let seen = Seen::of_lab(&self.lab);
        let mut broken = Vec::new();
        if !self.allowed().unseen_jobs {
            broken.extend(seen.broken_at_the_end());
            if self.scenario.tracks() {
                broken.extend(seen.broken_ends());
            }
        }
        broken
    }
}

/// Which call fails how; the others take their time, so that the calls of two environments mix.
fn plan(
    scenario: &Scenario,
    fired: Arc<AtomicUsize>,
) -> impl Fn(usize, Operation) -> Option<Fault> + Send + Sync + 'static {
    let (faults, blind, pace) = (scenario.faults.clone(), scenario.world.blind, scenario.pace);
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

/// Old jobs that somebody started for a table at Entity Resolution.
fn many_jobs(lab: &Lab, table: &str) {
    let now = lab.now();
    lab.set_now(now - time::Duration::days(20));
    for _ in 0..520 {
        lab.aws.start_foreign_job(table);
        lab.aws.end_job(Status::Succeeded);
    }
    lab.set_now(now);
}
