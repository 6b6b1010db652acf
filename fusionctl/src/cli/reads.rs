//! The commands that ask what is in a view.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::ViewArg;
use super::quantity::moment;

/// Questions about what is in a view.
#[derive(Debug, Subcommand)]
pub(crate) enum Read {
    /// List a directory.
    Ls(Ls),
    /// Show a directory and what lies below it as a tree.
    Tree(Tree),
    /// Show one entry with all that is known of it.
    Stat {
        /// The entry in the view.
        path: String,
        #[command(flatten)]
        view: ViewArg,
    },
    /// Show where the bytes below a directory are, as bars.
    Du(Du),
    /// Find entries below a directory.
    Find(Box<Find>),
    /// Show the largest files, the largest directories and the newest directories below a path.
    Top(Top),
    /// Show who owns the files below a path.
    Who(Counted),
    /// Count the files below a path by age, size, extension and owner.
    Breakdown(Counted),
    /// Show one path on several views side by side.
    Compare(Compare),
    /// Write entries as NDJSON or CSV, for other programs.
    Export(Export),
}

/// List a directory.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// The directory in the view.
    #[arg(default_value = "/")]
    pub(crate) path: String,
    /// Show kind, mode, size and mtime beside the names.
    #[arg(short, long)]
    pub(crate) long: bool,
    /// The largest first.
    #[arg(short = 'S', conflicts_with = "by_time")]
    pub(crate) by_size: bool,
    /// The newest first.
    #[arg(short = 't')]
    pub(crate) by_time: bool,
    /// The other way round.
    #[arg(short, long)]
    pub(crate) reverse: bool,
    #[command(flatten)]
    pub(crate) view: ViewArg,
}

/// Show a tree.
#[derive(Debug, Args)]
pub(crate) struct Tree {
    /// The directory in the view.
    #[arg(default_value = "/")]
    pub(crate) path: String,
    /// Levels to show.
    #[arg(short, long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) depth: u32,
    /// Entries to show at most.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: u64,
    #[command(flatten)]
    pub(crate) view: ViewArg,
}

/// Show where the bytes are.
#[derive(Debug, Args)]
pub(crate) struct Du {
    /// The directory in the view.
    #[arg(default_value = "/")]
    pub(crate) path: String,
    /// Levels to show.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) depth: u32,
    /// Rows to show at most: those with the most bytes.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) rows: u64,
    /// Only the totals.
    #[arg(short, long)]
    pub(crate) summary: bool,
    #[command(flatten)]
    pub(crate) view: ViewArg,
}

/// Find entries.
#[derive(Debug, Args)]
pub(crate) struct Find {
    /// A glob on the whole name: `*`, `?`, `[…]`, `{a,b}`. If it begins with `/` it is PATH.
    pub(crate) pattern: Option<String>,
    /// The directory in the view; `/` if not given.
    pub(crate) path: Option<String>,
    /// PATTERN is a regular expression, found anywhere in the name.
    #[arg(long, requires = "pattern")]
    pub(crate) regex: bool,
    /// A regular expression, found anywhere in the path in the view.
    #[arg(short = 'p', long, value_name = "REGEX")]
    pub(crate) full_path: Option<String>,
    /// Only names with this extension, upper or lower case; may be repeated.
    #[arg(short = 'e', long = "extension", value_name = "EXT")]
    pub(crate) extensions: Vec<String>,
    /// Only these kinds; may be repeated.
    #[arg(short = 't', long = "type", value_enum, value_name = "KIND")]
    pub(crate) kinds: Vec<Kind>,
    /// Only files of such a size: `+1G` at least, `-10k` at most, `5` just so. Units: b, k, m, g, t (of
    /// 1000), ki, mi, gi, ti (of 1024).
    #[arg(short = 'S', long = "size", value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) sizes: Vec<String>,
    /// Only what was changed no longer ago than this (`2d`, `1h 30min`), or since a time in UTC
    /// (`2026-01-31`, `2026-01-31 12:00:00`), by this machine's clock.
    #[arg(long, value_name = "SPAN|TIME", value_parser = moment)]
    pub(crate) changed_within: Option<i64>,
    /// Only what was changed longer ago than this, or before a time.
    #[arg(long, value_name = "SPAN|TIME", value_parser = moment)]
    pub(crate) changed_before: Option<i64>,
    /// Only what belongs to USER, to USER:GROUP, or to :GROUP; names as /etc/passwd has them, or numbers.
    #[arg(long, value_name = "USER:GROUP")]
    pub(crate) owner: Option<String>,
    /// At most so many levels below PATH.
    #[arg(short = 'd', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_depth: Option<u32>,
    /// At least so many levels below PATH.
    #[arg(long, value_name = "N")]
    pub(crate) min_depth: Option<u32>,
    /// Only what may be unfinished.
    #[arg(long)]
    pub(crate) suspect: bool,
    /// Only what is known only by scanning.
    #[arg(long)]
    pub(crate) blind: bool,
    /// Sort: the largest, the newest or the first name first. All is looked at before the first is shown.
    #[arg(long, value_enum, value_name = "BY")]
    pub(crate) sort: Option<Sort>,
    /// The other way round.
    #[arg(short, long, requires = "sort")]
    pub(crate) reverse: bool,
    /// Show at most so many, of each view; sorted, at most 10,000.
    #[arg(short = 'n', long = "max-results", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// Show kind, mode, size and mtime beside the paths.
    #[arg(short, long, conflicts_with = "print0")]
    pub(crate) long: bool,
    /// Print the bytes of the paths, with a zero byte after each: for `xargs -0`.
    #[arg(short = '0', long)]
    pub(crate) print0: bool,
    /// The view; may be repeated, and be left out while the server has one.
    #[arg(long = "view", value_name = "NAME")]
    pub(crate) views: Vec<String>,
}

/// A kind of entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Regular files.
    #[value(alias = "file")]
    F,
    /// Directories.
    #[value(alias = "directory", alias = "dir")]
    D,
    /// Symbolic links.
    #[value(alias = "symlink")]
    L,
    /// All else: FIFOs, sockets, devices.
    #[value(alias = "other")]
    O,
}

/// What to sort by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// Largest first.
    Size,
    /// Newest first.
    Mtime,
    /// By name, then by path.
    Name,
}

/// Show what is first.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// The directory in the view.
    #[arg(default_value = "/")]
    pub(crate) path: String,
    /// Rows of each list.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(crate) rows: u64,
    /// Only the largest files.
    #[arg(long)]
    pub(crate) files: bool,
    /// Only the largest directories.
    #[arg(long)]
    pub(crate) directories: bool,
    /// Only the newest directories.
    #[arg(long)]
    pub(crate) newest: bool,
    #[command(flatten)]
    pub(crate) view: ViewArg,
}

/// Count files.
#[derive(Debug, Args)]
pub(crate) struct Counted {
    /// The directory in the view.
    #[arg(default_value = "/")]
    pub(crate) path: String,
    /// Rows of each list.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(crate) rows: u64,
    #[command(flatten)]
    pub(crate) view: ViewArg,
}

/// Compare views.
#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The path in the views.
    #[arg(default_value = "/")]
    pub(crate) path: String,
    /// A view; may be repeated. All of the server if not given.
    #[arg(long = "view", value_name = "NAME")]
    pub(crate) views: Vec<String>,
    /// What makes a view come first.
    #[arg(long, value_enum, default_value_t = Rank::Completeness)]
    pub(crate) rank: Rank,
}

/// What to rank views by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rank {
    /// READY, then fewest suspects, then most entries.
    Completeness,
    /// Most files.
    Files,
    /// Most bytes.
    Bytes,
    /// Newest mtime.
    Newest,
}

/// Write entries for other programs.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The directory in the view.
    #[arg(default_value = "/")]
    pub(crate) path: String,
    /// How to write rows.
    #[arg(long, value_enum, default_value_t = Format::Ndjson)]
    pub(crate) format: Format,
    /// Columns, in this order: path, name, kind, size, mtime, ctime, inode, mode, uid, gid, nlink, suspect,
    /// blind. All if not given.
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,…")]
    pub(crate) columns: Vec<String>,
    /// Only these kinds; may be repeated.
    #[arg(short = 't', long = "type", value_enum, value_name = "KIND")]
    pub(crate) kinds: Vec<Kind>,
    /// A new file to write to; standard output if not given.
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Go on with an export that broke off, as its last line said; appends to FILE. A Parquet file cannot be
    /// appended to: the rest goes to another file, to be read together with the first.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) resume: Option<String>,
    #[command(flatten)]
    pub(crate) view: ViewArg,
}

/// How to write rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line.
    Ndjson,
    /// RFC 4180, with a line of names first.
    Csv,
    /// A Parquet file, in FILE. Only if fusionctl was built with it (`--features parquet`).
    Parquet,
}
