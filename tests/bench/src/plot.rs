//! A picture a group: horizontal bars, each on its own scale with its target marked. Hides SVG.

use crate::table::{Row, Target, number};

const WIDTH: f64 = 800.0;
const ROW: f64 = 34.0;
const TOP: f64 = 46.0;
const BAR_X: f64 = 330.0;
const BAR_WIDTH: f64 = 290.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}.h{font-weight:600;font-size:15px}\
.d{fill:#59636e;font-size:11px}.met{fill:#1a7f37}.missed{fill:#cf222e}.plain{fill:#6e7781}\
.t{stroke:#1f2328;stroke-width:2}.bg{fill:#fff}.track{fill:#eff2f5}\
@media (prefers-color-scheme:dark){text{fill:#f0f6fc}.d{fill:#9198a1}.met{fill:#3fb950}.missed{fill:#f85149}\
.plain{fill:#9198a1}.t{stroke:#f0f6fc}.bg{fill:#0d1117}.track{fill:#212830}}";

/// The rows of one group. Rows of one unit that follow each other share a scale.
pub(crate) fn svg(title: &str, note: &str, rows: &[&Row]) -> String {
    let height = TOP + ROW * rows.len() as f64 + 14.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-label=\"{0}\">\n<style>{STYLE}</style>\n<rect class=\"bg\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\n<text class=\"h\" x=\"14\" y=\"22\">{0}</text>\n<text class=\"d\" x=\"14\" y=\"38\">{1}</text>\n",
        escape(title),
        escape(note)
    );
    for (index, row) in rows.iter().enumerate() {
        bar(&mut out, row, scale(rows, row), TOP + ROW * index as f64);
    }
    out.push_str("</svg>\n");
    out
}

/// What fills the track: the largest value or target of that unit in the group.
fn scale(rows: &[&Row], row: &Row) -> f64 {
    let same = rows.iter().filter(|other| other.unit == row.unit);
    let largest = same
        .map(|other| other.value.max(target(other).unwrap_or(0.0)))
        .fold(0.0, f64::max);
    largest.max(f64::MIN_POSITIVE) * 1.05
}

fn target(row: &Row) -> Option<f64> {
    match row.target {
        Target::AtMost(number) | Target::AtLeast(number) => Some(number),
        Target::None => None,
    }
}

fn bar(out: &mut String, row: &Row, full: f64, y: f64) {
    let class = match row.target.met(row.value) {
        Some(true) => "met",
        Some(false) => "missed",
        None => "plain",
    };
    let length = (row.value / full).clamp(0.0, 1.0) * BAR_WIDTH;
    let middle = y + 20.0;
    let goal = match row.target {
        Target::AtMost(most) => format!("at most {}", number(most)),
        Target::AtLeast(least) => format!("at least {}", number(least)),
        Target::None => String::new(),
    };
    out.push_str(&format!(
        "<text x=\"14\" y=\"{middle}\">{0}</text><rect class=\"track\" x=\"{BAR_X}\" y=\"{1:.1}\" width=\"{BAR_WIDTH}\" height=\"16\" rx=\"2\"/><rect class=\"{class}\" x=\"{BAR_X}\" y=\"{1:.1}\" width=\"{length:.1}\" height=\"16\" rx=\"2\"/>",
        escape(&row.name),
        y + 8.0,
    ));
    if let Some(target) = target(row) {
        let x = BAR_X + (target / full).clamp(0.0, 1.0) * BAR_WIDTH;
        out.push_str(&format!(
            "<line class=\"t\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
            y + 5.0,
            y + 27.0
        ));
    }
    let x = BAR_X + BAR_WIDTH + 10.0;
    out.push_str(&format!(
        "<text x=\"{x}\" y=\"{:.1}\">{} {}</text><text class=\"d\" x=\"{x}\" y=\"{:.1}\">{}</text>\n",
        if goal.is_empty() { middle } else { y + 15.0 },
        number(row.value),
        escape(row.unit),
        y + 28.0,
        goal
    ));
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
