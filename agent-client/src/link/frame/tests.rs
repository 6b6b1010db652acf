use fusion_core::evidence::ChildColumns;
use fusion_core::path::TreePath;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::StorageTime;
use fusion_proto::convert::evidence::decode_batch;

use super::*;
use crate::scan::{ListedDir, Unreadable};

const OFFSET: i64 = 1_800_000_000_000_000_000;

fn exchange() -> TimeExchange {
    let exchange = TimeExchange::default();
    let zero = Monotonic::from_nanos(0);
    exchange.add(zero, zero, ServerTime::from_nanos(OFFSET));
    exchange
}

fn stat(kind: Kind) -> Stat {
    let time = StorageTime::from_nanos(3);
    Stat { kind, size: 1, mtime: time, ctime: time, inode: 9, mode: 0, uid: 0, gid: 0, nlink: 1 }
}

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes().to_vec()).unwrap()
}

fn upsert(at: i64) -> WatchEvidence {
    WatchEvidence::Upsert {
        path: path("/d"),
        stat: stat(Kind::Directory),
        parent: Some(stat(Kind::Directory)),
        atomic: true,
        looked_at: Monotonic::from_nanos(at),
    }
}

fn listing(at: i64) -> WatchEvidence {
    let mut children = ChildColumns::default();
    children.push(b"f", &stat(Kind::File));
    WatchEvidence::Listing(Box::new(ListedDir {
        path: path("/d"),
        dir_stat: stat(Kind::Directory),
        started_at: Monotonic::from_nanos(at),
        finished_at: Monotonic::from_nanos(at + 1),
        part: 0,
        last: true,
        complete: true,
        children,
        errors: Vec::new(),
    }))
}

/// What the server reads of frames: (what, its time less the offset).
fn told(frames: Vec<NewFrame>) -> Vec<(&'static str, i64)> {
    let (exchange, mut lane) = (exchange(), Monotone::default());
    let mut all = Vec::new();
    for frame in frames {
        let batch = restamp(frame.payload, &exchange, &mut lane).unwrap().unwrap();
        let decoded = decode_batch(&batch).unwrap();
        for row in decoded.rows() {
            let (what, at) = match row.unwrap().evidence {
                Evidence::Upsert { observed_at, .. } => ("upsert", observed_at),
                Evidence::Remove { observed_at, .. } => ("remove", observed_at),
                Evidence::Rename { observed_at, .. } => ("rename", observed_at),
                Evidence::Listing(listing) => {
                    assert_eq!(listing.source, Source::Discovery);
                    assert_eq!(listing.finished_at.as_nanos(), listing.started_at.as_nanos() + 1);
                    ("listing", listing.started_at)
                }
                Evidence::Unreadable { observed_at, .. } => ("unreadable", observed_at),
                Evidence::Root { observed_at, .. } => ("root", observed_at),
                Evidence::Overflow { since, observed_at } => {
                    all.push(("since", since.as_nanos() - OFFSET));
                    ("overflow", observed_at)
                }
                other => panic!("{other:?}"),
            };
            all.push((what, at.as_nanos() - OFFSET));
        }
    }
    all
}

/// One of each kind.
fn every_kind() -> Vec<WatchEvidence> {
    let at = Monotonic::from_nanos;
    vec![
        upsert(10),
        listing(20),
        WatchEvidence::Rename {
            from: path("/d/f"),
            to: path("/d/g"),
            stat: stat(Kind::File),
            from_parent: Some(stat(Kind::Directory)),
            to_parent: Some(stat(Kind::Directory)),
            looked_at: at(30),
        },
        WatchEvidence::Remove {
            path: path("/d/g"),
            parent: Some(stat(Kind::Directory)),
            looked_at: at(40),
        },
        WatchEvidence::Unreadable(Unreadable { dir: path("/d"), errno: 13, looked_at: at(50) }),
        WatchEvidence::Overflow { since: at(45), watching_since: at(60), is_over: false },
        WatchEvidence::RootGone { looked_at: at(70) },
    ]
}

const EVERY_KIND: [(&str, i64); 8] = [
    ("upsert", 10),
    ("listing", 20),
    ("rename", 30),
    ("remove", 40),
    ("unreadable", 50),
    ("since", 45),
    ("overflow", 60),
    ("root", 70),
];

#[test]
fn every_kind_of_evidence_arrives_in_order_and_in_server_time() {
    let frames = frames(&every_kind());
    // What comes after a listing must not overtake it within a batch.
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[0].stamp, Monotonic::from_nanos(10));
    assert_eq!(told(frames), EVERY_KIND);
}

/// What an agent leaves in its spool, its next version sends. Other bytes are another version; this
/// file stays.
#[test]
fn version_1_is_as_it_was() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut text = String::new();
    for frame in frames(&every_kind()) {
        text.extend(frame.payload.chunks(40).map(|line| hex(line) + "\n"));
        text.push('\n');
    }
    let golden = include_str!("golden/frame-1.hex");
    if text.trim_end() != golden.trim_end() {
        let place = std::env::temp_dir().join("frame-1.hex");
        std::fs::write(&place, text).unwrap();
        panic!("the format changed: make a new version, see {}", place.display());
    }
    let stored = golden.trim_end().split("\n\n").map(|frame| {
        let digits: Vec<u8> = frame.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let payload = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        NewFrame { stamp: Monotonic::from_nanos(0), payload }
    });
    assert_eq!(told(stored.collect()), EVERY_KIND);
}

#[test]
fn stamps_of_rows_never_go_back() {
    let frames = frames(&[upsert(50), upsert(40), upsert(60)]);
    assert_eq!(frames[0].stamp, Monotonic::from_nanos(40));
    assert_eq!(told(frames), [("upsert", 50), ("upsert", 50), ("upsert", 60)]);
}

#[test]
fn many_rows_make_several_frames_and_none_is_lost() {
    let evidence: Vec<_> = (0..2_500).map(upsert).collect();
    let frames = frames(&evidence);
    assert_eq!(frames.len(), 3);
    assert_eq!(told(frames).len(), 2_500);
}

#[test]
fn without_the_servers_time_nothing_is_stamped() {
    let frame = frames(&[upsert(1)]).remove(0);
    let none = TimeExchange::default();
    assert_eq!(restamp(frame.payload, &none, &mut Monotone::default()), Ok(None));
}

#[test]
fn what_is_no_frame_is_an_error() {
    let exchange = exchange();
    for bad in [vec![], vec![9, 1, 2], vec![VERSION, 0xff, 0xff], vec![VERSION, 0x1a, 0]] {
        let read = restamp(bad.clone(), &exchange, &mut Monotone::default());
        assert!(read.is_err(), "{bad:?}: {read:?}");
    }
}

#[test]
fn the_longest_frames_are_sent_and_longer_ones_are_not() {
    let removal = |each: usize| WatchEvidence::Remove {
        path: path(&format!("/{}{each}", "long/".repeat(800))),
        parent: None,
        looked_at: Monotonic::from_nanos(1),
    };
    let removals: Vec<_> = (0..1_000).map(removal).collect();
    let mut frames = frames(&removals);
    assert!(frames.len() > 4, "cut by bytes, not by rows");
    for frame in &frames {
        let batch = restamp(frame.payload.clone(), &exchange(), &mut Monotone::default());
        let sent = WireBatch::from_message(batch.unwrap().unwrap()).encoded_len();
        assert!(sent <= BATCH_BYTES, "{sent}");
    }
    let longest = &mut frames[0].payload;
    longest.resize(BATCH_BYTES + 2, 0);
    restamp(longest.clone(), &exchange(), &mut Monotone::default()).unwrap_err();
}
