//! The request object: the eight members that are ours.

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::json::Path;
use super::names::{REQUEST_MEMBERS, TARGET_MEMBERS, near_miss};
use super::{MAX_NAME, Names, bounded, is_name, member, refused, rfc_3339, table_arn};
use crate::error::Error;
use crate::job_type::RequestedType;
use crate::target::{AwsLocation, Identifier, Target};

/// A request object, read.
#[derive(Default)]
pub(super) struct RequestObject {
    /// The targets that it names, each with its requested_type, if it has one.
    pub(super) targets: Vec<(Target, Option<RequestedType>)>,
    /// The requested_type for targets that others name.
    pub(super) requested_type: Option<RequestedType>,
    pub(super) request_id: Option<String>,
    pub(super) time: Option<OffsetDateTime>,
    pub(super) dry_run: bool,
}

pub(super) fn read(
    object: &Map<String, Value>,
    path: Path<'_>,
    names: Names,
    location: &AwsLocation,
) -> Result<RequestObject, Error> {
    check_names(object, path, names, &REQUEST_MEMBERS)?;
    let requested_type = requested_type(object, path)?;
    Ok(RequestObject {
        targets: targets(object, requested_type, path, names, location)?,
        requested_type,
        request_id: request_id(object, path)?,
        time: match member(object, "time") {
            None => None,
            Some(Value::String(text)) => Some(rfc_3339(text, path.member("time"))?),
            Some(_) => {
                return Err(refused(
                    path.member("time"),
                    "is no string: write an RFC 3339 time such as 2026-11-23T02:00:00Z",
                ));
            }
        },
        dry_run: match member(object, "dryRun") {
            None => false,
            Some(Value::Bool(dry_run)) => *dry_run,
            Some(_) => {
                return Err(refused(
                    path.member("dryRun"),
                    "is no boolean: write true or false",
                ));
            }
        },
    })
}

/// Refuses names that are not known here, or near misses alone where others' names may stand.
fn check_names(
    object: &Map<String, Value>,
    path: Path<'_>,
    names: Names,
    known: &[&str],
) -> Result<(), Error> {
    for (name, value) in object {
        let path = path.member(name);
        let ours = REQUEST_MEMBERS.contains(&name.as_str());
        if known.contains(&name.as_str()) || (ours && value.is_null()) {
            continue;
        }
        if ours {
            return Err(refused(
                path,
                "stands in a target and belongs beside `targets`: move it there",
            ));
        }
        if let Some(ours) = near_miss(name) {
            return Err(refused(path, format!("is not known: write `{ours}`")));
        }
        if names == Names::Ours {
            return Err(refused(path, unknown(name, known)));
        }
    }
    Ok(())
}

fn unknown(name: &str, known: &[&str]) -> String {
    match name {
        "source" | "detail-type" => {
            "is not known in a bare request: an EventBridge event has both `source` and `detail-type`".to_owned()
        }
        "Records" => "is not known: of records, only those of SQS are taken; send S3 and SNS events through \
                      EventBridge or SQS"
            .to_owned(),
        _ => format!("is not known: remove it, or write one of {}", known.join(", ")),
    }
}

fn targets(
    object: &Map<String, Value>,
    wish_beside: Option<RequestedType>,
    path: Path<'_>,
    names: Names,
    location: &AwsLocation,
) -> Result<Vec<(Target, Option<RequestedType>)>, Error> {
    let own = target(object, path, location)?;
    let path = path.member("targets");
    let items = match member(object, "targets") {
        None => {
            return Ok(own
                .into_iter()
                .map(|target| (target, wish_beside))
                .collect());
        }
        Some(Value::Array(items)) => items,
        Some(_) => return Err(refused(path, "is no list: write a list of targets")),
    };
    if own.is_some() {
        return Err(refused(
            path,
            "stands beside a target of the request itself: write one or the other",
        ));
    }
    if items.is_empty() {
        return Err(refused(
            path,
            "is empty: name at least one target, or leave it out",
        ));
    }
    bounded(items.len(), path)?;
    let item = |(index, item): (usize, &Value)| {
        let path = path.item(index);
        let Value::Object(item) = item else {
            return Err(refused(
                path,
                "is no object: write membershipIdentifier and idMappingTableIdentifier, or idMappingTableArn, in one",
            ));
        };
        check_names(item, path, names, &TARGET_MEMBERS)?;
        let target = target(item, path, location)?.ok_or_else(|| {
            refused(path, "names no table: write membershipIdentifier and idMappingTableIdentifier, or idMappingTableArn")
        })?;
        Ok((target, requested_type(item, path)?.or(wish_beside)))
    };
    items.iter().enumerate().map(item).collect()
}

/// The target of an object: two identifiers, or one ARN, or both where they agree.
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
                "is no string: write an ARN",
            ));
        }
    };
    if let Some(by_arn) = by_arn {
        let disagrees = |by_id: &Option<Identifier>, arns: &Identifier| {
            by_id.as_ref().is_some_and(|id| id != arns)
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
                    "is another than idMappingTableArn names: write only one of them",
                ));
            }
        }
        return Ok(Some(by_arn));
    }
    match (membership, table) {
        (Some(membership), Some(table)) => Ok(Some(Target { membership, table })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(half(
            path,
            "idMappingTableIdentifier",
            "membershipIdentifier",
        )),
        (None, Some(_)) => Err(half(
            path,
            "membershipIdentifier",
            "idMappingTableIdentifier",
        )),
    }
}

fn half(path: Path<'_>, missing: &str, present: &str) -> Error {
    refused(
        path.member(missing),
        format!("is missing beside {present}: a target needs both, or idMappingTableArn alone"),
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
            .map_err(|fault| refused(path.member(name), fault)),
        Some(_) => Err(refused(
            path.member(name),
            "is no string: write a lower-case UUID of 36 characters",
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
            .map_err(|fault| refused(path.member("jobType"), fault)),
        Some(_) => Err(refused(
            path.member("jobType"),
            "is no string: write a job type such as BATCH",
        )),
    }
}

fn request_id(object: &Map<String, Value>, path: Path<'_>) -> Result<Option<String>, Error> {
    match member(object, "requestId") {
        None => Ok(None),
        Some(Value::String(text)) if is_name(text) => Ok(Some(text.clone())),
        Some(_) => Err(refused(
            path.member("requestId"),
            format!("must be a string of 1 to {MAX_NAME} characters: write the request's own name"),
        )),
    }
}
