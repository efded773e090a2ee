//! A message that changes the table.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| engine::fuzz::table(input));
