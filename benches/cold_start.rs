//! Measures a cold start and the invocations after it: CPU time, wall time, and peak memory, of this function and of its
//! peers, in turn, over HTTPS on loopback.
//!
//! Run it with `cargo bench --bench cold_start`. Set `COLD_START_RUNS=5` for fewer than 15 counted rounds, and
//! `COLD_START_OTHER=PATH` to measure another build of the function too. `benches/peers/README.md` says how to install
//! the peers. Peers that are not installed are skipped.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fake_aws::{Answered, Environment, FakeAws, LambdaRuntimeApi, Process};
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

type Fallible<T> = Result<T, Box<dyn Error>>;

/// The binary of the function that does nothing.
const FLOOR: &str = env!("CARGO_BIN_EXE_floor");

const WARM: u32 = 50;

/// A pause after which an idle connection is not used again (`clients::MAX_IDLE` is five seconds).
const PAUSE: Duration = Duration::from_secs(6);
const PAUSES: usize = 5;
const BUNDLES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];
const MEMBERSHIP: &str = "11111111-2222-4333-8444-555555555555";
const TABLE: &str = "aaaaaaaa-0001-4000-8000-000000000001";

/// A function that is measured.
struct Side {
    name: &'static str,
    command: Vec<PathBuf>,
    environment: Environment,
    job_type: &'static str,
}

/// CPU and wall time in milliseconds.
#[derive(Clone, Copy, Default)]
struct Cost {
    cpu: f64,
    wall: f64,
}

/// The measurements of one process, from its start to its last warm invocation. `warm` is the mean of all warm ones.
#[derive(Clone, Copy, Default)]
struct Run {
    start: Cost,
    first: Cost,
    warm: Cost,
    peak_mib: f64,
}

/// A started process, and the Runtime API that invokes it.
struct Started {
    process: Process,
    lambda: LambdaRuntimeApi,
    start: Cost,
}

fn main() -> Fallible<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(measure())
}

async fn measure() -> Fallible<()> {
    let rounds: usize = match std::env::var("COLD_START_RUNS") {
        Ok(count) => count
            .parse()
            .ok()
            .filter(|count| *count > 0)
            .ok_or("COLD_START_RUNS must be a number, at least 1")?,
        Err(_) => 15,
    };
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cold_start");
    fs::create_dir_all(&folder)?;
    let aws = FakeAws::start().await?;
    let services = Services::over_tls(&aws, &folder).await?;
    let sides = sides(&aws, &services)?;
    on_one_cpu()?;
    let mut runs: BTreeMap<&str, Vec<Run>> = BTreeMap::new();
    for round in 0..=rounds {
        for side in &sides {
            let run = side.run(&services, round).await?;
            // The first round fills the page cache.
            if round > 0 {
                runs.entry(side.name).or_default().push(run);
            }
        }
    }
    let mut rested: BTreeMap<&str, Vec<Cost>> = BTreeMap::new();
    for round in 0..PAUSES {
        let mut all = Vec::new();
        for side in &sides {
            let started = side.start(&services).await?;
            side.invoked(1, &started, &format!("{round}-before"))
                .await?;
            all.push((side, started));
        }
        tokio::time::sleep(PAUSE).await;
        for (side, started) in &all {
            let cost = side.invoked(1, started, &format!("{round}-after")).await?;
            rested.entry(side.name).or_default().push(cost);
        }
    }
    report(&sides, &runs, &rested)
}

fn build(what: &[&str]) -> Fallible<()> {
    // Cargo's variables for this package are removed, because they would make build scripts run again.
    let ours_alone =
        |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    let environment = std::env::vars().filter(|(name, _)| !ours_alone(name));
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--quiet"])
        .args(what)
        .env_clear()
        .envs(environment)
        .status()?;
    if built.success() {
        Ok(())
    } else {
        Err(format!("{what:?} could not be built").into())
    }
}

/// Puts services and functions on one CPU. To wake a process on another CPU may cost as much as an invocation, or
/// nothing, which would make the figures vary.
fn on_one_cpu() -> Fallible<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .and_then(|list| list.trim().split(['-', ',']).next())
        .ok_or("/proc names no CPU")?;
    let pinned = Command::new("taskset")
        .args(["-acp", allowed, &std::process::id().to_string()])
        .stdout(Stdio::null())
        .status();
    if !pinned.is_ok_and(|status| status.success()) {
        println!("taskset is not available, so all CPUs are used");
    }
    Ok(())
}

/// Returns where Cargo puts the function's binary: beside the floor's.
fn ours() -> PathBuf {
    Path::new(FLOOR).with_file_name("id-mapping-populator")
}

/// Those that are there.
fn sides(aws: &FakeAws, services: &Services) -> Fallible<Vec<Side>> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let (ours, floor) = (ours(), PathBuf::from(FLOOR));
    // Each is built by itself. If it were built with this benchmark, it would get the benchmark's crate features.
    build(&["--package", "id-mapping-populator"])?;
    build(&["--package", "benchmarks"])?;
    let peers = root.join("benches/peers");
    let python = root.join("target/peers/bin/python");
    let node = root.join("target/peers-node");
    let main_job = Environment::builder().on(aws);
    let everything = Environment::builder()
        .ledger()
        .event_bus()
        .setting("DEFAULT_JOB_TYPE", "AUTO")
        .setting("FULL_REFRESH_EVERY", "7d")
        .setting("MAX_WAIT", "72h")
        .setting("WAITING_QUEUE_URL", &services.queue)
        .on(aws);
    let side = |name, command, environment: &Environment, job_type| Side {
        name,
        command,
        environment: environment.clone(),
        job_type,
    };
    let in_python = |function: &str| {
        vec![
            python.clone(),
            "-B".into(),
            peers.join("runtime.py"),
            function.into(),
        ]
    };
    let mut sides = vec![
        side(
            "ours, main job",
            vec![ours.clone()],
            &main_job,
            "INCREMENTAL",
        ),
        side("floor", vec![floor], &main_job, "INCREMENTAL"),
        side("ours, everything", vec![ours], &everything, "AUTO"),
    ];
    if let Some(path) = std::env::var_os("COLD_START_OTHER") {
        sides.push(side(
            "another build",
            vec![path.into()],
            &main_job,
            "INCREMENTAL",
        ));
    }
    if works(&python, &["-c", "import aws_lambda_powertools, boto3"]) {
        sides.push(side(
            "boto3",
            in_python("boto3_function"),
            &main_job,
            "INCREMENTAL",
        ));
        sides.push(side(
            "boto3 + Powertools",
            in_python("powertools_function"),
            &everything,
            "AUTO",
        ));
    } else {
        println!("boto3 and Powertools are skipped: see benches/peers/README.md to install them");
    }
    let sdk = node.join("node_modules/@aws-sdk/client-cleanrooms");
    if sdk.exists() && works(Path::new("node"), &["--version"]) {
        let command = vec![
            "node".into(),
            node.join("runtime.mjs"),
            "./sdk_v3_function.mjs".into(),
        ];
        sides.push(side(
            "AWS SDK for JavaScript v3",
            command,
            &main_job,
            "INCREMENTAL",
        ));
    } else {
        println!(
            "the AWS SDK for JavaScript is skipped: see benches/peers/README.md to install it"
        );
    }
    Ok(sides)
}

/// Returns whether a program exists and succeeds with these arguments.
fn works(program: &Path, arguments: &[&str]) -> bool {
    let done = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    done.is_ok_and(|status| status.success())
}

impl Side {
    async fn run(&self, services: &Services, round: usize) -> Fallible<Run> {
        let started = self.start(services).await?;
        Ok(Run {
            start: started.start,
            first: self.invoked(1, &started, &format!("{round}-first")).await?,
            warm: self
                .invoked(WARM, &started, &format!("{round}-warm"))
                .await?,
            peak_mib: started.process.used()?.peak_kib as f64 / 1024.0,
        })
    }

    async fn start(&self, services: &Services) -> Fallible<Started> {
        let lambda = LambdaRuntimeApi::start().await?;
        let (program, arguments) = self
            .command
            .split_first()
            .ok_or("a side without a program")?;
        let began = Instant::now();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(lambda.variables())
            .envs(
                ["SSL_CERT_FILE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"]
                    .map(|name| (name, &services.bundle)),
            )
            .envs(services.urls.iter().map(|(name, url)| (name, url)))
            .envs(self.environment.settings().iter().cloned())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::start(&mut command)?;
        lambda.polled().await;
        Ok(Started {
            start: cost(&process, began, Duration::ZERO)?,
            process,
            lambda,
        })
    }

    /// Invokes the function this many times, and returns the mean cost of an invocation.
    async fn invoked(&self, count: u32, started: &Started, when: &str) -> Fallible<Cost> {
        let Started {
            process, lambda, ..
        } = started;
        let name = self
            .name
            .replace(|letter: char| !letter.is_alphanumeric(), "");
        let (before, began) = (process.used()?.cpu, Instant::now());
        for number in 0..count {
            let request_id = format!("{name}-{when}-{number}");
            let payload = json!({
                "membershipIdentifier": MEMBERSHIP,
                "idMappingTableIdentifier": TABLE,
                "jobType": self.job_type,
                "requestId": request_id,
            });
            let answered = lambda.invoke(&request_id, payload.to_string()).await;
            match &answered {
                // An invocation that failed must not be counted.
                Some(Answered::Response(answer)) if self.name == "floor" || names_job(answer) => {}
                other => return Err(format!("{} answered {other:?}", self.name).into()),
            }
            lambda.polled().await;
        }
        let cost = cost(process, began, before)?;
        let each = |sum: f64| sum / f64::from(count);
        Ok(Cost {
            cpu: each(cost.cpu),
            wall: each(cost.wall),
        })
    }
}

fn names_job(answer: &Value) -> bool {
    ["/idMappingJobId", "/outcomes/0/idMappingJobId"]
        .iter()
        .any(|job| answer.pointer(job).is_some_and(Value::is_string))
}

fn cost(process: &Process, began: Instant, before: Duration) -> Fallible<Cost> {
    let wall = began.elapsed();
    let cpu = process.used()?.cpu.checked_sub(before);
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(Cost {
        cpu: milliseconds(cpu.ok_or("a thread ended, and its CPU time with it")?),
        wall: milliseconds(wall),
    })
}

/// The services over HTTPS, each with its own address as in AWS.
struct Services {
    /// The system's certificates, and the certificate of the services' authority.
    bundle: PathBuf,
    /// The name and value of each endpoint variable.
    urls: Vec<(String, String)>,
    queue: String,
}

impl Services {
    async fn over_tls(aws: &FakeAws, folder: &Path) -> Fallible<Self> {
        let mut of_authority = rcgen::CertificateParams::new(Vec::new())?;
        // The authority needs a name of its own. Otherwise the certificates look self-signed.
        of_authority
            .distinguished_name
            .push(rcgen::DnType::CommonName, "cold start");
        of_authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate()?;
        let authority = of_authority.self_signed(&key)?;
        let issuer = rcgen::Issuer::new(of_authority, key);
        let own_key = rcgen::KeyPair::generate()?;
        let own = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?
            .signed_by(&own_key, &issuer)?;

        let system = BUNDLES
            .iter()
            .find_map(|path| fs::read_to_string(path).ok());
        let system = system.ok_or("the system has no bundle of certificates")?;
        let bundle = folder.join("bundle.pem");
        fs::write(&bundle, system + &authority.pem())?;

        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own_key.serialize_der()));
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![own.der().clone()], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut urls = Vec::new();
        for service in ["CLEANROOMS", "DYNAMODB", "ENTITYRESOLUTION", "EVENTBRIDGE"] {
            let url = listen(aws, acceptor.clone()).await?;
            urls.push((format!("AWS_ENDPOINT_URL_{service}"), url));
        }
        let sqs = listen(aws, acceptor).await?;
        Ok(Self {
            bundle,
            urls,
            queue: format!("{sqs}/{}/waiting", fake_aws::ACCOUNT),
        })
    }
}

/// Accepts HTTPS connections and forwards them to the services over HTTP.
async fn listen(aws: &FakeAws, acceptor: TlsAcceptor) -> Fallible<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    let plain = aws.url().trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, plain) = (acceptor.clone(), plain.clone());
            tokio::spawn(async move {
                // A broken connection makes the invocation fail, which is reported there.
                let _ = stream.set_nodelay(true);
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let Ok(mut plain) = TcpStream::connect(plain).await else {
                    return;
                };
                let _ = plain.set_nodelay(true);
                let _ = copy_bidirectional(&mut stream, &mut plain).await;
            });
        }
    });
    Ok(format!("https://localhost:{port}"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn report(
    sides: &[Side],
    runs: &BTreeMap<&str, Vec<Run>>,
    rested: &BTreeMap<&str, Vec<Cost>>,
) -> Fallible<()> {
    type Figure = (&'static str, fn(&Run) -> f64);
    const FIGURES: [Figure; 7] = [
        ("start CPU ms", |run| run.start.cpu),
        ("first CPU ms", |run| run.first.cpu),
        ("warm CPU ms", |run| run.warm.cpu),
        ("peak MiB", |run| run.peak_mib),
        ("start wall ms", |run| run.start.wall),
        ("first wall ms", |run| run.first.wall),
        ("warm wall ms", |run| run.warm.wall),
    ];
    let rounds = runs.values().map(Vec::len).max().unwrap_or_default();
    println!("medians of {rounds} rounds, {WARM} warm invocations each\n");
    let head: Vec<&str> = FIGURES.iter().map(|(name, _)| *name).collect();
    println!("| | {} |", head.join(" | "));
    println!("|---|{}", "---|".repeat(FIGURES.len()));
    for side in sides {
        let of = &runs[side.name];
        let cells: Vec<String> = FIGURES
            .iter()
            .map(|(_, figure)| format!("{:.3}", median(of.iter().map(figure).collect())))
            .collect();
        println!("| {} | {} |", side.name, cells.join(" | "));
    }
    println!("\nmedians of the ratios, round by round\n");
    println!("| | {} |", head.join(" | "));
    println!("|---|{}", "---|".repeat(FIGURES.len()));
    for (one, other) in [
        ("ours, main job", "floor"),
        ("another build", "ours, main job"),
        ("boto3", "ours, main job"),
        ("AWS SDK for JavaScript v3", "ours, main job"),
        ("boto3 + Powertools", "ours, everything"),
    ] {
        let (Some(ones), Some(others)) = (runs.get(one), runs.get(other)) else {
            continue;
        };
        let cells: Vec<String> = FIGURES
            .iter()
            .map(|(_, figure)| {
                let ratios = ones
                    .iter()
                    .zip(others)
                    .map(|(one, other)| figure(one) / figure(other));
                format!("{:.1}", median(ratios.collect()))
            })
            .collect();
        println!("| {one} / {other} | {} |", cells.join(" | "));
    }
    let pause = PAUSE.as_secs();
    println!("\nan invocation {pause} s after the last one, medians of {PAUSES}\n");
    println!("| | CPU ms | wall ms |\n|---|---|---|");
    for side in sides {
        let of = &rested[side.name];
        let cpu = median(of.iter().map(|cost| cost.cpu).collect());
        let wall = median(of.iter().map(|cost| cost.wall).collect());
        println!("| {} | {cpu:.3} | {wall:.3} |", side.name);
    }
    let binary = fs::metadata(ours())?.len();
    println!("\nthis function's binary: {binary} bytes");
    Ok(())
}
