//! The settings of contract section 2: read once, completely, or the start fails naming the
//! variable.

use std::time::Duration;

use crate::error::{Error, ErrorType};
use crate::job_type::Wish;
use crate::target::{Home, TableArn, arn_parts, is_account, is_region};

/// The most targets that one payload, or `ID_MAPPING_TABLE_ARNS`, may name.
pub const MAX_TARGETS: usize = 100;

/// What the environment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `AWS_REGION`, which Lambda sets.
    pub region: String,
    /// `ID_MAPPING_TABLE_ARNS`: targets for events that name none.
    pub id_mapping_table_arns: Vec<TableArn>,
    /// `DEFAULT_JOB_TYPE`: the wish of a request that has none.
    pub default_job_type: Wish,
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
    pub max_wait: Duration,
    /// `SETTLE_TIME`: how long an EventBridge event waits before its first try.
    pub settle_time: Option<Duration>,
}

/// Settings of the contract that need a part this version does not have.
const WITHOUT_EFFECT: [(&str, &str); 1] = [("FULL_REFRESH_EVERY", "AUTO")];

/// SQS keeps a message for 14 days at most; a request must leave the line before.
const LONGEST_WAIT: (&str, Duration) = ("13d", Duration::from_secs(13 * 24 * 60 * 60));

/// SQS delays a message by 15 minutes at most.
const LONGEST_SETTLING: (&str, Duration) = ("15m", Duration::from_secs(15 * 60));

impl Settings {
    /// Reads the settings through a lookup of environment variables. Empty is as if unset.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let get = |name: &str| lookup(name).filter(|value| !value.is_empty());

        for (name, part) in WITHOUT_EFFECT {
            if get(name).is_some() {
                return Err(invalid(
                    name,
                    &format!("is set and this version has no {part}: unset it"),
                ));
            }
        }
        match get("TRACK_COMPLETION").as_deref() {
            None | Some("false") => {}
            Some("true") => {
                return Err(invalid(
                    "TRACK_COMPLETION",
                    "is true and this version follows no job to its end: unset it",
                ));
            }
            Some(_) => {
                return Err(invalid(
                    "TRACK_COMPLETION",
                    "is neither `true` nor `false`: write one of them",
                ));
            }
        }

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
        let duration = |name: &str, longest| {
            get(name)
                .map(|value| duration(name, &value, longest))
                .transpose()
        };
        let waiting_queue_url = queue_url("WAITING_QUEUE_URL")?;
        let settle_time = duration("SETTLE_TIME", LONGEST_SETTLING)?;
        if settle_time.is_some() && waiting_queue_url.is_none() {
            return Err(invalid(
                "SETTLE_TIME",
                "is set and WAITING_QUEUE_URL is not: set that too, or unset this",
            ));
        }

        Ok(Self {
            region: get("AWS_REGION").map(region).transpose()?.ok_or_else(|| {
                invalid(
                    "AWS_REGION",
                    "is not set; Lambda sets it, elsewhere write a Region such as eu-west-1",
                )
            })?,
            id_mapping_table_arns: match get("ID_MAPPING_TABLE_ARNS") {
                Some(list) => table_arns(&list)?,
                None => Vec::new(),
            },
            default_job_type: match get("DEFAULT_JOB_TYPE") {
                Some(value) => {
                    Wish::parse(&value).map_err(|fault| invalid("DEFAULT_JOB_TYPE", &fault))?
                }
                None => Wish::ServiceDefault,
            },
            event_bus: get("EVENT_BUS_NAME").map(event_bus).transpose()?,
            event_source: match get("EVENT_SOURCE") {
                Some(value) => event_source(value)?,
                None => "id-mapping-populator".to_owned(),
            },
            ledger_table: get("LEDGER_TABLE_NAME").map(ledger_table).transpose()?,
            waiting_queue_url,
            dead_letter_queue_url: queue_url("DEAD_LETTER_QUEUE_URL")?,
            max_wait: duration("MAX_WAIT", LONGEST_WAIT)?
                .unwrap_or(Duration::from_secs(72 * 60 * 60)),
            settle_time,
        })
    }

    /// Checks what only an invocation can tell: whether the configured tables are of the account
    /// and Region in which the function runs.
    pub fn check(&self, home: &Home) -> Result<(), Error> {
        for (index, arn) in self.id_mapping_table_arns.iter().enumerate() {
            home.check(arn).map_err(|fault| {
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

/// The form `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`, or an emulator's.
fn queue_url(name: &str, value: String) -> Result<String, Error> {
    let rest = value
        .strip_prefix("https://")
        .or_else(|| value.strip_prefix("http://"));
    let named = rest.and_then(|rest| rest.split_once('/'));
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

/// `^[1-9][0-9]*[smhd]$`, at most the longest, which comes with its name.
fn duration(name: &str, value: &str, longest: (&str, Duration)) -> Result<Duration, Error> {
    let (longest_name, longest) = longest;
    let no_duration = || {
        invalid(
            name,
            &format!(
                "is no duration: write a number from 1 and one of s, m, h, d, such as {longest_name}"
            ),
        )
    };
    let unit = match value.as_bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 60 * 60,
        Some(b'd') => 24 * 60 * 60,
        _ => return Err(no_duration()),
    };
    let number = value.get(..value.len() - 1).unwrap_or_default();
    if number.is_empty()
        || number.starts_with('0')
        || !number.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(no_duration());
    }
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .map(Duration::from_secs)
        .filter(|duration| *duration <= longest)
        .ok_or_else(|| {
            invalid(
                name,
                &format!("is longer than {longest_name}: write a shorter one"),
            )
        })
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
    if value.starts_with("http://") || value.starts_with("https://") {
        return Ok(());
    }
    Err(invalid(
        name,
        "is no URL: write one that begins with http:// or https://, or unset it",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:cleanrooms:eu-west-1:123456789012:membership/11111111-2222-4333-8444-555555555555/idmappingtable/aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";

    fn read(variables: &[(&str, &str)]) -> Result<Settings, Error> {
        Settings::read(|name| {
            let of = |(key, value): &&(&str, &str)| (*key == name).then(|| (*value).to_owned());
            variables
                .iter()
                .find_map(|pair| of(&pair))
                .or_else(|| (name == "AWS_REGION").then(|| "eu-west-1".to_owned()))
        })
    }

    #[test]
    fn nothing_set_gives_the_contracts_defaults() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.id_mapping_table_arns, []);
        assert_eq!(settings.default_job_type, Wish::ServiceDefault);
        assert_eq!(settings.event_bus, None);
        assert_eq!(settings.event_source, "id-mapping-populator");
        assert_eq!(settings.ledger_table, None);
        assert_eq!(settings.waiting_queue_url, None);
        assert_eq!(settings.dead_letter_queue_url, None);
        assert_eq!(settings.max_wait, Duration::from_secs(72 * 60 * 60));
        assert_eq!(settings.settle_time, None);
    }

    #[test]
    fn empty_is_as_if_unset() {
        let names = [
            "ID_MAPPING_TABLE_ARNS",
            "DEFAULT_JOB_TYPE",
            "FULL_REFRESH_EVERY",
            "EVENT_BUS_NAME",
            "EVENT_SOURCE",
            "LEDGER_TABLE_NAME",
            "WAITING_QUEUE_URL",
            "DEAD_LETTER_QUEUE_URL",
            "MAX_WAIT",
            "SETTLE_TIME",
            "TRACK_COMPLETION",
        ];
        assert_eq!(read(&names.map(|name| (name, ""))), read(&[]));
    }

    #[test]
    fn blanks_around_items_are_trimmed() {
        let settings = read(&[("ID_MAPPING_TABLE_ARNS", &format!(" {ARN} ,\n {ARN}"))]).unwrap();
        assert_eq!(
            settings.id_mapping_table_arns,
            vec![TableArn::parse(ARN).unwrap(); 2]
        );
    }

    #[test]
    fn what_is_set_is_taken() {
        let bus = "arn:aws:events:eu-west-1:123456789012:event-bus/data";
        let settings = read(&[
            ("DEFAULT_JOB_TYPE", "INCREMENTAL"),
            ("EVENT_BUS_NAME", bus),
            ("EVENT_SOURCE", "com.example.populator"),
            ("TRACK_COMPLETION", "false"),
        ])
        .unwrap();
        assert_eq!(settings.default_job_type.as_str(), "INCREMENTAL");
        assert_eq!(settings.event_bus.as_deref(), Some(bus));
        assert_eq!(settings.event_source, "com.example.populator");
        assert!(read(&[("EVENT_BUS_NAME", "default")]).is_ok());

        let queue = "https://sqs.eu-west-1.amazonaws.com/123456789012/waiting";
        let settings = read(&[
            ("LEDGER_TABLE_NAME", "ledger-1"),
            ("WAITING_QUEUE_URL", queue),
            (
                "DEAD_LETTER_QUEUE_URL",
                "http://127.0.0.1:4566/000000000000/dead",
            ),
            ("MAX_WAIT", "13d"),
            ("SETTLE_TIME", "90s"),
        ])
        .unwrap();
        assert_eq!(settings.ledger_table.as_deref(), Some("ledger-1"));
        assert_eq!(settings.waiting_queue_url.as_deref(), Some(queue));
        assert!(settings.dead_letter_queue_url.is_some());
        assert_eq!(settings.max_wait, Duration::from_secs(13 * 86_400));
        assert_eq!(settings.settle_time, Some(Duration::from_secs(90)));
        let arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/ledger";
        assert!(read(&[("LEDGER_TABLE_NAME", arn)]).is_ok());
    }

    #[test]
    fn a_bad_value_is_named_with_its_variable_and_what_to_write() {
        let many = vec![ARN; 101].join(",");
        for (name, value, fault) in [
            (
                "ID_MAPPING_TABLE_ARNS",
                "arn:aws:s3:::bucket",
                "item 1 is no ARN of an ID mapping table",
            ),
            (
                "ID_MAPPING_TABLE_ARNS",
                &format!("{ARN},"),
                "item 2 is empty",
            ),
            ("ID_MAPPING_TABLE_ARNS", &many, "has 101 items"),
            ("DEFAULT_JOB_TYPE", "batch", "write BATCH, INCREMENTAL"),
            ("DEFAULT_JOB_TYPE", "AUTO", "this version"),
            ("EVENT_BUS_NAME", "my bus", "name of an event bus"),
            (
                "EVENT_BUS_NAME",
                "arn:aws:sqs:eu-west-1:123456789012:queue",
                "name of an event bus",
            ),
            (
                "EVENT_BUS_NAME",
                "arn:!!:events:eu-west-1:123456789012:event-bus/x",
                "name of an event bus",
            ),
            (
                "EVENT_BUS_NAME",
                "arn:aws:events:eu-west-1:999:event-bus/x",
                "name of an event bus",
            ),
            ("EVENT_SOURCE", " ", "has a blank"),
            ("EVENT_SOURCE", "a\nb", "has a blank"),
            ("AWS_REGION", "eu west", "is no Region: write one"),
            ("AWS_ENDPOINT_URL", "foo", "is no URL: write one"),
            ("AWS_ENDPOINT_URL_CLEANROOMS", "localhost:4566", "is no URL"),
            ("AWS_ENDPOINT_URL_EVENTBRIDGE", "foo", "is no URL"),
            ("EVENT_SOURCE", "aws.populator", "begins with `aws.`"),
            ("EVENT_SOURCE", &"x".repeat(257), "more than 256"),
            ("FULL_REFRESH_EVERY", "7d", "unset it"),
            ("LEDGER_TABLE_NAME", "my ledger", "name of a DynamoDB table"),
            ("LEDGER_TABLE_NAME", "ab", "name of a DynamoDB table"),
            (
                "LEDGER_TABLE_NAME",
                "arn:aws:s3:eu-west-1:123456789012:table/ledger",
                "name of a DynamoDB table",
            ),
            ("WAITING_QUEUE_URL", "waiting", "is no queue URL: write one"),
            ("WAITING_QUEUE_URL", "https://sqs", "is no queue URL"),
            (
                "DEAD_LETTER_QUEUE_URL",
                "arn:aws:sqs:eu-west-1:123456789012:q",
                "is no queue URL",
            ),
            ("MAX_WAIT", "72", "is no duration: write a number"),
            ("MAX_WAIT", "0h", "is no duration"),
            ("MAX_WAIT", "1.5h", "is no duration"),
            ("MAX_WAIT", " 1h", "is no duration"),
            ("MAX_WAIT", "h", "is no duration"),
            ("MAX_WAIT", "é", "is no duration"),
            ("MAX_WAIT", "+1h", "is no duration"),
            ("MAX_WAIT", "14d", "is longer than 13d"),
            ("MAX_WAIT", "99999999999999999999d", "is longer than 13d"),
            ("SETTLE_TIME", "901s", "is longer than 15m"),
            ("SETTLE_TIME", "5m", "WAITING_QUEUE_URL is not"),
            ("AWS_ENDPOINT_URL_DYNAMODB", "foo", "is no URL"),
            ("AWS_ENDPOINT_URL_ENTITYRESOLUTION", "foo", "is no URL"),
            ("AWS_ENDPOINT_URL_SQS", "foo", "is no URL"),
            ("TRACK_COMPLETION", "true", "unset it"),
            ("TRACK_COMPLETION", "yes", "neither `true` nor `false`"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert_eq!(error.error_type, ErrorType::InvalidConfiguration);
            assert!(
                error.message.contains(&format!("variable {name} ")),
                "{}",
                error.message
            );
            assert!(
                error.message.contains(fault),
                "{name}={value}: {}",
                error.message
            );
        }
    }

    #[test]
    fn a_region_must_be_known() {
        let error = Settings::read(|_| None).unwrap_err();
        assert!(
            error.message.contains("AWS_REGION is not set"),
            "{}",
            error.message
        );
    }

    #[test]
    fn a_table_of_another_account_is_a_bad_setting() {
        let settings = read(&[("ID_MAPPING_TABLE_ARNS", ARN)]).unwrap();
        let home = |account: &str| {
            Home::of(
                &format!("arn:aws:lambda:eu-west-1:{account}:function:p"),
                "eu-west-1",
            )
        };
        assert_eq!(settings.check(&home("123456789012")), Ok(()));
        let error = settings.check(&home("210987654321")).unwrap_err();
        assert_eq!(error.error_type, ErrorType::InvalidConfiguration);
        assert!(
            error
                .message
                .contains("ID_MAPPING_TABLE_ARNS item 1 is of account 123456789012"),
            "{}",
            error.message
        );
    }
}
