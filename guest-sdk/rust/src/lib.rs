//! Write a workflow task as a plain Rust function. Hides the component's bindings, the JSON conversion and the export.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use stepwell_task::{Context, TaskError, log, task};
//!
//! #[derive(Deserialize)]
//! struct Order { id: String, cents: u32 }
//! #[derive(Serialize)]
//! struct Receipt { charged: u32 }
//!
//! #[task]
//! fn charge(order: Order, ctx: &Context) -> Result<Receipt, TaskError> {
//!     log::info("charging", &[("order", &order.id), ("key", &ctx.idempotency_key)]);
//!     if order.cents == 0 {
//!         return Err(TaskError::new("EmptyOrder", "an order of nothing cannot be charged"));
//!     }
//!     Ok(Receipt { charged: order.cents })
//! }
//! ```
//!
//! Build it with `cargo build --release --target wasm32-wasip2` (crate type `cdylib`). On the host the same function is
//! called by ordinary unit tests; [`testing`] gives them a context, configuration and secrets.

mod context;
mod error;
mod host;
#[cfg(feature = "http")]
pub mod http;

pub mod config;
pub mod log;
pub mod secrets;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[path = "export.rs"]
pub mod __export;

pub use context::{Cancelled, Context, heartbeat};
pub use error::TaskError;
pub use stepwell_task_macros::task;
