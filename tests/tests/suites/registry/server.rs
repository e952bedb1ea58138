//! A registry that implements OCI's distribution protocol, as far as plugins take it, in memory: with a token service beside
//! it, uploads to places of its own and downloads from another address.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};

/// Who may push; everyone may read `open/…`.
pub(super) const USER: &str = "ada";
pub(super) const PASSWORD: &str = "s3cret:colon";
const TOKEN: &str = "token-of-ada";
const READER: &str = "token-of-anyone";
/// How long a connection may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// What is in it, and what was asked.
#[derive(Default)]
pub(super) struct Kept {
    /// By digest.
    pub(super) blobs: BTreeMap<String, Vec<u8>>,
    /// By repository and tag or digest: the type and the text.
    pub(super) manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    /// `METHOD PATH` of each request.
    pub(super) asked: Vec<String>,
    /// Whether authorizations arrived where they do not belong.
    pub(super) leaked: bool,
    /// Whether blobs are given back with a byte changed.
    pub(super) lies: bool,
}

/// A registry on a free port, for as long as the process runs.
pub(super) struct Registry {
    pub(super) address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

struct Reply {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Registry {
    /// # Errors
    /// No port is free.
    pub(super) fn start() -> Result<Registry> {
        // Blobs are fetched from another address, as from the storage behind a registry.
        let (registry, storage) = (
            TcpListener::bind("127.0.0.1:0")?,
            TcpListener::bind("127.0.0.1:0")?,
        );
        let address = registry.local_addr()?;
        let behind = storage.local_addr()?;
        let kept = Arc::new(Mutex::new(Kept::default()));
        let serve = |listener: TcpListener, is_storage: bool| {
            let kept = kept.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let kept = kept.clone();
                    std::thread::spawn(move || {
                        let place = Place {
                            address,
                            behind,
                            is_storage,
                        };
                        // Who hangs up has its answer, or wants none.
                        let _ = converse(&stream, &place, &kept);
                    });
                }
            });
        };
        serve(registry, false);
        serve(storage, true);
        Ok(Registry { address, kept })
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Place {
    address: SocketAddr,
    behind: SocketAddr,
    is_storage: bool,
}

/// One connection: requests one after the other.
fn converse(stream: &TcpStream, place: &Place, kept: &Mutex<Kept>) -> Result<()> {
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    while let Some(request) = read(&mut reader)? {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let reply = answer(&request, place, &mut kept);
        drop(kept);
        let mut head = format!("HTTP/1.1 {}\r\n", reply.status);
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        // That of a HEAD is the length that a GET would have.
        head.push_str(&format!("content-length: {}\r\n\r\n", reply.body.len()));
        stream.write_all(head.as_bytes())?;
        if request.method != "HEAD" {
            stream.write_all(&reply.body)?;
        }
    }
    Ok(())
}

fn read(reader: &mut BufReader<TcpStream>) -> Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let method = words.next().context("a method")?.to_owned();
    let target = words.next().context("a target")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (path, query) = (
        path.to_owned(),
        query.replace("%3A", ":").replace("%2F", "/"),
    );
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(Ok(0), |(_, length)| length.parse())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request {
        method,
        path,
        query,
        headers,
        body,
    }))
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        pairs
            .into_iter()
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value)
    }
}

fn reply(status: &'static str, body: impl Into<Vec<u8>>) -> Reply {
    Reply {
        status,
        headers: Vec::new(),
        body: body.into(),
    }
}

fn answer(request: &Request, place: &Place, kept: &mut Kept) -> Reply {
    kept.asked
        .push(format!("{} {}", request.method, request.path));
    if place.is_storage {
        kept.leaked |= request.header("authorization").is_some();
        return blob(request.path.trim_start_matches('/'), kept);
    }
    if request.path == "/token" {
        return token(request);
    }
    let Some(path) = request.path.strip_prefix("/v2/") else {
        return reply("404 Not Found", "");
    };
    let (repository, rest) = ["/manifests/", "/blobs/"]
        .iter()
        .find_map(|part| {
            path.split_once(part)
                .map(|(name, rest)| (name, format!("{part}{rest}")))
        })
        .unwrap_or((path, String::new()));
    if let Some(challenge) = unauthorized(request, repository, place) {
        return challenge;
    }
    if let Some(target) = rest.strip_prefix("/manifests/") {
        return manifest(request, (repository.to_owned(), target.to_owned()), kept);
    }
    match (
        request.method.as_str(),
        rest.strip_prefix("/blobs/").unwrap_or_default(),
    ) {
        ("POST", "uploads/") => Reply {
            headers: vec![(
                "location",
                format!("/v2/{repository}/blobs/uploads/1?state=x"),
            )],
            ..reply("202 Accepted", "")
        },
        ("PUT", upload) if upload.starts_with("uploads/") => {
            let digest = request.parameter("digest").unwrap_or_default().to_owned();
            if request.parameter("state") != Some("x") {
                return reply("400 Bad Request", "");
            }
            kept.blobs.insert(digest, request.body.clone());
            reply("201 Created", "")
        }
        ("HEAD", digest) => blob(digest, kept),
        ("GET", digest) => Reply {
            headers: vec![("location", format!("http://{}/{digest}", place.behind))],
            ..reply("307 Temporary Redirect", "")
        },
        _ => reply("405 Method Not Allowed", ""),
    }
}

fn blob(digest: &str, kept: &Kept) -> Reply {
    let Some(found) = kept.blobs.get(digest) else {
        return reply("404 Not Found", "");
    };
    let mut found = found.clone();
    if let Some(last) = found.last_mut().filter(|_| kept.lies) {
        *last ^= 1;
    }
    reply("200 OK", found)
}

fn manifest(request: &Request, named: (String, String), kept: &mut Kept) -> Reply {
    if request.method == "PUT" {
        let kind = request
            .header("content-type")
            .unwrap_or_default()
            .to_owned();
        let by_digest = (named.0.clone(), super::digest(&request.body));
        kept.manifests
            .insert(by_digest, (kind.clone(), request.body.clone()));
        kept.manifests.insert(named, (kind, request.body.clone()));
        return reply("201 Created", "");
    }
    match kept.manifests.get(&named) {
        Some((kind, text)) => Reply {
            headers: vec![("content-type", kind.clone())],
            ..reply("200 OK", text.clone())
        },
        None => reply(
            "404 Not Found",
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
        ),
    }
}

/// Tokens for who has the password, and weaker ones for everyone.
fn token(request: &Request) -> Reply {
    let given = match request.header("authorization") {
        // USER:PASSWORD in Base64.
        Some("Basic YWRhOnMzY3JldDpjb2xvbg==") => TOKEN,
        Some(_) => return reply("401 Unauthorized", ""),
        None => READER,
    };
    reply("200 OK", format!(r#"{{"token":"{given}"}}"#))
}

/// The challenge, unless the request may do what it wants.
fn unauthorized(request: &Request, repository: &str, place: &Place) -> Option<Reply> {
    let reads = matches!(request.method.as_str(), "GET" | "HEAD");
    let token = request
        .header("authorization")
        .and_then(|it| it.strip_prefix("Bearer "));
    let may = match token {
        Some(TOKEN) => true,
        Some(READER) => reads && repository.starts_with("open/"),
        Some(_) | None => false,
    };
    if may {
        return None;
    }
    if token == Some(READER) {
        return Some(reply("403 Forbidden", r#"{"errors":[{"code":"DENIED"}]}"#));
    }
    let scope = format!(
        "repository:{repository}:{}",
        if reads { "pull" } else { "pull,push" }
    );
    let challenge = format!(
        "Bearer realm=\"http://{}/token\",service=\"registry\",scope=\"{scope}\"",
        place.address
    );
    Some(Reply {
        headers: vec![("www-authenticate", challenge)],
        ..reply("401 Unauthorized", "")
    })
}
