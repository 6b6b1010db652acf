//! Every query of a path, held against the disk.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fusion_core::id::ViewName;
use fusion_core::path::notation;
use fusion_core::stat::Kind;
use fusion_core::time::StorageTime;
use fusion_proto::views::{
    Breakdown, Entry, EntryFilter, EntryOrder, EntrySort, ExportColumn, ExportEntries,
    ExportFormat, FindEntries, ReadClass, Tally, ViewsClient,
};
use fusion_tests::pair::World;

use crate::{disk, tree_path};

/// Rows of what is sorted.
const FIRST: u64 = 25;

/// Asks the server, and the disk.
pub(crate) struct Asker {
    client: ViewsClient,
    view: ViewName,
    root: PathBuf,
    /// Entries that were found by filters.
    pub(crate) found: u64,
}

/// One of the orders: what `find` prints for it, and how `sort` is told to sort that.
type Sorting = (EntrySort, bool, &'static str, &'static [&'static str]);

const SORTINGS: [Sorting; 4] = [
    (EntrySort::Size, true, "%s %P\\0", &["-k1,1nr", "-k2"]),
    (EntrySort::Size, false, "%s %P\\0", &["-k1,1n", "-k2"]),
    (EntrySort::Mtime, true, "%T@ %P\\0", &["-k1,1nr", "-k2"]),
    (EntrySort::Mtime, false, "%T@ %P\\0", &["-k1,1n", "-k2"]),
];

impl Asker {
    pub(crate) fn new(world: &World) -> Self {
        let (client, view) = (world.client(), world.view().clone());
        Self { client, view, root: world.root().to_path_buf(), found: 0 }
    }

    /// Every query below a path.
    pub(crate) async fn all(&mut self, path: &str) {
        self.some(path, 0, 1).await;
    }

    /// Every query below a path, but of the filters and orders only every `step`th from `first` on: each
    /// is processes of its own on the other side.
    pub(crate) async fn some(&mut self, path: &str, first: usize, step: usize) {
        for (filter, words) in filters().into_iter().skip(first).step_by(step) {
            self.filtered(path, filter, &words).await;
        }
        for sorting in SORTINGS.into_iter().skip(first).step_by(step) {
            self.sorted(path, sorting).await;
            self.listed(path, sorting).await;
        }
        self.counted(path).await;
        self.exported(path).await;
    }

    async fn filtered(&mut self, path: &str, filter: EntryFilter, words: &[&str]) {
        let on_disk = disk::find(&disk::place(&self.root, path), words);
        let asked = FindEntries { filter, ..self.below(path) };
        let mut found = self.search(path, &asked).await;
        found.sort();
        self.found += found.len() as u64;
        assert_eq!(found, on_disk, "below {path}: {:?}", asked.filter);
    }

    async fn sorted(&mut self, path: &str, (by, descending, format, keys): Sorting) {
        let below = disk::place(&self.root, path);
        let on_disk = disk::sorted(&below, &["-type", "f"], format, keys, FIRST);
        let filter = EntryFilter { kinds: vec![Kind::File], ..EntryFilter::default() };
        let order = Some(EntryOrder { by, descending });
        let asked = FindEntries { filter, order, limit: Some(FIRST), ..self.below(path) };
        assert_eq!(self.search(path, &asked).await, on_disk, "below {path} by {by:?}");
    }

    async fn listed(&mut self, path: &str, (by, descending, format, keys): Sorting) {
        let below = disk::place(&self.root, path);
        let on_disk = disk::sorted(&below, &["-maxdepth", "1"], format, keys, u64::from(u32::MAX));
        let order = EntryOrder { by, descending };
        let (mut listed, mut token) = (Vec::new(), String::new());
        loop {
            let page =
                self.client.list_in(&self.view, &tree_path(path), order, &token).await.unwrap();
            listed.extend(page.entries.iter().map(|entry| relative(path, entry)));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(listed, on_disk, "{path} by {by:?}");
    }

    async fn counted(&mut self, path: &str) {
        let below = disk::place(&self.root, path);
        let mut counting =
            self.client.breakdown(&self.view, &tree_path(path), 1_000).await.unwrap();
        let mut whole = None;
        while let Some(part) = counting.next().await.unwrap() {
            whole = part.whole;
        }
        let (told, _) = whole.expect("the whole");
        let (all, owners) = owners(&disk::rows(&below, &["-type", "f"], "%U %s\\0"));
        assert_eq!(told.all, all, "below {path}");
        assert_eq!(told.owners.iter().copied().collect::<BTreeMap<_, _>>(), owners, "below {path}");
        let extensions = extensions(&disk::rows(&below, &["-type", "f"], "%s %f\\0"));
        let named = told.extensions.iter().cloned().collect::<BTreeMap<_, _>>();
        if told.other_extensions == Tally::default() {
            assert_eq!(named, extensions, "below {path}");
        }
        classes_add_up(&told, path);
        let paths = |entries: &[Entry]| -> Vec<Vec<u8>> {
            entries.iter().take(FIRST as usize).map(|entry| relative(path, entry)).collect()
        };
        let largest = disk::sorted(&below, &["-type", "f"], "%s %P\\0", &["-k1,1nr", "-k2"], FIRST);
        assert_eq!(paths(&told.largest_files), largest, "below {path}");
        let newest = disk::sorted(&below, &["-type", "d"], "%T@ %P\\0", &["-k1,1nr", "-k2"], FIRST);
        assert_eq!(paths(&told.newest_directories), newest, "below {path}");
        let directories = disk::find(&below, &["-type", "d"]).len();
        assert_eq!(told.largest_directories.len(), directories.min(1_000), "below {path}");
        assert!(told.largest_directories.is_sorted_by(|a, b| a.1.bytes >= b.1.bytes));
    }

    async fn exported(&mut self, path: &str) {
        let below = disk::place(&self.root, path);
        let asked = ExportEntries {
            view: self.view.clone(),
            path: tree_path(path),
            class: ReadClass::Any,
            format: ExportFormat::Ndjson,
            columns: vec![ExportColumn::Path, ExportColumn::Size, ExportColumn::Inode],
            filter: EntryFilter::default(),
            resume_token: String::new(),
        };
        let mut stream = self.client.export(&asked).await.unwrap();
        let (mut exported, mut whole) = (Vec::new(), false);
        while let Some(part) = stream.next().await.unwrap() {
            exported.extend_from_slice(&part.rows);
            whole = part.freshness.is_some();
        }
        assert!(whole, "below {path}");
        let mut rows: Vec<Vec<u8>> = Vec::new();
        for line in exported.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let row: serde_json::Value = serde_json::from_slice(line).expect("a row");
            let at = notation::parse(row["path"].as_str().unwrap()).unwrap();
            let head = format!("{} {} ", row["size"], row["inode"]).into_bytes();
            rows.push([&head[..], &at[path.trim_end_matches('/').len() + 1..]].concat());
        }
        rows.sort();
        let mut on_disk = disk::rows(&below, &[], "%s %i %P\\0");
        on_disk.sort();
        assert_eq!(rows, on_disk, "below {path}");
    }

    fn below(&self, path: &str) -> FindEntries {
        FindEntries::all(self.view.clone(), tree_path(path))
    }

    /// Paths that are found, relative, in the order of the answer.
    async fn search(&mut self, path: &str, asked: &FindEntries) -> Vec<Vec<u8>> {
        let mut stream = self.client.find_entries(asked).await.unwrap();
        let (mut found, mut whole) = (Vec::new(), false);
        while let Some(part) = stream.next().await.unwrap() {
            found.extend(part.entries.iter().map(|entry| relative(path, entry)));
            whole = part.freshness.is_some();
        }
        assert!(whole, "below {path}: {asked:?}");
        found
    }
}

/// Filters, and the words by which `find` finds the same.
fn filters() -> Vec<(EntryFilter, Vec<&'static str>)> {
    let none = EntryFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let time = |seconds: i64, nanos: i64| StorageTime::from_nanos(seconds * 1_000_000_000 + nanos);
    vec![
        (none(), vec![]),
        (EntryFilter { name_glob: text("*.dat"), ..none() }, vec!["-name", "*.dat"]),
        (EntryFilter { name_glob: text("run42*"), ..none() }, vec!["-name", "run42*"]),
        (EntryFilter { name_glob: text("[a-m]*[0-9]"), ..none() }, vec!["-name", "[a-m]*[0-9]"]),
        (
            EntryFilter { name_regex: text("(?-u)^[ab].*[0-9]$"), ..none() },
            vec!["-regex", ".*/[ab][^/]*[0-9]"],
        ),
        (
            EntryFilter { path_regex: text("(?s-u)[0-9]/[^/]*c[^/]*$"), ..none() },
            vec!["-regex", ".*[0-9]/[^/]*c[^/]*"],
        ),
        (EntryFilter { extensions: vec!["gz".to_owned()], ..none() }, vec!["-iname", "?*.gz"]),
        (
            EntryFilter { extensions: vec!["tar.gz".to_owned(), "c".to_owned()], ..none() },
            vec!["(", "-iname", "?*.tar.gz", "-o", "-iname", "?*.c", ")"],
        ),
        (EntryFilter { kinds: vec![Kind::Directory], ..none() }, vec!["-type", "d"]),
        (
            EntryFilter { kinds: vec![Kind::Symlink, Kind::Other], ..none() },
            vec!["!", "-type", "d", "!", "-type", "f"],
        ),
        (
            EntryFilter { size: Some(11..=69_999), ..none() },
            vec!["-type", "f", "-size", "+10c", "-size", "-70000c"],
        ),
        (
            EntryFilter { mtime: Some(time(1_602_000_000, 1)..=StorageTime::MAX), ..none() },
            vec!["-newermt", "@1602000000.000000000"],
        ),
        (
            EntryFilter { mtime: Some(time(1_601_000_000, 2)..=time(1_604_000_000, 1)), ..none() },
            vec!["-newermt", "@1601000000.000000001", "!", "-newermt", "@1604000000.000000001"],
        ),
        (
            EntryFilter { ctime: Some(time(1_601_000_000, 1)..=StorageTime::MAX), ..none() },
            vec!["-newerct", "@1601000000"],
        ),
        (
            EntryFilter { uids: vec![1, 3], ..none() },
            vec!["(", "-uid", "1", "-o", "-uid", "3", ")"],
        ),
        (EntryFilter { gids: vec![2], uids: vec![0], ..none() }, vec!["-uid", "0", "-gid", "2"]),
        (EntryFilter { max_depth: Some(2), ..none() }, vec!["-maxdepth", "2"]),
        (
            EntryFilter { min_depth: Some(2), max_depth: Some(3), ..none() },
            vec!["-mindepth", "2", "-maxdepth", "3"],
        ),
    ]
}

/// The bytes of an entry's path below a directory.
fn relative(below: &str, entry: &Entry) -> Vec<u8> {
    let path = notation::parse(&entry.path).expect("a path in the notation");
    path[below.trim_end_matches('/').len() + 1..].to_vec()
}

fn owners(rows: &[Vec<u8>]) -> (Tally, BTreeMap<u32, Tally>) {
    let (mut all, mut owners) = (Tally::default(), BTreeMap::<u32, Tally>::new());
    for row in rows {
        let (uid, size) = std::str::from_utf8(row).unwrap().split_once(' ').unwrap();
        let size = size.parse().unwrap();
        all.add(size);
        owners.entry(uid.parse().unwrap()).or_default().add(size);
    }
    (all, owners)
}

fn extensions(rows: &[Vec<u8>]) -> BTreeMap<String, Tally> {
    let mut extensions = BTreeMap::<String, Tally>::new();
    for row in rows {
        let blank = row.iter().position(|&byte| byte == b' ').unwrap();
        let size: u64 = std::str::from_utf8(&row[..blank]).unwrap().parse().unwrap();
        let name = &row[blank + 1..];
        let end = match name.iter().rposition(|&byte| byte == b'.') {
            Some(dot) if dot > 0 && (1..=16).contains(&(name.len() - dot - 1)) => &name[dot + 1..],
            _ => &[],
        };
        extensions.entry(notation::to_text(&end.to_ascii_lowercase())).or_default().add(size);
    }
    extensions
}

/// The files of all classes are all files.
fn classes_add_up(told: &Breakdown, path: &str) {
    let sum = |tallies: &mut dyn Iterator<Item = Tally>| {
        tallies.fold((0, 0), |(files, bytes), it| (files + it.files, bytes + it.bytes))
    };
    let all = (told.all.files, told.all.bytes);
    assert_eq!(sum(&mut told.ages.iter().map(|row| row.tally)), all, "ages below {path}");
    assert_eq!(sum(&mut told.sizes.iter().map(|row| row.1)), all, "sizes below {path}");
    let named = told.extensions.iter().map(|row| row.1);
    let named = &mut named.chain([told.other_extensions]);
    assert_eq!(sum(named), all, "extensions below {path}");
}
