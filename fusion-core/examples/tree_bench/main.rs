//! The tree beside its yardsticks, as one table: `cargo run --release -p fusion-core --example
//! tree_bench [millions of entries, default 10]`.
//!
//! Each part runs in a process of its own, so that memory is what the system says it is. Rates are
//! per second of processor time of the thread that does it; compare them within one run only.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark for people")]

mod parts;
mod readers;
mod tools;
mod yardsticks;

use tools::line;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("part") => part(&args[1], args[2].parse().unwrap()),
        first => all(first.map_or(10, |millions| millions.parse().unwrap())),
    }
}

fn all(millions: usize) {
    line("what", "measured", "target");
    line("----", "--------", "------");
    let mut parts = vec![("tree", 1), ("random", 1)];
    if millions > 1 {
        parts.extend([("tree", millions), ("random", millions), ("narrow", millions)]);
    }
    let yardsticks = millions.min(10);
    parts.extend([("large", 1), ("readers", 1), ("map", yardsticks), ("arena", yardsticks)]);
    for (name, millions) in parts {
        let me = std::env::current_exe().unwrap();
        let mut child = std::process::Command::new(me);
        assert!(child.args(["part", name, &millions.to_string()]).status().unwrap().success());
    }
}

fn part(name: &str, millions: usize) {
    let entries = millions * 1_000_000;
    match name {
        "tree" => parts::wide(entries),
        "random" => parts::random(entries),
        "narrow" => parts::narrow(entries),
        "large" => parts::large(),
        "readers" => readers::beside(entries),
        "map" => yardsticks::map(entries),
        "arena" => yardsticks::arena(entries),
        other => line(other, "no such part", ""),
    }
}
