//! Batches in the making: budgets, parts, and what may overtake what.

use fusion_core::evidence::{ChildColumns, Evidence, Listing, ScanId};
use fusion_core::id::{CorrelationId, LeaderEpoch};
use fusion_core::path::{PathRef, TreePath};
use fusion_core::stat::Kind;
use fusion_core::time::ServerTime;

use super::super::{BatchHeader, NotTaken, WireBatch};
use super::{
    BatchBudget, BatchBuilder, ListingFeed, Push, columns, decode_batch, limits, listing, pb, stat,
};

/// A directory with so many children, in order.
fn large(children: usize) -> ChildColumns {
    let mut columns = ChildColumns::default();
    for number in 0..children {
        columns.push(format!("name-{number:07}").as_bytes(), &stat(Kind::File));
    }
    columns
}

/// Everything that a feed gives, each batch as its listings.
fn feed_all(builder: &mut BatchBuilder, listing: Listing<'_>) -> Vec<WireBatch> {
    let mut batches = Vec::new();
    let mut feed = ListingFeed::new(listing);
    while builder.push_listing(&mut feed) == Push::Full {
        batches.push(builder.take());
    }
    batches
}

/// Directory, part, whether it is the last, and number of children, of each listing of a batch.
fn parts(batch: &WireBatch) -> Vec<(TreePath, u32, bool, usize)> {
    let decoded = batch.decode().unwrap();
    decoded
        .rows()
        .map(|row| match row.unwrap().evidence {
            Evidence::Listing(of) => (of.dir.to_owned(), of.part, of.last, of.children.len()),
            other => panic!("not a listing: {other:?}"),
        })
        .collect()
}

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

#[test]
fn a_directory_larger_than_a_batch_travels_in_parts() {
    let mut builder = BatchBuilder::new(BatchBudget::default());
    let (small, large) = (columns(&[b"x"]), large(18_000));
    assert!(feed_all(&mut builder, listing("/before", &small)).is_empty());
    let batches = feed_all(&mut builder, listing("/large", &large));
    let after = feed_all(&mut builder, listing("/after", &small));
    assert!(after.is_empty());

    assert_eq!(parts(&batches[0]), [(path("/before"), 0, true, 1)]);
    for (part, batch) in (0..).zip(&batches[1..]) {
        assert_eq!(parts(batch), [(path("/large"), part, false, 999)]);
        assert_eq!(batch.rows(), limits::BATCH_ROWS);
    }
    let rest = 18_000 - 18 * 999;
    let expected = [(path("/large"), 18, true, rest), (path("/after"), 0, true, 1)];
    assert_eq!(parts(&builder.take()), expected);
    assert!(builder.is_empty());

    // All names, in order, none twice.
    let mut names = Vec::new();
    for batch in &batches[1..] {
        let decoded = batch.decode().unwrap();
        for row in decoded.rows() {
            let Evidence::Listing(listing) = row.unwrap().evidence else { continue };
            names.extend(listing.children.iter().map(|(name, _)| name.to_vec()));
        }
    }
    let all: Vec<_> = large.as_children().iter().map(|(name, _)| name.to_vec()).collect();
    assert_eq!(names, all[..names.len()]);
    assert_eq!(names.len(), 18 * 999);
}

#[test]
fn a_directory_that_fits_a_batch_is_not_split() {
    let mut builder = BatchBuilder::new(BatchBudget::default());
    let large = large(600);
    assert!(feed_all(&mut builder, listing("/a", &large)).is_empty());
    let batches = feed_all(&mut builder, listing("/b", &large));
    assert_eq!(batches.len(), 1);
    assert_eq!(parts(&batches[0]), [(path("/a"), 0, true, 600)]);
    assert_eq!(parts(&builder.take()), [(path("/b"), 0, true, 600)]);
}

#[test]
fn a_full_batch_has_exactly_its_rows() {
    let mut builder = BatchBuilder::new(BatchBudget::new(10, limits::BATCH_BYTES));
    assert!(feed_all(&mut builder, listing("/a", &large(9))).is_empty());
    assert_eq!(builder.rows(), 10);
    assert_eq!(feed_all(&mut builder, listing("/b", &columns(&[]))).len(), 1);
    let batches = feed_all(&mut builder, listing("/c", &large(10)));
    assert_eq!(batches.len(), 2);
    assert_eq!(parts(&builder.take()), [(path("/c"), 1, true, 1)]);
}

#[test]
fn the_last_part_is_the_last_only_if_the_listing_is() {
    let mut builder = BatchBuilder::new(BatchBudget::new(2, limits::BATCH_BYTES));
    let large = large(2);
    let listing = Listing { part: 4, last: false, ..listing("/a", &large) };
    let batches = feed_all(&mut builder, listing);
    assert_eq!(parts(&batches[0]), [(path("/a"), 4, false, 1)]);
    assert_eq!(parts(&builder.take()), [(path("/a"), 5, false, 1)]);
}

#[test]
fn each_scan_has_an_element_of_its_own() {
    let mut builder = BatchBuilder::new(BatchBudget::default());
    let columns = columns(&[b"x"]);
    for scan in [7, 7, 8, 7] {
        let listing = Listing { scan: ScanId(scan), ..listing("/a", &columns) };
        assert_eq!(builder.push_listing(&mut ListingFeed::new(listing)), Push::Taken);
    }
    assert_eq!(builder.take().into_message().listings.len(), 3);
}

fn unchanged() -> Evidence<'static> {
    Evidence::Unchanged {
        dir: PathRef::ROOT,
        dir_stat: stat(Kind::Directory),
        observed_at: ServerTime::from_nanos(3),
    }
}

fn finished() -> Evidence<'static> {
    Evidence::ScanFinished {
        scan: ScanId(7),
        complete: true,
        directories: 1,
        entries: 1,
        errors: 0,
        finished_at: ServerTime::from_nanos(4),
    }
}

#[test]
fn the_end_of_a_scan_does_not_overtake_its_listings() {
    let mut builder = BatchBuilder::new(BatchBudget::default());
    let columns = columns(&[b"x"]);
    assert!(feed_all(&mut builder, listing("/a", &columns)).is_empty());
    assert_eq!(builder.push(&unchanged()), Ok(Push::Taken));
    assert_eq!(builder.push(&finished()), Ok(Push::Full));
    assert_eq!(builder.take().rows(), 3);
    assert_eq!(builder.push(&finished()), Ok(Push::Taken));
    assert_eq!(builder.push(&Evidence::Listing(listing("/a", &columns))), Err(NotTaken));
}

#[test]
fn rows_stop_at_the_budget() {
    let mut builder = BatchBuilder::new(BatchBudget::new(3, limits::BATCH_BYTES));
    for _ in 0..3 {
        assert_eq!(builder.push(&unchanged()), Ok(Push::Taken));
    }
    assert_eq!(builder.push(&unchanged()), Ok(Push::Full));

    let long = [vec![b'/'], [&[b'd'; 254][..], b"/"].concat().repeat(16)].concat();
    let long = TreePath::new(&long[..long.len() - 1]).unwrap();
    let mut builder = BatchBuilder::new(BatchBudget::new(1_000, limits::BATCH_BYTES_MIN));
    let row = Evidence::Unreadable {
        dir: long.as_ref(),
        errno: 13,
        observed_at: ServerTime::from_nanos(1),
    };
    while builder.push(&row) == Ok(Push::Taken) {}
    assert_eq!(builder.rows(), 15);
    assert!(builder.take().encoded_len() <= limits::BATCH_BYTES_MIN);
}

#[test]
fn a_header_is_written_and_read() {
    let mut builder = BatchBuilder::new(BatchBudget::default());
    let _ = builder.push(&finished());
    let mut batch = builder.take();
    let header = BatchHeader {
        sequence: 12,
        epoch: LeaderEpoch(3),
        correlation: Some(CorrelationId::new("c:1").unwrap()),
        causation: Some(CorrelationId::new("d").unwrap()),
        traceparent: "00-1-2-01".to_owned(),
    };
    batch.set_header(&header);
    let again = WireBatch::from_bytes(batch.to_bytes()).unwrap();
    assert_eq!(again, batch);
    assert_eq!(again.encoded_len(), batch.to_bytes().len());
    assert_eq!(again.sequence(), 12);
    let decoded = again.decode().unwrap();
    let read = BatchHeader {
        sequence: decoded.sequence,
        epoch: decoded.epoch,
        correlation: decoded.correlation.clone(),
        causation: decoded.causation.clone(),
        traceparent: decoded.traceparent.to_owned(),
    };
    assert_eq!(read, header);
    assert!(WireBatch::from_bytes(bytes::Bytes::from_static(b"\xff")).is_err());
    batch.set_header(&BatchHeader::default());
    let mut bare = batch.into_message();
    bare.rows.clear();
    assert_eq!(bare, pb::EvidenceBatch::default());
    assert!(decode_batch(&bare).unwrap().is_empty());
}
