//! The worlds in which two invocations begin.

use std::time::Duration;

use fake_aws::{FakeAws, Fault, Operation, Slot, Status};
use serde_json::json;

use super::newer::write_anew;
use super::search::{Act, Setup};
use crate::lab::{BEGIN, Lab, TIMEOUT, VISIBILITY};
use crate::promises::News;
use crate::world::{T1, T2, table_arn};

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
    /// The same, and one environment runs a newer version, which has written all that is there.
    WaitingOtherVersion,
    /// A tracked job has succeeded, and one environment runs a newer version, as above.
    SucceededOtherVersion,
    /// The process died in its call, which had started a job.
    Expired,
    /// The process died before its call.
    ExpiredInVain,
    /// A call's answer was lost six minutes ago, and no job shows.
    GivenUp,
    /// The same, and the process of the next call died in it.
    LeftSecond,
    /// A start could not be announced.
    Unannounced,
    /// A tracked job has failed.
    Failed,
    /// A tracked job has succeeded.
    Succeeded,
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
            Self::Waiting | Self::Failed | Self::Succeeded => {
                vec![[Poll, Poll], [Poll, Deliver(0)], [Poll, Deliver(1)]]
            }
            Self::WaitingOtherDefault => vec![[Poll, Deliver(0)], [Deliver(0), Poll]],
            Self::WaitingOtherVersion => vec![[Poll, Deliver(0)]],
            Self::SucceededOtherVersion => vec![[Poll, Poll]],
            Self::Expired | Self::ExpiredInVain | Self::Unannounced => {
                vec![[Deliver(0), Deliver(0)], [Deliver(0), Deliver(1)]]
            }
            Self::GivenUp | Self::LeftSecond => vec![
                [Poll, Poll],
                [Poll, Deliver(0)],
                [Poll, Deliver(1)],
                [Deliver(0), Deliver(1)],
            ],
        }
    }
}

/// A world in which it has happened.
pub struct Begun {
    pub lab: Lab,
    track: bool,
    /// The environment that runs a newer version.
    pub newer: Option<usize>,
    changes: Vec<News>,
    accepted: Vec<usize>,
}

impl Begun {
    pub async fn new(way: Way, slot: Slot, track: bool) -> Self {
        let tables = [T1, T2].map(table_arn).join(",");
        let shared = way == Way::SharedWorkflow;
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
            ]
        });
        let mut lab = Lab::of(FakeAws::in_process(), slot, [&one, &other]).await;
        lab.aws.state().shared_workflow = shared;
        let second = time::Duration::seconds(1);
        let news = |id, time| match other_default {
            true => News::by_default(id, T1, defaults, time),
            false => News::new(id, T1, time),
        };
        let changes = vec![
            news("news-a", BEGIN - 10 * second),
            news("news-b", BEGIN + 30 * second),
            News::new("news-c", T2, BEGIN - 5 * second),
            News::with_wish("news-d", T1, "BATCH", BEGIN - 8 * second),
            News::new("other", T2, BEGIN - 20 * second),
        ];
        let fail = |operation, fault| lab.aws.fail_next(operation, fault);
        match way {
            Way::Expired => fail(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash),
            Way::ExpiredInVain => fail(Operation::PopulateIdMappingTable, Fault::Crash),
            Way::GivenUp | Way::LeftSecond => {
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
            lab.deliver(0, &changes[4].event).await;
            accepted.push(4);
        }
        if !matches!(way, Way::Empty | Way::SharedWorkflow) {
            lab.deliver(0, &changes[0].event).await;
            accepted.push(0);
        }
        match way {
            Way::Empty | Way::SharedWorkflow => {}
            Way::Waiting | Way::WaitingOtherDefault | Way::WaitingOtherVersion => {
                if slot != Slot::Unlimited {
                    lab.aws.end_job(Status::Succeeded);
                }
            }
            Way::Expired | Way::ExpiredInVain => {
                lab.pass(TIMEOUT + Duration::from_secs(2));
            }
            Way::GivenUp => lab.pass(Duration::from_secs(6 * 60)),
            Way::LeftSecond => {
                lab.pass(VISIBILITY);
                lab.aws
                    .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash);
                lab.poll(0).await;
                lab.pass(VISIBILITY);
            }
            Way::Unannounced => lab.pass(Duration::from_secs(60)),
            Way::Failed | Way::Succeeded | Way::SucceededOtherVersion => {
                lab.pass(Duration::from_secs(60 * 60));
                lab.aws.end_job(match way {
                    Way::Failed => Status::Failed,
                    _ => Status::Succeeded,
                });
            }
        }
        // Each change has happened.
        if lab.now() < BEGIN + 32 * second {
            lab.set_now(BEGIN + 32 * second);
        }
        lab.aws.state().calls.clear();
        let versions = matches!(way, Way::WaitingOtherVersion | Way::SucceededOtherVersion);
        let newer = versions.then_some(1);
        if newer.is_some() {
            write_anew(&mut lab.aws.state());
        }
        Self {
            lab,
            track,
            newer,
            changes,
            accepted,
        }
    }

    /// Two acts in this world.
    pub fn setup(&self, acts: &[What; 2], faults: usize) -> Setup {
        let mut state = self.lab.aws.state().clone();
        let mut accepted = self.accepted.clone();
        let mut batch = None;
        let mut invoked = self.lab.invoked;
        let acts = acts.map(|act| {
            invoked += 1;
            let request_id = format!("request-{invoked}");
            match act {
                What::Deliver(which) => {
                    accepted.push(which);
                    Act::Deliver(crate::lab::Delivery {
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
            now: self.lab.now(),
            retries: self.lab.repeats.clone(),
            acts,
            changes: accepted
                .into_iter()
                .map(|which| self.changes[which].clone())
                .collect(),
            track: self.track,
            faults,
        }
    }

    fn receive(&self, state: &mut fake_aws::State) -> serde_json::Value {
        let before = std::mem::replace(&mut *self.lab.aws.state(), state.clone());
        let batch = self.lab.aws.receive("waiting", 10);
        *state = std::mem::replace(&mut *self.lab.aws.state(), before);
        batch.unwrap_or_else(|| json!({ "Records": [] }))
    }
}
