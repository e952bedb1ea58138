//! The deletion of state machines. It takes several writes; an intent that names it stands from the first of them to
//! the last, and the next start finishes what it finds.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    aliases,
    api::{Caller, MachineKind, Status},
    arn::{self, MachineArn},
    engine::Engine,
    error::{Code, Error},
    journal::{CatalogKey, CatalogRecord, CatalogWrite, List, ListQuery, ScopeId, Write},
    limits::{CHANGE_ATTEMPTS_MAX, ROWS_MAX, VERSIONS_MAX_RAISED},
    machines::{crossed, machine_key},
    reader,
    record::{self, MachineRecord},
    versions,
};

/// Kind of the records of intents, which belong to the installation.
const KIND: &str = "deleting";

/// Stored form, codec v1: a machine that is to be deleted.
#[derive(Serialize, Deserialize)]
struct Intent {
    tenant: Arc<str>,
    region: Arc<str>,
    name: String,
}

impl Engine {
    /// Deletes a state machine with its versions and aliases, and stops its running executions. Deleting what is not
    /// there succeeds, as on AWS.
    pub async fn delete_machine(&self, caller: &Caller, arn_text: &str) -> Result<(), Error> {
        let arn = arn::machine(caller, arn_text)?;
        if arn.qualifier.is_some() {
            let text = format!(
                "A version or an alias is deleted by DeleteStateMachineVersion or DeleteStateMachineAlias: '{arn}'"
            );
            return Err(Error::rejected(Code::ValidationException, text));
        }
        if self.mark_deleting(caller, &arn).await? {
            self.delete_marked(caller, &arn).await?;
        }
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

    /// Deletes a machine that takes no more changes.
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
                self.stop_all(caller, arn).await?;
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
        let mut writes: Vec<CatalogWrite> = found.into_iter().map(|item| gone(item.key)).collect();
        for (name, _) in self.aliases_of(caller, arn).await? {
            writes.push(aliases::deletion(caller, arn, &name));
        }
        Ok(writes)
    }

    async fn stop_all(&self, caller: &Caller, arn: &MachineArn) -> Result<(), Error> {
        for kind in [MachineKind::Standard, MachineKind::Express] {
            if let Some(scope) = self.scope(caller, arn, kind, false).await? {
                self.stop_all_of(scope).await?;
            }
        }
        Ok(())
    }

    async fn stop_all_of(&self, scope: ScopeId) -> Result<(), Error> {
        let mut before = None;
        loop {
            let query = ListQuery {
                list: List::Scope(scope),
                status: Some(Status::Running),
                before,
                limit: ROWS_MAX,
            };
            let rows = self
                .node()
                .journal
                .list(query)
                .await
                .map_err(reader::broken)?;
            for row in &rows {
                self.post_stop(row.id, None, None).await?;
            }
            before = rows.last().map(|row| row.id);
            if rows.len() < ROWS_MAX as usize {
                return Ok(());
            }
        }
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
        name: format!("{}/{}", caller.tenant, arn.record_name()).into(),
    }
}

/// The deletion of a record as it was seen.
fn of(record: CatalogRecord) -> CatalogWrite {
    CatalogWrite {
        key: record.key,
        expected: Some(record.revision),
        bytes: None,
    }
}

/// Finishes all deletions that were begun.
pub(crate) async fn finish_all(engine: &Engine) -> Result<(), Error> {
    let mut after: Option<Arc<str>> = None;
    loop {
        let journal = &engine.node().journal;
        let page = journal.scan("", KIND, "", after.as_deref(), ROWS_MAX).await;
        let page = page.map_err(reader::broken)?;
        for found in &page {
            let Intent {
                tenant,
                region,
                name,
            } = record::decode(&found.bytes)?;
            let caller = Caller { tenant, region };
            let arn = MachineArn::new(&caller, &name);
            engine.delete_marked(&caller, &arn).await?;
        }
        after = page.last().map(|record| record.key.name.clone());
        if page.len() < ROWS_MAX as usize {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::Pin, sync::Arc};

    use stepwell_interp::OnCrash;

    use super::{Engine, finish_all};
    use crate::{
        Caller, Code, CreateMachine, Error, MachineKind, MachineSettings, Options, PluginCall,
        PluginEnd, StartRequest, Status, Store, TaskRunner, arn,
    };

    const HANGS: &str =
        r#"{"StartAt":"A","States":{"A":{"Type":"Task","Resource":"wasm:hang","End":true}}}"#;

    struct Hangs;

    impl TaskRunner for Hangs {
        fn run(&self, _: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
            Box::pin(std::future::pending())
        }

        fn on_crash(&self, _: &str, _: &str) -> OnCrash {
            OnCrash::Redispatch
        }
    }

    fn caller() -> Caller {
        Caller {
            tenant: "000000000000".into(),
            region: "us-east-1".into(),
        }
    }

    fn open(directory: &std::path::Path) -> Engine {
        let options = Options {
            store: Store::Directory(directory.to_owned()),
            raised_limits: false,
            take_up: true,
            shards: 1,
            storage: None,
            connections: Default::default(),
            services: Default::default(),
            observer: None,
        };
        Engine::open(options, Arc::new(Hangs)).unwrap()
    }

    fn machine() -> CreateMachine {
        CreateMachine {
            name: "m".into(),
            definition: HANGS.into(),
            role_arn: "arn:aws:iam::000000000000:role/none".into(),
            kind: MachineKind::Standard,
            settings: MachineSettings::default(),
            tags: Vec::new(),
            publish: None,
        }
    }

    #[test]
    fn the_next_start_finishes_a_deletion() {
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let (machine_arn, execution_arn) = runtime.block_on(async {
            let engine = open(directory.path());
            let created = engine.create_machine(&caller(), machine()).await.unwrap();
            let created = created.machine;
            let request = StartRequest {
                machine_arn: created.arn.to_string(),
                name: None,
                input: None,
                trace_header: None,
            };
            let started = engine.start(&caller(), request).await.unwrap();
            // As far as a process comes that is killed then.
            let arn = arn::machine(&caller(), &created.arn).unwrap();
            assert!(engine.mark_deleting(&caller(), &arn).await.unwrap());
            engine.shutdown().await;
            (created.arn, started.execution_arn)
        });
        runtime.block_on(async {
            let engine = open(directory.path());
            let stopped = engine.wait(&caller(), &execution_arn).await.unwrap();
            assert_eq!(stopped.status, Status::Aborted);
            // What the start began in the background may be a write away from its end.
            finish_all(&engine).await.unwrap();
            let gone = engine.machine(&caller(), &machine_arn).await;
            let code = Code::StateMachineDoesNotExist;
            assert!(
                matches!(&gone, Err(Error::Rejected { code: found, .. }) if *found == code),
                "{gone:?}"
            );
            engine.create_machine(&caller(), machine()).await.unwrap();
            finish_all(&engine).await.unwrap();
            engine.machine(&caller(), &machine_arn).await.unwrap();
            engine
                .delete_machine(&caller(), &machine_arn)
                .await
                .unwrap();
            engine.machine(&caller(), &machine_arn).await.unwrap_err();
            engine.shutdown().await;
        });
    }
}
