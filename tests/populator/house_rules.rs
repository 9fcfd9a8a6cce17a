//! The rules of the house that `src/lib.rs` lists, as far as the text of the source tells whether they are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::repository::{files, name_of};

/// The longest function in `src`, in lines.
const MAX_FUNCTION: usize = 60;

/// A file of `src`, without its tests.
struct Source {
    /// Such as `aws/queue.rs`.
    path: String,
    /// Such as `aws::queue`; empty for the crate's root.
    module: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for file in files("src") {
        let path = name_of(&file);
        let path = path.strip_prefix("src/").unwrap().to_owned();
        if path.ends_with("tests.rs") || path.contains("/tests/") || path == "main.rs" {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
        let module = path.trim_end_matches(".rs").replace('/', "::");
        let module = if module == "lib" {
            String::new()
        } else {
            module
        };
        sources.push(Source { path, module, text });
    }
    assert!(sources.len() > 30, "the source was found");
    sources
}

/// The paths that a text imports: `a::{b, c::d}` is two.
fn imports(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for statement in text.split("\n").collect::<Vec<_>>().join(" ").split(';') {
        let Some((_, path)) = statement.rsplit_once("use ") else {
            continue;
        };
        let path: String = path.split_whitespace().collect::<Vec<_>>().join(" ");
        if path.starts_with("crate::") || path.starts_with("super::") || path.starts_with("self::")
        {
            expand("", &path, &mut all);
        }
    }
    all
}

fn expand(head: &str, path: &str, all: &mut Vec<String>) {
    let Some((before, inside)) = path.split_once('{') else {
        all.push(format!("{head}{}", path.trim()));
        return;
    };
    let inside = inside.trim_end().trim_end_matches('}');
    let (mut depth, mut start) = (0_i32, 0);
    let head = format!("{head}{}", before.trim());
    for (index, character) in inside.char_indices().chain([(inside.len(), ',')]) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let item = inside[start..index].trim();
                if !item.is_empty() {
                    expand(&head, item, all);
                }
                start = index + 1;
            }
            _ => {}
        }
    }
}

/// The module that an import of another module is from.
fn imported(module: &str, path: &str, modules: &BTreeSet<&str>) -> Option<String> {
    let mut base: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
    let mut parts: Vec<&str> = path.split("::").collect();
    match parts.first().copied() {
        Some("crate") => base.clear(),
        Some("super") => {
            base.pop();
        }
        _ => {}
    }
    parts.remove(0);
    base.extend(parts.iter().map(|part| part.split(' ').next().unwrap()));
    while !base.is_empty() {
        let name = base.join("::");
        if modules.contains(name.as_str()) {
            return (name != module).then_some(name);
        }
        base.pop();
    }
    None
}

#[test]
fn no_module_imports_one_that_imports_it() {
    let sources = sources();
    let modules: BTreeSet<&str> = sources
        .iter()
        .map(|source| source.module.as_str())
        .collect();
    let mut graph: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for Source { module, text, .. } in &sources {
        let imports = imports(text);
        let others = imports
            .iter()
            .filter_map(|path| imported(module, path, &modules));
        // A module uses those that it declares.
        let declared = modules.iter().filter(|other| {
            let parent = other.rsplit_once("::");
            parent.is_some_and(|(parent, _)| parent == module)
        });
        let declared = declared.map(|other| (*other).to_owned());
        graph.insert(module, others.chain(declared).collect());
    }
    assert!(graph["handler::decide"].contains("ledger"), "{graph:?}");
    assert!(graph["handler"].contains("handler::batch"), "{graph:?}");
    // What imports only modules that are done is done; a cycle never is.
    let mut done: BTreeSet<String> = BTreeSet::new();
    while let Some(next) = graph.iter().find_map(|(module, others)| {
        let is_next = !done.contains(*module) && others.iter().all(|other| done.contains(other));
        is_next.then(|| (*module).to_owned())
    }) {
        done.insert(next);
    }
    let cyclic: Vec<_> = graph
        .iter()
        .filter(|(module, _)| !done.contains(**module))
        .collect();
    assert!(cyclic.is_empty(), "{cyclic:#?}");
}

#[test]
fn each_name_is_used_only_where_the_rules_of_the_house_allow_it() {
    for (name, allowed) in [
        ("aws_sdk_", &["aws/"][..]),
        ("aws_smithy_", &["aws/"]),
        ("aws_types", &["aws/"]),
        // The clients are composed in the handler.
        ("aws_config", &["aws/", "handler.rs"]),
        ("RawValue", &["input/text.rs"]),
        ("serde_json::Value", &[]),
        ("std::env", &["aws/clients.rs"]),
        // The time of a log line is the system's.
        ("now_utc", &["clock.rs", "telemetry.rs"]),
        ("SystemTime", &[]),
        (".unwrap()", &[]),
        (".expect(", &[]),
        ("#[allow", &[]),
    ] {
        let mut is_used = allowed.is_empty();
        for Source { path, text, .. } in &sources() {
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            let lines: Vec<&str> = code.filter(|line| line.contains(name)).collect();
            let is_allowed = allowed.iter().any(|allowed| path.starts_with(allowed));
            assert!(
                lines.is_empty() || is_allowed,
                "{name} in {path}: {lines:?}"
            );
            is_used |= !lines.is_empty();
        }
        assert!(is_used, "{name} is used nowhere: the rule is not checked");
    }
}

#[test]
fn no_function_is_longer_than_sixty_lines() {
    let is_function = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words.iter().position(|word| *word == "fn");
        name.is_some_and(|name| {
            let before = ["pub", "pub(super)", "pub(crate)", "async", "const"];
            words[..name].iter().all(|word| before.contains(word))
        })
    };
    let (mut count, mut too_long) = (0, Vec::new());
    for Source { path, text, .. } in &sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| is_function(line))
        {
            let indent = line.len() - line.trim_start().len();
            let end = format!("{}}}", " ".repeat(indent));
            let length = lines[start..].iter().position(|line| *line == end);
            let length = length.map_or(1, |length| length + 1);
            if length > MAX_FUNCTION {
                too_long.push(format!("{path}: {length} lines from {}", line.trim()));
            }
            count += 1;
        }
    }
    assert!(too_long.is_empty(), "{too_long:#?}");
    assert!(count > 300, "{count} functions were found");
}
