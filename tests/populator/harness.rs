//! A function with its services, so that a test reads as a sentence.

use fake_aws::{Builder, Call, Environment, FUNCTION_ARN, FakeAws, Operation};
use id_mapping_populator::clock::Clock;
use id_mapping_populator::error::Error;
use id_mapping_populator::handler::{Invocation, Populator};
use id_mapping_populator::input::Payload;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::in_process;

pub const M: &str = "11111111-2222-4333-8444-555555555555";
pub const T1: &str = "aaaaaaaa-0001-4000-8000-000000000001";
pub const T2: &str = "aaaaaaaa-0002-4000-8000-000000000002";
pub const T3: &str = "aaaaaaaa-0003-4000-8000-000000000003";
pub const T4: &str = "aaaaaaaa-0004-4000-8000-000000000004";
pub const T5: &str = "aaaaaaaa-0005-4000-8000-000000000005";

pub fn table_arn(table: &str) -> String {
    format!("arn:aws:cleanrooms:eu-west-1:123456789012:membership/{M}/idmappingtable/{table}")
}

/// A bare request for a table.
pub fn request_for(table: &str) -> Value {
    json!({ "membershipIdentifier": M, "idMappingTableIdentifier": table })
}

/// A bare request for several tables.
pub fn request_for_all(tables: &[&str]) -> Value {
    json!({ "targets": tables.iter().map(|table| request_for(table)).collect::<Vec<_>>() })
}

pub fn event_file(name: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("events")
        .join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A function with its services.
pub struct Harness {
    pub aws: FakeAws,
    populator: Populator,
    pub function_arn: String,
    /// The time from an invocation's arrival to the function's timeout.
    pub remaining: time::Duration,
}

impl Harness {
    /// With outcome events on the bus `default`.
    pub async fn new() -> Self {
        Self::with(&[("EVENT_BUS_NAME", "default")]).await
    }

    /// With these settings.
    pub async fn with(variables: &[(&str, &str)]) -> Self {
        Self::built(Environment::builder().settings(variables)).await
    }

    /// With all that the builder names.
    pub async fn built(builder: Builder) -> Self {
        let environment = builder.over_http().await.unwrap();
        let populator = in_process::populator(&environment, Clock::system());
        Self {
            populator: populator.await.unwrap(),
            aws: environment.aws,
            function_arn: FUNCTION_ARN.to_owned(),
            remaining: time::Duration::seconds(60),
        }
    }

    pub async fn handle(&self, payload: &Value) -> Result<Value, Error> {
        let request_id = "11111111-0000-4000-8000-00000000cafe";
        let invocation = Invocation {
            function_arn: self.function_arn.clone(),
            ..in_process::invocation(request_id, OffsetDateTime::now_utc() + self.remaining)
        };
        let response = self
            .populator
            .handle(&Payload::from_text(&payload.to_string()), &invocation)
            .await?;
        Ok(serde_json::to_value(response).unwrap())
    }

    /// The outcomes of an invocation that must not fail.
    pub async fn outcomes(&self, payload: &Value) -> Vec<Value> {
        self.handle(payload).await.unwrap()["outcomes"]
            .as_array()
            .unwrap()
            .clone()
    }

    /// The error type and message of an invocation that must fail.
    pub async fn failure(&self, payload: &Value) -> (String, String) {
        let error = self.handle(payload).await.unwrap_err();
        (error.error_type.as_str().to_owned(), error.message)
    }

    /// The `PopulateIdMappingTable` calls so far.
    pub fn populated(&self) -> Vec<Call> {
        self.aws.calls_of(Operation::PopulateIdMappingTable)
    }

    /// The tables and job types of these calls.
    pub fn populated_tables(&self) -> Vec<(String, Value)> {
        let table = |path: &str| path.split('/').nth(4).unwrap().to_owned();
        self.populated()
            .iter()
            .map(|call| (table(&call.path), call.body["jobType"].clone()))
            .collect()
    }

    /// The `detail-type` and `detail` of the events published so far.
    pub fn announced(&self) -> Vec<(String, Value)> {
        let pair = |event: Value| {
            (
                event["detail-type"].as_str().unwrap().to_owned(),
                event["detail"].clone(),
            )
        };
        self.aws.events().into_iter().map(pair).collect()
    }
}
