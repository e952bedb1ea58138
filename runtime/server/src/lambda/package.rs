//! Code as it is uploaded: a zip archive with one `.wasm`, or the `.wasm` itself. Wire types, REST JSON.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use stepwell_engine::Package;

use super::{fault::Fault, zip};
use crate::limits::{PACKAGE_BYTES_MAX, WASM_BYTES_MAX};

/// Wire form of where code is; only one of the ways is served.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Code {
    zip_file: Option<String>,
    s3_bucket: Option<String>,
    s3_key: Option<String>,
    image_uri: Option<String>,
}

impl Code {
    /// The code, taken out of its package.
    pub(super) fn package(self) -> Result<Package, Fault> {
        if self.s3_bucket.is_some() || self.s3_key.is_some() {
            return Err(Fault::invalid(
                "code is not fetched from S3 here; upload it as ZipFile (`--zip-file fileb://task.zip`)",
            ));
        }
        if self.image_uri.is_some() {
            return Err(Fault::invalid(
                "container images are not run here; upload a WebAssembly component or command as ZipFile",
            ));
        }
        let Some(text) = self.zip_file else {
            return Err(Fault::invalid("Please provide a source for function code."));
        };
        let bytes = STANDARD.decode(text.as_bytes()).map_err(|error| {
            Fault::invalid(format!(
                "ZipFile is not base64: {error}; SDKs encode it themselves"
            ))
        })?;
        unpacked(bytes)
    }
}

/// The `.wasm` of a package, if it holds one.
pub fn wasm_of_package(bytes: &[u8]) -> Option<Vec<u8>> {
    let package = unpacked(bytes.to_vec()).ok()?;
    Some(package.wasm.to_vec())
}

fn unpacked(bytes: Vec<u8>) -> Result<Package, Fault> {
    if bytes.len() > PACKAGE_BYTES_MAX {
        return Err(Fault::too_large(format!(
            "the package has {} bytes, and {PACKAGE_BYTES_MAX} are the most that is taken; strip and optimise the module",
            bytes.len()
        )));
    }
    let sha256 = STANDARD.encode(Sha256::digest(&bytes));
    let size = bytes.len() as u64;
    let wasm = if bytes.starts_with(b"\0asm") {
        bytes
    } else if zip::is_zip(&bytes) {
        zip::only(&bytes, ".wasm", WASM_BYTES_MAX).map_err(|why| {
            Fault::invalid(format!("Could not unzip uploaded file. Please check your file, then try to upload again: {why}"))
        })?
    } else {
        return Err(Fault::invalid(
            "Could not unzip uploaded file. Please check your file, then try to upload again: it is neither a zip archive nor WebAssembly",
        ));
    };
    Ok(Package {
        wasm: wasm.into(),
        sha256,
        bytes: size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_has_so_many_bytes_and_no_more() {
        let mut bytes = b"\0asm".to_vec();
        bytes.resize(PACKAGE_BYTES_MAX, 0);
        let taken = unpacked(bytes.clone());
        assert!(taken.is_ok_and(|package| package.bytes == PACKAGE_BYTES_MAX as u64));
        bytes.push(0);
        let refused = unpacked(bytes).map(drop).unwrap_err();
        assert_eq!(refused.status, axum::http::StatusCode::PAYLOAD_TOO_LARGE);
        let told = "the package has 52428801 bytes, and 52428800 are the most that is taken";
        let message = refused.message();
        assert!(message.contains(told), "{message}");
    }
}
