//! One invocation: the services it calls, its deadline, and what it has learned.

use time::OffsetDateTime;

use super::context::Learned;
use super::deadline::Deadline;
use crate::aws::clients::SendOptions;
use crate::aws::ledger_table::Item;
use crate::aws::services::Services;
use crate::config::Settings;
use crate::error::Error;
use crate::job::StartedJob;
use crate::ledger::Record;
use crate::metrics::Metrics;
use crate::period::Period;
use crate::request::Request;
use crate::target::{AwsLocation, Target};

/// The longest that `MAX_WAIT` may be. SQS keeps a message for a day more.
pub(super) const MAX_TIME_IN_QUEUE: time::Duration = time::Duration::days(13);

/// Where the requests of an invocation come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The invocation's payload.
    Direct,
    /// The messages of a queue. What is not done leaves its message there.
    Queue,
}

/// One invocation.
pub(super) struct Run<'a> {
    pub(super) services: &'a Services,
    pub(super) settings: &'a Settings,
    pub(super) location: &'a AwsLocation,
    pub(super) metrics: &'a Metrics,
    pub(super) trace_header: Option<&'a str>,
    pub(super) source: Source,
    pub(super) deadline: Deadline,
    pub(super) learned: Learned,
}

impl<'a> Run<'a> {
    /// Reads the ledger's item of a table.
    pub(super) async fn read_item(&self, target: &Target) -> Result<Item, Error> {
        let arn = self.location.table_arn(target);
        let timeout = self.deadline.io_timeout();
        self.services.ledger.read(&arn, timeout).await
    }

    /// How long a request settles before its first try. Returns `None` if it does not: only a change that comes as
    /// an event does.
    pub(super) fn settle_time(&self, request: &Request) -> Option<&'a Period> {
        let settles = self.source == Source::Direct && request.trigger.is_some();
        self.settings.settle_time.as_ref().filter(|_| settles)
    }

    /// Until when this invocation reports the starts that it records. Returns `None` if starts are not reported.
    pub(super) fn report_until(&self) -> Option<OffsetDateTime> {
        self.reports_starts().then(|| self.deadline.ends_at())
    }

    /// Records that a job was started, or found.
    pub(super) fn note_started(&mut self, started: &StartedJob) {
        self.metrics.job_started(&started.request.target);
        let min_interval = self.settings.min_interval.as_ref();
        self.learned.note_started(started, min_interval);
    }

    /// Records how old a table is, if its ledger item tells.
    pub(super) fn record_age(&self, target: &Target, record: &Record) {
        if let Some(since) = record.fresh_since(self.settings.track_completion, self.deadline.now())
        {
            let age = std::time::Duration::try_from(self.deadline.now() - since);
            self.metrics.record_age(target, age.unwrap_or_default());
        }
    }

    /// How one of the last messages or events for a request is sent.
    pub(super) fn send_options(&self) -> SendOptions<'_> {
        SendOptions {
            timeout: self.deadline.final_timeout(),
            trace_header: self.trace_header,
        }
    }

    /// Returns whether a job's start is reported to others: announced, or tracked.
    pub(super) fn reports_starts(&self) -> bool {
        self.services.event_bus.is_some() || self.settings.track_completion
    }

    /// How long a request has been in a queue. Returns `None` if it came in no queue.
    pub(super) fn time_in_queue(&self, request: &Request) -> Option<time::Duration> {
        let since = request.waiting_since.or(request.sent_at)?;
        (self.source == Source::Queue).then(|| self.deadline.now() - since)
    }
}

/// Logs a failure after which the work goes on.
pub(super) fn warn(target: &Target, what: &str, error: &Error) {
    let error_type = error.error_type.as_str();
    tracing::warn!(
        errorType = error_type,
        "{what} of {target}: {}",
        error.message
    );
}
