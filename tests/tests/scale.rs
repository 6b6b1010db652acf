//! The worked examples of docs/scale.md are what its formulas give of the figures that were measured, and each figure
//! stands in the document that it is taken from. `FUSION_WRITE_DOCS=1 cargo test -p fusion-tests --test scale` writes
//! the examples.

use std::path::{Path, PathBuf};

/// A figure: its value here, where it is from, and what is written there.
struct Figure(f64, &'static str, &'static str);

const PERFORMANCE: &str = "docs/performance.md";
const CAPACITY: &str = "docs/capacity.md";

/// Bytes of memory for an entry, 250 in a directory.
const ENTRY: Figure = Figure(59.3, PERFORMANCE, "59.3 B | 59.4 B | 59.3 B");
/// Bytes of memory beside the tree.
const PROCESS: Figure = Figure(365e6, CAPACITY, "| 365 MB |");
/// Bytes of memory for a view that is watched.
const WATCHED: Figure = Figure(16e6, CAPACITY, "| a view that is watched | 16 MB |");
/// Seconds of a core for a realtime change, at the owner.
const CHANGE: Figure = Figure(1.7e-6, PERFORMANCE, "| 0 | 815 k/s | | | | 1.7 us |");
/// Most changes a second that one view's writer took, 1 M entries resident.
const WRITER: Figure = Figure(541e3, PERFORMANCE, "| 541 k/s |");
/// Listings of 250 entries a second on two cores.
const LISTINGS: Figure = Figure(16.3e3, PERFORMANCE, "| 16.3 k/s, p99 3.2 ms |");
/// Audited rows a second of which nothing is new, on two cores.
const AUDITED: Figure = Figure(5.3e6, PERFORMANCE, "| 5.30 M/s |");
/// Bytes in the log for a realtime change.
const LOGGED: Figure = Figure(65.4, PERFORMANCE, "65.4 / 27.1 bytes");
/// Bytes of blocks on disk for an entry.
const BLOCK: Figure = Figure(36.6, PERFORMANCE, "36.6 bytes an entry");
/// Bytes of blocks that a checkpoint writes for a directory in which anything changed.
const DIRECTORY: Figure = Figure(5.6e3, PERFORMANCE, "(5.6 KB at 250 entries)");
/// Seconds to load an entry, two threads.
const LOAD: Figure = Figure(1.7 / 10e6, PERFORMANCE, "| 1.2 to 1.7 s |");
/// Bytes from an agent for a new file.
const FILE: Figure = Figure(102.0, CAPACITY, "| 102 a file |");
/// Bytes from an agent for an audited entry.
const ROW: Figure = Figure(47.0, CAPACITY, "| 47 an entry |");
/// Bytes of memory at each server of NATS for a stream, three replicas.
const STREAM: Figure = Figure(180.0 * 1024.0, PERFORMANCE, "| 180 KiB |");
/// Cores of three servers of NATS together for a stream at rest.
const STREAM_REST: Figure = Figure(0.454 / 1_000.0, PERFORMANCE, "| 45.4 % |");

const FIGURES: [Figure; 15] = [
    ENTRY,
    PROCESS,
    WATCHED,
    CHANGE,
    WRITER,
    LISTINGS,
    AUDITED,
    LOGGED,
    BLOCK,
    DIRECTORY,
    LOAD,
    FILE,
    ROW,
    STREAM,
    STREAM_REST,
];

/// Give twice as much as was computed: of memory because what is beside the tree was measured at 1 M entries only, of
/// processor because a server at its limit answers late.
const ROOM: f64 = 2.0;
/// Servers of a group: one may be gone while another one is updated.
const LEAST: f64 = 3.0;
const CORES: f64 = 8.0;
const VIEWS_OF_A_GROUP: f64 = 1_000.0;

/// What is asked for.
struct Plan {
    name: &'static str,
    entries: f64,
    views: f64,
    /// Realtime changes a second in all views.
    changes: f64,
    /// Directories a second in which one of them is the first since the last checkpoint.
    directories: f64,
    /// Listings of 250 entries a second.
    queries: f64,
    /// Seconds between two audits of a tree.
    audit: f64,
    /// Bytes of memory of a server.
    memory: f64,
}

const PLANS: [Plan; 3] = [
    Plan {
        name: "small",
        entries: 20e6,
        views: 5.0,
        changes: 1e3,
        directories: 50.0,
        queries: 500.0,
        audit: 3_600.0,
        memory: 8e9,
    },
    Plan {
        name: "1 billion",
        entries: 1e9,
        views: 100.0,
        changes: 20e3,
        directories: 1e3,
        queries: 20e3,
        audit: 6.0 * 3_600.0,
        memory: 128e9,
    },
    Plan {
        name: "10 billion",
        entries: 10e9,
        views: 1_000.0,
        changes: 100e3,
        directories: 5e3,
        queries: 50e3,
        audit: 24.0 * 3_600.0,
        memory: 256e9,
    },
];

/// What it takes.
struct Need {
    groups: f64,
    servers: f64,
    memory: f64,
    cores: f64,
    nats_memory: f64,
    nats_cores: f64,
    disk: f64,
    written: f64,
    from_agents: f64,
    to_nats: f64,
    to_followers: f64,
    load: f64,
    busiest: f64,
}

impl Plan {
    /// Bytes that a server needs if the views are divided among so many groups.
    fn memory(&self, groups: f64) -> f64 {
        (self.entries / groups * ENTRY.0 + PROCESS.0 + self.views / groups * WATCHED.0) * ROOM
    }

    /// Rows a second that audits list: one directory in four in full, the others by their stat.
    fn audited(&self) -> f64 {
        self.entries * (1.0 / 4.0 + 1.0 / 250.0) / self.audit
    }

    fn need(&self) -> Need {
        let mut groups = (self.views / VIEWS_OF_A_GROUP).ceil();
        while self.memory(groups) > self.memory {
            groups += 1.0;
        }
        let [entries, views, changes, directories, queries, audited] = [
            self.entries,
            self.views,
            self.changes,
            self.directories,
            self.queries,
            self.audited(),
        ]
        .map(|all| all / groups);
        // Each server takes every change, and one of them the audits; the queries are divided.
        let taken = changes * CHANGE.0 + audited * 2.0 / AUDITED.0;
        let asked = queries * 2.0 / LISTINGS.0;
        let mut servers = LEAST;
        while (taken + asked / (servers - 1.0)) * ROOM > CORES {
            servers += 1.0;
        }
        let log = (LOGGED.0 * (3_600.0 * changes / views).max(100e3)).min(4.0 * 1_073_741_824.0);
        let written = changes * LOGGED.0 + directories * DIRECTORY.0;
        Need {
            groups,
            servers,
            memory: self.memory(groups),
            cores: ((taken + asked / (servers - 1.0)) * ROOM).ceil().max(2.0),
            nats_memory: 2.0 * views * STREAM.0,
            nats_cores: 2.0 * views * STREAM_REST.0 / 3.0,
            disk: 2.0 * entries * BLOCK.0 + views * log,
            written,
            from_agents: changes * FILE.0 + audited * ROW.0,
            to_nats: written,
            to_followers: (servers - 1.0) * changes * LOGGED.0,
            load: entries * LOAD.0,
            busiest: WRITER.0 / 2.0 / (changes / views),
        }
    }
}

/// Bytes, with the unit that gives them two digits or more before the point where it can.
fn bytes(amount: f64) -> String {
    let (unit, name) = match amount {
        amount if amount >= 1e12 => (1e12, "TB"),
        amount if amount >= 1e9 => (1e9, "GB"),
        amount if amount >= 1e6 => (1e6, "MB"),
        _ => (1e3, "kB"),
    };
    number(amount / unit, name)
}

fn number(amount: f64, unit: &str) -> String {
    let digits = if amount < 10.0 { 1 } else { 0 };
    format!("{amount:.digits$} {unit}").trim_end().to_owned()
}

fn seconds(span: f64) -> String {
    if span < 120.0 { number(span, "s") } else { number(span / 60.0, "min") }
}

fn thousands(amount: f64) -> String {
    let digits = format!("{amount:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What a row says, and how its cells are made.
type Row<'a> = (&'a str, &'a dyn Fn(&Plan, &Need) -> String);

fn examples() -> String {
    let needs = PLANS.map(|plan| (plan.need(), plan));
    let row = |what: &str, cell: &dyn Fn(&Plan, &Need) -> String| {
        let cells = needs.iter().map(|(need, plan)| cell(plan, need));
        format!("| {what} | {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let asked: [Row<'_>; 7] = [
        ("entries E", &|plan, _| thousands(plan.entries)),
        ("views V", &|plan, _| thousands(plan.views)),
        ("changes a second C", &|plan, _| thousands(plan.changes)),
        ("directories a second D", &|plan, _| thousands(plan.directories)),
        ("listings a second Q", &|plan, _| thousands(plan.queries)),
        ("an audit every T", &|plan, _| format!("{:.0} h", plan.audit / 3_600.0)),
        ("memory of a server M", &|plan, _| bytes(plan.memory)),
    ];
    let told: [Row<'_>; 14] = [
        ("**groups** G", &|_, need| format!("**{}**", need.groups)),
        ("**servers** S of a group; in all", &|_, need| {
            format!("**{}**; {}", need.servers, need.servers * need.groups)
        }),
        ("servers of NATS in all", &|_, need| thousands(3.0 * need.groups)),
        ("memory of a server, twofold", &|_, need| bytes(need.memory)),
        ("cores of a server, twofold", &|_, need| format!("{:.0}", need.cores)),
        ("memory of a NATS for its streams", &|_, need| bytes(need.nats_memory)),
        ("cores of a NATS for streams at rest", &|_, need| format!("{:.2}", need.nats_cores)),
        ("disk of a NATS", &|_, need| bytes(need.disk)),
        ("written to the disk of each NATS", &|_, need| format!("{}/s", bytes(need.written))),
        ("network, agents to owners", &|_, need| format!("{}/s", bytes(need.from_agents))),
        ("network, owners to NATS; NATS to NATS", &|_, need| {
            format!("{0}/s; twice {0}/s", bytes(need.to_nats))
        }),
        ("network, NATS to followers", &|_, need| format!("{}/s", bytes(need.to_followers))),
        ("a server that joins has loaded after", &|_, need| seconds(need.load)),
        ("one view may be busier than the mean by", &|_, need| {
            format!("{} times", thousands(need.busiest))
        }),
    ];
    let head = needs.iter().map(|(_, plan)| plan.name).collect::<Vec<_>>().join(" | ");
    let mut text = format!("| asked for | {head} |\n|---|---|---|---|\n");
    asked.iter().for_each(|(what, cell)| text += &row(what, *cell));
    text += &format!("\n| of each group | {head} |\n|---|---|---|---|\n");
    told.iter().for_each(|(what, cell)| text += &row(what, *cell));
    text
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

#[test]
fn the_examples_are_what_the_formulas_give() {
    const BEGIN: &str = "<!-- made by tests/tests/scale.rs -->\n\n";
    const END: &str = "\n<!-- until here -->";
    let file = repository().join("docs/scale.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the mark where the examples begin");
    let (there, after) = rest.split_once(END).expect("the mark where they end");
    let made = examples();
    if std::env::var_os("FUSION_WRITE_DOCS").is_some() {
        std::fs::write(&file, format!("{before}{BEGIN}{made}{END}{after}")).unwrap();
        return;
    }
    let hint = "FUSION_WRITE_DOCS=1 cargo test -p fusion-tests --test scale writes it anew";
    assert!(there == made, "the examples of docs/scale.md are not what the formulas give: {hint}");
}

#[test]
fn every_figure_stands_where_it_is_taken_from() {
    for Figure(_, file, text) in FIGURES {
        let there = std::fs::read_to_string(repository().join(file)).unwrap();
        assert!(there.contains(text), "{file} does not say `{text}` any more");
    }
}
