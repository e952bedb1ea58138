//! `serve`: the runtime behind the Step Functions API until it is told to stop.

use std::io::ErrorKind;
use std::net::SocketAddr;

use anyhow::anyhow;
use tokio::net::TcpListener;

use crate::args::{RegionArgs, ServeArgs};
use crate::client::USUAL_REGION;
use crate::exit::{Blame, Outcome, Stop};
use crate::given::count;
use crate::host::{self, Host, Opening};

pub(super) async fn serve(args: ServeArgs) -> Outcome {
    if !args.listen.ip().is_loopback() {
        let address = args.listen;
        return Err(Stop::Usage(anyhow!(
            "refused to listen on {address}: there is no authentication, so whoever reaches the port may run anything\nhint: listen on 127.0.0.1:{} and put an authenticating proxy in front",
            address.port()
        )));
    }
    let listener = bind(args.listen).await?;
    let address = listener.local_addr().runtime()?;
    let opening = Opening {
        data: Some(&args.data),
        store: args.store.as_ref(),
        plugins: args.plugins.as_deref(),
        limits: args.limits,
        storage: Some(&args.storage),
        connections: args.connections.as_deref(),
        compiler: host::compiler(args.compile, true),
        take_up: true,
    };
    let host = Host::open(opening).await?;
    announce(&host, &args, address)?;
    let sandbox = host.sandbox.clone();
    // Plugins are compiled ahead, so that the first tasks need not wait for it.
    tokio::spawn(async move { sandbox.warm().await });
    let mut config = host.server_config(&args.host);
    config.connections_max = config.connections_max.min(connections_max());
    let (engine, metrics) = (host.engine.clone(), host.metrics());
    let serving = async {
        let told = async {
            told_to_stop().await;
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
        () = told_again() => {
            say!("left at once: the next start takes up what ran, as after a crash");
            Ok(())
        }
    }
}

/// Completes at the Ctrl-C that comes after the server was told to stop.
async fn told_again() {
    told_to_stop().await;
    // Without a handler there is nothing to wait for.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
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

/// What clients need goes to stdout, so that a shell can take it; the rest is talk.
fn announce(host: &Host, args: &ServeArgs, address: SocketAddr) -> Outcome {
    let found = host.sandbox.list();
    let plugins = host
        .plugins
        .as_ref()
        .map_or_else(String::new, |path| path.display().to_string());
    say!(
        "Stepwell {} serves the Step Functions API on http://{address}",
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
    say!("  metrics  http://{address}/metrics");
    say!(
        "AWS clients find it with these variables, and any credentials; the second is needed because clients put"
    );
    say!(
        "`sync-` before the host of StartSyncExecution and TestState, and `sync-127.0.0.1` is no host:"
    );
    let region = RegionArgs::default().asked();
    let region = region.as_deref().unwrap_or(USUAL_REGION);
    super::print(&format!(
        "export AWS_ENDPOINT_URL_SFN=http://{address}\nexport AWS_DISABLE_HOST_PREFIX_INJECTION=true\n\
         export AWS_DEFAULT_REGION={region} AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any\n"
    ))
}

/// Completes at Ctrl-C or SIGTERM.
async fn told_to_stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // Without a handler there is nothing to wait for: serve until the process is killed.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
