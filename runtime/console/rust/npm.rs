//! Node's part of the console: whether it is there, what npm installs, which scripts of `package.json` are run. Hides how builds
//! that run at the same time share one `node_modules`, and how much of npm's words is told.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };
const MEND: &str =
    "install Node 20.19, or 22.12 or later, with npm (on Debian: `apt-get install nodejs npm`)";

/// What decides which modules there are.
const PINNED: [&str; 2] = ["package.json", "package-lock.json"];
/// Holds the text of these files as they were when their modules were installed. Who installs or uses them has it locked.
pub(crate) const STAMP: &str = ".installed";

/// Lines and characters of a failure that are told.
const SAID_LINES_MAX: usize = 3;
const SAID_CHARS_MAX: usize = 400;

/// A package whose modules are there. Nobody else installs any as long as it lives.
pub(crate) struct Installed {
    package: PathBuf,
    _lock: File,
}

/// Installs the modules of a package, unless they are there.
///
/// # Errors
/// One line: what is missing and how to mend it, or what npm says.
pub(crate) fn install(package: &Path) -> Result<Installed, String> {
    check_node()?;
    let mut pinned = String::new();
    for file in PINNED {
        let path = package.join(file);
        let text = fs::read_to_string(&path);
        pinned.push_str(&text.map_err(|error| format!("{}: {error}", path.display()))?);
    }
    let path = package.join(STAMP);
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut stamp = stamp(&path).map_err(told)?;
    let mut installed = String::new();
    stamp.read_to_string(&mut installed).map_err(told)?;
    if installed != pinned || !package.join("node_modules").is_dir() {
        // What is cut off in the middle is no installation.
        stamp.set_len(0).map_err(told)?;
        stamp.rewind().map_err(told)?;
        let mut ci = npm(package);
        ci.args(["ci", "--ignore-scripts", "--include=dev"]);
        ci.args(["--no-audit", "--no-fund", "--prefer-offline"]);
        done(&mut ci, "npm cannot install what package-lock.json pins")?;
        stamp.write_all(pinned.as_bytes()).map_err(told)?;
    }
    Ok(Installed {
        package: package.to_owned(),
        _lock: stamp,
    })
}

impl Installed {
    /// A script of the package; what is added to the command, Vite gets.
    pub(crate) fn script(&self, name: &str) -> Command {
        let mut npm = npm(&self.package);
        npm.args(["run", "--silent", name, "--"]);
        npm
    }
}

/// Runs a command to its end.
///
/// # Errors
/// One line: what that means, and how the command says it.
pub(crate) fn done(command: &mut Command, failure: &str) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{failure}: npm does not start ({error}); {MEND}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{failure}: {}", said(&output))),
    }
}

/// The stamp, there and locked.
fn stamp(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let stamp = options.open(path)?;
    stamp.lock()?;
    Ok(stamp)
}

fn npm(package: &Path) -> Command {
    let mut npm = Command::new(NPM);
    npm.current_dir(package)
        .env("NO_COLOR", "1")
        .env_remove("FORCE_COLOR")
        // It would leave modules out, or build for who develops.
        .env_remove("NODE_ENV");
    npm
}

fn check_node() -> Result<(), String> {
    let told = Command::new("node").arg("--version").output();
    let told = told.map_err(|_| format!("Node is missing; {MEND}"))?;
    let told = String::from_utf8_lossy(&told.stdout);
    match version(told.trim()).is_some_and(runs_vite) {
        true => Ok(()),
        false => Err(format!(
            "`node --version` is `{}`, and Vite does not run on that; {MEND}",
            told.trim()
        )),
    }
}

/// As Vite's own package says; 21 and the first ones of 22 lack what the later ones of 20 have.
fn runs_vite((major, minor): (u32, u32)) -> bool {
    match major {
        ..20 | 21 => false,
        20 => minor >= 19,
        22 => minor >= 12,
        23.. => true,
    }
}

/// `v20.19.2`
fn version(told: &str) -> Option<(u32, u32)> {
    let mut numbers = told.strip_prefix('v')?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The first lines of what npm, or a script, said of its failure, as one.
fn said(output: &Output) -> String {
    let (errors, text) = (&output.stderr, &output.stdout);
    let said = if errors.is_empty() { text } else { errors };
    let said = String::from_utf8_lossy(said);
    let lines = said.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with("npm warn"));
    let lines = lines.map(|line| line.strip_prefix("npm error").unwrap_or(line).trim());
    let lines = lines.filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.take(SAID_LINES_MAX).collect();
    let line: String = lines.join("; ").chars().take(SAID_CHARS_MAX).collect();
    format!("{line} ({})", output.status)
}
