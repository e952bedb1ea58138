//! What an installation has for the plugins of an account, for `plugin inspect`: the account's own ceiling, and which secrets are
//! set. Hides where that is asked.

use std::collections::BTreeSet;

use serde_json::json;
use stepwell_sandbox::{Asked, Inspection, Sandbox, SecretSource};

use super::{sealed, tenant};
use crate::args::KnownArgs;
use crate::client::Client;
use crate::exit::{Outcome, Stop};
use crate::policy::TaskSecrets;

/// See the module.
#[derive(Default)]
pub(super) struct Known {
    /// TOML, as `tenant set` has it.
    pub(super) ceiling: Option<String>,
    /// Names in the store, where they could be read.
    secrets: Option<BTreeSet<String>>,
}

impl Known {
    /// What the installation that was named has; nothing where none was.
    pub(super) async fn of(place: &KnownArgs, account: &str) -> Outcome<Known> {
        let client = match (&place.endpoint, &place.data) {
            (Some(endpoint), _) => Client::server(endpoint, None)?,
            (None, Some(data)) if !data.is_dir() => {
                return Err(Stop::Usage(anyhow::anyhow!(
                    "there is no data directory `{}`\nhint: name one with --data DIR, or a running server with --endpoint URL",
                    data.display()
                )));
            }
            (None, Some(data)) => Client::here(tenant::open_with(data, None, None).await?, None),
            (None, None) => return Ok(Known::default()),
        };
        let known = Known::ask(&client, account).await;
        client.close().await;
        known
    }

    async fn ask(client: &Client, account: &str) -> Outcome<Known> {
        let whose = json!({"account": account});
        let described = client.try_call("Stepwell.DescribeTenant", whose.clone());
        let ceiling = match described.await? {
            Ok(described) => described["ceiling"].as_str().map(str::to_owned),
            // The default account is there without having been added.
            Err(refused) if refused.code == "ResourceNotFound" => None,
            Err(refused) => return Err(Stop::Usage(anyhow::anyhow!("{refused}"))),
        };
        let listed = sealed::all(client, whose, "Stepwell.ListSecrets", "secrets").await;
        // A key that may not list them is no reason to show nothing else.
        let secrets = listed.ok().map(|secrets| {
            let names = secrets.iter().map(|secret| super::text(secret, "name"));
            names.map(str::to_owned).collect()
        });
        Ok(Known { ceiling, secrets })
    }

    /// Has the account's own ceiling count in a sandbox.
    pub(super) fn apply(&self, sandbox: &Sandbox, account: &str) -> Outcome {
        let Some(text) = &self.ceiling else {
            return Ok(());
        };
        let read = sandbox.parse_ceiling(account, "the ceiling", text);
        let own = read.map_err(|slips| Stop::Usage(anyhow::anyhow!(slips)))?;
        sandbox.set_ceiling(account, Some(own));
        Ok(())
    }

    /// Notes of each granted secret that it is not set, as far as anybody looked.
    pub(super) fn note_missing(
        &self,
        found: &mut Inspection,
        account: &str,
        file: Option<&TaskSecrets>,
    ) {
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
    match account == crate::host::TENANT {
        true => String::new(),
        false => format!(" --tenant {account}"),
    }
}
