//! The waiting line (contract section 6): requests that cannot be done now, as messages of an SQS
//! queue whose consumer is the function; and the dead-letter queue of what was refused meanwhile.
//!
//! The queue's visibility time-out is the interval between two tries. A message that was sent twice
//! does no harm: the ledger knows its request.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::operation::send_message::builders::SendMessageFluentBuilder;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeNameForSends as TraceHeader,
    MessageSystemAttributeValue,
};
use time::OffsetDateTime;

use super::clients::Sending;
use crate::error::{Error, ErrorType, shortened, with_causes};
use crate::job::Started;
use crate::message::message;
use crate::request::Request;

/// A queue of SQS.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    url: String,
    /// The setting that names it.
    setting: &'static str,
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

    /// Puts a request in the waiting line, where it waits since a moment; none: since its first try,
    /// which comes after the delay.
    pub async fn wait(
        &self,
        request: &Request,
        since: Option<OffsetDateTime>,
        delay: Duration,
        sending: Sending<'_>,
    ) -> Result<(), Error> {
        let delay = i32::try_from(delay.as_secs()).unwrap_or_default();
        let send = self
            .send(message(request, since, None))
            .set_delay_seconds((delay > 0).then_some(delay));
        self.in_time(sending, &request.target.to_string(), send)
            .await
    }

    /// Puts a job in the waiting line that is to be followed to its end, since a moment.
    pub async fn watch(
        &self,
        started: &Started,
        since: OffsetDateTime,
        sending: Sending<'_>,
    ) -> Result<(), Error> {
        let send = self.send(message(&started.request, Some(since), Some(started)));
        let what = format!(
            "job {} of {}, which runs and is not followed,",
            started.job.id.as_str(),
            started.request.target
        );
        self.in_time(sending, &what, send).await
    }

    /// Puts a request in the dead-letter queue, so that it waits anew when it is moved back.
    pub async fn give_up(
        &self,
        request: &Request,
        error: &Error,
        sending: Sending<'_>,
    ) -> Result<(), Error> {
        let body = message(request, None, None);
        self.put_aside(body, &request.target.to_string(), error, sending)
            .await
    }

    /// Puts a message that is no request in the dead-letter queue, as it came.
    pub async fn refuse(
        &self,
        body: &str,
        message_id: &str,
        error: &Error,
        sending: Sending<'_>,
    ) -> Result<(), Error> {
        let what = format!("message {message_id}");
        self.put_aside(body.to_owned(), &what, error, sending).await
    }

    async fn put_aside(
        &self,
        body: String,
        what: &str,
        error: &Error,
        sending: Sending<'_>,
    ) -> Result<(), Error> {
        let attributes = attributes(error, MAX_MESSAGE.saturating_sub(body.len()));
        let alone = (body.len() > SURELY_SMALL).then(|| self.send(body.clone()));
        let send = self.send(body).set_message_attributes(Some(attributes));
        let sent = self.in_time(sending, what, send).await;
        match (sent, alone) {
            // The queue may be set to take less than SQS does: the message alone came through one like it.
            (Err(_), Some(alone)) => self.in_time(sending, what, alone).await,
            (sent, _) => sent,
        }
    }

    fn send(&self, body: String) -> SendMessageFluentBuilder {
        let send = self.client.send_message();
        send.queue_url(&self.url).message_body(body)
    }

    async fn in_time(
        &self,
        sending: Sending<'_>,
        what: &str,
        send: SendMessageFluentBuilder,
    ) -> Result<(), Error> {
        let Sending {
            within,
            trace_header,
        } = sending;
        let send = match trace_header.and_then(trace_attribute) {
            Some(header) => send.message_system_attributes(TraceHeader::AwsTraceHeader, header),
            None => send,
        };
        let failed = |cause: String| {
            Error::new(
                ErrorType::QueueUnavailable,
                format!(
                    "SendMessage of {what} to the queue of {} failed: {cause}",
                    self.setting
                ),
            )
        };
        match tokio::time::timeout(within, Box::pin(send.send())).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(match error.as_service_error() {
                Some(refusal) => format!(
                    "{}: {}; check sqs:SendMessage on the queue, and {}",
                    refusal.code().unwrap_or("SQS refused it"),
                    shortened(refusal.message().unwrap_or("no message")),
                    self.setting
                ),
                None => with_causes(&error),
            })),
            Err(_) => Err(failed(format!(
                "no answer within {} ms",
                within.as_millis()
            ))),
        }
    }
}

fn trace_attribute(header: &str) -> Option<MessageSystemAttributeValue> {
    MessageSystemAttributeValue::builder()
        .data_type(STRING)
        .string_value(header)
        .build()
        .ok()
}

/// What SQS takes at most of a message: its body, and its attributes' names, types and values, in bytes.
const MAX_MESSAGE: usize = 1_048_576;

/// A message of this size, in bytes, has room for its attributes in any queue.
const SURELY_SMALL: usize = 64 * 1_024;

/// The attributes of a message in the dead-letter queue, as far as the message has room for them: the
/// error's type, then its text, shortened if need be.
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
