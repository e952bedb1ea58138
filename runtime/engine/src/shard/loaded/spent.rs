//! What an execution used since its last append. Hides which events count, and whose a plugin's part is.

use std::sync::Arc;

use stepwell_interp::{Event, Measure, Timestamp, What};

use super::super::border::Info;
use crate::{
    attempt::amounts,
    journal::{Amounts, Append, Charges, Meter, UsageKey},
};

/// See the module.
#[derive(Default)]
pub(super) struct Spent {
    own: Amounts,
    /// By plugin; an execution has few of them.
    plugins: Vec<(Arc<str>, Amounts)>,
    /// The most memory that one of its attempts held, since it is in memory.
    memory_bytes_max: u64,
}

impl Spent {
    /// Counts what was recorded: states entered and retries, and what attempts of plugins used.
    pub(super) fn note(&mut self, events: &[Event]) {
        let events = own(events);
        let counts = |event: &&Event| {
            matches!(
                event.what,
                What::StateEntered { .. } | What::RetryPlanned { .. }
            )
        };
        let transitions = events.iter().filter(counts).count();
        self.own.add(Meter::Transitions, transitions as u64);
        for event in events {
            if let What::Used {
                plugin, measures, ..
            } = &event.what
            {
                self.plugin(plugin, amounts(measures));
                let memory = measures.get(Measure::Memory);
                self.memory_bytes_max = self.memory_bytes_max.max(memory);
            }
        }
    }

    /// Counts an attempt that a plugin ended.
    fn plugin(&mut self, plugin: &Arc<str>, usage: Amounts) {
        match self.plugins.iter_mut().find(|(known, _)| known == plugin) {
            Some((_, sum)) => *sum += usage,
            None => self.plugins.push((plugin.clone(), usage)),
        }
    }

    /// What was taken of plugins is not charged yet.
    pub(super) fn put_back(&mut self, plugins: Charges) {
        for (key, usage) in plugins {
            self.plugin(&key.plugin, usage);
        }
    }

    /// The most memory that an attempt held, of all that was noted.
    pub(super) fn memory_bytes_max(&self) -> u64 {
        self.memory_bytes_max
    }

    /// Counts one of a kind.
    pub(super) fn one(&mut self, meter: Meter) {
        self.own.add(meter, 1);
    }

    /// Counts what the events of an append say of the execution as a whole, and what they take in the store.
    pub(super) fn append(&mut self, events: &[Event], append: &Append, is_execution: bool) {
        let stored: usize = append.blobs.iter().map(|(_, bytes)| bytes.len()).sum();
        let stored = stored + append.segment.bytes.len();
        self.own.add(Meter::BytesStored, stored as u64);
        if !is_execution {
            return;
        }
        if append.create.is_some() {
            self.one(Meter::Executions);
        }
        let events = own(events);
        let of =
            |wanted: fn(&What) -> bool| events.iter().filter(|event| wanted(&event.what)).count();
        let ended = of(|what| {
            matches!(
                what,
                What::ExecutionSucceeded { .. }
                    | What::ExecutionFailed { .. }
                    | What::ExecutionTimedOut { .. }
                    | What::ExecutionAborted { .. }
            )
        });
        let redriven = of(|what| matches!(what, What::ExecutionRedriven { .. }));
        self.own.add(Meter::Ended, ended as u64);
        self.own.add(Meter::Redrives, redriven as u64);
    }

    /// What plugins used, as charges of a day.
    pub(super) fn take_plugins(&mut self, info: &Info, at: Timestamp) -> Charges {
        let plugins = std::mem::take(&mut self.plugins).into_iter();
        plugins
            .map(|(plugin, usage)| (key(info, &plugin, at), usage))
            .collect()
    }

    /// All of it, as charges of a day.
    pub(super) fn take(&mut self, info: &Info, at: Timestamp) -> Charges {
        let own = std::mem::take(&mut self.own);
        let own = Some((key(info, &Arc::from(""), at), own));
        let own = own.filter(|(_, usage)| !usage.is_empty()).into_iter();
        own.chain(self.take_plugins(info, at)).collect()
    }
}

/// What the execution did itself: what a fork begins with was another one's.
pub(super) fn own(events: &[Event]) -> &[Event] {
    let forked = |event: &Event| matches!(event.what, What::Forked { .. });
    let past = events.iter().rposition(forked).map_or(0, |at| at + 1);
    &events[past..]
}

/// Whose a plugin's part is; with an empty name, the state machine's own.
pub(in crate::shard) fn key(info: &Info, plugin: &Arc<str>, at: Timestamp) -> UsageKey {
    UsageKey {
        day: UsageKey::day_of(at),
        tenant: info.tenant.clone(),
        machine: info.machine_arn.clone(),
        plugin: plugin.clone(),
    }
}
