//! What an installation has for the plugins of an account, for `plugin inspect`: the account's own ceiling, and which secrets are
//! set. Hides where that is asked.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stepwell_sandbox::{Asked, Inspection, Sandbox, SecretSource};

use super::at_rest::{self, Missing};
use super::sealed;
use crate::args::KnownArgs;
use crate::client::Client;
use crate::exit::{Outcome, Stop};
use crate::host::TENANT;
use crate::policy::TaskSecrets;

/// See the module.
pub(super) struct Known {
    /// Whose plugins they are.
    pub(super) account: String,
    /// TOML, as `tenant set` has it.
    pub(super) ceiling: Option<String>,
    /// Names in the store, where they could be read.
    secrets: Option<BTreeSet<String>>,
}

impl Known {
    /// What the installation that was named has; nothing where none was. Without an account it is that of whoever asks.
    pub(super) async fn of(place: &KnownArgs, account: Option<&str>) -> Outcome<Known> {
        let client = match (place.endpoint(account), &place.data) {
            (Some(endpoint), _) => Client::server(&endpoint, None)?,
            (None, Some(data)) => {
                let host = at_rest::open_at(data, None, None, Missing::Refused).await?;
                Client::here(host, None)
            }
            (None, None) => {
                return Ok(Known {
                    account: account.unwrap_or(TENANT).to_owned(),
                    ceiling: None,
                    secrets: None,
                });
            }
        };
        let known = Known::ask(&client, account).await;
        client.close().await;
        known
    }

    async fn ask(client: &Client, account: Option<&str>) -> Outcome<Known> {
        let whose = account.map_or_else(|| json!({}), |account| json!({"account": account}));
        let described = client.try_call("Stepwell.DescribeTenant", whose.clone());
        let described = match described.await? {
            Ok(described) => described,
            // The default account is there without having been added.
            Err(refused) if refused.code == "ResourceNotFound" => Value::Null,
            Err(refused) => return Err(Stop::Usage(anyhow::anyhow!("{refused}"))),
        };
        let ceiling = described["ceiling"].as_str().map(str::to_owned);
        let account = account.or(described["account"].as_str());
        let account = account.unwrap_or(TENANT).to_owned();
        let listed = sealed::all(client, whose, "Stepwell.ListSecrets", "secrets").await;
        // A key that may not list them is no reason to show nothing else.
        let secrets = listed.ok().map(|secrets| {
            let names = secrets.iter().map(|secret| super::text(secret, "name"));
            names.map(str::to_owned).collect()
        });
        Ok(Known {
            account,
            ceiling,
            secrets,
        })
    }

    /// Has the account's own ceiling count in a sandbox.
    pub(super) fn apply(&self, sandbox: &Sandbox) -> Outcome {
        let account = &self.account;
        let Some(text) = &self.ceiling else {
            return Ok(());
        };
        let read = sandbox.parse_ceiling(account, "the ceiling", text);
        let own = read.map_err(|slips| Stop::Usage(anyhow::anyhow!(slips)))?;
        sandbox.set_ceiling(account, Some(own));
        Ok(())
    }

    /// Notes of each granted secret that it is not set, as far as anybody looked.
    pub(super) fn note_missing(&self, found: &mut Inspection, file: Option<&TaskSecrets>) {
        let account = &self.account;
        if file.is_none() && self.secrets.is_none() {
            return;
        }
        let is_set = |name: &str| {
            file.is_some_and(|file| file.secret(account, name).is_some())
                || self
                    .secrets
                    .as_ref()
                    .is_some_and(|names| names.contains(name))
        };
        let looked = match (file, &self.secrets) {
            (Some(_), Some(_)) => "neither in the file of --secrets nor in the store",
            (Some(_), None) => "not in the file of --secrets",
            (None, _) => "not in the store",
        };
        for asked in &mut found.asked {
            let missing = asked.secret.as_deref().filter(|name| !is_set(name));
            if let Some(name) = missing.filter(|_| asked.refused.is_none()) {
                asked.unset = Some(format!(
                    "{looked}: `stepwell secret put {name}{}` sets it",
                    of(account)
                ));
            }
        }
        let unset: Vec<String> = found.asked.iter().filter_map(unset).collect();
        for what in unset {
            found.warn(what);
        }
    }
}

fn unset(asked: &Asked) -> Option<String> {
    let why = asked.unset.as_ref()?;
    Some(format!("{} is not set: it is {why}", asked.what))
}

fn of(account: &str) -> String {
    match account == TENANT {
        true => String::new(),
        false => format!(" --tenant {account}"),
    }
}
