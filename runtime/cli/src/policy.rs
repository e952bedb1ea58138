//! The operator's side of plugins: the file of ceilings, and that of tasks' secrets. Hides TOML and JSON, and where a
//! secret is kept: in the file, in the environment or in a file of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use stepwell_sandbox::{Ceilings, SecretSource};

use crate::args::PolicyArgs;
use crate::connections::{Secrets, Text, without_text, without_values};
use crate::exit::{Blame, Outcome, Stop};
use crate::given;
use crate::host::TENANT;
use crate::watched::Seen;

/// What the operator says of plugins.
#[derive(Clone, Default)]
pub(crate) struct Policy {
    pub(crate) ceilings: Ceilings,
    pub(crate) secrets: TaskSecrets,
}

/// Secrets by account and name. Clones are the same, also when they are replaced.
#[derive(Clone, Default)]
pub(crate) struct TaskSecrets(Arc<RwLock<ByAccount>>);

type ByAccount = BTreeMap<String, BTreeMap<String, String>>;

impl TaskSecrets {
    fn new(all: ByAccount) -> TaskSecrets {
        TaskSecrets(Arc::new(RwLock::new(all)))
    }

    /// Takes others in the place of these.
    pub(crate) fn replace(&self, others: &TaskSecrets) {
        let others = others.0.read().unwrap_or_else(PoisonError::into_inner);
        let others = others.clone();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = others;
    }
}

impl SecretSource for TaskSecrets {
    fn secret(&self, tenant: &str, name: &str) -> Option<String> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(tenant)?.get(name).cloned()
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The default account's.
    #[serde(default)]
    secret: BTreeMap<String, Text>,
    #[serde(default)]
    account: BTreeMap<String, OfAccount>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfAccount {
    secret: BTreeMap<String, Text>,
}

/// What the flags name; nothing is read that they do not.
pub(crate) fn read(args: &PolicyArgs) -> Outcome<Policy> {
    read_from(args, &Seen::default())
}

/// The same; `seen` gets the files that belong to it.
pub(crate) fn read_from(args: &PolicyArgs, seen: &Seen) -> Outcome<Policy> {
    let mut policy = Policy::default();
    if let Some(path) = &args.ceilings {
        seen.add(path);
        let text = given::read(path)?;
        policy.ceilings = Ceilings::parse(&path.display().to_string(), &text).map_err(|slips| {
            Stop::Usage(anyhow!(
                "{slips}\nhint: docs/plugins.md has a file of ceilings whole"
            ))
        })?;
    }
    if let Some(path) = &args.secrets {
        seen.add(path);
        let text = given::read(path)?;
        policy.secrets = parse(path, &text, &|name| std::env::var(name).ok(), seen)
            .with_context(|| format!("the secrets of `{}`", path.display()))
            .usage()?;
    }
    Ok(policy)
}

/// `variable` looks into the environment.
fn parse(
    path: &Path,
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    seen: &Seen,
) -> anyhow::Result<TaskSecrets> {
    let json = path
        .extension()
        .is_some_and(|extension| extension == "json");
    let file: File = match json {
        true => serde_json::from_str(text)
            .map_err(|error| anyhow!(without_values(&error.to_string())))?,
        false => toml::from_str(text).map_err(|error| without_text(&error, text))?,
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let place = Secrets {
        folder,
        variable,
        seen,
    };
    let mut all = BTreeMap::from([(TENANT.to_owned(), named(file.secret, &place)?)]);
    for (account, of) in file.account {
        let digits = account.len() == TENANT.len() && account.bytes().all(|b| b.is_ascii_digit());
        if !digits || account == TENANT {
            bail!(
                "account.{account}: an account has 12 digits; the default one's secrets are [secret]"
            );
        }
        let its = named(of.secret, &place).with_context(|| format!("account.{account}"))?;
        all.insert(account, its);
    }
    Ok(TaskSecrets::new(all))
}

fn named(
    written: BTreeMap<String, Text>,
    place: &Secrets<'_>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let read = written.into_iter().map(|(name, text)| {
        let secret = place.text(text).with_context(|| format!("secret.{name}"))?;
        Ok((name, secret))
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str, text: &str) -> Result<TaskSecrets, String> {
        let variable = |name: &str| (name == "KEY").then(|| "hidden".to_owned());
        parse(Path::new(name), text, &variable, &Seen::default())
            .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn secrets_are_the_accounts() {
        let toml = "
            [secret]
            A = \"plain\"
            B = { env = \"KEY\" }
            [account.111111111111.secret]
            A = \"other\"
        ";
        let json = r#"{"secret": {"A": "plain", "B": {"env": "KEY"}}, "account": {"111111111111": {"secret": {"A": "other"}}}}"#;
        for secrets in [parsed("s.toml", toml), parsed("s.json", json)] {
            let secrets = secrets.expect("it is right");
            for (account, name, secret) in [
                (TENANT, "A", Some("plain")),
                (TENANT, "B", Some("hidden")),
                ("111111111111", "A", Some("other")),
                ("111111111111", "B", None),
                ("222222222222", "A", None),
            ] {
                assert_eq!(secrets.secret(account, name).as_deref(), secret);
            }
        }
    }

    #[test]
    fn what_is_wrong_shows_no_secret() {
        for (text, why) in [
            ("[secret]\nA = 1", "line 2: "),
            (
                "[secret]\nA = { env = \"NO\" }",
                "secret.A: the environment has no variable `NO`",
            ),
            (
                "[account.1.secret]\nA = \"pw\"",
                "account.1: an account has 12 digits",
            ),
            ("secret = \"pw\"", "line 1: "),
        ] {
            let found = parsed("s.toml", text).err().expect("it is wrong");
            assert!(found.contains(why) && !found.contains("pw"), "{found}");
        }
    }
}
