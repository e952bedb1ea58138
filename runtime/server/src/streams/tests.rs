//! Whom the pump serves and for how long, and that all clients of a state machine are sent the same.

use std::future::Future;

use stepwell_engine::{
    Caller, CreateMachine, Engine, MachineKind, MachineSettings, Options, PluginCall, PluginEnd,
    StartRequest, Store, TaskRunner,
};
use stepwell_interp::OnCrash;

use super::*;
use crate::limits::STREAM_MESSAGES_MAX;

/// As good as none.
const SHORT: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(3_600);

fn numbered(count: u64) -> impl Stream<Item = Message> + Send {
    let event = |id: u64| message::named("x", &id, &id.to_string());
    stream::iter((0..count).map(move |id| Message::from(event(id))))
}

async fn text(messages: impl Stream<Item = Bytes> + Send + 'static) -> String {
    let messages: Vec<Bytes> = messages.collect().await;
    String::from_utf8_lossy(&messages.concat()).into_owned()
}

fn pump(slow_after: Duration, over_after: Duration) -> Pump {
    Pump {
        slow_after,
        over_after,
        silence: LONG,
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

fn caller() -> Caller {
    Caller {
        tenant: "000000000000".into(),
        region: "us-east-1".into(),
    }
}

/// An engine in memory, and the ARN of a state machine that ends at once.
async fn engine() -> (Engine, Arc<str>) {
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
    let machine = CreateMachine {
        name: "m".to_owned(),
        definition: r#"{"StartAt":"A","States":{"A":{"Type":"Succeed"}}}"#.to_owned(),
        role_arn: "arn:aws:iam::000000000000:role/r".to_owned(),
        kind: MachineKind::Standard,
        settings: MachineSettings::default(),
        tags: Vec::new(),
        publish: None,
    };
    let changed = engine.create_machine(&caller(), machine).await;
    let arn = changed.expect("new").machine.arn;
    (engine, arn)
}

#[tokio::test]
async fn silence_is_a_comment_with_a_place() {
    let (engine, arn) = engine().await;
    let watch = engine.watch_machine(&caller(), &arn, None).await;
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

#[tokio::test]
async fn a_silent_pump_says_that_it_is_there() {
    let silent = Pump {
        silence: SHORT,
        ..pump(LONG, LONG)
    };
    let messages = silent.start(stream::pending(), std::future::pending());
    assert_eq!(
        text(messages.take(2)).await,
        ": heartbeat\n\n: heartbeat\n\n"
    );
}

/// A thousand clients, of which one takes nothing, are sent the same bytes, which are made once.
#[tokio::test]
async fn all_clients_of_a_machine_are_sent_the_same_bytes() {
    let (engine, arn) = engine().await;
    let mut clients = Vec::new();
    for _ in 0..STREAMS_OF_ACCOUNT_MAX {
        let watch = engine.watch_machine(&caller(), &arn, None).await;
        let messages = changes(watch.expect("it is there"), LONG).map(Message::from);
        let messages = pump(LONG, LONG).start(messages, std::future::pending());
        clients.push(Box::pin(messages));
    }
    // It is let wait.
    let slow = clients.pop();
    for name in 0..10 {
        let request = StartRequest {
            machine_arn: arn.to_string(),
            name: Some(name.to_string()),
            input: None,
            trace_header: None,
        };
        engine.start(&caller(), request).await.expect("it starts");
    }
    let mut sent: Vec<Vec<Bytes>> = Vec::new();
    for client in &mut clients {
        // The first one tells the client's place.
        sent.push(client.skip(1).take(20).collect().await);
    }
    let first = &sent[0];
    assert!(
        first
            .iter()
            .all(|text| text.starts_with(b"event: execution\n"))
    );
    for other in &sent {
        let same = other.iter().zip(first);
        assert!(same.clone().count() == 20);
        for (one, other) in same {
            assert_eq!(one.as_ptr(), other.as_ptr(), "it was made once more");
        }
    }
    drop(slow);
}
