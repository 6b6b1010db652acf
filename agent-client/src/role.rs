//! What a leader does and a follower does not, as one table (2-architecture, Agent).
//!
//! Owns the table; asked by `agent` before every piece of work. Must never: decide who leads (the
//! server does). Tested below, row by row.

use fusion_core::evidence::Source;
pub use fusion_core::session::Role;

/// A piece of work that an agent can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Duty {
    /// Report kernel events.
    Watch,
    /// List a directory that appeared by an own event, and what is below it.
    Discover,
    /// Scan a path because somebody asked for it.
    ScanOnDemand,
    /// Look at names because the server asks.
    Probe,
    /// Walk directories, names only, to place watches.
    PlaceWatches,
    /// List the whole tree after becoming leader; places the watches on its way.
    Snapshot,
    /// List the tree periodically, and answer relists.
    Audit,
}

/// Who does what: (duty, leader does it, follower does it).
pub const DUTIES: [(Duty, bool, bool); 7] = [
    (Duty::Watch, true, true),
    (Duty::Discover, true, true),
    (Duty::ScanOnDemand, true, true),
    (Duty::Probe, true, true),
    (Duty::PlaceWatches, false, true),
    (Duty::Snapshot, true, false),
    (Duty::Audit, true, false),
];

/// Whether a role has a duty.
#[must_use]
pub fn has(role: Role, duty: Duty) -> bool {
    DUTIES.iter().any(|&(row, leader, follower)| {
        row == duty
            && match role {
                Role::Leader => leader,
                Role::Follower => follower,
            }
    })
}

/// The word for metrics and logs.
#[must_use]
pub const fn word(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
    }
}

/// The duty under which listings of a source are made.
#[must_use]
pub const fn duty_of(source: Source) -> Duty {
    match source {
        Source::Snapshot => Duty::Snapshot,
        Source::Audit => Duty::Audit,
        Source::OnDemand => Duty::ScanOnDemand,
        Source::Discovery => Duty::Discover,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duty_has_one_row_and_somebody_who_does_it() {
        for (duty, leader, follower) in DUTIES {
            assert_eq!(DUTIES.iter().filter(|row| row.0 == duty).count(), 1, "{duty:?}");
            assert!(leader || follower, "{duty:?}");
            assert_eq!(has(Role::Leader, duty), leader, "{duty:?}");
            assert_eq!(has(Role::Follower, duty), follower, "{duty:?}");
        }
    }

    #[test]
    fn a_follower_makes_nothing_that_only_a_leader_may_send() {
        for source in [Source::Snapshot, Source::Audit, Source::OnDemand, Source::Discovery] {
            assert_eq!(
                has(Role::Follower, duty_of(source)),
                !source.is_leader_only(),
                "{source:?}"
            );
            assert!(has(Role::Leader, duty_of(source)), "{source:?}");
        }
    }
}
