//! The HTTP client beneath S3. Hides TLS, and what may come before an answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector as TcpConnector},
    rt::TokioExecutor,
};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
        HttpResponse, HttpResponseBody, HttpService,
    },
};
use tokio::sync::Notify;

use crate::limits::{ANNOUNCEMENTS_MAX, ANSWER_MS_MAX, CONNECT_MS_MAX};

/// One pool of connections for all buckets.
#[derive(Clone, Debug)]
pub(crate) struct Connector(Client<HttpsConnector<TcpConnector>, HttpRequestBody>);

impl Default for Connector {
    fn default() -> Connector {
        let mut tcp = TcpConnector::new();
        tcp.set_connect_timeout(Some(Duration::from_millis(CONNECT_MS_MAX)));
        tcp.enforce_http(false);
        let https = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Connector(Client::builder(TokioExecutor::new()).build(https))
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let too_many = counted(&mut request);
        let answer = async {
            tokio::select! {
                biased;
                () = too_many.notified() => Err(HttpError::new(HttpErrorKind::Decode, NoAnswer)),
                answer = self.0.request(request) => answer.map_err(|error| {
                    let kind = if error.is_connect() {
                        HttpErrorKind::Connect
                    } else {
                        HttpErrorKind::Request
                    };
                    HttpError::new(kind, error)
                }),
            }
        };
        let answer = tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), answer)
            .await
            .map_err(|late| HttpError::new(HttpErrorKind::Timeout, late))??;
        let (parts, body) = answer.into_parts();
        let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error));
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)))
    }
}

/// An endpoint that announces answers and sends none. Asking again would bring the same.
#[derive(Debug, thiserror::Error)]
#[error(
    "the endpoint announced an answer more than {} times (a status from 100 to 199) and sent none",
    ANNOUNCEMENTS_MAX
)]
struct NoAnswer;

/// Counts the heads that announce the request's answer. The returned one is told when there are too many; the connection
/// ends with the request that is given up.
fn counted(request: &mut HttpRequest) -> Arc<Notify> {
    let too_many = Arc::new(Notify::new());
    let (count, told) = (AtomicU32::new(0), too_many.clone());
    hyper::ext::on_informational(request, move |_| {
        if count.fetch_add(1, Ordering::Relaxed) >= ANNOUNCEMENTS_MAX {
            told.notify_one();
        }
    });
    too_many
}

#[cfg(test)]
mod tests {
    use object_store::client::{HttpRequestBody, HttpService};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::{ANNOUNCEMENTS_MAX, Connector};

    /// Answers one request after so many announcements, or announces until nobody listens.
    async fn serve(listener: TcpListener, announced: Option<u32>) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let mut sent = 0;
        while announced.is_none_or(|most| sent < most) {
            let announcement = b"HTTP/1.1 100 Continue\r\n\r\n";
            if stream.write_all(announcement).await.is_err() {
                return;
            }
            sent += 1;
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(answer).await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_that_is_announced_without_end_is_given_up() {
        for (announced, answered) in [
            (Some(0), true),
            (Some(ANNOUNCEMENTS_MAX), true),
            (None, false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let serving = tokio::spawn(serve(listener, announced));
            let request = hyper::Request::get(format!("http://{address}/"))
                .body(HttpRequestBody::empty())
                .unwrap();
            match Connector::default().call(request).await {
                Ok(answer) => assert!(answered && answer.status() == 200, "{announced:?}"),
                Err(error) => {
                    assert!(!answered, "{announced:?}: {error}");
                    let text = error.to_string();
                    assert!(
                        text.contains("announced an answer more than 100 times"),
                        "{text}"
                    );
                }
            }
            // Nobody listens to the one without end.
            serving.await.unwrap();
        }
    }
}
