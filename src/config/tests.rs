use std::time::Duration;

use super::*;
use crate::error::ErrorType;

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
fn without_variables_the_documented_defaults_hold() {
    let settings = read(&[]).unwrap();
    assert_eq!(settings.id_mapping_table_arns, []);
    assert_eq!(settings.default_job_type, RequestedType::ServiceDefault);
    assert_eq!(settings.event_bus, None);
    assert_eq!(settings.event_source, "id-mapping-populator");
    assert_eq!(settings.ledger_table, None);
    assert_eq!(settings.waiting_queue_url, None);
    assert_eq!(settings.dead_letter_queue_url, None);
    assert_eq!(settings.full_refresh_every, None);
    assert_eq!(
        settings.max_wait.duration,
        Duration::from_secs(72 * 60 * 60)
    );
    assert_eq!(settings.settle_time, None);
    assert_eq!(settings.min_interval, None);
    assert_eq!(settings.max_job_attempts, 1);
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let names = [
        "ID_MAPPING_TABLE_ARNS",
        "ID_MAPPING_TABLES_PATH",
        "SETTINGS",
        "ALLOW_OTHER_TABLES",
        "ALLOWED_JOB_TYPES",
        "ALLOWED_ACCOUNTS",
        "DEFAULT_JOB_TYPE",
        "FULL_REFRESH_EVERY",
        "EVENT_BUS_NAME",
        "EVENT_SOURCE",
        "LEDGER_TABLE_NAME",
        "WAITING_QUEUE_URL",
        "DEAD_LETTER_QUEUE_URL",
        "MAX_JOB_ATTEMPTS",
        "MAX_WAIT",
        "MIN_INTERVAL",
        "SETTLE_TIME",
        "TRACK_COMPLETION",
    ];
    assert_eq!(read(&names.map(|name| (name, ""))), read(&[]));
}

#[test]
fn whitespace_around_items_is_trimmed() {
    let settings = read(&[("ID_MAPPING_TABLE_ARNS", &format!(" {ARN} ,\n {ARN}"))]).unwrap();
    assert_eq!(
        settings.id_mapping_table_arns,
        vec![TableArn::parse(ARN).unwrap(); 2]
    );
}

#[test]
fn a_variable_that_is_set_is_used() {
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
        ("MIN_INTERVAL", "300h"),
        ("TRACK_COMPLETION", "true"),
        ("MAX_JOB_ATTEMPTS", "5"),
    ])
    .unwrap();
    assert_eq!(settings.ledger_table.as_deref(), Some("ledger-1"));
    assert_eq!(settings.waiting_queue_url.as_deref(), Some(queue));
    assert!(settings.dead_letter_queue_url.is_some());
    assert_eq!(settings.max_wait.duration, Duration::from_secs(13 * 86_400));
    assert_eq!(settings.max_wait.to_string(), "13d");
    assert_eq!(
        settings.settle_time.unwrap().duration,
        Duration::from_secs(90)
    );
    let interval = settings.min_interval.unwrap().duration;
    assert_eq!(interval, Duration::from_secs(300 * 60 * 60));
    assert_eq!(settings.max_job_attempts, 5);
    assert!(read(&[("MAX_JOB_ATTEMPTS", "1")]).is_ok());
    let arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/ledger";
    assert!(read(&[("LEDGER_TABLE_NAME", arn)]).is_ok());
}

#[test]
fn full_refreshes_without_a_ledger_cause_a_warning() {
    let full_refresh = ("FULL_REFRESH_EVERY", "7d");
    let settings = read(&[full_refresh, ("DEFAULT_JOB_TYPE", "AUTO")]).unwrap();
    assert_eq!(settings.default_job_type, RequestedType::Auto);
    assert_eq!(settings.full_refresh_every, Period::parse("7d"));
    assert!(settings.warnings()[0].contains("LEDGER_TABLE_NAME"));
    for quiet in [
        &[][..],
        &[full_refresh, ("LEDGER_TABLE_NAME", "ledger")],
        &[("LEDGER_TABLE_NAME", "ledger")],
    ] {
        assert_eq!(read(quiet).unwrap().warnings(), [""; 0]);
    }
}

#[test]
fn an_invalid_value_is_reported_with_its_variable_and_the_right_form() {
    let many = vec![ARN; 101].join(",");
    for (name, value, reason) in [
        (
            "ID_MAPPING_TABLE_ARNS",
            "arn:aws:s3:::bucket",
            "item 1 is not the ARN of an ID mapping table",
        ),
        (
            "ID_MAPPING_TABLE_ARNS",
            &format!("{ARN},"),
            "item 2 is empty",
        ),
        ("ID_MAPPING_TABLE_ARNS", &many, "has 101 items"),
        ("ALLOW_OTHER_TABLES", "yes", "must be `true` or `false`"),
        ("ID_MAPPING_TABLES_PATH", "tables", "is not a path"),
        ("ID_MAPPING_TABLES_PATH", "/a//b", "is not a path"),
        ("ID_MAPPING_TABLES_PATH", "/a b", "is not a path"),
        ("ID_MAPPING_TABLES_PATH", "/", "is not a path"),
        (
            "SETTINGS",
            "MAX_WAIT=1d MIN_INTERVAL",
            "item 2 is not a setting: write one such as",
        ),
        ("SETTINGS", "MAX_WAIT=", "item 1 is not a setting"),
        (
            "SETTINGS",
            "EVENT_BUS_NAME=b",
            "item 1 has another name than ALLOWED_JOB_TYPES, ",
        ),
        (
            "SETTINGS",
            "MAX_WAIT=1d MAX_WAIT=2d",
            "item 2 sets MAX_WAIT again",
        ),
        (
            "ALLOWED_JOB_TYPES",
            "BATCH,FULL",
            "item 2 is not a job type",
        ),
        ("ALLOWED_JOB_TYPES", "BATCH,", "item 2 is empty"),
        (
            "ALLOWED_ACCOUNTS",
            "123456789012,*",
            "item 2 is not an account: write 12 digits, or * alone",
        ),
        (
            "ALLOWED_ACCOUNTS",
            "12345678901",
            "item 1 is not an account",
        ),
        ("DEFAULT_JOB_TYPE", "batch", "write BATCH, INCREMENTAL"),
        ("DEFAULT_JOB_TYPE", "auto", "write BATCH, INCREMENTAL"),
        (
            "FULL_REFRESH_EVERY",
            "weekly",
            "is not a duration: write a number",
        ),
        ("FULL_REFRESH_EVERY", "367d", "is longer than 366d"),
        (
            "WAITING_QUEUE_URL",
            "https://sqs.eu-west-1.amazonaws.com/123456789012/waiting.fifo",
            "is the URL of a FIFO queue",
        ),
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
        ("EVENT_SOURCE", " ", "contains whitespace"),
        ("EVENT_SOURCE", "a\nb", "contains whitespace"),
        ("AWS_REGION", "eu west", "is not a Region: write a Region"),
        ("AWS_ENDPOINT_URL", "foo", "is not a URL: write one"),
        (
            "AWS_ENDPOINT_URL",
            "http://example.com",
            "without encryption: write https://",
        ),
        (
            "AWS_ENDPOINT_URL_SQS",
            "http://localhost.example.com:80/",
            "without encryption",
        ),
        (
            "AWS_ENDPOINT_URL_SQS",
            "http://127.0.0.1@example.com/",
            "without encryption",
        ),
        (
            "AWS_ENDPOINT_URL_SQS",
            "http://127.0.0.1:80@example.com",
            "without encryption",
        ),
        (
            "AWS_ENDPOINT_URL_SQS",
            "http://10.0.0.1:4566",
            "without encryption",
        ),
        (
            "AWS_ENDPOINT_URL_SQS",
            "http://[127.0.0.1",
            "without encryption",
        ),
        (
            "AWS_ENDPOINT_URL_CLEANROOMS",
            "localhost:4566",
            "is not a URL",
        ),
        ("AWS_ENDPOINT_URL_EVENTBRIDGE", "foo", "is not a URL"),
        ("AWS_ENDPOINT_URL", "http://", "without a host"),
        ("AWS_ENDPOINT_URL_SQS", "https:///queue", "without a host"),
        ("AWS_ENDPOINT_URL_SQS", "http://:4566", "without a host"),
        (
            "AWS_ENDPOINT_URL_SQS",
            "http://local host",
            "contains whitespace",
        ),
        ("EVENT_SOURCE", "aws.populator", "begins with `aws.`"),
        ("EVENT_SOURCE", &"x".repeat(257), "more than 256"),
        ("LEDGER_TABLE_NAME", "my ledger", "name of a DynamoDB table"),
        ("LEDGER_TABLE_NAME", "ab", "name of a DynamoDB table"),
        (
            "LEDGER_TABLE_NAME",
            "arn:aws:s3:eu-west-1:123456789012:table/ledger",
            "name of a DynamoDB table",
        ),
        (
            "WAITING_QUEUE_URL",
            "waiting",
            "is not a queue URL: write one",
        ),
        ("WAITING_QUEUE_URL", "https://sqs", "is not a queue URL"),
        (
            "DEAD_LETTER_QUEUE_URL",
            "arn:aws:sqs:eu-west-1:123456789012:q",
            "is not a queue URL",
        ),
        ("MAX_WAIT", "72", "is not a duration: write a number"),
        ("MAX_WAIT", "0h", "is not a duration"),
        ("MAX_WAIT", "1.5h", "is not a duration"),
        ("MAX_WAIT", " 1h", "is not a duration"),
        ("MAX_WAIT", "h", "is not a duration"),
        ("MAX_WAIT", "é", "is not a duration"),
        ("MAX_WAIT", "+1h", "is not a duration"),
        ("MAX_WAIT", "14d", "is longer than 13d"),
        ("MAX_WAIT", "99999999999999999999d", "is longer than 13d"),
        ("SETTLE_TIME", "901s", "is longer than 15m"),
        ("SETTLE_TIME", "5m", "WAITING_QUEUE_URL is not"),
        ("MIN_INTERVAL", "1", "is not a duration"),
        ("MIN_INTERVAL", "72h", "is not shorter than MAX_WAIT (72h)"),
        ("MIN_INTERVAL", "14d", "is longer than 13d"),
        ("MIN_INTERVAL", "5m", "WAITING_QUEUE_URL is not"),
        ("MAX_JOB_ATTEMPTS", "0", "must be a number from 1 to 5"),
        ("MAX_JOB_ATTEMPTS", "6", "must be a number from 1 to 5"),
        ("MAX_JOB_ATTEMPTS", "02", "must be a number from 1 to 5"),
        ("MAX_JOB_ATTEMPTS", "+2", "must be a number from 1 to 5"),
        ("MAX_JOB_ATTEMPTS", "two", "must be a number from 1 to 5"),
        ("MAX_JOB_ATTEMPTS", "2", "TRACK_COMPLETION is not true"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "foo", "is not a URL"),
        ("AWS_ENDPOINT_URL_ENTITYRESOLUTION", "foo", "is not a URL"),
        ("AWS_ENDPOINT_URL_SQS", "foo", "is not a URL"),
        (
            "TRACK_COMPLETION",
            "true",
            "is set and WAITING_QUEUE_URL is not",
        ),
        ("TRACK_COMPLETION", "yes", "must be `true` or `false`"),
    ] {
        let error = read(&[(name, value)]).unwrap_err();
        assert_eq!(error.error_type, ErrorType::InvalidConfiguration);
        assert!(
            error.message.contains(&format!("variable {name} ")),
            "{}",
            error.message
        );
        assert!(
            error.message.contains(reason),
            "{name}={value}: {}",
            error.message
        );
    }
}

#[test]
fn the_region_is_required() {
    let error = Settings::read(|_| None).unwrap_err();
    assert!(
        error.message.contains("AWS_REGION is not set"),
        "{}",
        error.message
    );
}

#[test]
fn a_table_of_another_account_is_refused() {
    let settings = read(&[("ID_MAPPING_TABLE_ARNS", ARN)]).unwrap();
    let location = |account: &str| {
        AwsLocation::of(
            &format!("arn:aws:lambda:eu-west-1:{account}:function:p"),
            "eu-west-1",
        )
    };
    assert_eq!(settings.check(&location("123456789012")), Ok(()));
    let error = settings.check(&location("210987654321")).unwrap_err();
    assert_eq!(error.error_type, ErrorType::InvalidConfiguration);
    assert!(
        error
            .message
            .contains("ID_MAPPING_TABLE_ARNS item 1 is in account 123456789012"),
        "{}",
        error.message
    );
}

#[test]
fn an_endpoint_on_loopback_may_be_without_tls() {
    for url in [
        "http://127.0.0.1",
        "http://127.0.0.1:4566/path",
        "http://localhost:4566",
        "http://[::1]:4566",
        "https://vpce-0123.example.com",
    ] {
        assert!(read(&[("AWS_ENDPOINT_URL_SQS", url)]).is_ok(), "{url}");
    }
}

#[test]
fn deletions_that_may_have_to_wait_cause_a_warning_if_they_may_not_be_asked_for() {
    let queue = (
        "WAITING_QUEUE_URL",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/waiting",
    );
    let (auto, types) = (("DEFAULT_JOB_TYPE", "AUTO"), ("ALLOWED_JOB_TYPES", "AUTO"));
    let settings = read(&[queue, auto, types]).unwrap();
    assert!(settings.warnings()[0].contains("DELETE_ONLY"));
    for quiet in [&[queue, auto][..], &[queue, types], &[auto, types]] {
        assert_eq!(read(quiet).unwrap().warnings(), [""; 0]);
    }
}

#[test]
fn no_proxy_takes_requests_without_tls_off_the_machine() {
    let endpoint = ("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:4566");
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        let proxy = (name, "http://proxy.example.com:8080");
        let message = read(&[endpoint, proxy]).unwrap_err().message;
        let expected = format!(
            "environment variable {name} would send the signed requests of environment variable AWS_ENDPOINT_URL_SQS to another host"
        );
        assert!(message.starts_with(&expected), "{message}");
        let tls = ("AWS_ENDPOINT_URL_SQS", "https://example.com");
        for allowed in [
            &[proxy][..],
            &[tls, proxy],
            &[endpoint, (name, "http://127.0.0.1:8080")],
            &[endpoint, proxy, ("NO_PROXY", "example.com, 127.0.0.1")],
            &[endpoint, proxy, ("no_proxy", "*")],
        ] {
            assert!(read(allowed).is_ok(), "{allowed:?}");
        }
        assert!(read(&[endpoint, proxy, ("NO_PROXY", "localhost")]).is_err());
        assert!(read(&[endpoint, proxy, ("NO_PROXY", "127.0.0.10")]).is_err());
        let by_name = ("AWS_ENDPOINT_URL_SQS", "http://localhost:4566");
        let message = read(&[by_name, proxy]).unwrap_err().message;
        assert!(message.ends_with("add localhost to NO_PROXY"), "{message}");
        assert!(read(&[by_name, proxy, ("NO_PROXY", "localhost")]).is_ok());
        let v6 = ("AWS_ENDPOINT_URL_SQS", "http://[::1]:4566");
        assert!(read(&[v6, proxy, ("NO_PROXY", "::1")]).is_ok());
    }
}

#[test]
fn the_endpoint_of_a_file_is_checked_too() {
    let checked = |url: &str| endpoint::check_loaded(&[url.to_owned()], |_| None);
    assert!(endpoint::check_loaded(&[], |_| None).is_ok());
    assert!(checked("http://localhost:1").is_ok());
    let message = checked("http://example.com").unwrap_err().message;
    assert!(
        message.contains("endpoint_url") && message.contains("without encryption"),
        "{message}"
    );
}

#[test]
fn an_interval_needs_the_ledger_and_is_shorter_than_the_longest_wait() {
    let queue = (
        "WAITING_QUEUE_URL",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/waiting",
    );
    let ledger = ("LEDGER_TABLE_NAME", "ledger");
    for (variables, reason) in [
        (
            &[queue, ("MIN_INTERVAL", "1h")][..],
            Some("LEDGER_TABLE_NAME is not"),
        ),
        (&[queue, ledger, ("MIN_INTERVAL", "1h")], None),
        (
            &[queue, ledger, ("MIN_INTERVAL", "2h"), ("MAX_WAIT", "2h")],
            Some("is not shorter than MAX_WAIT (2h)"),
        ),
        (
            &[queue, ledger, ("MIN_INTERVAL", "119m"), ("MAX_WAIT", "2h")],
            None,
        ),
    ] {
        let read = read(variables).map_err(|error| error.message);
        match reason {
            Some(reason) => assert!(read.unwrap_err().contains(reason), "{variables:?}"),
            None => assert!(read.is_ok(), "{variables:?}"),
        }
    }
}

#[test]
fn settings_may_be_written_in_one_variable_which_is_read_first() {
    let settings = read(&[
        ("DEFAULT_JOB_TYPE", "AUTO"),
        ("MAX_WAIT", "1d"),
        (
            "SETTINGS",
            " DEFAULT_JOB_TYPE=BATCH  ALLOWED_JOB_TYPES=BATCH,AUTO\n",
        ),
    ])
    .unwrap();
    assert_eq!(settings.default_job_type.as_str(), "BATCH");
    assert_eq!(settings.max_wait.to_string(), "1d");
    let allowed = |job_type| settings.allowed.check_job_type(job_type).is_ok();
    assert!(allowed(RequestedType::Auto) && !allowed(RequestedType::DELETE_ONLY));
    let error = read(&[("SETTINGS", "MAX_WAIT=14d")]).unwrap_err();
    assert!(
        error
            .message
            .contains("variable MAX_WAIT is longer than 13d"),
        "{}",
        error.message
    );
}

#[test]
fn a_path_may_end_with_a_slash() {
    let settings = read(&[("ID_MAPPING_TABLES_PATH", "/a.b/c_d-1/")]).unwrap();
    assert_eq!(
        settings.id_mapping_tables_path.as_deref(),
        Some("/a.b/c_d-1")
    );
}
