//! `tenant`: accounts, their access keys, quotas and audit logs, in a store that no server holds or on a running server. Hides which.

mod audit;
mod keys;
mod quotas;
mod remote;

use anyhow::anyhow;
use serde_json::json;
use stepwell_engine::{Engine, Error, ListedTenant, Tenant};

use super::at_rest;
use crate::args::{KeysCommand, TenantCommand, TenantPlace};
use crate::exit::{Outcome, Stop};
use crate::table::Table;
use crate::terminal::named;
use audit::noted;

pub(super) use keys::vault_for;

pub(super) async fn tenant(command: TenantCommand) -> Outcome {
    if let Some(endpoint) = place(&command).endpoint() {
        return remote::tenant(command, &endpoint).await;
    }
    match command {
        TenantCommand::Add {
            account,
            name,
            place,
        } => {
            let host = at_rest::open_or_make(&place).await?;
            let added = add(&host.engine, &account, &name).await;
            host.close().await;
            added
        }
        TenantCommand::List { json, place } => {
            let host = at_rest::open(&place).await?;
            let listed = list(&host.engine, json).await;
            host.close().await;
            listed
        }
        TenantCommand::Remove { account, place } => {
            let host = at_rest::open(&place).await?;
            let removed = remove(&host.engine, &account).await;
            host.close().await;
            removed
        }
        TenantCommand::Keys(command) => keys::keys(command).await,
        TenantCommand::KeyFile { place } => keys::make_key_file(&place).await,
        TenantCommand::Rotate { place } => keys::rotate(&place).await,
        TenantCommand::Set {
            account,
            quotas,
            ceiling,
            place,
        } => quotas::set(&account, &quotas, &ceiling, &place).await,
        TenantCommand::Show {
            account,
            json,
            place,
        } => quotas::show_here(&account, json, &place).await,
        TenantCommand::Audit {
            account,
            since,
            limit,
            json,
            place,
        } => {
            let asked = audit::Asked {
                account: account.as_deref(),
                since,
                newest: limit,
                json,
            };
            audit::show(asked, &place).await
        }
    }
}

/// Where a command's tenants are.
fn place(command: &TenantCommand) -> &TenantPlace {
    match command {
        TenantCommand::Add { place, .. }
        | TenantCommand::List { place, .. }
        | TenantCommand::Remove { place, .. }
        | TenantCommand::Set { place, .. }
        | TenantCommand::Show { place, .. }
        | TenantCommand::Rotate { place }
        | TenantCommand::KeyFile { place }
        | TenantCommand::Audit { place, .. }
        | TenantCommand::Keys(
            KeysCommand::Add { place, .. }
            | KeysCommand::List { place, .. }
            | KeysCommand::Disable { place, .. }
            | KeysCommand::Enable { place, .. }
            | KeysCommand::Remove { place, .. },
        ) => place,
    }
}

async fn add(engine: &Engine, account: &str, name: &str) -> Outcome {
    let change = engine.add_tenant(account, name);
    noted(engine, account, "stepwell:AddTenant", account, change).await?;
    say!(
        "added tenant {account}; `stepwell tenant keys add {account} --role admin` makes its first access key"
    );
    Ok(())
}

async fn list(engine: &Engine, json: bool) -> Outcome {
    let tenants = engine.listed_tenants().await.map_err(told)?;
    let keys = engine.access_keys(None).await.map_err(told)?;
    let count = |account: &str| keys.iter().filter(|key| &*key.account == account).count();
    if json {
        let tenants: Vec<_> = tenants
            .iter()
            .map(|ListedTenant { account, tenant }| match tenant {
                Some(Tenant { name, created_at, .. }) => {
                    json!({"account": account, "name": name, "created": time(created_at.0), "accessKeys": count(account)})
                }
                None => json!({"account": account, "accessKeys": count(account), "damaged": true}),
            })
            .collect();
        return super::print_json(&json!(tenants));
    }
    if tenants.is_empty() {
        say_none();
        return Ok(());
    }
    let mut table = tenants_table();
    for ListedTenant { account, tenant } in &tenants {
        let (name, created) = tenant.as_ref().map_or_else(Default::default, |tenant| {
            (tenant.name.to_string(), time(tenant.created_at.0))
        });
        table.row([
            named(account),
            name,
            count(account).to_string(),
            created,
            damaged_note(account, tenant.is_none()),
        ]);
    }
    super::print(&table.whole(None))
}

fn tenants_table() -> Table {
    Table::new(&["account", "name", "keys>", "created", "note"])
}

/// What is said of a tenant whose record is damaged, and how that is mended.
fn damaged_note(account: &str, is_damaged: bool) -> String {
    let has_name = account.bytes().all(|byte| byte.is_ascii_digit());
    match (is_damaged, has_name) {
        (true, true) => format!(
            "its record is damaged, so its access keys are refused: `stepwell tenant add {account}` mends it"
        ),
        (true, false) => {
            "its record is damaged, its number too: restore the store from a backup".to_owned()
        }
        (false, _) => String::new(),
    }
}

fn say_none() {
    say!("there are no tenants yet; `stepwell tenant add ACCOUNT` adds one");
}

async fn remove(engine: &Engine, account: &str) -> Outcome {
    let change = engine.remove_tenant(account);
    noted(engine, account, "stepwell:RemoveTenant", account, change).await?;
    say!("removed tenant {account}; its audit log stays");
    Ok(())
}

fn told(error: Error) -> Stop {
    match error {
        Error::Rejected { message, .. } => Stop::Usage(anyhow!(message)),
        Error::Busy(_)
        | Error::Held(_)
        | Error::Unopened(_)
        | Error::Unusable(_)
        | Error::Damaged(_)
        | Error::Broken(_) => Stop::Runtime(anyhow!("{error}")),
    }
}

fn time(ms: u64) -> String {
    let at = i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(String::new, |at| format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::at_rest::Missing;

    #[test]
    fn what_has_no_name_is_shown_without_one() {
        let row = keys::damaged_row("\u{10ffff}", None);
        assert_eq!(row[0], "(no name)");
        assert_eq!(keys::damaged_row("AKIA", None)[0], "AKIA");
    }

    #[tokio::test]
    async fn a_change_is_told_before_it_is_made_and_again_when_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let account = "111111111111";
        let Ok(host) = at_rest::open_at(folder.path(), None, None, Missing::Made).await else {
            panic!("a fresh directory opens");
        };
        let engine = &host.engine;
        assert!(add(engine, account, "").await.is_ok());
        assert!(add(engine, account, "").await.is_err());
        assert!(keys::remove_key(engine, "none").await.is_err());
        assert!(remove(engine, account).await.is_ok());
        let since = stepwell_interp::Timestamp(0);
        let log = engine.audited(account, since, None).await.unwrap();
        let told: Vec<(&str, Option<&str>)> = log
            .iter()
            .map(|found| (&*found.entry.operation, found.entry.refused.as_deref()))
            .collect();
        let (added, removed) = ("stepwell:AddTenant", "stepwell:RemoveTenant");
        let refused = Some("ConflictException");
        assert_eq!(
            told,
            [
                (added, None),
                (added, None),
                (added, refused),
                (removed, None)
            ]
        );
        assert_eq!(log[1].entry.request_id, log[2].entry.request_id);
        host.close().await;
    }
}
