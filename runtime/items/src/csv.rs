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

/// The rows of a file from a place on.
pub(crate) struct CsvRows {
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
        let (mut bytes, mut fields) = (0, 0);
        let mut ended = false;
        loop {
            if self.text.rest().is_empty() && !ended {
                ended = !self.text.more().await?;
            }
            let (result, taken, written, found) = self.parser.read_record(
                self.text.rest(),
                &mut self.row.bytes[bytes..],
                &mut self.row.ends[fields..],
            );
            self.text.take(taken);
            bytes += written;
            fields += found;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => {
                    self.row.grow_bytes()?;
                }
                ReadRecordResult::OutputEndsFull => {
                    self.row.grow_fields()?;
                }
                ReadRecordResult::Record => {
                    self.row.fields = fields;
                    return Ok(true);
                }
                ReadRecordResult::End => return Ok(false),
            }
        }
    }
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

    fn grow_bytes(&mut self) -> Result<(), Error> {
        let bytes = self.bytes.len() * 2;
        if bytes > ITEM_BYTES_MAX {
            let text = format!("A row of the CSV file has more than {ITEM_BYTES_MAX} bytes.");
            return Err(Error::Malformed(text));
        }
        self.bytes.resize(bytes, 0);
        Ok(())
    }

    fn grow_fields(&mut self) -> Result<(), Error> {
        let fields = self.ends.len() * 2;
        if fields > CSV_COLUMNS_MAX {
            let text = format!("A row of the CSV file has more than {CSV_COLUMNS_MAX} columns.");
            return Err(Error::Malformed(text));
        }
        self.ends.resize(fields, 0);
        Ok(())
    }
}
