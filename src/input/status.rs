//! Payloads that ask for a status report: `{"status": true}`, and what a CloudWatch dashboard sends to a custom widget.

use time::UtcOffset;

use super::members::rfc_3339;
use super::text::{Object, Raw};
use crate::view::{Theme, View, Widget};

/// The member that a dashboard adds to whatever it sends.
const CONTEXT: &str = "widgetContext";

/// The beginning of the `requestId` of a request by the widget's button.
pub const BUTTON: &str = "dashboard/";

/// Returns how the report is shown that a payload asks for. Returns `None` if it asks for something else, or if
/// it is refused.
pub(super) fn view(payload: &Object<'_>) -> Option<View> {
    if let Some(widget) = widget(payload) {
        return (!is_button(payload)).then_some(View::Widget(widget));
    }
    let asks = payload.get("status")?.0.boolean()?;
    let mut others = payload
        .known()
        .filter(|(name, _, is_null)| *name != "status" && !is_null);
    let is_alone =
        others.next().is_none() && payload.unknown.count == 0 && payload.repeated().is_empty();
    (asks && is_alone).then_some(View::Json)
}

/// The widget that a payload comes from. Returns `None` if it comes from none.
pub(super) fn widget(payload: &Object<'_>) -> Option<Widget> {
    let (context, _) = payload.get(CONTEXT)?;
    let default = Widget::default();
    let Some(context) = context.object() else {
        return Some(default);
    };
    let text = |name| context.get(name)?.0.string();
    let width = context.get("width").and_then(|(width, _)| number(width));
    let timezone = context.get("timezone");
    let timezone = timezone.and_then(|(timezone, _)| timezone.object());
    Some(Widget {
        theme: match text("theme").as_deref() {
            Some("dark") => Theme::Dark,
            _ => Theme::Light,
        },
        width: width.map_or(default.width, |width| {
            let bounds = (f64::from(Widget::MIN_WIDTH), f64::from(Widget::MAX_WIDTH));
            width.clamp(bounds.0, bounds.1) as u16
        }),
        offset: timezone
            .and_then(|zone| offset(&zone))
            .unwrap_or(default.offset),
    })
}

/// Returns whether a payload of a widget is the request of a button on a page. A dashboard adds its context to that too.
/// All else beside the context are the widget's parameters, which start nothing: a dashboard loads by itself.
fn is_button(payload: &Object<'_>) -> bool {
    const MEMBERS: [&str; 5] = [
        "membershipIdentifier",
        "idMappingTableIdentifier",
        "urgent",
        "requestId",
        CONTEXT,
    ];
    let text = |name| payload.get(name)?.0.string();
    let is_button_of = |table: String| {
        let id = text("requestId")?;
        let made_at = id.strip_prefix(BUTTON)?.strip_prefix(&table)?;
        rfc_3339(made_at.strip_prefix('/')?)
    };
    let table = text("idMappingTableIdentifier");
    payload
        .known()
        .all(|(name, _, is_null)| is_null || MEMBERS.contains(&name))
        && payload.unknown.count == 0
        && payload.repeated().is_empty()
        && payload
            .get("urgent")
            .and_then(|(urgent, _)| urgent.boolean())
            == Some(true)
        && table.and_then(is_button_of).is_some()
}

/// Reads a time zone's offset. AWS does not document the sign of `offsetInMinutes`; `offsetISO` has one.
fn offset(timezone: &Object<'_>) -> Option<UtcOffset> {
    let iso = timezone.get("offsetISO").and_then(|(iso, _)| iso.string());
    if let Some(offset) = iso.and_then(|iso| iso_offset(&iso)) {
        return Some(offset);
    }
    let minutes = number(timezone.get("offsetInMinutes")?.0)?;
    in_bounds(minutes as i32)
}

fn iso_offset(text: &str) -> Option<UtcOffset> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let number = |text: &str| -> Option<i32> {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok())?
    };
    let minutes = number(minutes).filter(|minutes| *minutes < 60)?;
    in_bounds(sign * (number(hours)? * 60 + minutes))
}

/// Time zones are at most 14 hours from UTC.
fn in_bounds(minutes: i32) -> Option<UtcOffset> {
    let is_near = (-14 * 60..=14 * 60).contains(&minutes);
    is_near.then(|| UtcOffset::from_whole_seconds(minutes * 60).ok())?
}

fn number(value: Raw<'_>) -> Option<f64> {
    serde_json::from_str(value.text()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(payload: &str) -> Option<View> {
        view(&Raw::read(payload).unwrap().object().unwrap())
    }

    fn shown(context: &str) -> Widget {
        let payload = format!(r#"{{"widgetContext": {context}}}"#);
        match asked(&payload) {
            Some(View::Widget(widget)) => widget,
            other => panic!("{context}: {other:?}"),
        }
    }

    #[test]
    fn status_must_be_alone() {
        for (payload, expected) in [
            (r#"{"status": true}"#, Some(View::Json)),
            (
                r#"{"status": true, "urgent": null, "_trace": 1}"#,
                Some(View::Json),
            ),
            (r#"{"status": false}"#, None),
            (r#"{"status": "true"}"#, None),
            (r#"{"status": null}"#, None),
            (r#"{"status": true, "dryRun": false}"#, None),
            (r#"{"status": true, "more": 1}"#, None),
            (r#"{"status": true, "status": true}"#, None),
            (
                r#"{"source": "a", "detail-type": "b", "status": true}"#,
                None,
            ),
        ] {
            assert_eq!(asked(payload), expected, "{payload}");
        }
    }

    #[test]
    fn a_widget_is_read_as_enums_and_bounded_numbers() {
        for context in [
            "{}",
            "1",
            "[]",
            r#"{"theme": 1, "width": "1", "timezone": []}"#,
        ] {
            assert_eq!(shown(context), Widget::default(), "{context}");
        }
        let all = r#"{"theme": "dark", "width": 588.5,
            "timezone": {"label": "x", "offsetISO": "-03:30", "offsetInMinutes": 210}}"#;
        let expected = Widget {
            theme: Theme::Dark,
            width: 588,
            offset: UtcOffset::from_hms(-3, -30, 0).unwrap(),
        };
        assert_eq!(shown(all), expected);
        for (width, expected) in [
            ("-5", 480),
            ("0", 480),
            ("1e300", 2_400),
            ("99999999", 2_400),
        ] {
            assert_eq!(
                shown(&format!(r#"{{"width": {width}}}"#)).width,
                expected,
                "{width}"
            );
        }
        for (zone, minutes) in [
            (r#"{"offsetInMinutes": 60}"#, 60),
            (r#"{"offsetISO": "+05:45"}"#, 345),
            (r#"{"offsetISO": "+99:00", "offsetInMinutes": -60}"#, -60),
            (r#"{"offsetISO": "+1:00"}"#, 0),
            (r#"{"offsetISO": "+05:75"}"#, 0),
            (r#"{"offsetISO": "+é1:0"}"#, 0),
            (r#"{"offsetInMinutes": 1e30}"#, 0),
        ] {
            let offset = shown(&format!(r#"{{"timezone": {zone}}}"#)).offset;
            assert_eq!(i32::from(offset.whole_minutes()), minutes, "{zone}");
        }
    }

    #[test]
    fn only_the_buttons_own_request_is_no_question_for_status() {
        const TABLE: &str = r#""idMappingTableIdentifier": "t", "membershipIdentifier": "m""#;
        let with = |members: &str| asked(&format!(r#"{{"widgetContext": {{}}, {members}}}"#));
        let button = |id: &str| format!(r#"{TABLE}, "urgent": true, "requestId": "{id}""#);
        for id in [
            "dashboard/t/2026-11-23T02:00:00Z",
            "dashboard/t/2026-11-22T02:00:00.000Z",
        ] {
            assert_eq!(with(&button(id)), None, "{id}");
        }
        let pressed = button("dashboard/t/2026-11-23T01:00:00Z");
        for members in [
            TABLE.to_owned(),
            pressed.replace("true", "false"),
            pressed.replace(TABLE, r#""idMappingTableArn": "arn""#),
            pressed.clone() + r#", "jobType": "BATCH""#,
            pressed.clone() + r#", "dryRun": true"#,
            pressed.clone() + r#", "other": 1"#,
            pressed.clone() + r#", "urgent": true"#,
            pressed.clone() + r#", "source": "a", "detail-type": "b""#,
            button("dashboard/t/now"),
            button("dashboard/u/2026-11-23T01:00:00Z"),
            button("dashboard/t"),
            button("dashboard/"),
            button("other"),
            r#""status": false"#.to_owned(),
            r#""Records": []"#.to_owned(),
        ] {
            assert!(with(&members).is_some(), "{members}");
        }
    }
}
