//! AWS Clean Rooms: `POST /memberships/M/idmappingtables/T/populate` (API model
//! `cleanrooms-2022-02-17`).

use serde_json::{Value, json};

use crate::Operation;
use crate::http::{Reply, Request, refusal};

const JOB_TYPES: [&str; 3] = ["BATCH", "INCREMENTAL", "DELETE_ONLY"];

pub(crate) fn operation(request: &Request) -> Option<Operation> {
    (request.method == "POST" && identifiers(&request.path).is_some())
        .then_some(Operation::PopulateIdMappingTable)
}

fn identifiers(path: &str) -> Option<[&str; 2]> {
    let rest = path
        .strip_prefix("/memberships/")?
        .strip_suffix("/populate")?;
    let (membership, table) = rest.split_once("/idmappingtables/")?;
    Some([membership, table])
}

/// Starts a job, or refuses as the service would.
pub(crate) fn populate(request: &Request, jobs: &mut Vec<String>) -> Reply {
    if let Some(refusal) = unsigned(request, "cleanrooms") {
        return refusal;
    }
    let invalid = |message: &str| {
        let mut reply = refusal(400, "ValidationException", message);
        reply.body = json!({ "message": message, "reason": "FIELD_VALIDATION_FAILED" })
            .to_string()
            .into();
        reply
    };
    for identifier in identifiers(&request.path).into_iter().flatten() {
        if !is_identifier(identifier) {
            return invalid("an identifier is no lower-case UUID of 36 characters");
        }
    }
    let Ok(Value::Object(body)) = serde_json::from_slice(&request.body) else {
        return refusal(400, "SerializationException", "the body is no JSON object");
    };
    match body.get("jobType") {
        None => {}
        Some(Value::String(job_type)) if JOB_TYPES.contains(&job_type.as_str()) => {}
        Some(_) => return invalid("jobType is none of BATCH, INCREMENTAL, DELETE_ONLY"),
    }
    let id = format!("{:08x}-0b0b-4000-8000-000000000000", jobs.len() + 1);
    jobs.push(id.clone());
    Reply::json(200, &json!({ "idMappingJobId": id }))
}

fn is_identifier(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

/// The refusal of a request that has no signature of version 4 for this service. Whether the
/// signature is right is not checked: there is no secret here to check it with.
pub(crate) fn unsigned(request: &Request, service: &str) -> Option<Reply> {
    let authorization = request.header("authorization").unwrap_or_default();
    let scope = format!("/{service}/aws4_request");
    let signed =
        authorization.starts_with("AWS4-HMAC-SHA256 Credential=") && authorization.contains(&scope);
    let refused = || {
        refusal(
            403,
            "MissingAuthenticationTokenException",
            "missing authentication token",
        )
    };
    (!signed).then(refused)
}
