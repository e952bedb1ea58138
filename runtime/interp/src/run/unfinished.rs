//! An evaluation that was more work than one step takes.

use stepwell_query::{Ledger, Random};

use crate::{Timestamp, border::TaskToken};

/// What the expressions of a state have come to so far. It is as if all of them were evaluated at the time and with the
/// random numbers of the first: no event touches the state between, and what they read does not change.
#[derive(Clone, Debug)]
pub(crate) struct Unfinished {
    pub(crate) ledger: Ledger,
    pub(crate) at: Timestamp,
    /// The stream as the last of them left it; none before the first is put off.
    pub(crate) random: Option<Random>,
    /// The token of the attempt that is to be scheduled.
    pub(crate) token: Option<TaskToken>,
}

impl Unfinished {
    /// Nothing is evaluated yet.
    pub(crate) fn new(at: Timestamp) -> Unfinished {
        Unfinished {
            ledger: Ledger::default(),
            at,
            random: None,
            token: None,
        }
    }
}
