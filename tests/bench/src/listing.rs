//! A list of very many closed executions, read to its end.

use std::{path::Path, time::Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    Bench,
    http::Connection,
    server::{Server, Setup},
    service::{self, GROUP},
    spread::Spread,
    table::Target,
};

const CLIENTS: usize = 64;
/// What the last page is to take at most.
const LAST_PAGE_MS_MAX: f64 = 50.0;

/// The rows that are asked for.
pub(crate) async fn measure(bench: &mut Bench) -> Result<()> {
    if !bench.wants(GROUP, "ListExecutions") {
        return Ok(());
    }
    let executions = if bench.size.quick { 20_000 } else { 1_000_000 };
    let data = bench.paths.fresh("data-list")?;
    let server = Server::start(&bench.paths, &data, Setup::default())?;
    let mut connection = Connection::open(server.address).await?;
    let machine = connection
        .machine("many", "STANDARD", &service::pass())
        .await?;
    let clients = service::connections(&server, CLIENTS).await?;
    let each = executions / CLIENTS;
    service::start_all(clients, &service::start_of(&machine), each).await?;
    // The starts may take longer than the server keeps a connection on which nothing comes.
    let mut connection = Connection::open(server.address).await?;
    let (mut pages, mut listed) = (Vec::new(), 0);
    let mut request = json!({
        "stateMachineArn": machine, "statusFilter": "SUCCEEDED", "maxResults": 1_000
    });
    loop {
        let began = Instant::now();
        let page: Value = connection.ask("ListExecutions", &request).await?;
        pages.push(began.elapsed().as_secs_f64() * 1e3);
        listed += page["executions"].as_array().map_or(0, Vec::len);
        match page.get("nextToken") {
            Some(token) => request["nextToken"] = token.clone(),
            None => break,
        }
    }
    ensure!(listed == each * CLIENTS, "{listed} executions are listed");
    let last = pages.last().copied().unwrap_or(f64::NAN);
    let size = size_of(&data)? / 1e6;
    let resident = server.resident()? / 1e6;
    let spread = Spread::of(pages);
    bench.row(
        GROUP,
        "ListExecutions of 1,000,000 closed, the last page",
        (last, "ms"),
        Target::AtMost(LAST_PAGE_MS_MAX),
        vec![
            format!("{listed} listed by 1,000 with a filter; the store has {size:.0} MB"),
            format!(
                "a page: median {:.1} ms, 99 % {:.1} ms",
                spread.median, spread.p99
            ),
            format!("resident {resident:.0} MB"),
        ],
    );
    server.stop()?;
    // Nobody wants it left on the disk.
    std::fs::remove_dir_all(data)?;
    Ok(())
}

/// Bytes of the files of a folder.
fn size_of(folder: &Path) -> Result<f64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let metadata = entry?.metadata()?;
        if metadata.is_file() {
            bytes += metadata.len();
        }
    }
    Ok(bytes as f64)
}
