//! AWS Clean Rooms: `POST /memberships/M/idmappingtables/T/populate`,
//! `GET /memberships/M/idmappingtables/T` and `GET /collaborations/C/schemas/NAME` (API model
//! `cleanrooms-2022-02-17`), and the jobs that run.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::http::{Reply, Request, refusal};
use crate::{ACCOUNT, Exception, Operation, REGION, State, sts};

const JOB_TYPES: [&str; 3] = ["BATCH", "INCREMENTAL", "DELETE_ONLY"];

/// What becomes of a second job while one runs. AWS documents that one runs at a time, and not how
/// the second is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slot {
    /// It runs too.
    #[default]
    Unlimited,
    /// 409 `ConflictException`.
    Conflict,
    /// 402 `ServiceQuotaExceededException`.
    QuotaExceeded,
    /// It is accepted, and begins when the other has ended.
    Queue,
}

/// The status of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It waits for another one.
    Queued,
    /// It runs.
    Running,
    /// It ended well.
    Succeeded,
    /// It failed.
    Failed,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
        }
    }
}

/// An ID mapping table and its workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Whether the workflow maps through a provider service; by rules otherwise.
    pub provider: bool,
    /// Whether the workflow has an incremental run configuration.
    pub incremental: bool,
    /// Whether the table was ever populated.
    pub populated: bool,
    /// Whether its state refuses every job (409).
    pub refuses: bool,
}

impl Table {
    /// A table whose state refuses every job.
    pub fn refusing() -> Self {
        Self {
            refuses: true,
            ..Self::default()
        }
    }
}

impl Default for Table {
    fn default() -> Self {
        Self {
            provider: false,
            incremental: true,
            populated: true,
            refuses: false,
        }
    }
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Clean Rooms' id; shown by `Display`.
    pub id: String,
    /// Entity Resolution's id.
    pub entity_resolution_id: String,
    /// The ID mapping table.
    pub table: String,
    /// The job type that was sent.
    pub job_type: Option<String>,
    /// When it was started.
    pub started_at: OffsetDateTime,
    /// When it ended.
    pub ended_at: Option<OffsetDateTime>,
    /// Its status.
    pub status: Status,
    /// Whether it was started at Entity Resolution itself.
    pub foreign: bool,
    /// Whether it was started through Clean Rooms by hand.
    pub by_hand: bool,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

impl Job {
    fn new(number: usize, table: &str, started_at: OffsetDateTime) -> Self {
        Self {
            id: format!("{number:08x}-0b0b-4000-8000-000000000000"),
            entity_resolution_id: format!("{number:032x}"),
            table: table.to_owned(),
            job_type: None,
            started_at,
            ended_at: None,
            status: Status::Running,
            foreign: false,
            by_hand: false,
        }
    }

    pub(crate) fn number(&self) -> u64 {
        u64::from_str_radix(self.id.get(..8).unwrap_or_default(), 16).unwrap_or_default()
    }

    /// The name of its workflow: each table has its own.
    pub(crate) fn workflow(&self) -> String {
        workflow(&self.table)
    }
}

fn workflow(table: &str) -> String {
    format!("workflow-{table}")
}

/// The name of a table in its collaboration, and so of its schema.
fn name(table: &str, names: &BTreeMap<String, String>) -> String {
    let named = names.get(table).cloned();
    named.unwrap_or_else(|| format!("table-{table}"))
}

pub(crate) const COLLABORATION: &str = "cccccccc-0001-4000-8000-000000000001";

/// The table whose schema a path names, if it names one.
fn table_of_schema(path: &str, names: &BTreeMap<String, String>) -> Option<String> {
    let name = path.strip_prefix(&format!("/collaborations/{COLLABORATION}/schemas/"))?;
    let name = percent_decoded(name);
    let named = names.iter().find(|(_, other)| **other == name);
    let named = named.map(|(table, _)| table.clone());
    named.or_else(|| name.strip_prefix("table-").map(str::to_owned))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let mut digit = || {
            bytes
                .next()
                .and_then(|digit| char::from(digit).to_digit(16))
        };
        decoded.push(match byte {
            b'%' => (digit().unwrap_or(0) * 16 + digit().unwrap_or(0)) as u8,
            other => other,
        });
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

pub(crate) fn operation(request: &Request) -> Option<Operation> {
    if request.method == "GET" && request.path.starts_with("/collaborations/") {
        return Some(Operation::GetSchema);
    }
    let populate = request.path.ends_with("/populate");
    identifiers(&request.path)?;
    match (request.method.as_str(), populate) {
        ("POST", true) => Some(Operation::PopulateIdMappingTable),
        ("GET", false) => Some(Operation::GetIdMappingTable),
        _ => None,
    }
}

fn identifiers(path: &str) -> Option<[&str; 2]> {
    let rest = path.strip_prefix("/memberships/")?;
    let rest = rest.strip_suffix("/populate").unwrap_or(rest);
    let (membership, table) = rest.split_once("/idmappingtables/")?;
    Some([membership, table])
}

/// Why a request is refused regardless of its operation: unsigned, or with an invalid identifier.
fn refused(request: &Request) -> Option<Reply> {
    unsigned(request, "cleanrooms").or_else(|| {
        let ids = identifiers(&request.path).into_iter().flatten();
        ids.into_iter()
            .any(|id| !is_identifier(id))
            .then(invalid_identifier)
    })
}

pub(crate) fn invalid_identifier() -> Reply {
    invalid("an identifier is not a lower-case UUID of 36 characters")
}

pub(crate) fn invalid(message: &str) -> Reply {
    let mut reply = refusal(400, "ValidationException", message);
    reply.body = json!({ "message": message, "reason": "FIELD_VALIDATION_FAILED" })
        .to_string()
        .into();
    reply
}

/// Starts a job, or refuses as the service would.
pub(crate) fn populate(
    request: &Request,
    slot: Slot,
    tables: &BTreeMap<String, Table>,
    jobs: &mut Vec<Job>,
    now: OffsetDateTime,
) -> Reply {
    if let Some(refusal) = refused(request) {
        return refusal;
    }
    let Ok(Value::Object(body)) = serde_json::from_slice(&request.body) else {
        return refusal(400, "SerializationException", "the body is no JSON object");
    };
    let job_type = match body.get("jobType") {
        None => None,
        Some(Value::String(job_type)) if JOB_TYPES.contains(&job_type.as_str()) => {
            Some(job_type.clone())
        }
        Some(_) => return invalid("jobType is none of BATCH, INCREMENTAL, DELETE_ONLY"),
    };
    let table = identifiers(&request.path).map_or("", |[_, table]| table);
    if tables.get(table).is_some_and(|table| table.refuses) {
        return Exception::conflict().reply();
    }
    let Some(status) = beginning(jobs, slot) else {
        return match slot {
            Slot::QuotaExceeded => Exception::quota_exceeded().reply(),
            _ => Exception::conflict().reply(),
        };
    };
    let job = Job {
        job_type,
        status,
        ..Job::new(jobs.len() + 1, table, now)
    };
    let id = job.id.clone();
    jobs.push(job);
    Reply::json(200, &json!({ "idMappingJobId": id }))
}

/// Why a call is refused by the rate, a permission, or because of the table.
pub(crate) fn refused_before(
    request: &Request,
    state: &State,
    now: OffsetDateTime,
) -> Option<Reply> {
    let calls = state.calls.iter().filter(|call| {
        call.operation == Some(Operation::PopulateIdMappingTable)
            && now - call.at < time::Duration::SECOND
    });
    if state
        .calls_per_second
        .is_some_and(|most| calls.count() > most)
    {
        return Some(Exception::throttling().reply());
    }
    let is_limited = request.header("authorization")?.contains(sts::LIMITED);
    if state.needs_start_permission && is_limited {
        let mut reply = refusal(403, "AccessDeniedException", "");
        reply.body = json!({
            "message": "User: arn:aws:sts::123456789012:assumed-role/experimenter/live is not authorized to perform: \
                        entityresolution:StartIdMappingJob on resource: \
                        arn:aws:entityresolution:eu-west-1:123456789012:idmappingworkflow/w with an explicit deny",
            "reason": "INSUFFICIENT_PERMISSIONS",
        })
        .to_string()
        .into();
        return Some(reply);
    }
    let [_, table] = identifiers(&request.path)?;
    if !is_identifier(table) {
        return None;
    }
    if !state.existing.is_empty() && !state.existing.iter().any(|known| known == table) {
        return Some(Exception::not_found().reply());
    }
    let body: Value = serde_json::from_slice(&request.body).ok()?;
    let table = state.tables.get(table).copied().unwrap_or_default();
    let fits = match body["jobType"].as_str() {
        Some("INCREMENTAL" | "DELETE_ONLY") => {
            table.incremental && table.populated && !table.provider
        }
        _ => true,
    };
    let refused = state.refuses_unfit_types && !fits;
    refused.then(|| Exception::validation("INVALID_CONFIGURATION").reply())
}

/// Ends the jobs that have run as long as a job runs. A queued one begins when the one before it ends.
pub(crate) fn end_due_jobs(state: &mut State, now: OffsetDateTime) {
    let Some(runs_for) = state.job_runs_for else {
        return;
    };
    let is_due = |job: &Job| job.started_at + runs_for <= now;
    while state
        .jobs
        .iter()
        .find(|job| job.status == Status::Running)
        .is_some_and(is_due)
    {
        let queued = state
            .jobs
            .iter()
            .position(|job| job.status == Status::Queued);
        end_job(state, Status::Succeeded, now);
        if let Some(begun) = queued.and_then(|queued| state.jobs.get_mut(queued))
            && begun.status == Status::Running
        {
            begun.started_at = now;
        }
    }
}

/// Whether another job is taken, and how it begins.
fn beginning(jobs: &[Job], slot: Slot) -> Option<Status> {
    let busy = jobs.iter().any(|job| job.status == Status::Running);
    match slot {
        Slot::Conflict | Slot::QuotaExceeded if busy => None,
        Slot::Queue if busy => Some(Status::Queued),
        _ => Some(Status::Running),
    }
}

pub(crate) fn start_job_by_hand(
    jobs: &mut Vec<Job>,
    slot: Slot,
    table: &str,
    job_type: Option<&str>,
    now: OffsetDateTime,
) -> bool {
    let Some(status) = beginning(jobs, slot) else {
        return false;
    };
    jobs.push(Job {
        by_hand: true,
        job_type: job_type.map(str::to_owned),
        status,
        ..Job::new(jobs.len() + 1, table, now)
    });
    true
}

pub(crate) fn start_foreign_job(jobs: &mut Vec<Job>, table: &str, now: OffsetDateTime) {
    jobs.push(Job {
        foreign: true,
        ..Job::new(jobs.len() + 1, table, now)
    });
}

/// Ends the running job, so that the next queued one begins. If it succeeded, it has populated its table.
pub(crate) fn end_job(state: &mut State, status: Status, now: OffsetDateTime) -> Option<Job> {
    let jobs = &mut state.jobs;
    let running = jobs.iter_mut().find(|job| job.status == Status::Running)?;
    running.status = status;
    running.ended_at = Some(now);
    let ended = running.clone();
    if !jobs.iter().any(|job| job.status == Status::Running)
        && let Some(queued) = jobs.iter_mut().find(|job| job.status == Status::Queued)
    {
        queued.status = Status::Running;
    }
    if status == Status::Succeeded
        && !ended.foreign
        && let Some(table) = state.tables.get_mut(&ended.table)
    {
        table.populated = true;
    }
    Some(ended)
}

/// Describes a table.
pub(crate) fn get_table(request: &Request, state: &State) -> Reply {
    if let Some(refusal) = refused(request) {
        return refusal;
    }
    let [membership, table] = identifiers(&request.path).unwrap_or_default();
    let mut described = table_summary(membership, table, state);
    described["inputReferenceProperties"] = json!({ "idMappingTableInputSource": [] });
    Reply::json(200, &json!({ "idMappingTable": described }))
}

/// What a list and a description of tables both say of one.
pub(crate) fn table_summary(membership: &str, table: &str, state: &State) -> Value {
    let arn = membership_arn(membership);
    json!({
        "id": table,
        "arn": format!("{arn}/idmappingtable/{table}"),
        "inputReferenceConfig": { "inputReferenceArn": workflow_arn(table, state), "manageResourcePolicies": true },
        "membershipId": membership,
        "membershipArn": arn,
        "collaborationId": COLLABORATION,
        "collaborationArn": collaboration_arn(),
        "name": name(table, &state.names),
        "createTime": 1_700_000_000.0,
        "updateTime": 1_700_000_000.0,
    })
}

fn workflow_arn(table: &str, state: &State) -> String {
    let mut listed = state.account.tables().filter(|listed| listed.id == table);
    if let Some(arn) = listed.find_map(|listed| listed.workflow_arn.clone()) {
        return arn;
    }
    let name = match state.shared_workflow {
        true => "workflow-shared".to_owned(),
        false => workflow(table),
    };
    format!("arn:aws:entityresolution:{REGION}:{ACCOUNT}:idmappingworkflow/{name}")
}

pub(crate) fn membership_arn(membership: &str) -> String {
    format!("arn:aws:cleanrooms:{REGION}:{ACCOUNT}:membership/{membership}")
}

pub(crate) fn collaboration_arn() -> String {
    format!("arn:aws:cleanrooms:{REGION}:{ACCOUNT}:collaboration/{COLLABORATION}")
}

/// Describes a table's schema in its collaboration, as far as its status goes.
pub(crate) fn get_schema(
    request: &Request,
    tables: &BTreeMap<String, Table>,
    names: &BTreeMap<String, String>,
) -> Reply {
    if let Some(refusal) = unsigned(request, "cleanrooms") {
        return refusal;
    }
    let Some(table) = table_of_schema(&request.path, names) else {
        return Exception::not_found().reply();
    };
    let populated = tables.get(&table).copied().unwrap_or_default().populated;
    let status = if populated {
        json!({ "status": "READY", "analysisType": "DIRECT_ANALYSIS" })
    } else {
        json!({
            "status": "NOT_READY",
            "analysisType": "DIRECT_ANALYSIS",
            "reasons": [{
                "code": "ID_MAPPING_TABLE_NOT_POPULATED",
                "message": "the ID mapping table is not populated",
            }],
        })
    };
    Reply::json(
        200,
        &json!({ "schema": {
            "columns": [],
            "partitionKeys": [],
            "analysisRuleTypes": ["ID_MAPPING_TABLE"],
            "creatorAccountId": ACCOUNT,
            "name": name(&table, names),
            "collaborationId": COLLABORATION,
            "collaborationArn": collaboration_arn(),
            "description": "",
            "createTime": 1_700_000_000.0,
            "updateTime": 1_700_000_000.0,
            "type": "ID_MAPPING_TABLE",
            "schemaStatusDetails": [status],
            "schemaTypeProperties": { "idMappingTable": { "idMappingTableInputSource": [] } },
        } }),
    )
}

pub(crate) fn is_identifier(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

/// The refusal of a request that has no signature of version 4 for this service. The signature is not
/// verified, because the stand-in does not know the secret.
pub(crate) fn unsigned(request: &Request, service: &str) -> Option<Reply> {
    let authorization = request.header("authorization").unwrap_or_default();
    let scope = format!("/{service}/aws4_request");
    let signed =
        authorization.starts_with("AWS4-HMAC-SHA256 Credential=") && authorization.contains(&scope);
    let refused = || {
        refusal(
            403,
            "MissingAuthenticationTokenException",
            "missing authentication token",
        )
    };
    (!signed).then(refused)
}
