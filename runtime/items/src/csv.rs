//! CSV: each row an object of strings.

use std::sync::Arc;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use stepwell_query::{ObjectBuilder, Value};

use crate::{
    chunks::Text,
    error::Error,
    limits::{CSV_COLUMNS_MAX, ITEM_BYTES_MAX},
    object::Object,
    source::CsvHeader,
};

/// What ends a last row that no line break ends. In a field whose quote is not closed it is one more character.
const LAST_BREAK: &[u8] = b"\n";

/// The rows of a file from a place on.
pub(crate) struct CsvRows {
    object: Object,
    text: Text,
    parser: Reader,
    header: Arc<[Arc<str>]>,
    row: Row,
}

/// One record: its bytes one after the other, and where each field ends.
struct Row {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    fields: usize,
}

impl CsvRows {
    /// `at` is 0 or lies after a row.
    pub(crate) async fn open(
        object: Object,
        header: &CsvHeader,
        delimiter: u8,
        at: u64,
    ) -> Result<CsvRows, Error> {
        let mut rows = CsvRows {
            object: object.clone(),
            text: Text::open(object.clone(), 0).await?,
            parser: parser(delimiter),
            header: Arc::new([]),
            row: Row::new(),
        };
        rows.header = match header {
            CsvHeader::Given(names) => names.clone(),
            CsvHeader::FirstRow if rows.record().await? => {
                let names: Result<Vec<Arc<str>>, Error> = (0..rows.row.fields)
                    .map(|n| rows.row.field(n).map(Arc::from))
                    .collect();
                names?.into()
            }
            CsvHeader::FirstRow => Arc::new([]),
        };
        let mut names: Vec<&Arc<str>> = rows.header.iter().collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::malformed("CSV headers cannot contain duplicates."));
        }
        if at > rows.text.at() {
            rows.text = Text::open(object, at).await?;
            rows.parser = parser(delimiter);
        }
        Ok(rows)
    }

    pub(crate) fn at(&self) -> u64 {
        self.text.at()
    }

    pub(crate) fn share(&self) -> f64 {
        self.text.share()
    }

    /// The next row. Fields beyond the header are dropped, those that are missing are empty.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, Error> {
        if !self.record().await? {
            return Ok(None);
        }
        let mut object = ObjectBuilder::with_capacity(self.header.len());
        for (index, name) in self.header.iter().enumerate() {
            let field = if index < self.row.fields {
                self.row.field(index)?
            } else {
                ""
            };
            object.insert(name.clone(), Value::from(field));
        }
        Ok(Some(object.into()))
    }

    /// Reads a record into `row`; false at the end.
    async fn record(&mut self) -> Result<bool, Error> {
        let began = self.text.at();
        let (mut bytes, mut fields) = (0, 0);
        // What is left to be parsed behind the end of the file.
        let mut behind: Option<&[u8]> = None;
        loop {
            if self.text.rest().is_empty() && behind.is_none() && !self.text.more().await? {
                behind = Some(LAST_BREAK);
            }
            let (result, taken, written, found) = self.parser.read_record(
                behind.unwrap_or(self.text.rest()),
                &mut self.row.bytes[bytes..],
                &mut self.row.ends[fields..],
            );
            match &mut behind {
                Some(left) => *left = &left[taken..],
                None => self.text.take(taken),
            }
            bytes += written;
            fields += found;
            match result {
                ReadRecordResult::InputEmpty if behind.is_some() && written > 0 => {
                    let why = format!("the quoted field in column {} is not closed", fields + 1);
                    return Err(self.wrong_row(began, &why).await);
                }
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if !self.row.grow_bytes() => {
                    let why = format!(
                        "it has more than {ITEM_BYTES_MAX} bytes, as when a quoted field is not closed"
                    );
                    return Err(self.wrong_row(began, &why).await);
                }
                ReadRecordResult::OutputEndsFull if !self.row.grow_fields() => {
                    let why = format!("it has more than {CSV_COLUMNS_MAX} columns");
                    return Err(self.wrong_row(began, &why).await);
                }
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {}
                ReadRecordResult::Record => {
                    self.row.fields = fields;
                    return Ok(true);
                }
                ReadRecordResult::End => return Ok(false),
            }
        }
    }
}

impl CsvRows {
    /// What is wrong with the row that begins behind a place.
    async fn wrong_row(&self, at: u64, why: &str) -> Error {
        match line_of(&self.object, at).await {
            Ok(line) => Error::malformed(format!(
                "The row of the CSV file that begins on line {line} is not valid: {why}."
            )),
            Err(error) => error,
        }
    }
}

/// The number, from 1, of the first line behind a place that is not empty. Reads the file from its beginning: a cursor has
/// bytes alone, and a row that is wrong is the last one.
async fn line_of(object: &Object, at: u64) -> Result<u64, Error> {
    let mut text = Text::open(object.clone(), 0).await?;
    let mut line = 1;
    while text.more().await? {
        let before = text.at();
        let rest = text.rest();
        for (index, byte) in rest.iter().enumerate() {
            match byte {
                b'\n' => line += 1,
                b'\r' => {}
                _ if before + index as u64 >= at => return Ok(line),
                _ => {}
            }
        }
        let taken = rest.len();
        text.take(taken);
    }
    Ok(line)
}

fn parser(delimiter: u8) -> Reader {
    ReaderBuilder::new().delimiter(delimiter).build()
}

impl Row {
    fn new() -> Row {
        Row {
            bytes: vec![0; 4096],
            ends: vec![0; 64],
            fields: 0,
        }
    }

    fn field(&self, index: usize) -> Result<&str, Error> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        std::str::from_utf8(&self.bytes[start..self.ends[index]])
            .map_err(|_| Error::malformed("The CSV file is not encoded in UTF-8."))
    }

    /// Makes room for more bytes; false when there are as many as there may be.
    fn grow_bytes(&mut self) -> bool {
        let bytes = self.bytes.len() * 2;
        let may = bytes <= ITEM_BYTES_MAX;
        if may {
            self.bytes.resize(bytes, 0);
        }
        may
    }

    /// The same for more fields.
    fn grow_fields(&mut self) -> bool {
        let fields = self.ends.len() * 2;
        let may = fields <= CSV_COLUMNS_MAX;
        if may {
            self.ends.resize(fields, 0);
        }
        may
    }
}
