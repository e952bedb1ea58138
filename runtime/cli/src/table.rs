//! Aligned text tables for stdout. Hides the measuring of columns.

/// A table with a head; columns are as wide as their widest cell.
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    /// Columns by their heads; one that ends in `>` is aligned to the right.
    pub(crate) fn new(head: &[&'static str]) -> Table {
        let right = head.iter().map(|name| name.ends_with('>')).collect();
        Table {
            head: head.iter().map(|name| name.trim_end_matches('>')).collect(),
            rows: Vec::new(),
            right,
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Every line ends with a line feed; no line ends with blanks.
impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head: Vec<String> = self.head.iter().map(|name| name.to_uppercase()).collect();
        let all = || std::iter::once(&head).chain(&self.rows);
        let width = |column: usize| {
            all()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<usize> = (0..head.len())
            .map(|column| width(column).unwrap_or(0))
            .collect();
        for row in all() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let blanks = " ".repeat(widths[column] - cell.chars().count());
                match self.right[column] {
                    true => line.push_str(&format!("{blanks}{cell}  ")),
                    false => line.push_str(&format!("{cell}{blanks}  ")),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
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
}
