//! Whether a key may do what it asks for, and the audit log's entries about it. What it hides: the table of rights and
//! when an entry is written.

use axum::http::{Method, request::Parts};
use stepwell_engine::{AliasMove, AuditEntry, Engine, Role};

use super::{Identity, rights, rights::Right};
use crate::{aws::Fault, limits::AUDIT_RESOURCE_CHARS_MAX, serve::ServerState};

const DENIED: &str = "AccessDeniedException";

/// One operation that a key may carry out.
pub(crate) struct Permit<'a> {
    engine: &'a Engine,
    account: &'a str,
    /// Of an operation that the audit log has.
    entry: Option<AuditEntry>,
}

impl<'a> Permit<'a> {
    /// The permit to carry out an operation of the API, or the refusal. What changes something is in the audit log, and
    /// durable there, before it is carried out.
    pub(crate) async fn ask(
        state: &'a ServerState,
        identity: &'a Identity,
        operation: &str,
        body: &[u8],
        alias: Option<AliasMove>,
        request_id: &str,
    ) -> Result<Permit<'a>, Fault> {
        let right = rights::right_of(operation, body);
        let about = || (rights::resource(body), alias.clone());
        let action = format!("states:{operation}");
        Permit::of(
            state,
            identity,
            (operation, &action),
            right,
            about,
            request_id,
        )
        .await
    }

    /// The same for an operation of another service, named with it (`lambda:Invoke`).
    pub(crate) async fn ask_for(
        state: &'a ServerState,
        identity: &'a Identity,
        action: &str,
        right: Right,
        resource: &str,
        request_id: &str,
    ) -> Result<Permit<'a>, Fault> {
        let about = (resource, None);
        Permit::ask_about(state, identity, action, right, about, request_id).await
    }

    /// The same of a request that may be about an alias.
    pub(crate) async fn ask_about(
        state: &'a ServerState,
        identity: &'a Identity,
        action: &str,
        right: Right,
        about: (&str, Option<AliasMove>),
        request_id: &str,
    ) -> Result<Permit<'a>, Fault> {
        let about = || (about.0.to_owned(), about.1.clone());
        Permit::of(state, identity, (action, action), right, about, request_id).await
    }

    /// `names` are the operation's in the audit log and in a refusal; `about` is what it names, and how it moves an alias.
    async fn of(
        state: &'a ServerState,
        identity: &'a Identity,
        names: (&str, &str),
        right: Right,
        about: impl Fn() -> (String, Option<AliasMove>),
        request_id: &str,
    ) -> Result<Permit<'a>, Fault> {
        let (operation, action) = names;
        let engine = &state.engine;
        let account = &*identity.key.account;
        let allowed = identity.key.role >= right.role;
        if allowed && !right.audited {
            return Ok(Permit {
                engine,
                account,
                entry: None,
            });
        }
        let (resource, alias) = about();
        let mut entry = identity.entry(operation, &resource, request_id);
        entry.alias = alias.map(bounded);
        if !allowed {
            entry.refused = Some(DENIED.to_owned());
            engine.audit(account, &entry).await?;
            return Err(identity.denied(action, right.role, &resource));
        }
        engine.audit(account, &entry).await?;
        Ok(Permit {
            engine,
            account,
            entry: Some(entry),
        })
    }

    /// Adds that the operation was refused or failed.
    pub(crate) async fn failed(self, code: &str) -> Result<(), Fault> {
        let Some(mut entry) = self.entry else {
            return Ok(());
        };
        entry.refused = Some(code.to_owned());
        self.engine.audit(self.account, &entry).await?;
        Ok(())
    }
}

/// As long as an entry may be: what is asked for may be any text.
fn bounded(alias: AliasMove) -> AliasMove {
    let cut = |text: String| {
        text.chars()
            .take(AUDIT_RESOURCE_CHARS_MAX)
            .collect::<String>()
    };
    AliasMove {
        before: alias.before.map(cut),
        after: alias.after.map(cut),
    }
}

/// Refuses a path that takes more than the key's role. `POST /` is asked for by operation; what `/metrics` tells depends
/// on the role.
pub(super) async fn path(engine: &Engine, identity: &Identity, parts: &Parts) -> Result<(), Fault> {
    let path = parts.uri.path();
    let needed = Role::Read;
    if identity.key.role >= needed || (path == "/" && parts.method == Method::POST) {
        return Ok(());
    }
    let action = format!("stepwell:{}", path.trim_start_matches('/'));
    let mut entry = identity.entry(&action, "", "-");
    entry.refused = Some(DENIED.to_owned());
    engine.audit(&identity.key.account, &entry).await?;
    Err(identity.denied(&action, needed, "*"))
}
