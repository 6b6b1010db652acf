//! Batches, there and back, and whatever may arrive instead.

mod building;
mod property;

use bytes::Bytes;
use fusion_core::evidence::{ChildColumns, Evidence, Listing, ScanId, Source};
use fusion_core::path::PathRef;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::{ServerTime, StorageTime};

use super::{BatchBudget, BatchBuilder, ListingFeed, Push, RejectedRow, decode_batch};
use crate::status::Reason;
use crate::{limits, pb};

fn stat(kind: Kind) -> Stat {
    Stat {
        kind,
        size: 300,
        mtime: StorageTime::from_nanos(-1),
        ctime: StorageTime::from_nanos(2),
        inode: 1 << 40,
        mode: 0o644,
        uid: 1_000,
        gid: 100,
        nlink: 1,
    }
}

fn columns(names: &[&[u8]]) -> ChildColumns {
    let mut columns = ChildColumns::default();
    names.iter().for_each(|name| columns.push(name, &stat(Kind::File)));
    columns
}

fn listing<'a>(dir: &'a str, columns: &'a ChildColumns) -> Listing<'a> {
    Listing {
        dir: PathRef::new(dir.as_bytes()).unwrap(),
        dir_stat: stat(Kind::Directory),
        scan: ScanId(7),
        source: Source::Snapshot,
        started_at: ServerTime::from_nanos(10),
        finished_at: ServerTime::from_nanos(20),
        part: 0,
        last: true,
        complete: true,
        children: columns.as_children(),
    }
}

/// A batch of `/a` with `x` and `y`, of `/b` with `z`, and of `/c` with nothing.
fn batch() -> pb::EvidenceBatch {
    let mut builder = BatchBuilder::new(BatchBudget::default());
    for (dir, names) in [("/a", &[&b"x"[..], b"y"][..]), ("/b", &[b"z"]), ("/c", &[])] {
        let columns = columns(names);
        assert_eq!(
            builder.push_listing(&mut ListingFeed::new(listing(dir, &columns))),
            Push::Taken
        );
    }
    builder.take().into_message()
}

/// What came of a batch, row by row: `ok DIR CHILDREN complete` or `no ROW FIELD`.
#[track_caller]
fn check(batch: &pb::EvidenceBatch, rows: &[&str]) {
    let told = match decode_batch(batch) {
        Err(whole) => vec![told(&whole)],
        Ok(decoded) => decoded
            .rows()
            .map(|row| match row {
                Ok(row) => match &row.evidence {
                    Evidence::Listing(listing) => {
                        let dir = String::from_utf8_lossy(listing.dir.as_bytes());
                        let names: Vec<_> = listing
                            .children
                            .iter()
                            .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
                            .collect();
                        let complete = if listing.complete { "complete" } else { "in part" };
                        format!("{} ok {dir} [{}] {complete}", row.number, names.join(" "))
                    }
                    _ => format!("{} ok", row.number),
                },
                Err(rejected) => told(&rejected),
            })
            .collect(),
    };
    assert_eq!(told, rows);
}

fn told(rejected: &RejectedRow) -> String {
    assert_eq!(rejected.reason, Reason::InvalidArgument);
    let field = rejected.message.split(':').next().unwrap_or_default();
    match rejected.row {
        Some(row) => format!("{row} no {field}"),
        None => format!("batch no {field}"),
    }
}

#[test]
fn rows_are_numbered_as_the_contract_says() {
    let mut batch = batch();
    let gone = Evidence::Unreadable {
        dir: PathRef::ROOT,
        errno: 13,
        observed_at: ServerTime::from_nanos(1),
    };
    batch.rows = vec![super::evidence_to_pb(&gone).unwrap()];
    check(
        &batch,
        &["0 ok", "1 ok /a [x y] complete", "4 ok /b [z] complete", "6 ok /c [] complete"],
    );
}

#[test]
fn a_bad_row_is_rejected_alone() {
    let mut batch = batch();
    batch.rows = vec![pb::Evidence::default()];
    check(
        &batch,
        &[
            "0 no observed_at",
            "1 ok /a [x y] complete",
            "4 ok /b [z] complete",
            "6 ok /c [] complete",
        ],
    );
}

/// Spoils the listings of [`batch`]: what is left of them?
#[track_caller]
fn spoil(spoil: impl FnOnce(&mut pb::Listings), rows: &[&str]) {
    let mut batch = batch();
    spoil(&mut batch.listings[0]);
    check(&batch, rows);
}

const REST: [&str; 2] = ["3 ok /b [z] complete", "5 ok /c [] complete"];

#[test]
fn a_bad_directory_is_rejected_with_its_children_and_no_other() {
    let check = |field: &str, bad: fn(&mut pb::Listings)| {
        let rejected = format!("0 no {field}");
        spoil(bad, &[&rejected, REST[0], REST[1]]);
    };
    check("directory_paths", |listings| listings.directory_paths = b"x//b/c".as_slice().into());
    check("directory_paths", |listings| listings.directory_paths = b"//./b/c"[1..].into());
    check("directory_flags", |listings| listings.directory_flags = vec![4, 3, 3].into());
    check("directory_stats", |listings| {
        listings.directory_stats.as_mut().unwrap().kinds = vec![1, 2, 2].into();
    });
    check("directory_stats.kinds", |listings| {
        listings.directory_stats.as_mut().unwrap().kinds = vec![9, 2, 2].into();
    });
    check("directory_stats.modes", |listings| {
        listings.directory_stats.as_mut().unwrap().modes[0] = 0o10000;
    });
}

#[test]
fn a_bad_child_is_rejected_alone_and_its_listing_is_in_part() {
    let check = |row: &str, left: &str, bad: fn(&mut pb::Listings)| {
        spoil(bad, &[&format!("0 ok /a [{left}] in part"), row, REST[0], REST[1]]);
    };
    check("2 no names", "x", |listings| listings.names = b"x/z".as_slice().into());
    check("1 no names", "y", |listings| listings.names = b"\0yz".as_slice().into());
    check("1 no names", "y", |listings| listings.names = b".yz".as_slice().into());
    // A name that is empty, a name that stands twice, and one that is out of order.
    check("1 no names", "xy", |listings| listings.name_lengths = vec![0, 2, 1]);
    check("2 no names", "x", |listings| listings.names = b"xxz".as_slice().into());
    check("2 no names", "y", |listings| listings.names = b"yxz".as_slice().into());
    check("1 no stats.kinds", "y", |listings| {
        listings.stats.as_mut().unwrap().kinds = vec![0, 1, 1].into();
    });
    check("2 no stats.modes", "x", |listings| {
        listings.stats.as_mut().unwrap().modes[1] = u32::MAX;
    });
}

#[test]
fn names_are_sorted_within_a_directory_only() {
    spoil(
        |listings| listings.names = b"xya".as_slice().into(),
        &["0 ok /a [x y] complete", "3 ok /b [a] complete", REST[1]],
    );
}

#[test]
fn a_long_name_is_rejected_alone() {
    let columns = columns(&[b"a", &[b'n'; 256], b"z"]);
    let other = self::columns(&[b"q"]);
    let mut builder = BatchBuilder::new(BatchBudget::default());
    let _ = builder.push_listing(&mut ListingFeed::new(listing("/a", &columns)));
    let _ = builder.push_listing(&mut ListingFeed::new(listing("/b", &other)));
    let batch = builder.take().into_message();
    check(&batch, &["0 ok /a [a z] in part", "2 no names", "4 ok /b [q] complete"]);
}

#[test]
fn columns_that_disagree_reject_their_element_and_no_other() {
    let check = |field: &str, bad: fn(&mut pb::Listings)| {
        let mut batch = batch();
        let good = batch.listings[0].clone();
        batch.listings.push(good);
        bad(&mut batch.listings[0]);
        let first = u32::try_from(batch.listings[0].directory_path_lengths.len()).unwrap()
            + u32::try_from(batch.listings[0].name_lengths.len()).unwrap();
        let rows = [
            format!("0 no {field}"),
            format!("{first} ok /a [x y] complete"),
            format!("{} ok /b [z] complete", first + 3),
            format!("{} ok /c [] complete", first + 5),
        ];
        super::tests::check(&batch, &rows.each_ref().map(String::as_str));
    };
    check("name_lengths", |listings| listings.names = b"x".as_slice().into());
    check("source", |listings| listings.source = 0);
    check("source", |listings| listings.source = 77);
    check("parts", |listings| listings.parts.clear());
    check("started_at_time_ns", |listings| listings.started_at_time_ns.push(0));
    check("finished_at_time_ns", |listings| listings.finished_at_time_ns.clear());
    check("directory_flags", |listings| listings.directory_flags = Bytes::new());
    check("directory_rows", |listings| listings.directory_rows.clear());
    check("directory_rows", |listings| listings.directory_rows[2] = u32::MAX);
    check("directory_path_lengths", |listings| listings.directory_path_lengths[0] = u32::MAX);
    check("directory_path_lengths", |listings| listings.directory_paths = Bytes::new());
    check("name_lengths", |listings| listings.name_lengths[2] = u32::MAX);
    check("name_lengths", |listings| listings.names = b"xyzz".as_slice().into());
    check("stats.kinds", |listings| listings.stats = None);
    check("stats.sizes", |listings| listings.stats.as_mut().unwrap().sizes.clear());
    check("stats.nlinks", |listings| listings.stats.as_mut().unwrap().nlinks.push(1));
    check("directory_stats.kinds", |listings| listings.directory_stats = None);
    check("directory_stats.uids", |listings| {
        listings.directory_stats.as_mut().unwrap().uids.clear();
    });
}

#[test]
fn an_element_without_rows_says_nothing() {
    let mut batch = batch();
    batch.listings.insert(0, pb::Listings::default());
    check(&batch, &["0 ok /a [x y] complete", "3 ok /b [z] complete", "5 ok /c [] complete"]);
    check(&pb::EvidenceBatch::default(), &[]);
}

#[test]
fn a_batch_over_the_limits_is_rejected_whole() {
    let rows = |count| pb::EvidenceBatch {
        rows: vec![pb::Evidence::default(); count],
        ..Default::default()
    };
    assert_eq!(decode_batch(&rows(limits::BATCH_ROWS)).unwrap().len(), 1_000);
    check(&rows(limits::BATCH_ROWS + 1), &["batch no batch"]);

    let mut batch = batch();
    batch.listings[0].names = vec![b'x'; limits::BATCH_BYTES + 1].into();
    check(&batch, &["batch no batch"]);

    let listings = vec![pb::Listings::default(); limits::BATCH_ROWS + 1];
    check(&pb::EvidenceBatch { listings, ..Default::default() }, &["batch no listings"]);
}

#[test]
fn a_malformed_envelope_rejects_the_batch() {
    let bad = || "ä".to_owned();
    check(&pb::EvidenceBatch { correlation_id: bad(), ..batch() }, &["batch no correlation_id"]);
    check(&pb::EvidenceBatch { causation_id: bad(), ..batch() }, &["batch no causation_id"]);
    let long = pb::EvidenceBatch { traceparent: "x".repeat(1_000), ..batch() };
    assert_eq!(decode_batch(&long).unwrap().traceparent, "");
}
