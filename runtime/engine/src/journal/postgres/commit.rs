//! One group of writes as one transaction: lock and fetch what the verdicts depend on, judge in memory as every store
//! does, write the difference. Hides the statements and their order.
//!
//! Locks are taken in one order everywhere (leases, inboxes, executions, tasks, messages, records; each by key), so
//! that nodes wait for each other rather than in a circle. An inbox's row is locked until the commit: ids of messages
//! ascend in the order in which they become visible. What two nodes insert at once (a name, a new record) shows as a
//! conflict, and the group is judged again.

use std::{collections::BTreeSet, sync::Arc};

use stepwell_interp::Timestamp;
use tokio_postgres::{Error, error::SqlState};

use super::{
    super::number::int,
    delta::Delta,
    session::{Link, Session},
    value::{partition, token},
};
use crate::journal::{
    Append, CatalogKey, Epoch, ExecutionId, ExecutionRow, Message, MessageId, NewExecution,
    OpenTask, Outgoing, Partition, Refused, ScopeId, TokenHash, Verdict, View, Write,
    facts::{Facts, Versioned},
    limits::CONFLICT_ATTEMPTS_MAX,
};

/// Commits a group; all of it fails alike when the transaction fails.
pub(super) async fn commit(link: &Link, writes: &[Write]) -> Vec<Verdict> {
    match transact(link, writes).await {
        Ok(verdicts) => verdicts,
        Err(Failure::Data(_)) if writes.len() > 1 => {
            // One write holds what PostgreSQL cannot store; its neighbours must not suffer.
            let mut verdicts = Vec::with_capacity(writes.len());
            for write in writes {
                let single = transact(link, std::slice::from_ref(write)).await;
                verdicts.extend(single.unwrap_or_else(|failure| vec![Err(failure.refused())]));
            }
            verdicts
        }
        Err(failure) => vec![Err(failure.refused()); writes.len()],
    }
}

/// Why a transaction failed.
enum Failure {
    /// A value that PostgreSQL cannot store; certainly rolled back.
    Data(String),
    Full(String),
    Unknown(String),
}

impl Failure {
    fn refused(self) -> Refused {
        match self {
            Failure::Full(why) => Refused::Full(why),
            Failure::Data(why) | Failure::Unknown(why) => Refused::Broken(why),
        }
    }
}

async fn transact(link: &Link, writes: &[Write]) -> Result<Vec<Verdict>, Failure> {
    let mut attempt = 1;
    loop {
        let session = link
            .session()
            .await
            .map_err(|error| Failure::Unknown(described(&error)))?;
        let error = match attempt_once(&session, writes).await {
            Ok(verdicts) => return Ok(verdicts),
            Err(error) => error,
        };
        if session.control("ROLLBACK").await.is_err() {
            link.abandon().await;
        }
        if !is_conflict(&error) || attempt == CONFLICT_ATTEMPTS_MAX {
            return Err(failure(&error));
        }
        attempt += 1;
    }
}

/// Whether another node's transaction was in the way; the attempt was rolled back for certain.
pub(super) fn is_conflict(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        [
            SqlState::UNIQUE_VIOLATION,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
        ]
        .contains(code)
    })
}

fn failure(error: &Error) -> Failure {
    let why = described(error);
    match error.code().map(SqlState::code) {
        Some(code) if code.starts_with("53") => Failure::Full(why),
        Some(code) if code.starts_with("22") => Failure::Data(why),
        Some(_) | None => Failure::Unknown(why),
    }
}

/// The message with the server's own words, which the error type keeps apart.
pub(super) fn described(error: &Error) -> String {
    match error.as_db_error() {
        Some(server) => format!("{} ({})", server.message(), server.code().code()),
        // Its own text is only where it happened: `error connecting to server`.
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

async fn attempt_once(session: &Session, writes: &[Write]) -> Result<Vec<Verdict>, Error> {
    session.control("BEGIN").await?;
    let mut facts = fetch(session, &Keys::of(writes)).await?;
    let mut delta = Delta::from(&facts);
    let verdicts = writes
        .iter()
        .map(|write| facts.apply(write, &mut delta))
        .collect();
    delta.write(session, &facts).await?;
    session.control("COMMIT").await?;
    Ok(verdicts)
}

/// All that the verdicts of a group depend on, sorted.
#[derive(Default)]
struct Keys<'a> {
    partitions: BTreeSet<Partition>,
    inboxes: BTreeSet<Partition>,
    executions: BTreeSet<ExecutionId>,
    names: BTreeSet<(ScopeId, &'a str)>,
    tokens: BTreeSet<TokenHash>,
    messages: BTreeSet<MessageId>,
    records: BTreeSet<&'a CatalogKey>,
}

impl<'a> Keys<'a> {
    fn of(writes: &'a [Write]) -> Keys<'a> {
        let mut keys = Keys::default();
        for write in writes {
            match write {
                Write::Append(append) => keys.append(append),
                Write::Answer { token, message } => {
                    keys.tokens.insert(*token);
                    keys.send(std::slice::from_ref(message));
                }
                Write::Post(message) => keys.send(std::slice::from_ref(message)),
                Write::Catalog(records) => keys
                    .records
                    .extend(records.iter().map(|record| &record.key)),
                Write::Discard(ids) => keys.messages.extend(ids),
                Write::Code(code) => keys
                    .records
                    .extend(code.records.iter().map(|record| &record.key)),
                Write::Blob { .. } | Write::Charge(_) => {}
            }
        }
        keys
    }

    fn append(&mut self, append: &'a Append) {
        self.partitions.insert(append.execution.partition());
        self.executions.insert(append.execution);
        if let Some(new) = append.create.as_ref().filter(|new| new.unique_name) {
            self.names.insert((new.scope, &new.name));
        }
        self.tokens
            .extend(append.close.iter().map(|close| close.token));
        self.messages.extend(&append.consume);
        self.send(&append.send);
    }

    fn send(&mut self, messages: &[Outgoing]) {
        self.inboxes
            .extend(messages.iter().map(|message| message.to.partition()));
    }
}

async fn fetch(session: &Session, keys: &Keys<'_>) -> Result<Facts, Error> {
    let mut facts = Facts::default();
    fetch_partitions(session, keys, &mut facts).await?;
    fetch_executions(session, keys, &mut facts).await?;
    if !keys.tokens.is_empty() {
        let tokens: Vec<&[u8]> = keys.tokens.iter().map(|token| token.0.as_slice()).collect();
        let sql = "SELECT token FROM tasks WHERE token = ANY($1) ORDER BY token FOR UPDATE";
        for row in session.rows(sql, &[&tokens]).await? {
            let token = token(row.get(0));
            facts.tasks.insert(token, unread_task(token));
        }
    }
    if !keys.messages.is_empty() {
        let ids: Vec<i64> = keys.messages.iter().map(|id| int(id.0)).collect();
        let sql = "SELECT id FROM messages WHERE id = ANY($1) ORDER BY id FOR UPDATE";
        for row in session.rows(sql, &[&ids]).await? {
            let id = MessageId(row.get::<_, i64>(0).cast_unsigned());
            facts.messages.insert(
                id,
                Message {
                    id,
                    to: ExecutionId(0),
                    payload: Arc::default(),
                },
            );
        }
    }
    fetch_records(session, keys, &mut facts).await?;
    Ok(facts)
}

async fn fetch_partitions(
    session: &Session,
    keys: &Keys<'_>,
    facts: &mut Facts,
) -> Result<(), Error> {
    let numbers = |partitions: &BTreeSet<Partition>| -> Vec<i32> {
        partitions
            .iter()
            .map(|partition| i32::from(partition.0))
            .collect()
    };
    if !keys.partitions.is_empty() {
        let sql = "SELECT partition, epoch FROM leases WHERE partition = ANY($1) ORDER BY partition FOR SHARE";
        for row in session.rows(sql, &[&numbers(&keys.partitions)]).await? {
            let epoch = Epoch(row.get::<_, i64>(1).cast_unsigned());
            facts.epochs.insert(partition(row.get(0)), epoch);
        }
    }
    if !keys.inboxes.is_empty() {
        let inboxes = numbers(&keys.inboxes);
        let sql = "INSERT INTO inboxes SELECT partition, 0 FROM unnest($1::integer[]) AS wanted (partition)
            WHERE NOT EXISTS (SELECT 1 FROM inboxes WHERE inboxes.partition = wanted.partition)
            ORDER BY partition ON CONFLICT DO NOTHING";
        session.run(sql, &[&inboxes]).await?;
        let sql = "SELECT partition, last FROM inboxes WHERE partition = ANY($1) ORDER BY partition FOR UPDATE";
        for row in session.rows(sql, &[&inboxes]).await? {
            let last = row.get::<_, i64>(1).cast_unsigned();
            facts.last_message.insert(partition(row.get(0)), last);
        }
    }
    Ok(())
}

async fn fetch_executions(
    session: &Session,
    keys: &Keys<'_>,
    facts: &mut Facts,
) -> Result<(), Error> {
    if !keys.executions.is_empty() {
        let ids: Vec<i64> = keys.executions.iter().map(|id| int(id.0)).collect();
        let sql = "SELECT id, next FROM executions WHERE id = ANY($1) ORDER BY id FOR UPDATE";
        for row in session.rows(sql, &[&ids]).await? {
            let id = ExecutionId(row.get::<_, i64>(0).cast_unsigned());
            facts
                .rows
                .insert(id, unread_row(id, row.get::<_, i64>(1).cast_unsigned()));
        }
    }
    if !keys.names.is_empty() {
        let scopes: Vec<i64> = keys.names.iter().map(|(scope, _)| int(scope.0)).collect();
        let names: Vec<&str> = keys.names.iter().map(|(_, name)| *name).collect();
        let sql = "SELECT executions.scope, executions.name, executions.id FROM executions
            JOIN unnest($1::bigint[], $2::text[]) AS wanted (scope, name)
            ON executions.scope = wanted.scope AND executions.name = wanted.name WHERE executions.unique_name";
        for row in session.rows(sql, &[&scopes, &names]).await? {
            let scope = ScopeId(row.get::<_, i64>(0).cast_unsigned());
            let id = ExecutionId(row.get::<_, i64>(2).cast_unsigned());
            facts
                .names
                .insert((scope, row.get::<_, &str>(1).into()), id);
        }
    }
    Ok(())
}

async fn fetch_records(session: &Session, keys: &Keys<'_>, facts: &mut Facts) -> Result<(), Error> {
    if keys.records.is_empty() {
        return Ok(());
    }
    let column = |part: fn(&CatalogKey) -> &str| {
        keys.records
            .iter()
            .map(|key| part(key))
            .collect::<Vec<&str>>()
    };
    let sql = "SELECT records.tenant, records.kind, records.name, records.revision FROM records
        JOIN unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, kind, name)
        ON records.tenant = wanted.tenant AND records.kind = wanted.kind AND records.name = wanted.name
        ORDER BY 1, 2, 3 FOR UPDATE OF records";
    let (tenants, kinds) = (column(|key| &key.tenant), column(|key| &key.kind));
    for row in session
        .rows(sql, &[&tenants, &kinds, &column(|key| &key.name)])
        .await?
    {
        let text = |index: usize| -> Arc<str> { row.get::<_, &str>(index).into() };
        let key = CatalogKey {
            tenant: text(0),
            kind: text(1),
            name: text(2),
        };
        let revision = row.get::<_, i64>(3).cast_unsigned();
        facts.catalog.insert(
            key,
            Versioned {
                revision,
                bytes: Arc::default(),
            },
        );
    }
    Ok(())
}

/// A row of which only the position was read: no verdict needs more, and no update writes more than a view.
fn unread_row(id: ExecutionId, next: u64) -> ExecutionRow {
    let new = NewExecution {
        scope: ScopeId(0),
        version: None,
        alias: None,
        name: Arc::from(""),
        unique_name: false,
        started_at: Timestamp(0),
        meta: Arc::default(),
    };
    ExecutionRow {
        id,
        new,
        view: View::default(),
        next,
        next_public: 0,
    }
}

/// A task of which only the token was read.
fn unread_task(token: TokenHash) -> OpenTask {
    OpenTask {
        token,
        execution: ExecutionId(0),
        task: Arc::default(),
        activity: None,
        scheduled_at: Timestamp(0),
    }
}
