//! A Wasm artifact: its manifest and its configuration, as the Wasm working group of the CNCF has them
//! (application/vnd.wasm.config.v0+json). Hides their form.

use anyhow::{anyhow, bail, ensure};
use serde_json::{Value, json};

use super::{digest, reference::is_digest};

/// The form of manifests that are written.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
/// What tools wrote before there was a common form.
const OLDER_LAYERS: [&str; 2] = [
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
];
/// Lists of manifests, of which one would have to be chosen.
const LISTS: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const VERSION: &str = "org.opencontainers.image.version";
const DESCRIPTION: &str = "org.opencontainers.image.description";
const TITLE: &str = "org.opencontainers.image.title";
/// Characters of a version (ours); what is longer names none.
const VERSION_CHARS_MAX: usize = 128;
/// When artifacts were made, as far as they tell: the same plugin gives the same digest whenever it is pushed.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// A blob of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: String,
    pub(crate) bytes: u64,
}

/// What a manifest says of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    /// The plugin's `.wasm`.
    pub(crate) wasm: Blob,
    pub(crate) version: Option<String>,
}

impl Described {
    /// Reads a manifest.
    ///
    /// # Errors
    /// It is none of one Wasm plugin.
    pub(crate) fn read(manifest: &[u8]) -> anyhow::Result<Described> {
        let manifest: Value = serde_json::from_slice(manifest)
            .map_err(|error| anyhow!("its manifest is no JSON: {error}"))?;
        let kind = manifest["mediaType"].as_str().unwrap_or_default();
        ensure!(
            !LISTS.contains(&kind) && manifest["manifests"].is_null(),
            "it is a list of images, one a platform; name one of them by its digest"
        );
        let layers = manifest["layers"].as_array().map_or(&[][..], Vec::as_slice);
        let is_wasm = |layer: &&Value| {
            layer["mediaType"]
                .as_str()
                .is_some_and(|kind| kind == LAYER || OLDER_LAYERS.contains(&kind))
        };
        let mut wasm = layers.iter().filter(is_wasm);
        let (Some(layer), None) = (wasm.next(), wasm.next()) else {
            let kinds: Vec<&str> = layers
                .iter()
                .filter_map(|layer| layer["mediaType"].as_str())
                .collect();
            bail!(
                "it is no artifact of one plugin: it has layers of {}, and one of {LAYER} is wanted",
                if kinds.is_empty() {
                    "nothing".to_owned()
                } else {
                    kinds.join(", ")
                }
            );
        };
        let digest = layer["digest"].as_str().unwrap_or_default();
        ensure!(
            is_digest(digest),
            "its layer has the digest `{digest}`, and only SHA-256 is known here"
        );
        let bytes = layer["size"]
            .as_u64()
            .ok_or_else(|| anyhow!("its layer tells no size"))?;
        Ok(Described {
            wasm: Blob {
                digest: digest.to_owned(),
                bytes,
            },
            version: manifest["annotations"][VERSION]
                .as_str()
                .filter(|version| is_version(version))
                .map(str::to_owned),
        })
    }
}

/// Whether an annotation is the name of a version: it becomes one line of a manifest, in which nobody else may write others.
fn is_version(text: &str) -> bool {
    let shown = |c: char| !c.is_control() && !matches!(c, '"' | '\'' | '\\');
    (1..=VERSION_CHARS_MAX).contains(&text.chars().count()) && text.chars().all(shown)
}

/// A plugin that is to be pushed.
#[derive(Debug)]
pub(crate) struct Artifact {
    pub(crate) name: String,
    pub(crate) wasm: Vec<u8>,
    pub(crate) is_component: bool,
    /// Interfaces that a component imports and exports.
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
    pub(crate) version: Option<String>,
    pub(crate) description: Option<String>,
}

impl Artifact {
    /// The configuration, whose digest names the artifact.
    pub(super) fn config(&self) -> Vec<u8> {
        let mut config = json!({
            "created": CREATED,
            "architecture": "wasm",
            "os": if self.is_component { "wasip2" } else { "wasip1" },
            "layerDigests": [digest(&self.wasm)],
        });
        if self.is_component {
            config["component"] = json!({"exports": self.exports, "imports": self.imports});
        }
        config.to_string().into_bytes()
    }

    pub(super) fn manifest(&self) -> Vec<u8> {
        let config = self.config();
        let mut annotations = json!({TITLE: self.name});
        for (name, value) in [(VERSION, &self.version), (DESCRIPTION, &self.description)] {
            if let Some(value) = value {
                annotations[name] = json!(value);
            }
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest(&config), "size": config.len()},
            "layers": [{
                "mediaType": LAYER,
                "digest": digest(&self.wasm),
                "size": self.wasm.len(),
                "annotations": {TITLE: format!("{}.wasm", self.name)},
            }],
            "annotations": annotations,
        });
        manifest.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact() -> Artifact {
        Artifact {
            name: "resize".to_owned(),
            wasm: b"\0asm\x0d\0\x01\0".to_vec(),
            is_component: true,
            imports: vec!["wasi:io/streams@0.2.6".to_owned()],
            exports: vec!["stepwell:task/handler@0.1.0".to_owned()],
            version: Some("1.2.0".to_owned()),
            description: None,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let artifact = artifact();
        let described = Described::read(&artifact.manifest()).unwrap();
        assert_eq!(described.wasm.digest, digest(&artifact.wasm));
        assert_eq!(described.wasm.bytes, 8);
        assert_eq!(described.version.as_deref(), Some("1.2.0"));
        let config: Value = serde_json::from_slice(&artifact.config()).unwrap();
        assert_eq!(config["os"], "wasip2");
        assert_eq!(config["layerDigests"], json!([digest(&artifact.wasm)]));
        assert_eq!(
            config["component"]["exports"][0],
            "stepwell:task/handler@0.1.0"
        );
        assert_eq!(artifact.manifest(), artifact.manifest());
    }

    #[test]
    fn what_is_no_plugin_is_told() {
        let layer =
            |kind: &str, digest: &str| json!({"mediaType": kind, "digest": digest, "size": 1});
        let sha = format!("sha256:{}", "1".repeat(64));
        for (manifest, why) in [
            (
                json!({"mediaType": LISTS[0], "manifests": []}),
                "a list of images",
            ),
            (json!({"layers": []}), "layers of nothing"),
            (
                json!({"layers": [layer("application/vnd.oci.image.layer.v1.tar+gzip", &sha)]}),
                "layers of application/vnd.oci.image.layer.v1.tar+gzip",
            ),
            (
                json!({"layers": [layer(LAYER, &sha), layer(LAYER, &sha)]}),
                "no artifact of one plugin",
            ),
            (json!({"layers": [layer(LAYER, "md5:1")]}), "only SHA-256"),
            (
                json!({"layers": [{"mediaType": LAYER, "digest": sha}]}),
                "no size",
            ),
        ] {
            let told = Described::read(manifest.to_string().as_bytes());
            let told = told.unwrap_err().to_string();
            assert!(told.contains(why), "{told}");
        }
        assert!(
            Described::read(b"<html>")
                .unwrap_err()
                .to_string()
                .contains("no JSON")
        );
        let told = |version: &str| {
            let manifest =
                json!({"layers": [layer(LAYER, &sha)], "annotations": {VERSION: version}});
            Described::read(manifest.to_string().as_bytes())
                .unwrap()
                .version
        };
        assert_eq!(told("1.2.0-rc.1+a b").as_deref(), Some("1.2.0-rc.1+a b"));
        for version in ["", "1\n[grants]\nhttp = []", "\"1", &"1".repeat(129)] {
            assert_eq!(told(version), None, "{version}");
        }
        let older = json!({"layers": [layer(OLDER_LAYERS[0], &sha)]});
        assert_eq!(
            Described::read(older.to_string().as_bytes())
                .unwrap()
                .wasm
                .digest,
            sha
        );
    }
}
