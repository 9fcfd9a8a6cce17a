//! What Lambda says of an invocation.

use time::OffsetDateTime;

/// What Lambda says of an invocation.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Lambda's request id.
    pub request_id: String,
    /// The ARN with which the function was invoked; local emulators send other text.
    pub function_arn: String,
    /// When Lambda ends the invocation.
    pub deadline: OffsetDateTime,
    /// X-Ray's header, where Lambda gives one.
    pub trace_header: Option<String>,
}

impl Invocation {
    /// X-Ray's header, if it may be passed on: SQS refuses a message with a header of another form.
    pub(super) fn trace_header(&self) -> Option<&str> {
        self.trace_header.as_deref().filter(|text| is_header(text))
    }

    /// The trace's id: `Root=…` of the header.
    pub fn trace_id(&self) -> Option<&str> {
        root(self.trace_header()?)
    }
}

impl From<&lambda_runtime::Context> for Invocation {
    fn from(context: &lambda_runtime::Context) -> Self {
        let nanoseconds = i128::from(context.deadline) * 1_000_000;
        Self {
            request_id: context.request_id.clone(),
            function_arn: context.invoked_function_arn.clone(),
            deadline: OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
                .unwrap_or(OffsetDateTime::UNIX_EPOCH),
            trace_header: context.xray_trace_id.clone(),
        }
    }
}

/// The most characters of a header that EventBridge takes.
const MAX_HEADER: usize = 500;

fn root(header: &str) -> Option<&str> {
    header
        .split(';')
        .find_map(|part| part.strip_prefix("Root="))
}

/// Returns whether a text is `Root=1-8 hex-24 hex`, optionally with `Parent`, `Sampled` and `Lineage`, each once.
fn is_header(text: &str) -> bool {
    let mut names = Vec::new();
    let is_part = |part: &str| {
        let Some((name, value)) = part.split_once('=') else {
            return false;
        };
        let is_new = !names.contains(&name.to_owned());
        names.push(name.to_owned());
        is_new
            && match name {
                "Root" => is_trace_id(value),
                "Parent" => is_hex(value, 16),
                "Sampled" => ["0", "1", "?"].contains(&value),
                "Lineage" => is_lineage(value),
                _ => false,
            }
    };
    text.len() <= MAX_HEADER && root(text).is_some() && text.split(';').all(is_part)
}

fn is_trace_id(text: &str) -> bool {
    let mut parts = text.split('-');
    parts.next() == Some("1")
        && parts.next().is_some_and(|time| is_hex(time, 8))
        && parts.next().is_some_and(|random| is_hex(random, 24))
        && parts.next().is_none()
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Lambda writes counters, colons and bars.
fn is_lineage(text: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'|');
    !text.is_empty() && text.bytes().all(is_known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_header_in_x_rays_own_form_is_passed_on() {
        const ROOT: &str = "Root=1-5759e988-bd862e3fe1be46a994272793";
        let with = |rest: &str| format!("{ROOT}{rest}");
        for good in [
            with(""),
            with(";Parent=53995c3f42cd8ad8;Sampled=1"),
            format!("Sampled=?;{ROOT}"),
            with(";Parent=53995C3F42CD8AD8;Sampled=0;Lineage=a87bd80c:1|68fd508a:5|c512fbe3:2"),
            with(";Lineage=25:a87bd80c:0"),
        ] {
            assert!(is_header(&good), "{good}");
        }
        for bad in [
            String::new(),
            "Sampled=1".to_owned(),
            "Root=".to_owned(),
            "Root=1-5759e988-bd862e3fe1be46a99427279".to_owned(),
            "Root=1-5759e988-bd862e3fe1be46a99427279g".to_owned(),
            "Root=2-5759e988-bd862e3fe1be46a994272793".to_owned(),
            "Root=1-5759e98-bd862e3fe1be46a994272793".to_owned(),
            "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01".to_owned(),
            with("-1"),
            with(";"),
            with(" "),
            with(";é"),
            with(";Parent=1"),
            with(";Sampled=true"),
            with(";Lineage="),
            with(";Lineage=a b"),
            with(";Self=1-5759e988-bd862e3fe1be46a994272793"),
            with(&format!(";{ROOT}")),
            with(&format!(";Lineage={}", "1".repeat(500))),
        ] {
            assert!(!is_header(&bad), "{bad}");
        }
    }
}
