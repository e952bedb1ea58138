//! Calls about map runs: describe, list, update, and the executions of one. Hides that one in memory knows more than the
//! store.

use stepwell_interp::{MapRunChange, MapRunView};
use tokio::sync::oneshot;

use crate::{
    api::{Caller, ExecutionSummary, MapRunDescription, MapRunSummary, Page, PageRequest, Status},
    arn,
    engine::Engine,
    error::{Code, Error},
    journal::{ExecutionId, ExecutionRow, List, ListQuery, Outgoing, Write},
    map_run, pages, reader,
    record::{self, InboxItem, Meta},
    shard::{In, Subject},
};

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
        pages::try_map(found, |row| {
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

    /// Child executions of a map run, newest first.
    pub async fn map_run_executions(
        &self,
        caller: &Caller,
        arn: &str,
        status: Option<Status>,
        page: PageRequest,
    ) -> Result<Page<ExecutionSummary>, Error> {
        self.map_run_row(caller, arn).await?;
        let status_text = status
            .map(|status| format!("{status:?}"))
            .unwrap_or_default();
        let list = self.list(caller, &["map-run-executions", arn, &status_text]);
        let size = pages::size(&page);
        let rows = self.node().journal.list(ListQuery {
            list: List::Scope(map_run::children_scope(arn)),
            status,
            before: list.number(&page).await?.map(ExecutionId),
            limit: size + 1,
        });
        let rows = rows.await.map_err(reader::broken)?;
        let found = list.cut(rows, size, |row| row.id.0.to_string()).await?;
        pages::try_map(found, |row| reader::summary(&row))
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
