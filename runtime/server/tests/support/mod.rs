//! What the tests of the server share: an engine in memory whose tasks find no plugin, and its router.

use std::{future::Future, pin::Pin, sync::Arc};

use stepwell_engine::{Engine, Observer, Options, PluginCall, PluginEnd, Store, TaskRunner};
use stepwell_interp::OnCrash;
use stepwell_server::{Sample, SampleKind, SandboxMetrics};

/// A runner without plugins.
struct NoPlugins;

impl TaskRunner for NoPlugins {
    fn run(&self, call: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
        let cause = format!("there is no plugin {}", call.plugin);
        Box::pin(async { PluginEnd::Missing { cause } })
    }

    fn on_crash(&self, _tenant: &str, _plugin: &str) -> OnCrash {
        OnCrash::Redispatch
    }
}

/// A fresh engine that keeps everything in memory; the observer is told of what state machines log.
pub(crate) fn engine(raised_limits: bool, observer: Option<Arc<dyn Observer>>) -> Engine {
    let options = Options {
        store: Store::Memory,
        raised_limits,
        take_up: true,
        shards: 1,
        storage: None,
        connections: Default::default(),
        services: Default::default(),
        observer,
    };
    Engine::open(options, Arc::new(NoPlugins)).expect("memory is always there")
}

/// A sandbox that counts one thing with labels and one without.
pub(crate) fn sandbox() -> SandboxMetrics {
    let sample = |name: &str, kind, labels: &[(&str, &str)]| Sample {
        name: name.to_owned(),
        help: "For the test".to_owned(),
        kind,
        value: 3.0,
        labels: labels
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
    };
    Arc::new(move || {
        vec![
            sample("guest_calls", SampleKind::Counter, &[("plugin", "a")]),
            sample("guest_calls", SampleKind::Counter, &[("plugin", "b")]),
            sample("guest_memory_bytes", SampleKind::Gauge, &[]),
        ]
    })
}
