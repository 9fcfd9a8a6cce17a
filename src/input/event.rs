//! EventBridge events: the envelope around a request object.

use serde_json::{Map, Value};

use super::json::{self, Path};
use super::{Content, Envelope, MAX_ID, Reader, UnknownMembers};
use super::{check_nesting, check_target_count, member, object, refused, rfc_3339, table_arn};
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

impl Reader<'_> {
    pub(super) fn event(
        self,
        mut members: Map<String, Value>,
        path: Path<'_>,
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

        let is_from_aws = source.starts_with("aws.");
        if let Some(reason) = reason_to_ignore(
            &source,
            &detail_type,
            detail.as_ref(),
            &self.arrival.settings.event_source,
        ) {
            return Ok(Content::Ignored(reason));
        }
        let parsed_time = time
            .as_deref()
            .map(|time| rfc_3339(time, path.member("time")))
            .transpose()?;
        let deletes = is_call_record(&source, &detail_type)
            && source == ENTITY_RESOLUTION
            && detail
                .as_ref()
                .and_then(|detail| detail.get("eventName"))
                .is_some_and(|name| name == "BatchDeleteUniqueId");
        let envelope = Envelope {
            deletes,
            resources: resources(&members, path, self.arrival.location)?,
            time: parsed_time,
            trigger: Some(Trigger {
                source,
                detail_type,
                id,
                time,
            }),
        };
        let path = path.member("detail");
        let request = match detail {
            // The `detail` of an AWS event is never a request. It has members such as S3's `request-id` and CloudTrail's
            // `requestID`, which would count as near misses.
            _ if is_from_aws => None,
            None => None,
            // In EventBridge Scheduler's default event `detail` is a string.
            Some(Value::String(text)) => {
                let value = json::read(&text).map_err(|reason| refused(path, reason))?;
                let request = object(value, path)?;
                check_nesting(&request, path)?;
                Some(request)
            }
            Some(Value::Object(request)) => Some(request),
            Some(_) => {
                return Err(refused(
                    path,
                    "must be an object: write the request's fields as a JSON object",
                ));
            }
        };
        self.requests(request.as_ref(), path, UnknownMembers::Ignored, envelope)
    }
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

/// Reads a string of the envelope. Outcome events repeat it, so its length is limited.
pub(super) fn text(
    members: &Map<String, Value>,
    name: &str,
    max_characters: usize,
    path: Path<'_>,
) -> Result<Option<String>, Error> {
    match member(members, name) {
        None => Ok(None),
        Some(Value::String(text)) if text.chars().count() <= max_characters => {
            Ok(Some(text.clone()))
        }
        Some(_) => Err(refused(
            path.member(name),
            format!(
                "must be a string of at most {max_characters} characters: send the event as EventBridge delivers it"
            ),
        )),
    }
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
