//! Secrets at rest: sealed under keys of a file that the operator keeps apart from the store. What it hides: the cipher
//! (AES-256-GCM, a fresh nonce for each seal) and the file's form. Whoever has the store alone reads no secret.

use std::fmt::Write;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use crate::node::os_seed;

/// What a line of a key file begins with.
const FORM: &str = "stepwell-key-1";

/// The keys of a key file, the newest first: that one seals, all of them open.
#[derive(Clone)]
pub struct Vault(Vec<VaultKey>);

#[derive(Clone)]
struct VaultKey {
    id: String,
    bytes: [u8; 32],
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault")
    }
}

/// Stored form, codec v1: a sealed secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sealed {
    /// Id of the key that opens it.
    pub(crate) key: String,
    /// Nonce, ciphertext and tag, base64.
    pub(crate) text: String,
}

/// Why something that is sealed does not open. Both name the key that sealed it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Closed {
    #[error("the key `{0}` sealed it, which the key file does not have")]
    NoKey(String),
    #[error(
        "it is not as the key `{0}` sealed it: it was changed in the store since, or the line of that key was in the key file"
    )]
    Changed(String),
}

impl Vault {
    /// One fresh key.
    pub fn fresh() -> Vault {
        Vault(vec![VaultKey::fresh()])
    }

    /// The keys of a file's text: a line each, `stepwell-key-1 ID HEX`; empty lines and those that begin with `#` say
    /// nothing.
    ///
    /// # Errors
    /// What is wrong, without the key.
    pub fn parse(text: &str) -> Result<Vault, String> {
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let parts: Vec<&str> = line.split_whitespace().collect();
            let key = match parts[..] {
                [FORM, id, hex] => unhex(hex).map(|bytes| VaultKey {
                    id: id.to_owned(),
                    bytes,
                }),
                _ => None,
            };
            keys.push(key.ok_or_else(|| {
                format!(
                    "line {} is not `{FORM} ID` and 64 hexadecimal digits",
                    index + 1
                )
            })?);
        }
        if keys.is_empty() {
            return Err("there is no key in it".to_owned());
        }
        Ok(Vault(keys))
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let mut text = "# Keys that open the secrets in Stepwell's store, the newest first. Keep this file apart from the store and its backups.\n".to_owned();
        for key in &self.0 {
            let hex: String = key.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            // Nothing can go wrong: the sink is a String.
            let _ = writeln!(text, "{FORM} {} {hex}", key.id);
        }
        text
    }

    /// The same keys behind a fresh one.
    pub fn rotated(&self) -> Vault {
        let fresh = std::iter::once(VaultKey::fresh());
        Vault(fresh.chain(self.0.iter().cloned()).collect())
    }

    /// The newest key alone.
    pub fn newest(&self) -> Vault {
        Vault(self.0.iter().take(1).cloned().collect())
    }

    /// Whether there are keys beside the newest one: a rotation has not ended.
    pub fn is_rotating(&self) -> bool {
        self.0.len() > 1
    }

    /// Ids of the keys, the newest first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|key| &*key.id)
    }

    /// Seals a secret for one place: it opens nowhere else.
    pub(crate) fn seal(&self, place: &str, secret: &str) -> Sealed {
        let key = self.0.first().expect("a vault has a key");
        let nonce: [u8; NONCE_LEN] = os_seed()[..NONCE_LEN]
            .try_into()
            .expect("a seed is longer than a nonce");
        let mut text = secret.as_bytes().to_vec();
        key.cipher()
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place),
                &mut text,
            )
            .expect("a secret is short");
        let text = [&nonce[..], &text].concat();
        Sealed {
            key: key.id.clone(),
            text: STANDARD_NO_PAD.encode(text),
        }
    }

    /// The secret, or why it does not open.
    pub(crate) fn open(&self, place: &str, sealed: &Sealed) -> Result<String, Closed> {
        let key = self.0.iter().find(|key| key.id == sealed.key);
        let key = key.ok_or_else(|| Closed::NoKey(sealed.key.clone()))?;
        let damaged = || Closed::Changed(sealed.key.clone());
        let bytes = STANDARD_NO_PAD
            .decode(&sealed.text)
            .map_err(|_| damaged())?;
        let (nonce, text) = bytes.split_at_checked(NONCE_LEN).ok_or_else(damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let mut text = text.to_vec();
        let opened = key
            .cipher()
            .open_in_place(nonce, Aad::from(place), &mut text)
            .map_err(|_| damaged())?;
        String::from_utf8(opened.to_vec()).map_err(|_| damaged())
    }

    /// Whether a secret is sealed by the newest key.
    pub(crate) fn is_newest(&self, sealed: &Sealed) -> bool {
        self.0.first().is_some_and(|key| key.id == sealed.key)
    }
}

impl VaultKey {
    fn fresh() -> VaultKey {
        let id = uuid::Uuid::new_v4().simple().to_string();
        VaultKey {
            id: id[..8].to_owned(),
            bytes: os_seed(),
        }
    }

    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(
            UnboundKey::new(&AES_256_GCM, &self.bytes).expect("the key has the cipher's length"),
        )
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Closed, Vault};

    #[test]
    fn a_secret_opens_in_its_place_under_its_key() {
        let vault = Vault::fresh();
        let sealed = vault.seal("here", "the secret");
        assert_eq!(vault.open("here", &sealed), Ok("the secret".to_owned()));
        assert!(vault.open("there", &sealed).is_err(), "another place");
        let another = Vault::fresh().open("here", &sealed);
        assert_eq!(another, Err(Closed::NoKey(sealed.key.clone())));
        assert_ne!(
            vault.seal("here", "the secret"),
            sealed,
            "a fresh nonce each time"
        );
        let mut changed = sealed.clone();
        changed.text.replace_range(
            20..21,
            if &changed.text[20..21] == "A" {
                "B"
            } else {
                "A"
            },
        );
        let changed = vault.open("here", &changed);
        assert_eq!(changed, Err(Closed::Changed(sealed.key)));
    }

    #[test]
    fn a_rotated_vault_opens_the_old_until_it_is_dropped() {
        let old = Vault::fresh();
        let sealed = old.seal("here", "x");
        let both = Vault::parse(&old.rotated().to_text()).expect("a key file");
        assert_eq!(both.open("here", &sealed), Ok("x".to_owned()));
        assert!(!both.is_newest(&sealed));
        assert!(both.is_rotating() && !both.newest().is_rotating());
        assert_eq!(both.ids().nth(1), old.ids().next());
        assert!(both.newest().open("here", &sealed).is_err());
        assert!(both.newest().open("here", &both.seal("here", "y")).is_ok());
    }

    #[test]
    fn a_file_that_is_no_key_file_is_refused() {
        for text in [
            "",
            "# nothing",
            "stepwell-key-1 a",
            "stepwell-key-1 a zz",
            "stepwell-key-2 a 00",
        ] {
            assert!(Vault::parse(text).is_err(), "{text:?}");
        }
        let told = format!("{:?}", Vault::fresh());
        assert_eq!(told, "Vault", "no key in a log");
    }
}
