//! The engine from the outside, on stores in memory and on real directories: what one process leaves to the next one,
//! what an account may have, what is told of what went wrong.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod backlog;
mod concurrency;
mod damage;
mod forks;
mod functions;
mod keeping;
mod life;
mod measured;
mod nested;
mod pending;
mod pinned;
mod places;
mod polling;
mod sealed;
mod shards;
mod support;
mod unreadable;
mod versions;
