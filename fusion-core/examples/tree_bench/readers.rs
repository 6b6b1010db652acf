//! A reader beside the writer.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fusion_core::path::TreePath;
use fusion_core::view::ViewReader;
use fusion_core::view::tree::TreeWriter;

use super::tools::{Begin, Dice, Shape, line, merge};

const SPAN: Duration = Duration::from_secs(3);

/// Listings of 250 by one reader, alone and beside a writer at full speed, and what that costs it.
pub(crate) fn beside(entries: usize) {
    let shape = Shape { entries, per_dir: 250 };
    let mut tree = TreeWriter::new();
    let blocks = shape.frame(&mut tree);
    shape.list(&mut tree, &blocks, 0);
    let paths: Vec<TreePath> = (0..shape.dirs())
        .map(|dir| TreePath::new(shape.dir_path(dir).into_bytes()).unwrap())
        .collect();
    let listings: Vec<Vec<_>> =
        (1..3).map(|round| (0..500).map(|dir| shape.listing(dir, round)).collect()).collect();
    let mut write = |tree: &mut TreeWriter, round: usize| {
        for (dir, listing) in listings[round % 2].iter().enumerate() {
            merge(tree, blocks[dir], listing, round);
        }
        500 * 250
    };
    let alone = run(&mut tree, &mut write);
    line(
        "writer alone, 250 rows a directory, every stat changed",
        &format!("{:.2} M/s", alone.ran / 1e6),
        "",
    );
    let reader = ViewReader::new(tree.share());
    for (what, owned) in [("handed out (list_with)", false), ("as owned rows (list)", true)] {
        let (done, beside) = (AtomicBool::new(false), Mutex::new(Speed::default()));
        let wanted = |what: &str| format!("listings of 250 {what}");
        let quiet = read(&reader, &paths[..500], owned, |count| count > 100_000);
        line(&wanted(&format!("{what}, reader alone")), &quiet.text(), ">= 300 k/s");
        let written = std::thread::scope(|scope| {
            scope.spawn(|| {
                let read = read(&reader, &paths[..500], owned, |_| done.load(Ordering::Relaxed));
                *beside.lock().unwrap() = read;
            });
            let written = run(&mut tree, &mut write);
            done.store(true, Ordering::Relaxed);
            written
        });
        let beside = beside.into_inner().unwrap();
        line(&wanted(&format!("{what}, beside the writer")), &beside.text(), ">= 300 k/s");
        let left = |with: f64, alone: f64| (with * 100.0 / alone).round();
        let left = (left(written.ran, alone.ran), left(written.wall, alone.wall));
        let left = format!("{} % / {} %", left.0, left.1);
        line("... and what the writer keeps of its speed", &left, ">= 80 %");
    }
    line("    (both: per second of processor time / per second of the wall clock)", "", "");
}

/// Things per second.
#[derive(Default)]
struct Speed {
    ran: f64,
    wall: f64,
}

impl Speed {
    fn text(&self) -> String {
        format!("{:.0} / {:.0} k/s", self.ran / 1e3, self.wall / 1e3)
    }
}

/// Counts against both clocks: waiting for a lock costs the one, other processes the other.
struct Count(Begin, Instant);

impl Count {
    fn begin() -> Self {
        Self(Begin::now(), Instant::now())
    }

    fn end(self, count: usize) -> Speed {
        let (ran, wall) = (self.0.elapsed().as_secs_f64(), self.1.elapsed().as_secs_f64());
        Speed { ran: count as f64 / ran, wall: count as f64 / wall }
    }
}

fn run(tree: &mut TreeWriter, write: &mut impl FnMut(&mut TreeWriter, usize) -> usize) -> Speed {
    let (count, wall, mut rows, mut round) = (Count::begin(), Instant::now(), 0, 0);
    while wall.elapsed() < SPAN {
        rows += write(tree, round);
        round += 1;
    }
    count.end(rows)
}

fn read(
    reader: &ViewReader,
    paths: &[TreePath],
    owned: bool,
    mut done: impl FnMut(usize) -> bool,
) -> Speed {
    let (mut dice, mut listed, count) = (Dice(7), 0, Count::begin());
    while !done(listed) {
        let path = paths[dice.below(paths.len())].as_ref();
        if owned {
            std::hint::black_box(reader.list(path, None, 250).unwrap());
        } else {
            let mut sum = 0;
            let more = reader.list_with(path, None, 250, |name, info| {
                sum += info.stat.size + name.len() as u64;
            });
            std::hint::black_box((more.unwrap(), sum));
        }
        listed += 1;
    }
    count.end(listed)
}
