//! The requests and answers as they are on the wire.

use fake_aws::{Call, Operation};

use crate::{heading, say};

/// Prints a call.
pub fn show(call: &Call) {
    match call.operation {
        Some(Operation::PutEvents) => {
            heading("PutEvents is called");
            for entry in call.body["Entries"].as_array().into_iter().flatten() {
                say(format_args!(
                    "on bus {}: {}",
                    entry["EventBusName"], entry["DetailType"]
                ));
            }
        }
        Some(other) => {
            heading(&format!("{other:?} is called"));
            say(format_args!("{} {}\n{}", call.method, call.path, call.body));
        }
        None => heading(&format!(
            "{} {} is called, which none of the stand-ins has",
            call.method, call.path
        )),
    }
    match call.status {
        Some(status) => say(format_args!("answer: {status} {}", call.answer)),
        None => say(format_args!("no answer")),
    }
}
