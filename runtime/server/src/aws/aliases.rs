//! Aliases of state machines: create, update, describe, list, delete. Wire types of these calls, AWS JSON 1.0.

use serde::{Deserialize, Serialize};
use stepwell_engine::{AliasMove, Caller, Code, CreateAlias, Error, Route};

use super::{
    fault::Fault,
    input::{Fields, Wire},
    operation::Call,
    wire::{Nothing, Seconds, json, page},
};
use crate::{auth, serve::ServerState};

/// The operations that make, change or delete an alias.
const MOVING: [&str; 3] = [
    "CreateStateMachineAlias",
    "DeleteStateMachineAlias",
    "UpdateStateMachineAlias",
];

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

/// What the alias of a request stands for and is to stand for; of other operations nothing. What cannot be read is refused by
/// whoever carries the request out.
pub(super) async fn alias_move(
    state: &ServerState,
    caller: &Caller,
    operation: &str,
    body: &[u8],
) -> Option<AliasMove> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Part {
        state_machine_version_arn: String,
        weight: f64,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wanted {
        routing_configuration: Option<Vec<Part>>,
    }
    if !MOVING.contains(&operation) {
        return None;
    }
    let wanted: Wanted = serde_json::from_slice(body).ok()?;
    let known = state.engine.alias(caller, &auth::resource(body)).await;
    let before = known.ok().map(|alias| {
        let routes = alias.routes.iter();
        versions_text(routes.map(|route| (&*route.version_arn, f64::from(route.weight))))
    });
    let asked = wanted.routing_configuration.map(|parts| {
        let parts = parts.iter();
        versions_text(parts.map(|part| (&*part.state_machine_version_arn, part.weight)))
    });
    let after = match operation {
        "DeleteStateMachineAlias" => None,
        _ => asked.or_else(|| before.clone()),
    };
    Some(AliasMove { before, after })
}

/// `2`, or with weights `2=90;3=10`.
fn versions_text<'a>(routes: impl Iterator<Item = (&'a str, f64)>) -> String {
    let number = |arn: &'a str| arn.rsplit(':').next().unwrap_or(arn);
    let routes: Vec<_> = routes.map(|(arn, weight)| (number(arn), weight)).collect();
    if let [(version, _)] = routes[..] {
        return version.to_owned();
    }
    let texts = routes
        .iter()
        .map(|(version, weight)| format!("{version}={weight}"));
    texts.collect::<Vec<_>>().join(";")
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
