//! `ListEntries`: pages by name straight from the tree, in other orders from what a look keeps.

use fusion_core::path::notation;
use fusion_core::stat::Stat;
use fusion_proto::convert::view::{EntryOrder, ListEntries};
use fusion_proto::entries::EncodedEntries;
use fusion_proto::pb;
use fusion_proto::status::Refusal;

use super::super::{Services, about};
use crate::service::listing;

/// Bytes that a page of entries has room for at first: some 250 entries.
const PAGE_ROOM: usize = 16 * 1024;

impl Services {
    pub(super) async fn list(
        &self,
        asked: &ListEntries,
    ) -> Result<pb::ListEntriesResponse, Refusal> {
        about(Some(&asked.view), None);
        let mut stem = notation::to_text(asked.path.as_bytes());
        if !asked.path.as_ref().is_root() {
            stem.push('/');
        }
        let mut encoded = EncodedEntries::with_capacity(PAGE_ROOM);
        let mut push = |name: &[u8], stat: &Stat, suspect, blind| {
            let before = encoded.len();
            encoded.push(&stem, name, stat, suspect, blind);
            encoded.len() - before
        };
        let (next_page_token, worth) = if asked.order == EntryOrder::BY_NAME {
            self.views.children(asked, |name, entry| {
                push(name, &entry.stat, entry.suspect, entry.blind)
            })?
        } else {
            let push = |name: &[u8], child: &listing::Child| {
                push(name, &child.stat, child.suspect, child.blind)
            };
            listing::sorted(&self.views, &self.ids, asked, push).await?
        };
        let freshness = self.freshness(&worth)?;
        let entries = Vec::new();
        Ok(pb::ListEntriesResponse { entries, encoded, next_page_token, freshness })
    }
}
