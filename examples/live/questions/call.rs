//! Calls of the services, and what was observed of each.

use std::error::Error;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_cleanrooms::config::retry::RetryConfig;
use aws_sdk_cleanrooms::config::timeout::TimeoutConfig;
use aws_sdk_cleanrooms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cleanrooms::types::{JobType, SchemaStatusReasonCode};
use aws_sdk_cloudtrail::types::{LookupAttribute, LookupAttributeKey};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use id_mapping_populator::error::with_causes;
use id_mapping_populator::printable;
use id_mapping_populator::target::Target;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::Instant;

/// How long a call may take. A call of `PopulateIdMappingTable` is never repeated.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What is said of an answer that the SDK cannot read, or that lacks what must be in it.
const INCOMPLETE: &str = "unreadable answer";

const NO_CREDENTIALS: &str = "no credentials";

/// What is said of a permission that the answer does not name.
const GUESS: &str = " (a guess: the answer names none)";

/// The most jobs of a page of the list.
const PAGE: i32 = 25;

/// What was observed of a call. It has no identifier, name or ARN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// What the call was for, such as `second call, same table`.
    pub step: String,
    pub operation: String,
    /// The HTTP status. Without one there was no answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_code: Option<String>,
    /// The `reason` of Clean Rooms' errors.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Why there was no answer, or none that can be read, such as `timed out`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<String>,
    /// The service's message, or what the SDK says. It may have names, so it is in no file.
    #[serde(skip)]
    pub detail: Option<String>,
    /// The permission that a refusal names. If an AccessDeniedException names none, the one that the operation needs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub missing_permission: Option<String>,
    pub milliseconds: u64,
}

impl Observed {
    /// Whether the service answered that it does not do what was asked.
    pub fn is_refusal(&self) -> bool {
        self.status.is_some_and(|status| {
            (400..500).contains(&status) && ![408, 425, 499].contains(&status)
        })
    }

    /// Whether there were too many calls.
    pub fn is_throttled(&self) -> bool {
        let code = self.error_code.as_deref().unwrap_or_default();
        self.status == Some(429) || code.starts_with("Throttl")
    }

    /// Whether the job slot or the state of the table was the reason.
    pub fn is_busy(&self) -> bool {
        matches!(self.status, Some(402 | 409))
    }

    /// Whether Entity Resolution does not know the id, or does not take its form.
    pub fn is_unknown_id(&self) -> bool {
        let is_form = self.error_code.as_deref() == Some("ValidationException");
        self.status == Some(404) || self.status == Some(400) && is_form
    }

    pub fn has_no_credentials(&self) -> bool {
        self.failure.as_deref() == Some(NO_CREDENTIALS)
    }

    /// Whether the missing permission is a guess.
    pub fn is_guess(&self) -> bool {
        let permission = self.missing_permission.as_deref().unwrap_or_default();
        permission.ends_with(GUESS)
    }

    /// The answer in a few words, such as `409 ConflictException (INVALID_STATE)`.
    pub fn answer(&self) -> String {
        let status = self.status.map(|status| status.to_string());
        let mut answer = status.unwrap_or_else(|| "no answer".to_owned());
        if let Some(code) = &self.error_code {
            answer.push_str(&format!(" {code}"));
        }
        if let Some(reason) = self.reason.as_ref().or(self.failure.as_ref()) {
            answer.push_str(&format!(" ({reason})"));
        }
        answer
    }

    /// The answer with the details that are for the terminal alone.
    pub fn full_answer(&self) -> String {
        let detail = self.detail.as_deref();
        let detail = detail.map(|detail| format!(": {detail}"));
        self.answer() + &detail.unwrap_or_default()
    }
}

/// A read that failed.
#[derive(Debug)]
pub struct NotRead(pub Box<Observed>);

/// What Entity Resolution lists of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    pub id: String,
    pub status: String,
    /// A queued job may have none yet.
    pub started_at: Option<OffsetDateTime>,
}

/// Whether a job with this status runs or waits for its turn.
pub fn is_under_way(status: &str) -> bool {
    matches!(status, "RUNNING" | "QUEUED")
}

/// Whether a job with this status has ended.
pub fn is_over(status: &str) -> bool {
    matches!(status, "SUCCEEDED" | "FAILED")
}

/// Whether one of these jobs runs or is queued.
pub fn is_one_under_way(jobs: &[Listed]) -> bool {
    jobs.iter().any(|job| is_under_way(&job.status))
}

/// What Entity Resolution tells of one job.
#[derive(Clone, Debug)]
pub struct Described {
    pub status: String,
    pub job_type: Option<String>,
    pub input_records: Option<u64>,
    /// Whether it writes to S3 itself. Then it was started at Entity Resolution.
    pub has_own_output: bool,
}

/// What is known of a table's workflow.
#[derive(Clone, Debug)]
pub struct Workflow {
    pub name: String,
    pub is_provider: bool,
    pub is_incremental: bool,
}

/// The clients of the services, with the credentials of the environment.
#[derive(Clone)]
pub struct Services {
    config: SdkConfig,
    clean_rooms: aws_sdk_cleanrooms::Client,
    entity_resolution: aws_sdk_entityresolution::Client,
    cloud_trail: aws_sdk_cloudtrail::Client,
    sts: aws_sdk_sts::Client,
}

impl Services {
    pub fn new(config: SdkConfig) -> Self {
        let timeout = TimeoutConfig::builder().operation_timeout(TIMEOUT).build();
        let config = config.into_builder().timeout_config(timeout).build();
        Self {
            clean_rooms: aws_sdk_cleanrooms::Client::new(&config),
            entity_resolution: aws_sdk_entityresolution::Client::new(&config),
            cloud_trail: aws_sdk_cloudtrail::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
            config,
        }
    }

    /// The same services for a session of this role that may do all that the role may, except this action.
    pub async fn without(&self, action: &str, role: &str) -> Result<Self, NotRead> {
        let policy = serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [
                { "Effect": "Allow", "Action": "*", "Resource": "*" },
                { "Effect": "Deny", "Action": action, "Resource": "*" },
            ],
        });
        let call = self.sts.assume_role().role_arn(role);
        let call = call
            .role_session_name("id-mapping-live")
            .policy(policy.to_string());
        let watch = Watch::start("assume the role", "AssumeRole", "sts");
        let (output, _) = watch.read(Box::pin(call.send()).await)?;
        let session = output.credentials.ok_or_else(|| watch.empty())?;
        let credentials = Credentials::new(
            session.access_key_id,
            session.secret_access_key,
            Some(session.session_token),
            None,
            "id-mapping-live",
        );
        let credentials = SharedCredentialsProvider::new(credentials);
        let config = self.config.to_builder();
        Ok(Self::new(config.credentials_provider(credentials).build()))
    }

    /// Calls `PopulateIdMappingTable` once. Returns the job's id if one was started.
    pub async fn populate(
        &self,
        step: &str,
        target: &Target,
        job_type: &str,
    ) -> (Observed, Option<String>) {
        let config = aws_sdk_cleanrooms::Config::builder().retry_config(RetryConfig::disabled());
        let call = self.clean_rooms.populate_id_mapping_table();
        let call = call
            .membership_identifier(target.membership.as_str())
            .id_mapping_table_identifier(target.table.as_str())
            .job_type(JobType::from(job_type));
        let call = call.customize().config_override(config);
        let watch = Watch::start(step, "PopulateIdMappingTable", "cleanrooms");
        match Box::pin(call.send()).await {
            Ok(output) if output.id_mapping_job_id.is_empty() => (*watch.empty().0, None),
            Ok(output) => (watch.answered(), Some(output.id_mapping_job_id)),
            Err(error) => (watch.failed(&error), None),
        }
    }

    /// The ARN of a table's workflow, and where its schema is: the collaboration and the name.
    pub async fn table(&self, target: &Target) -> Result<(String, [String; 2]), NotRead> {
        let call = self.clean_rooms.get_id_mapping_table();
        let call = call
            .membership_identifier(target.membership.as_str())
            .id_mapping_table_identifier(target.table.as_str());
        let watch = Watch::start("read the table", "GetIdMappingTable", "cleanrooms");
        let table = watch.read(Box::pin(call.send()).await)?.0.id_mapping_table;
        let table = table.ok_or_else(|| watch.empty())?;
        let workflow = table
            .input_reference_config
            .map(|config| config.input_reference_arn);
        let workflow = workflow.ok_or_else(|| watch.empty())?;
        Ok((workflow, [table.collaboration_id, table.name]))
    }

    /// Whether a table was ever populated.
    pub async fn is_populated(&self, [collaboration, name]: &[String; 2]) -> Result<bool, NotRead> {
        let call = self.clean_rooms.get_schema();
        let call = call.collaboration_identifier(collaboration).name(name);
        let watch = Watch::start("read the schema", "GetSchema", "cleanrooms");
        let schema = watch.read(Box::pin(call.send()).await)?.0.schema;
        let details = schema.map(|schema| schema.schema_status_details);
        let mut reasons = details.iter().flatten().flat_map(|detail| detail.reasons());
        let never = SchemaStatusReasonCode::IdMappingTableNotPopulated;
        Ok(!reasons.any(|reason| *reason.code() == never))
    }

    pub async fn workflow(&self, arn: &str) -> Result<Workflow, NotRead> {
        let name = arn.rsplit('/').next().unwrap_or(arn);
        let call = self.entity_resolution.get_id_mapping_workflow();
        let call = call.workflow_name(name);
        let watch = Watch::start(
            "read the workflow",
            "GetIdMappingWorkflow",
            "entityresolution",
        );
        let workflow = watch.read(Box::pin(call.send()).await)?.0;
        let techniques = workflow.id_mapping_techniques;
        let kind = techniques.map(|techniques| techniques.id_mapping_type.as_str().to_owned());
        Ok(Workflow {
            name: name.to_owned(),
            is_provider: kind.as_deref() == Some("PROVIDER"),
            is_incremental: workflow.incremental_run_config.is_some(),
        })
    }

    /// The jobs of a workflow, the newest first.
    pub async fn jobs(&self, workflow: &str) -> Result<Vec<Listed>, NotRead> {
        let call = self.entity_resolution.list_id_mapping_jobs();
        let call = call.workflow_name(workflow).max_results(PAGE);
        let mut pages = call.into_paginator().send();
        let mut jobs = Vec::new();
        loop {
            let watch = Watch::start("list the jobs", "ListIdMappingJobs", "entityresolution");
            let Some(page) = pages.next().await else {
                break;
            };
            let page = watch.read(page)?.0.jobs.unwrap_or_default();
            jobs.extend(page.into_iter().map(|job| {
                // The SDK returns 1970 for a missing start time.
                let start = OffsetDateTime::from_unix_timestamp_nanos(job.start_time.as_nanos());
                Listed {
                    id: job.job_id,
                    status: job.status.as_str().to_owned(),
                    started_at: start.ok().filter(|at| *at > OffsetDateTime::UNIX_EPOCH),
                }
            }));
        }
        jobs.sort_by_key(|job| std::cmp::Reverse(job.started_at));
        Ok(jobs)
    }

    pub async fn job(&self, workflow: &str, id: &str) -> Result<(Described, Observed), NotRead> {
        let call = self.entity_resolution.get_id_mapping_job();
        let call = call.workflow_name(workflow).job_id(id);
        let watch = Watch::start(
            "read the job by its id",
            "GetIdMappingJob",
            "entityresolution",
        );
        let (job, observed) = watch.read(Box::pin(call.send()).await)?;
        let records = job.metrics.and_then(|metrics| metrics.input_records);
        let described = Described {
            status: job.status.as_str().to_owned(),
            job_type: job.job_type.map(|job_type| job_type.as_str().to_owned()),
            has_own_output: !job.output_source_config.unwrap_or_default().is_empty(),
            input_records: records.and_then(|records| u64::try_from(records).ok()),
        };
        Ok((described, observed))
    }

    /// Calls `BatchDeleteUniqueId` for an id that does not exist, of a matching workflow that does not exist.
    pub async fn delete_nothing(&self, name: &str) -> Observed {
        let call = self.entity_resolution.batch_delete_unique_id();
        let call = call.workflow_name(name).unique_ids(name);
        let watch = Watch::start(
            "delete an id that does not exist",
            "BatchDeleteUniqueId",
            "entityresolution",
        );
        match Box::pin(call.send()).await {
            Ok(_) => watch.answered(),
            Err(error) => watch.failed(&error),
        }
    }

    /// How many calls of `BatchDeleteUniqueId` CloudTrail's event history has, which are at most a page.
    pub async fn recorded_deletes(&self) -> Result<(usize, Observed), NotRead> {
        let attribute = LookupAttribute::builder()
            .attribute_key(LookupAttributeKey::EventName)
            .attribute_value("BatchDeleteUniqueId");
        let watch = Watch::start("look into the event history", "LookupEvents", "cloudtrail");
        let attribute = attribute.build().map_err(|_| watch.empty())?;
        let call = self
            .cloud_trail
            .lookup_events()
            .lookup_attributes(attribute);
        let (output, observed) = watch.read(Box::pin(call.send()).await)?;
        Ok((output.events.unwrap_or_default().len(), observed))
    }
}

/// Measures a call.
struct Watch {
    step: String,
    operation: &'static str,
    service: &'static str,
    began: Instant,
}

impl Watch {
    fn start(step: &str, operation: &'static str, service: &'static str) -> Self {
        Self {
            step: step.to_owned(),
            operation,
            service,
            began: Instant::now(),
        }
    }

    fn observed(&self, status: Option<u16>) -> Observed {
        Observed {
            step: self.step.clone(),
            operation: self.operation.to_owned(),
            status,
            error_code: None,
            reason: None,
            failure: None,
            detail: None,
            missing_permission: None,
            milliseconds: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn answered(&self) -> Observed {
        self.observed(Some(200))
    }

    /// An answer without what must be in it.
    fn empty(&self) -> NotRead {
        NotRead(Box::new(Observed {
            failure: Some(INCOMPLETE.to_owned()),
            ..self.answered()
        }))
    }

    fn read<T, E>(
        &self,
        result: Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<(T, Observed), NotRead>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match result {
            Ok(output) => Ok((output, self.answered())),
            Err(error) => Err(NotRead(Box::new(self.failed(&error)))),
        }
    }

    fn failed<E>(&self, error: &SdkError<E, HttpResponse>) -> Observed
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let response = error.raw_response();
        let body = response.and_then(|response| response.body().bytes());
        let body: Value = serde_json::from_slice(body.unwrap_or_default()).unwrap_or_default();
        let refusal = error.as_service_error();
        let code = refusal.and_then(|refusal| refusal.code()).map(word);
        let status = response.map(|response| response.status().as_u16());
        let is_denied = match code.as_deref() {
            Some(code) => code.starts_with("AccessDenied"),
            None => status == Some(403),
        };
        let message = refusal.and_then(|refusal| refusal.message());
        let failure = match status {
            None => Some(why_no_answer(error)),
            // The SDK could not read it.
            Some(status) if status < 300 => Some(INCOMPLETE),
            Some(_) => None,
        };
        let detail = match message {
            Some(message) => printable::shortened(message),
            None => with_causes(error),
        };
        let guess = || {
            let (service, operation) = (self.service, self.operation);
            format!("{service}:{operation}{GUESS}")
        };
        let named = message.and_then(denied_action);
        Observed {
            reason: body["reason"].as_str().map(word),
            missing_permission: named.or_else(|| is_denied.then(guess)),
            error_code: code,
            failure: failure.map(str::to_owned),
            detail: Some(detail),
            ..self.observed(status)
        }
    }
}

/// Why a call has no answer, without names.
fn why_no_answer<E: Error + 'static>(error: &SdkError<E, HttpResponse>) -> &'static str {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<CredentialsError>() {
            return NO_CREDENTIALS;
        }
        cause = error.source();
    }
    match error {
        SdkError::TimeoutError(_) => "timed out",
        SdkError::DispatchFailure(failure) if failure.is_timeout() => "timed out",
        SdkError::DispatchFailure(failure) if failure.is_io() => "no connection",
        SdkError::ConstructionFailure(_) => "not sent",
        _ => "the connection failed",
    }
}

/// A word of an answer, without what could make it more than a word, or an account number.
fn word(text: &str) -> String {
    if has_account(text) {
        return "hidden".to_owned();
    }
    let is_allowed = |character: &char| character.is_ascii_alphanumeric() || *character == '_';
    text.chars().filter(is_allowed).take(80).collect()
}

/// Whether a text has what may be an account number: 12 digits in a row.
pub fn has_account(text: &str) -> bool {
    let mut words = text.split(|character: char| !character.is_ascii_digit());
    words.any(|digits| digits.len() >= 12)
}

/// The action that a refusal names.
fn denied_action(message: &str) -> Option<String> {
    let named = message.split_once("not authorized to perform: ")?.1;
    let action = named.split_whitespace().next()?;
    let (service, name) = action.split_once(':')?;
    Some(format!("{}:{}", word(service), word(name)))
}
