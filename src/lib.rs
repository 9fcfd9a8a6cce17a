//! Keeps AWS Clean Rooms ID mapping tables fresh.
//!
//! An event says that a table's data changed, or that a refresh is due. The function chooses the job type, calls
//! `PopulateIdMappingTable`, and announces the job's id as an event.
//!
//! # The flow
//!
//! A request goes one way:
//!
//! ```text
//! payload ── input ──────▶ Request (one per target)      pure
//! Request ── ledger ─────▶ Item                          one consistent read
//!         ── decide ─────▶ Step                          pure: the record, the request, what is known, the time
//!         ── attempt ────▶ Attempt                       claim, call, classify; reconcile a lost answer
//!         ── report ─────▶ queue for tracking, publish, mark announced, enqueue, dead-letter, log, count
//! Job     ── track ──────▶ its end, which is reported
//! status  ── gather ─────▶ Report ── JSON, or a page      changes nothing; all but gather is pure
//! ```
//!
//! # The modules
//!
//! In reading order:
//!
//! - [`handler`] handles an invocation. Its `process` is the story of one request. `decide` returns the next step, and
//!   `order` the order of requests; both are pure. `attempt` and `reconcile` call services and return facts. `report`
//!   and `publish` alone send events and messages. `track` looks up the end of jobs.
//! - [`status`] reads where each table stands, and reports it as JSON or as a page.
//! - [`input`] parses payloads. It is pure.
//! - [`request`], [`target`], [`job_type`], [`choice`], [`job`], [`outcome`] and [`view`] are the domain: they do no I/O.
//! - [`ledger`] has the record of a table, the rules of coverage and claims, and the transitions of a record. It is pure.
//! - [`message`] writes the messages of the waiting queue.
//! - [`aws`] has a module for each AWS service, and one that creates the clients.
//! - [`config`], [`period`], [`clock`], [`error`], [`printable`], [`telemetry`] and [`metrics`] serve the others.
//!
//! # Rules of the house
//!
//! - Imports point downwards. No two modules import each other.
//! - AWS SDK crates are named only in [`aws`]. Where clients are composed, only their configuration is passed on.
//! - A payload is read only in [`input`], as slices of its text: nothing is built of what is not ours.
//! - Only `main` and [`aws::clients`] read the environment, and the AWS SDK does. [`config`] gets a lookup.
//! - The clock is passed in.
//! - Nothing is called before the ledger has the claim. A claim is released only if no job can have started.
//! - `PopulateIdMappingTable` is repeated only if no job can have started.
//! - Nothing is called for a payload that is refused.
//! - No payload is in a log line or an error message. A refusal names the place in the payload and what to write there.

pub mod handler;

pub mod status;

pub mod input;

pub mod request;

pub mod target;

pub mod job_type;

pub mod choice;

pub mod job;

pub mod outcome;

pub mod view;

pub mod ledger;

pub mod message;

pub mod aws;

pub mod config;

pub mod period;
pub mod printable;

pub mod clock;

pub mod error;

pub mod telemetry;

pub mod metrics;
