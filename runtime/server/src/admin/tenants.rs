//! Tenants, their access keys, quotas and audit logs over the wire. What it hides: the forms of requests and answers.

use serde::{Deserialize, Serialize};
use stepwell_engine::{AccessKey, ListedKey, ListedTenant, Role, Taken};
use stepwell_interp::Timestamp;

use super::{Call, json, quotas::WireQuotas};
use crate::aws::{Fault, Seconds};

/// Request: an account, and a name to show.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    account: String,
    #[serde(default)]
    name: String,
}

/// Request: an account.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    account: String,
}

/// Request: an account, or none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Of {
    account: Option<String>,
}

/// Request: an access key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NamedKey {
    access_key_id: String,
}

/// Request: a new access key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    account: String,
    role: Role,
    #[serde(default)]
    description: String,
}

/// Request: the quotas of an account, whole.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewQuotas {
    account: String,
    quotas: WireQuotas,
}

/// Request: the ceiling of an account's plugins as TOML; null takes it away.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCeiling {
    account: String,
    #[serde(deserialize_with = "Option::deserialize")]
    ceiling: Option<String>,
}

/// Request: a page of a log.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogPage {
    /// The caller's own when absent.
    account: Option<String>,
    /// Seconds of the Unix epoch.
    #[serde(default)]
    since: f64,
    /// Where the page before ended.
    after: Option<String>,
}

/// Wire form of a tenant.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TenantAnswer<'a> {
    account: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_date: Option<Seconds>,
    access_keys: usize,
    /// Nothing else of it can be read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    damaged: bool,
}

/// Wire form of an access key.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyAnswer<'a> {
    access_key_id: &'a str,
    account: &'a str,
    role: &'a str,
    description: &'a str,
    disabled: bool,
    creation_date: Seconds,
    /// Told when the key is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_access_key: Option<&'a str>,
    /// Why nobody is let in by it, disabled or not, and how that is mended.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<String>,
}

/// Wire form of an access key of which nothing can be read.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DamagedKeyAnswer<'a> {
    access_key_id: &'a str,
    damaged: bool,
    /// As of others; in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<String>,
}

/// Wire form of an access key in a list.
#[derive(Serialize)]
#[serde(untagged)]
enum ListedKeyAnswer<'a> {
    Read(KeyAnswer<'a>),
    Damaged(DamagedKeyAnswer<'a>),
}

impl<'a> ListedKeyAnswer<'a> {
    fn of(listed: &'a ListedKey) -> ListedKeyAnswer<'a> {
        let closed = listed.closed.as_ref().map(ToString::to_string);
        match &listed.key {
            Some(key) => ListedKeyAnswer::Read(KeyAnswer {
                closed,
                ..KeyAnswer::of(key, None)
            }),
            None => ListedKeyAnswer::Damaged(DamagedKeyAnswer {
                closed,
                ..DamagedKeyAnswer::of(&listed.id)
            }),
        }
    }
}

impl<'a> DamagedKeyAnswer<'a> {
    fn of(id: &'a str) -> DamagedKeyAnswer<'a> {
        DamagedKeyAnswer {
            access_key_id: id,
            damaged: true,
            closed: None,
        }
    }
}

impl<'a> KeyAnswer<'a> {
    fn of(key: &'a AccessKey, secret: Option<&'a str>) -> KeyAnswer<'a> {
        KeyAnswer {
            access_key_id: &key.id,
            account: &key.account,
            role: key.role.name(),
            description: &key.description,
            disabled: key.disabled,
            creation_date: Seconds(key.created_at.0),
            secret_access_key: secret,
            closed: None,
        }
    }
}

/// Wire form of what a tenant may have, and has.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described<'a> {
    account: &'a str,
    quotas: WireQuotas,
    taken: TakenAnswer,
    /// TOML, as it was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    ceiling: Option<String>,
}

/// Wire form of what a tenant has.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TakenAnswer {
    open_executions: u64,
    running_tasks: u64,
    stored_bytes: u64,
}

/// Wire form of a page of a log.
#[derive(Serialize)]
struct LogAnswer {
    entries: Vec<LogEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// Wire form of an entry of a log.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogEntry {
    time: Seconds,
    key: String,
    address: String,
    operation: String,
    resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<AliasMoved>,
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// Wire form of what an alias stood for and was to stand for.
#[derive(Serialize)]
struct AliasMoved {
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// Wire form of nothing to tell.
#[derive(Serialize)]
struct Done {}

pub(super) async fn add(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    call.authentication()?;
    let Add { account, name } = call.read()?;
    call.state.engine.add_tenant(&account, &name).await?;
    json(&Done {})
}

pub(super) async fn remove(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    call.authentication()?;
    let Named { account } = call.read()?;
    call.state.engine.remove_tenant(&account).await?;
    json(&Done {})
}

pub(super) async fn list(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let tenants = call.state.engine.listed_tenants().await?;
    let keys = call.state.engine.access_keys(None).await?;
    let shown: Vec<TenantAnswer<'_>> = tenants
        .iter()
        .map(|ListedTenant { account, tenant }| TenantAnswer {
            account,
            name: tenant.as_ref().map_or("", |tenant| &tenant.name),
            creation_date: tenant.as_ref().map(|tenant| Seconds(tenant.created_at.0)),
            access_keys: keys.iter().filter(|key| key.account == *account).count(),
            damaged: tenant.is_none(),
        })
        .collect();
    json(&serde_json::json!({ "tenants": shown }))
}

pub(super) async fn describe(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let Of { account } = call.read()?;
    let account = call.account(account);
    let engine = &call.state.engine;
    let (quotas, taken) = engine.quotas(&account).await?;
    let ceiling = engine.ceiling(&account).await?;
    let Taken {
        open_executions,
        running_tasks,
        stored_bytes,
    } = taken;
    json(&Described {
        account: &account,
        quotas: quotas.into(),
        taken: TakenAnswer {
            open_executions,
            running_tasks,
            stored_bytes,
        },
        ceiling,
    })
}

pub(super) async fn set_ceiling(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    call.authentication()?;
    let NewCeiling { account, ceiling } = call.read()?;
    let engine = &call.state.engine;
    engine.set_ceiling(&account, ceiling.as_deref()).await?;
    json(&Done {})
}

pub(super) async fn set_quotas(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    call.authentication()?;
    let NewQuotas { account, quotas } = call.read()?;
    quotas.check()?;
    let engine = &call.state.engine;
    engine.set_quotas(&account, quotas.into()).await?;
    json(&Done {})
}

pub(super) async fn add_key(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let vault = &call.authentication()?.vault;
    let NewKey {
        account,
        role,
        description,
    } = call.read()?;
    let engine = &call.state.engine;
    let made = engine
        .add_access_key(vault, &account, role, &description)
        .await?;
    json(&KeyAnswer::of(&made.key, Some(&made.secret)))
}

pub(super) async fn keys(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let Of { account } = call.read()?;
    let account = call.own_or_all(account);
    let authentication = call.state.config.authentication.as_ref();
    let vault = authentication.map(|authentication| &authentication.vault);
    let engine = &call.state.engine;
    let listed = engine.listed_access_keys(vault, account.as_deref()).await?;
    let keys: Vec<ListedKeyAnswer<'_>> = listed.iter().map(ListedKeyAnswer::of).collect();
    json(&serde_json::json!({ "accessKeys": keys }))
}

pub(super) async fn disable_key(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    switch_key(call, true).await
}

pub(super) async fn enable_key(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    switch_key(call, false).await
}

async fn switch_key(call: Call<'_>, disabled: bool) -> Result<Vec<u8>, Fault> {
    call.authentication()?;
    let NamedKey { access_key_id } = call.read()?;
    let engine = &call.state.engine;
    let key = engine.disable_access_key(&access_key_id, disabled).await?;
    call.forget_key(&access_key_id);
    json(&KeyAnswer::of(&key, None))
}

pub(super) async fn remove_key(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    call.authentication()?;
    let NamedKey { access_key_id } = call.read()?;
    let key = call.state.engine.remove_access_key(&access_key_id).await?;
    call.forget_key(&access_key_id);
    match &key {
        Some(key) => json(&KeyAnswer::of(key, None)),
        None => json(&DamagedKeyAnswer::of(&access_key_id)),
    }
}

pub(super) async fn audit_log(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let LogPage {
        account,
        since,
        after,
    } = call.read()?;
    let account = call.account(account);
    // What is before the epoch is from the beginning on.
    let since = Timestamp((since.max(0.0) * 1_000.0) as u64);
    let engine = &call.state.engine;
    let found = engine.audited(&account, since, after.as_deref()).await?;
    if found.is_empty() && after.is_none() {
        call.check_told_of(&account).await?;
    }
    let after = found.last().map(|last| last.place.to_string());
    let entries = found.into_iter().map(|found| LogEntry {
        time: Seconds(found.at.0),
        key: found.entry.key,
        address: found.entry.address,
        operation: found.entry.operation,
        resource: found.entry.resource,
        alias: found.entry.alias.map(|alias| AliasMoved {
            before: alias.before,
            after: alias.after,
        }),
        request_id: found.entry.request_id,
        refused: found.entry.refused,
    });
    json(&LogAnswer {
        entries: entries.collect(),
        after,
    })
}

impl Call<'_> {
    /// A key that was changed counts at once as it is now.
    fn forget_key(&self, id: &str) {
        if let Some(gate) = &self.state.gate {
            gate.forget(id);
        }
    }
}
