//! The events of an execution as they are committed. Hides the form of the stream.

use anyhow::{Context, anyhow};
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use serde_json::Value;
use stepwell_egress::sigv4::canonical::encoded;

use super::{Client, whole};
use crate::exit::{Blame, Outcome, Stop};
use crate::timeline::{HistoryEvent, Note};

/// Bytes of one line of a stream of events (ours; an event holds one payload, of 16 MiB with raised limits, escaped).
const STREAM_LINE_BYTES_MAX: usize = 64 << 20;

impl Client {
    /// The events of an execution as they are committed, from the first one on.
    pub(crate) async fn watch(&self, arn: &str) -> Outcome<EventStream> {
        let path = self.url(&format!("/api/executions/{}/events", encoded(arn)));
        let request = Request::get(path)
            .header(header::ACCEPT, "text/event-stream")
            .body(Vec::new())
            .runtime()?;
        let response = self.send(request).await?;
        if response.status() != StatusCode::OK {
            let bytes = whole(response.into_body()).await?;
            let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let message = ["message", "error"]
                .iter()
                .find_map(|key| answer.get(*key)?.as_str().map(str::to_owned));
            return Err(Stop::Usage(anyhow!(
                "{}",
                message.unwrap_or_else(|| format!("`{arn}` cannot be watched"))
            )));
        }
        Ok(EventStream {
            body: response.into_body(),
            rest: Vec::new(),
        })
    }
}

/// What a stream told: events, and notes of running attempts.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) events: Vec<HistoryEvent>,
    pub(crate) notes: Vec<Note>,
    ended: bool,
}

/// The events of one execution. Ends when the execution is closed.
pub(crate) struct EventStream {
    body: Body,
    rest: Vec<u8>,
}

impl EventStream {
    /// The next events or notes, at least one; `None` at the end.
    pub(crate) async fn next(&mut self) -> Outcome<Option<Heard>> {
        loop {
            let mut stream = (&mut self.body).into_data_stream();
            let Some(chunk) = stream.next().await else {
                return Ok(None);
            };
            self.rest.extend_from_slice(
                &chunk
                    .context("the connection to the server broke off")
                    .runtime()?,
            );
            let heard = self.take_messages()?;
            if !heard.events.is_empty() || !heard.notes.is_empty() {
                return Ok(Some(heard));
            }
            if heard.ended {
                return Ok(None);
            }
            if self.rest.len() > STREAM_LINE_BYTES_MAX {
                return Err(Stop::Runtime(anyhow!(
                    "an event of the stream is larger than {STREAM_LINE_BYTES_MAX} bytes"
                )));
            }
        }
    }

    /// The whole messages received so far: `event:` and `data:` lines up to an empty one.
    fn take_messages(&mut self) -> Outcome<Heard> {
        let mut heard = Heard::default();
        while let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
            let message: Vec<u8> = self.rest.drain(..end + 2).collect();
            let message = String::from_utf8_lossy(&message);
            let field = |name: &str| {
                let lines = message
                    .lines()
                    .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                lines
                    .map(|line| line.strip_prefix(' ').unwrap_or(line))
                    .collect::<Vec<_>>()
                    .join("\n")
            };
            match field("event").as_str() {
                "history" => {
                    let event: Value = serde_json::from_str(&field("data"))
                        .context("an event of the stream is not JSON")
                        .runtime()?;
                    heard.events.push(HistoryEvent::read(&event).runtime()?);
                }
                "progress" => {
                    let note = serde_json::from_str(&field("data")).ok();
                    heard.notes.extend(note.as_ref().and_then(Note::read));
                }
                "end" => heard.ended = true,
                _ => {}
            }
        }
        Ok(heard)
    }
}
