//! What an invocation returns.

use std::sync::Arc;

use aws_lambda_events::event::sqs::SqsBatchResponse;
use serde::Serialize;

use super::processed::Processed;
use crate::error::Error;
use crate::input::Refused;
use crate::outcome::{Outcome, OutcomeKind};
use crate::status::{self, Report};
use crate::view::Widget;

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
    /// Of a question for status.
    Status {
        /// The report.
        status: Arc<Report>,
    },
    /// Of a dashboard's widget: a page.
    Html(String),
}

impl Response {
    /// The response as a widget shows it, if it is one of outcomes.
    pub(super) fn shown_in(self, widget: Widget) -> Self {
        match self {
            Self::Direct { outcomes } => Self::Html(status::answer(&outcomes, widget)),
            other => other,
        }
    }
}

/// The response of a direct invocation, with the ends of jobs that it announced. It fails if any target failed, if a job
/// could not be looked at, or if items of a list were refused and not moved to the dead-letter queue.
pub(super) fn direct(
    ends: Vec<Outcome>,
    all: &[Processed],
    of_jobs: &[Error],
    refused: &Refused,
) -> Result<Response, Error> {
    let of_items = refused.error();
    let of_targets = all
        .iter()
        .filter_map(|processed| processed.disposition.failure());
    let failures: Vec<&Error> = of_items.iter().chain(of_jobs).chain(of_targets).collect();
    let Some(first) = failures.first() else {
        let outcomes = all
            .iter()
            .filter_map(|processed| processed.disposition.outcome());
        return Ok(Response::Direct {
            outcomes: ends.into_iter().chain(outcomes.cloned()).collect(),
        });
    };
    let count = all.len() + of_jobs.len() + refused.count;
    if count == 1 {
        return Err((*first).clone());
    }
    let failed = failures.len() + refused.count.saturating_sub(1);
    let started = all.iter().filter_map(|processed| {
        let outcome = processed.disposition.outcome()?;
        let is_started = outcome.outcome == OutcomeKind::Started;
        let job = outcome.job.as_ref().filter(|_| is_started)?;
        let target = &processed.request.target;
        Some(format!("{target} as job {}", job.as_str()))
    });
    let mut started: Vec<String> = started.collect();
    if started.is_empty() {
        started.push("none".to_owned());
    }
    let messages: Vec<String> = failures.iter().map(ToString::to_string).collect();
    Err(Error::new(
        first.error_type,
        format!(
            "{failed} of {count} requests failed: {}; started: {}",
            messages.join("; "),
            started.join(", ")
        ),
    ))
}
