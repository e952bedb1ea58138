//! The name of an artifact: `ghcr.io/acme/resize:1.2@sha256:…`.

use std::str::FromStr;

/// What a reference may begin with, and has to where something else could be meant.
const SCHEME: &str = "oci://";
/// The tag of a reference without tag and digest.
const USUAL_TAG: &str = "latest";
/// Bounds of the distribution specification, in characters.
const REPOSITORY_CHARS_MAX: usize = 255;
const TAG_CHARS_MAX: usize = 128;
/// Hexadecimal digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// `HOST` or `HOST:PORT`.
    pub(crate) registry: String,
    pub(crate) repository: String,
    tag: Option<String>,
    /// `sha256:HEX`.
    pub(crate) digest: Option<String>,
}

impl Reference {
    /// By which the registry is asked for the manifest: the digest, which says more, or the tag.
    pub(crate) fn target(&self) -> &str {
        self.digest.as_deref().unwrap_or_else(|| self.tag())
    }

    pub(crate) fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or(USUAL_TAG)
    }

    /// The same artifact by its digest alone.
    pub(crate) fn pinned(&self, digest: &str) -> String {
        format!("{}/{}@{digest}", self.registry, self.repository)
    }

    /// The last part of the repository.
    pub(crate) fn last_part(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or_default()
    }

    /// Whether the registry is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self
            .registry
            .rsplit_once(':')
            .map_or(self.registry.as_str(), |(host, _)| host);
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost"
            || address
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Reference, String> {
        let plain = text.strip_prefix(SCHEME).unwrap_or(text);
        let (name, digest) = match plain.split_once('@') {
            Some((name, digest)) => (name, Some(digest.to_owned())),
            None => (plain, None),
        };
        let (registry, path) = name.split_once('/').unwrap_or(("", name));
        let is_host = registry.contains(['.', ':']) || registry == "localhost";
        if !is_host || !registry.chars().all(host_char) {
            return Err(
                "it is HOST/REPOSITORY:TAG with the registry's host, such as ghcr.io/acme/resize:1.2"
                    .to_owned(),
            );
        }
        let (repository, tag) = match path.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (path, None),
        };
        let parts = || repository.split('/');
        if repository.len() > REPOSITORY_CHARS_MAX || !parts().all(is_part) {
            return Err(format!(
                "`{repository}` is no repository: parts of a-z 0-9 . _ - between slashes"
            ));
        }
        if let Some(tag) = tag.as_deref().filter(|tag| !is_tag(tag)) {
            return Err(format!(
                "`{tag}` is no tag: 1 to {TAG_CHARS_MAX} of A-Z a-z 0-9 . _ -"
            ));
        }
        if let Some(digest) = digest.as_deref().filter(|digest| !is_digest(digest)) {
            return Err(format!(
                "`{digest}` is no digest: sha256: and {DIGEST_DIGITS} digits of 0-9 a-f"
            ));
        }
        Ok(Reference {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag,
            digest,
        })
    }
}

fn host_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']')
}

fn is_part(part: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let plain =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    ends(part.chars().next()) && ends(part.chars().last()) && part.chars().all(plain)
}

fn is_tag(tag: &str) -> bool {
    let begins = tag
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    begins && tag.len() <= TAG_CHARS_MAX && tag.chars().all(plain)
}

/// Whether a text is `sha256:HEX`.
pub(super) fn is_digest(text: &str) -> bool {
    let hex = |digits: &str| {
        digits.len() == DIGEST_DIGITS
            && digits
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    text.strip_prefix("sha256:").is_some_and(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, registry, repository, target) in [
            ("ghcr.io/acme/resize:1.2", "ghcr.io", "acme/resize", "1.2"),
            (
                "localhost:5000/resize",
                "localhost:5000",
                "resize",
                "latest",
            ),
            (
                "127.0.0.1:5000/a/b-c/d_e.f:X",
                "127.0.0.1:5000",
                "a/b-c/d_e.f",
                "X",
            ),
            (
                &format!("ghcr.io/a@{digest}"),
                "ghcr.io",
                "a",
                digest.as_str(),
            ),
            (
                &format!("ghcr.io/a:1@{digest}"),
                "ghcr.io",
                "a",
                digest.as_str(),
            ),
        ] {
            let read: Reference = text.parse().unwrap();
            assert_eq!(
                (
                    read.registry.as_str(),
                    read.repository.as_str(),
                    read.target()
                ),
                (registry, repository, target),
                "{text}"
            );
            assert_eq!(read.to_string(), text);
            assert_eq!(format!("{SCHEME}{text}").parse(), Ok(read));
        }
    }

    #[test]
    fn what_is_none_says_what_one_is() {
        for (text, why) in [
            ("resize", "with the registry's host"),
            ("acme/resize:1", "with the registry's host"),
            ("user@host.io/a", "with the registry's host"),
            ("ghcr.io/", "is no repository"),
            ("ghcr.io/../etc", "is no repository"),
            ("ghcr.io/a//b", "is no repository"),
            ("ghcr.io/Acme", "is no repository"),
            ("ghcr.io/a:", "is no tag"),
            ("ghcr.io/a:b?c", "is no tag"),
            ("ghcr.io/a@sha256:12", "is no digest"),
            ("ghcr.io/a@md5:12", "is no digest"),
        ] {
            let told = text.parse::<Reference>().unwrap_err();
            assert!(told.contains(why), "{text}: {told}");
        }
    }

    #[test]
    fn loopback_is_known() {
        for (text, is) in [
            ("localhost:5000/a", true),
            ("localhost/a", true),
            ("127.0.0.1:5000/a", true),
            ("[::1]:5000/a", true),
            ("ghcr.io/a", false),
            ("10.0.0.1:5000/a", false),
            ("localhost.example.com/a", false),
        ] {
            assert_eq!(
                text.parse::<Reference>().unwrap().is_loopback(),
                is,
                "{text}"
            );
        }
    }
}
