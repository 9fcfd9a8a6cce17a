//! Amazon DynamoDB: `GetItem` and `PutItem` on the ledger's table, with the two conditions under which the ledger
//! writes. The ledger's item is in [`crate::State`], so that a search can keep and restore it.
//! `tests/deployment/test_services.py` runs the function against another implementation of DynamoDB.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::LEDGER_TABLE;
use crate::clean_rooms::unsigned;
use crate::http::{Reply, Request, refusal};

const KEY: &str = "idMappingTableArn";

/// DynamoDB's limit for an item. The stand-in counts its JSON, which is longer.
const MAX_ITEM_BYTES: usize = 400 * 1024;

pub(crate) fn get_item(request: &Request, items: &BTreeMap<String, Value>) -> Reply {
    let asked = match parsed(request) {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    if asked["ConsistentRead"] != true {
        return invalid("a read of the ledger must be consistent");
    }
    match asked["Key"][KEY]["S"].as_str() {
        Some(key) if !key.is_empty() => {
            let item = items.get(key);
            let body = item.map_or(json!({}), |item| json!({ "Item": item }));
            Reply::json(200, &body)
        }
        _ => invalid("the provided key element does not match the schema"),
    }
}

pub(crate) fn put_item(request: &Request, items: &mut BTreeMap<String, Value>) -> Reply {
    let asked = match parsed(request) {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    let item = &asked["Item"];
    let key = match item[KEY]["S"].as_str() {
        Some(key) if !key.is_empty() => key,
        _ => return invalid("one of the required keys was not given a value"),
    };
    if item.to_string().len() > MAX_ITEM_BYTES {
        return invalid("item size has exceeded the maximum allowed size");
    }
    let current = items.get(key);
    match holds(&asked, current) {
        None => invalid("this stand-in does not know the condition"),
        Some(false) => condition_failed(&asked, current),
        Some(true) => {
            items.insert(key.to_owned(), item.clone());
            Reply::json(200, &json!({}))
        }
    }
}

/// Returns the request's body, if it is signed and names the ledger's table.
fn parsed(request: &Request) -> Result<Value, Reply> {
    if let Some(refusal) = unsigned(request, "dynamodb") {
        return Err(refusal);
    }
    let asked: Value = serde_json::from_slice(&request.body)
        .map_err(|fault| refusal(400, "SerializationException", &fault.to_string()))?;
    if asked["TableName"] == LEDGER_TABLE {
        return Ok(asked);
    }
    Err(refusal(
        400,
        "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException",
        "Requested resource not found",
    ))
}

/// Returns whether the request's condition holds for the item. `None` if the condition is another one than the
/// ledger's.
fn holds(asked: &Value, current: Option<&Value>) -> Option<bool> {
    let names = &asked["ExpressionAttributeNames"];
    let values = &asked["ExpressionAttributeValues"];
    match asked["ConditionExpression"].as_str() {
        Some("attribute_not_exists(#key)") if names["#key"] == KEY => Some(current.is_none()),
        Some("#revision = :read") if names["#revision"] == "revision" => {
            Some(current.is_some_and(|item| item["revision"] == values[":read"]))
        }
        _ => None,
    }
}

fn condition_failed(asked: &Value, current: Option<&Value>) -> Reply {
    let name = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
    let mut body = json!({ "__type": name, "message": "The conditional request failed" });
    if asked["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"
        && let Some(item) = current
    {
        body["Item"] = item.clone();
    }
    Reply {
        body: body.to_string().into(),
        ..refusal(400, name, "")
    }
}

fn invalid(message: &str) -> Reply {
    refusal(
        400,
        "com.amazon.coral.validate#ValidationException",
        message,
    )
}
