//! An invocation as a deterministic process: what it calls next, and how it ends, follows from its
//! payload, the time at which it began and the answers that it got.
//!
//! So it is executed once for each sequence of answers, and looked up from then on. Two sources of
//! randomness are removed. Its clock moves 20 ms with each of its own calls, while it waits for its own
//! timers, and on to the time of what it reads ([`Services`]). And the random UUIDs that it makes (of claims
//! and of writes) are replaced on the wire by numbered ones, and translated back in its answers.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_aws::{Answer, Bytes, FakeAws, Operation, Reply, Request, State};
use serde_json::Value;
use time::OffsetDateTime;

use super::newer::as_newer;
use crate::harness::{M, T1, T2};
use crate::simulator::{Ended, Simulator, Time};

/// How long a call takes to reach its service.
const PACE: Duration = Duration::from_millis(20);

/// An invocation.
#[derive(Clone, Debug)]
pub struct Start {
    /// The number of the invocation in its schedule. Its UUIDs on the wire have it.
    pub number: u16,
    pub environment: usize,
    pub request_id: String,
    pub payload: Value,
    pub began: OffsetDateTime,
}

/// A call that waits for its answer.
#[derive(Clone, Debug)]
pub struct Pending {
    pub operation: Operation,
    pub request: Request,
    /// By the clock of its environment.
    pub at: OffsetDateTime,
}

/// How an invocation ended.
#[derive(Clone, Debug)]
pub enum End {
    Response(Value),
    Failed,
    /// The process ended, by a fault or at the timeout.
    Crashed,
}

/// What comes next in an invocation.
#[derive(Clone, Debug)]
pub enum Next {
    Call(Rc<Pending>),
    Ended(End, OffsetDateTime),
}

/// A point of an invocation: the invocation, and the answers that it got so far.
pub type Point = usize;

struct Known {
    start: Rc<Start>,
    /// The previous point, and the answer that led to this one.
    before: Option<(Point, Answered)>,
    next: Next,
    after: HashMap<String, Point>,
}

/// The invocations that were executed so far.
pub struct Processes {
    sim: Simulator,
    /// The environment that runs a newer version.
    newer: Option<usize>,
    pub services: Services,
    known: Vec<Known>,
    roots: HashMap<String, Point>,
    pub executions: usize,
}

impl Processes {
    pub fn new(sim: &Simulator, newer: Option<usize>) -> Self {
        Self {
            sim: sim.clone(),
            newer,
            services: Services::new(),
            known: Vec::new(),
            roots: HashMap::new(),
            executions: 0,
        }
    }

    pub fn next(&self, point: Point) -> &Next {
        &self.known[point].next
    }

    /// An invocation before its first answer. The services are as they were when it began.
    pub async fn begin(&mut self, start: Start, state: &State) -> Point {
        let key = format!(
            "{} {} {} {} {}",
            start.number, start.environment, start.request_id, start.began, start.payload
        );
        if let Some(point) = self.roots.get(&key) {
            return *point;
        }
        let point = self.execute(Rc::new(start), None, state).await;
        self.roots.insert(key, point);
        point
    }

    /// The same invocation after one answer more. The services are as this answer left them.
    pub async fn answered(&mut self, point: Point, answer: Answered, state: &State) -> Point {
        if let Some(after) = self.known[point].after.get(&answer.key()) {
            return *after;
        }
        let start = Rc::clone(&self.known[point].start);
        self.execute(start, Some((point, answer)), state).await
    }

    /// Executes an invocation to its end: with the answers that led to a point, then as if it ran alone. The
    /// points on the way become known.
    async fn execute(
        &mut self,
        start: Rc<Start>,
        last: Option<(Point, Answered)>,
        state: &State,
    ) -> Point {
        // An execution must not depend on what another one read or retried.
        self.sim.renew_environment(start.environment).await;
        self.executions += 1;
        let mut answers: Vec<Answered> = Vec::new();
        let mut expected: Vec<Rc<Pending>> = Vec::new();
        let mut before = last.clone();
        while let Some((point, answer)) = before {
            answers.push(answer);
            if let Next::Call(pending) = &self.known[point].next {
                expected.push(Rc::clone(pending));
            }
            before = self.known[point].before.clone();
        }
        answers.reverse();
        let scripted = answers.len();

        let execution = Execution {
            time: self.sim.time(),
            services: self.services.clone(),
            state: state.clone(),
            answers,
            calls: Vec::new(),
            names: Names::new(&start),
            newer: self.newer == Some(start.environment),
        };
        let execution = Arc::new(Mutex::new(execution));
        let script = Arc::clone(&execution);
        self.sim.aws.set_script(Arc::new(move |request| {
            script.lock().unwrap().call(request)
        }));
        self.sim.set_now(start.began);
        let ended = self
            .sim
            .invoke(start.environment, &start.request_id, &start.payload)
            .await;
        let end = match ended {
            Ended::Response(response) => End::Response(response),
            Ended::Failed(_) => End::Failed,
            Ended::Crashed => End::Crashed,
        };
        let ended_at = self.sim.now();

        let mut execution = execution.lock().unwrap();
        for (call, expected) in execution.calls.iter().zip(expected.iter().rev()) {
            let same = call.at == expected.at && call.request.body == expected.request.body;
            assert!(
                same,
                "{start:?} is not deterministic: {call:?}, not {expected:?}"
            );
        }
        let mut nexts: Vec<Next> = execution
            .calls
            .drain(..)
            .map(|pending| Next::Call(Rc::new(pending)))
            .collect();
        nexts.push(Next::Ended(end, ended_at));
        let first = self.known.len();
        let mut before = last;
        for (number, next) in nexts.into_iter().enumerate().skip(scripted) {
            let point = self.known.len();
            if let Some((before, answer)) = &before {
                self.known[*before].after.insert(answer.key(), point);
            }
            self.known.push(Known {
                start: Rc::clone(&start),
                before,
                next,
                after: HashMap::new(),
            });
            let answer = execution.answers.get(number).cloned();
            before = answer.map(|answer| (point, answer));
        }
        assert!(first < self.known.len(), "{start:?} is not deterministic");
        first
    }
}

/// What a call is answered, and when.
#[derive(Clone, Debug)]
pub struct Answered {
    pub answer: Answer,
    pub at: OffsetDateTime,
}

impl Answered {
    fn key(&self) -> String {
        match &self.answer {
            Answer::Reply(Reply { status, body, .. }) => {
                format!("{} {status} {}", self.at, String::from_utf8_lossy(body))
            }
            other => format!("{} {other:?}", self.at),
        }
    }
}

/// The services, on any given state.
///
/// A call is served by the caller's clock, but not before what it reads was written: causes come
/// before effects although clocks differ.
#[derive(Clone)]
pub struct Services {
    aws: FakeAws,
    time: Time,
}

impl Services {
    fn new() -> Self {
        let aws = FakeAws::in_process();
        let time = Time::new();
        let clock = time.clone();
        aws.set_clock(move || clock.now());
        Self { aws, time }
    }

    /// Acts on them at a time.
    pub fn at<T>(
        &self,
        state: &mut State,
        moment: OffsetDateTime,
        act: impl FnOnce(&FakeAws) -> T,
    ) -> T {
        self.time.set(moment);
        std::mem::swap(&mut *self.aws.state(), state);
        let result = act(&self.aws);
        std::mem::swap(&mut *self.aws.state(), state);
        result
    }

    /// What they answer without a fault, and when. Numbered ids that the function does not read are left
    /// out, because they would make independent calls depend on each other.
    pub fn serve(&self, state: &mut State, pending: &Pending) -> (Reply, OffsetDateTime) {
        let read = what_it_reads(pending);
        let changed = read.as_ref().and_then(|what| state.changed.get(what));
        let at = changed.map_or(pending.at, |changed| pending.at.max(*changed));
        let mut reply = self.at(state, at, |aws| aws.serve_now(&pending.request));
        if reply.status != 200 {
            return (reply, at);
        }
        match (pending.operation, read) {
            (Operation::PutItem | Operation::PopulateIdMappingTable, Some(what)) => {
                state.changed.insert(what, at);
            }
            (Operation::PutEvents, _) => {
                let mut answer: Value = serde_json::from_slice(&reply.body).unwrap();
                for entry in answer["Entries"].as_array_mut().unwrap() {
                    if entry["EventId"].is_string() {
                        entry["EventId"] = "event".into();
                    }
                }
                reply.body = answer.to_string().into();
            }
            (Operation::SendMessage, _) => reply.body = r#"{"MessageId":"message"}"#.into(),
            _ => {}
        }
        (reply, at)
    }
}

/// The name of the item, or of the jobs, that a call reads or changes.
fn what_it_reads(pending: &Pending) -> Option<String> {
    let body = || -> Value { serde_json::from_slice(&pending.request.body).unwrap() };
    let key = match pending.operation {
        Operation::GetItem => body()["Key"]["idMappingTableArn"]["S"].clone(),
        Operation::PutItem => body()["Item"]["idMappingTableArn"]["S"].clone(),
        Operation::PopulateIdMappingTable
        | Operation::ListIdMappingJobs
        | Operation::GetIdMappingJob => "jobs".into(),
        _ => return None,
    };
    key.as_str().map(str::to_owned)
}

struct Execution {
    time: Time,
    services: Services,
    state: State,
    answers: Vec<Answered>,
    calls: Vec<Pending>,
    names: Names,
    /// Whether a newer version is executed.
    newer: bool,
}

impl Execution {
    fn call(&mut self, mut request: Request) -> Answer {
        self.time.pass(PACE);
        request.body = self.names.outward(&request.body);
        // The other headers do not matter, and differ each time.
        request
            .headers
            .retain(|name, _| name == "authorization" || name == "x-amz-target");
        let operation = Operation::of(&request).unwrap();
        if self.newer {
            request.body = as_newer(operation, &request.body);
        }
        let pending = Pending {
            operation,
            request,
            at: self.time.now(),
        };
        if self.calls.len() == self.answers.len() {
            let (reply, at) = self.services.serve(&mut self.state, &pending);
            let answer = Answer::Reply(reply);
            self.answers.push(Answered { answer, at });
        }
        let Answered { answer, at } = self.answers[self.calls.len()].clone();
        if at > pending.at {
            self.time.set(at);
        }
        self.calls.push(pending);
        match answer {
            Answer::Reply(reply) => Answer::Reply(Reply {
                body: self.names.inward(&reply.body),
                ..reply
            }),
            other => other,
        }
    }
}

/// The random UUIDs of one execution, and the numbered ones in their place on the wire.
struct Names {
    number: u16,
    /// Those that came from outside.
    given: HashSet<String>,
    /// Those that it made, each with its numbered one.
    made: Vec<(String, String)>,
}

impl Names {
    fn new(start: &Start) -> Self {
        Self {
            number: start.number,
            // The settings name the tables too.
            given: uuids(&start.payload.to_string())
                .chain([M, T1, T2])
                .map(str::to_owned)
                .collect(),
            made: Vec::new(),
        }
    }

    fn outward(&mut self, body: &Bytes) -> Bytes {
        // The SDK writes the members of maps in any order; a parsed value has them sorted.
        let text = match serde_json::from_slice::<Value>(body) {
            Ok(value) => value.to_string(),
            Err(_) => String::from_utf8_lossy(body).into_owned(),
        };
        for uuid in uuids(&text) {
            let random = uuid.as_bytes()[14] == b'4';
            let known = self.given.contains(uuid) || self.made.iter().any(|(made, _)| made == uuid);
            if random && !known {
                let name = format!(
                    "eeeeeeee-{:04x}-4000-8e00-{:012x}",
                    self.number,
                    self.made.len()
                );
                self.made.push((uuid.to_owned(), name));
            }
        }
        let named = |text: String, (made, name): &(String, String)| text.replace(made, name);
        self.made.iter().fold(text, named).into()
    }

    fn inward(&mut self, body: &Bytes) -> Bytes {
        let text = String::from_utf8_lossy(body).into_owned();
        let made = |text: String, (made, name): &(String, String)| text.replace(name, made);
        let text = self.made.iter().fold(text, made);
        self.given.extend(uuids(&text).map(str::to_owned));
        text.into()
    }
}

/// The UUIDs in a text.
fn uuids(text: &str) -> impl Iterator<Item = &str> {
    let is_uuid = |bytes: &[u8]| {
        bytes.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    let dashed = text
        .match_indices('-')
        .filter_map(|(dash, _)| dash.checked_sub(8));
    dashed.filter_map(move |begin| {
        let found = text.get(begin..begin + 36)?;
        is_uuid(found.as_bytes()).then_some(found)
    })
}
