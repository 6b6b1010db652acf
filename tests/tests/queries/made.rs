//! Trees made from a seed: names of every sort, few different sizes and times, so that ties are common.

use std::fs::{self, File};
use std::os::unix::fs::{lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fusion_tests::disk::raw;
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// A source of numbers that a seed decides.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn draw(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

const STEMS: [&[u8]; 12] = [
    b"a",
    b"b.c",
    b"run42",
    b"IMG_",
    b".hidden",
    b"with space",
    b"line\nbreak",
    b"caf\xc3\xa9",
    b"\xff\xfe",
    b"back\\slash",
    b"x*y",
    b"-dash",
];
const ENDS: [&[u8]; 8] = [b"", b".dat", b".gz", b".tar.GZ", b".", b".c", b".dat~", b".DAT"];

/// Makes a directory with so many entries in it.
pub(crate) fn tree(root: &Path, seed: u64, entries: u64) {
    let mut dice = Dice::new(seed);
    fs::create_dir(root).expect("the tree");
    let mut folders: Vec<PathBuf> = vec![root.to_path_buf()];
    let mut made: Vec<PathBuf> = Vec::new();
    for number in 0..entries {
        let folder = &folders[dice.draw(folders.len() as u64) as usize];
        let mut name = STEMS[dice.draw(12) as usize].to_vec();
        name.extend_from_slice(number.to_string().as_bytes());
        name.extend_from_slice(ENDS[dice.draw(8) as usize]);
        let path = folder.join(raw(&name));
        match dice.draw(10) {
            0..=1 if path.components().count() < root.components().count() + 6 => {
                fs::create_dir(&path).expect("a directory");
                folders.push(path.clone());
            }
            2 => symlink("nowhere", &path).expect("a link"),
            3 => mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).expect("a FIFO"),
            _ => {
                let file = File::create(&path).expect("a file");
                file.set_len([0, 1, 10, 4_096, 70_000][dice.draw(5) as usize]).expect("a size");
            }
        }
        // Only root may; for all others every file has one owner, and the answers agree on that.
        let _ = lchown(&path, Some(dice.draw(4) as u32), Some(dice.draw(3) as u32));
        made.push(path);
    }
    // Last, and from below: what is made in a directory touches it.
    for path in made.iter().rev() {
        let meta = fs::symlink_metadata(path).expect("what was made");
        if meta.is_file() || meta.is_dir() {
            let at = Duration::new(1_600_000_000 + dice.draw(6) * 1_000_000, dice.draw(3) as u32);
            let file = File::open(path).expect("what was made");
            file.set_modified(SystemTime::UNIX_EPOCH + at).expect("a time");
        }
    }
}
