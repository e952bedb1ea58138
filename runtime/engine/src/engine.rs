//! The engine's handle. What it hides: shards, threads, the journal. Cheap to clone; all clones are one engine. Its
//! calls stand a file a subject: `machines`, `versions`, `starts`, `executions`, `history`, `activities`, `tokens`, ….

use std::{
    path::PathBuf,
    sync::{Arc, Weak},
};

use stepwell_items::Storage;
#[cfg(feature = "postgres")]
use tokio::runtime::Runtime;

use crate::{
    api::Metrics,
    connections::Connections,
    counters::Counters,
    error::Error,
    health,
    journal::{
        CatalogKey, CatalogRecord, Journal, MemoryJournal, OpenError, SqliteJournal, SqliteOptions,
        Verdict, Write,
    },
    limits::{HEALTH_WAIT_MAX, SHUTDOWN_PATIENCE},
    node::{self, Node},
    observer::Observer,
    outbox::Outbox,
    pages::PageKey,
    quotas::{Quotas, Rates},
    reader,
    runner::TaskRunner,
    services::Services,
    startable::MachineCache,
    vault::Vault,
};

/// Where executions are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// Nothing outlives the process.
    Memory,
    /// A data directory, held by one process at a time.
    Directory(PathBuf),
    /// A schema of a PostgreSQL database. One node at a time: a second one gets the partitions the first lets lapse.
    #[cfg(feature = "postgres")]
    Postgres {
        /// `postgres://user@host/database`.
        url: String,
        schema: String,
    },
}

/// How an engine is opened.
#[derive(Clone, Debug)]
pub struct Options {
    pub store: Store,
    /// The `raised` value of every limit instead of AWS's.
    pub raised_limits: bool,
    /// Whether executions that were running go on. Without it the engine looks and records, and runs nothing.
    pub take_up: bool,
    /// Threads that interpret; 0 means one a core.
    pub shards: usize,
    /// Where distributed Maps read their items and write their results.
    pub storage: Option<Storage>,
    /// What HTTP tasks are authorized with.
    pub connections: Connections,
    /// Where calls of other AWS services go.
    pub services: Services,
    /// Who is told of what happens in executions.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Options {
    /// AWS's limits, and what was running goes on; a thread a core, and nothing else connected.
    pub fn of(store: Store) -> Options {
        Options {
            store,
            raised_limits: false,
            take_up: true,
            shards: 0,
            storage: None,
            connections: Connections::default(),
            services: Services::default(),
            observer: None,
        }
    }
}

/// See the module.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    node: Arc<Node>,
    machines: MachineCache,
    page_key: PageKey,
    /// What the connections to a database run on.
    #[cfg(feature = "postgres")]
    connections: Option<Runtime>,
}

/// An engine that is not kept open by it.
#[derive(Clone)]
pub(crate) struct WeakEngine(Weak<Inner>);

impl WeakEngine {
    /// `None` once the last handle is gone.
    pub(crate) fn upgrade(&self) -> Option<Engine> {
        self.0.upgrade().map(Engine)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.node.close();
        #[cfg(feature = "postgres")]
        if let Some(connections) = self.connections.take() {
            // The last handle may be dropped on another runtime's thread, where waiting is forbidden.
            connections.shutdown_background();
        }
    }
}

/// Connects on a runtime of its own, so that the store needs nobody else's.
#[cfg(feature = "postgres")]
fn postgres(
    url: String,
    schema: String,
) -> Result<(Runtime, crate::journal::PostgresJournal), Error> {
    use crate::journal::{PostgresJournal, PostgresOptions};
    let unopened = |error: &dyn std::fmt::Display| Error::Unopened(error.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("stepwell-postgres")
        .enable_all()
        .build()
        .map_err(|error| unopened(&error))?;
    let (sender, connected) = std::sync::mpsc::channel();
    let handle = runtime.handle().clone();
    runtime.spawn(async move {
        let options = PostgresOptions { url, schema };
        // Nobody waits any more when this fails.
        let _ = sender.send(PostgresJournal::connect(options, handle).await);
    });
    let journal = connected
        .recv()
        .map_err(|error| unopened(&error))?
        .map_err(not_opened)?;
    Ok((runtime, journal))
}

/// Whose it is to mend: the operator's, or of whoever named the store.
fn not_opened(error: OpenError) -> Error {
    let text = error.to_string();
    match error {
        OpenError::Unreadable { .. } | OpenError::Foreign(_) | OpenError::Newer { .. } => {
            Error::Unusable(text)
        }
        OpenError::Locked(_) => Error::Held(text),
        OpenError::Full { .. } | OpenError::Damaged { .. } | OpenError::Gone { .. } => {
            Error::Unopened(text)
        }
        #[cfg(feature = "postgres")]
        OpenError::Unreachable { .. } => Error::Unopened(text),
    }
}

/// What an engine may be given beside its options and what carries out its tasks.
#[derive(Default)]
pub struct Extras {
    /// The numbers of tenants whose quotas have none, which count for what is taken up as well; their limits and rates count
    /// for nothing.
    pub usual: Quotas,
    /// The keys by which secrets and connections in the store are sealed; without them none is kept, and none that is there
    /// opens.
    pub vault: Option<Vault>,
    /// What is told where the store has something sealed and there are no keys: such a store is not opened then, and nothing of
    /// it is taken up. Without a text it is opened, and what is sealed in it stays closed.
    pub no_vault: Option<String>,
    /// Who must be told of changes of status, whatever crashes.
    pub outbox: Option<Arc<dyn Outbox>>,
}

impl Store {
    /// Whether other processes may write to it while this one runs.
    pub(crate) fn is_shared(&self) -> bool {
        match self {
            Store::Memory | Store::Directory(_) => false,
            #[cfg(feature = "postgres")]
            Store::Postgres { .. } => true,
        }
    }
}

impl Engine {
    /// Opens the store and takes up what was running: what was in memory at once, the rest as it becomes due.
    /// Blocks while the store is opened; call it outside an async runtime's worker, or accept that.
    pub fn open(options: Options, runner: Arc<dyn TaskRunner>) -> Result<Engine, Error> {
        Engine::open_with(options, Extras::default(), runner)
    }

    /// The same with more than an engine needs.
    pub fn open_with(
        options: Options,
        extras: Extras,
        runner: Arc<dyn TaskRunner>,
    ) -> Result<Engine, Error> {
        extras.usual.check()?;
        let clock: Arc<dyn Fn() -> stepwell_interp::Timestamp + Send + Sync> = Arc::new(node::now);
        #[cfg(feature = "postgres")]
        let mut connections = None;
        let journal: Arc<dyn Journal> = match &options.store {
            Store::Memory => Arc::new(MemoryJournal::new(clock)),
            Store::Directory(path) => {
                let sqlite = SqliteOptions { vfs: None, clock };
                Arc::new(SqliteJournal::open(path, sqlite).map_err(not_opened)?)
            }
            #[cfg(feature = "postgres")]
            Store::Postgres { url, schema } => {
                let (runtime, journal) = postgres(url.clone(), schema.clone())?;
                connections = Some(runtime);
                Arc::new(journal)
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = if options.shards == 0 {
            cores
        } else {
            options.shards
        };
        let node = Node::start(journal, runner, &options, extras, shards)?;
        let engine = Engine(Arc::new(Inner {
            node,
            machines: MachineCache::default(),
            page_key: PageKey::default(),
            #[cfg(feature = "postgres")]
            connections,
        }));
        engine.node().serve_by(engine.weak());
        Ok(engine)
    }

    /// Takes no new executions, waits for commits in flight, and returns; what runs is taken up at the next start.
    pub async fn shutdown(&self) {
        self.0.node.drain(SHUTDOWN_PATIENCE).await;
    }

    /// Counters since the engine was opened.
    pub fn metrics(&self) -> Metrics {
        Metrics {
            queue_depth: self.0.node.queue_depth(),
            records_damaged: self.0.node.damaged_records.count() + self.unnamed_records() as u64,
            ..Counters::sum(self.0.node.counters())
        }
    }

    /// How many records were so damaged when the store was opened that nobody knows what they are: they may be access keys.
    pub fn unnamed_records(&self) -> usize {
        self.0.node.journal.unnamed_records()
    }

    /// Whether the store takes writes and every shard comes back to its queue; if not, why. A store that nobody wrote to
    /// for a while is asked.
    pub async fn health(&self) -> Result<(), String> {
        match self.0.node.wrong_shards() {
            Some(wrong) => Err(wrong),
            None => self.store_health().await,
        }
    }

    /// What an operator has to look after while the engine works, if there is something.
    pub fn warning(&self) -> Option<String> {
        self.0.node.wrong_triggers()
    }

    async fn store_health(&self) -> Result<(), String> {
        let health = &self.0.node.health;
        if let Some(known) = health.fresh() {
            return known;
        }
        let probing = self.0.node.journal.commit(vec![health::probe()]);
        match tokio::time::timeout(HEALTH_WAIT_MAX, probing).await {
            Ok(verdicts) => health.note(&verdicts),
            Err(_) => health.set(Some(health::silent())),
        }
        health.fresh().unwrap_or(Ok(()))
    }

    /// Whether a tenant has the raised limits.
    pub fn raised_limits(&self, tenant: &Arc<str>) -> bool {
        self.0.node.allowances.raised(tenant)
    }

    /// A tenant's part, in proportion to the others', of what several want at a time.
    pub fn weight(&self, tenant: &Arc<str>) -> u32 {
        self.0.node.allowances.weight(tenant)
    }

    /// The rates of tenants whose quotas have none.
    pub fn usual_rates(&self, rates: Rates) {
        self.0.node.allowances.usual_rates(rates);
    }

    /// Counts a request of a tenant, or refuses it; an operation of the function service is named `lambda:NAME`.
    /// StartExecution counts itself.
    pub fn admit(&self, tenant: &Arc<str>, operation: &'static str) -> Result<(), Error> {
        self.0.node.allowances.admit(tenant, operation)
    }

    pub(crate) fn weak(&self) -> WeakEngine {
        WeakEngine(Arc::downgrade(&self.0))
    }

    pub(crate) fn node(&self) -> &Node {
        &self.0.node
    }

    pub(crate) fn machines_cache(&self) -> &MachineCache {
        &self.0.machines
    }

    pub(crate) fn page_key(&self) -> &PageKey {
        &self.0.page_key
    }

    /// A record of the catalog.
    pub(crate) async fn record(&self, key: &CatalogKey) -> Result<Option<CatalogRecord>, Error> {
        self.0.node.journal.get(key).await.map_err(reader::broken)
    }

    /// Commits one write that must land.
    pub(crate) async fn write(&self, write: Write) -> Result<(), Error> {
        self.verdict(write)
            .await?
            .map(drop)
            .map_err(crate::executions::refusal)
    }

    /// Commits one write whose refusal means something; a full or broken store is an error all the same.
    pub(crate) async fn verdict(&self, write: Write) -> Result<Verdict, Error> {
        self.0.node.write(write).await
    }
}
