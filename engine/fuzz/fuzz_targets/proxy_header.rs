//! A PROXY header.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| engine::fuzz::proxy_header(input));
