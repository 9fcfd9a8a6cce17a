//! The faults of a payload. All of them are found before the payload is refused, so that a person fixes it once.

use super::text::{Kind, MAX_LISTED, Path};
use crate::error::{Error, ErrorType};

/// The faults that were found.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Each with what sorts it.
    listed: Vec<(Vec<usize>, String)>,
    /// How many more there are.
    more: usize,
}

/// The most faults that are kept. Those of a few members are found after others that come later in the payload.
const MAX_KEPT: usize = 256;

impl Faults {
    /// Adds a fault: the place, and the predicate of a sentence about it.
    pub(super) fn add(&mut self, path: Path<'_>, fault: impl AsRef<str>) {
        self.add_in_order(path.order(), path, fault.as_ref());
    }

    /// Adds a fault of a member that explains the faults of the object's other members. It is listed before them.
    pub(super) fn add_first(&mut self, object: Path<'_>, member: Path<'_>, fault: impl AsRef<str>) {
        self.add_in_order(object.order(), member, fault.as_ref());
    }

    /// Adds a fault of an object as a whole. It is listed after the faults of its members.
    pub(super) fn add_last(&mut self, object: Path<'_>, fault: impl AsRef<str>) {
        self.add_in_order(object.missing("").order(), object, fault.as_ref());
    }

    fn add_in_order(&mut self, order: Vec<usize>, path: Path<'_>, fault: &str) {
        if self.listed.len() < MAX_KEPT {
            self.listed.push((order, format!("{path} {fault}")));
        } else {
            self.more += 1;
        }
    }

    /// Counts faults that are of a kind with those that were added.
    pub(super) fn add_more(&mut self, count: usize) {
        self.more += count;
    }

    /// Adds that a value must be of another kind.
    pub(super) fn add_kind(&mut self, path: Path<'_>, kind: Kind, remedy: &str) {
        self.add(path, format!("is {kind}: {remedy}"));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// Returns the error for the faults, in the order of the payload. Returns `None` if there are none.
    pub(super) fn into_error(mut self) -> Option<Error> {
        if self.is_empty() {
            return None;
        }
        self.listed.sort();
        let count = self.listed.len() + self.more;
        let listed: Vec<String> = self.listed.into_iter().map(|(_, fault)| fault).collect();
        let first = listed
            .get(..listed.len().min(MAX_LISTED))
            .unwrap_or_default();
        let more = match count - first.len() {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let message = format!("the payload is refused: {}{more}", first.join("; "));
        Some(Error::new(ErrorType::InvalidRequest, message))
    }
}

/// Refuses a payload for one fault, which hides all others.
pub(super) fn refused(path: Path<'_>, fault: impl AsRef<str>) -> Error {
    let message = format!("the payload is refused: {path} {}", fault.as_ref());
    Error::new(ErrorType::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ten_faults_are_listed_in_the_order_of_the_payload() {
        let root = Path::Root;
        let mut faults = Faults::default();
        assert!(faults.is_empty());
        for place in (0..12).rev() {
            faults.add(root.member("a", place), format!("is {place}"));
        }
        faults.add_more(3);
        let message = faults.into_error().unwrap().message;
        assert!(
            message.starts_with("the payload is refused: $.a is 0; $.a is 1; "),
            "{message}"
        );
        assert!(message.ends_with("; $.a is 9; and 5 more"), "{message}");
        assert!(Faults::default().into_error().is_none());
    }
}
