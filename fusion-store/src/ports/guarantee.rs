//! What an acknowledgement of an adapter is worth, as its engine is set up: told at the start and to
//! operators, never guessed.

use std::fmt;

/// What a value, or a record, that was acknowledged outlives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survives {
    /// The loss of power: it is on stable storage before it is acknowledged.
    Power,
    /// The death of all processes, also the engine's own; not the loss of power.
    Processes,
    /// The death of the server; not that of the engine.
    Server,
    /// Nothing: it is in the memory of the server.
    Nothing,
    /// The engine does not tell how it is set up.
    Unknown,
}

impl Survives {
    /// Its name for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Processes => "processes",
            Self::Server => "server",
            Self::Nothing => "nothing",
            Self::Unknown => "unknown",
        }
    }
}

/// What an adapter promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarantee {
    /// The engine and, if it runs outside, its version and where; without a secret.
    pub engine: String,
    /// What an acknowledgement outlives.
    pub survives: Survives,
    /// What an operator should know beside that, one sentence; empty if there is nothing.
    pub note: String,
}

impl Guarantee {
    /// That of the engine inside of the server: files that are synced.
    #[must_use]
    pub fn embedded() -> Self {
        let (engine, note) = ("embedded".to_owned(), String::new());
        Self { engine, survives: Survives::Power, note }
    }

    /// That of what is kept in memory.
    #[must_use]
    pub fn memory() -> Self {
        let (engine, note) = ("memory".to_owned(), String::new());
        Self { engine, survives: Survives::Nothing, note }
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outlives = match self.survives {
            Survives::Power => "outlives the loss of power",
            Survives::Processes => "outlives the death of processes, not the loss of power",
            Survives::Server => "outlives the server, not the engine",
            Survives::Nothing => "ends with the server",
            Survives::Unknown => "outlives the server; what else is not known",
        };
        write!(f, "{}: what is acknowledged {outlives}", self.engine)?;
        if self.note.is_empty() { Ok(()) } else { write!(f, "; {}", self.note) }
    }
}
