//! The files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

/// The repository's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file.
pub fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// A file's path in the repository, such as `src/aws/queue.rs`.
pub fn name_of(file: &Path) -> String {
    let name = file.strip_prefix(root()).unwrap().to_str().unwrap();
    name.replace('\\', "/")
}

/// The files of a folder, sorted, without those that tools make.
pub fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    find(&root().join(folder), &mut found);
    found.sort();
    found
}

fn find(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_hidden = name.starts_with('.') && name != ".ci";
        if is_hidden || ["target", "node_modules", "__pycache__"].contains(&name) {
            continue;
        }
        if path.is_dir() {
            find(&path, found);
        } else {
            found.push(path);
        }
    }
}
