//! What is asked for: one ID mapping table, the job type, and when its data changed.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::job_type::{Wish, WishedBy};
use crate::target::Target;

/// One ID mapping table to be populated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The table.
    pub target: Target,
    /// The wished job type.
    pub wish: Wish,
    /// Who wished it.
    pub wished_by: WishedBy,
    /// The name by which a repeat is known, before it is joined with target and wish.
    pub name: String,
    /// Whether the name is the request's own: the caller's `requestId` or the event's `id`.
    pub named: bool,
    /// When the news happened; never after the arrival.
    #[serde(with = "time::serde::timestamp::milliseconds")]
    pub time: OffsetDateTime,
    /// Say what would be done, and do nothing.
    #[serde(skip)]
    pub dry_run: bool,
    /// The EventBridge event that asked; none for a bare request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// Since when it stands in the waiting line; none: it does not.
    #[serde(skip)]
    pub waiting_since: Option<OffsetDateTime>,
    /// When its SQS message was sent; none: it came in none.
    #[serde(skip)]
    pub sent_at: Option<OffsetDateTime>,
    /// After how long its SQS message is delivered again, as far as its receives tell.
    #[serde(skip)]
    pub retry_interval: Option<Duration>,
}

impl Request {
    /// The caller's `requestId` or the event's `id`.
    pub fn request_id(&self) -> Option<&str> {
        self.named.then_some(self.name.as_str())
    }

    /// Since when it waits: since it was put in the waiting queue, or its message was sent, or now.
    pub fn waits_since(&self, now: OffsetDateTime) -> OffsetDateTime {
        self.waiting_since.or(self.sent_at).unwrap_or(now)
    }

    /// The job type that the request itself asks for, empty if it names none: a repeat is the same
    /// request whatever `DEFAULT_JOB_TYPE` says by then.
    pub fn asked(&self) -> &'static str {
        match self.wished_by {
            WishedBy::Request => self.wish.as_str(),
            WishedBy::Setting | WishedBy::DeleteRequest => "",
        }
    }

    /// The key by which a repeat is known: the name joined with target and requested job type, which
    /// have a fixed alphabet and so cannot run into the name.
    pub fn key(&self) -> String {
        [&self.target.to_string(), self.asked(), &self.name].join(" ")
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
