//! Durable execution.

mod journal;
