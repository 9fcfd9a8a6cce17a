//! What a start and an invocation cost, and that memory stays flat.

use std::time::{Duration, Instant};

use crate::function::{Function, response};
use crate::harness::event_file;

#[tokio::test]
async fn memory_stays_flat_and_start_first_and_warm_are_measured() {
    let began = Instant::now();
    let function = Function::start(&[
        ("EVENT_BUS_NAME", "default"),
        ("AWS_LAMBDA_LOG_LEVEL", "ERROR"),
    ])
    .await;
    function.lambda.polled().await;
    let show = |what: &str, wall: Duration, cpu: Duration, peak_kib: u64| {
        println!(
            "{what}: {:.2} ms, of which {:.2} ms of CPU, peak memory {:.1} MiB",
            wall.as_secs_f64() * 1e3,
            cpu.as_secs_f64() * 1e3,
            peak_kib as f64 / 1024.0
        );
    };
    let start = function.used();
    show("start", began.elapsed(), start.cpu, start.peak_kib);
    let payload = event_file("population-requested.json").to_string();
    let began = Instant::now();
    response(function.invoke(payload.clone()).await);
    let first = function.used();
    let cpu = first.cpu.saturating_sub(start.cpu);
    show("first invocation", began.elapsed(), cpu, first.peak_kib);

    let warm = async |count: u32| {
        let (before, began) = (function.used(), Instant::now());
        for _ in 0..count {
            response(function.invoke(payload.clone()).await);
        }
        let (after, wall) = (function.used(), began.elapsed() / count);
        let cpu = after.cpu.saturating_sub(before.cpu) / count;
        show("warm invocation", wall, cpu, after.peak_kib);
        after.peak_kib
    };
    let early = warm(200).await;
    let late = warm(1_000).await;
    assert!(
        late <= early + 1_024,
        "{early} KiB after 200 invocations, {late} KiB after 1,200"
    );
}
