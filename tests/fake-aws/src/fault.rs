//! Faults that a test injects.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::http::{Answer, Reply, refusal};

/// How a call fails.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The service refuses with one of its exceptions, and does nothing.
    Refuse(Exception),
    /// An answer that the API model does not have, and nothing is done.
    Status(u16, String),
    /// The connection is closed before anything is done.
    Drop,
    /// It is done, then the connection is closed.
    AcceptAndDrop,
    /// It is done, then a 500 is answered.
    AcceptAndFail,
    /// It is done, and never answered.
    AcceptAndHang,
    /// Nothing is done, and there is no answer.
    Hang,
    /// It is done, and answered after this time.
    Slow(Duration),
    /// It is done, and answered with a 200 and this body.
    Answer(String),
    /// Nothing is done, and the function ends here ([`crate::FakeAws::crashed`]).
    Crash,
    /// It is done, and the function ends before the answer arrives.
    AcceptAndCrash,
    /// EventBridge takes the request and refuses its entries with this code.
    FailEntries(String),
}

/// What a fault makes of a call.
#[derive(Debug)]
pub struct Effect {
    /// What comes back.
    pub answer: Answer,
    /// How long it takes to come back.
    pub delay: Duration,
    /// Whether the function's process ends before it does.
    pub crash: bool,
}

impl Effect {
    fn of(answer: Answer) -> Self {
        Self {
            answer,
            delay: Duration::ZERO,
            crash: false,
        }
    }

    fn crash() -> Self {
        Self {
            crash: true,
            ..Self::of(Answer::Never)
        }
    }
}

impl Fault {
    /// Carries out a call with this fault.
    pub fn apply(self, serve: impl FnOnce() -> Reply) -> Effect {
        let body = |status, body| {
            Effect::of(Answer::Reply(Reply {
                status,
                headers: Vec::new(),
                body: Bytes::from(body),
            }))
        };
        match self {
            Self::Refuse(exception) => Effect::of(Answer::Reply(exception.reply())),
            Self::Status(status, text) => body(status, text),
            Self::Drop => Effect::of(Answer::Drop),
            Self::AcceptAndDrop => {
                serve();
                Effect::of(Answer::Drop)
            }
            Self::AcceptAndFail => {
                serve();
                Effect::of(Answer::Reply(Exception::internal_server().reply()))
            }
            Self::AcceptAndHang => {
                serve();
                Effect::of(Answer::Never)
            }
            Self::Hang => Effect::of(Answer::Never),
            Self::Slow(delay) => Effect {
                delay,
                ..Effect::of(Answer::Reply(serve()))
            },
            Self::Answer(text) => {
                serve();
                body(200, text)
            }
            Self::Crash => Effect::crash(),
            Self::AcceptAndCrash => {
                serve();
                Effect::crash()
            }
            Self::FailEntries(code) => Effect::of(Answer::Reply(Reply::json(
                200,
                &json!({ "FailedEntryCount": 1, "Entries": [{ "ErrorCode": code, "ErrorMessage": "refused on order" }] }),
            ))),
        }
    }
}

/// An exception of Clean Rooms' API model (`cleanrooms-2022-02-17`) as it is on the wire.
#[derive(Clone, Debug)]
pub struct Exception {
    status: u16,
    name: &'static str,
    body: Value,
    date: Option<String>,
}

impl Exception {
    fn new(status: u16, name: &'static str, body: Value) -> Self {
        Self {
            status,
            name,
            body,
            date: None,
        }
    }

    /// An exception that is not in the API model: the service could not tell who sent the request.
    pub fn unauthenticated(status: u16, name: &'static str) -> Self {
        let message = "the request was not authenticated";
        Self::new(status, name, json!({ "message": message }))
    }

    /// With this `Date` header, by which the SDK corrects its clock.
    pub fn dated(mut self, date: &str) -> Self {
        self.date = Some(date.to_owned());
        self
    }

    /// 403 `AccessDeniedException`.
    pub fn access_denied() -> Self {
        let message = "User: arn:aws:sts::123456789012:assumed-role/populator/populator is not authorized to perform \
                       this action: no identity-based policy allows it";
        Self::new(
            403,
            "AccessDeniedException",
            json!({ "message": message, "reason": "INSUFFICIENT_PERMISSIONS" }),
        )
    }

    /// 403 `AccessDeniedException` that names the action, as IAM's refusals do.
    pub fn denied(action: &str) -> Self {
        let message = format!(
            "User: arn:aws:sts::123456789012:assumed-role/populator/populator is not authorized to perform: {action} \
             on resource: * because no identity-based policy allows the {action} action"
        );
        let body = json!({ "message": message, "reason": "INSUFFICIENT_PERMISSIONS" });
        Self::new(403, "AccessDeniedException", body)
    }

    /// 409 `ConflictException`.
    pub fn conflict() -> Self {
        let body = json!({
            "message": "another ID mapping job is running",
            "resourceId": "aaaaaaaa-0001-4000-8000-000000000001",
            "resourceType": "ID_MAPPING_TABLE",
            "reason": "INVALID_STATE",
        });
        Self::new(409, "ConflictException", body)
    }

    /// 402 `ServiceQuotaExceededException`.
    pub fn quota_exceeded() -> Self {
        let body = json!({
            "message": "you have reached the limit",
            "quotaName": "Concurrent ID mapping jobs",
            "quotaValue": 1.0,
        });
        Self::new(402, "ServiceQuotaExceededException", body)
    }

    /// 404 `ResourceNotFoundException`.
    pub fn not_found() -> Self {
        let body = json!({
            "message": "no such ID mapping table",
            "resourceId": "aaaaaaaa-0001-4000-8000-000000000001",
            "resourceType": "ID_MAPPING_TABLE",
        });
        Self::new(404, "ResourceNotFoundException", body)
    }

    /// 400 `ValidationException` with this `reason`.
    pub fn validation(reason: &str) -> Self {
        let body = json!({
            "message": "the request cannot be taken",
            "reason": reason,
            "fieldList": [{ "name": "jobType", "message": "the workflow does not take it" }],
        });
        Self::new(400, "ValidationException", body)
    }

    /// 429 `ThrottlingException`.
    pub fn throttling() -> Self {
        Self::new(
            429,
            "ThrottlingException",
            json!({ "message": "rate exceeded" }),
        )
    }

    /// 500 `InternalServerException`.
    pub fn internal_server() -> Self {
        Self::new(
            500,
            "InternalServerException",
            json!({ "message": "something went wrong" }),
        )
    }

    /// The exceptions by their names, for a command line.
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Self::access_denied(),
            Self::conflict(),
            Self::quota_exceeded(),
            Self::not_found(),
            Self::validation("INVALID_CONFIGURATION"),
            Self::throttling(),
            Self::internal_server(),
        ];
        all.into_iter().find(|exception| exception.name == name)
    }

    pub(crate) fn reply(&self) -> Reply {
        let mut reply = Reply {
            body: Bytes::from(self.body.to_string()),
            ..refusal(self.status, self.name, "")
        };
        reply
            .headers
            .extend(self.date.clone().map(|date| ("date", date)));
        reply
    }
}
