//! What all environment variables share.

use crate::error::{Error, ErrorType};

/// The error for a variable. The reason is the predicate of a sentence.
pub(super) fn invalid(name: &str, reason: &str) -> Error {
    Error::new(
        ErrorType::InvalidConfiguration,
        format!("environment variable {name} {reason}"),
    )
}

/// Returns the items of a list, with their numbers from 1.
pub(super) fn items<'l>(name: &str, list: &'l str) -> Result<Vec<(usize, &'l str)>, Error> {
    let item = |(number, item): (usize, &'l str)| match item.trim() {
        "" => Err(invalid(
            name,
            &format!("item {number} is empty: write a value, or remove the comma"),
        )),
        item => Ok((number, item)),
    };
    (1..).zip(list.split(',')).map(item).collect()
}
