//! Reads the members of objects, and finds their faults. A member that is missing, `null` or wrong is `None`: a wrong one
//! has added its fault, and the payload is refused in the end.

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::delivery::Arrival;
use super::faults::Faults;
use super::text::{Object, Path};
use crate::config::MAX_TARGETS;
use crate::error::Error;
use crate::target::{TableArn, Target};

/// The largest number of characters (code points) of an id that a request may have.
pub(super) const MAX_ID: usize = 4_096;

/// The most items of a list, and records of a batch.
pub(super) const MAX_ITEMS: usize = 10_000;

/// Returns whether a text may be a request's or a message's id.
pub(super) fn is_id(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.chars().count())
}

/// An object with its place in the payload.
#[derive(Clone, Copy)]
pub(super) struct Placed<'a, 't> {
    pub(super) object: &'a Object<'t>,
    pub(super) path: Path<'a>,
}

impl<'a, 't> Placed<'a, 't> {
    /// Returns the place of a member, which may be missing.
    pub(super) fn path_of<'b>(&'b self, name: &'b str) -> Path<'b> {
        match self.object.get(name) {
            Some((_, place)) => self.path.member(name, place),
            None => self.path.missing(name),
        }
    }

    /// Reads a string. The remedy says what to write.
    pub(super) fn string(&self, name: &str, remedy: &str, faults: &mut Faults) -> Option<String> {
        let (value, _) = self.object.get(name)?;
        let text = value.string();
        if text.is_none() {
            faults.add(self.path_of(name), format!("must be a string: {remedy}"));
        }
        text
    }

    /// Reads a string that must be there.
    pub(super) fn required_string(
        &self,
        name: &str,
        remedy: &str,
        faults: &mut Faults,
    ) -> Option<String> {
        let text = self.object.get(name).and_then(|(value, _)| value.string());
        if text.is_none() {
            faults.add(self.path_of(name), format!("must be a string: {remedy}"));
        }
        text
    }

    /// Reads a string in which an empty one counts as absent: an input transformer writes it for a path that is not
    /// there.
    pub(super) fn text(&self, name: &str, remedy: &str, faults: &mut Faults) -> Option<String> {
        self.string(name, remedy, faults)
            .filter(|text| !text.is_empty())
    }

    /// Reads a string of an event's envelope. Outcome events repeat it, so its length is limited.
    pub(super) fn short(&self, name: &str, most: usize, faults: &mut Faults) -> Option<String> {
        let (value, _) = self.object.get(name)?;
        let text = value.string().filter(|text| text.chars().count() <= most);
        if text.is_none() {
            let fault = format!(
                "must be a string of at most {most} characters: send the event as EventBridge delivers it"
            );
            faults.add(self.path_of(name), fault);
        }
        text
    }

    /// Reads an RFC 3339 time.
    pub(super) fn time(&self, name: &str, faults: &mut Faults) -> Option<OffsetDateTime> {
        const REMEDY: &str = "write an RFC 3339 time such as 2026-11-23T02:00:00Z";
        let text = self.text(name, REMEDY, faults)?;
        let time = rfc_3339(&text);
        if time.is_none() {
            faults.add(
                self.path_of(name),
                "is not an RFC 3339 time: write one such as 2026-11-23T02:00:00Z",
            );
        }
        time
    }

    /// Reads a boolean. It is false if it is missing.
    pub(super) fn flag(&self, name: &str, faults: &mut Faults) -> bool {
        let Some((value, _)) = self.object.get(name) else {
            return false;
        };
        value.boolean().unwrap_or_else(|| {
            faults.add(self.path_of(name), "must be a boolean: write true or false");
            false
        })
    }

    /// Reads an object. The remedy says what to write.
    pub(super) fn object(
        &self,
        name: &str,
        remedy: &str,
        faults: &mut Faults,
    ) -> Option<Object<'t>> {
        let (value, _) = self.object.get(name)?;
        let object = value.object();
        if object.is_none() {
            faults.add(self.path_of(name), format!("must be an object: {remedy}"));
        }
        object
    }

    /// Refuses an object in which one of these members comes twice.
    pub(super) fn refuse_repeated(&self, ours: &[&str]) -> Result<(), Error> {
        let mut faults = Faults::default();
        self.check_repeated(ours, &mut faults);
        faults.or(())
    }

    /// Adds a fault for each of these members that comes twice: somebody else may have read the other one.
    pub(super) fn check_repeated(&self, ours: &[&str], faults: &mut Faults) {
        for (name, place) in self.object.repeated() {
            if ours.contains(name) {
                let path = self.path.member(name, *place);
                faults.add(path, "appears twice: write it once");
            }
        }
    }
}

/// Checks how many items a list has.
pub(super) fn check_item_count(count: usize, path: Path<'_>, faults: &mut Faults) {
    if count > MAX_ITEMS {
        let fault =
            format!("has {count} items and may have {MAX_ITEMS}: send them in several payloads");
        faults.add(path, fault);
    }
}

/// Checks how many tables are named.
pub(super) fn check_target_count(targets: usize, path: Path<'_>, faults: &mut Faults) {
    if targets > MAX_TARGETS {
        faults.add(
            path,
            format!(
                "names {targets} ID mapping tables and may name {MAX_TARGETS}: split it into several requests"
            ),
        );
    }
}

/// Reads the ARN of an ID mapping table in the function's own account and Region.
pub(super) fn table_arn(
    text: &str,
    path: Path<'_>,
    arrival: &Arrival<'_>,
    faults: &mut Faults,
) -> Option<Target> {
    let checked = TableArn::parse(text).and_then(|arn| {
        arrival.location.check(&arn)?;
        arrival.settings.allowed.check_table(&arn.target)?;
        Ok(arn.target)
    });
    checked.map_err(|fault| faults.add(path, fault)).ok()
}

/// Reads an RFC 3339 time whose UTC form has a year of four digits.
pub(super) fn rfc_3339(text: &str) -> Option<OffsetDateTime> {
    // The parser accepts any character between date and time.
    let separated = matches!(text.as_bytes().get(10), Some(b'T' | b't'));
    // In UTC the year may be one that RFC 3339 cannot write.
    let writable = |time: &OffsetDateTime| {
        let utc = time.checked_to_offset(UtcOffset::UTC);
        utc.is_some_and(|utc| (0..=9_999).contains(&utc.year()))
    };
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .filter(|time| separated && writable(time))
}
