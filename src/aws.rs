//! The AWS services that the function calls. Each module is the only one that knows its service's SDK.

pub mod clean_rooms;
pub mod clients;
pub mod entity_resolution;
pub mod event_bus;
pub mod ledger_table;
pub mod parameters;
pub mod queue;
pub mod services;

mod call;

pub use self::call::ReadError;
