//! The first so many rows of an order, while rows come in any order.
//!
//! Owns what is kept: never more than was asked for. A row that cannot be among them costs one
//! comparison and no memory. Used by sorted listings, sorted searches and breakdowns. Must never: depend
//! on the order in which rows came; no two rows have the same text. Tested below against a sort.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use fusion_core::stat::Stat;
use fusion_proto::convert::view::{EntryOrder, EntrySort};

/// Where a row stands in an order: its number, and its name or path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) order: EntryOrder,
    pub(crate) rank: u64,
    /// A name, or a path: it ends with the name.
    pub(crate) text: &'a [u8],
}

impl<'a> Place<'a> {
    /// The place of an entry.
    pub(crate) fn of(order: EntryOrder, stat: &Stat, text: &'a [u8]) -> Self {
        let number = match order.by {
            EntrySort::Name => 0,
            EntrySort::Size => stat.size,
            EntrySort::Mtime => ordered(stat.mtime.as_nanos()),
        };
        Self::ranked(order, number, text)
    }

    /// The place of what has this number.
    pub(crate) fn ranked(order: EntryOrder, number: u64, text: &'a [u8]) -> Self {
        let rank = if order.descending { !number } else { number };
        Self { order, rank, text }
    }

    /// Which comes first.
    pub(crate) fn cmp(&self, other: &Place<'_>) -> Ordering {
        let first = match self.order.by {
            EntrySort::Name if self.order.descending => name(other.text).cmp(name(self.text)),
            EntrySort::Name => name(self.text).cmp(name(other.text)),
            EntrySort::Size | EntrySort::Mtime => self.rank.cmp(&other.rank),
        };
        first.then_with(|| self.text.cmp(other.text))
    }
}

/// A time as a number of the same order.
pub(crate) fn ordered(nanos: i64) -> u64 {
    nanos.cast_unsigned() ^ (1 << 63)
}

fn name(text: &[u8]) -> &[u8] {
    text.rsplit(|&byte| byte == b'/').next().unwrap_or(text)
}

/// The first rows of an order; the last of them is on top of the heap.
#[derive(Debug)]
pub(crate) struct Best<T> {
    order: EntryOrder,
    most: usize,
    heap: BinaryHeap<Kept<T>>,
    left_out: bool,
}

/// A row that is kept.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    order: EntryOrder,
    pub(crate) rank: u64,
    pub(crate) text: Box<[u8]>,
    pub(crate) row: T,
}

impl<T> Kept<T> {
    fn place(&self) -> Place<'_> {
        Place { order: self.order, rank: self.rank, text: &self.text }
    }
}

impl<T> Best<T> {
    /// The first `most` rows.
    pub(crate) fn new(order: EntryOrder, most: usize) -> Self {
        Self { order, most, heap: BinaryHeap::new(), left_out: false }
    }

    /// A row comes; `row` makes what is kept of it, if it is kept.
    pub(crate) fn offer(&mut self, place: Place<'_>, row: impl FnOnce() -> T) {
        let keep =
            |row: T| Kept { order: self.order, rank: place.rank, text: place.text.into(), row };
        if self.heap.len() < self.most {
            self.heap.push(keep(row()));
            return;
        }
        self.left_out = true;
        if let Some(mut last) = self.heap.peek_mut()
            && place.cmp(&last.place()) == Ordering::Less
        {
            *last = keep(row());
        }
    }

    /// The rows in order; and whether there were more.
    pub(crate) fn into_rows(self) -> (Vec<Kept<T>>, bool) {
        (self.heap.into_sorted_vec(), self.left_out)
    }
}

impl<T> Ord for Kept<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl<T> PartialOrd for Kept<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(Ord::cmp(self, other))
    }
}

impl<T> PartialEq for Kept<T> {
    fn eq(&self, other: &Self) -> bool {
        Ord::cmp(self, other) == Ordering::Equal
    }
}

impl<T> Eq for Kept<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows with few different numbers, so that ties are common.
    fn rows() -> Vec<(i64, String)> {
        let mut random = 11_u64;
        let mut draw = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        (0..500)
            .map(|i| (draw(9) as i64 - 4, format!("/d{}/n{:02}-{i}", draw(4), draw(30))))
            .collect()
    }

    #[test]
    fn what_is_kept_is_the_beginning_of_the_sorted_whole() {
        for (by, descending) in
            [EntrySort::Name, EntrySort::Size].map(|by| [(by, false), (by, true)]).concat()
        {
            let order = EntryOrder { by, descending };
            let mut sorted = rows();
            sorted.sort_by(|a, b| {
                let key = |row: &(i64, String)| match by {
                    EntrySort::Name => (0, row.1[row.1.rfind('/').unwrap()..].to_owned()),
                    EntrySort::Size | EntrySort::Mtime => (row.0, String::new()),
                };
                let first = key(a).cmp(&key(b));
                if descending { first.reverse() } else { first }.then_with(|| a.1.cmp(&b.1))
            });
            for most in [0, 1, 7, 499, 500, 501] {
                let mut best = Best::new(order, most);
                for (number, path) in rows() {
                    let place = Place::ranked(order, ordered(number), path.as_bytes());
                    best.offer(place, || number);
                }
                let (kept, more) = best.into_rows();
                assert_eq!(more, most < 500);
                let kept: Vec<_> = kept.iter().map(|kept| (kept.row, &*kept.text)).collect();
                let first = sorted.iter().take(most).map(|row| (row.0, row.1.as_bytes()));
                assert_eq!(kept, first.collect::<Vec<_>>(), "{order:?} {most}");
            }
        }
    }
}
