//! The limits of the contract: what any client may rely on and every server keeps.
//!
//! A server may be set up to be stricter where the contract lets it say so (`ViewSettings`). What a
//! server alone decides (quotas, sizes of queues) is configuration and not here.

use std::time::Duration;

/// Most rows of an evidence batch. A row is a piece of evidence, a directory or one of its children.
pub const BATCH_ROWS: usize = 1_000;

/// Most bytes of an evidence batch, encoded.
pub const BATCH_BYTES: usize = 512 * 1024;

/// Least that a server may set for [`BATCH_ROWS`]: a directory and one child.
pub const BATCH_ROWS_MIN: usize = 2;

/// Least that a server may set for [`BATCH_BYTES`]: any one row fits, the identity of a root with
/// its [`ROOT_TOP_MAX`] names too.
pub const BATCH_BYTES_MIN: usize = 64 * 1024;

/// Size of a page where none is asked for.
pub const PAGE_DEFAULT: usize = 1_000;

/// Largest page; who asks for more gets this.
pub const PAGE_MAX: usize = 10_000;

/// Longest page token in bytes: the last row's key (a path in hexadecimal) and some fixed fields.
pub const PAGE_TOKEN_MAX: usize = 16 * 1024;

/// Largest message that either side decodes, in bytes. Set on every client and every service: the
/// library's default is per service and may change.
pub const MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Window of flow control of one HTTP/2 stream, in bytes.
pub const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// Window of flow control of one HTTP/2 connection, in bytes.
pub const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Longest `Client.name`, `Client.version` and `Client.os` in bytes.
pub const CLIENT_TEXT_MAX: usize = 64;

/// Longest `Client.hostname` in bytes.
pub const HOSTNAME_MAX: usize = 255;

/// Longest `Root.uri` in bytes.
pub const ROOT_URI_MAX: usize = 4_096;

/// Longest name of a file-system type in bytes.
pub const FS_TYPE_MAX: usize = 64;

/// Most top-level entries in a root's identity.
pub const ROOT_TOP_MAX: usize = 64;

/// Most `errors`, and most `left_out` paths, in an agent's status; more are refused.
pub const STATUS_LINES_MAX: usize = 64;

/// Longest line among `errors` of an agent's status in bytes.
pub const STATUS_LINE_MAX: usize = 1_024;

/// Longest path in the notation of answers, in bytes: each byte may take four.
pub const PATH_TEXT_MAX: usize = 4 * fusion_core::path::PATH_MAX;

/// Most commands in one answer, and most reports and probes in one request.
pub const COMMANDS_MAX: usize = 1_000;

/// Most values, at any depth, in the result of a command.
pub const RESULT_VALUES_MAX: usize = 1_000;

/// Deepest nesting of the result of a command.
pub const RESULT_DEPTH_MAX: usize = 16;

/// Longest text in the result of a command in bytes.
pub const RESULT_TEXT_MAX: usize = 4_096;

/// Longest ids that are not UUIDs of ours and are only handed on: command, lease, causation.
pub const ID_TEXT_MAX: usize = 128;

/// Longest W3C `traceparent` in bytes that is looked at; a longer one is no trace context.
pub const TRACEPARENT_MAX: usize = 128;

/// Most entries that a search gives in an order of their own: it keeps them until it is done.
pub const SORTED_MAX: usize = 10_000;

/// Rows of the lists of a breakdown where no number is asked for.
pub const TOP_DEFAULT: usize = 10;

/// Most rows of a list of a breakdown.
pub const TOP_MAX: usize = 1_000;

/// Most owners, and most extensions, that a breakdown tells apart.
pub const DISTINCT_MAX: usize = 65_536;

/// Most views of one comparison.
pub const COMPARED_MAX: usize = 1_000;

/// Most further views of one search.
pub const MORE_VIEWS_MAX: usize = 99;

/// Most extensions of a filter.
pub const EXTENSIONS_MAX: usize = 64;

/// Most owners, and most groups, of a filter.
pub const OWNERS_MAX: usize = 1_000;

/// Most bytes that a regular expression of a filter may expand to when it is made ready.
pub const REGEX_SIZE: usize = 1 << 20;

/// Longest glob, and longest regular expression, in bytes.
pub const GLOB_MAX: usize = 1_024;

/// Most event types, and most kinds, of a filter of events.
pub const FILTER_MAX: usize = 64;

/// Longest quiet time that can be waited for.
pub const QUIET_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Shortest time between two reports of a wait.
pub const PROGRESS_MIN: Duration = Duration::from_millis(100);

/// Longest time between two reports of a wait.
pub const PROGRESS_MAX: Duration = Duration::from_secs(3600);

/// Time between two reports of a wait where none is asked for.
pub const PROGRESS_DEFAULT: Duration = Duration::from_secs(5);

/// Most exclude patterns of a view.
pub const EXCLUDE_MAX: usize = 256;

/// Longest exclude pattern, in bytes.
pub const PATTERN_MAX: usize = 1_024;

/// Longest free text, in bytes, in the metadata or the message of a status; longer ones are cut
/// short. Clients refuse trailers above 8 or 16 KiB, and an error must arrive.
pub const STATUS_TEXT_MAX: usize = 512;

/// Most violations that an INVALID_ARGUMENT names; of more it says how many.
pub const VIOLATIONS_MAX: usize = 8;

/// Shortest wait that a client is told while a view is not ready.
pub const NOT_READY_RETRY_MIN: Duration = Duration::from_secs(1);

/// Metadata key of the correlation id: 1 to 128 of `[A-Za-z0-9._:-]`.
pub const CORRELATION_ID_KEY: &str = "x-correlation-id";

/// Metadata key of the idempotency key: 1 to 255 visible ASCII characters.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Metadata key under which a server tells another that a call was sent on already: its id.
pub const FORWARDED_KEY: &str = "fusion-forwarded";

/// Metadata key of answers that were sent on: where the owner of the view is reached.
pub const OWNER_KEY: &str = "fusion-owner";

/// Metadata key that asks for a key derived from the request: `true`.
pub const IDEMPOTENCY_AUTO_KEY: &str = "idempotency-key-auto";

/// Trailer of an answer that was stored: `true`.
pub const IDEMPOTENCY_REPLAYED_KEY: &str = "idempotency-replayed";

/// Metadata key of what a call used that is deprecated, and until when it is served; once for each.
pub const DEPRECATED_KEY: &str = "fusion-deprecated";

/// Metadata key of the W3C trace context.
pub const TRACEPARENT_KEY: &str = "traceparent";

/// The domain of every `google.rpc.ErrorInfo` of ours.
pub const ERROR_DOMAIN: &str = "fusion.v1";

/// What the name of a view's own health service begins with; the view's name follows.
pub const HEALTH_VIEW_PREFIX: &str = "fusion.v1.view/";
