//! The set-ups in which two invocations begin.

use std::time::Duration;

use fake_aws::{FakeAws, Fault, Operation, Slot, Status};
use serde_json::json;

use super::newer::write_as_newer_version;
use super::search::{Act, Setup};
use crate::harness::{T1, T2, table_arn};
use crate::invariants::{Allowed, Change};
use crate::simulator::{BEGIN, Simulator, TIMEOUT, VISIBILITY};

/// What happened before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing.
    Empty,
    /// Nothing, and both tables have one workflow.
    SharedWorkflow,
    /// Two changes, of two tables: one's job has ended, the other waits.
    Waiting,
    /// The same, and one environment has another default job type; the changes name none.
    WaitingOtherDefault,
    /// The same, and one environment runs a newer version, which has written the ledger and the queues.
    WaitingOtherVersion,
    /// A tracked job has succeeded, and one environment runs a newer version, as above.
    SucceededOtherVersion,
    /// The process died in its call, which had started a job.
    Expired,
    /// The process died before its call.
    ExpiredBeforeCall,
    /// A call's answer was lost six minutes ago, and no job shows.
    AnswerLost,
    /// The same, and the process of the next call died in it.
    SecondCallCrashed,
    /// A start could not be announced.
    Unannounced,
    /// A tracked job has failed.
    Failed,
    /// The same, and its request may have a second job.
    FailedOnce,
    /// The same, and the failure was seen.
    RetryQueued,
    /// A job started a few minutes ago, and `MIN_INTERVAL` is not over. A change waits for it.
    HeldBack,
    /// A tracked job has succeeded.
    Succeeded,
    /// The same, and somebody has sent messages that track jobs: one that this function did not start and that failed,
    /// and the function's own with another request.
    Forged,
}

/// What one environment does.
#[derive(Clone, Copy, Debug)]
pub enum What {
    Deliver(usize),
    /// A batch of the waiting queue; the same one, if both do.
    Poll,
}

impl Way {
    /// The pairs of acts that are searched.
    pub fn acts(self) -> Vec<[What; 2]> {
        use What::{Deliver, Poll};
        match self {
            Self::Empty => vec![
                [Deliver(0), Deliver(0)],
                [Deliver(0), Deliver(1)],
                [Deliver(0), Deliver(3)],
                [Deliver(0), Deliver(2)],
            ],
            Self::SharedWorkflow => vec![[Deliver(0), Deliver(2)]],
            Self::Waiting
            | Self::Failed
            | Self::FailedOnce
            | Self::RetryQueued
            | Self::Succeeded
            | Self::Forged => {
                vec![[Poll, Poll], [Poll, Deliver(0)], [Poll, Deliver(1)]]
            }
            Self::HeldBack => vec![[Deliver(1), Deliver(3)], [Poll, Poll], [Poll, Deliver(1)]],
            Self::WaitingOtherDefault => vec![[Poll, Deliver(0)], [Deliver(0), Poll]],
            Self::WaitingOtherVersion => vec![[Poll, Deliver(0)]],
            Self::SucceededOtherVersion => vec![[Poll, Poll]],
            Self::Expired | Self::ExpiredBeforeCall | Self::Unannounced => {
                vec![[Deliver(0), Deliver(0)], [Deliver(0), Deliver(1)]]
            }
            Self::AnswerLost | Self::SecondCallCrashed => vec![
                [Poll, Poll],
                [Poll, Deliver(0)],
                [Poll, Deliver(1)],
                [Deliver(0), Deliver(1)],
            ],
        }
    }
}

/// The state after it.
pub struct Begun {
    pub sim: Simulator,
    track: bool,
    allowed: Allowed,
    /// The environment that runs a newer version.
    pub newer: Option<usize>,
    changes: Vec<Change>,
    accepted: Vec<usize>,
}

impl Begun {
    pub async fn new(way: Way, slot: Slot, track: bool) -> Self {
        let tables = [T1, T2].map(table_arn).join(",");
        let shared = way == Way::SharedWorkflow;
        let retries = matches!(way, Way::FailedOnce | Way::RetryQueued);
        let other_default = way == Way::WaitingOtherDefault;
        let defaults = match other_default {
            true => ["INCREMENTAL", "BATCH"],
            false => ["SERVICE_DEFAULT"; 2],
        };
        let [one, other] = defaults.map(|default| {
            [
                ("TRACK_COMPLETION", if track { "true" } else { "" }),
                ("ID_MAPPING_TABLE_ARNS", if shared { &tables } else { "" }),
                ("DEFAULT_JOB_TYPE", default),
                ("MAX_JOB_ATTEMPTS", if retries { "2" } else { "" }),
                (
                    "MIN_INTERVAL",
                    if way == Way::HeldBack { "40m" } else { "" },
                ),
            ]
        });
        let mut sim = Simulator::of(FakeAws::in_process(), slot, [&one, &other]).await;
        sim.aws.state().shared_workflow = shared;
        let second = time::Duration::seconds(1);
        let change = |id, time| match other_default {
            true => Change::by_default(id, T1, defaults, time),
            false => Change::new(id, T1, time),
        };
        let changes = vec![
            change("change-a", BEGIN - 10 * second),
            change("change-b", BEGIN + 30 * second),
            Change::new("change-c", T2, BEGIN - 5 * second),
            Change::of_type("change-d", T1, "BATCH", BEGIN - 8 * second),
            Change::new("other", T2, BEGIN - 20 * second),
        ];
        let fail = |operation, fault| sim.aws.fail_next(operation, fault);
        match way {
            Way::Expired => fail(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash),
            Way::ExpiredBeforeCall => fail(Operation::PopulateIdMappingTable, Fault::Crash),
            Way::AnswerLost | Way::SecondCallCrashed => {
                fail(Operation::PopulateIdMappingTable, Fault::Drop);
            }
            Way::Unannounced => {
                fail(
                    Operation::PutEvents,
                    Fault::FailEntries("MalformedDetail".to_owned()),
                );
            }
            _ => {}
        }
        let mut accepted = Vec::new();
        let waiting = matches!(
            way,
            Way::Waiting | Way::WaitingOtherDefault | Way::WaitingOtherVersion
        );
        if waiting {
            sim.deliver(0, &changes[4].event).await;
            accepted.push(4);
        }
        if !matches!(way, Way::Empty | Way::SharedWorkflow) {
            sim.deliver(0, &changes[0].event).await;
            accepted.push(0);
        }
        match way {
            Way::Empty | Way::SharedWorkflow => {}
            Way::Waiting | Way::WaitingOtherDefault | Way::WaitingOtherVersion => {
                if slot != Slot::Unlimited {
                    sim.aws.end_job(Status::Succeeded);
                }
            }
            Way::Expired | Way::ExpiredBeforeCall => {
                sim.pass(TIMEOUT + Duration::from_secs(2));
            }
            Way::AnswerLost => sim.pass(Duration::from_secs(6 * 60)),
            Way::SecondCallCrashed => {
                sim.pass(VISIBILITY);
                sim.aws
                    .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash);
                sim.poll(0).await;
                sim.pass(VISIBILITY);
            }
            Way::Unannounced => sim.pass(Duration::from_secs(60)),
            Way::HeldBack => {
                sim.pass(Duration::from_secs(60));
                sim.deliver(0, &changes[1].event).await;
                accepted.push(1);
                sim.pass(VISIBILITY);
            }
            Way::Failed
            | Way::FailedOnce
            | Way::RetryQueued
            | Way::Succeeded
            | Way::SucceededOtherVersion
            | Way::Forged => {
                sim.pass(Duration::from_secs(60 * 60));
                sim.aws.end_job(match way {
                    Way::Failed | Way::FailedOnce | Way::RetryQueued => Status::Failed,
                    _ => Status::Succeeded,
                });
                if way == Way::RetryQueued {
                    sim.poll(0).await;
                }
            }
        }
        if way == Way::Forged {
            forge(&sim);
        }
        // Each change has happened.
        if sim.now() < BEGIN + 32 * second {
            sim.set_now(BEGIN + 32 * second);
        }
        sim.aws.state().calls.clear();
        let versions = matches!(way, Way::WaitingOtherVersion | Way::SucceededOtherVersion);
        let newer = versions.then_some(1);
        if newer.is_some() {
            write_as_newer_version(&mut sim.aws.state());
        }
        Self {
            sim,
            track,
            allowed: Allowed {
                max_attempts: track.then_some(if retries { 2 } else { 1 }),
                min_interval: time::Duration::minutes(if way == Way::HeldBack { 40 } else { 0 }),
                ..Allowed::NOTHING
            },
            newer,
            changes,
            accepted,
        }
    }

    /// Two acts in this state.
    pub fn setup(&self, acts: &[What; 2], faults: usize) -> Setup {
        let mut state = self.sim.aws.state().clone();
        let mut accepted = self.accepted.clone();
        let mut batch = None;
        let mut invoked = self.sim.invoked;
        let acts = acts.map(|act| {
            invoked += 1;
            let request_id = format!("request-{invoked}");
            match act {
                What::Deliver(which) => {
                    accepted.push(which);
                    Act::Deliver(crate::simulator::Delivery {
                        request_id,
                        payload: self.changes[which].event.clone(),
                        tries: 0,
                    })
                }
                What::Poll => {
                    let received = || self.receive(&mut state);
                    let batch = batch.get_or_insert_with(received);
                    Act::Poll(request_id, batch.clone())
                }
            }
        });
        accepted.sort_unstable();
        accepted.dedup();
        Setup {
            state,
            now: self.sim.now(),
            retries: self.sim.repeats.clone(),
            acts,
            changes: accepted
                .into_iter()
                .map(|which| self.changes[which].clone())
                .collect(),
            track: self.track,
            allowed: self.allowed,
            faults,
        }
    }

    fn receive(&self, state: &mut fake_aws::State) -> serde_json::Value {
        let before = std::mem::replace(&mut *self.sim.aws.state(), state.clone());
        let batch = self.sim.aws.receive("waiting", 10);
        *state = std::mem::replace(&mut *self.sim.aws.state(), before);
        batch.unwrap_or_else(|| json!({ "Records": [] }))
    }
}

/// Sends messages that track jobs, as somebody may who may send to the queue.
fn forge(sim: &Simulator) {
    let own = sim.aws.jobs()[0].id.clone();
    sim.aws.start_foreign_job(T1);
    let foreign = sim.aws.jobs()[1].entity_resolution_id.clone();
    sim.aws.end_job(Status::Failed);
    for watch in [
        json!({ "entityResolutionJobId": foreign }),
        json!({ "idMappingJobId": foreign, "attempt": "6f1c2d3e-4b5a-4c7d-8e9f-0a1b2c3d4e5f" }),
        json!({ "idMappingJobId": own }),
    ] {
        let forged = json!({
            "version": 1, "trigger": { "source": "forged", "detailType": "forged" }, "watch": watch,
            "waitingSince": "0001-01-01T00:00:00Z",
            "request": { "idMappingTableArn": table_arn(T1), "requestId": "forged", "time": "2020-01-01T00:00:00Z" },
        });
        sim.aws.send("waiting", &forged.to_string());
    }
}
