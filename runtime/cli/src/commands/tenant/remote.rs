//! `tenant` on a running server: the same commands by its API, with an operator's access key. Hides the operations' names and
//! the shape of their answers; says which commands are left to whoever is beside the server.

use anyhow::anyhow;
use serde_json::{Value, json};
use stepwell_engine::{AliasMove, AuditEntry, Quotas};
use stepwell_server::WireQuotas;

use super::keys::{closed, damaged_row, say_no_keys, table};
use super::quotas::{changed_quotas, in_file, new_ceiling, say_mended, show, tell};
use super::{audit as log, damaged_note, say_none, tenants_table};
use crate::args::{KeysCommand, QuotaArgs, TenantCommand};
use crate::client::Client;
use crate::commands::{print, print_json, text, time};
use crate::exit::{Blame, Outcome, Stop};
use crate::terminal::named;

pub(super) async fn tenant(command: TenantCommand, endpoint: &str) -> Outcome {
    let client = Client::server(endpoint, None)?;
    let call = async |operation: &str, body: Value| {
        client.call(&format!("Stepwell.{operation}"), body).await
    };
    match command {
        TenantCommand::Add { account, name, .. } => {
            call("AddTenant", json!({"account": account, "name": name})).await?;
            say!(
                "added tenant {account}; `stepwell tenant keys add {account} --role admin --endpoint {endpoint}` makes its first access key"
            );
            Ok(())
        }
        TenantCommand::List { json, .. } => {
            list(&call("ListTenants", json!({})).await?["tenants"], json)
        }
        TenantCommand::Remove { account, .. } => {
            call("RemoveTenant", json!({"account": account})).await?;
            say!("removed tenant {account}; its audit log stays");
            Ok(())
        }
        TenantCommand::Set {
            account,
            quotas,
            ceiling,
            ..
        } => {
            let asked = ceiling;
            let ceiling = new_ceiling(&asked)?;
            if let Some(text) = &ceiling {
                let set = call("SetCeiling", json!({"account": account, "ceiling": text})).await;
                set.map_err(|stop| in_file(&asked, stop))?;
            }
            let is_changed = set(&client, &account, &quotas).await? || ceiling.is_some();
            let described = call("DescribeTenant", json!({"account": account})).await?;
            tell(&account, is_changed, &described)
        }
        TenantCommand::Show { account, json, .. } => show(
            &call("DescribeTenant", json!({"account": account})).await?,
            json,
        ),
        TenantCommand::Keys(command) => keys(&client, command).await,
        TenantCommand::KeyFile { .. } => Err(Stop::Usage(anyhow!(
            "the key file is beside the server\nhint: make it there, with --data or --key-file, and start the server anew"
        ))),
        TenantCommand::Rotate { .. } => Err(Stop::Usage(anyhow!(
            "the key file is beside the server\nhint: stop the server and rotate there, with --data"
        ))),
        TenantCommand::Audit {
            account,
            since,
            limit,
            json,
            ..
        } => {
            let asked = log::Asked {
                account: account.as_deref(),
                since,
                newest: limit,
                json,
            };
            audit(&client, asked).await
        }
    }
}

/// Whether any quota was changed.
async fn set(client: &Client, account: &str, changed: &QuotaArgs) -> Outcome<bool> {
    let described = client
        .call("Stepwell.DescribeTenant", json!({"account": account}))
        .await?;
    // A quota that this version does not know is an error here: it would be lifted.
    let quotas: WireQuotas = serde_json::from_value(described["quotas"].clone()).runtime()?;
    let quotas = Quotas::from(quotas);
    let were_damaged = quotas.damaged;
    let Some(quotas) = changed_quotas(quotas, changed) else {
        return Ok(false);
    };
    let quotas = WireQuotas::from(quotas);
    let body = json!({"account": account, "quotas": quotas});
    client.call("Stepwell.SetQuotas", body).await?;
    say_mended(account, were_damaged);
    Ok(true)
}

fn list(tenants: &Value, json: bool) -> Outcome {
    if json {
        return print_json(tenants);
    }
    if tenants.as_array().is_none_or(Vec::is_empty) {
        say_none();
        return Ok(());
    }
    let mut table = tenants_table();
    for tenant in tenants.as_array().into_iter().flatten() {
        let is_damaged = tenant["damaged"].as_bool().unwrap_or(false);
        table.row([
            named(text(tenant, "account")),
            text(tenant, "name").to_owned(),
            tenant["accessKeys"].to_string(),
            time(tenant, "creationDate"),
            damaged_note(text(tenant, "account"), is_damaged),
        ]);
    }
    print(&table.whole(None))
}

async fn keys(client: &Client, command: KeysCommand) -> Outcome {
    let (operation, id) = match command {
        KeysCommand::Add {
            account,
            role,
            description,
            json,
            ..
        } => {
            let body = json!({"account": account, "role": role, "description": description});
            let made = client.call("Stepwell.AddAccessKey", body).await?;
            return show_key(&made, json);
        }
        KeysCommand::List { account, json, .. } => {
            let body = account.map_or_else(|| json!({}), |account| json!({"account": account}));
            let found = client.call("Stepwell.ListAccessKeys", body).await?;
            return list_keys(&found["accessKeys"], json);
        }
        KeysCommand::Disable { id, .. } => ("Stepwell.DisableAccessKey", id),
        KeysCommand::Enable { id, .. } => ("Stepwell.EnableAccessKey", id),
        KeysCommand::Remove { id, .. } => ("Stepwell.RemoveAccessKey", id),
    };
    client
        .call(operation, json!({"accessKeyId": id}))
        .await
        .map(drop)
}

fn show_key(made: &Value, json: bool) -> Outcome {
    say!("the secret is kept sealed and not shown again");
    let text = |key: &str| text(made, key);
    if json {
        return print_json(
            &json!({"accessKeyId": text("accessKeyId"), "secretAccessKey": text("secretAccessKey"), "account": text("account"), "role": text("role")}),
        );
    }
    print(&format!(
        "export AWS_ACCESS_KEY_ID={}\nexport AWS_SECRET_ACCESS_KEY={}\n",
        text("accessKeyId"),
        text("secretAccessKey")
    ))
}

fn list_keys(keys: &Value, json: bool) -> Outcome {
    if json {
        return print_json(keys);
    }
    if keys.as_array().is_none_or(Vec::is_empty) {
        say_no_keys();
        return Ok(());
    }
    let mut table = table();
    for key in keys.as_array().into_iter().flatten() {
        let text = |name: &str| text(key, name).to_owned();
        let is = |name: &str| key[name].as_bool().unwrap_or(false);
        if is("damaged") {
            table.row(damaged_row(&text("accessKeyId"), key["closed"].as_str()));
            continue;
        }
        let disabled = is("disabled");
        table.row([
            text("accessKeyId"),
            text("account"),
            text("role"),
            if disabled { "disabled" } else { "enabled" }.to_owned(),
            time(key, "creationDate"),
            text("description"),
            closed(key["closed"].as_str()),
        ]);
    }
    print(&table.whole(None))
}

async fn audit(client: &Client, asked: log::Asked<'_>) -> Outcome {
    let mut printed = log::Printed::new(asked);
    let since = asked.since.map(|at| at.as_millisecond() as f64 / 1_000.0);
    let mut body = json!({"since": since.unwrap_or(0.0)});
    if let Some(account) = asked.account {
        body["account"] = json!(account);
    }
    loop {
        let mut page = client.call("Stepwell.GetAuditLog", body.clone()).await?;
        let entries = page["entries"].as_array().map_or(&[][..], Vec::as_slice);
        if !printed.page(entries.iter().map(line).collect())? {
            return Ok(());
        }
        match page["after"].take() {
            Value::Null => return printed.end(asked.account),
            after => body["after"] = after,
        }
    }
}

fn line(entry: &Value) -> log::Line {
    let told = |of: &Value, name: &str| of[name].as_str().map(str::to_owned);
    let text = |name: &str| text(entry, name).to_owned();
    let alias = Some(&entry["alias"]).filter(|alias| alias.is_object());
    log::Line {
        time: time(entry, "time"),
        entry: AuditEntry {
            key: text("key"),
            address: text("address"),
            operation: text("operation"),
            resource: text("resource"),
            alias: alias.map(|alias| AliasMove {
                before: told(alias, "before"),
                after: told(alias, "after"),
            }),
            request_id: text("requestId"),
            refused: told(entry, "refused"),
        },
    }
}
