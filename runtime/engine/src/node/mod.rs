//! The threads of an engine. What it hides: which thread does what. Each shard has a thread with a small runtime of
//! its own, on which it waits for reads and the ends of its task attempts, and works as far as its callers do not; the
//! waker and the keeper of leases share one more.

mod again;
mod deletions;
mod dispatched;
mod ids;
mod io_runtime;
mod leases;
mod outbox;
mod seat;
mod settings;
mod shard_loop;
mod shutdown;
mod triggers;
mod waker;

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use stepwell_interp::Timestamp;
use stepwell_items::Storage;
use tokio::{runtime, sync::watch};

use crate::{
    activities::Activities,
    audit::AuditNames,
    backlog::Backlog,
    connections::{Connections, StoredConnections},
    counters::Counters,
    damaged::ToldRecords,
    deletion::Deletions,
    engine::{Engine, Extras, Options, WeakEngine},
    error::Error,
    executions,
    feed::Feed,
    functions::{self, Checking, CodeInUse, FunctionCalls, Functions},
    health::StoreHealth,
    items::Items,
    journal::{ExecutionId, ExecutionRow, Journal, Refused, Verdict, Write},
    lines::Lines,
    notes::Notes,
    observer::Observer,
    outbox::Outboxes,
    programs::Programs,
    quotas::{Allowances, Quotas},
    reader,
    recent::Recent,
    runner::TaskRunner,
    sealed::SealedStore,
    services::Services,
    shard::{In, Monotonic},
    task_limits::TaggedLimits,
    triggers::TriggerKeeper,
};

use again::again;
use ids::Ids;
use io_runtime::IoRuntime;
use leases::Leases;
pub(crate) use seat::Seat;
use seat::{Inboxes, Refusal};
use settings::Settings;
use shard_loop::ShardLoop;
use shutdown::{Shutdown, ended};
use waker::Waker;

/// What the threads share.
pub(crate) struct Node {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) programs: Programs,
    pub(crate) activities: Activities,
    pub(crate) functions: Functions,
    pub(crate) code_in_use: Arc<CodeInUse>,
    pub(crate) function_calls: Arc<FunctionCalls>,
    /// Uploads that are looked at.
    pub(crate) checking: Arc<Checking>,
    /// Limits that tags of state machines set.
    pub(crate) tagged_limits: TaggedLimits,
    pub(crate) runner: Arc<dyn TaskRunner>,
    pub(crate) allowances: Arc<Allowances>,
    pub(crate) audit_names: AuditNames,
    pub(crate) lines: Arc<Lines>,
    pub(crate) connections: Connections,
    /// Connections that tenants keep in the store.
    pub(crate) stored_connections: StoredConnections,
    pub(crate) sealed: Arc<SealedStore>,
    pub(crate) services: Services,
    pub(crate) health: StoreHealth,
    pub(crate) damaged_records: ToldRecords,
    /// Those that are whole, and that a key sealed which the key file does not have.
    pub(crate) keyless_records: ToldRecords,
    pub(crate) triggers: TriggerKeeper,
    /// What running attempts say of their progress.
    pub(crate) notes: Arc<Notes>,
    pub(crate) deletions: Arc<Deletions>,
    take_up: bool,
    /// Whether other nodes write to the store.
    is_shared: bool,
    seats: Vec<Arc<Seat>>,
    counters: Vec<Arc<Counters>>,
    leases: Leases,
    ids: Ids,
    waker: Waker,
    shutdown: Shutdown,
    recent: Arc<Recent>,
    pub(crate) feed: Arc<Feed>,
    observer: Option<Arc<dyn Observer>>,
    pub(crate) outboxes: Outboxes,
    /// The origin of its monotonic time.
    began: Instant,
    /// The engine that this node is of: tasks may call its API.
    engine: watch::Sender<Option<WeakEngine>>,
    items: Items,
    backlog: Backlog,
    /// Reads items, writes results, makes requests: shards do no I/O of their own.
    io_runtime: IoRuntime,
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn since(began: Instant) -> Monotonic {
    Monotonic(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// 32 fresh bytes from the operating system.
pub(crate) fn os_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the operating system gives random bytes");
    seed
}

/// A runtime of the thread that it is built on.
fn thread_runtime() -> std::io::Result<runtime::Runtime> {
    runtime::Builder::new_current_thread().enable_time().build()
}

impl Node {
    /// Takes the leases, starts the threads and recovers what was running.
    pub(crate) fn start(
        journal: Arc<dyn Journal>,
        runner: Arc<dyn TaskRunner>,
        options: &Options,
        Extras {
            usual,
            vault,
            no_vault,
            outbox,
        }: Extras,
        shards: usize,
    ) -> Result<Arc<Node>, Error> {
        let (seats, inboxes): (Vec<_>, Vec<_>) = (0..shards.max(1)).map(|_| Seat::new()).unzip();
        let counters: Vec<Arc<Counters>> = seats.iter().map(|_| Arc::default()).collect();
        let node = Arc::new(Node {
            programs: Programs::new(journal.clone()),
            activities: Activities::default(),
            tagged_limits: TaggedLimits::default(),
            functions: Functions::new(options.store.is_shared()),
            code_in_use: Arc::default(),
            function_calls: Arc::default(),
            checking: Arc::default(),
            sealed: SealedStore::new(journal.clone(), vault, no_vault),
            journal,
            runner,
            allowances: Arc::new(Allowances::new(options.raised_limits, usual)),
            audit_names: AuditNames::default(),
            lines: Arc::default(),
            connections: options.connections.clone(),
            stored_connections: StoredConnections::default(),
            services: options.services.clone(),
            health: StoreHealth::default(),
            damaged_records: ToldRecords::default(),
            keyless_records: ToldRecords::default(),
            triggers: TriggerKeeper::default(),
            notes: Arc::default(),
            deletions: Arc::default(),
            take_up: options.take_up,
            is_shared: options.store.is_shared(),
            seats,
            counters: counters.clone(),
            leases: Leases::new(),
            ids: Ids::default(),
            waker: Waker::default(),
            shutdown: Shutdown::default(),
            recent: Arc::default(),
            feed: Arc::default(),
            observer: options.observer.clone(),
            outboxes: Outboxes::new(outbox),
            began: Instant::now(),
            engine: watch::Sender::new(None),
            items: Items::new(options.storage.clone()),
            backlog: Backlog::default(),
            io_runtime: IoRuntime::new()?,
        });
        node.hear_of_room();
        match node.start_threads(inboxes, counters) {
            Ok(()) => Ok(node),
            Err(error) => {
                // Those that began hold the node, and with it the store.
                node.close();
                Err(error)
            }
        }
    }

    /// Has a line looked at when there is room in it.
    fn hear_of_room(self: &Arc<Node>) {
        let nudged = Arc::downgrade(self);
        self.lines.on_room(Box::new(move |line| {
            if let Some(node) = nudged.upgrade() {
                node.nudge(line);
            }
        }));
    }

    fn start_threads(
        self: &Arc<Node>,
        inboxes: Vec<Inboxes>,
        counters: Vec<Arc<Counters>>,
    ) -> Result<(), Error> {
        for (index, (inboxes, counters)) in inboxes.into_iter().zip(counters).enumerate() {
            let body = self.clone();
            let name = format!("stepwell-shard-{index}");
            self.shutdown
                .spawn(name, move || body.run_shard(index, inboxes, counters))?;
        }
        let (ready, opened) = std::sync::mpsc::channel();
        let keeper = self.clone();
        let name = "stepwell-keeper".to_owned();
        self.shutdown.spawn(name, move || keeper.keep(&ready))?;
        opened
            .recv()
            .map_err(|_| Error::Broken("the engine's keeper ended".to_owned()))?
    }

    /// The body of a shard's thread.
    fn run_shard(self: Arc<Node>, index: usize, inboxes: Inboxes, counters: Arc<Counters>) {
        match thread_runtime() {
            Ok(runtime) => {
                let (seat, handle) = (self.seats[index].clone(), runtime.handle().clone());
                let body = ShardLoop::new(self, seat.clone(), handle, inboxes, counters);
                runtime.block_on(seat.serve(body));
            }
            Err(error) => tracing::error!(%error, "a shard's runtime cannot be built"),
        }
    }

    /// The body of the keeper's thread: it keeps the leases, wakes what is due, and ends what was begun.
    fn keep(self: Arc<Node>, ready: &std::sync::mpsc::Sender<Result<(), Error>>) {
        let runtime = match thread_runtime() {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = ready.send(Err(Error::Broken(format!(
                    "no runtime for the keeper: {error}"
                ))));
                return;
            }
        };
        let loaded = runtime.block_on(async {
            self.sealed.check_keys().await?;
            self.load_allowances().await
        });
        if !self.take_up || loaded.is_err() {
            // Without leases there is nothing to serve, and nothing to keep.
            let _ = ready.send(loaded);
            return;
        }
        runtime.block_on(async {
            let first = self.renew_leases().await;
            let failed = first.is_err();
            let _ = ready.send(first);
            if failed {
                return;
            }
            self.spawn_io(self.clone().keep_triggers());
            let mut closed = self.shutdown.closed();
            tokio::select! {
                ((), (), (), (), (), ()) = async {
                    tokio::join!(
                        self.keep_leases(),
                        self.keep_waking(),
                        again("outboxes", async || self.keep_outbox().await),
                        again("deletions", async || self.keep_deletions().await),
                        again("code", async || self.keep_collecting_code().await),
                        again("tenants", async || self.keep_tenants().await)
                    )
                } => {}
                () = ended(&mut closed) => {}
            }
        });
    }

    /// What tenants may have and have, and what their plugins may, from the store.
    async fn load_allowances(&self) -> Result<(), Error> {
        let used = self.journal.usage_of_tenants().await;
        self.allowances.load(used.map_err(reader::broken)?.sums);
        for (tenant, bytes) in functions::all_freed(self.journal.as_ref()).await? {
            self.allowances.freed(&tenant, bytes);
        }
        self.settle_tenants(&Settings::default()).await.map(drop)
    }

    /// Has a tenant's quotas count from now on, here and where its tasks are run.
    pub(crate) fn set_quotas(&self, tenant: &Arc<str>, quotas: Quotas) {
        self.allowances.set(tenant, quotas);
        self.runner.weigh(tenant, self.allowances.weight(tenant));
    }

    pub(crate) fn counters(&self) -> impl Iterator<Item = &Counters> {
        self.counters.iter().map(Arc::as_ref)
    }

    /// What is wrong with the shards, if something is.
    pub(crate) fn wrong_shards(&self) -> Option<String> {
        let counters = self.counters.iter().enumerate();
        let wrong: Vec<String> = counters
            .filter_map(|(shard, counters)| counters.pulse.wrong(shard))
            .collect();
        (!wrong.is_empty() && !self.shutdown.is_closing()).then(|| wrong.join("; "))
    }

    pub(crate) fn queue_depth(&self) -> u64 {
        self.seats.iter().map(|seat| seat.depth()).sum()
    }

    fn seat_of(&self, execution: ExecutionId) -> &Arc<Seat> {
        &self.seats[self.shard_index(execution)]
    }

    fn shard_index(&self, execution: ExecutionId) -> usize {
        // Bits above the partition, so that one partition's executions spread over the shards too.
        let spread = (execution.0 >> 10) ^ (execution.0 & 0x3ff);
        usize::try_from(spread % self.seats.len() as u64).unwrap_or(0)
    }

    /// Takes note of an execution that is left out of a list: what is stored of it is damaged.
    pub(crate) fn note_damaged(&self, row: &ExecutionRow, why: &Error) {
        if self.counters[self.shard_index(row.id)].damaged(row.id) {
            tracing::error!(
                execution = row.id.0,
                name = &*row.new.name,
                %why,
                "an execution is left out of lists"
            );
        }
    }

    /// Hands an input to the execution's shard; refused as busy when its queue is full or the engine is closing.
    pub(crate) fn send(&self, execution: ExecutionId, input: In) -> Result<(), Error> {
        if self.shutdown.is_closing() && matches!(input, In::Start(_)) {
            return Err(Error::Busy("the server is shutting down".to_owned()));
        }
        self.seat_of(execution)
            .put(input)
            .map_err(|error| match error {
                Refusal::Full => Error::Busy("too many calls are waiting".to_owned()),
                Refusal::Ended => Error::Busy("the server is shutting down".to_owned()),
            })
    }

    /// Commits one write whose refusal means something; a full or broken store is an error all the same.
    pub(crate) async fn write(&self, write: Write) -> Result<Verdict, Error> {
        let mut verdicts = self.journal.commit(vec![write]).await;
        self.health.note(&verdicts);
        match verdicts.pop() {
            Some(Err(refused @ (Refused::Full(_) | Refused::Broken(_)))) => {
                Err(executions::refusal(refused))
            }
            Some(verdict) => Ok(verdict),
            None => Err(Error::Broken("the store gave no verdict".to_owned())),
        }
    }

    /// Commits several writes at once, each with a verdict.
    pub(crate) async fn write_all(&self, writes: Vec<Write>) -> Vec<Verdict> {
        let verdicts = self.journal.commit(writes).await;
        self.health.note(&verdicts);
        verdicts
    }

    /// Where usage is left that belongs to no execution.
    pub(crate) fn usage_seat(&self) -> Arc<Seat> {
        // There is a shard at least.
        self.seats[0].clone()
    }

    /// Why a shard let go of who waited for an execution's end.
    pub(crate) fn let_go(&self) -> Error {
        if self.shutdown.is_closing() {
            return Error::Busy("the server is shutting down".to_owned());
        }
        let why =
            "what is stored of the execution is damaged; an earlier line of this log says where";
        Error::Damaged(why.to_owned())
    }

    /// Whether executions run here.
    pub(crate) fn takes_up(&self) -> bool {
        self.take_up
    }

    /// Names the engine whose API this node's tasks call.
    pub(crate) fn serve_by(&self, engine: WeakEngine) {
        self.engine.send_replace(Some(engine));
    }

    /// That engine, once it is open; `None` when it is gone.
    async fn engine(&self) -> Option<Engine> {
        let mut named = self.engine.subscribe();
        let engine = named.wait_for(Option::is_some).await.ok()?.clone();
        engine?.upgrade()
    }

    fn monotonic(&self) -> Monotonic {
        since(self.began)
    }

    /// The object storage as an account sees it, where there is one.
    pub(crate) fn storage(&self, tenant: &Arc<str>) -> Option<Storage> {
        self.items.storage(tenant)
    }
}
