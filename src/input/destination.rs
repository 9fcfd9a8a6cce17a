//! Payloads that a service wrote into a record of its own: Lambda's destinations, and the dead-letter queue of an
//! EventBridge Scheduler schedule.

use super::build::Surroundings;
use super::faults::{Faults, refused};
use super::members::{Placed, is_id, rfc_3339};
use super::text::{Object, Path, Raw};
use crate::error::Error;

/// The payload of a record, its place, and what is around it.
pub(super) struct Inner<'t, 's> {
    pub(super) payload: Raw<'t>,
    pub(super) name: &'static str,
    pub(super) place: usize,
    pub(super) around: Surroundings<'s>,
}

/// Returns whether an object is a record that Lambda sends to a destination.
pub(super) fn is_record(object: &Object<'_>) -> bool {
    object.has("requestContext") && has(object, "requestPayload")
}

/// Returns whether an object may be such a record, perhaps a broken one.
pub(super) fn is_meant(object: &Object<'_>) -> bool {
    ["requestContext", "requestPayload", "responsePayload"]
        .iter()
        .any(|name| has(object, name))
}

/// Returns whether an object is what EventBridge Scheduler writes to a schedule's dead-letter queue.
pub(super) fn is_of_a_schedule(object: &Object<'_>) -> bool {
    ["FunctionName", "InvocationType", "Payload"]
        .iter()
        .all(|name| object.has(name))
}

/// Returns whether there is a member, which may be `null`: a payload of `null` is refused, and is not another payload.
fn has(object: &Object<'_>, name: &str) -> bool {
    object.known().any(|(known, ..)| known == name)
}

const RECORD_MEMBERS: [&str; 4] = [
    "requestContext",
    "requestPayload",
    "responsePayload",
    "timestamp",
];

const CONTEXT_MEMBERS: [&str; 3] = ["condition", "functionArn", "requestId"];

/// Returns the payload to read: what this function failed for, or what another function answered.
pub(super) fn inner<'t, 's>(
    record: &Object<'t>,
    path: Path<'_>,
    around: &Surroundings<'s>,
) -> Result<Inner<'t, 's>, Error> {
    let mut faults = Faults::default();
    let placed = Placed {
        object: record,
        path,
    };
    placed.check_repeated(&RECORD_MEMBERS, &mut faults);
    let context = record.get("requestContext");
    let context = context.and_then(|(context, _)| context.object());
    if let Some(context) = &context {
        let placed = Placed {
            object: context,
            path: placed.path_of("requestContext"),
        };
        placed.check_repeated(&CONTEXT_MEMBERS, &mut faults);
    }
    faults.or(())?;
    let text = |name: &str| context.as_ref()?.get(name)?.0.string();
    let succeeded = text("condition").is_some_and(|condition| condition == "Success");
    let own = is_own(text("functionArn").as_deref(), around.arrival.function_arn);
    // Where this function's own ARN is not known, a failure is taken for its own, and a success for another's.
    let own = own.unwrap_or(!succeeded);
    let name = match (succeeded, own) {
        (false, true) => "requestPayload",
        (true, false) => "responsePayload",
        (false, false) => {
            let fault = "records a failure of another function: send only its successes here, or the failures of this one";
            return Err(refused(path, fault));
        }
        (true, true) => {
            let fault =
                "records a success of this function: send it somewhere else, because it is done";
            return Err(refused(path, fault));
        }
    };
    let Some((payload, place)) = record.get(name) else {
        let fault = match succeeded {
            true => "is missing or null: let the other function return a request",
            false => "is missing or null: send the record as Lambda delivers it",
        };
        return Err(refused(path.missing(name), fault));
    };
    let mut around = around.clone();
    around.key = text("requestId").filter(|id| is_id(id)).or(around.key);
    if succeeded {
        let timestamp = record.get("timestamp").and_then(|(time, _)| time.string());
        around.time = timestamp.as_deref().and_then(rfc_3339).or(around.time);
    }
    Ok(Inner {
        payload,
        name,
        place,
        around,
    })
}

/// Returns whether a record is this function's. Returns `None` where this function's own ARN is not known.
fn is_own(of_record: Option<&str>, own: &str) -> Option<bool> {
    let own = unqualified(own)?;
    Some(of_record.and_then(unqualified) == Some(own))
}

/// Returns a function's ARN without its version or alias. Returns `None` for another text.
fn unqualified(arn: &str) -> Option<&str> {
    let mut colons = arn.match_indices(':').map(|(at, _)| at);
    // arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME:QUALIFIER
    let function = colons.nth(5)?;
    if !arn.starts_with("arn:") || !arn.get(..function)?.ends_with(":function") {
        return None;
    }
    Some(
        colons
            .next()
            .map_or(arn, |end| arn.get(..end).unwrap_or(arn)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_compared_without_its_qualifier() {
        const OWN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:populator";
        let qualified = |name: &str| format!("{OWN}:{name}");
        assert_eq!(unqualified(OWN), Some(OWN));
        assert_eq!(unqualified(&qualified("$LATEST")), Some(OWN));
        for text in [
            "",
            "populator",
            "arn:aws:lambda",
            "arn:aws:s3:::bucket",
            "arn:aws:lambda:eu-west-1:123456789012:layer:populator",
            "nra:aws:lambda:eu-west-1:123456789012:function:populator",
            &OWN[..OWN.len() - 10],
        ] {
            assert_eq!(unqualified(text), None, "{text}");
        }
        assert_eq!(
            is_own(Some(&qualified("live")), &qualified("$LATEST")),
            Some(true)
        );
        assert_eq!(is_own(Some(&format!("{OWN}-other")), OWN), Some(false));
        assert_eq!(is_own(None, OWN), Some(false));
        assert_eq!(is_own(Some(OWN), "populator"), None);
    }
}
