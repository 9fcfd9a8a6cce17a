//! The built binary, as Lambda runs it: a process, the Runtime API, the services over HTTP.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fake_aws::{Answered, Batch, Builder, Environment, FakeAws, LambdaRuntimeApi, Process, Used};
use serde_json::Value;

/// The function's timeout.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A running function. Its process ends with the test.
pub struct Function {
    pub aws: FakeAws,
    pub lambda: LambdaRuntimeApi,
    pub process: Process,
    log: PathBuf,
    invoked: AtomicU32,
}

impl Function {
    /// With services of its own.
    pub async fn start(variables: &[(&str, &str)]) -> Self {
        Self::built(Environment::builder().settings(variables)).await
    }

    /// With all that the builder names.
    pub async fn built(builder: Builder) -> Self {
        Self::within(&builder.over_http().await.unwrap(), TIMEOUT).await
    }

    /// In this environment, and with this timeout. Without an endpoint the SDK looks for one itself.
    pub async fn within(environment: &Environment, timeout: Duration) -> Self {
        let mut lambda = LambdaRuntimeApi::start().await.unwrap();
        lambda.timeout = timeout;
        // Test threads share the process: its id and the port make the name the test's own.
        let name = format!(
            "log-{}-{}",
            std::process::id(),
            lambda.host().replace(':', "-")
        );
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let file = File::create(&log).unwrap();
        let mut command = Command::new(binary());
        command
            .env_clear()
            .envs(lambda.variables())
            .envs(
                Some(environment.endpoint_url())
                    .filter(|url| !url.is_empty())
                    .map(|url| ("AWS_ENDPOINT_URL", url)),
            )
            .envs(environment.settings().iter().cloned())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        Self {
            aws: environment.aws.clone(),
            lambda,
            process: Process::start(&mut command).unwrap(),
            log,
            invoked: AtomicU32::new(0),
        }
    }

    pub async fn invoke(&self, payload: impl Into<Vec<u8>>) -> Answered {
        let number = self.invoked.fetch_add(1, Ordering::Relaxed);
        let answered = self
            .lambda
            .invoke(&format!("request-{number}"), payload.into())
            .await;
        answered.unwrap_or_else(|| panic!("no answer; the log: {}", self.log()))
    }

    /// Lambda's poller invokes it with a batch, which it must answer. Returns `None` if no message is
    /// visible.
    pub async fn poll(&self) -> Option<Batch> {
        let invoke = async |batch: &Value| Some(response(self.invoke(batch.to_string()).await));
        self.aws.poll(invoke).await
    }

    /// The log without its metrics.
    pub fn log(&self) -> String {
        let lines = self.all();
        let is_metric = |line: &&str| line.contains("\"_aws\"");
        let lines = lines.lines().filter(|line| !is_metric(line));
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// The lines of metrics.
    pub fn metrics(&self) -> Vec<Value> {
        let lines = self.all();
        let lines = lines.lines().filter(|line| line.contains("\"_aws\""));
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub fn used(&self) -> Used {
        self.process.used().unwrap()
    }

    /// All that was written.
    pub fn all(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The lines of the log, each of which must have what Lambda reads.
    pub fn lines(&self) -> Vec<Value> {
        let line = |line: &str| {
            let value: Value =
                serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
            for name in ["timestamp", "level", "message"] {
                assert!(value[name].is_string(), "{line}");
            }
            value
        };
        self.log().lines().map(line).collect()
    }
}

/// The binary that cargo built with these tests, or another one: a release build.
pub fn binary() -> String {
    let built = || env!("CARGO_BIN_EXE_id-mapping-populator").to_owned();
    std::env::var("POPULATOR_BINARY").unwrap_or_else(|_| built())
}

pub fn error(answered: Answered) -> (String, String) {
    match answered {
        Answered::Error {
            error_type,
            message,
        } => (error_type, message),
        Answered::Response(value) => panic!("no error: {value}"),
    }
}

pub fn response(answered: Answered) -> Value {
    match answered {
        Answered::Response(value) => value,
        Answered::Error {
            error_type,
            message,
        } => panic!("{error_type}: {message}"),
    }
}
