//! Review: every interleaving of two execution environments at their calls, with up to N faults.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_aws::{FakeAws, Fault, Gate, Operation, Slot, State, Status};
use serde_json::Value;
use tokio::sync::{Notify, oneshot};

use crate::lab::{BEGIN, Delivery, Ended, Lab, TIMEOUT, VISIBILITY};
use crate::promises::{self, News};
use crate::proof::faults;
use crate::world::{T1, T2};

#[derive(Default)]
struct Inner {
    blocked: [VecDeque<(Operation, oneshot::Sender<Option<Fault>>)>; 2],
    done: [bool; 2],
}

#[derive(Clone, Default)]
struct Sched(Arc<(Mutex<Inner>, Notify)>);

impl Sched {
    fn gate(&self) -> Gate {
        let this = self.clone();
        Arc::new(move |environment, operation| {
            let this = this.clone();
            Box::pin(async move {
                let (sender, receiver) = oneshot::channel();
                this.0.0.lock().unwrap().blocked[environment].push_back((operation, sender));
                this.0.1.notify_one();
                receiver.await.unwrap_or(None)
            })
        })
    }

    fn done(&self, environment: usize) {
        let mut inner = self.0.0.lock().unwrap();
        inner.done[environment] = true;
        inner.blocked[environment].clear();
        drop(inner);
        self.0.1.notify_one();
    }

    async fn settled(&self) -> Vec<(usize, Operation)> {
        loop {
            {
                let mut inner = self.0.0.lock().unwrap();
                for queue in &mut inner.blocked {
                    queue.retain(|(_, sender)| !sender.is_closed());
                }
                if (0..2).all(|e| inner.done[e] || !inner.blocked[e].is_empty()) {
                    return (0..2)
                        .filter(|e| !inner.done[*e])
                        .map(|e| (e, inner.blocked[e][0].0))
                        .collect();
                }
            }
            self.0.1.notified().await;
        }
    }

    fn release(&self, environment: usize, fault: Option<Fault>) {
        let (_, sender) = self.0.0.lock().unwrap().blocked[environment]
            .pop_front()
            .unwrap();
        let _ = sender.send(fault);
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Deliver(usize),
    Poll,
    /// The same messages that the other one polls.
    Again,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setup {
    Empty,
    Waiting,
    LeftAccepted,
    LeftNotAccepted,
    UnknownOld,
    Unannounced,
    EndedFailed,
    EndedSucceeded,
    LeftSecond,
}

struct Explorer {
    lab: Lab,
    news: Vec<News>,
    track: bool,
    runs: usize,
    broken: BTreeMap<String, (usize, String)>,
}

async fn explore(
    setup: Setup,
    acts: [Act; 2],
    slot: Slot,
    track: bool,
    max_faults: usize,
    limit: usize,
) -> (usize, BTreeMap<String, (usize, String)>) {
    let settings = [("TRACK_COMPLETION", if track { "true" } else { "" })];
    let mut lab = Lab::with(FakeAws::in_process(), slot, &settings).await;
    let news = vec![
        News::new("news-a", T1, BEGIN - time::Duration::seconds(10)),
        News::new("news-b", T1, BEGIN + time::Duration::seconds(30)),
        News::new("news-c", T2, BEGIN - time::Duration::seconds(5)),
        News::with_wish("news-d", T1, "BATCH", BEGIN - time::Duration::seconds(8)),
    ];
    let mut lost = vec![news[0].clone()];
    match setup {
        Setup::Empty => lost.clear(),
        Setup::Waiting => {
            let other = News::new("other", T2, BEGIN - time::Duration::seconds(20));
            lab.deliver(0, &other.event).await;
            lab.deliver(0, &news[0].event).await;
            if slot != Slot::Unlimited {
                lab.aws.end_job(Status::Succeeded);
            }
            lost.push(other);
        }
        Setup::LeftAccepted | Setup::LeftNotAccepted => {
            let fault = match setup {
                Setup::LeftAccepted => Fault::AcceptAndCrash,
                _ => Fault::Crash,
            };
            lab.aws.fail_next(Operation::PopulateIdMappingTable, fault);
            lab.deliver(0, &news[0].event).await;
            lab.pass(TIMEOUT + Duration::from_secs(2));
        }
        Setup::UnknownOld => {
            lab.aws
                .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
            lab.deliver(0, &news[0].event).await;
            lab.pass(Duration::from_secs(6 * 60));
        }
        Setup::Unannounced => {
            lab.aws.fail_next(
                Operation::PutEvents,
                Fault::FailEntries("MalformedDetail".to_owned()),
            );
            lab.deliver(0, &news[0].event).await;
            lab.pass(Duration::from_secs(60));
        }
        Setup::EndedFailed | Setup::EndedSucceeded => {
            lab.deliver(0, &news[0].event).await;
            lab.pass(Duration::from_secs(60 * 60));
            lab.aws.end_job(match setup {
                Setup::EndedFailed => Status::Failed,
                _ => Status::Succeeded,
            });
        }
        Setup::LeftSecond => {
            // A call is given up, and the next one's process died in its call.
            lab.aws
                .fail_next(Operation::PopulateIdMappingTable, Fault::Drop);
            lab.deliver(0, &news[0].event).await;
            lab.pass(VISIBILITY);
            lab.aws
                .fail_next(Operation::PopulateIdMappingTable, Fault::AcceptAndCrash);
            lab.poll(0).await;
            lab.pass(VISIBILITY);
        }
    }
    if lab.now() < BEGIN + time::Duration::seconds(32) {
        lab.set_now(BEGIN + time::Duration::seconds(32));
    }
    let base: State = lab.aws.state().clone();
    let (now, repeats, invoked) = (lab.now(), lab.repeats.clone(), lab.invoked);
    let mut concerned = lost;
    for act in acts {
        if let Act::Deliver(which) = act {
            concerned.push(news[which].clone());
        }
    }
    let mut unique: HashMap<String, News> = HashMap::new();
    for one in concerned {
        unique.insert(one.id.clone(), one);
    }
    let mut explorer = Explorer {
        lab,
        news: {
            let mut all: Vec<News> = unique.into_values().collect();
            all.sort_by(|a, b| a.id.cmp(&b.id));
            all
        },
        track,
        runs: 0,
        broken: BTreeMap::new(),
    };
    let mut choices: Vec<usize> = Vec::new();
    let samples: Option<usize> = std::env::var("INTER_RANDOM")
        .ok()
        .and_then(|text| text.parse().ok());
    if let Some(samples) = samples {
        let seed: u64 = std::env::var("INTER_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(1);
        for sample in 0..samples {
            *explorer.lab.aws.state() = base.clone();
            explorer.lab.repeats = repeats.clone();
            explorer.lab.invoked = invoked;
            explorer.lab.set_now(now);
            let mut random = crate::chance::Random(
                (seed + sample as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            );
            for _ in 0..8 {
                random.next();
            }
            let (_, _, trace) = explorer
                .run(&news, acts, &[], max_faults, Some(&mut random))
                .await;
            explorer.check(&trace).await;
            explorer.runs += 1;
        }
        return (explorer.runs, explorer.broken);
    }
    loop {
        *explorer.lab.aws.state() = base.clone();
        explorer.lab.repeats = repeats.clone();
        explorer.lab.invoked = invoked;
        explorer.lab.set_now(now);
        let (taken, arities, trace) = explorer.run(&news, acts, &choices, max_faults, None).await;
        explorer.check(&trace).await;
        explorer.runs += 1;
        let mut next = taken;
        loop {
            match next.pop() {
                Some(last) if last + 1 < arities[next.len()] => {
                    next.push(last + 1);
                    break;
                }
                Some(_) => {}
                None => return (explorer.runs, explorer.broken),
            }
        }
        if explorer.runs >= limit {
            println!("   limit reached");
            return (explorer.runs, explorer.broken);
        }
        choices = next;
    }
}

impl Explorer {
    async fn run(
        &mut self,
        news: &[News],
        acts: [Act; 2],
        choices: &[usize],
        max_faults: usize,
        mut random: Option<&mut crate::chance::Random>,
    ) -> (Vec<usize>, Vec<usize>, Vec<String>) {
        let sched = Sched::default();
        self.lab.aws.set_gate(Some(sched.gate()));
        let mut batch: Option<Value> = None;
        let mut payloads: Vec<(String, Value)> = Vec::new();
        let mut deliveries: Vec<Option<Delivery>> = Vec::new();
        for act in acts {
            match act {
                Act::Deliver(which) => {
                    let delivery = self.lab.delivery(&news[which].event);
                    payloads.push((delivery.request_id.clone(), delivery.payload.clone()));
                    deliveries.push(Some(delivery));
                }
                Act::Poll | Act::Again => {
                    if batch.is_none() {
                        batch = self.lab.aws.receive("waiting", 10);
                    }
                    self.lab.invoked += 1;
                    let payload = batch.clone().unwrap_or(serde_json::json!({"Records": []}));
                    payloads.push((format!("request-{}", self.lab.invoked), payload));
                    deliveries.push(None);
                }
            }
        }
        let (mut taken, mut arities, mut trace) = (Vec::new(), Vec::new(), Vec::new());
        let lab = self.lab.clone();
        let schedule = async {
            let mut left = max_faults;
            loop {
                let open = sched.settled().await;
                if open.is_empty() {
                    break;
                }
                let mut options: Vec<(usize, Operation, Option<Fault>)> = Vec::new();
                for (environment, operation) in &open {
                    options.push((*environment, *operation, None));
                }
                if left > 0 {
                    for (environment, operation) in &open {
                        for fault in faults(*operation) {
                            options.push((*environment, *operation, Some(fault)));
                        }
                    }
                }
                let choice = match &mut random {
                    Some(random) => {
                        let faulty = options.len() > open.len() && random.below(7) == 0;
                        if faulty {
                            open.len() + random.below(options.len() - open.len())
                        } else {
                            random.below(open.len())
                        }
                    }
                    None => choices.get(taken.len()).copied().unwrap_or(0),
                };
                arities.push(options.len());
                taken.push(choice);
                let (environment, operation, fault) = options[choice].clone();
                trace.push(format!(
                    "{environment}:{operation:?}{}",
                    match &fault {
                        Some(fault) => format!(" {fault:?}"),
                        None => String::new(),
                    }
                ));
                if fault.is_some() {
                    left -= 1;
                }
                lab.pass(Duration::from_millis(20));
                sched.release(environment, fault);
            }
        };
        let one = async {
            let ended = lab.invoke(0, &payloads[0].0, &payloads[0].1).await;
            sched.done(0);
            ended
        };
        let other = async {
            let ended = lab.invoke(1, &payloads[1].0, &payloads[1].1).await;
            sched.done(1);
            ended
        };
        let (first, second, ()) = tokio::join!(one, other, schedule);
        self.lab.aws.set_gate(None);
        for (ended, delivery) in [first, second].into_iter().zip(deliveries) {
            match delivery {
                Some(delivery) => self.lab.keep(delivery, &ended),
                None => {
                    if let (Ended::Response(answer), Some(batch)) = (&ended, &batch) {
                        self.lab.aws.received("waiting", batch, Some(answer));
                    }
                }
            }
        }
        (taken, arities, trace)
    }

    async fn check(&mut self, trace: &[String]) {
        let mut rounds = 0;
        let mut broken = Vec::new();
        while !(self.lab.repeats.is_empty() && self.lab.aws.messages("waiting").is_empty()) {
            self.lab.aws.end_job(Status::Succeeded);
            self.lab.pass(VISIBILITY);
            self.lab.repeat(0).await;
            self.lab.poll(0).await;
            rounds += 1;
            if rounds > 14 {
                broken.push(format!("no end after {rounds} rounds"));
                break;
            }
        }
        broken.extend(promises::broken(&self.lab, &self.news));
        broken.extend(strict(&self.lab, &self.news));
        if self.track {
            broken.extend(promises::broken_ends(&self.lab));
        }
        for what in broken {
            let story = promises::story(&self.lab);
            let entry = self
                .broken
                .entry(what)
                .or_insert_with(|| (0, format!("{}\n{story}", trace.join(" | "))));
            entry.0 += 1;
        }
    }
}

/// What `promises::broken` does not ask.
pub fn strict(lab: &Lab, news: &[News]) -> Vec<String> {
    let mut broken = Vec::new();
    let details = lab.details();
    let jobs = lab.aws.jobs();
    for detail in &details {
        let outcome = detail["outcome"].as_str().unwrap();
        if outcome != "COVERED" && outcome != "STARTED" {
            continue;
        }
        let job = jobs.iter().find(|job| {
            detail["idMappingJobId"] == Value::from(job.id.clone())
                || detail["entityResolutionJobId"] == Value::from(job.entity_resolution_id.clone())
        });
        let Some(job) = job else {
            broken.push(format!("{outcome} names a job that is none"));
            continue;
        };
        let Some(of) = news
            .iter()
            .find(|news| detail["requestId"] == Value::from(news.id.clone()))
        else {
            continue;
        };
        if job.table != of.table {
            broken.push(format!("{outcome} of {} names another table's job", of.id));
        }
        if job.started_at < of.time {
            broken.push(format!(
                "{outcome} of {} by a job that began before the news",
                of.id
            ));
        }
    }
    broken
}

fn acts_of(setup: Setup) -> Vec<[Act; 2]> {
    use Act::*;
    match setup {
        Setup::Empty => vec![
            [Deliver(0), Deliver(0)],
            [Deliver(0), Deliver(1)],
            [Deliver(0), Deliver(3)],
            [Deliver(0), Deliver(2)],
        ],
        Setup::Waiting => vec![[Poll, Again], [Poll, Deliver(0)], [Poll, Deliver(1)]],
        Setup::LeftAccepted | Setup::LeftNotAccepted => {
            vec![[Deliver(0), Deliver(0)], [Deliver(0), Deliver(1)]]
        }
        Setup::UnknownOld | Setup::LeftSecond => vec![
            [Poll, Again],
            [Poll, Deliver(0)],
            [Poll, Deliver(1)],
            [Deliver(0), Deliver(1)],
        ],
        Setup::Unannounced => vec![[Deliver(0), Deliver(0)], [Deliver(0), Deliver(1)]],
        Setup::EndedFailed | Setup::EndedSucceeded => {
            vec![[Poll, Again], [Poll, Deliver(0)], [Poll, Deliver(1)]]
        }
    }
}

async fn all(setup: Setup) {
    let number = |name: &str, default: usize| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let (most, limit) = (number("INTER_FAULTS", 0), number("INTER_LIMIT", 200_000));
    let tracks: &[bool] = match setup {
        Setup::EndedFailed | Setup::EndedSucceeded => &[true],
        _ => &[false, true],
    };
    let mut bad = 0;
    for slot in [Slot::Conflict, Slot::Unlimited] {
        for track in tracks {
            for acts in acts_of(setup) {
                let began = std::time::Instant::now();
                let (runs, broken) = explore(setup, acts, slot, *track, most, limit).await;
                println!(
                    "{setup:?} {acts:?} {slot:?} track {track} faults {most}: {runs} schedules, {:?}, {} kinds broken",
                    began.elapsed(),
                    broken.len()
                );
                for (what, (count, trace)) in &broken {
                    println!("   BROKEN {count}x {what}\n      {trace}");
                }
                bad += broken.len();
            }
        }
    }
    assert_eq!(bad, 0);
}

macro_rules! each {
    ($($name:ident $setup:ident),*) => {
        $(#[tokio::test(start_paused = true)] async fn $name() { all(Setup::$setup).await; })*
    };
}

each!(
    inter_empty Empty, inter_waiting Waiting, inter_left_accepted LeftAccepted,
    inter_left_not_accepted LeftNotAccepted, inter_unknown_old UnknownOld,
    inter_unannounced Unannounced, inter_ended_failed EndedFailed,
    inter_ended_succeeded EndedSucceeded, inter_left_second LeftSecond
);
