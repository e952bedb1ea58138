//! What these tests share: who calls, whose tasks end at once or never, and requests that say nothing but what they must.
//! Hides the fields that no test speaks of.

use std::{
    future::Future,
    path::Path,
    pin::Pin,
    sync::{Arc, LazyLock},
    thread,
    time::{Duration, Instant},
};

use stepwell_engine::{
    Caller, CreateMachine, Engine, Error, MachineKind, MachineSettings, Options, PluginCall,
    PluginEnd, StartRequest, Store, TaskRunner,
};
use stepwell_interp::OnCrash;

/// A slow machine gets there in minutes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// Never ends a task of the plugin `hang`, and all others at once with their input.
pub(crate) struct Echo;

impl TaskRunner for Echo {
    fn run(&self, call: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
        if &*call.plugin == "hang" {
            return Box::pin(std::future::pending());
        }
        Box::pin(std::future::ready(succeeded(call.input)))
    }

    fn on_crash(&self, _: &str, _: &str) -> OnCrash {
        OnCrash::Redispatch
    }
}

pub(crate) fn succeeded(output: String) -> PluginEnd {
    PluginEnd::Succeeded { output, log: None }
}

/// The tenant that is there without being added.
pub(crate) fn caller() -> &'static Caller {
    static CALLER: LazyLock<Caller> = LazyLock::new(|| caller_of("000000000000"));
    &CALLER
}

pub(crate) fn caller_of(tenant: &str) -> Caller {
    Caller {
        tenant: tenant.into(),
        region: "us-east-1".into(),
    }
}

pub(crate) fn at(directory: &Path) -> Store {
    Store::Directory(directory.to_owned())
}

/// Opens a directory that an engine which was dropped may hold yet: it lets go of it when its threads have ended.
pub(crate) fn open_again(options: Options, runner: Arc<dyn TaskRunner>) -> Engine {
    let begun = Instant::now();
    loop {
        match Engine::open(options.clone(), runner.clone()) {
            Err(Error::Held(_)) if begun.elapsed() < PATIENCE => thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

/// A state machine that nothing else is said of.
pub(crate) fn machine(name: &str, kind: MachineKind, definition: &str) -> CreateMachine {
    CreateMachine {
        name: name.into(),
        definition: definition.into(),
        role_arn: "arn:aws:iam::000000000000:role/none".into(),
        kind,
        settings: MachineSettings::default(),
        tags: Vec::new(),
        publish: None,
    }
}

pub(crate) fn tags(tags: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(key, value): &(&str, &str)| (key.to_string(), value.to_string());
    tags.iter().map(owned).collect()
}

/// A start without a name and input.
pub(crate) fn start_of(machine_arn: &str) -> StartRequest {
    StartRequest {
        machine_arn: machine_arn.into(),
        name: None,
        input: None,
        trace_header: None,
    }
}

/// A start under a name.
pub(crate) fn named(name: &str, machine_arn: &str) -> StartRequest {
    StartRequest {
        name: Some(name.to_owned()),
        ..start_of(machine_arn)
    }
}

/// A start under a name with an input.
pub(crate) fn named_with(name: &str, input: &str, machine_arn: &str) -> StartRequest {
    StartRequest {
        input: Some(input.to_owned()),
        ..named(name, machine_arn)
    }
}

/// What a test runs on that waits for the engine's own threads alone.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().unwrap()
}
