//! Amounts that no append carries: of synchronous executions, and of attempts whose execution is no longer there. It goes with
//! the next write, or by itself after a moment; what a crash finds here is lost, as those executions are.

use std::collections::BTreeMap;

use stepwell_interp::Timestamp;

use super::{Shard, border::Out};
use crate::{
    journal::{Amounts, Charges, Refused, UsageKey, Verdict, Write},
    limits::OWED_MS_MAX,
};

/// See the module.
#[derive(Default)]
pub(super) struct Owed {
    charges: BTreeMap<UsageKey, Amounts>,
    /// When it goes by itself.
    due: Option<Timestamp>,
}

impl Owed {
    pub(super) fn add(&mut self, now: Timestamp, charges: Charges) {
        for (key, usage) in charges {
            *self.charges.entry(key).or_default() += usage;
        }
        if self.due.is_none() && !self.charges.is_empty() {
            self.due = Some(now.plus_ms(OWED_MS_MAX));
        }
    }

    pub(super) fn due(&self) -> Option<Timestamp> {
        self.due
    }
}

impl Shard {
    /// Writes what is owed.
    pub(super) fn pay(&mut self) {
        if self.owed.due.take().is_none() {
            return;
        }
        let charges = std::mem::take(&mut self.owed.charges);
        let charges: Charges = charges.into_iter().collect();
        let ticket = self.writes.ticket();
        self.writes.charges.insert(ticket, charges.clone());
        self.out.push(Out::Commit {
            ticket,
            write: Write::Charge(charges),
        });
    }

    /// What the store says of it. What it refused is owed as before.
    pub(super) fn paid(&mut self, now: Timestamp, charges: Charges, verdict: Verdict) {
        match verdict {
            Ok(_) => {}
            Err(refused @ Refused::Broken(_)) => tracing::warn!(
                %refused,
                rows = charges.len(),
                "usage may not have been written: it is not counted again"
            ),
            Err(
                Refused::NameTaken { .. }
                | Refused::WrongPosition { .. }
                | Refused::LeaseLost
                | Refused::TokenGone
                | Refused::MessageGone
                | Refused::Conflict { .. }
                | Refused::Full(_),
            ) => self.owed.add(now, charges),
        }
    }
}
