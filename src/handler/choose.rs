//! Chooses a job type for a request that asks for `AUTO`.

use std::time::Duration;

use super::deadline::MIN_REMAINING;
use super::run::Run;
use crate::aws::ledger_table::Item;
use crate::choice::{self, Choice, Facts, Rule};
use crate::error::{Error, ErrorType};
use crate::request::Request;

/// How long the facts of a table may take to be read.
const MAX_READING: Duration = Duration::from_secs(10);

/// Reads the facts of a table, and chooses by them. A fact that cannot be read is logged, and does not prevent the
/// job.
pub(super) async fn by_facts(run: &Run<'_>, request: &Request, item: &Item) -> (Choice, Facts) {
    let every = run.settings.full_refresh_every.as_ref();
    let now = run.deadline.now();
    // The call keeps its time.
    let timeout = run.deadline.remaining().saturating_sub(MIN_REMAINING);
    let facts = run.services.workflows.facts(
        &request.target,
        item.record.last_batch(),
        every,
        now,
        timeout.min(MAX_READING),
    );
    let facts = facts.await;
    let choice = choice::by_facts(&facts, every, now);
    let missing = [
        facts.workflow.as_ref().err(),
        facts.populated.as_ref().err(),
        facts.last_batch.as_ref().err(),
    ];
    let mut logged = Vec::new();
    for missing in missing.into_iter().flatten() {
        // One refusal may be the reason for several missing facts.
        if !logged.contains(&&missing.why) {
            tracing::warn!("a fact of {} is missing: {}", request.target, missing.why);
            logged.push(&missing.why);
        }
    }
    (choice, facts)
}

/// Chooses again after a job type was refused that was chosen by cached facts. Returns `None` if the choice by what is
/// read now is the same.
pub(super) async fn after_refusal(
    run: &Run<'_>,
    request: &Request,
    item: &Item,
    refused: &Choice,
    refusal: &Error,
) -> Option<Choice> {
    if refusal.error_type != ErrorType::RequestRefused {
        return None;
    }
    run.services.workflows.forget(&request.target);
    let (choice, _) = by_facts(run, request, item).await;
    let differs = choice.job_type != refused.job_type;
    (differs && choice.decision.rule != Rule::FactsUnavailable).then_some(choice)
}
