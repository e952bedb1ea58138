//! Following an execution to its end, and telling how it ended. Shared by `run` and `execution`.

use std::time::Duration;

use serde_json::{Value, json};

use super::prepare;
use crate::client::{Client, Heard};
use crate::exit::{Outcome, Stop};
use crate::progress::Progress;
use crate::terminal::{LiveBlock, Paint, Tone, shown};
use crate::timeline::{Failure, HistoryEvent, Timeline};

/// Time between two looks of the view that moves.
const REDRAW: Duration = Duration::from_millis(100);

/// Time between two questions about the counts of map runs.
const RECOUNT: Duration = Duration::from_millis(500);

/// Events that are older are read, not met.
const CATCH_UP_MS: u64 = 1_000;

/// Why following ended.
pub(super) enum Followed {
    /// The execution is closed.
    Closed(Box<Timeline>),
    /// Ctrl-C.
    Interrupted,
}

/// From where on the progress is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    Start,
    /// From the redrive of that number on.
    Redrive(u64),
    /// After the event of that id.
    Event(u64),
}

impl Since {
    /// How many of these events are past, and whether the others are to be shown.
    fn past(self, events: &[HistoryEvent]) -> (usize, bool) {
        let at = match self {
            Since::Start => return (0, true),
            Since::Redrive(number) => events.iter().position(|event| event.is_redrive(number)),
            Since::Event(id) => events.iter().position(|event| event.id > id),
        };
        (at.unwrap_or(events.len()), at.is_some())
    }
}

/// Shows the progress on stderr until the execution is closed. `quiet` shows nothing.
pub(super) async fn follow(
    client: &Client,
    arn: &str,
    quiet: bool,
    mut since: Since,
) -> Outcome<Followed> {
    let mut events = client.watch(arn).await?;
    let mut progress = Progress::new(Paint::stderr());
    let mut block = LiveBlock::new();
    let mut tick = tokio::time::interval(REDRAW);
    let mut recount = tokio::time::interval(RECOUNT);
    loop {
        tokio::select! {
            next = events.next() => match next? {
                Some(Heard { events, notes, .. }) => {
                    progress.take_notes(notes);
                    if events.is_empty() {
                        draw(&mut block, &progress, quiet);
                        continue;
                    }
                    if !quiet {
                        count(client, &mut progress, &events).await?;
                    }
                    let (past, reached) = since.past(&events);
                    // What was before is read, since the rest builds upon it, and not shown.
                    drop(progress.take(&events[..past]));
                    if !reached {
                        continue;
                    }
                    since = Since::Start;
                    let lines = progress.take(&events[past..]);
                    tell(&mut block, &progress, &lines, quiet);
                }
                None => break,
            },
            _ = recount.tick(), if block.is_live() && !quiet => {
                count(client, &mut progress, &[]).await?;
            }
            _ = tick.tick(), if block.is_live() && !quiet => draw(&mut block, &progress, quiet),
            _ = tokio::signal::ctrl_c() => {
                block.draw(&[], &[]);
                return Ok(Followed::Interrupted);
            }
        }
    }
    block.draw(&[], &[]);
    Ok(Followed::Closed(Box::new(progress.timeline().clone())))
}

/// Asks how far the map runs are that are shown, or will be with these events.
async fn count(client: &Client, progress: &mut Progress, events: &[HistoryEvent]) -> Outcome<()> {
    for arn in progress.map_runs(events) {
        if let Some(told) = client.map_run(&arn).await? {
            progress.take_map_run(super::now_ms(), &arn, &told);
        }
    }
    Ok(())
}

fn draw(block: &mut LiveBlock, progress: &Progress, quiet: bool) {
    if !quiet {
        block.draw(&[], &progress.live(super::now_ms()));
    }
}

/// What events told. What ran long ago, and is only read now, is not shown as running.
fn tell(block: &mut LiveBlock, progress: &Progress, lines: &[String], quiet: bool) {
    let now_ms = super::now_ms();
    let past = progress.timeline().last_ms + CATCH_UP_MS < now_ms;
    match (quiet, past) {
        (true, _) => {}
        (false, true) if lines.is_empty() => {}
        (false, true) => block.draw(lines, &[]),
        (false, false) => block.draw(lines, &progress.live(now_ms)),
    }
}

/// Prints the output of a closed execution on stdout, or its failure on stderr with `hint`.
pub(super) async fn conclude(
    client: &Client,
    arn: &str,
    timeline: Option<&Timeline>,
    json: bool,
    hint: &str,
) -> Outcome {
    let execution = client
        .call("DescribeExecution", json!({"executionArn": arn}))
        .await?;
    let status = super::text(&execution, "status");
    if json {
        super::print_json(&execution)?;
    }
    if status == "SUCCEEDED" {
        return if json {
            Ok(())
        } else {
            super::print_json_text(super::text(&execution, "output"))
        };
    }
    let mut hints = vec![hint.to_owned()];
    if super::text(&execution, "redriveStatus") == "REDRIVABLE"
        && let Some(flags) = client.flags_to_run()
    {
        let redrive =
            format!("stepwell execution redrive {arn}{flags} goes on with the states that failed");
        hints.push(redrive);
    }
    tell_failure(client, &execution, timeline, &hints).await;
    Err(Stop::Failed)
}

/// `error: the execution failed: …`, where, and what to do next.
pub(super) async fn tell_failure(
    client: &Client,
    execution: &Value,
    timeline: Option<&Timeline>,
    hints: &[String],
) {
    let how = match super::text(execution, "status") {
        "TIMED_OUT" => "timed out",
        "ABORTED" => "was stopped",
        "RUNNING" => "is still running",
        _ => "failed",
    };
    let part = |key: &str| {
        execution
            .get(key)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let failure = Failure {
        error: part("error"),
        cause: None,
    };
    let paint = Paint::stderr();
    let said = if failure.error.is_some() {
        format!(": {}", shown(&failure.to_string()))
    } else {
        String::new()
    };
    say!(
        "{} the execution {how}{said}",
        paint.paint(Tone::Bad, "error:")
    );
    if let Some(cause) = part("cause") {
        for line in readable(&cause).lines() {
            say!("  {}", shown(line));
        }
    }
    if let Some((timeline, visit)) =
        timeline.and_then(|timeline| Some((timeline, timeline.failing()?)))
    {
        let attempts = if visit.attempts.len() > 1 {
            format!(", after {} attempts", visit.attempts.len())
        } else {
            String::new()
        };
        say!("  at state `{}`{attempts}", shown(&timeline.path(visit)));
    }
    let (error, cause) = (part("error"), part("cause"));
    let why = prepare::missing_plugin(
        client,
        error.as_deref().unwrap_or_default(),
        cause.as_deref().unwrap_or_default(),
    );
    for hint in why.await.iter().chain(hints) {
        say!("hint: {}", shown(hint));
    }
}

/// The cause; of a function's JSON error object the message and the stack.
fn readable(cause: &str) -> String {
    let object: Option<Value> = serde_json::from_str(cause).ok();
    let message = object
        .as_ref()
        .and_then(|object| object.get("errorMessage")?.as_str());
    message.unwrap_or(cause).to_owned()
}
