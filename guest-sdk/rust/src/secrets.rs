//! Secrets from the operator's store. Each name must be listed in `[grants].secrets` of the manifest.

use crate::error::UPLOADED;

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretError {
    /// The manifest does not list the name, or the operator does not allow it.
    NotGranted(String),
    /// The name is granted, but the store holds no such secret.
    NotFound(String),
}

impl std::fmt::Display for SecretError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotGranted(name) => write!(
                f,
                "the secret `{name}` is not granted; list it in [grants].secrets of plugin.toml and have the operator allow it{UPLOADED}"
            ),
            Self::NotFound(name) => write!(
                f,
                "the secret `{name}` is not set; `stepwell secret put {name}` sets it, or the operator's file of `--secrets`"
            ),
        }
    }
}

impl std::error::Error for SecretError {}

/// The secret's current value.
///
/// # Errors
/// [`SecretError`] when the name is not granted or not set.
pub fn get(name: &str) -> Result<String, SecretError> {
    crate::host::secret(name)
}
