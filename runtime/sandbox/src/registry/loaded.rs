//! A plugin that can be called. Hides how many of its attempts run, and what they have been.

use crate::code::Code;
use crate::grants::Effective;
use crate::machine::Machine;
use crate::manifest::{Contract, Instance, Limits};
use crate::origin::Kept;
use crate::outcome::{Outcome, PluginStamp};
use crate::turns::{Habit, Pace};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A plugin that can be called.
pub(crate) struct Loaded {
    pub(crate) code: Code,
    pub(crate) machine: Arc<Machine>,
    pub(crate) limits: Limits,
    /// Those that it asks for, and where.
    pub(crate) asked: Limits,
    pub(crate) kept: Kept,
    /// The longest that a call may ask for.
    pub(crate) wall_max: Duration,
    pub(crate) instance: Instance,
    pub(crate) granted: Effective,
    pub(crate) stamp: Arc<PluginStamp>,
    pub(crate) contract: Contract,
    /// SHA-256 of the text of its manifest, where it has one.
    pub(super) manifest: Option<[u8; 32]>,
    pub(super) running: AtomicU32,
    /// What its attempts have been.
    pub(crate) habit: Habit,
}

/// A place among a plugin's concurrent attempts.
pub(crate) struct Place<'a>(&'a Loaded);

impl Loaded {
    /// Takes a place, or `None` when the plugin's own concurrency is used up.
    pub(crate) fn enter(&self) -> Option<Place<'_>> {
        let now = self.running.fetch_add(1, Ordering::Relaxed);
        let place = Place(self);
        self.limits
            .concurrency
            .is_none_or(|bound| now < bound)
            .then_some(place)
    }
}

/// Notes for the next attempts what this one was, also when nobody waits for its end any more.
pub(crate) struct Noted<'a> {
    plugin: &'a Loaded,
    pace: &'a Pace,
    ended_by_itself: bool,
}

impl<'a> Noted<'a> {
    /// Of an attempt that begins.
    pub(crate) fn new(plugin: &'a Loaded, pace: &'a Pace) -> Self {
        Self {
            plugin,
            pace,
            ended_by_itself: false,
        }
    }

    /// The attempt has ended so.
    pub(crate) fn ended(mut self, outcome: &Outcome) {
        self.ended_by_itself = outcome.is_guests_own();
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.plugin.habit.note(self.pace, self.ended_by_itself);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
