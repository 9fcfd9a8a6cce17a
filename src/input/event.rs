//! EventBridge events: the envelope around a request object.

use super::build::{Envelope, Surroundings, requests};
use super::delivery::{Content, Ignored};
use super::destination::{self, Inner};
use super::faults::Faults;
use super::members::{
    MAX_ID, MAX_ITEMS, Placed, check_item_count, check_target_count, object, table_arn,
};
use super::request::UnknownMembers;
use super::text::{Kind, Object, Path, Raw, check_nesting, cleaned};
use crate::error::Error;
use crate::outcome::OutcomeKind;
use crate::request::{Request, Trigger};
use crate::target::{AwsLocation, TableArn, Target};

/// The largest number of characters in an event's `source` (EventBridge takes 256) and `detail-type` (128).
pub(super) const MAX_SOURCE: usize = 256;

/// The `source` of CloudTrail's events about AWS Entity Resolution.
pub(super) const ENTITY_RESOLUTION: &str = "aws.entityresolution";

/// The members of an event that this function reads.
const EVENT_MEMBERS: [&str; 7] = [
    "account",
    "detail",
    "detail-type",
    "id",
    "resources",
    "source",
    "time",
];

/// The `source` of the events with which Lambda sends a record to a destination.
const LAMBDA: &str = "lambda";

pub(super) fn is_event(object: &Object<'_>) -> bool {
    object.has("detail-type") && object.has("source")
}

/// What an event is.
pub(super) enum Event<'t, 's> {
    Content(Content),
    /// The record of a Lambda destination, by its payload. Whoever may publish to the bus may write such an event, so the
    /// payload may not be one that only AWS delivers.
    PassedOn(Inner<'t, 's>),
}

/// Reads an event.
pub(super) fn read<'t, 's>(
    event: Placed<'_, 't>,
    around: &Surroundings<'s>,
) -> Result<Event<'t, 's>, Error> {
    let mut faults = Faults::default();
    event.check_repeated(&EVENT_MEMBERS, &mut faults);
    let source = required(event, "source", &mut faults);
    let detail_type = required(event, "detail-type", &mut faults);
    let detail = event.object.get("detail");
    let own_source = &around.arrival.settings.event_source;
    if faults.is_empty()
        && let Some(reason) = reason_to_ignore(&source, &detail_type, detail, own_source)
    {
        return Ok(Event::Content(Content::Ignored(Ignored::Unexpected(
            reason,
        ))));
    }
    // If an empty id counted, all events without an id would be the same request.
    let id = event.short("id", MAX_ID, &mut faults);
    let trigger = Trigger {
        time: event.short("time", MAX_SOURCE, &mut Faults::default()),
        id: id.filter(|id| !id.is_empty()),
        source,
        detail_type,
    };
    if let Some((detail, place)) = detail
        && trigger.source == LAMBDA
        && let Some(record) = detail.object()
        && destination::is_record(&record)
        && faults.is_empty()
    {
        let path = event.path.member("detail", place);
        let mut inner = destination::inner(&record, path, around)?;
        inner.around.event = Some(trigger);
        return Ok(Event::PassedOn(inner));
    }
    if around.event.is_some() && is_of_aws(&trigger.source) {
        let fault =
            "is a service of AWS: a record of a Lambda destination may not pass on an event of AWS";
        faults.add(event.path_of("source"), fault);
    }
    let location = around.arrival.location;
    let (resources, names_targets) = resources(event, location, &mut faults);
    let envelope = Envelope {
        deletes: records_deletion(&trigger, detail),
        resources,
        names_targets,
        time: event.time("time", &mut faults),
        trigger: Some(trigger),
    };
    let requests = of_detail(event, envelope, around, &mut faults);
    match faults.into_error() {
        Some(error) => Err(error),
        None => Ok(Event::Content(Content::Requests(requests))),
    }
}

fn required(event: Placed<'_, '_>, name: &str, faults: &mut Faults) -> String {
    let text = event.short(name, MAX_SOURCE, faults);
    if text.as_ref().is_some_and(String::is_empty) {
        faults.add(
            event.path_of(name),
            "is empty: send the event as EventBridge delivers it",
        );
    }
    text.unwrap_or_default()
}

/// Makes the requests of an event.
fn of_detail(
    event: Placed<'_, '_>,
    envelope: Envelope,
    around: &Surroundings<'_>,
    faults: &mut Faults,
) -> Vec<Request> {
    let unknown = UnknownMembers::Ignored;
    let path = event.path_of("detail");
    let is_of_aws = envelope
        .trigger
        .as_ref()
        .is_some_and(|trigger| is_of_aws(&trigger.source));
    // The `detail` of an AWS event is never a request. It has members such as S3's `request-id` and CloudTrail's
    // `requestID`, which would count as near misses.
    let detail = event.object.get("detail").filter(|_| !is_of_aws);
    let Some((detail, _)) = detail else {
        return requests(None, path, unknown, envelope, around, faults);
    };
    // In EventBridge Scheduler's default event `detail` is a string.
    let string = detail.string();
    let text = string.as_deref().map(cleaned);
    let read = match &text {
        Some(text) => Raw::read(text)
            .map_err(|fault| faults.add(path, fault))
            .ok(),
        None if detail.kind() == Kind::Object => Some(detail),
        None => {
            faults.add(
                path,
                "must be an object: write the request's fields as a JSON object",
            );
            None
        }
    };
    let object = read.and_then(|detail| {
        if let Err(fault) = check_nesting(detail.text()) {
            faults.add(path, fault);
        }
        object(detail, path, faults)
    });
    match object {
        Some(object) => {
            let placed = Placed {
                object: &object,
                path,
            };
            requests(Some(placed), path, unknown, envelope, around, faults)
        }
        // It has a fault.
        None => Vec::new(),
    }
}

fn is_of_aws(source: &str) -> bool {
    source.starts_with("aws.")
}

/// Returns whether an event is CloudTrail's record of a `BatchDeleteUniqueId`.
fn records_deletion(trigger: &Trigger, detail: Option<(Raw<'_>, usize)>) -> bool {
    let detail = detail.and_then(|(detail, _)| detail.object());
    let name = detail.and_then(|detail| detail.get("eventName")?.0.string());
    is_call_record(&trigger.source, &trigger.detail_type)
        && trigger.source == ENTITY_RESOLUTION
        && name.is_some_and(|name| name == "BatchDeleteUniqueId")
}

/// Returns whether an event is CloudTrail's record of a call.
fn is_call_record(source: &str, detail_type: &str) -> bool {
    is_of_aws(source) && detail_type.ends_with(" via CloudTrail")
}

/// Returns the reason why an event is ignored. Returns `None` if it is a request.
fn reason_to_ignore(
    source: &str,
    detail_type: &str,
    detail: Option<(Raw<'_>, usize)>,
    own_source: &str,
) -> Option<&'static str> {
    if source == own_source {
        return Some("the event is this function's own");
    }
    if OutcomeKind::is_detail_type(detail_type) {
        return Some("the event is an outcome of this function or of another stack's function");
    }
    let detail = detail.and_then(|(detail, _)| detail.object());
    let failed = detail.is_some_and(|detail| detail.has("errorCode"));
    if is_call_record(source, detail_type) && failed {
        return Some("the event records a call that failed");
    }
    None
}

/// Reads the ID mapping tables among an event's `resources`, and whether there are any. ARNs of other kinds are ignored.
fn resources(
    event: Placed<'_, '_>,
    location: &AwsLocation,
    faults: &mut Faults,
) -> (Vec<Target>, bool) {
    let Some((list, _)) = event.object.get("resources") else {
        return (Vec::new(), false);
    };
    let path = event.path_of("resources");
    let Some(items) = list.items(MAX_ITEMS) else {
        faults.add(path, "must be a list: write a list of ARNs");
        return (Vec::new(), false);
    };
    check_item_count(items.count, path, faults);
    let arns = items.first.into_iter().enumerate();
    let arns = arns.filter_map(|(index, item)| Some((index, item.string()?)));
    let arns: Vec<_> = arns
        .filter(|(_, text)| TableArn::is_meant_by(text))
        .collect();
    check_target_count(arns.len(), path, faults);
    let targets = arns
        .iter()
        .filter_map(|(index, arn)| table_arn(arn, path.item(*index), location, faults));
    (targets.collect(), !arns.is_empty())
}
