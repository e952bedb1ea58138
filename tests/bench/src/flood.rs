//! A tenant that asks for as much as it can, and tenants altogether. Hides the thread of the flooding clients.

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use stepwell_egress::sigv4::Signer;
use tokio::task::JoinSet;

use crate::{http::Connection, server::Server};

/// Connections over which it asks, without a pause.
pub(crate) const FLOODING: usize = 64;
/// From the start of a flood to the first sample beside it.
const SETTLED: Duration = Duration::from_millis(200);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    access_key_id: String,
    secret_access_key: String,
}

/// A new tenant and what signs its requests.
pub(crate) fn tenant(
    stepwell: &Path,
    data: &Path,
    account: &str,
    rate: Option<&str>,
) -> Result<Signer> {
    let run = |arguments: &[&str]| -> Result<Vec<u8>> {
        let mut command = Command::new(stepwell);
        let command = command
            .arg("tenant")
            .args(arguments)
            .arg("--data")
            .arg(data);
        let output = command.output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`tenant {arguments:?}`: {errors}");
        Ok(output.stdout)
    };
    run(&["add", account])?;
    if let Some(rate) = rate {
        run(&["set", account, "--rate", rate])?;
    }
    let key = run(&["keys", "add", account, "--role", "admin", "--json"])?;
    let key: Key = serde_json::from_slice(&key).context("an access key")?;
    Ok(Signer {
        key_id: key.access_key_id,
        secret: key.secret_access_key,
        session_token: None,
        region: "us-east-1".to_owned(),
        service: "states".to_owned(),
    })
}

/// A tenant that calls an operation over all its connections as fast as it is answered. Its clients have a thread of their own:
/// the quiet one's must not wait for them.
pub(crate) struct Flood {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    began: Instant,
    thread: JoinHandle<Result<()>>,
}

impl Flood {
    pub(crate) async fn begin(
        server: &Server,
        signer: &Signer,
        operation: &'static str,
        body: Arc<[u8]>,
    ) -> Result<Flood> {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let clients = Clients {
            address: server.address,
            signer: signer.clone(),
            operation,
            body,
            stop: stop.clone(),
            answered: Arc::clone(&answered),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::spawn(move || runtime.block_on(clients.ask()));
        // Until then its connections are made.
        tokio::time::sleep(SETTLED).await;
        Ok(Flood {
            stop,
            answered,
            began: Instant::now(),
            thread,
        })
    }

    /// Ends; answers a second, refusals among them.
    pub(crate) fn end(self) -> Result<f64> {
        let rate = self.answered.load(Relaxed) as f64 / self.began.elapsed().as_secs_f64();
        self.stop.store(true, Relaxed);
        let ended = self.thread.join();
        ended.map_err(|_| anyhow!("the flooding clients panicked"))??;
        Ok(rate)
    }
}

/// The clients of a flood.
struct Clients {
    address: SocketAddr,
    signer: Signer,
    operation: &'static str,
    body: Arc<[u8]>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
}

impl Clients {
    async fn ask(self) -> Result<()> {
        let mut clients = JoinSet::new();
        for _ in 0..FLOODING {
            let mut connection = Connection::signed(self.address, self.signer.clone()).await?;
            let (stop, answered) = (self.stop.clone(), self.answered.clone());
            let (operation, body) = (self.operation, self.body.clone());
            clients.spawn(async move {
                while !stop.load(Relaxed) {
                    // Refused ones count as asked, too.
                    let _ = connection.call(operation, &body).await;
                    answered.fetch_add(1, Relaxed);
                }
            });
        }
        while let Some(ended) = clients.join_next().await {
            ended?;
        }
        Ok(())
    }
}
