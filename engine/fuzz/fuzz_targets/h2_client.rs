//! A backend's frames of HTTP/2.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| engine::fuzz::h2_client(input));
