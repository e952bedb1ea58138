//! Where the addresses of a name come from. Hides the system's resolver.

use std::{future::Future, io, net::SocketAddr, pin::Pin};

/// The addresses of a name, as they come.
pub type Addresses<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Looks names up. Asked once for a connection, which goes to an address of that answer, or, where the address was there first, is
/// made when it is one of them: what it says a moment later counts for nothing.
pub trait Resolve: Send + Sync {
    /// All addresses of a host, a name or an address itself, each with this port.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Addresses<'a>;
}

/// Asks the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Addresses<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}
