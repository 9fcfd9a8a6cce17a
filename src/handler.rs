//! The function: a payload becomes requests, each request an outcome, and the outcomes a response.
//!
//! `process` is the story of one request. It goes one way: `decide` tells the next step and does no I/O, `attempt` and
//! `reconcile` call Clean Rooms and return facts, and `report` and `publish` alone speak to others. `track` follows jobs
//! to their end.

mod attempt;
mod batch;
mod choose;
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

use self::context::Learned;
use self::deadline::{Deadline, Reserve};
pub use self::invocation::Invocation;
pub use self::response::Response;
use self::run::{Run, Source};
use crate::aws::services::Services;
use crate::clock::Clock;
use crate::config::Settings;
use crate::error::{Error, ErrorType};
use crate::input::{self, Arrival, Delivery, Payload};
use crate::metrics::{Metric, Metrics};
use crate::status::{self, Functions, Status};
use crate::target::AwsLocation;
use crate::telemetry;
use crate::view::View;

/// The function, with its clients, for the life of an execution environment.
#[derive(Clone, Debug)]
pub struct Populator {
    settings: Settings,
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
            settings,
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
        if let Some(service) = &self.settings.service {
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
        let location = &AwsLocation::of(&invocation.function_arn, &self.settings.region);
        let delivery = self.parse(payload, invocation, location);
        let delivery = delivery.inspect_err(|error| {
            tracing::error!(errorType = error.error_type.as_str(), "{}", error.message)
        })?;
        let run = |source| self.run(invocation, location, metrics, source);
        let request_id = &invocation.request_id;
        match delivery {
            Delivery::Status(view) => Ok(self
                .answer_status(view, invocation, location, metrics)
                .await),
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

    /// Reads a payload. With `STATUS_ONLY` all but questions for status are refused.
    fn parse(
        &self,
        payload: &Payload,
        invocation: &Invocation,
        location: &AwsLocation,
    ) -> Result<Delivery, Error> {
        let settings = &self.settings;
        settings.check(location)?;
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

    fn run<'a>(
        &'a self,
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
            settings: &self.settings,
            location,
            metrics,
            trace_header: invocation.trace_header(),
            source,
            deadline: Deadline::new(&self.clock, invocation.deadline, reserve),
            learned,
        }
    }

    /// Answers a question for a status report. Nothing is changed, started, published or sent.
    async fn answer_status(
        &self,
        view: View,
        invocation: &Invocation,
        location: &AwsLocation,
        metrics: &Metrics,
    ) -> Response {
        let Self {
            settings,
            services,
            status,
            clock,
            ..
        } = self;
        let remaining = Duration::try_from(invocation.deadline - clock.now()).unwrap_or_default();
        let report = status
            .report(services, settings, location, clock, remaining)
            .await;
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
}

/// Why a request is refused with `STATUS_ONLY`.
const ONLY_STATUS: &str = "this function only answers {\"status\": true} and the widgets of CloudWatch dashboards, because STATUS_ONLY is \
                           true: send requests to the function that starts jobs";
