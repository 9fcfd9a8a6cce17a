//! A dry run: what would be done now, as far as reads can tell. It changes nothing, and publishes nothing.

use super::context::{Learned, SlotWaiters};
use super::decide::{Context, Step, Wait, next_step, not_called};
use super::processed::Resolution;
use super::run::Run;
use super::{choose, reconcile};
use crate::aws::entity_resolution::{Absent, TableState};
use crate::aws::ledger_table::Item;
use crate::choice::{self, Choice};
use crate::error::{Error, ErrorType};
use crate::outcome::{Plan, PlanFacts, Planned};
use crate::request::Request;

/// Plans a request. Returns an error if the ledger is unavailable.
pub(super) async fn plan(
    run: &Run<'_>,
    request: &Request,
    choice: &mut Option<Choice>,
) -> Result<Resolution, Error> {
    let item = run.read_item(&request.target).await?;
    let (now, timeout) = (run.deadline.now(), run.deadline.io_timeout());
    let workflows = &run.services.workflows;
    let state = workflows.state(&request.target, now, timeout).await;
    let mut of_auto = None;
    if choice.is_none() {
        let (chosen, facts) = choose::by_facts(run, request, &item).await;
        *choice = Some(chosen);
        of_auto = Some(facts);
    }
    let (plan, wait) = match next(run, request, &item).await {
        Step::Covered(_) | Step::Superseded => (Plan::Covered, None),
        step => match refusal(request, choice.as_ref(), &state) {
            Some(error) => (Plan::Reject, Some(Wait::until_retry(error))),
            None => would_start(request, step, &state),
        },
    };
    let (error, not_before) = wait.map(|wait| (wait.error, wait.not_before)).unzip();
    let TableState {
        workflow,
        job_running,
        ..
    } = state;
    Ok(Resolution::Planned(Box::new(Planned {
        plan,
        error,
        not_before: not_before.flatten(),
        facts: PlanFacts {
            workflow,
            job_running,
            of_auto,
        },
    })))
}

/// The next step, after all that reads tell: which requests wait for the slot, and what became of calls whose outcome is
/// unknown. Nothing is recorded.
async fn next(run: &Run<'_>, request: &Request, item: &Item) -> Step {
    let mut learned = match run.services.waiting_queue {
        Some(_) => Learned::default(),
        None => Learned::without_waiters(),
    };
    let mut record = item.record.clone();
    loop {
        let context = Context {
            settle_time: run.settle_time(request),
            min_interval: run.settings.min_interval.as_ref(),
            reports_starts: false,
            learned: &learned,
        };
        let now = run.deadline.now();
        match next_step(&record, request, &context, now) {
            Step::ReadWaiters => {
                let ledger = &run.services.ledger;
                let waiters = ledger.read_waiters(run.deadline.io_timeout()).await;
                learned.waiters = waiters.map_or(SlotWaiters::Unknown, |item| SlotWaiters::Read {
                    current: item.record.clone(),
                    item,
                });
            }
            Step::Reconcile(unknown) => {
                let found = reconcile::look(run, &record, &unknown.call).await;
                record = reconcile::recorded(&record, &unknown, &found, None, now);
                if let Err(not_found) = found {
                    learned.note_not_found(&unknown.call, !unknown.looked_for, not_found);
                }
            }
            step => return step,
        }
    }
}

/// Why the call would be refused.
fn refusal(request: &Request, choice: Option<&Choice>, state: &TableState) -> Option<Error> {
    let said = || match &state.workflow {
        Err(missing) => missing.why.clone(),
        Ok(_) => String::new(),
    };
    let (error_type, why) = match (state.absent, &state.workflow) {
        (Some(Absent::Table), _) => (
            ErrorType::TableNotFound,
            format!("{}; check the membership's and the table's id", said()),
        ),
        (Some(Absent::Workflow), _) => (
            ErrorType::RequestRefused,
            format!("{}; check the table's workflow", said()),
        ),
        (None, Ok(workflow)) => {
            let sent = choice.and_then(|choice| choice.job_type);
            (
                ErrorType::RequestRefused,
                choice::not_taken(&workflow.value, sent)?,
            )
        }
        (None, Err(_)) => return None,
    };
    Some(not_called(error_type, request, &why))
}

/// What would be done for a request that no job covers.
fn would_start(request: &Request, step: Step, state: &TableState) -> (Plan, Option<Wait>) {
    let wait = match step {
        Step::Wait(wait) => wait,
        // Only the table's own workflow tells whether the slot is busy.
        _ if state
            .job_running
            .as_ref()
            .is_ok_and(|running| running.value) =>
        {
            let why = "a job of the table's workflow runs or is queued";
            Wait::for_slot(not_called(ErrorType::SlotBusy, request, why))
        }
        _ => return (Plan::Start, None),
    };
    (Plan::Wait, Some(wait))
}
