//! The path of a request's target.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| engine::fuzz::path(input));
