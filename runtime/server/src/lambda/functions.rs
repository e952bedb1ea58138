//! CreateFunction and its kin: what is uploaded, changed, told and deleted. Wire types, REST JSON.

use std::collections::BTreeMap;

use axum::http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use stepwell_engine::{Change, FunctionBounds, NewFunction};

use super::{
    Answer, Call,
    concurrency::Reserved,
    configuration::{Configuration, Settings},
    fault::Fault,
    package::Code,
    route,
};

/// Wire form of CreateFunction, beside the settings.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    function_name: String,
    #[serde(default)]
    code: Code,
    #[serde(default)]
    publish: bool,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

pub(super) async fn create(call: Call<'_>) -> Result<Answer, Fault> {
    let create: Create = call.input()?;
    let settings: Settings = call.input()?;
    let named = route::Named::of(&create.function_name);
    route::check_account(&named, &call.caller, call.route.operation)?;
    if named.qualifier.is_some() {
        return Err(Fault::invalid(
            "a new function has no version and no alias; leave the qualifier out of FunctionName",
        ));
    }
    let new = NewFunction {
        name: named.name,
        settings: settings.new_function()?,
        package: create.code.package()?,
        tags: create.tags.into_iter().collect(),
        publish: create.publish,
    };
    let made = call.state.engine.create_function(&call.caller, new).await?;
    let made = Configuration::numbered(&call.caller, made);
    Ok(Answer::json(StatusCode::CREATED, &made))
}

/// Wire form of UpdateFunctionCode, beside the code.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct UpdateCode {
    publish: bool,
    dry_run: bool,
    revision_id: Option<String>,
    architectures: Vec<String>,
}

pub(super) async fn update_code(call: Call<'_>) -> Result<Answer, Fault> {
    let update: UpdateCode = call.input()?;
    let code: Code = call.input()?;
    let change = Change {
        revision_id: update.revision_id.as_deref(),
        publish: update.publish,
        dry_run: update.dry_run,
        architecture: update.architectures.first().map(String::as_str),
    };
    let engine = &call.state.engine;
    let changed =
        engine.update_function_code(&call.caller, call.route.function(), code.package()?, change);
    let changed = Configuration::numbered(&call.caller, changed.await?);
    Ok(Answer::json(StatusCode::OK, &changed))
}

/// Wire form of UpdateFunctionConfiguration, beside the settings.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct UpdateConfiguration {
    revision_id: Option<String>,
}

pub(super) async fn update_configuration(call: Call<'_>) -> Result<Answer, Fault> {
    let update: UpdateConfiguration = call.input()?;
    let change = call.input::<Settings>()?.change()?;
    let revision = update.revision_id.as_deref();
    let engine = &call.state.engine;
    let changed =
        engine.update_function_settings(&call.caller, call.route.function(), change, revision);
    let changed = Configuration::numbered(&call.caller, changed.await?);
    Ok(Answer::json(StatusCode::OK, &changed))
}

pub(super) async fn get(call: Call<'_>) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Location {
        repository_type: &'static str,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Got {
        configuration: Configuration,
        code: Location,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        tags: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        concurrency: Option<Reserved>,
    }
    let qualifier = call.route.qualifier()?;
    let (engine, name) = (&call.state.engine, call.route.function());
    let (function, tags) = engine.function(&call.caller, name, qualifier).await?;
    let reserved = engine.function_concurrency(&call.caller, name).await?;
    let got = Got {
        configuration: Configuration::of(&call.caller, function, qualifier),
        // The code is kept in the store, and not given back.
        code: Location {
            repository_type: "Stepwell",
        },
        tags: tags.into_iter().collect(),
        concurrency: reserved.map(Reserved::of),
    };
    Ok(Answer::json(StatusCode::OK, &got))
}

pub(super) async fn get_configuration(call: Call<'_>) -> Result<Answer, Fault> {
    let qualifier = call.route.qualifier()?;
    let engine = &call.state.engine;
    let found = engine
        .function(&call.caller, call.route.function(), qualifier)
        .await?;
    let configuration = Configuration::of(&call.caller, found.0, qualifier);
    let mut answer = Answer::json(StatusCode::OK, &configuration);
    let bounds = engine.function_bounds(&call.caller);
    let bounds = bounds.as_ref().map(|bounds| (BOUNDS, bounds_text(bounds)));
    answer.headers.extend(bounds);
    Ok(answer)
}

/// The header that tells what an attempt has at most, whatever its function's settings say, which AWS does not tell: so the body
/// is theirs. Bytes and milliseconds: `memory=268435456;time=3000`.
pub const FUNCTION_BOUNDS_HEADER: &str = "x-stepwell-function-bounds";
const BOUNDS: HeaderName = HeaderName::from_static(FUNCTION_BOUNDS_HEADER);

fn bounds_text(bounds: &FunctionBounds) -> String {
    let (memory, time) = (bounds.memory_bytes, bounds.time.as_millis());
    format!("memory={memory};time={time}")
}

pub(super) async fn list(call: Call<'_>) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Listed {
        functions: Vec<Configuration>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_marker: Option<String>,
    }
    if call.route.query.get("FunctionVersion").is_some() {
        return Err(Fault::invalid(
            "FunctionVersion is not offered; ListVersionsByFunction lists the versions of a function",
        ));
    }
    let found = call
        .state
        .engine
        .functions(&call.caller, call.page()?)
        .await?;
    let functions = found.items.into_iter();
    let listed = Listed {
        functions: functions
            .map(|function| Configuration::of(&call.caller, function, None))
            .collect(),
        next_marker: found.next_token,
    };
    Ok(Answer::json(StatusCode::OK, &listed))
}

pub(super) async fn delete(call: Call<'_>) -> Result<Answer, Fault> {
    let qualifier = call.route.qualifier()?;
    let engine = &call.state.engine;
    engine
        .delete_function(&call.caller, call.route.function(), qualifier)
        .await?;
    Ok(Answer::nothing())
}

/// Functions are not signed: there is no configuration for it, which Terraform asks for.
pub(super) async fn code_signing(call: Call<'_>) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Unsigned<'a> {
        function_name: &'a str,
    }
    let name = call.route.function();
    call.state.engine.function(&call.caller, name, None).await?;
    let unsigned = Unsigned {
        function_name: name,
    };
    Ok(Answer::json(StatusCode::OK, &unsigned))
}
