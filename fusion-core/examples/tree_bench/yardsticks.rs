//! What one would write first: a map by path, and an arena of nodes with a global child index.

use std::collections::HashMap;

use fusion_core::stat::{Kind, Stat};

use super::tools::{Dice, Shape, Watch, line, name, rate, resident, stat};

const ROUNDS: usize = 20;
const ROWS: usize = 50_000;

fn paths(shape: &Shape, dice: &mut Dice, round: usize) -> Vec<(Vec<u8>, Stat)> {
    (0..ROWS)
        .map(|_| dice.below(shape.entries))
        .map(|n| (shape.path(n).as_bytes().to_vec(), stat(Kind::File, n, round)))
        .collect()
}

fn report(what: &str, entries: usize, grouped: &Watch, before: usize, random: &Watch) {
    let label = format!("yardstick, {} M entries, {what}", entries / 1_000_000);
    line(&format!("{label}: grouped inserts"), &rate(entries, grouped.0), "");
    let each = (before as f64) / entries as f64;
    line(&format!("{label}: memory per entry"), &format!("{each:.1} B"), "");
    line(&format!("{label}: random upserts"), &rate(ROUNDS * ROWS, random.0), "");
}

/// `HashMap<path, stat>`, without any aggregates.
pub(crate) fn map(entries: usize) {
    let shape = Shape { entries, per_dir: 250 };
    let (before, mut grouped) = (resident(), Watch::default());
    let mut map: HashMap<Box<[u8]>, Stat> = HashMap::new();
    for dir in 0..shape.dirs() {
        let rows: Vec<_> = (dir * 250..(dir + 1) * 250)
            .map(|number| (shape.path(number), stat(Kind::File, number, 0)))
            .collect();
        grouped
            .time(|| map.extend(rows.iter().map(|(path, stat)| (path.as_bytes().into(), *stat))));
    }
    let taken = resident() - before;
    let (mut dice, mut random) = (Dice(99), Watch::default());
    for round in 0..ROUNDS {
        let batch = paths(&shape, &mut dice, round);
        random.time(|| {
            for (path, stat) in &batch {
                *map.get_mut(&**path).unwrap() = *stat;
            }
        });
    }
    report("HashMap<path, stat>", entries, &grouped, taken, &random);
}

struct Node {
    parent: u32,
    name: Box<[u8]>,
    stat: Stat,
    bytes: u64,
    files: u64,
}

#[derive(Default)]
struct Arena {
    nodes: Vec<Node>,
    children: HashMap<(u32, u64), u32>,
}

fn hash(name: &[u8]) -> u64 {
    name.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

impl Arena {
    fn find(&self, parent: u32, name: &[u8]) -> Option<u32> {
        let found = *self.children.get(&(parent, hash(name)))?;
        (*self.nodes[found as usize].name == *name).then_some(found)
    }

    fn put(&mut self, parent: u32, name: &[u8], stat: Stat) -> u32 {
        let (at, old, new) = match self.find(parent, name) {
            Some(at) => {
                let node = &mut self.nodes[at as usize];
                (at, std::mem::replace(&mut node.stat, stat).size, 0)
            }
            None => {
                let at = self.nodes.len() as u32;
                self.nodes.push(Node { parent, name: name.into(), stat, bytes: 0, files: 0 });
                self.children.insert((parent, hash(name)), at);
                (at, 0, 1)
            }
        };
        let mut up = parent;
        while up != u32::MAX {
            let node = &mut self.nodes[up as usize];
            node.bytes = node.bytes.wrapping_add(stat.size).wrapping_sub(old);
            node.files += new;
            up = node.parent;
        }
        at
    }

    fn walk(&self, path: &[u8]) -> Option<u32> {
        path[1..].split(|&byte| byte == b'/').try_fold(0, |at, name| self.find(at, name))
    }
}

/// A node per entry, children by (parent, hash of the name), two sums per directory.
pub(crate) fn arena(entries: usize) {
    let shape = Shape { entries, per_dir: 250 };
    let (before, mut grouped) = (resident(), Watch::default());
    let mut arena = Arena::default();
    arena.put(u32::MAX, b"", stat(Kind::Directory, 0, 0));
    for dir in 0..shape.dirs() {
        let path = shape.dir_path(dir).into_bytes();
        let mut at = 0;
        for name in path[1..].split(|&byte| byte == b'/') {
            at = arena.put(at, name, stat(Kind::Directory, 0, 0));
        }
        let rows: Vec<_> = (dir * 250..(dir + 1) * 250)
            .map(|number| (name(number), stat(Kind::File, number, 0)))
            .collect();
        grouped.time(|| {
            for (name, stat) in &rows {
                arena.put(at, name.as_bytes(), *stat);
            }
        });
    }
    let taken = resident() - before;
    let (mut dice, mut random) = (Dice(99), Watch::default());
    for round in 0..ROUNDS {
        let batch = paths(&shape, &mut dice, round);
        random.time(|| {
            for (path, stat) in &batch {
                let slash = path.iter().rposition(|&byte| byte == b'/').unwrap();
                let parent = arena.walk(&path[..slash]).unwrap();
                arena.put(parent, &path[slash + 1..], *stat);
            }
        });
    }
    report("arena of nodes", entries, &grouped, taken, &random);
}
