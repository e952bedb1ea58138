//! What a function is called with, in and out. Wire types, REST JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepwell_engine::{Caller, Function, FunctionSettings, SettingsChange};

use super::fault::Fault;
use crate::limits::{
    FUNCTION_ENVIRONMENT_BYTES_MAX, FUNCTION_MEMORY_MB, FUNCTION_MEMORY_MB_MAX,
    FUNCTION_MEMORY_MB_MIN, FUNCTION_TIMEOUT_S, FUNCTION_TIMEOUT_S_MAX,
};

/// Wire form of the settings in CreateFunction and UpdateFunctionConfiguration.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Settings {
    role: Option<String>,
    runtime: Option<String>,
    handler: Option<String>,
    description: Option<String>,
    timeout: Option<i64>,
    memory_size: Option<i64>,
    environment: Option<Environment>,
    architectures: Option<Vec<String>>,
    package_type: Option<String>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Environment {
    variables: BTreeMap<String, String>,
}

/// Members that would change how a function is called and that are not served, each with what is there instead.
const NOT_SERVED: [(&str, &str); 11] = [
    ("Layers", "put all code into the one `.wasm`"),
    ("VpcConfig", "functions have no network of their own"),
    (
        "DeadLetterConfig",
        "start an execution with a Catch instead of an Event invocation",
    ),
    (
        "FileSystemConfigs",
        "folders are granted to plugins of the plugin directory alone",
    ),
    ("ImageConfig", "container images are not run here"),
    ("KMSKeyArn", "variables are kept as they are"),
    (
        "SnapStart",
        "plugins are compiled when they are uploaded, and start in microseconds",
    ),
    ("CodeSigningConfigArn", "code is not signed here"),
    ("CapacityProviderConfig", "functions run in this process"),
    ("DurableConfig", "a state machine is what is durable here"),
    (
        "TenancyConfig",
        "each call has an instance of its own anyway",
    ),
];

impl Settings {
    /// The settings of a new function.
    pub(super) fn new_function(self) -> Result<FunctionSettings, Fault> {
        let architecture = self.architectures.as_ref().and_then(|all| all.first());
        let architecture = architecture.cloned().unwrap_or_else(|| "x86_64".to_owned());
        let change = self.change()?;
        Ok(FunctionSettings {
            role: change.role.ok_or_else(|| {
                Fault::invalid("Role is required; any role's ARN will do, it is kept and not used")
            })?,
            runtime: change.runtime,
            handler: change.handler,
            architecture,
            description: change.description.unwrap_or_default(),
            timeout_s: change.timeout_s.unwrap_or(FUNCTION_TIMEOUT_S),
            memory_mb: change.memory_mb.unwrap_or(FUNCTION_MEMORY_MB),
            environment: change.environment.unwrap_or_default(),
        })
    }

    /// What the request changes.
    pub(super) fn change(self) -> Result<SettingsChange, Fault> {
        for (member, instead) in NOT_SERVED {
            if self.others.get(member).is_some_and(says_something) {
                return Err(Fault::invalid(format!(
                    "{member} is not offered here: {instead}"
                )));
            }
        }
        if self
            .package_type
            .as_deref()
            .is_some_and(|kind| kind != "Zip")
        {
            return Err(Fault::invalid(
                "PackageType is Zip here: container images are not run",
            ));
        }
        if let Some(runtime) = &self.runtime
            && !runtime.starts_with("provided")
        {
            return Err(Fault::invalid(format!(
                "the runtime `{runtime}` is not here: functions are WebAssembly of any language; say `provided.al2023`, or leave it out, and upload a `.wasm`"
            )));
        }
        let (timeout, memory) = (self.timeout, self.memory_size);
        let environment = self.environment.map(|environment| environment.variables);
        if let Some(variables) = &environment {
            check_environment(variables)?;
        }
        Ok(SettingsChange {
            role: self.role,
            runtime: self.runtime,
            handler: self.handler,
            description: self.description,
            timeout_s: bounded(timeout, "timeout", 1, FUNCTION_TIMEOUT_S_MAX)?,
            memory_mb: bounded(
                memory,
                "memorySize",
                FUNCTION_MEMORY_MB_MIN,
                FUNCTION_MEMORY_MB_MAX,
            )?,
            environment,
        })
    }
}

/// Whether a member asks for something; tools send empty ones.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) | Value::Number(_) => true,
        Value::String(text) => !text.is_empty() && text != "None",
        Value::Array(items) => items.iter().any(says_something),
        Value::Object(members) => members.values().any(says_something),
    }
}

fn bounded(value: Option<i64>, name: &str, least: u32, most: u32) -> Result<Option<u32>, Fault> {
    let Some(value) = value else { return Ok(None) };
    let wrong = |bound: &str, number: u32| {
        Fault::validation(&format!(
            "Value '{value}' at '{name}' failed to satisfy constraint: Member must have value {bound} than or equal to {number}"
        ))
    };
    match u32::try_from(value) {
        Ok(number) if number > most => Err(wrong("less", most)),
        Ok(number) if number >= least => Ok(Some(number)),
        Ok(_) => Err(wrong("greater", least)),
        Err(_) if value > 0 => Err(wrong("less", most)),
        Err(_) => Err(wrong("greater", least)),
    }
}

fn check_environment(variables: &BTreeMap<String, String>) -> Result<(), Fault> {
    let bytes: usize = variables
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > FUNCTION_ENVIRONMENT_BYTES_MAX {
        return Err(Fault::invalid(format!(
            "the environment variables have {bytes} bytes, names and values, and {FUNCTION_ENVIRONMENT_BYTES_MAX} are the most; pass large settings in the payload"
        )));
    }
    Ok(())
}

/// Wire form of a function's configuration.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Configuration {
    function_name: String,
    function_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<String>,
    role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    handler: Option<String>,
    code_size: u64,
    description: String,
    timeout: u32,
    memory_size: u32,
    last_modified: String,
    code_sha256: String,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<Variables>,
    tracing_config: Mode,
    revision_id: String,
    state: &'static str,
    last_update_status: &'static str,
    package_type: &'static str,
    architectures: [String; 1],
    ephemeral_storage: Size,
    snap_start: SnapStart,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Variables {
    variables: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Mode {
    mode: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    size: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SnapStart {
    apply_on: &'static str,
    optimization_status: &'static str,
}

impl Configuration {
    /// With the qualifier in the ARN, where there is one.
    pub(super) fn of(
        caller: &Caller,
        function: Function,
        qualifier: Option<&str>,
    ) -> Configuration {
        let Function {
            name,
            version,
            settings,
            package_sha256,
            package_bytes,
            modified_at,
            revision_id,
        } = function;
        let version = version_text(version);
        let environment = settings.environment;
        Configuration {
            function_arn: arn(caller, &name, qualifier),
            function_name: name.to_string(),
            runtime: settings.runtime,
            role: settings.role,
            handler: settings.handler,
            code_size: package_bytes,
            description: settings.description,
            timeout: settings.timeout_s,
            memory_size: settings.memory_mb,
            // RFC 3339, but for the zone.
            last_modified: format!("{}+0000", modified_at.to_string().trim_end_matches('Z')),
            code_sha256: package_sha256,
            version,
            environment: (!environment.is_empty()).then_some(Variables {
                variables: environment,
            }),
            tracing_config: Mode {
                mode: "PassThrough",
            },
            revision_id,
            state: "Active",
            last_update_status: "Successful",
            package_type: "Zip",
            architectures: [settings.architecture],
            ephemeral_storage: Size { size: 512 },
            snap_start: SnapStart {
                apply_on: "None",
                optimization_status: "Off",
            },
        }
    }

    /// A version under its own number.
    pub(super) fn numbered(caller: &Caller, function: Function) -> Configuration {
        let version = function.version.map(|number| number.to_string());
        Configuration::of(caller, function, version.as_deref())
    }
}

/// A number, or what is the latest.
pub(super) fn version_text(version: Option<u64>) -> String {
    version.map_or_else(|| LATEST.to_owned(), |number| number.to_string())
}

/// The qualifier of what is the latest.
pub(super) const LATEST: &str = "$LATEST";

pub(super) fn arn(caller: &Caller, name: &str, qualifier: Option<&str>) -> String {
    let Caller { tenant, region } = caller;
    let qualifier = qualifier.map_or_else(String::new, |qualifier| format!(":{qualifier}"));
    format!("arn:aws:lambda:{region}:{tenant}:function:{name}{qualifier}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<SettingsChange, String> {
        let settings: Settings = serde_json::from_str(text).unwrap();
        settings.change().map_err(|fault| fault.code().to_owned())
    }

    #[test]
    fn what_is_not_served_is_refused_where_it_asks_for_something() {
        let empty = r#"{"VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []}, "Layers": [], "DeadLetterConfig": {},
            "SnapStart": {"ApplyOn": "None"}, "TracingConfig": {"Mode": "Active"}}"#;
        assert!(settings(empty).is_ok());
        for text in [
            r#"{"VpcConfig": {"SubnetIds": ["subnet-1"]}}"#,
            r#"{"Layers": ["arn:aws:lambda:us-east-1:1:layer:l:1"]}"#,
            r#"{"Runtime": "python3.12"}"#,
            r#"{"PackageType": "Image"}"#,
        ] {
            assert_eq!(
                settings(text).unwrap_err(),
                "InvalidParameterValueException",
                "{text}"
            );
        }
    }

    #[test]
    fn numbers_have_their_bounds() {
        for (text, good) in [
            (r#"{"Timeout": 1, "MemorySize": 128}"#, true),
            (r#"{"Timeout": 900, "MemorySize": 10240}"#, true),
            (r#"{"Timeout": 0}"#, false),
            (r#"{"Timeout": -5}"#, false),
            (r#"{"Timeout": 901}"#, false),
            (r#"{"MemorySize": 127}"#, false),
            (r#"{"MemorySize": 99999999999}"#, false),
        ] {
            assert_eq!(settings(text).is_ok(), good, "{text}");
        }
    }
}
