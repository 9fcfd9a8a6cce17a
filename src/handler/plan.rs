//! What AUTO chooses, and what a dry run tells.

use std::time::Duration;

use super::deadline::MIN_LEFT;
use super::work::{Finding, Work};
use crate::aws::ledger_table::Entry;
use crate::choice;
use crate::choice::{Choice, Facts};
use crate::ledger::Verdict;
use crate::outcome::Plan;
use crate::request::Request;

/// How long the facts of a table may take to be read.
const LONGEST_READING: Duration = Duration::from_secs(10);

impl Work<'_> {
    /// What would be done now, if it were no dry run.
    pub(super) async fn plan(
        &self,
        request: &Request,
        choice: &mut Option<Choice>,
        entry: &Entry,
        verdict: Verdict,
    ) -> Finding {
        let mut facts = None;
        if choice.is_none() {
            let (chosen, read) = self.choose(request, entry).await;
            *choice = Some(chosen);
            facts = Some(Box::new(read));
        }
        let plan = match verdict {
            Verdict::Known(_) | Verdict::Covered(_) => Plan::Covered,
            Verdict::Free if self.settling(request).is_none() => {
                // Of the slot only the table's own workflow can be asked.
                let busy = match &mut facts {
                    Some(facts) => {
                        let workflows = self.populator.workflows();
                        let busy = workflows
                            .is_busy(&request.target, self.now(), self.budget())
                            .await;
                        facts
                            .busy
                            .insert(busy)
                            .as_ref()
                            .is_ok_and(|busy| busy.value)
                    }
                    None => false,
                };
                if busy { Plan::Wait } else { Plan::Start }
            }
            _ => Plan::Wait,
        };
        Finding::Planned(plan, facts)
    }

    /// Chooses a job type for `AUTO`.
    pub(super) async fn choose(&self, request: &Request, entry: &Entry) -> (Choice, Facts) {
        let every = self.populator.settings.full_refresh_every.as_ref();
        let now = self.now();
        let facts = self.populator.workflows().facts(
            &request.target,
            entry.record.last_batch(),
            every,
            now,
            // A missing fact stops no refresh: the call has its time.
            self.left().saturating_sub(MIN_LEFT).min(LONGEST_READING),
        );
        // Large, and seldom read: else every request's story would have room for it.
        let facts = Box::pin(facts).await;
        let choice = choice::by_facts(&facts, every, now);
        let missing = [
            facts.workflow.as_ref().err(),
            facts.populated.as_ref().err(),
            facts.last_batch.as_ref().err(),
        ];
        let mut said = Vec::new();
        for missing in missing.into_iter().flatten() {
            // One refusal may hide several facts.
            if !said.contains(&&missing.why) {
                tracing::warn!("a fact of {} is missing: {}", request.target, missing.why);
                said.push(&missing.why);
            }
        }
        (choice, facts)
    }
}
