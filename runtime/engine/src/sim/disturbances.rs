//! What goes wrong in a world, as its seed says: crashes, pauses, clocks that jump.

use rand_chacha::rand_core::Rng;

use super::{CALM_LEASE_MS, LEASE_MS, Seen, World, WorldOptions, item::Item, now};
use crate::journal::FaultPlan;

impl World {
    /// Lets leases last for hours, so that months pass quickly.
    pub fn pass_quickly(&mut self) {
        self.lease_ms = CALM_LEASE_MS;
        for node in &mut self.nodes {
            node.calm = true;
        }
    }

    /// No more crashes, pauses, jumps or faults from now on: what was begun can end.
    pub fn calm(&mut self) {
        let WorldOptions {
            crash_every,
            crash_per_mille,
            jump_per_mille,
            pause_per_mille,
            ..
        } = &mut self.options;
        (
            *crash_every,
            *crash_per_mille,
            *jump_per_mille,
            *pause_per_mille,
        ) = (None, 0, 0, 0);
        self.next_crash = None;
        self.pass_quickly();
        self.disk_faults(FaultPlan::default());
    }

    pub(super) fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.random.next_u32() % 1_000 < per_mille
    }

    pub(super) fn between(&mut self, most: u64) -> u64 {
        self.random.next_u64() % (most + 1)
    }

    fn any_node(&mut self) -> usize {
        usize::try_from(self.between(self.nodes.len() as u64 - 1)).unwrap_or(0)
    }

    pub(super) fn maybe_disturb(&mut self) {
        if self.chance(self.options.crash_per_mille) {
            let node = self.any_node();
            self.crash(node);
        }
        if self.chance(self.options.pause_per_mille) {
            let node = self.any_node();
            let pause = LEASE_MS / 2 + self.between(LEASE_MS * 2);
            let until = self.now().plus_ms(pause);
            self.nodes[node].paused_until = until;
        }
        if self.chance(self.options.jump_per_mille) {
            // Nodes see a wall clock that is off by this; the agenda's time goes on.
            let jump = self.between(40_000);
            let back = self.chance(500);
            for node in &mut self.nodes {
                node.jump(jump, back);
            }
        }
    }

    /// Power loss: what a node had in memory is gone, and on a disk what was not synced.
    pub fn crash(&mut self, node: usize) {
        if !self.nodes[node].is_up() {
            return;
        }
        self.seen.push(Seen::Crashed);
        self.journal.crash();
        if self.nodes.len() == 1
            && let Ok(journal) = self.journal()
        {
            // A machine alone need not wait for its own lease.
            let _ = now(journal.release(self.nodes[node].owner()));
        }
        let at = self.now();
        self.nodes[node].down();
        self.agenda.retain(|item| item.node() != Some(node));
        // The starts that nobody acknowledged are lost with their callers.
        self.collect_starts();
        let rest = self.between(self.options.latency_ms * 4);
        self.agenda.plan(at.plus_ms(rest), Item::Restart { node });
    }

    pub(super) fn restart(&mut self, node: usize) {
        let at = self.now();
        self.nodes[node].up(at);
        self.plan_faults();
        self.keep(node);
        self.look_for_work();
    }
}
