//! In which order the requests of an invocation are processed, and which table is asked for after one was refused.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use time::OffsetDateTime;

use super::context::Slot;
use crate::job_type::RequestedType;
use crate::request::{Rank, Request};
use crate::target::Target;

/// A request, with its message and its place in it.
pub(super) struct Placed {
    pub(super) message: usize,
    pub(super) place: usize,
    pub(super) request: Request,
}

/// The requests in the order in which they are processed. A table with an urgent request goes first, then the table that
/// has waited longest. Of one table, urgent requests go first, then the one that has waited longest, or the widest one
/// whose job always covers it.
pub(super) fn processing_order(all: Vec<Placed>, now: OffsetDateTime) -> VecDeque<Placed> {
    // The rank of each table, and its place among the tables: equal ones keep their order, and are not mixed.
    let mut ranks = HashMap::new();
    for Placed { request, .. } in &all {
        let place = ranks.len();
        let own = request.rank(now);
        let (first, _) = ranks.entry(request.target.clone()).or_insert((own, place));
        *first = own.min(*first);
    }
    let mut tables: BTreeMap<(Rank, usize), Vec<Placed>> = BTreeMap::new();
    for placed in all {
        if let Some(key) = ranks.get(&placed.request.target) {
            tables.entry(*key).or_default().push(placed);
        }
    }
    tables
        .into_values()
        .flat_map(|of_table| of_one_table(of_table, now))
        .collect()
}

fn of_one_table(mut all: Vec<Placed>, now: OffsetDateTime) -> Vec<Placed> {
    all.sort_by_key(|placed| placed.request.rank(now));
    // One list for each requested type, the widest first. Each list has the oldest first.
    let mut lists: Vec<(RequestedType, VecDeque<(usize, Placed)>)> = Vec::new();
    for (age, placed) in all.into_iter().enumerate() {
        let requested_type = placed.request.requested_type;
        match lists.iter_mut().find(|(of, _)| *of == requested_type) {
            Some((_, list)) => list.push_back((age, placed)),
            None => lists.push((requested_type, VecDeque::from([(age, placed)]))),
        }
    }
    lists.sort_by_key(|(requested_type, _)| std::cmp::Reverse(requested_type.width()));
    let mut ordered = Vec::new();
    loop {
        lists.retain(|(_, list)| !list.is_empty());
        let head = |(requested_type, list): &(RequestedType, VecDeque<(usize, Placed)>)| {
            list.front().map(|(age, _)| (*age, *requested_type))
        };
        let Some((_, oldest)) = lists.iter().filter_map(head).min_by_key(|(age, _)| *age) else {
            return ordered;
        };
        let covers =
            |(requested_type, _): &&mut (RequestedType, _)| requested_type.always_covers(oldest);
        let next = lists.iter_mut().find(covers);
        ordered.extend(
            next.and_then(|(_, list)| list.pop_front())
                .map(|(_, placed)| placed),
        );
    }
}

/// One more table that is asked for after one was refused alone, of those that were not refused. If the service takes
/// its job, the refused table is not ready itself. The number selects which: two tables whose own state refuses each job
/// would otherwise be asked for first for ever.
pub(super) fn table_to_probe<'a>(
    tables: impl Iterator<Item = &'a Target>,
    slot: &Slot,
    number: u64,
) -> Option<Target> {
    let mut seen = HashSet::new();
    let tables: Vec<&Target> = tables
        .filter(|table| slot.busy_for(table).is_none() && seen.insert(*table))
        .collect();
    let index = number.checked_rem(tables.len() as u64)?;
    tables.get(index as usize).copied().cloned()
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;
    use crate::aws::clean_rooms::BusyScope;

    const NOW: OffsetDateTime = datetime!(2026-11-23 02:00 UTC);

    fn placed(place: usize, table: usize, requested_type: &str, age: i64) -> Placed {
        // The time that a request claims does not matter.
        let time = NOW - Duration::days(place as i64);
        let request = Request::sample(table, requested_type, &place.to_string(), time);
        Placed {
            message: 0,
            place,
            request: Request {
                waiting_since: Some(NOW - Duration::seconds(age)),
                ..request
            },
        }
    }

    /// The places in the order in which these requests (table, requested type, seconds of waiting) are done.
    fn order(requests: &[(usize, &str, i64)]) -> Vec<usize> {
        let all = requests.iter().enumerate();
        let all = all.map(|(place, (table, requested_type, age))| {
            placed(place, *table, requested_type, *age)
        });
        let ordered = processing_order(all.collect(), NOW);
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
            // A wider type goes before what it covers,
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
            // and not before what it does not cover.
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
    fn what_is_urgent_goes_first() {
        let all = [
            (1, "BATCH", 9, false),
            (2, "INCREMENTAL", 8, false),
            (2, "INCREMENTAL", 1, true),
            (3, "BATCH", 2, true),
        ];
        let all =
            all.into_iter()
                .enumerate()
                .map(|(place, (table, requested_type, age, urgent))| {
                    let placed = placed(place, table, requested_type, age);
                    Placed {
                        request: Request {
                            urgent,
                            ..placed.request
                        },
                        ..placed
                    }
                });
        let ordered = processing_order(all.collect(), NOW);
        let places: Vec<usize> = ordered.iter().map(|placed| placed.place).collect();
        assert_eq!(places, [3, 2, 1, 0]);
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

    #[test]
    fn the_probed_table_is_one_that_was_not_refused() {
        let target = |table| placed(0, table, "BATCH", 0).request.target;
        let tables = [target(1), target(2), target(2), target(3)];
        let probe = |slot: &Slot, number| table_to_probe(tables.iter(), slot, number);
        let mut slot = Slot::default();
        for (number, table) in [(0, 1), (1, 2), (2, 3), (3, 1), (u64::MAX, 1)] {
            assert_eq!(probe(&slot, number), Some(target(table)), "{number}");
        }
        slot.refuse(&target(1), BusyScope::Table, "busy");
        for (number, table) in [(0, 2), (1, 3), (2, 2)] {
            assert_eq!(probe(&slot, number), Some(target(table)), "{number}");
        }
        slot.refuse(&target(2), BusyScope::Table, "busy");
        assert_eq!(probe(&slot, 0), None);
        assert_eq!(table_to_probe([].into_iter(), &Slot::default(), 0), None);
    }
}
