//! The built program as a command: run in a folder of a test's own, judged by its exit code and its words. Hides what of the
//! caller's environment it must not see.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Result, ensure};

use crate::server::{program, root};

/// How the names begin of what would tell it of another server or store, of keys, or of another way to run plugins. What the
/// tests themselves are told by such names, they read in their own process.
const NOT_ITS: [&str; 2] = ["AWS_", "STEPWELL_"];

/// The program in a folder; it reads nothing, and all suites share what it compiles.
///
/// # Errors
/// When the program is not built.
pub fn stepwell(folder: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(program()?);
    command
        .args(arguments)
        .current_dir(folder)
        .env("XDG_CACHE_HOME", root().join("target/suites-cache"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if NOT_ITS.iter().any(|begin| text.starts_with(begin)) {
            command.env_remove(&name);
        }
    }
    Ok(command)
}

/// How it ended.
///
/// # Errors
/// When the program is not built or cannot be started.
pub fn run(folder: &Path, arguments: &[&str]) -> Result<Output> {
    Ok(stepwell(folder, arguments)?.output()?)
}

/// What it printed.
///
/// # Errors
/// When it did not succeed, with what it said.
pub fn well(output: Output) -> Result<String> {
    ensure!(
        output.status.success(),
        "it ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// It was refused with this exit code, in words that hold all of these.
///
/// # Errors
/// When it was not, with what it said.
pub fn refused(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(code) && words.iter().all(|word| said.contains(word)),
        "{}, {code} and {words:?} expected: {said}",
        output.status
    );
    Ok(())
}
