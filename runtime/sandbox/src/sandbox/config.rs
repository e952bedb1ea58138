//! How a sandbox is set up. Hides the defaults.

use crate::ceiling::Ceilings;
use crate::compiler::Compiler;
use crate::limits;
use std::path::PathBuf;
use std::sync::Arc;
use stepwell_egress::{Resolve, SystemResolver};

/// How a sandbox is set up. `SandboxConfig::default()` has no plugin folder, no cache and the default ceilings.
#[derive(Clone)]
pub struct SandboxConfig {
    /// The plugin folder; none serves uploads only.
    pub plugins: Option<PathBuf>,
    /// The folder for compiled plugins; none compiles in each process. Tenants must not be able to write to it.
    pub cache: Option<PathBuf>,
    /// Bytes that it may have; past it what was not of use for longest goes.
    pub cache_bytes: u64,
    /// Where plugins are compiled.
    pub compiler: Compiler,
    /// Whether code of the plugin folder that was compiled ahead of time (`NAME.cwasm`) is run. It is run unchecked: whoever
    /// can write to that folder can then do all that this process can.
    pub precompiled: bool,
    /// Folders of the host that no guest may be granted for writing, nor what holds them; the plugin folder and the
    /// cache are such folders anyway.
    pub guarded: Vec<PathBuf>,
    /// The account that the plugin folder's own plugins serve.
    pub default_tenant: String,
    /// What the plugins of each account may be granted, and use.
    pub ceilings: Ceilings,
    /// Guests alive at once, at most 5,000; further calls wait.
    pub instances: u32,
    /// Threads that guests compute on; 0 takes one a core. As many more, of a lower priority where the system has that,
    /// are for guests that compute for long.
    pub workers: usize,
    /// Where secrets come from.
    pub secrets: Arc<dyn SecretSource>,
    /// Where the names of guests' HTTP requests are looked up, and those of the rules by which they may connect by TCP. Names that
    /// guests look up themselves are the system's.
    pub names: Arc<dyn Resolve>,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            plugins: None,
            cache: None,
            cache_bytes: limits::CACHE_BYTES_DEFAULT,
            compiler: Compiler::default(),
            precompiled: false,
            guarded: Vec::new(),
            default_tenant: "000000000000".into(),
            ceilings: Ceilings::default(),
            instances: limits::INSTANCES_DEFAULT,
            workers: 0,
            secrets: Arc::new(NoSecrets),
            names: Arc::new(SystemResolver),
        }
    }
}

/// The operator's own secrets.
pub trait SecretSource: Send + Sync {
    /// A secret's current value, or none when there is no such secret. Called for each that a guest may use, before it begins:
    /// answer from memory.
    fn secret(&self, tenant: &str, name: &str) -> Option<String>;
}

struct NoSecrets;

impl SecretSource for NoSecrets {
    fn secret(&self, _: &str, _: &str) -> Option<String> {
        None
    }
}
