//! The sandbox against real guests: every outcome, every hostile program, grants, the plugin folder, leaks.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests are tests too, and the cost of a call is printed"
)]

mod attacks;
mod bounds;
mod folder;
mod grants;
mod here;
mod hostile;
mod inspection;
mod malformed;
mod measured;
mod modules;
mod network;
mod outcomes;
mod precompiled;
mod reuse;
mod rig;
mod steady;
mod stored;
mod trespass;
