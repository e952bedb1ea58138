//! Versions and aliases of functions. Wire types, REST JSON.

use std::collections::BTreeMap;

use axum::http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use stepwell_engine::{
    AliasChange, AliasMove, AliasTarget, Caller, FunctionAlias, PublishFunction,
};

use super::{
    Answer, Call,
    configuration::{Configuration, LATEST, arn, version_text},
    fault::Fault,
    route::{Operation, Route},
};
use crate::serve::ServerState;

/// Wire form of PublishVersion.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Publish {
    #[serde(rename = "CodeSha256")]
    code_sha256: Option<String>,
    #[serde(rename = "Description")]
    description: Option<String>,
    #[serde(rename = "RevisionId")]
    revision_id: Option<String>,
}

pub(super) async fn publish(call: Call<'_>) -> Result<Answer, Fault> {
    let publish: Publish = call.input()?;
    let wanted = PublishFunction {
        description: publish.description.as_deref(),
        package_sha256: publish
            .code_sha256
            .as_deref()
            .filter(|text| !text.is_empty()),
        revision_id: publish.revision_id.as_deref(),
    };
    let engine = &call.state.engine;
    let published = engine
        .publish_function(&call.caller, call.route.function(), wanted)
        .await?;
    let published = Configuration::numbered(&call.caller, published);
    Ok(Answer::json(StatusCode::CREATED, &published))
}

pub(super) async fn list(call: Call<'_>) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Listed {
        versions: Vec<Configuration>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_marker: Option<String>,
    }
    let engine = &call.state.engine;
    let found = engine
        .function_versions(&call.caller, call.route.function(), call.page()?)
        .await?;
    let versions = found
        .items
        .into_iter()
        .map(|function| match function.version {
            Some(_) => Configuration::numbered(&call.caller, function),
            None => Configuration::of(&call.caller, function, Some(LATEST)),
        });
    let listed = Listed {
        versions: versions.collect(),
        next_marker: found.next_token,
    };
    Ok(Answer::json(StatusCode::OK, &listed))
}

/// Wire form of CreateAlias and UpdateAlias.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Wanted {
    name: Option<String>,
    function_version: Option<String>,
    description: Option<String>,
    routing_config: Option<Routing>,
    revision_id: Option<String>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct Routing {
    additional_version_weights: BTreeMap<String, f64>,
}

impl Wanted {
    fn change(self) -> AliasChange {
        AliasChange {
            version: self.function_version,
            description: self.description,
            weights: self
                .routing_config
                .map(|routing| routing.additional_version_weights),
            revision_id: self.revision_id,
        }
    }
}

/// The header that tells what an alias stood for before, which AWS does not tell: so the body is theirs. A version, and behind it
/// those with a part of all calls: `2`, or `2;3=0.1`.
pub const PREVIOUS_VERSION_HEADER: &str = "x-stepwell-previous-version";
const PREVIOUS_VERSION: HeaderName = HeaderName::from_static(PREVIOUS_VERSION_HEADER);

fn previous_text(target: &AliasTarget) -> String {
    target_text(version_text(target.version), &target.weights)
}

fn target_text<V: std::fmt::Display>(version: String, weights: &BTreeMap<V, f64>) -> String {
    let weights = weights.iter();
    let weights = weights.map(|(version, weight)| format!(";{version}={weight}"));
    version + &weights.collect::<String>()
}

/// What the alias of a request stands for and is to stand for; of other operations nothing. What cannot be read is refused by
/// whoever carries the request out.
pub(super) async fn alias_move(
    state: &ServerState,
    caller: &Caller,
    route: &Route,
    body: &[u8],
) -> Option<AliasMove> {
    let is_deleted = route.operation == Operation::DeleteAlias;
    let makes_or_changes = matches!(
        route.operation,
        Operation::CreateAlias | Operation::UpdateAlias
    );
    if !(is_deleted || makes_or_changes) || route.check_account(caller).is_err() {
        return None;
    }
    let wanted: Wanted = serde_json::from_slice(body).unwrap_or_default();
    let name = route.part.as_deref().or(wanted.name.as_deref());
    let (engine, name) = (&state.engine, name.unwrap_or_default());
    let known = engine.function_alias(caller, route.function(), name).await;
    let known = known.ok();
    let version = |alias: &FunctionAlias| version_text(alias.version);
    let before = known
        .as_ref()
        .map(|alias| target_text(version(alias), &alias.weights));
    let after = wanted
        .function_version
        .or_else(|| known.as_ref().map(version))
        .filter(|_| !is_deleted)
        .map(|version| match (&wanted.routing_config, &known) {
            (Some(routing), _) => target_text(version, &routing.additional_version_weights),
            (None, Some(alias)) => target_text(version, &alias.weights),
            (None, None) => version,
        });
    Some(AliasMove { before, after })
}

/// Wire form of an alias.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    alias_arn: String,
    name: String,
    function_version: String,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    routing_config: Option<Routing>,
    revision_id: String,
}

impl Shown {
    fn of(caller: &Caller, function: &str, alias: FunctionAlias) -> Shown {
        let weights = alias.weights.iter();
        let weights: BTreeMap<String, f64> = weights
            .map(|(version, weight)| (version.to_string(), *weight))
            .collect();
        Shown {
            alias_arn: arn(caller, function, Some(&alias.name)),
            name: alias.name,
            function_version: version_text(alias.version),
            description: alias.description,
            routing_config: (!weights.is_empty()).then_some(Routing {
                additional_version_weights: weights,
            }),
            revision_id: alias.revision_id,
        }
    }
}

impl Call<'_> {
    fn shown(&self, status: StatusCode, alias: FunctionAlias) -> Answer {
        let shown = Shown::of(&self.caller, self.route.function(), alias);
        Answer::json(status, &shown)
    }

    fn alias(&self) -> &str {
        self.route.part.as_deref().unwrap_or_default()
    }
}

pub(super) async fn create_alias(call: Call<'_>) -> Result<Answer, Fault> {
    let mut wanted: Wanted = call.input()?;
    let name = wanted.name.take().unwrap_or_default();
    if wanted.function_version.is_none() {
        return Err(Fault::validation(
            "Value at 'functionVersion' failed to satisfy constraint: Member must not be null",
        ));
    }
    wanted.revision_id = None;
    let (engine, function) = (&call.state.engine, call.route.function());
    let made = engine
        .create_function_alias(&call.caller, function, &name, wanted.change())
        .await?;
    Ok(call.shown(StatusCode::CREATED, made))
}

pub(super) async fn update_alias(call: Call<'_>) -> Result<Answer, Fault> {
    let change = call.input::<Wanted>()?.change();
    let (engine, function) = (&call.state.engine, call.route.function());
    let changed = engine
        .update_function_alias(&call.caller, function, call.alias(), change)
        .await?;
    Ok(call.shown(StatusCode::OK, changed))
}

pub(super) async fn get_alias(call: Call<'_>) -> Result<Answer, Fault> {
    let (engine, function) = (&call.state.engine, call.route.function());
    let found = engine
        .function_alias(&call.caller, function, call.alias())
        .await?;
    let previous = found.previous.as_ref().map(previous_text);
    let mut answer = call.shown(StatusCode::OK, found);
    let previous = previous.map(|text| (PREVIOUS_VERSION, text));
    answer.headers.extend(previous);
    Ok(answer)
}

pub(super) async fn delete_alias(call: Call<'_>) -> Result<Answer, Fault> {
    let (engine, function) = (&call.state.engine, call.route.function());
    engine
        .delete_function_alias(&call.caller, function, call.alias())
        .await?;
    Ok(Answer::nothing())
}

pub(super) async fn list_aliases(call: Call<'_>) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Listed {
        aliases: Vec<Shown>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_marker: Option<String>,
    }
    let (engine, function) = (&call.state.engine, call.route.function());
    let version = call.route.query.get("FunctionVersion");
    let found = engine
        .function_aliases(&call.caller, function, version, call.page()?)
        .await?;
    let aliases = found.items.into_iter();
    let listed = Listed {
        aliases: aliases
            .map(|alias| Shown::of(&call.caller, function, alias))
            .collect(),
        next_marker: found.next_token,
    };
    Ok(Answer::json(StatusCode::OK, &listed))
}
