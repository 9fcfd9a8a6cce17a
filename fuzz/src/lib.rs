//! Properties of everything that the function reads, as functions that panic when one does not hold.
//!
//! `fuzz/run` runs them under libFuzzer, which searches for an input that makes one panic:
//!
//! - [`payload`]: the payload of an invocation, any bytes.
//! - [`message`]: the body of an SQS message.
//! - [`record`]: the record in a ledger item.
//!
//! A check uses only the public functions of `id_mapping_populator`. An input that broke a property
//! becomes a unit test next to the reader; it is not kept here.

pub mod corpus;

pub mod function;

pub mod mutation;

pub mod message;

pub mod payload;

pub mod record;

mod refusal;

mod round_trip;
