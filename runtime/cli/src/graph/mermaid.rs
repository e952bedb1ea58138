//! The picture as Mermaid's `stateDiagram-v2`, for Markdown pages. Hides its syntax and escapes.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::chart::{Chart, Goal, Look, MarkStatus, Scope};
use super::text::clip;

/// Characters of a transition's text.
const LABEL_CHARS_MAX: usize = 60;

/// The whole diagram.
pub(crate) fn mermaid(chart: &Chart) -> String {
    let mut diagram = Diagram {
        out: "stateDiagram-v2\n".to_owned(),
        count: 0,
        classes: BTreeMap::new(),
    };
    diagram.scope(&chart.scope, 1);
    if chart.marked {
        diagram.classes();
    }
    diagram.out
}

struct Diagram {
    out: String,
    count: usize,
    classes: BTreeMap<&'static str, Vec<String>>,
}

impl Diagram {
    fn line(&mut self, depth: usize, text: &str) {
        writeln!(self.out, "{}{text}", "    ".repeat(depth))
            .expect("writing to a string does not fail");
    }

    fn scope(&mut self, scope: &Scope, depth: usize) {
        let first = self.count + 1;
        self.count += scope.nodes.len();
        let id = |node: usize| format!("s{}", first + node);
        for (at, node) in scope.nodes.iter().enumerate() {
            self.line(
                depth,
                &format!("state \"{}\" as {}", quoted(&node.name), id(at)),
            );
            if let Some(mark) = &node.mark {
                self.classes
                    .entry(class(mark.status))
                    .or_default()
                    .push(id(at));
            }
            if node.inner.is_empty() {
                continue;
            }
            self.line(depth, &format!("state {} {{", id(at)));
            for (branch, inner) in node.inner.iter().enumerate() {
                if branch > 0 {
                    self.line(depth + 1, "--");
                }
                self.scope(inner, depth + 1);
            }
            self.line(depth, "}");
        }
        self.line(depth, &format!("[*] --> {}", id(scope.start)));
        for edge in &scope.edges {
            let to = match edge.to {
                Goal::Node(node) => id(node),
                Goal::End => "[*]".to_owned(),
            };
            let label = clip(&edge.label.replace('\n', " or "), LABEL_CHARS_MAX);
            let failed = matches!(scope.nodes[edge.from].look, Look::Fail);
            let label = match (edge.caught, edge.to) {
                (true, _) => format!(" : catch {}", quoted(&label)),
                (false, Goal::End) if failed => " : fails".to_owned(),
                (false, _) if label.is_empty() => String::new(),
                (false, _) => format!(" : {}", quoted(&label)),
            };
            self.line(depth, &format!("{} --> {to}{label}", id(edge.from)));
        }
    }

    fn classes(&mut self) {
        const STYLES: [(&str, &str); 5] = [
            ("succeeded", "fill:#d8f3df,stroke:#2b9348,color:#14361f"),
            ("failed", "fill:#fbdada,stroke:#cf3a3a,color:#4a1414"),
            ("running", "fill:#dbe8fd,stroke:#2f6fde,color:#12294f"),
            ("caught", "fill:#fae6c8,stroke:#d98a1f,color:#4d3007"),
            ("stopped", "fill:#e4e6eb,stroke:#5d6779,color:#222833"),
        ];
        for (class, style) in STYLES {
            if let Some(ids) = self.classes.remove(class) {
                self.line(1, &format!("classDef {class} {style}"));
                self.line(1, &format!("class {} {class}", ids.join(",")));
            }
        }
    }
}

fn class(status: MarkStatus) -> &'static str {
    match status {
        MarkStatus::Running => "running",
        MarkStatus::Succeeded => "succeeded",
        MarkStatus::Failed => "failed",
        MarkStatus::Caught => "caught",
        MarkStatus::Stopped => "stopped",
    }
}

/// Text that Mermaid takes as text: what its grammar uses becomes a numeric entity.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '"' | '#' | ':' | ';' | '<' | '>' | '{' | '}' | '[' | ']' | '%' | '`' => {
                write!(out, "#{};", u32::from(c)).expect("writing to a string does not fail");
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
