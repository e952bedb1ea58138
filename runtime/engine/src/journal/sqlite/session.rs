//! One transaction. Every write checks all it demands before its first change, so that a refusal needs no undoing.

use std::collections::BTreeMap;

use rusqlite::{CachedStatement, Connection, OptionalExtension, ToSql, params};

use super::row;
use crate::journal::{
    Amounts, Append, CatalogKey, CatalogWrite, Epoch, ExecutionId, Landed, MessageId, NewExecution,
    OpenTask, Outgoing, Refused, TokenHash, UsageKey, View, Write,
    facts::{check_closes, check_position, distinct, plan_records},
    limits::MESSAGE_IDS_RESERVED,
    number::{int, ms},
    usage,
};

/// See the module.
pub(super) struct Session<'a> {
    pub(super) conn: &'a Connection,
    pub(super) epoch: Epoch,
    pub(super) ids: MessageIds,
    /// What the writes so far add to the usage, by who used it: a row is written once a transaction.
    pub(super) usage: BTreeMap<UsageKey, Amounts>,
}

/// Ids for messages: `next` is free, and all below `reserved` may be given out without a write.
#[derive(Clone, Copy)]
pub(super) struct MessageIds {
    pub(super) next: u64,
    pub(super) reserved: u64,
}

/// What ends a write: a refusal, which is its own affair, or a failure, which ends the transaction.
pub(super) enum Stop {
    Refused(Refused),
    Failed(rusqlite::Error),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Stop {
        Stop::Refused(refused)
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Stop {
        Stop::Failed(error)
    }
}

/// The change of a row of which no column with an index changes.
const UPDATE_QUIET: &str =
    "UPDATE executions SET next = ?2, next_public = ?3, stopped_at = ?4, redrive_count = ?5,
    redriven_at = ?6 WHERE id = ?1";
/// The same with when it is loaded.
const UPDATE_WAKE: &str =
    "UPDATE executions SET next = ?2, next_public = ?3, stopped_at = ?4, redrive_count = ?5,
    redriven_at = ?6, hot = ?7, wake_at = ?8 WHERE id = ?1";
/// The same with the status too.
const UPDATE_STATUS: &str =
    "UPDATE executions SET next = ?2, next_public = ?3, stopped_at = ?4, redrive_count = ?5,
    redriven_at = ?6, hot = ?7, wake_at = ?8, status = ?9 WHERE id = ?1";

/// Counts are added; there is a row from the first one on.
const CHARGE: &str = "INSERT INTO usage (day, tenant, machine, plugin, executions, redrives, ended, transitions, tasks,
    cpu_micros, memory_time, bytes_in, bytes_out, bytes_stored, fuel, host_calls, bytes_sent, bytes_received)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
    ON CONFLICT (day, tenant, machine, plugin) DO UPDATE SET executions = executions + excluded.executions,
    redrives = redrives + excluded.redrives, ended = ended + excluded.ended,
    transitions = transitions + excluded.transitions, tasks = tasks + excluded.tasks,
    cpu_micros = cpu_micros + excluded.cpu_micros, memory_time = memory_time + excluded.memory_time,
    bytes_in = bytes_in + excluded.bytes_in, bytes_out = bytes_out + excluded.bytes_out,
    bytes_stored = bytes_stored + excluded.bytes_stored, fuel = fuel + excluded.fuel,
    host_calls = host_calls + excluded.host_calls, bytes_sent = bytes_sent + excluded.bytes_sent,
    bytes_received = bytes_received + excluded.bytes_received";

/// What an append needs to know of the row it changes.
struct Stored {
    next: u64,
    status: i64,
    hot: bool,
    wake_at: Option<i64>,
}

impl Session<'_> {
    pub(super) fn write(&mut self, write: &Write) -> Result<Landed, Stop> {
        match write {
            Write::Append(append) => self.append(append),
            Write::Answer { token, message } => {
                if self.run("DELETE FROM tasks WHERE token = ?1", params![token.0])? == 0 {
                    return Err(Refused::TokenGone.into());
                }
                self.send(std::slice::from_ref(message))
            }
            Write::Post(message) => self.send(std::slice::from_ref(message)),
            Write::Catalog(records) => self.records(records),
            Write::Discard(ids) => {
                self.consume(ids)?;
                Ok(Landed::default())
            }
            Write::Blob { hash, bytes } => {
                self.insert_blob(hash, bytes)?;
                Ok(Landed::default())
            }
            Write::Charge(charges) => {
                usage::add(&mut self.usage, charges);
                Ok(Landed::default())
            }
            Write::Code(code) => {
                let landed = self.records(&code.records)?;
                if let Some(hash) = &code.remove {
                    self.run("DELETE FROM blobs WHERE hash = ?1", params![hash])?;
                }
                if let Some((hash, bytes)) = &code.keep {
                    self.insert_blob(hash, bytes)?;
                }
                usage::add(&mut self.usage, &code.charges);
                Ok(landed)
            }
        }
    }

    fn append(&mut self, append: &Append) -> Result<Landed, Stop> {
        if append.epoch != self.epoch {
            return Err(Refused::LeaseLost.into());
        }
        let stored = self.stored(append.execution)?;
        check_position(append, stored.as_ref().map(|stored| stored.next))?;
        if let Some(new) = append.create.as_ref().filter(|new| new.unique_name) {
            self.check_name(new)?;
        }
        self.check_messages(&append.consume)?;
        check_closes(append, |token| self.is_open(token))?;

        match (&append.create, stored) {
            (Some(new), _) => self.insert_row(append, new)?,
            (None, Some(stored)) => self.update_row(append, &stored)?,
            (None, None) => {
                unreachable!("`check_position` refuses an append to a log that was never begun")
            }
        }
        for (hash, bytes) in &append.blobs {
            self.insert_blob(hash, bytes)?;
        }
        self.insert_segment(append)?;
        for task in &append.open {
            self.insert_task(task)?;
        }
        for close in &append.close {
            self.run("DELETE FROM tasks WHERE token = ?1", params![close.token.0])?;
        }
        self.consume(&append.consume)?;
        usage::add(&mut self.usage, &append.charges);
        self.send(&append.send)
    }

    /// Adds what the writes of the transaction used.
    pub(super) fn charge(&self) -> rusqlite::Result<()> {
        for (key, usage) in &self.usage {
            let counts = usage.0.map(int);
            let UsageKey {
                day,
                tenant,
                machine,
                plugin,
            } = key;
            let mut values: Vec<&dyn ToSql> = vec![day];
            let texts = [&**tenant, &**machine, &**plugin];
            values.extend(texts.iter().map(|text| text as &dyn ToSql));
            values.extend(counts.iter().map(|count| count as &dyn ToSql));
            self.run(CHARGE, &values)?;
        }
        Ok(())
    }

    fn insert_blob(&self, hash: &[u8; 32], bytes: &[u8]) -> Result<(), Stop> {
        let sql = "INSERT OR IGNORE INTO blobs (hash, bytes) VALUES (?1, ?2)";
        self.run(sql, params![hash, bytes])?;
        Ok(())
    }

    fn consume(&self, ids: &[MessageId]) -> Result<(), Stop> {
        for id in ids {
            self.run("DELETE FROM messages WHERE id = ?1", params![int(id.0)])?;
        }
        Ok(())
    }

    fn stored(&self, id: ExecutionId) -> Result<Option<Stored>, Stop> {
        let mut read =
            self.statement("SELECT next, status, hot, wake_at FROM executions WHERE id = ?1")?;
        let stored = read.query_row([int(id.0)], |row| {
            Ok(Stored {
                next: row.get::<_, i64>(0)?.cast_unsigned(),
                status: row.get(1)?,
                hot: row.get(2)?,
                wake_at: row.get(3)?,
            })
        });
        match stored.optional() {
            // It is this append's concern alone: the execution is read anew, and found damaged.
            Err(error) if row::is_of_a_value(&error) => {
                Err(Refused::WrongPosition { next: 0 }.into())
            }
            stored => Ok(stored?),
        }
    }

    fn check_name(&self, new: &NewExecution) -> Result<(), Stop> {
        let sql = "SELECT id FROM executions WHERE scope = ?1 AND name = ?2 AND unique_name = 1";
        let taken = self
            .statement(sql)?
            .query_row(params![int(new.scope.0), &*new.name], |row| {
                row.get::<_, i64>(0)
            });
        match taken.optional()? {
            Some(id) => Err(Refused::NameTaken {
                execution: ExecutionId(id.cast_unsigned()),
            }
            .into()),
            None => Ok(()),
        }
    }

    fn check_messages(&self, ids: &[MessageId]) -> Result<(), Stop> {
        if !distinct(ids) {
            return Err(Refused::MessageGone.into());
        }
        for id in ids {
            if !self
                .statement("SELECT 1 FROM messages WHERE id = ?1")?
                .exists([int(id.0)])?
            {
                return Err(Refused::MessageGone.into());
            }
        }
        Ok(())
    }

    fn is_open(&self, token: &TokenHash) -> Result<bool, Stop> {
        Ok(self
            .statement("SELECT 1 FROM tasks WHERE token = ?1")?
            .exists([token.0])?)
    }

    fn insert_row(&self, append: &Append, new: &NewExecution) -> Result<(), Stop> {
        let View {
            status,
            stopped_at,
            wake_at,
            hot,
            redrive_count,
            redriven_at,
        } = &append.view;
        let (next, next_public) = ends(append);
        let sql = "INSERT INTO executions (id, next, next_public, status, hot, wake_at, stopped_at, redrive_count,
            redriven_at, scope, name, unique_name, started_at, meta, version, alias)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
        let values = params![
            int(append.execution.0),
            next,
            next_public,
            *status as i64,
            hot,
            wake_at.map(ms),
            stopped_at.map(ms),
            redrive_count,
            redriven_at.map(ms),
            int(new.scope.0),
            &*new.name,
            new.unique_name,
            ms(new.started_at),
            &*new.meta,
            new.version.map(|list| int(list.0)),
            new.alias.map(|list| int(list.0)),
        ];
        self.run(sql, values)?;
        Ok(())
    }

    /// SQLite rewrites the entries of every index that a changed column is part of, even to the same value; so columns
    /// with an index are named only when they change.
    fn update_row(&self, append: &Append, stored: &Stored) -> Result<(), Stop> {
        let View {
            status,
            stopped_at,
            wake_at,
            hot,
            redrive_count,
            redriven_at,
        } = &append.view;
        let (next, next_public) = ends(append);
        let (id, wake_at) = (int(append.execution.0), wake_at.map(ms));
        let (stopped_at, redriven_at) = (stopped_at.map(ms), redriven_at.map(ms));
        let status = *status as i64;
        let values = params![
            id,
            next,
            next_public,
            stopped_at,
            redrive_count,
            redriven_at,
            hot,
            wake_at,
            status
        ];
        let (sql, named) = if stored.status != status {
            (UPDATE_STATUS, 9)
        } else if stored.hot != *hot || stored.wake_at != wake_at {
            (UPDATE_WAKE, 8)
        } else {
            (UPDATE_QUIET, 6)
        };
        self.run(sql, &values[..named])?;
        Ok(())
    }

    fn insert_segment(&self, append: &Append) -> Result<(), Stop> {
        let segment = &append.segment;
        let sql = "INSERT INTO segments (execution, first, events, first_public, public, bytes)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        self.run(
            sql,
            params![
                int(append.execution.0),
                int(append.expected_next),
                segment.events,
                int(segment.first_public),
                segment.public,
                &*segment.bytes,
            ],
        )?;
        Ok(())
    }

    fn insert_task(&self, task: &OpenTask) -> Result<(), Stop> {
        let sql = "INSERT OR REPLACE INTO tasks (token, execution, task, activity, scheduled_at)
            VALUES (?1, ?2, ?3, ?4, ?5)";
        let activity = task.activity.map(|activity| int(activity.0));
        self.run(
            sql,
            params![
                task.token.0,
                int(task.execution.0),
                &*task.task,
                activity,
                ms(task.scheduled_at)
            ],
        )?;
        Ok(())
    }

    fn send(&mut self, messages: &[Outgoing]) -> Result<Landed, Stop> {
        let mut landed = Landed::default();
        for message in messages {
            let id = self.message_id()?;
            let sql = "INSERT INTO messages (id, recipient, payload) VALUES (?1, ?2, ?3)";
            self.run(sql, params![int(id), int(message.to.0), &*message.payload])?;
            landed.messages.push(MessageId(id));
        }
        Ok(landed)
    }

    /// The next id. Ids are never given twice, also when all rows were consumed before a restart: the counter is
    /// stored ahead of its use.
    fn message_id(&mut self) -> Result<u64, Stop> {
        let id = self.ids.next;
        if id >= self.ids.reserved {
            self.ids.reserved = id + MESSAGE_IDS_RESERVED;
            self.run(
                "UPDATE meta SET value = ?1 WHERE key = 'next_message'",
                params![int(self.ids.reserved)],
            )?;
        }
        self.ids.next = id + 1;
        Ok(id)
    }

    fn records(&self, records: &[CatalogWrite]) -> Result<Landed, Stop> {
        let revisions = plan_records(records, |key| self.revision(key))?;
        for (write, revision) in records.iter().zip(&revisions) {
            let CatalogKey { tenant, kind, name } = &write.key;
            match &write.bytes {
                Some(bytes) => self.run(
                    "INSERT INTO records (tenant, kind, name, revision, bytes) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (tenant, kind, name) DO UPDATE SET revision = ?4, bytes = ?5",
                    params![&**tenant, &**kind, &**name, int(*revision), write.key.sealed(bytes)],
                )?,
                None => self.run(
                    "DELETE FROM records WHERE tenant = ?1 AND kind = ?2 AND name = ?3",
                    params![&**tenant, &**kind, &**name],
                )?,
            };
        }
        Ok(Landed {
            messages: Vec::new(),
            revisions,
        })
    }

    fn revision(&self, key: &CatalogKey) -> Result<Option<u64>, Stop> {
        let sql = "SELECT revision FROM records WHERE tenant = ?1 AND kind = ?2 AND name = ?3";
        let mut read = self.statement(sql)?;
        let revision = read.query_row(params![&*key.tenant, &*key.kind, &*key.name], |row| {
            row::revision(row, 0)
        });
        Ok(revision.optional()?)
    }

    fn statement(&self, sql: &'static str) -> rusqlite::Result<CachedStatement<'_>> {
        self.conn.prepare_cached(sql)
    }

    fn run(&self, sql: &'static str, values: &[&dyn ToSql]) -> rusqlite::Result<usize> {
        self.statement(sql)?.execute(values)
    }
}

/// Positions after the append: of the next event and of the next public event.
fn ends(append: &Append) -> (i64, i64) {
    let segment = &append.segment;
    let next = append.expected_next + u64::from(segment.events);
    (
        int(next),
        int(segment.first_public + u64::from(segment.public)),
    )
}
