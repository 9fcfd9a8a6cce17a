//! What AUTO chooses, and what a dry run tells.

use super::work::{Finding, Work};
use crate::input::Request;
use crate::job_type::{self, Choice, Facts, Rule};
use crate::ledger::{Entry, Verdict};
use crate::output::Plan;

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
                        let workflows = &self.populator.workflows;
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
        let facts = self
            .populator
            .workflows
            .facts(
                &request.target,
                entry.record.last_batch(),
                every,
                now,
                self.budget(),
            )
            .await;
        let choice = job_type::by_facts(&facts, every, now);
        if choice.decision.rule == Rule::FactsUnavailable {
            tracing::warn!(
                "AUTO cannot choose the job type of {}: {}",
                request.target,
                choice.decision.reason
            );
        }
        (choice, facts)
    }
}
