//! The checks: whether the function has what it needs, and what to do if it has not.

use serde::Serialize;

use super::gather::{QueueReading, Readings, TableReading, WorkflowReading};
use super::question::Question;
use crate::aws::ReadError;
use crate::aws::entity_resolution::{JobList, Table};
use crate::aws::queue::MessageCounts;
use crate::choice::{Mapping, Workflow, not_taken};
use crate::config::Settings;
use crate::job_type::RequestedType;
use crate::target::AwsLocation;

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is checked.
    pub name: &'static str,
    /// On what: an ARN, a name, a URL.
    pub subject: String,
    /// `None` if it cannot be checked without doing it, or if there is nothing to check.
    pub ok: Option<bool>,
    /// What was seen.
    pub message: String,
    /// What to do: a statement for the policy of the function's role if a permission is missing.
    pub remedy: Option<String>,
    /// The permission that is missing.
    #[serde(skip)]
    pub(super) missing: Option<Missing>,
}

/// A permission that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) action: &'static str,
    pub(super) resources: Vec<String>,
}

/// A statement of an IAM policy.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement<'a> {
    effect: &'a str,
    action: &'a str,
    resource: &'a [String],
}

/// Makes all checks.
pub(super) fn all(readings: &Readings, question: Question<'_>) -> Vec<Check> {
    let Question {
        settings,
        unread,
        location,
    } = question;
    let mut all = vec![ledger(readings, settings, location)];
    let queues = [
        ("waitingQueue", "WAITING_QUEUE_URL", &readings.waiting_queue),
        (
            "deadLetterQueue",
            "DEAD_LETTER_QUEUE_URL",
            &readings.dead_letter_queue,
        ),
    ];
    for (name, setting, reading) in queues {
        all.push(queue(name, setting, reading.as_ref(), location));
    }
    if let Some(path) = &settings.id_mapping_tables_path {
        all.push(table_lists(path, readings.tables.len(), unread, location));
    }
    if readings.tables.is_empty() && unread.is_none() {
        let message = "no table is configured: status reports only tables of ID_MAPPING_TABLE_ARNS";
        let remedy = "set ID_MAPPING_TABLE_ARNS to the ARNs of the ID mapping tables";
        all.push(Check {
            remedy: Some(remedy.to_owned()),
            ..unknown("idMappingTable", "ID_MAPPING_TABLE_ARNS", message)
        });
    }
    for reading in &readings.tables {
        all.extend(of_table(reading, location));
    }
    for (name, reading) in &readings.workflows {
        all.extend(of_workflow(name, reading));
    }
    all.extend(of_settings(readings, settings, location));
    all.extend(not_made(readings, settings, location));
    all
}

/// A check that was not made.
fn unknown(name: &'static str, subject: &str, message: &str) -> Check {
    Check {
        name,
        subject: subject.to_owned(),
        ok: None,
        message: message.to_owned(),
        remedy: None,
        missing: None,
    }
}

/// A check of something that was read, or not.
fn read<T>(
    name: &'static str,
    subject: &str,
    reading: &Result<T, ReadError>,
    seen: impl FnOnce(&T) -> String,
    resources: &[String],
) -> Check {
    match reading {
        Ok(value) => Check {
            ok: Some(true),
            ..unknown(name, subject, &seen(value))
        },
        Err(error) => {
            let missing = missing(error, resources);
            let of = |missing: &Missing| statement(missing.action, &missing.resources);
            Check {
                ok: Some(false),
                remedy: Some(missing.as_ref().map_or_else(|| advice(error), of)),
                missing,
                ..unknown(name, subject, &error.message)
            }
        }
    }
}

/// The permission whose lack made a read fail. `None` if it failed for another reason, or if a statement that allows this
/// action does not help.
fn missing(error: &ReadError, resources: &[String]) -> Option<Missing> {
    let action = error.permission?;
    let is_it = named_action(&error.message).is_none_or(|named| named == action);
    (is_it && !is_denied_explicitly(error)).then(|| Missing {
        action,
        resources: resources.to_vec(),
    })
}

fn is_denied_explicitly(error: &ReadError) -> bool {
    error.message.contains("explicit deny")
}

/// What to do about a read that failed, if a statement of a policy does not help.
fn advice(error: &ReadError) -> String {
    match named_action(&error.message).filter(|_| error.permission.is_some()) {
        _ if error.permission.is_some() && is_denied_explicitly(error) => {
            "a policy denies it explicitly: change the policy that the message names".to_owned()
        }
        Some(named) => format!("allow the role {named}, which the message names"),
        None if error.is_absent => {
            "check ID_MAPPING_TABLE_ARNS, and the table's workflow: one of them does not exist".to_owned()
        }
        None => {
            "ask again in a minute; if it stays, read the message, and \"A ledger item that cannot be read\" in docs/operate.md if it is about the ledger".to_owned()
        }
    }
}

/// The IAM action that a message names, such as `kms:Decrypt`.
fn named_action(message: &str) -> Option<&str> {
    let words = message
        .split(|character: char| !character.is_ascii_alphanumeric() && !":-".contains(character));
    let is_action = |word: &&str| {
        word.split_once(':').is_some_and(|(service, action)| {
            !service.is_empty()
                && service
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
                && action.bytes().all(|byte| byte.is_ascii_alphanumeric())
                && action.starts_with(|first: char| first.is_ascii_uppercase())
        })
    };
    words.into_iter().find(is_action)
}

/// A statement that allows an action, in JSON.
pub(super) fn statement(action: &str, resource: &[String]) -> String {
    let statement = Statement {
        effect: "Allow",
        action,
        resource,
    };
    serde_json::to_string(&statement).unwrap_or_default()
}

/// Checks that the parameters with ARNs of tables can be read.
fn table_lists(
    path: &str,
    tables: usize,
    unread: Option<&ReadError>,
    location: &AwsLocation,
) -> Check {
    let reading = unread.map_or(Ok(()), |error| Err(error.clone()));
    let seen = |_: &()| format!("{tables} ID mapping tables are configured");
    let parameters = location.arn("ssm", path, "parameter");
    read("idMappingTableLists", path, &reading, seen, &[parameters])
}

fn ledger(readings: &Readings, settings: &Settings, location: &AwsLocation) -> Check {
    const NAME: &str = "ledger";
    let Some(table) = &settings.ledger_table else {
        return Check {
            remedy: Some("set LEDGER_TABLE_NAME".to_owned()),
            ..unknown(
                NAME,
                "LEDGER_TABLE_NAME",
                "the ledger is in memory: what another execution environment started is not known",
            )
        };
    };
    let records = readings
        .tables
        .iter()
        .map(|reading| reading.record.as_ref().err());
    let errors: Vec<&ReadError> = records
        .chain([readings.waiters.as_ref().err()])
        .flatten()
        .collect();
    let reading = match errors[..] {
        [] => Ok(()),
        [only] => Err(only.clone()),
        [first, ..] => Err(ReadError {
            message: format!(
                "{}; {} items could not be read",
                first.message,
                errors.len()
            ),
            ..first.clone()
        }),
    };
    let arn = location.arn("dynamodb", table, "table/");
    read(
        NAME,
        table,
        &reading,
        |()| "every item was read".to_owned(),
        &[arn],
    )
}

fn queue(
    name: &'static str,
    setting: &str,
    reading: Option<&QueueReading>,
    location: &AwsLocation,
) -> Check {
    let Some(QueueReading { url, counts }) = reading else {
        return unknown(name, setting, &format!("{setting} is not set"));
    };
    let arn = queue_arn(url, location);
    let seen = |counts: &MessageCounts| {
        format!(
            "{} messages visible, {} in flight, {} delayed",
            counts.visible, counts.in_flight, counts.delayed
        )
    };
    read(name, url, counts, seen, &[arn])
}

/// The ARN of a queue of this account and Region, by the end of its URL.
fn queue_arn(url: &str, location: &AwsLocation) -> String {
    let name = url.rsplit('/').next().unwrap_or(url);
    location.arn("sqs", name, "")
}

fn of_table(reading: &TableReading, location: &AwsLocation) -> Vec<Check> {
    let arn = location.table_arn(&reading.target);
    let membership = location.membership_arn(&reading.target);
    let seen = |table: &Table| format!("{} with the workflow {}", table.name, table.workflow);
    let both = [arn.clone(), membership.clone()];
    let mut checks = vec![read("idMappingTable", &arn, &reading.table, seen, &both)];
    if let (Ok(table), Some(populated)) = (&reading.table, &reading.populated) {
        let seen = |populated: &bool| match populated {
            true => "the table was populated".to_owned(),
            false => "the table was never populated".to_owned(),
        };
        let associations = format!("{membership}/configuredtableassociation/*");
        let resources = [table.collaboration_arn.clone(), associations];
        checks.push(read("schema", &arn, populated, seen, &resources));
    }
    checks
}

fn of_workflow(name: &str, reading: &WorkflowReading) -> Vec<Check> {
    let WorkflowReading {
        arn,
        workflow,
        jobs,
        job,
    } = reading;
    let resources = [arn.clone()];
    let seen = |workflow: &Workflow| {
        let mapping = match workflow.mapping {
            Mapping::Provider => "maps through a provider service",
            Mapping::RuleBased => "maps by rules",
        };
        let incremental = match workflow.incremental {
            true => "has an incremental run configuration",
            false => "has no incremental run configuration",
        };
        format!("{name} {mapping} and {incremental}")
    };
    let seen_jobs = |list: &JobList| format!("{} jobs were read", list.jobs.len());
    let tracking = match job {
        Some(job) => {
            let seen = |(): &()| "a job was read by its id".to_owned();
            read("jobTracking", arn, job, seen, &resources)
        }
        None => Check {
            remedy: Some(statement("entityresolution:GetIdMappingJob", &resources)),
            ..unknown("jobTracking", arn, "no job was listed that could be read")
        },
    };
    vec![
        read("idMappingWorkflow", arn, workflow, seen, &resources),
        with_incomplete(
            jobs,
            read("idMappingJobs", arn, jobs, seen_jobs, &resources),
        ),
        tracking,
    ]
}

/// Whether the jobs can be read is not known if only some were.
fn with_incomplete(jobs: &Result<JobList, ReadError>, check: Check) -> Check {
    match jobs.as_ref().ok().and_then(|list| list.incomplete.as_ref()) {
        Some(error) => Check {
            ok: None,
            message: format!("{}, not all: {}", check.message, error.message),
            ..check
        },
        None => check,
    }
}

/// Settings that contradict each other, or a table's workflow.
fn of_settings(readings: &Readings, settings: &Settings, location: &AwsLocation) -> Vec<Check> {
    const NAME: &str = "settings";
    let wrong = |subject: &str, message: &str, remedy: &str| Check {
        ok: Some(false),
        remedy: Some(remedy.to_owned()),
        ..unknown(NAME, subject, message)
    };
    let of_each_other = settings.warnings().into_iter().map(|warning| {
        wrong(
            "environment variables",
            warning,
            "change one of the two settings",
        )
    });
    let sent = match settings.default_job_type {
        RequestedType::Exactly(job_type) => Some(job_type),
        RequestedType::ServiceDefault | RequestedType::Auto => None,
    };
    let of_tables = readings.tables.iter().filter_map(|reading| {
        let name = &reading.table.as_ref().ok()?.workflow;
        let workflow = readings.workflows.get(name)?.workflow.as_ref().ok()?;
        let why = not_taken(workflow, sent)?;
        let subject = location.table_arn(&reading.target);
        let message = format!(
            "DEFAULT_JOB_TYPE is {}: {why}",
            settings.default_job_type.as_str()
        );
        Some(wrong(&subject, &message, "set DEFAULT_JOB_TYPE to AUTO"))
    });
    let all: Vec<Check> = of_each_other.chain(of_tables).collect();
    if !all.is_empty() {
        return all;
    }
    vec![Check {
        ok: Some(true),
        ..unknown(
            NAME,
            "environment variables",
            "no setting contradicts another one or a table",
        )
    }]
}

/// What cannot be checked without doing it.
fn not_made(readings: &Readings, settings: &Settings, location: &AwsLocation) -> Vec<Check> {
    let check = |name, subject: &str, action: &str, resources: &[String]| Check {
        remedy: Some(statement(action, resources)),
        ..unknown(
            name,
            subject,
            "not checked: it cannot be checked without doing it",
        )
    };
    let tables = readings.tables.iter().map(|reading| {
        let arn = location.table_arn(&reading.target);
        let both = [arn.clone(), location.membership_arn(&reading.target)];
        check("populate", &arn, "cleanrooms:PopulateIdMappingTable", &both)
    });
    let bus = settings.event_bus.iter().map(|bus| {
        let arn = location.arn("events", bus, "event-bus/");
        check("putEvents", bus, "events:PutEvents", &[arn])
    });
    let queues = [&readings.waiting_queue, &readings.dead_letter_queue];
    let queues = queues.into_iter().flatten().map(|queue| {
        let arn = queue_arn(&queue.url, location);
        check("sendMessage", &queue.url, "sqs:SendMessage", &[arn])
    });
    let ledger = settings.ledger_table.iter().map(|table| {
        let arn = location.arn("dynamodb", table, "table/");
        check("putItem", table, "dynamodb:PutItem", &[arn])
    });
    tables.chain(bus).chain(queues).chain(ledger).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_is_what_helps() {
        let error = |message: &str| ReadError {
            message: message.to_owned(),
            permission: Some("dynamodb:GetItem"),
            is_absent: false,
        };
        let remedy = |message: &str| {
            let reading = Err::<(), _>(error(message));
            let check = read(
                "ledger",
                "arn",
                &reading,
                |()| String::new(),
                &["arn".to_owned()],
            );
            check.remedy.unwrap()
        };
        let allow = r#"{"Effect":"Allow","Action":"dynamodb:GetItem","Resource":["arn"]}"#;
        for message in [
            "AccessDeniedException: is not authorized to perform: dynamodb:GetItem",
            "AccessDeniedException: no message",
            "AccessDeniedException: on resource arn:aws:dynamodb:eu-west-1:1:table/Ledger",
        ] {
            assert_eq!(remedy(message), allow, "{message}");
        }
        let other = remedy("KMS: not authorized to perform: kms:Decrypt on the key");
        assert_eq!(other, "allow the role kms:Decrypt, which the message names");
        let denied =
            "is not authorized to perform: dynamodb:GetItem with an explicit deny in a policy";
        assert!(
            remedy(denied).starts_with("a policy denies it"),
            "{}",
            remedy(denied)
        );
    }
}
