//! Metrics in CloudWatch's embedded metric format: lines of the log that CloudWatch reads
//! (CloudWatch user guide, "Specification: Embedded metric format").
//!
//! One line per invocation, with the dimension `service`, and one per table for which a job started,
//! with its table as a second dimension, so that a table for which nothing starts can raise an alarm.
//! Everything else in a line is a property, which can be searched for and multiplies no metric. No
//! crate: what those bring is recorders and exporters, and this is one line of JSON.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::target::Target;

/// Of all metrics.
pub const NAMESPACE: &str = "IdMappingPopulator";

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Jobs that were started.
    JobsStarted,
    /// Requests that a job covers.
    RequestsCovered,
    /// Requests that were put in the waiting line.
    RequestsWaiting,
    /// Requests that a person must act on.
    RequestsRejected,
    /// Calls of PopulateIdMappingTable whose answer left open whether a job started.
    OutcomesUnknown,
    /// Outcome events that could not be published.
    PublishFailures,
    /// How long a request stood in the waiting line until it was started or covered.
    WaitSeconds,
    /// How long a request stands in the waiting line that still waits after its try.
    StillWaitingSeconds,
    /// How long PopulateIdMappingTable took to answer, its retries included.
    PopulateLatency,
    /// How long a job ran, where jobs are followed.
    JobDuration,
    /// Jobs that failed, where jobs are followed.
    JobsFailed,
    /// Invocations that were the first of their execution environment.
    ColdStart,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::JobsStarted,
        Self::RequestsCovered,
        Self::RequestsWaiting,
        Self::RequestsRejected,
        Self::OutcomesUnknown,
        Self::PublishFailures,
        Self::WaitSeconds,
        Self::StillWaitingSeconds,
        Self::PopulateLatency,
        Self::JobDuration,
        Self::JobsFailed,
        Self::ColdStart,
    ];

    /// Its name in CloudWatch.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JobsStarted => "JobsStarted",
            Self::RequestsCovered => "RequestsCovered",
            Self::RequestsWaiting => "RequestsWaiting",
            Self::RequestsRejected => "RequestsRejected",
            Self::OutcomesUnknown => "OutcomesUnknown",
            Self::PublishFailures => "PublishFailures",
            Self::WaitSeconds => "WaitSeconds",
            Self::StillWaitingSeconds => "StillWaitingSeconds",
            Self::PopulateLatency => "PopulateLatency",
            Self::JobDuration => "JobDuration",
            Self::JobsFailed => "JobsFailed",
            Self::ColdStart => "ColdStart",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::WaitSeconds | Self::StillWaitingSeconds | Self::JobDuration => "Seconds",
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
    /// The tables for which jobs started.
    started: Vec<Target>,
}

impl Metrics {
    /// It happened once more.
    pub fn count(&self, metric: Metric) {
        self.lock().values.push((metric, 1.0));
    }

    /// A job was started.
    pub fn started(&self, target: &Target) {
        self.count(Metric::JobsStarted);
        self.lock().started.push(target.clone());
    }

    /// It took so long.
    pub fn took(&self, metric: Metric, time: Duration) {
        let value = match metric.unit() {
            "Milliseconds" => time.as_secs_f64() * 1_000.0,
            _ => time.as_secs_f64(),
        };
        self.lock().values.push((metric, value));
    }

    /// The lines of the log, each a JSON object; none, if nothing was measured.
    pub fn lines(
        &self,
        service: &str,
        request_id: &str,
        at: OffsetDateTime,
    ) -> Vec<Map<String, Value>> {
        let measured = self.lock();
        let mut values: Map<String, Value> = Map::new();
        let mut names = Vec::new();
        for metric in Metric::ALL {
            let of_metric = measured.values.iter().filter(|(other, _)| *other == metric);
            let all: Vec<f64> = of_metric.map(|(_, value)| *value).collect();
            let value = match (&all[..], metric.unit()) {
                ([], _) => continue,
                (all, "Count") => json!(all.len()),
                // CloudWatch takes 100 values of a metric in a line; a batch has fewer messages.
                (all, _) => json!(all.get(..100).unwrap_or(all)),
            };
            names.push(json!({ "Name": metric.as_str(), "Unit": metric.unit() }));
            values.insert(metric.as_str().to_owned(), value);
        }
        if names.is_empty() {
            return Vec::new();
        }
        let line = |dimensions: Value, names: Vec<Value>, mut members: Map<String, Value>| {
            members.insert("service".to_owned(), json!(service));
            members.insert("requestId".to_owned(), json!(request_id));
            members.insert(
                "_aws".to_owned(),
                json!({
                    "Timestamp": at.unix_timestamp_nanos() / 1_000_000,
                    "CloudWatchMetrics": [{
                        "Namespace": NAMESPACE,
                        "Dimensions": [dimensions],
                        "Metrics": names,
                    }],
                }),
            );
            members
        };
        let mut lines = vec![line(json!(["service"]), names, values)];
        for (index, target) in measured.started.iter().enumerate() {
            if measured
                .started
                .iter()
                .take(index)
                .any(|other| other == target)
            {
                continue;
            }
            let started = measured.started.iter().filter(|other| *other == target);
            let name = Metric::JobsStarted.as_str();
            let mut members = Map::new();
            members.insert(name.to_owned(), json!(started.count()));
            members.insert(TABLE.to_owned(), json!(target.table.as_str()));
            members.insert(
                "membershipIdentifier".to_owned(),
                json!(target.membership.as_str()),
            );
            let names = vec![json!({ "Name": name, "Unit": "Count" })];
            lines.push(line(json!(["service", TABLE]), names, members));
        }
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Measured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The dimension of a table.
const TABLE: &str = "idMappingTableIdentifier";

#[cfg(test)]
mod tests {
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
    fn nothing_measured_is_no_line() {
        assert!(Metrics::default().lines("populator", "r", AT).is_empty());
    }

    #[test]
    fn a_line_has_what_was_measured_and_one_more_for_each_table() {
        let metrics = Metrics::default();
        metrics.count(Metric::ColdStart);
        metrics.started(&target(1));
        metrics.started(&target(2));
        metrics.started(&target(1));
        metrics.took(Metric::PopulateLatency, Duration::from_millis(250));
        metrics.took(Metric::WaitSeconds, Duration::from_millis(1_500));
        metrics.took(Metric::WaitSeconds, Duration::from_secs(60));
        let [all, one, two] = &metrics.lines("populator", "request", AT)[..] else {
            panic!()
        };
        assert_eq!(
            Value::Object(all.clone()),
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
            metrics.took(Metric::PopulateLatency, Duration::from_millis(1));
        }
        let lines = metrics.lines("populator", "r", AT);
        assert_eq!(lines[0]["PopulateLatency"].as_array().unwrap().len(), 100);
    }
}
