//! The rows of the page: where each table stands.

use maud::{Markup, PreEscaped, html};
use serde::Serialize;

use super::jobs::TableJob;
use super::report::{Report, TableStatus, WaiterStatus};
use super::text::{Times, duration, fitted, fitting};
use crate::choice::Mapping;
use crate::clock::timestamp;
use crate::input::BUTTON;
use crate::job::JobState;
use crate::job_type::JobType;
use crate::target::Target;

/// How rows are rendered.
#[derive(Clone, Copy)]
pub(super) struct Layout<'a> {
    pub(super) times: Times,
    /// The function that the buttons invoke. `None` if there are no buttons.
    pub(super) function_arn: Option<&'a str>,
    /// Whether the next full refresh has no column of its own.
    pub(super) is_narrow: bool,
}

/// Renders a row for each table, within so many bytes.
pub(super) fn rows(report: &Report, layout: Layout<'_>, room: usize) -> Markup {
    if report.tables.is_empty() {
        return html! {
            p.e {
                "No ID mapping table is configured. Set ID_MAPPING_TABLE_ARNS, or the template's IdMappingTableArns, and refresh this widget."
            }
        };
    }
    let rows = report.tables.iter().map(|table| row(table, report, layout));
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

fn row(table: &TableStatus, report: &Report, layout: Layout<'_>) -> Markup {
    let Layout {
        times,
        function_arn,
        is_narrow,
    } = layout;
    let name = report.name_of(table);
    let refresh = next_full_refresh(table, times);
    html! {
        tr {
            td { (fitted(&name, 60)) small { (workflow(table)) } }
            td { (last_success(table, times)) }
            td {
                @for line in now(table, report, times) { div { (line) } }
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
    let when = |job: &TableJob| job.ended_at.or(job.started_at);
    let failed = table.failed_last();
    html! {
        @if let Some((job, at)) = table.last_succeeded.as_ref().and_then(|job| Some((job, when(job)?))) {
            (times.at(at.0))
            small { (times.ago(at.0)) @if let Some(job_type) = job.job_type { " · " (job_type.as_str()) } }
        } @else if let Some(started) = table.last_started.as_ref().and_then(|job| job.started_at) {
            "none known" small { "a job started " (times.at(started.0)) }
        } @else if table.populated == Some(false) {
            "never populated" small { "send a request, or press the button" }
        } @else {
            "none known"
        }
        @if let Some(at) = failed.and_then(when) {
            div.w { "✕ failed " (times.at(at.0)) }
        }
    }
}

/// What runs or waits, and why.
fn now(table: &TableStatus, report: &Report, times: Times) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(job(table, times));
    if let (None, Some(claim)) = (&table.running, &table.claim) {
        let until = times.at(claim.until.0);
        lines.push(format!("a job is being started, until {until}"));
    }
    if let Some(call) = &table.unknown_outcome {
        let at = times.at(call.called_at.0);
        lines.push(format!(
            "the call of {at} has no known outcome: a job may run"
        ));
    }
    let waiting = table.waiting.iter().flatten();
    let is_slot_busy = report
        .jobs
        .iter()
        .any(|job| job.status == JobState::Running);
    lines.extend(waiting.map(|waiter| waits(waiter, is_slot_busy, times)));
    let none_waits = table.waiting.as_ref().is_none_or(Vec::is_empty);
    if let (Some(not_before), true) = (table.not_before, none_waits) {
        let at = times.at(not_before.0);
        lines.push(format!("next job not before {at} (MIN_INTERVAL)"));
    }
    if lines.is_empty() {
        lines.push("–".to_owned());
    }
    lines
}

/// The job that runs, or whose end is not known.
fn job(table: &TableStatus, times: Times) -> Option<String> {
    let started = table.last_started.as_ref();
    let open = started.filter(|job| job.status == JobState::Started);
    let job = table.running.as_ref().or(open)?;
    let name = job.job_type.map_or("job", JobType::as_str);
    let started = job.started_at.map(|at| at.0);
    let age = started.map(|at| format!(" for {}", duration(times.now - at)));
    let age = age.unwrap_or_default();
    Some(match (job.status, started) {
        (JobState::Queued, _) => format!("{name} queued{age}"),
        (JobState::Started, Some(at)) => {
            format!("{name} started {}; its end is not known", times.at(at))
        }
        _ => format!("{name} running{age}"),
    })
}

fn waits(waiter: &WaiterStatus, is_slot_busy: bool, times: Times) -> String {
    let why = match waiter.not_before {
        _ if !waiter.is_live => {
            let at = times.at(waiter.last_tried_at.0);
            format!(
                "not tried since {at}: its message is gone, or the queue's event source is disabled"
            )
        }
        Some(until) if until.0 > times.now => format!("MIN_INTERVAL until {}", times.at(until.0)),
        Some(_) => "MIN_INTERVAL is over, and its next try comes".to_owned(),
        None if is_slot_busy => "the job slot is busy".to_owned(),
        None => "at its last try the job slot was busy, or the table was not ready".to_owned(),
    };
    let urgent = if waiter.urgent { "urgent " } else { "" };
    let job_type = waiter.job_type.as_str();
    let since = duration(times.now - waiter.since.0);
    format!("{urgent}{job_type} request waits for {since}: {why}")
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
}
