//! What a dry run read, as the answer of a dry run shows it (`facts` in docs/reference.md#outcomes).

use serde::Serialize;

use crate::choice::{Fact, Facts, Mapping, Read, Workflow};
use crate::clock::timestamp;

/// What a dry run read.
#[derive(Clone, Debug)]
pub struct PlanFacts {
    /// The table's workflow.
    pub workflow: Fact<Workflow>,
    /// Whether a job of the workflow runs or is queued.
    pub job_running: Fact<bool>,
    /// What `AUTO` chose by. `None` if the request does not ask for `AUTO`.
    pub of_auto: Option<Facts>,
}

/// Each fact with the moment it was read; a fact that could not be read is missing, and what was said
/// of it stands under `unavailable`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wire {
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow: Option<WireWorkflow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    populated: Option<Flag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_batch: Option<LastBatch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_running: Option<Flag>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unavailable: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WireWorkflow {
    workflow_name: String,
    id_mapping_type: Mapping,
    incremental_run_config: bool,
    read_at: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Flag {
    value: bool,
    read_at: String,
}

/// Without `startedAt`: no `BATCH` is known.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LastBatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    read_at: String,
}

impl From<&PlanFacts> for Wire {
    fn from(facts: &PlanFacts) -> Self {
        let PlanFacts {
            workflow,
            job_running,
            of_auto,
        } = facts;
        let populated = of_auto.as_ref().map(|facts| &facts.populated);
        let last_batch = of_auto.as_ref().map(|facts| &facts.last_batch);
        let flag = |Read { value, at }: &Read<bool>| Flag {
            value: *value,
            read_at: timestamp(*at),
        };
        let mut unavailable: Vec<String> = [
            why(workflow),
            populated.and_then(why),
            last_batch.and_then(why),
            why(job_running),
        ]
        .into_iter()
        .flatten()
        .collect();
        // One refusal may hide several facts.
        unavailable.dedup();
        Self {
            workflow: workflow.as_ref().ok().map(|Read { value, at }| {
                let Workflow {
                    name,
                    mapping,
                    incremental,
                } = value;
                WireWorkflow {
                    workflow_name: name.clone(),
                    id_mapping_type: *mapping,
                    incremental_run_config: *incremental,
                    read_at: timestamp(*at),
                }
            }),
            populated: populated.and_then(|read| read.as_ref().ok()).map(flag),
            last_batch: last_batch
                .and_then(|read| read.as_ref().ok())
                .filter(|_| workflow.is_ok())
                .map(|Read { value, at }| LastBatch {
                    started_at: value.map(timestamp),
                    read_at: timestamp(*at),
                }),
            job_running: job_running.as_ref().ok().map(flag),
            unavailable,
        }
    }
}

fn why<T>(fact: &Fact<T>) -> Option<String> {
    fact.as_ref().err().map(|missing| missing.why.clone())
}
