//! In which order the requests of an invocation are done.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::slot::Slot;
use super::work::{Done, Work};
use crate::input::Request;
use crate::target::Target;

/// Does the requests of all messages of an invocation, and says in their order what was done.
///
/// The table with the oldest news goes first; of one table, the request whose job covers most. When
/// that table was told that it is busy, chance says who is asked next, and then nobody more: two
/// tables whose own state refuses every job would else be asked first for ever.
pub(super) async fn all(
    work: &mut Work<'_>,
    messages: Vec<Vec<Request>>,
    chance: u64,
) -> Vec<Vec<Done>> {
    let mut results: Vec<Vec<Option<Done>>> = messages
        .iter()
        .map(|requests| requests.iter().map(|_| None).collect())
        .collect();
    let mut line: Vec<(usize, usize, Request)> = Vec::new();
    for (message, requests) in messages.into_iter().enumerate() {
        let places = requests.into_iter().enumerate();
        line.extend(places.map(|(place, request)| (message, place, request)));
    }
    // Of each table its oldest news, then its place: equal ones keep their order, and two tables with
    // equally old news are not mixed.
    let mut tables = HashMap::new();
    for (_, _, request) in &line {
        let place = tables.len();
        let (oldest, _) = tables
            .entry(request.target.clone())
            .or_insert((request.time, place));
        *oldest = request.time.min(*oldest);
    }
    line.sort_by_cached_key(|(_, _, request)| {
        (
            tables.get(&request.target).copied(),
            Reverse(request.wish.width()),
            request.time,
        )
    });
    work.rest = line.len();
    let mut line = VecDeque::from(line);
    let mut drawn = false;
    while let Some((message, place, request)) = line.pop_front() {
        // Boxed: a request's story is deep, and the compiler lays out what contains it.
        let done = Box::pin(work.one(request)).await;
        if let Some(result) = results.get_mut(message).and_then(|all| all.get_mut(place)) {
            *result = Some(done);
        }
        if !drawn && work.slot.is_doubtful() {
            drawn = true;
            draw(&mut line, &work.slot, chance);
        }
    }
    let flat = |all: Vec<Option<Done>>| all.into_iter().flatten().collect();
    results.into_iter().map(flat).collect()
}

/// Puts one of the tables of which nothing is known yet first.
fn draw(line: &mut VecDeque<(usize, usize, Request)>, slot: &Slot, chance: u64) {
    let mut seen = HashSet::new();
    let tables = line.iter().map(|(_, _, request)| &request.target);
    let tables: Vec<&Target> = tables
        .filter(|table| slot.busy_for(table).is_none() && seen.insert(*table))
        .collect();
    let drawn = chance.checked_rem(tables.len() as u64);
    let drawn = drawn.and_then(|index| tables.get(index as usize).copied());
    if let Some(table) = drawn.cloned() {
        line.make_contiguous()
            .sort_by_key(|(_, _, request)| request.target != table);
    }
}

/// A number for an invocation, the same for the same one.
pub(super) fn chance(request_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    request_id.hash(&mut hasher);
    hasher.finish()
}
