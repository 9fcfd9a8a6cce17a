//! Settings as the running function obeys them.

use serde_json::json;

use crate::harness::{Harness, M, T1, event_file, request_for, table_arn};

#[tokio::test]
async fn the_configured_job_type_is_requested_where_a_request_has_none() {
    let harness = Harness::with(&[("DEFAULT_JOB_TYPE", "INCREMENTAL")]).await;
    let outcomes = harness.outcomes(&request_for(T1)).await;
    assert_eq!(outcomes[0]["jobType"], "INCREMENTAL");
    let decision = json!({
        "rule": "CONFIGURED", "reason": "the request names no job type and DEFAULT_JOB_TYPE is INCREMENTAL",
    });
    assert_eq!(outcomes[0]["decision"], decision);
    let mut own = request_for(T1);
    own["jobType"] = json!("SERVICE_DEFAULT");
    let outcomes = harness.outcomes(&own).await;
    assert_eq!(
        (outcomes[0].get("jobType"), &outcomes[0]["decision"]["rule"]),
        (None, &json!("SERVICE_DEFAULT"))
    );
    let calls = harness.populated_tables();
    assert_eq!(
        calls
            .iter()
            .map(|(_, job_type)| job_type)
            .collect::<Vec<_>>(),
        [&json!("INCREMENTAL"), &json!(null)]
    );
}

#[tokio::test]
async fn a_configured_table_of_another_account_fails_each_invocation_before_anything_is_called() {
    let arns = table_arn(T1).replace("123456789012", "999999999999");
    let harness = Harness::with(&[
        ("EVENT_BUS_NAME", "default"),
        ("ID_MAPPING_TABLE_ARNS", &arns),
    ])
    .await;
    for payload in [
        event_file("s3-object-created.json"),
        event_file("sqs-batch.json"),
        request_for(T1),
    ] {
        let (error_type, message) = harness.failure(&payload).await;
        assert_eq!(error_type, "InvalidConfiguration");
        assert!(
            message.contains("ID_MAPPING_TABLE_ARNS item 1 is in account 999999999999"),
            "{message}"
        );
    }
    assert_eq!(harness.aws.call_count(), 0);
}

#[tokio::test]
async fn under_a_local_emulator_arns_have_its_region_and_no_account() {
    let mut harness = Harness::new().await;
    harness.function_arn = "function-arn".to_owned();
    let other_account = table_arn(T1).replace("123456789012", "999999999999");
    harness
        .outcomes(&json!({ "idMappingTableArn": other_account }))
        .await;
    let membership = format!("arn:aws:cleanrooms:eu-west-1:000000000000:membership/{M}");
    assert_eq!(
        harness.aws.events()[0]["resources"],
        json!([format!("{membership}/idmappingtable/{T1}"), membership])
    );
    let other_region = table_arn(T1).replace("eu-west-1", "us-east-1");
    assert_eq!(
        harness
            .failure(&json!({ "idMappingTableArn": other_region }))
            .await
            .0,
        "InvalidRequest"
    );
}

#[tokio::test]
async fn arns_follow_the_functions_partition() {
    let mut harness = Harness::new().await;
    harness.function_arn =
        "arn:aws-us-gov:lambda:us-gov-west-1:210987654321:function:populator:live".to_owned();
    harness.outcomes(&request_for(T1)).await;
    let membership = format!("arn:aws-us-gov:cleanrooms:us-gov-west-1:210987654321:membership/{M}");
    assert_eq!(
        harness.aws.events()[0]["resources"],
        json!([format!("{membership}/idmappingtable/{T1}"), membership])
    );
}
