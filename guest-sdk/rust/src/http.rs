//! A small blocking HTTP client. Requests leave the host only where `[grants].http` of the manifest allows them.
//!
//! ```
//! # use stepwell_task::{Context, TaskError, http};
//! # #[derive(serde::Serialize)]
//! # struct Order;
//! # #[derive(serde::Deserialize)]
//! # struct Charge;
//! # fn charge(order: Order, ctx: &Context) -> Result<Charge, TaskError> {
//! let reply = http::post("https://api.example.com/charges")
//!     .header("idempotency-key", &ctx.idempotency_key)
//!     .json(&order)
//!     .send()?
//!     .error_for_status()?;
//! let charge: Charge = reply.json()?;
//! # Ok(charge)
//! # }
//! ```
//!
//! In native tests [`crate::testing::answer_http`] supplies the replies.

use crate::error::UPLOADED;
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;

/// A request to be sent. Built by [`get`], [`post`] or [`request`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    /// The method, in capitals.
    pub method: String,
    /// The absolute URL: `http://` or `https://`.
    pub url: String,
    /// The headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
    /// How long to wait for the connection and for the first byte of the reply, each.
    pub timeout: Option<Duration>,
}

/// A reply, read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, in order, names in small letters. Values that are not UTF-8 are left out.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no usable reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpError {
    /// The host does not let this request out.
    Denied(String),
    /// The URL, the method or a header is not valid.
    Invalid(String),
    /// The connection or the exchange failed; trying again may help.
    Failed(String),
    /// The server answered with this status of 400 or more; with the beginning of its body.
    Status(u16, String),
    /// The body is not what was expected.
    Body(String),
}

impl std::fmt::Display for HttpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Denied(what) => {
                write!(
                    f,
                    "the request to {what} is not granted; add it to [grants].http of plugin.toml and have the operator allow it{UPLOADED}"
                )
            }
            Self::Invalid(what) => write!(f, "the request is not valid: {what}"),
            Self::Failed(what) => write!(f, "the request failed: {what}"),
            Self::Status(status, body) if body.is_empty() => {
                write!(f, "the server answered {status}")
            }
            Self::Status(status, body) => write!(f, "the server answered {status}: {body}"),
            Self::Body(what) => write!(f, "the reply's body is unusable: {what}"),
        }
    }
}

impl std::error::Error for HttpError {}

/// A GET request.
pub fn get(url: impl Into<String>) -> Request {
    request("GET", url)
}

/// A POST request.
pub fn post(url: impl Into<String>) -> Request {
    request("POST", url)
}

/// A request with any method.
pub fn request(method: &str, url: impl Into<String>) -> Request {
    Request {
        method: method.to_ascii_uppercase(),
        url: url.into(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout: None,
    }
}

impl Request {
    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body to a JSON text and says so in `content-type`.
    pub fn json<T: Serialize>(self, value: &T) -> Self {
        // A value that cannot be written (a map with keys that are no strings) becomes `null`, which a server refuses.
        let body = serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec());
        self.header("content-type", "application/json").body(body)
    }

    /// Bounds the wait for the connection and for the first byte of the reply.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends the request and reads the reply whole.
    ///
    /// # Errors
    /// [`HttpError`] when no reply came. A reply of 400 or more is no error here; see [`Response::error_for_status`].
    pub fn send(self) -> Result<Response, HttpError> {
        transport::send(self)
    }
}

impl Response {
    /// The first value of a header; the name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, read as JSON.
    ///
    /// # Errors
    /// [`HttpError::Body`] when it is not JSON of that shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        serde_json::from_slice(&self.body).map_err(|error| HttpError::Body(error.to_string()))
    }

    /// This reply, or an error when its status is 400 or more.
    ///
    /// # Errors
    /// [`HttpError::Status`] with the beginning of the body.
    pub fn error_for_status(self) -> Result<Self, HttpError> {
        if self.status < 400 {
            return Ok(self);
        }
        let start: String = self.text().chars().take(500).collect();
        Err(HttpError::Status(self.status, start))
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod transport {
    pub(super) use crate::testing::host_http as send;
}

#[cfg(target_arch = "wasm32")]
mod transport {
    //! The client's half of `wasi:http`.

    use super::{HttpError, Request, Response};
    use crate::__export::bindings::wasi::http::outgoing_handler;
    use crate::__export::bindings::wasi::http::types::{
        ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
        RequestOptions, Scheme,
    };
    use crate::__export::bindings::wasi::io::streams::StreamError;

    /// What `blocking-write-and-flush` takes at once.
    const WRITE_BYTES_MAX: usize = 4096;
    const READ_BYTES: u64 = 64 * 1024;

    pub(super) fn send(request: Request) -> Result<Response, HttpError> {
        let outgoing = build(&request)?;
        let body = outgoing
            .body()
            .map_err(|()| HttpError::Failed("the body was taken twice".into()))?;
        let future = outgoing_handler::handle(outgoing, options(&request)?)
            .map_err(|code| fail(code, &request))?;
        write(body, &request)?;
        future.subscribe().block();
        let answer = future
            .get()
            .ok_or_else(|| HttpError::Failed("the host gave no reply".into()))?;
        let answer = answer.map_err(|()| HttpError::Failed("the reply was taken twice".into()))?;
        read(&answer.map_err(|code| fail(code, &request))?)
    }

    fn build(request: &Request) -> Result<OutgoingRequest, HttpError> {
        let invalid = |what: &str| {
            HttpError::Invalid(format!("{what} in `{} {}`", request.method, request.url))
        };
        let (scheme, rest) = match request.url.split_once("://") {
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("http", rest)) => (Scheme::Http, rest),
            _ => return Err(invalid("the URL must begin with http:// or https://")),
        };
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(split);
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        let headers: Vec<(String, Vec<u8>)> = request
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
            .collect();
        let headers = Fields::from_list(&headers)
            .map_err(|error| HttpError::Invalid(format!("a header was refused: {error}")))?;
        if !request.body.is_empty() {
            let length = request.body.len().to_string().into_bytes();
            let _ = headers.set("content-length", &[length]);
        }
        let outgoing = OutgoingRequest::new(headers);
        outgoing
            .set_method(&method(&request.method))
            .map_err(|()| invalid("the method is refused"))?;
        outgoing
            .set_scheme(Some(&scheme))
            .map_err(|()| invalid("the scheme is refused"))?;
        outgoing
            .set_authority(Some(authority))
            .map_err(|()| invalid("the host is refused"))?;
        outgoing
            .set_path_with_query(Some(&path))
            .map_err(|()| invalid("the path is refused"))?;
        Ok(outgoing)
    }

    fn method(name: &str) -> Method {
        match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "PATCH" => Method::Patch,
            "OPTIONS" => Method::Options,
            other => Method::Other(other.to_owned()),
        }
    }

    fn options(request: &Request) -> Result<Option<RequestOptions>, HttpError> {
        let Some(timeout) = request.timeout else {
            return Ok(None);
        };
        let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let options = RequestOptions::new();
        options
            .set_connect_timeout(Some(nanos))
            .and_then(|()| options.set_first_byte_timeout(Some(nanos)))
            .map_err(|()| HttpError::Invalid("the host takes no timeouts".into()))?;
        Ok(Some(options))
    }

    fn write(body: OutgoingBody, request: &Request) -> Result<(), HttpError> {
        if !request.body.is_empty() {
            let stream = body
                .write()
                .map_err(|()| HttpError::Failed("the body was taken twice".into()))?;
            for chunk in request.body.chunks(WRITE_BYTES_MAX) {
                // A server may answer and close before it has read everything; the reply then tells why.
                if stream.blocking_write_and_flush(chunk).is_err() {
                    break;
                }
            }
        }
        let _ = OutgoingBody::finish(body, None);
        Ok(())
    }

    fn read(response: &IncomingResponse) -> Result<Response, HttpError> {
        let status = response.status();
        let headers = response
            .headers()
            .entries()
            .into_iter()
            .filter_map(|(name, value)| {
                Some((name.to_ascii_lowercase(), String::from_utf8(value).ok()?))
            })
            .collect();
        let incoming: IncomingBody = response
            .consume()
            .map_err(|()| HttpError::Failed("the reply's body was taken twice".into()))?;
        let stream = incoming
            .stream()
            .map_err(|()| HttpError::Failed("the reply's body was taken twice".into()))?;
        let mut body = Vec::new();
        loop {
            match stream.blocking_read(READ_BYTES) {
                Ok(chunk) => body.extend_from_slice(&chunk),
                Err(StreamError::Closed) => break,
                Err(StreamError::LastOperationFailed(error)) => {
                    return Err(HttpError::Failed(format!(
                        "the reply broke off: {}",
                        error.to_debug_string()
                    )));
                }
            }
        }
        Ok(Response {
            status,
            headers,
            body,
        })
    }

    fn fail(code: ErrorCode, request: &Request) -> HttpError {
        match code {
            ErrorCode::HttpRequestDenied => {
                HttpError::Denied(format!("`{} {}`", request.method, request.url))
            }
            ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestMethodInvalid => {
                HttpError::Invalid(format!("`{} {}`", request.method, request.url))
            }
            other => HttpError::Failed(format!("{other} for `{} {}`", request.method, request.url)),
        }
    }
}
