//! Records whose content is not what was stored. Hides that each is told once: lists leave it out, the log names it, and who asks
//! for it alone gets an error. Access keys by which nobody is let in are told here, too.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use crate::{
    api::Page,
    engine::Engine,
    error::Error,
    journal::{CatalogKey, CatalogRecord},
    limits::DAMAGED_RECORDS_MAX,
    vault::Closed,
};

/// Those that were told since the engine was opened.
#[derive(Default)]
pub(crate) struct ToldRecords(Mutex<BTreeSet<CatalogKey>>);

impl ToldRecords {
    /// Takes note of one; false when it was known, or too many are.
    fn note(&self, key: &CatalogKey) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.len() < DAMAGED_RECORDS_MAX && known.insert(key.clone())
    }

    /// Tells of a damaged one, once, and what that comes to.
    pub(crate) fn tell(&self, key: &CatalogKey, why: &Error, told: &str) {
        if self.note(key) {
            tracing::error!(
                tenant = &*key.tenant,
                kind = &*key.kind,
                name = &*key.name,
                %why,
                "{told}"
            );
        }
    }

    /// How many have a name; those that have none are counted when the store is opened.
    pub(crate) fn count(&self) -> u64 {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter(|key| !key.is_unnamed()).count() as u64
    }
}

const KEY_CLOSED: &str =
    "nobody is let in by an access key: `stepwell tenant keys list` says what to do";

impl Engine {
    /// What is made of a record, or `None` when it is damaged: the others of its list are none the worse for it.
    ///
    /// # Errors
    /// Those that say nothing of the record.
    pub(crate) fn unless_damaged<T>(
        &self,
        key: &CatalogKey,
        made: Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        self.unless_told(key, made, "a record is left out of lists")
    }

    /// The same of an access key, which is in lists all the same.
    pub(crate) fn unless_key_damaged<T>(
        &self,
        key: &CatalogKey,
        made: Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        self.unless_told(key, made, KEY_CLOSED)
    }

    /// Takes note of an access key that the key file does not open. It is damaged, unless it is the key file that lacks a key.
    pub(crate) fn note_closed_key(&self, key: &CatalogKey, why: &Closed) {
        let node = self.node();
        let told = match why {
            Closed::NoKey(_) => &node.keyless_records,
            Closed::Changed(_) => &node.damaged_records,
        };
        if told.note(key) {
            tracing::error!(access_key = &*key.name, %why, "{KEY_CLOSED}");
        }
    }

    fn unless_told<T>(
        &self,
        key: &CatalogKey,
        made: Result<T, Error>,
        told: &str,
    ) -> Result<Option<T>, Error> {
        match made {
            Ok(made) => Ok(Some(made)),
            Err(why @ Error::Damaged(_)) => {
                self.node().damaged_records.tell(key, &why, told);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A page of what records show, without the damaged ones.
    pub(crate) fn shown<T>(
        &self,
        page: Page<CatalogRecord>,
        mut show: impl FnMut(&CatalogRecord) -> Result<T, Error>,
    ) -> Result<Page<T>, Error> {
        let mut items = Vec::with_capacity(page.items.len());
        for record in &page.items {
            items.extend(self.unless_damaged(&record.key, show(record))?);
        }
        Ok(Page {
            items,
            next_token: page.next_token,
        })
    }
}
