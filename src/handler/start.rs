//! From a request to a finding: is it covered, may a job be started, what became of the call.

use std::time::{Duration, Instant};

use time::OffsetDateTime;
use uuid::Uuid;

use super::Populator;
use super::deadline::{MIN_LEFT, call_budget};
use super::work::{Finding, Look, Work, warn};
use crate::aws::clean_rooms::Answer;
use crate::aws::entity_resolution::{Found, KnownJobs, NotFound};
use crate::aws::ledger_table::Entry;
use crate::choice;
use crate::choice::{Choice, Rule};
use crate::clock::timestamp;
use crate::error::{Error, ErrorType};
use crate::job::{Call, Job, JobId, Started};
use crate::job_type::Wish;
use crate::ledger::{Record, UnknownCall, Verdict};
use crate::metrics::Metric;
use crate::outcome::Outcome;
use crate::request::Request;
use crate::target::Target;

/// How long a job is looked for after a call whose outcome is unknown, at most: it may run already,
/// and an invocation has other requests.
const LONGEST_SEARCH: Duration = Duration::from_secs(30);

/// The pause before a job is looked for once more; it doubles.
const SEARCH_PAUSE: Duration = Duration::from_secs(1);

/// How often a request is judged anew because others changed the record meanwhile.
const ROUNDS: usize = 8;

/// After so many calls in a row that found the service unavailable, the rest of an invocation's requests
/// waits without a call.
const MAX_UNAVAILABLE: u32 = 2;

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
        let mut chosen_anew = false;
        for _ in 0..ROUNDS {
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
            let mut given_up = Vec::new();
            match verdict {
                Verdict::Claimed(until) => {
                    let why = format!(
                        "another invocation is starting a job for this table, until {} at the latest",
                        timestamp(until)
                    );
                    return Ok(Finding::Wait(busy(request, &why), Duration::ZERO));
                }
                Verdict::Unknown(calls) => {
                    match Box::pin(self.reconcile(&mut entry, request, calls)).await? {
                        Reconciled::Settled => continue,
                        Reconciled::Open(call, not_found) => return Ok(unknown(&call, &not_found)),
                        Reconciled::GivenUp(calls) => given_up = calls,
                    }
                }
                Verdict::Known(_) | Verdict::Covered(_) | Verdict::Free => {}
            }
            if let Some(finding) = self.need_not_call(request).await {
                return Ok(finding);
            }
            // Freshness wins over thrift.
            for (call, not_found) in given_up {
                let called_at = timestamp(call.called_at);
                tracing::warn!(
                    "the call of {called_at} for {} is given up: {not_found}",
                    request.target
                );
            }
            let chosen = match choice {
                Some(chosen) => chosen.clone(),
                None => choice.insert(self.choose(request, &entry).await.0).clone(),
            };
            match self.start(&mut entry, request, &chosen).await? {
                Some(Finding::Rejected(error)) if !chosen_anew => {
                    chosen_anew = true;
                    match self.choose_anew(request, &entry, &chosen, &error).await {
                        Some(other) => *choice = Some(other),
                        None => return Ok(Finding::Rejected(error)),
                    }
                }
                Some(finding) => return Ok(finding),
                // What AUTO chose by may have changed.
                None => *choice = choice::by_wish(request.wish, request.wished_by),
            }
        }
        let why = "other invocations change the table's record all the time";
        Ok(Finding::Wait(busy(request, why), Duration::ZERO))
    }

    /// Why there is no need to call for a request now: the slot is busy, it is another request's turn, or
    /// the service is not available.
    async fn need_not_call(&mut self, request: &Request) -> Option<Finding> {
        if let Some(said) = self.slot.busy_for(&request.target) {
            let why = format!("the slot was busy earlier in this invocation: {said}");
            return Some(Finding::Busy(busy(request, &why)));
        }
        if self.unavailable >= MAX_UNAVAILABLE {
            let message = format!(
                "PopulateIdMappingTable of {} was not called: the service was not available for the {MAX_UNAVAILABLE} \
                 calls before it; no job was started, and the request is repeated later",
                request.target
            );
            let error = Error::new(ErrorType::ServiceUnavailable, message);
            return Some(Finding::Wait(error, Duration::ZERO));
        }
        self.lets_pass(request).await.map(Finding::Busy)
    }

    /// Another choice for a request that was refused, where `AUTO` chose by what was read a while ago, and
    /// what is read now says something else.
    async fn choose_anew(
        &self,
        request: &Request,
        entry: &Entry,
        chosen: &Choice,
        refusal: &Error,
    ) -> Option<Choice> {
        if request.wish != Wish::Auto || refusal.error_type != ErrorType::RequestRefused {
            return None;
        }
        self.populator.workflows().forget(&request.target);
        let (other, _) = self.choose(request, entry).await;
        let differs = other.job_type != chosen.job_type;
        (differs && other.decision.rule != Rule::FactsUnavailable).then_some(other)
    }

    /// Looks for the jobs of calls whose outcome is unknown, and records what is found.
    async fn reconcile(
        &mut self,
        entry: &mut Entry,
        request: &Request,
        calls: Vec<UnknownCall>,
    ) -> Result<Reconciled, Error> {
        let mut open = None;
        let mut given_up = Vec::new();
        for UnknownCall { call, looked_for } in calls {
            let Some(Look {
                first, not_found, ..
            }) = self.look_once(entry, request, &call, looked_for).await?
            else {
                return Ok(Reconciled::Settled);
            };
            if first || !not_found.is_given_up(self.now() - call.called_at) {
                open = open.or(Some((call, not_found)));
            } else {
                given_up.push((call, not_found));
            }
        }
        Ok(match open {
            Some((call, not_found)) => Reconciled::Open(Box::new(call), not_found),
            None => Reconciled::GivenUp(given_up),
        })
    }

    /// Looks for the job of a call that somebody left behind, unless this invocation did so before. None:
    /// the call is settled, and that is recorded.
    async fn look_once(
        &mut self,
        entry: &mut Entry,
        request: &Request,
        call: &Call,
        looked_for: bool,
    ) -> Result<Option<Look>, Error> {
        if let Some(earlier) = self.looks.iter().find(|look| look.attempt == call.attempt) {
            return Ok(Some(earlier.clone()));
        }
        let ledger = &self.populator.ledger;
        match self.look(call, entry).await {
            Ok(Found::Started(id)) => {
                let job = Job {
                    id,
                    job_type: call.choice.job_type,
                    started_at: call.called_at,
                    answered_at: call.called_at,
                };
                let (until, now) = (self.reported_until(), self.now());
                let transition = |record: &Record| record.job_found(call, &job, until, now);
                ledger.update(entry, self.budget(), transition).await?;
                self.note_started(&call.request.target, &job);
                self.report_found(entry, request, call, job).await;
                Ok(None)
            }
            Ok(Found::Failed(id)) => {
                let transition = |record: &Record| record.claim_released(call.attempt);
                ledger.update(entry, self.budget(), transition).await?;
                tracing::warn!("{}", failed_unanswered(call, &id));
                Ok(None)
            }
            Err(not_found) => {
                if !looked_for {
                    let transition = |record: &Record| record.outcome_unknown(call);
                    ledger.update(entry, self.budget(), transition).await?;
                }
                let look = Look {
                    attempt: call.attempt,
                    first: !looked_for,
                    not_found,
                };
                self.looks.push(look.clone());
                Ok(Some(look))
            }
        }
    }

    /// Reports the start of a job that was found for another request; its own request does that itself.
    async fn report_found(&self, entry: &mut Entry, request: &Request, call: &Call, job: Job) {
        if !self.tells() || request.key() == call.request.key() {
            return;
        }
        let started = Started {
            request: call.request.clone(),
            choice: call.choice.clone(),
            job,
        };
        let outcome = Outcome::started(&started.request, &started.choice, &started.job);
        if let Err(error) = self.tell(entry, true, &started, &outcome).await {
            warn(&call.request.target, "it goes on", &error);
        }
    }

    /// Until when this invocation reports the starts that it records; none: nobody is to be told.
    fn reported_until(&self) -> Option<OffsetDateTime> {
        self.tells().then_some(self.deadline)
    }

    fn note_started(&mut self, target: &Target, job: &Job) {
        self.metrics.started(target);
        self.started.push((target.clone(), job.clone()));
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
        self.unavailable = match answer {
            Answer::Unavailable(_) => self.unavailable + 1,
            _ => 0,
        };
        if let Answer::Unknown(_) = answer {
            self.metrics.count(Metric::OutcomesUnknown);
        }
        let finding = match answer {
            Answer::Started(id) => {
                self.note_refused_alone(&request.target);
                let id = JobId::IdMappingJobId(id);
                return Ok(Some(self.record(entry, &call, id).await));
            }
            Answer::Refused(error) => Finding::Rejected(error),
            Answer::Busy { account, error } => {
                self.slot.is_busy(&request.target, account, &error.message);
                Finding::Busy(error)
            }
            Answer::Unavailable(error) => Finding::Wait(error, Duration::ZERO),
            Answer::Unknown(error) => {
                return Ok(Some(
                    Box::pin(self.find_unanswered(entry, &call, error)).await,
                ));
            }
        };
        self.release(entry, &call).await;
        Ok(Some(finding))
    }

    /// Looks for the job of a call whose answer was lost just now.
    async fn find_unanswered(&mut self, entry: &mut Entry, call: &Call, error: Error) -> Finding {
        let target = &call.request.target;
        let (may_run, said) = match self.search(call, entry).await {
            Ok(Found::Started(id)) => return self.record(entry, call, id).await,
            Ok(Found::Failed(id)) => {
                let said = failed_unanswered(call, &id);
                tracing::warn!("{said}");
                (false, said)
            }
            Err(not_found) => {
                let said = not_found.to_string();
                self.looks.push(Look {
                    attempt: call.attempt,
                    first: true,
                    not_found,
                });
                (true, said)
            }
        };
        let transition = |record: &Record| match may_run {
            true => record.outcome_unknown(call),
            false => record.claim_released(call.attempt),
        };
        let ledger = &self.populator.ledger;
        // If this fails, the claim stays, and is looked after when it is over.
        if let Err(error) = ledger.update(entry, self.budget(), transition).await {
            warn(target, "the claim stays", &error);
        }
        let message = format!("{}; {said}", error.message);
        Finding::Wait(Error::new(error.error_type, message), Duration::ZERO)
    }

    /// Records a job that was started, and announces it. If it cannot be recorded, it is announced
    /// all the same, and the claim stays.
    async fn record(&mut self, entry: &mut Entry, call: &Call, id: JobId) -> Finding {
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
        self.note_started(&call.request.target, &started.job);
        let (until, now) = (self.reported_until(), self.now());
        let transition = |record: &Record| record.job_started(call, &started.job, until, now);
        let ledger = &self.populator.ledger;
        let recorded = ledger.update(entry, self.last_budget(), transition).await;
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
    async fn search(&self, call: &Call, entry: &Entry) -> Result<Found, NotFound> {
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

    async fn look(&self, call: &Call, entry: &Entry) -> Result<Found, NotFound> {
        let budget = self.budget();
        let workflows = self.populator.workflows();
        let others = async || self.known_of_others(&call.request.target).await;
        workflows
            .find_job(call, &entry.record, others, self.now(), budget)
            .await
    }

    /// The jobs of other tables that the ledger or this invocation knows: with the same workflow, one of them
    /// may look as if it were a call's own.
    async fn known_of_others(&self, target: &Target) -> Result<Vec<KnownJobs>, String> {
        let mut known: Vec<KnownJobs> = self
            .started
            .iter()
            .map(|(target, job)| KnownJobs {
                target: target.clone(),
                jobs: vec![job.clone()],
                calls: Vec::new(),
            })
            .collect();
        let arns = &self.populator.settings.id_mapping_table_arns;
        for other in arns.iter().filter(|arn| arn.target != *target) {
            let arn = self.home.table_arn(&other.target);
            let read = self.populator.ledger.read(&arn, self.budget()).await;
            let record = read.map_err(|error| error.to_string())?.record;
            known.push(KnownJobs {
                target: other.target.clone(),
                jobs: record.recent().cloned().collect(),
                calls: record.open_calls().cloned().collect(),
            });
        }
        Ok(known)
    }

    /// Gives the claim back. If this fails, it stays, and is looked after when it is over.
    async fn release(&self, entry: &mut Entry, call: &Call) {
        let ledger = &self.populator.ledger;
        let transition = |record: &Record| record.claim_released(call.attempt);
        if let Err(error) = ledger.update(entry, self.budget(), transition).await {
            warn(&call.request.target, "the claim stays", &error);
        }
    }
}

/// What became of calls whose outcome was unknown.
enum Reconciled {
    /// One of them is settled, and the record says so.
    Settled,
    /// The job of this one may still show.
    Open(Box<Call>, NotFound),
    /// No job is found, and none is expected any more.
    GivenUp(Vec<(Call, NotFound)>),
}

fn busy(request: &Request, why: &str) -> Error {
    let message = format!(
        "PopulateIdMappingTable of {} was not called: {why}",
        request.target
    );
    Error::new(ErrorType::SlotBusy, message)
}

/// A call's answer was lost, and its job failed.
fn failed_unanswered(call: &Call, id: &str) -> String {
    format!(
        "the call of {} for {} started job {id} of Entity Resolution, which failed; the request needs another job",
        timestamp(call.called_at),
        call.request.target
    )
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
