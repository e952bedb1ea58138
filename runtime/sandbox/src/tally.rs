//! What a guest does with its host, counted while it runs. Hides that requests and sockets count from other threads.

use crate::guest::Guest;
use crate::outcome::HostUse;
use bytes::Bytes;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::filesystem::WasiFilesystemView as _;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self as files, Descriptor, DescriptorFlags, HostDescriptor as _, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpSocketAddress, Network};
use wasmtime_wasi::p2::bindings::sockets::tcp::{HostTcpSocket as _, TcpSocket};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, SocketResult,
    StreamResult,
};
use wasmtime_wasi::sockets::WasiSocketsView as _;

/// Something that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Logs,
    Heartbeats,
    Configs,
    Secrets,
    HttpRequests,
    TcpConnections,
    Files,
    HttpSent,
    HttpReceived,
    TcpSent,
    TcpReceived,
}

const COUNTS: usize = 11;

/// See the module. Clones count to the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(Arc<[AtomicU64; COUNTS]>);

impl Tally {
    pub(crate) fn one(&self, of: Count) {
        self.add(of, 1);
    }

    pub(crate) fn add(&self, of: Count, more: usize) {
        self.0[of as usize].fetch_add(more as u64, Ordering::Relaxed);
    }

    /// All of it; counts anew from here.
    pub(crate) fn take(&self) -> HostUse {
        // Nearly all are zero, and to look is cheaper than to swap.
        let of = |count: Count| match self.0[count as usize].load(Ordering::Relaxed) {
            0 => 0,
            _ => self.0[count as usize].swap(0, Ordering::Relaxed),
        };
        HostUse {
            logs: of(Count::Logs),
            heartbeats: of(Count::Heartbeats),
            configs: of(Count::Configs),
            secrets: of(Count::Secrets),
            http_requests: of(Count::HttpRequests),
            tcp_connections: of(Count::TcpConnections),
            files: of(Count::Files),
            http_bytes_sent: of(Count::HttpSent),
            http_bytes_received: of(Count::HttpReceived),
            tcp_bytes_sent: of(Count::TcpSent),
            tcp_bytes_received: of(Count::TcpReceived),
        }
    }
}

/// A connection of an HTTP request, whose bytes are counted: as they are before TLS.
pub(crate) struct Counted<S> {
    pub(crate) stream: S,
    pub(crate) tally: Tally,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, into);
        let more = into.filled().len().saturating_sub(before);
        self.tally.add(Count::HttpReceived, more);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            self.tally.add(Count::HttpSent, written);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        if let Poll::Ready(Ok(written)) = polled {
            self.tally.add(Count::HttpSent, written);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The interfaces as the linker has them; another version here would be another interface.
const FILES: &str = "wasi:filesystem/types@0.2.12";
const TCP: &str = "wasi:sockets/tcp@0.2.12";

/// Puts functions that count in the place of those that do not.
pub(crate) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut files = linker.instance(FILES)?;
    files.func_wrap_async(
        "[method]descriptor.open-at",
        |caller: StoreContextMut<'_, Guest>, opens: Opens| Box::new(open(caller, opens)),
    )?;
    let mut tcp = linker.instance(TCP)?;
    tcp.func_wrap("[method]tcp-socket.start-connect", start_connect)?;
    tcp.func_wrap("[method]tcp-socket.finish-connect", finish_connect)?;
    linker.allow_shadowing(false);
    Ok(())
}

type Opens = (
    Resource<Descriptor>,
    PathFlags,
    String,
    OpenFlags,
    DescriptorFlags,
);

async fn open(
    mut caller: StoreContextMut<'_, Guest>,
    (folder, path_flags, path, open_flags, flags): Opens,
) -> wasmtime::Result<(Result<Resource<Descriptor>, files::ErrorCode>,)> {
    let guest = caller.data_mut();
    guest.egress.tally.one(Count::Files);
    let mut host = guest.filesystem();
    let opened = host.open_at(folder, path_flags, path, open_flags, flags);
    Ok((match opened.await {
        Ok(opened) => Ok(opened),
        Err(error) => Err(error.downcast()?),
    },))
}

/// An answer of a function of sockets.
type Answer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;

fn answer<T>(done: SocketResult<T>) -> Answer<T> {
    Ok((match done {
        Ok(done) => Ok(done),
        Err(error) => Err(error.downcast()?),
    },))
}

fn start_connect(
    mut caller: StoreContextMut<'_, Guest>,
    (socket, network, address): (Resource<TcpSocket>, Resource<Network>, IpSocketAddress),
) -> Answer<()> {
    let guest = caller.data_mut();
    guest.egress.tally.one(Count::TcpConnections);
    answer(guest.sockets().start_connect(socket, network, address))
}

fn finish_connect(
    mut caller: StoreContextMut<'_, Guest>,
    (socket,): (Resource<TcpSocket>,),
) -> Answer<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
    let guest = caller.data_mut();
    let tally = guest.egress.tally.clone();
    let mut host = guest.sockets();
    let connected = host.finish_connect(socket);
    if let Ok((input, output)) = &connected {
        count_input(host.table.get_mut(input)?, tally.clone());
        count_output(host.table.get_mut(output)?, tally);
    }
    answer(connected)
}

fn count_input(stream: &mut DynInputStream, tally: Tally) {
    let plain = std::mem::replace(stream, Box::new(wasmtime_wasi::p2::pipe::ClosedInputStream));
    *stream = Box::new(CountedInput { plain, tally });
}

fn count_output(stream: &mut DynOutputStream, tally: Tally) {
    let plain = std::mem::replace(
        stream,
        Box::new(wasmtime_wasi::p2::pipe::ClosedOutputStream),
    );
    *stream = Box::new(CountedOutput { plain, tally });
}

/// What is read of a TCP connection. Skipping reads, too.
struct CountedInput {
    plain: DynInputStream,
    tally: Tally,
}

#[wasmtime_wasi::async_trait]
impl Pollable for CountedInput {
    async fn ready(&mut self) {
        self.plain.ready().await;
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for CountedInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let read = self.plain.read(size)?;
        self.tally.add(Count::TcpReceived, read.len());
        Ok(read)
    }

    async fn cancel(&mut self) {
        self.plain.cancel().await;
    }
}

/// What is written to a TCP connection.
struct CountedOutput {
    plain: DynOutputStream,
    tally: Tally,
}

#[wasmtime_wasi::async_trait]
impl Pollable for CountedOutput {
    async fn ready(&mut self) {
        self.plain.ready().await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for CountedOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let written = bytes.len();
        self.plain.write(bytes)?;
        self.tally.add(Count::TcpSent, written);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.plain.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.plain.check_write()
    }

    async fn cancel(&mut self) {
        self.plain.cancel().await;
    }
}
