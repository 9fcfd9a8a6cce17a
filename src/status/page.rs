//! The page: a report as HTML for a custom widget of a CloudWatch dashboard.
//!
//! A widget may have `<style>` and SVG, and no script. `maud` escapes every value. The page is at most [`MAX_PAGE`] long:
//! what does not fit is left out, an element at a time, and counted.

use maud::{Markup, PreEscaped, html};
use serde::Serialize;

use super::chart;
use super::checks::{Check, statement};
use super::jobs::TableJob;
use super::report::{Report, TableStatus, WaiterStatus};
use super::style::style;
use super::text::{Times, duration, fitted, fitting};
use crate::choice::Mapping;
use crate::clock::timestamp;
use crate::input::BUTTON;
use crate::job::JobState;
use crate::job_type::JobType;
use crate::outcome::{Outcome, OutcomeKind};
use crate::target::Target;
use crate::view::{Theme, Widget};

/// The longest page, in bytes. A dashboard takes more; a page that long would help nobody.
const MAX_PAGE: usize = 64 * 1_024;

/// The most bytes of the checks that failed.
const MAX_PROBLEMS: usize = 10_000;

/// The room that is kept for what follows the rows, and for what follows the chart, in bytes.
const CHART: usize = 34_000;
const FOOTER: usize = 1_500;

/// Below this width, in pixels, the next full refresh has no column of its own.
const NARROW: u16 = 760;

/// How rows are rendered.
#[derive(Clone, Copy)]
struct Layout<'a> {
    times: Times,
    /// The function that the buttons invoke. `None` if there are no buttons.
    function_arn: Option<&'a str>,
    is_narrow: bool,
}

/// Renders a report. The buttons invoke the function with this ARN; without one there are no buttons.
pub fn page(report: &Report, widget: Widget, function_arn: Option<&str>) -> String {
    let times = Times {
        offset: widget.offset,
        now: report.generated_at.0,
    };
    let head = html! { style { (PreEscaped(style(widget.theme))) } };
    let problems = problems(report);
    let layout = Layout {
        times,
        function_arn,
        is_narrow: widget.width < NARROW,
    };
    let chart_room = if report.jobs.is_empty() {
        FOOTER
    } else {
        CHART
    };
    let used = head.0.len() + problems.0.len() + chart_room + FOOTER;
    let rows = rows(report, layout, MAX_PAGE.saturating_sub(used));
    let used = head.0.len() + problems.0.len() + rows.0.len() + FOOTER;
    let chart = chart::chart(report, widget, times, MAX_PAGE.saturating_sub(used));
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
            style { (PreEscaped(style(widget.theme))) }
            @for outcome in outcomes {
                p { b { (outcome.outcome.as_str()) } " " (in_words(outcome)) }
            }
            p.m { "Refresh the widget before you press a button again: the same button is the same request." }
        }
    };
    page.into_string()
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

/// What is wrong, and how to fix it.
fn problems(report: &Report) -> Markup {
    let failed = || report.checks.iter().filter(|check| check.ok == Some(false));
    let count = failed().count();
    let problems = problems_of(failed());
    let elements = problems.iter().map(|problem| element(problem, report));
    let (shown, left_out) = fitting(elements, MAX_PROBLEMS);
    html! {
        @if count > 0 {
            p.h { b { (count) @if count == 1 { " check failed." } @else { " checks failed." } } }
            ul.p {
                (shown)
                @if left_out > 0 {
                    li { (left_out) " more: ask for status as JSON" }
                }
            }
        }
    }
}

/// Checks that failed for the same reason: one, or all that lack the same permission.
struct Problem<'r> {
    first: &'r Check,
    others: usize,
    resources: Vec<String>,
}

fn problems_of<'r>(failed: impl Iterator<Item = &'r Check>) -> Vec<Problem<'r>> {
    let mut problems: Vec<Problem<'_>> = Vec::new();
    for check in failed {
        let action = |check: &Check| Some((check.name, check.missing.as_ref()?.action));
        let same = problems.iter_mut().find(|problem| {
            action(problem.first).is_some() && action(problem.first) == action(check)
        });
        let missing = check.missing.iter().flat_map(|missing| &missing.resources);
        match same {
            Some(problem) => {
                problem.others += 1;
                for resource in missing {
                    if !problem.resources.contains(resource) {
                        problem.resources.push(resource.clone());
                    }
                }
            }
            None => problems.push(Problem {
                first: check,
                others: 0,
                resources: missing.cloned().collect(),
            }),
        }
    }
    problems
}

fn element(problem: &Problem<'_>, report: &Report) -> Markup {
    let Check {
        name,
        subject,
        message,
        remedy,
        missing,
        ..
    } = problem.first;
    let mut tables = report.tables.iter();
    let of_table = tables.find(|table| table.id_mapping_table_arn == *subject);
    let subject = of_table.map_or(subject.clone(), shown_name);
    html! {
        li {
            (name) " of " b { (fitted(&subject, 120)) }
            @if problem.others > 0 { " and " (problem.others) " more" }
            ": " (fitted(message, 400)) "."
            @match (missing, remedy) {
                (Some(missing), _) => {
                    " Add this statement to the policy of the function's role: "
                    code { (statement(missing.action, &problem.resources)) }
                }
                (None, Some(remedy)) => { " To fix it: " (remedy) "." }
                (None, None) => {}
            }
        }
    }
}

fn rows(report: &Report, layout: Layout<'_>, room: usize) -> Markup {
    if report.tables.is_empty() {
        return html! {
            p.e {
                "No ID mapping table is configured. Set ID_MAPPING_TABLE_ARNS, or the template's IdMappingTableArns, and refresh this widget."
            }
        };
    }
    let rows = report.tables.iter().map(|table| row(table, layout));
    let (rows, left_out) = fitting(rows, room);
    html! {
        table.t {
            thead {
                tr {
                    th { "Table" }
                    th { "Last success" }
                    th { "Now" }
                    @if !layout.is_narrow { th { "Next full refresh" } }
                    th {}
                }
            }
            tbody { (rows) }
        }
        @if left_out > 0 {
            p.e { (left_out) " more tables have no room here: ask for status as JSON." }
        }
    }
}

fn row(table: &TableStatus, layout: Layout<'_>) -> Markup {
    let Layout {
        times,
        function_arn,
        is_narrow,
    } = layout;
    let name = shown_name(table);
    let refresh = next_full_refresh(table, times);
    html! {
        tr {
            td { (fitted(&name, 60)) small { (workflow(table)) } }
            td { (last_success(table, times)) }
            td {
                @for line in now(table, times) { div { (line) } }
                @if let (true, Some(refresh)) = (is_narrow, &refresh) { small { (refresh) } }
                @if let Some(first) = table.unavailable.first() {
                    small { "not all could be read: " (fitted(first, 60)) }
                }
            }
            @if !is_narrow { td { (refresh.as_deref().unwrap_or("–")) } }
            td { @if let Some(arn) = function_arn { (button(table, &name, arn, times)) } }
        }
    }
}

/// The table's name, or its id if the name could not be read.
fn shown_name(table: &TableStatus) -> String {
    let name = table.name.as_deref();
    name.unwrap_or(table.target().table.as_str()).to_owned()
}

fn workflow(table: &TableStatus) -> String {
    let Some(workflow) = &table.workflow else {
        return String::new();
    };
    let kind = match (workflow.mapping, workflow.incremental) {
        (Some(Mapping::Provider), _) => " · provider",
        (Some(Mapping::RuleBased), Some(true)) => " · rule-based, incremental",
        (Some(Mapping::RuleBased), _) => " · rule-based, batch only",
        (None, _) => "",
    };
    fitted(&workflow.name, 30) + kind
}

fn last_success(table: &TableStatus, times: Times) -> Markup {
    let failed = table.last_failed.as_ref().filter(|failed| {
        let newer = |succeeded: &TableJob| succeeded.started_at < failed.started_at;
        table.last_succeeded.as_ref().is_none_or(newer)
    });
    html! {
        @if let Some(job) = &table.last_succeeded {
            @let at = job.ended_at.unwrap_or(job.started_at).0;
            (times.at(at)) small { (times.ago(at)) }
        } @else if let Some(job) = &table.last_started {
            "none known" small { "a job started " (times.at(job.started_at.0)) }
        } @else if table.populated == Some(false) {
            "never populated" small { "send a request, or press the button" }
        } @else {
            "none known"
        }
        @if let Some(job) = failed {
            div.w { "✕ failed " (times.at(job.ended_at.unwrap_or(job.started_at).0)) }
        }
    }
}

/// What runs or waits, and why.
fn now(table: &TableStatus, times: Times) -> Vec<String> {
    let mut lines = Vec::new();
    let name = |job_type: Option<JobType>| job_type.map_or("job", JobType::as_str);
    if let Some(job) = &table.running {
        let age = duration(times.now - job.started_at.0);
        lines.push(format!("{} running for {age}", name(job.job_type)));
    } else if let Some(claim) = &table.claim {
        lines.push(format!(
            "a job is being started, until {}",
            times.at(claim.until.0)
        ));
    }
    if let Some(job) = table
        .last_started
        .as_ref()
        .filter(|job| job.status == JobState::Started)
    {
        let at = times.at(job.started_at.0);
        lines.push(format!(
            "{} started {at}; its end is not known",
            name(job.job_type)
        ));
    }
    if let Some(call) = &table.unknown_outcome {
        let at = times.at(call.called_at.0);
        lines.push(format!(
            "the call of {at} has no known outcome: a job may run"
        ));
    }
    for WaiterStatus {
        job_type,
        since,
        urgent,
        not_before,
    } in &table.waiting
    {
        let urgent = if *urgent { "urgent " } else { "" };
        let why = match not_before {
            Some(until) if until.0 > times.now => {
                format!("MIN_INTERVAL until {}", times.at(until.0))
            }
            Some(_) => "MIN_INTERVAL is over, and its next try comes".to_owned(),
            None => "the job slot was busy at its last try".to_owned(),
        };
        let since = duration(times.now - since.0);
        lines.push(format!(
            "{urgent}{} request waits for {since}: {why}",
            job_type.as_str()
        ));
    }
    if let (Some(not_before), true) = (table.not_before, table.waiting.is_empty()) {
        lines.push(format!(
            "next job not before {} (MIN_INTERVAL)",
            times.at(not_before.0)
        ));
    }
    if lines.is_empty() {
        lines.push("–".to_owned());
    }
    lines
}

fn next_full_refresh(table: &TableStatus, times: Times) -> Option<String> {
    let due = table.next_full_refresh?.0;
    Some(match due <= times.now {
        true => "BATCH is due".to_owned(),
        false => format!("BATCH due {}", times.at(due)),
    })
}

/// The button that starts a job now.
fn button(table: &TableStatus, name: &str, function_arn: &str, times: Times) -> Markup {
    let question = format!(
        "Start an ID mapping job for {} now? A job costs money, and may run for hours.",
        fitted(name, 64)
    );
    html! {
        a.btn { "Refresh now" }
        cwdb-action action="call" endpoint=(function_arn) confirmation=(question) display="popup" {
            (PreEscaped(request(table.target(), times)))
        }
    }
}

/// The request of the button. A dashboard parses the element's text: nothing in it may look like HTML.
fn request(target: &Target, times: Times) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Request<'a> {
        membership_identifier: &'a str,
        id_mapping_table_identifier: &'a str,
        urgent: bool,
        request_id: String,
    }
    let table = target.table.as_str();
    let request = Request {
        membership_identifier: target.membership.as_str(),
        id_mapping_table_identifier: table,
        urgent: true,
        request_id: format!("{BUTTON}{table}/{}", timestamp(times.now)),
    };
    let json = serde_json::to_string(&request).unwrap_or_default();
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

fn footer(report: &Report, times: Times) -> String {
    let queues = [
        ("waiting queue", &report.queues.waiting),
        ("dead-letter queue", &report.queues.dead_letter),
    ];
    let queues = queues.into_iter().filter_map(|(name, counts)| {
        let counts = counts.as_ref()?;
        let waits = counts.in_flight + counts.delayed;
        Some(format!(
            "{name}: {} visible, {waits} invisible",
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
