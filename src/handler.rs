//! The story: a payload becomes requests, each request an outcome, the outcomes an answer.

mod announce;
mod deadline;
mod log;
mod order;
mod plan;
mod slot;
mod start;
mod turns;
mod watch;
mod work;

use crate::clock::Clock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_lambda_events::event::sqs::SqsBatchResponse;
use serde::Serialize;
use time::OffsetDateTime;

use self::order::{all, chance};
use self::work::{Done, Work};
use crate::aws::clean_rooms::CleanRooms;
use crate::aws::entity_resolution::Workflows;
use crate::aws::event_bus::EventBus;
use crate::aws::ledger_table::Ledger;
use crate::aws::queue::Queue;
use crate::config::Settings;
use crate::error::Error;
use crate::input::{Arrival, Content, Delivery, Message, Payload};
use crate::job_type::Wish;
use crate::metrics::{Metric, Metrics};
use crate::outcome::{Outcome, OutcomeKind};
use crate::request::Request;
use crate::target::Home;
use crate::{input, telemetry};

/// Lambda's longest time-out. A deadline further away, in the past or in the future, is none: some
/// emulators send nonsense.
const MAX_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The function, with its clients, for the life of an execution environment.
#[derive(Clone, Debug)]
pub struct Populator {
    settings: Settings,
    ledger: Ledger,
    clean_rooms: CleanRooms,
    workflows: Arc<OnceLock<Workflows>>,
    config: SdkConfig,
    waiting_line: Option<Queue>,
    dead_letters: Option<Queue>,
    event_bus: Option<EventBus>,
    clock: Clock,
    /// Whether an invocation came already.
    warm: Arc<AtomicBool>,
}

/// What Lambda says of an invocation.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Lambda's request id.
    pub request_id: String,
    /// The ARN with which the function was invoked; local emulators send other text.
    pub function_arn: String,
    /// When Lambda ends the invocation.
    pub deadline: OffsetDateTime,
    /// X-Ray's header, where Lambda gives one.
    pub trace_header: Option<String>,
}

impl Invocation {
    /// X-Ray's header, if it is one that may be passed on: EventBridge takes 500 characters.
    fn trace_header(&self) -> Option<&str> {
        let header = self.trace_header.as_deref()?;
        let fits =
            (1..=500).contains(&header.len()) && header.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then_some(header)
    }

    /// The trace's id: `Root=…` of the header.
    pub fn trace_id(&self) -> Option<&str> {
        self.trace_header()?
            .split(';')
            .find_map(|part| part.strip_prefix("Root="))
    }
}

impl From<&lambda_runtime::Context> for Invocation {
    fn from(context: &lambda_runtime::Context) -> Self {
        let nanoseconds = i128::from(context.deadline) * 1_000_000;
        Self {
            request_id: context.request_id.clone(),
            function_arn: context.invoked_function_arn.clone(),
            deadline: OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
                .unwrap_or(OffsetDateTime::UNIX_EPOCH),
            trace_header: context.xray_trace_id.clone(),
        }
    }
}

/// The return value of an invocation that did not fail.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Response {
    /// Of a direct invocation: one outcome per target, in their order.
    Direct {
        /// The outcomes.
        outcomes: Vec<Outcome>,
    },
    /// Of a batch: the messages that SQS must deliver again.
    Batch(SqsBatchResponse),
}

impl Populator {
    /// With these settings, and clients of this configuration (see [`crate::clients`]).
    pub fn new(settings: Settings, config: &SdkConfig, clock: Clock) -> Self {
        let queue = |url: &Option<String>, setting| {
            url.as_ref().map(|url| Queue::new(config, url, setting))
        };
        let bus = |name: &String| EventBus::new(config, name, &settings.event_source);
        let reads = settings.default_job_type == Wish::Auto || settings.track_completion;
        let populator = Self {
            ledger: match &settings.ledger_table {
                Some(table) => Ledger::in_dynamodb(config, table),
                None => Ledger::in_memory(),
            },
            clean_rooms: CleanRooms::new(config),
            workflows: Arc::default(),
            config: config.clone(),
            waiting_line: queue(&settings.waiting_queue_url, "WAITING_QUEUE_URL"),
            dead_letters: queue(&settings.dead_letter_queue_url, "DEAD_LETTER_QUEUE_URL"),
            event_bus: settings.event_bus.as_ref().map(bus),
            settings,
            clock,
            warm: Arc::default(),
        };
        if reads {
            populator.workflows();
        }
        populator
    }

    /// Made when it is first needed, or at the start, where Lambda gives a whole CPU, if it surely will be.
    fn workflows(&self) -> &Workflows {
        self.workflows.get_or_init(|| Workflows::new(&self.config))
    }

    /// Handles one invocation.
    pub async fn handle(
        &self,
        payload: &Payload,
        invocation: &Invocation,
    ) -> Result<Response, Error> {
        let metrics = Metrics::default();
        if !self.warm.swap(true, Ordering::Relaxed) {
            metrics.count(Metric::ColdStart);
        }
        let response = self.answer(payload, invocation, &metrics).await;
        if let Some(service) = &self.settings.service {
            let lines = metrics.lines(service, &invocation.request_id, self.clock.now());
            telemetry::measured(&lines);
        }
        response
    }

    async fn answer(
        &self,
        payload: &Payload,
        invocation: &Invocation,
        metrics: &Metrics,
    ) -> Result<Response, Error> {
        let now = self.clock.now();
        let home = Home::of(&invocation.function_arn, &self.settings.region);
        let arrival = Arrival {
            request_id: &invocation.request_id,
            at: now,
            home: &home,
            settings: &self.settings,
        };
        let delivery = self
            .settings
            .check(&home)
            .and_then(|()| input::parse(payload, &arrival))
            .inspect_err(|error| {
                tracing::error!(errorType = error.error_type.as_str(), "{}", error.message)
            })?;

        let known = |deadline: &OffsetDateTime| now - *deadline < MAX_TIMEOUT;
        let deadline = Some(invocation.deadline)
            .filter(known)
            .unwrap_or(now + MAX_TIMEOUT)
            .min(now + MAX_TIMEOUT);
        match delivery {
            Delivery::Direct(Content::Watch(started)) => {
                let work = Work::new(self, &home, metrics, invocation, deadline, false);
                let outcomes = work.watch_one(&started).await?;
                Ok(Response::Direct { outcomes })
            }
            Delivery::Direct(content) => {
                let mut work = Work::new(self, &home, metrics, invocation, deadline, false);
                let chance = chance(&invocation.request_id);
                let done = all(&mut work, vec![requests(content)], chance).await;
                work.record_turns().await;
                direct(done)
            }
            Delivery::Batch(messages) => {
                let work = Work::new(self, &home, metrics, invocation, deadline, true);
                let chance = chance(&invocation.request_id);
                Ok(Response::Batch(batch(work, messages, chance).await))
            }
        }
    }
}

/// The requests of a content; none of what is ignored, and of a job to be followed.
fn requests(content: Content) -> Vec<Request> {
    match content {
        Content::Requests(requests) => requests,
        Content::Ignored(reason) => {
            tracing::warn!("ignored: {reason}");
            Vec::new()
        }
        Content::Watch(_) => Vec::new(),
    }
}

/// The messages of a batch that SQS must deliver again.
async fn batch(mut work: Work<'_>, messages: Vec<Message>, chance: u64) -> SqsBatchResponse {
    let mut ids = Vec::with_capacity(messages.len());
    let mut contents = Vec::with_capacity(messages.len());
    let mut watched = Vec::new();
    let mut watches = Vec::new();
    for (place, message) in messages.into_iter().enumerate() {
        let (stays, requests) = match message.content {
            Ok(Content::Watch(started)) => {
                watched.push(place);
                watches.push(started);
                (true, Vec::new())
            }
            Ok(content) => (false, requests(content)),
            Err(error) => {
                let aside = work.put_aside(&message.id, &message.body, &error).await;
                (!aside, Vec::new())
            }
        };
        ids.push((message.id, stays));
        contents.push(requests);
    }
    work.rest = contents.iter().map(Vec::len).sum();
    let unqueued = |request: &&Request| request.waiting_since.is_none();
    work.unqueued = contents.iter().flatten().filter(unqueued).count();
    for (place, follow) in watched.into_iter().zip(work.watch_all(&watches).await) {
        if let Some((_, stays)) = ids.get_mut(place) {
            *stays = follow;
        }
    }
    let all = all(&mut work, contents, chance).await;
    let mut response = SqsBatchResponse::default();
    for ((id, stays), mut done) in ids.into_iter().zip(all) {
        work.queue(&mut done).await;
        let undone = |done: &Done| done.stays.is_some() || done.failure.is_some();
        if stays || done.iter().any(undone) {
            response.add_failure(id);
        }
    }
    work.record_turns().await;
    response
}

/// A direct invocation's answer: it fails when any target failed.
fn direct(all: Vec<Vec<Done>>) -> Result<Response, Error> {
    let all: Vec<Done> = all.into_iter().flatten().collect();
    let Some(first) = all.iter().find_map(|done| done.failure.as_ref()) else {
        return Ok(Response::Direct {
            outcomes: all
                .into_iter()
                .filter_map(|done| done.outcome)
                .map(|outcome| *outcome)
                .collect(),
        });
    };
    if let [_] = &all[..] {
        return Err(first.clone());
    }
    let failures = all.iter().filter_map(|done| done.failure.as_ref());
    let started = all.iter().filter_map(|done| {
        let outcome = done.outcome.as_ref()?;
        let job_id = outcome
            .job
            .as_ref()
            .filter(|_| outcome.outcome == OutcomeKind::Started)?;
        Some(format!(
            "{} as job {}",
            done.request.target,
            job_id.as_str()
        ))
    });
    let (failures, started): (Vec<String>, Vec<String>) =
        (failures.map(Error::to_string).collect(), started.collect());
    let started = if started.is_empty() {
        "none".to_owned()
    } else {
        started.join(", ")
    };
    Err(Error::new(
        first.error_type,
        format!(
            "{} of {} targets failed: {}; started: {started}",
            failures.len(),
            all.len(),
            failures.join("; ")
        ),
    ))
}
