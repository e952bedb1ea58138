//! Sessions: access keys that hold for a while, whose secret lies sealed in the token that goes along with each request. What
//! it hides: the token's form. Nothing of a session is stored: who has the key file opens its token.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    tenants::{Role, fresh_id, fresh_secret},
    vault::{Sealed, Vault},
};

/// What ids of sessions begin with, as AWS's temporary ones do.
const ID_PREFIX: &str = "ASIA";
/// What tokens begin with: their form's name.
const FORM: &str = "stepwell-session-1";
/// Characters of a token; a longer one is none (ours).
const TOKEN_CHARS_MAX: usize = 4_096;

/// What a session's holder may do, until when, and on whose behalf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Id of the access key that it was made with: without that key it is nothing.
    pub parent: Arc<str>,
    pub account: Arc<str>,
    /// At most this; less when the key's role has become less.
    pub role: Role,
    /// Seconds of the Unix epoch.
    pub expires_s: i64,
    /// Of a session that assumed a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assumed: Option<Assumed>,
}

/// What a session that assumed a role is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assumed {
    /// Name of the role, without its path.
    pub role: Arc<str>,
    /// Name of the session.
    pub name: Arc<str>,
}

/// A session with what its holder proves it by.
#[derive(Clone)]
pub struct SessionCredentials {
    pub id: Arc<str>,
    pub secret: String,
    pub token: String,
    pub session: Session,
}

impl std::fmt::Debug for SessionCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionCredentials")
            .field("id", &self.id)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// What a token holds, form v1.
#[derive(Serialize, Deserialize)]
struct Content {
    secret: String,
    #[serde(flatten)]
    session: Session,
}

impl Vault {
    /// Begins a session; it is nowhere but in what this gives.
    pub fn begin_session(&self, session: Session) -> SessionCredentials {
        let (id, secret) = (fresh_id(ID_PREFIX), fresh_secret());
        let content = Content {
            secret: secret.clone(),
            session: session.clone(),
        };
        let text = serde_json::to_string(&content).expect("texts and numbers are JSON");
        let Sealed { key, text } = self.seal(&place(&id), &text);
        SessionCredentials {
            id: id.into(),
            secret,
            token: format!("{FORM}.{key}.{text}"),
            session,
        }
    }

    /// The session of that id whose token this is; `None` when it is no token, or another session's. Whether it has ended
    /// and its access key still counts is for the caller to see.
    pub fn open_session(&self, id: &str, token: &str) -> Option<SessionCredentials> {
        if token.len() > TOKEN_CHARS_MAX {
            return None;
        }
        let mut parts = token.splitn(3, '.');
        let (form, key, text) = (parts.next()?, parts.next()?, parts.next()?);
        if form != FORM {
            return None;
        }
        let sealed = Sealed {
            key: key.to_owned(),
            text: text.to_owned(),
        };
        let opened = self.open(&place(id), &sealed).ok()?;
        let content: Content = serde_json::from_str(&opened).ok()?;
        Some(SessionCredentials {
            id: id.into(),
            secret: content.secret,
            token: token.to_owned(),
            session: content.session,
        })
    }
}

fn place(id: &str) -> String {
    format!("session/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_sessions_under_one_key() {
        let vault = Vault::fresh();
        let session = Session {
            parent: "AKIA".into(),
            account: "111111111111".into(),
            role: Role::Run,
            expires_s: 1,
            assumed: Some(Assumed {
                role: "run".into(),
                name: "deploy".into(),
            }),
        };
        let made = vault.begin_session(session.clone());
        let opened = vault.open_session(&made.id, &made.token).expect("it opens");
        assert_eq!(opened.session, session);
        assert_eq!(opened.secret, made.secret);
        assert!(made.id.starts_with(ID_PREFIX) && made.id.len() == 20);
        assert!(!made.token.contains(&made.secret));
        let other = vault.begin_session(session);
        let changed = made.token.replace(".", "..");
        let longer = format!("{}{}", made.token, "A".repeat(TOKEN_CHARS_MAX));
        for (id, token) in [
            (&other.id, &made.token),
            (&made.id, &other.token),
            (&made.id, &changed),
            (&made.id, &longer),
            (&made.id, &String::new()),
        ] {
            assert!(vault.open_session(id, token).is_none(), "{id} {token}");
        }
        let rotated = vault.rotated();
        assert!(rotated.open_session(&made.id, &made.token).is_some());
        let newest = rotated.newest();
        assert!(newest.open_session(&made.id, &made.token).is_none());
        let told = format!("{made:?}");
        assert!(!told.contains(&made.secret) && !told.contains(&made.token));
    }
}
