//! The task `parse`: reads CSV text (RFC 4180: quotes, doubled quotes, line breaks inside quotes) into rows.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stepwell_task::{TaskError, task};

/// What the state passes in.
#[derive(Deserialize)]
pub struct Source {
    csv: String,
}

/// A table. Every row has every column.
#[derive(Debug, PartialEq, Serialize)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<BTreeMap<String, String>>,
}

/// Reads the text. The first record names the columns.
///
/// # Errors
/// `BadCsv` with the record at fault, counted from 1.
#[task]
pub fn parse(source: Source) -> Result<Table, TaskError> {
    let bad = |why: String| TaskError::new("BadCsv", why);
    let mut records = records(&source.csv).map_err(bad)?.into_iter();
    let columns = records
        .next()
        .ok_or_else(|| bad("the text is empty".to_owned()))?;
    let mut rows = Vec::new();
    for (index, record) in records.enumerate() {
        if record.len() != columns.len() {
            let why = format!(
                "record {}: {} fields, expected {}",
                index + 2,
                record.len(),
                columns.len()
            );
            return Err(bad(why));
        }
        rows.push(columns.iter().cloned().zip(record).collect());
    }
    Ok(Table { columns, rows })
}

/// Splits the text into records of fields. Empty lines are no records.
fn records(csv: &str) -> Result<Vec<Vec<String>>, String> {
    let mut records = Vec::new();
    let mut record = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut chars = csv.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\r' if !quoted && chars.peek() == Some(&'\n') => {}
            '\n' if !quoted => close(&mut records, &mut record, &mut field),
            other => field.push(other),
        }
    }
    if quoted {
        return Err(format!(
            "record {}: a quote is never closed",
            records.len() + 1
        ));
    }
    close(&mut records, &mut record, &mut field);
    Ok(records)
}

fn close(records: &mut Vec<Vec<String>>, record: &mut Vec<String>, field: &mut String) {
    if record.is_empty() && field.is_empty() {
        return;
    }
    record.push(std::mem::take(field));
    records.push(std::mem::take(record));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(csv: &str) -> Result<Table, TaskError> {
        parse(Source { csv: csv.into() })
    }

    #[test]
    fn quotes_protect_commas_quotes_and_line_breaks() {
        let table = table("shop,note\r\nOslo,\"a, \"\"b\"\"\nc\"\n\nBergen,\n").unwrap();
        assert_eq!(table.columns, ["shop", "note"]);
        assert_eq!(table.rows.len(), 2);
        assert_eq!(table.rows[0]["note"], "a, \"b\"\nc");
        assert_eq!(table.rows[1]["note"], "");
    }

    #[test]
    fn a_short_record_is_named() {
        assert_eq!(
            table("a,b\n1,2\n3").unwrap_err().cause(),
            "record 3: 1 fields, expected 2"
        );
    }

    #[test]
    fn an_open_quote_is_named() {
        assert_eq!(
            table("a,b\n1,\"2").unwrap_err().cause(),
            "record 2: a quote is never closed"
        );
        assert_eq!(table("").unwrap_err().cause(), "the text is empty");
    }
}
