//! Whether CloudTrail records `BatchDeleteUniqueId` as a management event.

use std::time::Duration;

use super::call::NotRead;
use super::experiment::{About, Experiment};
use super::report::{Finding, Verdict};
use super::run::{Run, Stop};

pub const ABOUT: About = About {
    name: "delete-event",
    question: "Is BatchDeleteUniqueId recorded as a management event?",
    branch_a: "yes: a rule for CloudTrail's events gets it",
    branch_b: "no: a trail with data events is needed, or another way to notice deletions",
    does: "looks into CloudTrail's event history. If it has no such call, makes one for a matching workflow that does \
           not exist, and looks again for 20 minutes",
    needs: "cloudtrail:LookupEvents, entityresolution:BatchDeleteUniqueId",
};

/// CloudTrail shows an event about 15 minutes after the call, at the latest.
const SHOWN_WITHIN: Duration = Duration::from_secs(20 * 60);

pub async fn run(run: &mut Run<'_>) -> Result<Finding, Stop> {
    let finding = |verdict, answer, observations| {
        Ok(Finding::new(
            Experiment::DeleteEvent,
            verdict,
            answer,
            observations,
        ))
    };
    let mut observations = Vec::new();
    match run.services.recorded_deletes().await {
        Ok((0, observed)) => observations.push(observed),
        Ok((_, observed)) => {
            let answer = "the event history has such calls already".to_owned();
            return finding(Verdict::A, answer, vec![observed]);
        }
        Err(NotRead(observed)) => {
            return Ok(Finding::refused(Experiment::DeleteEvent, vec![*observed]));
        }
    }
    let name = format!("id-mapping-live-{}", run.record.salt.simple());
    let called = run.services.delete_nothing(&name).await;
    // A call that was refused for another reason may not be recorded.
    let was_answered = matches!(called.status, Some(200 | 404));
    let answered = called.answer();
    observations.push(called);
    if !was_answered {
        return Ok(Finding::refused(Experiment::DeleteEvent, observations));
    }
    let began = run.clock.now();
    loop {
        let waited = run.clock.now() - began;
        let minutes = waited.whole_minutes();
        match run.services.recorded_deletes().await {
            Ok((0, _)) if waited < SHOWN_WITHIN => {}
            Ok((0, observed)) => {
                observations.push(observed);
                let answer = format!(
                    "the call ({answered}) was not in the event history after {minutes} min"
                );
                return finding(Verdict::B, answer, observations);
            }
            Ok((_, observed)) => {
                observations.push(observed);
                let answer =
                    format!("the call ({answered}) was in the event history after {minutes} min");
                return finding(Verdict::A, answer, observations);
            }
            Err(NotRead(observed)) => {
                observations.push(*observed);
                return Ok(Finding::refused(Experiment::DeleteEvent, observations));
            }
        }
        (run.say)(&format!(
            "delete-event: not in the event history after {minutes} min"
        ));
        tokio::time::sleep(run.interval).await;
    }
}
