//! Reads the members of JSON objects, and refuses those that are wrong.

use serde_json::{Map, Value};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::json::{self, Path};
use crate::config::MAX_TARGETS;
use crate::error::{Error, ErrorType};
use crate::target::{AwsLocation, TableArn, Target};

/// The largest number of characters (code points) of an id that a request may have.
pub(super) const MAX_ID: usize = 4_096;

/// Returns whether a text may be a request's or a message's id.
pub(super) fn is_id(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.chars().count())
}

pub(super) fn check_target_count(targets: usize, path: Path<'_>) -> Result<(), Error> {
    if targets > MAX_TARGETS {
        return Err(refused(
            path,
            format!(
                "names {targets} ID mapping tables and may name {MAX_TARGETS}: split it into several requests"
            ),
        ));
    }
    Ok(())
}

pub(super) fn table_arn(
    text: &str,
    path: Path<'_>,
    location: &AwsLocation,
) -> Result<Target, Error> {
    let arn = TableArn::parse(text).map_err(|reason| refused(path, reason))?;
    location
        .check(&arn)
        .map_err(|reason| refused(path, reason))?;
    Ok(arn.target)
}

pub(super) fn rfc_3339(text: &str, path: Path<'_>) -> Result<OffsetDateTime, Error> {
    // The parser accepts any character between date and time.
    let separated = matches!(text.as_bytes().get(10), Some(b'T' | b't'));
    // In UTC the year may be one that RFC 3339 cannot write.
    let writable = |time: &OffsetDateTime| {
        let utc = time.checked_to_offset(UtcOffset::UTC);
        utc.is_some_and(|utc| (0..=9_999).contains(&utc.year()))
    };
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .filter(|time| separated && writable(time))
        .ok_or_else(|| {
            refused(
                path,
                "is not an RFC 3339 time: write one such as 2026-11-23T02:00:00Z",
            )
        })
}

pub(super) fn object(value: Value, path: Path<'_>) -> Result<Map<String, Value>, Error> {
    match value {
        Value::Object(members) => Ok(members),
        Value::Null => Err(refused(path, "is null: send a JSON object")),
        Value::Bool(_) => Err(refused(path, "is a boolean: send a JSON object")),
        Value::Number(_) => Err(refused(path, "is a number: send a JSON object")),
        Value::String(_) => Err(refused(path, "is a string: send a JSON object")),
        Value::Array(_) => Err(refused(path, "is a list: send a JSON object")),
    }
}

pub(super) fn check_nesting(members: &Map<String, Value>, path: Path<'_>) -> Result<(), Error> {
    json::check_nesting(members).map_err(|reason| refused(path, reason))
}

/// Returns a member. Returns `None` if it is missing or `null`.
pub(super) fn member<'v>(members: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    members.get(name).filter(|value| !value.is_null())
}

pub(super) fn refused(path: Path<'_>, reason: impl Into<String>) -> Error {
    Error::new(
        ErrorType::InvalidRequest,
        format!("the payload is refused: {path} {}", reason.into()),
    )
}

/// Reads a string of an event's envelope. Outcome events repeat it, so its length is limited.
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
