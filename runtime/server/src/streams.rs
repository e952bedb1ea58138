//! Live streams as server-sent events: the history of an execution, and the starts and ends of a state machine's
//! executions. Hides how a stream goes on where an earlier one broke off, and that a slow client costs little and not for
//! ever.
//!
//! Each message has an id, and a stream that is asked for with the id of the last message that was received
//! (`Last-Event-ID`) begins behind it. Comments keep a silent stream open.

use std::{
    convert::Infallible,
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{AcqRel, Release},
        },
    },
    time::Duration,
};

use axum::{
    Extension,
    body::Body,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use stepwell_engine::{
    Caller, MachineChange, MachineNews, MachineWatch, NoteWatch, ProgressNote, Status, Watch,
};
use tokio::sync::mpsc::{self, error::SendTimeoutError};

use crate::{
    api::problem,
    attempts,
    auth::Identity,
    aws::{self, Seconds},
    in_flight::{NoRoom, Place},
    limits::{
        STREAM_MESSAGES_MAX, STREAM_PLACE_CHARS_MAX, STREAM_SLOW_TIME_MAX, STREAM_TIME_MAX,
        WATCH_KEEP_ALIVE,
    },
    router,
    serve::ServerState,
};

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
/// the latest note of an attempt is told again to who comes back); when it has ended, `event: end`. Whoever has that is answered 204, which tells a
/// browser to ask no more.
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
    match state.engine.watch(&caller, &arn, after).await {
        Ok(watch) => {
            let source = Source {
                state: state.clone(),
                caller,
                arn,
                notes: watch.notes(),
                watch,
                last: after,
                over: false,
            };
            respond(state, source.stream())
        }
        Err(error) => problem(error),
    }
}

/// A message, and the place that it has among the answers that wait for their clients, until its client takes it.
struct Message {
    event: Event,
    _place: Arc<Place>,
}

impl From<Event> for Message {
    /// One that is small.
    fn from(event: Event) -> Message {
        Message {
            event,
            _place: Arc::new(Place::nowhere()),
        }
    }
}

/// Where the messages of an execution's stream come from.
struct Source {
    state: Arc<ServerState>,
    caller: Caller,
    arn: String,
    watch: Watch,
    notes: NoteWatch,
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
        let entries = tokio::select! {
            // What became durable before a note comes before it.
            biased;
            entries = self.watch.next() => entries,
            notes = self.notes.next() => {
                return Some(notes.iter().map(progress).map(Message::from).collect());
            }
        };
        if let Some(entries) = entries {
            self.last = entries.last().map_or(self.last, |last| last.id);
            let mut bytes = 0;
            let mut events = Vec::new();
            for entry in &entries {
                if let Some(event) = aws::WireEvent::told(entry) {
                    let text = json(&event);
                    bytes += text.len();
                    events.push(written("history", &text).id(entry.id.to_string()));
                }
            }
            let mut place = self.state.stream_place(&self.caller.tenant);
            if place.hold(bytes) == Err(NoRoom) {
                self.over = true;
                return Some(vec![no_room().into()]);
            }
            // They are given back together, when the last of them is taken.
            let place = Arc::new(place);
            let messages = events.into_iter().map(|event| Message {
                event,
                _place: place.clone(),
            });
            return Some(messages.collect());
        }
        self.over = true;
        // What breaks off without an end is asked for again.
        if !self.watch.is_closed() {
            return None;
        }
        Some(vec![self.end().await.into()])
    }

    async fn end(&self) -> Event {
        let engine = &self.state.engine;
        let end = match engine.execution(&self.caller, &self.arn).await {
            Ok(execution) => {
                let stop_date = execution.stopped_at.map(|at| Seconds(at.0));
                let status = aws::status_name(execution.status);
                message("end", &End { status, stop_date })
            }
            Err(error) => {
                let arn = &*self.arn;
                tracing::warn!(%error, arn, "a watch could not tell how the execution ended");
                Event::default().event("end").data("{}")
            }
        };
        end.id(format!("{}{END}", self.last))
    }
}

fn progress(note: &ProgressNote) -> Event {
    message("progress", &attempts::Progress::of(note))
}

/// `GET /api/machines/{arn}/events`: the starts, redrives and ends of a state machine's executions as they become durable
/// (`event: execution`), from now on or behind the place of the message that was received last. `event: reset` comes
/// first where that cannot be told: the client lists the executions anew and goes on from there.
pub(crate) async fn machine(
    State(state): State<Arc<ServerState>>,
    arn: Result<Path<String>, PathRejection>,
    query: Result<Query<StreamQuery>, QueryRejection>,
    headers: HeaderMap,
    identity: Option<Extension<Identity>>,
) -> Response<Body> {
    let (arn, query) = match (arn, query) {
        (Ok(Path(arn)), Ok(Query(query))) => (arn, query),
        (Err(wrong), _) => return router::error(wrong.status(), &wrong.body_text()),
        (_, Err(wrong)) => return router::error(wrong.status(), &wrong.body_text()),
    };
    if !is_asked(&headers) {
        let why = "this is a live stream: ask for it with `Accept: text/event-stream`; ListExecutions lists what there is";
        return router::error(StatusCode::NOT_ACCEPTABLE, why);
    }
    let place = place(&headers, query.last_event_id.as_deref());
    if place.is_some_and(|place| place.len() > STREAM_PLACE_CHARS_MAX) {
        return wrong_place("an id that a message of this stream had");
    }
    let caller = aws::caller(&state.config, &headers, identity.as_deref());
    match state.engine.watch_machine(&caller, &arn, place).await {
        Ok(watch) => respond(state, changes(watch, WATCH_KEEP_ALIVE).map(Message::from)),
        Err(error) => problem(error),
    }
}

/// How a state machine's stream goes on.
enum Listening {
    Begins(MachineWatch),
    GoesOn(MachineWatch),
    Over,
}

fn changes(watch: MachineWatch, silence: Duration) -> impl Stream<Item = Event> + Send {
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
fn begins(watch: &MachineWatch) -> Event {
    let place = watch.place();
    if !watch.is_reset() {
        return Event::default().id(place).comment("listening");
    }
    let reason = "changes after the last message that you have are not remembered: list the executions, and go on from here";
    message("reset", &Reason { reason }).id(place)
}

/// What comes next. A silent time moves the place as well.
async fn heard(mut watch: MachineWatch, silence: Duration) -> Option<(Vec<Event>, Listening)> {
    let Ok(news) = tokio::time::timeout(silence, watch.next()).await else {
        let silence = Event::default().id(watch.place()).comment("heartbeat");
        return Some((vec![silence], Listening::GoesOn(watch)));
    };
    match news? {
        MachineNews::Changes(changes) => {
            let messages = changes.iter().map(|(place, change)| changed(place, change));
            Some((messages.collect(), Listening::GoesOn(watch)))
        }
        MachineNews::Gone => {
            let reason = "changes that you have not received are not remembered any more: list the executions, and listen anew";
            Some((
                vec![message("dropped", &Reason { reason })],
                Listening::Over,
            ))
        }
    }
}

fn changed(place: &str, change: &MachineChange) -> Event {
    let told = Changed {
        execution_arn: &change.execution_arn,
        state_machine_arn: &change.machine_arn,
        // `arn:aws:states:REGION:ACCOUNT:execution:MACHINE:NAME`, and of an EXPRESS one its run.
        name: change.execution_arn.split(':').nth(7).unwrap_or_default(),
        status: aws::status_name(change.status),
        start_date: Seconds(change.started_at.0),
        stop_date: change.stopped_at.map(|at| Seconds(at.0)),
        redrive_count: change.redrive_count,
    };
    message("execution", &told).id(place)
}

/// Streams the messages to a client. A few wait for him; when he takes none for long, the stream ends. One that takes not
/// even that loses his connection, as with any answer.
fn respond(
    state: Arc<ServerState>,
    messages: impl Stream<Item = Message> + Send + 'static,
) -> Response<Body> {
    let pump = Pump {
        slow_after: STREAM_SLOW_TIME_MAX,
        over_after: STREAM_TIME_MAX,
    };
    let draining = async move { state.draining().await };
    let events = pump.start(messages, draining);
    let keep_alive = KeepAlive::new()
        .interval(WATCH_KEEP_ALIVE)
        .text("heartbeat");
    let mut response = Sse::new(events.map(Ok::<_, Infallible>))
        .keep_alive(keep_alive)
        .into_response();
    // Proxies that gather answers would hold back what is live.
    let unbuffered = HeaderValue::from_static("no");
    response
        .headers_mut()
        .insert("x-accel-buffering", unbuffered);
    response
}

/// Brings messages to a client that may be slow.
struct Pump {
    slow_after: Duration,
    over_after: Duration,
}

impl Pump {
    /// The messages as the client gets them: to their end, or to the message that he is too slow.
    fn start(
        self,
        messages: impl Stream<Item = Message> + Send + 'static,
        draining: impl Future<Output = ()> + Send + 'static,
    ) -> impl Stream<Item = Event> + Send {
        let (sender, receiver) = mpsc::channel(STREAM_MESSAGES_MAX);
        let slow = Arc::new(AtomicBool::new(false));
        let told = slow.clone();
        tokio::spawn(async move { self.pump(messages, draining, sender, &told).await });
        stream::unfold((receiver, slow), |(mut receiver, slow)| async {
            let event = match receiver.recv().await {
                Some(message) => message.event,
                None if slow.swap(false, AcqRel) => too_slow(),
                None => return None,
            };
            Some((event, (receiver, slow)))
        })
    }

    async fn pump(
        &self,
        messages: impl Stream<Item = Message> + Send,
        draining: impl Future<Output = ()> + Send,
        sender: mpsc::Sender<Message>,
        slow: &AtomicBool,
    ) {
        let mut messages = pin!(messages);
        let mut over = pin!(tokio::time::sleep(self.over_after));
        let mut draining = pin!(draining);
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                () = sender.closed() => None,
                () = &mut draining => None,
                () = &mut over => None,
            };
            let Some(message) = message else { return };
            match sender.send_timeout(message, self.slow_after).await {
                Ok(()) => {}
                Err(SendTimeoutError::Timeout(_)) => {
                    slow.store(true, Release);
                    return;
                }
                Err(SendTimeoutError::Closed(_)) => return,
            }
        }
    }
}

fn too_slow() -> Event {
    let seconds = STREAM_SLOW_TIME_MAX.as_secs();
    let reason = format!(
        "you took no message for {seconds} seconds: ask again with the id of the last one as Last-Event-ID"
    );
    message("dropped", &Reason { reason: &reason })
}

fn no_room() -> Event {
    let reason = "too much waits for the clients of this account: take what was asked for, then ask again with the id of the last message as Last-Event-ID";
    message("dropped", &Reason { reason })
}

fn wrong_place(what: &str) -> Response<Body> {
    let why =
        format!("Last-Event-ID is {what}, as a stream gave it; without one the stream begins anew");
    router::error(StatusCode::BAD_REQUEST, &why)
}

fn message(name: &str, data: &impl Serialize) -> Event {
    written(name, &json(data))
}

fn json(data: &impl Serialize) -> String {
    serde_json::to_string(data).expect("messages have string keys")
}

fn written(name: &str, data: &str) -> Event {
    Event::default().event(name).data(data)
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use stepwell_engine::{
        Caller, CreateMachine, Engine, MachineKind, MachineSettings, Options, PluginCall,
        PluginEnd, Store, TaskRunner,
    };
    use stepwell_interp::OnCrash;

    use super::*;

    /// As good as none.
    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(3_600);

    fn numbered(count: u64) -> impl Stream<Item = Message> + Send {
        let event = |id: u64| Event::default().id(id.to_string()).data("x");
        stream::iter((0..count).map(move |id| Message::from(event(id))))
    }

    async fn text(events: impl Stream<Item = Event> + Send + 'static) -> String {
        let response = Sse::new(events.map(Ok::<_, Infallible>)).into_response();
        let bytes = to_bytes(response.into_body(), usize::MAX).await;
        String::from_utf8_lossy(&bytes.expect("a body in memory")).into_owned()
    }

    fn pump(slow_after: Duration, over_after: Duration) -> Pump {
        Pump {
            slow_after,
            over_after,
        }
    }

    #[tokio::test]
    async fn whoever_reads_gets_all_and_no_more() {
        let count = 10 * STREAM_MESSAGES_MAX as u64;
        let events = pump(LONG, LONG).start(numbered(count), std::future::pending());
        let text = text(events).await;
        assert_eq!(text.matches("id: ").count() as u64, count);
        assert!(!text.contains("dropped"), "{text}");
    }

    #[tokio::test]
    async fn a_slow_client_gets_what_waits_and_is_told() {
        let (done, was_done) = tokio::sync::oneshot::channel::<()>();
        let count = 10 * STREAM_MESSAGES_MAX as u64;
        // Dropped with the pump's messages.
        let messages = numbered(count).map(move |event| {
            let _ = &done;
            event
        });
        let events = pump(SHORT, LONG).start(messages, std::future::pending());
        assert!(was_done.await.is_err(), "the pump ends by itself");
        let text = text(events).await;
        assert_eq!(text.matches("id: ").count(), STREAM_MESSAGES_MAX);
        let last = text.trim_end().rsplit("\n\n").next().unwrap_or_default();
        assert!(last.starts_with("event: dropped"), "{text}");
    }

    #[tokio::test]
    async fn a_stream_ends_after_its_time_and_when_the_server_does() {
        let silence = || stream::pending::<Message>();
        let over = pump(LONG, SHORT).start(silence(), std::future::pending());
        assert_eq!(text(over).await, "");
        let drained = pump(LONG, LONG).start(silence(), std::future::ready(()));
        assert_eq!(text(drained).await, "");
    }

    struct NoPlugins;

    impl TaskRunner for NoPlugins {
        fn run(&self, _: PluginCall) -> std::pin::Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
            let cause = "there are no plugins".to_owned();
            Box::pin(async { PluginEnd::Missing { cause } })
        }

        fn on_crash(&self, _: &str, _: &str) -> OnCrash {
            OnCrash::Redispatch
        }
    }

    #[tokio::test]
    async fn silence_is_a_comment_with_a_place() {
        let options = Options {
            store: Store::Memory,
            raised_limits: false,
            take_up: true,
            shards: 1,
            storage: None,
            connections: Default::default(),
            services: Default::default(),
            observer: None,
        };
        let engine = Engine::open(options, Arc::new(NoPlugins)).expect("memory is there");
        let caller = Caller {
            tenant: "000000000000".into(),
            region: "us-east-1".into(),
        };
        let machine = CreateMachine {
            name: "m".to_owned(),
            definition: r#"{"StartAt":"A","States":{"A":{"Type":"Succeed"}}}"#.to_owned(),
            role_arn: "arn:aws:iam::000000000000:role/r".to_owned(),
            kind: MachineKind::Standard,
            settings: MachineSettings::default(),
            tags: Vec::new(),
            publish: None,
        };
        let changed = engine.create_machine(&caller, machine).await.expect("new");
        let watch = engine
            .watch_machine(&caller, &changed.machine.arn, None)
            .await;
        let messages = changes(watch.expect("it is there"), SHORT).take(3);
        let text = text(messages).await;
        let messages: Vec<&str> = text.trim_end().split("\n\n").collect();
        assert_eq!(messages.len(), 3, "{text}");
        assert!(messages[0].contains(": listening"), "{text}");
        assert!(messages[1].contains(": heartbeat"), "{text}");
        let places = messages.iter().map(|message| {
            let lines = message.lines();
            lines
                .filter(|line| line.starts_with("id: "))
                .collect::<Vec<_>>()
        });
        let places: Vec<_> = places.collect();
        assert!(places[0].len() == 1 && places[0] == places[1], "{text}");
    }
}
