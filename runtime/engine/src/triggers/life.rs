//! Triggers on an engine under times that the test says: what is due starts once, whatever is repeated.

use std::sync::Arc;

use stepwell_interp::Timestamp;

use super::{
    Accepted, Event, EventInput, EventTarget, FiringOutcome, HttpAnswer, HttpMode, HttpTrigger,
    Missed, NewHttpTrigger, NewRule, ScheduleFilter, ScheduleSpec, ScheduleTarget, SecretChange,
    TriggerError, TriggerKind, queue::Queue, schedules,
};
use crate::{
    api::{Caller, CreateMachine, MachineKind, MachineSettings, PageRequest},
    engine::{Engine, Options, Store},
    error::{Code, Error},
    quotas::{Quotas, Rate, Rates},
    runner::Hangs,
};

const PASS: &str = r#"{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}"#;
const ACCOUNT: &str = "111111111111";
/// 2100-01-01T00:00:00Z: no clock of a machine that runs the tests is there.
const BEGIN_S: i64 = 4_102_444_800;

fn caller() -> Caller {
    Caller {
        tenant: ACCOUNT.into(),
        region: "us-east-1".into(),
    }
}

fn open() -> Engine {
    let options = Options {
        shards: 1,
        ..Options::of(Store::Memory)
    };
    Engine::open(options, Arc::new(Hangs)).expect("memory is always there")
}

async fn machine(engine: &Engine, kind: MachineKind) -> String {
    let machine = CreateMachine {
        name: "m".into(),
        definition: PASS.into(),
        role_arn: "arn:aws:iam::111111111111:role/none".into(),
        kind,
        settings: MachineSettings::default(),
        tags: Vec::new(),
        publish: None,
    };
    let made = engine.create_machine(&caller(), machine).await.unwrap();
    made.machine.arn.to_string()
}

fn spec(name: &str, machine: &str) -> ScheduleSpec {
    ScheduleSpec {
        name: name.into(),
        group: "default".into(),
        expression: "rate(1 hour)".into(),
        timezone: "UTC".into(),
        start_s: Some(BEGIN_S),
        end_s: None,
        description: String::new(),
        enabled: true,
        window_minutes: None,
        target: ScheduleTarget {
            arn: machine.into(),
            role_arn: String::new(),
            input: Some(r#"{"at":"<aws.scheduler.scheduled-time>"}"#.into()),
            age_s_max: 86_400,
            retries_max: 2,
        },
        delete_after: false,
        key_arn: None,
        missed: Some(Missed::All),
        client_token: None,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp(u64::try_from(BEGIN_S + seconds).unwrap() * 1_000)
}

async fn count(engine: &Engine, machine: &str) -> usize {
    let page = PageRequest {
        max_results: 1_000,
        next_token: None,
    };
    let found = engine.executions(&caller(), machine, None, page).await;
    found.unwrap().items.len()
}

/// Fires until nothing is due then.
async fn fire(engine: &Engine, now: Timestamp) {
    for _ in 0..100 {
        match engine.fire_due_at(now).await.unwrap() {
            Some(next) if next <= now.0 => {}
            Some(_) | None => return,
        }
    }
    panic!("what is due stays due");
}

fn fired(engine: &Engine, kind: TriggerKind, outcome: FiringOutcome) -> u64 {
    let counts = engine.trigger_counts();
    let one = counts.iter().find(|one| (one.0, one.1) == (kind, outcome));
    one.map_or(0, |one| one.2)
}

#[tokio::test]
async fn runs_start_in_time_and_one_that_was_started_before_a_crash_is_found() {
    let engine = open();
    let machine = machine(&engine, MachineKind::Standard).await;
    engine
        .create_schedule(&caller(), spec("s", &machine))
        .await
        .unwrap();
    fire(&engine, at(-1)).await;
    assert_eq!(count(&engine, &machine).await, 0);
    fire(&engine, at(0)).await;
    fire(&engine, at(0)).await;
    assert_eq!(count(&engine, &machine).await, 1);

    // The second run is started, and the process dies before that is recorded.
    let key = schedules::key(&caller(), "default", "s");
    let (record, _) = engine.stored_schedule(&key).await.unwrap().unwrap();
    engine.start_run(&key, &record, BEGIN_S + 3_600, 1).await;
    assert_eq!(count(&engine, &machine).await, 2);
    fire(&engine, at(3_600)).await;
    assert_eq!(count(&engine, &machine).await, 2);
    assert_eq!(
        fired(&engine, TriggerKind::Schedule, FiringOutcome::Repeated),
        1
    );

    let told = engine.schedule(&caller(), "default", "s").await.unwrap();
    assert_eq!((told.started, told.failed, told.missed), (2, 0, 0));
    assert_eq!(told.next_s, Some(BEGIN_S + 7_200));
    let last = told.last.unwrap();
    assert_eq!(last.due_s, BEGIN_S + 3_600);
    let arn = last.execution_arn.unwrap();
    let execution = engine.wait(&caller(), &arn).await.unwrap();
    assert_eq!(
        execution.input.to_json(),
        r#"{"at":"2100-01-01T01:00:00Z"}"#
    );
    // The clock goes back: what was is not again.
    fire(&engine, at(0)).await;
    assert_eq!(count(&engine, &machine).await, 2);
}

#[tokio::test]
async fn a_schedule_of_an_express_machine_starts_each_run_once_too() {
    let engine = open();
    let machine = machine(&engine, MachineKind::Express).await;
    engine
        .create_schedule(&caller(), spec("s", &machine))
        .await
        .unwrap();
    let key = schedules::key(&caller(), "default", "s");
    let (record, _) = engine.stored_schedule(&key).await.unwrap().unwrap();
    engine.start_run(&key, &record, BEGIN_S, 1).await;
    fire(&engine, at(0)).await;
    assert_eq!(
        fired(&engine, TriggerKind::Schedule, FiringOutcome::Repeated),
        1
    );
    assert_eq!(
        fired(&engine, TriggerKind::Schedule, FiringOutcome::Started),
        0
    );
}

#[tokio::test]
async fn what_cannot_start_is_told_and_the_schedule_goes_on() {
    let engine = open();
    let machine = machine(&engine, MachineKind::Standard).await;
    let absent = machine.replace(":m", ":absent");
    engine
        .create_schedule(&caller(), spec("s", &absent))
        .await
        .unwrap();
    fire(&engine, at(0)).await;
    let told = engine.schedule(&caller(), "default", "s").await.unwrap();
    assert_eq!((told.started, told.failed), (0, 1));
    let error = told.last.unwrap().error.unwrap();
    assert!(error.contains("StateMachineDoesNotExist"), "{error}");
    assert_eq!(told.next_s, Some(BEGIN_S + 3_600));
    engine
        .update_schedule(&caller(), spec("s", &machine))
        .await
        .unwrap();
    fire(&engine, at(3_600)).await;
    let told = engine.schedule(&caller(), "default", "s").await.unwrap();
    assert_eq!((told.started, told.failed), (1, 1));
    assert!(told.last_failed.is_some());
}

#[tokio::test]
async fn a_disabled_and_a_deleted_schedule_have_nothing_due() {
    let engine = open();
    let machine = machine(&engine, MachineKind::Standard).await;
    for name in ["off", "gone"] {
        engine
            .create_schedule(&caller(), spec(name, &machine))
            .await
            .unwrap();
    }
    engine
        .enable_schedule(&caller(), "default", "off", false)
        .await
        .unwrap();
    engine
        .delete_schedule(&caller(), "default", "gone")
        .await
        .unwrap();
    fire(&engine, at(7_200)).await;
    assert_eq!(count(&engine, &machine).await, 0);
    let due = engine
        .node()
        .journal
        .scan("", Queue::Schedules.kind(), "", None, 10)
        .await;
    assert_eq!(due.unwrap(), []);
}

#[tokio::test]
async fn a_schedule_that_goes_with_its_last_run_goes() {
    let engine = open();
    let machine = machine(&engine, MachineKind::Standard).await;
    let once = ScheduleSpec {
        expression: "at(2100-01-01T00:00:00)".into(),
        start_s: None,
        delete_after: true,
        ..spec("once", &machine)
    };
    engine.create_schedule(&caller(), once).await.unwrap();
    fire(&engine, at(1)).await;
    assert_eq!(count(&engine, &machine).await, 1);
    let gone = engine.schedule(&caller(), "default", "once").await;
    assert!(matches!(gone, Err(TriggerError::NotFound(_))), "{gone:?}");
}

fn event(id: &str) -> Event {
    Event {
        id: Some(id.into()),
        source: "shop".into(),
        detail_type: "order".into(),
        detail: r#"{"n":1}"#.into(),
        resources: Vec::new(),
        time_s: None,
    }
}

async fn rule(engine: &Engine, machines: &[&str]) {
    let rule = NewRule {
        name: "orders".into(),
        pattern: r#"{"source":["shop"]}"#.into(),
        enabled: true,
        description: String::new(),
        role_arn: None,
    };
    engine.put_rule(&caller(), rule).await.unwrap();
    let targets = machines
        .iter()
        .enumerate()
        .map(|(index, machine)| EventTarget {
            id: format!("t{index}"),
            arn: (*machine).to_owned(),
            role_arn: None,
            input: EventInput::Path("$.detail".into()),
            age_s_max: 60,
            retries_max: 2,
        });
    engine
        .put_targets(&caller(), "orders", targets.collect())
        .await
        .unwrap();
}

#[tokio::test]
async fn an_event_that_comes_again_starts_nothing_anew() {
    let engine = open();
    let machine = machine(&engine, MachineKind::Standard).await;
    let absent = machine.replace(":m", ":absent");
    rule(&engine, &[&machine, &absent]).await;
    for _ in 0..2 {
        let taken = engine
            .put_events(&caller(), vec![event("1")])
            .await
            .unwrap();
        assert_eq!(taken, [Accepted::Yes { id: "1".into() }]);
        fire(&engine, at(0)).await;
    }
    assert_eq!(count(&engine, &machine).await, 1);
    let due = engine
        .node()
        .journal
        .scan(ACCOUNT, Queue::Deliveries.kind(), "", None, 10)
        .await;
    assert_eq!(due.unwrap(), [], "what cannot start is given up");
    let (last, failed) = engine.rule_runs(&caller(), "orders").await.unwrap();
    assert!(last.is_some());
    let error = failed.and_then(|run| run.error).unwrap();
    assert!(error.contains("StateMachineDoesNotExist"), "{error}");
}

#[tokio::test]
async fn requests_with_a_key_are_one_and_all_triggers_go_with_their_tenant() {
    let engine = open();
    engine.add_tenant(ACCOUNT, "").await.unwrap();
    let machine = machine(&engine, MachineKind::Standard).await;
    let new = |secret| NewHttpTrigger {
        name: "h".into(),
        machine_arn: machine.clone(),
        mode: HttpMode::Start,
        secret,
        description: String::new(),
        enabled: true,
    };
    let drawn = engine
        .put_http_trigger(&caller(), new(SecretChange::Keep))
        .await
        .unwrap();
    let drawn = drawn.expect("a new one has a secret");
    let kept = engine
        .put_http_trigger(&caller(), new(SecretChange::Keep))
        .await
        .unwrap();
    assert_eq!(kept, None);
    let tenant: Arc<str> = ACCOUNT.into();
    let trigger = engine.http_trigger(&tenant, "h").await.unwrap();
    assert!(trigger.admits(Some(&drawn)) && !trigger.admits(None) && !trigger.admits(Some("x")));
    let input = |text: &str| stepwell_query::Value::parse(text).unwrap();
    let one = input(r#"{"body":1,"headers":{"date":"a"}}"#);
    let same = input(r#"{"body":1,"headers":{"date":"b"}}"#);
    let other = input(r#"{"body":2}"#);
    let fire = async |input| {
        let admission = engine.admit_http(&tenant, &trigger).await?;
        let fired = engine.fire_http(&tenant, &trigger, admission, input, Some("k"));
        fired.await
    };
    let first = fire(one).await.unwrap();
    assert!(
        matches!(first, HttpAnswer::Started { before: false, .. }),
        "{first:?}"
    );
    let again = fire(same).await.unwrap();
    assert!(
        matches!(again, HttpAnswer::Started { before: true, .. }),
        "{again:?}"
    );
    let other = fire(other).await.unwrap();
    assert!(
        matches!(other, HttpAnswer::OtherRequest { .. }),
        "{other:?}"
    );
    assert_eq!(count(&engine, &machine).await, 1);
    refused_before_all_else(&engine, &tenant, &trigger).await;

    rule(&engine, &[&machine]).await;
    engine
        .create_schedule(&caller(), spec("s", &machine))
        .await
        .unwrap();
    engine.delete_machine(&caller(), &machine).await.unwrap();
    engine.remove_tenant(ACCOUNT).await.unwrap();
    no_trigger_is_left(&engine).await;

    // Whoever has the account next does not see what became of former requests.
    engine.add_tenant(ACCOUNT, "").await.unwrap();
    engine
        .put_http_trigger(&caller(), new(SecretChange::Keep))
        .await
        .unwrap();
    let next = engine.http_trigger(&tenant, "h").await.unwrap();
    assert_eq!((next.last, next.last_failed), (None, None));
}

async fn no_trigger_is_left(engine: &Engine) {
    let page = PageRequest::default;
    let filter = ScheduleFilter::default();
    assert_eq!(
        engine
            .schedules(&caller(), &filter, page())
            .await
            .unwrap()
            .items,
        []
    );
    assert_eq!(
        engine.http_triggers(&caller(), page()).await.unwrap().items,
        []
    );
    assert_eq!(engine.rules(&caller(), "", page()).await.unwrap().items, []);
    let due = engine
        .node()
        .journal
        .scan("", Queue::Schedules.kind(), "", None, 10)
        .await;
    assert_eq!(due.unwrap(), []);
}

/// How often requests to HTTP triggers came to that.
fn requests(engine: &Engine, outcome: FiringOutcome) -> u64 {
    let counts = engine.trigger_counts().into_iter();
    let mut own = counts.filter(|(kind, of, _)| (*kind, *of) == (TriggerKind::Http, outcome));
    own.next().map_or(0, |(_, _, count)| count)
}

/// What exceeds a rate or a quota is refused by the admission, which writes nothing; that, and a wrong secret, is counted.
async fn refused_before_all_else(engine: &Engine, tenant: &Arc<str>, trigger: &HttpTrigger) {
    let rates = |rates| Quotas {
        rates: Some(rates),
        ..Quotas::default()
    };
    let none = Rate {
        bucket: 0,
        per_second: 0,
    };
    let started = [("StartExecution".to_owned(), none)];
    for (quotas, code) in [
        (rates(Rates::Set(started.into())), Code::ThrottlingException),
        (
            Quotas {
                open_executions: Some(0),
                ..rates(Rates::Off)
            },
            Code::ExecutionLimitExceeded,
        ),
    ] {
        engine.node().allowances.set(tenant, quotas);
        let before = requests(engine, FiringOutcome::Failed);
        let refused = engine.admit_http(tenant, trigger).await.unwrap_err();
        assert!(
            matches!(&refused, TriggerError::Engine(Error::Rejected { code: found, .. }) if *found == code),
            "{refused:?}"
        );
        assert_eq!(requests(engine, FiringOutcome::Failed), before + 1);
    }
    engine.node().allowances.set(tenant, rates(Rates::Off));
    assert!(engine.admit_http(tenant, trigger).await.is_ok());
    engine.denied_http(tenant, trigger);
    assert_eq!(requests(engine, FiringOutcome::Denied), 1);
}
