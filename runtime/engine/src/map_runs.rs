//! Calls about map runs: describe, list, update, and the executions of one. Hides that one in memory knows more than the
//! store.

use std::{collections::BTreeSet, sync::Arc};

use stepwell_interp::{MapRunChange, MapRunView};
use tokio::sync::oneshot;

use crate::{
    api::{Caller, ExecutionSummary, MapRunDescription, MapRunSummary, Page, PageRequest, Status},
    arn,
    engine::Engine,
    error::{Code, Error},
    journal::{ExecutionId, ExecutionRow, List, ListQuery, Outgoing, Write},
    map_run, pages, reader,
    record::{self, Child, InboxItem, Meta, Parent},
    shard::{In, Subject},
};

/// Which child executions a list is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChildFilter {
    pub status: Option<Status>,
    /// Only those that wait for their redrive.
    pub pending_redrive: bool,
    /// Only those that were redriven, or that were not.
    pub redriven: Option<bool>,
}

impl ChildFilter {
    fn fits(&self, child: &ExecutionSummary) -> bool {
        let by_status = match (self.pending_redrive, self.status) {
            (true, _) => child.pending_redrive,
            (false, Some(_)) => !child.pending_redrive,
            (false, None) => true,
        };
        let redriven = child.redrive_count > 0;
        by_status && self.redriven.is_none_or(|wanted| wanted == redriven)
    }
}

impl Engine {
    /// A map run by its ARN.
    pub async fn map_run(&self, caller: &Caller, arn: &str) -> Result<MapRunDescription, Error> {
        let (row, meta) = self.map_run_row(caller, arn).await?;
        let view = self.map_run_view(&row, &meta).await?;
        // It is durable that it is about to begin.
        let view = view.ok_or_else(|| Error::Busy("the map run is just starting".to_owned()))?;
        Ok(MapRunDescription {
            arn: view.start.arn.clone(),
            execution_arn: view.start.parent.execution_arn.clone(),
            status: row.view.status,
            started_at: row.new.started_at,
            stopped_at: row.view.stopped_at,
            concurrency: view.concurrency,
            tolerated_count: view.tolerated_count,
            tolerated_percentage: view.tolerated_percentage,
            items: view.items,
            executions: view.executions,
            expected_items: view.expected_items,
            redrive_count: row.view.redrive_count,
            redriven_at: row.view.redriven_at,
        })
    }

    /// Map runs of an execution, newest first.
    pub async fn map_runs(
        &self,
        caller: &Caller,
        execution_arn: &str,
        page: PageRequest,
    ) -> Result<Page<MapRunSummary>, Error> {
        let (execution, _) = self.execution_row(caller, execution_arn).await?;
        let meta: Meta = record::decode(&execution.new.meta)?;
        let execution_arn = reader::execution_arn(&meta, &execution.new.name);
        let list = self.list(caller, &["map-runs", &execution_arn]);
        let size = pages::size(&page);
        let rows = self.node().journal.list(ListQuery {
            list: List::Version(map_run::execution_scope(&execution_arn)),
            status: None,
            before: list.number(&page).await?.map(ExecutionId),
            limit: size + 1,
        });
        let rows = rows.await.map_err(reader::broken)?;
        let found = list.cut(rows, size, |row| row.id.0.to_string()).await?;
        self.shown_rows(found, |row| {
            let meta: Meta = record::decode(&row.new.meta)?;
            Ok(MapRunSummary {
                arn: reader::execution_arn(&meta, &row.new.name),
                execution_arn: execution_arn.clone(),
                machine_arn: meta.machine_arn,
                started_at: row.new.started_at,
                stopped_at: row.view.stopped_at,
            })
        })
    }

    /// Child executions of a map run, newest first. A page may be shorter than asked for.
    pub async fn map_run_executions(
        &self,
        caller: &Caller,
        arn: &str,
        filter: ChildFilter,
        page: PageRequest,
    ) -> Result<Page<ExecutionSummary>, Error> {
        let (row, _) = self.map_run_row(caller, arn).await?;
        let waiting = self.waiting_children(&row).await?;
        let filter_text = format!("{filter:?}");
        let list = self.list(caller, &["map-run-executions", arn, &filter_text]);
        let size = pages::size(&page);
        let rows = self.node().journal.list(ListQuery {
            list: List::Scope(map_run::children_scope(arn)),
            status: filter.status,
            before: list.number(&page).await?.map(ExecutionId),
            limit: size + 1,
        });
        let rows = rows.await.map_err(reader::broken)?;
        let found = list.cut(rows, size, |row| row.id.0.to_string()).await?;
        let mut found = self.shown_rows(found, |row| {
            let mut summary = reader::summary(row)?;
            summary.pending_redrive = waiting.contains(&row.new.name);
            Ok(summary)
        })?;
        found.items.retain(|child| filter.fits(child));
        Ok(found)
    }

    /// Names of the children of a map run that wait for their redrive.
    async fn waiting_children(&self, row: &ExecutionRow) -> Result<BTreeSet<Arc<str>>, Error> {
        if row.view.status != Status::Running || row.view.redrive_count == 0 {
            return Ok(BTreeSet::new());
        }
        let meta: Meta = record::decode(&row.new.meta)?;
        let view = self.map_run_view(row, &meta).await?;
        let waiting = view.iter().flat_map(|view| {
            let scope = map_run::children_scope(&view.start.arn);
            let names = view.waiting.iter();
            names.map(move |index| map_run::child_name(scope, *index))
        });
        Ok(waiting.collect())
    }

    /// Whether a child execution waits for its redrive by its map run.
    pub(crate) async fn waits_for_redrive(
        &self,
        row: &ExecutionRow,
        meta: &Meta,
    ) -> Result<bool, Error> {
        let of_item = |parent: &Parent| matches!(parent.of, Child::Item { .. });
        let (Some(parent), Status::Failed | Status::TimedOut | Status::Aborted) =
            (meta.parent.filter(of_item), row.view.status)
        else {
            return Ok(false);
        };
        let map_run = self.node().journal.execution(ExecutionId(parent.log)).await;
        match map_run.map_err(reader::broken)? {
            Some(map_run) => {
                let waiting = self.waiting_children(&map_run).await?;
                Ok(waiting.contains(&row.new.name))
            }
            None => Ok(false),
        }
    }

    /// Changes a running map run; durable when this answers.
    pub async fn update_map_run(
        &self,
        caller: &Caller,
        arn: &str,
        change: MapRunChange,
    ) -> Result<(), Error> {
        let (row, _) = self.map_run_row(caller, arn).await?;
        if row.view.status != Status::Running {
            let text = "Map Run is completed and can not be updated";
            return Err(Error::rejected(Code::ValidationException, text));
        }
        let payload = record::encode(&InboxItem::ChangeMapRun {
            concurrency: change.concurrency,
            tolerated_count: change.tolerated_count,
            tolerated_percentage: change.tolerated_percentage,
        });
        let post = Outgoing {
            to: row.id,
            payload: payload.clone(),
        };
        let landed = self.verdict(Write::Post(post)).await?;
        self.announce(landed, row.id, payload)
    }

    async fn map_run_row(&self, caller: &Caller, arn: &str) -> Result<(ExecutionRow, Meta), Error> {
        arn::check_map_run(caller, arn)?;
        let missing = || {
            let text = format!("Map Run Does Not Exist: '{arn}'");
            Error::rejected(Code::ResourceNotFound, text)
        };
        let journal = &self.node().journal;
        let name = arn.rsplit(':').next().unwrap_or_default();
        let found = journal.find(map_run::label_scope(arn), name).await;
        let id = found.map_err(reader::broken)?.ok_or_else(missing)?;
        let row = journal.execution(id).await.map_err(reader::broken)?;
        let row = row.ok_or_else(missing)?;
        let meta: Meta = record::decode(&row.new.meta)?;
        if meta.tenant != caller.tenant || meta.map_run.as_deref() != Some(arn) {
            return Err(missing());
        }
        Ok((row, meta))
    }

    /// What its shard knows, or else what its log folds to.
    async fn map_run_view(
        &self,
        row: &ExecutionRow,
        meta: &Meta,
    ) -> Result<Option<MapRunView>, Error> {
        if row.view.status == Status::Running {
            let (reply, view) = oneshot::channel();
            let map_run = row.id;
            self.node()
                .send(map_run, In::ViewMapRun { map_run, reply })?;
            if let Ok(Some(view)) = view.await {
                return Ok(Some(view));
            }
        }
        match reader::folded(self.node().journal.as_ref(), row, meta).await? {
            Subject::MapRun(run) => Ok(run.view()),
            Subject::Execution(_) => Ok(None),
        }
    }
}
