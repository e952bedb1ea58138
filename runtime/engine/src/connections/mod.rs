//! Connections: what HTTP tasks are authorized with and where they may go, by account and name. Hides secrets: they leave
//! this module in requests alone.

mod form;
mod stored;
mod token;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use stepwell_egress::{Client, Connector, HttpRule, Url};

use crate::limits::HTTP_CONNECT_TIME;
pub use form::{AllowForm, ApiKeyForm, BasicForm, ConnectionForm, OAuthForm, RuleForm};
pub(crate) use stored::StoredConnections;
pub use stored::{ConnectionSummary, KeptConnection};
use token::Tokens;
pub(crate) use token::Unauthorized;

/// The operator's own connections. Cheap to clone; all clones are the same, also when they are replaced. The default has none.
#[derive(Clone, Default)]
pub struct Connections(Arc<RwLock<Option<Arc<Known>>>>);

struct Known {
    client: Client,
    by_account: BTreeMap<String, BTreeMap<String, Arc<Opened>>>,
}

/// A connection with the tokens that were fetched for it.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    /// Whether it leads to public addresses alone, whatever its rules name.
    pub(crate) public: bool,
    tokens: Tokens,
}

/// One connection: EventBridge's, by its parts.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The requests that may be made with it; a private address only by a rule that names its host and port.
    pub allow: Vec<HttpRule>,
    pub authorization: Authorization,
    /// Added to every request, in the place of what a task says under the same name.
    pub additions: Additions,
}

/// How a request is authorized.
#[derive(Clone, Debug)]
pub enum Authorization {
    None,
    ApiKey { header: String, value: Secret },
    Basic { username: String, password: Secret },
    OAuth(OAuth),
}

/// OAuth's client credentials grant.
#[derive(Clone, Debug)]
pub struct OAuth {
    /// Where tokens come from; of an operator's connection it may be a private address.
    pub endpoint: Url,
    /// GET, POST or PUT.
    pub method: String,
    pub client_id: String,
    pub client_secret: Secret,
    /// Of the request for a token.
    pub additions: Additions,
}

/// Parts of a request that come from a connection.
#[derive(Clone, Debug, Default)]
pub struct Additions {
    pub headers: Vec<(String, Secret)>,
    pub query: Vec<(String, Secret)>,
    pub body: Vec<(String, Secret)>,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known();
        let known = known.iter().flat_map(|known| known.by_account.iter());
        let names = known.map(|(account, named)| (account, named.keys().collect::<Vec<_>>()));
        f.debug_map().entries(names).finish()
    }
}

impl Connections {
    /// The connections of each account by their names; `connector` says whom TLS trusts.
    pub fn new(
        by_account: BTreeMap<String, BTreeMap<String, Connection>>,
        connector: Connector,
    ) -> Connections {
        let opened = |connection| Arc::new(Opened::new(connection, false));
        let by_account = by_account.into_iter().map(|(account, by_name)| {
            let by_name = by_name.into_iter();
            let opened = by_name.map(|(name, connection)| (name, opened(connection)));
            (account, opened.collect())
        });
        let known = Known {
            client: Client::new(connector, HTTP_CONNECT_TIME),
            by_account: by_account.collect(),
        };
        Connections(Arc::new(RwLock::new(Some(Arc::new(known)))))
    }

    /// Takes others in the place of these; requests under way end as they began.
    pub fn replace(&self, others: &Connections) {
        let others = others.known();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = others;
    }

    fn known(&self) -> Option<Arc<Known>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The account's connection of an ARN or a name, with the client for its requests. The ARN's own account counts for
    /// nothing: a definition runs here with the connections of who runs it.
    pub(crate) fn find(&self, account: &str, named: &str) -> Option<(Arc<Opened>, Client)> {
        let known = self.known()?;
        let opened = known.by_account.get(account)?.get(name_of(named))?;
        Some((opened.clone(), known.client.clone()))
    }
}

impl Opened {
    fn new(connection: Connection, public: bool) -> Opened {
        Opened {
            connection,
            public,
            tokens: Tokens::default(),
        }
    }

    /// One of the store, whose rules open private addresses only when an operator said so.
    fn stored(mut connection: Connection, private: bool) -> Opened {
        if !private {
            let rules = connection.allow.into_iter();
            connection.allow = rules.map(HttpRule::public).collect();
        }
        Opened::new(connection, !private)
    }

    /// A token for a connection that is authorized by OAuth; `spent` is one that was refused.
    pub(crate) async fn token(
        &self,
        client: &Client,
        spent: Option<&str>,
    ) -> Result<Option<Arc<str>>, Unauthorized> {
        match &self.connection.authorization {
            Authorization::OAuth(oauth) => {
                let token = self.tokens.get(client, oauth, self.public, spent).await?;
                Ok(Some(token))
            }
            Authorization::None | Authorization::ApiKey { .. } | Authorization::Basic { .. } => {
                Ok(None)
            }
        }
    }
}

/// The name in `arn:aws:events:REGION:ACCOUNT:connection/NAME/ID`, or the text itself.
pub(crate) fn name_of(named: &str) -> &str {
    named
        .split_once(":connection/")
        .map_or(named, |(_, tail)| tail.split('/').next().unwrap_or(tail))
}

#[cfg(test)]
mod tests {
    use super::{Authorization, Secret, name_of};

    #[test]
    fn connections_are_named_by_their_arns() {
        let arn = "arn:aws:events:us-east-1:000000000000:connection/Stripe/81210c42-8af1-456b";
        assert_eq!(name_of(arn), "Stripe");
        assert_eq!(name_of("Stripe"), "Stripe");
    }

    #[test]
    fn secrets_are_not_shown() {
        let authorization = Authorization::Basic {
            username: "u".to_owned(),
            password: Secret::from("hidden".to_owned()),
        };
        assert!(!format!("{authorization:?}").contains("hidden"));
    }
}
