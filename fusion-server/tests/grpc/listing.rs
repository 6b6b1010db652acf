//! `ListEntries` in every order: pages, ties, tokens, and a directory that changes between pages.

use std::collections::BTreeMap;

use fusion_proto::pb;
use tonic::Code;

use crate::evidence::{DIR, FILE, batch, root, row, stat};
use crate::harness::{TestServer, start};
use crate::telling::{Lane, opening};
use crate::views::list;

const ORDERS: [(pb::EntrySort, bool); 6] = [
    (pb::EntrySort::Name, false),
    (pb::EntrySort::Name, true),
    (pb::EntrySort::Size, false),
    (pb::EntrySort::Size, true),
    (pb::EntrySort::Mtime, false),
    (pb::EntrySort::Mtime, true),
];

fn file(name: &str, size: u64, mtime: i64, at: i64) -> pb::Evidence {
    let of = pb::Stat { mtime_time_ns: mtime, ctime_time_ns: at, ..stat(FILE, size, 7) };
    row(pb::evidence::Evidence::Upsert(pb::Upsert {
        path: format!("/{name}").into_bytes().into(),
        stat: Some(of),
        parent: Some(stat(DIR, 0, 1)),
        atomic: true,
    }))
}

fn gone(name: &str) -> pb::Evidence {
    let path = format!("/{name}").into_bytes().into();
    row(pb::evidence::Evidence::Remove(pb::Remove { path, parent: None }))
}

async fn lane(server: &mut TestServer) -> Lane {
    let session = server.join("a").await.session_id;
    let realtime = opening(pb::Lane::Realtime, &session, "a");
    Lane::open(server, realtime).await.unwrap().0
}

fn ask(
    (sort, descending): (pb::EntrySort, bool),
    size: i32,
    token: &str,
) -> pb::ListEntriesRequest {
    pb::ListEntriesRequest { sort: sort.into(), descending, ..list("/", size, token) }
}

/// What stays has names and keys with many ties.
fn staying() -> Vec<(String, u64, i64)> {
    (0..120_u64).map(|i| (format!("stay{i:03}"), i * 7 % 13, (i * 5 % 11) as i64 - 5)).collect()
}

#[tokio::test]
async fn pages_are_the_sorted_whole_whatever_their_size() {
    let mut server = start().await;
    let mut lane = lane(&mut server).await;
    let mut rows = vec![root()];
    rows.extend(staying().iter().map(|(name, size, mtime)| file(name, *size, *mtime, 1)));
    lane.send(batch(1, rows)).await;
    lane.acknowledged(1).await.unwrap();
    for order in ORDERS {
        let mut sorted = staying();
        sorted.sort_by(|a, b| {
            let first = match order.0 {
                pb::EntrySort::Size => a.1.cmp(&b.1),
                pb::EntrySort::Mtime => a.2.cmp(&b.2),
                _ => a.0.cmp(&b.0),
            };
            if order.1 { first.reverse() } else { first }.then_with(|| a.0.cmp(&b.0))
        });
        for size in [1, 7, 120, 1_000] {
            let (mut seen, mut token) = (Vec::new(), String::new());
            loop {
                let page = server.views.list_entries(ask(order, size, &token)).await.unwrap();
                let page = page.into_inner();
                assert!(page.freshness.is_some() && page.entries.len() <= size as usize);
                seen.extend(page.entries.into_iter().map(|entry| entry.path[1..].to_owned()));
                token = page.next_page_token;
                if token.is_empty() {
                    break;
                }
            }
            let names: Vec<_> = sorted.iter().map(|row| row.0.clone()).collect();
            assert_eq!(seen, names, "{order:?}, pages of {size}");
        }
    }
}

#[tokio::test]
async fn a_token_is_of_one_order_and_nothing_else() {
    let mut server = start().await;
    let mut lane = lane(&mut server).await;
    lane.send(batch(1, vec![root(), file("a", 1, 1, 1), file("b", 2, 2, 1)])).await;
    lane.acknowledged(1).await.unwrap();
    for order in ORDERS {
        let page = server.views.list_entries(ask(order, 1, "")).await.unwrap().into_inner();
        let token = page.next_page_token;
        assert!(!token.is_empty());
        for other in ORDERS {
            let told = server.views.list_entries(ask(other, 1, &token)).await;
            match told {
                Ok(told) => {
                    assert_eq!(order, other);
                    assert_eq!(told.into_inner().next_page_token, "");
                }
                Err(status) => {
                    assert_ne!(order, other);
                    assert_eq!(status.code(), Code::InvalidArgument);
                }
            }
        }
        // A token whose key was cut off is no place in an order.
        if order.0 != pb::EntrySort::Name || order.1 {
            let cut = &token[..2 * (1 + 16 + 8 + 3)];
            let told = server.views.list_entries(ask(order, 1, cut)).await.unwrap_err();
            assert_eq!(told.code(), Code::InvalidArgument);
        }
    }
    let unknown = pb::ListEntriesRequest { sort: 9, ..list("/", 0, "") };
    let told = server.views.list_entries(unknown).await.unwrap_err();
    assert_eq!(told.code(), Code::InvalidArgument);
}

/// Entries come, go, grow and are touched between any two pages; what stays with its key is seen once.
#[tokio::test]
async fn who_pages_through_a_changing_directory_sees_what_stays_exactly_once() {
    let mut server = start().await;
    let mut lane = lane(&mut server).await;
    let mut rows = vec![root()];
    rows.extend(staying().iter().map(|(name, size, mtime)| file(name, *size, *mtime, 1)));
    lane.send(batch(1, rows)).await;
    lane.acknowledged(1).await.unwrap();
    let (mut sequence, mut random, mut changed) = (1, 5_u64, 0);
    let mut draw = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut there = std::collections::BTreeSet::new();
    for order in ORDERS {
        for size in [3, 10] {
            let (mut seen, mut token) = (BTreeMap::<String, u32>::new(), String::new());
            loop {
                let page = server.views.list_entries(ask(order, size, &token)).await.unwrap();
                let page = page.into_inner();
                for entry in page.entries {
                    *seen.entry(entry.path[1..].to_owned()).or_default() += 1;
                }
                token = page.next_page_token;
                if token.is_empty() {
                    break;
                }
                sequence += 1;
                let rows = (0..5).map(|_| {
                    // Before, between and after the names that stay, in size and mtime too.
                    let name = format!(
                        "{}{:02}",
                        ["come", "stay05x", "touch"][draw(3) as usize],
                        draw(20)
                    );
                    changed += 1;
                    if draw(3) == 0 && there.remove(&name) {
                        gone(&name)
                    } else {
                        there.insert(name.clone());
                        file(&name, draw(13), draw(11) as i64 - 5, 1 + sequence as i64)
                    }
                });
                lane.deliver(batch(sequence, rows.collect())).await;
            }
            for (name, ..) in staying() {
                assert_eq!(seen.get(&name), Some(&1), "{name} in {order:?}");
            }
        }
    }
    assert!(changed > 500, "{changed}");
}
