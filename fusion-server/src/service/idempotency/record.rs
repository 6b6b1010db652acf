//! What is kept under a key: JSON, so that an operator can read it where the store shows values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use fusion_store::{Item, Space};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::stores::{LoadError, RecordError, check_version};

/// The version that is written; every one up to it is read.
const VERSION: u32 = 1;

/// A call under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// SHA-256 of the request.
    pub(super) request: [u8; 32],
    /// For what the call makes.
    pub(super) id: Uuid,
    pub(super) stage: Stage,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// It may have been done or not.
    Started,
    /// It was done; its answer as it went out.
    Done(Bytes),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    request_sha256: String,
    id: Uuid,
    /// In base64; absent while it is not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
}

impl Record {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let answer = match &self.stage {
            Stage::Started => None,
            Stage::Done(answer) => Some(BASE64.encode(answer)),
        };
        let request_sha256 = BASE64.encode(self.request);
        let stored = Stored { v: VERSION, request_sha256, id: self.id, answer };
        // Of such a value `serde_json` refuses nothing: it has no map and no key that is no string.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        check_version(bytes, VERSION)?;
        let stored: Stored = serde_json::from_slice(bytes)?;
        let decode = |text: &str| BASE64.decode(text).map_err(malformed);
        let request = decode(&stored.request_sha256)?
            .try_into()
            .map_err(|_| malformed("the digest of the request has not 32 bytes"))?;
        let stage = match stored.answer {
            None => Stage::Started,
            Some(answer) => Stage::Done(decode(&answer)?.into()),
        };
        Ok(Self { request, id: stored.id, stage })
    }
}

fn malformed(why: impl std::fmt::Display) -> RecordError {
    RecordError::Malformed(serde::de::Error::custom(why))
}

/// Whether a stored record can be read.
pub(crate) fn check(item: &Item) -> Result<(), LoadError> {
    Record::from_bytes(&item.value).map(drop).map_err(LoadError::record(Space::Idempotency, item))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED_V1: &[u8] = include_bytes!("../../../tests/golden/idempotency-started-v1.json");
    const DONE_V1: &[u8] = include_bytes!("../../../tests/golden/idempotency-done-v1.json");

    #[test]
    fn what_is_written_is_read_back_and_the_form_does_not_drift() {
        let started = Record { request: [7; 32], id: Uuid::from_u128(9), stage: Stage::Started };
        let done = Record { stage: Stage::Done(Bytes::from_static(b"\0\xff")), ..started.clone() };
        for (record, golden) in [(started, STARTED_V1), (done, DONE_V1)] {
            assert_eq!(
                String::from_utf8_lossy(&record.to_bytes()),
                String::from_utf8_lossy(golden.trim_ascii_end())
            );
            assert_eq!(Record::from_bytes(golden).unwrap(), record);
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let bad = [
            &b"{\"v\":2}"[..],
            b"{\"v\":1}",
            b"",
            b"{\"v\":1,\"request_sha256\":\"AA==\",\"id\":\"00000000-0000-0000-0000-000000000009\"}",
            b"{\"v\":1,\"request_sha256\":\"?\",\"id\":\"00000000-0000-0000-0000-000000000009\"}",
        ];
        for bytes in bad {
            assert!(Record::from_bytes(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }
}
