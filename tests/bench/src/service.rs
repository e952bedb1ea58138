//! The service with much in it: what a start is answered in, many executions and workers that wait, a long history.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

use crate::{
    Bench,
    http::Connection,
    server::{Server, Setup},
    spread::Spread,
    table::Target,
};

pub(crate) const GROUP: &str = "service";
/// Clients that start executions at once.
const CLIENTS: usize = 64;
/// Iterations of a Map whose history is as long as AWS allows: four events each, and six of the rest.
const ITERATIONS: usize = 6_248;
const HISTORY_EVENTS: usize = 4 * ITERATIONS + 6;

/// All rows of the group that need one server each.
pub(crate) async fn measure(bench: &mut Bench) -> Result<()> {
    if bench.wants(GROUP, "StartExecution") {
        starts(bench).await?;
    }
    if bench.wants(GROUP, "waiting on tokens") {
        waiting(bench).await?;
    }
    if bench.wants(GROUP, "history") {
        history(bench).await?;
    }
    Ok(())
}

/// One Pass state.
pub(crate) fn pass() -> Value {
    json!({"StartAt": "Done", "States": {"Done": {"Type": "Pass", "End": true}}})
}

/// What starts one execution.
pub(crate) fn start_of(machine: &str) -> Arc<[u8]> {
    let start = json!({"stateMachineArn": machine, "input": "{\"order\":17}"});
    start.to_string().into_bytes().into()
}

/// Starts so many executions over each of the connections; milliseconds of each start.
pub(crate) async fn start_all(
    connections: Vec<Connection>,
    start: &Arc<[u8]>,
    each: usize,
) -> Result<Vec<f64>> {
    let mut starters = JoinSet::new();
    for mut connection in connections {
        let start = start.clone();
        starters.spawn(async move {
            let mut took = Vec::with_capacity(each);
            for _ in 0..each {
                let began = Instant::now();
                connection.call("StartExecution", &start).await?;
                took.push(began.elapsed().as_secs_f64() * 1e3);
            }
            anyhow::Ok(took)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = starters.join_next().await {
        all.extend(done?.context("an execution could not be started")?);
    }
    Ok(all)
}

/// So many connections.
pub(crate) async fn connections(server: &Server, count: usize) -> Result<Vec<Connection>> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push(Connection::open(server.address).await?);
    }
    Ok(all)
}

async fn starts(bench: &mut Bench) -> Result<()> {
    let data = bench.paths.fresh("data-starts")?;
    let server = Server::start(&bench.paths, &data, Setup::default())?;
    let mut connection = Connection::open(server.address).await?;
    let machine = connection.machine("start", "STANDARD", &pass()).await?;
    let each = if bench.size.quick { 50 } else { 400 };
    let clients = connections(&server, CLIENTS).await?;
    let spread = Spread::of(start_all(clients, &start_of(&machine), each).await?);
    let beside = format!("{} durable starts of one Pass state", CLIENTS * each);
    for (name, value) in [("median", spread.median), ("99 %", spread.p99)] {
        bench.row(
            GROUP,
            &format!("StartExecution, 64 clients, {name}"),
            (value, "ms"),
            Target::None,
            vec![beside.clone(), bench.disk()?],
        );
    }
    server.stop()
}

/// A worker's task.
struct Work {
    token: String,
    at: Instant,
}

/// Executions that wait for an activity's worker to tell the end, workers that wait for work, and what a task takes from its
/// start to its worker meanwhile.
async fn waiting(bench: &mut Bench) -> Result<()> {
    let (waiting, pollers) = if bench.size.quick {
        (1_024, 100)
    } else {
        (10_240, 1_000)
    };
    let data = bench.paths.fresh("data-waiting")?;
    let server = Server::start(&bench.paths, &data, Setup::default())?;
    let mut connection = Connection::open(server.address).await?;
    let (_, held) = activity(&mut connection, "held").await?;
    let (idle_activity, idle) = activity(&mut connection, "idle").await?;
    tokio::time::sleep(bench.size.time).await;
    let before = server.resident()?;
    let starters = connections(&server, CLIENTS).await?;
    start_all(starters, &start_of(&held), waiting / CLIENTS).await?;
    let tokens = take(&server, "held", waiting).await?;
    let (work, mut works) = mpsc::unbounded_channel();
    let workers = poll_all(&server, &idle_activity, pollers, &work).await?;
    tokio::time::sleep(bench.size.time).await;
    let grown = server.resident()? - before;
    bench.row(
        GROUP,
        "memory with 10,000 waiting on tokens and 1,000 polling",
        (grown / 1e6, "MB"),
        Target::None,
        vec![format!(
            "{waiting} executions, {pollers} long polls, more than with neither"
        )],
    );
    let samples = pollers / 2;
    let mut reached = Vec::with_capacity(samples);
    for _ in 0..samples {
        let began = Instant::now();
        connection.call("StartExecution", &start_of(&idle)).await?;
        let work = works.recv().await.context("a worker polls")?;
        reached.push(work.at.duration_since(began).as_secs_f64() * 1e3);
        answer(&mut connection, &work.token).await?;
    }
    let mut ended = Vec::with_capacity(samples);
    for token in tokens.iter().take(samples) {
        let began = Instant::now();
        answer(&mut connection, token).await?;
        ended.push(began.elapsed().as_secs_f64() * 1e3);
    }
    workers.iter().for_each(AbortHandle::abort);
    for (name, values) in [
        (
            "StartExecution to the worker that polls, among these",
            reached,
        ),
        ("SendTaskSuccess, among these", ended),
    ] {
        let spread = Spread::of(values);
        bench.row(
            GROUP,
            &format!("{name}, 99 %"),
            (spread.p99, "ms"),
            Target::None,
            vec![format!("median {:.2} ms, one client", spread.median)],
        );
    }
    server.stop()
}

/// An activity of that name and a state machine that waits for its worker; both ARNs.
async fn activity(connection: &mut Connection, name: &str) -> Result<(String, String)> {
    let made: Value = connection
        .ask("CreateActivity", &json!({"name": name}))
        .await?;
    let activity = made["activityArn"]
        .as_str()
        .context("an activity has an ARN")?;
    let definition = json!({
        "StartAt": "Work",
        "States": {"Work": {"Type": "Task", "Resource": activity, "End": true}}
    });
    let machine = connection.machine(name, "STANDARD", &definition).await?;
    Ok((activity.to_owned(), machine))
}

/// Takes so many tasks of an activity, which are then under way; their tokens.
async fn take(server: &Server, name: &str, count: usize) -> Result<Vec<String>> {
    let mut takers = JoinSet::new();
    for mut connection in connections(server, CLIENTS).await? {
        let arn = format!("arn:aws:states:us-east-1:000000000000:activity:{name}");
        takers.spawn(async move {
            let mut tokens = Vec::new();
            for _ in 0..count / CLIENTS {
                let poll = json!({"activityArn": arn});
                let task: Value = connection.ask("GetActivityTask", &poll).await?;
                let token = task["taskToken"].as_str().context("there is a task")?;
                tokens.push(token.to_owned());
            }
            anyhow::Ok(tokens)
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(taken) = takers.join_next().await {
        all.extend(taken??);
    }
    Ok(all)
}

/// Workers that poll until they are stopped; their tasks go to `work`.
async fn poll_all(
    server: &Server,
    activity: &str,
    count: usize,
    work: &mpsc::UnboundedSender<Work>,
) -> Result<Vec<AbortHandle>> {
    let poll: Arc<[u8]> = json!({"activityArn": activity})
        .to_string()
        .into_bytes()
        .into();
    let mut workers = Vec::with_capacity(count);
    for mut connection in connections(server, count).await? {
        let (poll, work) = (poll.clone(), work.clone());
        let worker = tokio::spawn(async move {
            while let Ok(answer) = connection.call("GetActivityTask", &poll).await {
                let at = Instant::now();
                let task: Value = serde_json::from_slice(answer).unwrap_or_default();
                if let Some(token) = task["taskToken"].as_str() {
                    let token = token.to_owned();
                    let _ = work.send(Work { token, at });
                }
            }
        });
        workers.push(worker.abort_handle());
    }
    Ok(workers)
}

async fn answer(connection: &mut Connection, token: &str) -> Result<()> {
    let body = json!({"taskToken": token, "output": "{}"}).to_string();
    connection.call("SendTaskSuccess", body.as_bytes()).await?;
    Ok(())
}

/// A history as long as AWS allows, read page by page both ways.
async fn history(bench: &mut Bench) -> Result<()> {
    let data = bench.paths.fresh("data-history")?;
    let server = Server::start(&bench.paths, &data, Setup::default())?;
    let mut connection = Connection::open(server.address).await?;
    let definition = json!({
        "StartAt": "Each",
        "States": {"Each": {"Type": "Map", "End": true, "ItemProcessor": pass()}}
    });
    let machine = connection.machine("long", "STANDARD", &definition).await?;
    let input = format!("[{}0]", "0,".repeat(ITERATIONS - 1));
    let start = json!({"stateMachineArn": machine, "input": input});
    let started: Value = connection.ask("StartExecution", &start).await?;
    let execution = started["executionArn"].clone();
    let describe = json!({"executionArn": execution});
    while connection
        .ask::<Value>("DescribeExecution", &describe)
        .await?["status"]
        == "RUNNING"
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (reverse, name) in [(false, "forward"), (true, "backward")] {
        let (mut whole, mut slowest) = (Vec::new(), 0.0_f64);
        for _ in 0..bench.size.repeats {
            let began = Instant::now();
            slowest = slowest.max(pages(&mut connection, &execution, reverse).await?);
            whole.push(began.elapsed().as_secs_f64() * 1e3);
        }
        bench.row(
            GROUP,
            &format!("history of 25,000 events, all pages {name}"),
            (crate::median(whole), "ms"),
            Target::None,
            vec![format!(
                "{HISTORY_EVENTS} events in pages of 1,000; the slowest page {slowest:.1} ms"
            )],
        );
    }
    server.stop()
}

/// Reads all pages; milliseconds of the slowest.
async fn pages(connection: &mut Connection, execution: &Value, reverse: bool) -> Result<f64> {
    let (mut slowest, mut events) = (0.0_f64, 0);
    let mut request = json!({
        "executionArn": execution, "maxResults": 1_000, "reverseOrder": reverse
    });
    loop {
        let began = Instant::now();
        let page: Value = connection.ask("GetExecutionHistory", &request).await?;
        slowest = slowest.max(began.elapsed().as_secs_f64() * 1e3);
        events += page["events"].as_array().map_or(0, Vec::len);
        match page.get("nextToken") {
            Some(token) => request["nextToken"] = token.clone(),
            None => break,
        }
    }
    ensure!(events == HISTORY_EVENTS, "the history has {events} events");
    Ok(slowest)
}
