//! Whose wish a job is.

/// Whose wish a job is, and so who has it done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobOrigin {
    /// Somebody made it as a job: its steps are given out to agents.
    Request,
    /// Somebody asked for a path to be looked at, and waits for the answer.
    Refresh,
    /// The server wants it of the view's leader: an audit after events were lost.
    Server,
    /// An agent does it of itself as the leader: its first scan, its hourly audit.
    Agent,
}

impl JobOrigin {
    /// All.
    pub const ALL: [Self; 4] = [Self::Request, Self::Refresh, Self::Server, Self::Agent];

    /// Whether its steps are given out as those of a job; all else is done anyway and only watched.
    #[must_use]
    pub const fn is_given_out(self) -> bool {
        matches!(self, Self::Request)
    }

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "REQUEST",
            Self::Refresh => "REFRESH",
            Self::Server => "SERVER",
            Self::Agent => "AGENT",
        }
    }
}
