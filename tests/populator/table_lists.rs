//! The tables that Systems Manager parameters list.

use std::time::Duration;

use fake_aws::{Exception, FakeAws, Fault, Operation, Slot};
use serde_json::{Value, json};

use crate::harness::{Harness, T1, T2, T3, request_for, table_arn};
use crate::simulator::Simulator;

const PATH: &str = "/my-stack/id-mapping-tables";

/// A schedule's payload: it names no table.
fn all_tables(id: &str) -> Value {
    json!({ "requestId": id, "jobType": "BATCH" })
}

fn arn(number: usize) -> String {
    table_arn(&format!("aaaaaaaa-0001-4000-8000-{number:012}"))
}

fn hundred() -> String {
    (0..100).map(arn).collect::<Vec<_>>().join(",")
}

async fn simulator(lists: &[(&str, String)], settings: &[(&str, &str)]) -> Simulator {
    let mut all = vec![("ID_MAPPING_TABLES_PATH", PATH)];
    all.extend(settings);
    let sim = Simulator::with(FakeAws::in_process(), Slot::Queue, &all).await;
    write(&sim, lists);
    sim
}

fn write(sim: &Simulator, lists: &[(&str, String)]) {
    let name = |name: &str| format!("{PATH}/{name}");
    let lists = lists.iter().map(|(list, arns)| (name(list), arns.clone()));
    sim.aws.state().parameters.extend(lists);
}

fn reads(sim: &Simulator) -> usize {
    sim.aws.calls_of(Operation::GetParametersByPath).len()
}

fn refuse() -> Fault {
    Fault::Refuse(Exception::access_denied())
}

#[tokio::test(start_paused = true)]
async fn an_event_that_names_no_table_is_for_the_tables_of_all_lists() {
    let lists = [
        ("b", table_arn(T1)),
        ("a", format!("{}, {}", table_arn(T3), table_arn(T2))),
    ];
    let mut sim = simulator(&lists, &[("ID_MAPPING_TABLE_ARNS", &table_arn(T2))]).await;
    // Another stack's.
    let other = [
        "/my-stack/id-mapping-tables-2/a",
        "/my-stack/id-mapping-tables/a/b",
    ];
    for name in other {
        let parameters = &mut sim.aws.state().parameters;
        parameters.insert(name.to_owned(), "no ARN".to_owned());
    }
    assert_eq!(sim.outcomes(&all_tables("night")).await, ["STARTED"; 3]);
    let details = sim.details();
    let tables: Vec<&str> = details
        .iter()
        .map(|detail| detail["idMappingTableIdentifier"].as_str().unwrap())
        .collect();
    assert_eq!(tables, [T2, T3, T1]);
    let (error_type, message) = sim
        .failure(&request_for("aaaaaaaa-0009-4000-8000-000000000009"))
        .await;
    assert_eq!(error_type, "InvalidRequest");
    assert!(message.contains("ID_MAPPING_TABLES_PATH"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_tables_of_four_lists_are_read_once_in_five_minutes() {
    let list = |first: usize| (first..first + 25).map(arn).collect::<Vec<_>>().join(",");
    let lists = ["1", "2", "3", "4"].map(|name| (name, list(25 * name.parse::<usize>().unwrap())));
    let mut sim = simulator(&lists, &[]).await;
    assert_eq!(sim.outcomes(&all_tables("night")).await.len(), 100);
    sim.outcomes(&all_tables("night")).await;
    assert_eq!(reads(&sim), 1);
}

#[tokio::test(start_paused = true)]
async fn the_earlier_lists_are_used_while_the_new_ones_have_a_fault() {
    let mut sim = simulator(&[("1", hundred())], &[]).await;
    assert_eq!(sim.outcomes(&all_tables("one")).await.len(), 100);
    write(&sim, &[("2", arn(200))]);
    sim.pass(Duration::from_secs(301));
    assert_eq!(sim.outcomes(&all_tables("two")).await.len(), 100);
    assert_eq!(reads(&sim), 2);
    // A new environment knows no earlier lists.
    sim.renew_environments().await;
    let (error_type, message) = sim.failure(&all_tables("three")).await;
    assert_eq!(error_type, "InvalidConfiguration");
    assert!(
        message.contains("ID_MAPPING_TABLES_PATH has 101 items and may have 100"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn more_lists_than_a_page_has_are_read() {
    let names: Vec<String> = (10..22).map(|number| number.to_string()).collect();
    let arn = |name: &String| table_arn(&format!("aaaaaaaa-0001-4000-8000-0000000000{name}"));
    let lists: Vec<(&str, String)> = names.iter().map(|name| (&**name, arn(name))).collect();
    let mut sim = simulator(&lists, &[]).await;
    assert_eq!(sim.outcomes(&all_tables("night")).await.len(), 12);
    assert_eq!(reads(&sim), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_while_the_lists_cannot_be_read() {
    for (fault, expected, reason) in [
        (
            refuse(),
            "InvalidConfiguration",
            "allow the function's role ssm:GetParametersByPath",
        ),
        (
            Fault::Hang,
            "ServiceUnavailable",
            "no answer within 3000 ms",
        ),
        (
            Fault::Refuse(Exception::internal_server()),
            "ServiceUnavailable",
            "GetParametersByPath failed: InternalServer",
        ),
    ] {
        let mut sim = simulator(&[("a", table_arn(T1))], &[]).await;
        sim.aws
            .fail_always(Operation::GetParametersByPath, fault.clone());
        // Without the list, no target would be known and any table would be allowed.
        for payload in [all_tables("night"), request_for(T1)] {
            let (error_type, message) = sim.failure(&payload).await;
            assert_eq!(error_type, expected, "{message}");
            assert!(message.contains("ID_MAPPING_TABLES_PATH"), "{message}");
            assert!(message.contains(reason), "{message}");
        }
        assert!(sim.aws.jobs().is_empty());
        sim.aws.repair(Operation::GetParametersByPath);
        assert_eq!(sim.outcomes(&all_tables("night")).await, ["STARTED"]);
    }
}

#[tokio::test(start_paused = true)]
async fn lists_that_were_read_are_used_until_they_can_be_read_again() {
    let mut sim = simulator(&[("a", table_arn(T1))], &[]).await;
    assert_eq!(sim.outcomes(&all_tables("one")).await, ["STARTED"]);
    sim.aws
        .fail_always(Operation::GetParametersByPath, refuse());
    sim.pass(Duration::from_secs(24 * 60 * 60));
    assert_eq!(sim.outcomes(&all_tables("two")).await, ["STARTED"]);
    assert_eq!(reads(&sim), 2);
    sim.aws.repair(Operation::GetParametersByPath);
    write(&sim, &[("a", table_arn(T2))]);
    sim.outcomes(&all_tables("three")).await;
    let details = sim.details();
    assert_eq!(details[2]["idMappingTableIdentifier"], T2);
}

#[tokio::test]
async fn a_list_with_a_fault_is_named() {
    let foreign = table_arn(T1).replace("123456789012", "999999999999");
    for (value, reason) in [
        (
            "",
            "parameter /my-stack/id-mapping-tables/a item 1 is empty",
        ),
        (
            "arn:aws:s3:::bucket",
            "parameter /my-stack/id-mapping-tables/a item 1 is not the ARN of an ID mapping table",
        ),
        (
            &*format!("{},{foreign}", table_arn(T1)),
            "parameter /my-stack/id-mapping-tables/a item 2 is in account 999999999999",
        ),
    ] {
        let harness = Harness::with(&[("ID_MAPPING_TABLES_PATH", PATH)]).await;
        let parameters = [(format!("{PATH}/a"), value.to_owned())];
        harness.aws.state().parameters.extend(parameters);
        let (error_type, message) = harness.failure(&request_for(T1)).await;
        assert_eq!(error_type, "InvalidConfiguration");
        assert!(message.contains(reason), "{message}");
    }
    let harness = Harness::with(&[("ID_MAPPING_TABLES_PATH", PATH)]).await;
    let (error_type, message) = harness.failure(&request_for(T1)).await;
    assert_eq!(error_type, "InvalidConfiguration");
    assert!(
        message.contains("names a path without parameters"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_status_says_whether_the_lists_can_be_read() {
    let question = json!({ "status": true });
    let check = |report: &Value| {
        let all = report["status"]["checks"].as_array().unwrap().clone();
        let of = |check: &&Value| check["name"] == "idMappingTableLists";
        all.iter().find(of).unwrap().clone()
    };
    let mut sim = simulator(&[("a", table_arn(T1))], &[]).await;
    sim.aws.fail_next(Operation::GetParametersByPath, refuse());
    let report = sim.response(&question).await;
    assert_eq!(report["status"]["ok"], false);
    assert_eq!(report["status"]["tables"], json!([]));
    let remedy = check(&report)["remedy"].as_str().unwrap().to_owned();
    assert_eq!(
        serde_json::from_str::<Value>(&remedy).unwrap(),
        json!({
            "Effect": "Allow", "Action": "ssm:GetParametersByPath",
            "Resource": ["arn:aws:ssm:eu-west-1:123456789012:parameter/my-stack/id-mapping-tables"],
        })
    );
    sim.pass(Duration::from_secs(61));
    let report = sim.response(&question).await;
    assert_eq!(
        report["status"]["tables"][0]["idMappingTableIdentifier"],
        T1
    );
    assert_eq!(check(&report)["ok"], true);
}

#[tokio::test(start_paused = true)]
async fn a_status_is_in_time_however_slow_the_lists_and_the_tables_are() {
    let mut sim = simulator(&[("a", hundred())], &[]).await;
    let question = json!({ "status": true });
    sim.response(&question).await;
    sim.pass(Duration::from_secs(301));
    for operation in [Operation::GetParametersByPath, Operation::GetIdMappingTable] {
        sim.aws.fail_always(operation, Fault::Hang);
    }
    let before = sim.now();
    let report = sim.response(&question).await;
    assert!(sim.now() - before < time::Duration::seconds(10));
    assert_eq!(report["status"]["tables"].as_array().unwrap().len(), 100);
}
