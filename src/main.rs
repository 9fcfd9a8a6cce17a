//! Starts the function: reads the settings, creates the clients, and runs Lambda's runtime.

use std::process::ExitCode;

use id_mapping_populator::aws::clients;
use id_mapping_populator::clock::Clock;
use id_mapping_populator::config::{Settings, endpoint};
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
            "AWS_LAMBDA_RUNTIME_API is not set, and this is a Lambda function: start it with `cargo lambda watch`, or \
             try it with `cargo run --example local`"
        );
        return ExitCode::FAILURE;
    }
    // One thread is enough: Lambda sends one event at a time, and the function mostly waits for answers.
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("the asynchronous runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    // A task is polled as soon as it is woken. The future of `block_on` is polled only after the runtime has asked the
    // system for events.
    let served = runtime.spawn_local(serve(variable));
    match runtime.block_on(async { served.await? }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the Lambda runtime ended: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(
    variable: impl Fn(&str) -> Option<String> + 'static,
) -> Result<(), lambda_runtime::Error> {
    let populator = match Settings::read(&variable) {
        Ok(settings) => {
            for warning in settings.warnings() {
                tracing::warn!("{warning}");
            }
            let config = clients::load(clients::config_loader(&settings.region)).await;
            endpoint::check_loaded(&clients::endpoints(&config), &variable)
                .map(|()| Populator::new(settings, &config, Clock::system()))
        }
        Err(error) => Err(error),
    };
    let populator = populator.inspect_err(|error| {
        // The error is kept, and each invocation fails with it. If the process ended here, Lambda would report only
        // Runtime.ExitError.
        tracing::error!(errorType = error.error_type.as_str(), "{}", error.message);
    });
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
