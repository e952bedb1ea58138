//! Tests of the stores: one suite and one differential test over all of them, and power losses for the embedded one.

mod differential;
mod power_loss;
mod server;
mod speed;
mod suite;
mod support;
