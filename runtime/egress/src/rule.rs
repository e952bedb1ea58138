//! Which requests may leave. Hides how a rule is written.

/// Requests that may leave: scheme, host, port, methods and path prefix, all of which must match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRule {
    https: bool,
    host: Host,
    port: Port,
    methods: Vec<String>,
    path: String,
    /// Leads to public addresses alone, whatever it names.
    public: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Any,
    /// `*.example.com`, without the star; not `example.com` itself.
    Below(String),
    Exactly(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    Any,
    /// The scheme's own.
    Usual(u16),
    /// Written out.
    Named(u16),
}

/// A request about to leave.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub https: bool,
    /// In lower case, without brackets and final dot.
    pub host: &'a str,
    pub port: u16,
    pub method: &'a str,
    /// With its query.
    pub path: &'a str,
}

/// How far a rule lets a request go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Public addresses only.
    Public,
    /// Private ones too: the rule names this very host and port.
    Anywhere,
}

/// In what two rules part, the widest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Apart {
    Host,
    Scheme,
    Port,
    Methods,
    Path,
}

/// What a rule may name.
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "*",
];

impl HttpRule {
    /// Reads `[scheme://]host[:port]` with the scheme `https` (default) or `http`; the host may begin with `*.` or be
    /// `*`; the port may be `*`. No methods means all.
    ///
    /// # Errors
    /// What is wrong and what would be right.
    pub fn parse(host: &str, methods: &[String], path: Option<&str>) -> Result<Self, String> {
        // Not repeated: what stands before an `@` may be a password.
        if host.contains('@') {
            return Err("an origin holds no user name: it is `https://host:port`".to_owned());
        }
        let (https, rest) = match host.split_once("://") {
            None => (true, host),
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some((scheme, _)) => {
                return Err(format!(
                    "`{host}`: the scheme `{scheme}` is neither http nor https"
                ));
            }
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('/') {
            return Err(format!(
                "`{host}`: a path belongs into its own key: path = \"/…\""
            ));
        }
        let (name, port) = split_port(rest);
        let port = match port {
            None => Port::Usual(if https { 443 } else { 80 }),
            Some("*") => Port::Any,
            Some(port) => Port::Named(
                port.parse()
                    .map_err(|_| format!("`{host}`: `{port}` is no port"))?,
            ),
        };
        let name = name.trim_matches(['[', ']']).to_ascii_lowercase();
        // URLs arrive with names in ASCII, so that a rule with another one would never match.
        if let Some(odd) = name
            .chars()
            .find(|c| !c.is_ascii_alphanumeric() && !"-._:*".contains(*c))
        {
            return Err(format!(
                "`{host}`: `{odd}` is no character of a host; names beyond ASCII are written as in DNS (`xn--…`)"
            ));
        }
        let host = match name.strip_prefix("*.") {
            _ if name == "*" => Host::Any,
            Some(suffix) if !suffix.is_empty() && !suffix.contains('*') => {
                Host::Below(format!(".{suffix}"))
            }
            None if !name.is_empty() && !name.contains('*') => Host::Exactly(name),
            Some(_) | None => return Err(format!("`{host}`: a host is a name, `*.name` or `*`")),
        };
        let path = path.unwrap_or("/").to_owned();
        if !path.starts_with('/') {
            return Err(format!("path `{path}` does not begin with `/`"));
        }
        let methods: Vec<String> = methods.iter().map(|m| m.to_ascii_uppercase()).collect();
        if let Some(unknown) = methods.iter().find(|m| !METHODS.contains(&m.as_str())) {
            let known = METHODS.join(", ");
            return Err(format!(
                "`{unknown}` is no method of HTTP; they are {known}, and no `methods` at all means any"
            ));
        }
        let any = methods.iter().any(|method| method == "*");
        let methods = if any { Vec::new() } else { methods };
        Ok(Self {
            https,
            host,
            port,
            methods,
            path,
            public: false,
        })
    }

    /// The same rule for public addresses alone, though it may name a private one.
    pub fn public(self) -> Self {
        Self {
            public: true,
            ..self
        }
    }

    /// How far the rule lets a request go; `None` when it says nothing about it.
    pub fn reach(&self, target: &Target<'_>) -> Option<Reach> {
        let host = match &self.host {
            Host::Any => true,
            Host::Below(suffix) => {
                target.host.len() > suffix.len() && target.host.ends_with(suffix.as_str())
            }
            Host::Exactly(name) => target.host == name,
        };
        let port = match self.port {
            Port::Any => true,
            Port::Usual(port) | Port::Named(port) => port == target.port,
        };
        let method =
            self.methods.is_empty() || self.methods.iter().any(|method| method == target.method);
        if !(self.https == target.https && host && port && method && self.covers(target.path)) {
            return None;
        }
        let literal = matches!(self.host, Host::Exactly(_)) && matches!(self.port, Port::Named(_));
        Some(if literal && !self.public {
            Reach::Anywhere
        } else {
            Reach::Public
        })
    }

    /// In what an asked rule and this one have nothing in common, for people; `None` when some request matches both.
    pub fn parts_from(&self, asked: &Self) -> Option<Apart> {
        let host = match (&self.host, &asked.host) {
            (Host::Any, _) | (_, Host::Any) => true,
            (Host::Below(mine), Host::Below(other)) => {
                mine.ends_with(other.as_str()) || other.ends_with(mine.as_str())
            }
            (Host::Below(suffix), Host::Exactly(name))
            | (Host::Exactly(name), Host::Below(suffix)) => {
                name.len() > suffix.len() && name.ends_with(suffix.as_str())
            }
            (Host::Exactly(mine), Host::Exactly(other)) => mine == other,
        };
        let number = |port: Port| match port {
            Port::Any => None,
            Port::Usual(port) | Port::Named(port) => Some(port),
        };
        let port = match (number(self.port), number(asked.port)) {
            (Some(mine), Some(other)) => mine == other,
            (Some(_) | None, None) | (None, Some(_)) => true,
        };
        let any = self.methods.is_empty() || asked.methods.is_empty();
        let method = any || asked.methods.iter().any(|m| self.methods.contains(m));
        let path = self.covers(&asked.path) || asked.covers(&self.path);
        let order = [
            (host, Apart::Host),
            (self.https == asked.https, Apart::Scheme),
            (port, Apart::Port),
            (method, Apart::Methods),
            (path, Apart::Path),
        ];
        order
            .into_iter()
            .find(|(same, _)| !same)
            .map(|(_, apart)| apart)
    }

    /// `/v1` covers `/v1`, `/v1/x` and `/v1?x`, not `/v10`. Dot segments could lead a server out of the prefix, so
    /// with a prefix no path that has any is covered.
    fn covers(&self, path: &str) -> bool {
        if self.path == "/" {
            return true;
        }
        let plain = path.split(['?', '#']).next().unwrap_or(path);
        let decoded = plain
            .to_ascii_lowercase()
            .replace("%2e", ".")
            .replace("%2f", "/")
            .replace(['\\'], "/");
        if decoded.contains("%5c")
            || decoded
                .split('/')
                .any(|segment| segment == "." || segment == "..")
        {
            return false;
        }
        let prefix = self.path.strip_suffix('/').unwrap_or(&self.path);
        match plain.strip_prefix(prefix) {
            Some(rest) if self.path.ends_with('/') => rest.starts_with('/'),
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }
}

/// Splits `host:port`, `[v6]:port`, `host`, `[v6]`.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port))
            if !port.contains(']') && (!host.contains(':') || host.ends_with(']')) =>
        {
            (host, Some(port))
        }
        Some(_) | None => (text, None),
    }
}

impl std::fmt::Display for HttpRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        let host = match &self.host {
            Host::Any => "*".to_owned(),
            Host::Below(suffix) => format!("*{suffix}"),
            Host::Exactly(name) => name.clone(),
        };
        if !self.methods.is_empty() {
            write!(f, "{} ", self.methods.join(","))?;
        }
        write!(f, "{scheme}://{host}")?;
        match self.port {
            Port::Any => f.write_str(":*")?,
            Port::Named(port) => write!(f, ":{port}")?,
            Port::Usual(_) => {}
        }
        f.write_str(if self.path == "/" { "" } else { &self.path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(host: &str, methods: &[&str], path: Option<&str>) -> HttpRule {
        let methods: Vec<String> = methods.iter().map(|&m| m.to_owned()).collect();
        HttpRule::parse(host, &methods, path).unwrap()
    }

    fn target<'a>(url: &'a str, method: &'a str) -> Target<'a> {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let https = scheme == "https";
        let (host, port) = split_port(authority);
        let port = port.map_or(if https { 443 } else { 80 }, |port| port.parse().unwrap());
        Target {
            https,
            host,
            port,
            method,
            path,
        }
    }

    #[test]
    fn rules_match_every_part() {
        let cases = [
            (
                "https://api.example.com",
                "GET",
                "https://api.example.com/x",
                Some(Reach::Public),
            ),
            (
                "api.example.com",
                "GET",
                "https://api.example.com/x",
                Some(Reach::Public),
            ),
            (
                "https://api.example.com",
                "GET",
                "http://api.example.com/x",
                None,
            ),
            (
                "https://api.example.com",
                "GET",
                "https://api.example.com:8443/x",
                None,
            ),
            (
                "https://api.example.com:8443",
                "GET",
                "https://api.example.com:8443/x",
                Some(Reach::Anywhere),
            ),
            (
                "https://api.example.com:*",
                "GET",
                "https://api.example.com:8443/x",
                Some(Reach::Public),
            ),
            (
                "https://*.example.com",
                "GET",
                "https://a.b.example.com/",
                Some(Reach::Public),
            ),
            ("https://*.example.com", "GET", "https://example.com/", None),
            (
                "https://*.example.com",
                "GET",
                "https://evilexample.com/",
                None,
            ),
            (
                "https://api.example.com",
                "POST",
                "https://api.example.com/",
                None,
            ),
            (
                "http://127.0.0.1:8080",
                "GET",
                "http://127.0.0.1:8080/",
                Some(Reach::Anywhere),
            ),
            ("http://*", "GET", "http://127.0.0.1/", Some(Reach::Public)),
        ];
        for (host, method, url, reach) in cases {
            let rule = rule(host, &["get"], None);
            assert_eq!(
                rule.reach(&target(url, method)),
                reach,
                "{rule} {method} {url}"
            );
        }
    }

    #[test]
    fn two_rules_part_in_the_widest_thing() {
        let asked = |host: &str| rule(host, &["POST"], Some("/v1/pay"));
        for (allowed, methods, path, host, apart) in [
            ("https://*.a.example", "", None, "https://x.a.example", None),
            ("https://*", "POST", Some("/v1"), "https://x", None),
            ("https://*", "POST", Some("/v1/pay/now"), "https://x", None),
            (
                "https://*",
                "POST",
                Some("/v2"),
                "https://x",
                Some(Apart::Path),
            ),
            ("https://*", "GET", None, "https://x", Some(Apart::Methods)),
            ("https://*", "", None, "https://x:8443", Some(Apart::Port)),
            ("https://*:*", "", None, "https://x:8443", None),
            ("http://*", "", None, "https://x", Some(Apart::Scheme)),
            ("https://y", "", None, "https://x", Some(Apart::Host)),
        ] {
            let methods: Vec<&str> = methods.split_whitespace().collect();
            let allowed = rule(allowed, &methods, path);
            assert_eq!(allowed.parts_from(&asked(host)), apart, "{allowed} {host}");
        }
    }

    #[test]
    fn paths_match_whole_segments() {
        let cases = [
            ("/v1", "/v1", true),
            ("/v1", "/v1/x", true),
            ("/v1", "/v10", false),
            ("/v1/", "/v1/x", true),
            ("/v1/", "/v1", false),
            ("/v1", "/v1/../admin", false),
            ("/v1", "/v1/%2E%2e/admin", false),
            ("/v1", "/v1?next=/../x", true),
            ("/", "/a/../b", true),
        ];
        for (prefix, path, covered) in cases {
            assert_eq!(
                rule("https://h", &[], Some(prefix)).covers(path),
                covered,
                "{prefix} {path}"
            );
        }
    }
}
