//! The JSON Schemas of `events/schemas/`, in draft 4, which EventBridge's schema registry takes: made
//! here from the function's own types, and compared with the files. `UPDATE_SCHEMAS=1` writes them.
//!
//! `tests/deployment/test_schemas.py` holds the sample events against them.

use std::collections::BTreeSet;
use std::path::Path;

use id_mapping_populator::choice::Rule;
use id_mapping_populator::error::ErrorType;
use id_mapping_populator::job_type::JobType;
use id_mapping_populator::outcome::OutcomeKind;
use serde_json::{Map, Value, json};

const DRAFT: &str = "http://json-schema.org/draft-04/schema#";
const UUID: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
const TIME: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$";

fn text() -> Value {
    json!({ "type": "string" })
}

fn pattern(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

fn job_types() -> Vec<&'static str> {
    JobType::ALL.map(JobType::as_str).to_vec()
}

/// The members that an outcome of this kind may have, and whether it must.
fn detail(kind: OutcomeKind) -> Value {
    use OutcomeKind::{Covered, Failed, Rejected, Started, Succeeded, Waiting};
    let ended = matches!(kind, Succeeded | Failed);
    let with_job = ended || matches!(kind, Started | Covered);
    let errors: Vec<&str> = ErrorType::ALL
        .into_iter()
        .filter(|error_type| match kind {
            Waiting => matches!(
                error_type,
                ErrorType::SlotBusy
                    | ErrorType::TooSoon
                    | ErrorType::ServiceUnavailable
                    | ErrorType::OutcomeUnknown
                    | ErrorType::Settling
                    | ErrorType::OutOfTime
                    | ErrorType::RequestRefused
            ),
            Rejected => matches!(
                error_type,
                ErrorType::AccessDenied
                    | ErrorType::TableNotFound
                    | ErrorType::RequestRefused
                    | ErrorType::WaitedTooLong
            ),
            Failed => *error_type == ErrorType::JobFailed,
            _ => false,
        })
        .map(ErrorType::as_str)
        .collect();
    let mut members: Vec<(&str, Value, bool)> = vec![
        ("version", json!({ "enum": ["1"] }), true),
        ("eventId", pattern(UUID), true),
        ("outcome", json!({ "enum": [kind.as_str()] }), true),
        ("membershipIdentifier", pattern(UUID), true),
        ("idMappingTableIdentifier", pattern(UUID), true),
        (
            "decision",
            json!({
                "type": "object",
                "properties": {
                    "rule": { "enum": Rule::ALL.map(Rule::as_str) },
                    "reason": { "type": "string", "minLength": 1 },
                },
                "required": ["rule", "reason"],
                "additionalProperties": false,
            }),
            // Where AUTO is covered or waits, it may not have come to a choice.
            matches!(kind, Started | Succeeded | Failed),
        ),
        (
            "requestId",
            json!({ "type": "string", "minLength": 1, "maxLength": 4096 }),
            false,
        ),
        (
            "trigger",
            json!({
                "type": "object",
                "properties": {
                    "source": text(), "detailType": text(), "id": text(), "time": text(),
                },
                "required": ["source", "detailType"],
                "additionalProperties": false,
            }),
            false,
        ),
    ];
    if kind != Covered {
        members.push(("jobType", json!({ "enum": job_types() }), false));
    }
    if with_job {
        members.push(("idMappingJobId", text(), false));
        members.push(("entityResolutionJobId", text(), false));
    }
    if kind == Covered {
        let ways = json!({ "enum": ["STARTED", "SUCCEEDED"] });
        members.push(("jobStatus", ways, true));
    }
    if kind == Waiting {
        members.push(("notBefore", pattern(TIME), false));
    }
    if kind == Failed {
        let number = json!({ "type": "integer", "minimum": 1 });
        members.push(("attempt", number.clone(), true));
        members.push(("maxAttempts", number, true));
        members.push(("willRetry", json!({ "type": "boolean" }), true));
    }
    if kind == Started || ended {
        members.push(("startedAt", pattern(TIME), true));
    }
    if ended {
        members.push(("endedAt", pattern(TIME), true));
        let ways = json!({ "enum": ["JOB_ID", "START_TIME"] });
        members.push(("identifiedBy", ways, true));
        let counts = json!({ "type": "object", "additionalProperties": { "type": "integer" } });
        members.push(("metrics", counts, true));
    }
    if !errors.is_empty() {
        let error = json!({
            "type": "object",
            "properties": { "type": { "enum": errors }, "message": text() },
            "required": ["type", "message"],
            "additionalProperties": false,
        });
        members.push(("error", error, true));
    }
    let mut schema = object(members);
    if with_job {
        schema["oneOf"] = json!([
            { "required": ["idMappingJobId"] },
            { "required": ["entityResolutionJobId"] },
        ]);
    }
    schema
}

fn object(members: Vec<(&str, Value, bool)>) -> Value {
    let required: Vec<&str> = members
        .iter()
        .filter(|(.., required)| *required)
        .map(|(name, ..)| *name)
        .collect();
    let properties: Map<String, Value> = members
        .iter()
        .map(|(name, schema, _)| ((*name).to_owned(), schema.clone()))
        .collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// The event of an outcome, as EventBridge delivers it.
fn event(kind: OutcomeKind) -> Value {
    let detail_type = kind.detail_type().unwrap();
    json!({
        "$schema": DRAFT,
        "title": detail_type,
        "description": "An outcome event of id-mapping-populator (docs/reference.md#outcomes)",
        "type": "object",
        "x-amazon-events-detail-type": detail_type,
        "x-amazon-events-source": "id-mapping-populator",
        "properties": {
            "version": { "enum": ["0"] },
            "id": text(),
            "detail-type": { "enum": [detail_type] },
            "source": text(),
            "account": pattern("^[0-9]{12}$"),
            "time": { "type": "string", "format": "date-time" },
            "region": text(),
            "resources": {
                "type": "array", "items": pattern("^arn:"), "minItems": 2, "maxItems": 2,
            },
            "detail": detail(kind),
        },
        "required": [
            "version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail",
        ],
    })
}

/// The request object (docs/payloads.md#the-request-object). A member that is null counts as absent, and so does an empty
/// string of `jobType`, `requestId` or `time`.
fn request() -> Value {
    let or_null = |schema: Value| {
        let mut schema = schema;
        schema["type"] = json!([schema["type"], "null"]);
        schema
    };
    let mut requested_types: Vec<Value> = job_types().into_iter().map(Value::from).collect();
    let others = ["SERVICE_DEFAULT", "AUTO", ""];
    requested_types.extend(others.map(Value::from).into_iter().chain([Value::Null]));
    let arn = "^arn:[a-z-]+:cleanrooms:[a-z0-9-]+:[0-9]{12}:membership/[0-9a-f-]{36}/idmappingtable/[0-9a-f-]{36}$";
    let target = || {
        vec![
            ("membershipIdentifier", or_null(pattern(UUID)), false),
            ("idMappingTableIdentifier", or_null(pattern(UUID)), false),
            ("idMappingTableArn", or_null(pattern(arn)), false),
            ("jobType", json!({ "enum": requested_types }), false),
        ]
    };
    // A null is as if it were absent, so presence is not enough.
    let has = |name: &str, kind: &str| json!({ "required": [name], "properties": { name: { "type": kind } } });
    let membership = has("membershipIdentifier", "string");
    let table = has("idMappingTableIdentifier", "string");
    let by_arn = has("idMappingTableArn", "string");
    let list = has("targets", "array");
    let half = |there: &Value, others: &[&Value]| json!({ "allOf": [there, { "not": { "anyOf": others } }] });
    let halves = [
        half(&membership, &[&table, &by_arn, &list]),
        half(&table, &[&membership, &by_arn]),
    ];
    let mut item = with_platforms(object(target()));
    item["anyOf"] = json!([by_arn, table]);
    let mut members = target();
    members.extend([
        (
            "targets",
            json!({ "type": ["array", "null"], "items": item, "minItems": 1, "maxItems": 100 }),
            false,
        ),
        (
            "requestId",
            json!({ "type": ["string", "null"], "maxLength": 4096 }),
            false,
        ),
        (
            "time",
            json!({ "type": ["string", "null"], "anyOf": [{ "format": "date-time" }, { "enum": [""] }] }),
            false,
        ),
        ("dryRun", json!({ "type": ["boolean", "null"] }), false),
        ("urgent", json!({ "type": ["boolean", "null"] }), false),
    ]);
    let mut schema = with_platforms(object(members));
    schema["$schema"] = json!(DRAFT);
    schema["title"] = json!("ID mapping population request");
    schema["description"] =
        json!("A request of id-mapping-populator (docs/payloads.md#the-request-object)");
    let two = json!({ "allOf": [list, { "anyOf": [table, by_arn] }] });
    schema["not"] = json!({ "anyOf": [halves[0], halves[1], two] });
    // The membership beside `targets` is the default of each.
    let whole = json!({ "anyOf": [by_arn, { "allOf": [membership, table] }] });
    schema["anyOf"] = json!([membership, { "properties": { "targets": { "items": whole } } }]);
    schema
}

/// Allows what platforms add to an object on its way.
fn with_platforms(mut schema: Value) -> Value {
    let names = "^(Execution|State|StateMachine|baggage|traceparent|tracestate)$";
    schema["patternProperties"] = json!({ names: {}, "^(_|x-)": {} });
    schema
}

#[test]
fn the_schemas_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("events/schemas");
    let mut all = vec![("request.json".to_owned(), request())];
    for kind in OutcomeKind::ALL {
        if let Some(detail_type) = kind.detail_type() {
            let name = detail_type.trim_start_matches("ID Mapping ").to_lowercase();
            all.push((format!("{}.json", name.replace(' ', "-")), event(kind)));
        }
    }
    for (name, schema) in &all {
        let path = folder.join(name);
        let text = serde_json::to_string_pretty(schema).unwrap() + "\n";
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            there, text,
            "{name}: `UPDATE_SCHEMAS=1 cargo test schemas` writes it again"
        );
    }
    let names: BTreeSet<String> = all.into_iter().map(|(name, _)| name).collect();
    let there = std::fs::read_dir(folder).unwrap();
    let there = there.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(there.collect::<BTreeSet<String>>(), names);
}
