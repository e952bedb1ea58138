//! Who a request was proved to come from. What it hides: how keys and sessions are called in ARNs and in the audit log.

use std::{fmt::Write, sync::Arc};

use sha2::{Digest, Sha256};
use stepwell_engine::{AccessKey, Assumed, AuditEntry, Role, Session};

use crate::{aws::Fault, limits::AUDIT_RESOURCE_CHARS_MAX};

/// Characters of the id of a role (IAM user guide: `AROA` and 17 more).
const ROLE_ID_CHARS: usize = 17;

/// The key that a request proved to be made with.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Of a session the access key that it was made with, and the role that the session has.
    pub(crate) key: Arc<AccessKey>,
    /// The session that it was made in.
    pub(crate) session: Option<Arc<InSession>>,
    /// Of the credential's scope; checked by nobody.
    pub(crate) region: Arc<str>,
    /// Where the request came from.
    pub(crate) address: String,
}

/// A session that counts, with its id.
#[derive(Debug)]
pub(crate) struct InSession {
    pub(super) id: Arc<str>,
    pub(crate) session: Session,
}

impl Identity {
    fn assumed(&self) -> Option<&Assumed> {
        self.session.as_ref()?.session.assumed.as_ref()
    }

    /// As IAM and STS write it.
    pub(crate) fn arn(&self) -> String {
        let account = &self.key.account;
        match self.assumed() {
            Some(Assumed { role, name }) => {
                format!("arn:aws:sts::{account}:assumed-role/{role}/{name}")
            }
            None => format!("arn:aws:iam::{account}:user/{}", self.key.id),
        }
    }

    /// What GetCallerIdentity calls it.
    pub(crate) fn user_id(&self) -> String {
        let role = self.assumed();
        role.map_or_else(
            || self.key.id.to_string(),
            |assumed| role_session_id(&self.key.account, assumed),
        )
    }

    /// That it may not do what it asks for: in AWS's words, and with what it takes.
    pub(crate) fn denied(&self, action: &str, needed: Role, resource: &str) -> Fault {
        let (user, role) = (self.arn(), self.key.role);
        let resource = if resource.is_empty() { "*" } else { resource };
        Fault::denied(format!(
            "User: {user} is not authorized to perform: {action} on resource: {resource} because no identity-based policy allows the {action} action (the access key has the role `{}`, and this takes `{}`)",
            role.name(),
            needed.name()
        ))
    }

    /// An entry of the audit log: the access key, and behind it the session that it was used through.
    pub(crate) fn entry(&self, operation: &str, resource: &str, request_id: &str) -> AuditEntry {
        let mut key = self.key.id.to_string();
        if let Some(within) = &self.session {
            let name = self.assumed().map_or(&within.id, |assumed| &assumed.name);
            // Nothing can go wrong: the sink is a String.
            let _ = write!(key, "/{name}");
        }
        AuditEntry {
            key,
            address: self.address.clone(),
            operation: operation.to_owned(),
            resource: resource.chars().take(AUDIT_RESOURCE_CHARS_MAX).collect(),
            alias: None,
            request_id: request_id.to_owned(),
            refused: None,
        }
    }
}

/// `AROA…:SESSION`: the same for each session of a role of an account.
pub(crate) fn role_session_id(account: &str, assumed: &Assumed) -> String {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = Sha256::digest(format!("{account}/{}", assumed.role));
    let digits = hash
        .iter()
        .take(ROLE_ID_CHARS)
        .map(|byte| char::from(DIGITS[usize::from(byte % 32)]));
    format!("AROA{}:{}", digits.collect::<String>(), assumed.name)
}
