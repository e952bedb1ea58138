//! The runtime in this process: sandbox and engine over a data directory or in memory. Hides how they are put
//! together and which folders they use.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use stepwell_egress::{Connector, Credentials};
use stepwell_engine::{
    Connections, Engine, Extras, Observer, Options, Quotas, Services, Store, Vault,
};
#[cfg(feature = "s3")]
use stepwell_items::S3;
use stepwell_items::Storage;
#[cfg(feature = "compiler")]
use stepwell_sandbox::{CompileBounds, CompileWorker};
use stepwell_sandbox::{Compiler, Metrics, Sandbox, SandboxConfig};
use stepwell_server::{
    ExecutionLog, Observers, Sample, SampleKind, SandboxMetrics, ServerConfig, ServerState,
};

use crate::args::{
    CompileArgs, LimitsArg, PolicyArgs, PrecompiledArg, ServiceEndpoint, StorageArgs, StoreUrl,
};
use crate::connections;
use crate::exit::{Blame, Outcome, Stop};
use crate::policy::{self, Policy};
use crate::runner::SandboxRunner;
use crate::telemetry::Listeners;
use crate::watched::{OperatorFiles, Seen, Stamps};

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
}

/// Where the code of plugins comes from.
pub(crate) struct CodeFrom {
    pub(crate) compiler: Compiler,
    /// Whether code of the plugin directory is run as well that was compiled ahead of time.
    precompiled: bool,
    /// Bytes that compiled plugins may have on disk.
    cache_bytes: u64,
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
        error => Stop::Runtime(anyhow!("{error}")),
    })
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
        } = opening;
        let given = given_flags(plugins, storage_args, connections, policy_args, limits);
        let (policy, opened, stamps) = operators(policy_args, connections)?;
        let secrets = policy.secrets.clone();
        if let Some(data) = data {
            make_folder(data, "data directory")?;
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

/// The object storage that the arguments name; without them the folder in the data directory, or in the usual one when
/// there is none and it is there.
fn storage(args: Option<&StorageArgs>, data: Option<&Path>) -> Outcome<Option<Storage>> {
    let named = args.and_then(|args| Some((args, args.storage.as_deref()?)));
    let Some((args, named)) = named else {
        let usual = || {
            let usual = Path::new(USUAL_DATA).join("buckets");
            usual.is_dir().then_some(usual)
        };
        let folder = data.map(|data| data.join("buckets")).or_else(usual);
        return Ok(folder.map(|folder| Storage::folder(folder, TENANT)));
    };
    let url = named.starts_with("http://") || named.starts_with("https://");
    if !url && named != "aws" {
        if !Path::new(named).is_dir() {
            return Err(Stop::Usage(anyhow!(
                "there is no directory `{named}` with buckets\nhint: create it, or name an S3 endpoint with its scheme: --storage http://127.0.0.1:9000"
            )));
        }
        return Ok(Some(Storage::folder(named, TENANT)));
    }
    endpoint(args, named, url).map(Some)
}

/// The buckets of an S3 endpoint.
#[cfg(not(feature = "s3"))]
fn endpoint(_: &StorageArgs, named: &str, _: bool) -> Outcome<Storage> {
    Err(Stop::Usage(anyhow!(
        "this program was built without the feature `s3` and cannot reach `{named}`\nhint: --storage DIR takes a directory with buckets in it"
    )))
}

/// The same.
#[cfg(feature = "s3")]
fn endpoint(args: &StorageArgs, named: &str, url: bool) -> Outcome<Storage> {
    let Some(key) = &args.storage_key else {
        return Err(Stop::Usage(anyhow!(
            "the S3 endpoint `{named}` needs a key\nhint: --storage-key ID:SECRET, or STEPWELL_STORAGE_KEY in the environment"
        )));
    };
    let settings = S3 {
        endpoint: url.then(|| named.to_owned()),
        region: args.storage_region.clone(),
        access_key_id: key.id.clone(),
        secret_access_key: key.secret.clone(),
        session_token: key.token.clone(),
    };
    Ok(Storage::s3(settings, TENANT))
}

/// The AWS services that the arguments name, with the key that AWS's own tools take from the environment.
fn services(endpoints: &[ServiceEndpoint]) -> Outcome<Services> {
    if endpoints.is_empty() {
        return Ok(Services::default());
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let key = (
        variable("AWS_ACCESS_KEY_ID"),
        variable("AWS_SECRET_ACCESS_KEY"),
    );
    let credentials = match key {
        (Some(key_id), Some(secret)) => Some(Credentials {
            key_id,
            secret,
            session_token: variable("AWS_SESSION_TOKEN"),
        }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            return Err(Stop::Usage(anyhow!(
                "of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set; --endpoint needs both, or none"
            )));
        }
    };
    let connector = Connector::new().map_err(|error| Stop::Runtime(error.into()))?;
    let named = endpoints
        .iter()
        .map(|named| (named.service.clone(), named.endpoint.clone()));
    Services::new(named, credentials, connector, TENANT)
        .map_err(|why| Stop::Usage(anyhow!("--endpoint: {why}")))
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

/// Where plugins come from, as the flags say.
pub(crate) fn compiler(args: CompileArgs, serves: bool) -> Outcome<CodeFrom> {
    let only = args.precompiled == PrecompiledArg::Only;
    if !only && cfg!(not(feature = "compiler")) {
        return Err(Stop::Usage(anyhow!(
            "this program was built without the feature `compiler` and compiles no plugins\nhint: leave --precompiled away; `stepwell plugin compile` of a program with that feature makes what this one runs"
        )));
    }
    Ok(CodeFrom {
        compiler: match only {
            true => Compiler::Absent,
            false => own_compiler(args, serves),
        },
        precompiled: args.precompiled != PrecompiledArg::No,
        cache_bytes: args.cache_bytes,
    })
}

/// This program again, in bounds, for each plugin that is compiled. A command that does nothing else meanwhile gives it
/// all cores, a server half of them.
#[cfg(feature = "compiler")]
pub(crate) fn own_compiler(args: CompileArgs, serves: bool) -> Compiler {
    // On Linux also when the file was replaced since: the version that runs is the one that compiles.
    let program = if cfg!(target_os = "linux") {
        Some(PathBuf::from("/proc/self/exe"))
    } else {
        std::env::current_exe().ok()
    };
    let Some(program) = program else {
        tracing::warn!("this program does not find itself; plugins are compiled without bounds");
        return Compiler::InProcess;
    };
    let bounds = CompileBounds {
        memory_bytes: args.compile_memory,
        cpu: args.compile_cpu,
        threads: if serves { 0 } else { cores() },
    };
    Compiler::Worker(CompileWorker {
        bounds,
        ..CompileWorker::new(program, vec!["compile-plugin".into()])
    })
}

#[cfg(not(feature = "compiler"))]
fn own_compiler(_: CompileArgs, _: bool) -> Compiler {
    Compiler::Absent
}

#[cfg(feature = "compiler")]
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The user's own directory for what can be made again.
pub(crate) fn user_cache() -> Option<PathBuf> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let caches =
        folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
    caches.map(|caches| caches.join("stepwell"))
}

/// The given plugin folder, which must exist, or the data directory's own, which is created; without a data directory
/// the usual one's, if it is there.
fn plugin_folder(data: Option<&Path>, given: Option<&Path>) -> Outcome<Option<PathBuf>> {
    if let Some(given) = given {
        let meta = std::fs::metadata(given);
        let meta = meta
            .with_context(|| {
                format!(
                    "the plugin directory `{}` cannot be read; `stepwell plugin build` makes one",
                    given.display()
                )
            })
            .usage()?;
        if !meta.is_dir() {
            return Err(Stop::Usage(anyhow!(
                "`{}` is no directory; --plugins takes one",
                given.display()
            )));
        }
        return Ok(Some(given.to_owned()));
    }
    let Some(data) = data else {
        // What `plugin build` installs is found where nothing else is named.
        let usual = Path::new(USUAL_DATA).join("plugins");
        return Ok(usual.is_dir().then_some(usual));
    };
    let plugins = data.join("plugins");
    make_folder(&plugins, "plugin directory")?;
    Ok(Some(plugins))
}

fn make_folder(path: &Path, role: &str) -> Outcome {
    std::fs::create_dir_all(path)
        .with_context(|| format!("the {role} `{}` cannot be created", path.display()))
        .usage()
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

fn samples(sandbox: &Sandbox) -> Vec<Sample> {
    let metrics = sandbox.metrics();
    let mut samples: Vec<Sample> = metrics
        .ended
        .iter()
        .map(|(outcome, count)| Sample {
            labels: vec![("outcome".to_owned(), (*outcome).to_owned())],
            ..sample(
                "sandbox_attempts_ended",
                "Task attempts that ended, by outcome",
                SampleKind::Counter,
                *count as f64,
            )
        })
        .collect();
    let counts = [
        (
            "sandbox_cpu_seconds",
            "CPU time of all guests",
            metrics.cpu.as_secs_f64(),
        ),
        (
            "sandbox_compiled",
            "Plugins compiled",
            metrics.compiled as f64,
        ),
        (
            "sandbox_cache_hits",
            "Plugins taken from the compile cache",
            metrics.cache_hits as f64,
        ),
    ];
    samples.extend(host_use(&metrics));
    let gauge = |(name, help, value)| sample(name, help, SampleKind::Gauge, value);
    let counter = |(name, help, value)| sample(name, help, SampleKind::Counter, value);
    samples.extend(gauges(&metrics).map(gauge));
    samples.extend(counts.map(counter));
    samples
}

/// What guests did with their host: calls by kind, bytes by way.
fn host_use(metrics: &Metrics) -> impl Iterator<Item = Sample> + use<> {
    let host = metrics.host;
    let counter = |name: &str, help: &str, (label, of): (&str, &str), value: u64| Sample {
        labels: vec![(label.to_owned(), of.to_owned())],
        ..sample(name, help, SampleKind::Counter, value as f64)
    };
    let calls = host.calls().map(|(kind, count)| {
        let help = "Calls that guests made of their host, by kind";
        counter("sandbox_host_calls", help, ("kind", kind), count)
    });
    let sent = [("http", host.http_bytes_sent), ("tcp", host.tcp_bytes_sent)];
    let sent = sent.map(|(over, bytes)| {
        let help = "Bytes that guests sent, by protocol";
        counter("sandbox_bytes_sent", help, ("over", over), bytes)
    });
    let received = [
        ("http", host.http_bytes_received),
        ("tcp", host.tcp_bytes_received),
    ];
    let received = received.map(|(over, bytes)| {
        let help = "Bytes that guests received, by protocol";
        counter("sandbox_bytes_received", help, ("over", over), bytes)
    });
    let fuel = sample(
        "sandbox_fuel",
        "Fuel of guests that are bounded by it",
        SampleKind::Counter,
        metrics.fuel as f64,
    );
    let counts = calls.into_iter().chain(sent).chain(received);
    counts.chain([fuel])
}

/// What there is now: name, meaning, number.
fn gauges(metrics: &Metrics) -> [(&'static str, &'static str, f64); 8] {
    [
        (
            "sandbox_loaded",
            "Plugins in memory now",
            metrics.loaded as f64,
        ),
        (
            "sandbox_running",
            "Guests running now",
            metrics.running as f64,
        ),
        (
            "sandbox_waiting",
            "Calls waiting for an instance now",
            metrics.waiting as f64,
        ),
        (
            "sandbox_instances",
            "Guests that may run at once",
            f64::from(metrics.instances),
        ),
        (
            "sandbox_compiling",
            "Plugins being compiled now",
            metrics.compiling as f64,
        ),
        (
            "sandbox_kept",
            "Instances waiting for another attempt now",
            metrics.kept as f64,
        ),
        (
            "sandbox_kept_bytes",
            "Memory of instances that wait for another attempt",
            metrics.kept_bytes as f64,
        ),
        (
            "sandbox_uncompiled",
            "Plugins waiting for the compiler now",
            metrics.uncompiled as f64,
        ),
    ]
}

fn sample(name: &str, help: &str, kind: SampleKind, value: f64) -> Sample {
    Sample {
        name: name.to_owned(),
        help: help.to_owned(),
        kind,
        value,
        labels: Vec::new(),
    }
}
