//! Amazon EventBridge: where outcomes are announced.

use std::time::Duration;

use aws_sdk_eventbridge::error::ProvideErrorMetadata;
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use time::OffsetDateTime;

use super::clients::Sending;
use crate::error::with_causes;
use crate::outcome::Outcome;
use crate::request::Request;
use crate::target::Home;

/// The event bus on which outcomes are announced.
#[derive(Clone, Debug)]
pub struct EventBus {
    client: aws_sdk_eventbridge::Client,
    name: String,
    source: String,
}

/// How often an entry is put that EventBridge takes the request for and refuses the entry with a
/// code that its API reference calls retryable, and the pause before the second try; it doubles.
const ENTRY_ATTEMPTS: u32 = 3;
const ENTRY_PAUSE: Duration = Duration::from_millis(100);

impl EventBus {
    /// The bus of this name or ARN; `source` becomes its events' source.
    pub fn new(config: &aws_config::SdkConfig, name: &str, source: &str) -> Self {
        Self {
            client: aws_sdk_eventbridge::Client::new(config),
            name: name.to_owned(),
            source: source.to_owned(),
        }
    }

    /// Publishes an outcome within a time, or says why not: operation, object, cause, remedy.
    ///
    /// PutEvents may be repeated freely: whoever gets an event twice knows it by its `eventId`. So
    /// the SDK's own retry stands, and entries that EventBridge throttled or failed on are put again.
    pub async fn publish(
        &self,
        outcome: &Outcome,
        request: &Request,
        home: &Home,
        decided_at: OffsetDateTime,
        sending: Sending<'_>,
    ) -> Result<(), String> {
        let Some(detail_type) = outcome.outcome.detail_type() else {
            return Ok(());
        };
        let failed = |cause: String| {
            format!(
                "PutEvents of {detail_type:?} on event bus {} failed: {cause}",
                self.name
            )
        };
        let detail = serde_json::to_string(outcome).map_err(|fault| failed(fault.to_string()))?;
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(&self.name)
            .source(&self.source)
            .detail_type(detail_type)
            .resources(home.table_arn(&request.target))
            .resources(home.membership_arn(&request.target))
            .time(DateTime::from_millis(
                (decided_at.unix_timestamp_nanos() / 1_000_000) as i64,
            ))
            .detail(detail)
            .set_trace_header(sending.trace_header.map(str::to_owned))
            .build();
        let within = sending.within;
        tokio::time::timeout(within, Box::pin(self.put(entry)))
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} ms", within.as_millis())))
            .map_err(failed)
    }

    async fn put(&self, entry: PutEventsRequestEntry) -> Result<(), String> {
        let mut attempt = 1;
        loop {
            let answer = self
                .client
                .put_events()
                .entries(entry.clone())
                .send()
                .await
                .map_err(|error| match error.as_service_error() {
                    Some(refusal) => refused(refusal.code(), refusal.message()),
                    None => with_causes(&error),
                })?;
            // Only an id says that the entry was taken; an answer that says nothing does not.
            let result = answer.entries().first();
            let code = result.and_then(|entry| entry.error_code());
            if answer.failed_entry_count() == 0
                && code.is_none()
                && result.is_some_and(|entry| entry.event_id().is_some())
            {
                return Ok(());
            }
            let retryable = matches!(code, Some("ThrottlingException" | "InternalFailure"));
            if !retryable || attempt == ENTRY_ATTEMPTS {
                return Err(refused(
                    code,
                    result.and_then(|entry| entry.error_message()),
                ));
            }
            tokio::time::sleep(ENTRY_PAUSE * 2_u32.pow(attempt - 1)).await;
            attempt += 1;
        }
    }
}

fn refused(code: Option<&str>, message: Option<&str>) -> String {
    format!(
        "{}: {}; check events:PutEvents on the bus and EVENT_BUS_NAME",
        code.unwrap_or("EventBridge refused it"),
        message.unwrap_or("no message")
    )
}
