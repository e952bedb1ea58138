//! `plugin pull`, and `plugin push` to a registry: plugins as OCI artifacts, kept in the plugin directory and pinned there.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use stepwell_sandbox::{Contract, Format, Inspection, Manifest};

use super::plugin::{inspection, print_problems};
use super::plugin_named::source;
use super::waited::waited;
use crate::args::{CompileArgs, PullArgs, PushArgs};
use crate::exit::{Blame, Outcome, Stop};
use crate::host::{TENANT, make_plugin_folder};
use crate::oci::{Artifact, Described, Reference, Registry, sha256_hex};
use crate::policy::Policy;

/// Characters of a plugin's name.
const NAME_CHARS_MAX: usize = 64;
/// Digits of the hash in the name of a file that was pulled: another content, another file.
const FILE_DIGITS: usize = 12;
/// Stands before the reference by digest in the manifest of a plugin that was pulled.
const ORIGIN: &str = "# oci: ";

/// Fetches a plugin, unless it is there already, and lets the plugin directory serve it from now on.
pub(super) async fn pull(args: PullArgs) -> Outcome {
    let reference = &args.reference;
    let name = args.name.as_deref().unwrap_or(reference.last_part());
    check_name(name)?;
    let folder = args.plugins.join(name);
    if let Some(digest) = &reference.digest
        && is_kept(&folder, &reference.pinned(digest))
    {
        return told(name, &folder, &reference.pinned(digest), "is there already");
    }
    let there = There::find(&args.plugins, name, reference)?;
    there.check(name, args.replace)?;
    let mut registry = Registry::open(reference, args.registry.plain_http)?;
    let transfer = registry.transfer();
    let at = || transfer.shown();
    let fetched = waited(format!("pulling {reference}"), false, at, async {
        let (described, digest) = registry.describe().await?;
        let origin = reference.pinned(&digest);
        if is_kept(&folder, &origin) {
            return Ok((described, origin, None));
        }
        let wasm = registry.blob(&described.wasm).await?;
        Ok((described, origin, Some(wasm)))
    });
    let (described, origin, wasm) = fetched.await?;
    let Some(wasm) = wasm else {
        return told(name, &folder, &origin, "is there already");
    };
    check_format(&wasm, reference)?;
    there.make_way(&folder)?;
    keep(&folder, name, &wasm, &described, &origin)?;
    told(name, &folder, &origin, "was pulled")
}

/// What stands under the plugin's name before it is fetched.
#[derive(Debug, PartialEq)]
enum There {
    Nothing,
    /// What came from the same repository.
    Older,
    /// What came from another one.
    Foreign {
        origin: String,
    },
    /// What nobody pulled: a folder, or a file beside.
    Own(PathBuf),
}

impl There {
    fn find(plugins: &Path, name: &str, reference: &Reference) -> Outcome<There> {
        for extension in ["wasm", "cwasm"] {
            let file = plugins.join(format!("{name}.{extension}"));
            if file.exists() {
                return Ok(There::Own(file));
            }
        }
        let folder = plugins.join(name);
        let text = match std::fs::read_to_string(folder.join("plugin.toml")) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut files = std::fs::read_dir(&folder).into_iter().flatten();
                return Ok(match files.next() {
                    Some(_) => There::Own(folder),
                    None => There::Nothing,
                });
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("`{}` cannot be read", folder.display()))
                    .usage();
            }
        };
        let origin = text.lines().find_map(|line| line.strip_prefix(ORIGIN));
        let Some(origin) = origin else {
            return Ok(There::Own(folder));
        };
        let repository = |origin: &str| origin.split('@').next().map(str::to_owned);
        if repository(origin) == repository(&reference.pinned("")) {
            return Ok(There::Older);
        }
        Ok(There::Foreign {
            origin: origin.to_owned(),
        })
    }

    /// Refuses to take the place of what came from elsewhere: its limits and grants were given to that.
    fn check(&self, name: &str, replace: bool) -> Outcome {
        let (what, hint) = match self {
            There::Nothing | There::Older => return Ok(()),
            There::Foreign { .. } | There::Own(_) if replace && !self.is_file() => return Ok(()),
            There::Foreign { origin } => (format!("from {origin}"), ""),
            There::Own(path) if self.is_file() => (
                format!("that nobody pulled: {}", path.display()),
                "take the file away, or ",
            ),
            There::Own(path) => (format!("that nobody pulled: {}", path.display()), ""),
        };
        let replaced = match self.is_file() {
            true => "",
            false => "; --replace puts this one in its place, which then asks for nothing",
        };
        Err(Stop::Usage(anyhow!(
            "there is a plugin `{name}` {what}\nhint: {hint}give this one another name with --name{replaced}"
        )))
    }

    fn is_file(&self) -> bool {
        matches!(self, There::Own(path) if path.is_file())
    }

    /// Puts what the operator said of another plugin aside, before this one takes its place.
    fn make_way(&self, folder: &Path) -> Outcome {
        match self {
            There::Nothing | There::Older => return Ok(()),
            There::Foreign { .. } | There::Own(_) => {}
        }
        let manifest = folder.join("plugin.toml");
        let moved = std::fs::rename(&manifest, folder.join("plugin.toml.before"));
        match moved {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)
                .with_context(|| format!("`{}` cannot be put aside", manifest.display()))
                .usage(),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn told(name: &str, folder: &Path, origin: &str, what: &str) -> Outcome {
    super::print(&format!("{name} {what}: {}, {origin}\n", folder.display()))
}

fn check_name(name: &str) -> Outcome {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Stop::Usage(anyhow!(
        "`{name}` is no name of a plugin\nhint: --name gives it another one, 1 to {NAME_CHARS_MAX} of A-Z a-z 0-9 - _"
    )))
}

/// A registry's content may be anything that has its digest.
fn check_format(wasm: &[u8], reference: &Reference) -> Outcome {
    if wasm.starts_with(b"\0asm") {
        return Ok(());
    }
    Err(Stop::Usage(anyhow!(
        "{reference} is no WebAssembly: it does not begin with \\0asm; nothing was kept"
    )))
}

/// Whether the folder holds what stands for that reference, whole: then no registry is needed.
fn is_kept(folder: &Path, origin: &str) -> bool {
    let Ok(text) = std::fs::read_to_string(folder.join("plugin.toml")) else {
        return false;
    };
    let same = text
        .lines()
        .any(|line| line.strip_prefix(ORIGIN) == Some(origin));
    let Some(manifest) = Manifest::parse(&text).ok().filter(|_| same) else {
        return false;
    };
    let (Some(module), Some(pin)) = (manifest.module, manifest.sha256) else {
        return false;
    };
    std::fs::read(folder.join(module)).is_ok_and(|wasm| sha256_hex(&wasm) == pin)
}

/// Puts the file under a name of its own and the manifest last: whoever calls the plugin meanwhile finds the old or the new.
fn keep(folder: &Path, name: &str, wasm: &[u8], described: &Described, origin: &str) -> Outcome {
    let unwritten = || format!("the plugin cannot be kept in `{}`", folder.display());
    make_plugin_folder(folder).with_context(unwritten).usage()?;
    let sha256 = sha256_hex(wasm);
    let module = format!("{name}-{}.wasm", &sha256[..FILE_DIGITS]);
    let old = match std::fs::read_to_string(folder.join("plugin.toml")) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(unwritten).usage(),
    };
    let text = manifest(old.as_deref(), name, &module, &sha256, described, origin)
        .with_context(unwritten)
        .usage()?;
    replace(&folder.join(&module), wasm)
        .and_then(|()| replace(&folder.join("plugin.toml"), text.as_bytes()))
        .with_context(unwritten)
        .usage()?;
    forget_others(folder, name, &module);
    Ok(())
}

/// The keys of a manifest that a pull writes.
const PULLED: [&str; 4] = ["name", "module", "sha256", "version"];

/// The manifest of what was pulled: a new one asks for nothing, an old one keeps its limits and grants, which are the
/// operator's.
fn manifest(
    old: Option<&str>,
    name: &str,
    module: &str,
    sha256: &str,
    described: &Described,
    origin: &str,
) -> anyhow::Result<String> {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut head = format!("{ORIGIN}{origin}\nname = {}\n", quoted(name));
    if let Some(version) = &described.version {
        head.push_str(&format!("version = {}\n", quoted(version)));
    }
    head.push_str(&format!(
        "module = {}\nsha256 = \"{sha256}\"\n",
        quoted(module)
    ));
    let Some(old) = old else {
        return Ok(head);
    };
    let of_pull = |line: &str| {
        let key = line.split_once('=').map(|(key, _)| key.trim());
        line.starts_with(ORIGIN) || key.is_some_and(|key| PULLED.contains(&key))
    };
    // These keys stand before the first table, or not at all.
    let mut in_head = true;
    let mut text = head;
    for line in old.lines() {
        in_head &= !line.trim_start().starts_with('[');
        if !(in_head && of_pull(line)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Manifest::parse(&text).map_err(|slips| {
        anyhow!(
            "its plugin.toml cannot be kept: {slips}\nhint: mend it or take it away, and pull again"
        )
    })?;
    Ok(text)
}

/// Writes beside and renames.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// Removes what was pulled before. What is loaded goes on; a file that stays does no harm.
fn forget_others(folder: &Path, name: &str, module: &str) {
    let is_older = |file: &str| {
        let digits = file
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('-')?.strip_suffix(".wasm"));
        file != module
            && digits.is_some_and(|digits| {
                digits.len() == FILE_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
    };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_older) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Checks a plugin and uploads it.
pub(super) async fn push(args: &PushArgs, to: &Reference) -> Outcome {
    if to.digest.is_some() {
        return Err(Stop::Usage(anyhow!(
            "`{to}` names a digest, which follows from what is pushed\nhint: name a tag: oci://{}/{}:TAG",
            to.registry,
            to.repository
        )));
    }
    let path = source(&args.path, None)?;
    let found = inspection(
        &path,
        TENANT,
        None,
        CompileArgs::default(),
        Policy::default(),
    )
    .await?;
    print_problems(&found.problems);
    if !found.usable() {
        return Err(Stop::Refused);
    }
    let wasm = std::fs::read(&found.file)
        .with_context(|| format!("`{}` cannot be read", found.file.display()))
        .usage()?;
    let artifact = artifact(args, to, found, wasm);
    let mut registry = Registry::open(to, args.registry.plain_http)?;
    let kilobytes = artifact.wasm.len().div_ceil(1_000);
    let what = format!("pushing {to} ({kilobytes} kB)");
    let transfer = registry.transfer();
    let at = || transfer.shown();
    let digest = waited(what, args.json, at, registry.push(&artifact)).await?;
    super::print(&format!("{to} was pushed: {}\n", to.pinned(&digest)))
}

fn artifact(args: &PushArgs, to: &Reference, found: Inspection, wasm: Vec<u8>) -> Artifact {
    let export = match found.contract {
        Some(Contract::Component) => Some("stepwell:task/handler@0.1.0"),
        Some(Contract::Command) => Some("wasi:cli/run@0.2.0"),
        None => None,
    };
    let manifest = found.manifest;
    Artifact {
        name: manifest.name.unwrap_or_else(|| to.last_part().to_owned()),
        wasm,
        is_component: found.format == Some(Format::Component),
        imports: found
            .imports
            .into_iter()
            .map(|import| import.name)
            .collect(),
        exports: export.into_iter().map(str::to_owned).collect(),
        version: manifest.version,
        description: args.description.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described() -> Described {
        let manifest = format!(
            r#"{{"layers": [{{"mediaType": "application/wasm", "digest": "sha256:{}", "size": 1}}],
                "annotations": {{"org.opencontainers.image.version": "2"}}}}"#,
            "1".repeat(64)
        );
        Described::read(manifest.as_bytes()).unwrap()
    }

    fn pulled(old: Option<&str>) -> anyhow::Result<String> {
        let sha256 = "2".repeat(64);
        manifest(
            old,
            "resize",
            "resize-222222222222.wasm",
            &sha256,
            &described(),
            "reg.io/resize@sha256:3",
        )
    }

    #[test]
    fn a_new_manifest_asks_for_nothing() {
        let text = pulled(None).unwrap();
        assert!(
            text.starts_with("# oci: reg.io/resize@sha256:3\n"),
            "{text}"
        );
        let manifest = Manifest::parse(&text).unwrap();
        assert_eq!(manifest.version.as_deref(), Some("2"));
        assert_eq!(manifest.module.as_deref(), Some("resize-222222222222.wasm"));
        assert_eq!(manifest.sha256, Some("2".repeat(64)));
        assert!(manifest.grants.http.is_empty() && manifest.grants.fs.is_empty());
    }

    #[test]
    fn an_old_manifest_keeps_what_the_operator_wrote() {
        let old = "# oci: reg.io/resize@sha256:1\n# ours\nname = \"resize\"\nversion = \"1\"\nmodule = \"old.wasm\"\nsha256 = \"0\"\n\n[limits]\nmemory = \"32MiB\"\n\n[grants]\nenv = { name = \"x\" }\n";
        let text = pulled(Some(old)).unwrap();
        assert_eq!(text.matches(ORIGIN).count(), 1);
        assert!(text.contains("# ours\n"), "{text}");
        let manifest = Manifest::parse(&text).unwrap();
        assert_eq!(manifest.limits.memory_bytes, 32 << 20);
        assert_eq!(
            manifest.grants.env.get("name").map(String::as_str),
            Some("x")
        );
        assert_eq!(manifest.version.as_deref(), Some("2"));
        let why = format!("{:#}", pulled(Some("memory = 1\n")).unwrap_err());
        assert!(why.contains("pull again"), "{why}");
    }

    #[test]
    fn what_came_from_elsewhere_is_not_replaced_unasked() {
        let scratch = tempfile::tempdir().unwrap();
        let plugins = scratch.path();
        let reference: Reference = "reg.io/acme/resize:2".parse().unwrap();
        let there = || There::find(plugins, "resize", &reference).unwrap();
        let refused = |there: &There, replace| match there.check("resize", replace) {
            Ok(()) => String::new(),
            Err(Stop::Usage(why)) => format!("{why:#}"),
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(there(), There::Nothing);
        let folder = plugins.join("resize");
        std::fs::create_dir(&folder).unwrap();
        let says = |text: &str| std::fs::write(folder.join("plugin.toml"), text).unwrap();
        says("# oci: reg.io/acme/resize@sha256:1\n");
        assert_eq!(there(), There::Older);
        assert_eq!(refused(&there(), false), "");
        for (text, word) in [
            (
                "# oci: reg.io/other/resize@sha256:1\n",
                "from reg.io/other/resize@sha256:1",
            ),
            ("[limits]\nmemory = \"32MiB\"\n", "that nobody pulled"),
        ] {
            says(text);
            let why = refused(&there(), false);
            assert!(why.contains(word) && why.contains("--replace"), "{why}");
            assert_eq!(refused(&there(), true), "");
        }
        there().make_way(&folder).unwrap();
        let before = std::fs::read_to_string(folder.join("plugin.toml.before")).unwrap();
        assert!(before.starts_with("[limits]"), "{before}");
        std::fs::write(plugins.join("resize.wasm"), "").unwrap();
        let why = refused(&there(), true);
        assert!(why.contains("take the file away"), "{why}");
    }

    #[test]
    fn what_was_pulled_before_goes_and_nothing_else() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("resize");
        let files = [
            "resize-0123456789ab.wasm",
            "resize-own.wasm",
            "other-0123456789ab.wasm",
            "notes.txt",
        ];
        std::fs::create_dir(&folder).unwrap();
        for file in files {
            std::fs::write(folder.join(file), "1").unwrap();
        }
        keep(
            &folder,
            "resize",
            b"\0asm",
            &described(),
            "reg.io/resize@sha256:3",
        )
        .unwrap();
        let there = |file: &str| folder.join(file).is_file();
        assert_eq!(files.map(there), [false, true, true, true]);
        assert!(is_kept(&folder, "reg.io/resize@sha256:3"));
        assert!(!is_kept(&folder, "reg.io/resize@sha256:4"));
        std::fs::write(
            folder.join(format!(
                "resize-{}.wasm",
                &sha256_hex(b"\0asm")[..FILE_DIGITS]
            )),
            "x",
        )
        .unwrap();
        assert!(!is_kept(&folder, "reg.io/resize@sha256:3"));
    }
}
