//! Random operations, all at once: afterwards the copy equals the disk. A failure names its seed;
//! `FUSION_SEED=7` runs that one, `FUSION_SEEDS=1000` so many.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::harness::Watched;

/// xorshift: a run is its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    /// A path of a few possible names, three deep at most, so that operations meet.
    fn path(&mut self, root: &Path) -> PathBuf {
        let mut path = root.to_owned();
        for _ in 0..=self.below(3) {
            path.push(["a", "b", "c", "d", "e"][self.below(5)]);
        }
        path
    }
}

/// One operation; most of them fail, for want of what they need.
fn operate(random: &mut Random, root: &Path, outside: &Path) {
    let (one, other) = (random.path(root), random.path(root));
    let beside = outside.join(format!("o{}", random.below(4)));
    let _ = match random.below(15) {
        0 | 1 => fs::create_dir_all(&one),
        2..=4 => fs::write(&one, vec![0; random.below(100)]),
        5 => {
            OpenOptions::new().append(true).open(&one).and_then(|mut file| file.write_all(b"more"))
        }
        6 => fs::remove_file(&one),
        7 => fs::remove_dir_all(&one),
        8..=10 => fs::rename(&one, &other),
        11 => fs::rename(&one, &beside),
        12 => fs::rename(&beside, &one),
        13 => symlink("target", &one),
        _ => fs::set_permissions(&one, fs::Permissions::from_mode([0o700, 0o755][random.below(2)])),
    };
}

/// The seeds to run.
fn seeds() -> std::ops::RangeInclusive<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("FUSION_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("FUSION_SEEDS").unwrap_or(20),
    }
}

fn random(seed: u64) -> Random {
    Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
}

/// Hard links are left out: an unknown second name of a file is for the audit.
#[test]
fn any_operations_in_any_order() {
    for seed in seeds() {
        let mut random = random(seed);
        let mut tree = Watched::new(|_| {});
        let (root, outside) = (tree.root.clone(), tree.outside());
        for round in 0..12 {
            for _ in 0..random.below(120) {
                operate(&mut random, &root, &outside);
            }
            tree.level(&format!("seed {seed}, round {round}"));
        }
        let counts = tree.watcher().handle().counts();
        assert_eq!(counts.overflows, 0, "seed {seed}");
    }
}

#[test]
fn any_operations_at_once() {
    for seed in seeds() {
        let mut tree = Watched::new(|_| {});
        let (root, outside) = (tree.root.clone(), tree.outside());
        for round in 0..4 {
            std::thread::scope(|scope| {
                for worker in 0..3 {
                    let mut random = random(seed * 100 + round * 10 + worker);
                    let (root, outside) = (&root, &outside);
                    let work = move || (0..300).for_each(|_| operate(&mut random, root, outside));
                    std::thread::Builder::new().spawn_scoped(scope, work).unwrap();
                }
            });
            tree.level(&format!("seed {seed}, round {round}, three at once"));
        }
    }
}
