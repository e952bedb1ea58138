//! How a command ends: its exit code and its last message. Hides the numbers.

use std::process::ExitCode;

use crate::terminal::{Paint, Tone, shown_lines};

/// Why a command did not succeed. The message goes to stderr; an empty one when all was said before.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The execution, or the invoked task, failed: 1.
    Failed,
    /// What the user gave cannot be used: 2.
    Usage(anyhow::Error),
    /// Usage, and the diagnostics are printed already.
    Refused,
    /// The runtime's own failure: 3.
    Runtime(anyhow::Error),
    /// The same, and the panic is told already.
    Panicked,
}

/// What a command gives back.
pub(crate) type Outcome<T = ()> = Result<T, Stop>;

/// Says on whose side an error lies.
pub(crate) trait Blame<T> {
    /// The user can mend it.
    fn usage(self) -> Outcome<T>;
    /// The operator must look.
    fn runtime(self) -> Outcome<T>;
}

impl<T, E: Into<anyhow::Error>> Blame<T> for Result<T, E> {
    fn usage(self) -> Outcome<T> {
        self.map_err(|error| Stop::Usage(error.into()))
    }

    fn runtime(self) -> Outcome<T> {
        self.map_err(|error| Stop::Runtime(error.into()))
    }
}

/// Prints the message, if there is one left, and gives the code.
pub(crate) fn finish(outcome: Outcome) -> ExitCode {
    let (code, error) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Stop::Failed) => (1, None),
        Err(Stop::Refused) => (2, None),
        Err(Stop::Panicked) => (3, None),
        Err(Stop::Usage(error)) => (2, Some(error)),
        Err(Stop::Runtime(error)) => (3, Some(error)),
    };
    if let Some(error) = error {
        // A server, a plugin's file or a task may have a word in it.
        let error = shown_lines(&format!("{error:#}"));
        say!("{} {error}", Paint::stderr().paint(Tone::Bad, "error:"));
    }
    ExitCode::from(code)
}
