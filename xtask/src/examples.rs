//! The examples' plugins: built for Wasm and laid out as plugin directories. Hides cargo's output folders.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::tools;

/// One task of an example.
struct Task {
    example: String,
    /// Name of the plugin: that of the task's folder.
    name: String,
    folder: PathBuf,
    /// Name of the crate.
    package: String,
}

/// Builds the plugins of all examples in one go. Gives the plugin directories, `target/examples/NAME/plugins`.
pub(crate) fn plugins() -> Result<Vec<PathBuf>> {
    tools::targets()?;
    let tasks = tasks()?;
    let mut cargo = tools::cargo();
    cargo.args([
        "build",
        "--lib",
        "--profile",
        "guest",
        "--target",
        "wasm32-wasip2",
    ]);
    for task in &tasks {
        cargo.args(["--package", &task.package]);
    }
    tools::run(&mut cargo, "the examples' tasks do not compile")?;
    let mut folders: Vec<PathBuf> = Vec::new();
    for task in &tasks {
        let folder = install(task)?;
        if folders.last() != Some(&folder) {
            folders.push(folder);
        }
    }
    Ok(folders)
}

/// The packages of all examples' tasks.
pub(crate) fn packages() -> Result<Vec<String>> {
    Ok(tasks()?.into_iter().map(|task| task.package).collect())
}

/// A task with a manifest becomes a folder, one without a single file.
fn install(task: &Task) -> Result<PathBuf> {
    let root = tools::root();
    let built = root
        .join("target/wasm32-wasip2/guest")
        .join(format!("{}.wasm", task.package.replace('-', "_")));
    let plugins = root
        .join("target/examples")
        .join(&task.example)
        .join("plugins");
    let manifest = task.folder.join("plugin.toml");
    let file = format!("{}.wasm", task.name);
    if manifest.is_file() {
        let folder = plugins.join(&task.name);
        put(&built, &folder.join(module(&manifest)?.unwrap_or(file)))?;
        put(&manifest, &folder.join("plugin.toml"))?;
    } else {
        put(&built, &plugins.join(file))?;
    }
    Ok(plugins)
}

/// The file that a manifest names.
fn module(manifest: &Path) -> Result<Option<String>> {
    let text = read(manifest)?;
    let manifest: toml::Table = text
        .parse()
        .with_context(|| format!("{} is no TOML", tools::shown(manifest)))?;
    Ok(manifest
        .get("module")
        .and_then(toml::Value::as_str)
        .map(str::to_owned))
}

/// Copies a file unless the goal is the same already, so that a running server keeps what it has compiled.
fn put(from: &Path, to: &Path) -> Result<()> {
    let bytes =
        std::fs::read(from).with_context(|| format!("{} was not built", tools::shown(from)))?;
    if std::fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = to.parent().context("a plugin lies in a folder")?;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("{} cannot be created", tools::shown(folder)))?;
    std::fs::write(to, bytes).with_context(|| format!("{} cannot be written", tools::shown(to)))
}

fn tasks() -> Result<Vec<Task>> {
    let mut tasks = Vec::new();
    for example in folders(&tools::root().join("examples"))? {
        let inner = example.join("tasks");
        if !inner.is_dir() {
            continue;
        }
        for folder in folders(&inner)? {
            tasks.push(Task {
                example: name(&example),
                name: name(&folder),
                package: package(&folder)?,
                folder,
            });
        }
    }
    Ok(tasks)
}

fn package(folder: &Path) -> Result<String> {
    let file = folder.join("Cargo.toml");
    let manifest: toml::Table = read(&file)?
        .parse()
        .with_context(|| format!("{} is no TOML", tools::shown(&file)))?;
    let name = manifest
        .get("package")
        .and_then(|package| package.get("name")?.as_str());
    name.map(str::to_owned)
        .with_context(|| format!("{} names no package", tools::shown(&file)))
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", tools::shown(file)))
}

fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The folders in a folder, sorted.
fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(folder)
        .with_context(|| format!("{} is not readable", tools::shown(folder)))?
    {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}
