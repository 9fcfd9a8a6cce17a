//! The waiting queue: which requests wait, for how long, and with which outcome.

use std::collections::BTreeSet;
use std::time::Duration;

use fake_aws::{Exception, FakeAws, Fault, Operation, Slot, Status, Table};
use serde_json::{Value, json};

use crate::harness::{T1, T2, T3, event_file, request_for, request_for_all};
use crate::invariants::Change;
use crate::simulator::{BEGIN, Simulator, VISIBILITY};

fn table(number: usize) -> String {
    format!("aaaaaaaa-{number:04}-4000-8000-000000000001")
}

/// The event ids of a table's outcomes of this kind, each once.
fn event_ids(sim: &Simulator, outcome: &str, table: &str) -> BTreeSet<String> {
    sim.details()
        .iter()
        .filter(|detail| {
            detail["outcome"] == outcome && detail["idMappingTableIdentifier"] == table
        })
        .map(|detail| detail["eventId"].as_str().unwrap().to_owned())
        .collect()
}

fn bodies(sim: &Simulator, queue: &str) -> Vec<Value> {
    let messages = sim.aws.messages(queue);
    messages
        .iter()
        .map(|message| serde_json::from_str(&message.body).unwrap())
        .collect()
}

fn calls(sim: &Simulator) -> usize {
    sim.aws.calls_of(Operation::PopulateIdMappingTable).len()
}

/// A simulator whose slot is taken by the job of a table that no request names.
async fn busy(slot: Slot) -> Simulator {
    let mut sim = Simulator::new(slot).await;
    sim.outcomes(&request_for(&table(99))).await;
    sim
}

#[tokio::test(start_paused = true)]
async fn a_request_for_a_busy_slot_waits_and_is_announced_once() {
    for slot in [Slot::Conflict, Slot::QuotaExceeded] {
        let mut sim = busy(slot).await;
        let response = sim.response(&event_file("population-requested.json")).await;
        let outcome = &response["outcomes"][0];
        assert_eq!(outcome["outcome"], "WAITING");
        assert_eq!(outcome["error"]["type"], "SlotBusy");
        assert_eq!(sim.details()[1], *outcome);
        let mut body = event_file("waiting-message.json");
        body["waitingSince"] = json!("2026-11-23T02:00:00.000Z");
        assert_eq!(bodies(&sim, "waiting"), [body]);
        // The delay is a setting of the queue.
        let sent = &sim.aws.calls_of(Operation::SendMessage)[0];
        assert_eq!(sent.body.get("DelaySeconds"), None);
        for _ in 0..3 {
            assert!(sim.poll(0).await);
            sim.pass(VISIBILITY);
        }
        assert_eq!(sim.announced(), ["STARTED", "WAITING SlotBusy"]);
        sim.aws.end_job(Status::Succeeded);
        assert!(sim.poll(0).await);
        assert_eq!(sim.announced(), ["STARTED", "WAITING SlotBusy", "STARTED"]);
        assert!(sim.aws.messages("waiting").is_empty());
        let started = &sim.details()[2];
        assert_eq!(started["requestId"], outcome["requestId"]);
        assert_eq!(started["trigger"], outcome["trigger"]);
        assert_eq!(started["decision"], outcome["decision"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_of_a_waiting_request_adds_no_message() {
    for settings in [&[][..], &[("MIN_INTERVAL", "3h")]] {
        let slot = Slot::Conflict;
        let mut sim = Simulator::with(FakeAws::in_process(), slot, settings).await;
        let blocker = if settings.is_empty() { 99 } else { 1 };
        sim.outcomes(&request_for(&table(blocker))).await;
        if !settings.is_empty() {
            sim.aws.end_job(Status::Succeeded);
        }
        sim.pass(Duration::from_secs(10));
        let mut event = request_for(&table(1));
        event["requestId"] = json!("a");
        let first = sim.response(&event).await;
        assert_eq!(first["outcomes"][0]["outcome"], "WAITING");
        for _ in 0..3 {
            let again = sim.response(&event).await;
            assert_eq!(again, first);
        }
        assert_eq!(sim.aws.messages("waiting").len(), 1);
        assert_eq!(sim.details().len(), 2);
        // Another request, and the same name with another type, are not repeats.
        for (field, value) in [("requestId", "b"), ("jobType", "INCREMENTAL")] {
            let mut other = event.clone();
            other[field] = json!(value);
            let outcomes = sim.outcomes(&other).await;
            assert!(outcomes[0].starts_with("WAITING"), "{outcomes:?}");
        }
        assert_eq!(sim.aws.messages("waiting").len(), 3);
        // If its message is lost, it is forgotten after two of the template's retry intervals, and the request is
        // enqueued again.
        {
            let queues = &mut sim.aws.state().queues;
            queues.get_mut("waiting").unwrap().messages.clear();
        }
        sim.pass(Duration::from_secs(41 * 60));
        sim.outcomes(&event).await;
        assert_eq!(sim.aws.messages("waiting").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_enqueued_if_it_is_not_known_who_waits() {
    let mut sim = busy(Slot::Conflict).await;
    let mut event = request_for(&table(1));
    event["requestId"] = json!("a");
    sim.outcomes(&event).await;
    // The item of those that wait is the last one that is read.
    let refused = Fault::Refuse(Exception::access_denied());
    sim.aws
        .fail_next(Operation::GetItem, Fault::Slow(Duration::ZERO));
    sim.aws.fail_next(Operation::GetItem, refused);
    let outcomes = sim.outcomes(&event).await;
    assert_eq!(outcomes, ["WAITING SlotBusy"]);
    assert_eq!(sim.aws.messages("waiting").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_queues_jobs_itself_may_do_so() {
    let mut sim = busy(Slot::Queue).await;
    assert_eq!(
        sim.outcomes(&request_for_all(&[T1, T2])).await,
        ["STARTED", "STARTED"]
    );
    assert_eq!(sim.aws.jobs().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn five_tables_in_one_event_become_five_jobs_one_after_another() {
    for (slot, expected) in [(Slot::Conflict, 3), (Slot::QuotaExceeded, 2)] {
        let mut sim = Simulator::new(slot).await;
        let tables: Vec<String> = (1..=5).map(table).collect();
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        let outcomes = sim.outcomes(&request_for_all(&tables)).await;
        assert_eq!(outcomes[0], "STARTED");
        assert_eq!(outcomes[1..], ["WAITING SlotBusy"; 4]);
        // A 409 may be the table's own state; that of a second table is the slot.
        assert_eq!(calls(&sim), expected, "{slot:?}");
        for done in 2..=5 {
            assert!(sim.aws.end_job(Status::Succeeded).is_some());
            sim.pass(VISIBILITY);
            assert!(sim.poll(0).await);
            assert_eq!(sim.aws.jobs().len(), done);
        }
        assert!(sim.aws.messages("waiting").is_empty());
        let populated: BTreeSet<String> = sim.aws.jobs().into_iter().map(|job| job.table).collect();
        assert_eq!(populated.len(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn one_bad_table_delays_no_other() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    // Only the first table is in a state that has no job.
    sim.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::conflict()),
    );
    let outcomes = sim.outcomes(&request_for_all(&[T1, T2, T3])).await;
    assert_eq!(outcomes, ["WAITING SlotBusy", "STARTED", "STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_queue_costs_two_calls_a_batch_and_then_one_job_a_table() {
    let mut sim = busy(Slot::Conflict).await;
    for number in 0..40 {
        let outcomes = sim.outcomes(&request_for(&table(number % 4))).await;
        assert_eq!(outcomes, ["WAITING SlotBusy"]);
    }
    let before = calls(&sim);
    let mut batches = 0;
    while sim.poll(0).await {
        batches += 1;
    }
    assert_eq!(batches, 4);
    assert!(
        calls(&sim) - before <= 2 * batches,
        "{}",
        calls(&sim) - before
    );
    for _ in 0..4 {
        sim.aws.end_job(Status::Succeeded);
        sim.pass(VISIBILITY);
        while sim.poll(0).await {}
    }
    assert!(sim.aws.messages("waiting").is_empty());
    assert_eq!(sim.aws.jobs().len(), 1 + 4);
    assert_eq!(
        sim.announced()
            .iter()
            .filter(|outcome| *outcome == "COVERED")
            .count(),
        36
    );
}

#[tokio::test(start_paused = true)]
async fn the_longest_wait_goes_first_or_a_wider_type_that_covers_it() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    // For any time that a request claims.
    for (table, job_type, claimed) in [
        (T2, "DELETE_ONLY", "2026-11-23T01:59:30Z"),
        (T1, "INCREMENTAL", "2026-11-23T01:00:00Z"),
        (T1, "INCREMENTAL", "2026-11-23T01:59:50Z"),
        (T2, "INCREMENTAL", "0001-01-01T00:00:00Z"),
        (T1, "BATCH", "2026-11-23T01:59:55Z"),
    ] {
        let mut request = request_for(table);
        request["jobType"] = json!(job_type);
        request["time"] = json!(claimed);
        sim.aws.send("waiting", &request.to_string());
        sim.pass(Duration::from_secs(1));
    }
    assert!(sim.poll(0).await);
    let jobs: Vec<(String, String)> = sim
        .aws
        .jobs()
        .into_iter()
        .map(|job| (job.table, job.job_type.unwrap()))
        .collect();
    let pair = |table: &str, job_type: &str| (table.to_owned(), job_type.to_owned());
    assert_eq!(
        jobs,
        [
            pair(T2, "DELETE_ONLY"),
            pair(T2, "INCREMENTAL"),
            pair(T1, "BATCH"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waited_too_long_is_rejected_and_dead_lettered_and_may_wait_again() {
    let mut sim = busy(Slot::Conflict).await;
    sim.outcomes(&request_for(T1)).await;
    sim.pass(Duration::from_secs(72 * 60 * 60));
    assert!(sim.poll(0).await);
    assert_eq!(
        sim.aws.messages("waiting").len(),
        1,
        "72 hours are not over"
    );
    sim.pass(VISIBILITY);
    assert!(sim.poll(0).await);
    assert!(sim.aws.messages("waiting").is_empty());
    assert_eq!(sim.announced()[2], "REJECTED WaitedTooLong");
    let said = sim.details()[2]["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        said.contains("waited since 2026-11-23T02:00:00.000Z, longer than MAX_WAIT"),
        "{said}"
    );
    let dead = &sim.aws.messages("dead")[0];
    assert_eq!(dead.attributes["errorType"]["StringValue"], "WaitedTooLong");
    assert_eq!(
        dead.attributes["errorMessage"]["StringValue"],
        said.as_str()
    );
    assert_eq!(bodies(&sim, "dead")[0]["waitingSince"], Value::Null);

    // After a redrive it waits again, and then runs.
    sim.aws.move_messages("dead", "waiting");
    assert!(sim.poll(0).await);
    let waits = bodies(&sim, "waiting");
    assert_eq!(waits.len(), 1);
    assert!(
        waits[0]["waitingSince"]
            .as_str()
            .unwrap()
            .starts_with("2026-11-26T"),
        "{waits:?}"
    );
    sim.aws.end_job(Status::Succeeded);
    assert!(sim.poll(0).await);
    assert!(sim.aws.messages("waiting").is_empty() && sim.aws.messages("dead").is_empty());
    assert_eq!(sim.announced().last().unwrap(), "STARTED");
}

#[tokio::test(start_paused = true)]
async fn after_max_wait_a_request_is_still_tried() {
    let mut sim = busy(Slot::Conflict).await;
    sim.outcomes(&request_for(T1)).await;
    sim.pass(Duration::from_secs(100 * 60 * 60));
    sim.aws.end_job(Status::Succeeded);
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced(), ["STARTED", "WAITING SlotBusy", "STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_request_that_is_refused_is_announced_and_dead_lettered() {
    let mut sim = busy(Slot::Conflict).await;
    sim.outcomes(&request_for(T1)).await;
    sim.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::not_found()),
    );
    assert!(sim.poll(0).await);
    assert!(sim.aws.messages("waiting").is_empty());
    assert_eq!(sim.announced()[2], "REJECTED TableNotFound");
    assert_eq!(
        sim.aws.messages("dead")[0].attributes["errorType"]["StringValue"],
        "TableNotFound"
    );
    assert_eq!(
        bodies(&sim, "dead")[0]["request"]["idMappingTableIdentifier"],
        T1
    );

    // If the rejection is not published, or the dead letter is not sent, the message stays.
    for operation in [Operation::PutEvents, Operation::SendMessage] {
        let mut sim = busy(Slot::Conflict).await;
        sim.outcomes(&request_for(T1)).await;
        sim.aws.fail_next(
            Operation::PopulateIdMappingTable,
            Fault::Refuse(Exception::not_found()),
        );
        sim.aws
            .fail_next(operation, Fault::Refuse(Exception::access_denied()));
        assert!(sim.poll(0).await);
        assert_eq!(sim.aws.messages("waiting").len(), 1, "{operation:?}");
        assert!(sim.aws.messages("dead").is_empty());
    }

    // Without a dead-letter queue it stays too.
    let aws = FakeAws::in_process();
    let mut sim = Simulator::with(aws, Slot::Conflict, &[("DEAD_LETTER_QUEUE_URL", "")]).await;
    sim.aws.send("waiting", &request_for(T1).to_string());
    sim.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::not_found()),
    );
    assert!(sim.poll(0).await);
    assert_eq!(sim.aws.messages("waiting").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_a_request_is_dead_lettered_unchanged() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    for body in [
        "no JSON",
        r#"{"membershipId":"x"}"#,
        r#"{"version":2,"request":{},"waitingSince":null}"#,
    ] {
        sim.aws.send("waiting", body);
    }
    sim.aws.send("waiting", &request_for(T1).to_string());
    assert!(sim.poll(0).await);
    assert!(sim.aws.messages("waiting").is_empty());
    let dead = sim.aws.messages("dead");
    assert_eq!(dead.len(), 3);
    assert_eq!(dead[1].body, r#"{"membershipId":"x"}"#);
    assert_eq!(
        dead[1].attributes["errorType"]["StringValue"],
        "InvalidRequest"
    );
    let said = dead[1].attributes["errorMessage"]["StringValue"]
        .as_str()
        .unwrap();
    assert!(
        said.contains("$.Records[1].body.membershipId is not known"),
        "{said}"
    );
    assert_eq!(sim.announced(), ["STARTED"]);

    sim.aws.send("waiting", "no JSON");
    sim.aws.fail_next(
        Operation::SendMessage,
        Fault::Refuse(Exception::access_denied()),
    );
    assert!(sim.poll(0).await);
    assert_eq!(sim.aws.messages("waiting").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_a_newer_version_is_read() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    let message = |added: &str| {
        let mut request = request_for(T1);
        request["requestId"] = json!("from-newer");
        request[added] = json!(true);
        json!({
            "version": 1, "request": request, "trigger": null, "waitingSince": null, "watch": null,
            "added": {},
        })
    };
    // A near miss of a known member was written by hand.
    sim.aws.send("waiting", &message("job_type").to_string());
    sim.aws.send("waiting", &message("added").to_string());
    assert!(sim.poll(0).await);
    assert!(sim.aws.messages("waiting").is_empty());
    assert_eq!(sim.announced(), ["STARTED"]);
    assert_eq!(sim.details()[0]["requestId"], "from-newer");
    let dead = sim.aws.messages("dead");
    assert_eq!(dead.len(), 1);
    let said = dead[0].attributes["errorMessage"].to_string();
    assert!(said.contains("write `jobType`"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_redriven_failure_record_runs_under_its_own_key() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.aws.fail_always(
        Operation::GetItem,
        Fault::Refuse(Exception::access_denied()),
    );
    sim.deliver(0, &request_for(T1)).await;
    sim.repeat(0).await;
    sim.repeat(0).await;
    assert_eq!(
        bodies(&sim, "dead")[0]["requestContext"]["requestId"],
        "request-1"
    );
    sim.aws.repair(Operation::GetItem);
    sim.aws.move_messages("dead", "waiting");
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced(), ["STARTED"]);
    // Lambda retries the event that failed: it is the same request.
    sim.repeats.push(crate::simulator::Delivery {
        request_id: "request-1".to_owned(),
        payload: request_for(T1),
        tries: 1,
    });
    sim.repeat(0).await;
    assert_eq!(sim.announced(), ["STARTED", "COVERED"]);
}

#[tokio::test(start_paused = true)]
async fn targets_of_a_message_that_have_to_wait_are_enqueued_one_by_one() {
    let mut sim = busy(Slot::QuotaExceeded).await;
    let mut request = request_for_all(&[T1, T2]);
    request["requestId"] = json!("both");
    sim.aws.send("waiting", &request.to_string());
    assert!(sim.poll(0).await);
    assert_eq!(
        sim.announced(),
        ["STARTED", "WAITING SlotBusy", "WAITING SlotBusy"]
    );
    let waits = bodies(&sim, "waiting");
    assert_eq!(waits.len(), 2);
    assert_eq!(waits[1]["request"]["idMappingTableIdentifier"], T2);
    assert_eq!(waits[1]["request"]["requestId"], "both");
    assert_eq!(waits[1]["trigger"], Value::Null);
    // If it cannot be sent, the message stays.
    sim.aws.send("waiting", &request.to_string());
    sim.aws.fail_always(
        Operation::SendMessage,
        Fault::Refuse(Exception::access_denied()),
    );
    while sim.poll(0).await {}
    assert_eq!(sim.aws.messages("waiting").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_burst_that_settles_is_one_job() {
    let aws = FakeAws::in_process();
    let mut sim = Simulator::with(aws, Slot::Conflict, &[("SETTLE_TIME", "5m")]).await;
    for number in 0..200 {
        let change = Change::new(&format!("file-{number}"), T1, sim.now());
        assert_eq!(sim.outcomes(&change.event).await, ["WAITING Settling"]);
        sim.pass(Duration::from_millis(1_500));
    }
    assert_eq!(calls(&sim), 0);
    let delay = &sim.aws.calls_of(Operation::SendMessage)[0].body["DelaySeconds"];
    assert_eq!(*delay, 300);
    // The last came five minutes after the first. The waiting queue starts one job, whenever it is polled.
    sim.pass(Duration::from_secs(10));
    while !sim.aws.messages("waiting").is_empty() {
        sim.poll(0).await;
        sim.pass(Duration::from_secs(60));
    }
    assert_eq!(sim.aws.jobs().len(), 1);
    let covered = sim
        .announced()
        .iter()
        .filter(|outcome| *outcome == "COVERED")
        .count();
    assert_eq!(covered, 199);
}

#[tokio::test(start_paused = true)]
async fn only_a_change_that_comes_as_an_event_settles() {
    let aws = FakeAws::in_process();
    let mut sim = Simulator::with(aws, Slot::Unlimited, &[("SETTLE_TIME", "5m")]).await;
    let event = Change::new("change", T1, BEGIN - time::Duration::seconds(10)).event;
    sim.aws.send("waiting", &event.to_string());
    assert!(sim.poll(0).await);
    assert_eq!(sim.outcomes(&request_for(T2)).await, ["STARTED"]);
    assert_eq!(sim.outcomes(&event).await, ["COVERED"], "it is known");
    let older = Change::new("older", T1, BEGIN - time::Duration::seconds(20)).event;
    assert_eq!(sim.outcomes(&older).await, ["COVERED"]);
    let mut dry = Change::new("newer", T1, BEGIN).event;
    dry["detail"]["dryRun"] = json!(true);
    assert_eq!(sim.response(&dry).await["outcomes"][0]["plan"], "WAIT");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_enqueued_fails_and_is_not_lost() {
    for (fault, said) in [
        (
            Fault::Refuse(Exception::access_denied()),
            "AccessDeniedException: ",
        ),
        (Fault::Drop, "dropped on order"),
        (Fault::AcceptAndHang, "no answer within 5000 ms"),
    ] {
        let mut sim = busy(Slot::Conflict).await;
        sim.aws.fail_always(Operation::SendMessage, fault);
        let (error_type, message) = sim.failure(&request_for(T1)).await;
        assert_eq!(error_type, "QueueUnavailable");
        assert!(
            message.contains("to the queue of WAITING_QUEUE_URL failed: "),
            "{message}"
        );
        assert!(
            message.contains(said) && message.contains("it has to wait: SlotBusy: "),
            "{message}"
        );
        assert_eq!(sim.announced(), ["STARTED"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_cannot_be_announced_is_only_logged() {
    let mut sim = busy(Slot::Conflict).await;
    sim.aws.fail_next(
        Operation::PutEvents,
        Fault::FailEntries("MalformedDetail".to_owned()),
    );
    assert_eq!(sim.outcomes(&request_for(T1)).await, ["WAITING SlotBusy"]);
    assert_eq!(sim.aws.messages("waiting").len(), 1);
    assert_eq!(sim.announced(), ["STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn a_target_without_time_waits() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    // Two seconds for one, and 150 ms for each, itself included, that may have to be enqueued.
    sim.timeout = Duration::from_millis(2_350);
    let tables: Vec<String> = (1..=4).map(table).collect();
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    let outcomes = sim.outcomes(&request_for_all(&tables)).await;
    let waits = "WAITING OutOfTime";
    assert_eq!(outcomes, [waits, waits, "STARTED", "STARTED"]);
    assert_eq!(sim.aws.messages("waiting").len(), 2);
    sim.timeout = Duration::from_secs(60);
    assert!(sim.poll(0).await);
    assert_eq!(sim.aws.jobs().len(), 4);
    // Exactly this time is needed.
    for (milliseconds, outcome) in [(2_150, "STARTED"), (2_148, "WAITING OutOfTime")] {
        let mut sim = Simulator::new(Slot::Unlimited).await;
        sim.timeout = Duration::from_millis(milliseconds);
        assert_eq!(sim.outcomes(&request_for(T1)).await, [outcome]);
    }
}

/// Calls and look-ups that are never answered do not take the time in which the others are enqueued.
#[tokio::test(start_paused = true)]
async fn time_to_enqueue_is_kept_when_calls_are_never_answered() {
    for count in [1, 5, 100] {
        let tables: Vec<String> = (1..=count).map(table).collect();
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        for operation in [Operation::ListIdMappingJobs, Operation::GetIdMappingTable] {
            for seconds in [3, 5, 10, 20, 60, 120] {
                if seconds * 1_000 < 2_000 + 150 * count as u64 {
                    continue;
                }
                let mut sim = Simulator::new(Slot::Unlimited).await;
                sim.timeout = Duration::from_secs(seconds);
                sim.aws
                    .fail_always(Operation::PopulateIdMappingTable, Fault::AcceptAndHang);
                sim.aws.fail_always(operation, Fault::AcceptAndHang);
                for operation in [
                    Operation::SendMessage,
                    Operation::PutEvents,
                    Operation::PutItem,
                ] {
                    let slow = Fault::Slow(Duration::from_millis(40));
                    sim.aws.fail_always(operation, slow);
                }
                let outcomes = sim.outcomes(&request_for_all(&tables)).await;
                assert_eq!(outcomes.len(), count, "{operation:?} {seconds}");
                assert!(
                    outcomes
                        .iter()
                        .all(|outcome| outcome.starts_with("WAITING")),
                    "{outcomes:?}"
                );
                assert_eq!(sim.aws.messages("waiting").len(), count);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tables_that_are_busy_themselves_delay_no_other_for_long() {
    for bad in [2, 3] {
        busy_by_themselves(bad).await;
    }
}

/// Several tables whose own state refuses every job have waited longer than one whose state does not.
async fn busy_by_themselves(bad: usize) {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    let first = Change::new("first", T3, sim.now()).event;
    for number in 0..=bad {
        let mut request = request_for(&table(number));
        request["requestId"] = json!(format!("request {number}"));
        request["time"] = first["time"].clone();
        sim.aws.fail_next(
            Operation::PopulateIdMappingTable,
            Fault::Refuse(Exception::conflict()),
        );
        assert_eq!(sim.outcomes(&request).await, ["WAITING SlotBusy"]);
        sim.pass(Duration::from_secs(60));
    }
    for number in 0..bad {
        let refuses = Table {
            refuses: true,
            ..Table::default()
        };
        sim.aws.set_table(&table(number), refuses);
    }
    let mut rounds = 0;
    while sim.aws.messages("waiting").len() == bad + 1 {
        // The table with the oldest change is called first, and its state refuses every job.
        sim.pass(VISIBILITY);
        let before = calls(&sim);
        assert!(sim.poll(0).await);
        if sim.aws.jobs().is_empty() {
            assert_eq!(calls(&sim) - before, 2);
        }
        rounds += 1;
        assert!(rounds < 20, "the last table is not called");
    }
    assert_eq!(sim.aws.jobs()[0].table, table(bad));
}

/// A 402 is the account's slot whatever the body says, and so is that exception whatever the status is.
#[tokio::test(start_paused = true)]
async fn an_account_whose_slot_is_taken_is_called_for_one_table_only() {
    let quota = r#"{"__type":"ServiceQuotaExceededException","message":"one at a time"}"#;
    for (status, body) in [(402, "{}"), (400, quota)] {
        let mut sim = Simulator::new(Slot::Unlimited).await;
        let taken = Fault::Status(status, body.to_owned());
        sim.aws
            .fail_always(Operation::PopulateIdMappingTable, taken);
        let outcomes = sim.outcomes(&request_for_all(&[T1, T2, T3])).await;
        assert_eq!(outcomes, ["WAITING SlotBusy"; 3]);
        assert_eq!(calls(&sim), 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_still_fails_after_max_wait_goes_to_the_dead_letter_queue() {
    for operation in [Operation::GetItem, Operation::PutEvents] {
        for waits in [true, false] {
            let mut sim = busy(Slot::Conflict).await;
            if waits {
                sim.outcomes(&request_for(T1)).await;
            } else {
                // As it was sent, without the time since which it waits.
                sim.aws.send("waiting", &request_for(T1).to_string());
                sim.aws.end_job(Status::Succeeded);
            }
            let refused = Fault::Refuse(Exception::access_denied());
            sim.aws.fail_always(operation, refused);
            // A rejection that cannot be announced is announced later, as long as SQS keeps the message.
            let hours = if operation == Operation::GetItem {
                72
            } else {
                13 * 24
            };
            sim.pass(Duration::from_secs(hours * 60 * 60 - 60));
            assert!(sim.poll(0).await);
            assert_eq!(sim.aws.messages("waiting").len(), 1, "{operation:?}");
            sim.pass(VISIBILITY);
            assert!(sim.poll(0).await);
            assert!(sim.aws.messages("waiting").is_empty(), "{operation:?}");
            let dead = &sim.aws.messages("dead")[0];
            let error_type = dead.attributes["errorType"]["StringValue"].as_str();
            let expected = if operation == Operation::PutEvents && !waits {
                "NotAnnounced"
            } else {
                "WaitedTooLong"
            };
            assert_eq!(error_type, Some(expected));
            // Redriven when that works again, it is done.
            sim.aws.repair(operation);
            sim.aws.end_job(Status::Succeeded);
            sim.aws.move_messages("dead", "waiting");
            assert!(sim.poll(0).await);
            assert_eq!(sim.announced().last().unwrap(), "STARTED", "{operation:?}");
            assert!(sim.aws.messages("waiting").is_empty());
            assert_eq!(sim.aws.jobs().len(), 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_announced_as_soon_as_it_can_be() {
    let mut sim = busy(Slot::Conflict).await;
    sim.outcomes(&request_for(T1)).await;
    sim.pass(Duration::from_secs(73 * 60 * 60));
    sim.aws.fail_next(
        Operation::PutEvents,
        Fault::Refuse(Exception::access_denied()),
    );
    assert!(sim.poll(0).await);
    assert_eq!(sim.aws.messages("waiting").len(), 1);
    sim.pass(VISIBILITY);
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced().last().unwrap(), "REJECTED WaitedTooLong");
    assert_eq!(sim.aws.messages("dead").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_stays_a_dry_run_in_every_queue() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.aws.fail_always(
        Operation::GetItem,
        Fault::Refuse(Exception::access_denied()),
    );
    let mut dry = request_for(T1);
    dry["dryRun"] = json!(true);
    sim.aws.send("waiting", &dry.to_string());
    for days in [4, 14] {
        sim.set_now(BEGIN + time::Duration::days(days));
        assert!(sim.poll(0).await);
    }
    assert_eq!(sim.announced(), [""; 0]);
    assert_eq!(bodies(&sim, "dead")[0]["request"]["dryRun"], true);
    sim.aws.repair(Operation::GetItem);
    sim.aws.move_messages("dead", "waiting");
    assert!(sim.poll(0).await);
    assert!(sim.aws.messages("waiting").is_empty() && sim.aws.jobs().is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_remaining_target_is_enqueued_however_many_and_however_little_time() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    sim.timeout = Duration::from_secs(10);
    let tables: Vec<String> = (0..100).map(table).collect();
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    for operation in [Operation::SendMessage, Operation::PutEvents] {
        sim.aws
            .fail_always(operation, Fault::Slow(Duration::from_millis(20)));
    }
    let outcomes = sim.outcomes(&request_for_all(&tables)).await;
    let waits = outcomes
        .iter()
        .filter(|outcome| *outcome == "WAITING OutOfTime");
    assert_eq!(waits.count(), sim.aws.messages("waiting").len());
    assert_eq!(
        sim.aws.messages("waiting").len() + sim.aws.jobs().len(),
        100
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_enqueued_after_a_failure_is_announced_when_it_has_to_wait() {
    let mut sim = busy(Slot::QuotaExceeded).await;
    let mut both = request_for_all(&[T1, T2]);
    both["requestId"] = json!("both");
    sim.aws.send("waiting", &both.to_string());
    // The ledger fails for the second table, after the first one and those that wait were read.
    for _ in 0..2 {
        sim.aws
            .fail_next(Operation::GetItem, Fault::Slow(Duration::ZERO));
    }
    sim.aws.fail_next(
        Operation::GetItem,
        Fault::Refuse(Exception::access_denied()),
    );
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced(), ["STARTED", "WAITING SlotBusy"]);
    assert_eq!(bodies(&sim, "waiting")[1]["waitingSince"], Value::Null);
    sim.pass(VISIBILITY);
    while sim.poll(0).await {}
    assert_eq!(sim.announced()[2..], ["WAITING SlotBusy"]);
    assert_eq!(sim.aws.messages("waiting").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_target_of_a_message_is_enqueued_twice() {
    let aws = FakeAws::in_process();
    let mut sim = Simulator::with(aws, Slot::Conflict, &[("DEAD_LETTER_QUEUE_URL", "")]).await;
    sim.outcomes(&request_for(&table(99))).await;
    let mut both = request_for_all(&[T1, T2]);
    both["requestId"] = json!("both");
    sim.aws.send("waiting", &both.to_string());
    for _ in 0..4 {
        sim.aws.repair(Operation::PopulateIdMappingTable);
        sim.aws.fail_next(
            Operation::PopulateIdMappingTable,
            Fault::Refuse(Exception::not_found()),
        );
        sim.poll(0).await;
        sim.pass(VISIBILITY);
    }
    // Each is in the queue once, and its WAITING is published at most once.
    assert_eq!(sim.aws.messages("waiting").len(), 2);
    let mut announced: Vec<String> = sim
        .details()
        .iter()
        .filter(|detail| detail["outcome"] == "WAITING")
        .map(|detail| detail["eventId"].to_string())
        .collect();
    let all = announced.len();
    announced.sort();
    announced.dedup();
    assert_eq!(announced.len(), all);
}

#[tokio::test(start_paused = true)]
async fn a_failed_target_that_cannot_be_enqueued_keeps_its_message() {
    let aws = FakeAws::in_process();
    let mut sim = Simulator::with(aws, Slot::Conflict, &[("DEAD_LETTER_QUEUE_URL", "")]).await;
    sim.outcomes(&request_for(&table(99))).await;
    let mut both = request_for_all(&[T1, T2]);
    both["requestId"] = json!("both");
    sim.aws.send("waiting", &both.to_string());
    sim.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::not_found()),
    );
    for fault in [
        Fault::Slow(Duration::ZERO),
        Fault::Refuse(Exception::access_denied()),
    ] {
        sim.aws.fail_next(Operation::SendMessage, fault);
    }
    assert!(sim.poll(0).await);
    let bodies = bodies(&sim, "waiting");
    assert!(bodies.contains(&both), "{bodies:?}");
    assert_eq!(bodies.len(), 2, "the other target waits in one of its own");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_began_in_the_future_ends_too() {
    let mut sim = busy(Slot::Conflict).await;
    let message = json!({
        "version": 1, "request": request_for(T1), "trigger": null, "watch": null,
        "waitingSince": "2036-12-31T23:59:59Z",
    });
    sim.aws.send("waiting", &message.to_string());
    sim.pass(Duration::from_secs(73 * 60 * 60));
    assert!(sim.poll(0).await);
    assert_eq!(sim.announced().last().unwrap(), "REJECTED WaitedTooLong");
}

#[tokio::test(start_paused = true)]
async fn a_request_id_with_characters_that_sqs_refuses_is_kept_in_the_queue() {
    let mut sim = busy(Slot::Conflict).await;
    let name = "a\u{ffff}\u{fffe}\u{0}\u{1}\u{7f}é\u{10ffff}";
    let mut request = request_for(T1);
    request["requestId"] = json!(name);
    assert_eq!(sim.outcomes(&request).await, ["WAITING SlotBusy"]);
    assert_eq!(bodies(&sim, "waiting")[0]["request"]["requestId"], name);
    // In the dead-letter queue's attributes too.
    sim.pass(Duration::from_secs(73 * 60 * 60));
    assert!(sim.poll(0).await);
    assert_eq!(bodies(&sim, "dead")[0]["request"]["requestId"], name);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_tables_never_run_into_the_timeout() {
    let tables: Vec<String> = (0..100).map(table).collect();
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    for slow in [0, 100, 900, 4_000] {
        let mut sim = Simulator::new(Slot::Unlimited).await;
        sim.timeout = Duration::from_secs(20);
        let pause = Fault::Slow(Duration::from_millis(slow));
        sim.aws
            .fail_always(Operation::PopulateIdMappingTable, pause);
        for operation in [
            Operation::SendMessage,
            Operation::PutEvents,
            Operation::GetItem,
            Operation::PutItem,
        ] {
            sim.aws
                .fail_always(operation, Fault::Slow(Duration::from_millis(10)));
        }
        // A response: the process did not end at the timeout.
        let outcomes = sim.outcomes(&request_for_all(&tables)).await;
        assert_eq!(outcomes.len(), 100);
        let started = outcomes
            .iter()
            .filter(|outcome| *outcome == "STARTED")
            .count();
        assert_eq!(started, sim.aws.jobs().len());
        assert_eq!(
            sim.aws.messages("waiting").len(),
            100 - started,
            "{slow} ms"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_of_the_largest_size_goes_to_the_dead_letter_queue() {
    // With the largest body there is room for the error's type, and a part of its message.
    for (spare, attributes) in [
        (0, &[][..]),
        (40, &["errorType"]),
        (100, &["errorMessage", "errorType"]),
        (5_000, &["errorMessage", "errorType"]),
    ] {
        let mut sim = Simulator::new(Slot::Conflict).await;
        let envelope = json!({ "membershipId": "" }).to_string().len();
        let text = "x".repeat(1_048_576 - envelope - spare);
        let body = json!({ "membershipId": text }).to_string();
        sim.aws.send("waiting", &body);
        assert!(sim.poll(0).await);
        assert!(sim.aws.messages("waiting").is_empty());
        let dead = sim.aws.messages("dead").remove(0);
        assert_eq!(dead.body.len(), body.len());
        let names: Vec<&String> = dead.attributes.as_object().unwrap().keys().collect();
        assert_eq!(names, attributes, "{spare}");
        let said = dead.attributes["errorMessage"]["StringValue"].as_str();
        assert!(
            said.is_none_or(|said| said.starts_with("the payload")),
            "{said:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_takes_less_than_sqs_does_gets_a_large_message_without_attributes() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    let body = json!({ "membershipId": "x".repeat(100_000) }).to_string();
    sim.aws.fail_next(
        Operation::SendMessage,
        Fault::Refuse(Exception::validation("")),
    );
    sim.aws.send("waiting", &body);
    assert!(sim.poll(0).await);
    assert_eq!(sim.aws.messages("dead")[0].attributes, Value::Null);
    assert!(sim.aws.messages("waiting").is_empty());
}

/// Only a large message may be too large for its attributes, so only that is sent once more without them.
#[tokio::test(start_paused = true)]
async fn a_message_of_up_to_64_kib_that_the_dead_letter_queue_refuses_is_sent_once() {
    for (size, sent) in [(2_000, 1), (65_536, 1), (65_537, 2)] {
        let mut sim = Simulator::new(Slot::Conflict).await;
        let empty = json!({ "membershipId": "" }).to_string().len();
        let body = json!({ "membershipId": "x".repeat(size - empty) }).to_string();
        sim.aws.send("waiting", &body);
        let refused = Fault::Refuse(Exception::access_denied());
        sim.aws.fail_always(Operation::SendMessage, refused);
        assert!(sim.poll(0).await);
        assert_eq!(
            sim.aws.calls_of(Operation::SendMessage).len(),
            sent,
            "{size}"
        );
        assert_eq!(sim.aws.messages("waiting").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_errors_text_goes_to_the_dead_letter_queue_without_what_sqs_refuses() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.aws.send("waiting", &request_for(T1).to_string());
    let refused = Fault::Status(404, "one\u{1}two\u{fffe}three\u{ffff}four".to_owned());
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, refused);
    assert!(sim.poll(0).await);
    let dead = sim.aws.messages("dead").remove(0);
    let said = dead.attributes["errorMessage"]["StringValue"].as_str();
    assert!(
        said.unwrap().contains("one\\u{1}two three four"),
        "{said:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn messages_of_many_targets_without_time_stay_and_do_not_multiply() {
    many_targets(10, 3, 40).await;
}

#[tokio::test(start_paused = true)]
async fn messages_of_many_targets_become_one_for_each_target_where_there_is_time() {
    let sim = many_targets(120, 5, 65).await;
    assert_eq!(sim.aws.messages("waiting").len(), 500);
}

/// Several messages of a hundred targets each wait for six rounds, with this timeout and this pace (ms) of
/// messages and events.
async fn many_targets(timeout: u64, messages: usize, pace: u64) -> Simulator {
    let mut sim = busy(Slot::QuotaExceeded).await;
    sim.timeout = Duration::from_secs(timeout);
    for number in 0..messages {
        let tables: Vec<String> = (0..100)
            .map(|table| format!("bbbbbbbb-{table:04}-4000-8000-{number:012}"))
            .collect();
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        let mut request = request_for_all(&tables);
        request["requestId"] = json!(format!("message-{number}"));
        sim.aws.send("waiting", &request.to_string());
    }
    sim.aws.fail_by(move |_, operation| {
        Some(Fault::Slow(Duration::from_millis(match operation {
            Operation::SendMessage | Operation::PutEvents => pace,
            _ => 15,
        })))
    });
    for _ in 0..6 {
        sim.pass(VISIBILITY);
        while sim.poll(0).await {}
        let count = sim.aws.messages("waiting").len();
        assert!(count <= 100 * messages, "{count}");
        sim.aws.state().calls.clear();
    }
    sim
}

/// Sends a message for this many tables of their own.
fn send_for_many(sim: &Simulator, count: usize) {
    let tables: Vec<String> = (0..count)
        .map(|number| format!("cccccccc-{number:04}-4000-8000-000000000001"))
        .collect();
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    sim.aws
        .send("waiting", &request_for_all(&tables).to_string());
}

fn call_takes(sim: &Simulator, milliseconds: u64) {
    let slow = Fault::Slow(Duration::from_millis(milliseconds));
    sim.aws.fail_always(Operation::PopulateIdMappingTable, slow);
}

/// At most a third of the time is reserved to enqueue the targets of a message, and less with each that is
/// done.
#[tokio::test(start_paused = true)]
async fn a_message_of_many_targets_starts_jobs_in_the_time_that_is_not_reserved() {
    for (targets, milliseconds, jobs) in [(20, 300, 20), (100, 1_000, 5)] {
        let mut sim = Simulator::new(Slot::Unlimited).await;
        sim.timeout = Duration::from_secs(9);
        send_for_many(&sim, targets);
        call_takes(&sim, milliseconds);
        assert!(sim.poll(0).await);
        assert_eq!(sim.aws.jobs().len(), jobs, "{targets}");
    }
}

/// No time is reserved for messages that already wait, because they stay. Their time is not taken from the
/// requests that have to be enqueued.
#[tokio::test(start_paused = true)]
async fn requests_that_already_wait_leave_time_to_enqueue_the_others() {
    let mut sim = busy(Slot::QuotaExceeded).await;
    for number in 0..9 {
        sim.outcomes(&request_for(&table(number))).await;
    }
    sim.pass(VISIBILITY);
    send_for_many(&sim, 60);
    sim.aws.set_slot(Slot::Unlimited);
    sim.timeout = Duration::from_secs(30);
    // Nine seconds are reserved for sixty targets, and two must remain for a call: there is time for eight.
    call_takes(&sim, 2_450);
    let before = calls(&sim);
    assert!(sim.poll(0).await);
    assert_eq!(calls(&sim) - before, 8);
    assert_eq!(sim.aws.messages("waiting").len(), 1 + 60);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_stays_for_lack_of_time_leaves_after_max_wait() {
    let mut sim = busy(Slot::QuotaExceeded).await;
    sim.timeout = Duration::from_secs(5);
    let tables: Vec<String> = (0..100).map(table).collect();
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    sim.aws
        .send("waiting", &request_for_all(&tables).to_string());
    sim.pass(VISIBILITY);
    assert!(sim.poll(0).await);
    assert_eq!(sim.aws.messages("waiting").len(), 1);
    sim.pass(Duration::from_secs(72 * 60 * 60));
    assert!(sim.poll(0).await);
    assert!(sim.aws.messages("waiting").is_empty());
    assert_eq!(sim.aws.messages("dead").len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_throttles_is_not_called_again_in_the_invocation() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    sim.aws.fail_always(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::throttling()),
    );
    let tables: Vec<String> = (0..100).map(table).collect();
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    let outcomes = sim.outcomes(&request_for_all(&tables)).await;
    assert_eq!(outcomes, ["WAITING ServiceUnavailable"; 100]);
    // Two requests, with three tries each.
    assert_eq!(calls(&sim), 6);

    // A call that works in between resets the count.
    let mut sim = Simulator::new(Slot::Unlimited).await;
    sim.aws.fail_by({
        let count = std::sync::atomic::AtomicUsize::new(0);
        move |_, operation| {
            let call = operation == Operation::PopulateIdMappingTable;
            let number = || count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let delayed = Exception::validation("IAM_SYNCHRONIZATION_DELAY");
            (call && number() % 2 == 0).then_some(Fault::Refuse(delayed))
        }
    });
    let outcomes = sim.outcomes(&request_for_all(&tables[..6])).await;
    let started = outcomes.iter().filter(|outcome| *outcome == "STARTED");
    assert_eq!(started.count(), 3, "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_redriven_request_that_is_rejected_again_is_another_rejection() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.outcomes(&request_for(T3)).await;
    sim.outcomes(&request_for(T1)).await;
    for _ in 0..2 {
        sim.pass(Duration::from_secs(73 * 60 * 60));
        sim.poll(0).await;
        sim.aws.move_messages("dead", "waiting");
        sim.poll(0).await;
    }
    let names: Vec<Value> = sim
        .details()
        .iter()
        .filter(|detail| detail["outcome"] == "REJECTED")
        .map(|detail| detail["eventId"].clone())
        .collect();
    assert_eq!(names.len(), 2);
    assert_ne!(names[0], names[1]);
}

/// The first try is throttled, and the time for the call ends in a pause between two tries.
#[tokio::test(start_paused = true)]
async fn a_call_that_ends_between_two_throttled_tries_has_started_no_job() {
    let mut sim = Simulator::new(Slot::Unlimited).await;
    sim.pause_for_long_between_tries().await;
    sim.aws.fail_always(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::throttling()),
    );
    assert_eq!(
        sim.outcomes(&request_for(T1)).await,
        ["WAITING ServiceUnavailable"]
    );
    assert_eq!(calls(&sim), 1);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_request_is_not_started_in_the_same_invocation() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.outcomes(&request_for(T3)).await;
    sim.deliver(0, &sim.event("rejected", T2)).await;
    sim.pass(Duration::from_secs(5));
    sim.deliver(0, &sim.event("other", T1)).await;
    sim.aws.end_job(Status::Succeeded);
    // It is refused while the other table's job is accepted.
    sim.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::conflict()),
    );
    assert!(sim.poll(0).await);
    assert_eq!(sim.jobs_of(T1), 1);
    sim.pass(Duration::from_secs(60));
    sim.deliver(0, &sim.event("next", T1)).await;
    sim.aws.end_job(Status::Succeeded);
    sim.aws.set_table(T1, Table::refusing());
    sim.pass(VISIBILITY);
    sim.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::access_denied()),
    );
    assert!(sim.poll(0).await);
    assert_eq!(sim.aws.messages("dead").len(), 1);
    let announced = sim.announced();
    assert_eq!(sim.jobs_of(T2), 0, "{announced:?}");
}

#[tokio::test(start_paused = true)]
async fn one_request_that_was_delivered_twice_is_rejected_under_one_event_id() {
    let mut sim = Simulator::new(Slot::Conflict).await;
    sim.outcomes(&request_for(T3)).await;
    let change = sim.event("a", T1);
    sim.deliver(0, &change).await;
    sim.pass(Duration::from_secs(5));
    sim.deliver(0, &change).await;
    sim.pass(Duration::from_secs(73 * 60 * 60));
    assert!(sim.poll(0).await);
    let ids = event_ids(&sim, "REJECTED", T1);
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rejection_in_a_message_whose_other_target_waits_has_one_event_id() {
    for dead_letter_queue in [true, false] {
        let unset: &[(&str, &str)] = &[("DEAD_LETTER_QUEUE_URL", "")];
        let variables = if dead_letter_queue { &[] } else { unset };
        let mut sim = Simulator::with(FakeAws::in_process(), Slot::QuotaExceeded, variables).await;
        sim.outcomes(&request_for(T3)).await;
        let targets: Vec<Value> = [T1, T2].iter().map(|table| request_for(table)).collect();
        let body = json!({ "targets": targets, "requestId": "both" });
        sim.aws.send("waiting", &body.to_string());
        sim.pass(Duration::from_secs(1));
        let refused = Fault::Refuse(Exception::access_denied());
        sim.aws
            .fail_next(Operation::PopulateIdMappingTable, refused.clone());
        if dead_letter_queue {
            // The first message that is sent is the dead letter.
            sim.aws.fail_next(
                Operation::SendMessage,
                Fault::Refuse(Exception::access_denied()),
            );
        }
        assert!(sim.poll(0).await);
        sim.aws
            .fail_always(Operation::PopulateIdMappingTable, refused);
        for _ in 0..3 {
            sim.pass(VISIBILITY);
            while sim.poll(0).await {}
        }
        let ids = event_ids(&sim, "REJECTED", T1);
        assert_eq!(ids.len(), 1, "{dead_letter_queue} {ids:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_not_multiplied_in_the_queue() {
    let mut sim = Simulator::new(Slot::QuotaExceeded).await;
    sim.outcomes(&request_for(T3)).await;
    sim.timeout = Duration::from_secs(16);
    for operation in [Operation::SendMessage, Operation::PutEvents] {
        let slow = Fault::Slow(Duration::from_millis(90));
        sim.aws.fail_always(operation, slow);
    }
    let table = |number: usize| format!("bbbbbbbb-{number:04}-4000-8000-000000000001");
    let targets: Vec<Value> = (0..100).map(|number| request_for(&table(number))).collect();
    let body = json!({ "targets": targets, "requestId": "all" });
    sim.aws.send("waiting", &body.to_string());
    for _ in 0..5 {
        while sim.poll(0).await {}
        sim.pass(VISIBILITY);
    }
    let count = sim.aws.messages("waiting").len();
    assert!(count <= 101, "{count} messages for 100 requests");
}
