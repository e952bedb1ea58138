//! Calls of our own beside AWS's: tenants, their access keys, quotas and ceilings, their secrets and connections, what they used,
//! their audit logs; forks. AWS JSON 1.0 under
//! the target `Stepwell.`, signed like all others. What it hides: who may make them, and their wire forms.

mod code;
mod connections;
mod forks;
mod quotas;
mod secrets;
mod tenants;
mod usage;

use std::{future::Future, pin::Pin};

use axum::http::request::Parts;
use serde::{Serialize, de::DeserializeOwned};
use stepwell_engine::{AuditEntry, Caller, Error, Role};
use uuid::Uuid;

use crate::{
    auth::{Authentication, Identity},
    aws::{self, Fault},
    limits::AUDIT_RESOURCE_CHARS_MAX,
    objects,
    serve::ServerState,
};

pub(crate) use forks::Origin;
pub use quotas::{WireQuotas, check_rated};
pub use usage::Prices;

/// Before the operation's name in `X-Amz-Target`.
const TARGET_PREFIX: &str = "Stepwell.";

/// One call.
struct Operation {
    name: &'static str,
    /// What it is counted as against rates.
    rated: &'static str,
    /// What it takes for another account than the caller's, or for all.
    role: Role,
    /// What it takes for the caller's own account.
    own: Role,
    audited: bool,
    /// Which member says whose account it is about.
    about: Member,
    run: Handler,
}

/// Members of requests that say whose account they are about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    /// `account`, or `accessKeyId`.
    Account,
    /// `account`; when absent all of them for an operator, and the caller's own for any other key.
    OwnOrAll,
    /// `executionArn`.
    Execution,
    /// `account`, the caller's own when absent; `name` is what it names, if it names something.
    Own,
}

type Handler = for<'a> fn(Call<'a>) -> Reply<'a>;
type Reply<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, Fault>> + Send + 'a>>;

/// One request.
struct Call<'a> {
    state: &'a ServerState,
    caller: Caller,
    /// Who proved an access key, where one is needed.
    identity: Option<&'a Identity>,
    body: &'a [u8],
}

macro_rules! operations {
    ($($name:ident $role:ident $own:ident $audited:literal $about:ident $handler:path;)*) => {
        /// Operations that a rate can be set for.
        pub(crate) const RATED: &[&str] = &[$(concat!("stepwell:", stringify!($name))),*];

        static OPERATIONS: &[Operation] = &[$(
            Operation {
                name: stringify!($name),
                rated: concat!("stepwell:", stringify!($name)),
                role: Role::$role,
                own: Role::$own,
                audited: $audited,
                about: Member::$about,
                run: |call| Box::pin($handler(call)),
            },
        )*];
    };
}

// name             role     own      audited about  served by
operations! {
    AddAccessKey     Operator Operator true  Account   tenants::add_key;
    AddTenant        Operator Operator true  Account   tenants::add;
    CollectCode      Operator Operator true  Account   code::collect;
    DeleteConnection Operator Admin    true  Own       connections::delete;
    DeleteSecret     Operator Admin    true  Own       secrets::delete;
    DescribeTenant   Operator Read     false Own       tenants::describe;
    DescribeUpload   Operator Read     false Own       code::upload;
    DisableAccessKey Operator Operator true  Account   tenants::disable_key;
    EnableAccessKey  Operator Operator true  Account   tenants::enable_key;
    ForkExecution    Operator Run      true  Execution forks::fork;
    GetAuditLog      Operator Admin    false Own       tenants::audit_log;
    GetExecutionUsage Operator Read    false Execution usage::of_execution;
    GetUsage         Operator Admin    false OwnOrAll  usage::get;
    ListAccessKeys   Operator Admin    false OwnOrAll  tenants::keys;
    ListConnections  Operator Read     false Own       connections::list;
    ListSecrets      Operator Admin    false Own       secrets::list;
    ListTenants      Operator Operator false Account   tenants::list;
    PutConnection    Operator Admin    true  Own       connections::put;
    PutSecret        Operator Admin    true  Own       secrets::put;
    RemoveAccessKey  Operator Operator true  Account   tenants::remove_key;
    RemoveTenant     Operator Operator true  Account   tenants::remove;
    SetCeiling       Operator Operator true  Account   tenants::set_ceiling;
    SetQuotas        Operator Operator true  Account   tenants::set_quotas;
}

/// Whether a target is one of ours.
pub(crate) fn is_ours(target: &str) -> bool {
    target.starts_with(TARGET_PREFIX)
}

/// Counts a call against the caller's rates, before anything of it is read. What reads a whole history, or starts an
/// execution, is counted as that, too.
pub(crate) fn admit(state: &ServerState, target: &str, caller: &Caller) -> Result<(), Fault> {
    let name = target.strip_prefix(TARGET_PREFIX).unwrap_or_default();
    let found = OPERATIONS.binary_search_by(|operation| operation.name.cmp(name));
    let operation = found.map_err(|_| Fault::unknown_operation(target))?;
    let operation = &OPERATIONS[operation];
    state.engine.admit(&caller.tenant, operation.rated)?;
    if operation.name == "GetExecutionUsage" {
        state.engine.admit(&caller.tenant, "GetExecutionHistory")?;
    }
    Ok(())
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
    let caller = aws::caller(&state.config, &parts.headers, identity);
    let call = Call {
        state,
        caller,
        identity,
        body,
    };
    let Some(identity) = identity else {
        return (operation.run)(call).await;
    };
    let (account, resource) = call.about(operation.about).await?;
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
    // In the log of whose account it is about, if it may be one; before it is done, as all changes.
    let log = account.as_deref().filter(|account| may_be_account(account));
    let log = log.unwrap_or(&identity.key.account);
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
    name: Option<String>,
}

impl Call<'_> {
    /// The account that the request is about, or that of its key, and what it names; no account when it is about all.
    async fn about(&self, by: Member) -> Result<(Option<String>, String), Fault> {
        let About {
            account,
            access_key_id,
            execution_arn,
            name,
        } = self.read()?;
        if by == Member::Own {
            let account = self.account(account);
            let named = name.unwrap_or_else(|| account.clone());
            return Ok((Some(account), named));
        }
        if by == Member::OwnOrAll {
            let account = self.own_or_all(account);
            let named = account.clone().unwrap_or_default();
            return Ok((account, named));
        }
        if by == Member::Execution {
            let arn = execution_arn.unwrap_or_default();
            // What is no ARN is of no other account, and refused as what it is.
            let account = arn.split(':').nth(4).unwrap_or(&self.caller.tenant);
            return Ok((Some(account.to_owned()), arn));
        }
        let Some(id) = access_key_id else {
            let named = account.clone().unwrap_or_default();
            return Ok((account, named));
        };
        let keys = self.state.engine.listed_access_keys(None, None).await?;
        let listed = keys.into_iter().find(|listed| *listed.id == *id);
        // Of a damaged one nobody knows whose it was: it is told in the log of the default account, as commands do.
        let account = listed.map(|listed| match listed.key {
            Some(key) => key.account,
            None => self.state.config.account.clone(),
        });
        Ok((account.map(|account| account.to_string()), id))
    }

    /// The account that a request names, else the caller's.
    fn account(&self, named: Option<String>) -> String {
        named.unwrap_or_else(|| self.caller.tenant.to_string())
    }

    /// The account that a request names, else the caller's own, and an operator's all.
    fn own_or_all(&self, named: Option<String>) -> Option<String> {
        let own = (self.role() < Role::Operator).then(|| self.caller.tenant.to_string());
        named.or(own)
    }

    /// Refuses an account of which there is nothing to tell because there is no such tenant. The caller's own is there.
    async fn check_told_of(&self, account: &str) -> Result<(), Fault> {
        match *account == *self.caller.tenant {
            true => Ok(()),
            false => Ok(self.state.engine.check_told_of(account).await?),
        }
    }

    /// What the caller may do: everything, where no access key is asked for.
    fn role(&self) -> Role {
        self.identity
            .map_or(Role::Operator, |identity| identity.key.role)
    }

    /// Makes a change once the account's audit log tells of it. Who proved a key is in the log by then; this is for those of whom
    /// none is asked, and for commands at the data directory.
    async fn noted<T>(
        &self,
        account: &str,
        operation: &str,
        resource: &str,
        change: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Fault> {
        if self.identity.is_some() {
            return Ok(change.await?);
        }
        let mut entry = AuditEntry {
            key: "-".to_owned(),
            address: "-".to_owned(),
            operation: operation.to_owned(),
            resource: resource.chars().take(AUDIT_RESOURCE_CHARS_MAX).collect(),
            alias: None,
            request_id: Uuid::new_v4().hyphenated().to_string(),
            refused: None,
        };
        let engine = &self.state.engine;
        // No log is begun for accounts that nobody has.
        engine.check_account(account).await?;
        engine.audit(account, &entry).await?;
        let changed = change.await.map_err(Fault::from);
        if let Err(fault) = &changed {
            entry.refused = Some(fault.code().to_owned());
            engine.audit(account, &entry).await?;
        }
        changed
    }

    /// The request.
    fn read<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        objects::read(self.body).map_err(|error| Fault::unreadable(&error))
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

/// Whether a request's text may name an account: a log of any other would be kept for nobody, and be as long as the text.
fn may_be_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn json(answer: &impl Serialize) -> Result<Vec<u8>, Fault> {
    Ok(serde_json::to_vec(answer).expect("answers have string keys"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_an_accounts() {
        assert!(may_be_account("111111111111"));
        for text in [
            "",
            "11111111111",
            "1111111111111",
            "11111111111a",
            "１１１１",
        ] {
            assert!(!may_be_account(text), "{text}");
        }
    }

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
