//! `plugin list`: the plugins of a directory, and what looks as if it should be one. Hides that folders which are none are found apart.

use std::path::Path;

use serde_json::{Value, json};
use stepwell_sandbox::{CODE_EXTENSION, PluginInfo, Sandbox, Skipped};

use super::plugin_named::bare_name;
use super::waited::watched;
use crate::exit::Outcome;
use crate::host::{TENANT, contract_name};
use crate::table::Table;
use crate::terminal::shown;

/// Digits of an account, whose folder in the plugin directory has plugins of its own.
const ACCOUNT_DIGITS: usize = 12;

pub(super) async fn list(sandbox: &Sandbox, plugins: &Path, as_json: bool) -> Outcome {
    let folder = plugins.display().to_string();
    let what = format!("compiling what is not compiled of {}", shown(&folder));
    let warm = async {
        sandbox.warm().await;
        Ok(())
    };
    watched(what, warm).await?;
    let mut found: Vec<Listed> = sandbox.list().into_iter().map(Listed::of).collect();
    found.extend(unserved(plugins, sandbox.skipped()));
    found.sort_by(|a, b| (&a.tenant, &a.name).cmp(&(&b.tenant, &b.name)));
    if as_json {
        let all = found.iter().map(Listed::json).collect();
        return super::print_json(&Value::Array(all));
    }
    if found.is_empty() {
        say!(
            "there are no plugins in `{}`; `stepwell plugin new NAME` writes one, and `stepwell plugin versions` lists what was uploaded",
            plugins.display()
        );
        return Ok(());
    }
    super::print(&text(&found))?;
    if found.iter().any(|one| one.problem.is_some()) {
        say!("`stepwell plugin check NAME` says what is wrong with one, and how to mend it");
    }
    Ok(())
}

/// What is no plugin: what a server skips, and folders that lack a manifest. One of both is skipped.
fn unserved(plugins: &Path, skipped: Vec<Skipped>) -> Vec<Listed> {
    let mut found: Vec<Listed> = skipped
        .into_iter()
        .map(|one| Listed::skipped(plugins, one))
        .collect();
    for one in incomplete(plugins) {
        if !found.iter().any(|told| told.source == one.source) {
            found.push(one);
        }
    }
    found
}

/// A plugin, or a file or folder that is none yet.
struct Listed {
    tenant: String,
    name: String,
    version: Option<String>,
    source: String,
    contract: Option<&'static str>,
    sha256: Option<String>,
    missing_grants: Vec<String>,
    /// In a word, and as it is told.
    problem: Option<(&'static str, String)>,
}

impl Listed {
    fn of(plugin: PluginInfo) -> Listed {
        Listed {
            tenant: plugin.tenant,
            name: plugin.name,
            version: plugin.version,
            source: plugin.source,
            contract: plugin.contract.map(contract_name),
            sha256: plugin.sha256,
            missing_grants: plugin.missing_grants,
            problem: plugin.problem.map(|why| ("broken", why)),
        }
    }

    fn incomplete(tenant: &str, name: &str, source: String) -> Listed {
        Listed {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            version: None,
            source,
            contract: None,
            sha256: None,
            missing_grants: Vec::new(),
            problem: Some((
                "incomplete: no plugin.toml",
                "the folder has no plugin.toml, by which a folder is a plugin".to_owned(),
            )),
        }
    }

    fn skipped(plugins: &Path, skipped: Skipped) -> Listed {
        let place = plugins.join(&skipped.place);
        let is_link = place.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
        // Its manifest is what is wrong with a folder that has a plugin's name.
        let is_folder = !is_link && place.is_dir() && !is_account(&skipped.name);
        let is_named = bare_name(Path::new(&skipped.name)).is_some();
        let state = match (is_link, is_folder && is_named) {
            (true, _) => "skipped: a link that is not followed",
            (false, true) => "incomplete: plugin.toml is not read",
            (false, false) if is_named => "skipped",
            (false, false) => "skipped: no name of a plugin",
        };
        Listed {
            problem: Some((state, skipped.why)),
            ..Listed::incomplete(&skipped.tenant, &skipped.name, skipped.place)
        }
    }

    fn json(&self) -> Value {
        json!({
            "tenant": self.tenant,
            "name": self.name,
            "version": self.version,
            "source": self.source,
            "contract": self.contract,
            "sha256": self.sha256,
            "missingGrants": self.missing_grants,
            "problem": self.problem.as_ref().map(|(_, why)| why),
        })
    }
}

fn text(found: &[Listed]) -> String {
    // Without accounts of their own in the folder, the account says nothing.
    let accounts = found.iter().any(|plugin| plugin.tenant != TENANT);
    let mut columns = vec!["name", "version", "contract", "account", "source", "state"];
    if !accounts {
        columns.retain(|column| *column != "account");
    }
    let mut table = Table::new(&columns);
    for plugin in found {
        let mut row = vec![
            plugin.name.clone(),
            plugin.version.clone().unwrap_or_else(|| "-".to_owned()),
            plugin.contract.unwrap_or("-").to_owned(),
        ];
        row.extend(accounts.then(|| plugin.tenant.clone()));
        let state = plugin.problem.as_ref().map_or("ok", |(word, _)| *word);
        row.extend([plugin.source.clone(), state.to_owned()]);
        table.row(row);
    }
    table.whole(None)
}

/// Folders of a plugin directory that hold a program and no `plugin.toml`.
fn incomplete(plugins: &Path) -> Vec<Listed> {
    let mut found = Vec::new();
    for name in folders(plugins) {
        let folder = plugins.join(&name);
        if !is_account(&name) {
            found.extend(is_incomplete(&folder).then(|| {
                let source = name.clone();
                Listed::incomplete(TENANT, &name, source)
            }));
            continue;
        }
        for below in folders(&folder) {
            let source = format!("{name}/{below}");
            let is_none = is_incomplete(&folder.join(&below));
            found.extend(is_none.then(|| Listed::incomplete(&name, &below, source)));
        }
    }
    found
}

/// Names of the folders that could be those of plugins.
fn folders(of: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(of).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| bare_name(Path::new(name)).is_some())
        .collect()
}

fn is_account(name: &str) -> bool {
    name.len() == ACCOUNT_DIGITS && name.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_incomplete(folder: &Path) -> bool {
    let is_program = |file: std::fs::DirEntry| {
        let path = file.path();
        let kind = path.extension();
        kind.is_some_and(|kind| kind == "wasm" || kind == CODE_EXTENSION)
    };
    let files = || std::fs::read_dir(folder).into_iter().flatten().flatten();
    !folder.join("plugin.toml").exists() && files().any(is_program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_lack_a_manifest_are_listed_with_what_they_lack() {
        let scratch = tempfile::tempdir().unwrap();
        let plugins = scratch.path();
        for (folder, file) in [
            ("greet", "greet.wasm"),
            ("edge", "edge.cwasm"),
            ("whole", "whole.wasm"),
            ("whole", "plugin.toml"),
            ("notes", "notes.txt"),
            ("111111111111/theirs", "theirs.wasm"),
        ] {
            std::fs::create_dir_all(plugins.join(folder)).unwrap();
            std::fs::write(plugins.join(folder).join(file), "").unwrap();
        }
        let mut found = incomplete(plugins);
        found.sort_by(|a, b| a.source.cmp(&b.source));
        let of = |one: &Listed| (one.tenant.clone(), one.source.clone());
        let found_at: Vec<_> = found.iter().map(of).collect();
        let wanted = [
            ("111111111111", "111111111111/theirs"),
            (TENANT, "edge"),
            (TENANT, "greet"),
        ];
        assert_eq!(
            found_at,
            wanted.map(|(tenant, source)| (tenant.to_owned(), source.to_owned()))
        );
        let told = text(&found[1..]);
        assert_eq!(
            told,
            "NAME   VERSION  CONTRACT  SOURCE  STATE\n\
             edge   -        -         edge    incomplete: no plugin.toml\n\
             greet  -        -         greet   incomplete: no plugin.toml\n"
        );
    }

    #[cfg(unix)]
    #[test]
    fn what_a_server_skips_is_listed_with_why() {
        use std::os::unix::fs::symlink;
        let (scratch, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let plugins = scratch.path();
        std::fs::write(outside.path().join("plugin.toml"), "").unwrap();
        std::fs::create_dir(plugins.join("nm")).unwrap();
        std::fs::write(plugins.join("nm/nm.wasm"), "").unwrap();
        symlink(
            outside.path().join("plugin.toml"),
            plugins.join("nm/plugin.toml"),
        )
        .unwrap();
        symlink(outside.path(), plugins.join("all")).unwrap();
        symlink(outside.path().join("it.wasm"), plugins.join("lnk.wasm")).unwrap();
        std::fs::write(plugins.join("a b.wasm"), "").unwrap();
        // It would be told twice.
        std::fs::write(outside.path().join("it.wasm"), "").unwrap();
        let sandbox = crate::host::sandbox(
            Some(plugins),
            None,
            crate::host::no_compiler(),
            crate::policy::Policy::default(),
        )
        .unwrap();
        let found = unserved(plugins, sandbox.skipped());
        assert_eq!(
            text(&found),
            "NAME  VERSION  CONTRACT  SOURCE    STATE\n\
             a b   -        -         a b.wasm  skipped: no name of a plugin\n\
             all   -        -         all       skipped: a link that is not followed\n\
             lnk   -        -         lnk.wasm  skipped: a link that is not followed\n\
             nm    -        -         nm        incomplete: plugin.toml is not read\n"
        );
        let told = found[3].json();
        let why = told["problem"].as_str().unwrap();
        assert!(why.contains("its plugin.toml is a link"), "{why}");
    }
}
