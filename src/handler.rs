//! The story: a payload becomes requests, each request an outcome, the outcomes an answer.

use std::time::Duration;

use aws_lambda_events::event::sqs::SqsBatchResponse;
use serde::Serialize;
use time::OffsetDateTime;

use crate::clean_rooms::{Answer, CleanRooms};
use crate::config::Settings;
use crate::error::{Error, ErrorType};
use crate::input::{self, Arrival, Content, Delivery, Payload, Request};
use crate::job_type::{self, Choice};
use crate::output::{EventBus, Outcome, OutcomeKind, Plan};
use crate::target::Home;

/// Lambda's longest time-out. A deadline further in the past is none: some emulators send nonsense.
const MAX_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// What must be left until the deadline for a target to be begun: a second and a third for the
/// call, the rest to announce it and to answer.
const MIN_LEFT: Duration = Duration::from_secs(2);

/// How long a call may take: two thirds of what is left until the deadline, so that what comes after
/// it has its time, and at most 20 seconds. None: too little is left to begin.
fn call_budget(left: Duration) -> Option<Duration> {
    (left >= MIN_LEFT).then(|| (left / 3 * 2).min(Duration::from_secs(20)))
}

/// How long a publication may take: what is left until the deadline less the time to answer, and at
/// most 5 seconds.
fn publication_budget(left: Duration) -> Duration {
    left.saturating_sub(Duration::from_millis(300))
        .min(Duration::from_secs(5))
}

/// The present moment.
pub type Clock = fn() -> OffsetDateTime;

/// The function, with its clients, for the life of an execution environment.
#[derive(Clone, Debug)]
pub struct Populator {
    settings: Settings,
    clean_rooms: CleanRooms,
    event_bus: Option<EventBus>,
    clock: Clock,
}

/// What Lambda says of an invocation.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Lambda's request id.
    pub request_id: String,
    /// The ARN with which the function was invoked; local emulators send other text.
    pub function_arn: String,
    /// When Lambda ends the invocation.
    pub deadline: OffsetDateTime,
}

impl From<&lambda_runtime::Context> for Invocation {
    fn from(context: &lambda_runtime::Context) -> Self {
        let nanoseconds = i128::from(context.deadline) * 1_000_000;
        Self {
            request_id: context.request_id.clone(),
            function_arn: context.invoked_function_arn.clone(),
            deadline: OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
                .unwrap_or(OffsetDateTime::UNIX_EPOCH),
        }
    }
}

/// The return value of an invocation that did not fail.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Response {
    /// Of a direct invocation: one outcome per target, in their order.
    Direct {
        /// The outcomes.
        outcomes: Vec<Outcome>,
    },
    /// Of a batch: the messages that SQS must deliver again.
    Batch(SqsBatchResponse),
}

/// What was done about one request.
struct Done {
    request: Request,
    choice: Choice,
    /// What became of it; none where it stays undone.
    outcome: Option<Outcome>,
    /// Why the invocation fails for it.
    failure: Option<Error>,
}

impl Populator {
    /// With these settings, and clients of this configuration (see [`crate::clients`]).
    pub fn new(settings: Settings, config: &aws_config::SdkConfig, clock: Clock) -> Self {
        let bus = |name: &String| EventBus::new(config, name, &settings.event_source);
        Self {
            clean_rooms: CleanRooms::new(config),
            event_bus: settings.event_bus.as_ref().map(bus),
            settings,
            clock,
        }
    }

    /// Handles one invocation.
    pub async fn handle(
        &self,
        payload: &Payload,
        invocation: &Invocation,
    ) -> Result<Response, Error> {
        let now = (self.clock)();
        let home = Home::of(&invocation.function_arn, &self.settings.region);
        let arrival = Arrival {
            request_id: &invocation.request_id,
            at: now,
            home: &home,
            settings: &self.settings,
        };
        let delivery = self
            .settings
            .check(&home)
            .and_then(|()| input::parse(payload, &arrival))
            .inspect_err(|error| {
                tracing::error!(errorType = error.error_type.as_str(), "{}", error.message)
            })?;

        let known = |deadline: &OffsetDateTime| now - *deadline < MAX_TIMEOUT;
        let deadline = Some(invocation.deadline)
            .filter(known)
            .unwrap_or(now + MAX_TIMEOUT);
        let work = Work {
            populator: self,
            home: &home,
            deadline,
        };
        match delivery {
            Delivery::Direct(content) => direct(work.all(content).await),
            Delivery::Batch(messages) => {
                let mut response = SqsBatchResponse::default();
                for message in messages {
                    let done = match message.content {
                        Ok(content) => work
                            .all(content)
                            .await
                            .iter()
                            .all(|done| done.failure.is_none()),
                        Err(error) => {
                            let error_type = error.error_type.as_str();
                            tracing::error!(
                                errorType = error_type,
                                messageId = message.id,
                                "{}",
                                error.message
                            );
                            false
                        }
                    };
                    if !done {
                        response.add_failure(message.id);
                    }
                }
                Ok(Response::Batch(response))
            }
        }
    }
}

/// A direct invocation's answer: it fails when any target failed.
fn direct(all: Vec<Done>) -> Result<Response, Error> {
    let Some(first) = all.iter().find_map(|done| done.failure.as_ref()) else {
        return Ok(Response::Direct {
            outcomes: all.into_iter().filter_map(|done| done.outcome).collect(),
        });
    };
    if let [_] = &all[..] {
        return Err(first.clone());
    }
    let failures = all.iter().filter_map(|done| done.failure.as_ref());
    let started = all.iter().filter_map(|done| {
        let job_id = done.outcome.as_ref()?.id_mapping_job_id.as_ref()?;
        Some(format!("{} as job {job_id}", done.request.target))
    });
    let (failures, started): (Vec<String>, Vec<String>) =
        (failures.map(Error::to_string).collect(), started.collect());
    let started = if started.is_empty() {
        "none".to_owned()
    } else {
        started.join(", ")
    };
    Err(Error::new(
        first.error_type,
        format!(
            "{} of {} targets failed: {}; started: {started}",
            failures.len(),
            all.len(),
            failures.join("; ")
        ),
    ))
}

/// One invocation's requests, done one after another.
struct Work<'a> {
    populator: &'a Populator,
    home: &'a Home,
    deadline: OffsetDateTime,
}

impl Work<'_> {
    async fn all(&self, content: Content) -> Vec<Done> {
        let requests = match content {
            Content::Requests(requests) => requests,
            Content::Ignored(reason) => {
                tracing::warn!("ignored: {reason}");
                return Vec::new();
            }
        };
        let mut all = Vec::with_capacity(requests.len());
        for request in requests {
            let done = self.one(request).await;
            log(&done);
            all.push(done);
        }
        all
    }

    async fn one(&self, request: Request) -> Done {
        let choice = job_type::choose(request.wish, request.wished_by);
        if request.dry_run {
            let outcome = Outcome::planned(&request, &choice, Plan::Start);
            return Done {
                request,
                choice,
                outcome: Some(outcome),
                failure: None,
            };
        }
        let started_at = (self.populator.clock)();
        let left = self.left();
        let Some(budget) = call_budget(left) else {
            let failure = Error::new(
                ErrorType::OutOfTime,
                format!(
                    "PopulateIdMappingTable of {} was not called: {} ms were left until the function's time-out and \
                     {} ms are needed; raise the time-out or name fewer targets",
                    request.target,
                    left.as_millis(),
                    MIN_LEFT.as_millis()
                ),
            );
            return Done {
                request,
                choice,
                outcome: None,
                failure: Some(failure),
            };
        };
        match self
            .populator
            .clean_rooms
            .populate(&request.target, choice.job_type, budget)
            .await
        {
            Answer::Started(job_id) => {
                let outcome = Outcome::started(&request, &choice, job_id, started_at);
                self.announced(request, choice, outcome).await
            }
            Answer::Refused(error) => self.rejected(request, choice, error).await,
            Answer::Busy(error) | Answer::Unavailable(error) | Answer::Unknown(error) => Done {
                request,
                choice,
                outcome: None,
                failure: Some(error),
            },
        }
    }

    async fn rejected(&self, request: Request, choice: Choice, error: Error) -> Done {
        let outcome = Outcome::rejected(&request, &choice, error.clone());
        let done = self.announced(request, choice, outcome).await;
        // The rejection is what the caller must know first; that it was not announced, besides.
        let failure = match done.failure {
            Some(unpublished) => Error::new(
                error.error_type,
                format!("{}; {}", error.message, unpublished.message),
            ),
            None => error,
        };
        Done {
            failure: Some(failure),
            ..done
        }
    }

    async fn announced(&self, request: Request, choice: Choice, outcome: Outcome) -> Done {
        let failure = match &self.populator.event_bus {
            None => None,
            Some(bus) => {
                let budget = publication_budget(self.left());
                let decided_at = (self.populator.clock)();
                bus.publish(&outcome, &request, self.home, decided_at, budget)
                    .await
                    .err()
            }
        };
        let failure = failure.map(|cause| {
            let job = match &outcome.id_mapping_job_id {
                Some(job_id) => format!(" (job {job_id})"),
                None => String::new(),
            };
            Error::new(
                ErrorType::NotAnnounced,
                format!(
                    "{} of {}{job} is not announced: {cause}",
                    outcome.outcome.as_str(),
                    request.target
                ),
            )
        });
        Done {
            request,
            choice,
            outcome: Some(outcome),
            failure,
        }
    }

    /// What is left until the deadline.
    fn left(&self) -> Duration {
        Duration::try_from(self.deadline - (self.populator.clock)()).unwrap_or_default()
    }
}

/// One line for each request: what became of it, or why it failed.
fn log(done: &Done) {
    let Done {
        request,
        choice,
        outcome,
        failure,
    } = done;
    macro_rules! line {
        ($level:ident, $($message:tt)*) => {
            tracing::$level!(
                membershipIdentifier = request.target.membership.as_str(),
                idMappingTableIdentifier = request.target.table.as_str(),
                idMappingJobId = outcome.as_ref().and_then(|outcome| outcome.id_mapping_job_id.as_deref()),
                jobType = choice.job_type.map(job_type::JobType::as_str),
                rule = choice.decision.rule.as_str(),
                outcome = outcome.as_ref().map(|outcome| outcome.outcome.as_str()),
                errorType = failure.as_ref().map(|failure| failure.error_type.as_str()),
                $($message)*
            )
        };
    }
    match (failure, outcome.as_ref().map(|outcome| outcome.outcome)) {
        (Some(failure), _) => line!(error, "{}", failure.message),
        (None, Some(OutcomeKind::Planned)) => line!(info, "dry run: a job would be started"),
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
        assert_eq!(publication_budget(seconds(0.2)), seconds(0.0));
        assert_eq!(publication_budget(seconds(1.0)), seconds(0.7));
        assert_eq!(publication_budget(seconds(900.0)), seconds(5.0));
    }
}
