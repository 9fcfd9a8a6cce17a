//! What is refused: by a service, by the state of the account, and by the person.

use std::time::Duration;

use fake_aws::{Exception, Fault, Operation, Slot};

use super::{Person, ROLE, assert_bounds};
use crate::harness::{T1, T2, T3, table_arn};

#[tokio::test(start_paused = true)]
async fn a_refusal_is_reported_with_the_permission() {
    let needed_by_all = [
        (Operation::GetIdMappingTable, "cleanrooms:GetIdMappingTable"),
        (Operation::GetSchema, "cleanrooms:GetSchema"),
        (
            Operation::GetIdMappingWorkflow,
            "entityresolution:GetIdMappingWorkflow",
        ),
        (
            Operation::ListIdMappingJobs,
            "entityresolution:ListIdMappingJobs",
        ),
        (
            Operation::GetIdMappingJob,
            "entityresolution:GetIdMappingJob",
        ),
    ];
    for (operation, permission) in needed_by_all {
        let person = Person::in_process();
        // A job whose counts are read.
        person.aws.start_job_by_hand(T1, Some("BATCH"));
        person.time.pass(Duration::from_secs(3_600));
        person
            .aws
            .fail_always(operation, Fault::Refuse(Exception::denied(permission)));
        let error = person.runs(&[]).await.unwrap_err();
        assert!(
            error.contains(&format!("allow the caller {permission}")),
            "{error}"
        );
        assert_eq!(person.calls(), 0);
    }
    for (operation, name, permission) in [
        (
            Operation::PopulateIdMappingTable,
            "call-rate",
            "cleanrooms:PopulateIdMappingTable",
        ),
        (
            Operation::PopulateIdMappingTable,
            "job-list",
            "cleanrooms:PopulateIdMappingTable",
        ),
        (
            Operation::PopulateIdMappingTable,
            "second-call",
            "cleanrooms:PopulateIdMappingTable",
        ),
        (
            Operation::LookupEvents,
            "delete-event",
            "cloudtrail:LookupEvents",
        ),
    ] {
        let person = Person::in_process();
        person
            .aws
            .fail_always(operation, Fault::Refuse(Exception::denied(permission)));
        person.runs(&[name]).await.unwrap();
        let finding = person.finding(name);
        assert_eq!(finding["verdict"], "neither: look");
        let answer = finding["answer"].as_str().unwrap();
        assert!(answer.contains(permission), "{answer}");
        assert!(person.aws.jobs().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_without_the_flag_and_the_typed_line() {
    let table = table_arn(T1);
    let run = ["run", "--table", &table, "--experiment", "job-list"];
    let both: &[&str] = &["--records", "1", "--price", "1"];
    let yes: &[&str] = &["--i-accept-the-cost", "--yes"];
    for (gives, error) in [(&both[..2], "--price"), (&both[2..], "--records is needed")] {
        let mut person = Person::in_process();
        person.gives = gives;
        let ended = person.asks(&[&run, yes].concat()).await;
        assert!(ended.unwrap_err().contains(error));
        assert_eq!(person.calls(), 0);
    }
    for (types, words, starts) in [
        ("start 1", &[][..], false),
        ("", &["--i-accept-the-cost"], false),
        ("yes", &["--i-accept-the-cost"], false),
        ("start 1\n", &["--i-accept-the-cost"], true),
        ("", &["--i-accept-the-cost", "--yes"], true),
        ("", &["--yes"], false),
    ] {
        let mut person = Person::in_process();
        person.types = types;
        let ended = person.asks(&[&run, words].concat()).await;
        assert_eq!(ended.is_ok(), starts, "{words:?}: {ended:?}");
        assert_eq!(person.calls(), usize::from(starts), "{words:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_asked_again_by_a_run_that_goes_on() {
    let person = Person::in_process();
    person.aws.start_job_by_hand(T3, Some("BATCH"));
    person.runs(&["job-list"]).await.unwrap();
    let finding = person.finding("job-list");
    assert_eq!(finding["verdict"], "neither: look");
    let answer = finding["answer"].as_str().unwrap();
    assert!(
        answer.ends_with("did not start is under way, wait for its end"),
        "{answer}"
    );
    person.time.pass(Duration::from_secs(3_600));
    person.resumes(&[]).await.unwrap();
    assert_eq!(person.finding("job-list")["verdict"], "branch A");
}

#[tokio::test(start_paused = true)]
async fn a_permission_that_no_answer_names_is_a_guess() {
    let person = Person::in_process();
    person.aws.fail_always(
        Operation::GetSchema,
        Fault::Refuse(Exception::access_denied()),
    );
    let error = person.runs(&[]).await.unwrap_err();
    let guess = "allow the caller cleanrooms:GetSchema (a guess: the answer names none)";
    assert!(error.ends_with(guess), "{error}");
}

#[tokio::test(start_paused = true)]
async fn why_there_is_no_answer_is_said_and_names_are_in_no_file() {
    let mut person = Person::in_process();
    person.has_credentials = false;
    let error = person.runs(&[]).await.unwrap_err();
    assert!(
        error.starts_with("GetIdMappingTable failed: no answer (no credentials): "),
        "{error}"
    );
    assert!(error.contains("profile-of-somebody"), "{error}");
    assert!(
        error.ends_with("aws configure export-credentials --format env"),
        "{error}"
    );
    for (fault, why) in [(Fault::Hang, "timed out"), (Fault::Drop, "no connection")] {
        let person = Person::in_process();
        person
            .aws
            .fail_always(Operation::PopulateIdMappingTable, fault.clone());
        person.runs(&["call-rate"]).await.unwrap();
        let finding = person.finding("call-rate");
        assert_eq!(finding["verdict"], "neither: look");
        assert_eq!(finding["observations"][0]["failure"], why);
        assert!(finding["observations"][0].get("detail").is_none());
        person.aws.fail_always(Operation::GetSchema, fault);
        let plan = ["plan", "--table", &table_arn(T1)];
        let error = person.asks(&plan).await.unwrap_err();
        let told = format!("GetSchema failed: no answer ({why}): ");
        assert!(error.starts_with(&told), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_beside_a_job_of_another_person() {
    let person = Person::in_process();
    person.aws.set_slot(Slot::Unlimited);
    person.aws.start_job_by_hand(T2, Some("BATCH"));
    person.runs(&["job-list"]).await.unwrap();
    assert_bounds(&person, 2, 1);
    let said = person.said();
    assert!(
        said.contains("; a job is under way, for whose end a run waits\n"),
        "{said}"
    );
    let waits = "waiting for the end of another job of table 2; next look in 300 s";
    assert!(said.contains(waits), "{said}");
}

#[tokio::test(start_paused = true)]
async fn the_message_of_a_refusal_is_on_the_terminal_alone() {
    let person = Person::in_process();
    person.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::validation("OTHER")),
    );
    person.runs(&["job-list"]).await.unwrap();
    let message = "400 ValidationException (OTHER): the request cannot be taken";
    assert!(person.said().contains(message), "{}", person.said());
    for file in ["run.json", "report.json"] {
        let text = person.read(file).to_string();
        assert!(!text.contains("cannot be taken"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn tables_that_share_a_workflow_are_refused() {
    let person = Person::in_process();
    person.aws.state().shared_workflow = true;
    let error = person.runs(&[]).await.unwrap_err();
    assert!(error.contains("share a workflow"), "{error}");
    assert_eq!(person.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_role_can_be_given_when_the_run_goes_on() {
    let person = Person::in_process();
    let table = table_arn(T1);
    let run = ["run", "--table", &table, "--experiment", "start-permission"];
    let yes = ["--i-accept-the-cost", "--yes"];
    person.asks(&[&run[..], &yes].concat()).await.unwrap();
    let answer = person.finding("start-permission")["answer"].clone();
    assert!(answer.as_str().unwrap().contains("it needs --role"));
    person.resumes(&["--role", ROLE]).await.unwrap();
    assert_eq!(person.finding("start-permission")["verdict"], "branch B");
}

#[tokio::test(start_paused = true)]
async fn a_role_that_cannot_be_assumed_is_reported_with_the_permission() {
    let person = Person::in_process();
    let refusal = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
                   <Code>AccessDenied</Code><Message>User: arn:aws:iam::123456789012:user/u is not authorized to \
                   perform: sts:AssumeRole on resource: arn:aws:iam::123456789012:role/experimenter</Message></Error>\
                   <RequestId>r</RequestId></ErrorResponse>";
    let fault = Fault::Status(403, refusal.to_owned());
    person.aws.fail_always(Operation::AssumeRole, fault);
    person.runs(&["start-permission"]).await.unwrap();
    let finding = person.finding("start-permission");
    assert_eq!(finding["verdict"], "neither: look");
    assert_eq!(
        finding["answer"],
        "not settled: the caller needs sts:AssumeRole"
    );
    assert_eq!(finding["observations"][0]["errorCode"], "AccessDenied");
    assert_eq!(person.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_role_that_was_wrong_is_replaced_and_a_refusal_without_a_name_settles_nothing() {
    let person = Person::in_process();
    person.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::access_denied()),
    );
    person.runs(&["start-permission"]).await.unwrap();
    let finding = person.finding("start-permission");
    assert_eq!(finding["verdict"], "neither: look");
    let answer = finding["answer"].as_str().unwrap();
    assert!(
        answer.contains("without the name of a permission"),
        "{answer}"
    );
    let other = format!("{ROLE}-2");
    person.resumes(&["--role", &other]).await.unwrap();
    assert_eq!(person.finding("start-permission")["verdict"], "branch B");
    assert_eq!(person.read("run.json")["role"], other);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_job_id_is_a_lost_one() {
    let person = Person::in_process();
    person.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Answer("{}".to_owned()),
    );
    person.runs(&["job-list"]).await.unwrap();
    let answer = person.finding("job-list")["answer"].clone();
    assert_eq!(
        answer,
        "not settled: PopulateIdMappingTable: 200 (unreadable answer)"
    );
    person.resumes(&[]).await.unwrap();
    assert_eq!(person.finding("job-list")["verdict"], "branch A");
    assert_bounds(&person, 2, 1);
}
