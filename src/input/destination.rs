//! Payloads that a service wrote into a record of its own: Lambda's destinations, and the dead-letter queue of an
//! EventBridge Scheduler schedule.

use super::build::Surroundings;
use super::faults::refused;
use super::members::{is_id, rfc_3339};
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

/// Returns the payload to read: what this function failed for, or what another function answered.
pub(super) fn inner<'t, 's>(
    record: &Object<'t>,
    path: Path<'_>,
    around: &Surroundings<'s>,
) -> Result<Inner<'t, 's>, Error> {
    let context = record.get("requestContext");
    let context = context.and_then(|(context, _)| context.object());
    let text = |name: &str| context.as_ref()?.get(name)?.0.string();
    let succeeded = text("condition").is_some_and(|condition| condition == "Success");
    let own = is_own(text("functionArn").as_deref(), around.arrival.function_arn);
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
        let fault = "is missing or null: send the record as Lambda delivers it";
        return Err(refused(path.missing(name), fault));
    };
    let mut around = around.clone();
    let id = text("requestId").filter(|id| is_id(id));
    around.recorded_request_id = id.or(around.recorded_request_id);
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

/// Returns whether a record is this function's. Where this function's own ARN is not known, every record is.
fn is_own(of_record: Option<&str>, own: &str) -> bool {
    let Some(own) = unqualified(own) else {
        return true;
    };
    of_record.and_then(unqualified) == Some(own)
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
            &OWN[..OWN.len() - 10],
        ] {
            assert_eq!(unqualified(text), None, "{text}");
        }
        assert!(is_own(Some(&qualified("live")), &qualified("$LATEST")));
        assert!(!is_own(Some(&format!("{OWN}-other")), OWN));
        assert!(!is_own(None, OWN));
        assert!(is_own(None, "populator"));
    }
}
