//! `aws-chunked` bodies: a payload in pieces, each with a signature that continues the one before. What it hides: their
//! framing (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html), checked whole before a byte of it
//! counts.

use bytes::{Bytes, BytesMut};
use stepwell_egress::sigv4::{ALGORITHM, SigningKey, digest};

use super::wrong::Wrong;

/// The chain of a body's signatures, from that of the request's head on.
pub(super) struct Chain {
    pub(super) key: SigningKey,
    /// Time of signing, `20260131T120000Z`.
    pub(super) at: String,
    pub(super) scope: String,
    /// The last signature, lower-case hex.
    pub(super) previous: String,
}

impl Chain {
    fn chunk(&mut self, data: &[u8], signature: &str) -> Result<(), Wrong> {
        let text = format!(
            "{ALGORITHM}-PAYLOAD\n{}\n{}\n{}\n{}\n{}",
            self.at,
            self.scope,
            self.previous,
            digest(b""),
            digest(data)
        );
        self.next(&text, signature)
    }

    fn trailer(&mut self, lines: &str, signature: &str) -> Result<(), Wrong> {
        let text = format!(
            "{ALGORITHM}-TRAILER\n{}\n{}\n{}\n{}",
            self.at,
            self.scope,
            self.previous,
            digest(lines.as_bytes())
        );
        self.next(&text, signature)
    }

    fn next(&mut self, text: &str, signature: &str) -> Result<(), Wrong> {
        if !self.key.verifies(text, signature) {
            return Err(Wrong::mismatch());
        }
        signature.clone_into(&mut self.previous);
        Ok(())
    }
}

/// The payload. Without a chain the chunks carry no signatures; `trailer` says whether headers follow the last one.
pub(super) fn decode(body: &[u8], mut chain: Option<Chain>, trailer: bool) -> Result<Bytes, Wrong> {
    let mut rest = body;
    let mut payload = BytesMut::with_capacity(body.len());
    loop {
        let head = line(&mut rest)?;
        let (size, extension) = head.split_once(';').unwrap_or((head, ""));
        let size = usize::from_str_radix(size, 16).map_err(|_| Wrong::framing())?;
        // The last chunk has no data, and with a trailer no line end of its own.
        let last = size == 0;
        let data = rest.get(..size).ok_or_else(Wrong::framing)?;
        rest = &rest[size..];
        if !(last && trailer) {
            rest = rest.strip_prefix(b"\r\n").ok_or_else(Wrong::framing)?;
        }
        if let Some(chain) = &mut chain {
            let signature = extension.strip_prefix("chunk-signature=");
            chain.chunk(data, signature.ok_or_else(Wrong::framing)?)?;
        }
        if last {
            break;
        }
        payload.extend_from_slice(data);
    }
    if trailer {
        check_trailer(&mut rest, chain.as_mut())?;
    }
    if rest.is_empty() {
        Ok(payload.freeze())
    } else {
        Err(Wrong::framing())
    }
}

/// The headers after the last chunk; with a chain the last of them is their signature.
fn check_trailer(rest: &mut &[u8], chain: Option<&mut Chain>) -> Result<(), Wrong> {
    let mut lines = String::new();
    let mut signature = None;
    loop {
        let text = line(rest)?;
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(':').ok_or_else(Wrong::framing)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name == "x-amz-trailer-signature" {
            signature = Some(value.to_owned());
        } else {
            lines.push_str(&format!("{name}:{value}\n"));
        }
    }
    match (chain, signature) {
        (Some(chain), Some(signature)) => chain.trailer(&lines, &signature),
        (Some(_), None) => Err(Wrong::framing()),
        (None, _) => Ok(()),
    }
}

/// Up to the next line end, which is taken as well.
fn line<'a>(rest: &mut &'a [u8]) -> Result<&'a str, Wrong> {
    let end = rest
        .windows(2)
        .position(|pair| pair == b"\r\n")
        .ok_or_else(Wrong::framing)?;
    let text = std::str::from_utf8(&rest[..end]).map_err(|_| Wrong::framing())?;
    *rest = &rest[end + 2..];
    Ok(text)
}
