//! What a store that lost or changed something makes of a checkpoint.

use crate::view::ViewSettings;
use crate::view::checkpoint::kept::Kept;
use crate::view::checkpoint::load::LoadError;
use crate::view::checkpoint::{BlockImage, HeadImage, ImageContent, PageImage};
use crate::view::tree::{BlockId, TreeError, Version};

use super::rig::Rig;

type Harm = fn(&mut BlockImage);

fn head(image: &mut BlockImage) -> &mut HeadImage {
    match &mut image.content {
        ImageContent::Head(head) | ImageContent::Whole(head, _) => head,
        ImageContent::Free => panic!("nothing free is stored"),
    }
}

fn page(image: &mut BlockImage) -> &mut PageImage {
    match &mut image.content {
        ImageContent::Whole(_, pages) => pages.first_mut().unwrap(),
        _ => panic!("a block without rows"),
    }
}

fn kept() -> Kept {
    let mut rig = Rig::with(4, 5);
    rig.rename("/d0", "/d1/moved");
    rig.remove("/d3");
    let mut kept = Kept::default();
    rig.keep(&mut kept);
    kept
}

fn load(kept: &Kept) -> Result<(), LoadError> {
    kept.load(ViewSettings::default()).map(|view| view.check_invariants().unwrap())
}

/// Each harm to each block is refused, by the number of a block.
#[test]
fn a_block_that_cannot_be_is_refused() {
    let harms: &[(&str, Harm)] = &[
        ("slot", |image| image.slot += 1000),
        ("number", |image| image.number = 0),
        ("future", |image| image.number += 1),
        ("free", |image| image.content = ImageContent::Free),
        ("generation", |image| head(image).generation += 1),
        ("files", |image| head(image).totals.files += 1),
        ("bytes", |image| head(image).totals.bytes ^= 1 << 40),
        ("blind", |image| head(image).totals.blind += 1),
        ("names", |image| page(image).names.reverse()),
        ("slash", |image| page(image).names[0] = b'/'),
        ("short", |image| page(image).names.truncate(1)),
        ("ends", |image| page(image).ends[0] = u16::MAX),
        ("no ends", |image| page(image).ends.clear()),
        ("rows", |image| page(image).rows.clear()),
        ("owner", |image| page(image).rows[0].owner = 77),
        ("kind", |image| page(image).rows[0].bits |= 7 << 24),
        ("mtime", |image| page(image).rows[0].mtime = i64::MAX),
        ("link", |image| page(image).links.push((0, BlockId::ANCHOR))),
        ("seen", |image| {
            let version = Version { inode: 1, ctime: crate::time::StorageTime::MAX };
            page(image).seen_in.extend([(600, version)]);
        }),
        ("page", |image| {
            if let ImageContent::Whole(_, pages) = &mut image.content {
                pages.extend(pages.clone());
            }
        }),
    ];
    // The anchor has one entry without a name: some of this is no harm to it.
    let slots: Vec<(u32, bool)> = kept().blocks.keys().copied().filter(|key| key.0 > 0).collect();
    assert!(slots.len() > 4);
    for (what, harm) in harms {
        for slot in &slots {
            let mut kept = kept();
            let image = kept.blocks.get_mut(slot).unwrap();
            harm(image);
            let refused = load(&kept);
            let told = matches!(refused, Err(LoadError::Tree(TreeError::Block { .. })));
            assert!(told, "{what} of {slot:?}: {refused:?}");
        }
    }
}

#[test]
fn a_block_that_is_missing_is_missed() {
    let slots: Vec<(u32, bool)> = kept().blocks.keys().copied().collect();
    for slot in slots {
        let mut kept = kept();
        kept.blocks.remove(&slot);
        assert!(load(&kept).is_err(), "{slot:?}");
    }
}

#[test]
fn a_directory_is_in_one_place() {
    let mut kept = kept();
    let slots: Vec<(u32, bool)> = kept.blocks.keys().copied().collect();
    for slot in slots {
        let image = kept.blocks.get_mut(&slot).unwrap();
        let parent = head(image).parent;
        for other in [None, Some(BlockId::ANCHOR), Some(BlockId::from_u64(2))] {
            head(kept.blocks.get_mut(&slot).unwrap()).parent = other;
            assert_eq!(load(&kept).is_ok(), other == parent, "{slot:?} in {other:?}");
        }
        head(kept.blocks.get_mut(&slot).unwrap()).parent = parent;
    }
}

#[test]
fn a_frame_that_does_not_fit_is_refused() {
    let harms: [fn(&mut Kept); 5] = [
        |kept| kept.frame.as_mut().unwrap().tree.live += 1,
        |kept| kept.frame.as_mut().unwrap().tree.used = 2,
        |kept| kept.frame.as_mut().unwrap().tree.used = 0,
        |kept| kept.frame.as_mut().unwrap().tree.number = 0,
        |kept| kept.frame.as_mut().unwrap().to_free.push(BlockId::from_u64(1)),
    ];
    for (number, harm) in harms.iter().enumerate() {
        let mut kept = kept();
        assert_eq!(load(&kept), Ok(()));
        harm(&mut kept);
        assert!(load(&kept).is_err(), "{number}");
    }
}
