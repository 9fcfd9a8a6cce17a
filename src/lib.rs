//! Keeps AWS Clean Rooms ID mapping tables fresh.
//!
//! An event says that a table's data changed, or that it is time. The function chooses the kind of
//! job, calls `PopulateIdMappingTable`, and announces the job's id as an event:
//!
//! ```text
//! payload ── input::parse ──▶ Request (one per target)                       pure
//! Request ── job_type::choose ──▶ Choice                                     pure
//! Choice  ── clean_rooms::populate ──▶ Started | Refused | Busy | Unavailable | Unknown
//! Outcome ── output::publish ──▶ EventBridge; and the return value
//! ```
//!
//! The modules, in reading order: [`handler`] tells the story; [`input`], [`target`] and
//! [`job_type`] are pure; [`clean_rooms`] and [`output`] talk to AWS; [`config`], [`error`],
//! [`telemetry`] and [`clients`] serve them.
//!
//! # Invariants
//!
//! - `PopulateIdMappingTable` is repeated only where no job can have started.
//! - Nothing is called for a payload that is refused.
//! - AWS SDK types appear only in the module of their service and in [`clients`].
//! - [`serde_json::Value`] is interpreted only in [`input`] ([`telemetry`] writes it).
//! - The environment is read only in `main`; [`config`] gets a lookup. The clock is passed in.
//! - No payload stands in a log line or an error message: faults are named by place and form.

pub mod handler;

pub mod input;

pub mod target;

pub mod job_type;

pub mod clean_rooms;

pub mod output;

pub mod config;

pub mod error;

pub mod telemetry;

pub mod clients;
