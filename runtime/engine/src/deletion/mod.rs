//! The deletion of state machines. It takes several writes; an intent that names it stands from the first of them to
//! the last, and whoever keeps the installation finishes what it finds. Hides what is done before the call is answered: a
//! machine of which few executions run is gone by then, one with more is DELETING, and its executions are stopped in the
//! background, some at a time.

mod background;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    api::{Caller, MachineKind, Status},
    arn::{self, MachineArn},
    engine::Engine,
    error::{Code, Error},
    functions,
    journal::{
        CatalogKey, CatalogRecord, CatalogWrite, ExecutionId, ExecutionRow, List, ListQuery,
        Outgoing, ScopeId, Write,
    },
    limits::{CHANGE_ATTEMPTS_MAX, DELETION_STOPS_MAX, VERSIONS_MAX_RAISED},
    machines::{crossed, machine_key},
    reader,
    record::{self, InboxItem, MachineRecord},
    versions,
};

pub(crate) use background::Deletions;

/// Kind of the records of intents, which belong to the installation.
const KIND: &str = "deleting";

/// Stored form, codec v1: a machine that is to be deleted.
#[derive(Serialize, Deserialize)]
struct Intent {
    tenant: Arc<str>,
    region: Arc<str>,
    name: String,
}

/// The executions that a deletion has still to stop.
struct Stopping {
    lists: Vec<ScopeId>,
    /// Of the last list: only executions with a smaller id.
    before: Option<ExecutionId>,
}

impl Engine {
    /// Deletes a state machine with its versions and aliases, and stops its running executions. Deleting what is not
    /// there succeeds, as on AWS. Where more executions run than one step stops, it is only DELETING when this answers.
    pub async fn delete_machine(&self, caller: &Caller, arn_text: &str) -> Result<(), Error> {
        let arn = arn::machine(caller, arn_text)?;
        if arn.qualifier.is_some() {
            let text = format!(
                "A version or an alias is deleted by DeleteStateMachineVersion or DeleteStateMachineAlias: '{arn}'"
            );
            return Err(Error::rejected(Code::ValidationException, text));
        }
        if functions::is_of_events(&arn) {
            let text = format!(
                "'{arn}' stands for the calls of a function that nobody waits for, and is not deleted apart from it: delete the function, or stop its executions one by one"
            );
            return Err(Error::rejected(Code::ValidationException, text));
        }
        let turn = self.node().deletions.begin(&intent_name(caller, &arn));
        // Also when another call has the turn: it may fail before it has marked the machine, or be over but for its turn.
        if !self.mark_deleting(caller, &arn).await? {
            return Ok(());
        }
        let Some(turn) = turn else {
            // Who has the turn goes on with it, or whoever keeps the installation.
            return Ok(());
        };
        let mut stopping = self.stopping(caller, &arn).await?;
        for _ in 0..stopping.lists.len() {
            self.stop_some(&mut stopping).await?;
        }
        if stopping.lists.is_empty() {
            return self.delete_marked(caller, &arn).await;
        }
        self.delete_in_background(caller, &arn, turn, Some(stopping));
        Ok(())
    }

    /// Makes a machine take no more executions and changes, with a record of the intent to delete it; false when there
    /// is no such machine.
    async fn mark_deleting(&self, caller: &Caller, arn: &MachineArn) -> Result<bool, Error> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let mut held = match self.hold(caller, arn).await {
                Ok(held) => held,
                Err(Error::Rejected {
                    code: Code::StateMachineDoesNotExist,
                    ..
                }) => return Ok(false),
                // Another deletion is under way.
                Err(Error::Rejected {
                    code: Code::StateMachineDeleting,
                    ..
                }) => return Ok(true),
                Err(error) => return Err(error),
            };
            held.record.deleting = true;
            let intent = intent(caller, arn);
            if self.settle(caller, arn, held, vec![intent]).await? {
                return Ok(true);
            }
        }
        Err(crossed(arn))
    }

    /// Deletes a machine that takes no more changes, and whose executions were stopped.
    async fn delete_marked(&self, caller: &Caller, arn: &MachineArn) -> Result<(), Error> {
        let key = machine_key(caller, arn);
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            // Read first: only what was seen is deleted, since another deletion may be faster and the name in use again.
            let intent = self.record(&intent_key(caller, arn)).await?;
            let stored = self.record(&key).await?;
            let mut gone: Vec<CatalogRecord> = intent.into_iter().collect();
            let mut more = Vec::new();
            if let Some(stored) = stored
                && record::decode::<MachineRecord>(&stored.bytes)?.deleting
            {
                // While the intent stands: a line that is not told would be kept for ever.
                self.reconsider_lines(caller, arn).await?;
                more = self.dependents(caller, arn).await?;
                gone.push(stored);
            }
            let mut writes: Vec<CatalogWrite> = gone.into_iter().map(of).collect();
            writes.extend(more);
            let settled = self.verdict(Write::Catalog(writes)).await?.is_ok();
            self.machines_cache()
                .forget(&caller.tenant, &arn.record_name());
            if settled {
                return Ok(());
            }
        }
        Err(crossed(arn))
    }

    /// Whether a machine is there and being deleted: another node may have been faster, and the name in use again.
    async fn is_marked(&self, caller: &Caller, arn: &MachineArn) -> Result<bool, Error> {
        let stored = self.record(&machine_key(caller, arn)).await?;
        let record = stored.map(|stored| record::decode::<MachineRecord>(&stored.bytes));
        Ok(record.transpose()?.is_some_and(|record| record.deleting))
    }

    /// The deletions of a machine's versions and aliases.
    async fn dependents(
        &self,
        caller: &Caller,
        arn: &MachineArn,
    ) -> Result<Vec<CatalogWrite>, Error> {
        let prefix = versions::prefix(arn);
        let journal = &self.node().journal;
        let found = journal.scan(
            &caller.tenant,
            versions::KIND,
            &prefix,
            None,
            VERSIONS_MAX_RAISED,
        );
        let found = found.await.map_err(reader::broken)?;
        let gone = |key| CatalogWrite {
            key,
            expected: None,
            bytes: None,
        };
        let aliases = self.alias_records(caller, arn).await?;
        let all = found.into_iter().chain(aliases);
        Ok(all.map(|item| gone(item.key)).collect())
    }

    async fn stopping(&self, caller: &Caller, arn: &MachineArn) -> Result<Stopping, Error> {
        let mut lists = Vec::new();
        for kind in [MachineKind::Standard, MachineKind::Express] {
            lists.extend(self.scope(caller, arn, kind, false).await?);
        }
        Ok(Stopping {
            lists,
            before: None,
        })
    }

    /// Asks the next executions to stop, in one commit, and tells which. The list is over when there are no more in it.
    async fn stop_some(&self, stopping: &mut Stopping) -> Result<Vec<ExecutionRow>, Error> {
        let Some(list) = stopping.lists.last() else {
            return Ok(Vec::new());
        };
        let rows = self.node().journal.list(ListQuery {
            list: List::Scope(*list),
            status: Some(Status::Running),
            before: stopping.before,
            limit: DELETION_STOPS_MAX,
        });
        let rows = rows.await.map_err(reader::broken)?;
        self.post_stops(&rows).await?;
        stopping.before = rows.last().map(|row| row.id);
        if rows.len() < DELETION_STOPS_MAX as usize {
            stopping.lists.pop();
            stopping.before = None;
        }
        Ok(rows)
    }

    async fn post_stops(&self, rows: &[ExecutionRow]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let payload = record::encode(&InboxItem::Stop {
            error: None,
            cause: None,
        });
        let posts = rows.iter().map(|row| {
            Write::Post(Outgoing {
                to: row.id,
                payload: payload.clone(),
            })
        });
        let verdicts = self.node().write_all(posts.collect()).await;
        for (row, verdict) in rows.iter().zip(verdicts) {
            self.announce(verdict, row.id, payload.clone())?;
        }
        Ok(())
    }
}

/// The write that says that a machine is to be deleted.
fn intent(caller: &Caller, arn: &MachineArn) -> CatalogWrite {
    let intent = Intent {
        tenant: caller.tenant.clone(),
        region: caller.region.clone(),
        name: arn.name.clone(),
    };
    CatalogWrite {
        key: intent_key(caller, arn),
        expected: None,
        bytes: Some(record::encode(&intent)),
    }
}

fn intent_key(caller: &Caller, arn: &MachineArn) -> CatalogKey {
    CatalogKey {
        tenant: "".into(),
        kind: KIND.into(),
        name: intent_name(caller, arn),
    }
}

fn intent_name(caller: &Caller, arn: &MachineArn) -> Arc<str> {
    format!("{}/{}", caller.tenant, arn.record_name()).into()
}

/// The deletion of a record as it was seen.
fn of(record: CatalogRecord) -> CatalogWrite {
    CatalogWrite {
        key: record.key,
        expected: Some(record.revision),
        bytes: None,
    }
}

#[cfg(test)]
mod tests;
