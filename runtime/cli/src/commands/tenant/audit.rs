//! The audit log of a tenant in a store that no server holds: `tenant audit`, and the entries that commands themselves make. Hides
//! pages.

use serde_json::json;
use stepwell_engine::{AuditEntry, Audited, Engine, Error};
use uuid::Uuid;

use super::{time, told};
use crate::args::TenantPlace;
use crate::commands::{at_rest, print_more};
use crate::exit::Outcome;
use crate::host::TENANT;
use crate::table::Table;

pub(super) async fn show(
    account: &str,
    since: Option<jiff::Timestamp>,
    json: bool,
    place: &TenantPlace,
) -> Outcome {
    let host = at_rest::open(place).await?;
    let since = since.map_or(0, |at| u64::try_from(at.as_millisecond()).unwrap_or(0));
    let shown = show_of(&host.engine, account, since, json).await;
    host.close().await;
    shown
}

/// A table for the entries of a log, as it is printed page by page.
pub(super) fn table() -> Table {
    Table::new(&["time", "key", "address", "operation", "resource", "refused"])
}

pub(super) fn say_nothing(account: &str) {
    say!("the audit log of account {account} has no such entries");
}

async fn show_of(engine: &Engine, account: &str, since: u64, json: bool) -> Outcome {
    let since = stepwell_interp::Timestamp(since);
    let mut table = table();
    let mut after = None;
    loop {
        let page = engine
            .audited(account, since, after.as_deref())
            .await
            .map_err(told)?;
        let Some(last) = page.last() else {
            if after.is_none() {
                say_nothing(account);
            }
            return Ok(());
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
        if !print_more(&text)? {
            return Ok(());
        }
    }
}

/// Makes a change once the account's audit log tells of it; what is refused then is told as well.
pub(super) async fn noted<T>(
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
            Error::Held(_)
            | Error::Unopened(_)
            | Error::Unusable(_)
            | Error::Damaged(_)
            | Error::Broken(_) => "InternalFailure".to_owned(),
        });
        engine.audit(account, &entry).await.map_err(told)?;
    }
    changed.map_err(told)
}

/// The same of an access key, in the log of its account; of a damaged one nobody knows whose it was, and it is told in the default
/// account's.
pub(super) async fn noted_of_key<T>(
    engine: &Engine,
    operation: &str,
    id: &str,
    change: impl Future<Output = Result<T, Error>>,
) -> Outcome {
    let keys = engine.listed_access_keys(None, None).await.map_err(told)?;
    let changed = match keys.into_iter().find(|listed| *listed.id == *id) {
        Some(listed) => {
            let account = listed.key.map(|key| key.account);
            let account = account.as_deref().unwrap_or(TENANT);
            noted(engine, account, operation, id, change).await
        }
        // Of no account; the change says that there is no such key.
        None => change.await.map_err(told),
    };
    changed.map(drop)
}
