//! Arbitrary calls against the server's edge: `RUSTC_BOOTSTRAP=1 cargo fuzz run edge` in `fusion-server`.
#![no_main]

#[path = "../../tests/support/calls.rs"]
mod calls;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(broken) = calls::run(bytes) {
        panic!("{broken}");
    }
});
