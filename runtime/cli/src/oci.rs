//! Plugins in OCI registries: Wasm artifacts by reference and digest. Hides the distribution protocol, who one is to a
//! registry, and the form of an artifact.
//!
//! The protocol's part that this takes is small, so it stands here over the HTTP client that is there anyway: a library for
//! it brings a second one, with its own TLS.

mod artifact;
mod challenge;
mod credentials;
mod reference;
mod registry;

pub(crate) use artifact::{Artifact, Described};
pub(crate) use reference::Reference;
pub(crate) use registry::Registry;

/// SHA-256 in hex, as pins and digests have it.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The same as registries write it.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256_hex(bytes))
}
