//! Aligned text tables for stdout. Hides the measuring of columns.

use crate::cells::{cells, clip};
use crate::terminal::shown;

/// A table with a head; columns are as wide as their widest cell.
#[derive(Clone)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
    /// Widths of what was taken before.
    widths: Vec<usize>,
    begun: bool,
}

impl Table {
    /// Columns by their heads; one that ends in `>` is aligned to the right.
    pub(crate) fn new(head: &[&'static str]) -> Table {
        let right = head.iter().map(|name| name.ends_with('>')).collect();
        Table {
            head: head.iter().map(|name| name.trim_end_matches('>')).collect(),
            rows: Vec::new(),
            right,
            widths: vec![0; head.len()],
            begun: false,
        }
    }

    /// Control characters in a cell are shown, not obeyed.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(cells.into_iter().map(|cell| shown(&cell)).collect());
    }

    /// The rows so far, below the head if it is the first time. They are forgotten; columns get no narrower by that. With
    /// `columns` no line is longer: the last cell is cut.
    pub(crate) fn take(&mut self, columns: Option<usize>) -> String {
        let head: Vec<String> = self.head.iter().map(|name| name.to_uppercase()).collect();
        let mut rows = std::mem::take(&mut self.rows);
        if !self.begun {
            rows.insert(0, head);
            self.begun = true;
        }
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cells(cell));
            }
        }
        let lines = rows.iter().map(|row| {
            let line = self.line(row);
            columns.map_or_else(|| line.clone(), |columns| clip(&line, columns)) + "\n"
        });
        lines.collect()
    }

    /// All rows below the head. A column in which no row has anything is left out; with `columns` as [`Table::take`] has it.
    pub(crate) fn whole(mut self, columns: Option<usize>) -> String {
        let rows = std::mem::take(&mut self.rows);
        let is_told = |column: usize| {
            let mut cells = rows.iter().map(|row| row.get(column));
            rows.is_empty() || cells.any(|cell| cell.is_some_and(|cell| !cell.is_empty()))
        };
        let told: Vec<usize> = (0..self.head.len()).filter(|n| is_told(*n)).collect();
        let cell = |row: &Vec<String>, n: &usize| row.get(*n).cloned().unwrap_or_default();
        let rows = rows
            .iter()
            .map(|row| told.iter().map(|n| cell(row, n)).collect());
        let mut table = Table {
            head: told.iter().map(|n| self.head[*n]).collect(),
            rows: rows.collect(),
            right: told.iter().map(|n| self.right[*n]).collect(),
            widths: vec![0; told.len()],
            begun: false,
        };
        table.take(columns)
    }

    fn line(&self, row: &[String]) -> String {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let blanks = " ".repeat(self.widths[column] - cells(cell));
            match self.right[column] {
                true => line.push_str(&format!("{blanks}{cell}  ")),
                false => line.push_str(&format!("{cell}{blanks}  ")),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Every line ends with a line feed; no line ends with blanks.
impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.clone().take(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_and_ends_without_blanks() {
        let mut table = Table::new(&["id>", "name", "what"]);
        table.row(["7", "größe", "a"].map(str::to_owned));
        table.row(["1234", "b", ""].map(str::to_owned));
        assert_eq!(
            table.to_string(),
            "  ID  NAME   WHAT\n   7  größe  a\n1234  b\n"
        );
    }

    #[test]
    fn columns_are_as_wide_as_terminals_show_them() {
        let mut table = Table::new(&["name", "what"]);
        table.row(["注文", "a"].map(str::to_owned));
        table.row(["gro\u{308}ße", "b"].map(str::to_owned));
        let aligned = "NAME   WHAT\n注文   a\ngro\u{308}ße  b\n";
        assert_eq!(table.to_string(), aligned);
    }

    #[test]
    fn what_no_row_has_is_left_out() {
        let mut table = Table::new(&["name", "note", "count>"]);
        assert_eq!(table.clone().whole(None), "NAME  NOTE  COUNT\n");
        table.row(["a", "", "10"].map(str::to_owned));
        table.row(["longer", "", "2"].map(str::to_owned));
        assert_eq!(
            table.clone().whole(None),
            "NAME    COUNT\na          10\nlonger      2\n"
        );
        table.row(["b", "n", "3"].map(str::to_owned));
        let whole = table.whole(None);
        assert!(whole.starts_with("NAME    NOTE  COUNT\n"), "{whole}");
    }

    #[test]
    fn pages_keep_their_columns_and_fit_the_terminal() {
        let mut table = Table::new(&["id>", "what"]);
        table.row(["1000", "a"].map(str::to_owned));
        assert_eq!(table.take(Some(12)), "  ID  WHAT\n1000  a\n");
        table.row(["7", "more than fits\u{1b}[2J"].map(str::to_owned));
        assert_eq!(table.take(Some(12)), "   7  more…\n");
        table.row(["8", "\u{1b}[2J"].map(str::to_owned));
        assert_eq!(table.take(None), "   8  \u{fffd}[2J\n");
    }
}
