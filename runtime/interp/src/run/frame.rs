//! A running flow of states and what it holds. Hides the slab that frames live in.

use std::collections::BTreeMap;
use std::sync::Arc;

use stepwell_asl::Resource;
use stepwell_query::{Array, Value};

use crate::{
    Timestamp,
    border::{Cancelled, ChildId, Effect, TaskId, TaskToken},
    event::{Failure, Place, StateKind},
};

/// A frame's place in the slab; of no meaning outside of its run, and reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FrameId(u32);

impl FrameId {
    /// The frame of the execution's own flow.
    pub(crate) const ROOT: FrameId = FrameId(0);
}

/// Turns are taken by urgency (0 first), then by the position of the event that made the frame ready, then by branch.
pub(super) type ReadyKey = (u8, u64, u32);

/// All frames of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Frames {
    slots: Vec<Option<Box<Frame>>>,
    free: Vec<FrameId>,
}

impl Frames {
    pub(super) fn get(&self, id: FrameId) -> Option<&Frame> {
        self.slots.get(id.0 as usize)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: FrameId) -> Option<&mut Frame> {
        self.slots.get_mut(id.0 as usize)?.as_deref_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Frame> {
        self.slots.iter().filter_map(|slot| slot.as_deref())
    }

    pub(super) fn insert(&mut self, frame: Frame) -> FrameId {
        if let Some(id) = self.free.pop() {
            self.slots[id.0 as usize] = Some(Box::new(frame));
            return id;
        }
        let id =
            FrameId(u32::try_from(self.slots.len()).expect("memory ends before 2^32 frames do"));
        self.slots.push(Some(Box::new(frame)));
        id
    }

    pub(super) fn remove(&mut self, id: FrameId) -> Option<Box<Frame>> {
        let frame = self.slots.get_mut(id.0 as usize)?.take()?;
        self.free.push(id);
        Some(frame)
    }
}

/// A flow that runs: the execution's own, a branch or an iteration. It is in one state at a time.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) place: Place,
    /// The frame of the Parallel or Map state, and the number of this branch or iteration.
    pub(crate) parent: Option<(FrameId, u32)>,
    /// Public id of the last event of this flow's chain.
    pub(crate) last: u64,
    /// Variables of this scope.
    pub(crate) variables: BTreeMap<Arc<str>, Value>,
    pub(crate) stage: Stage,
    /// Its key among the ready frames, when it is one.
    pub(super) ready: Option<ReadyKey>,
    /// It ended without success; it is kept for a redrive and does nothing any more.
    pub(crate) stopped: bool,
}

/// How far a flow is.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// Between states: about to enter this one.
    Next { state: Arc<str>, input: Value },
    /// In a state.
    In(Box<Visit>),
    /// At its end.
    Done { output: Value },
}

impl Frame {
    pub(crate) fn visit(&self) -> Option<&Visit> {
        match &self.stage {
            Stage::In(visit) => Some(visit),
            Stage::Next { .. } | Stage::Done { .. } => None,
        }
    }

    pub(super) fn visit_mut(&mut self) -> Option<&mut Visit> {
        match &mut self.stage {
            Stage::In(visit) => Some(visit),
            Stage::Next { .. } | Stage::Done { .. } => None,
        }
    }
}

/// One visit of a state, from its entry to its exit, over all retries.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) state: Arc<str>,
    pub(crate) kind: StateKind,
    /// Position of the entering event in the log.
    pub(crate) entry: u64,
    /// Public id of the entering event, and of the one before it in the chain.
    pub(crate) entered_id: u64,
    pub(crate) entered_previous: u64,
    pub(crate) entered_at: Timestamp,
    /// The raw input.
    pub(crate) input: Value,
    /// Task attempts scheduled so far.
    pub(crate) attempts: u32,
    /// Retries so far, over all retriers.
    pub(crate) retries: u32,
    /// Retries so far of each retrier; shorter than the retriers when the last ones have none.
    pub(crate) retriers: Vec<u32>,
    pub(crate) phase: Phase,
    /// Set while a Parallel or Map state runs its flows, and kept when it fails.
    pub(crate) flows: Option<Box<Flows>>,
    /// Of a Parallel or Map state whose flows all succeeded before it failed: what they made. Kept for a redrive.
    pub(crate) result: Option<Value>,
    /// Of a distributed Map: its last map run, which a redrive lets go on.
    pub(crate) map_run: Option<MapRunOf>,
}

/// What a visit does or waits for.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// Its work is to begin (anew, after a backoff).
    Entered,
    Waiting {
        until: Timestamp,
    },
    Attempt(Box<Attempt>),
    Backoff {
        fire_at: Timestamp,
    },
    /// The flows in [`Visit::flows`] run.
    Flows,
    /// A distributed Map has begun and its map run is to start; `items` are none when a reader reads them.
    MapRunOpening {
        items: Option<Value>,
    },
    /// The map run that has ended is to be redriven.
    MapRunReopening {
        child: ChildId,
    },
    /// A map run runs; `child` is known once it is durable.
    MapRun {
        run: TaskId,
        child: Option<ChildId>,
    },
    /// The map run was told to stop, and the Map state ends next.
    MapRunStopped,
    /// The map run succeeded, and the history does not yet say that the Map state did.
    MapRunDone {
        result: Value,
    },
    /// Its work is done and its output is to be made.
    Worked {
        result: Value,
    },
    /// Its work failed; `announced` once the event is written that says the Parallel or Map state failed.
    Failing {
        failure: Failure,
        announced: bool,
    },
    /// The flow around it ended.
    Aborted,
}

/// A map run, as its Map state knows it.
#[derive(Clone, Debug)]
pub(crate) struct MapRunOf {
    pub(crate) arn: Arc<str>,
    /// Known once it is durable.
    pub(crate) child: Option<ChildId>,
    pub(crate) redrives: u32,
}

/// A task attempt that waits for its outcome.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) id: TaskId,
    pub(crate) resource: Arc<Resource>,
    pub(crate) parameters: Value,
    pub(crate) role_arn: Option<Arc<str>>,
    pub(crate) token: Option<TaskToken>,
    pub(crate) scheduled_at: Timestamp,
    pub(crate) timeout_s: Option<u32>,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) heartbeat_s: Option<u32>,
    pub(crate) heartbeat_due: Option<Timestamp>,
    pub(crate) started: bool,
    /// What it waits for before it can begin, where that was told.
    pub(crate) awaits: Option<Arc<str>>,
    pub(crate) submitted: bool,
    /// The child execution that it waits for.
    pub(crate) child: Option<ChildId>,
    /// Redispatches after a lost process, those not counted whose guest never began.
    pub(crate) redispatches: u32,
    /// Its guest has begun since it was dispatched again.
    pub(crate) begun: bool,
    /// What it used was recorded since it was dispatched.
    pub(crate) measured: bool,
}

/// The branches of a Parallel state or the iterations of a Map.
#[derive(Clone, Debug)]
pub(crate) struct Flows {
    pub(crate) items: Items,
    pub(crate) total: u32,
    /// Number of the next one to start; equal to `total` when all have started.
    pub(crate) next: u32,
    /// Those that run.
    pub(crate) active: u32,
    /// Those that have not succeeded.
    pub(crate) left: u32,
    /// How many may run at one time; none until it is told.
    pub(crate) concurrency: Option<u32>,
    /// Frames of those that run or have been stopped, by number.
    pub(crate) children: BTreeMap<u32, FrameId>,
    /// Outputs by number.
    pub(crate) results: Vec<Option<Value>>,
}

impl Flows {
    /// Whether the Parallel or Map state itself has something to do.
    pub(super) fn takes_turns(&self) -> bool {
        self.can_start() || self.left == 0 || self.concurrency.is_none()
    }

    /// Whether the next iteration can start.
    pub(crate) fn can_start(&self) -> bool {
        self.next < self.total && self.concurrency.is_some_and(|most| self.active < most)
    }
}

/// What the flows are made of.
#[derive(Clone, Debug)]
pub(crate) enum Items {
    Branches,
    /// `first` is the state that an iteration starts at.
    Array {
        first: Arc<str>,
        items: Array,
    },
    Object {
        first: Arc<str>,
        keys: Arc<[Arc<str>]>,
        items: Array,
    },
}

impl Items {
    /// The item of that number.
    pub(crate) fn item(&self, index: u32) -> Option<&Value> {
        match self {
            Items::Branches => None,
            Items::Array { items, .. } | Items::Object { items, .. } => items.get(index as usize),
        }
    }

    /// The key of that item, where the items are an object's members.
    pub(crate) fn key(&self, index: u32) -> Option<&Arc<str>> {
        match self {
            Items::Branches | Items::Array { .. } => None,
            Items::Object { keys, .. } => keys.get(index as usize),
        }
    }

    pub(crate) fn first(&self) -> Option<&Arc<str>> {
        match self {
            Items::Branches => None,
            Items::Array { first, .. } | Items::Object { first, .. } => Some(first),
        }
    }
}

/// The effect that stops a map run.
pub(crate) fn map_run_cancelled(run: TaskId, child: Option<ChildId>) -> Effect {
    Effect::CancelTask {
        task: run,
        token: None,
        child,
        why: Cancelled::Abandoned,
    }
}
