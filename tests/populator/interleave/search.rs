//! The search through the schedules of two invocations.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use fake_aws::{Answer, Effect, Fault, Operation, State, Status};
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use super::process::{Answered, End, Next, Pending, Point, Processes, Start};
use crate::fault_search::faults;
use crate::invariants::{Allowed, Change, History, Seen, story};
use crate::simulation::Random;
use crate::simulator::{Delivery, VISIBILITY, failure_record};

/// How far one environment may be ahead of a call of the other: more than that the other is not slower,
/// unless a fault makes it so. And so far may two clocks differ.
const AHEAD: Duration = Duration::seconds(1);

/// Rounds of the waiting queue after which everything is done.
const MAX_ROUNDS: usize = 12;

/// What one of the two environments does.
#[derive(Clone, Debug)]
pub enum Act {
    /// Lambda delivers a change.
    Deliver(Delivery),
    /// Lambda's poller delivers messages of the waiting queue.
    Poll(String, Value),
}

/// The state in which two invocations begin.
pub struct Setup {
    pub state: State,
    pub now: OffsetDateTime,
    pub retries: Vec<Delivery>,
    pub acts: [Act; 2],
    /// The changes that were accepted before, or that are delivered now.
    pub changes: Vec<Change>,
    /// Whether jobs are tracked.
    pub track: bool,
    pub allowed: Allowed,
    /// The faults of a schedule.
    pub faults: usize,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum At {
    Point(Point),
    Crashed(OffsetDateTime),
}

#[derive(Clone)]
struct Node {
    state: State,
    at: [At; 2],
    faults: usize,
    trail: Option<Rc<Step>>,
}

struct Step {
    before: Option<Rc<Step>>,
    environment: usize,
    operation: Operation,
    fault: Option<Fault>,
}

/// The state after both invocations, and until everything is done.
struct After {
    state: State,
    now: OffsetDateTime,
    retries: Vec<Delivery>,
    history: History,
    /// The number of the next invocation.
    next: u16,
}

/// What was searched, and what was found.
#[derive(Default)]
pub struct Found {
    pub states: usize,
    pub schedules: usize,
    pub ends: usize,
    pub executions: usize,
    /// Each broken invariant: how often it was broken, and the first schedule.
    pub broken: BTreeMap<String, (usize, String)>,
}

pub struct Search<'a> {
    processes: &'a mut Processes,
    setup: Setup,
    seen: HashSet<u64>,
    drained: HashSet<u64>,
    found: Found,
}

impl<'a> Search<'a> {
    pub fn new(processes: &'a mut Processes, setup: Setup) -> Self {
        Self {
            processes,
            setup,
            seen: HashSet::new(),
            drained: HashSet::new(),
            found: Found::default(),
        }
    }

    /// Every schedule.
    pub async fn every(mut self) -> Found {
        let executions = self.processes.executions;
        let mut open = vec![self.begin().await];
        while let Some(node) = open.pop() {
            if !self.seen.insert(key(&node)) {
                continue;
            }
            self.found.states += 1;
            let calls = self.next_calls(&node);
            if calls.is_empty() {
                self.end(node).await;
                continue;
            }
            for (environment, pending) in calls {
                let mut all = vec![None];
                if node.faults > 0 {
                    all.extend(self.faults(pending.operation).into_iter().map(Some));
                }
                // The last one is looked at first: without a fault, in the environment that went last.
                for fault in all.into_iter().rev() {
                    open.push(self.step(&node, environment, &pending, fault).await);
                }
            }
        }
        self.found.executions = self.processes.executions - executions;
        self.found
    }

    /// Random schedules, one for each seed.
    pub async fn some(mut self, seeds: std::ops::Range<u64>) -> Found {
        let executions = self.processes.executions;
        let begin = self.begin().await;
        for seed in seeds {
            let mut random = Random::new(seed);
            let mut node = begin.clone();
            loop {
                self.found.states += 1;
                let calls = self.next_calls(&node);
                if calls.is_empty() {
                    break;
                }
                let (environment, pending) = &calls[random.below(calls.len())];
                let faults = self.faults(pending.operation);
                let fault = (node.faults > 0 && random.below(6) == 0)
                    .then(|| faults[random.below(faults.len())].clone());
                node = self.step(&node, *environment, pending, fault).await;
            }
            self.end(node).await;
        }
        self.found.executions = self.processes.executions - executions;
        self.found
    }

    async fn begin(&mut self) -> Node {
        let mut at = [At::Point(0); 2];
        for (environment, act) in self.setup.acts.iter().enumerate() {
            let (request_id, payload) = match act {
                Act::Deliver(delivery) => (&delivery.request_id, &delivery.payload),
                Act::Poll(request_id, batch) => (request_id, batch),
            };
            let start = Start {
                number: environment as u16,
                environment,
                request_id: request_id.clone(),
                payload: payload.clone(),
                began: self.setup.now,
            };
            at[environment] = At::Point(self.processes.begin(start, &self.setup.state).await);
        }
        Node {
            state: self.setup.state.clone(),
            at,
            faults: self.setup.faults,
            trail: None,
        }
    }

    /// The faults of a call. With several faults in a schedule a job may be started and never seen. It then
    /// runs once more, which the function cannot prevent, so reads of jobs are not refused.
    fn faults(&self, operation: Operation) -> Vec<Fault> {
        let mut all = faults(operation);
        if self.setup.faults > 1 && reads_jobs(operation) {
            all.retain(|fault| !matches!(fault, Fault::Refuse(_)));
        }
        all
    }

    /// The calls that have to be tried next.
    fn next_calls(&self, node: &Node) -> Vec<(usize, Rc<Pending>)> {
        let pending = |at: &At| match at {
            At::Point(point) => match self.processes.next(*point) {
                Next::Call(pending) => Some(Rc::clone(pending)),
                Next::Ended(..) => None,
            },
            At::Crashed(_) => None,
        };
        let [first, second] = [pending(&node.at[0]), pending(&node.at[1])];
        let in_time = |own: &Rc<Pending>, other: &Option<Rc<Pending>>| {
            other
                .as_ref()
                .is_none_or(|other| own.at <= other.at + AHEAD)
        };
        let mut calls = Vec::new();
        for (environment, own, other) in [(0, &first, &second), (1, &second, &first)] {
            if let Some(own) = own.as_ref().filter(|own| in_time(own, other)) {
                calls.push((environment, Rc::clone(own)));
            }
        }
        match calls.iter().find(|(_, call)| is_alone(call.operation)) {
            Some(alone) => vec![alone.clone()],
            None => calls,
        }
    }

    async fn step(
        &mut self,
        node: &Node,
        environment: usize,
        pending: &Rc<Pending>,
        fault: Option<Fault>,
    ) -> Node {
        let At::Point(point) = node.at[environment] else {
            panic!("a crashed invocation makes no call");
        };
        let mut next = node.clone();
        next.trail = Some(Rc::new(Step {
            before: node.trail.clone(),
            environment,
            operation: pending.operation,
            fault: fault.clone(),
        }));
        let services = &self.processes.services;
        let mut at = pending.at;
        let mut serve = || {
            let (reply, served_at) = services.serve(&mut next.state, pending);
            at = served_at;
            reply
        };
        let answer = match fault {
            None => Answer::Reply(serve()),
            Some(fault) => {
                let Effect { answer, crash, .. } = fault.apply(serve);
                next.faults -= 1;
                if crash {
                    next.at[environment] = At::Crashed(at);
                    return next;
                }
                answer
            }
        };
        let answer = Answered { answer, at };
        let after = self.processes.answered(point, answer, &next.state).await;
        next.at[environment] = At::Point(after);
        next
    }

    /// Both invocations have ended: Lambda and SQS react, the invariants hold, faults end, and everything is
    /// done in a bounded number of rounds.
    async fn end(&mut self, node: Node) {
        self.found.schedules += 1;
        let mut after = self.ended(&node);
        let faults = self.setup.faults - node.faults;
        if !self.drained.insert(after.key()) {
            return;
        }
        self.found.ends += 1;
        let mut broken = after.broken(&self.setup, faults);
        if broken.is_empty() {
            broken = self.drain(&mut after, faults).await;
        }
        for what in broken {
            let first = || {
                (
                    0,
                    format!("{}\n{}", trail(&node.trail), story(&after.state)),
                )
            };
            self.found.broken.entry(what).or_insert_with(first).0 += 1;
        }
    }

    fn ended(&self, node: &Node) -> After {
        let mut after = After {
            state: node.state.clone(),
            now: self.setup.now,
            retries: self.setup.retries.clone(),
            history: History::default(),
            next: 2,
        };
        let before = Seen::of(&self.setup.state, &self.setup.retries);
        after.history.pause(&before, &self.setup.changes);
        let ends = node.at.map(|at| match at {
            At::Crashed(at) => (End::Crashed, at),
            At::Point(point) => match self.processes.next(point) {
                Next::Ended(end, at) => (end.clone(), *at),
                Next::Call(_) => panic!("it has not ended"),
            },
        });
        after.now = ends[0].1.max(ends[1].1);
        renumber(&mut after.state, &self.setup.state);
        for (act, (end, _)) in self.setup.acts.iter().zip(ends) {
            match act {
                Act::Deliver(delivery) => self.keep(&mut after, delivery.clone(), &end),
                Act::Poll(_, batch) => self.delete(&mut after, batch, &end),
            }
        }
        after
    }

    /// What Lambda does with an event when its invocation has ended.
    fn keep(&self, after: &mut After, delivery: Delivery, end: &End) {
        if matches!(end, End::Response(_)) {
            return;
        }
        let tries = delivery.tries + 1;
        if tries < 3 {
            after.retries.push(Delivery { tries, ..delivery });
        } else {
            let record = failure_record(&delivery).to_string();
            self.processes
                .services
                .at(&mut after.state, after.now, |aws| aws.send("dead", &record));
        }
    }

    /// What Lambda's poller does with a batch when its invocation has ended.
    fn delete(&self, after: &mut After, batch: &Value, end: &End) {
        if let End::Response(answer) = end {
            self.processes
                .services
                .at(&mut after.state, after.now, |aws| {
                    aws.received("waiting", batch, Some(answer));
                });
        }
    }

    async fn drain(&mut self, after: &mut After, faults: usize) -> Vec<String> {
        let mut rounds = 0;
        while !(after.retries.is_empty() && after.state.queues["waiting"].messages.is_empty()) {
            rounds += 1;
            if rounds > MAX_ROUNDS {
                return vec![format!("no end after {MAX_ROUNDS} rounds")];
            }
            let end_job = |aws: &fake_aws::FakeAws| aws.end_job(Status::Succeeded);
            self.processes
                .services
                .at(&mut after.state, after.now, end_job);
            after.now += VISIBILITY;
            for delivery in std::mem::take(&mut after.retries) {
                let end = self
                    .invoke(after, &delivery.request_id, &delivery.payload)
                    .await;
                self.keep(after, delivery, &end);
            }
            let receive = |aws: &fake_aws::FakeAws| aws.receive("waiting", 10);
            let batch = self
                .processes
                .services
                .at(&mut after.state, after.now, receive);
            if let Some(batch) = batch {
                let request_id = format!("round-{rounds}");
                let end = self.invoke(after, &request_id, &batch).await;
                self.delete(after, &batch, &end);
            }
            let broken = after.broken(&self.setup, faults);
            // The search was in this state before.
            if !broken.is_empty() || !self.drained.insert(after.key()) {
                return broken;
            }
        }
        let seen = Seen::of(&after.state, &after.retries);
        let mut broken = seen.broken_at_the_end();
        if self.setup.track {
            broken.extend(seen.broken_ends());
            broken.extend(seen.stale(&self.setup.changes));
        }
        broken
    }

    /// An invocation that runs alone.
    async fn invoke(&mut self, after: &mut After, request_id: &str, payload: &Value) -> End {
        let start = Start {
            number: after.next,
            environment: 0,
            request_id: request_id.to_owned(),
            payload: payload.clone(),
            began: after.now,
        };
        after.next += 1;
        let mut point = self.processes.begin(start, &after.state).await;
        loop {
            let pending = match self.processes.next(point) {
                Next::Ended(end, at) => {
                    after.now = *at;
                    return end.clone();
                }
                Next::Call(pending) => Rc::clone(pending),
            };
            let (reply, at) = self.processes.services.serve(&mut after.state, &pending);
            let answer = Answered {
                answer: Answer::Reply(reply),
                at,
            };
            point = self.processes.answered(point, answer, &after.state).await;
        }
    }
}

impl After {
    fn broken(&mut self, setup: &Setup, faults: usize) -> Vec<String> {
        let seen = Seen::of(&self.state, &self.retries);
        let mut broken = seen.broken(&setup.changes, setup.allowed);
        broken.extend(self.history.broken(&seen, &setup.changes));
        self.history.pause(&seen, &setup.changes);
        // The second environment may have done the same at the same time. Each change was delivered once
        // before, and once or twice now.
        broken.extend(seen.too_often(faults + 1, 3 + self.retries.len()));
        broken
    }

    fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        fingerprint(&self.state, &mut hasher);
        (self.now, self.next).hash(&mut hasher);
        format!("{:?}", self.retries).hash(&mut hasher);
        hasher.finish()
    }
}

/// Whether a call and every call of the other environment are independent: the order of events and messages
/// does not matter, and the description of a table does not change.
fn is_alone(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::PutEvents
            | Operation::SendMessage
            | Operation::GetIdMappingTable
            | Operation::GetIdMappingWorkflow
            | Operation::GetSchema
    )
}

pub fn reads_jobs(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::GetIdMappingTable | Operation::ListIdMappingJobs | Operation::GetIdMappingJob
    )
}

fn key(node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    fingerprint(&node.state, &mut hasher);
    (node.at, node.faults).hash(&mut hasher);
    hasher.finish()
}

/// The state of the services without the order in which events and messages arrived.
fn fingerprint(state: &State, hasher: &mut impl Hasher) {
    for job in &state.jobs {
        format!("{job:?}").hash(hasher);
    }
    for (key, item) in &state.items {
        (key, item.to_string()).hash(hasher);
    }
    let events = state.events.iter();
    let mut events: Vec<String> = events
        .map(|event| format!("{} {}", event["time"], event["detail"]))
        .collect();
    events.sort();
    events.hash(hasher);
    state.changed.hash(hasher);
    for queue in state.queues.values() {
        let mut messages: Vec<String> = queue
            .messages
            .iter()
            .map(|message| {
                format!(
                    "{} {} {} {} {}",
                    message.body,
                    message.attributes,
                    message.sent_at,
                    message.visible_at,
                    message.receive_count
                )
            })
            .collect();
        messages.sort();
        messages.hash(hasher);
    }
}

/// Renumbers the messages that were sent since a state in the order of their bodies, so that states that
/// differ only in their ids are one.
fn renumber(state: &mut State, since: &State) {
    for (name, queue) in &mut state.queues {
        let old = since
            .queues
            .get(name)
            .map_or(0, |queue| queue.messages.len());
        let new = &mut queue.messages[old..];
        new.sort_by_key(|message| (message.sent_at, message.body.clone()));
        for (number, message) in new.iter_mut().enumerate() {
            message.id = format!("{number:08x}-5151-4000-8000-000000000000");
        }
    }
}

/// A schedule in readable form.
fn trail(last: &Option<Rc<Step>>) -> String {
    let mut steps = Vec::new();
    let mut step = last;
    while let Some(one) = step {
        let fault = one.fault.as_ref().map(|fault| format!(" {fault:?}"));
        steps.push(format!(
            "{}:{:?}{}",
            one.environment,
            one.operation,
            fault.unwrap_or_default()
        ));
        step = &one.before;
    }
    steps.reverse();
    steps.join(" | ")
}
