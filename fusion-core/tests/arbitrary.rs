//! Arbitrary evidence: whatever comes, the view does not panic, keeps its invariants, and can be had
//! again from its changes. The fuzz target `fuzz/fuzz_targets/apply.rs` runs the same script.

#[path = "support/script.rs"]
mod script;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn any_evidence_is_borne(bytes in proptest::collection::vec(any::<u8>(), 0..2500)) {
        if let Err(broken) = script::run(&bytes) {
            prop_assert!(false, "{}", broken);
        }
    }
}
