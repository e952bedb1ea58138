//! A socket and a service that tell their connection's line what happens on them. What it hides: the traits of reading,
//! writing and bodies.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, HttpBody},
    http::{HeaderValue, Request, Response, Version, header},
};
use bytes::Bytes;
use hyper::{
    body::{Frame, Incoming, SizeHint},
    service::Service,
};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    table::{Exchange, Line},
    unread::{Patience, RequestBody, Unread},
};
use crate::{auth::Peer, fair::Known};

/// The socket, or the plain side of TLS over it.
pub(super) struct WatchedStream<S> {
    pub(super) stream: S,
    pub(super) line: Arc<Line>,
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.line.heard();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.line.wrote(polled.is_ready());
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.line.wrote(polled.is_ready());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The router, which learns nothing of connections but their other end.
pub(super) struct WatchedService {
    pub(super) service: TowerToHyperService<Router>,
    pub(super) line: Arc<Line>,
    pub(super) peer: Peer,
    /// What was proved on the connection.
    pub(super) known: Known,
    /// With what nobody reads.
    pub(super) patience: Patience,
}

impl Service<Request<Incoming>> for WatchedService {
    type Response = Response<WatchedBody<Body>>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let exchange = self.line.asked(request.version());
        let unread = Unread::default();
        let (version, patience) = (request.version(), self.patience);
        let waits = request.headers().contains_key(header::EXPECT);
        let mut request = request.map(|body| {
            if body.is_end_stream() {
                exchange.whole();
            }
            let exchange = exchange.clone();
            let body = WatchedBody { body, exchange };
            Body::new(RequestBody::new(body, unread.clone(), waits))
        });
        request.extensions_mut().insert(self.peer);
        request.extensions_mut().insert(self.known.clone());
        let answer = self.service.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            // Streams of HTTP/2 end each for itself.
            if !unread.discard(patience).await && version < Version::HTTP_2 {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(header::CONNECTION, close);
            }
            Ok(answer.map(|body| WatchedBody { body, exchange }))
        })
    }
}

/// The body of a request or of its answer. The exchange is over when both are dropped.
pub(super) struct WatchedBody<B> {
    body: B,
    exchange: Arc<Exchange>,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for WatchedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // An answer is told to be whole again, which changes nothing: its request was, or was not waited for.
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.exchange.whole();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
