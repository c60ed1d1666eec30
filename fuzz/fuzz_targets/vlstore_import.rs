#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| vldepot::testing::fuzz::vlstore_import(input));
