//! JSON text: how deeply it is nested, and the path of a value in it.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

/// The deepest nesting of a payload (docs/reference.md#refused-payloads).
pub(super) const MAX_NESTING: usize = 128;

/// How many levels may enclose a payload of the deepest nesting. Each failure-destination record adds one level. A
/// payload that was accepted once must be accepted again when it comes from the dead-letter queue.
const MAX_WRAPPING: usize = 8;

/// Parses a text. The error is the predicate of a sentence: the text is nested too deeply, or is not valid JSON.
///
/// The nesting is measured on the text, before the parser or a destructor recurses into it.
pub(super) fn read(text: &str) -> Result<Value, String> {
    if nesting_of_text(text) > MAX_NESTING + MAX_WRAPPING {
        return Err(too_deep());
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.disable_recursion_limit();
    Value::deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| format!("is not valid JSON: {error}"))
}

/// Checks the nesting of a payload without the records around it. The error is the predicate of a sentence.
pub(super) fn check_nesting(members: &Map<String, Value>) -> Result<(), String> {
    if nesting_of_members(members) > MAX_NESTING {
        Err(too_deep())
    } else {
        Ok(())
    }
}

fn too_deep() -> String {
    format!("is nested deeper than {MAX_NESTING} levels: send a flatter payload")
}

/// Returns the largest number of brackets outside strings that are open at once. For a text that is not JSON the number
/// means nothing, and the parser refuses the text.
fn nesting_of_text(text: &str) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                open += 1;
                deepest = deepest.max(open);
            }
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Returns the nesting of a parsed value. [`read`] has limited it, so the recursion is safe.
fn nesting_of_value(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(nesting_of_value).max().unwrap_or(0),
        Value::Object(members) => nesting_of_members(members),
        _ => 0,
    }
}

fn nesting_of_members(members: &Map<String, Value>) -> usize {
    1 + members.values().map(nesting_of_value).max().unwrap_or(0)
}

/// The place of a value in a payload. It is displayed as a JSONPath (RFC 9535). A string that contains JSON (an SQS
/// body, a string `detail`) is treated like an object.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    /// The payload.
    Root,
    /// A member of an object.
    Member(&'a Path<'a>, &'a str),
    /// An item of a list.
    Item(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    pub(super) fn member(&'a self, name: &'a str) -> Self {
        Self::Member(self, name)
    }

    pub(super) fn item(&'a self, index: usize) -> Self {
        Self::Item(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("$"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
            Self::Member(parent, name) if is_plain(name) => write!(f, "{parent}.{name}"),
            Self::Member(parent, name) => {
                // A name from a payload may have any length and any characters, so it is cut and escaped.
                let shown: String = name.chars().take(64).collect();
                let more = if shown.len() < name.len() { "…" } else { "" };
                write!(f, "{parent}['{}{more}']", shown.escape_debug())
            }
        }
    }
}

fn is_plain(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> String {
        let lists = levels - 1;
        format!("{{\"a\":{}1{}}}", "[".repeat(lists), "]".repeat(lists))
    }

    #[test]
    fn nesting_is_refused_above_the_bound_and_not_below() {
        for levels in [1, 2, 127, 128, 129, 136] {
            let value = read(&nested(levels)).unwrap();
            assert_eq!(nesting_of_value(&value), levels);
            assert_eq!(
                check_nesting(value.as_object().unwrap()).is_ok(),
                levels <= 128,
                "{levels}"
            );
        }
        assert!(read(&nested(137)).unwrap_err().contains("deeper than 128"));
        assert!(
            read(&"[".repeat(3_000_000))
                .unwrap_err()
                .contains("deeper than 128")
        );
    }

    #[test]
    fn brackets_in_strings_do_not_nest() {
        let text = format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(500), "{".repeat(500));
        assert_eq!(nesting_of_text(&text), 1);
        assert!(read(&text).is_ok());
    }

    #[test]
    fn the_error_for_invalid_json_names_the_place() {
        for text in ["", "{", "{\"a\":}", "{} {}", "\"\\ud800\"", "1e999"] {
            assert!(
                read(text).unwrap_err().starts_with("is not valid JSON: "),
                "{text}"
            );
        }
    }

    #[test]
    fn paths_read_like_json_path() {
        let root = Path::Root;
        let detail = root.member("detail");
        let targets = detail.member("targets");
        assert_eq!(
            targets.item(2).member("jobType").to_string(),
            "$.detail.targets[2].jobType"
        );
        assert_eq!(root.member("detail-type").to_string(), "$['detail-type']");
        assert_eq!(root.member("").to_string(), "$['']");
        assert_eq!(root.member("a'\n").to_string(), "$['a\\'\\n']");
        let long = "x".repeat(1000);
        assert!(root.member(&long).to_string().len() < 80);
    }
}
