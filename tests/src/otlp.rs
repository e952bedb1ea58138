//! What a collector reads of the OpenTelemetry Protocol: spans and log records, by the field numbers of
//! opentelemetry-proto. Hides protobuf; written apart from the program's own writer, so that the two do not agree by chance.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// A span as a collector keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub trace: String,
    pub id: String,
    /// Empty for a root.
    pub parent: String,
    pub name: String,
    pub kind: u64,
    pub start_ns: u64,
    pub end_ns: u64,
    pub attributes: BTreeMap<String, String>,
    pub events: Vec<String>,
    /// Ids of the spans that it is linked to.
    pub links: Vec<String>,
    /// 1 ok, 2 error.
    pub status: u64,
    pub message: String,
    /// Attributes of its resource.
    pub resource: BTreeMap<String, String>,
}

/// A log record as a collector keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    pub time_ns: u64,
    pub severity: u64,
    pub event: String,
    pub body: String,
    pub attributes: BTreeMap<String, String>,
    pub trace: String,
    pub span: String,
}

/// The spans of an `ExportTraceServiceRequest`.
///
/// # Errors
/// When it is none.
pub fn spans(request: &[u8]) -> Result<Vec<Span>> {
    let mut spans = Vec::new();
    for of_resource in Message::read(request)?.messages(1)? {
        let resource = of_resource
            .messages(1)?
            .into_iter()
            .next()
            .unwrap_or_default();
        let resource = resource.attributes(1)?;
        for of_scope in of_resource.messages(2)? {
            for span in of_scope.messages(2)? {
                spans.push(read_span(&span, &resource)?);
            }
        }
    }
    Ok(spans)
}

fn read_span(span: &Message, resource: &BTreeMap<String, String>) -> Result<Span> {
    let status = span.messages(15)?.into_iter().next().unwrap_or_default();
    let events = span.messages(11)?;
    let events = events.iter().map(|event| event.text(2));
    let links = span.messages(13)?;
    Ok(Span {
        trace: hex(span.bytes(1)),
        id: hex(span.bytes(2)),
        parent: hex(span.bytes(4)),
        name: span.text(5)?,
        kind: span.number(6),
        start_ns: span.number(7),
        end_ns: span.number(8),
        attributes: span.attributes(9)?,
        events: events.collect::<Result<_>>()?,
        links: links.iter().map(|link| hex(link.bytes(2))).collect(),
        status: status.number(3),
        message: status.text(2)?,
        resource: resource.clone(),
    })
}

/// The records of an `ExportLogsServiceRequest`.
///
/// # Errors
/// When it is none.
pub fn log_records(request: &[u8]) -> Result<Vec<LogRecord>> {
    let mut records = Vec::new();
    for of_resource in Message::read(request)?.messages(1)? {
        for of_scope in of_resource.messages(2)? {
            for record in of_scope.messages(2)? {
                let body = record.messages(5)?.into_iter().next().unwrap_or_default();
                records.push(LogRecord {
                    time_ns: record.number(1),
                    severity: record.number(2),
                    event: record.text(12)?,
                    body: body.text(1)?,
                    attributes: record.attributes(6)?,
                    trace: hex(record.bytes(9)),
                    span: hex(record.bytes(10)),
                });
            }
        }
    }
    Ok(records)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A message by its fields' numbers.
#[derive(Debug, Default)]
struct Message(Vec<(u64, Field)>);

#[derive(Debug)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Message {
    fn read(mut rest: &[u8]) -> Result<Message> {
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let key = varint(&mut rest)?;
            let field = match key & 7 {
                0 => Field::Number(varint(&mut rest)?),
                1 => Field::Number(u64::from_le_bytes(take(&mut rest, 8)?.try_into()?)),
                2 => {
                    let length = usize::try_from(varint(&mut rest)?)?;
                    Field::Bytes(take(&mut rest, length)?.to_vec())
                }
                5 => Field::Number(u32::from_le_bytes(take(&mut rest, 4)?.try_into()?).into()),
                other => bail!("a field of wire type {other}"),
            };
            fields.push((key >> 3, field));
        }
        Ok(Message(fields))
    }

    fn all(&self, number: u64) -> impl Iterator<Item = &Field> {
        let fields = self.0.iter().filter(move |(found, _)| *found == number);
        fields.map(|(_, field)| field)
    }

    fn messages(&self, number: u64) -> Result<Vec<Message>> {
        let all = self.all(number).map(|field| match field {
            Field::Bytes(bytes) => Message::read(bytes),
            Field::Number(_) => bail!("field {number} is a number"),
        });
        all.collect()
    }

    fn bytes(&self, number: u64) -> &[u8] {
        match self.all(number).next() {
            Some(Field::Bytes(bytes)) => bytes,
            Some(Field::Number(_)) | None => &[],
        }
    }

    fn text(&self, number: u64) -> Result<String> {
        Ok(String::from_utf8(self.bytes(number).to_vec())?)
    }

    fn number(&self, number: u64) -> u64 {
        match self.all(number).next() {
            Some(Field::Number(value)) => *value,
            Some(Field::Bytes(_)) | None => 0,
        }
    }

    /// Key-value pairs; numbers and truth values as text.
    fn attributes(&self, number: u64) -> Result<BTreeMap<String, String>> {
        let mut attributes = BTreeMap::new();
        for pair in self.messages(number)? {
            let value = pair.messages(2)?.into_iter().next().context("a value")?;
            let text = match value.0.first() {
                Some((1, Field::Bytes(text))) => String::from_utf8(text.clone())?,
                Some((2 | 3, Field::Number(number))) => number.to_string(),
                other => bail!("a value of another kind: {other:?}"),
            };
            attributes.insert(pair.text(1)?, text);
        }
        Ok(attributes)
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length).context("it is cut off")?;
    *rest = after;
    Ok(taken)
}

fn varint(rest: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("a number of more than 64 bits")
}
