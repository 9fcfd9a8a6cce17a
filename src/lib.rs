//! Keeps AWS Clean Rooms ID mapping tables fresh.
//!
//! An event says that a table's data changed, or that it is time. The function chooses the kind of
//! job, calls `PopulateIdMappingTable`, and announces the job's id as an event:
//!
//! ```text
//! payload ── input::parse ──▶ Request (one per target)                       pure
//! Request ── ledger: known or covered? ──▶ Covered | Claim                   DynamoDB, or memory
//! Request ── job_type: by_request, or by_facts for AUTO ──▶ Choice              pure
//! Choice  ── clean_rooms::populate ──▶ Started | Refused | Busy | Unavailable | Unknown
//!              Started              → recorded in the ledger
//!              Refused           → REJECTED
//!              Busy, Unavailable → waiting line
//!              Unknown           → workflow: is there a job? → Started | waiting line
//! Job     ── workflow: has it ended? ──▶ Succeeded | Failed                  with TRACK_COMPLETION
//! Outcome ── output::publish ──▶ EventBridge; and the return value
//! ```
//!
//! The modules, in reading order: [`handler`] tells the story; [`input`], [`target`], [`job_type`]
//! and the rules of [`ledger`] are pure; the ledger's store, [`clean_rooms`], [`workflow`],
//! [`waiting`] and [`output`] talk to AWS; [`config`], [`error`], [`telemetry`], [`metrics`] and [`clients`]
//! serve them.
//!
//! # Invariants
//!
//! - Nothing is called before the ledger has the claim, and a claim is given back only where no job
//!   can have started.
//! - `PopulateIdMappingTable` is repeated only where no job can have started.
//! - Nothing is called for a payload that is refused.
//! - The AWS SDK's types of a service appear only in that service's module, its others in [`clients`] too; a
//!   configuration is passed through.
//! - [`serde_json::Value`] is interpreted only in [`input`] ([`telemetry`] and [`metrics`] write it).
//! - The environment is read only in `main`, and by the AWS SDK and [`clients`] for what is the SDK's; [`config`] gets a
//!   lookup. The clock is passed in.
//! - No payload stands in a log line or an error message: faults are named by place and form.

pub mod handler;

pub mod input;

pub mod request;

pub mod target;

pub mod job_type;

pub mod choice;

pub mod job;

pub mod outcome;

pub mod ledger;

pub mod message;

pub mod aws;

pub mod config;

pub mod period;

pub mod clock;

pub mod error;

pub mod telemetry;

pub mod metrics;
