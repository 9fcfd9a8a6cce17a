//! Amazon EventBridge: where outcomes are published.

use std::time::Duration;

use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use time::OffsetDateTime;

use super::call::{describe_refusal_with, describe_with, within};
use super::clients::SendOptions;
use crate::error::{Error, ErrorType};
use crate::outcome::Outcome;
use crate::target::{AwsLocation, Target};

/// The event bus on which outcomes are published.
#[derive(Clone, Debug)]
pub struct EventBus {
    client: aws_sdk_eventbridge::Client,
    name: String,
    source: String,
}

/// How often an entry is sent that EventBridge refuses with a code that its API reference calls retryable, and the
/// pause before the second try. It doubles.
const MAX_ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

const REMEDY: &str = "check events:PutEvents on the bus and EVENT_BUS_NAME";

impl EventBus {
    /// The bus with this name or ARN. `source` becomes the `source` of its events.
    pub fn new(config: &aws_config::SdkConfig, name: &str, source: &str) -> Self {
        Self {
            client: aws_sdk_eventbridge::Client::new(config),
            name: name.to_owned(),
            source: source.to_owned(),
        }
    }

    /// Publishes an outcome, if it is one that is published.
    ///
    /// PutEvents may be repeated freely: a consumer recognises a repeated event by its `eventId`. So the SDK's
    /// own retry stays on, and entries that EventBridge throttled or failed on are sent again.
    pub async fn publish(
        &self,
        outcome: &Outcome,
        target: &Target,
        location: &AwsLocation,
        decided_at: OffsetDateTime,
        options: SendOptions<'_>,
    ) -> Result<(), Error> {
        let Some(detail_type) = outcome.outcome.detail_type() else {
            return Ok(());
        };
        let failed = |cause: String| {
            let job = match &outcome.job {
                Some(job) => format!(" (job {})", job.as_str()),
                None => String::new(),
            };
            let message = format!(
                "{} of {target}{job} is not announced: PutEvents of {detail_type:?} on event bus {} failed: {cause}",
                outcome.outcome.as_str(),
                self.name
            );
            Error::new(ErrorType::NotAnnounced, message)
        };
        let detail = serde_json::to_string(outcome).map_err(|fault| failed(fault.to_string()))?;
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(&self.name)
            .source(&self.source)
            .detail_type(detail_type)
            .resources(location.table_arn(target))
            .resources(location.membership_arn(target))
            .time(DateTime::from_millis(
                (decided_at.unix_timestamp_nanos() / 1_000_000) as i64,
            ))
            .detail(detail)
            .set_trace_header(options.trace_header.map(str::to_owned))
            .build();
        within(options.timeout, self.put(entry))
            .await
            .map_err(failed)
    }

    async fn put(&self, entry: PutEventsRequestEntry) -> Result<(), String> {
        let mut attempt = 1;
        loop {
            let request = self.client.put_events().entries(entry.clone());
            let answer = request.send().await;
            let answer = answer.map_err(|error| describe_with(&error, REMEDY))?;
            // Only an id tells that the entry was taken.
            let result = answer.entries().first();
            let code = result.and_then(|entry| entry.error_code());
            if answer.failed_entry_count() == 0
                && code.is_none()
                && result.is_some_and(|entry| entry.event_id().is_some())
            {
                return Ok(());
            }
            let is_retryable = matches!(code, Some("ThrottlingException" | "InternalFailure"));
            if !is_retryable || attempt == MAX_ATTEMPTS {
                let message = result.and_then(|entry| entry.error_message());
                return Err(describe_refusal_with(code, message, REMEDY));
            }
            tokio::time::sleep(PAUSE * 2_u32.pow(attempt - 1)).await;
            attempt += 1;
        }
    }
}
