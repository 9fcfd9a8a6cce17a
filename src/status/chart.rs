//! The chart of a page: seven days of jobs as inline SVG, a lane for each table.

use maud::{Markup, html};
use time::{Duration, OffsetDateTime};

use super::jobs::JobLine;
use super::report::{DAYS, Report};
use super::style::class;
use super::text::{Times, day, duration, fitted, fitting, short_day};
use crate::job::JobState;
use crate::job_type::JobType;
use crate::view::Widget;

/// The height of a lane, of its bars, and of the room above them for the marks of failures, in pixels.
const LANE: f64 = 26.0;
const BAR: f64 = 14.0;
const ABOVE: f64 = 10.0;

/// The height of the axis.
const AXIS: f64 = 20.0;

/// The widest that a character of 12 pixels is, on average.
const CHARACTER: f64 = 7.2;

/// The room that is kept for the legend and the end, in bytes.
const LEGEND: usize = 1_600;

/// The smallest width of a bar.
const MIN_BAR: f64 = 3.0;

const NO_JOB: &str = "No job is known of the last seven days. If there should have been one, look at the schedule, and at the \
                      function's log.";

const NOT_ALL_READ: &str = " Not all jobs could be read: see the checks in the status as JSON.";

/// The room that a chart needs at most, in bytes.
pub(super) fn room_for(report: &Report) -> usize {
    let lanes = report.tables.len() + 2;
    let needed = LEGEND + 1_000 + lanes * 240 + report.jobs.len() * 170;
    match report.jobs.is_empty() {
        true => LEGEND,
        false => needed.min(34_000),
    }
}

/// A horizontal band of the chart.
struct Lane {
    name: String,
    /// The jobs that are drawn in it, newest first.
    jobs: Vec<usize>,
}

/// Renders the chart within so many bytes.
pub(super) fn chart(report: &Report, widget: Widget, times: Times, room: usize) -> Markup {
    if report.tables.is_empty() {
        return html! {};
    }
    if report.jobs.is_empty() {
        return html! { p.e { (NO_JOB) @if !report.has_all_jobs { (NOT_ALL_READ) } } };
    }
    let scale = Scale::new(widget, times);
    let mut lanes = lanes(report);
    let labels = lanes.iter().enumerate();
    let labels = labels.map(|(place, lane)| lane_label(lane, &scale, place + 1));
    let (labels, lanes_left_out) = fitting(labels, room / 3);
    lanes.truncate(lanes.len() - lanes_left_out);
    let height = AXIS + LANE * (lanes.len() + 1) as f64 + 2.0;
    let frame = html! {
        (hatch())
        (days(&scale, times, height))
        (slot_lane(report, &scale))
        (labels)
    };
    let bars = in_order(&lanes).into_iter().filter_map(|(place, index)| {
        let job = report.jobs.get(index)?;
        Some(bar(job, &scale, times, top_of(place + 1)))
    });
    let (bars, without_room) = fitting(bars, room.saturating_sub(frame.0.len() + LEGEND));
    let left_out = report.jobs_left_out + without_room;
    let width = format!("{:.0}", scale.width);
    html! {
        svg.c width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) } role="img" aria-label="ID mapping jobs of the last seven days" {
            (frame)
            (bars)
            line.y x1=(px(scale.x(times.now))) x2=(px(scale.x(times.now))) y1=(AXIS) y2=(height) {}
        }
        (legend(times))
        @if lanes_left_out > 0 { p.e { (lanes_left_out) " more tables have no room in the chart." } }
        @if left_out > 0 { p.e { (left_out) " older jobs of these days are not shown." } }
        @if !report.has_all_jobs { p.e { (NOT_ALL_READ) } }
    }
}

/// Where times and lanes are, in pixels.
struct Scale {
    width: f64,
    left: f64,
    right: f64,
    from: OffsetDateTime,
}

impl Scale {
    fn new(widget: Widget, times: Times) -> Self {
        let width = f64::from(widget.width) - 4.0;
        Self {
            width,
            left: (width * 0.2).clamp(100.0, 200.0).round(),
            right: width - 6.0,
            from: times.now - DAYS,
        }
    }

    /// The place of a time, within the chart.
    fn x(&self, time: OffsetDateTime) -> f64 {
        let part = (time - self.from) / DAYS;
        self.left + (self.right - self.left) * part.clamp(0.0, 1.0)
    }

    /// How many columns of text fit into a width.
    fn columns(width: f64) -> usize {
        (width / CHARACTER).max(0.0) as usize
    }
}

/// The top of a lane.
fn top_of(place: usize) -> f64 {
    AXIS + LANE * place as f64
}

/// A coordinate with at most one decimal.
fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

/// A lane for each table, and one for each workflow that has jobs of no known table and more than one table.
fn lanes(report: &Report) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = report
        .tables
        .iter()
        .map(|table| Lane {
            name: report.name_of(table),
            jobs: Vec::new(),
        })
        .collect();
    for (index, job) in report.jobs.iter().enumerate() {
        let own = report
            .tables
            .iter()
            .position(|table| job.is_of(table.target()));
        let workflow = job.workflow_name.as_deref();
        let mut same = report.tables.iter().enumerate().filter(|(_, table)| {
            let of_table = table.workflow.as_ref().map(|workflow| &*workflow.name);
            workflow.is_some() && of_table == workflow
        });
        let only = match (same.next(), same.next()) {
            (Some((place, _)), None) => Some(place),
            _ => None,
        };
        let place = own.or(only).unwrap_or_else(|| {
            let name = format!("others: {}", workflow.unwrap_or_default());
            let known = lanes.iter().position(|lane| lane.name == name);
            known.unwrap_or_else(|| {
                lanes.push(Lane {
                    name,
                    jobs: Vec::new(),
                });
                lanes.len() - 1
            })
        });
        if let Some(lane) = lanes.get_mut(place) {
            lane.jobs.push(index);
        }
    }
    lanes
}

/// The jobs with the places of their lanes, newest first, as the report has them.
fn in_order(lanes: &[Lane]) -> Vec<(usize, usize)> {
    let of_lane = |(place, lane): (usize, &Lane)| {
        let jobs = lane.jobs.clone();
        jobs.into_iter().map(move |index| (place, index))
    };
    let mut all: Vec<_> = lanes.iter().enumerate().flat_map(of_lane).collect();
    all.sort_by_key(|(_, index)| *index);
    all
}

/// The fill of a job that failed.
fn hatch() -> Markup {
    html! {
        defs {
            pattern #idm-hatch width="4" height="4" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                line.h x1="1" x2="1" y1="0" y2="4" {}
            }
        }
    }
}

/// The days, each named if its name fits.
fn days(scale: &Scale, times: Times, height: f64) -> Markup {
    let first = scale.from.to_offset(times.offset);
    let mut starts = vec![first];
    let mut midnight = first.replace_time(time::Time::MIDNIGHT) + Duration::DAY;
    while midnight < times.now {
        starts.push(midnight);
        midnight += Duration::DAY;
    }
    let ends = starts
        .iter()
        .skip(1)
        .chain([&times.now])
        .copied()
        .collect::<Vec<_>>();
    html! {
        @for (start, end) in starts.iter().zip(ends) {
            @let x = scale.x(*start);
            @let columns = Scale::columns(scale.x(end) - x - 4.0);
            @if *start != first {
                line.g x1=(px(x)) x2=(px(x)) y1=(AXIS - 4.0) y2=(height) {}
            }
            @let names = [day(start.date()), short_day(start.date()), start.day().to_string()];
            @if let Some(name) = names.iter().find(|name| name.len() <= columns) {
                text.d x=(px(x + 3.0)) y="12" { (name) }
            }
        }
    }
}

/// The background and the name of a lane.
fn band(name: &str, tooltip: Option<&str>, scale: &Scale, place: usize) -> Markup {
    let top = top_of(place);
    let columns = Scale::columns(scale.left - 6.0);
    html! {
        rect.v x=(px(scale.left)) y=(px(top + ABOVE - 2.0)) width=(px(scale.right - scale.left)) height=(px(BAR + 4.0)) {}
        text.n x="0" y=(px(top + ABOVE + 11.0)) { @if let Some(tooltip) = tooltip { title { (tooltip) } } (fitted(name, columns)) }
    }
}

fn lane_label(lane: &Lane, scale: &Scale, place: usize) -> Markup {
    let whole = fitted(&lane.name, 128);
    let is_cut = whole != fitted(&lane.name, Scale::columns(scale.left - 6.0));
    band(&lane.name, Some(&*whole).filter(|_| is_cut), scale, place)
}

/// When the job slot was taken, as far as the jobs of these workflows tell.
fn slot_lane(report: &Report, scale: &Scale) -> Markup {
    let busy = &report.busy;
    let taken: Duration = busy
        .iter()
        .map(|(start, end)| *end - (*start).max(scale.from))
        .sum();
    let idle = 100.0 * (1.0 - taken / DAYS);
    let tooltip = format!(
        "The account's one job slot, as far as the jobs of these workflows tell: idle for {idle:.0}% of seven days"
    );
    // One shape, because two hundred have no room.
    let rectangles = busy.iter().map(|(start, end)| {
        let x = scale.x(*start);
        rectangle(
            x,
            top_of(0) + ABOVE + 3.0,
            (scale.x(*end) - x).max(1.0),
            BAR - 6.0,
        )
    });
    let rectangles: Vec<String> = rectangles.collect();
    html! {
        (band(&format!("slot: {idle:.0}% idle"), Some(&tooltip), scale, 0))
        path.b d=(rectangles.concat()) { title { (tooltip) } }
    }
}

fn rectangle(x: f64, y: f64, width: f64, height: f64) -> String {
    let (x, y, width, height) = (px(x), px(y), px(width), px(height));
    format!("M{x} {y}h{width}v{height}h-{width}z")
}

fn bar(job: &JobLine, scale: &Scale, times: Times, top: f64) -> Markup {
    let (start, end) = job.interval(times.now).unwrap_or((times.now, times.now));
    let width = (scale.x(end) - scale.x(start)).max(MIN_BAR);
    let x = scale.x(start).min(scale.right - width);
    let y = top + ABOVE;
    let is_foreign = job.started_by_this_function == Some(false);
    let class = class(job.status);
    let letter = match job.job_type {
        Some(JobType::Batch) => Some("B"),
        Some(JobType::DeleteOnly) => Some("D"),
        _ => None,
    };
    let letter =
        letter.filter(|_| width >= 14.0 && job.status == JobState::Succeeded && !is_foreign);
    html! {
        path class={ (class) @if is_foreign { " o" } } d=(rectangle(x, y, width, BAR)) { title { (tooltip(job, times)) } }
        @if let Some(letter) = letter {
            text.k x=(px(x + width / 2.0 - 4.0)) y=(px(y + 11.0)) { (letter) }
        }
        @if job.status == JobState::Failed {
            path.x d={ "M" (px((x + width / 2.0 - 3.5).clamp(scale.left, scale.right - 7.0))) " " (px(top + 0.5)) "l7 7m0-7l-7 7" } {}
        }
    }
}

fn tooltip(job: &JobLine, times: Times) -> String {
    let job_type = job.job_type.map_or("", JobType::as_str);
    let state = match job.status {
        JobState::Succeeded => "succeeded",
        JobState::Failed => "failed",
        JobState::Running => "running",
        JobState::Queued => "queued",
        JobState::Started => "started, end not known",
    };
    let by = match job.started_by_this_function {
        Some(false) => ", started by others",
        _ => "",
    };
    let when = match (job.started_at, job.ended_at) {
        (Some(start), Some(end)) => {
            format!(", {} for {}", times.at(start.0), duration(end.0 - start.0))
        }
        (Some(start), None) => format!(", since {}", times.at(start.0)),
        (None, _) => String::new(),
    };
    // The beginning tells the job apart, and two hundred whole ids have no room.
    let id: String = job.id.chars().take(12).collect();
    format!("{job_type} {state}{by}{when}, job {id}")
        .trim_start()
        .to_owned()
}

/// What the bars mean.
fn legend(times: Times) -> Markup {
    let sample = |class: &str| {
        html! { svg width="18" height="14" { path class=(class) d="M1 1h16v12h-16z" {} } }
    };
    html! {
        p.l {
            span { (sample("s")) "succeeded (B: BATCH, D: DELETE_ONLY)" }
            span { (sample("r")) "running" }
            span { (sample("q")) "queued" }
            span { (sample("f")) "✕ failed" }
            span { (sample("u")) "end not known" }
            span { (sample("s o")) "started by others" }
            span { (sample("b")) "slot busy" }
            span { "times: " (times.zone()) }
        }
    }
}
