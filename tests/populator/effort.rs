//! How much the searches explore: little in `cargo test`, and all of it with `SEARCH=whole`, which `.ci/run` sets.

/// Whether the searches explore all that they can in some minutes.
pub fn is_whole() -> bool {
    std::env::var("SEARCH").is_ok_and(|search| search == "whole")
}

/// Returns the number in a variable, or one of these: for `cargo test`, and for the whole search.
pub fn number(variable: &str, small: u64, whole: u64) -> u64 {
    let default = if is_whole() { whole } else { small };
    given(variable).unwrap_or(default)
}

/// Returns the number in a variable, if there is one.
pub fn given(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
