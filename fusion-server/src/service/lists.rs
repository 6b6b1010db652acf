//! Lists of a view: suspects, blind spots, the trash; and what people do to the trash.
//!
//! Suspects, deletions and the trash are the view thread's: it is asked for a slice at a time, so that
//! evidence waits for a slice at most. Blind entries are read from the tree beside it. A page ends where
//! it is full, in rows or bytes, or where enough was looked at for one.

use std::time::Duration;

use fusion_core::change::TrashId;
use fusion_core::path::{PathRef, TreePath, notation};
use fusion_core::view::{BlindPlace, EntryInfo, Suspect, TrashRecord, View};
use fusion_proto::convert::view::{
    BlindSpot, ListWithin, ReadClass, SuspectCause, SuspectInfo, TrashInfo, TrashRef,
};
use fusion_proto::limits;
use fusion_proto::status::Refusal;
use fusion_proto::views::Entry;

use super::internal;
use super::paging::PageOf;
use super::views::{PageOfRows, Views, Worth, worth};
use crate::access::quotas::used_up;
use crate::ids::Ids;
use crate::stores::unwritten_yet;
use crate::task::view::{
    NotOperated, Operated, Operation, Operator, Outcome, ViewGone, ViewHandle,
};

/// When to try again to restore what a full view has no room for.
const ROOM_RETRY: Duration = Duration::from_secs(60);
/// Rows that the view's thread is asked for at once.
const SLICE: usize = 512;
/// Records of the trash, or entries, that are looked at for one slice.
const LOOKED_AT: usize = 8_192;
/// Slices of a page at most.
const SLICES: usize = 64;
/// Bytes of a page after which it ends; a row has at most a path in the notation and some fields.
const PAGE_BYTES: usize = limits::MESSAGE_BYTES / 2;
/// Bytes of a row beside its path, about.
const ROW_BYTES: usize = 200;
/// How long an operation may wait for the disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// Rows with the key of each, as far as they fit one page.
struct Filling<T> {
    rows: Vec<T>,
    left: usize,
    bytes: usize,
}

impl<T> Filling<T> {
    fn new(size: usize) -> Self {
        Self { rows: Vec::new(), left: size, bytes: 0 }
    }

    fn room(&self) -> usize {
        if self.bytes > PAGE_BYTES { 0 } else { self.left.min(SLICE) }
    }

    fn push(&mut self, row: T, path: &str) {
        self.left = self.left.saturating_sub(1);
        self.bytes += path.len() + ROW_BYTES;
        self.rows.push(row);
    }
}

impl Views {
    /// A page of suspects.
    pub(crate) async fn suspects(
        &self,
        asked: &ListWithin,
    ) -> Result<(PageOfRows<SuspectInfo>, Worth), Refusal> {
        let (view, status) = self.demand(&asked.view, ReadClass::Any)?;
        let pages = pages(&view, b"suspects", asked);
        let mut after = pages.key(&asked.page.token)?;
        let mut page = Filling::new(asked.page.size);
        loop {
            let (path, from, room) = (asked.path.clone(), after.clone(), page.room());
            if room == 0 {
                break;
            }
            let slice = move |view: &View| -> Vec<(Vec<u8>, SuspectInfo)> {
                let suspects = view.suspects_within(path.as_ref(), from.as_deref()).take(room);
                suspects.map(|it| (it.path.as_bytes().to_vec(), suspect(&it))).collect()
            };
            let slice = view.ask(slice).await.map_err(|gone| self.gone(view.name(), &gone))?;
            let is_last = slice.len() < room;
            for (key, row) in slice {
                let path = row.entry.path.clone();
                page.push(row, &path);
                after = Some(key);
            }
            if is_last {
                after = None;
                break;
            }
        }
        Ok(((page.rows, token(pages, after.as_deref())), self.worth_below(&view, status, asked)))
    }

    /// A page of the trash.
    pub(crate) async fn trash(
        &self,
        asked: &ListWithin,
    ) -> Result<(PageOfRows<TrashInfo>, Worth), Refusal> {
        let (view, status) = self.demand(&asked.view, ReadClass::Any)?;
        let pages = pages(&view, b"trash", asked);
        let mut after = pages.key(&asked.page.token)?.map(|key| trash_key(&key)).transpose()?;
        let mut page = Filling::new(asked.page.size);
        let mut more = true;
        for _ in 0..SLICES {
            let (path, from, room) = (asked.path.clone(), after, page.room());
            if room == 0 || !more {
                break;
            }
            let slice = move |view: &View| trash_slice(view, path.as_ref(), from, room);
            let (slice, last) =
                view.ask(slice).await.map_err(|gone| self.gone(view.name(), &gone))?;
            for row in slice {
                let path = row.path.clone();
                page.push(row, &path);
            }
            (after, more) = (last.or(after), last.is_some());
        }
        let key = after.filter(|_| more).map(|id| id.0.to_be_bytes());
        let token = token(pages, key.as_ref().map(<[u8; 8]>::as_slice));
        Ok(((page.rows, token), self.worth_below(&view, status, asked)))
    }

    /// A page of blind spots: entries first, then deletions.
    pub(crate) async fn blind_spots(
        &self,
        asked: &ListWithin,
        ids: &dyn Ids,
    ) -> Result<(PageOfRows<BlindSpot>, Worth), Refusal> {
        let (view, status) = self.demand(&asked.view, ReadClass::Any)?;
        let pages = pages(&view, b"blind", asked);
        let mut at = match pages.key(&asked.page.token)? {
            None => Some(BlindKey::Entries(None)),
            Some(key) => Some(BlindKey::read(&key, asked.path.as_ref())?),
        };
        let mut page = Filling::new(asked.page.size);
        for _ in 0..SLICES {
            let room = page.room();
            if room == 0 {
                break;
            }
            at =
                match at.take() {
                    None => break,
                    Some(BlindKey::Entries(place)) => {
                        let (view, path) = (view.clone(), asked.path.clone());
                        let slice = move || blind_slice(&view, &path, place.as_ref(), room);
                        let slice = tokio::task::spawn_blocking(slice).await;
                        let (rows, next) = slice.map_err(|error| internal(ids, &error))?;
                        for (row, path) in rows {
                            page.push(row, &path);
                        }
                        Some(next.map_or(BlindKey::Deletions(Vec::new()), |it| {
                            BlindKey::Entries(Some(it))
                        }))
                    }
                    Some(BlindKey::Deletions(after)) => {
                        let path = asked.path.clone();
                        let slice =
                            move |view: &View| deletions_slice(view, path.as_ref(), &after, room);
                        let rows =
                            view.ask(slice).await.map_err(|gone| self.gone(view.name(), &gone))?;
                        let is_last = rows.len() < room;
                        let last = rows.last().map(|(key, _)| key.clone()).unwrap_or_default();
                        for (_, row) in rows {
                            let path = row.path.clone();
                            page.push(BlindSpot::Deletion(row), &path);
                        }
                        (!is_last).then_some(BlindKey::Deletions(last))
                    }
                };
        }
        let token = token(pages, at.map(|key| key.to_bytes()).as_deref());
        Ok(((page.rows, token), self.worth_below(&view, status, asked)))
    }

    /// R12: puts a record of the trash back.
    pub(crate) async fn restore_trash(
        &self,
        asked: &TrashRef,
        by: Operator,
    ) -> Result<(TrashInfo, Worth), Refusal> {
        self.on_record(asked, Operation::Restore(asked.id), by).await
    }

    /// R12: drops a record of the trash.
    pub(crate) async fn purge_trash(
        &self,
        asked: &TrashRef,
        by: Operator,
    ) -> Result<(TrashInfo, Worth), Refusal> {
        self.on_record(asked, Operation::Purge(asked.id), by).await
    }

    async fn on_record(
        &self,
        asked: &TrashRef,
        operation: Operation,
        by: Operator,
    ) -> Result<(TrashInfo, Worth), Refusal> {
        let view = self.get(&asked.view)?;
        if self.reach().below.is_some() && !self.has_record(&view, asked.id).await? {
            return Err(Refusal::TrashNotFound { trash: asked.id.0.to_string() });
        }
        let Operated { revision: _, outcome } = self.operate(&view, operation, by).await?;
        let Outcome::Record(record) = outcome else {
            return Err(self.gone(view.name(), &ViewGone));
        };
        let ttl = view.config().settings.trash_ttl;
        let last_change =
            view.reader().totals(self.reach().top()).ok().and_then(|it| it.last_change);
        Ok((trash_info(&record, ttl), worth(self.status(&view), last_change)))
    }

    /// Whether a record of the trash stood where it may be seen. A record never gets another path.
    async fn has_record(&self, view: &ViewHandle, id: TrashId) -> Result<bool, Refusal> {
        let reach = self.reach().clone();
        let is_seen = move |view: &View| {
            view.trash_record(id).is_some_and(|record| record.path.as_ref().is_within(reach.top()))
        };
        view.ask(is_seen).await.map_err(|gone| self.gone(view.name(), &gone))
    }

    /// Has an operation done; if it is written, it is durable when this returns.
    pub(crate) async fn operate(
        &self,
        view: &ViewHandle,
        operation: Operation,
        by: Operator,
    ) -> Result<Operated, Refusal> {
        let is_written = operation.is_written();
        let operating = view.operate(operation, by);
        let operated = if is_written {
            let operated = tokio::time::timeout(PATIENCE, operating).await;
            operated.map_err(|_| unwritten_yet())?
        } else {
            operating.await
        };
        let operated = operated.map_err(|gone| self.gone(view.name(), &gone))?;
        operated.map_err(|refused| self.refusal(view, refused))
    }

    fn refusal(&self, view: &ViewHandle, refused: NotOperated) -> Refusal {
        let max_entries = view.config().settings.max_entries;
        let view = view.name().clone();
        match refused {
            NotOperated::Full => {
                let limit = usize::try_from(max_entries).unwrap_or(usize::MAX);
                used_up(self.metrics(), "view.max_entries", limit, ROOM_RETRY)
            }
            NotOperated::Trouble => unwritten_yet(),
            NotOperated::NoRecord(id) => Refusal::TrashNotFound { trash: id.0.to_string() },
            NotOperated::Taken(path, stat) => Refusal::PathTaken {
                view,
                path: notation::to_text(path.as_bytes()),
                kind: stat.kind.as_str().to_owned(),
                inode: stat.inode,
            },
            NotOperated::NoDirectory { dir, known } => {
                let path = notation::to_text(dir.as_bytes());
                match known {
                    Some(_) => Refusal::NotADirectory { view, path },
                    None => Refusal::PathNotFound { view, path },
                }
            }
            NotOperated::NoRoom => Refusal::QueueFull {
                queue: "scans on demand".to_owned(),
                retry_after: Duration::from_secs(10),
            },
        }
    }

    fn worth_below(
        &self,
        view: &ViewHandle,
        status: fusion_core::view::ViewStatus,
        asked: &ListWithin,
    ) -> Worth {
        let totals = view.reader().totals(asked.path.as_ref()).ok();
        worth(status, totals.and_then(|totals| totals.last_change))
    }
}

fn pages(view: &ViewHandle, list: &[u8], asked: &ListWithin) -> PageOf {
    PageOf::new(view.id(), &[list, asked.path.as_bytes()])
}

fn token(pages: PageOf, after: Option<&[u8]>) -> String {
    after.map(|key| pages.token(key)).unwrap_or_default()
}

fn trash_key(key: &[u8]) -> Result<TrashId, Refusal> {
    let key = <[u8; 8]>::try_from(key).map_err(|_| not_of_this_list())?;
    Ok(TrashId(u64::from_be_bytes(key)))
}

fn not_of_this_list() -> Refusal {
    Refusal::invalid("page_token", "is not a token of this list")
}

pub(super) fn entry(path: PathRef<'_>, info: &EntryInfo) -> Entry {
    let path = notation::to_text(path.as_bytes());
    Entry { path, stat: info.stat, suspect: info.suspect, blind: info.blind }
}

fn suspect(suspect: &Suspect<'_>) -> SuspectInfo {
    let Suspect { path, info, quiet_at, confirmed } = suspect;
    let written = confirmed.is_some() && !info.blind;
    SuspectInfo {
        entry: entry(*path, info),
        cause: if written { SuspectCause::Written } else { SuspectCause::Found },
        quiet_at: *quiet_at,
        confirmed: confirmed.map(|(agent, at)| (agent.clone(), at)),
    }
}

fn trash_info(record: &TrashRecord, ttl: Duration) -> TrashInfo {
    TrashInfo {
        id: record.id,
        path: notation::to_text(record.path.as_bytes()),
        stat: record.stat,
        deleted_at: record.deleted_at,
        learned_at: record.at,
        expires_at: record.at.plus(ttl),
        cause: record.cause,
        agent: record.by.as_ref().map(|by| by.agent.clone()),
        blind: record.blind,
        totals: record.weight,
    }
}

/// Records below a path, and the last one that was looked at if there may be more.
fn trash_slice(
    view: &View,
    path: PathRef<'_>,
    after: Option<TrashId>,
    room: usize,
) -> (Vec<TrashInfo>, Option<TrashId>) {
    let (mut rows, mut last) = (Vec::new(), None);
    let ttl = view.settings().trash_ttl;
    for (number, record) in view.trash(after).enumerate() {
        if rows.len() == room || number == LOOKED_AT {
            return (rows, last);
        }
        if record.path.as_ref().is_within(path) {
            rows.push(trash_info(record, ttl));
        }
        last = Some(record.id);
    }
    (rows, None)
}

fn deletions_slice(
    view: &View,
    path: PathRef<'_>,
    after: &[u8],
    room: usize,
) -> Vec<(Vec<u8>, TrashInfo)> {
    let ttl = view.settings().trash_ttl;
    let after = (!after.is_empty()).then_some(after);
    let records = view.blind_deletions_within(path, after).take(room);
    records.map(|it| (it.path.as_bytes().to_vec(), trash_info(it, ttl))).collect()
}

/// Blind entries with their paths, and where to go on.
type BlindSlice = (Vec<(BlindSpot, String)>, Option<BlindPlace>);

fn blind_slice(
    view: &ViewHandle,
    path: &TreePath,
    after: Option<&BlindPlace>,
    room: usize,
) -> BlindSlice {
    let mut rows = Vec::new();
    let next = view.reader().blind_within(path.as_ref(), after, room, LOOKED_AT, |found| {
        let entry = entry(found.path.as_ref(), &found.info);
        let path = entry.path.clone();
        rows.push((BlindSpot::Entry { entry, listed_at: found.listed_at }, path));
    });
    // What is not there has no blind entry.
    (rows, next.unwrap_or_default())
}

/// Where a page of blind spots ended.
enum BlindKey {
    Entries(Option<BlindPlace>),
    /// After this path; at the first if it is empty.
    Deletions(Vec<u8>),
}

impl BlindKey {
    const ENTERS: u8 = b'e';
    const AFTER: u8 = b'a';
    const DELETIONS: u8 = b'd';

    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Entries(None) => Vec::new(),
            Self::Entries(Some(BlindPlace { path, enters })) => {
                let kind = if *enters { Self::ENTERS } else { Self::AFTER };
                [&[kind], path.as_bytes()].concat()
            }
            Self::Deletions(after) => [&[Self::DELETIONS], after.as_slice()].concat(),
        }
    }

    fn read(key: &[u8], top: PathRef<'_>) -> Result<Self, Refusal> {
        let (kind, rest) = key.split_first().ok_or_else(not_of_this_list)?;
        match *kind {
            Self::DELETIONS => Ok(Self::Deletions(rest.to_vec())),
            Self::ENTERS | Self::AFTER => {
                let path = TreePath::new(rest).map_err(|_| not_of_this_list())?;
                if !path.as_ref().is_within(top) {
                    return Err(not_of_this_list());
                }
                Ok(Self::Entries(Some(BlindPlace { path, enters: *kind == Self::ENTERS })))
            }
            _ => Err(not_of_this_list()),
        }
    }
}
