//! Reads the messages of the waiting queue (docs/reference.md#queue-messages), which [`crate::message`] writes. Members
//! that this version does not know are ignored: a newer version may have written them.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use super::build::{Envelope, Surroundings, requests};
use super::delivery::Content;
use super::event::{ENTITY_RESOLUTION, MAX_SOURCE};
use super::faults::Faults;
use super::members::{MAX_ID, Placed, rfc_3339};
use super::request::UnknownMembers;
use super::text::Object;
use crate::choice::{Choice, Decision};
use crate::error::Error;
use crate::job::{Job, JobId, StartedJob};
use crate::job_type::{JobType, RequestedType, TypeSource};
use crate::request::{Request, Trigger};

/// Returns whether a payload is a message of the waiting queue. A bare request has neither of these members.
pub(super) fn is_message(object: &Object<'_>) -> bool {
    let has = |name| object.known().any(|(known, ..)| known == name);
    has("request") && has("waitingSince")
}

/// Reads a message.
pub(super) fn read(message: Placed<'_, '_>, around: &Surroundings<'_>) -> Result<Content, Error> {
    let mut faults = Faults::default();
    let version = message.object.get("version");
    if version.and_then(|(version, _)| version.integer()) != Some(1) {
        let fault = "is not a version that this function can read: write 1";
        faults.add(message.path_of("version"), fault);
    }
    let at = around.arrival.at;
    let since = message.time("waitingSince", &mut faults);
    let tracked = message.object.has("watch");
    let tracked = tracked.then(|| read_tracked_job(message, at, &mut faults));
    let envelope = Envelope {
        trigger: read_trigger(message, &mut faults),
        ..Envelope::default()
    };
    let key_is_given = match message.object.has("requestIdGiven") {
        true => message.flag("requestIdGiven", &mut faults),
        false => true,
    };
    let rejections = read_rejections(message, &mut faults);
    let request = read_request(message, envelope, around, &mut faults);
    if let Some(error) = faults.into_error() {
        return Err(error);
    }
    let Some(mut request) = request else {
        return Err(super::refused(message.path, "has no request"));
    };
    // A time after the message was sent counts as the time when it was sent.
    let sent = request.sent_at.unwrap_or(at).min(at);
    request.waiting_since = since.map(|since| since.min(sent));
    if is_deletion(&request) {
        request.type_source = TypeSource::DeleteRequest;
    }
    request.key_is_given = key_is_given;
    request.rejections = rejections;
    Ok(match tracked.flatten() {
        None => Content::Requests(vec![request]),
        Some((choice, job)) => Content::Track(Box::new(StartedJob {
            request,
            choice,
            job,
        })),
    })
}

fn read_request(
    message: Placed<'_, '_>,
    envelope: Envelope,
    around: &Surroundings<'_>,
    faults: &mut Faults,
) -> Option<Request> {
    const REMEDY: &str = "write the request's fields as a JSON object";
    let path = message.path_of("request");
    if !message.object.has("request") {
        faults.add(path, format!("must be an object: {REMEDY}"));
    }
    let object = message.object("request", REMEDY, faults)?;
    let object = Placed {
        object: &object,
        path,
    };
    // A newer version may have added members here too. A member that is nearly one of ours was written by hand.
    let unknown = UnknownMembers::Ignored;
    let mut all = requests(Some(object), path, unknown, envelope, around, faults);
    let request = all.pop();
    if !all.is_empty() {
        let fault = "names several ID mapping tables: a message of the waiting queue is for one";
        faults.add(path, fault);
    }
    request
}

/// Returns whether the function chose `DELETE_ONLY` when an event recorded deletion requests. The `detail` of an AWS
/// event is not a request, so no sender asked for this job type.
fn is_deletion(request: &Request) -> bool {
    let deletes = |trigger: &Trigger| trigger.source == ENTITY_RESOLUTION;
    request.requested_type == RequestedType::Exactly(JobType::DeleteOnly)
        && request.type_source == TypeSource::Request
        && request.trigger.as_ref().is_some_and(deletes)
}

fn read_rejections(message: Placed<'_, '_>, faults: &mut Faults) -> u32 {
    let Some((rejections, _)) = message.object.get("rejections") else {
        return 0;
    };
    let number = rejections.integer();
    let number = number.and_then(|number| u32::try_from(number).ok());
    number.unwrap_or_else(|| {
        let fault = "must be an integer from 0 to 4294967295: leave it out if the request was never rejected";
        faults.add(message.path_of("rejections"), fault);
        0
    })
}

fn read_trigger(message: Placed<'_, '_>, faults: &mut Faults) -> Option<Trigger> {
    const REMEDY: &str = "write null, or the event's source and detailType";
    let path = message.path_of("trigger");
    let object = message.object("trigger", REMEDY, faults)?;
    let trigger = Placed {
        object: &object,
        path,
    };
    let mut required = |name| {
        let text = trigger.short(name, MAX_SOURCE, faults);
        if !object.has(name) {
            faults.add(path.missing(name), "is missing: write the event's value");
        }
        text.unwrap_or_default()
    };
    let (source, detail_type) = (required("source"), required("detailType"));
    Some(Trigger {
        source,
        detail_type,
        id: trigger
            .short("id", MAX_ID, faults)
            .filter(|id| !id.is_empty()),
        time: trigger.short("time", MAX_SOURCE, faults),
    })
}

/// The id of a job, which is one of two members.
#[derive(Deserialize)]
struct WithJobId {
    #[serde(flatten)]
    id: JobId,
}

/// Reads the job of a message that tracks it. Only this function writes such messages.
fn read_tracked_job(
    message: Placed<'_, '_>,
    arrival: OffsetDateTime,
    faults: &mut Faults,
) -> Option<(Choice, Job)> {
    let tracked = message.object.get("watch").and_then(|(tracked, _)| {
        let object = tracked.object()?;
        let WithJobId { id } = serde_json::from_str(tracked.text()).ok()?;
        // A time after the arrival counts as the arrival.
        let time = |name| Some(rfc_3339(&object.get(name)?.0.string()?)?.min(arrival));
        let choice = Choice {
            job_type: match object.has("jobType") {
                true => Some(member::<JobType>(&object, "jobType")?),
                false => None,
            },
            decision: member::<Decision>(&object, "decision")?,
        };
        let job = Job {
            id,
            job_type: choice.job_type,
            started_at: time("startedAt")?,
            answered_at: time("answeredAt")?,
        };
        Some((choice, job))
    });
    if tracked.is_none() {
        let fault = "is not a tracked job as this function writes it: write null, and the request starts again";
        faults.add(message.path_of("watch"), fault);
    }
    tracked
}

fn member<T: DeserializeOwned>(object: &Object<'_>, name: &str) -> Option<T> {
    serde_json::from_str(object.get(name)?.0.text()).ok()
}
