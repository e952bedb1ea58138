//! The events of a map run's own log. Part of the one table of events: all of them are internal.

use std::sync::Arc;

use stepwell_query::Value;

use super::border::{ChildStatus, MapRunChange, MapRunEnding, MapRunStart, Part};
use crate::{border::ChildId, event::Failure};

/// What happened to a map run, with all that the fold needs to know of it.
#[derive(Clone, Debug, PartialEq)]
pub enum MapRunEvent {
    Began(Box<MapRunStart>),
    /// Children were started, the first of them with this number, and with them the cursor moved: it stands before item
    /// `cursor_at`, which no child of an earlier event has.
    ChildrenStarted {
        first: u64,
        /// Each child and how many items it has.
        children: Arc<[(ChildId, u32)]>,
        cursor: Arc<str>,
        cursor_at: u64,
    },
    /// Reading has ended: so many items there are.
    ItemsCounted {
        total: u64,
    },
    /// `results` is what the child adds to the results.
    ChildEnded {
        index: u64,
        status: ChildStatus,
        results: Arc<[Value]>,
    },
    /// It is going to fail once no child runs.
    Failing {
        failure: Failure,
    },
    /// It is going to be aborted once no child runs.
    Stopping,
    Changed(MapRunChange),
    PartWritten(Part),
    Closed(MapRunEnding),
    /// A child that ended without success has no room for another event: it cannot be redriven.
    ChildFull {
        index: u64,
    },
    /// It is going to be redriven once it is closed.
    RedriveAsked {
        count: u32,
    },
    /// It goes on with the children that did not succeed, but for those of these numbers.
    Redriven {
        count: u32,
        left: Arc<[u64]>,
    },
    /// Children of these numbers were redriven.
    ChildrenRedriven {
        children: Arc<[u64]>,
    },
}
