//! The reading side of the embedded journal: functions of a connection. No read transaction outlives one of them. What a row
//! holds, and what becomes of one that holds something else, is in `row`.

use std::sync::Arc;

use rusqlite::{Connection, Error, OptionalExtension, params, types::Type};
use stepwell_interp::Timestamp;

use super::{
    row::{
        COUNTS, Read, bytes, content, counted, counts, counts_are_whole, execution_row,
        is_of_a_value, number, readable, record_bytes, revision, stored_segment, task, unsigned,
        usage_key,
    },
    told::{Stray, Told},
};
use crate::journal::{
    Amounts, CatalogKey, CatalogRecord, ExecutionId, ExecutionRow, List, ListQuery, Look, Message,
    MessageId, OpenTask, Partition, ScopeId, SegmentRange, Status, StoredSegment, TokenHash,
    UsageKey, UsageOfTenants, UsageQuery,
    number::{int, ms},
    segment_page,
};

pub(super) fn execution(conn: &Connection, id: ExecutionId) -> Read<Option<ExecutionRow>> {
    let sql = "SELECT id, next, next_public, status, hot, wake_at, stopped_at, redrive_count, redriven_at, scope, name,
        unique_name, started_at, meta, version, alias FROM executions WHERE id = ?1";
    conn.prepare_cached(sql)?
        .query_row([int(id.0)], execution_row)
        .optional()
}

pub(super) fn find(conn: &Connection, scope: ScopeId, name: &str) -> Read<Option<ExecutionId>> {
    let unique =
        "SELECT max(id) FROM executions WHERE scope = ?1 AND name = ?2 AND unique_name = 1";
    let shared =
        "SELECT max(id) FROM executions WHERE scope = ?1 AND name = ?2 AND unique_name = 0";
    let newest = |sql| {
        conn.prepare_cached(sql)?
            .query_row(params![int(scope.0), name], |row| {
                row.get::<_, Option<i64>>(0)
            })
    };
    let newest: Option<i64> = newest(unique)?.max(newest(shared)?);
    Ok(newest.map(|id| ExecutionId(id.cast_unsigned())))
}

pub(super) fn look(conn: &Connection, scope: ScopeId, name: &str) -> Read<Option<Look>> {
    let snapshot = conn.unchecked_transaction()?;
    let Some(id) = find(&snapshot, scope, name)? else {
        return Ok(None);
    };
    let Some(row) = execution(&snapshot, id)? else {
        return Ok(None);
    };
    let first = end(&snapshot, id, "first")?;
    let last = Look::lacks_last(&row, first.as_ref()).then(|| end(&snapshot, id, "first DESC"));
    Ok(Some(Look {
        row,
        first,
        last: last.transpose()?.flatten(),
    }))
}

/// The segment that comes first in an order.
fn end(conn: &Connection, id: ExecutionId, order: &str) -> Read<Option<StoredSegment>> {
    let sql = format!(
        "SELECT first, events, first_public, public, bytes FROM segments WHERE execution = ?1 ORDER BY {order} LIMIT 1"
    );
    conn.prepare_cached(&sql)?
        .query_row([int(id.0)], stored_segment)
        .optional()
}

/// Ids of a page of the executions with a value in a column.
macro_rules! page {
    ($column:literal) => {
        concat!(
            "SELECT id FROM executions WHERE ",
            $column,
            " = ?1 AND status = ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4"
        )
    };
}

pub(super) fn list(conn: &Connection, query: ListQuery) -> Read<Vec<ExecutionRow>> {
    let before = query.before.map_or(i64::MAX, |id| int(id.0));
    let statuses = match query.status {
        Some(status) => vec![status],
        None => Status::ALL.to_vec(),
    };
    // One snapshot for the ids and the rows, so that the page is of one moment.
    let snapshot = conn.unchecked_transaction()?;
    let (sql, list) = match query.list {
        List::Scope(scope) => (page!("scope"), scope),
        List::Version(version) => (page!("version"), version),
        List::Alias(alias) => (page!("alias"), alias),
    };
    let mut ids = Vec::new();
    for status in statuses {
        let mut read = snapshot.prepare_cached(sql)?;
        let found = read.query_map(
            params![int(list.0), status as i64, before, query.limit],
            |row| row.get(0),
        )?;
        ids.extend(found.collect::<Read<Vec<i64>>>()?);
    }
    ids.sort_unstable_by(|one, other| other.cmp(one));
    ids.truncate(query.limit as usize);
    let rows = ids
        .into_iter()
        .map(|id| listed(&snapshot, ExecutionId(id.cast_unsigned())));
    rows.filter_map(Result::transpose).collect()
}

/// An execution in a list.
fn listed(conn: &Connection, id: ExecutionId) -> Read<Option<ExecutionRow>> {
    match execution(conn, id) {
        Err(error) if is_of_a_value(&error) => Ok(Some(ExecutionRow::unreadable(id))),
        found => found,
    }
}

pub(super) fn segments(
    conn: &Connection,
    id: ExecutionId,
    range: SegmentRange,
    bytes_max: usize,
) -> Read<Vec<StoredSegment>> {
    let snapshot = conn.unchecked_transaction()?;
    let forward = "SELECT first, events, first_public, public, bytes FROM segments
        WHERE execution = ?1 AND first >= ?2 ORDER BY first";
    let backward = "SELECT first, events, first_public, public, bytes FROM segments
        WHERE execution = ?1 AND first <= ?2 ORDER BY first DESC";
    let (sql, start, bytes_max) = match range {
        SegmentRange::From { first } => (
            forward,
            edge(&snapshot, id, |place| place.next <= first)?.1,
            bytes_max,
        ),
        SegmentRange::Forward { public } => (
            forward,
            edge(&snapshot, id, |place| place.next_public <= public)?.1,
            bytes_max,
        ),
        SegmentRange::Backward { public } => (
            backward,
            edge(&snapshot, id, |place| place.first_public <= public)?.0,
            bytes_max,
        ),
        SegmentRange::Last => (backward, Some(i64::MAX.cast_unsigned()), 0),
    };
    let Some(start) = start else {
        return Ok(Vec::new());
    };
    let mut read = snapshot.prepare_cached(sql)?;
    segment_page(
        read.query_map([int(id.0), int(start)], stored_segment)?,
        bytes_max,
    )
}

/// Where a segment lies.
struct Place {
    first: u64,
    next: u64,
    first_public: u64,
    next_public: u64,
}

/// Firsts of the last segment for which `before` holds and of the first one for which it does not; `before` must hold
/// for a head of the log only. Positions are searched by halves, which spares an index on the public ids.
fn edge(
    conn: &Connection,
    id: ExecutionId,
    before: impl Fn(&Place) -> bool,
) -> Read<(Option<u64>, Option<u64>)> {
    let mut next = conn.prepare_cached("SELECT next FROM executions WHERE id = ?1")?;
    let Some(next) = next
        .query_row([int(id.0)], |row| row.get::<_, i64>(0))
        .optional()?
    else {
        return Ok((None, None));
    };
    let sql = "SELECT first, events, first_public, public FROM segments WHERE execution = ?1 AND first <= ?2
        ORDER BY first DESC LIMIT 1";
    let mut probe = conn.prepare_cached(sql)?;
    let (mut low, mut high) = (1, next.cast_unsigned());
    let (mut last, mut first) = (None, None);
    while low < high {
        let middle = low + (high - low) / 2;
        let place = probe.query_row([int(id.0), int(middle)], |row| {
            let (start, public) = (unsigned(row, 0)?, unsigned(row, 2)?);
            let (next, next_public) = (start + unsigned(row, 1)?, public + unsigned(row, 3)?);
            Ok(Place {
                first: start,
                next,
                first_public: public,
                next_public,
            })
        })?;
        if place.next <= middle {
            return Err(gap(middle));
        }
        if before(&place) {
            (last, low) = (Some(place.first), place.next);
        } else {
            (first, high) = (Some(place.first), place.first);
        }
    }
    Ok((last, first))
}

/// No segment holds the event at that position.
fn gap(position: u64) -> rusqlite::Error {
    let why = format!("the log of an execution lacks event {position}");
    Error::FromSqlConversionFailure(0, Type::Blob, why.into())
}

pub(super) fn messages(
    conn: &Connection,
    told: &Told,
    after: &[(Partition, MessageId)],
    limit: u32,
) -> Read<Vec<Message>> {
    let cursors: std::collections::BTreeMap<Partition, MessageId> = after.iter().copied().collect();
    let Some(first) = cursors.values().min() else {
        return Ok(Vec::new());
    };
    let mut read = conn
        .prepare_cached("SELECT id, recipient, payload FROM messages WHERE id > ?1 ORDER BY id")?;
    let mut rows = read.query([int(first.0)])?;
    let mut page = Vec::new();
    while page.len() < limit as usize {
        let Some(row) = rows.next()? else { break };
        let id = MessageId(unsigned(row, 0)?);
        let Some(to) = readable(unsigned(row, 1))?.map(ExecutionId) else {
            if told.note(Stray::Message(id)) {
                tracing::error!(message = id.0, "a message in the store is to nobody");
            }
            continue;
        };
        if cursors
            .get(&to.partition())
            .is_some_and(|cursor| id > *cursor)
        {
            page.push(Message {
                id,
                to,
                payload: content(row, 2)?,
            });
        }
    }
    Ok(page)
}

pub(super) fn inbox(conn: &Connection, id: ExecutionId) -> Read<Vec<Message>> {
    let sql = "SELECT id, payload FROM messages WHERE recipient = ?1 ORDER BY id";
    let mut read = conn.prepare_cached(sql)?;
    let found = read.query_map([int(id.0)], |row| {
        Ok(Message {
            id: MessageId(unsigned(row, 0)?),
            to: id,
            payload: content(row, 1)?,
        })
    })?;
    found.collect()
}

pub(super) fn hot(
    conn: &Connection,
    partitions: &[Partition],
    after: Option<ExecutionId>,
    limit: u32,
) -> Read<Vec<ExecutionId>> {
    let sql = "SELECT id FROM executions WHERE hot = 1 AND id > ?1 ORDER BY id";
    let mut read = conn.prepare_cached(sql)?;
    let mut rows = read.query([after.map_or(-1, |id| int(id.0))])?;
    let wanted = Wanted::new(partitions);
    let mut page = Vec::new();
    while page.len() < limit as usize {
        let Some(row) = rows.next()? else { break };
        let id = ExecutionId(unsigned(row, 0)?);
        if wanted.has(id) {
            page.push(id);
        }
    }
    Ok(page)
}

pub(super) fn due(
    conn: &Connection,
    partitions: &[Partition],
    until: Timestamp,
    limit: u32,
) -> Read<Vec<(ExecutionId, Timestamp)>> {
    let sql = "SELECT id, wake_at FROM executions WHERE wake_at IS NOT NULL AND wake_at <= ?1 ORDER BY wake_at, id";
    let mut read = conn.prepare_cached(sql)?;
    let mut rows = read.query([ms(until)])?;
    let wanted = Wanted::new(partitions);
    let mut page = Vec::new();
    while page.len() < limit as usize {
        let Some(row) = rows.next()? else { break };
        let id = ExecutionId(unsigned(row, 0)?);
        if wanted.has(id) {
            page.push((id, Timestamp(number(row, 1)?)));
        }
    }
    Ok(page)
}

pub(super) fn open_task(conn: &Connection, token: TokenHash) -> Read<Option<OpenTask>> {
    let sql = "SELECT token, execution, task, activity, scheduled_at FROM tasks WHERE token = ?1";
    conn.prepare_cached(sql)?
        .query_row([token.0], task)
        .optional()
}

pub(super) fn activity_tasks(
    conn: &Connection,
    told: &Told,
    activity: ScopeId,
    after: Option<(Timestamp, TokenHash)>,
    limit: u32,
) -> Read<Vec<OpenTask>> {
    let sql = "SELECT token, execution, task, activity, scheduled_at FROM tasks
        WHERE activity = ?1 AND (scheduled_at, token) > (?2, ?3) ORDER BY scheduled_at, token";
    let (at, token) = after.map_or((-1, [0; 32]), |(at, token)| (ms(at), token.0));
    let mut read = conn.prepare_cached(sql)?;
    let mut rows = read.query(params![int(activity.0), at, token])?;
    let mut page = Vec::new();
    while page.len() < limit as usize {
        let Some(row) = rows.next()? else { break };
        match readable(task(row))? {
            Some(task) => page.push(task),
            None if told.note(Stray::Task(activity)) => tracing::error!(
                activity = activity.0,
                "open tasks in the store cannot be read, and no worker gets them"
            ),
            None => {}
        }
    }
    Ok(page)
}

pub(super) fn blob(conn: &Connection, hash: [u8; 32]) -> Read<Option<Arc<[u8]>>> {
    conn.prepare_cached("SELECT bytes FROM blobs WHERE hash = ?1")?
        .query_row([hash], |row| bytes(row, 0))
        .optional()
}

pub(super) fn record(conn: &Connection, key: &CatalogKey) -> Read<Option<CatalogRecord>> {
    let sql = "SELECT revision, bytes FROM records WHERE tenant = ?1 AND kind = ?2 AND name = ?3";
    let found =
        conn.prepare_cached(sql)?
            .query_row(params![&*key.tenant, &*key.kind, &*key.name], |row| {
                Ok(CatalogRecord {
                    key: key.clone(),
                    revision: revision(row, 0)?,
                    bytes: record_bytes(row, 1, key)?,
                })
            });
    found.optional()
}

pub(super) fn scan(
    conn: &Connection,
    start: &CatalogKey,
    prefix: &str,
    included: bool,
    limit: u32,
) -> Read<Vec<CatalogRecord>> {
    let sql = if included {
        "SELECT revision, bytes, name FROM records WHERE tenant = ?1 AND kind = ?2 AND name >= ?3 ORDER BY name"
    } else {
        "SELECT revision, bytes, name FROM records WHERE tenant = ?1 AND kind = ?2 AND name > ?3 ORDER BY name"
    };
    let mut read = conn.prepare_cached(sql)?;
    let mut rows = read.query(params![&*start.tenant, &*start.kind, &*start.name])?;
    let (mut page, mut unnamed) = (Vec::new(), false);
    while page.len() < limit as usize {
        let Some(row) = rows.next()? else {
            page.extend(CatalogRecord::unnamed(start, prefix).filter(|_| unnamed));
            break;
        };
        let Ok(name) = row.get_ref(2)?.as_str() else {
            unnamed = true;
            continue;
        };
        if !name.starts_with(prefix) {
            break;
        }
        let key = CatalogKey {
            name: name.into(),
            ..start.clone()
        };
        page.push(CatalogRecord {
            revision: revision(row, 0)?,
            bytes: record_bytes(row, 1, &key)?,
            key,
        });
    }
    Ok(page)
}

pub(super) fn usage(
    conn: &Connection,
    told: &Told,
    query: &UsageQuery,
) -> Read<Vec<(UsageKey, Amounts)>> {
    let sql = format!(
        "SELECT day, tenant, machine, plugin, {}, {} FROM usage
         WHERE (day, tenant, machine, plugin) >= (?1, ?2, ?3, ?4)
         AND day <= ?5 ORDER BY day, tenant, machine, plugin",
        counts_are_whole(),
        COUNTS.map(counted).join(", ")
    );
    let start = query.start();
    let mut read = conn.prepare_cached(&sql)?;
    let values = params![
        start.day,
        &*start.tenant,
        &*start.machine,
        &*start.plugin,
        query.to
    ];
    let mut rows = read.query(values)?;
    let mut page = Vec::new();
    while page.len() < query.limit as usize {
        let Some(row) = rows.next()? else { break };
        let Some(key) = readable(usage_key(row))? else {
            if told.note(Stray::Usage) {
                tracing::error!("rows of the usage in the store cannot be read, and are left out");
            }
            continue;
        };
        if query.wants(&key) {
            if !row.get::<_, bool>(4)? {
                told.tell_of_counts();
            }
            page.push((key, counts(row, 5)?));
        }
    }
    Ok(page)
}

pub(super) fn usage_of_tenants(conn: &Connection, told: &Told) -> Read<UsageOfTenants> {
    // A sum of integers that is beyond them would be an error; this one is a real number, and exact up to 2^53.
    let sums = COUNTS.map(|column| format!("total({})", counted(column)));
    let (whole, sums) = (counts_are_whole(), sums.join(", "));
    let sql =
        format!("SELECT tenant, min({whole}), {sums} FROM usage GROUP BY tenant ORDER BY tenant");
    let mut read = conn.prepare(&sql)?;
    let mut rows = read.query([])?;
    let mut used = UsageOfTenants::default();
    while let Some(row) = rows.next()? {
        if !row.get::<_, bool>(1)? {
            told.tell_of_counts();
        }
        match row.get_ref(0)?.as_str() {
            Ok(tenant) => used.sums.push((tenant.into(), counts(row, 2)?)),
            Err(_) => {
                if told.note(Stray::Sum) {
                    tracing::error!("usage in the store is of no tenant, and is left out");
                }
                used.is_partial = true;
            }
        }
    }
    Ok(used)
}

/// The partitions that a caller asked for.
struct Wanted(Vec<bool>);

impl Wanted {
    fn new(partitions: &[Partition]) -> Wanted {
        let mut wanted = Vec::new();
        for partition in partitions {
            let index = usize::from(partition.0);
            if wanted.len() <= index {
                wanted.resize(index + 1, false);
            }
            wanted[index] = true;
        }
        Wanted(wanted)
    }

    fn has(&self, id: ExecutionId) -> bool {
        self.0
            .get(usize::from(id.partition().0))
            .copied()
            .unwrap_or(false)
    }
}
