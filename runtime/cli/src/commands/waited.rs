//! Work under a sign that it goes on. Hides when what it is at is asked and shown.

use anyhow::anyhow;

use crate::exit::{Blame, Outcome, Stop};
use crate::terminal::{LiveBlock, Waiting};

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

/// The same where it is no news but to who looks on: without a terminal nothing is said.
pub(super) async fn watched<T>(what: String, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let quiet = !LiveBlock::new().is_live();
    waited(what, quiet, || None, work).await
}

/// The same of work that blocks its thread, as a compilation does.
pub(super) async fn watched_blocking<T: Send + 'static>(
    what: String,
    work: impl FnOnce() -> Outcome<T> + Send + 'static,
) -> Outcome<T> {
    let done = async { tokio::task::spawn_blocking(work).await.runtime()? };
    watched(what, done).await
}
