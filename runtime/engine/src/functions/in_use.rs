//! Code that attempts of this process run, or wait to run: it stays in the store meanwhile. Hides how it is counted.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::holds::CodeHash;

/// See the module.
#[derive(Default)]
pub(crate) struct CodeInUse(Mutex<HashMap<CodeHash, usize>>);

/// One use of code; over when it is dropped.
pub(crate) struct CodeUse {
    all: Arc<CodeInUse>,
    hash: CodeHash,
}

impl CodeInUse {
    pub(super) fn begin(self: &Arc<Self>, hash: CodeHash) -> CodeUse {
        *self.lock().entry(hash).or_default() += 1;
        CodeUse {
            all: self.clone(),
            hash,
        }
    }

    pub(super) fn has(&self, hash: &CodeHash) -> bool {
        self.lock().contains_key(hash)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CodeHash, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CodeUse {
    fn drop(&mut self) {
        let mut uses = self.all.lock();
        if let Some(count) = uses.get_mut(&self.hash) {
            *count -= 1;
            if *count == 0 {
                uses.remove(&self.hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_in_use_until_the_last_use_is_over() {
        let all = Arc::new(CodeInUse::default());
        let (first, second) = (all.begin([1; 32]), all.begin([1; 32]));
        drop(first);
        assert!(all.has(&[1; 32]) && !all.has(&[2; 32]));
        drop(second);
        assert!(!all.has(&[1; 32]));
    }
}
