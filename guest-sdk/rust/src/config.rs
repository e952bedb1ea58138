//! Settings from `[grants].config` of the plugin's manifest.

/// The value of a key, or `None` when the manifest does not set it or the operator does not allow it.
pub fn get(key: &str) -> Option<String> {
    crate::host::config(key)
}
