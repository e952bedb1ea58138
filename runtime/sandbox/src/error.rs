//! Failures outside of a task's run, split by who can mend them.

use std::path::PathBuf;

/// Why the sandbox cannot be set up, or a plugin cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder that the operator named cannot be used.
    #[error("the {role} `{}` cannot be used: {why}\nhint: {hint}", path.display())]
    Folder {
        role: &'static str,
        path: PathBuf,
        why: String,
        hint: &'static str,
    },
    /// A plugin's file or manifest is at fault; whoever wrote it can mend it.
    #[error("plugin `{name}`: {why}")]
    Plugin { name: String, why: String },
    /// The configuration contradicts itself or the machine.
    #[error("the sandbox cannot start: {why}\nhint: {hint}")]
    Start { why: String, hint: &'static str },
}
