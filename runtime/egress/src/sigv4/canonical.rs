//! What a request's signature is of: its parts in one spelling. What it hides: the rules of the canonical request
//! (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).

use std::fmt::Write;

use hyper::{
    HeaderMap, Uri,
    header::{self, HeaderName},
};

/// The query parameter that holds a presigned request's signature, which is not a part of what it signs.
const SIGNATURE: &str = "X-Amz-Signature";

/// The canonical request of parts that are canonical: method, [`path`], [`query`], [`headers`], their names with `;` between
/// them, and the hash of the payload in lower-case hex, or the word that stands for it.
pub fn request(
    method: &str,
    path: &str,
    query: &str,
    headers: &str,
    signed: &str,
    payload: &str,
) -> String {
    format!("{method}\n{path}\n{query}\n{headers}\n{signed}\n{payload}")
}

/// A path without `.`, `..` and empty segments, each segment encoded once more than it came: the rule of all services but S3.
pub fn path(raw: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in raw.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut path = String::with_capacity(raw.len() + 8);
    for segment in &segments {
        path.push('/');
        encode(segment.as_bytes(), &mut path);
    }
    if raw.ends_with('/') || path.is_empty() {
        path.push('/');
    }
    path
}

/// A query's parameters in order of name and value, each encoded anew; without the signature.
pub fn query(raw: &str) -> String {
    let mut pairs: Vec<(String, String)> = raw
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (again(name), again(value)))
        .filter(|(name, _)| name != SIGNATURE)
        .collect();
    pairs.sort();
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join("&")
}

/// What a client over HTTP/2 may sign in place of `host`, which it does not send.
pub const AUTHORITY: &str = ":authority";

/// The lines of the signed headers; `None` when one of them is not there. `signed` are lower-case names in order.
pub fn headers(headers: &HeaderMap, uri: &Uri, signed: &[&str]) -> Option<String> {
    let mut lines = String::new();
    for told in signed {
        let name = if *told == AUTHORITY {
            header::HOST
        } else {
            HeaderName::from_bytes(told.as_bytes()).ok()?
        };
        let mut values = headers.get_all(&name).iter().peekable();
        let mut line = String::new();
        if values.peek().is_none() {
            // HTTP/2 names the host in the URI alone.
            let authority = uri.authority().filter(|_| name == header::HOST)?;
            line.push_str(authority.as_str());
        }
        for (index, value) in values.enumerate() {
            if index > 0 {
                line.push(',');
            }
            let value = std::str::from_utf8(value.as_bytes()).ok()?;
            let words: Vec<&str> = value.split_ascii_whitespace().collect();
            line.push_str(&words.join(" "));
        }
        // Nothing can go wrong: the sink is a String.
        let _ = writeln!(lines, "{told}:{line}");
    }
    Some(lines)
}

/// Decodes `%XX` and encodes again, so that all spellings become one.
fn again(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    encode(&decode(raw), &mut text);
    text
}

/// The bytes of a percent-encoded text; a `%` that begins no code stands for itself.
pub fn decode(raw: &str) -> Vec<u8> {
    let bytes = raw.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = raw
            .get(at + 1..at + 3)
            .filter(|code| bytes[at] == b'%' && code.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        match code {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    decoded
}

/// A text as a part of a path or a query holds it: all but letters, digits, `-`, `_`, `.` and `~` is percent-encoded.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + 8);
    encode(text.as_bytes(), &mut encoded);
    encoded
}

fn encode(bytes: &[u8], text: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Nothing can go wrong: the sink is a String.
            let _ = write!(text, "%{byte:02X}");
        }
    }
}
