//! In which order the requests of an invocation are done.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::slot::Slot;
use super::work::{Done, Work};
use crate::input::Request;

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
    let mut oldest = HashMap::new();
    for (_, _, request) in &line {
        let time = oldest.entry(request.target.clone()).or_insert(request.time);
        *time = request.time.min(*time);
    }
    // Equal ones keep their order; two tables with equally old news are not mixed.
    let mut tables = Vec::new();
    for (_, _, request) in &line {
        if !tables.contains(&request.target) {
            tables.push(request.target.clone());
        }
    }
    line.sort_by_cached_key(|(_, _, request)| {
        (
            oldest.get(&request.target).copied(),
            tables.iter().position(|table| *table == request.target),
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
    let mut tables = Vec::new();
    for (_, _, request) in line.iter() {
        if slot.busy_for(&request.target).is_none() && !tables.contains(&request.target) {
            tables.push(request.target.clone());
        }
    }
    let drawn = chance.checked_rem(tables.len() as u64);
    if let Some(table) = drawn.and_then(|index| tables.get(index as usize)) {
        line.make_contiguous()
            .sort_by_key(|(_, _, request)| request.target != *table);
    }
}

/// A number for an invocation, the same for the same one.
pub(super) fn chance(request_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    request_id.hash(&mut hasher);
    hasher.finish()
}
