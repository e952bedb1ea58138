//! One connection to PostgreSQL that comes back after it was lost. Hides reconnecting and prepared statements.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_postgres::{Client, Config, Error, NoTls, Row, Statement, types::ToSql};

use super::schema;

/// Values of a statement's parameters.
pub(super) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Where a journal's connections lead.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) schema: String,
}

/// A connection, made when it is first needed and again when it was lost.
pub(super) struct Link {
    target: Target,
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
}

/// A live connection with the statements prepared on it.
pub(super) struct Session {
    client: Client,
    statements: Mutex<BTreeMap<&'static str, Statement>>,
}

impl Link {
    pub(super) fn new(target: Target) -> Link {
        Link {
            target,
            session: tokio::sync::Mutex::new(None),
        }
    }

    pub(super) async fn session(&self) -> Result<Arc<Session>, Error> {
        let mut session = self.session.lock().await;
        if let Some(session) = session
            .as_ref()
            .filter(|session| !session.client.is_closed())
        {
            return Ok(session.clone());
        }
        let fresh = Arc::new(Session {
            client: connect(&self.target).await?,
            statements: Mutex::default(),
        });
        *session = Some(fresh.clone());
        Ok(fresh)
    }

    /// Gives a connection up whose transaction is in an unknown state.
    pub(super) async fn abandon(&self) {
        *self.session.lock().await = None;
    }
}

/// Opens a connection and serves it on the current runtime.
pub(super) async fn connect(target: &Target) -> Result<Client, Error> {
    let (client, connection) = target.config.connect(NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::warn!(%error, "a connection to PostgreSQL ended");
        }
    });
    schema::configure(&client, &target.schema).await?;
    Ok(client)
}

impl Session {
    pub(super) async fn run(&self, sql: &'static str, values: Values<'_>) -> Result<u64, Error> {
        let statement = self.statement(sql).await?;
        self.client.execute(&statement, values).await
    }

    pub(super) async fn rows(
        &self,
        sql: &'static str,
        values: Values<'_>,
    ) -> Result<Vec<Row>, Error> {
        let statement = self.statement(sql).await?;
        self.client.query(&statement, values).await
    }

    /// `BEGIN`, `COMMIT` and `ROLLBACK`.
    pub(super) async fn control(&self, sql: &'static str) -> Result<(), Error> {
        self.client.batch_execute(sql).await
    }

    async fn statement(&self, sql: &'static str) -> Result<Statement, Error> {
        let known = self
            .statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(sql)
            .cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        self.statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(sql, statement.clone());
        Ok(statement)
    }
}
