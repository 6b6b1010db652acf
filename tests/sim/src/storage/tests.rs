//! The storage behaves as a file system does.

use super::*;

const A: Name = Name(0);
const B: Name = Name(1);

fn storage() -> Storage {
    Storage::new(4 * MS, 0, true)
}

#[test]
fn a_directory_changes_with_its_names_and_not_with_their_content() {
    let mut storage = storage();
    let file = storage.create(BEGIN, ROOT, A, Kind::File, false).unwrap();
    let version = storage.stat(ROOT).ctime;
    storage.write(BEGIN + SEC, file, 10).unwrap();
    assert_eq!(storage.stat(ROOT).ctime, version);
    assert_eq!(storage.stat(file).size, 10);
    storage.unlink(BEGIN + 2 * SEC, ROOT, A).unwrap();
    assert!(storage.stat(ROOT).ctime > version);
    assert_eq!(storage.stat_at(file, BEGIN + SEC).unwrap().size, 10);
    assert_eq!(storage.stat_at(file, BEGIN + 3 * SEC), None);
    assert_eq!(storage.child_at(ROOT, A, BEGIN + SEC), Some(file));
    assert_eq!(storage.child(ROOT, A), None);
}

#[test]
fn numbers_are_used_again_and_links_are_counted() {
    let mut storage = storage();
    let file = storage.create(BEGIN, ROOT, A, Kind::File, true).unwrap();
    let number = storage.stat(file).inode;
    storage.link(BEGIN, file, ROOT, B).unwrap();
    assert_eq!(storage.stat(file).nlink, 2);
    storage.unlink(BEGIN + MS, ROOT, A).unwrap();
    assert!(storage.is_alive(file));
    storage.unlink(BEGIN + MS, ROOT, B).unwrap();
    let again = storage.create(BEGIN + MS, ROOT, A, Kind::Directory, true).unwrap();
    assert_eq!(storage.stat(again).inode, number);
    assert_eq!(storage.stat(again).ctime, storage.stat(file).ctime);
}

#[test]
fn renames_go_over_and_into_but_never_into_themselves() {
    let mut storage = storage();
    let dir = storage.create(BEGIN, ROOT, A, Kind::Directory, false).unwrap();
    let file = storage.create(BEGIN, ROOT, B, Kind::File, false).unwrap();
    assert_eq!(storage.rename(BEGIN, (ROOT, A), (dir, B)), Err(Refused));
    assert_eq!(storage.rename(BEGIN, (ROOT, B), (ROOT, A)), Err(Refused));
    storage.rename(BEGIN, (ROOT, B), (dir, A)).unwrap();
    assert_eq!(storage.child(dir, A), Some(file));
    assert_eq!(storage.unlink(BEGIN, ROOT, A), Err(Refused));
    let other = storage.create(BEGIN, ROOT, B, Kind::Directory, false).unwrap();
    assert_eq!(storage.stat(ROOT).nlink, 4);
    storage.exchange(BEGIN, (ROOT, A), (ROOT, B)).unwrap();
    assert_eq!((storage.child(ROOT, A), storage.child(ROOT, B)), (Some(other), Some(dir)));
    storage.rename(BEGIN, (ROOT, B), (ROOT, A)).unwrap();
    assert_eq!(storage.stat(ROOT).nlink, 3);
    assert!(!storage.is_alive(other));
}
