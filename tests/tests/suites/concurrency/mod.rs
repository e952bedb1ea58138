//! Concurrency limits of state machines: in a world that crashes, on a server that is killed, and over the wire. What is
//! judged is always the same: no more than may have a place at a time, all end, and no place is lost.

mod killed;
mod simulated;
mod wire;

use libtest_mimic::Trial;

use super::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("concurrency::simulated", simulated::all_seeds),
        trial("concurrency::killed", killed::ends_right),
        trial("concurrency::wire", wire::tells_and_refuses),
    ]
}
