//! What a manifest says of its plugin, held against what the plugin is and what may be granted to it. Hides the words for what
//! differs: whoever loads a plugin and whoever only looks at one say the same.

use crate::folders::Guarded;
use crate::grants::{Ceiling, Effective};
use crate::manifest::{Contract, Manifest};
use std::path::Path;

/// Checks what it says of the plugin's name.
pub(crate) fn check_name(manifest: &Manifest, name: &str) -> Result<(), String> {
    match &manifest.name {
        Some(claimed) if claimed != name => Err(format!(
            "plugin.toml says name = \"{claimed}\"; the plugin is found as `{name}`, make both the same"
        )),
        Some(_) | None => Ok(()),
    }
}

/// Checks what it says of the plugin's name and its WebAssembly: before anything is compiled.
pub(crate) fn check_file(manifest: &Manifest, name: &str, sha256: &str) -> Result<(), String> {
    check_name(manifest, name)?;
    if let Some(pin) = &manifest.sha256
        && pin != sha256
    {
        return Err(format!(
            "its file has the SHA-256 {sha256}, plugin.toml pins {pin}; restore the file or the pin"
        ));
    }
    Ok(())
}

/// Checks what it says of the contract: that of a program which was linked.
pub(crate) fn check_contract(manifest: &Manifest, contract: Contract) -> Result<(), String> {
    match manifest.contract {
        Some(claimed) if claimed != contract => Err(format!(
            "plugin.toml says contract = \"{}\", the file is a {}",
            key(claimed),
            key(contract)
        )),
        Some(_) | None => Ok(()),
    }
}

/// As a manifest names it.
fn key(contract: Contract) -> &'static str {
    match contract {
        Contract::Component => "component",
        Contract::Command => "command",
    }
}

/// What it asks for, as far as each ceiling allows; `own` is the plugin's own folder.
///
/// # Errors
/// Folders that cannot be granted to anybody, each with why.
pub(crate) fn granted(
    manifest: &Manifest,
    ceilings: &[&Ceiling],
    own: Option<&Path>,
    guarded: &Guarded,
) -> Result<Effective, String> {
    Effective::new(&manifest.grants, ceilings, own, guarded).map_err(|wrong| wrong.join("\n"))
}
