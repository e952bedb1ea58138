//! Connections that tenants keep in the store. Hides that they are sealed, and which of them are open with their tokens.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Display,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use serde::{Deserialize, Serialize};
use stepwell_egress::{Client, Connector};
use stepwell_interp::Timestamp;

use super::{Connection, ConnectionForm, Opened, name_of};
use crate::{
    engine::Engine,
    error::Error,
    limits::{CONNECTIONS_OPEN_MAX, HTTP_CONNECT_TIME},
    node::Node,
    sealed::{Found, Kept, KeptPage, SealedKind, SealedRecord, WhyClosed, invalid},
};

const KIND: SealedKind = SealedKind::Connection;

/// A connection as a tenant keeps it. Stored form, codec v1: under the seal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptConnection {
    pub form: ConnectionForm,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Whether it may lead to private addresses that its rules name: an operator's word.
    #[serde(default)]
    pub private: bool,
    /// Additions whose values are shown by who describes it, as `headers.NAME`; all others are secrets.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub shown: BTreeSet<String>,
}

/// A connection with what is told of its record.
pub struct ConnectionSummary {
    pub kept: Kept,
    /// Stands behind its name in its ARN.
    pub uid: String,
    /// `None` where it does not open: the key that sealed it is not there, or it is damaged.
    pub connection: Option<KeptConnection>,
}

impl KeptConnection {
    fn check(&self) -> Result<Connection, Error> {
        let checked = self.form.clone().check();
        checked.map_err(|why| invalid(format!("the connection is not right: {why}")))
    }

    fn write(&self) -> String {
        serde_json::to_string(self).expect("texts are JSON")
    }

    fn read(name: &str, content: &str) -> Result<KeptConnection, Error> {
        // What is wrong with it may be a secret.
        serde_json::from_str(content).map_err(|_| {
            Error::Broken(format!(
                "the connection `{name}` is stored in another form than this version knows"
            ))
        })
    }
}

impl Engine {
    /// Keeps a connection of an account; `change` makes it of the one that was there, or of why that does not open. Tells
    /// whether the name is new.
    ///
    /// # Errors
    /// Of no error the text has a secret.
    pub async fn put_connection(
        &self,
        account: &str,
        name: &str,
        change: impl Fn(Option<Result<KeptConnection, Error>>) -> Result<KeptConnection, Error>,
    ) -> Result<bool, Error> {
        let changed = |old: Option<Result<String, Error>>| {
            let read = |content: String| KeptConnection::read(name, &content);
            let connection = change(old.map(|content| content.and_then(read)))?;
            connection.check()?;
            Ok(connection.write())
        };
        self.put_sealed(KIND, account, name, changed).await
    }

    /// One of an account's connections, with its secrets: whoever shows it leaves them out.
    pub async fn connection(
        &self,
        account: &str,
        name: &str,
    ) -> Result<Option<ConnectionSummary>, Error> {
        let found = self.node().sealed.find(KIND, account, name).await?;
        Ok(found.map(|record| self.connection_summary(account, name.into(), record)))
    }

    /// A page of an account's connections, by name, with their secrets.
    pub async fn connections(
        &self,
        account: &str,
        after: Option<&str>,
    ) -> Result<KeptPage<ConnectionSummary>, Error> {
        let page = self.list_sealed(KIND, account, after).await?;
        let summaries = page.items.into_iter();
        let items = summaries
            .map(|Found { name, record, .. }| self.connection_summary(account, name, record));
        Ok(KeptPage {
            items: items.collect(),
            after: page.after,
        })
    }

    fn connection_summary(
        &self,
        account: &str,
        name: Arc<str>,
        record: SealedRecord,
    ) -> ConnectionSummary {
        let warn = |error: &dyn Display| tracing::warn!(%error, "a connection is listed that does not open");
        let (connection, closed) = match self.node().sealed.open(KIND, account, &name, &record) {
            Ok(content) => match KeptConnection::read(&name, &content) {
                Ok(connection) => (Some(connection), None),
                Err(error) => {
                    warn(&error);
                    (None, Some(WhyClosed::Form))
                }
            },
            Err(error) => {
                warn(&error);
                (None, Some(error.why))
            }
        };
        ConnectionSummary {
            kept: Kept {
                hidden: self.hides_connection(account, &name),
                closed,
                name,
                created_at: Timestamp(record.created_ms),
                changed_at: Timestamp(record.changed_ms),
            },
            uid: record.uid,
            connection,
        }
    }

    /// Whether the operator's own file has a connection of that name, which counts before the store's.
    pub fn hides_connection(&self, account: &str, name: &str) -> bool {
        self.node().connections.find(account, name).is_some()
    }

    /// Forgets a connection of an account; requests under way end as they began.
    pub async fn delete_connection(&self, account: &str, name: &str) -> Result<(), Error> {
        self.delete_sealed(KIND, account, name).await?;
        self.node().stored_connections.forget(account, name);
        Ok(())
    }
}

type Named = (Arc<str>, Arc<str>);

/// Connections of the store that were used, with their tokens.
#[derive(Default)]
pub(crate) struct StoredConnections {
    client: OnceLock<Client>,
    open: Mutex<HashMap<Named, (SealedRecord, Arc<Opened>)>>,
}

impl StoredConnections {
    /// One that was opened of this very record.
    fn get(&self, named: &Named, record: &SealedRecord) -> Option<Arc<Opened>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, opened) = open.get(named)?;
        (of == record).then(|| opened.clone())
    }

    fn put(&self, named: Named, record: SealedRecord, opened: Arc<Opened>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= CONNECTIONS_OPEN_MAX {
            // They cost a token each to open again.
            open.clear();
        }
        open.insert(named, (record, opened));
    }

    fn forget(&self, account: &str, name: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&(account.into(), name.into()));
    }

    /// What makes their requests: it trusts the public authorities alone.
    fn client(&self) -> Result<Client, Error> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let connector = Connector::new()
            .map_err(|error| Error::Broken(format!("TLS cannot be spoken: {error}")))?;
        let client = Client::new(connector, HTTP_CONNECT_TIME);
        Ok(self.client.get_or_init(|| client).clone())
    }
}

impl Node {
    /// The account's connection of an ARN or a name: the operator's, else the one in the store.
    pub(crate) async fn connection(
        &self,
        account: &Arc<str>,
        named: &str,
    ) -> Result<Option<(Arc<Opened>, Client)>, Error> {
        if let Some(found) = self.connections.find(account, named) {
            return Ok(Some(found));
        }
        let name = name_of(named);
        let Some(record) = self.sealed.find(KIND, account, name).await? else {
            return Ok(None);
        };
        let stored = &self.stored_connections;
        let client = stored.client()?;
        let key: Named = (account.clone(), name.into());
        if let Some(opened) = stored.get(&key, &record) {
            return Ok(Some((opened, client)));
        }
        let content = self.sealed.open(KIND, account, name, &record)?;
        let kept = KeptConnection::read(name, &content)?;
        let opened = Arc::new(Opened::stored(kept.check()?, kept.private));
        stored.put(key, record, opened.clone());
        Ok(Some((opened, client)))
    }
}
