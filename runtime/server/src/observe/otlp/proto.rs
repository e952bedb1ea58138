//! Requests of the OpenTelemetry Protocol in protobuf (opentelemetry-proto 1.x: `trace/v1`, `logs/v1`, `common/v1`,
//! `resource/v1` and the two `collector` services). What it hides: protobuf. The crate that is generated from the same
//! files brings a gRPC stack along; of it all, these few messages are written, and of the answers one number is read.

use stepwell_engine::{SpanId, TraceId};

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Any {
    Text(String),
    Int(i64),
}

/// An attribute.
pub(super) type Attribute = (&'static str, Any);

/// What a span is of, as far as we have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpanKind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SpanStatus {
    Ok,
    /// With what went wrong.
    Error(String),
}

/// A span that ended. Times are nanoseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) trace: TraceId,
    pub(super) id: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) name: String,
    pub(super) kind: SpanKind,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) attributes: Vec<Attribute>,
    pub(super) events: Vec<(u64, &'static str)>,
    /// A span that this one goes on with.
    pub(super) link: Option<SpanId>,
    pub(super) status: SpanStatus,
}

/// A log record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogRecord {
    pub(super) time_ns: u64,
    pub(super) severity: Severity,
    /// The event's type.
    pub(super) name: &'static str,
    pub(super) body: String,
    pub(super) attributes: Vec<Attribute>,
    pub(super) trace: Option<(TraceId, SpanId)>,
}

/// How bad what a log record tells is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Info = 9,
    Error = 17,
}

/// W3C's flag of a trace that is recorded.
const SAMPLED: u32 = 1;

impl Span {
    /// A `Span`.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.bytes(1, &self.trace);
        w.bytes(2, &self.id);
        if let Some(parent) = &self.parent {
            w.bytes(4, parent);
        }
        w.text(5, &self.name);
        w.number(6, self.kind as u64);
        w.fixed64(7, self.start_ns);
        w.fixed64(8, self.end_ns);
        attributes(&mut w, 9, &self.attributes);
        for (at, name) in &self.events {
            w.message(11, |w| {
                w.fixed64(1, *at);
                w.text(2, name);
            });
        }
        if let Some(link) = &self.link {
            w.message(13, |w| {
                w.bytes(1, &self.trace);
                w.bytes(2, link);
            });
        }
        w.message(15, |w| match &self.status {
            SpanStatus::Ok => w.number(3, 1),
            SpanStatus::Error(message) => {
                w.text(2, message);
                w.number(3, 2);
            }
        });
        w.fixed32(16, SAMPLED);
        w.0
    }
}

impl LogRecord {
    /// A `LogRecord`.
    pub(super) fn encode(&self, observed_ns: u64) -> Vec<u8> {
        let mut w = Writer::default();
        w.fixed64(1, self.time_ns);
        w.number(2, self.severity as u64);
        let severity = match self.severity {
            Severity::Info => "INFO",
            Severity::Error => "ERROR",
        };
        w.text(3, severity);
        w.message(5, |w| w.text(1, &self.body));
        attributes(&mut w, 6, &self.attributes);
        if let Some((trace, span)) = &self.trace {
            w.fixed32(8, SAMPLED);
            w.bytes(9, trace);
            w.bytes(10, span);
        }
        w.fixed64(11, observed_ns);
        w.text(12, self.name);
        w.0
    }
}

/// An `ExportTraceServiceRequest` or an `ExportLogsServiceRequest`: the two have the same numbers. `items` are encoded spans
/// or log records.
pub(super) fn request<'a>(
    resource: &[(String, String)],
    items: impl Iterator<Item = &'a [u8]>,
) -> Vec<u8> {
    let mut w = Writer::default();
    w.message(1, |w| {
        w.message(1, |w| {
            for (key, value) in resource {
                w.message(1, |w| {
                    w.text(1, key);
                    w.message(2, |w| w.text(1, value));
                });
            }
        });
        w.message(2, |w| {
            w.message(1, |w| {
                w.text(1, "stepwell");
                w.text(2, env!("CARGO_PKG_VERSION"));
            });
            for item in items {
                w.bytes(2, item);
            }
        });
    });
    w.0
}

/// How many items a collector did not take, of an `ExportTraceServiceResponse` or `ExportLogsServiceResponse`:
/// `partial_success` (1) with the number rejected (1). 0 as well for an answer that is none, which many collectors give.
pub(super) fn rejected(answer: &[u8]) -> u64 {
    let partial = field(answer, 1).and_then(|value| match value {
        Value::Bytes(bytes) => field(bytes, 1),
        Value::Number(_) => None,
    });
    match partial {
        Some(Value::Number(rejected)) => rejected,
        Some(Value::Bytes(_)) | None => 0,
    }
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The first field of that number in a message, if it is a number or bytes.
fn field(message: &[u8], wanted: u64) -> Option<Value<'_>> {
    let mut rest = message;
    loop {
        let key = read_varint(&mut rest)?;
        let value = match key & 7 {
            0 => Value::Number(read_varint(&mut rest)?),
            2 => {
                let length = usize::try_from(read_varint(&mut rest)?).ok()?;
                let (value, after) = rest.split_at_checked(length)?;
                rest = after;
                Value::Bytes(value)
            }
            1 => {
                rest = rest.get(8..)?;
                continue;
            }
            5 => {
                rest = rest.get(4..)?;
                continue;
            }
            _ => return None,
        };
        if key >> 3 == wanted {
            return Some(value);
        }
    }
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn attributes(w: &mut Writer, field: u32, attributes: &[Attribute]) {
    for (key, value) in attributes {
        w.message(field, |w| {
            w.text(1, key);
            w.message(2, |w| match value {
                Any::Text(text) => w.text(1, text),
                // A negative number takes ten bytes, as its two's complement does.
                Any::Int(value) => w.number(3, value.cast_unsigned()),
            });
        });
    }
}

/// A message in protobuf's wire format. Fields are written also when they have their default value: a value of an
/// attribute is a `oneof`, whose field tells which it is.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn key(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn number(&mut self, field: u32, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }

    fn fixed64(&mut self, field: u32, value: u64) {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    fn fixed32(&mut self, field: u32, value: u32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    fn message(&mut self, field: u32, write: impl FnOnce(&mut Writer)) {
        let mut inner = Writer::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn what_a_collector_rejected_is_read() {
        assert_eq!(rejected(&[]), 0);
        assert_eq!(rejected(&[0x0a, 0x02, 0x08, 0x07]), 7);
        let with_text = [0x0a, 0x07, 0x12, 0x02, b'n', b'o', 0x08, 0xac, 0x02];
        assert_eq!(rejected(&with_text), 300);
        assert_eq!(rejected(b"{\"partialSuccess\":{}}"), 0);
        assert_eq!(rejected(&[0x0a, 0xff]), 0);
    }

    /// `span.hex` and `log_record.hex` were written by the Python package that is generated from the same files.
    #[test]
    fn the_wire_format_is_that_of_the_generated_code() {
        let span = Span {
            trace: [1; 16],
            id: [2; 8],
            parent: Some([3; 8]),
            name: "n".to_owned(),
            kind: SpanKind::Client,
            start_ns: 1_000_000,
            end_ns: 2_000_000,
            attributes: vec![("i", Any::Int(-1)), ("t", Any::Text(String::new()))],
            events: vec![(1_500_000, "started")],
            link: Some([4; 8]),
            status: SpanStatus::Error("why".to_owned()),
        };
        assert_eq!(hex(&span.encode()), include_str!("span.hex").trim());
        let record = LogRecord {
            time_ns: 1_000_000,
            severity: Severity::Error,
            name: "TaskFailed",
            body: "b".to_owned(),
            attributes: vec![("k", Any::Text("v".to_owned()))],
            trace: Some(([1; 16], [2; 8])),
        };
        assert_eq!(
            hex(&record.encode(2_000_000)),
            include_str!("log_record.hex").trim()
        );
    }
}
