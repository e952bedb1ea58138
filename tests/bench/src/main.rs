//! `bench`: what the runtime costs, on this machine, beside what the disk and a bare Wasm loop give. Started by
//! `cargo xtask bench`, which builds what it measures. Prints one table; writes a picture a group.

mod disk;
mod distributed;
mod executions;
mod fair;
mod flood;
mod http;
mod languages;
mod listing;
mod load;
mod map;
mod plot;
mod plugins;
mod process;
mod procfs;
mod server;
mod service;
mod spread;
mod table;
mod tasks;
mod tenants;

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Parser;

use server::Paths;
use table::{Row, Target};

/// The binary's own, so that the sandbox and the bare loop allocate here as they do there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Appends by which the disk is measured.
const APPENDS: usize = 200;

#[derive(Parser)]
#[command(
    name = "cargo xtask bench",
    about = "Measure what executions, tasks and the process cost"
)]
struct Arguments {
    /// Only rows whose name begins so, or groups: languages, executions, service, tasks, plugins, map, distributed,
    /// process
    rows: Vec<String>,
    /// Short loads and one repetition: for a look, not for a page
    #[arg(long)]
    quick: bool,
    /// Seconds of each load
    #[arg(long)]
    seconds: Option<f64>,
    /// Also write the rows as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Folder for the pictures
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// The release build of stepwell
    #[arg(long, default_value = "target/release/stepwell")]
    stepwell: PathBuf,
    /// Folder with the test guests
    #[arg(long, default_value = "target/guests")]
    guests: PathBuf,
    /// Folder for data directories: the disk to be measured
    #[arg(long, default_value = "target/bench")]
    scratch: PathBuf,
}

/// How much is measured.
pub(crate) struct Size {
    /// Time of one load.
    pub(crate) time: Duration,
    /// Repetitions whose median counts.
    pub(crate) repeats: usize,
    /// Whether small counts do.
    pub(crate) quick: bool,
}

/// A run: where everything lies, how much is asked for, and what was measured so far.
pub(crate) struct Bench {
    pub(crate) paths: Paths,
    pub(crate) size: Size,
    wanted: Vec<String>,
    rows: Vec<Row>,
}

impl Bench {
    /// Whether any row of that group with one of these beginnings is asked for.
    pub(crate) fn wants(&self, group: &str, beginning: &str) -> bool {
        self.wanted.is_empty()
            || self.wanted.iter().any(|wanted| {
                wanted == group || wanted.starts_with(beginning) || beginning.starts_with(wanted)
            })
    }

    pub(crate) fn row(
        &mut self,
        group: &'static str,
        name: &str,
        (value, unit): (f64, &'static str),
        target: Target,
        beside: Vec<String>,
    ) {
        let row = Row {
            group,
            name: name.to_owned(),
            value,
            unit,
            target,
            beside,
        };
        let _ = writeln!(
            std::io::stderr(),
            "  {name}: {} {unit}",
            table::number(row.value)
        );
        self.rows.push(row);
    }

    /// What the disk gives now, for the column beside.
    pub(crate) fn disk(&self) -> Result<String> {
        let median = disk::append_and_sync(&self.paths.scratch, APPENDS)?;
        Ok(format!("disk {} µs a sync", median.as_micros()))
    }
}

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if !arguments.stepwell.exists() {
        bail!(
            "`{}` is missing; `cargo xtask bench` builds it",
            arguments.stepwell.display()
        );
    }
    std::fs::create_dir_all(&arguments.scratch)?;
    let seconds = arguments
        .seconds
        .unwrap_or(if arguments.quick { 2.0 } else { 6.0 });
    let mut bench = Bench {
        paths: Paths {
            stepwell: arguments.stepwell.canonicalize()?,
            guests: arguments.guests,
            scratch: arguments.scratch.canonicalize()?,
        },
        size: Size {
            time: Duration::from_secs_f64(seconds),
            repeats: if arguments.quick { 1 } else { 5 },
            quick: arguments.quick,
        },
        wanted: arguments.rows,
        rows: Vec::new(),
    };
    let load_before = procfs::load_average();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // What needs no server first: nothing else runs in this process then.
    languages::measure(&mut bench)?;
    tasks::alone(&mut bench)?;
    plugins::alone(&mut bench)?;
    runtime.block_on(async {
        executions::measure(&mut bench).await?;
        service::measure(&mut bench).await?;
        listing::measure(&mut bench).await?;
        tenants::measure(&mut bench).await?;
        tasks::in_workflows(&mut bench).await?;
        plugins::served(&mut bench).await?;
        fair::measure(&mut bench).await?;
        map::measure(&mut bench).await?;
        distributed::measure(&mut bench).await?;
        process::measure(&mut bench).await
    })?;
    let head = format!(
        "{}; load average {load_before:.1} before and {:.1} after",
        procfs::machine(),
        procfs::load_average()
    );
    writeln!(std::io::stdout(), "{head}\n")?;
    table::print(&bench.rows)?;
    if let Some(file) = &arguments.json {
        std::fs::write(file, table::json(&bench.rows, &head))
            .with_context(|| file.display().to_string())?;
    }
    if let Some(folder) = &arguments.svg {
        draw(&bench.rows, &head, folder)?;
    }
    Ok(())
}

fn draw(rows: &[Row], head: &str, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for (group, title) in [
        ("executions", "Executions over HTTP"),
        ("service", "The service with much in it"),
        ("tasks", "Calls of a component"),
        ("plugins", "Plugins and what they hold"),
        ("map", "An inline Map with a Wasm task an item"),
        ("distributed", "A distributed Map over a CSV"),
        ("process", "The process"),
    ] {
        let of_group: Vec<&Row> = rows.iter().filter(|row| row.group == group).collect();
        if of_group.is_empty() {
            continue;
        }
        let file = folder.join(format!("bench-{group}.svg"));
        std::fs::write(&file, plot::svg(title, head, &of_group))
            .with_context(|| file.display().to_string())?;
    }
    Ok(())
}
