//! Every limit of the HTTP side, with unit and origin. What it hides: nothing.

use std::time::Duration;

/// Bytes of a request's body; AWS's (HTTP content length, 1 MiB and 1 KiB).
pub(crate) const BODY_BYTES_MAX: usize = 1_049_600;

/// Bytes of a request's body with raised limits; ours: a payload of 16 MiB, whose quotes are escaped within the body.
pub(crate) const BODY_BYTES_MAX_RAISED: usize = 40 * 1_048_576;

/// Bytes of an oversized body that are read and thrown away, so that the client gets to read why it was refused; ours.
pub(crate) const BODY_BYTES_DISCARDED_MAX: usize = 8 * 1_048_576;

/// Time for the whole body of a request; ours.
pub(crate) const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// Time for a request's head, from its first byte or the connection's start; ours.
pub(crate) const HEAD_TIME_MAX: Duration = Duration::from_secs(20);

/// Time between an answer and the connection's next request; ours, above the 60 s after which SDKs drop idle connections
/// themselves, and above `BODY_TIME_MAX`.
pub(crate) const IDLE_TIME_MAX: Duration = Duration::from_secs(75);

/// Open connections; ours. One more takes the place of the one that has asked nothing for longest.
pub(crate) const CONNECTIONS_MAX: usize = 16_384;

/// One address may hold this part of all connections: a half; ours.
pub(crate) const PEER_SHARE_MAX: usize = 2;

/// Silent connections that are dropped at a time when there are no file descriptors; ours.
pub(crate) const ACCEPT_SHED: usize = 32;

/// Pause after an accept that found no file descriptor, in which dropped connections are closed; ours.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Time that requests in progress get to end once shutdown was asked for; ours.
pub(crate) const DRAIN_TIME_MAX: Duration = Duration::from_secs(20);

/// How long GetActivityTask waits for a task; AWS's.
pub(crate) const ACTIVITY_POLL_TIME: Duration = Duration::from_secs(60);

/// Items of a list that are asked for in an unsigned `maxResults` of the JSON API; AWS's for the calls beneath.
pub(crate) const PAGE_ITEMS_MAX: u32 = 1_000;

/// Diagnostics of ValidateStateMachineDefinition; AWS's, also when 0 is asked for.
pub(crate) const DIAGNOSTICS_MAX: usize = 100;

/// Silence after which a live watch sends a comment, so that proxies keep it open; ours.
pub(crate) const WATCH_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Operations and parts of them of which the log tells once that they are not offered (ours).
pub(crate) const TOLD_MAX: usize = 1_000;
/// Characters of a region's name in a credential scope; ours. Anything longer is no region.
pub(crate) const REGION_CHARS_MAX: usize = 32;
