//! AWS Entity Resolution: what AWS knows of a table, its workflow and its jobs.
//!
//! `facts` reads the facts by which `AUTO` chooses. `lost` looks for the job of a call whose answer was lost. `end` finds
//! out how a job ended. `overview` reads what a status report shows. `reads` has the API calls.

mod end;
mod facts;
mod lost;
mod overview;
mod reads;

pub use self::facts::{Absent, TableState};
pub use self::lost::{Found, KnownJobs, NotFound};
pub use self::overview::{JobList, Owner, owners};
pub use self::reads::{Table, Workflows};
