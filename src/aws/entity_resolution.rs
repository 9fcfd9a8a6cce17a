//! AWS Entity Resolution: what AWS knows of a table, its workflow and its jobs.
//!
//! `facts` reads what `AUTO` chooses by. `lost` looks for the job of a call whose answer was lost. `end` tells how a
//! job ended.

mod end;
mod facts;
mod lost;
mod reads;

pub use self::lost::{Found, KnownJobs, NotFound};
pub use self::reads::{ReadError, Workflows};
