//! The catalog: small records beside the executions. Hides where a scan of names begins.

use std::sync::Arc;

use super::{Answer, ReadError};
use crate::seal;

/// Small records by (tenant, kind, name), each with a revision: state machines, versions, aliases, activities, tags,
/// plugins, keys, roles, usage. Written through [`super::Write::Catalog`].
pub(crate) trait Catalog {
    /// One record.
    fn get(&self, key: &CatalogKey) -> Answer<Result<Option<CatalogRecord>, ReadError>>;

    /// Records of a tenant and kind whose name starts with `prefix`, in order of name, after `after`. One that is damaged is among
    /// them: the others of its page are none the worse for it.
    fn scan(
        &self,
        tenant: &str,
        kind: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Answer<Result<Vec<CatalogRecord>, ReadError>>;
}

/// Name of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CatalogKey {
    pub tenant: Arc<str>,
    /// `state-machine`, `activity`, …; the empty tenant holds what belongs to the installation.
    pub kind: Arc<str>,
    pub name: Arc<str>,
}

impl CatalogKey {
    /// Whether the name is the one that stands for all that cannot be read.
    pub(crate) fn is_unnamed(&self) -> bool {
        *self.name == *UNNAMED
    }

    /// The bytes of the record as a store keeps them that has to notice when they stand under another key.
    pub(super) fn sealed(&self, bytes: &[u8]) -> Vec<u8> {
        seal::seal_named(&self.columns(), bytes)
    }

    /// What was sealed for this key. All else is given as it is: what was sealed for another key opens nowhere, and what was stored
    /// for no key may begin as if it were sealed, when it is bytes of no form (the key of page tokens is random ones).
    pub(super) fn opened(&self, stored: &[u8]) -> Arc<[u8]> {
        let opened = seal::open_named(&self.columns(), stored);
        opened.unwrap_or(stored).into()
    }

    fn columns(&self) -> [&str; 3] {
        [&self.tenant, &self.kind, &self.name]
    }

    /// Where a scan begins, and whether a record of that name is part of it.
    pub(super) fn scanned_first(
        tenant: &str,
        kind: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> (CatalogKey, bool) {
        let (name, included) = match after {
            Some(after) if after >= prefix => (after, false),
            Some(_) | None => (prefix, true),
        };
        let key = CatalogKey {
            tenant: tenant.into(),
            kind: kind.into(),
            name: name.into(),
        };
        (key, included)
    }
}

/// The name that stands for all names that cannot be read. It comes behind all others.
pub const UNNAMED: &str = "\u{10ffff}";

impl CatalogRecord {
    /// What a scan that began there ends with where names cannot be read: that there is something is told, once. `None` when it
    /// was told on a page before, or when it is not what was asked for.
    pub(super) fn unnamed(start: &CatalogKey, prefix: &str) -> Option<CatalogRecord> {
        (prefix.is_empty() && *start.name < *UNNAMED).then(|| CatalogRecord {
            key: CatalogKey {
                name: UNNAMED.into(),
                ..start.clone()
            },
            revision: 0,
            bytes: seal::unreadable(),
        })
    }

    /// Whether it stands for names that cannot be read: there is none by which it could be replaced or deleted.
    pub(crate) fn is_unnamed(&self) -> bool {
        self.revision == 0 && self.key.is_unnamed()
    }
}

/// A record as stored; one that cannot be read has bytes that open nowhere. Revisions start at 1 and grow by 1 with each write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CatalogRecord {
    pub key: CatalogKey,
    pub revision: u64,
    pub bytes: Arc<[u8]>,
}

/// One compare-and-set of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CatalogWrite {
    pub key: CatalogKey,
    /// The revision it must have: `Some(0)` that it must not exist, `None` any.
    pub expected: Option<u64>,
    /// `None` deletes.
    pub bytes: Option<Arc<[u8]>>,
}
