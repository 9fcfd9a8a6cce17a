//! Amazon SQS: `SendMessage` and `GetQueueAttributes` (API model `sqs-2012-11-05`, AWS JSON 1.0), and what Lambda's poller
//! does with a queue: batches, visibility, receive counts, redrive.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::clean_rooms::unsigned;
use crate::http::{Reply, Request, refusal};
use crate::{ACCOUNT, FakeAws, REGION};

/// How long a message is kept, as the template sets it: the longest that SQS allows.
const RETENTION: Duration = Duration::days(14);

/// A queue.
#[derive(Clone, Debug)]
pub struct Queue {
    /// How long a message is invisible after it was received.
    pub visibility_timeout: Duration,
    /// After how many receipts a message goes to which queue.
    pub redrive: Option<(u32, String)>,
    /// The messages in it.
    pub messages: Vec<Message>,
}

/// A message in a queue.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// Its body.
    pub body: String,
    /// Its attributes as `SendMessage` took them.
    pub attributes: Value,
    /// When it was sent.
    pub sent_at: OffsetDateTime,
    /// When it can be received next.
    pub visible_at: OffsetDateTime,
    /// How often it was received.
    pub receive_count: u32,
    /// When it was received first.
    pub first_received_at: Option<OffsetDateTime>,
}

/// Counts the messages of a queue.
pub(crate) fn get_queue_attributes(
    request: &Request,
    queues: &BTreeMap<String, Queue>,
    now: OffsetDateTime,
) -> Reply {
    if let Some(refusal) = unsigned(request, "sqs") {
        return refusal;
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let url = body["QueueUrl"].as_str();
    let Some(queue) = url.and_then(|url| queues.get(url.rsplit('/').next()?)) else {
        return no_such_queue();
    };
    let count = |is: &dyn Fn(&Message) -> bool| {
        json!(
            queue
                .messages
                .iter()
                .filter(|message| is(message))
                .count()
                .to_string()
        )
    };
    let is_visible = |message: &Message| message.visible_at <= now;
    let attribute = |name: &str| match name {
        "ApproximateNumberOfMessages" => Some(count(&is_visible)),
        "ApproximateNumberOfMessagesNotVisible" => Some(count(&|message| {
            !is_visible(message) && message.receive_count > 0
        })),
        "ApproximateNumberOfMessagesDelayed" => Some(count(&|message| {
            !is_visible(message) && message.receive_count == 0
        })),
        _ => None,
    };
    let names = body["AttributeNames"].as_array().into_iter().flatten();
    let names = names.filter_map(Value::as_str);
    let attributes: BTreeMap<&str, Value> = names
        .filter_map(|name| Some((name, attribute(name)?)))
        .collect();
    Reply::json(200, &json!({ "Attributes": attributes }))
}

fn no_such_queue() -> Reply {
    refusal(
        400,
        "com.amazonaws.sqs#QueueDoesNotExist",
        "the specified queue does not exist",
    )
}

pub(crate) fn send_message(
    request: &Request,
    queues: &mut BTreeMap<String, Queue>,
    sent: &mut usize,
    now: OffsetDateTime,
) -> Reply {
    if let Some(refusal) = unsigned(request, "sqs") {
        return refusal;
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let name = body["QueueUrl"]
        .as_str()
        .and_then(|url| url.rsplit('/').next());
    let Some(queue) = name.and_then(|name| queues.get_mut(name)) else {
        return no_such_queue();
    };
    let text = body["MessageBody"].as_str().unwrap_or_default();
    // A message's size is its body's with its attributes' names, types and values (SQS quotas).
    let attributes_size: usize = body["MessageAttributes"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let text = |member: &str| value[member].as_str().unwrap_or_default().len();
            name.len() + text("DataType") + text("StringValue")
        })
        .sum();
    if text.is_empty() || text.len() + attributes_size > 1_048_576 {
        return refusal(
            400,
            "InvalidParameterValue",
            "the body must have 1 byte to 1 MiB",
        );
    }
    let refused = |text: &str| {
        text.chars().any(|character| {
            matches!(character, '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
        })
    };
    if refused(text) {
        return refusal(
            400,
            "com.amazonaws.sqs#InvalidMessageContents",
            "the message has characters outside the allowed set",
        );
    }
    let delay = body["DelaySeconds"].as_i64().unwrap_or(0);
    if !(0..=900).contains(&delay) {
        return refusal(
            400,
            "InvalidParameterValue",
            "DelaySeconds must be 0 to 900",
        );
    }
    let attributes = body["MessageAttributes"].clone();
    for attribute in attributes
        .as_object()
        .into_iter()
        .flatten()
        .map(|(_, value)| value)
    {
        if attribute["StringValue"]
            .as_str()
            .is_none_or(|text| text.is_empty() || refused(text))
        {
            return refusal(400, "InvalidParameterValue", "an attribute is empty");
        }
    }
    let id = queue.put(sent, text, attributes, now, Duration::seconds(delay));
    Reply::json(
        200,
        &json!({ "MessageId": id, "MD5OfMessageBody": "0".repeat(32) }),
    )
}

impl Queue {
    fn put(
        &mut self,
        sent: &mut usize,
        body: &str,
        attributes: Value,
        now: OffsetDateTime,
        delay: Duration,
    ) -> String {
        *sent += 1;
        let id = format!("{sent:08x}-5050-4000-8000-000000000000");
        self.messages.push(Message {
            id: id.clone(),
            body: body.to_owned(),
            attributes,
            sent_at: now,
            visible_at: now + delay,
            receive_count: 0,
            first_received_at: None,
        });
        id
    }
}

impl FakeAws {
    /// Creates a queue. Its URL.
    pub fn create_queue(
        &self,
        name: &str,
        visibility_timeout: Duration,
        redrive: Option<(u32, &str)>,
    ) -> String {
        let queue = Queue {
            visibility_timeout,
            redrive: redrive.map(|(count, name)| (count, name.to_owned())),
            messages: Vec::new(),
        };
        self.state().queues.insert(name.to_owned(), queue);
        self.queue_url(name)
    }

    /// The URL of a queue.
    pub fn queue_url(&self, name: &str) -> String {
        format!("{}/{ACCOUNT}/{name}", self.url())
    }

    /// Sends a message, as anyone may.
    pub fn send(&self, name: &str, body: &str) {
        let now = self.now();
        let state = &mut *self.state();
        if let Some(queue) = state.queues.get_mut(name) {
            queue.put(&mut state.sent, body, Value::Null, now, Duration::ZERO);
        }
    }

    /// The messages in a queue.
    pub fn messages(&self, name: &str) -> Vec<Message> {
        let queue = self.state().queues.get(name).cloned();
        queue.map(|queue| queue.messages).unwrap_or_default()
    }

    /// Moves all messages of one queue to another, as `StartMessageMoveTask` does: they are new
    /// messages there, with an id and a time of their own (SQS developer guide, dead-letter queue redrive).
    pub fn move_messages(&self, from: &str, to: &str) {
        let now = self.now();
        let state = &mut *self.state();
        let moved = state
            .queues
            .get_mut(from)
            .map(|queue| std::mem::take(&mut queue.messages));
        if let Some(queue) = state.queues.get_mut(to) {
            for Message {
                body, attributes, ..
            } in moved.into_iter().flatten()
            {
                queue.put(&mut state.sent, &body, attributes, now, Duration::ZERO);
            }
        }
    }

    /// Receives up to this many messages, and makes of them the event with which Lambda's poller invokes the
    /// function. Returns `None` if no message is visible.
    pub fn receive(&self, name: &str, most: usize) -> Option<Value> {
        let now = self.now();
        let state = &mut *self.state();
        let queue = state.queues.get_mut(name)?;
        queue
            .messages
            .retain(|message| now - message.sent_at <= RETENTION);
        let mut records = Vec::new();
        let mut gone = Vec::new();
        for message in &mut queue.messages {
            if message.visible_at > now || records.len() == most {
                continue;
            }
            message.receive_count += 1;
            message.first_received_at.get_or_insert(now);
            if queue
                .redrive
                .as_ref()
                .is_some_and(|(most, _)| message.receive_count > *most)
            {
                gone.push(message.clone());
                continue;
            }
            message.visible_at = now + queue.visibility_timeout;
            records.push(record(name, message));
        }
        queue
            .messages
            .retain(|message| !gone.iter().any(|gone| gone.id == message.id));
        if let Some((_, dead)) = queue.redrive.clone()
            && let Some(dead) = state.queues.get_mut(&dead)
        {
            dead.messages.extend(gone);
        }
        (!records.is_empty()).then(|| json!({ "Records": records }))
    }

    /// What Lambda's poller does when the function has answered an event of [`FakeAws::receive`]: it deletes
    /// what did not fail. The answer is `None` if the invocation failed.
    pub fn received(&self, name: &str, event: &Value, answer: Option<&Value>) {
        let Some(answer) = answer else { return };
        let failures = answer["batchItemFailures"].as_array();
        let failed = |id: &Value| {
            failures.is_some_and(|all| all.iter().any(|failure| failure["itemIdentifier"] == *id))
        };
        let done: Vec<&Value> = event["Records"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|record| &record["messageId"])
            .filter(|id| !failed(id))
            .collect();
        if let Some(queue) = self.state().queues.get_mut(name) {
            queue
                .messages
                .retain(|message| !done.iter().any(|id| **id == message.id));
        }
    }
}

fn record(queue: &str, message: &Message) -> Value {
    let milliseconds = |time: OffsetDateTime| (time.unix_timestamp_nanos() / 1_000_000).to_string();
    json!({
        "messageId": message.id,
        "receiptHandle": format!("{}/{}", message.id, message.receive_count),
        "body": message.body,
        "attributes": {
            "ApproximateReceiveCount": message.receive_count.to_string(),
            "SentTimestamp": milliseconds(message.sent_at),
            "SenderId": "AIDAEXAMPLE",
            "ApproximateFirstReceiveTimestamp": milliseconds(message.first_received_at.unwrap_or(message.sent_at)),
        },
        "messageAttributes": {},
        "md5OfBody": "0".repeat(32),
        "eventSource": "aws:sqs",
        "eventSourceARN": format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"),
        "awsRegion": REGION,
    })
}
