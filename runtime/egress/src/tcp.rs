//! Which connections without HTTP may be made, and which names looked up. Hides how a rule is written.

use std::net::{IpAddr, SocketAddr};

use crate::{address::is_public, resolve::Resolve};

/// A place that may be connected to by TCP. A name counts by what it resolves to when the connection is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpRule {
    place: Place,
    /// None: any.
    port: Option<u16>,
    private: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Any,
    Address(IpAddr),
    /// In lower case, without final dot.
    Name(String),
}

/// Names that may be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameRule {
    /// `*`.
    Any,
    /// `*.example.com`, without the star; not `example.com` itself.
    Below(String),
    /// In lower case, without final dot.
    Exactly(String),
}

impl TcpRule {
    /// Reads `host:port`: a name, an address (IPv6 in brackets) or `*`, and a port or `*`. A name and `*` lead to private
    /// addresses only with `private`; who writes an address means it.
    ///
    /// # Errors
    /// What is wrong and what would be right.
    pub fn parse(text: &str, private: bool) -> Result<Self, String> {
        let form = || {
            format!("`{text}` is no `host:port`, such as \"db.example.com:5432\" or \"[::1]:*\"")
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
        let port = match port {
            "*" => None,
            port => Some(
                port.parse()
                    .map_err(|_| format!("`{text}`: `{port}` is no port"))?,
            ),
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let place = match (bare, host) {
            (Some(v6), _) => Place::Address(v6.parse().map_err(|_| form())?),
            (None, "*") => Place::Any,
            (None, host) => match host.parse() {
                Ok(address) => Place::Address(address),
                Err(_) => Place::Name(name(host).ok_or_else(form)?),
            },
        };
        Ok(Self {
            place,
            port,
            private,
        })
    }

    /// Whether an address may be connected to. Looks the rule's name up in `names`, so that an address that the guest was told
    /// under another name, or under this one at another time, gains nothing.
    pub async fn allows(&self, address: SocketAddr, names: &dyn Resolve) -> bool {
        if self.port.is_some_and(|port| port != address.port()) {
            return false;
        }
        let ip = address.ip().to_canonical();
        let in_reach = self.private || is_public(ip);
        match &self.place {
            Place::Any => in_reach,
            Place::Address(allowed) => allowed.to_canonical() == ip,
            Place::Name(name) => in_reach && resolves_to(names, name, address.port(), ip).await,
        }
    }

    /// The name that it is about.
    pub fn name(&self) -> Option<&str> {
        match &self.place {
            Place::Name(name) => Some(name),
            Place::Any | Place::Address(_) => None,
        }
    }

    /// Whether all that another rule allows is allowed by this one as well, as far as that can be told without looking a
    /// name up.
    pub fn covers(&self, other: &Self) -> bool {
        let port = self.port.is_none() || self.port == other.port;
        let private = self.private
            || match other.place {
                Place::Address(address) => self.place == other.place || is_public(address),
                Place::Any | Place::Name(_) => !other.private,
            };
        port && private && (self.place == Place::Any || self.place == other.place)
    }
}

async fn resolves_to(names: &dyn Resolve, name: &str, port: u16, ip: IpAddr) -> bool {
    let found = names.resolve(name, port).await;
    found.is_ok_and(|found| found.iter().any(|found| found.ip().to_canonical() == ip))
}

/// A name in lower case without its final dot, if it can be one.
fn name(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
    (!text.is_empty() && text.bytes().all(plain)).then(|| text.to_ascii_lowercase())
}

impl NameRule {
    /// Reads a name, `*.name` or `*`.
    ///
    /// # Errors
    /// What is wrong and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "`{text}` is no name, `*.name` or `*`; names beyond ASCII are written as in DNS (`xn--…`)"
            )
        };
        if text == "*" {
            return Ok(Self::Any);
        }
        match text.strip_prefix("*.") {
            Some(above) => Ok(Self::Below(format!(".{}", name(above).ok_or_else(form)?))),
            None => Ok(Self::Exactly(name(text).ok_or_else(form)?)),
        }
    }

    /// Whether a name may be looked up.
    pub fn allows(&self, asked: &str) -> bool {
        let Some(asked) = name(asked) else {
            return false;
        };
        match self {
            Self::Any => true,
            Self::Below(suffix) => asked.len() > suffix.len() && asked.ends_with(suffix.as_str()),
            Self::Exactly(name) => *name == asked,
        }
    }

    /// Whether all that another rule allows is allowed by this one as well.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Below(_), Self::Exactly(name)) => self.allows(name),
            (Self::Below(mine), Self::Below(other)) => other.ends_with(mine.as_str()),
            (Self::Exactly(mine), Self::Exactly(other)) => mine == other,
            (Self::Below(_) | Self::Exactly(_), Self::Any) | (Self::Exactly(_), Self::Below(_)) => {
                false
            }
        }
    }
}

impl std::fmt::Display for TcpRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Any => f.write_str("*")?,
            Place::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            Place::Address(address) => write!(f, "{address}")?,
            Place::Name(name) => f.write_str(name)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}")?,
            None => f.write_str(":*")?,
        }
        f.write_str(if self.private { " (private too)" } else { "" })
    }
}

impl std::fmt::Display for NameRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(suffix) => write!(f, "*{suffix}"),
            Self::Exactly(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::SystemResolver;

    fn rule(text: &str, private: bool) -> TcpRule {
        TcpRule::parse(text, private).unwrap()
    }

    #[tokio::test]
    async fn addresses_and_ports_have_to_match() {
        for (place, private, address, allowed) in [
            ("127.0.0.1:5432", false, "127.0.0.1:5432", true),
            ("127.0.0.1:5432", false, "127.0.0.1:22", false),
            ("127.0.0.1:5432", false, "127.0.0.2:5432", false),
            ("127.0.0.1:5432", false, "[::ffff:127.0.0.1]:5432", true),
            ("[::1]:*", false, "[::1]:7", true),
            ("*:443", false, "1.1.1.1:443", true),
            ("*:443", false, "10.0.0.1:443", false),
            ("*:443", false, "[::ffff:169.254.169.254]:443", false),
            ("*:*", true, "10.0.0.1:443", true),
            ("localhost:80", true, "127.0.0.1:80", true),
            ("localhost:80", false, "127.0.0.1:80", false),
            ("localhost:80", true, "10.0.0.1:80", false),
        ] {
            let (rule, address) = (rule(place, private), address.parse().unwrap());
            let found = rule.allows(address, &SystemResolver).await;
            assert_eq!(found, allowed, "{rule} {address}");
        }
    }

    #[test]
    fn what_is_no_place_is_told() {
        for text in [
            "db",
            "db:x",
            ":1",
            "a b:1",
            "[db]:1",
            "http://a:80",
            "db:70000",
            "*.a:1",
        ] {
            assert!(TcpRule::parse(text, false).is_err(), "{text}");
        }
        for text in ["", "*.", "a*", "*.*.a", "a/b"] {
            assert!(NameRule::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_match_as_those_of_http_do() {
        let below = NameRule::parse("*.Example.com").unwrap();
        for (name, allowed) in [
            ("a.example.com", true),
            ("A.B.EXAMPLE.COM.", true),
            ("example.com", false),
            ("evilexample.com", false),
            ("a.example.com\0", false),
        ] {
            assert_eq!(below.allows(name), allowed, "{name}");
        }
    }

    #[test]
    fn a_wider_rule_covers_a_narrower_one() {
        for (wide, narrow, covered) in [
            (("*:*", true), ("db:5432", true), true),
            (("*:*", false), ("db:5432", true), false),
            (("*:*", false), ("10.0.0.1:1", false), false),
            (("10.0.0.1:*", false), ("10.0.0.1:1", false), true),
            (("db:5432", false), ("db:5432", false), true),
            (("db:5432", false), ("db:*", false), false),
            (("db:5432", false), ("dc:5432", false), false),
        ] {
            let (wide, narrow) = (rule(wide.0, wide.1), rule(narrow.0, narrow.1));
            assert_eq!(wide.covers(&narrow), covered, "{wide} {narrow}");
        }
        let name = |text| NameRule::parse(text).unwrap();
        assert!(name("*.a").covers(&name("*.b.a")) && name("*.a").covers(&name("b.a")));
        assert!(!name("*.a").covers(&name("a")) && !name("b.a").covers(&name("*.a")));
    }
}
