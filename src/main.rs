//! The cold start, and nothing else.

use std::process::ExitCode;

use id_mapping_populator::aws::clients;
use id_mapping_populator::clock::Clock;
use id_mapping_populator::config::Settings;
use id_mapping_populator::error::Error;
use id_mapping_populator::handler::{Invocation, Populator};
use id_mapping_populator::input::Payload;
use id_mapping_populator::telemetry;
use lambda_runtime::tower::util::MapRequestLayer;
use lambda_runtime::{LambdaEvent, Runtime, service_fn};
use tokio::runtime::LocalOptions;
use tracing::Instrument;

fn main() -> ExitCode {
    let variable =
        |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    telemetry::start(
        variable("AWS_LAMBDA_LOG_FORMAT").as_deref(),
        variable("AWS_LAMBDA_LOG_LEVEL").as_deref(),
    );
    if variable("AWS_LAMBDA_RUNTIME_API").is_none() {
        tracing::error!(
            "this is a Lambda function, and AWS_LAMBDA_RUNTIME_API is not set: start it with `cargo lambda watch`, or \
             see it work with `cargo run --example local`"
        );
        return ExitCode::FAILURE;
    }
    // One thread: Lambda hands over one event at a time, and the work is waiting.
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
    {
        Ok(runtime) => runtime,
        Err(fault) => {
            tracing::error!("the asynchronous runtime does not start: {fault}");
            return ExitCode::FAILURE;
        }
    };
    // As a task: when it is woken it goes on at once. What is blocked on asks the system for news first.
    let served = runtime.spawn_local(serve(variable));
    match runtime.block_on(async { served.await? }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            tracing::error!("the Lambda runtime ended: {fault}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(
    variable: impl Fn(&str) -> Option<String> + 'static,
) -> Result<(), lambda_runtime::Error> {
    let populator = match Settings::read(variable) {
        Ok(settings) => {
            if let Some(warning) = settings.warning() {
                tracing::warn!("{warning}");
            }
            let config = clients::load(clients::config_loader(&settings.region)).await;
            Ok(Populator::new(settings, &config, Clock::system()))
        }
        // Kept, and given to each invocation: a function that ends at the start shows in Lambda
        // only as Runtime.ExitError.
        Err(error) => {
            tracing::error!(errorType = error.error_type.as_str(), "{}", error.message);
            Err(error)
        }
    };
    let answer = async |event: LambdaEvent<Payload>| match &populator {
        Ok(populator) => {
            let invocation = Invocation::from(&event.context);
            let span = telemetry::invocation_span(&invocation.request_id, invocation.trace_id());
            populator
                .handle(&event.payload, &invocation)
                .instrument(span)
                .await
        }
        Err(error) => Err::<_, Error>(error.clone()),
    };
    Runtime::new(service_fn(answer))
        .layer(MapRequestLayer::new(Payload::wrap))
        .run()
        .await
}
