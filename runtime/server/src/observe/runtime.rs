//! A thread of its own for what is sent elsewhere, so that a slow receiver has no part in serving or executing. What it
//! hides: the thread's async runtime.

use std::{future::Future, io, thread};

/// Starts a thread of that name that runs what `work` makes, to its end.
///
/// # Errors
/// When the system gives no thread.
pub(super) fn start<F, W>(name: &str, work: W) -> io::Result<()>
where
    F: Future<Output = ()>,
    W: FnOnce() -> F + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || runtime.block_on(work()))?;
    Ok(())
}
