//! Messages of the waiting line (contract section 6), as `crate::waiting` writes them.

use serde_json::{Map, Value};

use super::event::{ENTITY_RESOLUTION, MAX_SOURCE, text};
use super::json::Path;
use super::{Content, Envelope, MAX_NAME, Names, Reader, Trigger};
use super::{member, refused, rfc_3339};
use crate::error::Error;
use crate::job_type::{JobType, Wish, WishedBy};

const MEMBERS: [&str; 5] = ["version", "request", "trigger", "waitingSince", "watch"];

/// A bare request has neither of these members.
pub(super) fn is_message(members: &Map<String, Value>) -> bool {
    members.contains_key("request") && members.contains_key("waitingSince")
}

impl Reader<'_> {
    pub(super) fn waiting_message(
        self,
        members: &Map<String, Value>,
        path: Path<'_>,
    ) -> Result<Content, Error> {
        if let Some(name) = members
            .keys()
            .find(|name| !MEMBERS.contains(&name.as_str()))
        {
            return Err(refused(
                path.member(name),
                format!(
                    "is not known in a message of the waiting line: it has {}",
                    MEMBERS.join(", ")
                ),
            ));
        }
        if member(members, "version").and_then(Value::as_u64) != Some(1) {
            return Err(refused(
                path.member("version"),
                "is no version that this function knows: it writes 1",
            ));
        }
        if member(members, "watch").is_some() {
            return Err(refused(
                path.member("watch"),
                "asks to follow a job, and this version follows none: write null",
            ));
        }
        let since = match member(members, "waitingSince") {
            None => None,
            Some(Value::String(text)) => Some(rfc_3339(text, path.member("waitingSince"))?),
            Some(_) => {
                return Err(refused(
                    path.member("waitingSince"),
                    "is neither null nor a string: write an RFC 3339 time such as 2026-11-23T02:00:00Z",
                ));
            }
        };
        let trigger = match member(members, "trigger") {
            None => None,
            Some(Value::Object(trigger)) => Some(read_trigger(trigger, path.member("trigger"))?),
            Some(_) => {
                return Err(refused(
                    path.member("trigger"),
                    "is neither null nor an object: write the event's source and detailType in one",
                ));
            }
        };
        let path = path.member("request");
        let Some(Value::Object(request)) = members.get("request") else {
            return Err(refused(
                path,
                "is no object: write the request's fields as a JSON object",
            ));
        };
        let at = self.arrival.at;
        let envelope = Envelope {
            trigger,
            ..Envelope::default()
        };
        let mut content = self.requests(Some(request), path, Names::Ours, envelope)?;
        if let Content::Requests(requests) = &mut content {
            let [request] = &mut requests[..] else {
                return Err(refused(
                    path,
                    "names several ID mapping tables: a message of the waiting line is for one",
                ));
            };
            // A time after the message was sent counts as that.
            let sent = request.sent_at.unwrap_or(at).min(at);
            request.waiting_since = since.map(|since| since.min(sent));
            // In an event of AWS no request stands that could name the job type.
            let deletes = |trigger: &Trigger| trigger.source == ENTITY_RESOLUTION;
            if request.wish == Wish::Exactly(JobType::DeleteOnly)
                && request.wished_by == WishedBy::Request
                && request.trigger.as_ref().is_some_and(deletes)
            {
                request.wished_by = WishedBy::DeleteRequest;
            }
        }
        Ok(content)
    }
}

fn read_trigger(members: &Map<String, Value>, path: Path<'_>) -> Result<Trigger, Error> {
    let required = |name| {
        text(members, name, MAX_SOURCE, path)?
            .ok_or_else(|| refused(path.member(name), "is missing: write the event's"))
    };
    Ok(Trigger {
        source: required("source")?,
        detail_type: required("detailType")?,
        id: text(members, "id", MAX_NAME, path)?.filter(|id| !id.is_empty()),
        time: text(members, "time", MAX_SOURCE, path)?,
    })
}
