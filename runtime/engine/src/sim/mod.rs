//! The engine under a virtual clock: shards on one thread, commits, reads and task attempts as items of an agenda
//! that a seed orders. Everything that may go wrong between two of them does, when asked: crashes, faulty disks, lost
//! leases, clocks that jump. The same seed gives the same run. For tests and torture; production never builds it.

mod agenda;
mod children;
mod disturbances;
mod item;
mod keeper;
mod lines;
mod node;
mod outside;
mod recent;
mod redrives;
mod starts;
mod store;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use futures_util::FutureExt;
use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};
use stepwell_interp::{ChildId, Input, MapRunInput, TaskId, Timestamp};
use stepwell_items::Storage;
use tokio::sync::oneshot;

use crate::{
    items::Items,
    journal::{Answer, FaultPlan, Refused, Status, Verdict, Write},
    quotas::Allowances,
    shard::{CrashRules, In, MapRunRequest, Out, Ticket},
};

use agenda::Agenda;
use item::Item;
use node::SimNode;
use store::SimJournal;

pub use children::{
    asked_child, child_outcome, child_response, item_ended, item_start, name_taken, state_items,
};

pub use crate::journal::{ExecutionId, FaultPlan as DiskFaults};
pub use lines::AtOnce;
pub use outside::{Script, Signal, Signals};
pub use store::SimStore;

/// Virtual time begins on 2026-01-31T12:00:00Z.
const BEGIN: Timestamp = Timestamp(1_769_860_800_000);
/// A run that needs more items than this does not end.
const ITEMS_MAX: u64 = 2_000_000;
/// Commits, reads and restarts take up to this long unless told otherwise.
const LATENCY_MS: u64 = 6;
/// A worker or client that got no answer tries again after this long.
const RETRY_MS: u64 = 50;
/// A lease in the simulation; renewed at a third.
const LEASE_MS: u64 = 3_000;
/// The same once nothing disturbs any more, so that days pass quickly.
const CALM_LEASE_MS: u64 = 3 * 3_600 * 1_000;

/// After so many crashes by the number of appends one append more lies between two of them.
const CRASHES_UNTIL_CALMER: u64 = 64;

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    pub seed: u64,
    pub store: SimStore,
    /// Engines on the one store.
    pub nodes: usize,
    /// Crash the first node whenever that many appends were made durable, before anything learns of it.
    pub crash_every: Option<u64>,
    /// Crash once, when that many appends were made durable.
    pub crash_after: Option<u64>,
    /// Commits, reads and restarts take up to this long.
    pub latency_ms: u64,
    /// Chance in 1,000 of a crash between any two items.
    pub crash_per_mille: u32,
    /// Chance in 1,000 of the clock jumping before an item.
    pub jump_per_mille: u32,
    /// Chance in 1,000 of a node standing still for longer than its lease.
    pub pause_per_mille: u32,
}

impl Default for WorldOptions {
    fn default() -> WorldOptions {
        WorldOptions {
            seed: 0,
            store: SimStore::Memory,
            nodes: 1,
            crash_every: None,
            crash_after: None,
            latency_ms: LATENCY_MS,
            crash_per_mille: 0,
            jump_per_mille: 0,
            pause_per_mille: 0,
        }
    }
}

/// Something that was seen from outside, for a test to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A start was acknowledged.
    Started(ExecutionId),
    /// An attempt was dispatched, when so many events of its execution were durable; `None` when the store could not
    /// be asked.
    Dispatched {
        execution: ExecutionId,
        task: TaskId,
        durable: Option<u64>,
    },
    /// An answer to a token was acknowledged (true), or refused since the token was gone.
    Answered {
        execution: ExecutionId,
        task: TaskId,
        accepted: bool,
    },
    /// A stop was acknowledged.
    Stopped(ExecutionId),
    /// A redrive was acknowledged (true) or refused.
    Redriven {
        execution: ExecutionId,
        accepted: bool,
    },
    Crashed,
}

/// See the module.
pub struct World {
    options: WorldOptions,
    clock: Arc<AtomicU64>,
    random: ChaCha12Rng,
    journal: SimJournal,
    faults: FaultPlan,
    lease_ms: u64,
    agenda: Agenda<Item>,
    nodes: Vec<SimNode>,
    script: Box<dyn Script>,
    seen: Vec<Seen>,
    appends: u64,
    next_crash: Option<u64>,
    /// Crashes that came by the number of appends.
    counted_crashes: u64,
    crash_now: Option<usize>,
    started: BTreeMap<ExecutionId, Arc<str>>,
    /// Activity tasks that workers know of.
    told: BTreeSet<(ExecutionId, TaskId)>,
    starts: Vec<(ExecutionId, oneshot::Receiver<Result<(), Refused>>)>,
    /// State machines that tasks may start, by ARN.
    machines: BTreeMap<Arc<str>, String>,
    /// What map runs read and write.
    items_of_maps: Items,
    children: Vec<children::Starting>,
    redrives: redrives::Redrives,
    limited: lines::Limited,
    /// What is usual for all tenants.
    allowances: Arc<Allowances>,
    counter: u16,
    items: u64,
}

/// The answer of a store that answers at once.
fn now<T>(answer: Answer<T>) -> T {
    answer
        .now_or_never()
        .expect("the simulated stores answer at once")
}

impl World {
    pub fn new(options: WorldOptions, script: Box<dyn Script>) -> World {
        let clock = Arc::new(AtomicU64::new(BEGIN.0));
        let journal = SimJournal::new(options.store, options.seed, &clock);
        let mut world = World {
            random: ChaCha12Rng::seed_from_u64(options.seed),
            next_crash: options.crash_after.or(options.crash_every),
            clock,
            journal,
            faults: FaultPlan::default(),
            lease_ms: LEASE_MS,
            agenda: Agenda::new(),
            nodes: Vec::new(),
            script,
            seen: Vec::new(),
            appends: 0,
            counted_crashes: 0,
            crash_now: None,
            started: BTreeMap::new(),
            told: BTreeSet::new(),
            starts: Vec::new(),
            machines: BTreeMap::new(),
            items_of_maps: Items::new(Some(Storage::memory())),
            children: Vec::new(),
            redrives: redrives::Redrives::default(),
            limited: lines::Limited::default(),
            allowances: Arc::default(),
            counter: 0,
            items: 0,
            options,
        };
        for node in 0..world.options.nodes.max(1) {
            world
                .nodes
                .push(SimNode::new(world.options.seed, node, world.now()));
            world.keep(node);
        }
        world
    }

    pub fn now(&self) -> Timestamp {
        Timestamp(self.clock.load(SeqCst))
    }

    /// What was seen from outside so far.
    pub fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// Appends that were made durable so far.
    pub fn appends(&self) -> u64 {
        self.appends
    }

    /// Plans a StopExecution.
    pub fn stop_after(
        &mut self,
        execution: ExecutionId,
        ms: u64,
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
    ) {
        let stop = Item::Stop {
            execution,
            error,
            cause,
        };
        self.agenda.plan(self.now().plus_ms(ms), stop);
    }

    /// Lets time pass until all executions are closed, nothing is left to happen, or `ms` have passed.
    pub fn run(&mut self, ms: u64) -> Result<(), String> {
        let until = self.now().plus_ms(ms);
        while let Some((at, item)) = self.agenda.next(until) {
            self.items += 1;
            if self.items > ITEMS_MAX {
                return Err(format!(
                    "the world does not come to rest after {ITEMS_MAX} items; the next is {}",
                    item.name()
                ));
            }
            self.pass_to(at);
            self.maybe_disturb();
            let committing = item.committing();
            self.happen(item);
            if let Some(node) = committing {
                self.check_recent(node)?;
            }
            self.collect_starts();
            self.collect_children();
            self.collect_redrives();
            if let Some(node) = self.crash_now.take() {
                self.crash(node);
            }
            if self.power_is_lost() {
                self.crash(0);
            }
            if self.all_closed()? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn all_closed(&mut self) -> Result<bool, String> {
        // Looking is cheap enough only now and then.
        let waits = !self.starts.is_empty() || !self.children.is_empty();
        if waits || !self.items.is_multiple_of(16) || !self.redrives.is_empty() {
            return Ok(false);
        }
        let ids: Vec<ExecutionId> = self.started.keys().copied().collect();
        for id in ids {
            let Ok(journal) = self.journal() else {
                return Ok(false);
            };
            match now(journal.execution(id)) {
                Ok(Some(row)) if row.view.status == Status::Running => return Ok(false),
                // A message may be about to begin it.
                Ok(None) if now(journal.inbox(id)).is_ok_and(|inbox| !inbox.is_empty()) => {
                    return Ok(false);
                }
                Ok(_) => {}
                Err(_) => return Ok(false),
            }
        }
        Ok(!self.started.is_empty() && self.nodes.iter().all(SimNode::is_up))
    }

    fn pass_to(&mut self, at: Timestamp) {
        self.clock.fetch_max(at.0, SeqCst);
    }

    fn happen(&mut self, item: Item) {
        if let Some(item) = self.is_to_happen(item) {
            self.let_happen(item);
        }
    }

    /// The item, unless a crash made it void or its node stands still.
    fn is_to_happen(&mut self, item: Item) -> Option<Item> {
        // A crash since the item was taken makes it void.
        let lives = item.node().is_none_or(|node| self.nodes[node].is_up());
        if !lives && !matches!(item, Item::Restart { .. }) {
            return None;
        }
        if let Some(node) = item.node()
            && self.nodes[node].paused_until > self.now()
        {
            let later = self.nodes[node].paused_until;
            self.agenda.plan(later, item);
            return None;
        }
        Some(item)
    }

    fn let_happen(&mut self, item: Item) {
        match item {
            Item::Commit {
                node,
                tickets,
                writes,
            } => self.commit(node, tickets, writes),
            Item::Verdicts {
                node,
                tickets,
                verdicts,
            } => self.acknowledge(node, tickets, verdicts),
            Item::Load {
                node,
                execution,
                closed_too,
            } => self.hand_loaded(node, execution, closed_too),
            Item::LoadLine {
                node,
                line,
                machine,
            } => self.hand_line(node, line, machine),
            Item::News {
                node,
                execution,
                input,
            } => self.hand(node, In::Input { execution, input }),
            Item::Work { node } => {
                self.nodes[node].work_comes();
                self.settle(node);
            }
            Item::Turns { node } => {
                self.nodes[node].turns_come();
                self.settle(node);
            }
            Item::Keep { node } => self.keep(node),
            Item::Look { node } => {
                self.look(node);
                self.settle(node);
            }
            Item::Outside {
                execution,
                task,
                signal,
            } => self.outside(execution, task, signal),
            Item::Stop {
                execution,
                error,
                cause,
            } => self.stop(execution, error, cause),
            Item::Redrive(call) => self.redrive(call),
            Item::Announce(message) => {
                if let Some(node) = self.server_of(message.to) {
                    self.hand(node, In::Message(message));
                }
            }
            Item::Child {
                node,
                execution,
                info,
                request,
            } => self.serve(node, execution, info, *request),
            Item::MapRun {
                node,
                map_run,
                request,
            } => self.serve_map_run(node, map_run, &request),
            Item::Restart { node } => self.restart(node),
        }
    }

    fn hand_loaded(&mut self, node: usize, execution: ExecutionId, closed_too: bool) {
        let loaded = In::Loaded {
            execution,
            result: self.load(execution, closed_too),
            on_crash: CrashRules::new(),
        };
        self.hand(node, loaded);
    }

    /// Reads items or writes results; a write takes its time to answer, and may be done without an answer.
    fn serve_map_run(&mut self, node: usize, map_run: ExecutionId, request: &MapRunRequest) {
        let (at, counter) = (self.now().0, self.counter);
        let ids = |count: usize| {
            let ids = (1..=count).map(|n| {
                let counter = counter.wrapping_add(u16::try_from(n).unwrap_or(0));
                ChildId(ExecutionId::new(at, counter, map_run.partition()).0)
            });
            ids.collect()
        };
        let answer = self.items_of_maps.serve(map_run, request, ids);
        let answer = answer
            .now_or_never()
            .expect("the storage in memory answers at once");
        if let MapRunInput::ItemsRead { ids, .. } = &answer {
            self.counter = self
                .counter
                .wrapping_add(u16::try_from(ids.len()).unwrap_or(0));
        }
        let input = Input::MapRun(Box::new(answer));
        let delay = self.between(self.options.latency_ms);
        let item = Item::News {
            node,
            execution: map_run,
            input,
        };
        self.agenda.plan(self.now().plus_ms(delay), item);
    }

    fn acknowledge(&mut self, node: usize, tickets: Vec<Ticket>, verdicts: Vec<Verdict>) {
        for (ticket, verdict) in tickets.into_iter().zip(verdicts) {
            self.give(node, In::Committed { ticket, verdict });
        }
        self.settle(node);
    }

    fn commit(&mut self, node: usize, tickets: Vec<Ticket>, writes: Vec<Write>) {
        let appends = writes
            .iter()
            .filter(|write| matches!(write, Write::Append(_)))
            .count() as u64;
        let verdicts = match self.journal() {
            Ok(journal) => now(journal.commit(writes)),
            Err(error) => tickets
                .iter()
                .map(|_| Err(Refused::Broken(error.clone())))
                .collect(),
        };
        self.appends += appends;
        if let Some(next) = self.next_crash
            && self.appends >= next
        {
            self.counted_crashes += 1;
            // Where each append is the last one, no guest ever begins: such a world grows calmer.
            let calmer = self.counted_crashes / CRASHES_UNTIL_CALMER;
            let every = self.options.crash_every;
            self.next_crash = every.map(|every| self.appends + every + calmer);
            self.crash_now = Some(node);
            return;
        }
        let delay = self.between(self.options.latency_ms);
        self.plan_ordered(
            node,
            delay,
            Item::Verdicts {
                node,
                tickets,
                verdicts,
            },
        );
    }

    /// Plans an item of a node's commit path, never before one planned earlier.
    fn plan_ordered(&mut self, node: usize, delay_ms: u64, item: Item) {
        let at = self
            .now()
            .plus_ms(delay_ms)
            .max(self.nodes[node].commit_path);
        self.nodes[node].commit_path = at;
        self.agenda.plan(at, item);
    }

    fn hand(&mut self, node: usize, input: In) {
        self.give(node, input);
        self.settle(node);
    }

    fn give(&mut self, node: usize, input: In) {
        let at = self.now();
        self.nodes[node].give(at, input);
    }

    /// Lets a node work until it waits, and plans what it asks for.
    fn settle(&mut self, node: usize) {
        let at = self.now();
        let mut tickets = Vec::new();
        let mut writes = Vec::new();
        let (outs, busy) = self.nodes[node].work(at);
        if busy {
            self.agenda.plan(at, Item::Turns { node });
        }
        for out in outs {
            match out {
                Out::Commit { ticket, write } => {
                    tickets.push(ticket);
                    writes.push(write);
                }
                Out::Load {
                    execution,
                    closed_too,
                } => self.plan_read(Item::Load {
                    node,
                    execution,
                    closed_too,
                }),
                Out::LoadLine { line, machine } => self.plan_read(Item::LoadLine {
                    node,
                    line,
                    machine,
                }),
                Out::Run {
                    execution,
                    info,
                    request,
                } => self.dispatch(node, execution, info, *request),
                // Scripted attempts have begun by then.
                Out::Begin { .. } => {}
                Out::Cancel { execution, task } => self.cancel(node, execution, task),
                Out::ActivityOpened {
                    execution,
                    info,
                    task,
                    ..
                } => self.opened(execution, &info.execution_arn, task),
                Out::WakeAt(wake_at) => self.look_at(node, wake_at),
                Out::Announce(message) => self.agenda.plan(at, Item::Announce(message)),
                Out::MapRun { map_run, request } => self.plan_read(Item::MapRun {
                    node,
                    map_run,
                    request,
                }),
                Out::MapRunOver(map_run) => self.items_of_maps.close(map_run),
                // Nobody is told.
                Out::Doubt(_) => {}
            }
        }
        self.plan_commit(node, tickets, writes);
        if let Some(due) = self.nodes[node].next_work(at) {
            self.agenda.plan(due, Item::Work { node });
        }
    }

    /// Plans the commit of what a node wrote, after those before it.
    fn plan_commit(&mut self, node: usize, tickets: Vec<Ticket>, writes: Vec<Write>) {
        if writes.is_empty() {
            return;
        }
        let delay = self.between(self.options.latency_ms);
        let commit = Item::Commit {
            node,
            tickets,
            writes,
        };
        self.plan_ordered(node, delay, commit);
    }

    /// Plans what a node waits for, some time from now.
    fn plan_read(&mut self, item: Item) {
        let delay = self.between(self.options.latency_ms);
        self.agenda.plan(self.now().plus_ms(delay), item);
    }
}
