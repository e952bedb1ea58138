//! The verdict on an attempt: from traps, exit codes and returned values to one outcome. Hides what they look like.

use crate::bindings::stepwell::task::types::TaskError;
use crate::call::Stdio;
use crate::code::shown;
use crate::limits;
use crate::manifest::{Contract, Limits};
use crate::origin::{Limit, Origins};
use crate::outcome::{Frame, Outcome};
use serde::Deserialize;
use std::time::Duration;
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// What a guest that ran to its end gave back.
pub(crate) enum Returned {
    Task(Result<String, TaskError>),
    Command(Result<(), ()>),
}

/// How the guest's future ended.
pub(crate) enum Ended {
    Returned(wasmtime::Result<Returned>),
    /// Its time was over; with the trap by which it was stopped, where it computed.
    Wall(Option<wasmtime::Error>),
    Cpu(Option<wasmtime::Error>),
    Cancelled,
}

impl Ended {
    /// Wasm frames of a trap, innermost first, from where the program gave up on.
    pub(crate) fn frames(&self) -> Vec<Frame> {
        let error = match self {
            Self::Returned(Err(error)) | Self::Wall(Some(error)) | Self::Cpu(Some(error)) => error,
            Self::Returned(Ok(_)) | Self::Wall(None) | Self::Cpu(None) | Self::Cancelled => {
                return Vec::new();
            }
        };
        let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
            return Vec::new();
        };
        let frames = backtrace.frames().iter().take(limits::FRAMES_MAX);
        let frames = frames.map(|frame| Frame {
            function: match frame.func_name() {
                Some(name) => function_name(name),
                None => format!("function {}", frame.func_index()),
            },
            offset: frame.module_offset().map(|offset| offset as u64),
        });
        without_panicking(frames.collect())
    }
}

/// What a panic of Rust goes through between the function that gave up and the trap tells nothing.
fn without_panicking(mut frames: Vec<Frame>) -> Vec<Frame> {
    const PANICKING: [&str; 4] = [
        "core::panicking::",
        "core::option::expect_failed",
        "core::option::unwrap_failed",
        "core::result::unwrap_failed",
    ];
    let panics = |frame: &Frame| {
        let mut begins = PANICKING.iter();
        begins.any(|begin| frame.function.starts_with(begin))
    };
    let own = frames.iter().rposition(panics).map_or(0, |last| last + 1);
    if own < frames.len() {
        frames.drain(..own);
    }
    frames
}

/// A function's name for people.
fn function_name(raw: &str) -> String {
    let raw = &raw[..raw.floor_char_boundary(limits::MANGLED_BYTES_MAX)];
    shown(&format!("{:#}", rustc_demangle::demangle(raw)))
}

/// What is known when a guest has ended.
pub(crate) struct Seen<'a> {
    pub(crate) contract: Contract,
    /// Those in force.
    pub(crate) limits: &'a Limits,
    /// The wall bound in force.
    pub(crate) wall: Duration,
    /// The limit by which the limiter stopped the guest, if it did, and its sentence.
    pub(crate) exceeded: Option<&'a (Limit, String)>,
    pub(crate) origins: Origins<'a>,
    pub(crate) stdio: &'a Stdio,
    pub(crate) refused: &'a [String],
}

impl Seen<'_> {
    /// The one place where an outcome is decided.
    pub(crate) fn decide(&self, ended: Ended) -> Outcome {
        let returned = match ended {
            Ended::Wall(_) => return Outcome::TimedOut { wall: self.wall },
            Ended::Cpu(_) => {
                return Outcome::CpuTime {
                    limit: self.limits.cpu,
                };
            }
            Ended::Cancelled => return Outcome::Cancelled,
            Ended::Returned(returned) => returned,
        };
        match returned {
            Ok(Returned::Task(Ok(output))) => check_output(output, self.limits.output_bytes),
            Ok(Returned::Task(Err(TaskError { error, cause }))) => failed(&error, &cause),
            Ok(Returned::Command(Ok(()))) => self.command_output(),
            Ok(Returned::Command(Err(()))) => self.exited(1),
            Err(error) => self.broke_down(&error),
        }
    }

    fn broke_down(&self, error: &wasmtime::Error) -> Outcome {
        if let Some(exit) = error.downcast_ref::<I32Exit>() {
            return match (exit.0, self.contract) {
                (0, Contract::Command) => self.command_output(),
                (0, Contract::Component) => Outcome::Trapped {
                    cause: "the component left with `exit` instead of returning a result".into(),
                },
                (code, _) => self.exited(code),
            };
        }
        if let Some((limit, why)) = self.exceeded {
            let cause = format!("{why}; {} raises it", self.origins.setting(*limit));
            return Outcome::OutOfMemory { cause };
        }
        if pool_is_full(error) {
            return Outcome::TooManyRunning {
                cause: reason(error),
            };
        }
        if let (Some(Trap::OutOfFuel), Some(limit)) =
            (error.downcast_ref::<Trap>(), self.limits.fuel)
        {
            return Outcome::OutOfFuel { limit };
        }
        let stderr = self.stdio.stderr.peek();
        let said = last_lines(&stderr);
        let reason = match error.downcast_ref::<Trap>() {
            Some(Trap::StackOverflow) => format!(
                "the call stack is over; it may have {} KiB, and {} raises it",
                self.limits.stack_bytes >> 10,
                self.origins.setting(Limit::Stack)
            ),
            _ => reason(error),
        };
        let cause = if said.is_empty() {
            reason
        } else {
            // What the program says of itself comes first: the trap is only how it gave up.
            format!("{said}\nthen: {reason}")
        };
        match self.refusal() {
            Some(what) => Outcome::GrantRefused {
                cause: format!("{what}; then {cause}"),
            },
            None => Outcome::Trapped { cause },
        }
    }

    fn refusal(&self) -> Option<String> {
        if self.refused.is_empty() {
            return None;
        }
        let what = self.refused.join(", ");
        let hint = self.origins.grant_hint();
        Some(format!("not granted: {what}; {hint}"))
    }

    /// A command's failure: its own, when the last line of stderr is `{"Error", "Cause"}`.
    fn exited(&self, code: i32) -> Outcome {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Own {
            error: String,
            #[serde(default)]
            cause: String,
        }
        let stderr = self.stdio.stderr.peek();
        let last = stderr.trim_end().rsplit('\n').next().unwrap_or_default();
        if let Ok(own) = serde_json::from_str::<Own>(last) {
            return failed(&own.error, &own.cause);
        }
        let cause = last_lines(&stderr).to_owned();
        let exited = Outcome::Exited { code, cause };
        match self.refusal() {
            Some(what) => Outcome::GrantRefused {
                cause: format!("{what}; then {}", exited.explain()),
            },
            None => exited,
        }
    }

    fn command_output(&self) -> Outcome {
        let (bytes, total) = self.stdio.stdout.take();
        let limit = self.limits.output_bytes;
        if total > limit {
            return Outcome::OutputTooLarge {
                bytes: total,
                limit,
            };
        }
        match String::from_utf8(bytes) {
            Ok(text) if text.trim().is_empty() => Outcome::InvalidOutput {
                cause:
                    "the command wrote nothing to stdout; write one JSON text, `null` for no output"
                        .into(),
            },
            Ok(text) => check_output(text.trim().to_owned(), limit),
            Err(error) => Outcome::InvalidOutput {
                cause: format!(
                    "stdout is not UTF-8 at byte {}; write one JSON text",
                    error.utf8_error().valid_up_to()
                ),
            },
        }
    }
}

/// Whether an instance was not made because the pool has no room for it.
#[cfg(feature = "pool")]
fn pool_is_full(error: &wasmtime::Error) -> bool {
    error.is::<wasmtime::PoolConcurrencyLimitError>()
}

/// Without a pool there is room until the system says otherwise.
#[cfg(not(feature = "pool"))]
fn pool_is_full(_: &wasmtime::Error) -> bool {
    false
}

/// What the Wasm runtime says of who hands its host more than it holds for one call. That error has no name outside of it.
const HANDED_TOO_MUCH: &str = "fuel allocated for hostcalls";

/// The error without its list of frames, which are reported apart.
fn reason(error: &wasmtime::Error) -> String {
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return trap.to_string();
    }
    let root = error.root_cause().to_string();
    match root.contains(HANDED_TOO_MUCH) {
        true => format!(
            "it hands the host more than {} MiB in one call, be it a result or the text of a log line; hand over less at a time",
            limits::HOSTCALL_BYTES >> 20
        ),
        false => root,
    }
}

fn failed(error: &str, cause: &str) -> Outcome {
    let cut = |text: &str, chars_max: usize| text.chars().take(chars_max).collect();
    Outcome::Failed {
        error: cut(error, limits::ERROR_CHARS_MAX),
        cause: cut(cause, limits::CAUSE_CHARS_MAX),
    }
}

/// The end of a text, short enough for a message.
fn last_lines(text: &str) -> &str {
    const SHOWN_BYTES: usize = 2048;
    let text = text.trim();
    &text[text.ceil_char_boundary(text.len().saturating_sub(SHOWN_BYTES))..]
}

fn check_output(output: String, limit: u64) -> Outcome {
    let bytes = output.len() as u64;
    if bytes > limit {
        return Outcome::OutputTooLarge { bytes, limit };
    }
    match serde_json::from_str::<serde::de::IgnoredAny>(&output) {
        Ok(_) => Outcome::Ok(output),
        Err(error) => {
            let start: String = output.chars().take(100).collect();
            Outcome::InvalidOutput {
                cause: format!("the output is not JSON: {error}; it begins with `{start}`"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{function_name, without_panicking};
    use crate::limits;
    use crate::outcome::Frame;

    #[test]
    fn a_panic_begins_with_the_function_that_gave_up() {
        let told = |functions: &[&str]| -> Vec<String> {
            let frame = |function: &&str| Frame {
                function: (*function).to_owned(),
                offset: None,
            };
            let frames = without_panicking(functions.iter().map(frame).collect());
            frames.into_iter().map(|frame| frame.function).collect()
        };
        let panic = [
            "abort",
            "std::panicking::panic_with_hook",
            "core::panicking::panic_fmt",
            "core::result::unwrap_failed",
            "pay::charge",
            "std::panicking::catch_unwind",
        ];
        assert_eq!(told(&panic), panic[4..]);
        assert_eq!(told(&panic[..4]), panic[..4], "nothing else is known");
        assert_eq!(told(&panic[4..]), panic[4..], "no panic");
    }

    #[test]
    fn names_of_functions_are_short_and_plain() {
        assert_eq!(
            function_name("_ZN6behave7give_up17h0123456789abcdefE"),
            "behave::give_up"
        );
        assert_eq!(function_name("main"), "main");
        assert_eq!(
            function_name("evil\u{1b}[2J\n  at main"),
            "evil\u{fffd}[2J\u{fffd}  at main"
        );
        // As long as the Wasm runtime lets a name be, and one whose cut would fall into a character.
        for long in ["a".repeat(100_000), "\u{e9}".repeat(50_000)] {
            let shown = function_name(&long).chars().count();
            assert_eq!(shown, limits::SHOWN_NAME_CHARS_MAX);
        }
    }
}
