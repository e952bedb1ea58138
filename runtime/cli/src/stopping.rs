//! What tells a server to stop: Ctrl-C and SIGTERM. Hides where the system has which.

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Heard from when it is made: a signal that comes before anybody waits for it is not lost.
pub(crate) struct Stopping {
    #[cfg(unix)]
    interrupt: Option<Signal>,
    #[cfg(unix)]
    terminate: Option<Signal>,
}

impl Stopping {
    #[cfg(unix)]
    pub(crate) fn listen() -> Stopping {
        let heard = |kind| {
            let heard = signal(kind);
            heard
                .inspect_err(|error| tracing::warn!(%error, "a signal cannot be listened to"))
                .ok()
        };
        Stopping {
            interrupt: heard(SignalKind::interrupt()),
            terminate: heard(SignalKind::terminate()),
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn listen() -> Stopping {
        Stopping {}
    }

    /// Completes at either of them.
    pub(crate) async fn told(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            () = next(&mut self.interrupt) => {}
            () = next(&mut self.terminate) => {}
        }
        #[cfg(not(unix))]
        self.interrupted().await;
    }

    /// Completes at Ctrl-C.
    pub(crate) async fn interrupted(&mut self) {
        #[cfg(unix)]
        next(&mut self.interrupt).await;
        // Without a handler there is nothing to wait for: until the process is killed.
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The next signal; never, where it cannot be listened to.
#[cfg(unix)]
async fn next(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}
