//! `serve`: the runtime behind the Step Functions API until it is told to stop.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use stepwell_engine::{Quotas, Rates};
use stepwell_sandbox::Sandbox;
use stepwell_server::{Authentication, Prices};
use tokio::net::TcpListener;

use crate::args::{RatesArg, RegionArgs, ServeArgs, UsualQuotas};
use crate::client::USUAL_REGION;
use crate::console;
use crate::exit::{Blame, Outcome, Stop};
use crate::given::{self, count};
use crate::host::{self, Host, Opening};
use crate::key_file;
use crate::stopping::Stopping;
use crate::telemetry::Listeners;
use crate::terminal::named;
use crate::tls;
use crate::watched;

/// How often it is told how far the compiling of the folder's plugins is.
const WARM_TOLD_EVERY: Duration = Duration::from_secs(2);

const DAY: Duration = Duration::from_secs(24 * 3_600);

pub(super) async fn serve(args: ServeArgs) -> Outcome {
    check_reach(&args)?;
    let prices = prices(args.prices.as_deref())?;
    let secured = tls::read(args.tls_cert.as_deref(), args.tls_key.as_deref())?;
    let listener = bind(args.listen).await?;
    let address = listener.local_addr().runtime()?;
    let opening = Opening {
        data: Some(&args.data),
        store: args.store.as_ref(),
        plugins: args.plugins.as_deref(),
        limits: args.limits,
        storage: Some(&args.storage),
        connections: args.connections.as_deref(),
        endpoints: &args.services.endpoint,
        compiler: host::compiler(args.compile, true)?,
        policy: Some(&args.policy),
        take_up: true,
        usual: usual_quotas(&args.quotas),
        listeners: Listeners::start(&args.telemetry)?,
        vault: key_file::named_or_beside(args.key_file.as_deref(), &args.data)?,
        no_vault: Some(key_file::needed(args.key_file.as_deref(), &args.data)),
    };
    let host = Host::open(opening).await?;
    let authentication = authentication(&host, &args).await?;
    let announced = Announced {
        address,
        secure: secured.is_some(),
        authenticated: authentication.is_some(),
    };
    // Whoever is told that it serves may stop it.
    let (mut stop, mut stop_again) = (Stopping::listen(), Stopping::listen());
    announce(&host, &args, &announced)?;
    // Plugins are compiled ahead, so that the first tasks need not wait for it.
    tokio::spawn(warm(host.sandbox.clone()));
    let mut config = host.server_config(&args.host);
    config.authentication = authentication;
    config.console = console::console();
    config.prices = prices;
    if let Some(files) = host.files.clone() {
        tokio::spawn(watched::keep_current(files, config.warnings.clone()));
    }
    host.engine.usual_rates(usual_rates(&args));
    if let Some(days) = args.audit_days {
        host.engine.keep_audit_for(DAY * days);
    }
    if let Some((tls, files)) = secured {
        config.tls = Some(tls.clone());
        tokio::spawn(tls::keep_current(tls, files));
    }
    config.connections_max = config.connections_max.min(connections_max());
    let (engine, metrics) = (host.engine.clone(), host.metrics());
    let serving = async {
        let told = async move {
            stop.told().await;
            say!(
                "shutting down: what runs is kept and goes on at the next start; Ctrl-C again leaves at once"
            );
        };
        let served = stepwell_server::serve(config, engine, metrics, listener, told).await;
        host.close().await;
        served.runtime()
    };
    tokio::select! {
        served = serving => served,
        () = told_again(&mut stop_again) => {
            say!("left at once: the next start takes up what ran, as after a crash");
            Ok(())
        }
    }
}

/// Compiles the plugins of the folder, and tells how far that is where it takes a while.
async fn warm(sandbox: Sandbox) {
    let began = Instant::now();
    let before = sandbox.metrics().compiled;
    let mut warmed = std::pin::pin!(sandbox.warm());
    let mut told = false;
    loop {
        tokio::select! {
            biased;
            () = &mut warmed => break,
            () = tokio::time::sleep(WARM_TOLD_EVERY) => {}
        }
        let metrics = sandbox.metrics();
        let (compiling, waiting) = (metrics.compiling, metrics.uncompiled);
        let compiled = metrics.compiled.saturating_sub(before);
        if compiling + waiting > 0 {
            tracing::info!(
                compiled,
                compiling,
                waiting,
                "plugins are compiled; the first tasks of those that wait take longer"
            );
            told = true;
        }
    }
    if told {
        let compiled = sandbox.metrics().compiled.saturating_sub(before);
        let seconds = began.elapsed().as_secs();
        tracing::info!(compiled, seconds, "all plugins are compiled");
    }
}

/// Refuses an address that others reach, unless they have to prove who they are and nobody on the way can listen.
fn check_reach(args: &ServeArgs) -> Outcome {
    let address = args.listen;
    let refused = |why: &str, hint: &str| {
        Err(Stop::Usage(anyhow!(
            "refused to listen on {address}: {why}\nhint: {hint}"
        )))
    };
    let private = args.behind_proxy || (args.tls_cert.is_some() && args.tls_key.is_some());
    match (address.ip().is_loopback(), args.auth, private) {
        (true, _, _) | (false, true, true) => Ok(()),
        (false, false, _) => refused(
            "without authentication whoever reaches the port may run anything",
            &format!(
                "listen on 127.0.0.1:{}, or make access keys (`stepwell tenant --help`) and serve with --auth, and with --tls-cert and --tls-key or --behind-proxy",
                address.port()
            ),
        ),
        (false, true, false) => refused(
            "without TLS whoever is on the way reads everything",
            "give a certificate with --tls-cert and --tls-key, or put a proxy in front that speaks TLS, and say so with --behind-proxy",
        ),
    }
}

/// How requests are authenticated: not at all as long as there is no access key. A damaged one is one.
async fn authentication(host: &Host, args: &ServeArgs) -> Outcome<Option<Authentication>> {
    let keys = host.engine.listed_access_keys(None, None).await.runtime()?;
    if keys.is_empty() {
        check_unnamed(host)?;
        if args.auth {
            return Err(Stop::Usage(anyhow!(
                "there is no access key to authenticate requests with\nhint: `stepwell tenant add` and `stepwell tenant keys add` make one"
            )));
        }
        check_tenants(host, args).await?;
        return Ok(None);
    }
    let path = key_file::place(args.key_file.as_deref(), &args.data);
    let vault = key_file::read(&path)?;
    let keys = host.engine.listed_access_keys(Some(&vault), None).await;
    let keys = keys.runtime()?;
    // Better now than at the first request.
    if let Some(first) = keys.first()
        && let Some(closed) = &first.closed
        && keys.iter().all(|key| key.closed.is_some())
    {
        return Err(Stop::Usage(anyhow!(
            "no access key opens, so nobody could ask for anything; {}: {}\nhint: {}; the key file here is `{}`, and `stepwell tenant keys add` makes other access keys",
            named(&first.id),
            closed.why,
            closed.mend,
            path.display()
        )));
    }
    for key in keys {
        if let Some(closed) = key.closed {
            tracing::error!(
                access_key = &*key.id,
                why = closed.why,
                "nobody is let in by an access key: {}",
                closed.mend
            );
        }
    }
    Ok(Some(Authentication {
        vault,
        behind_proxy: args.behind_proxy,
    }))
}

/// Refuses a store without access keys where damaged records may have been some.
fn check_unnamed(host: &Host) -> Outcome {
    match host.engine.unnamed_records() {
        0 => Ok(()),
        unnamed => Err(Stop::Runtime(anyhow!(
            "the store has no access key, and {} that nobody can name and that may be access keys: it is not served without authentication\nhint: restore the store from a backup",
            count(unnamed, "damaged record")
        ))),
    }
}

/// Refuses to serve whoever comes through a proxy where the store has what is not everybody's: tenants, or something sealed. On this
/// machine alone that is told, and no more: tenants may be added, and secrets kept, before there is an access key.
async fn check_tenants(host: &Host, args: &ServeArgs) -> Outcome {
    let tenants = host.engine.listed_tenants().await.runtime()?;
    let has_tenants = !tenants.is_empty();
    if args.behind_proxy && (has_tenants || host.engine.has_sealed().await.runtime()?) {
        return Err(Stop::Usage(anyhow!(
            "the store has tenants, secrets or connections and no access key, so whoever comes through the proxy could use them\nhint: `stepwell tenant keys add` makes an access key; where there was one, restore the store from a backup"
        )));
    }
    if has_tenants {
        tracing::warn!(
            "the store has tenants and no access key, so whoever reaches the port is let in: `stepwell tenant keys add` makes one; where there was one, restore the store from a backup"
        );
    }
    Ok(())
}

/// The rates of tenants whose quotas have none.
fn usual_rates(args: &ServeArgs) -> Rates {
    match (args.rates, args.rate.as_slice()) {
        (RatesArg::Aws, _) => Rates::Aws,
        (RatesArg::Off, []) => Rates::Off,
        (RatesArg::Off, rates) => Rates::Set(rates.iter().cloned().collect()),
    }
}

/// The numbers of tenants whose quotas have none.
fn usual_quotas(args: &UsualQuotas) -> Quotas {
    let UsualQuotas {
        tenant_open_executions,
        tenant_running_tasks,
        tenant_stored_bytes,
        tenant_state_machines,
        tenant_activities,
        machine_concurrency,
        machine_concurrency_mode,
    } = *args;
    Quotas {
        open_executions: tenant_open_executions,
        running_tasks: tenant_running_tasks,
        stored_bytes: tenant_stored_bytes,
        state_machines: tenant_state_machines,
        activities: tenant_activities,
        machine_concurrency,
        machine_concurrency_mode,
        ..Quotas::default()
    }
}

fn prices(path: Option<&Path>) -> Outcome<Option<Prices>> {
    let Some(path) = path else { return Ok(None) };
    let text = given::read(path)?;
    let no_list =
        |why: String| Stop::Usage(anyhow!("`{}` is no list of prices: {why}", path.display()));
    let prices: Prices = toml::from_str(&text).map_err(|error| no_list(error.to_string()))?;
    prices.check().map_err(no_list)?;
    Ok(Some(prices))
}

/// Completes at the Ctrl-C that comes after the server was told to stop.
async fn told_again(stop: &mut Stopping) {
    stop.told().await;
    stop.interrupted().await;
}

/// Raises this process's limit of open files to what it may have, and leaves a part of it to all but connections.
fn connections_max() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    files.map_or(usize::MAX, |files| {
        usize::try_from(files / 4 * 3).unwrap_or(usize::MAX)
    })
}

async fn bind(address: SocketAddr) -> Outcome<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        Stop::Runtime(match error.kind() {
            ErrorKind::AddrInUse => anyhow!("{address} is in use: another server listens there\nhint: --listen {}:PORT chooses another port, :0 a free one", address.ip()),
            ErrorKind::PermissionDenied => anyhow!("this user may not listen on {address}\nhint: choose a port from 1024 on"),
            _ => anyhow!("cannot listen on {address}: {error}"),
        })
    })
}

/// Where and how clients reach the server.
struct Announced {
    address: SocketAddr,
    secure: bool,
    authenticated: bool,
}

/// Where programs on this machine reach what listens there: all addresses are none that one can connect to everywhere.
fn reached_here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V4(_) | IpAddr::V6(_) => address.ip(),
    };
    SocketAddr::new(ip, address.port())
}

/// What clients need goes to stdout, so that a shell can take it; the rest is talk.
fn announce(host: &Host, args: &ServeArgs, announced: &Announced) -> Outcome {
    let Announced {
        address,
        secure,
        authenticated,
    } = *announced;
    let scheme = if secure { "https" } else { "http" };
    let near = reached_here(address);
    let found = host.sandbox.list();
    let plugins = host
        .plugins
        .as_ref()
        .map_or_else(String::new, |path| path.display().to_string());
    say!(
        "Stepwell {} serves the Step Functions API on {scheme}://{address}",
        env!("CARGO_PKG_VERSION")
    );
    match &args.store {
        Some(store) => say!("  store    {store}"),
        None => say!("  data     {}", args.data.display()),
    }
    say!("  plugins  {plugins} ({})", count(found.len(), "plugin"));
    for plugin in found.iter().filter(|plugin| plugin.problem.is_some()) {
        say!(
            "  warning: plugin `{}`: {}",
            plugin.name,
            plugin.problem.as_deref().unwrap_or_default()
        );
    }
    if console::is_there() {
        say!("  console  {scheme}://{near}/console/");
    }
    say!("  metrics  {scheme}://{near}/metrics");
    if secure {
        say!(
            "  TLS      AWS_CA_BUNDLE names the authority's certificate to AWS clients that do not know it"
        );
    }
    let credentials = if authenticated {
        "an access key"
    } else {
        "any credentials"
    };
    say!(
        "AWS clients find it with these variables, and {credentials}; AWS_DISABLE_HOST_PREFIX_INJECTION because clients put"
    );
    say!(
        "`sync-` before the host of StartSyncExecution and TestState, and `sync-127.0.0.1` is no host:"
    );
    let region = RegionArgs::default().asked();
    let region = region.as_deref().unwrap_or(USUAL_REGION);
    let origin = format!("{scheme}://{near}");
    super::print(&variables(&origin, region, authenticated))
}

/// Services that the port speaks for, as AWS's clients name them in the variables of their addresses. The first one is the
/// command line's, too.
const SERVED: [&str; 7] = [
    "SFN",
    "STS",
    "LAMBDA",
    "EVENTBRIDGE",
    "SCHEDULER",
    "IAM",
    "CLOUDWATCH_LOGS",
];

/// What leads clients here, for a shell to take.
fn variables(origin: &str, region: &str, authenticated: bool) -> String {
    // Of the others this program has nothing when it was built without them.
    let served = match cfg!(feature = "services") {
        true => &SERVED[..],
        false => &SERVED[..2],
    };
    let mut lines: Vec<String> = served
        .iter()
        .map(|service| format!("export AWS_ENDPOINT_URL_{service}={origin}\n"))
        .collect();
    // A key that is set already is the one to ask with.
    let key = match authenticated {
        true => "",
        false => " AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any",
    };
    lines.push("export AWS_DISABLE_HOST_PREFIX_INJECTION=true\n".to_owned());
    lines.push(format!("export AWS_DEFAULT_REGION={region}{key}\n"));
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::variables;

    #[test]
    fn each_service_that_is_served_has_its_address_on_a_line_of_its_own() {
        let text = variables("http://127.0.0.1:8083", "us-east-1", false);
        assert!(text.starts_with("export AWS_ENDPOINT_URL_SFN=http://127.0.0.1:8083\n"));
        let of = |service: &str| {
            text.contains(&format!(
                "\nexport AWS_ENDPOINT_URL_{service}=http://127.0.0.1:8083\n"
            ))
        };
        assert!(of("STS"), "{text}");
        for service in [
            "LAMBDA",
            "EVENTBRIDGE",
            "SCHEDULER",
            "IAM",
            "CLOUDWATCH_LOGS",
        ] {
            assert_eq!(of(service), cfg!(feature = "services"), "{service}: {text}");
        }
        assert!(text.ends_with(
            "export AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any\n"
        ));
        let keyed = variables("https://[::1]:8443", "eu-central-1", true);
        assert!(
            keyed.ends_with("\nexport AWS_DEFAULT_REGION=eu-central-1\n"),
            "{keyed}"
        );
    }
}
