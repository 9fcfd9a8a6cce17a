//! Reads the messages of the waiting queue (docs/reference.md#queue-messages), which [`crate::message`] writes. Members
//! that this version does not know are ignored: a newer version may have written them.

use super::build::{Envelope, Surroundings, requests};
use super::delivery::Content;
use super::event::{ENTITY_RESOLUTION, MAX_SOURCE};
use super::faults::{Faults, refused};
use super::members::{MAX_ID, Placed};
use super::request::Form;
use super::text::Object;
use crate::error::Error;
use crate::job::{TrackedId, TrackedJob};
use crate::job_type::{RequestedType, TypeSource};
use crate::request::{Request, Trigger};

/// The members of a message that this function reads.
const MESSAGE_MEMBERS: [&str; 9] = [
    "rejections",
    "request",
    "requestIdGiven",
    "retryOf",
    "timeGiven",
    "trigger",
    "version",
    "waitingSince",
    "watch",
];

/// Returns whether a payload is a message of the waiting queue. A bare request has neither of these members.
pub(super) fn is_message(object: &Object<'_>) -> bool {
    let has = |name| object.known().any(|(known, ..)| known == name);
    has("request") && has("waitingSince")
}

/// Reads a message.
pub(super) fn read(
    message: Placed<'_, '_>,
    around: &Surroundings<'_>,
    mut faults: Faults,
) -> Result<Content, Error> {
    message.check_repeated(&MESSAGE_MEMBERS, &mut faults);
    let version = message.object.get("version");
    if version.and_then(|(version, _)| version.integer()) != Some(1) {
        let fault = "is not a version that this function can read: write 1";
        faults.add(message.path_of("version"), fault);
    }
    let at = around.arrival.at;
    let since = message.time("waitingSince", &mut faults);
    let tracked = message.object.has("watch");
    let tracked = tracked.then(|| read_tracked(message, &mut faults));
    let trigger = read_trigger(message, &mut faults);
    let of_entity_resolution = |trigger: &Trigger| trigger.source == ENTITY_RESOLUTION;
    let envelope = Envelope {
        may_have_chosen_deletion: trigger.as_ref().is_some_and(of_entity_resolution),
        trigger,
        ..Envelope::default()
    };
    let key_is_given = flag_or_true(message, "requestIdGiven", &mut faults);
    let time_is_given = flag_or_true(message, "timeGiven", &mut faults);
    let rejections = read_rejections(message, &mut faults);
    let retry_of = read_retry_of(message, &mut faults);
    let request = read_request(message, envelope, around, &mut faults);
    faults.or(())?;
    let Some(mut request) = request else {
        return Err(refused(message.path, "has no request"));
    };
    // A time after the message was sent counts as the time when it was sent.
    let sent = request.sent_at.unwrap_or(at).min(at);
    request.waiting_since = since.map(|since| since.min(sent));
    if is_deletion(&request) {
        let settings = around.arrival.settings;
        let is_allowed = settings
            .allowed
            .check_job_type(request.requested_type)
            .is_ok();
        (request.requested_type, request.type_source) = match is_allowed {
            true => (request.requested_type, TypeSource::DeleteRequest),
            // Anybody may have written it into the message.
            false => (settings.default_job_type, TypeSource::Setting),
        };
    }
    request.key_is_given = key_is_given;
    request.time_is_given &= time_is_given;
    request.rejections = rejections;
    request.retry_of = retry_of;
    Ok(match tracked.flatten() {
        None => Content::Requests(vec![request]),
        Some(job) => Content::Track(TrackedJob {
            target: request.target,
            job,
        }),
    })
}

fn flag_or_true(message: Placed<'_, '_>, name: &str, faults: &mut Faults) -> bool {
    !message.object.has(name) || message.flag(name, faults)
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
    let mut all = requests(Some(object), path, Form::Queued, envelope, around, faults);
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
    request.requested_type == RequestedType::DELETE_ONLY
        && request.type_source == TypeSource::Request
        && request.trigger.as_deref().is_some_and(deletes)
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
    trigger.check_repeated(&["detailType", "id", "source", "time"], faults);
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

/// The most bytes of a job's id. Those of AWS have 36 characters.
const MAX_JOB_ID: usize = 128;

/// Reads the id of the failed job for which a request is tried again. It can only make the message superfluous.
fn read_retry_of(message: Placed<'_, '_>, faults: &mut Faults) -> Option<String> {
    let (value, _) = message.object.get("retryOf")?;
    let id = value
        .string()
        .filter(|id| (1..=MAX_JOB_ID).contains(&id.len()));
    if id.is_none() {
        let fault = "is not the id of a job: leave it out, and the request starts again";
        faults.add(message.path_of("retryOf"), fault);
    }
    id
}

/// Reads the ids of the job that a message tracks. All else about the job is in the ledger.
fn read_tracked(message: Placed<'_, '_>, faults: &mut Faults) -> Option<TrackedId> {
    let tracked = message.object.get("watch");
    let tracked: Option<TrackedId> =
        tracked.and_then(|(tracked, _)| serde_json::from_str(tracked.text()).ok());
    let tracked = tracked.filter(|job| (1..=MAX_JOB_ID).contains(&job.id.as_str().len()));
    if tracked.is_none() {
        let fault =
            "is not a job as this function writes it: write null, and the request starts again";
        faults.add(message.path_of("watch"), fault);
    }
    tracked
}
