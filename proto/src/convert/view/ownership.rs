//! Whose a view is among several servers.

use uuid::Uuid;

use crate::convert::ConvertError;
use crate::pb;

/// Whose a view is among several servers, as the one that answers knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewOwnership {
    /// Who owns it; absent if nobody who lives does.
    pub owner: Option<ViewOwner>,
    /// The number of the ownership, or of the last one; 0 if nobody has owned it.
    pub epoch: u64,
    /// The server that answers owns it; else it follows.
    pub owned: bool,
    /// Revisions that the server that answers is behind what the owner said last; absent if that is not known.
    pub lag: Option<u64>,
}

/// The server that owns a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewOwner {
    /// Its id among the servers.
    pub server: Uuid,
    /// Where it is reached.
    pub address: String,
}

impl From<ViewOwnership> for pb::ViewOwnership {
    fn from(ownership: ViewOwnership) -> Self {
        let ViewOwnership { owner, epoch, owned, lag } = ownership;
        let owner = owner.map(|ViewOwner { server, address }| (server.to_string(), address));
        let (owner_id, owner_address) = owner.unwrap_or_default();
        Self { owner_id, owner_address, epoch, owned, lag }
    }
}

impl TryFrom<pb::ViewOwnership> for ViewOwnership {
    type Error = ConvertError;

    fn try_from(ownership: pb::ViewOwnership) -> Result<Self, ConvertError> {
        let pb::ViewOwnership { owner_id, owner_address, epoch, owned, lag } = ownership;
        let uuid = |id: String| {
            Uuid::try_parse(&id).map_err(|_| ConvertError::invalid("owner_id", "a UUID is needed"))
        };
        let server = Some(owner_id).filter(|id| !id.is_empty()).map(uuid).transpose()?;
        let owner = server.map(|server| ViewOwner { server, address: owner_address });
        Ok(Self { owner, epoch, owned, lag })
    }
}
