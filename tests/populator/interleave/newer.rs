//! What a newer version writes: the same with additional members, which an older version does not know.

use fake_aws::{Bytes, Operation, State};
use serde_json::{Value, json};

/// The name of the added members.
const ADDED: &str = "addedInNewer";

/// The body of a call, as a newer version sends it.
pub fn as_newer(operation: Operation, body: &Bytes) -> Bytes {
    let text = |value: &mut Value| {
        if let Value::String(text) = value {
            *text = with_additions(text);
        }
    };
    let Ok(mut call) = serde_json::from_slice::<Value>(body) else {
        return body.clone();
    };
    match operation {
        Operation::PutItem => {
            text(&mut call["Item"]["record"]["S"]);
            call["Item"][ADDED] = json!({ "S": "attribute" });
        }
        Operation::SendMessage => text(&mut call["MessageBody"]),
        _ => return body.clone(),
    }
    call.to_string().into()
}

/// Rewrites the ledger and the queues as a newer version would have written them.
pub fn write_as_newer_version(state: &mut State) {
    for item in state.items.values_mut() {
        let record = item["record"]["S"].as_str().unwrap();
        item["record"]["S"] = with_additions(record).into();
        item[ADDED] = json!({ "S": "attribute" });
    }
    for queue in state.queues.values_mut() {
        for message in &mut queue.messages {
            message.body = with_additions(&message.body);
        }
    }
}

fn with_additions(text: &str) -> String {
    let mut value = serde_json::from_str(text).unwrap();
    add(&mut value);
    value.to_string()
}

/// Adds a member to each object.
fn add(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(add);
            members.insert(ADDED.to_owned(), json!({ "some": ["thing", 1, null] }));
        }
        Value::Array(items) => items.iter_mut().for_each(add),
        _ => {}
    }
}
