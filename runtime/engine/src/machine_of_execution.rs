//! The state machine as an execution runs it. Hides what changed or went away since the start.

use stepwell_query::Value;

use crate::{
    api::{Caller, Machine, MachineSettings},
    arn::{self, MachineArn, Qualifier},
    engine::Engine,
    error::Error,
    journal::{ExecutionRow, ScopeId},
    machines::{machine_key, shown},
    reader,
    record::{self, MachineRecord},
};

impl Engine {
    /// The state machine as the execution runs it: the definition, role and revision of its start.
    pub async fn machine_of_execution(
        &self,
        caller: &Caller,
        arn_text: &str,
    ) -> Result<Machine, Error> {
        let (row, machine) = self.execution_row(caller, arn_text).await?;
        let meta: record::Meta = record::decode(&row.new.meta)?;
        let own = machine.unlabelled();
        let stored = self.record(&machine_key(caller, &own)).await?;
        let stored = stored.map(|stored| record::decode::<MachineRecord>(&stored.bytes));
        // Executions outlive their machine, and another one may have its name by now.
        let stored = stored
            .transpose()?
            .filter(|stored| {
                let same_type = machine.label().is_some() || stored.express != row.new.unique_name;
                same_type && stored.created_ms <= row.new.started_at.0
            })
            .unwrap_or_else(|| MachineRecord::deleted(&meta, !row.new.unique_name));
        let (text, _) = self.definition(&meta.definition).await?;
        let mut shown = shown(stored, &own, text);
        if let Some(settings) = self.settings_of(caller, &own, &row).await? {
            shown.settings = settings;
        }
        if meta.revised_ms > 0 {
            shown.revision_id = meta.revision_id;
            shown.updated_at = record::time(meta.revised_ms);
        }
        if let Some(label) = machine.label() {
            let start = reader::start_of_execution(self.node().journal.as_ref(), row.id).await?;
            let state = start.and_then(|start| start.processor_of);
            shown.arn = meta.machine_arn;
            shown.name = machine.name.as_str().into();
            shown.label = Some(label.into());
            shown.map_run_arn = meta.map_run;
            if let Some(processor) = state.and_then(|state| processor(&shown.definition, &state)) {
                shown.definition = processor.into();
            }
        }
        if let Some(role_arn) = reader::role_of(self.node().journal.as_ref(), row.id).await? {
            shown.role_arn = role_arn;
        }
        Ok(shown)
    }

    /// The settings of the version by which an execution was started, if there was one and it still exists.
    async fn settings_of(
        &self,
        caller: &Caller,
        machine: &MachineArn,
        row: &ExecutionRow,
    ) -> Result<Option<MachineSettings>, Error> {
        let meta: record::Meta = record::decode(&row.new.meta)?;
        let Some(version_arn) = meta.version_arn else {
            return Ok(None);
        };
        let Qualifier::Version(number) = arn::machine(caller, &version_arn)?.qualified() else {
            return Ok(None);
        };
        let version = self.version_record(caller, machine, number).await?;
        // The number may be that of another machine, which has the name now.
        let version = version.filter(|version| row.new.version == Some(ScopeId(version.list)));
        Ok(version.map(|version| MachineSettings {
            logging: version.logging,
            tracing: version.tracing,
            encryption: version.encryption,
        }))
    }
}

/// The text of the state machine that a Map state runs for each item.
fn processor(definition: &str, state: &str) -> Option<String> {
    let definition = Value::parse(definition).ok()?;
    processor_in(&definition, state).map(Value::to_json)
}

fn processor_in<'a>(machine: &'a Value, state: &str) -> Option<&'a Value> {
    let states = machine.get("States")?.as_object()?;
    let own = |of: &'a Value| of.get("ItemProcessor").or_else(|| of.get("Iterator"));
    if let Some(found) = states.get(state) {
        return own(found);
    }
    states.values().find_map(|of| {
        let branches = of.get("Branches").and_then(Value::as_array);
        let branches = branches.into_iter().flat_map(|branches| branches.iter());
        own(of)
            .into_iter()
            .chain(branches)
            .find_map(|inner| processor_in(inner, state))
    })
}
