//! Every interleaving of two execution environments: at each call of AWS, which of the two goes next,
//! and which fault or crash the call has.
//!
//! An invocation is a deterministic process ([`process`]), so a schedule needs no execution of its own:
//! the search steps through states of the services and points of the two invocations. Two schedules that
//! lead to the same state of the services and the same two points continue alike, and are one from there on.
//! That state is complete. A point is all answers that an invocation got.
//!
//! A call that is independent of everything that the other environment may still call (an event, a message,
//! the description of a table) goes first, and no other call is tried in its place. Whatever the other
//! environment does before it could be done after it with the same result, so every end is still reached (such
//! a call is a persistent set). Its faults are tried too. The limit of faults does not change this: one may
//! think of the faults as assigned to the calls of each environment beforehand.
//!
//! Each environment has a clock of its own, which moves with its own calls and timers, and on to the time of
//! what it reads: so times commute as calls do, and causes come before effects. An environment may be ahead of
//! the other one's next call by one second, which is the allowed difference of two clocks. Beyond that the
//! environment that is behind goes first. So while one waits for an answer that does not come, the other
//! continues. The services record times by the caller's clock.
//!
//! After both have ended, the invariants are checked at once ([`invariants`](crate::invariants)). Then faults
//! end, the slot frees in each round, and everything must be done in a bounded number of rounds.
//!
//! `INTERLEAVE_FAULTS` says how many faults a schedule may have. With `INTERLEAVE_ALL=1` each set-up is
//! searched with each kind of slot and with and without tracking; otherwise in one of the four.
//! Schedules of more faults are tried at random: `INTERLEAVE_RUNS` of each set-up, from `INTERLEAVE_SEED`
//! on, with `INTERLEAVE_RANDOM_FAULTS`. A violation is printed with its schedule, and the same test finds it
//! again.

mod newer;
mod process;
mod search;
mod setups;

use std::time::Instant;

use fake_aws::Slot;

use self::process::Processes;
pub use self::search::reads_jobs;
use self::search::{Found, Search};
use self::setups::{Begun, Way};
use crate::effort::number;

/// How a set-up's job slot is, and whether jobs are tracked.
const VARIANTS: [(Slot, bool); 4] = [
    (Slot::Conflict, false),
    (Slot::Unlimited, true),
    (Slot::Conflict, true),
    (Slot::Unlimited, false),
];

/// Searches every pair of acts of a set-up, in these variants unless all are wanted.
async fn search(way: Way, variants: &[usize]) {
    let every: Vec<usize> = (0..VARIANTS.len()).collect();
    // Where several jobs run, two that began within seconds for tables of one workflow cannot be told apart.
    let variants = match number("INTERLEAVE_ALL", 0, 0) {
        1 if way != Way::SharedWorkflow => &every,
        _ => variants,
    };
    let faults = number("INTERLEAVE_FAULTS", 0, 1) as usize;
    let runs = number("INTERLEAVE_RUNS", 5, 50);
    let seed = number("INTERLEAVE_SEED", 1, 1);
    let random_faults = number("INTERLEAVE_RANDOM_FAULTS", 3, 3) as usize;
    let mut broken = Vec::new();
    for (slot, track) in variants.iter().map(|variant| VARIANTS[*variant]) {
        let begun = Begun::new(way, slot, track).await;
        let mut processes = Processes::new(&begun.sim, begun.newer);
        for acts in way.acts() {
            let name = format!("{way:?} {acts:?} {slot:?}, tracked: {track}");
            let began = Instant::now();
            let setup = begun.setup(&acts, faults);
            let found = Search::new(&mut processes, setup).every().await;
            println!("{name}, {faults} fault(s): {}", summary(&found, began));
            broken.extend(report(&name, &found));
            let began = Instant::now();
            let setup = begun.setup(&acts, random_faults);
            let search = Search::new(&mut processes, setup);
            let found = search.some(seed..seed + runs).await;
            println!(
                "{name}, {random_faults} random faults: {}",
                summary(&found, began)
            );
            broken.extend(report(&name, &found));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}

fn summary(found: &Found, began: Instant) -> String {
    format!(
        "{} states, {} schedules, {} different ends, {} executions, {:.1?}",
        found.states,
        found.schedules,
        found.ends,
        found.executions,
        began.elapsed()
    )
}

fn report<'a>(name: &'a str, found: &'a Found) -> impl Iterator<Item = String> + 'a {
    let broken = found.broken.iter();
    broken.map(move |(what, (count, first))| format!("{name}: {count} times {what}\n{first}"))
}

#[tokio::test(start_paused = true)]
async fn two_deliveries_at_once() {
    search(Way::Empty, &[0, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn two_tables_of_one_workflow_at_once() {
    search(Way::SharedWorkflow, &[0]).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_twice_and_a_batch_beside_a_delivery() {
    search(Way::Waiting, &[0]).await;
}

#[tokio::test(start_paused = true)]
async fn another_default_job_type_in_the_other_environment() {
    search(Way::WaitingOtherDefault, &[0]).await;
}

#[tokio::test(start_paused = true)]
async fn a_newer_version_in_the_other_environment() {
    search(Way::WaitingOtherVersion, &[0]).await;
    search(Way::SucceededOtherVersion, &[2]).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_expired_and_whose_job_runs() {
    search(Way::Expired, &[3]).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_expired_and_that_started_nothing() {
    search(Way::ExpiredBeforeCall, &[0]).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_answer_was_lost() {
    search(Way::AnswerLost, &[0]).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_call_that_crashed() {
    search(Way::SecondCallCrashed, &[0]).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_not_announced() {
    search(Way::Unannounced, &[1]).await;
}

#[tokio::test(start_paused = true)]
async fn a_tracked_job_that_failed() {
    search(Way::Failed, &[2]).await;
}

#[tokio::test(start_paused = true)]
async fn a_tracked_job_that_failed_and_is_started_again() {
    search(Way::FailedOnce, &[2]).await;
    search(Way::RetryQueued, &[2]).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_that_an_interval_holds_back() {
    search(Way::HeldBack, &[3]).await;
}

#[tokio::test(start_paused = true)]
async fn forged_messages_that_track_jobs() {
    search(Way::Forged, &[2]).await;
}

#[tokio::test(start_paused = true)]
async fn a_tracked_job_that_succeeded() {
    search(Way::Succeeded, &[2]).await;
}
