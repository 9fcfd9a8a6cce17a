//! The page: a report as HTML for a custom widget of a CloudWatch dashboard.
//!
//! A widget may have `<style>` and SVG, and no script. `maud` escapes every value. The page is at most [`MAX_PAGE`] long:
//! what does not fit is left out, an element at a time, and counted.

use maud::{Markup, PreEscaped, html};

use super::chart::{self, chart};
use super::problems::problems;
use super::report::Report;
use super::rows::{Layout, rows};
use super::style::style;
use super::text::Times;
use crate::outcome::{Outcome, OutcomeKind};
use crate::view::{Theme, Widget};

/// The longest page, in bytes. A dashboard takes more; a page that long would help nobody.
const MAX_PAGE: usize = 64 * 1_024;

/// The room that is kept for what follows the chart, in bytes.
const FOOTER: usize = 1_500;

/// Below this width, in pixels, the next full refresh has no column of its own.
const NARROW: u16 = 760;

/// The functions of a page, by their ARNs.
#[derive(Clone, Copy)]
pub struct Functions<'a> {
    /// The one that was asked: the checks are of its role.
    pub asked: &'a str,
    /// The one that starts jobs, which the buttons invoke. `None` if there are no buttons.
    pub started_by: Option<&'a str>,
}

/// Renders a report.
pub fn page(report: &Report, widget: Widget, functions: Functions<'_>) -> String {
    let times = Times {
        offset: widget.offset,
        now: report.generated_at.0,
    };
    let layout = Layout {
        times,
        function_arn: functions.started_by,
        is_narrow: widget.width < NARROW,
    };
    let head = head(widget);
    let problems = problems(report, times, functions.asked);
    let above = head.0.len() + problems.0.len() + FOOTER;
    let rows_room = MAX_PAGE.saturating_sub(above + chart::room_for(report));
    let rows = rows(report, layout, rows_room);
    let chart_room = MAX_PAGE.saturating_sub(above + rows.0.len());
    let chart = chart(report, widget, times, chart_room);
    let page = html! {
        div.idm.light[widget.theme == Theme::Light].dark[widget.theme == Theme::Dark] {
            (head)
            (problems)
            (rows)
            (chart)
            p.foot { (footer(report, times)) }
        }
    };
    page.into_string()
}

/// Renders what a button's request came to.
pub fn answer(outcomes: &[Outcome], widget: Widget) -> String {
    let page = html! {
        div.idm.light[widget.theme == Theme::Light].dark[widget.theme == Theme::Dark] {
            (head(widget))
            @for outcome in outcomes {
                p { b { (outcome.outcome.as_str()) } " " (in_words(outcome)) }
            }
            p.m { "Refresh the widget before you press a button again: the same button is the same request." }
        }
    };
    page.into_string()
}

fn head(widget: Widget) -> Markup {
    html! { style { (PreEscaped(style(widget.theme))) } }
}

fn in_words(outcome: &Outcome) -> String {
    let job = outcome.job.as_ref().map_or("", |job| job.as_str());
    match (outcome.outcome, &outcome.error) {
        (_, Some(error)) => error.message.clone(),
        (OutcomeKind::Started, None) => format!("job {job} is started"),
        (OutcomeKind::Covered, None) => {
            format!("job {job} was started for this request already, or covers it")
        }
        (_, None) => String::new(),
    }
}

fn footer(report: &Report, times: Times) -> String {
    let queues = [
        ("waiting queue", &report.queues.waiting),
        ("dead-letter queue", &report.queues.dead_letter),
    ];
    let queues = queues.into_iter().filter_map(|(name, counts)| {
        let counts = counts.as_ref()?;
        let later = counts.in_flight + counts.delayed;
        Some(format!(
            "{name}: {} ready, {later} between two tries",
            counts.visible
        ))
    });
    let read = format!(
        "read {} ({}), kept for 60 s",
        times.at(report.generated_at.0),
        times.zone()
    );
    let version = format!("version {}", report.version);
    queues
        .chain([read, version])
        .collect::<Vec<_>>()
        .join(" · ")
}
