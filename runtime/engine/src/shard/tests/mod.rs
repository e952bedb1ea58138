//! How executions of one shard share it.

mod activities;
mod rig;
mod told;
mod turns;
mod usage;
