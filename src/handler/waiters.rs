//! Which request the account's job slot goes to. Requests that find it busy are recorded in the ledger, and a request
//! that finds an older one there lets it pass.

use time::OffsetDateTime;

use super::context::{Learned, SlotWaiters};
use super::run::Run;
use crate::ledger::{Waiter, Waiters};
use crate::request::Request;

/// Reads which requests wait for the slot. If that fails, no request lets another one pass: order is lost, and no
/// promise.
pub(super) async fn read(run: &mut Run<'_>) {
    let min_interval = run.settings.min_interval.as_ref();
    let timeout = run.deadline.io_timeout();
    match run.services.ledger.read_waiters(timeout).await {
        Ok(item) => {
            let current = run.learned.remaining_waiters(&item.record, min_interval);
            run.learned.waiters = SlotWaiters::Read { item, current };
        }
        Err(error) => {
            run.learned.waiters = SlotWaiters::Unknown;
            tracing::warn!(
                errorType = error.error_type.as_str(),
                "it is unknown which requests wait for the slot: {}",
                error.message
            );
        }
    }
}

/// Returns whether a message for a request is in the waiting queue already, as far as is known.
pub(super) async fn has(
    run: &mut Run<'_>,
    request: &Request,
    last_start: Option<OffsetDateTime>,
) -> bool {
    if matches!(run.learned.waiters, SlotWaiters::NotRead) {
        read(run).await;
    }
    match &run.learned.waiters {
        SlotWaiters::Read { current, .. } => current.has(request, last_start, run.deadline.now()),
        SlotWaiters::NotRead | SlotWaiters::Unknown => false,
    }
}

/// The requests in other messages that wait for the slot too, where a table of this batch was refused alone, and not
/// for the first time.
pub(super) fn elsewhere(run: &Run<'_>) -> Vec<Request> {
    let (Some(refused), SlotWaiters::Read { current, .. }) =
        (run.learned.slot.refused_alone(), &run.learned.waiters)
    else {
        return Vec::new();
    };
    let live = || current.live(run.deadline.now());
    if !live().any(|waiter| waiter.target() == refused) {
        return Vec::new();
    }
    live().filter_map(Waiter::request).collect()
}

/// Records which requests wait for the slot now, if that has changed. If this fails, a request lets another one pass in
/// vain, or does not.
pub(super) async fn record(run: &Run<'_>) {
    let Learned {
        joined,
        left,
        refused_alone,
        waiters,
        ..
    } = &run.learned;
    let read = match waiters {
        SlotWaiters::Read { item, .. } => Some(item.clone()),
        SlotWaiters::NotRead | SlotWaiters::Unknown => None,
    };
    if joined.is_empty() && left.is_empty() && read.is_none() {
        return;
    }
    let (now, min_interval) = (run.deadline.now(), run.settings.min_interval.as_ref());
    let transition = |waiters: &Waiters| {
        let waiters = waiters.expired(now);
        let mut waiters = run.learned.remaining_waiters(&waiters, min_interval);
        for (request, not_before) in joined {
            waiters = waiters.joined(&Waiter::new(request, now).held_back(*not_before));
        }
        if let Some(target) = refused_alone {
            waiters = waiters.refused_alone(target, now);
        }
        waiters
    };
    let ledger = &run.services.ledger;
    let timeout = run.deadline.final_timeout();
    let recorded = async {
        let mut item = match read {
            Some(item) => item,
            None => ledger.read_waiters(timeout).await?,
        };
        ledger.update(&mut item, timeout, transition).await
    };
    if let Err(error) = recorded.await {
        tracing::warn!(
            errorType = error.error_type.as_str(),
            "which requests wait for the slot is not recorded: {}",
            error.message
        );
    }
}
