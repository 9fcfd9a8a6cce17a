//! Amazon DynamoDB: `GetItem` and `PutItem` on the ledger's table, by a database that speaks
//! DynamoDB's language, or by a map that knows the two conditions which the ledger writes under.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use dynoxide::Database;
use dynoxide::errors::DynoxideError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::LEDGER_TABLE;
use crate::clean_rooms::unsigned;
use crate::http::{Reply, Request, refusal};

const KEY: &str = "idMappingTableArn";

/// Where the items are kept.
#[derive(Clone)]
pub(crate) enum Tables {
    Database(Database),
    Items,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tables")
    }
}

impl Tables {
    /// A database with the ledger's table, as the template makes it.
    pub(crate) fn database() -> io::Result<Self> {
        let database = Database::memory().map_err(io::Error::other)?;
        let table = json!({
            "TableName": LEDGER_TABLE,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{ "AttributeName": KEY, "AttributeType": "S" }],
            "KeySchema": [{ "AttributeName": KEY, "KeyType": "HASH" }],
        });
        let table = serde_json::from_value(table).map_err(io::Error::other)?;
        database.create_table(table).map_err(io::Error::other)?;
        Ok(Self::Database(database))
    }

    pub(crate) fn get_item(&self, request: &Request, items: &BTreeMap<String, Value>) -> Reply {
        if let Some(refusal) = unsigned(request, "dynamodb") {
            return refusal;
        }
        match self {
            Self::Database(database) => answer(request, |asked| database.get_item(asked)),
            Self::Items => {
                let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
                let key = asked["Key"][KEY]["S"].as_str().unwrap_or_default();
                let body = items
                    .get(key)
                    .map_or(json!({}), |item| json!({ "Item": item }));
                Reply::json(200, &body)
            }
        }
    }

    pub(crate) fn put_item(&self, request: &Request, items: &mut BTreeMap<String, Value>) -> Reply {
        if let Some(refusal) = unsigned(request, "dynamodb") {
            return refusal;
        }
        match self {
            Self::Database(database) => answer(request, |asked| database.put_item(asked)),
            Self::Items => put_in(items, request),
        }
    }

    pub(crate) fn update_item(&self, request: &Request) -> Reply {
        if let Some(refusal) = unsigned(request, "dynamodb") {
            return refusal;
        }
        match self {
            Self::Database(database) => answer(request, |asked| database.update_item(asked)),
            Self::Items => refusal(400, "ValidationException", "no updates are known here"),
        }
    }
}

fn answer<Q: DeserializeOwned, A: Serialize>(
    request: &Request,
    serve: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Reply {
    let asked = match serde_json::from_slice(&request.body) {
        Ok(asked) => asked,
        Err(fault) => return refusal(400, "SerializationException", &fault.to_string()),
    };
    match serve(asked) {
        Ok(answer) => Reply::json(200, &json!(answer)),
        Err(error) => Reply {
            body: error.to_json().into(),
            ..refusal(error.status_code(), error.error_type(), "")
        },
    }
}

fn put_in(items: &mut BTreeMap<String, Value>, request: &Request) -> Reply {
    let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let key = asked["Item"][KEY]["S"].as_str().unwrap_or_default();
    let there = items.get(key);
    let holds = match asked["ConditionExpression"].as_str() {
        Some("attribute_not_exists(#key)") => there.is_none(),
        Some("#revision = :read") => there
            .is_some_and(|item| item["revision"] == asked["ExpressionAttributeValues"][":read"]),
        _ => {
            return refusal(
                400,
                "ValidationException",
                "no condition that is known here",
            );
        }
    };
    if !holds {
        let name = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
        let mut body = json!({ "__type": name, "message": "The conditional request failed" });
        if let Some(item) = there {
            body["Item"] = item.clone();
        }
        return Reply {
            body: body.to_string().into(),
            ..refusal(400, name, "")
        };
    }
    items.insert(key.to_owned(), asked["Item"].clone());
    Reply::json(200, &json!({}))
}
