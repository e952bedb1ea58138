//! The picture as SVG: one file without scripts or fonts of its own, in light and dark by the viewer's preference.
//! Hides colours, icons and the writing of elements.

use std::fmt::Write;

use super::chart::{Chart, Edge, Look, MarkStatus, Node, Scope};
use super::layout::{self, Placed, Plan, Point, Routed, Segment};
use super::text::{clip, escape};

const MARGIN: f64 = 24.0;
const LEGEND_HEIGHT: f64 = 30.0;

/// Plain rules without variables, so that viewers other than browsers show them too.
const STYLE: &str = "\
text{font-family:ui-sans-serif,system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif}
.bg{fill:#fbfbfd}.box{fill:#fff;stroke:#c9ced8;stroke-width:1.25}.nest{fill:#f3f5f9;stroke:#d5dae3}
.name{font-size:13px;font-weight:600;fill:#1c2330}.small{font-size:11px;fill:#667085}
.line{fill:none;stroke:#8b94a5;stroke-width:1.5}.caught{stroke:#c2762b;stroke-dasharray:5 4}
.tip{fill:#8b94a5}.tip-caught{fill:#c2762b}.label{font-size:11px;fill:#475063;stroke:#fbfbfd;stroke-width:4px;\
stroke-linejoin:round;paint-order:stroke}.nested .label{stroke:#f3f5f9}.label-caught{fill:#a35c17}
.dot{fill:#3c4657}.ring{fill:none;stroke:#3c4657;stroke-width:1.5}
.glyph{fill:none;stroke:#fff;stroke-width:1.7;stroke-linecap:round;stroke-linejoin:round}
.task{fill:#d9741a}.pass{fill:#7a8699}.choice{fill:#7a5af0}.wait{fill:#0f8f8a}.succeed{fill:#2b9348}.fail{fill:#cf3a3a}
.parallel{fill:#2f6fde}.map{fill:#b13fb0}
.succeeded>.box{fill:#ecf8ef;stroke:#2b9348;stroke-width:1.75}.failed>.box{fill:#fdeeee;stroke:#cf3a3a;stroke-width:1.75}
.running>.box{fill:#ebf2fe;stroke:#2f6fde;stroke-width:1.75}.caughtstate>.box{fill:#fdf3e6;stroke:#d98a1f;stroke-width:1.75}
.stopped>.box{fill:#f0f1f4;stroke:#5d6779;stroke-width:1.75}.unreached>.box{stroke-dasharray:3 3}
.unreached>.icon,.unreached>text{opacity:.45}.untaken{opacity:.4}
@media (prefers-color-scheme:dark){.bg{fill:#12151c}.box{fill:#1d222d;stroke:#3d4656}.nest{fill:#171b24;stroke:#333b49}
.name{fill:#e8ebf2}.small{fill:#98a2b3}.line{stroke:#76819a}.tip{fill:#76819a}.caught{stroke:#d9944a}.tip-caught{fill:#d9944a}
.label{fill:#c3cad8;stroke:#12151c}.nested .label{stroke:#171b24}.label-caught{fill:#e0a76a}.dot{fill:#c3cad8}.ring{stroke:#c3cad8}
.succeeded>.box{fill:#13261a;stroke:#3fae5f}.failed>.box{fill:#2e1719;stroke:#e26060}.running>.box{fill:#14213a;stroke:#5b93f5}
.caughtstate>.box{fill:#2d2213;stroke:#dfa04b}.stopped>.box{fill:#20242d;stroke:#8b94a5}}
";

/// The whole picture.
pub(crate) fn svg(chart: &Chart, title: &str) -> String {
    let plan = layout::plan(&chart.scope, true);
    let (legend, legend_width) = if chart.marked {
        (LEGEND_HEIGHT, legend_width() + 2.0 * MARGIN)
    } else {
        (0.0, 0.0)
    };
    let width = (plan.width + 2.0 * MARGIN).max(legend_width);
    let height = plan.height + 2.0 * MARGIN + legend;
    let mut out = String::new();
    let mut write = Writer {
        out: &mut out,
        marked: chart.marked,
    };
    write.put(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n",
        escape(title),
        w = n(width),
        h = n(height)
    ));
    write.put(format_args!(
        "<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path class=\"tip\" d=\"M0 .6 8 4 0 7.4z\"/></marker><marker id=\"tipc\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path class=\"tip-caught\" d=\"M0 .6 8 4 0 7.4z\"/></marker></defs>\n"
    ));
    write.put(format_args!(
        "<rect class=\"bg\" width=\"{}\" height=\"{}\"/>\n",
        n(width),
        n(height)
    ));
    write.plan(
        &chart.scope,
        &plan,
        Point {
            x: (width - plan.width) / 2.0,
            y: MARGIN,
        },
    );
    if chart.marked {
        write.legend(height - LEGEND_HEIGHT / 2.0 - 8.0);
    }
    out.push_str("</svg>\n");
    out
}

struct Writer<'a> {
    out: &'a mut String,
    marked: bool,
}

impl Writer<'_> {
    fn put(&mut self, text: std::fmt::Arguments) {
        self.out
            .write_fmt(text)
            .expect("writing to a string does not fail");
    }

    fn plan(&mut self, scope: &Scope, plan: &Plan, at: Point) {
        self.put(format_args!(
            "<g transform=\"translate({} {})\">\n",
            n(at.x),
            n(at.y)
        ));
        for line in &plan.lines {
            self.line(scope, line);
        }
        for (node, placed) in scope.nodes.iter().zip(&plan.nodes) {
            self.node(node, placed);
        }
        for line in &plan.lines {
            self.label(scope, line);
        }
        if let Some(start) = plan.start {
            self.put(format_args!(
                "<circle class=\"dot\" cx=\"{}\" cy=\"{}\" r=\"7\"/>\n",
                n(start.x),
                n(start.y)
            ));
        }
        if let Some(end) = plan.end {
            let (x, y) = (n(end.x), n(end.y));
            self.put(format_args!(
                "<circle class=\"ring\" cx=\"{x}\" cy=\"{y}\" r=\"7\"/><circle class=\"dot\" cx=\"{x}\" cy=\"{y}\" r=\"4\"/>\n"
            ));
        }
        self.put(format_args!("</g>\n"));
    }

    fn line(&mut self, scope: &Scope, line: &Routed) {
        let edge = line.edge.map(|edge| &scope.edges[edge]);
        let (class, tip) = if edge.is_some_and(|edge| edge.caught) {
            ("line caught", "tipc")
        } else {
            ("line", "tip")
        };
        let untaken = edge.map_or("", |edge| self.untaken(scope, edge));
        let path = path(&line.path);
        self.put(format_args!(
            "<path class=\"{class}{untaken}\" d=\"{path}\" marker-end=\"url(#{tip})\"/>\n"
        ));
    }

    /// The class of lines along which the execution did not go.
    fn untaken(&self, scope: &Scope, edge: &Edge) -> &'static str {
        if self.marked && !scope.taken(edge) {
            " untaken"
        } else {
            ""
        }
    }

    fn label(&mut self, scope: &Scope, line: &Routed) {
        let (Some(edge), Some(at)) = (line.edge, line.label) else {
            return;
        };
        let edge = &scope.edges[edge];
        let lines = layout::label_lines(&edge.label);
        let class = if edge.caught {
            "label label-caught"
        } else {
            "label"
        };
        let untaken = self.untaken(scope, edge);
        let top = at.y - (lines.len() as f64 - 1.0) * layout::LABEL_LINE / 2.0 + 4.0;
        self.put(format_args!(
            "<g><title>{}</title>",
            escape(&edge.label.replace('\n', " or "))
        ));
        for (row, text) in lines.iter().enumerate() {
            let y = top + row as f64 * layout::LABEL_LINE;
            self.put(format_args!(
                "<text class=\"{class}{untaken}\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                n(at.x),
                n(y),
                escape(text)
            ));
        }
        self.put(format_args!("</g>\n"));
    }

    fn node(&mut self, node: &Node, placed: &Placed) {
        let status = match &node.mark {
            Some(mark) => status_class(mark.status),
            None if self.marked => "unreached",
            None => "state",
        };
        let (width, height) = (n(placed.width), n(placed.height));
        self.put(format_args!(
            "<g class=\"{status}\" transform=\"translate({} {})\">",
            n(placed.x),
            n(placed.y)
        ));
        let comment = node
            .comment
            .as_ref()
            .map_or_else(String::new, |comment| format!(": {comment}"));
        self.put(format_args!(
            "<title>{}</title>",
            escape(&format!("{}{comment}", node.name))
        ));
        self.put(format_args!(
            "<rect class=\"box\" width=\"{width}\" height=\"{height}\" rx=\"9\"/>"
        ));
        self.put(format_args!(
            "<g class=\"icon\"><rect class=\"{}\" x=\"9\" y=\"9\" width=\"28\" height=\"28\" rx=\"7\"/><path class=\"glyph\" transform=\"translate(15 15)\" d=\"{}\"/></g>",
            look_class(node.look),
            glyph(node.look)
        ));
        let x = n(layout::ICON_ROOM);
        let name = escape(&clip(&node.name, layout::NAME_CHARS_MAX));
        let detail = escape(&clip(&node.detail, layout::NAME_CHARS_MAX));
        self.put(format_args!("<text class=\"name\" x=\"{x}\" y=\"20\">{name}</text><text class=\"small\" x=\"{x}\" y=\"36\">{detail}</text>"));
        if let Some(mark) = node.mark.as_ref().filter(|mark| !mark.note.is_empty()) {
            let right = n(placed.width - 11.0);
            self.put(format_args!(
                "<text class=\"small\" x=\"{right}\" y=\"36\" text-anchor=\"end\">{}</text>",
                escape(&mark.note)
            ));
        }
        if !node.inner.is_empty() {
            self.put(format_args!("\n<g class=\"nested\">"));
            node.inner
                .iter()
                .zip(&placed.inner)
                .for_each(|(scope, (at, plan))| self.nested(scope, *at, plan, placed));
            self.put(format_args!("</g>"));
        }
        self.put(format_args!("</g>\n"));
    }

    fn nested(&mut self, scope: &Scope, at: Point, plan: &Plan, parent: &Placed) {
        let (x, y) = (at.x - layout::NEST_PADDING, layout::NODE_HEIGHT);
        let height = parent.height - layout::NODE_HEIGHT - layout::NEST_PADDING;
        self.put(format_args!(
            "<rect class=\"nest\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"7\"/>\n",
            n(x),
            n(y),
            n(plan.width + 2.0 * layout::NEST_PADDING),
            n(height)
        ));
        if !scope.caption.is_empty() {
            self.put(format_args!(
                "<text class=\"small\" x=\"{}\" y=\"{}\">{}</text>",
                n(x + 10.0),
                n(y + 18.0),
                escape(&scope.caption)
            ));
        }
        self.plan(scope, plan, at);
    }

    fn legend(&mut self, y: f64) {
        let mut x = MARGIN;
        for (class, word) in LEGEND {
            self.put(format_args!(
                "<g class=\"{class}\" transform=\"translate({} {})\"><rect class=\"box\" width=\"12\" height=\"12\" rx=\"3\"/><text class=\"small\" x=\"17\" y=\"10\">{word}</text></g>\n",
                n(x),
                n(y)
            ));
            x += legend_step(word);
        }
    }
}

/// Classes of boxes and what they mean.
const LEGEND: [(&str, &str); 6] = [
    ("succeeded", "succeeded"),
    ("caughtstate", "error caught"),
    ("failed", "failed"),
    ("running", "running"),
    ("stopped", "stopped"),
    ("unreached", "not reached"),
];

/// Room for a sign, its word and the gap behind it.
fn legend_step(word: &str) -> f64 {
    super::text::width(word, 11.0, false) + 32.0
}

fn legend_width() -> f64 {
    LEGEND.iter().map(|(_, word)| legend_step(word)).sum()
}

/// A coordinate with at most one decimal.
fn n(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    if rounded == 0.0 {
        "0".to_owned()
    } else {
        rounded.to_string()
    }
}

fn path(segments: &[Segment]) -> String {
    let p = |point: &Point| format!("{} {}", n(point.x), n(point.y));
    let pieces = segments.iter().map(|segment| match segment {
        Segment::Move(to) => format!("M{}", p(to)),
        Segment::Line(to) => format!("L{}", p(to)),
        Segment::Curve(a, b, to) => format!("C{} {} {}", p(a), p(b), p(to)),
    });
    pieces.collect()
}

fn status_class(status: MarkStatus) -> &'static str {
    match status {
        MarkStatus::Running => "running",
        MarkStatus::Succeeded => "succeeded",
        MarkStatus::Failed => "failed",
        MarkStatus::Caught => "caughtstate",
        MarkStatus::Stopped => "stopped",
    }
}

fn look_class(look: Look) -> &'static str {
    match look {
        Look::Task => "task",
        Look::Pass => "pass",
        Look::Choice => "choice",
        Look::Wait => "wait",
        Look::Succeed => "succeed",
        Look::Fail => "fail",
        Look::Parallel => "parallel",
        Look::Map => "map",
    }
}

/// The icon's strokes in a square of 16.
fn glyph(look: Look) -> &'static str {
    match look {
        Look::Task => "M8 1.5 14 5v6.2L8 14.5 2 11.2V5zM2 5l6 3.3L14 5M8 8.3v6.2",
        Look::Pass => "M1.5 8h12M9.5 4l4 4-4 4",
        Look::Choice => "M8 1.5 14.5 8 8 14.5 1.5 8zM8 5.6v2.9M8 10.8v.1",
        Look::Wait => "M8 1.8a6.2 6.2 0 1 0 .01 0zM8 4.6V8l2.6 1.8",
        Look::Succeed => "M2.5 8.5 6.3 12.3 13.5 4.2",
        Look::Fail => "M3.5 3.5l9 9M12.5 3.5l-9 9",
        Look::Parallel => {
            "M8 1.5v3M3 12V8.5q0-2 2-2h6q2 0 2 2V12M1.5 10.5 3 12.3l1.5-1.8M11.5 10.5l1.5 1.8 1.5-1.8"
        }
        Look::Map => "M2 4.5h9v9H2zM5 4.5V2h9v9h-3",
    }
}
