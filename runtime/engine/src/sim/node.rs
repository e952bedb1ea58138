//! One simulated engine: a shard, the leases it believes it holds, and a wall clock that may be off.

use std::{collections::BTreeMap, sync::Arc};

use rand_chacha::{
    ChaCha12Rng,
    rand_core::{Rng, SeedableRng},
};
use sha2::{Digest, Sha256};
use stepwell_interp::Timestamp;

use crate::{
    counters::Counters,
    journal::{Epoch, ExecutionId, Lease, Look, Partition},
    recent::Recent,
    shard::{Environment, In, Monotonic, Out, Shard},
};

/// Partitions in a simulated installation.
const PARTITIONS: u16 = 4;
/// How long a node acts as if it had its leases.
const FRESH_MS: u64 = super::LEASE_MS * 2 / 3;
/// Turns that a node takes at a time.
const TURNS: usize = 1_000;
/// 2020-01-01T00:00:00Z: the world begins six years later.
const ID_ORIGIN_MS: u64 = 1_577_836_800_000;
/// A step seems to take up to this long.
const STEP_MS_MAX: u64 = 2;

/// See the module.
pub(super) struct SimNode {
    seed: u64,
    index: usize,
    /// Grows with each crash: another life has another name, and another owner of leases.
    life: u32,
    owner: String,
    shard: Option<Shard>,
    held: BTreeMap<Partition, Epoch>,
    /// When it asked for its leases.
    leased_at: Monotonic,
    recent: Arc<Recent>,
    pub(super) paused_until: Timestamp,
    /// Commits of one node are applied and answered in order.
    pub(super) commit_path: Timestamp,
    offset_ms: i64,
    planned_work: Option<Timestamp>,
    planned_look: Option<Timestamp>,
    planned_turns: bool,
    /// Leases are to last for hours, and do from the next one on.
    pub(super) calm: bool,
    leased_calmly: bool,
}

impl SimNode {
    pub(super) fn new(seed: u64, index: usize, at: Timestamp) -> SimNode {
        let mut node = SimNode {
            seed,
            index,
            life: 0,
            owner: String::new(),
            shard: None,
            held: BTreeMap::new(),
            leased_at: Monotonic(0),
            recent: Arc::default(),
            paused_until: Timestamp(0),
            commit_path: Timestamp(0),
            offset_ms: 0,
            planned_work: None,
            planned_look: None,
            planned_turns: false,
            calm: false,
            leased_calmly: false,
        };
        node.up(at);
        node
    }

    pub(super) fn is_up(&self) -> bool {
        self.shard.is_some()
    }

    pub(super) fn owner(&self) -> &str {
        &self.owner
    }

    /// A new life with an empty memory.
    pub(super) fn up(&mut self, at: Timestamp) {
        self.life += 1;
        self.owner = format!("node-{}-{}", self.index, self.life);
        self.recent = Arc::default();
        let seed = self.seed;
        let environment = Environment {
            opened_at: self.wall(at),
            seed: Box::new(move |execution, position| seed_at(seed, execution, position)),
            new_id: ids(self.index, self.life),
            clock: stopwatch(seed ^ u64::from(self.life)),
            fresh_ms: FRESH_MS,
            // Some are known, some are not.
            knows_activity: Box::new(|info, _| {
                info.execution_arn.bytes().map(u32::from).sum::<u32>() % 2 == 0
            }),
            recent: self.recent.clone(),
            feed: Arc::default(),
            observer: None,
            outbox: None,
            allowances: Arc::default(),
            lines: Arc::default(),
        };
        self.shard = Some(Shard::new(environment, Arc::new(Counters::default())));
        self.paused_until = Timestamp(0);
        self.planned_work = None;
        self.planned_look = None;
        self.planned_turns = false;
        self.commit_path = at;
    }

    pub(super) fn down(&mut self) {
        self.shard = None;
        self.held.clear();
    }

    /// In calm times leases last for hours, so that days pass quickly; their age is then not to be looked at.
    fn monotonic(&self, at: Timestamp) -> Monotonic {
        if self.leased_calmly {
            Monotonic(0)
        } else {
            Monotonic(at.0)
        }
    }

    /// The time as this node's clock shows it.
    pub(super) fn wall(&self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.saturating_add_signed(self.offset_ms))
    }

    pub(super) fn jump(&mut self, ms: u64, back: bool) {
        let ms = i64::try_from(ms).unwrap_or(0);
        self.offset_ms = if back { -ms } else { ms };
    }

    pub(super) fn give(&mut self, at: Timestamp, input: In) {
        let wall = self.wall(at);
        let monotonic = self.monotonic(at);
        if let Some(shard) = &mut self.shard {
            shard.pass(monotonic);
            shard.handle(wall, input);
        }
    }

    /// Takes turns; what has to be done, and whether turns are left.
    pub(super) fn work(&mut self, at: Timestamp) -> (Vec<Out>, bool) {
        let wall = self.wall(at);
        let monotonic = self.monotonic(at);
        let Some(shard) = &mut self.shard else {
            return (Vec::new(), false);
        };
        shard.pass(monotonic);
        shard.work(wall, TURNS);
        let busy = shard.is_busy() && !std::mem::replace(&mut self.planned_turns, true);
        (shard.take_out(), busy)
    }

    /// Planned turns come now.
    pub(super) fn turns_come(&mut self) {
        self.planned_turns = false;
    }

    /// A time of this node's clock in the world's.
    pub(super) fn world_time(&self, wall: Timestamp) -> Timestamp {
        Timestamp(wall.0.saturating_add_signed(-self.offset_ms))
    }

    /// When the shard wants to look at its timers, in the world's time, unless that is planned.
    pub(super) fn next_work(&mut self, at: Timestamp) -> Option<Timestamp> {
        let due = self
            .world_time(self.shard.as_ref()?.next_due()?)
            .max(at.plus_ms(1));
        if self.planned_work.is_some_and(|planned| planned <= due) {
            return None;
        }
        self.planned_work = Some(due);
        Some(due)
    }

    /// Planned work comes now.
    pub(super) fn work_comes(&mut self) {
        self.planned_work = None;
    }

    /// All partitions: who is first has them, the others what it lets lapse.
    pub(super) fn wanted(&self) -> Vec<Partition> {
        (0..PARTITIONS).map(Partition).collect()
    }

    /// Takes note of its leases; those that are new.
    pub(super) fn leased(&mut self, at: Timestamp, leases: &[Lease]) -> Vec<Partition> {
        self.leased_at = Monotonic(at.0);
        let now_held: BTreeMap<Partition, Epoch> = leases
            .iter()
            .map(|lease| (lease.partition, lease.epoch))
            .collect();
        let fresh = now_held
            .iter()
            .filter(|(partition, epoch)| self.held.get(partition) != Some(epoch));
        let fresh = fresh.map(|(partition, _)| *partition).collect();
        self.held = now_held;
        fresh
    }

    /// The closed executions that it describes from memory.
    pub(super) fn recent(&self, at: Timestamp) -> Vec<Arc<Look>> {
        let age_ms = self.monotonic(at).0.saturating_sub(self.leased_at.0);
        let counts = |epoch: &Epoch, look: &Look| {
            self.is_up()
                && age_ms < FRESH_MS
                && self.held.get(&look.row.id.partition()) == Some(epoch)
        };
        let all = self.recent.all().into_iter();
        all.filter(|(epoch, look)| counts(epoch, look))
            .map(|(_, look)| look)
            .collect()
    }

    /// Its shard knows of the leases.
    pub(super) fn told_of_leases(&mut self) {
        self.leased_calmly = self.calm;
    }

    /// Whether a look at that time is worth planning: none that is still to come is earlier.
    pub(super) fn plans_look(&mut self, look: Timestamp, at: Timestamp) -> bool {
        if self
            .planned_look
            .is_some_and(|planned| planned > at && planned <= look)
        {
            return false;
        }
        self.planned_look = Some(look);
        true
    }

    pub(super) fn held(&self) -> Vec<Partition> {
        self.held.keys().copied().collect()
    }

    pub(super) fn holds(&self, partition: Partition) -> bool {
        self.held.contains_key(&partition)
    }

    pub(super) fn partition(&self, turn: u16) -> Option<Partition> {
        let count = self.held.len();
        self.held
            .keys()
            .nth(usize::from(turn) % count.max(1))
            .copied()
    }
}

/// Ids that no other node, life or world draws: their time is long before the world's.
fn ids(node: usize, life: u32) -> Box<dyn FnMut(ExecutionId, Timestamp) -> ExecutionId + Send> {
    let mut drawn = 0;
    let before = (node as u64 * 1_000 + u64::from(life)) * 100_000;
    Box::new(move |of, _| {
        drawn += 1;
        ExecutionId::new(ID_ORIGIN_MS + before + drawn, 0, of.partition())
    })
}

/// A clock by which each step takes its time.
fn stopwatch(seed: u64) -> Box<dyn FnMut() -> Monotonic + Send> {
    let mut random = ChaCha12Rng::seed_from_u64(seed);
    let mut passed = 0;
    Box::new(move || {
        passed += u64::from(random.next_u32()) % (STEP_MS_MAX + 1);
        Monotonic(passed)
    })
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
