//! Fair use of the account's one job slot: no table, and no job type of a table, waits for ever.

use std::time::Duration;

use fake_aws::{Exception, FakeAws, Fault, Operation, Slot, Status, Table};
use serde_json::{Value, json};

use crate::harness::{T1, T2, T3, request_for, table_arn};
use crate::invariants::Change;
use crate::simulator::{BEGIN, Simulator, VISIBILITY};

fn jobs_of(sim: &Simulator, table: &str, job_type: &str) -> usize {
    let jobs = sim.aws.jobs();
    jobs.iter()
        .filter(|job| job.table == table && job.job_type.as_deref() == Some(job_type))
        .count()
}

fn tables(sim: &Simulator) -> Vec<String> {
    sim.aws.jobs().into_iter().map(|job| job.table).collect()
}

/// The tables and job types that the ledger's item for the slot has, oldest first.
fn waiters(sim: &Simulator) -> Vec<(String, String)> {
    let state = sim.aws.state();
    let Some(item) = state.items.get("slot") else {
        return Vec::new();
    };
    let record: Value = serde_json::from_str(item["record"]["S"].as_str().unwrap()).unwrap();
    record["waiting"]
        .as_array()
        .unwrap()
        .iter()
        .map(|waiter| {
            let table = waiter["target"]["table"].as_str().unwrap();
            (table.to_owned(), waiter["requestedType"].to_string())
        })
        .collect()
}

/// All of the waiting queue's messages are polled in a batch of their own, one after another.
async fn poll_one_by_one(sim: &mut Simulator) {
    while let Some(batch) = sim.aws.receive("waiting", 1) {
        sim.invoked += 1;
        let answer = sim
            .invoke(0, &format!("request-{}", sim.invoked), &batch)
            .await;
        let crate::simulator::Ended::Response(answer) = answer else {
            panic!("{answer:?}");
        };
        sim.aws.received("waiting", &batch, Some(&answer));
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_deletion_and_another_table_get_the_slot_though_changes_keep_coming() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.outcomes(&request_for(T3)).await;
    let change = BEGIN - time::Duration::seconds(9);
    let delete = Change::of_type("delete", T1, "DELETE_ONLY", change);
    sim.deliver(0, &delete.event).await;
    let other = Change::new("other", T2, BEGIN - time::Duration::seconds(5));
    sim.deliver(0, &other.event).await;
    for hour in 0..4 {
        sim.pass(Duration::from_secs(10));
        let change = Change::new(&format!("change-{hour}"), T1, sim.now());
        sim.pass(Duration::from_secs(2));
        sim.deliver(0, &change.event).await;
        sim.pass(Duration::from_secs(60 * 60));
        sim.aws.end_job(Status::Succeeded);
        while sim.poll(0).await {}
    }
    assert_eq!(jobs_of(&sim, T1, "DELETE_ONLY"), 1);
    assert_eq!(jobs_of(&sim, T2, "INCREMENTAL"), 1);
    assert_eq!(
        tables(&sim)[..3],
        [T3, T1, T2],
        "in the order in which they waited"
    );
}

/// A table with a change every minute, each tried at once, and another table with one change.
#[tokio::test(start_paused = true)]
async fn a_quiet_table_gets_the_next_slot_beside_one_with_a_change_every_minute() {
    for offset in [30, 161, 292] {
        let mut sim = Simulator::new(Slot::Conflict).await;
        sim.deliver(0, &sim.event("first", T1)).await;
        sim.pass(Duration::from_secs(offset));
        let quiet = sim.event("quiet", T2);
        sim.deliver(0, &quiet).await;
        let begin = sim.now();
        let ends = begin + time::Duration::hours(1);
        for minute in 0..80 {
            sim.set_now(begin + time::Duration::seconds(minute * 60 + 7));
            if sim.now() > ends && sim.aws.jobs().len() == 1 {
                sim.aws.end_job(Status::Succeeded);
            }
            sim.deliver(0, &sim.event(&format!("change-{minute}"), T1))
                .await;
            while sim.poll(0).await {}
        }
        assert_eq!(tables(&sim)[..2], [T1, T2], "offset {offset}");
        // The slot was idle for no longer than one retry interval.
        let idle = sim.aws.jobs()[1].started_at - sim.aws.jobs()[0].ended_at.unwrap();
        assert!(idle <= VISIBILITY + time::Duration::minutes(1), "{idle}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_tables_get_the_slot_one_after_another() {
    let mut sim = Simulator::new(Slot::QuotaExceeded).await;
    let table = |number: usize| format!("bbbbbbbb-{number:04}-4000-8000-000000000001");
    sim.outcomes(&request_for(T3)).await;
    for round in 0..15 {
        for number in 0..5 {
            sim.pass(Duration::from_secs(7));
            let id = format!("{round}-{number}");
            sim.deliver(0, &sim.event(&id, &table(number))).await;
        }
        sim.pass(Duration::from_secs(30 * 60));
        sim.aws.end_job(Status::Succeeded);
        // The first request finds the slot free.
        sim.deliver(0, &sim.event(&format!("{round}-greedy"), &table(4)))
            .await;
        while sim.poll(0).await {}
    }
    let served = tables(&sim);
    for number in 0..5 {
        let places: Vec<usize> = (1..served.len())
            .filter(|place| served[*place] == table(number))
            .collect();
        assert!(places.len() >= 2, "{served:?}");
        let gaps = places.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.max().unwrap() <= 5, "{served:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_an_older_one_without_a_call() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.outcomes(&request_for(T3)).await;
    sim.pass(Duration::from_secs(10));
    sim.deliver(0, &sim.event("old", T1)).await;
    assert_eq!(
        waiters(&sim),
        [(T1.to_owned(), json!("INCREMENTAL").to_string())]
    );
    sim.pass(Duration::from_secs(60));
    sim.aws.end_job(Status::Succeeded);
    let calls = sim.aws.calls_of(Operation::PopulateIdMappingTable).len();
    assert_eq!(
        sim.outcomes(&sim.event("new", T2)).await,
        ["WAITING SlotBusy"]
    );
    let said = sim.details().last().unwrap()["error"]["message"].to_string();
    let ahead = format!("idmappingtable/{T1} has waited longer");
    assert!(said.contains(&ahead), "{said}");
    let now = sim.aws.calls_of(Operation::PopulateIdMappingTable).len();
    assert_eq!(now, calls);
    // A later change of the table whose turn it is takes the turn. Its job serves both.
    assert_eq!(sim.outcomes(&sim.event("newer", T1)).await, ["STARTED"]);
    assert_eq!(waiters(&sim).len(), 1, "the other table's");
    sim.pass(VISIBILITY);
    while sim.poll(0).await {}
    assert_eq!(sim.announced().last().unwrap(), "COVERED");
}

#[tokio::test(start_paused = true)]
async fn changes_of_the_same_table_wait_for_its_older_deletion() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.outcomes(&request_for(T3)).await;
    let delete = Change::of_type("delete", T1, "DELETE_ONLY", sim.now());
    sim.pass(Duration::from_secs(5));
    sim.deliver(0, &delete.event).await;
    sim.pass(Duration::from_secs(60));
    sim.aws.end_job(Status::Succeeded);
    assert_eq!(
        sim.outcomes(&sim.event("change", T1)).await,
        ["WAITING SlotBusy"]
    );
    sim.pass(VISIBILITY);
    assert!(sim.poll(0).await);
    assert_eq!(jobs_of(&sim, T1, "DELETE_ONLY"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_request_delays_others_for_at_most_two_retry_intervals() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.outcomes(&request_for(T3)).await;
    sim.deliver(0, &sim.event("gone", T1)).await;
    // It is received three times, which shows the retry interval. Then its message is deleted.
    for _ in 0..3 {
        while sim.poll(0).await {}
        sim.pass(VISIBILITY);
    }
    sim.aws
        .state()
        .queues
        .get_mut("waiting")
        .unwrap()
        .messages
        .clear();
    sim.aws.end_job(Status::Succeeded);
    assert_eq!(
        sim.outcomes(&sim.event("a", T2)).await,
        ["WAITING SlotBusy"]
    );
    sim.pass(VISIBILITY + Duration::from_secs(2));
    assert_eq!(sim.outcomes(&sim.event("b", T2)).await, ["STARTED"]);
    assert_eq!(waiters(&sim), [], "deleted and served waiters are removed");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_request_delays_no_other() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.outcomes(&request_for(T3)).await;
    sim.deliver(0, &sim.event("bad", T1)).await;
    sim.aws.end_job(Status::Succeeded);
    sim.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::validation("INVALID_CONFIGURATION")),
    );
    while sim.poll(0).await {}
    assert_eq!(sim.announced().last().unwrap(), "REJECTED RequestRefused");
    assert_eq!(waiters(&sim), []);
    assert_eq!(sim.outcomes(&sim.event("good", T2)).await, ["STARTED"]);
}

/// A table whose own state refuses every job waits longest, and the messages never come in one batch.
#[tokio::test(start_paused = true)]
async fn a_table_that_is_not_ready_delays_no_other_where_each_message_comes_alone() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.aws.set_table(
        T1,
        Table {
            refuses: true,
            ..Table::default()
        },
    );
    sim.deliver(0, &sim.event("never", T1)).await;
    sim.pass(Duration::from_secs(5));
    assert_eq!(
        sim.outcomes(&sim.event("next", T2)).await,
        ["WAITING SlotBusy"]
    );
    sim.pass(VISIBILITY);
    poll_one_by_one(&mut sim).await;
    assert_eq!(
        tables(&sim),
        [T2],
        "the first one's invocation tries the next one too"
    );
    assert_eq!(sim.announced()[2..], ["STARTED", "COVERED"]);
    // From then on no request waits for it.
    sim.aws.end_job(Status::Succeeded);
    assert_eq!(sim.outcomes(&sim.event("later", T3)).await, ["STARTED"]);
}

/// Delivers the oldest message of the waiting queue in a batch of its own.
async fn poll_one(sim: &mut Simulator) {
    let batch = sim.aws.receive("waiting", 1).unwrap();
    sim.invoked += 1;
    let request_id = format!("request-{}", sim.invoked);
    let crate::simulator::Ended::Response(answer) = sim.invoke(0, &request_id, &batch).await else {
        panic!("the invocation failed");
    };
    sim.aws.received("waiting", &batch, Some(&answer));
}

/// The table that is tried next is random, but never the one that was refused, though it has more requests.
#[tokio::test(start_paused = true)]
async fn the_table_that_is_tried_next_is_one_that_was_not_refused() {
    for invoked in 0..8 {
        let mut sim = Simulator::new(Slot::Conflict).await;
        sim.invoked = 10 * invoked;
        sim.aws.set_table(T1, Table::refusing());
        let mut both = request_for(T1);
        both["jobType"] = json!("INCREMENTAL");
        let mut delete = request_for(T1);
        delete["jobType"] = json!("DELETE_ONLY");
        let both = json!({ "targets": [both, delete], "requestId": "both" });
        sim.aws.send("waiting", &both.to_string());
        poll_one(&mut sim).await;
        sim.pass(Duration::from_secs(5));
        sim.outcomes(&sim.event("next", T2)).await;
        sim.pass(VISIBILITY);
        // Two messages of the first table, in one batch.
        let batch = sim.aws.receive("waiting", 2).unwrap();
        let id = format!("request-{}", 10 * invoked + 5);
        sim.invoke(0, &id, &batch).await;
        assert_eq!(tables(&sim), [T2], "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_refused_for_the_first_time_tries_no_request_of_another_message() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.outcomes(&request_for(T3)).await;
    sim.aws.send("waiting", &sim.event("old", T1).to_string());
    sim.pass(Duration::from_secs(10));
    sim.outcomes(&sim.event("other", T2)).await;
    let calls = sim.aws.calls_of(Operation::PopulateIdMappingTable).len();
    poll_one(&mut sim).await;
    let now = sim.aws.calls_of(Operation::PopulateIdMappingTable).len();
    assert_eq!(now, calls + 1);
    assert_eq!(waiters(&sim).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_refused_delays_no_other_target_of_its_invocation() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    sim.aws.set_table(T1, Table::refusing());
    assert_eq!(sim.outcomes(&request_for(T1)).await, ["WAITING SlotBusy"]);
    sim.pass(Duration::from_secs(60));
    let targets: Vec<Value> = [T1, T2, T3]
        .iter()
        .map(|table| request_for(table))
        .collect();
    let outcomes = sim.outcomes(&json!({ "targets": targets })).await;
    assert_eq!(outcomes, ["WAITING SlotBusy", "STARTED", "STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_request_that_is_rejected_does_not_take_an_older_ones_turn() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.outcomes(&request_for(T3)).await;
    sim.deliver(0, &sim.event("old", T1)).await;
    sim.aws.end_job(Status::Succeeded);
    sim.pass(Duration::from_secs(60));
    sim.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::validation("INVALID_CONFIGURATION")),
    );
    let (error_type, _) = sim.failure(&sim.event("new", T1)).await;
    assert_eq!(error_type, "RequestRefused");
    assert_eq!(
        sim.outcomes(&sim.event("other", T2)).await,
        ["WAITING SlotBusy"],
        "the older one's turn comes first"
    );
}

#[tokio::test(start_paused = true)]
async fn a_waiting_request_is_recorded_after_the_waiters_could_not_be_read() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.outcomes(&request_for(T3)).await;
    // The table's item is read, and that of the slot is not.
    for fault in [
        Fault::Slow(Duration::ZERO),
        Fault::Refuse(Exception::access_denied()),
    ] {
        sim.aws.fail_next(Operation::GetItem, fault);
    }
    assert_eq!(
        sim.outcomes(&sim.event("a", T1)).await,
        ["WAITING SlotBusy"]
    );
    assert_eq!(waiters(&sim).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn waiters_are_read_and_recorded_once_for_many_requests() {
    let mut sim = Simulator::new(Slot::QuotaExceeded).await;
    sim.outcomes(&request_for(T3)).await;
    sim.aws.state().calls.clear();
    let targets: Vec<Value> = [T1, T2].iter().map(|table| request_for(table)).collect();
    sim.outcomes(&json!({ "targets": targets })).await;
    let slot_item = |operation, place: &str| {
        let calls = sim.aws.calls_of(operation);
        let of_slot = calls
            .iter()
            .filter(|call| call.body[place]["idMappingTableArn"]["S"] == "slot");
        of_slot.count()
    };
    assert_eq!(slot_item(Operation::GetItem, "Key"), 1);
    assert_eq!(slot_item(Operation::PutItem, "Item"), 1);
    assert_eq!(waiters(&sim).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_depends_on_the_item_of_the_slot() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    let of_table = |operation| {
        move |call: &fake_aws::Call| {
            call.operation == Some(operation) && call.body.to_string().contains(&table_arn(T1))
        }
    };
    let item = json!({ "idMappingTableArn": { "S": "slot" }, "record": { "S": "{" } });
    sim.aws.state().items.insert("slot".to_owned(), item);
    assert_eq!(sim.outcomes(&sim.event("a", T1)).await, ["STARTED"]);
    assert!(sim.aws.calls().iter().any(of_table(Operation::PutItem)));
    sim.pass(Duration::from_secs(5));
    assert_eq!(
        sim.outcomes(&sim.event("b", T2)).await,
        ["WAITING SlotBusy"]
    );
    sim.aws.end_job(Status::Succeeded);
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced().last().unwrap(), "STARTED");
}

#[tokio::test(start_paused = true)]
async fn without_a_waiting_queue_no_request_waits_for_an_older_one() {
    let mut sim = Simulator::with(
        FakeAws::in_process(),
        Slot::Conflict,
        &[("WAITING_QUEUE_URL", "")],
    )
    .await;
    assert_eq!(sim.outcomes(&sim.event("a", T1)).await, ["STARTED"]);
    assert_eq!(sim.failure(&sim.event("b", T2)).await.0, "SlotBusy");
    assert!(!sim.aws.state().items.contains_key("slot"));
    assert_eq!(sim.aws.calls_of(Operation::GetItem).len(), 2);
}

/// The first call of the batch finds the slot busy, and the job ends before the call for the second table.
#[tokio::test(start_paused = true)]
async fn a_job_that_ends_between_two_calls_of_a_batch_starves_no_table() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.outcomes(&request_for(T3)).await;
    sim.deliver(0, &sim.event("quiet", T1)).await;
    sim.pass(Duration::from_secs(5));
    sim.deliver(0, &sim.event("busy", T2)).await;
    sim.pass(Duration::from_secs(60));
    // The first call of the batch finds the slot busy, and just then the job ends.
    sim.aws.end_job(Status::Succeeded);
    sim.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::conflict()),
    );
    assert!(sim.poll(0).await);
    assert_eq!(sim.jobs_of(T2), 1, "the second call took the slot");
    let mut ends = 0;
    while ends < 8 && sim.jobs_of(T1) == 0 {
        for _ in 0..4 {
            sim.pass(VISIBILITY);
            while sim.poll(0).await {}
        }
        sim.pass(Duration::from_secs(60));
        sim.aws.end_job(Status::Succeeded);
        ends += 1;
        // The next change comes before any message is visible again.
        let change = sim.event(&format!("change-{ends}"), T2);
        sim.deliver(0, &change).await;
    }
    assert!(
        sim.jobs_of(T1) > 0 && ends <= 4,
        "after {ends} job ends {T1} had {} jobs",
        sim.jobs_of(T1)
    );
}

/// Of two tables that each event names, the first is never ready itself, and a third one has waited longer.
#[tokio::test(start_paused = true)]
async fn a_table_next_to_one_that_is_not_ready_does_not_take_every_slot() {
    // Whatever Lambda's request id is.
    for number in 0..6 {
        let mut sim = Simulator::new(Slot::Conflict).await;
        for _ in 0..number {
            sim.outcomes(&json!({ "source": "id-mapping-populator", "detail-type": "any" }))
                .await;
        }
        sim.aws.set_table(T1, Table::refusing());
        let both = |id: &str, sim: &Simulator| {
            let targets = [T1.to_owned(), T2.to_owned()];
            let time = sim.now() - time::Duration::seconds(2);
            let changes = Change::of_tables(id, &targets, "INCREMENTAL", time);
            changes[0].event.clone()
        };
        sim.deliver(0, &both("first", &sim)).await;
        sim.pass(Duration::from_secs(20));
        sim.deliver(0, &sim.event("quiet", T3)).await;
        sim.pass(VISIBILITY);
        while sim.poll(0).await {}
        sim.aws.end_job(Status::Succeeded);
        sim.deliver(0, &both("second", &sim)).await;
        assert_eq!(tables(&sim), [T2], "{number}: the free slot is for {T3}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_does_not_wait_for_a_rejected_one_in_the_same_batch() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.outcomes(&request_for(T3)).await;
    sim.deliver(0, &sim.event("rejected", T2)).await;
    sim.pass(Duration::from_secs(5));
    sim.deliver(0, &sim.event("other", T1)).await;
    sim.aws.end_job(Status::Succeeded);
    sim.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::access_denied()),
    );
    assert!(sim.poll(0).await);
    assert_eq!(sim.jobs_of(T1), 1, "{:?}", sim.announced());
}

#[tokio::test(start_paused = true)]
async fn no_request_waits_too_long_for_one_that_was_rejected_in_the_same_batch() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.outcomes(&request_for(T3)).await;
    sim.deliver(0, &sim.event("rejected", T2)).await;
    sim.pass(Duration::from_secs(5));
    sim.deliver(0, &sim.event("other", T1)).await;
    for _ in 0..72 * 4 - 1 {
        sim.pass(VISIBILITY);
        while sim.poll(0).await {}
    }
    sim.pass(VISIBILITY + Duration::from_secs(60));
    sim.aws.end_job(Status::Succeeded);
    sim.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::access_denied()),
    );
    while sim.poll(0).await {}
    assert_eq!(sim.jobs_of(T1), 1, "{:?}", sim.announced());
}

/// A table is refused while another one's job is accepted, and a third one has a change every minute.
async fn refused_alone_beside_a_change_every_minute(is_ready_again: bool) -> Simulator {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.aws.set_table(T1, Table::refusing());
    sim.deliver(0, &sim.event("old", T1)).await;
    sim.pass(Duration::from_secs(5));
    sim.outcomes(&sim.event("next", T2)).await;
    sim.pass(VISIBILITY);
    poll_one_by_one(&mut sim).await;
    assert_eq!(tables(&sim), [T2], "the first one was refused alone");
    if is_ready_again {
        sim.aws.set_table(T1, Table::default());
    }
    let begin = sim.now();
    for minute in 1..160 {
        sim.set_now(begin + time::Duration::seconds(minute * 60 + 7));
        if minute % 40 == 0 {
            sim.aws.end_job(Status::Succeeded);
        }
        sim.deliver(0, &sim.event(&format!("change-{minute}"), T3))
            .await;
        while sim.poll(0).await {}
    }
    sim
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_ready_again_gets_the_slot_in_its_turn() {
    let sim = refused_alone_beside_a_change_every_minute(true).await;
    let served = tables(&sim);
    assert!(served[..3].contains(&T1.to_owned()), "{served:?}");
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_never_ready_leaves_the_slot_idle_for_one_retry_interval_at_most() {
    let sim = refused_alone_beside_a_change_every_minute(false).await;
    let jobs = sim.aws.jobs();
    assert_eq!(tables(&sim), [T2, T3, T3, T3]);
    for pair in jobs.windows(2) {
        let idle = pair[1].started_at - pair[0].ended_at.unwrap();
        assert!(idle <= VISIBILITY + time::Duration::minutes(1), "{idle}");
    }
}
