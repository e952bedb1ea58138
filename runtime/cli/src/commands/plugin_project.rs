//! A plugin's sources in Rust: written from the SDK's template, built by cargo, installed in a plugin directory. Hides
//! cargo's folders and targets.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, anyhow};
use serde_json::Value;
use stepwell_sandbox::Manifest;

use crate::exit::{Blame, Outcome, Stop};
use crate::host::make_plugin_folder;

const TARGET: &str = "wasm32-wasip2";
/// Characters of a plugin's name.
const NAME_CHARS_MAX: usize = 64;

/// The template's files: their place, and their text with `{{name}}` and `{{sdk}}`.
const TEMPLATE: [(&str, &str); 4] = [
    (
        "Cargo.toml",
        include_str!("../../../../guest-sdk/rust/template/Cargo.toml.tmpl"),
    ),
    (
        "plugin.toml",
        include_str!("../../../../guest-sdk/rust/template/plugin.toml"),
    ),
    (
        "README.md",
        include_str!("../../../../guest-sdk/rust/template/README.md"),
    ),
    (
        "src/lib.rs",
        include_str!("../../../../guest-sdk/rust/template/src/lib.rs"),
    ),
];

/// Where the SDK lay when this program was built.
const SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../guest-sdk/rust");

/// Writes a new plugin into a folder that must not exist.
pub(super) fn new(name: &str, path: Option<&Path>, sdk: Option<&Path>) -> Outcome {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || !name.chars().all(allowed) {
        return Err(Stop::Usage(anyhow!(
            "`{name}` is no name of a plugin\nhint: 1 to {NAME_CHARS_MAX} of A-Z a-z 0-9 - _"
        )));
    }
    let folder = path.map_or_else(|| PathBuf::from(name), Path::to_owned);
    if folder.exists() {
        return Err(Stop::Usage(anyhow!(
            "`{}` is there already",
            folder.display()
        )));
    }
    let sdk = sdk_folder(sdk)?;
    let sdk = format!(
        "{{ path = {} }}",
        toml::Value::String(sdk.display().to_string())
    );
    for (place, text) in TEMPLATE {
        let file = folder.join(place);
        let text = text.replace("{{name}}", name).replace("{{sdk}}", &sdk);
        let parent = file.parent().unwrap_or(&folder);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&file, text))
            .with_context(|| format!("`{}` cannot be written", file.display()))
            .usage()?;
    }
    let at = folder.display();
    say!(
        "wrote the plugin `{name}` into {at}\n  (cd {at} && cargo test)\n  stepwell plugin build {at}\n  stepwell plugin invoke {name} '{{\"name\":\"Ada\"}}'\nplugins are installed in ./stepwell-data/plugins, where `run` and `serve` find them"
    );
    Ok(())
}

fn sdk_folder(given: Option<&Path>) -> Outcome<PathBuf> {
    let folder = given.unwrap_or(Path::new(SDK));
    let found = folder
        .canonicalize()
        .ok()
        .filter(|folder| folder.join("Cargo.toml").is_file());
    let folder = found.with_context(|| match given {
        Some(given) => format!("`{}` does not hold the Rust SDK\nhint: name Stepwell's folder guest-sdk/rust", given.display()),
        None => "the Rust SDK is not where it lay when this program was built\nhint: --sdk DIR names Stepwell's folder guest-sdk/rust".to_owned(),
    });
    folder.usage()
}

/// Builds the plugin in `path` and installs it as `PLUGINS/NAME/`. Gives that folder. `shared` takes what cargo builds
/// unless the plugin says itself where that goes.
pub(super) fn build(
    path: &Path,
    plugins: &Path,
    profile: &str,
    shared: Option<&Path>,
) -> Outcome<PathBuf> {
    if !path.join("Cargo.toml").is_file() {
        return Err(Stop::Usage(anyhow!(
            "there is no Cargo.toml in `{}`\nhint: `stepwell plugin new NAME` writes a plugin",
            path.display()
        )));
    }
    target_is_installed(path)?;
    let mut package = Package::read(path)?;
    if let Some(shared) = shared.filter(|_| package.target == package.folder.join("target")) {
        package.target = std::path::absolute(shared).usage()?;
        if !package.target.join(TARGET).is_dir() {
            say!(
                "the first build of a plugin compiles the SDK, which takes a minute or more; it is kept in {} for all others",
                package.target.display()
            );
        }
    }
    let mut cargo = Command::new(cargo());
    cargo
        .current_dir(path)
        .args(["build", "--lib", "--target", TARGET, "--profile", profile])
        .arg("--target-dir")
        .arg(&package.target);
    let status = cargo
        .status()
        .context("cargo cannot be started; is Rust installed? https://rustup.rs")
        .usage()?;
    if !status.success() {
        return Err(Stop::Usage(anyhow!(
            "the plugin `{}` does not compile",
            package.name
        )));
    }
    let folder = if profile == "dev" { "debug" } else { profile };
    let built = package
        .target
        .join(TARGET)
        .join(folder)
        .join(format!("{}.wasm", package.name.replace('-', "_")));
    if !built.is_file() {
        return Err(Stop::Usage(anyhow!(
            "cargo built no `{}`\nhint: Cargo.toml needs [lib] crate-type = [\"cdylib\", \"rlib\"]",
            built.display()
        )));
    }
    install(path, &package, &built, plugins)
}

fn install(path: &Path, package: &Package, built: &Path, plugins: &Path) -> Outcome<PathBuf> {
    let manifest_file = path.join("plugin.toml");
    let text = if manifest_file.is_file() {
        Some(crate::given::read(&manifest_file)?)
    } else {
        None
    };
    let manifest = text
        .as_deref()
        .map_or_else(|| Ok(Manifest::default()), Manifest::parse);
    let manifest =
        manifest.map_err(|why| Stop::Usage(anyhow!("`{}`: {why}", manifest_file.display())))?;
    let name = manifest
        .name
        .clone()
        .unwrap_or_else(|| package.name.clone());
    let module = manifest
        .module
        .clone()
        .unwrap_or_else(|| format!("{name}.wasm"));
    let folder = plugins.join(&name);
    make_plugin_folder(&folder)
        .with_context(|| format!("`{}` cannot be created", folder.display()))
        .usage()?;
    let wasm = std::fs::read(built)
        .with_context(|| format!("`{}` cannot be read", built.display()))
        .runtime()?;
    put(&folder.join(module), &wasm)?;
    if let Some(text) = text {
        put(&folder.join("plugin.toml"), text.as_bytes())?;
    }
    say!("installed the plugin `{name}` in {}", folder.display());
    Ok(folder)
}

/// Writes a file so that a running server sees the old one or the new one, never a half.
fn put(file: &Path, bytes: &[u8]) -> Outcome {
    let half = file.with_extension("new");
    std::fs::write(&half, bytes)
        .and_then(|()| std::fs::rename(&half, file))
        .with_context(|| format!("`{}` cannot be written", file.display()))
        .usage()
}

fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The standard library for the target must be there; rustc says where it would be.
fn target_is_installed(path: &Path) -> Outcome {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let output = rustc
        .current_dir(path)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    let output = output
        .context("rustc cannot be started; is Rust installed? https://rustup.rs")
        .usage()?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && folder.is_dir() {
        return Ok(());
    }
    Err(Stop::Usage(anyhow!(
        "Rust's target {TARGET} is not installed\nhint: rustup target add {TARGET}"
    )))
}

/// What cargo knows of the package.
struct Package {
    name: String,
    /// The folder of its `Cargo.toml`.
    folder: PathBuf,
    target: PathBuf,
}

impl Package {
    fn read(path: &Path) -> Outcome<Package> {
        let mut command = Command::new(cargo());
        let output = command
            .current_dir(path)
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .output();
        let output = output
            .context("cargo cannot be started; is Rust installed? https://rustup.rs")
            .usage()?;
        if !output.status.success() {
            return Err(Stop::Usage(anyhow!(
                "cargo cannot read the plugin's Cargo.toml:\n{}",
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
        let metadata: Value = serde_json::from_slice(&output.stdout)
            .context("cargo's metadata is not JSON")
            .runtime()?;
        let manifest = path
            .join("Cargo.toml")
            .canonicalize()
            .context("Cargo.toml cannot be found")
            .usage()?;
        let packages = metadata
            .get("packages")
            .and_then(Value::as_array)
            .map_or(&[] as &[Value], Vec::as_slice);
        let own = packages
            .iter()
            .find(|package| Path::new(super::text(package, "manifest_path")) == manifest);
        let name = own.map(|package| super::text(package, "name").to_owned());
        Ok(Package {
            name: name
                .context("Cargo.toml holds no package, only a workspace")
                .usage()?,
            folder: manifest.parent().unwrap_or(path).to_owned(),
            target: PathBuf::from(super::text(&metadata, "target_directory")),
        })
    }
}
