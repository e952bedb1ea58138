//! The file of `--connections`: credentials of HTTP tasks and where they may go. Hides TOML and JSON, and where a secret
//! is kept: in the file, in the environment or in a file of its own.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use stepwell_egress::Connector;
use stepwell_engine::{Connection, ConnectionForm, Connections};

use crate::exit::{Blame, Outcome};
use crate::given;
use crate::host::TENANT;
use crate::watched::Seen;

/// The longest secret in a file of its own, as Secrets Manager has it.
const SECRET_BYTES_MAX: u64 = 65_536;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Certificates of further authorities, PEM; relative to this file.
    trust: Option<PathBuf>,
    /// The default account's.
    #[serde(default)]
    connection: BTreeMap<String, ConnectionForm<Text>>,
    #[serde(default)]
    account: BTreeMap<String, OfAccount>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfAccount {
    connection: BTreeMap<String, ConnectionForm<Text>>,
}

/// A text, or where it is.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a text, { env = \"VARIABLE\" } or { file = \"PATH\" }"
)]
pub(crate) enum Text {
    Plain(String),
    Env(InEnvironment),
    File(InFile),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InEnvironment {
    env: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InFile {
    file: PathBuf,
}

/// The connections of a file; `seen` gets the files that belong to it.
pub(crate) fn read(path: &Path, seen: &Seen) -> Outcome<Connections> {
    seen.add(path);
    let text = given::read(path)?;
    parse(path, &text, &|name| std::env::var(name).ok(), seen)
        .with_context(|| format!("the connections of `{}`", path.display()))
        .usage()
}

/// One connection as the file has it below `[connection.NAME]`, TOML or JSON, with its texts read from where they are.
pub(crate) fn one(origin: &str, folder: &Path, text: &str) -> Outcome<ConnectionForm> {
    let json = text.trim_start().starts_with('{');
    let written = match json {
        true => {
            serde_json::from_str(text).map_err(|error| anyhow!(without_values(&error.to_string())))
        }
        false => toml::from_str(text).map_err(|error| without_text(&error, text)),
    };
    let secrets = Secrets {
        folder,
        variable: &|name| std::env::var(name).ok(),
        seen: &Seen::default(),
    };
    let read = written.and_then(|written| connection(written, &secrets));
    let checked = read.and_then(|form| match form.clone().check() {
        Ok(_) => Ok(form),
        Err(why) => Err(anyhow!(why)),
    });
    checked
        .with_context(|| format!("the connection of {origin}"))
        .usage()
}

/// `variable` looks into the environment.
fn parse(
    path: &Path,
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    seen: &Seen,
) -> anyhow::Result<Connections> {
    let json = path
        .extension()
        .is_some_and(|extension| extension == "json");
    let file: File = match json {
        true => serde_json::from_str(text)
            .map_err(|error| anyhow!(without_values(&error.to_string())))?,
        false => toml::from_str(text).map_err(|error| without_text(&error, text))?,
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let secrets = Secrets {
        folder,
        variable,
        seen,
    };
    let connector = match &file.trust {
        None => Connector::new()?,
        Some(trust) => {
            let path = folder.join(trust);
            seen.add(&path);
            let pem = std::fs::read(&path)
                .with_context(|| format!("trust: `{}` cannot be read", path.display()))?;
            Connector::trusting(&pem).with_context(|| format!("trust: `{}`", path.display()))?
        }
    };
    let mut by_account = BTreeMap::new();
    let own = all(file.connection, &secrets)?;
    by_account.insert(TENANT.to_owned(), own);
    for (account, of) in file.account {
        if account.len() != TENANT.len() || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            bail!("account.{account}: an account has {} digits", TENANT.len());
        }
        if account == TENANT {
            bail!(
                "account.{account}: this is the default account, whose connections are [connection.NAME]"
            );
        }
        let its = all(of.connection, &secrets).with_context(|| format!("account.{account}"))?;
        by_account.insert(account, its);
    }
    Ok(Connections::new(by_account, connector))
}

fn all(
    written: BTreeMap<String, ConnectionForm<Text>>,
    secrets: &Secrets<'_>,
) -> anyhow::Result<BTreeMap<String, Connection>> {
    let read = written.into_iter().map(|(name, written)| {
        let read = connection(written, secrets);
        let read = read.and_then(|form| form.check().map_err(|why| anyhow!(why)));
        let read = read.with_context(|| format!("connection.{name}"))?;
        check_name(&name)?;
        Ok((name, read))
    });
    read.collect()
}

/// The error with its line's number, and without the line: it may hold a secret.
pub(crate) fn without_text(error: &toml::de::Error, text: &str) -> anyhow::Error {
    let at = error.span().map_or(0, |span| span.start);
    let line = text.get(..at).unwrap_or(text).matches('\n').count() + 1;
    anyhow!("line {line}: {}", without_values(error.message()))
}

/// The message of a reader without the text that it found in the place of something else: it may be the secret itself.
pub(crate) fn without_values(message: &str) -> String {
    let found = message
        .find("string \"")
        .zip(message.rfind("\", expected "));
    match found {
        Some((from, to)) if from < to => {
            format!("{}a text{}", &message[..from], &message[to + 1..])
        }
        Some(_) | None => message.to_owned(),
    }
}

/// Names as EventBridge has them, so that a definition's ARN can name them.
fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if (1..=64).contains(&name.len()) && name.chars().all(plain) {
        return Ok(());
    }
    bail!("`{name}` is no name of a connection: it has 1 to 64 letters, digits, `.`, `-` and `_`")
}

/// One connection with its texts read from where they are.
fn connection(
    written: ConnectionForm<Text>,
    secrets: &Secrets<'_>,
) -> anyhow::Result<ConnectionForm> {
    written
        .with_texts(&mut |place: &str, text| secrets.text(text).with_context(|| place.to_owned()))
}

/// Where texts are that the file only points to.
pub(crate) struct Secrets<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// Gets the files that are read.
    pub(crate) seen: &'a Seen,
}

impl Secrets<'_> {
    pub(crate) fn text(&self, text: Text) -> anyhow::Result<String> {
        match text {
            Text::Plain(text) => Ok(text),
            Text::Env(InEnvironment { env }) => (self.variable)(&env).with_context(|| {
                format!("the environment has no variable `{env}` with UTF-8 text")
            }),
            Text::File(InFile { file }) => {
                let path = self.folder.join(file);
                self.seen.add(&path);
                secret_of(&path)
            }
        }
    }
}

/// The text of a file without its last line break; what is longer than [`SECRET_BYTES_MAX`] is no secret.
fn secret_of(path: &Path) -> anyhow::Result<String> {
    let unreadable = || format!("`{}` cannot be read", path.display());
    let mut text = String::new();
    std::fs::File::open(path)
        .with_context(unreadable)?
        .take(SECRET_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(unreadable)?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        bail!(
            "`{}` is longer than {SECRET_BYTES_MAX} bytes, the most for a secret",
            path.display()
        );
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str, text: &str) -> Result<String, String> {
        let variable = |name: &str| (name == "KEY").then(|| "hidden".to_owned());
        parse(Path::new(name), text, &variable, &Seen::default())
            .map(|connections| format!("{connections:?}"))
            .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn both_notations_say_the_same() {
        let toml = "
            [connection.a]
            allow = [\"https://a.example\", { origin = \"http://127.0.0.1:9\", methods = [\"GET\"], path = \"/v1\" }]
            api_key = { header = \"X-Key\", value = { env = \"KEY\" } }
            query = { q = \"1\" }
            [connection.b]
            allow = [\"https://b.example\"]
            oauth = { endpoint = \"https://b.example/token\", client_id = \"i\", client_secret = \"s\" }
        ";
        let json = r#"{"connection": {
            "a": {"allow": ["https://a.example"], "basic": {"username": "u", "password": {"env": "KEY"}}},
            "b": {"allow": ["https://b.example"]}}}"#;
        let both = r#"{"000000000000": ["a", "b"]}"#.to_owned();
        assert_eq!(parsed("c.toml", toml), Ok(both.clone()));
        assert_eq!(parsed("c.json", json), Ok(both));
    }

    #[test]
    fn an_account_has_connections_of_its_own() {
        let text = "
            [connection.a]
            allow = [\"https://a.example\"]
            [account.111111111111.connection.a]
            allow = [\"https://other.example\"]
        ";
        let found = r#"{"000000000000": ["a"], "111111111111": ["a"]}"#.to_owned();
        assert_eq!(parsed("c.toml", text), Ok(found));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let allow = "allow = [\"https://a.example\"]";
        for (text, why) in [
            ("[connection.a]", "missing field `allow`"),
            (
                "[connection.a]\nallow = []",
                "connection.a: allow: it names nothing",
            ),
            (
                "[connection.a]\nallow = [\"ftp://x\"]",
                "connection.a: allow: `ftp://x`: the scheme `ftp`",
            ),
            (
                &format!(
                    "[connection.a]\n{allow}\napi_key = {{ header = \"X\", value = {{ env = \"NO\" }} }}"
                ),
                "connection.a: api_key.value: the environment has no variable `NO`",
            ),
            (
                &format!("[connection.a]\n{allow}\napikey = 1"),
                "unknown field `apikey`",
            ),
            (
                &format!("[connection.a]\n{allow}\nheaders = {{ X = 1 }}"),
                "a text, { env = \"VARIABLE\" } or { file = \"PATH\" }",
            ),
            (
                &format!("[connection.\"a b\"]\n{allow}"),
                "`a b` is no name of a connection",
            ),
            (
                &format!("[account.1.connection.a]\n{allow}"),
                "account.1: an account has 12 digits",
            ),
            (
                &format!("[account.000000000000.connection.a]\n{allow}"),
                "this is the default account",
            ),
            ("trust = \"none.pem\"", "trust: `none.pem` cannot be read"),
            (
                "[connection.a]\nallow = [{ origin = \"https://a.example\", method = [\"GET\"] }]",
                "an origin such as",
            ),
            (
                &format!(
                    "[connection.a]\n{allow}\napi_key = {{ header = \"X\", value = {{ env = \"KEY\", file = \"f\" }} }}"
                ),
                "a text, { env = \"VARIABLE\" } or { file = \"PATH\" }",
            ),
            (
                &format!(
                    "[connection.a]\n{allow}\noauth = {{ endpoint = \"https://u:p@b\", client_id = \"i\", client_secret = \"s\" }}"
                ),
                "oauth: endpoint: its URL holds a user name",
            ),
        ] {
            let found = parsed("c.toml", text).expect_err(text);
            assert!(found.contains(why), "{text}: {found}");
        }
    }

    #[test]
    fn an_error_never_repeats_what_may_be_a_secret() {
        let allow = "allow = [\"https://a.example\"]";
        for (name, text) in [
            (
                "c.toml",
                format!("[connection.a]\n{allow}\napi_key = \"SECRET\""),
            ),
            (
                "c.toml",
                format!("[connection.a]\n{allow}\nbasic = \"SECRET\""),
            ),
            (
                "c.toml",
                format!("[connection.a]\n{allow}\noauth = \"SECRET\""),
            ),
            (
                "c.toml",
                format!("[connection.a]\n{allow}\nheaders = \"SECRET\""),
            ),
            (
                "c.toml",
                "[connection.a]\nallow = [\"https://u:SECRET@a.example\"]".to_owned(),
            ),
            (
                "c.toml",
                format!(
                    "[connection.a]\n{allow}\noauth = {{ endpoint = \"SECRET\", client_id = \"i\", client_secret = \"s\" }}"
                ),
            ),
            (
                "c.json",
                r#"{"connection": {"a": {"allow": ["https://a.example"], "api_key": "SECRET"}}}"#
                    .to_owned(),
            ),
        ] {
            let found = parsed(name, &text).expect_err(&text);
            assert!(!found.contains("SECRET"), "{text}: {found}");
        }
    }
}
