//! A dry run: what would be done now. It changes nothing, and publishes nothing.

use super::choose;
use super::context::Learned;
use super::decide::{Context, Step, next_step};
use super::processed::Resolution;
use super::run::Run;
use crate::choice::{Choice, Facts};
use crate::error::Error;
use crate::outcome::Plan;
use crate::request::Request;

/// Plans a request. Returns an error if the ledger is unavailable.
pub(super) async fn plan(
    run: &Run<'_>,
    request: &Request,
    choice: &mut Option<Choice>,
) -> Result<Resolution, Error> {
    let item = run.read_item(&request.target).await?;
    let mut facts = None;
    if choice.is_none() {
        let (chosen, read) = choose::by_facts(run, request, &item).await;
        *choice = Some(chosen);
        facts = Some(Box::new(read));
    }
    let learned = Learned::without_waiters();
    let context = Context {
        settle_time: run.settle_time(request),
        reports_starts: false,
        learned: &learned,
    };
    let plan = match next_step(&item.record, request, &context, run.deadline.now()) {
        Step::Covered(_) => Plan::Covered,
        // Only the table's own workflow tells whether the slot is busy.
        Step::Start(_) if is_busy(run, request, &mut facts).await => Plan::Wait,
        Step::Start(_) => Plan::Start,
        Step::Wait(_) | Step::Reconcile(_) | Step::ReportStart(_) | Step::ReadWaiters => Plan::Wait,
    };
    Ok(Resolution::Planned(plan, facts))
}

async fn is_busy(run: &Run<'_>, request: &Request, facts: &mut Option<Box<Facts>>) -> bool {
    let Some(facts) = facts else {
        return false;
    };
    let (now, timeout) = (run.deadline.now(), run.deadline.io_timeout());
    let workflows = &run.services.workflows;
    let busy = workflows.is_busy(&request.target, now, timeout).await;
    let is_busy = busy.as_ref().is_ok_and(|busy| busy.value);
    facts.busy = Some(busy);
    is_busy
}
