//! Traces that executions belong to: what a caller's header says of one, and the ids of spans. Hides both headers' forms.
//! Ids follow from the execution's ARN and its history, so that whoever tells of a span twice tells of the same one, and
//! a task can be given its span's id before anybody tells of it.

use sha2::{Digest, Sha256};
use stepwell_interp::TaskRequest;

use crate::{dispatch::hex, shard::Info};

/// Id of a trace, as W3C and OpenTelemetry have it.
pub type TraceId = [u8; 16];

/// Id of a span.
pub type SpanId = [u8; 8];

/// The trace of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub trace: TraceId,
    /// The caller's span.
    pub parent: Option<SpanId>,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    context: TraceContext,
    /// Whether the trace is recorded, when the header says so.
    sampled: Option<bool>,
}

impl TraceContext {
    /// The trace that the header names, in the form of `X-Amzn-Trace-Id` or of W3C's `traceparent`; one of its own when it
    /// names none. `None` when the header says that the trace is not recorded.
    pub fn of(header: Option<&str>, execution_arn: &str) -> Option<TraceContext> {
        match header.and_then(read) {
            Some(header) if header.sampled == Some(false) => None,
            Some(header) => Some(header.context),
            None => Some(TraceContext {
                trace: hashed(&[b"trace", execution_arn.as_bytes()]),
                parent: None,
            }),
        }
    }
}

/// The span of an execution, from its start or its last redrive to its end.
pub fn execution_span(execution_arn: &str, redrives: u32) -> SpanId {
    hashed(&[
        b"execution",
        execution_arn.as_bytes(),
        &redrives.to_be_bytes(),
    ])
}

/// The span of a visit of a state, by the id of the event that entered it.
pub fn state_span(execution_arn: &str, entered_id: u64, redrives: u32) -> SpanId {
    let (entered, redrives) = (entered_id.to_be_bytes(), redrives.to_be_bytes());
    hashed(&[b"state", execution_arn.as_bytes(), &entered, &redrives])
}

/// The span of an attempt at a task; attempts of a visit count from 1, over redrives.
pub fn attempt_span(execution_arn: &str, entered_id: u64, attempt: u32) -> SpanId {
    let (entered, attempt) = (entered_id.to_be_bytes(), attempt.to_be_bytes());
    hashed(&[b"attempt", execution_arn.as_bytes(), &entered, &attempt])
}

/// The value of `X-Amzn-Trace-Id` for a W3C `traceparent`; `None` when it is none.
pub fn from_traceparent(text: &str) -> Option<String> {
    let header = read_w3c(text.trim())?;
    let sampled = header.sampled != Some(false);
    Some(amzn(
        &header.context.trace,
        &header.context.parent?,
        sampled,
    ))
}

impl Info {
    /// Where its spans belong, if it has any.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        if !self.traced {
            return None;
        }
        TraceContext::of(self.trace_header.as_deref(), &self.execution_arn)
    }

    /// The header by which what an attempt calls continues the trace: below the attempt's span, or as it came when there
    /// is none.
    pub(crate) fn trace_header_of(&self, request: &TaskRequest) -> Option<String> {
        match self.trace() {
            Some(context) => Some(amzn(&context.trace, &self.attempt_span(request), true)),
            None => self.trace_header.as_deref().map(str::to_owned),
        }
    }

    /// The same for a state, by the id of the event that entered it.
    pub(crate) fn trace_header_below(&self, entered_id: u64, redrives: u32) -> Option<String> {
        match self.trace() {
            Some(context) => {
                let span = state_span(&self.execution_arn, entered_id, redrives);
                Some(amzn(&context.trace, &span, true))
            }
            None => self.trace_header.as_deref().map(str::to_owned),
        }
    }

    /// The same for an attempt in W3C's form, which tasks are given; `None` when it came with no trace.
    pub(crate) fn traceparent_of(&self, request: &TaskRequest) -> Option<String> {
        if let Some(context) = self.trace() {
            return Some(w3c(&context.trace, &self.attempt_span(request), true));
        }
        let header = read(self.trace_header.as_deref()?)?;
        let parent = header.context.parent?;
        Some(w3c(
            &header.context.trace,
            &parent,
            header.sampled == Some(true),
        ))
    }

    fn attempt_span(&self, request: &TaskRequest) -> SpanId {
        attempt_span(
            &self.execution_arn,
            request.entered_id,
            request.task.attempt,
        )
    }
}

fn read(text: &str) -> Option<Header> {
    let text = text.trim();
    read_amzn(text).or_else(|| read_w3c(text))
}

/// `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1` (X-Ray developer guide, "Tracing header").
fn read_amzn(text: &str) -> Option<Header> {
    let (mut trace, mut parent, mut sampled) = (None, None, None);
    let fields = text.split(';').map(str::trim);
    for field in fields.filter(|field| !field.is_empty()) {
        let (key, value) = field.split_once('=')?;
        match key.trim() {
            "Root" => trace = root(value.trim()),
            "Parent" => parent = id::<8>(value.trim()),
            "Sampled" => {
                sampled = match value.trim() {
                    "1" => Some(true),
                    "0" => Some(false),
                    // `?` leaves it to whoever is called.
                    _ => None,
                }
            }
            // `Self`, `Lineage` and what else there may be.
            _ => {}
        }
    }
    Some(Header {
        context: TraceContext {
            trace: trace?,
            parent,
        },
        sampled,
    })
}

fn root(text: &str) -> Option<TraceId> {
    let (seconds, rest) = text.strip_prefix("1-")?.split_once('-')?;
    if seconds.len() != 8 {
        return None;
    }
    id::<16>(&format!("{seconds}{rest}"))
}

/// `00-<trace>-<span>-<flags>` (W3C Trace Context, level 1); later versions may have more fields.
fn read_w3c(text: &str) -> Option<Header> {
    let mut fields = text.split('-');
    let version = id_or_zero::<1>(fields.next()?)?;
    let trace = id::<16>(fields.next()?)?;
    let parent = id::<8>(fields.next()?)?;
    let [flags] = id_or_zero::<1>(fields.next()?)?;
    if version == [0xff] || (version == [0] && fields.next().is_some()) {
        return None;
    }
    Some(Header {
        context: TraceContext {
            trace,
            parent: Some(parent),
        },
        sampled: Some(flags & 1 == 1),
    })
}

/// An id in hex; all zeros are none.
fn id<const N: usize>(text: &str) -> Option<[u8; N]> {
    id_or_zero(text).filter(|id| id.iter().any(|byte| *byte != 0))
}

fn id_or_zero<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut id = [0; N];
    for (byte, at) in id.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(id)
}

fn amzn(trace: &TraceId, parent: &SpanId, sampled: bool) -> String {
    let (trace, parent) = (hex(trace), hex(parent));
    let (seconds, rest) = trace.split_at(8);
    let sampled = u8::from(sampled);
    format!("Root=1-{seconds}-{rest};Parent={parent};Sampled={sampled}")
}

fn w3c(trace: &TraceId, parent: &SpanId, sampled: bool) -> String {
    let flags = u8::from(sampled);
    format!("00-{}-{}-{flags:02x}", hex(trace), hex(parent))
}

/// The first bytes of a hash of the parts, each with its end marked. All zeros would be no id, and are as likely as any
/// other.
fn hashed<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut id = [0; N];
    for (byte, hashed) in id.iter_mut().zip(hash.finalize()) {
        *byte = hashed;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "5759e988bd862e3fe1be46a994272793";

    fn context(header: &str) -> Option<(String, Option<String>)> {
        let context = TraceContext::of(Some(header), "arn:e")?;
        Some((hex(&context.trace), context.parent.map(|span| hex(&span))))
    }

    #[test]
    fn both_headers_name_a_trace() {
        let parent = Some("53995c3f42cd8ad8".to_owned());
        let both = Some((TRACE.to_owned(), parent));
        let root = Some((TRACE.to_owned(), None));
        for (header, expected) in [
            (
                "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
                both.clone(),
            ),
            (
                "Self=1-0-1; Root=1-5759e988-bd862e3fe1be46a994272793; Parent=53995c3f42cd8ad8;Lineage=a:b",
                both.clone(),
            ),
            (
                "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
                both.clone(),
            ),
            (
                "01-5759E988bd862e3fe1be46a994272793-53995c3f42cd8ad8-03-more",
                both,
            ),
            ("Root=1-5759e988-bd862e3fe1be46a994272793", root.clone()),
            (
                "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=;Sampled=?",
                root,
            ),
            (
                "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00",
                None,
            ),
            ("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0", None),
        ] {
            assert_eq!(context(header), expected, "{header}");
        }
    }

    #[test]
    fn what_names_none_makes_a_trace_of_its_own() {
        let own = TraceContext::of(None, "arn:e").map(|context| hex(&context.trace));
        for header in [
            "",
            "x",
            "Root=5759e988",
            "Root=1-5759e98-8bd862e3fe1be46a994272793",
            "00-00000000000000000000000000000000-53995c3f42cd8ad8-01",
            "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01-x",
            "ff-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
            "00-5759e988bd862e3fe1be46a99427279é-53995c3f42cd8ad8-01",
        ] {
            let (trace, parent) = context(header).unwrap();
            assert_eq!((Some(trace), parent), (own.clone(), None), "{header}");
        }
        let other = TraceContext::of(None, "arn:f").map(|context| hex(&context.trace));
        assert_ne!(own, other);
    }

    #[test]
    fn a_traceparent_is_kept_in_the_form_of_the_service() {
        assert_eq!(
            from_traceparent("00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00").as_deref(),
            Some("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0")
        );
        assert_eq!(from_traceparent("Root=1-5759e988-bd"), None);
    }

    #[test]
    fn spans_differ_by_all_that_they_are_of() {
        let spans = [
            execution_span("a", 0),
            execution_span("a", 1),
            execution_span("b", 0),
            state_span("a", 2, 0),
            state_span("a", 2, 1),
            attempt_span("a", 2, 1),
            attempt_span("a", 2, 0),
            attempt_span("a", 3, 1),
        ];
        for (at, span) in spans.iter().enumerate() {
            assert!(!spans[..at].contains(span), "{at}");
        }
    }
}
