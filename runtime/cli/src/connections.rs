//! The file of `--connections`: credentials of HTTP tasks and where they may go. Hides TOML and JSON, and where a secret
//! is kept: in the file, in the environment or in a file of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use stepwell_egress::{Connector, HttpRule, Url};
use stepwell_engine::{Additions, Authorization, Connection, Connections, OAuth, Secret};

use crate::exit::{Blame, Outcome};
use crate::given;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Certificates of further authorities, PEM; relative to this file.
    trust: Option<PathBuf>,
    #[serde(default)]
    connection: BTreeMap<String, Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    allow: Vec<Allowed>,
    api_key: Option<ApiKey>,
    basic: Option<Basic>,
    oauth: Option<Grant>,
    #[serde(default)]
    headers: BTreeMap<String, Text>,
    #[serde(default)]
    query: BTreeMap<String, Text>,
    #[serde(default)]
    body: BTreeMap<String, Text>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "an origin such as \"https://api.example.com\", or { origin = \"…\", methods = [\"GET\"], path = \"/v1\" }"
)]
enum Allowed {
    Origin(String),
    Rule {
        origin: String,
        #[serde(default)]
        methods: Vec<String>,
        path: Option<String>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApiKey {
    header: String,
    value: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Basic {
    username: String,
    password: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    endpoint: String,
    #[serde(default = "post")]
    method: String,
    client_id: String,
    client_secret: Text,
    #[serde(default)]
    headers: BTreeMap<String, Text>,
    #[serde(default)]
    query: BTreeMap<String, Text>,
    #[serde(default)]
    body: BTreeMap<String, Text>,
}

fn post() -> String {
    "POST".to_owned()
}

/// A text, or where it is.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a text, { env = \"VARIABLE\" } or { file = \"PATH\" }"
)]
enum Text {
    Plain(String),
    Env { env: String },
    File { file: PathBuf },
}

/// The connections of a file.
pub(crate) fn read(path: &Path) -> Outcome<Connections> {
    let text = given::read(path)?;
    parse(path, &text, &|name| std::env::var(name).ok())
        .with_context(|| format!("the connections of `{}`", path.display()))
        .usage()
}

/// `variable` looks into the environment.
fn parse(
    path: &Path,
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> anyhow::Result<Connections> {
    let json = path
        .extension()
        .is_some_and(|extension| extension == "json");
    let file: File = match json {
        true => serde_json::from_str(text)?,
        false => toml::from_str(text).map_err(|error| without_text(&error, text))?,
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let secrets = Secrets { folder, variable };
    let connector = match &file.trust {
        None => Connector::new()?,
        Some(trust) => {
            let path = folder.join(trust);
            let pem = std::fs::read(&path)
                .with_context(|| format!("trust: `{}` cannot be read", path.display()))?;
            Connector::trusting(&pem).with_context(|| format!("trust: `{}`", path.display()))?
        }
    };
    let mut connections = BTreeMap::new();
    for (name, written) in file.connection {
        let read = connection(written, &secrets).with_context(|| format!("connection.{name}"))?;
        check_name(&name)?;
        connections.insert(name, read);
    }
    Ok(Connections::new(connections, connector))
}

/// The error with its line's number, and without the line: it may hold a secret.
fn without_text(error: &toml::de::Error, text: &str) -> anyhow::Error {
    let at = error.span().map_or(0, |span| span.start);
    let line = text.get(..at).unwrap_or(text).matches('\n').count() + 1;
    anyhow!("line {line}: {}", error.message())
}

/// Names as EventBridge has them, so that a definition's ARN can name them.
fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if (1..=64).contains(&name.len()) && name.chars().all(plain) {
        return Ok(());
    }
    bail!("`{name}` is no name of a connection: it has 1 to 64 letters, digits, `.`, `-` and `_`")
}

fn connection(written: Written, secrets: &Secrets<'_>) -> anyhow::Result<Connection> {
    if written.allow.is_empty() {
        bail!(
            "allow: it names nothing, so no request could be made\nhint: allow = [\"https://api.example.com\"]"
        );
    }
    let given = [
        written.api_key.is_some(),
        written.basic.is_some(),
        written.oauth.is_some(),
    ];
    if given.iter().filter(|given| **given).count() > 1 {
        bail!("api_key, basic and oauth exclude each other");
    }
    let allow = written.allow.into_iter().map(rule);
    let authorization = match (written.api_key, written.basic, written.oauth) {
        (Some(key), _, _) => Authorization::ApiKey {
            header: key.header,
            value: secrets.read(key.value).context("api_key.value")?,
        },
        (_, Some(basic), _) => Authorization::Basic {
            username: basic.username,
            password: secrets.read(basic.password).context("basic.password")?,
        },
        (_, _, Some(grant)) => Authorization::OAuth(oauth(grant, secrets).context("oauth")?),
        (None, None, None) => Authorization::None,
    };
    Ok(Connection {
        allow: allow.collect::<anyhow::Result<_>>().context("allow")?,
        authorization,
        additions: secrets.additions(written.headers, written.query, written.body)?,
    })
}

fn rule(allowed: Allowed) -> anyhow::Result<HttpRule> {
    let (origin, methods, path) = match allowed {
        Allowed::Origin(origin) => (origin, Vec::new(), None),
        Allowed::Rule {
            origin,
            methods,
            path,
        } => (origin, methods, path),
    };
    HttpRule::parse(&origin, &methods, path.as_deref()).map_err(|why| anyhow!(why))
}

fn oauth(grant: Grant, secrets: &Secrets<'_>) -> anyhow::Result<OAuth> {
    let endpoint = Url::parse(&grant.endpoint)
        .ok()
        .filter(|url| matches!(url.scheme(), "https" | "http") && url.host_str().is_some());
    let endpoint = endpoint.with_context(|| {
        format!(
            "endpoint: `{}` is no URL with https or http",
            grant.endpoint
        )
    })?;
    if !matches!(grant.method.as_str(), "GET" | "POST" | "PUT") {
        bail!("method: `{}` is none of GET, POST, PUT", grant.method);
    }
    Ok(OAuth {
        endpoint,
        method: grant.method,
        client_id: grant.client_id,
        client_secret: secrets.read(grant.client_secret).context("client_secret")?,
        additions: secrets.additions(grant.headers, grant.query, grant.body)?,
    })
}

/// Where texts are that the file only points to.
struct Secrets<'a> {
    folder: &'a Path,
    variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Secrets<'_> {
    fn read(&self, text: Text) -> anyhow::Result<Secret> {
        Ok(Secret::from(match text {
            Text::Plain(text) => text,
            Text::Env { env } => (self.variable)(&env).with_context(|| {
                format!("the environment has no variable `{env}` with UTF-8 text")
            })?,
            Text::File { file } => {
                let path = self.folder.join(file);
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("`{}` cannot be read", path.display()))?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
        }))
    }

    fn additions(
        &self,
        headers: BTreeMap<String, Text>,
        query: BTreeMap<String, Text>,
        body: BTreeMap<String, Text>,
    ) -> anyhow::Result<Additions> {
        let all = |texts: BTreeMap<String, Text>| {
            let read = texts.into_iter().map(|(name, text)| {
                let secret = self.read(text).with_context(|| name.clone())?;
                Ok((name, secret))
            });
            read.collect::<anyhow::Result<Vec<_>>>()
        };
        Ok(Additions {
            headers: all(headers).context("headers")?,
            query: all(query).context("query")?,
            body: all(body).context("body")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str, text: &str) -> Result<String, String> {
        let variable = |name: &str| (name == "KEY").then(|| "hidden".to_owned());
        parse(Path::new(name), text, &variable)
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
        assert_eq!(parsed("c.toml", toml), Ok(r#"["a", "b"]"#.to_owned()));
        assert_eq!(parsed("c.json", json), Ok(r#"["a", "b"]"#.to_owned()));
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
            ("trust = \"none.pem\"", "trust: `none.pem` cannot be read"),
        ] {
            let found = parsed("c.toml", text).expect_err(text);
            assert!(found.contains(why), "{text}: {found}");
        }
    }
}
