//! The settings (docs/reference.md#settings). They are read once, at the start. If one is wrong, every invocation fails
//! with an error that names its variable.

mod allowed;
pub mod endpoint;
mod further;
mod variable;

pub use self::allowed::Allowed;
use self::endpoint::without_scheme;
use self::further::Further;
use self::variable::{invalid, items};
use crate::error::Error;
use crate::job_type::RequestedType;
use crate::period::Period;
use crate::printable::id;
use crate::target::{AwsLocation, TableArn, arn_parts, is_account, is_region};

/// The largest number of targets that one payload, or the settings, may name.
pub const MAX_TARGETS: usize = 100;

/// The settings, read from environment variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `AWS_REGION`, which Lambda sets.
    pub region: String,
    /// `AWS_LAMBDA_FUNCTION_NAME`, which Lambda sets: the `service` of metrics. `None` if it is not set. No metrics are
    /// written then.
    pub service: Option<String>,
    /// `ID_MAPPING_TABLE_ARNS`, and what the parameters of `ID_MAPPING_TABLES_PATH` list: the targets of events that
    /// name none.
    pub id_mapping_table_arns: Vec<TableArn>,
    /// `ID_MAPPING_TABLES_PATH`: the path of the Systems Manager parameters that list further tables.
    pub id_mapping_tables_path: Option<String>,
    /// `ALLOW_OTHER_TABLES`, `ALLOWED_JOB_TYPES` and `ALLOWED_ACCOUNTS`: what payloads may name.
    pub allowed: Allowed,
    /// `DEFAULT_JOB_TYPE`: the requested type of a request that has none.
    pub default_job_type: RequestedType,
    /// `FULL_REFRESH_EVERY`: with `AUTO`, a `BATCH` is due when the last one is older. `None` if no full refresh is ever
    /// due.
    pub full_refresh_every: Option<Period>,
    /// `EVENT_BUS_NAME`: the bus for outcome events, by name or ARN. `None` if outcomes are not published.
    pub event_bus: Option<String>,
    /// `EVENT_SOURCE`: the `source` of outcome events.
    pub event_source: String,
    /// `LEDGER_TABLE_NAME`: the ledger's DynamoDB table, by name or ARN. `None` if the ledger is in memory.
    pub ledger_table: Option<String>,
    /// `WAITING_QUEUE_URL`: the SQS queue in which requests wait. `None` if a request that would have to wait fails.
    pub waiting_queue_url: Option<String>,
    /// `DEAD_LETTER_QUEUE_URL`: the SQS queue for what was refused, or rejected while it waited.
    pub dead_letter_queue_url: Option<String>,
    /// `MIN_INTERVAL`: how soon after the start of a table's job its next one may start.
    pub min_interval: Option<Period>,
    /// `MAX_WAIT`: how long a request may wait.
    pub max_wait: Period,
    /// `SETTLE_TIME`: how long an EventBridge event waits before its first try.
    pub settle_time: Option<Period>,
    /// `TRACK_COMPLETION`: whether each job is tracked to its end.
    pub track_completion: bool,
    /// `MAX_JOB_ATTEMPTS`: how many jobs are started for a request, if they fail.
    pub max_job_attempts: u32,
    /// `STATUS_ONLY`: whether the function answers status, and refuses everything else.
    pub status_only: bool,
    /// `POPULATOR_FUNCTION_ARN`: the function that the buttons of a status page invoke. `None` if it is this one; with
    /// `STATUS_ONLY` there are no buttons then.
    pub populator_function_arn: Option<String>,
}

/// The longest value that a duration may have, and an example of a valid one.
#[derive(Clone, Copy)]
struct Bounds {
    longest: &'static str,
    example: &'static str,
}

/// SQS keeps a message for at most 14 days. A request must leave the waiting queue before that.
const MAX_WAIT: Bounds = Bounds {
    longest: "13d",
    example: "72h",
};

/// It is shorter than `MAX_WAIT`.
const MIN_INTERVAL: Bounds = Bounds {
    longest: "13d",
    example: "6h",
};

/// SQS delays a message by at most 15 minutes.
const SETTLE_TIME: Bounds = Bounds {
    longest: "15m",
    example: "5m",
};

/// One leap year. An operator who wants full refreshes wants them at least that often.
const FULL_REFRESH_EVERY: Bounds = Bounds {
    longest: "366d",
    example: "7d",
};

const DEFAULT_MAX_WAIT: &str = "72h";

const TABLES_PATH: &str = "ID_MAPPING_TABLES_PATH";

/// The most that `MAX_JOB_ATTEMPTS` may be.
const MAX_ATTEMPTS: u32 = 5;

impl Settings {
    /// Reads the settings through a lookup of environment variables. An empty variable counts as unset.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let further = Further::read(&set("SETTINGS").unwrap_or_default())?;
        let get = |name: &str| further.get(name).or_else(|| set(name));

        let track_completion = boolean("TRACK_COMPLETION", get("TRACK_COMPLETION"))?;
        endpoint::check(&get)?;
        let queue_url = |name: &str| get(name).map(|value| queue_url(name, value)).transpose();
        let duration = |name: &str, bounds| {
            get(name)
                .map(|value| period(name, &value, bounds))
                .transpose()
        };
        let waiting_queue_url = queue_url("WAITING_QUEUE_URL")?;
        let settle_time = duration("SETTLE_TIME", SETTLE_TIME)?;
        let max_wait = get("MAX_WAIT").unwrap_or_else(|| DEFAULT_MAX_WAIT.to_owned());
        let max_wait = period("MAX_WAIT", &max_wait, MAX_WAIT)?;
        let min_interval = min_interval(get("MIN_INTERVAL"), &max_wait)?;
        let ledger_table = get("LEDGER_TABLE_NAME").map(ledger_table).transpose()?;
        let needs = |name, is_set| check_needs(name, is_set, &waiting_queue_url, &ledger_table);
        needs("TRACK_COMPLETION", track_completion)?;
        needs("MIN_INTERVAL", min_interval.is_some())?;
        if waiting_queue_url.is_none() {
            check_not_set("SETTLE_TIME", settle_time.is_some(), "WAITING_QUEUE_URL")?;
        }
        let id_mapping_table_arns = match get("ID_MAPPING_TABLE_ARNS") {
            Some(list) => table_arns("ID_MAPPING_TABLE_ARNS", &list)?,
            None => Vec::new(),
        };
        let allowed = Allowed::read(
            &id_mapping_table_arns,
            boolean("ALLOW_OTHER_TABLES", get("ALLOW_OTHER_TABLES"))?,
            get("ALLOWED_JOB_TYPES"),
            get("ALLOWED_ACCOUNTS"),
        )?;
        Ok(Self {
            region: region(get("AWS_REGION"))?,
            service: get("AWS_LAMBDA_FUNCTION_NAME"),
            id_mapping_table_arns,
            id_mapping_tables_path: parameter_path(get("ID_MAPPING_TABLES_PATH"))?,
            allowed,
            default_job_type: default_job_type(get("DEFAULT_JOB_TYPE"))?,
            event_bus: get("EVENT_BUS_NAME").map(event_bus).transpose()?,
            event_source: event_source(get("EVENT_SOURCE"))?,
            ledger_table,
            waiting_queue_url,
            dead_letter_queue_url: queue_url("DEAD_LETTER_QUEUE_URL")?,
            full_refresh_every: duration("FULL_REFRESH_EVERY", FULL_REFRESH_EVERY)?,
            min_interval,
            max_wait,
            settle_time,
            track_completion,
            max_job_attempts: max_job_attempts(get("MAX_JOB_ATTEMPTS"), track_completion)?,
            status_only: boolean("STATUS_ONLY", get("STATUS_ONLY"))?,
            populator_function_arn: get("POPULATOR_FUNCTION_ARN")
                .map(function_arn)
                .transpose()?,
        })
    }

    /// Returns warnings for settings that are allowed but probably not what the operator meant.
    pub fn warnings(&self) -> Vec<&'static str> {
        const LEDGER: &str = "FULL_REFRESH_EVERY is set and LEDGER_TABLE_NAME is not: the function knows only the jobs that this \
                              execution environment started, and may start a BATCH too often";
        const DELETIONS: &str = "ALLOWED_JOB_TYPES does not include DELETE_ONLY: an event that records deletion requests, and that has \
                                 to wait, is tried again with DEFAULT_JOB_TYPE";
        const NO_AUTO: &str = "FULL_REFRESH_EVERY is set, DEFAULT_JOB_TYPE is not AUTO, and ALLOWED_JOB_TYPES does not include AUTO: no \
                               full refresh is ever due";
        let is_auto = self.default_job_type == RequestedType::Auto
            || self.allowed.check_job_type(RequestedType::Auto).is_ok();
        let no_auto = self.full_refresh_every.is_some() && !is_auto;
        let delete_only = RequestedType::DELETE_ONLY;
        let no_deletions = self.default_job_type == RequestedType::Auto
            && self.waiting_queue_url.is_some()
            && self.allowed.check_job_type(delete_only).is_err();
        let no_ledger = self.full_refresh_every.is_some() && self.ledger_table.is_none();
        let all = [
            (no_ledger, LEDGER),
            (no_deletions, DELETIONS),
            (no_auto, NO_AUTO),
        ];
        let all = all.into_iter().filter(|(holds, _)| *holds);
        all.map(|(_, warning)| warning).collect()
    }

    /// Returns these settings with the tables of further lists, each by the name of its parameter. They must be in the
    /// account and Region of the function.
    pub fn with_tables<'l>(
        &self,
        lists: impl IntoIterator<Item = (&'l str, &'l str)>,
        location: &AwsLocation,
    ) -> Result<Self, Error> {
        let mut tables = self.id_mapping_table_arns.clone();
        for (parameter, list) in lists {
            let name = format!("{TABLES_PATH}: parameter {}", id(parameter));
            let arns = table_arns(&name, list)?;
            check_location(&name, &arns, location)?;
            for arn in arns {
                if !tables.contains(&arn) {
                    tables.push(arn);
                }
            }
        }
        if tables.is_empty() {
            let reason = "names a path without parameters: write ARNs of ID mapping tables into a parameter under it, or correct it";
            return Err(invalid(TABLES_PATH, reason));
        }
        check_table_count(TABLES_PATH, tables.len())?;
        Ok(Self {
            allowed: self.allowed.with_tables(&tables),
            id_mapping_table_arns: tables,
            ..self.clone()
        })
    }

    /// Checks that the tables of `ID_MAPPING_TABLE_ARNS` are in the account and Region of the function. Only an
    /// invocation tells in which account the function runs.
    pub fn check(&self, location: &AwsLocation) -> Result<(), Error> {
        check_location(
            "ID_MAPPING_TABLE_ARNS",
            &self.id_mapping_table_arns,
            location,
        )
    }
}

/// Checks the tables of a list, which has this name (see [`table_arns`]).
fn check_location(name: &str, arns: &[TableArn], location: &AwsLocation) -> Result<(), Error> {
    for (number, arn) in (1..).zip(arns) {
        let checked = location.check(arn);
        checked.map_err(|reason| invalid(name, &format!("item {number} {reason}")))?;
    }
    Ok(())
}

/// Parses a list of ARNs. The name is the variable's, or the variable's and the parameter's.
fn table_arns(name: &str, list: &str) -> Result<Vec<TableArn>, Error> {
    let items = items(name, list)?;
    check_table_count(name, items.len())?;
    let arn = |(number, item): (usize, &str)| {
        TableArn::parse(item).map_err(|reason| invalid(name, &format!("item {number} {reason}")))
    };
    items.into_iter().map(arn).collect()
}

fn check_table_count(name: &str, count: usize) -> Result<(), Error> {
    if count <= MAX_TARGETS {
        return Ok(());
    }
    let reason =
        format!("has {count} items and may have {MAX_TARGETS}: split the tables among functions");
    Err(invalid(name, &reason))
}

/// Checks a path of Systems Manager: `Path` in its API reference takes a hierarchy such as `/a/b`, at most 2,048 characters.
fn parameter_path(value: Option<String>) -> Result<Option<String>, Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(allowed);
    let Some(value) = value else {
        return Ok(None);
    };
    let path = value.strip_suffix('/').unwrap_or(&value);
    match path.strip_prefix('/') {
        Some(names) if value.len() <= 2_048 && names.split('/').all(is_name) => {
            Ok(Some(path.to_owned()))
        }
        _ => Err(invalid(
            TABLES_PATH,
            "is not a path of Systems Manager parameters: write one such as /id-mapping-populator/my-stack/",
        )),
    }
}

/// Checks the name or ARN of an event bus. `PutEventsRequestEntry.EventBusName` in EventBridge's API model
/// takes `(arn:aws[\w-]*:events:REGION:ACCOUNT:event-bus/)?[/.\-_A-Za-z0-9]+`, at most 1,600
/// characters.
fn event_bus(value: String) -> Result<String, Error> {
    let name = match arn_parts(&value) {
        Some([partition, "events", region, account, resource])
            if partition.starts_with("aws") && is_region(region) && is_account(account) =>
        {
            resource.strip_prefix("event-bus/")
        }
        Some(_) => None,
        None => Some(value.as_str()),
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/.-_".contains(&byte);
    match name {
        Some(name) if !name.is_empty() && value.len() <= 1_600 && name.bytes().all(allowed) => {
            Ok(value)
        }
        _ => Err(invalid(
            "EVENT_BUS_NAME",
            "is neither the name of an event bus (letters, digits, / . - _) nor its ARN \
             (arn:PARTITION:events:REGION:ACCOUNT:event-bus/NAME)",
        )),
    }
}

/// Checks the name or ARN of a DynamoDB table. `TableName` in DynamoDB's API reference takes 3 to 255 of
/// `a-zA-Z0-9_.-`, or the table's ARN.
fn ledger_table(value: String) -> Result<String, Error> {
    let name = match arn_parts(&value) {
        Some([partition, "dynamodb", region, account, resource])
            if partition.starts_with("aws") && is_region(region) && is_account(account) =>
        {
            resource.strip_prefix("table/")
        }
        Some(_) => None,
        None => Some(value.as_str()),
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    match name {
        Some(name) if (3..=255).contains(&name.len()) && name.bytes().all(allowed) => Ok(value),
        _ => Err(invalid(
            "LEDGER_TABLE_NAME",
            "is neither the name of a DynamoDB table (3 to 255 letters, digits, _ . -) nor its ARN \
             (arn:PARTITION:dynamodb:REGION:ACCOUNT:table/NAME)",
        )),
    }
}

/// Checks the URL of a queue: `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`, or an emulator's.
fn queue_url(name: &str, value: String) -> Result<String, Error> {
    if value.ends_with(".fifo") {
        return Err(invalid(
            name,
            "is the URL of a FIFO queue, which cannot delay a single message: write the URL of a standard queue",
        ));
    }
    let host_and_path = without_scheme(&value).and_then(|url| url.split_once('/'));
    if host_and_path.is_some_and(|(host, path)| !host.is_empty() && !path.is_empty())
        && value.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Ok(value);
    }
    Err(invalid(
        name,
        "is not a queue URL: write one such as https://sqs.eu-west-1.amazonaws.com/123456789012/waiting",
    ))
}

/// Parses a duration and checks that it is not too long.
fn period(name: &str, value: &str, bounds: Bounds) -> Result<Period, Error> {
    let Bounds { longest, example } = bounds;
    let period = Period::parse(value).ok_or_else(|| {
        let reason = "is not a duration: write a number from 1 and one of s, m, h, d, such as";
        invalid(name, &format!("{reason} {example}"))
    })?;
    if Period::parse(longest).is_some_and(|longest| period.duration > longest.duration) {
        return Err(invalid(
            name,
            &format!("is longer than {longest}: write a shorter duration"),
        ));
    }
    Ok(period)
}

/// Parses `MIN_INTERVAL`. A request that it holds back must be done before it has waited for too long.
fn min_interval(value: Option<String>, max_wait: &Period) -> Result<Option<Period>, Error> {
    const NAME: &str = "MIN_INTERVAL";
    let Some(value) = value else {
        return Ok(None);
    };
    let interval = period(NAME, &value, MIN_INTERVAL)?;
    if interval.duration >= max_wait.duration {
        let reason = format!(
            "is not shorter than MAX_WAIT ({max_wait}): write a shorter duration, or a longer MAX_WAIT"
        );
        return Err(invalid(NAME, &reason));
    }
    Ok(Some(interval))
}

/// Parses `MAX_JOB_ATTEMPTS`. Only a job that is tracked is known to have failed.
fn max_job_attempts(value: Option<String>, track_completion: bool) -> Result<u32, Error> {
    const NAME: &str = "MAX_JOB_ATTEMPTS";
    let Some(value) = value else {
        return Ok(1);
    };
    let attempts = Some(&value).filter(|value| value.len() == 1);
    let attempts = attempts.and_then(|value| value.parse().ok());
    let attempts = attempts
        .filter(|attempts| (1..=MAX_ATTEMPTS).contains(attempts))
        .ok_or_else(|| invalid(NAME, &format!("must be a number from 1 to {MAX_ATTEMPTS}")))?;
    if attempts > 1 && !track_completion {
        let reason = "is more than 1 and TRACK_COMPLETION is not true: set that too, or unset this";
        return Err(invalid(NAME, reason));
    }
    Ok(attempts)
}

/// Checks the ARN of a Lambda function, which may name a version or an alias.
fn function_arn(value: String) -> Result<String, Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:$".contains(&byte);
    let name = match arn_parts(&value) {
        Some([partition, "lambda", region, account, resource])
            if partition.starts_with("aws") && is_region(region) && is_account(account) =>
        {
            resource.strip_prefix("function:")
        }
        _ => None,
    };
    match name {
        Some(name) if (1..=200).contains(&name.len()) && name.bytes().all(allowed) => Ok(value),
        _ => Err(invalid(
            "POPULATOR_FUNCTION_ARN",
            "is not the ARN of a Lambda function (arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME)",
        )),
    }
}

/// Checks the `source` of outcome events. EventBridge reserves `aws.` for AWS's own events, and takes at most 256
/// characters.
fn event_source(value: Option<String>) -> Result<String, Error> {
    let value = value.unwrap_or_else(|| "id-mapping-populator".to_owned());
    let reason = if value.starts_with("aws.") {
        "begins with `aws.`, which EventBridge reserves for AWS: write another name"
    } else if value.chars().count() > 256 {
        "has more than 256 characters: write a shorter name"
    } else if value
        .chars()
        .any(|character| character.is_whitespace() || character.is_control())
    {
        "contains whitespace: write a name such as com.example.populator"
    } else {
        return Ok(value);
    };
    Err(invalid("EVENT_SOURCE", reason))
}

fn region(value: Option<String>) -> Result<String, Error> {
    let reason = match value {
        Some(value) if is_region(&value) => return Ok(value),
        Some(_) => "is not a Region: write a Region such as eu-west-1",
        None => "is not set: Lambda sets it; outside of Lambda, write a Region such as eu-west-1",
    };
    Err(invalid("AWS_REGION", reason))
}

fn default_job_type(value: Option<String>) -> Result<RequestedType, Error> {
    let parse = |value: String| {
        RequestedType::parse(&value).map_err(|reason| invalid("DEFAULT_JOB_TYPE", &reason))
    };
    value.map_or(Ok(RequestedType::ServiceDefault), parse)
}

fn boolean(name: &str, value: Option<String>) -> Result<bool, Error> {
    match value.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(invalid(name, "must be `true` or `false`")),
    }
}

/// Refuses a setting that needs both the waiting queue and the ledger.
fn check_needs(
    name: &str,
    is_set: bool,
    waiting_queue_url: &Option<String>,
    ledger_table: &Option<String>,
) -> Result<(), Error> {
    if waiting_queue_url.is_none() {
        check_not_set(name, is_set, "WAITING_QUEUE_URL")?;
    }
    if ledger_table.is_none() {
        check_not_set(name, is_set, "LEDGER_TABLE_NAME")?;
    }
    Ok(())
}

/// Checks a setting that takes effect only with another one, which is not set.
fn check_not_set(name: &str, is_set: bool, other: &str) -> Result<(), Error> {
    if is_set {
        let reason = format!("is set and {other} is not: set that too, or unset this");
        return Err(invalid(name, &reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
