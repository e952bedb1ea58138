//! State machines: create, update, describe, list, delete. Wire types of these calls, AWS JSON 1.0.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use stepwell_engine::{
    CreateMachine, Machine, MachineKind, MachineSettings, Publish, UpdateMachine,
};
use stepwell_query::Value;

use super::{
    fault::Fault,
    input::Fields,
    operation::Call,
    settings, tags,
    wire::{Nothing, Seconds, includes_data, json, page},
};

pub(super) async fn create(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        state_machine_arn: &'a str,
        creation_date: Seconds,
        #[serde(skip_serializing_if = "Option::is_none")]
        state_machine_version_arn: Option<&'a str>,
    }
    let input = &mut call.input;
    let publish = publication(input)?;
    let kind = if input.is("type", "EXPRESS") {
        MachineKind::Express
    } else {
        MachineKind::Standard
    };
    let request = CreateMachine {
        name: input.required("name"),
        definition: input.required("definition"),
        role_arn: input.required("roleArn"),
        kind,
        settings: settings::without_defaults(settings::take(input, &call.caller.tenant)?),
        tags: tags::take(input),
        publish,
    };
    let changed = call
        .state
        .engine
        .create_machine(&call.caller, request)
        .await?;
    json(&Answer {
        state_machine_arn: &changed.machine.arn,
        creation_date: Seconds(changed.machine.created_at.0),
        state_machine_version_arn: changed.version_arn.as_deref(),
    })
}

pub(super) async fn update(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        update_date: Seconds,
        #[serde(skip_serializing_if = "Option::is_none")]
        revision_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        state_machine_version_arn: Option<&'a str>,
    }
    let input = &mut call.input;
    let arn = input.required("stateMachineArn");
    let request = UpdateMachine {
        definition: input.text("definition"),
        role_arn: input.text("roleArn"),
        settings: settings::take(input, &call.caller.tenant)?,
        publish: publication(input)?,
    };
    let changes_settings = request.settings != MachineSettings::default();
    if request.definition.is_none() && request.role_arn.is_none() && !changes_settings {
        let message = "Either the definition, the role ARN, the LoggingConfiguration, or the TracingConfiguration must be specified";
        return Err(Fault::refused("MissingRequiredParameter", message));
    }
    let changed = call
        .state
        .engine
        .update_machine(&call.caller, &arn, request)
        .await?;
    json(&Answer {
        update_date: Seconds(changed.machine.updated_at.0),
        revision_id: changed.machine.revision_id.as_deref(),
        state_machine_version_arn: changed.version_arn.as_deref(),
    })
}

pub(super) async fn describe(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        status: &'a str,
        #[serde(rename = "type")]
        kind: &'a str,
        creation_date: Seconds,
        /// A version's.
        #[serde(rename = "description", skip_serializing_if = "Option::is_none")]
        words: Option<&'a str>,
        #[serde(flatten)]
        description: Description<'a>,
    }
    let with_data = includes_data(&mut call.input);
    let machine = call
        .state
        .engine
        .machine(&call.caller, &call.input.required("stateMachineArn"))
        .await?;
    json(&Answer {
        status: if machine.deleting {
            "DELETING"
        } else {
            "ACTIVE"
        },
        kind: kind_name(machine.kind),
        creation_date: Seconds(machine.created_at.0),
        words: machine.description.as_deref(),
        description: Description::of(&machine, with_data),
    })
}

pub(super) async fn describe_for_execution(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        update_date: Seconds,
        #[serde(flatten)]
        description: Description<'a>,
    }
    let with_data = includes_data(&mut call.input);
    let arn = call.input.required("executionArn");
    let machine = call
        .state
        .engine
        .machine_of_execution(&call.caller, &arn)
        .await?;
    json(&Answer {
        update_date: Seconds(machine.updated_at.0),
        description: Description::of(&machine, with_data),
    })
}

pub(super) async fn list(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Item<'a> {
        state_machine_arn: &'a str,
        name: &'a str,
        #[serde(rename = "type")]
        kind: &'a str,
        creation_date: Seconds,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        state_machines: Vec<Item<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_token: Option<&'a str>,
    }
    let found = call
        .state
        .engine
        .machines(&call.caller, page(&mut call.input))
        .await?;
    let state_machines = found
        .items
        .iter()
        .map(|machine| Item {
            state_machine_arn: &machine.arn,
            name: &machine.name,
            kind: kind_name(machine.kind),
            creation_date: Seconds(machine.created_at.0),
        })
        .collect();
    json(&Answer {
        state_machines,
        next_token: found.next_token.as_deref(),
    })
}

pub(super) async fn delete(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    call.state
        .engine
        .delete_machine(&call.caller, &call.input.required("stateMachineArn"))
        .await?;
    json(&Nothing {})
}

/// What both describing calls show.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Description<'a> {
    state_machine_arn: &'a str,
    name: &'a str,
    definition: &'a str,
    role_arn: &'a str,
    logging_configuration: Value,
    tracing_configuration: Value,
    encryption_configuration: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    map_run_arn: Option<&'a str>,
    /// By state, the variables it reads.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    variable_references: BTreeMap<Arc<str>, Vec<Arc<str>>>,
}

impl<'a> Description<'a> {
    fn of(machine: &'a Machine, with_data: bool) -> Description<'a> {
        let blocks = &machine.settings;
        Description {
            state_machine_arn: &machine.arn,
            name: &machine.name,
            definition: if with_data { &machine.definition } else { "{}" },
            role_arn: &machine.role_arn,
            logging_configuration: blocks
                .logging
                .clone()
                .unwrap_or_else(settings::default_logging),
            tracing_configuration: blocks
                .tracing
                .clone()
                .unwrap_or_else(settings::default_tracing),
            encryption_configuration: blocks
                .encryption
                .clone()
                .unwrap_or_else(settings::default_encryption),
            revision_id: machine.revision_id.as_deref(),
            label: machine.label.as_deref(),
            map_run_arn: machine.map_run_arn.as_deref(),
            variable_references: if with_data {
                variable_references(&machine.definition)
            } else {
                BTreeMap::new()
            },
        }
    }
}

/// The variables that each state reads. Most definitions have none, which shows without reading them.
fn variable_references(definition: &str) -> BTreeMap<Arc<str>, Vec<Arc<str>>> {
    if !definition.contains("\"Assign\"") {
        return BTreeMap::new();
    }
    stepwell_asl::load_stored(definition)
        .map(|program| program.variable_references())
        .unwrap_or_default()
}

fn kind_name(kind: MachineKind) -> &'static str {
    match kind {
        MachineKind::Standard => "STANDARD",
        MachineKind::Express => "EXPRESS",
    }
}

/// Takes the members by which a change publishes a version too.
fn publication(input: &mut Fields<'_>) -> Result<Option<Publish>, Fault> {
    let description = input.text("versionDescription");
    let publish = input.boolean("publish").unwrap_or(false);
    if description.is_some() && !publish {
        return Err(Fault::validation(
            "Version description can only be set when publish is true",
        ));
    }
    Ok(publish.then_some(Publish { description }))
}
