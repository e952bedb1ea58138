//! Plugins go to an OCI registry and come from it: by tag and by digest, with a password and without, whole or not at all,
//! and without the registry once they are there.

mod server;

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use stepwell_tests::{
    command::{self, refused, well},
    server as program,
};

use super::trial;
use server::{PASSWORD, Registry, USER};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("registry::push_and_pull", push_and_pull),
        trial(
            "registry::what_is_false_is_not_kept",
            what_is_false_is_not_kept,
        ),
        trial("registry::who_may_not_is_told", who_may_not_is_told),
    ]
}

/// `sha256:HEX`, by the system's own tool: the program is not its own judge.
fn digest(bytes: &[u8]) -> String {
    use std::io::Write as _;
    let sum = || -> Result<String> {
        let mut child = Command::new("sha256sum")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("a pipe")?.write_all(bytes)?;
        let output = child.wait_with_output()?;
        let text = String::from_utf8(output.stdout)?;
        Ok(text.split_whitespace().next().context("a sum")?.to_owned())
    };
    sum().map_or_else(
        |error| format!("sha256sum: {error}"),
        |sum| format!("sha256:{sum}"),
    )
}

/// The program in a folder of its own, as a user with a password or without.
fn stepwell(folder: &Path, password: Option<&str>, arguments: &[&str]) -> Result<Output> {
    let mut command = command::stepwell(folder, arguments)?;
    command.env("DOCKER_CONFIG", folder.join("docker"));
    if let Some(password) = password {
        command
            .env("STEPWELL_REGISTRY_USER", USER)
            .env("STEPWELL_REGISTRY_PASSWORD", password);
    }
    Ok(command.output()?)
}

/// A plugin's folder to push from.
fn source(folder: &Path, version: &str, guest: &str) -> Result<()> {
    let plugin = folder.join("echo");
    std::fs::create_dir_all(&plugin)?;
    std::fs::copy(program::guest(guest)?, plugin.join("echo.wasm"))?;
    let manifest = format!("name = \"echo\"\nversion = \"{version}\"\nmodule = \"echo.wasm\"\n");
    std::fs::write(plugin.join("plugin.toml"), manifest)?;
    Ok(())
}

/// A repository that everyone may read, and a folder to work in.
struct Shelf {
    registry: Registry,
    scratch: tempfile::TempDir,
    /// HOST/REPOSITORY.
    base: String,
}

impl Shelf {
    fn new() -> Result<Shelf> {
        let registry = Registry::start()?;
        Ok(Shelf {
            base: format!("{}/open/tasks/echo", registry.address),
            registry,
            scratch: tempfile::tempdir()?,
        })
    }

    fn folder(&self) -> &Path {
        self.scratch.path()
    }

    fn push(&self, tag: &str) -> Result<String> {
        let to = format!("oci://{}:{tag}", self.base);
        let push = ["plugin", "push", "echo", &to];
        well(stepwell(self.folder(), Some(PASSWORD), &push)?)
    }

    fn pull(&self, reference: &str) -> Result<Output> {
        let pull = ["plugin", "pull", reference, "--plugins", "plugins"];
        stepwell(self.folder(), None, &pull)
    }

    /// The plugin's manifest where it was pulled to.
    fn manifest(&self) -> Result<String> {
        let file = self.folder().join("plugins/echo/plugin.toml");
        Ok(std::fs::read_to_string(file)?)
    }

    /// How often an upload was begun.
    fn uploads(&self) -> usize {
        let kept = self.registry.kept();
        let begun = kept.asked.iter().filter(|asked| asked.starts_with("POST"));
        begun.count()
    }
}

fn push_and_pull() -> Result<()> {
    let shelf = Shelf::new()?;
    source(shelf.folder(), "1.0.0", "echo")?;
    let said = shelf.push("1")?;
    let pinned = said.rsplit(' ').next().context("a reference")?.trim();
    ensure!(
        pinned.starts_with(&format!("{}@sha256:", shelf.base)),
        "{said}"
    );
    artifact_has_the_common_form(&shelf.registry, pinned)?;
    // The same plugin is the same artifact; its parts are not sent again.
    let before = shelf.uploads();
    ensure!(
        shelf.push("again")?.trim().ends_with(pinned),
        "another digest"
    );
    ensure!(shelf.uploads() == before, "what was there is sent again");
    pulled_by_anyone(&shelf, pinned)?;
    another_version_takes_its_place(&shelf)?;
    // And the old one comes back by its digest.
    well(shelf.pull(pinned)?)?;
    called(shelf.folder(), "2")
}

fn pulled_by_anyone(shelf: &Shelf, pinned: &str) -> Result<()> {
    let said = well(shelf.pull(&format!("{}:1", shelf.base))?)?;
    ensure!(
        said.contains("echo was pulled") && said.contains(pinned),
        "{said}"
    );
    let manifest: toml::Table = shelf.manifest()?.parse()?;
    let wasm = std::fs::read(program::guest("echo")?)?;
    let pin = digest(&wasm).replace("sha256:", "");
    ensure!(
        manifest["sha256"].as_str() == Some(pin.as_str()),
        "{manifest}"
    );
    ensure!(manifest["version"].as_str() == Some("1.0.0"), "{manifest}");
    ensure!(
        !shelf.registry.kept().leaked,
        "the registry's token went to the storage behind it"
    );
    // What is there, and by its digest is known to be, needs no registry any more.
    let asked = shelf.registry.kept().asked.len();
    called(shelf.folder(), "1")?;
    let said = well(shelf.pull(pinned)?)?;
    ensure!(said.contains("is there already"), "{said}");
    ensure!(
        shelf.registry.kept().asked.len() == asked,
        "the registry is asked all the same"
    );
    Ok(())
}

/// What the operator wrote stays.
fn another_version_takes_its_place(shelf: &Shelf) -> Result<()> {
    let plugin = shelf.folder().join("plugins/echo");
    let text = format!("{}\n[limits]\nmemory = \"32MiB\"\n", shelf.manifest()?);
    std::fs::write(plugin.join("plugin.toml"), text)?;
    source(shelf.folder(), "2.0.0", "noop")?;
    shelf.push("1")?;
    let said = well(shelf.pull(&format!("{}:1", shelf.base))?)?;
    ensure!(said.contains("echo was pulled"), "{said}");
    let text = shelf.manifest()?;
    ensure!(
        text.contains("version = \"2.0.0\"") && text.contains("memory = \"32MiB\""),
        "{text}"
    );
    let is_wasm =
        |file: &std::fs::DirEntry| file.path().extension().is_some_and(|kind| kind == "wasm");
    let modules = std::fs::read_dir(plugin)?.flatten().filter(is_wasm);
    ensure!(modules.count() == 1, "the old file is left behind");
    Ok(())
}

/// The pulled plugin serves a task.
fn called(folder: &Path, input: &str) -> Result<()> {
    let said = well(stepwell(
        folder,
        None,
        &["plugin", "invoke", "echo", input, "--plugins", "plugins"],
    )?)?;
    ensure!(said.trim() == input, "{said}");
    Ok(())
}

fn artifact_has_the_common_form(registry: &Registry, pinned: &str) -> Result<()> {
    let kept = registry.kept();
    let (_, digest) = pinned.split_once('@').context("a digest")?;
    let named = ("open/tasks/echo".to_owned(), digest.to_owned());
    let (kind, text) = kept
        .manifests
        .get(&named)
        .context("the manifest by its digest")?;
    ensure!(
        kind == "application/vnd.oci.image.manifest.v1+json",
        "{kind}"
    );
    let manifest: Value = serde_json::from_slice(text)?;
    ensure!(manifest["schemaVersion"] == 2, "{manifest}");
    ensure!(
        manifest["config"]["mediaType"] == "application/vnd.wasm.config.v0+json",
        "{manifest}"
    );
    ensure!(
        manifest["layers"][0]["mediaType"] == "application/wasm",
        "{manifest}"
    );
    for part in [&manifest["config"], &manifest["layers"][0]] {
        let digest = part["digest"].as_str().context("a digest")?;
        let blob = kept.blobs.get(digest).context("a blob")?;
        ensure!(
            self::digest(blob) == digest && part["size"] == blob.len(),
            "{part}"
        );
    }
    let config = manifest["config"]["digest"].as_str().unwrap_or_default();
    let config: Value = serde_json::from_slice(&kept.blobs[config])?;
    ensure!(
        config["architecture"] == "wasm" && config["os"] == "wasip2",
        "{config}"
    );
    ensure!(
        config["layerDigests"] == json!([manifest["layers"][0]["digest"]]),
        "{config}"
    );
    Ok(())
}

fn what_is_false_is_not_kept() -> Result<()> {
    let registry = Registry::start()?;
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path();
    let base = format!("{}/open/echo", registry.address);
    source(folder, "1", "echo")?;
    well(stepwell(
        folder,
        Some(PASSWORD),
        &["plugin", "push", "echo", &format!("oci://{base}:1")],
    )?)?;
    let pull = |reference: &str| {
        stepwell(
            folder,
            None,
            &["plugin", "pull", reference, "--plugins", "plugins"],
        )
    };
    registry.kept().lies = true;
    refused(
        &pull(&format!("{base}:1"))?,
        3,
        &["is not what its digest says"],
    )?;
    registry.kept().lies = false;
    // A manifest under a digest that is not its own.
    let other = format!("sha256:{}", "0".repeat(64));
    let text = (String::new(), br#"{"layers":[]}"#.to_vec());
    registry
        .kept()
        .manifests
        .insert(("open/echo".to_owned(), other.clone()), text);
    refused(
        &pull(&format!("{base}@{other}"))?,
        3,
        &["is not what its digest says"],
    )?;
    // An image of a container.
    let image = json!({"layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": other, "size": 1}]});
    let text = (String::new(), image.to_string().into_bytes());
    registry
        .kept()
        .manifests
        .insert(("open/echo".to_owned(), "image".to_owned()), text);
    refused(
        &pull(&format!("{base}:image"))?,
        2,
        &["no artifact of one plugin"],
    )?;
    refused(&pull(&format!("{base}:none"))?, 2, &["has no `none`"])?;
    refused(&pull("resize:1")?, 2, &["with the registry's host"])?;
    ensure!(!folder.join("plugins").exists(), "something was kept");
    // A broken plugin is not pushed.
    std::fs::write(folder.join("no.wasm"), "no")?;
    let push = stepwell(
        folder,
        Some(PASSWORD),
        &["plugin", "push", "no.wasm", &format!("oci://{base}:2")],
    )?;
    refused(&push, 2, &["is not WebAssembly"])
}

fn who_may_not_is_told() -> Result<()> {
    let registry = Registry::start()?;
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path();
    let reference = format!("{}/closed/echo:1", registry.address);
    source(folder, "1", "echo")?;
    let target = format!("oci://{reference}");
    let push = |password| stepwell(folder, password, &["plugin", "push", "echo", &target]);
    refused(&push(None)?, 2, &["docker login"])?;
    refused(&push(Some("wrong"))?, 2, &["does not let this user"])?;
    well(push(Some(PASSWORD))?)?;
    let pull = ["plugin", "pull", &reference, "--plugins", "plugins"];
    refused(&stepwell(folder, None, &pull)?, 2, &["docker login"])?;
    // As `docker login` keeps it.
    std::fs::create_dir(folder.join("docker"))?;
    let auths =
        json!({"auths": {registry.address.to_string(): {"auth": "YWRhOnMzY3JldDpjb2xvbg=="}}});
    std::fs::write(folder.join("docker/config.json"), auths.to_string())?;
    well(stepwell(folder, None, &pull)?)?;
    called(folder, "3")
}
