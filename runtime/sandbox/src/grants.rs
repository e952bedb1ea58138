//! Capabilities: what a plugin asks for, what the operator allows, and what both together give.

use crate::folders::{self, Denied, Guarded};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use stepwell_egress::{HttpRule, Reach, Target};

/// A set of capabilities: a plugin's request, or an operator's ceiling.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    /// Environment variables. In a ceiling the names count, and a non-empty value replaces the plugin's.
    pub env: BTreeMap<String, String>,
    /// Settings of the config interface. In a ceiling the names count, and a non-empty value replaces the plugin's.
    pub config: BTreeMap<String, String>,
    /// Names of secrets.
    pub secrets: BTreeSet<String>,
    /// Outgoing HTTP.
    pub http: Vec<HttpRule>,
    /// Folders.
    pub fs: Vec<FsGrant>,
}

/// What an operator allows to a tenant's plugins.
#[derive(Debug, Clone, Default)]
pub enum Ceiling {
    /// Whatever the manifest asks for: the operator wrote the manifests.
    AsAsked,
    /// Nothing at all.
    #[default]
    Nothing,
    /// Only these.
    Only(Box<Grants>),
}

/// A folder that a plugin may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsGrant {
    /// The folder on the host: relative to the plugin's own folder, or absolute.
    pub host: PathBuf,
    /// Its name for the guest.
    pub guest: String,
    /// Whether it may be written to.
    pub mode: FsMode,
}

/// Whether a folder may be written to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum FsMode {
    /// Reading only.
    #[default]
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

/// What a plugin has after asking and allowing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Effective {
    pub(crate) env: Vec<(String, String)>,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) secrets: BTreeSet<String>,
    pub(crate) http: HttpGrant,
    /// Canonical folders.
    pub(crate) fs: Vec<FsGrant>,
    /// What was asked for and not allowed, for people.
    pub(crate) missing: Vec<String>,
}

/// Both sides of outgoing HTTP. A request leaves when a rule of each matches.
#[derive(Debug, Clone, Default)]
pub(crate) struct HttpGrant {
    asked: Vec<HttpRule>,
    /// None: whatever is asked.
    allowed: Option<Vec<HttpRule>>,
}

impl HttpGrant {
    /// How far the request may go, or `None` when it may not leave.
    pub(crate) fn reach(&self, target: &Target<'_>) -> Option<Reach> {
        let best = |rules: &[HttpRule]| rules.iter().filter_map(|rule| rule.reach(target)).max();
        let asked = best(&self.asked)?;
        match &self.allowed {
            None => Some(asked),
            Some(allowed) => Some(asked.min(best(allowed)?)),
        }
    }
}

impl Effective {
    /// What is both asked for and allowed. `own` is the plugin's own folder; folders are looked up now.
    ///
    /// # Errors
    /// Folders that cannot be granted to anybody, each with why.
    pub(crate) fn new(
        asked: &Grants,
        ceiling: &Ceiling,
        own: Option<&Path>,
        guarded: &Guarded,
    ) -> Result<Self, Vec<String>> {
        let mut effective = Self::default();
        let only = match ceiling {
            Ceiling::AsAsked => None,
            Ceiling::Nothing => Some(Grants::default()),
            Ceiling::Only(grants) => Some((**grants).clone()),
        };
        let missing = &mut effective.missing;
        effective.env = named(&asked.env, only.as_ref().map(|o| &o.env), "env", missing)
            .into_iter()
            .collect();
        effective.config = named(
            &asked.config,
            only.as_ref().map(|o| &o.config),
            "config",
            missing,
        );
        for name in &asked.secrets {
            if only.as_ref().is_none_or(|only| only.secrets.contains(name)) {
                effective.secrets.insert(name.clone());
            } else {
                missing.push(format!("secret `{name}`"));
            }
        }
        let mut wrong = Vec::new();
        for (index, grant) in asked.fs.iter().enumerate() {
            let name = grant.host.display();
            match folders::granted(grant, ceiling, own, guarded) {
                Ok(host) => effective.fs.push(FsGrant {
                    host,
                    ..grant.clone()
                }),
                Err(Denied::NotAllowed) => {
                    missing.push(format!("fs `{name}`: not allowed by the operator"));
                }
                Err(Denied::Wrong(why)) => {
                    wrong.push(format!("plugin.toml: grants.fs[{index}]: `{name}`: {why}"));
                }
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        if let Some(only) = &only
            && only.http.is_empty()
        {
            missing.extend(asked.http.iter().map(|rule| format!("http `{rule}`")));
        }
        effective.http = HttpGrant {
            asked: asked.http.clone(),
            allowed: only.map(|only| only.http),
        };
        Ok(effective)
    }
}

fn named(
    asked: &BTreeMap<String, String>,
    allowed: Option<&BTreeMap<String, String>>,
    kind: &str,
    missing: &mut Vec<String>,
) -> BTreeMap<String, String> {
    let mut granted = BTreeMap::new();
    for (name, value) in asked {
        match allowed.map(|allowed| allowed.get(name)) {
            None => granted.insert(name.clone(), value.clone()),
            Some(Some(fixed)) if !fixed.is_empty() => granted.insert(name.clone(), fixed.clone()),
            Some(Some(_)) => granted.insert(name.clone(), value.clone()),
            Some(None) => {
                missing.push(format!("{kind} `{name}`"));
                None
            }
        };
    }
    granted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(host: &str) -> HttpRule {
        HttpRule::parse(host, &[], None).unwrap()
    }

    const LOOPBACK: Target<'_> = Target {
        https: false,
        host: "127.0.0.1",
        port: 80,
        method: "GET",
        path: "/",
    };

    fn effective(asked: &Grants, ceiling: &Ceiling) -> Effective {
        Effective::new(asked, ceiling, None, &Guarded::default()).unwrap()
    }

    #[test]
    fn effective_is_the_intersection() {
        let asked = Grants {
            secrets: ["A".to_owned(), "B".to_owned()].into(),
            config: [("region".to_owned(), "eu".to_owned())].into(),
            http: vec![rule("http://127.0.0.1:80")],
            ..Grants::default()
        };
        let nothing = effective(&asked, &Ceiling::Nothing);
        assert!(nothing.secrets.is_empty() && nothing.config.is_empty());
        assert_eq!(nothing.missing.len(), 4);
        let only = Grants {
            secrets: ["B".to_owned()].into(),
            config: [("region".to_owned(), "us".to_owned())].into(),
            http: vec![rule("http://*")],
            ..Grants::default()
        };
        let some = effective(&asked, &Ceiling::Only(Box::new(only)));
        assert_eq!(some.config["region"], "us");
        assert_eq!(some.missing, ["secret `A`"]);
        assert_eq!(some.http.reach(&LOOPBACK), Some(Reach::Public));
        let all = effective(&asked, &Ceiling::AsAsked);
        assert_eq!(all.http.reach(&LOOPBACK), Some(Reach::Anywhere));
    }
}
