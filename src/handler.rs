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
use crate::status::{self, Status};
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
        let location = AwsLocation::of(&invocation.function_arn, &self.settings.region);
        let arrival = Arrival {
            request_id: &invocation.request_id,
            function_arn: &invocation.function_arn,
            at: self.clock.now(),
            location: &location,
            settings: &self.settings,
        };
        let delivery = self
            .settings
            .check(&location)
            .and_then(|()| input::parse(payload, &arrival))
            .inspect_err(|error| {
                tracing::error!(errorType = error.error_type.as_str(), "{}", error.message)
            })?;
        if let Delivery::Status(view) = delivery {
            let report = self.answer_status(view, invocation, &location, metrics);
            return Ok(report.await);
        }
        if self.settings.status_only {
            return Err(only_status());
        }
        let source = match delivery {
            Delivery::Batch(_) => Source::Queue,
            _ => Source::Direct,
        };
        let (reserve, learned) = match (&self.services.waiting_queue, source) {
            (None, _) => (Reserve::Nothing, Learned::without_waiters()),
            (Some(_), Source::Direct) => (Reserve::Pending, Learned::default()),
            (Some(_), Source::Queue) => (Reserve::NotQueued, Learned::default()),
        };
        let mut run = Run {
            services: &self.services,
            settings: &self.settings,
            location: &location,
            metrics,
            trace_header: invocation.trace_header(),
            source,
            deadline: Deadline::new(&self.clock, invocation.deadline, reserve),
            learned,
        };
        let request_id = &invocation.request_id;
        match delivery {
            Delivery::Batch(messages) => {
                let response = batch::process_batch(&mut run, messages, request_id);
                Ok(Response::Batch(response.await))
            }
            Delivery::Direct(parts) => batch::process_direct(&mut run, parts, request_id).await,
            Delivery::Button(parts, widget) => {
                let response = batch::process_direct(&mut run, parts, request_id).await?;
                Ok(response.shown_in(widget))
            }
            Delivery::Status(_) => Err(only_status()),
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
        match view {
            View::Json => Response::Status { status: report },
            View::Widget(widget) => {
                let own = Some(&invocation.function_arn).filter(|_| !settings.status_only);
                let function = settings.populator_function_arn.as_ref().or(own);
                Response::Html(status::page(&report, widget, function.map(String::as_str)))
            }
        }
    }
}

/// Why a request is refused by a function that only answers status.
fn only_status() -> Error {
    Error::new(
        ErrorType::InvalidRequest,
        "this function only answers {\"status\": true} and CloudWatch's widgets, because STATUS_ONLY is true: send requests to \
         the function that starts jobs",
    )
}
