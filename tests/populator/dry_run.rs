//! A dry run says what would happen, whatever the job type, and only reads.

use std::time::Duration;

use fake_aws::{Exception, FakeAws, Fault, Operation, Slot, Status, Table};
use serde_json::{Value, json};

use crate::harness::{T1, T2, request_for};
use crate::simulator::Simulator;

async fn simulator(settings: &[(&str, &str)]) -> Simulator {
    Simulator::with(FakeAws::in_process(), Slot::Conflict, settings).await
}

/// The answer of a dry run for the first table.
async fn plan(sim: &mut Simulator, job_type: &str) -> Value {
    let mut dry = request_for(T1);
    dry["jobType"] = json!(job_type);
    dry["dryRun"] = json!(true);
    let before = sim.aws.calls().len();
    let answer = sim.response(&dry).await["outcomes"][0].clone();
    let changes = [
        Operation::PopulateIdMappingTable,
        Operation::PutItem,
        Operation::PutEvents,
        Operation::SendMessage,
    ];
    for call in &sim.aws.calls()[before..] {
        assert!(!changes.contains(&call.operation.unwrap()), "{call:?}");
    }
    assert_eq!(answer["outcome"], "PLANNED");
    answer
}

/// The plan, with the type of its error.
fn in_words(answer: &Value) -> String {
    let plan = answer["plan"].as_str().unwrap();
    match answer["error"]["type"].as_str() {
        Some(error_type) => format!("{plan} {error_type}"),
        None => plan.to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_workflow_does_not_take_would_be_rejected() {
    let provider = Table {
        provider: true,
        ..Table::default()
    };
    let whole_only = Table {
        incremental: false,
        ..Table::default()
    };
    let refused = "REJECT RequestRefused";
    for (table, job_type, expected) in [
        (Table::default(), "INCREMENTAL", "START"),
        (Table::default(), "DELETE_ONLY", "START"),
        (provider, "BATCH", refused),
        (provider, "INCREMENTAL", refused),
        (provider, "SERVICE_DEFAULT", "START"),
        (provider, "AUTO", "START"),
        (whole_only, "INCREMENTAL", refused),
        (whole_only, "BATCH", "START"),
        (whole_only, "AUTO", "START"),
    ] {
        let mut sim = simulator(&[]).await;
        sim.aws.set_table(T1, table);
        let answer = plan(&mut sim, job_type).await;
        assert_eq!(in_words(&answer), expected, "{job_type} for {table:?}");
        if expected == refused {
            let said = answer["error"]["message"].as_str().unwrap();
            assert!(said.contains(&format!("workflow-{T1}")), "{said}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_would_be_rejected() {
    for (operation, expected) in [
        (Operation::GetIdMappingTable, "REJECT TableNotFound"),
        (Operation::GetIdMappingWorkflow, "REJECT RequestRefused"),
    ] {
        for job_type in ["BATCH", "SERVICE_DEFAULT", "AUTO"] {
            let mut sim = simulator(&[]).await;
            sim.aws
                .fail_always(operation, Fault::Refuse(Exception::not_found()));
            let answer = plan(&mut sim, job_type).await;
            assert_eq!(in_words(&answer), expected, "{job_type}");
            let said = answer["error"]["message"].as_str().unwrap();
            assert!(said.contains(&format!("{operation:?} failed")), "{said}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_read_is_said_and_rejects_nothing() {
    for operation in [
        Operation::GetIdMappingTable,
        Operation::GetIdMappingWorkflow,
        Operation::ListIdMappingJobs,
    ] {
        let mut sim = simulator(&[]).await;
        sim.aws
            .fail_always(operation, Fault::Refuse(Exception::access_denied()));
        let answer = plan(&mut sim, "INCREMENTAL").await;
        assert_eq!(in_words(&answer), "START");
        let unavailable = answer["facts"]["unavailable"].as_array().unwrap();
        assert_eq!(unavailable.len(), 1, "{unavailable:?}");
        let said = unavailable[0].as_str().unwrap();
        assert!(said.contains(&format!(":{operation:?}")), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_would_wait_says_why_and_until_when() {
    // A job of the workflow runs that this function did not start.
    let mut sim = simulator(&[]).await;
    sim.aws.start_foreign_job(T1);
    assert_eq!(in_words(&plan(&mut sim, "BATCH").await), "WAIT SlotBusy");
    sim.aws.end_job(Status::Succeeded);
    assert_eq!(in_words(&plan(&mut sim, "BATCH").await), "START");

    let mut sim = simulator(&[("MIN_INTERVAL", "1h")]).await;
    sim.outcomes(&sim.event("first", T1)).await;
    sim.aws.end_job(Status::Succeeded);
    sim.pass(Duration::from_secs(60));
    let answer = plan(&mut sim, "INCREMENTAL").await;
    assert_eq!(in_words(&answer), "WAIT TooSoon");
    assert_eq!(answer["notBefore"], "2026-11-23T03:00:00.000Z");
    assert_eq!(in_words(&plan(&mut sim, "DELETE_ONLY").await), "START");

    // Another request has waited longer for the slot.
    let mut sim = simulator(&[]).await;
    sim.outcomes(&sim.event("busy", T1)).await;
    assert_eq!(
        sim.outcomes(&sim.event("waits", T2)).await,
        ["WAITING SlotBusy"]
    );
    sim.aws.end_job(Status::Succeeded);
    sim.pass(Duration::from_secs(10));
    let answer = plan(&mut sim, "BATCH").await;
    assert_eq!(in_words(&answer), "WAIT SlotBusy");
    let said = answer["error"]["message"].as_str().unwrap();
    assert!(said.contains("has waited longer"), "{said}");

    // The process died in its call.
    let mut sim = simulator(&[]).await;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Crash);
    sim.deliver(0, &sim.event("dies", T1)).await;
    sim.pass(Duration::from_secs(10 * 60));
    assert_eq!(
        in_words(&plan(&mut sim, "BATCH").await),
        "WAIT OutcomeUnknown"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_job_covers_is_covered_even_if_its_table_is_gone() {
    let mut sim = simulator(&[]).await;
    let event = sim.event("first", T1);
    sim.outcomes(&event).await;
    sim.aws.fail_always(
        Operation::GetIdMappingTable,
        Fault::Refuse(Exception::not_found()),
    );
    let mut dry = event.clone();
    dry["detail"]["dryRun"] = json!(true);
    let answer = sim.response(&dry).await["outcomes"][0].clone();
    assert_eq!(in_words(&answer), "COVERED");
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_outcome_is_unknown_is_looked_into() {
    // Its job runs, and is found.
    let mut sim = simulator(&[]).await;
    let event = sim.event("dies", T1);
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash);
    sim.deliver(0, &event).await;
    sim.repeats.clear();
    sim.pass(Duration::from_secs(600));
    let mut dry = event.clone();
    dry["detail"]["dryRun"] = json!(true);
    let answer = sim.response(&dry).await["outcomes"][0].clone();
    assert_eq!(in_words(&answer), "COVERED");
    assert_eq!(sim.outcomes(&event).await, ["STARTED"]);
    assert_eq!(sim.aws.jobs().len(), 1);

    // It started none.
    let mut sim = simulator(&[]).await;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::Crash);
    sim.deliver(0, &sim.event("dies", T1)).await;
    sim.repeats.clear();
    sim.pass(Duration::from_secs(600));
    let answer = plan(&mut sim, "BATCH").await;
    assert_eq!(
        in_words(&answer),
        "WAIT OutcomeUnknown",
        "as the first look"
    );
    let outcomes = sim.outcomes(&sim.event("other", T1)).await;
    assert_eq!(outcomes, ["WAITING OutcomeUnknown"]);
    sim.pass(Duration::from_secs(60 * 60));
    let answer = plan(&mut sim, "BATCH").await;
    assert_eq!(in_words(&answer), "START");
    assert_eq!(sim.outcomes(&sim.event("third", T1)).await, ["STARTED"]);
}
