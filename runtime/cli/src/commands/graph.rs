//! `graph`: a state machine as a picture, or what an execution did with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;
use serde_json::json;
use stepwell_asl::{ExecutionType, Options, Program, Severity};

use crate::args::{GraphArgs, GraphFormat, LimitsArg};
use crate::client::{Client, Purpose};
use crate::exit::{Blame, Outcome, Stop};
use crate::given;
use crate::graph::{Chart, Mark, MarkStatus, Way, mermaid, svg};
use crate::timeline::{HistoryEvent, Status, Timeline, Visit, duration_text};

pub(super) async fn graph(args: GraphArgs) -> Outcome {
    let format = format(&args)?;
    let (chart, title) = match (&args.machine, &args.execution) {
        (Some(path), _) => (Chart::of(&drawable(path)?), super::run::machine_name(path)),
        (None, Some(execution)) => of_execution(&args, execution).await?,
        (None, None) => {
            return Err(Stop::Usage(anyhow::anyhow!(
                "name a definition, or an execution with --execution ARN"
            )));
        }
    };
    let picture = match format {
        GraphFormat::Svg => svg(&chart, &title),
        GraphFormat::Mermaid => mermaid(&chart),
    };
    write(args.output.as_deref(), &picture)
}

/// What is asked for, or what the file's name says; both have to agree.
fn format(args: &GraphArgs) -> Outcome<GraphFormat> {
    let Some(output) = &args.output else {
        return Ok(args.format.unwrap_or_default());
    };
    let extension = output
        .extension()
        .map(|extension| extension.to_string_lossy().to_lowercase());
    let named = match extension.as_deref() {
        Some("svg") => Some(GraphFormat::Svg),
        Some("mmd" | "mermaid") => Some(GraphFormat::Mermaid),
        // A page or a text takes either, as it is asked for.
        None | Some("md" | "txt") => None,
        Some(_) => {
            return Err(Stop::Usage(anyhow::anyhow!(
                "`{}` would be no such picture: SVG and Mermaid are what is written\nhint: name a file .svg or .mmd; other programs make a PNG of an SVG",
                output.display()
            )));
        }
    };
    match (args.format, named) {
        (Some(asked), Some(named)) if asked != named => Err(Stop::Usage(anyhow::anyhow!(
            "--format and the name of `{}` do not agree\nhint: a picture is .svg, Mermaid is .mmd",
            output.display()
        ))),
        (asked, named) => Ok(asked.or(named).unwrap_or_default()),
    }
}

/// A definition that may still hold `${Name}`; errors refuse it.
fn drawable(path: &Path) -> Outcome<Program> {
    let text = given::read(path)?;
    let standard = given::options(ExecutionType::Standard, LimitsArg::Raised);
    let loaded = stepwell_asl::load(
        &text,
        &Options {
            allow_substitutions: true,
            ..standard
        },
    );
    let file = given::label(path);
    for diagnostic in loaded
        .diagnostics
        .iter()
        .filter(|d| d.severity() == Severity::Error)
    {
        say!("{}\n", diagnostic.show(&file));
    }
    loaded.program.ok_or(Stop::Refused)
}

async fn of_execution(args: &GraphArgs, execution: &str) -> Outcome<(Chart, String)> {
    let client = Client::open(&args.place, Purpose::Look).await?;
    let arn = &client.execution_arn(execution).await?;
    let machine = client
        .call(
            "DescribeStateMachineForExecution",
            json!({"executionArn": arn}),
        )
        .await?;
    let events = client.history(arn).await?;
    client.close().await;
    let events: Vec<HistoryEvent> = events
        .iter()
        .map(HistoryEvent::read)
        .collect::<Result<_, _>>()
        .runtime()?;
    let program = stepwell_asl::load_stored(super::text(&machine, "definition")).runtime()?;
    let timeline = Timeline::of(&events);
    let marks = marks(&timeline, super::now_ms());
    let title = format!(
        "{} · {}",
        super::text(&machine, "name"),
        arn.rsplit(':').next().unwrap_or_default()
    );
    Ok((Chart::of(&program).with_marks(&marks), title))
}

/// How each state stands, and in a few words how often and how long it ran.
pub(crate) fn marks(timeline: &Timeline, now_ms: u64) -> BTreeMap<String, Mark> {
    let states = timeline.by_state();
    let mut marks: BTreeMap<String, Mark> = states
        .into_iter()
        .map(|(name, visits)| (name.to_owned(), mark(&visits, now_ms)))
        .collect();
    for (from, way) in ways(&timeline.visits) {
        if let Some(mark) = marks.get_mut(from) {
            mark.left.insert(way);
        }
    }
    marks
}

/// From which state each visit went where: to the next one of its flow, or to the flow's end.
fn ways(visits: &[Visit]) -> Vec<(&str, Way)> {
    let mut last: BTreeMap<usize, &Visit> = BTreeMap::new();
    let mut ways = Vec::new();
    for visit in visits {
        if let Some(before) = last.insert(visit.frame, visit) {
            let way = Way {
                to: Some(visit.state.clone()),
                caught: before.status == Status::Caught,
            };
            ways.push((before.state.as_str(), way));
        }
    }
    let ended = last.values().filter(|v| v.status == Status::Succeeded);
    ways.extend(ended.map(|visit| {
        let way = Way {
            to: None,
            caught: false,
        };
        (visit.state.as_str(), way)
    }));
    ways
}

fn mark(visits: &[&Visit], now_ms: u64) -> Mark {
    let any = |status: Status| visits.iter().any(|visit| visit.status == status);
    let status = if any(Status::Running) {
        MarkStatus::Running
    } else if any(Status::Failed) || any(Status::TimedOut) {
        MarkStatus::Failed
    } else if any(Status::Caught) {
        MarkStatus::Caught
    } else if any(Status::Succeeded) {
        MarkStatus::Succeeded
    } else {
        MarkStatus::Stopped
    };
    let total: u64 = visits.iter().map(|visit| visit.duration_ms(now_ms)).sum();
    let attempts: usize = visits.iter().map(|visit| visit.attempts.len().max(1)).sum();
    let mut note = duration_text(total);
    if visits.len() > 1 {
        note = format!("×{} · {note}", visits.len());
    }
    if attempts > visits.len() {
        note = format!("{attempts} attempts · {note}");
    }
    Mark {
        status,
        note,
        left: BTreeSet::new(),
    }
}

/// To a file, or to stdout.
pub(super) fn write(path: Option<&Path>, text: &str) -> Outcome {
    match path {
        None => super::print(text),
        Some(path) => std::fs::write(path, text)
            .with_context(|| format!("`{}` cannot be written", path.display()))
            .usage(),
    }
}
