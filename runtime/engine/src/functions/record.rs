//! Stored form of a function, codec v1: fields are only added, with a default.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Function, FunctionSettings, Package, SettingsChange, fresh_revision, now_ms};
use crate::{
    dispatch::hex,
    programs::sha256,
    record::time,
    runner::{FunctionCode, FunctionVersion},
};

/// A function with its versions and aliases.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FunctionRecord {
    pub(super) latest: Build,
    #[serde(default)]
    pub(super) versions: BTreeMap<u64, Build>,
    /// The highest number that a version ever got.
    #[serde(default)]
    pub(super) last_version: u64,
    /// The version that says what `latest` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) published: Option<u64>,
    #[serde(default)]
    pub(super) aliases: BTreeMap<String, AliasRecord>,
    #[serde(default)]
    pub(super) tags: Vec<(String, String)>,
    /// By version or alias; the function's own is the one without a name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) policies: BTreeMap<String, PolicyRecord>,
    /// How many of its calls may run at once, as PutFunctionConcurrency said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reserved_concurrency: Option<u32>,
}

/// Code with what it is called with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Build {
    /// Lower-case hex SHA-256 of the `.wasm`, by which it is kept.
    pub(super) wasm: String,
    pub(super) package_sha256: String,
    pub(super) package_bytes: u64,
    pub(super) settings: Settings,
    #[serde(deserialize_with = "crate::record::date_ms")]
    pub(super) modified_ms: u64,
    pub(super) revision_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Settings {
    role: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runtime: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handler: Option<String>,
    architecture: String,
    #[serde(default)]
    description: String,
    timeout_s: u32,
    memory_mb: u32,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    told: BTreeMap<String, String>,
}

/// Never without a statement.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct PolicyRecord {
    pub(super) statements: Vec<StatementRecord>,
    pub(super) revision_id: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StatementRecord {
    pub(super) id: String,
    /// JSON text, told back.
    pub(super) text: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AliasRecord {
    /// None is `$LATEST`.
    pub(super) version: Option<u64>,
    #[serde(default)]
    pub(super) description: String,
    /// Other versions, each with its part of all calls.
    #[serde(default)]
    pub(super) weights: BTreeMap<u64, f64>,
    pub(super) revision_id: String,
    /// What it stood for before that was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<TargetRecord>,
}

/// What an alias stands for, version and weights together: each means nothing without the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TargetRecord {
    /// None is `$LATEST`.
    pub(super) version: Option<u64>,
    #[serde(default)]
    pub(super) weights: BTreeMap<u64, f64>,
}

impl AliasRecord {
    pub(super) fn target(&self) -> TargetRecord {
        TargetRecord {
            version: self.version,
            weights: self.weights.clone(),
        }
    }
}

impl FunctionRecord {
    pub(super) fn new(latest: Build, tags: Vec<(String, String)>) -> FunctionRecord {
        FunctionRecord {
            latest,
            versions: BTreeMap::new(),
            last_version: 0,
            published: None,
            aliases: BTreeMap::new(),
            tags,
            policies: BTreeMap::new(),
            reserved_concurrency: None,
        }
    }

    pub(super) fn version(&self, number: u64) -> Option<&Build> {
        self.versions.get(&number)
    }

    /// Of a version, or what is the latest.
    pub(super) fn build(&self, version: Option<u64>) -> Option<&Build> {
        match version {
            Some(number) => self.version(number),
            None => Some(&self.latest),
        }
    }

    /// Bytes of the packages of its versions and its latest, each counted once.
    pub(super) fn package_bytes(&self) -> u64 {
        let builds = self.versions.values().chain([&self.latest]);
        let packages: BTreeMap<&str, u64> = builds
            .map(|build| (build.package_sha256.as_str(), build.package_bytes))
            .collect();
        packages
            .values()
            .fold(0, |sum: u64, bytes| sum.saturating_add(*bytes))
    }

    /// The code of its versions and its latest, by its hash.
    pub(super) fn code(&self) -> impl Iterator<Item = &str> {
        let builds = self.versions.values().chain([&self.latest]);
        builds.map(|build| build.wasm.as_str())
    }

    /// Whether one of them has that code.
    pub(super) fn has_code(&self, wasm: &str) -> bool {
        self.code().any(|code| code == wasm)
    }

    /// Makes that the latest. What says the same as before, or as the last version, is published already.
    pub(super) fn change(&mut self, build: Build) {
        let same = self.latest.says_what(&build);
        self.latest = Build {
            modified_ms: now_ms(),
            ..build
        };
        if !same {
            let last = self.version(self.last_version);
            let last = last.filter(|last| last.says_what(&self.latest));
            self.published = last.map(|_| self.last_version);
        }
    }
}

impl Build {
    pub(super) fn new(settings: FunctionSettings, package: &Package) -> Build {
        Build {
            wasm: hex(&sha256(&package.wasm)),
            package_sha256: package.sha256.clone(),
            package_bytes: package.bytes,
            settings: settings.into(),
            modified_ms: now_ms(),
            revision_id: fresh_revision(),
        }
    }

    /// Whether another one has the same code and settings.
    fn says_what(&self, other: &Build) -> bool {
        self.wasm == other.wasm
            && self.package_sha256 == other.package_sha256
            && self.settings == other.settings
    }

    /// The same code with other settings, under another revision.
    pub(super) fn with(&self, change: &SettingsChange) -> Build {
        let mut changed = self.clone();
        let settings = &mut changed.settings;
        let set = |field: &mut String, to: &Option<String>| {
            if let Some(to) = to {
                field.clone_from(to);
            }
        };
        set(&mut settings.role, &change.role);
        set(&mut settings.description, &change.description);
        if change.runtime.is_some() {
            settings.runtime.clone_from(&change.runtime);
        }
        if change.handler.is_some() {
            settings.handler.clone_from(&change.handler);
        }
        settings.timeout_s = change.timeout_s.unwrap_or(settings.timeout_s);
        settings.memory_mb = change.memory_mb.unwrap_or(settings.memory_mb);
        if let Some(environment) = &change.environment {
            settings.environment.clone_from(environment);
        }
        settings.told.extend(change.told.clone());
        changed.revision_id = fresh_revision();
        changed
    }

    pub(super) fn shown(&self, name: &str, version: Option<u64>) -> Function {
        Function {
            name: name.into(),
            version,
            settings: self.settings.clone().into(),
            package_sha256: self.package_sha256.clone(),
            package_bytes: self.package_bytes,
            modified_at: time(self.modified_ms),
            revision_id: self.revision_id.clone(),
        }
    }

    /// As whoever runs it takes it.
    pub(super) fn version(
        &self,
        version: Option<u64>,
        code: Arc<dyn FunctionCode>,
    ) -> FunctionVersion {
        FunctionVersion {
            id: self.revision_id.as_str().into(),
            version,
            memory_bytes: u64::from(self.settings.memory_mb) << 20,
            wall: Duration::from_secs(self.settings.timeout_s.into()),
            environment: self.settings.environment.clone(),
            code,
        }
    }
}

impl Settings {
    pub(super) fn describe(&mut self, description: String) {
        self.description = description;
    }

    /// With code that was built for something else.
    pub(super) fn built_for(mut self, architecture: Option<&str>) -> Settings {
        if let Some(architecture) = architecture {
            architecture.clone_into(&mut self.architecture);
        }
        self
    }
}

impl From<FunctionSettings> for Settings {
    fn from(settings: FunctionSettings) -> Settings {
        let FunctionSettings {
            role,
            runtime,
            handler,
            architecture,
            description,
            timeout_s,
            memory_mb,
            environment,
            told,
        } = settings;
        Settings {
            role,
            runtime,
            handler,
            architecture,
            description,
            timeout_s,
            memory_mb,
            environment,
            told,
        }
    }
}

impl From<Settings> for FunctionSettings {
    fn from(settings: Settings) -> FunctionSettings {
        let Settings {
            role,
            runtime,
            handler,
            architecture,
            description,
            timeout_s,
            memory_mb,
            environment,
            told,
        } = settings;
        FunctionSettings {
            role,
            runtime,
            handler,
            architecture,
            description,
            timeout_s,
            memory_mb,
            environment,
            told,
        }
    }
}
