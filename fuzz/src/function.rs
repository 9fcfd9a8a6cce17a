//! The function under test: fixed settings, a fixed clock, and no AWS to call.

use std::sync::LazyLock;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_cleanrooms::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::http_client_fn;
use id_mapping_populator::clock::Clock;
use id_mapping_populator::config::Settings;
use id_mapping_populator::error::Error;
use id_mapping_populator::handler::{Invocation, Populator, Response};
use id_mapping_populator::input;
use id_mapping_populator::input::{Arrival, Content, Delivery, Part, Payload};
use id_mapping_populator::target::AwsLocation;
use time::{Duration, OffsetDateTime};
use tokio::runtime::{Builder, Runtime};

const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:populator";
const REGION: &str = "eu-west-1";
const REQUEST_ID: &str = "8f1d6c6e-3a44-4f37-a9a5-7d1a2f0c4b99";

/// A table of the sample events, as `ID_MAPPING_TABLE_ARNS` names it.
const TABLE: &str = "arn:aws:cleanrooms:eu-west-1:123456789012:membership/11111111-2222-4333-8444-555555555555/\
                     idmappingtable/aaaaaaaa-0001-4000-8000-000000000001";

/// The time of each arrival: 2026-11-23T12:00:00Z.
pub const NOW: OffsetDateTime =
    OffsetDateTime::UNIX_EPOCH.saturating_add(Duration::seconds(1_795_435_200));

/// A function without configured tables.
pub static WITHOUT_TABLES: LazyLock<Function> = LazyLock::new(|| Function::new(&[]));

/// A function with one configured table, which chooses the job type.
pub static WITH_TABLE: LazyLock<Function> = LazyLock::new(|| {
    Function::new(&[
        ("ID_MAPPING_TABLE_ARNS", TABLE),
        ("DEFAULT_JOB_TYPE", "AUTO"),
    ])
});

/// The function with its settings.
pub struct Function {
    settings: Settings,
    location: AwsLocation,
    populator: Populator,
    runtime: Runtime,
}

impl Function {
    fn new(variables: &[(&str, &str)]) -> Self {
        let settings = Settings::read(|name| {
            let set = variables.iter().find(|(key, _)| *key == name);
            set.map(|(_, value)| (*value).to_owned())
                .or_else(|| (name == "AWS_REGION").then(|| REGION.to_owned()))
        })
        .expect("the settings are valid");
        // Without credentials a call would fail before it reaches the HTTP client, which detects calls.
        let credentials = Credentials::new("key", "secret", None, None, "fuzz");
        let no_calls = http_client_fn(|_, _| panic!("AWS is called"));
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(REGION))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(no_calls)
            .build();
        Self {
            populator: Populator::new(settings.clone(), &config, Clock::new(|| NOW)),
            location: AwsLocation::of(ARN, REGION),
            settings,
            runtime: Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime of one thread can be built"),
        }
    }

    /// Reads a payload.
    pub fn read(&self, payload: &Payload) -> Result<Delivery, Error> {
        let arrival = Arrival {
            request_id: REQUEST_ID,
            function_arn: ARN,
            at: NOW,
            location: &self.location,
            settings: &self.settings,
        };
        input::parse(payload, &arrival)
    }

    /// Reads a payload that has one part, or a batch of one message that has one. Panics if it is refused.
    pub fn read_one(&self, payload: &Payload) -> Content {
        let parts = match self.read(payload) {
            Ok(Delivery::Direct(parts) | Delivery::Button(parts, _)) => parts,
            Ok(Delivery::Status(view)) => panic!("a question for status: {view:?}"),
            Ok(Delivery::Batch(messages)) => messages
                .into_iter()
                .flat_map(|message| message.parts)
                .collect(),
            Err(error) => panic!("{error}"),
        };
        let one: Result<[Part; 1], _> = parts.try_into();
        match one {
            Ok([part]) => part.content.unwrap_or_else(|error| panic!("{error}")),
            Err(parts) => panic!("there are several parts: {parts:?}"),
        }
    }

    /// Handles an invocation. Panics if it calls AWS.
    pub fn handle(&self, payload: &Payload) -> Result<Response, Error> {
        let invocation = Invocation {
            request_id: REQUEST_ID.to_owned(),
            function_arn: ARN.to_owned(),
            deadline: NOW + Duration::minutes(1),
            trace_header: None,
        };
        self.runtime
            .block_on(self.populator.handle(payload, &invocation))
    }
}
