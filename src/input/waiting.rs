//! Reads the messages of the waiting queue (contract section 6), which [`crate::message`] writes. Members that this
//! version does not know are ignored: a newer version may have written them.

use serde::Deserialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::event::{ENTITY_RESOLUTION, MAX_SOURCE, text};
use super::json::Path;
use super::{Content, Envelope, MAX_ID, Reader, UnknownMembers};
use super::{member, refused, rfc_3339};
use crate::choice::{Choice, Decision};
use crate::error::Error;
use crate::job::{Job, JobId, StartedJob};
use crate::job_type::{JobType, RequestedType, TypeSource};
use crate::request::Trigger;

/// Returns whether a payload is a message of the waiting queue. A bare request has neither of these members.
pub(super) fn is_message(members: &Map<String, Value>) -> bool {
    members.contains_key("request") && members.contains_key("waitingSince")
}

impl Reader<'_> {
    pub(super) fn waiting_message(
        self,
        members: &Map<String, Value>,
        path: Path<'_>,
    ) -> Result<Content, Error> {
        if member(members, "version").and_then(Value::as_u64) != Some(1) {
            return Err(refused(
                path.member("version"),
                "is not a version that this function can read: write 1",
            ));
        }
        let watch = member(members, "watch")
            .map(|watch| read_watch(watch, path.member("watch"), self.arrival.at))
            .transpose()?;
        let since = match member(members, "waitingSince") {
            None => None,
            Some(Value::String(text)) => Some(rfc_3339(text, path.member("waitingSince"))?),
            Some(_) => {
                return Err(refused(
                    path.member("waitingSince"),
                    "must be null or a string: write an RFC 3339 time such as 2026-11-23T02:00:00Z",
                ));
            }
        };
        let trigger = match member(members, "trigger") {
            None => None,
            Some(Value::Object(trigger)) => Some(read_trigger(trigger, path.member("trigger"))?),
            Some(_) => {
                return Err(refused(
                    path.member("trigger"),
                    "must be null or an object: write an object with the event's source and detailType",
                ));
            }
        };
        let key_is_given = match member(members, "requestIdGiven") {
            None => true,
            Some(Value::Bool(given)) => *given,
            Some(_) => {
                return Err(refused(
                    path.member("requestIdGiven"),
                    "must be a boolean: leave it out if the request has a requestId of its own",
                ));
            }
        };
        let rejections = match member(members, "rejections") {
            None => 0,
            Some(rejections) => rejections
                .as_u64()
                .and_then(|rejections| u32::try_from(rejections).ok())
                .ok_or_else(|| {
                    refused(
                        path.member("rejections"),
                        "must be an integer from 0 to 4294967295: leave it out where the request was never rejected",
                    )
                })?,
        };
        let path = path.member("request");
        let Some(Value::Object(request)) = members.get("request") else {
            return Err(refused(
                path,
                "must be an object: write the request's fields as a JSON object",
            ));
        };
        let at = self.arrival.at;
        let envelope = Envelope {
            trigger,
            ..Envelope::default()
        };
        // A newer version may have added members here too. A member that is nearly one of ours was written by hand.
        let mut content = self.requests(Some(request), path, UnknownMembers::Ignored, envelope)?;
        if let Content::Requests(requests) = &mut content {
            let [request] = &mut requests[..] else {
                return Err(refused(
                    path,
                    "names several ID mapping tables: a message of the waiting queue is for one",
                ));
            };
            // A time after the message was sent counts as the time when it was sent.
            let sent = request.sent_at.unwrap_or(at).min(at);
            request.waiting_since = since.map(|since| since.min(sent));
            // The `detail` of an AWS event is not a request, so no sender asked for this job type. The function chose it
            // when the event arrived.
            let deletes = |trigger: &Trigger| trigger.source == ENTITY_RESOLUTION;
            if request.requested_type == RequestedType::Exactly(JobType::DeleteOnly)
                && request.type_source == TypeSource::Request
                && request.trigger.as_ref().is_some_and(deletes)
            {
                request.type_source = TypeSource::DeleteRequest;
            }
            request.key_is_given = key_is_given;
            request.rejections = rejections;
            if let Some((choice, job)) = watch {
                return Ok(Content::Track(Box::new(StartedJob {
                    request: request.clone(),
                    choice,
                    job,
                })));
            }
        }
        Ok(content)
    }
}

fn read_trigger(members: &Map<String, Value>, path: Path<'_>) -> Result<Trigger, Error> {
    let required = |name| {
        text(members, name, MAX_SOURCE, path)?
            .ok_or_else(|| refused(path.member(name), "is missing: write the event's value"))
    };
    Ok(Trigger {
        source: required("source")?,
        detail_type: required("detailType")?,
        id: text(members, "id", MAX_ID, path)?.filter(|id| !id.is_empty()),
        time: text(members, "time", MAX_SOURCE, path)?,
    })
}

/// The id of a job, which is one of two members.
#[derive(Deserialize)]
struct WithJobId {
    #[serde(flatten)]
    id: JobId,
}

/// Reads the job of a message that tracks it. Only this function writes such messages.
fn read_watch(
    watch: &Value,
    path: Path<'_>,
    arrival: OffsetDateTime,
) -> Result<(Choice, Job), Error> {
    let invalid = || {
        refused(
            path,
            "is not a tracked job as this function writes it: write null, and the request starts again",
        )
    };
    let Value::Object(members) = watch else {
        return Err(invalid());
    };
    let time = |name| match member(members, name) {
        // A time after the arrival counts as the arrival.
        Some(Value::String(text)) => Ok(rfc_3339(text, path.member(name))?.min(arrival)),
        _ => Err(invalid()),
    };
    let WithJobId { id } = WithJobId::deserialize(watch).map_err(|_| invalid())?;
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
