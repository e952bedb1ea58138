//! Calls of our own beside AWS's: tenants, their access keys and quotas, what they used, their audit logs. AWS JSON 1.0 under
//! the target `Stepwell.`, signed like all others. What it hides: who may make them, and their wire forms.

mod quotas;
mod tenants;
mod usage;

use std::{future::Future, pin::Pin};

use axum::http::request::Parts;
use serde::{Serialize, de::DeserializeOwned};
use stepwell_engine::Role;

use crate::{
    auth::{Authentication, Identity},
    aws::Fault,
    serve::ServerState,
};

pub use quotas::{WireQuotas, check_rated};
pub use usage::Prices;

/// Before the operation's name in `X-Amz-Target`.
const TARGET_PREFIX: &str = "Stepwell.";

/// One call.
struct Operation {
    name: &'static str,
    /// What it takes for another account than the caller's, or for all.
    role: Role,
    /// What it takes for the caller's own account.
    own: Role,
    audited: bool,
    run: Handler,
}

type Handler = for<'a> fn(Call<'a>) -> Reply<'a>;
type Reply<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, Fault>> + Send + 'a>>;

/// One request.
struct Call<'a> {
    state: &'a ServerState,
    body: &'a [u8],
}

macro_rules! operations {
    ($($name:ident $role:ident $own:ident $audited:literal $handler:path;)*) => {
        static OPERATIONS: &[Operation] = &[$(
            Operation {
                name: stringify!($name),
                role: Role::$role,
                own: Role::$own,
                audited: $audited,
                run: |call| Box::pin($handler(call)),
            },
        )*];
    };
}

// name             role     own      audited  served by
operations! {
    AddAccessKey     Operator Operator true  tenants::add_key;
    AddTenant        Operator Operator true  tenants::add;
    DescribeTenant   Operator Read     false tenants::describe;
    DisableAccessKey Operator Operator true  tenants::disable_key;
    EnableAccessKey  Operator Operator true  tenants::enable_key;
    GetAuditLog      Operator Admin    false tenants::audit_log;
    GetExecutionUsage Operator Read   false usage::of_execution;
    GetUsage         Operator Admin    false usage::get;
    ListAccessKeys   Operator Admin    false tenants::keys;
    ListTenants      Operator Operator false tenants::list;
    RemoveAccessKey  Operator Operator true  tenants::remove_key;
    RemoveTenant     Operator Operator true  tenants::remove;
    SetQuotas        Operator Operator true  tenants::set_quotas;
}

/// Whether a target is one of ours.
pub(crate) fn is_ours(target: &str) -> bool {
    target.starts_with(TARGET_PREFIX)
}

/// Answers one call; `Ok` is the JSON text of the answer.
pub(crate) async fn answer(
    state: &ServerState,
    target: &str,
    parts: &Parts,
    body: &[u8],
    request_id: &str,
) -> Result<Vec<u8>, Fault> {
    let name = target.strip_prefix(TARGET_PREFIX).unwrap_or_default();
    let found = OPERATIONS.binary_search_by(|operation| operation.name.cmp(name));
    let operation = found.map(|index| &OPERATIONS[index]);
    let operation = operation.map_err(|_| Fault::unknown_operation(target))?;
    let identity = parts.extensions.get::<Identity>();
    let call = Call { state, body };
    let Some(identity) = identity else {
        return (operation.run)(call).await;
    };
    let (account, resource) = call.about().await?;
    let own = account.as_deref() == Some(&*identity.key.account);
    let needed = if own { operation.own } else { operation.role };
    let action = format!("stepwell:{name}");
    let mut entry = identity.entry(&action, &resource, request_id);
    let engine = &state.engine;
    if identity.key.role < needed {
        entry.refused = Some("AccessDeniedException".to_owned());
        engine.audit(&identity.key.account, &entry).await?;
        return Err(identity.denied(&action, needed, &resource));
    }
    if !operation.audited {
        return (operation.run)(call).await;
    }
    // In the log of whose account it is about; before it is done, as all changes.
    let log = account.as_deref().unwrap_or(&identity.key.account);
    engine.audit(log, &entry).await?;
    let served = (operation.run)(call).await;
    if let Err(fault) = &served {
        entry.refused = Some(fault.code().to_owned());
        engine.audit(log, &entry).await?;
    }
    served
}

/// Members that say whose account a request is about.
#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct About {
    account: Option<String>,
    access_key_id: Option<String>,
    execution_arn: Option<String>,
}

impl Call<'_> {
    /// The account that the request is about, or that of its key, and what it names; no account when it is about all.
    async fn about(&self) -> Result<(Option<String>, String), Fault> {
        let About {
            account,
            access_key_id,
            execution_arn,
        } = self.read()?;
        if let (None, None, Some(arn)) = (&account, &access_key_id, &execution_arn) {
            let (_, account) = usage::place_of(arn);
            return Ok((Some(account.to_owned()), arn.clone()));
        }
        let Some(id) = access_key_id else {
            let named = account.clone().unwrap_or_default();
            return Ok((account, named));
        };
        let keys = self.state.engine.access_keys(None).await?;
        let key = keys.iter().find(|key| *key.id == *id);
        Ok((key.map(|key| key.account.to_string()), id))
    }

    /// The request.
    fn read<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_slice(self.body).map_err(|error| Fault::unreadable(&error))
    }

    /// How requests are authenticated; tenants are changed over the wire by who proved a key alone.
    fn authentication(&self) -> Result<&Authentication, Fault> {
        let authentication = self.state.config.authentication.as_ref();
        authentication.ok_or_else(|| {
            Fault::denied(
                "this server asks for no access key, so tenants are not changed through it: stop it and use `stepwell tenant` at its data directory"
                    .to_owned(),
            )
        })
    }
}

fn json(answer: &impl Serialize) -> Result<Vec<u8>, Fault> {
    Ok(serde_json::to_vec(answer).expect("answers have string keys"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        assert!(OPERATIONS.is_sorted_by(|a, b| a.name < b.name));
        assert!(
            OPERATIONS
                .iter()
                .all(|operation| operation.own <= operation.role)
        );
    }
}
