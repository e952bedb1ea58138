//! Aliases of state machines: create, update, describe, list, delete. Wire types of these calls, AWS JSON 1.0.

use serde::Serialize;
use stepwell_engine::{Code, CreateAlias, Error, Route};

use super::{
    fault::Fault,
    input::{Fields, Wire},
    operation::Call,
    wire::{Nothing, Seconds, json, page},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    state_machine_alias_arn: &'a str,
    creation_date: Seconds,
}

pub(super) async fn create(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let input = &mut call.input;
    let request = CreateAlias {
        name: input.required("name"),
        description: input.text("description"),
        routes: routes(input).unwrap_or_default(),
    };
    let created = call.state.engine.create_alias(&call.caller, request).await;
    let alias = created.map_err(refused_routing)?;
    json(&Item {
        state_machine_alias_arn: &alias.arn,
        creation_date: Seconds(alias.created_at.0),
    })
}

pub(super) async fn update(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        update_date: Seconds,
    }
    let input = &mut call.input;
    let arn = input.required("stateMachineAliasArn");
    let (description, routes) = (input.text("description"), routes(input));
    if description.is_none() && routes.is_none() {
        let text = "Either the description or the RoutingConfiguration must be specified";
        return Err(Fault::validation(text).because("MISSING_REQUIRED_PARAMETER"));
    }
    let updated = call
        .state
        .engine
        .update_alias(&call.caller, &arn, description, routes)
        .await;
    json(&Answer {
        update_date: Seconds(updated.map_err(refused_routing)?.updated_at.0),
    })
}

pub(super) async fn describe(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Part<'a> {
        state_machine_version_arn: &'a str,
        weight: u32,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        state_machine_alias_arn: &'a str,
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        routing_configuration: Vec<Part<'a>>,
        creation_date: Seconds,
        update_date: Seconds,
    }
    let arn = call.input.required("stateMachineAliasArn");
    let alias = call.state.engine.alias(&call.caller, &arn).await?;
    let parts = alias.routes.iter().map(|route| Part {
        state_machine_version_arn: &route.version_arn,
        weight: route.weight,
    });
    json(&Answer {
        state_machine_alias_arn: &alias.arn,
        name: &alias.name,
        description: alias.description.as_deref(),
        routing_configuration: parts.collect(),
        creation_date: Seconds(alias.created_at.0),
        update_date: Seconds(alias.updated_at.0),
    })
}

pub(super) async fn list(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        state_machine_aliases: Vec<Item<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_token: Option<&'a str>,
    }
    let arn = call.input.required("stateMachineArn");
    let page = page(&mut call.input);
    let found = call.state.engine.aliases(&call.caller, &arn, page).await?;
    let items = found.items.iter().map(|alias| Item {
        state_machine_alias_arn: &alias.arn,
        creation_date: Seconds(alias.created_at.0),
    });
    json(&Answer {
        state_machine_aliases: items.collect(),
        next_token: found.next_token.as_deref(),
    })
}

pub(super) async fn delete(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let arn = call.input.required("stateMachineAliasArn");
    call.state.engine.delete_alias(&call.caller, &arn).await?;
    json(&Nothing {})
}

/// Takes the member `routingConfiguration`; the check saw to its members.
fn routes(input: &mut Fields<'_>) -> Option<Vec<Route>> {
    let route = |item| match item {
        Wire::Structure(mut fields) => Some(Route {
            version_arn: fields.required("stateMachineVersionArn").into(),
            weight: u32::try_from(fields.number("weight")?).ok()?,
        }),
        Wire::Text(_) | Wire::Number(_) | Wire::Fraction(_) | Wire::Boolean(_) | Wire::List(_) => {
            None
        }
    };
    let items = input.list("routingConfiguration")?;
    Some(items.into_iter().filter_map(route).collect())
}

/// What the engine finds wrong in these calls is the routing.
fn refused_routing(error: Error) -> Fault {
    let routing = matches!(
        error,
        Error::Rejected {
            code: Code::ValidationException,
            ..
        }
    );
    let fault = Fault::from(error);
    if routing {
        fault.because("INVALID_ROUTING_CONFIGURATION")
    } else {
        fault
    }
}
