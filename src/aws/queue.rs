//! Amazon SQS: the waiting queue, whose consumer is the function, and the dead-letter queue
//! (docs/reference.md#queue-messages).
//!
//! The waiting queue's visibility timeout is the time between two tries. A message that was sent twice does no
//! harm: the ledger knows its request.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::operation::send_message::builders::SendMessageFluentBuilder;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeNameForSends as TraceHeader,
    MessageSystemAttributeValue, QueueAttributeName,
};
use serde::Serialize;
use time::OffsetDateTime;

use super::call::{ReadError, describe_with, within};
use super::clients::SendOptions;
use crate::error::{Error, ErrorType};
use crate::job::StartedJob;
use crate::message::message;
use crate::request::Request;

/// The longest delay of a message in SQS, in seconds.
const MAX_DELAY: i32 = 900;

/// A queue.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    url: String,
    /// The setting that names it.
    setting: &'static str,
}

/// How many messages a queue has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageCounts {
    /// Messages that can be received.
    pub visible: u64,
    /// Messages that were received and are invisible for a while. In the waiting queue these requests wait for their next
    /// try.
    pub in_flight: u64,
    /// Messages that cannot be received yet.
    pub delayed: u64,
}

impl Queue {
    /// The queue with this URL, which this setting names.
    pub fn new(config: &aws_config::SdkConfig, url: &str, setting: &'static str) -> Self {
        Self {
            client: Client::new(config),
            url: url.to_owned(),
            setting,
        }
    }

    /// Enqueues a request. `since` is when it began to wait, or `None` if that is when it is first tried. It is
    /// first tried after the delay, or after the longest one of SQS.
    pub async fn enqueue_request(
        &self,
        request: &Request,
        since: Option<OffsetDateTime>,
        delay: Duration,
        options: SendOptions<'_>,
    ) -> Result<(), Error> {
        // Not before the delay is over.
        let seconds = delay.as_millis().div_ceil(1_000);
        let delay = i32::try_from(seconds).unwrap_or(MAX_DELAY).min(MAX_DELAY);
        let send = self
            .send(message(request, since, None))
            .set_delay_seconds((delay > 0).then_some(delay));
        self.complete(options, &request.target.to_string(), send)
            .await
    }

    /// Enqueues a job that is to be tracked to its end.
    pub async fn enqueue_tracking(
        &self,
        started: &StartedJob,
        since: OffsetDateTime,
        options: SendOptions<'_>,
    ) -> Result<(), Error> {
        let send = self.send(message(&started.request, Some(since), Some(started)));
        let what = format!(
            "job {} of {}, which runs and is not tracked,",
            started.job.id.as_str(),
            started.request.target
        );
        self.complete(options, &what, send).await
    }

    /// Enqueues a request that was given up. If it is moved back to the waiting queue, its wait starts again.
    pub async fn dead_letter_request(
        &self,
        request: &Request,
        error: &Error,
        options: SendOptions<'_>,
    ) -> Result<(), Error> {
        let body = message(request, None, None);
        self.dead_letter(body, &request.target.to_string(), error, options)
            .await
    }

    /// Enqueues a message that is not a valid request, as it came.
    pub async fn dead_letter_message(
        &self,
        body: &str,
        message_id: Option<&str>,
        error: &Error,
        options: SendOptions<'_>,
    ) -> Result<(), Error> {
        let what = match message_id {
            Some(id) => format!("message {id}"),
            None => "an item of a list".to_owned(),
        };
        self.dead_letter(body.to_owned(), &what, error, options)
            .await
    }

    async fn dead_letter(
        &self,
        body: String,
        what: &str,
        error: &Error,
        options: SendOptions<'_>,
    ) -> Result<(), Error> {
        let attributes = attributes(error, MAX_MESSAGE.saturating_sub(body.len()));
        let alone = (body.len() > SMALL).then(|| self.send(body.clone()));
        let send = self.send(body).set_message_attributes(Some(attributes));
        let sent = self.complete(options, what, send).await;
        match (sent, alone) {
            // The queue may be set to take less than SQS does. The message alone came through a queue like it.
            (Err(_), Some(alone)) => self.complete(options, what, alone).await,
            (sent, _) => sent,
        }
    }

    /// Counts the messages, approximately, as SQS does.
    pub async fn counts(&self) -> Result<MessageCounts, ReadError> {
        let answer = self
            .client
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessages)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesDelayed)
            .send()
            .await
            .map_err(|error| {
                ReadError::of("GetQueueAttributes", "sqs:GetQueueAttributes", &error)
            })?;
        let count = |name| {
            let attributes = answer.attributes()?;
            attributes.get(&name)?.parse().ok()
        };
        let counts = || {
            Some(MessageCounts {
                visible: count(QueueAttributeName::ApproximateNumberOfMessages)?,
                in_flight: count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)?,
                delayed: count(QueueAttributeName::ApproximateNumberOfMessagesDelayed)?,
            })
        };
        counts().ok_or_else(|| ReadError::unclear("GetQueueAttributes returns no counts"))
    }

    /// The queue's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn send(&self, body: String) -> SendMessageFluentBuilder {
        let send = self.client.send_message();
        send.queue_url(&self.url).message_body(body)
    }

    async fn complete(
        &self,
        options: SendOptions<'_>,
        what: &str,
        send: SendMessageFluentBuilder,
    ) -> Result<(), Error> {
        let send = match options.trace_header.and_then(trace_attribute) {
            Some(header) => send.message_system_attributes(TraceHeader::AwsTraceHeader, header),
            None => send,
        };
        let setting = self.setting;
        let sent = async {
            let sent = send.send().await;
            let remedy = format!("check sqs:SendMessage on the queue, and {setting}");
            sent.map(drop)
                .map_err(|error| describe_with(&error, &remedy))
        };
        within(options.timeout, sent)
            .await
            .map_err(|cause: String| {
                let message =
                    format!("SendMessage of {what} to the queue of {setting} failed: {cause}");
                Error::new(ErrorType::QueueUnavailable, message)
            })
    }
}

fn trace_attribute(header: &str) -> Option<MessageSystemAttributeValue> {
    MessageSystemAttributeValue::builder()
        .data_type(STRING)
        .string_value(header)
        .build()
        .ok()
}

/// The largest message that SQS takes, in bytes: its body, and the names, types and values of its attributes.
const MAX_MESSAGE: usize = 1_048_576;

/// A message of this size, in bytes, has room for its attributes in any queue.
const SMALL: usize = 64 * 1_024;

/// The attributes of a message in the dead-letter queue, as far as there is room for them: the error's type, then
/// its message, which may be shortened.
fn attributes(error: &Error, mut room: usize) -> HashMap<String, MessageAttributeValue> {
    let all = [
        ("errorType", error.error_type.as_str()),
        ("errorMessage", error.message.as_str()),
    ];
    let mut attributes = HashMap::new();
    for (name, value) in all {
        let overhead = name.len() + STRING.len();
        let value = attribute_value(value, room.saturating_sub(overhead));
        let size = overhead + value.len();
        let attribute = MessageAttributeValue::builder()
            .data_type(STRING)
            .string_value(value.as_str())
            .build();
        if let (false, Ok(attribute)) = (value.is_empty(), attribute) {
            room -= size;
            attributes.insert(name.to_owned(), attribute);
        }
    }
    attributes
}

const STRING: &str = "String";

/// The beginning of a text that has so many bytes, without the characters that SQS refuses.
fn attribute_value(text: &str, most: usize) -> String {
    let taken = |character: char| {
        if character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}') {
            ' '
        } else {
            character
        }
    };
    let mut value = String::new();
    for character in text.chars().map(taken) {
        if value.len() + character.len_utf8() > most {
            break;
        }
        value.push(character);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_take_the_room_that_there_is_and_no_more() {
        let error = Error::new(ErrorType::SlotBusy, "é".repeat(100));
        for room in 0..300 {
            let all = attributes(&error, room);
            let size = |(name, value): (&String, &MessageAttributeValue)| {
                let text = value.string_value().unwrap_or_default();
                name.len() + value.data_type().len() + text.len()
            };
            assert!(all.iter().map(size).sum::<usize>() <= room, "{room}");
        }
        for (most, expected) in [(0, ""), (1, "a"), (2, "a"), (3, "aé"), (9, "aé")] {
            assert_eq!(attribute_value("aé", most), expected, "{most}");
        }
    }
}
