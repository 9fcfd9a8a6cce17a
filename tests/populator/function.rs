//! The built binary, as Lambda runs it: a process, the Runtime API, the services over HTTP.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fake_aws::{Answered, FakeAws, LambdaRuntimeApi, Used};
use serde_json::Value;

use crate::world::FUNCTION_ARN;

/// The role's, as Lambda sets them; unlike any other text.
pub const CREDENTIALS: [&str; 3] = ["AKIDEXAMPLE", "k7secret-access-key", "t0session-token"];

/// A running function. Its process ends with the test.
pub struct Function {
    pub aws: FakeAws,
    pub lambda: LambdaRuntimeApi,
    pub process: Child,
    log: PathBuf,
    invoked: AtomicU32,
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Function {
    /// With services of its own.
    pub async fn start(variables: &[(&str, &str)]) -> Self {
        let aws = FakeAws::start().await.unwrap();
        Self::on(&aws, Duration::from_secs(30), variables).await
    }

    /// With these services and this time-out.
    pub async fn on(aws: &FakeAws, timeout: Duration, variables: &[(&str, &str)]) -> Self {
        let mut lambda = LambdaRuntimeApi::start().await.unwrap();
        lambda.function_arn = FUNCTION_ARN.to_owned();
        lambda.timeout = timeout;
        // Test threads share the process: its id and the port make the name the test's own.
        let name = format!(
            "log-{}-{}",
            std::process::id(),
            lambda.host().replace(':', "-")
        );
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let file = File::create(&log).unwrap();
        let process = Command::new(binary())
            .env_clear()
            .envs([
                ("AWS_LAMBDA_RUNTIME_API", lambda.host().as_str()),
                ("AWS_LAMBDA_FUNCTION_NAME", "populator"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
                ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
                ("AWS_REGION", "eu-west-1"),
                ("AWS_ACCESS_KEY_ID", CREDENTIALS[0]),
                ("AWS_SECRET_ACCESS_KEY", CREDENTIALS[1]),
                ("AWS_SESSION_TOKEN", CREDENTIALS[2]),
                ("AWS_ENDPOINT_URL", &aws.url()),
                ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
            ])
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self {
            aws: aws.clone(),
            lambda,
            process,
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
        Used::by(self.process.id()).unwrap()
    }

    /// All that was written.
    pub fn all(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The lines of the log, each of which must have what Lambda reads.
    pub fn lines(&self) -> Vec<Value> {
        let line = |line: &str| {
            let value: Value =
                serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
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
