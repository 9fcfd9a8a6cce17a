//! Properties of everything that the function reads. Each is a function that panics if the property does not hold.
//!
//! `fuzz/run` runs them under libFuzzer, which searches for an input that makes one panic:
//!
//! - [`payload`]: the payload of an invocation, any bytes.
//! - [`message`]: the body of an SQS message.
//! - [`record`]: the record in a ledger item.
//!
//! A check uses only the public functions of `id_mapping_populator`. An input that broke a property
//! becomes a unit test of the module that reads it. It is not kept here.

pub mod corpus;

pub mod function;

pub mod mutation;

pub mod message;

pub mod payload;

pub mod record;

mod refusal;

mod round_trip;
