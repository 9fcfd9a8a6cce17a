//! Times and names as the page writes them.

use maud::{Markup, PreEscaped};
use time::{Date, Duration, OffsetDateTime, UtcOffset, Weekday};

use crate::printable;

/// Writes times in the dashboard's time zone.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) offset: UtcOffset,
    pub(super) now: OffsetDateTime,
}

impl Times {
    /// A time, such as "today 03:36" or "Wed 25 Nov 03:36".
    pub(super) fn at(self, time: OffsetDateTime) -> String {
        let local = time.to_offset(self.offset);
        let today = self.now.to_offset(self.offset).date();
        let day = match (today - local.date()).whole_days() {
            0 => "today".to_owned(),
            1 => "yesterday".to_owned(),
            -1 => "tomorrow".to_owned(),
            // Without the year it would be taken for a near day.
            days if days.abs() > 180 => format!("{} {}", day(local.date()), local.year()),
            _ => day(local.date()),
        };
        format!("{day} {:02}:{:02}", local.hour(), local.minute())
    }

    /// How long ago a time is, such as "2 h 42 min ago".
    pub(super) fn ago(self, time: OffsetDateTime) -> String {
        format!("{} ago", duration(self.now - time))
    }

    /// The time zone, such as "UTC+01:00".
    pub(super) fn zone(self) -> String {
        let (hours, minutes, _) = self.offset.as_hms();
        let sign = if hours < 0 || minutes < 0 { '-' } else { '+' };
        let (hours, minutes) = (hours.unsigned_abs(), minutes.unsigned_abs());
        format!("UTC{sign}{hours:02}:{minutes:02}")
    }
}

/// A day, such as "Wed 25 Nov".
pub(super) fn day(date: Date) -> String {
    format!(
        "{} {}",
        short_day(date),
        date.month().to_string().chars().take(3).collect::<String>()
    )
}

/// A day, such as "Wed 25".
pub(super) fn short_day(date: Date) -> String {
    let weekday = match date.weekday() {
        Weekday::Monday => "Mon",
        Weekday::Tuesday => "Tue",
        Weekday::Wednesday => "Wed",
        Weekday::Thursday => "Thu",
        Weekday::Friday => "Fri",
        Weekday::Saturday => "Sat",
        Weekday::Sunday => "Sun",
    };
    format!("{weekday} {}", date.day())
}

/// A duration in units that a person compares, such as "50 min", "3 h 12 min", "28 h", "9 days".
pub(super) fn duration(duration: Duration) -> String {
    let minutes = duration.whole_minutes().max(0);
    match (minutes / 60, minutes % 60) {
        (0, 0) => "less than 1 min".to_owned(),
        (0, minutes) => format!("{minutes} min"),
        (hours @ 1..12, 0) => format!("{hours} h"),
        (hours @ 1..12, minutes) => format!("{hours} h {minutes} min"),
        (hours @ 12..72, _) => format!("{hours} h"),
        (hours, _) => format!("{} days", hours / 24),
    }
}

/// A text of at most this many columns. Characters beyond ASCII count as two.
pub(super) fn fitted(text: &str, columns: usize) -> String {
    let text = printable::escaped(text);
    let width = |character: char| if character.is_ascii() { 1 } else { 2 };
    if text.chars().map(width).sum::<usize>() <= columns {
        return text.into_owned();
    }
    let mut room = columns.saturating_sub(1);
    let fits = |character: &char| {
        let width = width(*character);
        let fits = width <= room;
        room = room.saturating_sub(width);
        fits
    };
    let mut fitted: String = text.chars().take_while(fits).collect();
    fitted.push('…');
    fitted
}

/// Takes elements as long as they fit. Returns them, and how many are left out.
pub(super) fn fitting(elements: impl Iterator<Item = Markup>, room: usize) -> (Markup, usize) {
    let (mut all, mut left_out) = (String::new(), 0);
    for element in elements {
        match all.len() + element.0.len() <= room && left_out == 0 {
            true => all.push_str(&element.0),
            false => left_out += 1,
        }
    }
    (PreEscaped(all), left_out)
}

#[cfg(test)]
mod tests {
    use time::macros::{datetime, offset};

    use super::*;

    #[test]
    fn times_are_written_in_the_zone_of_the_dashboard() {
        let times = Times {
            offset: offset!(+01:30),
            now: datetime!(2026-11-26 08:40 UTC),
        };
        for (time, expected) in [
            (datetime!(2026-11-26 08:39 UTC), "today 10:09"),
            (datetime!(2026-11-25 22:30 UTC), "today 00:00"),
            (datetime!(2026-11-25 22:29 UTC), "yesterday 23:59"),
            (datetime!(2026-11-24 01:00 UTC), "Tue 24 Nov 02:30"),
            (datetime!(2026-11-27 01:00 UTC), "tomorrow 02:30"),
            (datetime!(2027-11-24 01:00 UTC), "Wed 24 Nov 2027 02:30"),
        ] {
            assert_eq!(times.at(time), expected);
        }
        assert_eq!(times.zone(), "UTC+01:30");
        let west = Times {
            offset: offset!(-00:30),
            ..times
        };
        assert_eq!(west.zone(), "UTC-00:30");
        assert_eq!(times.ago(datetime!(2026-11-26 05:58 UTC)), "2 h 42 min ago");
    }

    #[test]
    fn durations_have_the_units_that_a_person_compares() {
        for (minutes, expected) in [
            (-5, "less than 1 min"),
            (0, "less than 1 min"),
            (59, "59 min"),
            (60, "1 h"),
            (192, "3 h 12 min"),
            (719, "11 h 59 min"),
            (720, "12 h"),
            (28 * 60 + 5, "28 h"),
            (72 * 60, "3 days"),
        ] {
            assert_eq!(duration(Duration::minutes(minutes)), expected);
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        for (text, columns, expected) in [
            ("table", 5, "table"),
            ("tables", 5, "tabl…"),
            ("顧客表", 6, "顧客表"),
            ("顧客表一", 6, "顧客…"),
            ("a\u{202e}b", 20, "a\\u{202e}b"),
        ] {
            assert_eq!(fitted(text, columns), expected);
        }
    }
}
