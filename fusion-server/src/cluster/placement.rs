//! Placement: which of the servers has a view, by rendezvous hashing.
//!
//! Every server computes the same of the same members, and when one comes or goes only the views move that it gets or
//! had. Who has more memory has more views. Where two servers know of different members they may both want a view;
//! compare-and-swap decides. Pure.

use fusion_store::{ServerId, ViewId};
use sha2::{Digest as _, Sha256};

/// The one of these servers, each with its memory in bytes, that has a view; none of none.
pub fn place(view: ViewId, servers: impl IntoIterator<Item = (ServerId, u64)>) -> Option<ServerId> {
    let scored = servers.into_iter().map(|(server, memory)| (score(view, server, memory), server));
    let best = scored.max_by(|(one, a), (other, b)| one.total_cmp(other).then(a.cmp(b)));
    best.map(|(_, server)| server)
}

/// A weight, divided by a number that is drawn exponentially: the largest of several is each one's as often as its share
/// of all weights.
fn score(view: ViewId, server: ServerId, memory: u64) -> f64 {
    let hash =
        Sha256::new().chain_update(view.0.as_bytes()).chain_update(server.0.as_bytes()).finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    // Within (0, 1), in steps of 2^-53.
    let drawn = ((u64::from_be_bytes(first) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    memory.max(1) as f64 / -drawn.ln()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uuid::Uuid;

    use super::*;

    fn view(number: u128) -> ViewId {
        ViewId(Uuid::from_u128(number))
    }

    fn server(number: u128) -> ServerId {
        ServerId(Uuid::from_u128(number))
    }

    #[test]
    fn views_are_spread_by_memory_and_few_move() {
        let three = [(server(1), 8 << 30), (server(2), 8 << 30), (server(3), 16 << 30)];
        let (mut counts, mut moved) = (BTreeMap::new(), 0);
        for number in 0..1_000 {
            let of_three = place(view(number), three).unwrap();
            *counts.entry(of_three).or_insert(0) += 1;
            let reversed = three.into_iter().rev();
            assert_eq!(place(view(number), reversed), Some(of_three), "in any order");
            let of_two = place(view(number), three[..2].iter().copied()).unwrap();
            if of_three != server(3) {
                assert_eq!(of_two, of_three, "only what the third one had moves");
            }
            moved += u32::from(of_two != of_three);
        }
        assert_eq!(place(view(1), []), None);
        let share = |number| counts[&server(number)];
        assert!((200..300).contains(&share(1)) && (200..300).contains(&share(2)), "{counts:?}");
        assert_eq!(moved, share(3));
    }
}
