//! Work under a sign that it goes on. Hides when what it is at is asked and shown.

use anyhow::anyhow;

use crate::exit::{Outcome, Stop};
use crate::terminal::Waiting;

/// Waits for work that Ctrl-C ends. `at` says what it is at, where that is known.
pub(super) async fn waited<T>(
    what: String,
    quiet: bool,
    at: impl Fn() -> Option<String>,
    work: impl Future<Output = Outcome<T>>,
) -> Outcome<T> {
    let mut waiting = Waiting::new(what, quiet);
    let mut work = std::pin::pin!(work);
    let done = loop {
        tokio::select! {
            biased;
            done = &mut work => break done,
            _ = tokio::signal::ctrl_c() => break Err(Stop::Runtime(anyhow!("interrupted"))),
            () = waiting.turn() => waiting.is_at(at()),
        }
    };
    waiting.over();
    done
}
