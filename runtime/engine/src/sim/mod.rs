//! The engine under a virtual clock: shards on one thread, commits, reads and task attempts as items of an agenda
//! that a seed orders. Everything that may go wrong between two of them does, when asked: crashes, faulty disks, lost
//! leases, clocks that jump. The same seed gives the same run. For tests and torture; production never builds it.

mod agenda;
mod children;
mod keeper;
mod node;
mod outside;
mod recent;
mod redrives;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use futures_util::FutureExt;
use rand_chacha::{
    ChaCha12Rng,
    rand_core::{Rng, SeedableRng},
};
use sha2::{Digest, Sha256};
use stepwell_interp::{
    ChildId, Event, Input, MapRunInput, OnCrash, Start, TaskId, TaskRequest, Timestamp,
};
use stepwell_items::Storage;
use tokio::sync::oneshot;

use crate::{
    dispatch::hex,
    items::Items,
    journal::{
        Answer, FaultPlan, InlineJournal, Journal, MemoryJournal, Message, NewExecution, Partition,
        Refused, ScopeId, SegmentRange, SimDisk, SqliteOptions, Status, Verdict, Write,
    },
    limits::READ_BYTES_MAX,
    programs::Programs,
    reader::{self, Decoder},
    record::{self, Meta},
    shard::{Begin, In, Info, LoadError, MapRunRequest, Mode, Out, StartReply, Stored, Ticket},
};

use agenda::Agenda;
use node::SimNode;

pub use children::{
    asked_child, child_outcome, child_response, item_ended, item_start, name_taken, state_items,
};

pub use crate::journal::{ExecutionId, FaultPlan as DiskFaults};
pub use outside::{Script, Signal, Signals};

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

/// Where the simulated engine keeps its executions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimStore {
    Memory,
    /// SQLite on a disk in memory that loses what was not synced.
    Disk,
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

enum Item {
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

enum SimJournal {
    Memory(MemoryJournal),
    Disk {
        disk: SimDisk,
        journal: Option<Arc<InlineJournal>>,
    },
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
        let journal = match options.store {
            SimStore::Memory => {
                let time = clock.clone();
                SimJournal::Memory(MemoryJournal::new(Arc::new(move || {
                    Timestamp(time.load(SeqCst))
                })))
            }
            SimStore::Disk => SimJournal::Disk {
                disk: SimDisk::new(options.seed),
                journal: None,
            },
        };
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
            crash_now: None,
            started: BTreeMap::new(),
            told: BTreeSet::new(),
            starts: Vec::new(),
            machines: BTreeMap::new(),
            items_of_maps: Items::new(Some(Storage::memory())),
            children: Vec::new(),
            redrives: redrives::Redrives::default(),
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

    /// Sets what the disk does wrong from now on, and again after each crash; nothing on the memory store.
    pub fn disk_faults(&mut self, plan: FaultPlan) {
        self.faults = plan;
        self.plan_faults();
    }

    fn plan_faults(&self) {
        if let SimJournal::Disk { disk, .. } = &self.journal {
            disk.faults(self.faults.clone());
        }
    }

    fn power_is_lost(&self) -> bool {
        matches!(&self.journal, SimJournal::Disk { disk, .. } if disk.is_dead())
    }

    fn journal(&mut self) -> Result<Arc<dyn Journal>, String> {
        match &mut self.journal {
            SimJournal::Memory(memory) => Ok(Arc::new(memory.clone())),
            SimJournal::Disk { disk, journal } => {
                if let Some(journal) = journal {
                    return Ok(journal.clone());
                }
                let time = self.clock.clone();
                let options = SqliteOptions {
                    vfs: Some(disk.vfs_name().to_owned()),
                    clock: Arc::new(move || Timestamp(time.load(SeqCst))),
                };
                let opened = InlineJournal::open(Path::new("journal.sqlite"), options)
                    .map_err(|error| error.to_string())?;
                let opened = Arc::new(opened);
                *journal = Some(opened.clone());
                Ok(opened)
            }
        }
    }

    /// Asks a node for an execution of this definition. Its machine's list is `scope`.
    pub fn start(
        &mut self,
        node: usize,
        definition: &str,
        start: Start,
    ) -> Result<ExecutionId, String> {
        let program = stepwell_asl::load_stored(definition).map_err(|error| error.to_string())?;
        let (hash, blob) = Programs::store(definition);
        let journal = self.journal()?;
        for verdict in now(journal.commit(vec![blob])) {
            verdict.map_err(|refused| refused.to_string())?;
        }
        let partition = self.nodes[node]
            .partition(self.counter)
            .ok_or("the node holds no partition")?;
        let id = self.next_id(partition);
        let meta = Meta {
            tenant: "000000000000".into(),
            machine_arn: start.machine_arn.clone(),
            definition: hex(&hash),
            express_run: start.express.then(|| "run".into()),
            version_arn: None,
            alias_arn: None,
            revision_id: None,
            revised_ms: 0,
            trace_header: None,
            parent: None,
            map_run: None,
            items: 0,
        };
        let (reply, started) = oneshot::channel();
        let info = Arc::new(Info {
            tenant: meta.tenant.clone(),
            execution_arn: start.execution_arn.clone(),
            machine_arn: start.machine_arn.clone(),
            trace_header: None,
            parent: None,
            definition: meta.definition.as_str().into(),
            revision_id: None,
            revised_ms: 0,
        });
        self.started.insert(id, start.execution_arn.clone());
        let begin = Begin {
            id,
            info,
            program: Arc::new(program),
            new: NewExecution {
                scope: ScopeId(1),
                version: None,
                alias: None,
                name: start.execution_name.clone(),
                unique_name: !start.express,
                started_at: self.now(),
                meta: record::encode(&meta),
            },
            mode: if start.express {
                Mode::ExpressAsync
            } else {
                Mode::Durable
            },
            start: Box::new(start),
            reply: StartReply::Started(reply),
        };
        self.starts.push((id, started));
        self.hand(node, In::Start(Box::new(begin)));
        Ok(id)
    }

    fn next_id(&mut self, partition: Partition) -> ExecutionId {
        self.counter = self.counter.wrapping_add(1);
        ExecutionId::new(self.now().0, self.counter, partition)
    }

    /// Appends that were made durable so far.
    pub fn appends(&self) -> u64 {
        self.appends
    }

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

    /// The status and all stored events of an execution; `None` when the store does not know it.
    pub fn execution(&mut self, id: ExecutionId) -> Result<Option<(Status, Vec<Event>)>, String> {
        let journal = self.journal()?;
        let Some(row) = now(journal.execution(id)).map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let mut decoder = Decoder::new(journal.as_ref());
        let mut events = Vec::new();
        let mut first = 1;
        loop {
            let page = now(journal.segments(id, SegmentRange::From { first }, READ_BYTES_MAX))
                .map_err(|error| error.to_string())?;
            let Some(last) = page.last() else { break };
            first = last.first + u64::from(last.segment.events);
            for segment in &page {
                let read = decoder.events(id, segment).now_or_never();
                let read = read.expect("the simulated stores answer at once");
                events.extend(read.map_err(|error| error.to_string())?);
            }
        }
        Ok(Some((row.view.status, events)))
    }

    /// Messages left in an execution's inbox.
    pub fn inbox(&mut self, id: ExecutionId) -> Result<usize, String> {
        let journal = self.journal()?;
        now(journal.inbox(id))
            .map(|messages| messages.len())
            .map_err(|error| error.to_string())
    }

    fn pass_to(&mut self, at: Timestamp) {
        self.clock.fetch_max(at.0, SeqCst);
    }

    fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.random.next_u32() % 1_000 < per_mille
    }

    fn between(&mut self, most: u64) -> u64 {
        self.random.next_u64() % (most + 1)
    }

    fn maybe_disturb(&mut self) {
        if self.chance(self.options.crash_per_mille) {
            let node = usize::try_from(self.between(self.nodes.len() as u64 - 1)).unwrap_or(0);
            self.crash(node);
        }
        if self.chance(self.options.pause_per_mille) {
            let node = usize::try_from(self.between(self.nodes.len() as u64 - 1)).unwrap_or(0);
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
        if let SimJournal::Disk { disk, journal } = &mut self.journal {
            disk.crash();
            *journal = None;
        }
        if self.nodes.len() == 1
            && let Ok(journal) = self.journal()
        {
            // A machine alone need not wait for its own lease.
            let _ = now(journal.release(self.nodes[node].owner()));
        }
        let at = self.now();
        self.nodes[node].down();
        self.agenda.retain(|item| match item {
            Item::Commit { node: owner, .. }
            | Item::Verdicts { node: owner, .. }
            | Item::Load { node: owner, .. }
            | Item::News { node: owner, .. }
            | Item::Work { node: owner }
            | Item::Turns { node: owner }
            | Item::Keep { node: owner }
            | Item::Look { node: owner }
            | Item::Child { node: owner, .. }
            | Item::MapRun { node: owner, .. }
            | Item::Restart { node: owner } => *owner != node,
            Item::Outside { .. } | Item::Stop { .. } | Item::Redrive(_) | Item::Announce(_) => true,
        });
        // The starts that nobody acknowledged are lost with their callers.
        self.collect_starts();
        let rest = self.between(self.options.latency_ms * 4);
        self.agenda.plan(at.plus_ms(rest), Item::Restart { node });
    }

    fn collect_starts(&mut self) {
        let mut waiting = Vec::new();
        for (id, mut reply) in std::mem::take(&mut self.starts) {
            match reply.try_recv() {
                Ok(Ok(())) => self.seen.push(Seen::Started(id)),
                // Refused, or its node is gone: it may be in the store all the same.
                Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => {}
                Err(oneshot::error::TryRecvError::Empty) => waiting.push((id, reply)),
            }
        }
        self.starts.extend(waiting);
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
            } => {
                let result = self.load(execution, closed_too);
                self.hand(node, In::Loaded { execution, result });
            }
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

    fn restart(&mut self, node: usize) {
        let at = self.now();
        self.nodes[node].up(at);
        self.plan_faults();
        self.keep(node);
        self.look_for_work();
    }

    fn load(&mut self, execution: ExecutionId, closed_too: bool) -> Result<Stored, LoadError> {
        let journal = self.journal().map_err(LoadError::Unreadable)?;
        let programs = Programs::new(journal.clone());
        reader::stored(journal.as_ref(), &programs, execution, closed_too)
            .now_or_never()
            .expect("the simulated stores answer at once")
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
            self.next_crash = self.options.crash_every.map(|every| self.appends + every);
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
                } => {
                    let delay = self.between(self.options.latency_ms);
                    let item = Item::Load {
                        node,
                        execution,
                        closed_too,
                    };
                    self.agenda.plan(at.plus_ms(delay), item);
                }
                Out::Run {
                    execution,
                    info,
                    request,
                } => self.dispatch(node, execution, info, *request),
                Out::Cancel { execution, task } => self.cancel(node, execution, task),
                Out::ActivityOpened {
                    execution,
                    info,
                    task,
                    ..
                } => self.opened(execution, &info.execution_arn, task),
                Out::WakeAt(wake_at) => self.look_at(node, wake_at),
                Out::Announce(message) => self.agenda.plan(at, Item::Announce(message)),
                Out::MapRun { map_run, request } => {
                    let delay = self.between(self.options.latency_ms);
                    let item = Item::MapRun {
                        node,
                        map_run,
                        request,
                    };
                    self.agenda.plan(at.plus_ms(delay), item);
                }
                Out::MapRunOver(map_run) => self.items_of_maps.close(map_run),
            }
        }
        if !writes.is_empty() {
            let delay = self.between(self.options.latency_ms);
            self.plan_ordered(
                node,
                delay,
                Item::Commit {
                    node,
                    tickets,
                    writes,
                },
            );
        }
        if let Some(due) = self.nodes[node].next_work(at) {
            self.agenda.plan(due, Item::Work { node });
        }
    }
}

impl Item {
    fn name(&self) -> &'static str {
        match self {
            Item::Commit { .. } => "a commit",
            Item::Verdicts { .. } => "verdicts",
            Item::Load { .. } => "a load",
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
    fn committing(&self) -> Option<usize> {
        let commits = matches!(self, Item::Commit { .. } | Item::Verdicts { .. });
        self.node().filter(|_| commits)
    }

    fn node(&self) -> Option<usize> {
        match self {
            Item::Commit { node, .. }
            | Item::Verdicts { node, .. }
            | Item::Load { node, .. }
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

/// 32 bytes that depend on nothing but the world's seed and the place in an execution's log, so that a run that
/// crashes draws what one that does not draws.
fn seed_at(seed: u64, execution: ExecutionId, position: u64) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed.to_be_bytes());
    hash.update(execution.0.to_be_bytes());
    hash.update(position.to_be_bytes());
    hash.finalize().into()
}

/// What the simulation says of every interrupted attempt.
fn on_crash(_: &Info, _: &TaskRequest) -> OnCrash {
    OnCrash::Redispatch
}
