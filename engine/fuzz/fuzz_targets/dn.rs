//! The names in a client certificate.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| engine::fuzz::dn(input));
