//! AWS CloudTrail: `LookupEvents` (API model `cloudtrail-2013-11-01`, AWS JSON 1.1).

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::State;
use crate::clean_rooms::unsigned;
use crate::http::{Reply, Request, refusal};

/// Shows the calls of `BatchDeleteUniqueId` that are in the event history.
pub(crate) fn lookup_events(request: &Request, state: &State, now: OffsetDateTime) -> Reply {
    if let Some(refusal) = unsigned(request, "cloudtrail") {
        return refusal;
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let name = json!([{ "AttributeKey": "EventName", "AttributeValue": "BatchDeleteUniqueId" }]);
    if body["LookupAttributes"] != name {
        return refusal(
            400,
            "InvalidLookupAttributesException",
            "not an attribute of these",
        );
    }
    let shown = state.deletes.iter().filter(|at| {
        let after = state.recorded_after;
        after.is_some_and(|after| **at + after <= now)
    });
    let events: Vec<Value> = shown
        .map(|at| {
            json!({
                "EventId": "00000000-0000-4000-8000-0000000000ee",
                "EventName": "BatchDeleteUniqueId",
                "EventSource": "entityresolution.amazonaws.com",
                "EventTime": at.unix_timestamp(),
                "ReadOnly": "false",
            })
        })
        .collect();
    Reply::json(200, &json!({ "Events": events }))
}
