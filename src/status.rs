//! The status report: where each configured table stands, and whether the function has what it needs
//! (docs/status.md).
//!
//! `gather` reads everything and changes nothing. What it read becomes a [`Report`] in `report`, `checks` and `jobs`, and
//! a page in `page`, `problems`, `rows` and `chart`. These are pure.

mod chart;
mod checks;
mod gather;
mod jobs;
mod page;
mod problems;
mod question;
mod report;
mod rows;
mod style;
mod text;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use self::page::{Functions, answer, page};
pub use self::question::Question;
pub use self::report::Report;
use crate::aws::services::Services;
use crate::clock::Clock;

/// How long a report is kept. A dashboard may be open in many browsers and refresh each of them.
const MAX_AGE: time::Duration = time::Duration::seconds(60);

/// The last report of an execution environment.
#[derive(Clone, Debug, Default)]
pub struct Status(Arc<Mutex<Option<Arc<Report>>>>);

impl Status {
    /// Returns a report, which may be a minute old. Reading takes at most the time that remains.
    pub async fn report(
        &self,
        services: &Services,
        question: Question<'_>,
        clock: &Clock,
        remaining: Duration,
    ) -> Arc<Report> {
        let now = clock.now();
        let kept = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(report) = kept
            && (time::Duration::ZERO..MAX_AGE).contains(&(now - report.generated_at.0))
        {
            return report;
        }
        let Question {
            settings, location, ..
        } = question;
        let readings =
            gather::read(services, settings, location, now - report::DAYS, remaining).await;
        let report = Arc::new(report::of(&readings, question, clock.now()));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&report));
        report
    }
}
