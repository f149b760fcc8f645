#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| rvs_testkit::fuzz::edits(octets));
