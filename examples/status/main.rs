//! Writes the status page of a made-up week. The function runs through that week in a virtual time, with stand-ins of the
//! services, and is then asked for status as a CloudWatch dashboard asks.

#![allow(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a missing member returns null and does not panic"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

#[path = "../../tests/in_process/mod.rs"]
mod in_process;
mod stories;

use self::stories::{STORIES, Story};

const USAGE: &str = "Writes the status page of a made-up week, and says where it is.

    cargo run --example status                  target/status/week-light-1160.html
    cargo run --example status -- --all FOLDER  all stories, themes and widths, and what must be on each page";

const THEMES: [&str; 2] = ["light", "dark"];
const WIDTHS: [u16; 3] = [500, 1_160, 1_600];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let written = match arguments[..] {
        [] => default_folder().and_then(|folder| write(&folder, &["week"], &["light"], &[1_160])),
        ["--all", folder] => write(Path::new(folder), &STORIES, &THEMES, &WIDTHS),
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => Err(format!("these arguments are not known\n\n{USAGE}")),
    };
    match written {
        Ok(pages) => {
            for page in pages {
                println!("{}", page.display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The folder `status` beside the folder of the program's own build.
fn default_folder() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = program.ancestors().nth(3);
    Ok(target.unwrap_or(Path::new("target")).join("status"))
}

/// Writes pages. Returns their paths.
fn write(
    folder: &Path,
    stories: &[&str],
    themes: &[&str],
    widths: &[u16],
) -> Result<Vec<PathBuf>, String> {
    let in_folder = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(in_folder)?;
    let mut pages = Vec::new();
    let mut expected: BTreeMap<&str, Value> = BTreeMap::new();
    for name in stories {
        // The time passes only as the story says.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .map_err(|error| error.to_string())?;
        let told: Result<(), String> = runtime.block_on(async {
            let story = Story::tell(name).await?;
            for theme in themes {
                for width in widths {
                    let fragment = story.page(theme, *width).await?;
                    let page = folder.join(format!("{name}-{theme}-{width}.html"));
                    fs::write(&page, document(&fragment, *width)).map_err(in_folder)?;
                    pages.push(page);
                }
            }
            expected.insert(name, story.expected());
            Ok(())
        });
        told?;
    }
    let text = format!("{:#}\n", json!(expected));
    fs::write(folder.join("expected.json"), text).map_err(in_folder)?;
    Ok(pages)
}

/// A page as a dashboard shows it: in a box of its width.
fn document(fragment: &str, width: u16) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Status</title></head>\
         <body style=\"margin:0\"><div id=\"widget\" style=\"width:{width}px\">{fragment}</div></body></html>\n"
    )
}
