//! From a request to a finding: is it covered, may a job be started, what became of the call.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::Populator;
use super::deadline::{MIN_LEFT, call_budget};
use super::work::{Finding, Look, Work, warn};
use crate::clean_rooms::Answer;
use crate::error::{Error, ErrorType};
use crate::input::Request;
use crate::job_type::{self, Choice};
use crate::ledger::{Call, Entry, Job, JobId, Started, Verdict};
use crate::metrics::Metric;
use crate::output::{Outcome, timestamp};
use crate::workflow::NotFound;

/// How long a job is looked for after a call whose outcome is unknown, at most: it may run already,
/// and an invocation has other requests.
const LONGEST_SEARCH: Duration = Duration::from_secs(30);

/// The pause before a job is looked for once more; it doubles.
const SEARCH_PAUSE: Duration = Duration::from_secs(1);

/// How often a request is judged anew because others changed the record meanwhile.
const ROUNDS: usize = 8;

impl Work<'_> {
    /// Asks the ledger, chooses a job type if that needs facts, and starts a job if need be. An
    /// error: the ledger cannot be used, and nothing was started.
    pub(super) async fn find_out(
        &mut self,
        request: &Request,
        choice: &mut Option<Choice>,
    ) -> Result<Finding, Error> {
        if self.left() < MIN_LEFT && !request.dry_run {
            return Ok(self.out_of_time(request));
        }
        let arn = self.home.table_arn(&request.target);
        let mut entry = self.populator.ledger.read(&arn, self.budget()).await?;
        for _ in 0..ROUNDS {
            let mut given_up = None;
            if !request.dry_run
                && let Some(finding) = self.announce_earlier(&mut entry, request).await
            {
                return Ok(finding);
            }
            let verdict = entry.record.verdict(request, self.now());
            if request.dry_run {
                return Ok(Box::pin(self.plan(request, choice, &entry, verdict)).await);
            }
            if let Verdict::Known(job) | Verdict::Covered(job) = verdict {
                return Ok(Finding::Covered(job));
            }
            if let Some(finding) = self.settling(request) {
                return Ok(finding);
            }
            match verdict {
                Verdict::Claimed(until) => {
                    let why = format!(
                        "another invocation is starting a job for this table, until {} at the latest",
                        timestamp(until)
                    );
                    return Ok(busy(request, &why));
                }
                Verdict::Doubtful { call, looked_for } => {
                    let Some((first, not_found)) =
                        Box::pin(self.settle(&mut entry, &call, looked_for)).await?
                    else {
                        continue;
                    };
                    if first || !not_found.is_given_up(self.now() - call.called_at) {
                        return Ok(unknown(&call, &not_found));
                    }
                    given_up = Some((call, not_found));
                }
                Verdict::Known(_) | Verdict::Covered(_) | Verdict::Free => {}
            }
            if let Some(said) = self.slot.busy_for(&request.target) {
                let why = format!("the slot was busy earlier in this invocation: {said}");
                return Ok(busy(request, &why));
            }
            // Freshness wins over thrift.
            if let Some((call, not_found)) = given_up {
                let called_at = timestamp(call.called_at);
                tracing::warn!(
                    "the call of {called_at} for {} is given up: {not_found}",
                    request.target
                );
            }
            let chosen = match choice {
                Some(chosen) => chosen,
                None => choice.insert(self.choose(request, &entry).await.0),
            };
            if let Some(finding) = self.start(&mut entry, request, chosen).await? {
                return Ok(finding);
            }
            // What AUTO chose by may have changed.
            *choice = job_type::by_wish(request.wish, request.wished_by);
        }
        Ok(busy(
            request,
            "other invocations change the table's record all the time",
        ))
    }

    /// Looks for the job of a call that somebody left behind, and records it. Some: there is none, or
    /// none that can be found, and whether it was looked for the first time.
    async fn settle(
        &mut self,
        entry: &mut Entry,
        call: &Call,
        looked_for: bool,
    ) -> Result<Option<(bool, NotFound)>, Error> {
        let earlier = self.looks.iter().find(|look| look.attempt == call.attempt);
        if let Some(Look {
            first, not_found, ..
        }) = earlier
        {
            return Ok(Some((*first, not_found.clone())));
        }
        let ledger = &self.populator.ledger;
        match self.look(call, entry).await {
            Ok(id) => {
                let job = Job {
                    id,
                    job_type: call.choice.job_type,
                    started_at: call.called_at,
                    answered_at: call.called_at,
                };
                ledger
                    .settle(entry, call, &job, self.tells(), self.budget())
                    .await?;
                self.metrics.started(&call.request.target);
                Ok(None)
            }
            Err(not_found) => {
                if !looked_for {
                    ledger.doubt(entry, call, self.budget()).await?;
                }
                self.looks.push(Look {
                    attempt: call.attempt,
                    first: !looked_for,
                    not_found: not_found.clone(),
                });
                Ok(Some((!looked_for, not_found)))
            }
        }
    }

    /// Claims the slot and calls. None: somebody else was faster.
    async fn start(
        &mut self,
        entry: &mut Entry,
        request: &Request,
        choice: &Choice,
    ) -> Result<Option<Finding>, Error> {
        if call_budget(self.left()).is_none() {
            return Ok(Some(self.out_of_time(request)));
        }
        let call = Call {
            attempt: Uuid::new_v4(),
            called_at: self.now(),
            request: request.clone(),
            choice: choice.clone(),
        };
        let Populator {
            ledger,
            clean_rooms,
            ..
        } = self.populator;
        if !ledger
            .begin(entry, &call, self.deadline, self.budget())
            .await?
        {
            return Ok(None);
        }
        let Some(budget) = call_budget(self.left()) else {
            self.release(entry, &call).await;
            return Ok(Some(self.out_of_time(request)));
        };
        let called = Instant::now();
        let answer = clean_rooms
            .populate(&request.target, choice.job_type, budget)
            .await;
        self.metrics.took(Metric::PopulateLatency, called.elapsed());
        if let Answer::Unknown(_) = answer {
            self.metrics.count(Metric::OutcomesUnknown);
        }
        let finding = match answer {
            Answer::Started(id) => {
                return Ok(Some(
                    self.record(entry, &call, JobId::IdMappingJobId(id)).await,
                ));
            }
            Answer::Refused(error) => Finding::Rejected(error),
            Answer::Busy { account, error } => {
                self.slot.is_busy(&request.target, account, &error.message);
                Finding::Wait(error, Duration::ZERO)
            }
            Answer::Unavailable(error) => Finding::Wait(error, Duration::ZERO),
            Answer::Unknown(error) => match Box::pin(self.search(&call, entry)).await {
                Ok(id) => return Ok(Some(self.record(entry, &call, id).await)),
                Err(not_found) => {
                    self.looks.push(Look {
                        attempt: call.attempt,
                        first: true,
                        not_found: not_found.clone(),
                    });
                    // If this fails, the claim stays, and is looked after when it is over.
                    if let Err(error) = ledger.doubt(entry, &call, self.budget()).await {
                        warn(&request.target, "the claim stays", &error);
                    }
                    let message = format!("{}; {not_found}", error.message);
                    let error = Error::new(error.error_type, message);
                    return Ok(Some(Finding::Wait(error, Duration::ZERO)));
                }
            },
        };
        self.release(entry, &call).await;
        Ok(Some(finding))
    }

    /// Records a job that was started, and announces it. If it cannot be recorded, it is announced
    /// all the same, and the claim stays.
    async fn record(&self, entry: &mut Entry, call: &Call, id: JobId) -> Finding {
        let started = Started {
            request: call.request.clone(),
            choice: call.choice.clone(),
            job: Job {
                id,
                job_type: call.choice.job_type,
                started_at: call.called_at,
                answered_at: self.now(),
            },
        };
        self.metrics.started(&call.request.target);
        let ledger = &self.populator.ledger;
        let recorded = ledger
            .finish(entry, call, &started.job, self.tells(), self.last_budget())
            .await;
        if let Err(error) = &recorded {
            tracing::error!(
                errorType = error.error_type.as_str(),
                idMappingJobId = started.job.id.as_str(),
                "a job of {} started and is not in the ledger: {}",
                call.request.target,
                error.message
            );
        }
        let outcome = Box::new(Outcome::started(
            &started.request,
            &started.choice,
            &started.job,
        ));
        let told = self.tell(entry, recorded.is_ok(), &started, &outcome).await;
        Finding::Started(outcome, told.err())
    }

    /// Looks for the job of a call whose answer was lost just now, for a while.
    async fn search(&self, call: &Call, entry: &Entry) -> Result<JobId, NotFound> {
        let end = self.now() + LONGEST_SEARCH;
        let mut pause = SEARCH_PAUSE;
        loop {
            let found = self.look(call, entry).await;
            let over = self.now() + pause >= end || self.left() < MIN_LEFT + pause;
            if over || found.as_ref().err().is_none_or(NotFound::is_final) {
                return found;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn look(&self, call: &Call, entry: &Entry) -> Result<JobId, NotFound> {
        let budget = self.budget();
        let workflows = self.populator.workflows();
        workflows.find_job(call, &entry.record, budget).await
    }

    /// Gives the claim back. If this fails, it stays, and is looked after when it is over.
    async fn release(&self, entry: &mut Entry, call: &Call) {
        let ledger = &self.populator.ledger;
        if let Err(error) = ledger.release(entry, call, self.budget()).await {
            warn(&call.request.target, "the claim stays", &error);
        }
    }
}

fn busy(request: &Request, why: &str) -> Finding {
    let message = format!(
        "PopulateIdMappingTable of {} was not called: {why}",
        request.target
    );
    Finding::Wait(Error::new(ErrorType::SlotBusy, message), Duration::ZERO)
}

/// A call's answer was lost, and no job was found for it yet.
fn unknown(call: &Call, not_found: &NotFound) -> Finding {
    let message = format!(
        "PopulateIdMappingTable of {} was called at {} and its outcome is not known: a job may run; {not_found}",
        call.request.target,
        timestamp(call.called_at)
    );
    Finding::Wait(
        Error::new(ErrorType::OutcomeUnknown, message),
        Duration::ZERO,
    )
}
