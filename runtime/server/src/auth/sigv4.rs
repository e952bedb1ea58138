//! Signature Version 4, seen from the server: reads what a request says of its signature, and whether that is right. What
//! it hides: the two places where a signature stands (header, query), and what it covers.

use axum::http::{HeaderMap, Method, Uri, header};
use stepwell_egress::sigv4::{
    ALGORITHM, SigningKey, TERMINATOR, canonical, digest, scope, seconds, time, to_sign,
};

use super::{
    chunked::{self, Chain},
    wrong::Wrong,
};
use crate::limits::{CLOCK_SKEW_SECONDS_MAX, PRESIGNED_SECONDS_MAX};

/// What every algorithm's name begins with; other authorizations count as none.
const FAMILY: &str = "AWS4-";
/// The header that says how the payload is covered.
const CONTENT_SHA256: &str = "x-amz-content-sha256";
const DATE: &str = "x-amz-date";
const TOKEN: &str = "x-amz-security-token";

/// What a request says of its signature, before anything of it is believed.
#[derive(Debug)]
pub(super) struct Signed {
    /// Access key id.
    pub(super) key_id: String,
    /// `YYYYMMDD` of the credential's scope.
    pub(super) day: String,
    pub(super) region: String,
    pub(super) service: String,
    /// Names of the headers that are covered, lower case, in order.
    headers: Vec<String>,
    /// The time of signing, as text and in seconds of the Unix epoch.
    at: String,
    at_s: i64,
    /// Of a presigned request: seconds for which it holds.
    presigned: Option<i64>,
    pub(super) token: Option<String>,
    /// Lower-case hex, if it is a signature at all.
    signature: String,
}

/// How the payload is covered by the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Payload<'a> {
    /// By its hash, which the header repeats or leaves to be computed.
    Hashed(Option<&'a str>),
    /// Not at all.
    Unsigned,
    /// Chunk by chunk: whether the chunks are signed, and whether headers follow them.
    Chunked { signed: bool, trailer: bool },
}

impl Signed {
    /// Reads the header `Authorization`, or the query of a presigned request.
    pub(super) fn read(headers: &HeaderMap, uri: &Uri) -> Result<Signed, Wrong> {
        let query = uri.query().unwrap_or_default();
        let authorization = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .filter(|text| text.starts_with(FAMILY));
        match authorization {
            Some(text) => Signed::of_header(text, headers),
            None if query.contains("X-Amz-Algorithm=") => Signed::of_query(query),
            None => Err(Wrong::missing()),
        }
    }

    fn of_header(text: &str, headers: &HeaderMap) -> Result<Signed, Wrong> {
        let Some(rest) = text.strip_prefix(ALGORITHM) else {
            let kind = text.split(' ').next().unwrap_or_default();
            return Err(Wrong::algorithm(kind));
        };
        let part = |name: &'static str| {
            let mut parts = rest.split(',').map(str::trim);
            let found = parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
            found.filter(|found| !found.is_empty())
        };
        let date = headers
            .get(DATE)
            .or_else(|| headers.get(header::DATE))
            .and_then(|value| value.to_str().ok());
        let parts = [
            ("Credential", part("Credential")),
            ("Signature", part("Signature")),
            ("SignedHeaders", part("SignedHeaders")),
        ];
        let mut lacks: Vec<String> = parts
            .iter()
            .filter(|(_, part)| part.is_none())
            .map(|(name, _)| format!("Authorization header requires '{name}' parameter."))
            .collect();
        if date.is_none() {
            lacks.push("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.".to_owned());
        }
        let (Some(credential), Some(signature), Some(signed), Some(date)) =
            (parts[0].1, parts[1].1, parts[2].1, date)
        else {
            return Err(Wrong::incomplete(&lacks.join(" ")));
        };
        let token = headers.get(TOKEN).and_then(|value| value.to_str().ok());
        Signed::of(
            credential,
            signature,
            signed,
            date,
            None,
            token.map(str::to_owned),
        )
    }

    fn of_query(query: &str) -> Result<Signed, Wrong> {
        let part = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let (_, value) = pairs.find(|(found, _)| *found == name)?;
            String::from_utf8(canonical::decode(value)).ok()
        };
        let algorithm = part("X-Amz-Algorithm").unwrap_or_default();
        if algorithm != ALGORITHM {
            return Err(Wrong::algorithm(&algorithm));
        }
        let need = |name: &str| {
            part(name).ok_or_else(|| {
                Wrong::incomplete(&format!(
                    "AWS query-string parameters must include '{name}'. Re-examine the query-string parameters."
                ))
            })
        };
        let (credential, signature) = (need("X-Amz-Credential")?, need("X-Amz-Signature")?);
        let (signed, date) = (need("X-Amz-SignedHeaders")?, need("X-Amz-Date")?);
        let expires = need("X-Amz-Expires")?;
        let seconds = expires.parse::<i64>().ok();
        let seconds = seconds.filter(|seconds| (1..=PRESIGNED_SECONDS_MAX).contains(seconds));
        let seconds = seconds.ok_or_else(|| {
            Wrong::incomplete(&format!("X-Amz-Expires must be a number of seconds from 1 to {PRESIGNED_SECONDS_MAX}, not '{expires}'."))
        })?;
        let token = part("X-Amz-Security-Token");
        Signed::of(
            &credential,
            &signature,
            &signed,
            &date,
            Some(seconds),
            token,
        )
    }

    fn of(
        credential: &str,
        signature: &str,
        signed: &str,
        date: &str,
        presigned: Option<i64>,
        token: Option<String>,
    ) -> Result<Signed, Wrong> {
        let parts: Vec<&str> = credential.split('/').collect();
        let [key_id, day, region, service, end] = parts[..] else {
            return Err(Wrong::incomplete(&format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{credential}'."
            )));
        };
        if end != TERMINATOR {
            return Err(Wrong::scope(&format!(
                "Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{end}'."
            )));
        }
        let at_s = seconds(date).ok_or_else(|| {
            Wrong::incomplete(&format!("Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601"))
        })?;
        if !date.starts_with(day) || day.len() != 8 {
            return Err(Wrong::scope(&format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{day}' != '{}', from '{date}'.",
                date.get(..8).unwrap_or_default()
            )));
        }
        let headers: Vec<String> = signed.split(';').map(str::to_owned).collect();
        let lower =
            |name: &String| !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase());
        if !headers.iter().all(lower) || !headers.is_sorted() {
            return Err(Wrong::incomplete(
                "'SignedHeaders' must be lower-case names in alphabetical order.",
            ));
        }
        let named = |name: &String| name == header::HOST.as_str() || name == canonical::AUTHORITY;
        if !headers.iter().any(named) {
            return Err(Wrong::scope(
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
            ));
        }
        Ok(Signed {
            key_id: key_id.to_owned(),
            day: day.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            headers,
            at: date.to_owned(),
            at_s,
            presigned,
            token,
            signature: signature.to_owned(),
        })
    }

    /// Refuses what was signed too long ago, or in the future. `now_s` is the server's time, seconds.
    pub(super) fn timely(&self, now_s: i64) -> Result<(), Wrong> {
        let skew = CLOCK_SKEW_SECONDS_MAX;
        let (at, now) = (&self.at, time(now_s));
        if self.at_s > now_s + skew {
            let until = time(now_s + skew);
            return Err(Wrong::signature(format!(
                "Signature not yet current: {at} is still later than {until} ({now} + {} min.)",
                skew / 60
            )));
        }
        if let Some(seconds) = self.presigned {
            if self.at_s + seconds < now_s {
                let end = time(self.at_s + seconds);
                return Err(Wrong::signature(format!(
                    "Signature expired: {end} is now earlier than {now} ({at} + {seconds} s.)"
                )));
            }
            return Ok(());
        }
        if self.at_s < now_s - skew {
            let from = time(now_s - skew);
            return Err(Wrong::signature(format!(
                "Signature expired: {at} is now earlier than {from} ({now} - {} min.)",
                skew / 60
            )));
        }
        Ok(())
    }

    /// Refuses a request with headers that say what it means and are not covered.
    pub(super) fn covers(&self, headers: &HeaderMap) -> Result<(), Wrong> {
        let meaning =
            |name: &str| name.starts_with("x-amz-") || name == header::CONTENT_ENCODING.as_str();
        let open = headers
            .keys()
            .map(|name| name.as_str())
            .find(|name| meaning(name) && !self.headers.iter().any(|signed| signed == name));
        match open {
            None => Ok(()),
            Some(name) => Err(Wrong::signature(format!(
                "'{name}' must be a 'SignedHeader' in the AWS Authorization."
            ))),
        }
    }

    /// The payload of a request that was signed with the secret of `key`, taken out of its chunks if it came in such.
    /// Compared in constant time.
    pub(super) fn verify(
        &self,
        key: &SigningKey,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: bytes::Bytes,
    ) -> Result<bytes::Bytes, Wrong> {
        let payload = payload(headers)?;
        let computed;
        let hash = match payload {
            Payload::Hashed(told) => {
                computed = digest(&body);
                if told.is_some_and(|told| told != computed) {
                    return Err(Wrong::signature(
                        "The provided 'x-amz-content-sha256' header does not match what was computed.".to_owned(),
                    ));
                }
                computed.as_str()
            }
            Payload::Unsigned | Payload::Chunked { .. } => headers
                .get(CONTENT_SHA256)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default(),
        };
        let names: Vec<&str> = self.headers.iter().map(String::as_str).collect();
        let lines = canonical::headers(headers, uri, &names).ok_or_else(Wrong::mismatch)?;
        let request = canonical::request(
            method.as_str(),
            &canonical::path(uri.path()),
            &canonical::query(uri.query().unwrap_or_default()),
            &lines,
            &names.join(";"),
            hash,
        );
        let text = to_sign(&self.at, &self.scope(), &request);
        if !key.verifies(&text, &self.signature) {
            return Err(Wrong::mismatch());
        }
        match payload {
            Payload::Hashed(_) | Payload::Unsigned => Ok(body),
            Payload::Chunked { signed, trailer } => {
                let chain = signed.then(|| Chain {
                    key: key.clone(),
                    at: self.at.clone(),
                    scope: self.scope(),
                    previous: self.signature.clone(),
                });
                chunked::decode(&body, chain, trailer)
            }
        }
    }

    fn scope(&self) -> String {
        scope(&self.day, &self.region, &self.service)
    }
}

fn payload(headers: &HeaderMap) -> Result<Payload<'_>, Wrong> {
    let Some(value) = headers.get(CONTENT_SHA256) else {
        return Ok(Payload::Hashed(None));
    };
    match value.to_str().unwrap_or_default() {
        "UNSIGNED-PAYLOAD" => Ok(Payload::Unsigned),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(Payload::Chunked {
            signed: true,
            trailer: false,
        }),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(Payload::Chunked {
            signed: true,
            trailer: true,
        }),
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Payload::Chunked {
            signed: false,
            trailer: true,
        }),
        told if told.len() == 64 => Ok(Payload::Hashed(Some(told))),
        told => Err(Wrong::incomplete(&format!(
            "'{told}' is no valid value of the header x-amz-content-sha256."
        ))),
    }
}
