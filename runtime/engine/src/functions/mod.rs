//! Functions: plugins that are uploaded, with versions and aliases as the function service has them. Hides their records
//! (one a function, with all that hangs on it) and where their code lies.
//!
//! A function belongs to an account and has one name in all regions, as a plugin in the folder does. What a version says
//! never changes; its code is kept by its hash.

mod aliases;
mod calls;
mod checking;
mod code;
mod collect;
mod events;
mod holds;
mod in_use;
mod invoke;
mod known;
mod policies;
mod record;
mod resolve;
mod versions;

use std::{collections::BTreeMap, sync::Arc};

use stepwell_interp::Timestamp;
use uuid::Uuid;

use crate::{
    api::{Caller, Page, PageRequest},
    engine::Engine,
    error::Error,
    journal::{CatalogKey, CatalogRecord},
    limits::{CHANGE_ATTEMPTS_MAX, FUNCTION_NAME_CHARS_MAX},
    node, record as stored, tags,
};

pub use aliases::{AliasChange, AliasTarget, FunctionAlias, check_alias_name};
pub(crate) use calls::FunctionCalls;
pub(crate) use checking::Checking;
pub use collect::{CodeCollection, CollectedCode, UnusedCode};
pub use events::EVENTS_PREFIX;
pub(crate) use events::is_of_events;
pub(crate) use holds::all_freed;
pub(crate) use in_use::CodeInUse;
pub use invoke::{FunctionFault, Invocation, Invoked};
pub(crate) use known::Functions;
pub use policies::{FunctionPolicy, Permission};
use record::{Build, FunctionRecord};
pub(crate) use resolve::{Callable, Resolved};
pub use versions::PublishFunction;

/// Kind of the catalog's records.
pub(crate) const KIND: &str = "function";

/// Why a call about functions was not carried out.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum FunctionError {
    /// There is no such function, version or alias.
    #[error("{0}")]
    NotFound(String),
    /// The name is taken, or others change the function at the same time.
    #[error("{0}")]
    Conflict(String),
    /// The request asks for what cannot be.
    #[error("{0}")]
    Invalid(String),
    /// The function is at another revision than the request wants.
    #[error("{0}")]
    Stale(String),
    /// A quota is used up.
    #[error("{0}")]
    Full(String),
    /// A policy would be longer than it may be.
    #[error("{0}")]
    LongPolicy(String),
    /// The payload is larger than it may be.
    #[error("{0}")]
    TooLarge(String),
    /// The payload is not JSON.
    #[error("{0}")]
    NotJson(String),
    /// The function cannot be called just now; later it can.
    #[error("{0}")]
    TooMany(String),
    /// As many of its calls run as are reserved for it; later it can be called.
    #[error("{0}")]
    ReservedTaken(String),
    /// Its code cannot be called at all.
    #[error("{0}")]
    Unusable(String),
    /// Anything else.
    #[error(transparent)]
    Engine(#[from] Error),
}

/// What a function is called with.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionSettings {
    pub role: String,
    /// Told back as it came.
    pub runtime: Option<String>,
    pub handler: Option<String>,
    pub architecture: String,
    pub description: String,
    /// Seconds of wall and of CPU time, each.
    pub timeout_s: u32,
    /// MiB.
    pub memory_mb: u32,
    pub environment: BTreeMap<String, String>,
    /// Settings that count for nothing here, by their names: JSON text, told back as it came.
    pub told: BTreeMap<String, String>,
}

/// What UpdateFunctionConfiguration changes; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct SettingsChange {
    pub role: Option<String>,
    pub runtime: Option<String>,
    pub handler: Option<String>,
    pub description: Option<String>,
    pub timeout_s: Option<u32>,
    pub memory_mb: Option<u32>,
    pub environment: Option<BTreeMap<String, String>>,
    /// Those of [`FunctionSettings::told`] that change.
    pub told: BTreeMap<String, String>,
}

/// Code as it was uploaded.
#[derive(Clone, Debug)]
pub struct Package {
    /// The `.wasm` in it.
    pub wasm: Arc<[u8]>,
    /// SHA-256 of what was uploaded, base64.
    pub sha256: String,
    /// Size of what was uploaded.
    pub bytes: u64,
}

/// What CreateFunction stores.
#[derive(Clone, Debug)]
pub struct NewFunction {
    pub name: String,
    pub settings: FunctionSettings,
    pub package: Package,
    pub tags: Vec<(String, String)>,
    /// Makes the first version too.
    pub publish: bool,
}

/// A function, or a version of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub name: Arc<str>,
    /// None is `$LATEST`.
    pub version: Option<u64>,
    pub settings: FunctionSettings,
    /// SHA-256 and size of what was uploaded, as in [`Package`].
    pub package_sha256: String,
    pub package_bytes: u64,
    pub modified_at: Timestamp,
    pub revision_id: String,
}

impl Engine {
    /// Creates a function whose code can be called.
    pub async fn create_function(
        &self,
        caller: &Caller,
        new: NewFunction,
    ) -> Result<Function, FunctionError> {
        check_name(&new.name)?;
        let key = key(&caller.tenant, &new.name);
        let taken = || FunctionError::Conflict(format!("Function already exist: {}", new.name));
        if self.record(&key).await?.is_some() {
            return Err(taken());
        }
        let tags = tagged(Vec::new(), &new.tags)?;
        let build = Build::new(new.settings, &new.package);
        self.check_code(caller, &new.name, &build, &new.package)
            .await?;
        self.keep_code(caller, &new.name, &new.package, None)
            .await?;
        let mut record = FunctionRecord::new(build, tags);
        if new.publish {
            versions::publish(&mut record, None, self.raised_limits(&caller.tenant))?;
        }
        let shown = match record.published {
            Some(number) => record
                .version(number)
                .map(|build| build.shown(&new.name, Some(number))),
            None => Some(record.latest.shown(&new.name, None)),
        };
        let written = self.put(&key, Some(0), Some(stored::encode(&record))).await;
        self.node().functions.forget(&caller.tenant, &new.name);
        match (written?, shown) {
            (Ok(_), Some(shown)) => Ok(shown),
            (Ok(_), None) | (Err(()), _) => Err(taken()),
        }
    }

    /// Gives a function other code; the code that it had serves until the new one can.
    pub async fn update_function_code(
        &self,
        caller: &Caller,
        name: &str,
        package: Package,
        wanted: Change<'_>,
    ) -> Result<Function, FunctionError> {
        let (current, _) = self.function_record(caller, name).await?;
        stale(&current, wanted.revision_id)?;
        let settings = current.latest.settings.clone();
        let settings = settings.built_for(wanted.architecture);
        let build = Build::new(settings.into(), &package);
        self.check_code(caller, name, &build, &package).await?;
        if wanted.dry_run {
            return Ok(build.shown(name, None));
        }
        self.keep_code(caller, name, &package, Some(&current))
            .await?;
        self.change_function(caller, name, |record| {
            stale(record, wanted.revision_id)?;
            // A revision names what it was looked at with.
            let same = record.latest.revision_id == current.latest.revision_id;
            let mut build = build.clone();
            if !same {
                let settings = record.latest.settings.clone();
                build.settings = settings.built_for(wanted.architecture);
                build.revision_id = fresh_revision();
            }
            record.change(build);
            published(
                record,
                name,
                wanted.publish,
                self.raised_limits(&caller.tenant),
            )
        })
        .await
    }

    /// Changes what a function is called with.
    pub async fn update_function_settings(
        &self,
        caller: &Caller,
        name: &str,
        change: SettingsChange,
        revision_id: Option<&str>,
    ) -> Result<Function, FunctionError> {
        let (current, _) = self.function_record(caller, name).await?;
        stale(&current, revision_id)?;
        let tried = current.latest.with(&change);
        self.check_build(caller, name, &tried).await?;
        self.change_function(caller, name, |record| {
            stale(record, revision_id)?;
            let same = record.latest.revision_id == current.latest.revision_id;
            record.change(match same {
                true => tried.clone(),
                false => record.latest.with(&change),
            });
            Ok(record.latest.shown(name, None))
        })
        .await
    }

    /// A function with its tags, by name and qualifier: a version, an alias, `$LATEST`.
    pub async fn function(
        &self,
        caller: &Caller,
        name: &str,
        qualifier: Option<&str>,
    ) -> Result<(Function, Vec<(String, String)>), FunctionError> {
        let (record, _) = self.function_record(caller, name).await?;
        let version = resolve::version(&record, qualifier, 0.0)
            .ok_or_else(|| absent(caller, name, qualifier))?;
        let build = record
            .build(version)
            .ok_or_else(|| absent(caller, name, qualifier))?;
        Ok((build.shown(name, version), record.tags))
    }

    /// The account's functions, by name.
    pub async fn functions(
        &self,
        caller: &Caller,
        page: PageRequest,
    ) -> Result<Page<Function>, FunctionError> {
        let found = self.scan_page(caller, KIND, "", &page).await?;
        let shown = self.shown(found, |CatalogRecord { key, bytes, .. }| {
            let record: FunctionRecord = stored::decode(bytes)?;
            Ok(record.latest.shown(&key.name, None))
        });
        Ok(shown?)
    }

    /// Deletes a function with its versions and aliases, or one version. What runs goes on; its code goes with the next
    /// collections, unless another function of the account has it.
    pub async fn delete_function(
        &self,
        caller: &Caller,
        name: &str,
        qualifier: Option<&str>,
    ) -> Result<(), FunctionError> {
        if let Some(qualifier) = qualifier {
            return self.delete_function_version(caller, name, qualifier).await;
        }
        self.function_record(caller, name).await?;
        // Without an expected revision the deletion cannot conflict.
        let deleted = self.put(&key(&caller.tenant, name), None, None).await;
        self.node().functions.forget(&caller.tenant, name);
        deleted?.map(drop).map_err(|()| crossed(name))
    }

    /// Tags of a function, in the order in which their keys were first given.
    pub async fn function_tags(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<Vec<(String, String)>, FunctionError> {
        Ok(self.function_record(caller, name).await?.0.tags)
    }

    /// Adds tags and removes keys.
    pub async fn tag_function(
        &self,
        caller: &Caller,
        name: &str,
        add: &[(String, String)],
        remove: &[String],
    ) -> Result<(), FunctionError> {
        self.change_function(caller, name, |record| {
            let mut kept = std::mem::take(&mut record.tags);
            kept.retain(|(key, _)| !remove.contains(key));
            record.tags = tagged(kept, add)?;
            Ok(())
        })
        .await
    }

    /// How many calls are reserved for a function, if anything was said of it.
    pub async fn function_concurrency(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<Option<u32>, FunctionError> {
        let (record, _) = self.function_record(caller, name).await?;
        Ok(record.reserved_concurrency)
    }

    /// Reserves calls for a function: so many run at a time on a node, and with 0 none. Those that run go on.
    pub async fn reserve_function_concurrency(
        &self,
        caller: &Caller,
        name: &str,
        reserved: Option<u32>,
    ) -> Result<(), FunctionError> {
        self.change_function(caller, name, |record| {
            record.reserved_concurrency = reserved;
            Ok(())
        })
        .await
    }

    async fn function_record(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<(FunctionRecord, u64), FunctionError> {
        let found = self.record(&key(&caller.tenant, name)).await?;
        let found = found.ok_or_else(|| absent(caller, name, None))?;
        Ok((stored::decode(&found.bytes)?, found.revision))
    }

    /// Changes a function's record; the change is made again when another one came between.
    async fn change_function<T>(
        &self,
        caller: &Caller,
        name: &str,
        mut change: impl FnMut(&mut FunctionRecord) -> Result<T, FunctionError>,
    ) -> Result<T, FunctionError> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let (mut record, revision) = self.function_record(caller, name).await?;
            let answer = change(&mut record)?;
            let key = key(&caller.tenant, name);
            let bytes = stored::encode(&record);
            let written = self.put(&key, Some(revision), Some(bytes)).await;
            self.node().functions.forget(&caller.tenant, name);
            if written?.is_ok() {
                return Ok(answer);
            }
        }
        Err(crossed(name))
    }
}

/// The tags with more added. What sets something of a state machine sets nothing of a function, and is refused.
fn tagged(
    kept: Vec<(String, String)>,
    add: &[(String, String)],
) -> Result<Vec<(String, String)>, FunctionError> {
    if let Some((key, _)) = add.iter().find(|(key, _)| key.starts_with(tags::OURS)) {
        return Err(FunctionError::Invalid(format!(
            "The tag '{key}' sets nothing of a function: tags that begin with `{}` are of state machines. A function has its memory size, its timeout and its reserved concurrency; choose another key for a tag of your own",
            tags::OURS
        )));
    }
    Ok(tags::with(kept, add)?)
}

/// What goes with other code.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change<'a> {
    /// The revision that the function has to be at.
    pub revision_id: Option<&'a str>,
    /// Makes a version of it too.
    pub publish: bool,
    /// Looks whether it can be called, and changes nothing.
    pub dry_run: bool,
    /// Told back from now on.
    pub architecture: Option<&'a str>,
}

/// The function after a change, or the version that was asked for with it.
fn published(
    record: &mut FunctionRecord,
    name: &str,
    publish: bool,
    raised: bool,
) -> Result<Function, FunctionError> {
    if !publish {
        return Ok(record.latest.shown(name, None));
    }
    let number = versions::publish(record, None, raised)?;
    let build = record.version(number).unwrap_or(&record.latest);
    Ok(build.shown(name, Some(number)))
}

fn stale(record: &FunctionRecord, wanted: Option<&str>) -> Result<(), FunctionError> {
    if wanted.is_none_or(|wanted| wanted == record.latest.revision_id) {
        return Ok(());
    }
    let text = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id";
    Err(FunctionError::Stale(text.to_owned()))
}

fn key(tenant: &Arc<str>, name: &str) -> CatalogKey {
    CatalogKey {
        tenant: tenant.clone(),
        kind: KIND.into(),
        name: name.into(),
    }
}

fn fresh_revision() -> String {
    Uuid::new_v4().hyphenated().to_string()
}

fn now_ms() -> u64 {
    node::now().0
}

/// The ARN of a function, a version or an alias.
pub(crate) fn arn(caller: &Caller, name: &str, qualifier: Option<&str>) -> String {
    let Caller { tenant, region } = caller;
    let qualifier = qualifier.map_or_else(String::new, |qualifier| format!(":{qualifier}"));
    format!("arn:aws:lambda:{region}:{tenant}:function:{name}{qualifier}")
}

fn absent(caller: &Caller, name: &str, qualifier: Option<&str>) -> FunctionError {
    FunctionError::NotFound(format!(
        "Function not found: {}",
        arn(caller, name, qualifier)
    ))
}

fn crossed(name: &str) -> FunctionError {
    FunctionError::Conflict(format!(
        "The operation cannot be performed at this time. Other requests are changing the function; try again: {name}"
    ))
}

/// A function's name is a plugin's.
fn check_name(name: &str) -> Result<(), FunctionError> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    if (1..=FUNCTION_NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(FunctionError::Invalid(format!(
        "a function's name is 1 to {FUNCTION_NAME_CHARS_MAX} of A-Z a-z 0-9 - _, or an ARN that ends with one: `{name}`"
    )))
}
