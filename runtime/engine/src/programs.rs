//! Loaded definitions by content hash, shared by all shards. Hides where their texts lie.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};
use stepwell_asl::Program;

use crate::{
    dispatch::hex,
    error::Error,
    journal::{Journal, RESTORE, Write},
    limits::PROGRAMS_MAX,
    reader,
};

/// SHA-256 of a definition's text.
pub(crate) type DefinitionHash = [u8; 32];

/// See the module.
pub(crate) struct Programs {
    journal: Arc<dyn Journal>,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    programs: HashMap<DefinitionHash, (Arc<str>, Arc<Program>)>,
    /// Oldest first; a program in use is held by its executions anyway.
    order: VecDeque<DefinitionHash>,
}

impl Programs {
    pub(crate) fn new(journal: Arc<dyn Journal>) -> Programs {
        Programs {
            journal,
            cache: Mutex::default(),
        }
    }

    /// The write that keeps a definition, and the hash it is found by.
    pub(crate) fn store(definition: &str) -> (DefinitionHash, Write) {
        let hash = Sha256::digest(definition.as_bytes()).into();
        (
            hash,
            Write::Blob {
                hash,
                bytes: definition.as_bytes().into(),
            },
        )
    }

    /// Puts a program that was just loaded where the next start finds it.
    pub(crate) fn remember(&self, hash: DefinitionHash, text: Arc<str>, program: Arc<Program>) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.programs.insert(hash, (text, program)).is_none() {
            cache.order.push_back(hash);
        }
        while cache.order.len() > PROGRAMS_MAX {
            if let Some(oldest) = cache.order.pop_front() {
                cache.programs.remove(&oldest);
            }
        }
    }

    /// The text and program of a hash: from memory, else from the store. What was once accepted always loads.
    pub(crate) async fn get(
        &self,
        hash: DefinitionHash,
    ) -> Result<(Arc<str>, Arc<Program>), Error> {
        if let Some(found) = self.cached(hash) {
            return Ok(found);
        }
        let bytes = self.journal.blob(hash).await.map_err(reader::broken)?;
        let damaged =
            |why: &str| Error::Damaged(format!("the definition {} {why}; {RESTORE}", hex(&hash)));
        let bytes = bytes.ok_or_else(|| damaged("is not in the store"))?;
        if hash != <DefinitionHash>::from(Sha256::digest(&bytes)) {
            return Err(damaged("is damaged in the store"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged("is not UTF-8"))?;
        let text: Arc<str> = text.into();
        let program = stepwell_asl::load_stored(&text)
            .map_err(|error| damaged(&format!("does not load: {error}")))?;
        let program = Arc::new(program);
        self.remember(hash, text.clone(), program.clone());
        Ok((text, program))
    }

    pub(crate) fn cached(&self, hash: DefinitionHash) -> Option<(Arc<str>, Arc<Program>)> {
        self.cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .programs
            .get(&hash)
            .cloned()
    }
}

/// What bytes are kept by.
pub(crate) fn sha256(bytes: &[u8]) -> DefinitionHash {
    Sha256::digest(bytes).into()
}

/// The hash of its lower-case hex form; `None` when it is not one.
pub(crate) fn from_hex(text: &str) -> Option<DefinitionHash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}
