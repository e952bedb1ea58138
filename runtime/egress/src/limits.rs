//! Every bound of outgoing connections, with unit and origin.

/// Bytes of a reply's head: status line and header fields (ours, hyper's own bound is a little smaller).
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Header fields of a reply (hyper's own bound).
pub(crate) const FIELDS_MAX: usize = 100;
