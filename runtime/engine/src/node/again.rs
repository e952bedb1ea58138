//! Work that goes on beside a node's leases. Hides that a piece of it which breaks down begins again, and ends nothing else: the
//! leases are kept on the same thread.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::time::sleep;

use crate::limits::KEEPING_REST_BROKEN;

/// Does the work until it ends by itself.
pub(super) async fn again(what: &'static str, work: impl AsyncFn()) {
    loop {
        let worked = AssertUnwindSafe(work()).catch_unwind().await;
        if worked.is_ok() {
            return;
        }
        tracing::error!(
            what,
            "it broke down: a line before this one says where; it begins again"
        );
        sleep(KEEPING_REST_BROKEN).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn what_breaks_down_is_not_over() {
        let begun = Cell::new(0);
        let broken = again("a test", async || {
            begun.set(begun.get() + 1);
            panic!("nobody thought of that");
        });
        assert_eq!(broken.now_or_never(), None, "it rests");
        assert_eq!(begun.get(), 1);
        let whole = again("a test", async || begun.set(begun.get() + 1));
        assert_eq!(whole.now_or_never(), Some(()));
        assert_eq!(begun.get(), 2);
    }
}
