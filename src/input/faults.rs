//! The faults of a payload. All of them are found before the payload is refused, so that a person fixes it once.

use std::collections::BinaryHeap;

use super::text::{MAX_LISTED, Path};
use crate::error::{Error, ErrorType};

/// The faults that were found.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// The first ones in the order of the payload, each after what sorts it.
    first: BinaryHeap<(Vec<usize>, String)>,
    /// How many more there are.
    more: usize,
}

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
        self.first.push((order, format!("{path} {fault}")));
        if self.first.len() > MAX_LISTED {
            self.first.pop();
            self.more += 1;
        }
    }

    /// Counts further faults of the same kind, without listing them.
    pub(super) fn add_more(&mut self, count: usize) {
        self.more += count;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Returns the error for the faults, in the order of the payload. Returns `None` if there are none.
    pub(super) fn into_error(self) -> Option<Error> {
        if self.is_empty() {
            return None;
        }
        let listed = self.first.into_sorted_vec().into_iter();
        let listed: Vec<String> = listed.map(|(_, fault)| fault).collect();
        let more = match self.more {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let message = format!("the payload is refused: {}{more}", listed.join("; "));
        Some(Error::new(ErrorType::InvalidRequest, message))
    }

    /// Returns a value, or the error for the faults if there are any.
    pub(super) fn or<T>(self, value: T) -> Result<T, Error> {
        self.into_error().map_or(Ok(value), Err)
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
        let mut faults = Faults::default();
        for place in 0..300 {
            faults.add(root.member("a", place), "is wrong");
        }
        let message = faults.into_error().unwrap().message;
        assert!(message.ends_with("; and 290 more"), "{message}");
    }
}
