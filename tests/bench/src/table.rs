//! The rows that a run measured, as a table for people and as JSON. Hides widths and the verdict on a target.

use std::io::{self, Write};

use serde::Serialize;

/// What a value is to reach.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
    /// Measured to compare with.
    None,
}

/// One number of the run.
pub(crate) struct Row {
    pub(crate) group: &'static str,
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) target: Target,
    /// What was read beside it: the client's CPU, the disk, other processes.
    pub(crate) beside: Vec<String>,
}

impl Target {
    fn number(self) -> Option<f64> {
        match self {
            Target::AtMost(number) | Target::AtLeast(number) => Some(number),
            Target::None => None,
        }
    }

    /// Whether the value reaches it; none without a target.
    pub(crate) fn met(self, value: f64) -> Option<bool> {
        match self {
            Target::AtMost(most) => Some(value <= most),
            Target::AtLeast(least) => Some(value >= least),
            Target::None => None,
        }
    }

    fn text(self) -> String {
        match self {
            Target::AtMost(most) => format!("≤ {}", number(most)),
            Target::AtLeast(least) => format!("≥ {}", number(least)),
            Target::None => String::new(),
        }
    }
}

/// A number with three digits that count.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

impl Row {
    fn verdict(&self) -> String {
        let (Some(met), Some(target)) = (self.target.met(self.value), self.target.number()) else {
            return String::new();
        };
        let mark = if met { '✓' } else { '✗' };
        format!("{mark} {:.2}×", self.value / target)
    }

    fn cells(&self) -> [String; 6] {
        [
            self.name.clone(),
            number(self.value),
            self.unit.to_owned(),
            self.target.text(),
            self.verdict(),
            self.beside.join("; "),
        ]
    }
}

const HEADS: [&str; 6] = ["what", "value", "unit", "target", "", "beside"];

/// The table on stdout, in Markdown that is aligned for the terminal.
pub(crate) fn print(rows: &[Row]) -> io::Result<()> {
    let heads = HEADS.map(str::to_owned);
    let cells: Vec<[String; 6]> = rows.iter().map(Row::cells).collect();
    let mut widths = [0; 6];
    for line in std::iter::once(&heads).chain(&cells) {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = io::stdout().lock();
    let mut write = |line: &[String; 6]| -> io::Result<()> {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            if column == 1 {
                write!(out, "| {cell:>width$} ")?;
            } else {
                write!(out, "| {cell:<width$} ")?;
            }
        }
        writeln!(out, "|")
    };
    write(&heads)?;
    let rule = widths.map(|width| "-".repeat(width));
    write(&rule)?;
    cells.iter().try_for_each(write)
}

/// The rows for programs.
pub(crate) fn json(rows: &[Row], head: &str) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        group: &'a str,
        name: &'a str,
        value: f64,
        unit: &'a str,
        target: Option<f64>,
        met: Option<bool>,
        beside: &'a [String],
    }
    #[derive(Serialize)]
    struct Report<'a> {
        machine: &'a str,
        rows: Vec<Line<'a>>,
    }
    let rows = rows.iter().map(|row| Line {
        group: row.group,
        name: &row.name,
        value: row.value,
        unit: row.unit,
        target: row.target.number(),
        met: row.target.met(row.value),
        beside: &row.beside,
    });
    let report = Report {
        machine: head,
        rows: rows.collect(),
    };
    serde_json::to_string_pretty(&report).expect("rows are plain data")
}
