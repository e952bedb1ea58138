//! The web console at `/console/`: files that whoever made the program gave to the server. What it hides: their types, how long
//! browsers may keep them, whether one is sent compressed, and which paths are the console's own views rather than files.
//!
//! Nobody proves anything for them: they are the same for all and have nothing of a tenant. What the console asks for then, it
//! asks as every client does.

use std::{
    collections::BTreeMap,
    fmt,
    io::Read,
    sync::{Arc, OnceLock},
};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, header},
};
use bytes::Bytes;
use flate2::bufread::GzDecoder;
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

use crate::{router, serve::ServerState};

/// Where it is, and where browsers are sent that leave the slash out.
pub(crate) const PATH: &str = "/console";
const ROOT: &str = "/console/";

/// What every view begins with.
const PAGE: &str = "index.html";
/// In this folder the names of files tell their content.
const NAMED_BY_CONTENT: &str = "assets/";
/// Characters of the part of such a name that does: `index-B4x_9fQa.js`.
const NAME_HASH_LEN: usize = 8;

/// Bytes of a file's SHA-256 in its tag; ours.
const TAG_BYTES: usize = 16;

const FOR_EVER: &str = "public, max-age=31536000, immutable";
const ASK_EACH_TIME: &str = "no-cache";

/// Types by the endings of names; a path with one of these endings is a file, and any other a view.
const TYPES: [(&str, &str); 14] = [
    ("css", "text/css; charset=utf-8"),
    ("gif", "image/gif"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff2", "font/woff2"),
];

/// What keeps the console to itself: it runs no script and asks no server but its own, no other site draws it in a frame or has
/// its files, and no other site is told where its reader came from.
const WALLS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// A file of the web console.
#[derive(Clone, Copy, Debug)]
pub struct ConsoleFile {
    /// Below `/console/`: `index.html`, `assets/index-B4x_9fQa.js`.
    pub path: &'static str,
    pub bytes: &'static [u8],
    /// Whether the bytes are compressed by gzip.
    pub packed: bool,
}

/// The web console, or why there is none.
#[derive(Clone)]
pub struct Console(Arc<Held>);

enum Held {
    Files(BTreeMap<&'static str, Kept>),
    Missing(&'static str),
}

impl Console {
    /// One of these files, `index.html` among them.
    pub fn new(files: impl IntoIterator<Item = ConsoleFile>) -> Console {
        let kept = files.into_iter().map(|file| (file.path, Kept::new(&file)));
        Console(Arc::new(Held::Files(kept.collect())))
    }

    /// None; whoever opens it is told why.
    pub fn missing(why: &'static str) -> Console {
        Console(Arc::new(Held::Missing(why)))
    }

    /// What is at a path below `/console/`, as it stands in the request.
    fn answer(&self, path: &str, headers: &HeaderMap) -> Response<Body> {
        let files = match &*self.0 {
            Held::Files(files) => files,
            Held::Missing(why) => return missing(why),
        };
        let page = || files.get(PAGE).filter(|_| is_view(path));
        match files.get(path).or_else(page) {
            Some(file) => file.answer(headers),
            None => {
                let text = format!("the web console has no file {ROOT}{path}");
                router::error(StatusCode::NOT_FOUND, &text)
            }
        }
    }
}

impl Default for Console {
    fn default() -> Console {
        Console::missing("this server was started without a web console")
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Held::Files(files) => write!(f, "Console({} files)", files.len()),
            Held::Missing(why) => write!(f, "Console({why})"),
        }
    }
}

/// Whether a path is the console's.
pub(crate) fn is_own_path(path: &str) -> bool {
    path == PATH || path.starts_with(ROOT)
}

/// Answers what is asked for below `/console/`.
pub(crate) async fn answer(
    State(state): State<Arc<ServerState>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let path = uri.path().strip_prefix(ROOT).unwrap_or_default();
    walled(state.config.console.answer(path, &headers))
}

/// Sends who left the slash out to the console.
pub(crate) async fn redirect() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    set(&mut response, "location", ROOT);
    walled(response)
}

fn missing(why: &str) -> Response<Body> {
    let text = format!("There is no web console here: {why}\n");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::NOT_FOUND;
    for (name, value) in [
        (header::CONTENT_TYPE, type_of("why.txt")),
        (header::CACHE_CONTROL, ASK_EACH_TIME),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

fn walled(mut response: Response<Body>) -> Response<Body> {
    for (name, value) in WALLS {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

/// Whether the console draws a path itself, as `machines/order`. Names within such a path may have dots and slashes, so it is its
/// end that tells a file, and an ARN is none whatever it ends in. What no view has: a way out of the console, and characters
/// that nobody sees.
fn is_view(path: &str) -> bool {
    let Ok(path) = percent_decode_str(path).decode_utf8() else {
        return false;
    };
    let slashes = ['/', '\\'];
    let last = path.rsplit(slashes).next().unwrap_or_default();
    let is_file = !last.contains(':') && known_type(last).is_some();
    let leads_out = path.split(slashes).any(|part| [".", ".."].contains(&part));
    !is_file && !leads_out && !path.chars().any(char::is_control)
}

fn known_type(name: &str) -> Option<&'static str> {
    let (_, ending) = name.rsplit_once('.')?;
    let mut types = TYPES.iter();
    let found = types.find(|(known, _)| known.eq_ignore_ascii_case(ending));
    found.map(|(_, kind)| *kind)
}

fn type_of(name: &str) -> &'static str {
    known_type(name).unwrap_or("application/octet-stream")
}

/// A file as it is answered.
struct Kept {
    kind: &'static str,
    caching: &'static str,
    /// Of the bytes as they are kept.
    hash: String,
    bytes: Bytes,
    packed: bool,
    /// Unpacked when a client first asks for it that takes no gzip, and then kept: what all of them take together is the
    /// console's size, however many there are.
    plain: OnceLock<Bytes>,
}

impl Kept {
    fn new(file: &ConsoleFile) -> Kept {
        let hash = Sha256::digest(file.bytes);
        Kept {
            kind: type_of(file.path),
            caching: if is_named_by_content(file.path) {
                FOR_EVER
            } else {
                ASK_EACH_TIME
            },
            hash: hash
                .iter()
                .take(TAG_BYTES)
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            bytes: Bytes::from_static(file.bytes),
            packed: file.packed,
            plain: OnceLock::new(),
        }
    }

    fn answer(&self, headers: &HeaderMap) -> Response<Body> {
        let packed = self.packed && takes_gzip(headers);
        // What is another text on the wire has another tag.
        let tag = match packed {
            true => format!("\"{}-gzip\"", self.hash),
            false => format!("\"{}\"", self.hash),
        };
        let is_had = has(headers, &tag);
        let mut response = Response::new(match (is_had, packed) {
            (true, _) => Body::empty(),
            (false, true) => Body::from(self.bytes.clone()),
            (false, false) => Body::from(self.plain()),
        });
        if is_had {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            set(&mut response, "content-type", self.kind);
            if packed {
                set(&mut response, "content-encoding", "gzip");
            }
        }
        set(&mut response, "etag", &tag);
        set(&mut response, "cache-control", self.caching);
        if self.packed {
            set(&mut response, "vary", "accept-encoding");
        }
        response
    }

    fn plain(&self) -> Bytes {
        if !self.packed {
            return self.bytes.clone();
        }
        let unpack = || {
            let mut plain = Vec::new();
            let read = GzDecoder::new(&self.bytes[..]).read_to_end(&mut plain);
            read.expect("the file was packed when the program was built");
            Bytes::from(plain)
        };
        self.plain.get_or_init(unpack).clone()
    }
}

/// Whether another content would have another name: `assets/index-B4x_9fQa.js`.
fn is_named_by_content(path: &str) -> bool {
    let Some(name) = path.strip_prefix(NAMED_BY_CONTENT) else {
        return false;
    };
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let stem = stem.as_bytes();
    let Some(dash) = stem.len().checked_sub(NAME_HASH_LEN + 1) else {
        return false;
    };
    let of_hash = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    stem[dash] == b'-' && stem[dash + 1..].iter().all(of_hash)
}

/// Whether the client has what this tag stands for.
fn has(headers: &HeaderMap, tag: &str) -> bool {
    members(headers, "if-none-match")
        .map(|known| known.strip_prefix("W/").unwrap_or(known))
        .any(|known| known == tag || known == "*")
}

/// Whether the client takes gzip: what it says of gzip itself counts, and else what it says of all.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut others = false;
    for coding in members(headers, "accept-encoding") {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").map(str::trim);
        let is_refused = weight.is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0));
        match name.trim() {
            name if name.eq_ignore_ascii_case("gzip") => return !is_refused,
            "*" => others = !is_refused,
            _ => {}
        }
    }
    others
}

/// The members of a header that is a list.
fn members<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

fn set(response: &mut Response<Body>, name: &'static str, value: &str) {
    let value = HeaderValue::from_str(value).expect("it is written here, of plain characters");
    response.headers_mut().insert(name, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_told_from_files_by_their_ends() {
        for (path, expected) in [
            ("", true),
            ("plugins", true),
            ("plugins/", true),
            ("plugins/pay%2Dnow", true),
            ("executions/my.run", true),
            (
                "executions/arn%3Aaws%3Astates%3Aus-east-1%3A000000000000%3Aexecution%3Aa%2Fb%3Arun.js",
                true,
            ),
            ("assets/none-00000000.js", false),
            ("assets%2Fnone-00000000.js", false),
            ("favicon.ICO", false),
            ("..", false),
            ("../api/x", false),
            ("plugins/../../api", false),
            ("plugins/%2e%2e/api", false),
            ("..%2f..%2fetc%2fpasswd", false),
            ("..%5c..", false),
            ("plugins/.", false),
            ("plugins%00", false),
            ("plugins%0d%0a", false),
            ("%ff", false),
        ] {
            assert_eq!(is_view(path), expected, "{path}");
        }
    }

    #[test]
    fn what_is_named_by_its_content_is_kept_for_ever() {
        for (path, expected) in [
            ("assets/index-B4x_9fQa.js", true),
            ("assets/index-B-x_9f-a.css", true),
            ("assets/index.js", false),
            ("assets/index-short.js", false),
            ("assets/-B4x_9fQa.js", true),
            ("assets/B4x_9fQa.js", false),
            ("assets/a-b4x.9fQa.js", false),
            ("index-B4x_9fQa.js", false),
            ("index.html", false),
        ] {
            assert_eq!(is_named_by_content(path), expected, "{path}");
        }
    }

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        let cases: [(&[&'static str], bool); 12] = [
            (&[], false),
            (&["gzip"], true),
            (&["GZIP;q=0.5"], true),
            (&["br, gzip"], true),
            (&["br", "gzip"], true),
            (&["br"], false),
            (&["identity"], false),
            (&["*"], true),
            (&["*;q=0"], false),
            (&["gzip;q=0, *"], false),
            (&["gzip; q=0.000"], false),
            (&["*;q=0, gzip"], true),
        ];
        for (says, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in says.iter().copied() {
                headers.append("accept-encoding", HeaderValue::from_static(value));
            }
            assert_eq!(takes_gzip(&headers), expected, "{says:?}");
        }
    }
}
