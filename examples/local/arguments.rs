//! The command line.

use fake_aws::{Account, Exception, Fault};

pub const USAGE: &str = "\
cargo run --example local -- events/FILE.json   run the function on this event
    --wire               print each request and answer, not the timeline
    --times NUMBER       deliver the event this many times: a bus delivers at least once
    --burst NUMBER       deliver this many similar events, each with its own id
    --fault EXCEPTION    make Clean Rooms refuse the call: AccessDeniedException, ConflictException,
                         InternalServerException, ResourceNotFoundException,
                         ServiceQuotaExceededException, ThrottlingException, ValidationException;
                         or make it never answer: NoAnswer. The service recovers after this delivery
    --table KIND         the table that AUTO reads: PROVIDER, NOT_INCREMENTAL, NEVER_POPULATED, or
                         NOT_PERMITTED (it may not be read). The default is a populated table whose
                         workflow runs incrementally
cargo run --example local -- --serve            run the services for `cargo lambda watch`
    --port PORT          on this port
    --account FILE       with the memberships and tables of this JSON file, which docs/discover.py lists

For example:
    cargo run --example local -- events/population-requested.json --wire
    cargo run --example local -- events/population-requested.json --times 2 --burst 5
    cargo run --example local -- events/population-requested.json --fault ThrottlingException
    cargo run --example local -- events/bare-auto.json --table NOT_INCREMENTAL
    cargo run --example local -- --serve --port 8080";

#[derive(Default)]
pub struct Arguments {
    pub file: Option<String>,
    pub fault: Option<Fault>,
    pub table: Option<String>,
    pub times: Option<usize>,
    pub burst: Option<usize>,
    pub serve: bool,
    pub port: u16,
    pub account: Option<Account>,
    pub help: bool,
    pub wire: bool,
}

/// Reads the arguments. An error says what is wrong.
pub fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--help" | "-h" => arguments.help = true,
            "--serve" => arguments.serve = true,
            "--wire" => arguments.wire = true,
            "--port" => {
                let port = words.next().and_then(|port| port.parse().ok());
                arguments.port = port.ok_or("--port needs a number from 0 to 65535")?;
            }
            "--account" => {
                let file = words.next().ok_or("--account needs a file")?;
                let text = std::fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
                let account = serde_json::from_str(&text).map_err(|e| format!("{file}: {e}"))?;
                arguments.account = Some(account);
            }
            "--times" | "--burst" => {
                let number = words.next().and_then(|number| number.parse().ok());
                let number = number.filter(|number| (1..=1_000).contains(number));
                let number = number.ok_or(format!("{word} needs a number from 1 to 1000"))?;
                if word == "--times" {
                    arguments.times = Some(number);
                } else {
                    arguments.burst = Some(number);
                }
            }
            "--fault" => {
                arguments.fault = match words.next().as_deref() {
                    Some("NoAnswer") => Some(Fault::AcceptAndHang),
                    name => name.and_then(Exception::named).map(Fault::Refuse),
                };
                if arguments.fault.is_none() {
                    return Err("--fault needs one of the names below".to_owned());
                }
            }
            "--table" => {
                const KINDS: [&str; 4] = [
                    "PROVIDER",
                    "NOT_INCREMENTAL",
                    "NEVER_POPULATED",
                    "NOT_PERMITTED",
                ];
                let kind = words.next().filter(|kind| KINDS.contains(&kind.as_str()));
                arguments.table = Some(kind.ok_or("--table needs one of the kinds below")?);
            }
            _ if word.starts_with('-') => return Err(format!("{word} is not an option")),
            _ if arguments.file.is_some() || arguments.serve => {
                return Err(format!("{word} is one argument too many"));
            }
            _ => arguments.file = Some(word),
        }
    }
    if arguments.port != 0 && !arguments.serve {
        return Err("--port is only for --serve".to_owned());
    }
    if arguments.account.is_some() && !arguments.serve {
        return Err("--account is only for --serve".to_owned());
    }
    Ok(arguments)
}
