//! One request's story: is it covered, may a job be started, what became of it.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::Populator;
use crate::clean_rooms::Answer;
use crate::error::{Error, ErrorType};
use crate::input::Request;
use crate::job_type::{self, Choice, Facts, JobType, Rule};
use crate::ledger::{Call, Entry, Job, JobId, Started, Verdict};
use crate::output::{Outcome, OutcomeKind, Plan, timestamp};
use crate::target::{Home, Target};
use crate::workflow::NotFound;

/// What must be left until the deadline for a target to be begun: a second and a third for the
/// call, the rest to announce it and to answer.
const MIN_LEFT: Duration = Duration::from_secs(2);

/// What each of an invocation's other requests needs besides: to be put in the waiting line and
/// announced, should there be no time for more.
const TIME_TO_WAIT: Duration = Duration::from_millis(50);

/// How long a job is looked for after a call whose outcome is unknown, at most: it may run already,
/// and an invocation has other requests.
const LONGEST_SEARCH: Duration = Duration::from_secs(30);

/// The pause before a job is looked for once more; it doubles.
const SEARCH_PAUSE: Duration = Duration::from_secs(1);

/// How often a request is judged anew because others changed the record meanwhile.
const ROUNDS: usize = 8;

/// How long a call may take: two thirds of what is left until the deadline, so that what comes after
/// it has its time, and at most 20 seconds. None: too little is left to begin.
fn call_budget(left: Duration) -> Option<Duration> {
    (left >= MIN_LEFT).then(|| (left / 3 * 2).min(Duration::from_secs(20)))
}

/// How long any other operation may take: what is left until the deadline less the time to answer,
/// and at most 5 seconds.
fn budget(left: Duration) -> Duration {
    left.saturating_sub(Duration::from_millis(300))
        .min(Duration::from_secs(5))
}

/// What was done about one request.
pub(super) struct Done {
    pub(super) request: Request,
    /// What is sent, and why; none: it did not come to a choice.
    choice: Option<Choice>,
    /// What became of it; none where it stays undone.
    pub(super) outcome: Option<Outcome>,
    /// Why the invocation, or its message, fails for it.
    pub(super) failure: Option<Error>,
    /// Why its message stays in the waiting line, which is no failure.
    pub(super) stays: Option<Error>,
}

/// What is found out about a request, before anything is said about it.
enum Finding {
    /// A job was started for it, now or earlier, and is announced now; or why it could not be.
    Started(Box<Outcome>, Option<Error>),
    Covered(JobId),
    Rejected(Error),
    /// It must wait, at least for this time.
    Wait(Error, Duration),
    /// A dry run, and what `AUTO` read for it.
    Planned(Plan, Option<Box<Facts>>),
}

/// What an invocation has learned of the account's one job slot.
#[derive(Default)]
struct Slot {
    /// The answer that told that no table can have it.
    account: Option<String>,
    /// The tables that were told so, each with its answer.
    tables: Vec<(Target, String)>,
}

impl Slot {
    /// A 409 of a second table is the account's slot too.
    fn is_busy(&mut self, target: &Target, account: bool, said: &str) {
        if account || self.tables.iter().any(|(other, _)| other != target) {
            self.account = Some(said.to_owned());
        }
        self.tables.push((target.clone(), said.to_owned()));
    }

    /// Why a table need not be tried.
    fn busy_for(&self, target: &Target) -> Option<&str> {
        let own = self.tables.iter().find(|(other, _)| other == target);
        own.map(|(_, said)| said)
            .or(self.account.as_ref())
            .map(String::as_str)
    }
}

/// One invocation's requests, done one after another.
pub(super) struct Work<'a> {
    populator: &'a Populator,
    home: &'a Home,
    deadline: OffsetDateTime,
    /// Whether the requests come in messages of a queue.
    batch: bool,
    slot: Slot,
    /// How many requests are not done yet.
    pub(super) rest: usize,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        populator: &'a Populator,
        home: &'a Home,
        deadline: OffsetDateTime,
        batch: bool,
    ) -> Self {
        Self {
            populator,
            home,
            deadline,
            batch,
            slot: Slot::default(),
            rest: 0,
        }
    }

    /// Does one request, and logs what became of it.
    pub(super) async fn one(&mut self, request: Request) -> Done {
        self.rest = self.rest.saturating_sub(1);
        let mut choice = job_type::by_wish(request.wish, request.wished_by);
        let done = match self.find_out(&request, &mut choice).await {
            Ok(Finding::Started(outcome, failure)) => Done {
                outcome: Some(*outcome),
                failure,
                ..Done::of(request, choice)
            },
            Ok(Finding::Covered(job)) => {
                let outcome = Outcome::covered(&request, choice.as_ref(), &job);
                Done {
                    failure: self.publish(&outcome, &request).await.err(),
                    outcome: Some(outcome),
                    ..Done::of(request, choice)
                }
            }
            Ok(Finding::Rejected(error)) => self.rejected(request, choice, error).await,
            Ok(Finding::Wait(error, delay)) => self.wait(request, choice, error, delay).await,
            Ok(Finding::Planned(plan, facts)) => Done {
                outcome: Some(Outcome::planned(
                    &request,
                    choice.as_ref(),
                    plan,
                    facts.as_deref(),
                )),
                ..Done::of(request, choice)
            },
            Err(error) => Done {
                failure: Some(error),
                ..Done::of(request, choice)
            },
        };
        log(&done);
        done
    }

    /// Puts a message that is refused in the dead-letter queue. False: it stays where it is.
    pub(super) async fn put_aside(&self, message_id: &str, body: &str, error: &Error) -> bool {
        let error_type = error.error_type.as_str();
        tracing::error!(
            errorType = error_type,
            messageId = message_id,
            "{}",
            error.message
        );
        let Some(queue) = &self.populator.dead_letters else {
            return false;
        };
        let sent = queue.refuse(body, message_id, error, self.budget()).await;
        if let Err(error) = &sent {
            let error_type = error.error_type.as_str();
            tracing::error!(
                errorType = error_type,
                messageId = message_id,
                "{}",
                error.message
            );
        }
        sent.is_ok()
    }

    /// Asks the ledger, chooses a job type if that needs facts, and starts a job if need be. An
    /// error: the ledger cannot be used, and nothing was started.
    async fn find_out(
        &mut self,
        request: &Request,
        choice: &mut Option<Choice>,
    ) -> Result<Finding, Error> {
        let begin_with = MIN_LEFT + TIME_TO_WAIT * u32::try_from(self.rest).unwrap_or(u32::MAX);
        if self.left() < begin_with && !request.dry_run {
            return Ok(self.out_of_time(request, begin_with));
        }
        let arn = self.home.table_arn(&request.target);
        let mut entry = self.populator.ledger.read(&arn, self.budget()).await?;
        for _ in 0..ROUNDS {
            if !request.dry_run
                && let Some(finding) = self.announce_earlier(&mut entry, request).await
            {
                return Ok(finding);
            }
            let verdict = entry.record.verdict(request, self.now());
            if request.dry_run {
                return Ok(self.plan(request, choice, &entry, verdict).await);
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
                    match self.settle(&mut entry, &call).await? {
                        None => continue,
                        // It was looked for in vain before, and is now: freshness wins over thrift.
                        Some(not_found) if looked_for => {
                            let called_at = timestamp(call.called_at);
                            tracing::warn!(
                                "the call of {called_at} for {} is given up: {not_found}",
                                request.target
                            );
                        }
                        Some(not_found) => {
                            let ledger = &self.populator.ledger;
                            ledger.doubt(&mut entry, &call, self.budget()).await?;
                            return Ok(unknown(&call, &not_found));
                        }
                    }
                }
                Verdict::Known(_) | Verdict::Covered(_) | Verdict::Free => {}
            }
            if let Some(said) = self.slot.busy_for(&request.target) {
                let why = format!("the slot was busy earlier in this invocation: {said}");
                return Ok(busy(request, &why));
            }
            let choice = match choice {
                Some(choice) => choice,
                None => choice.insert(self.choose(request, &entry).await.0),
            };
            if let Some(finding) = self.start(&mut entry, request, choice).await? {
                return Ok(finding);
            }
        }
        Ok(busy(
            request,
            "other invocations change the table's record all the time",
        ))
    }

    /// What would be done now, if it were no dry run.
    async fn plan(
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
    async fn choose(&self, request: &Request, entry: &Entry) -> (Choice, Facts) {
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

    /// Publishes the `STARTED` that earlier invocations could not publish. A finding: this request's
    /// own was among them.
    async fn announce_earlier(&self, entry: &mut Entry, request: &Request) -> Option<Finding> {
        if !self.publishes() {
            return None;
        }
        for started in entry.record.unannounced().to_vec() {
            let Started {
                request: theirs,
                choice,
                job,
            } = &started;
            let own = theirs.key() == request.key();
            let outcome = Outcome::started(theirs, choice, job);
            let published = self.publish(&outcome, theirs).await;
            match &published {
                Ok(()) => self.forget(entry, &started).await,
                Err(error) if !own => warn(&theirs.target, "it goes on", error),
                Err(_) => {}
            }
            if own {
                return Some(Finding::Started(Box::new(outcome), published.err()));
            }
        }
        None
    }

    /// Looks for the job of a call that somebody left behind, and records it. Some: there is none,
    /// or none that can be found.
    async fn settle(&self, entry: &mut Entry, call: &Call) -> Result<Option<NotFound>, Error> {
        match self.look(call, entry).await {
            Ok(id) => {
                let job = Job {
                    id,
                    job_type: call.choice.job_type,
                    started_at: call.called_at,
                    answered_at: call.called_at,
                };
                let ledger = &self.populator.ledger;
                ledger
                    .settle(entry, call, &job, self.publishes(), self.budget())
                    .await?;
                Ok(None)
            }
            Err(not_found) => Ok(Some(not_found)),
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
            return Ok(Some(self.out_of_time(request, MIN_LEFT)));
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
            return Ok(Some(self.out_of_time(request, MIN_LEFT)));
        };
        let finding = match clean_rooms
            .populate(&request.target, choice.job_type, budget)
            .await
        {
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
            Answer::Unknown(error) => match self.search(&call, entry).await {
                Ok(id) => return Ok(Some(self.record(entry, &call, id).await)),
                Err(not_found) => {
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
        let ledger = &self.populator.ledger;
        let recorded = ledger
            .finish(entry, call, &started.job, self.publishes(), self.budget())
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
        let outcome = Outcome::started(&started.request, &started.choice, &started.job);
        match self.publish(&outcome, &started.request).await {
            Ok(()) => {
                if recorded.is_ok() {
                    self.forget(entry, &started).await;
                }
                Finding::Started(Box::new(outcome), None)
            }
            Err(error) => Finding::Started(Box::new(outcome), Some(error)),
        }
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
        let workflows = &self.populator.workflows;
        workflows.find_job(call, &entry.record, budget).await
    }

    /// Gives the claim back. If this fails, it stays, and is looked after when it is over.
    async fn release(&self, entry: &mut Entry, call: &Call) {
        let ledger = &self.populator.ledger;
        if let Err(error) = ledger.release(entry, call, self.budget()).await {
            warn(&call.request.target, "the claim stays", &error);
        }
    }

    /// Records that a start is announced. If this fails, it is announced once more, with the same id.
    async fn forget(&self, entry: &mut Entry, started: &Started) {
        if !self.publishes() {
            return;
        }
        let ledger = &self.populator.ledger;
        if let Err(error) = ledger.announced(entry, started, self.budget()).await {
            warn(
                &started.request.target,
                "its STARTED will be announced again",
                &error,
            );
        }
    }

    fn publishes(&self) -> bool {
        self.populator.event_bus.is_some()
    }

    async fn publish(&self, outcome: &Outcome, request: &Request) -> Result<(), Error> {
        let Some(bus) = &self.populator.event_bus else {
            return Ok(());
        };
        bus.publish(outcome, request, self.home, self.now(), self.budget())
            .await
            .map_err(|cause| {
                let job = match &outcome.job {
                    Some(job) => format!(" (job {})", job.as_str()),
                    None => String::new(),
                };
                let what = format!("{} of {}{job}", outcome.outcome.as_str(), request.target);
                Error::new(
                    ErrorType::NotAnnounced,
                    format!("{what} is not announced: {cause}"),
                )
            })
    }

    /// The request will never work as it is. In a batch it goes to the dead-letter queue, and its
    /// message is done.
    async fn rejected(&self, request: Request, choice: Option<Choice>, error: Error) -> Done {
        let outcome = Outcome::rejected(&request, choice.as_ref(), error.clone());
        let mut failure = Some(error.clone());
        if let Err(unpublished) = self.publish(&outcome, &request).await {
            // The rejection is what the caller must know first; that it was not announced, besides.
            failure = Some(also(&error, &unpublished));
        } else if let Some(queue) = self.populator.dead_letters.as_ref().filter(|_| self.batch) {
            failure = match queue.give_up(&request, &error, self.budget()).await {
                Ok(()) => None,
                Err(unsent) => Some(also(&error, &unsent)),
            };
        }
        Done {
            outcome: Some(outcome),
            failure,
            ..Done::of(request, choice)
        }
    }

    /// The request waits: where it stands already, or in the line from now on. Without a line it
    /// fails.
    async fn wait(
        &self,
        request: Request,
        choice: Option<Choice>,
        error: Error,
        delay: Duration,
    ) -> Done {
        let now = self.now();
        if let Some(since) = request.waiting_since.filter(|_| self.batch) {
            let settings = &self.populator.settings;
            if now - since <= settings.max_wait.duration {
                return Done {
                    stays: Some(error),
                    ..Done::of(request, choice)
                };
            }
            let message = format!(
                "{} waited since {}, longer than MAX_WAIT ({}), and would still have to: {}",
                request.target,
                timestamp(since),
                settings.max_wait,
                error.message
            );
            let error = Error::new(ErrorType::WaitedTooLong, message);
            return self.rejected(request, choice, error).await;
        }
        let Some(line) = &self.populator.waiting_line else {
            return Done {
                failure: Some(error),
                ..Done::of(request, choice)
            };
        };
        if let Err(unsent) = line.wait(&request, now, delay, self.budget()).await {
            return Done {
                failure: Some(Error::new(
                    unsent.error_type,
                    format!("{}; it has to wait: {error}", unsent.message),
                )),
                ..Done::of(request, choice)
            };
        }
        let outcome = Outcome::waiting(&request, choice.as_ref(), error);
        if let Err(unpublished) = self.publish(&outcome, &request).await {
            warn(
                &request.target,
                "it stands in the waiting line",
                &unpublished,
            );
        }
        Done {
            outcome: Some(outcome),
            ..Done::of(request, choice)
        }
    }

    fn now(&self) -> OffsetDateTime {
        self.populator.clock.now()
    }

    /// What is left until the deadline.
    fn left(&self) -> Duration {
        Duration::try_from(self.deadline - self.now()).unwrap_or_default()
    }

    fn budget(&self) -> Duration {
        budget(self.left())
    }

    /// Too little is left for this target.
    fn out_of_time(&self, request: &Request, needed: Duration) -> Finding {
        let message = format!(
            "PopulateIdMappingTable of {} was not called: {} ms were left until the function's time-out and {} ms are \
             needed; raise the time-out or name fewer targets",
            request.target,
            self.left().as_millis(),
            needed.as_millis()
        );
        Finding::Wait(Error::new(ErrorType::OutOfTime, message), Duration::ZERO)
    }

    /// News that comes as an event is given time to settle, if that is set.
    fn settling(&self, request: &Request) -> Option<Finding> {
        let settle_time = self.populator.settings.settle_time.as_ref()?;
        if self.batch || request.trigger.is_none() {
            return None;
        }
        let message = format!(
            "PopulateIdMappingTable of {} is first tried after SETTLE_TIME ({settle_time}), so that a burst of news becomes \
             one job",
            request.target
        );
        Some(Finding::Wait(
            Error::new(ErrorType::Settling, message),
            settle_time.duration,
        ))
    }
}

impl Done {
    fn of(request: Request, choice: Option<Choice>) -> Self {
        Self {
            request,
            choice,
            outcome: None,
            failure: None,
            stays: None,
        }
    }
}

/// An error with what went wrong besides.
fn also(error: &Error, besides: &Error) -> Error {
    Error::new(
        error.error_type,
        format!("{}; {}", error.message, besides.message),
    )
}

fn busy(request: &Request, why: &str) -> Finding {
    let message = format!(
        "PopulateIdMappingTable of {} was not called: {why}",
        request.target
    );
    Finding::Wait(Error::new(ErrorType::SlotBusy, message), Duration::ZERO)
}

/// An invocation ended during its call, and no job was found for it yet.
fn unknown(call: &Call, not_found: &NotFound) -> Finding {
    let message = format!(
        "PopulateIdMappingTable of {} was called at {} by an invocation that ended before its answer: a job may run; \
         {not_found}",
        call.request.target,
        timestamp(call.called_at)
    );
    Finding::Wait(
        Error::new(ErrorType::OutcomeUnknown, message),
        Duration::ZERO,
    )
}

fn warn(target: &Target, what: &str, error: &Error) {
    let error_type = error.error_type.as_str();
    tracing::warn!(
        errorType = error_type,
        "{what} of {target}: {}",
        error.message
    );
}

/// One line for each request: what became of it, or why it failed.
fn log(done: &Done) {
    let Done {
        request,
        choice,
        outcome,
        failure,
        stays,
    } = done;
    let choice = choice.as_ref();
    let kind = outcome.as_ref().map(|outcome| outcome.outcome);
    let error = failure
        .as_ref()
        .or(stays.as_ref())
        .or(outcome.as_ref().and_then(|outcome| outcome.error.as_ref()));
    let job = outcome.as_ref().and_then(|outcome| outcome.job.as_ref());
    macro_rules! line {
        ($level:ident, $($message:tt)*) => {
            tracing::$level!(
                membershipIdentifier = request.target.membership.as_str(),
                idMappingTableIdentifier = request.target.table.as_str(),
                idMappingJobId = job.map(JobId::as_str),
                jobType = choice.and_then(|choice| choice.job_type).map(JobType::as_str),
                rule = choice.map(|choice| choice.decision.rule.as_str()),
                outcome = kind.map(OutcomeKind::as_str),
                errorType = error.map(|error| error.error_type.as_str()),
                $($message)*
            )
        };
    }
    match (error, kind) {
        // A job may run, and a permission may be missing to know it.
        (Some(error), Some(OutcomeKind::Waiting))
            if error.error_type == ErrorType::OutcomeUnknown =>
        {
            line!(warn, "waits: {}", error.message);
        }
        (Some(error), Some(OutcomeKind::Waiting)) => line!(info, "waits: {}", error.message),
        (Some(error), _) if failure.is_none() && stays.is_some() => {
            line!(info, "still waits: {}", error.message);
        }
        (Some(error), _) => line!(error, "{}", error.message),
        (None, Some(OutcomeKind::Planned)) => line!(info, "dry run"),
        (None, Some(OutcomeKind::Covered)) => line!(info, "covered by a job"),
        (None, _) => line!(info, "job started"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_end_before_the_deadline_and_at_their_bounds() {
        let seconds = Duration::from_secs_f64;
        assert_eq!(call_budget(seconds(0.0)), None);
        assert_eq!(call_budget(seconds(1.999)), None);
        assert_eq!(call_budget(seconds(3.0)), Some(seconds(2.0)));
        assert_eq!(call_budget(seconds(900.0)), Some(seconds(20.0)));
        assert_eq!(budget(seconds(0.2)), seconds(0.0));
        assert_eq!(budget(seconds(1.0)), seconds(0.7));
        assert_eq!(budget(seconds(900.0)), seconds(5.0));
    }
}
