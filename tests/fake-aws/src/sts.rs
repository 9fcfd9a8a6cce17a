//! AWS Security Token Service: `AssumeRole` (API model `sts-2011-06-15`, AWS Query).

use bytes::Bytes;

use crate::Operation;
use crate::clean_rooms::unsigned;
use crate::http::{Reply, Request, refusal};

/// The access key of a session that a policy limits.
pub(crate) const LIMITED: &str = "ASIALIMITEDSESSION00";

pub(crate) fn operation(request: &Request) -> Option<Operation> {
    let is_asked = request.method == "POST" && request.body.starts_with(b"Action=AssumeRole&");
    is_asked.then_some(Operation::AssumeRole)
}

/// Answers with credentials for a session with a policy.
pub(crate) fn assume_role(request: &Request) -> Reply {
    if let Some(refusal) = unsigned(request, "sts") {
        return refusal;
    }
    if !String::from_utf8_lossy(&request.body).contains("&Policy=") {
        return refusal(
            400,
            "ValidationError",
            "only a session with a policy is given",
        );
    }
    let body = format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><AssumedRoleUser>\
         <AssumedRoleId>AROAEXAMPLE:live</AssumedRoleId>\
         <Arn>arn:aws:sts::123456789012:assumed-role/experimenter/live</Arn></AssumedRoleUser><Credentials>\
         <AccessKeyId>{LIMITED}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
         <SessionToken>token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
         </AssumeRoleResult></AssumeRoleResponse>"
    );
    Reply {
        status: 200,
        headers: vec![("content-type", "text/xml".to_owned())],
        body: Bytes::from(body),
    }
}
