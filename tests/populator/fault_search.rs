//! The exhaustive fault search: every order of deliveries, ends of jobs and polls of the waiting queue,
//! with every single fault (or every two) at every call, on the function itself.
//!
//! A node is the whole state of the services. An edge is a delivery, a round, or the end of a job, with
//! up to two faults at any of its calls. Nodes that differ only in random ids, and in times that nothing
//! compares, are one.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use fake_aws::{Exception, FakeAws, Fault, Operation, Slot, State, Status};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::effort::{is_whole, number};
use crate::harness::{T1, T2};
use crate::invariants;
use crate::invariants::{Allowed, Change, Seen};
use crate::simulator::{BEGIN, Delivery, Simulator, VISIBILITY};

/// The two changes. The second happens after the first one's job may have started.
fn changes(second_table: &str) -> [Change; 2] {
    [
        Change::new("change-a", T1, BEGIN - time::Duration::seconds(10)),
        Change::new(
            "change-b",
            second_table,
            BEGIN + time::Duration::seconds(30),
        ),
    ]
}

/// What may go wrong at a call.
pub fn faults(operation: Operation) -> Vec<Fault> {
    let refuse = |exception| Fault::Refuse(exception);
    match operation {
        Operation::PopulateIdMappingTable => vec![
            refuse(Exception::validation("INVALID_CONFIGURATION")),
            refuse(Exception::validation("IAM_SYNCHRONIZATION_DELAY")),
            refuse(Exception::throttling()),
            refuse(Exception::internal_server()),
            Fault::AcceptAndFail,
            Fault::AcceptAndDrop,
            Fault::AcceptAndHang,
            Fault::Crash,
            Fault::AcceptAndCrash,
        ],
        Operation::PutItem => vec![
            refuse(Exception::access_denied()),
            Fault::AcceptAndFail,
            Fault::AcceptAndHang,
            Fault::Crash,
            Fault::AcceptAndCrash,
        ],
        Operation::PutEvents => vec![
            Fault::FailEntries("MalformedDetail".to_owned()),
            Fault::AcceptAndHang,
            Fault::Crash,
            Fault::AcceptAndCrash,
        ],
        Operation::SendMessage => vec![
            refuse(Exception::access_denied()),
            Fault::AcceptAndHang,
            Fault::Crash,
            Fault::AcceptAndCrash,
        ],
        // Reads.
        _ => vec![refuse(Exception::access_denied()), Fault::Crash],
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Deliver(usize),
    EndJob,
    Round,
}

#[derive(Clone)]
struct Node {
    state: State,
    repeats: Vec<Delivery>,
    now: OffsetDateTime,
    /// How often each change has still to be delivered.
    deliveries: [u8; 2],
    ends: u8,
    rounds: u8,
    faults: u8,
    path: String,
}

struct Search {
    sim: Simulator,
    /// Whether jobs are tracked to their end.
    track: bool,
    allowed: Allowed,
    changes: [Change; 2],
    /// How often each change is delivered.
    deliveries: [u8; 2],
    seen: HashSet<u64>,
    /// The states on the way to an end, each with the number of rounds to it.
    drained: HashSet<(u64, usize)>,
    nodes: usize,
    edges: usize,
    ends: usize,
    injected: usize,
}

impl Search {
    fn restore(&mut self, node: &Node) {
        *self.sim.aws.state() = node.state.clone();
        self.sim.aws.state().calls.clear();
        self.sim.repeats = node.repeats.clone();
        self.sim.set_now(node.now);
    }

    fn node(&self, from: &Node, path: String) -> Node {
        Node {
            state: self.sim.aws.state().clone(),
            repeats: self.sim.repeats.clone(),
            now: self.sim.now(),
            path,
            ..*from
        }
    }

    async fn act(&mut self, act: Act) {
        match act {
            Act::Deliver(which) => {
                let change = self.changes[which].clone();
                let earliest = change.time + time::Duration::seconds(2);
                if self.sim.now() < earliest {
                    self.sim.set_now(earliest);
                } else {
                    self.sim.pass(Duration::from_secs(3));
                }
                self.sim.deliver(0, &change.event).await;
            }
            Act::EndJob => {
                // Only where jobs are tracked does the function learn that one failed.
                let status = match self.track {
                    true => Status::Failed,
                    false => Status::Succeeded,
                };
                self.sim.aws.end_job(status);
            }
            Act::Round => self.round().await,
        }
    }

    /// Where jobs show late, reads of jobs are not refused: a call would be abandoned before its job
    /// shows, as the README says.
    fn faults(&self, operation: Operation) -> Vec<Fault> {
        let mut faults = faults(operation);
        let reads_jobs = matches!(
            operation,
            Operation::GetIdMappingTable
                | Operation::ListIdMappingJobs
                | Operation::GetIdMappingJob
        );
        if reads_jobs && !self.sim.aws.state().shown_after.is_zero() {
            faults.retain(|fault| !matches!(fault, Fault::Refuse(_)));
        }
        faults
    }

    async fn round(&mut self) {
        self.sim.pass(VISIBILITY);
        self.sim.repeat(0).await;
        self.sim.poll(0).await;
    }

    /// The nodes that an act leads to, with every combination of the remaining faults.
    async fn successors(&mut self, node: &Node, act: Act) -> Vec<Node> {
        let mut after = node.clone();
        match act {
            Act::Deliver(which) => after.deliveries[which] -= 1,
            Act::EndJob => after.ends -= 1,
            Act::Round => after.rounds -= 1,
        }
        let mut found = Vec::new();
        let mut plans: Vec<(Vec<(usize, Fault)>, usize)> = vec![(Vec::new(), 0)];
        while let Some((plan, from)) = plans.pop() {
            self.restore(node);
            let planned = plan.clone();
            self.sim.aws.fail_by(move |number, _| {
                let of_call = planned.iter().find(|(planned, _)| *planned == number);
                of_call.map(|(_, fault)| fault.clone())
            });
            self.act(act).await;
            self.edges += 1;
            self.injected += plan.len();
            let mut path = format!("{}\n  {act:?}", node.path);
            let calls = self.sim.aws.calls();
            for (number, fault) in &plan {
                write!(
                    path,
                    " with {fault:?} at call {number} ({:?})",
                    calls[*number].operation
                )
                .unwrap();
            }
            let remaining = node.faults - plan.len() as u8;
            self.assert_invariants(&after, &path);
            found.push(Node {
                faults: remaining,
                ..self.node(&after, path)
            });
            if remaining > 0 {
                for (number, call) in calls.iter().enumerate().skip(from) {
                    for fault in self.faults(call.operation.unwrap()) {
                        let mut plan = plan.clone();
                        plan.push((number, fault));
                        plans.push((plan, number + 1));
                    }
                }
            }
        }
        found
    }

    /// Checks that every accepted change is kept, before anything is delivered again.
    fn assert_invariants(&self, after: &Node, path: &str) {
        let changes = self
            .changes
            .iter()
            .zip(after.deliveries.iter().zip(self.deliveries));
        let accepted = changes.filter(|(_, (left, all))| *left < all);
        let accepted: Vec<Change> = accepted.map(|(change, _)| change.clone()).collect();
        let broken = Seen::of_simulator(&self.sim).broken(&accepted, self.allowed);
        let story = || invariants::story(&self.sim.aws.state());
        assert!(broken.is_empty(), "{broken:#?}\nafter{path}\n{}", story());
    }

    /// Faults end and the slot frees: everything is done in a bounded number of rounds, and every
    /// invariant holds.
    async fn drain(&mut self, node: &Node) {
        self.restore(node);
        self.sim.aws.fail_by(|_, _| None);
        let mut rounds = 0;
        while !(self.sim.repeats.is_empty() && self.sim.aws.messages("waiting").is_empty()) {
            self.sim.aws.end_job(Status::Succeeded);
            self.round().await;
            rounds += 1;
            assert!(rounds < 12, "no end after {rounds} rounds:{}", node.path);
            // The search was in this state before.
            let key = self.key(&self.node(node, String::new()));
            if !self.drained.insert((key, rounds)) {
                return;
            }
        }
        self.ends += 1;
        let seen = Seen::of_simulator(&self.sim);
        let mut broken = seen.broken(&self.changes, self.allowed);
        broken.extend(seen.broken_at_the_end());
        if self.track {
            broken.extend(seen.broken_ends());
            broken.extend(seen.stale(&self.changes));
        }
        assert!(
            broken.is_empty(),
            "{broken:#?}\nafter{}\n{}",
            node.path,
            invariants::story(&self.sim.aws.state())
        );
    }

    /// The key of a node: its state without differences that do not matter.
    fn key(&self, node: &Node) -> u64 {
        let mut names = BTreeMap::new();
        let mut name = |text: &str| {
            let count = names.len();
            *names.entry(text.to_owned()).or_insert(count)
        };
        // The function compares a time with the times of the changes, and with the present by its age: seconds
        // decide whether clocks differ, a minute whether a job shows, five minutes and an hour whether a call is
        // abandoned, half an hour whether a waiter is still live. Time passes here by seconds in an act and by a
        // quarter of an hour between rounds, so ages are within two minutes of a multiple of that: below two
        // minutes the tens of seconds decide the result of a comparison, above them the minutes.
        let moment = |moment: OffsetDateTime| {
            let second = time::Duration::seconds(1);
            let after = self
                .changes
                .iter()
                .map(|change| moment >= change.time + second);
            let after: Vec<bool> = after.collect();
            let age = node.now - moment;
            let age = match age < time::Duration::minutes(2) {
                true => (age.whole_seconds() / 10, 0),
                false => (0, age.whole_minutes()),
            };
            format!("{after:?}{age:?}{}", moment > node.now)
        };
        let mut text = format!(
            "{:?} {} {} {}",
            node.deliveries, node.ends, node.rounds, node.faults
        );
        for (key, item) in &node.state.items {
            let text_of_record = item["record"]["S"].as_str().unwrap_or_default();
            let record = serde_json::from_str(text_of_record).unwrap_or_else(|_| item.clone());
            write!(text, "{key} {}", canonical(&record, &mut name, &moment)).unwrap();
        }
        for job in &node.state.jobs {
            write!(
                text,
                "{} {:?} {} {:?} {:?}",
                job.table,
                job.job_type,
                moment(job.started_at),
                job.ended_at.map(moment),
                job.status
            )
            .unwrap();
        }
        for queue in node.state.queues.values() {
            let mut messages: Vec<String> = Vec::new();
            for message in &queue.messages {
                let body: Value = serde_json::from_str(&message.body).unwrap();
                let body = canonical(&body, &mut name, &moment);
                messages.push(format!(
                    "{body} {} {}",
                    moment(message.sent_at),
                    moment(message.visible_at)
                ));
            }
            write!(text, "{messages:?}").unwrap();
        }
        for repeat in &node.repeats {
            write!(text, "{} {}", repeat.payload["id"], repeat.tries).unwrap();
        }
        let mut events: Vec<String> = node
            .state
            .events
            .iter()
            .map(|event| {
                format!(
                    "{}{}",
                    event["detail"]["eventId"], event["detail"]["outcome"]
                )
            })
            .collect();
        events.sort();
        write!(text, "{events:?}").unwrap();
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        hasher.finish()
    }
}

/// A JSON value in which random ids are numbered, and times are replaced by the results of their comparisons.
fn canonical(
    value: &Value,
    name: &mut impl FnMut(&str) -> usize,
    moment: &impl Fn(OffsetDateTime) -> String,
) -> String {
    match value {
        Value::Object(members) => {
            let mut text = String::new();
            for (key, value) in members {
                let value = match (key.as_str(), value) {
                    ("attempt", Value::String(attempt)) => name(attempt).to_string(),
                    (_, Value::Number(number))
                        if number.as_i64().is_some_and(|n| n > 1_000_000_000_000) =>
                    {
                        let nanoseconds = i128::from(number.as_i64().unwrap()) * 1_000_000;
                        moment(OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap())
                    }
                    // Of the queue's messages.
                    (_, Value::String(text)) => match OffsetDateTime::parse(text, &Rfc3339) {
                        Ok(at) => moment(at),
                        Err(_) => text.clone(),
                    },
                    (_, value) => canonical(value, name, moment),
                };
                write!(text, "{key}:{value},").unwrap();
            }
            text
        }
        Value::Array(items) => items
            .iter()
            .map(|item| canonical(item, name, moment))
            .collect::<Vec<_>>()
            .join(","),
        other => other.to_string(),
    }
}

/// The parameters of a search.
struct Start {
    second_table: &'static str,
    slot: Slot,
    /// Entity Resolution shows a job only when it is so old.
    shown_after: time::Duration,
    /// Whether jobs are tracked to their end.
    track: bool,
    /// `MAX_JOB_ATTEMPTS`, with jobs that are tracked.
    attempts: u8,
    /// `MIN_INTERVAL` in minutes, or zero.
    interval: u8,
    /// How many faults a path may have.
    faults: u8,
    /// Which change is delivered first; none: either.
    first: Option<usize>,
}

async fn search(start: Start) {
    let Start {
        second_table,
        slot,
        shown_after,
        track,
        attempts,
        interval,
        faults,
        first,
    } = start;
    let (most, minutes) = (attempts.to_string(), format!("{interval}m"));
    let settings = [
        ("TRACK_COMPLETION", if track { "true" } else { "" }),
        ("MAX_JOB_ATTEMPTS", if track { &most } else { "" }),
        ("MIN_INTERVAL", if interval > 0 { &minutes } else { "" }),
    ];
    let allowed = Allowed {
        max_attempts: track.then_some(attempts.into()),
        min_interval: time::Duration::minutes(interval.into()),
        ..Allowed::NOTHING
    };
    let sim = Simulator::with(FakeAws::in_process(), slot, &settings).await;
    sim.aws.state().shown_after = shown_after;
    let deliveries = match (attempts, track && !is_whole()) {
        (2.., _) => [1, 1],
        (_, true) => [1, 2],
        (_, false) => [2, 2],
    };
    let begin = Node {
        state: sim.aws.state().clone(),
        repeats: Vec::new(),
        now: BEGIN,
        deliveries,
        // A retry begins in the round after that in which its job's failure is seen.
        ends: attempts,
        rounds: 2 * attempts - 1,
        faults,
        path: String::new(),
    };
    let mut search = Search {
        sim,
        track,
        allowed,
        changes: changes(second_table),
        deliveries,
        seen: HashSet::new(),
        drained: HashSet::new(),
        nodes: 0,
        edges: 0,
        ends: 0,
        injected: 0,
    };
    let mut open = VecDeque::from([begin]);
    while let Some(node) = open.pop_front() {
        search.nodes += 1;
        if node.deliveries == [0, 0] {
            search.drain(&node).await;
        }
        let running = node
            .state
            .jobs
            .iter()
            .any(|job| job.status == Status::Running);
        let mut acts = Vec::new();
        acts.extend(
            (0..2)
                .filter(|which| node.deliveries[*which] > 0)
                .filter(|which| !node.path.is_empty() || first.is_none_or(|first| first == *which))
                .map(Act::Deliver),
        );
        if node.ends > 0 && running {
            acts.push(Act::EndJob);
        }
        let work = !node.repeats.is_empty() || !node.state.queues["waiting"].messages.is_empty();
        if node.rounds > 0 && work {
            acts.push(Act::Round);
        }
        for act in acts {
            for next in search.successors(&node, act).await {
                let key = search.key(&next);
                if search.seen.insert(key) {
                    open.push_back(next);
                }
            }
        }
    }
    println!(
        "{slot:?}, {} table(s){}: {} states, {} invocations or rounds with {} faults, {} ends",
        if second_table == T1 { 1 } else { 2 },
        if track { ", jobs tracked" } else { "" },
        search.nodes,
        search.edges,
        search.injected,
        search.ends
    );
}

/// The faults of one path.
fn budget() -> u8 {
    number("FAULT_SEARCH_FAULTS", 1, 2) as u8
}

// One table in two parts. By its name the longest test begins first, and the others run beside it.
#[tokio::test(start_paused = true)]
async fn one_table_with_the_earlier_change_first() {
    search(Start {
        second_table: T1,
        slot: Slot::Conflict,
        shown_after: time::Duration::ZERO,
        track: false,
        attempts: 1,
        interval: 0,
        faults: budget(),
        first: Some(0),
    })
    .await;
}

/// A second job is accepted, so the service does not hide a call too many. And jobs show late.
#[tokio::test(start_paused = true)]
async fn one_table_with_the_later_change_first() {
    search(Start {
        second_table: T1,
        slot: Slot::Queue,
        shown_after: time::Duration::MINUTE,
        track: false,
        attempts: 1,
        interval: 0,
        faults: budget(),
        first: Some(1),
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_changes_of_two_tables() {
    search(Start {
        second_table: T2,
        slot: Slot::QuotaExceeded,
        shown_after: time::Duration::ZERO,
        track: false,
        attempts: 1,
        interval: 0,
        faults: budget(),
        first: None,
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_changes_whose_jobs_are_tracked() {
    search(Start {
        second_table: T2,
        slot: Slot::Conflict,
        shown_after: time::Duration::MINUTE,
        track: true,
        attempts: 1,
        interval: 0,
        // Two take hours.
        faults: number("FAULT_SEARCH_FAULTS", 1, 1) as u8,
        first: None,
    })
    .await;
}

/// Jobs fail, and their requests are tried again.
#[tokio::test(start_paused = true)]
async fn two_changes_whose_jobs_are_started_again() {
    search(Start {
        second_table: T1,
        slot: Slot::Conflict,
        shown_after: time::Duration::ZERO,
        track: true,
        attempts: 2,
        interval: 0,
        faults: number("FAULT_SEARCH_FAULTS", 1, 1) as u8,
        first: Some(0),
    })
    .await;
}

/// The second change comes too soon.
#[tokio::test(start_paused = true)]
async fn two_changes_of_one_table_within_an_interval() {
    search(Start {
        second_table: T1,
        slot: Slot::Unlimited,
        shown_after: time::Duration::ZERO,
        track: false,
        attempts: 1,
        interval: 40,
        faults: budget(),
        first: Some(0),
    })
    .await;
}
