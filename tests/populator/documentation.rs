//! The pages of the repository: their links, names, payloads and commands, against the files, the code and the example.
//!
//! `cargo test` builds the example that the commands run. `cargo test --test populator` does not build it again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fake_aws::{FUNCTION_ARN, REGION};
use id_mapping_populator::choice::Rule;
use id_mapping_populator::config::Settings;
use id_mapping_populator::error::ErrorType;
use id_mapping_populator::input::{self, Arrival, Content, Delivery, Part, Payload};
use id_mapping_populator::job_type::JobType;
use id_mapping_populator::metrics::Metric;
use id_mapping_populator::outcome::OutcomeKind;
use id_mapping_populator::target::AwsLocation;
use serde_json::Value;
use time::OffsetDateTime;

use crate::harness::{T1, T2, table_arn};
use crate::live::Arguments;
use crate::repository::{files, name_of, read, root};

/// The most lines of the README, and of a page in `docs`.
const MAX_README: usize = 200;
const MAX_PAGE: usize = 300;

/// The languages of code blocks. A command in a block of another language would not be checked.
const LANGUAGES: [&str; 5] = ["console", "json", "mermaid", "rust", "text"];

/// Where a name in a page may come from, besides the function's own names.
const SOURCES: [&str; 8] = [
    ".ci",
    "benches",
    "cdk",
    "examples",
    "fuzz",
    "src",
    "terraform",
    "tests",
];

/// Names in pages that no source has: what the reader replaces, and attributes that EventBridge writes.
const OTHER_NAMES: [&str; 6] = [
    "ERROR_CODE",
    "ERROR_MESSAGE",
    "FIRE_AND_FORGET",
    "LOG_GROUP_NAME",
    "REQUEST_RESPONSE",
    "ROLE_ARN",
];

/// The programs of commands that are not run here: they need an account, a network or much time.
const OTHER_PROGRAMS: [&str; 20] = [
    "uv",
    "aws",
    "cdk",
    "cp",
    "curl",
    "export",
    "gh",
    "git",
    "jq",
    "mkdir",
    "node",
    "npm",
    "npx",
    "pip",
    "python",
    "python3.11",
    "rustup",
    "sam",
    "sha256sum",
    "terraform",
];

/// The programs whose commands are checked in inline code too.
const CHECKED_PROGRAMS: [&str; 5] = ["cargo", ".ci/notes", ".ci/package", ".ci/run", "fuzz/run"];

/// A page, taken apart.
struct Page {
    /// Such as `docs/deploy.md`.
    name: String,
    length: usize,
    /// The text with empty lines in place of code blocks.
    text: String,
    /// The same with spaces in place of inline code.
    prose: String,
    /// The inline code.
    spans: Vec<Span>,
    blocks: Vec<Block>,
}

/// Inline code.
struct Span {
    line: usize,
    code: String,
}

/// A code block.
struct Block {
    /// The line of its opening fence.
    line: usize,
    language: String,
    code: String,
}

/// A command of a page.
struct Typed {
    /// Such as `README.md:53`.
    place: String,
    /// The variables before it.
    variables: Vec<(String, String)>,
    words: Vec<String>,
}

/// The files of a folder of the repository, without this one.
fn files_of(folder: &str) -> Vec<PathBuf> {
    let mut found = files(folder);
    found.retain(|file| !file.ends_with("tests/populator/documentation.rs"));
    found
}

fn pages() -> Vec<Page> {
    let files = files_of("").into_iter();
    let is_page = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "md");
    let pages: Vec<Page> = files.filter(is_page).map(|file| page(&file)).collect();
    assert!(pages.len() > 15, "{} pages were found", pages.len());
    pages
}

fn page(file: &Path) -> Page {
    let name = name_of(file);
    let all = fs::read_to_string(file).unwrap();
    let (text, blocks) = without_blocks(&name, &all);
    let (prose, spans) = without_inline_code(&text);
    Page {
        name,
        length: all.lines().count(),
        text,
        prose,
        spans,
        blocks,
    }
}

fn named<'a>(pages: &'a [Page], name: &str) -> &'a Page {
    let page = pages.iter().find(|page| page.name == name);
    page.unwrap_or_else(|| panic!("there is no {name}"))
}

fn without_blocks(name: &str, all: &str) -> (String, Vec<Block>) {
    let (mut text, mut blocks) = (String::new(), Vec::new());
    let mut open: Option<Block> = None;
    for (line, content) in (1..).zip(all.lines()) {
        let fence = content.trim_start().strip_prefix("```");
        match (fence, open.take()) {
            (Some(language), None) => {
                let (language, code) = (language.trim().to_owned(), String::new());
                open = Some(Block {
                    line,
                    language,
                    code,
                });
            }
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.code.push_str(content);
                block.code.push('\n');
                open = Some(block);
            }
            (None, None) => text.push_str(content),
        }
        text.push('\n');
    }
    if let Some(block) = open {
        panic!("{name}:{}: the code block has no end", block.line);
    }
    (text, blocks)
}

/// Inline code ends in the paragraph in which it begins.
fn without_inline_code(text: &str) -> (String, Vec<Span>) {
    let (mut prose, mut spans) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some(start) = rest.find('`') {
        let tail = &rest[start..];
        let ticks = &tail[..tail.len() - tail.trim_start_matches('`').len()];
        let (before, after) = rest.split_at(start + ticks.len());
        prose.push_str(before);
        rest = after;
        let paragraph = after.split("\n\n").next().unwrap();
        if let Some(end) = paragraph.find(ticks) {
            let code = &paragraph[..end];
            let line = line_at(&prose, prose.len());
            spans.push(Span {
                line,
                code: code.replace('\n', " "),
            });
            let blank = |character: char| if character == '\n' { '\n' } else { ' ' };
            prose.extend(code.chars().map(blank));
            prose.push_str(ticks);
            rest = &after[end + ticks.len()..];
        }
    }
    prose.push_str(rest);
    (prose, spans)
}

/// The number of the line that has this place of a text.
fn line_at(text: &str, place: usize) -> usize {
    text[..place].matches('\n').count() + 1
}

/// The level and the title, if the line is a heading.
fn heading(line: &str) -> Option<(usize, &str)> {
    let title = line.trim_start_matches('#');
    let level = line.len() - title.len();
    let title = title.strip_prefix(' ')?.trim();
    (level > 0).then_some((level, title))
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &Page) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, title) in page.text.lines().filter_map(heading) {
        let title = title.to_lowercase().replace(' ', "-");
        let is_kept = |character: &char| character.is_alphanumeric() || "-_".contains(*character);
        let slug: String = title.chars().filter(is_kept).collect();
        let repeated = (1..100).map(|number| format!("{slug}-{number}"));
        let mut all = iter::once(slug.clone()).chain(repeated);
        let free = all.find(|anchor| !found.contains(anchor));
        found.insert(free.unwrap());
    }
    found
}

/// The targets of links, with their lines.
fn links(page: &Page) -> Vec<(usize, &str)> {
    let inline = page.prose.match_indices("](").map(|(start, opening)| {
        let target = page.prose[start + opening.len()..].split(')').next();
        (line_at(&page.prose, start), target.unwrap().trim())
    });
    let defined = (1..).zip(page.prose.lines()).filter_map(|(line, content)| {
        let (_, target) = content.strip_prefix('[')?.split_once("]: ")?;
        Some((line, target.trim()))
    });
    inline.chain(defined).collect()
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// What is wrong with a link in a page, if anything is.
fn fault_of_link(
    page: &Page,
    target: &str,
    anchors: &BTreeMap<&str, BTreeSet<String>>,
) -> Option<String> {
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target, None),
    };
    let own = root().join(&page.name);
    let file = match path {
        "" => own,
        _ => own.parent().unwrap().join(path),
    };
    let Ok(file) = file.canonicalize() else {
        return Some(format!("{target} does not exist"));
    };
    let Ok(name) = file.strip_prefix(root().canonicalize().unwrap()) else {
        return Some(format!("{target} is not in the repository"));
    };
    let anchor = anchor?;
    match anchors.get(name.to_str().unwrap()) {
        Some(known) if known.contains(anchor) => None,
        Some(_) => Some(format!("{target} is not a heading of that page")),
        None => Some(format!(
            "{target} has an anchor, and its file is not a page"
        )),
    }
}

#[test]
fn every_link_of_the_pages_resolves() {
    let pages = pages();
    let anchors = pages.iter().map(|page| (page.name.as_str(), anchors(page)));
    let anchors: BTreeMap<&str, BTreeSet<String>> = anchors.collect();
    let (mut count, mut faults) = (0, Vec::new());
    for page in &pages {
        for (line, target) in links(page) {
            if target.starts_with("https://") {
                continue;
            }
            count += 1;
            if let Some(fault) = fault_of_link(page, target, &anchors) {
                faults.push(format!("{}:{line}: {fault}", page.name));
            }
        }
    }
    assert_none(&faults);
    assert!(count > 250, "{count} links were found");
}

#[test]
fn every_page_is_short_enough_to_be_read() {
    let (mut count, mut faults) = (0, Vec::new());
    for page in &pages() {
        let most = match page.name.as_str() {
            "README.md" => MAX_README,
            name if name.starts_with("docs/") => MAX_PAGE,
            _ => continue,
        };
        count += 1;
        if page.length > most {
            let line = most + 1;
            faults.push(format!(
                "{}:{line}: the page has {} lines and may have {most}",
                page.name, page.length
            ));
        }
    }
    assert_none(&faults);
    assert!(count > 10, "{count} pages have a limit");
}

/// The names in the first column of a table, with their lines. The table is under this heading, and has this first
/// header.
fn first_column(page: &Page, title: &str, header: &str) -> BTreeMap<String, usize> {
    let mut section: Option<usize> = None;
    let (mut is_table, mut is_after_row) = (false, false);
    let mut names = BTreeMap::new();
    for (line, content) in (1..).zip(page.text.lines()) {
        if let Some((level, other)) = heading(content) {
            section = if other == title {
                Some(level)
            } else {
                section.filter(|own| level > *own)
            };
        }
        let row = content.strip_prefix("| ");
        match row.and_then(|row| row.split(" | ").next()) {
            None => is_table &= content.starts_with('|'),
            Some(cell) if !is_after_row => is_table = section.is_some() && cell == header,
            Some(cell) if is_table => {
                let (_, spans) = without_inline_code(cell);
                names.extend(spans.into_iter().map(|span| (span.code, line)));
            }
            Some(_) => {}
        }
        is_after_row = content.starts_with('|');
    }
    let name = &page.name;
    assert!(
        !names.is_empty(),
        "{name} has no table of {header} under {title}"
    );
    names
}

/// What such a table lacks, and what it has too much.
fn faults_of_table(
    page: &Page,
    title: &str,
    header: &str,
    known: &BTreeSet<String>,
) -> Vec<String> {
    let written = first_column(page, title, header);
    let page = &page.name;
    let missing = known.iter().filter(|name| !written.contains_key(*name));
    let missing = missing.map(|name| format!("{page}, {title}: the row for {name} is missing"));
    let stale = written.iter().filter(|(name, _)| !known.contains(*name));
    let stale = stale.map(|(name, line)| format!("{page}:{line}: {name} does not exist"));
    missing.chain(stale).collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

/// The variables that the function reads.
fn settings() -> BTreeSet<String> {
    let names = RefCell::new(BTreeSet::new());
    let lookup = |name: &str| {
        names.borrow_mut().insert(name.to_owned());
        (name == "AWS_REGION").then(|| REGION.to_owned())
    };
    Settings::read(lookup).unwrap();
    let mut names = names.into_inner();
    let count = names.len();
    // `main` reads others.
    let main = read("src/main.rs");
    let of_main = main.split("variable(\"").skip(1);
    names.extend(of_main.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
    assert!(names.len() > count + 1, "those of `main` were found");
    // The HTTP client of the AWS SDK reads these.
    names.extend(set(["HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"]));
    // It is not a setting: `main` learns from it whether it runs in Lambda.
    assert!(names.remove("AWS_LAMBDA_RUNTIME_API"));
    names
}

/// The members that a schema has at this place.
fn members(schema: &str, place: &str) -> BTreeSet<String> {
    let schema: Value = serde_json::from_str(&read(&format!("events/schemas/{schema}"))).unwrap();
    let members = schema.pointer(place).and_then(Value::as_object).unwrap();
    members.keys().cloned().collect()
}

/// The fields of outcomes.
fn outcome_fields() -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    for file in files_of("events/schemas") {
        let name = file.file_name().unwrap().to_str().unwrap();
        if name != "request.json" {
            fields.extend(members(name, "/properties/detail/properties"));
        }
    }
    // Only a dry run has these, and it is not published.
    fields.extend(set(["plan", "facts"]));
    // It takes the place of `idMappingJobId`.
    assert!(fields.remove("entityResolutionJobId"));
    fields
}

#[test]
fn the_reference_has_a_row_for_each_name_of_the_code_and_for_no_other() {
    let pages = pages();
    let reference = named(&pages, "docs/reference.md");
    let outcomes = set(OutcomeKind::ALL.map(OutcomeKind::as_str));
    let errors = set(ErrorType::ALL.map(ErrorType::as_str));
    let request = members("request.json", "/properties");
    let payloads = named(&pages, "docs/payloads.md");
    let request = faults_of_table(payloads, "The request object", "field", &request);
    let faults = [
        ("Settings", "variable", settings()),
        ("Outcomes", "`outcome`", outcomes),
        ("Outcomes", "field", outcome_fields()),
        ("Job-type rules", "`rule`", set(Rule::ALL.map(Rule::as_str))),
        ("Errors", "`type`, `errorType`", errors),
        ("Metrics", "metric", set(Metric::ALL.map(Metric::as_str))),
    ]
    .into_iter()
    .flat_map(|(title, header, known)| faults_of_table(reference, title, header, &known));
    let faults: Vec<String> = faults.chain(request).collect();
    assert_none(&faults);
}

/// The names in a section of a template.
fn of_template(file: &str, section: &str) -> BTreeSet<String> {
    let template = read(file);
    let head = format!("{section}:");
    let lines = template.lines().skip_while(|line| *line != head).skip(1);
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with([' ', '#']));
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'));
    let names = names.filter(|name| name.chars().all(char::is_alphanumeric));
    let names: BTreeSet<String> = names.map(str::to_owned).collect();
    assert!(!names.is_empty(), "{file} has no {section}");
    names
}

/// The template that a command deploys.
fn template_of(command: &Typed) -> Option<&str> {
    let words: Vec<&str> = command.words.iter().map(String::as_str).collect();
    match words[..] {
        ["sam", ..] => Some("template.yaml"),
        ["aws", "cloudformation", "deploy", ..] => {
            let option = words.iter().position(|word| *word == "--template-file");
            let file = words[option.expect("the command names a template") + 1];
            // The released one is made of it.
            match file.split_once('/') {
                Some((folder, name)) if folder.starts_with("release") => Some(name),
                _ => Some(file),
            }
        }
        _ => None,
    }
}

/// The parameters that a command names.
fn parameters_of(command: &Typed) -> Vec<&str> {
    let words = command.words.iter().flat_map(|word| word.split(' '));
    let names = words.filter_map(|word| Some(word.split_once('=')?.0));
    let is_parameter = |name: &&str| name.starts_with(char::is_uppercase) && !name.contains('_');
    names.filter(is_parameter).collect()
}

#[test]
fn the_pages_name_the_parameters_of_the_template_and_no_others() {
    let pages = pages();
    let known = of_template("template.yaml", "Parameters");
    let parameters = named(&pages, "docs/parameters.md");
    let mut faults = faults_of_table(parameters, "Parameters", "parameter", &known);
    let readme = named(&pages, "README.md");
    let matter = first_column(
        readme,
        "The settings that matter",
        "parameter of the template",
    );
    for (name, line) in matter {
        if !known.contains(&name) {
            faults.push(format!("README.md:{line}: {name} does not exist"));
        }
    }
    let mut count = 0;
    for command in pages.iter().flat_map(commands) {
        let Some(template) = template_of(&command) else {
            continue;
        };
        let names = parameters_of(&command);
        if names.is_empty() {
            continue;
        }
        let known = of_template(template, "Parameters");
        for name in names {
            count += 1;
            let is_of_releases = template == "template.yaml" && name == "ReleaseBucket";
            if !known.contains(name) && !is_of_releases {
                faults.push(format!("{}: {name} does not exist", command.place));
            }
        }
    }
    assert_none(&faults);
    assert!(count > 20, "commands have {count} parameters");
}

fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
}

/// Returns whether it is in upper case and has at least two words.
fn is_variable(name: &str) -> bool {
    let is_allowed = |character: char| {
        character.is_ascii_uppercase() || character.is_ascii_digit() || character == '_'
    };
    name.contains('_')
        && !name.ends_with('_')
        && name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.chars().all(is_allowed)
}

/// An output of the stack, as pages write it: `WaitingQueueUrl` is `WAITING_QUEUE_URL`.
fn as_placeholder(output: &str) -> String {
    let mut name = String::new();
    for character in output.chars() {
        if character.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(character.to_uppercase());
    }
    name
}

#[test]
fn each_variable_that_a_page_names_is_known() {
    let mut known = settings();
    known.extend(set(Rule::ALL.map(Rule::as_str)));
    known.extend(set(JobType::ALL.map(JobType::as_str)));
    known.extend(set(OutcomeKind::ALL.map(OutcomeKind::as_str)));
    let outputs = of_template("template.yaml", "Outputs");
    known.extend(outputs.iter().map(|output| as_placeholder(output)));
    for file in SOURCES.into_iter().flat_map(files_of) {
        let is_page = file.extension().is_some_and(|extension| extension == "md");
        let text = fs::read_to_string(&file).unwrap_or_default();
        if !is_page {
            let names = identifiers(&text).filter(|name| is_variable(name));
            known.extend(names.map(str::to_owned));
        }
    }
    let mut others: BTreeSet<&str> = OTHER_NAMES.into();
    let (mut count, mut faults) = (0, Vec::new());
    let pages = pages();
    for page in &pages {
        for Span { line, code } in &page.spans {
            for name in identifiers(code).filter(|name| is_variable(name)) {
                count += 1;
                let is_other = others.remove(name) || OTHER_NAMES.contains(&name);
                if !is_other && !known.contains(name) {
                    faults.push(format!("{}:{line}: {name} does not exist", page.name));
                }
            }
        }
    }
    assert_none(&faults);
    assert!(count > 100, "{count} names were found");
    assert!(others.is_empty(), "no page names {others:?}");
}

/// Splits a line into words, as a shell does. Quotation marks inside of `"$(…)"` do not end the word.
fn shell_words(line: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let (mut quote, mut depth) = (None::<char>, 0_usize);
    for character in line.chars() {
        match quote {
            None if character == ' ' => words.extend(word.take()),
            None if ['\'', '"'].contains(&character) => {
                quote = Some(character);
                word = Some(word.unwrap_or_default());
            }
            Some(open) if open == character && depth == 0 => quote = None,
            _ => {
                match character {
                    '(' if quote == Some('"') => depth += 1,
                    ')' if depth > 0 => depth -= 1,
                    _ => {}
                }
                let mut longer = word.unwrap_or_default();
                longer.push(character);
                word = Some(longer);
            }
        }
    }
    assert!(quote.is_none(), "a quotation has no end: {line}");
    words.extend(word);
    words
}

/// The name and the value, if the word sets a variable.
fn assignment(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    let is_allowed = |character: char| character.is_ascii_uppercase() || character == '_';
    let is_name = !name.is_empty() && name.chars().all(is_allowed);
    is_name.then(|| (name.to_owned(), value.to_owned()))
}

/// The commands of a line: those joined by `&&` or `|` are several.
fn typed(place: &str, line: &str) -> Vec<Typed> {
    let all = shell_words(line);
    let parts = all.split(|word| word == "&&" || word == "|");
    let command = |part: &[String]| {
        let variables: Vec<_> = part.iter().map_while(|word| assignment(word)).collect();
        Typed {
            place: place.to_owned(),
            words: part[variables.len()..].to_vec(),
            variables,
        }
    };
    parts.map(command).collect()
}

/// The commands of a page: those of its console blocks, and Cargo's and the repository's own in its inline code.
fn commands(page: &Page) -> Vec<Typed> {
    let mut found = Vec::new();
    for block in &page.blocks {
        if block.language != "console" {
            continue;
        }
        let mut lines = (block.line + 1..).zip(block.code.lines());
        while let Some((line, content)) = lines.next() {
            let place = format!("{}:{line}", page.name);
            let Some(first) = content.trim_start().strip_prefix("$ ") else {
                panic!("{place}: a command begins with a dollar sign");
            };
            let mut command = first.to_owned();
            while command.ends_with('\\') {
                command.pop();
                let (_, next) = lines.next().unwrap();
                command.push_str(next.trim_start());
            }
            found.extend(typed(&place, &command));
        }
    }
    for Span { line, code } in &page.spans {
        let program = code.split(' ').find(|word| assignment(word).is_none());
        if program.is_some_and(|program| CHECKED_PROGRAMS.contains(&program)) {
            found.extend(typed(&format!("{}:{line}", page.name), code));
        }
    }
    found
}

/// Puts values in the places that a page leaves to the reader, or to the service that sends the payload.
fn filled(text: &str) -> String {
    let time = "2026-11-23T02:00:00Z";
    text.replace("TABLE_ARN", &table_arn(T1))
        .replace("<aws.scheduler.scheduled-time>", time)
        .replace("<aws.scheduler.schedule-arn>", "schedule")
        .replace("<id>", "\"id\"")
        .replace("<time>", &format!("\"{time}\""))
}

/// The payload that a JSON block shows, or that the input transformer in it makes.
fn payload(block: &str, value: &Value) -> Option<String> {
    if let Some(template) = value.pointer("/InputTransformer/InputTemplate") {
        return template.as_str().map(filled);
    }
    let has = |name: &str| value.get(name).is_some();
    let detail_type = value.get("detail-type").and_then(Value::as_str);
    if has("outcome") || detail_type.is_some_and(OutcomeKind::is_detail_type) {
        return None;
    }
    let request = members("request.json", "/properties");
    let is_event = has("detail-type") && has("source");
    let is_payload = is_event || has("Records") || request.iter().any(|name| has(name));
    is_payload.then(|| filled(block))
}

/// Why the function does not act on a payload, if it does not.
fn refusal(payload: &str) -> Option<String> {
    let variable = |name: &str| match name {
        "AWS_REGION" => Some(REGION.to_owned()),
        "ID_MAPPING_TABLE_ARNS" => Some(table_arn(T1)),
        _ => None,
    };
    let settings = Settings::read(variable).unwrap();
    let location = AwsLocation::of(FUNCTION_ARN, REGION);
    let arrival = Arrival {
        request_id: "documentation",
        function_arn: FUNCTION_ARN,
        at: OffsetDateTime::now_utc(),
        location: &location,
        settings: &settings,
    };
    match input::parse(&Payload::from_text(payload), &arrival) {
        Ok(Delivery::Direct(parts) | Delivery::Button(parts, _)) => {
            parts.into_iter().find_map(reason)
        }
        Ok(Delivery::Status(_)) => None,
        Ok(Delivery::Batch(messages)) => {
            let mut parts = messages.into_iter().flat_map(|message| message.parts);
            parts.find_map(reason)
        }
        Err(error) => Some(error.message),
    }
}

fn reason(part: Part) -> Option<String> {
    match part.content {
        Ok(Content::Ignored(reason)) => Some(format!("{reason:?}")),
        Ok(_) => None,
        Err(error) => Some(error.message),
    }
}

#[test]
fn every_payload_of_the_pages_is_accepted() {
    let (mut blocks, mut payloads, mut faults) = (0, Vec::new(), Vec::new());
    for page in &pages() {
        for block in &page.blocks {
            if block.language != "json" {
                continue;
            }
            blocks += 1;
            let place = format!("{}:{}", page.name, block.line);
            match serde_json::from_str::<Value>(&block.code) {
                Ok(value) => {
                    payloads.extend(payload(&block.code, &value).map(|text| (place, text)))
                }
                Err(error) => faults.push(format!("{place}: {error}")),
            }
        }
        for Typed { place, words, .. } in commands(page) {
            let option = words.iter().position(|word| word == "--payload");
            let given = option.and_then(|option| words.get(option + 1));
            if let Some(given) = given.filter(|given| given.starts_with('{')) {
                payloads.push((place, filled(given)));
            }
        }
    }
    for (place, text) in &payloads {
        if let Some(refusal) = refusal(text) {
            faults.push(format!("{place}: {refusal}"));
        }
    }
    assert_none(&faults);
    let count = payloads.len();
    assert!(
        blocks >= 4 && count >= 8,
        "{blocks} blocks and {count} payloads"
    );
}

/// The built example. Cargo puts it beside the tests.
fn example() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let built = tests.parent().and_then(Path::parent).unwrap();
    let name = format!("local{}", std::env::consts::EXE_SUFFIX);
    let example = built.join("examples").join(name);
    assert!(
        example.exists(),
        "{} does not exist: run `cargo build --example local`",
        example.display()
    );
    example
}

/// The arguments of the example, if the command runs it.
fn arguments_of_example(command: &Typed) -> Option<&[String]> {
    let first = ["cargo", "run", "--example", "local"];
    let is_example = command.words.iter().take(first.len()).eq(first);
    // After these, `--` separates the example's arguments from Cargo's.
    is_example.then(|| command.words.get(first.len() + 1..).unwrap_or_default())
}

fn fault_of_run(arguments: &[String], output: &Output) -> Option<String> {
    let shown = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Some(format!("it fails with {}: {error}", output.status));
    }
    let is_list = arguments.is_empty() || arguments.iter().any(|word| word == "--help");
    if !is_list && !shown.contains("jobs started") {
        return Some("it does not say how many jobs started".to_owned());
    }
    let refused = |word: &String| word.starts_with("events/refused/");
    match (
        arguments.iter().any(refused),
        shown.contains("the function fails with InvalidRequest"),
    ) {
        (true, false) => Some("the payload is not refused".to_owned()),
        (false, true) => Some(format!("the payload is refused: {shown}")),
        _ => None,
    }
}

#[test]
fn every_example_of_the_pages_runs_and_shows_what_the_page_says() {
    let example = example();
    let (mut runs, mut shown_blocks, mut faults) = (0, 0, Vec::new());
    for page in &pages() {
        let mut shown = String::new();
        for command in &commands(page) {
            let Some(arguments) = arguments_of_example(command) else {
                continue;
            };
            // It serves until it is ended.
            if arguments.iter().any(|word| word == "--serve") {
                continue;
            }
            let mut run = Command::new(&example);
            run.args(arguments).current_dir(root());
            run.env_clear().envs(command.variables.iter().cloned());
            let output = run.output().unwrap();
            runs += 1;
            shown.push_str(&String::from_utf8_lossy(&output.stdout));
            if let Some(fault) = fault_of_run(arguments, &output) {
                faults.push(format!("{}: {fault}", command.place));
            }
        }
        let is_shown = |block: &&Block| block.language == "text" && block.code.starts_with("── ");
        for block in page.blocks.iter().filter(is_shown) {
            shown_blocks += 1;
            if !shown.contains(&block.code) {
                let fault = "no example of the page shows this";
                faults.push(format!("{}:{}: {fault}", page.name, block.line));
            }
        }
    }
    assert_none(&faults);
    assert!(runs >= 5, "{runs} examples ran");
    assert!(shown_blocks > 0, "no page shows what an example says");
}

/// Returns whether a filter of `cargo test` names a module or a test of these folders.
fn is_test(filter: &str, folders: &[&str]) -> bool {
    let name = filter.trim_end_matches("::").rsplit("::").next().unwrap();
    let function = format!("fn {name}(");
    folders
        .iter()
        .flat_map(|folder| files_of(folder))
        .any(|file| {
            let is_module = file.file_stem().is_some_and(|stem| stem == name);
            is_module || fs::read_to_string(&file).is_ok_and(|text| text.contains(&function))
        })
}

fn fault_of_test(arguments: &[&str]) -> Option<String> {
    let mut parts = arguments.split(|word| *word == "--");
    let (folders, filter): (&[&str], &str) = match parts.next().unwrap_or_default() {
        [] | ["--lib"] | ["--test", "populator"] => return None,
        ["--lib", filter] => (&["src"], *filter),
        ["--test", "populator", filter] => (&["tests/populator"], *filter),
        [filter] if !filter.starts_with('-') => (&["src", "tests/populator"], *filter),
        others => return Some(format!("cargo test {} is not known", others.join(" "))),
    };
    (!is_test(filter, folders)).then(|| format!("{filter} is neither a module nor a test"))
}

fn is_bench(name: &str) -> bool {
    let entry = format!("name = \"{name}\"");
    let manifests = files_of("").into_iter();
    let mut manifests = manifests.filter(|file| file.ends_with("Cargo.toml"));
    manifests.any(|file| fs::read_to_string(file).unwrap().contains(&entry))
}

/// What is wrong with the arguments of the live example. The pages have placeholders in place of the ARNs of tables.
fn fault_of_live(arguments: &[&str]) -> Option<String> {
    let tables = [("SECOND_TABLE_ARN", T2), ("TABLE_ARN", T1)];
    let word = |word: &&str| {
        let table = tables.iter().find(|(name, _)| name == word);
        table.map_or_else(|| (*word).to_owned(), |(_, table)| table_arn(table))
    };
    Arguments::read(arguments.iter().map(word)).err()
}

/// What is wrong with a command, if anything is. An unknown one is a fault, so that each kind is decided on.
fn fault_of_command(words: &[&str]) -> Option<String> {
    match words {
        ["cargo", "run", "--example", "live", "--", arguments @ ..] => fault_of_live(arguments),
        ["cargo", "run", "--example", "local" | "status", ..]
        | [".ci/notes", _]
        | [".ci/package", "arm64" | "x86_64", _]
        | [".ci/run"]
        | [".ci/run", "--help"]
        | ["fuzz/run", _] => None,
        ["cargo", "test", arguments @ ..] => fault_of_test(arguments),
        ["cargo", "bench", "--bench", name, ..] => {
            (!is_bench(name)).then(|| format!("{name} is not a benchmark"))
        }
        [
            "cargo",
            "clippy" | "cyclonedx" | "deny" | "fmt" | "install" | "lambda",
            ..,
        ] => None,
        [".ci/run", step] => {
            let function = format!("run_{step}() {{");
            let is_step = read(".ci/run").lines().any(|line| line == function);
            (!is_step).then(|| format!("{step} is not a step of .ci/run"))
        }
        ["fuzz/run", "--executions", _, targets @ ..] => {
            let source = |target: &&&str| root().join(format!("fuzz/examples/fuzz-{target}.rs"));
            let missing = targets.iter().find(|target| !source(target).exists());
            missing.map(|target| format!("{target} is not a fuzz target"))
        }
        [program, ..] => {
            let name = program.rsplit('/').next().unwrap();
            let is_known = OTHER_PROGRAMS.contains(&name);
            (!is_known).then(|| format!("this kind of command is not known: {}", words.join(" ")))
        }
        [] => Some("there is no command".to_owned()),
    }
}

/// A file of the repository that the words name, and that does not exist.
fn missing_file(words: &[&str]) -> Option<String> {
    let folders = ["benches/", "docs/", "events/", "src/", "tests/"];
    let paths = words.iter().flat_map(|word| word.split(' ')).map(|word| {
        let path = word.strip_prefix("file").unwrap_or(word);
        path.trim_start_matches("b://").trim_start_matches("://")
    });
    let is_file = |path: &&str| {
        let is_of_repository = folders.iter().any(|folder| path.starts_with(folder));
        is_of_repository && !path.contains('*')
    };
    let mut files = paths.filter(is_file);
    let missing = files.find(|path| !root().join(path).exists())?;
    Some(format!("{missing} does not exist"))
}

#[test]
fn every_command_of_the_pages_can_be_typed() {
    let (mut count, mut faults) = (0, Vec::new());
    for page in &pages() {
        for Typed { place, words, .. } in commands(page) {
            count += 1;
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let found = fault_of_command(&words).into_iter();
            for fault in found.chain(missing_file(&words)) {
                faults.push(format!("{place}: {fault}"));
            }
        }
        for Block { line, language, .. } in &page.blocks {
            if !LANGUAGES.contains(&language.as_str()) {
                let fault = "nothing checks a code block of this language";
                faults.push(format!("{}:{line}: {fault}: {language}", page.name));
            }
        }
    }
    assert_none(&faults);
    assert!(count > 80, "{count} commands were found");
}

#[test]
fn no_file_points_to_the_contract_that_the_pages_replaced() {
    let (mut count, mut faults) = (0, Vec::new());
    for file in files_of("") {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        count += 1;
        let text = text.to_lowercase();
        let mut previous = "";
        for (line, content) in (1_usize..).zip(text.lines()) {
            // The mark of a comment is not a word.
            let words = content.split_whitespace();
            for word in words.filter(|word| word.contains(char::is_alphanumeric)) {
                let is_section = previous.ends_with("contract") && word.starts_with("section");
                if is_section || word.contains("contract.md") {
                    let fault = "the contract is now docs/reference.md";
                    faults.push(format!("{}:{line}: {fault}", name_of(&file)));
                }
                previous = word;
            }
        }
    }
    assert_none(&faults);
    assert!(count > 150, "{count} files were read");
}
