//! Durations as the settings write them.

use std::fmt;
use std::time::Duration;

/// A duration, with the text from which it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// The duration.
    pub duration: Duration,
    text: String,
}

impl Period {
    /// Parses a text of the form `^[1-9][0-9]*[smhd]$`. Returns `None` if the text has another form. A number that is
    /// too large becomes the longest duration.
    pub fn parse(text: &str) -> Option<Self> {
        let unit = match text.as_bytes().last()? {
            b's' => 1,
            b'm' => 60,
            b'h' => 60 * 60,
            b'd' => 24 * 60 * 60,
            _ => return None,
        };
        let number = text.get(..text.len() - 1)?;
        if number.is_empty()
            || number.starts_with('0')
            || !number.bytes().all(|byte| byte.is_ascii_digit())
        {
            return None;
        }
        let number: u64 = number.parse().unwrap_or(u64::MAX);
        Some(Self {
            duration: Duration::from_secs(number.saturating_mul(unit)),
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
