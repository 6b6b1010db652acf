//! Pages of a directory's children in another order than the one in which they are kept.
//!
//! Owns nothing between two pages: for each the whole directory is looked at, in slices on the
//! blocking pool, and the first so many after the token's place are kept. An entry that stays, with its
//! place, is seen by every page's look and so is in exactly one page. Must never: hold the lock of the
//! directory for more than a step.

use std::sync::Arc;

use fusion_core::path::TreePath;
use fusion_core::stat::Stat;
use fusion_core::view::{ReadError, ViewReader};
use fusion_proto::convert::view::{EntryOrder, ListEntries};
use fusion_proto::status::Refusal;

use super::best::{Best, Kept, Place};
use super::views::{PAGE_BYTES, Views, Worth, pages_of, unread, worth};
use crate::ids::Ids;

/// Children looked at while the directory is locked once.
const STEP: usize = 4_096;
/// Steps of a slice.
const STEPS: usize = 16;

/// A child: its stat, whether it is suspect, whether it is blind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Child {
    pub(crate) stat: Stat,
    pub(crate) suspect: bool,
    pub(crate) blind: bool,
}

/// Looks at a directory in slices.
struct Look {
    reader: ViewReader,
    path: TreePath,
    order: EntryOrder,
    /// The place after which the page begins.
    after: Option<(u64, Vec<u8>)>,
    /// The last name that was looked at.
    at: Option<Vec<u8>>,
    best: Best<Child>,
}

/// A page in an order, to `each` by name and child, which says how many bytes of a message it took for
/// it; then the token of the next page. The page ends early where its message would be too large.
pub(crate) async fn sorted(
    views: &Views,
    ids: &Arc<dyn Ids>,
    request: &ListEntries,
    mut each: impl FnMut(&[u8], &Child) -> usize,
) -> Result<(String, Worth), Refusal> {
    let (view, status) = views.demand(&request.view, request.class)?;
    let pages = pages_of(&view, request);
    let after = pages.key(&request.page.token)?.map(|key| place(&key)).transpose()?;
    let mut look = Look {
        reader: view.reader().clone(),
        path: request.path.clone(),
        order: request.order,
        after,
        at: None,
        best: Best::new(request.order, request.page.size),
    };
    loop {
        let slice = tokio::task::spawn_blocking(move || {
            let more = look.slice();
            (look, more)
        });
        let more;
        (look, more) = slice.await.map_err(|error| super::internal(&**ids, &error))?;
        if !more.map_err(|error| unread(error, &request.view, request.path.as_ref()))? {
            break;
        }
    }
    let (rows, mut more) = look.best.into_rows();
    let (mut bytes, mut last) = (0, None);
    for row in &rows {
        if bytes > PAGE_BYTES {
            more = true;
            break;
        }
        bytes += each(&row.text, &row.row);
        last = Some(row);
    }
    let token = last.filter(|_| more).map(|last| pages.token(&key(last))).unwrap_or_default();
    let totals = view.reader().totals(request.path.as_ref()).ok();
    Ok((token, worth(status, totals.and_then(|totals| totals.last_change))))
}

impl Look {
    /// Looks on; whether there is more.
    fn slice(&mut self) -> Result<bool, ReadError> {
        for _ in 0..STEPS {
            if !self.step()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn step(&mut self) -> Result<bool, ReadError> {
        let Self { reader, path, order, after, at, best } = self;
        let from = at.take();
        let order = *order;
        let after = after.as_ref().map(|(rank, text)| Place { order, rank: *rank, text });
        reader.list_with(path.as_ref(), from.as_deref(), STEP, |name, entry| {
            let place = Place::of(order, &entry.stat, name);
            if after.is_none_or(|after| place.cmp(&after).is_gt()) {
                let (suspect, blind) = (entry.suspect, entry.blind);
                best.offer(place, || Child { stat: entry.stat, suspect, blind });
            }
            let at = at.get_or_insert_default();
            at.clear();
            at.extend_from_slice(name);
        })
    }
}

/// What a token has of the last row of a page.
fn key(row: &Kept<Child>) -> Vec<u8> {
    [&row.rank.to_be_bytes()[..], &row.text].concat()
}

fn place(key: &[u8]) -> Result<(u64, Vec<u8>), Refusal> {
    match key.split_first_chunk() {
        Some((rank, name)) if !name.is_empty() => Ok((u64::from_be_bytes(*rank), name.to_vec())),
        _ => Err(Refusal::invalid("page_token", "is not a token of this list")),
    }
}
