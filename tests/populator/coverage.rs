//! The ledger at work: repeats, bursts, claims, and what is announced late.

use std::time::Duration;

use fake_aws::{Exception, FakeAws, Fault, Operation, Slot, Status};
use serde_json::{Value, json};

use crate::harness::{T1, T2, event_file, request_for, table_arn};
use crate::invariants::Change;
use crate::simulator::{BEGIN, Ended, Simulator, TIMEOUT};

fn change(id: &str, seconds: i64) -> Value {
    Change::new(id, T1, BEGIN + time::Duration::seconds(seconds)).event
}

fn count(sim: &Simulator, operation: Operation) -> usize {
    sim.aws.calls_of(operation).len()
}

#[tokio::test(start_paused = true)]
async fn a_repeat_is_covered_by_its_own_job_however_late_it_comes() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    let event = event_file("population-requested.json");
    let first = sim.response(&event).await["outcomes"][0].clone();
    for _ in 0..3 {
        sim.pass(Duration::from_secs(3 * 60 * 60));
        let repeat = sim.response(&event).await["outcomes"][0].clone();
        assert_eq!(repeat["outcome"], "COVERED");
        assert_eq!(repeat["idMappingJobId"], first["idMappingJobId"]);
        assert_eq!(repeat["decision"], first["decision"]);
        assert_eq!(
            (repeat.get("jobType"), repeat.get("startedAt")),
            (None, None)
        );
        assert_eq!(sim.details().last(), Some(&repeat));
    }
    assert_eq!(sim.aws.jobs().len(), 1);
    // One outcome has one id, however often it is published.
    let names: std::collections::BTreeSet<String> = sim
        .details()
        .iter()
        .map(|detail| detail["eventId"].to_string())
        .collect();
    assert_eq!(names.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_started_job_costs_two_reads_and_three_writes_and_a_covered_request_one_read() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    sim.outcomes(&change("a", -10)).await;
    assert_eq!(
        (
            count(&sim, Operation::GetItem),
            count(&sim, Operation::PutItem)
        ),
        (2, 3)
    );
    sim.outcomes(&change("b", -10)).await;
    assert_eq!(
        (
            count(&sim, Operation::GetItem),
            count(&sim, Operation::PutItem)
        ),
        (3, 3)
    );
    let read = &sim.aws.calls_of(Operation::GetItem)[0].body;
    assert_eq!(read["ConsistentRead"], true);
    assert_eq!(
        read["Key"],
        json!({ "idMappingTableArn": { "S": table_arn(T1) } })
    );

    // Without a bus nothing is announced, and no announcement is recorded.
    let aws = FakeAws::in_process();
    let mut sim = Simulator::with(aws, Slot::Unlimited, &[("EVENT_BUS_NAME", "")]).await;
    sim.outcomes(&change("a", -10)).await;
    assert_eq!(
        (
            count(&sim, Operation::GetItem),
            count(&sim, Operation::PutItem)
        ),
        (2, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_changes_is_one_job_and_changes_while_it_runs_are_one_more() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    let mut outcomes = Vec::new();
    for number in 0..100 {
        outcomes.extend(
            sim.outcomes(&change(&format!("early-{number}"), number - 101))
                .await,
        );
    }
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| *outcome == "STARTED")
            .count(),
        1
    );
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| *outcome == "COVERED")
            .count(),
        99
    );
    sim.pass(Duration::from_secs(60));
    for number in 0..20 {
        let outcomes = sim
            .outcomes(&change(&format!("late-{number}"), 10 + number))
            .await;
        assert_eq!(outcomes, ["WAITING SlotBusy"]);
    }
    sim.aws.end_job(Status::Succeeded);
    while sim.poll(0).await {}
    assert_eq!(sim.aws.jobs().len(), 2);
    let announced = sim.announced();
    assert_eq!(
        announced
            .iter()
            .filter(|outcome| *outcome == "STARTED")
            .count(),
        2
    );
    assert_eq!(
        announced
            .iter()
            .filter(|outcome| *outcome == "COVERED")
            .count(),
        99 + 19
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_in_the_second_in_which_a_job_starts_is_not_covered() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["STARTED"]);
    sim.pass(Duration::from_secs(2));
    assert_eq!(sim.outcomes(&change("b", -1)).await, ["COVERED"]);
    assert_eq!(sim.outcomes(&change("c", 0)).await, ["STARTED"]);
    assert_eq!(sim.aws.jobs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_could_not_be_announced_is_announced_by_the_repeat() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    let refused = Fault::FailEntries("MalformedDetail".to_owned());
    sim.aws.fail_always(Operation::PutEvents, refused);
    let event = change("a", -10);
    for _ in 0..2 {
        let (error_type, message) = sim.failure(&event).await;
        assert_eq!(error_type, "NotAnnounced");
        assert!(
            message.contains(&format!("(job {})", sim.aws.jobs()[0])),
            "{message}"
        );
    }
    sim.aws.repair(Operation::PutEvents);
    let repeat = sim.response(&event).await["outcomes"][0].clone();
    assert_eq!(
        (&repeat["outcome"], &repeat["startedAt"]),
        (&json!("STARTED"), &json!("2026-11-23T02:00:00.000Z"))
    );
    assert_eq!(sim.details(), [repeat]);
    assert_eq!(sim.outcomes(&event).await, ["COVERED"]);
    assert_eq!(sim.aws.jobs().len(), 1);
    // The attempts that failed had the same id.
    let tried = sim.aws.calls_of(Operation::PutEvents);
    let name = |call: &fake_aws::Call| {
        let detail = call.body["Entries"][0]["Detail"]
            .as_str()
            .unwrap()
            .to_owned();
        serde_json::from_str::<Value>(&detail).unwrap()["eventId"].clone()
    };
    assert_eq!(name(&tried[0]), name(&tried[2]));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_finds_an_unannounced_start_announces_it_first() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    let refused = Fault::FailEntries("MalformedDetail".to_owned());
    sim.aws.fail_next(Operation::PutEvents, refused);
    sim.failure(&change("a", -10)).await;
    // The environment that started it may be about to announce it.
    assert_eq!(sim.outcomes(&change("b", -10)).await, ["COVERED"]);
    assert_eq!(sim.announced(), ["COVERED"]);
    sim.aws.state().events.clear();
    sim.pass(TIMEOUT + Duration::from_secs(2));
    assert_eq!(sim.outcomes(&change("b", -10)).await, ["COVERED"]);
    assert_eq!(sim.announced(), ["STARTED", "COVERED"]);
    assert_eq!(sim.details()[0]["requestId"], "a");
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["COVERED"]);
}

#[tokio::test(start_paused = true)]
async fn of_many_starts_that_could_not_be_announced_each_is_announced_in_the_end() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    let refused = Fault::Refuse(Exception::access_denied());
    sim.aws.fail_always(Operation::PutEvents, refused);
    for number in 0..6 {
        let event = change(&format!("change-{number}"), number * 60);
        assert_eq!(sim.failure(&event).await.0, "NotAnnounced");
        sim.pass(Duration::from_secs(60));
    }
    sim.aws.repair(Operation::PutEvents);
    for number in 0..6 {
        sim.outcomes(&change(&format!("change-{number}"), number * 60))
            .await;
    }
    let started: Vec<String> = sim
        .details()
        .iter()
        .filter(|detail| detail["outcome"] == "STARTED")
        .map(|detail| detail["requestId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(started.len(), 6, "{started:?}");
    assert_eq!(sim.aws.jobs().len(), 6);
    assert_eq!(sim.outcomes(&change("change-0", 0)).await, ["COVERED"]);
}

#[tokio::test(start_paused = true)]
async fn an_impossible_deadline_does_not_claim_a_table_for_ever() {
    for end in [
        time::macros::datetime!(9999-12-31 23:59:59.5 UTC),
        BEGIN + time::Duration::days(365),
    ] {
        let mut sim = Simulator::new(Slot::Conflict).await;
        sim.timeout = Duration::try_from(end - sim.now()).unwrap();
        sim.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash);
        sim.deliver(0, &change("a", -10)).await;
        sim.timeout = TIMEOUT;
        sim.pass(Duration::from_secs(15 * 60 + 2));
        sim.repeat(0).await;
        assert_eq!(sim.announced(), ["STARTED"]);
    }
}

#[tokio::test(start_paused = true)]
async fn without_its_ledger_nothing_is_started() {
    for operation in [Operation::GetItem, Operation::PutItem] {
        for (fault, said) in [
            (
                Fault::Refuse(Exception::access_denied()),
                "AccessDeniedException: ",
            ),
            (
                Fault::Refuse(Exception::internal_server()),
                "InternalServerException: ",
            ),
            (Fault::Drop, "dropped on order"),
            (Fault::AcceptAndHang, "no answer within 5000 ms"),
        ] {
            let mut sim = Simulator::new(Slot::Unlimited).await;
            sim.aws.fail_always(operation, fault);
            let (error_type, message) = sim.failure(&change("a", -10)).await;
            assert_eq!(error_type, "LedgerUnavailable", "{message}");
            let head = format!(
                "{operation:?} of the ledger's item for {} failed: ",
                table_arn(T1)
            );
            assert!(
                message.starts_with(&head) && message.contains(said),
                "{message}"
            );
            assert_eq!(sim.aws.jobs().len(), 0);
            assert_eq!(sim.announced(), [""; 0]);

            // In a batch the message stays, and no other one.
            sim.aws.send("waiting", &change("a", -10).to_string());
            assert!(sim.poll(0).await);
            assert_eq!(sim.aws.messages("waiting").len(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_that_cannot_be_read_is_named() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    let item = json!({ "idMappingTableArn": { "S": table_arn(T1) }, "record": { "S": "{" } });
    sim.aws.state().items.insert(table_arn(T1), item);
    let (error_type, message) = sim.failure(&change("a", -10)).await;
    assert_eq!(error_type, "LedgerUnavailable");
    assert!(
        message.contains("in table ledger was not written by a version of this function"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_is_recognized_when_it_is_repeated() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    for _ in 0..3 {
        sim.aws.fail_next(Operation::PutItem, Fault::AcceptAndFail);
        sim.aws
            .fail_next(Operation::PutItem, Fault::Slow(Duration::ZERO));
    }
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["STARTED"]);
    assert_eq!(count(&sim, Operation::PutItem), 6);
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["COVERED"]);
    assert_eq!(sim.aws.jobs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_could_not_be_recorded_is_announced_and_found_later() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.aws
        .fail_next(Operation::PutItem, Fault::Slow(Duration::ZERO));
    sim.aws.fail_next(
        Operation::PutItem,
        Fault::Refuse(Exception::access_denied()),
    );
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["STARTED"]);
    // The claim stays.
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["WAITING SlotBusy"]);
    sim.pass(TIMEOUT + Duration::from_secs(2));
    assert!(sim.poll(0).await);
    assert!(sim.aws.messages("waiting").is_empty());
    assert_eq!(sim.aws.jobs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn while_another_invocation_starts_a_job_a_request_waits() {
    let sim = Simulator::new(Slot::Conflict).await;
    sim.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Slow(Duration::from_secs(10)),
    );
    let (event, other) = (change("a", -10), change("b", -5));
    let (first, second) = tokio::join!(sim.invoke(0, "first", &event), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        sim.invoke(1, "second", &other).await
    });
    let Ended::Response(first) = first else {
        panic!("{first:?}")
    };
    let Ended::Response(second) = second else {
        panic!("{second:?}")
    };
    assert_eq!(first["outcomes"][0]["outcome"], "STARTED");
    let error = &second["outcomes"][0]["error"];
    assert_eq!(error["type"], "SlotBusy");
    let said = error["message"].as_str().unwrap();
    assert!(
        said.contains(
            "another invocation is starting a job for this table, until 2026-11-23T02:02:00.000Z"
        ),
        "{said}"
    );
    assert_eq!(count(&sim, Operation::PopulateIdMappingTable), 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_concurrent_claims_one_calls() {
    let sim = Simulator::new(Slot::Unlimited).await;
    let (one, other) = (change("a", -10), change("b", -5));
    let (first, second) = tokio::join!(
        sim.invoke(0, "first", &one),
        sim.invoke(1, "second", &other)
    );
    assert!(matches!(
        (first, second),
        (Ended::Response(_), Ended::Response(_))
    ));
    assert_eq!(sim.aws.jobs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_returns_what_would_happen_and_only_reads() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    let mut dry = request_for(T1);
    dry["jobType"] = json!("INCREMENTAL");
    dry["time"] = json!("2026-11-23T01:59:50Z");
    dry["dryRun"] = json!(true);
    let plan = |response: Value| response["outcomes"][0]["plan"].clone();
    assert_eq!(plan(sim.response(&dry).await), "START");
    sim.outcomes(&change("a", -10)).await;
    let before = sim.aws.call_count();
    assert_eq!(plan(sim.response(&dry).await), "COVERED");
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Crash);
    sim.deliver(0, &change("b", 0)).await;
    dry["time"] = json!("2026-11-23T02:00:00Z");
    assert_eq!(plan(sim.response(&dry).await), "WAIT");
    let response = sim.response(&dry).await;
    assert_eq!(response["outcomes"][0]["error"]["type"], "SlotBusy");
    let calls = sim.aws.calls();
    let reads = [
        Operation::GetItem,
        Operation::GetIdMappingTable,
        Operation::GetIdMappingWorkflow,
        Operation::ListIdMappingJobs,
    ];
    let of_dry_run = calls[before..]
        .iter()
        .take(4)
        .chain(&calls[calls.len() - 4..]);
    for call in of_dry_run {
        assert!(
            reads.contains(&call.operation.unwrap()),
            "{:?}",
            call.operation
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_ledger_in_memory_lasts_as_long_as_its_environment() {
    let aws = FakeAws::in_process();
    let sim = Simulator::with(aws, Slot::Unlimited, &[("LEDGER_TABLE_NAME", "")]).await;
    let event = change("a", -10);
    let mut outcomes = Vec::new();
    for (environment, request_id) in [(0, "1"), (0, "2"), (1, "3")] {
        let Ended::Response(response) = sim.invoke(environment, request_id, &event).await else {
            panic!()
        };
        outcomes.push(response["outcomes"][0]["outcome"].clone());
    }
    assert_eq!(outcomes, ["STARTED", "COVERED", "STARTED"]);
    assert_eq!(
        (
            count(&sim, Operation::GetItem),
            count(&sim, Operation::PutItem)
        ),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn keys_with_unusual_characters_are_known() {
    let aws = FakeAws::in_process();
    let mut sim = Simulator::with(aws, Slot::Conflict, &[]).await;
    // Idempotency keys with unusual characters.
    let name = "ü \"\\\u{1}".repeat(500);
    let mut request = request_for(T1);
    request["requestId"] = json!(name);
    assert_eq!(sim.outcomes(&request).await, ["STARTED"]);
    assert_eq!(sim.outcomes(&request).await, ["COVERED"]);
    assert_eq!(sim.outcomes(&request_for(T2)).await, ["WAITING SlotBusy"]);
    let (one, other) = (change("a", 1), change("b", 1));
    sim.pass(Duration::from_secs(10));
    let _ = tokio::join!(
        sim.invoke(0, "first", &one),
        sim.invoke(1, "second", &other)
    );
    assert_eq!(sim.aws.jobs().len(), 1);
    sim.aws.end_job(Status::Succeeded);
    while sim.poll(0).await {}
    assert_eq!(sim.aws.jobs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_after_the_default_changed_starts_nothing() {
    let aws = FakeAws::in_process();
    let with_default = async |default| {
        let settings = [("DEFAULT_JOB_TYPE", default)];
        Simulator::with(aws.clone(), Slot::Unlimited, &settings).await
    };
    let mut sim = with_default("INCREMENTAL").await;
    let mut event = change("a", -10);
    event["detail"].as_object_mut().unwrap().remove("jobType");
    assert_eq!(sim.outcomes(&event).await, ["STARTED"]);
    let now = sim.now();
    for default in ["BATCH", "AUTO", "SERVICE_DEFAULT", "DELETE_ONLY"] {
        let mut sim = with_default(default).await;
        sim.set_now(now + time::Duration::minutes(1));
        assert_eq!(sim.outcomes(&event).await, ["COVERED"], "{default}");
        assert_eq!(sim.aws.jobs().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_ahead_covers_no_change() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    sim.set_now(BEGIN + time::Duration::minutes(10));
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["STARTED"]);
    sim.set_now(BEGIN + time::Duration::minutes(2));
    assert_eq!(sim.outcomes(&change("b", 60)).await, ["STARTED"]);
    assert_eq!(sim.outcomes(&change("c", 60)).await, ["COVERED"]);
}

#[tokio::test(start_paused = true)]
async fn a_covered_request_that_cannot_be_announced_fails_and_is_announced_by_its_repeat() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["STARTED"]);
    sim.pass(Duration::from_secs(5));
    let refused = Fault::Refuse(Exception::access_denied());
    sim.aws.fail_next(Operation::PutEvents, refused);
    sim.deliver(0, &change("b", -10)).await;
    assert_eq!(sim.announced(), ["STARTED"]);
    sim.repeat(0).await;
    assert_eq!(sim.announced(), ["STARTED", "COVERED"]);
    assert_eq!(sim.details()[1]["requestId"], "b");
}

#[tokio::test(start_paused = true)]
async fn a_claim_without_time_for_its_call_is_released() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.timeout = Duration::from_secs(4);
    let slow = Fault::Slow(Duration::from_millis(2_000));
    sim.aws.fail_next(Operation::PutItem, slow);
    assert_eq!(sim.outcomes(&change("a", -10)).await, ["WAITING OutOfTime"]);
    assert_eq!(count(&sim, Operation::PopulateIdMappingTable), 0);
    sim.timeout = TIMEOUT;
    assert_eq!(sim.outcomes(&change("b", -10)).await, ["STARTED"]);
}
