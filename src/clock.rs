//! The clock, and the text form of a time.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;

/// How far the clocks of two execution environments may differ.
pub const CLOCK_DIFFERENCE: time::Duration = time::Duration::seconds(1);

/// Tells the current time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> OffsetDateTime + Send + Sync>);

impl Clock {
    /// Creates a clock that tells the system's time.
    pub fn system() -> Self {
        Self::new(OffsetDateTime::now_utc)
    }

    /// Creates a clock from a function, for tests and the local example.
    pub fn new(now: impl Fn() -> OffsetDateTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Returns the current time in whole milliseconds. Times are written with milliseconds, so a time does not change
    /// when it is written and read again.
    pub fn now(&self) -> OffsetDateTime {
        let now = (self.0)();
        now - time::Duration::nanoseconds(i64::from(now.nanosecond() % 1_000_000))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Formats a time as RFC 3339 in UTC with milliseconds. RFC 3339 has the years 0 to 9999.
pub fn timestamp(time: OffsetDateTime) -> String {
    let time = time.to_offset(time::UtcOffset::UTC);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, millisecond) = time.to_hms_milli();
    let month = u8::from(month);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

/// A time, which is written as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub OffsetDateTime);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&timestamp(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_milliseconds() {
        let at = |nanoseconds| {
            timestamp(OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap())
        };
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(1_795_399_203_120_999_999), "2026-11-23T02:00:03.120Z");
        let east =
            OffsetDateTime::UNIX_EPOCH.to_offset(time::UtcOffset::from_hms(5, 30, 0).unwrap());
        assert_eq!(timestamp(east), "1970-01-01T00:00:00.000Z");
    }
}
