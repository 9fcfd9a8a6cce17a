//! The function in this process, as `main` builds it but for a given environment. Shared by the
//! tests, the example and the benchmark.

use aws_config::SdkConfig;
use aws_sdk_cleanrooms::config::Credentials;
use fake_aws::{CREDENTIALS, Environment, FUNCTION_ARN};
use id_mapping_populator::aws::clients;
use id_mapping_populator::clock::Clock;
use id_mapping_populator::config::Settings;
use id_mapping_populator::error::Error;
use id_mapping_populator::handler::{Invocation, Populator};
use time::OffsetDateTime;

pub fn settings(environment: &Environment) -> Result<Settings, Error> {
    Settings::read(|name| environment.setting(name))
}

/// The configuration of SDK clients whose calls go to the environment's services.
pub async fn sdk_config(environment: &Environment) -> SdkConfig {
    let [key_id, secret, _] = CREDENTIALS;
    let loader = clients::config_loader(fake_aws::REGION)
        .endpoint_url(environment.endpoint_url())
        .credentials_provider(Credentials::new(key_id, secret, None, None, "fake-aws"));
    match environment.http_client() {
        Some(client) => loader.http_client(client).load().await,
        None => loader.load().await,
    }
}

pub async fn populator(environment: &Environment, clock: Clock) -> Result<Populator, Error> {
    let config = sdk_config(environment).await;
    Ok(Populator::new(settings(environment)?, &config, clock))
}

pub fn invocation(request_id: &str, deadline: OffsetDateTime) -> Invocation {
    Invocation {
        request_id: request_id.to_owned(),
        function_arn: FUNCTION_ARN.to_owned(),
        deadline,
        trace_header: None,
    }
}
