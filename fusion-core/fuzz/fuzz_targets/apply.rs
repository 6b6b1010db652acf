//! Arbitrary evidence against a view: `RUSTC_BOOTSTRAP=1 cargo fuzz run apply` in `fusion-core`.
#![no_main]

#[path = "../../tests/support/script.rs"]
mod script;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(broken) = script::run(bytes) {
        panic!("{broken}");
    }
});
