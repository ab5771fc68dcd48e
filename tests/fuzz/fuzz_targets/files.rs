#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| vmlab_tests::fuzz::run("files", input));
