//! The function against stand-ins of the services, over HTTP on loopback, through the real SDK
//! clients: stories over `events/`, every answer of the services, and the built binary under
//! Lambda's Runtime API.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows them in test functions; here they also stand in helpers of tests"
)]

mod announcement;
mod authentication;
mod auto;
mod binary;
mod call;
mod completion;
mod coverage;
mod documentation;
mod dry_run;
mod effort;
mod events;
mod fairness;
mod fault_search;
mod function;
mod harness;
mod house_rules;
#[path = "../in_process/mod.rs"]
mod in_process;
mod interleave;
mod interval;
mod invariants;
mod live;
mod load;
#[cfg(target_os = "linux")] // it reads /proc
mod memory;
mod metrics;
mod network;
mod processes;
mod repository;
mod retries;
mod rules;
mod schemas;
mod settings;
mod simulation;
mod simulator;
mod state_machine;
mod states_language;
mod status;
mod store;
mod strangers;
mod table_lists;
mod targets;
mod unknown;
mod waiting;
