//! In which order the requests of an invocation are done.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use time::OffsetDateTime;

use super::work::{Done, Work};
use crate::job_type::Wish;
use crate::request::Request;
use crate::target::Target;

/// A request, with its message and its place in it.
struct Placed {
    message: usize,
    place: usize,
    request: Request,
}

/// Does the requests of all messages of an invocation, and says in their order what was done.
///
/// When the first table was told that it is busy, chance says who is asked next, and then nobody more: two
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
    let mut all = Vec::new();
    for (message, requests) in messages.into_iter().enumerate() {
        let places = requests.into_iter().enumerate();
        all.extend(places.map(|(place, request)| Placed {
            message,
            place,
            request,
        }));
    }
    let mut line = in_order(all, work.now());
    work.rest = line.len();
    let mut probed = false;
    while let Some(Placed {
        message,
        place,
        request,
    }) = line.pop_front()
    {
        // Boxed: a request's story is deep, and the compiler lays out what contains it.
        let done = Box::pin(work.one(request)).await;
        if let Some(result) = results.get_mut(message).and_then(|all| all.get_mut(place)) {
            *result = Some(done);
        }
        if !probed && work.slot.is_doubtful() {
            probed = true;
            probe(work, &mut line, chance).await;
        }
    }
    let flat = |all: Vec<Option<Done>>| all.into_iter().flatten().collect();
    results.into_iter().map(flat).collect()
}

/// Requests in the order in which they are done: the table that has waited longest goes first. Of one
/// table, the request that has waited longest, or the widest one whose job surely covers it.
fn in_order(all: Vec<Placed>, now: OffsetDateTime) -> VecDeque<Placed> {
    // Of each table since when it waits, and its place: equal ones keep their order, and are not mixed.
    let mut since = HashMap::new();
    for Placed { request, .. } in &all {
        let place = since.len();
        let waits_since = request.waits_since(now);
        let (oldest, _) = since
            .entry(request.target.clone())
            .or_insert((waits_since, place));
        *oldest = waits_since.min(*oldest);
    }
    let mut tables: BTreeMap<(OffsetDateTime, usize), Vec<Placed>> = BTreeMap::new();
    for placed in all {
        if let Some(key) = since.get(&placed.request.target) {
            tables.entry(*key).or_default().push(placed);
        }
    }
    tables
        .into_values()
        .flat_map(|of_table| of_one_table(of_table, now))
        .collect()
}

fn of_one_table(mut all: Vec<Placed>, now: OffsetDateTime) -> Vec<Placed> {
    all.sort_by_key(|placed| placed.request.waits_since(now));
    // By what is asked for, widest first; each list oldest first.
    let mut lists: Vec<(Wish, VecDeque<(usize, Placed)>)> = Vec::new();
    for (age, placed) in all.into_iter().enumerate() {
        let wish = placed.request.wish;
        match lists.iter_mut().find(|(of, _)| *of == wish) {
            Some((_, list)) => list.push_back((age, placed)),
            None => lists.push((wish, VecDeque::from([(age, placed)]))),
        }
    }
    lists.sort_by_key(|(wish, _)| std::cmp::Reverse(wish.width()));
    let mut ordered = Vec::new();
    loop {
        lists.retain(|(_, list)| !list.is_empty());
        let head = |(wish, list): &(Wish, VecDeque<(usize, Placed)>)| {
            list.front().map(|(age, _)| (*age, *wish))
        };
        let Some((_, oldest)) = lists.iter().filter_map(head).min_by_key(|(age, _)| *age) else {
            return ordered;
        };
        let covers = |(wish, _): &&mut (Wish, _)| wish.surely_covers(oldest);
        let next = lists.iter_mut().find(covers);
        ordered.extend(
            next.and_then(|(_, list)| list.pop_front())
                .map(|(_, placed)| placed),
        );
    }
}

/// Asks for one more table, of those of which nothing is known yet: one of this invocation, which is put
/// first, or one that waits elsewhere. If the service takes its job, the first table is not ready itself.
async fn probe(work: &mut Work<'_>, line: &mut VecDeque<Placed>, chance: u64) {
    let elsewhere = work.waiting_elsewhere();
    let mut seen = HashSet::new();
    let here = line.iter().map(|placed| &placed.request.target);
    let tables: Vec<&Target> = here
        .chain(elsewhere.iter().map(|request| &request.target))
        .filter(|table| work.slot.busy_for(table).is_none() && seen.insert(*table))
        .collect();
    let index = chance.checked_rem(tables.len() as u64);
    let Some(table) = index
        .and_then(|index| tables.get(index as usize).copied())
        .cloned()
    else {
        return;
    };
    work.probed = Some(table.clone());
    if line.iter().any(|placed| placed.request.target == table) {
        line.make_contiguous()
            .sort_by_key(|placed| placed.request.target != table);
    } else if let Some(request) = elsewhere
        .into_iter()
        .find(|request| request.target == table)
    {
        Box::pin(work.start_for_another(request)).await;
    }
}

/// A number for an invocation, the same for the same one.
pub(super) fn chance(request_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    request_id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;
    use crate::job_type::WishedBy;
    use crate::target::Identifier;

    const NOW: OffsetDateTime = datetime!(2026-11-23 02:00 UTC);

    fn placed(place: usize, table: usize, wish: &str, age: i64) -> Placed {
        let identifier = |text: &str| Identifier::parse(text).unwrap();
        Placed {
            message: 0,
            place,
            request: Request {
                target: Target {
                    membership: identifier("11111111-2222-4333-8444-555555555555"),
                    table: identifier(&format!("aaaaaaaa-{table:04}-4000-8000-000000000001")),
                },
                wish: Wish::parse(wish).unwrap(),
                wished_by: WishedBy::Request,
                name: place.to_string(),
                named: true,
                // What somebody claims does not matter.
                time: NOW - Duration::days(place as i64),
                dry_run: false,
                trigger: None,
                waiting_since: Some(NOW - Duration::seconds(age)),
                sent_at: None,
                retry_interval: None,
            },
        }
    }

    /// The places in the order in which these requests (table, requested type, seconds of waiting) are done.
    fn order(requests: &[(usize, &str, i64)]) -> Vec<usize> {
        let all = requests.iter().enumerate();
        let all = all.map(|(place, (table, wish, age))| placed(place, *table, wish, *age));
        let ordered = in_order(all.collect(), NOW);
        ordered.iter().map(|placed| placed.place).collect()
    }

    #[test]
    fn what_has_waited_longest_goes_first_or_a_wider_one_that_covers_it() {
        for (requests, expected) in [
            (&[][..], &[][..]),
            // Tables by their oldest request, each by itself; equal ones keep their order.
            (
                &[(1, "BATCH", 5), (2, "BATCH", 9), (1, "BATCH", 7)],
                &[1, 2, 0],
            ),
            (
                &[(1, "BATCH", 5), (2, "BATCH", 5), (1, "BATCH", 5)],
                &[0, 2, 1],
            ),
            (
                &[(2, "BATCH", 1), (1, "BATCH", 9), (2, "BATCH", 8)],
                &[1, 2, 0],
            ),
            // A wider type goes before what it covers.
            (&[(1, "INCREMENTAL", 9), (1, "BATCH", 1)], &[1, 0]),
            (
                &[
                    (1, "AUTO", 9),
                    (1, "INCREMENTAL", 5),
                    (1, "SERVICE_DEFAULT", 1),
                ],
                &[2, 1, 0],
            ),
            (&[(1, "AUTO", 9), (1, "INCREMENTAL", 1)], &[1, 0]),
            // And not before what it does not cover.
            (
                &[
                    (1, "DELETE_ONLY", 9),
                    (1, "BATCH", 5),
                    (1, "INCREMENTAL", 7),
                ],
                &[0, 1, 2],
            ),
            (&[(1, "INCREMENTAL", 9), (1, "SERVICE_DEFAULT", 5)], &[0, 1]),
            (&[(1, "INCREMENTAL", 9), (1, "AUTO", 5)], &[0, 1]),
            (&[(1, "SERVICE_DEFAULT", 9), (1, "INCREMENTAL", 5)], &[0, 1]),
            // Of one type the oldest.
            (
                &[(1, "BATCH", 1), (1, "BATCH", 3), (1, "BATCH", 2)],
                &[1, 2, 0],
            ),
        ] {
            assert_eq!(order(requests), expected, "{requests:?}");
        }
    }

    #[test]
    fn each_request_is_there_once_however_many_there_are() {
        let types = [
            "BATCH",
            "AUTO",
            "DELETE_ONLY",
            "SERVICE_DEFAULT",
            "INCREMENTAL",
        ];
        let requests: Vec<(usize, &str, i64)> = (0..5_000)
            .map(|number| (number % 7, types[number % 5], (number * 37 % 101) as i64))
            .collect();
        let mut places = order(&requests);
        places.sort_unstable();
        assert!(places.into_iter().eq(0..5_000));
    }
}
