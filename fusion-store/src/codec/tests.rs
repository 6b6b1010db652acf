use fusion_core::change::Change;
use fusion_core::id::Revision;
use proptest::prelude::*;

use super::*;
use crate::error::{Malformed, StoreError};
use crate::ports::{LogPoint, RecordHead};
use crate::sample;

#[path = "../../../fusion-core/tests/support/script.rs"]
pub(super) mod script;

const AFTER: LogPoint = LogPoint { record: 41, revision: Revision(1000) };

fn encoded(head: &RecordHead, changes: &[Change]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let point = Encoder::default().encode(AFTER, head, changes, &mut bytes).unwrap();
    let record = decode(&bytes).unwrap();
    assert_eq!((&record.head, record.point), (head, point));
    assert_eq!(record.changes, changes);
    assert_eq!(peek(&bytes).unwrap(), (AFTER, head.clone()));
    bytes
}

fn golden() -> Vec<u8> {
    encoded(&sample::full_head(), &sample::numbered(AFTER, sample::kinds()))
}

#[test]
fn every_kind_of_change_and_head_survives() {
    for kind in sample::kinds() {
        encoded(&sample::full_head(), &sample::numbered(AFTER, vec![kind]));
    }
    for head in sample::heads() {
        encoded(&head, &[]);
    }
    let mut encoder = Encoder::default();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let changes = sample::numbered(AFTER, sample::kinds());
    for out in [&mut first, &mut second] {
        encoder.encode(AFTER, &sample::full_head(), &changes, out).unwrap();
    }
    assert!(first == golden() && second == first, "nothing is left of the record before");
}

/// The stored format of today. Other bytes are another version; this file stays.
#[test]
fn version_2_is_as_it_was() {
    let text: String = golden().chunks(32).map(|line| hex(line) + "\n").collect();
    let stored = include_str!("../../tests/golden/record-2.hex");
    if text != stored {
        let place = std::env::temp_dir().join("record-2.hex");
        std::fs::write(&place, text).unwrap();
        panic!("the format changed: make a new version, see {}", place.display());
    }
    let changes = decode(&bytes_of(stored)).unwrap().changes;
    assert_eq!(changes, sample::numbered(AFTER, sample::kinds()));
}

#[test]
fn version_1_is_read() {
    let stored = include_str!("../../tests/golden/record-1.hex");
    let changes = decode(&bytes_of(stored)).unwrap().changes;
    assert_eq!(changes, sample::numbered(AFTER, sample::kinds_of(1)));
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_record_of_the_future_is_refused() {
    let mut bytes = golden();
    bytes[..2].copy_from_slice(&(RECORD_VERSION + 1).to_le_bytes());
    let (found, known) = (u32::from(RECORD_VERSION) + 1, u32::from(RECORD_VERSION));
    let refused = Malformed::Future { what: "a record", found, known };
    assert_eq!(decode(&bytes), Err(refused));
    let error = StoreError::corrupt("x.log", 9)(refused).to_string();
    let told = format!("has format {found}, this version knows up to {known}");
    assert!(error.contains(&told), "{error}");
}

#[test]
fn damage_is_found_or_changes_nothing_else() {
    let bytes = golden();
    for cut in 0..bytes.len() {
        assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            // A checksum is the adapter's; here nothing may panic or take all memory.
            drop(decode(&damaged));
        }
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(decode(&longer).is_err());
}

#[test]
fn what_is_numbered_wrongly_is_refused() {
    let changes = sample::numbered(AFTER, sample::kinds());
    let refused = |changes: &[Change]| {
        let head = sample::full_head();
        let outcome = Encoder::default().encode(AFTER, &head, changes, &mut Vec::new());
        assert!(matches!(outcome, Err(StoreError::Refused { .. })), "{outcome:?}");
    };
    refused(&changes[1..]);
    refused(&[&changes[..2], &changes[3..]].concat());
    let mut listed = sample::listed("/", 3);
    listed.rows.sizes.pop();
    let kind = fusion_core::change::ChangeKind::Listed(Box::new(listed));
    refused(&sample::numbered(AFTER, vec![kind]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_view_yields_survives(bytes in proptest::collection::vec(any::<u8>(), 0..2500)) {
        let changes = script::play(&bytes).unwrap();
        let mut bytes = Vec::new();
        let mut encoder = Encoder::default();
        let head = sample::full_head();
        encoder.encode(LogPoint::default(), &head, &changes, &mut bytes).unwrap();
        prop_assert!(decode(&bytes).unwrap().changes == changes);
    }

    #[test]
    fn any_bytes_are_borne(mut bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        drop(decode(&bytes));
        bytes.splice(0..0, RECORD_VERSION.to_le_bytes());
        drop(decode(&bytes));
    }
}
