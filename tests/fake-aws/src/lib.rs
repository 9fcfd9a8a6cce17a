//! Stand-ins for the AWS services that the function calls, over HTTP on loopback, and for Lambda's
//! Runtime API, which calls the function.
//!
//! They answer in the services' own wire format and refuse what the services would refuse: unsigned
//! requests, paths, identifiers, job types, events. They record every call, and fail on order. They
//! are for tests and the local example; nothing here is part of the function.

mod clean_rooms;
mod event_bridge;
mod fault;
mod http;
mod lambda;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

pub use crate::fault::{Exception, Fault};
use crate::http::{Answer, Reply, Request};
pub use crate::lambda::{Answered, LambdaRuntimeApi};

/// An operation that the function calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// AWS Clean Rooms.
    PopulateIdMappingTable,
    /// Amazon EventBridge.
    PutEvents,
}

/// A call as it came over the wire, and what was answered.
#[derive(Clone, Debug)]
pub struct Call {
    /// The operation; none: nothing that a service here has.
    pub operation: Option<Operation>,
    /// Which of the server's connections it came on, counted from 1.
    pub connection: u64,
    /// The HTTP method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body; `null` where it is no JSON.
    pub body: Value,
    /// The answer's status; none: there was no answer.
    pub status: Option<u16>,
    /// The answer's body.
    pub answer: String,
}

/// The services, listening on loopback.
#[derive(Clone, Debug)]
pub struct FakeAws {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    calls: Vec<Call>,
    jobs: Vec<String>,
    events: Vec<Value>,
    next: HashMap<Operation, VecDeque<Fault>>,
    always: HashMap<Operation, Fault>,
}

impl FakeAws {
    /// Starts them on a free port, on the present tokio runtime.
    pub async fn start() -> io::Result<Self> {
        Self::start_on(0).await
    }

    /// Starts them on this port.
    pub async fn start_on(port: u16) -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let services = Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            state,
        };
        let handler = services.clone();
        let address = http::serve(port, move |request| {
            let services = handler.clone();
            async move { services.answer(request).await }
        })
        .await?;
        Ok(Self {
            address,
            ..services
        })
    }

    /// Where they listen: the value for `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next call of this operation fails so; further orders wait in line.
    pub fn fail_next(&self, operation: Operation, fault: Fault) {
        self.state()
            .next
            .entry(operation)
            .or_default()
            .push_back(fault);
    }

    /// Every call of this operation fails so, unless a [`FakeAws::fail_next`] is in line.
    pub fn fail_always(&self, operation: Operation, fault: Fault) {
        self.state().always.insert(operation, fault);
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// The calls of one operation so far.
    pub fn calls_of(&self, operation: Operation) -> Vec<Call> {
        self.calls()
            .into_iter()
            .filter(|call| call.operation == Some(operation))
            .collect()
    }

    /// How many calls there were so far.
    pub fn call_count(&self) -> usize {
        self.state().calls.len()
    }

    /// The ids of the jobs that were started so far, whether or not the answer said so.
    pub fn jobs(&self) -> Vec<String> {
        self.state().jobs.clone()
    }

    /// The events that EventBridge took so far, as it would deliver them.
    pub fn events(&self) -> Vec<Value> {
        self.state().events.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has failed already.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request) -> Answer {
        let operation = if request.header("x-amz-target").is_some() {
            (request.header("x-amz-target") == Some("AWSEvents.PutEvents"))
                .then_some(Operation::PutEvents)
        } else {
            clean_rooms::operation(&request)
        };
        let fault = operation.and_then(|operation| {
            let mut state = self.state();
            let next = state.next.get_mut(&operation).and_then(VecDeque::pop_front);
            next.or_else(|| state.always.get(&operation).cloned())
        });
        let index = {
            let mut state = self.state();
            state.calls.push(Call {
                operation,
                connection: request.connection,
                method: request.method.clone(),
                path: request.path.clone(),
                headers: request.headers.clone(),
                body: serde_json::from_slice(&request.body).unwrap_or(Value::Null),
                status: None,
                answer: String::new(),
            });
            state.calls.len() - 1
        };
        let serve = || match operation {
            Some(Operation::PopulateIdMappingTable) => {
                clean_rooms::populate(&request, &mut self.state().jobs)
            }
            Some(Operation::PutEvents) => {
                event_bridge::put_events(&request, &mut self.state().events)
            }
            None => http::refusal(
                404,
                "UnknownOperationException",
                "this service has no such operation",
            ),
        };
        let answer = match fault {
            Some(fault) => fault.carry_out(serve).await,
            None => Answer::Reply(serve()),
        };
        if let Answer::Reply(Reply { status, body, .. }) = &answer
            && let Some(call) = self.state().calls.get_mut(index)
        {
            call.status = Some(*status);
            call.answer = String::from_utf8_lossy(body).into_owned();
        }
        answer
    }
}
