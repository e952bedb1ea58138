//! What a panic leaves behind: one line in the log, whichever thread it was. Hides the hook of the standard library,
//! which would write past the log.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{PanicHookInfo, set_hook};

/// The crate whose faults `stepwell-query` turns into a failed expression.
const CONTAINED: &str = "jsonata-core";

/// Characters of a panic's message that are told.
const MESSAGE_CHARS_MAX: usize = 300;

/// To be called once, at the start.
pub(crate) fn hook() {
    set_hook(Box::new(tell));
}

fn tell(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let place = place.as_deref().unwrap_or("an unknown place");
    let message = one_line(panic.payload_as_str().unwrap_or("no message"));
    if place.contains(CONTAINED) {
        tracing::warn!(
            place,
            message,
            "the JSONata engine panicked over an expression, which fails for it alone"
        );
        return;
    }
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    if tracing::dispatcher::has_been_set() {
        tracing::error!(place, message, thread, "a thread panicked");
    } else {
        say!("error: an internal failure at {place}: {message}");
    }
    // There is one only where RUST_BACKTRACE asks for it.
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        say!("{trace}");
    }
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(MESSAGE_CHARS_MAX).collect()
}
