//! Arbitrary calls: whatever comes, nothing panics, each is answered as gRPC has it, and the next one is served.
//! The fuzz target `fuzz/fuzz_targets/edge.rs` runs the same script.

#[path = "support/calls.rs"]
mod calls;

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

static PANICS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn any_call_is_borne() {
    let told = std::panic::take_hook();
    // A handler's panic is caught, and so is a view's: they must not come at all.
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        told(panic);
    }));
    proptest!(ProptestConfig { cases: 1_500, ..ProptestConfig::default() }, |(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    )| {
        if let Err(broken) = calls::run(&bytes) {
            prop_assert!(false, "{}", broken);
        }
        prop_assert_eq!(PANICS.load(Ordering::Relaxed), 0);
    });
}
