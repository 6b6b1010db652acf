//! Evidence of any kind there and back, and batches of any bytes.

use std::collections::BTreeMap;

use fusion_core::evidence::{ChildColumns, Evidence, Listing, RootIdentity, RootState, ScanId};
use fusion_core::path::TreePath;
use fusion_core::stat::Stat;
use fusion_core::time::ServerTime;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use prost::Message as _;

use super::super::{evidence_from_pb, evidence_to_pb};
use super::{BatchBudget, BatchBuilder, ListingFeed, Push, decode_batch, limits};
use crate::convert::arbitrary as any_of;
use crate::pb;

/// What a piece of evidence is made of, owned.
#[derive(Debug, Clone)]
struct Parts {
    path: TreePath,
    to: TreePath,
    stat: Stat,
    directories: (Stat, Stat),
    present: (bool, bool),
    numbers: [u64; 4],
    errno: i32,
    times: (ServerTime, ServerTime),
    identity: RootIdentity,
    state: RootState,
    source: fusion_core::evidence::Source,
}

prop_compose! {
    fn parts()(
        path in any_of::path_below_root(),
        to in any_of::path_below_root(),
        stat in any_of::stat(),
        directories in (any_of::directory_stat(), any_of::directory_stat()),
        present: (bool, bool),
        numbers: [u64; 4],
        errno: i32,
        times in (any_of::server_time(), any_of::server_time()),
        identity in any_of::identity(),
        state in any_of::root_state(),
        source in any_of::source(),
    ) -> Parts {
        Parts { path, to, stat, directories, present, numbers, errno, times, identity, state, source }
    }
}

impl Parts {
    /// Evidence of every kind that travels as a row.
    fn every_kind(&self) -> Vec<Evidence<'_>> {
        let (path, observed_at) = (self.path.as_ref(), self.times.0);
        let (yes, also) = self.present;
        let [scan, directories, entries, errors] = self.numbers;
        let parent = yes.then_some(self.directories.0);
        let found = also.then_some(self.stat);
        let identity = yes.then(|| self.identity.clone());
        vec![
            Evidence::Upsert {
                path,
                stat: self.stat,
                parent: Some(self.directories.0),
                atomic: yes,
                observed_at,
            },
            Evidence::Upsert {
                path: fusion_core::path::PathRef::ROOT,
                stat: self.stat,
                parent,
                atomic: yes,
                observed_at,
            },
            Evidence::Remove { path, parent, observed_at },
            Evidence::Rename {
                from: path,
                to: self.to.as_ref(),
                stat: self.stat,
                from_parent: parent,
                to_parent: Some(self.directories.1),
                observed_at,
            },
            Evidence::Unchanged { dir: path, dir_stat: self.directories.0, observed_at },
            Evidence::Probe { path, found, parent, observed_at },
            Evidence::ScanStarted {
                scan: ScanId(scan),
                source: self.source,
                path,
                started_at: observed_at,
                root: identity.clone(),
            },
            Evidence::ScanFinished {
                scan: ScanId(scan),
                complete: yes,
                directories,
                entries,
                errors,
                finished_at: observed_at,
            },
            Evidence::Unreadable { dir: path, errno: self.errno, observed_at },
            Evidence::Root { state: self.state, identity, observed_at },
            Evidence::Overflow { since: self.times.1, observed_at },
        ]
    }
}

/// A directory: its path, its children by name, and what else its listing says.
type Directory = (TreePath, BTreeMap<Vec<u8>, Stat>, (Stat, u64, bool, ServerTime));

fn directory() -> impl Strategy<Value = Directory> {
    let children = btree_map(any_of::name(), any_of::stat(), 0..24);
    let more = (any_of::directory_stat(), 0..3_u64, any::<bool>(), any_of::server_time());
    (any_of::path(), children, more)
}

fn columns(children: &BTreeMap<Vec<u8>, Stat>) -> ChildColumns {
    let mut columns = ChildColumns::default();
    children.iter().for_each(|(name, stat)| columns.push(name, stat));
    columns
}

fn listing<'a>(directory: &'a Directory, columns: &'a ChildColumns) -> Listing<'a> {
    let (path, _, (dir_stat, scan, complete, at)) = directory;
    Listing {
        dir: path.as_ref(),
        dir_stat: *dir_stat,
        scan: ScanId(*scan),
        source: fusion_core::evidence::Source::Audit,
        started_at: *at,
        finished_at: *at,
        part: 0,
        last: true,
        complete: *complete,
        children: columns.as_children(),
    }
}

/// Reads all of a batch; panics if anything in it does.
fn read_all(batch: &pb::EvidenceBatch) {
    let Ok(decoded) = decode_batch(batch) else { return };
    let mut last = None;
    for row in decoded.rows() {
        let number = match row {
            Ok(row) => {
                if let Evidence::Listing(listing) = &row.evidence {
                    let mut previous: Option<&[u8]> = None;
                    for (name, _) in listing.children.iter() {
                        assert!(previous < Some(name), "names are sorted and unique");
                        assert!(fusion_core::path::check_name(name).is_ok());
                        previous = Some(name);
                    }
                }
                Some(row.number)
            }
            Err(rejected) => rejected.row,
        };
        assert!(last < number, "rows come in order: {last:?} before {number:?}");
        assert!(number < Some(decoded.len()));
        last = number;
    }
}

proptest! {
    #[test]
    fn evidence_survives(parts in parts()) {
        for evidence in parts.every_kind() {
            let sent = evidence_to_pb(&evidence).unwrap();
            prop_assert_eq!(evidence_from_pb(&sent), Ok(evidence));
        }
    }

    #[test]
    fn listings_survive_in_any_budget(
        directories in vec(directory(), 0..8),
        rows in 2..40_usize,
    ) {
        let budget = BatchBudget::new(rows, limits::BATCH_BYTES_MIN);
        let columns: Vec<_> = directories.iter().map(|(_, children, _)| columns(children)).collect();
        let (mut builder, mut batches) = (BatchBuilder::new(budget), Vec::new());
        for (directory, columns) in directories.iter().zip(&columns) {
            let mut feed = ListingFeed::new(listing(directory, columns));
            while builder.push_listing(&mut feed) == Push::Full {
                batches.push(builder.take());
            }
        }
        batches.push(builder.take());

        // Put together again from their parts, they are what was sent.
        let mut read: Vec<(TreePath, BTreeMap<Vec<u8>, Stat>)> = Vec::new();
        for batch in &batches {
            prop_assert!(batch.rows() <= rows);
            let decoded = batch.decode().unwrap();
            for row in decoded.rows() {
                let Evidence::Listing(listing) = row.unwrap().evidence else { unreachable!() };
                if listing.part == 0 {
                    read.push((listing.dir.to_owned(), BTreeMap::new()));
                }
                let (_, children) = read.last_mut().unwrap();
                children.extend(listing.children.iter().map(|(name, stat)| (name.to_vec(), stat)));
            }
        }
        let sent: Vec<_> =
            directories.into_iter().map(|(path, children, _)| (path, children)).collect();
        prop_assert_eq!(read, sent);
    }

    #[test]
    fn a_batch_never_exceeds_its_budget(
        directories in vec(directory(), 0..60),
        parts in parts(),
    ) {
        let mut builder = BatchBuilder::new(BatchBudget::default());
        for evidence in parts.every_kind() {
            prop_assert_eq!(builder.push(&evidence), Ok(Push::Taken));
        }
        for directory in &directories {
            let columns = columns(&directory.1);
            let _ = builder.push_listing(&mut ListingFeed::new(listing(directory, &columns)));
        }
        let bound = builder.bytes();
        prop_assert!(bound <= limits::BATCH_BYTES);
        let batch = builder.take();
        prop_assert!(batch.encoded_len() <= bound, "{} bytes, told {bound}", batch.encoded_len());
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        if let Ok(batch) = pb::EvidenceBatch::decode(&*bytes) {
            read_all(&batch);
        }
        if let Ok(row) = pb::Evidence::decode(&*bytes) {
            let _ = evidence_from_pb(&row);
        }
    }

    /// Bytes that are almost a batch get further than random ones.
    #[test]
    fn a_batch_with_bad_bytes_never_panics(
        directories in vec(directory(), 1..4),
        parts in parts(),
        spoilt in vec((any::<usize>(), any::<u8>()), 1..6),
    ) {
        let mut builder = BatchBuilder::new(BatchBudget::default());
        for evidence in parts.every_kind() {
            let _ = builder.push(&evidence);
        }
        for directory in &directories {
            let columns = columns(&directory.1);
            let _ = builder.push_listing(&mut ListingFeed::new(listing(directory, &columns)));
        }
        let mut bytes = builder.take().to_bytes().to_vec();
        for (at, byte) in spoilt {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(batch) = pb::EvidenceBatch::decode(&*bytes) {
            read_all(&batch);
        }
    }

    /// Columns of any lengths and values: what arrives if an agent is wrong in what it means.
    #[test]
    fn any_columns_never_panic(
        lengths in (vec(0..5_u32, 0..6), vec(0..6_u32, 0..6), vec(0..4_u32, 0..12)),
        texts in ("[/a.]{0,12}", "[a-c/.\0]{0,12}"),
        rows in 0..12_usize,
        agree: bool,
        values: (u8, u32, u8),
    ) {
        let (path_lengths, directory_rows, name_lengths) = lengths;
        let directories = if agree { path_lengths.len() } else { rows };
        let stats = |rows: usize, kind| pb::StatColumns {
            kinds: vec![kind; rows].into(),
            sizes: vec![1; rows],
            mtimes_time_ns: vec![1; rows],
            ctimes_time_ns: vec![1; rows],
            inodes: vec![1; rows],
            modes: vec![values.1; rows],
            uids: vec![1; rows],
            gids: vec![1; rows],
            nlinks: vec![1; rows],
        };
        let (paths, names) = (texts.0.into_bytes(), texts.1.into_bytes());
        let sum = |lengths: &[u32]| lengths.iter().sum::<u32>() as usize;
        let cut = |mut text: Vec<u8>, lengths: &[u32]| {
            if agree {
                text.resize(sum(lengths), b'/');
            }
            text.into()
        };
        let children = if agree { sum(&directory_rows) } else { rows };
        let name_lengths: Vec<u32> =
            if agree { name_lengths.into_iter().cycle().take(children).collect() } else { name_lengths };
        read_all(&pb::EvidenceBatch {
            listings: vec![pb::Listings {
                source: 1,
                directory_paths: cut(paths, &path_lengths),
                started_at_time_ns: vec![0; directories],
                finished_at_time_ns: vec![0; directories],
                directory_rows,
                parts: vec![0; directories],
                directory_flags: vec![values.2; directories].into(),
                directory_stats: Some(stats(directories, 2)),
                names: cut(names, &name_lengths),
                stats: Some(stats(name_lengths.len(), values.0 % 6)),
                directory_path_lengths: path_lengths,
                name_lengths,
                scan_id: 0,
            }],
            ..Default::default()
        });
    }
}
