//! The function and its services without a socket, in a time that the test controls: real SDK clients,
//! execution environments, Lambda's retries, the poller of the waiting queue.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::Region;
use aws_config::retry::RetryConfig;
use fake_aws::{ENVIRONMENTS, Environment, FUNCTION_ARN, FakeAws, Slot};
use id_mapping_populator::clock::Clock;
use id_mapping_populator::error::Error;
use id_mapping_populator::handler::{Invocation, Populator};
use id_mapping_populator::input::Payload;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::in_process;
use crate::invariants::Change;

/// The function's timeout.
pub const TIMEOUT: Duration = Duration::from_secs(120);
/// The waiting queue's visibility timeout.
pub const VISIBILITY: Duration = Duration::from_secs(15 * 60);

/// How an invocation ended.
#[derive(Debug)]
pub enum Ended {
    Response(Value),
    Failed(Error),
    /// The process ended, by a fault or at the timeout.
    Crashed,
}

/// An event that Lambda holds for an asynchronous invocation.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub request_id: String,
    pub payload: Value,
    /// Tries so far.
    pub tries: u32,
}

/// A virtual time, which passes while a task waits for a timer. The runtime must be paused.
#[derive(Clone, Debug)]
pub struct Time(Arc<Mutex<(Instant, OffsetDateTime)>>);

impl Time {
    /// It is [`BEGIN`].
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new((Instant::now(), BEGIN))))
    }

    /// In steps of two milliseconds, because a timer may end at any time within one.
    pub fn now(&self) -> OffsetDateTime {
        let (instant, moment) = *self.0.lock().unwrap();
        let elapsed = instant.elapsed().as_millis() as u64;
        moment + Duration::from_millis(elapsed / 2 * 2)
    }

    pub fn pass(&self, duration: Duration) {
        self.0.lock().unwrap().1 += duration;
    }

    pub fn set(&self, moment: OffsetDateTime) {
        *self.0.lock().unwrap() = (Instant::now(), moment);
    }
}

/// The function and its services in a virtual time. The runtime must be paused.
#[derive(Clone)]
pub struct Simulator {
    pub aws: FakeAws,
    populators: Vec<Populator>,
    environments: [Environment; ENVIRONMENTS],
    time: Time,
    /// How far each environment's clock is ahead.
    ahead: [time::Duration; ENVIRONMENTS],
    retry: RetryConfig,
    /// Lambda's queue of asynchronous invocations that failed and will be retried.
    pub repeats: Vec<Delivery>,
    /// How many invocations there were: Lambda's request ids.
    pub invoked: usize,
    pub timeout: Duration,
    /// X-Ray's header of each invocation.
    pub trace_header: Option<String>,
}

pub const BEGIN: OffsetDateTime = time::macros::datetime!(2026-11-23 02:00 UTC);

impl Simulator {
    /// An event about a change of a table two seconds ago.
    pub fn event(&self, id: &str, table: &str) -> Value {
        Change::new(id, table, self.now() - time::Duration::seconds(2)).event
    }

    /// How many jobs were started for a table.
    pub fn jobs_of(&self, table: &str) -> usize {
        let jobs = self.aws.jobs();
        jobs.iter().filter(|job| job.table == table).count()
    }

    /// With ledger, waiting queue, dead-letter queue and event bus.
    pub async fn new(slot: Slot) -> Self {
        Self::with(FakeAws::in_process(), slot, &[]).await
    }

    /// With these services and further settings. An empty setting is unset.
    pub async fn with(aws: FakeAws, slot: Slot, variables: &[(&str, &str)]) -> Self {
        Self::of(aws, slot, [variables; ENVIRONMENTS]).await
    }

    /// With settings for each environment, as during a deployment.
    pub async fn of(aws: FakeAws, slot: Slot, variables: [&[(&str, &str)]; ENVIRONMENTS]) -> Self {
        let time = Time::new();
        let clock = {
            let time = time.clone();
            move || time.now()
        };
        aws.set_clock(clock.clone());
        let common = Environment::builder()
            .ledger()
            .queue(time::Duration::try_from(VISIBILITY).unwrap())
            .dead_letter_queue()
            .event_bus()
            .slot(slot)
            .on(&aws);
        let environment = |number| common.another(number, variables[number]);
        let mut sim = Self {
            aws,
            populators: Vec::new(),
            environments: std::array::from_fn(environment),
            time,
            ahead: [time::Duration::ZERO; ENVIRONMENTS],
            // Without the pause before a second try, which is random.
            retry: RetryConfig::standard().with_initial_backoff(Duration::from_nanos(1)),
            repeats: Vec::new(),
            invoked: 0,
            timeout: TIMEOUT,
            trace_header: None,
        };
        sim.renew_environments().await;
        sim
    }

    /// Starts new execution environments.
    pub async fn renew_environments(&mut self) {
        self.populators.clear();
        for environment in 0..ENVIRONMENTS {
            let populator = self.environment(environment).await;
            self.populators.push(populator);
        }
    }

    /// Starts one new execution environment.
    pub async fn renew_environment(&mut self, environment: usize) {
        self.populators[environment] = self.environment(environment).await;
    }

    async fn environment(&self, environment: usize) -> Populator {
        // The SDK limits the retries of all clients in a process for one service and Region together. A test
        // must not depend on the retries of others.
        static REGIONS: AtomicUsize = AtomicUsize::new(0);
        let region = format!("eu-west-{}", REGIONS.fetch_add(1, Ordering::Relaxed));
        let settings = in_process::settings(&self.environments[environment]).unwrap();
        let config = in_process::sdk_config(&self.environments[environment]).await;
        let config = config
            .into_builder()
            .region(Region::new(region))
            .retry_config(self.retry.clone())
            .build();
        let (time, ahead) = (self.time.clone(), self.ahead[environment]);
        let clock = Clock::new(move || time.now() + ahead);
        Populator::new(settings, &config, clock)
    }

    /// Each environment's clock is so far ahead.
    pub async fn set_ahead(&mut self, ahead: [time::Duration; ENVIRONMENTS]) {
        self.ahead = ahead;
        self.renew_environments().await;
    }

    /// The SDK pauses between two tries, as in production: a second each time. (It takes a random part of the
    /// initial pause, and the maximum limits each of them to the same second.)
    pub async fn pause_between_tries(&mut self) {
        self.retry = RetryConfig::standard()
            .with_initial_backoff(Duration::from_secs(1_000_000))
            .with_max_backoff(Duration::from_secs(1));
        self.renew_environments().await;
    }

    /// The pause before the SDK's second try is longer than any invocation.
    pub async fn pause_for_long_between_tries(&mut self) {
        let long = Duration::from_secs(1_000_000_000);
        self.retry = RetryConfig::standard()
            .with_initial_backoff(long)
            .with_max_backoff(long);
        self.renew_environments().await;
    }

    pub fn now(&self) -> OffsetDateTime {
        self.aws.now()
    }

    /// Lets time pass in which nothing happens.
    pub fn pass(&self, duration: Duration) {
        self.time.pass(duration);
    }

    /// Sets the time.
    pub fn set_now(&self, moment: OffsetDateTime) {
        self.time.set(moment);
    }

    pub fn time(&self) -> Time {
        self.time.clone()
    }

    /// One invocation in an execution environment, with a deadline that Lambda enforces.
    pub async fn invoke(&self, environment: usize, request_id: &str, payload: &Value) -> Ended {
        let deadline = self.now() + self.ahead[environment] + self.timeout;
        let invocation = Invocation {
            trace_header: self.trace_header.clone(),
            ..in_process::invocation(request_id, deadline)
        };
        let payload = Payload::from_text(&payload.to_string());
        let populator = &self.populators[environment];
        tokio::select! {
            biased;
            ended = populator.handle(&payload, &invocation) => match ended {
                Ok(response) => Ended::Response(serde_json::to_value(response).unwrap()),
                Err(error) => Ended::Failed(error),
            },
            () = self.aws.crashed(environment) => Ended::Crashed,
            () = tokio::time::sleep(self.timeout) => Ended::Crashed,
        }
    }

    /// The return value of an invocation that must not fail.
    pub async fn response(&mut self, payload: &Value) -> Value {
        self.invoked += 1;
        match self
            .invoke(0, &format!("request-{}", self.invoked), payload)
            .await
        {
            Ended::Response(response) => response,
            other => panic!("{other:?}"),
        }
    }

    /// The outcomes of an invocation that must not fail, as `OUTCOME` or `OUTCOME error type`.
    pub async fn outcomes(&mut self, payload: &Value) -> Vec<String> {
        let response = self.response(payload).await;
        response["outcomes"]
            .as_array()
            .unwrap()
            .iter()
            .map(short)
            .collect()
    }

    /// The error type and message of an invocation that must fail.
    pub async fn failure(&mut self, payload: &Value) -> (String, String) {
        self.invoked += 1;
        match self
            .invoke(0, &format!("request-{}", self.invoked), payload)
            .await
        {
            Ended::Failed(error) => (error.error_type.as_str().to_owned(), error.message),
            other => panic!("{other:?}"),
        }
    }

    /// An asynchronous invocation. A failed one is retried twice, then goes to the failure destination.
    pub async fn deliver(&mut self, environment: usize, payload: &Value) {
        let delivery = self.delivery(payload);
        self.carry_out(environment, delivery).await;
    }

    /// A new asynchronous invocation.
    pub fn delivery(&mut self, payload: &Value) -> Delivery {
        self.invoked += 1;
        Delivery {
            request_id: format!("request-{}", self.invoked),
            payload: payload.clone(),
            tries: 0,
        }
    }

    /// Lambda retries the invocations that failed.
    pub async fn repeat(&mut self, environment: usize) {
        for delivery in std::mem::take(&mut self.repeats) {
            self.carry_out(environment, delivery).await;
        }
    }

    async fn carry_out(&mut self, environment: usize, delivery: Delivery) {
        let ended = self
            .invoke(environment, &delivery.request_id, &delivery.payload)
            .await;
        self.keep(delivery, &ended);
    }

    /// What Lambda does with an event when its invocation has ended.
    pub fn keep(&mut self, delivery: Delivery, ended: &Ended) {
        if let Ended::Response(_) = ended {
            return;
        }
        let tries = delivery.tries + 1;
        if tries < 3 {
            self.repeats.push(Delivery { tries, ..delivery });
            return;
        }
        self.aws
            .send("dead", &failure_record(&delivery).to_string());
    }

    /// Lambda's poller delivers a batch of the waiting queue. Returns whether a message was visible.
    pub async fn poll(&mut self, environment: usize) -> bool {
        let request_id = format!("request-{}", self.invoked + 1);
        let invoke = async |batch: &Value| match self.invoke(environment, &request_id, batch).await
        {
            Ended::Response(answer) => Some(answer),
            Ended::Failed(_) | Ended::Crashed => None,
        };
        let polled = self.aws.poll(invoke).await.is_some();
        self.invoked += usize::from(polled);
        polled
    }

    /// The outcome events so far, as `OUTCOME` or `OUTCOME error type`.
    pub fn announced(&self) -> Vec<String> {
        self.details().iter().map(short).collect()
    }

    /// The details of the outcome events so far.
    pub fn details(&self) -> Vec<Value> {
        self.aws
            .events()
            .into_iter()
            .map(|event| event["detail"].clone())
            .collect()
    }
}

/// What Lambda sends to the failure destination.
pub fn failure_record(delivery: &Delivery) -> Value {
    json!({
        "version": "1.0",
        "timestamp": "2026-11-23T02:00:00.000Z",
        "requestContext": { "requestId": delivery.request_id, "functionArn": FUNCTION_ARN,
            "condition": "RetriesExhausted", "approximateInvokeCount": 3 },
        "requestPayload": delivery.payload,
    })
}

fn short(detail: &Value) -> String {
    let outcome = detail["outcome"].as_str().unwrap();
    match detail["error"]["type"].as_str() {
        Some(error_type) => format!("{outcome} {error_type}"),
        None => outcome.to_owned(),
    }
}
