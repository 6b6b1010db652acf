use crate::conformance::{self, Kept};
use crate::memory::{MemoryBlocks, MemoryLog, MemoryOwnership, MemoryState};

#[test]
fn the_log_conforms() {
    conformance::change_log(&mut || Box::new(Kept::<MemoryLog>::default()));
}

#[test]
fn the_blocks_conform() {
    conformance::blocks(&mut || Box::new(Kept::<MemoryBlocks>::default()));
}

#[test]
fn the_state_conforms() {
    conformance::state(&mut || Box::new(Kept::<MemoryState>::default()));
}

#[test]
fn the_ownership_conforms() {
    conformance::ownership(&mut || Box::new(Kept::<MemoryOwnership>::default()));
}
