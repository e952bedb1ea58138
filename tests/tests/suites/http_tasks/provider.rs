//! The API that HTTP tasks call: a real server, plain and with TLS, that answers each case from its own list and keeps
//! what it was asked. Hides sockets and threads.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde::Deserialize;

/// Who waits longer for a request waits in vain.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer as a case has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Reply {
    /// `200 OK`
    status: String,
    headers: Vec<String>,
    body: String,
    /// The body as bytes in hex.
    hex: String,
    /// A body of so many letters.
    repeat: usize,
    /// None comes, and the connection stays open.
    hang: bool,
    /// None comes, and the connection ends.
    cut: bool,
    /// It is announced without end (`100 Continue`) and does not come.
    announces: bool,
}

/// See the module.
#[derive(Clone)]
pub(super) struct Provider {
    pub(super) plain: String,
    pub(super) tls: String,
    pub(super) tls_by_name: String,
    cases: Arc<Mutex<BTreeMap<String, Case>>>,
}

/// What is left to answer, and what was asked.
#[derive(Default)]
struct Case {
    replies: VecDeque<Reply>,
    asked: Vec<String>,
}

impl Provider {
    /// Listens until the process ends.
    pub(super) fn start(certificate: &[u8], key: &[u8]) -> Result<Provider> {
        let (plain, secure) = (
            TcpListener::bind("127.0.0.1:0")?,
            TcpListener::bind("127.0.0.1:0")?,
        );
        let (port, tls_port) = (plain.local_addr()?.port(), secure.local_addr()?.port());
        let provider = Provider {
            plain: format!("http://127.0.0.1:{port}"),
            tls: format!("https://127.0.0.1:{tls_port}"),
            tls_by_name: format!("https://localhost:{tls_port}"),
            cases: Arc::default(),
        };
        let provider_of_ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider_of_ring)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate)?],
                PrivateKeyDer::from_pem_slice(key)?,
            )?;
        let (config, here) = (Arc::new(config), provider.clone());
        serve(plain, move |stream| here.talk(stream));
        let here = provider.clone();
        serve(secure, move |stream| {
            let connection = ServerConnection::new(config.clone())?;
            here.talk(StreamOwned::new(connection, stream))
        });
        Ok(provider)
    }

    pub(super) fn expect(&self, case: &str, replies: Vec<Reply>) {
        let replies = replies.into();
        self.cases().insert(
            case.to_owned(),
            Case {
                replies,
                ..Case::default()
            },
        );
    }

    /// What the case was asked so far.
    pub(super) fn asked(&self, case: &str) -> Vec<String> {
        let cases = self.cases();
        cases
            .get(case)
            .map_or_else(Vec::new, |case| case.asked.clone())
    }

    /// Waits until so much was noted of the case: requests, and ends of connections that hang.
    pub(super) fn wait(&self, case: &str, notes: usize) -> Result<()> {
        let begun = Instant::now();
        while self.asked(case).len() < notes {
            if begun.elapsed() > PATIENCE {
                bail!(
                    "{case}: {notes} requests and ends did not come: {:?}",
                    self.asked(case)
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn cases(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Case>> {
        self.cases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request and its reply; the connection ends with it.
    fn talk(&self, stream: impl Read + Write) -> Result<()> {
        let mut stream = BufReader::new(stream);
        let request = read(&mut stream)?;
        let path = request
            .split_whitespace()
            .nth(1)
            .context("a request line has a path")?;
        let name: String = path
            .trim_start_matches('/')
            .chars()
            .take_while(|c| !matches!(c, '/' | '?'))
            .collect();
        let reply = {
            let mut cases = self.cases();
            let case = cases.entry(name.clone()).or_default();
            case.asked.push(request.clone());
            case.replies.pop_front()
        };
        let reply = reply.unwrap_or_else(|| Reply {
            status: "500 No More Replies".to_owned(),
            ..Reply::default()
        });
        if reply.hang {
            // Until the other side ends the connection.
            let _ = stream.read(&mut [0]);
            let mut cases = self.cases();
            let case = cases.entry(name).or_default();
            case.asked.push("(the connection was ended)\n".to_owned());
        }
        if reply.hang || reply.cut {
            return Ok(());
        }
        if reply.announces {
            let stream = stream.get_mut();
            while stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_ok() {}
            return Ok(());
        }
        let head = request.starts_with("HEAD ");
        stream.get_mut().write_all(&reply.bytes(head)?)?;
        stream.get_mut().flush()?;
        Ok(())
    }
}

impl Reply {
    pub(super) fn hangs(&self) -> bool {
        self.hang
    }

    fn bytes(&self, head: bool) -> Result<Vec<u8>> {
        let body = if self.repeat > 0 {
            vec![b'x'; self.repeat]
        } else if self.hex.is_empty() {
            self.body.clone().into_bytes()
        } else {
            let pairs = self.hex.as_bytes().chunks(2);
            let bytes = pairs.map(|pair| {
                let pair = std::str::from_utf8(pair)?;
                Ok(u8::from_str_radix(pair, 16)?)
            });
            bytes.collect::<Result<_>>()?
        };
        let mut reply = format!("HTTP/1.1 {}\r\n", self.status);
        for header in &self.headers {
            reply += &format!("{header}\r\n");
        }
        if !self.status.starts_with("204") {
            reply += &format!("Content-Length: {}\r\n", body.len());
        }
        reply += "Connection: close\r\n\r\n";
        let mut bytes = reply.into_bytes();
        if !head {
            bytes.extend(body);
        }
        Ok(bytes)
    }
}

fn serve(listener: TcpListener, talk: impl Fn(TcpStream) -> Result<()> + Send + Sync + 'static) {
    let talk = Arc::new(talk);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let talk = talk.clone();
            // A client that ends the connection, or refuses the certificate, is a case's matter.
            std::thread::spawn(move || talk(stream));
        }
    });
}

/// A request as text: its line, its headers sorted, and its body.
fn read(stream: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let mut headers = Vec::new();
    let mut length = 0;
    loop {
        let mut header = String::new();
        if stream.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').context("a header has a colon")?;
        let (name, value) = (name.to_ascii_lowercase(), value.trim());
        if name == "content-length" {
            length = value.parse()?;
        }
        headers.push(format!("{name}: {value}\n"));
    }
    headers.sort();
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let body = String::from_utf8(body)?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1");
    let body = if body.is_empty() {
        body
    } else {
        format!("\n{body}\n")
    };
    Ok(format!("{line}\n{}{body}", headers.concat()))
}
