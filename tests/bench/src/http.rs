//! A client of the Step Functions API on one kept-alive connection. Hides HTTP/1.1 and the headers that SDKs send.

use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow, bail};
use hyper::{
    HeaderMap, Method, Uri,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stepwell_egress::sigv4::Signer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What an SDK sends beside the target: the server has to read them.
const SDK_HEADERS: &str = "Content-Type: application/x-amz-json-1.0\r\n\
    User-Agent: stepwell-bench/1\r\n\
    X-Amz-Date: 20260101T000000Z\r\n\
    Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/states/aws4_request, \
    SignedHeaders=content-type;host;x-amz-date;x-amz-target, \
    Signature=0000000000000000000000000000000000000000000000000000000000000000\r\n";

/// See the module.
pub(crate) struct Connection {
    stream: TcpStream,
    host: String,
    signer: Option<Signer>,
    out: Vec<u8>,
    read: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.with_context(|| format!("the server at {address} is not there"))?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            host: address.to_string(),
            signer: None,
            out: Vec::new(),
            read: Vec::new(),
        })
    }

    /// The same, with requests that this key signs.
    pub(crate) async fn signed(address: SocketAddr, signer: Signer) -> Result<Connection> {
        let mut connection = Connection::open(address).await?;
        connection.signer = Some(signer);
        Ok(connection)
    }

    /// One operation; an answer that is not 200 is an error with its body.
    pub(crate) async fn call(&mut self, operation: &str, body: &[u8]) -> Result<&[u8]> {
        let host = &self.host;
        let target = format!("AWSStepFunctions.{operation}");
        let headers = match &self.signer {
            None => format!("Host: {host}\r\n{SDK_HEADERS}X-Amz-Target: {target}\r\n"),
            Some(signer) => signed_headers(signer, host, &target, body)?,
        };
        let length = body.len();
        let head = format!("POST / HTTP/1.1\r\n{headers}Content-Length: {length}\r\n\r\n");
        self.out.clear();
        self.out.extend_from_slice(head.as_bytes());
        self.out.extend_from_slice(body);
        self.stream.write_all(&self.out).await?;
        let (status, body) = self.answer().await?;
        if status != 200 {
            let text = String::from_utf8_lossy(&self.read[body]).into_owned();
            bail!("{operation} was answered with {status}: {text}");
        }
        Ok(&self.read[body])
    }

    /// One call of a REST API, such as the function service's; an answer that is no success is an error with its body.
    pub(crate) async fn rest(&mut self, method: &str, path: &str, body: &[u8]) -> Result<&[u8]> {
        let (host, length) = (&self.host, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        self.out.clear();
        self.out.extend_from_slice(head.as_bytes());
        self.out.extend_from_slice(body);
        self.stream.write_all(&self.out).await?;
        let (status, body) = self.answer().await?;
        if !(200..300).contains(&status) {
            let text = String::from_utf8_lossy(&self.read[body]).into_owned();
            bail!("{method} {path} was answered with {status}: {text}");
        }
        Ok(&self.read[body])
    }

    /// One operation with the answer read as JSON.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &mut self,
        operation: &str,
        body: &Value,
    ) -> Result<T> {
        let answer = self.call(operation, body.to_string().as_bytes()).await?;
        serde_json::from_slice(answer).with_context(|| format!("the answer of {operation}"))
    }

    async fn answer(&mut self) -> Result<(u16, std::ops::Range<usize>)> {
        self.read.clear();
        let mut whole: Option<(u16, std::ops::Range<usize>)> = None;
        loop {
            if let Some((status, body)) = &whole
                && self.read.len() >= body.end
            {
                return Ok((*status, body.clone()));
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                bail!("the server closed the connection");
            }
            if whole.is_none() {
                whole = head(&self.read)?;
            }
        }
    }

    /// Makes a state machine and answers with its ARN.
    pub(crate) async fn machine(
        &mut self,
        name: &str,
        kind: &str,
        definition: &Value,
    ) -> Result<String> {
        let request = json!({
            "name": name,
            "type": kind,
            "roleArn": "arn:aws:iam::000000000000:role/bench",
            "definition": definition.to_string(),
        });
        let made: Value = self.ask("CreateStateMachine", &request).await?;
        let arn = made.get("stateMachineArn").and_then(Value::as_str);
        Ok(arn.context("a state machine has an ARN")?.to_owned())
    }
}

/// The headers of a request with its signature.
fn signed_headers(signer: &Signer, host: &str, target: &str, body: &[u8]) -> Result<String> {
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/x-amz-json-1.0");
    headers.insert(CONTENT_TYPE, json);
    headers.insert(HeaderName::from_static("x-amz-target"), target.parse()?);
    let uri: Uri = format!("http://{host}/").parse()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    signer
        .sign(&Method::POST, &uri, &mut headers, body, now.cast_signed())
        .map_err(|error| anyhow!(error))?;
    let mut lines = String::new();
    for (name, value) in &headers {
        lines.push_str(&format!("{name}: {}\r\n", value.to_str()?));
    }
    Ok(lines)
}

/// Status and place of the body, once the head is whole.
fn head(read: &[u8]) -> Result<Option<(u16, std::ops::Range<usize>)>> {
    let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&read[..end]).context("the head of an answer is text")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let (Some(status), Some(length)) = (status, length) else {
        bail!("an answer without status or length: {head}");
    };
    Ok(Some((status, end + 4..end + 4 + length)))
}
