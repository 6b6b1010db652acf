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

/// What happens to work under way when a leadership begins or ends, ours or another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AtTurn {
    /// Whoever has the duty now goes on with it.
    GoesOn,
    /// It stops, in mid-directory too, and under the next leadership of ours it is begun anew:
    /// nothing that was learned under the one before (what is listed, when to audit) is kept.
    BegunAnew,
}

/// Who does what: (duty, leader does it, follower does it, what a turn of the leadership does to it).
pub const DUTIES: [(Duty, bool, bool, AtTurn); 7] = [
    (Duty::Watch, true, true, AtTurn::GoesOn),
    (Duty::Discover, true, true, AtTurn::GoesOn),
    (Duty::ScanOnDemand, true, true, AtTurn::GoesOn),
    (Duty::Probe, true, true, AtTurn::GoesOn),
    (Duty::PlaceWatches, false, true, AtTurn::GoesOn),
    (Duty::Snapshot, true, false, AtTurn::BegunAnew),
    (Duty::Audit, true, false, AtTurn::BegunAnew),
];

/// Whether a role has a duty.
#[must_use]
pub fn has(role: Role, duty: Duty) -> bool {
    DUTIES.iter().any(|&(row, leader, follower, _)| {
        row == duty
            && match role {
                Role::Leader => leader,
                Role::Follower => follower,
            }
    })
}

/// Whether a duty that was begun under a leadership goes on now: in the same one, and else only if a
/// turn of the leadership is nothing to it.
#[must_use]
pub fn goes_on(duty: Duty, role: Role, same_term: bool) -> bool {
    let at_turn = DUTIES.iter().find(|row| row.0 == duty).map(|row| row.3);
    has(role, duty) && (same_term || at_turn == Some(AtTurn::GoesOn))
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
        for (duty, leader, follower, at_turn) in DUTIES {
            assert_eq!(DUTIES.iter().filter(|row| row.0 == duty).count(), 1, "{duty:?}");
            assert!(leader || follower, "{duty:?}");
            assert_eq!(has(Role::Leader, duty), leader, "{duty:?}");
            assert_eq!(has(Role::Follower, duty), follower, "{duty:?}");
            for (role, is_theirs) in [(Role::Leader, leader), (Role::Follower, follower)] {
                assert_eq!(goes_on(duty, role, true), is_theirs, "{duty:?}");
                let over_a_turn = is_theirs && at_turn == AtTurn::GoesOn;
                assert_eq!(goes_on(duty, role, false), over_a_turn, "{duty:?}");
            }
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
            let goes_on = goes_on(duty_of(source), Role::Leader, false);
            assert_eq!(goes_on, !source.is_leader_only(), "{source:?}");
        }
    }
}
