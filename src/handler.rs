//! The function: a payload becomes requests, each request an outcome, and the outcomes a response.
//!
//! `process` is the story of one request. It goes one way: `decide` tells the next step and does no I/O, `attempt` and
//! `reconcile` call Clean Rooms and return facts, and `report` and `publish` alone speak to others. `track` follows jobs
//! to their end.

mod attempt;
mod batch;
mod choose;
mod configured;
mod context;
mod deadline;
mod decide;
mod dry_run;
mod invocation;
mod log;
mod order;
mod process;
mod processed;
mod publish;
mod reconcile;
mod report;
mod response;
mod run;
mod track;
mod waiters;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_config::SdkConfig;
use time::OffsetDateTime;

use self::configured::{Configured, NoTables};
use self::context::Learned;
use self::deadline::{Deadline, Reserve};
pub use self::invocation::Invocation;
pub use self::response::Response;
use self::run::{Run, Source};
use crate::aws::ReadError;
use crate::aws::services::Services;
use crate::clock::Clock;
use crate::config::Settings;
use crate::error::{Error, ErrorType};
use crate::input::{self, Arrival, Delivery, Payload};
use crate::metrics::{Metric, Metrics};
use crate::status::{self, Functions, Question, Report, Status};
use crate::target::AwsLocation;
use crate::telemetry;
use crate::view::View;

/// The function, with its clients, for the life of an execution environment.
#[derive(Clone, Debug)]
pub struct Populator {
    configured: Configured,
    services: Services,
    status: Status,
    clock: Clock,
    /// Whether an invocation came already.
    is_warm: Arc<AtomicBool>,
}

impl Populator {
    /// The function with these settings, and clients of this configuration (see [`crate::aws::clients`]).
    pub fn new(settings: Settings, config: &SdkConfig, clock: Clock) -> Self {
        Self {
            services: Services::new(&settings, config),
            configured: Configured::new(settings),
            status: Status::default(),
            clock,
            is_warm: Arc::default(),
        }
    }

    /// Handles one invocation.
    pub async fn handle(
        &self,
        payload: &Payload,
        invocation: &Invocation,
    ) -> Result<Response, Error> {
        let metrics = Metrics::default();
        if !self.is_warm.swap(true, Ordering::Relaxed) {
            metrics.count(Metric::ColdStart);
        }
        // Boxed: the compiler limits how deep futures may contain one another.
        let response = Box::pin(self.respond(payload, invocation, &metrics)).await;
        if let Some(service) = &self.configured.at_start().service {
            let lines = metrics.lines(service, &invocation.request_id, self.clock.now());
            telemetry::measured(&lines);
        }
        response
    }

    async fn respond(
        &self,
        payload: &Payload,
        invocation: &Invocation,
        metrics: &Metrics,
    ) -> Result<Response, Error> {
        let region = &self.configured.at_start().region;
        let location = &AwsLocation::of(&invocation.function_arn, region);
        let prepared = self.prepare(payload, invocation, location).await;
        let prepared = prepared.inspect_err(|error| {
            tracing::error!(errorType = error.error_type.as_str(), "{}", error.message)
        })?;
        let settings = &*prepared.settings;
        let run = |source| self.run(settings, invocation, location, metrics, source);
        let request_id = &invocation.request_id;
        match prepared.delivery {
            Delivery::Status(view) => {
                let report = self.report(&prepared, invocation, location).await;
                Ok(answer_status(view, report, settings, invocation, metrics))
            }
            Delivery::Batch(messages) => {
                let mut run = run(Source::Queue);
                let response = batch::process_batch(&mut run, messages, request_id);
                Ok(Response::Batch(response.await))
            }
            Delivery::Direct(parts) => {
                batch::process_direct(&mut run(Source::Direct), parts, request_id).await
            }
            Delivery::Button(parts, widget) => {
                let mut run = run(Source::Direct);
                let response = batch::process_direct(&mut run, parts, request_id).await?;
                Ok(response.shown_in(widget))
            }
        }
    }

    /// Reads the list of tables and the payload. Without the list, only a question for status is answered.
    async fn prepare(
        &self,
        payload: &Payload,
        invocation: &Invocation,
        location: &AwsLocation,
    ) -> Result<Prepared, Error> {
        let at_start = self.configured.at_start();
        at_start.check(location)?;
        let now = self.clock.now();
        let remaining = self.remaining(invocation);
        let parameters = self.services.parameters.as_ref();
        let settings = self
            .configured
            .settings(parameters, location, now, remaining);
        match settings.await {
            Ok(settings) => Ok(Prepared {
                received_at: now,
                delivery: self.parse(payload, invocation, location, &settings)?,
                settings,
                unread: None,
            }),
            Err(NoTables::NotRead(error)) => {
                match self.parse(payload, invocation, location, at_start) {
                    Ok(delivery @ Delivery::Status(_)) => Ok(Prepared {
                        received_at: now,
                        delivery,
                        settings: Arc::clone(at_start),
                        unread: Some(error),
                    }),
                    _ => Err(NoTables::NotRead(error).into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a payload. With `STATUS_ONLY` all but questions for status are refused.
    fn parse(
        &self,
        payload: &Payload,
        invocation: &Invocation,
        location: &AwsLocation,
        settings: &Settings,
    ) -> Result<Delivery, Error> {
        let arrival = Arrival {
            request_id: &invocation.request_id,
            function_arn: &invocation.function_arn,
            at: self.clock.now(),
            location,
            settings,
        };
        let delivery = input::parse(payload, &arrival)?;
        match delivery {
            Delivery::Status(_) => Ok(delivery),
            _ if settings.status_only => Err(Error::new(ErrorType::InvalidRequest, ONLY_STATUS)),
            _ => Ok(delivery),
        }
    }

    /// The time until Lambda ends the invocation.
    fn remaining(&self, invocation: &Invocation) -> Duration {
        Duration::try_from(invocation.deadline - self.clock.now()).unwrap_or_default()
    }

    fn run<'a>(
        &'a self,
        settings: &'a Settings,
        invocation: &'a Invocation,
        location: &'a AwsLocation,
        metrics: &'a Metrics,
        source: Source,
    ) -> Run<'a> {
        let (reserve, learned) = match (&self.services.waiting_queue, source) {
            (None, _) => (Reserve::Nothing, Learned::without_waiters()),
            (Some(_), Source::Direct) => (Reserve::Pending, Learned::default()),
            (Some(_), Source::Queue) => (Reserve::NotQueued, Learned::default()),
        };
        Run {
            services: &self.services,
            settings,
            location,
            metrics,
            trace_header: invocation.trace_header(),
            source,
            deadline: Deadline::new(&self.clock, invocation.deadline, reserve),
            learned,
        }
    }

    /// Makes a status report. Nothing is changed, started, published or sent.
    async fn report(
        &self,
        prepared: &Prepared,
        invocation: &Invocation,
        location: &AwsLocation,
    ) -> Arc<Report> {
        let clock = &self.clock;
        let due = prepared.received_at + STATUS_DUE - clock.now();
        let due = Duration::try_from(due).unwrap_or_default();
        let remaining = due.min(self.remaining(invocation));
        let question = Question {
            settings: &prepared.settings,
            unread: prepared.unread.as_ref(),
            location,
        };
        self.status
            .report(&self.services, question, clock, remaining)
            .await
    }
}

/// What an invocation is about.
struct Prepared {
    received_at: OffsetDateTime,
    settings: Arc<Settings>,
    delivery: Delivery,
    /// Why the list of tables could not be read.
    unread: Option<ReadError>,
}

/// How long a status may take. With the time to send the answer it is there after ten seconds.
const STATUS_DUE: time::Duration = time::Duration::milliseconds(9_500);

/// Answers a question for a status report.
fn answer_status(
    view: View,
    report: Arc<Report>,
    settings: &Settings,
    invocation: &Invocation,
    metrics: &Metrics,
) -> Response {
    for (target, age) in report.ages() {
        metrics.record_age(target, age);
    }
    if report.has_unknown_age() {
        metrics.record_unknown_age();
    }
    match view {
        View::Json => Response::Status { status: report },
        View::Widget(widget) => {
            let own = invocation.function_arn.as_str();
            let started_by = settings.populator_function_arn.as_deref();
            let functions = Functions {
                asked: own,
                started_by: started_by.or((!settings.status_only).then_some(own)),
            };
            Response::Html(status::page(&report, widget, functions))
        }
    }
}

/// Why a request is refused with `STATUS_ONLY`.
const ONLY_STATUS: &str = "this function only answers {\"status\": true} and the widgets of CloudWatch dashboards, because STATUS_ONLY is \
                           true: send requests to the function that starts jobs";
