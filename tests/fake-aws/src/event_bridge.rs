//! Amazon EventBridge: `PutEvents` (API model `eventbridge-2015-10-07`, AWS JSON 1.1).

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::clean_rooms::unsigned;
use crate::http::{Reply, Request, refusal};

/// Takes the entries, or refuses the request, or single entries, as the service would. What is
/// taken is kept as a rule's target would get it.
pub(crate) fn put_events(request: &Request, events: &mut Vec<Value>) -> Reply {
    if let Some(refusal) = unsigned(request, "events") {
        return refusal;
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let entries = match body["Entries"].as_array() {
        Some(entries) if (1..=10).contains(&entries.len()) => entries,
        _ => return refusal(400, "ValidationException", "1 to 10 entries are taken"),
    };
    if request.body.len() > 256 * 1024 {
        return refusal(
            400,
            "ValidationException",
            "the entries are over the limit of 256 KB",
        );
    }
    let region = request
        .header("authorization")
        .and_then(|text| text.split('/').nth(2))
        .unwrap_or_default();
    let mut failed = 0;
    let mut results = Vec::new();
    for entry in entries {
        match delivered(entry, region, events.len() + 1) {
            Ok(event) => {
                results.push(json!({ "EventId": event["id"] }));
                events.push(event);
            }
            Err((code, message)) => {
                failed += 1;
                results.push(json!({ "ErrorCode": code, "ErrorMessage": message }));
            }
        }
    }
    Reply::json(
        200,
        &json!({ "FailedEntryCount": failed, "Entries": results }),
    )
}

fn delivered(
    entry: &Value,
    region: &str,
    number: usize,
) -> Result<Value, (&'static str, &'static str)> {
    let text = |name: &str| entry[name].as_str().filter(|text| !text.is_empty());
    let source = text("Source").ok_or(("InvalidArgument", "Source is missing"))?;
    let detail_type = text("DetailType").ok_or(("InvalidArgument", "DetailType is missing"))?;
    let detail = text("Detail").ok_or(("InvalidArgument", "Detail is missing"))?;
    if source.starts_with("aws.") {
        return Err((
            "NotAuthorizedForSourceException",
            "this source is AWS's own",
        ));
    }
    if detail_type.chars().count() > 128 || source.chars().count() > 256 {
        return Err(("InvalidArgument", "DetailType or Source is too long"));
    }
    let detail: Value =
        serde_json::from_str(detail).map_err(|_| ("MalformedDetail", "Detail is no JSON"))?;
    if !detail.is_object() {
        return Err(("MalformedDetail", "Detail is no JSON object"));
    }
    let seconds = entry["Time"].as_f64().unwrap_or_default();
    Ok(json!({
        "version": "0",
        "id": format!("{number:08x}-e0e0-4000-8000-000000000000"),
        "detail-type": detail_type,
        "source": source,
        "account": "123456789012",
        "time": whole_seconds(seconds as i64),
        "region": region,
        "resources": entry["Resources"].as_array().cloned().unwrap_or_default(),
        "detail": detail,
    }))
}

/// A time as an event's envelope has it.
fn whole_seconds(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, (hour, minute, second)) = (time.date(), time.to_hms());
    format!("{date}T{hour:02}:{minute:02}:{second:02}Z")
}
