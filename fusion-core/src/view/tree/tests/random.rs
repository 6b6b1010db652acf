//! Random edits of a small tree, shrunk when they fail.

use proptest::prelude::*;

use super::model::{Model, Taken, below};
use super::*;
use crate::evidence::ChildColumns;

#[derive(Debug, Clone)]
enum Edit {
    Put(String, Kind, u64, Flags),
    Flag(String, Flags),
    Detach(String),
    /// Puts the last one that was detached back.
    Attach(String),
    Rename(String, String, u64),
    /// Names with kind and number, where it begins and ends, and a number that decides.
    Merge(String, Vec<(String, Kind, u64)>, (Option<String>, Option<String>), u64),
    Purge(usize),
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[abc]", Just("long-name-of-more-than-eight".to_owned()), "[ab]{2}"]
}

fn a_path() -> impl Strategy<Value = String> {
    proptest::collection::vec(name(), 0..4).prop_map(|names| format!("/{}", names.join("/")))
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![3 => Just(Kind::Directory), 3 => Just(Kind::File), 1 => Just(Kind::Symlink)]
}

fn flags() -> impl Strategy<Value = Flags> {
    (any::<bool>(), any::<bool>()).prop_map(|(suspect, blind)| {
        Flags::NONE.set(Flags::SUSPECT, suspect).set(Flags::BLIND, blind)
    })
}

fn edit() -> impl Strategy<Value = Edit> {
    let rows = proptest::collection::vec((name(), kind(), 0..999_u64), 0..6);
    let range = (proptest::option::of(name()), proptest::option::of(name()));
    prop_oneof![
        6 => (a_path(), kind(), 0..999_u64, flags()).prop_map(|(p, k, n, f)| Edit::Put(p, k, n, f)),
        1 => (a_path(), flags()).prop_map(|(p, f)| Edit::Flag(p, f)),
        2 => a_path().prop_map(Edit::Detach),
        2 => a_path().prop_map(Edit::Attach),
        3 => (a_path(), a_path(), 0..999_u64).prop_map(|(a, b, n)| Edit::Rename(a, b, n)),
        4 => (a_path(), rows, range, any::<u64>()).prop_map(|(p, r, g, d)| Edit::Merge(p, r, g, d)),
        1 => (1..9_usize).prop_map(Edit::Purge),
    ]
}

/// Tree and model, side by side.
struct Pair {
    tree: TreeWriter,
    model: Model,
    trash: Vec<(Detached, Taken)>,
    purge: Purge,
    now: i64,
}

impl Pair {
    fn slot(&mut self, path: &TreePath) -> Option<(BlockId, Vec<u8>)> {
        self.tree.slot(path.as_ref()).map(|(dir, name)| (dir, name.to_vec()))
    }

    fn apply(&mut self, edit: &Edit) {
        self.now += 1;
        let now = at(self.now);
        match edit {
            Edit::Put(text, kind, number, flags) => {
                let Some((dir, name)) = self.slot(&path(text)) else { return };
                let new = Entry { stat: stat(*kind, *number), flags: *flags, seen_in: None };
                if let Put::Replaced(old) = self.tree.put(dir, &name, &new, now).unwrap() {
                    self.purge.add(*old);
                }
                self.model.put(text, new.stat, new.flags);
            }
            Edit::Flag(text, flags) => {
                let Some((dir, name)) = self.slot(&path(text)) else { return };
                let before = self.tree.set_flags(dir, &name, *flags);
                let known = self.model.entries.get_mut(text);
                assert_eq!(before, known.map(|known| std::mem::replace(&mut known.1, *flags)));
            }
            Edit::Detach(text) => {
                let Some((dir, name)) = self.slot(&path(text)) else { return };
                let gone = self.model.take(text);
                let Some(detached) = self.tree.detach(dir, &name, now) else {
                    return assert!(gone.is_empty());
                };
                let weight = self.tree.weight(&detached);
                assert_eq!(weight.files + weight.directories + weight.others, gone.len() as u64);
                self.trash.push((detached, gone));
            }
            Edit::Attach(text) => {
                let Some((dir, name)) = self.slot(&path(text)) else { return };
                let Some((detached, gone)) = self.trash.pop() else { return };
                match self.tree.attach(dir, &name, detached, now) {
                    Ok(_) => self.model.give(text, gone),
                    Err(refused) => self.trash.push((*refused.detached, gone)),
                }
            }
            Edit::Rename(from, to, number) => self.rename(from, to, *number, now),
            Edit::Merge(text, rows, range, decide) => self.merge(text, rows, range, *decide, now),
            Edit::Purge(budget) => {
                self.tree.purge(&mut self.purge, *budget);
            }
        }
    }

    fn rename(&mut self, from: &str, to: &str, number: u64, now: ServerTime) {
        let (Some(old), Some(new)) = (self.slot(&path(from)), self.slot(&path(to))) else { return };
        let Some((known, _)) = self.model.entries.get(from) else { return };
        let entry = entry(known.kind, number);
        let nested = to.starts_with(&below(from)) || from.starts_with(&below(to));
        match self.tree.rename((old.0, &old.1), (new.0, &new.1), &entry, now) {
            Err(error) => assert!(nested && error == EditError::IntoItself, "{error}"),
            Ok(over) => {
                over.into_iter().for_each(|over| self.purge.add(*over));
                let moved = self.model.take(from);
                self.model.take(to);
                self.model.give(to, moved);
                self.model.entries.insert(to.to_owned(), (entry.stat, entry.flags));
            }
        }
    }

    fn merge(
        &mut self,
        text: &str,
        rows: &[(String, Kind, u64)],
        (after, through): &(Option<String>, Option<String>),
        seed: u64,
        now: ServerTime,
    ) {
        let Some(dir) = self.tree.dir(path(text).as_ref()) else { return };
        let mut rows = rows.to_vec();
        rows.sort();
        rows.dedup_by(|a, b| a.0 == b.0);
        let covered = |name: &str| {
            after.as_ref().is_none_or(|after| **after < *name)
                && through.as_ref().is_none_or(|through| *name <= **through)
        };
        let mut listing = ChildColumns::default();
        rows.iter().for_each(|(name, k, n)| listing.push(name.as_bytes(), &stat(*k, *n)));
        let range = NameRange {
            after: after.as_deref().map(str::as_bytes),
            through: through.as_deref().map(str::as_bytes),
        };
        let mut asked = Vec::new();
        let (before, model) = (self.model.names(text), &mut self.model);
        let ask = |case: MergeCase<'_>| {
            let pick = (seed >> (asked.len() * 3 % 60)) & 7;
            let (name, action) = decide(model, &below(text), &case, pick);
            asked.push(name);
            action
        };
        let merged =
            self.tree.merge(dir, &listing.as_children(), range, version(self.now), now, ask);
        let merged = merged.unwrap();
        let mut wanted: Vec<_> = before.into_iter().chain(rows.into_iter().map(|r| r.0)).collect();
        wanted.retain(|name| covered(name));
        wanted.sort();
        wanted.dedup();
        assert_eq!(asked, wanted, "every covered name once, in order");
        merged.taken_out.into_iter().for_each(|gone| self.purge.add(gone.detached));
        for (row, block) in merged.directories {
            let child = self.tree.slot_of(block).unwrap();
            assert_eq!(child.0, dir);
            assert_eq!(listing.kinds[row], Kind::Directory as u8);
        }
    }
}

/// Does to the model what it tells the tree to do, by a throw of 0 to 7.
fn decide(
    model: &mut Model,
    prefix: &str,
    case: &MergeCase<'_>,
    pick: u64,
) -> (String, MergeAction) {
    let (name, listed) = match case {
        MergeCase::New { name, listed, .. } | MergeCase::Known { name, listed, .. } => {
            (*name, Some(**listed))
        }
        MergeCase::Missing { name, .. } => (*name, None),
    };
    let name = String::from_utf8_lossy(name).into_owned();
    let full = format!("{prefix}{name}");
    let known = model.entries.get(&full).copied();
    let action = match (case, pick, listed) {
        (MergeCase::New { .. }, 0, _) => MergeAction::Skip,
        (MergeCase::Known { known, .. }, 0 | 1, _) => MergeAction::Seen(known.flags),
        (MergeCase::Known { .. }, 2, _) => {
            model.put(&full, known.unwrap().0, Flags::SUSPECT);
            MergeAction::Flag(Flags::SUSPECT)
        }
        (_, 3, Some(listed)) => {
            model.take(&full);
            model.put(&full, listed, Flags::BLIND);
            MergeAction::Replace(Flags::BLIND)
        }
        (_, _, Some(listed)) => {
            model.put(&full, listed, Flags::BLIND);
            MergeAction::Take(Flags::BLIND)
        }
        (_, 0..4, None) => MergeAction::Skip,
        (_, _, None) => {
            model.take(&full);
            MergeAction::Remove
        }
    };
    (name, action)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_tree_is_what_the_model_is(edits in proptest::collection::vec(edit(), 1..80)) {
        let mut pair = Pair {
            tree: TreeWriter::new(),
            model: Model::default(),
            trash: Vec::new(),
            purge: Purge::default(),
            now: 0,
        };
        pair.apply(&Edit::Put("/".to_owned(), Kind::Directory, 1, Flags::NONE));
        for edit in &edits {
            pair.apply(edit);
            pair.model.check(&mut pair.tree);
        }
        for (detached, gone) in pair.trash {
            prop_assert_eq!(detached.block().map_or(1, |dir| paths(&pair.tree, dir).len() + 1), gone.len());
        }
    }
}
