//! What a group of writes changes, noted while it is judged and written with one statement a table. Hides the columns.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio_postgres::{Error, types::ToSql};

use super::{
    super::number::{int, ms},
    session::{Session, Values},
};
use crate::journal::{
    Amounts, Append, CatalogKey, Charges, ExecutionId, ExecutionRow, Message, MessageId, OpenTask,
    Partition, ScopeId, Status, TokenHash, UsageKey,
    facts::{Changes, Facts},
    usage,
};

/// What a group of writes changes.
#[derive(Default)]
pub(super) struct Delta {
    created: BTreeSet<ExecutionId>,
    updated: BTreeSet<ExecutionId>,
    segments: Vec<Append>,
    opened: BTreeMap<TokenHash, OpenTask>,
    closed: BTreeSet<TokenHash>,
    sent: BTreeMap<MessageId, Message>,
    consumed: BTreeSet<MessageId>,
    inboxes: BTreeSet<Partition>,
    records: BTreeSet<CatalogKey>,
    /// Records that were there, and are locked.
    known: BTreeSet<CatalogKey>,
    blobs: BTreeMap<[u8; 32], Arc<[u8]>>,
    /// Blobs that go; what a later write of the group keeps is in `blobs` as well.
    removed_blobs: BTreeSet<[u8; 32]>,
    usage: BTreeMap<UsageKey, Amounts>,
}

impl Changes for Delta {
    fn row(&mut self, old: Option<&ExecutionRow>, new: &ExecutionRow) {
        if old.is_none() {
            self.created.insert(new.id);
        } else if !self.created.contains(&new.id) {
            self.updated.insert(new.id);
        }
    }

    fn segment(&mut self, append: &Append) {
        self.segments.push(append.clone());
    }

    fn task_opened(&mut self, task: &OpenTask) {
        self.closed.remove(&task.token);
        self.opened.insert(task.token, task.clone());
    }

    fn task_closed(&mut self, task: &OpenTask) {
        self.opened.remove(&task.token);
        self.closed.insert(task.token);
    }

    fn message_sent(&mut self, message: &Message) {
        self.inboxes.insert(message.to.partition());
        self.sent.insert(message.id, message.clone());
    }

    fn message_consumed(&mut self, message: &Message) {
        if self.sent.remove(&message.id).is_none() {
            self.consumed.insert(message.id);
        }
    }

    fn record(&mut self, key: &CatalogKey) {
        self.records.insert(key.clone());
    }

    fn blob(&mut self, hash: [u8; 32], bytes: &Arc<[u8]>) {
        self.blobs.insert(hash, bytes.clone());
    }

    fn blob_removed(&mut self, hash: [u8; 32]) {
        self.blobs.remove(&hash);
        self.removed_blobs.insert(hash);
    }

    fn charged(&mut self, charges: &Charges) {
        usage::add(&mut self.usage, charges);
    }
}

impl Delta {
    /// Nothing yet, over what was fetched.
    pub(super) fn from(fetched: &Facts) -> Delta {
        Delta {
            known: fetched.catalog.keys().cloned().collect(),
            ..Delta::default()
        }
    }

    pub(super) async fn write(&self, session: &Session, facts: &Facts) -> Result<(), Error> {
        self.write_created(session, facts).await?;
        self.write_updated(session, facts).await?;
        self.write_segments(session).await?;
        self.write_tasks(session).await?;
        self.write_messages(session, facts).await?;
        self.write_records(session, facts).await?;
        self.write_usage(session).await?;
        self.write_blobs(session).await
    }

    async fn write_blobs(&self, session: &Session) -> Result<(), Error> {
        if !self.removed_blobs.is_empty() {
            let hashes: Vec<&[u8]> = self.removed_blobs.iter().map(|hash| &hash[..]).collect();
            let sql = "DELETE FROM blobs WHERE hash = ANY($1)";
            session.run(sql, &[&hashes]).await?;
        }
        if self.blobs.is_empty() {
            return Ok(());
        }
        let hashes: Vec<&[u8]> = self.blobs.keys().map(|hash| hash.as_slice()).collect();
        let bytes: Vec<&[u8]> = self.blobs.values().map(|bytes| &**bytes).collect();
        let sql = "INSERT INTO blobs SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT DO NOTHING";
        session.run(sql, &[&hashes, &bytes]).await?;
        Ok(())
    }

    /// In order of the keys, as every node writes them: none waits for another in a circle.
    async fn write_usage(&self, session: &Session) -> Result<(), Error> {
        if self.usage.is_empty() {
            return Ok(());
        }
        let keys = || self.usage.keys();
        let days: Vec<i64> = keys().map(|key| i64::from(key.day)).collect();
        let tenants: Vec<&str> = keys().map(|key| &*key.tenant).collect();
        let machines: Vec<&str> = keys().map(|key| &*key.machine).collect();
        let plugins: Vec<&str> = keys().map(|key| &*key.plugin).collect();
        let counts: Vec<Vec<i64>> = (0..Amounts::default().0.len())
            .map(|meter| {
                self.usage
                    .values()
                    .map(|usage| int(usage.0[meter]))
                    .collect()
            })
            .collect();
        let sql = "INSERT INTO usage (day, tenant, machine, plugin, executions, redrives, ended, transitions, tasks,
                cpu_micros, memory_time, bytes_in, bytes_out, bytes_stored, fuel, host_calls, bytes_sent, bytes_received)
            SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],
                $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[],
                $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[])
            ON CONFLICT (day, tenant, machine, plugin) DO UPDATE SET
                executions = usage.executions + excluded.executions, redrives = usage.redrives + excluded.redrives,
                ended = usage.ended + excluded.ended, transitions = usage.transitions + excluded.transitions,
                tasks = usage.tasks + excluded.tasks, cpu_micros = usage.cpu_micros + excluded.cpu_micros,
                memory_time = usage.memory_time + excluded.memory_time, bytes_in = usage.bytes_in + excluded.bytes_in,
                bytes_out = usage.bytes_out + excluded.bytes_out,
                bytes_stored = usage.bytes_stored + excluded.bytes_stored, fuel = usage.fuel + excluded.fuel,
                host_calls = usage.host_calls + excluded.host_calls,
                bytes_sent = usage.bytes_sent + excluded.bytes_sent,
                bytes_received = usage.bytes_received + excluded.bytes_received";
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![&days, &tenants, &machines, &plugins];
        values.extend(counts.iter().map(|count| count as &(dyn ToSql + Sync)));
        session.run(sql, &values).await?;
        Ok(())
    }

    async fn write_created(&self, session: &Session, facts: &Facts) -> Result<(), Error> {
        let rows = rows(&self.created, facts);
        if rows.is_empty() {
            return Ok(());
        }
        let partitions: Vec<i32> = rows
            .iter()
            .map(|row| i32::from(row.id.partition().0))
            .collect();
        let scopes: Vec<i64> = rows.iter().map(|row| int(row.new.scope.0)).collect();
        let names: Vec<&str> = rows.iter().map(|row| &*row.new.name).collect();
        let unique: Vec<bool> = rows.iter().map(|row| row.new.unique_name).collect();
        let started: Vec<i64> = rows.iter().map(|row| ms(row.new.started_at)).collect();
        let meta: Vec<&[u8]> = rows.iter().map(|row| &*row.new.meta).collect();
        let list = |list: Option<ScopeId>| list.map(|list| int(list.0));
        let versions: Vec<Option<i64>> = rows.iter().map(|row| list(row.new.version)).collect();
        let aliases: Vec<Option<i64>> = rows.iter().map(|row| list(row.new.alias)).collect();
        let views = Views::of(&rows);
        let sql = "INSERT INTO executions (id, next, next_public, status, hot, wake_at, stopped_at, redrive_count,
            redriven_at, partition, scope, name, unique_name, started_at, meta, version, alias)
            SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::smallint[], $5::boolean[], $6::bigint[],
                $7::bigint[], $8::bigint[], $9::bigint[], $10::integer[], $11::bigint[], $12::text[], $13::boolean[],
                $14::bigint[], $15::bytea[], $16::bigint[], $17::bigint[])";
        let constant: Values<'_> = &[
            &partitions,
            &scopes,
            &names,
            &unique,
            &started,
            &meta,
            &versions,
            &aliases,
        ];
        let values = [views.values().as_slice(), constant].concat();
        session.run(sql, &values).await?;
        Ok(())
    }

    async fn write_updated(&self, session: &Session, facts: &Facts) -> Result<(), Error> {
        let rows = rows(&self.updated, facts);
        if rows.is_empty() {
            return Ok(());
        }
        let views = Views::of(&rows);
        let sql = "UPDATE executions SET next = new.next, next_public = new.next_public, status = new.status,
                hot = new.hot, wake_at = new.wake_at, stopped_at = new.stopped_at, redrive_count = new.redrive_count,
                redriven_at = new.redriven_at
            FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::smallint[], $5::boolean[], $6::bigint[],
                $7::bigint[], $8::bigint[], $9::bigint[])
            AS new (id, next, next_public, status, hot, wake_at, stopped_at, redrive_count, redriven_at)
            WHERE executions.id = new.id";
        session.run(sql, &views.values()).await?;
        Ok(())
    }

    async fn write_segments(&self, session: &Session) -> Result<(), Error> {
        if self.segments.is_empty() {
            return Ok(());
        }
        let column = |part: fn(&Append) -> u64| {
            self.segments
                .iter()
                .map(|append| int(part(append)))
                .collect::<Vec<i64>>()
        };
        let bytes: Vec<&[u8]> = self
            .segments
            .iter()
            .map(|append| &*append.segment.bytes)
            .collect();
        let sql = "INSERT INTO segments (execution, first, events, first_public, public, bytes)
            SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[])";
        session
            .run(
                sql,
                &[
                    &column(|append| append.execution.0),
                    &column(|append| append.expected_next),
                    &column(|append| u64::from(append.segment.events)),
                    &column(|append| append.segment.first_public),
                    &column(|append| u64::from(append.segment.public)),
                    &bytes,
                ],
            )
            .await?;
        Ok(())
    }

    async fn write_tasks(&self, session: &Session) -> Result<(), Error> {
        if !self.closed.is_empty() {
            let tokens: Vec<&[u8]> = self.closed.iter().map(|token| token.0.as_slice()).collect();
            session
                .run("DELETE FROM tasks WHERE token = ANY($1)", &[&tokens])
                .await?;
        }
        if self.opened.is_empty() {
            return Ok(());
        }
        let tasks = || self.opened.values();
        let tokens: Vec<&[u8]> = tasks().map(|task| task.token.0.as_slice()).collect();
        let executions: Vec<i64> = tasks().map(|task| int(task.execution.0)).collect();
        let bytes: Vec<&[u8]> = tasks().map(|task| &*task.task).collect();
        let activities: Vec<Option<i64>> = tasks()
            .map(|task| task.activity.map(|activity| int(activity.0)))
            .collect();
        let scheduled: Vec<i64> = tasks().map(|task| ms(task.scheduled_at)).collect();
        let sql = "INSERT INTO tasks (token, execution, task, activity, scheduled_at)
            SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bigint[])
            ON CONFLICT (token) DO UPDATE SET execution = excluded.execution, task = excluded.task,
                activity = excluded.activity, scheduled_at = excluded.scheduled_at";
        session
            .run(
                sql,
                &[&tokens, &executions, &bytes, &activities, &scheduled],
            )
            .await?;
        Ok(())
    }

    async fn write_messages(&self, session: &Session, facts: &Facts) -> Result<(), Error> {
        if !self.consumed.is_empty() {
            let ids: Vec<i64> = self.consumed.iter().map(|id| int(id.0)).collect();
            session
                .run("DELETE FROM messages WHERE id = ANY($1)", &[&ids])
                .await?;
        }
        if !self.sent.is_empty() {
            let ids: Vec<i64> = self.sent.keys().map(|id| int(id.0)).collect();
            let partitions: Vec<i32> = self
                .sent
                .values()
                .map(|message| i32::from(message.to.partition().0))
                .collect();
            let recipients: Vec<i64> = self
                .sent
                .values()
                .map(|message| int(message.to.0))
                .collect();
            let payloads: Vec<&[u8]> = self
                .sent
                .values()
                .map(|message| &*message.payload)
                .collect();
            let sql = "INSERT INTO messages (id, partition, recipient, payload)
                SELECT * FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::bytea[])";
            session
                .run(sql, &[&ids, &partitions, &recipients, &payloads])
                .await?;
        }
        if !self.inboxes.is_empty() {
            let partitions: Vec<i32> = self
                .inboxes
                .iter()
                .map(|partition| i32::from(partition.0))
                .collect();
            let last = |partition| int(facts.last_message.get(partition).copied().unwrap_or(0));
            let last: Vec<i64> = self.inboxes.iter().map(last).collect();
            let sql = "UPDATE inboxes SET last = new.last FROM unnest($1::integer[], $2::bigint[]) AS new (partition, last)
                WHERE inboxes.partition = new.partition";
            session.run(sql, &[&partitions, &last]).await?;
        }
        Ok(())
    }

    async fn write_records(&self, session: &Session, facts: &Facts) -> Result<(), Error> {
        let kept = |key: &&CatalogKey| facts.catalog.contains_key(*key);
        let (written, deleted): (Vec<&CatalogKey>, Vec<&CatalogKey>) =
            self.records.iter().partition(kept);
        if !deleted.is_empty() {
            let (tenants, kinds, names) = columns(&deleted);
            let sql = "DELETE FROM records USING unnest($1::text[], $2::text[], $3::text[]) AS gone (tenant, kind, name)
                WHERE records.tenant = gone.tenant AND records.kind = gone.kind AND records.name = gone.name";
            session.run(sql, &[&tenants, &kinds, &names]).await?;
        }
        let (old, new): (Vec<&CatalogKey>, Vec<&CatalogKey>) =
            written.iter().partition(|key| self.known.contains(**key));
        let sql = "UPDATE records SET revision = new.revision, bytes = new.bytes
            FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[])
            AS new (tenant, kind, name, revision, bytes)
            WHERE records.tenant = new.tenant AND records.kind = new.kind AND records.name = new.name";
        put_records(session, facts, &old, sql).await?;
        // A record that another node makes meanwhile violates the key, and the group is judged again.
        let sql = "INSERT INTO records (tenant, kind, name, revision, bytes)
            SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[])";
        put_records(session, facts, &new, sql).await
    }
}

async fn put_records(
    session: &Session,
    facts: &Facts,
    keys: &[&CatalogKey],
    sql: &'static str,
) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let (tenants, kinds, names) = columns(keys);
    let records = || keys.iter().filter_map(|key| facts.catalog.get(*key));
    let revisions: Vec<i64> = records().map(|record| int(record.revision)).collect();
    let bytes: Vec<&[u8]> = records().map(|record| &*record.bytes).collect();
    session
        .run(sql, &[&tenants, &kinds, &names, &revisions, &bytes])
        .await?;
    Ok(())
}

fn columns<'a>(keys: &[&'a CatalogKey]) -> (Vec<&'a str>, Vec<&'a str>, Vec<&'a str>) {
    let column = |part: fn(&CatalogKey) -> &str| keys.iter().map(|key| part(key)).collect();
    (
        column(|key| &key.tenant),
        column(|key| &key.kind),
        column(|key| &key.name),
    )
}

/// The rows of these executions, as they are after the writes.
fn rows<'f>(ids: &BTreeSet<ExecutionId>, facts: &'f Facts) -> Vec<&'f ExecutionRow> {
    ids.iter().filter_map(|id| facts.rows.get(id)).collect()
}

/// The columns of rows that change.
struct Views {
    ids: Vec<i64>,
    next: Vec<i64>,
    next_public: Vec<i64>,
    status: Vec<i16>,
    hot: Vec<bool>,
    wake_at: Vec<Option<i64>>,
    stopped_at: Vec<Option<i64>>,
    redrive_count: Vec<i64>,
    redriven_at: Vec<Option<i64>>,
}

impl Views {
    fn of(rows: &[&ExecutionRow]) -> Views {
        let status = |status: Status| i16::from(status as u8);
        Views {
            ids: rows.iter().map(|row| int(row.id.0)).collect(),
            next: rows.iter().map(|row| int(row.next)).collect(),
            next_public: rows.iter().map(|row| int(row.next_public)).collect(),
            status: rows.iter().map(|row| status(row.view.status)).collect(),
            hot: rows.iter().map(|row| row.view.hot).collect(),
            wake_at: rows.iter().map(|row| row.view.wake_at.map(ms)).collect(),
            stopped_at: rows.iter().map(|row| row.view.stopped_at.map(ms)).collect(),
            redrive_count: rows
                .iter()
                .map(|row| i64::from(row.view.redrive_count))
                .collect(),
            redriven_at: rows
                .iter()
                .map(|row| row.view.redriven_at.map(ms))
                .collect(),
        }
    }

    /// In the order of the columns.
    fn values(&self) -> [&(dyn ToSql + Sync); 9] {
        let Views {
            ids,
            next,
            next_public,
            status,
            hot,
            wake_at,
            stopped_at,
            redrive_count,
            redriven_at,
        } = self;
        [
            ids,
            next,
            next_public,
            status,
            hot,
            wake_at,
            stopped_at,
            redrive_count,
            redriven_at,
        ]
    }
}
