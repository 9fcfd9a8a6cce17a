use time::macros::datetime;

use super::*;

const CALLED_AT: OffsetDateTime = datetime!(2026-11-23 02:00 UTC);

fn after(seconds: i64) -> OffsetDateTime {
    CALLED_AT + Duration::seconds(seconds)
}

/// Returns listed jobs. The id of each is its start in seconds after the call. `None` makes a queued job.
fn listed(starts: &[Option<i64>]) -> Vec<Listed> {
    starts
        .iter()
        .map(|start| Listed {
            id: start.map_or("queued".to_owned(), |start| start.to_string()),
            began: start.map(after),
            ended: None,
            status: match start {
                Some(_) => JobStatus::Running,
                None => JobStatus::Queued,
            },
        })
        .collect()
}

/// Returns a job that Clean Rooms started between these times, in seconds after the call.
fn known(started: i64, answered: i64) -> Job {
    Job {
        id: JobId::IdMappingJobId("known".into()),
        job_type: None,
        started_at: after(started),
        answered_at: after(answered),
    }
}

#[test]
fn a_known_job_is_the_one_that_began_about_when_it_was_started() {
    for (known_from_to, starts, remaining) in [
        // The known job began between its call and the answer, if one of the two did.
        ((-1, 1), [-3, 0], "-3"),
        ((-1, 1), [0, 3], "3"),
        ((1, 2), [-1, 1], "-1"),
        // Otherwise jobs begin in the order of their calls.
        ((-1, 0), [-3, -2], "-2"),
        ((-1, 0), [2, 3], "3"),
        ((2, 3), [4, 5], "4"),
        ((2, 3), [-2, -1], "-2"),
    ] {
        let (started, answered) = known_from_to;
        for starts in [starts, [starts[1], starts[0]]] {
            let jobs = listed(&starts.map(Some));
            let found = candidates(jobs, CALLED_AT, [known(started, answered)].iter());
            let ids: Vec<String> = found.into_iter().map(|job| job.id).collect();
            assert_eq!(ids, [remaining], "{known_from_to:?} of {starts:?}");
        }
    }
}

#[test]
fn a_known_job_that_began_late_was_queued() {
    for (known_from_to, starts, expected) in [
        ((-60, -59), vec![-3], vec![]),
        ((-60, -59), vec![-3, 1], vec!["1"]),
        // The call is likelier to have started it.
        ((-60, -59), vec![1], vec!["1"]),
        ((-60, -59), vec![-70, 1], vec!["1"]),
    ] {
        let (started, answered) = known_from_to;
        let starts: Vec<Option<i64>> = starts.into_iter().map(Some).collect();
        let jobs = listed(&starts);
        let found = candidates(jobs, CALLED_AT, [known(started, answered)].iter());
        let ids: Vec<String> = found.into_iter().map(|job| job.id).collect();
        assert_eq!(ids, expected, "{known_from_to:?} of {starts:?}");
    }
    // One that began is not counted as queued still.
    let jobs = listed(&[Some(-3_000), None]);
    let found = candidates(jobs, CALLED_AT, [known(-3_600, -3_599)].iter());
    assert_eq!(found.len(), 1);
}

#[test]
fn a_known_job_may_be_a_queued_one_for_a_day() {
    const DAY: i64 = 86_400;
    for (started, queued, remaining) in [
        (-60, 1, 0),
        (1 - DAY, 1, 0),
        (-DAY, 1, 1),
        // The list does not tell which of the two it is.
        (-60, 2, 2),
    ] {
        let jobs = listed(&vec![None; queued]);
        let found = candidates(jobs, CALLED_AT, [known(started, started + 1)].iter());
        assert_eq!(found.len(), remaining, "{started}, {queued}");
    }
}
