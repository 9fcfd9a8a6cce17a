//! The request object with its eight members.

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::json::Path;
use super::members::{MAX_ID, check_target_count, is_id, member, refused, rfc_3339, table_arn};
use super::names::{REQUEST_MEMBERS, TARGET_MEMBERS, near_miss};
use crate::error::Error;
use crate::job_type::RequestedType;
use crate::target::{AwsLocation, Identifier, Target};

/// Which members a request object may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum UnknownMembers {
    /// Any unknown member is refused.
    Refused,
    /// Unknown members belong to the sender. Only near misses of the known ones are refused.
    Ignored,
}

/// A parsed request object.
#[derive(Default)]
pub(super) struct RequestObject {
    /// The targets that the object names, each with its requested type if it has one.
    pub(super) targets: Vec<(Target, Option<RequestedType>)>,
    /// The requested type of targets that the event's resources or the settings name.
    pub(super) requested_type: Option<RequestedType>,
    pub(super) request_id: Option<String>,
    pub(super) time: Option<OffsetDateTime>,
    pub(super) dry_run: bool,
}

pub(super) fn read(
    object: &Map<String, Value>,
    path: Path<'_>,
    unknown: UnknownMembers,
    location: &AwsLocation,
) -> Result<RequestObject, Error> {
    check_names(object, path, unknown, &REQUEST_MEMBERS)?;
    let requested_type = requested_type(object, path)?;
    Ok(RequestObject {
        targets: targets(object, requested_type, path, unknown, location)?,
        requested_type,
        request_id: request_id(object, path)?,
        time: match member(object, "time") {
            None => None,
            Some(Value::String(text)) => Some(rfc_3339(text, path.member("time"))?),
            Some(_) => {
                return Err(refused(
                    path.member("time"),
                    "must be a string: write an RFC 3339 time such as 2026-11-23T02:00:00Z",
                ));
            }
        },
        dry_run: match member(object, "dryRun") {
            None => false,
            Some(Value::Bool(dry_run)) => *dry_run,
            Some(_) => {
                return Err(refused(
                    path.member("dryRun"),
                    "must be a boolean: write true or false",
                ));
            }
        },
    })
}

/// Refuses members that are not in `known`. If unknown members are ignored, only near misses are refused.
fn check_names(
    object: &Map<String, Value>,
    path: Path<'_>,
    unknown: UnknownMembers,
    known: &[&str],
) -> Result<(), Error> {
    for (name, value) in object {
        let path = path.member(name);
        let is_request_member = REQUEST_MEMBERS.contains(&name.as_str());
        if known.contains(&name.as_str()) || (is_request_member && value.is_null()) {
            continue;
        }
        if is_request_member {
            return Err(refused(
                path,
                "is inside a target and belongs beside `targets`: move it there",
            ));
        }
        if let Some(member) = near_miss(name) {
            return Err(refused(path, format!("is not known: write `{member}`")));
        }
        if unknown == UnknownMembers::Refused {
            return Err(refused(path, unknown_member(name, known)));
        }
    }
    Ok(())
}

fn unknown_member(name: &str, known: &[&str]) -> String {
    match name {
        "source" | "detail-type" => {
            "is not known in a bare request: an EventBridge event has both `source` and `detail-type`".to_owned()
        }
        "Records" => "is not known: only records of SQS are read; send S3 and SNS events through EventBridge or SQS"
            .to_owned(),
        _ => format!("is not known: remove it, or write one of {}", known.join(", ")),
    }
}

fn targets(
    object: &Map<String, Value>,
    default_type: Option<RequestedType>,
    path: Path<'_>,
    unknown: UnknownMembers,
    location: &AwsLocation,
) -> Result<Vec<(Target, Option<RequestedType>)>, Error> {
    let own = target(object, path, location)?;
    let path = path.member("targets");
    let items = match member(object, "targets") {
        None => {
            return Ok(own
                .into_iter()
                .map(|target| (target, default_type))
                .collect());
        }
        Some(Value::Array(items)) => items,
        Some(_) => return Err(refused(path, "must be a list: write a list of targets")),
    };
    if own.is_some() {
        return Err(refused(
            path,
            "is combined with a target of the request itself: write one or the other",
        ));
    }
    if items.is_empty() {
        return Err(refused(
            path,
            "is empty: name at least one target, or leave it out",
        ));
    }
    check_target_count(items.len(), path)?;
    let item = |(index, item): (usize, &Value)| {
        let path = path.item(index);
        let Value::Object(item) = item else {
            return Err(refused(
                path,
                "must be an object: write membershipIdentifier and idMappingTableIdentifier, or idMappingTableArn, in one",
            ));
        };
        check_names(item, path, unknown, &TARGET_MEMBERS)?;
        let target = target(item, path, location)?.ok_or_else(|| {
            refused(path, "names no table: write membershipIdentifier and idMappingTableIdentifier, or idMappingTableArn")
        })?;
        Ok((target, requested_type(item, path)?.or(default_type)))
    };
    items.iter().enumerate().map(item).collect()
}

/// Reads the target of an object: two identifiers, or one ARN, or both if they agree. Returns `None` if the object names
/// no target.
fn target(
    object: &Map<String, Value>,
    path: Path<'_>,
    location: &AwsLocation,
) -> Result<Option<Target>, Error> {
    let membership = identifier(object, "membershipIdentifier", path)?;
    let table = identifier(object, "idMappingTableIdentifier", path)?;
    let by_arn = match member(object, "idMappingTableArn") {
        None => None,
        Some(Value::String(text)) => {
            Some(table_arn(text, path.member("idMappingTableArn"), location)?)
        }
        Some(_) => {
            return Err(refused(
                path.member("idMappingTableArn"),
                "must be a string: write an ARN",
            ));
        }
    };
    if let Some(by_arn) = by_arn {
        let disagrees = |given: &Option<Identifier>, in_arn: &Identifier| {
            given.as_ref().is_some_and(|given| given != in_arn)
        };
        for (name, differs) in [
            (
                "membershipIdentifier",
                disagrees(&membership, &by_arn.membership),
            ),
            ("idMappingTableIdentifier", disagrees(&table, &by_arn.table)),
        ] {
            if differs {
                return Err(refused(
                    path.member(name),
                    "differs from the one in idMappingTableArn: write only one of them",
                ));
            }
        }
        return Ok(Some(by_arn));
    }
    match (membership, table) {
        (Some(membership), Some(table)) => Ok(Some(Target { membership, table })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(incomplete(
            path,
            "idMappingTableIdentifier",
            "membershipIdentifier",
        )),
        (None, Some(_)) => Err(incomplete(
            path,
            "membershipIdentifier",
            "idMappingTableIdentifier",
        )),
    }
}

fn incomplete(path: Path<'_>, missing: &str, present: &str) -> Error {
    refused(
        path.member(missing),
        format!(
            "is missing, and {present} is given: a target needs both, or idMappingTableArn alone"
        ),
    )
}

fn identifier(
    object: &Map<String, Value>,
    name: &str,
    path: Path<'_>,
) -> Result<Option<Identifier>, Error> {
    match member(object, name) {
        None => Ok(None),
        Some(Value::String(text)) => Identifier::parse(text)
            .map(Some)
            .map_err(|reason| refused(path.member(name), reason)),
        Some(_) => Err(refused(
            path.member(name),
            "must be a string: write a lower-case UUID of 36 characters",
        )),
    }
}

fn requested_type(
    object: &Map<String, Value>,
    path: Path<'_>,
) -> Result<Option<RequestedType>, Error> {
    match member(object, "jobType") {
        None => Ok(None),
        Some(Value::String(text)) => RequestedType::parse(text)
            .map(Some)
            .map_err(|reason| refused(path.member("jobType"), reason)),
        Some(_) => Err(refused(
            path.member("jobType"),
            "must be a string: write a job type such as BATCH",
        )),
    }
}

fn request_id(object: &Map<String, Value>, path: Path<'_>) -> Result<Option<String>, Error> {
    match member(object, "requestId") {
        None => Ok(None),
        Some(Value::String(text)) if is_id(text) => Ok(Some(text.clone())),
        Some(_) => Err(refused(
            path.member("requestId"),
            format!(
                "must be a string of 1 to {MAX_ID} characters: write an id of the request's own"
            ),
        )),
    }
}
