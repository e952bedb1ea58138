//! Concurrency limits of state machines: in a world that crashes, on a server that is killed, and over the wire. What is
//! judged is always the same: no more than may have a place at a time, all end, and no place is lost.

mod killed;
mod simulated;
mod wire;

use libtest_mimic::{Failed, Trial};

pub(crate) fn trials() -> Vec<Trial> {
    let failed = |error: anyhow::Error| Failed::from(format!("{error:#}"));
    vec![
        Trial::test("concurrency::simulated", || {
            simulated::all_seeds().map_err(Failed::from)
        }),
        Trial::test("concurrency::killed", move || {
            killed::ends_right().map_err(failed)
        }),
        Trial::test("concurrency::wire", move || {
            wire::tells_and_refuses().map_err(failed)
        }),
    ]
}
