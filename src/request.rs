//! What is asked for: one ID mapping table, a job type, and since when the table's data is out of date.
//!
//! The requests of one payload share its texts: a payload may name many tables.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::job_type::{RequestedType, TypeSource};
use crate::target::Target;

/// One ID mapping table to be populated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The table.
    pub target: Target,
    /// The job type that is asked for.
    pub requested_type: RequestedType,
    /// Where the requested type comes from.
    pub type_source: TypeSource,
    /// The name by which a repeat is recognised: the caller's `requestId`, the event's `id`, or one of the
    /// invocation or message that brought the request.
    pub idempotency_key: Arc<str>,
    /// Whether the caller or the event gave the idempotency key.
    pub key_is_given: bool,
    /// When the data changed. It is never after the arrival.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    pub time: OffsetDateTime,
    /// Whether the request, its event, or the record around it gave the time, and not one after the arrival. A request
    /// without one has a later time at each delivery.
    #[serde(default)]
    pub time_is_given: bool,
    /// Whether the request is not held back by `MIN_INTERVAL`, and goes first in its batch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent: bool,
    /// Whether to tell what would be done, and do nothing.
    #[serde(skip)]
    pub dry_run: bool,
    /// The EventBridge event that asked. `None` for a bare request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Arc<Trigger>>,
    /// Since when the request is in the waiting queue. `None` if it is not.
    #[serde(skip)]
    pub waiting_since: Option<OffsetDateTime>,
    /// When its SQS message was sent. `None` if it came in none.
    #[serde(skip)]
    pub sent_at: Option<OffsetDateTime>,
    /// How often the request was rejected and redriven from the dead-letter queue.
    #[serde(skip)]
    pub rejections: u32,
    /// The id at Entity Resolution of the failed job for which the request is tried again.
    #[serde(skip)]
    pub retry_of: Option<String>,
    /// After how long its SQS message is delivered again, as far as its receives tell.
    #[serde(skip)]
    pub retry_interval: Option<Duration>,
}

/// What is urgent goes first, then what has waited longest.
pub type Rank = (bool, OffsetDateTime);

/// The rank of what is urgent or not, and waits since this time.
pub fn rank(urgent: bool, since: OffsetDateTime) -> Rank {
    (!urgent, since)
}

impl Request {
    /// The caller's `requestId` or the event's `id`.
    pub fn request_id(&self) -> Option<&str> {
        self.key_is_given.then_some(&*self.idempotency_key)
    }

    /// Since when the request waits: since it was put in the waiting queue, or its message was sent, or now.
    pub fn waits_since(&self, now: OffsetDateTime) -> OffsetDateTime {
        self.waiting_since.or(self.sent_at).unwrap_or(now)
    }

    /// Its place in the order in which the job slot goes to requests.
    pub fn rank(&self, now: OffsetDateTime) -> Rank {
        rank(self.urgent, self.waits_since(now))
    }

    /// The job type that the request itself names, or an empty text. A repeat is the same request whatever
    /// `DEFAULT_JOB_TYPE` is by then.
    pub fn named_type(&self) -> &'static str {
        match self.type_source {
            TypeSource::Request => self.requested_type.as_str(),
            TypeSource::Setting | TypeSource::DeleteRequest => "",
        }
    }

    /// The idempotency key with the target and the named job type. These two have a fixed alphabet, so no
    /// idempotency key can be mistaken for a part of them.
    pub fn scoped_key(&self) -> String {
        [
            &self.target.to_string(),
            self.named_type(),
            &self.idempotency_key,
        ]
        .join(" ")
    }
}

/// The EventBridge event behind a request, as outcome events repeat it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// The event's `source`.
    pub source: String,
    /// The event's `detail-type`.
    pub detail_type: String,
    /// The event's `id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The event's `time`, as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
}

#[cfg(test)]
impl Request {
    /// A request for the table with this number, for tests.
    pub(crate) fn sample(
        table: usize,
        requested_type: &str,
        key: &str,
        time: OffsetDateTime,
    ) -> Self {
        use crate::target::Identifier;
        let identifier = |text: &str| Identifier::parse(text).unwrap();
        Self {
            target: Target {
                membership: identifier("11111111-2222-4333-8444-555555555555"),
                table: identifier(&format!("aaaaaaaa-{table:04}-4000-8000-000000000001")),
            },
            requested_type: RequestedType::parse(requested_type).unwrap(),
            type_source: TypeSource::Request,
            idempotency_key: key.into(),
            key_is_given: true,
            time,
            time_is_given: true,
            urgent: false,
            dry_run: false,
            trigger: None,
            waiting_since: None,
            sent_at: None,
            rejections: 0,
            retry_of: None,
            retry_interval: None,
        }
    }
}
