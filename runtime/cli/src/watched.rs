//! The operator's files of secrets, ceilings and connections, taken again when they change. Hides how a change is noticed, and that a
//! file that cannot be used replaces nothing.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use stepwell_engine::Connections;
use stepwell_sandbox::Sandbox;
use stepwell_server::Warnings;

use crate::args::PolicyArgs;
use crate::connections;
use crate::exit::{Outcome, Stop};
use crate::policy::{self, Policy, TaskSecrets};
use crate::tls::{Hangup, LOOK};

/// The files that something was read from.
#[derive(Default)]
pub(crate) struct Seen(RefCell<BTreeSet<PathBuf>>);

impl Seen {
    pub(crate) fn add(&self, path: &Path) {
        self.0.borrow_mut().insert(path.to_owned());
    }

    pub(crate) fn stamps(&self) -> Stamps {
        let stamp = |path: &PathBuf| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        };
        let files = self.0.borrow();
        let stamped = files.iter().map(|path| (path.clone(), stamp(path)));
        Stamps(stamped.collect())
    }
}

/// Files, each with what changes when it does; links are followed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Stamps(Vec<(PathBuf, Option<(SystemTime, u64)>)>);

impl Stamps {
    fn again(&self) -> Stamps {
        let seen = Seen::default();
        for (path, _) in &self.0 {
            seen.add(path);
        }
        seen.stamps()
    }
}

/// What the flags name, and what was made of it.
pub(crate) struct OperatorFiles {
    pub(crate) policy: PolicyArgs,
    pub(crate) connections: Option<PathBuf>,
    pub(crate) secrets: TaskSecrets,
    pub(crate) opened: Connections,
    pub(crate) sandbox: Sandbox,
    /// The files as they were when all of this was read.
    pub(crate) stamps: Stamps,
}

/// The name under which a warning stands that a file was not taken.
const WARNING: &str = "operator-files";

impl OperatorFiles {
    fn read(&self, seen: &Seen) -> Outcome<(Policy, Option<Connections>)> {
        let policy = policy::read_from(&self.policy, seen)?;
        let connections = self.connections.as_deref();
        let connections = connections.map(|path| connections::read(path, seen));
        Ok((policy, connections.transpose()?))
    }

    /// The files that there are to look at, as they are now.
    fn look(&self) -> Stamps {
        let seen = Seen::default();
        // What cannot be read is among them all the same.
        let _ = self.read(&seen);
        seen.stamps()
    }

    /// Takes what is in the files now, all of it or nothing.
    fn take(&self, warnings: &Warnings) {
        match self.read(&Seen::default()) {
            Ok((policy, connections)) => {
                self.secrets.replace(&policy.secrets);
                if self.policy.ceilings.is_some() {
                    self.sandbox.set_ceilings(policy.ceilings);
                }
                if let Some(connections) = connections {
                    self.opened.replace(&connections);
                }
                warnings.clear(WARNING);
                tracing::info!("the files of secrets, ceilings and connections were taken again");
            }
            Err(stop) => {
                let why = match stop {
                    Stop::Usage(error) | Stop::Runtime(error) => format!("{error:#}"),
                    Stop::Failed | Stop::Refused | Stop::Panicked => String::new(),
                };
                tracing::warn!(
                    why,
                    "the files of secrets, ceilings and connections were not taken: the old ones hold on"
                );
                warnings.set(
                    WARNING,
                    format!("a file of secrets, ceilings or connections was not taken, the old ones hold on: {why}"),
                );
            }
        }
    }
}

/// Takes the files again whenever they change, and at SIGHUP; for ever.
pub(crate) async fn keep_current(files: Arc<OperatorFiles>, warnings: Warnings) {
    let mut hangup = Hangup::new();
    let mut taken = files.stamps.clone();
    let mut last = taken.clone();
    loop {
        let asked = tokio::select! {
            () = hangup.heard() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        let now = taken.again();
        // A file that is just being written has another size at the next look: half of it could be a valid one.
        let settled = now == last;
        last = now;
        if asked || (settled && last != taken) {
            // Before they are read: what is written meanwhile is a change of its own.
            taken = files.look();
            last = taken.clone();
            files.take(&warnings);
        }
    }
}
