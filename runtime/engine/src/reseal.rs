//! Sealing anew, by the newest key of the operator's file. Hides where sealed records lie, and that one which does not open
//! holds up no other: it stays as it is, and is told.

use std::sync::Arc;

use crate::{
    engine::Engine,
    error::Error,
    limits::{RESEALED_TOLD_MAX, SEALED_READ_MAX},
    reader,
    sealed::SealedKind,
    vault::{Closed, Vault},
};

const UNNAMED: &str =
    "a damaged record that nobody can name may be sealed: restore the store from a backup";

/// What sealing all anew came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Records that were sealed anew.
    pub sealed: usize,
    /// Records that the newest key had sealed before.
    pub already: usize,
    /// Records that could not be, and are as they were.
    pub left: usize,
    /// Those of them that a key sealed which is not there.
    pub no_key: usize,
    /// Which those are and why, of as many as are told.
    pub told: Vec<String>,
}

/// What became of one record.
pub(crate) enum Sealing {
    Anew,
    /// The newest key has sealed it.
    Already,
    /// It is as it was; says which it is, and why.
    Left(String),
    /// The same of one that a key sealed which is not there.
    NoKey(String),
}

impl Sealing {
    /// Of a record that did not open, with what people are told of it.
    pub(crate) fn closed(why: &Closed, told: String) -> Sealing {
        match why {
            Closed::NoKey(_) => Sealing::NoKey(told),
            Closed::Changed(_) => Sealing::Left(told),
        }
    }
}

impl Resealed {
    fn note(&mut self, sealing: Sealing) {
        match sealing {
            Sealing::Anew => self.sealed += 1,
            Sealing::Already => self.already += 1,
            Sealing::Left(why) => self.leave(why),
            Sealing::NoKey(why) => {
                self.no_key += 1;
                self.leave(why);
            }
        }
    }

    fn leave(&mut self, why: String) {
        self.left += 1;
        if self.told.len() < RESEALED_TOLD_MAX {
            self.told.push(why);
        }
    }

    /// Whether the keys are none of this store's: all that could be looked at was sealed by others.
    pub fn is_of_other_keys(&self) -> bool {
        self.no_key > 0 && self.sealed + self.already == 0
    }
}

impl Engine {
    /// Seals everything anew by the vault's newest key: secrets of access keys and what tenants keep sealed. What cannot be
    /// opened, or is changed by another at the same time, stays as it is; the same call again seals what it can then.
    pub async fn reseal(&self, vault: &Vault) -> Result<Resealed, Error> {
        let mut resealed = Resealed::default();
        for kind in SealedKind::ALL {
            let mut after: Option<Arc<str>> = None;
            loop {
                let journal = &self.node().journal;
                let page = journal.scan("", kind.name(), "", after.as_deref(), SEALED_READ_MAX);
                let page = page.await.map_err(reader::broken)?;
                for stored in &page {
                    resealed.note(self.reseal_kept(vault, kind, stored).await?);
                }
                after = page.last().map(|last| last.key.name.clone());
                if page.len() < SEALED_READ_MAX as usize {
                    break;
                }
            }
        }
        for stored in self.access_key_records().await? {
            resealed.note(self.reseal_access_key(vault, &stored).await?);
        }
        // Where something is left already, its keys stay anyway; and some of these are told then as what has no name.
        let unnamed = self.unnamed_records();
        if resealed.left == 0 {
            (0..unnamed).for_each(|_| resealed.leave(UNNAMED.to_owned()));
        }
        Ok(resealed)
    }
}
