//! What a start and an invocation cost, and that memory stays flat.

use std::process::Child;
use std::time::{Duration, Instant};

use crate::function::{Function, response};
use crate::world::event_file;

/// What the kernel counts of a process: CPU time in microseconds, and peak memory in KiB.
pub fn used(process: &Child) -> (u64, u64) {
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

#[tokio::test]
async fn memory_stays_flat_and_start_first_and_warm_are_measured() {
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
