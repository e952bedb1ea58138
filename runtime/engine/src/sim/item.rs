//! What happens in a world, one thing at a time.

use std::sync::Arc;

use stepwell_interp::{Input, TaskId, TaskRequest};

use super::{outside::Signal, redrives};
use crate::{
    journal::{ExecutionId, Message, Verdict, Write},
    record::LineMachine,
    shard::{Info, MapRunRequest, Ticket},
};

/// See the module.
pub(super) enum Item {
    /// A node's commit reaches the store.
    Commit {
        node: usize,
        tickets: Vec<Ticket>,
        writes: Vec<Write>,
    },
    /// Its verdicts reach the node.
    Verdicts {
        node: usize,
        tickets: Vec<Ticket>,
        verdicts: Vec<Verdict>,
    },
    Load {
        node: usize,
        execution: ExecutionId,
        closed_too: bool,
    },
    /// A node wants what is stored of a line.
    LoadLine {
        node: usize,
        line: ExecutionId,
        machine: Option<LineMachine>,
    },
    /// News of an attempt that runs on a node.
    News {
        node: usize,
        execution: ExecutionId,
        input: Input,
    },
    /// A node has to look at its timers.
    Work {
        node: usize,
    },
    /// A node goes on with its turns.
    Turns {
        node: usize,
    },
    /// A node looks for due executions and unread messages, and renews its leases.
    Keep {
        node: usize,
    },
    /// A node looks for due executions.
    Look {
        node: usize,
    },
    /// An attempt that is answered from outside gives a sign.
    Outside {
        execution: ExecutionId,
        task: TaskId,
        signal: Signal,
    },
    Stop {
        execution: ExecutionId,
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
    },
    Redrive(redrives::Call),
    Restart {
        node: usize,
    },
    /// A message is in an inbox: whoever serves its execution hears of it.
    Announce(Message),
    /// A task's attempt to start a child is made again.
    Child {
        node: usize,
        execution: ExecutionId,
        info: Arc<Info>,
        request: Box<TaskRequest>,
    },
    /// What a map run wants of the object storage reaches it.
    MapRun {
        node: usize,
        map_run: ExecutionId,
        request: Box<MapRunRequest>,
    },
}

impl Item {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Item::Commit { .. } => "a commit",
            Item::Verdicts { .. } => "verdicts",
            Item::Load { .. } => "a load",
            Item::LoadLine { .. } => "a load of a line",
            Item::News { .. } => "news of an attempt",
            Item::Work { .. } => "work",
            Item::Turns { .. } => "turns",
            Item::Keep { .. } => "keeping",
            Item::Look { .. } => "a look for what is due",
            Item::Outside { .. } => "a sign from outside",
            Item::Stop { .. } => "a stop",
            Item::Redrive(_) => "a redrive",
            Item::Restart { .. } => "a restart",
            Item::Announce(_) => "news of a message",
            Item::Child { .. } => "the start of a child",
            Item::MapRun { .. } => "items or results of a map run",
        }
    }

    /// The node whose appends are made durable or acknowledged.
    pub(super) fn committing(&self) -> Option<usize> {
        let commits = matches!(self, Item::Commit { .. } | Item::Verdicts { .. });
        self.node().filter(|_| commits)
    }

    pub(super) fn node(&self) -> Option<usize> {
        match self {
            Item::Commit { node, .. }
            | Item::Verdicts { node, .. }
            | Item::Load { node, .. }
            | Item::LoadLine { node, .. }
            | Item::News { node, .. }
            | Item::Work { node }
            | Item::Turns { node }
            | Item::Keep { node }
            | Item::Look { node }
            | Item::Child { node, .. }
            | Item::MapRun { node, .. }
            | Item::Restart { node } => Some(*node),
            Item::Outside { .. } | Item::Stop { .. } | Item::Redrive(_) | Item::Announce(_) => None,
        }
    }
}
