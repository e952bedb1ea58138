//! `secret` and `connection`: what a tenant keeps sealed in the store, at a data directory or on a running server. Hides that both go by
//! the same calls.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde_json::{Value, json};

use super::tenant;
use crate::args::{ConnectionCommand, OwnerArgs, SecretCommand};
use crate::client::{Client, or_endpoint};
use crate::connections;
use crate::exit::{Blame, Outcome, Stop};
use crate::key_file;
use crate::table::Table;

/// Bytes of a secret (as the engine has it), and of the file with a connection (ours).
const SECRET_BYTES_MAX: u64 = 65_536;
const CONNECTION_BYTES_MAX: u64 = 1 << 20;

pub(super) async fn secret(command: SecretCommand) -> Outcome {
    match command {
        SecretCommand::Put {
            name,
            misplaced,
            file,
            owner,
        } => {
            let how = format!(
                "the secret is no argument, which others could see: `stepwell secret put {name} --file FILE`, or from stdin: `stepwell secret put {name} < FILE`"
            );
            if !misplaced.is_empty() {
                return Err(Stop::Usage(anyhow!(how)));
            }
            let file = named(file);
            let value = text(file.as_deref(), SECRET_BYTES_MAX, &how)?;
            let value = value.trim_end_matches(['\r', '\n']);
            let body = json!({"name": name, "value": value});
            put(&owner, "Secret", &name, body).await
        }
        SecretCommand::List { json, owner } => {
            let secrets = list(&owner, "Stepwell.ListSecrets", "secrets").await?;
            show(
                &secrets,
                json,
                &["name", "changed", "created", "note"],
                |secret| {
                    vec![
                        super::text(secret, "name").to_owned(),
                        super::time(secret, "lastModifiedDate"),
                        super::time(secret, "creationDate"),
                        note(secret, "--secrets"),
                    ]
                },
            )
        }
        SecretCommand::Delete { name, owner } => delete(&owner, "Secret", &name).await,
    }
}

pub(super) async fn connection(command: ConnectionCommand) -> Outcome {
    match command {
        ConnectionCommand::Put {
            name,
            file,
            description,
            private,
            owner,
        } => {
            let how = format!(
                "the connection is read from a file: `stepwell connection put {name} --file FILE`; docs/http-tasks.md has what it may hold"
            );
            let file = named(file);
            let text = text(file.as_deref(), CONNECTION_BYTES_MAX, &how)?;
            let origin = file.as_deref().map_or_else(
                || "stdin".to_owned(),
                |file| format!("`{}`", file.display()),
            );
            let folder = file.as_deref().and_then(Path::parent);
            let form = connections::one(&origin, folder.unwrap_or(Path::new("")), &text)?;
            let form = serde_json::to_value(form).runtime()?;
            let body = json!({"name": name, "connection": form, "description": description, "private": private});
            put(&owner, "Connection", &name, body).await
        }
        ConnectionCommand::List { json, owner } => {
            let connections = list(&owner, "Stepwell.ListConnections", "connections").await?;
            let columns = ["name", "authorization", "allow", "changed", "note"];
            show(&connections, json, &columns, |connection| {
                vec![
                    super::text(connection, "name").to_owned(),
                    super::text(connection, "authorization").to_owned(),
                    origins(&connection["allow"]),
                    super::time(connection, "lastModifiedDate"),
                    note(connection, "--connections"),
                ]
            })
        }
        ConnectionCommand::Delete { name, owner } => delete(&owner, "Connection", &name).await,
    }
}

/// The file that was named; `-` stands for stdin, as elsewhere.
fn named(file: Option<PathBuf>) -> Option<PathBuf> {
    file.filter(|file| file.as_path() != Path::new("-"))
}

/// The text of a file, or of stdin where somebody wrote into that; `how` says how to give it.
fn text(file: Option<&Path>, bytes_max: u64, how: &str) -> Outcome<String> {
    let (source, name): (Box<dyn Read>, String) = match file {
        Some(path) => {
            let name = format!("`{}`", path.display());
            let file = std::fs::File::open(path);
            let file = file
                .with_context(|| format!("{name} cannot be read"))
                .usage()?;
            (Box::new(file), name)
        }
        None if std::io::stdin().is_terminal() => return Err(Stop::Usage(anyhow!("{how}"))),
        None => (Box::new(std::io::stdin().lock()), "stdin".to_owned()),
    };
    let mut bytes = Vec::new();
    // A line break at the end is none of the value.
    let read = source.take(bytes_max + 3).read_to_end(&mut bytes);
    read.with_context(|| format!("{name} cannot be read"))
        .usage()?;
    if bytes.len() as u64 > bytes_max + 2 {
        return Err(Stop::Usage(anyhow!(
            "{name} has more than {bytes_max} bytes, which is as many as there may be"
        )));
    }
    String::from_utf8(bytes)
        // Not with the error, which may repeat the text.
        .map_err(|_| Stop::Usage(anyhow!("{name} is not UTF-8 text")))
}

/// What is asked; `seals` where the key file is needed for it.
async fn client(owner: &OwnerArgs, seals: bool) -> Outcome<Client> {
    let place = &owner.place;
    if let Some(endpoint) = place.endpoint() {
        return Client::server(&endpoint, None);
    }
    let store = place.store();
    let store = store.map_err(|why| Stop::Usage(anyhow!("{why}")))?;
    let data = place.data();
    let path = key_file::place(place.key_file.as_deref(), &data);
    if seals && !path.exists() {
        // A new key must not leave closed what is there.
        let opened = tenant::open_with(&data, store.as_ref(), None).await;
        let host = opened.map_err(or_endpoint)?;
        let made = tenant::vault_for(&host.engine, &path).await;
        host.close().await;
        made?;
    }
    let vault = match path.exists() || place.key_file.is_some() {
        true => Some(key_file::read(&path)?),
        false => None,
    };
    let opened = tenant::open_with(&data, store.as_ref(), vault).await;
    Ok(Client::here(opened.map_err(or_endpoint)?, None))
}

fn of_owner(owner: &OwnerArgs, mut body: Value) -> Value {
    if let Some(account) = &owner.tenant {
        body["account"] = json!(account);
    }
    body
}

async fn put(owner: &OwnerArgs, what: &str, name: &str, body: Value) -> Outcome {
    let client = client(owner, true).await?;
    let body = of_owner(owner, body);
    let put = client.call(&format!("Stepwell.Put{what}"), body).await;
    client.close().await;
    let put = put?;
    let created = put["created"].as_bool().unwrap_or(true);
    say!("{} {name}", if created { "created" } else { "replaced" });
    if put["hidden"].as_bool().unwrap_or(false) {
        say!(
            "it counts for nothing as long as the operator's file has one of that name: that one comes first"
        );
    }
    Ok(())
}

async fn delete(owner: &OwnerArgs, what: &str, name: &str) -> Outcome {
    let client = client(owner, false).await?;
    let body = of_owner(owner, json!({"name": name}));
    let deleted = client.call(&format!("Stepwell.Delete{what}"), body).await;
    client.close().await;
    deleted?;
    say!("deleted {name}");
    Ok(())
}

/// All that there are.
async fn list(owner: &OwnerArgs, operation: &str, member: &str) -> Outcome<Vec<Value>> {
    let client = client(owner, false).await?;
    let listed = all(&client, of_owner(owner, json!({})), operation, member).await;
    client.close().await;
    listed
}

pub(super) async fn all(
    client: &Client,
    mut body: Value,
    operation: &str,
    member: &str,
) -> Outcome<Vec<Value>> {
    let mut all = Vec::new();
    loop {
        let mut page = client.call(operation, body.clone()).await?;
        if let Some(Value::Array(more)) = page.get_mut(member).map(Value::take) {
            all.extend(more);
        }
        match page["after"].take() {
            Value::Null => return Ok(all),
            after => body["after"] = after,
        }
    }
}

fn show(
    items: &[Value],
    as_json: bool,
    columns: &[&'static str],
    row: impl Fn(&Value) -> Vec<String>,
) -> Outcome {
    if as_json {
        return super::print_json(&json!(items));
    }
    let mut table = Table::new(columns);
    for item in items {
        table.row(row(item));
    }
    super::print(&table.take(None))
}

/// Why one that is there counts for nothing, or that it may do more than others.
fn note(item: &Value, flag: &str) -> String {
    let hidden = item["hidden"].as_bool().unwrap_or(false);
    let private = item["private"].as_bool().unwrap_or(false);
    match (hidden, private) {
        (true, _) => format!("hidden by the file of {flag}"),
        (false, true) => "may reach private addresses".to_owned(),
        (false, false) => String::new(),
    }
}

/// Where a connection may go, as it was written.
fn origins(allow: &Value) -> String {
    let one = |rule: &Value| match rule {
        Value::String(origin) => origin.clone(),
        other => {
            let methods = other["methods"].as_array().into_iter().flatten();
            let methods: Vec<&str> = methods.filter_map(Value::as_str).collect();
            let (origin, path) = (super::text(other, "origin"), super::text(other, "path"));
            format!("{} {origin}{path}", methods.join(","))
                .trim()
                .to_owned()
        }
    };
    let all: Vec<String> = allow.as_array().into_iter().flatten().map(one).collect();
    all.join(", ")
}
