//! What proxies say of a client.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| engine::fuzz::claim(input));
