//! AWS Entity Resolution: `GET /idmappingworkflows/NAME`, `…/jobs` and `…/jobs/ID`, and
//! `DELETE /matchingworkflows/NAME/uniqueids` (API model `entityresolution-2018-05-10`).

use std::collections::BTreeMap;

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::clean_rooms::{Job, Status, Table, unsigned};
use crate::http::{Reply, Request, refusal};
use crate::{ACCOUNT, Operation, REGION, State};

const WORKFLOW_PREFIX: &str = "workflow-";

pub(crate) fn operation(request: &Request) -> Option<Operation> {
    if request.method == "DELETE" {
        let name = request.path.strip_prefix("/matchingworkflows/")?;
        let name = name.strip_suffix("/uniqueids")?;
        return (!name.is_empty()).then_some(Operation::BatchDeleteUniqueId);
    }
    if request.method != "GET" {
        return None;
    }
    match parts(&request.path)? {
        (_, None) => Some(Operation::GetIdMappingWorkflow),
        (_, Some("")) => Some(Operation::ListIdMappingJobs),
        (_, Some(_)) => Some(Operation::GetIdMappingJob),
    }
}

/// The workflow's name, and the job's id: empty for the list.
fn parts(path: &str) -> Option<(&str, Option<&str>)> {
    let rest = path.strip_prefix("/idmappingworkflows/")?;
    match rest.split_once("/jobs") {
        None => Some((rest, None)),
        Some((name, job)) => Some((name, Some(job.trim_start_matches('/')))),
    }
}

/// The name and job id of a request that is taken, or why it is not.
fn asked(request: &Request) -> Result<(&str, &str), Reply> {
    if let Some(refusal) = unsigned(request, "entityresolution") {
        return Err(refusal);
    }
    match parts(&request.path) {
        Some((name, job)) if name.starts_with(WORKFLOW_PREFIX) => {
            Ok((name, job.unwrap_or_default()))
        }
        _ => Err(refusal(
            404,
            "ResourceNotFoundException",
            "no such ID mapping workflow",
        )),
    }
}

pub(crate) fn get_workflow(request: &Request, tables: &BTreeMap<String, Table>) -> Reply {
    let name = match asked(request) {
        Ok((name, _)) => name,
        Err(refusal) => return refusal,
    };
    let table = name.strip_prefix(WORKFLOW_PREFIX).unwrap_or_default();
    let table = tables.get(table).copied().unwrap_or_default();
    let mapping = if table.provider {
        "PROVIDER"
    } else {
        "RULE_BASED"
    };
    let mut body = json!({
        "workflowName": name,
        "workflowArn": format!("arn:aws:entityresolution:{REGION}:{ACCOUNT}:idmappingworkflow/{name}"),
        "inputSourceConfig": [],
        "idMappingTechniques": { "idMappingType": mapping },
        "createdAt": 1_700_000_000.0,
        "updatedAt": 1_700_000_000.0,
        "roleArn": format!("arn:aws:iam::{ACCOUNT}:role/workflow"),
    });
    if table.incremental {
        body["incrementalRunConfig"] = json!({ "incrementalRunType": "ON_DEMAND" });
    }
    Reply::json(200, &body)
}

/// A page of at most 25 jobs, newest first.
pub(crate) fn list_jobs(request: &Request, jobs: &[&Job], state: &State) -> Reply {
    let name = match asked(request) {
        Ok((name, _)) => name,
        Err(refusal) => return refusal,
    };
    let number = |name| request.query_value(name)?.parse::<usize>().ok();
    let size = number("maxResults").unwrap_or(25).clamp(1, 25);
    let skip = number("nextToken").unwrap_or(0);
    let all: Vec<&&Job> = jobs
        .iter()
        .rev()
        .filter(|job| state.shared_workflow || job.workflow() == name)
        .collect();
    let page: Vec<Value> = all
        .iter()
        .skip(skip)
        .take(size)
        .map(|job| summary(job, state))
        .collect();
    let mut body = json!({ "jobs": page });
    if skip + size < all.len() {
        body["nextToken"] = json!((skip + size).to_string());
    }
    Reply::json(200, &body)
}

pub(crate) fn get_job(request: &Request, state: &State) -> Reply {
    let (name, id) = match asked(request) {
        Ok(asked) => asked,
        Err(refusal) => return refusal,
    };
    let found = state.jobs.iter().find(|job| {
        (state.shared_workflow || job.workflow() == name) && job.entity_resolution_id == id
    });
    let Some(job) = found else {
        return refusal(404, "ResourceNotFoundException", "no such job");
    };
    let mut body = summary(job, state);
    if let Some(job_type) = &job.job_type {
        body["jobType"] = json!(job_type);
    }
    match job.status {
        Status::Succeeded => {
            body["metrics"] = json!({
                "inputRecords": 1_000, "totalRecordsProcessed": 990, "recordsNotProcessed": 10,
                "totalMappedRecords": 900, "uniqueRecordsLoaded": 880,
            });
        }
        Status::Failed => {
            body["errorDetails"] = json!({ "errorMessage": "the input cannot be read" });
        }
        Status::Queued | Status::Running => {}
    }
    if job.foreign {
        body["outputSourceConfig"] = json!([{ "outputS3Path": "s3://bucket/prefix", "roleArn": "arn:aws:iam::123456789012:role/r" }]);
    }
    Reply::json(200, &body)
}

/// Refuses each deletion, because there is no matching workflow.
pub(crate) fn delete_unique_ids(
    request: &Request,
    deletes: &mut Vec<OffsetDateTime>,
    now: OffsetDateTime,
) -> Reply {
    if let Some(refusal) = unsigned(request, "entityresolution") {
        return refusal;
    }
    if request.header("uniqueids").is_none_or(str::is_empty) {
        return refusal(400, "ValidationException", "uniqueIds is missing");
    }
    deletes.push(now);
    refusal(
        404,
        "ResourceNotFoundException",
        "no such matching workflow",
    )
}

fn summary(job: &Job, state: &State) -> Value {
    let ahead = state.entity_resolution_ahead;
    let mut summary = json!({
        "jobId": job.entity_resolution_id,
        "status": job.status.as_str(),
    });
    if job.status != Status::Queued || !state.queued_have_no_start {
        summary["startTime"] = json!(seconds(job.started_at + ahead));
    }
    if let Some(ended) = job.ended_at {
        summary["endTime"] = json!(seconds(ended + ahead));
    }
    summary
}

fn seconds(time: OffsetDateTime) -> f64 {
    (time.unix_timestamp_nanos() / 1_000_000) as f64 / 1_000.0
}
