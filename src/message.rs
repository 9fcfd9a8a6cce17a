//! The messages of the waiting queue (docs/reference.md#queue-messages): a request that waits, or a job that is
//! tracked.

use serde::Serialize;
use time::OffsetDateTime;

use crate::clock::timestamp;
use crate::job::{StartedJob, TrackedId};
use crate::job_type::TypeSource;
use crate::request::{Request, Trigger};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    version: u8,
    request: RequestObject<'a>,
    trigger: Option<&'a Trigger>,
    waiting_since: Option<String>,
    /// The job that is tracked to its end.
    watch: Option<TrackedId>,
    /// Whether the `requestId` is the caller's or the event's: outcome events have no other. Left out if it is.
    #[serde(skip_serializing_if = "Clone::clone")]
    request_id_given: bool,
    /// Whether the request or its event gave the `time`. Left out if one did.
    #[serde(skip_serializing_if = "Clone::clone")]
    time_given: bool,
    /// The failed job for which the request is tried again. Left out if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_of: Option<&'a str>,
    /// How often the request was rejected. Left out if it never was.
    #[serde(skip_serializing_if = "is_zero")]
    rejections: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The request object of one target, with its idempotency key and time.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestObject<'a> {
    membership_identifier: &'a str,
    id_mapping_table_identifier: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_type: Option<&'static str>,
    request_id: &'a str,
    time: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    urgent: bool,
}

/// The message of a request, or of a job that is tracked for it. `crate::input` reads it.
pub fn message(
    request: &Request,
    since: Option<OffsetDateTime>,
    tracked: Option<&StartedJob>,
) -> String {
    // A dead letter that is redriven is a request like any other.
    let retry_of = request.retry_of.as_deref();
    let message = Message {
        version: 1,
        request: RequestObject {
            membership_identifier: request.target.membership.as_str(),
            id_mapping_table_identifier: request.target.table.as_str(),
            job_type: (request.type_source != TypeSource::Setting)
                .then_some(request.requested_type.as_str()),
            request_id: &request.idempotency_key,
            time: timestamp(request.time),
            dry_run: request.dry_run,
            urgent: request.urgent,
        },
        trigger: request.trigger.as_deref(),
        waiting_since: since.map(timestamp),
        request_id_given: request.key_is_given,
        time_given: request.time_is_given,
        retry_of: retry_of.filter(|_| since.is_some() && tracked.is_none()),
        rejections: request.rejections,
        watch: tracked.map(TrackedId::from),
    };
    // Strings and numbers can always be serialized. If not, SQS refuses the empty message, and nothing is lost.
    let text = serde_json::to_string(&message).unwrap_or_default();
    // SQS refuses these characters (SendMessage in its API reference). In a JSON string they may be escaped.
    text.replace('\u{fffe}', "\\ufffe")
        .replace('\u{ffff}', "\\uffff")
}
