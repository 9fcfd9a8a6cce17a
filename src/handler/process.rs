//! A request's story: what is known, what follows from it, and what others learn of it.

use super::attempt::{self, Attempt};
use super::deadline::MIN_REMAINING;
use super::decide::{Context, GivenUp, Step, Wait, WaitFor, next_step, not_called};
use super::processed::{Processed, Resolution};
use super::run::{Run, Source, warn};
use super::{choose, dry_run, publish, reconcile, report, waiters};
use crate::aws::ledger_table::Item;
use crate::choice::{self, Choice};
use crate::clock::timestamp;
use crate::error::{Error, ErrorType};
use crate::ledger::is_own_job;
use crate::request::Request;

/// The most steps for one request. More are needed only if other invocations change the table's record all the time.
const MAX_STEPS: usize = 64;

/// Processes one request, and reports what it came to.
pub(super) async fn process(run: &mut Run<'_>, request: Request) -> Processed {
    run.deadline.pending = run.deadline.pending.saturating_sub(1);
    let mut choice = choice::by_request(request.requested_type, request.type_source);
    let resolution = if request.dry_run {
        dry_run::plan(run, &request, &mut choice).await
    } else {
        resolve(run, &request, &mut choice).await
    };
    report::request(run, request, choice, resolution).await
}

/// Takes one step after another until it is clear what becomes of a request. Returns an error if the ledger is
/// unavailable. Then nothing was started.
pub(super) async fn resolve(
    run: &mut Run<'_>,
    request: &Request,
    choice: &mut Option<Choice>,
) -> Result<Resolution, Error> {
    if run.deadline.remaining() < MIN_REMAINING {
        return Ok(Resolution::Wait(attempt::out_of_time(run, request)));
    }
    let mut item = run.read_item(&request.target).await?;
    let resolution = take_steps(run, &mut item, request, choice).await;
    run.record_age(&request.target, &item.record);
    resolution
}

async fn take_steps(
    run: &mut Run<'_>,
    item: &mut Item,
    request: &Request,
    choice: &mut Option<Choice>,
) -> Result<Resolution, Error> {
    for _ in 0..MAX_STEPS {
        let context = context(run, request);
        match next_step(&item.record, request, &context, run.deadline.now()) {
            Step::Covered(job) => {
                let status = item.record.status(&job);
                return Ok(Resolution::Covered(job, status));
            }
            Step::Superseded => return Ok(Resolution::Superseded),
            Step::Wait(wait) => return Ok(wait_for(run, item, request, wait).await),
            Step::ReportStart(started) => {
                let reported = publish::start(run, item, &started).await;
                if is_own_job(&started, request) {
                    return Ok(Resolution::Started(started, reported));
                }
                if let Err(error) = reported {
                    warn(&started.request.target, "an earlier start", &error);
                }
            }
            Step::Reconcile(call) => reconcile::left_behind(run, item, &call).await?,
            Step::ReadWaiters => waiters::read(run).await,
            Step::Start(given_up) => {
                log_given_up(&given_up);
                if let Some(resolution) = start(run, item, request, choice).await? {
                    return Ok(resolution);
                }
            }
        }
    }
    let why = "other invocations change the table's record all the time";
    let error = not_called(ErrorType::SlotBusy, request, why);
    Ok(Resolution::Wait(Wait::until_retry(error)))
}

fn context<'a>(run: &'a Run<'_>, request: &Request) -> Context<'a> {
    Context {
        settle_time: run.settle_time(request),
        min_interval: run.settings.min_interval.as_ref(),
        reports_starts: run.reports_starts(),
        learned: &run.learned,
    }
}

/// Attempts to start a job, and reports it. Returns `None` if the next step has to be decided again.
async fn start(
    run: &mut Run<'_>,
    item: &mut Item,
    request: &Request,
    choice: &mut Option<Choice>,
) -> Result<Option<Resolution>, Error> {
    let began_at = run.deadline.began_at();
    let (chosen, is_by_cached_facts) = match choice {
        Some(chosen) => (chosen.clone(), false),
        None => {
            let (chosen, facts) = choose::by_facts(run, request, item).await;
            (chosen, facts.is_any_older_than(began_at))
        }
    };
    *choice = Some(chosen.clone());
    let resolution = match attempt::start(run, item, request, &chosen).await? {
        Attempt::Started(started) => {
            let reported = publish::start(run, item, &started).await;
            Resolution::Started(started, reported)
        }
        Attempt::StartedUnrecorded(started) => {
            let reported = publish::unrecorded_start(run, &started).await;
            Resolution::Started(started, reported)
        }
        Attempt::Wait(wait) => wait_for(run, item, request, wait).await,
        Attempt::Refused(error) if is_by_cached_facts => {
            match choose::after_refusal(run, request, item, &chosen, &error).await {
                Some(other) => {
                    *choice = Some(other);
                    return Ok(None);
                }
                None => Resolution::Rejected(error),
            }
        }
        Attempt::Refused(error) => Resolution::Rejected(error),
        Attempt::LostClaim => {
            // The facts that `AUTO` chooses by may have changed.
            *choice = choice::by_request(request.requested_type, request.type_source);
            return Ok(None);
        }
    };
    Ok(Some(resolution))
}

/// A request has to wait. What was sent again by its sender, and waits for the slot in a message, needs no second one.
async fn wait_for(run: &mut Run<'_>, item: &Item, request: &Request, wait: Wait) -> Resolution {
    let may_be_repeat = run.source == Source::Direct
        && run.services.waiting_queue.is_some()
        && wait.wait_for == WaitFor::Slot;
    let last_start = item.record.last_failed_start(request);
    match may_be_repeat && waiters::has(run, request, last_start).await {
        true => Resolution::StillWaiting(wait),
        false => Resolution::Wait(wait),
    }
}

/// A job may be started although these calls may have started one: a fresh table is worth more than a job.
fn log_given_up(given_up: &[GivenUp]) {
    for GivenUp { call, not_found } in given_up {
        let called_at = timestamp(call.called_at);
        let target = &call.request.target;
        tracing::warn!("the call of {called_at} for {target} is given up: {not_found}");
    }
}
