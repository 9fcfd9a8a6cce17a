//! EventBridge events: the envelope around a request object.

use serde_json::{Map, Value};

use super::build::{Envelope, Surroundings, requests};
use super::delivery::Content;
use super::json::{self, Path};
use super::members::{
    MAX_ID, check_nesting, check_target_count, member, object, refused, rfc_3339, table_arn, text,
};
use super::request::UnknownMembers;
use crate::error::Error;
use crate::outcome::OutcomeKind;
use crate::request::Trigger;
use crate::target::{AwsLocation, TableArn, Target};

/// The largest number of characters in an event's `source` (EventBridge takes 256) and `detail-type` (128).
pub(super) const MAX_SOURCE: usize = 256;

/// The `source` of CloudTrail's events about AWS Entity Resolution.
pub(super) const ENTITY_RESOLUTION: &str = "aws.entityresolution";

pub(super) fn is_event(members: &Map<String, Value>) -> bool {
    member(members, "detail-type").is_some() && member(members, "source").is_some()
}

/// Reads an event.
pub(super) fn read(
    mut members: Map<String, Value>,
    path: Path<'_>,
    around: &Surroundings<'_>,
) -> Result<Content, Error> {
    check_nesting(&members, path)?;
    let required = |name| {
        text(&members, name, MAX_SOURCE, path)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| {
                refused(
                    path.member(name),
                    "is empty: send the event as EventBridge delivers it",
                )
            })
    };
    let source = required("source")?;
    let detail_type = required("detail-type")?;
    // If an empty id counted, all events without an id would be the same request.
    let id = text(&members, "id", MAX_ID, path)?.filter(|id| !id.is_empty());
    let time = text(&members, "time", MAX_SOURCE, path)?;
    let detail = members.remove("detail").filter(|detail| !detail.is_null());

    let own_source = &around.arrival.settings.event_source;
    if let Some(reason) = reason_to_ignore(&source, &detail_type, detail.as_ref(), own_source) {
        return Ok(Content::Ignored(reason));
    }
    let is_from_aws = source.starts_with("aws.");
    let parsed_time = time
        .as_deref()
        .map(|time| rfc_3339(time, path.member("time")))
        .transpose()?;
    let envelope = Envelope {
        deletes: records_deletion(&source, &detail_type, detail.as_ref()),
        resources: resources(&members, path, around.arrival.location)?,
        time: parsed_time,
        trigger: Some(Trigger {
            source,
            detail_type,
            id,
            time,
        }),
    };
    let path = path.member("detail");
    // The `detail` of an AWS event is never a request. It has members such as S3's `request-id` and CloudTrail's
    // `requestID`, which would count as near misses.
    let object = match is_from_aws {
        true => None,
        false => request_object(detail, path)?,
    };
    let unknown = UnknownMembers::Ignored;
    requests(object.as_ref(), path, unknown, envelope, around).map(Content::Requests)
}

/// The request object of an event's `detail`, if it has one.
fn request_object(
    detail: Option<Value>,
    path: Path<'_>,
) -> Result<Option<Map<String, Value>>, Error> {
    match detail {
        None => Ok(None),
        Some(Value::Object(request)) => Ok(Some(request)),
        // In EventBridge Scheduler's default event `detail` is a string.
        Some(Value::String(text)) => {
            let value = json::read(&text).map_err(|reason| refused(path, reason))?;
            let request = object(value, path)?;
            check_nesting(&request, path)?;
            Ok(Some(request))
        }
        Some(_) => Err(refused(
            path,
            "must be an object: write the request's fields as a JSON object",
        )),
    }
}

/// Returns whether an event is CloudTrail's record of a `BatchDeleteUniqueId`.
fn records_deletion(source: &str, detail_type: &str, detail: Option<&Value>) -> bool {
    let name = detail.and_then(|detail| detail.get("eventName"));
    is_call_record(source, detail_type)
        && source == ENTITY_RESOLUTION
        && name.is_some_and(|name| name == "BatchDeleteUniqueId")
}

/// Returns whether an event is CloudTrail's record of a call.
fn is_call_record(source: &str, detail_type: &str) -> bool {
    source.starts_with("aws.") && detail_type.ends_with(" via CloudTrail")
}

/// Returns the reason why an event is ignored. Returns `None` if it is a request.
fn reason_to_ignore(
    source: &str,
    detail_type: &str,
    detail: Option<&Value>,
    own_source: &str,
) -> Option<&'static str> {
    if source == own_source {
        return Some("the event is this function's own");
    }
    if OutcomeKind::is_detail_type(detail_type) {
        return Some("the event is an outcome of this function or of another stack's function");
    }
    let failed = |detail: &Value| detail.get("errorCode").is_some_and(|code| !code.is_null());
    if is_call_record(source, detail_type) && detail.is_some_and(failed) {
        return Some("the event records a call that failed");
    }
    None
}

/// Reads the ID mapping tables among an event's `resources`. ARNs of other kinds are ignored.
fn resources(
    members: &Map<String, Value>,
    path: Path<'_>,
    location: &AwsLocation,
) -> Result<Vec<Target>, Error> {
    let path = path.member("resources");
    let resources = match member(members, "resources") {
        None => return Ok(Vec::new()),
        Some(Value::Array(resources)) => resources,
        Some(_) => return Err(refused(path, "must be a list: write a list of ARNs")),
    };
    let mut targets = Vec::new();
    for (index, resource) in resources.iter().enumerate() {
        if let Some(arn) = resource.as_str().filter(|text| TableArn::is_meant_by(text)) {
            targets.push(table_arn(arn, path.item(index), location)?);
        }
    }
    check_target_count(targets.len(), path)?;
    Ok(targets)
}
