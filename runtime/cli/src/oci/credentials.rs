//! Who one is to a registry: name and password from the environment, from Docker's configuration, or from the helper that
//! it names. Hides that file's form.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::exit::{Blame, Outcome, Stop};

const USER: &str = "STEPWELL_REGISTRY_USER";
const PASSWORD: &str = "STEPWELL_REGISTRY_PASSWORD";
/// Docker's own registry, and what Docker's configuration and helpers call it.
const HUB: [&str; 2] = ["docker.io", "https://index.docker.io/v1/"];

/// See the module. Shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

impl Credentials {
    /// As a header has it.
    pub(super) fn basic(&self) -> String {
        let pair = format!("{}:{}", self.user, self.password);
        format!("Basic {}", STANDARD.encode(pair))
    }
}

/// What is known for a registry; none is fine for what everyone may read.
pub(super) fn of(registry: &str) -> Outcome<Option<Credentials>> {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    match (variable(USER), variable(PASSWORD)) {
        (Some(user), Some(password)) => return Ok(Some(Credentials { user, password })),
        (None, None) => {}
        (Some(_), None) | (None, Some(_)) => {
            return Err(Stop::Usage(anyhow!(
                "of {USER} and {PASSWORD} only one is set\nhint: set both, or none to use Docker's configuration"
            )));
        }
    }
    let Some(path) = docker_config() else {
        return Ok(None);
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("`{}` cannot be read", path.display()))
                .usage();
        }
    };
    let config: Value = serde_json::from_str(&text)
        .with_context(|| format!("`{}` is no JSON", path.display()))
        .usage()?;
    let known_as = known_as(registry);
    match helper(&config, known_as) {
        Some(helper) => ask(&helper, known_as),
        None => stored(&config, known_as)
            .with_context(|| format!("`{}`", path.display()))
            .usage(),
    }
}

/// What Docker's configuration calls a registry.
fn known_as(registry: &str) -> &str {
    let [hub, of_hub] = HUB;
    match registry == hub {
        true => of_hub,
        false => registry,
    }
}

/// Where `docker login` keeps what it was told.
fn docker_config() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let docker = folder("DOCKER_CONFIG").map(PathBuf::from);
    let docker = docker.or_else(|| Some(PathBuf::from(folder("HOME")?).join(".docker")));
    docker.map(|docker| docker.join("config.json"))
}

/// The program that keeps the password of a registry.
fn helper(config: &Value, registry: &str) -> Option<String> {
    let own = config["credHelpers"][registry].as_str();
    let name = own.or_else(|| {
        // One for all is asked where the file itself has nothing.
        let has = config["auths"][registry]["auth"].is_string();
        config["credsStore"].as_str().filter(|_| !has)
    })?;
    Some(format!("docker-credential-{name}"))
}

/// What stands in the file itself.
fn stored(config: &Value, registry: &str) -> anyhow::Result<Option<Credentials>> {
    let Some(auth) = config["auths"][registry]["auth"].as_str() else {
        return Ok(None);
    };
    let broken =
        || anyhow!("the entry of {registry} is damaged; `docker login {registry}` makes it anew");
    let pair = STANDARD.decode(auth).map_err(|_| broken())?;
    let pair = String::from_utf8(pair).map_err(|_| broken())?;
    let (user, password) = pair.split_once(':').ok_or_else(broken)?;
    Ok(Some(Credentials {
        user: user.to_owned(),
        password: password.to_owned(),
    }))
}

/// Asks a helper: the registry on its stdin, JSON on its stdout.
fn ask(program: &str, registry: &str) -> Outcome<Option<Credentials>> {
    let unusable = || format!("`{program}`, which Docker's configuration names for {registry}");
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(unusable)
        .usage()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that reads nothing says why by its end.
        let _ = stdin.write_all(registry.as_bytes());
    }
    let output = child.wait_with_output().with_context(unusable).usage()?;
    if !output.status.success() {
        // So it says that it knows nothing of the registry.
        return Ok(None);
    }
    let told: Value = serde_json::from_slice(&output.stdout)
        .with_context(unusable)
        .usage()?;
    let text = |key: &str| told[key].as_str().map(str::to_owned);
    let pair = text("Username").zip(text("Secret"));
    Ok(pair.map(|(user, password)| Credentials { user, password }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn dockers_configuration_is_understood() {
        let config = json!({
            "auths": {
                "reg.io": {"auth": STANDARD.encode("me:pass:word")},
                "broken.io": {"auth": "%"},
                "kept.io": {},
            },
            "credHelpers": {"cloud.io": "cloud"},
            "credsStore": "desktop",
        });
        let known = stored(&config, "reg.io").unwrap().unwrap();
        assert_eq!(
            (known.user.as_str(), known.password.as_str()),
            ("me", "pass:word")
        );
        assert_eq!(
            known.basic(),
            format!("Basic {}", STANDARD.encode("me:pass:word"))
        );
        assert!(stored(&config, "other.io").unwrap().is_none());
        let why = stored(&config, "broken.io").err().unwrap().to_string();
        assert!(why.contains("docker login broken.io"), "{why}");
        for (registry, program) in [
            ("cloud.io", Some("docker-credential-cloud")),
            ("kept.io", Some("docker-credential-desktop")),
            ("reg.io", None),
        ] {
            assert_eq!(helper(&config, registry).as_deref(), program, "{registry}");
        }
        assert_eq!(helper(&json!({}), "reg.io"), None);
        assert_eq!(known_as("docker.io"), "https://index.docker.io/v1/");
        assert_eq!(known_as("reg.io"), "reg.io");
    }
}
