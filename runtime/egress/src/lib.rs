//! Connections that leave the process on behalf of a task: which may be made, to which addresses, and one bounded HTTP
//! exchange. Hides name resolution, TLS and HTTP/1.1. Beside it [`sigv4`], the signature of requests to AWS's services.
//!
//! The sandbox asks here for its guests, the engine for HTTP tasks, so that one set of rules holds for both. The crate
//! knows neither plugins nor workflows.

mod address;
mod connect;
mod exchange;
mod limits;
mod resolve;
mod rule;
pub mod sigv4;
mod tap;
mod tcp;

pub use connect::{BadRoots, ConnectError, Connector, Peer, Socket, Stream, resolves};
pub use exchange::{Client, Failure, Request, Response};
pub use limits::HEADS_BYTES_MAX;
pub use resolve::{Addresses, Resolve, SystemResolver};
pub use rule::{Apart, HttpRule, Reach, Target};
pub use sigv4::{Credentials, Scope, sign};
pub use tap::{Copied, Tap};
pub use tcp::{NameRule, TcpRule};
pub use url::Url;
