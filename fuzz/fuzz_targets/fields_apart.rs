#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| vldepot::testing::fuzz::fields_apart(input));
