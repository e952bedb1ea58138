//! `secret` and `connection`: what a tenant keeps sealed in the store, at a data directory or on a running server. Hides that both go by
//! the same calls.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde_json::{Value, json};

use super::at_rest::{self, Missing};
use super::tenant;
use crate::args::{AllKept, ConnectionCommand, OneKept, OwnerArgs, SecretCommand};
use crate::client::Client;
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
            one: OneKept { name, owner },
            misplaced,
            file,
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
        SecretCommand::List(all) => {
            let secrets = list(&all.owner, "Stepwell.ListSecrets", "secrets").await?;
            let closed = closed(&all.owner);
            let columns = ["name", "changed", "created", "note"];
            show(&secrets, &all, "secret", &columns, |secret| {
                vec![
                    super::text(secret, "name").to_owned(),
                    super::time(secret, "lastModifiedDate"),
                    super::time(secret, "creationDate"),
                    note(secret, "--secrets", &closed),
                ]
            })
        }
        SecretCommand::Delete(OneKept { name, owner }) => delete(&owner, "Secret", &name).await,
    }
}

pub(super) async fn connection(command: ConnectionCommand) -> Outcome {
    match command {
        ConnectionCommand::Put {
            one: OneKept { name, owner },
            file,
            description,
            private,
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
        ConnectionCommand::List(all) => {
            let connections = list(&all.owner, "Stepwell.ListConnections", "connections").await?;
            let closed = closed(&all.owner);
            let columns = ["name", "authorization", "allow", "changed", "note"];
            show(&connections, &all, "connection", &columns, |connection| {
                vec![
                    super::text(connection, "name").to_owned(),
                    super::text(connection, "authorization").to_owned(),
                    origins(&connection["allow"]),
                    super::time(connection, "lastModifiedDate"),
                    note(connection, "--connections", &closed),
                ]
            })
        }
        ConnectionCommand::Delete(OneKept { name, owner }) => {
            delete(&owner, "Connection", &name).await
        }
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

/// What is asked; `seals` where the key file is needed for it, which is made then, and so is the data directory.
async fn client(owner: &OwnerArgs, seals: bool) -> Outcome<Client> {
    let place = &owner.place;
    if let Some(endpoint) = place.endpoint() {
        return Client::server(&endpoint, None);
    }
    let store = at_rest::store(place)?;
    let data = place.data();
    let path = key_file::place(place.key_file.as_deref(), &data);
    let missing = match seals {
        true => Missing::Made,
        false => Missing::Refused,
    };
    if seals && !path.exists() {
        // A new key must not leave closed what is there.
        let host = at_rest::open_at(&data, store.as_ref(), None, missing).await?;
        let made = tenant::vault_for(&host.engine, &path).await;
        host.close().await;
        made?;
    }
    let vault = match path.exists() || place.key_file.is_some() {
        true => Some(key_file::read(&path)?),
        false => None,
    };
    let host = at_rest::open_at(&data, store.as_ref(), vault, missing).await?;
    Ok(Client::here(host, None))
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
    all: &AllKept,
    noun: &str,
    columns: &[&'static str],
    row: impl Fn(&Value) -> Vec<String>,
) -> Outcome {
    if all.json {
        return super::print_json(&json!(items));
    }
    if items.is_empty() {
        say!("there are no {noun}s; `stepwell {noun} put NAME --file FILE` keeps one");
        return Ok(());
    }
    let mut table = Table::new(columns);
    for item in items {
        table.row(row(item));
    }
    super::print(&table.whole(None))
}

/// What is said of one that the key does not open, and how that is mended.
fn closed(owner: &OwnerArgs) -> String {
    let place = &owner.place;
    let path = key_file::place(place.key_file.as_deref(), &place.data());
    match place.endpoint() {
        Some(_) => {
            "does not open: the server's key file does not have the key that sealed it; put it anew"
                .to_owned()
        }
        None if path.exists() => format!(
            "does not open: `{}` does not have the key that sealed it; name the key file that has it with --key-file, or put it anew",
            path.display()
        ),
        None => format!(
            "does not open: there is no key file `{}`; name the one that sealed it with --key-file",
            path.display()
        ),
    }
}

/// Why one that is there counts for nothing, or that it may do more than others.
fn note(item: &Value, flag: &str, closed: &str) -> String {
    let is = |key: &str| item[key].as_bool().unwrap_or(false);
    // A server of before does not tell.
    let opens = item["opens"].as_bool().unwrap_or(true);
    if is("hidden") {
        format!("hidden by the file of {flag}")
    } else if !opens {
        match item["closed"].as_str() {
            Some("changed") => "does not open: it was changed in the store since it was sealed; put it anew, or restore the store from a backup",
            Some("form") => "does not open: this version does not know its form; put it anew, or use the version that did",
            // No key, or a server of before, which says no more.
            Some(_) | None => closed,
        }
        .to_owned()
    } else if is("private") {
        "may reach private addresses".to_owned()
    } else {
        String::new()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_in_the_store_is_no_matter_of_keys() {
        let said = |closed: Value| {
            let item = json!({"opens": false, "closed": closed});
            note(&item, "--secrets", "no such key")
        };
        assert!(said(json!("changed")).contains("changed in the store"));
        assert!(said(json!("form")).contains("does not know its form"));
        for key in [json!("no-key"), Value::Null] {
            assert_eq!(said(key), "no such key");
        }
    }
}
