//! `tenant`: accounts, their access keys, quotas and audit logs, in a store that no server holds.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::anyhow;
use serde_json::{Value, json};
use stepwell_engine::{
    AccessKey, AuditEntry, Audited, Engine, Error, Exceeding, Quotas, Rates, Role, Taken, Vault,
};
use stepwell_server::WireQuotas;
use uuid::Uuid;

use super::tenant_remote;
use crate::args::{
    CeilingArgs, CompileArgs, KeysCommand, LimitsArg, Most, QuotaArgs, StoreUrl, TenantCommand,
    TenantPlace,
};
use crate::client::or_endpoint;
use crate::exit::{Blame, Outcome, Stop};
use crate::given;
use crate::host::{self, Host, Opening};
use crate::key_file;
use crate::table::Table;
use crate::telemetry::Listeners;

pub(super) async fn tenant(command: TenantCommand) -> Outcome {
    if let Some(endpoint) = place(&command).endpoint() {
        return tenant_remote::tenant(command, &endpoint).await;
    }
    match command {
        TenantCommand::Add {
            account,
            name,
            place,
        } => {
            let host = open(&place).await?;
            let added = add(&host.engine, &account, &name).await;
            host.close().await;
            added
        }
        TenantCommand::List { json, place } => {
            let host = open(&place).await?;
            let listed = list(&host.engine, json).await;
            host.close().await;
            listed
        }
        TenantCommand::Remove { account, place } => {
            let host = open(&place).await?;
            let removed = remove(&host.engine, &account).await;
            host.close().await;
            removed
        }
        TenantCommand::Keys(command) => keys(command).await,
        TenantCommand::KeyFile { place } => make_key_file(&place).await,
        TenantCommand::Rotate { place } => {
            let host = open(&place).await?;
            let rotated = rotate(
                &host.engine,
                &key_file::place(place.key_file.as_deref(), &place.data()),
            )
            .await;
            host.close().await;
            rotated
        }
        TenantCommand::Set {
            account,
            quotas,
            ceiling,
            place,
        } => set(&account, &quotas, &ceiling, &place).await,
        TenantCommand::Show {
            account,
            json,
            place,
        } => show_here(&account, json, &place).await,
        TenantCommand::Audit {
            account,
            since,
            json,
            place,
        } => {
            let host = open(&place).await?;
            let since = since.map_or(0, |at| u64::try_from(at.as_millisecond()).unwrap_or(0));
            let shown = audit(&host.engine, &account, since, json).await;
            host.close().await;
            shown
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

async fn set(
    account: &str,
    changed: &QuotaArgs,
    ceiling: &CeilingArgs,
    place: &TenantPlace,
) -> Outcome {
    let ceiling = new_ceiling(ceiling)?;
    let host = open(place).await?;
    let engine = &host.engine;
    let set = async {
        if let Some(text) = &ceiling {
            let change = engine.set_ceiling(account, text.as_deref());
            noted(engine, account, "stepwell:SetCeiling", account, change).await?;
        }
        let (quotas, _) = engine.quotas(account).await.map_err(told)?;
        let changed = changed_quotas(quotas.clone(), changed);
        if changed == quotas {
            return Ok(());
        }
        let change = engine.set_quotas(account, changed);
        noted(engine, account, "stepwell:SetQuotas", account, change).await
    };
    let set = set.await;
    host.close().await;
    set
}

async fn show_here(account: &str, json: bool, place: &TenantPlace) -> Outcome {
    let host = open(place).await?;
    let found = host.engine.quotas(account).await;
    let ceiling = host.engine.ceiling(account).await;
    host.close().await;
    let (quotas, taken) = found.map_err(told)?;
    let ceiling = ceiling.map_err(told)?;
    let quotas = serde_json::to_value(WireQuotas::from(quotas)).runtime()?;
    let Taken {
        open_executions,
        running_tasks,
        stored_bytes,
    } = taken;
    let taken = json!({"openExecutions": open_executions, "runningTasks": running_tasks, "storedBytes": stored_bytes});
    show(
        &json!({"account": account, "quotas": quotas, "taken": taken, "ceiling": ceiling}),
        json,
    )
}

/// The text of the ceiling that the arguments name, or that there shall be none; nothing when they name neither.
pub(super) fn new_ceiling(args: &CeilingArgs) -> Outcome<Option<Option<String>>> {
    match (&args.ceiling, args.no_ceiling) {
        (Some(path), _) => Ok(Some(Some(given::read(path)?))),
        (None, true) => Ok(Some(None)),
        (None, false) => Ok(None),
    }
}

/// The quotas with those changed that the arguments name.
pub(super) fn changed_quotas(mut quotas: Quotas, changed: &QuotaArgs) -> Quotas {
    if let Some(limits) = &changed.limits {
        quotas.raised_limits = match limits.as_str() {
            "raised" => Some(true),
            "strict" => Some(false),
            _ => None,
        };
    }
    if let Some(rates) = &changed.rates {
        quotas.rates = match rates.as_str() {
            "off" => Some(Rates::Off),
            "aws" => Some(Rates::Aws),
            _ => None,
        };
    }
    if !changed.rate.is_empty() {
        let mut set = match quotas.rates.take() {
            Some(Rates::Set(set)) => set,
            Some(Rates::Off | Rates::Aws) | None => BTreeMap::new(),
        };
        set.extend(changed.rate.iter().cloned());
        quotas.rates = Some(Rates::Set(set));
    }
    let counts = [
        (&mut quotas.open_executions, changed.open_executions),
        (&mut quotas.running_tasks, changed.running_tasks),
        (&mut quotas.stored_bytes, changed.stored_bytes),
        (&mut quotas.state_machines, changed.state_machines),
        (&mut quotas.activities, changed.activities),
        (&mut quotas.machine_concurrency, changed.machine_concurrency),
    ];
    for (quota, changed) in counts {
        if let Some(Most(most)) = changed {
            *quota = most;
        }
    }
    if let Some(Most(weight)) = changed.weight {
        quotas.weight = weight.and_then(|weight| u32::try_from(weight).ok());
    }
    if let Some(mode) = &changed.machine_concurrency_mode {
        quotas.machine_concurrency_mode = match mode.as_str() {
            "wait" => Some(Exceeding::Wait),
            "refuse" => Some(Exceeding::Refuse),
            _ => None,
        };
    }
    quotas
}

/// Shows quotas and what is taken of them, in the form of the API.
pub(super) fn show(described: &Value, json: bool) -> Outcome {
    if json {
        return super::print_json(described);
    }
    let (quotas, taken) = (&described["quotas"], &described["taken"]);
    let mut table = Table::new(&["quota", "most", "taken"]);
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let limits = match quotas["raisedLimits"].as_bool() {
        Some(true) => "raised",
        Some(false) => "strict",
        None => "the server's",
    };
    table.row(["limits".to_owned(), limits.to_owned(), String::new()]);
    let rates = match (&quotas["rates"], quotas["rates"]["set"].as_object()) {
        (_, Some(set)) => {
            let rate = |(operation, rate): (&String, &Value)| {
                format!("{operation}={}/{}", rate["bucket"], rate["perSecond"])
            };
            set.iter().map(rate).collect::<Vec<_>>().join(" ")
        }
        (Value::Null, None) => "the server's".to_owned(),
        (other, None) => text(other),
    };
    table.row(["rates".to_owned(), rates, String::new()]);
    for (name, key) in [
        ("open executions", "openExecutions"),
        ("running tasks", "runningTasks"),
        ("stored bytes", "storedBytes"),
        ("state machines", "stateMachines"),
        ("activities", "activities"),
        ("machine concurrency", "machineConcurrency"),
        ("what exceeds it", "machineConcurrencyMode"),
    ] {
        let taken = taken.get(key).map_or_else(String::new, text);
        table.row([name.to_owned(), text(&quotas[key]), taken]);
    }
    let weight = match &quotas["weight"] {
        Value::Null => "100, the usual one".to_owned(),
        other => text(other),
    };
    table.row(["weight".to_owned(), weight, String::new()]);
    let mut shown = table.take(None);
    match described["ceiling"].as_str() {
        Some(text) => {
            shown.push_str("\nceiling of its plugins\n");
            for line in text.trim_end().lines() {
                shown.push_str(&format!("    {line}\n"));
            }
        }
        None => shown.push_str("\nits plugins have no ceiling of their own\n"),
    }
    super::print(&shown)
}

async fn keys(command: KeysCommand) -> Outcome {
    match command {
        KeysCommand::Add {
            account,
            role,
            description,
            json,
            place,
        } => {
            let host = open(&place).await?;
            let path = key_file::place(place.key_file.as_deref(), &place.data());
            let added = add_key(&host.engine, &path, (&account, &role, &description), json).await;
            host.close().await;
            added
        }
        KeysCommand::List {
            account,
            json,
            place,
        } => {
            let host = open(&place).await?;
            let found = host.engine.access_keys(account.as_deref()).await;
            host.close().await;
            list_keys(&found.map_err(told)?, json)
        }
        KeysCommand::Disable { id, place } => disable(&id, true, &place).await,
        KeysCommand::Enable { id, place } => disable(&id, false, &place).await,
        KeysCommand::Remove { id, place } => {
            let host = open(&place).await?;
            let removed = remove_key(&host.engine, &id).await;
            host.close().await;
            removed
        }
    }
}

/// The store alone: executions that were running stay as they are.
async fn open(place: &TenantPlace) -> Outcome<Host> {
    let store = place.store();
    let store = store.map_err(|why| Stop::Usage(anyhow!("{why}")))?;
    let opened = open_with(&place.data(), store.as_ref(), None).await;
    opened.map_err(or_endpoint)
}

/// The same with the keys of the key file.
pub(super) async fn open_with(
    data: &Path,
    store: Option<&StoreUrl>,
    vault: Option<Vault>,
) -> Outcome<Host> {
    let opening = Opening {
        data: Some(data),
        store,
        plugins: None,
        limits: LimitsArg::Strict,
        storage: None,
        connections: None,
        endpoints: &[],
        compiler: host::compiler(CompileArgs::default(), false)?,
        policy: None,
        take_up: false,
        usual: Quotas::default(),
        listeners: Listeners::default(),
        vault,
    };
    Host::open(opening).await
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
    let tenants = engine.tenants().await.map_err(told)?;
    let keys = engine.access_keys(None).await.map_err(told)?;
    let count = |account: &str| keys.iter().filter(|key| &*key.account == account).count();
    if json {
        let tenants: Vec<_> = tenants
            .iter()
            .map(|tenant| json!({"account": tenant.account, "name": tenant.name, "created": time(tenant.created_at.0), "accessKeys": count(&tenant.account)}))
            .collect();
        return super::print_json(&json!(tenants));
    }
    let mut table = Table::new(&["account", "name", "keys>", "created"]);
    for tenant in &tenants {
        table.row([
            tenant.account.to_string(),
            tenant.name.to_string(),
            count(&tenant.account).to_string(),
            time(tenant.created_at.0),
        ]);
    }
    super::print(&table.take(None))
}

async fn remove(engine: &Engine, account: &str) -> Outcome {
    let change = engine.remove_tenant(account);
    noted(engine, account, "stepwell:RemoveTenant", account, change).await?;
    say!("removed tenant {account}; its audit log stays");
    Ok(())
}

async fn add_key(
    engine: &Engine,
    path: &Path,
    (account, role, description): (&str, &str, &str),
    json: bool,
) -> Outcome {
    let role = Role::ALL.into_iter().find(|known| known.name() == role);
    let role = role.ok_or_else(|| Stop::Usage(anyhow!("there is no such role")))?;
    let vault = vault_for(engine, path).await?;
    let change = engine.add_access_key(&vault, account, role, description);
    // Its id is not known before it is made, and the entry is written before.
    let made = noted(engine, account, "stepwell:AddAccessKey", account, change).await?;
    say!("the secret is kept sealed and not shown again");
    if json {
        return super::print_json(
            &json!({"accessKeyId": made.key.id, "secretAccessKey": made.secret, "account": account, "role": role.name()}),
        );
    }
    super::print(&format!(
        "export AWS_ACCESS_KEY_ID={}\nexport AWS_SECRET_ACCESS_KEY={}\n",
        made.key.id, made.secret
    ))
}

/// The keys of the key file, which is made when it is missing; not where something is sealed that a new one would not open.
pub(super) async fn vault_for(engine: &Engine, path: &Path) -> Outcome<Vault> {
    if !path.exists() && engine.has_sealed().await.map_err(told)? {
        return Err(Stop::Usage(anyhow!(
            "the key file `{}` is missing, and there are access keys, secrets or connections that it sealed\nhint: --key-file names it where it is; if it is lost, remove these first",
            path.display()
        )));
    }
    key_file::read_or_make(path)
}

/// Makes the key file where there is none, and where none is missed. A store that a server holds is not looked at: that
/// server has the key file, or refuses to seal.
async fn make_key_file(place: &TenantPlace) -> Outcome {
    let data = place.data();
    let path = key_file::place(place.key_file.as_deref(), &data);
    let has_store = data.exists() || place.store().is_ok_and(|store| store.is_some());
    let opened = match has_store && !path.exists() {
        true => open(place).await.ok(),
        false => None,
    };
    let Some(host) = opened else {
        return key_file::make(&path);
    };
    let made = vault_for(&host.engine, &path).await;
    host.close().await;
    made.map(drop)
}

fn list_keys(keys: &[AccessKey], json: bool) -> Outcome {
    let state = |key: &AccessKey| if key.disabled { "disabled" } else { "enabled" };
    if json {
        let keys: Vec<_> = keys
            .iter()
            .map(|key| json!({"accessKeyId": key.id, "account": key.account, "role": key.role.name(), "state": state(key), "created": time(key.created_at.0), "description": key.description}))
            .collect();
        return super::print_json(&json!(keys));
    }
    let mut table = Table::new(&[
        "access key",
        "account",
        "role",
        "state",
        "created",
        "description",
    ]);
    for key in keys {
        table.row([
            key.id.to_string(),
            key.account.to_string(),
            key.role.name().to_owned(),
            state(key).to_owned(),
            time(key.created_at.0),
            key.description.to_string(),
        ]);
    }
    super::print(&table.take(None))
}

async fn disable(id: &str, disabled: bool, place: &TenantPlace) -> Outcome {
    let host = open(place).await?;
    let operation = if disabled {
        "stepwell:DisableAccessKey"
    } else {
        "stepwell:EnableAccessKey"
    };
    let change = host.engine.disable_access_key(id, disabled);
    let changed = noted_of_key(&host.engine, operation, id, change).await;
    host.close().await;
    changed
}

async fn remove_key(engine: &Engine, id: &str) -> Outcome {
    let change = engine.remove_access_key(id);
    noted_of_key(engine, "stepwell:RemoveAccessKey", id, change).await
}

/// The file has the old keys until no secret needs them: an interruption loses nothing, and the next rotation ends it. So it is
/// with secrets that cannot be opened, which stay as they are.
async fn rotate(engine: &Engine, path: &Path) -> Outcome {
    let vault = key_file::read(path)?.rotated();
    key_file::write(path, &vault)?;
    let resealed = engine.reseal(&vault).await.map_err(told)?;
    let sealed = crate::given::count(resealed.sealed, "secret");
    if resealed.left == 0 {
        key_file::write(path, &vault.newest())?;
        say!(
            "sealed {sealed} anew; the old key opens nothing any more: copies of the store from before need the old key file"
        );
        return Ok(());
    }
    say!("sealed {sealed} anew; what is left stays as it was:");
    for why in &resealed.told {
        say!("  {why}");
    }
    let more = resealed.left - resealed.told.len();
    if more > 0 {
        say!("  and {more} more");
    }
    Err(Stop::Runtime(anyhow!(
        "{} could not be sealed anew, so the key file `{}` keeps the old keys too\nhint: put or delete what is named, or restore it from a backup, and rotate again",
        crate::given::count(resealed.left, "secret"),
        path.display()
    )))
}

async fn audit(engine: &Engine, account: &str, since: u64, json: bool) -> Outcome {
    let since = stepwell_interp::Timestamp(since);
    let mut table = Table::new(&["time", "key", "address", "operation", "resource", "refused"]);
    let mut after = None;
    loop {
        let page = engine
            .audited(account, since, after.as_deref())
            .await
            .map_err(told)?;
        let Some(last) = page.last() else {
            return if json {
                Ok(())
            } else {
                super::print(&table.take(None))
            };
        };
        after = Some(last.place.to_string());
        let mut text = String::new();
        for Audited { at, entry, .. } in &page {
            let AuditEntry {
                key,
                address,
                operation,
                resource,
                request_id,
                refused,
            } = entry;
            if json {
                let line = json!({"time": time(at.0), "key": key, "address": address, "operation": operation, "resource": resource, "requestId": request_id, "refused": refused});
                text.push_str(&format!("{line}\n"));
                continue;
            }
            let refused = refused.clone().unwrap_or_default();
            table.row([
                time(at.0),
                key.clone(),
                address.clone(),
                operation.clone(),
                resource.clone(),
                refused,
            ]);
        }
        if !json {
            text = table.take(None);
        }
        if !super::print_more(&text)? {
            return Ok(());
        }
    }
}

/// Makes a change once the account's audit log tells of it; what is refused then is told as well.
async fn noted<T>(
    engine: &Engine,
    account: &str,
    operation: &str,
    resource: &str,
    change: impl Future<Output = Result<T, Error>>,
) -> Outcome<T> {
    let mut entry = AuditEntry {
        key: "-".to_owned(),
        address: "-".to_owned(),
        operation: operation.to_owned(),
        resource: resource.to_owned(),
        request_id: Uuid::new_v4().hyphenated().to_string(),
        refused: None,
    };
    engine.audit(account, &entry).await.map_err(told)?;
    let changed = change.await;
    if let Err(error) = &changed {
        entry.refused = Some(match error {
            // Codes are named as the wire names them.
            Error::Rejected { code, .. } => format!("{code:?}"),
            Error::Busy(_) => "ServiceUnavailable".to_owned(),
            Error::Unopened(_) | Error::Unusable(_) | Error::Damaged(_) | Error::Broken(_) => {
                "InternalFailure".to_owned()
            }
        });
        engine.audit(account, &entry).await.map_err(told)?;
    }
    changed.map_err(told)
}

/// The same of an access key, in the log of its account.
async fn noted_of_key(
    engine: &Engine,
    operation: &str,
    id: &str,
    change: impl Future<Output = Result<AccessKey, Error>>,
) -> Outcome {
    let keys = engine.access_keys(None).await.map_err(told)?;
    let changed = match keys.iter().find(|key| *key.id == *id) {
        Some(key) => noted(engine, &key.account, operation, id, change).await,
        // Of no account; the change says that there is no such key.
        None => change.await.map_err(told),
    };
    changed.map(drop)
}

fn told(error: Error) -> Stop {
    match error {
        Error::Rejected { message, .. } => Stop::Usage(anyhow!(message)),
        Error::Busy(_)
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

    #[tokio::test]
    async fn a_change_is_told_before_it_is_made_and_again_when_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let account = "111111111111";
        let Ok(host) = open_with(folder.path(), None, None).await else {
            panic!("a fresh directory opens");
        };
        let engine = &host.engine;
        assert!(add(engine, account, "").await.is_ok());
        assert!(add(engine, account, "").await.is_err());
        assert!(remove_key(engine, "none").await.is_err());
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
