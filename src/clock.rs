//! The time: where it comes from, and how it is written.

use std::fmt;
use std::sync::Arc;

use time::OffsetDateTime;

/// How far the clocks of two execution environments may differ.
pub const CLOCK_DIFFERENCE: time::Duration = time::Duration::seconds(1);

/// Tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> OffsetDateTime + Send + Sync>);

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::new(OffsetDateTime::now_utc)
    }

    /// A clock of one's own.
    pub fn new(now: impl Fn() -> OffsetDateTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// In whole milliseconds, as moments are written: one that was written and read is the same.
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

/// RFC 3339 in UTC with milliseconds, of the years that it can write: 0 to 9999.
pub fn timestamp(time: OffsetDateTime) -> String {
    let time = time.to_offset(time::UtcOffset::UTC);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, millisecond) = time.to_hms_milli();
    let mut text = String::with_capacity(24);
    for (number, digits, end) in [
        (year.unsigned_abs(), 4, '-'),
        (u8::from(month).into(), 2, '-'),
        (day.into(), 2, 'T'),
        (hour.into(), 2, ':'),
        (minute.into(), 2, ':'),
        (second.into(), 2, '.'),
        (millisecond.into(), 3, 'Z'),
    ] {
        let digit = |place| char::from_digit(number / 10_u32.pow(place) % 10, 10);
        text.extend((0..digits).rev().filter_map(digit));
        text.push(end);
    }
    text
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
