//! The audit log: what was asked for, by which key, from where. Hides that its entries are records of their tenant,
//! each written once, in order of time; no call changes or deletes one (`audit_retention` removes the oldest, where the operator
//! says so).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};
use stepwell_interp::Timestamp;

use crate::{
    engine::Engine, error::Error, journal::CatalogKey, limits::PAGE_MAX, node, reader, record,
};

pub(crate) const KIND: &str = "audit";
/// Digits of the time that a record's name begins with: enough until the year 5138.
const TIME_DIGITS: usize = 14;

/// Before all names of entries from that time on, and behind all earlier ones.
pub(crate) fn names_from(at: Timestamp) -> String {
    format!("{:0TIME_DIGITS$}", at.0)
}

/// Gives names in order: those of one millisecond by when this process made them. Entries of other processes at the same
/// store stand between them in any order, told apart by chance.
#[derive(Default)]
pub(crate) struct AuditNames(AtomicU64);

impl AuditNames {
    /// `TIME-NUMBER+RANDOM`. Names of earlier builds have 32 random digits in place of both: they are read the same way.
    fn next(&self, at: Timestamp) -> String {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        let (chance, _) = uuid::Uuid::new_v4().as_u64_pair();
        format!("{:0TIME_DIGITS$}-{number:016x}{chance:016x}", at.0)
    }
}

/// The versions that an alias stands for when it is asked to change, and those it is to stand for: `2`, with weights `2;3=0.1` of a
/// function and `2=90;3=10` of a state machine, and nothing where there is none. Stored form, codec v1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasMove {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What an entry says of one request. Stored form, codec v1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Id of the access key; `-` for a command at the data directory.
    pub key: String,
    /// Where the request came from; `-` for a command at the data directory.
    pub address: String,
    pub operation: String,
    /// ARN or name of what the request names; empty when it names nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// Of a request that makes, changes or deletes an alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<AliasMove>,
    /// As the answer has it; entries of one request share it.
    pub request_id: String,
    /// The error's code, of a request that was refused or failed; absent when it is about to be carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl AuditEntry {
    /// In place of one that cannot be read.
    fn damaged() -> AuditEntry {
        AuditEntry {
            key: "-".to_owned(),
            address: "-".to_owned(),
            operation: "stepwell:DamagedEntry".to_owned(),
            resource: String::new(),
            alias: None,
            request_id: String::new(),
            refused: None,
        }
    }
}

/// An entry with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    pub at: Timestamp,
    pub entry: AuditEntry,
    /// Where the next page begins.
    pub place: Arc<str>,
}

impl Engine {
    /// Adds an entry to a tenant's log; durable when this answers.
    pub async fn audit(&self, account: &str, entry: &AuditEntry) -> Result<(), Error> {
        self.audit_at(node::now(), account, entry).await
    }

    pub(crate) async fn audit_at(
        &self,
        at: Timestamp,
        account: &str,
        entry: &AuditEntry,
    ) -> Result<(), Error> {
        let name = self.node().audit_names.next(at);
        let key = CatalogKey {
            tenant: account.into(),
            kind: KIND.into(),
            name: name.into(),
        };
        let written = self.put(&key, Some(0), Some(record::encode(entry))).await?;
        written
            .map(drop)
            .map_err(|()| Error::Busy("the audit log cannot be written".to_owned()))
    }

    /// Refuses an account that nobody added and of which nothing is left to tell: neither an entry nor anything that it used.
    pub async fn check_told_of(&self, account: &str) -> Result<(), Error> {
        let missing = match self.check_account(account).await {
            Ok(()) => return Ok(()),
            Err(missing @ Error::Rejected { .. }) => missing,
            Err(other) => return Err(other),
        };
        let log = self.audited(account, Timestamp(0), None).await?;
        let used = self.usage(Some(account), (0, u32::MAX), None, 1).await?;
        match log.is_empty() && used.is_empty() {
            true => Err(missing),
            false => Ok(()),
        }
    }

    /// A page of a tenant's log in order of time: entries from `since` on, or after a place. Empty at the end.
    pub async fn audited(
        &self,
        account: &str,
        since: Timestamp,
        after: Option<&str>,
    ) -> Result<Vec<Audited>, Error> {
        let start = names_from(since);
        let after = after.unwrap_or(&start);
        let found = self
            .node()
            .journal
            .scan(account, KIND, "", Some(after), PAGE_MAX)
            .await;
        let found = found.map_err(reader::broken)?;
        let entries = found.iter().map(|found| {
            let time = found.key.name.split('-').next().unwrap_or_default();
            let entry = self.unless_damaged(&found.key, record::decode(&found.bytes))?;
            Ok(Audited {
                at: Timestamp(time.parse().unwrap_or(0)),
                // That there was one is told all the same.
                entry: entry.unwrap_or_else(AuditEntry::damaged),
                place: found.key.name.clone(),
            })
        });
        entries.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_one_millisecond_are_in_the_order_in_which_they_were_made() {
        let names = AuditNames::default();
        let at = Timestamp(1_764_000_000_000);
        let made: Vec<String> = (0..1_000).map(|_| names.next(at)).collect();
        assert!(made.is_sorted_by(|a, b| a < b));
        let later = names.next(at.plus_ms(1));
        assert!(made.iter().all(|name| *name < later));
        // As long as those of earlier builds, which are among them by their time.
        let old = format!("{:0TIME_DIGITS$}-{}", at.0 - 1, "f".repeat(32));
        assert!(
            made.iter()
                .all(|name| *name > old && name.len() == old.len())
        );
    }

    #[test]
    fn what_was_begun_by_another_engine_at_the_same_time_is_another_entry() {
        let (one, other) = (AuditNames::default(), AuditNames::default());
        assert_ne!(one.next(Timestamp(1)), other.next(Timestamp(1)));
    }
}
