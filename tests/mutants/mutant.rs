//! Which mutant is switched on. Only the instrumented copy has this module (tests/mutants/instrument.py).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

const MOST: usize = 10_000;

static ACTIVE: OnceLock<usize> = OnceLock::new();
static RECORD: OnceLock<Option<File>> = OnceLock::new();
static REACHED: [AtomicBool; MOST] = [const { AtomicBool::new(false) }; MOST];

/// Whether this mutant is switched on. `MUTANT` names it; no mutant has the number 0.
pub fn is(number: usize) -> bool {
    let active = *ACTIVE.get_or_init(|| {
        let number = std::env::var("MUTANT").ok();
        number.and_then(|text| text.parse().ok()).unwrap_or(0)
    });
    if active == 0 && !REACHED[number].swap(true, Ordering::Relaxed) {
        record(number);
    }
    active == number
}

/// Appends the number of a mutant whose code is reached to the file that `MUTANT_RECORD` names.
fn record(number: usize) {
    let file = RECORD.get_or_init(|| {
        let name = std::env::var_os("MUTANT_RECORD")?;
        OpenOptions::new().create(true).append(true).open(name).ok()
    });
    if let Some(mut file) = file.as_ref() {
        file.write_all(format!("{number}\n").as_bytes()).expect("the record can be written");
    }
}
