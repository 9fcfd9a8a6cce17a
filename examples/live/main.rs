//! Asks AWS what its documentation leaves open, by experiments with a table of one's own account. It is an example:
//! the function does not need it.

#![allow(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a missing member returns null and does not panic"
)]

mod questions;

use std::io::Write;
use std::process::ExitCode;

use id_mapping_populator::aws::clients;
use id_mapping_populator::clock::Clock;
use id_mapping_populator::config::endpoint;

use self::questions::{Arguments, Host, USAGE};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.is_empty() || words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let arguments = match Arguments::read(words.into_iter()) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    match ask(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn ask(arguments: &Arguments) -> Result<(), String> {
    let region = questions::region(arguments)?;
    let config = clients::load(clients::config_loader(&region)).await;
    // Credentials go nowhere in the clear.
    let variable = |name: &str| std::env::var(name).ok();
    endpoint::check_loaded(&clients::endpoints(&config), variable).map_err(|e| e.message)?;
    let host = Host {
        clock: Clock::system(),
        say: &|line| {
            // A reader that has gone does not end the run.
            let _ = writeln!(std::io::stdout(), "{line}");
        },
        ask: &typed,
    };
    questions::ask(arguments, config, &host).await
}

/// Shows a question, and reads a line. Without a terminal it is empty.
fn typed(question: &str) -> String {
    print!("{question}");
    // If it cannot be shown, nobody types what is wanted.
    let _ = std::io::stdout().flush();
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    line
}
