//! A plugin examined before it is used: what it is, what it wants, what is wrong with it.

use crate::cache::hex;
use crate::claims;
use crate::code::{Format, Import, Program, shown};
use crate::compiler::Blame;
use crate::error::Error;
use crate::grants::{Asked, Effective, Grants};
use crate::limits;
use crate::manifest::{Contract, Instance, Limits, Manifest, Reuse};
use crate::manifest_text;
use crate::needs::Needs;
use crate::origin::{Kept, Origins};
use crate::queue::Leave;
use crate::registry::Loader;
use crate::scan::{Found, module};
use sha2::{Digest as _, Sha256};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

const MEND_MANIFEST: &str =
    "mend plugin.toml; every field is in docs/plugins.md, and none is needed";

/// What to do with a folder that is none.
const NO_MANIFEST: &str = "the folder has no plugin.toml, by which a folder is a plugin\nhint: put one beside its .wasm file, an empty one if it asks for nothing, or name the .wasm file itself; a plugin's sources are built by `stepwell plugin build`";

/// What a plugin's files say.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The `.wasm` that was examined.
    pub file: PathBuf,
    /// Its size.
    pub wasm_bytes: u64,
    /// Its SHA-256 in hex.
    pub sha256: String,
    /// Its binary format; none when it is no WebAssembly.
    pub format: Option<Format>,
    /// How it is called; none when it fits no contract.
    pub contract: Option<Contract>,
    /// Everything it imports.
    pub imports: Vec<Import>,
    /// Its memories at the start, in bytes all together, where known without running it.
    pub memory_bytes_min: Option<u64>,
    /// Its manifest, or the defaults.
    pub manifest: Manifest,
    /// The limits that it would run under.
    pub limits: Limits,
    /// Whether instances would serve more than one attempt.
    pub instance: Instance,
    /// What it asks for, each with why it would not have it.
    pub asked: Vec<Asked>,
    /// What is wrong with it; empty when it is fine.
    pub problems: Vec<Problem>,
}

/// Something wrong with a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether it cannot be called at all; otherwise it may disappoint.
    pub fatal: bool,
    /// What is wrong, and where.
    pub what: String,
    /// How to mend it; empty when the next one says so for both.
    pub hint: String,
}

impl Inspection {
    /// Whether the plugin can be called.
    pub fn usable(&self) -> bool {
        !self.problems.iter().any(|problem| problem.fatal)
    }

    /// Adds what may disappoint and was found elsewhere.
    pub fn warn(&mut self, what: String) {
        self.problems.push(Problem {
            fatal: false,
            what,
            hint: String::new(),
        });
    }
}

impl Inspection {
    /// Adds why the plugin is not served as which it is found in the plugin folder, unless that was told.
    pub(crate) fn check_found(&mut self, found: &Found) {
        let named = claims::check_name(&self.manifest, &found.name);
        let unread = match self.usable() {
            true => found.read().err(),
            false => None,
        };
        let told = named.err().into_iter().chain(unread);
        self.problems.extend(told.map(|what| Problem {
            fatal: true,
            what,
            hint: String::new(),
        }));
    }
}

pub(crate) fn inspect(path: &Path, tenant: &str, loader: &Loader) -> Result<Inspection, Error> {
    let mut problems = Vec::new();
    let (manifest, file) = files(path, &mut problems)?;
    let wasm = read(&file, limits::WASM_BYTES_MAX)?;
    let sha256 = hex(&Sha256::digest(&wasm));
    let own = path.is_dir().then_some(path);
    let guarded = &loader.settings.guarded;
    let allowed = loader.allowed(tenant);
    let asked = match Effective::new(&manifest.grants, &allowed.grants(), own, guarded) {
        Ok(effective) => effective.asked,
        Err(wrong) => {
            all_fatal(&mut problems, wrong);
            Vec::new()
        }
    };
    let limits = manifest.limits.within(&allowed.limits());
    let instance = allowed.instance(manifest.instance.clone());
    cut_down(&mut problems, &manifest, &limits, &instance, &asked);
    if let Some(pin) = &manifest.sha256
        && *pin != sha256
    {
        let hint = format!("write sha256 = \"{sha256}\" if this file is meant");
        problems.push(Problem {
            fatal: true,
            what: format!("plugin.toml pins another file: {pin}"),
            hint,
        });
    }
    let mut inspection = Inspection {
        file,
        wasm_bytes: wasm.len() as u64,
        format: Format::of(&wasm).ok(),
        contract: None,
        imports: Vec::new(),
        memory_bytes_min: None,
        sha256,
        manifest,
        limits,
        instance,
        asked,
        problems,
    };
    let kept = match own {
        Some(_) => Kept::Manifest,
        None => Kept::Nowhere,
    };
    examine(&mut inspection, &wasm, kept, loader);
    Ok(inspection)
}

/// Warns of what the operator leaves of what the manifest asks for.
pub(crate) fn cut_down(
    problems: &mut Vec<Problem>,
    manifest: &Manifest,
    limits: &Limits,
    instance: &Instance,
    asked: &[Asked],
) {
    // A file without limits asks for nothing: what it gets is no disappointment.
    if *limits != manifest.limits && manifest.limits != Limits::default() {
        warn(
            problems,
            "its [limits] go beyond what the operator allows and are cut to that",
            "lower [limits]",
        );
    }
    let refused = asked.iter().filter(|asked| asked.refused.is_some());
    for refused in refused.map(Asked::to_string) {
        let what = format!("it asks for {refused}");
        let hint = "have the operator allow it, by `tenant set --ceiling` or in the file of --ceilings, or take it out of [grants]";
        warn(problems, &what, hint);
    }
    if instance.reuse == Reuse::Never && manifest.instance.reuse != Reuse::Never {
        let what = "its instances serve one attempt each: the operator allows no reuse";
        warn(problems, what, "take [instance].reuse out of plugin.toml");
    }
}

/// The manifest and the program of a `.wasm` file, or of a folder with `plugin.toml`.
#[cfg(feature = "compiler")]
pub(crate) fn examined(path: &Path) -> Result<(Manifest, Vec<u8>), Error> {
    let mut problems = Vec::new();
    let (manifest, file) = files(path, &mut problems)?;
    let wrong: Vec<&str> = problems
        .iter()
        .map(|problem| problem.what.as_str())
        .collect();
    if !wrong.is_empty() {
        return Err(Error::Plugin {
            name: path.display().to_string(),
            why: format!("{}\nhint: {MEND_MANIFEST}", wrong.join("\n")),
        });
    }
    Ok((manifest, read(&file, limits::WASM_BYTES_MAX)?))
}

fn examine(inspection: &mut Inspection, wasm: &[u8], kept: Kept, loader: &Loader) {
    let problems = &mut inspection.problems;
    let mut fatal = |what: String, hint: &str| {
        problems.push(Problem {
            fatal: true,
            what,
            hint: hint.into(),
        })
    };
    let machine = match loader.machine(Loader::kind(&inspection.limits)) {
        Ok(machine) => machine,
        Err(why) => return fatal(why, "run the check on a machine that can run plugins"),
    };
    let needs = Needs::of(wasm);
    inspection.memory_bytes_min = needs.map(|needs| needs.memory_bytes);
    let beyond = needs.map(|needs| needs.beyond(&inspection.limits));
    let beyond = beyond.unwrap_or_default();
    let (asked, own) = (&inspection.manifest.limits, &inspection.limits);
    let origins = Origins::uncalled(kept, asked, own);
    for excess in &beyond {
        fatal(excess.to_string(), &excess.mend(&origins));
    }
    let (cache, compiler) = (&loader.cache, &loader.compiler);
    let (sha256, mut leave) = (&inspection.sha256, Leave::Alone);
    let program = match Program::compile(&machine, cache, compiler, sha256, wasm, &mut leave) {
        Ok(program) => program,
        // That one part is too large was said, and how large it may be.
        Err(fault) if fault.blame == Blame::Parts && !beyond.is_empty() => return,
        Err(fault) => return fatal(fault.why, mend_compiling(fault.blame)),
    };
    match &program.contract {
        Ok(contract) => inspection.contract = Some(*contract),
        Err(why) => fatal(why.clone(), "export one of the two contracts"),
    }
    for what in foreign(&program.imports) {
        let hint = "build it without that interface; WASI 0.2, preview 1 and stepwell:task@0.1 are offered";
        fatal(what, hint);
    }
    if let Some(contract) = inspection.contract
        && let Err(why) = claims::check_contract(&inspection.manifest, contract)
    {
        fatal(why, "write contract = \"auto\"");
    }
    inspection.imports.clone_from(&program.imports);
    command_ends(inspection);
    missing_grants(inspection);
    if inspection.usable()
        && let Err(why) = program.link(&machine)
    {
        let hint = "build it against the contract in guest-sdk/wit".to_owned();
        inspection.problems.push(Problem {
            fatal: true,
            what: why,
            hint,
        });
    }
}

/// Imports that this host does not have, the first ones by name.
fn foreign(imports: &[Import]) -> Vec<String> {
    let unknown = || imports.iter().filter(|import| !import.offered);
    let told = unknown().take(limits::IMPORTS_TOLD_MAX);
    let lacks = |import: &Import| {
        let name = shown(&import.name);
        format!("it imports `{name}`, which this host does not have")
    };
    let mut told: Vec<String> = told.map(lacks).collect();
    let more = unknown().count() - told.len();
    if more > 0 {
        told.push(format!(
            "it imports {more} more that this host does not have"
        ));
    }
    told
}

/// A command cannot be called again.
fn command_ends(inspection: &mut Inspection) {
    let asks = inspection.instance.reuse != Reuse::Never;
    if asks && inspection.contract == Some(Contract::Command) {
        inspection.instance = Instance::default();
        warn(
            &mut inspection.problems,
            "its instances serve one attempt each: a command ends with its call",
            "take [instance].reuse out of plugin.toml, or make it a component",
        );
    }
}

fn mend_compiling(blame: Blame) -> &'static str {
    match blame {
        Blame::File => "build it for wasm32-wasip2 or wasm32-wasip1",
        Blame::Toolchain | Blame::Parts => {
            "have its toolchain build it another way: docs/guest-contracts.md has what each makes"
        }
        Blame::Operator => "let a program with a compiler make its .cwasm, and give that",
        Blame::Bounds => "an optimised build is smaller: opt-level = \"s\", lto, strip",
        Blame::Circumstances | Blame::Turn(_) => "try again",
    }
}

/// Imports that are there on purpose and deny without a grant. Files, sockets and environment are imported by every
/// Rust program, so they say nothing.
fn missing_grants(inspection: &mut Inspection) {
    let Grants {
        config,
        secrets,
        http,
        ..
    } = &inspection.manifest.grants;
    let asked_for = [
        ("config", !config.is_empty()),
        ("http", !http.is_empty()),
        ("secrets", !secrets.is_empty()),
    ];
    let is_imported = |grant: &str| {
        let mut imports = inspection.imports.iter();
        imports.any(|import| import.grant == Some(grant))
    };
    let missing = asked_for
        .into_iter()
        .filter(|(grant, is_asked)| !is_asked && is_imported(grant));
    let missing: Vec<&str> = missing.map(|(grant, _)| grant).collect();
    if missing.is_empty() {
        return;
    }
    // One for all: some toolchains import whatever the contract has.
    let what = format!(
        "it imports {} and no plugin.toml asks for that: calls will be denied",
        missing.join(", ")
    );
    let hint = "add what it uses to [grants] of plugin.toml, a file alone in a folder of its own; what it imports and never calls \
                does no harm";
    warn(&mut inspection.problems, &what, hint);
}

/// Slips of a manifest; how to mend them is said after the last.
fn all_fatal(problems: &mut Vec<Problem>, slips: Vec<String>) {
    let last = slips.len();
    for (index, what) in slips.into_iter().enumerate() {
        let hint = if index + 1 == last { MEND_MANIFEST } else { "" };
        problems.push(Problem {
            fatal: true,
            what,
            hint: hint.into(),
        });
    }
}

fn warn(problems: &mut Vec<Problem>, what: &str, hint: &str) {
    problems.push(Problem {
        fatal: false,
        what: what.into(),
        hint: hint.into(),
    });
}

/// The manifest and the `.wasm` of a path. A broken manifest is a problem, not an end, as long as there is a file to
/// examine.
fn files(path: &Path, problems: &mut Vec<Problem>) -> Result<(Manifest, PathBuf), Error> {
    if !path.is_dir() {
        return Ok((Manifest::default(), path.to_owned()));
    }
    let broken = |why: String| Error::Plugin {
        name: path.display().to_string(),
        why,
    };
    let manifest = path.join("plugin.toml");
    // One that may not be looked at is there: reading it says why not.
    let missing = |error: std::io::Error| error.kind() == ErrorKind::NotFound;
    if std::fs::metadata(&manifest).is_err_and(missing) {
        return Err(broken(NO_MANIFEST.to_owned()));
    }
    let text = read(&manifest, limits::MANIFEST_BYTES_MAX)?;
    let parsed = match std::str::from_utf8(&text) {
        Ok(text) => manifest_text::read(text),
        Err(error) => Err(vec![format!(
            "plugin.toml: it is not UTF-8 at byte {}",
            error.valid_up_to()
        )]),
    };
    let named = parsed
        .as_ref()
        .ok()
        .and_then(|manifest| manifest.module.as_deref());
    // Of `.` or `..` too, the folder has a name.
    let name = path
        .canonicalize()
        .ok()
        .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .unwrap_or_default();
    let entries = std::fs::read_dir(path)
        .map_err(|error| broken(format!("the folder cannot be read: {error}")))?;
    let entries: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let files = entries.iter().map(String::as_str);
    let module = module(named, &name, files, "the folder");
    let (manifest, slips) = match parsed {
        Ok(manifest) => (manifest, Vec::new()),
        Err(slips) => (Manifest::default(), slips),
    };
    match module {
        Ok(module) => {
            all_fatal(problems, slips);
            Ok((manifest, path.join(module)))
        }
        Err(why) if slips.is_empty() => Err(broken(why)),
        Err(why) => {
            let slips = slips.join("\n");
            Err(broken(format!(
                "{slips}\nhint: {MEND_MANIFEST}\nalso, {why}"
            )))
        }
    }
}

pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Error> {
    let name = path.display().to_string();
    let broken = |why: String| Error::Plugin {
        name: name.clone(),
        why,
    };
    let unreadable = |error: std::io::Error| broken(format!("the file cannot be read: {error}"));
    // A device has no size and no end.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(broken("it is not a regular file".to_owned()));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > bytes_max {
        return Err(broken(format!(
            "the file has more than {bytes_max} bytes, which is the most that is taken"
        )));
    }
    Ok(bytes)
}
