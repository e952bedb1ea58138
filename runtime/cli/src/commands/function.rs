//! `plugin push` and what belongs to it: plugins that are uploaded to an installation, their versions and aliases.

mod upload;

use anyhow::anyhow;
use axum::http::Method;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use stepwell_egress::sigv4::canonical::encoded;
use stepwell_server::PREVIOUS_VERSION_HEADER;

use super::function_target::{Target, parts_of};
use crate::args::FunctionCommand;
use crate::client::{Client, Purpose, Refused, path_of};
use crate::exit::{Outcome, Stop};
use crate::sizes;
use crate::table::Table;
use crate::terminal::stdout_columns;

/// The code of what is not there.
const ABSENT: &str = "ResourceNotFoundException";

pub(super) async fn function(command: FunctionCommand) -> Outcome {
    match command {
        FunctionCommand::Push(args) => match &args.to {
            Some(to) => super::plugin_registry::push(&args, to).await,
            None => upload::push(&args).await,
        },
        FunctionCommand::Versions { name, json, place } => {
            let client = Client::open(&place, Purpose::Look).await?;
            let done = match name {
                Some(name) => versions(&client, &name, json).await,
                None => all(&client, json).await,
            };
            client.close().await;
            done
        }
        FunctionCommand::Alias {
            name,
            alias,
            version,
            place,
        } => {
            let client = Client::open(&place, Purpose::Look).await?;
            let done = point(&client, &name, &alias, &version).await;
            client.close().await;
            done
        }
        FunctionCommand::Rollback { name, alias, place } => {
            let client = Client::open(&place, Purpose::Look).await?;
            let done = rollback(&client, &name, &alias).await;
            client.close().await;
            done
        }
        FunctionCommand::Events(args) => super::plugin_events::events(args).await,
        FunctionCommand::Gc(args) => super::plugin_gc::gc(&args).await,
        FunctionCommand::Remove {
            name,
            version,
            place,
        } => {
            let client = Client::open(&place, Purpose::Look).await?;
            let done = remove(&client, &name, version.as_deref()).await;
            client.close().await;
            done
        }
    }
}

fn accepted<T>(client: &Client, name: &str, answer: Result<T, Refused>) -> Outcome<T> {
    answer.map_err(|refused| refused_by(client, name, &refused))
}

/// A refusal. Where it is that the plugin is not there, or the version or alias of it, also what lists those that are.
pub(super) fn refused_by(client: &Client, name: &str, refused: &Refused) -> Stop {
    let hint = match refused.code.as_str() {
        ABSENT => hint_of_absent(&client.flags(), name, &refused.message),
        _ => String::new(),
    };
    Stop::Usage(anyhow!("{refused}{hint}"))
}

fn hint_of_absent(flags: &str, name: &str, told: &str) -> String {
    let all = format!("`stepwell plugin versions{flags}` lists what was uploaded");
    match told.contains(&format!(":function:{name}:")) {
        true => format!(
            "\nhint: `stepwell plugin versions {name}{flags}` lists its versions and aliases, {all}"
        ),
        false => format!("\nhint: {all}"),
    }
}

async fn point(client: &Client, name: &str, alias: &str, version: &str) -> Outcome {
    set_alias(client, name, alias, &Target::alone(version)).await?;
    super::print(&stands_for(name, alias, &Target::alone(version)))
}

/// How the service begins to say that an alias is not there, of a function that is.
const NO_ALIAS: &str = "Cannot find alias";

/// What an alias stands for; none where the plugin has no such alias. One that is not there has none either, and is told as that.
async fn target_of(client: &Client, name: &str, alias: &str) -> Outcome<Option<Target>> {
    let path = format!("{}/aliases/{}", path_of(name), encoded(alias));
    match client.functions(Method::GET, &path, None).await? {
        Ok(alias) => Ok(Some(Target::of(&alias))),
        Err(refused) if is_without_alias(&refused) => Ok(None),
        Err(refused) => Err(refused_by(client, name, &refused)),
    }
}

fn is_without_alias(refused: &Refused) -> bool {
    refused.code == ABSENT && refused.message.starts_with(NO_ALIAS)
}

/// Weights that split calls between two versions go where an alias is to stand for one.
fn tell_weights_taken(alias: &str, before: Option<&Target>) {
    if let Some(before) = before.filter(|before| before.has_weights()) {
        say!("the weights of {alias} are taken away: it stood for {before}");
    }
}

/// Makes an alias, or changes the one that is there: one call that changes something, and one entry of the audit log.
async fn set_alias(client: &Client, name: &str, alias: &str, target: &Target) -> Outcome {
    let before = target_of(client, name, alias).await?;
    let path = format!("{}/aliases", path_of(name));
    let mut change = target.wire();
    change["Name"] = alias.into();
    let (method, path) = match before {
        Some(_) => (Method::PUT, format!("{path}/{}", encoded(alias))),
        None => (Method::POST, path),
    };
    let made = client.functions(method, &path, Some(&change)).await?;
    made.map_err(|refused| refused_by(client, name, &refused))?;
    tell_weights_taken(alias, before.as_ref());
    Ok(())
}

async fn rollback(client: &Client, name: &str, alias: &str) -> Outcome {
    let path = format!("{}/aliases/{}", path_of(name), encoded(alias));
    let (told, previous) = accepted(
        client,
        name,
        client
            .functions_told(&path, PREVIOUS_VERSION_HEADER)
            .await?,
    )?;
    let Some(previous) = previous.as_deref().and_then(Target::read) else {
        let now = Target::of(&told);
        return Err(Stop::Usage(anyhow!(
            "{alias} of {name} stands for {now}, and has stood for nothing else\nhint: `stepwell plugin alias {name} {alias} VERSION` lets it stand for another one; `stepwell plugin versions {name}` lists what there is"
        )));
    };
    // What it stood for before is that of the alias as it was read: who changes it meanwhile goes first.
    let back = rolled_back(&told, &previous);
    match client.functions(Method::PUT, &path, Some(&back)).await? {
        Ok(_) => super::print(&stands_for(name, alias, &previous)),
        Err(refused) if refused.code == "PreconditionFailedException" => Err(Stop::Usage(anyhow!(
            "{alias} of {name} was changed meanwhile by somebody else, and stays as they left it\nhint: `stepwell plugin versions {name}` shows what it stands for now"
        ))),
        Err(refused) => Err(refused_by(client, name, &refused)),
    }
}

/// The change that lets an alias, as it was told, stand for what it stood for before.
fn rolled_back(told: &Value, previous: &Target) -> Value {
    let mut back = previous.wire();
    back["RevisionId"] = told["RevisionId"].clone();
    back
}

fn stands_for(name: &str, alias: &str, target: &Target) -> String {
    format!("{alias} of {name} stands for {target}\n")
}

async fn remove(client: &Client, name: &str, version: Option<&str>) -> Outcome {
    let path = match version {
        Some(version) => format!("{}?Qualifier={}", path_of(name), encoded(version)),
        None => path_of(name),
    };
    accepted(
        client,
        name,
        client.functions(Method::DELETE, &path, None).await?,
    )?;
    let what = version.map_or_else(
        || name.to_owned(),
        |version| format!("version {version} of {name}"),
    );
    super::print(&format!("removed {what}; what runs goes on\n"))
}

/// All items of a list, of a plugin or, where there is no name, of all.
async fn pages(client: &Client, name: &str, path: &str, key: &str) -> Outcome<Vec<Value>> {
    let (mut items, mut marker) = (Vec::new(), None::<String>);
    loop {
        let at = match &marker {
            Some(marker) => format!("{path}?Marker={}", encoded(marker)),
            None => path.to_owned(),
        };
        let mut page = accepted(
            client,
            name,
            client.functions(Method::GET, &at, None).await?,
        )?;
        if let Some(Value::Array(more)) = page.get_mut(key).map(Value::take) {
            items.extend(more);
        }
        marker = page["NextMarker"].as_str().map(str::to_owned);
        if marker.is_none() {
            return Ok(items);
        }
    }
}

async fn all(client: &Client, as_json: bool) -> Outcome {
    let found = pages(client, "", "functions", "Functions").await?;
    if as_json {
        return super::print_json(&json!(found));
    }
    if found.is_empty() {
        say!("nothing was uploaded; `stepwell plugin push FILE` does");
        return Ok(());
    }
    let mut table = Table::new(&["plugin", "size", "memory", "time", "changed", "description"]);
    for one in &found {
        table.row([
            text(one, "FunctionName"),
            sizes::measured(one["CodeSize"].as_u64().unwrap_or(0)),
            format!("{} MiB", one["MemorySize"]),
            format!("{} s", one["Timeout"]),
            changed(one),
            text(one, "Description"),
        ]);
    }
    super::print(&table.whole(stdout_columns()))
}

async fn versions(client: &Client, name: &str, as_json: bool) -> Outcome {
    let versions = pages(
        client,
        name,
        &format!("{}/versions", path_of(name)),
        "Versions",
    )
    .await?;
    let aliases = pages(
        client,
        name,
        &format!("{}/aliases", path_of(name)),
        "Aliases",
    )
    .await?;
    if as_json {
        return super::print_json(&json!({"versions": versions, "aliases": aliases}));
    }
    let mut table = Table::new(&["version", "aliases", "sha256", "changed", "description"]);
    for one in &versions {
        let version = text(one, "Version");
        table.row([
            version.clone(),
            parts_of(&aliases, &version).join(", "),
            hex(&text(one, "CodeSha256")).chars().take(12).collect(),
            changed(one),
            text(one, "Description"),
        ]);
    }
    super::print(&table.whole(stdout_columns()))
}

fn text(of: &Value, key: &str) -> String {
    of[key].as_str().unwrap_or_default().to_owned()
}

/// When it was changed, as all times are shown here.
fn changed(of: &Value) -> String {
    text(of, "LastModified").replace("+0000", "Z")
}

/// A hash that the API has in Base64, as plugins are pinned by it.
fn hex(base64: &str) -> String {
    let bytes = STANDARD.decode(base64).unwrap_or_default();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_with_what_lists_it() {
        let told = |message: &str| hint_of_absent(" --data d", "pay", message);
        let absent = told("Function not found: arn:aws:lambda:us-east-1:000000000000:function:pay");
        assert_eq!(
            absent,
            "\nhint: `stepwell plugin versions --data d` lists what was uploaded"
        );
        let version =
            told("Function not found: arn:aws:lambda:us-east-1:000000000000:function:pay:9");
        assert!(
            version.starts_with(
                "\nhint: `stepwell plugin versions pay --data d` lists its versions and aliases"
            ),
            "{version}"
        );
    }

    #[test]
    fn an_alias_is_made_of_a_plugin_that_is_there_alone() {
        let told = |code: &str, message: &str| {
            is_without_alias(&Refused {
                code: code.to_owned(),
                message: message.to_owned(),
            })
        };
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:pay";
        assert!(told(ABSENT, &format!("Cannot find alias arn: {arn}:live")));
        assert!(!told(ABSENT, &format!("Function not found: {arn}")));
        assert!(!told("AccessDeniedException", "Cannot find alias"));
    }

    #[test]
    fn a_rollback_is_one_of_the_alias_as_it_was_read() {
        let told = json!({"Name": "live", "FunctionVersion": "2", "RevisionId": "r"});
        let back = rolled_back(&told, &Target::alone("1"));
        assert_eq!(
            (&back["FunctionVersion"], &back["RevisionId"]),
            (&json!("1"), &json!("r"))
        );
    }
}
