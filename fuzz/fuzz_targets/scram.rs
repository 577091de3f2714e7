#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sarameya::fuzzing::check("scram", data));
