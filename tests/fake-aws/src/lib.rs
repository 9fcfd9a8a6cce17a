//! Stand-ins for the AWS services that the function calls, over HTTP on loopback or in process, and
//! for Lambda's Runtime API, which calls the function.
//!
//! They answer in the services' own wire format and refuse what the services would refuse: unsigned
//! requests, paths, identifiers, job types, events, messages. A test decides how many jobs may run, and when
//! they end. They record every call, and have the faults that a test injects. They are for tests, benchmarks
//! and the local example, and no part of the function.

mod account;
mod clean_rooms;
mod cloud_trail;
mod dynamodb;
mod entity_resolution;
mod environment;
mod event_bridge;
mod fault;
mod http;
mod in_process;
mod lambda;
mod process;
mod sqs;
mod ssm;
mod sts;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::Notify;

pub use crate::account::{Account, Listed, Membership};
pub use crate::clean_rooms::{Job, Slot, Status, Table};
pub use bytes::Bytes;

pub use crate::environment::{Batch, Builder, DEAD, Environment, WAITING};
pub use crate::fault::{Effect, Exception, Fault};
use crate::http::Connections;
pub use crate::http::{Answer, Reply, Request};
pub use crate::lambda::{Answered, LambdaRuntimeApi};
pub use crate::process::{Process, Used};
pub use crate::sqs::{Message, Queue};

/// The account of everything.
pub const ACCOUNT: &str = "123456789012";
/// The Region of everything.
pub const REGION: &str = "eu-west-1";
/// The function's ARN.
pub const FUNCTION_ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:populator";
/// The credentials of the function's role: access key id, secret access key, session token.
pub const CREDENTIALS: [&str; 3] = ["AKIDEXAMPLE", "k7secret-access-key", "t0session-token"];
/// The DynamoDB table that exists: the ledger.
pub const LEDGER_TABLE: &str = "ledger";

/// An operation that the function, docs/discover.py or the live example calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// AWS Clean Rooms.
    PopulateIdMappingTable,
    /// AWS Clean Rooms.
    GetIdMappingTable,
    /// AWS Clean Rooms.
    GetSchema,
    /// AWS Clean Rooms.
    ListMemberships,
    /// AWS Clean Rooms.
    ListIdMappingTables,
    /// AWS Entity Resolution.
    GetIdMappingWorkflow,
    /// AWS Entity Resolution.
    ListIdMappingJobs,
    /// AWS Entity Resolution.
    GetIdMappingJob,
    /// AWS Entity Resolution.
    BatchDeleteUniqueId,
    /// AWS CloudTrail.
    LookupEvents,
    /// AWS Security Token Service.
    AssumeRole,
    /// Amazon EventBridge.
    PutEvents,
    /// Amazon DynamoDB.
    GetItem,
    /// Amazon DynamoDB.
    PutItem,
    /// Amazon SQS.
    GetQueueAttributes,
    /// Amazon SQS.
    SendMessage,
    /// AWS Systems Manager.
    GetParametersByPath,
}

impl Operation {
    /// The operation that a request is for, if it is one of these.
    pub fn of(request: &Request) -> Option<Self> {
        match request.header("x-amz-target") {
            Some("AWSEvents.PutEvents") => Some(Self::PutEvents),
            Some("DynamoDB_20120810.GetItem") => Some(Self::GetItem),
            Some("DynamoDB_20120810.PutItem") => Some(Self::PutItem),
            Some("AmazonSQS.GetQueueAttributes") => Some(Self::GetQueueAttributes),
            Some("AmazonSQS.SendMessage") => Some(Self::SendMessage),
            Some("AmazonSSM.GetParametersByPath") => Some(Self::GetParametersByPath),
            Some("CloudTrail_20131101.LookupEvents") => Some(Self::LookupEvents),
            Some(_) => None,
            None => {
                let here = account::operation(request).or_else(|| clean_rooms::operation(request));
                here.or_else(|| entity_resolution::operation(request))
                    .or_else(|| sts::operation(request))
            }
        }
    }
}

/// A call as it came over the wire, and what was answered.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it came.
    pub at: OffsetDateTime,
    /// The operation. `None` if no service here has it.
    pub operation: Option<Operation>,
    /// Which of the server's connections it came on, counted from 1; 0: in process.
    pub connection: u64,
    /// The HTTP method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body. `null` if it is not valid JSON.
    pub body: Value,
    /// The answer's status. `None` if there was no answer.
    pub status: Option<u16>,
    /// The answer's body.
    pub answer: String,
}

type Now = Arc<dyn Fn() -> OffsetDateTime + Send + Sync>;
type Plan = Arc<dyn Fn(usize, Operation) -> Option<Fault> + Send + Sync>;
/// Answers in place of the services.
pub type Script = Arc<dyn Fn(Request) -> Answer + Send + Sync>;

/// The execution environments that may be told apart in process.
pub const ENVIRONMENTS: usize = 2;

/// The services.
#[derive(Clone)]
pub struct FakeAws {
    address: SocketAddr,
    connections: Connections,
    now: Arc<Mutex<Now>>,
    plan: Arc<Mutex<Option<Plan>>>,
    script: Arc<Mutex<Option<Script>>>,
    state: Arc<Mutex<State>>,
    crashed: Arc<[Notify; ENVIRONMENTS]>,
}

impl fmt::Debug for FakeAws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeAws at {}", self.address)
    }
}

/// The state of the services.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The calls so far.
    pub calls: Vec<Call>,
    /// The jobs so far, whether or not the answer said so.
    pub jobs: Vec<Job>,
    /// The ID mapping tables that are not as [`Table::default`] is.
    pub tables: BTreeMap<String, Table>,
    /// What lists show, and what may not be called.
    pub account: Account,
    /// The names of tables that have another one than their id with `table-` before it.
    pub names: BTreeMap<String, String>,
    /// Whether Entity Resolution shows jobs only when this many more lists were asked for.
    pub hidden_for: usize,
    /// Whether Entity Resolution knows a job under Clean Rooms' id without its dashes.
    pub same_ids: bool,
    /// How long after its start Entity Resolution shows a job.
    pub shown_after: time::Duration,
    /// Whether jobs are listed oldest first; AWS documents no order.
    pub oldest_first: bool,
    /// A number of which the order of listed jobs is made; none: they are in the order of their starts.
    pub shuffled: Option<u64>,
    /// How far Entity Resolution's clock is ahead.
    pub entity_resolution_ahead: time::Duration,
    /// Whether Entity Resolution shows no start of a queued job.
    pub queued_have_no_start: bool,
    /// Whether all tables have one workflow.
    pub shared_workflow: bool,
    /// Whether each job that is started through Clean Rooms fails at once.
    pub fails_at_once: bool,
    /// The ID mapping tables that exist. Without any all do.
    pub existing: Vec<String>,
    /// How long a job runs. `None` if a test ends it.
    pub job_runs_for: Option<time::Duration>,
    /// Whether a job type is refused that does not fit the table or its workflow.
    pub refuses_unfit_types: bool,
    /// Whether the caller of `PopulateIdMappingTable` needs `entityresolution:StartIdMappingJob` too, which a session
    /// with a policy does not have.
    pub needs_start_permission: bool,
    /// How many calls of `PopulateIdMappingTable` are taken within a second. `None` if any number is.
    pub calls_per_second: Option<usize>,
    /// When `BatchDeleteUniqueId` was called.
    pub deletes: Vec<OffsetDateTime>,
    /// How long after a call CloudTrail's event history shows it. `None` if it never does.
    pub recorded_after: Option<time::Duration>,
    /// What a second job gets.
    pub slot: Slot,
    /// The events that EventBridge took, as it would deliver them.
    pub events: Vec<Value>,
    /// The queues by their names.
    pub queues: BTreeMap<String, Queue>,
    /// The parameters by their names.
    pub parameters: BTreeMap<String, String>,
    /// The items of the ledger by their keys.
    pub items: BTreeMap<String, Value>,
    /// For tests with several clocks: when each item was changed last.
    pub changed: BTreeMap<String, OffsetDateTime>,
    next: HashMap<Operation, VecDeque<Fault>>,
    always: HashMap<Operation, Fault>,
    sent: usize,
}

impl FakeAws {
    /// Starts them on a free port, on the present tokio runtime.
    pub async fn start() -> io::Result<Self> {
        Self::start_on(0).await
    }

    /// Starts them on this port.
    pub async fn start_on(port: u16) -> io::Result<Self> {
        let services = Self::new();
        let handler = services.clone();
        let connections = services.connections.clone();
        let address = http::serve(port, connections, move |request| {
            let services = handler.clone();
            async move { services.answer(request).await }
        })
        .await?;
        Ok(Self {
            address,
            ..services
        })
    }

    /// Without a socket, for [`FakeAws::http_client`]. The ledger is part of [`State`], so that all
    /// can be kept and restored.
    pub fn in_process() -> Self {
        Self::new()
    }

    fn new() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            connections: Connections::default(),
            now: Arc::new(Mutex::new(Arc::new(OffsetDateTime::now_utc))),
            plan: Arc::default(),
            script: Arc::default(),
            state: Arc::default(),
            crashed: Arc::default(),
        }
    }

    pub(crate) fn is_in_process(&self) -> bool {
        self.address.port() == 0
    }

    /// Where they listen: the value for `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets their clock, which is the system's otherwise.
    pub fn set_clock(&self, now: impl Fn() -> OffsetDateTime + Send + Sync + 'static) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(now);
    }

    /// The present time.
    pub fn now(&self) -> OffsetDateTime {
        let now = Arc::clone(&self.now.lock().unwrap_or_else(PoisonError::into_inner));
        now()
    }

    /// The next call of this operation has this fault. Further faults apply to the calls after it.
    pub fn fail_next(&self, operation: Operation, fault: Fault) {
        self.state()
            .next
            .entry(operation)
            .or_default()
            .push_back(fault);
    }

    /// Every call of this operation has this fault, unless a [`FakeAws::fail_next`] is pending.
    pub fn fail_always(&self, operation: Operation, fault: Fault) {
        self.state().always.insert(operation, fault);
    }

    /// This operation works again.
    pub fn repair(&self, operation: Operation) {
        let mut state = self.state();
        state.always.remove(&operation);
        state.next.remove(&operation);
    }

    /// Each call has the fault that this returns for its number (in [`State::calls`]) and its operation. It
    /// takes precedence over other faults.
    pub fn fail_by(
        &self,
        plan: impl Fn(usize, Operation) -> Option<Fault> + Send + Sync + 'static,
    ) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(plan));
    }

    /// From now on this answers each call, and the services do nothing.
    pub fn set_script(&self, script: Script) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = Some(script);
    }

    /// Serves a request without any injected fault, and does not record it.
    pub fn serve_now(&self, request: &Request) -> Reply {
        self.serve(Operation::of(request), request)
    }

    /// What a second job gets from now on.
    pub fn set_slot(&self, slot: Slot) {
        self.state().slot = slot;
    }

    /// Ends the running job, so that the next queued one begins. Returns `None` if no job ran.
    pub fn end_job(&self, status: Status) -> Option<Job> {
        let now = self.now();
        let state = &mut *self.state();
        clean_rooms::end_job(state, status, now)
    }

    /// What this ID mapping table and its workflow are from now on.
    pub fn set_table(&self, table: &str, is: Table) {
        self.state().tables.insert(table.to_owned(), is);
    }

    /// What lists show from now on, and what may not be called.
    pub fn set_account(&self, account: Account) {
        let mut state = self.state();
        let named = |table: &Listed| Some((table.id.clone(), table.name.clone()?));
        let names: Vec<_> = account.tables().filter_map(named).collect();
        state.names.extend(names);
        state.account = account;
    }

    /// Entity Resolution shows no job until it was called this many times more.
    pub fn hide_jobs(&self, times: usize) {
        self.state().hidden_for = times;
    }

    /// Starts a job at Entity Resolution itself, for the workflow of this table.
    pub fn start_foreign_job(&self, table: &str) {
        let now = self.now();
        clean_rooms::start_foreign_job(&mut self.state().jobs, table, now);
    }

    /// Starts a job through Clean Rooms by hand. Returns whether the slot was free.
    pub fn start_job_by_hand(&self, table: &str, job_type: Option<&str>) -> bool {
        let now = self.now();
        let state = &mut *self.state();
        clean_rooms::start_job_by_hand(&mut state.jobs, state.slot, table, job_type, now)
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

    /// The jobs that were started so far, whether or not the answer said so.
    pub fn jobs(&self) -> Vec<Job> {
        self.state().jobs.clone()
    }

    /// The events that EventBridge took so far, as it would deliver them.
    pub fn events(&self) -> Vec<Value> {
        self.state().events.clone()
    }

    /// Closes the connections on which no request is under way, as a server does with idle ones.
    pub fn close_idle_connections(&self) -> usize {
        self.connections.close_idle()
    }

    /// Waits until a call ends the function in this execution environment ([`Fault::Crash`]).
    pub async fn crashed(&self, environment: usize) {
        match self.crashed.get(environment) {
            Some(crashed) => crashed.notified().await,
            None => match http::never().await {},
        }
    }

    /// The state, to read, keep, change or restore.
    pub fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has failed already.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request) -> Answer {
        let script = self
            .script
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(script) = script {
            return script(request);
        }
        let operation = Operation::of(&request);
        let plan = self
            .plan
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let (index, fault) = {
            let at = self.now();
            let mut state = self.state();
            let index = state.calls.len();
            state.calls.push(Call {
                at,
                operation,
                connection: request.connection,
                method: request.method.clone(),
                path: request.path.clone(),
                headers: request.headers.clone(),
                body: serde_json::from_slice(&request.body).unwrap_or(Value::Null),
                status: None,
                answer: String::new(),
            });
            // A request without authorization is refused before anything else.
            let operation = operation.filter(|_| request.header("authorization").is_some());
            let planned = || plan?(index, operation?);
            let fault = planned().or_else(|| {
                let operation = operation?;
                let next = state.next.get_mut(&operation).and_then(VecDeque::pop_front);
                next.or_else(|| state.always.get(&operation).cloned())
            });
            (index, fault)
        };
        let serve = || self.serve(operation, &request);
        let answer = match fault {
            Some(fault) => {
                let Effect {
                    answer,
                    delay,
                    crash,
                } = fault.apply(serve);
                if crash {
                    self.crashed
                        .get(request.environment)
                        .inspect(|crashed| crashed.notify_one());
                }
                // Without a timer where there is no delay, so that an immediate answer is not delayed.
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                answer
            }
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

    fn serve(&self, operation: Option<Operation>, request: &Request) -> Reply {
        let now = self.now();
        let state = &mut *self.state();
        if state.account.denied.contains(&request.path) {
            return Exception::access_denied().reply();
        }
        clean_rooms::end_due_jobs(state, now);
        match operation {
            Some(Operation::PopulateIdMappingTable) => {
                if let Some(refusal) = clean_rooms::refused_before(request, state, now) {
                    return refusal;
                }
                let reply =
                    clean_rooms::populate(request, state.slot, &state.tables, &mut state.jobs, now);
                if let Some(job) = state.jobs.last_mut().filter(|_| state.same_ids) {
                    job.entity_resolution_id = job.id.replace('-', "");
                }
                if state.fails_at_once {
                    clean_rooms::end_job(state, Status::Failed, now);
                }
                reply
            }
            Some(Operation::ListMemberships) => account::list_memberships(request, state),
            Some(Operation::ListIdMappingTables) => account::list_tables(request, state),
            Some(Operation::GetIdMappingTable) => clean_rooms::get_table(request, state),
            Some(Operation::GetSchema) => {
                clean_rooms::get_schema(request, &state.tables, &state.names)
            }
            Some(Operation::GetIdMappingWorkflow) => {
                entity_resolution::get_workflow(request, &state.tables)
            }
            Some(Operation::ListIdMappingJobs) => {
                let hidden = state.hidden_for > 0;
                state.hidden_for = state.hidden_for.saturating_sub(1);
                let late = state.shown_after;
                let shown =
                    |job: &&Job| !hidden && (late.is_zero() || job.started_at + late <= now);
                let mut jobs: Vec<&Job> = state.jobs.iter().filter(shown).collect();
                if state.oldest_first {
                    jobs.reverse();
                }
                if let Some(number) = state.shuffled {
                    // Any order, and the same on each page.
                    let mixed = |job: &&Job| number.wrapping_mul(job.number() * 2 + 1) >> 7;
                    jobs.sort_by_key(mixed);
                }
                entity_resolution::list_jobs(request, &jobs, state)
            }
            Some(Operation::GetIdMappingJob) => entity_resolution::get_job(request, state),
            Some(Operation::BatchDeleteUniqueId) => {
                entity_resolution::delete_unique_ids(request, &mut state.deletes, now)
            }
            Some(Operation::LookupEvents) => cloud_trail::lookup_events(request, state, now),
            Some(Operation::AssumeRole) => sts::assume_role(request),
            Some(Operation::PutEvents) => event_bridge::put_events(request, &mut state.events),
            Some(Operation::GetItem) => dynamodb::get_item(request, &state.items),
            Some(Operation::PutItem) => dynamodb::put_item(request, &mut state.items),
            Some(Operation::GetQueueAttributes) => {
                sqs::get_queue_attributes(request, &state.queues, now)
            }
            Some(Operation::SendMessage) => {
                sqs::send_message(request, &mut state.queues, &mut state.sent, now)
            }
            Some(Operation::GetParametersByPath) => {
                ssm::get_parameters_by_path(request, &state.parameters)
            }
            None => http::refusal(
                404,
                "UnknownOperationException",
                "this service has no such operation",
            ),
        }
    }
}
