//! The live view of an execution on stderr: lines that stay for what ended, lines that move for what runs. Hides how
//! a timeline becomes text; knows no terminal and no clock.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cells::{cells, clip};
use crate::meter::Meter;
use crate::terminal::{Paint, Tone, shown};
use crate::timeline::{
    Change, HistoryEvent, Note, StateType, Status, Timeline, Visit, duration_text,
};

/// Characters of an error on a line.
const ERROR_CHARS_MAX: usize = 160;
/// Characters of a note on a line.
const NOTE_CHARS_MAX: usize = 80;
/// Time after a failed attempt from which on its state is said to wait.
const WAITING_MIN_MS: u64 = 250;
/// Lines of running states that are shown at once.
const LIVE_LINES_MAX: usize = 12;

/// See the module.
pub(crate) struct Progress {
    timeline: Timeline,
    paint: Paint,
    /// By the ARN of the map run.
    meters: BTreeMap<String, Meter>,
    /// What running states say of their progress, by the event that entered them.
    notes: BTreeMap<u64, String>,
}

impl Progress {
    pub(crate) fn new(paint: Paint) -> Progress {
        Progress {
            timeline: Timeline::new(),
            paint,
            meters: BTreeMap::new(),
            notes: BTreeMap::new(),
        }
    }

    /// The map runs whose counts are shown now, or with these events that were not taken yet.
    pub(crate) fn map_runs(&self, events: &[HistoryEvent]) -> Vec<String> {
        let new = events.iter().filter_map(|event| event.text("mapRunArn"));
        let visits = self.timeline.visits.iter();
        let shown = visits
            .filter(|visit| visit.ended_ms.is_none())
            .filter_map(|visit| visit.map_run.as_deref());
        let open = shown.chain(new).filter(|arn| {
            let meter = self.meters.get(*arn);
            meter.is_none_or(|meter| !meter.is_over())
        });
        open.take(LIVE_LINES_MAX).map(str::to_owned).collect()
    }

    /// Takes the counts of a map run.
    pub(crate) fn take_map_run(&mut self, at_ms: u64, arn: &str, told: &Value) {
        let meter = self.meters.entry(arn.to_owned()).or_default();
        meter.take(at_ms, told);
    }

    /// Takes what running attempts say of their progress.
    pub(crate) fn take_notes(&mut self, notes: Vec<Note>) {
        self.notes
            .extend(notes.into_iter().map(|note| (note.entered_id, note.text)));
    }

    /// Forgets the note of an attempt that has ended.
    fn forget_note(&mut self, change: Change) {
        if let Change::AttemptFailed(index) | Change::Ended(index) = change {
            self.notes.remove(&self.timeline.visits[index].entered_id);
        }
    }

    fn meter(&self, visit: &Visit) -> Option<&Meter> {
        self.meters.get(visit.map_run.as_deref()?)
    }

    pub(crate) fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Takes events and gives the lines that stay.
    pub(crate) fn take(&mut self, events: &[HistoryEvent]) -> Vec<String> {
        let mut lines = Vec::new();
        for event in events {
            let changes = self.timeline.fold(event);
            changes.iter().for_each(|change| self.forget_note(*change));
            lines.extend(
                changes
                    .iter()
                    .filter_map(|change| self.line(*change, event)),
            );
        }
        lines
    }

    fn line(&self, change: Change, event: &HistoryEvent) -> Option<String> {
        let visible =
            |index: usize| !self.timeline.frames[self.timeline.visits[index].frame].in_map;
        match change {
            Change::Entered(index) if visible(index) => {
                let visit = &self.timeline.visits[index];
                let holds = matches!(visit.kind, StateType::Parallel | StateType::Map);
                holds.then(|| self.told(visit, event.at_ms, Tone::Busy, "▸", visit.kind.name()))
            }
            Change::AttemptFailed(index) => self.failed_attempt(index, event),
            Change::Ended(index) if visible(index) => {
                Some(self.ended(&self.timeline.visits[index], event.at_ms))
            }
            Change::Redriven => Some(self.redriven(event)),
            Change::Entered(_) | Change::Ended(_) | Change::ItemsMoved | Change::Closed => None,
        }
    }

    fn redriven(&self, event: &HistoryEvent) -> String {
        let since = event
            .at_ms
            .saturating_sub(self.timeline.started_ms.unwrap_or(event.at_ms));
        let clock = format!("{:>9.3}", since as f64 / 1_000.0);
        let count = event.number("redriveCount").unwrap_or(1);
        format!(
            "{} {} redriven, redrive {count}",
            self.paint.paint(Tone::Dim, &clock),
            self.paint.paint(Tone::Busy, "↻")
        )
    }

    /// A failed attempt, within iterations, too: those are what a reader must know of.
    fn failed_attempt(&self, index: usize, event: &HistoryEvent) -> Option<String> {
        let visit = &self.timeline.visits[index];
        if matches!(visit.kind, StateType::Parallel | StateType::Map) {
            return None;
        }
        let failure = clip(&visit.failure.as_ref()?.to_string(), ERROR_CHARS_MAX);
        let what = format!("attempt {} failed  {failure}", visit.attempts.len().max(1));
        Some(self.told(visit, event.at_ms, Tone::Warn, "!", &what))
    }

    fn ended(&self, visit: &Visit, at_ms: u64) -> String {
        let (tone, sign, word) = match visit.status {
            Status::Succeeded => (Tone::Good, "✓", ""),
            Status::Caught => (Tone::Warn, "↷", "error caught  "),
            Status::Failed => (Tone::Bad, "✗", "failed  "),
            Status::TimedOut => (Tone::Bad, "✗", "timed out  "),
            Status::Stopped => (Tone::Dim, "■", "stopped  "),
            Status::Running => (Tone::Busy, "▸", ""),
        };
        let mut what = format!("{word}{}", duration_text(visit.duration_ms(at_ms)));
        if visit.attempts.len() > 1 {
            what.push_str(&format!("  {} attempts", visit.attempts.len()));
        }
        if visit.kind == StateType::Map {
            let items = self.meter(visit).map(Meter::summary);
            what.push_str(&format!("  {}", items.unwrap_or_else(|| items_text(visit))));
        }
        self.told(visit, at_ms, tone, sign, &what)
    }

    fn told(&self, visit: &Visit, at_ms: u64, tone: Tone, sign: &str, what: &str) -> String {
        let since = at_ms.saturating_sub(self.timeline.started_ms.unwrap_or(at_ms));
        let frame = &self.timeline.frames[visit.frame];
        let name = if frame.in_map {
            self.timeline.path(visit)
        } else {
            visit.state.clone()
        };
        let (name, what) = (shown(&name), shown(what));
        let indent = "  ".repeat(if frame.in_map {
            self.map_depth(visit)
        } else {
            frame.depth
        });
        let name = format!(
            "{indent}{} {}",
            self.paint.paint(tone, sign),
            self.paint.paint(Tone::Bold, &name)
        );
        let pad = 30_usize.saturating_sub(cells(&indent) + cells(&visit.state));
        let clock = format!("{:>9.3}", since as f64 / 1_000.0);
        format!(
            "{} {name}{}  {what}",
            self.paint.paint(Tone::Dim, &clock),
            " ".repeat(if frame.in_map { 0 } else { pad })
        )
    }

    /// Depth of the outermost Map around a visit, below which all is summed up.
    fn map_depth(&self, visit: &Visit) -> usize {
        let mut frame = &self.timeline.frames[visit.frame];
        let mut depth = frame.depth;
        while let Some(owner) = frame.owner.filter(|_| frame.in_map) {
            depth = frame.depth;
            frame = &self.timeline.frames[self.timeline.visits[owner].frame];
        }
        depth
    }

    /// The lines that move: what runs now, with its time and the counters of Maps.
    pub(crate) fn live(&self, now_ms: u64) -> Vec<String> {
        let frames = &self.timeline.frames;
        let running = self
            .timeline
            .visits
            .iter()
            .filter(|v| v.ended_ms.is_none() && !frames[v.frame].in_map);
        let shown = running.flat_map(|visit| {
            // On a line of its own there is room for it.
            let meter = self.meter(visit).map(|meter| format!("  {}", meter.live()));
            std::iter::once(self.running(visit, now_ms)).chain(meter)
        });
        let mut lines: Vec<String> = shown.collect();
        if lines.len() > LIVE_LINES_MAX {
            let more = lines.len() - LIVE_LINES_MAX;
            lines.truncate(LIVE_LINES_MAX);
            lines.push(format!("          … and {more} more states"));
        }
        lines
    }

    fn running(&self, visit: &Visit, now_ms: u64) -> String {
        let mut what = duration_text(visit.duration_ms(now_ms) / 100 * 100);
        if let (true, Some(_)) = (visit.attempts.len() > 1, visit.attempts.last()) {
            what.push_str(&format!("  attempt {}", visit.attempts.len()));
        }
        // What follows at once is no waiting.
        if visit.attempts.last().is_some_and(|attempt| {
            attempt.failure.is_some()
                && attempt
                    .ended_ms
                    .is_some_and(|ended| ended + WAITING_MIN_MS < now_ms)
        }) {
            what.push_str("  waits to try again");
        }
        if let Some(note) = self.notes.get(&visit.entered_id) {
            what.push_str(&format!("  {}", clip(note, NOTE_CHARS_MAX)));
        }
        if visit.kind == StateType::Map {
            let known = self.meter(visit).is_some();
            what.push_str(&if known {
                String::new()
            } else {
                format!("  {}", items_text(visit))
            });
        }
        self.told(visit, now_ms, Tone::Busy, spinner(now_ms), &what)
    }
}

fn spinner(now_ms: u64) -> &'static str {
    const FRAMES: [&str; 8] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧"];
    FRAMES[(now_ms / 120) as usize % FRAMES.len()]
}

/// `items 7/20, 1 failed, 4 running`.
fn items_text(visit: &Visit) -> String {
    let items = visit.items;
    let mut text = format!(
        "items {}/{}",
        items.succeeded + items.failed,
        items.total.max(items.succeeded + items.failed)
    );
    if items.failed > 0 {
        text.push_str(&format!(", {} failed", items.failed));
    }
    if items.running > 0 && visit.ended_ms.is_none() {
        text.push_str(&format!(", {} running", items.running));
    }
    text
}
