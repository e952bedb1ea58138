//! `plugin push` and what belongs to it: plugins that are uploaded to an installation, their versions and aliases.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use axum::http::Method;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use stepwell_egress::sigv4::canonical::encoded;
use stepwell_sandbox::Manifest;
use stepwell_server::{FUNCTION_BOUNDS_HEADER, PREVIOUS_VERSION_HEADER};

use super::function_bounds::Bounds;
use super::function_target::{Target, parts_of};
use super::plugin_compile;
use crate::args::{FunctionCommand, PushArgs, within_api};
use crate::client::{Client, Purpose, Refused, path_of};
use crate::exit::{Blame, Outcome, Stop};
use crate::host::USUAL_DATA;
use crate::table::Table;
use crate::terminal::{Waiting, stdout_columns};
use crate::transfer::Transfer;

/// Bytes of code that are taken as they are sent (Lambda's quota of a direct upload).
const CODE_BYTES_MAX: usize = 50 << 20;
const LATEST: &str = "$LATEST";
/// The code of what is not there.
const ABSENT: &str = "ResourceNotFoundException";
/// How often a server is asked what it is at with an upload.
const STAGE_ASKED_EVERY: Duration = Duration::from_secs(1);
/// How long one may not be active that was taken: more than its compiler may take.
const ACTIVE_TIME_MAX: Duration = Duration::from_secs(600);

pub(super) async fn function(command: FunctionCommand) -> Outcome {
    match command {
        FunctionCommand::Push(args) => match &args.to {
            Some(to) => super::plugin_registry::push(&args, to).await,
            None => push(&args).await,
        },
        FunctionCommand::Versions { name, json, place } => {
            let client = Client::open(&place, Purpose::Look).await?;
            let done = match name {
                Some(name) => versions(&client, &name, json).await,
                None => all(&client, json).await,
            };
            client.close().await;
            done
        }
        FunctionCommand::Alias {
            name,
            alias,
            version,
            place,
        } => {
            let client = Client::open(&place, Purpose::Look).await?;
            let done = point(&client, &name, &alias, &version).await;
            client.close().await;
            done
        }
        FunctionCommand::Rollback { name, alias, place } => {
            let client = Client::open(&place, Purpose::Look).await?;
            let done = rollback(&client, &name, &alias).await;
            client.close().await;
            done
        }
        FunctionCommand::Events(args) => super::plugin_events::events(args).await,
        FunctionCommand::Gc(args) => super::plugin_gc::gc(&args).await,
        FunctionCommand::Remove {
            name,
            version,
            place,
        } => {
            let client = Client::open(&place, Purpose::Look).await?;
            let done = remove(&client, &name, version.as_deref()).await;
            client.close().await;
            done
        }
    }
}

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
                "`{}` has {} bytes, and an upload at most {CODE_BYTES_MAX}\nhint: build it for size (opt-level = \"s\", strip = true), or put it into the server's plugin directory",
                file.display(),
                wasm.len()
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
        false => format!("it begins with `{}`", begin.escape_ascii()),
    };
    Err(Stop::Usage(anyhow!(
        "`{}` is neither a zip archive nor WebAssembly: {begin}\nhint: name the .wasm that a compiler wrote, or a plugin's folder; `stepwell plugin build` builds one of Rust",
        file.display()
    )))
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

async fn push(args: &PushArgs) -> Outcome {
    let package = Package::read(&args.path, args.name.as_deref())?;
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
        let before = target_of(client, name, alias).await?;
        set_alias(client, name, alias, &Target::alone(version)).await?;
        tell_weights_taken(alias, before.as_ref());
    }
    if args.json {
        return super::print_json(&told);
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
    super::print(&format!(
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

fn accepted<T>(client: &Client, name: &str, answer: Result<T, Refused>) -> Outcome<T> {
    answer.map_err(|refused| refused_by(client, name, &refused))
}

/// A refusal. Where it is that the plugin is not there, or the version or alias of it, also what lists those that are.
pub(super) fn refused_by(client: &Client, name: &str, refused: &Refused) -> Stop {
    let hint = match refused.code.as_str() {
        ABSENT => hint_of_absent(&client.flags(), name, &refused.message),
        _ => String::new(),
    };
    Stop::Usage(anyhow!("{refused}{hint}"))
}

fn hint_of_absent(flags: &str, name: &str, told: &str) -> String {
    let all = format!("`stepwell plugin versions{flags}` lists what was uploaded");
    match told.contains(&format!(":function:{name}:")) {
        true => format!(
            "\nhint: `stepwell plugin versions {name}{flags}` lists its versions and aliases, {all}"
        ),
        false => format!("\nhint: {all}"),
    }
}

async fn point(client: &Client, name: &str, alias: &str, version: &str) -> Outcome {
    let before = target_of(client, name, alias).await?;
    set_alias(client, name, alias, &Target::alone(version)).await?;
    tell_weights_taken(alias, before.as_ref());
    super::print(&stands_for(name, alias, &Target::alone(version)))
}

/// What an alias stands for; none where it is not there. Whoever changes it is told what else is wrong.
async fn target_of(client: &Client, name: &str, alias: &str) -> Outcome<Option<Target>> {
    let path = format!("{}/aliases/{}", path_of(name), encoded(alias));
    let told = client.functions(Method::GET, &path, None).await?;
    Ok(told.ok().map(|alias| Target::of(&alias)))
}

/// Weights that split calls between two versions go where an alias is to stand for one.
fn tell_weights_taken(alias: &str, before: Option<&Target>) {
    if let Some(before) = before.filter(|before| before.has_weights()) {
        say!("the weights of {alias} are taken away: it stood for {before}");
    }
}

async fn set_alias(client: &Client, name: &str, alias: &str, target: &Target) -> Outcome {
    let path = format!("{}/aliases", path_of(name));
    let mut change = target.wire();
    change["Name"] = alias.into();
    let made = client
        .functions(
            Method::PUT,
            &format!("{path}/{}", encoded(alias)),
            Some(&change),
        )
        .await?;
    match made {
        Ok(_) => Ok(()),
        Err(refused) if refused.code == ABSENT => {
            match client.functions(Method::POST, &path, Some(&change)).await? {
                Ok(_) => Ok(()),
                // The alias is there, and the version is not.
                Err(other) if other.code == "ResourceConflictException" => {
                    Err(refused_by(client, name, &refused))
                }
                Err(other) => Err(refused_by(client, name, &other)),
            }
        }
        Err(refused) => Err(refused_by(client, name, &refused)),
    }
}

async fn rollback(client: &Client, name: &str, alias: &str) -> Outcome {
    let path = format!("{}/aliases/{}", path_of(name), encoded(alias));
    let (told, previous) = accepted(
        client,
        name,
        client
            .functions_told(&path, PREVIOUS_VERSION_HEADER)
            .await?,
    )?;
    let Some(previous) = previous.as_deref().and_then(Target::read) else {
        let now = Target::of(&told);
        return Err(Stop::Usage(anyhow!(
            "{alias} of {name} stands for {now}, and has stood for nothing else\nhint: `stepwell plugin alias {name} {alias} VERSION` lets it stand for another one; `stepwell plugin versions {name}` lists what there is"
        )));
    };
    // What it stood for before is that of the alias as it was read: who changes it meanwhile goes first.
    let back = rolled_back(&told, &previous);
    match client.functions(Method::PUT, &path, Some(&back)).await? {
        Ok(_) => super::print(&stands_for(name, alias, &previous)),
        Err(refused) if refused.code == "PreconditionFailedException" => Err(Stop::Usage(anyhow!(
            "{alias} of {name} was changed meanwhile by somebody else, and stays as they left it\nhint: `stepwell plugin versions {name}` shows what it stands for now"
        ))),
        Err(refused) => Err(refused_by(client, name, &refused)),
    }
}

/// The change that lets an alias, as it was told, stand for what it stood for before.
fn rolled_back(told: &Value, previous: &Target) -> Value {
    let mut back = previous.wire();
    back["RevisionId"] = told["RevisionId"].clone();
    back
}

fn stands_for(name: &str, alias: &str, target: &Target) -> String {
    format!("{alias} of {name} stands for {target}\n")
}

async fn remove(client: &Client, name: &str, version: Option<&str>) -> Outcome {
    let path = match version {
        Some(version) => format!("{}?Qualifier={}", path_of(name), encoded(version)),
        None => path_of(name),
    };
    accepted(
        client,
        name,
        client.functions(Method::DELETE, &path, None).await?,
    )?;
    let what = version.map_or_else(
        || name.to_owned(),
        |version| format!("version {version} of {name}"),
    );
    super::print(&format!("removed {what}; what runs goes on\n"))
}

/// All items of a list, of a plugin or, where there is no name, of all.
async fn pages(client: &Client, name: &str, path: &str, key: &str) -> Outcome<Vec<Value>> {
    let (mut items, mut marker) = (Vec::new(), None::<String>);
    loop {
        let at = match &marker {
            Some(marker) => format!("{path}?Marker={}", encoded(marker)),
            None => path.to_owned(),
        };
        let mut page = accepted(
            client,
            name,
            client.functions(Method::GET, &at, None).await?,
        )?;
        if let Some(Value::Array(more)) = page.get_mut(key).map(Value::take) {
            items.extend(more);
        }
        marker = page["NextMarker"].as_str().map(str::to_owned);
        if marker.is_none() {
            return Ok(items);
        }
    }
}

async fn all(client: &Client, as_json: bool) -> Outcome {
    let found = pages(client, "", "functions", "Functions").await?;
    if as_json {
        return super::print_json(&json!(found));
    }
    if found.is_empty() {
        say!("nothing was uploaded; `stepwell plugin push FILE` does");
        return Ok(());
    }
    let mut table = Table::new(&["plugin", "size", "memory", "time", "changed", "description"]);
    for one in &found {
        table.row([
            text(one, "FunctionName"),
            format!("{} kB", one["CodeSize"].as_u64().unwrap_or(0) / 1_000),
            format!("{} MiB", one["MemorySize"]),
            format!("{} s", one["Timeout"]),
            changed(one),
            text(one, "Description"),
        ]);
    }
    super::print(&table.whole(stdout_columns()))
}

async fn versions(client: &Client, name: &str, as_json: bool) -> Outcome {
    let versions = pages(
        client,
        name,
        &format!("{}/versions", path_of(name)),
        "Versions",
    )
    .await?;
    let aliases = pages(
        client,
        name,
        &format!("{}/aliases", path_of(name)),
        "Aliases",
    )
    .await?;
    if as_json {
        return super::print_json(&json!({"versions": versions, "aliases": aliases}));
    }
    let mut table = Table::new(&["version", "aliases", "sha256", "changed", "description"]);
    for one in &versions {
        let version = text(one, "Version");
        table.row([
            version.clone(),
            parts_of(&aliases, &version).join(", "),
            hex(&text(one, "CodeSha256")).chars().take(12).collect(),
            changed(one),
            text(one, "Description"),
        ]);
    }
    super::print(&table.whole(stdout_columns()))
}

fn text(of: &Value, key: &str) -> String {
    of[key].as_str().unwrap_or_default().to_owned()
}

/// When it was changed, as all times are shown here.
fn changed(of: &Value) -> String {
    text(of, "LastModified").replace("+0000", "Z")
}

/// A hash that the API has in Base64, as plugins are pinned by it.
fn hex(base64: &str) -> String {
    let bytes = STANDARD.decode(base64).unwrap_or_default();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_with_what_lists_it() {
        let told = |message: &str| hint_of_absent(" --data d", "pay", message);
        let absent = told("Function not found: arn:aws:lambda:us-east-1:000000000000:function:pay");
        assert_eq!(
            absent,
            "\nhint: `stepwell plugin versions --data d` lists what was uploaded"
        );
        let version =
            told("Function not found: arn:aws:lambda:us-east-1:000000000000:function:pay:9");
        assert!(
            version.starts_with(
                "\nhint: `stepwell plugin versions pay --data d` lists its versions and aliases"
            ),
            "{version}"
        );
    }

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
        let json = told(b"{\"a\": 1}\n");
        assert!(
            json.contains(r#"`in.json` is neither a zip archive nor WebAssembly: it begins with `{\"a\": 1}\n`"#),
            "{json}"
        );
        assert!(told(b"").contains("it is empty"));
    }

    #[test]
    fn a_rollback_is_one_of_the_alias_as_it_was_read() {
        let told = json!({"Name": "live", "FunctionVersion": "2", "RevisionId": "r"});
        let back = rolled_back(&told, &Target::alone("1"));
        assert_eq!(
            (&back["FunctionVersion"], &back["RevisionId"]),
            (&json!("1"), &json!("r"))
        );
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
