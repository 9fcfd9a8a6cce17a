//! The state machine of `docs/step-functions` against the function: it refreshes a table, waits for the job's end, and
//! starts a protected query.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use fake_aws::{Exception, FUNCTION_ARN, FakeAws, Fault, Operation, Slot, Status};
use id_mapping_populator::clock::timestamp;
use id_mapping_populator::error::ErrorType;
use serde_json::{Value, json};

use crate::harness::{M, T1, T2, request_for, table_arn};
use crate::repository::read;
use crate::simulator::{BEGIN, Ended, Simulator, VISIBILITY};
use crate::states_language::{End, Execution, Failure, MAX_HISTORY, World};

const EXECUTION: &str = "arn:aws:states:eu-west-1:123456789012:execution:refresh-and-wait:run-1";
const QUERY: &str = "SELECT s.campaign, COUNT(DISTINCT c.customer_id) FROM sales s JOIN ids i ON s.id = i.sourceid \
                     JOIN customers c ON c.id = i.targetid GROUP BY s.campaign";
const WAIT: u64 = 300;

/// The definition, with values in place of its placeholders.
fn definition(changed: &[(&str, &str)]) -> Value {
    let table = table_arn(T1);
    let wait = WAIT.to_string();
    let mut values: BTreeMap<&str, &str> = [
        ("PopulatorArn", FUNCTION_ARN),
        ("IdMappingTableArn", &table),
        ("MembershipIdentifier", M),
        ("QueryString", QUERY),
        ("ResultBucket", "results"),
        ("ResultPrefix", "id-mapping"),
        ("ResultFormat", "CSV"),
        ("WaitSeconds", &wait),
        ("MaxAsks", "288"),
        ("MaxJobs", "2"),
    ]
    .into();
    values.extend(changed.iter().copied());
    let mut text = read("docs/step-functions/refresh-and-wait.asl.json");
    for (name, value) in values {
        let placeholder = format!("${{{name}}}");
        assert!(text.contains(&placeholder), "{name} is not used");
        text = text.replace(&placeholder, value);
    }
    assert!(!text.contains("${"), "each placeholder has a value");
    serde_json::from_str(&text).unwrap()
}

/// What happens after a wait.
type AfterWait<'a> = Box<dyn FnMut(&Simulator, usize) + 'a>;

/// The services around an execution.
struct Services<'a> {
    sim: Simulator,
    /// Called after each wait, with its number from 1, before the waiting queue is polled.
    after_wait: AfterWait<'a>,
    waits: usize,
    /// The seconds before each retry.
    pauses: Vec<u64>,
    /// What the execution asked the function.
    asked: Vec<Value>,
    /// The protected queries that it started, or tried to.
    queries: Vec<Value>,
    /// How the next ones of them fail.
    query_failures: VecDeque<&'static str>,
}

impl<'a> Services<'a> {
    fn new(sim: Simulator, after_wait: impl FnMut(&Simulator, usize) + 'a) -> Self {
        Self {
            sim,
            after_wait: Box::new(after_wait),
            waits: 0,
            pauses: Vec::new(),
            asked: Vec::new(),
            queries: Vec::new(),
            query_failures: VecDeque::new(),
        }
    }

    async fn invoke(&mut self, parameters: &Value) -> Result<Value, Failure> {
        assert_eq!(parameters["FunctionName"], FUNCTION_ARN);
        let payload = &parameters["Payload"];
        self.asked.push(payload.clone());
        self.sim.invoked += 1;
        let request_id = format!("request-{}", self.sim.invoked);
        match self.sim.invoke(0, &request_id, payload).await {
            Ended::Response(response) => Ok(json!({ "StatusCode": 200, "Payload": response })),
            Ended::Failed(error) => {
                let error_type = error.error_type.as_str();
                let cause = json!({ "errorType": error_type, "errorMessage": error.message });
                Err(failure(error_type, &cause.to_string()))
            }
            Ended::Crashed => Err(failure("Lambda.Unknown", "the process ended")),
        }
    }
}

impl World for Services<'_> {
    async fn call(&mut self, resource: &str, parameters: Value) -> Result<Value, Failure> {
        match resource {
            "arn:aws:states:::lambda:invoke" => self.invoke(&parameters).await,
            "arn:aws:states:::aws-sdk:cleanrooms:startProtectedQuery" => {
                self.queries.push(parameters);
                match self.query_failures.pop_front() {
                    Some(error) => Err(failure(error, "refused on order")),
                    None => Ok(json!({ "ProtectedQuery": { "Id": "query-1" } })),
                }
            }
            other => panic!("{other} is not known here"),
        }
    }

    async fn wait(&mut self, seconds: u64) {
        self.waits += 1;
        self.sim.pass(Duration::from_secs(seconds));
        (self.after_wait)(&self.sim, self.waits);
        while self.sim.poll(0).await {}
    }

    async fn pause(&mut self, seconds: u64) {
        self.pauses.push(seconds);
        self.sim.pass(Duration::from_secs(seconds));
    }
}

fn failure(error: &str, cause: &str) -> Failure {
    Failure {
        error: error.to_owned(),
        cause: cause.to_owned(),
    }
}

/// A function that tracks its jobs.
async fn tracking() -> Simulator {
    let settings = [("TRACK_COMPLETION", "true")];
    Simulator::with(FakeAws::in_process(), Slot::Conflict, &settings).await
}

/// Runs an execution to its end. Returns how many events its history has.
async fn run(services: &mut Services<'_>, changed: &[(&str, &str)]) -> (End, usize) {
    let definition = definition(changed);
    let start_time = timestamp(services.sim.now());
    let mut execution = Execution::new(&definition, EXECUTION, &start_time, services);
    let end = execution.run(json!({ "anything": "is ignored" })).await;
    (end, execution.events)
}

async fn succeeded(services: &mut Services<'_>, changed: &[(&str, &str)]) -> Value {
    match run(services, changed).await.0 {
        End::Succeeded(output) => output,
        End::Failed(failure) => panic!("{failure:?}"),
    }
}

async fn failed(services: &mut Services<'_>, changed: &[(&str, &str)]) -> (String, String) {
    match run(services, changed).await.0 {
        End::Failed(Failure { error, cause }) => (error, cause),
        End::Succeeded(output) => panic!("{output}"),
    }
}

/// Ends the running job after this wait.
fn end_after(wait: usize, status: Status) -> impl FnMut(&Simulator, usize) {
    move |sim, waits| {
        if waits == wait {
            assert!(sim.aws.end_job(status).is_some(), "a job runs");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_query_starts_when_the_job_has_succeeded() {
    let sim = tracking().await;
    let mut services = Services::new(sim, end_after(4, Status::Succeeded));
    let output = succeeded(&mut services, &[]).await;
    let sim = &services.sim;
    let query = json!({
        "Type": "SQL",
        "MembershipIdentifier": M,
        "SqlParameters": { "QueryString": QUERY },
        "ResultConfiguration": { "OutputConfiguration": {
            "S3": { "ResultFormat": "CSV", "Bucket": "results", "KeyPrefix": "id-mapping" } } },
    });
    assert_eq!(services.queries, [query]);
    // It is the same request each time.
    let payload = json!({
        "idMappingTableArn": table_arn(T1),
        "requestId": EXECUTION,
        "time": timestamp(BEGIN),
        "dryRun": false,
    });
    assert_eq!(services.asked, vec![payload; 5]);
    assert_eq!(sim.aws.jobs().len(), 1);
    assert_eq!(output["protectedQueryId"], "query-1");
    let refresh = &output["refresh"];
    assert_eq!(
        (&refresh["outcome"], &refresh["jobStatus"]),
        (&json!("COVERED"), &json!("SUCCEEDED"))
    );
    assert_eq!(refresh["idMappingJobId"], sim.aws.jobs()[0].id);
    assert!(sim.aws.messages("waiting").is_empty());
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_job_the_same_request_starts_another_one() {
    let sim = tracking().await;
    let mut services = Services::new(sim, |sim: &Simulator, waits| match waits {
        2 => assert!(sim.aws.end_job(Status::Failed).is_some()),
        9 => assert!(sim.aws.end_job(Status::Succeeded).is_some()),
        _ => {}
    });
    let output = succeeded(&mut services, &[]).await;
    let sim = &services.sim;
    assert_eq!(services.queries.len(), 1);
    let jobs = sim.aws.jobs();
    assert_eq!(jobs.len(), 2);
    assert_eq!(output["refresh"]["idMappingJobId"], jobs[1].id);
}

#[tokio::test(start_paused = true)]
async fn no_more_jobs_are_started_than_allowed_if_all_of_them_fail() {
    for most in 1..=4 {
        let sim = tracking().await;
        let fail = |sim: &Simulator, _| {
            sim.aws.end_job(Status::Failed);
        };
        let mut services = Services::new(sim, fail);
        let most_text = most.to_string();
        let (error, cause) = failed(&mut services, &[("MaxJobs", &most_text)]).await;
        let sim = &mut services.sim;
        assert!(services.queries.is_empty());
        assert_eq!(error, "IdMappingJobFailed");
        let jobs = sim.aws.jobs();
        assert_eq!(jobs.len(), most);
        let said = format!(
            "{most} jobs were seen, and the last one, {}, failed",
            jobs[most - 1]
        );
        assert!(cause.starts_with(&said), "{cause}");
        // Nothing of it is left that could start one later.
        sim.pass(VISIBILITY);
        while sim.poll(0).await {}
        assert_eq!(sim.aws.jobs().len(), most);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_answer_no_second_job_is_started() {
    // How the call fails, whether Entity Resolution shows the job at once, and how the job is named.
    for (fault, hidden_for, name) in [
        (Fault::AcceptAndDrop, 0, "entityResolutionJobId"),
        (Fault::AcceptAndFail, 0, "entityResolutionJobId"),
        (Fault::AcceptAndDrop, 3, "entityResolutionJobId"),
        (Fault::AcceptAndCrash, 0, "entityResolutionJobId"),
        // No job was started. The queue starts one.
        (Fault::Drop, 0, "idMappingJobId"),
    ] {
        let sim = tracking().await;
        sim.aws.hide_jobs(hidden_for);
        sim.aws
            .fail_next(Operation::PopulateIdMappingTable, fault.clone());
        let mut services = Services::new(sim, end_after(20, Status::Succeeded));
        let output = succeeded(&mut services, &[]).await;
        let sim = &services.sim;
        assert_eq!(services.queries.len(), 1, "{fault:?}");
        assert_eq!(sim.aws.jobs().len(), 1, "{fault:?}");
        let job = &sim.aws.jobs()[0];
        let id = match name {
            "idMappingJobId" => &job.id,
            _ => &job.entity_resolution_id,
        };
        assert_eq!(output["refresh"][name], *id, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_job_of_a_lost_answer_counts() {
    let sim = tracking().await;
    sim.aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    let fail = |sim: &Simulator, _| {
        sim.aws.end_job(Status::Failed);
    };
    let mut services = Services::new(sim, fail);
    let (error, _) = failed(&mut services, &[]).await;
    let sim = &services.sim;
    assert_eq!(error, "IdMappingJobFailed");
    assert_eq!(sim.aws.jobs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_for_a_busy_slot_is_enqueued_once_and_awaited() {
    let mut sim = tracking().await;
    sim.outcomes(&request_for(T2)).await;
    let mut services = Services::new(sim, |sim: &Simulator, waits| {
        if [10, 20].contains(&waits) {
            assert!(sim.aws.end_job(Status::Succeeded).is_some());
        }
        if waits == 9 {
            let messages = sim.aws.messages("waiting");
            let is_request = |body: &str| body.contains(EXECUTION);
            let enqueued = messages.iter().filter(|m| is_request(&m.body)).count();
            assert_eq!(enqueued, 1, "the asks enqueue no other");
        }
    });
    let output = succeeded(&mut services, &[]).await;
    let sim = &services.sim;
    assert_eq!(services.queries.len(), 1);
    let is_dry_run = |payload: &Value| payload["dryRun"].as_bool().unwrap();
    assert!(services.asked[1..9].iter().all(is_dry_run));
    assert_eq!((sim.jobs_of(T1), sim.jobs_of(T2)), (1, 1));
    assert_eq!(output["refresh"]["idMappingJobId"], sim.aws.jobs()[1].id);
    let waiting = sim
        .announced()
        .into_iter()
        .filter(|o| o == "WAITING SlotBusy");
    assert_eq!(waiting.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_busy_slot_after_a_failed_job_is_awaited_too() {
    let sim = tracking().await;
    let mut services = Services::new(sim, |sim: &Simulator, waits| match waits {
        2 => {
            sim.aws.end_job(Status::Failed);
            assert!(sim.aws.start_job_by_hand(T2, None));
        }
        12 | 22 => assert!(sim.aws.end_job(Status::Succeeded).is_some()),
        _ => {}
    });
    let output = succeeded(&mut services, &[]).await;
    let sim = &services.sim;
    assert_eq!(sim.jobs_of(T1), 2);
    let last = sim.aws.jobs().pop().unwrap();
    assert_eq!(output["refresh"]["idMappingJobId"], last.id);
}

#[tokio::test(start_paused = true)]
async fn what_a_person_must_act_on_ends_the_execution_at_once() {
    let refused = |exception| Some((Operation::PopulateIdMappingTable, exception));
    let foreign = table_arn(T1).replace("eu-west-1", "us-east-1");
    for (exception, table, named) in [
        (refused(Exception::not_found()), None, "TableNotFound"),
        (refused(Exception::access_denied()), None, "AccessDenied"),
        (
            refused(Exception::validation("INVALID_QUERY")),
            None,
            "RequestRefused",
        ),
        (None, Some(foreign.as_str()), "InvalidRequest"),
    ] {
        let sim = tracking().await;
        if let Some((operation, exception)) = exception {
            sim.aws.fail_next(operation, Fault::Refuse(exception));
        }
        let mut services = Services::new(sim, |_, _| {});
        let table = table.map(|table| ("IdMappingTableArn", table));
        let (error, cause) = failed(&mut services, table.as_slice()).await;
        let sim = &services.sim;
        assert_eq!(error, "RefreshRefused");
        assert!(cause.starts_with(&format!("{named}: ")), "{cause}");
        assert_eq!((services.asked.len(), services.waits), (1, 0), "{named}");
        assert!(services.pauses.is_empty() && services.queries.is_empty());
        assert!(sim.aws.jobs().is_empty(), "{named}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_will_be_rejected_ends_the_wait() {
    let mut sim = tracking().await;
    sim.outcomes(&request_for(T2)).await;
    let mut services = Services::new(sim, |sim: &Simulator, waits| {
        if waits == 2 {
            let exception = Exception::not_found();
            sim.aws
                .fail_always(Operation::GetIdMappingTable, Fault::Refuse(exception));
        }
    });
    let (error, cause) = failed(&mut services, &[]).await;
    let sim = &services.sim;
    assert_eq!(error, "RefreshRefused");
    assert!(cause.starts_with("TableNotFound: "), "{cause}");
    assert_eq!(sim.jobs_of(T1), 0);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_may_pass_is_retried_with_growing_pauses() {
    let sim = tracking().await;
    for _ in 0..3 {
        let refused = Fault::Refuse(Exception::access_denied());
        sim.aws.fail_next(Operation::GetItem, refused);
    }
    let mut services = Services::new(sim, end_after(3, Status::Succeeded));
    succeeded(&mut services, &[]).await;
    let sim = &services.sim;
    assert_eq!(services.pauses, [60, 120, 240]);
    assert_eq!(sim.aws.jobs().len(), 1);

    // It does not pass.
    let sim = tracking().await;
    let refused = Fault::Refuse(Exception::access_denied());
    sim.aws.fail_always(Operation::GetItem, refused);
    let mut services = Services::new(sim, |_, _| {});
    let (error, cause) = failed(&mut services, &[]).await;
    assert_eq!(error, "LedgerUnavailable");
    let cause: Value = serde_json::from_str(&cause).unwrap();
    assert_eq!(cause["Error"], "LedgerUnavailable");
    assert!(cause["Cause"].as_str().unwrap().contains("errorMessage"));
    assert_eq!(services.pauses, [60, 120, 240, 480, 900]);
    assert_eq!((services.waits, services.asked.len()), (0, 6));

    // The process ends.
    let sim = tracking().await;
    sim.aws.fail_next(Operation::GetItem, Fault::Crash);
    let mut services = Services::new(sim, end_after(3, Status::Succeeded));
    succeeded(&mut services, &[]).await;
    assert_eq!(services.pauses, [10]);
}

/// The largest value that the template takes for a parameter.
fn most(parameter: &str) -> usize {
    let template = read("docs/step-functions/template.yaml");
    let (_, after) = template.split_once(&format!("\n  {parameter}:\n")).unwrap();
    let (_, value) = after.split_once("MaxValue: ").unwrap();
    value.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_asks_are_bounded_and_so_is_the_history() {
    // The job never ends. The second case is the one with the most states for each ask.
    for max_jobs in ["2", "1"] {
        let mut events = Vec::new();
        for asks in [5, 105] {
            let sim = tracking().await;
            let mut services = Services::new(sim, |_, _| {});
            let asks_text = asks.to_string();
            let changed = [("MaxAsks", asks_text.as_str()), ("MaxJobs", max_jobs)];
            let (end, history) = run(&mut services, &changed).await;
            let sim = &services.sim;
            let End::Failed(Failure { error, cause }) = end else {
                panic!("{end:?}")
            };
            assert_eq!(error, "RefreshTimedOut");
            assert!(cause.starts_with(&format!("after {asks} asks ")), "{cause}");
            assert_eq!(services.waits, asks - 1);
            assert!(services.queries.is_empty());
            assert_eq!(sim.aws.jobs().len(), 1);
            events.push(history);
        }
        let of_an_ask = (events[1] - events[0]).div_ceil(100);
        // A part is left for retries.
        let history = events[0] + of_an_ask * most("MaxAsks");
        assert!(history < MAX_HISTORY * 9 / 10, "{history}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_query_that_was_not_started_is_started_again() {
    for (failures, expected, tries) in [
        (&["CleanRooms.ThrottlingException"; 2][..], None, 3),
        (&["CleanRooms.ServiceQuotaExceededException"], None, 2),
        (
            &["CleanRooms.ThrottlingException"; 7],
            Some("CleanRooms.ThrottlingException"),
            7,
        ),
        (&["CleanRooms.ValidationException"], Some("QueryRefused"), 1),
        (
            &["CleanRooms.AccessDeniedException"],
            Some("QueryRefused"),
            1,
        ),
        // It may run.
        (
            &["CleanRooms.InternalServerException"],
            Some("CleanRooms.InternalServerException"),
            1,
        ),
    ] {
        let sim = tracking().await;
        let mut services = Services::new(sim, end_after(1, Status::Succeeded));
        services.query_failures = failures.iter().copied().collect();
        let error = match run(&mut services, &[]).await.0 {
            End::Succeeded(_) => None,
            End::Failed(failure) => Some(failure.error),
        };
        assert_eq!(error.as_deref(), expected);
        assert_eq!(services.queries.len(), tries, "{failures:?}");
    }
}

/// The error names of a task, each with the state that comes after it. A retried one has none.
fn handled(task: &Value) -> BTreeMap<String, Option<String>> {
    let mut all = BTreeMap::new();
    for handler in ["Retry", "Catch"] {
        for handler in task[handler].as_array().unwrap() {
            let next = handler["Next"].as_str().map(str::to_owned);
            for error in handler["ErrorEquals"].as_array().unwrap() {
                let error = error.as_str().unwrap().to_owned();
                assert_eq!(all.insert(error, next.clone()), None, "{handler}");
            }
        }
    }
    all
}

#[test]
fn each_error_of_the_function_is_retried_or_caught_by_its_name() {
    let machine = definition(&[]);
    let mut names = handled(&machine["States"]["Ask"]);
    names.retain(|name, _| !name.contains('.'));
    let names: BTreeSet<&str> = names.keys().map(String::as_str).collect();
    // With TRACK_COMPLETION there is a waiting queue, so the first two are answered with `WAITING`. The last one is
    // never that of an invocation.
    let others = ["Settling", "TooSoon", "JobFailed"];
    let all = ErrorType::ALL.map(ErrorType::as_str);
    let all = all.into_iter().filter(|name| !others.contains(name));
    assert_eq!(names, all.collect());
}
