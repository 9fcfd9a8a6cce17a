//! Reads the messages of the waiting queue (docs/reference.md#queue-messages), which [`crate::message`] writes. Members
//! that this version does not know are ignored: a newer version may have written them.

use serde::Deserialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::build::{Envelope, Surroundings, requests};
use super::delivery::Content;
use super::event::{ENTITY_RESOLUTION, MAX_SOURCE};
use super::json::Path;
use super::members::{MAX_ID, member, refused, rfc_3339, text};
use super::request::UnknownMembers;
use crate::choice::{Choice, Decision};
use crate::error::Error;
use crate::job::{Job, JobId, StartedJob};
use crate::job_type::{JobType, RequestedType, TypeSource};
use crate::request::{Request, Trigger};

/// Returns whether a payload is a message of the waiting queue. A bare request has neither of these members.
pub(super) fn is_message(members: &Map<String, Value>) -> bool {
    members.contains_key("request") && members.contains_key("waitingSince")
}

/// Reads a message.
pub(super) fn read(
    members: &Map<String, Value>,
    path: Path<'_>,
    around: &Surroundings<'_>,
) -> Result<Content, Error> {
    if member(members, "version").and_then(Value::as_u64) != Some(1) {
        return Err(refused(
            path.member("version"),
            "is not a version that this function can read: write 1",
        ));
    }
    let at = around.arrival.at;
    let tracked = member(members, "watch")
        .map(|tracked| read_tracked_job(tracked, path.member("watch"), at))
        .transpose()?;
    let since = read_since(members, path)?;
    let envelope = Envelope {
        trigger: read_trigger(members, path)?,
        ..Envelope::default()
    };
    let key_is_given = read_key_is_given(members, path)?;
    let rejections = read_rejections(members, path)?;
    let path = path.member("request");
    let Some(Value::Object(request)) = members.get("request") else {
        return Err(refused(
            path,
            "must be an object: write the request's fields as a JSON object",
        ));
    };
    // A newer version may have added members here too. A member that is nearly one of ours was written by hand.
    let unknown = UnknownMembers::Ignored;
    let mut all = requests(Some(request), path, unknown, envelope, around)?;
    let (Some(mut request), true) = (all.pop(), all.is_empty()) else {
        return Err(refused(
            path,
            "names several ID mapping tables: a message of the waiting queue is for one",
        ));
    };
    // A time after the message was sent counts as the time when it was sent.
    let sent = request.sent_at.unwrap_or(at).min(at);
    request.waiting_since = since.map(|since| since.min(sent));
    if is_deletion(&request) {
        request.type_source = TypeSource::DeleteRequest;
    }
    request.key_is_given = key_is_given;
    request.rejections = rejections;
    Ok(match tracked {
        None => Content::Requests(vec![request]),
        Some((choice, job)) => Content::Track(Box::new(StartedJob {
            request,
            choice,
            job,
        })),
    })
}

/// Returns whether the function chose `DELETE_ONLY` when an event recorded deletion requests. The `detail` of an AWS
/// event is not a request, so no sender asked for this job type.
fn is_deletion(request: &Request) -> bool {
    let deletes = |trigger: &Trigger| trigger.source == ENTITY_RESOLUTION;
    request.requested_type == RequestedType::Exactly(JobType::DeleteOnly)
        && request.type_source == TypeSource::Request
        && request.trigger.as_ref().is_some_and(deletes)
}

fn read_since(
    members: &Map<String, Value>,
    path: Path<'_>,
) -> Result<Option<OffsetDateTime>, Error> {
    match member(members, "waitingSince") {
        None => Ok(None),
        Some(Value::String(text)) => rfc_3339(text, path.member("waitingSince")).map(Some),
        Some(_) => Err(refused(
            path.member("waitingSince"),
            "must be null or a string: write an RFC 3339 time such as 2026-11-23T02:00:00Z",
        )),
    }
}

fn read_key_is_given(members: &Map<String, Value>, path: Path<'_>) -> Result<bool, Error> {
    match member(members, "requestIdGiven") {
        None => Ok(true),
        Some(Value::Bool(given)) => Ok(*given),
        Some(_) => Err(refused(
            path.member("requestIdGiven"),
            "must be a boolean: leave it out if the request has a requestId of its own",
        )),
    }
}

fn read_rejections(members: &Map<String, Value>, path: Path<'_>) -> Result<u32, Error> {
    let Some(rejections) = member(members, "rejections") else {
        return Ok(0);
    };
    let number = rejections.as_u64();
    number
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| {
            refused(
                path.member("rejections"),
                "must be an integer from 0 to 4294967295: leave it out if the request was never rejected",
            )
        })
}

fn read_trigger(members: &Map<String, Value>, path: Path<'_>) -> Result<Option<Trigger>, Error> {
    let path = path.member("trigger");
    let members = match member(members, "trigger") {
        None => return Ok(None),
        Some(Value::Object(members)) => members,
        Some(_) => {
            return Err(refused(
                path,
                "must be null or an object: write an object with the event's source and detailType",
            ));
        }
    };
    let required = |name| {
        text(members, name, MAX_SOURCE, path)?
            .ok_or_else(|| refused(path.member(name), "is missing: write the event's value"))
    };
    Ok(Some(Trigger {
        source: required("source")?,
        detail_type: required("detailType")?,
        id: text(members, "id", MAX_ID, path)?.filter(|id| !id.is_empty()),
        time: text(members, "time", MAX_SOURCE, path)?,
    }))
}

/// The id of a job, which is one of two members.
#[derive(Deserialize)]
struct WithJobId {
    #[serde(flatten)]
    id: JobId,
}

/// Reads the job of a message that tracks it. Only this function writes such messages.
fn read_tracked_job(
    tracked: &Value,
    path: Path<'_>,
    arrival: OffsetDateTime,
) -> Result<(Choice, Job), Error> {
    let invalid = || {
        refused(
            path,
            "is not a tracked job as this function writes it: write null, and the request starts again",
        )
    };
    let Value::Object(members) = tracked else {
        return Err(invalid());
    };
    let time = |name| match member(members, name) {
        // A time after the arrival counts as the arrival.
        Some(Value::String(text)) => Ok(rfc_3339(text, path.member(name))?.min(arrival)),
        _ => Err(invalid()),
    };
    let WithJobId { id } = WithJobId::deserialize(tracked).map_err(|_| invalid())?;
    let decision = member(members, "decision").ok_or_else(invalid)?;
    let job_type = member(members, "jobType").map(JobType::deserialize);
    let choice = Choice {
        job_type: job_type.transpose().map_err(|_| invalid())?,
        decision: Decision::deserialize(decision).map_err(|_| invalid())?,
    };
    let job = Job {
        id,
        job_type: choice.job_type,
        started_at: time("startedAt")?,
        answered_at: time("answeredAt")?,
    };
    Ok((choice, job))
}
