//! The workspace's test binaries, compiled by one call of cargo. Hides cargo's messages.
//!
//! Cargo chooses the features of libraries by the packages that it is asked for: tested one by one, packages would
//! compile the Wasm runtime and its libraries several times over.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::tools;

/// Compiled when first asked for.
#[derive(Default)]
pub(crate) struct Binaries(Option<Vec<Binary>>);

struct Binary {
    /// Name of the package.
    package: String,
    /// The package's folder, in which its tests run.
    folder: PathBuf,
    /// `lib.rs`, `tests/life.rs`: from the package's folder.
    source: String,
    program: PathBuf,
}

impl Binaries {
    /// Compiles them, unless that was done.
    pub(crate) fn compile(&mut self) -> Result<()> {
        self.all().map(|_| ())
    }

    /// Commands that run those of these packages, in their order.
    pub(crate) fn of(&mut self, packages: &[&str]) -> Result<Vec<Command>> {
        let all = self.all()?;
        let mut commands = Vec::new();
        for package in packages {
            let before = commands.len();
            for binary in all.iter().filter(|binary| binary.package == *package) {
                eprintln!("\n{package}: {}", binary.source);
                let mut command = Command::new(&binary.program);
                command.current_dir(&binary.folder);
                commands.push(command);
            }
            if commands.len() == before {
                bail!("package {package} has no tests");
            }
        }
        Ok(commands)
    }

    fn all(&mut self) -> Result<&[Binary]> {
        if self.0.is_none() {
            self.0 = Some(compile()?);
        }
        Ok(self.0.as_deref().unwrap_or_default())
    }
}

fn compile() -> Result<Vec<Binary>> {
    let output = tools::cargo()
        .args([
            "test",
            "--workspace",
            "--no-run",
            "--message-format=json-render-diagnostics",
        ])
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be started")?;
    if !output.status.success() {
        bail!("the tests do not compile ({})", output.status);
    }
    let text = String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")?;
    let mut binaries: Vec<Binary> = text.lines().filter_map(binary).collect();
    binaries.sort_by(|a, b| (&a.package, &a.source).cmp(&(&b.package, &b.source)));
    Ok(binaries)
}

/// The test binary that one of cargo's messages tells of.
fn binary(message: &str) -> Option<Binary> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
    let source = Path::new(message["target"]["src_path"].as_str()?);
    Some(Binary {
        package: package(message["package_id"].as_str()?)?.to_owned(),
        folder: folder.to_owned(),
        source: source
            .strip_prefix(folder)
            .unwrap_or(source)
            .display()
            .to_string(),
        program: message["executable"].as_str()?.into(),
    })
}

/// `path+file:///folder/query#stepwell-query@0.1.0`; the name is left out where it is the folder's.
fn package(id: &str) -> Option<&str> {
    let (path, fragment) = id.rsplit_once('#')?;
    match fragment.split_once('@') {
        Some((name, _)) => Some(name),
        None => path.rsplit('/').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_known_by_its_id() {
        let named = "path+file:///w/runtime/query#stepwell-query@0.1.0";
        assert_eq!(package(named), Some("stepwell-query"));
        assert_eq!(package("path+file:///w/xtask#0.1.0"), Some("xtask"));
    }

    #[test]
    fn only_test_binaries_are_taken() {
        let message = r#"{"reason":"compiler-artifact","package_id":"path+file:///w/xtask#0.1.0",
            "manifest_path":"/w/xtask/Cargo.toml","target":{"src_path":"/w/xtask/src/main.rs"},
            "profile":{"test":true},"executable":"/w/target/debug/deps/xtask-1"}"#;
        let found = binary(message).unwrap();
        assert_eq!(
            (found.package.as_str(), found.source.as_str()),
            ("xtask", "src/main.rs")
        );
        assert!(binary(&message.replace("true", "false")).is_none());
        assert!(binary(r#"{"reason":"build-finished","success":true}"#).is_none());
    }
}
