//! What attempts used, in the history and in the usage of the day: the same, over retries, forks, redrives and lives, and
//! nothing of it in the public history.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

use stepwell_engine::{
    Amounts, AttemptLog, Caller, Engine, Error, ForkRequest, MachineKind, MeasuredAttempt, Meter,
    Options, PageRequest, PluginCall, PluginEnd, Status, TaskRunner,
};
use stepwell_interp::{Measure, Measures, OnCrash, What};

use crate::support::{at, caller, machine, named_with, open_again, start_of, succeeded};

const MACHINE: &str = "arn:aws:states:us-east-1:000000000000:stateMachine:m";

/// Each call prints a line and uses another amount of everything, `large` 100 MiB of memory. `once` fails its first attempts, `mended` until it is
/// mended; `gone` is not there.
#[derive(Default)]
struct Plugins {
    calls: AtomicU64,
    is_mended: AtomicBool,
}

impl TaskRunner for Plugins {
    fn run(&self, call: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
        if &*call.plugin == "gone" {
            let cause = "it is not there".to_owned();
            return Box::pin(std::future::ready(PluginEnd::Missing { cause }));
        }
        let number = self.calls.fetch_add(1, SeqCst) + 1;
        let fails = match &*call.plugin {
            "once" => call.attempt == 1,
            "mended" => !self.is_mended.load(SeqCst),
            _ => false,
        };
        let memory = match &*call.plugin {
            "large" => 100 << 20,
            _ => number << 10,
        };
        Box::pin(async move {
            call.signals.started(&format!("{}@1", call.plugin));
            let used = Measure::ALL.map(|measure| match measure == Measure::Memory {
                true => (measure, memory),
                false => (measure, number << 10),
            });
            call.signals.used(Measures::of(&used));
            call.signals.logged(AttemptLog {
                stdout: "a line".to_owned(),
                ..AttemptLog::default()
            });
            match fails {
                true => PluginEnd::Failed {
                    error: "Broken".to_owned(),
                    cause: "it fails".to_owned(),
                },
                false => succeeded(call.input),
            }
        })
    }

    fn on_crash(&self, _: &str, _: &str) -> OnCrash {
        OnCrash::Redispatch
    }
}

fn open(directory: &Path, plugins: &Arc<Plugins>) -> Engine {
    let options = Options {
        shards: 2,
        ..Options::of(at(directory))
    };
    open_again(options, plugins.clone())
}

/// A task that is tried again, five side by side, and one that is mended later.
const DEFINITION: &str = r#"{"StartAt": "First", "States": {
    "First": {"Type": "Task", "Resource": "wasm:once", "Next": "Each",
        "Retry": [{"ErrorEquals": ["Broken"], "IntervalSeconds": 1, "BackoffRate": 1}]},
    "Each": {"Type": "Map", "ItemsPath": "$.items", "Next": "Last", "ItemProcessor": {"StartAt": "One", "States": {
        "One": {"Type": "Task", "Resource": "wasm:one", "End": true}}}},
    "Last": {"Type": "Task", "Resource": "wasm:mended", "End": true}}}"#;

async fn create(engine: &Engine) {
    create_of(engine, "m", MachineKind::Standard, DEFINITION).await;
}

async fn create_of(engine: &Engine, name: &str, kind: MachineKind, definition: &str) {
    let request = machine(name, kind, definition);
    engine.create_machine(caller(), request).await.unwrap();
}

async fn start(engine: &Engine) -> String {
    let request = named_with("origin", r#"{"items":[1,2,3,4,5]}"#, MACHINE);
    let started = engine.start(caller(), request).await.unwrap();
    started.execution_arn.to_string()
}

async fn status(engine: &Engine, arn: &str) -> Status {
    engine.wait(caller(), arn).await.unwrap().status
}

/// All its attempts, a page of two at a time.
async fn attempts(engine: &Engine, arn: &str) -> Vec<MeasuredAttempt> {
    let mut all = Vec::new();
    let mut page = PageRequest {
        max_results: 2,
        next_token: None,
    };
    loop {
        let found = engine.measured_attempts(caller(), arn, &page).await;
        let found = found.unwrap();
        assert!(found.items.len() <= 2);
        all.extend(found.items);
        match found.next_token {
            Some(token) => page.next_token = Some(token),
            None => return all,
        }
    }
}

/// Which attempts these are: the event that entered the state, and their numbers.
fn numbers(attempts: &[MeasuredAttempt]) -> BTreeSet<(String, Option<u64>, u32)> {
    let number = |of: &MeasuredAttempt| (of.state.to_string(), Some(of.entered_id), of.attempt);
    let numbers: BTreeSet<_> = attempts.iter().map(number).collect();
    assert_eq!(
        numbers.len(),
        attempts.len(),
        "each has a number of its own"
    );
    numbers
}

/// The attempts of which a log is kept, in the same form.
async fn logged(engine: &Engine, arn: &str) -> BTreeSet<(String, Option<u64>, u32)> {
    let page = PageRequest::default();
    let logs = engine.attempt_logs(caller(), arn, &page).await.unwrap();
    let numbers = logs.items.iter();
    let numbers = numbers.map(|log| (log.state.to_string(), log.entered_id, log.attempt));
    numbers.collect()
}

/// What plugins used by day, in all.
async fn of_plugins(engine: &Engine) -> BTreeMap<String, [u64; 9]> {
    let rows = engine.usage(None, (0, u32::MAX), None, 100).await.unwrap();
    let of_plugins = rows.iter().filter(|(key, _)| !key.plugin.is_empty());
    let mut sums: BTreeMap<String, [u64; 9]> = BTreeMap::new();
    for (key, used) in of_plugins {
        let sum = sums.entry(key.plugin.to_string()).or_default();
        for (sum, count) in sum.iter_mut().zip(counts(used)) {
            *sum += count;
        }
    }
    sums
}

const METERS: [Meter; 9] = [
    Meter::Tasks,
    Meter::CpuMicros,
    Meter::MemoryTime,
    Meter::BytesIn,
    Meter::BytesOut,
    Meter::Fuel,
    Meter::HostCalls,
    Meter::BytesSent,
    Meter::BytesReceived,
];

fn counts(used: &Amounts) -> [u64; 9] {
    METERS.map(|meter| used.get(meter))
}

/// What these attempts used, in the same form.
fn sums(attempts: &[MeasuredAttempt]) -> BTreeMap<String, [u64; 9]> {
    let mut sums: BTreeMap<String, [u64; 9]> = BTreeMap::new();
    for MeasuredAttempt {
        plugin, measures, ..
    } in attempts
    {
        let of = |measure| measures.get(measure);
        let memory_time = (of(Measure::Memory) * of(Measure::Wall)).div_ceil((1 << 20) * 1_000);
        let used = [
            1,
            of(Measure::Cpu),
            memory_time,
            of(Measure::BytesIn),
            of(Measure::BytesOut),
            of(Measure::Fuel),
            measures.host_calls(),
            measures.bytes_sent(),
            measures.bytes_received(),
        ];
        let sum = sums.entry(plugin.to_string()).or_default();
        for (sum, more) in sum.iter_mut().zip(used) {
            *sum += more;
        }
    }
    sums
}

#[tokio::test]
async fn attempts_and_days_add_up_over_retries_redrives_and_lives() {
    let directory = tempfile::tempdir().unwrap();
    let plugins = Arc::new(Plugins::default());
    let engine = open(directory.path(), &plugins);
    create(&engine).await;
    let arn = start(&engine).await;
    assert_eq!(status(&engine, &arn).await, Status::Failed);
    let first = attempts(&engine, &arn).await;
    let places: Vec<_> = first
        .iter()
        .map(|attempt| (&*attempt.state, attempt.attempt))
        .collect();
    let one = ("One", 1);
    let wanted = [
        ("First", 1),
        ("First", 2),
        one,
        one,
        one,
        one,
        one,
        ("Last", 1),
    ];
    assert_eq!(places, wanted);
    let ids: BTreeSet<u64> = first.iter().map(|attempt| attempt.entered_id).collect();
    assert_eq!((ids.len(), ids.first()), (7, Some(&2)));
    assert_eq!(first[0].version.as_deref(), Some("once@1"));
    assert_eq!(of_plugins(&engine).await, sums(&first));
    // All that the history has of it is internal: the public ids go on without a gap, and outcomes carry it beside.
    let page = PageRequest::default();
    let shown = engine.history(caller(), &arn, false, page).await.unwrap();
    let events = shown.items.iter();
    assert!(events.clone().zip(1..).all(|(entry, id)| entry.id == id));
    let used = events.filter_map(|entry| {
        let outcome = matches!(
            entry.event.what,
            What::Succeeded { .. } | What::Failed { .. }
        );
        assert_eq!(outcome, entry.used.is_some(), "{:?}", entry.event.what);
        entry.used.clone()
    });
    let measured: Vec<_> = first
        .iter()
        .map(|attempt| attempt.measures.clone())
        .collect();
    assert_eq!(used.collect::<Vec<_>>(), measured);

    drop(engine);
    let engine = open(directory.path(), &plugins);
    assert_eq!(attempts(&engine, &arn).await, first);
    plugins.is_mended.store(true, SeqCst);
    engine.redrive(caller(), &arn, None).await.unwrap();
    assert_eq!(status(&engine, &arn).await, Status::Succeeded);
    let again = attempts(&engine, &arn).await;
    assert_eq!((&again[..8], again.len()), (&first[..], 9));
    assert_eq!((&*again[8].state, again[8].attempt), ("Last", 2));
    assert_eq!(logged(&engine, &arn).await, numbers(&again));
    assert_eq!(of_plugins(&engine).await, sums(&again));
    let told = engine.execution_usage(caller(), &arn).await.unwrap();
    let mut whole = [0; 9];
    for used in sums(&again).values() {
        whole
            .iter_mut()
            .zip(used)
            .for_each(|(sum, more)| *sum += more);
    }
    assert_eq!((counts(&told.used), told.unmeasured), (whole, 0));
}

#[tokio::test]
async fn a_fork_has_none_of_what_its_origin_used() {
    let directory = tempfile::tempdir().unwrap();
    let plugins = Arc::new(Plugins::default());
    let engine = open(directory.path(), &plugins);
    create(&engine).await;
    let arn = start(&engine).await;
    assert_eq!(status(&engine, &arn).await, Status::Failed);
    let origins = attempts(&engine, &arn).await;
    plugins.is_mended.store(true, SeqCst);
    let request = ForkRequest {
        execution_arn: arn.clone(),
        name: Some("fork".to_owned()),
        ..ForkRequest::default()
    };
    let forked = engine.fork(caller(), request).await.unwrap().execution_arn;
    assert_eq!(status(&engine, &forked).await, Status::Succeeded);
    let own = attempts(&engine, &forked).await;
    let states: Vec<_> = own.iter().map(|attempt| &*attempt.state).collect();
    assert_eq!(states, ["Last"], "it went on from before the last state");
    let both = [origins, own].concat();
    assert_eq!(of_plugins(&engine).await, sums(&both));
    let told = engine.execution_usage(caller(), &forked).await.unwrap();
    assert_eq!(told.used.get(Meter::Tasks), 1);
    // Another tenant is told of neither.
    let other = Caller {
        tenant: "111111111111".into(),
        ..caller().clone()
    };
    let page = PageRequest::default();
    for refused in [
        engine
            .measured_attempts(&other, &arn, &page)
            .await
            .map(drop),
        engine.progress(&other, &arn).await.map(drop),
    ] {
        assert!(matches!(refused, Err(Error::Rejected { .. })));
    }
}

/// A day has what is stored beside events, and an execution also the attempts that no plugin came to run.
#[tokio::test]
async fn what_is_counted_of_a_day_alone_and_of_an_execution_alone() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path(), &Arc::default());
    let mut definitions_before = 0;
    for (plugin, of_day, unmeasured) in [("gone", [0, 0], 1), ("one", [1, 1 << 10], 0)] {
        let definition = format!(
            r#"{{"StartAt": "T", "States": {{"T": {{"Type": "Task", "Resource": "wasm:{plugin}", "End": true}}}}}}"#
        );
        create_of(&engine, plugin, MachineKind::Standard, &definition).await;
        let before = of_days(&engine).await;
        let stored = before.get(Meter::BytesStored);
        assert!(
            stored > definitions_before,
            "a definition counts to its day"
        );
        let request = named_with("e", "{}", &MACHINE.replace(":m", &format!(":{plugin}")));
        let arn = engine.start(caller(), request).await.unwrap().execution_arn;
        status(&engine, &arn).await;
        let after = of_days(&engine).await;
        let told = engine.execution_usage(caller(), &arn).await.unwrap();
        let grown = |meter| after.get(meter) - before.get(meter);
        let given = [Meter::Tasks, Meter::BytesIn].map(grown);
        assert_eq!((given, told.unmeasured), (of_day, unmeasured), "{plugin}");
        let own = [Meter::Tasks, Meter::BytesIn].map(|meter| told.used.get(meter));
        match unmeasured {
            0 => assert_eq!(own, of_day, "{plugin}"),
            _ => assert_eq!(own, [1, 2], "{plugin}"),
        }
        let (of_day, own) = (grown(Meter::BytesStored), told.used.get(Meter::BytesStored));
        match plugin {
            "gone" => assert_eq!(of_day, own, "events alone were stored"),
            _ => assert!(of_day > own, "its log was stored as well"),
        }
        definitions_before = after.get(Meter::BytesStored);
    }
}

/// What was used on all days, by all.
async fn of_days(engine: &Engine) -> Amounts {
    let rows = engine.usage(None, (0, u32::MAX), None, 100).await.unwrap();
    let mut sum = Amounts::default();
    for (_, used) in rows {
        sum += used;
    }
    sum
}

/// A synchronous execution tells its caller what it held: nothing of it is kept anywhere else.
#[tokio::test]
async fn a_synchronous_execution_is_billed_for_the_memory_of_its_tasks() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path(), &Arc::default());
    for (name, plugins, billed) in [
        ("small", ["one", "one"], 64),
        ("large", ["large", "one"], 128),
    ] {
        let [first, second] = plugins;
        let definition = format!(
            r#"{{"StartAt": "A", "States": {{"A": {{"Type": "Task", "Resource": "wasm:{first}", "Next": "B"}},
            "B": {{"Type": "Task", "Resource": "wasm:{second}", "End": true}}}}}}"#
        );
        create_of(&engine, name, MachineKind::Express, &definition).await;
        let request = start_of(&MACHINE.replace(":m", &format!(":{name}")));
        let ended = engine.start_sync(caller(), request).await.unwrap();
        assert_eq!(ended.execution.status, Status::Succeeded, "{name}");
        assert_eq!(ended.billed_memory_mb, billed, "{name}");
    }
}
