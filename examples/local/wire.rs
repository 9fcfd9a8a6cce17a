//! The requests and answers as they are on the wire.

use fake_aws::{Call, Operation};

use crate::heading;

/// Prints a call.
pub fn show(call: &Call) {
    match call.operation {
        Some(Operation::PopulateIdMappingTable) => {
            heading("PopulateIdMappingTable is called");
            println!("{} {}\n{}", call.method, call.path, call.body);
        }
        Some(Operation::PutEvents) => {
            heading("PutEvents is called");
            for entry in call.body["Entries"].as_array().into_iter().flatten() {
                println!("on bus {}: {}", entry["EventBusName"], entry["DetailType"]);
            }
        }
        Some(other) => {
            heading(&format!("{other:?} is called"));
            println!("{} {}\n{}", call.method, call.path, call.body);
        }
        None => heading(&format!(
            "{} {} is called, which none of the stand-ins has",
            call.method, call.path
        )),
    }
    match call.status {
        Some(status) => println!("answer: {status} {}", call.answer),
        None => println!("no answer"),
    }
}
