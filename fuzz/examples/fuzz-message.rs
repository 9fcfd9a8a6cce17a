//! The fuzz target of `fuzz_targets::message`.
#![no_main]

use fuzz_targets::{corpus, message, mutation};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(init: corpus::write(&corpus::messages()), |bytes: &[u8]| {
    message::check(bytes);
});

fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, seed: u32| {
    mutation::mutate(data, size, most, seed, fuzzer_mutate)
});
