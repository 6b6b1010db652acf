//! What survives a restart: the place of the store's ports and adapters, empty as yet.
//!
//! This version of Fusion keeps all state in the server's memory: acknowledged means applied, not
//! durable, and a server that starts anew is told everything again by its agents. The ports
//! (`ChangeLog`, `Blocks`, `State`), their adapters (`memory`, `embedded`) and the one conformance
//! suite that every adapter passes come with the issue "State that survives"; the design is in
//! `docs/`. Nothing here pretends to store anything until then, and nothing depends on this crate.
