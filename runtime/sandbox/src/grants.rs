//! Capabilities: what a plugin asks for, what the operator allows, and what both together give.

use crate::folders::{self, Denied, Guarded};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use stepwell_egress::{Apart, HttpRule, NameRule, Reach, Resolve, Target, TcpRule};

/// A set of capabilities: a plugin's request, or an operator's ceiling.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    /// Environment variables. In a ceiling the names count, and a non-empty value replaces the plugin's.
    pub env: BTreeMap<String, String>,
    /// Settings of the config interface. In a ceiling the names count, and a non-empty value replaces the plugin's.
    pub config: BTreeMap<String, String>,
    /// Names of secrets that the guest may read. In a ceiling also those that requests may carry.
    pub secrets: BTreeSet<String>,
    /// Outgoing HTTP.
    pub http: Vec<HttpGrant>,
    /// Connections by TCP.
    pub tcp: Vec<TcpRule>,
    /// Names that may be looked up, beside those of `tcp`.
    pub dns: Vec<NameRule>,
    /// Folders.
    pub fs: Vec<FsGrant>,
    /// What the clock shows. Nothing that a ceiling could forbid.
    pub clock: Source,
    /// Where random numbers come from. Nothing that a ceiling could forbid.
    pub random: Source,
}

/// Outgoing HTTP by one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGrant {
    /// Which requests.
    pub rule: HttpRule,
    /// Names of secrets whose placeholders the host replaces in headers of such requests; the guest sees none of them.
    pub secrets: BTreeSet<String>,
    /// Whether the host adds the attempt's idempotency key to such requests.
    pub idempotency_key: bool,
}

impl From<HttpRule> for HttpGrant {
    fn from(rule: HttpRule) -> Self {
        Self {
            rule,
            secrets: BTreeSet::new(),
            idempotency_key: false,
        }
    }
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
    /// Line and column in the manifest where it is asked for; none of one that is in no file.
    pub at: Option<(usize, usize)>,
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

/// Whether a clock or randomness is the world's, or the same for all attempts of one visit to a state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Source {
    /// The world's.
    #[default]
    Real,
    /// A clock that stands still, random numbers that follow from the idempotency key.
    Fixed,
}

/// What a plugin has after asking and allowing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Effective {
    pub(crate) env: Vec<(String, String)>,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) secrets: BTreeSet<String>,
    pub(crate) http: HttpSides,
    pub(crate) tcp: TcpSides,
    /// Canonical folders.
    pub(crate) fs: Vec<FsGrant>,
    pub(crate) clock: Source,
    pub(crate) random: Source,
    /// What was asked for, each with what became of it.
    pub(crate) asked: Vec<Asked>,
}

/// A capability that a plugin asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What, such as ``secret `KEY` ``.
    pub what: String,
    /// Why it has it not, or not whole; none when it has it.
    pub refused: Option<String>,
    /// Whether it has none of it.
    pub wholly: bool,
    /// The name of the secret that it is.
    pub secret: Option<String>,
    /// That nobody set the secret, and how to set it; told by who knows what is set.
    pub unset: Option<String>,
}

/// All sides of outgoing HTTP. A request leaves when a rule of each matches.
#[derive(Debug, Clone, Default)]
pub(crate) struct HttpSides {
    asked: Vec<HttpGrant>,
    /// What each ceiling allows that does not allow whatever is asked.
    allowed: Vec<Vec<HttpGrant>>,
}

/// How a request may leave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Leave<'a> {
    pub(crate) reach: Reach,
    /// Secrets that it may carry.
    pub(crate) secrets: BTreeSet<&'a str>,
    pub(crate) idempotency_key: bool,
}

impl HttpSides {
    /// How the request may leave, or `None` when it may not.
    pub(crate) fn leave(&self, target: &Target<'_>) -> Option<Leave<'_>> {
        let matching = |grants: &'_ [HttpGrant]| -> Option<Reach> {
            grants
                .iter()
                .filter_map(|grant| grant.rule.reach(target))
                .max()
        };
        let mut reach = matching(&self.asked)?;
        for allowed in &self.allowed {
            reach = reach.min(matching(allowed)?);
        }
        let of = self
            .asked
            .iter()
            .filter(|grant| grant.rule.reach(target).is_some());
        let idempotency_key = of.clone().any(|grant| grant.idempotency_key);
        let secrets = of
            .flat_map(|grant| &grant.secrets)
            .map(String::as_str)
            .collect();
        Some(Leave {
            reach,
            secrets,
            idempotency_key,
        })
    }
}

/// All sides of TCP and of names.
#[derive(Debug, Clone, Default)]
pub(crate) struct TcpSides {
    asked: (Vec<TcpRule>, Vec<NameRule>),
    /// What each ceiling allows that does not allow whatever is asked.
    allowed: Vec<(Vec<TcpRule>, Vec<NameRule>)>,
}

impl TcpSides {
    /// Whether nothing was asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.asked.0.is_empty() && self.asked.1.is_empty()
    }

    pub(crate) async fn connects(&self, address: SocketAddr, names: &dyn Resolve) -> bool {
        let mut sides = vec![&self.asked.0];
        sides.extend(self.allowed.iter().map(|(rules, _)| rules));
        for rules in sides {
            let mut allowed = false;
            for rule in rules {
                allowed = allowed || rule.allows(address, names).await;
            }
            if !allowed {
                return false;
            }
        }
        true
    }

    pub(crate) fn looks_up(&self, name: &str) -> bool {
        let one = |(tcp, names): &(Vec<TcpRule>, Vec<NameRule>)| {
            names.iter().any(|rule| rule.allows(name))
                || tcp
                    .iter()
                    .filter_map(TcpRule::name)
                    .any(|own| own.eq_ignore_ascii_case(name.strip_suffix('.').unwrap_or(name)))
        };
        one(&self.asked) && self.allowed.iter().all(one)
    }
}

impl Effective {
    /// What is asked for and allowed by each ceiling. `own` is the plugin's own folder; folders are looked up now.
    ///
    /// # Errors
    /// Folders that cannot be granted to anybody, each with why.
    pub(crate) fn new(
        asked: &Grants,
        ceilings: &[&Ceiling],
        own: Option<&Path>,
        guarded: &Guarded,
    ) -> Result<Self, Vec<String>> {
        let only: Vec<Grants> = ceilings
            .iter()
            .filter_map(|ceiling| ceiling.only())
            .collect();
        let mut effective = Self {
            clock: asked.clock,
            random: asked.random,
            ..Self::default()
        };
        let told = &mut effective.asked;
        let env = only.iter().map(|only| &only.env);
        let env = named(&asked.env, &env.collect::<Vec<_>>(), "env", told);
        effective.env = env.into_iter().collect();
        let config = only.iter().map(|only| &only.config);
        effective.config = named(&asked.config, &config.collect::<Vec<_>>(), "config", told);
        for name in &asked.secrets {
            let allowed = only.iter().all(|only| only.secrets.contains(name));
            if allowed {
                effective.secrets.insert(name.clone());
            }
            told.push(Asked::of_secret(name, format!("secret `{name}`"), allowed));
        }
        effective.http = http(&asked.http, &only, told);
        effective.tcp = tcp(asked, &only, told);
        let mut wrong = Vec::new();
        for (index, grant) in asked.fs.iter().enumerate() {
            let name = grant.host.display();
            let what = format!("fs `{name}`");
            match folders::granted(grant, ceilings, own, guarded) {
                Ok(host) => {
                    effective.fs.push(FsGrant {
                        host,
                        ..grant.clone()
                    });
                    told.push(Asked::of(what, true, ""));
                }
                Err(Denied::NotAllowed) => told.push(Asked::of(what, false, NOT_ALLOWED)),
                Err(Denied::Wrong(why)) => {
                    let at = grant.at.map(|(line, column)| format!(":{line}:{column}"));
                    let at = at.unwrap_or_default();
                    wrong.push(format!(
                        "plugin.toml{at}: grants.fs[{index}]: `{name}`: {why}"
                    ));
                }
            }
        }
        if wrong.is_empty() {
            Ok(effective)
        } else {
            Err(wrong)
        }
    }

    /// Names of secrets that the guest may read or that its requests may carry.
    pub(crate) fn secret_names(&self) -> BTreeSet<&str> {
        let of_requests = self.http.asked.iter().flat_map(|grant| &grant.secrets);
        let all = self.secrets.iter().chain(of_requests);
        all.map(String::as_str).collect()
    }

    /// What was asked for and is not there at all, for people.
    pub(crate) fn missing(&self) -> Vec<String> {
        let missing = self.asked.iter().filter(|asked| asked.wholly);
        missing.map(Asked::to_string).collect()
    }
}

const NOT_ALLOWED: &str = "not allowed by the operator";

impl Ceiling {
    /// All that it allows; `None` when that is whatever is asked.
    fn only(&self) -> Option<Grants> {
        match self {
            Ceiling::AsAsked => None,
            Ceiling::Nothing => Some(Grants::default()),
            Ceiling::Only(grants) => Some((**grants).clone()),
        }
    }
}

impl Asked {
    fn of(what: String, allowed: bool, why: &str) -> Self {
        Self {
            what,
            refused: (!allowed).then(|| why.to_owned()),
            wholly: !allowed,
            secret: None,
            unset: None,
        }
    }

    fn of_secret(name: &str, what: String, allowed: bool) -> Self {
        Self {
            secret: Some(name.to_owned()),
            ..Self::of(what, allowed, NOT_ALLOWED)
        }
    }
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.refused {
            None => f.write_str(&self.what),
            Some(why) => write!(f, "{}: {why}", self.what),
        }
    }
}

fn named(
    asked: &BTreeMap<String, String>,
    allowed: &[&BTreeMap<String, String>],
    kind: &str,
    told: &mut Vec<Asked>,
) -> BTreeMap<String, String> {
    let mut granted = BTreeMap::new();
    for (name, value) in asked {
        let what = format!("{kind} `{name}`");
        let fixed: Option<Vec<&String>> = allowed.iter().map(|allowed| allowed.get(name)).collect();
        told.push(Asked::of(what, fixed.is_some(), NOT_ALLOWED));
        if let Some(fixed) = fixed {
            // Of several values the first counts: that of the operator's file.
            let fixed = fixed.into_iter().find(|fixed| !fixed.is_empty());
            granted.insert(name.clone(), fixed.unwrap_or(value).clone());
        }
    }
    granted
}

/// Rules of all sides, and of each that is asked whether any request could pass each ceiling.
fn http(asked: &[HttpGrant], only: &[Grants], told: &mut Vec<Asked>) -> HttpSides {
    let mut sides = HttpSides {
        asked: asked.to_vec(),
        allowed: only.iter().map(|only| only.http.clone()).collect(),
    };
    for grant in &mut sides.asked {
        let what = format!("http `{}`", grant.rule);
        let why = only.iter().find_map(|only| apart(&grant.rule, &only.http));
        let why = why.unwrap_or_default();
        told.push(Asked::of(what, why.is_empty(), &why));
        let allowed = |name: &String| only.iter().all(|only| only.secrets.contains(name));
        for name in &grant.secrets {
            let what = format!("secret `{name}` in requests by `{}`", grant.rule);
            told.push(Asked::of_secret(name, what, allowed(name)));
        }
        grant.secrets.retain(allowed);
    }
    sides
}

/// Why no request of an asked rule passes those that a ceiling allows, if so.
fn apart(asked: &HttpRule, allowed: &[HttpGrant]) -> Option<String> {
    let parts = allowed.iter().map(|allowed| allowed.rule.parts_from(asked));
    // Some rule of the ceiling may have no part in which it is another.
    let apart: Vec<Apart> = parts.collect::<Option<_>>()?;
    Some(match apart.into_iter().max() {
        None => NOT_ALLOWED.to_owned(),
        Some(apart) => format!("the operator allows another {}", part(apart)),
    })
}

fn part(apart: Apart) -> &'static str {
    match apart {
        Apart::Scheme => "scheme",
        Apart::Host => "host",
        Apart::Port => "port",
        Apart::Methods => "method",
        Apart::Path => "path",
    }
}

fn tcp(asked: &Grants, only: &[Grants], told: &mut Vec<Asked>) -> TcpSides {
    let partly = "only as far as the operator's own rules go";
    let mut tell = |what: String, whole: bool, none: bool| {
        let why = if none { NOT_ALLOWED } else { partly };
        let mut asked = Asked::of(what, whole, why);
        asked.wholly = none;
        told.push(asked);
    };
    for rule in &asked.tcp {
        let covers = |only: &Grants| only.tcp.iter().any(|allowed| allowed.covers(rule));
        let whole = only.iter().all(covers);
        let none = only.iter().any(|only| only.tcp.is_empty());
        tell(format!("tcp `{rule}`"), whole, none);
    }
    for rule in &asked.dns {
        let covers = |only: &Grants| only.dns.iter().any(|allowed| allowed.covers(rule));
        let whole = only.iter().all(covers);
        let closed = |only: &Grants| only.dns.is_empty() && only.tcp.is_empty();
        let none = only.iter().any(closed);
        tell(format!("dns `{rule}`"), whole, none);
    }
    TcpSides {
        asked: (asked.tcp.clone(), asked.dns.clone()),
        allowed: only
            .iter()
            .map(|only| (only.tcp.clone(), only.dns.clone()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(host: &str) -> HttpGrant {
        HttpRule::parse(host, &[], None).unwrap().into()
    }

    const LOOPBACK: Target<'_> = Target {
        https: false,
        host: "127.0.0.1",
        port: 80,
        method: "GET",
        path: "/",
    };

    fn effective(asked: &Grants, ceiling: &Ceiling) -> Effective {
        Effective::new(asked, &[ceiling], None, &Guarded::default()).unwrap()
    }

    fn reach(effective: &Effective) -> Option<Reach> {
        effective.http.leave(&LOOPBACK).map(|leave| leave.reach)
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
        assert_eq!(nothing.missing().len(), 4);
        let only = Grants {
            secrets: ["B".to_owned()].into(),
            config: [("region".to_owned(), "us".to_owned())].into(),
            http: vec![rule("http://*")],
            ..Grants::default()
        };
        let some = effective(&asked, &Ceiling::Only(Box::new(only)));
        assert_eq!(some.config["region"], "us");
        assert_eq!(some.missing(), ["secret `A`: not allowed by the operator"]);
        assert_eq!(reach(&some), Some(Reach::Public));
        let all = effective(&asked, &Ceiling::AsAsked);
        assert_eq!(reach(&all), Some(Reach::Anywhere));
    }

    #[test]
    fn what_one_of_two_ceilings_lacks_is_not_there() {
        let asked = Grants {
            secrets: ["A".to_owned(), "B".to_owned()].into(),
            config: [("region".to_owned(), "eu".to_owned())].into(),
            http: vec![HttpGrant {
                secrets: ["A".to_owned(), "B".to_owned()].into(),
                ..rule("http://127.0.0.1:80")
            }],
            tcp: vec![TcpRule::parse("db.example:5432", false).unwrap()],
            ..Grants::default()
        };
        let ceiling = |secret: &str, region: &str, host: &str, tcp: &str| {
            Ceiling::Only(Box::new(Grants {
                secrets: [secret.to_owned(), "A".to_owned()].into(),
                config: [("region".to_owned(), region.to_owned())].into(),
                http: vec![rule(host)],
                tcp: vec![TcpRule::parse(tcp, false).unwrap()],
                ..Grants::default()
            }))
        };
        let one = ceiling("B", "", "http://*", "db.example:5432");
        let other = ceiling("C", "us", "http://127.0.0.1:80", "db.example:*");
        for ceilings in [[&one, &other], [&other, &one]] {
            let both = Effective::new(&asked, &ceilings, None, &Guarded::default()).unwrap();
            assert_eq!(both.secrets, ["A".to_owned()].into());
            assert_eq!(both.secret_names(), ["A"].into());
            assert_eq!(both.config["region"], "us");
            assert_eq!(reach(&both), Some(Reach::Public));
            assert!(both.tcp.looks_up("db.example"));
        }
        let nothing = [&one, &Ceiling::Nothing];
        let none = Effective::new(&asked, &nothing, None, &Guarded::default()).unwrap();
        assert_eq!(reach(&none), None);
        assert!(none.secret_names().is_empty() && none.config.is_empty());
        assert!(!none.tcp.looks_up("db.example"));
    }

    #[test]
    fn the_nearest_rule_says_why_a_request_cannot_leave() {
        let asked = Grants {
            http: vec![rule("https://api.example.com"), rule("http://127.0.0.1:80")],
            ..Grants::default()
        };
        let only = Grants {
            http: vec![
                rule("https://other.example"),
                rule("http://api.example.com"),
            ],
            ..Grants::default()
        };
        let told = effective(&asked, &Ceiling::Only(Box::new(only))).missing();
        assert_eq!(
            told,
            [
                "http `https://api.example.com`: the operator allows another scheme",
                "http `http://127.0.0.1:80`: the operator allows another host"
            ]
        );
    }

    #[test]
    fn requests_carry_the_secrets_of_the_rules_that_match() {
        let with = |host: &str, secret: &str| HttpGrant {
            secrets: [secret.to_owned()].into(),
            ..rule(host)
        };
        let asked = Grants {
            http: vec![with("http://127.0.0.1:80", "A"), with("http://other", "B")],
            ..Grants::default()
        };
        let all = effective(&asked, &Ceiling::AsAsked);
        let secrets = all.http.leave(&LOOPBACK).unwrap().secrets;
        assert_eq!(secrets, ["A"].into());
        let only = Grants {
            http: vec![rule("http://127.0.0.1:80")],
            ..Grants::default()
        };
        let none = effective(&asked, &Ceiling::Only(Box::new(only)));
        assert!(none.http.leave(&LOOPBACK).unwrap().secrets.is_empty());
    }

    #[test]
    fn names_are_looked_up_when_both_sides_say_so() {
        let asked = Grants {
            tcp: vec![TcpRule::parse("db.example:5432", false).unwrap()],
            dns: vec![NameRule::parse("*.example").unwrap()],
            ..Grants::default()
        };
        let only = Grants {
            dns: vec![NameRule::parse("db.example").unwrap()],
            ..Grants::default()
        };
        let (all, some) = (
            effective(&asked, &Ceiling::AsAsked).tcp,
            effective(&asked, &Ceiling::Only(Box::new(only))).tcp,
        );
        for (name, by_all, by_some) in [
            ("DB.example.", true, true),
            ("x.example", true, false),
            ("example.org", false, false),
        ] {
            assert_eq!((all.looks_up(name), some.looks_up(name)), (by_all, by_some));
        }
    }
}
