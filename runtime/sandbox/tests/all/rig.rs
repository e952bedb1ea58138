//! A sandbox over a scratch folder with chosen guests in it.

use serde_json::Value;
use std::path::{Path, PathBuf};
use stepwell_sandbox::{Outcome, Sandbox, SandboxConfig, TaskCall, TaskEnd};
use tempfile::TempDir;

pub(crate) const TENANT: &str = "000000000000";

pub(crate) struct Rig {
    pub(crate) sandbox: Sandbox,
    pub(crate) folder: TempDir,
}

/// The bytes of a built guest.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let path = guests().join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}\nbuild the guests first: cargo xtask guests",
            path.display()
        )
    })
}

fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests")
}

/// Compiled guests are shared by all tests and runs; the cache key takes care of changes.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests/cache")
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut SandboxConfig)) -> Self {
        let folder = TempDir::new().unwrap();
        let mut config = SandboxConfig {
            plugins: Some(folder.path().to_owned()),
            cache: Some(cache()),
            instances: 64,
            ..SandboxConfig::default()
        };
        change(&mut config);
        Self {
            sandbox: Sandbox::new(config).unwrap(),
            folder,
        }
    }

    /// Puts a guest into the folder as `NAME.wasm`.
    pub(crate) fn put(&self, name: &str, program: &str) -> &Self {
        std::fs::write(
            self.folder.path().join(format!("{name}.wasm")),
            guest(program),
        )
        .unwrap();
        self.sandbox.rescan().unwrap();
        self
    }

    /// Puts a guest into the folder as `NAME/` with a manifest.
    pub(crate) fn put_with(&self, name: &str, program: &str, manifest: &str) -> &Self {
        let place = self.folder.path().join(name);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("plugin.toml"), manifest).unwrap();
        std::fs::write(place.join("task.wasm"), guest(program)).unwrap();
        self.sandbox.rescan().unwrap();
        self
    }

    pub(crate) async fn call(&self, plugin: &str, input: Value) -> TaskEnd {
        self.sandbox.call(call(plugin, input)).await
    }

    pub(crate) async fn outcome(&self, plugin: &str, input: Value) -> Outcome {
        self.call(plugin, input).await.outcome
    }

    /// The output of a call that must succeed.
    pub(crate) async fn output(&self, plugin: &str, input: Value) -> Value {
        let end = self.call(plugin, input).await;
        match end.outcome {
            Outcome::Ok(output) => serde_json::from_str(&output).unwrap(),
            other => panic!("{plugin}: {other:?}\nstderr: {}", end.stderr.text),
        }
    }
}

pub(crate) fn call(plugin: &str, input: Value) -> TaskCall {
    TaskCall::new(TENANT, plugin, input.to_string())
}
