//! Signature Version 4: what of a request is signed, by which key, and the request that carries the signature. Hides the
//! derivation of keys and the spelling of times.
//!
//! One implementation for both sides: the server verifies by it, the command line and tasks that call services sign by it.
//! Pure: the time comes with each call. Source: AWS's description of the signature
//! (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html); AWS's test suite holds it
//! (`tests/sigv4`). S3's own rules for paths are not in it.

pub mod canonical;
mod outgoing;
mod signer;
#[cfg(test)]
mod tests;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

pub use outgoing::{Credentials, Scope, sign};
pub use signer::{Signer, Unsignable};

/// The one algorithm.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The last part of a credential's scope.
pub const TERMINATOR: &str = "aws4_request";
/// The form of times in signatures, `20260131T120000Z`.
const BASIC: &str = "%Y%m%dT%H%M%SZ";

/// The key that signs for one secret, day, region and service.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// `day` is `YYYYMMDD`, as in the scope.
    pub fn derive(secret: &str, day: &str, region: &str, service: &str) -> SigningKey {
        let first = keyed(format!("AWS4{secret}").as_bytes());
        let parts = [day, region, service, TERMINATOR];
        SigningKey(parts.iter().fold(first, |key, part| {
            keyed(&key.chain_update(part).finalize().into_bytes())
        }))
    }

    /// The signature of a text, lower-case hex.
    pub fn sign(&self, text: &str) -> String {
        hex(&self.0.clone().chain_update(text).finalize().into_bytes())
    }

    /// Whether this is the signature of the text, lower-case hex. Compared in constant time.
    pub fn verifies(&self, text: &str, signature: &str) -> bool {
        // What is no signature at all is told early: its form is no secret.
        unhex(signature).is_some_and(|given| {
            self.0
                .clone()
                .chain_update(text)
                .verify_slice(&given)
                .is_ok()
        })
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

/// The scope of a credential: `DAY/REGION/SERVICE/aws4_request`.
pub fn scope(day: &str, region: &str, service: &str) -> String {
    format!("{day}/{region}/{service}/{TERMINATOR}")
}

/// The string to sign: what stands for a canonical request that was made at a time, [`time`].
pub fn to_sign(at: &str, scope: &str, canonical_request: &str) -> String {
    format!(
        "{ALGORITHM}\n{at}\n{scope}\n{}",
        digest(canonical_request.as_bytes())
    )
}

/// SHA-256, lower-case hex.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Seconds of the Unix epoch as signatures write them, `20260131T120000Z`.
pub fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |at| at.strftime(BASIC).to_string())
}

/// The other way round; `None` of any other text.
pub fn seconds(text: &str) -> Option<i64> {
    let digits = text
        .bytes()
        .enumerate()
        .all(|(at, byte)| matches!(at, 8 | 15) || byte.is_ascii_digit());
    if text.len() != 16 || !digits {
        return None;
    }
    let at = jiff::civil::DateTime::strptime(BASIC, text).ok()?;
    let zoned = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_second())
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The 32 bytes of 64 lower-case hexadecimal digits.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 64 || !text.bytes().all(digits) {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}
