//! `SETTINGS`: several settings in one environment variable. A CloudFormation template has too few parameters for each of
//! them.

use super::variable::invalid;
use crate::error::Error;

const NAME: &str = "SETTINGS";

/// The settings that may be written there.
const NAMES: [&str; 8] = [
    "ALLOWED_JOB_TYPES",
    "ALLOW_OTHER_TABLES",
    "DEFAULT_JOB_TYPE",
    "FULL_REFRESH_EVERY",
    "MAX_JOB_ATTEMPTS",
    "MAX_WAIT",
    "MIN_INTERVAL",
    "SETTLE_TIME",
];

/// The settings in `SETTINGS`, each with its name.
#[derive(Debug, Default)]
pub(super) struct Further(Vec<(String, String)>);

impl Further {
    /// Reads `SETTINGS`: `NAME=value`, separated by blanks.
    pub(super) fn read(text: &str) -> Result<Self, Error> {
        let mut settings: Vec<(String, String)> = Vec::new();
        for (number, item) in (1..).zip(text.split_whitespace()) {
            let fault = |reason: &str| invalid(NAME, &format!("item {number} {reason}"));
            let (name, value) = item
                .split_once('=')
                .filter(|(_, value)| !value.is_empty())
                .ok_or_else(|| {
                    fault("is not a setting: write one such as FULL_REFRESH_EVERY=156h")
                })?;
            if !NAMES.contains(&name) {
                let reason = format!(
                    "has another name than {}: write one of them",
                    NAMES.join(", ")
                );
                return Err(fault(&reason));
            }
            if settings.iter().any(|(other, _)| other == name) {
                return Err(fault(&format!("sets {name} again: remove one of the two")));
            }
            settings.push((name.to_owned(), value.to_owned()));
        }
        Ok(Self(settings))
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        let setting = self.0.iter().find(|(of, _)| of == name);
        setting.map(|(_, value)| value.clone())
    }
}
