//! Load on a server: clients in a closed loop, each on its own connection. Hides warming up and whose CPU time is whose.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Deserialize;
use stepwell_sandbox::bench::process_cpu;
use tokio::task::JoinSet;

use crate::{http::Connection, procfs, server::Server};

/// What each client does over and over.
pub(crate) struct Job {
    /// Answered at once by StartSyncExecution, or polled for with DescribeExecution.
    pub(crate) express: bool,
    /// Body of the start.
    pub(crate) start: Vec<u8>,
    /// What an execution that ended right has as its output.
    pub(crate) output: String,
}

/// What a load did in its measured time.
#[derive(Clone)]
pub(crate) struct Measured {
    /// Executions that ended right, a second.
    pub(crate) rate: f64,
    /// CPU of the server per execution, ms.
    pub(crate) server_ms: f64,
    /// CPU of the clients per execution, ms.
    pub(crate) client_ms: f64,
    /// Cores that other processes used meanwhile.
    pub(crate) others: f64,
    pub(crate) median_ms: f64,
    pub(crate) p99_ms: f64,
    /// Requests of an execution, starts and polls.
    pub(crate) requests: f64,
    /// Executions that ended wrong or were refused.
    pub(crate) wrong: u64,
}

#[derive(Default)]
struct Shared {
    right: AtomicU64,
    wrong: AtomicU64,
    requests: AtomicU64,
    stop: AtomicBool,
    measuring: AtomicBool,
    micros: Mutex<Vec<u32>>,
}

/// How one client may pause between two polls.
const POLL_PAUSE: Duration = Duration::from_micros(500);

/// Runs `clients` for `time` after a warm-up of a quarter of it.
pub(crate) async fn run(
    server: &Server,
    job: Arc<Job>,
    clients: usize,
    time: Duration,
) -> Result<Measured> {
    let shared = Arc::new(Shared::default());
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let mut connection = Connection::open(server.address).await?;
        let (shared, job) = (shared.clone(), job.clone());
        running.spawn(async move { client(&mut connection, &job, &shared).await });
    }
    tokio::time::sleep(time / 4).await;
    let counts = || {
        (
            shared.right.load(Relaxed) as f64,
            shared.requests.load(Relaxed) as f64,
        )
    };
    let (right_before, requests_before) = counts();
    let began = Instant::now();
    let (server_before, client_before) = (procfs::cpu(server.pid)?, process_cpu());
    let machine_before = procfs::machine_busy()?;
    shared.measuring.store(true, Relaxed);
    tokio::time::sleep(time).await;
    shared.measuring.store(false, Relaxed);
    let (right_after, requests_after) = counts();
    let wall = began.elapsed().as_secs_f64();
    let server_cpu = (procfs::cpu(server.pid)? - server_before).as_secs_f64();
    let client_cpu = (process_cpu() - client_before).as_secs_f64();
    let machine = (procfs::machine_busy()? - machine_before).as_secs_f64();
    shared.stop.store(true, Relaxed);
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let right = right_after - right_before;
    let mut micros =
        std::mem::take(&mut *shared.micros.lock().unwrap_or_else(PoisonError::into_inner));
    micros.sort_unstable();
    let quantile = |part: f64| {
        let index = (micros.len() as f64 * part) as usize;
        micros
            .get(index)
            .map_or(f64::NAN, |us| f64::from(*us) / 1e3)
    };
    Ok(Measured {
        rate: right / wall,
        server_ms: server_cpu * 1e3 / right,
        client_ms: client_cpu * 1e3 / right,
        others: ((machine - server_cpu - client_cpu) / wall).max(0.0),
        median_ms: quantile(0.5),
        p99_ms: quantile(0.99),
        requests: (requests_after - requests_before) / right,
        wrong: shared.wrong.load(Relaxed),
    })
}

/// Runs so many executions on one connection; how many ended right.
pub(crate) async fn count(server: &Server, job: &Job, executions: u64) -> Result<u64> {
    let shared = Shared::default();
    let mut connection = Connection::open(server.address).await?;
    for _ in 0..executions {
        execute(&mut connection, job, &shared).await?;
    }
    Ok(shared.right.load(Relaxed))
}

async fn client(connection: &mut Connection, job: &Job, shared: &Shared) -> Result<()> {
    while !shared.stop.load(Relaxed) {
        let began = Instant::now();
        execute(connection, job, shared).await?;
        if shared.measuring.load(Relaxed) {
            let micros = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
            let mut all = shared.micros.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(micros);
        }
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    execution_arn: String,
}

#[derive(Deserialize)]
struct Described {
    status: String,
    output: Option<String>,
}

async fn execute(connection: &mut Connection, job: &Job, shared: &Shared) -> Result<()> {
    let described = if job.express {
        shared.requests.fetch_add(1, Relaxed);
        let answer = connection.call("StartSyncExecution", &job.start).await?;
        serde_json::from_slice::<Described>(answer)?
    } else {
        shared.requests.fetch_add(1, Relaxed);
        let answer = connection.call("StartExecution", &job.start).await?;
        let started: Started = serde_json::from_slice(answer)?;
        ended(connection, &started.execution_arn, shared).await?
    };
    let right = described.status == "SUCCEEDED" && described.output.as_ref() == Some(&job.output);
    if right {
        shared.right.fetch_add(1, Relaxed);
    } else {
        shared.wrong.fetch_add(1, Relaxed);
    }
    Ok(())
}

async fn ended(connection: &mut Connection, arn: &str, shared: &Shared) -> Result<Described> {
    let body = format!("{{\"executionArn\":\"{arn}\"}}");
    loop {
        shared.requests.fetch_add(1, Relaxed);
        let answer = connection
            .call("DescribeExecution", body.as_bytes())
            .await?;
        let described: Described = serde_json::from_slice(answer)?;
        if described.status != "RUNNING" {
            return Ok(described);
        }
        tokio::time::sleep(POLL_PAUSE).await;
    }
}
