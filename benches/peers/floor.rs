//! A function that does nothing: the smallest cost of a function with the Rust runtime.

use lambda_runtime::{LambdaEvent, Runtime, service_fn};
use serde_json::Value;

fn main() -> Result<(), lambda_runtime::Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(
            Runtime::new(service_fn(async |_: LambdaEvent<Value>| {
                Ok::<_, lambda_runtime::Error>(Value::Null)
            }))
            .run(),
        )
}
