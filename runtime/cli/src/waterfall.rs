//! The waterfall of an execution as SVG: a row a visit, a bar an attempt, over time. Hides the scale, the colours and
//! the choice of rows.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::graph::{escape, fit, width};
use crate::timeline::{Attempt, StateType, Status, Timeline, Visit, duration_text};

const ROW: f64 = 26.0;
const HEAD: f64 = 58.0;
const CHART_WIDTH: f64 = 760.0;
const MARGIN: f64 = 20.0;
/// Height of the line that says what the colours mean.
const LEGEND: f64 = 26.0;
const NAMES_WIDTH_MAX: f64 = 320.0;
/// Iterations of one Map that get rows of their own.
const ITERATIONS_SHOWN_MAX: u64 = 8;
/// Rows of the picture.
const ROWS_MAX: usize = 400;

const STYLE: &str = "\
text{font-family:ui-sans-serif,system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;font-size:12px;fill:#1c2330}
.bg{fill:#fbfbfd}.stripe{fill:#f1f3f7}.title{font-size:14px;font-weight:600}.small{font-size:11px;fill:#667085}
.grid{stroke:#dfe3ea;stroke-width:1}.span{fill:#c9d0dc}.queue{fill:#c9d0dc}.retry{stroke:#d98a1f;stroke-width:2;stroke-dasharray:2 4}
.redrive{stroke:#7a5af8;stroke-width:1.5;stroke-dasharray:5 3}
.succeeded{fill:#2b9348}.failed{fill:#cf3a3a}.caught{fill:#d98a1f}.running{fill:#2f6fde}.stopped{fill:#8b94a5}.wait{fill:#0f8f8a}
@media (prefers-color-scheme:dark){text{fill:#e8ebf2}.bg{fill:#12151c}.stripe{fill:#191d26}.small{fill:#98a2b3}.grid{stroke:#2b3240}
.span{fill:#3d4656}.queue{fill:#4a5567}.succeeded{fill:#3fae5f}.failed{fill:#e26060}.caught{fill:#dfa04b}.running{fill:#5b93f5}.wait{fill:#2bb5af}}
";

/// The whole picture. `now_ms` is the right end of what still runs.
pub(crate) fn waterfall(timeline: &Timeline, title: &str, now_ms: u64) -> String {
    let start = timeline.started_ms.unwrap_or(timeline.last_ms);
    let end = timeline
        .ending
        .as_ref()
        .map_or(now_ms.max(timeline.last_ms), |ending| ending.at_ms);
    let rows = rows(timeline);
    let label = |row: &Row| width(&row.name, 12.0, false) + row.depth as f64 * 14.0;
    let names = rows
        .iter()
        .map(label)
        .fold(80.0, f64::max)
        .min(NAMES_WIDTH_MAX)
        + 16.0;
    let scale = Scale {
        left: MARGIN + names,
        start,
        per_ms: CHART_WIDTH / (end.saturating_sub(start).max(1)) as f64,
        end,
        redriven_ms: &timeline.redriven_ms,
    };
    let (total_width, height) = (
        scale.left + CHART_WIDTH + 90.0,
        HEAD + rows.len() as f64 * ROW + MARGIN + LEGEND,
    );
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" role=\"img\">\n<title>{t}</title>\n<style>{STYLE}</style>\n<rect class=\"bg\" width=\"{w}\" height=\"{h}\"/>\n<text class=\"title\" x=\"{MARGIN}\" y=\"24\">{t}</text>\n",
        w = n(total_width),
        h = n(height),
        t = escape(title)
    );
    stripes(&mut out, rows.len(), total_width);
    axis(&mut out, &scale, height - LEGEND);
    for (at, row) in rows.iter().enumerate() {
        draw(&mut out, row, HEAD + at as f64 * ROW, &scale);
    }
    redrives(&mut out, &scale, height - LEGEND);
    legend(
        &mut out,
        &rows,
        &timeline.redriven_ms,
        height - MARGIN + 4.0,
    );
    out.push_str("</svg>\n");
    out
}

/// What the colours mean that are there, in a line below.
fn legend(out: &mut String, rows: &[Row<'_>], redriven_ms: &[u64], y: f64) {
    let visits = || rows.iter().filter_map(|row| row.visit);
    let classes: BTreeSet<&str> = visits().flat_map(classes).collect();
    let retried = visits().any(|visit| retried(visit, redriven_ms).next().is_some());
    let known = [
        ("succeeded", "succeeded"),
        ("failed", "failed"),
        ("caught", "failed, and caught"),
        ("running", "running"),
        ("stopped", "stopped"),
        ("wait", "a Wait state"),
        ("queue", "waits for its turn"),
    ];
    let mut x = MARGIN;
    let mut entry = |mark: &dyn Fn(f64) -> String, text: &str| {
        let (mark, at) = (mark(x), n(x + 18.0));
        put(
            out,
            format_args!(
                "{mark}<text class=\"small\" x=\"{at}\" y=\"{}\">{text}</text>\n",
                n(y)
            ),
        );
        x += 18.0 + width(text, 11.0, false) + 20.0;
    };
    for (class, text) in known
        .into_iter()
        .filter(|(class, _)| classes.contains(class))
    {
        let mark = |x: f64| {
            let (x, top) = (n(x), n(y - 9.0));
            format!(
                "<rect class=\"{class}\" x=\"{x}\" y=\"{top}\" width=\"12\" height=\"10\" rx=\"2\"/>"
            )
        };
        entry(&mark, text);
    }
    if retried {
        let mark = |x: f64| format!("<path class=\"retry\" d=\"M{} {}h12\"/>", n(x), n(y - 4.0));
        entry(&mark, "time between attempts");
    }
    if !redriven_ms.is_empty() {
        let mark = |x: f64| {
            let (x, top) = (n(x + 6.0), n(y - 10.0));
            format!("<path class=\"redrive\" d=\"M{x} {top}v12\"/>")
        };
        entry(&mark, "redriven");
    }
}

/// The colours of a visit's bars.
fn classes(visit: &Visit) -> Vec<&'static str> {
    if !has_bars_of_attempts(visit) {
        return vec![visit_class(visit)];
    }
    let began = |attempt: &Attempt| attempt.started_ms.unwrap_or(attempt.scheduled_ms);
    let waited = visit
        .attempts
        .iter()
        .any(|attempt| began(attempt) > attempt.scheduled_ms);
    let attempts = (0..visit.attempts.len()).map(|at| attempt_class(visit, at));
    attempts.chain(waited.then_some("queue")).collect()
}

/// Whether a visit is drawn by its attempts; that of a Parallel or Map is drawn by the rows below.
fn has_bars_of_attempts(visit: &Visit) -> bool {
    !matches!(visit.kind, StateType::Parallel | StateType::Map) && !visit.attempts.is_empty()
}

fn visit_class(visit: &Visit) -> &'static str {
    let waited = visit.kind == StateType::Wait && visit.status == Status::Succeeded;
    if waited { "wait" } else { class(visit.status) }
}

struct Row<'a> {
    name: String,
    depth: usize,
    visit: Option<&'a Visit>,
}

struct Scale<'a> {
    left: f64,
    start: u64,
    end: u64,
    per_ms: f64,
    redriven_ms: &'a [u64],
}

impl Scale<'_> {
    fn x(&self, at_ms: u64) -> f64 {
        self.left
            + at_ms.clamp(self.start, self.end).saturating_sub(self.start) as f64 * self.per_ms
    }
}

/// The visits in the order of a reader: each followed by what lies within it. Long Maps are cut.
fn rows(timeline: &Timeline) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    add_frame(timeline, 0, &mut rows);
    if rows.len() > ROWS_MAX {
        let more = rows.len() - ROWS_MAX;
        rows.truncate(ROWS_MAX);
        rows.push(Row {
            name: format!("… and {more} more rows"),
            depth: 0,
            visit: None,
        });
    }
    rows
}

fn add_frame<'a>(timeline: &'a Timeline, frame: usize, rows: &mut Vec<Row<'a>>) {
    for (index, visit) in timeline
        .visits
        .iter()
        .enumerate()
        .filter(|(_, visit)| visit.frame == frame)
    {
        let depth = timeline.frames[frame].depth;
        let iteration = timeline.frames[frame]
            .owner
            .is_some_and(|owner| timeline.visits[owner].kind == StateType::Map);
        let mark = if iteration {
            format!("#{} ", timeline.frames[frame].index)
        } else {
            String::new()
        };
        rows.push(Row {
            name: fit(
                &format!("{mark}{}", visit.state),
                12.0,
                NAMES_WIDTH_MAX - depth as f64 * 14.0,
            ),
            depth,
            visit: Some(visit),
        });
        let mut hidden = 0;
        for (inner, shown) in timeline
            .frames
            .iter()
            .enumerate()
            .filter(|(_, inner)| inner.owner == Some(index))
        {
            if visit.kind == StateType::Map && shown.index >= ITERATIONS_SHOWN_MAX {
                hidden += 1;
            } else {
                add_frame(timeline, inner, rows);
            }
        }
        if hidden > 0 {
            rows.push(Row {
                name: format!("… and {hidden} more iterations"),
                depth: depth + 1,
                visit: None,
            });
        }
    }
}

fn stripes(out: &mut String, rows: usize, width: f64) {
    for row in (0..rows).step_by(2) {
        put(
            out,
            format_args!(
                "<rect class=\"stripe\" y=\"{}\" width=\"{}\" height=\"{ROW}\"/>\n",
                n(HEAD + row as f64 * ROW),
                n(width)
            ),
        );
    }
}

/// Ticks at round times, about six of them.
fn axis(out: &mut String, scale: &Scale<'_>, height: f64) {
    const ROUND_MS: [u64; 22] = [
        1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 120_000,
        300_000, 600_000, 1_800_000, 3_600_000, 21_600_000, 86_400_000,
    ];
    let span = scale.end.saturating_sub(scale.start).max(1);
    let step = ROUND_MS
        .into_iter()
        .find(|step| span / step <= 7)
        .unwrap_or_else(|| span.div_ceil(7).next_multiple_of(86_400_000));
    for at in (0..=span).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
        let x = n(scale.x(scale.start + at));
        put(
            out,
            format_args!(
                "<path class=\"grid\" d=\"M{x} {}V{}\"/>",
                n(HEAD - 6.0),
                n(height - MARGIN)
            ),
        );
        put(
            out,
            format_args!(
                "<text class=\"small\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
                n(HEAD - 11.0),
                tick_text(at)
            ),
        );
    }
}

/// A line at each time at which the execution was taken up again.
fn redrives(out: &mut String, scale: &Scale<'_>, height: f64) {
    for (at, ms) in scale.redriven_ms.iter().enumerate() {
        let (x, top, bottom) = (n(scale.x(*ms)), n(HEAD - 6.0), n(height - MARGIN));
        let number = at + 1;
        put(
            out,
            format_args!(
                "<path class=\"redrive\" d=\"M{x} {top}V{bottom}\"><title>redrive {number}</title></path>\n"
            ),
        );
    }
}

fn tick_text(ms: u64) -> String {
    match ms {
        0 => "0".to_owned(),
        1..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{} s", ms as f64 / 1_000.0),
        _ => duration_text(ms),
    }
}

fn draw(out: &mut String, row: &Row, y: f64, scale: &Scale<'_>) {
    let x = MARGIN + row.depth as f64 * 14.0;
    let class = if row.visit.is_some() { "name" } else { "small" };
    put(
        out,
        format_args!(
            "<text class=\"{class}\" x=\"{}\" y=\"{}\">{}</text>",
            n(x),
            n(y + 17.0),
            escape(&row.name)
        ),
    );
    if let Some(visit) = row.visit {
        bars(out, visit, y, scale);
        let end = visit.ended_ms.unwrap_or(scale.end);
        let retries = if visit.attempts.len() > 1 {
            format!("  ×{}", visit.attempts.len())
        } else {
            String::new()
        };
        let text = format!("{}{retries}", duration_text(visit.duration_ms(scale.end)));
        put(
            out,
            format_args!(
                "<text class=\"small\" x=\"{}\" y=\"{}\">{text}</text>",
                n(scale.x(end) + 7.0),
                n(y + 17.0)
            ),
        );
    }
    out.push('\n');
}

/// Where a bar stands in its row.
struct Band {
    top: f64,
    height: f64,
}

const FULL: Band = Band {
    top: 7.0,
    height: 12.0,
};
/// The span of a Parallel or Map, whose work is in the rows below.
const SLIM: Band = Band {
    top: 10.0,
    height: 6.0,
};
/// The visit behind its attempts.
const LINE: Band = Band {
    top: 12.0,
    height: 2.0,
};

fn bars(out: &mut String, visit: &Visit, y: f64, scale: &Scale<'_>) {
    let mut bar = |class: &str, from: u64, to: u64, band: &Band, title: &str| {
        let (left, right) = (scale.x(from), scale.x(to));
        let (x, top, width, height) = (
            n(left),
            n(y + band.top),
            n((right - left).max(2.0)),
            n(band.height),
        );
        let title = escape(title);
        put(
            out,
            format_args!(
                "<rect class=\"{class}\" x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"2\"><title>{title}</title></rect>"
            ),
        );
    };
    let end = visit.ended_ms.unwrap_or(scale.end);
    if !has_bars_of_attempts(visit) {
        let class = visit_class(visit);
        let failure = visit
            .failure
            .as_ref()
            .map_or_else(String::new, |failure| format!(", {failure}"));
        let band = if visit.attempts.is_empty() {
            &FULL
        } else {
            &SLIM
        };
        bar(
            class,
            visit.entered_ms,
            end,
            band,
            &format!("{}{failure}", visit.state),
        );
        return;
    }
    bar("span", visit.entered_ms, end, &LINE, &visit.state);
    for (at, attempt) in visit.attempts.iter().enumerate() {
        let to = attempt.ended_ms.unwrap_or(end);
        let began = attempt.started_ms.unwrap_or(attempt.scheduled_ms);
        let outcome = attempt
            .failure
            .as_ref()
            .map_or_else(|| unfailed(attempt).to_owned(), ToString::to_string);
        let took = duration_text(to.saturating_sub(attempt.scheduled_ms));
        let used = attempt.used.map(|used| format!(", {used}"));
        let used = used.unwrap_or_default();
        let number = at + 1;
        if began > attempt.scheduled_ms {
            bar(
                "queue",
                attempt.scheduled_ms,
                began,
                &FULL,
                &format!("attempt {number} waits for its turn"),
            );
        }
        bar(
            attempt_class(visit, at),
            began,
            to,
            &FULL,
            &format!("attempt {number}: {outcome}, {took}{used}"),
        );
    }
    retries(out, visit, y, scale);
}

/// What became of an attempt without a failure.
fn unfailed(attempt: &Attempt) -> &'static str {
    match (attempt.is_stopped, attempt.started_ms) {
        (true, None) => "stopped before it began",
        (true, Some(_)) => "stopped",
        (false, _) => "ran",
    }
}

fn attempt_class(visit: &Visit, at: usize) -> &'static str {
    let attempt = &visit.attempts[at];
    let last = at + 1 == visit.attempts.len();
    match (&attempt.failure, attempt.ended_ms) {
        (Some(_), _) if last && visit.status == Status::Caught => "caught",
        (Some(_), _) => "failed",
        (None, Some(_)) if attempt.is_stopped => "stopped",
        (None, Some(_)) if !last => "succeeded",
        (None, _) => class(visit.status),
    }
}

/// The times between attempts, from and to: those in which a state waited to try again. Until a redrive it was over.
fn retried<'a>(visit: &'a Visit, redriven_ms: &'a [u64]) -> impl Iterator<Item = (u64, u64)> + 'a {
    let between = visit.attempts.windows(2).map(|pair| {
        let to = pair[1].scheduled_ms;
        (pair[0].ended_ms.unwrap_or(to), to)
    });
    between.filter(|(from, to)| !redriven_ms.iter().any(|at| (*from..=*to).contains(at)))
}

fn retries(out: &mut String, visit: &Visit, y: f64, scale: &Scale<'_>) {
    for (from, to) in retried(visit, scale.redriven_ms) {
        let (left, right, y) = (n(scale.x(from)), n(scale.x(to)), n(y + 13.0));
        let time = duration_text(to.saturating_sub(from));
        put(
            out,
            format_args!(
                "<path class=\"retry\" d=\"M{left} {y}H{right}\"><title>waits {time} to try again</title></path>"
            ),
        );
    }
}

fn class(status: Status) -> &'static str {
    match status {
        Status::Running => "running",
        Status::Succeeded => "succeeded",
        Status::Failed | Status::TimedOut => "failed",
        Status::Caught => "caught",
        Status::Stopped => "stopped",
    }
}

fn n(value: f64) -> String {
    ((value * 10.0).round() / 10.0).to_string()
}

fn put(out: &mut String, text: std::fmt::Arguments) {
    out.write_fmt(text)
        .expect("writing to a string does not fail");
}
