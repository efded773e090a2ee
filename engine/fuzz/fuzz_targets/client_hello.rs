//! A TLS ClientHello.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| engine::fuzz::client_hello(input));
