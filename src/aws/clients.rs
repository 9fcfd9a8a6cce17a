//! The configuration that all clients of the AWS SDK share: one HTTPS client, timeouts, retries.

use std::sync::OnceLock;
use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::future::ProvideCredentials as ProvideFuture;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

/// The longest time that a connection may be idle and still be used. Lambda freezes the function between invocations,
/// and a server may close an idle connection during that time. A call on such a connection fails as if its answer were
/// lost.
pub const MAX_IDLE: Duration = Duration::from_secs(5);

/// The timeout for name resolution, TCP and TLS together. It is long enough for one lost SYN, which TCP repeats after
/// one second.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The largest number of attempts of an operation, the first included. An operation may restrict what is retried.
const MAX_ATTEMPTS: u32 = 3;

/// Creates the loader of the configuration that all clients share. The SDK reads the credentials and the
/// `AWS_ENDPOINT_URL*` variables from the environment.
pub fn config_loader(region: &str) -> ConfigLoader {
    // One connector for all clients, created when it is first needed: each connector parses all of the system's
    // certificates. The SDK's default client would create one for each service, to validate its configuration.
    let connector = OnceLock::new();
    let http_client = http_client_fn(move |_, _| connector.get_or_init(connector_to_aws).clone());
    let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(region.to_owned()))
        .http_client(http_client.clone())
        // Every call has its own timeout.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS));
    // Lambda sets both variables. The SDK's default chain also begins with them, but creates an STS client first.
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if is_set("AWS_ACCESS_KEY_ID") && is_set("AWS_SECRET_ACCESS_KEY") {
        loader.credentials_provider(EnvironmentVariableCredentialsProvider::new())
    } else {
        let region = region.to_owned();
        loader.credentials_provider(DefaultChain {
            region,
            http_client,
        })
    }
}

/// The SDK's default chain, built anew each time credentials are needed. A chain that was built once tells only its first
/// caller why a profile has no credentials.
#[derive(Debug)]
struct DefaultChain {
    region: String,
    http_client: SharedHttpClient,
}

impl ProvideCredentials for DefaultChain {
    fn provide_credentials<'a>(&'a self) -> ProvideFuture<'a>
    where
        Self: 'a,
    {
        ProvideFuture::new(async {
            let config = ProviderConfig::default()
                .with_region(Some(Region::new(self.region.clone())))
                .with_http_client(self.http_client.clone());
            let chain = DefaultCredentialsChain::builder().configure(config);
            chain.build().await.provide_credentials().await
        })
    }
}

/// Loads a configuration in which an empty `AWS_ENDPOINT_URL*` variable counts as unset (docs/reference.md#settings).
/// With the SDK's own configuration an empty variable causes a panic at the first call.
pub async fn load(loader: ConfigLoader) -> SdkConfig {
    #[derive(Debug)]
    struct NotEmpty(SdkConfig);
    impl LoadServiceConfig for NotEmpty {
        fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
            let value = self.0.service_config()?.load_config(key)?;
            (!value.is_empty()).then_some(value)
        }
    }
    let config = loader.load().await;
    let mut builder = config.to_builder();
    if config.endpoint_url().is_some_and(str::is_empty) {
        builder.set_endpoint_url(None);
    }
    builder.service_config(NotEmpty(config)).build()
}

/// The endpoints that a loaded configuration has, from the environment or from a file.
pub fn endpoints(config: &SdkConfig) -> Vec<String> {
    // The function may ask STS for credentials, and the live example calls CloudTrail.
    const SERVICES: [&str; 8] = [
        "cleanrooms",
        "cloudtrail",
        "dynamodb",
        "entityresolution",
        "eventbridge",
        "sqs",
        "ssm",
        "sts",
    ];
    let of_service = |service| {
        let key = ServiceConfigKey::builder()
            .service_id(service)
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url");
        config.service_config()?.load_config(key.build().ok()?)
    };
    let global = config.endpoint_url().map(str::to_owned);
    let of_services = SERVICES.into_iter().filter_map(of_service);
    global.into_iter().chain(of_services).collect()
}

fn connector_to_aws() -> SharedHttpConnector {
    let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT);
    let connector = Connector::builder()
        .connector_settings(settings.build())
        .pool_idle_timeout(MAX_IDLE)
        .proxy_config(ProxyConfig::from_env())
        .tls_provider(Provider::Rustls(CryptoMode::Ring));
    SharedHttpConnector::new(connector.build())
}

/// The options with which an event or a message is sent.
#[derive(Clone, Copy, Debug)]
pub struct SendOptions<'a> {
    /// How long sending may take.
    pub timeout: Duration,
    /// X-Ray's header of the invocation. `None` if the invocation is not traced.
    pub trace_header: Option<&'a str>,
}
