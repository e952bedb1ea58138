//! The reading side of the PostgreSQL journal: one statement a page, so that no snapshot outlives it.

use std::sync::Arc;

use stepwell_interp::Timestamp;
use tokio_postgres::Row;

use super::{
    super::number::{int, ms},
    commit::described,
    session::{Link, Values},
    value::token,
};
use crate::{
    journal::{
        Amounts, CatalogKey, CatalogRecord, ExecutionId, ExecutionRow, List, ListQuery, Look,
        Message, MessageId, Meter, NewExecution, OpenTask, Partition, ReadError, ScopeId, Segment,
        SegmentRange, Status, StoredSegment, TokenHash, UsageKey, UsageOfTenants, UsageQuery, View,
    },
    limits::DATE_MS_MAX,
};

type Read<T> = Result<T, ReadError>;

/// The columns of an execution's row, with what is asked of them.
macro_rules! executions {
    ($($rest:literal),+) => {
        concat!(
            "SELECT id, next, next_public, status, hot, wake_at, stopped_at, redrive_count, redriven_at, scope, name,
                unique_name, started_at, meta, version, alias FROM executions ",
            $($rest),+
        )
    };
}

/// Segments in an order, with the sum of the bytes of those before and including each, so that the page ends on the
/// server.
macro_rules! segments {
    ($condition:literal, $order:literal) => {
        concat!(
            "SELECT first, events, first_public, public, bytes FROM (
                SELECT *, row_number() OVER (ORDER BY first ",
            $order,
            ") AS place,
                    sum(octet_length(bytes)) OVER (ORDER BY first ",
            $order,
            ") AS total
                FROM segments WHERE execution = $1 AND ",
            $condition,
            "
            ) AS page WHERE place = 1 OR total <= $3 ORDER BY place"
        )
    };
}

async fn rows(link: &Link, sql: &'static str, values: Values<'_>) -> Read<Vec<Row>> {
    let failed = |error: tokio_postgres::Error| ReadError::Unreadable(described(&error));
    let session = link.session().await.map_err(failed)?;
    session.rows(sql, values).await.map_err(failed)
}

pub(super) async fn execution(link: &Link, id: ExecutionId) -> Read<Option<ExecutionRow>> {
    let found = rows(link, executions!("WHERE id = $1"), &[&int(id.0)]).await?;
    found.first().map(execution_row).transpose()
}

pub(super) async fn find(link: &Link, scope: ScopeId, name: &str) -> Read<Option<ExecutionId>> {
    let sql = "SELECT max(id) FROM (
        SELECT id FROM executions WHERE scope = $1 AND name = $2 AND unique_name
        UNION ALL SELECT max(id) FROM executions WHERE scope = $1 AND name = $2 AND NOT unique_name) AS named";
    let found = rows(link, sql, &[&int(scope.0), &name]).await?;
    Ok(found
        .first()
        .and_then(|row| row.get::<_, Option<i64>>(0))
        .map(|id| ExecutionId(id.cast_unsigned())))
}

pub(super) async fn look(link: &Link, scope: ScopeId, name: &str) -> Read<Option<Look>> {
    let Some(id) = find(link, scope, name).await? else {
        return Ok(None);
    };
    // The row first: a segment that is appended meanwhile belongs to a newer one.
    let Some(row) = execution(link, id).await? else {
        return Ok(None);
    };
    let first = segments(link, id, SegmentRange::From { first: 1 }, 1).await?;
    let first = first.into_iter().next();
    let last = if Look::lacks_last(&row, first.as_ref()) {
        segments(link, id, SegmentRange::Last, 1).await?.pop()
    } else {
        None
    };
    Ok(Some(Look { row, first, last }))
}

/// A page of the executions with a value in a column: of one status, and of all.
macro_rules! pages {
    ($column:literal) => {
        (
            executions!(
                "WHERE ",
                $column,
                " = $1 AND status = $2 AND id < $3 ORDER BY id DESC LIMIT $4"
            ),
            executions!(
                "WHERE ",
                $column,
                " = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
            ),
        )
    };
}

pub(super) async fn list(link: &Link, query: ListQuery) -> Read<Vec<ExecutionRow>> {
    let ((of_status, of_all), list) = match query.list {
        List::Scope(scope) => (pages!("scope"), scope),
        List::Version(version) => (pages!("version"), version),
        List::Alias(alias) => (pages!("alias"), alias),
    };
    let (list, limit) = (int(list.0), i64::from(query.limit));
    let before = query.before.map_or(i64::MAX, |id| int(id.0));
    let found = match query.status {
        Some(status) => {
            let status = i16::from(status as u8);
            rows(link, of_status, &[&list, &status, &before, &limit]).await?
        }
        None => rows(link, of_all, &[&list, &before, &limit]).await?,
    };
    let listed = found.iter().map(|row| {
        // The others are none the worse for it.
        let unreadable = |_| ExecutionRow::unreadable(ExecutionId(unsigned(row, 0)));
        execution_row(row).unwrap_or_else(unreadable)
    });
    Ok(listed.collect())
}

pub(super) async fn segments(
    link: &Link,
    id: ExecutionId,
    range: SegmentRange,
    bytes_max: usize,
) -> Read<Vec<StoredSegment>> {
    let bytes_max = i64::try_from(bytes_max).unwrap_or(i64::MAX);
    let (sql, start) = match range {
        SegmentRange::From { first } => (segments!("first + events > $2", ""), first),
        SegmentRange::Forward { public } => (segments!("first_public + public > $2", ""), public),
        SegmentRange::Backward { public } => (segments!("first_public <= $2", "DESC"), public),
        SegmentRange::Last => {
            let sql = "SELECT first, events, first_public, public, bytes FROM segments WHERE execution = $1
                ORDER BY first DESC LIMIT 1";
            return Ok(rows(link, sql, &[&int(id.0)])
                .await?
                .iter()
                .map(stored_segment)
                .collect());
        }
    };
    let start = i64::try_from(start).unwrap_or(i64::MAX);
    Ok(rows(link, sql, &[&int(id.0), &start, &bytes_max])
        .await?
        .iter()
        .map(stored_segment)
        .collect())
}

pub(super) async fn messages(
    link: &Link,
    after: &[(Partition, MessageId)],
    limit: u32,
) -> Read<Vec<Message>> {
    let partitions: Vec<i32> = after
        .iter()
        .map(|(partition, _)| i32::from(partition.0))
        .collect();
    let cursors: Vec<i64> = after.iter().map(|(_, id)| int(id.0)).collect();
    let sql = "SELECT messages.id, messages.recipient, messages.payload
        FROM unnest($1::integer[], $2::bigint[]) AS cursors (partition, after)
        JOIN messages ON messages.partition = cursors.partition AND messages.id > cursors.after
        ORDER BY messages.id LIMIT $3";
    Ok(rows(link, sql, &[&partitions, &cursors, &i64::from(limit)])
        .await?
        .iter()
        .map(message)
        .collect())
}

pub(super) async fn inbox(link: &Link, id: ExecutionId) -> Read<Vec<Message>> {
    let sql = "SELECT id, recipient, payload FROM messages WHERE recipient = $1 ORDER BY id";
    Ok(rows(link, sql, &[&int(id.0)])
        .await?
        .iter()
        .map(message)
        .collect())
}

pub(super) async fn hot(
    link: &Link,
    partitions: &[Partition],
    after: Option<ExecutionId>,
    limit: u32,
) -> Read<Vec<ExecutionId>> {
    let sql = "SELECT id FROM executions WHERE hot AND partition = ANY($1) AND id > $2 ORDER BY id LIMIT $3";
    let after = after.map_or(-1, |id| int(id.0));
    let found = rows(
        link,
        sql,
        &[&numbers(partitions), &after, &i64::from(limit)],
    )
    .await?;
    Ok(found
        .iter()
        .map(|row| ExecutionId(unsigned(row, 0)))
        .collect())
}

pub(super) async fn due(
    link: &Link,
    partitions: &[Partition],
    until: Timestamp,
    limit: u32,
) -> Read<Vec<(ExecutionId, Timestamp)>> {
    let sql = "SELECT id, wake_at FROM executions WHERE wake_at IS NOT NULL AND wake_at <= $2 AND partition = ANY($1)
        ORDER BY wake_at, id LIMIT $3";
    let found = rows(
        link,
        sql,
        &[&numbers(partitions), &ms(until), &i64::from(limit)],
    )
    .await?;
    Ok(found
        .iter()
        .map(|row| (ExecutionId(unsigned(row, 0)), Timestamp(unsigned(row, 1))))
        .collect())
}

pub(super) async fn open_task(link: &Link, token: TokenHash) -> Read<Option<OpenTask>> {
    let sql = "SELECT token, execution, task, activity, scheduled_at FROM tasks WHERE token = $1";
    Ok(rows(link, sql, &[&token.0.as_slice()])
        .await?
        .first()
        .map(task))
}

pub(super) async fn activity_tasks(
    link: &Link,
    activity: ScopeId,
    after: Option<(Timestamp, TokenHash)>,
    limit: u32,
) -> Read<Vec<OpenTask>> {
    let sql = "SELECT token, execution, task, activity, scheduled_at FROM tasks
        WHERE activity = $1 AND (scheduled_at, token) > ($2, $3) ORDER BY scheduled_at, token LIMIT $4";
    let (at, token) = after.map_or((-1, [0; 32]), |(at, token)| (ms(at), token.0));
    let found = rows(
        link,
        sql,
        &[&int(activity.0), &at, &token.as_slice(), &i64::from(limit)],
    )
    .await?;
    Ok(found.iter().map(task).collect())
}

pub(super) async fn blob(link: &Link, hash: [u8; 32]) -> Read<Option<Arc<[u8]>>> {
    let found = rows(
        link,
        "SELECT bytes FROM blobs WHERE hash = $1",
        &[&hash.as_slice()],
    )
    .await?;
    Ok(found.first().map(|row| bytes(row, 0)))
}

pub(super) async fn record(link: &Link, key: &CatalogKey) -> Read<Option<CatalogRecord>> {
    let sql =
        "SELECT name, revision, bytes FROM records WHERE tenant = $1 AND kind = $2 AND name = $3";
    let found = rows(link, sql, &[&&*key.tenant, &&*key.kind, &&*key.name]).await?;
    Ok(found.first().map(|row| catalog_record(row, key)))
}

/// `start` is the first name that may come; it itself only when `included`.
pub(super) async fn scan(
    link: &Link,
    start: &CatalogKey,
    prefix: &str,
    included: bool,
    limit: u32,
) -> Read<Vec<CatalogRecord>> {
    let sql = "SELECT name, revision, bytes FROM records
        WHERE tenant = $1 AND kind = $2 AND name >= $3 AND (name > $3 OR $4) AND name <= $5 AND starts_with(name, $6)
        ORDER BY name LIMIT $7";
    // The last character of Unicode: nothing with the prefix lies behind it.
    let end = format!("{prefix}\u{10ffff}\u{10ffff}");
    let (tenant, kind, name) = (&*start.tenant, &*start.kind, &*start.name);
    let found = rows(
        link,
        sql,
        &[
            &tenant,
            &kind,
            &name,
            &included,
            &end,
            &prefix,
            &i64::from(limit),
        ],
    )
    .await?;
    Ok(found.iter().map(|row| catalog_record(row, start)).collect())
}

fn numbers(partitions: &[Partition]) -> Vec<i32> {
    partitions
        .iter()
        .map(|partition| i32::from(partition.0))
        .collect()
}

fn execution_row(row: &Row) -> Read<ExecutionRow> {
    let status = i64::from(row.get::<_, i16>(3));
    let status = Status::from_number(status)
        .ok_or_else(|| ReadError::Damaged(format!("{status} is no status")))?;
    // The times that clients are told: of when it stopped, was redriven and started.
    for index in [6, 8, 12] {
        if let Some(ms) = row.get::<usize, Option<i64>>(index)
            && !u64::try_from(ms).is_ok_and(|ms| ms <= DATE_MS_MAX)
        {
            return Err(ReadError::Damaged(format!("{ms} is no time")));
        }
    }
    let time = |index| {
        row.get::<_, Option<i64>>(index)
            .map(|ms| Timestamp(ms.cast_unsigned()))
    };
    Ok(ExecutionRow {
        id: ExecutionId(unsigned(row, 0)),
        next: unsigned(row, 1),
        next_public: unsigned(row, 2),
        view: View {
            status,
            hot: row.get(4),
            wake_at: time(5),
            stopped_at: time(6),
            redrive_count: narrow(row, 7),
            redriven_at: time(8),
        },
        new: NewExecution {
            scope: ScopeId(unsigned(row, 9)),
            version: scope(row, 14),
            alias: scope(row, 15),
            name: row.get::<_, &str>(10).into(),
            unique_name: row.get(11),
            started_at: Timestamp(unsigned(row, 12)),
            meta: bytes(row, 13),
        },
    })
}

fn stored_segment(row: &Row) -> StoredSegment {
    let segment = Segment {
        events: narrow(row, 1),
        first_public: unsigned(row, 2),
        public: narrow(row, 3),
        bytes: bytes(row, 4),
    };
    StoredSegment {
        first: unsigned(row, 0),
        segment,
    }
}

fn message(row: &Row) -> Message {
    Message {
        id: MessageId(unsigned(row, 0)),
        to: ExecutionId(unsigned(row, 1)),
        payload: bytes(row, 2),
    }
}

fn task(row: &Row) -> OpenTask {
    OpenTask {
        token: token(row.get(0)),
        execution: ExecutionId(unsigned(row, 1)),
        task: bytes(row, 2),
        activity: scope(row, 3),
        scheduled_at: Timestamp(unsigned(row, 4)),
    }
}

fn catalog_record(row: &Row, like: &CatalogKey) -> CatalogRecord {
    let key = CatalogKey {
        name: row.get::<_, &str>(0).into(),
        ..like.clone()
    };
    CatalogRecord {
        revision: unsigned(row, 1),
        // A later version may seal them for their key. This one does not: nodes of the one before it, which may run beside
        // it, could not read them.
        bytes: key.opened(row.get::<_, &[u8]>(2)),
        key,
    }
}

pub(super) async fn usage(link: &Link, query: &UsageQuery) -> Read<Vec<(UsageKey, Amounts)>> {
    let sql = "SELECT day, tenant, machine, plugin, executions, redrives, ended, transitions, tasks, cpu_micros,
            memory_time, bytes_in, bytes_out, bytes_stored, fuel, host_calls, bytes_sent, bytes_received
        FROM usage WHERE (day, tenant, machine, plugin) >= ($1, $2, $3, $4) AND NOT (day, tenant, machine, plugin) = ($5, $6, $7, $8)
            AND day <= $9 AND ($10::text IS NULL OR tenant = $10)
        ORDER BY day, tenant, machine, plugin LIMIT $11";
    let (start, after) = (query.start(), query.after.as_ref());
    let (day, after_day) = (
        i64::from(start.day),
        after.map_or(-1, |key| i64::from(key.day)),
    );
    let text = |part: fn(&UsageKey) -> &str| after.map_or("", part);
    let found = rows(
        link,
        sql,
        &[
            &day,
            &&*start.tenant,
            &&*start.machine,
            &&*start.plugin,
            &after_day,
            &text(|key| &key.tenant),
            &text(|key| &key.machine),
            &text(|key| &key.plugin),
            &i64::from(query.to),
            &query.tenant.as_deref(),
            &i64::from(query.limit),
        ],
    )
    .await?;
    let keyed = found.iter().map(|row| {
        let text = |index: usize| -> Arc<str> { row.get::<_, &str>(index).into() };
        let key = UsageKey {
            day: narrow(row, 0),
            tenant: text(1),
            machine: text(2),
            plugin: text(3),
        };
        (key, counts(row, 4))
    });
    Ok(keyed.collect())
}

pub(super) async fn usage_of_tenants(link: &Link) -> Read<UsageOfTenants> {
    let sql = "SELECT tenant, sum(executions)::bigint, sum(redrives)::bigint, sum(ended)::bigint,
            sum(transitions)::bigint, sum(tasks)::bigint, sum(cpu_micros)::bigint, sum(memory_time)::bigint,
            sum(bytes_in)::bigint, sum(bytes_out)::bigint, sum(bytes_stored)::bigint,
            sum(fuel)::bigint, sum(host_calls)::bigint, sum(bytes_sent)::bigint, sum(bytes_received)::bigint
        FROM usage GROUP BY tenant ORDER BY tenant";
    let found = rows(link, sql, &[]).await?;
    let sums = found
        .iter()
        .map(|row| (row.get::<_, &str>(0).into(), counts(row, 1)));
    Ok(UsageOfTenants::whole(sums))
}

fn counts(row: &Row, first: usize) -> Amounts {
    let mut usage = Amounts::default();
    for (index, meter) in Meter::ALL.into_iter().enumerate() {
        usage.add(meter, unsigned(row, first + index));
    }
    usage
}

fn scope(row: &Row, index: usize) -> Option<ScopeId> {
    row.get::<_, Option<i64>>(index)
        .map(|id| ScopeId(id.cast_unsigned()))
}

fn unsigned(row: &Row, index: usize) -> u64 {
    row.get::<_, i64>(index).cast_unsigned()
}

/// A number that was stored from 32 bits.
fn narrow(row: &Row, index: usize) -> u32 {
    u32::try_from(row.get::<_, i64>(index)).unwrap_or(u32::MAX)
}

fn bytes(row: &Row, index: usize) -> Arc<[u8]> {
    row.get::<_, &[u8]>(index).into()
}
