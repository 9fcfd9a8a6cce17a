//! Metrics in CloudWatch's embedded metric format: log lines from which CloudWatch makes metrics
//! (CloudWatch user guide, "Specification: Embedded metric format").
//!
//! An invocation writes one line with the dimension `service`. For each table for which a job started, or whose age is
//! known, it writes one more line, with the table as a second dimension. The other members of a line are properties: they can be searched for, and they do not multiply the metrics.
//!
//! No metrics crate is used. Such crates bring recorders and exporters, and this is one line of JSON.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use time::OffsetDateTime;

use crate::target::Target;

/// The CloudWatch namespace of all metrics.
pub const NAMESPACE: &str = "IdMappingPopulator";

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Counts jobs that were started.
    JobsStarted,
    /// Counts requests that a job covers.
    RequestsCovered,
    /// Counts requests that were added to the waiting queue.
    RequestsWaiting,
    /// Counts requests that were added to the waiting queue because of `MIN_INTERVAL`.
    RequestsTooSoon,
    /// Counts requests that a person must act on.
    RequestsRejected,
    /// Counts calls of `PopulateIdMappingTable` after which it is not known whether a job started.
    OutcomesUnknown,
    /// Counts outcome events that could not be published.
    PublishFailures,
    /// Measures how long a request waited in the waiting queue until it was started or covered.
    WaitSeconds,
    /// Measures how long a request has waited that still waits after a try.
    StillWaitingSeconds,
    /// Measures how long `PopulateIdMappingTable` took to answer, its retries included.
    PopulateLatency,
    /// Measures how long a tracked job ran.
    JobDuration,
    /// Counts tracked jobs that failed.
    JobsFailed,
    /// Counts failed jobs whose request is tried again.
    JobsRetried,
    /// Measures how old a table is: the time since the start of its last job that succeeded, or of the last one that
    /// started if jobs are not tracked.
    TableAgeSeconds,
    /// Counts invocations that were the first of their execution environment.
    ColdStart,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Self; 15] = [
        Self::JobsStarted,
        Self::RequestsCovered,
        Self::RequestsWaiting,
        Self::RequestsTooSoon,
        Self::RequestsRejected,
        Self::OutcomesUnknown,
        Self::PublishFailures,
        Self::WaitSeconds,
        Self::StillWaitingSeconds,
        Self::PopulateLatency,
        Self::JobDuration,
        Self::JobsFailed,
        Self::JobsRetried,
        Self::TableAgeSeconds,
        Self::ColdStart,
    ];

    /// Returns the metric's name in CloudWatch.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JobsStarted => "JobsStarted",
            Self::RequestsCovered => "RequestsCovered",
            Self::RequestsWaiting => "RequestsWaiting",
            Self::RequestsTooSoon => "RequestsTooSoon",
            Self::RequestsRejected => "RequestsRejected",
            Self::OutcomesUnknown => "OutcomesUnknown",
            Self::PublishFailures => "PublishFailures",
            Self::WaitSeconds => "WaitSeconds",
            Self::StillWaitingSeconds => "StillWaitingSeconds",
            Self::PopulateLatency => "PopulateLatency",
            Self::JobDuration => "JobDuration",
            Self::JobsFailed => "JobsFailed",
            Self::JobsRetried => "JobsRetried",
            Self::TableAgeSeconds => "TableAgeSeconds",
            Self::ColdStart => "ColdStart",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::WaitSeconds
            | Self::StillWaitingSeconds
            | Self::JobDuration
            | Self::TableAgeSeconds => "Seconds",
            Self::PopulateLatency => "Milliseconds",
            _ => "Count",
        }
    }
}

/// What an invocation measured.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Measured>);

#[derive(Debug, Default)]
struct Measured {
    values: Vec<(Metric, f64)>,
    tables: BTreeMap<Target, OfTable>,
    /// Whether the age of a table is not known.
    is_any_age_unknown: bool,
}

/// What an invocation measured of a table.
#[derive(Debug, Default)]
struct OfTable {
    /// How many jobs started.
    started: usize,
    /// Its age.
    age: Option<Duration>,
}

impl Metrics {
    /// Adds one to a count.
    pub fn count(&self, metric: Metric) {
        self.lock().values.push((metric, 1.0));
    }

    /// Counts a job that was started for a table.
    pub fn job_started(&self, target: &Target) {
        self.count(Metric::JobsStarted);
        self.lock()
            .tables
            .entry(target.clone())
            .or_default()
            .started += 1;
    }

    /// Records how old a table is. The last record of an invocation counts.
    pub fn record_age(&self, target: &Target, age: Duration) {
        self.lock().tables.entry(target.clone()).or_default().age = Some(age);
    }

    /// Records that the age of a table is not known. Then no age is written for all tables together: an alarm on the
    /// oldest one must not rest on the others.
    pub fn record_unknown_age(&self) {
        self.lock().is_any_age_unknown = true;
    }

    /// Records how long something took.
    pub fn record_duration(&self, metric: Metric, time: Duration) {
        let value = match metric.unit() {
            "Milliseconds" => time.as_secs_f64() * 1_000.0,
            _ => time.as_secs_f64(),
        };
        self.lock().values.push((metric, value));
    }

    /// Returns the log lines. The list is empty if nothing was measured.
    pub fn lines<'a>(
        &self,
        service: &'a str,
        request_id: &'a str,
        at: OffsetDateTime,
    ) -> Vec<Line<'a>> {
        let measured = self.lock();
        let values = |metric: Metric| {
            let of_metric = measured.values.iter().filter(|(other, _)| *other == metric);
            let all: Vec<f64> = of_metric.map(|(_, value)| *value).collect();
            match (all.len(), metric) {
                (_, Metric::TableAgeSeconds) => in_line(metric, measured.ages()),
                (0, _) => None,
                (count, _) if metric.unit() == "Count" => Some((metric, Values::Count(count))),
                _ => in_line(metric, all),
            }
        };
        let line = |table: Option<&Target>, values: Vec<(Metric, Values)>| Line {
            timestamp: (at.unix_timestamp_nanos() / 1_000_000) as i64,
            service,
            request_id,
            table: table.cloned(),
            values,
        };
        let all: Vec<_> = Metric::ALL.into_iter().filter_map(values).collect();
        let all = (!all.is_empty()).then(|| line(None, all));
        let tables = measured.tables.iter().map(|(table, of_table)| {
            let started = (of_table.started > 0).then_some(Values::Count(of_table.started));
            let started = started.map(|count| (Metric::JobsStarted, count));
            let age = of_table.age.into_iter().map(|age| age.as_secs_f64());
            let age = in_line(Metric::TableAgeSeconds, age.collect());
            line(Some(table), started.into_iter().chain(age).collect())
        });
        all.into_iter().chain(tables).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Measured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Measured {
    /// The ages of all tables, the oldest first. Empty if one is not known.
    fn ages(&self) -> Vec<f64> {
        if self.is_any_age_unknown {
            return Vec::new();
        }
        let ages = self.tables.values().filter_map(|of_table| of_table.age);
        let mut ages: Vec<f64> = ages.map(|age| age.as_secs_f64()).collect();
        ages.sort_by(|one, other| other.total_cmp(one));
        ages
    }
}

/// The values of a metric as a line has them, if there are any. CloudWatch takes at most 100 of a metric in a line. A batch
/// has fewer messages, and there are as many tables.
fn in_line(metric: Metric, values: Vec<f64>) -> Option<(Metric, Values)> {
    let values: Vec<f64> = values.into_iter().take(100).collect();
    (!values.is_empty()).then_some((metric, Values::All(values)))
}

/// The name of the dimension for a table.
const TABLE: &str = "idMappingTableIdentifier";

/// A log line in embedded metric format.
#[derive(Debug)]
pub struct Line<'a> {
    /// In milliseconds since 1970.
    timestamp: i64,
    service: &'a str,
    request_id: &'a str,
    /// The second dimension. `None` if `service` is the only one.
    table: Option<Target>,
    values: Vec<(Metric, Values)>,
}

/// The values of a metric in a line.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Values {
    Count(usize),
    All(Vec<f64>),
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Metadata<'a> {
            timestamp: i64,
            cloud_watch_metrics: [Directive<'a>; 1],
        }
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Directive<'a> {
            namespace: &'a str,
            dimensions: [&'a [&'a str]; 1],
            metrics: Vec<Definition<'a>>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Definition<'a> {
            name: &'a str,
            unit: &'a str,
        }
        let definition = |(metric, _): &(Metric, Values)| Definition {
            name: metric.as_str(),
            unit: metric.unit(),
        };
        let directive = Directive {
            namespace: NAMESPACE,
            dimensions: match self.table {
                Some(_) => [&["service", TABLE]],
                None => [&["service"]],
            },
            metrics: self.values.iter().map(definition).collect(),
        };
        let metadata = Metadata {
            timestamp: self.timestamp,
            cloud_watch_metrics: [directive],
        };
        let mut line = serializer.serialize_map(None)?;
        line.serialize_entry("_aws", &metadata)?;
        line.serialize_entry("service", &self.service)?;
        line.serialize_entry("requestId", &self.request_id)?;
        if let Some(table) = &self.table {
            line.serialize_entry("membershipIdentifier", &table.membership)?;
            line.serialize_entry(TABLE, &table.table)?;
        }
        for (metric, values) in &self.values {
            line.serialize_entry(metric.as_str(), values)?;
        }
        line.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;
    use crate::target::Identifier;

    const AT: OffsetDateTime = datetime!(2026-11-23 02:00:03.5 UTC);

    fn target(number: usize) -> Target {
        Target {
            membership: Identifier::parse("11111111-2222-4333-8444-555555555555").unwrap(),
            table: Identifier::parse(&format!("aaaaaaaa-{number:04}-4000-8000-000000000001"))
                .unwrap(),
        }
    }

    #[test]
    fn without_measurements_there_is_no_line() {
        assert!(Metrics::default().lines("populator", "r", AT).is_empty());
    }

    #[test]
    fn a_line_has_what_was_measured_and_one_more_for_each_table() {
        let metrics = Metrics::default();
        metrics.count(Metric::ColdStart);
        metrics.job_started(&target(1));
        metrics.job_started(&target(2));
        metrics.job_started(&target(1));
        metrics.record_duration(Metric::PopulateLatency, Duration::from_millis(250));
        metrics.record_duration(Metric::WaitSeconds, Duration::from_millis(1_500));
        metrics.record_duration(Metric::WaitSeconds, Duration::from_secs(60));
        let lines = serde_json::to_value(metrics.lines("populator", "request", AT)).unwrap();
        let [all, one, two] = &lines.as_array().unwrap()[..] else {
            panic!()
        };
        assert_eq!(
            *all,
            json!({
                "_aws": {
                    "Timestamp": 1_795_399_203_500_i64,
                    "CloudWatchMetrics": [{
                        "Namespace": "IdMappingPopulator",
                        "Dimensions": [["service"]],
                        "Metrics": [
                            { "Name": "JobsStarted", "Unit": "Count" },
                            { "Name": "WaitSeconds", "Unit": "Seconds" },
                            { "Name": "PopulateLatency", "Unit": "Milliseconds" },
                            { "Name": "ColdStart", "Unit": "Count" },
                        ],
                    }],
                },
                "service": "populator",
                "requestId": "request",
                "JobsStarted": 3,
                "WaitSeconds": [1.5, 60.0],
                "PopulateLatency": [250.0],
                "ColdStart": 1,
            })
        );
        assert_eq!(
            (&one["JobsStarted"], &one["idMappingTableIdentifier"]),
            (&json!(2), &json!("aaaaaaaa-0001-4000-8000-000000000001"))
        );
        assert_eq!(two["JobsStarted"], 1);
        assert_eq!(
            one["_aws"]["CloudWatchMetrics"][0]["Dimensions"],
            json!([["service", "idMappingTableIdentifier"]])
        );
    }

    #[test]
    fn a_line_has_at_most_a_hundred_values_of_a_metric() {
        let metrics = Metrics::default();
        for _ in 0..150 {
            metrics.record_duration(Metric::PopulateLatency, Duration::from_millis(1));
        }
        let lines = serde_json::to_value(metrics.lines("populator", "r", AT)).unwrap();
        assert_eq!(lines[0]["PopulateLatency"].as_array().unwrap().len(), 100);
    }
}
