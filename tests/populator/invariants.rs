//! The invariants, checked on the state of the services while no invocation runs.
//!
//! They are checked before anything is delivered again: a loss that a later delivery of the same change
//! would repair is a loss. Only Lambda's retries and the queues count as kept.

use std::collections::{BTreeMap, BTreeSet};

use fake_aws::{Job, Message, State, Status};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::harness::{request_for, table_arn};
use crate::simulator::{Delivery, Simulator};

/// A table's data changed.
#[derive(Clone, Debug)]
pub struct Change {
    pub id: String,
    pub table: String,
    /// The job type that is asked for.
    pub requested_type: &'static str,
    /// The types that the settings of the environments give to a change that requests none.
    pub defaults: Vec<&'static str>,
    pub time: OffsetDateTime,
    /// The payload that reports it, perhaps together with other changes.
    pub event: Value,
    /// Whether the payload has an id of its own; otherwise it is the only change of its table.
    pub named: bool,
    /// Whether `MIN_INTERVAL` does not hold it back.
    pub urgent: bool,
}

impl Change {
    pub fn new(id: &str, table: &str, time: OffsetDateTime) -> Self {
        Self::of_type(id, table, "INCREMENTAL", time)
    }

    pub fn of_type(
        id: &str,
        table: &str,
        requested_type: &'static str,
        time: OffsetDateTime,
    ) -> Self {
        let detail = json!({ "idMappingTableArn": table_arn(table), "jobType": requested_type });
        Self {
            id: id.to_owned(),
            table: table.to_owned(),
            requested_type,
            defaults: vec![requested_type],
            time,
            event: event(id, time, detail),
            named: true,
            urgent: false,
        }
    }

    /// A bare request that is urgent.
    pub fn urgent(
        id: &str,
        table: &str,
        requested_type: &'static str,
        time: OffsetDateTime,
    ) -> Self {
        let mut request = request_for(table);
        request["jobType"] = json!(requested_type);
        request["requestId"] = json!(id);
        request["time"] = json!(rfc_3339(time));
        request["urgent"] = json!(true);
        Self {
            event: request,
            urgent: true,
            ..Self::of_type(id, table, requested_type, time)
        }
    }

    /// One event that reports changes of several tables.
    pub fn of_tables(
        id: &str,
        tables: &[String],
        requested_type: &'static str,
        time: OffsetDateTime,
    ) -> Vec<Self> {
        let targets: Vec<Value> = tables.iter().map(|table| request_for(table)).collect();
        let event = event(
            id,
            time,
            json!({ "targets": targets, "jobType": requested_type }),
        );
        let of = |table: &String| Self {
            event: event.clone(),
            ..Self::of_type(id, table, requested_type, time)
        };
        tables.iter().map(of).collect()
    }

    /// A bare request that names only the table. Its change is as old as its delivery.
    pub fn bare(id: &str, table: &str, requested_type: &'static str, time: OffsetDateTime) -> Self {
        let mut request = request_for(table);
        request["jobType"] = json!(requested_type);
        Self {
            event: request,
            named: false,
            ..Self::of_type(id, table, requested_type, time)
        }
    }

    /// An event without a job type. The setting of the environment that receives it decides.
    pub fn by_default(
        id: &str,
        table: &str,
        defaults: [&'static str; 2],
        time: OffsetDateTime,
    ) -> Self {
        let detail = json!({ "idMappingTableArn": table_arn(table) });
        Self {
            event: event(id, time, detail),
            defaults: defaults.to_vec(),
            ..Self::of_type(id, table, "", time)
        }
    }

    /// Whether a job's type does what this change may ask for.
    fn is_served_by(&self, job: &Job) -> bool {
        let mut defaults = self.defaults.iter();
        job.table == self.table && defaults.any(|requested_type| serves(job, requested_type))
    }

    /// Whether it does so in every environment that may have received the change.
    fn is_surely_served_by(&self, job: &Job) -> bool {
        let mut defaults = self.defaults.iter();
        job.table == self.table && defaults.all(|requested_type| serves(job, requested_type))
    }

    /// Whether this job covers it in every environment and by any clock.
    pub fn is_covered_by(&self, job: &Job) -> bool {
        let ours = !job.foreign && !job.by_hand;
        ours && self.is_surely_served_by(job) && job.started_at >= self.time + Duration::seconds(1)
    }

    /// Whether an outcome's `detail` is of this change.
    fn has(&self, detail: &Value) -> bool {
        detail["idMappingTableIdentifier"] == json!(self.table)
            && (!self.named || detail["requestId"] == json!(self.id))
    }

    /// Whether a message's body asks for this change; one that tracks a job does not.
    fn is_in(&self, body: &Value) -> bool {
        let request = &body["request"];
        let waits = body["watch"].is_null()
            && request["idMappingTableIdentifier"] == json!(self.table)
            && (!self.named || request["requestId"] == json!(self.id));
        waits || *body == self.event || body["requestPayload"] == self.event
    }
}

/// Whether a job's type does what is asked for (docs/reference.md#coverage).
fn serves(job: &Job, requested_type: &str) -> bool {
    let sent = job.job_type.as_deref().unwrap_or("SERVICE_DEFAULT");
    sent == requested_type
        || (sent == "BATCH" && requested_type != "DELETE_ONLY")
        || (requested_type == "AUTO" && sent != "DELETE_ONLY")
}

fn event(id: &str, time: OffsetDateTime, detail: Value) -> Value {
    json!({
        "version": "0",
        "id": id,
        "detail-type": "ID Mapping Population Requested",
        "source": "com.example",
        "account": "123456789012",
        "time": rfc_3339(time),
        "region": "eu-west-1",
        "resources": [],
        "detail": detail,
    })
}

/// In whole seconds, as events have it.
fn rfc_3339(time: OffsetDateTime) -> String {
    let (hour, minute, second) = time.to_hms();
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", time.date())
}

/// What the environment may do that no function can make up for, and the settings that bound what the function may do.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// `MAX_JOB_ATTEMPTS`, where each job is tracked.
    pub max_attempts: Option<usize>,
    /// `MIN_INTERVAL`, or zero.
    pub min_interval: Duration,
    /// How far a clock may differ from the time at which services note a job's start.
    pub clocks: Duration,
    /// Whether jobs may be started through Clean Rooms by hand that cannot be told from ours.
    pub jobs_by_hand: bool,
    /// Jobs of one workflow may be taken for each other, because their starts are nearer to each other than the clocks
    /// are. Then the wrong request is tried again.
    pub swapped_jobs: bool,
    /// Jobs whose start was never answered may stay unseen: a permission is missing, or they show only after
    /// the call was abandoned. Such a job may run once more, unannounced.
    pub unseen_jobs: bool,
}

impl Allowed {
    /// Clocks agree, each job is seen, and no setting bounds the jobs.
    pub const NOTHING: Self = Self {
        max_attempts: None,
        min_interval: Duration::ZERO,
        clocks: Duration::ZERO,
        jobs_by_hand: false,
        swapped_jobs: false,
        unseen_jobs: false,
    };
}

/// The state of the services between two invocations.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The jobs that the function started.
    pub jobs: Vec<Job>,
    /// The jobs that were started through Clean Rooms by hand.
    by_hand: Vec<Job>,
    /// The details of the outcome events, in the order of their publication.
    pub details: Vec<Value>,
    /// The bodies of the messages of the waiting queue.
    waiting: Vec<Value>,
    /// The bodies of the messages of the dead-letter queue.
    dead: Vec<Value>,
    /// The payloads that Lambda keeps for a retry.
    retries: Vec<Value>,
}

impl Seen {
    pub fn of(state: &State, retries: &[Delivery]) -> Self {
        let bodies = |queue: &str| {
            let messages = state.queues.get(queue).map(|queue| &queue.messages);
            let body = |message: &Message| serde_json::from_str(&message.body).unwrap();
            messages.into_iter().flatten().map(body).collect()
        };
        let ours = |job: &&Job| !job.foreign && !job.by_hand;
        let by_hand = |job: &&Job| job.by_hand;
        Self {
            jobs: state.jobs.iter().filter(ours).cloned().collect(),
            by_hand: state.jobs.iter().filter(by_hand).cloned().collect(),
            details: state
                .events
                .iter()
                .map(|event| event["detail"].clone())
                .collect(),
            waiting: bodies("waiting"),
            dead: bodies("dead"),
            retries: retries.iter().map(|retry| retry.payload.clone()).collect(),
        }
    }

    pub fn of_simulator(sim: &Simulator) -> Self {
        Self::of(&sim.aws.state(), &sim.repeats)
    }

    fn job_of(&self, detail: &Value) -> Option<&Job> {
        self.jobs.iter().find(|job| is_of(job, detail))
    }

    pub fn has(&self, outcome: &str, change: &Change) -> bool {
        let of_change = |detail: &Value| detail["outcome"] == outcome && change.has(detail);
        self.details.iter().any(of_change)
    }

    pub fn waits(&self, change: &Change) -> bool {
        self.waiting.iter().any(|body| change.is_in(body))
    }

    pub fn is_dead(&self, change: &Change) -> bool {
        self.dead.iter().any(|body| change.is_in(body))
    }

    pub fn is_retried(&self, change: &Change) -> bool {
        self.retries.contains(&change.event)
    }

    /// Whether a message of the waiting or the dead-letter queue has this body.
    pub fn keeps(&self, body: &Value) -> bool {
        self.waiting.contains(body) || self.dead.contains(body)
    }

    /// Whether the waiting queue has tracking messages only.
    pub fn only_tracks(&self) -> bool {
        let tracks = |body: &Value| !body["watch"].is_null();
        self.retries.is_empty() && self.waiting.iter().all(tracks)
    }

    /// The invariants that do not hold. The changes are those that were accepted.
    pub fn broken(&self, changes: &[Change], allowed: Allowed) -> Vec<String> {
        let mut broken = Vec::new();
        for change in changes {
            broken.extend(self.lost(change));
            if !allowed.swapped_jobs {
                broken.extend(self.started_twice(change));
                broken.extend(self.too_many_attempts(change, allowed));
            }
        }
        if !allowed.swapped_jobs {
            broken.extend(self.too_soon(changes, allowed));
        }
        if !allowed.unseen_jobs {
            broken.extend(self.superfluous(changes, allowed));
        }
        for detail in &self.details {
            broken.extend(self.misnamed(detail, changes, allowed));
        }
        broken.extend(self.names());
        broken
    }

    /// An accepted change is in a queue, or Lambda will retry it, or a job started for it. A rejected change
    /// is in the dead-letter queue.
    fn lost(&self, change: &Change) -> Option<String> {
        let kept = self.waits(change) || self.is_dead(change) || self.is_retried(change);
        let done = self.has("STARTED", change) || self.has("COVERED", change);
        (!kept && !done).then(|| {
            let rejected = self.has("REJECTED", change);
            let how = if rejected { "rejected, and then " } else { "" };
            format!("{} of {} is {how}lost", change.id, change.table)
        })
    }

    /// This holds for any time between the change and its first job, because the ledger knows its key.
    fn started_twice(&self, change: &Change) -> Option<String> {
        let own = self.jobs_of(change).into_iter();
        let started: Vec<String> = own
            .filter(|job| job.status != Status::Failed)
            .map(Job::to_string)
            .collect();
        (started.len() > 1).then(|| format!("{} started {started:?}: one too many", change.id))
    }

    /// The jobs that started for a change, oldest first.
    fn jobs_of(&self, change: &Change) -> Vec<&Job> {
        let own: Vec<&Value> = self
            .details
            .iter()
            .filter(|detail| detail["outcome"] == "STARTED" && change.has(detail))
            .collect();
        let is_own = |job: &&Job| own.iter().any(|detail| is_of(job, detail));
        self.jobs.iter().filter(is_own).collect()
    }

    /// The event that a job failed.
    fn failed(&self, job: &Job) -> Option<&Value> {
        let of_job = |detail: &&Value| detail["outcome"] == "FAILED" && is_of(job, detail);
        self.details.iter().find(of_job)
    }

    /// At most so many jobs start for a change, one after the other. After the last one, the change is a new request.
    fn too_many_attempts(&self, change: &Change, allowed: Allowed) -> Option<String> {
        let most = allowed.max_attempts?;
        let mut attempts = 0;
        for job in self.jobs_of(change) {
            attempts += 1;
            if attempts > most {
                return Some(format!(
                    "job {job} of {} is attempt {attempts} of {most}",
                    change.id
                ));
            }
            let is_last = || {
                self.failed(job)
                    .is_none_or(|failed| failed["willRetry"] == false)
            };
            if job.status == Status::Failed && is_last() {
                attempts = 0;
            }
        }
        None
    }

    /// A table's job starts no sooner than `MIN_INTERVAL` after its previous one, unless that failed or was never answered,
    /// or the request is urgent. Deletions do not count.
    fn too_soon(&self, changes: &[Change], allowed: Allowed) -> Vec<String> {
        let interval = allowed.min_interval - allowed.clocks;
        if !interval.is_positive() {
            return Vec::new();
        }
        let counts =
            |job: &&Job| job.job_type.as_deref() != Some("DELETE_ONLY") && self.is_announced(job);
        let jobs: Vec<&Job> = self.jobs.iter().filter(counts).collect();
        let mut broken = Vec::new();
        for (index, job) in jobs.iter().enumerate() {
            let urgent = changes.iter().filter(|change| change.urgent);
            let is_urgent = urgent
                .clone()
                .any(|change| self.jobs_of(change).contains(job));
            let mut before = jobs[..index].iter();
            let too_soon = before.find(|before| {
                before.table == job.table
                    && before.status != Status::Failed
                    && job.started_at - before.started_at < interval
            });
            if let (Some(before), false) = (too_soon, is_urgent) {
                broken.push(format!("job {job} started too soon after {before}"));
            }
        }
        broken
    }

    /// At the end each change is contained in a job that succeeded, or the failure of its last job is announced, or it is
    /// in the dead-letter queue.
    pub fn stale(&self, changes: &[Change]) -> Vec<String> {
        let is_fresh = |change: &&Change| {
            self.jobs.iter().any(|job| {
                let is_after = job.started_at >= change.time;
                let is_known = || {
                    let failed = self.failed(job);
                    failed.is_some_and(|failed| failed["willRetry"] == false)
                };
                change.is_served_by(job) && is_after && (job.status != Status::Failed || is_known())
            })
        };
        changes
            .iter()
            .filter(|change| !is_fresh(change) && !self.is_dead(change))
            .map(|change| format!("{} of {} is in no job", change.id, change.table))
            .collect()
    }

    /// A job that serves no change which an earlier one did not serve was one too many.
    fn superfluous(&self, changes: &[Change], allowed: Allowed) -> Vec<String> {
        let surely_after = Duration::seconds(1) + allowed.clocks;
        let needed = |index: usize, job: &Job| {
            changes.iter().any(|change| {
                let serves = |earlier: &&Job| {
                    let known_failed = earlier.status == Status::Failed
                        && earlier
                            .ended_at
                            .is_some_and(|ended| ended <= job.started_at);
                    change.is_surely_served_by(earlier)
                        && earlier.started_at >= change.time + surely_after
                        && !known_failed
                };
                change.is_served_by(job)
                    && change.time <= job.started_at + allowed.clocks
                    && !self.jobs.iter().take(index).any(|earlier| serves(&earlier))
            })
        };
        self.jobs
            .iter()
            .enumerate()
            .filter(|(index, job)| !needed(*index, job))
            .map(|(_, job)| format!("job {job} is one too many"))
            .collect()
    }

    /// `STARTED` and `COVERED` name a job of that table, of a type that serves the change, that began
    /// after it.
    fn misnamed(&self, detail: &Value, changes: &[Change], allowed: Allowed) -> Option<String> {
        let outcome = detail["outcome"].as_str().unwrap();
        if !["STARTED", "COVERED"].contains(&outcome) {
            return None;
        }
        let change = changes.iter().find(|change| change.has(detail))?;
        let mut by_hand = self.by_hand.iter().filter(|_| allowed.jobs_by_hand);
        let taken = || by_hand.find(|job| is_of(job, detail));
        let Some(job) = self.job_of(detail).or_else(taken) else {
            return Some(format!("{outcome} of {} names no job of ours", change.id));
        };
        // It cannot be told from a job of ours, not even from one of another table with the same workflow.
        if job.by_hand {
            return None;
        }
        let fault = if job.table != change.table {
            if allowed.swapped_jobs {
                return None;
            }
            "another table's job"
        } else if !change.is_served_by(job) {
            "a job of a type that does not serve it"
        } else if job.started_at + allowed.clocks < change.time {
            "a job that began before it"
        } else {
            return None;
        };
        Some(format!("{outcome} of {} names {fault}: {job}", change.id))
    }

    /// One `eventId` is one outcome, and one outcome has one `eventId`; but what was rejected, moved back
    /// and rejected again is another rejection.
    fn names(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut outcomes: BTreeMap<&str, String> = BTreeMap::new();
        let mut names: BTreeMap<String, &str> = BTreeMap::new();
        for detail in &self.details {
            let what = format!(
                "{} {} {} {} {}",
                detail["outcome"],
                detail["requestId"],
                detail["idMappingTableIdentifier"],
                detail["idMappingJobId"],
                detail["entityResolutionJobId"]
            );
            let name = detail["eventId"].as_str().unwrap();
            if let Some(other) = outcomes.insert(name, what.clone())
                && other != what
            {
                broken.push(format!("{what} and {other} have one eventId"));
            }
            // Two requests without an id of their own differ in nothing else.
            let may_differ = detail["outcome"] == "REJECTED" || detail["requestId"].is_null();
            if let Some(other) = names.insert(what.clone(), name)
                && other != name
                && !may_differ
            {
                broken.push(format!("{what} has two eventIds"));
            }
        }
        broken
    }

    /// What is published and tracked more often than there is a reason for. Each fault may cost one
    /// repetition, and so may each further invocation that ran at the same time.
    pub fn too_often(&self, repetitions: usize, deliveries: usize) -> Vec<String> {
        let mut broken = Vec::new();
        let mut published: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for detail in &self.details {
            let key = (
                detail["outcome"].as_str().unwrap(),
                detail["eventId"].as_str().unwrap(),
            );
            *published.entry(key).or_default() += 1;
        }
        for ((outcome, _), count) in published {
            let once = ["STARTED", "SUCCEEDED", "FAILED"].contains(&outcome);
            let most = if once { 1 } else { deliveries } + repetitions;
            if count > most {
                broken.push(format!(
                    "a {outcome} is published {count} times, not {most}"
                ));
            }
        }
        let mut tracked: BTreeMap<String, usize> = BTreeMap::new();
        for body in self.waiting.iter().filter(|body| !body["watch"].is_null()) {
            let watch = &body["watch"];
            let id = format!(
                "{}{}",
                watch["idMappingJobId"], watch["entityResolutionJobId"]
            );
            *tracked.entry(id).or_default() += 1;
        }
        for (job, count) in tracked {
            if count > 1 + repetitions {
                broken.push(format!("job {job} has {count} tracking messages"));
            }
        }
        broken
    }

    /// What must also hold when everything is done: each job is announced, unless it failed before it was
    /// found.
    pub fn broken_at_the_end(&self) -> Vec<String> {
        let announced = |job: &&Job| self.is_announced(job);
        self.jobs
            .iter()
            .filter(|job| job.status != Status::Failed)
            .filter(|job| !announced(job))
            .map(|job| format!("job {job} is not announced"))
            .collect()
    }

    /// Where jobs are tracked, the end of each announced job is announced.
    pub fn broken_ends(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for job in self.jobs.iter().filter(|job| self.is_announced(job)) {
            let announced: BTreeSet<&str> = self
                .details
                .iter()
                .filter(|detail| is_of(job, detail))
                .filter_map(|detail| detail["outcome"].as_str())
                .filter(|outcome| ["SUCCEEDED", "FAILED"].contains(outcome))
                .collect();
            let expected = match job.status {
                Status::Succeeded => BTreeSet::from(["SUCCEEDED"]),
                Status::Failed => BTreeSet::from(["FAILED"]),
                Status::Queued | Status::Running => BTreeSet::new(),
            };
            if announced != expected {
                broken.push(format!(
                    "job {job} {:?} is announced as {announced:?}",
                    job.status
                ));
            }
        }
        broken
    }

    fn is_announced(&self, job: &Job) -> bool {
        let started = |detail: &&Value| detail["outcome"] == "STARTED";
        let mut started = self.details.iter().filter(started);
        started.any(|detail| is_of(job, detail))
    }
}

/// Whether an outcome's `detail` names this job, by its own name or by Entity Resolution's.
fn is_of(job: &Job, detail: &Value) -> bool {
    detail["idMappingJobId"] == json!(job.id)
        || detail["entityResolutionJobId"] == json!(job.entity_resolution_id)
}

/// The history that one state does not show: what had been published between any two invocations.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// How many outcomes were published whenever no invocation ran.
    pauses: Vec<usize>,
    /// How many jobs there were when these changes (by id and table) were rejected and were in the
    /// dead-letter queue only.
    dead_lettered: BTreeMap<(String, String), usize>,
}

impl History {
    /// No invocation runs now.
    pub fn pause(&mut self, seen: &Seen, changes: &[Change]) {
        self.pauses.push(seen.details.len());
        for change in changes {
            let key = (change.id.clone(), change.table.clone());
            let mut of_change = seen.details.iter().filter(|detail| change.has(detail));
            let is_rejected = of_change
                .next_back()
                .is_some_and(|detail| detail["outcome"] == "REJECTED");
            let dead_lettered = is_rejected
                && seen.is_dead(change)
                && !seen.waits(change)
                && !seen.is_retried(change);
            if dead_lettered {
                self.dead_lettered.entry(key).or_insert(seen.jobs.len());
            }
        }
    }

    /// A change is delivered again, or redriven from the dead-letter queue.
    pub fn delivered(&mut self, change: &Change) {
        self.dead_lettered
            .remove(&(change.id.clone(), change.table.clone()));
    }

    /// No invocation that began after a job's `FAILED` names that job, and none starts a job for a change
    /// that was rejected and is in the dead-letter queue.
    pub fn broken(&self, seen: &Seen, changes: &[Change]) -> Vec<String> {
        let mut broken = Vec::new();
        for (index, detail) in seen.details.iter().enumerate() {
            let outcome = detail["outcome"].as_str().unwrap();
            if !["STARTED", "COVERED"].contains(&outcome) {
                continue;
            }
            let began = self.pauses.iter().rfind(|pause| **pause <= index);
            let before = seen.details.iter().take(began.copied().unwrap_or(0));
            let failed = |job: &Job| {
                let mut failed = before.filter(|detail| detail["outcome"] == "FAILED");
                failed.any(|detail| is_of(job, detail))
            };
            if seen.job_of(detail).is_some_and(failed) {
                let request_id = &detail["requestId"];
                broken.push(format!(
                    "{outcome} of {request_id} names a job whose FAILED was published"
                ));
            }
        }
        for change in changes {
            let key = (change.id.clone(), change.table.clone());
            let Some(since) = self.dead_lettered.get(&key) else {
                continue;
            };
            let later: Vec<&Job> = seen.jobs.iter().skip(*since).collect();
            let of_change = |detail: &&Value| detail["outcome"] == "STARTED" && change.has(detail);
            let mut started = seen.details.iter().filter(of_change);
            if started.any(|detail| later.iter().any(|job| is_of(job, detail))) {
                broken.push(format!("{} is STARTED after it was rejected", change.id));
            }
        }
        broken
    }
}

/// A readable account of what happened.
pub fn story(state: &State) -> String {
    let mut story = String::new();
    for job in &state.jobs {
        story += &format!(
            "job {job} of {} started {} {:?}{}\n",
            job.table,
            job.started_at,
            job.status,
            if job.foreign || job.by_hand {
                ", not ours"
            } else {
                ""
            }
        );
    }
    for event in &state.events {
        let detail = &event["detail"];
        story += &format!(
            "{} of {} ({} {}) {}\n",
            detail["outcome"],
            detail["requestId"],
            detail["idMappingJobId"],
            detail["entityResolutionJobId"],
            detail["error"]["type"]
        );
    }
    for (queue, messages) in &state.queues {
        for message in &messages.messages {
            story += &format!("in {queue}: {}\n", message.body);
        }
    }
    for (arn, item) in &state.items {
        story += &format!("{arn}: {item}\n");
    }
    let calls: Vec<String> = state
        .calls
        .iter()
        .filter_map(|call| Some(format!("{:?}", call.operation?)))
        .collect();
    story + &calls.join(" ")
}
