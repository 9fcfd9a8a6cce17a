//! The settings of contract section 2: read once, completely, or the start fails naming the
//! variable.

use crate::error::{Error, ErrorType};
use crate::job_type::RequestedType;
use crate::period::Period;
use crate::target::{AwsLocation, TableArn, arn_parts, is_account, is_region};

/// The most targets that one payload, or `ID_MAPPING_TABLE_ARNS`, may name.
pub const MAX_TARGETS: usize = 100;

/// What the environment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `AWS_REGION`, which Lambda sets.
    pub region: String,
    /// `AWS_LAMBDA_FUNCTION_NAME`, which Lambda sets: the `service` of metrics; none: there are none.
    pub service: Option<String>,
    /// `ID_MAPPING_TABLE_ARNS`: targets for events that name none.
    pub id_mapping_table_arns: Vec<TableArn>,
    /// `DEFAULT_JOB_TYPE`: the requested_type of a request that has none.
    pub default_job_type: RequestedType,
    /// `FULL_REFRESH_EVERY`: with `AUTO`, a `BATCH` when the last one is older; none: never for that.
    pub full_refresh_every: Option<Period>,
    /// `EVENT_BUS_NAME`: the bus for outcome events, by name or ARN; none: none are published.
    pub event_bus: Option<String>,
    /// `EVENT_SOURCE`: the `source` of outcome events.
    pub event_source: String,
    /// `LEDGER_TABLE_NAME`: the ledger's DynamoDB table, by name or ARN; none: a ledger in memory.
    pub ledger_table: Option<String>,
    /// `WAITING_QUEUE_URL`: the SQS queue of the waiting line; none: what would wait is an error.
    pub waiting_queue_url: Option<String>,
    /// `DEAD_LETTER_QUEUE_URL`: the SQS queue for what was refused while waiting.
    pub dead_letter_queue_url: Option<String>,
    /// `MAX_WAIT`: how long a request may wait.
    pub max_wait: Period,
    /// `SETTLE_TIME`: how long an EventBridge event waits before its first try.
    pub settle_time: Option<Period>,
    /// `TRACK_COMPLETION`: whether each job is followed to its end.
    pub track_completion: bool,
}

/// The longest that a duration may be, and one as an example.
#[derive(Clone, Copy)]
struct Bounds {
    longest: &'static str,
    example: &'static str,
}

/// SQS keeps a message for 14 days at most; a request must leave the line before.
const MAX_WAIT: Bounds = Bounds {
    longest: "13d",
    example: "72h",
};

/// SQS delays a message by 15 minutes at most.
const SETTLE_TIME: Bounds = Bounds {
    longest: "15m",
    example: "5m",
};

/// A leap year: who wants a full refresh at all wants one at least as often.
const FULL_REFRESH_EVERY: Bounds = Bounds {
    longest: "366d",
    example: "7d",
};

const DEFAULT_MAX_WAIT: &str = "72h";

impl Settings {
    /// Reads the settings through a lookup of environment variables. Empty is as if unset.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let get = |name: &str| lookup(name).filter(|value| !value.is_empty());

        let track_completion = match get("TRACK_COMPLETION").as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => {
                return Err(invalid(
                    "TRACK_COMPLETION",
                    "is neither `true` nor `false`: write one of them",
                ));
            }
        };

        for name in [
            "AWS_ENDPOINT_URL",
            "AWS_ENDPOINT_URL_CLEANROOMS",
            "AWS_ENDPOINT_URL_DYNAMODB",
            "AWS_ENDPOINT_URL_ENTITYRESOLUTION",
            "AWS_ENDPOINT_URL_EVENTBRIDGE",
            "AWS_ENDPOINT_URL_SQS",
        ] {
            if let Some(value) = get(name) {
                check_endpoint(name, &value)?;
            }
        }

        let queue_url = |name: &str| get(name).map(|value| queue_url(name, value)).transpose();
        let span = |name: &str, bounds| {
            get(name)
                .map(|value| period(name, &value, bounds))
                .transpose()
        };
        let waiting_queue_url = queue_url("WAITING_QUEUE_URL")?;
        let settle_time = span("SETTLE_TIME", SETTLE_TIME)?;
        for (name, needs_the_line) in [
            ("SETTLE_TIME", settle_time.is_some()),
            ("TRACK_COMPLETION", track_completion),
        ] {
            if needs_the_line && waiting_queue_url.is_none() {
                return Err(invalid(
                    name,
                    "is set and WAITING_QUEUE_URL is not: set that too, or unset this",
                ));
            }
        }

        Ok(Self {
            region: get("AWS_REGION").map(region).transpose()?.ok_or_else(|| {
                invalid(
                    "AWS_REGION",
                    "is not set; Lambda sets it, elsewhere write a Region such as eu-west-1",
                )
            })?,
            service: get("AWS_LAMBDA_FUNCTION_NAME"),
            id_mapping_table_arns: match get("ID_MAPPING_TABLE_ARNS") {
                Some(list) => table_arns(&list)?,
                None => Vec::new(),
            },
            default_job_type: match get("DEFAULT_JOB_TYPE") {
                Some(value) => RequestedType::parse(&value)
                    .map_err(|fault| invalid("DEFAULT_JOB_TYPE", &fault))?,
                None => RequestedType::ServiceDefault,
            },
            event_bus: get("EVENT_BUS_NAME").map(event_bus).transpose()?,
            event_source: match get("EVENT_SOURCE") {
                Some(value) => event_source(value)?,
                None => "id-mapping-populator".to_owned(),
            },
            ledger_table: get("LEDGER_TABLE_NAME").map(ledger_table).transpose()?,
            waiting_queue_url,
            dead_letter_queue_url: queue_url("DEAD_LETTER_QUEUE_URL")?,
            full_refresh_every: span("FULL_REFRESH_EVERY", FULL_REFRESH_EVERY)?,
            max_wait: period(
                "MAX_WAIT",
                get("MAX_WAIT").as_deref().unwrap_or(DEFAULT_MAX_WAIT),
                MAX_WAIT,
            )?,
            settle_time,
            track_completion,
        })
    }

    /// What is allowed and may not be what was meant.
    pub fn warning(&self) -> Option<&'static str> {
        (self.full_refresh_every.is_some() && self.ledger_table.is_none()).then_some(
            "FULL_REFRESH_EVERY is set and LEDGER_TABLE_NAME is not: the function knows only what this execution \
             environment started, and may start a BATCH too often",
        )
    }

    /// Checks what only an invocation can tell: whether the configured tables are of the account
    /// and Region in which the function runs.
    pub fn check(&self, location: &AwsLocation) -> Result<(), Error> {
        for (index, arn) in self.id_mapping_table_arns.iter().enumerate() {
            location.check(arn).map_err(|fault| {
                invalid(
                    "ID_MAPPING_TABLE_ARNS",
                    &format!("item {} {fault}", index + 1),
                )
            })?;
        }
        Ok(())
    }
}

fn invalid(name: &str, fault: &str) -> Error {
    Error::new(
        ErrorType::InvalidConfiguration,
        format!("environment variable {name} {fault}"),
    )
}

fn table_arns(list: &str) -> Result<Vec<TableArn>, Error> {
    let name = "ID_MAPPING_TABLE_ARNS";
    let items: Vec<&str> = list.split(',').map(str::trim).collect();
    if items.len() > MAX_TARGETS {
        return Err(invalid(
            name,
            &format!(
                "has {} items and may have {MAX_TARGETS}: split the tables among functions",
                items.len()
            ),
        ));
    }
    let arn = |(index, item): (usize, &&str)| {
        if item.is_empty() {
            return Err(invalid(
                name,
                &format!("item {} is empty: write an ARN, or remove it", index + 1),
            ));
        }
        TableArn::parse(item).map_err(|fault| invalid(name, &format!("item {} {fault}", index + 1)))
    };
    items.iter().enumerate().map(arn).collect()
}

/// A name or ARN of an event bus: `PutEventsRequestEntry.EventBusName` in EventBridge's API model
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

/// A name or ARN of a table: `TableName` in DynamoDB's API reference takes 3 to 255 of
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

/// A URL's host, and what comes after it.
fn without_scheme(url: &str) -> Option<&str> {
    url.strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
}

/// The form `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`, or an emulator's.
fn queue_url(name: &str, value: String) -> Result<String, Error> {
    if value.ends_with(".fifo") {
        return Err(invalid(
            name,
            "is a FIFO queue's URL, which takes no delay for a message: write a standard queue's",
        ));
    }
    let named = without_scheme(&value).and_then(|rest| rest.split_once('/'));
    if named.is_some_and(|(host, path)| !host.is_empty() && !path.is_empty())
        && value.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Ok(value);
    }
    Err(invalid(
        name,
        "is no queue URL: write one such as https://sqs.eu-west-1.amazonaws.com/123456789012/waiting",
    ))
}

/// `^[1-9][0-9]*[smhd]$`, at most the longest.
fn period(name: &str, value: &str, bounds: Bounds) -> Result<Period, Error> {
    let Bounds { longest, example } = bounds;
    let period = Period::parse(value).ok_or_else(|| {
        let fault = "is no duration: write a number from 1 and one of s, m, h, d, such as";
        invalid(name, &format!("{fault} {example}"))
    })?;
    if Period::parse(longest).is_some_and(|longest| period.duration > longest.duration) {
        return Err(invalid(
            name,
            &format!("is longer than {longest}: write a shorter one"),
        ));
    }
    Ok(period)
}

/// EventBridge keeps `aws.` for AWS's own events, and takes at most 256 characters.
fn event_source(value: String) -> Result<String, Error> {
    let fault = if value.starts_with("aws.") {
        "begins with `aws.`, which EventBridge keeps for AWS: write another name"
    } else if value.chars().count() > 256 {
        "has more than 256 characters: write a shorter name"
    } else if value
        .chars()
        .any(|character| character.is_whitespace() || character.is_control())
    {
        "has a blank in it: write a name such as com.example.populator"
    } else {
        return Ok(value);
    };
    Err(invalid("EVENT_SOURCE", fault))
}

fn region(value: String) -> Result<String, Error> {
    if is_region(&value) {
        Ok(value)
    } else {
        Err(invalid(
            "AWS_REGION",
            "is no Region: write one such as eu-west-1",
        ))
    }
}

/// The SDK reads these itself, and says of a wrong one only at the first call.
fn check_endpoint(name: &str, value: &str) -> Result<(), Error> {
    let rest = without_scheme(value).ok_or_else(|| {
        invalid(
            name,
            "is no URL: write one that begins with http:// or https://, or unset it",
        )
    })?;
    let blank = |character: char| character.is_whitespace() || character.is_control();
    if rest.is_empty() || rest.starts_with(['/', ':']) || rest.contains(blank) {
        return Err(invalid(
            name,
            "is a URL without a host or with a blank: write one such as https://vpce-0123.example.com, or unset it",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
