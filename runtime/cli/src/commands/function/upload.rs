//! `plugin push` to an installation: a module or a plugin's folder goes up, is compiled there and served. Hides what is sent in which
//! order, and how a server tells what it is at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use axum::http::Method;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use stepwell_sandbox::Manifest;
use stepwell_server::FUNCTION_BOUNDS_HEADER;

use super::{ABSENT, accepted, hex, refused_by, set_alias};
use crate::args::{PushArgs, within_api};
use crate::client::{Client, Purpose, path_of};
use crate::commands::function_bounds::Bounds;
use crate::commands::function_target::Target;
use crate::commands::plugin_named::source;
use crate::commands::{plugin_compile, print, print_json};
use crate::exit::{Blame, Outcome, Stop};
use crate::host::USUAL_DATA;
use crate::sizes;
use crate::terminal::Waiting;
use crate::transfer::Transfer;

/// Bytes of code that are taken as they are sent (Lambda's quota of a direct upload).
const CODE_BYTES_MAX: usize = 50 << 20;
const LATEST: &str = "$LATEST";
/// How often a server is asked what it is at with an upload.
const STAGE_ASKED_EVERY: Duration = Duration::from_secs(1);
/// How long one may not be active that was taken: more than its compiler may take.
const ACTIVE_TIME_MAX: Duration = Duration::from_secs(600);

/// What is to be uploaded.
struct Package {
    name: String,
    wasm: Vec<u8>,
    /// Of a folder.
    manifest: Option<Manifest>,
    /// Whether the manifest asks for grants.
    grants: bool,
}

impl Package {
    fn read(path: &Path, name: Option<&str>) -> Outcome<Package> {
        let (file, manifest, grants) = if path.is_dir() {
            let (manifest, grants) = manifest(path)?;
            (only_wasm(path)?, Some(manifest), grants)
        } else {
            (path.to_owned(), None, false)
        };
        if plugin_compile::is_code(&file) {
            return Err(no_upload(&file));
        }
        let wasm = std::fs::read(&file)
            .with_context(|| format!("`{}` cannot be read", file.display()))
            .usage()?;
        if wasm.len() > CODE_BYTES_MAX {
            return Err(Stop::Usage(anyhow!(
                "`{}` has {} ({} bytes), and an upload at most {}\nhint: build it for size (opt-level = \"s\", strip = true), or put it into the server's plugin directory",
                file.display(),
                sizes::measured(wasm.len() as u64),
                wasm.len(),
                sizes::set(CODE_BYTES_MAX as u64)
            )));
        }
        check_begin(&file, &wasm)?;
        let of_path = path.file_stem().and_then(|stem| stem.to_str());
        let name = name.or(of_path).unwrap_or_default().to_owned();
        Ok(Package {
            name,
            wasm,
            manifest,
            grants,
        })
    }
}

/// How WebAssembly begins, and a zip archive.
const MAGIC: [&[u8]; 2] = [b"\0asm", b"PK"];
/// Bytes that are shown of what is neither.
const SHOWN_BYTES: usize = 16;

/// Refuses what a server would refuse once all of it was sent.
fn check_begin(file: &Path, bytes: &[u8]) -> Outcome {
    if MAGIC.iter().any(|magic| bytes.starts_with(magic)) {
        return Ok(());
    }
    let begin = &bytes[..bytes.len().min(SHOWN_BYTES)];
    let begin = match begin.is_empty() {
        true => "it is empty".to_owned(),
        false => format!("it begins with `{}`", told(begin)),
    };
    Err(Stop::Usage(anyhow!(
        "`{}` is neither a zip archive nor WebAssembly: {begin}\nhint: name the .wasm that a compiler wrote, or a plugin's folder; `stepwell plugin build` builds one of Rust",
        file.display()
    )))
}

/// The first line of a text, as the file has it; of what is none, its bytes.
fn told(begin: &[u8]) -> String {
    let text = match std::str::from_utf8(begin) {
        Ok(text) => text,
        // The last character is cut off.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&begin[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => "",
    };
    let line = text.trim_start().lines().next().unwrap_or_default();
    match line.is_empty() || line.chars().any(|c| c.is_control() && c != '\t') {
        true => begin.escape_ascii().to_string(),
        false => line.to_owned(),
    }
}

/// A folder's manifest, and whether it asks for grants.
fn manifest(folder: &Path) -> Outcome<(Manifest, bool)> {
    let file = folder.join("plugin.toml");
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("`{}` cannot be read", file.display()))
                .usage();
        }
    };
    let manifest = Manifest::parse(&text)
        .map_err(|error| anyhow!("`{}`: {error}", file.display()))
        .usage()?;
    let tables: toml::Table = text.parse().usage()?;
    Ok((manifest, tables.contains_key("grants")))
}

/// That compiled code is no upload.
fn no_upload(path: &Path) -> Stop {
    Stop::Usage(anyhow!(
        "`{}` holds code that was compiled ahead of time; what is uploaded is WebAssembly, which the server compiles itself\nhint: push the .wasm that it was made of; compiled code runs from a server's own plugin directory alone, with `--precompiled also`",
        path.display()
    ))
}

/// The one .wasm file of a plugin's folder.
fn only_wasm(folder: &Path) -> Outcome<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("`{}` cannot be read", folder.display()))
        .usage()?;
    let files = entries.flatten().map(|entry| entry.path());
    let is_wasm = |file: &PathBuf| file.extension().is_some_and(|kind| kind == "wasm");
    let mut found: Vec<PathBuf> = files.filter(is_wasm).collect();
    let compiled = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut compiled = compiled.map(|entry| entry.path());
    let compiled = compiled.find(|file| plugin_compile::is_code(file));
    match (found.pop(), found.is_empty()) {
        (Some(file), true) => Ok(file),
        (None, _) if compiled.is_some() => Err(no_upload(folder)),
        (None, _) => Err(Stop::Usage(anyhow!(
            "`{0}` has no .wasm file\nhint: `stepwell plugin build {0}` builds a plugin of Rust into {USUAL_DATA}/plugins",
            folder.display()
        ))),
        (Some(_), false) => Err(Stop::Usage(anyhow!(
            "`{}` has several .wasm files\nhint: name the one to upload",
            folder.display()
        ))),
    }
}

pub(super) async fn push(args: &PushArgs) -> Outcome {
    let path = source(&args.path, args.place.data.as_deref())?;
    let package = Package::read(&path, args.name.as_deref())?;
    let client = Client::open(&args.place, Purpose::Add).await?;
    let done = upload(&client, args, &package).await;
    client.close().await;
    done
}

/// Uploads in the order that leaves what runs as it is when something is refused.
async fn upload(client: &Client, args: &PushArgs, package: &Package) -> Outcome {
    let name = &package.name;
    let path = path_of(name);
    let settings = settings(args, package.manifest.as_ref());
    if package.grants {
        // They are the operator's to give.
        say!(
            "warning: the [grants] of plugin.toml are not uploaded: only plugins of the server's plugin directory are granted anything but variables (--env)"
        );
    }
    let code = json!({"ZipFile": STANDARD.encode(&package.wasm)});
    let kilobytes = package.wasm.len().div_ceil(1_000);
    let what = format!("{name}: {kilobytes} kB go up, are checked and compiled");
    let shown = (name.as_str(), what, args.json);
    let stored = client.functions(Method::GET, &path, None).await?;
    let mut told = match stored {
        Ok(_) => {
            let change = json!({"ZipFile": code["ZipFile"]});
            let code_path = format!("{path}/code");
            let told = uploaded(client, shown, (Method::PUT, &code_path, &change)).await?;
            if settings.as_object().is_some_and(serde_json::Map::is_empty) {
                told
            } else {
                let path = format!("{path}/configuration");
                accepted(
                    client,
                    name,
                    client
                        .functions(Method::PUT, &path, Some(&settings))
                        .await?,
                )?
            }
        }
        Err(refused) if refused.code == ABSENT => {
            let mut new = settings;
            new["FunctionName"] = name.as_str().into();
            new["Code"] = code;
            // Nobody takes a role on here; the API wants one.
            new["Role"] = "arn:aws:iam::000000000000:role/stepwell".into();
            uploaded(client, shown, (Method::POST, "functions", &new)).await?
        }
        Err(refused) => return Err(refused_by(client, name, &refused)),
    };
    if args.publish {
        let description = json!({"Description": args.description.as_deref().unwrap_or_default()});
        let path = format!("{path}/versions");
        told = accepted(
            client,
            name,
            client
                .functions(Method::POST, &path, Some(&description))
                .await?,
        )?;
    }
    if let Some(alias) = &args.alias {
        let version = told["Version"].as_str().unwrap_or(LATEST);
        set_alias(client, name, alias, &Target::alone(version)).await?;
    }
    if args.json {
        return print_json(&told);
    }
    tell_served(client, name, args.alias.as_deref(), &told).await
}

/// What is served now, with the memory and time that an attempt of it has.
async fn tell_served(client: &Client, name: &str, alias: Option<&str>, told: &Value) -> Outcome {
    let path = format!("{}/configuration", path_of(name));
    let (_, bounds) = accepted(
        client,
        name,
        client.functions_told(&path, FUNCTION_BOUNDS_HEADER).await?,
    )?;
    let bounds = bounds.as_deref().map(Bounds::read).unwrap_or_default();
    let alias = alias.map(|alias| format!(", {alias} stands for it"));
    let number = |key: &str| told[key].as_u64().unwrap_or_default();
    print(&format!(
        "{name} {} is served{}: sha256 {}, {}, {}\n",
        told["Version"].as_str().unwrap_or(LATEST),
        alias.unwrap_or_default(),
        hex(told["CodeSha256"].as_str().unwrap_or_default()),
        bounds.memory(number("MemorySize")),
        bounds.time(number("Timeout"))
    ))
}

/// What of the settings was asked for: by flags, else by the manifest.
fn settings(args: &PushArgs, manifest: Option<&Manifest>) -> Value {
    let of_manifest =
        manifest.map(|manifest| within_api(manifest.limits.memory_bytes, manifest.limits.wall));
    let memory = args.memory.or(of_manifest.map(|(memory, _)| memory));
    let timeout = args.timeout.or(of_manifest.map(|(_, timeout)| timeout));
    let mut settings = json!({});
    if let Some(memory) = memory {
        settings["MemorySize"] = memory.into();
    }
    if let Some(timeout) = timeout {
        settings["Timeout"] = timeout.into();
    }
    if !args.env.is_empty() {
        let variables: BTreeMap<_, _> = args.env.iter().cloned().collect();
        settings["Environment"] = json!({"Variables": variables});
    }
    if let Some(description) = &args.description {
        settings["Description"] = description.as_str().into();
    }
    settings
}

/// An upload, under a sign of how far it is: bytes that have gone, then what the server is at.
async fn uploaded(
    client: &Client,
    (name, what, quiet): (&str, String, bool),
    (method, path, body): (Method, &str, &Value),
) -> Outcome<Value> {
    let transfer = Transfer::default();
    let sent = client.upload(method, path, body, &transfer);
    let mut waiting = Waiting::new(what, quiet);
    let mut sent = std::pin::pin!(sent);
    let mut asked = Instant::now();
    let answer = loop {
        tokio::select! {
            biased;
            answer = &mut sent => break answer,
            _ = tokio::signal::ctrl_c() => break Err(Stop::Runtime(anyhow!(
                "interrupted; `stepwell plugin versions {name}` tells whether the server has it"
            ))),
            () = waiting.turn() => {}
        }
        if let Some(shown) = transfer.shown() {
            waiting.is_at(Some(shown));
        } else if asked.elapsed() >= STAGE_ASKED_EVERY {
            asked = Instant::now();
            // While the answer to this is awaited, the upload goes on.
            tokio::select! {
                biased;
                answer = &mut sent => break answer,
                at = stage(client, name) => match at.as_deref().is_some_and(is_queued) {
                    true => waiting.tells(at),
                    false => waiting.is_at(at),
                },
            }
        }
    };
    waiting.over();
    active(client, name, accepted(client, name, answer?)?).await
}

/// Whether that is worth a line where there is no terminal: others have their turn before. That it is compiled was said.
fn is_queued(stage: &str) -> bool {
    stage.contains("waits for the compiler")
}

/// What the server is at with an upload, in its words; nothing of one that does not tell.
async fn stage(client: &Client, name: &str) -> Option<String> {
    let asked = client.try_call("Stepwell.DescribeUpload", json!({"functionName": name}));
    let told = asked.await.ok()?.ok()?;
    told["waitsFor"].as_str().map(str::to_owned)
}

/// What was uploaded, once it can be called: a server may answer before.
async fn active(client: &Client, name: &str, mut told: Value) -> Outcome<Value> {
    let end = Instant::now() + ACTIVE_TIME_MAX;
    let path = format!("{}/configuration", path_of(name));
    loop {
        match Readiness::of(&told) {
            Readiness::Active => return Ok(told),
            Readiness::Failed(why) => {
                return Err(Stop::Usage(anyhow!("{name} cannot be called: {why}")));
            }
            Readiness::Pending if Instant::now() > end => {
                return Err(Stop::Runtime(anyhow!(
                    "{name} was uploaded and is not active after {} s\nhint: `stepwell plugin versions {name}` tells what is served",
                    ACTIVE_TIME_MAX.as_secs()
                )));
            }
            Readiness::Pending => {}
        }
        tokio::time::sleep(STAGE_ASKED_EVERY).await;
        told = accepted(
            client,
            name,
            client.functions(Method::GET, &path, None).await?,
        )?;
    }
}

/// What State and LastUpdateStatus say together.
#[derive(Debug, PartialEq)]
enum Readiness {
    Active,
    Pending,
    Failed(String),
}

impl Readiness {
    fn of(told: &Value) -> Readiness {
        for (status, reason) in [
            ("State", "StateReason"),
            ("LastUpdateStatus", "LastUpdateStatusReason"),
        ] {
            match told[status].as_str() {
                Some("Failed") => {
                    let reason = told[reason].as_str().unwrap_or("no reason was told");
                    return Readiness::Failed(reason.to_owned());
                }
                Some("Pending" | "InProgress") => return Readiness::Pending,
                Some(_) | None => {}
            }
        }
        Readiness::Active
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_wasm_is_told_as_what_it_begins_with() {
        let told = |bytes: &[u8]| match check_begin(Path::new("in.json"), bytes) {
            Ok(()) => String::new(),
            Err(Stop::Usage(error)) => error.to_string(),
            Err(other) => panic!("{other:?}"),
        };
        for taken in [&b"\0asm\x01\0\0\0"[..], b"PK\x03\x04"] {
            assert_eq!(told(taken), "");
        }
        for (bytes, begin) in [
            (&b"{\"a\": 1}\n"[..], r#"`{"a": 1}`"#),
            (&br"C:\tasks"[..], r"`C:\tasks`"),
            ("\n  größe\nb".as_bytes(), "`größe`"),
            ("123456789012345é".as_bytes(), "`123456789012345`"),
            (&b"\xffELF\x01"[..], r"`\xffELF\x01`"),
            (&b"a\x1b[2J"[..], r"`a\x1b[2J`"),
            (&b"\n\n"[..], r"`\n\n`"),
        ] {
            let wanted = format!(
                "`in.json` is neither a zip archive nor WebAssembly: it begins with {begin}\n"
            );
            let told = told(bytes);
            assert!(told.starts_with(&wanted), "{told}");
        }
        assert!(told(b"").contains("it is empty"));
    }

    #[test]
    fn an_upload_is_active_when_state_and_last_update_say_so() {
        let active = json!({"State": "Active", "LastUpdateStatus": "Successful"});
        let before = json!({});
        let new = json!({"State": "Pending", "StateReason": "The function is being created."});
        let changed = json!({"State": "Active", "LastUpdateStatus": "InProgress"});
        let broken = json!({"State": "Active", "LastUpdateStatus": "Failed", "LastUpdateStatusReason": "no _start"});
        for (told, wanted) in [
            (active, Readiness::Active),
            (before, Readiness::Active),
            (new, Readiness::Pending),
            (changed, Readiness::Pending),
            (broken, Readiness::Failed("no _start".to_owned())),
        ] {
            assert_eq!(Readiness::of(&told), wanted, "{told}");
        }
    }
}
