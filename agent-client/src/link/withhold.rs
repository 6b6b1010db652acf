//! The last door: what a view does not want to be told is taken out of batches as they leave.
//!
//! Withheld fields are 0 in everything that goes over the wire; rows of names under an exclude pattern
//! go out of realtime batches, which may have waited in the spool since before the pattern was known.
//! Listings carry no such names, since directories are read past them; one out of the spool that does is
//! given up as lost. Never inode, ctime, size or kind: the rules stand on them.

use fusion_core::path::PathRef;
use fusion_proto::convert::session::Withheld;
use fusion_proto::pb;
use fusion_proto::pb::evidence::Evidence;

use crate::scan::Exclusion;

/// Sets what is withheld to 0.
pub(crate) fn withhold(batch: &mut pb::EvidenceBatch, withheld: Withheld) {
    if withheld == Withheld::default() {
        return;
    }
    for row in &mut batch.rows {
        for stat in row.evidence.iter_mut().flat_map(stats).flatten() {
            if withheld.owner {
                (stat.uid, stat.gid) = (0, 0);
            }
            if withheld.mode {
                stat.mode = 0;
            }
        }
    }
    for listings in &mut batch.listings {
        let columns = [&mut listings.directory_stats, &mut listings.stats];
        for columns in columns.into_iter().flatten() {
            if withheld.owner {
                columns.uids.fill(0);
                columns.gids.fill(0);
            }
            if withheld.mode {
                columns.modes.fill(0);
            }
        }
    }
}

fn stats(evidence: &mut Evidence) -> [Option<&mut pb::Stat>; 3] {
    match evidence {
        Evidence::Upsert(it) => [it.stat.as_mut(), it.parent.as_mut(), None],
        Evidence::Remove(it) => [it.parent.as_mut(), None, None],
        Evidence::Rename(it) => [it.stat.as_mut(), it.from_parent.as_mut(), it.to_parent.as_mut()],
        Evidence::Unchanged(it) => [it.dir_stat.as_mut(), None, None],
        Evidence::Probe(it) => [it.found.as_mut(), it.parent.as_mut(), None],
        Evidence::ScanStarted(_)
        | Evidence::ScanFinished(_)
        | Evidence::Unreadable(_)
        | Evidence::Root(_)
        | Evidence::Overflow(_) => [None, None, None],
    }
}

/// What became of what was hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// What is left is all that may be known.
    Well,
    /// More went than had to go: what is left may miss something.
    Lost,
}

/// Takes out rows of excluded names. A move from or to such a name is told as what is seen of it, and
/// what cannot be told apart counts as lost.
pub(crate) fn hide(batch: &mut pb::EvidenceBatch, exclusion: &Exclusion) -> Hidden {
    if exclusion.is_empty() {
        return Hidden::Well;
    }
    let mut hidden = Hidden::Well;
    batch.rows.retain_mut(|row| {
        let (stays, how) = hide_row(&mut row.evidence, exclusion);
        hidden = if how == Hidden::Lost { how } else { hidden };
        stays
    });
    let all = batch.listings.len();
    batch.listings.retain(|listings| names_nothing_of(listings, exclusion) == Some(true));
    if batch.listings.len() < all { Hidden::Lost } else { hidden }
}

/// Whether a row stays.
fn hide_row(row: &mut Option<Evidence>, exclusion: &Exclusion) -> (bool, Hidden) {
    let hides = |path: &[u8]| PathRef::new(path).is_ok_and(|path| exclusion.takes(path));
    let stays = match row {
        Some(Evidence::Upsert(it)) => !hides(&it.path),
        Some(Evidence::Remove(it)) => !hides(&it.path),
        Some(Evidence::Unreadable(it)) => !hides(&it.dir),
        Some(Evidence::Root(it)) => {
            if let Some(identity) = &mut it.identity {
                identity.top.retain(|top| !exclusion.takes_in(PathRef::ROOT, &top.name));
            }
            true
        }
        Some(Evidence::Rename(it)) => match (hides(&it.from), hides(&it.to)) {
            (false, false) => true,
            (true, true) => false,
            (false, true) => {
                let (path, parent) = (it.from.clone(), it.from_parent);
                *row = Some(Evidence::Remove(pb::Remove { path, parent }));
                true
            }
            (true, false) => {
                let (path, stat, parent) = (it.to.clone(), it.stat, it.to_parent);
                // What is in a directory that came so was not told.
                let is_file = stat.is_some_and(|stat| stat.kind() != pb::EntryKind::Directory);
                let atomic = true;
                *row = Some(Evidence::Upsert(pb::Upsert { path, stat, parent, atomic }));
                return (true, if is_file { Hidden::Well } else { Hidden::Lost });
            }
        },
        _ => true,
    };
    (stays, Hidden::Well)
}

/// Whether no name of these listings is excluded; `None` if they cannot be read.
fn names_nothing_of(listings: &pb::Listings, exclusion: &Exclusion) -> Option<bool> {
    let (mut paths, mut names) = (&listings.directory_paths[..], &listings.names[..]);
    let mut lengths = listings.name_lengths.iter();
    let directories = listings.directory_path_lengths.iter().zip(&listings.directory_rows);
    for (&length, &rows) in directories {
        let path = take(&mut paths, length)?;
        let dir = PathRef::new(path).ok()?;
        if exclusion.takes(dir) {
            return Some(false);
        }
        for _ in 0..rows {
            if exclusion.takes_in(dir, take(&mut names, *lengths.next()?)?) {
                return Some(false);
            }
        }
    }
    Some(true)
}

fn take<'a>(from: &mut &'a [u8], length: u32) -> Option<&'a [u8]> {
    let (head, tail) = from.split_at_checked(usize::try_from(length).ok()?)?;
    *from = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat() -> pb::Stat {
        pb::Stat {
            mode: 0o644,
            uid: 7,
            gid: 8,
            inode: 9,
            size: 3,
            kind: pb::EntryKind::File.into(),
            ..Default::default()
        }
    }

    fn batch(evidence: Vec<Evidence>) -> pb::EvidenceBatch {
        let row = |evidence| pb::Evidence { evidence: Some(evidence), ..Default::default() };
        pb::EvidenceBatch { rows: evidence.into_iter().map(row).collect(), ..Default::default() }
    }

    fn rename(from: &'static str, to: &'static str) -> Evidence {
        Evidence::Rename(pb::Rename {
            from: from.into(),
            to: to.into(),
            stat: Some(stat()),
            from_parent: Some(stat()),
            to_parent: Some(stat()),
        })
    }

    #[test]
    fn fields_are_zero_in_rows_and_in_listings() {
        let mut batch = batch(vec![rename("/a", "/b")]);
        let columns = pb::StatColumns {
            modes: vec![1, 2],
            uids: vec![3, 4],
            gids: vec![5, 6],
            inodes: vec![7, 8],
            ..Default::default()
        };
        batch.listings.push(pb::Listings {
            stats: Some(columns.clone()),
            directory_stats: Some(columns),
            ..Default::default()
        });
        withhold(&mut batch, Withheld { owner: true, mode: false });
        let Some(Evidence::Rename(it)) = &batch.rows[0].evidence else { panic!() };
        for stat in [&it.stat, &it.from_parent, &it.to_parent].map(|it| it.unwrap()) {
            assert_eq!((stat.mode, stat.uid, stat.gid, stat.inode), (0o644, 0, 0, 9));
        }
        let listings = &batch.listings[0];
        for columns in [&listings.stats, &listings.directory_stats].map(|it| it.as_ref().unwrap()) {
            assert_eq!((&columns.uids[..], &columns.gids[..]), (&[0, 0][..], &[0, 0][..]));
            assert_eq!((&columns.modes[..], &columns.inodes[..]), (&[1, 2][..], &[7, 8][..]));
        }
        withhold(&mut batch, Withheld { owner: false, mode: true });
        assert_eq!(batch.listings[0].stats.as_ref().unwrap().modes, [0, 0]);
    }

    #[test]
    fn hidden_names_leave_and_half_hidden_moves_become_what_is_seen() {
        let removed = |path: &'static str| {
            Evidence::Remove(pb::Remove { path: path.into(), parent: Some(stat()) })
        };
        let mut batch = batch(vec![
            removed("/x/secret"),
            removed("/x/open"),
            rename("/secret", "/open"),
            rename("/open", "/secret"),
            rename("/secret", "/x/secret"),
            rename("/open", "/other"),
        ]);
        assert_eq!(hide(&mut batch, &secret()), Hidden::Well);
        let rows: Vec<&Evidence> =
            batch.rows.iter().map(|row| row.evidence.as_ref().unwrap()).collect();
        let [
            Evidence::Remove(first),
            Evidence::Upsert(arrived),
            Evidence::Remove(left),
            Evidence::Rename(_),
        ] = rows[..]
        else {
            panic!("{rows:?}")
        };
        assert_eq!([&first.path, &arrived.path, &left.path], ["/x/open", "/open", "/open"]);
    }

    fn secret() -> Exclusion {
        Exclusion::new(&["secret".to_owned()]).unwrap()
    }

    fn listings(names: &[(&str, &[&str])]) -> pb::Listings {
        let mut all = pb::Listings::default();
        let (mut paths, mut children) = (Vec::new(), Vec::new());
        for (dir, names) in names {
            paths.extend_from_slice(dir.as_bytes());
            all.directory_path_lengths.push(dir.len() as u32);
            all.directory_rows.push(names.len() as u32);
            for name in *names {
                children.extend_from_slice(name.as_bytes());
                all.name_lengths.push(name.len() as u32);
            }
        }
        (all.directory_paths, all.names) = (paths.into(), children.into());
        all
    }

    #[test]
    fn listings_that_name_what_is_hidden_are_given_up() {
        let open = listings(&[("/", &["a", "b"]), ("/a", &[]), ("/b", &["secrets"])]);
        let child = listings(&[("/", &["a"]), ("/a", &["open", "secret"])]);
        let below = listings(&[("/a/secret/x", &["y"])]);
        let mut short = open.clone();
        short.name_lengths.pop();
        for (bad, lost) in [(&open, Hidden::Well), (&child, Hidden::Lost), (&below, Hidden::Lost)]
            .into_iter()
            .chain([(&short, Hidden::Lost)])
        {
            let listings = vec![open.clone(), bad.clone()];
            let mut batch = pb::EvidenceBatch { listings, ..Default::default() };
            assert_eq!(hide(&mut batch, &secret()), lost, "{bad:?}");
            assert_eq!(batch.listings.len(), if lost == Hidden::Well { 2 } else { 1 });
            let mut batch = pb::EvidenceBatch { listings: vec![bad.clone()], ..batch };
            assert_eq!(hide(&mut batch, &Exclusion::default()), Hidden::Well);
            assert_eq!(batch.listings.len(), 1, "where nothing is excluded");
        }
    }

    #[test]
    fn a_directory_that_came_out_of_hiding_may_miss_what_is_in_it() {
        let mut came = rename("/secret", "/open");
        let Evidence::Rename(it) = &mut came else { panic!() };
        it.stat.as_mut().unwrap().set_kind(pb::EntryKind::Directory);
        let mut batch = batch(vec![came]);
        assert_eq!(hide(&mut batch, &secret()), Hidden::Lost);
        assert!(matches!(batch.rows[0].evidence, Some(Evidence::Upsert(_))));
    }

    #[test]
    fn a_root_is_not_known_by_hidden_names() {
        let top = |name: &'static str| pb::root_identity::TopEntry { name: name.into(), inode: 1 };
        let identity =
            pb::RootIdentity { top: vec![top("secret"), top("open")], ..Default::default() };
        let report = pb::RootReport { identity: Some(identity), ..Default::default() };
        let mut batch = batch(vec![Evidence::Root(report)]);
        assert_eq!(hide(&mut batch, &secret()), Hidden::Well);
        let Some(Evidence::Root(it)) = &batch.rows[0].evidence else { panic!() };
        assert_eq!(it.identity.as_ref().unwrap().top, [top("open")]);
    }
}
