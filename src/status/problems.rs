//! The top of the page: what is wrong, and how to fix it.

use maud::{Markup, html};

use super::checks::{Check, statement};
use super::report::{Report, TableStatus};
use super::text::{Times, fitted, fitting};

/// The most bytes of the problems.
const MAX_PROBLEMS: usize = 10_000;

/// Renders the checks that failed, and what else a person must act on. Nothing, if nothing is wrong.
pub(super) fn problems(report: &Report, times: Times, asked: &str) -> Markup {
    let failed = grouped(report.checks.iter().filter(|check| check.ok == Some(false)));
    let failed = failed.iter().map(|problem| check(problem, report, asked));
    let letters = report
        .queues
        .dead_letter
        .filter(|counts| counts.visible > 0);
    let letters = letters.iter().map(|counts| dead_letters(counts.visible));
    let tables = report.tables.iter();
    let tables = tables.flat_map(|table| of_table(table, report, times));
    let all: Vec<Markup> = failed.chain(letters).chain(tables).collect();
    let count = all.len();
    let (shown, left_out) = fitting(all.into_iter(), MAX_PROBLEMS);
    html! {
        @if count > 0 {
            p.h { b { (count) @if count == 1 { " problem" } @else { " problems" } } }
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

fn grouped<'r>(failed: impl Iterator<Item = &'r Check>) -> Vec<Problem<'r>> {
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

fn check(problem: &Problem<'_>, report: &Report, asked: &str) -> Markup {
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
    let subject = of_table.map_or(subject.clone(), |table| report.name_of(table));
    let function = asked
        .rsplit_once(":function:")
        .map_or(asked, |(_, name)| name);
    html! {
        li {
            (name) " of " b { (fitted(&subject, 120)) }
            @if problem.others > 0 { " and " (problem.others) " more" }
            ": " (fitted(message, 400)) ". "
            @match (missing, remedy) {
                (Some(missing), _) => {
                    "Add this statement to the policy of the role of " (fitted(function, 80)) ": "
                    code { (statement(missing.action, &problem.resources)) }
                }
                (None, Some(remedy)) => { "To fix it: " (remedy) "." }
                (None, None) => {}
            }
        }
    }
}

fn dead_letters(count: u64) -> Markup {
    html! {
        li {
            "The dead-letter queue has " b { (count) @if count == 1 { " message" } @else { " messages" } }
            ": requests that failed for good. Read their errorMessage, fix the cause, and move them back (docs/operate.md)."
        }
    }
}

/// What a person must act on for a table.
fn of_table(table: &TableStatus, report: &Report, times: Times) -> Vec<Markup> {
    let name = report.name_of(table);
    let failed = table.failed_last().map(|job| {
        let at = job.ended_at.or(job.started_at);
        html! {
            li {
                "The last job of " b { (fitted(&name, 120)) } " failed"
                @if let Some(at) = at { " " (times.at(at.0)) }
                ". Its ID Mapping Job Failed event, or Entity Resolution, says why. Fix it, then refresh the table."
            }
        }
    });
    let unknown = table.unknown_outcome.as_ref().map(|call| {
        html! {
            li {
                "The call of " (times.at(call.called_at.0)) " for " b { (fitted(&name, 120)) }
                " has no known outcome: a job may run. The next request looks for it."
            }
        }
    });
    failed.into_iter().chain(unknown).collect()
}
