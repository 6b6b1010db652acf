//! The states of a job, and the one table of the ways between them.

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobState {
    /// Nothing of it was begun.
    Pending,
    /// A step was begun.
    Running,
    /// Every step is complete.
    Completed,
    /// It is over, and some steps are complete.
    PartialFailure,
    /// It is over, and no step is complete.
    Failed,
    /// Somebody called it off.
    Cancelled,
}

/// A way between states that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a job does not go from {from:?} to {to:?}")]
pub struct IllegalTransition {
    /// The state that it has.
    pub from: JobState,
    /// The state that it was to get.
    pub to: JobState,
}

impl JobState {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Running,
        Self::Completed,
        Self::PartialFailure,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Every way that there is. None leads out of an end, and none onto itself.
    pub const WAYS: [(Self, Self); 7] = [
        (Self::Pending, Self::Running),
        (Self::Pending, Self::Cancelled),
        (Self::Pending, Self::Failed),
        (Self::Running, Self::Completed),
        (Self::Running, Self::PartialFailure),
        (Self::Running, Self::Failed),
        (Self::Running, Self::Cancelled),
    ];

    /// Its name, as people and programs read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::PartialFailure => "PARTIAL_FAILURE",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// Whether a job in this state is over.
    #[must_use]
    pub const fn is_end(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }

    /// The state after this one.
    ///
    /// # Errors
    /// There is no such way.
    pub fn go(self, to: Self) -> Result<Self, IllegalTransition> {
        if Self::WAYS.contains(&(self, to)) {
            Ok(to)
        } else {
            Err(IllegalTransition { from: self, to })
        }
    }
}

/// Where a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StepState {
    /// It waits for others, or for an agent.
    Waiting,
    /// Somebody does it.
    Running,
    /// It is complete.
    Complete,
    /// It could not be done.
    Failed,
    /// It was not done, because a step before it was not, or because the job was over.
    Skipped,
}

impl StepState {
    /// Its name, as people and programs read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Running => "RUNNING",
            Self::Complete => "COMPLETE",
            Self::Failed => "FAILED",
            Self::Skipped => "SKIPPED",
        }
    }

    /// Whether nothing more comes of it.
    #[must_use]
    pub const fn is_end(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}
