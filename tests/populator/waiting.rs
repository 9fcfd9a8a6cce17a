//! The waiting line: who waits, for how long, and what becomes of it.

use std::collections::BTreeSet;
use std::time::Duration;

use fake_aws::{Exception, FakeAws, Fault, Operation, Slot, Status, Table};
use serde_json::{Value, json};

use crate::lab::{BEGIN, Lab, VISIBILITY};
use crate::promises::News;
use crate::world::{T1, T2, T3, event_file, request_for, request_for_all};

fn table(number: usize) -> String {
    format!("aaaaaaaa-{number:04}-4000-8000-000000000001")
}

/// The event ids of a table's outcomes of this kind, each once.
fn event_ids(lab: &Lab, outcome: &str, table: &str) -> BTreeSet<String> {
    lab.details()
        .iter()
        .filter(|detail| {
            detail["outcome"] == outcome && detail["idMappingTableIdentifier"] == table
        })
        .map(|detail| detail["eventId"].as_str().unwrap().to_owned())
        .collect()
}

fn refusing() -> Table {
    Table {
        refuses: true,
        ..Table::default()
    }
}

fn event(id: &str, table: &str, lab: &Lab) -> Value {
    News::new(id, table, lab.now() - time::Duration::seconds(2)).event
}

fn jobs_of(lab: &Lab, table: &str) -> usize {
    let jobs = lab.aws.jobs();
    jobs.iter().filter(|job| job.table == table).count()
}

fn bodies(lab: &Lab, queue: &str) -> Vec<Value> {
    let messages = lab.aws.messages(queue);
    messages
        .iter()
        .map(|message| serde_json::from_str(&message.body).unwrap())
        .collect()
}

fn calls(lab: &Lab) -> usize {
    lab.aws.calls_of(Operation::PopulateIdMappingTable).len()
}

/// A lab whose slot is taken by a job of a table that nobody asks for.
async fn busy(slot: Slot) -> Lab {
    let mut lab = Lab::new(slot).await;
    lab.outcomes(&request_for(&table(99))).await;
    lab
}

#[tokio::test(start_paused = true)]
async fn a_busy_slot_is_waited_for_and_told_once() {
    for slot in [Slot::Conflict, Slot::QuotaExceeded] {
        let mut lab = busy(slot).await;
        let response = lab.response(&event_file("population-requested.json")).await;
        let outcome = &response["outcomes"][0];
        assert_eq!(outcome["outcome"], "WAITING");
        assert_eq!(outcome["error"]["type"], "SlotBusy");
        assert_eq!(lab.details()[1], *outcome);
        let mut body = event_file("waiting-message.json");
        body["waitingSince"] = json!("2026-11-23T02:00:00.000Z");
        assert_eq!(bodies(&lab, "waiting"), [body]);
        // The queue's own delay is the operator's.
        let sent = &lab.aws.calls_of(Operation::SendMessage)[0];
        assert_eq!(sent.body.get("DelaySeconds"), None);
        for _ in 0..3 {
            assert!(lab.poll(0).await);
            lab.pass(VISIBILITY);
        }
        assert_eq!(lab.announced(), ["STARTED", "WAITING SlotBusy"]);
        lab.aws.end_job(Status::Succeeded);
        assert!(lab.poll(0).await);
        assert_eq!(lab.announced(), ["STARTED", "WAITING SlotBusy", "STARTED"]);
        assert!(lab.aws.messages("waiting").is_empty());
        let started = &lab.details()[2];
        assert_eq!(started["requestId"], outcome["requestId"]);
        assert_eq!(started["trigger"], outcome["trigger"]);
        assert_eq!(started["decision"], outcome["decision"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_queues_jobs_itself_is_let() {
    let mut lab = busy(Slot::Queue).await;
    assert_eq!(
        lab.outcomes(&request_for_all(&[T1, T2])).await,
        ["STARTED", "STARTED"]
    );
    assert_eq!(lab.aws.jobs().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn five_tables_in_one_event_become_five_jobs_one_after_another() {
    for (slot, expected) in [(Slot::Conflict, 3), (Slot::QuotaExceeded, 2)] {
        let mut lab = Lab::new(slot).await;
        let tables: Vec<String> = (1..=5).map(table).collect();
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        let outcomes = lab.outcomes(&request_for_all(&tables)).await;
        assert_eq!(outcomes[0], "STARTED");
        assert_eq!(outcomes[1..], ["WAITING SlotBusy"; 4]);
        // A 409 may be the table's own state; that of a second table is the slot.
        assert_eq!(calls(&lab), expected, "{slot:?}");
        for done in 2..=5 {
            assert!(lab.aws.end_job(Status::Succeeded).is_some());
            lab.pass(VISIBILITY);
            assert!(lab.poll(0).await);
            assert_eq!(lab.aws.jobs().len(), done);
        }
        assert!(lab.aws.messages("waiting").is_empty());
        let populated: BTreeSet<String> = lab.aws.jobs().into_iter().map(|job| job.table).collect();
        assert_eq!(populated.len(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn one_bad_table_holds_up_nobody() {
    let mut lab = Lab::new(Slot::Unlimited).await;
    // Only the first table is in a state that has no job.
    lab.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::conflict()),
    );
    let outcomes = lab.outcomes(&request_for_all(&[T1, T2, T3])).await;
    assert_eq!(outcomes, ["WAITING SlotBusy", "STARTED", "STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn a_line_costs_two_calls_a_batch_and_then_one_job_a_table() {
    let mut lab = busy(Slot::Conflict).await;
    for number in 0..40 {
        let outcomes = lab.outcomes(&request_for(&table(number % 4))).await;
        assert_eq!(outcomes, ["WAITING SlotBusy"]);
    }
    let before = calls(&lab);
    let mut batches = 0;
    while lab.poll(0).await {
        batches += 1;
    }
    assert_eq!(batches, 4);
    assert!(
        calls(&lab) - before <= 2 * batches,
        "{}",
        calls(&lab) - before
    );
    for _ in 0..4 {
        lab.aws.end_job(Status::Succeeded);
        lab.pass(VISIBILITY);
        while lab.poll(0).await {}
    }
    assert!(lab.aws.messages("waiting").is_empty());
    assert_eq!(lab.aws.jobs().len(), 1 + 4);
    assert_eq!(
        lab.announced()
            .iter()
            .filter(|outcome| *outcome == "COVERED")
            .count(),
        36
    );
}

#[tokio::test(start_paused = true)]
async fn what_has_waited_longest_goes_first_or_a_wider_type_that_covers_it() {
    let mut lab = Lab::new(Slot::Unlimited).await;
    // Whatever time a request claims.
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
        lab.aws.send("waiting", &request.to_string());
        lab.pass(Duration::from_secs(1));
    }
    assert!(lab.poll(0).await);
    let jobs: Vec<(String, String)> = lab
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
async fn who_waited_too_long_is_rejected_and_put_aside_and_may_wait_anew() {
    let mut lab = busy(Slot::Conflict).await;
    lab.outcomes(&request_for(T1)).await;
    lab.pass(Duration::from_secs(72 * 60 * 60));
    assert!(lab.poll(0).await);
    assert_eq!(
        lab.aws.messages("waiting").len(),
        1,
        "72 hours are not over"
    );
    lab.pass(VISIBILITY);
    assert!(lab.poll(0).await);
    assert!(lab.aws.messages("waiting").is_empty());
    assert_eq!(lab.announced()[2], "REJECTED WaitedTooLong");
    let said = lab.details()[2]["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        said.contains("waited since 2026-11-23T02:00:00.000Z, longer than MAX_WAIT"),
        "{said}"
    );
    let dead = &lab.aws.messages("dead")[0];
    assert_eq!(dead.attributes["errorType"]["StringValue"], "WaitedTooLong");
    assert_eq!(
        dead.attributes["errorMessage"]["StringValue"],
        said.as_str()
    );
    assert_eq!(bodies(&lab, "dead")[0]["waitingSince"], Value::Null);

    // Moved back, it waits anew, and then runs.
    lab.aws.move_messages("dead", "waiting");
    assert!(lab.poll(0).await);
    let waits = bodies(&lab, "waiting");
    assert_eq!(waits.len(), 1);
    assert!(
        waits[0]["waitingSince"]
            .as_str()
            .unwrap()
            .starts_with("2026-11-26T"),
        "{waits:?}"
    );
    lab.aws.end_job(Status::Succeeded);
    assert!(lab.poll(0).await);
    assert!(lab.aws.messages("waiting").is_empty() && lab.aws.messages("dead").is_empty());
    assert_eq!(lab.announced().last().unwrap(), "STARTED");
}

#[tokio::test(start_paused = true)]
async fn after_max_wait_a_request_is_still_tried() {
    let mut lab = busy(Slot::Conflict).await;
    lab.outcomes(&request_for(T1)).await;
    lab.pass(Duration::from_secs(100 * 60 * 60));
    lab.aws.end_job(Status::Succeeded);
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced(), ["STARTED", "WAITING SlotBusy", "STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_while_waiting_is_announced_and_put_aside() {
    let mut lab = busy(Slot::Conflict).await;
    lab.outcomes(&request_for(T1)).await;
    lab.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::not_found()),
    );
    assert!(lab.poll(0).await);
    assert!(lab.aws.messages("waiting").is_empty());
    assert_eq!(lab.announced()[2], "REJECTED TableNotFound");
    assert_eq!(
        lab.aws.messages("dead")[0].attributes["errorType"]["StringValue"],
        "TableNotFound"
    );
    assert_eq!(
        bodies(&lab, "dead")[0]["request"]["idMappingTableIdentifier"],
        T1
    );

    // Without its announcement, or without its place, the message stays.
    for operation in [Operation::PutEvents, Operation::SendMessage] {
        let mut lab = busy(Slot::Conflict).await;
        lab.outcomes(&request_for(T1)).await;
        lab.aws.fail_next(
            Operation::PopulateIdMappingTable,
            Fault::Refuse(Exception::not_found()),
        );
        lab.aws
            .fail_next(operation, Fault::Refuse(Exception::access_denied()));
        assert!(lab.poll(0).await);
        assert_eq!(lab.aws.messages("waiting").len(), 1, "{operation:?}");
        assert!(lab.aws.messages("dead").is_empty());
    }

    // Without a dead-letter queue it stays too.
    let aws = FakeAws::in_process();
    let mut lab = Lab::with(aws, Slot::Conflict, &[("DEAD_LETTER_QUEUE_URL", "")]).await;
    lab.aws.send("waiting", &request_for(T1).to_string());
    lab.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::not_found()),
    );
    assert!(lab.poll(0).await);
    assert_eq!(lab.aws.messages("waiting").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_no_request_is_put_aside_as_it_came() {
    let mut lab = Lab::new(Slot::Conflict).await;
    for body in [
        "no JSON",
        r#"{"membershipId":"x"}"#,
        r#"{"version":2,"request":{},"waitingSince":null}"#,
    ] {
        lab.aws.send("waiting", body);
    }
    lab.aws.send("waiting", &request_for(T1).to_string());
    assert!(lab.poll(0).await);
    assert!(lab.aws.messages("waiting").is_empty());
    let dead = lab.aws.messages("dead");
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
    assert_eq!(lab.announced(), ["STARTED"]);

    lab.aws.send("waiting", "no JSON");
    lab.aws.fail_next(
        Operation::SendMessage,
        Fault::Refuse(Exception::access_denied()),
    );
    assert!(lab.poll(0).await);
    assert_eq!(lab.aws.messages("waiting").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_a_newer_version_is_read() {
    let mut lab = Lab::new(Slot::Conflict).await;
    let message = |added: &str| {
        let mut request = request_for(T1);
        request["requestId"] = json!("from-newer");
        request[added] = json!(true);
        json!({
            "version": 1, "request": request, "trigger": null, "waitingSince": null, "watch": null,
            "added": {},
        })
    };
    // What is nearly a member of ours was written by hand.
    lab.aws.send("waiting", &message("job_type").to_string());
    lab.aws.send("waiting", &message("added").to_string());
    assert!(lab.poll(0).await);
    assert!(lab.aws.messages("waiting").is_empty());
    assert_eq!(lab.announced(), ["STARTED"]);
    assert_eq!(lab.details()[0]["requestId"], "from-newer");
    let dead = lab.aws.messages("dead");
    assert_eq!(dead.len(), 1);
    let said = dead[0].attributes["errorMessage"].to_string();
    assert!(said.contains("write `jobType`"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_record_that_is_moved_back_runs_under_its_own_name() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.aws.fail_always(
        Operation::GetItem,
        Fault::Refuse(Exception::access_denied()),
    );
    lab.deliver(0, &request_for(T1)).await;
    lab.repeat(0).await;
    lab.repeat(0).await;
    assert_eq!(
        bodies(&lab, "dead")[0]["requestContext"]["requestId"],
        "request-1"
    );
    lab.aws.repair(Operation::GetItem);
    lab.aws.move_messages("dead", "waiting");
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced(), ["STARTED"]);
    // Lambda repeats the event that failed: it is the same request.
    lab.repeats.push(crate::lab::Delivery {
        request_id: "request-1".to_owned(),
        payload: request_for(T1),
        tries: 1,
    });
    lab.repeat(0).await;
    assert_eq!(lab.announced(), ["STARTED", "COVERED"]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_through_a_queue_and_has_to_wait_is_put_in_line_table_by_table() {
    let mut lab = busy(Slot::QuotaExceeded).await;
    let mut request = request_for_all(&[T1, T2]);
    request["requestId"] = json!("both");
    lab.aws.send("waiting", &request.to_string());
    assert!(lab.poll(0).await);
    assert_eq!(
        lab.announced(),
        ["STARTED", "WAITING SlotBusy", "WAITING SlotBusy"]
    );
    let waits = bodies(&lab, "waiting");
    assert_eq!(waits.len(), 2);
    assert_eq!(waits[1]["request"]["idMappingTableIdentifier"], T2);
    assert_eq!(waits[1]["request"]["requestId"], "both");
    assert_eq!(waits[1]["trigger"], Value::Null);
    // If it cannot be sent, the message stays.
    lab.aws.send("waiting", &request.to_string());
    lab.aws.fail_always(
        Operation::SendMessage,
        Fault::Refuse(Exception::access_denied()),
    );
    while lab.poll(0).await {}
    assert_eq!(lab.aws.messages("waiting").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_burst_that_settles_is_one_job() {
    let aws = FakeAws::in_process();
    let mut lab = Lab::with(aws, Slot::Conflict, &[("SETTLE_TIME", "5m")]).await;
    for number in 0..200 {
        let news = News::new(&format!("file-{number}"), T1, lab.now());
        assert_eq!(lab.outcomes(&news.event).await, ["WAITING Settling"]);
        lab.pass(Duration::from_millis(1_500));
    }
    assert_eq!(calls(&lab), 0);
    let delay = &lab.aws.calls_of(Operation::SendMessage)[0].body["DelaySeconds"];
    assert_eq!(*delay, 300);
    // The last came five minutes after the first: whenever the line is looked at, one job.
    lab.pass(Duration::from_secs(10));
    while !lab.aws.messages("waiting").is_empty() {
        lab.poll(0).await;
        lab.pass(Duration::from_secs(60));
    }
    assert_eq!(lab.aws.jobs().len(), 1);
    let covered = lab
        .announced()
        .iter()
        .filter(|outcome| *outcome == "COVERED")
        .count();
    assert_eq!(covered, 199);
}

#[tokio::test(start_paused = true)]
async fn only_news_that_comes_as_an_event_settles() {
    let aws = FakeAws::in_process();
    let mut lab = Lab::with(aws, Slot::Unlimited, &[("SETTLE_TIME", "5m")]).await;
    let event = News::new("news", T1, BEGIN - time::Duration::seconds(10)).event;
    lab.aws.send("waiting", &event.to_string());
    assert!(lab.poll(0).await);
    assert_eq!(lab.outcomes(&request_for(T2)).await, ["STARTED"]);
    assert_eq!(lab.outcomes(&event).await, ["COVERED"], "it is known");
    let older = News::new("older", T1, BEGIN - time::Duration::seconds(20)).event;
    assert_eq!(lab.outcomes(&older).await, ["COVERED"]);
    let mut dry = News::new("newer", T1, BEGIN).event;
    dry["detail"]["dryRun"] = json!(true);
    assert_eq!(lab.response(&dry).await["outcomes"][0]["plan"], "WAIT");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_put_in_line_fails_and_nothing_is_lost() {
    for (fault, said) in [
        (
            Fault::Refuse(Exception::access_denied()),
            "AccessDeniedException: ",
        ),
        (Fault::Drop, "dropped on order"),
        (Fault::AcceptAndHang, "no answer within 5000 ms"),
    ] {
        let mut lab = busy(Slot::Conflict).await;
        lab.aws.fail_always(Operation::SendMessage, fault);
        let (error_type, message) = lab.failure(&request_for(T1)).await;
        assert_eq!(error_type, "QueueUnavailable");
        assert!(
            message.contains("to the queue of WAITING_QUEUE_URL failed: "),
            "{message}"
        );
        assert!(
            message.contains(said) && message.contains("it has to wait: SlotBusy: "),
            "{message}"
        );
        assert_eq!(lab.announced(), ["STARTED"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_cannot_be_announced_is_only_logged() {
    let mut lab = busy(Slot::Conflict).await;
    lab.aws.fail_next(
        Operation::PutEvents,
        Fault::FailEntries("MalformedDetail".to_owned()),
    );
    assert_eq!(lab.outcomes(&request_for(T1)).await, ["WAITING SlotBusy"]);
    assert_eq!(lab.aws.messages("waiting").len(), 1);
    assert_eq!(lab.announced(), ["STARTED"]);
}

#[tokio::test(start_paused = true)]
async fn what_there_is_no_time_for_waits() {
    let mut lab = Lab::new(Slot::Unlimited).await;
    // Two seconds for one, and 150 ms for each, itself among them, that may have to be put in line.
    lab.timeout = Duration::from_millis(2_350);
    let tables: Vec<String> = (1..=4).map(table).collect();
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    let outcomes = lab.outcomes(&request_for_all(&tables)).await;
    let waits = "WAITING OutOfTime";
    assert_eq!(outcomes, [waits, waits, "STARTED", "STARTED"]);
    assert_eq!(lab.aws.messages("waiting").len(), 2);
    lab.timeout = Duration::from_secs(60);
    assert!(lab.poll(0).await);
    assert_eq!(lab.aws.jobs().len(), 4);
    // So much and no less.
    for (milliseconds, outcome) in [(2_150, "STARTED"), (2_148, "WAITING OutOfTime")] {
        let mut lab = Lab::new(Slot::Unlimited).await;
        lab.timeout = Duration::from_millis(milliseconds);
        assert_eq!(lab.outcomes(&request_for(T1)).await, [outcome]);
    }
}

/// Calls and look-ups that are never answered do not take the time in which the rest is put in line.
#[tokio::test(start_paused = true)]
async fn the_line_has_its_time_whatever_is_never_answered() {
    for count in [1, 5, 100] {
        let tables: Vec<String> = (1..=count).map(table).collect();
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        for operation in [Operation::ListIdMappingJobs, Operation::GetIdMappingTable] {
            for seconds in [3, 5, 10, 20, 60, 120] {
                if seconds * 1_000 < 2_000 + 150 * count as u64 {
                    continue;
                }
                let mut lab = Lab::new(Slot::Unlimited).await;
                lab.timeout = Duration::from_secs(seconds);
                lab.aws
                    .fail_always(Operation::PopulateIdMappingTable, Fault::AcceptAndHang);
                lab.aws.fail_always(operation, Fault::AcceptAndHang);
                for operation in [
                    Operation::SendMessage,
                    Operation::PutEvents,
                    Operation::PutItem,
                ] {
                    let slow = Fault::Slow(Duration::from_millis(40));
                    lab.aws.fail_always(operation, slow);
                }
                let outcomes = lab.outcomes(&request_for_all(&tables)).await;
                assert_eq!(outcomes.len(), count, "{operation:?} {seconds}");
                assert!(
                    outcomes
                        .iter()
                        .all(|outcome| outcome.starts_with("WAITING")),
                    "{outcomes:?}"
                );
                assert_eq!(lab.aws.messages("waiting").len(), count);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tables_that_are_busy_by_themselves_hold_up_nobody_for_long() {
    for bad in [2, 3] {
        busy_by_themselves(bad).await;
    }
}

/// So many tables whose own state refuses every job have waited longer than one whose state does not.
async fn busy_by_themselves(bad: usize) {
    let mut lab = Lab::new(Slot::Unlimited).await;
    let first = News::new("first", T3, lab.now()).event;
    for number in 0..=bad {
        let mut request = request_for(&table(number));
        request["requestId"] = json!(format!("request {number}"));
        request["time"] = first["time"].clone();
        lab.aws.fail_next(
            Operation::PopulateIdMappingTable,
            Fault::Refuse(Exception::conflict()),
        );
        assert_eq!(lab.outcomes(&request).await, ["WAITING SlotBusy"]);
        lab.pass(Duration::from_secs(60));
    }
    for number in 0..bad {
        let refuses = Table {
            refuses: true,
            ..Table::default()
        };
        lab.aws.set_table(&table(number), refuses);
    }
    let mut rounds = 0;
    while lab.aws.messages("waiting").len() == bad + 1 {
        // Who is called first is the one with the oldest news, whose state refuses every job.
        lab.pass(VISIBILITY);
        let before = calls(&lab);
        assert!(lab.poll(0).await);
        if lab.aws.jobs().is_empty() {
            assert_eq!(calls(&lab) - before, 2);
        }
        rounds += 1;
        assert!(rounds < 20, "the last table is not asked");
    }
    assert_eq!(lab.aws.jobs()[0].table, table(bad));
}

/// A 402 is the account's slot whatever the body says, and so is that exception whatever the status is.
#[tokio::test(start_paused = true)]
async fn an_account_whose_slot_is_taken_is_asked_for_one_table_only() {
    let quota = r#"{"__type":"ServiceQuotaExceededException","message":"one at a time"}"#;
    for (status, body) in [(402, "{}"), (400, quota)] {
        let mut lab = Lab::new(Slot::Unlimited).await;
        let taken = Fault::Status(status, body.to_owned());
        lab.aws
            .fail_always(Operation::PopulateIdMappingTable, taken);
        let outcomes = lab.outcomes(&request_for_all(&[T1, T2, T3])).await;
        assert_eq!(outcomes, ["WAITING SlotBusy"; 3]);
        assert_eq!(calls(&lab), 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_still_fails_after_max_wait_goes_to_the_dead_letter_queue() {
    for operation in [Operation::GetItem, Operation::PutEvents] {
        for waits in [true, false] {
            let mut lab = busy(Slot::Conflict).await;
            if waits {
                lab.outcomes(&request_for(T1)).await;
            } else {
                // As somebody sent it, and so without the moment since when it waits.
                lab.aws.send("waiting", &request_for(T1).to_string());
                lab.aws.end_job(Status::Succeeded);
            }
            let refused = Fault::Refuse(Exception::access_denied());
            lab.aws.fail_always(operation, refused);
            // What cannot be told is told later, as long as SQS keeps it.
            let hours = if operation == Operation::GetItem {
                72
            } else {
                13 * 24
            };
            lab.pass(Duration::from_secs(hours * 60 * 60 - 60));
            assert!(lab.poll(0).await);
            assert_eq!(lab.aws.messages("waiting").len(), 1, "{operation:?}");
            lab.pass(VISIBILITY);
            assert!(lab.poll(0).await);
            assert!(lab.aws.messages("waiting").is_empty(), "{operation:?}");
            let dead = &lab.aws.messages("dead")[0];
            let error_type = dead.attributes["errorType"]["StringValue"].as_str();
            let expected = if operation == Operation::PutEvents && !waits {
                "NotAnnounced"
            } else {
                "WaitedTooLong"
            };
            assert_eq!(error_type, Some(expected));
            // Moved back when that works again, it is done.
            lab.aws.repair(operation);
            lab.aws.end_job(Status::Succeeded);
            lab.aws.move_messages("dead", "waiting");
            assert!(lab.poll(0).await);
            assert_eq!(lab.announced().last().unwrap(), "STARTED", "{operation:?}");
            assert!(lab.aws.messages("waiting").is_empty());
            assert_eq!(lab.aws.jobs().len(), 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_told_when_it_can_be() {
    let mut lab = busy(Slot::Conflict).await;
    lab.outcomes(&request_for(T1)).await;
    lab.pass(Duration::from_secs(73 * 60 * 60));
    lab.aws.fail_next(
        Operation::PutEvents,
        Fault::Refuse(Exception::access_denied()),
    );
    assert!(lab.poll(0).await);
    assert_eq!(lab.aws.messages("waiting").len(), 1);
    lab.pass(VISIBILITY);
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced().last().unwrap(), "REJECTED WaitedTooLong");
    assert_eq!(lab.aws.messages("dead").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_stays_one_wherever_it_is_put() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.aws.fail_always(
        Operation::GetItem,
        Fault::Refuse(Exception::access_denied()),
    );
    let mut dry = request_for(T1);
    dry["dryRun"] = json!(true);
    lab.aws.send("waiting", &dry.to_string());
    for days in [4, 14] {
        lab.set_now(BEGIN + time::Duration::days(days));
        assert!(lab.poll(0).await);
    }
    assert_eq!(lab.announced(), [""; 0]);
    assert_eq!(bodies(&lab, "dead")[0]["request"]["dryRun"], true);
    lab.aws.repair(Operation::GetItem);
    lab.aws.move_messages("dead", "waiting");
    assert!(lab.poll(0).await);
    assert!(lab.aws.messages("waiting").is_empty() && lab.aws.jobs().is_empty());
}

#[tokio::test(start_paused = true)]
async fn however_many_are_left_and_however_little_time_each_is_put_in_line() {
    let mut lab = Lab::new(Slot::Unlimited).await;
    lab.timeout = Duration::from_secs(10);
    let tables: Vec<String> = (0..100).map(table).collect();
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    for operation in [Operation::SendMessage, Operation::PutEvents] {
        lab.aws
            .fail_always(operation, Fault::Slow(Duration::from_millis(20)));
    }
    let outcomes = lab.outcomes(&request_for_all(&tables)).await;
    let waits = outcomes
        .iter()
        .filter(|outcome| *outcome == "WAITING OutOfTime");
    assert_eq!(waits.count(), lab.aws.messages("waiting").len());
    assert_eq!(
        lab.aws.messages("waiting").len() + lab.aws.jobs().len(),
        100
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_put_in_line_after_a_failure_is_announced_when_it_has_to_wait() {
    let mut lab = busy(Slot::QuotaExceeded).await;
    let mut both = request_for_all(&[T1, T2]);
    both["requestId"] = json!("both");
    lab.aws.send("waiting", &both.to_string());
    // The ledger fails for the second table, after the first one and those that wait were read.
    for _ in 0..2 {
        lab.aws
            .fail_next(Operation::GetItem, Fault::Slow(Duration::ZERO));
    }
    lab.aws.fail_next(
        Operation::GetItem,
        Fault::Refuse(Exception::access_denied()),
    );
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced(), ["STARTED", "WAITING SlotBusy"]);
    assert_eq!(bodies(&lab, "waiting")[1]["waitingSince"], Value::Null);
    lab.pass(VISIBILITY);
    while lab.poll(0).await {}
    assert_eq!(lab.announced()[2..], ["WAITING SlotBusy"]);
    assert_eq!(lab.aws.messages("waiting").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn of_a_message_whose_other_targets_wait_nothing_is_put_in_line_twice() {
    let aws = FakeAws::in_process();
    let mut lab = Lab::with(aws, Slot::Conflict, &[("DEAD_LETTER_QUEUE_URL", "")]).await;
    lab.outcomes(&request_for(&table(99))).await;
    let mut both = request_for_all(&[T1, T2]);
    both["requestId"] = json!("both");
    lab.aws.send("waiting", &both.to_string());
    for _ in 0..4 {
        lab.aws.repair(Operation::PopulateIdMappingTable);
        lab.aws.fail_next(
            Operation::PopulateIdMappingTable,
            Fault::Refuse(Exception::not_found()),
        );
        lab.poll(0).await;
        lab.pass(VISIBILITY);
    }
    // Each stands in line once, and is told to wait once at most.
    assert_eq!(lab.aws.messages("waiting").len(), 2);
    let mut told: Vec<String> = lab
        .details()
        .iter()
        .filter(|detail| detail["outcome"] == "WAITING")
        .map(|detail| detail["eventId"].to_string())
        .collect();
    let all = told.len();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), all);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_failed_and_cannot_be_queued_beside_the_others_keeps_its_message() {
    let aws = FakeAws::in_process();
    let mut lab = Lab::with(aws, Slot::Conflict, &[("DEAD_LETTER_QUEUE_URL", "")]).await;
    lab.outcomes(&request_for(&table(99))).await;
    let mut both = request_for_all(&[T1, T2]);
    both["requestId"] = json!("both");
    lab.aws.send("waiting", &both.to_string());
    lab.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::not_found()),
    );
    for fault in [
        Fault::Slow(Duration::ZERO),
        Fault::Refuse(Exception::access_denied()),
    ] {
        lab.aws.fail_next(Operation::SendMessage, fault);
    }
    assert!(lab.poll(0).await);
    let bodies = bodies(&lab, "waiting");
    assert!(bodies.contains(&both), "{bodies:?}");
    assert_eq!(bodies.len(), 2, "the other target waits in one of its own");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_began_in_the_future_ends_too() {
    let mut lab = busy(Slot::Conflict).await;
    let message = json!({
        "version": 1, "request": request_for(T1), "trigger": null, "watch": null,
        "waitingSince": "2036-12-31T23:59:59Z",
    });
    lab.aws.send("waiting", &message.to_string());
    lab.pass(Duration::from_secs(73 * 60 * 60));
    assert!(lab.poll(0).await);
    assert_eq!(lab.announced().last().unwrap(), "REJECTED WaitedTooLong");
}

#[tokio::test(start_paused = true)]
async fn a_name_with_characters_that_sqs_refuses_waits_as_it_is() {
    let mut lab = busy(Slot::Conflict).await;
    let name = "a\u{ffff}\u{fffe}\u{0}\u{1}\u{7f}é\u{10ffff}";
    let mut request = request_for(T1);
    request["requestId"] = json!(name);
    assert_eq!(lab.outcomes(&request).await, ["WAITING SlotBusy"]);
    assert_eq!(bodies(&lab, "waiting")[0]["request"]["requestId"], name);
    // In the dead-letter queue's attributes too.
    lab.pass(Duration::from_secs(73 * 60 * 60));
    assert!(lab.poll(0).await);
    assert_eq!(bodies(&lab, "dead")[0]["request"]["requestId"], name);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_tables_are_never_cut_off_by_the_time_out() {
    let tables: Vec<String> = (0..100).map(table).collect();
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    for slow in [0, 100, 900, 4_000] {
        let mut lab = Lab::new(Slot::Unlimited).await;
        lab.timeout = Duration::from_secs(20);
        let pause = Fault::Slow(Duration::from_millis(slow));
        lab.aws
            .fail_always(Operation::PopulateIdMappingTable, pause);
        for operation in [
            Operation::SendMessage,
            Operation::PutEvents,
            Operation::GetItem,
            Operation::PutItem,
        ] {
            lab.aws
                .fail_always(operation, Fault::Slow(Duration::from_millis(10)));
        }
        // A response: the process did not end at the time-out.
        let outcomes = lab.outcomes(&request_for_all(&tables)).await;
        assert_eq!(outcomes.len(), 100);
        let started = outcomes
            .iter()
            .filter(|outcome| *outcome == "STARTED")
            .count();
        assert_eq!(started, lab.aws.jobs().len());
        assert_eq!(
            lab.aws.messages("waiting").len(),
            100 - started,
            "{slow} ms"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_of_the_largest_size_goes_to_the_dead_letter_queue() {
    // Beside the largest body there is room for the error's type, and a part of its message.
    for (spare, attributes) in [
        (0, &[][..]),
        (40, &["errorType"]),
        (100, &["errorMessage", "errorType"]),
        (5_000, &["errorMessage", "errorType"]),
    ] {
        let mut lab = Lab::new(Slot::Conflict).await;
        let envelope = json!({ "membershipId": "" }).to_string().len();
        let text = "x".repeat(1_048_576 - envelope - spare);
        let body = json!({ "membershipId": text }).to_string();
        lab.aws.send("waiting", &body);
        assert!(lab.poll(0).await);
        assert!(lab.aws.messages("waiting").is_empty());
        let dead = lab.aws.messages("dead").remove(0);
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
    let mut lab = Lab::new(Slot::Conflict).await;
    let body = json!({ "membershipId": "x".repeat(100_000) }).to_string();
    lab.aws.fail_next(
        Operation::SendMessage,
        Fault::Refuse(Exception::validation("")),
    );
    lab.aws.send("waiting", &body);
    assert!(lab.poll(0).await);
    assert_eq!(lab.aws.messages("dead")[0].attributes, Value::Null);
    assert!(lab.aws.messages("waiting").is_empty());
}

/// Only a large message may be too large for its attributes, so only that is sent once more without them.
#[tokio::test(start_paused = true)]
async fn a_message_of_up_to_64_kib_that_the_dead_letter_queue_refuses_is_sent_once() {
    for (size, sent) in [(2_000, 1), (65_536, 1), (65_537, 2)] {
        let mut lab = Lab::new(Slot::Conflict).await;
        let empty = json!({ "membershipId": "" }).to_string().len();
        let body = json!({ "membershipId": "x".repeat(size - empty) }).to_string();
        lab.aws.send("waiting", &body);
        let refused = Fault::Refuse(Exception::access_denied());
        lab.aws.fail_always(Operation::SendMessage, refused);
        assert!(lab.poll(0).await);
        assert_eq!(
            lab.aws.calls_of(Operation::SendMessage).len(),
            sent,
            "{size}"
        );
        assert_eq!(lab.aws.messages("waiting").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_errors_text_goes_to_the_dead_letter_queue_without_what_sqs_refuses() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.aws.send("waiting", &request_for(T1).to_string());
    let refused = Fault::Status(404, "one\u{1}two\u{fffe}three\u{ffff}four".to_owned());
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, refused);
    assert!(lab.poll(0).await);
    let dead = lab.aws.messages("dead").remove(0);
    let said = dead.attributes["errorMessage"]["StringValue"].as_str();
    assert!(said.unwrap().contains("one two three four"), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn messages_of_many_targets_for_which_there_is_no_time_stay_and_do_not_multiply() {
    many_targets(10, 3, 40).await;
}

#[tokio::test(start_paused = true)]
async fn messages_of_many_targets_become_one_of_each_target_where_there_is_time() {
    let lab = many_targets(120, 10, 65).await;
    assert_eq!(lab.aws.messages("waiting").len(), 1_000);
}

/// So many messages of a hundred targets each wait for six rounds, with this time-out and this pace (ms) of
/// messages and events.
async fn many_targets(timeout: u64, messages: usize, pace: u64) -> Lab {
    let mut lab = busy(Slot::QuotaExceeded).await;
    lab.timeout = Duration::from_secs(timeout);
    for number in 0..messages {
        let tables: Vec<String> = (0..100)
            .map(|table| format!("bbbbbbbb-{table:04}-4000-8000-{number:012}"))
            .collect();
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        let mut request = request_for_all(&tables);
        request["requestId"] = json!(format!("message-{number}"));
        lab.aws.send("waiting", &request.to_string());
    }
    lab.aws.fail_by(move |_, operation| {
        Some(Fault::Slow(Duration::from_millis(match operation {
            Operation::SendMessage | Operation::PutEvents => pace,
            _ => 15,
        })))
    });
    for _ in 0..6 {
        lab.pass(VISIBILITY);
        while lab.poll(0).await {}
        let count = lab.aws.messages("waiting").len();
        assert!(count <= 100 * messages, "{count}");
        lab.aws.state().calls.clear();
    }
    lab
}

/// Sends a message for this many tables of their own.
fn send_for_many(lab: &Lab, count: usize) {
    let tables: Vec<String> = (0..count)
        .map(|number| format!("cccccccc-{number:04}-4000-8000-000000000001"))
        .collect();
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    lab.aws
        .send("waiting", &request_for_all(&tables).to_string());
}

fn call_takes(lab: &Lab, milliseconds: u64) {
    let slow = Fault::Slow(Duration::from_millis(milliseconds));
    lab.aws.fail_always(Operation::PopulateIdMappingTable, slow);
}

/// What is kept to queue the targets of a message is a third of the time at most, and less with each that is
/// done.
#[tokio::test(start_paused = true)]
async fn a_message_of_many_targets_starts_jobs_in_the_time_that_is_not_kept() {
    for (targets, milliseconds, jobs) in [(20, 300, 20), (100, 1_000, 5)] {
        let mut lab = Lab::new(Slot::Unlimited).await;
        lab.timeout = Duration::from_secs(9);
        send_for_many(&lab, targets);
        call_takes(&lab, milliseconds);
        assert!(lab.poll(0).await);
        assert_eq!(lab.aws.jobs().len(), jobs, "{targets}");
    }
}

/// Messages that wait already stay without further ado: no time is kept for them, and what they take is not
/// taken from the time of those that have to be queued.
#[tokio::test(start_paused = true)]
async fn those_that_wait_already_leave_the_others_the_time_to_be_queued() {
    let mut lab = busy(Slot::QuotaExceeded).await;
    for number in 0..9 {
        lab.outcomes(&request_for(&table(number))).await;
    }
    lab.pass(VISIBILITY);
    send_for_many(&lab, 60);
    lab.aws.set_slot(Slot::Unlimited);
    lab.timeout = Duration::from_secs(30);
    // Nine seconds are kept for sixty targets, and two must be left for a call: there is time for eight.
    call_takes(&lab, 2_450);
    let before = calls(&lab);
    assert!(lab.poll(0).await);
    assert_eq!(calls(&lab) - before, 8);
    assert_eq!(lab.aws.messages("waiting").len(), 1 + 60);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_stays_for_want_of_time_leaves_after_max_wait() {
    let mut lab = busy(Slot::QuotaExceeded).await;
    lab.timeout = Duration::from_secs(5);
    let tables: Vec<String> = (0..100).map(table).collect();
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    lab.aws
        .send("waiting", &request_for_all(&tables).to_string());
    lab.pass(VISIBILITY);
    assert!(lab.poll(0).await);
    assert_eq!(lab.aws.messages("waiting").len(), 1);
    lab.pass(Duration::from_secs(72 * 60 * 60));
    assert!(lab.poll(0).await);
    assert!(lab.aws.messages("waiting").is_empty());
    assert_eq!(lab.aws.messages("dead").len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_throttles_is_left_alone_by_the_rest_of_an_invocation() {
    let mut lab = Lab::new(Slot::Unlimited).await;
    lab.aws.fail_always(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::throttling()),
    );
    let tables: Vec<String> = (0..100).map(table).collect();
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    let outcomes = lab.outcomes(&request_for_all(&tables)).await;
    assert_eq!(outcomes, ["WAITING ServiceUnavailable"; 100]);
    // Two requests, with three tries each.
    assert_eq!(calls(&lab), 6);

    // One that works in between begins the count anew.
    let mut lab = Lab::new(Slot::Unlimited).await;
    lab.aws.fail_by({
        let count = std::sync::atomic::AtomicUsize::new(0);
        move |_, operation| {
            let call = operation == Operation::PopulateIdMappingTable;
            let number = || count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let delayed = Exception::validation("IAM_SYNCHRONIZATION_DELAY");
            (call && number() % 2 == 0).then_some(Fault::Refuse(delayed))
        }
    });
    let outcomes = lab.outcomes(&request_for_all(&tables[..6])).await;
    let started = outcomes.iter().filter(|outcome| *outcome == "STARTED");
    assert_eq!(started.count(), 3, "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_moved_back_and_rejected_again_is_another_rejection() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.outcomes(&request_for(T3)).await;
    lab.outcomes(&request_for(T1)).await;
    for _ in 0..2 {
        lab.pass(Duration::from_secs(73 * 60 * 60));
        lab.poll(0).await;
        lab.aws.move_messages("dead", "waiting");
        lab.poll(0).await;
    }
    let names: Vec<Value> = lab
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
    let mut lab = Lab::new(Slot::Unlimited).await;
    lab.pause_for_long_between_tries().await;
    lab.aws.fail_always(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::throttling()),
    );
    assert_eq!(
        lab.outcomes(&request_for(T1)).await,
        ["WAITING ServiceUnavailable"]
    );
    assert_eq!(calls(&lab), 1);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_request_is_not_started_in_the_same_invocation() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.outcomes(&request_for(T3)).await;
    lab.deliver(0, &event("rejected", T2, &lab)).await;
    lab.pass(Duration::from_secs(5));
    lab.deliver(0, &event("other", T1, &lab)).await;
    lab.aws.end_job(Status::Succeeded);
    // It is refused while the other table's job is taken.
    lab.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::conflict()),
    );
    assert!(lab.poll(0).await);
    assert_eq!(jobs_of(&lab, T1), 1);
    lab.pass(Duration::from_secs(60));
    lab.deliver(0, &event("next", T1, &lab)).await;
    lab.aws.end_job(Status::Succeeded);
    lab.aws.set_table(T1, refusing());
    lab.pass(VISIBILITY);
    lab.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::access_denied()),
    );
    assert!(lab.poll(0).await);
    assert_eq!(lab.aws.messages("dead").len(), 1);
    let announced = lab.announced();
    assert_eq!(jobs_of(&lab, T2), 0, "{announced:?}");
}

#[tokio::test(start_paused = true)]
async fn one_request_that_was_delivered_twice_is_rejected_under_one_event_id() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.outcomes(&request_for(T3)).await;
    let news = event("a", T1, &lab);
    lab.deliver(0, &news).await;
    lab.pass(Duration::from_secs(5));
    lab.deliver(0, &news).await;
    lab.pass(Duration::from_secs(73 * 60 * 60));
    assert!(lab.poll(0).await);
    let ids = event_ids(&lab, "REJECTED", T1);
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_request_beside_one_that_waits_is_rejected_under_one_event_id() {
    for dead_letter_queue in [true, false] {
        let unset: &[(&str, &str)] = &[("DEAD_LETTER_QUEUE_URL", "")];
        let variables = if dead_letter_queue { &[] } else { unset };
        let mut lab = Lab::with(FakeAws::in_process(), Slot::QuotaExceeded, variables).await;
        lab.outcomes(&request_for(T3)).await;
        let targets: Vec<Value> = [T1, T2].iter().map(|table| request_for(table)).collect();
        let body = json!({ "targets": targets, "requestId": "both" });
        lab.aws.send("waiting", &body.to_string());
        lab.pass(Duration::from_secs(1));
        let refused = Fault::Refuse(Exception::access_denied());
        lab.aws
            .fail_next(Operation::PopulateIdMappingTable, refused.clone());
        if dead_letter_queue {
            // The first message that is sent is the dead letter.
            lab.aws.fail_next(
                Operation::SendMessage,
                Fault::Refuse(Exception::access_denied()),
            );
        }
        assert!(lab.poll(0).await);
        lab.aws
            .fail_always(Operation::PopulateIdMappingTable, refused);
        for _ in 0..3 {
            lab.pass(VISIBILITY);
            while lab.poll(0).await {}
        }
        let ids = event_ids(&lab, "REJECTED", T1);
        assert_eq!(ids.len(), 1, "{dead_letter_queue} {ids:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_not_multiplied_in_the_queue() {
    let mut lab = Lab::new(Slot::QuotaExceeded).await;
    lab.outcomes(&request_for(T3)).await;
    lab.timeout = Duration::from_secs(16);
    for operation in [Operation::SendMessage, Operation::PutEvents] {
        let slow = Fault::Slow(Duration::from_millis(90));
        lab.aws.fail_always(operation, slow);
    }
    let table = |number: usize| format!("bbbbbbbb-{number:04}-4000-8000-000000000001");
    let targets: Vec<Value> = (0..100).map(|number| request_for(&table(number))).collect();
    let body = json!({ "targets": targets, "requestId": "all" });
    lab.aws.send("waiting", &body.to_string());
    for _ in 0..5 {
        while lab.poll(0).await {}
        lab.pass(VISIBILITY);
    }
    let count = lab.aws.messages("waiting").len();
    assert!(count <= 101, "{count} messages for 100 requests");
}
