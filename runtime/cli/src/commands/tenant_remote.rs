//! `tenant` on a running server: the same commands by its API, with an operator's access key.

use anyhow::anyhow;
use serde_json::{Value, json};
use stepwell_engine::Quotas;
use stepwell_server::WireQuotas;

use super::tenant::{changed_quotas, new_ceiling, show};
use crate::args::{KeysCommand, QuotaArgs, TenantCommand};
use crate::client::Client;
use crate::exit::{Blame, Outcome, Stop};
use crate::table::Table;

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
            if let Some(text) = new_ceiling(&ceiling)? {
                call("SetCeiling", json!({"account": account, "ceiling": text})).await?;
            }
            set(&client, &account, &quotas).await
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
            json,
            ..
        } => {
            let since = since.map_or(0.0, |at| at.as_millisecond() as f64 / 1_000.0);
            audit(&client, &account, since, json).await
        }
    }
}

async fn set(client: &Client, account: &str, changed: &QuotaArgs) -> Outcome {
    let described = client
        .call("Stepwell.DescribeTenant", json!({"account": account}))
        .await?;
    // A quota that this version does not know is an error here: it would be lifted.
    let quotas: WireQuotas = serde_json::from_value(described["quotas"].clone()).runtime()?;
    let quotas = Quotas::from(quotas);
    let changed = changed_quotas(quotas.clone(), changed);
    if changed == quotas {
        return Ok(());
    }
    let quotas = WireQuotas::from(changed);
    let body = json!({"account": account, "quotas": quotas});
    client.call("Stepwell.SetQuotas", body).await.map(drop)
}

fn list(tenants: &Value, json: bool) -> Outcome {
    if json {
        return super::print_json(tenants);
    }
    let mut table = Table::new(&["account", "name", "keys>", "created"]);
    for tenant in tenants.as_array().into_iter().flatten() {
        table.row([
            super::text(tenant, "account").to_owned(),
            super::text(tenant, "name").to_owned(),
            tenant["accessKeys"].to_string(),
            super::time(tenant, "creationDate"),
        ]);
    }
    super::print(&table.take(None))
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
    let text = |key: &str| super::text(made, key);
    if json {
        return super::print_json(
            &json!({"accessKeyId": text("accessKeyId"), "secretAccessKey": text("secretAccessKey"), "account": text("account"), "role": text("role")}),
        );
    }
    super::print(&format!(
        "export AWS_ACCESS_KEY_ID={}\nexport AWS_SECRET_ACCESS_KEY={}\n",
        text("accessKeyId"),
        text("secretAccessKey")
    ))
}

fn list_keys(keys: &Value, json: bool) -> Outcome {
    if json {
        return super::print_json(keys);
    }
    let mut table = Table::new(&[
        "access key",
        "account",
        "role",
        "state",
        "created",
        "description",
    ]);
    for key in keys.as_array().into_iter().flatten() {
        let text = |name: &str| super::text(key, name).to_owned();
        let disabled = key["disabled"].as_bool().unwrap_or(false);
        table.row([
            text("accessKeyId"),
            text("account"),
            text("role"),
            if disabled { "disabled" } else { "enabled" }.to_owned(),
            super::time(key, "creationDate"),
            text("description"),
        ]);
    }
    super::print(&table.take(None))
}

async fn audit(client: &Client, account: &str, since: f64, json: bool) -> Outcome {
    let mut table = Table::new(&["time", "key", "address", "operation", "resource", "refused"]);
    let mut after = Value::Null;
    loop {
        let mut body = json!({"account": account, "since": since});
        if !after.is_null() {
            body["after"] = after;
        }
        let page = client.call("Stepwell.GetAuditLog", body).await?;
        for entry in page["entries"].as_array().into_iter().flatten() {
            let text = |name: &str| super::text(entry, name).to_owned();
            if json {
                let line = json!({"time": super::time(entry, "time"), "key": text("key"), "address": text("address"), "operation": text("operation"), "resource": text("resource"), "requestId": text("requestId"), "refused": entry["refused"]});
                super::print(&format!("{line}\n"))?;
                continue;
            }
            table.row([
                super::time(entry, "time"),
                text("key"),
                text("address"),
                text("operation"),
                text("resource"),
                text("refused"),
            ]);
        }
        after = page["after"].clone();
        if after.is_null() {
            return if json {
                Ok(())
            } else {
                super::print(&table.take(None))
            };
        }
    }
}
