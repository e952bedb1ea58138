//! Deletions that go on after the call was answered. Hides their turns: each asks a few executions to stop, waits until these
//! have ended, and lets the next deletion have its turn; so neither a shard's queue nor another deletion is held up by a machine
//! of a hundred thousand executions.
//!
//! Nothing here has to outlive the process: the intent does, and whoever keeps the installation begins anew with it.

use std::{collections::BTreeSet, sync::Arc};

use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep},
};

use super::{Intent, KIND, Stopping, intent_name};
use crate::{
    api::{Caller, Status},
    arn::MachineArn,
    engine::{Engine, WeakEngine},
    error::Error,
    journal::{CatalogRecord, ExecutionId, ExecutionRow, List, ListQuery, ScopeId},
    limits::{DELETION_LOOK, DELETION_STOP_TIME, DELETIONS_AT_A_TIME, ROWS_MAX},
    reader, record,
};

/// The deletions of this node.
pub(crate) struct Deletions {
    /// Names of their intents.
    under_way: watch::Sender<BTreeSet<Arc<str>>>,
    /// First come, first served: each takes one for a step, and lines up again.
    turns: Semaphore,
}

impl Default for Deletions {
    fn default() -> Deletions {
        Deletions {
            under_way: watch::Sender::default(),
            turns: Semaphore::new(DELETIONS_AT_A_TIME),
        }
    }
}

/// The one deletion of a machine that is under way on this node, until it is dropped.
pub(super) struct Turn {
    deletions: Arc<Deletions>,
    name: Arc<str>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.deletions.under_way.send_modify(|under_way| {
            under_way.remove(&self.name);
        });
    }
}

impl Deletions {
    /// Begins the deletion of an intent's name; `None` when it is under way.
    pub(super) fn begin(self: &Arc<Self>, name: &Arc<str>) -> Option<Turn> {
        let fresh = self
            .under_way
            .send_if_modified(|under_way| under_way.insert(name.clone()));
        fresh.then(|| Turn {
            deletions: self.clone(),
            name: name.clone(),
        })
    }

    /// Answers when no deletion is under way.
    #[cfg(test)]
    pub(super) async fn are_over(&self) {
        let mut under_way = self.under_way.subscribe();
        under_way
            .wait_for(BTreeSet::is_empty)
            .await
            .expect("it is kept");
    }

    /// Has no deletion go on in the background while this is held.
    #[cfg(test)]
    pub(super) async fn hold_back(&self) -> tokio::sync::SemaphorePermit<'_> {
        let all = u32::try_from(DELETIONS_AT_A_TIME).expect("they are few");
        self.turns.acquire_many(all).await.expect("it is kept open")
    }
}

impl Engine {
    /// Goes on with a deletion after the call was answered.
    pub(super) fn delete_in_background(
        &self,
        caller: &Caller,
        arn: &MachineArn,
        turn: Turn,
        stopping: Option<Stopping>,
    ) {
        let work = Work {
            engine: self.weak(),
            caller: caller.clone(),
            arn: arn.clone(),
            turn,
            stopping,
        };
        // When the node is closing, the next start takes it up.
        let _ = self.node().spawn_io(work.finish());
    }

    /// Goes on with all deletions that were begun, by this process or another one.
    pub(crate) async fn take_up_deletions(&self) -> Result<(), Error> {
        let mut after: Option<Arc<str>> = None;
        loop {
            let journal = &self.node().journal;
            let page = journal.scan("", KIND, "", after.as_deref(), ROWS_MAX).await;
            let page = page.map_err(reader::broken)?;
            for found in &page {
                // The others are none the worse for it.
                if let Err(error) = self.take_up_deletion(found) {
                    tracing::error!(intent = &*found.key.name, %error, "the deletion of a state machine cannot be taken up");
                }
            }
            after = page.last().map(|record| record.key.name.clone());
            if page.len() < ROWS_MAX as usize {
                return Ok(());
            }
        }
    }

    fn take_up_deletion(&self, found: &CatalogRecord) -> Result<(), Error> {
        let Intent {
            tenant,
            region,
            name,
        } = record::decode(&found.bytes)?;
        let caller = Caller { tenant, region };
        let arn = MachineArn::new(&caller, &name);
        if let Some(turn) = self.node().deletions.begin(&intent_name(&caller, &arn)) {
            self.delete_in_background(&caller, &arn, turn, None);
        }
        Ok(())
    }
}

/// One deletion. It keeps no engine open between two steps.
struct Work {
    engine: WeakEngine,
    caller: Caller,
    arn: MachineArn,
    turn: Turn,
    /// `None` until its first step.
    stopping: Option<Stopping>,
}

impl Work {
    async fn finish(mut self) {
        loop {
            let deletions = self.turn.deletions.clone();
            let Ok(_permit) = deletions.turns.acquire().await else {
                return;
            };
            let Some(engine) = self.engine.upgrade() else {
                return;
            };
            match self.step(&engine).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(machine = %self.arn, %error, "the deletion of a state machine is interrupted; it is taken up again");
                    return;
                }
            }
        }
    }

    /// Stops some executions, or deletes the machine when there are none left; true when it is over.
    async fn step(&mut self, engine: &Engine) -> Result<bool, Error> {
        let (caller, arn) = (&self.caller, &self.arn);
        if engine.is_marked(caller, arn).await? {
            if self.stopping.is_none() {
                self.stopping = Some(engine.stopping(caller, arn).await?);
            }
            if let Some(stopping) = &mut self.stopping
                && let Some(list) = stopping.lists.last().copied()
            {
                let asked = engine.stop_some(stopping).await?;
                return engine.await_stopped(list, &asked).await.map(|()| false);
            }
        }
        engine.delete_marked(caller, arn).await?;
        Ok(true)
    }
}

impl Engine {
    /// Waits until executions that were asked to stop have ended, or for a moment: newest first, as they are listed.
    async fn await_stopped(&self, list: ScopeId, asked: &[ExecutionRow]) -> Result<(), Error> {
        let (Some(newest), Some(oldest)) = (asked.first(), asked.last()) else {
            return Ok(());
        };
        let until = Instant::now() + DELETION_STOP_TIME;
        loop {
            let running = self.node().journal.list(ListQuery {
                list: List::Scope(list),
                status: Some(Status::Running),
                before: Some(ExecutionId(newest.id.0.saturating_add(1))),
                limit: 1,
            });
            let running = running.await.map_err(reader::broken)?;
            let left = running.first().is_some_and(|row| row.id >= oldest.id);
            if !left || Instant::now() >= until {
                return Ok(());
            }
            sleep(DELETION_LOOK).await;
        }
    }
}
