//! The fuzz target of `fuzz_targets::record`.
#![no_main]

use fuzz_targets::{corpus, mutation, record};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(init: corpus::write(&corpus::records()), |bytes: &[u8]| {
    record::check(bytes);
});

fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, seed: u32| {
    mutation::mutate(data, size, most, seed, fuzzer_mutate)
});
