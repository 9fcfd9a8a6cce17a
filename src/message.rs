//! The messages of the waiting queue (contract section 6): a request that waits, or a job that is tracked.

use serde::Serialize;
use time::OffsetDateTime;

use crate::choice::Decision;
use crate::clock::timestamp;
use crate::job::{JobId, Started};
use crate::job_type::{JobType, WishedBy};
use crate::request::{Request, Trigger};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    version: u8,
    request: RequestObject<'a>,
    trigger: Option<&'a Trigger>,
    waiting_since: Option<String>,
    /// The job that is to be followed to its end.
    watch: Option<Watch<'a>>,
    /// Whether the request's name is its own; outcome events have no other. True where it is left out.
    #[serde(skip_serializing_if = "Clone::clone")]
    request_id_given: bool,
}

/// A job to be followed, as it is read again.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Watch<'a> {
    #[serde(flatten)]
    id: &'a JobId,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_type: Option<JobType>,
    decision: &'a Decision,
    started_at: String,
    answered_at: String,
}

/// The request object of one target, with its name and time.
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
}

/// The message of a request, or of its job that is to be followed; `crate::input` reads it.
pub fn message(
    request: &Request,
    since: Option<OffsetDateTime>,
    watch: Option<&Started>,
) -> String {
    let message = Message {
        version: 1,
        request: RequestObject {
            membership_identifier: request.target.membership.as_str(),
            id_mapping_table_identifier: request.target.table.as_str(),
            job_type: (request.wished_by != WishedBy::Setting).then_some(request.wish.as_str()),
            request_id: &request.name,
            time: timestamp(request.time),
            dry_run: request.dry_run,
        },
        trigger: request.trigger.as_ref(),
        waiting_since: since.map(timestamp),
        request_id_given: request.named,
        watch: watch.map(|Started { choice, job, .. }| Watch {
            id: &job.id,
            job_type: job.job_type,
            decision: &choice.decision,
            started_at: timestamp(job.started_at),
            answered_at: timestamp(job.answered_at),
        }),
    };
    // Strings and numbers can always be written; SQS refuses an empty message, and nothing is lost.
    let text = serde_json::to_string(&message).unwrap_or_default();
    // SQS takes no others than #x9, #xA, #xD, #x20 to #xD7FF, #xE000 to #xFFFD and those beyond
    // (SendMessage in its API reference). What stands in a JSON string may be escaped.
    text.replace('\u{fffe}', "\\ufffe")
        .replace('\u{ffff}', "\\uffff")
}
