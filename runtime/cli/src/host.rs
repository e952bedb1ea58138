//! The runtime in this process: sandbox and engine over a data directory or in memory. Hides how they are put
//! together and which folders they use.

mod compiler;
mod folders;
mod outside;
mod plugins;
mod samples;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use stepwell_engine::{
    Connections, Engine, Extras, Observer, Options, Quotas, Store, Vault, foreign_store,
};
use stepwell_sandbox::{Compiler, Sandbox, SandboxConfig};
use stepwell_server::{ExecutionLog, Observers, SandboxMetrics, ServerConfig, ServerState};

use crate::args::{LimitsArg, PolicyArgs, ServiceEndpoint, StorageArgs, StoreUrl};
use crate::connections;
use crate::exit::{Blame, Outcome, Stop};
use crate::policy::{self, Policy};
use crate::runner::SandboxRunner;
use crate::telemetry::Listeners;
use crate::watched::{OperatorFiles, Seen, Stamps};
use folders::{make_data, make_folder, plugin_folder};
use outside::{services, storage};
use plugins::directory_plugins;
use samples::samples;

#[cfg(feature = "compiler")]
pub(crate) use compiler::own_compiler;
pub(crate) use compiler::{CodeFrom, compiler, no_compiler};
pub(crate) use folders::{make_plugin_folder, user_cache};
pub(crate) use plugins::contract_name;

/// The one tenant of an installation without accounts.
pub(crate) const TENANT: &str = "000000000000";

/// The data directory of commands that are given none.
pub(crate) const USUAL_DATA: &str = "./stepwell-data";

/// The log of executions within the data directory.
const EXECUTION_LOG: &str = "logs/executions.jsonl";

/// The schema of a database that holds our tables.
#[cfg(feature = "postgres")]
const SCHEMA: &str = "stepwell";

/// What a runtime is opened over.
pub(crate) struct Opening<'a> {
    /// The data directory, created when missing; without one nothing outlives the process.
    pub(crate) data: Option<&'a Path>,
    /// The database that keeps executions instead of the data directory.
    pub(crate) store: Option<&'a StoreUrl>,
    /// The plugin directory; that of the data directory when absent.
    pub(crate) plugins: Option<&'a Path>,
    pub(crate) limits: LimitsArg,
    /// The object storage; folders in the data directory when absent.
    pub(crate) storage: Option<&'a StorageArgs>,
    /// The file with the connections of HTTP tasks.
    pub(crate) connections: Option<&'a Path>,
    /// Where calls of AWS services go.
    pub(crate) endpoints: &'a [ServiceEndpoint],
    /// Where plugins are compiled.
    pub(crate) compiler: CodeFrom,
    /// What the operator says of plugins.
    pub(crate) policy: Option<&'a PolicyArgs>,
    /// Whether executions that were running go on.
    pub(crate) take_up: bool,
    /// The numbers of tenants whose quotas have none.
    pub(crate) usual: Quotas,
    /// Who hears of executions, beside their log.
    pub(crate) listeners: Listeners,
    /// The keys of the operator's key file; without them nothing that is sealed opens.
    pub(crate) vault: Option<Vault>,
    /// Why a store is not opened that holds something sealed while there are no keys; without a text it is.
    pub(crate) no_vault: Option<String>,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) sandbox: Sandbox,
    /// The plugin folder.
    pub(crate) plugins: Option<PathBuf>,
    data: Option<PathBuf>,
    /// The flags beside `--data`, as they were given.
    given: String,
    /// What state machines log.
    log: Option<Arc<ExecutionLog>>,
    listeners: Listeners,
    /// The operator's files, to be looked at while it runs.
    pub(crate) files: Option<Arc<OperatorFiles>>,
}

/// Opens the store.
async fn engine(options: Options, extras: Extras, runner: Arc<SandboxRunner>) -> Outcome<Engine> {
    let opened = tokio::task::spawn_blocking(move || Engine::open_with(options, extras, runner));
    opened.await.runtime()?.map_err(|error| match error {
        stepwell_engine::Error::Unusable(why) => Stop::Usage(anyhow!(why)),
        error => Stop::Runtime(error.into()),
    })
}

/// Makes a data directory, but nothing beside a store that is another program's.
fn make_own(data: &Path, embedded: bool) -> Outcome {
    if embedded && let Some(why) = foreign_store(data) {
        return Err(Stop::Usage(anyhow!(why)));
    }
    make_data(data)
}

impl Host {
    /// Opens the store, and a sandbox with the plugins beside it.
    pub(crate) async fn open(opening: Opening<'_>) -> Outcome<Host> {
        let Opening {
            data,
            store,
            plugins,
            limits,
            storage: storage_args,
            connections,
            endpoints,
            compiler,
            policy: policy_args,
            take_up,
            usual,
            listeners,
            vault,
            no_vault,
        } = opening;
        let given = given_flags(plugins, storage_args, connections, policy_args, limits);
        let (policy, opened, stamps) = operators(policy_args, connections)?;
        let secrets = policy.secrets.clone();
        if let Some(data) = data {
            make_own(data, store.is_none())?;
        }
        let plugins = plugin_folder(data, plugins)?;
        let sandbox = sandbox(plugins.as_deref(), data, compiler, policy)?;
        let runner = Arc::new(SandboxRunner {
            sandbox: sandbox.clone(),
        });
        let store = kept_in(store, data)?;
        let log = execution_log(data).runtime()?;
        let options = Options {
            store,
            raised_limits: limits == LimitsArg::Raised,
            take_up,
            shards: 0,
            storage: storage(storage_args, data)?,
            connections: opened.clone(),
            services: services(endpoints)?,
            observer: observer(log.as_ref(), &listeners),
        };
        let extras = Extras {
            usual,
            vault,
            no_vault,
            outbox: listeners.outbox(),
        };
        let engine = engine(options, extras, runner).await?;
        listeners.attach(&engine);
        let files = policy_args.map(|args| {
            Arc::new(OperatorFiles {
                policy: args.clone(),
                connections: connections.map(Path::to_owned),
                secrets,
                opened,
                sandbox: sandbox.clone(),
                stamps,
            })
        });
        Ok(Host {
            engine,
            sandbox,
            files,
            plugins,
            data: data.map(Path::to_owned),
            given,
            log,
            listeners,
        })
    }

    /// How the server answers for this installation; `hosts` are the names under which web pages may reach it.
    pub(crate) fn server_config(&self, hosts: &[String]) -> ServerConfig {
        ServerConfig {
            hosts: hosts.to_vec(),
            machine_metrics: self.listeners.machine_metrics.clone(),
            express_histories: self.listeners.express_histories.clone(),
            plugins: directory_plugins(self.sandbox.clone()),
            ..ServerConfig::default()
        }
    }

    /// The sandbox's counters for `/metrics`.
    pub(crate) fn metrics(&self) -> SandboxMetrics {
        let (sandbox, log) = (self.sandbox.clone(), self.log.clone());
        let listeners = self.listeners.clone();
        Arc::new(move || {
            let mut samples = samples(&sandbox);
            samples.extend(log.iter().flat_map(|log| log.samples()));
            samples.extend(listeners.samples());
            samples
        })
    }

    /// The API without a socket.
    pub(crate) fn router(&self) -> axum::Router {
        let state = ServerState::new(self.server_config(&[]), self.engine.clone(), self.metrics());
        stepwell_server::router(Arc::new(state))
    }

    /// The flags with which another command reaches this data directory.
    pub(crate) fn flags(&self) -> String {
        self.data
            .as_ref()
            .map_or_else(String::new, |data| format!(" --data {}", data.display()))
    }

    /// The same, and what else was given to run executions; `None` when there is no data directory.
    pub(crate) fn flags_to_run(&self) -> Option<String> {
        self.data.as_ref()?;
        Some(format!("{}{}", self.flags(), self.given))
    }

    /// Why a plugin cannot be called, and what to do about it; `None` when it can. Compiles it if need be.
    pub(crate) async fn why_not(&self, plugin: &str) -> Option<String> {
        match self.sandbox.prepare(TENANT, plugin).await {
            Ok(()) => None,
            Err(stepwell_sandbox::Error::Plugin { why, .. }) => Some(why),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Writes out what is under way and lets go of the data directory.
    pub(crate) async fn close(self) {
        self.engine.shutdown().await;
        self.listeners.close().await;
        if let Some(log) = self.log {
            // The process may end right after.
            let _ = tokio::task::spawn_blocking(move || log.flush()).await;
        }
    }
}

/// What the operator's files say, and the files.
fn operators(
    policy: Option<&PolicyArgs>,
    connections: Option<&Path>,
) -> Outcome<(Policy, Connections, Stamps)> {
    let seen = Seen::default();
    let policy = policy.map(|args| policy::read_from(args, &seen));
    let connections = connections.map(|path| connections::read(path, &seen));
    Ok((
        policy.transpose()?.unwrap_or_default(),
        connections.transpose()?.unwrap_or_default(),
        seen.stamps(),
    ))
}

/// Where executions are kept, as the flags say.
fn kept_in(store: Option<&StoreUrl>, data: Option<&Path>) -> Outcome<Store> {
    Ok(match (store, data) {
        #[cfg(not(feature = "postgres"))]
        (Some(StoreUrl(_)), _) => {
            return Err(Stop::Usage(anyhow!(
                "this program was built without the feature `postgres`\nhint: leave --store away to keep executions in the data directory"
            )));
        }
        #[cfg(feature = "postgres")]
        (Some(StoreUrl(url)), _) => Store::Postgres {
            url: url.clone(),
            schema: SCHEMA.to_owned(),
        },
        (None, Some(path)) => Store::Directory(path.to_owned()),
        (None, None) => Store::Memory,
    })
}

/// The flags, as they were given, that another command needs to run executions alike. A key is not among them.
fn given_flags(
    plugins: Option<&Path>,
    storage: Option<&StorageArgs>,
    connections: Option<&Path>,
    policy: Option<&PolicyArgs>,
    limits: LimitsArg,
) -> String {
    let ceilings = policy.and_then(|policy| policy.ceilings.as_deref());
    let secrets = policy.and_then(|policy| policy.secrets.as_deref());
    let path = |path: &Path| path.display().to_string();
    let flags = [
        ("plugins", plugins.map(path)),
        ("storage", storage.and_then(|args| args.storage.clone())),
        ("connections", connections.map(path)),
        ("ceilings", ceilings.map(path)),
        ("secrets", secrets.map(path)),
        (
            "limits",
            (limits == LimitsArg::Raised).then(|| "raised".to_owned()),
        ),
    ];
    let given = flags
        .into_iter()
        .filter_map(|(name, value)| Some(format!(" --{name} {}", value?)));
    given.collect()
}

/// A sandbox over a plugin folder. Compiled plugins are kept in the data directory, without one in the user's cache
/// directory.
pub(crate) fn sandbox(
    plugins: Option<&Path>,
    data: Option<&Path>,
    code: CodeFrom,
    policy: Policy,
) -> Outcome<Sandbox> {
    let cache = data.map(|data| data.join("cache")).or_else(user_cache);
    // What is not compiled is not kept.
    let cache = cache.filter(|_| !matches!(code.compiler, Compiler::Absent));
    if let Some(cache) = &cache {
        make_folder(cache, "cache directory")?;
    }
    let config = SandboxConfig {
        plugins: plugins.map(Path::to_owned),
        cache,
        cache_bytes: code.cache_bytes,
        compiler: code.compiler,
        precompiled: code.precompiled,
        guarded: data.map(Path::to_owned).into_iter().collect(),
        ceilings: policy.ceilings,
        secrets: Arc::new(policy.secrets),
        ..SandboxConfig::default()
    };
    Sandbox::new(config).map_err(|error| match error {
        stepwell_sandbox::Error::Folder { .. } | stepwell_sandbox::Error::Plugin { .. } => {
            Stop::Usage(error.into())
        }
        stepwell_sandbox::Error::Start { .. } => Stop::Runtime(error.into()),
    })
}

/// Whom the engine tells of executions, if there is somebody.
fn observer(log: Option<&Arc<ExecutionLog>>, listeners: &Listeners) -> Option<Arc<dyn Observer>> {
    let log = log.map(|log| log.clone() as Arc<dyn Observer>);
    let all: Vec<_> = log.into_iter().chain(listeners.observers()).collect();
    (!all.is_empty()).then(|| Arc::new(Observers(all)) as Arc<dyn Observer>)
}

/// The log of executions in a data directory.
fn execution_log(data: Option<&Path>) -> std::io::Result<Option<Arc<ExecutionLog>>> {
    let path = data.map(|data| data.join(EXECUTION_LOG));
    let log = path.map(ExecutionLog::start).transpose()?;
    Ok(log.map(Arc::new))
}
