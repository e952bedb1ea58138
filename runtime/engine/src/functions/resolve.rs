//! From a name and a qualifier to the version that serves a call. A name that was uploaded wins over the plugin folder's.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    calls::Entrance,
    in_use::CodeUse,
    known::Known,
    record::{Build, FunctionRecord},
};
use crate::{
    dispatch::hex,
    error::Error,
    journal::{Answer, Journal},
    lambda::LATEST,
    node::{self, Node},
    programs::{from_hex, sha256},
    record as stored,
    runner::{FunctionCode, FunctionVersion},
};

/// An upload that serves a call.
pub(crate) struct Callable {
    pub(crate) version: FunctionVersion,
    /// Its code stays for as long as that is held.
    pub(crate) in_use: CodeUse,
    pub(crate) entrance: Entrance,
}

/// What serves a call.
pub(crate) enum Resolved {
    /// A plugin of the folder, if there is one.
    Folder,
    /// An upload.
    Function(Callable),
    /// The function is there, and not what the call asks for; for people.
    Missing(String),
    /// The function takes no calls until that is changed; for people.
    Off(String),
}

impl Node {
    /// What serves a call of a name. A failed read is no verdict: the text says so.
    pub(crate) async fn resolve_function(
        &self,
        tenant: &Arc<str>,
        name: &Arc<str>,
        qualifier: Option<&str>,
    ) -> Result<Resolved, String> {
        let known = self.known_function(tenant, name).await?;
        let Some(record) = known else {
            return Ok(Resolved::Folder);
        };
        let missing = || {
            let qualifier = qualifier.unwrap_or(LATEST);
            format!(
                "the function `{name}` of account {tenant} has no version or alias `{qualifier}`; `aws lambda list-versions-by-function` and `list-aliases` tell what it has"
            )
        };
        let Some(version) = version(&record, qualifier, draw()) else {
            return Ok(Resolved::Missing(missing()));
        };
        let Some(build) = record.build(version) else {
            return Ok(Resolved::Missing(missing()));
        };
        if record.reserved_concurrency == Some(0) {
            return Ok(Resolved::Off(format!(
                "the reserved concurrency of the function `{name}` is 0, so it is not called; `aws lambda delete-function-concurrency` lets it be called again"
            )));
        }
        let code = Kept::new(self, build).map_err(|error| error.to_string())?;
        let in_use = self.code_in_use.begin(code.hash);
        Ok(Resolved::Function(Callable {
            version: build.version(version, Arc::new(code)),
            in_use,
            entrance: Entrance {
                all: self.function_calls.clone(),
                tenant: tenant.clone(),
                name: name.clone(),
                reserved: record.reserved_concurrency,
            },
        }))
    }

    async fn known_function(&self, tenant: &Arc<str>, name: &Arc<str>) -> Result<Known, String> {
        let stamp = match self.functions.get(tenant, name) {
            Ok(known) => return Ok(known),
            Err(stamp) => stamp,
        };
        let found = self.journal.get(&super::key(tenant, name)).await;
        let found = found.map_err(|error| error.to_string())?;
        let known = found
            .map(|found| stored::decode::<FunctionRecord>(&found.bytes).map(Arc::new))
            .transpose()
            .map_err(|error| error.to_string())?;
        self.functions.put(tenant, name, stamp, known.clone());
        Ok(known)
    }
}

/// The version that a qualifier names: `Some(None)` is the latest. An alias with weights chooses by a number from 0 to 1.
pub(super) fn version(
    record: &FunctionRecord,
    qualifier: Option<&str>,
    drawn: f64,
) -> Option<Option<u64>> {
    let qualifier = match qualifier {
        None | Some(LATEST) => return Some(None),
        Some(qualifier) => qualifier,
    };
    if qualifier.bytes().all(|byte| byte.is_ascii_digit()) {
        return qualifier.parse().ok().map(Some);
    }
    let alias = record.aliases.get(qualifier)?;
    // What is drawn from the far end is the alias's own version.
    let mut left = 1.0 - drawn;
    for (version, weight) in &alias.weights {
        if left <= *weight {
            return Some(Some(*version));
        }
        left -= weight;
    }
    Some(alias.version)
}

/// A number from 0 to 1, and not 1.
fn draw() -> f64 {
    let [a, b, c, d, ..] = node::os_seed();
    f64::from(u32::from_le_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
}

/// Code that is at hand while it is looked at, and in the store afterwards: whoever looked at it may remember where it is,
/// and must not hold the bytes of all uploads.
pub(super) struct Given {
    bytes: Mutex<Option<Arc<[u8]>>>,
    kept: Kept,
}

impl Given {
    pub(super) fn new(wasm: Arc<[u8]>, kept: Kept) -> Given {
        Given {
            bytes: Mutex::new(Some(wasm)),
            kept,
        }
    }

    fn let_go(&self) {
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// While it lives, the code is at hand.
pub(super) struct AtHand(pub(super) Arc<Given>);

impl Drop for AtHand {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

impl FunctionCode for Given {
    fn wasm(&self) -> Answer<Result<Arc<[u8]>, String>> {
        let at_hand = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        match at_hand.clone() {
            Some(wasm) => Box::pin(async { Ok(wasm) }),
            None => self.kept.wasm(),
        }
    }

    fn sha256(&self) -> Option<String> {
        self.kept.sha256()
    }
}

/// Code in the store.
pub(super) struct Kept {
    journal: Arc<dyn Journal>,
    hash: [u8; 32],
}

impl Kept {
    pub(super) fn new(node: &Node, build: &Build) -> Result<Kept, Error> {
        let hash = from_hex(&build.wasm)
            .ok_or_else(|| Error::Damaged("a stored function names no code".to_owned()))?;
        Ok(Kept {
            journal: node.journal.clone(),
            hash,
        })
    }
}

impl FunctionCode for Kept {
    fn wasm(&self) -> Answer<Result<Arc<[u8]>, String>> {
        let (reading, hash) = (self.journal.blob(self.hash), self.hash);
        Box::pin(async move {
            let wasm = reading.await.map_err(|error| error.to_string())?;
            let wasm = wasm.ok_or("its code is not in the store; upload it again")?;
            if sha256(&wasm) != hash {
                return Err("its code is damaged in the store; upload it again".to_owned());
            }
            Ok(wasm)
        })
    }

    fn sha256(&self) -> Option<String> {
        Some(hex(&self.hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::record::AliasRecord;

    fn function() -> FunctionRecord {
        let build = r#"{"wasm": "", "package_sha256": "", "package_bytes": 0, "modified_ms": 0, "revision_id": "r",
            "settings": {"role": "", "architecture": "", "timeout_s": 3, "memory_mb": 128}}"#;
        let build: Build = serde_json::from_str(build).unwrap();
        let mut record = FunctionRecord::new(build, Vec::new());
        record.aliases.insert(
            "live".to_owned(),
            AliasRecord {
                version: Some(1),
                description: String::new(),
                weights: [(2, 0.25)].into(),
                revision_id: String::new(),
                before: None,
            },
        );
        record
    }

    #[test]
    fn a_qualifier_names_a_version_or_an_alias() {
        let record = function();
        for (qualifier, named) in [
            (None, Some(None)),
            (Some(LATEST), Some(None)),
            (Some("7"), Some(Some(7))),
            (Some("dead"), None),
            (Some("99999999999999999999999"), None),
        ] {
            assert_eq!(version(&record, qualifier, 0.0), named, "{qualifier:?}");
        }
    }

    #[test]
    fn an_alias_chooses_by_its_weights() {
        let record = function();
        let chosen = |drawn| version(&record, Some("live"), drawn);
        assert_eq!([0.0, 0.5, 0.74].map(chosen), [Some(Some(1)); 3]);
        assert_eq!([0.76, 0.99].map(chosen), [Some(Some(2)); 2]);
        assert!(
            (0..1_000)
                .map(|_| draw())
                .all(|drawn| (0.0..1.0).contains(&drawn))
        );
    }
}
