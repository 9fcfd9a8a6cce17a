//! Whose turn the account's one job slot is: no table, and no job type of a table, waits for ever.

use std::time::Duration;

use fake_aws::{Exception, FakeAws, Fault, Operation, Slot, Status, Table};
use serde_json::{Value, json};

use crate::lab::{BEGIN, Lab, VISIBILITY};
use crate::promises::News;
use crate::world::{T1, T2, T3, request_for, table_arn};

fn jobs_of(lab: &Lab, table: &str, job_type: &str) -> usize {
    let jobs = lab.aws.jobs();
    jobs.iter()
        .filter(|job| job.table == table && job.job_type.as_deref() == Some(job_type))
        .count()
}

fn all_jobs_of(lab: &Lab, table: &str) -> usize {
    tables(lab).iter().filter(|other| *other == table).count()
}

fn tables(lab: &Lab) -> Vec<String> {
    lab.aws.jobs().into_iter().map(|job| job.table).collect()
}

fn event(id: &str, table: &str, lab: &Lab) -> Value {
    News::new(id, table, lab.now() - time::Duration::seconds(2)).event
}

/// The tables and job types that the ledger's item for the slot has, oldest first.
fn waiters(lab: &Lab) -> Vec<(String, String)> {
    let state = lab.aws.state();
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
async fn poll_one_by_one(lab: &mut Lab) {
    while let Some(batch) = lab.aws.receive("waiting", 1) {
        lab.invoked += 1;
        let answer = lab
            .invoke(0, &format!("request-{}", lab.invoked), &batch)
            .await;
        let crate::lab::Ended::Response(answer) = answer else {
            panic!("{answer:?}");
        };
        lab.aws.received("waiting", &batch, Some(&answer));
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_deletion_and_another_table_get_the_slot_though_changes_keep_coming() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.outcomes(&request_for(T3)).await;
    let change = BEGIN - time::Duration::seconds(9);
    let delete = News::with_wish("delete", T1, "DELETE_ONLY", change);
    lab.deliver(0, &delete.event).await;
    let other = News::new("other", T2, BEGIN - time::Duration::seconds(5));
    lab.deliver(0, &other.event).await;
    for hour in 0..4 {
        lab.pass(Duration::from_secs(10));
        let news = News::new(&format!("news-{hour}"), T1, lab.now());
        lab.pass(Duration::from_secs(2));
        lab.deliver(0, &news.event).await;
        lab.pass(Duration::from_secs(60 * 60));
        lab.aws.end_job(Status::Succeeded);
        while lab.poll(0).await {}
    }
    assert_eq!(jobs_of(&lab, T1, "DELETE_ONLY"), 1);
    assert_eq!(jobs_of(&lab, T2, "INCREMENTAL"), 1);
    assert_eq!(
        tables(&lab)[..3],
        [T3, T1, T2],
        "in the order in which they waited"
    );
}

/// A table with a change every minute, each tried at once, and another table with one change.
#[tokio::test(start_paused = true)]
async fn a_quiet_table_gets_the_next_slot_beside_one_with_a_change_every_minute() {
    for offset in [30, 161, 292] {
        let mut lab = Lab::new(Slot::Conflict).await;
        lab.deliver(0, &event("first", T1, &lab)).await;
        lab.pass(Duration::from_secs(offset));
        let quiet = event("quiet", T2, &lab);
        lab.deliver(0, &quiet).await;
        let begin = lab.now();
        let ends = begin + time::Duration::hours(1);
        for minute in 0..80 {
            lab.set_now(begin + time::Duration::seconds(minute * 60 + 7));
            if lab.now() > ends && lab.aws.jobs().len() == 1 {
                lab.aws.end_job(Status::Succeeded);
            }
            lab.deliver(0, &event(&format!("news-{minute}"), T1, &lab))
                .await;
            while lab.poll(0).await {}
        }
        assert_eq!(tables(&lab)[..2], [T1, T2], "offset {offset}");
        // The slot was idle for no longer than one retry interval.
        let idle = lab.aws.jobs()[1].started_at - lab.aws.jobs()[0].ended_at.unwrap();
        assert!(idle <= VISIBILITY + time::Duration::minutes(1), "{idle}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_of_many_tables_is_served_in_its_turn() {
    let mut lab = Lab::new(Slot::QuotaExceeded).await;
    let table = |number: usize| format!("bbbbbbbb-{number:04}-4000-8000-000000000001");
    lab.outcomes(&request_for(T3)).await;
    for round in 0..15 {
        for number in 0..5 {
            lab.pass(Duration::from_secs(7));
            let id = format!("{round}-{number}");
            lab.deliver(0, &event(&id, &table(number), &lab)).await;
        }
        lab.pass(Duration::from_secs(30 * 60));
        lab.aws.end_job(Status::Succeeded);
        // Whoever comes first finds it free.
        lab.deliver(0, &event(&format!("{round}-greedy"), &table(4), &lab))
            .await;
        while lab.poll(0).await {}
    }
    let served = tables(&lab);
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
async fn a_request_lets_an_older_one_pass_without_a_call() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.outcomes(&request_for(T3)).await;
    lab.pass(Duration::from_secs(10));
    lab.deliver(0, &event("old", T1, &lab)).await;
    assert_eq!(
        waiters(&lab),
        [(T1.to_owned(), json!("INCREMENTAL").to_string())]
    );
    lab.pass(Duration::from_secs(60));
    lab.aws.end_job(Status::Succeeded);
    let calls = lab.aws.calls_of(Operation::PopulateIdMappingTable).len();
    assert_eq!(
        lab.outcomes(&event("new", T2, &lab)).await,
        ["WAITING SlotBusy"]
    );
    let said = lab.details().last().unwrap()["error"]["message"].to_string();
    let ahead = format!("idmappingtable/{T1} has waited longer");
    assert!(said.contains(&ahead), "{said}");
    let now = lab.aws.calls_of(Operation::PopulateIdMappingTable).len();
    assert_eq!(now, calls);
    // A later change of the table whose turn it is takes the turn, and its job serves both.
    assert_eq!(lab.outcomes(&event("newer", T1, &lab)).await, ["STARTED"]);
    assert_eq!(waiters(&lab).len(), 1, "the other table's");
    lab.pass(VISIBILITY);
    while lab.poll(0).await {}
    assert_eq!(lab.announced().last().unwrap(), "COVERED");
}

#[tokio::test(start_paused = true)]
async fn changes_of_the_same_table_let_its_deletion_pass() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.outcomes(&request_for(T3)).await;
    let delete = News::with_wish("delete", T1, "DELETE_ONLY", lab.now());
    lab.pass(Duration::from_secs(5));
    lab.deliver(0, &delete.event).await;
    lab.pass(Duration::from_secs(60));
    lab.aws.end_job(Status::Succeeded);
    assert_eq!(
        lab.outcomes(&event("news", T1, &lab)).await,
        ["WAITING SlotBusy"]
    );
    lab.pass(VISIBILITY);
    assert!(lab.poll(0).await);
    assert_eq!(jobs_of(&lab, T1, "DELETE_ONLY"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_gone_holds_up_nobody_for_longer_than_two_retry_intervals() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.outcomes(&request_for(T3)).await;
    lab.deliver(0, &event("gone", T1, &lab)).await;
    // It is received three times, which tells the retry interval; then somebody deletes its message.
    for _ in 0..3 {
        while lab.poll(0).await {}
        lab.pass(VISIBILITY);
    }
    lab.aws
        .state()
        .queues
        .get_mut("waiting")
        .unwrap()
        .messages
        .clear();
    lab.aws.end_job(Status::Succeeded);
    assert_eq!(
        lab.outcomes(&event("a", T2, &lab)).await,
        ["WAITING SlotBusy"]
    );
    lab.pass(VISIBILITY + Duration::from_secs(2));
    assert_eq!(lab.outcomes(&event("b", T2, &lab)).await, ["STARTED"]);
    assert_eq!(
        waiters(&lab),
        [],
        "whoever is gone is forgotten, and whoever is served"
    );
}

#[tokio::test(start_paused = true)]
async fn a_rejected_request_holds_up_nobody() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.outcomes(&request_for(T3)).await;
    lab.deliver(0, &event("bad", T1, &lab)).await;
    lab.aws.end_job(Status::Succeeded);
    lab.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::validation("INVALID_CONFIGURATION")),
    );
    while lab.poll(0).await {}
    assert_eq!(lab.announced().last().unwrap(), "REJECTED RequestRefused");
    assert_eq!(waiters(&lab), []);
    assert_eq!(lab.outcomes(&event("good", T2, &lab)).await, ["STARTED"]);
}

/// A table whose own state refuses every job is the first in line, and the messages never come in one batch.
#[tokio::test(start_paused = true)]
async fn a_table_that_is_not_ready_itself_holds_up_nobody_though_each_message_comes_alone() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.aws.set_table(
        T1,
        Table {
            refuses: true,
            ..Table::default()
        },
    );
    lab.deliver(0, &event("never", T1, &lab)).await;
    lab.pass(Duration::from_secs(5));
    assert_eq!(
        lab.outcomes(&event("next", T2, &lab)).await,
        ["WAITING SlotBusy"]
    );
    lab.pass(VISIBILITY);
    poll_one_by_one(&mut lab).await;
    assert_eq!(
        tables(&lab),
        [T2],
        "the first one's invocation tries the next one too"
    );
    assert_eq!(lab.announced()[2..], ["STARTED", "COVERED"]);
    // From then on nobody lets it pass.
    lab.aws.end_job(Status::Succeeded);
    assert_eq!(lab.outcomes(&event("later", T3, &lab)).await, ["STARTED"]);
}

fn refusing() -> Table {
    Table {
        refuses: true,
        ..Table::default()
    }
}

/// Hands the oldest message of the waiting queue over in a batch of its own.
async fn poll_one(lab: &mut Lab) {
    let batch = lab.aws.receive("waiting", 1).unwrap();
    lab.invoked += 1;
    let request_id = format!("request-{}", lab.invoked);
    let crate::lab::Ended::Response(answer) = lab.invoke(0, &request_id, &batch).await else {
        panic!("the invocation failed");
    };
    lab.aws.received("waiting", &batch, Some(&answer));
}

/// Chance says which table is tried next: never the one that was refused, though it has more requests.
#[tokio::test(start_paused = true)]
async fn the_table_that_is_tried_next_is_one_that_was_not_refused() {
    for invoked in 0..8 {
        let mut lab = Lab::new(Slot::Conflict).await;
        lab.invoked = 10 * invoked;
        lab.aws.set_table(T1, refusing());
        let mut both = request_for(T1);
        both["jobType"] = json!("INCREMENTAL");
        let mut delete = request_for(T1);
        delete["jobType"] = json!("DELETE_ONLY");
        let both = json!({ "targets": [both, delete], "requestId": "both" });
        lab.aws.send("waiting", &both.to_string());
        poll_one(&mut lab).await;
        lab.pass(Duration::from_secs(5));
        lab.outcomes(&event("next", T2, &lab)).await;
        lab.pass(VISIBILITY);
        // Two messages of the first table, in one batch.
        let batch = lab.aws.receive("waiting", 2).unwrap();
        let id = format!("request-{}", 10 * invoked + 5);
        lab.invoke(0, &id, &batch).await;
        assert_eq!(tables(&lab), [T2], "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_refused_for_the_first_time_tries_no_request_of_another_message() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.outcomes(&request_for(T3)).await;
    lab.aws.send("waiting", &event("old", T1, &lab).to_string());
    lab.pass(Duration::from_secs(10));
    lab.outcomes(&event("other", T2, &lab)).await;
    let calls = lab.aws.calls_of(Operation::PopulateIdMappingTable).len();
    poll_one(&mut lab).await;
    let now = lab.aws.calls_of(Operation::PopulateIdMappingTable).len();
    assert_eq!(now, calls + 1);
    assert_eq!(waiters(&lab).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_refused_holds_up_no_other_target_of_its_invocation() {
    let mut lab = Lab::new(Slot::Unlimited).await;
    lab.aws.set_table(T1, refusing());
    assert_eq!(lab.outcomes(&request_for(T1)).await, ["WAITING SlotBusy"]);
    lab.pass(Duration::from_secs(60));
    let targets: Vec<Value> = [T1, T2, T3]
        .iter()
        .map(|table| request_for(table))
        .collect();
    let outcomes = lab.outcomes(&json!({ "targets": targets })).await;
    assert_eq!(outcomes, ["WAITING SlotBusy", "STARTED", "STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_request_that_is_rejected_leaves_an_older_one_its_turn() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.outcomes(&request_for(T3)).await;
    lab.deliver(0, &event("old", T1, &lab)).await;
    lab.aws.end_job(Status::Succeeded);
    lab.pass(Duration::from_secs(60));
    lab.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::validation("INVALID_CONFIGURATION")),
    );
    let (error_type, _) = lab.failure(&event("new", T1, &lab)).await;
    assert_eq!(error_type, "RequestRefused");
    assert_eq!(
        lab.outcomes(&event("other", T2, &lab)).await,
        ["WAITING SlotBusy"],
        "the older one's turn comes first"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_recorded_though_who_waits_could_not_be_read_before() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.outcomes(&request_for(T3)).await;
    // The table's item is read, and that of the slot is not.
    for fault in [
        Fault::Slow(Duration::ZERO),
        Fault::Refuse(Exception::access_denied()),
    ] {
        lab.aws.fail_next(Operation::GetItem, fault);
    }
    assert_eq!(
        lab.outcomes(&event("a", T1, &lab)).await,
        ["WAITING SlotBusy"]
    );
    assert_eq!(waiters(&lab).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_looked_at_and_recorded_once_for_many_requests() {
    let mut lab = Lab::new(Slot::QuotaExceeded).await;
    lab.outcomes(&request_for(T3)).await;
    lab.aws.state().calls.clear();
    let targets: Vec<Value> = [T1, T2].iter().map(|table| request_for(table)).collect();
    lab.outcomes(&json!({ "targets": targets })).await;
    let slot_item = |operation, place: &str| {
        let calls = lab.aws.calls_of(operation);
        let of_slot = calls
            .iter()
            .filter(|call| call.body[place]["idMappingTableArn"]["S"] == "slot");
        of_slot.count()
    };
    assert_eq!(slot_item(Operation::GetItem, "Key"), 1);
    assert_eq!(slot_item(Operation::PutItem, "Item"), 1);
    assert_eq!(waiters(&lab).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_depends_on_the_item_of_the_slot() {
    let mut lab = Lab::new(Slot::Conflict).await;
    let of_table = |operation| {
        move |call: &fake_aws::Call| {
            call.operation == Some(operation) && call.body.to_string().contains(&table_arn(T1))
        }
    };
    let item = json!({ "idMappingTableArn": { "S": "slot" }, "record": { "S": "{" } });
    lab.aws.state().items.insert("slot".to_owned(), item);
    assert_eq!(lab.outcomes(&event("a", T1, &lab)).await, ["STARTED"]);
    assert!(lab.aws.calls().iter().any(of_table(Operation::PutItem)));
    lab.pass(Duration::from_secs(5));
    assert_eq!(
        lab.outcomes(&event("b", T2, &lab)).await,
        ["WAITING SlotBusy"]
    );
    lab.aws.end_job(Status::Succeeded);
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced().last().unwrap(), "STARTED");
}

#[tokio::test(start_paused = true)]
async fn without_a_waiting_queue_nobody_waits_and_nobody_is_let_pass() {
    let mut lab = Lab::with(
        FakeAws::in_process(),
        Slot::Conflict,
        &[("WAITING_QUEUE_URL", "")],
    )
    .await;
    assert_eq!(lab.outcomes(&event("a", T1, &lab)).await, ["STARTED"]);
    assert_eq!(lab.failure(&event("b", T2, &lab)).await.0, "SlotBusy");
    assert!(!lab.aws.state().items.contains_key("slot"));
    assert_eq!(lab.aws.calls_of(Operation::GetItem).len(), 2);
}

/// The first call of the batch finds the slot busy, and the job ends before the second table is asked.
#[tokio::test(start_paused = true)]
async fn a_job_that_ends_between_two_calls_of_a_batch_starves_no_table() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.outcomes(&request_for(T3)).await;
    lab.deliver(0, &event("quiet", T1, &lab)).await;
    lab.pass(Duration::from_secs(5));
    lab.deliver(0, &event("busy", T2, &lab)).await;
    lab.pass(Duration::from_secs(60));
    // The first call of the batch finds the slot busy, and just then the job ends.
    lab.aws.end_job(Status::Succeeded);
    lab.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::conflict()),
    );
    assert!(lab.poll(0).await);
    assert_eq!(all_jobs_of(&lab, T2), 1, "the second call took the slot");
    let mut ends = 0;
    while ends < 8 && all_jobs_of(&lab, T1) == 0 {
        for _ in 0..4 {
            lab.pass(VISIBILITY);
            while lab.poll(0).await {}
        }
        lab.pass(Duration::from_secs(60));
        lab.aws.end_job(Status::Succeeded);
        ends += 1;
        // The next change comes before any message is visible again.
        let news = event(&format!("news-{ends}"), T2, &lab);
        lab.deliver(0, &news).await;
    }
    assert!(
        all_jobs_of(&lab, T1) > 0 && ends <= 4,
        "after {ends} job ends {T1} had {} jobs",
        all_jobs_of(&lab, T1)
    );
}

/// Of two tables that each event names, the first is never ready itself.
#[tokio::test(start_paused = true)]
async fn a_table_beside_one_that_is_not_ready_does_not_take_each_slot() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.aws.set_table(T1, refusing());
    let both = |id: &str, lab: &Lab| {
        let targets = [T1.to_owned(), T2.to_owned()];
        let time = lab.now() - time::Duration::seconds(2);
        News::of_tables(id, &targets, "INCREMENTAL", time)
            .remove(0)
            .event
    };
    lab.deliver(0, &both("first", &lab)).await;
    lab.pass(Duration::from_secs(20));
    lab.deliver(0, &event("quiet", T3, &lab)).await;
    let mut ends = 0;
    while ends < 8 && all_jobs_of(&lab, T3) == 0 {
        for _ in 0..4 {
            lab.pass(VISIBILITY);
            while lab.poll(0).await {}
        }
        lab.pass(Duration::from_secs(60));
        lab.aws.end_job(Status::Succeeded);
        ends += 1;
        let news = both(&format!("news-{ends}"), &lab);
        lab.deliver(0, &news).await;
    }
    assert!(
        all_jobs_of(&lab, T3) > 0 && ends <= 6,
        "after {ends} job ends {T3} had {} jobs, {T2} {}",
        all_jobs_of(&lab, T3),
        all_jobs_of(&lab, T2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_does_not_let_a_rejected_one_pass_in_the_same_batch() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.outcomes(&request_for(T3)).await;
    lab.deliver(0, &event("rejected", T2, &lab)).await;
    lab.pass(Duration::from_secs(5));
    lab.deliver(0, &event("other", T1, &lab)).await;
    lab.aws.end_job(Status::Succeeded);
    lab.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::access_denied()),
    );
    assert!(lab.poll(0).await);
    assert_eq!(all_jobs_of(&lab, T1), 1, "{:?}", lab.announced());
}

#[tokio::test(start_paused = true)]
async fn no_request_waits_too_long_for_one_that_was_rejected_in_the_same_batch() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.outcomes(&request_for(T3)).await;
    lab.deliver(0, &event("rejected", T2, &lab)).await;
    lab.pass(Duration::from_secs(5));
    lab.deliver(0, &event("other", T1, &lab)).await;
    for _ in 0..72 * 4 - 1 {
        lab.pass(VISIBILITY);
        while lab.poll(0).await {}
    }
    lab.pass(VISIBILITY + Duration::from_secs(60));
    lab.aws.end_job(Status::Succeeded);
    lab.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::access_denied()),
    );
    while lab.poll(0).await {}
    assert_eq!(all_jobs_of(&lab, T1), 1, "{:?}", lab.announced());
}

/// A table was refused alone while another one's job was taken, and a third one has a change every minute.
async fn refused_alone_beside_a_change_every_minute(is_ready_again: bool) -> Lab {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.aws.set_table(T1, refusing());
    lab.deliver(0, &event("old", T1, &lab)).await;
    lab.pass(Duration::from_secs(5));
    lab.outcomes(&event("next", T2, &lab)).await;
    lab.pass(VISIBILITY);
    poll_one_by_one(&mut lab).await;
    assert_eq!(tables(&lab), [T2], "the first one was refused alone");
    if is_ready_again {
        lab.aws.set_table(T1, Table::default());
    }
    let begin = lab.now();
    for minute in 1..160 {
        lab.set_now(begin + time::Duration::seconds(minute * 60 + 7));
        if minute % 40 == 0 {
            lab.aws.end_job(Status::Succeeded);
        }
        lab.deliver(0, &event(&format!("news-{minute}"), T3, &lab))
            .await;
        while lab.poll(0).await {}
    }
    lab
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_ready_again_gets_the_slot_in_its_turn() {
    let lab = refused_alone_beside_a_change_every_minute(true).await;
    let served = tables(&lab);
    assert!(served[..3].contains(&T1.to_owned()), "{served:?}");
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_never_ready_leaves_the_slot_idle_for_one_retry_interval_at_most() {
    let lab = refused_alone_beside_a_change_every_minute(false).await;
    let jobs = lab.aws.jobs();
    assert_eq!(tables(&lab), [T2, T3, T3, T3]);
    for pair in jobs.windows(2) {
        let idle = pair[1].started_at - pair[0].ended_at.unwrap();
        assert!(idle <= VISIBILITY + time::Duration::minutes(1), "{idle}");
    }
}
