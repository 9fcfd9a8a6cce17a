//! The built binary, as Lambda runs it: a process, the Runtime API, the services over HTTP.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fake_aws::{Answered, Exception, FakeAws, Fault, LambdaRuntimeApi, Operation};
use serde_json::{Value, json};

use crate::world::{FUNCTION_ARN, M, T1, event_file, request_for, request_for_all, table_arn};

/// A running function. Its process ends with the test.
struct Function {
    aws: FakeAws,
    lambda: LambdaRuntimeApi,
    process: Child,
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
    async fn start(variables: &[(&str, &str)]) -> Self {
        let aws = FakeAws::start().await.unwrap();
        let mut lambda = LambdaRuntimeApi::start().await.unwrap();
        lambda.function_arn = FUNCTION_ARN.to_owned();
        lambda.timeout = Duration::from_secs(30);
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
                ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
                ("AWS_SECRET_ACCESS_KEY", "secret"),
                ("AWS_SESSION_TOKEN", "token"),
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
            aws,
            lambda,
            process,
            log,
            invoked: AtomicU32::new(0),
        }
    }

    async fn invoke(&self, payload: impl Into<Vec<u8>>) -> Answered {
        let number = self.invoked.fetch_add(1, Ordering::Relaxed);
        let answered = self
            .lambda
            .invoke(&format!("request-{number}"), payload.into())
            .await;
        answered.unwrap_or_else(|| panic!("no answer; the log: {}", self.log()))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The lines of the log, each of which must have what Lambda reads.
    fn lines(&self) -> Vec<Value> {
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
fn binary() -> String {
    let built = || env!("CARGO_BIN_EXE_id-mapping-populator").to_owned();
    std::env::var("POPULATOR_BINARY").unwrap_or_else(|_| built())
}

fn error(answered: Answered) -> (String, String) {
    match answered {
        Answered::Error {
            error_type,
            message,
        } => (error_type, message),
        Answered::Response(value) => panic!("no error: {value}"),
    }
}

fn response(answered: Answered) -> Value {
    match answered {
        Answered::Response(value) => value,
        Answered::Error {
            error_type,
            message,
        } => panic!("{error_type}: {message}"),
    }
}

#[tokio::test]
async fn good_and_bad_events_are_answered_and_logged_once() {
    let function = Function::start(&[("EVENT_BUS_NAME", "default")]).await;
    let good = response(
        function
            .invoke(event_file("population-requested.json").to_string())
            .await,
    );
    assert_eq!(
        good["outcomes"][0]["idMappingJobId"],
        function.aws.jobs()[0]
    );
    assert_eq!(function.aws.events().len(), 1);
    let call = &function.aws.calls_of(Operation::PopulateIdMappingTable)[0];
    assert_eq!(call.headers["x-amz-security-token"], "token");

    let (error_type, message) = error(
        function
            .invoke(r#"{"membershipId":"hunter2-Secret"}"#)
            .await,
    );
    assert_eq!(error_type, "InvalidRequest");
    assert!(message.contains("$.membershipId is not known"), "{message}");

    function.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::access_denied()),
    );
    let (error_type, _) = error(function.invoke(request_for(T1).to_string()).await);
    assert_eq!(error_type, "AccessDenied");

    function.aws.fail_next(
        Operation::PopulateIdMappingTable,
        Fault::Refuse(Exception::conflict()),
    );
    let (error_type, _) = error(
        function
            .invoke(request_for_all(&[T1, crate::world::T2]).to_string())
            .await,
    );
    assert_eq!(error_type, "SlotBusy");

    response(
        function
            .invoke(event_file("outcomes/started.json").to_string())
            .await,
    );

    let lines = function.lines();
    let seen: Vec<_> = lines
        .iter()
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
            [
                text("requestId"),
                text("level"),
                text("outcome"),
                text("errorType"),
                text("rule"),
                text("jobType"),
            ]
            .join(" ")
        })
        .collect();
    assert_eq!(
        seen,
        [
            "request-0 INFO STARTED - REQUESTED INCREMENTAL",
            "request-1 ERROR - InvalidRequest - -",
            "request-2 ERROR REJECTED AccessDenied SERVICE_DEFAULT -",
            "request-3 ERROR - SlotBusy SERVICE_DEFAULT -",
            "request-3 INFO STARTED - SERVICE_DEFAULT -",
            "request-4 WARN - - - -",
        ]
    );
    assert_eq!(lines[0]["membershipIdentifier"], M);
    assert_eq!(lines[0]["idMappingTableIdentifier"], T1);
    assert_eq!(lines[0]["idMappingJobId"], function.aws.jobs()[0]);
    assert!(
        !function.log().contains("hunter2") && !function.log().contains("customers"),
        "{}",
        function.log()
    );
}

#[tokio::test]
async fn no_level_lets_a_payload_into_the_log() {
    let variables = [
        ("EVENT_BUS_NAME", "default"),
        ("AWS_LAMBDA_LOG_LEVEL", "TRACE"),
    ];
    let function = Function::start(&variables).await;
    let mut event = event_file("population-requested.json");
    event["detail"]["note"] = json!("hunter2-Secret");
    response(function.invoke(event.to_string()).await);
    function
        .aws
        .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndDrop);
    error(function.invoke(event.to_string()).await);
    event["detail"]["jobType"] = json!("hunter2-Secret");
    error(function.invoke(event.to_string()).await);
    error(function.invoke(r#""hunter2-Secret" and no JSON"#).await);
    error(function.invoke(*b"\xff\xfe hunter2-Secret").await);
    assert_eq!(function.lines().len(), 5);
    assert!(!function.log().contains("hunter2"), "{}", function.log());
}

#[tokio::test]
async fn what_is_no_json_is_refused_to_its_last_byte() {
    let function = Function::start(&[]).await;
    let good = request_for(T1).to_string();
    for tail in ["", " \n"] {
        response(function.invoke(format!("{good}{tail}")).await);
    }
    for tail in ["garbage", "}", ",", &good, r#", "dryRun": true}"#] {
        let (error_type, message) = error(function.invoke(format!("{good}{tail}")).await);
        assert_eq!(error_type, "InvalidRequest");
        assert!(
            message.contains("$ is no JSON: trailing characters"),
            "{message}"
        );
    }
    for payload in [
        &b""[..],
        b" ",
        b"\xff\xfe",
        b"{\"membershipIdentifier\": \"\xff\"}",
    ] {
        let (error_type, message) = error(function.invoke(payload).await);
        assert_eq!(error_type, "InvalidRequest");
        assert!(message.contains("$ is no JSON: "), "{message}");
    }
    assert_eq!(function.aws.jobs().len(), 2);
}

#[tokio::test]
async fn the_level_and_the_text_format_are_obeyed() {
    let function = Function::start(&[
        ("AWS_LAMBDA_LOG_LEVEL", "ERROR"),
        ("AWS_LAMBDA_LOG_FORMAT", "Text"),
    ])
    .await;
    response(function.invoke(request_for(T1).to_string()).await);
    error(function.invoke("{}").await);
    let log = function.log();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(
        log.contains("Z ERROR the payload is refused: $ names no ID mapping table"),
        "{log}"
    );
    assert!(
        log.contains("requestId=\"request-1\" errorType=\"InvalidRequest\""),
        "{log}"
    );
}

#[tokio::test]
async fn a_bad_setting_is_one_line_and_then_each_invocations_error() {
    let function = Function::start(&[("DEFAULT_JOB_TYPE", "FULL")]).await;
    for payload in [
        request_for(T1).to_string(),
        "{}".to_owned(),
        event_file("sqs-batch.json").to_string(),
    ] {
        let (error_type, message) = error(function.invoke(payload).await);
        assert_eq!(error_type, "InvalidConfiguration");
        assert!(
            message.contains("environment variable DEFAULT_JOB_TYPE is no job type: write BATCH"),
            "{message}"
        );
    }
    let lines = function.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        (&lines[0]["level"], &lines[0]["errorType"]),
        (&json!("ERROR"), &json!("InvalidConfiguration"))
    );
    assert_eq!(function.aws.call_count(), 0);
}

#[tokio::test]
async fn outside_lambda_it_says_what_to_do() {
    let output = Command::new(binary()).env_clear().output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("AWS_LAMBDA_RUNTIME_API is not set")
            && said.contains("cargo run --example local"),
        "{said}"
    );
}

/// Pseudo-random numbers (xorshift), the same from the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// What an answer tells of the jobs that were started for it.
fn started(payload: &[u8], answered: &Answered) -> usize {
    match answered {
        Answered::Response(value) => match value["batchItemFailures"].as_array() {
            // Each message of the batches here has one target.
            Some(failures) => {
                let records = serde_json::from_slice::<Value>(payload).unwrap()["Records"]
                    .as_array()
                    .unwrap()
                    .len();
                records - failures.len()
            }
            None => value["outcomes"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|outcome| outcome["outcome"] == "STARTED")
                .count(),
        },
        Answered::Error {
            error_type,
            message,
        } => {
            assert_eq!(error_type, "InvalidRequest", "{message}");
            0
        }
    }
}

#[tokio::test]
async fn ten_thousand_payloads_have_their_answers_and_none_that_is_refused_has_a_call() {
    const PAYLOADS: usize = 10_000;
    const SEED: u64 = 0x5eed_0f0d_d0b1_e5e5;
    let mut function = Function::start(&[
        ("ID_MAPPING_TABLE_ARNS", &table_arn(T1)),
        ("AWS_LAMBDA_LOG_LEVEL", "ERROR"),
    ])
    .await;
    let mut random = Random(SEED);
    let files = [
        "bare-request.json",
        "bare-arn.json",
        "bare-targets.json",
        "bare-dry-run.json",
        "scheduler-input.json",
        "population-requested.json",
        "population-requested-string-detail.json",
        "population-requested-resources.json",
        "scheduled-rule.json",
        "scheduler-default.json",
        "s3-object-created.json",
        "glue-job-succeeded.json",
        "step-functions-succeeded.json",
        "cloudtrail-delete.json",
        "cloudtrail-failed-call.json",
        "sqs-batch.json",
        "failure-record.json",
        "outcomes/started.json",
        "refused/near-miss.json",
        "refused/auto.json",
    ];
    let valid: Vec<String> = files
        .iter()
        .map(|file| event_file(file).to_string())
        .collect();
    let (mut answered_well, mut refused) = (0, 0);
    for number in 0..PAYLOADS {
        let chosen = &valid[random.below(valid.len())];
        let payload: Vec<u8> = match number % 20 {
            // 100,000 levels deep, in lists and objects, alone and inside a request
            0 if number % 400 == 0 => match random.below(3) {
                0 => "[".repeat(100_000).into_bytes(),
                1 => format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000)).into_bytes(),
                _ => format!(
                    r#"{{"detail-type":"t","source":"x","detail":{{"idMappingTableArn":"{}","facts":{}{}}}}}"#,
                    table_arn(T1), "[".repeat(100_000), "]".repeat(100_000)
                )
                .into_bytes(),
            },
            // 200 KB: a good request among other people's facts, and one unknown field
            1 if number % 200 == 1 => {
                let mut event = event_file("population-requested.json");
                event["detail"]["facts"] = json!("f".repeat(200_000));
                event.to_string().into_bytes()
            }
            2 if number % 200 == 2 => {
                let mut bare = request_for(T1);
                bare["x".repeat(200_000)] = json!(1);
                bare.to_string().into_bytes()
            }
            // random bytes, and random JSON
            3 | 4 => (0..random.below(200)).map(|_| random.next() as u8).collect(),
            5 => format!("[{}]", (0..random.below(50)).map(|_| random.next().to_string()).collect::<Vec<_>>().join(",")).into_bytes(),
            // a good payload with some bytes replaced, cut, or doubled
            6..=15 => {
                let mut bytes = chosen.clone().into_bytes();
                for _ in 0..=random.below(3) {
                    let place = random.below(bytes.len());
                    match random.below(4) {
                        0 => bytes[place] = random.next() as u8,
                        1 => bytes[place] = b"{}[]\",:0a"[random.below(9)],
                        2 => drop(bytes.drain(place..(place + random.below(20)).min(bytes.len()))),
                        _ => {
                            let piece = bytes[place..(place + random.below(20)).min(bytes.len())].to_vec();
                            bytes.splice(place..place, piece);
                        }
                    }
                    if bytes.is_empty() {
                        break;
                    }
                }
                bytes
            }
            _ => chosen.clone().into_bytes(),
        };
        // A batch that a mutation changed may hold other than one target a message.
        let countable =
            number % 20 > 15 || !payload.windows(9).any(|window| window == b"\"Records\"");
        let before = function.aws.jobs().len();
        let answered = function.invoke(payload.clone()).await;
        if countable {
            let jobs = function.aws.jobs().len() - before;
            assert_eq!(
                jobs,
                started(&payload, &answered),
                "payload {number} of seed {SEED:#x}: {answered:?}"
            );
        }
        // What is no JSON document from its first byte to its last is refused, whatever it holds.
        if serde_json::from_slice::<serde::de::IgnoredAny>(&payload).is_err() {
            assert!(
                matches!(answered, Answered::Error { .. }),
                "payload {number} of seed {SEED:#x}"
            );
        }
        match answered {
            Answered::Response(_) => answered_well += 1,
            Answered::Error { .. } => refused += 1,
        }
    }
    println!(
        "{PAYLOADS} payloads: {answered_well} answered, {refused} refused, {} jobs",
        function.aws.jobs().len()
    );
    assert!(
        answered_well > 3_000 && refused > 3_000,
        "{answered_well} {refused}"
    );
    assert!(
        function.process.try_wait().unwrap().is_none(),
        "the process ended"
    );
    assert!(!function.log().contains("panic"), "{}", function.log());
    assert_eq!(function.aws.call_count(), function.aws.jobs().len());
}

/// What the kernel counts of a process: CPU time in microseconds, and peak memory in KiB.
#[cfg(target_os = "linux")]
fn used(process: &Child) -> (u64, u64) {
    let read =
        |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", process.id())).unwrap();
    // /proc/PID/schedstat: nanoseconds on a CPU, of the main thread, which is the only one that works.
    let nanoseconds = read("schedstat")
        .split(' ')
        .next()
        .unwrap()
        .parse::<u64>()
        .unwrap();
    let status = read("status");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib = peak.trim().trim_end_matches(" kB").parse().unwrap();
    (nanoseconds / 1_000, kib)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_stays_flat_and_start_first_and_warm_are_measured() {
    use std::time::Instant;

    let began = Instant::now();
    let function = Function::start(&[
        ("EVENT_BUS_NAME", "default"),
        ("AWS_LAMBDA_LOG_LEVEL", "ERROR"),
    ])
    .await;
    function.lambda.polled().await;
    let show = |what: &str, wall: Duration, before: (u64, u64), after: (u64, u64)| {
        println!(
            "{what}: {:.2} ms, of which {:.2} ms of CPU, peak memory {:.1} MiB",
            wall.as_secs_f64() * 1e3,
            (after.0 - before.0) as f64 / 1e3,
            after.1 as f64 / 1024.0
        );
    };
    let start = used(&function.process);
    show("start", began.elapsed(), (0, 0), start);
    let payload = event_file("population-requested.json").to_string();
    let began = Instant::now();
    response(function.invoke(payload.clone()).await);
    let first = used(&function.process);
    show("first invocation", began.elapsed(), start, first);

    let warm = async |count: u32| {
        let (before, began) = (used(&function.process), Instant::now());
        for _ in 0..count {
            response(function.invoke(payload.clone()).await);
        }
        let (after, wall) = (used(&function.process), began.elapsed() / count);
        let per_call = (before.0 + (after.0 - before.0) / u64::from(count), after.1);
        show("warm invocation", wall, before, per_call);
        after.1
    };
    let early = warm(200).await;
    let late = warm(1_000).await;
    assert!(
        late <= early + 1_024,
        "{early} KiB after 200 invocations, {late} KiB after 1,200"
    );
}
