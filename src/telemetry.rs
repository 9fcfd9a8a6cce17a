//! Log lines in the form that Lambda reads.
//!
//! In JSON every line has `timestamp`, `level` and `message` at the top level. Inside an invocation it also has
//! `requestId` and, if the invocation is traced, `traceId`. The event's fields come after them. Lambda filters by
//! `timestamp` and `level`, and treats a line without them as INFO.
//!
//! Of the libraries' lines only errors are written. Their lower levels have requests and responses in them, and a
//! payload must not be in the log. Their warnings repeat what the function's own lines say.

use std::io::Write as _;

use serde::Serialize;
use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::clock::timestamp;
use crate::printable::escaped;

/// Starts logging to standard output. `format` is `AWS_LAMBDA_LOG_FORMAT`: any value other than `JSON` means text.
/// `level` is `AWS_LAMBDA_LOG_LEVEL`: any value that is not a level means `INFO`. Panics are logged too.
pub fn start(format: Option<&str>, level: Option<&str>) {
    let lines = Lines::new(format, level, print);
    // This fails only if logging was started before. That logging stays in use.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines));
    std::panic::set_hook(Box::new(|panic| {
        // The panic's message is left out: it may quote a payload. Lambda's answer has it.
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(place, "the function panicked: this is a bug");
    }));
}

/// Writes metrics, one line each. CloudWatch reads them in both log formats. A line has the lowest level that is
/// logged, because Lambda drops lines below it.
pub fn measured(lines: &[impl Serialize]) {
    #[derive(Serialize)]
    struct Line<'a, T> {
        timestamp: &'a str,
        level: &'a str,
        message: &'a str,
        #[serde(flatten)]
        metrics: &'a T,
    }
    let level = LevelFilter::current();
    let level = level.into_level().map_or("FATAL", |level| match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        _ => "INFO",
    });
    let timestamp = &timestamp(OffsetDateTime::now_utc());
    let mut text = Vec::with_capacity(1024);
    for metrics in lines {
        let line = Line {
            timestamp,
            level,
            message: "metrics",
            metrics,
        };
        write_json(&mut text, &line);
        text.push(b'\n');
    }
    print(&text);
}

/// Writes to standard output. A failure is ignored: there is no other place to report it.
fn print(text: &[u8]) {
    let _ = std::io::stdout().lock().write_all(text);
}

fn write_json(text: &mut Vec<u8>, value: &impl Serialize) {
    // Writing to memory cannot fail.
    let _ = serde_json::to_writer(text, value);
}

/// Creates the span of an invocation.
pub fn invocation_span(request_id: &str, trace_id: Option<&str>) -> tracing::Span {
    // The highest level, so that the span, which carries the request id, passes every filter.
    tracing::error_span!("invocation", requestId = request_id, traceId = trace_id)
}

/// A layer that writes each event as one line.
struct Lines<W> {
    json: bool,
    level: LevelFilter,
    write: W,
}

impl<W: Fn(&[u8])> Lines<W> {
    fn new(format: Option<&str>, level: Option<&str>, write: W) -> Self {
        let level = match level.unwrap_or_default().to_ascii_uppercase().as_str() {
            "TRACE" => LevelFilter::TRACE,
            "DEBUG" => LevelFilter::DEBUG,
            "WARN" => LevelFilter::WARN,
            "ERROR" => LevelFilter::ERROR,
            "FATAL" => LevelFilter::OFF,
            _ => LevelFilter::INFO,
        };
        Self {
            json: format.is_some_and(|format| format.eq_ignore_ascii_case("json")),
            level,
            write,
        }
    }
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&[u8]) + 'static,
{
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let ours = metadata.target().starts_with(env!("CARGO_CRATE_NAME"));
        // lambda_runtime logs each failure of the handler again, without the fields.
        let is_repeat = metadata.target() == "lambda_runtime::layers::panic";
        *metadata.level()
            <= if ours {
                self.level
            } else {
                self.level.min(LevelFilter::ERROR)
            }
            && !is_repeat
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::new(self.json);
        attributes.record(&mut fields);
        if let Some(span) = context.span(id)
            && attributes.metadata().name() == "invocation"
        {
            span.extensions_mut().insert(Invocation(fields.text));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::new(self.json);
        event.record(&mut fields);
        let Fields {
            message, mut text, ..
        } = fields;
        let now = timestamp(OffsetDateTime::now_utc());
        let level = event.metadata().level();
        let mut line = Vec::with_capacity(1024);
        // Writing to memory cannot fail.
        if self.json {
            let _ = write!(
                line,
                r#"{{"timestamp":"{now}","level":"{level}","message":"#
            );
            write_json(&mut line, &message);
        } else {
            let _ = write!(line, "{now} {level} {message}");
        }
        let invocation = |span: SpanRef<'_, S>| {
            let extensions = span.extensions();
            let Invocation(fields) = extensions.get()?;
            line.extend_from_slice(fields);
            Some(())
        };
        context
            .event_scope(event)
            .and_then(|mut scope| scope.find_map(invocation));
        line.append(&mut text);
        line.extend_from_slice(if self.json { b"}\n" } else { b"\n" });
        (self.write)(&line);
    }
}

/// The fields of an invocation's span, as its lines repeat them.
struct Invocation(Vec<u8>);

/// An event's message, and its other fields in the form in which they are written.
struct Fields {
    json: bool,
    message: String,
    text: Vec<u8>,
}

impl Fields {
    fn new(json: bool) -> Self {
        Self {
            json,
            message: String::new(),
            text: Vec::with_capacity(512),
        }
    }

    fn push_text(&mut self, field: &Field, value: &str) {
        let value = escaped(value);
        if field.name() == "message" {
            self.message = value.into_owned();
        } else {
            self.push(field, value);
        }
    }

    fn push(&mut self, field: &Field, value: impl Serialize) {
        // Field names are identifiers, so they are not escaped.
        let (before, after): (&[u8], &[u8]) = match self.json {
            true => (b",\"", b"\":"),
            false => (b" ", b"="),
        };
        self.text.extend_from_slice(before);
        self.text.extend_from_slice(field.name().as_bytes());
        self.text.extend_from_slice(after);
        write_json(&mut self.text, &value);
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push_text(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.push_text(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;

    fn lines(format: Option<&str>, level: Option<&str>, log: impl FnOnce()) -> Vec<String> {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&written);
        let lines = Lines::new(format, level, move |line: &[u8]| {
            let line = String::from_utf8(line.to_vec()).unwrap();
            sink.lock().unwrap().push(line);
        });
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
        written.lock().unwrap().clone()
    }

    #[test]
    fn a_json_line_has_the_top_level_members_that_lambda_reads_then_the_fields() {
        let written = lines(Some("JSON"), None, || {
            let _span = invocation_span("request-1", None).entered();
            tracing::warn!(
                idMappingJobId = Some("job"),
                jobType = None::<&str>,
                targets = 2,
                dryRun = true,
                "it is \"said\"\nonce"
            );
        });
        let [line] = &written[..] else {
            panic!("{written:?}")
        };
        assert!(
            line.starts_with("{\"timestamp\":\"20") && line.ends_with("}\n"),
            "{line}"
        );
        assert_eq!(line.matches('\n').count(), 1);
        let value: Value = serde_json::from_str(line).unwrap();
        let time = value["timestamp"].as_str().unwrap();
        OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339).unwrap();
        let mut members = value.as_object().unwrap().clone();
        members.remove("timestamp");
        assert_eq!(
            Value::Object(members),
            serde_json::json!({
                "level": "WARN", "message": "it is \"said\" once", "requestId": "request-1",
                "idMappingJobId": "job", "targets": 2, "dryRun": true,
            })
        );
    }

    #[test]
    fn a_text_line_is_one_line() {
        let written = lines(None, None, || {
            let _span = invocation_span("request-1", None).entered();
            tracing::info!(outcome = "STARTED", message = "two\nlines");
        });
        let [line] = &written[..] else {
            panic!("{written:?}")
        };
        assert!(
            line.ends_with("Z INFO two lines requestId=\"request-1\" outcome=\"STARTED\"\n"),
            "{line}"
        );
    }

    #[test]
    fn lambda_sets_the_level() {
        let written = |level| {
            lines(None, level, || {
                tracing::trace!("");
                tracing::debug!("");
                tracing::info!("");
                tracing::warn!("");
                tracing::error!("");
            })
            .len()
        };
        for (level, count) in [
            ("TRACE", 5),
            ("DEBUG", 4),
            ("INFO", 3),
            ("WARN", 2),
            ("ERROR", 1),
            ("FATAL", 0),
            ("nonsense", 3),
        ] {
            assert_eq!(written(Some(level)), count, "{level}");
        }
        assert_eq!(written(None), 3);
    }

    #[test]
    fn the_request_id_is_logged_at_every_level() {
        let written = lines(Some("JSON"), Some("ERROR"), || {
            let _span = invocation_span("request-1", None).entered();
            tracing::error!("");
        });
        assert!(
            written[0].contains(r#""requestId":"request-1""#),
            "{written:?}"
        );
    }

    #[test]
    fn the_trace_id_follows_the_request_id() {
        let written = lines(Some("JSON"), None, || {
            let _span =
                invocation_span("request-1", Some("1-5759e988-bd862e3fe1be46a994272793")).entered();
            tracing::info!(outcome = "STARTED", "");
        });
        let expected = r#""requestId":"request-1","traceId":"1-5759e988-bd862e3fe1be46a994272793","outcome":"STARTED"}"#;
        assert!(written[0].trim_end().ends_with(expected), "{written:?}");
    }

    #[test]
    fn of_the_libraries_only_errors_are_logged_and_no_failure_twice() {
        let written = lines(None, Some("TRACE"), || {
            tracing::info!(target: "aws_smithy_runtime", "body: secret");
            tracing::trace!(target: "lambda_runtime", "body: secret");
            tracing::error!(target: "lambda_runtime::layers::panic", "the failure again");
            tracing::warn!(target: "hyper", "a warning");
            tracing::error!(target: "hyper", "an error");
        });
        assert_eq!(written.len(), 1);
        assert!(written[0].ends_with("ERROR an error\n"), "{written:?}");
    }
}
