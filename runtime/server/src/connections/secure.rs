//! The handshake of TLS, before HTTP. What it hides: how long it may take, and what a client is told that speaks plain
//! HTTP to a port of TLS.

use std::sync::Arc;

use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::table::{Line, Table};
use crate::tls::Tls;

/// The first byte of a handshake (RFC 8446, section 5.1: a record of type `handshake`).
const HANDSHAKE: u8 = 22;
/// Bytes of a plain request that are read before it is answered: what is left unread may take the answer with it.
const PLAIN_BYTES_READ: usize = 16 * 1024;
/// What is answered, as text, to a client that speaks HTTP without TLS.
pub const TLS_ALONE: &str = "this port speaks TLS: the address begins with https://\n";

/// The stream within TLS; `None` when there will be none.
pub(super) async fn shake(
    tls: &Tls,
    stream: TcpStream,
    table: &Table,
    line: &Arc<Line>,
) -> Option<TlsStream<TcpStream>> {
    table.shake(line);
    let shaken = tokio::time::timeout(table.bounds().handshake, accept(tls, stream)).await;
    table.shaken(line);
    if let Ok(Some(stream)) = shaken {
        return Some(stream);
    }
    table.counts().handshakes_failed.inc();
    None
}

async fn accept(tls: &Tls, mut stream: TcpStream) -> Option<TlsStream<TcpStream>> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1) if first[0] == HANDSHAKE => {}
        Ok(1) => {
            tell_plain(&mut stream).await;
            return None;
        }
        Ok(_) | Err(_) => return None,
    }
    let acceptor = TlsAcceptor::from(tls.served());
    acceptor
        .accept(stream)
        .await
        .inspect_err(|error| tracing::debug!(%error, "a TLS handshake failed"))
        .ok()
}

/// Whoever speaks something else closes the connection or reads this as an error.
async fn tell_plain(stream: &mut TcpStream) {
    let mut request = vec![0; PLAIN_BYTES_READ];
    let _ = stream.try_read(&mut request);
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{TLS_ALONE}",
        TLS_ALONE.len()
    );
    // A client that is gone needs no answer.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
