//! What tenants store beside their executions: each of it counts, and what would be more is refused before it is written.

use std::{fmt::Debug, future::Future, pin::Pin, sync::Arc};

use stepwell_engine::{
    AttemptLog, Caller, Code, Engine, Error, Event, EventInput, EventTarget, HttpMode, MachineKind,
    MachineSettings, Meter, NewHttpTrigger, NewRule, Options, PageRequest, PluginCall, PluginEnd,
    Quotas, ScheduleSpec, ScheduleTarget, SecretChange, Store, TaskRunner, TriggerError,
    UpdateMachine,
};
use stepwell_interp::OnCrash;

use crate::support::{caller_of, machine, named, succeeded};

const ACCOUNT: &str = "111111111111";

/// Its tasks print a line.
struct Talks;

impl TaskRunner for Talks {
    fn run(&self, call: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
        call.signals.logged(AttemptLog {
            stdout: "a line".to_owned(),
            ..AttemptLog::default()
        });
        Box::pin(async move { succeeded(call.input) })
    }

    fn on_crash(&self, _: &str, _: &str) -> OnCrash {
        OnCrash::Redispatch
    }
}

async fn opened() -> Engine {
    let options = Options {
        shards: 1,
        ..Options::of(Store::Memory)
    };
    let engine = Engine::open(options, Arc::new(Talks)).unwrap();
    engine.add_tenant(ACCOUNT, "").await.unwrap();
    engine
}

fn caller() -> Caller {
    caller_of(ACCOUNT)
}

/// A definition that is told from others by this text.
fn definition(comment: &str) -> String {
    format!(
        r#"{{"Comment":"{comment}","StartAt":"T","States":{{"T":{{"Type":"Task","Resource":"wasm:t","End":true}}}}}}"#
    )
}

/// What counts; the usage tells the same.
async fn stored(engine: &Engine) -> u64 {
    let (_, taken) = engine.quotas(ACCOUNT).await.unwrap();
    let used = engine
        .usage(Some(ACCOUNT), (0, u32::MAX), None, 1_000)
        .await
        .unwrap();
    let sum = used.iter().map(|(_, used)| used.get(Meter::BytesStored));
    assert_eq!(
        sum.sum::<u64>(),
        taken.stored_bytes,
        "what is told is what counts"
    );
    taken.stored_bytes
}

async fn put_machine(engine: &Engine, comment: &str) -> Result<String, Error> {
    let request = machine("m", MachineKind::Standard, &definition(comment));
    let made = engine.create_machine(&caller(), request).await?;
    Ok(made.machine.arn.to_string())
}

async fn update(engine: &Engine, machine: &str, comment: &str) -> Result<(), TriggerError> {
    let request = UpdateMachine {
        definition: Some(definition(comment)),
        role_arn: None,
        settings: MachineSettings::default(),
        publish: None,
    };
    let updated = engine.update_machine(&caller(), machine, request).await;
    Ok(updated.map(drop)?)
}

async fn publish(engine: &Engine, machine: &str) -> Result<(), TriggerError> {
    let published = engine.publish_version(&caller(), machine, None, None).await;
    Ok(published.map(drop)?)
}

fn schedule(name: &str, machine: &str, input: &str) -> ScheduleSpec {
    ScheduleSpec {
        name: name.into(),
        group: "default".into(),
        expression: "at(2190-01-01T00:00:00)".into(),
        timezone: "UTC".into(),
        start_s: None,
        end_s: None,
        description: String::new(),
        enabled: true,
        window_minutes: None,
        target: ScheduleTarget {
            arn: machine.into(),
            role_arn: String::new(),
            input: Some(input.into()),
            age_s_max: 86_400,
            retries_max: 2,
        },
        delete_after: false,
        key_arn: None,
        missed: None,
        client_token: None,
    }
}

async fn put_schedule(engine: &Engine, name: &str, machine: &str) -> Result<(), TriggerError> {
    let made = engine
        .create_schedule(&caller(), schedule(name, machine, "{}"))
        .await;
    made.map(drop)
}

async fn grow_schedule(engine: &Engine, machine: &str, input: &str) -> Result<(), TriggerError> {
    let changed = engine
        .update_schedule(&caller(), schedule("s", machine, input))
        .await;
    changed.map(drop)
}

async fn put_rule(engine: &Engine, name: &str) -> Result<(), TriggerError> {
    let rule = NewRule {
        name: name.into(),
        pattern: r#"{"source":["shop"]}"#.into(),
        enabled: true,
        description: String::new(),
        role_arn: None,
    };
    engine.put_rule(&caller(), rule).await.map(drop)
}

async fn put_target(engine: &Engine, id: &str, machine: &str) -> Result<(), TriggerError> {
    let target = EventTarget {
        id: id.into(),
        arn: machine.into(),
        role_arn: None,
        input: EventInput::Constant("{}".into()),
        age_s_max: 60,
        retries_max: 2,
    };
    engine.put_targets(&caller(), "r", vec![target]).await
}

async fn put_http(engine: &Engine, name: &str, machine: &str) -> Result<(), TriggerError> {
    let trigger = NewHttpTrigger {
        name: name.into(),
        machine_arn: machine.into(),
        mode: HttpMode::Start,
        secret: SecretChange::Nothing,
        description: String::new(),
        enabled: true,
    };
    engine.put_http_trigger(&caller(), trigger).await.map(drop)
}

async fn put_event(engine: &Engine, source: &str) -> Result<(), TriggerError> {
    let event = Event {
        id: None,
        source: source.into(),
        detail_type: "d".into(),
        detail: "{}".into(),
        resources: Vec::new(),
        time_s: None,
    };
    engine.put_events(&caller(), vec![event]).await.map(drop)
}

#[track_caller]
fn full<T: Debug>(refused: Result<T, TriggerError>) {
    let code = match &refused {
        Err(TriggerError::Engine(Error::Rejected { code, .. })) => Some(*code),
        Ok(_) | Err(_) => None,
    };
    assert_eq!(
        code,
        Some(Code::ServiceQuotaExceededException),
        "{refused:?}"
    );
}

async fn may_store(engine: &Engine, bytes: Option<u64>) {
    let quotas = Quotas {
        stored_bytes: bytes,
        ..Quotas::default()
    };
    engine.set_quotas(ACCOUNT, quotas).await.unwrap();
}

#[tokio::test]
async fn definitions_versions_and_triggers_count_and_are_refused_when_they_are_too_much() {
    let engine = opened().await;
    assert_eq!(stored(&engine).await, 0);
    let machine = put_machine(&engine, "one").await.unwrap();
    let mut before = stored(&engine).await;
    assert!(before >= definition("one").len() as u64);
    put_machine(&engine, "one").await.unwrap();
    assert_eq!(stored(&engine).await, before, "the same call again");
    macro_rules! grows {
        ($done:expr) => {
            $done.await.unwrap();
            let after = stored(&engine).await;
            assert!(after > before, "{}", stringify!($done));
            before = after;
        };
    }
    grows!(update(&engine, &machine, "two"));
    grows!(publish(&engine, &machine));
    grows!(put_schedule(&engine, "s", &machine));
    grows!(grow_schedule(&engine, &machine, "[1,2,3,4,5]"));
    grows!(put_rule(&engine, "r"));
    grows!(put_target(&engine, "t", &machine));
    grows!(put_http(&engine, "h", &machine));

    may_store(&engine, Some(before)).await;
    full(update(&engine, &machine, "three").await);
    full(put_schedule(&engine, "another", &machine).await);
    full(grow_schedule(&engine, &machine, "[1,2,3,4,5,6,7,8,9]").await);
    full(put_rule(&engine, "another").await);
    full(put_target(&engine, "another", &machine).await);
    full(put_http(&engine, "another", &machine).await);
    full(put_event(&engine, "shop").await);
    // What stores nothing more is done all the same.
    update(&engine, &machine, "one").await.unwrap();
    full(publish(&engine, &machine).await);
    grow_schedule(&engine, &machine, "[]").await.unwrap();
    engine
        .enable_schedule(&caller(), "default", "s", false)
        .await
        .unwrap();
    put_event(&engine, "nobody listens").await.unwrap();
    assert_eq!(stored(&engine).await, before);
    let none = engine.schedule(&caller(), "default", "another").await;
    assert!(matches!(none, Err(TriggerError::NotFound(_))), "{none:?}");
    let kept = engine.machine(&caller(), &machine).await.unwrap();
    assert_eq!(&*kept.definition, definition("one"));

    may_store(&engine, None).await;
    put_event(&engine, "shop").await.unwrap();
    let page = PageRequest::default();
    assert_eq!(
        engine
            .schedules(&caller(), &Default::default(), page)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
}

/// What a task's log adds, and how many logs are kept of an execution under that quota.
async fn logged(engine: &Engine, machine: &str, name: &str) -> usize {
    let request = named(name, machine);
    let started = engine.start(&caller(), request).await.unwrap();
    engine
        .wait(&caller(), &started.execution_arn)
        .await
        .unwrap();
    let logs = engine
        .attempt_logs(&caller(), &started.execution_arn, &PageRequest::default())
        .await
        .unwrap();
    logs.items.len()
}

#[tokio::test]
async fn logs_of_attempts_count_and_are_not_kept_by_who_has_stored_enough() {
    let engine = opened().await;
    let machine = put_machine(&engine, "one").await.unwrap();
    assert_eq!(logged(&engine, &machine, "first").await, 1);
    let first = stored(&engine).await;
    // The start passes, and what it writes is too much.
    may_store(&engine, Some(first + 1)).await;
    assert_eq!(logged(&engine, &machine, "second").await, 0);
    assert!(stored(&engine).await > first);
}
