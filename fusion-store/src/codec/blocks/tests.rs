//! Checkpoints as bytes: the stored format, what is damaged, and arbitrary views there and back.

#[path = "tests/sample.rs"]
mod sample;

use std::fmt::Write as _;
use std::sync::LazyLock;

use fusion_core::view::checkpoint::{BACKLOG_MAX, Table};
use fusion_core::view::{View, ViewSettings};
use proptest::prelude::*;

use super::super::tests::script;
use super::block::{BlockDecoder, BlockEncoder};
use super::ledger::{put_frame, put_owners, take_frame, take_owners};
use super::tables::put_table;
use super::*;
use crate::error::{Malformed, StoreError};
use crate::memory::MemoryBlocks;
use crate::ports::{Blocks, LogPoint};
use crate::sample as records;

/// Values by name; blocks by their number.
type Values = Vec<(String, Vec<u8>)>;

/// Every value of the sample.
fn values() -> Values {
    static VALUES: LazyLock<Values> = LazyLock::new(encoded);
    VALUES.clone()
}

fn encoded() -> Values {
    let mut view = sample::view();
    let ledger = view.begin_checkpoint(BACKLOG_MAX).unwrap().take_ledger().unwrap();
    let mut values = Vec::new();
    let mut add = |name: &str, put: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        put(&mut bytes);
        values.push((name.to_owned(), bytes));
    };
    add(FRAME, &|out| put_frame(&sample::frame(), out));
    add(OWNERS, &|out| put_owners(&sample::owners(), out));
    for table in Table::ALL {
        add(table.as_str(), &|out| put_table(table, &ledger, out));
    }
    for image in sample::images().into_iter().chain([sample::later_head()]) {
        let id = id_of(&image).unwrap().0.to_string();
        add(&id, &|out| {
            let _ = BlockEncoder::default().encode(&image, out);
        });
    }
    values
}

/// A store that holds these values.
fn stored(values: &[(String, Vec<u8>)]) -> MemoryBlocks {
    let blocks = MemoryBlocks::default();
    let mut writer = blocks.begin(&records::view(1), LogPoint::default()).unwrap();
    for (name, bytes) in values {
        match name.parse() {
            Ok(id) => writer.put(BlockId(id), bytes).unwrap(),
            Err(_) => writer.put_named(name, bytes).unwrap(),
        }
    }
    writer.commit().unwrap();
    blocks
}

fn load_from(blocks: &dyn Blocks, settings: ViewSettings) -> Result<View, StoreError> {
    let loaded = load(blocks, records::view(1).id, settings, 1)?;
    Ok(loaded.unwrap().view)
}

/// The stored format of today. Other bytes are another version; this file stays.
#[test]
fn version_3_is_as_it_was() {
    let mut text = String::new();
    for (name, bytes) in values() {
        writeln!(text, "{name}").unwrap();
        for line in bytes.chunks(40) {
            let line: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "  {line}").unwrap();
        }
    }
    let golden = include_str!("../../../tests/golden/blocks-3.hex");
    if text != golden {
        let place = std::env::temp_dir().join("blocks-3.hex");
        std::fs::write(&place, text).unwrap();
        panic!("the format changed: make a new version, see {}", place.display());
    }
    let view = load_from(&stored(&values_of(golden)), sample::settings()).unwrap();
    assert_eq!(view.dump(), sample::view().dump());
}

#[test]
fn version_1_is_read() {
    let golden = include_str!("../../../tests/golden/blocks-1.hex");
    let view = load_from(&stored(&values_of(golden)), sample::settings()).unwrap();
    assert_eq!(view.dump(), sample::view_of(1).dump());
}

#[test]
fn version_2_is_read() {
    let golden = include_str!("../../../tests/golden/blocks-2.hex");
    let view = load_from(&stored(&values_of(golden)), sample::settings()).unwrap();
    assert_eq!(view.dump(), sample::view_of(2).dump());
}

fn values_of(golden: &str) -> Values {
    let mut values = Values::new();
    for line in golden.lines() {
        let Some(hex) = line.strip_prefix("  ") else {
            values.push((line.to_owned(), Vec::new()));
            continue;
        };
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
        values.last_mut().unwrap().1.extend(bytes.map(Result::unwrap));
    }
    values
}

#[test]
fn what_is_small_survives() {
    let mut frame = sample::frame();
    frame.to_free = vec![fusion_core::view::checkpoint::BlockId::from_u64(u64::MAX - 5)];
    let mut bytes = Vec::new();
    put_frame(&frame, &mut bytes);
    assert_eq!(take_frame(&bytes).unwrap(), frame);
    bytes.clear();
    put_owners(&sample::owners(), &mut bytes);
    assert_eq!(take_owners(&bytes).unwrap(), sample::owners());
    for image in sample::images().into_iter().chain([sample::later_head()]) {
        bytes.clear();
        let id = BlockEncoder::default().encode(&image, &mut bytes).unwrap();
        assert_eq!(BlockDecoder::default().decode(id, &bytes).unwrap(), image);
    }
}

#[test]
fn what_is_of_the_future_is_refused() {
    for at in 0..values().len() {
        let mut values = values();
        values[at].1[..2].copy_from_slice(&9_u16.to_le_bytes());
        let error = load_from(&stored(&values), sample::settings()).unwrap_err();
        let told = matches!(error, StoreError::FutureFormat { found: 9, known: 1 | 3, .. });
        assert!(told, "{}: {error}", values[at].0);
    }
}

#[test]
fn what_is_missing_is_missed() {
    for at in 0..values().len() - 1 {
        let mut values = values();
        let (name, _) = values.remove(at);
        let error = load_from(&stored(&values), sample::settings()).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{name}: {error}");
    }
}

#[test]
fn a_corrupt_block_is_named() {
    let mut values = values();
    let block = values.iter_mut().find(|(name, _)| name == "4").unwrap();
    block.1.truncate(100);
    let error = load_from(&stored(&values), sample::settings()).unwrap_err().to_string();
    assert!(error.starts_with("`block 2 of view "), "{error}");
}

/// Nothing may panic or take all memory, and what is loaded all the same is a tree: its totals are
/// those of its entries. A checksum is the adapter's.
#[test]
fn damage_is_refused_or_harmless() {
    let values = values();
    for (at, (name, bytes)) in values.iter().enumerate() {
        // Some bytes of the long ones, for speed.
        for byte in (0..bytes.len()).step_by(bytes.len() / 150 + 1) {
            for damage in [0x01, 0x80, 0xff] {
                let mut damaged = values.clone();
                damaged[at].1[byte] ^= damage;
                if let Ok(view) = load_from(&stored(&damaged), sample::settings()) {
                    let root = view.reader().totals(fusion_core::path::PathRef::ROOT).unwrap();
                    assert_eq!((root.files, root.directories), (702, 1), "{name} at {byte}");
                }
            }
            let mut cut = values.clone();
            cut[at].1.truncate(byte);
            drop(load_from(&stored(&cut), sample::settings()));
        }
        let mut longer = values.clone();
        longer[at].1.push(7);
        assert!(load_from(&stored(&longer), sample::settings()).is_err(), "{name}");
    }
}

#[test]
fn no_checkpoint_is_no_view() {
    let blocks = MemoryBlocks::default();
    assert!(load(&blocks, records::view(1).id, sample::settings(), 0).unwrap().is_none());
}

/// Stores a checkpoint of a view, and something beside it.
fn store(view: &mut View, blocks: &MemoryBlocks, beside: &[u8]) -> Written {
    let mut checkpoint = view.begin_checkpoint(BACKLOG_MAX).unwrap();
    let contains = LogPoint { record: 1, revision: checkpoint.revision() };
    let mut writer = blocks.begin(&records::view(1), contains).unwrap();
    let written = write(&mut checkpoint, &mut *writer).unwrap();
    writer.put_named("beside", beside).unwrap();
    writer.commit().unwrap();
    assert!(view.end_checkpoint(checkpoint.stored().unwrap()));
    written
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_view_is_survives(
        bytes in proptest::collection::vec(any::<u8>(), 0..2500),
        every in 1..12_usize,
        threads in 0..3_usize,
    ) {
        let (blocks, mut step) = (MemoryBlocks::default(), 0_usize);
        let played = script::play_beside(&bytes, |script| {
            step += 1;
            if !step.is_multiple_of(every) {
                return Ok(());
            }
            store(&mut script.view, &blocks, &step.to_be_bytes());
            let (settings, id) = (script.view.settings().clone(), records::view(1).id);
            let found = load(&blocks, id, settings, threads).unwrap().unwrap();
            let (loaded, contains) = (found.view, found.contains);
            assert_eq!(contains.revision, script.view.revision());
            assert_eq!(found.beside["beside"], step.to_be_bytes());
            assert_eq!(found.beside.len(), 1);
            loaded.check_invariants().map_err(|broken| broken.to_string())?;
            assert_eq!(loaded.dump(), script.view.dump());
            if step.is_multiple_of(3) {
                script.view = loaded;
                script.lead(Some(1));
            }
            Ok(())
        });
        prop_assert!(played.is_ok(), "{:?}", played.err());
    }

    #[test]
    fn any_bytes_are_borne(id in 0..1000_u64, mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(BlockDecoder::default().decode(BlockId(id), &bytes));
        bytes.splice(0..0, 1_u16.to_le_bytes());
        drop(BlockDecoder::default().decode(BlockId(id), &bytes));
        drop((take_frame(&bytes), take_owners(&bytes)));
        let versions = |table| [(table, 1), (table, TABLE_VERSION)];
        for (table, version) in Table::ALL.into_iter().flat_map(versions) {
            let mut values = values();
            let value = values.iter_mut().find(|(name, _)| name == table.as_str()).unwrap();
            value.1.clone_from(&bytes);
            value.1[..2].copy_from_slice(&version.to_le_bytes());
            if let Err(error) = load_from(&stored(&values), sample::settings()) {
                prop_assert!(matches!(error, StoreError::Corrupt { .. }), "{}", error);
            }
        }
    }
}

#[test]
fn a_block_of_no_version_is_refused() {
    let error = BlockDecoder::default().decode(BlockId(2), &[0, 0, 1]).unwrap_err();
    assert_eq!(error, Malformed::Broken("it has no version"));
}
