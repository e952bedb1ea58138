//! The large values of an execution on their way to the store. Hides their hash, and that one which goes from state to
//! state is made ready once.

use std::{collections::VecDeque, sync::Arc};

use sha2::{Digest, Sha256};
use stepwell_interp::{BlobHash, Blobs};
use stepwell_query::Value;

use crate::limits::KEPT_BLOBS_MAX;

/// See the module. Dropped with the run when an append fails, so that nothing is taken as kept that is not.
#[derive(Default)]
pub(super) struct Kept {
    /// Newest last. The value is held, so that its identity is no other's.
    known: VecDeque<(Value, BlobHash)>,
    /// Those that the next append takes along.
    fresh: Vec<(BlobHash, Arc<[u8]>)>,
}

impl Kept {
    pub(super) fn take_fresh(&mut self) -> Vec<(BlobHash, Arc<[u8]>)> {
        std::mem::take(&mut self.fresh)
    }
}

impl Blobs for Kept {
    fn keep(&mut self, value: &Value, bytes: &dyn Fn() -> Vec<u8>) -> BlobHash {
        let same = |known: &&(Value, BlobHash)| known.0.ptr_id() == value.ptr_id();
        if let Some((_, hash)) = self.known.iter().find(same) {
            return *hash;
        }
        let bytes = bytes();
        let hash: BlobHash = Sha256::digest(&bytes).into();
        if self.fresh.iter().all(|(fresh, _)| *fresh != hash) {
            self.fresh.push((hash, bytes.into()));
        }
        if self.known.len() == KEPT_BLOBS_MAX {
            self.known.pop_front();
        }
        self.known.push_back((value.clone(), hash));
        hash
    }
}
