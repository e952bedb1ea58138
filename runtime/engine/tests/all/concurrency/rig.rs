//! An engine with one limited state machine, and tasks that end when a test lets them. Hides how those that run at a time are
//! counted.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
};

use stepwell_engine::{
    Code, CreateMachine, Engine, Error, Execution, Extras, MachineKind, Options, PluginCall,
    PluginEnd, Quotas, StartRequest, StartedExecution, Store, TaskRunner,
};
use stepwell_interp::OnCrash;
use tokio::sync::Semaphore;

use crate::support::{PATIENCE, caller, machine, runtime, start_of, succeeded, tags};

pub(super) const WORKS: &str =
    r#"{"StartAt":"A","States":{"A":{"Type":"Task","Resource":"wasm:work","End":true}}}"#;

/// Ends a call for each permit; fails where the input says so. Tells how many ran at a time.
pub(super) struct Works {
    pub(super) permits: Semaphore,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    running: BTreeMap<String, usize>,
    most: usize,
    most_of_input: usize,
    begun: Vec<String>,
}

impl Works {
    pub(super) fn new(permits: usize) -> Arc<Works> {
        Arc::new(Works {
            permits: Semaphore::new(permits),
            seen: Mutex::default(),
        })
    }

    fn enters(&self, input: &str) {
        let mut seen = self.seen.lock().unwrap();
        seen.begun.push(input.to_owned());
        let of_input = seen.running.entry(input.to_owned()).or_default();
        *of_input += 1;
        let of_input = *of_input;
        seen.most_of_input = seen.most_of_input.max(of_input);
        seen.most = seen.most.max(seen.running.values().sum());
    }

    fn leaves(&self, input: &str) {
        *self.seen.lock().unwrap().running.get_mut(input).unwrap() -= 1;
    }

    pub(super) fn begun(&self) -> Vec<String> {
        self.seen.lock().unwrap().begun.clone()
    }

    pub(super) fn most(&self) -> (usize, usize) {
        let seen = self.seen.lock().unwrap();
        (seen.most, seen.most_of_input)
    }
}

/// The runner of one engine.
struct Runner(Arc<Works>);

/// Counts a call for as long as it lives.
struct Running(Arc<Works>, String);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.leaves(&self.1);
    }
}

impl TaskRunner for Runner {
    fn run(&self, call: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
        let works = self.0.clone();
        call.signals.started("1");
        Box::pin(async move {
            if let Some(permit) = call.permit {
                permit.await.expect("the engine lets it begin");
            }
            let input = call.input.to_string();
            works.enters(&input);
            let _running = Running(works.clone(), input.clone());
            works.permits.acquire().await.unwrap().forget();
            if input.contains("fail") {
                return PluginEnd::Failed {
                    error: "Wrong".into(),
                    cause: "it was to fail".into(),
                };
            }
            succeeded(call.input)
        })
    }

    fn on_crash(&self, _: &str, _: &str) -> OnCrash {
        OnCrash::Redispatch
    }
}

pub(super) fn open(store: Store, works: &Arc<Works>) -> Engine {
    open_bounded(store, Quotas::default(), works)
}

pub(super) fn open_bounded(store: Store, usual: Quotas, works: &Arc<Works>) -> Engine {
    let options = Options {
        shards: 3,
        ..Options::of(store)
    };
    let runner = Arc::new(Runner(works.clone()));
    let extras = Extras {
        usual,
        ..Extras::default()
    };
    Engine::open_with(options, extras, runner).expect("the store is free")
}

/// A state machine with tags.
pub(super) fn tagged(
    name: &str,
    definition: &str,
    kind: MachineKind,
    with: &[(&str, &str)],
) -> CreateMachine {
    CreateMachine {
        tags: tags(with),
        ..machine(name, kind, definition)
    }
}

/// An engine with one state machine that has these tags.
pub(super) struct Rig {
    pub(super) engine: Engine,
    pub(super) machine: String,
    pub(super) works: Arc<Works>,
}

impl Rig {
    pub(super) async fn new(
        store: Store,
        permits: usize,
        kind: MachineKind,
        tags: &[(&str, &str)],
    ) -> Rig {
        Rig::of(store, permits, WORKS, kind, tags).await
    }

    pub(super) async fn of(
        store: Store,
        permits: usize,
        definition: &str,
        kind: MachineKind,
        tags: &[(&str, &str)],
    ) -> Rig {
        let works = Works::new(permits);
        let engine = open(store, &works);
        let machine = tagged("limited", definition, kind, tags);
        Rig::over(engine, works, machine).await
    }

    /// With numbers of tenants whose quotas have none.
    pub(super) async fn bounded(
        store: Store,
        usual: Quotas,
        kind: MachineKind,
        tags: &[(&str, &str)],
    ) -> Rig {
        let works = Works::new(0);
        let engine = open_bounded(store, usual, &works);
        Rig::over(engine, works, tagged("limited", WORKS, kind, tags)).await
    }

    async fn over(engine: Engine, works: Arc<Works>, machine: CreateMachine) -> Rig {
        let created = engine.create_machine(caller(), machine).await.unwrap();
        Rig {
            engine,
            machine: created.machine.arn.to_string(),
            works,
        }
    }

    pub(super) fn request(&self, name: Option<&str>, input: &str) -> StartRequest {
        StartRequest {
            name: name.map(str::to_owned),
            input: Some(input.to_owned()),
            ..start_of(&self.machine)
        }
    }

    pub(super) async fn try_start(
        &self,
        name: &str,
        input: &str,
    ) -> Result<StartedExecution, Error> {
        let request = self.request(Some(name), input);
        self.engine.start(caller(), request).await
    }

    pub(super) async fn start(&self, name: &str, input: &str) -> Arc<str> {
        self.try_start(name, input).await.unwrap().execution_arn
    }

    pub(super) async fn describe(&self, arn: &str) -> Execution {
        self.engine.execution(caller(), arn).await.unwrap()
    }

    pub(super) async fn ended(&self, arn: &str) -> Execution {
        let waited = self.engine.wait(caller(), arn);
        tokio::time::timeout(PATIENCE, waited)
            .await
            .unwrap()
            .unwrap()
    }

    /// Until so many wait and so many have a place.
    pub(super) async fn comes_to(&self, waiting: u64, running: u64) {
        let so = || {
            let lines = self.engine.lines();
            lines
                .first()
                .is_some_and(|line| (line.waiting, line.running) == (waiting, running))
        };
        self.until(so, &format!("{waiting} wait, {running} run"))
            .await;
    }

    /// Until nothing of the line is in memory.
    pub(super) async fn is_let_go_of(&self) {
        let so = || self.engine.lines().is_empty();
        self.until(so, "its line is gone").await;
    }

    /// Until so many calls have begun since the engine was opened.
    pub(super) async fn begins(&self, calls: usize) {
        let so = || self.works.begun().len() >= calls;
        self.until(so, &format!("{calls} calls")).await;
    }

    async fn until(&self, so: impl Fn() -> bool, what: &str) {
        let wait = async {
            while !so() {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "{what}: {:?}", self.engine.lines());
    }

    pub(super) async fn tag(&self, with: &[(&str, &str)]) {
        let tagged = self.engine.tag(caller(), &self.machine, tags(with)).await;
        tagged.unwrap();
    }
}

pub(super) fn run(test: impl Future<Output = ()>) {
    runtime().block_on(test);
}

/// In memory and on a directory.
pub(super) fn stores() -> Vec<(Store, Option<tempfile::TempDir>)> {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::Directory(directory.path().join("data"));
    vec![(Store::Memory, None), (store, Some(directory))]
}

pub(super) fn refusal<T>(result: Result<T, Error>) -> (Code, String) {
    match result {
        Err(Error::Rejected { code, message }) => (code, message),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was let through"),
    }
}
