//! Every bound of outgoing connections, with unit and origin.

/// Bytes of all heads of a reply, status lines and header fields: its own one, and those that only announce it (curl's bound;
/// servers send a few kilobytes).
pub const HEADS_BYTES_MAX: usize = 300 * 1024;

/// Bytes that `Content-Length` of a reply may say (hyper's own bound; the numbers above it have other meanings there).
pub(crate) const LENGTH_MAX: u64 = u64::MAX - 2;

/// Header fields of a reply (hyper's own bound).
pub(crate) const FIELDS_MAX: usize = 100;
