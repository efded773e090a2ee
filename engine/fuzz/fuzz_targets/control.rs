//! Frames of the control connection.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| engine::fuzz::control(input));
