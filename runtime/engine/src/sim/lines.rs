//! Executions of state machines with a concurrency limit in a world: how many had a place at a time, by what the store held,
//! and what is left of their line.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::FutureExt;
use stepwell_interp::Start;

use super::{World, now, starts::meta};
use crate::{
    journal::{CatalogWrite, ExecutionId, Outgoing, Partition, ScopeId, Status, Write},
    lines::{self, LineRecord},
    machines,
    quotas::{Allowances, Quotas},
    record::{self, InLine, InboxItem, LineItem, LineMachine, MachineRecord, Meta},
    shard::{In, LoadError},
};

/// The tenant of all executions of a world.
const TENANT: &str = "000000000000";

/// What was seen of executions that stand in a line.
#[derive(Default)]
pub(super) struct Limited {
    keys: BTreeMap<ExecutionId, Arc<str>>,
    most: usize,
    most_of_key: usize,
}

/// How many executions had a place at a time at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtOnce {
    pub all: usize,
    pub of_key: usize,
}

/// The one line of a world.
fn address() -> ExecutionId {
    ExecutionId::line(ScopeId(1), Partition(1))
}

impl World {
    /// Sets the tags of the state machine of that ARN.
    pub fn tag(&mut self, machine_arn: &str, tags: &[(&str, &str)]) -> Result<(), String> {
        let tenant: Arc<str> = TENANT.into();
        let key = machines::key_by_arn(&tenant, machine_arn).ok_or("no ARN of a state machine")?;
        let meta = Meta {
            definition: String::new(),
            ..meta(&[0; 32], machine_arn.into(), None)
        };
        let mut machine = MachineRecord::deleted(&meta, false);
        let owned = |(key, value): &(&str, &str)| (key.to_string(), value.to_string());
        machine.tags = tags.iter().map(owned).collect();
        machine.deleting = false;
        lines::of_tags(&machine.tags)?;
        let write = Write::Catalog(vec![CatalogWrite {
            key,
            expected: None,
            bytes: Some(record::encode(&machine)),
        }]);
        let verdicts = now(self.journal()?.commit(vec![write]));
        verdicts
            .into_iter()
            .try_for_each(|verdict| verdict.map(drop).map_err(|refused| refused.to_string()))
    }

    /// Bounds the executions of each state machine, whatever its tags say.
    pub fn usual_concurrency(&mut self, most: u32) {
        let quotas = Quotas {
            machine_concurrency: Some(most.into()),
            ..Quotas::default()
        };
        self.allowances = Arc::new(Allowances::new(false, quotas));
    }

    /// Deletes the state machine of that ARN, and tells its line.
    pub fn delete_limited(&mut self, machine_arn: &str) -> Result<(), String> {
        let tenant: Arc<str> = TENANT.into();
        let key = machines::key_by_arn(&tenant, machine_arn).ok_or("no ARN of a state machine")?;
        let gone = Write::Catalog(vec![CatalogWrite {
            key,
            expected: None,
            bytes: None,
        }]);
        let machine = LineMachine {
            tenant,
            arn: machine_arn.into(),
        };
        let payload = record::encode(&InboxItem::Line(LineItem::Changed { machine }));
        let told = Write::Post(Outgoing {
            to: address(),
            payload: payload.clone(),
        });
        for write in [gone, told] {
            let verdicts = now(self.journal()?.commit(vec![write]));
            for verdict in verdicts {
                let landed = verdict.map_err(|refused| refused.to_string())?;
                self.announce_all(landed.messages, address(), &payload);
            }
        }
        Ok(())
    }

    /// Whether the store holds a record of the line.
    pub fn line_is_stored(&mut self) -> Result<bool, String> {
        let stored = now(self.journal()?.get(&lines::record_key(address())));
        let stored = stored.map_err(|error| error.to_string())?;
        Ok(stored.is_some())
    }

    /// Asks a node for an execution of a state machine with a limit.
    pub fn start_limited(
        &mut self,
        node: usize,
        definition: &str,
        start: Start,
        key: &str,
    ) -> Result<ExecutionId, String> {
        let line = InLine {
            line: address().0,
            key: key.into(),
            begins: 0,
        };
        let id = self.start_in(node, definition, start, Some(line))?;
        self.limited.keys.insert(id, key.into());
        Ok(id)
    }

    /// How many of them were open at a time and had done more than begin, whenever a task of one was dispatched.
    pub fn most_at_once(&self) -> AtOnce {
        AtOnce {
            all: self.limited.most,
            of_key: self.limited.most_of_key,
        }
    }

    /// Who has a place by the store, and how many messages lie in the line's inbox.
    pub fn left_in_line(&mut self) -> Result<(usize, usize), String> {
        let journal = self.journal()?;
        let stored = now(journal.get(&lines::record_key(address())));
        let stored = stored.map_err(|error| error.to_string())?;
        let running = match stored {
            Some(stored) => {
                let record: Result<LineRecord, _> = record::decode(&stored.bytes);
                record.map_err(|error| error.to_string())?.running.len()
            }
            None => 0,
        };
        let inbox = now(journal.inbox(address())).map_err(|error| error.to_string())?;
        Ok((running, inbox.len()))
    }

    /// Counts them, when one does something.
    pub(super) fn count_limited(&mut self) {
        if self.limited.keys.is_empty() {
            return;
        }
        let Ok(journal) = self.journal() else { return };
        let mut by_key: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for (id, key) in &self.limited.keys {
            let row = now(journal.execution(*id)).ok().flatten();
            if row.is_some_and(|row| row.view.status == Status::Running && row.next > 2) {
                *by_key.entry(key).or_default() += 1;
            }
        }
        let (all, of_key) = (by_key.values().sum(), by_key.values().max().copied());
        self.limited.most = self.limited.most.max(all);
        self.limited.most_of_key = self.limited.most_of_key.max(of_key.unwrap_or(0));
    }

    pub(super) fn hand_line(
        &mut self,
        node: usize,
        line: ExecutionId,
        machine: Option<LineMachine>,
    ) {
        let journal = self.journal().map_err(LoadError::Unreadable);
        let allowances = self.allowances.clone();
        let result = journal.and_then(|journal| {
            lines::stored(journal.as_ref(), &allowances, line, machine)
                .now_or_never()
                .expect("the simulated stores answer at once")
        });
        self.hand(node, In::LineLoaded { line, result });
    }
}
