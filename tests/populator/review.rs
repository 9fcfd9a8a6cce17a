//! Review: demonstrations of suspected faults. A test that fails shows the fault.

use std::time::Duration;

use fake_aws::{Exception, FakeAws, Fault, Operation, Slot, Status, Table};
use serde_json::{Value, json};

use crate::lab::{BEGIN, Lab, VISIBILITY};
use crate::promises::News;
use crate::world::{T1, T2, T3, request_for, request_for_all};

fn calls(lab: &Lab) -> usize {
    lab.aws.calls_of(Operation::PopulateIdMappingTable).len()
}

fn jobs_of(lab: &Lab, table: &str, job_type: &str) -> usize {
    let jobs = lab.aws.jobs();
    jobs.iter()
        .filter(|job| job.table == table && job.job_type.as_deref() == Some(job_type))
        .count()
}

/// R1: a deletion request waits, newer news of its table keep coming while jobs run.
#[tokio::test(start_paused = true)]
async fn r1_an_old_deletion_and_another_table_get_the_slot_though_newer_news_keep_coming() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.outcomes(&request_for(T3)).await;
    let delete = News::with_wish(
        "delete",
        T1,
        "DELETE_ONLY",
        BEGIN - time::Duration::seconds(9),
    );
    lab.deliver(0, &delete.event).await;
    let other = News::new("other", T2, BEGIN - time::Duration::seconds(5));
    lab.deliver(0, &other.event).await;
    for hour in 0..80 {
        lab.pass(Duration::from_secs(10));
        let news = News::new(&format!("news-{hour}"), T1, lab.now());
        lab.pass(Duration::from_secs(2));
        lab.deliver(0, &news.event).await;
        lab.pass(Duration::from_secs(60 * 60));
        lab.aws.end_job(Status::Succeeded);
        while lab.poll(0).await {}
    }
    println!(
        "after 80 hours: INCREMENTAL of T1 {}, DELETE_ONLY of T1 {}, INCREMENTAL of T2 {}; rejected {:?}",
        jobs_of(&lab, T1, "INCREMENTAL"),
        jobs_of(&lab, T1, "DELETE_ONLY"),
        jobs_of(&lab, T2, "INCREMENTAL"),
        lab.details()
            .iter()
            .filter(|detail| detail["outcome"] == "REJECTED")
            .map(|detail| format!("{} {}", detail["requestId"], detail["error"]["type"]))
            .collect::<Vec<_>>()
    );
    assert!(jobs_of(&lab, T1, "DELETE_ONLY") > 0 && jobs_of(&lab, T2, "INCREMENTAL") > 0);
}

/// R2: a quiet table beside a chatty one, whose events are tried at once.
#[tokio::test(start_paused = true)]
async fn r2_a_quiet_table_gets_the_slot_beside_a_chatty_one() {
    let number = |name: &str, default: i64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let (seeds, every, hours) = (number("SEEDS", 3), number("EVERY", 60), number("HOURS", 24));
    let mut served = Vec::new();
    for seed in 0..seeds {
        let max_wait = format!("{hours}h");
        let mut lab = Lab::with(
            FakeAws::in_process(),
            Slot::Conflict,
            &[("MAX_WAIT", &max_wait)],
        )
        .await;
        let first = News::new("first", T1, BEGIN - time::Duration::seconds(5));
        lab.deliver(0, &first.event).await;
        lab.pass(Duration::from_secs(30 + 131 * seed as u64));
        let quiet = News::new("quiet", T2, lab.now() - time::Duration::seconds(2));
        lab.deliver(0, &quiet.event).await;
        let begin = lab.now();
        let second = time::Duration::seconds(1);
        let mut next_news = begin + second * 7;
        let mut next_end = Some(begin + second * 3_600);
        let (mut after, mut count) = (None, 0);
        while lab.now() < begin + time::Duration::hours(hours + 1) {
            let visible = lab.aws.state().queues["waiting"]
                .messages
                .iter()
                .map(|m| m.visible_at)
                .min();
            // The batching window of 10 seconds.
            let poll_at = visible.map(|at| at.max(begin) + second * 10);
            let at = [Some(next_news), next_end, poll_at]
                .into_iter()
                .flatten()
                .min()
                .unwrap();
            if at > lab.now() {
                lab.set_now(at);
            }
            if at == next_news {
                count += 1;
                let news = News::new(&format!("news-{count}"), T1, lab.now() - second * 2);
                lab.deliver(0, &news.event).await;
                next_news += second * every as i32;
            } else if Some(at) == next_end {
                lab.aws.end_job(Status::Succeeded);
                next_end = None;
            } else {
                lab.poll(0).await;
            }
            let running = lab
                .aws
                .state()
                .jobs
                .iter()
                .any(|job| job.status == Status::Running);
            if running && next_end.is_none() {
                // Jobs take about an hour.
                next_end = Some(lab.now() + second * (3_600 + (count * 7_919 % 600)));
            }
            if lab.aws.state().jobs.iter().any(|job| job.table == T2) {
                after = Some((lab.now() - begin).whole_minutes());
                break;
            }
            lab.aws.state().calls.clear();
            lab.aws
                .state()
                .events
                .retain(|event| event["detail"]["requestId"] == "quiet");
        }
        let rejected = lab
            .details()
            .iter()
            .any(|d| d["requestId"] == "quiet" && d["outcome"] == "REJECTED");
        println!(
            "seed {seed}: T1 has news every {every} s; T2 served after {after:?} minutes, rejected after {hours} h {rejected}, jobs of T1 {}",
            jobs_of(&lab, T1, "INCREMENTAL")
        );
        served.push(after);
    }
    assert!(
        served
            .iter()
            .all(|after| after.is_some_and(|minutes| minutes < 4 * 60)),
        "{served:?}"
    );
}

/// R3: a call is lost, its job shows late; the next call is lost too.
#[tokio::test(start_paused = true)]
async fn r3_a_job_that_shows_late_is_found_though_the_next_calls_answer_was_lost_too() {
    for second in [
        Fault::Refuse(Exception::internal_server()),
        Fault::Crash,
        Fault::Drop,
    ] {
        let mut lab = Lab::new(Slot::Conflict).await;
        lab.aws
            .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
        lab.aws.hide_jobs(1_000);
        let a = News::new("a", T1, BEGIN - time::Duration::seconds(10));
        assert_eq!(lab.outcomes(&a.event).await, ["WAITING OutcomeUnknown"]);
        lab.pass(VISIBILITY);
        // It is given up; the slot is busy with its job, and this answer is lost too.
        lab.aws
            .fail_next(Operation::PopulateIdMappingTable, second.clone());
        lab.poll(0).await;
        lab.aws.hide_jobs(0);
        for _ in 0..3 {
            lab.pass(VISIBILITY);
            lab.poll(0).await;
        }
        let before = lab.announced();
        lab.aws.end_job(Status::Succeeded);
        for _ in 0..3 {
            lab.pass(VISIBILITY);
            lab.poll(0).await;
        }
        println!(
            "{second:?}: while it runs {before:?}, at last {:?}, {} jobs",
            lab.announced(),
            lab.aws.jobs().len()
        );
        assert_eq!(lab.aws.jobs().len(), 1, "{second:?}");
    }
}

/// R4: tables that share a workflow, in one payload: the second call is lost and started nothing.
#[tokio::test(start_paused = true)]
async fn r4_a_job_that_this_very_invocation_started_for_another_table_is_not_taken() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.aws.state().shared_workflow = true;
    lab.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Slow(Duration::ZERO),
    );
    lab.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::internal_server()),
    );
    let mut both = request_for_all(&[T1, T2]);
    both["jobType"] = json!("INCREMENTAL");
    let outcomes = lab.outcomes(&both).await;
    println!(
        "{outcomes:?}, jobs {:?}",
        lab.aws
            .jobs()
            .iter()
            .map(|job| &job.table)
            .collect::<Vec<_>>()
    );
    println!("{:#?}", lab.details()[1]);
    assert_eq!(outcomes, ["STARTED", "WAITING OutcomeUnknown"]);
}

/// R5: a message near SQS's limit that is refused.
#[tokio::test(start_paused = true)]
async fn r5_a_refused_message_of_the_largest_size_is_put_aside() {
    let mut lab = Lab::new(Slot::Conflict).await;
    let body = json!({ "membershipId": "x".repeat(1_048_576 - 100) }).to_string();
    assert!(body.len() <= 1_048_576);
    lab.aws.send("waiting", &body);
    for _ in 0..5 {
        lab.pass(VISIBILITY);
        lab.poll(0).await;
    }
    println!(
        "waiting {}, dead {}",
        lab.aws.messages("waiting").len(),
        lab.aws.messages("dead").len()
    );
    assert_eq!(lab.aws.messages("dead").len(), 1);
}

/// R6: messages of many targets while the time is short: the line must not grow for ever.
#[tokio::test(start_paused = true)]
async fn r6_messages_of_many_targets_do_not_fill_the_line_again_and_again() {
    for (timeout, messages, pace) in [(10, 3, 40), (120, 10, 65)] {
        let mut lab = Lab::new(Slot::QuotaExceeded).await;
        lab.outcomes(&request_for(T3)).await;
        lab.timeout = Duration::from_secs(timeout);
        for number in 0..messages {
            let tables: Vec<String> = (0..100)
                .map(|table| format!("bbbbbbbb-{:04}-4000-8000-{number:012}", table))
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
        let mut sizes = Vec::new();
        for _ in 0..6 {
            lab.pass(VISIBILITY);
            while lab.poll(0).await {}
            sizes.push(lab.aws.messages("waiting").len());
            lab.aws.state().calls.clear();
        }
        println!("time-out {timeout} s, {messages} messages of 100 targets, {pace} ms: {sizes:?}");
        assert!(
            *sizes.last().unwrap() <= 100 * messages as usize,
            "{sizes:?}"
        );
    }
}

/// R7: the default changes between two deliveries of the same event.
#[tokio::test(start_paused = true)]
async fn r7_a_duplicate_after_the_default_changed_starts_nothing() {
    let aws = FakeAws::in_process();
    let mut lab = Lab::with(
        aws.clone(),
        Slot::Unlimited,
        &[("DEFAULT_JOB_TYPE", "INCREMENTAL")],
    )
    .await;
    let mut news = News::new("a", T1, BEGIN - time::Duration::seconds(10)).event;
    news["detail"].as_object_mut().unwrap().remove("jobType");
    assert_eq!(lab.outcomes(&news).await, ["STARTED"]);
    let queues = aws.state().queues.clone();
    let now = lab.now();
    let mut lab = Lab::with(
        aws.clone(),
        Slot::Unlimited,
        &[("DEFAULT_JOB_TYPE", "BATCH")],
    )
    .await;
    aws.state().queues = queues;
    lab.set_now(now + time::Duration::minutes(1));
    println!("{:?}", lab.outcomes(&news).await);
    assert_eq!(lab.aws.jobs().len(), 1);
}

/// R7b: the same with a job that is followed: its start and end have the names that they had.
#[tokio::test(start_paused = true)]
async fn r7b_the_names_of_a_followed_jobs_events_do_not_depend_on_the_default() {
    let aws = FakeAws::in_process();
    let settings = |default| [("DEFAULT_JOB_TYPE", default), ("TRACK_COMPLETION", "true")];
    let mut lab = Lab::with(aws.clone(), Slot::Conflict, &settings("INCREMENTAL")).await;
    let mut news = News::new("a", T1, BEGIN - time::Duration::seconds(10)).event;
    news["detail"].as_object_mut().unwrap().remove("jobType");
    // It is published, but its answer is lost.
    lab.aws
        .fail_next(Operation::PutEvents, Fault::AcceptAndHang);
    println!("{:?}", lab.failure(&news).await.0);
    let queues = aws.state().queues.clone();
    let now = lab.now();
    let mut lab = Lab::with(aws.clone(), Slot::Conflict, &settings("BATCH")).await;
    aws.state().queues = queues;
    lab.set_now(now + time::Duration::hours(1));
    lab.aws.end_job(Status::Succeeded);
    lab.poll(0).await;
    let names: Vec<String> = lab
        .details()
        .iter()
        .map(|detail| format!("{} {}", detail["outcome"], detail["eventId"]))
        .collect();
    println!("{names:#?}");
    let started: std::collections::BTreeSet<&String> = names
        .iter()
        .filter(|name| name.contains("STARTED"))
        .collect();
    assert_eq!(started.len(), 1, "{names:#?}");
}

/// R8: what AUTO chose by changed within the quarter of an hour for which it is kept.
#[tokio::test(start_paused = true)]
async fn r8_a_choice_by_kept_facts_that_is_refused_is_made_anew() {
    let aws = FakeAws::in_process();
    let mut lab = Lab::with(aws, Slot::Unlimited, &[("DEFAULT_JOB_TYPE", "AUTO")]).await;
    let event = |id: &str, seconds: i64| {
        News::with_wish(id, T1, "AUTO", BEGIN + time::Duration::seconds(seconds)).event
    };
    assert_eq!(lab.outcomes(&event("a", -10)).await, ["STARTED"]);
    lab.aws.set_table(
        T1,
        Table {
            incremental: false,
            ..Table::default()
        },
    );
    lab.pass(Duration::from_secs(60));
    lab.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::validation("INVALID_CONFIGURATION")),
    );
    lab.deliver(0, &event("b", 30)).await;
    println!(
        "{:?} {:?}",
        lab.announced(),
        lab.details().last().unwrap()["decision"]
    );
    assert_eq!(lab.announced().last().unwrap(), "STARTED");
}

/// R9: the call's own job failed at once, and a person started another one.
#[tokio::test(start_paused = true)]
async fn r9_a_lost_call_whose_job_failed_is_not_taken_for_a_later_one() {
    let mut lab = Lab::new(Slot::Conflict).await;
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash);
    let a = News::new("a", T1, BEGIN - time::Duration::seconds(10));
    lab.deliver(0, &a.event).await;
    lab.pass(Duration::from_secs(30));
    lab.aws.end_job(Status::Failed);
    lab.pass(Duration::from_secs(30));
    lab.aws.start_foreign_job(T1);
    {
        let state = &mut *lab.aws.state();
        state.jobs[1].foreign = false;
        state.jobs[1].job_type = Some("INCREMENTAL".to_owned());
    }
    lab.pass(Duration::from_secs(200));
    lab.repeat(0).await;
    println!("{:?} {:#?}", lab.announced(), lab.details().last());
    assert_ne!(lab.announced().last().unwrap(), "STARTED");
}

/// R11: the service throttles: how many calls does one payload of a hundred tables make?
#[tokio::test(start_paused = true)]
async fn r11_a_service_that_throttles_is_left_alone() {
    let mut lab = Lab::new(Slot::Unlimited).await;
    lab.aws.fail_always(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::throttling()),
    );
    let tables: Vec<String> = (0..100)
        .map(|n| format!("bbbbbbbb-{n:04}-4000-8000-000000000001"))
        .collect();
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    lab.outcomes(&request_for_all(&tables)).await;
    let direct = calls(&lab);
    let writes = lab.aws.calls_of(Operation::PutItem).len();
    lab.aws.state().calls.clear();
    lab.pass(VISIBILITY);
    while lab.poll(0).await {}
    println!(
        "{direct} calls and {writes} writes for one payload; {} calls for each round of the line",
        calls(&lab)
    );
    assert!(direct <= 20, "{direct}");
}

/// R12: an environment's clock is ahead, then right.
#[tokio::test(start_paused = true)]
async fn r12_a_clock_that_was_ahead_covers_no_news() {
    let mut lab = Lab::new(Slot::Unlimited).await;
    lab.set_now(BEGIN + time::Duration::minutes(10));
    let a = News::new("a", T1, BEGIN - time::Duration::seconds(10));
    assert_eq!(lab.outcomes(&a.event).await, ["STARTED"]);
    lab.set_now(BEGIN + time::Duration::minutes(2));
    let b = News::new("b", T1, BEGIN + time::Duration::minutes(1));
    println!("{:?}", lab.outcomes(&b.event).await);
    assert_eq!(lab.announced().last().unwrap(), "STARTED");
}

/// R14: what is moved back and rejected again.
#[tokio::test(start_paused = true)]
async fn r14_a_second_rejection_has_a_name_of_its_own() {
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
    println!("{names:?}");
    assert_eq!(names.len(), 2);
    assert_ne!(names[0], names[1]);
}

/// R15: a request without a name of its own: STARTED again has the same content.
#[tokio::test(start_paused = true)]
async fn r15_the_same_event_id_has_the_same_request_id() {
    let mut lab = Lab::new(Slot::Conflict).await;
    let request = request_for(T1);
    // Published, but the answer is lost; Lambda's repeat meets a ledger that fails and so on.
    lab.aws
        .fail_next(Operation::PutEvents, Fault::AcceptAndHang);
    lab.deliver(0, &request).await;
    // It is moved back from the dead-letter queue, as Lambda's record.
    let delivery = lab.repeats.pop().unwrap();
    let record = json!({
        "version": "1.0", "timestamp": "2026-11-23T02:00:00.000Z",
        "requestContext": { "requestId": delivery.request_id, "condition": "RetriesExhausted" },
        "requestPayload": delivery.payload,
    });
    lab.aws.send("waiting", &record.to_string());
    lab.pass(Duration::from_secs(60));
    lab.poll(0).await;
    for detail in lab.details() {
        println!(
            "{} {} {}",
            detail["outcome"], detail["eventId"], detail["requestId"]
        );
    }
}

/// R10: whoever comes between a start's record and its announcement announces and follows it too.
#[tokio::test(start_paused = true)]
async fn r10_a_burst_announces_and_follows_a_start_a_few_times_at_most() {
    let mut lab = Lab::with(
        FakeAws::in_process(),
        Slot::Conflict,
        &[("TRACK_COMPLETION", "true")],
    )
    .await;
    lab.aws.fail_by(|_, operation| {
        Some(Fault::Slow(Duration::from_millis(match operation {
            Operation::PutEvents | Operation::SendMessage => 80,
            _ => 10,
        })))
    });
    let tasks = tokio::task::LocalSet::new();
    for number in 0..40_u64 {
        let news = News::new(
            &format!("news-{number}"),
            T1,
            BEGIN - time::Duration::seconds(10),
        );
        let lab = lab.clone();
        tasks.spawn_local(async move {
            if number > 0 {
                tokio::time::sleep(Duration::from_millis(60 + number)).await;
            }
            lab.invoke(0, &format!("r{number}"), &news.event).await
        });
    }
    tasks.await;
    let started = lab
        .announced()
        .iter()
        .filter(|outcome| *outcome == "STARTED")
        .count();
    let watches = lab.aws.messages("waiting").len();
    lab.aws.state().calls.clear();
    for _ in 0..3 {
        lab.pass(VISIBILITY);
        while lab.poll(0).await {}
    }
    println!(
        "{} job(s), {started} STARTED events, {watches} watch messages, {} calls in three rounds while it runs",
        lab.aws.jobs().len(),
        lab.aws.call_count()
    );
    assert!(started <= 2 && watches <= 2);
}

/// R16: the list of a workflow's jobs is longer than what is read of it, and begins with the oldest.
#[tokio::test(start_paused = true)]
async fn r16_a_list_that_was_not_read_to_its_end_is_no_proof_that_no_job_runs() {
    let mut lab = Lab::new(Slot::Queue).await;
    lab.aws.state().oldest_first = true;
    for _ in 0..501 {
        lab.aws.start_foreign_job(T1);
        lab.aws.end_job(Status::Succeeded);
    }
    lab.pass(Duration::from_secs(24 * 60 * 60));
    lab.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    let a = News::new("a", T1, lab.now() - time::Duration::seconds(10));
    println!("{:?}", lab.outcomes(&a.event).await);
    println!("{}", lab.details().last().unwrap()["error"]["message"]);
    for _ in 0..2 {
        lab.pass(VISIBILITY);
        lab.poll(0).await;
    }
    let own = lab.aws.jobs().iter().filter(|job| !job.foreign).count();
    println!("{own} jobs of ours");
    assert_eq!(own, 1);
}

/// R18: a job that cannot be put in line is announced again by everybody.
#[tokio::test(start_paused = true)]
async fn r18_a_start_that_was_announced_is_not_announced_again_for_want_of_a_queue() {
    let mut lab = Lab::with(
        FakeAws::in_process(),
        Slot::Conflict,
        &[("TRACK_COMPLETION", "true")],
    )
    .await;
    lab.aws.fail_always(
        Operation::SendMessage,
        Fault::Refuse(Exception::access_denied()),
    );
    let a = News::new("a", T1, BEGIN - time::Duration::seconds(10));
    println!("{:?}", lab.failure(&a.event).await.0);
    for number in 0..20 {
        let news = News::new(
            &format!("n{number}"),
            T1,
            BEGIN - time::Duration::seconds(10),
        );
        lab.outcomes(&news.event).await;
    }
    let started = lab
        .announced()
        .iter()
        .filter(|outcome| *outcome == "STARTED")
        .count();
    println!("{started} STARTED events of one job");
    assert!(started <= 2);
}
