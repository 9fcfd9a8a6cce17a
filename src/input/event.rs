//! EventBridge events: the envelope around a request object.

use std::borrow::Cow;

use time::OffsetDateTime;

use super::build::{Envelope, Surroundings, requests};
use super::delivery::{Arrival, Content, Ignored};
use super::destination;
use super::faults::Faults;
use super::members::{MAX_ID, MAX_ITEMS, Placed, check_item_count, check_target_count, table_arn};
use super::request::Form;
use super::text::{Object, Path, Raw, check_nesting, cleaned};
use crate::config::Settings;
use crate::error::Error;
use crate::job_type::RequestedType;
use crate::outcome::OutcomeKind;
use crate::request::Trigger;
use crate::target::{TableArn, Target};

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

/// The members of CloudTrail's record of a call that this function reads.
const CALL_MEMBERS: [&str; 3] = ["errorCode", "eventName", "recipientAccountId"];

/// The `source` of the events with which Lambda sends a record to a destination.
const LAMBDA: &str = "lambda";

pub(super) fn is_event(object: &Object<'_>) -> bool {
    object.has("detail-type") && object.has("source")
}

/// What an event is.
pub(super) enum Event<'s> {
    Content(Content),
    /// The record of a Lambda destination, by its payload. Whoever may publish to the bus may write such an event, so the
    /// payload may not be one that only AWS delivers.
    PassedOn(PassedOn<'s>),
}

/// The payload of a record in an event's `detail`.
pub(super) struct PassedOn<'s> {
    pub(super) text: String,
    /// Its name and place in the record.
    pub(super) name: &'static str,
    pub(super) place: usize,
    pub(super) around: Surroundings<'s>,
}

/// Reads an event.
pub(super) fn read<'s>(
    event: Placed<'_, '_>,
    around: &Surroundings<'s>,
    mut faults: Faults,
) -> Result<Event<'s>, Error> {
    let is_whole = faults.is_empty();
    event.check_repeated(&EVENT_MEMBERS, &mut faults);
    let trigger = trigger(event, &mut faults);
    check_call(event, &trigger, &mut faults);
    if is_whole
        && faults.is_empty()
        && let Some(reason) = reason_to_ignore(event, &trigger, around.arrival.settings)
    {
        let ignored = Ignored::Unexpected(reason);
        return Ok(Event::Content(Content::Ignored(ignored)));
    }
    let is_of_aws = is_of_aws(&trigger.source);
    if around.event.is_some() && is_of_aws {
        let fault =
            "is a service of AWS: a record of a Lambda destination may not pass on an event of AWS";
        faults.add(event.path_of("source"), fault);
    }
    check_account(event, around.arrival, &mut faults);
    let (resources, names_targets) = resources(event, around.arrival, &mut faults);
    let time = event.time("time", &mut faults);
    let path = event.path_of("detail");
    let text = detail_text(event, is_of_aws);
    let object = match &text {
        Some(text) => match detail_object(text, path, &mut faults) {
            Some(object) => Some(object),
            None => return faults.or(Event::Content(Content::Requests(Vec::new()))),
        },
        None => None,
    };
    if trigger.source == LAMBDA
        && let Some(record) = &object
        && destination::is_meant(record)
    {
        faults.or(())?;
        return passed_on(record, path, trigger, time, around).map(Event::PassedOn);
    }
    let envelope = Envelope {
        deletes: records_deletion(event, &trigger, around),
        resources,
        names_targets,
        time,
        trigger: Some(trigger),
        ..Envelope::default()
    };
    let placed = object.as_ref().map(|object| Placed { object, path });
    let requests = requests(placed, path, Form::Detail, envelope, around, &mut faults);
    faults.or(Event::Content(Content::Requests(requests)))
}

/// Reads the record of a Lambda destination in an event.
fn passed_on<'s>(
    record: &Object<'_>,
    path: Path<'_>,
    trigger: Trigger,
    time: Option<OffsetDateTime>,
    around: &Surroundings<'s>,
) -> Result<PassedOn<'s>, Error> {
    let mut inner = destination::inner(record, path, around)?;
    inner.around.event = Some(trigger);
    inner.around.time = inner.around.time.or(time);
    Ok(PassedOn {
        text: inner.payload.text().to_owned(),
        name: inner.name,
        place: inner.place,
        around: inner.around,
    })
}

/// Returns the text of an event's `detail`, if the event has one that may be a request.
fn detail_text<'t>(event: Placed<'_, 't>, is_of_aws: bool) -> Option<Cow<'t, str>> {
    // The `detail` of an AWS event is never a request. It has members such as S3's `request-id` and CloudTrail's
    // `requestID`, which would count as near misses.
    let (detail, _) = event.object.get("detail").filter(|_| !is_of_aws)?;
    // In EventBridge Scheduler's default event `detail` is a string.
    Some(match detail.string() {
        Some(text) => Cow::Owned(cleaned(&text).into_owned()),
        None => Cow::Borrowed(detail.text()),
    })
}

/// Finds what is there twice in the `detail` of an event of AWS.
fn check_call(event: Placed<'_, '_>, trigger: &Trigger, faults: &mut Faults) {
    let detail = event
        .object
        .get("detail")
        .filter(|_| is_of_aws(&trigger.source));
    if let Some(detail) = detail.and_then(|(detail, _)| detail.object()) {
        let path = event.path_of("detail");
        let object = &detail;
        Placed { object, path }.check_repeated(&CALL_MEMBERS, faults);
    }
}

/// Reads what outcomes repeat of an event.
fn trigger(event: Placed<'_, '_>, faults: &mut Faults) -> Trigger {
    let source = required(event, "source", faults);
    let detail_type = required(event, "detail-type", faults);
    // If an empty id counted, all events without an id would be the same request.
    let id = event.short("id", MAX_ID, faults);
    // A wrong time is a fault when it is read as one.
    let time = event.short("time", MAX_SOURCE, &mut Faults::default());
    let not_empty = |text: &String| !text.is_empty();
    Trigger {
        source,
        detail_type,
        id: id.filter(not_empty),
        time: time.filter(not_empty),
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

/// Reads the object that a `detail` is. Returns `None` if it has a fault.
fn detail_object<'t>(text: &'t str, path: Path<'_>, faults: &mut Faults) -> Option<Object<'t>> {
    let detail = Raw::read(text).map_err(|fault| faults.add(path, fault));
    let detail = detail.ok()?;
    if let Err(fault) = check_nesting(text) {
        faults.add(path, fault);
    }
    let object = detail.object();
    if object.is_none() {
        let kind = detail.kind();
        let fault = format!("is {kind}: write the request's fields as a JSON object");
        faults.add(path, fault);
    }
    object
}

fn is_of_aws(source: &str) -> bool {
    source.starts_with("aws.")
}

/// Checks the account of an event, unless the function's own account is not known. An event that an input transformer
/// made may have none.
fn check_account(event: Placed<'_, '_>, arrival: &Arrival<'_>, faults: &mut Faults) {
    const REMEDY: &str = "send the event as EventBridge delivers it";
    let Some(own) = arrival.location.account() else {
        return;
    };
    if let Some(account) = event.string("account", REMEDY, faults)
        && let Err(fault) = arrival.settings.allowed.check_account(&account, own)
    {
        faults.add(event.path_of("account"), fault);
    }
}

/// Returns whether an event is CloudTrail's record of a `BatchDeleteUniqueId` in the function's own account. In a message
/// it is only what somebody sent.
fn records_deletion(event: Placed<'_, '_>, trigger: &Trigger, around: &Surroundings<'_>) -> bool {
    let Arrival {
        location, settings, ..
    } = around.arrival;
    let detail = event.object.get("detail");
    let detail = detail.and_then(|(detail, _)| detail.object());
    let of_detail = |name| detail.as_ref()?.get(name)?.0.string();
    let account = event.object.get("account");
    let account = account.and_then(|(account, _)| account.string());
    let is_own = |account: Option<String>| {
        let own = location.account();
        own.is_none() || account.as_deref() == own
    };
    let delete_only = RequestedType::DELETE_ONLY;
    is_call_record(&trigger.source, &trigger.detail_type)
        && trigger.source == ENTITY_RESOLUTION
        && of_detail("eventName").is_some_and(|name| name == "BatchDeleteUniqueId")
        && is_own(account)
        && is_own(of_detail("recipientAccountId"))
        && (around.message.is_none() || settings.allowed.check_job_type(delete_only).is_ok())
}

/// Returns whether an event is CloudTrail's record of a call.
fn is_call_record(source: &str, detail_type: &str) -> bool {
    is_of_aws(source) && detail_type.ends_with(" via CloudTrail")
}

/// Returns the reason why an event is ignored. Returns `None` if it is a request.
fn reason_to_ignore(
    event: Placed<'_, '_>,
    trigger: &Trigger,
    settings: &Settings,
) -> Option<&'static str> {
    if trigger.source == settings.event_source {
        return Some("the event is this function's own");
    }
    if OutcomeKind::is_detail_type(&trigger.detail_type) {
        return Some("the event is an outcome of this function or of another stack's function");
    }
    let detail = event.object.get("detail");
    let detail = detail.and_then(|(detail, _)| detail.object());
    let failed = detail.is_some_and(|detail| detail.has("errorCode"));
    if is_call_record(&trigger.source, &trigger.detail_type) && failed {
        return Some("the event records a call that failed");
    }
    None
}

/// Reads the ID mapping tables among an event's `resources`, and whether there are any. ARNs of other kinds are ignored.
fn resources(
    event: Placed<'_, '_>,
    arrival: &Arrival<'_>,
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
        .filter_map(|(index, arn)| table_arn(arn, path.item(*index), arrival, faults));
    (targets.collect(), !arns.is_empty())
}
