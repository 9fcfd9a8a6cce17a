//! What is promised, as a question to a world in which something happened.

use std::collections::{BTreeMap, BTreeSet};

use fake_aws::{Job, Operation, Status};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::lab::Lab;
use crate::world::table_arn;

/// A table's data changed.
#[derive(Clone, Debug)]
pub struct News {
    pub id: String,
    pub table: String,
    pub wish: &'static str,
    pub time: OffsetDateTime,
    /// The event that tells it.
    pub event: Value,
}

impl News {
    pub fn new(id: &str, table: &str, time: OffsetDateTime) -> Self {
        Self::with_wish(id, table, "INCREMENTAL", time)
    }

    pub fn with_wish(id: &str, table: &str, wish: &'static str, time: OffsetDateTime) -> Self {
        let event = json!({
            "version": "0",
            "id": id,
            "detail-type": "ID Mapping Population Requested",
            "source": "com.example",
            "account": "123456789012",
            "time": rfc_3339(time),
            "region": "eu-west-1",
            "resources": [],
            "detail": { "idMappingTableArn": table_arn(table), "jobType": wish },
        });
        Self {
            id: id.to_owned(),
            table: table.to_owned(),
            wish,
            time,
            event,
        }
    }

    /// Whether a job's type does what this news asks for (contract section 3).
    fn is_served_by(&self, job: &Job) -> bool {
        let sent = job.job_type.as_deref().unwrap_or("SERVICE_DEFAULT");
        job.table == self.table
            && (sent == self.wish
                || (sent == "BATCH" && self.wish != "DELETE_ONLY")
                || (self.wish == "AUTO" && sent != "DELETE_ONLY"))
    }
}

/// In whole seconds, as events have it.
fn rfc_3339(time: OffsetDateTime) -> String {
    let (hour, minute, second) = time.to_hms();
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", time.date())
}

/// The promises about the ends of jobs that were not kept, where jobs are followed.
pub fn broken_ends(lab: &Lab) -> Vec<String> {
    let mut broken = Vec::new();
    let details = lab.details();
    let jobs = lab.aws.jobs();
    for job in jobs.iter().filter(|job| is_announced(job, &details)) {
        let ends: BTreeSet<(&str, &str)> = details
            .iter()
            .filter(|detail| {
                detail["idMappingJobId"] == json!(job.id)
                    || detail["entityResolutionJobId"] == json!(job.entity_resolution_id)
            })
            .filter_map(|detail| Some((detail["outcome"].as_str()?, detail["eventId"].as_str()?)))
            .filter(|(outcome, _)| ["SUCCEEDED", "FAILED"].contains(outcome))
            .collect();
        let told: Vec<&str> = ends.iter().map(|(outcome, _)| *outcome).collect();
        let expected = match job.status {
            Status::Succeeded => &["SUCCEEDED"][..],
            Status::Failed => &["FAILED"],
            Status::Queued | Status::Running => &[],
        };
        if told != expected {
            broken.push(format!("job {job} {:?} is told to be {told:?}", job.status));
        }
    }
    broken
}

/// The promises that were not kept.
pub fn broken(lab: &Lab, news: &[News]) -> Vec<String> {
    let mut broken = Vec::new();
    let jobs = lab.aws.jobs();
    let details = lab.details();
    let kept = kept(lab);

    for news in news {
        let of_news = |detail: &&Value| detail["requestId"] == json!(news.id);
        let outcomes: BTreeSet<&str> = details
            .iter()
            .filter(of_news)
            .filter_map(|detail| detail["outcome"].as_str())
            .collect();
        // That a job fails is not our doing.
        let started_after = |job: &Job| news.is_served_by(job) && job.started_at >= news.time;
        let stands_somewhere = kept.contains(&news.id);
        if !jobs.iter().any(started_after) && !stands_somewhere {
            broken.push(format!(
                "{} is lost: no job started after it, and it stands nowhere",
                news.id
            ));
        }
        let ended = ["STARTED", "COVERED", "REJECTED"]
            .iter()
            .any(|end| outcomes.contains(end));
        if !ended && !stands_somewhere {
            broken.push(format!("{} has no outcome", news.id));
        }
        // However soon after the news its first job started: its key is known.
        let own: Vec<Value> = details.iter().filter(of_news).cloned().collect();
        let started = jobs
            .iter()
            .filter(|job| job.status != Status::Failed && is_announced(job, &own));
        if started.clone().count() > 1 {
            let started: Vec<String> = started.map(Job::to_string).collect();
            broken.push(format!("{} started {started:?}: one too many", news.id));
        }
        let names: BTreeSet<&str> = details
            .iter()
            .filter(of_news)
            .filter(|detail| detail["outcome"] == "WAITING")
            .filter_map(|detail| detail["eventId"].as_str())
            .collect();
        if names.len() > 1 {
            broken.push(format!(
                "{} is WAITING under {} names",
                news.id,
                names.len()
            ));
        }
    }

    // A job that covers no news which an earlier one did not cover was one too many.
    for (index, job) in jobs.iter().enumerate() {
        let before = &jobs[..index];
        let needed = news.iter().any(|news| {
            let second = time::Duration::seconds(1);
            news.is_served_by(job)
                && news.time <= job.started_at
                && !before.iter().any(|earlier| {
                    news.is_served_by(earlier)
                        && earlier.started_at >= news.time + second
                        && !(earlier.status == Status::Failed
                            && earlier
                                .ended_at
                                .is_some_and(|ended| ended <= job.started_at))
                })
        });
        if !needed {
            broken.push(format!("job {job} is one too many"));
        }
    }

    // Every job is announced, but one that failed before it was found, after its call's answer was
    // lost.
    for job in &jobs {
        if job.status != Status::Failed && !is_announced(job, &details) {
            broken.push(format!("job {job} is not announced"));
        }
    }

    // The same outcome of the same request and job has the same name, and another has another.
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for detail in &details {
        let what = format!(
            "{} {} {} {}",
            detail["outcome"],
            detail["requestId"],
            detail["idMappingJobId"],
            detail["entityResolutionJobId"]
        );
        let name = detail["eventId"].to_string();
        if let Some(other) = names.insert(name, what.clone())
            && other != what
        {
            broken.push(format!("{what} and {other} have the same name"));
        }
    }
    let distinct: BTreeSet<&String> = names.values().collect();
    if distinct.len() != names.len() {
        broken.push("an outcome has two names".to_owned());
    }
    broken
}

/// Under its own name or Entity Resolution's.
fn is_announced(job: &Job, details: &[Value]) -> bool {
    details.iter().any(|detail| {
        detail["outcome"] == "STARTED"
            && (detail["idMappingJobId"] == json!(job.id)
                || detail["entityResolutionJobId"] == json!(job.entity_resolution_id))
    })
}

/// The news whose requests stand in the waiting line, in the dead-letter queue, or in Lambda's hands.
fn kept(lab: &Lab) -> BTreeSet<String> {
    let mut kept: BTreeSet<String> = BTreeSet::new();
    for queue in ["waiting", "dead"] {
        for message in lab.aws.messages(queue) {
            let body: Value = serde_json::from_str(&message.body).unwrap();
            for id in [
                &body["request"]["requestId"],
                &body["requestPayload"]["id"],
                &body["id"],
            ] {
                kept.extend(id.as_str().map(str::to_owned));
            }
        }
    }
    let ids = lab
        .repeats
        .iter()
        .filter_map(|repeat| repeat.payload["id"].as_str());
    kept.extend(ids.map(str::to_owned));
    kept
}

/// What happened, for a person.
pub fn story(lab: &Lab) -> String {
    let mut story = String::new();
    for job in lab.aws.jobs() {
        story += &format!(
            "job {job} of {} started {} {:?}\n",
            job.table, job.started_at, job.status
        );
    }
    for detail in lab.details() {
        story += &format!(
            "{} of {} ({} {}) {}\n",
            detail["outcome"],
            detail["requestId"],
            detail["idMappingJobId"],
            detail["entityResolutionJobId"],
            detail["error"]["type"]
        );
    }
    for (arn, item) in &lab.aws.state().items {
        story += &format!("{arn}: {}\n", item["record"]["S"]);
    }
    let calls: Vec<String> = lab
        .aws
        .calls()
        .iter()
        .map(|call| format!("{:?}", call.operation.unwrap_or(Operation::PutEvents)))
        .collect();
    story + &calls.join(" ")
}
