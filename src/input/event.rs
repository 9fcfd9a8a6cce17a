//! EventBridge events: the envelope around a request object.

use crate::request::Trigger;
use serde_json::{Map, Value};

use super::json::{self, Path};
use super::{Content, Envelope, MAX_NAME, Names, Reader};
use super::{bounded, member, nesting, object, refused, rfc_3339, table_arn};
use crate::error::Error;
use crate::outcome::OutcomeKind;
use crate::target::{AwsLocation, TableArn, Target};

/// The most characters of an event's `source` (EventBridge takes 256) and `detail-type` (128).
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
        nesting(&members, path)?;
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
        // An empty id would make all events without one the same request.
        let id = text(&members, "id", MAX_NAME, path)?.filter(|id| !id.is_empty());
        let time = text(&members, "time", MAX_SOURCE, path)?;
        let detail = members.remove("detail").filter(|detail| !detail.is_null());

        let of_aws = source.starts_with("aws.");
        if let Some(reason) = no_request(
            &source,
            &detail_type,
            detail.as_ref(),
            &self.arrival.settings.event_source,
        ) {
            return Ok(Content::Ignored(reason));
        }
        let happened = time
            .as_deref()
            .map(|time| rfc_3339(time, path.member("time")))
            .transpose()?;
        let deletes = records_a_call(&source, &detail_type)
            && source == ENTITY_RESOLUTION
            && detail
                .as_ref()
                .and_then(|detail| detail.get("eventName"))
                .is_some_and(|name| name == "BatchDeleteUniqueId");
        let envelope = Envelope {
            deletes,
            resources: resources(&members, path, self.arrival.location)?,
            time: happened,
            trigger: Some(Trigger {
                source,
                detail_type,
                id,
                time,
            }),
        };
        let path = path.member("detail");
        let request = match detail {
            // AWS's own events speak AWS's own vocabulary: S3's has a `request-id`, CloudTrail's a
            // `requestID`. Nothing in them is a request to us.
            _ if of_aws => None,
            None => None,
            // EventBridge Scheduler's default event has a string there.
            Some(Value::String(text)) => {
                let value = json::read(&text).map_err(|fault| refused(path, fault))?;
                let request = object(value, path)?;
                nesting(&request, path)?;
                Some(request)
            }
            Some(Value::Object(request)) => Some(request),
            Some(_) => {
                return Err(refused(
                    path,
                    "is no object: write the request's fields as a JSON object",
                ));
            }
        };
        self.requests(request.as_ref(), path, Names::AlsoOthers, envelope)
    }
}

/// Whether an event is CloudTrail's record of a call.
fn records_a_call(source: &str, detail_type: &str) -> bool {
    source.starts_with("aws.") && detail_type.ends_with(" via CloudTrail")
}

/// Why an event asks for nothing, if it does.
fn no_request(
    source: &str,
    detail_type: &str,
    detail: Option<&Value>,
    own_source: &str,
) -> Option<&'static str> {
    if source == own_source {
        return Some("the event is this function's own");
    }
    if OutcomeKind::is_detail_type(detail_type) {
        return Some("the event is an outcome of this function or of another one like it");
    }
    let failed = |detail: &Value| detail.get("errorCode").is_some_and(|code| !code.is_null());
    if records_a_call(source, detail_type) && detail.is_some_and(failed) {
        return Some("the event records a call that failed");
    }
    None
}

/// A string of the envelope. It goes into outcome events, so it is bounded, in characters.
pub(super) fn text(
    members: &Map<String, Value>,
    name: &str,
    most: usize,
    path: Path<'_>,
) -> Result<Option<String>, Error> {
    match member(members, name) {
        None => Ok(None),
        Some(Value::String(text)) if text.chars().count() <= most => Ok(Some(text.clone())),
        Some(_) => Err(refused(
            path.member(name),
            format!(
                "is no string of at most {most} characters: send the event as EventBridge delivers it"
            ),
        )),
    }
}

/// The ID mapping tables among an event's `resources`; ARNs of anything else are not ours.
fn resources(
    members: &Map<String, Value>,
    path: Path<'_>,
    location: &AwsLocation,
) -> Result<Vec<Target>, Error> {
    let path = path.member("resources");
    let resources = match member(members, "resources") {
        None => return Ok(Vec::new()),
        Some(Value::Array(resources)) => resources,
        Some(_) => return Err(refused(path, "is no list: write a list of ARNs")),
    };
    let mut targets = Vec::new();
    for (index, resource) in resources.iter().enumerate() {
        if let Some(arn) = resource.as_str().filter(|text| TableArn::is_meant_by(text)) {
            targets.push(table_arn(arn, path.item(index), location)?);
        }
    }
    bounded(targets.len(), path)?;
    Ok(targets)
}
