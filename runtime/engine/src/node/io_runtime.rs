//! The runtime on which a node waits for the network and for object storage. Hides how it ends.

use tokio::{runtime, task::AbortHandle};

use crate::error::Error;

/// A runtime of its own, that is shut down wherever the last handle is dropped.
pub(super) struct IoRuntime(Option<runtime::Runtime>);

impl IoRuntime {
    pub(super) fn new() -> Result<IoRuntime, Error> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("stepwell-io")
            .enable_all()
            .build()
            .map_err(|error| Error::Broken(format!("no runtime for input and output: {error}")))?;
        Ok(IoRuntime(Some(runtime)))
    }

    pub(super) fn spawn(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Option<AbortHandle> {
        let runtime = self.0.as_ref()?;
        Some(runtime.spawn(work).abort_handle())
    }
}

impl Drop for IoRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // The last handle may be dropped on a runtime's thread, where waiting is forbidden.
            runtime.shutdown_background();
        }
    }
}
