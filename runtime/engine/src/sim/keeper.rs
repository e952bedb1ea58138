//! What a simulated node does beside serving executions: it renews its leases, takes up what they bring, reads the
//! inboxes, and looks for what is due.

use std::collections::BTreeSet;

use stepwell_interp::Timestamp;

use super::{Item, LEASE_MS, World, now};
use crate::{
    journal::{ExecutionId, MessageId, Partition},
    shard::{In, Monotonic},
};

/// Rows read at a time; more than a simulation has.
const ROWS_MAX: u32 = 10_000;

impl World {
    /// A node renews its leases, wakes what is hot in those that are new, and brings its messages.
    pub(super) fn keep(&mut self, node: usize) {
        let at = self.now();
        let Ok(journal) = self.journal() else {
            let again = at.plus_ms(LEASE_MS / 3);
            return self.agenda.plan(again, Item::Keep { node });
        };
        self.agenda
            .plan(at.plus_ms(self.lease_ms / 3), Item::Keep { node });
        let wanted = self.nodes[node].wanted();
        let leases = now(journal.lease(self.nodes[node].owner(), &wanted, self.lease_ms));
        let leases = leases.unwrap_or_default();
        let fresh = self.nodes[node].leased(at, &leases);
        let held = leases.iter().map(|lease| (lease.partition, lease.epoch));
        let leased = In::Leases {
            held: held.collect(),
            asked: Monotonic(at.0),
        };
        self.give(node, leased);
        self.nodes[node].told_of_leases();
        let mut wake = BTreeSet::new();
        if !fresh.is_empty() {
            wake.extend(now(journal.hot(&fresh, None, ROWS_MAX)).unwrap_or_default());
        }
        let cursors: Vec<(Partition, MessageId)> = leases
            .iter()
            .map(|lease| (lease.partition, MessageId(0)))
            .collect();
        let messages = now(journal.messages(&cursors, ROWS_MAX)).unwrap_or_default();
        wake.extend(messages.iter().map(|message| message.to));
        self.wake(node, wake);
        for message in messages {
            self.give(node, In::Message(message));
        }
        self.look(node);
        self.settle(node);
    }

    /// Wakes what is due by the node's clock, and plans the next look.
    pub(super) fn look(&mut self, node: usize) {
        let Ok(journal) = self.journal() else { return };
        let held = self.nodes[node].held();
        let wall = self.nodes[node].wall(self.now());
        let due = now(journal.due(&held, wall, ROWS_MAX)).unwrap_or_default();
        self.wake(
            node,
            due.into_iter().map(|(execution, _)| execution).collect(),
        );
        if let Ok(Some(next)) = now(journal.next_due(&held))
            && next > wall
        {
            self.look_at(node, next);
        }
    }

    /// Plans a look at a time of the node's clock, unless one is planned before.
    pub(super) fn look_at(&mut self, node: usize, wall: Timestamp) {
        let current = self.now();
        let at = self.nodes[node].world_time(wall).max(current);
        if self.nodes[node].plans_look(at, current) {
            self.agenda.plan(at, Item::Look { node });
        }
    }

    fn wake(&mut self, node: usize, executions: BTreeSet<ExecutionId>) {
        for execution in executions {
            self.give(node, In::Wake(execution));
        }
    }
}
