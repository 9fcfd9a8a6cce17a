//! Event notifications of Amazon S3, which do not come from EventBridge: data changed, so the configured tables change.

use time::OffsetDateTime;

use super::build::{Envelope, Surroundings, requests};
use super::delivery::Content;
use super::event::MAX_SOURCE;
use super::faults::Faults;
use super::members::{Placed, is_id, rfc_3339};
use super::request::Form;
use super::text::{Object, Path, Raw};
use crate::error::Error;
use crate::request::Trigger;

/// Returns whether an object is what S3 sends when notifications are configured.
pub(super) fn is_test(object: &Object<'_>) -> bool {
    let text = |name| object.get(name).and_then(|(value, _)| value.string());
    text("Event").is_some_and(|event| event == "s3:TestEvent")
        && text("Service").is_some_and(|service| service == "Amazon S3")
}

/// The members of a record that this function reads.
const RECORD_MEMBERS: [&str; 5] = [
    "eventName",
    "eventSource",
    "eventTime",
    "responseElements",
    "s3",
];

/// Reads the records of a notification as one change.
pub(super) fn read(
    records: &[Raw<'_>],
    path: Path<'_>,
    around: &Surroundings<'_>,
    mut faults: Faults,
) -> Result<Content, Error> {
    for (index, record) in records.iter().enumerate() {
        if let Some(object) = record.object() {
            let path = path.item(index);
            let record = Placed {
                object: &object,
                path,
            };
            record.check_repeated(&RECORD_MEMBERS, &mut faults);
        }
    }
    let times = records.iter().filter_map(|record| {
        let time = text(record.object().as_ref()?, "eventTime")?;
        Some((rfc_3339(&time)?, time))
    });
    let newest: Option<(OffsetDateTime, String)> = times.max_by_key(|(time, _)| *time);
    let first = records.first().and_then(|record| record.object());
    let name = first.as_ref().and_then(|first| text(first, "eventName"));
    let name = name.filter(|name| (1..=MAX_SOURCE).contains(&name.chars().count()));
    if newest.is_none() || name.is_none() {
        faults.add(
            path,
            "have no eventTime or no eventName: send the records as S3 delivers them",
        );
    }
    let trigger = Trigger {
        source: "aws.s3".to_owned(),
        detail_type: name.unwrap_or_default(),
        id: first.as_ref().and_then(id),
        time: newest.as_ref().map(|(_, time)| time.clone()),
    };
    let envelope = Envelope {
        time: newest.map(|(time, _)| time),
        trigger: Some(trigger),
        ..Envelope::default()
    };
    let requests = requests(None, path, Form::Detail, envelope, around, &mut faults);
    faults.or(Content::Requests(requests))
}

/// The id of a change: the same when S3 delivers the record again.
fn id(record: &Object<'_>) -> Option<String> {
    let request = record.get("responseElements")?.0.object()?;
    let request = text(&request, "x-amz-request-id")?;
    let object = record.get("s3")?.0.object()?.get("object")?.0.object();
    // A removal in a bucket without versions may have none.
    let sequencer = object.and_then(|object| text(&object, "sequencer"));
    let id = match sequencer {
        Some(sequencer) => format!("{request}/{sequencer}"),
        None => request,
    };
    Some(id).filter(|id| is_id(id))
}

fn text(object: &Object<'_>, name: &str) -> Option<String> {
    object.get(name)?.0.string()
}
