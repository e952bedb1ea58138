//! TCP and names for guests: what is granted is asked at each connection and each look-up. Hides the WASI interfaces.

use crate::guest::{Guest, Refused};
use crate::registry::Loaded;
use std::net::SocketAddr;
use std::sync::Arc;
use stepwell_egress::Resolve;
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    self, HostResolveAddressStream, ResolveAddressStream,
};
use wasmtime_wasi::p2::bindings::sockets::network::{
    self, ErrorCode, HostNetwork, IpAddress, Network,
};
use wasmtime_wasi::p2::{DynPollable, SocketError};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsCtxView, WasiSocketsView as _};

/// Lets a guest connect as far as it is granted. Without a grant the interfaces deny everything, as they do by default.
/// `names` tells what the names of rules stand for.
pub(crate) fn allow(
    builder: &mut WasiCtxBuilder,
    plugin: &Arc<Loaded>,
    refused: &Refused,
    names: &Arc<dyn Resolve>,
) {
    if plugin.granted.tcp.is_empty() {
        return;
    }
    let (plugin, refused, names) = (plugin.clone(), refused.clone(), names.clone());
    builder
        .allow_tcp(true)
        .allow_ip_name_lookup(true)
        .socket_addr_check(move |address, used| {
            let (plugin, refused, names) = (plugin.clone(), refused.clone(), names.clone());
            // Of its own, since a name may have to be looked up.
            let checked =
                tokio::spawn(async move { may(&plugin, &refused, &*names, (address, used)).await });
            Box::pin(async move { checked.await.unwrap_or(false) })
        });
}

async fn may(
    plugin: &Loaded,
    refused: &Refused,
    names: &dyn Resolve,
    (address, used): (SocketAddr, SocketAddrUse),
) -> bool {
    match used {
        // The system chooses the near end of a connection; to listen on it is another use.
        SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
        SocketAddrUse::TcpConnect => {
            let granted = plugin.granted.tcp.connects(address, names).await;
            if !granted {
                refused.note(format!("tcp `{address}`"));
            }
            granted
        }
        SocketAddrUse::TcpListen
        | SocketAddrUse::TcpAccept
        | SocketAddrUse::UdpBind
        | SocketAddrUse::UdpSend
        | SocketAddrUse::UdpReceive => false,
    }
}

/// Puts a look-up that asks for the name's grant in the place of the one that takes all names.
pub(crate) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    ip_name_lookup::add_to_linker::<Guest, Lookup>(linker, |guest| Names {
        plugin: guest.egress.plugin.clone(),
        refused: guest.egress.refused.clone(),
        sockets: guest.sockets(),
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

struct Lookup;

impl HasData for Lookup {
    type Data<'a> = Names<'a>;
}

struct Names<'a> {
    plugin: Arc<Loaded>,
    refused: Refused,
    sockets: WasiSocketsCtxView<'a>,
}

impl ip_name_lookup::Host for Names<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        if !self.plugin.granted.tcp.looks_up(&name) {
            self.refused.note(format!("dns `{name}`"));
            return Err(ErrorCode::AccessDenied.into());
        }
        ip_name_lookup::Host::resolve_addresses(&mut self.sockets, network, name)
    }
}

impl HostResolveAddressStream for Names<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        self.sockets.resolve_next_address(stream)
    }

    fn subscribe(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        HostResolveAddressStream::subscribe(&mut self.sockets, stream)
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        HostResolveAddressStream::drop(&mut self.sockets, stream)
    }
}

impl network::Host for Names<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        self.sockets.convert_error_code(error)
    }

    fn network_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        self.sockets.network_error_code(error)
    }
}

impl HostNetwork for Names<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        HostNetwork::drop(&mut self.sockets, network)
    }
}
