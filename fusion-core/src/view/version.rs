//! The order of versions (4-consistency §3): which of two looks at a name is newer.
//!
//! Called by every rule that compares evidence with what is known. Must never: look at mtime, which
//! `cp -p`, `rsync -a`, `tar -x` and `touch` forge. Tested below and by `tests/cases/clocks-readiness.txt`.

use std::time::Duration;

use crate::stat::Stat;
use crate::time::ServerTime;

use super::confirm::Confirmation;
use super::tree::Version;

/// How two versions of a directory relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DirOrder {
    /// The first is older.
    Older,
    /// They are the same.
    Same,
    /// The first is newer.
    Newer,
    /// Different directories, or one is not known.
    Unknown,
}

/// §3: of the same directory inode the larger ctime is later; others cannot be compared.
pub(super) fn dir_order(first: Option<Version>, second: Option<Version>) -> DirOrder {
    match (first, second) {
        (Some(first), Some(second)) if first.inode == second.inode => {
            match first.ctime.cmp(&second.ctime) {
                std::cmp::Ordering::Less => DirOrder::Older,
                std::cmp::Ordering::Equal => DirOrder::Same,
                std::cmp::Ordering::Greater => DirOrder::Newer,
            }
        }
        _ => DirOrder::Unknown,
    }
}

/// What the view knows of a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// Its stat.
    pub(super) stat: Stat,
    /// The version of its directory in which it was last seen.
    pub(super) seen_in: Option<Version>,
    /// The last realtime evidence of it, if that is remembered.
    pub(super) confirmed: Option<Confirmation>,
    /// When its directory was last listed.
    pub(super) listed_at: Option<ServerTime>,
}

impl Known {
    /// §3: the look time, the later of `confirmed_at` and the directory's `listed_at`.
    pub(super) fn looked_at(&self) -> Option<ServerTime> {
        self.confirmed.map(|confirmed| confirmed.at).max(self.listed_at)
    }
}

/// A look at a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// What stands there.
    pub(super) stat: Stat,
    /// The version of the directory, looked at before the name.
    pub(super) seen_in: Option<Version>,
    /// When.
    pub(super) at: ServerTime,
    /// The agent's number if it was realtime evidence; a scan or probe has none.
    pub(super) realtime: Option<u16>,
}

/// How a look relates to what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// It saw what is known.
    Same,
    /// It is newer.
    Newer,
    /// What is known is newer.
    Older,
    /// Neither can be said before somebody looks again, at this time or later.
    Open(ServerTime),
}

/// §3: orders a look against what is known.
pub(super) fn order(known: &Known, look: &Look, horizon: Duration) -> Order {
    if look.stat.is_same_thing(&known.stat) {
        return match look.stat.ctime.cmp(&known.stat.ctime) {
            std::cmp::Ordering::Greater => Order::Newer,
            std::cmp::Ordering::Less => Order::Older,
            std::cmp::Ordering::Equal if known.stat == look.stat => Order::Same,
            std::cmp::Ordering::Equal => later_look(known, look),
        };
    }
    match dir_order(look.seen_in, known.seen_in) {
        DirOrder::Newer => Order::Newer,
        DirOrder::Older => Order::Older,
        DirOrder::Same | DirOrder::Unknown => by_look(known, look, horizon),
    }
}

/// §3: at equal ctime with any other field different the later look wins. Looks of one agent at the
/// same time are taken in the order in which they came.
fn later_look(known: &Known, look: &Look) -> Order {
    let own = look.realtime.is_some()
        && known.confirmed.is_some_and(|c| Some(c.agent) == look.realtime && c.at == look.at)
        && known.listed_at.is_none_or(|listed| listed < look.at);
    if own || known.looked_at().is_none_or(|at| look.at > at) { Order::Newer } else { Order::Older }
}

/// §3: what versions cannot order, the time of looking orders: between a scan and realtime evidence
/// only if more than `cache_horizon` lies between them.
fn by_look(known: &Known, look: &Look, horizon: Duration) -> Order {
    match look.realtime {
        Some(agent) => by_realtime_look(known, look.at, agent, horizon),
        None => by_scan_look(known, look.at, horizon),
    }
}

fn by_scan_look(known: &Known, at: ServerTime, horizon: Duration) -> Order {
    if known.listed_at.is_some_and(|listed| at <= listed) {
        return Order::Older;
    }
    let Some(confirmed) = known.confirmed else { return Order::Newer };
    if at > confirmed.at.plus(horizon) {
        Order::Newer
    } else if at.plus(horizon) < confirmed.at {
        Order::Older
    } else {
        Order::Open(confirmed.at.max(at).plus(horizon))
    }
}

/// Realtime evidence that cannot be ordered against a scan is not known to be older, so it wins;
/// the caller has the directory listed again after the time.
fn by_realtime_look(known: &Known, at: ServerTime, agent: u16, horizon: Duration) -> Order {
    if let Some(confirmed) = known.confirmed
        && (at < confirmed.at || (at == confirmed.at && agent != confirmed.agent))
    {
        return Order::Older;
    }
    let Some(listed) = known.listed_at else { return Order::Newer };
    if at.plus(horizon) < listed {
        Order::Older
    } else if at > listed.plus(horizon) || known.confirmed.is_some_and(|c| c.at >= listed) {
        Order::Newer
    } else {
        Order::Open(listed.max(at).plus(horizon))
    }
}
