//! Live streams as server-sent events: the history of an execution, and the starts and ends of a state machine's
//! executions. Hides how a stream goes on where an earlier one broke off, and that a slow client costs little and not for
//! ever.
//!
//! Each message has an id, and a stream that is asked for with the id of the last message that was received
//! (`Last-Event-ID`) begins behind it. Comments keep a silent stream open.

mod early;
mod message;
mod open;
mod pump;

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use stepwell_engine::{
    Caller, MachineNews, MachineWatch, NoteWatch, ProgressNote, Status, ToldChange, Watch,
};

use crate::{
    api::problem,
    attempts,
    auth::Identity,
    aws::{self, Seconds},
    extract::{InPath, InQuery},
    in_flight::NoRoom,
    limits::{
        STREAM_PLACE_CHARS_MAX, STREAM_SLOW_TIME_MAX, STREAM_TIME_MAX, STREAMS_OF_ACCOUNT_MAX,
        WATCH_KEEP_ALIVE,
    },
    router,
    serve::ServerState,
};

use early::Early;
use message::Message;
pub(crate) use open::Streams;
use open::{OpenStream, TooMany};
use pump::Pump;

const STREAM: &str = "text/event-stream";
const LAST_EVENT_ID: &str = "last-event-id";
/// Behind the id of the last event in that of the message that ends an execution's stream.
const END: &str = ".end";

/// Wire form of the last message of an execution's stream.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct End<'a> {
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_date: Option<Seconds>,
}

/// Wire form of a start or an end, with the names of DescribeExecution.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Changed<'a> {
    execution_arn: &'a str,
    state_machine_arn: &'a str,
    name: &'a str,
    status: &'a str,
    start_date: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_date: Option<Seconds>,
    redrive_count: u32,
}

/// Wire form of why a stream ends or begins anew.
#[derive(Serialize)]
struct Reason<'a> {
    reason: &'a str,
}

/// Wire form of the query of a state machine's stream.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StreamQuery {
    last_event_id: Option<String>,
}

/// Whether a request asks for a stream.
pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT);
    accepts.is_some_and(|value| value.to_str().is_ok_and(|value| value.contains(STREAM)))
}

/// The place that the client has got to; the header beats the query, since it is newer.
pub(crate) fn place<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> Option<&'a str> {
    let header = headers.get(LAST_EVENT_ID);
    let header = header.and_then(|value| value.to_str().ok());
    header.or(query).filter(|place| !place.is_empty())
}

/// The events of an execution as they are committed (`event: history`, its id, its JSON), from the first one or behind
/// the one that was received last, and what its running attempts say of their progress (`event: progress`, which has no id:
/// the latest note of an attempt is told again to who comes back); when it has ended, `event: end`. Whoever has that is
/// answered 204, which tells a browser to ask no more.
pub(crate) async fn execution(
    state: Arc<ServerState>,
    caller: Caller,
    arn: String,
    place: Option<&str>,
) -> Response<Body> {
    let (place, had_end) = match place.map(|place| (place, place.strip_suffix(END))) {
        None => ("0", false),
        Some((_, Some(place))) => (place, true),
        Some((place, None)) => (place, false),
    };
    let Ok(after) = place.parse::<u64>() else {
        return wrong_place("the number of an event of the execution");
    };
    if had_end {
        return match state.engine.execution(&caller, &arn).await {
            Ok(execution) if execution.status != Status::Running => {
                StatusCode::NO_CONTENT.into_response()
            }
            // It was redriven.
            Ok(_) => watched(state, caller, arn, after).await,
            Err(error) => problem(error),
        };
    }
    watched(state, caller, arn, after).await
}

async fn watched(
    state: Arc<ServerState>,
    caller: Caller,
    arn: String,
    after: u64,
) -> Response<Body> {
    let open = match state.streams.open(&caller.tenant) {
        Ok(open) => open,
        Err(TooMany) => return too_many(),
    };
    match state.engine.watch(&caller, &arn, after).await {
        Ok(watch) => {
            let source = Source {
                state: state.clone(),
                caller,
                arn,
                notes: watch.notes(),
                early: Early::default(),
                watch,
                last: after,
                over: false,
            };
            respond(state, open, source.stream())
        }
        Err(error) => problem(error),
    }
}

/// Where the messages of an execution's stream come from.
struct Source {
    state: Arc<ServerState>,
    caller: Caller,
    arn: String,
    watch: Watch,
    notes: NoteWatch,
    /// Notes that came before the entry of their state was told.
    early: Early,
    /// Id of the last event.
    last: u64,
    over: bool,
}

impl Source {
    fn stream(self) -> impl Stream<Item = Message> + Send {
        stream::unfold(self, |mut source| async {
            let messages = source.next().await?;
            Some((messages, source))
        })
        .flat_map(stream::iter)
    }

    async fn next(&mut self) -> Option<Vec<Message>> {
        if self.over {
            return None;
        }
        let entries = loop {
            let notes = self.early.take(self.last);
            if !notes.is_empty() {
                return Some(notes.iter().map(progress).map(Message::from).collect());
            }
            tokio::select! {
                biased;
                entries = self.watch.next() => break entries,
                notes = self.notes.next() => self.early.put(notes),
            }
        };
        if let Some(entries) = entries {
            self.last = entries.last().map_or(self.last, |last| last.id);
            let events = entries.iter().filter_map(|entry| {
                let event = aws::WireEvent::told(entry)?;
                Some(message::named("history", &event, &entry.id.to_string()))
            });
            let events: Vec<Bytes> = events.collect();
            let mut place = self.state.stream_place(&self.caller.tenant);
            let bytes = events.iter().map(Bytes::len).sum();
            if place.hold(bytes) == Err(NoRoom) {
                self.over = true;
                return Some(vec![no_room().into()]);
            }
            // They are given back together, when the last of them is taken.
            let place = Arc::new(place);
            let messages = events.into_iter();
            let messages = messages.map(|text| Message::held(text, place.clone()));
            return Some(messages.collect());
        }
        self.over = true;
        // What breaks off without an end is asked for again.
        if !self.watch.is_closed() {
            return None;
        }
        Some(vec![self.end().await.into()])
    }

    async fn end(&self) -> Bytes {
        let engine = &self.state.engine;
        let place = format!("{}{END}", self.last);
        match engine.execution(&self.caller, &self.arn).await {
            Ok(execution) => {
                let stop_date = execution.stopped_at.map(|at| Seconds(at.0));
                let status = aws::status_name(execution.status);
                message::named("end", &End { status, stop_date }, &place)
            }
            Err(error) => {
                let arn = &*self.arn;
                tracing::warn!(%error, arn, "a watch could not tell how the execution ended");
                message::named("end", &serde_json::json!({}), &place)
            }
        }
    }
}

fn progress(note: &ProgressNote) -> Bytes {
    message::last("progress", &attempts::Progress::of(note))
}

/// `GET /api/machines/{arn}/events`: the starts, redrives and ends of a state machine's executions as they become durable
/// (`event: execution`), from now on or behind the place of the message that was received last. `event: reset` comes
/// first where that cannot be told: the client lists the executions anew and goes on from there.
pub(crate) async fn machine(
    State(state): State<Arc<ServerState>>,
    InPath(arn): InPath<String>,
    InQuery(query): InQuery<StreamQuery>,
    headers: HeaderMap,
    identity: Option<Extension<Identity>>,
) -> Response<Body> {
    if !is_asked(&headers) {
        let why = "this is a live stream: ask for it with `Accept: text/event-stream`; ListExecutions lists what there is";
        return router::error(StatusCode::NOT_ACCEPTABLE, why);
    }
    let place = place(&headers, query.last_event_id.as_deref());
    if place.is_some_and(|place| place.len() > STREAM_PLACE_CHARS_MAX) {
        return wrong_place("an id that a message of this stream had");
    }
    let caller = aws::caller(&state.config, &headers, identity.as_deref());
    let open = match state.streams.open(&caller.tenant) {
        Ok(open) => open,
        Err(TooMany) => return too_many(),
    };
    match state.engine.watch_machine(&caller, &arn, place).await {
        Ok(watch) => {
            let messages = changes(watch, WATCH_KEEP_ALIVE).map(Message::from);
            respond(state, open, messages)
        }
        Err(error) => problem(error),
    }
}

/// How a state machine's stream goes on.
enum Listening {
    Begins(MachineWatch),
    GoesOn(MachineWatch),
    Over,
}

fn changes(watch: MachineWatch, silence: Duration) -> impl Stream<Item = Bytes> + Send {
    let begins_with = Listening::Begins(watch);
    let messages = stream::unfold(begins_with, move |listening| async move {
        match listening {
            Listening::Begins(watch) => Some((vec![begins(&watch)], Listening::GoesOn(watch))),
            Listening::GoesOn(watch) => heard(watch, silence).await,
            Listening::Over => None,
        }
    });
    messages.flat_map(stream::iter)
}

/// The first message tells the place, so that a stream that breaks off at once goes on as well.
fn begins(watch: &MachineWatch) -> Bytes {
    let place = watch.place();
    if !watch.is_reset() {
        return message::comment("listening", Some(&place));
    }
    let reason = "changes after the last message that you have are not remembered: list the executions, and go on from here";
    message::named("reset", &Reason { reason }, &place)
}

/// What comes next. A silent time moves the place as well.
async fn heard(mut watch: MachineWatch, silence: Duration) -> Option<(Vec<Bytes>, Listening)> {
    let Ok(news) = tokio::time::timeout(silence, watch.next()).await else {
        let silence = message::comment("heartbeat", Some(&watch.place()));
        return Some((vec![silence], Listening::GoesOn(watch)));
    };
    match news? {
        MachineNews::Changes(changes) => {
            let messages = changes
                .iter()
                .map(|told| Bytes::from_owner(told.shown(changed)));
            Some((messages.collect(), Listening::GoesOn(watch)))
        }
        MachineNews::Gone => {
            let reason = "changes that you have not received are not remembered any more: list the executions, and listen anew";
            Some((
                vec![message::last("dropped", &Reason { reason })],
                Listening::Over,
            ))
        }
    }
}

/// The message of a change, which is the same for all who listen.
fn changed(told: &ToldChange) -> Vec<u8> {
    let change = &told.change;
    let text = Changed {
        execution_arn: &change.execution_arn,
        state_machine_arn: &change.machine_arn,
        // `arn:aws:states:REGION:ACCOUNT:execution:MACHINE:NAME`, and of an EXPRESS one its run.
        name: change.execution_arn.split(':').nth(7).unwrap_or_default(),
        status: aws::status_name(change.status),
        start_date: Seconds(change.started_at.0),
        stop_date: change.stopped_at.map(|at| Seconds(at.0)),
        redrive_count: change.redrive_count,
    };
    message::named("execution", &text, &told.place()).into()
}

/// Streams the messages to a client, for which the stream is held open.
fn respond(
    state: Arc<ServerState>,
    open: OpenStream,
    messages: impl Stream<Item = Message> + Send + 'static,
) -> Response<Body> {
    let pump = Pump {
        slow_after: STREAM_SLOW_TIME_MAX,
        over_after: STREAM_TIME_MAX,
        silence: WATCH_KEEP_ALIVE,
    };
    let draining = async move { state.draining().await };
    let messages = pump.start(messages, draining).map(move |text| {
        let _open = &open;
        Ok::<_, Infallible>(text)
    });
    let mut response = Response::new(Body::from_stream(messages));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(STREAM));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that gather answers would hold back what is live.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn no_room() -> Bytes {
    let reason = "too much waits for the clients of this account: take what was asked for, then ask again with the id of the last message as Last-Event-ID";
    message::last("dropped", &Reason { reason })
}

fn too_many() -> Response<Body> {
    let why = format!(
        "{STREAMS_OF_ACCOUNT_MAX} live streams of this account are open, and no more can be: close some that nobody reads; one stream of a state machine tells of all its executions"
    );
    router::error(StatusCode::TOO_MANY_REQUESTS, &why)
}

fn wrong_place(what: &str) -> Response<Body> {
    let why =
        format!("Last-Event-ID is {what}, as a stream gave it; without one the stream begins anew");
    router::error(StatusCode::BAD_REQUEST, &why)
}

#[cfg(test)]
mod tests;
